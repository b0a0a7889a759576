// SPDX-License-Identifier: MIT
/*
 * mm_test.c - memory operations: map and unmap, alone and with a run
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "platform/bench.h"
#include "sandtrap_util.h"

BOX_FIXTURE(mm)

BOX_PROGRAM(prog_read, "1: movq (%rbx), %rcx\n syscall\n jmp 1b");
BOX_PROGRAM(prog_write, "1: movq %rdx, (%rbx)\n syscall\n jmp 1b");

static uint64_t *word(struct box *b, unsigned int page)
{
	return (uint64_t *)(b->file + page * BOX_PAGE);
}

/* operations */

TEST_F(mm, map_and_unmap_are_seen_by_the_program)
{
	*word(&self->b, BOX_SPARE_PAGE) = 0x1234;
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_read);
	EXPECT_EVENT(FAULT);
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(BOX_CODE + 5, self->b.ctx.page->regs.rip);
	ASSERT_EQ(0, box_unmap(self->b.as, BOX_FREE, BOX_PAGE));
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SEGV_MAPERR, self->b.ctx.page->fault.code);
}

TEST_F(mm, a_map_replaces_what_was_there)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;

	r->rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_write);
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ | PROT_WRITE));
	r->rdx = 11;
	EXPECT_EVENT(SYSCALL);
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE + 1, 1,
			     PROT_READ | PROT_WRITE));
	r->rdx = 12;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(11, *word(&self->b, BOX_SPARE_PAGE));
	EXPECT_EQ(12, *word(&self->b, BOX_SPARE_PAGE + 1));
	/* Fewer permissions. */
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE + 1, 1,
			     PROT_READ));
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SEGV_ACCERR, self->b.ctx.page->fault.code);
}

/* One thing wrong at a time. */
TEST_F(mm, malformed_operations_are_refused)
{
	const struct sandtrap_mem_op good = {
		.op = SANDTRAP_MEM_MAP,
		.prot = PROT_READ,
		.fd = self->b.mem,
		.addr = BOX_FREE,
		.len = BOX_PAGE,
	};
	struct sandtrap_mem_op op = good;
	struct sandtrap_mem arg = {
		.size = sizeof(arg), .ops = (uintptr_t)&op, .nr_ops = 1,
	};

#define EXPECT_REFUSED(err, member, value) do { \
		op = good; \
		op.member = value; \
		arg.out_ops_done = 77; \
		EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_MEM, &arg)); \
		EXPECT_EQ(err, errno) TH_LOG(#member " = " #value); \
		EXPECT_EQ(0, arg.out_ops_done); \
	} while (0)
	EXPECT_REFUSED(EOPNOTSUPP, op, 0);
	EXPECT_REFUSED(EOPNOTSUPP, op, 3);
	EXPECT_REFUSED(EOPNOTSUPP, flags, 2);
	EXPECT_REFUSED(EOPNOTSUPP, flags, 1u << 31);
	EXPECT_REFUSED(EINVAL, prot, 0);
	EXPECT_REFUSED(EINVAL, prot, 8);
	EXPECT_REFUSED(EINVAL, prot, 0x1000001);
	EXPECT_REFUSED(EBADF, fd, -1);
	EXPECT_REFUSED(EBADF, fd, 9999);
	EXPECT_REFUSED(EINVAL, addr, BOX_FREE + 1);
	EXPECT_REFUSED(EINVAL, addr, self->b.info.out_task_size);
	EXPECT_REFUSED(EINVAL, addr, 0xffffffff81000000ull);
	EXPECT_REFUSED(EINVAL, len, 0);
	EXPECT_REFUSED(EINVAL, len, 1);
	EXPECT_REFUSED(EINVAL, len, self->b.info.out_task_size);
	EXPECT_REFUSED(EINVAL, len, ~0xfffull);
	EXPECT_REFUSED(EINVAL, offset, 1);
	EXPECT_REFUSED(EINVAL, offset, ~0xfffull);
	EXPECT_REFUSED(EINVAL, op, SANDTRAP_MEM_UNMAP); /* prot, fd are set */
#undef EXPECT_REFUSED
	op = good;
	arg.nr_ops = 0;
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.nr_ops = self->b.info.out_max_mem_ops + 1;
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.nr_ops = 1;
	arg.ops = 0x10;
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(EFAULT, errno);
	arg.ops = (uintptr_t)&op;
	EXPECT_EQ(0, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(1, arg.out_ops_done);
}

