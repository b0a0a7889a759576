// SPDX-License-Identifier: MIT
/*
 * systrap_context.c - registers and events of contexts; context_switch()
 *
 * All that is read here from a thread's shared pages is hostile. Registers are
 * copied once, and then belong to the sentry.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/audit.h>
#include <stdlib.h>
#include <string.h>

#include "systrap.h"
#include "xstate.h"

/* Not in every libc: si_code of a seccomp trap. */
#define SYS_SECCOMP_CODE 1

#define TRAP_PAGE_FAULT 14
#define PF_WRITE 2
#define PF_FETCH 16

#define VSYSCALL_PAGE 0xffffffffff600000ull
#define VSYSCALL_MASK (~0xfffull)

/* The frame's description of its FPU state, at XSTATE_SW_RESERVED. */
#define SW_MAGIC 0x46505853u
#define SW_XFEATURES 8
#define SW_XSTATE_SIZE 16

/* The event is none of the sentry's business. */
#define SWALLOW 1

static struct systrap_platform *platform_of(const struct systrap_context *ctx)
{
	return to_systrap(ctx->base.platform);
}

/* ---- life ---- */

int systrap_new_context(struct platform *base, struct platform_context **out)
{
	struct systrap_platform *p = to_systrap(base);
	struct systrap_context *ctx;

	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->base.state.xstate = xstate_alloc(p->xstate_size);
	if (!ctx->base.state.xstate) {
		free(ctx);
		return -ENOMEM;
	}
	ctx->base.platform = base;
	ctx->base.state.regs = &ctx->regs;
	ctx->base.state.xstate_size = p->xstate_size;
	ctx->full = true;
	ctx->dirty = true;
	pthread_mutex_lock(&p->lock);
	LIST_INSERT_HEAD(&p->contexts, ctx, link);
	pthread_mutex_unlock(&p->lock);
	*out = &ctx->base;
	return 0;
}

void systrap_context_release(struct platform_context *base)
{
	struct systrap_platform *p = to_systrap(base->platform);
	struct systrap_context *ctx = (struct systrap_context *)base;

	systrap_thread_drop(ctx);
	pthread_mutex_lock(&p->lock);
	LIST_REMOVE(ctx, link);
	p->released.switches += ctx->switches;
	p->released.spin_hits += ctx->spin_hits;
	p->released.sleeps += ctx->sleeps;
	pthread_mutex_unlock(&p->lock);
	free(base->state.xstate);
	free(ctx);
}

/* ---- registers ---- */

/* In the order of struct sigcontext. */
static void regs_from_words(struct user_regs_struct *regs, const uint64_t *w)
{
	regs->r8 = w[SYSMSG_R8];
	regs->r9 = w[SYSMSG_R9];
	regs->r10 = w[SYSMSG_R10];
	regs->r11 = w[SYSMSG_R11];
	regs->r12 = w[SYSMSG_R12];
	regs->r13 = w[SYSMSG_R13];
	regs->r14 = w[SYSMSG_R14];
	regs->r15 = w[SYSMSG_R15];
	regs->rdi = w[SYSMSG_RDI];
	regs->rsi = w[SYSMSG_RSI];
	regs->rbp = w[SYSMSG_RBP];
	regs->rbx = w[SYSMSG_RBX];
	regs->rdx = w[SYSMSG_RDX];
	regs->rax = w[SYSMSG_RAX];
	regs->rcx = w[SYSMSG_RCX];
	regs->rsp = w[SYSMSG_RSP];
	regs->rip = w[SYSMSG_RIP];
	regs->eflags = w[SYSMSG_EFLAGS];
}

static void regs_to_words(const struct user_regs_struct *regs, volatile uint64_t *w)
{
	w[SYSMSG_R8] = regs->r8;
	w[SYSMSG_R9] = regs->r9;
	w[SYSMSG_R10] = regs->r10;
	w[SYSMSG_R11] = regs->r11;
	w[SYSMSG_R12] = regs->r12;
	w[SYSMSG_R13] = regs->r13;
	w[SYSMSG_R14] = regs->r14;
	w[SYSMSG_R15] = regs->r15;
	w[SYSMSG_RDI] = regs->rdi;
	w[SYSMSG_RSI] = regs->rsi;
	w[SYSMSG_RBP] = regs->rbp;
	w[SYSMSG_RBX] = regs->rbx;
	w[SYSMSG_RDX] = regs->rdx;
	w[SYSMSG_RAX] = regs->rax;
	w[SYSMSG_RCX] = regs->rcx;
	w[SYSMSG_RSP] = regs->rsp;
	w[SYSMSG_RIP] = regs->rip;
	w[SYSMSG_EFLAGS] = regs->eflags;
}

