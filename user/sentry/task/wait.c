// SPDX-License-Identifier: MIT
/*
 * wait.c - wait queues, and how tasks sleep and are interrupted
 *
 * Two parties race: a task that goes to sleep, and one that gives it work. The
 * sleeper stores "where" and then loads "work"; the other stores "work" and
 * then loads "where". Both use sequentially consistent operations, so at least
 * one of them sees the other's store.
 */
#include <linux/futex.h>
#include <sys/ucontext.h>
#include <ucontext.h>
#include <unistd.h>

#include "sentry/task/internal.h"

/* struct task.wake_word */
enum { WORD_IDLE, WORD_WOKEN, WORD_SLEEPING };

long host_syscall_checked(atomic_uint *work, long nr, const long a[6]);
extern const char host_syscall_check[], host_syscall_insn[],
	host_syscall_eintr[];

_Static_assert(TASK_WORK_INTERRUPT == 7, "as in host_syscall.S");

void wait_queue_init(struct wait_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	TAILQ_INIT(&q->waiters);
	atomic_init(&q->count, 0);
}

void waiter_init(struct waiter *w, struct task *t)
{
	memset(w, 0, sizeof(*w));
	w->task = t;
}

void wait_queue_add(struct wait_queue *q, struct waiter *w)
{
	pthread_mutex_lock(&q->lock);
	TAILQ_INSERT_TAIL(&q->waiters, w, link);
	/* A full barrier: the condition is looked at after this. */
	atomic_fetch_add(&q->count, 1);
	pthread_mutex_unlock(&q->lock);
}

void wait_queue_remove(struct wait_queue *q, struct waiter *w)
{
	pthread_mutex_lock(&q->lock);
	TAILQ_REMOVE(&q->waiters, w, link);
	atomic_fetch_sub(&q->count, 1);
	pthread_mutex_unlock(&q->lock);
}

static bool wait_queue_empty(struct wait_queue *q)
{
	/* The condition is stored before; pairs with wait_queue_add(). */
	atomic_thread_fence(memory_order_seq_cst);
	return !atomic_load_explicit(&q->count, memory_order_relaxed);
}

int wait_queue_wake(struct wait_queue *q, int n)
{
	struct waiter *w, *next;
	int woken = 0;

	if (wait_queue_empty(q))
		return 0;
	pthread_mutex_lock(&q->lock);
	for (w = TAILQ_FIRST(&q->waiters); w && woken < n; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->wake)
			w->wake(w);
		else
			task_wake(w->task);
		woken++;
	}
	pthread_mutex_unlock(&q->lock);
	return woken;
}

void wait_queue_wake_all(struct wait_queue *q)
{
	wait_queue_wake(q, INT_MAX);
}

/* The host thread is not the program's CPU time while it sleeps. */
void task_account_block(struct task *t)
{
	atomic_store_explicit(&t->block_start_ns, monotonic_ns(),
			      memory_order_relaxed);
}

void task_account_unblock(struct task *t)
{
	uint64_t start = atomic_load_explicit(&t->block_start_ns,
					      memory_order_relaxed);

	atomic_store_explicit(&t->block_start_ns, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->blocked_ns, monotonic_ns() - start,
				  memory_order_relaxed);
}

static long futex_host(atomic_uint *word, int op, unsigned int val,
		       const struct timespec *timeout)
{
	if (syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, timeout,
		    NULL, FUTEX_BITSET_MATCH_ANY) < 0)
		return -errno;
	return 0;
}

/* Sleep until task_wake() or the deadline: 0 or -ETIMEDOUT. */
static int sleep_on_word(struct task *t, uint64_t deadline_ns)
{
	struct timespec ts = ns_to_timespec(deadline_ns);
	unsigned int old = WORD_IDLE;
	long err = 0;

	if (!atomic_compare_exchange_strong(&t->wake_word, &old,
					    WORD_SLEEPING)) {
		atomic_store(&t->wake_word, WORD_IDLE);
		return 0;
	}
	if (t->ctx)
		context_prepare_sleep(t->ctx);
	task_account_block(t);
	while (err != -ETIMEDOUT &&
	       atomic_load(&t->wake_word) == WORD_SLEEPING)
		err = futex_host(&t->wake_word, FUTEX_WAIT_BITSET,
				 WORD_SLEEPING,
				 deadline_ns == FOREVER ? NULL : &ts);
	task_account_unblock(t);
	old = atomic_exchange(&t->wake_word, WORD_IDLE);
	return old == WORD_WOKEN ? 0 : -ETIMEDOUT;
}

static int block(struct task *t, uint64_t deadline_ns, unsigned int work)
{
	int err;

	atomic_store(&t->where, TASK_IN_BLOCK);
	if (atomic_load(&t->work) & work)
		err = -ERESTARTSYS;
	else
		err = sleep_on_word(t, deadline_ns);
	atomic_store(&t->where, TASK_IN_USER);
	return err;
}

int task_block(struct task *t, uint64_t deadline_ns)
{
	return block(t, deadline_ns, TASK_WORK_INTERRUPT);
}

int task_block_killable(struct task *t, uint64_t deadline_ns)
{
	return block(t, deadline_ns, TASK_WORK_KILL);
}

void task_wake(struct task *t)
{
	if (atomic_exchange(&t->wake_word, WORD_WOKEN) == WORD_SLEEPING)
		futex_host(&t->wake_word, FUTEX_WAKE, 1, NULL);
}

void task_kick(struct task *t)
{
	switch (atomic_load(&t->where)) {
	case TASK_IN_BLOCK:
		task_wake(t);
		break;
	case TASK_IN_HOST:
		syscall(SYS_tgkill, getpid(), t->host_tid, KICK_SIGNAL);
		break;
	default:
		context_interrupt(t->ctx);
		break;
	}
}

long task_host_syscall(struct task *t, long nr, const long a[6])
{
	long ret;

	atomic_store(&t->where, TASK_IN_HOST);
	task_account_block(t);
	do {
		/* A kick meant for an earlier call may come late: go on. */
		ret = host_syscall_checked(&t->work, nr, a);
	} while (ret == -EINTR && !task_has_work(t));
	task_account_unblock(t);
	atomic_store(&t->where, TASK_IN_USER);
	return ret;
}

static void kick_handler(int signo, siginfo_t *info, void *uc_)
{
	ucontext_t *uc = uc_;
	greg_t ip = uc->uc_mcontext.gregs[REG_RIP];

	if (ip >= (greg_t)host_syscall_check && ip <= (greg_t)host_syscall_insn)
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)host_syscall_eintr;
}

/*
 * SA_RESTART keeps host calls outside the checked window whole: those inside
 * are restarted at host_syscall_insn, and end there.
 */
int task_kick_init(void)
{
	struct sigaction sa = {
		.sa_sigaction = kick_handler,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	sigfillset(&sa.sa_mask);
	return sigaction(KICK_SIGNAL, &sa, NULL) ? -errno : 0;
}
