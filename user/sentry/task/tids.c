// SPDX-License-Identifier: MIT
/*
 * tids.c - thread ids, and the references that keep tasks alive
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "sentry/task/internal.h"

int tid_table_create(struct kernel *k)
{
	struct tid_table *tt = calloc(1, sizeof(*tt));
	int err;

	if (!tt)
		return -ENOMEM;
	tt->pids = calloc(PID_MAX, sizeof(*tt->pids));
	if (!tt->pids) {
		err = -ENOMEM;
		goto out_table;
	}
	tt->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (tt->event_fd < 0) {
		err = -errno;
		goto out_pids;
	}
	/*
	 * The first process is no init, and a group 1 could not be killed:
	 * kill(-1) means all processes. So 1 stays free.
	 */
	tt->last = 1;
	TAILQ_INIT(&tt->groups);
	TAILQ_INIT(&tt->ttys);
	k->tids = tt;
	return 0;

out_pids:
	free(tt->pids);
out_table:
	free(tt);
	return err;
}

void tid_table_destroy(struct kernel *k)
{
	close(k->tids->event_fd);
	free(k->tids->pids);
	free(k->tids);
	k->tids = NULL;
}

static bool tid_is_free(struct tid_table *tt, pid_t tid)
{
	return !tt->pids[tid].task && !tt->pids[tid].users;
}

pid_t tid_alloc_locked(struct kernel *k)
{
	struct tid_table *tt = k->tids;
	pid_t tid = tt->last;
	int tries;

	for (tries = 0; tries < PID_MAX; tries++) {
		tid = tid + 1 < PID_MAX ? tid + 1 : PID_RESERVED;
		if (!tid_is_free(tt, tid))
			continue;
		tt->last = tid;
		tt->high = MAX(tt->high, tid);
		tt->pids[tid].users++;
		return tid;
	}
	return -EAGAIN;
}

void tid_ref_locked(struct kernel *k, pid_t tid)
{
	k->tids->pids[tid].users++;
}

void tid_unref_locked(struct kernel *k, pid_t tid)
{
	k->tids->pids[tid].users--;
}

void tid_bind_locked(struct kernel *k, pid_t tid, struct task *t)
{
	if (!k->tids->pids[tid].task)
		k->tids->nr_tasks++;
	k->tids->pids[tid].task = t;
}

void tid_unbind_locked(struct kernel *k, pid_t tid)
{
	k->tids->pids[tid].task = NULL;
	k->tids->nr_tasks--;
}

struct task *task_find_locked(struct kernel *k, pid_t tid)
{
	return tid > 0 && tid < PID_MAX ? k->tids->pids[tid].task : NULL;
}

struct task *task_find(struct kernel *k, pid_t tid)
{
	struct task *t;

	pthread_mutex_lock(&k->tasks_lock);
	t = task_find_locked(k, tid);
	if (t)
		task_get(t);
	pthread_mutex_unlock(&k->tasks_lock);
	return t;
}

struct thread_group *thread_group_find_locked(struct kernel *k, pid_t tgid)
{
	struct task *t = task_find_locked(k, tgid);

	return t && t->tg->tgid == tgid ? t->tg : NULL;
}

void task_for_each(struct kernel *k, void (*fn)(struct task *t, void *arg),
		   void *arg)
{
	pid_t tid;

	pthread_mutex_lock(&k->tasks_lock);
	for (tid = 1; tid <= k->tids->high; tid++)
		if (k->tids->pids[tid].task)
			fn(k->tids->pids[tid].task, arg);
	pthread_mutex_unlock(&k->tasks_lock);
}

struct task *task_get(struct task *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void task_put(struct task *t)
{
	if (atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	task_release_resources(t);
	signal_exit_task(t);
	if (t->tg)
		thread_group_put(t->tg);
	free(t->strace_line);
	free(t);
}

struct thread_group *thread_group_get(struct thread_group *tg)
{
	atomic_fetch_add(&tg->refs, 1);
	return tg;
}

void kernel_notify(struct kernel *k)
{
	uint64_t one = 1;

	/* Fails only if the counter is full, that is: notified already. */
	if (write(k->tids->event_fd, &one, sizeof(one)) < 0)
		return;
}
