// SPDX-License-Identifier: MIT
/*
 * sandtrap_space.c - address spaces of the sandtrap platform
 *
 * Memory operations are queued, and go to the module together with the next
 * switch of the thread that asked for them, which costs nothing extra. The
 * queue belongs to the address space, so that operations keep their order. A
 * switch takes it only if all of it is its own; otherwise, and on a flush, it
 * is carried out at once, under the lock. The module carries out one batch of an
 * address space after the other, but a switch that has taken the queue may not
 * have come as far as the module: until it has, others wait for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "sandtrap.h"

static struct sandtrap_space *to_space(struct platform_address_space *as)
{
	return (struct sandtrap_space *)as;
}

int sandtrap_new_address_space(struct platform *base,
			       struct platform_address_space **out)
{
	struct sandtrap_platform *p = to_sandtrap(base);
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	struct sandtrap_space *as;
	int err;

	as = calloc(1, sizeof(*as));
	if (!as)
		return -ENOMEM;
	if (ioctl(p->fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg)) {
		err = -errno;
		free(as);
		return err;
	}
	err = stub_template_spawn(&p->stubs, arg.out_stub_fd);
	close(arg.out_stub_fd);
	if (err) {
		close(arg.out_fd);
		free(as);
		return err;
	}
	as->base.platform = base;
	as->fd = arg.out_fd;
	pthread_mutex_init(&as->lock, NULL);
	LIST_INIT(&as->contexts);
	*out = &as->base;
	return 0;
}

/* Operations have been tried, or never will be. */
static void ops_done(struct sandtrap_space *as,
		     const struct sandtrap_mem_op *ops, unsigned int nr)
{
	struct sandtrap_platform *p = to_sandtrap(as->base.platform);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (ops[i].op == SANDTRAP_MEM_MAP &&
		    ops[i].fd != p->base.kept_fd)
			close(ops[i].fd);
	}
	atomic_fetch_add_explicit(&p->memory_ops, nr, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->memory_batches, 1, memory_order_relaxed);
}

void sandtrap_address_space_release(struct platform_address_space *base)
{
	struct sandtrap_platform *p = to_sandtrap(base->platform);
	struct sandtrap_space *as = to_space(base);

	/* Contexts live on, and may run in another address space. */
	pthread_mutex_lock(&p->lock);
	while (!LIST_EMPTY(&as->contexts))
		sandtrap_context_unbind(LIST_FIRST(&as->contexts));
	pthread_mutex_unlock(&p->lock);
	if (as->nr)
		ops_done(as, as->queue, as->nr);
	close(as->fd);
	pthread_mutex_destroy(&as->lock);
	free(as);
}

/* the queue */

/*
 * A switch took operations: have they been carried out? It may stay in the program
 * for as long as it likes afterwards, so its return is not to be waited for.
 */
static bool taken_done(const struct sandtrap_space *as)
{
	return !as->taken_by ||
	       __atomic_load_n(&as->taken_by->page->batches, __ATOMIC_ACQUIRE) !=
	       as->taken_batches;
}

/*
 * Caller holds the lock, which is let go meanwhile. Nobody can tell us when the
 * other thread has got there, but it is on its way.
 */
static void wait_taken(struct sandtrap_space *as)
{
	struct timespec nap = { 0, 20000 };

	while (!taken_done(as)) {
		pthread_mutex_unlock(&as->lock);
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&as->lock);
	}
	as->taken_by = NULL;
}

static void mark_clean(struct sandtrap_space *as)
{
	as->nr = 0;
	as->owner = NULL;
	/* Pairs with the load in sandtrap_space_take(). */
	atomic_store_explicit(&as->dirty, as->taken_by != NULL,
			      memory_order_release);
}

/* Caller holds the lock, and has waited for what was taken. */
static int queue_flush(struct sandtrap_space *as)
{
	struct sandtrap_mem arg = {
		.size = sizeof(arg),
		.ops = (uintptr_t)as->queue,
		.nr_ops = as->nr,
	};
	int err = 0;

	if (!as->nr) {
		mark_clean(as);
		return 0;
	}
	while (ioctl(as->fd, SANDTRAP_MEM, &arg)) {
		if (errno != EINTR) {
			err = errno == ESRCH ? -ECHILD : -errno;
			break;
		}
		/* What was done before the signal need not be done again. */
		arg.ops += arg.out_ops_done * sizeof(as->queue[0]);
		arg.nr_ops -= arg.out_ops_done;
	}
	ops_done(as, as->queue, as->nr);
	mark_clean(as);
	return err;
}

static int queue_add(struct sandtrap_space *as, struct sandtrap_context *ctx,
		     const struct sandtrap_mem_op *op)
{
	int err = 0;

	pthread_mutex_lock(&as->lock);
	if (as->nr == SANDTRAP_QUEUE_MAX || !ctx)
		wait_taken(as);
	if (as->nr == SANDTRAP_QUEUE_MAX)
		err = queue_flush(as);
	as->owner = !as->nr || as->owner == ctx ? ctx : NULL;
	as->queue[as->nr++] = *op;
	atomic_store_explicit(&as->dirty, true, memory_order_relaxed);
	if (!ctx) {
		int flush_err = queue_flush(as);

		err = err ? err : flush_err;
	}
	pthread_mutex_unlock(&as->lock);
	return err;
}

int sandtrap_space_take(struct sandtrap_space *as, struct sandtrap_context *ctx,
			struct sandtrap_mem_op *ops)
{
	int nr = 0;

