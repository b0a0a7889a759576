// SPDX-License-Identifier: MIT
/*
 * xstate.c - FPU and vector state in signal frames
 *
 * The legacy area of 512 bytes has room for 48 bytes of software's, in which
 * the kernel tells how much follows. Behind all stands a second magic number,
 * so that a frame that was moved without its tail is noticed.
 */
#include <cpuid.h>
#include <immintrin.h>

#include "sentry/signal/internal.h"
#include "sentry/signal/xstate.h"

#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

#define LEGACY_SIZE 512
#define SW_OFFSET 464
#define HEADER_SIZE 64
#define FEATURES_FP_SSE 3ull

struct xstate_legacy {
	uint16_t fcw, fsw, ftw, fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t registers[432];
	uint8_t software[48];
};

struct xstate_header {
	uint64_t xstate_bv;
	uint64_t xcomp_bv;
	uint64_t reserved[6];
};

struct fpx_sw_bytes {
	uint32_t magic1;
	uint32_t extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size;
	uint32_t padding[7];
};

_Static_assert(sizeof(struct xstate_legacy) == LEGACY_SIZE, "FXSAVE area");
_Static_assert(offsetof(struct xstate_legacy, software) == SW_OFFSET,
	       "software's bytes");
_Static_assert(sizeof(struct xstate_header) == HEADER_SIZE, "XSAVE header");
_Static_assert(sizeof(struct fpx_sw_bytes) == 48, "struct _fpx_sw_bytes");

/* Asked of the CPU once. */
static struct {
	pthread_once_t once;
	uint64_t features;
	uint32_t mxcsr_mask;
	struct {
		uint32_t offset, size;
	} components[64];
} cpu = { .once = PTHREAD_ONCE_INIT };

/* SDM vol. 1, 13.2: where the standard format has each component. */
#define CPUID_XSTATE 0xd
#define FIRST_COMPONENT 2

static void components_init(void)
{
	unsigned int size, offset, c, d;
	unsigned int i;

	for (i = FIRST_COMPONENT; i < 64; i++) {
		if (!(cpu.features & 1ull << i))
			continue;
		__cpuid_count(CPUID_XSTATE, i, size, offset, c, d);
		cpu.components[i].offset = offset;
		cpu.components[i].size = size;
	}
}

static void cpu_init(void)
{
	struct xstate_legacy fx __attribute__((aligned(64)));
	unsigned int a, b, c, d, lo, hi;

	memset(&fx, 0, sizeof(fx));
	__asm__ volatile("fxsave %0" : "+m"(fx));
	cpu.mxcsr_mask = fx.mxcsr_mask ? fx.mxcsr_mask : 0xffbf;
	cpu.features = FEATURES_FP_SSE;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	cpu.features |= (uint64_t)hi << 32 | lo;
	components_init();
}

static bool has_header(struct task *t)
{
	return t->ctx->state.xstate_size >= LEGACY_SIZE + HEADER_SIZE;
}

static struct xstate_header *header_of(struct task *t)
{
	return (void *)((char *)t->ctx->state.xstate + LEGACY_SIZE);
}

uint64_t xstate_frame_size(struct task *t)
{
	return t->ctx->state.xstate_size + sizeof(uint32_t);
}

void xstate_reset(struct task *t)
{
	struct xstate_legacy *fx = t->ctx->state.xstate;

	pthread_once(&cpu.once, cpu_init);
	/* What the header does not name need not be zero. */
	memset(fx, 0, MIN(t->ctx->state.xstate_size, LEGACY_SIZE + HEADER_SIZE));
	fx->fcw = 0x37f;
	fx->mxcsr = 0x1f80;
	fx->mxcsr_mask = cpu.mxcsr_mask;
	if (has_header(t))
		header_of(t)->xstate_bv = FEATURES_FP_SSE;
}

/* Copies the components that the header names, as far as they lie below @size. */
static int copy_components(struct task *t, uint64_t addr, uint32_t size, bool to_frame)
{
	char *xstate = t->ctx->state.xstate;
	uint64_t left = header_of(t)->xstate_bv >> FIRST_COMPONENT << FIRST_COMPONENT;
	uint32_t offset, len;
	int i, err = 0;

	for (; left && !err; left &= left - 1) {
		i = __builtin_ctzll(left);
		offset = cpu.components[i].offset;
		len = cpu.components[i].size;
		if (offset + len > size)
			header_of(t)->xstate_bv &= ~(1ull << i);
		else if (to_frame)
			err = copy_to_user(t, addr + offset, xstate + offset, len);
		else
			err = copy_from_user(t, xstate + offset, addr + offset, len);
	}
	return err;
}

int xstate_to_frame(struct task *t, uint64_t addr)
{
	const struct arch_state *st = &t->ctx->state;
	size_t head = MIN(st->xstate_size, LEGACY_SIZE + HEADER_SIZE);
	struct fpx_sw_bytes sw = {
		.magic1 = MAGIC1,
		.extended_size = (uint32_t)xstate_frame_size(t),
		.xstate_size = (uint32_t)st->xstate_size,
	};

	pthread_once(&cpu.once, cpu_init);
	sw.xfeatures = cpu.features;
	if (copy_to_user(t, addr, st->xstate, head) ||
	    (has_header(t) && copy_components(t, addr, sw.xstate_size, true)) ||
	    copy_to_user(t, addr + SW_OFFSET, &sw, sizeof(sw)) ||
	    put_user_u32(t, addr + st->xstate_size, MAGIC2))
		return -EFAULT;
	return 0;
}

/* How much of the frame's state to believe in; 0: only the legacy area. */
static uint32_t extended_size(struct task *t, uint64_t addr,
			      const struct fpx_sw_bytes *sw)
{
	uint32_t magic2;

	if (sw->magic1 != MAGIC1 || !has_header(t) ||
	    sw->xstate_size < LEGACY_SIZE + HEADER_SIZE ||
	    sw->xstate_size > t->ctx->state.xstate_size ||
	    sw->xstate_size > sw->extended_size)
		return 0;
	if (get_user_u32(t, &magic2, addr + sw->xstate_size) ||
	    magic2 != MAGIC2)
		return 0;
	return sw->xstate_size;
}

static void clean_header(struct task *t, uint64_t features)
{
	struct xstate_header *h = header_of(t);

	h->xstate_bv &= features & cpu.features;
	h->xcomp_bv = 0;
	memset(h->reserved, 0, sizeof(h->reserved));
}

static int read_state(struct task *t, uint64_t addr)
{
	struct xstate_legacy *fx = t->ctx->state.xstate;
	struct fpx_sw_bytes sw;
	uint32_t size;

	if (copy_from_user(t, fx, addr, LEGACY_SIZE))
		return -EFAULT;
	memcpy(&sw, fx->software, sizeof(sw));
	memset(fx->software, 0, sizeof(fx->software));
	if (fx->mxcsr & ~cpu.mxcsr_mask)
		return -EFAULT;
	fx->mxcsr_mask = cpu.mxcsr_mask;
	size = extended_size(t, addr, &sw);
	if (!size)
		return 0;
	if (copy_from_user(t, header_of(t), addr + LEGACY_SIZE, HEADER_SIZE))
		return -EFAULT;
	clean_header(t, sw.xfeatures);
	return copy_components(t, addr, size, false);
}

int xstate_from_frame(struct task *t, uint64_t addr)
{
	int err;

	xstate_reset(t);
	if (!addr)
		return 0;
	err = read_state(t, addr);
	if (err)
		xstate_reset(t);
	return err;
}
