// SPDX-License-Identifier: MIT
/*
 * busy - a program that is in the middle of something whenever it is killed
 *
 * Threads, children, mappings, faults, signals and pipes come and go without an
 * end. Whoever starts it kills it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGION (64 * 4096)

static void on_fault(int sig, siginfo_t *info, void *context)
{
	mprotect((void *)((unsigned long)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
}

/* Every write faults, and the handler opens the page. */
static void touch_forbidden_pages(void)
{
	char *region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	if (region == MAP_FAILED)
		return;
	for (i = 0; i < REGION; i += 4096)
		region[i] = 1;
	munmap(region, REGION);
}

static void *thread(void *arg)
{
	int *pipe_end = arg;
	char text[512];

	memset(text, 'x', sizeof(text));
	if (write(*pipe_end, text, sizeof(text)) < 0)
		perror("write");
	touch_forbidden_pages();
	return NULL;
}

static void one_child(void)
{
	pid_t pid = fork();

	if (!pid) {
		touch_forbidden_pages();
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

int main(void)
{
	pthread_t threads[2];
	char text[4096];
	int ends[2], i;

	catch_faults();
	puts("busy");
	fflush(stdout);
	for (;;) {
		if (pipe(ends))
			return 1;
		for (i = 0; i < 2; i++)
			if (pthread_create(&threads[i], NULL, thread, &ends[1]))
				return 1;
		one_child();
		for (i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		if (read(ends[0], text, sizeof(text)) <= 0)
			return 1;
		close(ends[0]);
		close(ends[1]);
	}
}
