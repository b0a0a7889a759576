// SPDX-License-Identifier: MIT
/*
 * lifetime_test.c - whatever ends, in whatever order: nothing hangs or is left
 *
 * timeout: 300
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup_util.h"
#include "kselftest_harness.h"
#include "sandtrap_util.h"

BOX_FIXTURE(lifetime)

BOX_PROGRAM(prog_loop, "1: pause\n jmp 1b");

static pid_t the_stub(struct box *b)
{
	pid_t pid[2];

	return box_stubs(b, pid, 2) == 1 ? pid[0] : -1;
}

/* death of the stub */

TEST_F(lifetime, a_killed_stub_is_an_event)
{
	pid_t stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	stub = the_stub(&self->b);
	ASSERT_LT(1, stub);
	ASSERT_EQ(0, kill(stub, SIGKILL));
	ASSERT_TRUE(box_gone(stub, BOX_SOON));
	EXPECT_DEAD(&self->b.ctx, 2);
	EXPECT_EQ(-ESRCH, box_run(&self->b, &self->b.ctx));
	EXPECT_EQ(-ESRCH, box_map(&self->b, self->b.as, BOX_FREE, 0, 1, PROT_READ));
	EXPECT_EQ(-ESRCH, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id, 3, 0));
}

TEST_F(lifetime, a_stub_killed_while_it_runs_is_an_event)
{
	pid_t stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	BOX_LOAD(&self->b, prog_loop);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 2));
	stub = the_stub(&self->b);
	ASSERT_LT(1, stub);
	ASSERT_EQ(0, kill(stub, SIGKILL));
	EXPECT_DEAD(&self->b.ctx, 2);
}

/* Killed while it is stopped it is in no command of ours; and a descriptor is left. */
TEST_F(lifetime, a_stub_that_dies_elsewhere_is_noticed)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	char path[32], state = 0;
	pid_t before[2], stub[2];
	int i, n;
	FILE *f;

	n = box_stubs(&self->b, before, 2);
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	ASSERT_EQ(0, stub_template_spawn(&self->b.stubs, arg.out_stub_fd));
	ASSERT_EQ(0, box_map_areas(&self->b, arg.out_fd));
	ASSERT_EQ(n + 1, box_stubs(&self->b, stub, 2));
	n = n && stub[0] == before[0];
	ASSERT_EQ(0, kill(stub[n], SIGSTOP));
	snprintf(path, sizeof(path), "/proc/%d/stat", stub[n]);
	for (i = 0; i < BOX_SOON && state != 'T'; i++) {
		f = fopen(path, "r");
		ASSERT_NE(NULL, f);
		ASSERT_EQ(1, fscanf(f, "%*d (%*[^)]) %c", &state));
		fclose(f);
		usleep(1000);
	}
	ASSERT_EQ('T', state);
	ASSERT_EQ(0, kill(stub[n], SIGKILL));
	ASSERT_TRUE(box_gone(stub[n], BOX_SOON));
	EXPECT_EQ(-ESRCH, box_map(&self->b, arg.out_fd, BOX_FREE, 0, 1, PROT_READ));
	close(arg.out_stub_fd);
	close(arg.out_fd);
}

/*
 * The module has work to do on every context that could run directly in an address space
 * that has died. It keeps nobody away from them.
 */
TEST_F(lifetime, no_context_of_a_dead_space_is_busy)
{
	static struct box_context ctx[200];
	int round, i, n = sizeof(ctx) / sizeof(ctx[0]);

	if (!(self->b.info.out_features & SANDTRAP_FEATURE_DIRECT_MODE))
		SKIP(return, "this kernel lacks what direct mode needs: see its log");
	for (round = 0; round < 20; round++) {
		int as, busy = 0;

		ASSERT_EQ(0, box_new_space(&self->b, &as));
		for (i = 0; i < n; i++)
			ASSERT_EQ(0, box_new_context(&self->b, as, SANDTRAP_CONTEXT_DIRECT,
						     &ctx[i]));
		ASSERT_EQ(0, close(as));
		for (i = 0; i < n; i++)
			busy += box_try_run(&self->b, &ctx[i]) == -EBUSY;
		EXPECT_EQ(0, busy);
		for (i = 0; i < n; i++) {
			EXPECT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ctx[i].id,
						 0, 0));
			munmap(ctx[i].page, self->b.info.out_context_size);
		}
	}
}

