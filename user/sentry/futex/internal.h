/* SPDX-License-Identifier: MIT */
/*
 * internal.h - hash table of futex waiters
 *
 * A bucket's lock is held while the futex word is compared and the waiter is
 * queued, and by whoever wakes: so no wake-up falls in between. Reading the
 * word may fault, which takes mm.lock below the bucket's.
 */
#ifndef _SENTRY_FUTEX_INTERNAL_H
#define _SENTRY_FUTEX_INTERNAL_H

#include "sentry/task/internal.h"

struct futex_waiter {
	TAILQ_ENTRY(futex_waiter) link;
	struct futex_key key;
	uint32_t bitset;
	struct task *task;
	/* Under the lock of the bucket it is in; NULL once woken. */
	struct futex_bucket *_Atomic bucket;
};

struct futex_bucket {
	pthread_mutex_t lock;
	TAILQ_HEAD(, futex_waiter) waiters;
} __attribute__((aligned(64)));

/* hash.c */
struct futex_bucket *futex_hash(const struct futex_key *key);
/* Both locks, in the order of addresses; the two may be the same. */
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);
/* Under the bucket's lock. */
void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w);
/* Take a waiter off, wherever it has been moved to; false: it was woken. */
bool futex_dequeue(struct futex_waiter *w);

/*
 * Tasks to be woken once no bucket is locked; each with a reference, since
 * its waiter, and maybe the task, is gone as soon as it is off the queue.
 */
#define FUTEX_WAKE_BATCH 64
struct futex_wake_list {
	struct task *tasks[FUTEX_WAKE_BATCH];
	int n;
};

/*
 * Move up to @max waiters with @key and a common bit of @bitset to the list;
 * stops when it is full. Under the bucket's lock. Returns how many.
 */
int futex_collect(struct futex_bucket *b, const struct futex_key *key,
		  uint32_t bitset, int max, struct futex_wake_list *list);
void futex_wake_list(struct futex_wake_list *list);

#endif /* _SENTRY_FUTEX_INTERNAL_H */
