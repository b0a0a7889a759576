// SPDX-License-Identifier: MIT
/*
 * run.c - the loop of a task: run the program, carry out its system calls
 *
 * This is the hot path of the whole system. One iteration for an ordinary
 * call: one check for work, one switch, one table look-up, the call.
 */
#include "sentry/mm/patch.h"
#include "sentry/task/internal.h"

static long unknown_syscall(struct task *t)
{
	atomic_fetch_add_explicit(&t->kernel->unknown_count, 1,
				  memory_order_relaxed);
	return -ENOSYS;
}

/* As in Linux, the number is the low half of the register. */
static inline const struct syscall_desc *lookup(struct task *t)
{
	unsigned int nr = (unsigned int)t->regs->orig_rax;

	if (unlikely(nr >= SYSCALL_TABLE_SIZE))
		return NULL;
	t->syscall_count[nr]++;
	return syscall_table[nr];
}

static inline void load_args(const struct task *t, uint64_t args[6])
{
	const struct user_regs_struct *r = t->regs;

	args[0] = r->rdi;
	args[1] = r->rsi;
	args[2] = r->rdx;
	args[3] = r->r10;
	args[4] = r->r8;
	args[5] = r->r9;
}

static inline void store_result(struct task *t, long ret)
{
	t->regs->rax = (uint64_t)ret;
	/* The program must never see these: have signal_deliver() look. */
	if (unlikely(ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK))
		atomic_fetch_or(&t->work, TASK_WORK_SIGNAL);
}

static inline void do_syscall(struct task *t)
{
	const struct syscall_desc *d = lookup(t);
	uint64_t args[6];

	load_args(t, args);
	store_result(t, likely(d && d->fn) ? d->fn(t, args) :
					     unknown_syscall(t));
}

static void do_syscall_traced(struct task *t)
{
	const struct syscall_desc *d = lookup(t);
	long nr = (int)t->regs->orig_rax;
	uint64_t args[6];
	long ret;

	load_args(t, args);
	strace_enter(t, nr, args);
	ret = d && d->fn ? d->fn(t, args) : unknown_syscall(t);
	strace_exit(t, nr, args, ret);
	store_result(t, ret);
}

/*
 * The program cannot be run on. A bad instruction pointer is a fault as on a
 * CPU; anything else means that its address space or stub is gone.
 */
static void switch_failed(struct task *t, int err)
{
	siginfo_t info;

	if (unlikely(t->kernel->strace))
		strace_switch_failed(t, err);
	if (err != -EINVAL) {
		task_group_exit(t, SIGKILL);
		return;
	}
	t->regs->orig_rax = -1ull;
	siginfo_user(&info, SIGSEGV, NULL);
	signal_force(t, &info, NULL);
}

static inline __attribute__((always_inline)) void loop(struct task *t,
						       bool traced)
{
	struct platform_event ev;
	int err;

	for (;;) {
		if (unlikely(atomic_load_explicit(&t->work,
						  memory_order_relaxed))) {
			if (atomic_load(&t->work) & TASK_WORK_KILL)
				return;
			signal_deliver(t);
			continue;
		}
		err = context_switch(t->ctx, mm_address_space(t->mm), -1, &ev);
		if (unlikely(err))
			switch_failed(t, err);
		else if (unlikely(ev.kind != PLATFORM_SYSCALL ||
				  ev.flags & PLATFORM_EVENT_COMPAT))
			task_handle_event(t, &ev);
		else {
			if (unlikely(ev.flags & PLATFORM_EVENT_CAN_BE_PATCHED))
				patch_syscall(t);
			if (traced)
				do_syscall_traced(t);
			else
				do_syscall(t);
		}
	}
}

void task_run(struct task *t)
{
	if (t->kernel->strace)
		loop(t, true);
	else
		loop(t, false);
}
