// SPDX-License-Identifier: MIT
/*
 * pidfd.c - descriptors that stand for processes
 *
 * A pidfd holds its process, whose id may be another's later on.
 */
#include "sentry/fs/internal.h"
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"

/* PIDFD_NONBLOCK is O_NONBLOCK. */
#define OPEN_FLAGS O_NONBLOCK

static void pidfd_release(struct file *f)
{
	thread_group_put(f->priv);
}

static short pidfd_poll(struct task *t, struct file *f, struct waiter *w)
{
	struct thread_group *tg = f->priv;

	if (w)
		wait_queue_add(&tg->sig.watchers, w);
	return thread_group_is_dead(tg) ? POLLIN | POLLRDNORM : 0;
}

static void pidfd_poll_done(struct task *t, struct file *f, struct waiter *w)
{
	struct thread_group *tg = f->priv;

	wait_queue_remove(&tg->sig.watchers, w);
}

static int pidfd_fstat(struct task *t, struct file *f, struct stat *st)
{
	anon_stat(st, 0600, 1);
	return 0;
}

static void pidfd_name(struct file *f, char *buf, size_t len)
{
	snprintf(buf, len, "anon_inode:[pidfd]");
}

static const struct file_ops pidfd_ops = {
	.kind = "pidfd",
	.release = pidfd_release,
	.poll = pidfd_poll,
	.poll_done = pidfd_poll_done,
	.fstat = pidfd_fstat,
	.name = pidfd_name,
};

struct thread_group *pidfd_get(struct task *t, int fd, bool *nonblock)
{
	struct file *f = fd_get_io(t, fd);
	struct thread_group *tg = NULL;

	if (f && f->ops == &pidfd_ops) {
		tg = thread_group_get(f->priv);
		if (nonblock)
			*nonblock = file_nonblock(f);
	}
	file_put(f);
	return tg;
}

/* A process by its id, a reference; threads have no descriptors. */
static struct thread_group *find_process(struct task *t, pid_t pid, int *err)
{
	struct thread_group *tg;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	tg = thread_group_find_locked(t->kernel, pid);
	if (tg)
		thread_group_get(tg);
	else
		*err = task_find_locked(t->kernel, pid) ? -ENOENT : -ESRCH;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return tg;
}

long sys_pidfd_open(struct task *t, const uint64_t *args)
{
	int flags = (int)args[1], err = -EINVAL;
	struct thread_group *tg = NULL;
	struct file *f;

	if (!(flags & ~OPEN_FLAGS) && (pid_t)args[0] > 0)
		tg = find_process(t, (pid_t)args[0], &err);
	if (!tg)
		return err;
	f = file_alloc(&pidfd_ops, O_RDWR | flags);
	if (!f) {
		thread_group_put(tg);
		return -ENOMEM;
	}
	f->priv = tg;
	return fd_install(t, f, true);
}

static int import_info(struct task *t, siginfo_t *info, uint64_t addr,
		       int signo, bool self)
{
	if (!addr) {
		siginfo_user(info, signo, t);
		return 0;
	}
	if (copy_from_user(t, info, addr, sizeof(*info)))
		return -EFAULT;
	if (info->si_signo != signo)
		return -EINVAL;
	/* As in rt_sigqueueinfo(2). */
	if ((info->si_code >= 0 || info->si_code == SI_TKILL) && !self)
		return -EPERM;
	return 0;
}

/* Under tasks_lock. */
static int send_locked(struct task *t, struct thread_group *tg,
		       const siginfo_t *info)
{
	/* A process that has been waited for is no more, whoever has its id. */
	if (thread_group_find_locked(t->kernel, tg->tgid) != tg)
		return -ESRCH;
	if (!may_signal(t, tg->leader, info->si_signo))
		return -EPERM;
	return info->si_signo ? signal_send(tg->leader, info, true) : 0;
}

long sys_pidfd_send_signal(struct task *t, const uint64_t *args)
{
	int signo = (int)args[1], err;
	struct thread_group *tg;
	siginfo_t info;

	if (args[3])
		return -EINVAL;
	tg = pidfd_get(t, (int)args[0], NULL);
	if (!tg)
		return -EBADF;
	err = signo < 0 || signo > SIGNAL_MAX ?
		      -EINVAL :
		      import_info(t, &info, args[2], signo, tg == t->tg);
	if (!err) {
		pthread_mutex_lock(&t->kernel->tasks_lock);
		err = send_locked(t, tg, &info);
		pthread_mutex_unlock(&t->kernel->tasks_lock);
	}
	thread_group_put(tg);
	return err;
}
