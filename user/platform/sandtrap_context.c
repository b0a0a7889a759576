// SPDX-License-Identifier: MIT
/*
 * sandtrap_context.c - contexts of the sandtrap platform; context_switch()
 *
 * In direct mode the thread becomes the program, with one lseek(). In ring mode there
 * are two ways to wait for it. Blocking: one lseek(), which hands the
 * CPU to the stub's thread and gets it back with the event. Spinning, where
 * there is a CPU to spare: the answer is a store to the shared page, which the
 * stub's thread sees inside the kernel, and the event is seen in the page; no
 * system call at all. A spin that does not pay several times in a row makes
 * the next switches block; the pause doubles while that goes on.
 */
#include <assert.h>
#include <errno.h>
#include <linux/rseq.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cpuid_insn.h"
#include "sandtrap.h"

#define SPIN_MISSES 3
#define SPIN_PAUSE_FIRST 16
#define SPIN_PAUSE_LAST 4096

/*
 * A thread that sleeps must be woken on another CPU first, which takes longer than
 * an answer does. Both spin from then on, if this pays.
 */
#define SPIN_WAKEUP_FACTOR 10

/* Looks at the page between two looks at the clock. */
#define SPIN_ROUND 64

static_assert(sizeof(struct sandtrap_regs) == sizeof(struct user_regs_struct),
	      "registers are shared with the module as they are");
static_assert(offsetof(struct sandtrap_context_page, resume_seq) == 64,
	      "each side writes a cache line of its own");
static_assert(offsetof(struct sandtrap_context_page, regs) == 128, "layout");
static_assert(offsetof(struct sandtrap_context_page, fault) == 384, "layout");
static_assert(offsetof(struct sandtrap_regs, gs) ==
	      offsetof(struct user_regs_struct, gs), "layout");

static struct sandtrap_context *to_context(struct platform_context *ctx)
{
	return (struct sandtrap_context *)ctx;
}

static int module_fd(const struct sandtrap_context *ctx)
{
	return to_sandtrap(ctx->base.platform)->fd;
}

/* life */

static void release_id(struct sandtrap_platform *p, uint32_t id)
{
	struct sandtrap_context_arg arg = { .size = sizeof(arg), .id = id };

	ioctl(p->fd, SANDTRAP_RELEASE_CONTEXT, &arg);
}

int sandtrap_new_context(struct platform *base, struct platform_context **out)
{
	struct sandtrap_platform *p = to_sandtrap(base);
	struct sandtrap_new_context arg = {
		.size = sizeof(arg),
		.flags = p->direct ? SANDTRAP_CONTEXT_DIRECT : 0,
		.address_space = -1,
	};
	struct sandtrap_context *ctx;
	int err;

	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	if (ioctl(p->fd, SANDTRAP_NEW_CONTEXT, &arg)) {
		err = errno == ENOSPC ? -EAGAIN : -errno;
		free(ctx);
		return err;
	}
	ctx->base.platform = base;
	ctx->id = arg.out_id;
	ctx->page = mmap(NULL, p->info.out_context_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, p->fd, arg.out_mmap_offset);
	if (ctx->page == MAP_FAILED) {
		err = -errno;
		release_id(p, ctx->id);
		free(ctx);
		return err;
	}
	ctx->seq = ctx->page->event_seq;
	ctx->full = true;
	ctx->base.state.regs = (struct user_regs_struct *)&ctx->page->regs;
	ctx->base.state.xstate = (char *)ctx->page + SANDTRAP_FPU_OFFSET;
	ctx->base.state.xstate_size = p->info.out_fpu_size;
	pthread_mutex_lock(&p->lock);
	LIST_INSERT_HEAD(&p->contexts, ctx, link);
	pthread_mutex_unlock(&p->lock);
	*out = &ctx->base;
	return 0;
}

static void add_counters(struct sandtrap_counters *to,
			 const struct sandtrap_counters *from)
{
	to->switches += from->switches;
	to->spin_hits += from->spin_hits;
	to->sleeps += from->sleeps;
}

void sandtrap_context_release(struct platform_context *base)
{
	struct sandtrap_platform *p = to_sandtrap(base->platform);
	struct sandtrap_context *ctx = to_context(base);

	pthread_mutex_lock(&p->lock);
	LIST_REMOVE(ctx, link);
	if (ctx->as)
		LIST_REMOVE(ctx, as_link);
	add_counters(&p->released, &ctx->counters);
	pthread_mutex_unlock(&p->lock);
	release_id(p, ctx->id);
	munmap(ctx->page, p->info.out_context_size);
	free(ctx);
}

