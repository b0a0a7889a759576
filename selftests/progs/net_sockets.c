// SPDX-License-Identifier: MIT
/*
 * net_sockets.c - prints what TCP, UDP and netlink sockets do in many a corner, and
 * how sockets wake who waits for them, for comparison with the host's kernel: one
 * part by its name, or all
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "selftests/progs/sockets.h"

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

static void show_name(const char *what, int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	getsockname(fd, (void *)&a, &len);
	printf("%s: %s, %s port\n", what, inet_ntoa(a.sin_addr), a.sin_port ? "a" : "no");
}

/* What bind() gave lasts; what connect() chose goes with the connection. */
static void test_udp_disconnect(void)
{
	struct sockaddr_in to = in_addr_of(INADDR_LOOPBACK, 9), own = in_addr_of(0x7f000002, 0);
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int i, s;

	for (i = 0; i < 2; i++) {
		s = socket(AF_INET, SOCK_DGRAM, 0);
		if (i)
			show("bind", bind(s, (void *)&own, sizeof(own)));
		show_name("new", s);
		show("connect", connect(s, (void *)&to, sizeof(to)));
		show_name("connected", s);
		show("disconnect", connect(s, &none, sizeof(none)));
		show_name("disconnected", s);
		show("connect", connect(s, (void *)&to, sizeof(to)));
		show_name("connected", s);
		close(s);
	}
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

static const struct part parts[] = {
	{ "tcp", test_tcp },
	{ "tcp_connect", test_tcp_connect },
	{ "reuse", test_reuse },
	{ "udp", test_udp },
	{ "udp_disconnect", test_udp_disconnect },
	{ "options", test_options },
	{ "epoll", test_epoll },
	{ "traffic", test_traffic },
	{ "wakes", test_wakes },
	{ "netlink", test_netlink },
};

int main(int argc, char **argv)
{
	return run_parts(parts, sizeof(parts) / sizeof(parts[0]), argc, argv);
}
