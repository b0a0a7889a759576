// SPDX-License-Identifier: MIT
/*
 * proc_status.c - /proc/PID/stat, status and statm
 *
 * What is shown is first copied under the locks, then formatted without them.
 */
#include <sched.h>

#include "sentry/fs/internal.h"
#include "sentry/tty.h"

/* Program time is counted in hundredths of a second (USER_HZ). */
#define NS_PER_TICK 10000000u

struct task_info {
	struct mm_info mm;
	struct cred cred;
	char comm[16];
	char state;
	pid_t tgid, tid, ppid, pgid, sid, tpgid;
	int threads, exit_signal, fd_size;
	bool no_new_privs;
	cpu_set_t cpus;
	unsigned int umask;
	uint64_t start_ns, cpu_ns, child_cpu_ns;
	sigmask_t pending, group_pending, blocked, ignored, caught;
	dev_t tty;
};

static uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000u +
	       (uint64_t)tv->tv_usec * 1000u;
}

/* CPU time of a host thread, by the kernel's encoding of its clock. */
static uint64_t thread_cpu_ns(pid_t host_tid)
{
	clockid_t clock = (clockid_t)((~(unsigned int)host_tid) << 3 | 6);
	struct timespec ts;

	if (!host_tid || clock_gettime(clock, &ts))
		return 0;
	return timespec_to_ns(&ts);
}

static char state_of(struct task *t)
{
	if (t->tg->zombie || t->exiting)
		return 'Z';
	if (t->tg->sig.stopped)
		return 'T';
	return atomic_load(&t->where) == TASK_IN_USER ? 'R' : 'S';
}

/* Under thread_group.lock. */
static void signals_info(struct task *t, struct task_info *i)
{
	struct sighand *sh = t->tg->sig.sighand;
	const struct kernel_sigaction *a;
	int n;

	i->pending = t->sig.pending.mask;
	i->group_pending = t->tg->sig.pending.mask;
	i->blocked = t->sig.mask;
	if (!sh)
		return;
	pthread_mutex_lock(&sh->lock);
	for (n = 0; n < SIGNAL_MAX; n++) {
		a = &sh->actions[n];
		if (a->handler == (uint64_t)SIG_IGN)
			i->ignored |= 1ull << n;
		else if (a->handler != (uint64_t)SIG_DFL)
			i->caught |= 1ull << n;
	}
	pthread_mutex_unlock(&sh->lock);
}

/* Under tasks_lock. */
static void group_info(struct task *t, struct task_info *i)
{
	struct thread_group *tg = t->tg;
	struct task *other;

	i->tgid = tg->tgid;
	i->tid = t->tid;
	i->ppid = tg->parent ? tg->parent->tgid : 0;
	i->pgid = tg->pgid;
	i->sid = tg->sid;
	i->tpgid = tty_foreground_locked(t);
	i->threads = tg->nr_tasks;
	i->exit_signal = tg->exit_signal;
	i->no_new_privs = tg->no_new_privs;
	i->start_ns = tg->start_ns;
	i->cpu_ns = timeval_ns(&tg->rusage.ru_utime) +
		    timeval_ns(&tg->rusage.ru_stime);
	i->child_cpu_ns = timeval_ns(&tg->child_rusage.ru_utime) +
			  timeval_ns(&tg->child_rusage.ru_stime);
	TAILQ_FOREACH(other, &tg->tasks, tg_link)
		i->cpu_ns += other->exiting ? 0 : thread_cpu_ns(other->host_tid);
	memcpy(i->comm, t->comm, sizeof(i->comm));
	i->comm[sizeof(i->comm) - 1] = '\0';
	i->state = state_of(t);
	i->cred = t->cred;
	i->cpus = t->cpus;
}

static int task_info(struct task *t, const struct pnode *n,
		     struct task_info *i)
{
	struct task *target = proc_task(t, n);
	struct fd_table *ft;
	struct mm *mm;

	memset(i, 0, sizeof(*i));
	if (!target)
		return -ESRCH;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	group_info(target, i);
	mm = target->mm ? mm_get(target->mm) : NULL;
	ft = target->files ? fd_table_get(target->files) : NULL;
	i->umask = target->fs ? atomic_load(&target->fs->umask) : 0;
	pthread_mutex_lock(&target->tg->lock);
	signals_info(target, i);
	pthread_mutex_unlock(&target->tg->lock);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	i->tty = tty_controlling(target);
	/* A zombie has none. */
	if (mm) {
		mm_get_info(mm, &i->mm);
		mm_put(mm);
	}
	if (ft)
		i->fd_size = (fd_table_size(ft) + 63) / 64 * 64;
	fd_table_put(ft);
	task_put(target);
	return 0;
}

int proc_show_stat(struct task *t, const struct pnode *n, struct text *x)
{
	struct task_info i;
	int err = task_info(t, n, &i);

	if (err)
		return err;
	text_printf(x, "%d (%s) %c %d %d %d %d %d 4194304 0 0 0 0 ", i.tid,
		    i.comm, i.state, i.ppid, i.pgid, i.sid, (int)i.tty,
		    i.tpgid);
	text_printf(x, "%lu 0 %lu 0 20 0 %d 0 %lu %lu %lu %lu ",
		    i.cpu_ns / NS_PER_TICK, i.child_cpu_ns / NS_PER_TICK,
		    i.threads,
		    (i.start_ns - t->kernel->boot_ns) / NS_PER_TICK,
		    i.mm.vm_size, i.mm.vm_rss / PAGE_SIZE, RLIM_INFINITY);
	text_printf(x, "%lu %lu %lu 0 0 %lu %lu %lu %lu 0 0 0 %d 0 0 0 0 0 0 ",
		    i.mm.start_code, i.mm.end_code, i.mm.start_stack,
		    i.pending & INT_MAX, i.blocked & INT_MAX,
		    i.ignored & INT_MAX, i.caught & INT_MAX, i.exit_signal);
	text_printf(x, "0 0 %lu %lu %lu %lu %lu 0\n", i.mm.brk_start,
		    i.mm.arg_start, i.mm.arg_end, i.mm.env_start,
		    i.mm.env_end);
	return 0;
}

