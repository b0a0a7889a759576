// SPDX-License-Identifier: MIT
/*
 * exit.c - the end of tasks and thread groups, and exec's part of it
 */
#include <sys/wait.h>

#include "sentry/task/internal.h"

static void set_exit_work(struct task *t, struct task *self)
{
	if (t == self)
		atomic_fetch_or(&t->work, TASK_WORK_KILL);
	else
		task_set_work(t, TASK_WORK_KILL);
}

void group_exit_locked(struct thread_group *tg, int status, struct task *self)
{
	struct task *t;

	if (tg->sig.exiting)
		return;
	tg->sig.exiting = true;
	tg->sig.exit_status = status;
	tg->sig.stopped = false;
	TAILQ_FOREACH(t, &tg->tasks, tg_link)
		if (!t->exiting)
			set_exit_work(t, self);
}

void task_exit(struct task *t, int status)
{
	t->exit_status = status;
	atomic_fetch_or(&t->work, TASK_WORK_KILL);
}

void task_group_exit(struct task *t, int status)
{
	pthread_mutex_lock(&t->tg->lock);
	group_exit_locked(t->tg, status, t);
	pthread_mutex_unlock(&t->tg->lock);
}

static siginfo_t child_siginfo(struct thread_group *tg, int code, int status)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGCHLD;
	info.si_code = code;
	info.si_pid = tg->tgid;
	info.si_uid = tg->leader->cred.uid;
	info.si_status = status;
	info.si_utime = tg->rusage.ru_utime.tv_sec * 100 +
			tg->rusage.ru_utime.tv_usec / 10000;
	info.si_stime = tg->rusage.ru_stime.tv_sec * 100 +
			tg->rusage.ru_stime.tv_usec / 10000;
	return info;
}

/* Stops and continues; unless the parent asked not to be told. */
void notify_parent_locked(struct thread_group *tg, int code, int status)
{
	siginfo_t info = child_siginfo(tg, code, status);
	struct thread_group *parent = tg->parent;
	struct kernel_sigaction ka;

	/* The host process stops once init and the whole foreground have. */
	if (tg == tg->kernel->init->tg || code == CLD_STOPPED)
		kernel_notify(tg->kernel);
	if (!parent)
		return;
	pthread_mutex_lock(&parent->lock);
	ka = sigaction_of(parent, SIGCHLD);
	pthread_mutex_unlock(&parent->lock);
	if (!(ka.flags & SA_NOCLDSTOP))
		signal_send(parent->leader, &info, true);
	wait_queue_wake_all(&parent->child_wait);
}

/* Tell the parent of the end; is nobody going to wait for it? */
static bool notify_parent_exit_locked(struct thread_group *tg)
{
	int sig = WTERMSIG(tg->status);
	siginfo_t info = child_siginfo(tg, sig ? CLD_KILLED : CLD_EXITED,
				       sig ? sig : WEXITSTATUS(tg->status));
	struct thread_group *parent = tg->parent;
	struct kernel_sigaction ka;
	bool ignored = false, reap = false;

	info.si_signo = tg->exit_signal;
	if (tg->exit_signal == SIGCHLD) {
		pthread_mutex_lock(&parent->lock);
		ka = sigaction_of(parent, SIGCHLD);
		pthread_mutex_unlock(&parent->lock);
		ignored = ka.handler == (uint64_t)(uintptr_t)SIG_IGN;
		reap = ignored || ka.flags & SA_NOCLDWAIT;
	}
	/* clone() takes numbers that are no signals; Linux sends none then. */
	if (tg->exit_signal && tg->exit_signal <= SIGNAL_MAX && !ignored)
		signal_send(parent->leader, &info, true);
	wait_queue_wake_all(&parent->child_wait);
	return reap;
}

