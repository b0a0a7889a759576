// SPDX-License-Identifier: MIT
/*
 * sem.c - semaphore sets: making, asking, setting and removing them
 */
#include <stdlib.h>

#include "sentry/ipc/sem.h"

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

static void array_free(struct kernel *k, struct sem_array *a)
{
	k->ipc->sem_count -= a->count;
	free(a);
}

static void array_remove(struct kernel *k, struct sem_array *a)
{
	ipc_remove(sem_table(k), &a->obj);
	sem_fail_pending(a, -EIDRM);
	sem_undo_forget(a);
	array_free(k, a);
}

static struct ipc_object *sem_create(struct task *t, const uint64_t *args,
				     int *err)
{
	struct ipc *ipc = t->kernel->ipc;
	unsigned int n = (unsigned int)args[1];
	struct sem_array *a;

	*err = n ? -ENOSPC : -EINVAL;
	if (!n || ipc->sem_count + n > SEM_ALL_MAX)
		return NULL;
	*err = -ENOMEM;
	a = calloc(1, sizeof(*a) + n * sizeof(a->sems[0]));
	if (!a)
		return NULL;
	a->count = n;
	a->ctime = time(NULL);
	TAILQ_INIT(&a->pending);
	LIST_INIT(&a->undos);
	ipc->sem_count += n;
	return &a->obj;
}

static int sem_check(const struct ipc_object *o, const uint64_t *args)
{
	return container_of(o, const struct sem_array, obj)->count <
	       (unsigned int)args[1] ? -EINVAL : 0;
}

static void sem_undo_create(struct task *t, struct ipc_object *o)
{
	array_free(t->kernel, array_of(o));
}

long sys_semget(struct task *t, const uint64_t *args)
{
	static const struct ipc_get_ops ops = { sem_create, sem_check,
						sem_undo_create };

	if ((int)args[1] < 0 || (int)args[1] > SEM_PER_SET_MAX)
		return -EINVAL;
	return ipc_get(t, sem_table(t->kernel), &ops, args, (int)args[2]);
}

static int sem_stat(struct task *t, int id, int cmd, uint64_t addr)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct semid_ds ds = { 0 };
	struct ipc_object *o;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_stat_object(t, table, id, cmd != IPC_STAT,
			    cmd == SEM_STAT_ANY, &err);
	if (o) {
		ipc_fill_perm(&ds.sem_perm, o);
		ds.sem_otime = array_of(o)->otime;
		ds.sem_ctime = array_of(o)->ctime;
		ds.sem_nsems = array_of(o)->count;
		id = o->id;
	}
	pthread_mutex_unlock(&table->lock);
	if (err || copy_to_user(t, addr, &ds, sizeof(ds)))
		return err ? err : -EFAULT;
	return cmd == IPC_STAT ? 0 : id;
}

static long sem_info(struct task *t, int cmd, uint64_t addr)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct seminfo info = {
		.semmap = SEM_ALL_MAX,
		.semmni = SEM_ID_MAX,
		.semmns = SEM_ALL_MAX,
		.semmnu = SEM_ALL_MAX,
		.semmsl = SEM_PER_SET_MAX,
		.semopm = SEM_OPS_MAX,
		.semume = SEM_OPS_MAX,
		.semusz = 20,
		.semvmx = SEM_VALUE_LIMIT,
		.semaem = SEM_VALUE_LIMIT,
	};
	long max;

	pthread_mutex_lock(&table->lock);
	if (cmd == SEM_INFO) {
		info.semusz = (int)table->used;
		info.semaem = (int)t->kernel->ipc->sem_count;
	}
	max = ipc_max_index(table);
	pthread_mutex_unlock(&table->lock);
	return copy_to_user(t, addr, &info, sizeof(info)) ? -EFAULT : max;
}

/* @ds: IPC_SET; NULL: IPC_RMID */
static int sem_change(struct task *t, int id, const struct semid_ds *ds)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct ipc_object *o;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_find(table, id);
	err = o ? ipc_owner(t, o) : -EINVAL;
	if (!err && ds) {
		ipc_set_perm(o, &ds->sem_perm);
		array_of(o)->ctime = time(NULL);
	} else if (!err) {
		array_remove(t->kernel, array_of(o));
	}
	pthread_mutex_unlock(&table->lock);
	return err;
}

/* Calls that wait for @num to grow or, with @zero, to become zero. */
static int count_waiting(const struct sem_array *a, unsigned int num, bool zero)
{
	const struct sembuf *op;
	struct sem_wait *w;
	int n = 0;

	TAILQ_FOREACH(w, &a->pending, link) {
		op = &w->ops[w->blocking];
		n += op->sem_num == num && !op->sem_op == zero;
	}
	return n;
}

static int set_value(struct task *t, struct sem_array *a, unsigned int num,
		     int value)
{
	if (value < 0 || value > SEM_VALUE_LIMIT)
		return -ERANGE;
	sem_undo_clear(a, num);
	a->sems[num].value = value;
	a->sems[num].pid = t->tg->tgid;
	a->ctime = time(NULL);
	sem_update(a);
	return 0;
}

