// SPDX-License-Identifier: MIT
/*
 * tracer_test.c - a tracer of a stub can stop its threads, but not take them away
 */
#include <errno.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define GET_DISPATCH 0x4211 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG */
#define SET_DISPATCH 0x4210

BOX_FIXTURE(tracer)

BOX_PROGRAM(prog_loop, "1: pause\n jmp 1b");

/* A tracer with the right to it can stop a thread, but not take it away. */
TEST_F(tracer, cannot_detach_a_thread)
{
	uint64_t config[4] = { 0 };
	pid_t stub, tid;
	int status;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	BOX_LOAD(&self->b, prog_loop);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 2));
	ASSERT_EQ(1, box_stubs(&self->b, &stub, 1));
	tid = box_running_thread(stub);
	ASSERT_LT(1, tid);
	if (ptrace(PTRACE_SEIZE, tid, 0, 0))
		SKIP(return, "may not trace (%s): run as root", strerror(errno));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, tid, 0, 0));
	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	/* EIO: a kernel before 6.4, which has no such requests. */
	EXPECT_EQ(-1, ptrace(GET_DISPATCH, tid, sizeof(config), config));
	EXPECT_TRUE(errno == EPERM || errno == EIO);
	EXPECT_EQ(0, config[1]);
	EXPECT_EQ(-1, ptrace(SET_DISPATCH, tid, sizeof(config), config));
	EXPECT_TRUE(errno == EPERM || errno == EIO);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, 0, 0));
	ASSERT_EQ(0, kill(stub, SIGKILL));
	EXPECT_DEAD(&self->b.ctx, 2);
}

/*
 * A stub of our own. It has only filters that allow everything, so its thread's one call
 * between ATTACH and the end of all calls can be any, if a tracer changes it.
 */
static int stub_fd;

static __attribute__((noreturn)) int stub_thread(void *token)
{
	if (!syscall(SYS_ioctl, stub_fd, SANDTRAP_ATTACH, token))
		syscall(SYS_seccomp, 0, 0, NULL);
	for (;;)
		syscall(SYS_getpid);
}

static void be_stub(void)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	int token;

	raise(SIGSTOP);
	box_allow_everything();
	syscall(SYS_set_tid_address, NULL);
	syscall(SYS_set_robust_list, NULL, 3 * sizeof(void *));
	box_rseq(RSEQ_FLAG_UNREGISTER);
	while ((token = ioctl(stub_fd, SANDTRAP_SERVE, 0)) > 0) {
		if (clone(stub_thread, stack + sizeof(stack),
			  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			  CLONE_SYSVSEM, (void *)(long)token) < 0)
			_exit(1);
	}
	_exit(2);
}

/* The thread's seccomp() becomes another call. */
static void change_call(struct user_regs_struct *regs, int nr)
{
	static char *argv[] = { (char *)"/bin/true", NULL };

	regs->rdi = regs->rsi = regs->rdx = regs->r10 = regs->r8 = 0;
	regs->orig_rax = nr;
	if (nr == SYS_prctl) {
		regs->rdi = PR_SET_SYSCALL_USER_DISPATCH;
	} else if (nr == SYS_execve) {
		regs->rdi = (uintptr_t)argv[0];
		regs->rsi = (uintptr_t)argv;
	}
}

/* What the tracer saw. */
struct traced {
	int nr; /* instead of seccomp() */
	bool changed;
	long result; /* of that */
	bool ended;
	int told; /* 0 or -errno: what the kernel says of the child's dispatch */
	uint64_t selector; /* of the child, or 0 */
};

/* Looks at a child that has the stub's thread for a parent, and ends it. */
static void look_at_child(struct traced *t, pid_t tid)
{
	uint64_t config[4] = { 0 };
	unsigned long child = 0;

	if (ptrace(PTRACE_GETEVENTMSG, tid, 0, &child) || !child)
		return;
	waitpid(child, NULL, __WALL);
	t->told = ptrace(GET_DISPATCH, child, sizeof(config), config) ? -errno : 0;
	t->selector = config[1];
	kill(child, SIGKILL);
	waitpid(child, NULL, __WALL);
}

static void stopped_at_call(struct traced *t, pid_t tid)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, 0, &regs))
		return;
	if (!t->changed && (long)regs.rax == -ENOSYS && regs.orig_rax == SYS_seccomp) {
		change_call(&regs, t->nr);
		t->changed = !ptrace(PTRACE_SETREGS, tid, 0, &regs);
	} else if (t->changed && !t->ended && (int)regs.orig_rax == t->nr &&
		   (long)regs.rax != -ENOSYS) {
		t->result = regs.rax;
		t->ended = true;
	}
}

/* Traces the stub to its end. */
static void trace(struct traced *t, pid_t stub)
{
	int status, event;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status)) {
			if (tid == stub)
				return;
			continue;
		}
		event = status >> 16;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && tid != stub)
			stopped_at_call(t, tid);
		else if (event == PTRACE_EVENT_FORK)
			look_at_child(t, tid);
		ptrace(tid == stub ? PTRACE_CONT : PTRACE_SYSCALL, tid, 0, 0);
	}
}

static int trace_stub(struct box *b, struct box_context *ctx, struct traced *t)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	int err, status;
	pid_t stub;

	if (ioctl(b->fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg))
		return -errno;
	stub_fd = arg.out_stub_fd;
	stub = fork();
	if (!stub) {
		close(b->fd);
		close(arg.out_fd);
		be_stub();
	}
	close(stub_fd);
	waitpid(stub, &status, WUNTRACED);
	err = box_new_context(b, arg.out_fd, 0, ctx);
	if (!err && ptrace(PTRACE_SEIZE, stub, 0,
			   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			   PTRACE_O_EXITKILL))
		err = -errno;
	kill(stub, err ? SIGKILL : SIGCONT);
	trace(t, stub);
	close(arg.out_fd);
	return err;
}

#define TRACE_STUB(number) \
	struct traced t = { .nr = number }; \
	struct box_context ctx; \
	int err = trace_stub(&self->b, &ctx, &t); \
 \
	if (err == -EPERM) \
		SKIP(return, "may not trace: run as root"); \
	ASSERT_EQ(0, err); \
	ASSERT_TRUE(t.changed); \
	EXPECT_DEAD(&ctx, 0)

TEST_F(tracer, cannot_have_a_thread_end_its_dispatch)
{
	TRACE_STUB(SYS_prctl);
	EXPECT_TRUE(t.ended);
	EXPECT_EQ(-EPERM, t.result);
}

/* What it executes is ended: it has lost its server. */
TEST_F(tracer, cannot_have_a_thread_leave_by_execve)
{
	TRACE_STUB(SYS_execve);
}

TEST_F(tracer, cannot_have_a_thread_make_a_child_that_tells)
{
	TRACE_STUB(SYS_fork);
	EXPECT_TRUE(t.ended);
	EXPECT_LT(0, t.result);
	/* EIO: a kernel before 6.4. It is not refused: the child is no task of the module's. */
	EXPECT_TRUE(t.told == 0 || t.told == -EIO);
	EXPECT_EQ(0, t.selector);
}

TEST_HARNESS_MAIN
