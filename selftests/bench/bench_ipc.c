// SPDX-License-Identifier: MIT
/*
 * bench_ipc - what a round trip to another thread or process costs
 *
 * Linked statically. One operation is there and back again. The futex is between
 * two threads, everything else between two processes.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* What the peer reads and writes, and what we do. */
static int peer_fds[2] = { -1, -1 }, own_fds[2] = { -1, -1 };
static pid_t peer_pid;
static pthread_t peer_thread;
static int have_peer_thread;

/* Whose turn it is. */
static _Atomic uint32_t turn;
enum { OURS, THEIRS, STOP };

static long futex(int op, uint32_t value)
{
	return syscall(SYS_futex, &turn, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void hand_over(uint32_t to)
{
	atomic_store(&turn, to);
	futex(FUTEX_WAKE, 1);
}

static uint32_t wait_while(uint32_t value)
{
	uint32_t now;

	while ((now = atomic_load(&turn)) == value) {
		if (futex(FUTEX_WAIT, value) && errno != EAGAIN && errno != EINTR)
			bench_fail("futex");
	}
	return now;
}

static void *futex_peer(void *unused)
{
	while (wait_while(OURS) != STOP)
		hand_over(OURS);
	return NULL;
}

static void start_thread(void)
{
	atomic_store(&turn, OURS);
	errno = pthread_create(&peer_thread, NULL, futex_peer, NULL);
	if (errno)
		bench_fail("pthread_create");
	have_peer_thread = 1;
}

static void stop_thread(void)
{
	if (!have_peer_thread)
		return;
	have_peer_thread = 0;
	hand_over(STOP);
	pthread_join(peer_thread, NULL);
}

static void futex_round_trip(unsigned long count)
{
	while (count--) {
		hand_over(THEIRS);
		wait_while(THEIRS);
	}
}

static void close_pair(int *pair)
{
	if (pair[1] >= 0 && pair[1] != pair[0])
		close(pair[1]);
	if (pair[0] >= 0)
		close(pair[0]);
	pair[0] = pair[1] = -1;
}

static void echo(void)
{
	char byte;

	while (read(peer_fds[0], &byte, 1) == 1) {
		if (write(peer_fds[1], &byte, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

/* Of the two pairs each side keeps its own. */
static void start_peer(void)
{
	fflush(stdout);
	peer_pid = fork();
	if (!peer_pid) {
		close_pair(own_fds);
		echo();
	}
	bench_want(peer_pid, "fork");
	close_pair(peer_fds);
}

static void stop_peer(void)
{
	close_pair(own_fds);
	close_pair(peer_fds);
	if (peer_pid > 0)
		waitpid(peer_pid, NULL, 0);
	peer_pid = 0;
}

static void start_pipes(void)
{
	int there[2], back[2];

	bench_want(pipe(there), "pipe");
	bench_want(pipe(back), "pipe");
	peer_fds[0] = there[0];
	own_fds[1] = there[1];
	own_fds[0] = back[0];
	peer_fds[1] = back[1];
	start_peer();
}

static void start_unix(void)
{
	int pair[2];

	bench_want(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	own_fds[0] = own_fds[1] = pair[0];
	peer_fds[0] = peer_fds[1] = pair[1];
	start_peer();
}

static void no_delay(int fd)
{
	int on = 1;

	bench_want(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
}

static void start_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener, one, other;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = bench_want(socket(AF_INET, SOCK_STREAM, 0), "socket");
	own_fds[0] = own_fds[1] = listener;
	bench_want(bind(listener, (struct sockaddr *)&address, length), "bind");
	bench_want(listen(listener, 1), "listen");
	bench_want(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
	one = bench_want(socket(AF_INET, SOCK_STREAM, 0), "socket");
	peer_fds[0] = peer_fds[1] = one;
	bench_want(connect(one, (struct sockaddr *)&address, length), "connect");
	other = bench_want(accept(listener, NULL, NULL), "accept");
	close(listener);
	own_fds[0] = own_fds[1] = other;
	no_delay(one);
	no_delay(other);
	start_peer();
}

static void round_trip(unsigned long count)
{
	char byte = 0;

	while (count--) {
		if (write(own_fds[1], &byte, 1) != 1)
			bench_fail("write to the peer");
		if (read(own_fds[0], &byte, 1) != 1)
			bench_fail("read from the peer");
	}
}

static const struct bench_row rows[] = {
	{ .name = "futex_rt", .run = futex_round_trip,
	  .set_up = start_thread, .tear_down = stop_thread },
	{ .name = "pipe_rt", .run = round_trip, .set_up = start_pipes, .tear_down = stop_peer },
	{ .name = "unix_rt", .run = round_trip, .set_up = start_unix, .tear_down = stop_peer },
	{ .name = "tcp_rt", .run = round_trip, .set_up = start_tcp, .tear_down = stop_peer },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
