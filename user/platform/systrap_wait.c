// SPDX-License-Identifier: MIT
/*
 * systrap_wait.c - hand over the turn, and wait to get it back
 *
 * Both sides sleep on one word, the context's state: the stub while it is the
 * sentry's turn, the sentry while it is the stub's. Before they sleep they may
 * spin, for a bounded time: with two CPUs a system call then costs no wake-up at
 * all. pace.h decides whether they do.
 *
 * Spinning on one CPU for a thread that would run on the same is worse than sleep,
 * and the scheduler, which sees two threads that wake each other, puts them
 * together. So a thread found on the own CPU is sent away before spinning for it. And
 * one that is to be waited for asleep is brought here whenever it is elsewhere, for to
 * wake it on another CPU takes ten times as long.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "systrap.h"

/*
 * A thread that does not answer an interrupt, or does not do what the stub code
 * does by itself, for so long, never will. Looked at in steps, since a thread that
 * is being made is not among those that the reaper wakes.
 */
#define PATIENCE_STEPS 100
#define PATIENCE_STEP_NS 100000000

static struct systrap_platform *platform_of(const struct systrap_context *ctx)
{
	return to_systrap(ctx->base.platform);
}

static uint32_t state_of(const struct systrap_thread *t)
{
	return __atomic_load_n(&t->tc->state, __ATOMIC_ACQUIRE);
}

