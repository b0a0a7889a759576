// SPDX-License-Identifier: MIT
/*
 * action.c - dispositions and masks, and waiting for signals
 */
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"

/* As Linux, unknown flags are cleared: programs probe for them. */
#define SA_KNOWN                                                      \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK |      \
	 SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_RESTORER)

/* Signals that are ignored now do not stay pending. */
static void drop_ignored_locked(struct thread_group *tg, int signo,
				const struct kernel_sigaction *ka)
{
	struct task *o;

	if (ka->handler != HANDLER_IGN &&
	    !(ka->handler == HANDLER_DFL && SIGMASK(signo) & DEFAULT_IGNORE))
		return;
	sigqueue_discard(&tg->sig.pending, SIGMASK(signo));
	TAILQ_FOREACH(o, &tg->tasks, tg_link)
		sigqueue_discard(&o->sig.pending, SIGMASK(signo));
}

static void set_action(struct task *t, int signo,
		       const struct kernel_sigaction *ka)
{
	struct thread_group *tg = t->tg;
	struct sighand *sh = tg->sig.sighand;

	pthread_mutex_lock(&tg->lock);
	pthread_mutex_lock(&sh->lock);
	sh->actions[signo - 1] = *ka;
	pthread_mutex_unlock(&sh->lock);
	drop_ignored_locked(tg, signo, ka);
	pthread_mutex_unlock(&tg->lock);
}

static struct kernel_sigaction get_action(struct task *t, int signo)
{
	struct kernel_sigaction ka;

	pthread_mutex_lock(&t->tg->lock);
	ka = sigaction_of(t->tg, signo);
	pthread_mutex_unlock(&t->tg->lock);
	return ka;
}

long sys_rt_sigaction(struct task *t, const uint64_t *args)
{
	struct kernel_sigaction ka, old;
	int signo = (int)args[0];

	if (args[3] != sizeof(sigmask_t))
		return -EINVAL;
	if (args[1] && copy_from_user(t, &ka, args[1], sizeof(ka)))
		return -EFAULT;
	if (!signo_valid(signo) ||
	    (args[1] && SIGMASK(signo) & KERNEL_ONLY))
		return -EINVAL;
	old = get_action(t, signo);
	if (args[1]) {
		ka.flags &= SA_KNOWN;
		ka.mask &= ~KERNEL_ONLY;
		set_action(t, signo, &ka);
	}
	if (args[2] && copy_to_user(t, args[2], &old, sizeof(old)))
		return -EFAULT;
	return 0;
}

static int change_mask(struct task *t, int how, sigmask_t set)
{
	switch (how) {
	case SIG_BLOCK:
		set |= t->sig.mask;
		break;
	case SIG_UNBLOCK:
		set = t->sig.mask & ~set;
		break;
	case SIG_SETMASK:
		break;
	default:
		return -EINVAL;
	}
	signal_set_mask(t, set);
	return 0;
}

long sys_rt_sigprocmask(struct task *t, const uint64_t *args)
{
	sigmask_t old = t->sig.mask, set;
	int err;

	if (args[3] != sizeof(sigmask_t))
		return -EINVAL;
	if (args[1]) {
		if (get_user_u64(t, &set, args[1]))
			return -EFAULT;
		err = change_mask(t, (int)args[0], set);
		if (err)
			return err;
	}
	if (args[2] && put_user_u64(t, args[2], old))
		return -EFAULT;
	return 0;
}

long sys_rt_sigpending(struct task *t, const uint64_t *args)
{
	sigmask_t set;

	if (args[1] > sizeof(set))
		return -EINVAL;
	pthread_mutex_lock(&t->tg->lock);
	set = (t->sig.pending.mask | t->tg->sig.pending.mask) & t->sig.mask;
	pthread_mutex_unlock(&t->tg->lock);
	return copy_to_user(t, args[0], &set, args[1]);
}

static long wait_for_work(struct task *t)
{
	while (!task_has_work(t))
		task_block(t, FOREVER);
	return -ERESTARTNOHAND;
}

long sys_pause(struct task *t, const uint64_t *args)
{
	return wait_for_work(t);
}

long sys_rt_sigsuspend(struct task *t, const uint64_t *args)
{
	sigmask_t mask;

	if (args[1] != sizeof(mask))
		return -EINVAL;
	if (get_user_u64(t, &mask, args[0]))
		return -EFAULT;
	signal_mask_save(t, mask);
	return wait_for_work(t);
}

int signal_take(struct task *t, sigmask_t set, siginfo_t *info)
{
	int signo;

	pthread_mutex_lock(&t->tg->lock);
	signo = sigqueue_take(&t->sig.pending, set, info);
	if (!signo)
		signo = sigqueue_take(&t->tg->sig.pending, set, info);
	signal_recalc_locked(t);
	pthread_mutex_unlock(&t->tg->lock);
	if (signo && info->si_code == SI_TIMER)
		posix_timer_delivered(t->tg, info);
	return signo;
}

/* Unblocked only to be woken: real_mask keeps defaults from acting. */
static void unblock_for_wait(struct task *t, sigmask_t set)
{
	pthread_mutex_lock(&t->tg->lock);
	t->sig.real_mask = t->sig.mask;
	t->sig.mask &= ~set;
	signal_recalc_locked(t);
	pthread_mutex_unlock(&t->tg->lock);
}

static void reblock_after_wait(struct task *t)
{
	sigmask_t mask = t->sig.real_mask;

	pthread_mutex_lock(&t->tg->lock);
	t->sig.real_mask = 0;
	t->sig.mask = mask;
	signal_recalc_locked(t);
	pthread_mutex_unlock(&t->tg->lock);
}

static int wait_for_set(struct task *t, sigmask_t set, siginfo_t *info,
			uint64_t deadline)
{
	int signo, err = 0;

	unblock_for_wait(t, set);
	while (!task_has_work(t) && err != -ETIMEDOUT)
		err = task_block(t, deadline);
	signo = signal_take(t, set, info);
	reblock_after_wait(t);
	if (signo)
		return signo;
	return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

static int get_deadline(struct task *t, uint64_t addr, uint64_t *deadline)
{
	struct timespec ts;

	*deadline = FOREVER;
	if (!addr)
		return 0;
	if (copy_from_user(t, &ts, addr, sizeof(ts)))
		return -EFAULT;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		return -EINVAL;
	*deadline = deadline_after(&ts);
	return 0;
}

long sys_rt_sigtimedwait(struct task *t, const uint64_t *args)
{
	uint64_t deadline;
	siginfo_t info;
	sigmask_t set;
	int signo, err;

	if (args[3] != sizeof(set))
		return -EINVAL;
	if (get_user_u64(t, &set, args[0]))
		return -EFAULT;
	set &= ~KERNEL_ONLY;
	err = get_deadline(t, args[2], &deadline);
	if (err)
		return err;
	signo = signal_take(t, set, &info);
	if (!signo)
		signo = wait_for_set(t, set, &info, deadline);
	if (signo < 0)
		return signo;
	if (args[1] && copy_to_user(t, args[1], &info, sizeof(info)))
		return -EFAULT;
	return signo;
}
