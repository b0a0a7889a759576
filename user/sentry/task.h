/* SPDX-License-Identifier: MIT */
/*
 * task.h - tasks (threads of the program) and thread groups (processes)
 *
 * Every task runs on one host thread of its own, which loops in task_run():
 * switch to the program, handle the event, look at work, switch again. What is
 * marked "own" is touched by that thread only.
 */
#ifndef _SENTRY_TASK_H
#define _SENTRY_TASK_H

#include <linux/capability.h>
#include <signal.h>
#include <sys/queue.h>
#include <sys/resource.h>

#include "sentry/kernel.h"
#include "sentry/signal.h"
#include "sentry/wait.h"

struct fd_table;
struct file;
struct fs_context;
struct mm;
struct sem_undo_list;

/* struct task.work: why a task must not enter the program yet. */
#define TASK_WORK_SIGNAL 1u /* a signal may be deliverable */
#define TASK_WORK_KILL 2u /* the task must exit */
#define TASK_WORK_STOP 4u /* its thread group is (to be) stopped */
#define TASK_WORK_SIGMASK 8u /* restore saved_mask after delivery */

/* Work that ends a blocking system call. */
#define TASK_WORK_INTERRUPT (TASK_WORK_SIGNAL | TASK_WORK_KILL | TASK_WORK_STOP)

/* struct task.where: what task_kick() must do besides interrupting. */
enum task_where {
	TASK_IN_USER, /* in the program, or in the sentry and not blocking */
	TASK_IN_BLOCK, /* in task_block() */
	TASK_IN_HOST, /* in task_host_syscall() */
};

/* Credentials; those of the calling user, held by value. */
struct cred {
	uid_t uid, euid, suid, fsuid;
	gid_t gid, egid, sgid, fsgid;
	unsigned int ngroups;
	gid_t groups[32];
	uint64_t cap_permitted, cap_effective, cap_inheritable, cap_bounding;
};

/**
 * struct task - a thread of the sandboxed program
 *
 * Reference counted: one reference is held while it is in the tid table, one
 * by its host thread; task_get()/task_put() for everybody else.
 */
struct task {
	/* Hot: every system call. */
	struct platform_context *ctx; /* own */
	struct user_regs_struct *regs; /* own; ctx->state.regs */
	struct mm *mm; /* own; others: under tasks_lock. NULL once exiting */
	atomic_uint work; /* TASK_WORK_* */
	atomic_uint where; /* enum task_where */
	struct kernel *kernel;
	struct fd_table *files; /* own; others: under tasks_lock */
	struct fs_context *fs; /* own; others: under tasks_lock */
	struct thread_group *tg;
	pid_t tid;

	atomic_uint wake_word; /* futex word of task_block() */
	pid_t host_tid; /* for signals to the host thread */
	pthread_t thread;
	atomic_uint refs;

	/* own */
	struct cred cred;
	int exit_status; /* wait(2) form, once TASK_WORK_KILL is set */
	unsigned long fault_count;
	unsigned int personality;
	struct sem_undo_list *sem_undo; /* ipc/; NULL: nothing to undo */
	char *strace_line; /* the call being traced; strace.c */
	size_t strace_len, strace_args;
	char comm[16]; /* others read it under tasks_lock */
	uint64_t set_child_tid; /* program addresses, 0: none */
	uint64_t clear_child_tid;
	uint64_t robust_list;
	uint64_t robust_list_len;
	struct task_signals sig; /* see signal.h for what protects it */
	long (*restart_fn)(struct task *t); /* for restart_syscall(2) */
	uint64_t restart_args[4];
	struct task *vfork_parent; /* to be woken at exec and exit; a reference */
	atomic_bool vfork_done; /* in the parent */

	/* Time; other threads read it. The rest of a task's life it runs. */
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	atomic_ulong blocked_ns; /* spent asleep since then */
	atomic_ulong block_start_ns; /* asleep since; 0: not asleep */

	/* Written under kernel.tasks_lock and thread_group.lock, read under either. */
	TAILQ_ENTRY(task) tg_link;
	bool exiting; /* no more signals, no more kicks */
	cpu_set_t cpus; /* where it may run; under kernel.tasks_lock */

	/* Counters of this task, added to the kernel's at its exit. */
	uint32_t syscall_count[SYSCALL_TABLE_SIZE];
};

/**
 * struct thread_group - a process
 *
 * The tree, ids and links are protected by kernel.tasks_lock; members under
 * "lock" by thread_group.lock.
 */
