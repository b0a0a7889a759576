// SPDX-License-Identifier: MIT
/*
 * ptrace.c - the platform that needs nothing but ptrace(2)
 *
 * Creating and destroying it and its contexts. ptrace.h tells how it works,
 * ptrace_switch.c runs programs, ptrace_space.c maps their memory.
 */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ptrace.h"
#include "xstate.h"

static struct ptrace_platform *to_platform(struct platform *p)
{
	return (struct ptrace_platform *)p;
}

/* ---- contexts ---- */

static int new_context(struct platform *base, struct platform_context **out)
{
	struct ptrace_platform *p = to_platform(base);
	struct ptrace_context *ctx;

	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->base.state.xstate = xstate_alloc(p->xstate_size);
	if (!ctx->base.state.xstate) {
		free(ctx);
		return -ENOMEM;
	}
	ctx->base.platform = base;
	ctx->base.state.regs = &ctx->regs;
	ctx->base.state.xstate_size = p->xstate_size;
	ctx->xstate_valid = true;
	ctx->xstate_dirty = true;
	pthread_mutex_lock(&p->lock);
	LIST_INSERT_HEAD(&p->contexts, ctx, link);
	pthread_mutex_unlock(&p->lock);
	*out = &ctx->base;
	return 0;
}

static void context_free(struct platform_context *base)
{
	struct ptrace_platform *p = to_platform(base->platform);
	struct ptrace_context *ctx = (struct ptrace_context *)base;

	ptrace_thread_drop(ctx);
	pthread_mutex_lock(&p->fault_lock);
	if (ctx->as)
		LIST_REMOVE(ctx, as_link);
	pthread_mutex_unlock(&p->fault_lock);
	pthread_mutex_lock(&p->lock);
	LIST_REMOVE(ctx, link);
	p->switches += ctx->switches;
	pthread_mutex_unlock(&p->lock);
	free(base->state.xstate);
	free(ctx);
}

/* The stub sleeps in the kernel whenever it does not run the program. */
static void prepare_sleep(struct platform_context *ctx)
{
}

/* ---- platform ---- */

static int global_memory_barrier(struct platform *base)
{
	return syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

static size_t seccomp_info(struct platform *base, const struct platform_seccomp_rule **rules)
{
	return ptrace_sentry_rules(rules);
}

static void stats(struct platform *base, struct platform_stats *out)
{
	struct ptrace_platform *p = to_platform(base);
	struct ptrace_context *ctx;

	pthread_mutex_lock(&p->lock);
	out->switches = p->switches;
	LIST_FOREACH(ctx, &p->contexts, link)
		out->switches += ctx->switches;
	pthread_mutex_unlock(&p->lock);
	/* Every wait sleeps. */
	out->sleeps = out->switches;
	out->memory_ops = p->memory_ops;
	out->memory_batches = p->memory_batches;
}

static void free_platform(struct ptrace_platform *p)
{
	pthread_mutex_destroy(&p->exit_lock);
	pthread_mutex_destroy(&p->fault_lock);
	pthread_mutex_destroy(&p->lock);
	pthread_key_delete(p->tracer_key);
	free(p);
}

void ptrace_platform_put(struct ptrace_platform *p)
{
	if (atomic_fetch_sub(&p->refs, 1) == 1)
		free_platform(p);
}

/* What is left of it goes when the last thread that used it ends. */
static void release(struct platform *base)
{
	struct ptrace_platform *p = to_platform(base);
	struct ptrace_tracer *own = pthread_getspecific(p->tracer_key);

	pthread_mutex_lock(&p->exit_lock);
	ptrace_master_stop(p);
	p->closed = true;
	pthread_mutex_unlock(&p->exit_lock);
	pthread_setspecific(p->tracer_key, NULL);
	if (own)
		ptrace_tracer_exit(own);
	ptrace_platform_put(p);
}

static const struct platform_ops ptrace_ops = {
	.release = release,
	.new_address_space = ptrace_new_address_space,
	.new_context = new_context,
	.global_memory_barrier = global_memory_barrier,
	.seccomp_info = seccomp_info,
	.stats = stats,
	.switch_to = ptrace_switch_to,
	.pull_full_state = ptrace_pull_full_state,
	.full_state_changed = ptrace_full_state_changed,
	.interrupt = ptrace_interrupt,
	.preempt = ptrace_preempt,
	.prepare_sleep = prepare_sleep,
	.context_release = context_free,
	.map_file = ptrace_map_file,
	.unmap = ptrace_unmap,
	.protect = ptrace_protect,
	.flush = ptrace_flush,
	.address_space_release = ptrace_address_space_release,
};

static struct ptrace_platform *alloc_platform(void)
{
	struct ptrace_platform *p;

	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	if (pthread_key_create(&p->tracer_key, ptrace_tracer_exit)) {
		free(p);
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->fault_lock, NULL);
	pthread_mutex_init(&p->exit_lock, NULL);
	p->refs = 1;
	LIST_INIT(&p->processes);
	LIST_INIT(&p->idle);
	LIST_INIT(&p->tracers);
	LIST_INIT(&p->contexts);
	LIST_INIT(&p->pairs);
	return p;
}

static int start(struct ptrace_platform *p)
{
	bool registered = platform_register_for_barrier();
	int err;

	err = platform_find_vdso(&p->base.vdso);
	if (!err)
		err = ptrace_master_start(p);
	if (err)
		return err;
	p->base.min_user_address = platform_min_user_address();
	p->base.max_user_address = PTRACE_OPS_ADDR(p->stub);
	p->base.concurrency_count = INT_MAX;
	if (!registered)
		p->base.have_global_memory_barrier = false;
	return 0;
}

static int ptrace_new(const struct platform_options *opts, struct platform **out)
{
	struct ptrace_platform *p;
	int err;

	if (opts->device_fd >= 0)
		close(opts->device_fd);
	p = alloc_platform();
	if (!p)
		return -ENOMEM;
	p->base.ops = &ptrace_ops;
	p->base.constructor = &ptrace_constructor;
	err = start(p);
	if (err) {
		free_platform(p);
		return err;
	}
	*out = &p->base;
	return 0;
}

const struct platform_constructor ptrace_constructor = {
	.name = "ptrace",
	.description = "traced stub processes: works everywhere ptrace is permitted, slow",
	.requirements = {
		.needs_cap_sys_ptrace = true,
		.needs_current_pid_ns = true,
	},
	.new_platform = ptrace_new,
};
