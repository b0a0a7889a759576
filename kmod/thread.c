// SPDX-License-Identifier: GPL-2.0
/*
 * thread.c - stub threads that run contexts: how they come, change and go
 *
 * A thread attaches itself (ARMED), may then make one seccomp() call (SEALED)
 * and with its next call is LIVE: no call of it is ever let through again, and
 * if the hook should ever fail to see one, the filter kills the process. Nothing
 * takes a task back: it stays attached until it dies. A tracer can put another call in
 * place of seccomp(): that which ends the dispatch is refused, execve() ends the process,
 * and after any other the next call does, since a filter is missing.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include <asm/syscall.h>

#include "compat.h"
#include "sandtrap_internal.h"
#include "trace.h"

#define SYSCALL_INSN_SIZE 2

/* All that are attached. */
static LIST_HEAD(threads);
static DEFINE_SPINLOCK(threads_lock);

static void thread_free_rcu(struct rcu_head *rcu)
{
	struct sandtrap_thread *thr =
		container_of(rcu, struct sandtrap_thread, rcu);

	put_task_struct(thr->task);
	kfree(thr);
}

static void thread_free(struct kref *ref)
{
	struct sandtrap_thread *thr =
		container_of(ref, struct sandtrap_thread, ref);

	sandtrap_space_put(thr->space);
	call_rcu(&thr->rcu, thread_free_rcu);
	/*
	 * The code that called this is still running: sandtrap_hooks_exit() waits
	 * for it, whether it is the exit probe or task work.
	 */
	module_put(THIS_MODULE);
}

static void thread_put(struct sandtrap_thread *thr)
{
	kref_put(&thr->ref, thread_free);
}

/* The context that this thread was made for; if it is still wanted. */
static struct sandtrap_context *take_cloning(struct sandtrap_space *space,
					     u32 id)
{
	struct sandtrap_context *ctx;

	lockdep_assert_held(&space->lock);
	list_for_each_entry(ctx, &space->cloning, starting) {
		if (ctx->id == id) {
			list_del_init(&ctx->starting);
			return ctx;
		}
	}
	return NULL;
}

static int attach_allowed(struct sandtrap_space *space)
{
	if (READ_ONCE(space->mm) != current->mm ||
	    current->group_leader != READ_ONCE(space->server) ||
	    current == READ_ONCE(space->server) ||
	    current->seccomp.mode != SECCOMP_MODE_FILTER ||
	    !sandtrap_task_is_bare() ||
	    test_syscall_work(SYSCALL_USER_DISPATCH))
		return -EPERM;
	return READ_ONCE(space->dead) ? -ESRCH : 0;
}

long sandtrap_attach(struct sandtrap_space *space, unsigned long token)
{
	struct sandtrap_context *ctx;
	struct sandtrap_thread *thr;
	int err;

	if (!token || token > U32_MAX)
		return -EINVAL;
	err = attach_allowed(space);
	if (err)
		return err;
	thr = kzalloc(sizeof(*thr), GFP_KERNEL_ACCOUNT);
	if (!thr) {
		sandtrap_space_no_thread(space, token);
		return -ENOMEM;
	}

	thr->trapped.selector = SANDTRAP_SELECTOR_POISON;
	thr->state = SANDTRAP_ARMED;
	thr->filters = atomic_read(&current->seccomp.filter_count);
	kref_init(&thr->ref);
	INIT_LIST_HEAD(&thr->idle);
	init_task_work(&thr->work, sandtrap_thread_work);
	init_task_work(&thr->fault_work, sandtrap_thread_fault_work);
	thr->task = get_task_struct(current);
	kref_get(&space->ref);
	thr->space = space;
	thr->fresh = true;
	thr->sleeping = true; /* until it looks for itself, wake it */
	__module_get(THIS_MODULE);

	spin_lock(&threads_lock);
	list_add(&thr->node, &threads);
	spin_unlock(&threads_lock);

	spin_lock(&space->lock);
	ctx = take_cloning(space, token);
	if (ctx) {
		thr->ctx = ctx;
		rcu_assign_pointer(ctx->thread, thr);
	} else {
		list_add(&thr->idle, &space->idle);
	}
	spin_unlock(&space->lock);
	trace_sandtrap_attach(ctx ? ctx->id : 0);

	sandtrap_trap_current(&thr->trapped);
	return 0;
}

void sandtrap_thread_kill(struct sandtrap_thread *thr,
			  enum sandtrap_kill_reason why)
{
	trace_sandtrap_kill(thr->ctx ? thr->ctx->id : 0, why);
	send_sig(SIGKILL, current, 1);
}

/*
 * The first calls after attaching. Returns true if the call is not to be
 * executed. Runs in the stub's own, sealed code.
 */
bool sandtrap_thread_admit(struct sandtrap_thread *thr, struct pt_regs *regs)
{
	if (thr->state == SANDTRAP_ARMED) {
		if (regs->orig_ax == __NR_seccomp && !in_ia32_syscall()) {
			thr->state = SANDTRAP_SEALED;
			return false;
		}
		sandtrap_thread_kill(thr, SANDTRAP_KILL_SEAL);
		return true;
	}
	if (atomic_read(&current->seccomp.filter_count) != thr->filters + 1) {
		sandtrap_thread_kill(thr, SANDTRAP_KILL_FILTER);
		return true;
	}
	thr->state = SANDTRAP_LIVE;
	thr->park = regs->ip - SYSCALL_INSN_SIZE;
	sandtrap_stop(thr, regs);
	return true;
}

