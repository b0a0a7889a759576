// SPDX-License-Identifier: MIT
/*
 * interrupt.c - context_interrupt() and context_preempt()
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"

#define STORM_SYSCALLS 3000
#define PREEMPTS_IN_A_ROW 8
#define LATENCY_LIMIT_NS 2000000000ll

SUITE_FIXTURE_CALM(interrupt)

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
	atomic_ullong *word; /* that the program counts in; NULL: do not wait */
	uint64_t from;
	atomic_bool stop;
	atomic_long sent;
	atomic_llong sent_at;
};

#define DEADLINE_NS bench_patience_ns(10000000000ll)

/* Until the program has done something; the interrupt comes in the end anyhow. */
static void await_program(struct interrupter *in)
{
	const int64_t deadline = bench_now_ns() + DEADLINE_NS;

	while (in->word && *in->word <= in->from && bench_now_ns() < deadline)
		sched_yield();
	bench_sleep_us(in->delay_us);
}

static void *interrupt_once(void *arg)
{
	struct interrupter *in = arg;

	await_program(in);
	in->sent_at = bench_now_ns();
	in->sent++;
	context_interrupt(in->ctx);
	return NULL;
}

static void *preempt_once(void *arg)
{
	struct interrupter *in = arg;

	await_program(in);
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
		bench_sleep_us(seed / 65536 % 200);
	}
	return NULL;
}

