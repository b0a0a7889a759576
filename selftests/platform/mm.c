// SPDX-License-Identifier: MIT
/*
 * mm.c - what address spaces map
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access.h"

/* What an emulated CPU can do in a few seconds. */
#define MANY_PAGES (bench_scale(4000, 600))

SUITE_FIXTURE(mm);

/* rbx: address. */
PROGRAM(prog_wait, "1: cmpq $0x77, (%rbx)\n pause\n jne 1b\n syscall");
PROGRAM(prog_atomics, "1: lock incq 0x20000000\n dec %rbp\n jnz 1b\n syscall");

static void fill_spare(struct bench *b)
{
	size_t i;

	for (i = 0; i < BENCH_AREA_PAGES; i++)
		*(uint64_t *)(b->spare + i * BENCH_PAGE) = 0x100 + i;
}

TEST_F(mm, only_what_was_mapped_is_there)
{
	struct bench *b = &self->b;

	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_read, BENCH_CODE - 8);
	EXPECT_FAULT_AT(b, prog_read, BENCH_STACK + BENCH_AREA);
	EXPECT_FAULT_AT(b, prog_read, 0x400000ull);
	EXPECT_FAULT_AT(b, prog_read, b->p->min_user_address);
}

TEST_F(mm, map_and_unmap)
{
	struct bench *b = &self->b;

	fill_spare(b);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_READ(b, BENCH_FREE, 0x100);
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
}

TEST_F(mm, offsets_are_honoured)
{
	struct bench *b = &self->b;
	size_t i;

	fill_spare(b);
	for (i = 0; i < BENCH_AREA_PAGES; i++) {
		ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET + i * BENCH_PAGE,
				       BENCH_PAGE, PROT_READ));
		EXPECT_READ(b, BENCH_FREE, 0x100 + i);
	}
}

TEST_F(mm, mapping_replaces)
{
	struct bench *b = &self->b;

	fill_spare(b);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_AREA, PROT_READ));
	ASSERT_EQ(0, bench_map(b, BENCH_FREE + BENCH_PAGE, BENCH_SPARE_OFFSET + 3 * BENCH_PAGE,
			       BENCH_PAGE, PROT_READ));
	EXPECT_READ(b, BENCH_FREE, 0x100);
	EXPECT_READ(b, BENCH_FREE + BENCH_PAGE, 0x103);
	EXPECT_READ(b, BENCH_FREE + 2 * BENCH_PAGE, 0x102);
}

TEST_F(mm, unmap_takes_holes_and_parts)
{
	struct bench *b = &self->b;

	fill_spare(b);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_AREA, PROT_READ));
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE + BENCH_PAGE, BENCH_PAGE));
	EXPECT_READ(b, BENCH_FREE, 0x100);
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE + BENCH_PAGE);
	EXPECT_READ(b, BENCH_FREE + 2 * BENCH_PAGE, 0x102);
	/* From before the first to behind the last, with the hole. */
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE - 16 * BENCH_PAGE, 64 * BENCH_PAGE));
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE + 2 * BENCH_PAGE);
	/* Nothing there at all. */
	EXPECT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_AREA));
}

TEST_F(mm, permissions)
{
	struct bench *b = &self->b;

	b->spare[0] = 0xc3; /* ret */
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_OK(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_write, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_call, BENCH_FREE);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_EXEC));
	EXPECT_OK(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_write, BENCH_FREE);
	EXPECT_OK(b, prog_call, BENCH_FREE);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE));
	EXPECT_OK(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_call, BENCH_FREE);
	EXPECT_OK(b, prog_write, BENCH_FREE);
}

static int protect(struct bench *b, uint64_t addr, uint64_t len, int prot)
{
	int err;

	err = address_space_protect(b->as, b->ctx, addr, len, prot);
	return err ? err : address_space_flush(b->as, b->ctx);
}

