// SPDX-License-Identifier: MIT
/*
 * sockets.c - prints what sockets do in many a corner, for comparison with the
 * host's kernel: one part by its name, or all
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int sigpipes;

static void on_sigpipe(int signo)
{
	sigpipes++;
}

/* One result: a number, or the name of its error. */
static long show(const char *what, long ret)
{
	if (ret < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, ret);
	return ret;
}

static void show_sigpipes(const char *what)
{
	printf("%s: %d SIGPIPE\n", what, sigpipes);
	sigpipes = 0;
}

static void show_data(const char *what, ssize_t n, const char *buf)
{
	if (n < 0)
		show(what, n);
	else
		printf("%s: %zd \"%.*s\"\n", what, n, (int)n, buf);
}

static void show_recv(const char *what, int fd, size_t len, int flags)
{
	char buf[256];

	show_data(what, recv(fd, buf, len, flags | MSG_DONTWAIT), buf);
}

static void show_poll(const char *what, int fd)
{
	static const struct { short bit; const char *name; } bits[] = {
		{ POLLIN, "IN" }, { POLLOUT, "OUT" }, { POLLPRI, "PRI" },
		{ POLLERR, "ERR" }, { POLLHUP, "HUP" }, { POLLRDHUP, "RDHUP" },
		{ POLLRDNORM, "RDNORM" }, { POLLWRNORM, "WRNORM" },
		{ POLLWRBAND, "WRBAND" },
	};
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP |
				POLLRDNORM | POLLWRNORM | POLLWRBAND, 0 };
	size_t i;

	poll(&p, 1, 0);
	printf("%s: poll", what);
	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		if (p.revents & bits[i].bit)
			printf(" %s", bits[i].name);
	}
	printf("\n");
}

static int opt(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	if (getsockopt(fd, level, name, &v, &len))
		return -errno;
	return v;
}

static void show_error(const char *what, int fd)
{
	int err = opt(fd, SOL_SOCKET, SO_ERROR);

	printf("%s: SO_ERROR %s\n", what, err ? strerrorname_np(err) : "none");
}

static void pair(int type, int fds[2])
{
	if (socketpair(AF_UNIX, type, 0, fds)) {
		perror("socketpair");
		exit(1);
	}
}

/* making sockets */

static void test_create(void)
{
	static const struct { int family, type, proto; const char *name; } c[] = {
		{ AF_UNIX, SOCK_STREAM, 0, "unix stream" },
		{ AF_UNIX, SOCK_STREAM, 1, "unix stream 1" },
		{ AF_UNIX, SOCK_STREAM, 2, "unix stream 2" },
		{ AF_UNIX, SOCK_RAW, 0, "unix raw" },
		{ AF_UNIX, SOCK_RDM, 0, "unix rdm" },
		{ AF_INET, SOCK_STREAM, IPPROTO_TCP, "tcp" },
		{ AF_INET, SOCK_STREAM, IPPROTO_UDP, "stream udp" },
		{ AF_INET, SOCK_DGRAM, IPPROTO_TCP, "dgram tcp" },
		{ AF_INET, SOCK_SEQPACKET, 0, "inet seqpacket" },
		{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP, "udp6" },
		{ 77, SOCK_STREAM, 0, "family 77" },
		{ AF_UNIX, SOCK_STREAM | 0x100000, 0, "bad flag" },
	};
	int fds[2];
	size_t i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		int fd = socket(c[i].family, c[i].type, c[i].proto);

		if (show(c[i].name, fd < 0 ? fd : 0) >= 0)
			printf("  %d %d %d\n", opt(fd, SOL_SOCKET, SO_DOMAIN),
			       opt(fd, SOL_SOCKET, SO_TYPE),
			       opt(fd, SOL_SOCKET, SO_PROTOCOL));
		close(fd);
	}
	show("pair of tcp", socketpair(AF_INET, SOCK_STREAM, 0, fds));
	pair(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, fds);
	printf("flags %d %d\n", fcntl(fds[0], F_GETFL) & O_NONBLOCK,
	       fcntl(fds[1], F_GETFD));
	show("on a file", listen(0, 1));
	show("on nothing", listen(99, 1));
	show("lseek", lseek(fds[0], 0, SEEK_SET));
	show("pread", pread(fds[0], fds, 1, 0));
	show("bad address", send(fds[0], (void *)8, 10, 0));
	close(fds[0]);
	close(fds[1]);
}

/* streams */

