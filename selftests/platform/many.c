// SPDX-License-Identifier: MIT
/*
 * many.c - many contexts, more than there are CPUs, and barriers between them
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "suite.h"

#define MANY_CONTEXTS 4096
#define PROGRESS_MAX 64
#define DEADLINE_NS bench_patience_ns(20000000000ll)

SUITE_FIXTURE(many);

PROGRAM(prog_remember, "1: movq %rbx, %xmm3\n syscall\n movq %xmm3, %r12\n syscall\n jmp 1b");
PROGRAM(prog_count_at_rbx, "1: lock incq (%rbx)\n jmp 1b");

/* ---- 4,096 contexts ---- */

static void begin_all(struct __test_metadata *_metadata, struct bench *b,
		      struct platform_context **all, int count)
{
	struct platform_event ev;
	int i;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, bench_new_context(b, &all[i])) TH_LOG("context %d", i);
		all[i]->state.regs->rbx = 0x1000000 + i;
		ASSERT_EQ(0, bench_run_context(b, all[i], b->as, &ev)) TH_LOG("context %d", i);
		ASSERT_EQ(PLATFORM_SYSCALL, ev.kind);
	}
}

/* In another order, so that whatever is kept for the last ones is of no use. */
static void check_all(struct __test_metadata *_metadata, struct bench *b,
		      struct platform_context **all, int count)
{
	struct platform_event ev;
	int i, at;

	for (i = 0; i < count; i++) {
		at = (int)((i * 1021ull + 7) % count);
		all[at]->state.regs->rbx = 0;
		ASSERT_EQ(0, bench_run_context(b, all[at], b->as, &ev)) TH_LOG("context %d", at);
		ASSERT_EQ(PLATFORM_SYSCALL, ev.kind);
		ASSERT_EQ(0x1000000 + at, all[at]->state.regs->r12);
		ASSERT_EQ(BENCH_STACK_TOP, all[at]->state.regs->rsp);
	}
}

TEST_F_TIMEOUT(many, contexts_4096, 240)
{
	struct platform_context **all;
	struct bench *b = &self->b;
	int i;

	all = calloc(MANY_CONTEXTS, sizeof(*all));
	ASSERT_NE(NULL, all);
	BENCH_LOAD(b, prog_remember);
	begin_all(_metadata, b, all, MANY_CONTEXTS);
	check_all(_metadata, b, all, MANY_CONTEXTS);
	for (i = 0; i < MANY_CONTEXTS; i++)
		bench_release_context(b, all[i]);
	free(all);
	/* And what is left serves on. */
	b->regs->rbx = 0x77;
	EXPECT_SYSCALL(b, 0);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x77, b->regs->r12);
}

/* ---- more contexts than CPUs ---- */

struct runner {
	pthread_t thread;
	struct bench *b;
	struct platform_context *ctx;
	struct platform_event ev;
	atomic_bool stop;
	int err;
};

/* The program makes no event: only interrupts end a switch. */
static void *run_until_told(void *arg)
{
	struct runner *r = arg;

	do {
		r->err = context_switch(r->ctx, r->b->as, -1, &r->ev);
		storm_saw(r->b->storm, true);
	} while (!r->err && r->ev.kind == PLATFORM_INTERRUPT && !r->stop);
	return NULL;
}

static atomic_ullong *counter(struct bench *b, int i)
{
	return (atomic_ullong *)(b->data + i * 64);
}

/* Returns whether counter @i gets beyond @from in time. */
static bool advances(struct bench *b, int i, uint64_t from)
{
	const int64_t deadline = bench_now_ns() + DEADLINE_NS;

	while (*counter(b, i) <= from) {
		if (bench_now_ns() > deadline)
			return false;
		sched_yield();
	}
	return true;
}

static void start_runners(struct __test_metadata *_metadata, struct bench *b,
			  struct runner *runners, int count)
{
	int i;

	BENCH_LOAD(b, prog_count_at_rbx);
	memset(b->data, 0, BENCH_AREA);
	for (i = 0; i < count; i++) {
		runners[i].b = b;
		ASSERT_EQ(0, bench_new_context(b, &runners[i].ctx));
		runners[i].ctx->state.regs->rbx = BENCH_DATA + i * 64;
	}
	for (i = 0; i < count; i++)
		ASSERT_EQ(0, pthread_create(&runners[i].thread, NULL, run_until_told,
					    &runners[i]));
}

