// SPDX-License-Identifier: MIT
/*
 * direct_test.c - contexts that run on the thread that calls SANDTRAP_RUN
 *
 * What the list of hazards in kmod/direct.c promises. That programs see the right
 * registers, faults and memory is for platform_test, which runs in this mode as well
 * (SANDTRAP_MODE=direct).
 *
 * timeout: 400
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup_util.h"
#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define ROUNDS 20

BOX_DIRECT_FIXTURE(direct)

#define LOAD(b, ctx, name) box_load(b, ctx, name, name##_end - name)

/* ---- the call ---- */

TEST_F(direct, a_syscall_is_an_event)
{
	struct sandtrap_regs *r = &self->ctx.page->regs;
	int i;

	LOAD(&self->b, &self->ctx, box_syscall);
	r->rax = 39;
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		ASSERT_EQ(39 + i, r->orig_rax);
		ASSERT_EQ(BOX_CODE + 2, r->rip);
		r->rax = 40 + i;
	}
}

TEST_F(direct, what_makes_no_sense_is_refused)
{
	struct box_context *ctx = &self->ctx, other;

	EXPECT_EQ(-EINVAL, box_new_context(&self->b, -1, SANDTRAP_CONTEXT_ALL, &other));
	EXPECT_EQ(-EINVAL, box_command(&self->b, SANDTRAP_RESUME, ctx->id, 0, 1));
	EXPECT_EQ(-EINVAL, box_wait(&self->b, ctx, ctx->page->event_seq, 1));
	EXPECT_EQ(0, box_wait(&self->b, ctx, ctx->page->event_seq - 1, 1));
}

/* ---- callers that do not fit ---- */

TEST_F(direct, not_with_restartable_sequences)
{
	static struct rseq area __attribute__((aligned(32)));

	LOAD(&self->b, &self->ctx, box_syscall);
	ASSERT_EQ(0, syscall(SYS_rseq, &area, sizeof(area), 0, 0x53053053));
	EXPECT_EQ(-EPERM, box_try_run(&self->b, &self->ctx));
	ASSERT_EQ(0, syscall(SYS_rseq, &area, sizeof(area), RSEQ_FLAG_UNREGISTER, 0x53053053));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_try_run(&self->b, &self->ctx));
	/* A thread that ran a program can have them again, with a sound CPU number. */
	ASSERT_EQ(0, syscall(SYS_rseq, &area, sizeof(area), 0, 0x53053053));
	EXPECT_GE(sysconf(_SC_NPROCESSORS_CONF), area.cpu_id);
	syscall(SYS_rseq, &area, sizeof(area), RSEQ_FLAG_UNREGISTER, 0x53053053);
}

TEST_F(direct, not_with_io_ports)
{
	if (iopl(3))
		SKIP(return, "this kernel lacks iopl() for us: run as root");
	LOAD(&self->b, &self->ctx, box_syscall);
	EXPECT_EQ(-EPERM, box_try_run(&self->b, &self->ctx));
	ASSERT_EQ(0, iopl(0));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_try_run(&self->b, &self->ctx));
}

TEST_F(direct, not_with_syscall_user_dispatch)
{
	static char selector;

	LOAD(&self->b, &self->ctx, box_syscall);
	ASSERT_EQ(0, prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector));
	EXPECT_EQ(-EPERM, box_try_run(&self->b, &self->ctx));
	ASSERT_EQ(0, prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_try_run(&self->b, &self->ctx));
}

static int run_in_child(void *data)
{
	FIXTURE_DATA(direct) *self = data;

	_exit(box_try_run(&self->b, &self->ctx) == -EPERM ? 0 : 1);
}

TEST_F(direct, not_in_a_process_that_shares_our_memory)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t pid;

	LOAD(&self->b, &self->ctx, box_syscall);
	pid = clone(run_in_child, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD,
		    self);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- signals, stop, trace, kill: at any moment ---- */