static void test_stream(void)
{
	char buf[256];
	int s[2], n;

	pair(SOCK_STREAM, s);
	show_poll("fresh", s[0]);
	show_recv("nothing", s[0], 10, 0);
	show("write", write(s[1], "hello world", 11));
	show_poll("data", s[0]);
	ioctl(s[0], FIONREAD, &n);
	printf("FIONREAD %d\n", n);
	show_recv("peek", s[0], 5, MSG_PEEK);
	show_recv("part", s[0], 6, 0);
	show("more", send(s[1], "!!", 2, MSG_MORE));
	show_recv("joined", s[0], 100, 0);
	show("nothing", send(s[1], "", 0, 0));
	show("to an address", sendto(s[1], "x", 1, 0, (void *)buf, 16));
	show("shutdown 7", shutdown(s[1], 7));
	show("shutdown write", shutdown(s[1], SHUT_WR));
	show_poll("peer half closed", s[0]);
	show_poll("half closed", s[1]);
	show("write after it", send(s[1], "x", 1, 0));
	show_sigpipes("write after it");
	show("quietly", send(s[1], "x", 1, MSG_NOSIGNAL));
	show_sigpipes("quietly");
	show_recv("end", s[0], 10, 0);
	show("other way", send(s[0], "back", 4, 0));
	show("close with unread data", close(s[1]));
	show_poll("reset", s[0]);
	show_recv("reset", s[0], 10, 0);
	show_recv("and then", s[0], 10, 0);
	show("write to it", send(s[0], "x", 1, MSG_NOSIGNAL));
	close(s[0]);
	pair(SOCK_STREAM, s);
	show("shutdown read", shutdown(s[0], SHUT_RD));
	show("write", send(s[1], "x", 1, MSG_NOSIGNAL));
	show_recv("read", s[0], 1, 0);
	show_poll("read side shut", s[0]);
	show_poll("its peer", s[1]);
	close(s[0]);
	close(s[1]);
}

static void *late_writer(void *fd)
{
	int i;

	for (i = 0; i < 4; i++) {
		usleep(20000);
		if (write((int)(intptr_t)fd, "abcd", 4) != 4)
			exit(1);
	}
	return NULL;
}

static void test_waiting(void)
{
	struct timeval tv = { 0, 50000 }, got;
	socklen_t len = sizeof(got);
	char buf[256], *big;
	pthread_t t;
	size_t sent = 0, read_back = 0;
	ssize_t n;
	int s[2];

	pair(SOCK_STREAM, s);
	pthread_create(&t, NULL, late_writer, (void *)(intptr_t)s[1]);
	n = recv(s[0], buf, 16, MSG_WAITALL);
	show_data("wait for all", n, buf);
	pthread_join(t, NULL);
	setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len);
	/* Hosts round it to ticks. */
	printf("timeout %d\n", !got.tv_sec && got.tv_usec >= 50000 && got.tv_usec < 60000);
	show("times out", recv(s[0], buf, 1, 0));
	tv.tv_usec = 2000000;
	show("bad time", setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, 16));
	/* Fill it, and empty it: every byte comes through. */
	big = malloc(100000);
	for (n = 0; n < 100000; n++)
		big[n] = (char)(n * 7);
	fcntl(s[1], F_SETFL, O_NONBLOCK);
	while ((n = write(s[1], big + sent % 1000, 3000)) > 0)
		sent += (size_t)n;
	show("full", n);
	printf("took over 100000: %d\n", sent > 100000);
	show_poll("full", s[1]);
	close(s[1]);
	while ((n = read(s[0], big, 100000)) > 0)
		read_back += (size_t)n;
	printf("all came: %d\n", sent == read_back);
	free(big);
	close(s[0]);
}

static int un_addr(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, path);
	return (int)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static int un_abstract(struct sockaddr_un *a, const char *name)
{
	int len = un_addr(a, "");

	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s-%d", name,
		 getppid());
	return len + (int)strlen(a->sun_path + 1);
}

static void show_name(const char *what, int fd, bool peer)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	int ret = peer ? getpeername(fd, (void *)&a, &len) :
			 getsockname(fd, (void *)&a, &len);

	if (ret)
		show(what, ret);
	else
		printf("%s: %u %d \"%s\"\n", what, len, a.sun_family,
		       len > 2 ? a.sun_path : "");
}

static void test_names(void)
{
	struct sockaddr_un a, b;
	int la = un_addr(&a, "sock"), lb = un_abstract(&b, "abstract");
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c, d;
	struct stat st;

	show_name("unnamed", s, false);
	show("listen unbound", listen(s, 1));
	show("bind", bind(s, (void *)&a, la));
	show_name("bound", s, false);
	show("again", bind(s, (void *)&b, lb));
	stat("sock", &st);
	printf("mode %o\n", st.st_mode);
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	show("name taken", bind(c, (void *)&a, la));
	show("not listening", connect(c, (void *)&a, la));
	show("open", open("sock", O_RDWR));
	show("listen", listen(s, 0));
	show_poll("listening", s);
	show("wrong type", connect(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&a, la));
	show("connect", connect(c, (void *)&a, la));
	show_name("peer", c, true);
	show_poll("to be accepted", s);
	show("send before accept", send(c, "early", 5, 0));
	d = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	show("second", connect(d, (void *)&a, la));
	show("third", connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0),
			      (void *)&a, la));
	close(d);
	d = accept(s, NULL, NULL);
	show("connected already", connect(c, (void *)&a, la));
	show_recv("accepted", d, 100, 0);
	show_name("accepted", d, false);
	show_name("accepted's peer", d, true);
	printf("SO_ACCEPTCONN %d %d\n", opt(s, SOL_SOCKET, SO_ACCEPTCONN),
	       opt(d, SOL_SOCKET, SO_ACCEPTCONN));
	close(s);
	show("nobody listens", connect(socket(AF_UNIX, SOCK_STREAM, 0),
				       (void *)&a, la));
	unlink("sock");
	show("no such name", connect(socket(AF_UNIX, SOCK_STREAM, 0),
				     (void *)&a, la));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	show("abstract", bind(s, (void *)&b, lb));
	show("taken", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&b, lb));
	listen(s, 5);
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	show("connect", connect(c, (void *)&b, lb));
	close(s);
	show_recv("never accepted", c, 10, 0);
	show("gone", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&b, lb));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	show("autobind", bind(s, (void *)&a, 2));
	la = un_addr(&a, "no/such/dir");
	show("no directory", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, la));
	show("too long", bind(s, (void *)&a, 120));
	show("too short", bind(s, (void *)&a, 1));
	show("negative", bind(s, (void *)&a, -1));
	show("fresh", recv(socket(AF_UNIX, SOCK_STREAM, 0), &a, 1, MSG_DONTWAIT));
	show("fresh send", send(socket(AF_UNIX, SOCK_STREAM, 0), &a, 1,
				MSG_NOSIGNAL));
	show_poll("fresh", socket(AF_UNIX, SOCK_STREAM, 0));
	show("accept", accept(c, NULL, NULL));
}

