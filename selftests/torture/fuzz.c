// SPDX-License-Identifier: MIT
/*
 * fuzz - an adversary of the module that knows its interface
 *
 *	fuzz [-f] [-s SEED] [-n OPERATIONS] [-t THREADS] [-r ROUND]
 *
 * A round is a process that opens an instance, on which several threads carry out
 * random commands at the same time: valid ones, and valid ones with one value
 * changed. Contexts run on their stub's threads or, where the kernel can do that, on
 * those of the process. Another thread scribbles over everything that kernel and sentry share,
 * and over the arguments of commands while the kernel reads them. Stubs are killed
 * and stopped meanwhile. A round ends by closing everything, or by just ending, or
 * by SIGKILL; then none of its processes may be left.
 *
 * What a thread does depends on seed, round and thread number alone, so far as the
 * others do not come between: -r repeats one round, and -t 1 has no others. -f has an
 * allocation fail in most commands, where the kernel can do that; and in every other
 * round marks the stubs (make-it-fail) for what /sys/kernel/debug/failslab says.
 *
 * TAP on stdout. The machine's kernel log is the other half of the verdict.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture/fuzz/fuzz.h"

#define ROUND_OPS 2000

/* Times SANDTRAP_SLOW, as for the tests; see patience.h. */
static uint64_t hang_ns = 120000000000ull;
static uint64_t round_ns = 900000000000ull;

struct fuzz_round fuzz = { .threads = 4 };
struct board *board;

static uint64_t seed;
static unsigned int operations = 20000, first_round;
static bool inject, one_round;

static void *fuzz_thread(void *data)
{
	struct fuzzer *f = data;
	struct progress *p = &board->threads[f->number];

	p->tid = gettid();
	/* One that does not fit is to be refused. */
	if (pick(f, 8))
		box_fit_for_direct();
	if (inject) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", gettid());
		f->fail_nth = open(path, O_RDWR | O_CLOEXEC);
	}
	for (p->op = 0; p->op < ROUND_OPS / fuzz.threads; p->op++) {
		if (pick(f, 5))
			fuzz_command(f);
		else
			fuzz_other(f);
		board->done++;
	}
	return NULL;
}

/* ---- rounds ---- */

static void on_signal(int sig)
{
}

/* Room for one argument that ends where the page does, behind which there is none. */
static void *edge(size_t size)
{
	char *p = mmap(NULL, 2 * BOX_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED || mprotect(p + BOX_PAGE, BOX_PAGE, PROT_NONE))
		_exit(20);
	return p + BOX_PAGE - size;
}

/* All that stubs do may fail then, by a chance that whoever runs us has chosen. */
static void have_stubs_fail(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/make-it-fail", fuzz.box.stubs.pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		_exit(25);
	close(fd);
}

/* What commands begin with; they make more. */
static void first_objects(struct fuzzer *f)
{
	struct sandtrap_new_context new;
	unsigned int i;
	int as;

	for (i = 1; i < SPACES / 2; i++)
		if (!box_new_space(&fuzz.box, &as) && !box_map_areas(&fuzz.box, as))
			fuzz.spaces[i] = as;
	for (i = 1; i < CONTEXTS / 2; i++) {
		memset(&new, 0, sizeof(new));
		new.size = sizeof(new);
		new.flags = i % 2 && board->has_direct ? SANDTRAP_CONTEXT_DIRECT : 0;
		new.address_space = fuzz.spaces[i % (SPACES / 2)];
		if (!ioctl(fuzz.box.fd, SANDTRAP_NEW_CONTEXT, &new))
			fuzz_remember_context(f, &new);
	}
}

