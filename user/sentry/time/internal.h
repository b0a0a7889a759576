/* SPDX-License-Identifier: MIT */
/*
 * internal.h - timers of the sentry, and the timers of processes on top
 */
#ifndef _SENTRY_TIME_INTERNAL_H
#define _SENTRY_TIME_INTERNAL_H

#include "sentry/task/internal.h"

struct ktimer;

/**
 * struct ktimer_ops - what a timer belongs to
 * @fire: it expired; on the timer thread, without locks
 * @get: an armed timer holds a reference to its owner
 * @put: given back when it was disarmed, or after @fire; may free the timer
 */
struct ktimer_ops {
	void (*fire)(struct ktimer *kt);
	void (*get)(struct ktimer *kt);
	void (*put)(struct ktimer *kt);
};

/* One-shot; all members belong to ktimer.c. Zeroed but for ops at first. */
struct ktimer {
	const struct ktimer_ops *ops;
	TAILQ_ENTRY(ktimer) link;
	uint64_t expires;
	bool armed;
};

/* Arm, or arm anew, for a time of CLOCK_MONOTONIC: 0 or -EAGAIN. */
int ktimer_arm(struct ktimer *kt, uint64_t expires_ns);
/* Does not wait for a @fire that is running. */
void ktimer_disarm(struct ktimer *kt);

struct posix_timer;

/**
 * struct interval - an interval timer of setitimer(2)
 * @expires: CLOCK_MONOTONIC, or CPU time of the process, in ns; 0: disarmed
 * @period: 0: once
 */
struct interval {
	struct ktimer kt;
	struct process_timers *pt;
	uint64_t expires;
	uint64_t period;
};

/* Indices are ITIMER_*, and one for RLIMIT_CPU. */
#define INTERVAL_CPU_LIMIT 3
#define NR_INTERVALS 4

struct process_timers {
	pthread_mutex_t lock;
	struct thread_group *tg;
	bool stopped; /* for good: the process has ended */
	struct interval intervals[NR_INTERVALS];
	TAILQ_HEAD(, posix_timer) posix;
	int next_id;
	unsigned int nr_posix;
};

/* itimer.c, posix_timer.c: disarm all; under process_timers.lock. */
void intervals_stop_locked(struct process_timers *pt);
void posix_timers_delete_locked(struct process_timers *pt);

/* clock.c: a clock that the sentry can sleep on. */
bool clock_can_sleep(clockid_t clock);
bool timespec_valid(const struct timespec *ts);
uint64_t timespec_saturate(const struct timespec *ts);
/* Time on any of the program's clocks, in ns: 0 or -EINVAL. */
int clock_read_ns(struct task *t, clockid_t clock, uint64_t *ns);

DECLARE_SYSCALL(clock_gettime);
DECLARE_SYSCALL(clock_settime);
DECLARE_SYSCALL(clock_getres);
DECLARE_SYSCALL(clock_nanosleep);
DECLARE_SYSCALL(nanosleep);
DECLARE_SYSCALL(gettimeofday);
DECLARE_SYSCALL(settimeofday);
DECLARE_SYSCALL(time);
DECLARE_SYSCALL(restart_syscall);
DECLARE_SYSCALL(alarm);
DECLARE_SYSCALL(getitimer);
DECLARE_SYSCALL(setitimer);
DECLARE_SYSCALL(timer_create);
DECLARE_SYSCALL(timer_settime);
DECLARE_SYSCALL(timer_gettime);
DECLARE_SYSCALL(timer_getoverrun);
DECLARE_SYSCALL(timer_delete);

#endif /* _SENTRY_TIME_INTERNAL_H */