/* messages */

static void test_dgram(void)
{
	struct sockaddr_un a, from;
	int la = un_addr(&a, "dgram"), s[2], r, n = 0;
	socklen_t len = sizeof(from);
	char buf[256];
	struct iovec iov = { buf, 3 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	pair(SOCK_DGRAM, s);
	send(s[0], "one", 3, 0);
	send(s[0], "", 0, 0);
	send(s[0], "three", 5, 0);
	show_recv("cut", s[1], 2, 0);
	show_recv("empty", s[1], 10, 0);
	show("truncated", recvmsg(s[1], &h, MSG_PEEK));
	printf("flags %x\n", h.msg_flags);
	show_recv("length", s[1], 2, MSG_TRUNC);
	show_recv("none", s[1], 2, 0);
	show("too big", send(s[0], malloc(1 << 20), 1 << 20, 0));
	close(s[1]);
	show("to nobody", send(s[0], "x", 1, 0));
	show("and then", send(s[0], "x", 1, 0));
	r = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind(r, (void *)&a, la);
	show("listen", listen(r, 1));
	show("sendto", sendto(s[0], "hi", 2, 0, (void *)&a, la));
	show("from", recvfrom(r, buf, 10, 0, (void *)&from, &len));
	printf("its name is %u long\n", len);
	la = un_addr(&from, "other");
	bind(s[0], (void *)&from, la);
	la = un_addr(&a, "dgram");
	show("connect", connect(s[0], (void *)&a, la));
	show_poll("connected", s[0]);
	while (send(s[0], "x", 1, MSG_DONTWAIT) == 1)
		n++;
	printf("queue of %d\n", n);
	show_poll("full", s[0]);
	len = sizeof(from);
	recvfrom(r, buf, 10, 0, (void *)&from, &len);
	printf("from %s\n", from.sun_path);
	show_poll("room", s[0]);
	show("to one who is connected elsewhere",
	     connect(r, (void *)&from, sizeof(from.sun_family) + 6));
	show("sendto", sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "x", 1,
			      MSG_DONTWAIT, (void *)&a, la));
	show("disconnect", connect(s[0], &(struct sockaddr){ AF_UNSPEC, "" },
				   sizeof(struct sockaddr)));
	show("send", send(s[0], "x", 1, 0));
	show("short", write(s[0], "", 1));
	unlink("dgram");
	unlink("other");
}

static void test_seqpacket(void)
{
	struct iovec iov[20];
	char buf[256];
	int s[2], i, n = 0;

	pair(SOCK_SEQPACKET, s);
	send(s[0], "first", 5, 0);
	send(s[0], "second", 6, 0);
	show_recv("one", s[1], 100, 0);
	show_recv("cut", s[1], 3, 0);
	show_recv("none", s[1], 3, 0);
	for (i = 0; i < 20; i++)
		iov[i] = (struct iovec){ "abcdefghijklmnopqrst" + i, 1 };
	show("vector", writev(s[0], iov, 20));
	show_recv("in one piece", s[1], 100, 0);
	show("vector", writev(s[0], iov, 20));
	for (i = 0; i < 20; i++)
		iov[i] = (struct iovec){ buf + i, 1 };
	show_data("vector", readv(s[1], iov, 20), buf);
	fcntl(s[0], F_SETFL, O_NONBLOCK);
	while (send(s[0], "x", 1, 0) == 1)
		n++;
	printf("took some: %d\n", n > 100);
	show("full", send(s[0], "x", 1, 0));
	show_poll("full", s[0]);
	while (recv(s[1], buf, 1, MSG_DONTWAIT) == 1)
		n--;
	printf("left %d\n", n);
	show_poll("empty", s[0]);
	close(s[1]);
	show_recv("closed", s[0], 10, 0);
	show("write", send(s[0], "x", 1, 0));
	show_sigpipes("write");
	show("unconnected", send(socket(AF_UNIX, SOCK_SEQPACKET, 0), "x", 1, 0));
}

