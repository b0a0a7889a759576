/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what task/, signal/ and time/ share among themselves
 */
#ifndef _SENTRY_TASK_INTERNAL_H
#define _SENTRY_TASK_INTERNAL_H

#include <stdlib.h>
#include <string.h>

#include "sentry/fs.h"
#include "sentry/kernel.h"
#include "sentry/mm.h"
#include "sentry/task.h"

#define PID_MAX 32768
/* As in Linux: wrapping around, low ids are left alone. */
#define PID_RESERVED 300

/* Host signal that ends blocking host system calls of a task's thread. */
#define KICK_SIGNAL SIGRTMIN

/*
 * One id. It is free when it names no task and no process group or session
 * uses it.
 */
struct pid_entry {
	struct task *task;
	unsigned int users;
};

struct tty;

/**
 * struct tid_table - ids, processes and terminals of a sandbox
 * @pids: by id
 * @last: id handed out last
 * @high: highest id ever used
 * @nr_tasks: tasks in @pids
 * @groups: all thread groups that have not been reaped
 * @ttys: terminals that were controlling ones; they stay to the end
 * @nr_threads: host threads of tasks
 * @event_fd: tells task_wait_all() that a group ended or stopped, or the
 *	last thread is gone
 * @ending: no new tasks
 * @init_orphaned: nobody on the host could continue a stopped init
 * @host_mask: signal mask of the main thread to be restored at the end
 *
 * Protected by kernel.tasks_lock, but for @event_fd.
 */
struct tid_table {
	struct pid_entry *pids;
	pid_t last;
	pid_t high;
	unsigned int nr_tasks;
	TAILQ_HEAD(, thread_group) groups;
	TAILQ_HEAD(, tty) ttys;
	unsigned int nr_threads;
	int event_fd;
	bool ending;
	bool init_orphaned;
	sigset_t host_mask;
};

/* tids.c */
int tid_table_create(struct kernel *k);
void tid_table_destroy(struct kernel *k);
/* The next free id, in use from now on; -EAGAIN. Under tasks_lock. */
pid_t tid_alloc_locked(struct kernel *k);
/* An id gains or loses a user (process group, session, task). */
void tid_ref_locked(struct kernel *k, pid_t tid);
void tid_unref_locked(struct kernel *k, pid_t tid);
void tid_bind_locked(struct kernel *k, pid_t tid, struct task *t);
void tid_unbind_locked(struct kernel *k, pid_t tid);
/* The process with this id, zombies too, or NULL. */
struct thread_group *thread_group_find_locked(struct kernel *k, pid_t tgid);
/* Wake task_wait_all(). */
void kernel_notify(struct kernel *k);

/* create.c */
struct task *task_alloc(struct kernel *k, int *err);
struct thread_group *thread_group_alloc(struct kernel *k, int *err);
struct thread_group *thread_group_get(struct thread_group *tg);
void thread_group_put(struct thread_group *tg);
/* Put a complete task into its group and the table. Under tasks_lock. */
void task_publish_locked(struct task *t);
/* The task's files, mm and context go; the struct stays. */
void task_release_resources(struct task *t);
/* The same, but for the mm, which is the caller's to put; or NULL. */
struct mm *task_release_but_mm(struct task *t);

/* cred.c */
void cred_init_caps(struct cred *c);

/* exit.c */
void task_do_exit(struct task *t);
/* Mark a group as ending with @status; under its lock. @self: the caller. */
void group_exit_locked(struct thread_group *tg, int status,
		       struct task *self);
/* A zombie is gone for good: ids, tree, references. Under tasks_lock. */
void thread_group_reap_locked(struct thread_group *tg);
/* CLD_* siginfo for the parent of @tg. Under tasks_lock. */
void notify_parent_locked(struct thread_group *tg, int code, int status);

/* pgrp.c */
bool pgrp_is_orphaned_locked(struct kernel *k, pid_t pgid,
			     struct thread_group *ignore);
/* Groups that the exit of @tg orphans get SIGHUP and SIGCONT if stopped. */
void pgrp_exit_locked(struct thread_group *tg);
void set_pgid_locked(struct thread_group *tg, pid_t pgid);

/* tty.c */
int tty_init(struct kernel *k, struct thread_group *init);
void tty_destroy(struct kernel *k);
/* The session leader ends: its terminal is free, the foreground is hung up. */
void tty_session_exit_locked(struct thread_group *tg);
/* Foreground group of init's terminal, or init's own group. */
pid_t tty_host_foreground_locked(struct kernel *k);

