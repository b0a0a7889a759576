// SPDX-License-Identifier: MIT
/*
 * platform_fault_test.c - faults and traps of the program
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "platform_util.h"

#define EFLAGS_TF 0x100u
#define EFLAGS_AC 0x40000u

/* x86 page fault error code. */
#define PF_PROTECTION 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_FETCH 16u

#define TRAP_DB 1
#define TRAP_BP 3
#define TRAP_DE 0
#define TRAP_UD 6
#define TRAP_GP 13
#define TRAP_PF 14
#define TRAP_AC 17
#define TRAP_XM 19

BENCH_FIXTURE(fault)

/* rbx: address; rip of the access: BENCH_CODE. */
PROGRAM(prog_read, "movq (%rbx), %rcx\n syscall");
PROGRAM(prog_write, "movq %rcx, (%rbx)\n syscall");
PROGRAM(prog_jump, "jmp *%rbx");
PROGRAM(prog_syscall, "1: syscall\n jmp 1b");

/*
 * A page fault at an address. Where the platform only guesses, the guess for a
 * write may be a read the first time, but not when the fault repeats.
 */
#define EXPECT_PAGE_FAULT(b, addr, code, what) do { \
	EXPECT_FAULT(b, SIGSEGV, code); \
	if (!(b)->p->detects_access && (what) == PLATFORM_ACCESS_WRITE && \
	    (b)->ev.access == PLATFORM_ACCESS_READ) \
		EXPECT_FAULT(b, SIGSEGV, code); \
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
	EXPECT_FAULT(b, SIGSEGV, SEGV_ACCERR);
	EXPECT_EQ(PLATFORM_ACCESS_WRITE, b->ev.access);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE,
			       PROT_READ | PROT_WRITE));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x42, *(uint64_t *)b->spare);
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

/* ---- traps that are not about memory ---- */

PROGRAM(prog_ud2, "ud2");
PROGRAM(prog_divide, "xor %ecx, %ecx\n div %ecx");
PROGRAM(prog_int3, "nop\n int3");
PROGRAM(prog_int_3, "nop\n .byte 0xcd, 3");
PROGRAM(prog_icebp, "nop\n .byte 0xf1\n nop");
PROGRAM(prog_hlt, "hlt");
PROGRAM(prog_int_81, "int $0x81");
PROGRAM(prog_in, "in $0x80, %al");
PROGRAM(prog_misaligned, "movl 0x20000001, %eax");
PROGRAM(prog_sse_divide,
	"	mov $0x20000000, %ebx\n"
	"	ldmxcsr (%rbx)\n"
	"	xorps %xmm0, %xmm0\n"
	"	divss %xmm0, %xmm0");
PROGRAM(prog_x87_divide,
	"	fninit\n"
	"	mov $0x20000000, %ebx\n"
	"	fldcw (%rbx)\n"
	"	fld1\n"
	"	fldz\n"
	"	fdivrp\n"
	"	fwait");

TEST_F(fault, undefined_instruction)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_ud2);
	EXPECT_FAULT(b, SIGILL, ILL_ILLOPN);
	EXPECT_EQ(BENCH_CODE, (uint64_t)b->ev.info.si_addr);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
	EXPECT_TRAP(b, TRAP_UD);
}

TEST_F(fault, division_by_zero)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_divide);
	EXPECT_FAULT(b, SIGFPE, FPE_INTDIV);
	EXPECT_EQ(BENCH_CODE + 2, (uint64_t)b->ev.info.si_addr);
	EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
	EXPECT_TRAP(b, TRAP_DE);
}

TEST_F(fault, breakpoints)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_int3);
	EXPECT_FAULT(b, SIGTRAP, SI_KERNEL);
	EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
	EXPECT_TRAP(b, TRAP_BP);
	BENCH_LOAD(b, prog_int_3);
	EXPECT_FAULT(b, SIGTRAP, SI_KERNEL);
	EXPECT_EQ(BENCH_CODE + 3, b->regs->rip);
	EXPECT_TRAP(b, TRAP_BP);
}

/* Where rip is afterwards depends on the hypervisor below the machine. */
TEST_F(fault, icebp)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no ICEBP (QEMU without KVM)");
	BENCH_LOAD(b, prog_icebp);
	EXPECT_FAULT(b, SIGTRAP, TRAP_BRKPT);
	EXPECT_TRAP(b, TRAP_DB);
}

PROGRAM(prog_nops, "nop\n nop\n nop\n nop");

