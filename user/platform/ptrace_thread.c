// SPDX-License-Identifier: MIT
/*
 * ptrace_thread.c - which host thread traces which stub thread
 *
 * A stub thread is parked (nobody's), bound (traced by the host thread that
 * switches its context), or an orphan: its context went on to another host
 * thread, and the tracer, the only one who can let go of it, has not come back
 * yet. The full state of a context is in the sentry's memory whenever it has no
 * thread, so contexts move between threads and processes by leaving one stub
 * thread and taking another.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "ptrace.h"

/* Its address is what tells host threads apart, without a system call. */
static __thread char self;

bool ptrace_context_is_mine(const struct ptrace_context *ctx)
{
	return atomic_load_explicit(&ctx->owner, memory_order_relaxed) == &self;
}

static struct ptrace_platform *platform_of(const struct ptrace_context *ctx)
{
	return (struct ptrace_platform *)ctx->base.platform;
}

/* ---- tracers ---- */

/* Of the calling thread; NULL without memory. */
static struct ptrace_tracer *current_tracer(struct ptrace_platform *p)
{
	struct ptrace_tracer *tracer = pthread_getspecific(p->tracer_key);

	if (tracer)
		return tracer;
	tracer = calloc(1, sizeof(*tracer));
	if (!tracer)
		return NULL;
	tracer->platform = p;
	LIST_INIT(&tracer->threads);
	if (pthread_setspecific(p->tracer_key, tracer)) {
		free(tracer);
		return NULL;
	}
	atomic_fetch_add(&p->refs, 1);
	pthread_mutex_lock(&p->lock);
	LIST_INSERT_HEAD(&p->tracers, tracer, link);
	pthread_mutex_unlock(&p->lock);
	return tracer;
}

/* Under the lock, like the next one. */
static void make_orphan(struct ptrace_thread *t)
{
	ptrace_pair_end_locked(t->ctx);
	t->ctx->thread = NULL;
	t->ctx->owner = NULL;
	t->ctx = NULL;
	atomic_fetch_add(&t->tracer->orphans, 1);
}

/* Takes the thread out of its tracer's hands; true: the process has no user. */
static bool leave_tracer(struct ptrace_thread *t)
{
	if (t->ctx)
		make_orphan(t);
	LIST_REMOVE(t, link);
	atomic_fetch_sub(&t->tracer->orphans, 1);
	t->tracer = NULL;
	return !--t->proc->refs;
}

int ptrace_thread_died(struct ptrace_thread *t)
{
	struct ptrace_platform *p = t->tracer->platform;
	struct ptrace_process *proc = t->proc;
	bool last;

	proc->dead = true;
	pthread_mutex_lock(&p->lock);
	t->tid = 0;
	last = leave_tracer(t);
	proc->nr_threads--;
	pthread_mutex_unlock(&p->lock);
	free(t);
	if (last)
		ptrace_master_retire(p, proc);
	return -ECHILD;
}

/* Reaps a thread whose tracer just learnt from a request that it is dying. */
static int reap(struct ptrace_thread *t)
{
	int status;

	while (!ptrace_wait(t->tid, &status))
		ptrace(PTRACE_CONT, t->tid, 0, 0);
	return ptrace_thread_died(t);
}

/* ---- parking ---- */

/* Leaves nothing of the program in the registers of a thread nobody traces. */
static int load_parked_regs(const struct ptrace_platform *p, pid_t tid)
{
	struct user_regs_struct regs;

	memset(&regs, 0, sizeof(regs));
	regs.rip = PTRACE_STUB_ADDR(p->stub, park);
	regs.orig_rax = -1;
	regs.cs = PLATFORM_USER_CS;
	regs.ss = PLATFORM_USER_SS;
	return ptrace(PTRACE_SETREGS, tid, 0, &regs) ? -ECHILD : 0;
}

static int detach(const struct ptrace_platform *p, pid_t tid)
{
	uint64_t all = ~0ull;

	if (load_parked_regs(p, tid))
		return -ECHILD;
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(all), &all))
		return -ECHILD;
	return ptrace(PTRACE_DETACH, tid, 0, 0) ? -ECHILD : 0;
}

/* For a thread of the calling tracer, which is stopped. */
static void park(struct ptrace_thread *t)
{
	struct ptrace_platform *p = t->tracer->platform;
	struct ptrace_process *proc = t->proc;
	bool last;

	if (detach(p, t->tid)) {
		reap(t);
		return;
	}
	pthread_mutex_lock(&p->lock);
	last = leave_tracer(t);
	LIST_INSERT_HEAD(&proc->parked, t, link);
	pthread_mutex_unlock(&p->lock);
	if (last)
		ptrace_master_retire(p, proc);
}

static struct ptrace_thread *find_orphan(struct ptrace_tracer *tracer)
{
	struct ptrace_platform *p = tracer->platform;
	struct ptrace_thread *t;

	pthread_mutex_lock(&p->lock);
	LIST_FOREACH(t, &tracer->threads, link) {
		if (!t->ctx)
			break;
	}
	pthread_mutex_unlock(&p->lock);
	return t;
}

/* By the tracer itself, whenever it comes by. */
static void park_orphans(struct ptrace_tracer *tracer)
{
	struct ptrace_thread *t;

	while (atomic_load(&tracer->orphans) && (t = find_orphan(tracer)))
		park(t);
}

static void orphan(struct ptrace_context *ctx)
{
	struct ptrace_platform *p = platform_of(ctx);

	pthread_mutex_lock(&p->lock);
	if (ctx->thread)
		make_orphan(ctx->thread);
	pthread_mutex_unlock(&p->lock);
}

void ptrace_thread_drop(struct ptrace_context *ctx)
{
	if (ptrace_context_is_mine(ctx))
		park(ctx->thread);
	else
		orphan(ctx);
}

