// SPDX-License-Identifier: MIT
/*
 * death.c - stubs that are killed or signalled, sentries that end, orphans
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define MAX_PROCESSES 256
#define MAX_THREADS 64
#define FORKERS 6
#define LIVES 500
#define DEADLINE_NS bench_patience_ns(10000000000ll)

SUITE_FIXTURE(death);

PROGRAM(prog_count, "1: inc %rbx\n lock incq 0x20000000\n syscall\n jmp 1b");
PROGRAM(prog_spin, "1: lock incq 0x20000000\n jmp 1b");

static atomic_ullong *spins(struct bench *b)
{
	return (atomic_ullong *)b->data;
}

/* Returns once the program has got beyond @from; false if it does not. */
static bool runs(struct bench *b, uint64_t from)
{
	const int64_t deadline = bench_now_ns() + DEADLINE_NS;

	while (*spins(b) <= from) {
		if (bench_now_ns() > deadline)
			return false;
		sched_yield();
	}
	return true;
}

/* ---- of a stub ---- */

TEST_F(death, killed_stub_is_an_error_of_its_contexts)
{
	struct platform_context *ctx, *second;
	struct platform_address_space *other;
	struct bench *b = &self->b;
	struct platform_event ev;
	pid_t stub;
	int i;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, bench_new_context(b, &second));
	ASSERT_EQ(0, bench_run_context(b, second, b->as, &ev));
	stub = bench_stub(b);
	ASSERT_LT(0, stub);
	ASSERT_EQ(0, bench_new_address_space(b, &other));
	ASSERT_EQ(0, bench_new_context(b, &ctx));
	ASSERT_EQ(0, bench_run_context(b, ctx, other, &ev));
	ASSERT_EQ(0, bench_kill(stub, SIGKILL));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-ECHILD, bench_run(b));
		EXPECT_EQ(-ECHILD, bench_run_context(b, second, b->as, &ev));
	}
	EXPECT_EQ(-ECHILD, bench_map(b, BENCH_FREE, 0, BENCH_PAGE, PROT_READ));
	/* Nobody else is concerned. */
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, bench_run_context(b, ctx, other, &ev));
	EXPECT_EQ(PLATFORM_SYSCALL, ev.kind);
	bench_release_context(b, second);
	bench_release_context(b, ctx);
	address_space_release(other);
	/* And a new one does not get the dead one's process. */
	address_space_release(b->as);
	ASSERT_EQ(0, bench_new_address_space(b, &b->as));
	bench_start(b->regs);
	context_full_state_changed(b->ctx);
	EXPECT_SYSCALL(b, 0);
}

/* Static: a failed assertion leaves the test, but not the thread, at once. */
static struct killer {
	pthread_t thread;
	struct bench *b;
	pid_t stub;
} killer;

static void *kill_when_it_runs(void *arg)
{
	struct killer *k = arg;

	runs(k->b, 1000);
	bench_kill(k->stub, SIGKILL);
	return NULL;
}

TEST_F(death, killed_while_it_runs)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_spin);
	*spins(b) = 0;
	killer.b = b;
	killer.stub = bench_stub(b);
	ASSERT_LT(0, killer.stub);
	ASSERT_EQ(0, pthread_create(&killer.thread, NULL, kill_when_it_runs, &killer));
	EXPECT_EQ(-ECHILD, bench_run(b));
	pthread_join(killer.thread, NULL);
	EXPECT_EQ(-ECHILD, bench_run(b));
}

/* Nobody is in a switch, and nothing is mapped. */
TEST_F(death, killed_while_idle)
{
	struct bench *b = &self->b;
	pid_t children[MAX_PROCESSES];
	int i, count;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	bench_release_context(b, b->ctx);
	address_space_release(b->as);
	b->ctx = NULL;
	b->as = NULL;
	count = bench_descendants(children, MAX_PROCESSES);
	/*
	 * Whatever is left; without its template a platform may refuse. What has been
	 * released may come to its end meanwhile.
	 */
	for (i = 0; i < count; i++)
		EXPECT_TRUE(!bench_kill(children[i], SIGKILL) || bench_is_gone(children[i]));
	if (!bench_new_address_space(b, &b->as)) {
		ASSERT_EQ(0, bench_renew_context(b));
		EXPECT_SYSCALL(b, 0);
	}
}

