// SPDX-License-Identifier: MIT
/*
 * posix_timer.c - timer_create and its kin
 *
 * A timer has at most one signal pending; expiries meanwhile are counted and
 * told with the next one, as its overrun.
 */
#include "sentry/signal/internal.h"
#include "sentry/time/internal.h"

/* However short the period: the timer thread serves others too. */
#define PERIOD_MIN_NS 50000ull
#define CPU_POLL_NS 4000000ull

/**
 * struct posix_timer - one timer
 * @refs: one for the list, one while it is armed
 * @owner: task that a thread timer, or a thread's CPU clock, is about; a
 *	reference
 *
 * Members after @owner are protected by process_timers.lock.
 */
struct posix_timer {
	TAILQ_ENTRY(posix_timer) link;
	struct ktimer kt;
	atomic_uint refs;
	int id;
	clockid_t clock;
	int notify, signo;
	union sigval value;
	struct thread_group *tg; /* a reference */
	struct task *owner;

	uint64_t expires; /* on its clock; 0: disarmed */
	uint64_t period;
	int overrun, last_overrun;
	bool queued;
};

static struct posix_timer *timer_of(struct ktimer *kt)
{
	return container_of(kt, struct posix_timer, kt);
}

static void timer_get(struct ktimer *kt)
{
	atomic_fetch_add(&timer_of(kt)->refs, 1);
}

static void timer_put(struct ktimer *kt)
{
	struct posix_timer *pt = timer_of(kt);

	if (atomic_fetch_sub(&pt->refs, 1) != 1)
		return;
	task_put(pt->owner);
	thread_group_put(pt->tg);
	free(pt);
}

static bool is_cpu(const struct posix_timer *pt)
{
	return !clock_can_sleep(pt->clock);
}

static uint64_t timer_now(const struct posix_timer *pt)
{
	uint64_t ns = 0;

	clock_read_ns(pt->owner, pt->clock, &ns);
	return ns;
}

static int timer_rearm_locked(struct posix_timer *pt, uint64_t now)
{
	uint64_t left = pt->expires > now ? pt->expires - now : 0;

	if (is_cpu(pt))
		left = MAX(left, CPU_POLL_NS);
	return ktimer_arm(&pt->kt, monotonic_ns() + left);
}

static void count_overrun(struct posix_timer *pt, uint64_t n)
{
	pt->overrun = n > (uint64_t)(INT_MAX - pt->overrun) ?
			      INT_MAX :
			      pt->overrun + (int)n;
}

static siginfo_t timer_siginfo(const struct posix_timer *pt)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = pt->signo;
	info.si_code = SI_TIMER;
	info.si_timerid = pt->id;
	info.si_value = pt->value;
	return info;
}

/* Under tasks_lock and process_timers.lock. */
static void notify_locked(struct posix_timer *pt)
{
	bool group = !(pt->notify & SIGEV_THREAD_ID);
	struct task *to = group ? pt->tg->leader : pt->owner;
	struct sigqueue *q = group ? &pt->tg->sig.pending : &to->sig.pending;
	siginfo_t info = timer_siginfo(pt);
	bool pending;

	pthread_mutex_lock(&pt->tg->lock);
	pending = q->mask & SIGMASK(pt->signo);
	/* It may have been thrown away, as when the signal became ignored. */
	if (!pending)
		pt->queued = false;
	if (pt->queued || (pending && pt->signo < FIRST_REALTIME)) {
		count_overrun(pt, 1);
	} else {
		signal_send_locked(to, &info, group);
		pt->queued = q->mask & SIGMASK(pt->signo);
	}
	pthread_mutex_unlock(&pt->tg->lock);
}

static void timer_expire_locked(struct posix_timer *pt, uint64_t now)
{
	uint64_t missed;

	if (!(pt->notify & SIGEV_NONE) && !pt->tg->zombie)
		notify_locked(pt);
	if (!pt->period) {
		pt->expires = 0;
		return;
	}
	missed = (now - pt->expires) / pt->period;
	count_overrun(pt, missed);
	pt->expires += (missed + 1) * pt->period;
	if (pt->expires < now + PERIOD_MIN_NS) {
		missed = (now + PERIOD_MIN_NS - pt->expires) / pt->period;
		count_overrun(pt, missed);
		pt->expires += missed * pt->period;
	}
}

static void timer_fire(struct ktimer *kt)
{
	struct posix_timer *pt = timer_of(kt);
	struct process_timers *all = pt->tg->timers;
	struct kernel *k = pt->tg->kernel;
	uint64_t now = timer_now(pt);

	pthread_mutex_lock(&k->tasks_lock);
	pthread_mutex_lock(&all->lock);
	if (pt->expires && now >= pt->expires)
		timer_expire_locked(pt, now);
	if (pt->expires)
		timer_rearm_locked(pt, now);
	pthread_mutex_unlock(&all->lock);
	pthread_mutex_unlock(&k->tasks_lock);
}

