// SPDX-License-Identifier: MIT
/*
 * abi_test.c - every command, with one thing wrong at a time
 *
 * Outputs are poisoned first: what a refused command leaves in them, and what a
 * successful one forgets to write, is seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define POISON 0xcc

BOX_FIXTURE(abi)


/* sizes, flags and pointers, the same for every command that takes a structure */

/* A command with an argument that is valid, as long as nobody changes it. */
struct command {
	const char *name;
	unsigned int cmd;
	size_t size;
	uint32_t unknown_flag;
	bool on_space;
};

#define COMMAND(cmd, type, flag, on_space) \
	{ #cmd, cmd, sizeof(struct type), flag, on_space }

static const struct command commands[] = {
	COMMAND(SANDTRAP_GET_INFO, sandtrap_info, 1, false),
	COMMAND(SANDTRAP_NEW_ADDRESS_SPACE, sandtrap_new_address_space, 1, false),
	COMMAND(SANDTRAP_NEW_CONTEXT, sandtrap_new_context, 4, false),
	COMMAND(SANDTRAP_BIND_CONTEXT, sandtrap_bind_context, 1, false),
	COMMAND(SANDTRAP_RELEASE_CONTEXT, sandtrap_context_arg, 1, false),
	COMMAND(SANDTRAP_RUN, sandtrap_run, 1, false),
	COMMAND(SANDTRAP_RESUME, sandtrap_context_arg, 1, false),
	COMMAND(SANDTRAP_WAIT, sandtrap_wait, 1, false),
	COMMAND(SANDTRAP_INTERRUPT, sandtrap_context_arg, 1, false),
	COMMAND(SANDTRAP_PULL, sandtrap_context_arg, 4, false),
	COMMAND(SANDTRAP_RING_SETUP, sandtrap_ring_setup, 1, false),
	COMMAND(SANDTRAP_MEM, sandtrap_mem, 1, true),
	COMMAND(SANDTRAP_COPY, sandtrap_copy, 1, true),
	COMMAND(SANDTRAP_ATOMIC, sandtrap_atomic, 1, true),
};

#define FOR_EACH_COMMAND(c) \
	for (c = commands; c < commands + sizeof(commands) / sizeof(*commands); c++)

static int call(struct box *b, const struct command *c, void *arg)
{
	return ioctl(c->on_space ? b->as : b->fd, c->cmd, arg) ? -errno : 0;
}

TEST_F(abi, sizes_below_the_smallest_are_refused)
{
	const struct command *c;
	uint32_t size;

	FOR_EACH_COMMAND(c) {
		for (size = 0; size < c->size; size++) {
			unsigned char arg[256] = { 0 };

			memcpy(arg, &size, sizeof(size));
			EXPECT_EQ(-EINVAL, call(&self->b, c, arg))
				TH_LOG("%s size %u", c->name, size);
		}
	}
}

TEST_F(abi, a_tail_that_is_not_zero_is_refused)
{
	unsigned char *arg = self->b.file;
	const struct command *c;

	FOR_EACH_COMMAND(c) {
		uint32_t sizes[] = { c->size + 1, c->size + 8, 4096 };
		size_t i;

		for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			memset(arg, 0, 8192);
			memcpy(arg, &sizes[i], 4);
			arg[sizes[i] - 1] = 1;
			EXPECT_EQ(-E2BIG, call(&self->b, c, arg))
				TH_LOG("%s size %u", c->name, sizes[i]);
		}
		memset(arg, 0, 8192);
		*(uint32_t *)arg = 4097;
		EXPECT_EQ(-E2BIG, call(&self->b, c, arg))
			TH_LOG("%s", c->name);
	}
}

TEST_F(abi, a_tail_of_zeros_is_accepted)
{
	struct { struct sandtrap_info info; uint64_t tail[4]; } arg;

	memset(&arg, 0, sizeof(arg));
	arg.info.size = sizeof(arg);
	arg.tail[3] = 0;
	EXPECT_EQ(0, ioctl(self->b.fd, SANDTRAP_GET_INFO, &arg));
	EXPECT_EQ(sizeof(arg), arg.info.size);
	EXPECT_EQ(SANDTRAP_ABI, arg.info.out_abi);
}

