// SPDX-License-Identifier: MIT
/*
 * socket_abuse.c - threads of several processes that call everything about sockets
 * with arguments out of a hat, and pass each other their descriptors
 *
 * Usage: socket_abuse SEED SECONDS
 *
 * There is nothing to compare: whoever runs it must be there afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 3
#define THREADS 3
#define FDS 60

static time_t end;
static char *edge; /* behind the last bytes that are mapped */
static char *arena; /* all that calls may write to, and then some */
#define ARENA (16ul << 20)

static __thread uint32_t state;

static uint32_t any(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

static int fd_of(void)
{
	return any(20) ? 3 + (int)any(FDS) : (int)any(2000) - 5;
}

/* Memory: good, none, odd, on the edge, or the kernel's. */
static void *mem(void)
{
	switch (any(12)) {
	case 0:
		return NULL;
	case 1:
		return (void *)(uintptr_t)(any(1 << 30) * 4096ull + any(4096));
	case 2:
		return edge - any(64);
	case 3:
		return (void *)0xffff800000000000ull;
	default:
		return arena + any(1 << 16);
	}
}

static size_t length(void)
{
	static const size_t odd[] = { 0, 1, 7, 4096, 65536, 1 << 20, SIZE_MAX,
				      1ul << 31, (1ul << 31) - 1, 1ul << 63 };

	return any(3) ? any(300) : odd[any(10)];
}

static socklen_t address(struct sockaddr_storage *ss)
{
	struct sockaddr_un *un = (void *)ss;
	struct sockaddr_in *in = (void *)ss;
	struct sockaddr_in6 *in6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	switch (any(6)) {
	case 0:
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "abuse.%u", any(8));
		return any(8) ? sizeof(*un) : any(130);
	case 1:
		un->sun_family = AF_UNIX;
		un->sun_path[1] = (char)any(6);
		return 4;
	case 2:
		in6->sin6_family = AF_INET6;
		in6->sin6_addr = any(2) ? in6addr_loopback : in6addr_any;
		in6->sin6_port = htons((uint16_t)(40000 + any(8)));
		return sizeof(*in6);
	case 3:
		ss->ss_family = (sa_family_t)any(20);
		return any(140);
	default:
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(any(4) ? INADDR_LOOPBACK : INADDR_ANY);
		in->sin_port = htons((uint16_t)(40000 + any(8)));
		return sizeof(*in);
	}
}

static void abuse_message(int recv)
{
	union { char buf[256]; struct cmsghdr align; } ctl = { .buf = "" };
	struct sockaddr_storage ss;
	struct iovec iov[4];
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = any(5),
			    .msg_control = any(4) ? &ctl : mem(),
			    .msg_controllen = any(8) ? 24 + any(100) : length() };
	struct cmsghdr *c = &ctl.align;
	int *fds = (int *)CMSG_DATA(c), i;

	for (i = 0; i < 4; i++)
		iov[i] = (struct iovec){ mem(), any(4) ? any(300) : length() };
	c->cmsg_level = any(10) ? SOL_SOCKET : (int)any(300);
	c->cmsg_type = any(10) ? SCM_RIGHTS : (int)any(4);
	c->cmsg_len = any(4) ? CMSG_LEN(4 * (1 + any(6))) : length();
	for (i = 0; i < 8; i++)
		fds[i] = fd_of();
	if (!any(3)) {
		h.msg_name = &ss;
		h.msg_namelen = address(&ss);
	}
	if (!any(30))
		h.msg_iovlen = length();
	if (recv)
		recvmsg(fd_of(), any(20) ? &h : mem(), (int)any(2) * MSG_PEEK | MSG_DONTWAIT |
			(any(8) ? 0 : (int)any(0x10000)));
	else
		sendmsg(fd_of(), any(20) ? &h : mem(), MSG_DONTWAIT | MSG_NOSIGNAL |
			(any(8) ? 0 : (int)any(0x10000)));
}