TEST_F(fault, single_step)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_nops);
	b->regs->eflags = EFLAGS_TF;
	for (i = 1; i <= 3; i++) {
		EXPECT_FAULT(b, SIGTRAP, TRAP_TRACE);
		EXPECT_EQ(BENCH_CODE + i, b->regs->rip);
		EXPECT_EQ(EFLAGS_TF, b->regs->eflags & EFLAGS_TF);
		EXPECT_TRAP(b, TRAP_DB);
	}
	b->regs->eflags &= ~EFLAGS_TF;
	EXPECT_FAULT(b, SIGTRAP, SI_KERNEL);
	EXPECT_EQ(BENCH_CODE + 5, b->regs->rip);
}

PROGRAM(prog_step_syscall,
	"	pushfq\n"
	"	orq $0x100, (%rsp)\n"
	"	popfq\n"
	"	syscall\n"
	"	nop\n"
	"	nop");

/*
 * A step trap of the program's own making. popfq sets TF, so the first trap is
 * after the syscall instruction's event, behind one more instruction.
 */
TEST_F(fault, single_step_over_a_system_call)
{
	struct bench *b = &self->b;
	uint64_t after;

	BENCH_LOAD(b, prog_step_syscall);
	EXPECT_SYSCALL(b, 0);
	after = b->regs->rip;
	EXPECT_EQ(EFLAGS_TF, b->regs->eflags & EFLAGS_TF);
	EXPECT_FAULT(b, SIGTRAP, TRAP_TRACE);
	EXPECT_EQ(after + 1, b->regs->rip);
	EXPECT_FAULT(b, SIGTRAP, TRAP_TRACE);
	EXPECT_EQ(after + 2, b->regs->rip);
}

TEST_F(fault, privileged_instructions)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_hlt);
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	EXPECT_TRAP(b, TRAP_GP);
	BENCH_LOAD(b, prog_in);
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	EXPECT_TRAP(b, TRAP_GP);
	BENCH_LOAD(b, prog_int_81);
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	EXPECT_TRAP(b, TRAP_GP);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
}

TEST_F(fault, alignment_check)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no alignment checks (QEMU without KVM)");
	BENCH_LOAD(b, prog_misaligned);
	b->regs->eflags = EFLAGS_AC;
	EXPECT_FAULT(b, SIGBUS, BUS_ADRALN);
	EXPECT_TRAP(b, TRAP_AC);
}

TEST_F(fault, sse_exception)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no SSE exceptions (QEMU without KVM)");
	BENCH_LOAD(b, prog_sse_divide);
	*(uint32_t *)b->data = 0x1f00; /* invalid operation unmasked */
	EXPECT_FAULT(b, SIGFPE, FPE_FLTINV);
	EXPECT_TRAP(b, TRAP_XM);
}

TEST_F(fault, x87_exception)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_x87_divide);
	*(uint16_t *)b->data = 0x37b; /* division by zero unmasked */
	EXPECT_FAULT(b, SIGFPE, FPE_FLTDIV);
	EXPECT_EQ(0, b->ev.access);
}

/* ---- CPUID ---- */

PROGRAM(prog_cpuid, "xor %eax, %eax\n xor %ecx, %ecx\n cpuid\n syscall");

TEST_F(fault, cpuid)
{
	struct bench *b = &self->b;
	uint32_t eax, ebx, ecx, edx;

	BENCH_LOAD(b, prog_cpuid);
	if (b->p->cpuid_events) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_CPUID, b->ev.kind);
		EXPECT_EQ(BENCH_CODE + 4, b->regs->rip);
		b->regs->rip += 2;
		b->regs->rbx = 0x12345678;
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(0x12345678, b->regs->rbx);
	} else {
		__cpuid_count(0, 0, eax, ebx, ecx, edx);
		EXPECT_SYSCALL(b, eax);
		EXPECT_EQ(ebx, b->regs->rbx);
		EXPECT_EQ(edx, b->regs->rdx);
	}
}

/* A #GP that only looks like CPUID's is none. */
TEST_F(fault, other_faults_are_no_cpuid)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_hlt);
	b->code[1] = 0x0f;
	b->code[2] = 0xa2;
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
}

PROGRAM(prog_rdtsc, "rdtsc\n shl $32, %rdx\n lea (%rdx, %rax), %rbx\n syscall\n jmp prog_rdtsc");

TEST_F(fault, time_stamp_counter_is_no_event)
{
	struct bench *b = &self->b;
	uint64_t first;

	BENCH_LOAD(b, prog_rdtsc);
	ASSERT_EQ(0, bench_run(b));
	ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	first = b->regs->rbx;
	ASSERT_EQ(0, bench_run(b));
	ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	EXPECT_LT(first, b->regs->rbx);
}

TEST_HARNESS_MAIN
