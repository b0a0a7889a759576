// SPDX-License-Identifier: MIT
/*
 * queue.c - queues of pending signals, and tables of dispositions
 *
 * Plain data structures: their owners lock them.
 */
#include "sentry/task/internal.h"

/* Signals that an instruction causes; they go before all others. */
#define SYNCHRONOUS                                                      \
	(SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) |          \
	 SIGMASK(SIGTRAP) | SIGMASK(SIGFPE) | SIGMASK(SIGSYS))

void sigqueue_init(struct sigqueue *q)
{
	q->mask = 0;
	q->count = 0;
	TAILQ_INIT(&q->list);
}

int sigqueue_add(struct sigqueue *q, const siginfo_t *info)
{
	struct pending_signal *ps = malloc(sizeof(*ps));

	if (!ps)
		return -ENOMEM;
	ps->info = *info;
	TAILQ_INSERT_TAIL(&q->list, ps, link);
	q->mask |= SIGMASK(info->si_signo);
	q->count++;
	return 0;
}

void sigqueue_mark(struct sigqueue *q, int signo)
{
	q->mask |= SIGMASK(signo);
}

static void remove_entry(struct sigqueue *q, struct pending_signal *ps)
{
	TAILQ_REMOVE(&q->list, ps, link);
	q->count--;
	free(ps);
}

static bool still_queued(struct sigqueue *q, int signo)
{
	struct pending_signal *ps;

	TAILQ_FOREACH(ps, &q->list, link)
		if (ps->info.si_signo == signo)
			return true;
	return false;
}

/* Lowest number first; the kernel's own faults (si_code > 0) before all. */
static int pick_signal(const struct sigqueue *q, sigmask_t set)
{
	struct pending_signal *ps;
	sigmask_t ready = q->mask & set;

	if (!ready)
		return 0;
	if (ready & SYNCHRONOUS)
		TAILQ_FOREACH(ps, &q->list, link)
			if (ps->info.si_code > SI_USER &&
			    SIGMASK(ps->info.si_signo) & ready & SYNCHRONOUS)
				return ps->info.si_signo;
	return __builtin_ctzll(ready) + 1;
}

int sigqueue_take(struct sigqueue *q, sigmask_t set, siginfo_t *info)
{
	struct pending_signal *ps;
	int signo = pick_signal(q, set);

	if (!signo)
		return 0;
	TAILQ_FOREACH(ps, &q->list, link)
		if (ps->info.si_signo == signo)
			break;
	if (ps) {
		*info = ps->info;
		remove_entry(q, ps);
	} else {
		/* All zeroes is SI_USER, from nobody. */
		memset(info, 0, sizeof(*info));
		info->si_signo = signo;
	}
	if (!still_queued(q, signo))
		q->mask &= ~SIGMASK(signo);
	return signo;
}

void sigqueue_discard(struct sigqueue *q, sigmask_t set)
{
	struct pending_signal *ps, *next;

	if (!(q->mask & set))
		return;
	for (ps = TAILQ_FIRST(&q->list); ps; ps = next) {
		next = TAILQ_NEXT(ps, link);
		if (SIGMASK(ps->info.si_signo) & set)
			remove_entry(q, ps);
	}
	q->mask &= ~set;
}

void sigqueue_flush(struct sigqueue *q)
{
	sigqueue_discard(q, ~0ull);
}

struct sighand *sighand_create(const struct sighand *from)
{
	struct sighand *sh = calloc(1, sizeof(*sh));

	if (!sh)
		return NULL;
	atomic_init(&sh->refs, 1);
	pthread_mutex_init(&sh->lock, NULL);
	if (from)
		memcpy(sh->actions, from->actions, sizeof(sh->actions));
	return sh;
}

struct sighand *sighand_get(struct sighand *sh)
{
	atomic_fetch_add(&sh->refs, 1);
	return sh;
}

void sighand_put(struct sighand *sh)
{
	if (atomic_fetch_sub(&sh->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&sh->lock);
	free(sh);
}

void sighand_reset(struct sighand *sh)
{
	struct kernel_sigaction *ka;
	int i;

	pthread_mutex_lock(&sh->lock);
	for (i = 0; i < SIGNAL_MAX; i++) {
		ka = &sh->actions[i];
		if (ka->handler != (uint64_t)(uintptr_t)SIG_IGN)
			ka->handler = (uint64_t)(uintptr_t)SIG_DFL;
		ka->flags = 0;
		ka->restorer = 0;
		ka->mask = 0;
	}
	pthread_mutex_unlock(&sh->lock);
}