TEST_F(abi, unknown_flags_are_refused)
{
	const struct command *c;

	FOR_EACH_COMMAND(c) {
		uint64_t flag;

		for (flag = c->unknown_flag; flag < 1ull << 32; flag <<= 1) {
			uint32_t arg[64] = { c->size, flag };

			EXPECT_EQ(-EOPNOTSUPP, call(&self->b, c, arg))
				TH_LOG("%s flag %#lx", c->name, flag);
		}
	}
}

TEST_F(abi, bad_pointers_are_refused)
{
	unsigned char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct command *c;

	ASSERT_NE(MAP_FAILED, (void *)two);
	munmap(two + 4096, 4096);
	FOR_EACH_COMMAND(c) {
		EXPECT_EQ(-EFAULT, call(&self->b, c, NULL));
		EXPECT_EQ(-EFAULT, call(&self->b, c, (void *)~0ul));
		EXPECT_EQ(-EFAULT, call(&self->b, c, two + 4096));
		*(uint32_t *)(two + 4092) = c->size;
		EXPECT_EQ(-EFAULT, call(&self->b, c, two + 4092))
			TH_LOG("%s", c->name);
	}
}

/* Nobody gets a context, or a ring, who cannot be told of it. */
TEST_F(abi, nothing_is_made_where_results_cannot_be_written)
{
	struct sandtrap_new_context context = { .size = sizeof(context), .address_space = -1 };
	struct sandtrap_ring_setup ring = { .size = sizeof(ring), .entries = 64 };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	ASSERT_NE(MAP_FAILED, page);
	memcpy(page, &context, sizeof(context));
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_NEW_CONTEXT, page));
	EXPECT_EQ(EFAULT, errno);
	/* Its id would have been the next. */
	EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
				       self->b.ctx.id + 1, 0, 0));
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_CONTEXT, &context));
	EXPECT_LT(self->b.ctx.id + 1, context.out_id);

	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ | PROT_WRITE));
	memcpy(page, &ring, sizeof(ring));
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RING_SETUP, page));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, ioctl(self->b.fd, SANDTRAP_RING_SETUP, &ring));
	munmap(page, 4096);
}

TEST_F(abi, unknown_commands_are_refused)
{
	int fds[] = { self->b.fd, self->b.as };
	struct sandtrap_info arg = { .size = sizeof(arg) };
	size_t i;
	unsigned int nr;

	for (i = 0; i < 2; i++) {
		for (nr = 0x8b; nr < 0x90; nr++)
			EXPECT_EQ(-1, ioctl(fds[i], _IO('t', nr), &arg));
		EXPECT_EQ(ENOTTY, errno);
		EXPECT_EQ(-1, ioctl(fds[i], _IO('u', 0x80), &arg));
		EXPECT_EQ(ENOTTY, errno);
		EXPECT_EQ(-1, ioctl(fds[i], _IOWR('t', 0x80, int), &arg));
		EXPECT_EQ(ENOTTY, errno);
	}
	/* Right command, wrong kind of descriptor. */
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_GET_INFO, &arg));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_MEM, &arg));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_SERVE, 0));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_ATTACH, 1));
	EXPECT_EQ(ENOTTY, errno);
}

/* reserved members */

TEST_F(abi, reserved_members_must_be_zero)
{
	struct sandtrap_info info = { .size = sizeof(info), .__reserved = 1 };
	struct sandtrap_run run = {
		.size = sizeof(run), .id = self->b.ctx.id, .__reserved = 1,
	};
	struct sandtrap_copy copy = {
		.size = sizeof(copy), .op = SANDTRAP_COPY_ZERO, .__reserved = 1,
	};
	struct sandtrap_ring_setup ring = {
		.size = sizeof(ring), .entries = 8, .__reserved = 1,
	};

	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_GET_INFO, &info));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, ioctl(self->b.as, SANDTRAP_COPY, &copy));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RING_SETUP, &ring));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-EOPNOTSUPP, box_command(&self->b, SANDTRAP_PULL,
					   self->b.ctx.id, 1, 1));
	EXPECT_EQ(-EOPNOTSUPP, box_command(&self->b, SANDTRAP_INTERRUPT,
					   self->b.ctx.id, 0, 1));
	EXPECT_EQ(-EOPNOTSUPP, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
					   self->b.ctx.id, 0, 1));
}

/* GET_INFO */

