// SPDX-License-Identifier: MIT
/*
 * platform_test.c - platforms, contexts and address spaces: birth to death
 *
 * The other platform_*_test.c look at registers, faults, interrupts, memory and
 * what a hostile program may try; this one at the objects themselves.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "platform_util.h"

#define MANY_THREADS 8
#define ROUNDS 200
#define MANY_SPACES 40

/* ---- registry: no platform needed ---- */

TEST(registry_knows_ptrace)
{
	const struct platform_constructor *c = platform_lookup("ptrace");

	ASSERT_NE(NULL, c);
	EXPECT_STREQ("ptrace", c->name);
	EXPECT_EQ(NULL, c->requirements.device_path);
	EXPECT_NE(NULL, c->description);
	EXPECT_EQ(NULL, platform_lookup("no such platform"));
	EXPECT_EQ(NULL, platform_lookup(""));
}

TEST(registry_lists_best_first)
{
	const struct platform_constructor *const *list;
	size_t count, i;

	list = platform_list(&count);
	ASSERT_LE(1, count);
	for (i = 0; i < count; i++) {
		ASSERT_NE(NULL, list[i]);
		EXPECT_EQ(list[i], platform_lookup(list[i]->name));
	}
	if (platform_lookup("sandtrap"))
		EXPECT_STREQ("sandtrap", list[0]->name);
}

static int refuse(const struct platform_options *opts, struct platform **out)
{
	return -ENXIO;
}

TEST(registry_takes_more)
{
	static struct platform_constructor kinds[64];
	static char names[64][8];
	size_t before, after, i;
	struct platform *p;

	platform_list(&before);
	for (i = 0; i < 64; i++) {
		snprintf(names[i], sizeof(names[i]), "kind%zu", i);
		kinds[i].name = names[i];
		kinds[i].new_platform = refuse;
		if (platform_register(&kinds[i]))
			break;
		EXPECT_EQ(&kinds[i], platform_lookup(names[i]));
		EXPECT_EQ(-EEXIST, platform_register(&kinds[i]));
	}
	ASSERT_LT(0, i);
	ASSERT_GT(64, i);
	EXPECT_EQ(-ENOSPC, platform_register(&kinds[i]));
	platform_list(&after);
	EXPECT_EQ(before + i, after);
	EXPECT_EQ(-ENXIO, platform_new(&kinds[0], NULL, &p));
	EXPECT_EQ(-ENODEV, platform_open_device(&kinds[0], NULL));
}

TEST(ptrace_needs_no_device)
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

BENCH_FIXTURE(platform)

PROGRAM(prog_count, "1: inc %rbx\n lock incq 0x20000000\n syscall\n jmp 1b");
PROGRAM(prog_spin, "1: lock incq 0x20000000\n jmp 1b");
PROGRAM(prog_xmm, "1: movq %rbx, %xmm3\n syscall\n movq %xmm3, %r12\n inc %rbx\n jmp 1b");

TEST_F(platform, queries_make_sense)
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

TEST_F(platform, seccomp_info_lists_known_calls)
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

TEST_F(platform, memory_barrier_as_claimed)
{
	int err = platform_global_memory_barrier(self->b.p);

	EXPECT_EQ(self->b.p->have_global_memory_barrier ? 0 : -EOPNOTSUPP, err);
}

TEST_F(platform, stats_count)
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
	EXPECT_EQ(10, after.switches - before.switches);
	EXPECT_EQ(1, after.memory_ops - before.memory_ops);
	EXPECT_LE(1, after.memory_batches - before.memory_batches);
	/* What a released context did stays counted. */
	context_release(b->ctx);
	platform_get_stats(b->p, &before);
	EXPECT_EQ(after.switches, before.switches);
	ASSERT_EQ(0, platform_new_context(b->p, &b->ctx));
}

TEST_F(platform, prepare_sleep_is_harmless)
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

