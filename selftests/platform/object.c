// SPDX-License-Identifier: MIT
/*
 * object.c - platforms, contexts and address spaces, and the threads that use them
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

#define MANY_THREADS 8
#define ROUNDS 200
#define MANY_SPACES 40

TEST(object_ptrace_needs_no_device)
{
	struct platform_options opts = { .device_fd = open("/dev/null", O_RDONLY) };
	const struct platform_constructor *c = platform_lookup("ptrace");
	struct platform *p;

	EXPECT_EQ(-ENODEV, platform_open_device(c, NULL));
	ASSERT_LE(0, opts.device_fd);
	ASSERT_EQ(0, platform_new(c, &opts, &p));
	/* Ownership went over, wanted or not. */
	EXPECT_EQ(-1, fcntl(opts.device_fd, F_GETFD));
	platform_release(p);
}

/* ---- on every platform ---- */

SUITE_FIXTURE(object);

PROGRAM(prog_count, "1: inc %rbx\n lock incq 0x20000000\n syscall\n jmp 1b");
PROGRAM(prog_xmm, "1: movq %rbx, %xmm3\n syscall\n movq %xmm3, %r12\n inc %rbx\n jmp 1b");

TEST_F(object, queries_make_sense)
{
	struct platform *p = self->b.p;

	EXPECT_STREQ(variant->platform, p->constructor->name);
	EXPECT_LE(4096, p->min_user_address);
	EXPECT_GE(0x100000, p->min_user_address);
	EXPECT_LE(0x700000000000, p->max_user_address);
	EXPECT_GE(0x800000000000, p->max_user_address);
	EXPECT_EQ(0, p->max_user_address % 4096);
	EXPECT_LT(0, p->concurrency_count);
	EXPECT_EQ(0, p->map_unit & (p->map_unit - 1));
	EXPECT_FALSE(p->cooperatively_schedules_address_space);
	EXPECT_FALSE(p->owns_page_tables);
}

TEST_F(object, seccomp_info_lists_known_calls)
{
	const struct platform_seccomp_rule *rules;
	size_t i, count = platform_seccomp_info(self->b.p, &rules);

	ASSERT_LT(0, count);
	for (i = 0; i < count; i++) {
		EXPECT_LE(0, rules[i].sysno);
		EXPECT_GT(600, rules[i].sysno);
		EXPECT_EQ(!rules[i].nr_args, !rules[i].args);
	}
}

TEST_F(object, stats_count)
{
	struct platform_stats before, after;
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	platform_get_stats(b->p, &before);
	for (i = 0; i < 10; i++)
		EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, 0, BENCH_PAGE, PROT_READ));
	platform_get_stats(b->p, &after);
	EXPECT_LE(10, after.switches - before.switches);
	/* Some were interrupted before they entered the program. */
	EXPECT_GE(b->switches, after.switches - before.switches);
	EXPECT_EQ(1, after.memory_ops - before.memory_ops);
	EXPECT_LE(1, after.memory_batches - before.memory_batches);
	/* What a released context did stays counted. */
	ASSERT_EQ(0, bench_renew_context(b));
	platform_get_stats(b->p, &before);
	EXPECT_EQ(after.switches, before.switches);
}

TEST_F(object, prepare_sleep_is_harmless)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < 5; i++) {
		EXPECT_SYSCALL(b, 0);
		context_prepare_sleep(b->ctx);
	}
	EXPECT_EQ(5, b->regs->rbx);
}

TEST_F(object, two_at_a_time)
{
	struct bench *b = &self->b, other;

	ASSERT_EQ(0, bench_open(&other, variant->platform, variant->storm));
	BENCH_LOAD(b, prog_count);
	BENCH_LOAD(&other, prog_count);
	EXPECT_SYSCALL(b, 0);
	EXPECT_SYSCALL(&other, 0);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(2, b->regs->rbx);
	EXPECT_EQ(1, other.regs->rbx);
	bench_close(&other);
	EXPECT_SYSCALL(b, 0);
}

