// SPDX-License-Identifier: MIT
/*
 * frame.c - signal frames on the program's stack, and rt_sigreturn
 *
 * The layout is that of Linux on x86-64, on which unwinders, debuggers and
 * language runtimes rely. What comes back by rt_sigreturn is hostile: it is
 * copied once and reduced to what a program may choose.
 */
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"
#include "sentry/signal/xstate.h"

#define RED_ZONE 128

/* ucontext.uc_flags */
#define UC_FP_XSTATE 1
#define UC_SIGCONTEXT_SS 2
#define UC_STRICT_RESTORE_SS 4

#define EFLAGS_CF 0x1ull
#define EFLAGS_TF 0x100ull
#define EFLAGS_DF 0x400ull
#define EFLAGS_RF 0x10000ull
/* AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF: what rt_sigreturn may change. */
#define EFLAGS_USER 0x50dd5ull

struct sigframe_context {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint64_t fpstate; /* program address */
	uint64_t reserved[8];
};

struct sigframe_ucontext {
	uint64_t flags;
	uint64_t link;
	uint64_t stack_sp;
	uint32_t stack_flags, stack_pad;
	uint64_t stack_size;
	struct sigframe_context mcontext;
	uint64_t sigmask;
};

struct rt_sigframe {
	uint64_t pretcode; /* return address of the handler */
	struct sigframe_ucontext uc;
	siginfo_t info;
};

_Static_assert(sizeof(struct sigframe_context) == 256, "struct sigcontext");
_Static_assert(offsetof(struct sigframe_context, fpstate) == 184,
	       "struct sigcontext");
_Static_assert(offsetof(struct rt_sigframe, uc) == 8, "struct rt_sigframe");
_Static_assert(offsetof(struct rt_sigframe, uc.mcontext) == 48,
	       "struct rt_sigframe");
_Static_assert(offsetof(struct rt_sigframe, info) == 312,
	       "struct rt_sigframe");
_Static_assert(sizeof(struct rt_sigframe) == 440, "struct rt_sigframe");
_Static_assert(sizeof(siginfo_t) == 128, "siginfo_t is the kernel's");

/* Addresses of the two parts of a frame; 0 if the stack cannot take them. */
static uint64_t frame_address(struct task *t,
			      const struct kernel_sigaction *ka,
			      uint64_t *fpstate)
{
	const stack_t *ss = &t->sig.altstack;
	uint64_t old_sp = t->regs->rsp;
	uint64_t sp = old_sp - RED_ZONE;
	bool on_stack = on_altstack(ss, old_sp);

	if (ka->flags & SA_ONSTACK && !on_stack && ss->ss_size) {
		sp = (uint64_t)(uintptr_t)ss->ss_sp + ss->ss_size;
		on_stack = true;
	}
	sp = (sp - xstate_frame_size(t)) & ~63ull;
	*fpstate = sp;
	/* As after a call: 8 below a multiple of 16. */
	sp = ((sp - sizeof(struct rt_sigframe)) & ~15ull) - 8;
	/* An overflow of the alternate stack must not reach what is below. */
	if (on_stack && !altstack_contains(ss, sp))
		return 0;
	return sp;
}

static void fill_context(struct task *t, struct sigframe_context *sc,
			 sigmask_t old_mask)
{
	const struct user_regs_struct *r = t->regs;

	*sc = (struct sigframe_context){
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.di = r->rdi,
		.si = r->rsi,
		.bp = r->rbp,
		.bx = r->rbx,
		.dx = r->rdx,
		.ax = r->rax,
		.cx = r->rcx,
		.sp = r->rsp,
		.ip = r->rip,
		.flags = r->eflags,
		.cs = (uint16_t)r->cs,
		.ss = (uint16_t)r->ss,
		.err = t->sig.error_code,
		.trapno = t->sig.trap_nr,
		.oldmask = old_mask,
		.cr2 = t->sig.cr2,
	};
}