static void ignore(int sig)
{
}

TEST_F(direct, signals_with_a_handler_end_the_call)
{
	struct sigaction action = { .sa_handler = ignore };
	struct sandtrap_regs *r = &self->ctx.page->regs;
	uint64_t i, start = box_now_ns();

	sigaction(SIGALRM, &action, NULL);
	LOAD(&self->b, &self->ctx, box_syscall);
	for (i = 0; i < 3000; i++) {
		r->rax = i;
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		ASSERT_EQ(i, r->orig_rax);
		if (i == 20)
			box_begin_alarms(box_now_ns() - start);
	}
	box_end_alarms();
}

TEST_F(direct, an_endless_program_returns_for_a_signal)
{
	struct itimerval once = { { 0, 0 }, { 0, 30000 } };
	struct sigaction action = { .sa_handler = ignore };
	uint32_t seq = self->ctx.page->event_seq;
	int i;

	sigaction(SIGALRM, &action, NULL);
	LOAD(&self->b, &self->ctx, box_count);
	/* On a busy machine the signal may come before the program. */
	for (i = 0; i < 20 && !box_counter(&self->b); i++) {
		setitimer(ITIMER_REAL, &once, NULL);
		ASSERT_EQ(-EINTR, box_try_run(&self->b, &self->ctx));
	}
	EXPECT_LT(0, box_counter(&self->b));
	EXPECT_EQ(seq, self->ctx.page->event_seq);
	EXPECT_LE(BOX_CODE, self->ctx.page->regs.rip);
	/* An interrupt gets through when it goes on. */
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->ctx.id, 0, 0));
	EXPECT_EQ(SANDTRAP_EVENT_INTERRUPT, box_run(&self->b, &self->ctx));
}

/*
 * A turn that a signal ended without an event is taken up again with nothing loaded. But
 * the next event may come before the program does, and what is resumed then is that.
 */
TEST_F(direct, flags_count_after_an_event_without_a_turn)
{
	struct itimerval often = { { 0, 30000 }, { 0, 30000 } };
	struct sigaction action = { .sa_handler = ignore };
	int i;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	LOAD(&self->b, &self->ctx, box_count);
	for (i = 0; i < 20 && !box_counter(&self->b); i++)
		ASSERT_EQ(-EINTR, box_try_run(&self->b, &self->ctx));
	ASSERT_LT(0, box_counter(&self->b));
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->ctx.id, 0, 0));
	EXPECT_EQ(SANDTRAP_EVENT_INTERRUPT, box_run(&self->b, &self->ctx));
	self->ctx.page->resume_flags = 1u << 31;
	EXPECT_EQ(SANDTRAP_EVENT_ERROR, box_try_run(&self->b, &self->ctx));
	EXPECT_EQ(EOPNOTSUPP, self->ctx.page->error);
}

/* A sentry in a process of its own, which runs a program that counts. */
static pid_t fork_sentry(struct box *b, struct box_context *ctx)
{
	pid_t pid = box_fork(b, ctx);

	if (pid)
		return pid;
	LOAD(b, ctx, box_count);
	_exit(box_run(b, ctx));
}

