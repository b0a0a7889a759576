// SPDX-License-Identifier: GPL-2.0
/*
 * state.c - segment bases and FPU state of a context
 *
 * All but what makes a new context runs on the context's thread, stopped. What
 * comes from the shared pages is copied once, and checked on the copy, the way
 * ptrace checks a debugger's.
 */
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/string.h>

#include <asm/desc.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/pkru.h>
#include <asm/segment.h>

#include "compat.h"
#include "regs.h"
#include "sandtrap_internal.h"

/* The leaf that tells of each feature (SDM vol. 1, 13.2). Kernels differ in its name. */
#define CPUID_XSTATE 0xd

/* asm/fpu/types.h does not name them without the prefix. */
#define FXSAVE_FCW 0x37f
#define FXSAVE_MXCSR_OFFSET 24
#define XSAVE_HEADER_OFFSET 512

/* The kernel looks at the header even where the CPU has no XSAVE. */
#define FPU_COPY_MIN (XSAVE_HEADER_OFFSET + 64)

u32 sandtrap_fpu_size;
u64 sandtrap_fpu_features;
u64 sandtrap_fpu_xfd;

/* Where the standard format has what is behind the header, by feature. */
static struct {
	u32 offset;
	u32 size;
} fpu_components[64];

/* Tasks begin with the same features. Those they add are not transferred. */
void sandtrap_fpu_setup(void)
{
	const struct fpstate *own = sandtrap_current_fpu()->fpstate;
	u32 offset, size, ecx, edx;
	int i;

	sandtrap_fpu_size = own->user_size;
	sandtrap_fpu_features = own->user_xfeatures;
	sandtrap_fpu_xfd = own->xfd;
	if (!cpu_feature_enabled(X86_FEATURE_XSAVE))
		return;
	for (i = XFEATURE_YMM; i < 64; i++) {
		if (!(sandtrap_fpu_features & BIT_ULL(i)))
			continue;
		cpuid_count(CPUID_XSTATE, i, &size, &offset, &ecx, &edx);
		if (size > sandtrap_fpu_size || offset > sandtrap_fpu_size - size) {
			/* Cannot be: the kernel sized the area by these. */
			sandtrap_fpu_features &= ~BIT_ULL(i);
			continue;
		}
		fpu_components[i].offset = offset;
		fpu_components[i].size = size;
	}
}

static void *fpu_area(struct sandtrap_context *ctx)
{
	return (void *)ctx->page + SANDTRAP_FPU_OFFSET;
}

void *sandtrap_fpu_copy_new(void)
{
	return kvzalloc(max_t(size_t, sandtrap_fpu_size, FPU_COPY_MIN),
			GFP_KERNEL_ACCOUNT);
}

