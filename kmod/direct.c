// SPDX-License-Identifier: GPL-2.0
/*
 * direct.c - programs that run on the thread that calls SANDTRAP_RUN
 *
 * The life of a call. SANDTRAP_RUN, or lseek(), claims the context, carries out
 * operations on memory, and marks the task as ours. Then the task takes the mm, the
 * segments and the FPU state of the program in place of its own (it wears them), and
 * its registers: user mode is the program. lseek() does so at once, if nobody watches
 * the ends of the task's calls; else it is done on the way back to user mode, where a
 * signal would be handled. The next system call, forced signal, or signal of the task
 * itself makes it take back its own, and the call returns. Of a system call:
 *
 *	the program executes "syscall"; the kernel saves its registers, sees the work
 *	bit, and calls syscall_user_dispatch(), which ftrace redirects (hook.c)
 *	sandtrap_direct_syscall()
 *	    registers into the context's page
 *	    leave()		the caller's FPU state, mm and segments, and its registers, with
 *				0 for the result of RUN or lseek()
 *	    report()		event and number; the claim is given back
 *	    return true: the kernel skips the call, and user mode is the caller
 *
 * Nothing of the program is ever on the kernel's stack or in the task when anything
 * else looks.
 *
 * Hazards, and what answers them:
 *
 *  - A signal, stop, freeze, debugger, exec or exit of the process, kill -9, while the
 *    task wears a program: all of them go through arch_do_signal_or_restart(), which
 *    is hooked; the task leaves first. get_signal() would be too late: it runs task
 *    work. The call is restarted, or returns EINTR if a handler ran.
 *  - A task that ends without that, because the kernel oopsed in it: exit_mm() drops
 *    the mm that is worn, the reference which the context held; the exit probe (which
 *    comes first since 6.16) puts the rest right. The sentry's own mm is lost.
 *  - Hooks that are gone: the selector makes syscall_user_dispatch() kill the process.
 *  - The descriptor is closed, or the module about to go, while a program runs, which
 *    is in no system call: the claim stays with the runner, is made an orphan, and
 *    holds the module until the runner has left.
 *  - task->mm, seen by others: it changes under task_lock(), with a reference to
 *    mm_users that the context has while it is bound and its space lives, so
 *    get_task_mm() finds a sound mm. /proc shows the program's memory.
 *    ptrace_may_access() may see one mm's dumpable flag and its caller another's mm: so
 *    a mm that more may look at than at the caller's is not worn. The OOM killer may
 *    take the sentry for a task of the program's mm, and then kills both; the reaper
 *    takes only private memory, of which a stub has none. While its first thread is in a
 *    program, a sentry counts for what that has.
 *  - mm->owner, whose memory cgroup is charged: the kernel may make a runner the owner of
 *    a mm whose process died. When it leaves, it has the kernel look for another. While
 *    it carries out a batch it is the owner in any case: an operation can be long, and
 *    the process of the mm may die meanwhile. And when the owner of the caller's mm ends,
 *    the kernel gives up its search for another at a thread that has a different mm: see
 *    sandtrap_owner_exits().
 *  - active_mm and lazy TLB: both pointers change together, with interrupts off, as
 *    kthread_use_mm() does it. rss counters that a task caches (6.1) are flushed.
 *  - membarrier(): the runqueue is told the mm's state; the write to CR3 is the barrier
 *    on both ways, and serializes for SYNC_CORE.
 *  - rseq: the kernel would write to the caller's area through the program's mm. Such
 *    callers are refused. mm_cid (6.3): the task has none while it wears a program.
 *  - io_uring completes requests in task work, through the task's mm: callers that
 *    have used it are refused. aio does not, and its contexts stay with their mm.
 *  - robust futexes, clear_child_tid: only looked at by exit and exec, never inside.
 *  - I/O ports: a caller that has any is refused. LDT, CR4.PCE and LAM follow the mm in
 *    switch_mm_irqs_off(). Shadow stacks are FPU state. TLS descriptors of the caller
 *    stay in the GDT: a program that loads one learns its base.
 *  - FPU: each context has a state of its own, as guests of KVM have it, with XFD as
 *    any task has it. If the program is permitted a feature that needs more
 *    room (AMX), the kernel replaces the state, and we take over what it made.
 *  - PKRU and fs, gs, ds, es: swapped.
 *  - Debug registers: those that a debugger set for the caller stay in the CPU, which
 *    compares the program's addresses with them; a hit there is nobody's. perf counts
 *    it. Single steps are a flag in the caller's registers, not the program's: one
 *    step is over the whole call.
 *  - TIF_NOTSC, TIF_NOCPUID, SSBD, the spectre mode: the caller's hold for the program.
 *    So CPUID does not fault in this mode, unless the caller wants it for itself.
 *  - Speculation: program and sentry share a task. switch_mm_irqs_off() sees the mm
 *    change and flushes branch predictors (IBPB) if the caller asked for that with
 *    PR_SPEC_INDIRECT_BRANCH; ring mode keeps them in different processes.
 *    Core scheduling: the program runs under the sentry's cookie.
 *  - Audit, seccomp, syscall tracing of the caller: the call is seen to begin and to end
 *    by them before the program is entered. With a tracer, its end is seen again.
 *  - Hardware memory errors: the signal is forced in a place where the mm must not
 *    change. It becomes an event on the way to user mode.
 *  - NUMA balancing, MGLRU, cgroup moves: work on whatever mm they find.
 *  - uprobes: the kernel sets none in shared mappings, and the module makes no others.
 *
 * Not answered yet:
 *
 *  - Uprobes in private mappings that a server has made by itself: one that is left in
 *    the middle of its step leaves its state to the caller's task.
 *  - IA32_PASID of a caller that has used ENQCMD is not kept over lseek().
 *  - Since 6.16 the exit of an owner whose only sibling is in a program leaves the mm
 *    without an owner, though another process may share it.
 *
 * Locks: see sandtrap_internal.h. Nothing here sleeps while the mm is half changed.
 */
