// SPDX-License-Identifier: MIT
/*
 * altstack.c - alternate signal stacks
 */
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"

/* The kernel's, not the C library's, which grows with the CPU's state. */
#define KERNEL_MINSIGSTKSZ 2048

bool altstack_contains(const stack_t *ss, uint64_t sp)
{
	uint64_t base = (uint64_t)(uintptr_t)ss->ss_sp;

	return sp > base && sp - base <= ss->ss_size;
}

bool on_altstack(const stack_t *ss, uint64_t sp)
{
	return !(ss->ss_flags & SS_AUTODISARM) && altstack_contains(ss, sp);
}

/* SS_DISABLE or SS_ONSTACK or 0, as sigaltstack(2) reports. */
static int altstack_flags(const stack_t *ss, uint64_t sp)
{
	if (!ss->ss_size)
		return SS_DISABLE;
	return on_altstack(ss, sp) ? SS_ONSTACK : 0;
}

/* As in Linux, sigreturn passes no minimum, system calls do. */
int do_sigaltstack(struct task *t, const stack_t *ss, uint64_t sp,
		   size_t min_size)
{
	int mode = ss->ss_flags & ~SS_AUTODISARM;

	if (on_altstack(&t->sig.altstack, sp))
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		t->sig.altstack = (stack_t){ .ss_flags = ss->ss_flags };
		return 0;
	}
	if (ss->ss_size < min_size)
		return -ENOMEM;
	t->sig.altstack = *ss;
	return 0;
}

long sys_sigaltstack(struct task *t, const uint64_t *args)
{
	uint64_t sp = t->regs->rsp;
	stack_t new, old;
	int err;

	memset(&old, 0, sizeof(old));
	old.ss_sp = t->sig.altstack.ss_sp;
	old.ss_size = t->sig.altstack.ss_size;
	old.ss_flags = altstack_flags(&t->sig.altstack, sp) |
		       (t->sig.altstack.ss_flags & SS_AUTODISARM);
	if (args[0]) {
		if (copy_from_user(t, &new, args[0], sizeof(new)))
			return -EFAULT;
		err = do_sigaltstack(t, &new, sp, KERNEL_MINSIGSTKSZ);
		if (err)
			return err;
	}
	if (args[1] && copy_to_user(t, args[1], &old, sizeof(old)))
		return -EFAULT;
	return 0;
}