/* control messages */

static ssize_t send_fds(int sock, const char *data, size_t len, const int *fds,
			int n)
{
	char ctl[CMSG_SPACE(300 * sizeof(int))] = "";
	struct iovec iov = { (void *)data, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(sock, &h, MSG_DONTWAIT);
}

/* Receive and tell; the descriptors that came to @fds. */
static int show_fds(const char *what, int sock, size_t len, int *fds, int max,
		    int flags)
{
	char ctl[CMSG_SPACE(300 * sizeof(int))], buf[256];
	struct iovec iov = { buf, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl,
			    .msg_controllen = max ? CMSG_LEN(max * sizeof(int)) : 0 };
	ssize_t n = recvmsg(sock, &h, flags | MSG_DONTWAIT);
	struct cmsghdr *c;
	int got = 0;

	show_data(what, n, buf);
	if (n < 0)
		return 0;
	for (c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			got = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), got * sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;

			memcpy(&u, CMSG_DATA(c), sizeof(u));
			printf("  credentials%s%s\n",
			       u.pid == getpid() ? " own-pid" : u.pid ? " other-pid" : " no-pid",
			       u.uid == getuid() ? " own-uid" : " other-uid");
		}
	}
	printf("  %d descriptors, flags %x\n", got, h.msg_flags);
	return got;
}

static void test_rights(void)
{
	int s[2], p[2], got[300], many[300], i, n;
	char buf[10] = "";

	for (i = 0; i < 2; i++) {
		pair(i ? SOCK_DGRAM : SOCK_STREAM, s);
		if (pipe(p))
			exit(1);
		show("before", send(s[0], "plain ", 6, 0));
		show("descriptors", send_fds(s[0], "with", 4, p, 2));
		show("after", send(s[0], " after", 6, 0));
		n = show_fds("peek", s[1], 100, got, 10, MSG_PEEK);
		while (n-- > 0)
			close(got[n]);
		n = show_fds("first", s[1], 100, got, 10, MSG_CMSG_CLOEXEC);
		if (!n)
			n = show_fds("second", s[1], 100, got, 10, MSG_CMSG_CLOEXEC);
		printf("cloexec %d\n", fcntl(got[0], F_GETFD));
		if (write(got[1], "works", 5) == 5 && read(p[0], buf, 9) == 5)
			printf("the pipe %s\n", buf);
		show_fds("last", s[1], 100, got, 10, 0);
		send_fds(s[0], "two", 3, p, 2);
		show_fds("room for one", s[1], 100, got, 1, 0);
		send_fds(s[0], "two", 3, p, 2);
		show_fds("room for none", s[1], 100, got, 0, 0);
		send_fds(s[0], "two", 3, p, 2);
		show_recv("recv() drops them", s[1], 100, 0);
		many[0] = 999;
		show("bad descriptor", send_fds(s[0], "x", 1, many, 1));
		for (n = 0; n < 300; n++)
			many[n] = p[0];
		show("too many", send_fds(s[0], "x", 1, many, 254));
		show("just enough", send_fds(s[0], "x", 1, many, 253));
		n = show_fds("many", s[1], 100, got, 300, 0);
		while (n-- > 0)
			close(got[n]);
		close(s[0]);
		close(s[1]);
	}
	/* The other end of a pipe sees the last descriptor go, even in flight. */
	pair(SOCK_STREAM, s);
	if (pipe(p))
		exit(1);
	send_fds(s[0], "x", 1, &p[1], 1);
	close(p[1]);
	close(s[0]);
	close(s[1]);
	show("end of the pipe", read(p[0], buf, 1));
}

static void test_creds(void)
{
	int s[2], on = 1, got[4], i;
	struct ucred u;
	socklen_t len = sizeof(u);

	for (i = 0; i < 2; i++) {
		pair(i ? SOCK_DGRAM : SOCK_STREAM, s);
		setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
		printf("SO_PASSCRED %d %d\n", opt(s[0], SOL_SOCKET, SO_PASSCRED),
		       opt(s[1], SOL_SOCKET, SO_PASSCRED));
		send(s[0], "mine", 4, 0);
		if (!fork()) {
			send(s[0], "child's", 7, 0);
			_exit(0);
		}
		wait(NULL);
		send(s[0], "again", 5, 0);
		send(s[0], "again", 5, 0);
		show_fds("first", s[1], 100, got, 16, 0);
		show_fds("second", s[1], 100, got, 16, 0);
		show_fds("third", s[1], 3, got, 16, 0);
		show_fds("rest", s[1], 100, got, 16, 0);
		getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &len);
		printf("SO_PEERCRED %d %d\n", u.pid == getpid(), u.uid == getuid());
		close(s[0]);
		close(s[1]);
	}
}

