// SPDX-License-Identifier: MIT
/*
 * hazard_mm_test.c - what the kernel does with the memory of a thread that has another's
 *
 * In direct mode a thread of the sentry has the program's mm. Core dumps, memory barriers,
 * the charging of memory and the OOM killer go by the mm that they find; hazard_test has
 * what the CPU and the kernel keep for a thread.
 *
 * timeout: 300
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup_util.h"
#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define ROUNDS 20

BOX_DIRECT_FIXTURE(hazard_mm)

#define LOAD(b, ctx, name) box_load(b, ctx, name, name##_end - name)

struct runner {
	struct box *b;
	struct box_context *ctx;
	int event;
};

static void *run_until_killed(void *data)
{
	struct runner *r = data;

	box_fit_for_direct();
	r->event = box_run(r->b, r->ctx);
	return NULL;
}

/* Runs the program on another thread; returns when it has begun. */
static pthread_t start_runner(struct runner *r)
{
	pthread_t thread;

	LOAD(r->b, r->ctx, box_count);
	if (pthread_create(&thread, NULL, run_until_killed, r) || !box_counts(r->b))
		_exit(101);
	return thread;
}

/*
 * Of our box: it has all of them once its other context's thread has come. The stub of a
 * test before may still be ending.
 */
static int references(struct box *b)
{
	int refs, now, i;

	BOX_LOAD(b, box_syscall);
	if (box_run(b, &b->ctx) != SANDTRAP_EVENT_SYSCALL)
		return -1;
	refs = box_module_refs();
	for (i = 0; i < 300; i++) {
		usleep(1000);
		now = box_module_refs();
		refs = now < refs ? now : refs;
	}
	return refs;
}

/* Nothing of other sentries is left, their memory included: that holds its mappings. */
static bool references_become(int refs)
{
	int i;

	for (i = 0; i < 5000 && box_module_refs() != refs; i++)
		usleep(1000);
	return box_module_refs() == refs;
}

/* Has a secret, and ends by a signal to itself, or to the thread that runs the program. */
static void dumping_sentry(struct box *b, struct box_context *ctx, uint64_t secret,
			   bool runner_dumps)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct runner r = { b, ctx, 0 };
	volatile uint64_t *p = malloc(sizeof(*p));
	pthread_t thread;

	*p = secret;
	if (setrlimit(RLIMIT_CORE, &all))
		_exit(102);
	thread = start_runner(&r);
	if (!runner_dumps)
		abort();
	pthread_kill(thread, SIGABRT);
	for (;;)
		pause();
}

/* True: there is a core file, and the secret is in it; or the kernel puts them elsewhere. */
static bool core_has(uint64_t secret)
{
	char pattern[128] = "";
	bool found = false;
	struct stat st;
	void *core;
	FILE *f;
	int fd;

	f = fopen("/proc/sys/kernel/core_pattern", "r");
	if (f && fgets(pattern, sizeof(pattern), f) && strcmp(pattern, "core\n"))
		found = true;
	if (f)
		fclose(f);
	fd = open("core", O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		return found;
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (core != MAP_FAILED) {
		found = memmem(core, st.st_size, &secret, sizeof(secret));
		munmap(core, st.st_size);
	}
	close(fd);
	unlink("core");
	return found;
}

/*
 * Every thread is killed, and waited for, before the memory is written. It is that of
 * the sentry, whichever thread writes it: a stub's would not be written at all.
 */
TEST_F(hazard_mm, the_process_dumps_core)
{
	char dir[] = "/tmp/sandtrap-core-XXXXXX";
	int refs = references(&self->b);
	uint64_t secret;
	int i, status;
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, chdir(dir));
	for (i = 0; i < 8; i++) {
		secret = box_now_ns() * 0x9e3779b97f4a7c15;
		pid = box_fork(&self->b, &self->ctx);
		if (!pid)
			dumping_sentry(&self->b, &self->ctx, secret, i % 2);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGABRT, WTERMSIG(status));
		EXPECT_TRUE(WCOREDUMP(status));
		EXPECT_TRUE(core_has(secret));
	}
	EXPECT_TRUE(references_become(refs));
	EXPECT_EQ(0, chdir("/"));
	EXPECT_EQ(0, rmdir(dir));
}