TEST_F(direct, kill_at_any_moment)
{
	pid_t pid;
	int i, status;

	for (i = 0; i < ROUNDS; i++) {
		pid = fork_sentry(&self->b, &self->ctx);
		ASSERT_LT(0, pid);
		if (i & 1)
			ASSERT_TRUE(box_counts(&self->b));
		usleep(rand() % 3000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(SIGKILL, status);
	}
}

TEST_F(direct, stop_and_continue)
{
	uint32_t before;
	int i, status;
	pid_t pid;

	pid = fork_sentry(&self->b, &self->ctx);
	ASSERT_TRUE(box_counts(&self->b));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, kill(pid, SIGSTOP));
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		ASSERT_TRUE(WIFSTOPPED(status));
		before = box_counter(&self->b);
		usleep(500);
		EXPECT_EQ(before, box_counter(&self->b));
		ASSERT_EQ(0, kill(pid, SIGCONT));
		ASSERT_TRUE(box_counts(&self->b));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* The tracer finds the sentry, in its own memory, with its own registers. */
TEST_F(direct, a_tracer_sees_the_sentry)
{
	unsigned long secret = (unsigned long)&ignore;
	struct user_regs_struct regs;
	int i, status;
	long word;
	pid_t pid;

	pid = fork_sentry(&self->b, &self->ctx);
	ASSERT_TRUE(box_counts(&self->b));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, ptrace(PTRACE_ATTACH, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		EXPECT_GT(regs.rip, BOX_FREE);
		EXPECT_EQ(SYS_ioctl, regs.orig_rax);
		errno = 0;
		word = ptrace(PTRACE_PEEKTEXT, pid, secret, 0);
		EXPECT_EQ(0, errno);
		EXPECT_EQ(*(long *)secret, word);
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, 0, 0));
		ASSERT_TRUE(box_counts(&self->b));
	}
	/* One that looks at system calls sees the call, entered and begun again. */
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, pid, 0, i == 3 ? SIGKILL : 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		EXPECT_GT(regs.rip, BOX_FREE);
		if (i == 1)
			ASSERT_EQ(0, kill(pid, SIGWINCH));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

TEST_F(direct, a_cgroup_can_be_frozen)
{
	struct cgroup cg;
	uint32_t before;
	int i, status;
	char text[16];
	pid_t pid;

	if (geteuid() || cgroup_make(&cg, NULL))
		SKIP(return, "this machine lacks cgroup2 for us: run as root");
	pid = fork_sentry(&self->b, &self->ctx);
	snprintf(text, sizeof(text), "%d", pid);
	ASSERT_EQ(0, box_write(cg.dir, "cgroup.procs", text));
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(box_counts(&self->b));
		ASSERT_EQ(0, box_write(cg.dir, "cgroup.freeze", "1"));
		ASSERT_TRUE(cgroup_becomes(&cg, "frozen ", 1));
		before = box_counter(&self->b);
		usleep(2000);
		EXPECT_EQ(before, box_counter(&self->b));
		ASSERT_EQ(0, box_write(cg.dir, "cgroup.freeze", "0"));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	cgroup_remove(&cg);
}

struct runner {
	struct box *b;
	struct box_context *ctx;
	int result;
};

/* One call, without a look at the pages. */
static void *single_runner(void *data)
{
	struct runner *r = data;
	struct sandtrap_run arg = {
		.size = sizeof(arg), .id = r->ctx->id, .seq = 1,
	};

	box_fit_for_direct();
	r->result = ioctl(r->b->fd, SANDTRAP_RUN, &arg) ? -errno : 0;
	return NULL;
}

static void *runner(void *data)
{
	struct runner *r = data;

	box_fit_for_direct();
	r->result = box_run(r->b, r->ctx);
	return NULL;
}

/* The sentry's other thread ends the process in one way or another. */
static void end_in(int how, struct box *b, struct box_context *ctx)
{
	char *const argv[] = { "true", NULL };
	struct runner r = { b, ctx, 0 };
	pthread_t thread;

	LOAD(b, ctx, box_count);
	if (pthread_create(&thread, NULL, single_runner, &r) || !box_counts(b))
		_exit(100);
	switch (how) {
	case 0:
		_exit(0);
	case 1:
		execv("/bin/true", argv);
		break;
	case 2:
		/* The last of the instance: the program has to stop. */
		munmap(ctx->page, b->info.out_context_size);
		munmap(b->ctx.page, b->info.out_context_size);
		close(b->fd);
		pthread_join(thread, NULL);
		_exit(r.result ? 101 : 0);
	case 3:
		/* The main thread alone: the program's is left, until it is killed. */
		usleep(1000);
		syscall(SYS_exit, 0);
	}
	_exit(102);
}