/* signal/queue.c: plain data structures, locked by their owners */
void sigqueue_init(struct sigqueue *q);
void sigqueue_flush(struct sigqueue *q);
/* Append a copy: 0 or -ENOMEM. */
int sigqueue_add(struct sigqueue *q, const siginfo_t *info);
/* It is pending, but nothing is known of it: that needs no memory. */
void sigqueue_mark(struct sigqueue *q, int signo);
/* Take the first signal of @set, synchronous ones first: its number or 0. */
int sigqueue_take(struct sigqueue *q, sigmask_t set, siginfo_t *info);
/* Drop all signals of @set. */
void sigqueue_discard(struct sigqueue *q, sigmask_t set);
struct sighand *sighand_create(const struct sighand *from);
struct sighand *sighand_get(struct sighand *sh);
void sighand_put(struct sighand *sh);
/* All handlers to the default; ignored signals stay so. */
void sighand_reset(struct sighand *sh);

/* signal/send.c */
/* A copy of the disposition; under the group's lock. */
struct kernel_sigaction sigaction_of(struct thread_group *tg, int signo);
int signal_send_pgrp_locked(struct kernel *k, pid_t pgid,
			    const siginfo_t *info);
int signal_send_locked(struct task *t, const siginfo_t *info, bool group);
/* Set or clear TASK_WORK_SIGNAL by what is pending; own thread, group lock. */
void signal_recalc_locked(struct task *t);

/*
 * signal/pidfd.c: the process of a descriptor, a reference, or NULL; @nonblock may
 * be NULL.
 */
struct thread_group *pidfd_get(struct task *t, int fd, bool *nonblock);

/* signal/stop.c: an exiting task no longer has to stop; was it the last? */
bool signal_stop_leave_locked(struct task *t);

/* strace.c: the end of a task, and of a program that cannot be run on */
void strace_task_exit(struct task *t);
void strace_switch_failed(struct task *t, int err);

/* Set work bits and make the task look at them. Under its group's lock. */
static inline void task_set_work(struct task *t, unsigned int bits)
{
	atomic_fetch_or(&t->work, bits);
	task_kick(t);
}

/* wait.c: count time asleep */
void task_account_block(struct task *t);
void task_account_unblock(struct task *t);
int task_kick_init(void);

/* sched.c: whom getpriority() and setpriority() mean; under tasks_lock */
bool priority_match(struct task *t, struct thread_group *tg, int which,
		    id_t who);

/* rusage.c */
void task_account_exit(struct task *t);
void rusage_add(struct rusage *to, const struct rusage *r);
void thread_group_rusage(struct thread_group *tg, struct rusage *ru);

/* time/ */
/* CLOCK_MONOTONIC in ns when a valid relative timeout is over; saturates. */
uint64_t deadline_after(const struct timespec *ts);
/* The same for a valid time on a clock; one that is past gives the past. */
uint64_t deadline_at(clockid_t clock, const struct timespec *ts);
int process_timers_create(struct thread_group *tg);
void process_timers_destroy(struct thread_group *tg);
/* The process ends: disarm and delete all. */
void process_timers_stop(struct thread_group *tg);
void process_timers_exec(struct thread_group *tg);
/* RLIMIT_CPU of a process that others see has been set. No locks. */
void process_cpu_limit_set(struct thread_group *tg);
/* A SIGEV_SIGNAL timer's signal is being delivered: its overrun count. */
void posix_timer_delivered(struct thread_group *tg, siginfo_t *info);
int timer_thread_start(struct kernel *k);
void timer_thread_stop(void);

/* futex/ */
void futex_exit_robust_list(struct task *t);
int futex_wake_addr(struct task *t, uint64_t addr, bool shared, int n);

/* task/: the group's other system calls, see table.c */
#define DECLARE_SYSCALL(_name) \
	long sys_##_name(struct task *t, const uint64_t *args)

/* fault.c */
void task_handle_event(struct task *t, struct platform_event *ev);

static inline struct timespec ns_to_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / 1000000000ull),
		.tv_nsec = (long)(ns % 1000000000ull),
	};
}

static inline struct timeval ns_to_timeval(uint64_t ns)
{
	return (struct timeval){
		.tv_sec = (time_t)(ns / 1000000000ull),
		.tv_usec = (suseconds_t)(ns % 1000000000ull / 1000),
	};
}

#endif /* _SENTRY_TASK_INTERNAL_H */
