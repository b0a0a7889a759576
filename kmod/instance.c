// SPDX-License-Identifier: GPL-2.0
/*
 * instance.c - an open /dev/sandtrap: its life, and its death with its owner
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <asm/cpufeature.h>

#include "compat.h"
#include "sandtrap_internal.h"

static DEFINE_SPINLOCK(sandtrap_owners_lock);
/* Instances by their owner; changed under sandtrap_owners_lock, read under RCU. */
static DEFINE_HASHTABLE(owners, 8);

struct sandtrap_instance *sandtrap_instance_new(void)
{
	struct sandtrap_instance *inst;

	if (!current->mm)
		return ERR_PTR(-EPERM);
	inst = kzalloc(sizeof(*inst), GFP_KERNEL_ACCOUNT);
	if (!inst)
		return ERR_PTR(-ENOMEM);

	kref_init(&inst->ref);
	spin_lock_init(&inst->lock);
	INIT_LIST_HEAD(&inst->spaces);
	xa_init_flags(&inst->contexts, XA_FLAGS_ALLOC1);
	init_waitqueue_head(&inst->wq);
	sandtrap_ring_init(&inst->ring);
	mmgrab(current->mm);
	inst->owner_mm = current->mm;
	inst->owner = current->signal;

	spin_lock(&sandtrap_owners_lock);
	hash_add_rcu(owners, &inst->owner_node, (unsigned long)inst->owner);
	spin_unlock(&sandtrap_owners_lock);
	return inst;
}

static void instance_free_work(struct work_struct *work)
{
	struct sandtrap_instance *inst =
		container_of(to_rcu_work(work), struct sandtrap_instance, free);

	mmdrop(inst->owner_mm);
	sandtrap_ring_free(&inst->ring);
	kfree(inst);
}

/*
 * The last reference can go in the exit probe, where vfree() may not be called,
 * nor in an RCU callback; see sandtrap_free_wq. Who found the instance under RCU may
 * look at the owner's mm.
 */
static void instance_free(struct kref *ref)
{
	struct sandtrap_instance *inst =
		container_of(ref, struct sandtrap_instance, ref);

	INIT_RCU_WORK(&inst->free, instance_free_work);
	queue_rcu_work(sandtrap_free_wq, &inst->free);
}

void sandtrap_instance_put(struct sandtrap_instance *inst)
{
	kref_put(&inst->ref, instance_free);
}

/* Once, whoever comes first. */
static void forget_owner(struct sandtrap_instance *inst)
{
	spin_lock(&sandtrap_owners_lock);
	hash_del_rcu(&inst->owner_node);
	spin_unlock(&sandtrap_owners_lock);
}

/* Kills all stubs, and lets no new ones come. Called again: does nothing. */
void sandtrap_instance_kill(struct sandtrap_instance *inst)
{
	struct sandtrap_space *space;

	spin_lock(&inst->lock);
	if (!inst->dead) {
		WRITE_ONCE(inst->dead, true);
		list_for_each_entry(space, &inst->spaces, node)
			sandtrap_space_kill(space);
	}
	spin_unlock(&inst->lock);
	wake_up_all(&inst->wq);
}

/*
 * Somebody wears the context: then that has the last word. The module must stay
 * until it has been said.
 */
static void release_context(struct sandtrap_context *ctx)
{
	kref_get(&ctx->ref);
	__module_get(THIS_MODULE);
	set_bit(SANDTRAP_BUSY_ORPHAN, &ctx->busy);
	if (test_and_set_bit_lock(SANDTRAP_BUSY_CLAIMED, &ctx->busy))
		sandtrap_direct_kick(ctx);
	else
		sandtrap_context_unclaim(ctx);
	sandtrap_context_put(ctx);
}

/*
 * The last descriptor was closed: no ioctl is running, none will come. But programs
 * may be running whose call has, in a way, returned.
 */
void sandtrap_instance_release(struct sandtrap_instance *inst)
{
	struct sandtrap_context *ctx;
	unsigned long id;

	forget_owner(inst);
	sandtrap_instance_kill(inst);
	xa_for_each(&inst->contexts, id, ctx) {
		xa_erase(&inst->contexts, id);
		release_context(ctx);
	}
	xa_destroy(&inst->contexts);
	sandtrap_instance_put(inst);
}