static void set_user_segments(struct user_regs_struct *regs)
{
	regs->cs = PLATFORM_USER_CS;
	regs->ss = PLATFORM_USER_SS;
	regs->ds = regs->es = regs->fs = regs->gs = 0;
}

static volatile uint64_t *frame_regs(const struct systrap_thread *t)
{
	return t->frame ? systrap_word(t, t->frame + SYSTRAP_UC_REGS) :
			  (volatile uint64_t *)t->tc->regs;
}

/* The registers of an event; the thread has the same. */
static void fetch_regs(struct systrap_context *ctx, struct systrap_thread *t)
{
	volatile uint64_t *from = frame_regs(t);
	uint64_t words[SYSMSG_NR_REGS];
	int i;

	for (i = 0; i < SYSMSG_NR_REGS; i++)
		words[i] = from[i];
	regs_from_words(&ctx->regs, words);
	set_user_segments(&ctx->regs);
	ctx->regs.orig_rax = -1;
	ctx->loaded = ctx->regs;
	ctx->loaded_valid = true;
	ctx->resume = 0;
	ctx->full = false;
}

/* Does nothing but rax differ? user_regs_struct: r15 ... r8, rax, rcx ... rdi. */
static bool only_rax_differs(const struct user_regs_struct *a, const struct user_regs_struct *b)
{
	return !memcmp(&a->r15, &b->r15, offsetof(struct user_regs_struct, rax)) &&
	       !memcmp(&a->rcx, &b->rcx, 4 * sizeof(a->rcx)) && a->rip == b->rip &&
	       a->rsp == b->rsp && a->eflags == b->eflags;
}

static bool user_address(uint64_t addr)
{
	return addr < SYSTRAP_TASK_SIZE;
}

/* ---- FPU state ---- */

/* Its place in the thread's area, or 0: then the frame is not the kernel's. */
static uint32_t find_xstate(const struct systrap_context *ctx, const struct systrap_thread *t)
{
	const uint64_t addr = *systrap_word(t, t->frame + SYSTRAP_UC_FPSTATE);
	const uint64_t offset = addr - t->area;

	if (offset < SYSMSG_ALTSTACK || offset % XSTATE_ALIGN ||
	    offset > SYSMSG_MSG - ctx->base.state.xstate_size)
		return 0;
	return (uint32_t)offset;
}

static int broken(struct systrap_thread *t)
{
	systrap_space_kill(t->space);
	return -ECHILD;
}

int systrap_save_state(struct systrap_context *ctx, struct systrap_thread *t)
{
	uint32_t offset;
	int err;

	if (ctx->full)
		return 0;
	/* A new frame does not have the registers of the call. */
	if (!t->frame)
		ctx->loaded_valid = false;
	err = systrap_make_frame(t);
	if (err)
		return err;
	offset = find_xstate(ctx, t);
	if (!offset)
		return broken(t);
	memcpy(ctx->base.state.xstate, (const void *)systrap_word(t, offset),
	       ctx->base.state.xstate_size);
	memset((char *)ctx->base.state.xstate + XSTATE_SW_RESERVED, 0, XSTATE_SW_RESERVED_SIZE);
	ctx->regs.fs_base = *(volatile uint64_t *)&t->tc->fs_base;
	ctx->regs.gs_base = *(volatile uint64_t *)&t->tc->gs_base;
	ctx->full = true;
	return 0;
}

/* What the kernel keeps in the software bytes stays: it describes the frame. */
static int load_xstate(struct systrap_context *ctx, struct systrap_thread *t)
{
	const char *from = ctx->base.state.xstate;
	uint32_t offset = find_xstate(ctx, t);
	char *to;

	if (!xstate_is_valid(from, platform_of(ctx)->xfeatures))
		return -EINVAL;
	if (!offset)
		return broken(t);
	to = (char *)systrap_word(t, offset);
	memcpy(to, from, XSTATE_SW_RESERVED);
	memcpy(to + XSTATE_SW_RESERVED + XSTATE_SW_RESERVED_SIZE,
	       from + XSTATE_SW_RESERVED + XSTATE_SW_RESERVED_SIZE,
	       ctx->base.state.xstate_size - XSTATE_SW_RESERVED - XSTATE_SW_RESERVED_SIZE);
	t->tc->fs_base = ctx->regs.fs_base;
	t->tc->gs_base = ctx->regs.gs_base;
	ctx->resume |= SYSMSG_RESUME_BASES;
	return 0;
}

