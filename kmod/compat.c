// SPDX-License-Identifier: GPL-2.0
/*
 * compat.c - functions of newer kernels that a module cannot link with
 *
 * They are found and called as symbols.c tells.
 */
#include "compat.h"
#include "sandtrap_internal.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#undef current_save_fsgs
#undef fpu_copy_guest_fpstate_to_uabi
#undef fpu_copy_uabi_to_guest_fpstate

DEFINE_STATIC_CALL_NULL(sandtrap_current_save_fsgs, current_save_fsgs);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi);
DEFINE_STATIC_CALL_NULL(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate);

#define FIND(call, name) \
	SANDTRAP_FIND(call, #name, "sandtrap needs CONFIG_KPROBES and a kernel that it knows")

int sandtrap_compat_init(void)
{
	if (!FIND(sandtrap_current_save_fsgs, current_save_fsgs) ||
	    !FIND(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi) ||
	    !FIND(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate))
		return -ENOENT;
	return 0;
}
#endif