/* ---- address space io ---- */

TEST_F(object, io_is_refused_where_it_is_not_claimed)
{
	struct segmentation_fault fault = { 0 };
	struct bench *b = &self->b;
	char buf[32];
	uint32_t old;
	int want = b->p->supports_address_space_io ? 8 : -EOPNOTSUPP;

	EXPECT_EQ(want, address_space_copy_in(b->as, BENCH_DATA, buf, 8, &fault));
	EXPECT_EQ(want, address_space_copy_out(b->as, BENCH_DATA, buf, 8, &fault));
	EXPECT_EQ(want, address_space_zero_out(b->as, BENCH_DATA, 8, &fault));
	want = b->p->supports_address_space_io ? 0 : -EOPNOTSUPP;
	EXPECT_EQ(want, address_space_swap_u32(b->as, BENCH_DATA, 1, &old, &fault));
	EXPECT_EQ(want, address_space_cas_u32(b->as, BENCH_DATA, 0, 1, &old, &fault));
	EXPECT_EQ(want, address_space_load_u32(b->as, BENCH_DATA, &old, &fault));
}

/* Copies that end, or begin, where nothing is mapped. */
static void check_copies(struct __test_metadata *_metadata, struct bench *b)
{
	const uint64_t end = BENCH_DATA + BENCH_AREA;
	struct segmentation_fault fault = { 0 };
	char in[64], out[64];

	memset(out, 0x5a, sizeof(out));
	EXPECT_EQ(64, address_space_copy_out(b->as, end - 64, out, 64, &fault));
	EXPECT_EQ(0, memcmp(b->data + BENCH_AREA - 64, out, 64));
	EXPECT_EQ(64, address_space_copy_in(b->as, end - 64, in, 64, &fault));
	EXPECT_EQ(0, memcmp(in, out, 64));
	EXPECT_EQ(16, address_space_copy_in(b->as, end - 16, in, 64, &fault));
	EXPECT_EQ(end, fault.addr);
	EXPECT_EQ(0, address_space_copy_in(b->as, BENCH_FREE, in, 64, &fault));
	EXPECT_EQ(BENCH_FREE, fault.addr);
	/* Read-only for the program is read-only here. */
	EXPECT_EQ(0, address_space_copy_out(b->as, BENCH_CODE, out, 64, &fault));
	EXPECT_EQ(BENCH_CODE, fault.addr);
	EXPECT_EQ(32, address_space_zero_out(b->as, end - 32, 64, &fault));
	EXPECT_EQ(end, fault.addr);
	EXPECT_EQ(0, b->data[BENCH_AREA - 1]);
	EXPECT_EQ(0x5a, b->data[BENCH_AREA - 33]);
}

static void check_words(struct __test_metadata *_metadata, struct bench *b)
{
	uint32_t *word = (uint32_t *)b->data, old = 0;
	struct segmentation_fault fault = { 0 };

	*word = 7;
	EXPECT_EQ(0, address_space_load_u32(b->as, BENCH_DATA, &old, &fault));
	EXPECT_EQ(7, old);
	EXPECT_EQ(0, address_space_swap_u32(b->as, BENCH_DATA, 8, &old, &fault));
	EXPECT_EQ(7, old);
	EXPECT_EQ(8, *word);
	EXPECT_EQ(0, address_space_cas_u32(b->as, BENCH_DATA, 1, 2, &old, &fault));
	EXPECT_EQ(8, old);
	EXPECT_EQ(8, *word);
	EXPECT_EQ(0, address_space_cas_u32(b->as, BENCH_DATA, 8, 2, &old, &fault));
	EXPECT_EQ(8, old);
	EXPECT_EQ(2, *word);
	EXPECT_EQ(-EINVAL, address_space_load_u32(b->as, BENCH_DATA + 2, &old, &fault));
	EXPECT_EQ(-EFAULT, address_space_load_u32(b->as, BENCH_FREE, &old, &fault));
	EXPECT_EQ(BENCH_FREE, fault.addr);
	EXPECT_EQ(-EFAULT, address_space_swap_u32(b->as, BENCH_CODE, 1, &old, &fault));
	EXPECT_EQ(BENCH_CODE, fault.addr);
}

