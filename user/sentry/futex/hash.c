// SPDX-License-Identifier: MIT
/* hash.c - hash table of futex waiters (internal.h) */
#include "sentry/futex/internal.h"

#define BUCKET_BITS 8
#define NR_BUCKETS (1u << BUCKET_BITS)

static struct futex_bucket buckets[NR_BUCKETS];
static pthread_once_t buckets_once = PTHREAD_ONCE_INIT;

static void init_buckets(void)
{
	size_t i;

	for (i = 0; i < NR_BUCKETS; i++) {
		pthread_mutex_init(&buckets[i].lock, NULL);
		TAILQ_INIT(&buckets[i].waiters);
	}
}

struct futex_bucket *futex_hash(const struct futex_key *key)
{
	uint64_t h = key->object + key->offset * 0x9e3779b97f4a7c15ull;

	pthread_once(&buckets_once, init_buckets);
	h *= 0xff51afd7ed558ccdull;
	return &buckets[h >> (64 - BUCKET_BITS)];
}

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	pthread_mutex_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		pthread_mutex_lock(a < b ? &b->lock : &a->lock);
}

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	pthread_mutex_unlock(&a->lock);
	if (a != b)
		pthread_mutex_unlock(&b->lock);
}

void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w)
{
	TAILQ_INSERT_TAIL(&b->waiters, w, link);
	atomic_store(&w->bucket, b);
}

bool futex_dequeue(struct futex_waiter *w)
{
	struct futex_bucket *b;

	/* It may be moved to another bucket until we have the right lock. */
	while ((b = atomic_load(&w->bucket))) {
		pthread_mutex_lock(&b->lock);
		if (atomic_load(&w->bucket) == b) {
			TAILQ_REMOVE(&b->waiters, w, link);
			atomic_store(&w->bucket, NULL);
			pthread_mutex_unlock(&b->lock);
			return true;
		}
		pthread_mutex_unlock(&b->lock);
	}
	return false;
}

static bool key_equal(const struct futex_key *a, const struct futex_key *b)
{
	return a->object == b->object && a->offset == b->offset;
}

int futex_collect(struct futex_bucket *b, const struct futex_key *key,
		  uint32_t bitset, int max, struct futex_wake_list *list)
{
	struct futex_waiter *w, *next;
	int n = 0;

	for (w = TAILQ_FIRST(&b->waiters);
	     w && n < max && list->n < FUTEX_WAKE_BATCH; w = next) {
		next = TAILQ_NEXT(w, link);
		if (!key_equal(&w->key, key) || !(w->bitset & bitset))
			continue;
		TAILQ_REMOVE(&b->waiters, w, link);
		list->tasks[list->n++] = task_get(w->task);
		n++;
		/* The waiter's stack may be gone from here on. */
		atomic_store(&w->bucket, NULL);
	}
	return n;
}

void futex_wake_list(struct futex_wake_list *list)
{
	int i;

	for (i = 0; i < list->n; i++) {
		task_wake(list->tasks[i]);
		task_put(list->tasks[i]);
	}
	list->n = 0;
}
