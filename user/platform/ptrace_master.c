// SPDX-License-Identifier: MIT
/*
 * ptrace_master.c - the host thread that owns the stub processes
 *
 * It is the parent and tracer of the template and of all leaders, because
 * ptrace obeys one thread only and that thread must live as long as they do.
 * Task threads hand it what has to be done to a leader, one request at a time,
 * and wait; switching contexts never comes here.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ptrace.h"

/* Its value for a host where only a capability permits tracing. */
#define YAMA_SCOPE_CAPABILITY 2

struct request {
	int (*run)(struct ptrace_platform *p, struct request *req);
	struct ptrace_process *proc;
	struct ptrace_thread *thread;
	unsigned int count;
	int result;
	bool done;
	struct request *next;
};

struct ptrace_master {
	struct ptrace_platform *platform;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t finished;
	/* protected by lock */
	struct request *first, **last;
	bool stop;
	bool watch_pairs;
};

static int submit(struct ptrace_platform *p, struct request *req)
{
	struct ptrace_master *m = p->master;

	pthread_mutex_lock(&m->lock);
	*m->last = req;
	m->last = &req->next;
	pthread_cond_signal(&m->wake);
	while (!req->done)
		pthread_cond_wait(&m->finished, &m->lock);
	pthread_mutex_unlock(&m->lock);
	return req->result;
}

/* ---- in the master thread: one function per request ---- */

/* It is reaped when its last thread has left its tracer: see end_process(). */
static void bury(struct ptrace_process *proc)
{
	proc->dead = true;
	proc->leader_dying = true;
}

static int call_leader(struct ptrace_platform *p, struct ptrace_process *proc,
		       const struct ptrace_call *call, long *result)
{
	int err;

	if (proc->dead)
		return -ECHILD;
	err = ptrace_inject(p->stub, proc->pid, call, result);
	if (err)
		bury(proc);
	return err;
}

static int run_batch(struct ptrace_platform *p, struct request *req)
{
	int err;

	if (req->proc->dead)
		return -ECHILD;
	err = ptrace_inject_batch(p->stub, req->proc->pid, req->count);
	if (err == -ECHILD)
		bury(req->proc);
	return err;
}

static int run_new_thread(struct ptrace_platform *p, struct request *req)
{
	const struct ptrace_call clone = { __NR_clone, { PTRACE_THREAD_CLONE_FLAGS } };
	struct ptrace_thread *t;
	long tid;
	int err;

	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	err = call_leader(p, req->proc, &clone, &tid);
	if (!err && tid < 0)
		err = (int)tid;
	if (err) {
		free(t);
		return err;
	}
	t->proc = req->proc;
	t->tid = (pid_t)tid;
	req->thread = t;
	return 0;
}

static void kill_leader(struct ptrace_process *proc)
{
	if (!proc->leader_dying)
		kill(proc->pid, SIGKILL);
	ptrace_reap(proc->pid);
}

/* Parked threads of a killed process vanish by themselves: nobody traces them. */
static void free_process(struct ptrace_process *proc)
{
	struct ptrace_thread *t;

	while ((t = LIST_FIRST(&proc->parked))) {
		LIST_REMOVE(t, link);
		free(t);
	}
	if (proc->ops && proc->ops != MAP_FAILED)
		munmap(proc->ops, PTRACE_OPS_SIZE);
	free(proc);
}

