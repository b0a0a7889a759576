// SPDX-License-Identifier: MIT
/*
 * fault.c - memory faults of the program
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

/* x86 page fault error code. */
#define PF_PROTECTION 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_FETCH 16u

#define TRAP_GP 13
#define TRAP_PF 14

SUITE_FIXTURE(fault);

/* rbx: address; rip of the access: BENCH_CODE. */
PROGRAM(prog_read, "movq (%rbx), %rcx\n syscall");
PROGRAM(prog_write, "movq %rcx, (%rbx)\n syscall");
PROGRAM(prog_jump, "jmp *%rbx");
PROGRAM(prog_syscall, "1: syscall\n jmp 1b");

/*
 * A page fault at an address. Where the platform only guesses, the guess for a
 * write may be a read the first time, but not when the fault repeats; in a storm
 * an interrupt may come between the two.
 */
#define GUESSES_MAX 1000

#define EXPECT_PAGE_FAULT(b, addr, code, what) do { \
	int guesses_ = (b)->p->detects_access ? 1 : (b)->storm ? GUESSES_MAX : 2; \
	do { \
		EXPECT_FAULT(b, SIGSEGV, code); \
	} while (--guesses_ && (what) == PLATFORM_ACCESS_WRITE && \
		 (b)->ev.access == PLATFORM_ACCESS_READ); \
	EXPECT_EQ(addr, (uint64_t)(b)->ev.info.si_addr); \
	EXPECT_EQ(what, (b)->ev.access & (what)); \
	if ((b)->p->detects_access) \
		EXPECT_EQ(what, (b)->ev.access); \
	if ((b)->ev.flags & PLATFORM_EVENT_TRAP_VALID) { \
		EXPECT_EQ(TRAP_PF, (b)->ev.trap_nr); \
		EXPECT_EQ(addr, (b)->ev.cr2); \
	} \
} while (0)

#define EXPECT_ERROR_CODE(b, bits) do { \
	if ((b)->ev.flags & PLATFORM_EVENT_TRAP_VALID) \
		EXPECT_EQ(bits, (b)->ev.error_code); \
} while (0)

#define EXPECT_TRAP(b, nr) do { \
	EXPECT_EQ(0, (b)->ev.access); \
	if ((b)->ev.flags & PLATFORM_EVENT_TRAP_VALID) \
		EXPECT_EQ(nr, (b)->ev.trap_nr); \
} while (0)

static void load_at(struct bench *b, const unsigned char *program, const unsigned char *end,
		    uint64_t rbx)
{
	bench_load(b, program, end - program);
	b->regs->rbx = rbx;
}

TEST_F(fault, exact_access_is_promised_with_trap_numbers)
{
	struct bench *b = &self->b;

	load_at(b, prog_read, prog_read_end, BENCH_FREE);
	EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
	EXPECT_EQ(b->p->detects_access, !!(b->ev.flags & PLATFORM_EVENT_TRAP_VALID));
}

TEST_F(fault, read_of_nothing)
{
	struct bench *b = &self->b;

	load_at(b, prog_read, prog_read_end, BENCH_FREE + 0x123);
	EXPECT_PAGE_FAULT(b, BENCH_FREE + 0x123, SEGV_MAPERR, PLATFORM_ACCESS_READ);
	EXPECT_ERROR_CODE(b, PF_USER);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
}

TEST_F(fault, write_to_nothing)
{
	struct bench *b = &self->b;

	load_at(b, prog_write, prog_write_end, BENCH_FREE + 8);
	EXPECT_PAGE_FAULT(b, BENCH_FREE + 8, SEGV_MAPERR, PLATFORM_ACCESS_WRITE);
	EXPECT_ERROR_CODE(b, PF_USER | PF_WRITE);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
}

TEST_F(fault, jump_to_nothing)
{
	struct bench *b = &self->b;

	load_at(b, prog_jump, prog_jump_end, BENCH_FREE);
	EXPECT_PAGE_FAULT(b, BENCH_FREE, SEGV_MAPERR, PLATFORM_ACCESS_EXECUTE);
	EXPECT_EQ(BENCH_FREE, b->regs->rip);
}