static int one_locked(struct task *t, const uint64_t *args)
{
	unsigned int num = (unsigned int)args[1];
	int cmd = (int)args[2], err;
	struct sem_array *a;
	struct ipc_object *o;

	o = ipc_find(sem_table(t->kernel), (int)args[0]);
	if (!o)
		return -EINVAL;
	a = array_of(o);
	if (num >= a->count)
		return -EINVAL;
	err = ipc_permission(t, o, cmd == SETVAL ? IPC_WRITE : IPC_READ);
	if (err)
		return err;
	switch (cmd) {
	case GETVAL:
		return a->sems[num].value;
	case GETPID:
		return a->sems[num].pid;
	case GETNCNT:
	case GETZCNT:
		return count_waiting(a, num, cmd == GETZCNT);
	default:
		return set_value(t, a, num, (int)args[3]);
	}
}

/* The commands about one semaphore: args are id, number, command, value. */
static int sem_one(struct task *t, const uint64_t *args)
{
	struct ipc_table *table = sem_table(t->kernel);
	int ret;

	pthread_mutex_lock(&table->lock);
	ret = one_locked(t, args);
	pthread_mutex_unlock(&table->lock);
	return ret;
}

/* The set, if the caller has access; or NULL and *err. Under the lock. */
static struct sem_array *array_find(struct task *t, int id, mode_t access,
				    int *err)
{
	struct ipc_object *o = ipc_find(sem_table(t->kernel), id);

	*err = o ? ipc_permission(t, o, access) : -EINVAL;
	return *err ? NULL : array_of(o);
}

/* How many semaphores an id stands for, or -errno. */
static int array_count(struct task *t, int id, mode_t access)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct sem_array *a;
	int err, n = 0;

	pthread_mutex_lock(&table->lock);
	a = array_find(t, id, access, &err);
	if (a)
		n = (int)a->count;
	pthread_mutex_unlock(&table->lock);
	return a ? n : err;
}

/* @n: what array_count() said; the id may stand for another set by now. */
static int get_all(struct task *t, int id, uint16_t *values, unsigned int n)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct sem_array *a;
	unsigned int i;
	int err;

	pthread_mutex_lock(&table->lock);
	a = array_find(t, id, IPC_READ, &err);
	for (i = 0; a && i < MIN(n, a->count); i++)
		values[i] = (uint16_t)a->sems[i].value;
	pthread_mutex_unlock(&table->lock);
	return a ? 0 : -EIDRM;
}

static int set_all(struct task *t, int id, const uint16_t *values,
		   unsigned int n)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct sem_array *a;
	unsigned int i;
	int err;

	for (i = 0; i < n; i++)
		if (values[i] > SEM_VALUE_LIMIT)
			return -ERANGE;
	pthread_mutex_lock(&table->lock);
	a = array_find(t, id, IPC_WRITE, &err);
	for (i = 0; a && i < MIN(n, a->count); i++) {
		sem_undo_clear(a, i);
		a->sems[i].value = values[i];
		a->sems[i].pid = t->tg->tgid;
	}
	if (a) {
		a->ctime = time(NULL);
		sem_update(a);
	}
	pthread_mutex_unlock(&table->lock);
	return a ? 0 : -EIDRM;
}

static int sem_all(struct task *t, int id, int cmd, uint64_t addr)
{
	int n = array_count(t, id, cmd == SETALL ? IPC_WRITE : IPC_READ);
	uint16_t *values;
	size_t len;
	int err;

	if (n < 0)
		return n;
	len = (size_t)n * sizeof(*values);
	values = calloc(1, len);
	if (!values)
		return -ENOMEM;
	if (cmd == SETALL) {
		err = copy_from_user(t, values, addr, len);
		if (!err)
			err = set_all(t, id, values, (unsigned int)n);
	} else {
		err = get_all(t, id, values, (unsigned int)n);
		if (!err)
			err = copy_to_user(t, addr, values, len);
	}
	free(values);
	return err;
}

/* args: semid, number, command, a value or an address */
long sys_semctl(struct task *t, const uint64_t *args)
{
	int id = (int)args[0], cmd = (int)args[2];
	struct semid_ds ds;

	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case SEM_INFO:
		return sem_info(t, cmd, args[3]);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		return sem_stat(t, id, cmd, args[3]);
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
	case SETVAL:
		return sem_one(t, args);
	case GETALL:
	case SETALL:
		return sem_all(t, id, cmd, args[3]);
	case IPC_SET:
		if (copy_from_user(t, &ds, args[3], sizeof(ds)))
			return -EFAULT;
		return sem_change(t, id, &ds);
	case IPC_RMID:
		return sem_change(t, id, NULL);
	default:
		return -EINVAL;
	}
}

void sem_destroy_all(struct kernel *k)
{
	struct ipc_table *table = sem_table(k);
	unsigned int i;

	for (i = 0; i < table->size; i++)
		if (table->slots[i])
			array_remove(k, array_of(table->slots[i]));
}

static void sem_line(struct text *x, const struct ipc_object *o)
{
	const struct sem_array *a = container_of(o, const struct sem_array, obj);

	text_printf(x, "%10d %10d  %4o %10u %5u %5u %5u %5u %10ld %10ld\n",
		    o->key, o->id, o->mode, a->count, o->uid, o->gid, o->cuid,
		    o->cgid, a->otime, a->ctime);
}

void ipc_text_sem(struct task *t, struct text *x)
{
	text_printf(x, "       key      semid perms      nsems   uid   gid"
		    "  cuid  cgid      otime      ctime\n");
	ipc_text(sem_table(t->kernel), x, sem_line);
}