/* A context outlives its stub, and can go on in another. */
TEST_F(lifetime, a_context_can_be_bound_again)
{
	struct sandtrap_bind_context bind = {
		.size = sizeof(bind), .id = self->b.ctx.id,
	};
	int i, as;

	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < 5; i++) {
		EXPECT_EVENT(SYSCALL);
		if (i & 1) {
			uint32_t seq = self->b.ctx.page->event_seq;
			pid_t stub[8];
			int n = box_stubs(&self->b, stub, 8);

			ASSERT_LT(0, n);
			while (n--)
				kill(stub[n], SIGKILL);
			EXPECT_DEAD(&self->b.ctx, seq);
		}
		ASSERT_EQ(0, box_new_space(&self->b, &as));
		ASSERT_EQ(0, box_map_areas(&self->b, as));
		bind.address_space = as;
		ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
		self->b.ctx.page->regs.rax = i + 1000;
		EXPECT_EVENT(SYSCALL);
		EXPECT_EQ(i + 1000, self->b.ctx.page->regs.orig_rax);
	}
}

/* Threads are kept for the next context of the same address space. */
TEST_F(lifetime, threads_are_used_again)
{
	struct box_context ctx;
	char path[64];
	int i, threads = 0;
	DIR *dir;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
		box_load(&self->b, &ctx, box_syscall, box_syscall_end - box_syscall);
		ctx.page->regs.rax = i;
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
		EXPECT_EQ(i, ctx.page->regs.orig_rax);
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
					 ctx.id, 0, 0));
		munmap(ctx.page, self->b.info.out_context_size);
		usleep(1000);
	}
	snprintf(path, sizeof(path), "/proc/%d/task", the_stub(&self->b));
	dir = opendir(path);
	ASSERT_NE(NULL, dir);
	while (readdir(dir))
		threads++;
	closedir(dir);
	EXPECT_GT(20, threads);
}

TEST_F(lifetime, a_context_released_while_it_runs_is_stopped)
{
	struct box_context ctx;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
		box_load(&self->b, &ctx, prog_loop, prog_loop_end - prog_loop);
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, ctx.id, 0, 1));
		usleep(rand() % 2000);
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
					 ctx.id, 0, 0));
		munmap(ctx.page, self->b.info.out_context_size);
	}
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
}

TEST_F(lifetime, many_contexts_in_many_spaces)
{
	struct box_context ctx[4][4];
	int as[4], i, j, round;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, box_new_space(&self->b, &as[i]));
		ASSERT_EQ(0, box_map_areas(&self->b, as[i]));
		for (j = 0; j < 4; j++) {
			ASSERT_EQ(0, box_new_context(&self->b, as[i], 0, &ctx[i][j]));
			box_load(&self->b, &ctx[i][j], box_syscall,
				 box_syscall_end - box_syscall);
		}
	}
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 16; i++) {
			struct box_context *c = &ctx[i / 4][i % 4];

			c->page->regs.rax = i * 100 + round;
			ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, c));
			ASSERT_EQ(i * 100 + round, c->page->regs.orig_rax);
		}
	}
	for (i = 0; i < 4; i++)
		close(as[i]);
	for (i = 0; i < 16; i++)
		EXPECT_DEAD(&ctx[i / 4][i % 4], 21);
}

/* order of closing */

TEST_F(lifetime, closing_the_address_space_kills_the_stub)
{
	pid_t stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	stub = the_stub(&self->b);
	ASSERT_LT(1, stub);
	close(self->b.as);
	self->b.as = -1;
	EXPECT_TRUE(box_gone(stub, BOX_SOON));
	EXPECT_DEAD(&self->b.ctx, 2);
}

