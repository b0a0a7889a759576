// SPDX-License-Identifier: MIT
/*
 * state.c - the lazily moved state against a model, in random order
 *
 * Two contexts run the same program, each with memory of its own. The program
 * does one thing for each system call result that it is given: load all of its
 * vector state from memory, store it there, set or read fs and gs base, fault.
 * In between the sentry pulls, changes, moves and mixes as a sentry may. After
 * each step what can be seen must be what the model says.
 */
#include <cpuid.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "suite.h"

#define HWCAP2_FSGSBASE_BIT 2
#define NR_CONTEXTS 2
#define NR_SPACES 2
#define NR_XMM 16
#define MODEL_AREA (2 * BENCH_PAGE)

/* Offsets in the XSAVE image, standard format. */
#define XSTATE_FCW 0
#define XSTATE_MXCSR 24
#define XSTATE_XMM0 160
#define XSTATE_BV 512
#define XFEATURE_X87_BIT 1u
#define XFEATURE_SSE_BIT 2u
#define XFEATURE_YMM_BIT 4u
#define XFEATURE_YMM 2

SUITE_FIXTURE(state);

/* In a context's memory: what the program loads, and where it stores. */
struct image {
	uint64_t xmm[NR_XMM][2];
	uint32_t mxcsr;
	uint16_t fcw;
	uint16_t pad;
	uint64_t fs_base, gs_base;
	uint64_t ymmh[NR_XMM][2]; /* the upper halves, where there is AVX */
};

enum order { NOTHING, LOAD, STORE, FAULT, SET_BASES, GET_BASES, LOAD_HIGH, STORE_HIGH, NR_ORDERS };

/* rbx: the context's memory; the stored image is one page behind the other. */
PROGRAM(prog_model,
	"1:	syscall\n"
	"	cmp $1, %eax\n	je 2f\n"
	"	cmp $2, %eax\n	je 3f\n"
	"	cmp $3, %eax\n	je 4f\n"
	"	cmp $4, %eax\n	je 5f\n"
	"	cmp $5, %eax\n	je 6f\n"
	"	cmp $6, %eax\n	je 7f\n"
	"	cmp $7, %eax\n	je 8f\n"
	"	jmp 1b\n"
	"2:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu 16*\\n(%rbx), %xmm\\n\n"
	"	.endr\n"
	"	ldmxcsr 256(%rbx)\n"
	"	fldcw 260(%rbx)\n"
	"	jmp 1b\n"
	"3:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu %xmm\\n, 4096+16*\\n(%rbx)\n"
	"	.endr\n"
	"	stmxcsr 4096+256(%rbx)\n"
	"	fnstcw 4096+260(%rbx)\n"
	"	jmp 1b\n"
	"4:	ud2\n"
	"	jmp 1b\n"
	"5:	mov 264(%rbx), %rcx\n"
	"	wrfsbase %rcx\n"
	"	mov 272(%rbx), %rcx\n"
	"	wrgsbase %rcx\n"
	"	jmp 1b\n"
	"6:	rdfsbase %rcx\n"
	"	mov %rcx, 4096+264(%rbx)\n"
	"	rdgsbase %rcx\n"
	"	mov %rcx, 4096+272(%rbx)\n"
	"	jmp 1b\n"
	"7:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vinsertf128 $1, 280+16*\\n(%rbx), %ymm\\n, %ymm\\n\n"
	"	.endr\n"
	"	jmp 1b\n"
	"8:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vextractf128 $1, %ymm\\n, 4096+280+16*\\n(%rbx)\n"
	"	.endr\n"
	"	jmp 1b");

_Static_assert(offsetof(struct image, mxcsr) == 256, "prog_model");
_Static_assert(offsetof(struct image, fs_base) == 264, "prog_model");
_Static_assert(offsetof(struct image, ymmh) == 280, "prog_model");

struct model {
	struct platform_context *ctx;
	struct image *load, *store; /* the program's memory */
	struct image is; /* what its state must be */
	struct platform_event ev;
	int err;
	struct world *world;
};

