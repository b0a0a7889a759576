// SPDX-License-Identifier: MIT
/*
 * systrap.c - the systrap platform: programs run by signals and shared memory
 *
 * Needs no module and no right to trace. See systrap.h for how it works.
 */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "systrap.h"
#include "xstate.h"

/*
 * Longer than any answer of a sentry that is at work takes, shorter than what a
 * wake-up on another CPU costs on a virtual machine.
 */
#define DEFAULT_SPIN_NS 20000

/* Stub threads of an address space, at least and for each CPU. */
#define MIN_THREADS 8
#define THREADS_PER_CPU 4

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2
#endif

static int global_memory_barrier(struct platform *base)
{
	return syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

static size_t seccomp_info(struct platform *base, const struct platform_seccomp_rule **rules)
{
	return systrap_sentry_rules(rules);
}

static void stats(struct platform *base, struct platform_stats *out)
{
	struct systrap_platform *p = to_systrap(base);
	struct systrap_context *ctx;

	pthread_mutex_lock(&p->lock);
	*out = p->released;
	LIST_FOREACH(ctx, &p->contexts, link) {
		out->switches += ctx->switches;
		out->spin_hits += ctx->spin_hits;
		out->sleeps += ctx->sleeps;
	}
	pthread_mutex_unlock(&p->lock);
	out->memory_ops = p->memory_ops;
	out->memory_batches = p->memory_batches;
}

static void free_platform(struct systrap_platform *p)
{
	pthread_mutex_destroy(&p->template_lock);
	pthread_cond_destroy(&p->nursery_cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void stop(struct systrap_platform *p)
{
	systrap_stop_nursery(p);
	systrap_put_spares(p);
	systrap_stop(p);
	systrap_space_put(p->template);
	close(p->image_fd);
}

static void release(struct platform *base)
{
	struct systrap_platform *p = to_systrap(base);

	stop(p);
	free_platform(p);
}

static const struct platform_ops systrap_ops = {
	.release = release,
	.new_address_space = systrap_new_address_space,
	.new_context = systrap_new_context,
	.global_memory_barrier = global_memory_barrier,
	.seccomp_info = seccomp_info,
	.stats = stats,
	.switch_to = systrap_switch,
	.pull_full_state = systrap_pull_full_state,
	.full_state_changed = systrap_full_state_changed,
	.interrupt = systrap_interrupt,
	.preempt = systrap_preempt,
	.prepare_sleep = systrap_prepare_sleep,
	.context_release = systrap_context_release,
	.map_file = systrap_map_file,
	.unmap = systrap_unmap,
	.protect = systrap_protect,
	.flush = systrap_flush,
	.address_space_release = systrap_address_space_release,
};

/* ---- facts about the machine ---- */

static unsigned int count_cpus(struct systrap_platform *p)
{
	if (sched_getaffinity(0, sizeof(p->cpus), &p->cpus))
		return 1;
	return CPU_COUNT(&p->cpus);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

struct tsc_sample {
	uint64_t ns;
	uint64_t tsc;
};

static struct tsc_sample sample_tsc(void)
{
	return (struct tsc_sample){ now_ns(), __builtin_ia32_rdtsc() };
}

/* The start-up in between is long enough to tell the clock's rate. */
static void set_spinning(struct systrap_platform *p, const struct platform_options *opts,
			 const struct tsc_sample *before)
{
	const unsigned int cpus = count_cpus(p);
	const struct tsc_sample after = sample_tsc();
	uint64_t ns = opts->spin_ns == PLATFORM_SPIN_DEFAULT ? DEFAULT_SPIN_NS : opts->spin_ns;
	uint64_t ticks;

	if (cpus < 2 || after.ns <= before->ns)
		return;
	ticks = (double)ns * (after.tsc - before->tsc) / (after.ns - before->ns);
	p->spin_ns = ns;
	p->spin_ticks = ticks < UINT32_MAX ? ticks : UINT32_MAX;
	p->max_spinners = cpus / 2;
}

/* Where the vDSO does not end up in the stub's range. */
static uint64_t choose_base(const struct platform_vdso *vdso)
{
	if (vdso->end > SYSMSG_BASE && vdso->start < SYSMSG_BASE + SYSMSG_SIZE)
		return SYSMSG_BASE_2;
	return SYSMSG_BASE;
}

static bool has_user_dispatch(void)
{
	/* Off is what it is. */
	return !prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
}

static int start(struct systrap_platform *p, const struct platform_options *opts)
{
	const struct tsc_sample before = sample_tsc();
	unsigned int threads = THREADS_PER_CPU * count_cpus(p);
	bool registered = platform_register_for_barrier();
	int err;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		return -EOPNOTSUPP;
	err = platform_find_vdso(&p->base.vdso);
	if (err)
		return err;
	p->stub = choose_base(&p->base.vdso);
	p->dispatch = !opts->disable_syscall_user_dispatch &&
		      has_user_dispatch();
	p->max_threads = threads > MIN_THREADS ? threads : MIN_THREADS;
	if (p->max_threads > SYSMSG_THREADS_MAX)
		p->max_threads = SYSMSG_THREADS_MAX;
	/* The entry uses RORX. */
	if (!opts->disable_syscall_patching && __builtin_cpu_supports("bmi2")) {
		p->options |= SYSMSG_OPTION_PATCH;
		p->base.usertrap_entry = SYSMSG_CALL(p->stub);
	}
	err = systrap_start(p);
	if (err)
		return err;
	err = systrap_first_spare(p);
	if (!err && count_cpus(p) > 1)
		err = systrap_start_nursery(p);
	if (err) {
		stop(p);
		return err;
	}
	p->base.detects_access = true;
	p->base.untrusted_stops = true;
	p->base.min_user_address = platform_min_user_address();
	p->base.max_user_address = SYSMSG_BASE;
	p->base.concurrency_count = INT_MAX;
	if (!registered)
		p->base.have_global_memory_barrier = false;
	set_spinning(p, opts, &before);
	return 0;
}

static int systrap_new(const struct platform_options *opts, struct platform **out)
{
	struct systrap_platform *p;
	int err;

	if (opts->device_fd >= 0)
		close(opts->device_fd);
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->base.ops = &systrap_ops;
	p->base.constructor = &systrap_constructor;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->nursery_cond, NULL);
	pthread_mutex_init(&p->template_lock, NULL);
	LIST_INIT(&p->spaces);
	LIST_INIT(&p->contexts);
	err = start(p, opts);
	if (err) {
		free_platform(p);
		return err;
	}
	*out = &p->base;
	return 0;
}

const struct platform_constructor systrap_constructor = {
	.name = "systrap",
	.description = "stub processes that trap by signals: needs no rights and no module",
	.requirements = { .needs_current_pid_ns = true },
	.new_platform = systrap_new,
};
