// SPDX-License-Identifier: MIT
/*
 * sem_undo.c - SEM_UNDO: what the end of a process gives back
 */
#include <linux/sched.h>
#include <stdlib.h>

#include "sentry/ipc/sem.h"

static struct sem_undo_list *list_create(void)
{
	struct sem_undo_list *list = calloc(1, sizeof(*list));

	if (list)
		atomic_init(&list->refs, 1);
	return list;
}

int sem_clone(struct task *child, struct task *t, uint64_t flags)
{
	if (!(flags & CLONE_SYSVSEM))
		return 0;
	if (!t->sem_undo)
		t->sem_undo = list_create();
	if (!t->sem_undo)
		return -ENOMEM;
	atomic_fetch_add(&t->sem_undo->refs, 1);
	child->sem_undo = t->sem_undo;
	return 0;
}

struct sem_undo *sem_undo_get(struct task *t, struct sem_array *a)
{
	struct sem_undo *u;

	if (!t->sem_undo)
		t->sem_undo = list_create();
	if (!t->sem_undo)
		return NULL;
	LIST_FOREACH(u, &t->sem_undo->undos, list_link)
		if (u->array == a)
			return u;
	u = calloc(1, sizeof(*u) + a->count * sizeof(u->adjust[0]));
	if (!u)
		return NULL;
	u->list = t->sem_undo;
	u->array = a;
	LIST_INSERT_HEAD(&t->sem_undo->undos, u, list_link);
	LIST_INSERT_HEAD(&a->undos, u, array_link);
	return u;
}

static void undo_free(struct sem_undo *u)
{
	LIST_REMOVE(u, list_link);
	LIST_REMOVE(u, array_link);
	free(u);
}

void sem_undo_forget(struct sem_array *a)
{
	struct sem_undo *u;

	while ((u = LIST_FIRST(&a->undos)))
		undo_free(u);
}

void sem_undo_clear(struct sem_array *a, unsigned int num)
{
	struct sem_undo *u;

	LIST_FOREACH(u, &a->undos, array_link)
		u->adjust[num] = 0;
}

/* As in Linux a value that would not be one is the nearest that is. */
static void undo_apply(struct task *t, struct sem_undo *u)
{
	struct sem_array *a = u->array;
	unsigned int i;
	int value;

	for (i = 0; i < a->count; i++) {
		if (!u->adjust[i])
			continue;
		value = a->sems[i].value + u->adjust[i];
		a->sems[i].value = MIN(MAX(value, 0), SEM_VALUE_LIMIT);
		a->sems[i].pid = t->tg->tgid;
	}
	sem_update(a);
}

static void list_apply(struct task *t, struct sem_undo_list *list)
{
	struct ipc_table *table = sem_table(t->kernel);
	struct sem_undo *u;

	pthread_mutex_lock(&table->lock);
	while ((u = LIST_FIRST(&list->undos))) {
		undo_apply(t, u);
		undo_free(u);
	}
	pthread_mutex_unlock(&table->lock);
}

void sem_exit(struct task *t)
{
	struct sem_undo_list *list = t->sem_undo;

	t->sem_undo = NULL;
	if (!list || atomic_fetch_sub(&list->refs, 1) != 1)
		return;
	list_apply(t, list);
	free(list);
}
