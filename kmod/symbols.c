// SPDX-License-Identifier: GPL-2.0
/*
 * symbols.c - functions of the kernel that nobody exports
 *
 * A kprobe on a name tells the address, and a static call makes a direct call of
 * it: an indirect one would need a landing pad (IBT), and the kernel takes that away
 * from functions whose address it does not use itself. If one that direct mode needs
 * is missing only ring mode is offered, and the log says why.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/static_call.h>

#include "compat.h"
#include "sandtrap_internal.h"

DEFINE_STATIC_CALL_NULL(sandtrap_switch_mm, sandtrap_switch_mm_fn);
DEFINE_STATIC_CALL_NULL(sandtrap_membarrier_mm, sandtrap_membarrier_mm_fn);
DEFINE_STATIC_CALL_NULL(sandtrap_do_signal, sandtrap_do_signal_fn);
DEFINE_STATIC_CALL_NULL(sandtrap_save_fpu, sandtrap_save_fpu_fn);
DEFINE_STATIC_CALL_NULL(sandtrap_restore_fpu, sandtrap_restore_fpu_fn);
#ifdef CONFIG_MEMCG
DEFINE_STATIC_CALL_NULL(sandtrap_next_owner, sandtrap_next_owner_fn);
#endif
#ifdef SANDTRAP_CID_CALLS
DEFINE_STATIC_CALL_NULL(sandtrap_cid_out, sandtrap_cid_fn);
DEFINE_STATIC_CALL_NULL(sandtrap_cid_in, sandtrap_cid_fn);
#endif

void *sandtrap_find_function(const char *name, const char *consequence)
{
	/* Never armed: this runs under traffic, and the kernel with interrupts off. */
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	void *addr;
	int err;

	err = register_kprobe(&probe);
	if (err) {
		pr_info("%s: %s cannot be found (%d)\n", consequence, name, err);
		return NULL;
	}
	addr = probe.addr;
	unregister_kprobe(&probe);
	return addr;
}

#define FIND(call, name) SANDTRAP_FIND(call, name, "no direct mode")

/* True: all that direct mode needs is there. */
bool sandtrap_symbols_init(void)
{
	if (!SANDTRAP_KNOWS_DIRECT || cpu_feature_enabled(X86_FEATURE_XENPV)) {
		pr_info("no direct mode on this %s\n",
			SANDTRAP_KNOWS_DIRECT ? "hypervisor (Xen PV)" : "kernel");
		return false;
	}
	if (!FIND(sandtrap_switch_mm, "switch_mm_irqs_off") ||
	    !FIND(sandtrap_membarrier_mm, "membarrier_update_current_mm") ||
	    !FIND(sandtrap_do_signal, "arch_do_signal_or_restart") ||
	    !FIND(sandtrap_save_fpu, "save_fpregs_to_fpstate") ||
	    !FIND(sandtrap_restore_fpu, "restore_fpregs_from_fpstate"))
		return false;
#ifdef CONFIG_MEMCG
	if (!FIND(sandtrap_next_owner, "mm_update_next_owner"))
		return false;
#endif
#ifdef SANDTRAP_CID_CALLS
	if (!FIND(sandtrap_cid_out, "sched_mm_cid_before_execve") ||
	    !FIND(sandtrap_cid_in, "sched_mm_cid_after_execve"))
		return false;
#endif
	return sandtrap_compat_direct_init();
}