TEST_F(mm, the_stub_is_refused)
{
	uint64_t stub = self->b.stubs.base;

	EXPECT_EQ(-EINVAL, box_map(&self->b, self->b.as, stub, BOX_SPARE_PAGE, 1,
				   PROT_READ));
	EXPECT_EQ(-EINVAL, box_map(&self->b, self->b.as, stub - BOX_PAGE,
				   BOX_SPARE_PAGE, 2, PROT_READ));
	EXPECT_EQ(-EINVAL, box_unmap(self->b.as, stub, BOX_PAGE));
	EXPECT_EQ(-EINVAL, box_unmap(self->b.as, stub - 16 * BOX_PAGE,
				     17 * BOX_PAGE));
	EXPECT_EQ(-EINVAL, box_unmap(self->b.as, BOX_PAGE, stub));
	EXPECT_EQ(0, box_map(&self->b, self->b.as, stub - BOX_PAGE,
			     BOX_SPARE_PAGE, 1, PROT_READ));
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
}

TEST_F(mm, a_batch_stops_at_the_first_failure)
{
	int readable = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct sandtrap_mem_op ops[4] = {
		{ .op = SANDTRAP_MEM_MAP, .prot = PROT_READ, .fd = self->b.mem,
		  .addr = BOX_FREE, .len = BOX_PAGE,
		  .offset = BOX_SPARE_PAGE * BOX_PAGE },
		{ .op = SANDTRAP_MEM_UNMAP, .addr = BOX_FREE + BOX_PAGE,
		  .len = BOX_PAGE },
		/* A shared, writable mapping of a file opened for reading. */
		{ .op = SANDTRAP_MEM_MAP, .prot = PROT_WRITE, .fd = readable,
		  .addr = BOX_FREE + BOX_PAGE, .len = BOX_PAGE },
		{ .op = SANDTRAP_MEM_UNMAP, .addr = BOX_FREE, .len = BOX_PAGE },
	};
	struct sandtrap_mem arg = {
		.size = sizeof(arg), .ops = (uintptr_t)ops, .nr_ops = 4,
	};
	struct sandtrap_run run = {
		.size = sizeof(run), .id = self->b.ctx.id,
		.ops = (uintptr_t)ops, .nr_ops = 4,
		.out_ops_done = 77, .out_op_error = 77,
	};

	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(2, arg.out_ops_done);
	/* The last was not done. */
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_read);
	EXPECT_EVENT(SYSCALL);
	/* The same with a run: the program does not continue. */
	run.seq = self->b.ctx.page->event_seq;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(2, run.out_ops_done);
	EXPECT_EQ(EACCES, run.out_op_error);
	EXPECT_EQ(run.seq, self->b.ctx.page->event_seq);
	EXPECT_EVENT(SYSCALL);
	close(readable);
}

TEST_F(mm, operations_of_a_run_come_before_the_program)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP, .prot = PROT_READ | PROT_WRITE,
		.fd = self->b.mem, .addr = BOX_FREE, .len = BOX_PAGE,
	};
	struct sandtrap_run run = {
		.size = sizeof(run), .id = self->b.ctx.id, .ops = (uintptr_t)&op,
		.nr_ops = 1, .out_ops_done = 77, .out_op_error = 77,
	};
	int i;

	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_write);
	for (i = 0; i < 8; i++) {
		op.offset = (BOX_SPARE_PAGE + i) * BOX_PAGE;
		self->b.ctx.page->regs.rdx = i + 100;
		run.seq = self->b.ctx.page->event_seq;
		ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_RUN, &run));
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, self->b.ctx.page->event);
		EXPECT_EQ(1, run.out_ops_done);
		EXPECT_EQ(0, run.out_op_error);
		EXPECT_EQ(i + 100, *word(&self->b, BOX_SPARE_PAGE + i));
	}
}

TEST_F(mm, the_largest_batch)
{
	unsigned int i, n = self->b.info.out_max_mem_ops;
	struct sandtrap_mem_op *ops = calloc(n, sizeof(*ops));
	struct sandtrap_mem arg = {
		.size = sizeof(arg), .ops = (uintptr_t)ops, .nr_ops = n,
	};

	for (i = 0; i < n; i++) {
		ops[i].op = SANDTRAP_MEM_MAP;
		ops[i].flags = i & 1 ? SANDTRAP_MEM_POPULATE : 0;
		ops[i].prot = PROT_READ | PROT_WRITE;
		ops[i].fd = self->b.mem;
		ops[i].addr = BOX_FREE + 2 * i * BOX_PAGE;
		ops[i].len = BOX_PAGE;
		ops[i].offset = (BOX_SPARE_PAGE + i % 8) * BOX_PAGE;
	}
	EXPECT_EQ(0, ioctl(self->b.as, SANDTRAP_MEM, &arg));
	EXPECT_EQ(n, arg.out_ops_done);
	BOX_LOAD(&self->b, prog_write);
	for (i = 0; i < n; i++) {
		self->b.ctx.page->regs.rbx = ops[i].addr;
		self->b.ctx.page->regs.rdx = i;
		EXPECT_EVENT(SYSCALL);
		EXPECT_EQ(i, *word(&self->b, BOX_SPARE_PAGE + i % 8));
	}
	free(ops);
}

