// SPDX-License-Identifier: MIT
/*
 * sentry_task_test.c - pieces of tasks and signals that need no platform
 *
 * Tasks here are bare structs whose "program" is a host thread of the test:
 * enough for sleeping and waking, queues of signals, and the futex table.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sentry/futex/internal.h"
#include "sentry/signal/internal.h"
#include "sentry/task/internal.h"
#include "sentry/time/internal.h"

#include "kselftest_harness.h"
#include "patience.h"

/* Long enough that a sleeper is asleep, short enough not to bore. */
#define SETTLE_US 20000
#define SOON_NS 50000000ull

/* There is nobody to interrupt "in the program", and nothing to give back for a sleep. */
static void fake_nothing(struct platform_context *ctx)
{
}

static const struct platform_ops fake_ops = {
	.interrupt = fake_nothing,
	.prepare_sleep = fake_nothing,
};
static struct platform fake_platform = { .ops = &fake_ops };
static struct platform_context fake_ctx = { .platform = &fake_platform };

static void fake_task(struct task *t)
{
	memset(t, 0, sizeof(*t));
	t->ctx = &fake_ctx;
	atomic_init(&t->refs, 1000);
	t->host_tid = gettid();
}

/* wait queues and sleeping */

struct sleeper {
	struct task t;
	struct wait_queue *q;
	atomic_bool ready;
	int err;
	pthread_t thread;
};

static void *sleep_until_ready(void *arg)
{
	struct sleeper *s = arg;
	struct waiter w;

	s->t.host_tid = gettid();
	waiter_init(&w, &s->t);
	wait_queue_add(s->q, &w);
	while (!atomic_load(&s->ready) && !s->err)
		s->err = task_block(&s->t, FOREVER);
	wait_queue_remove(s->q, &w);
	return NULL;
}

static void start_sleeper(struct sleeper *s, struct wait_queue *q)
{
	memset(s, 0, sizeof(*s));
	fake_task(&s->t);
	s->q = q;
	pthread_create(&s->thread, NULL, sleep_until_ready, s);
	usleep(SETTLE_US);
}

TEST(wake_before_sleep_is_not_lost)
{
	struct task t;

	fake_task(&t);
	task_wake(&t);
	EXPECT_EQ(0, task_block(&t, monotonic_ns() + SOON_NS));
	EXPECT_EQ(-ETIMEDOUT, task_block(&t, monotonic_ns() + 1000));
}

TEST(work_ends_a_sleep_at_once)
{
	struct task t;

	fake_task(&t);
	atomic_store(&t.work, TASK_WORK_SIGNAL);
	EXPECT_EQ(-ERESTARTSYS, task_block(&t, FOREVER));
	EXPECT_EQ(-ETIMEDOUT,
		  task_block_killable(&t, monotonic_ns() + 1000));
	atomic_store(&t.work, TASK_WORK_KILL);
	EXPECT_EQ(-ERESTARTSYS, task_block_killable(&t, FOREVER));
}

TEST(saved_mask_is_no_reason_to_wake)
{
	struct task t;

	fake_task(&t);
	atomic_store(&t.work, TASK_WORK_SIGMASK);
	EXPECT_FALSE(task_has_work(&t));
	EXPECT_EQ(-ETIMEDOUT, task_block(&t, monotonic_ns() + 1000));
}

TEST(kick_wakes_a_sleeper)
{
	struct wait_queue q;
	struct sleeper s;

	wait_queue_init(&q);
	start_sleeper(&s, &q);
	atomic_fetch_or(&s.t.work, TASK_WORK_SIGNAL);
	task_kick(&s.t);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-ERESTARTSYS, s.err);
}

TEST(wake_counts_and_goes_in_order)
{
	struct sleeper s[3];
	struct wait_queue q;
	int i;

	wait_queue_init(&q);
	EXPECT_EQ(0, wait_queue_wake(&q, 5));
	for (i = 0; i < 3; i++)
		start_sleeper(&s[i], &q);
	/* Only the first is woken: it alone finds its condition true. */
	for (i = 0; i < 3; i++) {
		atomic_store(&s[i].ready, true);
		EXPECT_EQ(1, wait_queue_wake(&q, 1));
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].err);
	}
	EXPECT_EQ(0, wait_queue_wake(&q, 1));
}