/*
 * In the thread: lets go of a context that is taken away, and takes the next.
 * Returns false if there was nothing of the kind to do.
 */
bool sandtrap_thread_rebind(struct sandtrap_thread *thr)
{
	struct sandtrap_space *space = thr->space;
	struct sandtrap_context *old = NULL;

	if (thr->ctx ? !READ_ONCE(thr->unbind) : !READ_ONCE(thr->next))
		return false;
	spin_lock(&space->lock);
	if (thr->ctx) {
		old = thr->ctx;
		thr->ctx = NULL;
		WRITE_ONCE(thr->unbind, false);
		list_add(&thr->idle, &space->idle);
		WRITE_ONCE(old->page->need_wakeup, 1);
		rcu_assign_pointer(old->thread, NULL);
	} else {
		thr->ctx = thr->next;
		thr->next = NULL;
		thr->fresh = true;
	}
	spin_unlock(&space->lock);
	if (old) {
		/* Orders the store of ->thread before the look at ->waiter. */
		smp_mb();
		sandtrap_wake_waiter(old);
		sandtrap_context_put(old);
	}
	return true;
}

/* Makes the thread look at ->interrupt and ->unbind before it runs user code. */
void sandtrap_thread_interrupt(struct sandtrap_thread *thr)
{
	if (test_and_set_bit(0, &thr->work_queued))
		return;
	if (kref_get_unless_zero(&thr->ref)) {
		if (!task_work_add(thr->task, &thr->work, TWA_SIGNAL))
			return;
		thread_put(thr);
	}
	clear_bit(0, &thr->work_queued);
}

/* Task work, on the thread's way to user mode, or when it dies. */
void sandtrap_thread_work(struct callback_head *work)
{
	struct sandtrap_thread *thr =
		container_of(work, struct sandtrap_thread, work);

	/* Whoever sets ->interrupt or ->unbind from here on queues it again. */
	clear_bit(0, &thr->work_queued);
	smp_mb__after_atomic();
	if (!(current->flags & PF_EXITING))
		sandtrap_interrupted(thr);
	thread_put(thr);
}

/*
 * By the thread itself, which reports ->fault before it runs user code. Work of its own:
 * who has set ->work_queued may not have queued that one yet.
 */
void sandtrap_thread_fault(struct sandtrap_thread *thr)
{
	thr->has_fault = true;
	if (thr->fault_work_queued)
		return;
	kref_get(&thr->ref);
	if (task_work_add(current, &thr->fault_work, TWA_SIGNAL))
		thread_put(thr);
	else
		thr->fault_work_queued = true;
}

void sandtrap_thread_fault_work(struct callback_head *work)
{
	struct sandtrap_thread *thr =
		container_of(work, struct sandtrap_thread, fault_work);

	thr->fault_work_queued = false;
	if (!(current->flags & PF_EXITING))
		sandtrap_interrupted(thr);
	thread_put(thr);
}

/* In the exit probe, perhaps with preemption off: @thr's task will not run again. */
void sandtrap_thread_exit(struct sandtrap_thread *thr)
{
	struct sandtrap_space *space = thr->space;
	struct sandtrap_context *ctx;

	sandtrap_untrap_current();

	spin_lock(&threads_lock);
	list_del(&thr->node);
	spin_unlock(&threads_lock);

	spin_lock(&space->lock);
	list_del_init(&thr->idle);
	ctx = thr->ctx ?: thr->next;
	if (ctx) {
		trace_sandtrap_kill(ctx->id, SANDTRAP_KILL_EXIT);
		WRITE_ONCE(ctx->page->need_wakeup, 1);
		/* Before the context is free to be bound elsewhere. */
		sandtrap_publish(ctx, SANDTRAP_EVENT_DEAD, 0);
		rcu_assign_pointer(ctx->thread, NULL);
		/* Orders that store before the look at ->waiter. */
		smp_mb();
		sandtrap_wake_waiter(ctx);
	}
	thr->ctx = NULL;
	thr->next = NULL;
	spin_unlock(&space->lock);

	if (ctx)
		sandtrap_context_put(ctx);
	thread_put(thr);
}

/*
 * In the exit probe of a task that has the selector of a task of ours, but not the work
 * bit: execve() takes that away, and then a thread of ours ends here. It may as well be
 * a worker of io_uring that a tracer had one make, and the selector point nowhere by now.
 */
void sandtrap_thread_exit_exec(void)
{
	struct sandtrap_thread *thr;
	bool found = false;

	spin_lock(&threads_lock);
	list_for_each_entry(thr, &threads, node) {
		found = thr->task == current;
		if (found)
			break;
	}
	spin_unlock(&threads_lock);
	/* No other task takes it off the list. */
	if (found)
		sandtrap_thread_exit(thr);
}
