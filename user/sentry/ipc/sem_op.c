// SPDX-License-Identifier: MIT
/*
 * sem_op.c - semop and semtimedop
 *
 * Who changes a value does what others wait for on their behalf, in the order in
 * which they came, so a call that is done is done at once and as a whole.
 */
#include <stdlib.h>

#include "sentry/ipc/sem.h"

/* struct sem_wait.status */
#define WAITING 1

/* So many operations need no allocation. */
#define FAST_OPS 16

/* Give back what the first @n operations took. */
static void revert(struct sem_array *a, const struct sem_wait *w,
		   unsigned int n)
{
	const struct sembuf *op;

	while (n-- > 0) {
		op = &w->ops[n];
		a->sems[op->sem_num].value -= op->sem_op;
		if (op->sem_flg & SEM_UNDO)
			w->undo->adjust[op->sem_num] += op->sem_op;
	}
}

/* 0; WAITING if it cannot be done now; -ERANGE. */
static int do_one(struct sem_array *a, const struct sem_wait *w,
		  const struct sembuf *op)
{
	struct sem *s = &a->sems[op->sem_num];
	int value = s->value + op->sem_op, adjust;

	if ((!op->sem_op && s->value) || value < 0)
		return WAITING;
	if (value > SEM_VALUE_LIMIT)
		return -ERANGE;
	if (op->sem_flg & SEM_UNDO) {
		adjust = w->undo->adjust[op->sem_num] - op->sem_op;
		if (adjust != (int16_t)adjust)
			return -ERANGE;
		w->undo->adjust[op->sem_num] = (int16_t)adjust;
	}
	s->value = value;
	return 0;
}

/* All of the operations or none: as do_one(), or -EAGAIN. */
static int try_ops(struct sem_array *a, struct sem_wait *w)
{
	unsigned int i;
	int err;

	for (i = 0; i < w->nr_ops; i++) {
		err = do_one(a, w, &w->ops[i]);
		if (!err)
			continue;
		revert(a, w, i);
		w->blocking = i;
		if (err == WAITING && (w->ops[i].sem_flg & IPC_NOWAIT))
			return -EAGAIN;
		return err;
	}
	for (i = 0; i < w->nr_ops; i++)
		a->sems[w->ops[i].sem_num].pid = w->task->tg->tgid;
	a->otime = time(NULL);
	return 0;
}

static void finish(struct sem_array *a, struct sem_wait *w, int status)
{
	TAILQ_REMOVE(&a->pending, w, link);
	w->status = status;
	task_wake(w->task);
}

/* Those that only wait for zero, or the others; did one change a value? */
static bool update_some(struct sem_array *a, bool alters)
{
	struct sem_wait *w, *next;
	int err;

	for (w = TAILQ_FIRST(&a->pending); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->alters != alters)
			continue;
		err = try_ops(a, w);
		if (err == WAITING)
			continue;
		finish(a, w, err);
		if (!err && alters)
			return true;
	}
	return false;
}

void sem_update(struct sem_array *a)
{
	if (TAILQ_EMPTY(&a->pending))
		return;
	do {
		update_some(a, false);
	} while (update_some(a, true));
}

void sem_fail_pending(struct sem_array *a, int err)
{
	struct sem_wait *w;

	while ((w = TAILQ_FIRST(&a->pending)))
		finish(a, w, err);
}

/* Without the lock meanwhile: the set is gone if the status is -EIDRM. */
static int wait_for(struct task *t, struct sem_array *a, struct sem_wait *w,
		    uint64_t deadline)
{
	struct ipc_table *table = sem_table(t->kernel);
	int err = 0;

	w->status = WAITING;
	TAILQ_INSERT_TAIL(&a->pending, w, link);
	while (w->status == WAITING && !err) {
		pthread_mutex_unlock(&table->lock);
		err = task_block(t, deadline);
		pthread_mutex_lock(&table->lock);
	}
	if (w->status != WAITING)
		return w->status;
	TAILQ_REMOVE(&a->pending, w, link);
	/* Not restarted, whatever the handler of the signal asks for. */
	return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

/* What the operations say of themselves, and may they be done? */
static int prepare(struct task *t, struct sem_array *a, struct sem_wait *w)
{
	bool undo = false;
	unsigned int i;
	int err;

	for (i = 0; i < w->nr_ops; i++) {
		if (w->ops[i].sem_num >= a->count)
			return -EFBIG;
		w->alters |= w->ops[i].sem_op != 0;
		undo |= w->ops[i].sem_flg & SEM_UNDO;
	}
	err = ipc_permission(t, &a->obj, w->alters ? IPC_WRITE : IPC_READ);
	if (err || !undo)
		return err;
	w->undo = sem_undo_get(t, a);
	return w->undo ? 0 : -ENOMEM;
}

static int op_locked(struct task *t, int id, struct sem_wait *w,
		     uint64_t deadline)
{
	struct ipc_object *o = ipc_find(sem_table(t->kernel), id);
	struct sem_array *a;
	int err;

	if (!o)
		return -EINVAL;
	a = array_of(o);
	err = prepare(t, a, w);
	if (err)
		return err;
	err = try_ops(a, w);
	if (err == WAITING)
		return wait_for(t, a, w, deadline);
	if (!err && w->alters)
		sem_update(a);
	return err;
}

static long do_semop(struct task *t, const uint64_t *args, uint64_t deadline)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct sembuf fast[FAST_OPS], *ops = fast;
	unsigned int n = (unsigned int)args[2];
	struct sem_wait w = { .task = t, .nr_ops = n };
	int err;

	if (n > FAST_OPS)
		ops = malloc(n * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	err = copy_from_user(t, ops, args[1], n * sizeof(*ops));
	w.ops = ops;
	if (!err) {
		pthread_mutex_lock(&table->lock);
		err = op_locked(t, (int)args[0], &w, deadline);
		pthread_mutex_unlock(&table->lock);
	}
	if (ops != fast)
		free(ops);
	return err;
}

static int check_args(const uint64_t *args)
{
	unsigned int n = (unsigned int)args[2];

	if (!n || (int)args[0] < 0)
		return -EINVAL;
	return n > SEM_OPS_MAX ? -E2BIG : 0;
}

long sys_semop(struct task *t, const uint64_t *args)
{
	int err = check_args(args);

	return err ? err : do_semop(t, args, FOREVER);
}

long sys_semtimedop(struct task *t, const uint64_t *args)
{
	struct timespec ts;
	int err;

	if (!args[3])
		return sys_semop(t, args);
	if (copy_from_user(t, &ts, args[3], sizeof(ts)))
		return -EFAULT;
	err = check_args(args);
	if (err)
		return err;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		return -EINVAL;
	return do_semop(t, args, deadline_after(&ts));
}