int proc_show_statm(struct task *t, const struct pnode *n, struct text *x)
{
	struct task_info i;
	int err = task_info(t, n, &i);

	if (err)
		return err;
	text_printf(x, "%lu %lu 0 %lu 0 %lu 0\n", i.mm.vm_size / PAGE_SIZE,
		    i.mm.vm_rss / PAGE_SIZE, i.mm.vm_exe / PAGE_SIZE,
		    (i.mm.vm_data + i.mm.vm_stack) / PAGE_SIZE);
	return 0;
}

static const char *state_name(char state)
{
	switch (state) {
	case 'R':
		return "R (running)";
	case 'T':
		return "T (stopped)";
	case 'Z':
		return "Z (zombie)";
	default:
		return "S (sleeping)";
	}
}

static void text_memory_status(struct text *x, const struct mm_info *m)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} rows[] = {
		{ "VmPeak", m->vm_size },  { "VmSize", m->vm_size },
		{ "VmLck", m->vm_locked }, { "VmPin", 0 },
		{ "VmHWM", m->vm_rss },	   { "VmRSS", m->vm_rss },
		{ "RssAnon", m->vm_rss },  { "RssFile", 0 },
		{ "RssShmem", 0 },	   { "VmData", m->vm_data },
		{ "VmStk", m->vm_stack },  { "VmExe", m->vm_exe },
		{ "VmLib", m->vm_lib },	   { "VmPTE", 0 },
		{ "VmSwap", 0 },
	};
	size_t k;

	/* A zombie has none. */
	if (!m->vm_size)
		return;
	for (k = 0; k < ARRAY_SIZE(rows); k++)
		text_printf(x, "%s:\t%8lu kB\n", rows[k].name,
			    rows[k].bytes / 1024);
}

static void text_cred_status(struct text *x, const struct cred *c)
{
	unsigned int k;

	text_printf(x, "Uid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
		    c->fsuid);
	text_printf(x, "Gid:\t%u\t%u\t%u\t%u\n", c->gid, c->egid, c->sgid,
		    c->fsgid);
	text_printf(x, "Groups:\t");
	for (k = 0; k < c->ngroups && k < ARRAY_SIZE(c->groups); k++)
		text_printf(x, "%u ", c->groups[k]);
	text_printf(x, "\n");
}

static void text_signal_status(struct text *x, const struct task_info *i)
{
	text_printf(x, "SigQ:\t0/65536\nSigPnd:\t%016lx\nShdPnd:\t%016lx\n",
		    i->pending, i->group_pending);
	text_printf(x, "SigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
		    i->blocked, i->ignored, i->caught);
	text_printf(x, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\n",
		    i->cred.cap_inheritable, i->cred.cap_permitted,
		    i->cred.cap_effective);
	text_printf(x, "CapBnd:\t%016lx\nCapAmb:\t%016lx\nNoNewPrivs:\t%d\n",
		    i->cred.cap_bounding, 0ul, i->no_new_privs);
}

/* "0-2,5": ranges of the CPUs that are set. */
static void text_cpu_list(const cpu_set_t *cpus, struct text *x)
{
	const char *separator = "";
	int cpu, first;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, cpus))
			continue;
		first = cpu;
		while (cpu + 1 < CPU_SETSIZE && CPU_ISSET(cpu + 1, cpus))
			cpu++;
		text_printf(x, "%s%d", separator, first);
		if (cpu != first)
			text_printf(x, "-%d", cpu);
		separator = ",";
	}
}

static void text_cpu_status(const struct task_info *i, struct text *x)
{
	uint64_t mask = 0;
	int cpu;

	for (cpu = 0; cpu < 64; cpu++)
		if (CPU_ISSET(cpu, &i->cpus))
			mask |= 1ull << cpu;
	text_printf(x, "Cpus_allowed:\t%lx\nCpus_allowed_list:\t", mask);
	text_cpu_list(&i->cpus, x);
	text_printf(x, "\n");
}

int proc_show_status(struct task *t, const struct pnode *n, struct text *x)
{
	struct task_info i;
	int err = task_info(t, n, &i);

	if (err)
		return err;
	text_printf(x, "Name:\t%s\nUmask:\t%04o\nState:\t%s\n", i.comm,
		    i.umask, state_name(i.state));
	text_printf(x, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\n", i.tgid,
		    i.tid, i.ppid);
	text_printf(x, "TracerPid:\t0\n");
	text_cred_status(x, &i.cred);
	text_printf(x, "FDSize:\t%d\nNStgid:\t%d\nNSpid:\t%d\n", i.fd_size,
		    i.tgid, i.tid);
	text_printf(x, "NSpgid:\t%d\nNSsid:\t%d\n", i.pgid, i.sid);
	text_memory_status(x, &i.mm);
	text_printf(x, "Threads:\t%d\n", i.threads);
	text_signal_status(x, &i);
	text_printf(x, "Seccomp:\t0\nSeccomp_filters:\t0\n");
	text_cpu_status(&i, x);
	text_printf(x, "voluntary_ctxt_switches:\t0\n"
		       "nonvoluntary_ctxt_switches:\t0\n");
	return 0;
}