TEST_F(lifetime, closing_the_instance_kills_the_stub)
{
	pid_t stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	stub = the_stub(&self->b);
	ASSERT_LT(1, stub);
	/* A mapping holds the file as a descriptor does. */
	munmap(self->b.ctx.page, self->b.info.out_context_size);
	self->b.ctx.page = NULL;
	close(self->b.fd);
	self->b.fd = -1;
	EXPECT_TRUE(box_gone(stub, BOX_SOON));
	/* What is left of it still answers. */
	EXPECT_EQ(-ESRCH, box_map(&self->b, self->b.as, BOX_FREE, 0, 1, PROT_READ));
}

TEST_F(lifetime, closing_the_template_kills_the_stub)
{
	pid_t stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	stub = the_stub(&self->b);
	ASSERT_LT(1, stub);
	stub_template_stop(&self->b.stubs);
	EXPECT_TRUE(box_gone(stub, BOX_SOON));
	EXPECT_DEAD(&self->b.ctx, 2);
}

TEST_F(lifetime, everything_closed_at_once_while_running)
{
	int i;

	for (i = 0; i < 20; i++) {
		struct box b;

		ASSERT_EQ(0, box_open(&b));
		box_load(&b, &b.ctx, prog_loop, prog_loop_end - prog_loop);
		ASSERT_EQ(0, box_command(&b, SANDTRAP_RESUME, b.ctx.id, 0, 1));
		usleep(rand() % 3000);
		box_close(&b);
	}
}

/* death of the sentry */

/* A sentry that runs a program, as a process; its end of the pipe gets the stub. */
static void sentry(int out, const unsigned char *program, size_t size)
{
	struct box b;
	pid_t stub;

	if (box_open(&b))
		_exit(1);
	box_load(&b, &b.ctx, box_syscall, box_syscall_end - box_syscall);
	if (box_run(&b, &b.ctx) != SANDTRAP_EVENT_SYSCALL)
		_exit(2);
	stub = the_stub(&b);
	if (write(out, &stub, sizeof(stub)) != sizeof(stub))
		_exit(3);
	box_load(&b, &b.ctx, program, size);
	for (;;)
		box_run(&b, &b.ctx);
}

static pid_t start_sentry(const unsigned char *program, size_t size, pid_t *stub)
{
	int ends[2];
	pid_t pid;

	if (pipe(ends))
		return -1;
	pid = fork();
	if (!pid) {
		close(ends[0]);
		sentry(ends[1], program, size);
	}
	close(ends[1]);
	if (read(ends[0], stub, sizeof(*stub)) != sizeof(*stub))
		*stub = -1;
	close(ends[0]);
	return pid;
}

TEST_F(lifetime, a_killed_sentry_takes_its_stubs_along)
{
	int i, status;
	pid_t pid, stub;

	srand(getpid());
	for (i = 0; i < 20; i++) {
		if (i & 1)
			pid = start_sentry(prog_loop, prog_loop_end - prog_loop, &stub);
		else
			pid = start_sentry(box_syscall,
					   box_syscall_end - box_syscall, &stub);
		ASSERT_LT(1, pid);
		ASSERT_LT(1, stub);
		usleep(rand() % 5000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(SIGKILL, WTERMSIG(status));
		EXPECT_TRUE(box_gone(stub, BOX_SOON));
	}
}

/* A sentry killed before its stubs are ready. */
TEST_F(lifetime, a_sentry_killed_early)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < 30; i++) {
		pid = fork();
		if (!pid)
			sentry(1, box_syscall, box_syscall_end - box_syscall);
		usleep(rand() % 4000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
	}
}

