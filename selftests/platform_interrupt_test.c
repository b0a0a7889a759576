// SPDX-License-Identifier: MIT
/*
 * platform_interrupt_test.c - context_interrupt() and context_preempt()
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "platform_util.h"

#define STORM_SYSCALLS 3000
#define LATENCY_LIMIT_NS 2000000000ll

BENCH_FIXTURE(interrupt)

/* Each round counts itself in rbx: a lost or repeated one would show. */
PROGRAM(prog_count, "1: inc %rbx\n mov $39, %eax\n syscall\n jmp 1b");
PROGRAM(prog_spin, "1: lock incq 0x20000000\n jmp 1b");
PROGRAM(prog_faults, "1: inc %rbx\n ud2\n jmp 1b");

#define EXPECT_INTERRUPT(b) do { \
	ASSERT_EQ(0, bench_switch(b)); \
	ASSERT_EQ(PLATFORM_INTERRUPT, (b)->ev.kind); \
	EXPECT_EQ(-1ull, (uint64_t)(b)->regs->orig_rax); \
} while (0)

#define EXPECT_NO_INTERRUPT(b) do { \
	ASSERT_EQ(0, bench_switch(b)); \
	ASSERT_EQ(PLATFORM_SYSCALL, (b)->ev.kind); \
} while (0)

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void sleep_us(long us)
{
	const struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

TEST_F(interrupt, before_the_switch)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_count);
	context_interrupt(b->ctx);
	EXPECT_INTERRUPT(b);
	EXPECT_EQ(0, b->regs->rbx);
	EXPECT_NO_INTERRUPT(b);
	EXPECT_EQ(1, b->regs->rbx);
	EXPECT_NO_INTERRUPT(b);
}

TEST_F(interrupt, many_before_the_switch_are_one)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < 10; i++)
		context_interrupt(b->ctx);
	EXPECT_INTERRUPT(b);
	for (i = 1; i <= 10; i++) {
		EXPECT_NO_INTERRUPT(b);
		EXPECT_EQ(i, b->regs->rbx);
	}
}

TEST_F(interrupt, between_switches)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 1; i <= 20; i++) {
		EXPECT_NO_INTERRUPT(b);
		EXPECT_EQ(i, b->regs->rbx);
		context_interrupt(b->ctx);
		EXPECT_INTERRUPT(b);
		EXPECT_EQ(i, b->regs->rbx);
	}
}

TEST_F(interrupt, of_a_context_that_never_ran)
{
	struct platform_context *ctx;
	struct bench *b = &self->b;

	ASSERT_EQ(0, platform_new_context(b->p, &ctx));
	context_interrupt(ctx);
	context_preempt(ctx);
	context_release(ctx);
}

/* ---- while the program runs ---- */

struct interrupter {
	pthread_t thread;
	struct platform_context *ctx;
	long delay_us;
	atomic_bool stop;
	atomic_long sent;
	atomic_llong sent_at;
};

static void *interrupt_once(void *arg)
{
	struct interrupter *in = arg;

	sleep_us(in->delay_us);
	in->sent_at = now_ns();
	in->sent++;
	context_interrupt(in->ctx);
	return NULL;
}

static void *preempt_once(void *arg)
{
	struct interrupter *in = arg;

	sleep_us(in->delay_us);
	context_preempt(in->ctx);
	return NULL;
}

static void *interrupt_often(void *arg)
{
	struct interrupter *in = arg;
	unsigned int seed = 1;

	while (!in->stop) {
		in->sent++;
		context_interrupt(in->ctx);
		seed = seed * 1103515245 + 12345;
		sleep_us(seed / 65536 % 200);
	}
	return NULL;
}

TEST_F(interrupt, during_the_switch)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx, .delay_us = 20000 };
	uint64_t rounds = 0;
	int i;

	BENCH_LOAD(b, prog_spin);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, pthread_create(&in.thread, NULL, interrupt_once, &in));
		EXPECT_INTERRUPT(b);
		EXPECT_GT(LATENCY_LIMIT_NS, now_ns() - in.sent_at);
		pthread_join(in.thread, NULL);
		/* It ran, and was stopped between two instructions. */
		EXPECT_LT(rounds, *bench_word(b, 0));
		rounds = *bench_word(b, 0);
		EXPECT_LE(BENCH_CODE, b->regs->rip);
		EXPECT_GE(BENCH_CODE + sizeof(uint64_t) + 3, b->regs->rip);
	}
}

TEST_F(interrupt, registers_survive)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx, .delay_us = 5000 };
	struct user_regs_struct want;

	BENCH_LOAD(b, prog_spin);
	memset(b->regs, 0x5a, offsetof(struct user_regs_struct, rax));
	b->regs->rax = 0x1111;
	b->regs->rcx = 0x2222;
	b->regs->rdx = 0x3333;
	want = *b->regs;
	ASSERT_EQ(0, pthread_create(&in.thread, NULL, interrupt_once, &in));
	EXPECT_INTERRUPT(b);
	pthread_join(in.thread, NULL);
	EXPECT_EQ(0, memcmp(&want, b->regs, offsetof(struct user_regs_struct, rax)));
	EXPECT_EQ(0x1111, b->regs->rax);
	EXPECT_EQ(0x2222, b->regs->rcx);
	EXPECT_EQ(0x3333, b->regs->rdx);
}

