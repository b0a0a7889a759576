// SPDX-License-Identifier: GPL-2.0
/*
 * hook.c - how the kernel's functions come to call us, for our tasks only
 *
 * Some functions, as listed here, are redirected with ftrace, as live patches do it.
 * For a task that is not ours the function runs as if nothing were there. The first is
 * not even reached by a task that has no syscall user dispatch.
 *
 *   syscall_user_dispatch	every system call of a task with the work bit
 *   force_sig_info_to_task	a signal that the kernel forces on a task
 *   arch_do_signal_or_restart	a signal, stop, freeze or exit on the way to user
 *				mode: a task that wears a program leaves it first;
 *				without it, direct mode is not offered
 *   emulate_vsyscall		an execution fault in the vsyscall page: refused
 *				to our tasks, so it is a fault like any other
 *				(two functions since 6.19: _pf and _gp)
 *
 *   set_syscall_user_dispatch	a task's own prctl(), which a tracer may put in place
 *				of the seccomp() of a stub's thread: refused to ours
 *   syscall_user_dispatch_{get,set}_config	(since 6.4) ptrace looks at, or
 *				changes, the dispatch of a task: refused for ours
 *
 * A forced signal is taken only if it goes to the running task, while that runs
 * program code, and if a handler would get it: those that are meant to kill
 * (seccomp, SIGKILL, a broken exception return) go to the original.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>

#include <asm/vsyscall.h>

#include "compat.h"
#include "sandtrap_internal.h"

/* kernel/signal.c, enum sig_handler: a handler of the task gets the signal. */
#define HANDLER_CURRENT 0

static bool refuse_vsyscall(void)
{
	return false;
}

static int refuse_dispatch(unsigned long mode, unsigned long offset,
			   unsigned long len, char __user *selector)
{
	return -EPERM;
}

static int refuse_config(struct task_struct *task, unsigned long size,
			 void __user *data)
{
	return -EPERM;
}

static void notrace redirect(struct ftrace_regs *fregs, void *to)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)to);
}

static void notrace on_syscall(unsigned long ip, unsigned long parent_ip,
			       struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	struct sandtrap_trapped *t = sandtrap_dispatched(current);

	if (t)
		redirect(fregs, t->direct ? sandtrap_direct_syscall :
					    sandtrap_trap_syscall);
}

/*
 * Some force a signal where nobody may wait for a sentry: for a hardware memory
 * error the kernel holds a mutex, a page and perhaps the mmap lock, and for one in an
 * enclave the mutex, with the code that #SS has, too; for a #VC that it cannot handle
 * interrupts are off; and for an INT3 that is no uprobe, where there are some, it is
 * (since 6.12) a reader for whom others wait.
 */
static __always_inline bool may_wait(const struct kernel_siginfo *info)
{
	if (unlikely(irqs_disabled()))
		return false;
	switch (info->si_signo) {
	case SIGBUS:
		if (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)
			return false;
		fallthrough;
	case SIGTRAP:
	case SIGILL:
		return info->si_code != SI_KERNEL;
	default:
		return true;
	}
}

static __always_inline void *direct_fault_handler(const struct kernel_siginfo *info)
{
	if (info->si_signo == SIGTRAP && info->si_code == TRAP_HWBKPT)
		return sandtrap_direct_breakpoint;
	return may_wait(info) ? sandtrap_direct_fault : sandtrap_direct_fault_later;
}

static void notrace on_force_sig(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *ops,
				 struct ftrace_regs *fregs)
{
	struct sandtrap_trapped *t = sandtrap_trapped(current);
	struct kernel_siginfo *info;

	if (likely(!t) || !t->in_program)
		return;
	info = (void *)ftrace_regs_get_argument(fregs, 0);
	if (ftrace_regs_get_argument(fregs, 1) != (unsigned long)current ||
	    (u32)ftrace_regs_get_argument(fregs, 2) != HANDLER_CURRENT ||
	    info->si_signo == SIGKILL)
		return;
	if (t->direct)
		redirect(fregs, direct_fault_handler(info));
	else
		redirect(fregs, may_wait(info) ? sandtrap_trap_fault :
						 sandtrap_trap_fault_later);
}

/* Before a signal, stop, freeze or exit: our caller's own mm first. */
static void notrace on_signal(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct sandtrap_trapped *t = sandtrap_trapped(current);

	if (unlikely(t) && t->direct)
		redirect(fregs, sandtrap_direct_signal);
}

static void notrace on_vsyscall(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops,
				struct ftrace_regs *fregs)
{
	if (sandtrap_trapped(current))
		redirect(fregs, refuse_vsyscall);
}

/* A task whose dispatch was taken away would never be let go of. */
static void notrace on_dispatch(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops,
				struct ftrace_regs *fregs)
{
	if (sandtrap_trapped(current))
		redirect(fregs, refuse_dispatch);
}

/*
 * The same, and what ptrace would tell is the address of an object of ours. A task that
 * has lost the work bit by execve() still has it.
 */
static void __maybe_unused notrace
on_config(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
	  struct ftrace_regs *fregs)
{
	struct task_struct *task = (void *)ftrace_regs_get_argument(fregs, 0);

	if (sandtrap_dispatched(task))
		redirect(fregs, refuse_config);
}

struct sandtrap_hook {
	const char *name;
	struct ftrace_ops ops;
};

/*
 * PERMANENT: sysctl kernel.ftrace_enabled cannot take a hook away. The callbacks
 * do nothing that could recurse, and each is the only one of its function.
 */