#include <linux/entry-common.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xstate.h>
#include <asm/pkru.h>
#include <asm/syscall.h>

#include "compat.h"
#include "event.h"
#include "regs.h"
#include "sandtrap_internal.h"
#include "trace.h"

/* The caller is trapped, and direct. */
static __always_inline struct sandtrap_context *current_context(void)
{
	void *trapped = (void __force *)current->syscall_dispatch.selector;

	return container_of(trapped, struct sandtrap_context, direct.trapped);
}

/*
 * What is always inlined is on the path of every system call: a call and its frame
 * are ten instructions each.
 */

/* wearing another mm */

/* Caller holds the lock of the task, and has interrupts off. */
static __always_inline void swap_mm(struct mm_struct *from, struct mm_struct *to)
{
	sandtrap_sync_rss(from);
	current->active_mm = to;
	current->mm = to;
	static_call(sandtrap_membarrier_mm)(to);
	/* The write to CR3 is the barrier that membarrier() counts on. */
	static_call(sandtrap_switch_mm)(from, to, current);
}

/* Takes the task into the mm of the context. The hooks know of it already. */
static __always_inline void wear(struct sandtrap_direct *d, struct mm_struct *own)
{
	sandtrap_cid_drop();
	task_lock(current);
	local_irq_disable();
	/* Before the barrier in swap_mm(), which pairs with that of a kick. */
	WRITE_ONCE(d->runner, current);
	swap_mm(own, d->mm);
	sandtrap_segments_swap(&d->caller_segments, &d->segments);
	local_irq_enable();
	task_unlock(current);
	lru_gen_use_mm(d->mm);
}

static __always_inline void unwear(struct sandtrap_direct *d, struct mm_struct *own)
{
	bool owner;

	task_lock(current);
	local_irq_disable();
	swap_mm(d->mm, own);
	/* Not before: what the caller has loaded may be of its mm's LDT. */
	sandtrap_segments_swap(&d->segments, &d->caller_segments);
	WRITE_ONCE(d->runner, NULL);
	local_irq_enable();
	owner = sandtrap_mm_is_own(d->mm);
	sandtrap_mm_own(own);
	task_unlock(current);
	if (unlikely(owner))
		sandtrap_mm_pass_on(d->mm);
	sandtrap_cid_take();
	lru_gen_use_mm(own);
}

