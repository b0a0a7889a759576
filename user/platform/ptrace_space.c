// SPDX-License-Identifier: MIT
/*
 * ptrace_space.c - address spaces of the ptrace platform
 *
 * Memory operations are mmap, munmap and mprotect calls injected into a stopped thread of
 * the stub process. That costs as much as a switch, however little is done, so
 * operations of a context are collected in a list and executed together before
 * the context runs again. The list is the page that the stub reads them from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ptrace.h"

_Static_assert(PTRACE_OPS_MAX * sizeof(struct ptrace_call) <= PTRACE_OPS_SIZE,
	       "the list is larger than its page");
_Static_assert(sizeof(struct ptrace_call) == 56, "ptrace_stub_batch counts on it");

static struct ptrace_platform *platform_of(const struct ptrace_address_space *as)
{
	return (struct ptrace_platform *)as->base.platform;
}

/* ---- birth and death ---- */

/* An idle process may have been killed: then it is only good for burial. */
static bool is_alive(struct ptrace_process *proc)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, proc->pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) || info.si_pid)
		proc->dead = true;
	return !proc->dead;
}

static struct ptrace_process *pop_idle(struct ptrace_platform *p)
{
	struct ptrace_process *proc;

	pthread_mutex_lock(&p->lock);
	proc = LIST_FIRST(&p->idle);
	if (proc) {
		LIST_REMOVE(proc, idle_link);
		p->nr_idle--;
		proc->refs = 1;
	}
	pthread_mutex_unlock(&p->lock);
	return proc;
}

static int take_process(struct ptrace_platform *p, struct ptrace_process **out)
{
	struct ptrace_process *proc;

	while ((proc = pop_idle(p))) {
		if (is_alive(proc)) {
			*out = proc;
			return 0;
		}
		ptrace_master_release(p, proc);
	}
	return ptrace_master_new_process(p, out);
}

int ptrace_new_address_space(struct platform *base, struct platform_address_space **out)
{
	struct ptrace_platform *p = (struct ptrace_platform *)base;
	struct ptrace_address_space *as;
	int err;

	as = calloc(1, sizeof(*as));
	if (!as)
		return -ENOMEM;
	err = take_process(p, &as->proc);
	if (err) {
		free(as);
		return err;
	}
	as->base.platform = base;
	pthread_mutex_init(&as->ops_lock, NULL);
	LIST_INIT(&as->contexts);
	*out = &as->base;
	return 0;
}

/* A context that ran here may be released later, or run elsewhere. */
static void forget_contexts(struct ptrace_address_space *as)
{
	struct ptrace_platform *p = platform_of(as);
	struct ptrace_context *ctx;

	pthread_mutex_lock(&p->fault_lock);
	while ((ctx = LIST_FIRST(&as->contexts))) {
		LIST_REMOVE(ctx, as_link);
		ctx->as = NULL;
	}
	pthread_mutex_unlock(&p->fault_lock);
}

/* The repeat of a fault in this range says nothing any more: see guess_access(). */
static void forget_faults(struct ptrace_address_space *as, uint64_t addr, uint64_t len)
{
	struct ptrace_platform *p = platform_of(as);
	struct ptrace_context *ctx;

	pthread_mutex_lock(&p->fault_lock);
	LIST_FOREACH(ctx, &as->contexts, as_link) {
		if (ctx->fault_addr - addr < len)
			ctx->fault_seen = false;
	}
	pthread_mutex_unlock(&p->fault_lock);
}

static void forget_listed(struct ptrace_address_space *as)
{
	const unsigned int count = atomic_load(&as->nr_ops);
	const struct ptrace_call *op;

	for (op = as->proc->ops; op < as->proc->ops + count; op++)
		if (op->nr != __NR_mmap)
			forget_faults(as, op->args[0], op->args[1]);
}

/* Empties the list, whether it was carried out or not. Under the lock. */
static void finish_ops(struct ptrace_address_space *as)
{
	const unsigned int count = atomic_load(&as->nr_ops);
	const struct ptrace_call *op;

	for (op = as->proc->ops; op < as->proc->ops + count; op++)
		if (op->nr == __NR_mmap && (int)op->args[4] != as->base.platform->kept_fd)
			close((int)op->args[4]);
	atomic_store(&as->nr_ops, 0);
}

void ptrace_address_space_release(struct platform_address_space *base)
{
	struct ptrace_address_space *as = (struct ptrace_address_space *)base;

	forget_contexts(as);
	finish_ops(as);
	ptrace_master_release(platform_of(as), as->proc);
	pthread_mutex_destroy(&as->ops_lock);
	free(as);
}

