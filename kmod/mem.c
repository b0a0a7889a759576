// SPDX-License-Identifier: GPL-2.0
/*
 * mem.c - operations on the memory of address spaces
 *
 * Batches of map and unmap are copied and checked in the sentry's context, where
 * their files are resolved, and run on a thread of the stub process, or in direct mode
 * on the caller, in the other mm. Copies and atomics go through the pages of the other
 * mm, from the sentry's thread.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "sandtrap_internal.h"
#include "trace.h"

/* The one gate for ranges of an address space. */
static bool range_ok(u64 addr, u64 len)
{
	return len && !offset_in_page(addr) && !offset_in_page(len) &&
	       addr < TASK_SIZE_MAX && len <= TASK_SIZE_MAX - addr;
}

static int check_op(const struct sandtrap_mem_op *op)
{
	if (op->flags & ~SANDTRAP_MEM_ALL)
		return -EOPNOTSUPP;
	if (!range_ok(op->addr, op->len))
		return -EINVAL;
	switch (op->op) {
	case SANDTRAP_MEM_MAP:
		if (!op->prot ||
		    op->prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC) ||
		    offset_in_page(op->offset) ||
		    op->offset + op->len < op->offset)
			return -EINVAL;
		return 0;
	case SANDTRAP_MEM_UNMAP:
		return op->flags || op->prot || op->fd || op->offset ?
		       -EINVAL : 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int prepare_op(struct sandtrap_batch_op *bop)
{
	int err = check_op(&bop->op);

	if (err || bop->op.op != SANDTRAP_MEM_MAP)
		return err;
	bop->file = fget(bop->op.fd);
	return bop->file ? 0 : -EBADF;
}

/* Nothing is done if one of the operations is malformed. */
struct sandtrap_batch *sandtrap_batch_new(u64 uaddr, u32 nr)
{
	struct sandtrap_mem_op __user *uops = u64_to_user_ptr(uaddr);
	struct sandtrap_batch *batch;
	int err;
	u32 i;

	if (nr > SANDTRAP_MAX_MEM_OPS)
		return ERR_PTR(-EINVAL);
	batch = kzalloc(struct_size(batch, ops, nr), GFP_KERNEL_ACCOUNT);
	if (!batch)
		return ERR_PTR(-ENOMEM);
	kref_init(&batch->ref);
	batch->req.batch = batch;
	for (i = 0; i < nr; i++) {
		batch->nr = i + 1;
		err = -EFAULT;
		if (!copy_from_user(&batch->ops[i].op, &uops[i],
				    sizeof(uops[i])))
			err = prepare_op(&batch->ops[i]);
		if (err) {
			sandtrap_batch_put(batch);
			return ERR_PTR(err);
		}
	}
	return batch;
}

static void batch_free(struct kref *ref)
{
	struct sandtrap_batch *batch =
		container_of(ref, struct sandtrap_batch, ref);
	u32 i;

	for (i = 0; i < batch->nr; i++) {
		if (batch->ops[i].file)
			fput(batch->ops[i].file);
	}
	kfree(batch);
}

void sandtrap_batch_put(struct sandtrap_batch *batch)
{
	kref_put(&batch->ref, batch_free);
}

static int run_op(const struct sandtrap_batch_op *bop,
		  const struct sandtrap_space *space)
{
	const struct sandtrap_mem_op *op = &bop->op;
	unsigned long flags = MAP_SHARED | MAP_FIXED, ret;

	if (op->addr < space->stub_end &&
	    op->addr + op->len > space->stub_start)
		return -EINVAL;
	if (op->op == SANDTRAP_MEM_UNMAP)
		return vm_munmap(op->addr, op->len);
	if (op->flags & SANDTRAP_MEM_POPULATE)
		flags |= MAP_POPULATE;
	ret = vm_mmap(bop->file, op->addr, op->len, op->prot, flags,
		      op->offset);
	return IS_ERR_VALUE(ret) ? (int)ret : 0;
}

/*
 * That a thread of the stub is interrupted is not for the sentry to see, which
 * would take it for a signal of its own: it means that the stub is dying, or that
 * a file gave up on account of something else that the thread should look at. But
 * a task of the sentry has signals of the sentry.
 */
static int not_our_signal(int err)
{
	struct sandtrap_trapped *t = sandtrap_trapped(current);

	if (err != -EINTR && err != -ERESTARTSYS)
		return err;
	if (t && t->direct)
		return -EINTR;
	return fatal_signal_pending(current) ? -ESRCH : -EAGAIN;
}

/* In a task that has the mm of the space. Stops at the first failure. */
int sandtrap_batch_run(struct sandtrap_batch *batch,
		       struct sandtrap_space *space)
{
	int err = 0;

	while (!err && batch->done < batch->nr) {
		struct sandtrap_batch_op *bop = &batch->ops[batch->done];

		err = not_our_signal(run_op(bop, space));
		trace_sandtrap_mem(bop->op.op, bop->op.addr, bop->op.len, err);
		/* An asker that is killed looks at it while we go on. */
		if (!err)
			WRITE_ONCE(batch->done, batch->done + 1);
	}
	return err;
}

/* access from outside */

/* The mm of a space that is not known to be dead; mmput() it. */
struct mm_struct *sandtrap_space_mm(struct sandtrap_space *space)
{
	/* Pairs with the release in become_server(). */
	struct mm_struct *mm = smp_load_acquire(&space->mm);

	return mm && !READ_ONCE(space->dead) && mmget_not_zero(mm) ? mm : NULL;
}

/* Calls @fn on the kernel's view of what @addr is in, a page of @mm. */
static int with_page(struct mm_struct *mm, u64 addr, bool write,
		     int (*fn)(void *kaddr, void *data), void *data)
{
	struct page *page;
	int locked = 1;
	void *kaddr;
	long got;
	int err;

	if (addr >= TASK_SIZE_MAX)
		return -EFAULT;
	/* Contexts keep the mm of a process that has died: its pages are nobody's then. */
	if (!sandtrap_mm_has_owner(mm))
		return -ESRCH;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	got = sandtrap_pin_page(mm, addr, write ? FOLL_WRITE : 0, &page, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (got == -ENOMEM)
		return got;
	if (got != 1)
		return fatal_signal_pending(current) ? -EINTR : -EFAULT;

	kaddr = kmap(page);
	err = fn(kaddr + offset_in_page(addr), data);
	kunmap(page);
	unpin_user_pages_dirty_lock(&page, 1, write);
	return err;
}

struct copy_step {
	u32 op;
	void __user *buf;
	size_t len;
	size_t done;
	bool reached; /* the page was there */
};

/* As copy_from_user(), but what was not copied is left as it was. */
static size_t copy_from_user_partly(void *to, const void __user *from, size_t len)
{
	if (!access_ok(from, len))
		return len;
	barrier_nospec();
	return __copy_from_user(to, from, len);
}

static int copy_page_part(void *kaddr, void *data)
{
	struct copy_step *s = data;
	size_t left = 0;

	if (s->op == SANDTRAP_COPY_IN)
		left = copy_to_user(s->buf, kaddr, s->len);
	else if (s->op == SANDTRAP_COPY_OUT)
		left = copy_from_user_partly(kaddr, s->buf, s->len);
	else
		memset(kaddr, 0, s->len);
	s->done = s->len - left;
	s->reached = true;
	return left ? -EFAULT : 0;
}

/* True: go on. */
static bool copy_step(struct mm_struct *mm, struct sandtrap_copy *a, int *err)
{
	u64 addr = a->addr + a->out_done;
	struct copy_step step = {
		.op = a->op,
		.buf = u64_to_user_ptr(a->buf + a->out_done),
		.len = min_t(u64, a->len - a->out_done,
			     PAGE_SIZE - offset_in_page(addr)),
	};

	*err = with_page(mm, addr, a->op != SANDTRAP_COPY_IN, copy_page_part,
			 &step);
	a->out_done += step.done;
	if (!*err)
		return true;
	/* A fault of @buf is an error, one of the address space a short count. */
	if (*err == -EFAULT && !step.reached) {
		a->out_fault = addr;
		*err = 0;
	}
	return false;
}

int sandtrap_copy(struct sandtrap_space *space, void *arg)
{
	struct sandtrap_copy *a = arg;
	struct mm_struct *mm;
	int err = 0;

	a->out_done = 0;
	a->out_fault = 0;
	if (a->flags || a->__reserved)
		return -EOPNOTSUPP;
	if (a->op < SANDTRAP_COPY_IN || a->op > SANDTRAP_COPY_ZERO)
		return -EOPNOTSUPP;
	if (a->op == SANDTRAP_COPY_ZERO && a->buf)
		return -EINVAL;
	if (a->addr + a->len < a->addr)
		return -EINVAL;
	mm = sandtrap_space_mm(space);
	if (!mm)
		return -ESRCH;
	while (a->out_done < a->len && copy_step(mm, a, &err))
		cond_resched();
	mmput(mm);
	return err;
}

static int atomic_word(void *kaddr, void *data)
{
	struct sandtrap_atomic *a = data;
	u32 *word = kaddr;

	switch (a->op) {
	case SANDTRAP_ATOMIC_LOAD:
		a->out_old = READ_ONCE(*word);
		break;
	case SANDTRAP_ATOMIC_SWAP:
		a->out_old = xchg(word, a->value);
		break;
	case SANDTRAP_ATOMIC_CAS:
		a->out_old = cmpxchg(word, a->expected, a->value);
		break;
	}
	return 0;
}

int sandtrap_atomic(struct sandtrap_space *space, void *arg)
{
	struct sandtrap_atomic *a = arg;
	struct mm_struct *mm;
	int err;

	if (a->flags)
		return -EOPNOTSUPP;
	if (a->op < SANDTRAP_ATOMIC_LOAD || a->op > SANDTRAP_ATOMIC_CAS)
		return -EOPNOTSUPP;
	if (a->addr & 3 ||
	    (a->op != SANDTRAP_ATOMIC_CAS && a->expected) ||
	    (a->op == SANDTRAP_ATOMIC_LOAD && a->value))
		return -EINVAL;
	mm = sandtrap_space_mm(space);
	if (!mm)
		return -ESRCH;
	err = with_page(mm, a->addr, a->op != SANDTRAP_ATOMIC_LOAD,
			atomic_word, a);
	mmput(mm);
	return err;
}
