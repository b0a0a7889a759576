// SPDX-License-Identifier: MIT
/*
 * systrap_thread.c - stub threads: which one runs which context
 *
 * A thread is free (nobody's), held (by a context, whose FPU state is in its signal
 * frame), and while its context runs or somebody moves state, claimed. A context
 * that comes back to its own thread finds that out by one compare-and-swap. Only
 * one that has none, or lost it, comes here.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "systrap.h"

/* For how long a context waits for a thread before one of the others gives way. */
#define PATIENCE_NS 10000000

/* ---- birth ---- */

static void make_creation_ops(const struct systrap_platform *p, struct systrap_space *s,
			      unsigned int index)
{
	const uint64_t area = p->stub + SYSMSG_THREADS + (uint64_t)index * SYSMSG_AREA_SIZE;
	const uint64_t tc = area + SYSMSG_SHARED;
	struct sysmsg_ops *ops = s->ops;

	ops->area = area;
	ops->stack[0] = area + SYSMSG_ALTSTACK;
	ops->stack[1] = 0;
	ops->stack[2] = SYSMSG_ALTSTACK_SIZE;
	ops->ops[0] = (struct sysmsg_op){ __NR_mmap, {
		tc, SYSMSG_SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		s->memory_fd, SYSMSG_OPS_SIZE + (uint64_t)index * SYSMSG_SHARED_SIZE } };
	ops->ops[1] = (struct sysmsg_op){ __NR_mmap, {
		area + SYSMSG_STACK_PRIVATE, SYSMSG_STACK_PRIVATE_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0 } };
	ops->ops[2] = (struct sysmsg_op){ __NR_clone, {
		SYSTRAP_THREAD_CLONE_FLAGS,
		area + SYSMSG_STACK_PRIVATE + SYSMSG_STACK_PRIVATE_SIZE, 0,
		tc + offsetof(struct sysmsg_thread_context, tid), 0 } };
}

static struct systrap_thread *alloc_thread(struct systrap_space *s, unsigned int index)
{
	const struct systrap_platform *p = to_systrap(s->base.platform);
	struct systrap_thread *t;

	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->space = s;
	t->area = p->stub + SYSMSG_THREADS + (uint64_t)index * SYSMSG_AREA_SIZE;
	t->tc = (struct sysmsg_thread_context *)((char *)s->ops + SYSMSG_OPS_SIZE +
						 (uint64_t)index * SYSMSG_SHARED_SIZE);
	t->tc->options = p->options;
	((struct sysmsg_msg *)((char *)t->tc + SYSMSG_MSG_OF_TC))->state =
		SYSMSG_THREAD_INITIALIZING;
	t->claimed = true;
	return t;
}

static bool is_other_thread(struct systrap_space *s, pid_t tid)
{
	struct systrap_thread *t;

	if (tid == s->pid)
		return true;
	LIST_FOREACH(t, &s->threads, link) {
		if (t->tid == tid)
			return true;
	}
	return false;
}

/*
 * The thread's id, which the kernel has written to memory of the program. It is the new
 * one if it is in that process and no other of its threads: one is made at a time. To
 * find out, it is sent what the stub ignores, unless the sentry asks for an interrupt.
 */
static int read_tid(struct systrap_thread *t)
{
	struct systrap_space *s = t->space;
	struct systrap_platform *p = to_systrap(s->base.platform);
	const pid_t tid = (pid_t)__atomic_load_n(&t->tc->tid, __ATOMIC_RELAXED);
	bool good;

	pthread_mutex_lock(&p->lock);
	good = s->pid && tid > 0 && !is_other_thread(s, tid) &&
	       !tgkill(s->pid, tid, SYSTRAP_INTERRUPT_SIGNAL);
	pthread_mutex_unlock(&p->lock);
	if (good) {
		t->tid = tid;
		return 0;
	}
	systrap_space_kill(s);
	return -ECHILD;
}

/* Under ops_lock: the thread reads the server's page until it is ready. */
static int start_thread(struct systrap_thread *t, unsigned int index)
{
	struct systrap_space *s = t->space;
	const struct systrap_platform *p = to_systrap(s->base.platform);
	int err;

	make_creation_ops(p, s, index);
	err = systrap_run_ops(s, 3);
	if (!err)
		err = systrap_wait_ready(t);
	if (!err)
		err = read_tid(t);
	/* The thread has the server's affinity. */
	if (!err && s->server_cpu != SYSTRAP_ANY_CPU)
		sched_setaffinity(t->tid, sizeof(p->cpus), &p->cpus);
	return err;
}