TEST_F(mm, permissions_change)
{
	struct bench *b = &self->b;

	fill_spare(b);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_AREA,
			       PROT_READ | PROT_WRITE));
	EXPECT_READ(b, BENCH_FREE + 2 * BENCH_PAGE, 0x102);
	if (protect(b, BENCH_FREE + BENCH_PAGE, 2 * BENCH_PAGE, PROT_READ) == -EOPNOTSUPP) {
		/* Declined: nothing has changed. */
		EXPECT_OK(b, prog_write, BENCH_FREE + BENCH_PAGE);
		return;
	}
	EXPECT_READ(b, BENCH_FREE + BENCH_PAGE, 0x101);
	EXPECT_FAULT_AT(b, prog_write, BENCH_FREE + BENCH_PAGE);
	EXPECT_FAULT_AT(b, prog_write, BENCH_FREE + 2 * BENCH_PAGE);
	EXPECT_OK(b, prog_write, BENCH_FREE + 3 * BENCH_PAGE);
	EXPECT_OK(b, prog_write, BENCH_FREE);
	b->spare[2 * BENCH_PAGE] = 0xc3; /* ret */
	ASSERT_EQ(0, protect(b, BENCH_FREE + 2 * BENCH_PAGE, BENCH_PAGE, PROT_READ | PROT_EXEC));
	EXPECT_OK(b, prog_call, BENCH_FREE + 2 * BENCH_PAGE);
	EXPECT_FAULT_AT(b, prog_call, BENCH_FREE + BENCH_PAGE);
	ASSERT_EQ(0, protect(b, BENCH_FREE, BENCH_AREA, PROT_READ | PROT_WRITE));
	EXPECT_FAULT_AT(b, prog_call, BENCH_FREE + 2 * BENCH_PAGE);
	EXPECT_OK(b, prog_write, BENCH_FREE + 2 * BENCH_PAGE);
}

PROGRAM(prog_syscall_write, "1: syscall\n movq %rdx, (%rbx)\n jmp 1b");

/*
 * Mappings change before nearly every way back to the program, so often that a
 * platform which hurries when it pays does. The next instruction tells whether they
 * have.
 */
TEST_F(mm, rights_taken_and_given_in_turns)
{
	const int rounds = bench_scale(3000, 300);
	struct bench *b = &self->b;
	int i;

	access_start(b, prog_syscall_write, prog_syscall_write_end, BENCH_FREE);
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind) TH_LOG("round %d", i);
		ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, b->fd,
						    BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ,
						    false));
		b->regs->rdx = i;
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SIGNAL, b->ev.kind) TH_LOG("round %d", i);
		ASSERT_EQ(BENCH_FREE, (uint64_t)b->ev.info.si_addr);
		ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, b->fd,
						    BENCH_SPARE_OFFSET, BENCH_PAGE,
						    PROT_READ | PROT_WRITE, false));
	}
	ASSERT_EQ(0, bench_run(b));
	EXPECT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	EXPECT_EQ(rounds - 1, *(int *)b->spare);
}

TEST_F(mm, permissions_of_holes_do_not_change)
{
	struct bench *b = &self->b;
	int err;

	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	err = protect(b, BENCH_FREE, 2 * BENCH_PAGE, PROT_READ | PROT_WRITE);
	if (err == -EOPNOTSUPP) {
		EXPECT_FAULT_AT(b, prog_write, BENCH_FREE);
		return;
	}
	EXPECT_EQ(-ENOMEM, err);
	EXPECT_EQ(-EINVAL, address_space_protect(b->as, b->ctx, BENCH_FREE, BENCH_PAGE, 0));
	EXPECT_EQ(-EINVAL, address_space_protect(b->as, b->ctx, BENCH_FREE + 1, BENCH_PAGE,
						 PROT_READ));
	EXPECT_EQ(-EINVAL, address_space_protect(b->as, b->ctx, b->p->max_user_address,
						 BENCH_PAGE, PROT_READ));
}

TEST_F(mm, all_permissions_at_once)
{
	struct bench *b = &self->b;

	b->spare[0] = 0xc3;
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT_OK(b, prog_read, BENCH_FREE);
	EXPECT_OK(b, prog_call, BENCH_FREE);
	EXPECT_OK(b, prog_write, BENCH_FREE);
}

