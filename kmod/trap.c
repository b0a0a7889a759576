// SPDX-License-Identifier: GPL-2.0
/*
 * trap.c - the hot path: an event of a program out, an answer in
 *
 * All but sandtrap_publish() and sandtrap_save_fault() runs on the stub's thread, most
 * of it inside the hooked functions; contexts that run on their callers have direct.c.
 * See context.c for why no wake-up is lost.
 *
 * The life of a trapped system call, in ring mode:
 *
 *	the program executes "syscall"; the kernel saves its registers, sees the work
 *	bit, and calls syscall_user_dispatch(), which ftrace redirects (hook.c)
 *	sandtrap_trap_syscall()
 *	    leave()		registers into the context's page; bases and FPU state only
 *				if they were asked for: they stay in the task
 *	    sandtrap_publish()	event and number; wakes who waits in RUN; the ring, if any
 *	    sandtrap_stop()
 *		wait_resume()	spins as long as the sentry allows, then sleeps; carries out
 *				what it is asked to (memory, PULL); lets go of the context
 *				if that is taken away; parks if the kernel wants the thread
 *		enter()		loads state that the sentry changed, checks and loads the
 *				registers; or publishes another event, and waits again
 *	    return true: the kernel skips the call, and all that is done after one
 *	the kernel's exit path: task work, if somebody wants an interrupt
 *	(sandtrap_interrupted()), then user mode, with the registers of the page
 *
 * A fault comes in by force_sig_info_to_task() instead, and goes the same way.
 */
#include <linux/ktime.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/task_work.h>

#include <asm/syscall.h>
#include <asm/traps.h>
#include <asm/trap_pf.h>

#include "compat.h"
#include "event.h"
#include "regs.h"
#include "sandtrap_internal.h"
#include "trace.h"

/* waking, and publishing */

void sandtrap_wake_waiter(struct sandtrap_context *ctx)
{
	struct task_struct *waiter;

	/* The waiter removes itself before it goes; RCU keeps what we saw. */
	rcu_read_lock_sched();
	waiter = READ_ONCE(ctx->waiter);
	if (waiter) {
		if (READ_ONCE(ctx->page->spin_ns))
			wake_up_process(waiter);
		else
			sandtrap_wake_handoff(waiter);
	}
	rcu_read_unlock_sched();
}

/*
 * Since 6.12 a thread that falls asleep when it has had more than its share stays on
 * its queue until that is made up for, and one woken from there stays on its CPU. If
 * the caller makes way, it is taken from the queue, or runs here and now.
 */
static void let_fall_asleep(struct task_struct *task)
{
	if (task_cpu(task) == raw_smp_processor_id() && READ_ONCE(task->on_rq))
		yield();
}

/*
 * The caller goes on, and perhaps spins for the answer: @task, which slept here,
 * must not wait for that. The scheduler would leave it here. Where it is told that
 * the task slept elsewhere, it takes it for the better place.
 */
static void wake_elsewhere(struct task_struct *task)
{
	unsigned int here, cpu;

	let_fall_asleep(task);
	here = raw_smp_processor_id();
	if (task_cpu(task) == here) {
		cpu = cpumask_any_but(task->cpus_ptr, here);
		if (cpu < nr_cpu_ids && cpu_online(cpu))
			WRITE_ONCE(task->wake_cpu, cpu);
	}
	wake_up_process(task);
}

void sandtrap_wake_stub(struct sandtrap_context *ctx)
{
	struct task_struct *task = NULL;
	struct sandtrap_thread *thr;

	/* Pairs with set_current_state() in thread_sleep(). */
	smp_mb();
	rcu_read_lock();
	thr = rcu_dereference(ctx->thread);
	if (thr && READ_ONCE(thr->sleeping))
		task = get_task_struct(thr->task);
	rcu_read_unlock();
	if (!task)
		return;
	wake_elsewhere(task);
	put_task_struct(task);
}

/* Posts an event, and tells whoever waits for one. */
void sandtrap_publish(struct sandtrap_context *ctx, u32 event, u32 flags)
{
	u32 seq = sandtrap_post(ctx, event, flags);

	if (ctx->flags & SANDTRAP_CONTEXT_DIRECT)
		return;
	/* Pairs with set_current_state() in wait_event_seq(). */
	smp_store_mb(ctx->told, seq);
	if (READ_ONCE(ctx->waiter))
		sandtrap_wake_waiter(ctx);
	if (ctx->flags & SANDTRAP_CONTEXT_RING)
		sandtrap_ring_push(ctx, event);
}