static void prepare(unsigned int round)
{
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int i;

	sigaction(SIGUSR2, &action, NULL);
	if (box_open(&fuzz.box))
		_exit(21);
	board->has_direct = !!(fuzz.box.info.out_features & SANDTRAP_FEATURE_DIRECT_MODE);
	memcpy(fuzz.box.file, fuzz_programs, fuzz_programs_end - fuzz_programs);
	fuzz.other_instance = open(SANDTRAP_DEVICE, O_RDWR | O_CLOEXEC);
	fuzz.oasis = mmap(NULL, DESERT, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fuzz.oasis == MAP_FAILED)
		_exit(22);
	fuzz.oasis += DESERT / 2;
	if (mprotect(fuzz.oasis, OASIS, PROT_READ | PROT_WRITE))
		_exit(23);
	for (i = 0; i < SPACES; i++)
		fuzz.spaces[i] = fuzz.stub_fds[i] = -1;
	fuzz.spaces[0] = fuzz.box.as;
	fuzz.ids[0] = fuzz.box.ctx.id;
	fuzz.pages[0] = fuzz.box.ctx.page;
	for (i = 0; i <= fuzz.threads; i++) {
		fuzz.fuzzers[i].number = i;
		fuzz.fuzzers[i].random = fuzz_mix(fuzz_mix(seed) + round) + i;
		fuzz.fuzzers[i].fail_nth = -1;
		fuzz.fuzzers[i].arg = edge(sizeof(union argument));
		fuzz.fuzzers[i].ops = edge(MAX_OPS * sizeof(*fuzz.fuzzers[i].ops));
	}
	if (inject && round % 2)
		have_stubs_fail();
	first_objects(&fuzz.fuzzers[0]);
}

static void round_process(unsigned int round)
{
	pthread_t tids[MAX_THREADS + 1];
	unsigned int i;

	prepare(round);
	for (i = 0; i <= fuzz.threads; i++)
		if (pthread_create(&tids[i], NULL, i < fuzz.threads ? fuzz_thread : fuzz_hostile,
				   &fuzz.fuzzers[i]))
			_exit(24);
	if (round % 3 == 1) {
		/* In the middle of everything. */
		pthread_join(tids[0], NULL);
		_exit(0);
	}
	for (i = 0; i < fuzz.threads; i++)
		pthread_join(tids[i], NULL);
	if (round % 3 == 2)
		kill(getpid(), SIGKILL);
	fuzz.over = true;
	pthread_join(tids[fuzz.threads], NULL);
	for (i = 0; i < SPACES; i++)
		close(fuzz.spaces[i]);
	close(fuzz.box.fd);
	_exit(0);
}

/* ---- verdict ---- */

static void explain(unsigned int round)
{
	unsigned int i;

	printf("# repeat it with: fuzz -s %llu -n %u -t %u -r %u\n", (unsigned long long)seed,
	       operations, fuzz.threads, round);
	for (i = 0; i < fuzz.threads; i++)
		printf("# thread %u: operation %u, %s%s\n", i, board->threads[i].op,
		       board->threads[i].what ?: "none",
		       board->threads[i].since ? ", not returned" : "");
}

/* The operation that has been going on since long before now, of any thread. */
static bool hangs(void)
{
	unsigned int i;

	for (i = 0; i < fuzz.threads; i++) {
		uint64_t since = board->threads[i].since;

		if (since && box_now_ns() > since + hang_ns)
			return true;
	}
	return false;
}

static void for_each_child(void (*fn)(pid_t pid))
{
	char path[64];
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	while (f && fscanf(f, "%d", &pid) == 1)
		fn(pid);
	if (f)
		fclose(f);
}

/* What was stopped before it could learn that its parent is dead has to go on to do so. */
static void continue_child(pid_t pid)
{
	kill(pid, SIGCONT);
}

/* Its threads: what they are doing, and where in the kernel, as root may see it. */
static void show_child(pid_t pid)
{
	char path[64], line[128];
	struct dirent *d;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		static const char *const files[] = { "stat", "stack" };
		unsigned int i;

		for (i = 0; i < 2 && d->d_name[0] != '.'; i++) {
			snprintf(path, sizeof(path), "/proc/%d/task/%.16s/%s", pid, d->d_name,
				 files[i]);
			f = fopen(path, "r");
			while (f && fgets(line, sizeof(line), f))
				printf("#   %.*s\n", (int)strcspn(line, "\n"), line);
			if (f)
				fclose(f);
		}
	}
	if (dir)
		closedir(dir);
}