TEST_F(mm, writes_are_shared_with_the_sentry)
{
	struct bench *b = &self->b;

	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE));
	access_start(b, prog_write, prog_write_end, BENCH_FREE + 24);
	b->regs->rdx = 0xfeedface;
	ASSERT_EQ(0, bench_run(b));
	EXPECT_EQ(0xfeedface, *(uint64_t *)(b->spare + 24));
	*(uint64_t *)(b->spare + 32) = 0xabcd;
	EXPECT_READ(b, BENCH_FREE + 32, 0xabcd);
}

TEST_F(mm, precommit)
{
	struct bench *b = &self->b;

	fill_spare(b);
	ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, b->fd, BENCH_SPARE_OFFSET,
					    BENCH_AREA, PROT_READ | PROT_WRITE, true));
	ASSERT_EQ(0, address_space_flush(b->as, b->ctx));
	EXPECT_READ(b, BENCH_FREE + BENCH_PAGE, 0x101);
}

TEST_F(mm, descriptor_need_not_stay_open)
{
	struct bench *b = &self->b;
	int fd = memfd_create("other", MFD_CLOEXEC);
	uint64_t value = 0x9876;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, BENCH_PAGE));
	ASSERT_EQ(8, pwrite(fd, &value, 8, 0));
	ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, fd, 0, BENCH_PAGE,
					    PROT_READ, false));
	close(fd);
	EXPECT_READ(b, BENCH_FREE, value);
}

/* The process may have one more only. */
TEST_F(mm, few_descriptors_will_do)
{
	struct bench *b = &self->b;
	int fd = memfd_create("other", MFD_CLOEXEC), spare = dup(fd);
	struct rlimit old, few;
	uint64_t i;

	ASSERT_LE(0, fd);
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	few = (struct rlimit){ (rlim_t)spare + 1, old.rlim_max };
	close(spare);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(8, pwrite(fd, &i, 8, (off_t)(i * BENCH_PAGE)));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE + i * BENCH_PAGE, fd,
						    i * BENCH_PAGE, BENCH_PAGE, PROT_READ, false));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	for (i = 0; i < 4; i++)
		EXPECT_READ(b, BENCH_FREE + i * BENCH_PAGE, i);
	close(fd);
}

/* Descriptors opened after the platform was made count, too. */
TEST_F(mm, ordinary_files)
{
	struct bench *b = &self->b;
	uint64_t want;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pread(fd, &want, 8, 0));
	ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, fd, 0, BENCH_PAGE,
					    PROT_READ, false));
	EXPECT_READ(b, BENCH_FREE, want);
	close(fd);
}

/* The error may come with the flush, or with the switch, but must come. */
TEST_F(mm, read_only_descriptor_cannot_be_mapped_writable)
{
	struct bench *b = &self->b;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int err;

	ASSERT_LE(0, fd);
	err = address_space_map_file(b->as, b->ctx, BENCH_FREE, fd, 0, BENCH_PAGE,
				     PROT_READ | PROT_WRITE, false);
	if (!err)
		err = address_space_flush(b->as, b->ctx);
	EXPECT_EQ(-EACCES, err);
	close(fd);
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
}

static int map_args(struct bench *b, uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot)
{
	return address_space_map_file(b->as, b->ctx, addr, fd, offset, len, prot, false);
}

TEST_F(mm, bad_arguments_are_refused)
{
	struct bench *b = &self->b;
	const uint64_t max = b->p->max_user_address, page = BENCH_PAGE;

	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE + 1, b->fd, 0, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 1, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 0, page - 1, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 0, 0, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 0, page, 0));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 0, page, 8));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, -page, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 1ull << 63, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, 0, b->fd, 0, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, max, b->fd, 0, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, max - page, b->fd, 0, 2 * page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, -page, b->fd, 0, page, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, BENCH_FREE, b->fd, 0, -page, PROT_READ));
	EXPECT_EQ(-EBADF, map_args(b, BENCH_FREE, -1, 0, page, PROT_READ));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, BENCH_FREE + 1, page));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, BENCH_FREE, 1));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, BENCH_FREE, 0));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, 0, 2 * max));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, max, page));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, max - page, -page));
	/* And none of them did anything. */
	EXPECT_OK(b, prog_read, BENCH_DATA);
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
}