TEST_F(object, io_works_where_it_is_claimed)
{
	struct bench *b = &self->b;
	bool claimed = b->p->supports_address_space_io;

	if (claimed)
		check_copies(_metadata, b);
	if (claimed)
		check_words(_metadata, b);
	EXPECT_EQ(claimed, !!b->p->ops->copy_in);
}

/* ---- contexts, address spaces and threads ---- */

TEST_F(object, context_moves_between_address_spaces)
{
	struct bench *b = &self->b;
	struct platform_address_space *spaces[2] = { b->as };
	int i;

	ASSERT_EQ(0, bench_new_address_space(b, &spaces[1]));
	BENCH_LOAD(b, prog_xmm);
	EXPECT_SYSCALL(b, 0);
	for (i = 0; i < 10; i++) {
		b->as = spaces[i % 2];
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(i, b->regs->r12);
	}
	b->as = spaces[0];
	address_space_release(spaces[1]);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(10, b->regs->r12);
}

/* The old space goes first, as in an exec that fails half way. */
TEST_F(object, context_survives_its_address_space)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_xmm);
	b->regs->rbx = 0x1234;
	EXPECT_SYSCALL(b, 0);
	address_space_release(b->as);
	ASSERT_EQ(0, bench_new_address_space(b, &b->as));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x1234, b->regs->r12);
}

struct worker {
	pthread_t thread;
	struct bench *b;
	struct platform_context *ctx;
	int rounds;
	int err;
	struct platform_event ev;
};

static int switch_rounds(struct worker *w)
{
	int i, err = 0;

	for (i = 0; i < w->rounds && !err; i++) {
		err = bench_run_context(w->b, w->ctx, w->b->as, &w->ev);
		if (!err && w->ev.kind != PLATFORM_SYSCALL)
			err = -EPROTO;
	}
	return err;
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	w->err = switch_rounds(w);
	return NULL;
}

static void *run_and_release(void *arg)
{
	struct worker *w = arg;

	w->err = switch_rounds(w);
	bench_release_context(w->b, w->ctx);
	return NULL;
}

static void *run_and_pull(void *arg)
{
	struct worker *w = arg;

	w->err = switch_rounds(w);
	if (!w->err)
		w->err = context_pull_full_state(w->ctx);
	return NULL;
}

/* More contexts than CPUs, all in one address space. */
TEST_F(object, many_contexts_in_one_space)
{
	struct worker workers[MANY_THREADS];
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	*bench_word(b, 0) = 0;
	for (i = 0; i < MANY_THREADS; i++) {
		workers[i] = (struct worker){ .b = b, .rounds = ROUNDS };
		ASSERT_EQ(0, bench_new_context(b, &workers[i].ctx));
	}
	for (i = 0; i < MANY_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]));
	for (i = 0; i < MANY_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_EQ(0, workers[i].err);
		EXPECT_EQ(ROUNDS, workers[i].ctx->state.regs->rbx);
		bench_release_context(b, workers[i].ctx);
	}
	EXPECT_EQ(MANY_THREADS * ROUNDS, *bench_word(b, 0));
}

/* Threads, contexts and address spaces come and go at the same time. */
static void *live_and_die(void *arg)
{
	struct bench b = *(struct bench *)arg;
	struct worker w = { .b = &b, .rounds = 5 };
	long i;

	for (i = 0; i < 20; i++) {
		if (bench_new_address_space(&b, &b.as))
			return (void *)1;
		if (bench_new_context(&b, &w.ctx))
			return (void *)2;
		if (switch_rounds(&w))
			return (void *)3;
		if (i % 2)
			bench_release_context(&b, w.ctx);
		address_space_release(b.as);
		if (!(i % 2))
			bench_release_context(&b, w.ctx);
	}
	return NULL;
}