static void publish_error(struct sandtrap_context *ctx, int error)
{
	ctx->page->error = -error;
	sandtrap_publish(ctx, SANDTRAP_EVENT_ERROR, 0);
}

/* Leaves the program: state that the sentry asked for goes with the event. */
static u32 leave(struct sandtrap_thread *thr, const struct pt_regs *regs)
{
	thr->trapped.in_program = false;
	sandtrap_regs_save(&thr->ctx->page->regs, regs);
	if (unlikely(thr->save))
		return sandtrap_state_save(thr->ctx, thr->save);
	return 0;
}

/* waiting */

static bool thread_resumed(struct sandtrap_context *ctx)
{
	/* Pairs with the release store of the sentry. */
	return smp_load_acquire(&ctx->page->resume_seq) == ctx->seq;
}

/* Is there anything for the thread to look at? */
static bool thread_wanted(struct sandtrap_thread *thr)
{
	struct sandtrap_context *ctx = thr->ctx;

	if (!ctx)
		return READ_ONCE(thr->next);
	return thread_resumed(ctx) || READ_ONCE(ctx->req) ||
	       READ_ONCE(thr->unbind);
}

/* Only while nobody else could use this CPU. */
static noinline bool may_spin(void)
{
	return !need_resched() && single_task_running() &&
	       !fatal_signal_pending(current);
}

static noinline bool spin(struct sandtrap_thread *thr, u32 ns)
{
	struct sandtrap_context *ctx = thr->ctx;
	u64 end;

	if (num_online_cpus() == 1)
		return false;
	ns = min(ns, SANDTRAP_MAX_SPIN_NS);
	end = ktime_get_mono_fast_ns() + ns;
	do {
		int i;

		for (i = 0; i < 16; i++) {
			if (thread_wanted(thr)) {
				ctx->page->spin_hits++;
				return true;
			}
			cpu_relax();
		}
	} while (may_spin() && ktime_get_mono_fast_ns() < end);
	return false;
}

