// SPDX-License-Identifier: MIT
/*
 * threads.c - threads, locks, thread-local storage, and exits of all kinds
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_THREADS 12

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static int turn, total;
static __thread int local;

/* Threads add their number strictly in turn. */
static void *take_turn(void *arg)
{
	int me = (int)(long)arg;

	local = me;
	pthread_barrier_wait(&barrier);
	pthread_mutex_lock(&mutex);
	while (turn != me)
		pthread_cond_wait(&cond, &mutex);
	turn++;
	total = total * 3 + local;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	sem_post(&semaphore);
	return (void *)(long)(local * 2);
}

static void in_turn(void)
{
	pthread_t threads[NR_THREADS];
	long sum = 0;
	void *ret;
	long i;

	pthread_barrier_init(&barrier, NULL, NR_THREADS);
	sem_init(&semaphore, 0, 0);
	for (i = 0; i < NR_THREADS; i++)
		pthread_create(&threads[i], NULL, take_turn, (void *)i);
	for (i = 0; i < NR_THREADS; i++)
		sem_wait(&semaphore);
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], &ret);
		sum += (long)ret;
	}
	printf("total %d, returned %ld\n", total, sum);
}

static void with_timeout(void)
{
	struct timespec ts;
	int ret;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 50000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	ret = pthread_cond_timedwait(&cond, &mutex, &ts);
	pthread_mutex_unlock(&mutex);
	printf("timed out: %d\n", ret == ETIMEDOUT);
}

static void *sleep_long(void *arg)
{
	for (;;)
		sleep(100);
	return NULL;
}

static void cancelled(void)
{
	pthread_t thread;
	void *ret;

	pthread_create(&thread, NULL, sleep_long, NULL);
	pthread_cancel(thread);
	pthread_join(thread, &ret);
	printf("cancelled: %d\n", ret == PTHREAD_CANCELED);
}

static volatile pid_t handled_by;

static void handle(int signo)
{
	handled_by = (pid_t)syscall(SYS_gettid);
}

static void *wait_for_signal(void *arg)
{
	sem_post(&semaphore);
	while (!handled_by)
		usleep(1000);
	return (void *)(long)(handled_by == (pid_t)syscall(SYS_gettid));
}

static void directed(void)
{
	pthread_t thread;
	void *ret;

	signal(SIGUSR1, handle);
	pthread_create(&thread, NULL, wait_for_signal, NULL);
	sem_wait(&semaphore);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, &ret);
	printf("handled by the right thread: %ld\n", (long)ret);
}

/* The first and the last word of an area, written one after the other. */
static volatile long *first, *last;
static volatile bool stop_writing;

static void *write_in_order(void *arg)
{
	long n;

	for (n = 1; !stop_writing; n++) {
		*first = n;
		*last = n;
	}
	return NULL;
}

/* What a child finds is the memory of one moment, whatever other threads write. */
static void one_moment(void)
{
	const size_t size = 64 << 10;
	int status, wrong = 0, i;
	pthread_t thread;
	pid_t pid;

	first = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	last = first + size / sizeof(*first) - 1;
	memset((void *)first, 0, size);
	pthread_create(&thread, NULL, write_in_order, NULL);
	fflush(stdout);
	for (i = 0; i < 40; i++) {
		pid = fork();
		if (!pid)
			_exit(*last > *first);
		waitpid(pid, &status, 0);
		wrong += status != 0;
	}
	stop_writing = true;
	pthread_join(thread, NULL);
	printf("children of another moment: %d\n", wrong);
}

/* A page with the byte that is read, and one that others write. */
static struct {
	char byte, other;
} page __attribute__((aligned(4096)));

static void *read_byte(void *arg)
{
	return (void *)(long)read(*(int *)arg, &page.byte, 1);
}

/*
 * Began before a fork, and what is read arrives after it: in the memory of who reads,
 * though that has been written meanwhile, and not in the child's.
 */
static void read_across_a_fork(void)
{
	int bytes[2], go[2], status;
	pthread_t thread;
	char c = 'x';
	void *ret;
	pid_t pid;

	if (pipe(bytes) || pipe(go))
		exit(1);
	pthread_create(&thread, NULL, read_byte, &bytes[0]);
	usleep(50000);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(read(go[0], &c, 1) == 1 ? page.byte : 1);
	page.other = 1;
	if (write(bytes[1], &c, 1) != 1)
		exit(1);
	pthread_join(thread, &ret);
	printf("read across a fork: %ld %d\n", (long)ret, page.byte);
	if (write(go[1], &c, 1) != 1)
		exit(1);
	waitpid(pid, &status, 0);
	printf("the child has: %x\n", status);
}

static void *exit_process(void *arg)
{
	_exit((int)(long)arg);
}

static void *exec_shell(void *arg)
{
	execl("/bin/sh", "sh", "-c", "test $$ = $1 && exit 9", "sh", (char *)arg, NULL);
	return NULL;
}

static void *crash(void *arg)
{
	volatile int *volatile nowhere = NULL;

	*nowhere = 1;
	return NULL;
}

static void main_ends_first(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, exit_process, (void *)6l);
	pthread_exit(NULL);
}

/* Each in a child of its own, with idle threads beside the one that acts. */
static void in_child(const char *name, void *(*act)(void *), void *arg)
{
	pthread_t thread;
	char pid_text[16];
	int status;
	pid_t pid;
	int i;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		snprintf(pid_text, sizeof(pid_text), "%d", getpid());
		for (i = 0; i < 3; i++)
			pthread_create(&thread, NULL, sleep_long, NULL);
		if (!act)
			main_ends_first();
		pthread_create(&thread, NULL, act, arg ? arg : pid_text);
		pthread_join(thread, NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	printf("%s: status %x\n", name, status);
}

int main(void)
{
	in_turn();
	with_timeout();
	cancelled();
	directed();
	one_moment();
	read_across_a_fork();
	in_child("exit of a thread", exit_process, (void *)5l);
	in_child("exec of a thread", exec_shell, NULL);
	in_child("fault of a thread", crash, NULL);
	in_child("main thread first", NULL, NULL);
	return 0;
}
