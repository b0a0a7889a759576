// SPDX-License-Identifier: MIT
/*
 * stop.c - job control: all tasks of a thread group stop and continue
 *
 * A group is stopped in two steps. First "stopped" is set and every task gets
 * TASK_WORK_STOP; each then counts itself off "stop_count" and sleeps in
 * stop_wait(). The last one tells the parent.
 */
#include "sentry/signal/internal.h"

void stop_begin_locked(struct task *t, int signo)
{
	struct thread_group *tg = t->tg;
	struct task *o;

	/* A SIGCONT since the signal was dequeued has undone it. */
	if (!tg->sig.stop_dequeued || tg->sig.stopped || tg->sig.exiting)
		return;
	tg->sig.stopped = true;
	tg->sig.stop_signal = signo;
	tg->sig.stop_reported = false;
	tg->sig.continued = false;
	tg->sig.stop_count = 0;
	TAILQ_FOREACH(o, &tg->tasks, tg_link) {
		if (o->exiting)
			continue;
		tg->sig.stop_count++;
		if (o == t)
			atomic_fetch_or(&o->work, TASK_WORK_STOP);
		else
			task_set_work(o, TASK_WORK_STOP);
	}
}

void stop_end_locked(struct thread_group *tg, bool continued)
{
	struct task *o;

	tg->sig.stop_dequeued = false;
	if (!tg->sig.stopped)
		return;
	if (continued && !tg->sig.stop_count) {
		tg->sig.continued = true;
		tg->sig.continue_notify = true;
	}
	tg->sig.stopped = false;
	tg->sig.stop_count = 0;
	TAILQ_FOREACH(o, &tg->tasks, tg_link)
		if (!o->exiting)
			task_wake(o);
}

bool signal_stop_leave_locked(struct task *t)
{
	struct thread_group *tg = t->tg;

	if (!(atomic_load(&t->work) & TASK_WORK_STOP) || !tg->sig.stopped ||
	    !tg->sig.stop_count)
		return false;
	atomic_fetch_and(&t->work, ~TASK_WORK_STOP);
	return --tg->sig.stop_count == 0;
}

static bool is_stopped(struct thread_group *tg)
{
	bool stopped;

	pthread_mutex_lock(&tg->lock);
	stopped = tg->sig.stopped;
	pthread_mutex_unlock(&tg->lock);
	return stopped;
}

/* Count the caller off; has it been the last one? */
static bool stop_arrive(struct task *t)
{
	struct thread_group *tg = t->tg;
	bool last = false;

	pthread_mutex_lock(&tg->lock);
	atomic_fetch_and(&t->work, ~TASK_WORK_STOP);
	if (tg->sig.stopped && tg->sig.stop_count)
		last = --tg->sig.stop_count == 0;
	pthread_mutex_unlock(&tg->lock);
	return last;
}

void stop_wait(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;

	if (stop_arrive(t)) {
		pthread_mutex_lock(&k->tasks_lock);
		if (is_stopped(tg))
			notify_parent_locked(tg, CLD_STOPPED,
					     tg->sig.stop_signal);
		pthread_mutex_unlock(&k->tasks_lock);
	}
	while (is_stopped(tg))
		if (task_block_killable(t, FOREVER) == -ERESTARTSYS)
			break;
}
