/* SPDX-License-Identifier: MIT */
/*
 * sem.h - semaphore sets, and what the files about them share
 *
 * All of it is protected by the lock of the table of sets, but what is marked
 * atomic or constant.
 */
#ifndef _SENTRY_IPC_SEM_H
#define _SENTRY_IPC_SEM_H

#include <sys/sem.h>

#include "sentry/ipc/internal.h"

struct sem {
	int value;
	pid_t pid; /* who changed it last */
};

/**
 * struct sem_wait - a semop() call, done or waiting
 * @blocking: index of the operation that could not be done
 * @alters: it changes values, and does not only wait for zero
 * @status: 1 while it waits; then its result
 */
struct sem_wait {
	TAILQ_ENTRY(sem_wait) link;
	struct task *task;
	const struct sembuf *ops;
	unsigned int nr_ops;
	struct sem_undo *undo;
	unsigned int blocking;
	bool alters;
	int status;
};

/**
 * struct sem_array - a set
 * @count: semaphores in it; constant
 * @pending: calls that wait, the longest waiting first
 * @undos: what processes will undo in it
 */
struct sem_array {
	struct ipc_object obj;
	time_t otime, ctime;
	unsigned int count;
	TAILQ_HEAD(, sem_wait) pending;
	LIST_HEAD(, sem_undo) undos;
	struct sem sems[];
};

/**
 * struct sem_undo - what is to be added to the values of one set at the end
 * @adjust: by semaphore
 */
struct sem_undo {
	LIST_ENTRY(sem_undo) list_link, array_link;
	struct sem_undo_list *list;
	struct sem_array *array;
	int16_t adjust[];
};

/**
 * struct sem_undo_list - of the tasks that share it by CLONE_SYSVSEM
 * @refs: these tasks; atomic
 */
struct sem_undo_list {
	atomic_uint refs;
	LIST_HEAD(, sem_undo) undos;
};

static inline struct ipc_table *sem_table(struct kernel *k)
{
	return &k->ipc->sem;
}

static inline struct sem_array *array_of(struct ipc_object *o)
{
	return container_of(o, struct sem_array, obj);
}

/* sem_op.c */
/* Do what waits and can be done now; wakes those whose calls are done. */
void sem_update(struct sem_array *a);
/* All calls that wait fail. */
void sem_fail_pending(struct sem_array *a, int err);

/* sem_undo.c */
/* The caller's undo of a set, made if there is none: NULL: no memory. */
struct sem_undo *sem_undo_get(struct task *t, struct sem_array *a);
/* Nobody will undo anything in a set, or in one semaphore of it. */
void sem_undo_forget(struct sem_array *a);
void sem_undo_clear(struct sem_array *a, unsigned int num);

#endif /* _SENTRY_IPC_SEM_H */