TEST_F(abi, get_info_writes_every_member)
{
	struct sandtrap_info info;

	memset(&info, POISON, sizeof(info));
	info.size = sizeof(info);
	info.flags = 0;
	info.__reserved = 0;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_GET_INFO, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(SANDTRAP_ABI, info.out_abi);
	EXPECT_EQ(SANDTRAP_FEATURE_RING_MODE,
		  info.out_features & ~(SANDTRAP_FEATURE_CPUID_FAULTING |
					SANDTRAP_FEATURE_DIRECT_MODE));
	EXPECT_EQ(0, info.out_context_size % 4096);
	EXPECT_LE(SANDTRAP_FPU_OFFSET + info.out_fpu_size, info.out_context_size);
	EXPECT_LE(576, info.out_fpu_size);
	EXPECT_LE(1, info.out_max_mem_ops);
	EXPECT_GE(65536, info.out_max_mem_ops);
	EXPECT_NE(0xcccccccc, info.out_max_contexts);
	EXPECT_NE(0xcccccccc, info.out_max_spin_ns);
	EXPECT_NE(0xcccccccc, info.out_max_ring_entries);
	EXPECT_LE(0x7ffffffff000ull, info.out_task_size);
	EXPECT_GE(1ull << 57, info.out_task_size);
}

/* objects */

TEST_F(abi, descriptors_are_close_on_exec)
{
	struct sandtrap_new_address_space arg;

	memset(&arg, POISON, sizeof(arg));
	arg.size = sizeof(arg);
	arg.flags = 0;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	EXPECT_EQ(FD_CLOEXEC, fcntl(arg.out_fd, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(arg.out_stub_fd, F_GETFD));
	EXPECT_NE(arg.out_fd, arg.out_stub_fd);
	close(arg.out_stub_fd);
	close(arg.out_fd);
}

static int new_context(struct box *b, int as)
{
	struct sandtrap_new_context arg;

	memset(&arg, POISON, sizeof(arg));
	arg.size = sizeof(arg);
	arg.flags = 0;
	arg.address_space = as;
	if (ioctl(b->fd, SANDTRAP_NEW_CONTEXT, &arg))
		return -errno;
	return arg.out_id;
}

TEST_F(abi, a_context_needs_an_address_space_of_its_instance)
{
	struct sandtrap_new_address_space foreign = { .size = sizeof(foreign) };
	int other = open(SANDTRAP_DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, ioctl(other, SANDTRAP_NEW_ADDRESS_SPACE, &foreign));
	EXPECT_EQ(-EBADF, new_context(&self->b, foreign.out_fd));
	EXPECT_EQ(-EBADF, new_context(&self->b, foreign.out_stub_fd));
	EXPECT_EQ(-EBADF, new_context(&self->b, self->b.fd));
	EXPECT_EQ(-EBADF, new_context(&self->b, self->b.mem));
	EXPECT_EQ(-EBADF, new_context(&self->b, 9999));
	EXPECT_EQ(-EBADF, new_context(&self->b, -2));
	EXPECT_LT(0, new_context(&self->b, self->b.as));
	EXPECT_LT(0, new_context(&self->b, -1));
	close(foreign.out_fd);
	close(foreign.out_stub_fd);
	close(other);
}

TEST_F(abi, a_dead_address_space_takes_no_context)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };

	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	close(arg.out_stub_fd);
	EXPECT_EQ(-ESRCH, new_context(&self->b, arg.out_fd));
	EXPECT_EQ(-ESRCH, box_map(&self->b, arg.out_fd, BOX_FREE, 0, 1, PROT_READ));
	close(arg.out_fd);
}

TEST_F(abi, a_context_whose_stub_never_comes_is_told)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	struct box_context ctx;

	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	ASSERT_EQ(0, box_new_context(&self->b, arg.out_fd, 0, &ctx));
	close(arg.out_stub_fd);
	EXPECT_EQ(0, box_wait(&self->b, &ctx, 1, 10000));
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, ctx.page->event);
	EXPECT_EQ(2, ctx.page->event_seq);
	EXPECT_EQ(-ESRCH, box_run(&self->b, &ctx));
	EXPECT_EQ(-ESRCH, box_command(&self->b, SANDTRAP_PULL, ctx.id, 1, 0));
	EXPECT_EQ(-ESRCH, box_command(&self->b, SANDTRAP_RESUME, ctx.id, 0, 2));
	EXPECT_EQ(-ESRCH, box_wait(&self->b, &ctx, 2, 1000));
	close(arg.out_fd);
}