TEST_F(mm, vdso_is_protected)
{
	const struct platform_vdso *v = &self->b.p->vdso;
	struct bench *b = &self->b;

	if (!v->end)
		SKIP(return, "the kernel has no vDSO");
	EXPECT_LE(v->start, v->ehdr);
	EXPECT_LT(v->ehdr, v->end);
	EXPECT_EQ(-EINVAL, map_args(b, v->start, b->fd, 0, BENCH_PAGE, PROT_READ));
	EXPECT_EQ(-EINVAL, map_args(b, v->start - BENCH_PAGE, b->fd, 0, 2 * BENCH_PAGE, PROT_READ));
	EXPECT_EQ(-EINVAL, address_space_unmap(b->as, b->ctx, v->end - BENCH_PAGE, BENCH_PAGE));
	/* An ELF header is where it is said to be. */
	EXPECT_READ(b, v->ehdr, *(uint64_t *)v->ehdr);
}

TEST_F(mm, first_and_last_page)
{
	struct bench *b = &self->b;
	const uint64_t last = b->p->max_user_address - BENCH_PAGE;

	fill_spare(b);
	ASSERT_EQ(0, bench_map(b, b->p->min_user_address, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ));
	EXPECT_READ(b, b->p->min_user_address, 0x100);
	/* The vDSO may be where the last page is. */
	if (last >= b->p->vdso.end || last + BENCH_PAGE <= b->p->vdso.start) {
		ASSERT_EQ(0, bench_map(b, last, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
		EXPECT_READ(b, last, 0x100);
	}
}

TEST_F(mm, many_mappings)
{
	struct bench *b = &self->b;
	const uint64_t pages = MANY_PAGES;
	uint64_t i;

	fill_spare(b);
	/* Neighbours are no neighbours in the file, so that none of them merge. */
	for (i = 0; i < pages; i++)
		ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE + i * BENCH_PAGE,
						    b->fd, BENCH_SPARE_OFFSET + i % 2 * 2 * BENCH_PAGE,
						    BENCH_PAGE, PROT_READ, false));
	for (i = 0; i < pages; i += 37)
		EXPECT_READ(b, BENCH_FREE + i * BENCH_PAGE, 0x100 + i % 2 * 2);
	for (i = 0; i < pages; i += 2)
		ASSERT_EQ(0, address_space_unmap(b->as, b->ctx, BENCH_FREE + i * BENCH_PAGE,
						 BENCH_PAGE));
	for (i = 0; i < pages - 1; i += 2 * 37) {
		EXPECT_FAULT_AT(b, prog_read, BENCH_FREE + i * BENCH_PAGE);
		EXPECT_READ(b, BENCH_FREE + (i + 1) * BENCH_PAGE, 0x102);
	}
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, pages * BENCH_PAGE));
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE + BENCH_PAGE);
}

TEST_F(mm, without_a_context)
{
	struct bench *b = &self->b;

	fill_spare(b);
	EXPECT_OK(b, prog_read, BENCH_DATA);
	ASSERT_EQ(0, address_space_map_file(b->as, NULL, BENCH_FREE, b->fd, BENCH_SPARE_OFFSET,
					    BENCH_PAGE, PROT_READ, false));
	ASSERT_EQ(0, address_space_flush(b->as, NULL));
	EXPECT_READ(b, BENCH_FREE, 0x100);
	ASSERT_EQ(0, address_space_unmap(b->as, NULL, BENCH_FREE, BENCH_PAGE));
	ASSERT_EQ(0, address_space_flush(b->as, NULL));
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
}

/* Deferred operations keep their order, up to the program's next instruction. */
TEST_F(mm, order_is_kept)
{
	struct bench *b = &self->b;
	size_t i;

	fill_spare(b);
	for (i = 0; i < BENCH_AREA_PAGES; i++) {
		ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, b->fd,
						    BENCH_SPARE_OFFSET + i * BENCH_PAGE, BENCH_PAGE,
						    PROT_READ, false));
		ASSERT_EQ(0, address_space_unmap(b->as, b->ctx, BENCH_FREE, BENCH_PAGE));
		ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, b->fd,
						    BENCH_SPARE_OFFSET + i * BENCH_PAGE, BENCH_PAGE,
						    PROT_READ, false));
		EXPECT_READ(b, BENCH_FREE, 0x100 + i);
	}
}