#define HOOK(_name, _func) { \
	.name = _name, \
	.ops = { \
		.func = _func, \
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT | \
			 SANDTRAP_FTRACE_SAVE_REGS, \
	}, \
}

static struct sandtrap_hook hooks[] = {
	HOOK("syscall_user_dispatch", on_syscall),
	HOOK("force_sig_info_to_task", on_force_sig),
#ifdef SANDTRAP_VSYSCALL_GP
	HOOK("emulate_vsyscall_pf", on_vsyscall),
	HOOK("emulate_vsyscall_gp", on_vsyscall),
#else
	HOOK("emulate_vsyscall", on_vsyscall),
#endif
	HOOK("set_syscall_user_dispatch", on_dispatch),
#ifdef SANDTRAP_PTRACE_SEES_DISPATCH
	HOOK("syscall_user_dispatch_get_config", on_config),
	HOOK("syscall_user_dispatch_set_config", on_config),
#endif
};

/* Every task comes here with each of its signals. */
static struct sandtrap_hook signal_hook =
	HOOK("arch_do_signal_or_restart", on_signal);

static int hook_register(struct sandtrap_hook *hook)
{
	int err;

	err = ftrace_set_filter(&hook->ops, (unsigned char *)hook->name,
				strlen(hook->name), 1);
	if (err) {
		pr_err("%s cannot be traced (%d): this kernel needs CONFIG_DYNAMIC_FTRACE and a %s that is not inlined\n",
		       hook->name, err, hook->name);
		return err;
	}
	err = register_ftrace_function(&hook->ops);
	if (err == -EBUSY)
		pr_err("%s is taken by a live patch or another module: unload that (see /sys/kernel/livepatch) and load sandtrap again\n",
		       hook->name);
	else if (err)
		pr_err("%s cannot be hooked (%d): is ftrace switched off (sysctl kernel.ftrace_enabled=1)?\n",
		       hook->name, err);
	if (err)
		ftrace_free_filter(&hook->ops);
	return err;
}

static void hook_unregister(struct sandtrap_hook *hook)
{
	unregister_ftrace_function(&hook->ops);
	ftrace_free_filter(&hook->ops);
}

/* the end of tasks, and of the programs they ran */

static void on_exit(SANDTRAP_EXIT_PROBE_ARGS)
{
	struct sandtrap_trapped *t = sandtrap_trapped(current);

	if (unlikely(t)) {
		if (t->direct)
			sandtrap_direct_exit();
		else
			sandtrap_thread_exit(sandtrap_current_thread());
	} else if (unlikely(sandtrap_dispatched(current))) {
		sandtrap_thread_exit_exec();
	}
	sandtrap_server_gone(task);
	if (!atomic_read(&task->signal->live))
		sandtrap_owner_gone(task);
	else
		sandtrap_owner_exits(task);
}

/*
 * A stub's thread gets here only if a tracer had it: it is being killed, like all of its
 * process, since the server is gone.
 */
static void on_exec(void *data, struct task_struct *task, pid_t old_pid,
		    struct linux_binprm *bprm)
{
	sandtrap_server_gone(task);
	sandtrap_owner_gone(task);
}

/*
 * A tracer can have a task of ours make a child. That has no work bit, so it is none of
 * ours, and is not to have our selector: ptrace would tell it, even when we are gone.
 */
static void on_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	if (unlikely(sandtrap_dispatched(parent)))
		child->syscall_dispatch.selector = NULL;
}

static struct sandtrap_probe {
	const char *name;
	void *func;
	struct tracepoint *tp;
} probes[] = {
	{ "sched_process_exit", on_exit },
	{ "sched_process_exec", on_exec },
	{ "sched_process_fork", on_fork },
};

static void find_tracepoint(struct tracepoint *tp, void *data)
{
	struct sandtrap_probe *probe = data;

	if (!strcmp(tp->name, probe->name))
		probe->tp = tp;
}

static int probe_register(struct sandtrap_probe *probe)
{
	int err = -ENOENT;

	for_each_kernel_tracepoint(find_tracepoint, probe);
	if (probe->tp)
		err = tracepoint_probe_register(probe->tp, probe->func, NULL);
	if (err)
		pr_err("no tracepoint %s (%d): this kernel needs CONFIG_TRACEPOINTS\n",
		       probe->name, err);
	return err;
}

static void probes_unregister(int nr)
{
	while (nr--)
		tracepoint_probe_unregister(probes[nr].tp, probes[nr].func,
					    NULL);
	tracepoint_synchronize_unregister();
}

static int probes_register(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		err = probe_register(&probes[i]);
		if (err) {
			probes_unregister(i);
			return err;
		}
	}
	return 0;
}

int sandtrap_hooks_init(void)
{
	int i, err;

	err = probes_register();
	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		err = hook_register(&hooks[i]);
		if (err)
			goto out_hooks;
	}
	if (sandtrap_has_direct && hook_register(&signal_hook))
		sandtrap_has_direct = false;
	return 0;

out_hooks:
	while (i--)
		hook_unregister(&hooks[i]);
	probes_unregister(ARRAY_SIZE(probes));
	return err;
}

/* No task is attached, so none is in our code but on its very last steps. */
void sandtrap_hooks_exit(void)
{
	int i = ARRAY_SIZE(hooks);

	if (sandtrap_has_direct)
		hook_unregister(&signal_hook);
	while (i--)
		hook_unregister(&hooks[i]);
	probes_unregister(ARRAY_SIZE(probes));
	/* Task work that dropped the last reference may still have to return. */
	synchronize_rcu_tasks();
}
