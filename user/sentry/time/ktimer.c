// SPDX-License-Identifier: MIT
/*
 * ktimer.c - the thread that lets timers expire
 *
 * It is started with the first timer that is armed: most programs have none.
 */
#include "sentry/time/internal.h"

static struct {
	pthread_mutex_t lock; /* innermost but for nothing */
	pthread_cond_t changed;
	pthread_t thread;
	struct kernel *kernel;
	bool running, stop;
	TAILQ_HEAD(, ktimer) armed; /* soonest first */
} timers = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.armed = TAILQ_HEAD_INITIALIZER(timers.armed),
};

static void insert_sorted(struct ktimer *kt)
{
	struct ktimer *o;

	TAILQ_FOREACH(o, &timers.armed, link)
		if (o->expires > kt->expires) {
			TAILQ_INSERT_BEFORE(o, kt, link);
			return;
		}
	TAILQ_INSERT_TAIL(&timers.armed, kt, link);
}

/* Sleep until there is something to do, or something has changed. */
static void wait_locked(struct ktimer *first)
{
	struct timespec ts;

	if (!first) {
		pthread_cond_wait(&timers.changed, &timers.lock);
		return;
	}
	ts = ns_to_timespec(first->expires);
	pthread_cond_timedwait(&timers.changed, &timers.lock, &ts);
}

static void fire_locked(struct ktimer *kt)
{
	TAILQ_REMOVE(&timers.armed, kt, link);
	kt->armed = false;
	pthread_mutex_unlock(&timers.lock);
	kt->ops->fire(kt);
	kt->ops->put(kt);
	pthread_mutex_lock(&timers.lock);
}

static void *timer_thread(void *arg)
{
	struct ktimer *first;

	sched_start_thread(&timers.kernel->cpus);
	pthread_mutex_lock(&timers.lock);
	while (!timers.stop) {
		first = TAILQ_FIRST(&timers.armed);
		if (first && first->expires <= monotonic_ns())
			fire_locked(first);
		else
			wait_locked(first);
	}
	pthread_mutex_unlock(&timers.lock);
	return NULL;
}

static int start_locked(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	if (timers.running)
		return 0;
	if (pthread_attr_init(&attr))
		return -EAGAIN;
	pthread_attr_setstacksize(&attr, 64 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&timers.thread, &attr, timer_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	timers.running = !err;
	return err ? -EAGAIN : 0;
}

int ktimer_arm(struct ktimer *kt, uint64_t expires_ns)
{
	int err;

	pthread_mutex_lock(&timers.lock);
	err = start_locked();
	if (!err) {
		if (kt->armed)
			TAILQ_REMOVE(&timers.armed, kt, link);
		else
			kt->ops->get(kt);
		kt->armed = true;
		kt->expires = expires_ns;
		insert_sorted(kt);
		if (TAILQ_FIRST(&timers.armed) == kt)
			pthread_cond_signal(&timers.changed);
	}
	pthread_mutex_unlock(&timers.lock);
	return err;
}

void ktimer_disarm(struct ktimer *kt)
{
	bool was;

	pthread_mutex_lock(&timers.lock);
	was = kt->armed;
	if (was)
		TAILQ_REMOVE(&timers.armed, kt, link);
	kt->armed = false;
	pthread_mutex_unlock(&timers.lock);
	if (was)
		kt->ops->put(kt);
}

int timer_thread_start(struct kernel *k)
{
	pthread_condattr_t attr;

	timers.stop = false;
	timers.kernel = k;
	if (pthread_condattr_init(&attr))
		return -ENOMEM;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timers.changed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

/* All processes are gone, and with them all timers. */
void timer_thread_stop(void)
{
	bool running;

	pthread_mutex_lock(&timers.lock);
	running = timers.running;
	timers.running = false;
	timers.stop = true;
	if (running)
		pthread_cond_signal(&timers.changed);
	pthread_mutex_unlock(&timers.lock);
	if (running)
		pthread_join(timers.thread, NULL);
}