TEST_F(abi, a_new_context_is_empty)
{
	static const struct sandtrap_regs no_regs;
	struct box_context ctx;
	const unsigned char *fpu;

	ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
	EXPECT_EQ(1, ctx.page->event_seq);
	EXPECT_EQ(SANDTRAP_EVENT_NONE, ctx.page->event);
	EXPECT_EQ(0, ctx.page->resume_seq);
	EXPECT_EQ(0, memcmp(&no_regs, &ctx.page->regs, sizeof(no_regs)));
	fpu = (void *)((char *)ctx.page + SANDTRAP_FPU_OFFSET);
	EXPECT_EQ(0x37f, *(const uint16_t *)fpu);
	EXPECT_EQ(0x1f80, *(const uint32_t *)(fpu + 24));
}

TEST_F(abi, unknown_contexts_are_refused)
{
	struct sandtrap_run run = { .size = sizeof(run) };
	struct sandtrap_wait wait = { .size = sizeof(wait), .seq = 1 };
	struct sandtrap_bind_context bind = {
		.size = sizeof(bind), .address_space = self->b.as,
	};
	uint32_t ids[] = { 0, self->b.ctx.id + 1, 0x7fffffff, 0xffffffff };
	size_t i;

	for (i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		run.id = wait.id = bind.id = ids[i];
		EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
		EXPECT_EQ(ENOENT, errno);
		EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
		EXPECT_EQ(ENOENT, errno);
		EXPECT_EQ(-1, lseek(self->b.fd, ids[i], SEEK_SET));
		EXPECT_EQ(ENOENT, errno);
		if (ids[i]) {
			EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_WAIT, &wait));
			EXPECT_EQ(ENOENT, errno);
		}
		EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_RESUME, ids[i], 0, 1));
		EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_INTERRUPT, ids[i], 0, 0));
		EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_PULL, ids[i], 1, 0));
		EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ids[i], 0, 0));
	}
	EXPECT_EQ(-1, lseek(self->b.fd, 1l << 32, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->b.fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->b.fd, self->b.ctx.id, SEEK_CUR));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(abi, a_context_without_address_space_cannot_run)
{
	struct sandtrap_bind_context bind = {
		.size = sizeof(bind), .address_space = self->b.as,
	};
	struct box_context ctx;

	ASSERT_EQ(0, box_new_context(&self->b, -1, 0, &ctx));
	EXPECT_EQ(-ENOTCONN, box_run(&self->b, &ctx));
	EXPECT_EQ(-1, lseek(self->b.fd, ctx.id, SEEK_SET));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-ENOTCONN, box_command(&self->b, SANDTRAP_PULL, ctx.id, 1, 0));
	bind.id = ctx.id;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
	box_load(&self->b, &ctx, box_syscall, box_syscall_end - box_syscall);
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
	bind.address_space = -1;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
	EXPECT_EQ(-ENOTCONN, box_run(&self->b, &ctx));
	bind.address_space = self->b.as;
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
	bind.address_space = self->b.mem;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
	EXPECT_EQ(EBADF, errno);
	bind.address_space = -2;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_BIND_CONTEXT, &bind));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(abi, a_released_context_is_gone)
{
	struct box_context ctx;

	ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ctx.id, 0, 0));
	EXPECT_EQ(-ENOENT, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ctx.id, 0, 0));
	EXPECT_EQ(-ENOENT, box_run(&self->b, &ctx));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->b.info.out_context_size,
				   PROT_READ, MAP_SHARED, self->b.fd, ctx.offset));
	EXPECT_EQ(ENOENT, errno);
	/* The mapping that was there stays harmless. */
	ctx.page->resume_seq = ctx.page->event_seq;
}

/* states */

TEST_F(abi, run_and_resume_answer_the_last_event_only)
{
	struct sandtrap_run run = { .size = sizeof(run), .id = self->b.ctx.id };
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_UNMAP, .addr = BOX_FREE, .len = 4096,
	};

	BOX_LOAD(&self->b, box_syscall);
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->b.ctx));
	/* An old number: there is an event already. */
	run.seq = 1;
	EXPECT_EQ(0, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(2, self->b.ctx.page->event_seq);
	EXPECT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 1));
	EXPECT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 99));
	EXPECT_EQ(-ETIME, box_wait(&self->b, &self->b.ctx, 2, 10));
	/* Operations are never carried out for an old number. */
	run.ops = (uintptr_t)&op;
	run.nr_ops = 1;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(EINVAL, errno);
	run.nr_ops = 0;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RUN, &run));
	EXPECT_EQ(EINVAL, errno);
}