/* ---- the list ---- */

/* On a thread of the context: stopped, and traced by the caller. */
static int run_on_context(struct ptrace_address_space *as, struct ptrace_context *ctx,
			  unsigned int count)
{
	int err;

	err = ptrace_thread_bind(ctx, as);
	if (err)
		return err;
	ctx->thread->loaded_valid = false;
	err = ptrace_inject_batch(platform_of(as)->stub, ctx->thread->tid, count);
	return err == -ECHILD ? ptrace_thread_died(ctx->thread) : err;
}

/* Under the lock. Without a context that is the caller's, the master does it. */
static int run_ops(struct ptrace_address_space *as, struct ptrace_context *ctx)
{
	struct ptrace_platform *p = platform_of(as);
	const unsigned int count = atomic_load(&as->nr_ops);
	int err;

	if (!count)
		return 0;
	/* Another thread may fault before this one hears that they are done. */
	forget_listed(as);
	if (ctx && (!ctx->thread || ptrace_context_is_mine(ctx)))
		err = run_on_context(as, ctx, count);
	else
		err = ptrace_master_batch(p, as->proc, count);
	atomic_fetch_add_explicit(&p->memory_ops, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->memory_batches, 1, memory_order_relaxed);
	finish_ops(as);
	return err;
}

/* Under the lock. An operation without a context is not deferred. */
static int add_op(struct ptrace_address_space *as, struct ptrace_context *ctx,
		  const struct ptrace_call *op)
{
	const unsigned int count = atomic_load(&as->nr_ops);

	as->proc->ops[count] = *op;
	atomic_store(&as->nr_ops, count + 1);
	return ctx ? 0 : run_ops(as, NULL);
}

static int make_room(struct ptrace_address_space *as, struct ptrace_context *ctx)
{
	return atomic_load(&as->nr_ops) < PTRACE_OPS_MAX ? 0 : run_ops(as, ctx);
}

static int add_map(struct ptrace_address_space *as, struct ptrace_context *ctx, int fd,
		   struct ptrace_call *op)
{
	int own, err;

	err = make_room(as, ctx);
	if (err)
		return err;
	own = platform_own_fd(as->base.platform, fd);
	if (own == -EMFILE) {
		err = run_ops(as, ctx);
		own = err ? err : platform_own_fd(as->base.platform, fd);
	}
	if (own < 0)
		return own;
	op->args[4] = own;
	return add_op(as, ctx, op);
}

int ptrace_map_file(struct platform_address_space *base, struct platform_context *ctx,
		    uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot, bool precommit)
{
	struct ptrace_address_space *as = (struct ptrace_address_space *)base;
	int flags = MAP_SHARED | MAP_FIXED | (precommit ? MAP_POPULATE : 0);
	struct ptrace_call op = { __NR_mmap, { addr, len, prot, flags, 0, offset } };
	int err;

	pthread_mutex_lock(&as->ops_lock);
	err = add_map(as, (struct ptrace_context *)ctx, fd, &op);
	pthread_mutex_unlock(&as->ops_lock);
	return err;
}

static int add_plain(struct platform_address_space *base, struct platform_context *ctx,
		     const struct ptrace_call *op)
{
	struct ptrace_address_space *as = (struct ptrace_address_space *)base;
	int err;

	pthread_mutex_lock(&as->ops_lock);
	err = make_room(as, (struct ptrace_context *)ctx);
	if (!err)
		err = add_op(as, (struct ptrace_context *)ctx, op);
	pthread_mutex_unlock(&as->ops_lock);
	return err;
}

int ptrace_unmap(struct platform_address_space *as, struct platform_context *ctx, uint64_t addr,
		 uint64_t len)
{
	const struct ptrace_call op = { __NR_munmap, { addr, len } };

	return add_plain(as, ctx, &op);
}

int ptrace_protect(struct platform_address_space *as, struct platform_context *ctx, uint64_t addr,
		   uint64_t len, int prot)
{
	const struct ptrace_call op = { __NR_mprotect, { addr, len, prot } };

	return add_plain(as, ctx, &op);
}

int ptrace_flush(struct platform_address_space *base, struct platform_context *ctx)
{
	struct ptrace_address_space *as = (struct ptrace_address_space *)base;
	int err;

	pthread_mutex_lock(&as->ops_lock);
	err = run_ops(as, (struct ptrace_context *)ctx);
	pthread_mutex_unlock(&as->ops_lock);
	return err;
}
