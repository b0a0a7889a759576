// SPDX-License-Identifier: MIT
/*
 * sleep.c - nanosleep, and the calls that go on after a signal
 */
#include "sentry/time/internal.h"

long sys_restart_syscall(struct task *t, const uint64_t *args)
{
	return t->restart_fn ? t->restart_fn(t) : -EINTR;
}

/* 0, or -ERESTARTSYS if work turned up before. */
static int sleep_until(struct task *t, uint64_t deadline)
{
	int err;

	do
		err = task_block(t, deadline);
	while (!err && monotonic_ns() < deadline);
	return err == -ETIMEDOUT ? 0 : err;
}

static long put_remaining(struct task *t, uint64_t addr, uint64_t deadline)
{
	uint64_t now = monotonic_ns();
	struct timespec ts = ns_to_timespec(deadline > now ? deadline - now :
							     0);

	return addr ? copy_to_user(t, addr, &ts, sizeof(ts)) : 0;
}

static long sleep_restart(struct task *t);

static long sleep_relative(struct task *t, uint64_t deadline, uint64_t rem)
{
	if (!sleep_until(t, deadline))
		return 0;
	if (put_remaining(t, rem, deadline))
		return -EFAULT;
	t->restart_fn = sleep_restart;
	t->restart_args[0] = deadline;
	t->restart_args[1] = rem;
	return -ERESTART_RESTARTBLOCK;
}

static long sleep_restart(struct task *t)
{
	return sleep_relative(t, t->restart_args[0], t->restart_args[1]);
}

long sys_nanosleep(struct task *t, const uint64_t *args)
{
	struct timespec ts;

	if (copy_from_user(t, &ts, args[0], sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	return sleep_relative(t, deadline_after(&ts), args[1]);
}

long sys_clock_nanosleep(struct task *t, const uint64_t *args)
{
	clockid_t clock = (clockid_t)args[0];
	struct timespec ts;

	if (!clock_can_sleep(clock))
		return clock == CLOCK_PROCESS_CPUTIME_ID ? -EOPNOTSUPP :
							   -EINVAL;
	if (copy_from_user(t, &ts, args[2], sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	if (!(args[1] & TIMER_ABSTIME))
		return sleep_relative(t, deadline_after(&ts), args[3]);
	if (sleep_until(t, deadline_at(clock, &ts)))
		return -ERESTARTNOHAND;
	return 0;
}