/* Returns the status of a process that ends so, or 1 << 16 if it does not. */
static int status_of_end(FIXTURE_DATA(direct) *self, int how)
{
	int i, status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (box_open(&self->b) || box_new_direct(&self->b, &self->ctx))
			_exit(100);
		end_in(how, &self->b, &self->ctx);
	}
	for (i = 0; i < 500; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		if (how == 3 && i == 20)
			kill(pid, SIGKILL);
		usleep(10000);
	}
	kill(pid, SIGKILL);
	return 1 << 16;
}

#define TEST_END(name, how, expected) \
	TEST_F(direct, name) \
	{ \
		int i; \
		for (i = 0; i < 8; i++) \
			ASSERT_EQ(expected, status_of_end(self, how)); \
	}

TEST_END(another_thread_ends_the_process, 0, 0)
TEST_END(another_thread_executes_a_program, 1, 0)
TEST_END(another_thread_closes_the_instance, 2, 0)
TEST_END(the_main_thread_ends_alone, 3, SIGKILL)

/* What the sentry has in the pages was never the program's: it is for the next stub. */
TEST_F(direct, the_death_of_a_stub_leaves_state_that_was_never_loaded)
{
	const uint32_t save = SANDTRAP_RESUME_SAVE_SEGMENTS | SANDTRAP_RESUME_SAVE_FPU;
	struct sandtrap_context_page *page = self->ctx.page;
	unsigned char *fpu = (unsigned char *)page + SANDTRAP_FPU_OFFSET;
	pid_t stub;

	LOAD(&self->b, &self->ctx, box_syscall);
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run_flags(&self->b, &self->ctx, save));
	EXPECT_EQ(SANDTRAP_EVENT_F_SEGMENTS | SANDTRAP_EVENT_F_FPU, page->event_flags);
	page->regs.fs_base = BOX_DATA;
	fpu[32] ^= 0x5a;
	ASSERT_EQ(1, box_stubs(&self->b, &stub, 1));
	ASSERT_EQ(0, kill(stub, SIGKILL));
	ASSERT_EQ(SANDTRAP_EVENT_DEAD,
		  box_run_flags(&self->b, &self->ctx, SANDTRAP_RESUME_LOAD_SEGMENTS |
							      SANDTRAP_RESUME_LOAD_FPU));
	EXPECT_EQ(0, page->event_flags);
	EXPECT_EQ(BOX_DATA, page->regs.fs_base);
	EXPECT_EQ(0x5a, fpu[32]);
}

TEST_F(direct, a_killed_stub_is_an_event)
{
	struct runner r = { &self->b, &self->ctx, 0 };
	pthread_t thread;
	pid_t stub;

	LOAD(&self->b, &self->ctx, box_count);
	ASSERT_EQ(0, pthread_create(&thread, NULL, runner, &r));
	ASSERT_TRUE(box_counts(&self->b));
	ASSERT_EQ(1, box_stubs(&self->b, &stub, 1));
	ASSERT_EQ(0, kill(stub, SIGKILL));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, r.result);
	EXPECT_EQ(-ESRCH, box_run(&self->b, &self->ctx));
}

/* What a context holds of a dead stub's memory, nobody is charged for. */
TEST_F(direct, memory_of_a_dead_stub_is_out_of_reach)
{
	struct sandtrap_copy zero = {
		.size = sizeof(zero), .op = SANDTRAP_COPY_ZERO, .addr = BOX_DATA,
		.len = BOX_PAGE,
	};
	struct sandtrap_atomic load = {
		.size = sizeof(load), .op = SANDTRAP_ATOMIC_LOAD, .addr = BOX_DATA,
	};
	pid_t stub;

	LOAD(&self->b, &self->ctx, box_syscall);
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
	EXPECT_EQ(0, ioctl(self->b.as, SANDTRAP_COPY, &zero));
	EXPECT_EQ(0, ioctl(self->b.as, SANDTRAP_ATOMIC, &load));
	ASSERT_EQ(1, box_stubs(&self->b, &stub, 1));
	ASSERT_EQ(0, kill(stub, SIGKILL));
	ASSERT_TRUE(box_gone(stub, 10000));
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_COPY, &zero));
	EXPECT_EQ(ESRCH, errno);
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_ATOMIC, &load));
	EXPECT_EQ(ESRCH, errno);
}