TEST_F(fault, write_to_read_only)
{
	struct bench *b = &self->b;

	load_at(b, prog_write, prog_write_end, BENCH_CODE + 64);
	EXPECT_PAGE_FAULT(b, BENCH_CODE + 64, SEGV_ACCERR, PLATFORM_ACCESS_WRITE);
	EXPECT_ERROR_CODE(b, PF_USER | PF_WRITE | PF_PROTECTION);
}

TEST_F(fault, execution_of_data)
{
	struct bench *b = &self->b;

	load_at(b, prog_jump, prog_jump_end, BENCH_DATA + 16);
	EXPECT_PAGE_FAULT(b, BENCH_DATA + 16, SEGV_ACCERR, PLATFORM_ACCESS_EXECUTE);
	EXPECT_EQ(BENCH_DATA + 16, b->regs->rip);
}

TEST_F(fault, null_pointer)
{
	struct bench *b = &self->b;

	load_at(b, prog_read, prog_read_end, 0);
	EXPECT_PAGE_FAULT(b, 0, SEGV_MAPERR, PLATFORM_ACCESS_READ);
	load_at(b, prog_write, prog_write_end, 0);
	EXPECT_PAGE_FAULT(b, 0, SEGV_MAPERR, PLATFORM_ACCESS_WRITE);
	load_at(b, prog_jump, prog_jump_end, 0);
	EXPECT_PAGE_FAULT(b, 0, SEGV_MAPERR, PLATFORM_ACCESS_EXECUTE);
}

/* The part of the access that is not there is what is reported. */
TEST_F(fault, straddling_read)
{
	struct bench *b = &self->b;
	const uint64_t end = BENCH_DATA + BENCH_AREA;

	load_at(b, prog_read, prog_read_end, end - 4);
	EXPECT_PAGE_FAULT(b, end, SEGV_MAPERR, PLATFORM_ACCESS_READ);
}

TEST_F(fault, straddling_instruction)
{
	struct bench *b = &self->b;
	const uint64_t end = BENCH_CODE + BENCH_AREA;

	load_at(b, prog_jump, prog_jump_end, end - 1);
	/* The first half of a syscall instruction. */
	b->code[BENCH_AREA - 1] = 0x0f;
	EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
	EXPECT_EQ(end, (uint64_t)b->ev.info.si_addr);
	EXPECT_EQ(end - 1, b->regs->rip);
	if (b->p->detects_access) {
		EXPECT_EQ(PLATFORM_ACCESS_EXECUTE, b->ev.access);
	} else {
		EXPECT_NE(0, b->ev.access);
	}
	/* With the other half there it is a system call. */
	ASSERT_EQ(0, bench_map(b, end, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ | PROT_EXEC));
	b->spare[0] = 0x05;
	b->regs->rax = 39;
	EXPECT_SYSCALL(b, 39);
	EXPECT_EQ(end + 1, b->regs->rip);
}

TEST_F(fault, kernel_addresses)
{
	static const uint64_t addresses[] = { 0xffffffff81000000, 0xffff888000000000 };
	struct bench *b = &self->b;
	size_t i;

	for (i = 0; i < 2; i++) {
		load_at(b, prog_read, prog_read_end, addresses[i]);
		EXPECT_PAGE_FAULT(b, addresses[i], SEGV_MAPERR, PLATFORM_ACCESS_READ);
		load_at(b, prog_write, prog_write_end, addresses[i]);
		EXPECT_PAGE_FAULT(b, addresses[i], SEGV_MAPERR, PLATFORM_ACCESS_WRITE);
	}
}

TEST_F(fault, non_canonical_address)
{
	struct bench *b = &self->b;

	load_at(b, prog_read, prog_read_end, 0x8000000000000000);
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	EXPECT_EQ(NULL, b->ev.info.si_addr);
	EXPECT_TRAP(b, TRAP_GP);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
}

