// SPDX-License-Identifier: GPL-2.0
/*
 * context.c - contexts, and the commands with which a sentry drives them
 *
 * A context is stopped while its page's resume_seq differs from its sequence
 * number, and resumed from the moment they are equal. Only the thread that runs
 * the context, or for want of one whoever ends the address space, makes the next
 * sequence number, so neither side can miss the other:
 *
 *	sentry, here or in user space		thread, in trap.c
 *	resume_seq = seq			sleeping = need_wakeup = 1
 *	full barrier				full barrier
 *	if (sleeping) wake it			if (resume_seq != seq) sleep
 *
 *	sentry, in wait_event_seq()		thread, in sandtrap_publish()
 *	waiter = current			seq = page's event_seq = told = seq + 1
 *	full barrier				full barrier
 *	if (told unchanged) sleep		if (waiter) wake it
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "sandtrap_internal.h"

/* Runs for which step_aside() is left out when it was for nothing. */
#define ASIDE_PAUSE 64

struct sandtrap_context *sandtrap_context_get(struct sandtrap_instance *inst, u32 id)
{
	struct sandtrap_context *ctx;

	rcu_read_lock();
	ctx = xa_load(&inst->contexts, id);
	if (ctx && !kref_get_unless_zero(&ctx->ref))
		ctx = NULL;
	rcu_read_unlock();
	return ctx;
}

/* What context_new() made, all or part of it. */
static void context_destroy(struct sandtrap_context *ctx)
{
	vfree(ctx->page);
	kvfree(ctx->fpu);
	sandtrap_direct_free(ctx);
	kfree(ctx);
}

static void context_free_work(struct work_struct *work)
{
	context_destroy(container_of(to_rcu_work(work), struct sandtrap_context, free));
}

static void context_free(struct kref *ref)
{
	struct sandtrap_context *ctx = container_of(ref, struct sandtrap_context, ref);

	sandtrap_ring_forget(ctx);
	if (ctx->space)
		sandtrap_space_put(ctx->space);
	sandtrap_instance_put(ctx->inst);
	INIT_RCU_WORK(&ctx->free, context_free_work);
	queue_rcu_work(sandtrap_free_wq, &ctx->free);
}

void sandtrap_context_put(struct sandtrap_context *ctx)
{
	kref_put(&ctx->ref, context_free);
}

/* It was claimed. By the work that drops the mm of a dead space: that takes no time. */
static noinline bool claim_after_drop(struct sandtrap_context *ctx)
{
	do {
		unsigned long busy = READ_ONCE(ctx->busy);

		if (busy & BIT(SANDTRAP_BUSY_CLAIMED) &&
		    !(busy & BIT(SANDTRAP_BUSY_DROPPING)))
			return false;
		cpu_relax();
	} while (test_and_set_bit_lock(SANDTRAP_BUSY_CLAIMED, &ctx->busy));
	return true;
}

/*
 * Finds a context for a command that must be alone: one that waits, or changes.
 * While it is claimed nobody can release it, so the table's reference is enough.
 */
static __always_inline struct sandtrap_context *
context_claim(struct sandtrap_instance *inst, u32 id)
{
	struct sandtrap_context **recent = &inst->recent[id % SANDTRAP_RECENT];
	struct sandtrap_context *ctx;

	/* Readers that do not sleep are cheapest with preemption off. */
	rcu_read_lock_sched();
	ctx = READ_ONCE(*recent);
	if (unlikely(!ctx || ctx->id != id))
		ctx = xa_load(&inst->contexts, id);
	if (unlikely(!ctx))
		ctx = ERR_PTR(-ENOENT);
	else if (unlikely(test_and_set_bit_lock(SANDTRAP_BUSY_CLAIMED, &ctx->busy) &&
			  !claim_after_drop(ctx)))
		ctx = ERR_PTR(-EBUSY);
	else
		WRITE_ONCE(*recent, ctx);
	rcu_read_unlock_sched();
	return ctx;
}

/*
 * The context of a command that names one, with flags of @allowed and no sequence
 * number; claimed, or with a reference.
 */
