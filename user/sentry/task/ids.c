// SPDX-License-Identifier: MIT
/*
 * ids.c - who am I: process and thread ids
 */
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

long sys_getpid(struct task *t, const uint64_t *args)
{
	return t->tg->tgid;
}

long sys_gettid(struct task *t, const uint64_t *args)
{
	return t->tid;
}

long sys_getppid(struct task *t, const uint64_t *args)
{
	struct kernel *k = t->kernel;
	pid_t ppid;

	pthread_mutex_lock(&k->tasks_lock);
	ppid = t->tg->parent ? t->tg->parent->tgid : 0;
	pthread_mutex_unlock(&k->tasks_lock);
	return ppid;
}

long sys_set_tid_address(struct task *t, const uint64_t *args)
{
	t->clear_child_tid = args[0];
	return t->tid;
}

long sys_exit(struct task *t, const uint64_t *args)
{
	task_exit(t, (int)(args[0] & 0xff) << 8);
	return 0;
}

long sys_exit_group(struct task *t, const uint64_t *args)
{
	task_group_exit(t, (int)(args[0] & 0xff) << 8);
	return 0;
}