/* The descriptor is inherited; what it stood for is not. */
TEST_F(lifetime, a_sentry_that_becomes_another_program_ends_its_stubs)
{
	int ends[2], status;
	pid_t pid, stub = -1;

	ASSERT_EQ(0, pipe(ends));
	pid = fork();
	if (!pid) {
		struct box b;

		if (box_open(&b) || fcntl(b.fd, F_SETFD, 0) || fcntl(b.as, F_SETFD, 0))
			_exit(1);
		box_load(&b, &b.ctx, box_syscall, box_syscall_end - box_syscall);
		if (box_run(&b, &b.ctx) != SANDTRAP_EVENT_SYSCALL)
			_exit(2);
		stub = the_stub(&b);
		/* It would go with the template's socket, too. */
		fcntl(b.stubs.sock, F_SETFD, 0);
		if (write(ends[1], &stub, sizeof(stub)) != sizeof(stub))
			_exit(3);
		execl("/bin/sleep", "sleep", "60", NULL);
		_exit(4);
	}
	close(ends[1]);
	ASSERT_EQ(sizeof(stub), read(ends[0], &stub, sizeof(stub)));
	ASSERT_LT(1, stub);
	EXPECT_TRUE(box_gone(stub, BOX_SOON));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

/* descriptors in other hands */

static int pass_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

/*
 * The instance's descriptor lies in a socket when its owner dies: it is not
 * closed, but the stub dies all the same.
 */
TEST_F(lifetime, an_instance_in_flight_does_not_keep_stubs_alive)
{
	int socks[2], ends[2], status;
	pid_t pid, stub = -1;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	ASSERT_EQ(0, pipe(ends));
	pid = fork();
	if (!pid) {
		struct box b;

		if (box_open(&b))
			_exit(1);
		box_load(&b, &b.ctx, box_syscall, box_syscall_end - box_syscall);
		if (box_run(&b, &b.ctx) != SANDTRAP_EVENT_SYSCALL ||
		    pass_fd(socks[1], b.fd) || pass_fd(socks[1], b.as))
			_exit(2);
		stub = the_stub(&b);
		/* Stopping the template would kill it, too. */
		kill(b.stubs.pid, SIGSTOP);
		if (write(ends[1], &stub, sizeof(stub)) != sizeof(stub))
			_exit(3);
		pause();
	}
	close(ends[1]);
	ASSERT_EQ(sizeof(stub), read(ends[0], &stub, sizeof(stub)));
	ASSERT_LT(1, stub);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(box_gone(stub, BOX_SOON));
	close(socks[0]);
	close(socks[1]);
}

TEST_F(lifetime, a_forked_child_holds_nothing_it_could_use)
{
	int status;
	pid_t pid, stub;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	stub = the_stub(&self->b);
	pid = fork();
	if (!pid) {
		int err = box_map(&self->b, self->b.as, BOX_FREE, 0, 1, PROT_READ);

		_exit(err == -EPERM ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* Its exit is not the owner's. */
	EXPECT_EVENT(SYSCALL);
	EXPECT_FALSE(box_gone(stub, 10));
}

/* control groups */

static void fill_with_contexts(struct box *b, int n)
{
	struct sandtrap_new_context arg;

	while (n--) {
		arg = (struct sandtrap_new_context){
			.size = sizeof(arg), .address_space = -1,
		};
		if (ioctl(b->fd, SANDTRAP_NEW_CONTEXT, &arg))
			break;
	}
}

/* What users make the kernel allocate is theirs to pay for. */
TEST_F(lifetime, contexts_are_charged_to_their_maker)
{
	struct sandtrap_ring_setup ring = {
		.size = sizeof(ring), .entries = self->b.info.out_max_ring_entries,
	};
	struct cgroup cg;
	long want = 1000l * self->b.info.out_context_size, before, after;

	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	ASSERT_EQ(0, box_write(cg.dir, "cgroup.procs", "0"));
	before = cgroup_read(&cg, "memory.current", "");
	fill_with_contexts(&self->b, 1000);
	after = cgroup_read(&cg, "memory.current", "");
	EXPECT_LE(want, after - before);
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_RING_SETUP, &ring));
	before = cgroup_read(&cg, "memory.current", "");
	EXPECT_LE((long)ring.out_entries_size * 9 / 10, before - after);
	box_write(cg.mount, "cgroup.procs", "0");
	cgroup_remove(&cg);
}

/* In a group, threads that wait in the kernel for the sentry can be frozen. */
TEST_F(lifetime, stubs_can_be_frozen)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	struct cgroup cg;
	char pid[16];
	uint32_t seq;
	int i;

	if (geteuid() || cgroup_make(&cg, NULL))
		SKIP(return, "this machine has no cgroup2 for us: run as root");
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	snprintf(pid, sizeof(pid), "%d", the_stub(&self->b));
	ASSERT_EQ(0, box_write(cg.dir, "cgroup.procs", pid));
	/* Stopped at a system call, and running. */
	for (i = 0; i < 20; i++) {
		if (i == 10)
			BOX_LOAD(&self->b, prog_loop);
		seq = self->b.ctx.page->event_seq;
		if (i >= 10) {
			ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id,
						 0, seq));
			usleep(rand() % 2000);
		}
		ASSERT_EQ(0, box_write(cg.dir, "cgroup.freeze", "1"));
		ASSERT_TRUE(cgroup_becomes(&cg, "frozen ", 1));
		r->rax = i < 10 ? i : r->rax;
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, seq));
		EXPECT_EQ(-ETIME, box_wait(&self->b, &self->b.ctx, seq, 5));
		ASSERT_EQ(0, box_write(cg.dir, "cgroup.freeze", "0"));
		if (i >= 10)
			ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT,
						 self->b.ctx.id, 0, 0));
		ASSERT_EQ(0, box_wait(&self->b, &self->b.ctx, seq, BOX_SOON));
		ASSERT_EQ(i < 10 ? SANDTRAP_EVENT_SYSCALL : SANDTRAP_EVENT_INTERRUPT,
			  self->b.ctx.page->event);
		EXPECT_EQ(i < 10 ? i : ~0ull, r->orig_rax);
	}
	/* The server was frozen as well, and came back. */
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1, PROT_READ));
	box_write(cg.mount, "cgroup.procs", pid);
	cgroup_remove(&cg);
}