void thread_group_reap_locked(struct thread_group *tg)
{
	struct kernel *k = tg->kernel;
	struct task *leader = tg->leader;

	if (tg->parent)
		TAILQ_REMOVE(&tg->parent->children, tg, sibling);
	TAILQ_REMOVE(&k->tids->groups, tg, all_link);
	tid_unbind_locked(k, tg->tgid);
	tid_unref_locked(k, tg->tgid);
	tid_unref_locked(k, tg->pgid);
	tid_unref_locked(k, tg->sid);
	pthread_mutex_lock(&tg->lock);
	TAILQ_REMOVE(&tg->tasks, leader, tg_link);
	pthread_mutex_unlock(&tg->lock);
	task_put(leader);
	thread_group_put(tg);
}

/* The nearest living ancestor that takes orphans, or init. */
static struct thread_group *find_reaper_locked(struct thread_group *tg)
{
	struct thread_group *p;

	for (p = tg->parent; p; p = p->parent)
		if (p->child_subreaper && !p->zombie)
			return p;
	return tg->kernel->init->tg;
}

static void reparent_child_locked(struct thread_group *child,
				  struct thread_group *to)
{
	struct thread_group *old = child->parent;
	siginfo_t info;

	TAILQ_REMOVE(&old->children, child, sibling);
	child->parent = to;
	TAILQ_INSERT_TAIL(&to->children, child, sibling);
	if (child->pdeath_signal) {
		siginfo_user(&info, child->pdeath_signal, old->leader);
		signal_send(child->leader, &info, true);
	}
	/* A new parent gets SIGCHLD, whatever the old one had asked for. */
	if (child->exit_signal)
		child->exit_signal = SIGCHLD;
	if (child->zombie && notify_parent_exit_locked(child))
		thread_group_reap_locked(child);
}

static void reparent_children_locked(struct thread_group *tg)
{
	struct thread_group *to = find_reaper_locked(tg);
	struct thread_group *child;

	/* The end of init ends everything: task_wait_all() sees to it. */
	if (to == tg)
		return;
	while ((child = TAILQ_FIRST(&tg->children)))
		reparent_child_locked(child, to);
}

/* The last task of a group is gone. */
static void group_dead_locked(struct thread_group *tg)
{
	struct kernel *k = tg->kernel;

	tg->status = tg->sig.exiting ? tg->sig.exit_status :
				       tg->leader->exit_status;
	process_timers_stop(tg);
	if (tg->sid == tg->tgid)
		tty_session_exit_locked(tg);
	pgrp_exit_locked(tg);
	reparent_children_locked(tg);
	tg->zombie = true;
	wait_queue_wake_all(&tg->sig.watchers);
	if (tg == k->init->tg)
		kernel_notify(k);
	else if (notify_parent_exit_locked(tg))
		thread_group_reap_locked(tg);
}

/*
 * The others take over what this task was woken for. Was it the last one that
 * a stop of the group waited for?
 */
static bool leave_signals_locked(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct task *o;

	t->exiting = true;
	TAILQ_FOREACH(o, &tg->tasks, tg_link)
		if (!o->exiting && tg->sig.pending.mask & ~o->sig.mask)
			task_set_work(o, TASK_WORK_SIGNAL);
	return signal_stop_leave_locked(t);
}

/* No kick reaches the task from here on, so its context may go. */
static void exit_begin(struct task *t)
{
	struct thread_group *tg = t->tg;
	bool stopped;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	pthread_mutex_lock(&tg->lock);
	stopped = leave_signals_locked(t);
	pthread_mutex_unlock(&tg->lock);
	if (stopped)
		notify_parent_locked(tg, CLD_STOPPED, tg->sig.stop_signal);
	task_account_exit(t);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
}

