// SPDX-License-Identifier: MIT
/*
 * restart.c - what a signal does to a blocking system call, with SA_RESTART and without
 *
 * Usage: restart read|nanosleep|wait4|futex|pause|sigsuspend
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static int pipe_fds[2];
static pid_t child;

static void count(int signo)
{
	signals++;
}

/* The call blocks until the second signal's handler has made it ready. */
static void count_and_release(int signo)
{
	if (++signals < 2)
		return;
	if (write(pipe_fds[1], "x", 1) != 1)
		_exit(90);
	if (child)
		kill(child, SIGKILL);
}

static long call_read(void)
{
	char c;

	return read(pipe_fds[0], &c, 1);
}

static long call_nanosleep(void)
{
	/* Longer than the first signal takes. */
	struct timespec ts = { .tv_nsec = 900000000 };

	return nanosleep(&ts, NULL);
}

static long call_wait4(void)
{
	return wait4(child, NULL, 0, NULL) == child ? 0 : -1;
}

static long call_futex(void)
{
	static int word;
	struct timespec ts = { .tv_nsec = 900000000 };

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0);
}

static long call_pause(void)
{
	return pause();
}

static long call_sigsuspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {
	{ "read", call_read }, { "nanosleep", call_nanosleep }, { "wait4", call_wait4 },
	{ "futex", call_futex }, { "pause", call_pause }, { "sigsuspend", call_sigsuspend },
};

static void prepare(const char *name, int flags)
{
	/* All others end whatever the flags say: signal(7). */
	bool restarts = flags && (!strcmp(name, "read") || !strcmp(name, "wait4"));
	struct sigaction sa = {
		.sa_handler = restarts ? count_and_release : count,
		.sa_flags = flags,
	};
	/* A second signal comes for calls that are restarted, or that the first one missed. */
	struct itimerval timer = {
		.it_value.tv_usec = 200000,
		.it_interval = { .tv_sec = restarts ? 0 : 2, .tv_usec = restarts ? 200000 : 0 },
	};

	signals = 0;
	child = 0;
	if (pipe(pipe_fds))
		exit(91);
	if (!strcmp(name, "wait4")) {
		child = fork();
		if (child < 0)
			exit(92);
		if (!child) {
			for (;;)
				pause();
		}
	}
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void finish(void)
{
	struct itimerval none = { 0 };

	setitimer(ITIMER_REAL, &none, NULL);
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void run(const char *name, long (*call)(void), int flags)
{
	long ret;
	int err;

	prepare(name, flags);
	errno = 0;
	ret = call();
	err = errno;
	printf("%s %s: %ld %s, %s\n", name, flags ? "SA_RESTART" : "plain", ret,
	       strerrorname_np(err), signals > 1 ? "several" : signals ? "one" : "none");
	finish();
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (argc == 2 && !strcmp(argv[1], calls[i].name)) {
			run(argv[1], calls[i].call, 0);
			run(argv[1], calls[i].call, SA_RESTART);
			return 0;
		}
	}
	fprintf(stderr, "usage: restart CALL\n");
	return 2;
}
