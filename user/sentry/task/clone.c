// SPDX-License-Identifier: MIT
/*
 * clone.c - clone, clone3, fork and vfork
 */
#include <linux/sched.h>
#include <sched.h>

#include "sentry/ipc.h"
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#define CLONE_NEWNS_ALL                                                    \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |     \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

struct clone_request {
	uint64_t flags;
	uint64_t stack; /* new stack pointer, 0: the caller's */
	uint64_t parent_tid;
	uint64_t child_tid;
	uint64_t tls;
	int exit_signal;
};

/* The lock: an execve() of init's may be making another task its leader. */
static bool is_init(struct task *t)
{
	struct kernel *k = t->kernel;
	bool init;

	pthread_mutex_lock(&k->tasks_lock);
	init = t->tg == k->init->tg;
	pthread_mutex_unlock(&k->tasks_lock);
	return init;
}

static int check_flags(struct task *t, uint64_t flags)
{
	if ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM))
		return -EINVAL;
	if ((flags & CLONE_CLEAR_SIGHAND) && (flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & CLONE_FS) && (flags & (CLONE_NEWNS | CLONE_NEWUSER)))
		return -EINVAL;
	if ((flags & CLONE_THREAD) && (flags & (CLONE_NEWUSER | CLONE_NEWPID)))
		return -EINVAL;
	if ((flags & CLONE_PARENT) && is_init(t))
		return -EINVAL;
	/* There are no descriptors for processes. */
	if (flags & CLONE_PIDFD)
		return -EINVAL;
	/* The sandbox has one namespace of each kind, and no CAP_SYS_ADMIN. */
	if (flags & CLONE_NEWNS_ALL)
		return -EPERM;
	return 0;
}

/* The child's registers; the FPU is copied too. */
static int copy_state(struct task *child, struct task *t,
		      const struct clone_request *rq)
{
	struct arch_state *from = &t->ctx->state;
	struct arch_state *to = &child->ctx->state;
	int err;

	err = context_pull_full_state(t->ctx);
	if (err)
		return err;
	*to->regs = *from->regs;
	memcpy(to->xstate, from->xstate,
	       MIN(to->xstate_size, from->xstate_size));
	to->regs->rax = 0;
	to->regs->orig_rax = -1ull;
	if (rq->stack)
		to->regs->rsp = rq->stack;
	if (rq->flags & CLONE_SETTLS)
		to->regs->fs_base = rq->tls;
	context_full_state_changed(child->ctx);
	return 0;
}

static int copy_mm(struct task *child, struct task *t, uint64_t flags)
{
	struct mm *mm;
	int err;

	if (flags & CLONE_VM) {
		mm = mm_get(t->mm);
	} else {
		err = mm_fork(t, &mm);
		if (err)
			return err;
	}
	mm_add_task(mm, t);
	child->mm = mm;
	return 0;
}

static int copy_resources(struct task *child, struct task *t, uint64_t flags)
{
	int err;

	child->files = flags & CLONE_FILES ? fd_table_get(t->files) :
					     fd_table_fork(t->files);
	if (!child->files)
		return -ENOMEM;
	child->fs = flags & CLONE_FS ? fs_context_get(t->fs) :
				       fs_context_fork(t->fs);
	if (!child->fs)
		return -ENOMEM;
	err = sem_clone(child, t, flags);
	return err ? err : copy_mm(child, t, flags);
}

