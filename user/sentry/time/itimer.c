// SPDX-License-Identifier: MIT
/*
 * itimer.c - setitimer, getitimer, alarm, and the timers of a process
 *
 * ITIMER_REAL is a timer of the sentry. The two of CPU time are as well: when
 * the earliest moment has come at which the CPU time can be used up, it is
 * looked at, and the timer is armed again for what is missing. RLIMIT_CPU works
 * the same way.
 */
#include <sys/time.h>

#include "sentry/time/internal.h"

/* How often CPU time is looked at when the process does not use it up. */
#define CPU_POLL_NS 4000000ull

static const int interval_signals[NR_INTERVALS] = {
	[ITIMER_REAL] = SIGALRM,
	[ITIMER_VIRTUAL] = SIGVTALRM,
	[ITIMER_PROF] = SIGPROF,
	[INTERVAL_CPU_LIMIT] = SIGXCPU,
};

static struct interval *interval_of(struct ktimer *kt)
{
	return container_of(kt, struct interval, kt);
}

static void interval_get(struct ktimer *kt)
{
	thread_group_get(interval_of(kt)->pt->tg);
}

static void interval_put(struct ktimer *kt)
{
	thread_group_put(interval_of(kt)->pt->tg);
}

static bool is_cpu(const struct interval *it)
{
	return it != &it->pt->intervals[ITIMER_REAL];
}

/* The clock that the interval counts by. Takes tasks_lock. */
static uint64_t interval_now(const struct interval *it)
{
	return is_cpu(it) ? thread_group_cpu_ns(it->pt->tg) : monotonic_ns();
}

static int interval_rearm_locked(struct interval *it, uint64_t now)
{
	uint64_t left = it->expires > now ? it->expires - now : 0;

	if (!is_cpu(it))
		return ktimer_arm(&it->kt, it->expires);
	/* Several tasks use the time up faster; no less than a poll apart. */
	left /= (uint64_t)MAX(it->pt->tg->nr_tasks, 1);
	return ktimer_arm(&it->kt, monotonic_ns() + MAX(left, CPU_POLL_NS));
}

static bool interval_expire_locked(struct interval *it, uint64_t now)
{
	bool expired = now >= it->expires;

	if (expired && !it->period)
		it->expires = 0;
	else if (expired)
		/* Missed periods count as one, as in Linux. */
		it->expires += ((now - it->expires) / it->period + 1) *
			       it->period;
	return expired;
}

/* Above the hard limit there is no more mercy. */
static int interval_signal(const struct interval *it, uint64_t now)
{
	const struct rlimit *r = &it->pt->tg->rlimits[RLIMIT_CPU];
	int which = (int)(it - it->pt->intervals);

	if (which == INTERVAL_CPU_LIMIT && now / 1000000000ull >= r->rlim_max)
		return SIGKILL;
	return interval_signals[which];
}

static void interval_fire(struct ktimer *kt)
{
	struct interval *it = interval_of(kt);
	struct process_timers *pt = it->pt;
	struct thread_group *tg = pt->tg;
	uint64_t now = interval_now(it);
	bool expired = false;
	siginfo_t info;

	pthread_mutex_lock(&pt->lock);
	if (it->expires) {
		expired = interval_expire_locked(it, now);
		if (it->expires)
			interval_rearm_locked(it, now);
	}
	pthread_mutex_unlock(&pt->lock);
	if (!expired)
		return;
	siginfo_user(&info, interval_signal(it, now), NULL);
	pthread_mutex_lock(&tg->kernel->tasks_lock);
	if (!tg->zombie)
		signal_send(tg->leader, &info, true);
	pthread_mutex_unlock(&tg->kernel->tasks_lock);
}

static const struct ktimer_ops interval_ops = {
	.fire = interval_fire,
	.get = interval_get,
	.put = interval_put,
};

int process_timers_create(struct thread_group *tg)
{
	struct process_timers *pt = calloc(1, sizeof(*pt));
	int i;

	if (!pt)
		return -ENOMEM;
	pthread_mutex_init(&pt->lock, NULL);
	TAILQ_INIT(&pt->posix);
	pt->tg = tg;
	for (i = 0; i < NR_INTERVALS; i++) {
		pt->intervals[i].pt = pt;
		pt->intervals[i].kt.ops = &interval_ops;
	}
	tg->timers = pt;
	return 0;
}

/* Nothing is armed any more: an armed timer holds the group. */
void process_timers_destroy(struct thread_group *tg)
{
	pthread_mutex_destroy(&tg->timers->lock);
	free(tg->timers);
	tg->timers = NULL;
}

void intervals_stop_locked(struct process_timers *pt)
{
	int i;

	for (i = 0; i < NR_INTERVALS; i++) {
		pt->intervals[i].expires = 0;
		ktimer_disarm(&pt->intervals[i].kt);
	}
}