void sandtrap_stats(struct platform *base, struct platform_stats *out)
{
	struct sandtrap_platform *p = to_sandtrap(base);
	struct sandtrap_counters sum = { 0 };
	struct sandtrap_context *ctx;

	pthread_mutex_lock(&p->lock);
	add_counters(&sum, &p->released);
	LIST_FOREACH(ctx, &p->contexts, link)
		add_counters(&sum, &ctx->counters);
	pthread_mutex_unlock(&p->lock);
	out->switches = sum.switches;
	out->spin_hits = sum.spin_hits;
	out->sleeps = sum.sleeps;
	out->memory_ops = p->memory_ops;
	out->memory_batches = p->memory_batches;
}

/* binding */

static int bind_command(struct sandtrap_context *ctx, int as_fd)
{
	struct sandtrap_bind_context arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.address_space = as_fd,
	};

	while (ioctl(module_fd(ctx), SANDTRAP_BIND_CONTEXT, &arg)) {
		if (errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
	}
	return 0;
}

/* What the thread of the old address space holds would be lost with it. */
void sandtrap_context_unbind(struct sandtrap_context *ctx)
{
	sandtrap_pull_full_state(&ctx->base);
	bind_command(ctx, -1);
	LIST_REMOVE(ctx, as_link);
	ctx->as = NULL;
	/* A new thread loads everything, whatever the flags say. */
	ctx->full = true;
}