struct world {
	struct bench *b;
	struct platform_address_space *spaces[NR_SPACES];
	struct platform_address_space *as;
	struct model models[NR_CONTEXTS];
	uint64_t random;
	bool has_bases;
	uint32_t ymm_offset; /* in the XSAVE image; 0 without AVX */
};

static uint64_t draw(struct world *w, uint64_t below)
{
	return bench_random(&w->random) % below;
}

/* Any value of the registers that an XRSTOR and an LDMXCSR take. */
static void draw_image(struct world *w, struct image *i)
{
	int n;

	for (n = 0; n < NR_XMM; n++) {
		i->xmm[n][0] = bench_random(&w->random);
		i->xmm[n][1] = bench_random(&w->random);
		i->ymmh[n][0] = bench_random(&w->random);
		i->ymmh[n][1] = bench_random(&w->random);
	}
	/* All exceptions masked: the rounding mode and the flags vary. */
	i->mxcsr = 0x1f80 | (uint32_t)draw(w, 4) << 13 | (uint32_t)draw(w, 64);
	i->fcw = 0x037f & ~0xc00;
	i->fcw |= draw(w, 4) << 10;
	i->fs_base = BENCH_DATA + draw(w, BENCH_AREA);
	i->gs_base = BENCH_FREE + draw(w, 1ull << 40);
}

static unsigned char *xstate(struct model *m)
{
	return m->ctx->state.xstate;
}

/* The sentry's own registers are everybody's: leave nothing useful in them. */
static void clobber(void)
{
	asm volatile("pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm7, %%xmm7\n"
		     "pcmpeqd %%xmm15, %%xmm15\n fninit"
		     :
		     :
		     : "xmm0", "xmm7", "xmm15", "st");
}

/* Fills the general registers that the program leaves alone. */
static void set_gprs(struct world *w, struct model *m, enum order order)
{
	struct user_regs_struct *r = m->ctx->state.regs;

	r->rax = order;
	r->rdx = bench_random(&w->random);
	r->rsi = bench_random(&w->random);
	r->rdi = bench_random(&w->random);
	r->rbp = bench_random(&w->random);
	r->r8 = bench_random(&w->random);
	r->r9 = bench_random(&w->random);
	r->r12 = bench_random(&w->random);
	r->r15 = bench_random(&w->random);
}

static bool gprs_are(const struct user_regs_struct *a, const struct user_regs_struct *b)
{
	return a->rbx == b->rbx && a->rdx == b->rdx && a->rsi == b->rsi && a->rdi == b->rdi &&
	       a->rbp == b->rbp && a->rsp == b->rsp && a->r8 == b->r8 && a->r9 == b->r9 &&
	       a->r12 == b->r12 && a->r15 == b->r15;
}

static void *run_model(void *arg)
{
	struct model *m = arg;

	clobber();
	m->err = bench_run_context(m->world->b, m->ctx, m->world->as, &m->ev);
	if (!m->err && m->ev.kind == PLATFORM_SIGNAL)
		m->ctx->state.regs->rip += 2;
	return NULL;
}

static void *run_and_pull(void *arg)
{
	struct model *m = arg;

	run_model(m);
	if (!m->err)
		m->err = context_pull_full_state(m->ctx);
	return NULL;
}

static void check_stored(struct __test_metadata *_metadata, struct model *m)
{
	EXPECT_EQ(0, memcmp(m->store->xmm, m->is.xmm, sizeof(m->is.xmm)));
	EXPECT_EQ(m->is.mxcsr, m->store->mxcsr);
	EXPECT_EQ(m->is.fcw, m->store->fcw);
}

/* What an order changes, or shows, once it has been carried out. */
static void check_order(struct __test_metadata *_metadata, struct world *w, struct model *m,
			enum order order)
{
	ASSERT_EQ(order == FAULT ? PLATFORM_SIGNAL : PLATFORM_SYSCALL, m->ev.kind);
	if (order == LOAD) {
		memcpy(m->is.xmm, m->load->xmm, sizeof(m->is.xmm));
		m->is.mxcsr = m->load->mxcsr;
		m->is.fcw = m->load->fcw;
	} else if (order == SET_BASES) {
		m->is.fs_base = m->load->fs_base;
		m->is.gs_base = m->load->gs_base;
	} else if (order == STORE) {
		check_stored(_metadata, m);
	} else if (order == LOAD_HIGH) {
		memcpy(m->is.ymmh, m->load->ymmh, sizeof(m->is.ymmh));
	} else if (order == STORE_HIGH) {
		EXPECT_EQ(0, memcmp(m->store->ymmh, m->is.ymmh, sizeof(m->is.ymmh)));
	} else if (order == GET_BASES) {
		EXPECT_EQ(m->is.fs_base, m->store->fs_base);
		EXPECT_EQ(m->is.gs_base, m->store->gs_base);
	}
}