void process_timers_stop(struct thread_group *tg)
{
	pthread_mutex_lock(&tg->timers->lock);
	tg->timers->stopped = true;
	intervals_stop_locked(tg->timers);
	posix_timers_delete_locked(tg->timers);
	pthread_mutex_unlock(&tg->timers->lock);
}

/* Interval timers survive execve, POSIX ones do not. */
void process_timers_exec(struct thread_group *tg)
{
	pthread_mutex_lock(&tg->timers->lock);
	posix_timers_delete_locked(tg->timers);
	pthread_mutex_unlock(&tg->timers->lock);
}

struct interval_value {
	uint64_t left, period;
};

static struct interval_value interval_get_locked(const struct interval *it,
						 uint64_t now)
{
	struct interval_value v = { .period = it->period };

	/* A timer that runs never shows 0. */
	if (it->expires)
		v.left = it->expires > now + 1000 ? it->expires - now : 1000;
	return v;
}

static int interval_set(struct interval *it, const struct interval_value *new,
			struct interval_value *old)
{
	uint64_t now = interval_now(it);
	int err = 0;

	pthread_mutex_lock(&it->pt->lock);
	*old = interval_get_locked(it, now);
	if (new) {
		it->period = new->period;
		it->expires = new->left ? now + new->left : 0;
		if (it->expires)
			err = interval_rearm_locked(it, now);
		else
			ktimer_disarm(&it->kt);
	}
	pthread_mutex_unlock(&it->pt->lock);
	return err;
}

static void cpu_limit_set_locked(struct interval *it, rlim_t limit,
				 uint64_t now)
{
	/* A zombie never uses the time up, and nobody would disarm the timer. */
	if (it->pt->stopped)
		return;
	it->period = 1000000000ull;
	it->expires = 0;
	if (limit < INT64_MAX / 1000000000)
		/* 0 would mean never. */
		it->expires = MAX(limit, 1) * 1000000000ull;
	if (it->expires)
		interval_rearm_locked(it, now);
	else
		ktimer_disarm(&it->kt);
}

void process_cpu_limit_set(struct thread_group *tg)
{
	struct interval *it = &tg->timers->intervals[INTERVAL_CPU_LIMIT];
	rlim_t limit = tg->rlimits[RLIMIT_CPU].rlim_cur;
	uint64_t now;

	if (limit == RLIM_INFINITY && !it->period)
		return;
	now = interval_now(it);
	pthread_mutex_lock(&it->pt->lock);
	cpu_limit_set_locked(it, limit, now);
	pthread_mutex_unlock(&it->pt->lock);
}

static int timeval_in(const struct timeval *tv, uint64_t *ns)
{
	struct timespec ts = { tv->tv_sec, tv->tv_usec * 1000 };

	if (tv->tv_sec < 0 || tv->tv_usec < 0 || tv->tv_usec >= 1000000)
		return -EINVAL;
	*ns = timespec_saturate(&ts);
	return 0;
}

static int put_itimer(struct task *t, uint64_t addr,
		      const struct interval_value *v)
{
	struct itimerval itv = {
		.it_value = ns_to_timeval(v->left),
		.it_interval = ns_to_timeval(v->period),
	};

	return copy_to_user(t, addr, &itv, sizeof(itv));
}

long sys_getitimer(struct task *t, const uint64_t *args)
{
	struct interval_value old;

	if (args[0] > ITIMER_PROF)
		return -EINVAL;
	interval_set(&t->tg->timers->intervals[args[0]], NULL, &old);
	return put_itimer(t, args[1], &old);
}

long sys_setitimer(struct task *t, const uint64_t *args)
{
	struct interval_value new = { 0 }, old;
	struct itimerval itv;
	int err;

	if (args[1]) {
		if (copy_from_user(t, &itv, args[1], sizeof(itv)))
			return -EFAULT;
		if (timeval_in(&itv.it_value, &new.left) ||
		    timeval_in(&itv.it_interval, &new.period))
			return -EINVAL;
	}
	if (args[0] > ITIMER_PROF)
		return -EINVAL;
	err = interval_set(&t->tg->timers->intervals[args[0]], &new, &old);
	if (err)
		return err;
	return args[2] ? put_itimer(t, args[2], &old) : 0;
}

long sys_alarm(struct task *t, const uint64_t *args)
{
	struct interval_value new = {
		.left = (uint32_t)args[0] * 1000000000ull,
	};
	struct interval_value old;
	int err;

	err = interval_set(&t->tg->timers->intervals[ITIMER_REAL], &new, &old);
	if (err)
		return err;
	/* Rounded to the nearest, but a timer that runs never shows 0. */
	if (old.left && old.left < 1000000000ull)
		return 1;
	return (long)((old.left + 500000000ull) / 1000000000ull);
}
