// SPDX-License-Identifier: MIT
/*
 * ptrace_pair.c - a tracer and its stub thread together on one CPU
 *
 * The two never run at the same time: each wakes the other and sleeps. The
 * scheduler does not know and wakes the sleeper on another CPU if that is idle,
 * which takes several times as long, most of all where a hypervisor has to be
 * asked. So the threads of a context that switches often are bound to the CPU
 * that the tracer is on. They are let go every PAIR_TIME, so that the scheduler
 * can spread pairs over the CPUs; and a program that turns to computing, as
 * well as a task that sleeps, is let go by the master, who looks at the pairs
 * every PTRACE_PAIR_CHECK_NS for as long as there are any.
 */
#include <sched.h>
#include <unistd.h>
#include <x86intrin.h>

#include "ptrace.h"

/* In cycles of the time stamp counter, some 0.3 ns each; and switches. */
#define PAIR_GAP 1000000ull
#define PAIR_TIME 150000000ull
#define PAIR_STREAK 16

static struct ptrace_platform *platform_of(const struct ptrace_context *ctx)
{
	return (struct ptrace_platform *)ctx->base.platform;
}

/* Unless somebody else has bound the thread meanwhile. Wider masks never wait. */
static void let_go(pid_t tid, const struct ptrace_pair *pair)
{
	cpu_set_t now;

	if (!sched_getaffinity(tid, sizeof(now), &now) && CPU_EQUAL(&now, &pair->bound))
		sched_setaffinity(tid, sizeof(pair->before), &pair->before);
}

void ptrace_pair_end_locked(struct ptrace_context *ctx)
{
	struct ptrace_pair *pair = &ctx->pair;

	if (!pair->on)
		return;
	pair->on = false;
	LIST_REMOVE(ctx, pair_link);
	let_go(pair->tracer, pair);
	/* A thread that died has no id any more. */
	if (ctx->thread->tid)
		let_go(ctx->thread->tid, pair);
}

/* Where the thread may run, and that it is now to run where it is. */
static bool choose_cpu(struct ptrace_pair *pair)
{
	int cpu = sched_getcpu();

	if (cpu < 0 || cpu >= CPU_SETSIZE ||
	    sched_getaffinity(0, sizeof(pair->before), &pair->before) ||
	    CPU_COUNT(&pair->before) < 2)
		return false;
	CPU_ZERO(&pair->bound);
	CPU_SET(cpu, &pair->bound);
	return true;
}

static void begin(struct ptrace_context *ctx)
{
	struct ptrace_platform *p = platform_of(ctx);
	struct ptrace_pair *pair = &ctx->pair;

	if (!choose_cpu(pair) ||
	    sched_setaffinity(ctx->thread->tid, sizeof(pair->bound), &pair->bound))
		return;
	pair->tracer = gettid();
	sched_setaffinity(0, sizeof(pair->bound), &pair->bound);
	pthread_mutex_lock(&p->lock);
	pair->on = true;
	pair->seen = 0;
	LIST_INSERT_HEAD(&p->pairs, ctx, pair_link);
	pthread_mutex_unlock(&p->lock);
	ptrace_master_watch_pairs(p);
}

/* The context switches for the last time in a row, or often enough. */
static void change(struct ptrace_context *ctx, uint64_t now)
{
	struct ptrace_platform *p = platform_of(ctx);
	struct ptrace_pair *pair = &ctx->pair;

	pair->streak = 0;
	if (pair->on) {
		pthread_mutex_lock(&p->lock);
		ptrace_pair_end_locked(ctx);
		pthread_mutex_unlock(&p->lock);
	} else {
		begin(ctx);
	}
	pair->end = now + PAIR_TIME;
}

void ptrace_pair_switch(struct ptrace_context *ctx)
{
	struct ptrace_pair *pair = &ctx->pair;
	uint64_t now = __rdtsc(), gap = now - pair->last;

	pair->last = now;
	if (gap > PAIR_GAP)
		pair->streak = 0;
	else if (pair->on ? now > pair->end : ++pair->streak > PAIR_STREAK)
		change(ctx, now);
}

bool ptrace_pair_check(struct ptrace_platform *p)
{
	struct ptrace_context *ctx, *next;
	unsigned long switches;
	bool left;

	pthread_mutex_lock(&p->lock);
	for (ctx = LIST_FIRST(&p->pairs); ctx; ctx = next) {
		next = LIST_NEXT(ctx, pair_link);
		switches = atomic_load_explicit(&ctx->switches, memory_order_relaxed);
		if (ctx->pair.seen == switches)
			ptrace_pair_end_locked(ctx);
		ctx->pair.seen = switches;
	}
	left = !LIST_EMPTY(&p->pairs);
	pthread_mutex_unlock(&p->lock);
	return left;
}
