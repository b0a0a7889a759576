// SPDX-License-Identifier: MIT
/*
 * platform_regs_test.c - register state across context_switch()
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "platform_util.h"

#define HWCAP2_FSGSBASE_BIT 2

#define EFLAGS_CF 0x1u
#define EFLAGS_ARITH 0x8d5u /* CF PF AF ZF SF OF */
#define EFLAGS_TF 0x100u
#define EFLAGS_DF 0x400u

/* Offsets in the XSAVE image, standard format. */
#define XSTATE_FCW 0
#define XSTATE_MXCSR 24
#define XSTATE_ST0 32
#define XSTATE_XMM0 160
#define XSTATE_BV 512
#define XFEATURE_YMM 2
#define XFEATURE_OPMASK 5
#define XFEATURE_HI16_ZMM 7

BENCH_FIXTURE(regs)

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
		EXPECT_EQ(-EINVAL, bench_switch(b));
		BENCH_LOAD(b, prog_syscalls);
		EXPECT_EQ(0, context_pull_full_state(b->ctx));
		b->regs->fs_base = bad[i];
		context_full_state_changed(b->ctx);
		EXPECT_EQ(-EINVAL, bench_switch(b));
		b->regs->fs_base = 0;
		b->regs->gs_base = bad[i];
		context_full_state_changed(b->ctx);
		EXPECT_EQ(-EINVAL, bench_switch(b));
		b->regs->gs_base = 0;
		context_full_state_changed(b->ctx);
		EXPECT_SYSCALL(b, 0);
	}
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

/* ---- FPU and vector state ---- */

PROGRAM(prog_sse,
	"	movdqu 0x20000000, %xmm0\n"
	"	movdqu 0x20000010, %xmm7\n"
	"	movdqu 0x20000020, %xmm15\n"
	"	ldmxcsr 0x20000030\n"
	"	fninit\n"
	"	fldpi\n"
	"	fldcw 0x20000034\n"
	"1:	syscall\n"
	"	movdqu %xmm0, 0x20000100\n"
	"	movdqu %xmm7, 0x20000110\n"
	"	movdqu %xmm15, 0x20000120\n"
	"	stmxcsr 0x20000130\n"
	"	fnstcw 0x20000134\n"
	"	fld %st\n"
	"	fstpt 0x20000140\n"
	"	jmp 1b");

/* The long double constant that fldpi loads, as it is in memory. */
static const unsigned char pi[10] = { 0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40 };

static void start_sse(struct bench *b)
{
	const uint32_t mxcsr = 0x7fa0; /* round to zero, all masked, PE set */
	const uint16_t fcw = 0x0f7f; /* round to zero, all masked */
	size_t i;

	BENCH_LOAD(b, prog_sse);
	for (i = 0; i < 48; i++)
		b->data[i] = 0xa0 + i;
	memcpy(b->data + 0x30, &mxcsr, sizeof(mxcsr));
	memcpy(b->data + 0x34, &fcw, sizeof(fcw));
}

static unsigned char *xstate(struct bench *b)
{
	return b->ctx->state.xstate;
}

static void clobber_own_fpu(void)
{
	asm volatile("fninit\n fldz\n fldz\n"
		     "pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pxor %%xmm15, %%xmm15\n"
		     "fninit"
		     :
		     :
		     : "xmm0", "xmm7", "xmm15", "st", "st(1)");
}

TEST_F(regs, fpu_state_survives_untouched)
{
	struct bench *b = &self->b;
	int i;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	for (i = 0; i < 3; i++) {
		clobber_own_fpu();
		memset(b->data + 0x100, 0, 0x100);
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 48));
		EXPECT_EQ(0, memcmp(b->data + 0x130, b->data + 0x30, 6));
		EXPECT_EQ(0, memcmp(b->data + 0x140, pi, sizeof(pi)));
	}
}

TEST_F(regs, pulled_fpu_state_is_the_programs)
{
	struct bench *b = &self->b;
	uint64_t features;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_LE(576, b->ctx->state.xstate_size);
	memcpy(&features, xstate(b) + XSTATE_BV, sizeof(features));
	EXPECT_EQ(3, features & 3);
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_XMM0, b->data, 16));
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_XMM0 + 7 * 16, b->data + 16, 16));
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_XMM0 + 15 * 16, b->data + 32, 16));
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_MXCSR, b->data + 0x30, 4));
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_FCW, b->data + 0x34, 2));
	EXPECT_EQ(0, memcmp(xstate(b) + XSTATE_ST0, pi, sizeof(pi)));
	/* Looking changes nothing, twice neither. */
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 48));
}

TEST_F(regs, changed_fpu_state_is_loaded)
{
	struct bench *b = &self->b;
	unsigned char want[16];
	uint32_t mxcsr = 0x3f80;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	memset(want, 0x5a, sizeof(want));
	memcpy(xstate(b) + XSTATE_XMM0 + 7 * 16, want, sizeof(want));
	memcpy(xstate(b) + XSTATE_MXCSR, &mxcsr, sizeof(mxcsr));
	context_full_state_changed(b->ctx);
	/* A pull would undo the change: it is a no-op now. */
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 16));
	EXPECT_EQ(0, memcmp(b->data + 0x110, want, 16));
	EXPECT_EQ(0, memcmp(b->data + 0x130, &mxcsr, sizeof(mxcsr)));
	EXPECT_EQ(0, memcmp(b->data + 0x140, pi, sizeof(pi)));
}