static void fill_frame(struct task *t, struct rt_sigframe *f,
		       const struct kernel_sigaction *ka,
		       const siginfo_t *info, sigmask_t old_mask)
{
	const stack_t *ss = &t->sig.altstack;

	memset(f, 0, sizeof(*f));
	f->pretcode = ka->restorer;
	f->uc.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	f->uc.stack_sp = (uint64_t)(uintptr_t)ss->ss_sp;
	f->uc.stack_flags = (uint32_t)ss->ss_flags;
	f->uc.stack_size = ss->ss_size;
	fill_context(t, &f->uc.mcontext, old_mask);
	f->uc.sigmask = old_mask;
	f->info = *info;
}

static void enter_handler(struct task *t, const struct kernel_sigaction *ka,
			  int signo, uint64_t sp)
{
	struct user_regs_struct *r = t->regs;

	r->rdi = (uint64_t)signo;
	r->rsi = sp + offsetof(struct rt_sigframe, info);
	r->rdx = sp + offsetof(struct rt_sigframe, uc);
	r->rax = 0;
	r->rsp = sp;
	r->rip = ka->handler;
	r->eflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
	xstate_reset(t);
	context_full_state_changed(t->ctx);
}

int frame_setup(struct task *t, const struct kernel_sigaction *ka,
		const siginfo_t *info, sigmask_t old_mask)
{
	struct rt_sigframe f;
	uint64_t sp, fpstate;

	/* Linux has no other way back than the C library's restorer. */
	if (!(ka->flags & SA_RESTORER) || context_pull_full_state(t->ctx))
		return -EFAULT;
	sp = frame_address(t, ka, &fpstate);
	if (!sp)
		return -EFAULT;
	fill_frame(t, &f, ka, info, old_mask);
	f.uc.mcontext.fpstate = fpstate;
	if (copy_to_user(t, sp, &f, sizeof(f)) ||
	    xstate_to_frame(t, fpstate))
		return -EFAULT;
	if (t->sig.altstack.ss_flags & SS_AUTODISARM)
		t->sig.altstack = (stack_t){ .ss_flags = SS_DISABLE };
	enter_handler(t, ka, info->si_signo, sp);
	return 0;
}

static void restore_registers(struct task *t,
			      const struct sigframe_context *sc)
{
	struct user_regs_struct *r = t->regs;

	r->r8 = sc->r8;
	r->r9 = sc->r9;
	r->r10 = sc->r10;
	r->r11 = sc->r11;
	r->r12 = sc->r12;
	r->r13 = sc->r13;
	r->r14 = sc->r14;
	r->r15 = sc->r15;
	r->rdi = sc->di;
	r->rsi = sc->si;
	r->rbp = sc->bp;
	r->rbx = sc->bx;
	r->rdx = sc->dx;
	r->rax = sc->ax;
	r->rcx = sc->cx;
	r->rsp = sc->sp;
	r->rip = sc->ip;
	r->eflags = (r->eflags & ~EFLAGS_USER) | (sc->flags & EFLAGS_USER);
	/* Nothing to restart: this is not the call that was interrupted. */
	r->orig_rax = -1ull;
}

static int restore_frame(struct task *t)
{
	uint64_t sp = t->regs->rsp - sizeof(uint64_t);
	struct sigframe_ucontext uc;
	stack_t ss;

	if (copy_from_user(t, &uc, sp + offsetof(struct rt_sigframe, uc),
			   sizeof(uc)) ||
	    context_pull_full_state(t->ctx))
		return -EFAULT;
	signal_set_mask(t, uc.sigmask);
	restore_registers(t, &uc.mcontext);
	if (xstate_from_frame(t, uc.mcontext.fpstate))
		return -EFAULT;
	context_full_state_changed(t->ctx);
	ss = (stack_t){
		.ss_sp = (void *)(uintptr_t)uc.stack_sp,
		.ss_flags = (int)uc.stack_flags,
		.ss_size = uc.stack_size,
	};
	/* As in Linux, a bad one is not an error here. */
	do_sigaltstack(t, &ss, t->regs->rsp, 0);
	return 0;
}

long sys_rt_sigreturn(struct task *t, const uint64_t *args)
{
	siginfo_t info;

	if (restore_frame(t)) {
		siginfo_user(&info, SIGSEGV, NULL);
		signal_force(t, &info, NULL);
		t->regs->orig_rax = -1ull;
	}
	return (long)t->regs->rax;
}