TEST_F(platform, two_at_a_time)
{
	struct bench *b = &self->b, other;

	ASSERT_EQ(0, bench_open(&other, variant->platform));
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

TEST_F(platform, io_is_refused_where_it_is_not_claimed)
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

TEST_F(platform, io_works_where_it_is_claimed)
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

TEST_F(platform, context_moves_between_address_spaces)
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
TEST_F(platform, context_survives_its_address_space)
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

	for (i = 0; i < w->rounds && !err;) {
		err = context_switch(w->ctx, w->b->as, -1, &w->ev);
		if (!err && w->ev.kind == PLATFORM_SYSCALL)
			i++;
		else if (!err && w->ev.kind != PLATFORM_INTERRUPT)
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
	context_release(w->ctx);
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
TEST_F(platform, many_contexts_in_one_space)
{
	struct worker workers[MANY_THREADS];
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	*bench_word(b, 0) = 0;
	for (i = 0; i < MANY_THREADS; i++) {
		workers[i] = (struct worker){ .b = b, .rounds = ROUNDS };
		ASSERT_EQ(0, platform_new_context(b->p, &workers[i].ctx));
		bench_start(workers[i].ctx->state.regs);
	}
	for (i = 0; i < MANY_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]));
	for (i = 0; i < MANY_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_EQ(0, workers[i].err);
		EXPECT_EQ(ROUNDS, workers[i].ctx->state.regs->rbx);
		context_release(workers[i].ctx);
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
		if (platform_new_context(b.p, &w.ctx))
			return (void *)2;
		bench_start(w.ctx->state.regs);
		if (switch_rounds(&w))
			return (void *)3;
		if (i % 2)
			context_release(w.ctx);
		address_space_release(b.as);
		if (!(i % 2))
			context_release(w.ctx);
	}
	return NULL;
}

TEST_F(platform, churn)
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

TEST_F(platform, many_address_spaces)
{
	struct platform_address_space *spaces[MANY_SPACES];
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < MANY_SPACES; i++)
		ASSERT_EQ(0, bench_new_address_space(b, &spaces[i]));
	for (i = 0; i < MANY_SPACES; i++) {
		ASSERT_EQ(0, context_switch(b->ctx, spaces[i], -1, &b->ev));
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

TEST_F(platform, context_made_by_another_thread)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 3 };

	BENCH_LOAD(b, prog_count);
	run_in_thread(_metadata, &w, run_worker);
	EXPECT_EQ(3, b->regs->rbx);
}

/* The thread that ran it is gone; its state is not. */
TEST_F(platform, context_goes_on_in_another_thread)
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
TEST_F(platform, context_goes_to_and_fro)
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

TEST_F(platform, released_by_another_thread)
{
	struct bench *b = &self->b;
	struct worker w = { .b = b, .ctx = b->ctx, .rounds = 3 };

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, context_pull_full_state(b->ctx));
	run_in_thread(_metadata, &w, run_and_release);
	ASSERT_EQ(0, platform_new_context(b->p, &b->ctx));
	b->regs = b->ctx->state.regs;
	bench_start(b->regs);
	EXPECT_SYSCALL(b, 0);
}

/* Threads that used a platform may still be on their way out when it goes. */
static void *use_and_leave(void *arg)
{
	struct worker *w = arg;

	w->err = switch_rounds(w);
	context_release(w->ctx);
	__atomic_sub_fetch((int *)w->b->data, 1, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(platform, released_while_threads_end)
{
	struct worker workers[MANY_THREADS];
	struct bench b;
	int round, i;

	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, bench_open(&b, variant->platform));
		BENCH_LOAD(&b, prog_xmm);
		*(int *)b.data = MANY_THREADS;
		for (i = 0; i < MANY_THREADS; i++) {
			workers[i] = (struct worker){ .b = &b, .rounds = 3 };
			ASSERT_EQ(0, platform_new_context(b.p, &workers[i].ctx));
			bench_start(workers[i].ctx->state.regs);
			ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, use_and_leave,
						    &workers[i]));
		}
		while (__atomic_load_n((int *)b.data, __ATOMIC_ACQUIRE))
			sched_yield();
		context_release(b.ctx);
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

/* ---- death ---- */

TEST_F(platform, killed_stub_is_an_error_of_its_context)
{
	struct platform_address_space *other;
	struct platform_context *ctx;
	struct bench *b = &self->b;
	struct platform_event ev;
	pid_t stub;
	int i;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	stub = bench_stub(b);
	ASSERT_LT(0, stub);
	ASSERT_EQ(0, bench_new_address_space(b, &other));
	ASSERT_EQ(0, platform_new_context(b->p, &ctx));
	bench_start(ctx->state.regs);
	ASSERT_EQ(0, context_switch(ctx, other, -1, &ev));
	ASSERT_EQ(0, bench_kill(stub, SIGKILL));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-ECHILD, bench_switch(b));
	EXPECT_EQ(-ECHILD, bench_map(b, BENCH_FREE, 0, BENCH_PAGE, PROT_READ));
	/* Nobody else is concerned. */
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, context_switch(ctx, other, -1, &ev));
	EXPECT_EQ(PLATFORM_SYSCALL, ev.kind);
	context_release(ctx);
	address_space_release(other);
	/* And a new one does not get the dead one's process. */
	address_space_release(b->as);
	ASSERT_EQ(0, bench_new_address_space(b, &b->as));
	bench_start(b->regs);
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
}

static void *kill_soon(void *arg)
{
	const struct timespec moment = { .tv_nsec = 20000000 };

	nanosleep(&moment, NULL);
	bench_kill((pid_t)(intptr_t)arg, SIGKILL);
	return NULL;
}

