// SPDX-License-Identifier: MIT
/*
 * send.c - sending signals to tasks, thread groups and process groups
 */
#include "sentry/signal/internal.h"

struct kernel_sigaction sigaction_of(struct thread_group *tg, int signo)
{
	struct sighand *sh = tg->sig.sighand;
	struct kernel_sigaction ka;

	pthread_mutex_lock(&sh->lock);
	ka = sh->actions[signo - 1];
	pthread_mutex_unlock(&sh->lock);
	return ka;
}

void siginfo_user(siginfo_t *info, int signo, struct task *from)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = signo;
	info->si_code = from ? SI_USER : SI_KERNEL;
	if (from) {
		info->si_pid = from->tg->tgid;
		info->si_uid = from->cred.uid;
	}
}

static void discard_all(struct thread_group *tg, sigmask_t set)
{
	struct task *t;

	sigqueue_discard(&tg->sig.pending, set);
	TAILQ_FOREACH(t, &tg->tasks, tg_link)
		sigqueue_discard(&t->sig.pending, set);
}

/* Stopping and continuing act when they are sent, whatever the handlers. */
static void prepare_job_control(struct thread_group *tg, int signo)
{
	if (SIGMASK(signo) & STOP_SIGNALS) {
		discard_all(tg, SIGMASK(SIGCONT));
	} else if (signo == SIGCONT) {
		discard_all(tg, STOP_SIGNALS);
		stop_end_locked(tg, true);
	}
}

/* A blocked signal is never ignored: it may have a handler when unblocked. */
static bool is_ignored(struct task *t, int signo,
		       const struct kernel_sigaction *ka)
{
	if ((t->sig.mask | t->sig.real_mask) & SIGMASK(signo))
		return false;
	return ka->handler == HANDLER_IGN ||
	       (ka->handler == HANDLER_DFL && SIGMASK(signo) & DEFAULT_IGNORE);
}

static bool wants_signal(struct task *t, int signo)
{
	return !t->exiting && (signo == SIGKILL ||
			       !(t->sig.mask & SIGMASK(signo)));
}

/* Who is to handle a signal of the group: the main task, or any other. */
static struct task *choose_task(struct task *t, int signo, bool group)
{
	struct task *o;

	if (wants_signal(t, signo))
		return t;
	if (group)
		TAILQ_FOREACH(o, &t->tg->tasks, tg_link)
			if (wants_signal(o, signo))
				return o;
	return NULL;
}

/*
 * A signal that will kill does so now, so that tasks that sleep
 * uninterruptibly die too.
 */
static void complete_signal(struct task *t, int signo, bool group,
			    const struct kernel_sigaction *ka)
{
	struct task *target = choose_task(t, signo, group);

	if (!target)
		return;
	if (signo == SIGKILL ||
	    (ka->handler == HANDLER_DFL && default_is_fatal(signo) &&
	     !(target->sig.real_mask & SIGMASK(signo))))
		group_exit_locked(t->tg, signo, NULL);
	else
		task_set_work(target, TASK_WORK_SIGNAL);
}

static bool over_limit(struct thread_group *tg, const struct sigqueue *q)
{
	return q->count >= tg->rlimits[RLIMIT_SIGPENDING].rlim_cur;
}

/*
 * A real-time signal beyond the limit is refused, but for those of kill(), of
 * which only the siginfo is lost. SI_KERNEL makes no difference: a process may
 * say that of what it queues to itself.
 */
static int enqueue(struct thread_group *tg, struct sigqueue *q,
		   const siginfo_t *info)
{
	bool realtime = info->si_signo >= FIRST_REALTIME;

	if ((!realtime || !over_limit(tg, q)) && !sigqueue_add(q, info))
		return 0;
	if (realtime && info->si_code != SI_USER)
		return -EAGAIN;
	sigqueue_mark(q, info->si_signo);
	return 0;
}

int signal_send_locked(struct task *t, const siginfo_t *info, bool group)
{
	struct thread_group *tg = t->tg;
	struct sigqueue *q = group ? &tg->sig.pending : &t->sig.pending;
	struct kernel_sigaction ka;
	int signo = info->si_signo, err;

	if (!tg->nr_tasks || tg->sig.exiting || (!group && t->exiting))
		return 0;
	ka = sigaction_of(tg, signo);
	prepare_job_control(tg, signo);
	if (is_ignored(t, signo, &ka))
		return 0;
	if (signo < FIRST_REALTIME && q->mask & SIGMASK(signo))
		return 0;
	err = enqueue(tg, q, info);
	if (err)
		return err;
	wait_queue_wake_all(&tg->sig.watchers);
	complete_signal(t, signo, group, &ka);
	return 0;
}

int signal_send(struct task *t, const siginfo_t *info, bool group)
{
	int err;

	pthread_mutex_lock(&t->tg->lock);
	err = signal_send_locked(t, info, group);
	pthread_mutex_unlock(&t->tg->lock);
	return err;
}

/* Returns how many processes there are in the group. */
int signal_send_pgrp_locked(struct kernel *k, pid_t pgid,
			    const siginfo_t *info)
{
	struct thread_group *tg;
	int n = 0;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link) {
		if (tg->pgid != pgid)
			continue;
		n++;
		signal_send(tg->leader, info, true);
	}
	return n;
}

void signal_send_pgrp(struct kernel *k, pid_t pgid, int signo)
{
	siginfo_t info;

	siginfo_user(&info, signo, NULL);
	pthread_mutex_lock(&k->tasks_lock);
	signal_send_pgrp_locked(k, pgid, &info);
	pthread_mutex_unlock(&k->tasks_lock);
}

bool may_signal(struct task *from, struct task *to, int signo)
{
	const struct cred *a = &from->cred, *b = &to->cred;

	if (from->tg == to->tg)
		return true;
	if (a->euid == b->suid || a->euid == b->uid || a->uid == b->suid ||
	    a->uid == b->uid)
		return true;
	if (signo == SIGCONT && from->tg->sid == to->tg->sid)
		return true;
	return a->cap_effective & (1ull << CAP_KILL);
}
