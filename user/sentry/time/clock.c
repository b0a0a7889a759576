// SPDX-License-Identifier: MIT
/*
 * clock.c - reading clocks
 *
 * Programs read the common ones in the vDSO, without coming here.
 */
#include <sys/time.h>

#include "sentry/time/internal.h"

/* Clock ids below 0 name the CPU clock of a process or thread. */
#define CPUCLOCK_PID(_c) ((pid_t)~((_c) >> 3))
#define CPUCLOCK_PERTHREAD 4
#define CPUCLOCK_WHICH 3
#define CPUCLOCK_FD 3

bool timespec_valid(const struct timespec *ts)
{
	return ts->tv_sec >= 0 && ts->tv_nsec >= 0 &&
	       ts->tv_nsec < 1000000000;
}

/* About 292 years, which also keeps sums from wrapping. */
uint64_t timespec_saturate(const struct timespec *ts)
{
	if (ts->tv_sec >= INT64_MAX / 1000000000)
		return INT64_MAX;
	return timespec_to_ns(ts);
}

uint64_t deadline_after(const struct timespec *ts)
{
	return monotonic_ns() + timespec_saturate(ts);
}

uint64_t deadline_at(clockid_t clock, const struct timespec *ts)
{
	uint64_t at = timespec_saturate(ts), now;
	struct timespec now_ts;

	if (clock == CLOCK_MONOTONIC)
		return at;
	clock_gettime(clock, &now_ts);
	now = timespec_to_ns(&now_ts);
	return monotonic_ns() + (at > now ? at - now : 0);
}

static bool is_host_clock(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
	case CLOCK_TAI:
		return true;
	default:
		return false;
	}
}

bool clock_can_sleep(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
		return true;
	default:
		return false;
	}
}

static int other_cpu_clock(struct task *t, clockid_t clock, uint64_t *ns)
{
	pid_t pid = CPUCLOCK_PID(clock);
	bool thread = clock & CPUCLOCK_PERTHREAD;
	struct task *o;

	if ((clock & CPUCLOCK_WHICH) == CPUCLOCK_FD)
		return -EINVAL;
	o = pid ? task_find(t->kernel, pid) : task_get(t);
	if (!o)
		return -EINVAL;
	*ns = thread ? task_cpu_ns(o) : thread_group_cpu_ns(o->tg);
	task_put(o);
	return 0;
}

int clock_read_ns(struct task *t, clockid_t clock, uint64_t *ns)
{
	struct timespec ts;

	if (is_host_clock(clock)) {
		if (clock_gettime(clock, &ts))
			return -errno;
		*ns = timespec_to_ns(&ts);
		return 0;
	}
	if (clock == CLOCK_PROCESS_CPUTIME_ID)
		*ns = thread_group_cpu_ns(t->tg);
	else if (clock == CLOCK_THREAD_CPUTIME_ID)
		*ns = task_cpu_ns(t);
	else if (clock < 0)
		return other_cpu_clock(t, clock, ns);
	else
		return -EINVAL;
	return 0;
}

long sys_clock_gettime(struct task *t, const uint64_t *args)
{
	struct timespec ts;
	uint64_t ns;
	int err;

	err = clock_read_ns(t, (clockid_t)args[0], &ns);
	if (err)
		return err;
	ts = ns_to_timespec(ns);
	return copy_to_user(t, args[1], &ts, sizeof(ts));
}

long sys_clock_getres(struct task *t, const uint64_t *args)
{
	struct timespec ts = { .tv_nsec = 1 };
	clockid_t clock = (clockid_t)args[0];
	uint64_t ns;
	int err;

	err = clock_read_ns(t, clock, &ns);
	if (err)
		return err;
	if (is_host_clock(clock) && clock_getres(clock, &ts))
		return -errno;
	return args[1] ? copy_to_user(t, args[1], &ts, sizeof(ts)) : 0;
}

/* Time is the host's. */
long sys_clock_settime(struct task *t, const uint64_t *args)
{
	return (clockid_t)args[0] == CLOCK_REALTIME ? -EPERM : -EINVAL;
}

long sys_settimeofday(struct task *t, const uint64_t *args)
{
	return -EPERM;
}

long sys_gettimeofday(struct task *t, const uint64_t *args)
{
	struct timezone tz;
	struct timeval tv;

	if (gettimeofday(&tv, &tz))
		return -errno;
	if (args[0] && copy_to_user(t, args[0], &tv, sizeof(tv)))
		return -EFAULT;
	if (args[1] && copy_to_user(t, args[1], &tz, sizeof(tz)))
		return -EFAULT;
	return 0;
}

long sys_time(struct task *t, const uint64_t *args)
{
	time_t now = time(NULL);

	if (args[0] && put_user_u64(t, args[0], (uint64_t)now))
		return -EFAULT;
	return now;
}