static enum order draw_order(struct world *w)
{
	enum order order = draw(w, NR_ORDERS);

	if (!w->has_bases && (order == SET_BASES || order == GET_BASES))
		return NOTHING;
	if (!w->ymm_offset && (order == LOAD_HIGH || order == STORE_HIGH))
		return NOTHING;
	return order;
}

/* One switch, here or in a thread that lives for it alone, or that hands over. */
static void step_run(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	enum order order = draw_order(w);
	struct user_regs_struct want;
	pthread_t thread;
	uint64_t how = draw(w, 16);

	draw_image(w, m->load);
	memset(m->store, 0xee, sizeof(*m->store));
	set_gprs(w, m, order);
	want = *m->ctx->state.regs;
	if (how == 0) {
		ASSERT_EQ(0, context_pull_full_state(m->ctx));
		ASSERT_EQ(0, pthread_create(&thread, NULL, run_and_pull, m));
		pthread_join(thread, NULL);
	} else {
		run_model(m);
	}
	ASSERT_EQ(0, m->err);
	EXPECT_TRUE(gprs_are(&want, m->ctx->state.regs));
	/* A fault is reported before the way back to the system call. */
	if (order == FAULT) {
		check_order(_metadata, w, m, order);
		m->ctx->state.regs->rax = NOTHING;
		run_model(m);
		ASSERT_EQ(0, m->err);
		ASSERT_EQ(PLATFORM_SYSCALL, m->ev.kind);
	} else {
		check_order(_metadata, w, m, order);
	}
}

/* A component in its initial state may be left out of the image. */
static void check_pulled(struct __test_metadata *_metadata, struct model *m)
{
	const uint32_t high = m->world->ymm_offset;
	uint64_t features;

	memcpy(&features, xstate(m) + XSTATE_BV, sizeof(features));
	if (features & XFEATURE_SSE_BIT) {
		EXPECT_EQ(0, memcmp(xstate(m) + XSTATE_XMM0, m->is.xmm, sizeof(m->is.xmm)));
		EXPECT_EQ(0, memcmp(xstate(m) + XSTATE_MXCSR, &m->is.mxcsr, 4));
	}
	if (high && (features & XFEATURE_YMM_BIT))
		EXPECT_EQ(0, memcmp(xstate(m) + high, m->is.ymmh, sizeof(m->is.ymmh)));
	if (features & XFEATURE_X87_BIT)
		EXPECT_EQ(0, memcmp(xstate(m) + XSTATE_FCW, &m->is.fcw, 2));
	EXPECT_EQ(m->is.fs_base, m->ctx->state.regs->fs_base);
	EXPECT_EQ(m->is.gs_base, m->ctx->state.regs->gs_base);
}

static void step_pull(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	ASSERT_EQ(0, context_pull_full_state(m->ctx));
	check_pulled(_metadata, m);
}

