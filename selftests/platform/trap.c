// SPDX-License-Identifier: MIT
/*
 * trap.c - traps of the program that are not about memory
 */
#include <cpuid.h>
#include <string.h>

#include "suite.h"

#define EFLAGS_TF 0x100u
#define EFLAGS_AC 0x40000u

#define TRAP_DB 1
#define TRAP_BP 3
#define TRAP_DE 0
#define TRAP_UD 6
#define TRAP_SS 12
#define TRAP_GP 13
#define TRAP_MF 16
#define TRAP_AC 17
#define TRAP_XM 19

SUITE_FIXTURE(trap);

PROGRAM(prog_syscall, "1: syscall\n jmp 1b");

#define EXPECT_TRAP(b, nr) do { \
	EXPECT_EQ(0, (b)->ev.access); \
	if ((b)->ev.flags & PLATFORM_EVENT_TRAP_VALID) \
		EXPECT_EQ(nr, (b)->ev.trap_nr); \
} while (0)

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

TEST_F(trap, undefined_instruction)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_ud2);
	EXPECT_FAULT(b, SIGILL, ILL_ILLOPN);
	EXPECT_EQ(BENCH_CODE, (uint64_t)b->ev.info.si_addr);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
	EXPECT_TRAP(b, TRAP_UD);
}

TEST_F(trap, division_by_zero)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_divide);
	EXPECT_FAULT(b, SIGFPE, FPE_INTDIV);
	EXPECT_EQ(BENCH_CODE + 2, (uint64_t)b->ev.info.si_addr);
	EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
	EXPECT_TRAP(b, TRAP_DE);
}

TEST_F(trap, breakpoints)
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
TEST_F(trap, icebp)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no ICEBP (QEMU without KVM)");
	BENCH_LOAD(b, prog_icebp);
	EXPECT_FAULT(b, SIGTRAP, TRAP_BRKPT);
	EXPECT_TRAP(b, TRAP_DB);
}

PROGRAM(prog_nops, "nop\n nop\n nop\n nop");

TEST_F(trap, single_step)
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
TEST_F(trap, single_step_over_a_system_call)
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

PROGRAM(prog_push, "push %rbx");

TEST_F(trap, non_canonical_stack)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no stack faults in 64-bit mode (QEMU without KVM)");
	BENCH_LOAD(b, prog_push);
	b->regs->rsp = 0x8000000000000000;
	EXPECT_FAULT(b, SIGBUS, SI_KERNEL);
	EXPECT_EQ(BENCH_CODE, b->regs->rip);
	EXPECT_EQ(0x8000000000000000, b->regs->rsp);
	EXPECT_TRAP(b, TRAP_SS);
}

TEST_F(trap, privileged_instructions)
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

TEST_F(trap, alignment_check)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no alignment checks (QEMU without KVM)");
	BENCH_LOAD(b, prog_misaligned);
	b->regs->eflags = EFLAGS_AC;
	EXPECT_FAULT(b, SIGBUS, BUS_ADRALN);
	EXPECT_TRAP(b, TRAP_AC);
}

TEST_F(trap, sse_exception)
{
	struct bench *b = &self->b;

	if (bench_is_emulated())
		SKIP(return, "the CPU has no SSE exceptions (QEMU without KVM)");
	BENCH_LOAD(b, prog_sse_divide);
	*(uint32_t *)b->data = 0x1f00; /* invalid operation unmasked */
	EXPECT_FAULT(b, SIGFPE, FPE_FLTINV);
	EXPECT_TRAP(b, TRAP_XM);
}

TEST_F(trap, x87_exception)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_x87_divide);
	*(uint16_t *)b->data = 0x37b; /* division by zero unmasked */
	EXPECT_FAULT(b, SIGFPE, FPE_FLTDIV);
	EXPECT_TRAP(b, TRAP_MF);
}

/* ---- CPUID ---- */

PROGRAM(prog_cpuid, "xor %eax, %eax\n xor %ecx, %ecx\n cpuid\n syscall");

TEST_F(trap, cpuid)
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

PROGRAM(prog_cpuid_prefixes, "xor %eax, %eax\n xor %ecx, %ecx\n .byte 0x66, 0xf3, 0x48\n cpuid\n"
			     " mov $1, %eax\n syscall");

/* Prefixes have no effect, and hide nothing. */
TEST_F(trap, cpuid_with_prefixes)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_cpuid_prefixes);
	if (b->p->cpuid_events) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_CPUID, b->ev.kind);
		EXPECT_EQ(BENCH_CODE + 4, b->regs->rip);
		b->regs->rip += 5;
	}
	EXPECT_SYSCALL(b, 1);
}

/*
 * A #GP that only looks like CPUID's is none, where CPUID faults as well. Platforms that
 * tell one from the other when they report it can be asked on any CPU.
 */
TEST_F(trap, other_faults_are_no_cpuid)
{
	struct bench *b = &self->b;
	bool faults = b->p->cpuid_events;

	BENCH_LOAD(b, prog_hlt);
	b->code[1] = 0x0f;
	b->code[2] = 0xa2;
	b->p->cpuid_events = true;
	EXPECT_FAULT(b, SIGSEGV, SI_KERNEL);
	b->p->cpuid_events = faults;
}

PROGRAM(prog_rdtsc, "rdtsc\n shl $32, %rdx\n lea (%rdx, %rax), %rbx\n syscall\n jmp prog_rdtsc");

TEST_F(trap, time_stamp_counter_is_no_event)
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
