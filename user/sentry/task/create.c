// SPDX-License-Identifier: MIT
/*
 * create.c - making tasks and thread groups, and starting their host threads
 */
#include <limits.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <unistd.h>

#include "sentry/ipc.h"
#include "sentry/task/internal.h"

/*
 * The sentry does not recurse, and keeps only paths on the stack. Untouched
 * pages of it cost nothing.
 */
#define HOST_STACK_SIZE (256 * 1024)

/* What glibc registers, whatever it says in __rseq_size. */
#define RSEQ_AREA_SIZE 32

struct task *task_alloc(struct kernel *k, int *err)
{
	struct task *t = calloc(1, sizeof(*t));

	*err = -ENOMEM;
	if (!t)
		return NULL;
	t->kernel = k;
	atomic_init(&t->refs, 1);
	t->start_ns = monotonic_ns();
	sigqueue_init(&t->sig.pending);
	*err = platform_new_context(k->platform, &t->ctx);
	if (*err) {
		free(t);
		return NULL;
	}
	t->regs = t->ctx->state.regs;
	t->regs->orig_rax = -1ull;
	return t;
}

struct thread_group *thread_group_alloc(struct kernel *k, int *err)
{
	struct thread_group *tg = calloc(1, sizeof(*tg));

	*err = -ENOMEM;
	if (!tg)
		return NULL;
	tg->kernel = k;
	atomic_init(&tg->refs, 1);
	TAILQ_INIT(&tg->tasks);
	TAILQ_INIT(&tg->children);
	sigqueue_init(&tg->sig.pending);
	pthread_mutex_init(&tg->lock, NULL);
	wait_queue_init(&tg->child_wait);
	wait_queue_init(&tg->sig.watchers);
	tg->start_ns = monotonic_ns();
	tg->dumpable = 1;
	*err = process_timers_create(tg);
	if (*err) {
		free(tg);
		return NULL;
	}
	return tg;
}

void thread_group_put(struct thread_group *tg)
{
	if (atomic_fetch_sub(&tg->refs, 1) != 1)
		return;
	process_timers_destroy(tg);
	sigqueue_flush(&tg->sig.pending);
	if (tg->sig.sighand)
		sighand_put(tg->sig.sighand);
	if (tg->exe)
		file_put(tg->exe);
	pthread_mutex_destroy(&tg->lock);
	free(tg);
}

/* On the task's own thread, or before it has one. */
struct mm *task_release_but_mm(struct task *t)
{
	struct platform_context *ctx = t->ctx;
	struct fd_table *files = t->files;
	struct fs_context *fs = t->fs;
	struct mm *mm = t->mm;

	sem_exit(t);
	/* Done at exit; the last reference may be put under tasks_lock. */
	if (!ctx && !files && !fs && !mm)
		return NULL;
	/* Readers of /proc look at these under tasks_lock. */
	pthread_mutex_lock(&t->kernel->tasks_lock);
	t->mm = NULL;
	t->files = NULL;
	t->fs = NULL;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	if (mm) {
		task_mm_released(t);
		mm_remove_task(mm);
		mm_exit(mm);
	}
	if (files)
		fd_table_put(files);
	if (fs)
		fs_context_put(fs);
	t->ctx = NULL;
	t->regs = NULL;
	if (ctx)
		context_release(ctx);
	return mm;
}

void task_release_resources(struct task *t)
{
	struct mm *mm = task_release_but_mm(t);

	if (mm)
		mm_put(mm);
}

void task_publish_locked(struct task *t)
{
	struct thread_group *tg = t->tg;

	pthread_mutex_lock(&tg->lock);
	TAILQ_INSERT_TAIL(&tg->tasks, t, tg_link);
	tg->nr_tasks++;
	if (tg->sig.stopped)
		task_set_work(t, TASK_WORK_STOP);
	pthread_mutex_unlock(&tg->lock);
	/* The table's reference. */
	task_get(t);
	tid_bind_locked(t->kernel, t->tid, t);
}

static void init_cred(struct cred *c)
{
	gid_t *groups = c->groups;
	int n;

	getresuid(&c->uid, &c->euid, &c->suid);
	getresgid(&c->gid, &c->egid, &c->sgid);
	c->fsuid = c->euid;
	c->fsgid = c->egid;
	n = getgroups(ARRAY_SIZE(c->groups), groups);
	c->ngroups = n > 0 ? (unsigned int)n : 0;
	cred_init_caps(c);
}

static void init_rlimits(struct thread_group *tg)
{
	int i;

	for (i = 0; i < RLIM_NLIMITS; i++)
		getrlimit(i, &tg->rlimits[i]);
}

static bool host_ignores(int signo)
{
	struct kernel_sigaction sa;

	return !syscall(SYS_rt_sigaction, signo, NULL, &sa, sizeof(sa.mask)) &&
	       sa.handler == (uint64_t)(uintptr_t)SIG_IGN;
}

/*
 * The C library uses two signals itself: sigaction(3) does not show them, and
 * the first thread that is created changes them. Look before that.
 */
#define LIBC_SIGNAL_FIRST 32
#define LIBC_SIGNAL_LAST 33
static bool libc_signal_ignored[2];

static void __attribute__((constructor)) note_libc_signals(void)
{
	int signo;

	for (signo = LIBC_SIGNAL_FIRST; signo <= LIBC_SIGNAL_LAST; signo++)
		libc_signal_ignored[signo - LIBC_SIGNAL_FIRST] =
			host_ignores(signo);
}

