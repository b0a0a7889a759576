// SPDX-License-Identifier: MIT
/*
 * bench_proc - what processes and threads cost
 *
 * Linked statically, and its own child: "bench_proc exit" ends at once, "bench_proc sleep"
 * says so and sleeps for ever. "bench_proc time N COMMAND..." runs the command N
 * times, without its output, and prints "TICKS" of each run, from fork to wait.
 * "bench_proc rate" prints the ticks of a nanosecond.
 */
#include "bench.h"

#include <pthread.h>
#include <time.h>

#define RATE_NS 200000000

static void fork_exit(unsigned long count)
{
	pid_t pid;

	while (count--) {
		pid = bench_want(fork(), "fork");
		if (!pid)
			_exit(0);
		bench_reap(pid);
	}
}

static void fork_exec(unsigned long count)
{
	char *argv[] = { (char *)bench.self, "exit", NULL };
	pid_t pid;

	while (count--) {
		pid = bench_want(fork(), "fork");
		if (!pid) {
			execv(argv[0], argv);
			_exit(127);
		}
		bench_reap(pid);
	}
}

static void *do_nothing(void *unused)
{
	return NULL;
}

static void thread_join(unsigned long count)
{
	pthread_t thread;

	while (count--) {
		errno = pthread_create(&thread, NULL, do_nothing, NULL);
		if (errno)
			bench_fail("pthread_create");
		pthread_join(thread, NULL);
	}
}

static void __attribute__((noreturn)) sleep_for_ever(void)
{
	puts("asleep");
	fflush(stdout);
	for (;;)
		pause();
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static int print_rate(void)
{
	uint64_t start = nanoseconds(), ticks = bench_ticks(), ns;

	do
		ns = nanoseconds() - start;
	while (ns < RATE_NS);
	ticks = bench_ticks() - ticks;
	printf("%.6f\n", (double)ticks / ns);
	return 0;
}

static void exec_silently(char **argv)
{
	int null = open("/dev/null", O_WRONLY);

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(126);
	execvp(argv[0], argv);
	_exit(127);
}

/* Returns what the command's end was, 0 if good. */
static int time_once(char **argv)
{
	uint64_t start = bench_ticks();
	int status;
	pid_t pid = fork();

	if (!pid)
		exec_silently(argv);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("bench_proc: fork");
		return 1;
	}
	printf("%.0f\n", (double)(bench_ticks() - start));
	fflush(stdout);
	if (status)
		fprintf(stderr, "bench_proc: %s: wait status %#x\n", argv[0], status);
	return !!status;
}

static int time_command(unsigned int runs, char **argv)
{
	while (runs--) {
		if (time_once(argv))
			return 1;
	}
	return 0;
}

static const struct bench_row rows[] = {
	{ .name = "fork_exit", .run = fork_exit },
	{ .name = "fork_exec", .run = fork_exec },
	{ .name = "thread_join", .run = thread_join },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "exit"))
		return 0;
	if (argc == 2 && !strcmp(argv[1], "sleep"))
		sleep_for_ever();
	if (argc == 2 && !strcmp(argv[1], "rate"))
		return print_rate();
	if (argc > 3 && !strcmp(argv[1], "time"))
		return time_command(atoi(argv[2]), argv + 3);
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