int systrap_thread_create(struct systrap_space *s, unsigned int index,
			  struct systrap_thread **out)
{
	struct systrap_thread *t;
	int err;

	t = alloc_thread(s, index);
	if (!t)
		return -ENOMEM;
	pthread_mutex_lock(&s->ops_lock);
	/* They are in the page that is needed now. */
	err = systrap_flush_locked(s);
	if (!err)
		err = start_thread(t, index);
	pthread_mutex_unlock(&s->ops_lock);
	if (err) {
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

/* ---- giving up ---- */

void systrap_thread_unclaim(struct systrap_thread *t)
{
	struct systrap_space *s = t->space;
	struct systrap_platform *p = to_systrap(s->base.platform);

	/* Pairs with a waiter, which counts itself before it looks for a thread. */
	atomic_store(&t->claimed, false);
	if (!atomic_load(&s->waiters))
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&s->thread_free);
	pthread_mutex_unlock(&p->lock);
}

/* Under the lock; the thread is claimed. */
static void detach(struct systrap_thread *t)
{
	struct systrap_context *ctx = t->ctx;

	t->ctx = NULL;
	if (!ctx)
		return;
	atomic_store_explicit(&ctx->thread, NULL, memory_order_relaxed);
	ctx->loaded_valid = false;
	ctx->dirty = true;
	ctx->resume = 0;
}

static bool try_claim(struct systrap_thread *t)
{
	bool idle = false;

	return atomic_compare_exchange_strong(&t->claimed, &idle, true);
}

/* Whoever else has claimed it moves its state, which does not take long. */
struct systrap_thread *systrap_thread_claim_own(struct systrap_context *ctx)
{
	struct systrap_platform *p = to_systrap(ctx->base.platform);
	struct systrap_thread *t;

	for (;;) {
		pthread_mutex_lock(&p->lock);
		t = atomic_load(&ctx->thread);
		if (!t || try_claim(t))
			break;
		pthread_mutex_unlock(&p->lock);
		sched_yield();
	}
	pthread_mutex_unlock(&p->lock);
	return t;
}

void systrap_thread_drop(struct systrap_context *ctx)
{
	struct systrap_platform *p = to_systrap(ctx->base.platform);
	struct systrap_thread *t = systrap_thread_claim_own(ctx);

	if (!t)
		return;
	pthread_mutex_lock(&p->lock);
	detach(t);
	ctx->space = NULL;
	pthread_mutex_unlock(&p->lock);
	systrap_thread_unclaim(t);
}

/* The thread is claimed. A state that cannot be had died with its process. */
static int take_away(struct systrap_thread *t)
{
	struct systrap_platform *p = to_systrap(t->space->base.platform);
	int err = 0;

	if (t->ctx)
		err = systrap_save_state(t->ctx, t);
	pthread_mutex_lock(&p->lock);
	detach(t);
	pthread_mutex_unlock(&p->lock);
	return err;
}

/* Leaves the thread in another address space with all state in the sentry. */
static int leave(struct systrap_context *ctx)
{
	struct systrap_thread *t = systrap_thread_claim_own(ctx);
	int err;

	if (!t)
		return 0;
	err = take_away(t);
	systrap_thread_unclaim(t);
	return err;
}

void systrap_thread_yield(struct systrap_context *ctx)
{
	leave(ctx);
}

void systrap_forget_threads(struct systrap_space *s)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	struct systrap_context *ctx;
	struct systrap_thread *t;

	/* No context runs here, and no thread comes or goes any more. */
	LIST_FOREACH(t, &s->threads, link) {
		while (!try_claim(t))
			sched_yield();
		take_away(t);
		atomic_store(&t->claimed, false);
	}
	pthread_mutex_lock(&p->lock);
	LIST_FOREACH(ctx, &p->contexts, link) {
		if (ctx->space == s)
			ctx->space = NULL;
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- finding one ---- */

/* Under the lock: best one that is nobody's. */
static struct systrap_thread *find_idle(struct systrap_space *s)
{
	struct systrap_thread *t;

	LIST_FOREACH(t, &s->threads, link) {
		if (!t->ctx && try_claim(t))
			return t;
	}
	return NULL;
}

/* Under the lock: one whose context is in the sentry. The oldest are last. */
static struct systrap_thread *find_victim(struct systrap_space *s)
{
	struct systrap_thread *t;

	LIST_FOREACH(t, &s->threads, link) {
		if (try_claim(t))
			return t;
	}
	return NULL;
}

/* Under the lock, which is dropped meanwhile. */
static int add_thread(struct systrap_space *s, struct systrap_thread **out)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	unsigned int index = s->nr_threads++;
	int err;

	pthread_mutex_unlock(&p->lock);
	err = systrap_thread_create(s, index, out);
	pthread_mutex_lock(&p->lock);
	if (!err)
		LIST_INSERT_HEAD(&s->threads, *out, link);
	return err;
}

static void set_deadline(struct timespec *t)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_nsec += PATIENCE_NS;
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec++;
	}
}

