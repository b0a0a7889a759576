// SPDX-License-Identifier: GPL-2.0
/*
 * ring.c - the event ring of an instance
 *
 * The kernel produces, the sentry consumes. Indices run freely and are reduced
 * when an entry is addressed. The kernel believes its own copy of the head; of
 * the tail, which the sentry writes, it only takes the distance, and a distance
 * that cannot be means a full ring.
 *
 * An event that finds the ring full waits in the context: a context has one
 * event that matters, the latest. It is put into the ring, in order, when the
 * sentry next asks.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "sandtrap_internal.h"

void sandtrap_ring_init(struct sandtrap_ring *ring)
{
	spin_lock_init(&ring->lock);
	INIT_LIST_HEAD(&ring->backlog);
}

void sandtrap_ring_free(struct sandtrap_ring *ring)
{
	vfree(ring->producer);
	vfree(ring->consumer);
	vfree(ring->entries);
}

static size_t entries_size(u32 nr)
{
	return PAGE_ALIGN(nr * sizeof(struct sandtrap_ring_entry));
}

/* Publishes the ring as the last step: others look at ->entries. */
static int ring_install(struct sandtrap_ring *ring, u32 nr)
{
	struct sandtrap_ring tmp = {
		.producer = sandtrap_shared_alloc(PAGE_SIZE),
		.consumer = sandtrap_shared_alloc(PAGE_SIZE),
		.entries = sandtrap_shared_alloc(entries_size(nr)),
	};
	int err = -ENOMEM;

	if (!tmp.producer || !tmp.consumer || !tmp.entries)
		goto out_free;
	spin_lock(&ring->lock);
	err = -EBUSY;
	if (!ring->entries) {
		ring->nr = nr;
		ring->producer = tmp.producer;
		ring->consumer = tmp.consumer;
		smp_store_release(&ring->entries, tmp.entries);
		err = 0;
	}
	spin_unlock(&ring->lock);
	if (!err)
		return 0;
out_free:
	sandtrap_ring_free(&tmp);
	return err;
}

/* All of it is known before there is a ring: nobody gets one and is not told. */
int sandtrap_ring_setup(struct sandtrap_instance *inst, void *arg,
			void __user *uarg)
{
	struct sandtrap_ring_setup __user *out = uarg;
	struct sandtrap_ring_setup *a = arg;

	if (a->flags || a->__reserved)
		return -EOPNOTSUPP;
	if (!is_power_of_2(a->entries) ||
	    a->entries > SANDTRAP_MAX_RING_ENTRIES)
		return -EINVAL;
	if (put_user(SANDTRAP_OFF_PRODUCER, &out->out_producer_offset) ||
	    put_user(SANDTRAP_OFF_CONSUMER, &out->out_consumer_offset) ||
	    put_user(SANDTRAP_OFF_ENTRIES, &out->out_entries_offset) ||
	    put_user(entries_size(a->entries), &out->out_entries_size))
		return -EFAULT;
	return ring_install(&inst->ring, a->entries);
}

/* producing */

static bool ring_full(const struct sandtrap_ring *ring)
{
	/* Pairs with the sentry's release store: it has read those entries. */
	u32 tail = smp_load_acquire(&ring->consumer->tail);

	return ring->head - tail >= ring->nr;
}

static void ring_put(struct sandtrap_ring *ring, struct sandtrap_context *ctx,
		     u32 event, u32 seq)
{
	struct sandtrap_ring_entry *e =
		&ring->entries[ring->head & (ring->nr - 1)];

	lockdep_assert_held(&ring->lock);
	e->id = ctx->id;
	e->event = event;
	e->seq = seq;
	e->cookie = ctx->cookie;
	/* Pairs with the sentry's acquire load of the head. */
	smp_store_release(&ring->producer->head, ++ring->head);
}

/* Moves waiting events into the ring, as far as there is room. */
static void ring_flush(struct sandtrap_ring *ring)
{
	struct sandtrap_context *ctx, *next;

	lockdep_assert_held(&ring->lock);
	list_for_each_entry_safe(ctx, next, &ring->backlog, backlog) {
		if (ring_full(ring))
			return;
		list_del_init(&ctx->backlog);
		ring_put(ring, ctx, ctx->backlog_event, ctx->backlog_seq);
	}
	WRITE_ONCE(ring->producer->flags, 0);
}

static void ring_defer(struct sandtrap_ring *ring, struct sandtrap_context *ctx,
		       u32 event)
{
	lockdep_assert_held(&ring->lock);
	ctx->backlog_event = event;
	ctx->backlog_seq = ctx->seq;
	if (list_empty(&ctx->backlog))
		list_add_tail(&ctx->backlog, &ring->backlog);
	WRITE_ONCE(ring->producer->overflows, ++ring->overflows);
	WRITE_ONCE(ring->producer->flags, SANDTRAP_RING_NEED_WAKEUP);
}

void sandtrap_ring_push(struct sandtrap_context *ctx, u32 event)
{
	struct sandtrap_instance *inst = ctx->inst;
	struct sandtrap_ring *ring = &inst->ring;

	if (!smp_load_acquire(&ring->entries))
		return;
	spin_lock(&ring->lock);
	ring_flush(ring);
	if (!list_empty(&ring->backlog) || ring_full(ring))
		ring_defer(ring, ctx, event);
	else
		ring_put(ring, ctx, event, ctx->seq);
	spin_unlock(&ring->lock);
	wake_up(&inst->wq);
}

/* The context goes: nobody wants its event any more. */
void sandtrap_ring_forget(struct sandtrap_context *ctx)
{
	struct sandtrap_ring *ring = &ctx->inst->ring;

	spin_lock(&ring->lock);
	list_del_init(&ctx->backlog);
	spin_unlock(&ring->lock);
}

/* Is there an entry to consume? Called by whoever waits for one. */
bool sandtrap_ring_ready(struct sandtrap_instance *inst)
{
	struct sandtrap_ring *ring = &inst->ring;
	bool ready;

	if (!smp_load_acquire(&ring->entries))
		return false;
	spin_lock(&ring->lock);
	if (!list_empty(&ring->backlog))
		ring_flush(ring);
	ready = READ_ONCE(ring->consumer->tail) != ring->head;
	spin_unlock(&ring->lock);
	return ready;
}

/* mapping */

static int map_read_only(struct vm_area_struct *vma, void *mem)
{
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	return sandtrap_shared_mmap(vma, mem, VM_MAYWRITE);
}

int sandtrap_ring_mmap(struct sandtrap_instance *inst,
		       struct vm_area_struct *vma)
{
	struct sandtrap_ring *ring = &inst->ring;

	if (!smp_load_acquire(&ring->entries))
		return -EINVAL;
	switch ((u64)vma->vm_pgoff << PAGE_SHIFT) {
	case SANDTRAP_OFF_PRODUCER:
		return map_read_only(vma, ring->producer);
	case SANDTRAP_OFF_ENTRIES:
		return map_read_only(vma, ring->entries);
	case SANDTRAP_OFF_CONSUMER:
		return sandtrap_shared_mmap(vma, ring->consumer, 0);
	default:
		return -EINVAL;
	}
}