/* What a new program finds, in place of what FNINIT and LDMXCSR would do. */
void sandtrap_state_init(struct sandtrap_context *ctx)
{
	u64 features = XFEATURE_MASK_FPSSE;
	u32 mxcsr = MXCSR_DEFAULT;
	u16 fcw = FXSAVE_FCW;

	memcpy(fpu_area(ctx), &fcw, sizeof(fcw));
	memcpy(fpu_area(ctx) + FXSAVE_MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	if (cpu_feature_enabled(X86_FEATURE_XSAVE))
		memcpy(fpu_area(ctx) + XSAVE_HEADER_OFFSET, &features,
		       sizeof(features));
}

/* segment bases */

static void segments_save(struct sandtrap_context *ctx)
{
	current_save_fsgs();
	ctx->page->regs.fs_base = current->thread.fsbase;
	ctx->page->regs.gs_base = current->thread.gsbase;
}

static int segments_load(struct sandtrap_context *ctx)
{
	unsigned long fs = READ_ONCE(ctx->page->regs.fs_base);
	unsigned long gs = READ_ONCE(ctx->page->regs.gs_base);

	if (fs >= TASK_SIZE_MAX || gs >= TASK_SIZE_MAX)
		return -EINVAL;
	/* As ARCH_SET_FS and ARCH_SET_GS: no selector, only the base. */
	preempt_disable();
	loadsegment(fs, 0);
	current->thread.fsindex = 0;
	current->thread.fsbase = fs;
	wrmsrq(MSR_FS_BASE, fs);
	load_gs_index(0);
	current->thread.gsindex = 0;
	current->thread.gsbase = gs;
	wrmsrq(MSR_KERNEL_GS_BASE, gs);
	preempt_enable();
	return 0;
}

/* What no page holds, because no 64-bit program has a use for it. */
static void selectors_clear(void)
{
	preempt_disable();
	loadsegment(ds, 0);
	loadsegment(es, 0);
	current->thread.ds = 0;
	current->thread.es = 0;
	preempt_enable();
}

/* FPU */

/*
 * Puts the state into memory, where the copy functions of KVM find it. It is
 * loaded again on the way to user mode, on whatever CPU: last_cpu makes that
 * sure when the memory was changed.
 */
static struct fpstate *fpu_to_memory(void)
{
	kernel_fpu_begin();
	kernel_fpu_end();
	return sandtrap_current_fpu()->fpstate;
}

/*
 * A task that is permitted to (AMX) grows its state when it first uses a
 * feature. The area does not grow: it has no room for that feature.
 */
static u64 fpu_features(const struct fpstate *fpstate)
{
	return fpstate->user_xfeatures & sandtrap_fpu_features;
}

static void fpu_save(struct sandtrap_context *ctx, struct fpu_guest *guest,
		     u32 pkru)
{
	fpu_copy_guest_fpstate_to_uabi(guest, fpu_area(ctx), sandtrap_fpu_size,
				       fpu_features(guest->fpstate), pkru);
}

/* The one look at the area: takes what its header says is there, if all of it may be. */
static int fpu_take(struct sandtrap_context *ctx, const struct fpstate *fpstate)
{
	const void *area = fpu_area(ctx);
	u64 features;
	int i;

	if (!cpu_feature_enabled(X86_FEATURE_XSAVE)) {
		memcpy(ctx->fpu, area, sandtrap_fpu_size);
		return 0;
	}
	memcpy(ctx->fpu, area, FPU_COPY_MIN);
	barrier();
	memcpy(&features, ctx->fpu + XSAVE_HEADER_OFFSET, sizeof(features));
	if (features & (~fpu_features(fpstate) | fpstate->xfd))
		return -EINVAL;
	for (features &= ~XFEATURE_MASK_FPSSE; features; features &= features - 1) {
		i = __ffs64(features);
		memcpy(ctx->fpu + fpu_components[i].offset,
		       area + fpu_components[i].offset, fpu_components[i].size);
	}
	return 0;
}

/* A state without PKRU has its initial value, which is 0. */
static int fpu_load(struct sandtrap_context *ctx, struct fpu_guest *guest,
		    u32 *pkru)
{
	int err = fpu_take(ctx, guest->fpstate);

	if (err)
		return err;
	*pkru = 0;
	return fpu_copy_uabi_to_guest_fpstate(guest, ctx->fpu,
					      fpu_features(guest->fpstate),
					      pkru);
}

/* Into the running task. */
static int fpu_load_current(struct sandtrap_context *ctx)
{
	struct fpu_guest guest = { .fpstate = fpu_to_memory() };
	u32 pkru;
	int err;

	sandtrap_current_fpu()->last_cpu = -1;
	err = fpu_load(ctx, &guest, &pkru);
	if (!err)
		write_pkru(pkru);
	return err;
}

/* Returns the SANDTRAP_EVENT_F_* bits of what is valid now. */
u32 sandtrap_state_save(struct sandtrap_context *ctx, u32 what)
{
	u32 flags = 0;

	if (what & SANDTRAP_STATE_SEGMENTS) {
		segments_save(ctx);
		flags |= SANDTRAP_EVENT_F_SEGMENTS;
	}
	if (what & SANDTRAP_STATE_FPU) {
		struct fpu_guest guest = { .fpstate = fpu_to_memory() };

		fpu_save(ctx, &guest, read_pkru());
		flags |= SANDTRAP_EVENT_F_FPU;
	}
	return flags;
}

int sandtrap_state_load(struct sandtrap_context *ctx, u32 what)
{
	int err = 0;

	if (what & SANDTRAP_STATE_SEGMENTS)
		err = segments_load(ctx);
	if (!err && what & SANDTRAP_STATE_FPU)
		err = fpu_load_current(ctx);
	return err;
}

/* All of the state, into a thread that may have run another program. */
int sandtrap_state_load_fresh(struct sandtrap_context *ctx)
{
	selectors_clear();
	return sandtrap_state_load(ctx, SANDTRAP_STATE_ALL);
}

/* contexts that run on their callers: what is not in the CPU */

static void load_selectors(const struct sandtrap_segments *from,
			   const struct sandtrap_segments *to)
{
	if (from->ds | to->ds)
		loadsegment(ds, to->ds);
	if (from->es | to->es)
		loadsegment(es, to->es);
	if (from->fs | to->fs)
		loadsegment(fs, to->fs);
	if (from->gs | to->gs)
		load_gs_index(to->gs);
}

/* The slow ways of sandtrap_segments_swap(): interrupts are off. */
void sandtrap_segments_load(const struct sandtrap_segments *from,
			    const struct sandtrap_segments *to)
{
	load_selectors(from, to);
	/* Loading one may have changed the base. */
	sandtrap_exchange_gsbase(to->gs_base);
}

/* Of the bases the task knows only those that the CPU cannot tell. */
void sandtrap_segments_swap_by_msr(struct sandtrap_segments *from,
				   const struct sandtrap_segments *to)
{
	struct thread_struct *t = &current->thread;

	current_save_fsgs();
	from->fs_base = t->fsbase;
	from->gs_base = t->gsbase;
	load_selectors(from, to);
	t->fsindex = to->fs;
	t->gsindex = to->gs;
	t->fsbase = to->fs_base;
	t->gsbase = to->gs_base;
	/* A selector of a descriptor brings its base: code has no other way. */
	if (to->fs <= 3)
		wrmsrq(MSR_FS_BASE, to->fs_base);
	if (to->gs <= 3)
		wrmsrq(MSR_KERNEL_GS_BASE, to->gs_base);
}

u32 sandtrap_direct_state_save(struct sandtrap_context *ctx, u32 what)
{
	struct sandtrap_direct *d = &ctx->direct;
	u32 flags = 0;

	if (what & SANDTRAP_STATE_SEGMENTS) {
		ctx->page->regs.fs_base = d->segments.fs_base;
		ctx->page->regs.gs_base = d->segments.gs_base;
		flags |= SANDTRAP_EVENT_F_SEGMENTS;
	}
	if (what & SANDTRAP_STATE_FPU) {
		fpu_save(ctx, &d->fpu, d->pkru);
		flags |= SANDTRAP_EVENT_F_FPU;
	}
	return flags;
}

static int direct_segments_load(struct sandtrap_context *ctx)
{
	struct sandtrap_segments new = {
		.fs_base = READ_ONCE(ctx->page->regs.fs_base),
		.gs_base = READ_ONCE(ctx->page->regs.gs_base),
	};

	if (new.fs_base >= TASK_SIZE_MAX || new.gs_base >= TASK_SIZE_MAX)
		return -EINVAL;
	ctx->direct.segments = new;
	return 0;
}

int sandtrap_direct_state_load(struct sandtrap_context *ctx, u32 what)
{
	struct sandtrap_direct *d = &ctx->direct;
	int err = 0;

	if (what & SANDTRAP_STATE_SEGMENTS)
		err = direct_segments_load(ctx);
	if (!err && what & SANDTRAP_STATE_FPU)
		err = fpu_load(ctx, &d->fpu, &d->pkru);
	return err;
}