TEST_F(object, churn)
{
	pthread_t threads[MANY_THREADS];
	struct bench *b = &self->b;
	void *result;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < MANY_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, live_and_die, b));
	for (i = 0; i < MANY_THREADS; i++) {
		pthread_join(threads[i], &result);
		EXPECT_EQ(NULL, result);
	}
}

TEST_F(object, many_address_spaces)
{
	struct platform_address_space *spaces[MANY_SPACES];
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < MANY_SPACES; i++)
		ASSERT_EQ(0, bench_new_address_space(b, &spaces[i]));
	for (i = 0; i < MANY_SPACES; i++) {
		ASSERT_EQ(0, bench_run_context(b, b->ctx, spaces[i], &b->ev));
		EXPECT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	}
	EXPECT_EQ(MANY_SPACES, b->regs->rbx);
	for (i = 0; i < MANY_SPACES; i++)
		address_space_release(spaces[i]);
}

static void run_in_thread(struct __test_metadata *_metadata, struct worker *w,
			  void *(*fn)(void *))
{
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, fn, w));
	pthread_join(w->thread, NULL);
	EXPECT_EQ(0, w->err);
}

TEST_F(object, context_made_by_another_thread)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 3 };

	BENCH_LOAD(b, prog_count);
	run_in_thread(_metadata, &w, run_worker);
	EXPECT_EQ(3, b->regs->rbx);
}

/* The thread that ran it is gone; its state is not. */
TEST_F(object, context_goes_on_in_another_thread)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 1 };
	int i;

	BENCH_LOAD(b, prog_xmm);
	b->regs->rbx = 100;
	run_in_thread(_metadata, &w, run_worker);
	for (i = 0; i < 10; i++) {
		run_in_thread(_metadata, &w, run_worker);
		EXPECT_EQ(100 + i, b->regs->r12);
	}
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(110, b->regs->r12);
}

/* Handed over by a thread that lives on: it pulls the state before. */
TEST_F(object, context_goes_to_and_fro)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 1 };
	int i;

	BENCH_LOAD(b, prog_xmm);
	EXPECT_SYSCALL(b, 0);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, context_pull_full_state(b->ctx));
		run_in_thread(_metadata, &w, run_and_pull);
		EXPECT_EQ(2 * i, b->regs->r12);
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(2 * i + 1, b->regs->r12);
	}
}

TEST_F(object, released_by_another_thread)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 3 };

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, context_pull_full_state(b->ctx));
	run_in_thread(_metadata, &w, run_and_release);
	b->ctx = NULL;
	ASSERT_EQ(0, bench_renew_context(b));
	EXPECT_SYSCALL(b, 0);
}

/* Threads that used a platform may still be on their way out when it goes. */
static void *use_and_leave(void *arg)
{
	struct worker *w = arg;

	w->err = switch_rounds(w);
	bench_release_context(w->b, w->ctx);
	__atomic_sub_fetch((int *)w->b->data, 1, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(object, released_while_threads_end)
{
	struct worker workers[MANY_THREADS];
	struct bench b;
	int round, i;

	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, bench_open(&b, variant->platform, variant->storm));
		BENCH_LOAD(&b, prog_xmm);
		*(int *)b.data = MANY_THREADS;
		for (i = 0; i < MANY_THREADS; i++) {
			workers[i] = (struct worker){ .b = &b, .rounds = 3 };
			ASSERT_EQ(0, bench_new_context(&b, &workers[i].ctx));
			ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, use_and_leave,
						    &workers[i]));
		}
		while (__atomic_load_n((int *)b.data, __ATOMIC_ACQUIRE))
			sched_yield();
		bench_release_context(&b, b.ctx);
		address_space_release(b.as);
		platform_release(b.p);
		b.ctx = NULL;
		b.as = NULL;
		b.p = NULL;
		for (i = 0; i < MANY_THREADS; i++) {
			pthread_join(workers[i].thread, NULL);
			EXPECT_EQ(0, workers[i].err);
		}
		bench_close(&b);
	}
}