/* A runner is in the way of nobody who looks at the sentry's memory. */
TEST_F(direct, memory_can_be_looked_at_meanwhile)
{
	static const char *const names[] = { "maps", "smaps", "status", "stat", "cmdline" };
	char path[64], buf[4096];
	int fd, i, status;
	pid_t pid;

	pid = fork_sentry(&self->b, &self->ctx);
	ASSERT_TRUE(box_counts(&self->b));
	for (i = 0; i < 500; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i % 5]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	ASSERT_TRUE(box_counts(&self->b));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* ---- state of the CPU ---- */

/* Loads every selector that a program can and changes the rest, then calls. */
BOX_PROGRAM(prog_dirty,
	"1: mov $0x2b, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %fs\n mov %eax, %gs\n"
	"pcmpeqd %xmm0, %xmm0\n fld1\n std\n syscall\n cld\n jmp 1b");

static unsigned int selectors(void)
{
	unsigned short ds, es, fs, gs;

	asm volatile("mov %%ds, %0\n mov %%es, %1\n mov %%fs, %2\n mov %%gs, %3"
		     : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
	return ds | es | fs | gs;
}

TEST_F(direct, the_caller_keeps_its_state)
{
	unsigned long mine[2] = { 0x1234567, 0x89abcdef }, now[2];
	unsigned int before = selectors(), pkru = 0x55555550, got, mxcsr = 0x7f80;
	unsigned short fcw = 0x27f, fcw_now;
	int i;

	LOAD(&self->b, &self->ctx, prog_dirty);
	asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(fcw));
	if (box_has_pku())
		box_write_pkru(pkru);
	for (i = 0; i < 100; i++) {
		struct sandtrap_run arg = {
			.size = sizeof(arg), .id = self->ctx.id,
			.seq = self->ctx.page->event_seq,
		};
		long ret;

		asm volatile("movdqu %1, %%xmm0\n syscall\n movdqu %%xmm0, %2"
			     : "=a"(ret)
			     : "m"(mine), "m"(now), "a"(SYS_ioctl), "D"(self->b.fd),
			       "S"(SANDTRAP_RUN), "d"(&arg)
			     : "rcx", "r11", "xmm0", "memory");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, self->ctx.page->event);
		ASSERT_EQ(0, memcmp(mine, now, sizeof(mine)));
		ASSERT_EQ(before, selectors());
	}
	asm volatile("fnstcw %0\n stmxcsr %1" : "=m"(fcw_now), "=m"(got));
	EXPECT_EQ(fcw, fcw_now);
	EXPECT_EQ(mxcsr, got);
	if (box_has_pku())
		EXPECT_EQ(pkru, box_read_pkru());
}

/* lseek() is a function call: the control words are all that lasts. */
TEST_F(direct, a_call_of_lseek_keeps_the_control_words)
{
	unsigned int mxcsr = 0x7f80, mxcsr_now;
	unsigned short fcw = 0x27f, fcw_now, sw;
	int i;

	LOAD(&self->b, &self->ctx, prog_dirty);
	for (i = 0; i < 100; i++) {
		/* Now and then another task has the FPU in between. */
		if (i % 10 == 9)
			usleep(1000);
		asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(fcw));
		self->ctx.page->resume_seq = self->ctx.page->event_seq;
		ASSERT_EQ(0, lseek(self->b.fd, self->ctx.id, SEEK_SET));
		asm volatile("fnstcw %0\n stmxcsr %1\n fnstsw %2"
			     : "=m"(fcw_now), "=m"(mxcsr_now), "=m"(sw));
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, self->ctx.page->event);
		ASSERT_EQ(fcw, fcw_now);
		ASSERT_EQ(mxcsr, mxcsr_now);
		/* No exception, and an empty stack. */
		ASSERT_EQ(0, sw);
	}
}