/*
 * @task's process ends, or becomes another program. A descriptor that it passed
 * on or kept, or a stuck thread, must not keep stubs alive once their owner is
 * gone. Every process of the machine comes here: it looks at one bucket.
 */
void sandtrap_owner_gone(struct task_struct *task)
{
	struct sandtrap_instance *inst;

	rcu_read_lock();
	hash_for_each_possible_rcu(owners, inst, owner_node,
				   (unsigned long)task->signal) {
		if (inst->owner != task->signal)
			continue;
		sandtrap_instance_kill(inst);
		forget_owner(inst);
	}
	rcu_read_unlock();
}

/* To a thread of its process that is not in a program: those have another mm. */
static bool pass_on(struct task_struct *task, struct mm_struct *mm)
{
	struct task_struct *t;

	for_each_thread(task, t) {
		if (t != task && sandtrap_mm_hand_over(task, t, mm))
			return true;
	}
	return false;
}

/*
 * @task, which is not the last of its process, ends, and others may be in programs. The
 * kernel takes such a thread for one of another process. In the exit probe, which comes
 * after the kernel's own search, or since 6.16 before it. If all are in programs, the
 * first that leaves makes itself the owner, or is found when all are looked at again.
 * All instances of a process are of one mm: what executes a program loses them.
 */
void sandtrap_owner_exits(struct task_struct *task)
{
	struct sandtrap_instance *inst;

	rcu_read_lock();
	hash_for_each_possible_rcu(owners, inst, owner_node,
				   (unsigned long)task->signal) {
		if (inst->owner != task->signal)
			continue;
		if (!pass_on(task, inst->owner_mm)) {
			task_lock(task);
			sandtrap_mm_disown(inst->owner_mm);
			task_unlock(task);
			pass_on(task, inst->owner_mm);
		}
		break;
	}
	rcu_read_unlock();
}

int sandtrap_get_info(struct sandtrap_instance *inst, void *arg)
{
	struct sandtrap_info *info = arg;

	if (info->flags || info->__reserved)
		return -EOPNOTSUPP;
	info->out_abi = SANDTRAP_ABI;
	info->out_max_contexts = SANDTRAP_MAX_CONTEXTS;
	info->out_features = SANDTRAP_FEATURE_RING_MODE;
	if (sandtrap_has_direct)
		info->out_features |= SANDTRAP_FEATURE_DIRECT_MODE;
	if (boot_cpu_has(X86_FEATURE_CPUID_FAULT))
		info->out_features |= SANDTRAP_FEATURE_CPUID_FAULTING;
	info->out_context_size = sandtrap_context_size();
	info->out_fpu_size = sandtrap_fpu_size;
	info->out_max_mem_ops = SANDTRAP_MAX_MEM_OPS;
	info->out_max_spin_ns = SANDTRAP_MAX_SPIN_NS;
	info->out_max_ring_entries = SANDTRAP_MAX_RING_ENTRIES;
	info->out_task_size = TASK_SIZE_MAX;
	return 0;
}

static int context_mmap(struct sandtrap_instance *inst,
			struct vm_area_struct *vma)
{
	u64 off = ((u64)vma->vm_pgoff << PAGE_SHIFT) - SANDTRAP_OFF_CONTEXTS;
	struct sandtrap_context *ctx;
	int err;

	if (off & ((1u << SANDTRAP_SLOT_SHIFT) - 1) ||
	    off >> SANDTRAP_SLOT_SHIFT > U32_MAX)
		return -EINVAL;
	ctx = sandtrap_context_get(inst, off >> SANDTRAP_SLOT_SHIFT);
	if (!ctx)
		return -ENOENT;

	err = sandtrap_shared_mmap(vma, ctx->page, 0);
	sandtrap_context_put(ctx);
	return err;
}

int sandtrap_instance_mmap(struct sandtrap_instance *inst,
			   struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (vma->vm_pgoff >= SANDTRAP_OFF_CONTEXTS >> PAGE_SHIFT)
		return context_mmap(inst, vma);
	return sandtrap_ring_mmap(inst, vma);
}
