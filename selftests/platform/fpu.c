// SPDX-License-Identifier: MIT
/*
 * fpu.c - FPU and vector state across context_switch()
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "suite.h"

/* Offsets in the XSAVE image, standard format. */
#define XSTATE_FCW 0
#define XSTATE_MXCSR 24
#define XSTATE_ST0 32
#define XSTATE_XMM0 160
#define XSTATE_BV 512
#define XFEATURE_YMM 2
#define XFEATURE_OPMASK 5
#define XFEATURE_HI16_ZMM 7

SUITE_FIXTURE(fpu);

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

TEST_F(fpu, fpu_state_survives_untouched)
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

TEST_F(fpu, pulled_fpu_state_is_the_programs)
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

TEST_F(fpu, changed_fpu_state_is_loaded)
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

TEST_F(fpu, impossible_fpu_state_is_refused)
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
	EXPECT_EQ(-EINVAL, bench_run(b));
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
TEST_F(fpu, new_context_sees_nothing_of_the_old)
{
	const unsigned char zero[32] = { 0 };
	struct bench *b = &self->b;

	start_sse(b);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, bench_renew_context(b));
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

TEST_F(fpu, avx_state)
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

TEST_F(fpu, avx512_state)
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
