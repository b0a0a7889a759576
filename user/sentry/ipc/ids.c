// SPDX-License-Identifier: MIT
/*
 * ids.c - tables of objects by id and key, and who may do what to them
 */
#include <stdlib.h>

#include "sentry/ipc/internal.h"

/* Ids are not handed out again before this many others were. */
#define CYCLE_MIN 64u

int ipc_create(struct kernel *k)
{
	struct ipc *ipc = calloc(1, sizeof(*ipc));

	if (!ipc)
		return -ENOMEM;
	ipc_table_init(&ipc->shm, SHM_ID_MAX);
	ipc_table_init(&ipc->sem, SEM_ID_MAX);
	ipc_table_init(&ipc->msg, MSG_ID_MAX);
	k->ipc = ipc;
	return 0;
}

static void table_destroy(struct ipc_table *table)
{
	pthread_mutex_destroy(&table->lock);
	free(table->slots);
}

void ipc_destroy(struct kernel *k)
{
	if (!k->ipc)
		return;
	shm_destroy_all(k);
	sem_destroy_all(k);
	msg_destroy_all(k);
	table_destroy(&k->ipc->shm);
	table_destroy(&k->ipc->sem);
	table_destroy(&k->ipc->msg);
	free(k->ipc);
	k->ipc = NULL;
}

void ipc_table_init(struct ipc_table *table, unsigned int max)
{
	pthread_mutex_init(&table->lock, NULL);
	table->max = max;
}

/* Room for index @i. */
static int grow(struct ipc_table *table, unsigned int i)
{
	unsigned int size = MAX(table->size * 2, CYCLE_MIN);
	struct ipc_object **slots;

	if (i < table->size)
		return 0;
	slots = realloc(table->slots, size * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + table->size, 0,
	       (size - table->size) * sizeof(*slots));
	table->slots = slots;
	table->size = size;
	return 0;
}

/* The next free index; there is one, as @end is more than are in use. */
static unsigned int next_index(struct ipc_table *table)
{
	unsigned int end = MIN(MAX(table->used * 3 / 2, CYCLE_MIN), table->max);
	unsigned int i = table->cursor < end ? table->cursor : 0;

	while (i < table->size && table->slots[i])
		i = i + 1 < end ? i + 1 : 0;
	return i;
}

static int add(struct ipc_table *table, struct ipc_object *o)
{
	unsigned int i;

	if (table->used >= table->max)
		return -ENOSPC;
	i = next_index(table);
	if (grow(table, i))
		return -ENOMEM;
	if (i <= table->last)
		table->generation = (table->generation + 1) & 0xffff;
	table->last = i;
	table->cursor = i + 1;
	table->slots[i] = o;
	table->used++;
	o->id = (int)(table->generation << IPC_INDEX_BITS | i);
	return o->id;
}

void ipc_remove(struct ipc_table *table, struct ipc_object *o)
{
	table->slots[IPC_INDEX(o->id)] = NULL;
	table->used--;
}

struct ipc_object *ipc_at(struct ipc_table *table, int index)
{
	return index >= 0 && (unsigned int)index < table->size ?
		       table->slots[index] : NULL;
}

struct ipc_object *ipc_find(struct ipc_table *table, int id)
{
	struct ipc_object *o;

	if (id < 0)
		return NULL;
	o = ipc_at(table, (int)IPC_INDEX(id));
	return o && o->id == id ? o : NULL;
}

static struct ipc_object *find_key(struct ipc_table *table, key_t key)
{
	unsigned int i;

	for (i = 0; i < table->size; i++)
		if (table->slots[i] && table->slots[i]->key == key)
			return table->slots[i];
	return NULL;
}

long ipc_max_index(const struct ipc_table *table)
{
	unsigned int i = table->size;

	while (i > 0 && !table->slots[i - 1])
		i--;
	return i ? (long)i - 1 : 0;
}

static bool in_group(const struct cred *c, gid_t gid)
{
	unsigned int i;

	if (c->egid == gid)
		return true;
	for (i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

int ipc_permission(struct task *t, const struct ipc_object *o, mode_t mode)
{
	const struct cred *c = &t->cred;
	mode_t want = (mode >> 6 | mode >> 3 | mode) & 7;
	mode_t granted = o->mode;

	if (c->euid == o->uid || c->euid == o->cuid)
		granted >>= 6;
	else if (in_group(c, o->gid) || in_group(c, o->cgid))
		granted >>= 3;
	if ((want & ~granted) && !(c->cap_effective & 1ull << CAP_IPC_OWNER))
		return -EACCES;
	return 0;
}

int ipc_owner(struct task *t, const struct ipc_object *o)
{
	const struct cred *c = &t->cred;

	return c->euid == o->uid || c->euid == o->cuid ? 0 : -EPERM;
}

struct ipc_object *ipc_stat_object(struct task *t, struct ipc_table *table,
				   int id, bool by_index, bool any, int *err)
{
	struct ipc_object *o = by_index ? ipc_at(table, id) :
					  ipc_find(table, id);

	*err = o ? 0 : -EINVAL;
	if (o && !any)
		*err = ipc_permission(t, o, IPC_READ);
	return *err ? NULL : o;
}

static long create(struct task *t, struct ipc_table *table,
		   const struct ipc_get_ops *ops, const uint64_t *args,
		   int flags)
{
	struct ipc_object *o;
	int err = 0, id;

	o = ops->create(t, args, &err);
	if (!o)
		return err;
	o->key = (key_t)args[0];
	o->uid = o->cuid = t->cred.euid;
	o->gid = o->cgid = t->cred.egid;
	o->mode = (mode_t)flags & 0777;
	id = add(table, o);
	if (id < 0)
		ops->destroy(t, o);
	return id;
}

long ipc_get(struct task *t, struct ipc_table *table,
	     const struct ipc_get_ops *ops, const uint64_t *args, int flags)
{
	key_t key = (key_t)args[0];
	struct ipc_object *o;
	long ret;

	pthread_mutex_lock(&table->lock);
	o = key == IPC_PRIVATE ? NULL : find_key(table, key);
	if (!o && key != IPC_PRIVATE && !(flags & IPC_CREAT))
		ret = -ENOENT;
	else if (!o)
		ret = create(t, table, ops, args, flags);
	else if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
		ret = -EEXIST;
	else
		ret = ops->check(o, args);
	if (o && !ret)
		ret = ipc_permission(t, o, (mode_t)flags);
	if (o && !ret)
		ret = o->id;
	pthread_mutex_unlock(&table->lock);
	return ret;
}

void ipc_fill_perm(struct ipc_perm *out, const struct ipc_object *o)
{
	*out = (struct ipc_perm){
		.__key = o->key,
		.uid = o->uid,
		.gid = o->gid,
		.cuid = o->cuid,
		.cgid = o->cgid,
		.mode = o->mode,
		.__seq = (unsigned short)(o->id >> IPC_INDEX_BITS),
	};
}

void ipc_set_perm(struct ipc_object *o, const struct ipc_perm *in)
{
	o->uid = in->uid;
	o->gid = in->gid;
	o->mode = (o->mode & ~0777u) | (in->mode & 0777u);
}

void ipc_text(struct ipc_table *table, struct text *x,
	      void (*line)(struct text *x, const struct ipc_object *o))
{
	unsigned int i;

	pthread_mutex_lock(&table->lock);
	for (i = 0; i < table->size; i++)
		if (table->slots[i])
			line(x, table->slots[i]);
	pthread_mutex_unlock(&table->lock);
}