static bool inherits_ignored(int signo)
{
	if (signo >= LIBC_SIGNAL_FIRST && signo <= LIBC_SIGNAL_LAST)
		return libc_signal_ignored[signo - LIBC_SIGNAL_FIRST];
	return host_ignores(signo);
}

/* What the program would have inherited: ignored and blocked signals. */
static void init_signals(struct task *t)
{
	sigset_t blocked;
	int signo;

	for (signo = 1; signo <= SIGNAL_MAX; signo++)
		if (inherits_ignored(signo))
			t->tg->sig.sighand->actions[signo - 1].handler =
				(uint64_t)(uintptr_t)SIG_IGN;
	if (!pthread_sigmask(SIG_SETMASK, NULL, &blocked))
		memcpy(&t->sig.mask, &blocked, sizeof(t->sig.mask));
	t->sig.mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
}

/*
 * Host signals are read by task_wait_all(), so nobody takes them before. Those
 * that tell of a fault of the sentry itself stay open.
 */
static void block_host_signals(struct kernel *k)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
				      SIGTRAP };
	sigset_t set;
	size_t i;

	sigfillset(&set);
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, &k->tids->host_mask);
}

/* A session of its own with one process group, as a login shell has. */
static void publish_init(struct task *t)
{
	struct kernel *k = t->kernel;
	struct thread_group *tg = t->tg;

	pthread_mutex_lock(&k->tasks_lock);
	t->tid = tid_alloc_locked(k);
	tg->tgid = tg->pgid = tg->sid = t->tid;
	tg->leader = t;
	tid_ref_locked(k, tg->pgid);
	tid_ref_locked(k, tg->sid);
	TAILQ_INSERT_TAIL(&k->tids->groups, tg, all_link);
	thread_group_get(tg);
	task_publish_locked(t);
	/* The reference of task_alloc() becomes that of k->init. */
	k->init = t;
	pthread_mutex_unlock(&k->tasks_lock);
}

int task_create_init(struct kernel *k, struct task **out)
{
	struct task *t;
	int err;

	err = tid_table_create(k);
	if (err)
		return err;
	t = task_alloc(k, &err);
	if (!t)
		goto out_tids;
	t->tg = thread_group_alloc(k, &err);
	if (!t->tg)
		goto out_task;
	err = signal_init_task(t, NULL, false);
	if (err)
		goto out_task;
	init_signals(t);
	init_cred(&t->cred);
	init_rlimits(t->tg);
	t->tg->nice = getpriority(PRIO_PROCESS, 0);
	err = task_kick_init();
	if (err)
		goto out_task;
	block_host_signals(k);
	publish_init(t);
	sched_init(k);
	err = tty_init(k, t->tg);
	if (!err)
		err = timer_thread_start(k);
	if (err)
		goto out_published;
	process_cpu_limit_set(t->tg);
	*out = t;
	return 0;

out_published:
	tasks_release(k);
	return err;
out_task:
	task_put(t);
out_tids:
	tid_table_destroy(k);
	return err;
}

/* Under the lock, so that task_wait_all() sees 0 only when we are done. */
static void thread_count_put(struct kernel *k)
{
	pthread_mutex_lock(&k->tasks_lock);
	if (--k->tids->nr_threads == 0)
		kernel_notify(k);
	pthread_mutex_unlock(&k->tasks_lock);
}

/*
 * The C library registers every thread for restartable sequences, which makes
 * the host write to the thread's memory whenever it is scheduled: for nothing
 * here, and twice for every system call of the program.
 */
static void leave_rseq(void)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (__rseq_size)
		syscall(SYS_rseq, area, RSEQ_AREA_SIZE, RSEQ_FLAG_UNREGISTER,
			RSEQ_SIG);
}

static __thread pid_t current_tgid;

pid_t task_current_tgid(void)
{
	return current_tgid;
}

static void *task_thread(void *arg)
{
	struct task *t = arg;
	struct kernel *k = t->kernel;

	pthread_mutex_lock(&k->tasks_lock);
	t->host_tid = gettid();
	sched_start_thread(&t->cpus);
	pthread_mutex_unlock(&k->tasks_lock);
	leave_rseq();
	current_tgid = t->tg->tgid;
	if (t->set_child_tid)
		put_user_u32(t, t->set_child_tid, (uint32_t)t->tid);
	mm_start(t);
	task_run(t);
	task_do_exit(t);
	task_put(t);
	/* After this the kernel may be gone. */
	thread_count_put(k);
	return NULL;
}

static int create_thread(struct task *t, pthread_attr_t *attr)
{
	sigset_t kick, old;
	int err;

	/* The new thread inherits the mask: only it may be kicked. */
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, &old);
	err = pthread_create(&t->thread, attr, task_thread, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err ? -EAGAIN : 0;
}

int task_start(struct task *t)
{
	struct kernel *k = t->kernel;
	pthread_attr_t attr;
	int err;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setstacksize(&attr, HOST_STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&k->tasks_lock);
	k->tids->nr_threads++;
	pthread_mutex_unlock(&k->tasks_lock);
	task_get(t);
	err = create_thread(t, &attr);
	if (err) {
		task_put(t);
		thread_count_put(k);
	}
	pthread_attr_destroy(&attr);
	return err;
}