/* Waits for @pid, or with -1 for everybody: orphans come to us. */
static bool wait_for(pid_t pid, int *status)
{
	uint64_t end = box_now_ns() + (pid > 0 ? round_ns : hang_ns);
	pid_t got;

	for (;;) {
		got = waitpid(pid, status, WNOHANG);
		if (got == pid || (got < 0 && errno == ECHILD))
			return true;
		if (box_now_ns() > end || (pid > 0 && hangs()))
			return false;
		if (!got && pid < 0)
			for_each_child(continue_child);
		if (!got)
			usleep(2000);
	}
}

static bool run_round(unsigned int round)
{
	int status = 0;
	pid_t pid;

	memset(board->threads, 0, sizeof(board->threads));
	fflush(stdout);
	pid = fork();
	if (!pid)
		round_process(round);
	if (!wait_for(pid, &status)) {
		printf("# an operation, or the round, does not end\n");
		explain(round);
		kill(pid, SIGKILL);
		return false;
	}
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && round % 3 == 2)) {
		printf("# the round ended with status %#x\n", status);
		explain(round);
		return false;
	}
	if (!wait_for(-1, &status)) {
		printf("# processes of the round are left:\n");
		for_each_child(show_child);
		explain(round);
		return false;
	}
	if (board->lost_fpu) {
		printf("# a call did not leave registers alone\n");
		explain(round);
		return false;
	}
	if (board->strange) {
		printf("# operation %u, %s, failed with an error that the header does not know: %s\n",
		       board->strange_op, board->strange_what, strerror(board->strange));
		explain(round);
		return false;
	}
	return true;
}

static void options(int argc, char **argv)
{
	const char *slow = getenv("SANDTRAP_SLOW");
	int c;

	if (slow && atoi(slow) > 1) {
		hang_ns *= atoi(slow);
		round_ns *= atoi(slow);
	}

	while ((c = getopt(argc, argv, "fs:n:t:r:")) != -1) {
		switch (c) {
		case 'f': inject = true; break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': operations = strtoul(optarg, NULL, 0); break;
		case 't': fuzz.threads = strtoul(optarg, NULL, 0); break;
		case 'r': first_round = strtoul(optarg, NULL, 0); one_round = true; break;
		default: exit(2);
		}
	}
	if (!fuzz.threads || fuzz.threads >= MAX_THREADS || !operations) {
		fprintf(stderr, "fuzz: 1 to %d threads, at least one operation\n", MAX_THREADS - 1);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	unsigned int round = 0;
	bool fine, all;

	options(argc, argv);
	printf("TAP version 13\n");
	if (box_why_skip()) {
		printf("1..0 # SKIP %s\n", box_why_skip());
		return 4;
	}
	if (inject && access("/proc/self/fail-nth", W_OK)) {
		printf("1..0 # SKIP the kernel lacks CONFIG_FAILSLAB: run it on a debug kernel\n");
		return 4;
	}
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return 1;
	printf("# seed %llu, rounds of up to %d operations, %u threads\n", (unsigned long long)seed,
	       ROUND_OPS, fuzz.threads);
	do {
		fine = run_round(first_round + round);
		if (++round % 10 == 0)
			printf("# %u operations so far\n", board->done);
	} while (fine && !one_round && board->done < operations);
	printf("# %u operations, %u allocations failed\n", board->done, board->injected);
	printf("%sok 1 fuzz.nothing_hangs_or_is_left\n", fine ? "" : "not ");
	/* A fuzzer that is refused everything tests nothing. */
	all = fuzz_report_commands() && (!inject || board->injected);
	printf("%sok 2 fuzz.every_command_succeeds_at_times\n", all ? "" : "not ");
	printf("1..2\n");
	return !(fine && all);
}
