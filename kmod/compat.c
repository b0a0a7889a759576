// SPDX-License-Identifier: GPL-2.0
/*
 * compat.c - what newer kernels need that does not fit into compat.h
 *
 * Functions that a module cannot link with are found and called as symbols.c tells.
 */
#include <linux/bitops.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched/task.h>

#include "compat.h"
#include "sandtrap_internal.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#undef current_save_fsgs
#undef fpu_copy_guest_fpstate_to_uabi
#undef fpu_copy_uabi_to_guest_fpstate
#undef fpu_alloc_guest_fpstate
#undef fpu_free_guest_fpstate
#undef switch_fpu_return

DEFINE_STATIC_CALL_NULL(sandtrap_current_save_fsgs, current_save_fsgs);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_alloc, fpu_alloc_guest_fpstate);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_free, fpu_free_guest_fpstate);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_return, switch_fpu_return);

#define FIND(call, name) \
	SANDTRAP_FIND(call, #name, "sandtrap needs CONFIG_KPROBES and a kernel that it knows")
#define FIND_DIRECT(call, name) SANDTRAP_FIND(call, #name, "no direct mode")

int sandtrap_compat_init(void)
{
	if (!FIND(sandtrap_current_save_fsgs, current_save_fsgs) ||
	    !FIND(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi) ||
	    !FIND(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate))
		return -ENOENT;
	return 0;
}

bool sandtrap_compat_direct_init(void)
{
	return FIND_DIRECT(sandtrap_fpu_alloc, fpu_alloc_guest_fpstate) &&
	       FIND_DIRECT(sandtrap_fpu_free, fpu_free_guest_fpstate) &&
	       FIND_DIRECT(sandtrap_fpu_return, switch_fpu_return);
}
#endif

#if defined(CONFIG_SCHED_MM_CID) && SANDTRAP_KNOWS_DIRECT && !defined(SANDTRAP_CID_CALLS)
/*
 * Concurrency ids of 7.2. The users of an mm are on a list. An id is owned by a user, or
 * (with ONCPU, if there are more users than CPUs) by the CPU, in mm_cid.pcpu; TRANSIT
 * marks one that its user gives back when it is scheduled out. The way from one owner
 * to the other goes over all users and all CPUs, remotely, and holds mm_cid.mutex.
 *
 * What exec() does, to stop being a user and to become one again, is not for tasks that
 * come back: the last user who goes leaves ids that other CPUs own, and then the kernel
 * may search for a free one for ever. So a task that wears another mm stays a user, on
 * the list, but is not active and has no id, and the kernel passes it by. It gets an
 * id when it is next scheduled in; if it registers rseq, user space sees none before.
 * The kernel knows active tasks that run without an id: a new user may be one.
 */

static void cid_drop_owned(struct mm_struct *mm)
{
	unsigned int cid;

	mutex_lock(&mm->mm_cid.mutex);
	preempt_disable();
	WRITE_ONCE(current->mm_cid.active, 0);
	cid = current->mm_cid.cid & ~MM_CID_TRANSIT;
	WRITE_ONCE(current->mm_cid.cid, MM_CID_UNSET);
	if (!(cid & (MM_CID_UNSET | MM_CID_ONCPU)))
		clear_bit(cid, mm_cidmask(mm));
	preempt_enable();
	mutex_unlock(&mm->mm_cid.mutex);
}

void sandtrap_cid_drop(void)
{
	bool owned;

	/* Not scheduled since take(): nobody but the scheduler, here, gives it one. */
	preempt_disable();
	owned = READ_ONCE(current->mm_cid.cid) != MM_CID_UNSET;
	if (likely(!owned))
		WRITE_ONCE(current->mm_cid.active, 0);
	preempt_enable();
	if (unlikely(owned))
		cid_drop_owned(current->mm);
}

/*
 * An id that the CPU owns must be seen to be in use by the task that is active there:
 * else it stays with the CPU when users are to own the ids.
 */
static void cid_take_from_cpu(struct mm_struct *mm)
{
	unsigned int cid;

	mutex_lock(&mm->mm_cid.mutex);
	preempt_disable();
	cid = this_cpu_read(mm->mm_cid.pcpu->cid);
	if (cid & MM_CID_ONCPU)
		WRITE_ONCE(current->mm_cid.cid, cid);
	WRITE_ONCE(current->mm_cid.active, 1);
	preempt_enable();
	mutex_unlock(&mm->mm_cid.mutex);
}

void sandtrap_cid_take(void)
{
	struct mm_struct *mm = current->mm;
	bool owned;

	preempt_disable();
	owned = this_cpu_read(mm->mm_cid.pcpu->cid) & MM_CID_ONCPU;
	if (likely(!owned))
		WRITE_ONCE(current->mm_cid.active, 1);
	preempt_enable();
	if (unlikely(owned))
		cid_take_from_cpu(mm);
}

/* The task stays on the list, of an mm that is lost as well. */
void sandtrap_cid_lost(void)
{
	get_task_struct(current);
}
#endif