static void make_some(void)
{
	static const int families[] = { AF_UNIX, AF_UNIX, AF_INET, AF_INET6, 16 };
	static const int types[] = { SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	int fds[2], i, n = 0;

	if (any(2))
		n = socketpair(AF_UNIX, types[any(4)] | SOCK_NONBLOCK, 0, fds) ? 0 : 2;
	else
		n = (fds[0] = socket(families[any(5)], types[any(4)] | SOCK_NONBLOCK, 0)) < 0 ? 0 : 1;
	/* A few places, so that they meet. */
	for (i = 0; i < n; i++) {
		dup2(fds[i], 3 + (int)any(FDS));
		if (fds[i] >= 3 + FDS || !any(3))
			close(fds[i]);
	}
}

static void abuse_one(void)
{
	struct sockaddr_storage ss;
	struct epoll_event ev = { .events = any(1u << 31) };
	struct pollfd p[3];
	socklen_t len = address(&ss);
	int fd = fd_of(), v = (int)any(70000), i;

	switch (any(24)) {
	case 0: case 1: case 2:
		make_some();
		break;
	case 3:
		bind(fd, any(8) ? (void *)&ss : mem(), len);
		if (!any(4) && ss.ss_family == AF_UNIX)
			unlink(((struct sockaddr_un *)&ss)->sun_path);
		break;
	case 4:
		listen(fd, (int)any(4) - 1);
		break;
	case 5: case 6:
		connect(fd, (void *)&ss, len);
		break;
	case 7: case 8:
		len = (socklen_t)length();
		i = accept4(fd, any(2) ? mem() : NULL, any(2) ? &len : mem(), SOCK_NONBLOCK);
		if (i >= 0 && i > 3 + FDS)
			close(i);
		break;
	case 9: case 10:
		abuse_message(0);
		break;
	case 11: case 12: case 13:
		abuse_message(1);
		break;
	case 14:
		sendto(fd, mem(), length(), MSG_DONTWAIT | MSG_NOSIGNAL, (void *)&ss, any(2) ? len : 0);
		break;
	case 15:
		recvfrom(fd, mem(), length(), MSG_DONTWAIT, any(2) ? mem() : NULL, mem());
		break;
	case 16:
		shutdown(fd, (int)any(4));
		break;
	case 17:
		setsockopt(fd, any(3) ? SOL_SOCKET : (int)any(50), (int)any(70), any(4) ? &v : mem(), any(4) ? 4 : (socklen_t)length());
		break;
	case 18:
		len = (socklen_t)length();
		getsockopt(fd, any(3) ? SOL_SOCKET : (int)any(50), (int)any(70), mem(), &len);
		break;
	case 19:
		if (any(2))
			getsockname(fd, mem(), any(2) ? &len : mem());
		else
			getpeername(fd, mem(), any(2) ? &len : mem());
		break;
	case 20:
		epoll_ctl(fd_of(), 1 + (int)any(3), fd, &ev);
		for (i = 0; i < 3; i++)
			p[i] = (struct pollfd){ fd_of(), (short)any(65536), 0 };
		poll(p, 3, (int)any(3));
		epoll_wait(fd_of(), &ev, 1, 0);
		break;
	case 21:
		ioctl(fd, any(2) ? 0x8900u + any(64) : FIONREAD, mem());
		break;
	case 22:
		if (any(2))
			syscall(SYS_sendmmsg, fd, mem(), length(), MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			syscall(SYS_recvmmsg, fd, mem(), length(), MSG_DONTWAIT, any(2) ? mem() : NULL);
		break;
	default:
		close(3 + (int)any(FDS));
		if (!any(20))
			dup2(epoll_create1(0), 3 + (int)any(FDS));
		break;
	}
}

static void *abuse(void *seed)
{
	state = (uint32_t)(uintptr_t)seed;
	while (time(NULL) < end)
		abuse_one();
	return NULL;
}

static void process(uint32_t seed)
{
	struct rlimit files = { 200, 200 };
	pthread_t t[THREADS];
	int i;

	setrlimit(RLIMIT_NOFILE, &files);
	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, abuse, (void *)(uintptr_t)(seed * 1000 + i));
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint32_t seed = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
	int i, status, bad = 0;

	end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 5);
	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || edge == MAP_FAILED)
		return 1;
	edge += 4096;
	munmap(edge, 4096);
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < PROCESSES; i++) {
		if (!fork())
			process(seed + (uint32_t)i);
	}
	while (wait(&status) > 0)
		bad |= status;
	printf("survived: %d\n", bad);
	return bad != 0;
}