TEST_F(fault, non_canonical_jump)
{
	struct bench *b = &self->b;

	load_at(b, prog_jump, prog_jump_end, 0x8000000000000000);
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	EXPECT_TRAP(b, TRAP_GP);
}

TEST_F(fault, mapping_resolves_it)
{
	struct bench *b = &self->b;

	*(uint64_t *)b->spare = 0x1234567890abcdef;
	load_at(b, prog_read, prog_read_end, BENCH_FREE);
	EXPECT_PAGE_FAULT(b, BENCH_FREE, SEGV_MAPERR, PLATFORM_ACCESS_READ);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(BENCH_CODE + 5, b->regs->rip);
}

/* What a sentry does for copy-on-write: read-only first, then writable. */
TEST_F(fault, write_after_read_only_mapping)
{
	struct bench *b = &self->b;

	load_at(b, prog_write, prog_write_end, BENCH_FREE);
	b->regs->rcx = 0x42;
	EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	EXPECT_PAGE_FAULT(b, BENCH_FREE, SEGV_ACCERR, PLATFORM_ACCESS_WRITE);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x42, *(uint64_t *)b->spare);
}

TEST_F(fault, faults_after_unmap)
{
	const int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	struct bench *b = &self->b;

	b->spare[0] = 0x0f; /* syscall */
	b->spare[1] = 0x05;
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, prot));
	load_at(b, prog_read, prog_read_end, BENCH_FREE);
	EXPECT_SYSCALL(b, 0);
	load_at(b, prog_write, prog_write_end, BENCH_FREE + 8);
	EXPECT_SYSCALL(b, 0);
	load_at(b, prog_jump, prog_jump_end, BENCH_FREE);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	load_at(b, prog_read, prog_read_end, BENCH_FREE);
	EXPECT_PAGE_FAULT(b, BENCH_FREE, SEGV_MAPERR, PLATFORM_ACCESS_READ);
	load_at(b, prog_write, prog_write_end, BENCH_FREE + 8);
	EXPECT_PAGE_FAULT(b, BENCH_FREE + 8, SEGV_MAPERR, PLATFORM_ACCESS_WRITE);
	load_at(b, prog_jump, prog_jump_end, BENCH_FREE);
	EXPECT_PAGE_FAULT(b, BENCH_FREE, SEGV_MAPERR, PLATFORM_ACCESS_EXECUTE);
}

TEST_F(fault, same_read_after_unmap_is_no_write)
{
	struct bench *b = &self->b;
	int i;

	load_at(b, prog_read, prog_read_end, BENCH_FREE + 0x800);
	for (i = 0; i < 3; i++) {
		EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
		EXPECT_EQ(PLATFORM_ACCESS_READ, b->ev.access);
		ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
		ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	}
}

TEST_F(fault, same_read_after_another_event_is_no_write)
{
	struct bench *b = &self->b;
	int i;

	for (i = 0; i < 3; i++) {
		load_at(b, prog_read, prog_read_end, BENCH_FREE);
		EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
		EXPECT_EQ(PLATFORM_ACCESS_READ, b->ev.access);
		BENCH_LOAD(b, prog_syscall);
		EXPECT_SYSCALL(b, 0);
	}
}

TEST_F(fault, beyond_end_of_file)
{
	struct bench *b = &self->b;

	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_FILE_SIZE, BENCH_PAGE, PROT_READ));
	load_at(b, prog_read, prog_read_end, BENCH_FREE + 8);
	EXPECT_FAULT(b, SIGBUS, BUS_ADRERR);
	EXPECT_EQ(BENCH_FREE + 8, (uint64_t)b->ev.info.si_addr);
	EXPECT_NE(0, b->ev.access);
	/* The program goes on once the file has grown. */
	ASSERT_EQ(0, ftruncate(b->fd, BENCH_FILE_SIZE + BENCH_PAGE));
	EXPECT_SYSCALL(b, 0);
}
