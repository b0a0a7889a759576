// SPDX-License-Identifier: MIT
/*
 * map.c - mappings of all sizes and rights, many of them, and while programs run
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access.h"

#define HUGE_AT 0x100000000000ull
#define GIB (1ull << 30)
#define MAPPERS 4
#define DEADLINE_NS bench_patience_ns(20000000000ll)

SUITE_FIXTURE(map);

PROGRAM(prog_count_at_rbx, "1: lock incq (%rbx)\n jmp 1b");
PROGRAM(prog_getpid, "1: mov $39, %eax\n syscall\n jmp 1b");

/* ---- sizes ---- */

/* Programs write at both ends and in the middle, and find nothing behind. */
static void check_size(struct __test_metadata *_metadata, struct bench *b, uint64_t size)
{
	const uint64_t at[] = { 0, size / 2, size - 8 };
	uint64_t value;
	size_t i;

	ASSERT_EQ(0, bench_map(b, HUGE_AT, 0, size, PROT_READ | PROT_WRITE));
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		access_start(b, prog_write, prog_write_end, HUGE_AT + at[i]);
		b->regs->rdx = size + i;
		EXPECT_SYSCALL(b, 0);
		/* The program may have written over itself: it is in that file, too. */
		ASSERT_EQ(8, pread(b->fd, &value, 8, at[i]));
		EXPECT_EQ(size + i, value);
	}
	EXPECT_FAULT_AT(b, prog_read, HUGE_AT + size);
	EXPECT_FAULT_AT(b, prog_write, HUGE_AT - 8);
	ASSERT_EQ(0, bench_unmap(b, HUGE_AT, size));
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		EXPECT_FAULT_AT(b, prog_read, HUGE_AT + at[i]);
}

TEST_F(map, sizes_from_a_page_to_a_gibibyte)
{
	struct bench *b = &self->b;
	struct platform_address_space *as = b->as;
	int file = b->fd;
	uint64_t size;

	/* A file of its own, so that the program is not in the way. */
	b->fd = memfd_create("sizes", MFD_CLOEXEC);
	ASSERT_LE(0, b->fd);
	ASSERT_EQ(0, ftruncate(b->fd, GIB));
	for (size = BENCH_PAGE; size <= GIB; size *= 2)
		check_size(_metadata, b, size);
	check_size(_metadata, b, 3 * BENCH_PAGE);
	check_size(_metadata, b, (2ull << 20) + BENCH_PAGE);
	close(b->fd);
	b->fd = file;
	EXPECT_EQ(as, b->as);
}

/* ---- rights ---- */

static bool faults(struct __test_metadata *_metadata, struct bench *b,
		   const unsigned char *program, const unsigned char *end)
{
	access_start(b, program, end, BENCH_FREE);
	b->regs->rdx = 0xc3; /* a return, should it be written */
	EXPECT_EQ(0, bench_run(b));
	if (b->ev.kind == PLATFORM_SYSCALL)
		return false;
	EXPECT_EQ(PLATFORM_SIGNAL, b->ev.kind);
	EXPECT_EQ(SIGSEGV, b->ev.info.si_signo);
	/* Where the CPU has protection keys, one of them keeps readers out. */
	if (b->ev.info.si_code != SEGV_PKUERR)
		EXPECT_EQ(SEGV_ACCERR, b->ev.info.si_code);
	EXPECT_EQ(BENCH_FREE, (uint64_t)b->ev.info.si_addr);
	return true;
}

/* x86 cannot withhold reading from what is writable, nor, mostly, executable. */
static void check_rights(struct __test_metadata *_metadata, struct bench *b, int prot)
{
	bool no_read = faults(_metadata, b, prog_read, prog_read_end);

	if (prot & (PROT_READ | PROT_WRITE))
		EXPECT_FALSE(no_read);
	EXPECT_EQ(!(prot & PROT_EXEC), faults(_metadata, b, prog_call, prog_call_end));
	EXPECT_EQ(!(prot & PROT_WRITE), faults(_metadata, b, prog_write, prog_write_end));
}

TEST_F(map, permission_matrix)
{
	struct bench *b = &self->b;
	int from, to;

	for (from = 1; from <= 7; from++) {
		for (to = 1; to <= 7; to++) {
			b->spare[0] = 0xc3;
			ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, from));
			/* Used, so that something is in the page tables. */
			faults(_metadata, b, prog_read, prog_read_end);
			ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, to));
			check_rights(_metadata, b, to);
			ASSERT_TRUE(_metadata->passed) TH_LOG("from %d to %d", from, to);
		}
	}
}