static void thread_sleep(struct sandtrap_thread *thr)
{
	struct sandtrap_context *ctx = thr->ctx;

	WRITE_ONCE(thr->sleeping, true);
	if (ctx) {
		ctx->page->sleeps++;
		WRITE_ONCE(ctx->page->need_wakeup, 1);
	}
	for (;;) {
		/*
		 * Pairs with the full barrier between storing resume_seq (or
		 * req, unbind, next) and looking at sleeping or need_wakeup.
		 */
		set_current_state(SANDTRAP_STUB_WAIT);
		if (thread_wanted(thr) || signal_pending(current))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	if (ctx)
		WRITE_ONCE(ctx->page->need_wakeup, 0);
	WRITE_ONCE(thr->sleeping, false);
}

/* Something to do while stopped; true: and then continue with the program. */
static bool do_request(struct sandtrap_thread *thr)
{
	struct sandtrap_context *ctx = thr->ctx;
	struct sandtrap_request *req;
	struct sandtrap_batch *batch;
	bool resume;

	req = xchg(&ctx->req, NULL);
	if (!req)
		return false;
	if (req->pull && !thr->fresh)
		ctx->page->event_flags |= sandtrap_state_save(ctx, req->pull);
	batch = req->batch;
	if (batch)
		WRITE_ONCE(req->error, sandtrap_batch_run(batch, thr->space));
	resume = req->resume && !req->error;
	if (resume)
		WRITE_ONCE(ctx->page->resume_seq, ctx->seq);

	/* From here on it may be gone, if it is not part of a batch. */
	smp_store_release(&req->done, true);
	/* Pairs with set_current_state() in wait_event_seq(). */
	smp_mb();
	if (!resume)
		sandtrap_wake_waiter(ctx);
	if (batch) {
		WRITE_ONCE(ctx->page->batches, ctx->page->batches + 1);
		sandtrap_space_end_batch(thr->space);
		sandtrap_batch_put(batch);
	}
	return resume;
}

/*
 * Waits until the context is resumed; false: the kernel wants something else of
 * the thread on its way to user mode.
 */
static bool wait_resume(struct sandtrap_thread *thr)
{
	for (;;) {
		u32 spin_ns = 0;

		if (unlikely(signal_pending(current)))
			return false;
		if (unlikely(!thr->ctx || READ_ONCE(thr->unbind)) &&
		    sandtrap_thread_rebind(thr))
			continue;
		if (likely(thr->ctx)) {
			if (unlikely(READ_ONCE(thr->ctx->req))) {
				if (do_request(thr))
					return true;
				continue;
			}
			if (thread_resumed(thr->ctx))
				return true;
			spin_ns = READ_ONCE(thr->ctx->page->spin_ns);
		}
		if (unlikely(spin_ns) && spin(thr, spin_ns))
			continue;
		/* Files that were unmapped are closed on the way to user mode. */
		if (unlikely(task_work_pending(current))) {
			set_thread_flag(TIF_NOTIFY_SIGNAL);
			return false;
		}
		thread_sleep(thr);
	}
}

/* entering */

static int load_state(struct sandtrap_thread *thr, u32 flags)
{
	u32 what = 0;
	int err = 0;

	if (flags & SANDTRAP_RESUME_LOAD_SEGMENTS)
		what |= SANDTRAP_STATE_SEGMENTS;
	if (flags & SANDTRAP_RESUME_LOAD_FPU)
		what |= SANDTRAP_STATE_FPU;
	/* A thread must not begin with what another context left in it. */
	if (thr->fresh)
		err = sandtrap_state_load_fresh(thr->ctx);
	else if (what)
		err = sandtrap_state_load(thr->ctx, what);
	if (!err)
		thr->fresh = false;

	thr->save = 0;
	if (flags & SANDTRAP_RESUME_SAVE_SEGMENTS)
		thr->save |= SANDTRAP_STATE_SEGMENTS;
	if (flags & SANDTRAP_RESUME_SAVE_FPU)
		thr->save |= SANDTRAP_STATE_FPU;
	return err;
}

/* True: user mode is next. False: another event was published instead. */
static bool enter(struct sandtrap_thread *thr, struct pt_regs *regs)
{
	struct sandtrap_context *ctx = thr->ctx;
	u32 flags = READ_ONCE(ctx->page->resume_flags);
	int err = 0;

	if (unlikely(flags & ~SANDTRAP_RESUME_ALL))
		err = -EOPNOTSUPP;
	else if (unlikely(flags || thr->fresh || thr->save))
		err = load_state(thr, flags);
	if (unlikely(err)) {
		publish_error(ctx, err);
		return false;
	}
	if (unlikely(!sandtrap_regs_load(&ctx->page->regs, regs))) {
		publish_error(ctx, -EINVAL);
		return false;
	}
	if (unlikely(READ_ONCE(ctx->interrupt))) {
		WRITE_ONCE(ctx->interrupt, false);
		sandtrap_publish(ctx, SANDTRAP_EVENT_INTERRUPT,
				 leave(thr, regs));
		return false;
	}
	trace_sandtrap_enter(ctx->id, ctx->seq, regs->ip);
	thr->trapped.in_program = true;
	return true;
}

/*
 * The thread is to be frozen (cgroup.freeze), stopped (SIGSTOP, ptrace) or killed,
 * or has work to do, all of which happens on the way to user mode. It goes there:
 * to the stub's last instruction, a system call, with which it comes back to wait.
 * Nothing of the program is needed for that but the registers, which are saved.
 */
static void thread_park(struct sandtrap_thread *thr, struct pt_regs *regs)
{
	thr->parked = true;
	regs->ip = thr->park;
	regs->cs = __USER_CS;
	regs->ss = __USER_DS;
	regs->flags = X86_EFLAGS_FIXED | X86_EFLAGS_IF;
	/* No system call to restart. */
	regs->orig_ax = -1;
}

/*
 * An event was published, or the thread has no context: waits, and comes back
 * with the registers of a program, or parks. Until it does, task_pt_regs() may
 * hold anything a user could have put there.
 */
void sandtrap_stop(struct sandtrap_thread *thr, struct pt_regs *regs)
{
	thr->trapped.in_program = false;
	do {
		if (!wait_resume(thr)) {
			thread_park(thr, regs);
			return;
		}
	} while (!enter(thr, regs));
}

/* what the hooks call */

/* A call of a thread that did not enter the program: that of thread_park(). */
static void unpark(struct sandtrap_thread *thr, struct pt_regs *regs)
{
	if (!thr->parked) {
		sandtrap_thread_kill(thr, SANDTRAP_KILL_SEAL);
		return;
	}
	thr->parked = false;
	sandtrap_stop(thr, regs);
}

/* Returns true: the system call is not to be executed. */
bool sandtrap_trap_syscall(struct pt_regs *regs)
{
	struct sandtrap_thread *thr = sandtrap_current_thread();
	u32 flags;

	if (unlikely(thr->state != SANDTRAP_LIVE))
		return sandtrap_thread_admit(thr, regs);
	/* Says that the work done after a system call is to be left out. */
	current->syscall_dispatch.on_dispatch = true;
	if (unlikely(!thr->trapped.in_program)) {
		unpark(thr, regs);
		return true;
	}

	flags = leave(thr, regs);
	thr->ctx->page->regs.orig_rax = regs->orig_ax;
	thr->ctx->page->regs.rax = regs->orig_ax;
	if (unlikely(in_ia32_syscall()))
		flags |= SANDTRAP_EVENT_F_COMPAT;
	/* The host's restart logic must not act on the program's values. */
	regs->orig_ax = -1;
	sandtrap_publish(thr->ctx, SANDTRAP_EVENT_SYSCALL, flags);
	sandtrap_stop(thr, regs);
	return true;
}

static u32 access_type(unsigned int trap_nr, unsigned long error_code)
{
	if (trap_nr != X86_TRAP_PF)
		return 0;
	if (error_code & X86_PF_WRITE)
		return SANDTRAP_ACCESS_WRITE;
	if (error_code & X86_PF_INSTR)
		return SANDTRAP_ACCESS_EXECUTE;
	return SANDTRAP_ACCESS_READ;
}

void sandtrap_save_fault(struct sandtrap_fault *f,
			 const struct kernel_siginfo *info)
{
	const struct thread_struct *t = &current->thread;
	u32 trap_nr = t->trap_nr;
	u64 error_code = t->error_code;

	/* In an mm that has uprobes the kernel does not say so of an INT3. */
	if (info->si_signo == SIGTRAP && info->si_code == SI_KERNEL) {
		trap_nr = X86_TRAP_BP;
		error_code = 0;
	}
	f->signo = info->si_signo;
	f->code = info->si_code;
	f->trap_nr = trap_nr;
	f->error_code = error_code;
	f->access = access_type(trap_nr, error_code);
	f->addr = info->si_code > 0 && info->si_code != SI_KERNEL ?
		(unsigned long __force)info->si_addr : 0;
	f->cr2 = trap_nr == X86_TRAP_PF ? t->cr2 : 0;
}

/* In place of a signal that the kernel forces on the running task. */
int sandtrap_trap_fault(struct kernel_siginfo *info, struct task_struct *task,
			int handler)
{
	struct sandtrap_thread *thr = sandtrap_current_thread();
	struct pt_regs *regs = task_pt_regs(current);
	u32 flags;

	flags = leave(thr, regs);
	sandtrap_save_fault(&thr->ctx->page->fault, info);
	sandtrap_publish(thr->ctx, SANDTRAP_EVENT_FAULT, flags);
	sandtrap_stop(thr, regs);
	return 0;
}

/* The kernel is in the middle of something: on the way to user mode, then. */
int sandtrap_trap_fault_later(struct kernel_siginfo *info,
			      struct task_struct *task, int handler)
{
	struct sandtrap_thread *thr = sandtrap_current_thread();

	sandtrap_save_fault(&thr->fault, info);
	sandtrap_thread_fault(thr);
	return 0;
}

/* On the thread's way to user mode: somebody wants it to look. */
void sandtrap_interrupted(struct sandtrap_thread *thr)
{
	struct sandtrap_context *ctx = thr->ctx;
	struct pt_regs *regs = task_pt_regs(current);
	u32 flags;

	if (!thr->trapped.in_program)
		return;
	if (thr->has_fault) {
		thr->has_fault = false;
		flags = leave(thr, regs);
		ctx->page->fault = thr->fault;
		sandtrap_publish(ctx, SANDTRAP_EVENT_FAULT, flags);
		sandtrap_stop(thr, regs);
	} else if (READ_ONCE(thr->unbind)) {
		sandtrap_stop(thr, regs);
	} else if (READ_ONCE(ctx->interrupt)) {
		WRITE_ONCE(ctx->interrupt, false);
		sandtrap_publish(ctx, SANDTRAP_EVENT_INTERRUPT,
				 leave(thr, regs));
		sandtrap_stop(thr, regs);
	}
}