static int count_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Sockets that hold each other in their queues; the pipe tells when they go. */
static void test_cycles(void)
{
	int p[2], a[2], b[2], i, n = count_fds();
	char c;

	for (i = 0; i < 3; i++) {
		if (pipe(p))
			exit(1);
		pair(i == 2 ? SOCK_DGRAM : SOCK_STREAM, a);
		pair(i == 2 ? SOCK_DGRAM : SOCK_STREAM, b);
		send_fds(a[0], "x", 1, i == 1 ? a : &b[1], i == 1 ? 2 : 1);
		send_fds(b[0], "x", 1, &a[1], 1);
		send_fds(b[0], "x", 1, &p[1], 1);
		close(p[1]);
		close(a[0]);
		close(a[1]);
		close(b[0]);
		close(b[1]);
		/* Any other socket that is closed makes the kernel look. */
		pair(SOCK_STREAM, a);
		close(a[0]);
		close(a[1]);
		show("cycle is gone", read(p[0], &c, 1));
		close(p[0]);
	}
	printf("left over %d\n", count_fds() - n);
	/* A chain, each in the next one's queue. */
	pair(SOCK_STREAM, a);
	for (i = 0; i < 500; i++) {
		pair(SOCK_STREAM, b);
		if (send_fds(b[0], "x", 1, &a[1], 1) != 1)
			break;
		close(a[0]);
		close(a[1]);
		a[0] = b[0];
		a[1] = b[1];
	}
	printf("chain of %d\n", i);
	close(a[0]);
	close(a[1]);
	printf("left over %d\n", count_fds() - n);
}

/* TCP and UDP */

static struct sockaddr_in in_addr_of(uint32_t ip, int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(ip) };
}

static int port_of(int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	getsockname(fd, (void *)&a, &len);
	return ntohs(a.sin6_port);
}

static int tcp_listener(uint32_t ip)
{
	struct sockaddr_in a = in_addr_of(ip, 0);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(s, (void *)&a, sizeof(a)) || listen(s, 5))
		exit(1);
	return s;
}

static int tcp_connect(int port, int flags)
{
	struct sockaddr_in a = in_addr_of(INADDR_LOOPBACK, port);
	int c = socket(AF_INET, SOCK_STREAM | flags, 0);

	if (connect(c, (void *)&a, sizeof(a)) && errno != EINPROGRESS)
		show("connect", -1);
	return c;
}

static void tcp_pair(int s[2])
{
	int l = tcp_listener(INADDR_LOOPBACK);

	s[0] = tcp_connect(port_of(l), 0);
	s[1] = accept(l, NULL, NULL);
	close(l);
}

static void test_tcp(void)
{
	int l = tcp_listener(INADDR_ANY), c, s[2], one = 1;
	struct sockaddr_in a = in_addr_of(INADDR_LOOPBACK, port_of(l));
	struct linger lin = { 1, 0 };
	socklen_t len = sizeof(a);

	show_poll("listening", l);
	show("taken", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, len));
	show("bind twice", bind(l, (void *)&a, len));
	c = tcp_connect(port_of(l), SOCK_NONBLOCK);
	show("connect", connect(c, (void *)&a, len));
	show("connect", connect(c, (void *)&a, len));
	show_error("connected", c);
	show_poll("connected", c);
	s[1] = accept4(l, (void *)&a, &len, SOCK_NONBLOCK);
	printf("from %s, %d\n", inet_ntoa(a.sin_addr), ntohs(a.sin_port) == port_of(c));
	printf("nodelay %ld ", show("set", setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, 4)));
	printf("%d\n", opt(c, IPPROTO_TCP, TCP_NODELAY));
	show_recv("nothing", s[1], 10, 0);
	close(c);
	show_poll("closed", s[1]);
	show_recv("end", s[1], 10, 0);
	show("first write", send(s[1], "x", 1, 0));
	usleep(20000);
	show_poll("after it", s[1]);
	show("second write", send(s[1], "x", 1, 0));
	show_sigpipes("second write");
	show_recv("read", s[1], 10, 0);
	close(s[1]);
	close(l);

	tcp_pair(s);
	send(s[0], "unread", 6, 0);
	send(s[1], "pending", 7, 0);
	usleep(20000);
	close(s[0]);
	usleep(20000);
	show_poll("reset", s[1]);
	show_recv("pending data", s[1], 100, 0);
	show_recv("reset", s[1], 100, 0);
	show_recv("then", s[1], 100, 0);
	show("write", send(s[1], "x", 1, MSG_NOSIGNAL));
	close(s[1]);

	tcp_pair(s);
	setsockopt(s[0], SOL_SOCKET, SO_LINGER, &lin, sizeof(lin));
	close(s[0]);
	usleep(20000);
	show_recv("linger", s[1], 100, 0);
	close(s[1]);

	tcp_pair(s);
	show("shutdown", shutdown(s[0], SHUT_WR));
	usleep(20000);
	show_poll("half closed", s[0]);
	show_poll("its peer", s[1]);
	show("other way", send(s[1], "data", 4, 0));
	usleep(20000);
	show_recv("other way", s[0], 2, 0);
	show_recv("discarded", s[0], 100, MSG_TRUNC);
	show("write", send(s[0], "x", 1, MSG_NOSIGNAL));
	shutdown(s[1], SHUT_WR);
	usleep(20000);
	show_poll("both", s[0]);
	close(s[0]);
	close(s[1]);

	tcp_pair(s);
	printf("state %d\n", opt(s[0], IPPROTO_TCP, TCP_INFO) & 0xff);
	show("oob read", recv(s[0], &one, 1, MSG_OOB));
	show("sendto", sendto(s[0], "x", 1, 0, (void *)&a, sizeof(a)));
	show("connected", connect(s[1], (void *)&a, sizeof(a)));
	close(s[0]);
	close(s[1]);
}

