// SPDX-License-Identifier: MIT
/*
 * fpu - is what a call must leave alone as it was?
 *
 * Where a context runs directly, program and caller take turns on the same registers.
 */
#include <errno.h>
#include <string.h>

#include "torture/fuzz/fuzz.h"

struct words {
	uint32_t mxcsr;
	uint16_t fcw;
};

struct registers {
	uint64_t low[4], high[4]; /* ymm6, ymm15; without AVX half of them */
	uint64_t st[2]; /* ten bytes */
	struct words words;
};

static const struct words unusual = { .mxcsr = 0x5f80, .fcw = 0x0b7f };

static long bare_call(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return ret;
}

/* The registers are none that a call in C keeps: it is all one piece. */
static long call_with_sse(struct registers *r, long nr, long a, long b, long c)
{
	long ret;

	asm volatile("movups (%[r]), %%xmm6\n"
		     "movups 32(%[r]), %%xmm15\n"
		     "fldt 64(%[r])\n"
		     "syscall\n"
		     "fstpt 64(%[r])\n"
		     "movups %%xmm15, 32(%[r])\n"
		     "movups %%xmm6, (%[r])\n"
		     : "=a"(ret)
		     : "a"(nr), "D"(a), "S"(b), "d"(c), [r] "r"(r)
		     : "rcx", "r11", "memory", "xmm6", "xmm15", "st", "st(1)", "st(2)",
		       "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	return ret;
}

static long call_with_avx(struct registers *r, long nr, long a, long b, long c)
{
	long ret;

	asm volatile("vmovups (%[r]), %%ymm6\n"
		     "vmovups 32(%[r]), %%ymm15\n"
		     "fldt 64(%[r])\n"
		     "syscall\n"
		     "fstpt 64(%[r])\n"
		     "vmovups %%ymm15, 32(%[r])\n"
		     "vmovups %%ymm6, (%[r])\n"
		     "vzeroupper\n"
		     : "=a"(ret)
		     : "a"(nr), "D"(a), "S"(b), "d"(c), [r] "r"(r)
		     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
		       "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
		       "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)",
		       "st(5)", "st(6)", "st(7)");
	return ret;
}

static void load_words(const struct words *w)
{
	asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(w->mxcsr), "m"(w->fcw));
}

static void store_words(struct words *w)
{
	asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(w->mxcsr), "=m"(w->fcw));
}

long fuzz_call(bool all, long nr, long a, long b, long c)
{
	struct registers before, after;
	struct words own;
	long ret;

	memset(&before, 0, sizeof(before));
	memset(&before, 0x5a, 64);
	before.st[0] = 0xc90fdaa22168c235ull; /* pi */
	before.st[1] = 0x4000;
	before.words = unusual;
	after = before;
	store_words(&own);
	load_words(&unusual);
	if (!all)
		ret = bare_call(nr, a, b, c);
	else if (__builtin_cpu_supports("avx"))
		ret = call_with_avx(&after, nr, a, b, c);
	else
		ret = call_with_sse(&after, nr, a, b, c);
	store_words(&after.words);
	load_words(&own);
	/* Bits of exceptions are no words of control. */
	after.words.mxcsr &= ~0x3fu;
	if (memcmp(&before, &after, sizeof(before)))
		board->lost_fpu++;
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}