/* Gives a process its list: one page, shared with the sentry alone. */
static int make_ops(struct ptrace_platform *p, struct ptrace_process *proc)
{
	struct ptrace_call map = {
		__NR_mmap,
		{ PTRACE_OPS_ADDR(p->stub), PTRACE_OPS_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED },
	};
	int fd = memfd_create("sandtrap-ops", MFD_CLOEXEC);
	long result;
	int err;

	if (fd < 0)
		return -errno;
	map.args[4] = fd;
	proc->ops = MAP_FAILED;
	if (!ftruncate(fd, PTRACE_OPS_SIZE))
		proc->ops = mmap(NULL, PTRACE_OPS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (proc->ops == MAP_FAILED)
		err = -errno;
	else
		err = call_leader(p, proc, &map, &result);
	close(fd);
	return !err && result < 0 ? (int)result : err;
}

/*
 * A new process was attached by CLONE_PTRACE, with the template's options, and
 * stops before its first instruction. Dying with the master it does by
 * EXITKILL; the parent death signal is the belt to these braces.
 */
static int adopt_process(struct ptrace_platform *p, struct ptrace_process *proc)
{
	const struct ptrace_call die_with_me = { __NR_prctl, { PR_SET_PDEATHSIG, SIGKILL } };
	struct request first_thread = { .proc = proc };
	long result;
	int status, err;

	if (ptrace_wait(proc->pid, &status)) {
		ptrace_reap(proc->pid);
		return -ECHILD;
	}
	err = call_leader(p, proc, &die_with_me, &result);
	if (!err && result < 0)
		err = (int)result;
	if (!err)
		err = make_ops(p, proc);
	if (!err)
		err = run_new_thread(p, &first_thread);
	if (err) {
		kill_leader(proc);
		return err;
	}
	LIST_INSERT_HEAD(&proc->parked, first_thread.thread, link);
	proc->nr_threads = 1;
	return 0;
}

static int clone_template(struct ptrace_platform *p, long *pid)
{
	const struct ptrace_call clone = { __NR_clone, { PTRACE_PROCESS_CLONE_FLAGS } };
	int err;

	if (!p->template_pid)
		return -ECHILD;
	err = ptrace_inject(p->stub, p->template_pid, &clone, pid);
	/* It has no other threads to wait for. */
	if (err) {
		ptrace_reap(p->template_pid);
		p->template_pid = 0;
	}
	return !err && *pid < 0 ? (int)*pid : err;
}

static int run_new_process(struct ptrace_platform *p, struct request *req)
{
	struct ptrace_process *proc;
	long pid = 0;
	int err;

	proc = calloc(1, sizeof(*proc));
	if (!proc)
		return -ENOMEM;
	LIST_INIT(&proc->parked);
	proc->refs = 1;
	err = clone_template(p, &pid);
	proc->pid = (pid_t)pid;
	if (!err)
		err = adopt_process(p, proc);
	if (err) {
		free_process(proc);
		return err;
	}
	pthread_mutex_lock(&p->lock);
	LIST_INSERT_HEAD(&p->processes, proc, link);
	pthread_mutex_unlock(&p->lock);
	req->proc = proc;
	return 0;
}

static void end_process(struct ptrace_platform *p, struct ptrace_process *proc)
{
	pthread_mutex_lock(&p->lock);
	LIST_REMOVE(proc, link);
	pthread_mutex_unlock(&p->lock);
	kill_leader(proc);
	free_process(proc);
}

static bool pool_process(struct ptrace_platform *p, struct ptrace_process *proc)
{
	bool pooled;

	pthread_mutex_lock(&p->lock);
	pooled = !proc->dead && p->nr_idle < PTRACE_POOL_MAX &&
		 proc->nr_threads <= PTRACE_POOL_THREADS_MAX;
	if (pooled) {
		LIST_INSERT_HEAD(&p->idle, proc, idle_link);
		p->nr_idle++;
	}
	pthread_mutex_unlock(&p->lock);
	return pooled;
}

static int run_retire(struct ptrace_platform *p, struct request *req)
{
	if (!pool_process(p, req->proc))
		end_process(p, req->proc);
	return 0;
}

static int run_release(struct ptrace_platform *p, struct request *req)
{
	struct ptrace_process *proc = req->proc;
	bool last;
	int err;

	if (!proc->dead) {
		memset(proc->ops, 0, PTRACE_OPS_SIZE);
		err = ptrace_unmap_all(p->stub, proc->pid, &p->base.vdso);
		if (err == -ECHILD)
			bury(proc);
		/* One that cannot be emptied is never used again. */
		if (err)
			proc->dead = true;
	}
	pthread_mutex_lock(&p->lock);
	last = !--proc->refs;
	pthread_mutex_unlock(&p->lock);
	return last ? run_retire(p, req) : 0;
}

/* ---- the thread ---- */

/* Sleeps until woken up; with pairs around, for a moment, to look after them. */
static void wait_for_work(struct ptrace_master *m)
{
	struct timespec end;

	if (!m->watch_pairs) {
		pthread_cond_wait(&m->wake, &m->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += PTRACE_PAIR_CHECK_NS;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	if (pthread_cond_clockwait(&m->wake, &m->lock, CLOCK_MONOTONIC, &end) != ETIMEDOUT)
		return;
	m->watch_pairs = false;
	pthread_mutex_unlock(&m->lock);
	if (ptrace_pair_check(m->platform))
		ptrace_master_watch_pairs(m->platform);
	pthread_mutex_lock(&m->lock);
}

static struct request *next_request(struct ptrace_master *m)
{
	struct request *req;

	pthread_mutex_lock(&m->lock);
	while (!m->first && !m->stop)
		wait_for_work(m);
	req = m->first;
	if (req) {
		m->first = req->next;
		if (!m->first)
			m->last = &m->first;
	}
	pthread_mutex_unlock(&m->lock);
	return req;
}

static void finish_request(struct ptrace_master *m, struct request *req, int result)
{
	pthread_mutex_lock(&m->lock);
	req->result = result;
	req->done = true;
	pthread_cond_broadcast(&m->finished);
	pthread_mutex_unlock(&m->lock);
}

static bool tracing_needs_capability(void)
{
	FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (!f)
		return false;
	if (fscanf(f, "%d", &scope) != 1)
		scope = 0;
	fclose(f);
	return scope >= YAMA_SCOPE_CAPABILITY;
}

/*
 * Capabilities belong to threads, and a sentry that drops its own later on
 * would not think of this thread.
 */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t keep = tracing_needs_capability() ? CAP_TO_MASK(CAP_SYS_PTRACE) : 0;

	if (syscall(__NR_capget, &header, data))
		return -errno;
	keep &= data[0].permitted;
	memset(data, 0, sizeof(data));
	data[0].permitted = data[0].effective = keep;
	return syscall(__NR_capset, &header, data) ? -errno : 0;
}

static int make_template(struct ptrace_platform *p)
{
	struct ptrace_template t;
	int err;

	err = drop_capabilities();
	if (!err)
		err = ptrace_template_create(&p->base.vdso, &t);
	if (err)
		return err;
	p->template_pid = t.pid;
	p->stub = t.stub;
	p->xstate_size = t.xstate_size;
	p->base.cpuid_events = t.cpuid_faults;
	p->base.have_global_memory_barrier = t.barrier;
	return 0;
}

/*
 * Orphans are traced by threads that never came back for them. Those threads
 * may be ending right now and take themselves off the list: the lock they do it
 * under is held by the thread that releases the platform and waits for this one.
 */
static void reap_orphans(struct ptrace_platform *p)
{
	struct ptrace_tracer *tracer;
	struct ptrace_thread *t;
	int status;

	LIST_FOREACH(tracer, &p->tracers, link) {
		while ((t = LIST_FIRST(&tracer->threads))) {
			while (!ptrace_wait(t->tid, &status))
				;
			LIST_REMOVE(t, link);
			free(t);
		}
	}
}

/* Only here do processes die that a thread of another tracer may still be in. */
static void end_all(struct ptrace_platform *p)
{
	struct ptrace_process *proc;

	LIST_FOREACH(proc, &p->processes, link) {
		if (!proc->leader_dying)
			kill(proc->pid, SIGKILL);
	}
	reap_orphans(p);
	while ((proc = LIST_FIRST(&p->processes)))
		end_process(p, proc);
	if (p->template_pid) {
		kill(p->template_pid, SIGKILL);
		ptrace_reap(p->template_pid);
	}
}

static void *master_main(void *arg)
{
	struct ptrace_master *m = arg;
	struct ptrace_platform *p = m->platform;
	struct request *req = next_request(m);
	int err;

	prctl(PR_SET_NAME, "ptrace-master");
	/* The first request stands for the creation itself. */
	err = make_template(p);
	finish_request(m, req, err);
	if (err)
		return NULL;
	while ((req = next_request(m)))
		finish_request(m, req, req->run(p, req));
	end_all(p);
	return NULL;
}

/*
 * The sentry's signals are for its other threads. The library call leaves
 * glibc's internal ones open, which setuid() of all threads needs.
 */
static int create_thread(struct ptrace_master *m)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&m->thread, NULL, master_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static void free_master(struct ptrace_platform *p)
{
	struct ptrace_master *m = p->master;

	pthread_cond_destroy(&m->finished);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	free(m);
	p->master = NULL;
}

int ptrace_master_start(struct ptrace_platform *p)
{
	struct request first = { 0 };
	struct ptrace_master *m;
	int err;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->platform = p;
	m->last = &m->first;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->wake, NULL);
	pthread_cond_init(&m->finished, NULL);
	p->master = m;
	err = create_thread(m);
	if (!err) {
		err = submit(p, &first);
		if (err)
			pthread_join(m->thread, NULL);
	}
	if (err)
		free_master(p);
	return err;
}

void ptrace_master_stop(struct ptrace_platform *p)
{
	struct ptrace_master *m = p->master;

	pthread_mutex_lock(&m->lock);
	m->stop = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	free_master(p);
}

void ptrace_master_watch_pairs(struct ptrace_platform *p)
{
	struct ptrace_master *m = p->master;

	pthread_mutex_lock(&m->lock);
	if (!m->watch_pairs) {
		m->watch_pairs = true;
		pthread_cond_signal(&m->wake);
	}
	pthread_mutex_unlock(&m->lock);
}

/* ---- requests ---- */

int ptrace_master_new_process(struct ptrace_platform *p, struct ptrace_process **proc)
{
	struct request req = { .run = run_new_process };
	int err;

	err = submit(p, &req);
	*proc = req.proc;
	return err;
}

int ptrace_master_new_thread(struct ptrace_platform *p, struct ptrace_process *proc,
			     struct ptrace_thread **out)
{
	struct request req = { .run = run_new_thread, .proc = proc };
	int err;

	err = submit(p, &req);
	*out = req.thread;
	return err;
}

int ptrace_master_batch(struct ptrace_platform *p, struct ptrace_process *proc,
			unsigned int count)
{
	struct request req = { .run = run_batch, .proc = proc, .count = count };

	return submit(p, &req);
}

void ptrace_master_release(struct ptrace_platform *p, struct ptrace_process *proc)
{
	struct request req = { .run = run_release, .proc = proc };

	submit(p, &req);
}

void ptrace_master_retire(struct ptrace_platform *p, struct ptrace_process *proc)
{
	struct request req = { .run = run_retire, .proc = proc };

	submit(p, &req);
}
