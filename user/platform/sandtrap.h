/* SPDX-License-Identifier: MIT */
/*
 * sandtrap.h - the objects of the sandtrap platform
 *
 *	sandtrap.c		the platform itself
 *	sandtrap_context.c	contexts, and the hot path: context_switch()
 *	sandtrap_space.c	address spaces and their memory operations
 *	sandtrap_stub.c		the template process and stub processes
 *
 * Named as its platform; the module's interface is uapi/sandtrap.h.
 */
#ifndef _SANDTRAP_PLATFORM_SANDTRAP_H
#define _SANDTRAP_PLATFORM_SANDTRAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "internal.h"
#include "uapi/sandtrap.h"

/* Memory operations that wait for the next switch. */
#define SANDTRAP_QUEUE_MAX 32

/**
 * struct stub_template - a process that stub processes are forked from
 * @sock: our end of its socket; closing it ends the template
 * @pid: its process id
 * @base: where the stub is mapped, in the template, its children and here
 *
 * Forked from the sentry before that has threads, secrets or large mappings.
 */
struct stub_template {
	int sock;
	pid_t pid;
	uint64_t base;
};

/**
 * stub_template_start() - map the stub and fork the template process
 * @t: filled
 * @vdso: what stub processes keep besides the stub
 * @cpuid_fault: have CPUID fault in stub processes, if the CPU can
 *
 * Return: 0 or -errno.
 */
int stub_template_start(struct stub_template *t,
			const struct platform_vdso *vdso, bool cpuid_fault);

/**
 * stub_template_spawn() - have a stub process made
 * @t: template
 * @stub_fd: stub descriptor of its address space; the caller closes its own
 *
 * Does not wait. If it fails later on, the address space is dead.
 *
 * Return: 0 or -errno.
 */
int stub_template_spawn(const struct stub_template *t, int stub_fd);

/**
 * stub_template_stop() - end the template, and with it what is left of stubs
 * @t: template
 */
void stub_template_stop(struct stub_template *t);

/**
 * struct sandtrap_counters - as in struct platform_stats
 * @switches: .
 * @spin_hits: .
 * @sleeps: .
 *
 * Written by one thread without a lock prefix, read by any.
 */
struct sandtrap_counters {
	atomic_ulong switches;
	atomic_ulong spin_hits;
	atomic_ulong sleeps;
};

static inline void sandtrap_count(atomic_ulong *counter)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter,
						   memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

struct sandtrap_context;

/**
 * struct sandtrap_platform - an open device and a template process
 * @base: what every platform begins with
 * @fd: the instance
 * @info: what the module told
 * @stubs: where stub processes come from
 * @spin_ns: for how long to spin for the other side; 0: never
 * @direct: contexts run on the threads that switch
 * @lock: protects lists of contexts, and where each context is bound; taken
 *	before the lock of an address space
 * @contexts: all contexts
 * @released: counters of contexts that are gone
 * @memory_ops: see struct platform_stats
 * @memory_batches: .
 */
struct sandtrap_platform {
	struct platform base;
	int fd;
	struct sandtrap_info info;
	struct stub_template stubs;
	uint32_t spin_ns;
	bool direct;
	pthread_mutex_t lock;
	LIST_HEAD(, sandtrap_context) contexts;
	struct sandtrap_counters released;
	atomic_ulong memory_ops;
	atomic_ulong memory_batches;
};

/**
 * struct sandtrap_space - an address space of the module
 * @base: what every address space begins with
 * @fd: its descriptor
 * @contexts: those bound to it; protected by the platform's lock
 * @lock: protects all that follows
 * @dirty: there are queued operations, or some are on their way; read without
 *	@lock on the hot path
 * @taken_by: context whose switch has taken operations that may not have been
 *	carried out, or NULL
 * @taken_batches: the batches of @taken_by before that
 * @owner: the one context all queued operations come from, or NULL
 * @nr: number of queued operations
 * @queue: the operations; their descriptors are duplicates that we own, but for
 *	the platform's kept_fd
 */
struct sandtrap_space {
	struct platform_address_space base;
	int fd;
	LIST_HEAD(, sandtrap_context) contexts;
	pthread_mutex_t lock;
	atomic_bool dirty;
	struct sandtrap_context *taken_by;
	uint64_t taken_batches;
	struct sandtrap_context *owner;
	unsigned int nr;
	struct sandtrap_mem_op queue[SANDTRAP_QUEUE_MAX];
};

