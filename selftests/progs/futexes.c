// SPDX-License-Identifier: MIT
/*
 * futexes.c - prints what futex(2) does, private and shared, for comparison
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint32_t word, word2;

static long fx(uint32_t *addr, int op, uint32_t val, void *timeout,
	       uint32_t *addr2, uint32_t val3)
{
	return syscall(SYS_futex, addr, op, val, timeout, addr2, val3);
}

static void result(const char *name, long ret)
{
	printf("%s: %ld %s\n", name, ret,
	       ret < 0 ? strerrorname_np(errno) : "");
}

static void errors(void)
{
	struct timespec bad = { .tv_nsec = 1000000000 };
	struct timespec soon = { .tv_nsec = 1000000 };
	uint32_t *unaligned = (uint32_t *)((char *)&word + 1);

	result("unaligned", fx(unaligned, FUTEX_WAKE, 1, NULL, NULL, 0));
	result("null_wait", fx(NULL, FUTEX_WAIT, 0, NULL, NULL, 0));
	result("null_wake_shared", fx(NULL, FUTEX_WAKE, 1, NULL, NULL, 0));
	result("other_value", fx(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
	result("bad_timeout", fx(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
	result("timeout", fx(&word, FUTEX_WAIT, 0, &soon, NULL, 0));
	result("past", fx(&word, FUTEX_WAIT_BITSET, 0, &soon, NULL, ~0u));
	result("past_realtime",
	       fx(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &soon,
		  NULL, ~0u));
	result("no_bits", fx(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0));
	result("wake_nobody", fx(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
	result("wake_no_bits", fx(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
	result("unknown", fx(&word, 99, 0, NULL, NULL, 0));
	result("requeue_changed", fx(&word, FUTEX_CMP_REQUEUE, 1, (void *)1,
				     &word2, 5));
	result("requeue_negative", fx(&word, FUTEX_CMP_REQUEUE, (uint32_t)-1,
				      (void *)1, &word2, 0));
}

static void wake_ops(void)
{
	static const int ops[] = { FUTEX_OP_SET, FUTEX_OP_ADD, FUTEX_OP_OR,
				   FUTEX_OP_ANDN, FUTEX_OP_XOR };
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		word2 = 12;
		fx(&word, FUTEX_WAKE_OP, 1, (void *)1, &word2,
		   (uint32_t)FUTEX_OP(ops[i], 5, FUTEX_OP_CMP_EQ, 12));
		printf("op %zu: %u\n", i, word2);
	}
	word2 = 1;
	fx(&word, FUTEX_WAKE_OP, 1, (void *)1, &word2,
	   (uint32_t)FUTEX_OP(FUTEX_OP_ADD, -3, FUTEX_OP_CMP_LT, -1));
	printf("negative: %d\n", (int)word2);
	word2 = 0;
	fx(&word, FUTEX_WAKE_OP, 1, (void *)1, &word2,
	   (uint32_t)FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 9,
			      FUTEX_OP_CMP_GE, 0));
	printf("shifted: %u\n", word2);
	result("bad_op", fx(&word, FUTEX_WAKE_OP, 1, (void *)1, &word2,
			    (uint32_t)FUTEX_OP(7, 9, 0, 0)));
}

static atomic_int asleep, awake;

static void *sleeper(void *arg)
{
	uint32_t bits = (uint32_t)(uintptr_t)arg;

	atomic_fetch_add(&asleep, 1);
	fx(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, bits);
	atomic_fetch_add(&awake, 1);
	return NULL;
}

/* Time enough to fall asleep; SANDTRAP_SLOW is that of patience.h. */
static void settle(void)
{
	const char *slow = getenv("SANDTRAP_SLOW");

	usleep(50000 * (slow && atoi(slow) > 1 ? atoi(slow) : 1));
}

static void start(pthread_t *th, int n)
{
	int i;

	atomic_store(&asleep, 0);
	atomic_store(&awake, 0);
	/* One after the other: the longest waiting is woken first. */
	for (i = 0; i < n; i++) {
		pthread_create(&th[i], NULL, sleeper,
			       (void *)(uintptr_t)(1u << (i & 1)));
		while (atomic_load(&asleep) <= i)
			usleep(1000);
		settle();
	}
}

static void join(pthread_t *th, int n)
{
	while (n--)
		pthread_join(th[n], NULL);
}

static void waking(void)
{
	const int priv = FUTEX_PRIVATE_FLAG;
	pthread_t th[6];

	start(th, 6);
	result("wake_two", fx(&word, FUTEX_WAKE | priv, 2, NULL, NULL, 0));
	settle();
	printf("awake: %d\n", atomic_load(&awake));
	result("wake_even", fx(&word, FUTEX_WAKE_BITSET | priv, 9, NULL, NULL, 1));
	result("requeue", fx(&word, FUTEX_CMP_REQUEUE | priv, 0, (void *)9,
			     &word2, 0));
	result("first_empty", fx(&word, FUTEX_WAKE | priv, 9, NULL, NULL, 0));
	result("second", fx(&word2, FUTEX_WAKE | priv, 9, NULL, NULL, 0));
	join(th, 6);
	printf("awake: %d\n", atomic_load(&awake));
	start(th, 3);
	word2 = 0;
	result("wake_op", fx(&word2, FUTEX_WAKE_OP | priv, 1, (void *)9, &word,
			     (uint32_t)FUTEX_OP(FUTEX_OP_SET, 0,
						FUTEX_OP_CMP_EQ, 0)));
	join(th, 3);
}

/* A word in shared memory is the same in two processes, at any address. */
static void between_processes(void)
{
	uint32_t *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid) {
		a[1] = 1;
		_exit(fx(a, FUTEX_WAIT, 0, NULL, NULL, 0) ? 1 : 7);
	}
	while (!__atomic_load_n(&a[1], __ATOMIC_SEQ_CST))
		usleep(1000);
	settle();
	result("private_key_differs",
	       fx(a, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
	result("shared_wakes", fx(a, FUTEX_WAKE, 1, NULL, NULL, 0));
	waitpid(pid, &status, 0);
	printf("child: %#x\n", status);
}

/* The owner dies: the next one is told. */
static void robust(void)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_int *locked = (atomic_int *)(m + 1);
	pid_t pid;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(m, &attr);
	pid = fork();
	if (!pid) {
		pthread_mutex_lock(m);
		atomic_store(locked, 1);
		settle();
		_exit(0);
	}
	while (!atomic_load(locked))
		usleep(1000);
	printf("robust: %s\n", strerrorname_np(pthread_mutex_lock(m)));
	printf("consistent: %d\n", pthread_mutex_consistent(m));
	printf("unlock: %d\n", pthread_mutex_unlock(m));
	waitpid(pid, NULL, 0);
	result("robust_size", syscall(SYS_set_robust_list, m, 5));
}

static volatile uint32_t counter;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void *contend(void *arg)
{
	int i;

	for (i = 0; i < 3000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void contention(void)
{
	pthread_t th[8];
	int i;

	for (i = 0; i < 8; i++)
		pthread_create(&th[i], NULL, contend, NULL);
	pthread_mutex_lock(&mutex);
	while (counter < 24000)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	join(th, 8);
	printf("counter: %u\n", counter);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	errors();
	wake_ops();
	waking();
	between_processes();
	robust();
	contention();
	return 0;
}