/* ---- memory barriers ---- */

/* Counts until it is told to end, by the next word. */
BOX_PROGRAM(prog_count_turn,
	"1: incl 0x20000000\n cmpl $0, 0x20000004\n je 1b\n syscall\n jmp 1b");

enum turn { TURN_PROGRAM, TURN_ENDS, TURN_SENTRY };

#define BARRIERS 10

static volatile uint32_t *turn_of(struct box *b)
{
	return (uint32_t *)(b->file + BOX_DATA_PAGE * BOX_PAGE) + 1;
}

/* Makes no call between the program's turns: its CPU learns from the module alone. */
static void sentry_by_turns(struct box *b, struct box_context *ctx)
{
	volatile uint32_t *turn = turn_of(b);

	LOAD(b, ctx, prog_count_turn);
	if (box_stay_on(0, 0))
		_exit(101);
	while (box_run(b, ctx) == SANDTRAP_EVENT_SYSCALL) {
		*turn = TURN_SENTRY;
		while (*turn == TURN_SENTRY)
			;
	}
	_exit(102);
}

static bool turn_becomes(struct box *b, enum turn turn)
{
	int i;

	for (i = 0; i < 5000 && *turn_of(b) != turn; i++)
		usleep(1000);
	return *turn_of(b) == turn;
}

/* Interrupts by which the first CPU was told to call a function; -1: unknown. */
static long calls_of_functions(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[512];
	long n = -1;

	while (f && fgets(line, sizeof(line), f) && sscanf(line, " CAL: %ld", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

/* How many of our barriers reach the first CPU: each that does is an interrupt there. */
static long barriers_that_arrive(void)
{
	long before = calls_of_functions();
	int i;

	for (i = 0; i < BARRIERS; i++) {
		if (syscall(SYS_membarrier, 2 /* GLOBAL_EXPEDITED */, 0, 0))
			return -errno;
	}
	return before < 0 ? before : calls_of_functions() - before;
}

/*
 * Stubs are registered for barriers, this sentry is not, and the kernel goes by what the
 * CPU was told last. It is told by each switch to a process with another mm, too: both
 * spin, so that there is none. What happens in between all the same, on a busy machine
 * or for the kernel's own sake, makes a round come out wrong, but not half of them.
 */
TEST_F(hazard_mm, barriers_of_others_reach_the_program_and_not_the_sentry)
{
	int missed = 0, needless = 0, i;
	cpu_set_t cpus;
	pid_t pid;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(cpus), &cpus));
	if (!CPU_ISSET(0, &cpus) || !CPU_ISSET(1, &cpus))
		SKIP(return, "this machine has no second CPU");
	ASSERT_EQ(0, box_stay_on(0, 1));
	pid = box_fork(&self->b, &self->ctx);
	if (!pid)
		sentry_by_turns(&self->b, &self->ctx);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(box_counts(&self->b));
		missed += barriers_that_arrive() < BARRIERS / 2;
		*turn_of(&self->b) = TURN_ENDS;
		ASSERT_TRUE(turn_becomes(&self->b, TURN_SENTRY));
		needless += barriers_that_arrive() >= BARRIERS / 2;
		*turn_of(&self->b) = TURN_PROGRAM;
	}
	EXPECT_GT(ROUNDS / 2, missed);
	EXPECT_GT(ROUNDS / 2, needless);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
}

/* ---- probes ---- */

#define TRACING "/sys/kernel/tracing"
#define INSN_INT3 0xcc
#define INSN_NOP 0x90

/* Tells its own first byte, which it has executed. */
BOX_PROGRAM(prog_first_byte, "1: nop\n movzbl 0x10000000, %edi\n syscall\n jmp 1b");

/* A probe on the first byte of our memory file, wherever it is mapped. */
static int set_probe(struct box *b)
{
	char line[128];
	int err;

	snprintf(line, sizeof(line), "p:sandtrap/probe /proc/%d/fd/%d:0x0", getpid(), b->mem);
	err = box_write(TRACING, "uprobe_events", line);
	return err ? err : box_write(TRACING, "events/sandtrap/probe/enable", "1");
}