/* A file's descriptor is needed no longer than the command. */
TEST_F(mm, descriptors_may_be_closed_afterwards)
{
	int fd = dup(self->b.mem), mem = self->b.mem;

	self->b.mem = fd;
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	close(fd);
	self->b.mem = mem;
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_read);
	EXPECT_EVENT(SYSCALL);
}

/*
 * Maps a page of a file at BOX_FREE. The lock of the file goes with its last mapping;
 * returns another descriptor of it.
 */
static int map_locked_file(struct box *b)
{
	char path[] = "/tmp/sandtrap-mm-XXXXXX";
	int fd, mem = b->mem, err;

	b->mem = mkstemp(path);
	err = b->mem < 0 || ftruncate(b->mem, BOX_PAGE) || flock(b->mem, LOCK_EX) ||
	      box_map(b, b->as, BOX_FREE, 0, 1, PROT_READ);
	close(b->mem);
	b->mem = mem;
	fd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	return err || !flock(fd, LOCK_EX | LOCK_NB) ? -1 : fd;
}

static bool is_unlocked_soon(int fd)
{
	int i;

	for (i = 0; i < 5000 && flock(fd, LOCK_EX | LOCK_NB); i++)
		usleep(1000);
	close(fd);
	return i < 5000;
}

/* The last mapping of a file goes: the file is closed, though nothing runs. */
TEST_F(mm, an_unmapped_file_is_closed)
{
	int fd = map_locked_file(&self->b);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, box_unmap(self->b.as, BOX_FREE, BOX_PAGE));
	EXPECT_TRUE(is_unlocked_soon(fd));
	/* The server came back. */
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
}

/* The same by a thread that stays where it is, because the batch failed. */
TEST_F(mm, a_file_unmapped_by_a_failed_batch_is_closed)
{
	struct sandtrap_mem_op ops[2] = {
		{ .op = SANDTRAP_MEM_UNMAP, .addr = BOX_FREE, .len = BOX_PAGE },
		{ .op = SANDTRAP_MEM_MAP, .prot = PROT_WRITE, .addr = BOX_FREE + BOX_PAGE,
		  .len = BOX_PAGE, .fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC) },
	};
	struct sandtrap_run run = {
		.size = sizeof(run), .id = self->b.ctx.id, .ops = (uintptr_t)ops, .nr_ops = 2,
	};
	int fd = map_locked_file(&self->b);

	ASSERT_LE(0, fd);
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	run.seq = self->b.ctx.page->event_seq;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(1, run.out_ops_done);
	EXPECT_TRUE(is_unlocked_soon(fd));
	close(ops[1].fd);
	EXPECT_EVENT(SYSCALL);
}

BOX_PROGRAM(prog_poll, "1: movq (%rbx), %rcx\n testq %rcx, %rcx\n jz 1b\n syscall");

TEST_F(mm, operations_reach_a_running_program)
{
	uint32_t seq;

	*word(&self->b, BOX_SPARE_PAGE) = 0;
	*word(&self->b, BOX_SPARE_PAGE + 1) = 1;
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_poll);
	seq = self->b.ctx.page->event_seq;
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, seq));
	ASSERT_EQ(-ETIME, box_wait(&self->b, &self->b.ctx, seq, 20));
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE + 1, 1,
			     PROT_READ));
	ASSERT_EQ(0, box_wait(&self->b, &self->b.ctx, seq, 10000));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, self->b.ctx.page->event);
}

/* Threads of the sentry map and unmap at the same time; nothing is lost. */
struct mapper {
	struct box *b;
	unsigned int number;
	int err;
};

static void *map_in_a_loop(void *arg)
{
	struct mapper *m = arg;
	uint64_t addr = BOX_FREE + m->number * 16 * BOX_PAGE;
	int i;

	for (i = 0; i < 200 && !m->err; i++) {
		m->err = box_map(m->b, m->b->as, addr, BOX_SPARE_PAGE + m->number,
				 1, PROT_READ | PROT_WRITE);
		if (!m->err && i < 199)
			m->err = box_unmap(m->b->as, addr, BOX_PAGE);
	}
	return NULL;
}