static void exit_finish(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	bool in_table = tg->leader == t;
	bool dead;

	pthread_mutex_lock(&k->tasks_lock);
	pthread_mutex_lock(&tg->lock);
	in_table = tg->leader == t;
	dead = --tg->nr_tasks == 0;
	if (!in_table) {
		TAILQ_REMOVE(&tg->tasks, t, tg_link);
		tid_unbind_locked(k, t->tid);
		tid_unref_locked(k, t->tid);
	}
	if (tg->exec_task && tg->nr_tasks == 1)
		task_wake(tg->exec_task);
	pthread_mutex_unlock(&tg->lock);
	if (dead)
		group_dead_locked(tg);
	if (!in_table)
		task_put(t);
	pthread_mutex_unlock(&k->tasks_lock);
}

/* What other processes that share memory wait for. */
static void exit_user_memory(struct task *t)
{
	if (!t->mm)
		return;
	futex_exit_robust_list(t);
	/* Alone, it would only break a page's copy-on-write for nobody. */
	if (t->clear_child_tid && mm_is_shared(t->mm)) {
		put_user_u32(t, t->clear_child_tid, 0);
		futex_wake_addr(t, t->clear_child_tid, true, 1);
	}
}

static void count_syscalls(struct task *t)
{
	struct kernel *k = t->kernel;
	size_t i;

	for (i = 0; i < SYSCALL_TABLE_SIZE; i++)
		if (t->syscall_count[i])
			atomic_fetch_add(&k->syscall_count[i],
					 t->syscall_count[i]);
	atomic_fetch_add(&k->fault_count, t->fault_count);
}

/*
 * The last thing a task's host thread does; the caller has a reference. Nobody waits
 * for the memory, which takes longer than all else.
 */
void task_do_exit(struct task *t)
{
	struct mm *mm;

	if (unlikely(t->kernel->strace))
		strace_task_exit(t);
	exit_user_memory(t);
	count_syscalls(t);
	exit_begin(t);
	mm = task_release_but_mm(t);
	exit_finish(t);
	if (mm)
		mm_put(mm);
}

void task_mm_released(struct task *t)
{
	struct task *parent = t->vfork_parent;

	if (!parent)
		return;
	t->vfork_parent = NULL;
	atomic_store(&parent->vfork_done, true);
	task_wake(parent);
	task_put(parent);
}

/* execve: the caller becomes the leader, with the leader's id. */
static void become_leader_locked(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	struct task *old = tg->leader;

	TAILQ_REMOVE(&tg->tasks, old, tg_link);
	tid_unbind_locked(k, t->tid);
	tid_unref_locked(k, t->tid);
	/* The table's reference to the old leader goes, its id stays. */
	t->tid = tg->tgid;
	tid_bind_locked(k, t->tid, t);
	tg->leader = t;
	if (k->init == old) {
		k->init = task_get(t);
		task_put(old);
	}
	task_put(old);
}

static int exec_alone_begin(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct task *o;
	int err = 0;

	pthread_mutex_lock(&tg->lock);
	if (tg->sig.exiting || tg->exec_task) {
		err = -EAGAIN;
	} else {
		tg->exec_task = t;
		TAILQ_FOREACH(o, &tg->tasks, tg_link)
			if (o != t && !o->exiting)
				task_set_work(o, TASK_WORK_KILL);
	}
	pthread_mutex_unlock(&tg->lock);
	return err;
}

static bool is_alone(struct task *t)
{
	bool alone;

	pthread_mutex_lock(&t->tg->lock);
	alone = t->tg->nr_tasks == 1;
	pthread_mutex_unlock(&t->tg->lock);
	return alone;
}

int task_exec_alone(struct task *t)
{
	struct thread_group *tg = t->tg;
	int err;

	if (is_alone(t) && tg->leader == t)
		return 0;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = exec_alone_begin(t);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	if (err)
		return err;
	while (!err && !is_alone(t))
		err = task_block_killable(t, FOREVER);
	pthread_mutex_lock(&t->kernel->tasks_lock);
	pthread_mutex_lock(&tg->lock);
	tg->exec_task = NULL;
	if (!err && tg->leader != t)
		become_leader_locked(t);
	pthread_mutex_unlock(&tg->lock);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}
