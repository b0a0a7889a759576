// SPDX-License-Identifier: MIT
/*
 * kill.c - kill and its kin
 */
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"

/* One process or thread; signal 0 only asks. Under tasks_lock. */
static int send_one(struct task *from, struct task *to, const siginfo_t *info,
		    bool group)
{
	if (!may_signal(from, to, info->si_signo))
		return -EPERM;
	if (!info->si_signo)
		return 0;
	return signal_send(to, info, group);
}

/* All processes that @match accepts; one success is a success. */
static int send_many(struct task *t, const siginfo_t *info, pid_t pgid)
{
	struct kernel *k = t->kernel;
	struct thread_group *tg;
	int ret = -ESRCH, err;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link) {
		if (pgid ? tg->pgid != pgid :
			   tg == t->tg || tg == k->init->tg)
			continue;
		err = send_one(t, tg->leader, info, true);
		if (!err || ret == -ESRCH)
			ret = err;
	}
	return ret;
}

static int kill_locked(struct task *t, pid_t pid, const siginfo_t *info)
{
	struct task *to;

	if (pid == -1)
		return send_many(t, info, 0);
	if (pid <= 0)
		return send_many(t, info, pid ? -pid : t->tg->pgid);
	to = task_find_locked(t->kernel, pid);
	return to ? send_one(t, to, info, true) : -ESRCH;
}

long sys_kill(struct task *t, const uint64_t *args)
{
	pid_t pid = (pid_t)args[0];
	int signo = (int)args[1];
	siginfo_t info;
	int err;

	if (signo < 0 || signo > SIGNAL_MAX)
		return -EINVAL;
	if (pid == INT_MIN)
		return -ESRCH;
	siginfo_user(&info, signo, t);
	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = kill_locked(t, pid, &info);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

/* To one thread; @tgid 0: of whatever process. */
static int kill_thread(struct task *t, pid_t tgid, pid_t tid,
		       const siginfo_t *info)
{
	struct task *to;
	int err = -ESRCH;

	if (info->si_signo < 0 || info->si_signo > SIGNAL_MAX || tid <= 0)
		return -EINVAL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	to = task_find_locked(t->kernel, tid);
	if (to && (!tgid || to->tg->tgid == tgid))
		err = send_one(t, to, info, false);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

static siginfo_t thread_siginfo(struct task *t, int signo)
{
	siginfo_t info;

	siginfo_user(&info, signo, t);
	info.si_code = SI_TKILL;
	return info;
}

long sys_tkill(struct task *t, const uint64_t *args)
{
	siginfo_t info = thread_siginfo(t, (int)args[1]);

	return kill_thread(t, 0, (pid_t)args[0], &info);
}

long sys_tgkill(struct task *t, const uint64_t *args)
{
	siginfo_t info = thread_siginfo(t, (int)args[2]);

	if ((pid_t)args[0] <= 0)
		return -EINVAL;
	return kill_thread(t, (pid_t)args[0], (pid_t)args[1], &info);
}

/* A process may pretend to be the kernel, or kill(), only to itself. */
static int get_queued_info(struct task *t, siginfo_t *info, uint64_t addr,
			   int signo, bool self)
{
	if (copy_from_user(t, info, addr, sizeof(*info)))
		return -EFAULT;
	info->si_signo = signo;
	if ((info->si_code >= 0 || info->si_code == SI_TKILL) && !self)
		return -EPERM;
	return 0;
}

long sys_rt_sigqueueinfo(struct task *t, const uint64_t *args)
{
	pid_t pid = (pid_t)args[0];
	int signo = (int)args[1];
	siginfo_t info;
	int err;

	err = get_queued_info(t, &info, args[2], signo, pid == t->tg->tgid);
	if (err)
		return err;
	if (signo < 0 || signo > SIGNAL_MAX || pid <= 0)
		return signo < 0 || signo > SIGNAL_MAX ? -EINVAL : -ESRCH;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = kill_locked(t, pid, &info);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

long sys_rt_tgsigqueueinfo(struct task *t, const uint64_t *args)
{
	pid_t tgid = (pid_t)args[0], tid = (pid_t)args[1];
	siginfo_t info;
	int err;

	if (tgid <= 0)
		return -EINVAL;
	err = get_queued_info(t, &info, args[3], (int)args[2],
			      tid == t->tid);
	return err ? err : kill_thread(t, tgid, tid, &info);
}
