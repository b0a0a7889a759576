// SPDX-License-Identifier: MIT
/*
 * stub_test.c - processes that become a stub, and do not behave like one
 *
 * The stub of these tests is a copy of the test itself, so it can do what the real
 * one never does. Its exit status is the step that went wrong.
 *
 * timeout: 120
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/rseq.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

BOX_FIXTURE(stub)

/* Programs that are part of this one. */
void spin_forever(void);
asm(".text\n"
    "spin_forever: syscall\n"
    "1: pause\n"
    "	jmp 1b\n");

static void add_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		_exit(100);
}

/* All that the module asks of a stub but where its code is. */
static void get_bare(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(101);
	add_filter();
	syscall(SYS_set_tid_address, NULL);
	syscall(SYS_set_robust_list, NULL, 3 * sizeof(void *));
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
			sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

static int new_space(struct box *b, int *stub_fd)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };

	if (ioctl(b->fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg))
		return -errno;
	*stub_fd = arg.out_stub_fd;
	return arg.out_fd;
}

/* A system call whose instruction is in memory that can be written. */
static long call_from_writable(int fd, unsigned int cmd)
{
	static const unsigned char code[] = {
		0xb8, SYS_ioctl, 0, 0, 0,	/* mov $SYS_ioctl, %eax */
		0x0f, 0x05, 0xc3,		/* syscall; ret */
	};
	long (*call)(long fd, long cmd, long arg);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		_exit(102);
	memcpy(page, code, sizeof(code));
	memcpy(&call, &page, sizeof(call));
	return call(fd, cmd, 0);
}

TEST_F(stub, code_that_can_change_is_refused_every_time)
{
	int stub_fd, as, status, i;
	pid_t pid;

	as = new_space(&self->b, &stub_fd);
	ASSERT_LE(0, as);
	pid = fork();
	if (!pid) {
		get_bare();
		alarm(25); /* the call must not block */
		for (i = 1; i <= 3; i++)
			if (call_from_writable(stub_fd, SANDTRAP_SERVE) != -EPERM)
				_exit(i);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(stub_fd);
	close(as);
}

/* It serves, and becomes another program, which would have the descriptor. */
static void serve_and_execute(int stub_fd)
{
	const int fd = 0;

	if (dup2(stub_fd, fd) != fd || close_range(1, ~0u, 0))
		_exit(4);
	get_bare();
	if (ioctl(fd, SANDTRAP_SERVE, 0l) <= 0)
		_exit(1);
	execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(2);
}

TEST_F(stub, a_server_that_executes_a_program_is_one_no_longer)
{
	struct box_context ctx;
	int stub_fd, as, status;
	pid_t pid;

	as = new_space(&self->b, &stub_fd);
	ASSERT_LE(0, as);
	pid = fork();
	if (!pid)
		serve_and_execute(stub_fd);
	close(stub_fd);
	/* It is to make a thread for this one. */
	ASSERT_EQ(0, box_new_context(&self->b, as, 0, &ctx));
	EXPECT_TRUE(box_gone(pid, BOX_SOON));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(0, box_wait(&self->b, &ctx, 1, 0));
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, ctx.page->event);
	EXPECT_EQ(-ESRCH, box_map(&self->b, as, BOX_FREE, 0, 1, PROT_READ));
	close(as);
}

struct server {
	int fd;
	long ret;
};

static int serve_once(void *data)
{
	struct server *s = data;

	get_bare();
	alarm(25); /* the call must not block */
	s->ret = ioctl(s->fd, SANDTRAP_SERVE, 0l) ? -errno : 0;
	return 0;
}

/* Whose memory cgroup is charged for a program's memory is then up to a third. */
TEST_F(stub, one_that_has_the_memory_of_another_cannot_serve)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	struct server s = { .ret = 1 };
	int as, status;
	pid_t pid;

	as = new_space(&self->b, &s.fd);
	ASSERT_LE(0, as);
	pid = fork();
	if (!pid) {
		pid = clone(serve_once, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD,
			    &s);
		if (waitpid(pid, NULL, 0) != pid || s.ret != -EPERM)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(s.fd);
	close(as);
}