/*
 * A caller that came by a function call, lseek(), counts on no register but the
 * control words afterwards: its state is not worth saving. What the registers hold
 * then is the program's. Shadow stacks are part of the state, and are counted on.
 */
static __always_inline void enter_fpu(struct sandtrap_direct *d)
{
	struct fpu *fpu = sandtrap_current_fpu();

	local_irq_disable();
	if (unlikely(test_thread_flag(TIF_NEED_FPU_LOAD)))
		switch_fpu_return();
	if (unlikely(d->keep_fpu))
		static_call(sandtrap_save_fpu)(fpu);
	asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(d->caller_mxcsr), "=m"(d->caller_fcw));
	fpu->__task_fpstate = fpu->fpstate;
	fpu->fpstate = d->fpu.fpstate;
	fpu->fpstate->in_use = true;
	static_call(sandtrap_restore_fpu)(fpu->fpstate, XFEATURE_MASK_FPSTATE);
	d->caller_pkru = read_pkru();
	write_pkru(d->pkru);
	local_irq_enable();
}

/*
 * As a function call leaves it. FLDCW would take an exception that is pending, here
 * in the kernel; after FNINIT there is none.
 */
static __always_inline void call_clobbers_fpu(const struct sandtrap_direct *d)
{
	asm volatile("fninit\n\tfldcw %0" : : "m"(d->caller_fcw));
	/* Code that mixes SSE with what is left of AVX would be slow. */
	if (static_cpu_has(X86_FEATURE_AVX))
		asm volatile("vzeroupper");
	asm volatile("ldmxcsr %0" : : "m"(d->caller_mxcsr));
}

static __always_inline void leave_fpu(struct sandtrap_direct *d)
{
	struct fpu *fpu = sandtrap_current_fpu();
	bool elsewhere;

	local_irq_disable();
	/* The registers may be another task's by now: the state is in memory. */
	elsewhere = test_thread_flag(TIF_NEED_FPU_LOAD);
	if (likely(!elsewhere))
		static_call(sandtrap_save_fpu)(fpu);
	/* It grew, if the program was permitted a feature and used it. */
	d->fpu.fpstate = fpu->fpstate;
	fpu->fpstate->in_use = false;
	fpu->fpstate = fpu->__task_fpstate;
	fpu->__task_fpstate = NULL;
	if (unlikely(elsewhere)) {
		/* Whatever is in them now, it is not this. */
		fpu->last_cpu = -1;
		switch_fpu_return();
	} else if (unlikely(d->keep_fpu || fpu->fpstate->xfd != d->fpu.fpstate->xfd)) {
		static_call(sandtrap_restore_fpu)(fpu->fpstate, XFEATURE_MASK_FPSTATE);
	}
	if (likely(!d->keep_fpu))
		call_clobbers_fpu(d);
	d->pkru = read_pkru();
	write_pkru(d->caller_pkru);
	local_irq_enable();
}

/* Afterwards @regs are the caller's again, to whom the call returns @ret. */
static __always_inline void leave(struct sandtrap_context *ctx, struct pt_regs *regs, long ret)
{
	struct sandtrap_direct *d = &ctx->direct;

	d->trapped.in_program = false;
	leave_fpu(d);
	unwear(d, ctx->inst->owner_mm);
	sandtrap_untrap_current();
	*regs = d->caller;
	regs->ax = ret;
}

/* With the state that the sentry asked for. All else of the event is in the page. */
static __always_inline void publish(struct sandtrap_context *ctx, u32 event, u32 flags)
{
	struct sandtrap_direct *d = &ctx->direct;

	d->entered = false;
	if (unlikely(d->save))
		flags |= sandtrap_direct_state_save(ctx, d->save);
	sandtrap_post(ctx, event, flags);
}

/* The program has been left. */
static __always_inline void report(struct sandtrap_context *ctx, u32 event, u32 flags)
{
	publish(ctx, event, flags);
	sandtrap_context_unclaim(ctx);
}

