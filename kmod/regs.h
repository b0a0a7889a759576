/* SPDX-License-Identifier: GPL-2.0 */
/*
 * regs.h - registers and segments of a context
 *
 * On the path of every system call, so in one piece with it. What comes from the
 * shared pages is copied once, and checked on the copy, the way ptrace checks a
 * debugger's.
 */
#ifndef _SANDTRAP_REGS_H
#define _SANDTRAP_REGS_H

#include <asm/cpufeature.h>
#include <asm/fsgsbase.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>

#include "compat.h"
#include "sandtrap_internal.h"

/* The flags that user mode may set: ptrace's FLAG_MASK, and ID, which it forgot. */
#define SANDTRAP_USER_FLAGS \
	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
	 X86_EFLAGS_SF | X86_EFLAGS_TF | X86_EFLAGS_DF | X86_EFLAGS_OF | \
	 X86_EFLAGS_RF | X86_EFLAGS_AC | X86_EFLAGS_NT | X86_EFLAGS_ID)

/* ptrace's layout, in which the page and the kernel's stack have the registers. */
static_assert(sizeof(struct pt_regs) == offsetof(struct sandtrap_regs, fs_base));
static_assert(offsetof(struct pt_regs, orig_ax) == offsetof(struct sandtrap_regs, orig_rax));
static_assert(offsetof(struct pt_regs, ss) == offsetof(struct sandtrap_regs, ss));

static __always_inline void sandtrap_regs_save(struct sandtrap_regs *r,
					       const struct pt_regs *regs)
{
	*(struct pt_regs *)r = *regs;
	r->orig_rax = -1;
	r->cs = __USER_CS;
	r->ss = __USER_DS;
}

/* False: these registers cannot be run, and @regs is as it was. */
static __always_inline bool sandtrap_regs_load(const struct sandtrap_regs *r,
					       struct pt_regs *regs)
{
	unsigned long ip = READ_ONCE(r->rip);

	if (ip >= TASK_SIZE_MAX)
		return false;
	*regs = *(const struct pt_regs *)r;
	/* From here on it is the copy that is looked at. */
	barrier();
	regs->ip = ip;
	/* Nothing of what this thread ran before stays. */
	regs->flags = X86_EFLAGS_FIXED | X86_EFLAGS_IF |
		      (regs->flags & SANDTRAP_USER_FLAGS);
	sandtrap_set_user_selectors(regs);
	/* Never a system call to restart, whatever ax looks like. */
	regs->orig_ax = -1;
	return true;
}

/*
 * In one piece: nothing may look for the kernel's own base in between. With FRED there is
 * no SWAPGS, and the MSR has the user's base while the kernel runs, as without.
 */
static __always_inline unsigned long sandtrap_exchange_gsbase(unsigned long new)
{
	unsigned long old;

	if (sandtrap_has_fred()) {
		rdmsrq(MSR_KERNEL_GS_BASE, old);
		wrmsrq(MSR_KERNEL_GS_BASE, new);
		return old;
	}
	asm volatile("swapgs\n\t"
		     "rdgsbase %0\n\t"
		     "wrgsbase %1\n\t"
		     "swapgs"
		     : "=&r"(old)
		     : "r"(new)
		     : "memory");
	return old;
}

/* Exchanges what the CPU holds. Interrupts are off. */
static __always_inline void
sandtrap_segments_swap(struct sandtrap_segments *from,
		       const struct sandtrap_segments *to)
{
	savesegment(ds, from->ds);
	savesegment(es, from->es);
	savesegment(fs, from->fs);
	savesegment(gs, from->gs);
	if (!static_cpu_has(X86_FEATURE_FSGSBASE)) {
		sandtrap_segments_swap_by_msr(from, to);
		return;
	}
	from->fs_base = rdfsbase();
	from->gs_base = sandtrap_exchange_gsbase(to->gs_base);
	if (unlikely(from->selectors | to->selectors))
		sandtrap_segments_load(from, to);
	wrfsbase(to->fs_base);
}

#endif /* _SANDTRAP_REGS_H */