TEST_F(mm, many_threads_map_at_once)
{
	struct mapper mappers[4];
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++) {
		mappers[i] = (struct mapper){ &self->b, i, 0 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, map_in_a_loop, &mappers[i]));
	}
	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < 300; i++)
		EXPECT_EVENT(SYSCALL);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, mappers[i].err);
	}
	BOX_LOAD(&self->b, prog_write);
	for (i = 0; i < 4; i++) {
		self->b.ctx.page->regs.rbx = BOX_FREE + i * 16 * BOX_PAGE;
		self->b.ctx.page->regs.rdx = i + 1;
		EXPECT_EVENT(SYSCALL);
		EXPECT_EQ(i + 1, *word(&self->b, BOX_SPARE_PAGE + i));
	}
}

static void ignore(int sig)
{
}

TEST_F(mm, signals_of_the_sentry_do_not_disturb)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = ignore };
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP, .prot = PROT_READ | PROT_WRITE,
		.fd = self->b.mem, .addr = BOX_FREE, .len = BOX_PAGE,
	};
	struct sandtrap_run run;
	int i;

	sigaction(SIGALRM, &action, NULL);
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_write);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < 1000; i++) {
		op.offset = (BOX_SPARE_PAGE + i % 8) * BOX_PAGE;
		self->b.ctx.page->regs.rdx = i;
		run = (struct sandtrap_run){
			.size = sizeof(run), .id = self->b.ctx.id,
			.seq = self->b.ctx.page->event_seq,
			.ops = (uintptr_t)&op, .nr_ops = 1,
		};
		while (ioctl(self->b.fd, SANDTRAP_RUN, &run)) {
			ASSERT_EQ(EINTR, errno);
			if (run.out_ops_done)
				run.ops = run.nr_ops = run.out_ops_done = 0;
		}
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, self->b.ctx.page->event);
		ASSERT_EQ(i, *word(&self->b, BOX_SPARE_PAGE + i % 8));
	}
	setitimer(ITIMER_REAL, &never, NULL);
}

/* A file system of one file, whose server never answers a read. */

#define FUSE_FILE "/tmp/sandtrap-fuse"

static void fuse_answer(int fd, const struct fuse_in_header *in, void *out, size_t len)
{
	struct fuse_out_header header = { .len = sizeof(header) + len, .unique = in->unique };
	char reply[512];

	memcpy(reply, &header, sizeof(header));
	if (len)
		memcpy(reply + sizeof(header), out, len);
	if (write(fd, reply, header.len) < 0)
		_exit(1);
}

/* Tells @told when it is asked to read. */
static void fuse_server(int fd, int told)
{
	static char request[FUSE_MIN_READ_BUFFER + 65536];
	const struct fuse_in_header *in = (void *)request;
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096,
	};
	struct fuse_attr_out attr = {
		.attr_valid = 1000,
		.attr = { .ino = 1, .size = 4096, .mode = S_IFREG | 0600, .nlink = 1 },
	};
	struct fuse_open_out open_out = { .fh = 1 };

	while (read(fd, request, sizeof(request)) > 0) {
		if (in->opcode == FUSE_INIT)
			fuse_answer(fd, in, &init, sizeof(init));
		else if (in->opcode == FUSE_GETATTR)
			fuse_answer(fd, in, &attr, sizeof(attr));
		else if (in->opcode == FUSE_OPEN)
			fuse_answer(fd, in, &open_out, sizeof(open_out));
		else if (in->opcode != FUSE_READ)
			fuse_answer(fd, in, NULL, 0);
		else if (write(told, "r", 1) != 1)
			break;
	}
	_exit(0);
}

