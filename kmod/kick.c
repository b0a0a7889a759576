// SPDX-License-Identifier: GPL-2.0
/*
 * kick.c - what other threads do to a program that runs directly
 *
 * They have it leave, and when its address space has died, let go of the mm.
 */
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/task_work.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "sandtrap_internal.h"

/*
 * A context that has another runner by now, which nobody could kick while this was
 * queued, is kicked once too often: it is entered again. If the runner is the
 * caller, other work brought it here, and the flag for its own is still set.
 */
void sandtrap_direct_kick_work(struct callback_head *work)
{
	struct sandtrap_context *ctx =
		container_of(work, struct sandtrap_context, direct.kick_work);
	struct task_struct *runner;

	clear_bit(0, &ctx->direct.kicked);
	smp_mb__after_atomic();
	runner = READ_ONCE(ctx->direct.runner);
	if (runner && runner != current)
		sandtrap_direct_kick(ctx);
	sandtrap_context_put(ctx);
	/* sandtrap_hooks_exit() waits for the way back. */
	module_put(THIS_MODULE);
}

/* The work may be done when the runner has left, and all else is gone. */
static bool queue_kick(struct sandtrap_context *ctx, struct task_struct *runner)
{
	if (!try_module_get(THIS_MODULE))
		return false;
	kref_get(&ctx->ref);
	if (!task_work_add(runner, &ctx->direct.kick_work, TWA_SIGNAL))
		return true;
	/* The caller has another. */
	sandtrap_context_put(ctx);
	module_put(THIS_MODULE);
	return false;
}

static void kick(struct sandtrap_context *ctx, struct task_struct *runner)
{
	if (test_and_set_bit(0, &ctx->direct.kicked)) {
		/* By a former runner perhaps, who may be long in doing that work. */
		sandtrap_notify_signal(runner);
	} else if (!queue_kick(ctx, runner)) {
		clear_bit(0, &ctx->direct.kicked);
	}
}

/* Makes the runner, if there is one, look at pending_event(). */
void sandtrap_direct_kick(struct sandtrap_context *ctx)
{
	struct task_struct *runner;

	/* The runner removes itself before it goes; RCU keeps what we saw. */
	rcu_read_lock();
	runner = READ_ONCE(ctx->direct.runner);
	if (runner)
		kick(ctx, runner);
	rcu_read_unlock();
}

/* Caller holds the lock of the space, which has just died. */
void sandtrap_direct_kick_all(struct sandtrap_space *space)
{
	struct sandtrap_direct *d;

	lockdep_assert_held(&space->lock);
	/* Pairs with the barrier in swap_mm(). */
	smp_mb();
	list_for_each_entry(d, &space->direct, node)
		sandtrap_direct_kick(container_of(d, struct sandtrap_context,
						  direct));
}

/* Caller has claimed it, so nobody runs it. */
void sandtrap_direct_drop_mm(struct sandtrap_context *ctx)
{
	if (ctx->direct.mm)
		mmput_async(ctx->direct.mm);
	ctx->direct.mm = NULL;
}

static struct sandtrap_context *next_to_tell(struct sandtrap_space *space)
{
	struct sandtrap_context *ctx = NULL;
	struct sandtrap_direct *d;

	spin_lock(&space->lock);
	d = list_first_entry_or_null(&space->direct, struct sandtrap_direct, node);
	if (d && !d->told_dead) {
		d->told_dead = true;
		list_move_tail(&d->node, &space->direct);
		ctx = container_of(d, struct sandtrap_context, direct);
		kref_get(&ctx->ref);
	}
	spin_unlock(&space->lock);
	return ctx;
}

/*
 * Whoever has claimed the context drops its mm; if nobody has, this does. Who wants the
 * context meanwhile spins, so it is not preempted. Returns true if the instance was
 * closed meanwhile: the caller has the last word on the context, and unclaims it.
 */
static bool drop_mm_of_dead(struct sandtrap_context *ctx)
{
	const unsigned long dropping = BIT(SANDTRAP_BUSY_CLAIMED) | BIT(SANDTRAP_BUSY_DEAD) |
				       BIT(SANDTRAP_BUSY_DROPPING);
	unsigned long busy;
	bool closed = false;

	set_bit(SANDTRAP_BUSY_DEAD, &ctx->busy);
	preempt_disable();
	busy = READ_ONCE(ctx->busy);
	while (!(busy & BIT(SANDTRAP_BUSY_CLAIMED))) {
		if (!try_cmpxchg_acquire(&ctx->busy, &busy, busy | dropping))
			continue;
		sandtrap_direct_drop_mm(ctx);
		busy = dropping;
		closed = !try_cmpxchg_release(&ctx->busy, &busy, 0);
		break;
	}
	preempt_enable();
	return closed;
}

/*
 * The space has died. What is in its mm may be what keeps the contexts, by a mapping of
 * the instance for one: they must not keep the mm. Nobody gets it any more.
 */
void sandtrap_direct_drop_work(struct work_struct *work)
{
	struct sandtrap_space *space = container_of(work, struct sandtrap_space, drop);
	struct sandtrap_context *ctx;

	while ((ctx = next_to_tell(space))) {
		if (drop_mm_of_dead(ctx))
			sandtrap_context_unclaim(ctx);
		sandtrap_context_put(ctx);
		cond_resched();
	}
	sandtrap_space_put(space);
}