static const struct ktimer_ops posix_timer_ops = {
	.fire = timer_fire,
	.get = timer_get,
	.put = timer_put,
};

static struct posix_timer *find_locked(struct process_timers *all, int id)
{
	struct posix_timer *pt;

	TAILQ_FOREACH(pt, &all->posix, link)
		if (pt->id == id)
			return pt;
	return NULL;
}

/* Finds a timer and reads its clock, which needs tasks_lock, before locking. */
static struct posix_timer *timer_lock(struct process_timers *all, int id,
				      uint64_t *now)
{
	struct posix_timer *pt;

	pthread_mutex_lock(&all->lock);
	pt = find_locked(all, id);
	if (pt)
		timer_get(&pt->kt);
	pthread_mutex_unlock(&all->lock);
	if (!pt)
		return NULL;
	*now = timer_now(pt);
	pthread_mutex_lock(&all->lock);
	return pt;
}

static void timer_unlock(struct process_timers *all, struct posix_timer *pt)
{
	pthread_mutex_unlock(&all->lock);
	timer_put(&pt->kt);
}

void posix_timer_delivered(struct thread_group *tg, siginfo_t *info)
{
	struct process_timers *all = tg->timers;
	struct posix_timer *pt;
	uint64_t now, missed;

	pt = timer_lock(all, info->si_timerid, &now);
	if (!pt)
		return;
	/* What the timer thread has not come round to counts as well. */
	if (pt->expires && pt->period && now >= pt->expires) {
		missed = (now - pt->expires) / pt->period + 1;
		count_overrun(pt, missed);
		pt->expires += missed * pt->period;
	}
	pt->queued = false;
	pt->last_overrun = pt->overrun;
	pt->overrun = 0;
	info->si_overrun = pt->last_overrun;
	timer_unlock(all, pt);
}

static void delete_locked(struct process_timers *all, struct posix_timer *pt)
{
	TAILQ_REMOVE(&all->posix, pt, link);
	all->nr_posix--;
	pt->expires = 0;
	ktimer_disarm(&pt->kt);
	timer_put(&pt->kt);
}

void posix_timers_delete_locked(struct process_timers *all)
{
	struct posix_timer *pt;

	while ((pt = TAILQ_FIRST(&all->posix)))
		delete_locked(all, pt);
}

/* struct sigevent, as the kernel has it. */
struct sigevent_args {
	union sigval value;
	int32_t signo;
	int32_t notify;
	int32_t tid;
	int32_t pad[11];
};

_Static_assert(sizeof(struct sigevent_args) == 64, "struct sigevent");

static struct task *event_target(struct task *t, const struct sigevent_args *e)
{
	struct task *o;

	if (!(e->notify & SIGEV_THREAD_ID))
		return task_get(t);
	o = task_find(t->kernel, e->tid);
	if (o && o->tg != t->tg) {
		task_put(o);
		return NULL;
	}
	return o;
}

static int check_event(const struct sigevent_args *e)
{
	switch (e->notify) {
	case SIGEV_NONE:
		return 0;
	case SIGEV_SIGNAL:
	case SIGEV_SIGNAL | SIGEV_THREAD_ID:
		return signo_valid(e->signo) ? 0 : -EINVAL;
	default:
		/* SIGEV_THREAD is the C library's business. */
		return -EINVAL;
	}
}

static int check_clock(struct task *t, clockid_t clock)
{
	uint64_t ns;
	int err;

	if (clock_can_sleep(clock))
		return 0;
	err = clock_read_ns(t, clock, &ns);
	if (err || clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID ||
	    clock == CLOCK_THREAD_CPUTIME_ID)
		return err;
	return clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM ?
		       -EPERM :
		       -EOPNOTSUPP;
}

