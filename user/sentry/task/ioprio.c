// SPDX-License-Identifier: MIT
/*
 * ioprio.c - priorities of input and output
 *
 * The host's schedulers do not know the sandbox's processes, so they are only
 * remembered: for programs that lower their own before they do their work.
 */
#include <linux/ioprio.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

/* As getpriority() numbers them. */
static int prio_which(int which)
{
	return which - IOPRIO_WHO_PROCESS + PRIO_PROCESS;
}

static int check(int ioprio)
{
	int level = IOPRIO_PRIO_DATA(ioprio);

	switch (ioprio >> IOPRIO_CLASS_SHIFT) {
	case IOPRIO_CLASS_NONE:
		return level ? -EINVAL : 0;
	case IOPRIO_CLASS_RT:
		/* Takes CAP_SYS_NICE, which nobody has. */
		return -EPERM;
	case IOPRIO_CLASS_BE:
		return level < IOPRIO_NR_LEVELS ? 0 : -EINVAL;
	case IOPRIO_CLASS_IDLE:
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_ioprio_set(struct task *t, const uint64_t *args)
{
	int which = (int)args[0], ioprio = (int)args[2];
	struct thread_group *tg;
	int err = check(ioprio);

	if (err)
		return err;
	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	err = -ESRCH;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	TAILQ_FOREACH(tg, &t->kernel->tids->groups, all_link) {
		if (!priority_match(t, tg, prio_which(which), (id_t)args[1]))
			continue;
		tg->ioprio = ioprio;
		err = 0;
	}
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

/* Of several the highest: a lower number is more, and none is the middle. */
static int better(int a, int b)
{
	const int none = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_BE_NORM);

	return (a ? a : none) <= (b ? b : none) ? a : b;
}

long sys_ioprio_get(struct task *t, const uint64_t *args)
{
	int which = (int)args[0];
	struct thread_group *tg;
	long best = -ESRCH;

	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	TAILQ_FOREACH(tg, &t->kernel->tids->groups, all_link)
		if (priority_match(t, tg, prio_which(which), (id_t)args[1]))
			best = best < 0 ? tg->ioprio :
					  better((int)best, tg->ioprio);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return best;
}