/* Is there a reason not to run the program? */
static __always_inline u32 pending_event(struct sandtrap_context *ctx)
{
	struct sandtrap_direct *d = &ctx->direct;

	if (unlikely(d->has_fault)) {
		d->has_fault = false;
		ctx->page->fault = d->fault;
		return SANDTRAP_EVENT_FAULT;
	}
	if (unlikely(READ_ONCE(ctx->space->dead)))
		return SANDTRAP_EVENT_DEAD;
	if (unlikely(READ_ONCE(ctx->interrupt))) {
		WRITE_ONCE(ctx->interrupt, false);
		return SANDTRAP_EVENT_INTERRUPT;
	}
	return SANDTRAP_EVENT_NONE;
}

/* entering */

/* The state in the pages is the sentry's, and stays as it is. */
static void publish_error(struct sandtrap_context *ctx, int error)
{
	ctx->direct.entered = false;
	ctx->page->error = -error;
	sandtrap_post(ctx, SANDTRAP_EVENT_ERROR, 0);
}

/* The caller is as it was before the call that made it trapped. */
static void let_go(struct sandtrap_context *ctx)
{
	sandtrap_untrap_current();
	sandtrap_context_unclaim(ctx);
}

/* False: these registers cannot be run, and the call returns. */
static __always_inline bool enter(struct sandtrap_context *ctx, struct pt_regs *regs)
{
	struct sandtrap_direct *d = &ctx->direct;

	d->caller = *regs;
	if (unlikely(!sandtrap_regs_load(&ctx->page->regs, regs))) {
		regs->ax = 0;
		publish_error(ctx, -EINVAL);
		let_go(ctx);
		return false;
	}
	if (trace_sandtrap_enter_enabled())
		trace_sandtrap_enter(ctx->id, ctx->seq, regs->ip);
	wear(d, ctx->inst->owner_mm);
	enter_fpu(d);
	d->entered = true;
	d->trapped.in_program = true;
	/* Whoever set these before it could see a runner did not kick it. */
	if (unlikely(READ_ONCE(ctx->interrupt) || READ_ONCE(ctx->space->dead)))
		set_thread_flag(TIF_NOTIFY_SIGNAL);
	return true;
}

/*
 * On the way to user mode, where the call of the caller would return. False: there
 * is something to do for the caller first, and the call is to be repeated.
 */
static bool enter_now(struct sandtrap_context *ctx, struct pt_regs *regs)
{
	clear_thread_flag(TIF_NOTIFY_SIGNAL);
	/* Pairs with task_work_add(), which sets the flag last. */
	smp_mb__after_atomic();
	if (unlikely(task_sigpending(current) || task_work_pending(current))) {
		let_go(ctx);
		return false;
	}
	enter(ctx, regs);
	return true;
}

/* Who is to see how the call ends, before the program is entered. */
static unsigned long call_watchers(void)
{
	return READ_ONCE(current_thread_info()->syscall_work) &
	       SYSCALL_WORK_EXIT & ~SYSCALL_WORK_SYSCALL_USER_DISPATCH;
}

/*
 * The short way: what the call returns becomes rax. A signal that is pending is
 * seen on the way to user mode; the program is left again then.
 */
static __always_inline long enter_in_call(struct sandtrap_context *ctx)
{
	struct pt_regs *regs = task_pt_regs(current);

	/* Leaves out the work at the end of a system call: it has not ended. */
	if (likely(enter(ctx, regs)))
		current->syscall_dispatch.on_dispatch = true;
	return regs->ax;
}

/*
 * What the kernel keeps for the caller, or would do to it, must not meet the
 * program: see the list of hazards.
 */
static __always_inline bool caller_fits(const struct sandtrap_context *ctx,
					struct mm_struct *mm)
{
	return current->signal == ctx->inst->owner &&
	       !in_compat_syscall() && !sandtrap_has_rseq() &&
	       !sandtrap_has_io_uring() &&
	       !test_thread_flag(TIF_IO_BITMAP) &&
	       !test_syscall_work(SYSCALL_USER_DISPATCH) &&
	       sandtrap_no_more_dumpable(mm);
}

/* Takes the mm to wear, once the server has come. */
static noinline int hold_mm(struct sandtrap_context *ctx)
{
	struct sandtrap_space *space = ctx->space;

	if (!READ_ONCE(space->mm) &&
	    wait_event_interruptible(space->wq, READ_ONCE(space->mm) ||
						READ_ONCE(space->dead)))
		return -EINTR;
	if (READ_ONCE(space->dead))
		return -ESRCH;
	ctx->direct.mm = sandtrap_space_mm(space);
	return ctx->direct.mm ? 0 : -ESRCH;
}

