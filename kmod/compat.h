/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - every difference between kernel versions, by feature
 *
 * No other file of the module looks at the version of the kernel.
 */
#ifndef _SANDTRAP_COMPAT_H
#define _SANDTRAP_COMPAT_H

#include <linux/ftrace.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/static_call.h>
#include <linux/version.h>
#include <linux/wait.h>

#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/msr.h>
#include <asm/ptrace.h>
#include <asm/segment.h>
#ifdef CONFIG_X86_USER_SHADOW_STACK
#include <asm/prctl.h>
#endif

/* The exit probe, which takes spin locks, may run with preemption off. */
#ifdef CONFIG_PREEMPT_RT
#error "sandtrap is not for kernels with PREEMPT_RT"
#endif

/*
 * Where the kernel has frame pointers it has its compiler make no jump of a call that is
 * the last thing that a function does: one that must be a jump says so.
 */
#ifdef CONFIG_FRAME_POINTER
#define SANDTRAP_TAIL_CALLS __attribute__((optimize("optimize-sibling-calls")))
#else
#define SANDTRAP_TAIL_CALLS
#endif

/* cpuid_count() moved out of asm/processor.h in 6.16. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#include <asm/cpuid/api.h>
#else
#include <asm/processor.h>
#endif

/* load_gs_index() of a kernel without PARAVIRT_XXL moved in 6.3. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <asm/gsseg.h>
#else
#include <asm/special_insns.h>
#endif

/* ftrace: where a hooked function continues, and its arguments. */

#ifndef ftrace_regs_set_instruction_pointer
#define ftrace_regs_set_instruction_pointer(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, ip)
#endif

#ifndef ftrace_regs_get_argument
#define ftrace_regs_get_argument(fregs, n) \
	regs_get_kernel_argument(&(fregs)->regs, n)
#endif

/*
 * The trampoline that saves only the argument registers can redirect a function
 * as well, where there is one. It is what live patches use.
 */
#ifdef CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS
#define SANDTRAP_FTRACE_SAVE_REGS 0
#else
#define SANDTRAP_FTRACE_SAVE_REGS FTRACE_OPS_FL_SAVE_REGS
#endif

/* With LASS a call of the vsyscall page is a #GP, which 6.19 emulates as well. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define SANDTRAP_VSYSCALL_GP
#endif

/* ptrace can get and set the syscall user dispatch of a task since 6.4. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define SANDTRAP_PTRACE_SEES_DISPATCH
#endif

/* Flags of a mapping are changed through helpers since 6.3. */

static inline void sandtrap_vma_flags(struct vm_area_struct *vma,
				      unsigned long set, unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/*
 * Since 6.9 the selectors are 16 bits of what the stack has for them. The others tell
 * a CPU with FRED how to return: nothing that a page holds may get there.
 */
static inline void sandtrap_set_user_selectors(struct pt_regs *regs)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	regs->csx = __USER_CS;
	regs->ssx = __USER_DS;
#else
	regs->cs = __USER_CS;
	regs->ss = __USER_DS;
#endif
}

/*
 * Pins one page of another mm, whose mmap lock the caller holds; @locked: still, after
 * this. With it a fault can be killed.
 */
static inline long sandtrap_pin_page(struct mm_struct *mm, unsigned long addr,
				     unsigned int gup_flags, struct page **page, int *locked)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return pin_user_pages_remote(mm, addr, 1, gup_flags, page, locked);
#else
	return pin_user_pages_remote(mm, addr, 1, gup_flags, page, NULL, locked);
#endif
}

/* Events and returns of a new kind, since 6.9. */
static __always_inline bool sandtrap_has_fred(void)
{
#ifdef X86_FEATURE_FRED
	return cpu_feature_enabled(X86_FEATURE_FRED);
#else
	return false;
#endif
}

/* What reads and writes a 64-bit MSR got another name in 6.16. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define rdmsrq(msr, value) rdmsrl(msr, value)
#define wrmsrq(msr, value) wrmsrl(msr, value)
#endif

/*
 * The FPU state of a task stopped being part of its thread_struct in 6.16. It lies
 * behind the task; the function that finds it where the FPU is debugged is not
 * exported.
 */
static inline struct fpu *sandtrap_current_fpu(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	return (void *)current + sizeof(*current);
#else
	return &current->thread.fpu;
#endif
}

