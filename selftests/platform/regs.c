// SPDX-License-Identifier: MIT
/*
 * regs.c - register state across context_switch()
 */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "suite.h"

#define HWCAP2_FSGSBASE_BIT 2

#define EFLAGS_CF 0x1u
#define EFLAGS_ARITH 0x8d5u /* CF PF AF ZF SF OF */
#define EFLAGS_TF 0x100u
#define EFLAGS_DF 0x400u

SUITE_FIXTURE(regs);

PROGRAM(prog_syscalls, "1: syscall\n jmp 1b");

PROGRAM(prog_store_regs,
	"	movq %rax, 0x20000000\n"
	"	movq %rbx, 0x20000008\n"
	"	movq %rcx, 0x20000010\n"
	"	movq %rdx, 0x20000018\n"
	"	movq %rsi, 0x20000020\n"
	"	movq %rdi, 0x20000028\n"
	"	movq %rbp, 0x20000030\n"
	"	movq %rsp, 0x20000038\n"
	"	movq %r8, 0x20000040\n"
	"	movq %r9, 0x20000048\n"
	"	movq %r10, 0x20000050\n"
	"	movq %r11, 0x20000058\n"
	"	movq %r12, 0x20000060\n"
	"	movq %r13, 0x20000068\n"
	"	movq %r14, 0x20000070\n"
	"	movq %r15, 0x20000078\n"
	"	mov $0x30001000, %esp\n"
	"	pushfq\n"
	"	popq 0x20000080\n"
	"	syscall");

/* General registers in the order of prog_store_regs. */
static void read_gprs(const struct user_regs_struct *regs, uint64_t out[16])
{
	const uint64_t values[16] = {
		regs->rax, regs->rbx, regs->rcx, regs->rdx, regs->rsi, regs->rdi,
		regs->rbp, regs->rsp, regs->r8,	 regs->r9,  regs->r10, regs->r11,
		regs->r12, regs->r13, regs->r14, regs->r15,
	};

	memcpy(out, values, sizeof(values));
}

static void fill_gprs(struct user_regs_struct *regs, uint64_t seed)
{
	regs->rax = seed + 1;
	regs->rbx = seed + 2;
	regs->rcx = seed + 3;
	regs->rdx = seed + 4;
	regs->rsi = seed + 5;
	regs->rdi = seed + 6;
	regs->rbp = seed + 7;
	regs->rsp = seed + 8;
	regs->r8 = seed + 9;
	regs->r9 = seed + 10;
	regs->r10 = seed + 11;
	regs->r11 = seed + 12;
	regs->r12 = seed + 13;
	regs->r13 = seed + 14;
	regs->r14 = seed + 15;
	regs->r15 = seed + 16;
}

TEST_F(regs, first_context_is_all_zero)
{
	struct platform_context *fresh;
	struct user_regs_struct zero;

	memset(&zero, 0, sizeof(zero));
	ASSERT_EQ(0, platform_new_context(self->b.p, &fresh));
	/* Selectors and fixed flags are what they always are. */
	zero.cs = fresh->state.regs->cs;
	zero.ss = fresh->state.regs->ss;
	zero.eflags = fresh->state.regs->eflags & 0x202;
	EXPECT_EQ(0, memcmp(fresh->state.regs, &zero, sizeof(zero)));
	context_release(fresh);
}

TEST_F(regs, program_sees_what_the_sentry_set)
{
	struct bench *b = &self->b;
	uint64_t want[16];
	size_t i;

	BENCH_LOAD(b, prog_store_regs);
	fill_gprs(b->regs, 0x1122334455667700);
	b->regs->eflags = EFLAGS_ARITH | EFLAGS_DF;
	read_gprs(b->regs, want);
	EXPECT_SYSCALL(b, want[0]);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(want[i], *bench_word(b, i)) TH_LOG("register %zu", i);
	EXPECT_EQ(EFLAGS_ARITH | EFLAGS_DF,
		  *bench_word(b, 16) & (EFLAGS_ARITH | EFLAGS_DF | EFLAGS_TF));
}