static void test_tcp_connect(void)
{
	int l = tcp_listener(INADDR_LOOPBACK), port = port_of(l), c;
	struct sockaddr_in a = in_addr_of(0x7f000005, port);
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(a);
	int fd;

	show("refused by address", connect(socket(AF_INET, SOCK_STREAM, 0),
					   (void *)&a, len));
	close(l);
	a = in_addr_of(INADDR_LOOPBACK, port);
	c = socket(AF_INET, SOCK_STREAM, 0);
	show("refused", connect(c, (void *)&a, len));
	show("once more", connect(c, (void *)&a, len));
	show("unconnected", send(c, "x", 1, MSG_NOSIGNAL));
	show("unconnected", recv(c, &fd, 1, MSG_DONTWAIT));
	show("shutdown", shutdown(c, SHUT_WR));
	show("getpeername", getpeername(c, (void *)&a, &len));
	show_poll("fresh", socket(AF_INET, SOCK_STREAM, 0));
	a = in_addr_of(INADDR_LOOPBACK, port);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	show("non-blocking", connect(c, (void *)&a, len));
	usleep(20000);
	show_poll("failed", c);
	show_error("failed", c);
	show_error("told once", c);
	show("accept", accept(c, NULL, NULL));
	a.sin_family = 99;
	show("bad family", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, len));
	show("bad length", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, 8));
	a = in_addr_of(0x08080808, 0);
	show("not our address", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, len));
	/* An address that listens for both families. */
	l = socket(AF_INET6, SOCK_STREAM, 0);
	show("listen unbound", listen(l, 3));
	a = in_addr_of(INADDR_LOOPBACK, port_of(l));
	c = socket(AF_INET, SOCK_STREAM, 0);
	show("4 to 6", connect(c, (void *)&a, sizeof(a)));
	len = sizeof(a6);
	fd = accept(l, (void *)&a6, &len);
	printf("mapped %d, length %u\n", IN6_IS_ADDR_V4MAPPED(&a6.sin6_addr), len);
	a6.sin6_addr = in6addr_loopback;
	a6.sin6_port = htons((uint16_t)port_of(l));
	c = socket(AF_INET6, SOCK_STREAM, 0);
	show("6 to 6", connect(c, (void *)&a6, sizeof(a6)));
	close(fd);
	fd = accept(l, (void *)&a6, &len);
	printf("loopback %d\n", IN6_IS_ADDR_LOOPBACK(&a6.sin6_addr));
	show("shutdown of a listening one", shutdown(l, SHUT_RD));
	show("accept", accept(l, NULL, NULL));
}

static void test_reuse(void)
{
	int l = tcp_listener(INADDR_LOOPBACK), on = 1, i;
	struct sockaddr_in a = in_addr_of(INADDR_LOOPBACK, port_of(l));
	struct sockaddr_in any = in_addr_of(INADDR_ANY, port_of(l));
	struct sockaddr_in other = in_addr_of(0x7f000002, port_of(l));
	int s = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	show("same", bind(s, (void *)&a, sizeof(a)));
	show("any", bind(s, (void *)&any, sizeof(any)));
	show("other", bind(s, (void *)&other, sizeof(other)));
	close(s);
	close(l);
	for (i = 0; i < 2; i++) {
		s = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
		show("SO_REUSEPORT", bind(s, (void *)&any, sizeof(any)));
		show("listen", listen(s, 3));
	}
	s = socket(AF_INET6, SOCK_STREAM, 0);
	printf("v6only %d\n", opt(s, IPPROTO_IPV6, IPV6_V6ONLY));
	setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	show("6 beside 4", bind(s, (void *)&(struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_port = any.sin_port },
		sizeof(struct sockaddr_in6)));
}

