// SPDX-License-Identifier: MIT
/*
 * unix_sockets.c - prints what AF_UNIX sockets do in many a corner, for comparison
 * with the host's kernel: one part by its name, or all
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "selftests/progs/sockets.h"

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
	show("FIOASYNC", ioctl(fds[0], FIOASYNC, &(int){ 1 }));
	printf("O_ASYNC %d\n", !!(fcntl(fds[0], F_GETFL) & O_ASYNC));
	show("F_SETOWN", fcntl(fds[0], F_SETOWN, getpid()));
	show("terminal", isatty(fds[0]) - 1);
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

static const struct part parts[] = {
	{ "create", test_create },
	{ "stream", test_stream },
	{ "waiting", test_waiting },
	{ "names", test_names },
	{ "dgram", test_dgram },
	{ "seqpacket", test_seqpacket },
	{ "rights", test_rights },
	{ "creds", test_creds },
	{ "cycles", test_cycles },
};

int main(int argc, char **argv)
{
	return run_parts(parts, sizeof(parts) / sizeof(parts[0]), argc, argv);
}