/*
 * Every stub of this sentry's programs is killed again and again, at moments of
 * chance, while its thread goes through all that a task does. Each call either
 * works or says that the stub is dead; in the end a new one works.
 */
static struct victim {
	pthread_t thread;
	struct bench b;
	atomic_bool enough;
	atomic_bool done;
	int err;
} victim;

static int live_once(struct bench *b)
{
	int i, err;

	err = bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ);
	for (i = 0; i < 5 && !err; i++)
		err = bench_run(b);
	if (!err)
		err = context_pull_full_state(b->ctx);
	if (!err)
		err = bench_unmap(b, BENCH_FREE, BENCH_PAGE);
	return err;
}

static int be_a_victim(struct victim *v)
{
	struct bench *b = &v->b;
	int i, err;

	while (!v->enough) {
		err = bench_new_address_space(b, &b->as);
		if (err && err != -ECHILD)
			return err;
		if (err)
			continue;
		err = bench_renew_context(b);
		/* Most are killed before; some go by themselves. */
		for (i = 0; i < LIVES && !err && !v->enough; i++)
			err = live_once(b);
		address_space_release(b->as);
		if (err && err != -ECHILD)
			return err;
	}
	return 0;
}

static void *victim_main(void *arg)
{
	struct victim *v = arg;

	v->err = be_a_victim(v);
	v->done = true;
	return NULL;
}

TEST_F_TIMEOUT(death, killed_at_any_moment, 60)
{
	const int64_t deadline = bench_now_ns() + 2 * DEADLINE_NS;
	const int wanted = bench_scale(30, 8);
	struct bench *b = &self->b;
	pid_t stub, spared = bench_stub(b);
	int killed = 0;

	BENCH_LOAD(b, prog_count);
	victim.b = *b;
	victim.b.ctx = NULL;
	ASSERT_EQ(0, pthread_create(&victim.thread, NULL, victim_main, &victim));
	/* Looking for it takes a random time by itself. */
	while (!victim.done && killed < wanted && bench_now_ns() < deadline) {
		stub = bench_stub_but(b, spared);
		if (stub > 0)
			killed += !bench_kill(stub, SIGKILL);
		sched_yield();
	}
	victim.enough = true;
	pthread_join(victim.thread, NULL);
	EXPECT_EQ(0, victim.err);
	EXPECT_EQ(wanted, killed);
	if (victim.b.ctx)
		bench_release_context(b, victim.b.ctx);
	EXPECT_SYSCALL(b, 0);
}

/* ---- fork storm ---- */

struct forker {
	pthread_t thread;
	struct bench b;
	int rounds;
	int err;
};

static int fork_once(struct bench *b)
{
	struct platform_address_space *parent = b->as, *child;
	int err;

	address_space_pre_fork(parent);
	err = bench_new_address_space(b, &child);
	address_space_post_fork(parent);
	if (err)
		return err;
	b->as = child;
	b->ctx = NULL;
	err = bench_renew_context(b);
	if (!err)
		err = bench_run(b);
	if (!err && b->ev.kind != PLATFORM_SYSCALL)
		err = -EPROTO;
	if (b->ctx)
		bench_release_context(b, b->ctx);
	address_space_release(child);
	b->as = parent;
	return err;
}

static void *fork_often(void *arg)
{
	struct forker *f = arg;
	int i;

	for (i = 0; i < f->rounds && !f->err; i++)
		f->err = fork_once(&f->b);
	return NULL;
}

/* Only the calling thread's descendants count; a stub may be on its way out. */
static int zombies(void)
{
	pid_t pids[MAX_PROCESSES];
	int i, found = 0, count = bench_descendants(pids, MAX_PROCESSES);

	for (i = 0; i < count; i++)
		found += bench_is_gone(pids[i]);
	return found;
}

