/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - what the programs that print what sockets do have in common
 */
#ifndef _SELFTESTS_PROGS_SOCKETS_H
#define _SELFTESTS_PROGS_SOCKETS_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static int sigpipes;

static inline void on_sigpipe(int signo)
{
	sigpipes++;
}

static inline void show_sigpipes(const char *what)
{
	printf("%s: %d SIGPIPE\n", what, sigpipes);
	sigpipes = 0;
}

static inline void show_data(const char *what, ssize_t n, const char *buf)
{
	if (n < 0)
		show(what, n);
	else
		printf("%s: %zd \"%.*s\"\n", what, n, (int)n, buf);
}

static inline void show_recv(const char *what, int fd, size_t len, int flags)
{
	char buf[256];

	show_data(what, recv(fd, buf, len, flags | MSG_DONTWAIT), buf);
}

static inline void show_poll(const char *what, int fd)
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

static inline int opt(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	if (getsockopt(fd, level, name, &v, &len))
		return -errno;
	return v;
}

static inline void show_error(const char *what, int fd)
{
	int err = opt(fd, SOL_SOCKET, SO_ERROR);

	printf("%s: SO_ERROR %s\n", what, err ? strerrorname_np(err) : "none");
}

static inline void pair(int type, int fds[2])
{
	if (socketpair(AF_UNIX, type, 0, fds)) {
		perror("socketpair");
		exit(1);
	}
}

/* Writes 16 bytes, in four pieces that come late. */
static inline void *late_writer(void *fd)
{
	int i;

	for (i = 0; i < 4; i++) {
		usleep(20000);
		if (write((int)(intptr_t)fd, "abcd", 4) != 4)
			exit(1);
	}
	return NULL;
}

struct part {
	const char *name;
	void (*fn)(void);
};

/* Run the parts with the names that are given, or all. */
static inline int run_parts(const struct part *parts, size_t n, int argc,
			    char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_sigpipe);
	for (i = 0; i < n; i++) {
		if (argc > 1 && strcmp(argv[1], parts[i].name))
			continue;
		printf("== %s\n", parts[i].name);
		parts[i].fn();
	}
	return 0;
}

#endif /* _SELFTESTS_PROGS_SOCKETS_H */