TEST_F(regs, impossible_fpu_state_is_refused)
{
	struct bench *b = &self->b;
	uint64_t features, bad;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	memcpy(&features, xstate(b) + XSTATE_BV, sizeof(features));
	bad = features | 1ull << 62;
	memcpy(xstate(b) + XSTATE_BV, &bad, sizeof(bad));
	context_full_state_changed(b->ctx);
	EXPECT_EQ(-EINVAL, bench_switch(b));
	memcpy(xstate(b) + XSTATE_BV, &features, sizeof(features));
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 48));
}

PROGRAM(prog_fresh_fpu,
	"	movdqu %xmm0, 0x20000000\n"
	"	movdqu %xmm15, 0x20000010\n"
	"	stmxcsr 0x20000020\n"
	"	fnstcw 0x20000024\n"
	"	fnstsw 0x20000026\n"
	"	syscall");

/* The second context may get the stub thread that the first one used. */
TEST_F(regs, new_context_sees_nothing_of_the_old)
{
	const unsigned char zero[32] = { 0 };
	struct bench *b = &self->b;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	context_release(b->ctx);
	ASSERT_EQ(0, platform_new_context(b->p, &b->ctx));
	b->regs = b->ctx->state.regs;
	BENCH_LOAD(b, prog_fresh_fpu);
	memset(b->data, 0xff, 64);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data, zero, 32));
	EXPECT_EQ(0x1f80, *(uint32_t *)(b->data + 0x20));
	EXPECT_EQ(0x037f, *(uint16_t *)(b->data + 0x24));
	EXPECT_EQ(0, *(uint16_t *)(b->data + 0x26));
}

static uint32_t xfeature_offset(int feature)
{
	uint32_t eax, ebx = 0, ecx, edx;

	__cpuid_count(0xd, feature, eax, ebx, ecx, edx);
	return ebx;
}

PROGRAM(prog_avx,
	"	vmovdqu 0x20000000, %ymm0\n"
	"	vmovdqu 0x20000020, %ymm15\n"
	"1:	syscall\n"
	"	vmovdqu %ymm0, 0x20000100\n"
	"	vmovdqu %ymm15, 0x20000120\n"
	"	jmp 1b");

TEST_F(regs, avx_state)
{
	struct bench *b = &self->b;
	unsigned char *high;

	if (!__builtin_cpu_supports("avx"))
		SKIP(return, "the CPU has no AVX");
	BENCH_LOAD(b, prog_avx);
	memset(b->data, 0x11, 32);
	memset(b->data + 32, 0x22, 32);
	EXPECT_SYSCALL(b, 0);
	asm volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		     "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 64));
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	high = xstate(b) + xfeature_offset(XFEATURE_YMM);
	EXPECT_EQ(0, memcmp(high + 15 * 16, b->data + 32, 16));
	memset(high, 0x77, 16);
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x11, b->data[0x100]);
	EXPECT_EQ(0x77, b->data[0x110]);
	EXPECT_EQ(0x22, b->data[0x13f]);
}

PROGRAM(prog_avx512,
	"	vmovdqu64 0x20000000, %zmm0\n"
	"	vmovdqu64 0x20000040, %zmm31\n"
	"	kmovw 0x20000080, %k1\n"
	"1:	syscall\n"
	"	vmovdqu64 %zmm0, 0x20000100\n"
	"	vmovdqu64 %zmm31, 0x20000140\n"
	"	kmovw %k1, 0x20000180\n"
	"	jmp 1b");

TEST_F(regs, avx512_state)
{
	struct bench *b = &self->b;

	if (!__builtin_cpu_supports("avx512f"))
		SKIP(return, "the CPU has no AVX-512");
	BENCH_LOAD(b, prog_avx512);
	memset(b->data, 0x11, 64);
	memset(b->data + 64, 0x22, 64);
	memset(b->data + 128, 0x33, 2);
	EXPECT_SYSCALL(b, 0);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0, memcmp(b->data + 0x100, b->data, 130));
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_EQ(0, memcmp(xstate(b) + xfeature_offset(XFEATURE_HI16_ZMM) + 15 * 64, b->data + 64,
			    64));
	EXPECT_EQ(0, memcmp(xstate(b) + xfeature_offset(XFEATURE_OPMASK) + 8, b->data + 128, 2));
	memset(xstate(b) + xfeature_offset(XFEATURE_HI16_ZMM) + 15 * 64, 0x44, 64);
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(0x11, b->data[0x13f]);
	EXPECT_EQ(0x44, b->data[0x140]);
	EXPECT_EQ(0x44, b->data[0x17f]);
}

TEST_HARNESS_MAIN