static int add_timer(struct task *t, struct posix_timer *pt)
{
	struct process_timers *all = t->tg->timers;
	int err = 0;

	pthread_mutex_lock(&all->lock);
	if (all->nr_posix >= t->tg->rlimits[RLIMIT_SIGPENDING].rlim_cur) {
		err = -EAGAIN;
	} else {
		do {
			pt->id = all->next_id;
			all->next_id = (all->next_id + 1) & INT_MAX;
		} while (find_locked(all, pt->id));
		TAILQ_INSERT_TAIL(&all->posix, pt, link);
		all->nr_posix++;
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

static struct posix_timer *new_timer(struct task *t, clockid_t clock,
				     const struct sigevent_args *e)
{
	struct posix_timer *pt = calloc(1, sizeof(*pt));

	if (!pt)
		return NULL;
	pt->owner = event_target(t, e);
	if (!pt->owner) {
		free(pt);
		return NULL;
	}
	pt->tg = thread_group_get(t->tg);
	pt->kt.ops = &posix_timer_ops;
	atomic_init(&pt->refs, 1);
	pt->clock = clock;
	pt->notify = e->notify;
	pt->signo = e->signo;
	pt->value = e->value;
	return pt;
}

long sys_timer_create(struct task *t, const uint64_t *args)
{
	struct sigevent_args e = { .signo = SIGALRM, .notify = SIGEV_SIGNAL };
	clockid_t clock = (clockid_t)args[0];
	struct posix_timer *pt;
	int err;

	if (args[1] && copy_from_user(t, &e, args[1], sizeof(e)))
		return -EFAULT;
	err = check_clock(t, clock);
	if (!err)
		err = check_event(&e);
	if (err)
		return err;
	pt = new_timer(t, clock, &e);
	if (!pt)
		return -EINVAL;
	err = add_timer(t, pt);
	if (err) {
		timer_put(&pt->kt);
		return err;
	}
	if (!args[1])
		pt->value.sival_int = pt->id;
	if (!put_user_u32(t, args[2], (uint32_t)pt->id))
		return 0;
	pthread_mutex_lock(&t->tg->timers->lock);
	delete_locked(t->tg->timers, pt);
	pthread_mutex_unlock(&t->tg->timers->lock);
	return -EFAULT;
}

static struct itimerspec value_locked(const struct posix_timer *pt,
				      uint64_t now)
{
	uint64_t left = 0;

	if (pt->expires)
		left = pt->expires > now ? pt->expires - now : 1;
	return (struct itimerspec){
		.it_value = ns_to_timespec(left),
		.it_interval = ns_to_timespec(pt->period),
	};
}

static int set_locked(struct posix_timer *pt, const struct itimerspec *its,
		      bool absolute, uint64_t now)
{
	uint64_t value = timespec_saturate(&its->it_value);

	pt->period = timespec_saturate(&its->it_interval);
	pt->overrun = 0;
	pt->last_overrun = 0;
	pt->queued = false;
	if (!value) {
		pt->expires = 0;
		ktimer_disarm(&pt->kt);
		return 0;
	}
	pt->expires = absolute ? value : now + value;
	return timer_rearm_locked(pt, now);
}

long sys_timer_settime(struct task *t, const uint64_t *args)
{
	struct itimerspec its, old;
	struct posix_timer *pt;
	uint64_t now;
	int err;

	if (!args[2])
		return -EINVAL;
	if (copy_from_user(t, &its, args[2], sizeof(its)))
		return -EFAULT;
	if (!timespec_valid(&its.it_value) ||
	    !timespec_valid(&its.it_interval))
		return -EINVAL;
	pt = timer_lock(t->tg->timers, (int)args[0], &now);
	if (!pt)
		return -EINVAL;
	old = value_locked(pt, now);
	err = set_locked(pt, &its, args[1] & TIMER_ABSTIME, now);
	timer_unlock(t->tg->timers, pt);
	if (!err && args[3])
		err = copy_to_user(t, args[3], &old, sizeof(old));
	return err;
}

long sys_timer_gettime(struct task *t, const uint64_t *args)
{
	struct posix_timer *pt;
	struct itimerspec its;
	uint64_t now;

	pt = timer_lock(t->tg->timers, (int)args[0], &now);
	if (!pt)
		return -EINVAL;
	its = value_locked(pt, now);
	timer_unlock(t->tg->timers, pt);
	return copy_to_user(t, args[1], &its, sizeof(its));
}

long sys_timer_getoverrun(struct task *t, const uint64_t *args)
{
	struct posix_timer *pt;
	uint64_t now;
	long ret;

	pt = timer_lock(t->tg->timers, (int)args[0], &now);
	if (!pt)
		return -EINVAL;
	ret = pt->last_overrun;
	timer_unlock(t->tg->timers, pt);
	return ret;
}

long sys_timer_delete(struct task *t, const uint64_t *args)
{
	struct process_timers *all = t->tg->timers;
	struct posix_timer *pt;

	pthread_mutex_lock(&all->lock);
	pt = find_locked(all, (int)args[0]);
	if (pt)
		delete_locked(all, pt);
	pthread_mutex_unlock(&all->lock);
	return pt ? 0 : -EINVAL;
}