BOX_PROGRAM(prog_loop, "1: pause\n jmp 1b");

TEST_F(abi, a_running_context_cannot_be_pulled)
{
	BOX_LOAD(&self->b, prog_loop);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 1));
	EXPECT_EQ(-EINVAL, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id, 1, 0));
	EXPECT_EQ(-EINVAL, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id, 0, 0));
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->b.ctx.id, 0, 0));
	ASSERT_EQ(0, box_wait(&self->b, &self->b.ctx, 1, 10000));
	EXPECT_EQ(0, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id, 3, 0));
}

static void *run_thread(void *arg)
{
	struct box *b = arg;
	long ret;

	/* The test looks whether we are at it, and is in our way then. */
	do {
		ret = box_run(b, &b->ctx);
	} while (ret == -EBUSY);
	return (void *)ret;
}

TEST_F(abi, one_thread_at_a_time_runs_a_context)
{
	pthread_t thread;
	void *result;
	int i;

	BOX_LOAD(&self->b, prog_loop);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_thread, &self->b));
	for (i = 0; i < 10000; i++) {
		if (box_wait(&self->b, &self->b.ctx, 1, 0) == -EBUSY)
			break;
		usleep(1000);
	}
	EXPECT_EQ(-EBUSY, box_wait(&self->b, &self->b.ctx, 1, 0));
	EXPECT_EQ(-EBUSY, box_run(&self->b, &self->b.ctx));
	EXPECT_EQ(-EBUSY, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id, 1, 0));
	EXPECT_EQ(-EBUSY, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
				      self->b.ctx.id, 0, 0));
	EXPECT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, self->b.ctx.id, 0, 0));
	pthread_join(thread, &result);
	EXPECT_EQ(SANDTRAP_EVENT_INTERRUPT, (long)result);
}

/* WAIT */

TEST_F(abi, wait_obeys_its_timeout)
{
	struct sandtrap_wait arg = {
		.size = sizeof(arg), .id = self->b.ctx.id, .seq = 1,
	};
	uint64_t start = box_now_ns();

	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_WAIT, &arg));
	EXPECT_EQ(ETIME, errno);
	arg.timeout_ns = start + 50000000;
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_WAIT, &arg));
	EXPECT_EQ(ETIME, errno);
	EXPECT_LE(start + 50000000, box_now_ns());
	/* Another number: nothing to wait for. */
	arg.seq = 0;
	arg.timeout_ns = SANDTRAP_WAIT_FOREVER;
	EXPECT_EQ(0, ioctl(self->b.fd, SANDTRAP_WAIT, &arg));
}

/* owner */

TEST_F(abi, only_the_owner_may_use_an_instance)
{
	const struct command *c;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		FOR_EACH_COMMAND(c) {
			uint32_t arg[64] = { c->size };
			int err = call(&self->b, c, arg);

			if (c->cmd == SANDTRAP_GET_INFO ? err != 0 : err != -EPERM)
				_exit(c - commands + 1);
		}
		if (lseek(self->b.fd, 1, SEEK_SET) != -1 || errno != EPERM)
			_exit(100);
		if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->b.fd,
			 self->b.ctx.offset) != MAP_FAILED || errno != EPERM)
			_exit(101);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("step %d", WEXITSTATUS(status));
}