/* host system calls */

TEST(host_syscall_returns_results_and_errors)
{
	long a[6] = { -1 };
	struct task t;

	fake_task(&t);
	EXPECT_EQ(getpid(), task_host_syscall(&t, SYS_getpid, a));
	EXPECT_EQ(-EBADF, task_host_syscall(&t, SYS_close, a));
}

TEST(host_syscall_is_not_made_with_work)
{
	int fds[2];
	struct task t;

	ASSERT_EQ(0, pipe(fds));
	fake_task(&t);
	atomic_store(&t.work, TASK_WORK_SIGNAL);
	EXPECT_EQ(-EINTR, task_host_syscall(&t, SYS_close,
					    (long[6]){ fds[0] }));
	EXPECT_EQ(0, close(fds[0]));
}

struct reader {
	struct task t;
	int fd;
	atomic_ulong rounds;
	unsigned long wrong;
};

#define KICKS 20000ul

/* Every round must end by a kick: nothing is ever written. */
static void *read_in_rounds(void *arg)
{
	struct reader *r = arg;
	char c;

	r->t.host_tid = gettid();
	while (atomic_load(&r->rounds) < KICKS) {
		long ret = task_host_syscall(&r->t, SYS_read,
					     (long[6]){ r->fd, (long)&c, 1 });

		if (ret != -EINTR)
			r->wrong++;
		atomic_fetch_and(&r->t.work, ~TASK_WORK_SIGNAL);
		atomic_fetch_add(&r->rounds, 1);
	}
	return NULL;
}

/* The kick may come at any instruction around the call; none may be lost. */
TEST(no_kick_is_lost)
{
	struct reader r = { .wrong = 0 };
	unsigned long seen = 0, i;
	uint64_t give_up;
	pthread_t thread;
	int fds[2];

	ASSERT_EQ(0, task_kick_init());
	ASSERT_EQ(0, pipe(fds));
	fake_task(&r.t);
	r.t.host_tid = 0;
	r.fd = fds[0];
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_in_rounds, &r));
	while (!r.t.host_tid)
		usleep(1000);
	for (i = 0; i < KICKS; i++) {
		for (unsigned int spin = i % 97; spin; spin--)
			__asm__ volatile("pause");
		atomic_fetch_or(&r.t.work, TASK_WORK_SIGNAL);
		task_kick(&r.t);
		give_up = monotonic_ns() + 5000000000ull;
		while (atomic_load(&r.rounds) == seen &&
		       monotonic_ns() < give_up)
			;
		ASSERT_NE(seen, atomic_load(&r.rounds));
		seen = atomic_load(&r.rounds);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.wrong);
}

/* queues of signals */

static siginfo_t make_info(int signo, int code, int value)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = signo;
	info.si_code = code;
	info.si_value.sival_int = value;
	return info;
}

static void add(struct sigqueue *q, int signo, int code, int value)
{
	siginfo_t info = make_info(signo, code, value);

	sigqueue_add(q, &info);
}