TEST_F(platform, killed_while_it_runs)
{
	struct bench *b = &self->b;
	pthread_t killer;
	pid_t stub;

	BENCH_LOAD(b, prog_spin);
	stub = bench_stub(b);
	ASSERT_LT(0, stub);
	ASSERT_EQ(0, pthread_create(&killer, NULL, kill_soon, (void *)(intptr_t)stub));
	EXPECT_EQ(-ECHILD, bench_switch(b));
	pthread_join(killer, NULL);
	EXPECT_EQ(-ECHILD, bench_switch(b));
}

TEST_F(platform, killed_while_idle)
{
	struct bench *b = &self->b;
	pid_t children[64];
	int i, count;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	context_release(b->ctx);
	address_space_release(b->as);
	b->ctx = NULL;
	b->as = NULL;
	count = bench_descendants(children, 64);
	/* Whatever is left; without its template a platform may refuse. */
	for (i = 0; i < count; i++)
		EXPECT_EQ(0, bench_kill(children[i], SIGKILL));
	if (!bench_new_address_space(b, &b->as)) {
		ASSERT_EQ(0, platform_new_context(b->p, &b->ctx));
		b->regs = b->ctx->state.regs;
		bench_start(b->regs);
		EXPECT_SYSCALL(b, 0);
	}
}

/* ---- signals from outside ---- */

/* Static: a failed assertion leaves the test, but not the thread, at once. */
static struct nuisance {
	pid_t stub;
	atomic_bool done;
} nuisance;

static void *send_signals(void *arg)
{
	const int signals[] = {
		SIGUSR1, SIGTERM, SIGINT, SIGSEGV, SIGTRAP, SIGILL, SIGBUS, SIGFPE, SIGCHLD,
		SIGURG, SIGALRM, SIGSYS, SIGSTOP, SIGCONT, SIGTSTP, SIGHUP, SIGRTMIN,
	};
	const size_t count = sizeof(signals) / sizeof(signals[0]);
	const struct timespec moment = { .tv_nsec = 100000 };
	size_t i;

	for (i = 0; i < 20 * count; i++) {
		bench_kill(nuisance.stub, signals[i % count]);
		nanosleep(&moment, NULL);
	}
	nuisance.done = true;
	return NULL;
}

TEST_F(platform, stray_signals_are_no_events)
{
	struct bench *b = &self->b;
	uint64_t seen = 1;
	pthread_t sender;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	nuisance.stub = bench_stub(b);
	ASSERT_LT(0, nuisance.stub);
	ASSERT_EQ(0, pthread_create(&sender, NULL, send_signals, NULL));
	while (!nuisance.done || seen < 100) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind) TH_LOG("signal %d", b->ev.info.si_signo);
		ASSERT_EQ(++seen, b->regs->rbx);
	}
	pthread_join(sender, NULL);
	/* What waited in the queue does not come later either. */
	for (; seen < 200; seen++)
		EXPECT_SYSCALL(b, 0);
}

/* ---- the end of the sentry ---- */

/* A zombie is as good as gone: who reaps orphans is not our business. */
static bool is_gone(pid_t pid)
{
	char path[64], line[512] = "";
	const char *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	state = strrchr(line, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

static bool goes_away(pid_t pid)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	int tries;

	for (tries = 0; tries < 500 && !is_gone(pid); tries++)
		nanosleep(&moment, NULL);
	return is_gone(pid);
}

/* A sentry of its own in a child, killed while its program runs. */
static void be_a_sentry(const char *platform, int out)
{
	struct bench b;
	pid_t stub;

	if (bench_open(&b, platform))
		_exit(1);
	BENCH_LOAD(&b, prog_spin);
	stub = bench_stub(&b);
	if (write(out, &stub, sizeof(stub)) != sizeof(stub))
		_exit(2);
	bench_switch(&b);
	_exit(3);
}

TEST_F(platform, no_stub_survives_the_sentry)
{
	const struct timespec moment = { .tv_nsec = 50000000 };
	pid_t sentry, stub = 0;
	int fds[2], status;

	ASSERT_EQ(0, pipe(fds));
	sentry = fork();
	ASSERT_LE(0, sentry);
	if (!sentry)
		be_a_sentry(variant->platform, fds[1]);
	close(fds[1]);
	ASSERT_EQ(sizeof(stub), read(fds[0], &stub, sizeof(stub)));
	ASSERT_LT(0, stub);
	nanosleep(&moment, NULL);
	EXPECT_EQ(0, bench_kill(sentry, SIGKILL));
	EXPECT_EQ(sentry, waitpid(sentry, &status, 0));
	EXPECT_TRUE(goes_away(stub));
	close(fds[0]);
}

TEST_HARNESS_MAIN