/*
 * The context whose state only this thread can fetch, or NULL: a context whose
 * state has been pulled may be on its way to another thread, so its stub thread
 * is made an orphan before that can happen.
 */
static struct ptrace_context *context_to_pull(struct ptrace_platform *p, struct ptrace_thread *t)
{
	struct ptrace_context *ctx;

	pthread_mutex_lock(&p->lock);
	ctx = t->ctx;
	if (ctx && atomic_load_explicit(&ctx->xstate_valid, memory_order_relaxed)) {
		make_orphan(t);
		ctx = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	return ctx;
}

static struct ptrace_thread *first_traced(struct ptrace_tracer *tracer)
{
	struct ptrace_platform *p = tracer->platform;
	struct ptrace_thread *t;

	pthread_mutex_lock(&p->lock);
	t = LIST_FIRST(&tracer->threads);
	pthread_mutex_unlock(&p->lock);
	return t;
}

static void park_all(struct ptrace_tracer *tracer)
{
	struct ptrace_platform *p = tracer->platform;
	struct ptrace_context *ctx;
	struct ptrace_thread *t;

	while ((t = first_traced(tracer))) {
		ctx = context_to_pull(p, t);
		/* A failure means that the thread died and is off the list. */
		if (ctx && ptrace_pull_full_state(&ctx->base))
			continue;
		park(t);
	}
}

void ptrace_tracer_exit(void *arg)
{
	struct ptrace_tracer *tracer = arg;
	struct ptrace_platform *p = tracer->platform;

	pthread_mutex_lock(&p->exit_lock);
	if (!p->closed)
		park_all(tracer);
	pthread_mutex_lock(&p->lock);
	LIST_REMOVE(tracer, link);
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_unlock(&p->exit_lock);
	free(tracer);
	ptrace_platform_put(p);
}

/* ---- binding ---- */

static struct ptrace_thread *take_parked(struct ptrace_platform *p, struct ptrace_process *proc)
{
	struct ptrace_thread *t;

	pthread_mutex_lock(&p->lock);
	t = LIST_FIRST(&proc->parked);
	if (t)
		LIST_REMOVE(t, link);
	pthread_mutex_unlock(&p->lock);
	return t;
}

static int new_thread(struct ptrace_platform *p, struct ptrace_process *proc,
		      struct ptrace_thread **out)
{
	int err;

	err = ptrace_master_new_thread(p, proc, out);
	if (err)
		return err;
	pthread_mutex_lock(&p->lock);
	proc->nr_threads++;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static int attach(struct ptrace_thread *t)
{
	int err;

	err = ptrace_seize(t->tid);
	if (!err)
		err = ptrace_set_sigmask(t->tid, 0);
	t->loaded_valid = false;
	return err;
}

/* Undoes take_parked() for a thread that could not be attached. */
static void give_back(struct ptrace_platform *p, struct ptrace_thread *t, int err)
{
	struct ptrace_process *proc = t->proc;

	pthread_mutex_lock(&p->lock);
	if (err == -ECHILD) {
		proc->dead = true;
		proc->nr_threads--;
	} else {
		LIST_INSERT_HEAD(&proc->parked, t, link);
	}
	pthread_mutex_unlock(&p->lock);
	if (err == -ECHILD)
		free(t);
}

static void enter_tracer(struct ptrace_thread *t, struct ptrace_tracer *tracer,
			 struct ptrace_context *ctx)
{
	struct ptrace_platform *p = tracer->platform;

	pthread_mutex_lock(&p->lock);
	t->tracer = tracer;
	t->ctx = ctx;
	LIST_INSERT_HEAD(&tracer->threads, t, link);
	t->proc->refs++;
	ctx->thread = t;
	ctx->owner = &self;
	pthread_mutex_unlock(&p->lock);
	ctx->xstate_dirty = true;
}

static int acquire(struct ptrace_context *ctx, struct ptrace_process *proc)
{
	struct ptrace_platform *p = platform_of(ctx);
	struct ptrace_tracer *tracer = current_tracer(p);
	struct ptrace_thread *t;
	int err;

	if (!tracer)
		return -ENOMEM;
	park_orphans(tracer);
	if (proc->dead)
		return -ECHILD;
	t = take_parked(p, proc);
	if (!t) {
		err = new_thread(p, proc, &t);
		if (err)
			return err;
	}
	err = attach(t);
	if (err) {
		give_back(p, t, err);
		return err;
	}
	enter_tracer(t, tracer, ctx);
	return 0;
}

/* Leaves the old thread with all of the context's state in the sentry. */
static int leave(struct ptrace_context *ctx)
{
	int err;

	err = ptrace_pull_full_state(&ctx->base);
	if (!err)
		ptrace_thread_drop(ctx);
	return err;
}

static void set_address_space(struct ptrace_context *ctx, struct ptrace_address_space *as)
{
	struct ptrace_platform *p = platform_of(ctx);

	pthread_mutex_lock(&p->fault_lock);
	if (ctx->as)
		LIST_REMOVE(ctx, as_link);
	LIST_INSERT_HEAD(&as->contexts, ctx, as_link);
	ctx->as = as;
	ctx->fault_seen = false;
	pthread_mutex_unlock(&p->fault_lock);
}

int ptrace_thread_bind(struct ptrace_context *ctx, struct ptrace_address_space *as)
{
	bool mine = ptrace_context_is_mine(ctx);
	int err;

	if (!mine || ctx->thread->proc != as->proc) {
		err = leave(ctx);
		if (!err)
			err = acquire(ctx, as->proc);
		if (err)
			return err;
	}
	if (ctx->as != as)
		set_address_space(ctx, as);
	return 0;
}
