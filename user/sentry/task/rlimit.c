// SPDX-License-Identifier: MIT
/*
 * rlimit.c - resource limits
 */
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

/* A hard limit can be lowered by all, and raised by none. */
static int set_limit_locked(struct thread_group *tg, unsigned int res,
			    const struct rlimit *new)
{
	struct rlimit *r = &tg->rlimits[res];

	if (new->rlim_cur > new->rlim_max)
		return -EINVAL;
	if (new->rlim_max > r->rlim_max)
		return -EPERM;
	*r = *new;
	return 0;
}

static int do_prlimit(struct thread_group *tg, unsigned int res,
		      const struct rlimit *new, struct rlimit *old)
{
	int err = 0;

	if (res >= RLIM_NLIMITS)
		return -EINVAL;
	pthread_mutex_lock(&tg->lock);
	*old = tg->rlimits[res];
	if (new)
		err = set_limit_locked(tg, res, new);
	pthread_mutex_unlock(&tg->lock);
	if (new && !err && res == RLIMIT_CPU)
		process_cpu_limit_set(tg);
	return err;
}

static struct task *prlimit_target(struct task *t, pid_t pid, int *err)
{
	struct task *o;

	*err = 0;
	if (!pid || pid == t->tid)
		return task_get(t);
	o = task_find(t->kernel, pid);
	if (!o) {
		*err = -ESRCH;
		return NULL;
	}
	if (o->tg != t->tg && (o->cred.uid != t->cred.uid ||
			       o->cred.euid != t->cred.uid)) {
		*err = -EPERM;
		task_put(o);
		return NULL;
	}
	return o;
}

long sys_prlimit64(struct task *t, const uint64_t *args)
{
	struct rlimit new, old;
	struct task *o;
	int err;

	if (args[2] && copy_from_user(t, &new, args[2], sizeof(new)))
		return -EFAULT;
	o = prlimit_target(t, (pid_t)args[0], &err);
	if (!o)
		return err;
	err = do_prlimit(o->tg, (unsigned int)args[1], args[2] ? &new : NULL,
			 &old);
	task_put(o);
	if (!err && args[3])
		err = copy_to_user(t, args[3], &old, sizeof(old));
	return err;
}

long sys_getrlimit(struct task *t, const uint64_t *args)
{
	struct rlimit old;
	int err = do_prlimit(t->tg, (unsigned int)args[0], NULL, &old);

	return err ? err : copy_to_user(t, args[1], &old, sizeof(old));
}

long sys_setrlimit(struct task *t, const uint64_t *args)
{
	struct rlimit new, old;

	if (copy_from_user(t, &new, args[1], sizeof(new)))
		return -EFAULT;
	return do_prlimit(t->tg, (unsigned int)args[0], &new, &old);
}
