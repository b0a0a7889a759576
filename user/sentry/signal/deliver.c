// SPDX-License-Identifier: MIT
/*
 * deliver.c - what happens to a task that has signals pending
 */
#include "sentry/signal/internal.h"

void signal_recalc_locked(struct task *t)
{
	sigmask_t pending = t->sig.pending.mask | t->tg->sig.pending.mask;

	if (pending & ~t->sig.mask)
		atomic_fetch_or(&t->work, TASK_WORK_SIGNAL);
	else
		atomic_fetch_and(&t->work, ~TASK_WORK_SIGNAL);
}

/* Other tasks handle the group's signals that @t no longer can. */
static void retarget_locked(struct task *t, sigmask_t blocked)
{
	struct task *o;

	blocked &= t->tg->sig.pending.mask;
	if (!blocked)
		return;
	TAILQ_FOREACH(o, &t->tg->tasks, tg_link)
		if (o != t && !o->exiting && blocked & ~o->sig.mask)
			task_set_work(o, TASK_WORK_SIGNAL);
}

void signal_set_mask(struct task *t, sigmask_t mask)
{
	mask &= ~KERNEL_ONLY;
	if (mask == t->sig.mask)
		return;
	pthread_mutex_lock(&t->tg->lock);
	retarget_locked(t, mask & ~t->sig.mask);
	t->sig.mask = mask;
	signal_recalc_locked(t);
	pthread_mutex_unlock(&t->tg->lock);
}

bool signal_pending(struct task *t)
{
	return task_has_work(t);
}

void signal_mask_save(struct task *t, sigmask_t mask)
{
	t->sig.saved_mask = t->sig.mask;
	atomic_fetch_or(&t->work, TASK_WORK_SIGMASK);
	signal_set_mask(t, mask);
}

void signal_mask_restore(struct task *t)
{
	if (!(atomic_load(&t->work) & TASK_WORK_SIGMASK))
		return;
	atomic_fetch_and(&t->work, ~TASK_WORK_SIGMASK);
	signal_set_mask(t, t->sig.saved_mask);
}

static void remember_trap(struct task *t, const struct platform_event *ev)
{
	t->sig.trap_nr = ev->trap_nr;
	t->sig.error_code = ev->error_code;
	if (ev->trap_nr == 14)
		t->sig.cr2 = ev->cr2;
}

/* A fault cannot be put off: blocked or ignored, it kills. */
static void unblock_locked(struct task *t, int signo)
{
	struct sighand *sh = t->tg->sig.sighand;
	struct kernel_sigaction *ka = &sh->actions[signo - 1];
	bool blocked = t->sig.mask & SIGMASK(signo);

	pthread_mutex_lock(&sh->lock);
	if (blocked || ka->handler == HANDLER_IGN)
		ka->handler = HANDLER_DFL;
	pthread_mutex_unlock(&sh->lock);
	t->sig.mask &= ~SIGMASK(signo);
}

void signal_force(struct task *t, const siginfo_t *info,
		  const struct platform_event *ev)
{
	struct thread_group *tg = t->tg;

	if (ev)
		remember_trap(t, ev);
	pthread_mutex_lock(&tg->lock);
	unblock_locked(t, info->si_signo);
	if (!(t->sig.pending.mask & SIGMASK(info->si_signo)) &&
	    sigqueue_add(&t->sig.pending, info))
		group_exit_locked(tg, info->si_signo, t);
	signal_recalc_locked(t);
	pthread_mutex_unlock(&tg->lock);
}

/* Take the next signal and its disposition; 0 if there is none. */
static int take_signal(struct task *t, siginfo_t *info,
		       struct kernel_sigaction *ka)
{
	struct thread_group *tg = t->tg;
	int signo;

	pthread_mutex_lock(&tg->lock);
	signo = sigqueue_take(&t->sig.pending, ~t->sig.mask, info);
	if (!signo)
		signo = sigqueue_take(&tg->sig.pending, ~t->sig.mask, info);
	if (signo) {
		*ka = sigaction_of(tg, signo);
		if (ka->flags & SA_RESETHAND && ka->handler > HANDLER_IGN)
			tg->sig.sighand->actions[signo - 1].handler =
				HANDLER_DFL;
		if (SIGMASK(signo) & STOP_SIGNALS)
			tg->sig.stop_dequeued = true;
	}
	signal_recalc_locked(t);
	pthread_mutex_unlock(&tg->lock);
	return signo;
}

/* By the first task to run after SIGCONT, as the sender cannot lock enough. */
static void notify_continued(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	bool notify;

	if (likely(!__atomic_load_n(&tg->sig.continue_notify,
				    __ATOMIC_RELAXED)))
		return;
	pthread_mutex_lock(&k->tasks_lock);
	pthread_mutex_lock(&tg->lock);
	notify = tg->sig.continue_notify;
	tg->sig.continue_notify = false;
	pthread_mutex_unlock(&tg->lock);
	if (notify)
		notify_parent_locked(tg, CLD_CONTINUED, SIGCONT);
	pthread_mutex_unlock(&k->tasks_lock);
}