/*
 * Since 6.19 the modules of KVM alone may link with these: compat.c finds them.
 * Callers write what they would write for a kernel before that.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
DECLARE_STATIC_CALL(sandtrap_current_save_fsgs, current_save_fsgs);
DECLARE_STATIC_CALL(sandtrap_fpu_to_uabi, fpu_copy_guest_fpstate_to_uabi);
DECLARE_STATIC_CALL(sandtrap_fpu_from_uabi, fpu_copy_uabi_to_guest_fpstate);
#define current_save_fsgs() static_call(sandtrap_current_save_fsgs)()
#define fpu_copy_guest_fpstate_to_uabi(...) \
	static_call(sandtrap_fpu_to_uabi)(__VA_ARGS__)
#define fpu_copy_uabi_to_guest_fpstate(...) \
	static_call(sandtrap_fpu_from_uabi)(__VA_ARGS__)

DECLARE_STATIC_CALL(sandtrap_fpu_alloc, fpu_alloc_guest_fpstate);
DECLARE_STATIC_CALL(sandtrap_fpu_free, fpu_free_guest_fpstate);
DECLARE_STATIC_CALL(sandtrap_fpu_return, switch_fpu_return);
#define fpu_alloc_guest_fpstate(guest) static_call(sandtrap_fpu_alloc)(guest)
#define fpu_free_guest_fpstate(guest) static_call(sandtrap_fpu_free)(guest)
#define switch_fpu_return() static_call(sandtrap_fpu_return)()

int sandtrap_compat_init(void);
/* What only direct mode needs. */
bool sandtrap_compat_direct_init(void);
#else
static inline int sandtrap_compat_init(void)
{
	return 0;
}

static inline bool sandtrap_compat_direct_init(void)
{
	return true;
}
#endif

/* The address of the caller's rseq area is in a structure of its own since 6.19. */
static inline bool sandtrap_has_rseq(void)
{
#ifndef CONFIG_RSEQ
	return false;
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	return current->rseq.usrptr;
#else
	return current->rseq;
#endif
}

/* In 7.2 the lists of futexes that the caller holds are in a structure. */
static inline bool sandtrap_has_robust_list(void)
{
#ifndef CONFIG_FUTEX
	return false;
#else
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define SANDTRAP_FUTEX current->futex.
#else
#define SANDTRAP_FUTEX current->
#endif
#ifdef CONFIG_COMPAT
	if (SANDTRAP_FUTEX compat_robust_list)
		return true;
#endif
	return SANDTRAP_FUTEX robust_list;
#undef SANDTRAP_FUTEX
#endif
}

/*
 * The memory map of a task and what belongs to it are changed by direct.c the way
 * these kernels do it. Since 6.19 concurrency ids work another way (see compat.c),
 * which has been looked at in 7.2.13: the first of these kernels had faults where a
 * running task has no id.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0) || \
	(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 13) && \
	 LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0))
#define SANDTRAP_KNOWS_DIRECT 1
#else
#define SANDTRAP_KNOWS_DIRECT 0
#endif

/*
 * Concurrency ids (6.3): drop() before the calling task takes another mm, take() when
 * it has its own again, lost() if it ends before that.
 */
#if !defined(CONFIG_SCHED_MM_CID) || !SANDTRAP_KNOWS_DIRECT
static inline void sandtrap_cid_drop(void) {}
static inline void sandtrap_cid_take(void) {}
static inline void sandtrap_cid_lost(void) {}
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
#define SANDTRAP_CID_CALLS
void sandtrap_cid_fn(struct task_struct *task);
DECLARE_STATIC_CALL(sandtrap_cid_out, sandtrap_cid_fn);
DECLARE_STATIC_CALL(sandtrap_cid_in, sandtrap_cid_fn);

static inline void sandtrap_cid_drop(void)
{
	static_call(sandtrap_cid_out)(current);
}

static inline void sandtrap_cid_take(void)
{
	static_call(sandtrap_cid_in)(current);
}

static inline void sandtrap_cid_lost(void) {}
#else
void sandtrap_cid_drop(void);
void sandtrap_cid_take(void);
void sandtrap_cid_lost(void);
#endif

/* Before 6.2 a task counts some of the pages that its mm gets and loses. */
static inline void sandtrap_sync_rss(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0) && defined(SPLIT_RSS_COUNTING)
	const int *n = current->rss_stat.count;
	int i;

	BUILD_BUG_ON(NR_MM_COUNTERS != 4);
	if (likely(!(n[0] | n[1] | n[2] | n[3])))
		return;
	for (i = 0; i < NR_MM_COUNTERS; i++) {
		int count = current->rss_stat.count[i];

		if (unlikely(count)) {
			atomic_long_add(count, &mm->rss_stat.count[i]);
			current->rss_stat.count[i] = 0;
		}
	}
	current->rss_stat.events = 0;
#endif
}

/* mm_update_next_owner() */
void sandtrap_next_owner_fn(struct mm_struct *mm);
DECLARE_STATIC_CALL(sandtrap_next_owner, sandtrap_next_owner_fn);

/* Is it current whose memory cgroup is charged for @mm? */
static inline bool sandtrap_mm_is_own(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	return rcu_access_pointer(mm->owner) == current;
#else
	return false;
#endif
}

/* The caller is the owner of @mm, but does not have it any more: if another does, it is. */
static inline void sandtrap_mm_pass_on(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	static_call(sandtrap_next_owner)(mm);
#endif
}

/*
 * When the owner of an mm exits, another task that has it becomes the owner. The
 * caller holds the lock of current, and does not have @mm any more, or not for long.
 */