/* A server that has been killed may have had no time to say so. */
static bool is_dead(const struct sandtrap_space *space)
{
	return READ_ONCE(space->dead) || __fatal_signal_pending(space->server);
}

static int load_state(struct sandtrap_context *ctx, u32 flags)
{
	struct sandtrap_direct *d = &ctx->direct;
	u32 what = 0;
	int err;

	if (flags & SANDTRAP_RESUME_LOAD_SEGMENTS)
		what |= SANDTRAP_STATE_SEGMENTS;
	if (flags & SANDTRAP_RESUME_LOAD_FPU)
		what |= SANDTRAP_STATE_FPU;
	if (d->fresh)
		what = SANDTRAP_STATE_ALL;
	err = sandtrap_direct_state_load(ctx, what);
	if (!err)
		d->fresh = false;
	d->save = 0;
	if (flags & SANDTRAP_RESUME_SAVE_SEGMENTS)
		d->save |= SANDTRAP_STATE_SEGMENTS;
	if (flags & SANDTRAP_RESUME_SAVE_FPU)
		d->save |= SANDTRAP_STATE_FPU;
	return err;
}

/* State that the sentry has for the program, or wants with the next event. */
static __always_inline int take_flags(struct sandtrap_context *ctx)
{
	u32 flags = READ_ONCE(ctx->page->resume_flags);
	struct sandtrap_direct *d = &ctx->direct;

	/* Only a signal came meanwhile: the program has changed it since. */
	if (unlikely(d->entered))
		return 0;
	if (unlikely(flags & ~SANDTRAP_RESUME_ALL))
		return -EOPNOTSUPP;
	if (unlikely(flags || d->fresh || d->save))
		return load_state(ctx, flags);
	return 0;
}

/* In the caller, which wears the mm for it. */
static int run_batch(struct sandtrap_context *ctx, struct sandtrap_batch *batch)
{
	struct sandtrap_direct *d = &ctx->direct;
	u32 pkru;
	int err;

	sandtrap_trap_current(&d->trapped);
	wear(d, ctx->inst->owner_mm);
	/* For memory that may be executed only, the kernel changes that of the task. */
	pkru = read_pkru();
	err = -ESRCH;
	if (likely(sandtrap_mm_borrow(d->mm, ctx->space->server)))
		err = sandtrap_batch_run(batch, ctx->space);
	write_pkru(pkru);
	sandtrap_mm_hand_over(current, ctx->space->server, d->mm);
	unwear(d, ctx->inst->owner_mm);
	sandtrap_untrap_current();
	batch->req.error = err;
	WRITE_ONCE(ctx->page->batches, ctx->page->batches + 1);
	return err;
}

/* Publishes an event instead of entering. */
static int stay(struct sandtrap_context *ctx, u32 event, int error)
{
	ctx->page->regs.orig_rax = -1;
	if (event == SANDTRAP_EVENT_ERROR)
		publish_error(ctx, error);
	else
		publish(ctx, event, 0);
	return 0;
}

/* What the pages hold the program has never had, unless only a signal had it leave. */
static int stay_dead(struct sandtrap_context *ctx)
{
	if (!ctx->direct.entered)
		ctx->direct.save = 0;
	return stay(ctx, SANDTRAP_EVENT_DEAD, 0);
}

