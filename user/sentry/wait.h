/* SPDX-License-Identifier: MIT */
/*
 * wait.h - how tasks sleep and are woken
 *
 * A task sleeps in task_block() or in a host system call made through
 * task_host_syscall(). Both end early when work for the task turns up (a
 * signal, a stop, its death). To wait for a condition:
 *
 *	waiter_init(&w, t);
 *	wait_queue_add(&q, &w);
 *	while (!condition) {
 *		err = task_block(t, deadline);
 *		if (err)
 *			break;
 *	}
 *	wait_queue_remove(&q, &w);
 *
 * task_wake() is sticky: one that comes between the check and task_block()
 * makes task_block() return at once, so no wake-up is lost.
 */
#ifndef _SENTRY_WAIT_H
#define _SENTRY_WAIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

struct task;

/* No deadline. */
#define FOREVER UINT64_MAX

/**
 * struct waiter - one task on one wait queue
 * @link: on the queue
 * @task: who to wake
 * @wake: called under the queue's lock instead of waking @task, if set; for
 *	epoll. Takes only locks that are innermost too.
 */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct task *task;
	void (*wake)(struct waiter *w);
};

struct wait_queue {
	atomic_uint count; /* waiters; written under lock */
	pthread_mutex_t lock;
	TAILQ_HEAD(, waiter) waiters;
};

void wait_queue_init(struct wait_queue *q);
void waiter_init(struct waiter *w, struct task *t);
void wait_queue_add(struct wait_queue *q, struct waiter *w);
/* Removing a waiter that is not on the queue is an error. */
void wait_queue_remove(struct wait_queue *q, struct waiter *w);
/* Cheap (one load) if nobody waits. Call after making the condition true. */
void wait_queue_wake_all(struct wait_queue *q);
/* Wakes the @n longest waiting; returns how many. */
int wait_queue_wake(struct wait_queue *q, int n);

/**
 * task_block() - sleep until woken
 * @t: the calling task
 * @deadline_ns: CLOCK_MONOTONIC in ns, or FOREVER
 *
 * Return: 0 if woken (perhaps spuriously); -ETIMEDOUT; -ERESTARTSYS if work is
 * pending (callers map it to what their system call wants).
 */
int task_block(struct task *t, uint64_t deadline_ns);

/*
 * As task_block(), but only the task's death (SIGKILL) ends it early, with
 * -ERESTARTSYS.
 */
int task_block_killable(struct task *t, uint64_t deadline_ns);

/* Wake a task that sleeps in task_block(); from any thread. */
void task_wake(struct task *t);

/**
 * task_host_syscall() - make a host system call that may block
 * @t: the calling task
 * @nr: host system call number
 * @a: its six arguments
 *
 * Work for the task that turned up before, or that turns up while the call
 * blocks, makes it return -EINTR; there is no window in which it is missed. A
 * call that has done something returns what it did.
 *
 * Return: the result or -errno.
 */
long task_host_syscall(struct task *t, long nr, const long a[6]);

/*
 * Make a task look at its work soon, wherever it is: in the program, in
 * task_block() or in task_host_syscall(). The caller has set work first. From
 * any thread.
 */
void task_kick(struct task *t);

#endif /* _SENTRY_WAIT_H */
