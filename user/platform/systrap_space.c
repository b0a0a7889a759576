// SPDX-License-Identifier: MIT
/*
 * systrap_space.c - address spaces of the systrap platform
 *
 * Memory operations are system calls for the server thread of the stub process.
 * Handing it something costs two task switches however little it is, so that
 * operations of a context are collected, and done together before it runs again
 * or when somebody needs them done.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "systrap.h"

static struct systrap_space *to_space(struct platform_address_space *as)
{
	return (struct systrap_space *)as;
}

/* ---- the server ---- */

/* Larger than any errno, however often: the reaper's word. */
static int result_of(uint64_t ack)
{
	return ack > 4095 ? -ECHILD : 1 - (int)ack;
}

static int read_ack(struct systrap_space *s)
{
	uint64_t ack;

	while (read(s->ack_fd, &ack, sizeof(ack)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return result_of(ack);
}

/* Without sleep. Is there one? Then @result is set. */
static bool poll_ack(struct systrap_space *s, int *result)
{
	const uint32_t ticks = to_systrap(s->base.platform)->spin_ticks;
	const uint64_t start = __builtin_ia32_rdtsc();
	uint64_t ack;
	struct iovec iov = { &ack, sizeof(ack) };

	do {
		if (preadv2(s->ack_fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(ack)) {
			*result = result_of(ack);
			return true;
		}
	} while (__builtin_ia32_rdtsc() - start < ticks);
	return false;
}

/* @t: thread that is to make room for the server, or NULL. Should it not, so much for that. */
static int run_ops(struct systrap_space *s, struct systrap_thread *t, unsigned int count)
{
	int result;

	if (atomic_load(&s->dead))
		return -ECHILD;
	s->ops->count = count;
	/* Pairs with the server's load of it. */
	__atomic_store_n(&s->ops->seq, s->ops->seq + 1, __ATOMIC_RELEASE);
	if (t && systrap_make_room(t) && poll_ack(s, &result))
		return result;
	/* The program's threads can wait there, too. */
	syscall(__NR_futex, &s->ops->seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return read_ack(s);
}

int systrap_run_ops(struct systrap_space *s, unsigned int count)
{
	return run_ops(s, NULL, count);
}

/* The lock keeps its id from becoming another process's. */
static void place_server(struct systrap_space *s, const cpu_set_t *where)
{
	struct systrap_platform *p = to_systrap(s->base.platform);

	pthread_mutex_lock(&p->lock);
	if (s->pid)
		sched_setaffinity(s->pid, sizeof(*where), where);
	pthread_mutex_unlock(&p->lock);
}

/*
 * Whoever wakes the server has nothing else to do meanwhile, and to wake it on
 * another CPU takes longer than its work does.
 */
static void bring_server(struct systrap_space *s, unsigned int cpu)
{
	cpu_set_t where;

	if (cpu == s->server_cpu)
		return;
	CPU_ZERO(&where);
	CPU_SET(cpu, &where);
	place_server(s, &where);
	s->server_cpu = cpu;
}

/* It dies: not here, where there is other work to do. */
static void send_server_away(struct systrap_space *s)
{
	place_server(s, &to_systrap(s->base.platform)->cpus);
}

/* ---- birth and death ---- */

int systrap_new_address_space(struct platform *base, struct platform_address_space **out)
{
	struct systrap_platform *p = to_systrap(base);
	struct systrap_space *s = systrap_take_spare(p);
	int err = 0;

	if (!s)
		err = systrap_space_create(p, &s);
	if (!err)
		*out = &s->base;
	return err;
}

/* Empties the list, whether it was carried out or not. Under the lock. */
static void finish_ops(struct systrap_space *s)
{
	const unsigned int count = atomic_load(&s->nr_ops);
	unsigned int i;

	for (i = 0; i < count; i++) {
		const struct sysmsg_op *op = &s->ops->ops[i];

		if (op->nr == __NR_mmap && (int)op->args[4] != s->base.platform->kept_fd)
			close((int)op->args[4]);
	}
	atomic_store(&s->nr_ops, 0);
}

/*
 * Nobody may see the program's pages after this, so they are unmapped before the
 * process is killed: its death may take a while. If it is dead they are gone.
 */
static void unmap_program(struct systrap_space *s)
{
	const struct platform *p = s->base.platform;
	const struct platform_vdso *vdso = &p->vdso;
	const uint64_t end = p->max_user_address;
	uint64_t from = 0;
	unsigned int nr = 0;

	if (vdso->end && vdso->start < end) {
		s->ops->ops[nr++] = (struct sysmsg_op){ __NR_munmap, { 0, vdso->start } };
		from = vdso->end;
	}
	s->ops->ops[nr++] = (struct sysmsg_op){ __NR_munmap, { from, end - from } };
	bring_server(s, systrap_this_cpu());
	systrap_run_ops(s, nr);
	send_server_away(s);
}

void systrap_address_space_release(struct platform_address_space *base)
{
	struct systrap_space *s = to_space(base);

	systrap_forget_threads(s);
	pthread_mutex_lock(&s->ops_lock);
	finish_ops(s);
	unmap_program(s);
	pthread_mutex_unlock(&s->ops_lock);
	systrap_space_kill(s);
	systrap_space_put(s);
}

/* ---- the list ---- */

/* On a CPU: the caller's, or that where @t spins. */
static int flush(struct systrap_space *s, struct systrap_thread *t, unsigned int cpu)
{
	struct systrap_platform *p = to_systrap(s->base.platform);
	const unsigned int count = atomic_load(&s->nr_ops);
	int err;

	if (!count)
		return 0;
	bring_server(s, cpu);
	err = run_ops(s, t, count);
	atomic_fetch_add_explicit(&p->memory_ops, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->memory_batches, 1, memory_order_relaxed);
	finish_ops(s);
	return err;
}

int systrap_flush_locked(struct systrap_space *s)
{
	return flush(s, NULL, systrap_this_cpu());
}

/* Under the lock. An operation without a context is not deferred. */
static int add_op(struct systrap_space *s, const struct sysmsg_op *op, bool defer)
{
	const unsigned int count = atomic_load(&s->nr_ops);

	s->ops->ops[count] = *op;
	atomic_store(&s->nr_ops, count + 1);
	return defer ? 0 : systrap_flush_locked(s);
}

static int make_room(struct systrap_space *s)
{
	return atomic_load(&s->nr_ops) < SYSMSG_OPS_MAX ? 0 : systrap_flush_locked(s);
}

static int add_map(struct systrap_space *s, int fd, struct sysmsg_op *op, bool defer)
{
	int own, err;

	err = make_room(s);
	if (err)
		return err;
	own = platform_own_fd(s->base.platform, fd);
	if (own == -EMFILE) {
		err = systrap_flush_locked(s);
		own = err ? err : platform_own_fd(s->base.platform, fd);
	}
	if (own < 0)
		return own;
	op->args[4] = own;
	return add_op(s, op, defer);
}

int systrap_map_file(struct platform_address_space *base, struct platform_context *ctx,
		     uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot,
		     bool precommit)
{
	struct systrap_space *s = to_space(base);
	int flags = MAP_SHARED | MAP_FIXED | (precommit ? MAP_POPULATE : 0);
	struct sysmsg_op op = { __NR_mmap, { addr, len, prot, flags, 0, offset } };
	int err;

	pthread_mutex_lock(&s->ops_lock);
	err = add_map(s, fd, &op, ctx);
	pthread_mutex_unlock(&s->ops_lock);
	return err;
}

static int add_plain(struct systrap_space *s, const struct sysmsg_op *op, bool defer)
{
	int err;

	pthread_mutex_lock(&s->ops_lock);
	err = make_room(s);
	if (!err)
		err = add_op(s, op, defer);
	pthread_mutex_unlock(&s->ops_lock);
	return err;
}

int systrap_unmap(struct platform_address_space *as, struct platform_context *ctx,
		  uint64_t addr, uint64_t len)
{
	const struct sysmsg_op op = { __NR_munmap, { addr, len } };

	return add_plain(to_space(as), &op, ctx);
}

int systrap_protect(struct platform_address_space *as, struct platform_context *ctx,
		    uint64_t addr, uint64_t len, int prot)
{
	const struct sysmsg_op op = { __NR_mprotect, { addr, len, prot } };

	return add_plain(to_space(as), &op, ctx);
}


int systrap_flush_beside(struct systrap_context *ctx, struct systrap_thread *t)
{
	struct systrap_space *s = t->space;
	unsigned int cpu;
	int err;

	pthread_mutex_lock(&s->ops_lock);
	cpu = systrap_spins_at(ctx, t);
	err = cpu == SYSTRAP_ANY_CPU ? systrap_flush_locked(s) : flush(s, t, cpu);
	pthread_mutex_unlock(&s->ops_lock);
	return err;
}

int systrap_flush(struct platform_address_space *base, struct platform_context *base_ctx)
{
	struct systrap_context *ctx = (struct systrap_context *)base_ctx;
	struct systrap_space *s = to_space(base);
	struct systrap_thread *t = ctx ? systrap_thread_claim(ctx, s) : NULL;
	int err;

	if (t) {
		err = systrap_flush_beside(ctx, t);
		systrap_thread_unclaim(t);
		return err;
	}
	pthread_mutex_lock(&s->ops_lock);
	err = systrap_flush_locked(s);
	pthread_mutex_unlock(&s->ops_lock);
	return err;
}