/* With d->mm. @comes: the program is next, if no signal is. */
static __always_inline long begin(struct sandtrap_context *ctx, u32 seq,
				  struct sandtrap_batch *batch, bool returns_rax,
				  bool *comes)
{
	struct sandtrap_direct *d = &ctx->direct;
	unsigned long watchers;
	int err;

	if (unlikely(!caller_fits(ctx, d->mm)))
		return -EPERM;
	err = batch ? run_batch(ctx, batch) : 0;
	if (unlikely(err))
		return err;
	smp_store_release(&ctx->page->resume_seq, seq);
	err = take_flags(ctx);
	if (unlikely(err))
		return stay(ctx, SANDTRAP_EVENT_ERROR, err);
	if (unlikely(d->has_fault || READ_ONCE(ctx->interrupt)))
		return stay(ctx, pending_event(ctx), 0);

	d->interrupted = batch ? -EINTR : -ERESTARTNOHAND;
	d->keep_fpu = !returns_rax || sandtrap_has_shadow_stack();
	sandtrap_trap_current(&d->trapped);
	*comes = true;
	watchers = call_watchers();
	if (returns_rax && likely(!watchers))
		return enter_in_call(ctx);
	/* A debugger's step would end before the program, time and again. */
	if (unlikely(watchers == SYSCALL_WORK_SYSCALL_EXIT_TRAP))
		current->syscall_dispatch.on_dispatch = true;
	/* The hook of signals enters; see sandtrap_direct_signal(). */
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return d->interrupted;
}

/* See sandtrap_direct_run(). */
static __always_inline long run(struct sandtrap_context *ctx, u32 seq,
				struct sandtrap_batch *batch, bool returns_rax)
{
	bool comes = false;
	long err = 0;

	if (unlikely(READ_ONCE(ctx->seq) != seq)) {
		sandtrap_context_unclaim(ctx);
		return batch ? -EINVAL : 0;
	}
	if (unlikely(!ctx->direct.mm))
		err = hold_mm(ctx);
	if (unlikely(err == -ESRCH || (!err && is_dead(ctx->space))))
		err = stay_dead(ctx);
	else if (likely(!err))
		err = begin(ctx, seq, batch, returns_rax, &comes);
	if (unlikely(!comes))
		sandtrap_context_unclaim(ctx);
	return err;
}

/*
 * The caller has claimed the context. If the program is to run, that is kept until
 * it is left; what is returned then is only seen if a signal comes first.
 */
long sandtrap_direct_run(struct sandtrap_context *ctx, u32 seq,
			 struct sandtrap_batch *batch)
{
	return run(ctx, seq, batch, false);
}

/*
 * For lseek(): the file operation returns 64 bits as they are, and if the program
 * has been entered they are its rax.
 */
long sandtrap_direct_run_fast(struct sandtrap_context *ctx)
{
	u32 seq = READ_ONCE(ctx->page->resume_seq);
	int err = sandtrap_context_check(ctx, seq);

	if (likely(!err))
		return run(ctx, seq, NULL, true);
	sandtrap_context_unclaim(ctx);
	return err;
}

/* what the hooks call */

bool sandtrap_direct_syscall(struct pt_regs *regs)
{
	struct sandtrap_context *ctx = current_context();
	struct sandtrap_regs *r = &ctx->page->regs;
	u32 flags = 0;

	sandtrap_regs_save(r, regs);
	r->orig_rax = regs->orig_ax;
	r->rax = regs->orig_ax;
	if (unlikely(in_ia32_syscall())) {
		flags = SANDTRAP_EVENT_F_COMPAT;
		current_thread_info()->status &= ~TS_COMPAT;
	}
	leave(ctx, regs, 0);
	report(ctx, SANDTRAP_EVENT_SYSCALL, flags);
	return true;
}

int sandtrap_direct_fault(struct kernel_siginfo *info, struct task_struct *task,
			  int handler)
{
	struct sandtrap_context *ctx = current_context();
	struct pt_regs *regs = task_pt_regs(current);

	sandtrap_regs_save(&ctx->page->regs, regs);
	sandtrap_save_fault(&ctx->page->fault, info);
	leave(ctx, regs, 0);
	report(ctx, SANDTRAP_EVENT_FAULT, 0);
	return 0;
}

/*
 * No program has debug registers: they are the caller's, for addresses of its own. What
 * ptrace shows of them is as if the program had not been there.
 */
int sandtrap_direct_breakpoint(struct kernel_siginfo *info, struct task_struct *task,
			       int handler)
{
	current->thread.virtual_dr6 &= ~DR_TRAP_BITS;
	return 0;
}

/* The kernel is in the middle of something: on the way to user mode, then. */
int sandtrap_direct_fault_later(struct kernel_siginfo *info,
				struct task_struct *task, int handler)
{
	struct sandtrap_direct *d = &current_context()->direct;