static struct sandtrap_context *
context_of_arg(struct sandtrap_instance *inst,
	       const struct sandtrap_context_arg *a, u32 allowed, bool claim)
{
	struct sandtrap_context *ctx;

	if (a->flags & ~allowed || a->seq)
		return ERR_PTR(-EOPNOTSUPP);
	if (claim)
		return context_claim(inst, a->id);
	ctx = sandtrap_context_get(inst, a->id);
	return ctx ?: ERR_PTR(-ENOENT);
}

/* It stays claimed, and is in no table any more. */
static noinline void release_orphan(struct sandtrap_context *ctx)
{
	sandtrap_context_release(ctx);
	module_put(THIS_MODULE);
}

/* Afterwards it may be gone. */
void sandtrap_context_unclaim(struct sandtrap_context *ctx)
{
	unsigned long busy = BIT(SANDTRAP_BUSY_CLAIMED);

	while (unlikely(!try_cmpxchg_release(&ctx->busy, &busy, 0))) {
		if (busy & BIT(SANDTRAP_BUSY_ORPHAN)) {
			release_orphan(ctx);
			return;
		}
		sandtrap_direct_drop_mm(ctx);
	}
}

static bool context_stopped(struct sandtrap_context *ctx)
{
	return READ_ONCE(ctx->page->resume_seq) != READ_ONCE(ctx->seq);
}

/* There is an event other than @seq, and the page says so. */
static bool context_told(struct sandtrap_context *ctx, u32 seq)
{
	u32 now = READ_ONCE(ctx->seq);

	return now != seq && READ_ONCE(ctx->told) == now;
}

/* Wakes the thread here, if there is one and it sleeps: the caller will, too. */
static void context_handoff(struct sandtrap_context *ctx)
{
	struct sandtrap_thread *thr;

	/* Pairs with set_current_state() in thread_sleep(). */
	smp_mb();
	rcu_read_lock_sched();
	thr = rcu_dereference_sched(ctx->thread);
	if (thr && READ_ONCE(thr->sleeping))
		sandtrap_wake_handoff(thr->task);
	rcu_read_unlock_sched();
}

/*
 * Waits without going to sleep: goes on when the scheduler says so. On the only CPU
 * it first lets the thread run that has just been woken, if that has used less of
 * the CPU than we have. If the program's next event comes soon, the thread going
 * to sleep is what brings us back, and we need not be woken. Else this is for
 * nothing, and is left out for a while. True: there is an event.
 */
static bool step_aside(struct sandtrap_context *ctx, u32 seq)
{
	if (!sandtrap_can_step_aside())
		return false;
	if (ctx->aside_pause) {
		ctx->aside_pause--;
		return false;
	}
	schedule();
	if (context_told(ctx, seq))
		return true;
	ctx->aside_pause = ASIDE_PAUSE;
	return false;
}

/* creation */

static struct sandtrap_context *context_new(struct sandtrap_instance *inst,
					    u32 flags, u64 cookie)
{
	struct sandtrap_context *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return NULL;
	ctx->page = sandtrap_shared_alloc(sandtrap_context_size());
	ctx->fpu = sandtrap_fpu_copy_new();
	if (!ctx->page || !ctx->fpu ||
	    (flags & SANDTRAP_CONTEXT_DIRECT && sandtrap_direct_init(ctx))) {
		context_destroy(ctx);
		return NULL;
	}

	kref_init(&ctx->ref);
	kref_get(&inst->ref);
	ctx->inst = inst;
	ctx->busy = BIT(SANDTRAP_BUSY_CLAIMED); /* until it is complete */
	ctx->flags = flags;
	ctx->cookie = cookie;
	INIT_LIST_HEAD(&ctx->starting);
	INIT_LIST_HEAD(&ctx->backlog);
	sandtrap_state_init(ctx);
	ctx->seq = 1;
	ctx->told = 1;
	ctx->page->event_seq = 1;
	ctx->page->event = SANDTRAP_EVENT_NONE;
	ctx->page->need_wakeup = 1;
	return ctx;
}

static int tell_context(const struct sandtrap_context *ctx,
			struct sandtrap_new_context __user *out)
{
	u64 offset = SANDTRAP_OFF_CONTEXTS + ((u64)ctx->id << SANDTRAP_SLOT_SHIFT);

	return put_user(ctx->id, &out->out_id) || put_user(offset, &out->out_mmap_offset) ?
		-EFAULT : 0;
}