static void test_udp(void)
{
	int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = in_addr_of(INADDR_LOOPBACK, 0), from;
	struct sockaddr_in b = in_addr_of(INADDR_LOOPBACK, 0);
	socklen_t len = sizeof(from);
	struct mmsghdr m[3];
	struct iovec iov[3];
	char buf[3][20];
	int i, n;

	show("no destination", send(s, "x", 1, 0));
	show("connect to port 0", sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
	bind(r, (void *)&a, sizeof(a));
	a.sin_port = htons((uint16_t)port_of(r));
	show("sendto", sendto(s, "hello", 5, 0, (void *)&a, sizeof(a)));
	usleep(20000);
	show("recvfrom", recvfrom(r, buf[0], 20, 0, (void *)&from, &len));
	printf("%u %s %d\n", len, inet_ntoa(from.sin_addr),
	       ntohs(from.sin_port) == port_of(s));
	show("connect", connect(s, (void *)&a, sizeof(a)));
	show("getpeername", getpeername(s, (void *)&from, &len));
	memset(m, 0, sizeof(m));
	for (i = 0; i < 3; i++) {
		iov[i] = (struct iovec){ "abcdef", (size_t)i + 1 };
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	show("sendmmsg", sendmmsg(s, m, 3, 0));
	for (i = 0; i < 3; i++)
		iov[i] = (struct iovec){ buf[i], 20 };
	usleep(20000);
	n = recvmmsg(r, m, 3, 0, NULL);
	printf("recvmmsg %d: %u %u %u\n", n, m[0].msg_len, m[1].msg_len, m[2].msg_len);
	ioctl(r, FIONREAD, &n);
	printf("FIONREAD %d\n", n);
	show_poll("empty", r);
	/* A connected one hears its peer alone. */
	b.sin_port = htons((uint16_t)port_of(s));
	sendto(socket(AF_INET, SOCK_DGRAM, 0), "stray", 5, 0, (void *)&b, sizeof(b));
	sendto(r, "peer's", 6, 0, (void *)&b, sizeof(b));
	usleep(20000);
	show_recv("from the peer", s, 20, 0);
	show_recv("nothing else", s, 20, 0);
	close(r);
	show("nobody there", send(s, "x", 1, 0));
	usleep(20000);
	show_poll("nobody there", s);
	show("told", send(s, "x", 1, 0));
	show("too big", send(s, malloc(70000), 70000, 0));
	show("listen", listen(s, 1));
	show("shutdown", shutdown(s, SHUT_RDWR));
	show_recv("shut", s, 20, 0);
}

static void test_options(void)
{
	static const struct { int level, name; const char *text; } o[] = {
		{ SOL_SOCKET, SO_REUSEADDR, "REUSEADDR" },
		{ SOL_SOCKET, SO_KEEPALIVE, "KEEPALIVE" },
		{ SOL_SOCKET, SO_SNDBUF, "SNDBUF" },
		{ SOL_SOCKET, SO_RCVLOWAT, "RCVLOWAT" },
		{ IPPROTO_TCP, TCP_KEEPIDLE, "KEEPIDLE" },
		{ IPPROTO_TCP, TCP_KEEPCNT, "KEEPCNT" },
		{ IPPROTO_IP, IP_TTL, "TTL" },
		{ 12345, 1, "level" },
		{ SOL_SOCKET, 9999, "option" },
		{ IPPROTO_TCP, 9999, "tcp option" },
	};
	int kinds[] = { socket(AF_UNIX, SOCK_STREAM, 0),
			socket(AF_INET, SOCK_STREAM, 0) };
	int i, fd, v = 8192;
	char small[2] = "";
	socklen_t len = 2;
	size_t k;

	for (i = 0; i < 2; i++) {
		fd = kinds[i];
		for (k = 0; k < sizeof(o) / sizeof(o[0]); k++) {
			if (!i && o[k].level == IPPROTO_TCP)
				continue;
			printf("%s %d\n", o[k].text, o[k].name == SO_SNDBUF ? 0 :
			       opt(fd, o[k].level, o[k].name));
		}
		show("set", setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
		printf("doubled %d\n", opt(fd, SOL_SOCKET, SO_SNDBUF));
		show("short", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, 2));
		show("set", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, 4));
		printf("bool %d\n", opt(fd, SOL_SOCKET, SO_KEEPALIVE));
		show("read only", setsockopt(fd, SOL_SOCKET, SO_TYPE, &v, 4));
		show("two bytes", getsockopt(fd, SOL_SOCKET, SO_TYPE, small, &len));
		printf("%u %d\n", len, small[0]);
		show("bad address", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, (void *)8, 4));
	}
	show("range", setsockopt(kinds[1], IPPROTO_TCP, TCP_KEEPIDLE, (int[]){ 0 }, 4));
}

/* waiting for several */

static void show_epoll(const char *what, int ep)
{
	struct epoll_event ev[8];
	int n = epoll_wait(ep, ev, 8, 0), i;

	printf("%s: %d", what, n);
	for (i = 0; i < n; i++)
		printf(" %x", ev[i].events);
	printf("\n");
}

static void test_epoll(void)
{
	int s[2], ep = epoll_create1(0), l, c, d;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP };

	pair(SOCK_STREAM, s);
	epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev);
	show_epoll("added", ep);
	show_epoll("edge", ep);
	send(s[1], "x", 1, 0);
	show_epoll("data", ep);
	show_epoll("edge", ep);
	send(s[1], "x", 1, 0);
	show_epoll("more", ep);
	show_recv("read", s[0], 100, 0);
	show_epoll("read", ep);
	shutdown(s[1], SHUT_WR);
	show_epoll("half closed", ep);
	close(s[1]);
	show_epoll("closed", ep);
	close(s[0]);
	show_epoll("gone", ep);
	l = tcp_listener(INADDR_LOOPBACK);
	ev.events = EPOLLIN;
	epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
	show_epoll("listening", ep);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ev.events = EPOLLOUT;
	epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev);
	struct sockaddr_in a = in_addr_of(INADDR_LOOPBACK, port_of(l));

	connect(c, (void *)&a, sizeof(a));
	usleep(20000);
	show_epoll("connected", ep);
	d = accept(l, NULL, NULL);
	show_epoll("accepted", ep);
	close(d);
	close(c);
	close(l);
	show_epoll("none", ep);
}

