// SPDX-License-Identifier: MIT
/*
 * rusage.c - CPU time and other resources that were used
 *
 * A platform may run the program on threads that the sentry cannot see, so CPU
 * time is counted from the other side: all the time that a task was not asleep
 * in the sentry. This includes waiting for a CPU, so it is an upper bound; and
 * it costs nothing where it matters, since only sleeping looks at the clock.
 */
#include <sys/times.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#define CLOCK_TICKS 100

uint64_t task_cpu_ns(struct task *t)
{
	uint64_t start = atomic_load(&t->block_start_ns);
	uint64_t now = monotonic_ns(), ran = now - t->start_ns;
	uint64_t blocked = atomic_load(&t->blocked_ns);

	if (start && now > start)
		blocked += now - start;
	return ran > blocked ? ran - blocked : 0;
}

static uint64_t timeval_to_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000ull +
	       (uint64_t)tv->tv_usec * 1000;
}

/* What the host's kernel did for the sentry is the program's system time. */
static uint64_t host_thread_ns(struct task *t)
{
	struct timespec ts;
	clockid_t clock;

	if (t->exiting || pthread_getcpuclockid(t->thread, &clock) ||
	    clock_gettime(clock, &ts))
		return 0;
	return timespec_to_ns(&ts);
}

static void add_cpu(struct rusage *ru, uint64_t total, uint64_t system)
{
	uint64_t s = timeval_to_ns(&ru->ru_stime) + MIN(system, total);
	uint64_t u = timeval_to_ns(&ru->ru_utime) + total -
		     MIN(system, total);

	ru->ru_stime = ns_to_timeval(s);
	ru->ru_utime = ns_to_timeval(u);
}

static void note_memory(struct task *t, struct rusage *ru)
{
	struct mm_info info;

	if (!t->mm)
		return;
	mm_get_info(t->mm, &info);
	ru->ru_maxrss = MAX(ru->ru_maxrss, (long)(info.vm_rss >> 10));
}

static void add_task(struct task *t, struct rusage *ru)
{
	add_cpu(ru, task_cpu_ns(t), host_thread_ns(t));
	ru->ru_minflt += (long)t->fault_count;
}

/* An exiting task on its own thread, under tasks_lock. */
void task_account_exit(struct task *t)
{
	struct rusage *ru = &t->tg->rusage;
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	add_cpu(ru, task_cpu_ns(t), timespec_to_ns(&ts));
	ru->ru_minflt += (long)t->fault_count;
	note_memory(t, ru);
}

void rusage_add(struct rusage *to, const struct rusage *r)
{
	add_cpu(to, timeval_to_ns(&r->ru_utime) + timeval_to_ns(&r->ru_stime),
		timeval_to_ns(&r->ru_stime));
	to->ru_maxrss = MAX(to->ru_maxrss, r->ru_maxrss);
	to->ru_minflt += r->ru_minflt;
}

/* Under tasks_lock: exited tasks and those that still run. */
void thread_group_rusage(struct thread_group *tg, struct rusage *ru)
{
	struct task *t;

	*ru = tg->rusage;
	TAILQ_FOREACH(t, &tg->tasks, tg_link)
		if (!t->exiting)
			add_task(t, ru);
}

uint64_t thread_group_cpu_ns(struct thread_group *tg)
{
	struct rusage ru;

	pthread_mutex_lock(&tg->kernel->tasks_lock);
	thread_group_rusage(tg, &ru);
	pthread_mutex_unlock(&tg->kernel->tasks_lock);
	return timeval_to_ns(&ru.ru_utime) + timeval_to_ns(&ru.ru_stime);
}

static void rusage_self(struct task *t, struct rusage *ru)
{
	pthread_mutex_lock(&t->kernel->tasks_lock);
	thread_group_rusage(t->tg, ru);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	note_memory(t, ru);
}

static void rusage_children(struct task *t, struct rusage *ru)
{
	pthread_mutex_lock(&t->kernel->tasks_lock);
	*ru = t->tg->child_rusage;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
}

long sys_getrusage(struct task *t, const uint64_t *args)
{
	struct rusage ru;

	memset(&ru, 0, sizeof(ru));
	switch ((int)args[0]) {
	case RUSAGE_SELF:
		rusage_self(t, &ru);
		break;
	case RUSAGE_CHILDREN:
		rusage_children(t, &ru);
		break;
	case RUSAGE_THREAD:
		add_task(t, &ru);
		note_memory(t, &ru);
		break;
	default:
		return -EINVAL;
	}
	return copy_to_user(t, args[1], &ru, sizeof(ru));
}

static clock_t to_ticks(const struct timeval *tv)
{
	return (clock_t)(timeval_to_ns(tv) / (1000000000ull / CLOCK_TICKS));
}

long sys_times(struct task *t, const uint64_t *args)
{
	struct rusage self, children;
	struct tms tms;

	if (args[0]) {
		rusage_self(t, &self);
		rusage_children(t, &children);
		tms = (struct tms){
			.tms_utime = to_ticks(&self.ru_utime),
			.tms_stime = to_ticks(&self.ru_stime),
			.tms_cutime = to_ticks(&children.ru_utime),
			.tms_cstime = to_ticks(&children.ru_stime),
		};
		if (copy_to_user(t, args[0], &tms, sizeof(tms)))
			return -EFAULT;
	}
	return (long)(monotonic_ns() / (1000000000ull / CLOCK_TICKS));
}