int systrap_read_xstate_size(struct systrap_platform *p, const struct systrap_thread *t)
{
	const uint64_t offset = *systrap_word(t, t->frame + SYSTRAP_UC_FPSTATE) - t->area;
	const char *sw;
	uint32_t magic, size;

	if (offset < SYSMSG_ALTSTACK || offset > SYSMSG_MSG - XSTATE_MIN_SIZE)
		return -EOPNOTSUPP;
	sw = (const char *)systrap_word(t, offset) + XSTATE_SW_RESERVED;
	memcpy(&magic, sw, sizeof(magic));
	memcpy(&p->xfeatures, sw + SW_XFEATURES, sizeof(p->xfeatures));
	memcpy(&size, sw + SW_XSTATE_SIZE, sizeof(size));
	if (magic != SW_MAGIC || size < XSTATE_MIN_SIZE || size > SYSMSG_ALTSTACK_SIZE)
		return -EOPNOTSUPP;
	p->xstate_size = size;
	return 0;
}

int systrap_pull_full_state(struct platform_context *base)
{
	struct systrap_context *ctx = (struct systrap_context *)base;
	struct systrap_thread *t;
	int err = 0;

	if (ctx->full)
		return 0;
	t = systrap_thread_claim_own(ctx);
	if (t) {
		err = systrap_save_state(ctx, t);
		systrap_thread_unclaim(t);
	}
	return ctx->full ? 0 : err ? err : -ECHILD;
}

void systrap_full_state_changed(struct platform_context *base)
{
	struct systrap_context *ctx = (struct systrap_context *)base;

	ctx->full = true;
	ctx->dirty = true;
}

/* ---- loading ---- */

static int load_all(struct systrap_context *ctx, struct systrap_thread *t)
{
	const struct user_regs_struct *regs = &ctx->regs;
	int err;

	if (!user_address(regs->rip))
		return -EINVAL;
	if (ctx->dirty && (!user_address(regs->fs_base) || !user_address(regs->gs_base)))
		return -EINVAL;
	err = systrap_make_frame(t);
	if (!err && ctx->dirty)
		err = load_xstate(ctx, t);
	if (err)
		return err;
	regs_to_words(regs, frame_regs(t));
	ctx->dirty = false;
	ctx->resume |= SYSMSG_RESUME_FRAME;
	ctx->loaded = *regs;
	ctx->loaded_valid = true;
	return 0;
}

static int load_state(struct systrap_context *ctx, struct systrap_thread *t)
{
	if (!ctx->dirty && ctx->loaded_valid && !(ctx->resume & SYSMSG_RESUME_FRAME) &&
	    only_rax_differs(&ctx->regs, &ctx->loaded)) {
		ctx->loaded.rax = ctx->regs.rax;
		return 0;
	}
	return load_all(ctx, t);
}

/* ---- events ---- */

static uint64_t frame_word(const struct systrap_thread *t, uint32_t offset)
{
	return *systrap_word(t, t->frame + offset);
}

static void copy_siginfo(const struct systrap_thread *t, siginfo_t *info)
{
	volatile uint64_t *from = systrap_word(t, t->frame + SYSTRAP_UC_SIZE);
	uint64_t words[sizeof(siginfo_t) / sizeof(uint64_t)];
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = from[i];
	memcpy(info, words, sizeof(*info));
}

static int syscall_event(struct systrap_context *ctx, struct platform_event *ev)
{
	ev->kind = PLATFORM_SYSCALL;
	ev->flags = 0;
	ctx->regs.orig_rax = ctx->regs.rax;
	return 0;
}

static int interrupt_event(struct systrap_context *ctx, struct platform_event *ev)
{
	ev->kind = PLATFORM_INTERRUPT;
	ev->flags = 0;
	ctx->regs.orig_rax = -1;
	return 0;
}