/* ---- many ---- */

static int map_count_limit(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	int limit = 0;

	if (f && fscanf(f, "%d", &limit) != 1)
		limit = 0;
	if (f)
		fclose(f);
	return limit;
}

/* Neighbours are no neighbours in the file, so that none of them merge. */
static int map_one(struct bench *b, uint64_t i)
{
	return address_space_map_file(b->as, b->ctx, HUGE_AT + i * BENCH_PAGE, b->fd,
				      BENCH_SPARE_OFFSET + i % 2 * 2 * BENCH_PAGE, BENCH_PAGE,
				      PROT_READ, false);
}

/* What the limit costs to reach, judged by the first few. */
#define TRIAL 500
#define AFFORDABLE_NS 15000000000ll

TEST_F_TIMEOUT(map, host_limit_is_an_error_not_an_end, 120)
{
	const int limit = map_count_limit();
	struct bench *b = &self->b;
	int64_t start = bench_now_ns();
	int i, err = 0;

	if (!limit || limit > 100000)
		SKIP(return, "the machine has no limit of mappings worth reaching");
	*(uint64_t *)b->spare = 0x4321;
	*(uint64_t *)(b->spare + 2 * BENCH_PAGE) = 0x4321;
	for (i = 0; i < TRIAL; i++)
		ASSERT_EQ(0, map_one(b, i));
	ASSERT_EQ(0, address_space_flush(b->as, b->ctx));
	if ((bench_now_ns() - start) / TRIAL * limit > AFFORDABLE_NS)
		SKIP(return, "the machine lacks the speed for %d mappings (emulated CPU)", limit);
	for (; i < limit + 100 && !err; i++)
		err = map_one(b, i);
	if (!err)
		err = address_space_flush(b->as, b->ctx);
	EXPECT_EQ(-ENOMEM, err);
	/* What was deferred behind it fails as well, each once. */
	for (i = 0; i < 1000 && address_space_flush(b->as, b->ctx) == -ENOMEM; i++)
		;
	/* What is there stays there, and there is a way back. */
	EXPECT_READ(b, HUGE_AT, 0x4321);
	EXPECT_READ(b, HUGE_AT + 10000 * BENCH_PAGE, 0x4321);
	ASSERT_EQ(0, bench_unmap(b, HUGE_AT, (limit + 200) * BENCH_PAGE));
	EXPECT_FAULT_AT(b, prog_read, HUGE_AT + 10000 * BENCH_PAGE);
	ASSERT_EQ(0, bench_map(b, HUGE_AT, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_READ(b, HUGE_AT, 0x4321);
}

/* ---- while programs run ---- */

struct runner {
	pthread_t thread;
	struct bench *b;
	struct platform_context *ctx;
	struct platform_event ev;
	uint64_t addr;
	atomic_int err;
};

static void *run_context(void *arg)
{
	struct runner *r = arg;

	r->err = bench_run_context(r->b, r->ctx, r->b->as, &r->ev);
	return NULL;
}

static bool moves(atomic_ullong *word, uint64_t from)
{
	const int64_t deadline = bench_now_ns() + DEADLINE_NS;

	while (*word == from) {
		if (bench_now_ns() > deadline)
			return false;
		sched_yield();
	}
	return true;
}

/*
 * When the operation has returned, no CPU may have the old translation: the word
 * stands still, whatever the writer was about to do.
 */
static void stop_writer(struct __test_metadata *_metadata, struct runner *r, int prot)
{
	struct bench *b = r->b;
	atomic_ullong *word = (atomic_ullong *)b->spare;
	uint64_t last;

	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE));
	last = *word;
	bench_start(r->ctx->state.regs);
	r->ctx->state.regs->rbx = BENCH_FREE;
	ASSERT_EQ(0, pthread_create(&r->thread, NULL, run_context, r));
	ASSERT_TRUE(moves(word, last));
	if (prot) {
		ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, prot));
	} else {
		ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	}
	last = *word;
	pthread_join(r->thread, NULL);
	EXPECT_EQ(last, *word);
	EXPECT_EQ(0, r->err);
	EXPECT_EQ(PLATFORM_SIGNAL, r->ev.kind);
	EXPECT_EQ(prot ? SEGV_ACCERR : SEGV_MAPERR, r->ev.info.si_code);
	EXPECT_EQ(BENCH_FREE, (uint64_t)r->ev.info.si_addr);
	context_pull_full_state(r->ctx);
}