int sandtrap_new_context(struct sandtrap_instance *inst, void *arg,
			 void __user *uarg)
{
	struct sandtrap_new_context *a = arg;
	struct sandtrap_space *space = NULL;
	struct sandtrap_context *ctx;
	int err;

	if (a->flags & ~SANDTRAP_CONTEXT_ALL ||
	    (a->flags & SANDTRAP_CONTEXT_DIRECT && !sandtrap_has_direct))
		return -EOPNOTSUPP;
	/* Its events are the returns of SANDTRAP_RUN. */
	if (a->flags == SANDTRAP_CONTEXT_ALL)
		return -EINVAL;
	if (a->address_space < -1)
		return -EBADF;
	if (a->address_space >= 0) {
		space = sandtrap_space_get(a->address_space, inst);
		if (IS_ERR(space))
			return PTR_ERR(space);
	}

	err = -ENOMEM;
	ctx = context_new(inst, a->flags, a->cookie);
	if (!ctx)
		goto out_space;
	/*
	 * Visible from here, and its id can be guessed. Whoever does so finds it
	 * claimed, and so cannot release or bind it before we are done.
	 */
	err = xa_alloc_cyclic(&inst->contexts, &ctx->id, ctx,
			      XA_LIMIT(1, SANDTRAP_MAX_CONTEXTS),
			      &inst->next_id, GFP_KERNEL_ACCOUNT);
	if (err < 0) {
		sandtrap_context_put(ctx);
		err = err == -EBUSY ? -ENOSPC : err;
		goto out_space;
	}
	err = tell_context(ctx, uarg);
	if (!err && space)
		err = sandtrap_space_bind(space, ctx);
	if (err) {
		xa_erase(&inst->contexts, ctx->id);
		sandtrap_context_put(ctx);
	} else {
		sandtrap_context_unclaim(ctx);
	}
out_space:
	if (space)
		sandtrap_space_put(space);
	return err;
}

/* binding and release */

/* Ends the bond of context and thread, or begins to: the thread must let go. */
static void context_unbind(struct sandtrap_context *ctx)
{
	struct sandtrap_space *space = ctx->space;
	struct sandtrap_thread *thr;
	bool waiting;

	if (!space)
		return;
	if (ctx->flags & SANDTRAP_CONTEXT_DIRECT) {
		sandtrap_direct_unbind(ctx);
		return;
	}
	spin_lock(&space->lock);
	waiting = !list_empty(&ctx->starting);
	list_del_init(&ctx->starting);
	thr = rcu_dereference_protected(ctx->thread, lockdep_is_held(&space->lock));
	if (thr) {
		WRITE_ONCE(thr->unbind, true);
		sandtrap_thread_interrupt(thr);
		wake_up_process(thr->task);
	}
	spin_unlock(&space->lock);
	if (waiting)
		sandtrap_context_put(ctx);
}

/* The table's reference becomes ours. */
void sandtrap_context_release(struct sandtrap_context *ctx)
{
	context_unbind(ctx);
	sandtrap_context_put(ctx);
}

static int wait_unbound(struct sandtrap_context *ctx)
{
	int err = 0;

	WRITE_ONCE(ctx->waiter, current);
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (!rcu_access_pointer(ctx->thread))
			break;
		if (signal_pending(current)) {
			err = -EINTR;
			break;
		}
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	WRITE_ONCE(ctx->waiter, NULL);
	return err;
}

int sandtrap_bind_context(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_bind_context *a = arg;
	struct sandtrap_space *space = NULL;
	struct sandtrap_context *ctx;
	int err;

	if (a->flags)
		return -EOPNOTSUPP;
	if (a->address_space < -1)
		return -EBADF;
	if (a->address_space >= 0) {
		space = sandtrap_space_get(a->address_space, inst);
		if (IS_ERR(space))
			return PTR_ERR(space);
	}
	ctx = context_claim(inst, a->id);
	if (IS_ERR(ctx)) {
		err = PTR_ERR(ctx);
		goto out_space;
	}

	context_unbind(ctx);
	err = wait_unbound(ctx);
	if (err)
		goto out_ctx;
	if (ctx->space)
		sandtrap_space_put(ctx->space);
	ctx->space = NULL;
	/* Whatever it was doing, it is stopped now, and has yet to begin. */
	WRITE_ONCE(ctx->event, SANDTRAP_EVENT_NONE);
	WRITE_ONCE(ctx->page->event, SANDTRAP_EVENT_NONE);
	WRITE_ONCE(ctx->page->resume_seq, ctx->seq - 1);
	if (space)
		err = sandtrap_space_bind(space, ctx);
out_ctx:
	sandtrap_context_unclaim(ctx);
out_space:
	if (space)
		sandtrap_space_put(space);
	return err;
}