TEST_F(interrupt, during_the_switch)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx, .word = (atomic_ullong *)b->data };
	uint64_t rounds = 0;
	int i;

	BENCH_LOAD(b, prog_spin);
	for (i = 0; i < 10; i++) {
		in.from = rounds;
		in.delay_us = i * 500;
		ASSERT_EQ(0, pthread_create(&in.thread, NULL, interrupt_once, &in));
		EXPECT_INTERRUPT(b);
		EXPECT_GT(LATENCY_LIMIT_NS, bench_now_ns() - in.sent_at);
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

/* Switches until @rounds rounds, and an interrupt, were seen; all come in order. */
static void run_storm(struct __test_metadata *_metadata, struct bench *b, uint64_t rounds,
		      int kind, long *interrupts)
{
	uint64_t seen = 0;

	while (seen < rounds || !*interrupts) {
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

/* ---- exactly once ---- */

/*
 * An interrupt that meets a running switch is spent when that returns, with
 * PLATFORM_INTERRUPT or with another event that came first; otherwise the next
 * switch returns it. So there may be fewer of these events than calls, but never
 * more; and not fewer in a program that makes no events of its own.
 */
struct counted {
	pthread_t thread;
	struct platform_context *ctx;
	long rounds;
	atomic_long returned;
	atomic_bool done;
	long seen;
};

/* The next one goes out only once a switch has returned after the last one. */
static void *interrupt_by_turns(void *arg)
{
	struct counted *c = arg;
	uint64_t seed = 0x452821e638d01377;
	long i, spins, before;

	for (i = 0; i < c->rounds; i++) {
		for (spins = bench_random(&seed) % 2000; spins; spins--)
			asm volatile("pause");
		before = c->returned;
		context_interrupt(c->ctx);
		while (c->returned == before)
			sched_yield();
	}
	c->done = true;
	/* In case the last one met a switch that returned for another reason. */
	context_interrupt(c->ctx);
	return NULL;
}

static void count_interrupts(struct __test_metadata *_metadata, struct bench *b,
			     struct counted *c)
{
	uint64_t events = 0;

	c->ctx = b->ctx;
	c->rounds = bench_scale(1000, 200);
	ASSERT_EQ(0, pthread_create(&c->thread, NULL, interrupt_by_turns, c));
	while (!c->done) {
		ASSERT_EQ(0, bench_switch(b));
		if (b->ev.kind == PLATFORM_INTERRUPT)
			c->seen++;
		else
			ASSERT_EQ(++events, b->regs->rbx);
		if (b->ev.kind == PLATFORM_SIGNAL)
			b->regs->rip += 2;
		c->returned++;
	}
	pthread_join(c->thread, NULL);
	EXPECT_GE(c->rounds + 1, c->seen);
	EXPECT_LT(0, c->seen);
}

/* At most the last one is still to come. */
static void expect_calm(struct __test_metadata *_metadata, struct bench *b, int kind)
{
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, bench_switch(b));
		if (i)
			ASSERT_EQ(kind, b->ev.kind);
		if (b->ev.kind == PLATFORM_SIGNAL)
			b->regs->rip += 2;
	}
}

TEST_F(interrupt, exactly_once_among_system_calls)
{
	struct counted c = { 0 };

	BENCH_LOAD(&self->b, prog_count);
	count_interrupts(_metadata, &self->b, &c);
	expect_calm(_metadata, &self->b, PLATFORM_SYSCALL);
}

TEST_F(interrupt, exactly_once_among_faults)
{
	struct counted c = { 0 };

	BENCH_LOAD(&self->b, prog_faults);
	count_interrupts(_metadata, &self->b, &c);
	expect_calm(_metadata, &self->b, PLATFORM_SIGNAL);
}

TEST_F(interrupt, exactly_once_in_a_busy_program)
{
	struct counted c = { 0 };

	BENCH_LOAD(&self->b, prog_spin);
	count_interrupts(_metadata, &self->b, &c);
	EXPECT_LE(c.rounds, c.seen);
	BENCH_LOAD(&self->b, prog_count);
	expect_calm(_metadata, &self->b, PLATFORM_SYSCALL);
}

/* ---- the right context ---- */

#define NEIGHBOURS 6

struct neighbour {
	pthread_t thread;
	struct bench *b;
	struct platform_context *ctx;
	struct platform_event ev;
	atomic_bool returned;
	int err;
};

static void *run_neighbour(void *arg)
{
	struct neighbour *n = arg;

	n->err = context_switch(n->ctx, n->b->as, -1, &n->ev);
	n->returned = true;
	return NULL;
}

TEST_F(interrupt, goes_to_its_own_context)
{
	struct neighbour all[NEIGHBOURS];
	struct bench *b = &self->b;
	int i, k;

	BENCH_LOAD(b, prog_spin);
	for (i = 0; i < NEIGHBOURS; i++) {
		all[i] = (struct neighbour){ .b = b };
		ASSERT_EQ(0, bench_new_context(b, &all[i].ctx));
		ASSERT_EQ(0, pthread_create(&all[i].thread, NULL, run_neighbour, &all[i]));
	}
	for (i = 0; i < NEIGHBOURS; i++) {
		context_interrupt(all[i].ctx);
		pthread_join(all[i].thread, NULL);
		EXPECT_EQ(0, all[i].err);
		EXPECT_EQ(PLATFORM_INTERRUPT, all[i].ev.kind);
		for (k = i + 1; k < NEIGHBOURS; k++)
			EXPECT_FALSE(all[k].returned);
	}
	for (i = 0; i < NEIGHBOURS; i++)
		bench_release_context(b, all[i].ctx);
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
	struct interrupter in = { .ctx = b->ctx, .word = (atomic_ullong *)b->data };

	BENCH_LOAD(b, prog_spin);
	ASSERT_EQ(0, pthread_create(&in.thread, NULL, preempt_once, &in));
	EXPECT_INTERRUPT(b);
	pthread_join(in.thread, NULL);
}

/* As fast as it can, but for rests: else a slow machine gets nothing else done. */
static void *preempt_often(void *arg)
{
	struct interrupter *in = arg;

	while (!in->stop) {
		context_preempt(in->ctx);
		if (++in->sent % PREEMPTS_IN_A_ROW)
			sched_yield();
		else
			bench_sleep_us(bench_scale(100, 1000));
	}
	return NULL;
}

/* Preempted or not, no system call is lost, and nothing is left over. */
TEST_F(interrupt, preempt_storm)
{
	struct bench *b = &self->b;
	struct interrupter in = { .ctx = b->ctx };
	uint64_t seen;
	int i;

	BENCH_LOAD(b, prog_count);
	ASSERT_EQ(0, pthread_create(&in.thread, NULL, preempt_often, &in));
	for (seen = 1; seen <= 1000 || !in.sent; seen++) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
		ASSERT_EQ(seen, b->regs->rbx);
	}
	in.stop = true;
	pthread_join(in.thread, NULL);
	/* The last one may have met a switch that returned for another reason. */
	ASSERT_EQ(0, bench_switch(b));
	for (i = 0; i < 20; i++)
		EXPECT_NO_INTERRUPT(b);
}

/* Where it is claimed, the first switch after it tells, and only that one. */
TEST_F(interrupt, preempt_all_cpus_as_claimed)
{
	struct bench *b = &self->b;
	bool claimed = b->p->detects_cpu_preemption;
	int i;

	EXPECT_EQ(claimed ? 0 : -EOPNOTSUPP, platform_preempt_all_cpus(b->p));
	BENCH_LOAD(b, prog_count);
	if (claimed) {
		ASSERT_EQ(0, bench_switch(b));
		EXPECT_EQ(PLATFORM_PREEMPTED, b->ev.kind);
		EXPECT_EQ(0, b->regs->rbx);
	}
	for (i = 1; i <= 10; i++) {
		do {
			ASSERT_EQ(0, bench_switch(b));
			/* Others may use the CPU at any time. */
		} while (claimed && b->ev.kind == PLATFORM_PREEMPTED);
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
		EXPECT_EQ(i, b->regs->rbx);
	}
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
		bench_sleep_us(100);
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
	for (seen = 1; seen <= STORM_SYSCALLS || !in.sent; seen++) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
		ASSERT_EQ(seen, b->regs->rbx);
	}
	in.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, in.sent);
}