/* The server's process; -1: there is no FUSE here. */
static pid_t fuse_mount(int told)
{
	char options[64];
	pid_t pid;
	int fd;

	if (access("/dev/fuse", F_OK) && system("modprobe fuse") != 0)
		return -1;
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0 || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	close(open(FUSE_FILE, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	snprintf(options, sizeof(options), "fd=%d,rootmode=100000,user_id=0,group_id=0", fd);
	if (mount("sandtrap", FUSE_FILE, "fuse", 0, options))
		return -1;
	pid = fork();
	if (!pid)
		fuse_server(fd, told);
	close(fd);
	return pid;
}

static void sentry_of_slow_file(bool with_run)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP, .prot = PROT_READ, .len = BOX_PAGE,
		.addr = BOX_FREE, .flags = SANDTRAP_MEM_POPULATE,
		.fd = open(FUSE_FILE, O_RDONLY | O_CLOEXEC),
	};
	struct sandtrap_mem mem = {
		.size = sizeof(mem), .ops = (uintptr_t)&op, .nr_ops = 1,
	};
	struct sandtrap_run run = {
		.size = sizeof(run), .seq = 1, .ops = (uintptr_t)&op, .nr_ops = 1,
	};
	struct stat st;
	struct box b;

	/* The kernel has to ask for the size. */
	if (op.fd < 0 || fstat(op.fd, &st) || box_open(&b))
		_exit(1);
	run.id = b.ctx.id;
	BOX_LOAD(&b, box_syscall);
	_exit(with_run ? ioctl(b.fd, SANDTRAP_RUN, &run) : ioctl(b.as, SANDTRAP_MEM, &mem));
}

TEST_F(mm, a_sentry_that_waits_for_a_slow_file_can_be_killed)
{
	int told[2], i, status;
	pid_t server, pid;
	char byte;

	ASSERT_EQ(0, pipe(told));
	for (i = 0; i < 2; i++) {
		server = geteuid() ? -1 : fuse_mount(told[1]);
		if (server < 0)
			SKIP(return, "this machine has no FUSE for us: run as root");
		pid = fork();
		if (!pid)
			sentry_of_slow_file(i);
		ASSERT_EQ(1, read(told[0], &byte, 1));
		usleep(20000);
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_TRUE(box_gone(pid, 5000));
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
		waitpid(pid, NULL, 0);
		umount2(FUSE_FILE, MNT_DETACH);
	}
	unlink(FUSE_FILE);
}

/* On the platform: operations that two threads ask for keep their order. */

#define ROUNDS 400

struct sharer {
	struct bench *b;
	struct platform_context *ctx;
	pthread_mutex_t *lock;
	pthread_barrier_t *barrier;
	unsigned int *last; /* page mapped last; under the lock */
	unsigned int seed;
	int err;
};

static int map_and_switch(struct sharer *s)
{
	unsigned int page = rand_r(&s->seed) % BENCH_AREA_PAGES;
	struct platform_event ev;
	int err;

	pthread_mutex_lock(s->lock);
	err = address_space_map_file(s->b->as, s->ctx, BENCH_FREE, s->b->fd, BENCH_SPARE_OFFSET +
				     page * BENCH_PAGE, BENCH_PAGE, PROT_READ, false);
	*s->last = page;
	pthread_mutex_unlock(s->lock);
	return err ?: context_switch(s->ctx, s->b->as, -1, &ev);
}

static void *share(void *arg)
{
	struct sharer *s = arg;
	int i, round;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < 4; i++)
			s->err = s->err ?: map_and_switch(s);
		pthread_barrier_wait(s->barrier); /* the test looks */
		pthread_barrier_wait(s->barrier);
	}
	return NULL;
}

TEST(operations_of_two_threads_keep_their_order)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct segmentation_fault fault;
	struct sharer sharers[2];
	pthread_barrier_t barrier;
	unsigned int last = 0, i;
	pthread_t threads[2];
	uint64_t page;
	struct bench b;

	if (box_why_skip())
		SKIP(return, "%s", box_why_skip());
	ASSERT_EQ(0, bench_open(&b, "sandtrap", false));
	platform_keep_fd(b.p, b.fd);
	for (page = 0; page < BENCH_AREA_PAGES; page++)
		*(uint64_t *)(b.spare + page * BENCH_PAGE) = page;
	pthread_barrier_init(&barrier, NULL, 3);
	BENCH_LOAD(&b, box_syscall);
	for (i = 0; i < 2; i++) {
		sharers[i] = (struct sharer){ &b, b.ctx, &lock, &barrier, &last, i, 0 };
		if (i)
			ASSERT_EQ(0, platform_new_context(b.p, &sharers[i].ctx));
		bench_start(sharers[i].ctx->state.regs);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, share, &sharers[i]));
	}
	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		EXPECT_EQ(sizeof(page), address_space_copy_in(b.as, BENCH_FREE, &page,
							      sizeof(page), &fault));
		EXPECT_EQ(last, page) TH_LOG("round %u", i);
		pthread_barrier_wait(&barrier);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, sharers[i].err);
	}
	context_release(sharers[1].ctx);
	bench_close(&b);
}

TEST_HARNESS_MAIN