static void remove_probe(void)
{
	box_write(TRACING, "events/sandtrap/probe/enable", "0");
	box_write(TRACING, "uprobe_events", "-:sandtrap/probe");
}

/*
 * One that met a breakpoint would leave the probe's state in the sentry's thread. The
 * kernel sets none in shared mappings, whether they were there before or not.
 */
TEST_F(hazard_mm, probes_are_not_set_in_programs)
{
	const volatile unsigned char *private;
	bool mounted;
	int err, i;

	private = mmap(NULL, BOX_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, self->b.mem, 0);
	ASSERT_NE(MAP_FAILED, private);
	LOAD(&self->b, &self->ctx, prog_first_byte);
	ASSERT_EQ(INSN_NOP, *private);
	/* Where it is mounted already, it stays. */
	mounted = !mount("sandtrap", TRACING, "tracefs", 0, NULL);
	err = set_probe(&self->b);
	if (err && mounted)
		umount(TRACING);
	if (err == -ENOENT)
		SKIP(return, "this kernel lacks CONFIG_UPROBE_EVENTS");
	ASSERT_EQ(0, err);
	EXPECT_EQ(INSN_INT3, *private);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		EXPECT_EQ(INSN_NOP, self->ctx.page->regs.rdi);
		EXPECT_EQ(0, box_unmap(self->b.as, BOX_CODE, BOX_PAGE));
		EXPECT_EQ(0, box_map(&self->b, self->b.as, BOX_CODE, 0, 1, PROT_READ | PROT_EXEC));
	}
	remove_probe();
	if (mounted)
		umount(TRACING);
}

/* ---- out of memory ---- */

BOX_PROGRAM(prog_touch, "1: movq %rbx, (%rbx)\n addq $4096, %rbx\n jmp 1b");

#define LIMIT "24M"
#define TOO_MUCH (64ul << 20)

static void touch(volatile unsigned char *p, size_t size)
{
	for (; size; size -= BOX_PAGE, p += BOX_PAGE)
		*p = 1;
}

