/* SPDX-License-Identifier: MIT */
/*
 * internal.h - ids, keys and permissions, and what the files of ipc/ share
 *
 * Each of the three kinds of objects has a table with one lock, which protects
 * the objects in it too. Lock order: mm.lock (an unmapped segment says so), the
 * table's lock, memory_file.lock and wait_queue.lock. No table's lock is held while
 * another one's is taken, while program memory is accessed, or while something is mapped.
 */
#ifndef _SENTRY_IPC_INTERNAL_H
#define _SENTRY_IPC_INTERNAL_H

#include <sys/ipc.h>

#include "sentry/fs/pseudo.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/task/internal.h"

/* Linux's limits, which /proc/sys/kernel shows. */
#define SHM_ID_MAX 4096
#define SHM_SIZE_MAX (UINT64_MAX - (1ull << 24))
#define SHM_PAGES_MAX (UINT64_MAX - (1ull << 24))
#define SEM_ID_MAX 32000
#define SEM_PER_SET_MAX 32000
#define SEM_ALL_MAX 1024000000
#define SEM_OPS_MAX 500
#define SEM_VALUE_LIMIT 32767
#define MSG_ID_MAX 32000
#define MSG_SIZE_MAX 8192
#define MSG_QUEUE_BYTES 16384

/* An id is its index in the table, with a generation above. */
#define IPC_INDEX_BITS 15
#define IPC_INDEX(_id) ((unsigned int)(_id) & ((1u << IPC_INDEX_BITS) - 1))

/**
 * struct ipc_object - what all kinds have in common, first member of each
 * @key: IPC_PRIVATE: none
 * @mode: permissions, and flags of the kind above them
 */
struct ipc_object {
	key_t key;
	int id;
	uid_t uid, cuid;
	gid_t gid, cgid;
	mode_t mode;
};

/**
 * struct ipc_table - the objects of a kind
 * @slots: by index; NULL where there is none
 * @size: slots allocated
 * @max: of objects
 * @used: objects
 * @cursor: index that the next object gets, if it is free
 * @last: index of the last object made
 * @generation: of the next id
 */
struct ipc_table {
	pthread_mutex_t lock;
	struct ipc_object **slots;
	unsigned int size, max, used;
	unsigned int cursor, last;
	unsigned int generation;
};

/**
 * struct ipc - an IPC namespace
 * @shm_pages: of all segments; under @shm's lock
 * @sem_count: semaphores in all sets; under @sem's lock
 */
struct ipc {
	struct ipc_table shm, sem, msg;
	uint64_t shm_pages;
	unsigned int sem_count;
};

/**
 * struct ipc_get_ops - what shmget, semget and msgget do not have in common
 * @create: a new object with neither id, key nor owner, or NULL and *err. The
 *	table's lock is held.
 * @check: is the object that was found what the call asks for? 0 or -errno
 * @destroy: an object that @create made
 */
struct ipc_get_ops {
	struct ipc_object *(*create)(struct task *t, const uint64_t *args,
				     int *err);
	int (*check)(const struct ipc_object *o, const uint64_t *args);
	void (*destroy)(struct task *t, struct ipc_object *o);
};

/* ids.c */
void ipc_table_init(struct ipc_table *table, unsigned int max);
/* args[0] is the key, @flags those of the call: an id, or -errno. */
long ipc_get(struct task *t, struct ipc_table *table,
	     const struct ipc_get_ops *ops, const uint64_t *args, int flags);
/* Under the lock: the object, or NULL (EINVAL). */
struct ipc_object *ipc_find(struct ipc_table *table, int id);
struct ipc_object *ipc_at(struct ipc_table *table, int index);
/* Take an object off the table. */
void ipc_remove(struct ipc_table *table, struct ipc_object *o);
/* The highest index in use, or 0; what the INFO commands return. */
long ipc_max_index(const struct ipc_table *table);

/* Access with the bits of @mode, three times the same: 0 or -EACCES. */
int ipc_permission(struct task *t, const struct ipc_object *o, mode_t mode);
/* May the caller change or remove it? 0 or -EPERM. */
int ipc_owner(struct task *t, const struct ipc_object *o);
/* The object that a STAT command is about, if it may be read; or NULL and *err. */
struct ipc_object *ipc_stat_object(struct task *t, struct ipc_table *table,
				   int id, bool by_index, bool any, int *err);
void ipc_fill_perm(struct ipc_perm *out, const struct ipc_object *o);
/* IPC_SET: owner and permissions. */
void ipc_set_perm(struct ipc_object *o, const struct ipc_perm *in);

#define IPC_READ 0444
#define IPC_WRITE 0222

/* A line of /proc/sysvipc for every object. */
void ipc_text(struct ipc_table *table, struct text *x,
	      void (*line)(struct text *x, const struct ipc_object *o));

DECLARE_SYSCALL(shmget);
DECLARE_SYSCALL(shmat);
DECLARE_SYSCALL(shmdt);
DECLARE_SYSCALL(shmctl);
DECLARE_SYSCALL(semget);
DECLARE_SYSCALL(semop);
DECLARE_SYSCALL(semtimedop);
DECLARE_SYSCALL(semctl);
DECLARE_SYSCALL(msgget);
DECLARE_SYSCALL(msgsnd);
DECLARE_SYSCALL(msgrcv);
DECLARE_SYSCALL(msgctl);

/* shm.c, sem.c, msg.c: free what is left when the sandbox ends. */
void shm_destroy_all(struct kernel *k);
void sem_destroy_all(struct kernel *k);
void msg_destroy_all(struct kernel *k);

#endif /* _SENTRY_IPC_INTERNAL_H */