TEST_F_TIMEOUT(death, fork_storm, 120)
{
	const int64_t deadline = bench_now_ns() + 6 * DEADLINE_NS;
	struct forker forkers[FORKERS] = { 0 };
	struct bench *b = &self->b;
	pid_t left[MAX_PROCESSES];
	int i;

	BENCH_LOAD(b, prog_count);
	for (i = 0; i < FORKERS; i++) {
		forkers[i].b = *b;
		forkers[i].rounds = bench_scale(60, 10);
		ASSERT_EQ(0, pthread_create(&forkers[i].thread, NULL, fork_often, &forkers[i]));
	}
	for (i = 0; i < FORKERS; i++) {
		pthread_join(forkers[i].thread, NULL);
		EXPECT_EQ(0, forkers[i].err);
	}
	/* A pool may be left, but a modest one, and none of the dead. */
	EXPECT_GT(MAX_PROCESSES, bench_descendants(left, MAX_PROCESSES));
	while (zombies() && bench_now_ns() < deadline)
		sched_yield();
	EXPECT_EQ(0, zombies());
	EXPECT_SYSCALL(b, 0);
}

/* ---- signals from outside ---- */

/* Static: a failed assertion leaves the test, but not the thread, at once. */
static struct nuisance {
	pthread_t thread;
	struct bench *b;
	pid_t stub;
	int rounds;
	atomic_bool done;
} nuisance;

static const int stray_signals[] = {
	SIGUSR1, SIGTERM, SIGINT, SIGSEGV, SIGTRAP, SIGILL, SIGBUS, SIGFPE, SIGCHLD,
	SIGURG, SIGALRM, SIGSYS, SIGSTOP, SIGCONT, SIGTSTP, SIGHUP,
	34, /* SIGRTMIN, which is no constant */
};

static void signal_threads(pid_t stub, int sig)
{
	union sigval value = { .sival_int = 1 };
	pid_t tids[MAX_THREADS];
	int i, count = bench_threads(stub, tids, MAX_THREADS);

	for (i = 0; i < count; i++)
		syscall(__NR_tgkill, stub, tids[i], sig);
	if (sig != SIGSTOP && sig != SIGTSTP)
		sigqueue(stub, sig, value);
}

static void *send_signals(void *arg)
{
	struct nuisance *n = arg;
	const size_t count = sizeof(stray_signals) / sizeof(stray_signals[0]);
	size_t i, k;

	for (k = 0; k < n->rounds; k++) {
		for (i = 0; i < count; i++) {
			bench_kill(n->stub, stray_signals[i]);
			signal_threads(n->stub, stray_signals[i]);
			bench_sleep_us(100);
		}
	}
	bench_kill(n->stub, SIGCONT);
	n->done = true;
	return NULL;
}

TEST_F_TIMEOUT(death, stray_signals_are_no_events, 60)
{
	struct bench *b = &self->b;
	uint64_t seen = 1;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	nuisance.rounds = bench_scale(20, 6);
	nuisance.stub = bench_stub(b);
	ASSERT_LT(0, nuisance.stub);
	ASSERT_EQ(0, pthread_create(&nuisance.thread, NULL, send_signals, &nuisance));
	while (!nuisance.done || seen < 100) {
		ASSERT_EQ(0, bench_run(b));
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind) TH_LOG("signal %d", b->ev.info.si_signo);
		ASSERT_EQ(++seen, b->regs->rbx);
	}
	pthread_join(nuisance.thread, NULL);
	/* What waited in the queue does not come later either. */
	for (; seen < 200; seen++)
		EXPECT_SYSCALL(b, 0);
}

static void *signal_spinner(void *arg)
{
	struct nuisance *n = arg;

	runs(n->b, 1000);
	send_signals(n);
	bench_kill(n->stub, SIGKILL);
	return NULL;
}