TEST(lowest_signal_first_and_fifo_within)
{
	struct sigqueue q;
	siginfo_t info;

	sigqueue_init(&q);
	add(&q, 40, SI_QUEUE, 1);
	add(&q, 35, SI_QUEUE, 2);
	add(&q, 40, SI_QUEUE, 3);
	EXPECT_EQ(3, q.count);
	EXPECT_EQ(35, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(40, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(1, info.si_value.sival_int);
	EXPECT_EQ(SIGMASK(40), q.mask);
	EXPECT_EQ(40, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(3, info.si_value.sival_int);
	EXPECT_EQ(0, q.mask);
	EXPECT_EQ(0, sigqueue_take(&q, ~0ull, &info));
}

TEST(faults_before_everything_else)
{
	struct sigqueue q;
	siginfo_t info;

	sigqueue_init(&q);
	add(&q, SIGHUP, SI_USER, 0);
	add(&q, SIGSEGV, SEGV_MAPERR, 0);
	EXPECT_EQ(SIGSEGV, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(SIGHUP, sigqueue_take(&q, ~0ull, &info));
	/* Sent by kill(), it is a signal like any other. */
	add(&q, SIGSEGV, SI_USER, 0);
	add(&q, SIGHUP, SI_USER, 0);
	EXPECT_EQ(SIGHUP, sigqueue_take(&q, ~0ull, &info));
	sigqueue_flush(&q);
	EXPECT_EQ(0, q.count);
}

TEST(only_signals_of_the_set_are_taken_or_dropped)
{
	struct sigqueue q;
	siginfo_t info;

	sigqueue_init(&q);
	add(&q, SIGUSR1, SI_USER, 0);
	add(&q, SIGUSR2, SI_USER, 0);
	add(&q, SIGCONT, SI_USER, 0);
	EXPECT_EQ(SIGUSR2, sigqueue_take(&q, SIGMASK(SIGUSR2), &info));
	sigqueue_discard(&q, SIGMASK(SIGCONT));
	EXPECT_EQ(SIGMASK(SIGUSR1), q.mask);
	EXPECT_EQ(1, q.count);
	sigqueue_flush(&q);
}

TEST(a_signal_without_siginfo_is_pending_once)
{
	struct sigqueue q;
	siginfo_t info;

	sigqueue_init(&q);
	add(&q, 40, SI_QUEUE, 1);
	sigqueue_mark(&q, 40);
	EXPECT_EQ(1, q.count);
	EXPECT_EQ(40, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(1, info.si_value.sival_int);
	sigqueue_mark(&q, 41);
	sigqueue_mark(&q, 41);
	EXPECT_EQ(41, sigqueue_take(&q, ~0ull, &info));
	EXPECT_EQ(41, info.si_signo);
	EXPECT_EQ(SI_USER, info.si_code);
	EXPECT_EQ(0, info.si_pid);
	EXPECT_EQ(0, sigqueue_take(&q, ~0ull, &info));
	sigqueue_mark(&q, 41);
	sigqueue_flush(&q);
	EXPECT_EQ(0, q.mask);
}

TEST(reset_keeps_what_is_ignored)
{
	struct sighand *sh = sighand_create(NULL), *copy;

	ASSERT_NE(NULL, sh);
	sh->actions[SIGINT - 1].handler = 0x1000;
	sh->actions[SIGINT - 1].flags = SA_RESTART;
	sh->actions[SIGHUP - 1].handler = HANDLER_IGN;
	copy = sighand_create(sh);
	sighand_put(sh);
	ASSERT_NE(NULL, copy);
	EXPECT_EQ(0x1000, copy->actions[SIGINT - 1].handler);
	sighand_reset(copy);
	EXPECT_EQ(HANDLER_DFL, copy->actions[SIGINT - 1].handler);
	EXPECT_EQ(0, copy->actions[SIGINT - 1].flags);
	EXPECT_EQ(HANDLER_IGN, copy->actions[SIGHUP - 1].handler);
	sighand_put(copy);
}

/* the futex table */

static void queue_waiter(struct futex_waiter *w, struct task *t,
			 uint64_t offset, uint32_t bitset)
{
	memset(w, 0, sizeof(*w));
	w->task = t;
	w->key = (struct futex_key){ .object = 1, .offset = offset };
	w->bitset = bitset;
	futex_enqueue(futex_hash(&w->key), w);
}

TEST(futex_collects_by_key_and_bits)
{
	struct futex_wake_list list = { .n = 0 };
	struct futex_waiter w[4];
	struct task t[4];
	int i;

	for (i = 0; i < 4; i++)
		fake_task(&t[i]);
	queue_waiter(&w[0], &t[0], 64, 1);
	queue_waiter(&w[1], &t[1], 64, 2);
	queue_waiter(&w[2], &t[2], 128, 3);
	queue_waiter(&w[3], &t[3], 64, 3);
	EXPECT_EQ(2, futex_collect(futex_hash(&w[0].key), &w[0].key, 2, 9,
				   &list));
	EXPECT_EQ(&t[1], list.tasks[0]);
	EXPECT_EQ(&t[3], list.tasks[1]);
	futex_wake_list(&list);
	EXPECT_EQ(0, list.n);
	/* Those that were woken are off the table, the others are not. */
	EXPECT_FALSE(futex_dequeue(&w[1]));
	EXPECT_FALSE(futex_dequeue(&w[3]));
	EXPECT_TRUE(futex_dequeue(&w[0]));
	EXPECT_TRUE(futex_dequeue(&w[2]));
	EXPECT_FALSE(futex_dequeue(&w[2]));
}

TEST(futex_list_holds_no_more_than_it_can)
{
	struct futex_waiter w[FUTEX_WAKE_BATCH + 3];
	struct futex_wake_list list = { .n = 0 };
	struct futex_bucket *b;
	struct task t;
	size_t i;

	fake_task(&t);
	for (i = 0; i < ARRAY_SIZE(w); i++)
		queue_waiter(&w[i], &t, 256, 1);
	b = futex_hash(&w[0].key);
	EXPECT_EQ(FUTEX_WAKE_BATCH,
		  futex_collect(b, &w[0].key, 1, INT_MAX, &list));
	EXPECT_EQ(0, futex_collect(b, &w[0].key, 1, INT_MAX, &list));
	futex_wake_list(&list);
	EXPECT_EQ(3, futex_collect(b, &w[0].key, 1, INT_MAX, &list));
	futex_wake_list(&list);
}

/* ids */

TEST(ids_are_not_reused_while_in_use)
{
	struct kernel k = { .tids = NULL };
	pid_t first, second, i;

	ASSERT_EQ(0, tid_table_create(&k));
	first = tid_alloc_locked(&k);
	EXPECT_EQ(2, first);
	/* Still the id of a process group when its process is gone. */
	tid_ref_locked(&k, first);
	tid_unref_locked(&k, first);
	second = tid_alloc_locked(&k);
	EXPECT_EQ(3, second);
	tid_unref_locked(&k, second);
	for (i = 0; i < PID_MAX - 4; i++) {
		pid_t tid = tid_alloc_locked(&k);

		ASSERT_LT(0, tid);
		ASSERT_NE(first, tid);
		tid_unref_locked(&k, tid);
	}
	EXPECT_EQ(PID_RESERVED, tid_alloc_locked(&k));
	EXPECT_EQ(NULL, task_find_locked(&k, PID_MAX));
	EXPECT_EQ(NULL, task_find_locked(&k, -1));
	EXPECT_EQ(NULL, task_find_locked(&k, 0));
	tid_table_destroy(&k);
}

TEST(deadlines_do_not_wrap)
{
	const struct timespec never = { .tv_sec = INT64_MAX };
	const struct timespec past = { .tv_sec = 5 };

	EXPECT_LT(monotonic_ns() + 1000000000000ull, deadline_after(&never));
	EXPECT_LT(deadline_after(&never), FOREVER);
	EXPECT_LE(deadline_at(CLOCK_REALTIME, &past), monotonic_ns());
	EXPECT_EQ(5000000000ull, deadline_at(CLOCK_MONOTONIC, &past));
}

/* timers */

/* Others may set the limit of a zombie, whose timer would run for ever. */
TEST(no_cpu_limit_timer_of_a_zombie)
{
	struct kernel k = { .tids = NULL };
	struct thread_group *tg;
	struct ktimer *kt;
	int err;

	pthread_mutex_init(&k.tasks_lock, NULL);
	ASSERT_EQ(0, timer_thread_start(&k));
	tg = thread_group_alloc(&k, &err);
	ASSERT_NE(NULL, tg);
	kt = &tg->timers->intervals[INTERVAL_CPU_LIMIT].kt;
	tg->rlimits[RLIMIT_CPU] = (struct rlimit){ 1000, 1000 };
	process_cpu_limit_set(tg);
	EXPECT_TRUE(kt->armed);
	process_timers_stop(tg);
	EXPECT_FALSE(kt->armed);
	process_cpu_limit_set(tg);
	EXPECT_FALSE(kt->armed);
	EXPECT_EQ(1, atomic_load(&tg->refs));
	timer_thread_stop();
	ktimer_disarm(kt);
	thread_group_put(tg);
}

TEST_HARNESS_MAIN