int sandtrap_release_context(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_context_arg *a = arg;
	struct sandtrap_context *ctx;

	ctx = context_of_arg(inst, a, 0, true);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	/* It stays claimed: commands that still find it get EBUSY. */
	xa_erase(&inst->contexts, a->id);
	cmpxchg(&inst->recent[a->id % SANDTRAP_RECENT], ctx, NULL);
	sandtrap_context_release(ctx);
	return 0;
}

/* running */

/*
 * Sleeps until the context's sequence number differs from @seq, or until the
 * thread has done @req without resuming.
 */
static int wait_event_seq(struct sandtrap_context *ctx, u32 seq,
			  const struct sandtrap_request *req, ktime_t *timeout)
{
	int err = 0;

	for (;;) {
		/* Pairs with the barriers in sandtrap_publish(). */
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (context_told(ctx, seq))
			break;
		if (req && smp_load_acquire(&req->done) &&
		    (req->error || !req->resume))
			break;
		if (signal_pending(current)) {
			err = -EINTR;
			break;
		}
		if (!timeout) {
			schedule();
		} else if (!schedule_hrtimeout_range(timeout, 0,
						     HRTIMER_MODE_ABS)) {
			err = context_told(ctx, seq) ? 0 : -ETIME;
			break;
		}
	}
	__set_current_state(TASK_RUNNING);
	return err;
}

/* After this nobody but us knows @req. */
static void pull_finish(struct sandtrap_context *ctx,
			struct sandtrap_request *req)
{
	if (cmpxchg(&ctx->req, req, NULL) == req)
		return;
	/* The thread is at it, and will not be long. It does not always wake us. */
	while (!smp_load_acquire(&req->done))
		schedule_timeout_uninterruptible(1);
}

/* Withdraws @req, or sees it done, unless we are killed. */
static int batch_finish(struct sandtrap_context *ctx,
			struct sandtrap_request *req)
{
	struct sandtrap_space *space = ctx->space;

	if (smp_load_acquire(&req->done))
		return 0;
	if (cmpxchg(&ctx->req, req, NULL) == req) {
		sandtrap_space_end_batch(space);
		sandtrap_batch_put(req->batch);
		return 0;
	}
	return wait_event_killable(space->batch_wq,
				   smp_load_acquire(&req->done)) ? -EINTR : 0;
}

static int wait_stopped(struct sandtrap_context *ctx, u32 seq)
{
	int err;

	WRITE_ONCE(ctx->waiter, current);
	err = wait_event_seq(ctx, seq, NULL, NULL);
	WRITE_ONCE(ctx->waiter, NULL);
	return err;
}

/* Has the stopped thread do @req; returns what became of the waiting. */
static int context_request(struct sandtrap_context *ctx, u32 seq,
			   struct sandtrap_request *req)
{
	int err;

	WRITE_ONCE(ctx->waiter, current);
	smp_store_release(&ctx->req, req);
	context_handoff(ctx);
	err = wait_event_seq(ctx, seq, req, NULL);
	if (!req->batch)
		pull_finish(ctx, req);
	else if (batch_finish(ctx, req))
		err = -EINTR;
	WRITE_ONCE(ctx->waiter, NULL);
	return err;
}

static int run_plain(struct sandtrap_context *ctx, u32 seq)
{
	if (READ_ONCE(ctx->seq) == seq) {
		smp_store_release(&ctx->page->resume_seq, seq);
		context_handoff(ctx);
	}
	return wait_stopped(ctx, seq);
}

/* The claim of the context is given back. */
static int run_direct_batch(struct sandtrap_context *ctx,
			    struct sandtrap_run *a,
			    struct sandtrap_batch *batch)
{
	struct sandtrap_space *space = ctx->space;
	int err;

