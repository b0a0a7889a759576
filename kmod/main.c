// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - the module comes and goes; layout of what it shares with users
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "sandtrap_internal.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define SAME_OFFSET(member, reg) \
	static_assert(offsetof(struct sandtrap_regs, member) == \
		      offsetof(struct user_regs_struct, reg))

SAME_OFFSET(r15, r15);
SAME_OFFSET(r8, r8);
SAME_OFFSET(rax, ax);
SAME_OFFSET(orig_rax, orig_ax);
SAME_OFFSET(ss, ss);
SAME_OFFSET(gs, gs);
static_assert(sizeof(struct sandtrap_regs) == sizeof(struct user_regs_struct));

static_assert(sizeof(struct sandtrap_info) == 56);
static_assert(sizeof(struct sandtrap_new_address_space) == 16);
static_assert(sizeof(struct sandtrap_new_context) == 32);
static_assert(sizeof(struct sandtrap_bind_context) == 16);
static_assert(sizeof(struct sandtrap_context_arg) == 16);
static_assert(sizeof(struct sandtrap_mem_op) == 40);
static_assert(sizeof(struct sandtrap_run) == 40);
static_assert(sizeof(struct sandtrap_wait) == 24);
static_assert(sizeof(struct sandtrap_mem) == 24);
static_assert(sizeof(struct sandtrap_copy) == 56);
static_assert(sizeof(struct sandtrap_atomic) == 32);
static_assert(sizeof(struct sandtrap_ring_setup) == 48);
static_assert(sizeof(struct sandtrap_ring_producer) == 16);
static_assert(sizeof(struct sandtrap_ring_entry) == 24);
static_assert(sizeof(struct sandtrap_fault) == 64);
static_assert(offsetof(struct sandtrap_context_page, resume_seq) == 64);
static_assert(offsetof(struct sandtrap_context_page, regs) == 128);
static_assert(offsetof(struct sandtrap_context_page, fault) == 384);
static_assert(sizeof(struct sandtrap_context_page) <= SANDTRAP_FPU_OFFSET);

bool sandtrap_has_direct;

/*
 * Where shared memory is freed. In an RCU callback, which is an interrupt, vfree()
 * would keep the memory on a list until later, with the link of the list inside the
 * memory: that is still mapped, and whoever has it could make the kernel free
 * anything.
 */
struct workqueue_struct *sandtrap_free_wq;

size_t sandtrap_context_size(void)
{
	return SANDTRAP_FPU_OFFSET + PAGE_ALIGN(sandtrap_fpu_size);
}

static struct miscdevice sandtrap_miscdev = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "sandtrap",
	.fops	= &sandtrap_instance_fops,
	.mode	= 0666,
};

static int __init sandtrap_init(void)
{
	int err;

	sandtrap_fpu_setup();
	if (sandtrap_context_size() > 1u << SANDTRAP_SLOT_SHIFT)
		return -E2BIG;

	err = sandtrap_compat_init();
	if (err)
		return err;
	sandtrap_has_direct = sandtrap_symbols_init();
	sandtrap_free_wq = alloc_workqueue("sandtrap",
					    WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!sandtrap_free_wq)
		return -ENOMEM;
	err = sandtrap_hooks_init();
	if (err)
		goto out_wq;

	err = misc_register(&sandtrap_miscdev);
	if (err)
		goto out_hooks;
	return 0;

out_hooks:
	sandtrap_hooks_exit();
out_wq:
	destroy_workqueue(sandtrap_free_wq);
	return err;
}

static void __exit sandtrap_exit(void)
{
	misc_deregister(&sandtrap_miscdev);
	sandtrap_hooks_exit();
	/* Objects are freed by RCU callbacks, and by work that these queue; work puts some. */
	flush_workqueue(sandtrap_free_wq);
	rcu_barrier();
	destroy_workqueue(sandtrap_free_wq);
}

module_init(sandtrap_init);
module_exit(sandtrap_exit);

MODULE_DESCRIPTION("Traps system calls and faults of sandboxed programs");
MODULE_LICENSE("GPL");