static inline void sandtrap_mm_disown(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	if (unlikely(sandtrap_mm_is_own(mm)))
		RCU_INIT_POINTER(mm->owner, NULL);
#endif
}

/*
 * The caller holds the lock of current, which has @mm. When the owner of an mm exits, the
 * kernel may find nobody to follow: what is charged to it goes to the root cgroup then.
 */
static inline void sandtrap_mm_own(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	if (unlikely(!rcu_access_pointer(mm->owner)))
		cmpxchg((struct task_struct __force **)&mm->owner, NULL, current);
#endif
}

/* @task ends, or has just lost @mm: @heir owns it in its place, if that is its mm, too. */
static inline bool sandtrap_mm_hand_over(struct task_struct *task, struct task_struct *heir,
					 struct mm_struct *mm)
{
	bool has_mm;

	/* Under its lock it has the mm, and will pass it on when it ends. */
	task_lock(heir);
	has_mm = heir->mm == mm;
#ifdef CONFIG_MEMCG
	if (has_mm) {
		struct task_struct **owner = (struct task_struct __force **)&mm->owner;

		if (READ_ONCE(*owner) == task)
			WRITE_ONCE(*owner, heir);
		else
			cmpxchg(owner, NULL, heir);
	}
#endif
	task_unlock(heir);
	return has_mm;
}

/* Is the caller the one whose memory cgroup is charged for its mm? */
static inline bool sandtrap_owns_mm(void)
{
	return !IS_ENABLED(CONFIG_MEMCG) || sandtrap_mm_is_own(current->mm);
}

/*
 * The caller, which has @mm for a while, is charged for what it takes. False if @lender
 * has lost it: the kernel may be about to choose an owner, which that sees first.
 */
static inline bool sandtrap_mm_borrow(struct mm_struct *mm, struct task_struct *lender)
{
#ifdef CONFIG_MEMCG
	/* A full barrier: @lender loses it before it looks who the owner is. */
	xchg((struct task_struct __force **)&mm->owner, current);
#endif
	return data_race(lender->mm) == mm;
}

/* Is there somebody whose memory cgroup is charged for @mm? Not when its process is dead. */
static inline bool sandtrap_mm_has_owner(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	return rcu_access_pointer(mm->owner);
#else
	return true;
#endif
}

/*
 * Nobody may look at @mm who may not look at that of the caller. In 7.2 it is the
 * task that says who may look at its mm, whatever mm it has.
 */
static inline bool sandtrap_no_more_dumpable(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	return true;
#elif SANDTRAP_KNOWS_DIRECT
	return mm->user_ns == current->mm->user_ns &&
	       (get_dumpable(mm) != SUID_DUMP_USER ||
		get_dumpable(current->mm) == SUID_DUMP_USER);
#else
	return false;
#endif
}

static inline bool sandtrap_has_io_uring(void)
{
#ifdef CONFIG_IO_URING
	return current->io_uring;
#else
	return false;
#endif
}

static inline bool sandtrap_has_shadow_stack(void)
{
#ifdef CONFIG_X86_USER_SHADOW_STACK
	return current->thread.features & ARCH_SHSTK_SHSTK;
#else
	return false;
#endif
}

/*
 * Wakes a task that the caller is about to wait for. WF_SYNC says so to the
 * scheduler; WF_CURRENT_CPU (since 6.6) makes it run here, whatever CPU is
 * idle elsewhere. Both are the scheduler's own numbers, which its headers do
 * not show; default_wake_function() checks them.
 */
#define SANDTRAP_WF_SYNC 0x10
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define SANDTRAP_WF_HANDOFF (SANDTRAP_WF_SYNC | 0x40)
#else
#define SANDTRAP_WF_HANDOFF SANDTRAP_WF_SYNC
#endif

static inline void sandtrap_wake_handoff(struct task_struct *task)
{
	struct wait_queue_entry entry = { .private = task };

	default_wake_function(&entry, TASK_NORMAL, SANDTRAP_WF_HANDOFF, NULL);
}

/* set_notify_signal(), whose wake_up_state() no module may call. */
static inline void sandtrap_notify_signal(struct task_struct *task)
{
	struct wait_queue_entry entry = { .private = task };

	if (!test_and_set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL) &&
	    !default_wake_function(&entry, TASK_INTERRUPTIBLE, 0, NULL))
		kick_process(task);
}

/*
 * Before 6.6 a task that calls schedule() without sleeping makes way for another
 * that has had less of the CPU. Since then it is chosen again until it has used up
 * its slice. With several CPUs, the other may run elsewhere at once.
 */
static inline bool sandtrap_can_step_aside(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return false;
#else
	return num_online_cpus() == 1;
#endif
}

/* sched_process_exit tells since 6.16 whether the whole process is gone. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define SANDTRAP_EXIT_PROBE_ARGS \
	void *data, struct task_struct *task, bool group_dead
#else
#define SANDTRAP_EXIT_PROBE_ARGS void *data, struct task_struct *task
#endif

#endif /* _SANDTRAP_COMPAT_H */
