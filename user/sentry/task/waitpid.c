// SPDX-License-Identifier: MIT
/*
 * waitpid.c - wait4 and waitid
 */
#include <sys/wait.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#ifndef __WNOTHREAD
#define __WNOTHREAD 0x20000000
#endif
#define WAIT4_OPTIONS \
	(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE)
#define WAITID_OPTIONS                                                      \
	(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | \
	 __WALL | __WCLONE)

/* Which children, and what happened to the one that was found. */
struct wait_request {
	idtype_t type;
	pid_t id;
	struct thread_group *tg; /* P_PIDFD: a reference */
	bool nonblock; /* the pidfd is */
	int options;

	pid_t pid;
	uid_t uid;
	int code; /* CLD_* */
	int status; /* exit code or signal number */
	int wstatus; /* wait(2) form */
	struct rusage ru;
};

static bool child_matches(const struct wait_request *rq,
			  const struct thread_group *child)
{
	bool clone_child = child->exit_signal != SIGCHLD;

	if (!(rq->options & __WALL) &&
	    clone_child != !!(rq->options & __WCLONE))
		return false;
	switch (rq->type) {
	case P_PID:
		return child->tgid == rq->id;
	case P_PGID:
		return child->pgid == rq->id;
	case P_PIDFD:
		return child == rq->tg;
	default:
		return true;
	}
}

static void describe(struct wait_request *rq, struct thread_group *child,
		     int code, int status, int wstatus)
{
	rq->pid = child->tgid;
	rq->uid = child->leader->cred.uid;
	rq->code = code;
	rq->status = status;
	rq->wstatus = wstatus;
	thread_group_rusage(child, &rq->ru);
}

static bool take_zombie_locked(struct wait_request *rq,
			       struct thread_group *child)
{
	int sig;

	if (!child->zombie || !(rq->options & WEXITED))
		return false;
	sig = WTERMSIG(child->status);
	describe(rq, child, sig ? CLD_KILLED : CLD_EXITED,
		 sig ? sig : WEXITSTATUS(child->status), child->status);
	if (rq->options & WNOWAIT)
		return true;
	rusage_add(&child->parent->child_rusage, &rq->ru);
	rusage_add(&child->parent->child_rusage, &child->child_rusage);
	thread_group_reap_locked(child);
	return true;
}

static bool take_stop_locked(struct wait_request *rq,
			     struct thread_group *child)
{
	struct group_signals *s = &child->sig;
	bool keep = rq->options & WNOWAIT;
	bool found = true;

	if (child->zombie)
		return false;
	pthread_mutex_lock(&child->lock);
	if (rq->options & WSTOPPED && s->stopped && !s->stop_count &&
	    !s->stop_reported) {
		s->stop_reported = !keep;
		describe(rq, child, CLD_STOPPED, s->stop_signal,
			 s->stop_signal << 8 | 0x7f);
	} else if (rq->options & WCONTINUED && s->continued) {
		s->continued = keep;
		describe(rq, child, CLD_CONTINUED, SIGCONT, 0xffff);
	} else {
		found = false;
	}
	pthread_mutex_unlock(&child->lock);
	return found;
}

/* 1: found; 0: there are children, none of them ready; -ECHILD. */
static int scan_children(struct task *t, struct wait_request *rq)
{
	struct thread_group *child;
	int ret = -ECHILD;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	TAILQ_FOREACH(child, &t->tg->children, sibling) {
		if (!child_matches(rq, child))
			continue;
		ret = 0;
		if (take_zombie_locked(rq, child) ||
		    take_stop_locked(rq, child)) {
			ret = 1;
			break;
		}
	}
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return ret;
}

/* As scan_children(), but waits unless WNOHANG. */
static int do_wait(struct task *t, struct wait_request *rq)
{
	struct waiter w;
	int ret, err = 0;

	ret = scan_children(t, rq);
	if (ret || rq->options & WNOHANG)
		return ret;
	waiter_init(&w, t);
	wait_queue_add(&t->tg->child_wait, &w);
	while (!(ret = scan_children(t, rq))) {
		err = task_block(t, FOREVER);
		if (err) {
			ret = err;
			break;
		}
	}
	wait_queue_remove(&t->tg->child_wait, &w);
	return ret;
}

static void wait4_which(struct task *t, struct wait_request *rq, pid_t pid)
{
	if (pid == -1) {
		rq->type = P_ALL;
	} else if (pid < 0) {
		rq->type = P_PGID;
		rq->id = -pid;
	} else if (pid == 0) {
		rq->type = P_PGID;
		rq->id = t->tg->pgid;
	} else {
		rq->type = P_PID;
		rq->id = pid;
	}
}

long sys_wait4(struct task *t, const uint64_t *args)
{
	struct wait_request rq = { .options = (int)args[2] };
	pid_t pid = (pid_t)args[0];
	int ret;

	if (rq.options & ~WAIT4_OPTIONS)
		return -EINVAL;
	if (pid == INT_MIN)
		return -ESRCH;
	rq.options |= WEXITED;
	wait4_which(t, &rq, pid);
	ret = do_wait(t, &rq);
	if (ret <= 0)
		return ret;
	if (args[1] && put_user_u32(t, args[1], (uint32_t)rq.wstatus))
		return -EFAULT;
	if (args[3] && copy_to_user(t, args[3], &rq.ru, sizeof(rq.ru)))
		return -EFAULT;
	return rq.pid;
}

static int waitid_which(struct task *t, struct wait_request *rq, int type)
{
	switch (type) {
	case P_ALL:
		break;
	case P_PID:
		if (rq->id <= 0)
			return -EINVAL;
		break;
	case P_PGID:
		if (rq->id < 0)
			return -EINVAL;
		if (!rq->id)
			rq->id = t->tg->pgid;
		break;
	case P_PIDFD:
		rq->tg = pidfd_get(t, rq->id, &rq->nonblock);
		if (!rq->tg)
			return rq->id < 0 ? -EINVAL : -EBADF;
		break;
	default:
		return -EINVAL;
	}
	rq->type = type;
	return 0;
}

static int put_waitid_info(struct task *t, uint64_t addr,
			   const struct wait_request *rq, bool found)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	if (found) {
		info.si_signo = SIGCHLD;
		info.si_code = rq->code;
		info.si_pid = rq->pid;
		info.si_uid = rq->uid;
		info.si_status = rq->status;
	}
	return copy_to_user(t, addr, &info, sizeof(info));
}

long sys_waitid(struct task *t, const uint64_t *args)
{
	struct wait_request rq = {
		.id = (pid_t)args[1],
		.options = (int)args[3],
	};
	bool nohang;
	int ret;

	if (rq.options & ~WAITID_OPTIONS ||
	    !(rq.options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	ret = waitid_which(t, &rq, (int)args[0]);
	if (ret)
		return ret;
	nohang = rq.options & WNOHANG;
	if (rq.nonblock)
		rq.options |= WNOHANG;
	ret = do_wait(t, &rq);
	if (rq.tg)
		thread_group_put(rq.tg);
	if (!ret && rq.nonblock && !nohang)
		ret = -EAGAIN;
	if (ret < 0)
		return ret;
	if (args[2] && put_waitid_info(t, args[2], &rq, ret > 0))
		return -EFAULT;
	if (ret > 0 && args[4] &&
	    copy_to_user(t, args[4], &rq.ru, sizeof(rq.ru)))
		return -EFAULT;
	return 0;
}