struct thread_group {
	struct kernel *kernel;
	atomic_uint refs;
	pid_t tgid;
	struct task *leader; /* stays in the list until it is reaped */
	TAILQ_HEAD(, task) tasks; /* all that have not exited, and the leader */
	int nr_tasks; /* that have not exited */
	struct thread_group *parent; /* NULL for init */
	TAILQ_HEAD(, thread_group) children;
	TAILQ_ENTRY(thread_group) sibling;
	TAILQ_ENTRY(thread_group) all_link; /* tid_table.groups, until reaped */
	pid_t pgid, sid;
	struct tty *tty; /* controlling terminal, task/tty.c; or NULL */
	int exit_signal; /* sent to the parent; 0 none */
	bool zombie; /* all tasks have exited, status valid, not reaped */
	int status; /* wait(2) form */
	bool child_subreaper;
	bool did_exec;
	int pdeath_signal;
	bool no_new_privs;
	int dumpable;
	struct wait_queue child_wait; /* wait4() of this process */
	struct rusage rusage, child_rusage; /* of exited tasks / reaped children */
	int nice;
	int ioprio; /* ioprio_set(2); under tasks_lock */
	struct process_timers *timers; /* time/; lives as long as the group */
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	struct file *exe; /* for /proc/self/exe; a reference, or NULL */

	pthread_mutex_t lock;
	struct group_signals sig; /* under lock */
	struct task *exec_task; /* under lock: in task_exec_alone() */
	struct rlimit rlimits[RLIM_NLIMITS]; /* under lock */
};

/*
 * Create the first task of the sandbox, which k->init refers to: the caller gets
 * no reference of its own. It has no mm, fd_table or
 * fs_context yet: the caller fills them, loads a program with exec_load(), and
 * calls task_start().
 */
int task_create_init(struct kernel *k, struct task **out);
/* Start the host thread of a task. */
int task_start(struct task *t);
/*
 * Wait for the first thread group's end, kill and reap all others, wait until
 * no task's thread is left. Forwards the terminal's and terminating signals of the host process to the
 * sandbox meanwhile.
 */
int task_wait_all(struct kernel *k, int *status);
/*
 * Free what task_create_init() made, when the sandbox ends or could not be
 * started: the tid table, and the first task with its mm, files and fs if it
 * never ran. Safe on a kernel that is all zeroes. Implemented in task/create.c.
 */
void tasks_release(struct kernel *k);

struct task *task_get(struct task *t);
void task_put(struct task *t);
/* By id; a reference, or NULL. Takes tasks_lock. */
struct task *task_find(struct kernel *k, pid_t tid);
/* Same under tasks_lock, without a reference. */
struct task *task_find_locked(struct kernel *k, pid_t tid);
/* Call @fn for every task (leaders of zombies too) under tasks_lock, by tid. */
void task_for_each(struct kernel *k, void (*fn)(struct task *t, void *arg),
		   void *arg);

/*
 * The exit of the calling task, or of its whole thread group with a wait(2)
 * status. Both only mark: the task's thread leaves task_run() when the system
 * call returns.
 */
void task_exit(struct task *t, int status);
void task_group_exit(struct task *t, int status);
/* End all other tasks of the group and make the caller its leader (execve). */
int task_exec_alone(struct task *t);
/* The mm is no longer used by this task: wakes a vfork() parent. */
void task_mm_released(struct task *t);

/* Is there work that interrupts a system call? Own thread. */
static inline bool task_has_work(struct task *t)
{
	return atomic_load_explicit(&t->work, memory_order_relaxed) &
	       TASK_WORK_INTERRUPT;
}

/* The process whose task runs on this host thread, or 0. */
pid_t task_current_tgid(void);

/* The loop, until the task must exit; on the task's own host thread. */
void task_run(struct task *t);
/* CPU time of a task or, with those of its exited tasks, of a group; in ns. */
uint64_t task_cpu_ns(struct task *t);
uint64_t thread_group_cpu_ns(struct thread_group *tg);

/* strace.c: print a call before and after it. */
void strace_enter(struct task *t, long nr, const uint64_t *args);
void strace_exit(struct task *t, long nr, const uint64_t *args, long ret);
void strace_signal(struct task *t, const siginfo_t *info);

/* task/sched.c: notes where the host lets the sandbox, and so init, run. */
void sched_init(struct kernel *k);
/* First of all in a new host thread: it may run on @cpus. */
void sched_start_thread(const cpu_set_t *cpus);

#endif /* _SENTRY_TASK_H */