/* A forked child does not inherit the pages. */
TEST_F(abi, context_pages_are_not_inherited)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		unsigned char there;

		_exit(mincore(self->b.ctx.page, 4096, &there) == -1 &&
		      errno == ENOMEM ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* mmap */

static int try_mmap(struct box *b, size_t size, int prot, int flags,
		    uint64_t offset)
{
	void *p = mmap(NULL, size, prot, flags, b->fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

TEST_F(abi, only_what_is_offered_can_be_mapped)
{
	uint64_t offset = self->b.ctx.offset;
	size_t size = self->b.info.out_context_size;
	const int rw = PROT_READ | PROT_WRITE;

	EXPECT_EQ(0, try_mmap(&self->b, size, rw, MAP_SHARED, offset));
	EXPECT_EQ(0, try_mmap(&self->b, 4096, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_mmap(&self->b, size, rw, MAP_PRIVATE, offset));
	EXPECT_EQ(-EPERM, try_mmap(&self->b, size, rw | PROT_EXEC, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_mmap(&self->b, size + 4096, rw, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_mmap(&self->b, 4096, rw, MAP_SHARED, offset + 4096));
	EXPECT_EQ(-ENOENT, try_mmap(&self->b, size, rw, MAP_SHARED, offset + (1 << 20)));
	/* No ring yet. */
	EXPECT_EQ(-EINVAL, try_mmap(&self->b, 4096, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_mmap(&self->b, 4096, PROT_READ, MAP_SHARED, 0x5000));
}

TEST_F(abi, context_pages_cannot_be_made_executable)
{
	EXPECT_EQ(-1, mprotect(self->b.ctx.page, 4096, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

/* the stub's side */

TEST_F(abi, only_a_stub_may_serve_or_attach)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	int status;
	pid_t pid;

	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	/* The sentry itself. */
	EXPECT_EQ(-1, ioctl(arg.out_stub_fd, SANDTRAP_SERVE, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ioctl(arg.out_stub_fd, SANDTRAP_ATTACH, 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ioctl(arg.out_stub_fd, SANDTRAP_ATTACH, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(arg.out_stub_fd, SANDTRAP_ATTACH, 1ul << 32));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(arg.out_stub_fd, SANDTRAP_MEM, 0));
	EXPECT_EQ(ENOTTY, errno);
	/* A process without a filter. */
	pid = fork();
	if (!pid) {
		if (ioctl(arg.out_stub_fd, SANDTRAP_SERVE, 0) != -1 || errno != EPERM)
			_exit(1);
		if (ioctl(arg.out_stub_fd, SANDTRAP_ATTACH, 1) != -1 || errno != EPERM)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(arg.out_stub_fd);
	close(arg.out_fd);
}

static int serve(int fd, long arg)
{
	int ret = ioctl(fd, SANDTRAP_SERVE, arg);

	return ret < 0 ? -errno : ret;
}

/*
 * A process that wants to be the stub: its exit status is the step that went wrong.
 * It tells @out the contexts that it was given, three of them.
 */
static void be_server(int fd, int out)
{
	static int word;
	int ids[3];

	box_allow_everything();
	/* What libc has registered. */
	if (serve(fd, 0) != -EPERM)
		_exit(1);
	syscall(SYS_set_tid_address, NULL);
	box_rseq(RSEQ_FLAG_UNREGISTER);
	if (serve(fd, 0) != -EPERM)
		_exit(2); /* a list of robust futexes */
	syscall(SYS_set_robust_list, NULL, 3 * sizeof(void *));
	syscall(SYS_set_tid_address, &word);
	if (serve(fd, 0) != -EPERM)
		_exit(3); /* a word to clear */
	syscall(SYS_set_tid_address, NULL);
	if (__rseq_size && (box_rseq(0) || serve(fd, 0) != -EPERM))
		_exit(4); /* restartable sequences */
	box_rseq(RSEQ_FLAG_UNREGISTER);
	if (serve(fd, 1) != -EINVAL || serve(fd, -5000) != -EINVAL)
		_exit(5);
	ids[0] = serve(fd, 0);
	ids[1] = serve(fd, 0);
	/* It could not make a thread for the second. */
	ids[2] = serve(fd, -EAGAIN);
	if (write(out, ids, sizeof(ids)) == sizeof(ids))
		pause();
	_exit(6);
}

TEST_F(abi, a_server_has_nothing_registered_and_reports_one_failure)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	struct box_context ctx[3];
	int ids[3] = { 0 }, ends[2], status, i;
	pid_t pid;

	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, ioctl(self->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, box_new_context(&self->b, arg.out_fd, 0, &ctx[i]));
	pid = fork();
	if (!pid)
		be_server(arg.out_stub_fd, ends[1]);
	close(ends[1]);
	EXPECT_EQ(sizeof(ids), read(ends[0], ids, sizeof(ids)));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(ctx[i].id, ids[i]);
		EXPECT_EQ(i == 1 ? SANDTRAP_EVENT_DEAD : SANDTRAP_EVENT_NONE,
			  ctx[i].page->event);
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
	close(arg.out_stub_fd);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, box_wait(&self->b, &ctx[i], 1, 10000));
	close(arg.out_fd);
}

TEST_HARNESS_MAIN