/*
 * A call into the vsyscall page, stopped by the filter. The kernel has emulated
 * the return already: undo it, and report what the page means to the sentry,
 * memory that is not there.
 */
static int vsyscall_event(struct systrap_context *ctx, struct platform_event *ev, uint64_t entry)
{
	memset(&ev->info, 0, sizeof(ev->info));
	ev->info.si_signo = SIGSEGV;
	ev->info.si_code = SEGV_MAPERR;
	ev->info.si_addr = (void *)entry;
	ev->kind = PLATFORM_SIGNAL;
	ev->flags = 0;
	ev->access = PLATFORM_ACCESS_EXECUTE;
	ctx->regs.rip = entry;
	ctx->regs.rsp -= sizeof(uint64_t);
	return 0;
}

/*
 * A number that looks like -ERESTARTSYS or one of its kin looks to the kernel like a
 * system call that the signal interrupts. The signal knows better.
 */
static void undo_restart(struct user_regs_struct *regs, const siginfo_t *info)
{
	const uint64_t next = (uint64_t)info->si_call_addr;

	if ((uint32_t)regs->rax != (uint32_t)info->si_syscall)
		regs->rax = (int64_t)info->si_syscall;
	if (regs->rip == next - 2)
		regs->rip = next;
}

static uint32_t read_hints(const struct systrap_thread *t)
{
	return __atomic_load_n(&t->tc->hints, __ATOMIC_RELAXED);
}

/* By SIGSYS, or by SIGILL in the entry for calls; with a frame. */
static int trapped_syscall_event(struct systrap_context *ctx, struct systrap_thread *t,
				 struct platform_event *ev)
{
	uint64_t entry;

	if (!(read_hints(t) & SYSMSG_HINT_UNUSUAL))
		return syscall_event(ctx, ev);
	copy_siginfo(t, &ev->info);
	entry = (uint64_t)ev->info.si_call_addr;
	if (ev->info.si_code == SYS_SECCOMP_CODE && (entry & VSYSCALL_MASK) == VSYSCALL_PAGE)
		return vsyscall_event(ctx, ev, entry);
	undo_restart(&ctx->regs, &ev->info);
	syscall_event(ctx, ev);
	if (ev->info.si_arch != AUDIT_ARCH_X86_64)
		ev->flags |= PLATFORM_EVENT_COMPAT;
	return 0;
}

static uint32_t access_of(uint64_t error_code)
{
	if (error_code & PF_FETCH)
		return PLATFORM_ACCESS_EXECUTE;
	return error_code & PF_WRITE ? PLATFORM_ACCESS_WRITE : PLATFORM_ACCESS_READ;
}

static int fault_event(struct systrap_context *ctx, struct systrap_thread *t,
		       struct platform_event *ev)
{
	copy_siginfo(t, &ev->info);
	if (ev->info.si_signo == SYSTRAP_INTERRUPT_SIGNAL)
		return SWALLOW;
	/* The stub's memory says so: only what it reports by itself is believed. */
	if (!platform_is_fault(&ev->info)) {
		systrap_space_kill(t->space);
		return -ECHILD;
	}
	ev->kind = PLATFORM_SIGNAL;
	ev->flags = PLATFORM_EVENT_TRAP_VALID;
	ev->trap_nr = frame_word(t, SYSTRAP_UC_TRAPNO);
	ev->error_code = frame_word(t, SYSTRAP_UC_ERR);
	ev->cr2 = frame_word(t, SYSTRAP_UC_CR2);
	ev->access = ev->trap_nr == TRAP_PAGE_FAULT ? access_of(ev->error_code) : 0;
	if (ctx->base.platform->cpuid_events &&
	    read_hints(t) & SYSMSG_HINT_CPUID)
		ev->kind = PLATFORM_CPUID;
	return 0;
}

static int decode(struct systrap_context *ctx, struct systrap_thread *t, int state,
		  struct platform_event *ev)
{
	switch (state) {
	case SYSMSG_CONTEXT_SYSCALL:
		return trapped_syscall_event(ctx, t, ev);
	case SYSMSG_CONTEXT_SYSCALL_CAN_BE_PATCHED:
		trapped_syscall_event(ctx, t, ev);
		ev->flags |= PLATFORM_EVENT_CAN_BE_PATCHED;
		return 0;
	case SYSMSG_CONTEXT_SYSCALL_TRAP:
		return syscall_event(ctx, ev);
	case SYSMSG_CONTEXT_FAULT:
		return fault_event(ctx, t, ev);
	default:
		return SWALLOW;
	}
}

