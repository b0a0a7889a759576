// SPDX-License-Identifier: MIT
/*
 * systrap_spare.c - address spaces made in advance
 *
 * A stub process with a thread takes longer to make than most of what a program does
 * between a fork and the next. One is there from the beginning. When a second is asked
 * for there will be more, and a thread of the sentry, the nursery, makes SYSTRAP_SPARES
 * of them on another CPU, and again whenever the last one is taken. They are fresh: no
 * program ran in any of them. With one CPU they would not come any sooner, and there
 * is no nursery.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "systrap.h"

static int make_spare(struct systrap_platform *p, struct systrap_space **out)
{
	struct systrap_thread *t;
	struct systrap_space *s;
	int err;

	err = systrap_space_create(p, &s);
	if (err)
		return err;
	err = systrap_thread_create(s, s->nr_threads++, &t);
	if (err) {
		systrap_space_kill(s);
		systrap_space_put(s);
		return err;
	}
	LIST_INSERT_HEAD(&s->threads, t, link);
	systrap_thread_unclaim(t);
	*out = s;
	return 0;
}

int systrap_first_spare(struct systrap_platform *p)
{
	struct systrap_space *s;
	int err;

	err = make_spare(p, &s);
	if (err)
		return err;
	p->spares[p->nr_spares++] = s;
	return systrap_read_xstate_size(p, LIST_FIRST(&s->threads));
}

/* Under the lock. */
static void want_spares(struct systrap_platform *p)
{
	if (p->taken < 2)
		p->taken++;
	if (p->taken < 2 || p->nr_spares || !p->nursery_up || p->spares_wanted)
		return;
	p->spares_wanted = true;
	pthread_cond_signal(&p->nursery_cond);
}

struct systrap_space *systrap_take_spare(struct systrap_platform *p)
{
	struct systrap_space *s = NULL;

	pthread_mutex_lock(&p->lock);
	if (p->nr_spares)
		s = p->spares[--p->nr_spares];
	want_spares(p);
	pthread_mutex_unlock(&p->lock);
	/* Killed by somebody while it waited here. */
	if (s && atomic_load(&s->dead)) {
		systrap_space_put(s);
		return NULL;
	}
	return s;
}

void systrap_put_spares(struct systrap_platform *p)
{
	while (p->nr_spares)
		systrap_space_put(p->spares[--p->nr_spares]);
}

/* ---- the nursery ---- */

/* Under the lock, which is dropped meanwhile. Who needs one learns why there is none. */
static void fill_up(struct systrap_platform *p)
{
	struct systrap_space *s;
	int err = 0;

	while (p->nr_spares < SYSTRAP_SPARES && !p->nursery_ends && !err) {
		pthread_mutex_unlock(&p->lock);
		err = make_spare(p, &s);
		pthread_mutex_lock(&p->lock);
		if (!err)
			p->spares[p->nr_spares++] = s;
	}
}

static void *nursery_main(void *arg)
{
	struct systrap_platform *p = arg;

	prctl(PR_SET_NAME, "systrap-nursery");
	pthread_mutex_lock(&p->lock);
	p->nursery_up = true;
	pthread_cond_signal(&p->nursery_cond);
	while (!p->nursery_ends) {
		if (p->spares_wanted) {
			fill_up(p);
			p->spares_wanted = false;
		} else {
			pthread_cond_wait(&p->nursery_cond, &p->lock);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Once it is up, it makes no system calls but those that the platform announces. */
static void wait_up(struct systrap_platform *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->nursery_up)
		pthread_cond_wait(&p->nursery_cond, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* The sentry's signals are for its other threads. */
int systrap_start_nursery(struct systrap_platform *p)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&p->nursery, NULL, nursery_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		wait_up(p);
	return -err;
}

void systrap_stop_nursery(struct systrap_platform *p)
{
	if (!p->nursery_up)
		return;
	pthread_mutex_lock(&p->lock);
	p->nursery_ends = true;
	pthread_cond_signal(&p->nursery_cond);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->nursery, NULL);
}
