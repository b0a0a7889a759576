// SPDX-License-Identifier: MIT
/*
 * pgrp.c - process groups and sessions
 */
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

/* Somebody outside the group, but of its session, could continue it. */
static bool has_guardian_locked(struct kernel *k, struct thread_group *tg)
{
	if (tg == k->init->tg)
		return !k->tids->init_orphaned;
	return tg->parent->pgid != tg->pgid && tg->parent->sid == tg->sid &&
	       !tg->parent->zombie;
}

bool pgrp_is_orphaned_locked(struct kernel *k, pid_t pgid,
			     struct thread_group *ignore)
{
	struct thread_group *tg;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->pgid == pgid && tg != ignore && !tg->zombie &&
		    has_guardian_locked(k, tg))
			return false;
	return true;
}

static bool has_stopped_locked(struct kernel *k, pid_t pgid)
{
	struct thread_group *tg;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->pgid == pgid &&
		    __atomic_load_n(&tg->sig.stopped, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void hang_up_stopped_locked(struct kernel *k, pid_t pgid)
{
	siginfo_t info;

	if (!has_stopped_locked(k, pgid))
		return;
	siginfo_user(&info, SIGHUP, NULL);
	signal_send_pgrp_locked(k, pgid, &info);
	siginfo_user(&info, SIGCONT, NULL);
	signal_send_pgrp_locked(k, pgid, &info);
}

/*
 * Before the children get a new parent: did this process alone keep its own
 * group, or the group of a child, from being an orphan?
 */
void pgrp_exit_locked(struct thread_group *tg)
{
	struct kernel *k = tg->kernel;
	struct thread_group *child;

	if (tg == k->init->tg)
		return;
	if (has_guardian_locked(k, tg) &&
	    pgrp_is_orphaned_locked(k, tg->pgid, tg))
		hang_up_stopped_locked(k, tg->pgid);
	/* From now on it guards nobody. */
	tg->zombie = true;
	TAILQ_FOREACH(child, &tg->children, sibling)
		if (child->pgid != tg->pgid && child->sid == tg->sid &&
		    pgrp_is_orphaned_locked(k, child->pgid, NULL))
			hang_up_stopped_locked(k, child->pgid);
}

void set_pgid_locked(struct thread_group *tg, pid_t pgid)
{
	struct kernel *k = tg->kernel;

	tid_ref_locked(k, pgid);
	tid_unref_locked(k, tg->pgid);
	tg->pgid = pgid;
}

static bool pgrp_in_session_locked(struct kernel *k, pid_t pgid, pid_t sid)
{
	struct thread_group *tg;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->pgid == pgid && tg->sid == sid)
			return true;
	return false;
}

static int setpgid_locked(struct task *t, pid_t pid, pid_t pgid)
{
	struct kernel *k = t->kernel;
	struct thread_group *tg = thread_group_find_locked(k, pid);

	if (!tg || (tg != t->tg && tg->parent != t->tg))
		return -ESRCH;
	if (tg != t->tg) {
		if (tg->sid != t->tg->sid)
			return -EPERM;
		if (tg->did_exec)
			return -EACCES;
	}
	if (tg->sid == tg->tgid)
		return -EPERM;
	if (pgid != pid && !pgrp_in_session_locked(k, pgid, t->tg->sid))
		return -EPERM;
	set_pgid_locked(tg, pgid);
	return 0;
}

long sys_setpgid(struct task *t, const uint64_t *args)
{
	pid_t pid = (pid_t)args[0] ? (pid_t)args[0] : t->tg->tgid;
	pid_t pgid = (pid_t)args[1] ? (pid_t)args[1] : pid;
	int err;

	if (pgid < 0)
		return -EINVAL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = setpgid_locked(t, pid, pgid);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

static long get_ids(struct task *t, pid_t pid, bool session)
{
	struct task *o = t;
	long ret = -ESRCH;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	if (pid)
		o = task_find_locked(t->kernel, pid);
	if (o)
		ret = session ? o->tg->sid : o->tg->pgid;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return ret;
}

long sys_getpgid(struct task *t, const uint64_t *args)
{
	return get_ids(t, (pid_t)args[0], false);
}

long sys_getsid(struct task *t, const uint64_t *args)
{
	return get_ids(t, (pid_t)args[0], true);
}

long sys_getpgrp(struct task *t, const uint64_t *args)
{
	return get_ids(t, 0, false);
}

static bool pgrp_exists_locked(struct kernel *k, pid_t pgid)
{
	struct thread_group *tg;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->pgid == pgid)
			return true;
	return false;
}

long sys_setsid(struct task *t, const uint64_t *args)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	long ret = -EPERM;

	pthread_mutex_lock(&k->tasks_lock);
	if (!pgrp_exists_locked(k, tg->tgid)) {
		set_pgid_locked(tg, tg->tgid);
		tid_ref_locked(k, tg->tgid);
		tid_unref_locked(k, tg->sid);
		tg->sid = tg->tgid;
		tg->tty = NULL;
		ret = tg->sid;
	}
	pthread_mutex_unlock(&k->tasks_lock);
	return ret;
}