static void stop_runner(struct __test_metadata *_metadata, struct runner *r)
{
	r->stop = true;
	context_interrupt(r->ctx);
	pthread_join(r->thread, NULL);
	EXPECT_EQ(0, r->err);
	EXPECT_EQ(PLATFORM_INTERRUPT, r->ev.kind);
	bench_release_context(r->b, r->ctx);
}

/* Static: a failed assertion leaves the test, but not the threads, at once. */
static struct runner runners[PROGRESS_MAX];

TEST_F_TIMEOUT(many, all_make_progress, 120)
{
	struct bench *b = &self->b;
	int count = 4 * get_nprocs() + 1, i, round;
	uint64_t seen;

	if (count > b->p->concurrency_count)
		count = b->p->concurrency_count;
	if (count > PROGRESS_MAX)
		count = PROGRESS_MAX;
	start_runners(_metadata, b, runners, count);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < count; i++) {
			seen = *counter(b, i);
			EXPECT_TRUE(advances(b, i, seen)) TH_LOG("context %d of %d", i, count);
		}
	}
	for (i = 0; i < count; i++)
		stop_runner(_metadata, &runners[i]);
	/* None of them runs on. */
	for (i = 0; i < count; i++)
		EXPECT_NE(0, *counter(b, i));
}

/* ---- memory barrier ---- */

/* The program's words, each in a cache line of its own. */
enum { WORD_GO, WORD_DONE, WORD_X, WORD_Y, WORD_SAW };

/*
 * Store to X, then load Y, with nothing in between: the CPU may swap them. The
 * sentry does the same the other way round with the barrier between, which must
 * stand for one on both sides.
 */
PROGRAM(prog_litmus,
	"1:	mov 0x20000000, %rcx\n"
	"	cmp %rcx, %rdx\n"
	"	pause\n"
	"	je 1b\n"
	"	mov %rcx, %rdx\n"
	"	test %rcx, %rcx\n"
	"	js 2f\n"
	"	mov %rcx, 0x20000080\n"
	"	mov 0x200000c0, %rbx\n"
	"	mov %rbx, 0x20000100\n"
	"	mov %rcx, 0x20000040\n"
	"	jmp 1b\n"
	"2:	syscall");

TEST_F(many, barrier_as_claimed)
{
	int err = platform_global_memory_barrier(self->b.p);

	EXPECT_EQ(self->b.p->have_global_memory_barrier ? 0 : -EOPNOTSUPP, err);
}

static void *run_to_event(void *arg)
{
	struct runner *r = arg;

	r->err = bench_run_context(r->b, r->ctx, r->b->as, &r->ev);
	return NULL;
}

static void litmus_round(struct __test_metadata *_metadata, struct bench *b, uint64_t round)
{
	const int64_t deadline = bench_now_ns() + DEADLINE_NS;
	uint64_t x;

	*counter(b, WORD_GO) = round;
	atomic_store_explicit(counter(b, WORD_Y), round, memory_order_relaxed);
	ASSERT_EQ(0, platform_global_memory_barrier(b->p));
	x = atomic_load_explicit(counter(b, WORD_X), memory_order_relaxed);
	while (*counter(b, WORD_DONE) != round) {
		ASSERT_GT(deadline, bench_now_ns());
		sched_yield();
	}
	/* One of the two must have seen the other's store. */
	EXPECT_TRUE(x == round || *counter(b, WORD_SAW) == round);
}

TEST_F_TIMEOUT(many, barrier_orders_memory, 120)
{
	/* With one CPU each round takes the rest of a time slice. */
	const int rounds = get_nprocs() > 1 ? bench_scale(2000, 300) : 100;
	struct bench *b = &self->b;
	struct runner *r = &runners[0];
	bool claimed = b->p->have_global_memory_barrier;
	int i;

	r->b = b;
	r->ctx = b->ctx;
	BENCH_LOAD(b, prog_litmus);
	memset(b->data, 0, BENCH_AREA);
	ASSERT_EQ(0, pthread_create(&r->thread, NULL, run_to_event, r));
	for (i = 1; claimed && i <= rounds; i++)
		litmus_round(_metadata, b, i);
	*counter(b, WORD_GO) = -1ull;
	pthread_join(r->thread, NULL);
	EXPECT_EQ(0, r->err);
	EXPECT_EQ(PLATFORM_SYSCALL, r->ev.kind);
}