/* Switches until @rounds rounds were seen; all must come, in order. */
static void run_storm(struct __test_metadata *_metadata, struct bench *b, uint64_t rounds,
		      int kind, long *interrupts)
{
	uint64_t seen = 0;

	while (seen < rounds) {
		ASSERT_EQ(0, bench_switch(b));
		if (b->ev.kind == PLATFORM_INTERRUPT) {
			++*interrupts;
			continue;
		}
		ASSERT_EQ(kind, b->ev.kind);
		ASSERT_EQ(++seen, b->regs->rbx);
		if (kind == PLATFORM_SIGNAL) {
			ASSERT_EQ(SIGILL, b->ev.info.si_signo);
			b->regs->rip += 2;
		}
	}
}

static void storm(struct __test_metadata *_metadata, struct bench *b, int kind)
{
	struct interrupter in = { .ctx = b->ctx };
	long interrupts = 0;
	int i;

	ASSERT_EQ(0, pthread_create(&in.thread, NULL, interrupt_often, &in));
	run_storm(_metadata, b, STORM_SYSCALLS, kind, &interrupts);
	in.stop = true;
	pthread_join(in.thread, NULL);
	EXPECT_LT(0, interrupts);
	EXPECT_GE(in.sent, interrupts);
	/* At most one is left over. */
	ASSERT_EQ(0, bench_switch(b));
	for (i = 0; i < 5; i++) {
		if (kind == PLATFORM_SIGNAL && b->ev.kind == PLATFORM_SIGNAL)
			b->regs->rip += 2;
		ASSERT_EQ(0, bench_switch(b));
		EXPECT_EQ(kind, b->ev.kind);
	}
}

TEST_F(interrupt, storm_loses_no_syscall)
{
	BENCH_LOAD(&self->b, prog_count);
	storm(_metadata, &self->b, PLATFORM_SYSCALL);
}

TEST_F(interrupt, storm_loses_no_fault)
{
	BENCH_LOAD(&self->b, prog_faults);
	storm(_metadata, &self->b, PLATFORM_SIGNAL);
}

/* Each interrupt of a program that makes no events of its own is seen. */
TEST_F(interrupt, each_of_many_is_delivered)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx, .delay_us = 0 };
	int i;

	BENCH_LOAD(b, prog_spin);
	for (i = 0; i < 200; i++) {
		in.delay_us = i % 7 * 50;
		ASSERT_EQ(0, pthread_create(&in.thread, NULL, interrupt_once, &in));
		EXPECT_INTERRUPT(b);
		pthread_join(in.thread, NULL);
	}
	EXPECT_EQ(200, in.sent);
}

TEST_F(interrupt, memory_operations_do_not_eat_it)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < 20; i++) {
		EXPECT_NO_INTERRUPT(b);
		context_interrupt(b->ctx);
		ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, 1));
		ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
		EXPECT_EQ(0, context_pull_full_state(b->ctx));
		EXPECT_INTERRUPT(b);
	}
}

/* ---- preempt ---- */

TEST_F(interrupt, preempt_without_a_switch_is_nothing)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_count);
	context_preempt(b->ctx);
	EXPECT_NO_INTERRUPT(b);
	context_preempt(b->ctx);
	EXPECT_NO_INTERRUPT(b);
	EXPECT_EQ(2, b->regs->rbx);
}

TEST_F(interrupt, preempt_during_the_switch)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx, .delay_us = 20000 };

	BENCH_LOAD(b, prog_spin);
	ASSERT_EQ(0, pthread_create(&in.thread, NULL, preempt_once, &in));
	EXPECT_INTERRUPT(b);
	pthread_join(in.thread, NULL);
}

TEST_F(interrupt, preempt_all_cpus_as_claimed)
{
	struct bench *b = &self->b;
	int err = platform_preempt_all_cpus(b->p);

	EXPECT_EQ(b->p->detects_cpu_preemption ? 0 : -EOPNOTSUPP, err);
}

/* ---- signals of the sentry's own threads ---- */

static void count_signal(int sig)
{
}

static void *signal_often(void *arg)
{
	struct interrupter *in = arg;
	const pthread_t target = in->thread;

	while (!in->stop) {
		pthread_kill(target, SIGUSR1);
		in->sent++;
		sleep_us(100);
	}
	return NULL;
}

/* A handler in the thread that switches is nobody's event. */
TEST_F(interrupt, host_signals_do_not_disturb)
{
	struct sigaction sa = { .sa_handler = count_signal };
	struct bench *b = &self->b;
	struct interrupter in = { .thread = pthread_self() };
	pthread_t thread;
	uint64_t seen;

	sigaction(SIGUSR1, &sa, NULL);
	BENCH_LOAD(b, prog_count);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_often, &in));
	for (seen = 1; seen <= STORM_SYSCALLS; seen++) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
		ASSERT_EQ(seen, b->regs->rbx);
	}
	in.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, in.sent);
}

TEST_HARNESS_MAIN