/* Nothing that the program could see happens before the signal that kills. */
TEST_F_TIMEOUT(death, stray_signals_in_a_busy_program, 60)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_spin);
	*spins(b) = 0;
	nuisance.b = b;
	nuisance.rounds = bench_scale(10, 4);
	nuisance.stub = bench_stub(b);
	ASSERT_LT(0, nuisance.stub);
	ASSERT_EQ(0, pthread_create(&nuisance.thread, NULL, signal_spinner, &nuisance));
	EXPECT_EQ(-ECHILD, bench_run(b)) TH_LOG("signal %d", b->ev.info.si_signo);
	pthread_join(nuisance.thread, NULL);
	EXPECT_NE(0, *spins(b));
}

/* ---- of the sentry ---- */

struct sentry_report {
	int count;
	pid_t pids[MAX_PROCESSES];
};

struct reporter {
	struct bench *b;
	int out;
};

static void *report_when_it_runs(void *arg)
{
	struct reporter *r = arg;
	struct sentry_report report;

	runs(r->b, 1000);
	report.count = bench_descendants(report.pids, MAX_PROCESSES);
	if (write(r->out, &report, sizeof(report)) != sizeof(report))
		_exit(2);
	return NULL;
}

/* A sentry of its own in a child, killed while its program runs. */
static void be_a_sentry(const char *platform, bool storm, int out)
{
	struct platform_address_space *more;
	struct reporter r = { .out = out };
	pthread_t thread;
	struct bench b;

	if (bench_open(&b, platform, storm) || bench_new_address_space(&b, &more))
		_exit(1);
	BENCH_LOAD(&b, prog_spin);
	*spins(&b) = 0;
	r.b = &b;
	if (pthread_create(&thread, NULL, report_when_it_runs, &r))
		_exit(3);
	bench_run(&b);
	_exit(4);
}

/*
 * The test adopts what the sentry leaves behind and waits for it: wait() has no
 * children left only when all of it has died. Of any stub that lives on, the
 * harness's time limit tells.
 */
TEST_F(death, nothing_survives_the_sentry)
{
	struct sentry_report report;
	pid_t sentry, ended;
	int fds[2], i, status, mine = 0;

	/* The fixture's own stubs must not be waited for. */
	bench_close(&self->b);
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	ASSERT_EQ(0, pipe(fds));
	sentry = fork();
	ASSERT_LE(0, sentry);
	if (!sentry)
		be_a_sentry(variant->platform, variant->storm, fds[1]);
	close(fds[1]);
	ASSERT_EQ(sizeof(report), read(fds[0], &report, sizeof(report)));
	/* A template and two stubs, or at least these two. */
	EXPECT_LE(2, report.count);
	EXPECT_EQ(0, bench_kill(sentry, SIGKILL));
	while ((ended = waitpid(-1, &status, __WALL)) > 0)
		mine += ended == sentry;
	EXPECT_EQ(1, mine);
	EXPECT_EQ(ECHILD, errno);
	for (i = 0; i < report.count; i++)
		EXPECT_TRUE(bench_is_gone(report.pids[i])) TH_LOG("%d", report.pids[i]);
	close(fds[0]);
}

/* It ends without releasing anything, with all of its threads at once. */
TEST_F(death, nothing_survives_an_exit)
{
	struct sentry_report report;
	struct bench b;
	pid_t sentry;
	int fds[2];

	bench_close(&self->b);
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	ASSERT_EQ(0, pipe(fds));
	sentry = fork();
	ASSERT_LE(0, sentry);
	if (!sentry) {
		struct reporter r = { .b = &b, .out = fds[1] };

		if (bench_open(&b, variant->platform, variant->storm))
			_exit(1);
		BENCH_LOAD(&b, prog_count);
		*spins(&b) = 100000;
		bench_run(&b);
		report_when_it_runs(&r);
		_exit(0);
	}
	close(fds[1]);
	ASSERT_EQ(sizeof(report), read(fds[0], &report, sizeof(report)));
	EXPECT_LE(1, report.count);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	EXPECT_EQ(ECHILD, errno);
	EXPECT_EQ(0, zombies());
	close(fds[0]);
}