/* An operation between two switches does not touch the program's state. */
TEST_F(mm, registers_survive)
{
	struct bench *b = &self->b;
	struct user_regs_struct want;

	access_start(b, prog_atomics, prog_atomics_end, 1);
	memset(b->regs, 0x11, offsetof(struct user_regs_struct, rbp));
	b->regs->rbp = 1;
	b->regs->eflags = 0x8d5;
	want = *b->regs;
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_EQ(0, memcmp(&want, b->regs, sizeof(want)));
	ASSERT_EQ(0, bench_run(b));
	EXPECT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	EXPECT_EQ(want.r12, b->regs->r12);
	EXPECT_EQ(want.r15, b->regs->r15);
	EXPECT_EQ(0, b->regs->rbp);
}

struct runner {
	pthread_t thread;
	struct bench *b;
	struct platform_context *ctx;
	struct platform_event ev;
	atomic_int err;
	atomic_bool started;
};

static void *run_context(void *arg)
{
	struct runner *r = arg;

	r->started = true;
	r->err = bench_run_context(r->b, r->ctx, r->b->as, &r->ev);
	bench_release_context(r->b, r->ctx);
	return NULL;
}

/* Another thread of the same address space runs meanwhile and must see it. */
TEST_F(mm, running_threads_see_new_mappings)
{
	struct bench *b = &self->b;
	struct runner r = { .b = b };
	const struct timespec moment = { .tv_nsec = 20000000 };

	*(uint64_t *)b->spare = 0x77;
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET + BENCH_PAGE, BENCH_PAGE,
			       PROT_READ));
	BENCH_LOAD(b, prog_wait);
	ASSERT_EQ(0, bench_new_context(b, &r.ctx));
	r.ctx->state.regs->rbx = BENCH_FREE;
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, run_context, &r));
	while (!r.started)
		;
	nanosleep(&moment, NULL);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	pthread_join(r.thread, NULL);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(PLATFORM_SYSCALL, r.ev.kind);
}

TEST_F(mm, running_threads_see_unmaps)
{
	struct bench *b = &self->b;
	struct runner r = { .b = b };
	const struct timespec moment = { .tv_nsec = 20000000 };

	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	BENCH_LOAD(b, prog_wait);
	ASSERT_EQ(0, bench_new_context(b, &r.ctx));
	r.ctx->state.regs->rbx = BENCH_FREE;
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, run_context, &r));
	while (!r.started)
		;
	nanosleep(&moment, NULL);
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	pthread_join(r.thread, NULL);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(PLATFORM_SIGNAL, r.ev.kind);
	EXPECT_EQ(BENCH_FREE, (uint64_t)r.ev.info.si_addr);
}

/* ---- several address spaces ---- */

TEST_F(mm, address_spaces_are_apart)
{
	struct bench *b = &self->b;
	struct platform_address_space *first = b->as, *second;

	fill_spare(b);
	ASSERT_EQ(0, bench_new_address_space(b, &second));
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_READ(b, BENCH_FREE, 0x100);
	b->as = second;
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET + BENCH_PAGE, BENCH_PAGE,
			       PROT_READ));
	EXPECT_READ(b, BENCH_FREE, 0x101);
	b->as = first;
	EXPECT_READ(b, BENCH_FREE, 0x100);
	address_space_release(second);
	EXPECT_READ(b, BENCH_FREE, 0x100);
}

/* Same process or not, the next owner finds nothing. */
TEST_F(mm, released_space_is_empty_when_reused)
{
	struct bench *b = &self->b;
	int i;

	fill_spare(b);
	for (i = 0; i < 20; i++) {
		EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
		EXPECT_FAULT_AT(b, prog_read, b->p->max_user_address - 2 * BENCH_PAGE);
		ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
		ASSERT_EQ(0, bench_map(b, b->p->max_user_address - 2 * BENCH_PAGE,
				       BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
		EXPECT_READ(b, BENCH_FREE, 0x100);
		/* Both orders: the context leaves before or after the release. */
		if (i % 2) {
			ASSERT_EQ(0, bench_renew_context(b));
			address_space_release(b->as);
		} else {
			address_space_release(b->as);
		}
		ASSERT_EQ(0, bench_new_address_space(b, &b->as));
	}
}