TEST_F(regs, syscall_keeps_all_but_rax_rcx_r11)
{
	struct bench *b = &self->b;
	struct user_regs_struct want;

	BENCH_LOAD(b, prog_syscalls);
	fill_gprs(b->regs, 0x8000000000000000);
	b->regs->eflags = EFLAGS_ARITH;
	want = *b->regs;
	EXPECT_SYSCALL(b, want.rax);
	EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
	EXPECT_EQ(BENCH_CODE + 2, b->regs->rcx);
	EXPECT_EQ(EFLAGS_ARITH, b->regs->r11 & EFLAGS_ARITH);
	EXPECT_EQ(EFLAGS_ARITH, b->regs->eflags & (EFLAGS_ARITH | EFLAGS_DF | EFLAGS_TF));
	want.rax = b->regs->rax;
	want.rcx = b->regs->rcx;
	want.r11 = b->regs->r11;
	want.rip = b->regs->rip;
	want.orig_rax = b->regs->orig_rax;
	want.eflags = b->regs->eflags;
	want.cs = b->regs->cs;
	want.ss = b->regs->ss;
	EXPECT_EQ(0, memcmp(&want, b->regs, sizeof(want)));
}

TEST_F(regs, six_arguments_arrive)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_syscalls);
	b->regs->rax = 202;
	b->regs->rdi = 0x1111111111111111;
	b->regs->rsi = 0x2222222222222222;
	b->regs->rdx = 0x3333333333333333;
	b->regs->r10 = 0x4444444444444444;
	b->regs->r8 = 0x5555555555555555;
	b->regs->r9 = 0x6666666666666666;
	EXPECT_SYSCALL(b, 202);
	EXPECT_EQ(0, b->ev.flags & PLATFORM_EVENT_COMPAT);
	EXPECT_EQ(0x1111111111111111, b->regs->rdi);
	EXPECT_EQ(0x2222222222222222, b->regs->rsi);
	EXPECT_EQ(0x3333333333333333, b->regs->rdx);
	EXPECT_EQ(0x4444444444444444, b->regs->r10);
	EXPECT_EQ(0x5555555555555555, b->regs->r8);
	EXPECT_EQ(0x6666666666666666, b->regs->r9);
}

TEST_F(regs, any_number_is_an_event)
{
	static const uint64_t numbers[] = {
		0, 1, 39, 334, 511, 512, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000,
		0x40000027, 0x7fffffffffffffff, 0x8000000000000000, 0x100000027,
		-1ull, -2ull, -38ull, -512ull,
	};
	struct bench *b = &self->b;
	size_t i;

	BENCH_LOAD(b, prog_syscalls);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		b->regs->rax = numbers[i];
		EXPECT_SYSCALL(b, numbers[i]);
		EXPECT_EQ(0, b->ev.flags & PLATFORM_EVENT_COMPAT);
	}
}

PROGRAM(prog_results,
	"1:	mov $39, %eax\n"
	"	syscall\n"
	"	mov %rax, %rbx\n"
	"	jmp 1b");

/* The kernel's own restart codes must not mean anything to the host. */
TEST_F(regs, any_result_reaches_the_program)
{
	static const int64_t results[] = {
		0, 1, -1, -38, -512, -513, -514, -515, -516, -4095, INT64_MIN, INT64_MAX,
	};
	struct bench *b = &self->b;
	pid_t stub;
	size_t i;

	BENCH_LOAD(b, prog_results);
	EXPECT_SYSCALL(b, 39);
	stub = bench_stub(b);
	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		b->regs->rax = results[i];
		/* A pending signal is what makes the host look at rax. */
		EXPECT_EQ(0, bench_kill(stub, SIGUSR1));
		EXPECT_SYSCALL(b, 39);
		EXPECT_EQ(results[i], (int64_t)b->regs->rbx);
	}
}

TEST_F(regs, selectors_are_not_the_programs)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_syscalls);
	b->regs->cs = 0x23;
	b->regs->ss = 0x1234;
	b->regs->ds = b->regs->es = b->regs->fs = b->regs->gs = 0x33;
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x33, b->regs->cs);
	EXPECT_EQ(0x2b, b->regs->ss);
}

TEST_F(regs, privileged_flags_are_ignored)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_syscalls);
	/* IOPL 3, NT, VM, VIF, VIP; interrupts off. */
	b->regs->eflags = 0x3000 | 0x4000 | 0x20000 | 0x80000 | 0x100000;
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, b->regs->eflags & (0x3000 | 0x20000 | 0x80000 | 0x100000));
	EXPECT_EQ(0x200, b->regs->eflags & 0x200);
}