/* Returns 0 with @ev filled, SWALLOW, or -errno. */
static int handle_state(struct systrap_context *ctx, struct systrap_thread *t, int state,
			struct platform_event *ev)
{
	int err = 0;

	if (state == SYSMSG_CONTEXT_SYSCALL_TRAP)
		t->frame = 0;
	else
		err = systrap_check_frame(t);
	if (err)
		return err;
	fetch_regs(ctx, t);
	return decode(ctx, t, state, ev);
}

/* ---- the switch ---- */

/*
 * RUNNING is set only while the program may execute. Whoever sets PENDING
 * meanwhile sends the signal; the switch that clears both has been told. The signal
 * may come after another event: it finds nothing pending then, and is swallowed.
 */
static bool begin_running(struct systrap_context *ctx)
{
	unsigned int idle = 0;

	if (atomic_compare_exchange_strong(&ctx->interrupt, &idle, SYSTRAP_RUNNING))
		return true;
	atomic_store(&ctx->interrupt, 0);
	return false;
}

static bool end_running(struct systrap_context *ctx)
{
	return atomic_exchange(&ctx->interrupt, 0) & SYSTRAP_PENDING;
}

/* Before it is known who wants it from now on: a request after this is seen. */
static void forget_old_kick(struct systrap_thread *t)
{
	if (__atomic_load_n(&t->tc->interrupt, __ATOMIC_RELAXED))
		__atomic_store_n(&t->tc->interrupt, 0, __ATOMIC_SEQ_CST);
}

static int run_once(struct systrap_context *ctx, struct systrap_thread *t,
		    struct platform_event *ev)
{
	bool interrupted;
	int state, err;

	forget_old_kick(t);
	if (atomic_load(&ctx->yield))
		return SWALLOW;
	if (!begin_running(ctx))
		return interrupt_event(ctx, ev);
	state = systrap_resume(ctx, t);
	interrupted = end_running(ctx);
	if (state < 0)
		return state;
	err = handle_state(ctx, t, state, ev);
	if (err == SWALLOW && interrupted)
		return interrupt_event(ctx, ev);
	return err;
}

/* Once more from the start if the thread is to be given away. */
static bool must_yield(struct systrap_context *ctx)
{
	return atomic_exchange(&ctx->yield, false);
}

/* Deferred memory operations come first. The thread is claimed. */
static int run(struct systrap_context *ctx, struct systrap_thread *t, struct platform_event *ev)
{
	struct systrap_space *s = t->space;
	int err = 0;

	if (atomic_load_explicit(&s->nr_ops, memory_order_relaxed))
		err = platform_op_error(systrap_flush_beside(ctx, t));
	if (!err)
		err = load_state(ctx, t);
	if (err)
		return err;
	do {
		err = run_once(ctx, t, ev);
	} while (err == SWALLOW && !atomic_load_explicit(&ctx->yield, memory_order_relaxed));
	return err;
}

static int switch_once(struct systrap_context *ctx, struct systrap_space *s,
		       struct platform_event *ev)
{
	struct systrap_thread *t = systrap_thread_claim(ctx, s);
	int err;

	if (!t) {
		err = systrap_thread_bind(ctx, s);
		if (err == -EINTR) {
			atomic_store(&ctx->interrupt, 0);
			return interrupt_event(ctx, ev);
		}
		if (err)
			return err;
		t = atomic_load_explicit(&ctx->thread, memory_order_relaxed);
	}
	err = run(ctx, t, ev);
	systrap_thread_unclaim(t);
	return err;
}

int systrap_switch(struct platform_context *base, struct platform_address_space *as, int cpu,
		   struct platform_event *ev)
{
	struct systrap_context *ctx = (struct systrap_context *)base;
	int err;

	systrap_count(&ctx->switches);
	do {
		err = switch_once(ctx, (struct systrap_space *)as, ev);
		if (atomic_load_explicit(&ctx->yield, memory_order_relaxed) && must_yield(ctx))
			systrap_thread_yield(ctx);
	} while (err == SWALLOW);
	return err;
}
