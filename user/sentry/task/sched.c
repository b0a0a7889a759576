// SPDX-License-Identifier: MIT
/*
 * sched.c - scheduling: affinity, priority, policy
 *
 * Applied to the host thread of a task, which is what the sentry has; on a
 * platform that runs the program on threads of its own those do not follow.
 */
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#define NICE_MIN (-20)
#define NICE_MAX 19

/* The task with this id, 0 for the caller, with a reference; or NULL. */
static struct task *find(struct task *t, uint64_t pid)
{
	return (pid_t)pid ? task_find(t->kernel, (pid_t)pid) : task_get(t);
}

long sys_sched_yield(struct task *t, const uint64_t *args)
{
	sched_yield();
	return 0;
}

void sched_init(struct kernel *k)
{
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(k->cpus), &k->cpus);

	k->cpus_size = n > 0 ? (size_t)n : sizeof(long);
	k->init->cpus = k->cpus;
}

/* Platforms bind threads to CPUs at times, and a new thread inherits that. */
void sched_start_thread(const cpu_set_t *cpus)
{
	sched_setaffinity(0, sizeof(*cpus), cpus);
}

/*
 * Where a task may run is what was asked for, not what the host says of its thread:
 * see sched_start_thread().
 */
long sys_sched_getaffinity(struct task *t, const uint64_t *args)
{
	size_t size = t->kernel->cpus_size;
	struct task *o;
	cpu_set_t cpus;

	if (args[1] < size || args[1] & (sizeof(long) - 1))
		return -EINVAL;
	o = find(t, args[0]);
	if (!o)
		return -ESRCH;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	cpus = o->cpus;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(o);
	return copy_to_user(t, args[2], &cpus, size) ? -EFAULT : (long)size;
}

/* Under tasks_lock, which keeps the thread's id its own. */
static long set_cpus_locked(struct task *o, const cpu_set_t *cpus)
{
	pid_t host_tid = __atomic_load_n(&o->host_tid, __ATOMIC_RELAXED);

	if (o->exiting)
		return -ESRCH;
	o->cpus = *cpus;
	/* A thread that has no id yet looks at its task when it starts. */
	if (host_tid && sched_setaffinity(host_tid, sizeof(*cpus), cpus))
		return -errno;
	return 0;
}

long sys_sched_setaffinity(struct task *t, const uint64_t *args)
{
	struct kernel *k = t->kernel;
	struct task *o;
	cpu_set_t cpus;
	long ret;

	CPU_ZERO(&cpus);
	if (copy_from_user(t, &cpus, args[2], MIN(args[1], sizeof(cpus))))
		return -EFAULT;
	CPU_AND(&cpus, &cpus, &k->cpus);
	if (!CPU_COUNT(&cpus))
		return -EINVAL;
	o = find(t, args[0]);
	if (!o)
		return -ESRCH;
	pthread_mutex_lock(&k->tasks_lock);
	ret = set_cpus_locked(o, &cpus);
	pthread_mutex_unlock(&k->tasks_lock);
	task_put(o);
	return ret;
}

static long for_existing(struct task *t, uint64_t pid, long value)
{
	struct task *o;

	if ((pid_t)pid < 0)
		return -EINVAL;
	o = find(t, pid);
	if (!o)
		return -ESRCH;
	task_put(o);
	return value;
}

long sys_sched_getscheduler(struct task *t, const uint64_t *args)
{
	return for_existing(t, args[0], SCHED_OTHER);
}

long sys_sched_getparam(struct task *t, const uint64_t *args)
{
	long err = for_existing(t, args[0], 0);

	return err ? err : put_user_u32(t, args[1], 0);
}

static int check_param(struct task *t, uint64_t addr, int policy)
{
	uint32_t priority;

	if (!addr)
		return -EINVAL;
	if (get_user_u32(t, &priority, addr))
		return -EFAULT;
	switch (policy) {
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return priority ? -EINVAL : 0;
	case SCHED_FIFO:
	case SCHED_RR:
		return priority < 1 || priority > 99 ? -EINVAL : -EPERM;
	default:
		return -EINVAL;
	}
}

long sys_sched_setscheduler(struct task *t, const uint64_t *args)
{
	int policy = (int)args[1] & ~SCHED_RESET_ON_FORK;
	int err = check_param(t, args[2], policy);

	return err ? err : for_existing(t, args[0], 0);
}

long sys_sched_setparam(struct task *t, const uint64_t *args)
{
	int err = check_param(t, args[1], SCHED_OTHER);

	return err ? err : for_existing(t, args[0], 0);
}

long sys_sched_get_priority_max(struct task *t, const uint64_t *args)
{
	int ret = sched_get_priority_max((int)args[0]);

	return ret < 0 ? -errno : ret;
}

long sys_sched_get_priority_min(struct task *t, const uint64_t *args)
{
	int ret = sched_get_priority_min((int)args[0]);

	return ret < 0 ? -errno : ret;
}

long sys_sched_rr_get_interval(struct task *t, const uint64_t *args)
{
	struct timespec ts = { 0 };
	long err = for_existing(t, args[0], 0);

	return err ? err : copy_to_user(t, args[1], &ts, sizeof(ts));
}

long sys_getcpu(struct task *t, const uint64_t *args)
{
	unsigned int cpu = 0, node = 0;

	if (getcpu(&cpu, &node))
		return -errno;
	if (args[0] && put_user_u32(t, args[0], cpu))
		return -EFAULT;
	if (args[1] && put_user_u32(t, args[1], node))
		return -EFAULT;
	return 0;
}

bool priority_match(struct task *t, struct thread_group *tg, int which,
			   id_t who)
{
	switch (which) {
	case PRIO_PROCESS:
		return who ? tg->tgid == (pid_t)who : tg == t->tg;
	case PRIO_PGRP:
		return tg->pgid == (who ? (pid_t)who : t->tg->pgid);
	default:
		return tg->leader->cred.uid == (who ? who : t->cred.uid);
	}
}

long sys_getpriority(struct task *t, const uint64_t *args)
{
	int which = (int)args[0];
	struct thread_group *tg;
	long best = -ESRCH;

	if (which > PRIO_USER || which < PRIO_PROCESS)
		return -EINVAL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	TAILQ_FOREACH(tg, &t->kernel->tids->groups, all_link)
		if (priority_match(t, tg, which, (id_t)args[1]))
			best = MAX(best, 20 - tg->nice);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return best;
}

static int set_nice_locked(struct thread_group *tg, int nice)
{
	struct task *o;

	if (nice < tg->nice &&
	    20 - nice > (int)tg->rlimits[RLIMIT_NICE].rlim_cur)
		return -EACCES;
	tg->nice = nice;
	TAILQ_FOREACH(o, &tg->tasks, tg_link)
		if (!o->exiting && o->host_tid)
			setpriority(PRIO_PROCESS, (id_t)o->host_tid, nice);
	return 0;
}

long sys_setpriority(struct task *t, const uint64_t *args)
{
	int which = (int)args[0], nice = (int)args[2];
	struct thread_group *tg;
	long ret = -ESRCH;

	if (which > PRIO_USER || which < PRIO_PROCESS)
		return -EINVAL;
	nice = MAX(NICE_MIN, MIN(nice, NICE_MAX));
	pthread_mutex_lock(&t->kernel->tasks_lock);
	TAILQ_FOREACH(tg, &t->kernel->tids->groups, all_link)
		if (priority_match(t, tg, which, (id_t)args[1]))
			ret = set_nice_locked(tg, nice);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return ret;
}