TEST_F(map, running_writers_stop_at_once)
{
	struct bench *b = &self->b;
	struct runner r = { .b = b };
	int i;

	BENCH_LOAD(b, prog_count_at_rbx);
	ASSERT_EQ(0, bench_new_context(b, &r.ctx));
	for (i = 0; i < 20; i++)
		stop_writer(_metadata, &r, i % 2 ? PROT_READ : 0);
	bench_release_context(b, r.ctx);
}

/* Each thread maps, uses and unmaps a page of its own in the common space. */
static int use_page(struct runner *r, uint64_t i)
{
	const uint64_t offset = BENCH_SPARE_OFFSET + i % BENCH_AREA_PAGES * BENCH_PAGE;
	struct user_regs_struct *regs = r->ctx->state.regs;
	int err;

	err = address_space_map_file(r->b->as, r->ctx, r->addr, r->b->fd, offset, BENCH_PAGE,
				     PROT_READ, false);
	bench_start(regs);
	regs->rbx = r->addr;
	if (!err)
		err = bench_run_context(r->b, r->ctx, r->b->as, &r->ev);
	if (!err && (r->ev.kind != PLATFORM_SYSCALL || regs->r12 != 0x100 + i % BENCH_AREA_PAGES))
		err = -EPROTO;
	if (!err)
		err = address_space_unmap(r->b->as, r->ctx, r->addr, BENCH_PAGE);
	bench_start(regs);
	regs->rbx = r->addr;
	if (!err)
		err = bench_run_context(r->b, r->ctx, r->b->as, &r->ev);
	if (!err && (r->ev.kind != PLATFORM_SIGNAL || (uint64_t)r->ev.info.si_addr != r->addr))
		err = -ENOTEMPTY;
	return err;
}

static void *use_pages(void *arg)
{
	struct runner *r = arg;
	const int rounds = bench_scale(200, 40);
	int i;

	for (i = 0; i < rounds && !r->err; i++)
		r->err = use_page(r, i);
	bench_release_context(r->b, r->ctx);
	return NULL;
}

TEST_F(map, running_threads_map_at_the_same_time)
{
	struct runner runners[MAPPERS] = { 0 };
	struct bench *b = &self->b;
	int i;

	for (i = 0; i < BENCH_AREA_PAGES; i++)
		*(uint64_t *)(b->spare + i * BENCH_PAGE) = 0x100 + i;
	BENCH_LOAD(b, prog_read);
	for (i = 0; i < MAPPERS; i++) {
		runners[i].b = b;
		runners[i].addr = BENCH_FREE + i * BENCH_PAGE;
		ASSERT_EQ(0, bench_new_context(b, &runners[i].ctx));
	}
	for (i = 0; i < MAPPERS; i++)
		ASSERT_EQ(0, pthread_create(&runners[i].thread, NULL, use_pages, &runners[i]));
	for (i = 0; i < MAPPERS; i++) {
		pthread_join(runners[i].thread, NULL);
		EXPECT_EQ(0, runners[i].err);
	}
}

/* ---- fork ---- */

TEST_F(map, fork_brackets_are_harmless)
{
	struct bench *b = &self->b;
	int i;

	for (i = 0; i < 3; i++) {
		address_space_pre_fork(b->as);
		address_space_post_fork(b->as);
	}
	EXPECT_OK(b, prog_read, BENCH_DATA);
}

/* Between the two the platform keeps its hands off the program's memory. */
TEST_F(map, fork_brackets_keep_memory_as_it_is)
{
	unsigned char before[BENCH_PAGE];
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_getpid);
	address_space_pre_fork(b->as);
	memcpy(before, b->code, BENCH_PAGE);
	for (i = 0; i < 200; i++)
		EXPECT_SYSCALL(b, 39);
	EXPECT_EQ(0, memcmp(before, b->code, BENCH_PAGE));
	address_space_post_fork(b->as);
	for (i = 0; i < 200; i++)
		EXPECT_SYSCALL(b, 39);
}