static void *ping(void *fd)
{
	char c;
	int i;

	for (i = 0; i < 200; i++) {
		if (read((int)(intptr_t)fd, &c, 1) != 1 ||
		    write((int)(intptr_t)fd, &c, 1) != 1)
			exit(1);
	}
	return NULL;
}

/* Blocking senders and receivers wake each other, whatever the sizes. */
static void test_traffic(void)
{
	char *buf = malloc(1 << 20);
	int s[2], i, kind;
	pthread_t t;
	size_t sum;
	ssize_t n;
	char c = 'x';

	for (kind = 0; kind < 2; kind++) {
		if (kind)
			tcp_pair(s);
		else
			pair(SOCK_STREAM, s);
		pthread_create(&t, NULL, ping, (void *)(intptr_t)s[1]);
		for (i = 0; i < 200; i++) {
			if (write(s[0], &c, 1) != 1 || read(s[0], &c, 1) != 1)
				exit(1);
		}
		pthread_join(t, NULL);
		if (!fork()) {
			close(s[1]);
			memset(buf, kind + 1, 1 << 20);
			for (i = 0; i < 8; i++) {
				if (send(s[0], buf, 1 << 20, 0) != 1 << 20)
					_exit(1);
			}
			_exit(0);
		}
		close(s[0]);
		for (i = 1, sum = 0; (n = recv(s[1], buf, (size_t)i * 1001 % 300000 + 1, 0)) > 0; i++) {
			sum += (size_t)n;
			if (buf[0] != kind + 1 || buf[n - 1] != kind + 1)
				printf("wrong byte\n");
		}
		wait(&i);
		printf("bytes %zu, sender %x\n", sum, i);
		close(s[1]);
	}
	free(buf);
}

static void *shutter(void *fd)
{
	usleep(50000);
	shutdown((int)(intptr_t)fd, SHUT_RDWR);
	return NULL;
}

static void on_alarm(int signo)
{
}

static void test_wakes(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	pthread_t t;
	int s[2], l;
	char c;

	pair(SOCK_STREAM, s);
	pthread_create(&t, NULL, shutter, (void *)(intptr_t)s[0]);
	show("reader woken by a shutdown", read(s[0], &c, 1));
	pthread_join(t, NULL);
	l = tcp_listener(INADDR_LOOPBACK);
	pthread_create(&t, NULL, shutter, (void *)(intptr_t)l);
	show("accept woken by a shutdown", accept(l, NULL, NULL));
	pthread_join(t, NULL);
	pair(SOCK_STREAM, s);
	sigaction(SIGALRM, &sa, NULL);
	ualarm(50000, 0);
	show("reader woken by a signal", read(s[0], &c, 1));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	ualarm(50000, 0);
	pthread_create(&t, NULL, late_writer, (void *)(intptr_t)s[1]);
	show("restarted", recv(s[0], (char[16]){ 0 }, 16, MSG_WAITALL) > 0);
	pthread_join(t, NULL);
}

static void test_netlink(void)
{
	struct { struct nlmsghdr h; struct rtgenmsg g; } req = {
		{ sizeof(req), RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 7, 0 },
		{ AF_UNSPEC },
	};
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), lo = 0, done = 0;
	socklen_t len = sizeof(a);
	char buf[8192];
	struct nlmsghdr *h;
	ssize_t n;

	show("bind", bind(s, (void *)&a, sizeof(a)));
	getsockname(s, (void *)&a, &len);
	printf("length %u, port %d\n", len, a.nl_pid != 0);
	show("request", sendto(s, &req, sizeof(req), 0, NULL, 0) > 0);
	while (!done && (n = recv(s, buf, sizeof(buf), 0)) > 0) {
		for (h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			struct ifaddrmsg *m = NLMSG_DATA(h);

			if (h->nlmsg_type == NLMSG_DONE)
				done = 1;
			else
				lo += m->ifa_index == 1;
			if (h->nlmsg_seq != 7 || h->nlmsg_pid != a.nl_pid)
				printf("not for us\n");
		}
	}
	printf("addresses of lo: %d\n", lo > 0);
	show("other protocol", socket(AF_NETLINK, SOCK_RAW, 31));
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "create", test_create },	{ "stream", test_stream },
	{ "waiting", test_waiting },	{ "names", test_names },
	{ "dgram", test_dgram },	{ "seqpacket", test_seqpacket },
	{ "rights", test_rights },	{ "creds", test_creds },
	{ "cycles", test_cycles },	{ "tcp", test_tcp },
	{ "tcp_connect", test_tcp_connect }, { "reuse", test_reuse },
	{ "udp", test_udp },		{ "options", test_options },
	{ "epoll", test_epoll },	{ "traffic", test_traffic },
	{ "wakes", test_wakes },	{ "netlink", test_netlink },
};

int main(int argc, char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_sigpipe);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		printf("== %s\n", tests[i].name);
		tests[i].fn();
	}
	return 0;
}