/* An x87 exception that the caller has not taken yet is not taken by the kernel. */
TEST_F(direct, a_pending_exception_stays_pending)
{
	unsigned short fcw = 0x37f & ~0x4, sw; /* divide by zero */
	int i;

	LOAD(&self->b, &self->ctx, prog_dirty);
	for (i = 0; i < 20; i++) {
		struct sandtrap_run arg = {
			.size = sizeof(arg), .id = self->ctx.id,
			.seq = self->ctx.page->event_seq,
		};
		long ret, nr = i % 2 ? SYS_ioctl : SYS_lseek;
		long second = i % 2 ? (long)SANDTRAP_RUN : self->ctx.id;
		long third = i % 2 ? (long)&arg : SEEK_SET;

		self->ctx.page->resume_seq = arg.seq;
		/* Nothing between the division and the end may wait for the FPU. */
		asm volatile("fninit\n fldcw %2\n fld1\n fldz\n fdivrp\n"
			     "syscall\n"
			     "fnstsw %1\n fninit"
			     : "=a"(ret), "=m"(sw)
			     : "m"(fcw), "a"(nr), "D"(self->b.fd), "S"(second), "d"(third)
			     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
			       "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
			       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, self->ctx.page->event);
		/* lseek() may lose it, as function calls do. */
		ASSERT_EQ(i % 2 ? 0x84 : 0, sw & 0x84);
	}
}

/* Two programs that dirty everything, and one that computes, on one thread. */
TEST_F(direct, contexts_do_not_see_each_other)
{
	struct box_context ctx[3];
	int i, j;

	LOAD(&self->b, &self->ctx, box_syscall);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, SANDTRAP_CONTEXT_DIRECT,
					     &ctx[i]));
		LOAD(&self->b, &ctx[i], box_syscall);
		ctx[i].page->regs.fs_base = 0x1000 * (i + 1);
		ctx[i].page->regs.gs_base = 0x100000 * (i + 1);
		memset((char *)ctx[i].page + SANDTRAP_FPU_OFFSET + 160, 0x11 * (i + 1), 256);
	}
	for (j = 0; j < 50; j++) {
		for (i = 0; i < 3; i++)
			ASSERT_EQ(SANDTRAP_EVENT_SYSCALL,
				  box_run_flags(&self->b, &ctx[i],
						SANDTRAP_RESUME_SAVE_SEGMENTS |
						SANDTRAP_RESUME_SAVE_FPU));
		for (i = 0; i < 3; i++) {
			unsigned char *xmm = (unsigned char *)ctx[i].page +
				SANDTRAP_FPU_OFFSET + 160;

			ASSERT_EQ(0x1000 * (i + 1), ctx[i].page->regs.fs_base);
			ASSERT_EQ(0x100000 * (i + 1), ctx[i].page->regs.gs_base);
			ASSERT_EQ(0x11 * (i + 1), xmm[0]);
			ASSERT_EQ(0x11 * (i + 1), xmm[255]);
		}
	}
}

/* Memory barriers of the sentry's other threads while one of them is a program. */
TEST_F(direct, barriers_do_not_miss_the_runner)
{
	struct runner r = { &self->b, &self->ctx, 0 };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, syscall(SYS_membarrier, 16 /* REGISTER_PRIVATE_EXPEDITED */, 0, 0));
	LOAD(&self->b, &self->ctx, box_count);
	ASSERT_EQ(0, pthread_create(&thread, NULL, runner, &r));
	ASSERT_TRUE(box_counts(&self->b));
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, syscall(SYS_membarrier, 8 /* PRIVATE_EXPEDITED */, 0, 0));
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->ctx.id, 0, 0));
	pthread_join(thread, NULL);
	EXPECT_EQ(SANDTRAP_EVENT_INTERRUPT, r.result);
}