static void stop_by_default(struct task *t, int signo)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	bool orphaned = false;

	pthread_mutex_lock(&k->tasks_lock);
	/* Nobody could continue it. SIGSTOP works all the same. */
	if (signo != SIGSTOP)
		orphaned = pgrp_is_orphaned_locked(k, tg->pgid, NULL);
	pthread_mutex_lock(&tg->lock);
	if (!orphaned)
		stop_begin_locked(t, signo);
	pthread_mutex_unlock(&tg->lock);
	pthread_mutex_unlock(&k->tasks_lock);
}

static void default_action(struct task *t, int signo)
{
	if (SIGMASK(signo) & DEFAULT_IGNORE)
		return;
	if (SIGMASK(signo) & STOP_SIGNALS)
		stop_by_default(t, signo);
	else
		task_group_exit(t, signo);
}

/* The call is executed once more when the program runs on. */
static void restart_syscall(struct task *t, uint64_t nr)
{
	t->regs->rax = nr;
	t->regs->rip -= 2;
}

static bool interrupted_syscall(struct task *t, long *err)
{
	*err = -(long)t->regs->rax;
	return (int)t->regs->orig_rax >= 0 && *err >= ERESTARTSYS &&
	       *err <= ERESTART_RESTARTBLOCK;
}

static void restart_without_handler(struct task *t)
{
	long err;

	if (!interrupted_syscall(t, &err))
		return;
	if (err == ERESTART_RESTARTBLOCK)
		restart_syscall(t, SYS_restart_syscall);
	else
		restart_syscall(t, t->regs->orig_rax);
}

static void restart_with_handler(struct task *t,
				 const struct kernel_sigaction *ka)
{
	long err;

	t->restart_fn = NULL;
	if (!interrupted_syscall(t, &err))
		return;
	if (err == ERESTARTNOINTR ||
	    (err == ERESTARTSYS && ka->flags & SA_RESTART))
		restart_syscall(t, t->regs->orig_rax);
	else
		t->regs->rax = (uint64_t)-EINTR;
}

static void force_segv(struct task *t, int signo)
{
	siginfo_t info;

	if (signo == SIGSEGV) {
		task_group_exit(t, SIGSEGV);
		return;
	}
	siginfo_user(&info, SIGSEGV, NULL);
	signal_force(t, &info, NULL);
}

static void run_handler(struct task *t, int signo, const siginfo_t *info,
			const struct kernel_sigaction *ka)
{
	bool saved = atomic_load(&t->work) & TASK_WORK_SIGMASK;
	sigmask_t old = saved ? t->sig.saved_mask : t->sig.mask;
	sigmask_t mask = t->sig.mask | ka->mask;

	restart_with_handler(t, ka);
	if (frame_setup(t, ka, info, old)) {
		force_segv(t, signo);
		return;
	}
	atomic_fetch_and(&t->work, ~TASK_WORK_SIGMASK);
	if (!(ka->flags & SA_NODEFER))
		mask |= SIGMASK(signo);
	signal_set_mask(t, mask);
}

void signal_deliver(struct task *t)
{
	struct kernel_sigaction ka;
	siginfo_t info;
	int signo;

	while (!(atomic_load(&t->work) & TASK_WORK_KILL)) {
		notify_continued(t);
		if (atomic_load(&t->work) & TASK_WORK_STOP) {
			stop_wait(t);
			continue;
		}
		signo = take_signal(t, &info, &ka);
		if (!signo) {
			restart_without_handler(t);
			signal_mask_restore(t);
			return;
		}
		if (info.si_code == SI_TIMER)
			posix_timer_delivered(t->tg, &info);
		if (unlikely(t->kernel->strace))
			strace_signal(t, &info);
		if (ka.handler > HANDLER_IGN) {
			run_handler(t, signo, &info, &ka);
			return;
		}
		if (ka.handler == HANDLER_DFL)
			default_action(t, signo);
	}
}

int signal_init_task(struct task *t, struct task *parent, bool share_sighand)
{
	struct group_signals *gs = &t->tg->sig;

	t->sig.altstack.ss_flags = SS_DISABLE;
	if (parent) {
		t->sig.mask = parent->sig.mask;
		t->sig.altstack = parent->sig.altstack;
		/* A mask of sigsuspend() is not the child's. */
		if (atomic_load(&parent->work) & TASK_WORK_SIGMASK)
			t->sig.mask = parent->sig.saved_mask;
		if (t->tg == parent->tg)
			return 0;
	}
	if (share_sighand)
		gs->sighand = sighand_get(parent->tg->sig.sighand);
	else
		gs->sighand = sighand_create(
			parent ? parent->tg->sig.sighand : NULL);
	return gs->sighand ? 0 : -ENOMEM;
}

/* Handlers are gone with the old program; what was ignored stays ignored. */
void signal_exec(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct sighand *own = NULL, *old = NULL;

	if (atomic_load(&tg->sig.sighand->refs) > 1)
		own = sighand_create(tg->sig.sighand);
	pthread_mutex_lock(&tg->lock);
	if (own) {
		old = tg->sig.sighand;
		tg->sig.sighand = own;
	}
	sighand_reset(tg->sig.sighand);
	pthread_mutex_unlock(&tg->lock);
	if (old)
		sighand_put(old);
	memset(&t->sig.altstack, 0, sizeof(t->sig.altstack));
	t->sig.altstack.ss_flags = SS_DISABLE;
	t->restart_fn = NULL;
}

void signal_exit_task(struct task *t)
{
	sigqueue_flush(&t->sig.pending);
}