static void wake(struct systrap_thread *t, int count)
{
	syscall(__NR_futex, &t->tc->state, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* ---- sleeping ---- */

static const struct timespec patience_step = { .tv_nsec = PATIENCE_STEP_NS };
static const struct timespec look_again = { .tv_sec = 1 };

/* Whoever asks for an interrupt may find nobody asleep yet: so never for ever. */
static int sleep_once(struct systrap_thread *t, bool impatient)
{
	return syscall(__NR_futex, &t->tc->state, FUTEX_WAIT, SYSMSG_CONTEXT_NONE,
		       impatient ? &patience_step : &look_again, NULL, 0) ? -errno : 0;
}

/* Has the program been asked to stop? Without a context the stub code runs alone. */
static bool is_awaited(struct systrap_context *ctx)
{
	return !ctx || atomic_load(&ctx->yield) ||
	       atomic_load(&ctx->interrupt) & SYSTRAP_PENDING;
}

/* @ctx: that runs the program, or NULL. */
static void sleep_for_stub(struct systrap_context *ctx, struct systrap_thread *t)
{
	bool impatient;
	int steps = 0;

	__atomic_store_n(&t->tc->sentry_sleeps, 1, __ATOMIC_RELAXED);
	/* Pairs with the stub's exchange of the state. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (state_of(t) == SYSMSG_CONTEXT_NONE && !atomic_load(&t->space->dead)) {
		impatient = is_awaited(ctx);
		if (sleep_once(t, impatient) == -ETIMEDOUT && impatient &&
		    ++steps == PATIENCE_STEPS)
			systrap_space_kill(t->space);
	}
	__atomic_store_n(&t->tc->sentry_sleeps, 0, __ATOMIC_RELAXED);
}

/* The state as the stub gives it, once and for all. */
static int read_state(struct systrap_thread *t)
{
	uint32_t state = state_of(t);

	if (atomic_load_explicit(&t->space->dead, memory_order_relaxed))
		return -ECHILD;
	if (state >= SYSMSG_CONTEXT_SYSCALL && state <= SYSMSG_CONTEXT_READY)
		return (int)state;
	systrap_space_kill(t->space);
	return -ECHILD;
}

/* ---- spinning ---- */

static bool spin_for_stub(struct systrap_thread *t, uint64_t start, uint64_t ticks)
{
	do {
		if (state_of(t) != SYSMSG_CONTEXT_NONE)
			return true;
		__builtin_ia32_pause();
	} while (__builtin_ia32_rdtsc() - start < ticks);
	return false;
}

/* More than one for two CPUs would be in each other's way. */
static bool may_spin(struct systrap_platform *p)
{
	if (atomic_fetch_add_explicit(&p->spinners, 1, memory_order_relaxed) < p->max_spinners)
		return true;
	atomic_fetch_sub_explicit(&p->spinners, 1, memory_order_relaxed);
	return false;
}

static void end_spinning(struct systrap_platform *p)
{
	atomic_fetch_sub_explicit(&p->spinners, 1, memory_order_relaxed);
}

/* ---- interrupts ---- */

/*
 * The signal stops the program; the wake-up has the sentry's thread look at its
 * watch from now on.
 */
void systrap_kick(struct systrap_thread *t)
{
	struct systrap_space *s = t->space;

	if (!s->pid)
		return;
	__atomic_store_n(&t->tc->interrupt, 1, __ATOMIC_SEQ_CST);
	tgkill(s->pid, t->tid, SYSTRAP_INTERRUPT_SIGNAL);
	wake(t, INT_MAX);
}

/* The lock keeps the thread from being given to another context. */
static void kick(struct systrap_context *ctx)
{
	struct systrap_platform *p = platform_of(ctx);
	struct systrap_thread *t;

	pthread_mutex_lock(&p->lock);
	t = atomic_load(&ctx->thread);
	if (t)
		systrap_kick(t);
	pthread_mutex_unlock(&p->lock);
}

/* ---- the turn ---- */

/*
 * Full barrier: then look whether the stub sleeps. Pairs with the stub's fence.
 * Returns true if it had to be woken.
 */
static bool give_turn(struct systrap_thread *t)
{
	__atomic_exchange_n(&t->tc->state, SYSMSG_CONTEXT_NONE, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&t->tc->stub_sleeps, __ATOMIC_RELAXED))
		return false;
	wake(t, 1);
	return true;
}

/* All at once: the stub polls this cache line. */
static bool hand_over(struct systrap_context *ctx, struct systrap_thread *t, uint32_t spin)
{
	bool woken;

	t->tc->spin = spin;
	t->tc->resume = ctx->resume;
	t->tc->rax = ctx->regs.rax;
	woken = give_turn(t);
	/* In a call signals are open, and one that came before was of no use. */
	if (!t->frame && is_awaited(ctx))
		kick(ctx);
	return woken;
}

/*
 * The same with the stub's thread on another CPU, or on this one. Only its place
 * when it wakes up is chosen: from then on it may go where it likes.
 */
static bool hand_over_at(struct systrap_context *ctx, struct systrap_thread *t, uint32_t spin,
			 const cpu_set_t *where)
{
	const struct systrap_platform *p = platform_of(ctx);
	bool woken;

	sched_setaffinity(t->tid, sizeof(*where), where);
	woken = hand_over(ctx, t, spin);
	sched_setaffinity(t->tid, sizeof(p->cpus), &p->cpus);
	return woken;
}

unsigned int systrap_this_cpu(void)
{
	unsigned int cpu;

	__builtin_ia32_rdtscp(&cpu);
	return cpu & SYSTRAP_TSC_AUX_CPU;
}

/* So far as it tells: any number. */
static unsigned int stub_cpu(const struct systrap_thread *t)
{
	return __atomic_load_n(&t->tc->cpu, __ATOMIC_RELAXED) & SYSTRAP_TSC_AUX_CPU;
}

static bool is_at(const struct systrap_thread *t, unsigned int cpu)
{
	return cpu == stub_cpu(t);
}

static bool hand_over_away(struct systrap_context *ctx, struct systrap_thread *t, unsigned int cpu)
{
	const struct systrap_platform *p = platform_of(ctx);
	cpu_set_t others = p->cpus;

	if (!is_at(t, cpu))
		return hand_over(ctx, t, p->spin_ticks);
	CPU_CLR(cpu, &others);
	return hand_over_at(ctx, t, p->spin_ticks, &others);
}

static void hand_over_here(struct systrap_context *ctx, struct systrap_thread *t, unsigned int cpu)
{
	cpu_set_t here;

	if (is_at(t, cpu)) {
		hand_over(ctx, t, 0);
		return;
	}
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	hand_over_at(ctx, t, 0, &here);
}

static void resume_spinning(struct systrap_context *ctx, struct systrap_thread *t,
			    unsigned int cpu, uint64_t start)
{
	uint64_t ticks = platform_of(ctx)->spin_ticks;
	bool hit;

	if (hand_over_away(ctx, t, cpu))
		ticks *= SYSMSG_SPIN_WAKEUP_FACTOR;
	hit = spin_for_stub(t, start, ticks);
	end_spinning(platform_of(ctx));
	if (hit) {
		systrap_count(&ctx->spin_hits);
	} else {
		systrap_count(&ctx->sleeps);
		sleep_for_stub(ctx, t);
	}
	pace_end(&ctx->pace, __builtin_ia32_rdtsc() - start, !hit);
}

static void resume_sleeping(struct systrap_context *ctx, struct systrap_thread *t)
{
	systrap_count(&ctx->sleeps);
	sleep_for_stub(ctx, t);
}

/* Where spinning is possible at all. */
static void resume_paced(struct systrap_context *ctx, struct systrap_thread *t)
{
	unsigned int cpu;
	uint64_t start = __builtin_ia32_rdtscp(&cpu);

	pace_begin(&ctx->pace);
	cpu &= SYSTRAP_TSC_AUX_CPU;
	if (ctx->pace.spin && may_spin(platform_of(ctx))) {
		resume_spinning(ctx, t, cpu, start);
		return;
	}
	hand_over_here(ctx, t, cpu);
	resume_sleeping(ctx, t);
	pace_end(&ctx->pace, __builtin_ia32_rdtsc() - start, false);
}

int systrap_resume(struct systrap_context *ctx, struct systrap_thread *t)
{
	if (platform_of(ctx)->spin_ticks) {
		resume_paced(ctx, t);
	} else {
		hand_over(ctx, t, 0);
		resume_sleeping(ctx, t);
	}
	return read_state(t);
}

int systrap_wait_ready(struct systrap_thread *t)
{
	const uint32_t ticks = to_systrap(t->space->base.platform)->spin_ticks;
	unsigned int cpu;
	uint64_t start = __builtin_ia32_rdtscp(&cpu);
	int state;

	if (is_at(t, cpu & SYSTRAP_TSC_AUX_CPU) || !spin_for_stub(t, start, ticks))
		sleep_for_stub(NULL, t);
	state = read_state(t);
	if (state < 0)
		return state;
	if (state == SYSMSG_CONTEXT_READY)
		return systrap_check_frame(t);
	systrap_space_kill(t->space);
	return -ECHILD;
}

int systrap_make_frame(struct systrap_thread *t)
{
	if (t->frame)
		return 0;
	t->tc->resume = SYSMSG_RESUME_MAKE_FRAME;
	give_turn(t);
	return systrap_wait_ready(t);
}

int systrap_check_frame(struct systrap_thread *t)
{
	const uint32_t frame = __atomic_load_n(&t->tc->frame, __ATOMIC_RELAXED);

	if (frame >= SYSMSG_ALTSTACK && frame <= SYSMSG_MSG - SYSTRAP_FRAME_SIZE && !(frame % 8)) {
		t->frame = frame;
		return 0;
	}
	systrap_space_kill(t->space);
	return -ECHILD;
}

/* ---- making room for the server ---- */

static bool stub_sleeps(const struct systrap_thread *t)
{
	return __atomic_load_n(&t->tc->stub_sleeps, __ATOMIC_RELAXED);
}

unsigned int systrap_spins_at(const struct systrap_context *ctx, const struct systrap_thread *t)
{
	const unsigned int cpu = stub_cpu(t);

	if (ctx->pace.spin && !stub_sleeps(t) && cpu != systrap_this_cpu() &&
	    CPU_ISSET(cpu, &platform_of(ctx)->cpus))
		return cpu;
	return SYSTRAP_ANY_CPU;
}

bool systrap_make_room(struct systrap_thread *t)
{
	/* Full barrier, as in give_turn(). */
	__atomic_exchange_n(&t->tc->state, SYSMSG_CONTEXT_OPS_OF(t->space->ops->seq),
			    __ATOMIC_SEQ_CST);
	return !stub_sleeps(t);
}

/* ---- from outside ---- */

void systrap_wake_all(struct systrap_space *s)
{
	struct systrap_thread *t;

	LIST_FOREACH(t, &s->threads, link) {
		__atomic_store_n(&t->tc->state, SYSMSG_CONTEXT_DEAD, __ATOMIC_SEQ_CST);
		wake(t, INT_MAX);
	}
	pthread_cond_broadcast(&s->thread_free);
}

/* One that waits for a thread, or makes one, looks at the pending bit by itself. */
static void end_queueing(struct systrap_context *ctx)
{
	struct systrap_platform *p = platform_of(ctx);
	struct systrap_space *s;

	pthread_mutex_lock(&p->lock);
	LIST_FOREACH(s, &p->spaces, link) {
		if (atomic_load(&s->waiters))
			pthread_cond_broadcast(&s->thread_free);
	}
	pthread_mutex_unlock(&p->lock);
}

void systrap_interrupt(struct platform_context *c)
{
	struct systrap_context *ctx = (struct systrap_context *)c;

	if (atomic_fetch_or(&ctx->interrupt, SYSTRAP_PENDING) == SYSTRAP_RUNNING)
		kick(ctx);
	else if (atomic_load(&platform_of(ctx)->queueing))
		end_queueing(ctx);
}

void systrap_preempt(struct platform_context *c)
{
	struct systrap_context *ctx = (struct systrap_context *)c;
	unsigned int running = SYSTRAP_RUNNING;

	if (atomic_compare_exchange_strong(&ctx->interrupt, &running,
					   SYSTRAP_RUNNING | SYSTRAP_PENDING))
		kick(ctx);
}

void systrap_prepare_sleep(struct platform_context *c)
{
	struct systrap_context *ctx = (struct systrap_context *)c;
	struct systrap_thread *t = atomic_load_explicit(&ctx->thread, memory_order_relaxed);

	/* A thread that was taken away does not mind. */
	if (t && t->tc->spin)
		t->tc->spin = 0;
}
