// SPDX-License-Identifier: GPL-2.0
/*
 * compat.c - functions of newer kernels that a module cannot link with
 *
 * A kprobe on a name tells the address; it is never armed. A static call makes a
 * direct call of it: an indirect one would need a landing pad (IBT), and the
 * kernel has taken that away from functions whose address it does not use itself.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>

#include "compat.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#undef current_save_fsgs
#undef fpu_copy_guest_fpstate_to_uabi
#undef fpu_copy_uabi_to_guest_fpstate

DEFINE_STATIC_CALL_NULL(sandtrap_current_save_fsgs, current_save_fsgs);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate);

static void *find_function(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	void *addr;
	int err;

	err = register_kprobe(&probe);
	if (err) {
		pr_err("%s cannot be found (%d): this kernel needs CONFIG_KPROBES, and a version that sandtrap knows\n",
		       name, err);
		return NULL;
	}
	addr = probe.addr;
	unregister_kprobe(&probe);
	return addr;
}

#define FIND(call, name) ({ \
	typeof(&name) __fn = find_function(#name); \
	if (__fn) \
		static_call_update(call, __fn); \
	__fn != NULL; \
})

int sandtrap_compat_init(void)
{
	if (!FIND(sandtrap_current_save_fsgs, current_save_fsgs) ||
	    !FIND(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi) ||
	    !FIND(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate))
		return -ENOENT;
	return 0;
}
#endif