/* As a signal frame, or its return, rewrites it: all, or only a part. */
static void step_change(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	uint64_t features;
	struct image i;

	ASSERT_EQ(0, context_pull_full_state(m->ctx));
	draw_image(w, &i);
	memcpy(&features, xstate(m) + XSTATE_BV, sizeof(features));
	/* What is not in the image has to be made whole before it is put in. */
	if (!(features & XFEATURE_X87_BIT) || !(features & XFEATURE_SSE_BIT))
		return;
	if (draw(w, 2)) {
		memcpy(m->is.xmm, i.xmm, sizeof(i.xmm));
		memcpy(xstate(m) + XSTATE_XMM0, i.xmm, sizeof(i.xmm));
	}
	if (w->ymm_offset && (features & XFEATURE_YMM_BIT) && draw(w, 2)) {
		memcpy(m->is.ymmh, i.ymmh, sizeof(i.ymmh));
		memcpy(xstate(m) + w->ymm_offset, i.ymmh, sizeof(i.ymmh));
	}
	if (draw(w, 2)) {
		m->is.mxcsr = i.mxcsr;
		memcpy(xstate(m) + XSTATE_MXCSR, &i.mxcsr, 4);
	}
	if (draw(w, 2)) {
		m->is.fcw = i.fcw;
		memcpy(xstate(m) + XSTATE_FCW, &i.fcw, 2);
	}
	if (draw(w, 2)) {
		m->ctx->state.regs->fs_base = m->is.fs_base = i.fs_base;
		m->ctx->state.regs->gs_base = m->is.gs_base = i.gs_base;
	}
	context_full_state_changed(m->ctx);
	if (draw(w, 2))
		step_pull(_metadata, w, m);
}

static void step_move(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	w->as = w->spaces[draw(w, NR_SPACES)];
}

/* An address space goes, with what contexts left in it. */
static void step_replace(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	const uint64_t which = draw(w, NR_SPACES);

	/* Now and then: it is slow on some platforms. */
	if (draw(w, 8))
		return;
	address_space_release(w->spaces[which]);
	ASSERT_EQ(0, bench_new_address_space(w->b, &w->spaces[which]));
	w->as = w->spaces[which];
}

static void step_sleep(struct __test_metadata *_metadata, struct world *w, struct model *m)
{
	context_prepare_sleep(m->ctx);
	if (draw(w, 2))
		context_interrupt(m->ctx);
}

static void (*const steps[])(struct __test_metadata *_metadata, struct world *w,
			     struct model *m) = {
	step_run, step_run, step_run, step_run, step_run, step_run, step_run, step_run,
	step_pull, step_pull, step_change, step_change, step_move, step_replace, step_sleep,
};

static uint32_t find_ymm(void)
{
	uint32_t eax, ebx = 0, ecx, edx;

	if (__builtin_cpu_supports("avx"))
		__cpuid_count(0xd, XFEATURE_YMM, eax, ebx, ecx, edx);
	return ebx;
}

static void start_world(struct __test_metadata *_metadata, struct world *w, struct bench *b)
{
	int i;

	w->b = b;
	w->random = 0x243f6a8885a308d3;
	w->ymm_offset = find_ymm();
	w->has_bases = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
	BENCH_LOAD(b, prog_model);
	w->as = w->spaces[0] = b->as;
	ASSERT_EQ(0, bench_new_address_space(b, &w->spaces[1]));
	w->models[0].ctx = b->ctx;
	ASSERT_EQ(0, bench_new_context(b, &w->models[1].ctx));
	for (i = 0; i < NR_CONTEXTS; i++) {
		struct model *m = &w->models[i];

		m->world = w;
		m->load = (struct image *)(b->data + i * MODEL_AREA);
		m->store = (struct image *)(b->data + i * MODEL_AREA + BENCH_PAGE);
		m->is.mxcsr = 0x1f80;
		m->is.fcw = 0x037f;
		m->ctx->state.regs->rbx = BENCH_DATA + i * MODEL_AREA;
		run_model(m);
		ASSERT_EQ(0, m->err);
	}
}

TEST_F_TIMEOUT(state, random_model, 120)
{
	const int rounds = bench_scale(4000, 800);
	struct bench *b = &self->b;
	struct world w = { 0 };
	int i;

	start_world(_metadata, &w, b);
	for (i = 0; i < rounds; i++) {
		struct model *m = &w.models[draw(&w, NR_CONTEXTS)];
		const uint64_t which = draw(&w, sizeof(steps) / sizeof(steps[0]));

		steps[which](_metadata, &w, m);
		ASSERT_TRUE(_metadata->passed) TH_LOG("step %d, kind %d", i, (int)which);
	}
	bench_release_context(b, w.models[1].ctx);
	b->as = w.spaces[0];
	address_space_release(w.spaces[1]);
}