	if (!atomic_load_explicit(&as->dirty, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&as->lock);
	wait_taken(as);
	if (!as->nr || as->owner != ctx) {
		nr = queue_flush(as);
	} else {
		nr = as->nr;
		memcpy(ops, as->queue, nr * sizeof(*ops));
		as->taken_by = ctx;
		as->taken_batches = ctx->page->batches;
		mark_clean(as);
	}
	pthread_mutex_unlock(&as->lock);
	return nr;
}

void sandtrap_space_taken(struct sandtrap_space *as,
			  struct sandtrap_context *ctx,
			  const struct sandtrap_mem_op *ops, unsigned int nr)
{
	pthread_mutex_lock(&as->lock);
	if (as->taken_by == ctx) {
		as->taken_by = NULL;
		if (!as->nr)
			mark_clean(as);
	}
	pthread_mutex_unlock(&as->lock);
	ops_done(as, ops, nr);
}

int sandtrap_flush(struct platform_address_space *base,
		   struct platform_context *ctx)
{
	struct sandtrap_space *as = to_space(base);
	int err;

	pthread_mutex_lock(&as->lock);
	wait_taken(as);
	err = queue_flush(as);
	pthread_mutex_unlock(&as->lock);
	return err;
}

int sandtrap_map_file(struct platform_address_space *base,
		      struct platform_context *ctx, uint64_t addr, int fd,
		      uint64_t offset, uint64_t len, int prot, bool precommit)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP,
		.flags = precommit ? SANDTRAP_MEM_POPULATE : 0,
		.prot = prot,
		.addr = addr,
		.len = len,
		.offset = offset,
	};
	int err;

	op.fd = platform_own_fd(base->platform, fd);
	if (op.fd == -EMFILE) {
		err = sandtrap_flush(base, ctx);
		op.fd = err ? err : platform_own_fd(base->platform, fd);
	}
	if (op.fd < 0)
		return op.fd;
	return queue_add(to_space(base), (struct sandtrap_context *)ctx, &op);
}

int sandtrap_unmap(struct platform_address_space *base,
		   struct platform_context *ctx, uint64_t addr, uint64_t len)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_UNMAP,
		.addr = addr,
		.len = len,
	};

	return queue_add(to_space(base), (struct sandtrap_context *)ctx, &op);
}

/* access */

/* Queued operations come first: the caller expects to see what they mapped. */
static int settle(struct sandtrap_space *as)
{
	if (!atomic_load_explicit(&as->dirty, memory_order_acquire))
		return 0;
	return sandtrap_flush(&as->base, NULL);
}

static ssize_t copy(struct platform_address_space *base, uint32_t op,
		    uint64_t addr, uint64_t buf, size_t len,
		    struct segmentation_fault *fault)
{
	struct sandtrap_space *as = to_space(base);
	struct sandtrap_copy arg = {
		.size = sizeof(arg),
		.op = op,
		.addr = addr,
		.buf = buf,
		.len = len,
	};
	int err = settle(as);

	if (err)
		return err;
	if (ioctl(as->fd, SANDTRAP_COPY, &arg))
		return errno == ESRCH ? -ECHILD : -errno;
	if (arg.out_done < len)
		fault->addr = arg.out_fault;
	return arg.out_done;
}

ssize_t sandtrap_copy_in(struct platform_address_space *as, uint64_t addr,
			 void *dst, size_t len,
			 struct segmentation_fault *fault)
{
	return copy(as, SANDTRAP_COPY_IN, addr, (uintptr_t)dst, len, fault);
}

ssize_t sandtrap_copy_out(struct platform_address_space *as, uint64_t addr,
			  const void *src, size_t len,
			  struct segmentation_fault *fault)
{
	return copy(as, SANDTRAP_COPY_OUT, addr, (uintptr_t)src, len, fault);
}

ssize_t sandtrap_zero_out(struct platform_address_space *as, uint64_t addr,
			  size_t len, struct segmentation_fault *fault)
{
	return copy(as, SANDTRAP_COPY_ZERO, addr, 0, len, fault);
}

static int atomic_op(struct platform_address_space *base,
		     struct sandtrap_atomic *arg, uint32_t *old,
		     struct segmentation_fault *fault)
{
	struct sandtrap_space *as = to_space(base);
	int err = settle(as);

	if (err)
		return err;
	arg->size = sizeof(*arg);
	if (ioctl(as->fd, SANDTRAP_ATOMIC, arg)) {
		err = errno == ESRCH ? -ECHILD : -errno;
		if (err == -EFAULT)
			fault->addr = arg->addr;
		return err;
	}
	*old = arg->out_old;
	return 0;
}

int sandtrap_swap_u32(struct platform_address_space *as, uint64_t addr,
		      uint32_t new_value, uint32_t *old,
		      struct segmentation_fault *fault)
{
	struct sandtrap_atomic arg = {
		.op = SANDTRAP_ATOMIC_SWAP,
		.addr = addr,
		.value = new_value,
	};

	return atomic_op(as, &arg, old, fault);
}

int sandtrap_cas_u32(struct platform_address_space *as, uint64_t addr,
		     uint32_t expected, uint32_t new_value, uint32_t *old,
		     struct segmentation_fault *fault)
{
	struct sandtrap_atomic arg = {
		.op = SANDTRAP_ATOMIC_CAS,
		.addr = addr,
		.expected = expected,
		.value = new_value,
	};

	return atomic_op(as, &arg, old, fault);
}

int sandtrap_load_u32(struct platform_address_space *as, uint64_t addr,
		      uint32_t *value, struct segmentation_fault *fault)
{
	struct sandtrap_atomic arg = {
		.op = SANDTRAP_ATOMIC_LOAD,
		.addr = addr,
	};

	return atomic_op(as, &arg, value, fault);
}