static int bind(struct sandtrap_context *ctx, struct sandtrap_space *as)
{
	struct sandtrap_platform *p = to_sandtrap(ctx->base.platform);
	int err;

	pthread_mutex_lock(&p->lock);
	if (ctx->as)
		sandtrap_context_unbind(ctx);
	err = bind_command(ctx, as->fd);
	if (!err) {
		ctx->as = as;
		LIST_INSERT_HEAD(&as->contexts, ctx, as_link);
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

/* waiting */

static uint32_t event_seq(const struct sandtrap_context *ctx)
{
	/* Pairs with the release in the module: then the event is there. */
	return __atomic_load_n(&ctx->page->event_seq, __ATOMIC_ACQUIRE);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static bool spin(struct sandtrap_context *ctx, uint32_t ns)
{
	uint64_t end = 0;
	int i;

	for (;;) {
		for (i = 0; i < SPIN_ROUND; i++) {
			if (event_seq(ctx) != ctx->seq)
				return true;
			__builtin_ia32_pause();
		}
		if (!end)
			end = now_ns() + ns;
		else if (now_ns() >= end)
			return false;
	}
}

/* Is spinning worth a try this time? */
static bool may_spin(struct sandtrap_context *ctx)
{
	if (!to_sandtrap(ctx->base.platform)->spin_ns)
		return false;
	if (!ctx->spin_pause)
		return true;
	ctx->spin_pause--;
	return false;
}

static void spin_result(struct sandtrap_context *ctx, bool hit)
{
	unsigned int over;

	if (hit) {
		sandtrap_count(&ctx->counters.spin_hits);
		ctx->spin_misses = 0;
		return;
	}
	if (++ctx->spin_misses < SPIN_MISSES)
		return;
	over = ctx->spin_misses - SPIN_MISSES;
	ctx->spin_pause = over < 8 ? SPIN_PAUSE_FIRST << over : SPIN_PAUSE_LAST;
}

static int wait_event(struct sandtrap_context *ctx)
{
	struct sandtrap_wait arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = ctx->seq,
		.timeout_ns = SANDTRAP_WAIT_FOREVER,
	};

	while (event_seq(ctx) == ctx->seq) {
		if (ioctl(module_fd(ctx), SANDTRAP_WAIT, &arg) &&
		    errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
	}
	return 0;
}

static int run_spinning(struct sandtrap_context *ctx)
{
	struct sandtrap_context_arg arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = ctx->seq,
	};
	uint32_t ns = ctx->page->spin_ns;
	bool hit;

	/*
	 * A full barrier between the store and the load: pairs with the stub's
	 * thread setting need_wakeup and then looking at resume_seq.
	 */
	__atomic_store_n(&ctx->page->resume_seq, ctx->seq, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ctx->page->need_wakeup, __ATOMIC_RELAXED)) {
		if (ioctl(module_fd(ctx), SANDTRAP_RESUME, &arg))
			return errno == ESRCH ? -ECHILD : -errno;
		ns *= SPIN_WAKEUP_FACTOR;
	}
	hit = spin(ctx, ns);
	spin_result(ctx, hit);
	if (hit)
		return 0;
	sandtrap_count(&ctx->counters.sleeps);
	return wait_event(ctx);
}

static int run_blocking(struct sandtrap_context *ctx)
{
	sandtrap_count(&ctx->counters.sleeps);
	/* Pairs with the stub's thread, which looks at it before all else. */
	__atomic_store_n(&ctx->page->resume_seq, ctx->seq, __ATOMIC_RELEASE);
	while (lseek(module_fd(ctx), ctx->id, SEEK_SET)) {
		if (errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
	}
	return 0;
}

/*
 * A thread with restartable sequences pays for every switch to it, and cannot run
 * programs itself. libc registers all threads, to no use of ours; without, its
 * sched_getcpu() asks the kernel.
 */
static void forget_rseq(void)
{
	static __thread bool done;

	if (done)
		return;
	done = true;
	if (__rseq_size)
		syscall(SYS_rseq,
			(char *)__builtin_thread_pointer() + __rseq_offset,
			sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

/* The call becomes the program, and returns with its next event. */
static int run_direct(struct sandtrap_context *ctx)
{
	__atomic_store_n(&ctx->page->resume_seq, ctx->seq, __ATOMIC_RELAXED);
	while (lseek(module_fd(ctx), ctx->id, SEEK_SET)) {
		if (errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
	}
	return 0;
}

static int run_with_ops(struct sandtrap_context *ctx,
			const struct sandtrap_mem_op *ops, int nr_ops)
{
	struct sandtrap_run arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = ctx->seq,
		.ops = (uintptr_t)ops,
		.nr_ops = nr_ops,
	};

	sandtrap_count(&ctx->counters.sleeps);
	while (ioctl(module_fd(ctx), SANDTRAP_RUN, &arg)) {
		if (errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
		/* Operations that were done are not done again. */
		if (arg.nr_ops) {
			arg.ops += arg.out_ops_done * sizeof(*ops);
			arg.nr_ops -= arg.out_ops_done;
			arg.ops = arg.nr_ops ? arg.ops : 0;
		}
	}
	return 0;
}

/* There may be memory operations to do first. Not inlined for its stack. */
static __attribute__((noinline)) int run_queue(struct sandtrap_context *ctx,
					       bool spinning)
{
	struct sandtrap_mem_op ops[SANDTRAP_QUEUE_MAX];
	int nr_ops, err;

	nr_ops = sandtrap_space_take(ctx->as, ctx, ops);
	if (nr_ops < 0)
		return platform_op_error(nr_ops);
	if (!nr_ops && to_sandtrap(ctx->base.platform)->direct)
		return run_direct(ctx);
	if (!nr_ops)
		return spinning ? run_spinning(ctx) : run_blocking(ctx);
	err = run_with_ops(ctx, ops, nr_ops);
	sandtrap_space_taken(ctx->as, ctx, ops, nr_ops);
	return platform_op_error(err);
}

static int run(struct sandtrap_context *ctx)
{
	bool spinning;

	if (to_sandtrap(ctx->base.platform)->direct) {
		if (atomic_load_explicit(&ctx->as->dirty, memory_order_acquire))
			return run_queue(ctx, false);
		return run_direct(ctx);
	}
	spinning = may_spin(ctx);
	ctx->page->spin_ns = spinning ?
		to_sandtrap(ctx->base.platform)->spin_ns : 0;
	/* Pairs with the release of whoever carried out the last operation. */
	if (atomic_load_explicit(&ctx->as->dirty, memory_order_acquire))
		return run_queue(ctx, spinning);
	return spinning ? run_spinning(ctx) : run_blocking(ctx);
}

/* events */

static void signal_event(const struct sandtrap_fault *f,
			 struct platform_event *ev)
{
	memset(&ev->info, 0, sizeof(ev->info));
	ev->kind = PLATFORM_SIGNAL;
	ev->flags = PLATFORM_EVENT_TRAP_VALID;
	ev->access = f->access;
	ev->trap_nr = f->trap_nr;
	ev->error_code = f->error_code;
	ev->cr2 = f->cr2;
	ev->info.si_signo = f->signo;
	ev->info.si_code = f->code;
	ev->info.si_addr = (void *)(uintptr_t)f->addr;
}

#define TRAP_GP 13

/* CPUID faults as a general protection fault: the instruction tells. */
static bool is_cpuid(struct sandtrap_context *ctx)
{
	struct segmentation_fault fault;
	uint8_t insn[X86_INSN_MAX];
	ssize_t n;

	if (!ctx->base.platform->cpuid_events || ctx->page->fault.trap_nr != TRAP_GP)
		return false;
	/* It may be the last one of the last page. */
	n = sandtrap_copy_in(&ctx->as->base, ctx->page->regs.rip, insn, sizeof(insn), &fault);
	return n > 0 && opcode_0f_offset(insn, (size_t)n, CPUID_BYTE_2) >= 0;
}

static int decode(struct sandtrap_context *ctx, struct platform_event *ev)
{
	const struct sandtrap_context_page *page = ctx->page;

	switch (page->event) {
	case SANDTRAP_EVENT_SYSCALL:
		ev->kind = PLATFORM_SYSCALL;
		ev->flags = page->event_flags & SANDTRAP_EVENT_F_COMPAT ?
			PLATFORM_EVENT_COMPAT : 0;
		return 0;
	case SANDTRAP_EVENT_FAULT:
		signal_event(&page->fault, ev);
		if (is_cpuid(ctx))
			ev->kind = PLATFORM_CPUID;
		return 0;
	case SANDTRAP_EVENT_INTERRUPT:
		ev->kind = PLATFORM_INTERRUPT;
		ev->flags = 0;
		return 0;
	case SANDTRAP_EVENT_ERROR:
		return -page->error;
	default:
		return -ECHILD;
	}
}

int sandtrap_switch(struct platform_context *base,
		    struct platform_address_space *as, int cpu,
		    struct platform_event *ev)
{
	struct sandtrap_context *ctx = to_context(base);
	int err;

	forget_rseq();
	if (ctx->as != (struct sandtrap_space *)as) {
		err = bind(ctx, (struct sandtrap_space *)as);
		if (err)
			return err;
	}
	ctx->page->resume_flags = ctx->resume_flags;
	sandtrap_count(&ctx->counters.switches);
	atomic_store_explicit(&ctx->switching, true, memory_order_relaxed);
	err = run(ctx);
	atomic_store_explicit(&ctx->switching, false, memory_order_relaxed);
	if (err)
		return err;

	ctx->seq = event_seq(ctx);
	err = decode(ctx, ev);
	/* After an error the program did not run: the state is as it was. */
	if (!err) {
		ctx->resume_flags = 0;
		ctx->full = false;
	}
	return err;
}

/* state */

int sandtrap_pull_full_state(struct platform_context *base)
{
	struct sandtrap_context *ctx = to_context(base);
	struct sandtrap_context_arg arg = {
		.size = sizeof(arg),
		.flags = SANDTRAP_STATE_ALL,
		.id = ctx->id,
	};

	if (ctx->full)
		return 0;
	while (ioctl(module_fd(ctx), SANDTRAP_PULL, &arg)) {
		if (errno != EINTR)
			return errno == ESRCH ? -ECHILD : -errno;
	}
	ctx->full = true;
	return 0;
}

void sandtrap_full_state_changed(struct platform_context *base)
{
	struct sandtrap_context *ctx = to_context(base);

	ctx->full = true;
	ctx->resume_flags = SANDTRAP_RESUME_LOAD_SEGMENTS |
			    SANDTRAP_RESUME_LOAD_FPU;
}

/* from other threads */

void sandtrap_interrupt(struct platform_context *base)
{
	struct sandtrap_context *ctx = to_context(base);
	struct sandtrap_context_arg arg = {
		.size = sizeof(arg),
		.id = ctx->id,
	};

	ioctl(module_fd(ctx), SANDTRAP_INTERRUPT, &arg);
}

void sandtrap_preempt(struct platform_context *base)
{
	if (atomic_load_explicit(&to_context(base)->switching,
				 memory_order_relaxed))
		sandtrap_interrupt(base);
}

void sandtrap_prepare_sleep(struct platform_context *base)
{
	/* A stub's thread that spins looks no further than this. */
	to_context(base)->page->spin_ns = 0;
}