	kref_get(&space->ref);
	err = sandtrap_space_begin_batch(space);
	if (err) {
		sandtrap_context_unclaim(ctx);
	} else {
		err = sandtrap_direct_run(ctx, a->seq, batch);
		sandtrap_space_end_batch(space);
	}
	sandtrap_space_put(space);
	return err;
}

static int run_direct(struct sandtrap_context *ctx, struct sandtrap_run *a,
		      struct sandtrap_run __user *uarg)
{
	struct sandtrap_batch *batch;
	int err;

	if (!a->nr_ops)
		return sandtrap_direct_run(ctx, a->seq, NULL);
	batch = sandtrap_batch_new(a->ops, a->nr_ops);
	err = PTR_ERR_OR_ZERO(batch);
	/* Once the program is to be entered, nobody could be told. */
	if (!err && (put_user(0, &uarg->out_ops_done) || put_user(0, &uarg->out_op_error))) {
		sandtrap_batch_put(batch);
		err = -EFAULT;
	}
	if (err) {
		sandtrap_context_unclaim(ctx);
		return err;
	}
	err = run_direct_batch(ctx, a, batch);
	if (put_user(batch->done, &uarg->out_ops_done) ||
	    put_user((u32)-batch->req.error, &uarg->out_op_error))
		err = -EFAULT;
	sandtrap_batch_put(batch);
	return err;
}

static int run_batch(struct sandtrap_context *ctx, struct sandtrap_run *a,
		     struct sandtrap_run __user *uarg)
{
	struct sandtrap_batch *batch;
	int err, op_error;

	if (!context_stopped(ctx) || a->seq != READ_ONCE(ctx->seq))
		return -EINVAL;
	batch = sandtrap_batch_new(a->ops, a->nr_ops);
	if (IS_ERR(batch))
		return PTR_ERR(batch);

	batch->req.resume = true;
	err = sandtrap_space_begin_batch(ctx->space);
	if (!err) {
		kref_get(&batch->ref);
		err = context_request(ctx, a->seq, &batch->req);
	}
	op_error = READ_ONCE(batch->req.error);
	if (put_user(READ_ONCE(batch->done), &uarg->out_ops_done) ||
	    put_user((u32)-op_error, &uarg->out_op_error))
		err = err ?: -EFAULT;
	sandtrap_batch_put(batch);
	return op_error ?: err;
}

int sandtrap_run(struct sandtrap_instance *inst, void *arg, void __user *uarg)
{
	struct sandtrap_run *a = arg;
	struct sandtrap_context *ctx;
	int err;

	if (a->flags & ~SANDTRAP_RUN_ALL || a->__reserved)
		return -EOPNOTSUPP;
	if (!a->nr_ops && a->ops)
		return -EINVAL;
	ctx = context_claim(inst, a->id);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	err = sandtrap_context_check(ctx, a->seq);
	if (err)
		goto out;
	if (ctx->flags & SANDTRAP_CONTEXT_DIRECT)
		return run_direct(ctx, a, uarg);
	if (a->nr_ops)
		err = run_batch(ctx, a, uarg);
	else
		err = run_plain(ctx, a->seq);
out:
	sandtrap_context_unclaim(ctx);
	return err;
}

/* The hot path. The caller has resumed the context already. */
long sandtrap_run_fast(struct sandtrap_instance *inst, u32 id)
{
	struct sandtrap_context *ctx;
	int err;
	u32 seq;

	ctx = context_claim(inst, id);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	if (ctx->flags & SANDTRAP_CONTEXT_DIRECT)
		return sandtrap_direct_run_fast(ctx);
	seq = READ_ONCE(ctx->page->resume_seq);
	err = sandtrap_context_check(ctx, seq);
	if (likely(!err)) {
		context_handoff(ctx);
		err = step_aside(ctx, seq) ? 0 : wait_stopped(ctx, seq);
	}
	sandtrap_context_unclaim(ctx);
	return err;
}