/* Calls of a program without an end, on whatever CPUs. */
struct caller {
	struct runner r;
	volatile bool *stop;
	unsigned int calls;
};

static void *caller(void *data)
{
	struct caller *c = data;

	box_fit_for_direct();
	do {
		c->r.result = box_run(c->r.b, c->r.ctx);
		if (++c->calls % 64 == 0)
			sched_yield();
	} while (c->r.result == SANDTRAP_EVENT_SYSCALL && !*c->stop);
	return NULL;
}

static void *ends(void *data)
{
	sched_yield();
	return data;
}

#define CALLERS 5

/*
 * The kernel gives threads ids of their own, or ids of their CPUs when there are more
 * threads than CPUs: runners have to take part in every change from one to the other.
 */
TEST_F_TIMEOUT(direct, threads_come_and_go_around_the_runners, 120)
{
	struct caller callers[CALLERS] = {};
	struct box_context ctx[CALLERS];
	volatile bool stop = false;
	pthread_t threads[CALLERS];
	int i, j;

	for (i = 0; i < CALLERS; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, SANDTRAP_CONTEXT_DIRECT,
					     &ctx[i]));
		LOAD(&self->b, &ctx[i], box_syscall);
		callers[i] = (struct caller){ { &self->b, &ctx[i], 0 }, &stop, 0 };
	}
	for (j = 0; j < ROUNDS; j++) {
		/* All numbers of callers at a time, and of other threads beside them. */
		int n = 1 + j % CALLERS, k;

		stop = false;
		for (i = 0; i < n; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, caller, &callers[i]));
		for (k = 0; k < 10; k++) {
			pthread_t others[4];

			for (i = 0; i < 4; i++)
				ASSERT_EQ(0, pthread_create(&others[i], NULL, ends, NULL));
			for (i = 0; i < 4; i++)
				pthread_join(others[i], NULL);
		}
		stop = true;
		for (i = 0; i < n; i++) {
			pthread_join(threads[i], NULL);
			ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, callers[i].r.result);
		}
	}
	for (i = 0; i < CALLERS; i++)
		EXPECT_LT(0, callers[i].calls);
}

#define RUNNERS 3

/* And nobody is left who does not run a program, until one after another returns. */
TEST_F(direct, all_threads_run_at_once)
{
	struct itimerval often = { { 0, 30000 }, { 0, 30000 } }, never = {};
	struct sigaction action = { .sa_handler = ignore };
	struct box_context ctx[RUNNERS];
	struct runner r[RUNNERS];
	pthread_t threads[RUNNERS];
	sigset_t alarms;
	int i, j;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigaction(SIGALRM, &action, NULL);
	LOAD(&self->b, &self->ctx, box_count);
	for (i = 0; i < RUNNERS; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, SANDTRAP_CONTEXT_DIRECT,
					     &ctx[i]));
		LOAD(&self->b, &ctx[i], box_count);
		r[i] = (struct runner){ &self->b, &ctx[i], 0 };
	}
	for (j = 0; j < ROUNDS; j++) {
		pthread_sigmask(SIG_BLOCK, &alarms, NULL);
		for (i = 0; i < RUNNERS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, runner, &r[i]));
		pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
		ASSERT_EQ(-EINTR, box_try_run(&self->b, &self->ctx));
		setitimer(ITIMER_REAL, &never, NULL);
		for (i = 0; i < RUNNERS; i++) {
			ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, ctx[i].id, 0, 0));
			pthread_join(threads[i], NULL);
			ASSERT_EQ(SANDTRAP_EVENT_INTERRUPT, r[i].result);
		}
	}
}

TEST_HARNESS_MAIN