/* Under the lock: the one that has been running for longest, by turns. */
static void preempt_one(struct systrap_space *s)
{
	struct systrap_thread *t, *last = NULL;

	LIST_FOREACH(t, &s->threads, link)
		last = t;
	if (!last || !last->ctx)
		return;
	LIST_REMOVE(last, link);
	LIST_INSERT_HEAD(&s->threads, last, link);
	atomic_store(&last->ctx->yield, true);
	systrap_kick(last);
}

/* Under the lock, which is dropped meanwhile. */
static void wait_for_thread(struct systrap_space *s, const struct systrap_waiter *w)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	struct timespec deadline;

	set_deadline(&deadline);
	if (pthread_cond_timedwait(&s->thread_free, &p->lock, &deadline) == ETIMEDOUT &&
	    TAILQ_FIRST(&s->queue) == w)
		preempt_one(s);
}

static bool is_wanted_back(struct systrap_context *ctx)
{
	return atomic_load(&ctx->interrupt) & SYSTRAP_PENDING;
}

/* Under the lock. 0 with @out NULL: there is none now. */
static int try_get_thread(struct systrap_space *s, struct systrap_thread **out)
{
	*out = find_idle(s);
	if (*out)
		return 0;
	if (s->nr_threads < to_systrap(s->base.platform)->max_threads)
		return add_thread(s, out);
	*out = find_victim(s);
	return 0;
}

/* Under the lock, as the next one. Served by turns, or one that yields would win. */
static int queue_for_thread(struct systrap_context *ctx, struct systrap_space *s,
			    const struct systrap_waiter *w, struct systrap_thread **out)
{
	int err;

	for (;;) {
		*out = NULL;
		if (atomic_load(&s->dead))
			return -ECHILD;
		if (TAILQ_FIRST(&s->queue) == w) {
			err = try_get_thread(s, out);
			if (err || *out)
				return err;
		}
		if (is_wanted_back(ctx))
			return -EINTR;
		wait_for_thread(s, w);
	}
}

/* The thread may still hold another context's state. */
static int get_thread(struct systrap_context *ctx, struct systrap_space *s,
		      struct systrap_thread **out)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	struct systrap_waiter w;
	int err;

	TAILQ_INSERT_TAIL(&s->queue, &w, link);
	atomic_fetch_add(&s->waiters, 1);
	atomic_fetch_add(&p->queueing, 1);
	err = queue_for_thread(ctx, s, &w, out);
	atomic_fetch_sub(&p->queueing, 1);
	atomic_fetch_sub(&s->waiters, 1);
	TAILQ_REMOVE(&s->queue, &w, link);
	if (!TAILQ_EMPTY(&s->queue))
		pthread_cond_broadcast(&s->thread_free);
	return err;
}

/* Under the lock; the thread is nobody's. */
static void attach(struct systrap_context *ctx, struct systrap_thread *t)
{
	t->ctx = ctx;
	ctx->space = t->space;
	ctx->loaded_valid = false;
	ctx->dirty = true;
	ctx->resume = 0;
	atomic_store_explicit(&ctx->thread, t, memory_order_relaxed);
}

int systrap_thread_bind(struct systrap_context *ctx, struct systrap_space *s)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	struct systrap_thread *t;
	int err;

	/* It may just have lost its thread, or be about to run elsewhere. */
	if (ctx->space == s && systrap_thread_claim(ctx, s))
		return 0;
	err = leave(ctx);
	if (err)
		return err;
	pthread_mutex_lock(&p->lock);
	err = get_thread(ctx, s, &t);
	pthread_mutex_unlock(&p->lock);
	if (err)
		return err;
	take_away(t);
	pthread_mutex_lock(&p->lock);
	attach(ctx, t);
	pthread_mutex_unlock(&p->lock);
	err = systrap_make_frame(t);
	if (err) {
		pthread_mutex_lock(&p->lock);
		detach(t);
		pthread_mutex_unlock(&p->lock);
		systrap_thread_unclaim(t);
	}
	return err;
}
