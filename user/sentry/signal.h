/* SPDX-License-Identifier: MIT */
/*
 * signal.h - signals of the sandboxed program
 *
 * Signal sets are 64-bit masks, bit (signo - 1). Everything here is protected
 * by thread_group.lock of the task's group, except task_signals.mask, which
 * only the task's own thread writes (others read it under that lock; the
 * owner takes it to write).
 */
#ifndef _SENTRY_SIGNAL_H
#define _SENTRY_SIGNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "sentry/wait.h"

struct kernel;
struct platform_event;
struct task;
struct thread_group;

typedef uint64_t sigmask_t;

#define SIGNAL_MAX 64
#define SIGMASK(signo) (1ull << ((signo) - 1))

/* The kernel's struct sigaction, as in rt_sigaction(2). */
struct kernel_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	sigmask_t mask;
};

/*
 * Dispositions; shared by tasks with CLONE_SIGHAND, also across groups: hence
 * the lock of its own, which is taken under thread_group.lock.
 */
struct sighand {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct kernel_sigaction actions[SIGNAL_MAX];
};

struct pending_signal {
	TAILQ_ENTRY(pending_signal) link;
	siginfo_t info;
};

struct sigqueue {
	sigmask_t mask; /* signals that are in the queue */
	TAILQ_HEAD(, pending_signal) list;
	unsigned int count;
};

struct task_signals {
	sigmask_t mask;
	sigmask_t saved_mask; /* of sigsuspend, ppoll, ...: TASK_WORK_SIGMASK */
	sigmask_t real_mask; /* what sigtimedwait unblocks only to be woken */
	struct sigqueue pending;
	stack_t altstack;
	/* What a fault frame reports beside the siginfo. */
	uint64_t trap_nr, error_code, cr2;
};

struct group_signals {
	struct sighand *sighand; /* a reference; replaced by execve */
	struct sigqueue pending;
	bool stopped; /* by a job control signal, or on the way there */
	int stop_signal; /* which; reported by wait4(WUNTRACED) until waited for */
	unsigned int stop_count; /* tasks that have yet to stop */
	bool stop_dequeued; /* on the way to stop; undone by SIGCONT */
	bool stop_reported, continued;
	bool continue_notify; /* the parent has to be told of a SIGCONT */
	struct wait_queue watchers; /* signalfds and pidfds of this process */
	bool exiting; /* group exit under way */
	int exit_status;
};

/**
 * signal_send() - send a signal to a task or its group
 * @t: task
 * @info: filled in by the caller: si_signo, si_code, ...; copied
 * @group: to the whole group (kill) or to this task (tgkill)
 *
 * Permissions are the caller's business. From any thread, with or without
 * tasks_lock held, but no lock below it.
 *
 * Return: 0, or -EAGAIN if RLIMIT_SIGPENDING is reached (real-time only, and not
 * for SI_USER).
 */
int signal_send(struct task *t, const siginfo_t *info, bool group);

/* Send @signo from the kernel (SI_KERNEL) to every process of a group. */
void signal_send_pgrp(struct kernel *k, pid_t pgid, int signo);

/* A siginfo for kill(2) by @from (SI_USER), or by the kernel if NULL. */
void siginfo_user(siginfo_t *info, int signo, struct task *from);

/*
 * Force a synchronous signal on the calling task: unblocked and, if ignored or
 * blocked, fatal. @ev: the event that caused it, for the frame; or NULL.
 */
void signal_force(struct task *t, const siginfo_t *info,
		  const struct platform_event *ev);

/*
 * Deliver what is pending to the calling task: sets up a frame, stops or ends
 * it. Decides on the restart of an interrupted system call. Runs before the
 * task enters the program, if TASK_WORK_* is set.
 */
void signal_deliver(struct task *t);

/* Would a signal interrupt the calling task? (pending and not blocked) */
bool signal_pending(struct task *t);

/*
 * Replace the mask for the length of a system call (ppoll, sigsuspend). The
 * saved mask comes back after delivery, or at once by signal_mask_restore().
 */
void signal_mask_save(struct task *t, sigmask_t mask);
void signal_mask_restore(struct task *t);

/* fork, exec and exit of a task. */
int signal_init_task(struct task *t, struct task *parent, bool share_sighand);
void signal_exec(struct task *t);
void signal_exit_task(struct task *t);

#endif /* _SENTRY_SIGNAL_H */