int sandtrap_resume(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_context_arg *a = arg;
	struct sandtrap_context *ctx;
	int err = 0;

	if (a->flags)
		return -EOPNOTSUPP;
	ctx = sandtrap_context_get(inst, a->id);
	if (!ctx)
		return -ENOENT;
	if (sandtrap_context_dead(ctx, a->seq)) {
		err = -ESRCH;
	} else if (ctx->flags & SANDTRAP_CONTEXT_DIRECT) {
		err = -EINVAL;
	} else if (READ_ONCE(ctx->seq) == a->seq) {
		smp_store_release(&ctx->page->resume_seq, a->seq);
		sandtrap_wake_stub(ctx);
	}
	sandtrap_context_put(ctx);
	return err;
}

static int wait_ring(struct sandtrap_instance *inst, ktime_t *timeout)
{
	DEFINE_WAIT(wait);
	int err = 0;

	for (;;) {
		prepare_to_wait(&inst->wq, &wait,
				TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (sandtrap_ring_ready(inst))
			break;
		if (signal_pending(current)) {
			err = -EINTR;
			break;
		}
		if (!timeout) {
			schedule();
		} else if (!schedule_hrtimeout_range(timeout, 0,
						     HRTIMER_MODE_ABS)) {
			err = sandtrap_ring_ready(inst) ? 0 : -ETIME;
			break;
		}
	}
	finish_wait(&inst->wq, &wait);
	return err;
}

int sandtrap_wait(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_wait *a = arg;
	struct sandtrap_context *ctx;
	ktime_t time, *timeout = NULL;
	int err;

	if (a->flags)
		return -EOPNOTSUPP;
	if (a->timeout_ns != SANDTRAP_WAIT_FOREVER) {
		time = min_t(u64, a->timeout_ns, KTIME_MAX);
		timeout = &time;
	}
	if (!a->id) {
		if (a->seq || !READ_ONCE(inst->ring.entries))
			return -EINVAL;
		return wait_ring(inst, timeout);
	}

	ctx = context_claim(inst, a->id);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	if (sandtrap_context_dead(ctx, a->seq)) {
		err = -ESRCH;
	} else if (ctx->flags & SANDTRAP_CONTEXT_DIRECT) {
		err = READ_ONCE(ctx->seq) == a->seq ? -EINVAL : 0;
	} else {
		WRITE_ONCE(ctx->waiter, current);
		err = wait_event_seq(ctx, a->seq, NULL, timeout);
		WRITE_ONCE(ctx->waiter, NULL);
	}
	sandtrap_context_unclaim(ctx);
	return err;
}

int sandtrap_interrupt(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_context_arg *a = arg;
	struct sandtrap_context *ctx;
	struct sandtrap_thread *thr;

	ctx = context_of_arg(inst, a, 0, false);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	/*
	 * If the thread misses this when it enters the program, it finds the
	 * queued work on its way to user mode; see sandtrap_interrupted().
	 */
	smp_store_mb(ctx->interrupt, true);
	sandtrap_direct_kick(ctx);
	rcu_read_lock();
	thr = rcu_dereference(ctx->thread);
	if (thr)
		sandtrap_thread_interrupt(thr);
	rcu_read_unlock();
	sandtrap_context_put(ctx);
	return 0;
}

static int pull(struct sandtrap_context *ctx, u32 what)
{
	struct sandtrap_request req = { .pull = what };
	u32 seq = READ_ONCE(ctx->seq);
	int err;

	err = context_request(ctx, seq, &req);
	if (!err && !req.done)
		err = -ESRCH;
	return err ?: req.error;
}

int sandtrap_pull(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_context_arg *a = arg;
	struct sandtrap_context *ctx;
	int err;

	ctx = context_of_arg(inst, a, SANDTRAP_STATE_ALL, true);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	if (!a->flags)
		err = -EINVAL;
	else if (!ctx->space)
		err = -ENOTCONN;
	else if (!context_stopped(ctx))
		err = -EINVAL;
	else if (READ_ONCE(ctx->event) == SANDTRAP_EVENT_NONE)
		err = 0; /* the pages hold all there is */
	else if (sandtrap_context_dead(ctx, READ_ONCE(ctx->seq)))
		err = -ESRCH;
	else if (ctx->flags & SANDTRAP_CONTEXT_DIRECT)
		err = sandtrap_direct_pull(ctx, a->flags);
	else
		err = pull(ctx, a->flags);
	sandtrap_context_unclaim(ctx);
	return err;
}