/* A sentry in the group that runs out of memory: its own, or the program's. */
static void hungry_sentry(struct box *b, struct cgroup *cg, bool program)
{
	struct box_context ctx;
	struct runner r = { b, &ctx, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (box_write(cg->dir, "cgroup.procs", "0") ||
	    box_open_on(b, b->mem, b->file) || box_new_direct(b, &ctx))
		_exit(101);
	if (!program) {
		start_runner(&r);
		touch(malloc(TOO_MUCH), TOO_MUCH);
		_exit(102);
	}
	b->mem = memfd_create("much", MFD_CLOEXEC);
	if (ftruncate(b->mem, TOO_MUCH) ||
	    box_map(b, b->as, BOX_FREE, 0, TOO_MUCH / BOX_PAGE, PROT_READ | PROT_WRITE))
		_exit(103);
	LOAD(b, &ctx, prog_touch);
	ctx.page->regs.rbx = BOX_FREE;
	_exit(box_run(b, &ctx) == SANDTRAP_EVENT_DEAD ? 0 : 104);
}

/* It tells of a kill with a backtrace, which is no trouble here; of trouble it tells so. */
static bool kernel_is_well(const char *since)
{
	int size = klogctl(10 /* SIZE_BUFFER */, NULL, 0);
	char *log = calloc(1, size + 1), *p;
	bool well = false;

	if (klogctl(3 /* READ_ALL */, log, size) > 0) {
		p = strstr(log, since);
		well = p && !strstr(p, "WARNING:") && !strstr(p, "BUG:");
	}
	free(log);
	return well;
}

static void mark_log(const char *mark)
{
	FILE *f = fopen("/dev/kmsg", "w");

	if (f) {
		fprintf(f, "%s\n", mark);
		fclose(f);
	}
}

static void test_hunger(struct __test_metadata *_metadata, FIXTURE_DATA(hazard_mm) *self,
			bool program)
{
	int refs = references(&self->b);
	struct cgroup cg;
	int i, status;
	char mark[64];
	pid_t pid;

	snprintf(mark, sizeof(mark), "hazard_mm_test: %d runs out of memory", getpid());
	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	ASSERT_EQ(0, box_write(cg.dir, "memory.max", LIMIT));
	box_write(cg.dir, "memory.swap.max", "0");
	mark_log(mark);
	ASSERT_EQ(0, klogctl(8 /* CONSOLE_LEVEL */, NULL, 4));
	for (i = 0; i < 4; i++) {
		pid = fork();
		if (!pid)
			hungry_sentry(&self->b, &cg, program);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		/* If it is the stub that was chosen, the sentry is told. */
		EXPECT_TRUE(status == SIGKILL || (program && status == 0));
	}
	EXPECT_LT(0, cgroup_read(&cg, "memory.events", "oom_kill "));
	EXPECT_TRUE(kernel_is_well(mark));
	klogctl(8 /* CONSOLE_LEVEL */, NULL, 7);
	EXPECT_TRUE(cgroup_becomes(&cg, "populated ", 0));
	EXPECT_TRUE(references_become(refs));
	cgroup_remove(&cg);
}

#define SHARE (32l << 20)

/* A first thread that has ended before the others is a zombie until they end. */
static bool has_ended(pid_t pid)
{
	char path[32], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state == 'Z';
}

static void *allocator(void *data)
{
	struct cgroup *cg = data;
	long before;

	while (!has_ended(getpid()))
		usleep(1000);
	before = cgroup_read(cg, "memory.current", "");
	touch(mmap(NULL, SHARE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	      SHARE);
	_exit(cgroup_read(cg, "memory.current", "") - before < SHARE * 3 / 4);
}

/*
 * The kernel charges memory to the group of an mm's owner. When that ends it looks for
 * another among the threads, up to one that has a different mm: there it gives up.
 */
TEST_F(hazard_mm, a_sentry_is_charged_for_its_memory_when_its_first_thread_has_ended)
{
	struct cgroup cg;
	int status;
	pid_t pid;

	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	pid = fork();
	if (!pid) {
		struct box_context ctx;
		struct runner r = { &self->b, &ctx, 0 };
		pthread_t thread;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (box_write(cg.dir, "cgroup.procs", "0") ||
		    box_open_on(&self->b, self->b.mem, self->b.file) ||
		    box_new_direct(&self->b, &ctx))
			_exit(101);
		LOAD(&self->b, &ctx, box_count);
		start_runner(&r);
		if (!box_counts(&self->b) || pthread_create(&thread, NULL, allocator, &cg))
			_exit(102);
		/* This thread alone. */
		syscall(SYS_exit, 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(cgroup_becomes(&cg, "populated ", 0));
	cgroup_remove(&cg);
}

/* A batch of one operation, on a thread that is not the first. */
static void *populate(void *data)
{
	struct runner *r = data;
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP,
		.flags = SANDTRAP_MEM_POPULATE,
		.prot = PROT_READ | PROT_WRITE,
		.fd = r->b->mem,
		.addr = BOX_FREE,
		.len = SHARE,
	};
	struct sandtrap_run run = {
		.size = sizeof(run),
		.id = r->ctx->id,
		.seq = r->ctx->page->event_seq,
		.ops = (uintptr_t)&op,
		.nr_ops = 1,
	};

	box_fit_for_direct();
	ioctl(r->b->fd, SANDTRAP_RUN, &run);
	return NULL;
}

/* 0: all of an operation in which the stub dies is charged to the group. */
static int lose_stub_while_populating(struct box *b, struct cgroup *cg)
{
	struct box_context ctx;
	struct runner r = { b, &ctx, 0 };
	pthread_t thread;
	long before;
	pid_t stub;

	if (box_write(cg->dir, "cgroup.procs", "0") || box_open_on(b, b->mem, b->file) ||
	    box_new_direct(b, &ctx))
		return 1;
	b->mem = memfd_create("much", MFD_CLOEXEC);
	if (ftruncate(b->mem, SHARE))
		return 5;
	if (box_stubs(b, &stub, 1) != 1)
		return 2;
	before = cgroup_read(cg, "memory.current", "");
	if (pthread_create(&thread, NULL, populate, &r))
		return 3;
	while (cgroup_read(cg, "memory.current", "") < before + SHARE / 8)
		;
	kill(stub, SIGKILL);
	pthread_join(thread, NULL);
	return cgroup_read(cg, "memory.current", "") - before < SHARE * 3 / 4 ? 4 : 0;
}

/* The mm that it works in has lost its process, and this thread is not found as the next owner. */
TEST_F(hazard_mm, a_caller_is_charged_for_its_batch_when_the_stub_has_died)
{
	struct cgroup cg;
	int status;
	pid_t pid;

	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(lose_stub_while_populating(&self->b, &cg));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(cgroup_becomes(&cg, "populated ", 0));
	cgroup_remove(&cg);
}

/* Nobody is left who is charged for it, or whom the OOM killer could kill. */
static bool is_freed_by_death(struct box *b, struct box_context *ctx, bool running)
{
	struct runner r = { b, ctx, SANDTRAP_EVENT_DEAD };
	struct box other = *b;
	pthread_t thread;
	bool freed;
	pid_t stub;
	int i;

	other.mem = memfd_create("shown", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	LOAD(b, ctx, box_syscall);
	if (ftruncate(other.mem, BOX_PAGE) || box_run(b, ctx) != SANDTRAP_EVENT_SYSCALL ||
	    box_map(&other, b->as, BOX_FREE, 0, 1, PROT_READ | PROT_WRITE) ||
	    !fcntl(other.mem, F_ADD_SEALS, F_SEAL_WRITE) || box_stubs(b, &stub, 1) != 1)
		return false;
	if (running)
		thread = start_runner(&r);
	kill(stub, SIGKILL);
	if (running)
		pthread_join(thread, NULL);
	/* While it can be written anywhere, it cannot be sealed. */
	for (i = 0; i < 5000 && fcntl(other.mem, F_ADD_SEALS, F_SEAL_WRITE); i++)
		usleep(1000);
	freed = !fcntl(other.mem, F_ADD_SEALS, F_SEAL_WRITE);
	close(other.mem);
	return freed && r.event == SANDTRAP_EVENT_DEAD;
}

TEST_F(hazard_mm, memory_of_a_dead_stub_is_freed_though_a_context_had_it)
{
	EXPECT_TRUE(is_freed_by_death(&self->b, &self->ctx, false));
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, box_run(&self->b, &self->ctx));
	EXPECT_EQ(-ESRCH, box_run(&self->b, &self->ctx));
}

TEST_F(hazard_mm, memory_of_a_dead_stub_is_freed_though_a_program_ran)
{
	EXPECT_TRUE(is_freed_by_death(&self->b, &self->ctx, true));
}

/* The kernel takes a key of the stub for it, and denies it to the thread that asked. */
TEST_F(hazard_mm, a_batch_for_code_that_cannot_be_read_leaves_the_callers_keys)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP, .prot = PROT_EXEC, .fd = self->b.mem,
		.addr = BOX_FREE, .len = BOX_PAGE,
	};
	struct sandtrap_run run = {
		.size = sizeof(run), .id = self->ctx.id, .ops = (uintptr_t)&op, .nr_ops = 1,
	};

	if (!box_has_pku())
		SKIP(return, "this CPU lacks protection keys");
	LOAD(&self->b, &self->ctx, box_syscall);
	/* By default only the key of all other memory is allowed. */
	box_write_pkru(0);
	run.seq = self->ctx.page->event_seq;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, self->ctx.page->event);
	EXPECT_EQ(0, box_read_pkru());
}

TEST_F(hazard_mm, the_sentry_runs_out_of_memory)
{
	test_hunger(_metadata, self, false);
}

TEST_F(hazard_mm, the_program_runs_out_of_memory)
{
	test_hunger(_metadata, self, true);
}

TEST_HARNESS_MAIN
