/* SPDX-License-Identifier: MIT */
/*
 * ipc.h - System V IPC of the sandboxed program, as the rest of the sentry sees it
 *
 * A sandbox has one IPC namespace: shared memory, semaphores and message queues
 * with their ids and keys, which only its own programs can see.
 */
#ifndef _SENTRY_IPC_H
#define _SENTRY_IPC_H

#include <stdint.h>

struct kernel;
struct task;
struct text;

/* The IPC namespace of a sandbox, k->ipc: 0 or -ENOMEM. */
int ipc_create(struct kernel *k);
/* After all tasks and their mms are gone. NULL k->ipc is fine. */
void ipc_destroy(struct kernel *k);

/*
 * What a new task undoes at its end: what @t's list says too if clone()'s @flags
 * have CLONE_SYSVSEM, or nothing yet. 0 or -ENOMEM.
 */
int sem_clone(struct task *child, struct task *t, uint64_t flags);
/* The task ends; the last one of those that share a list undoes what it says. */
void sem_exit(struct task *t);

/* The tables of /proc/sysvipc: of the sandbox that @t is in. */
void ipc_text_shm(struct task *t, struct text *x);
void ipc_text_sem(struct task *t, struct text *x);
void ipc_text_msg(struct task *t, struct text *x);

#endif /* _SENTRY_IPC_H */