/**
 * struct sandtrap_context - a context of the module
 * @base: what every context begins with; its state is in @page
 * @id: its id
 * @as: address space it is bound to, or NULL
 * @page: pages shared with the module
 * @seq: number of the last event seen
 * @resume_flags: SANDTRAP_RESUME_* bits for the next switch
 * @full: fs_base, gs_base and xstate in @page are the true ones
 * @switching: a switch is running; for context_preempt()
 * @spin_misses: spins in a row that did not pay
 * @spin_pause: switches to go until spinning is tried again
 * @counters: of this context
 * @link: in the platform's list
 * @as_link: in the list of @as
 */
struct sandtrap_context {
	struct platform_context base;
	uint32_t id;
	struct sandtrap_space *as;
	struct sandtrap_context_page *page;
	uint32_t seq;
	uint32_t resume_flags;
	bool full;
	atomic_bool switching;
	unsigned int spin_misses;
	unsigned int spin_pause;
	struct sandtrap_counters counters;
	LIST_ENTRY(sandtrap_context) link;
	LIST_ENTRY(sandtrap_context) as_link;
};

static inline struct sandtrap_platform *
to_sandtrap(struct platform *p)
{
	return (struct sandtrap_platform *)p;
}

/* sandtrap_context.c; the functions of struct platform_ops */
int sandtrap_new_context(struct platform *p, struct platform_context **out);
int sandtrap_switch(struct platform_context *ctx,
		    struct platform_address_space *as, int cpu,
		    struct platform_event *ev);
int sandtrap_pull_full_state(struct platform_context *ctx);
void sandtrap_full_state_changed(struct platform_context *ctx);
void sandtrap_interrupt(struct platform_context *ctx);
void sandtrap_preempt(struct platform_context *ctx);
void sandtrap_prepare_sleep(struct platform_context *ctx);
void sandtrap_context_release(struct platform_context *ctx);
void sandtrap_stats(struct platform *p, struct platform_stats *out);

/**
 * sandtrap_context_unbind() - take a context out of its address space
 * @ctx: context that is bound; its state is saved as far as it can be
 *
 * Caller holds the platform's lock.
 */
void sandtrap_context_unbind(struct sandtrap_context *ctx);

/* sandtrap_space.c; the functions of struct platform_ops */
int sandtrap_new_address_space(struct platform *p,
			       struct platform_address_space **out);
void sandtrap_address_space_release(struct platform_address_space *as);
int sandtrap_map_file(struct platform_address_space *as,
		      struct platform_context *ctx, uint64_t addr, int fd,
		      uint64_t offset, uint64_t len, int prot, bool precommit);
int sandtrap_unmap(struct platform_address_space *as,
		   struct platform_context *ctx, uint64_t addr, uint64_t len);
int sandtrap_flush(struct platform_address_space *as,
		   struct platform_context *ctx);
ssize_t sandtrap_copy_in(struct platform_address_space *as, uint64_t addr,
			 void *dst, size_t len,
			 struct segmentation_fault *fault);
ssize_t sandtrap_copy_out(struct platform_address_space *as, uint64_t addr,
			  const void *src, size_t len,
			  struct segmentation_fault *fault);
ssize_t sandtrap_zero_out(struct platform_address_space *as, uint64_t addr,
			  size_t len, struct segmentation_fault *fault);
int sandtrap_swap_u32(struct platform_address_space *as, uint64_t addr,
		      uint32_t new_value, uint32_t *old,
		      struct segmentation_fault *fault);
int sandtrap_cas_u32(struct platform_address_space *as, uint64_t addr,
		     uint32_t expected, uint32_t new_value, uint32_t *old,
		     struct segmentation_fault *fault);
int sandtrap_load_u32(struct platform_address_space *as, uint64_t addr,
		      uint32_t *value, struct segmentation_fault *fault);

/**
 * sandtrap_space_take() - queued operations to be done by a switch
 * @as: address space that @ctx is about to run in
 * @ctx: context
 * @ops: room for SANDTRAP_QUEUE_MAX operations
 *
 * All operations of other threads are done when it returns. Those left are
 * moved to @ops; the caller has them done and calls sandtrap_space_taken(). Until
 * they are done, whoever else has operations for @as waits.
 *
 * Return: their number, or -errno if an operation failed.
 */
int sandtrap_space_take(struct sandtrap_space *as,
			struct sandtrap_context *ctx,
			struct sandtrap_mem_op *ops);

/**
 * sandtrap_space_taken() - operations taken have been tried
 * @as: address space
 * @ctx: context that took them
 * @ops: operations
 * @nr: their number
 */
void sandtrap_space_taken(struct sandtrap_space *as,
			  struct sandtrap_context *ctx,
			  const struct sandtrap_mem_op *ops, unsigned int nr);

#endif /* _SANDTRAP_PLATFORM_SANDTRAP_H */
