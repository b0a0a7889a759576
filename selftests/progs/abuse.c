// SPDX-License-Identifier: MIT
/*
 * abuse - calls that are meant to bring down or lock up whoever carries them out
 *
 * Each prints its name and "survived"; natively all of them do. Arguments: the
 * names of those to make.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* A child whose end is told by a signal that does not exist. */
static void exit_signal(void)
{
	unsigned long signo;
	int status;
	long pid;

	for (signo = 65; signo < 256; signo++) {
		pid = syscall(SYS_clone, signo, 0, 0, 0, 0);
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid((pid_t)pid, &status, __WALL) != pid)
			die("clone");
	}
}

/* Instances of epoll that watch each other, as many levels as there can be. */
static void epoll_tower(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct rlimit files;
	struct pollfd pfd;
	int fds[2], top, next, level = 0;

	if (getrlimit(RLIMIT_NOFILE, &files) || pipe(fds))
		die("pipe");
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (top = fds[0]; level < 5000; level++, top = next) {
		next = epoll_create1(0);
		if (next < 0 || epoll_ctl(next, EPOLL_CTL_ADD, top, &ev))
			break;
	}
	if (level < 2 || write(fds[1], "x", 1) != 1)
		die("epoll");
	pfd = (struct pollfd){ top, POLLIN, 0 };
	if (poll(&pfd, 1, 0) != 1)
		die("poll");
}

/* A file that tells of itself while it is read. */
static void fdinfo_of_itself(void)
{
	char name[64], buf[256];
	int fd = open("/dev/null", O_RDONLY), self;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	self = open(name, O_RDONLY);
	if (fd < 0 || self < 0 || dup2(self, fd) < 0 ||
	    read(fd, buf, sizeof(buf)) <= 0)
		die("fdinfo");
}

static int shrinking;
static volatile int stop;

static void *shrink(void *arg)
{
	(void)arg;
	while (!stop)
		if (ftruncate(shrinking, 0) || ftruncate(shrinking, 4096))
			die("ftruncate");
	return NULL;
}

/* Futexes in a file that loses its pages meanwhile. */
static void futex_in_shrinking_file(void)
{
	pthread_t threads[2];
	uint32_t here = 0, *there;
	time_t end;
	int i;

	shrinking = memfd_create("shrinking", 0);
	if (shrinking < 0 || ftruncate(shrinking, 4096))
		die("memfd");
	there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shrinking,
		     0);
	if (there == MAP_FAILED)
		die("mmap");
	for (i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, shrink, NULL))
			die("pthread_create");
	/* The other two may leave it little of the CPUs. */
	end = time(NULL) + 10;
	for (i = 0; i < 50000 && time(NULL) < end; i++)
		syscall(SYS_futex, &here, FUTEX_WAKE_OP, 1, 1, there,
			FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
	stop = 1;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static const struct {
	const char *name;
	void (*run)(void);
} abuses[] = {
	{ "exit_signal", exit_signal },
	{ "epoll_tower", epoll_tower },
	{ "fdinfo_of_itself", fdinfo_of_itself },
	{ "futex_in_shrinking_file", futex_in_shrinking_file },
};

int main(int argc, char **argv)
{
	size_t i;
	int a;

	for (a = 1; a < argc; a++)
		for (i = 0; i < sizeof(abuses) / sizeof(abuses[0]); i++)
			if (!strcmp(argv[a], abuses[i].name)) {
				abuses[i].run();
				printf("%s: survived\n", argv[a]);
				fflush(stdout);
			}
	return 0;
}