struct attach {
	int fd;
	int token;
};

static int attached_thread(void *data)
{
	const struct attach *a = data;

	if (ioctl(a->fd, SANDTRAP_ATTACH, (long)a->token))
		_exit(10);
	add_filter();
	syscall(SYS_getpid);
	_exit(11);
}

/*
 * Makes one thread as it is told to, waits for the word to go, and ends: its first
 * thread alone. A stub has no descriptor of the sentry's.
 */
static void serve_one_and_leave(int stub_fd, int to_go)
{
	const int fd = 0, go = 1;
	static char stack[1 << 16] __attribute__((aligned(16)));
	static struct attach a;
	char c;

	if (dup2(stub_fd, fd) != fd || dup2(to_go, go) != go || close_range(2, ~0u, 0))
		_exit(4);
	get_bare();
	a.fd = fd;
	a.token = ioctl(fd, SANDTRAP_SERVE, 0l);
	if (a.token <= 0)
		_exit(1);
	if (clone(attached_thread, stack + sizeof(stack),
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		  CLONE_SYSVSEM, &a) < 0)
		_exit(2);
	if (read(go, &c, 1) != 1)
		_exit(3);
	syscall(SYS_exit, 0);
}

/* The first thread is a zombie at once: only the process as a whole can be waited for. */
static bool process_ends(pid_t pid)
{
	uint64_t end = box_now_ns() + BOX_SOON * 1000000ull;

	while (waitpid(pid, NULL, WNOHANG) != pid) {
		if (box_now_ns() > end)
			return false;
		usleep(1000);
	}
	return true;
}

/* The signal that ends them is for the process: its first thread would not see it. */
TEST_F(stub, threads_do_not_outlive_their_server)
{
	struct box_context ctx;
	int stub_fd, as, go[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	as = new_space(&self->b, &stub_fd);
	ASSERT_LE(0, as);
	pid = fork();
	if (!pid)
		serve_one_and_leave(stub_fd, go[0]);
	close(stub_fd);
	ASSERT_EQ(0, box_new_context(&self->b, as, 0, &ctx));
	ctx.page->regs.rip = (uintptr_t)spin_forever;
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, ctx.id, 0, 2));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_TRUE(process_ends(pid));
	EXPECT_EQ(0, box_wait(&self->b, &ctx, 2, BOX_SOON));
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, ctx.page->event);
	EXPECT_EQ(-ESRCH, box_map(&self->b, as, BOX_FREE, 0, 1, PROT_READ));
	close(as);
	kill(pid, SIGKILL);
}

/* The death of the old stub must not be told of a context that is in another. */
TEST_F(stub, a_context_taken_from_a_dying_stub_lives_on)
{
	struct sandtrap_bind_context bind = {
		.size = sizeof(bind), .id = self->b.ctx.id,
	};
	int i, as, before = self->b.as;
	pid_t killer;

	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < 20; i++) {
		int status;

		EXPECT_EVENT(SYSCALL);
		ASSERT_EQ(0, box_new_space(&self->b, &as));
		ASSERT_EQ(0, box_map_areas(&self->b, as));
		bind.address_space = as;
		killer = fork();
		if (!killer) {
			pid_t stubs[2];
			int n = box_stubs(&self->b, stubs, 2);

			usleep(rand() % 300);
			/* The youngest comes last. The first may be dead already. */
			if (n == 2)
				kill(stubs[0], SIGKILL);
			_exit(n != 2);
		}
		usleep(rand() % 3000);
		ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
		EXPECT_EVENT(SYSCALL);
		ASSERT_EQ(killer, waitpid(killer, &status, 0));
		EXPECT_EQ(0, status);
		close(before);
		before = as;
		self->b.as = as;
		usleep(2000);
	}
}

TEST_HARNESS_MAIN