	sandtrap_save_fault(&d->fault, info);
	d->has_fault = true;
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return 0;
}

/* True: the kernel goes on with what it came for. */
static noinline bool before_signal(struct pt_regs *regs)
{
	struct sandtrap_context *ctx = current_context();
	u32 event;

	if (!ctx->direct.trapped.in_program)
		return !enter_now(ctx, regs);
	sandtrap_regs_save(&ctx->page->regs, regs);
	event = pending_event(ctx);
	leave(ctx, regs, event == SANDTRAP_EVENT_NONE ? ctx->direct.interrupted : 0);
	if (event != SANDTRAP_EVENT_NONE)
		report(ctx, event, 0);
	else
		sandtrap_context_unclaim(ctx);
	return true;
}

/*
 * In place of arch_do_signal_or_restart(). From the program it follows: as if the
 * call of the caller had been interrupted, or had just returned. Into the program,
 * this is the last thing before user mode, when the call has been dealt with by
 * whoever looks at the ends of system calls.
 *
 * The task may be stopped in the original for long, or end there, and by then nothing
 * may hold the module any more. So it is jumped to, on kernels with frame pointers, too.
 */
SANDTRAP_TAIL_CALLS
void sandtrap_direct_signal(struct pt_regs *regs)
{
	if (before_signal(regs))
		static_call(sandtrap_do_signal)(regs);
}

/*
 * In the exit probe. Only a task that the kernel gave up on (an oops) can end
 * while it wears a context: it has dropped that mm in place of its own, which is
 * never freed.
 */
void sandtrap_direct_exit(void)
{
	struct sandtrap_context *ctx = current_context();
	struct sandtrap_direct *d = &ctx->direct;

	if (d->trapped.in_program)
		leave_fpu(d);
	d->trapped.in_program = false;
	/* exit_mm() has dropped the mm that is worn, or will. */
	if (d->runner) {
		d->mm = NULL;
		sandtrap_cid_lost();
		task_lock(current);
		sandtrap_mm_disown(ctx->inst->owner_mm);
		task_unlock(current);
	}
	WRITE_ONCE(d->runner, NULL);
	sandtrap_untrap_current();
	sandtrap_post(ctx, SANDTRAP_EVENT_DEAD, 0);
	sandtrap_context_unclaim(ctx);
}

/* life */

int sandtrap_direct_init(struct sandtrap_context *ctx)
{
	struct sandtrap_direct *d = &ctx->direct;

	d->trapped.selector = SANDTRAP_SELECTOR_POISON;
	d->trapped.direct = true;
	d->fresh = true;
	init_task_work(&d->kick_work, sandtrap_direct_kick_work);
	if (!fpu_alloc_guest_fpstate(&d->fpu))
		return -ENOMEM;
	/* As for any task: what needs a permission faults until it has one. */
	d->fpu.fpstate->xfd = sandtrap_fpu_xfd;
	return 0;
}

void sandtrap_direct_free(struct sandtrap_context *ctx)
{
	if (!ctx->direct.fpu.fpstate)
		return;
	/* One that grew does not say so any more. */
	ctx->direct.fpu.fpstate->is_guest = true;
	fpu_free_guest_fpstate(&ctx->direct.fpu);
}

/* Caller holds the lock of the space. */
void sandtrap_direct_bind(struct sandtrap_context *ctx)
{
	ctx->direct.fresh = true;
	ctx->direct.entered = false;
	ctx->direct.told_dead = false;
	list_add(&ctx->direct.node, &ctx->space->direct);
}

/* Caller has claimed it, so nobody runs it. */
void sandtrap_direct_unbind(struct sandtrap_context *ctx)
{
	struct sandtrap_space *space = ctx->space;

	spin_lock(&space->lock);
	list_del(&ctx->direct.node);
	spin_unlock(&space->lock);
	sandtrap_direct_drop_mm(ctx);
}

/* The program has been left, or has yet to begin: all is in memory. */
int sandtrap_direct_pull(struct sandtrap_context *ctx, u32 what)
{
	if (!ctx->direct.fresh)
		ctx->page->event_flags |= sandtrap_direct_state_save(ctx, what);
	return 0;
}