/* Where the module wakes threads, it leaves alone where they may run. */
TEST_F(lifetime, affinity_set_from_outside_stays)
{
	cpu_set_t want, seen, all;
	uint32_t seq;
	pid_t tid;
	int i;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	if (CPU_COUNT(&all) < 2)
		SKIP(return, "this machine has no second CPU");
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	tid = box_running_thread(the_stub(&self->b));
	CPU_ZERO(&want);
	CPU_SET(0, &want);
	if (sched_setaffinity(tid, sizeof(want), &want))
		SKIP(return, "this machine has no way for us to do it: run as root");
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(want), &want));
	for (i = 0; i < 50; i++) {
		seq = self->b.ctx.page->event_seq;
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, seq));
		ASSERT_EQ(0, box_wait(&self->b, &self->b.ctx, seq, BOX_SOON));
		ASSERT_EQ(0, sched_getaffinity(tid, sizeof(seen), &seen));
		ASSERT_TRUE(CPU_EQUAL(&want, &seen));
	}
}

/* the module */

static int unload(void)
{
	return syscall(SYS_delete_module, "sandtrap", O_NONBLOCK) ? -errno : 0;
}

TEST_F(lifetime, the_module_stays_while_it_is_used)
{
	if (geteuid() || box_module_refs() < 0)
		SKIP(return, "this kernel has no removable module, or we are not root");
	EXPECT_LE(1, box_module_refs());
	EXPECT_EQ(-EAGAIN, unload());
	BOX_LOAD(&self->b, prog_loop);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 1));
	EXPECT_EQ(-EAGAIN, unload());
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->b.ctx.id, 0, 0));
	ASSERT_EQ(0, box_wait(&self->b, &self->b.ctx, 1, BOX_SOON));
	EXPECT_EQ(-EAGAIN, unload());
}

/* References come back to what they were, with nothing but time in between. */
TEST_F(lifetime, no_reference_is_left)
{
	int before, i, end;
	pid_t pid, stub;

	if (box_module_refs() < 0)
		SKIP(return, "this kernel has no removable module");
	/* Once it has run, the context's thread holds its reference. */
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	before = box_module_refs();
	for (i = 0; i < 10; i++) {
		pid = start_sentry(prog_loop, prog_loop_end - prog_loop, &stub);
		ASSERT_LT(before, box_module_refs());
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	for (end = 0; end < BOX_SOON && box_module_refs() != before; end++)
		usleep(1000);
	EXPECT_EQ(before, box_module_refs());
}

TEST_HARNESS_MAIN