static int copy_signals(struct task *child, struct task *t, uint64_t flags)
{
	int err;

	err = signal_init_task(child, t, flags & CLONE_SIGHAND);
	if (err)
		return err;
	/* A thread has a stack of its own; a vfork() child borrows all of it. */
	if ((flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM) {
		memset(&child->sig.altstack, 0, sizeof(child->sig.altstack));
		child->sig.altstack.ss_flags = SS_DISABLE;
	}
	if (flags & CLONE_CLEAR_SIGHAND)
		sighand_reset(child->tg->sig.sighand);
	return 0;
}

/* A new process; its place in the tree comes with publish_group_locked(). */
static struct thread_group *copy_group(struct task *t,
				       const struct clone_request *rq,
				       int *err)
{
	struct thread_group *from = t->tg;
	struct thread_group *tg = thread_group_alloc(t->kernel, err);

	if (!tg)
		return NULL;
	pthread_mutex_lock(&from->lock);
	memcpy(tg->rlimits, from->rlimits, sizeof(tg->rlimits));
	pthread_mutex_unlock(&from->lock);
	tg->nice = from->nice;
	tg->ioprio = from->ioprio;
	tg->dumpable = from->dumpable;
	tg->no_new_privs = from->no_new_privs;
	tg->exit_signal = rq->flags & CLONE_PARENT ? from->exit_signal :
						     rq->exit_signal;
	/* Another thread's execve() may be replacing it. */
	pthread_mutex_lock(&t->kernel->tasks_lock);
	if (from->exe)
		tg->exe = file_get(from->exe);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return tg;
}

static void copy_own(struct task *child, struct task *t,
		     const struct clone_request *rq)
{
	child->cred = t->cred;
	child->personality = t->personality;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	child->cpus = t->cpus;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	memcpy(child->comm, t->comm, sizeof(child->comm));
	if (rq->flags & CLONE_CHILD_SETTID)
		child->set_child_tid = rq->child_tid;
	if (rq->flags & CLONE_CHILD_CLEARTID)
		child->clear_child_tid = rq->child_tid;
}

static int build_child(struct task *child, struct task *t,
		       const struct clone_request *rq)
{
	int err = 0;

	child->tg = rq->flags & CLONE_THREAD ? thread_group_get(t->tg) :
					       copy_group(t, rq, &err);
	if (!child->tg)
		return err;
	copy_own(child, t, rq);
	err = copy_state(child, t, rq);
	if (!err)
		err = copy_signals(child, t, rq->flags);
	if (!err)
		err = copy_resources(child, t, rq->flags);
	return err;
}

static void publish_group_locked(struct task *child, struct task *t,
				 uint64_t flags)
{
	struct thread_group *tg = child->tg, *from = t->tg;
	struct kernel *k = t->kernel;

	tg->tgid = child->tid;
	tg->leader = child;
	tg->pgid = from->pgid;
	tg->sid = from->sid;
	tg->tty = from->tty;
	tid_ref_locked(k, tg->pgid);
	tid_ref_locked(k, tg->sid);
	tg->parent = flags & CLONE_PARENT ? from->parent : from;
	TAILQ_INSERT_TAIL(&tg->parent->children, tg, sibling);
	TAILQ_INSERT_TAIL(&k->tids->groups, tg, all_link);
	thread_group_get(tg);
}

static bool too_many_tasks_locked(struct task *t)
{
	/* rlimits need the group's lock only against torn reads. */
	rlim_t max = t->tg->rlimits[RLIMIT_NPROC].rlim_cur;

	return t->cred.uid != 0 && t->kernel->tids->nr_tasks >= max;
}

/* From here on others see the child: it is complete. */
static int publish_child(struct task *child, struct task *t, uint64_t flags)
{
	struct kernel *k = t->kernel;
	int err = 0;
	pid_t tid;

	pthread_mutex_lock(&k->tasks_lock);
	/*
	 * A signal to all of a group must reach the child too: as those who
	 * kill or stop a group hold the lock, either they see the child, or
	 * the caller has work by now.
	 */
	if (task_has_work(t))
		err = -ERESTARTNOINTR;
	else if (k->tids->ending || too_many_tasks_locked(t))
		err = -EAGAIN;
	if (err)
		goto out_unlock;
	tid = tid_alloc_locked(k);
	if (tid < 0) {
		err = tid;
		goto out_unlock;
	}
	child->tid = tid;
	if (!(flags & CLONE_THREAD))
		publish_group_locked(child, t, flags);
	task_publish_locked(child);
out_unlock:
	pthread_mutex_unlock(&k->tasks_lock);
	return err;
}

/* No host thread could be had: the child never ran. */
static void unpublish_child(struct task *child)
{
	struct kernel *k = child->kernel;
	struct thread_group *tg = child->tg;

	pthread_mutex_lock(&k->tasks_lock);
	pthread_mutex_lock(&tg->lock);
	child->exiting = true;
	tg->nr_tasks--;
	if (tg->leader != child) {
		TAILQ_REMOVE(&tg->tasks, child, tg_link);
		tid_unbind_locked(k, child->tid);
		tid_unref_locked(k, child->tid);
	}
	pthread_mutex_unlock(&tg->lock);
	if (tg->leader == child)
		thread_group_reap_locked(tg);
	else
		task_put(child);
	pthread_mutex_unlock(&k->tasks_lock);
}

static void wait_for_vfork(struct task *t)
{
	while (!atomic_load(&t->vfork_done))
		if (task_block_killable(t, FOREVER) == -ERESTARTSYS)
			break;
}

static long do_clone(struct task *t, const struct clone_request *rq)
{
	struct task *child;
	pid_t tid;
	int err;

	err = check_flags(t, rq->flags);
	if (err)
		return err;
	if (task_has_work(t))
		return -ERESTARTNOINTR;
	child = task_alloc(t->kernel, &err);
	if (!child)
		return err;
	err = build_child(child, t, rq);
	if (err)
		goto out_put;
	if (rq->flags & CLONE_VFORK) {
		atomic_store(&t->vfork_done, false);
		child->vfork_parent = task_get(t);
	}
	err = publish_child(child, t, rq->flags);
	if (err)
		goto out_put;
	tid = child->tid;
	if (rq->flags & CLONE_PARENT_SETTID)
		put_user_u32(t, rq->parent_tid, (uint32_t)tid);
	err = task_start(child);
	if (err) {
		unpublish_child(child);
		goto out_put;
	}
	if (!(rq->flags & CLONE_THREAD))
		process_cpu_limit_set(child->tg);
	task_put(child);
	if (rq->flags & CLONE_VFORK)
		wait_for_vfork(t);
	return tid;

out_put:
	task_put(child);
	return err;
}

long sys_clone(struct task *t, const uint64_t *args)
{
	struct clone_request rq = {
		.flags = (uint32_t)args[0] & ~(uint64_t)CSIGNAL,
		.exit_signal = (int)(args[0] & CSIGNAL),
		.stack = args[1],
		.parent_tid = args[2],
		.child_tid = args[3],
		.tls = args[4],
	};

	return do_clone(t, &rq);
}

long sys_fork(struct task *t, const uint64_t *args)
{
	struct clone_request rq = { .exit_signal = SIGCHLD };

	return do_clone(t, &rq);
}

long sys_vfork(struct task *t, const uint64_t *args)
{
	struct clone_request rq = {
		.flags = CLONE_VFORK | CLONE_VM,
		.exit_signal = SIGCHLD,
	};

	return do_clone(t, &rq);
}

/* Copies a struct that may be older or newer than ours. */
static int copy_clone_args(struct task *t, struct clone_args *ca,
			   uint64_t addr, uint64_t size)
{
	uint8_t tail[64];
	uint64_t done, n, i;

	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	memset(ca, 0, sizeof(*ca));
	if (copy_from_user(t, ca, addr, MIN(size, sizeof(*ca))))
		return -EFAULT;
	for (done = sizeof(*ca); done < size; done += n) {
		n = MIN(size - done, sizeof(tail));
		if (copy_from_user(t, tail, addr + done, n))
			return -EFAULT;
		for (i = 0; i < n; i++)
			if (tail[i])
				return -E2BIG;
	}
	return 0;
}

static int check_clone_args(const struct clone_args *ca)
{
	const uint64_t known = 0xffffffffull | CLONE_CLEAR_SIGHAND;

	if (ca->flags & ~known || ca->flags & (CLONE_DETACHED | CSIGNAL))
		return -EINVAL;
	if (ca->exit_signal > SIGNAL_MAX)
		return -EINVAL;
	if (ca->flags & (CLONE_THREAD | CLONE_PARENT) && ca->exit_signal)
		return -EINVAL;
	if (!ca->stack != !ca->stack_size)
		return -EINVAL;
	if (!ca->set_tid != !ca->set_tid_size)
		return -EINVAL;
	/* Choosing ids needs CAP_CHECKPOINT_RESTORE. */
	return ca->set_tid_size ? -EPERM : 0;
}

long sys_clone3(struct task *t, const uint64_t *args)
{
	struct clone_request rq;
	struct clone_args ca;
	int err;

	err = copy_clone_args(t, &ca, args[0], args[1]);
	if (!err)
		err = check_clone_args(&ca);
	if (err)
		return err;
	rq = (struct clone_request){
		.flags = ca.flags,
		.exit_signal = (int)ca.exit_signal,
		.stack = ca.stack ? ca.stack + ca.stack_size : 0,
		.parent_tid = ca.parent_tid,
		.child_tid = ca.child_tid,
		.tls = ca.tls,
	};
	return do_clone(t, &rq);
}