TEST_F(regs, bad_addresses_are_refused)
{
	static const uint64_t bad[] = {
		1ull << 56, 0x8000000000000000, 0xffff800000000000, 0xffffffff81000000,
	};
	struct bench *b = &self->b;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		BENCH_LOAD(b, prog_syscalls);
		b->regs->rip = bad[i];
		EXPECT_EQ(-EINVAL, bench_run(b));
		BENCH_LOAD(b, prog_syscalls);
		EXPECT_EQ(0, context_pull_full_state(b->ctx));
		b->regs->fs_base = bad[i];
		context_full_state_changed(b->ctx);
		EXPECT_EQ(-EINVAL, bench_run(b));
		b->regs->fs_base = 0;
		b->regs->gs_base = bad[i];
		context_full_state_changed(b->ctx);
		EXPECT_EQ(-EINVAL, bench_run(b));
		b->regs->gs_base = 0;
		context_full_state_changed(b->ctx);
		EXPECT_SYSCALL(b, 0);
	}
}

PROGRAM(prog_flags,
	"1:	syscall\n"
	"	pushfq\n"
	"	popq %rbx\n"
	"	syscall");

/* As seen by the sentry after the event and by the program after its return. */
TEST_F(regs, each_flag_survives)
{
	/* CF PF AF ZF SF DF OF AC */
	static const unsigned int bits[] = { 0, 2, 4, 6, 7, 10, 11, 18 };
	const uint64_t mask = 0x40cd5;
	struct bench *b = &self->b;
	size_t i;

	BENCH_LOAD(b, prog_flags);
	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		const uint64_t flag = 1ull << bits[i];

		bench_start(b->regs);
		b->regs->eflags = flag;
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(flag, b->regs->eflags & mask) TH_LOG("bit %u", bits[i]);
		EXPECT_EQ(flag, b->regs->r11 & mask);
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(flag, b->regs->rbx & mask) TH_LOG("bit %u", bits[i]);
	}
}

PROGRAM(prog_id_flag,
	"	pushfq\n"
	"	orq $0x200000, (%rsp)\n"
	"	popfq\n"
	"	syscall\n"
	"	pushfq\n"
	"	popq %rbx\n"
	"	syscall");

/* Only the program can set it, but then it stays. */
TEST_F(regs, id_flag_set_by_the_program_survives)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_id_flag);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x200000, b->regs->eflags & 0x200000);
	b->regs->rax = 1;
	EXPECT_SYSCALL(b, 1);
	EXPECT_EQ(0x200000, b->regs->rbx & 0x200000);
}

PROGRAM(prog_read_bases,
	"1:	movq %fs:0, %rbx\n"
	"	movq %gs:0, %r12\n"
	"	syscall\n"
	"	jmp 1b");

TEST_F(regs, fs_and_gs_base_are_loaded)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_read_bases);
	*bench_word(b, 16) = 0x1111;
	*bench_word(b, 32) = 0x2222;
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	b->regs->fs_base = BENCH_DATA + 16 * 8;
	b->regs->gs_base = BENCH_DATA + 32 * 8;
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x1111, b->regs->rbx);
	EXPECT_EQ(0x2222, b->regs->r12);
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_EQ(BENCH_DATA + 16 * 8, b->regs->fs_base);
	EXPECT_EQ(BENCH_DATA + 32 * 8, b->regs->gs_base);
	/* And they stay without being touched. */
	*bench_word(b, 16) = 0x3333;
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x3333, b->regs->rbx);
}

PROGRAM(prog_write_bases,
	"	mov $0x20000080, %ebx\n"
	"	wrfsbase %rbx\n"
	"	mov $0x20000100, %ebx\n"
	"	wrgsbase %rbx\n"
	"	syscall\n"
	"	rdfsbase %r12\n"
	"	rdgsbase %r13\n"
	"	syscall");

TEST_F(regs, fs_and_gs_base_set_by_the_program)
{
	struct bench *b = &self->b;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		SKIP(return, "the CPU has no FSGSBASE, or the kernel lacks its use");
	BENCH_LOAD(b, prog_write_bases);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_EQ(0x20000080, b->regs->fs_base);
	EXPECT_EQ(0x20000100, b->regs->gs_base);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x20000080, b->regs->r12);
	EXPECT_EQ(0x20000100, b->regs->r13);
}
