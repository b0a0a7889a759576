// SPDX-License-Identifier: MIT
/*
 * confined.c - a sentry that confines itself keeps its platform
 *
 * After platform_new() the process gives up its capabilities and loads a filter
 * that allows what any C program with threads needs, what this test itself
 * needs, and platform_seccomp_info(). Whatever else a platform calls kills it.
 */
#include <linux/capability.h>
#include <pthread.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "suite.h"

#define THREADS 4
#define ROUNDS 10

SUITE_FIXTURE(confined);

PROGRAM(prog_count, "1: inc %rbx\n syscall\n jmp 1b");

static const int c_program[] = {
	__NR_futex, __NR_exit, __NR_exit_group, __NR_write, __NR_clone, __NR_clone3,
	__NR_rt_sigprocmask, __NR_set_robust_list, __NR_rseq, __NR_madvise, __NR_brk,
	__NR_mprotect, __NR_mmap, __NR_munmap, __NR_rt_sigreturn, __NR_sched_yield,
	__NR_rt_sigaction, /* the first pthread_create() */
};

/* For bench_descendants() and the end of the test. */
static const int this_test[] = {
	__NR_openat, __NR_read, __NR_close, __NR_newfstatat, __NR_getdents64, __NR_getpid,
	__NR_clock_nanosleep, __NR_restart_syscall, /* the storm */
};

static int allow(scmp_filter_ctx filter, const int *numbers, size_t count)
{
	size_t i;
	int err;

	for (i = 0; i < count; i++) {
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, numbers[i], 0);
		if (err)
			return err;
	}
	return 0;
}

static int allow_platform(scmp_filter_ctx filter, struct platform *p)
{
	const struct platform_seccomp_rule *rules;
	size_t i, count = platform_seccomp_info(p, &rules);
	int err;

	for (i = 0; i < count; i++) {
		err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].sysno,
					     rules[i].nr_args, rules[i].args);
		if (err)
			return err;
	}
	return 0;
}

static int load_filter(struct platform *p)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	/* The platform may have threads of its own. */
	err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = allow(filter, c_program, sizeof(c_program) / sizeof(c_program[0]));
	if (!err)
		err = allow(filter, this_test, sizeof(this_test) / sizeof(this_test[0]));
	if (!err)
		err = allow_platform(filter, p);
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(__NR_capset, &header, none);
}

static int confine(struct platform *p)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || drop_capabilities())
		return -1;
	return load_filter(p);
}

TEST_F(confined, goes_on)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_count);
	EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, confine(b->p));
	for (i = 0; i < ROUNDS; i++)
		EXPECT_SYSCALL(b, 0);
	ASSERT_EQ(0, bench_map(b, BENCH_FREE, BENCH_SPARE_OFFSET, BENCH_PAGE, PROT_READ));
	ASSERT_EQ(0, bench_unmap(b, BENCH_FREE, BENCH_PAGE));
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	context_full_state_changed(b->ctx);
	context_interrupt(b->ctx);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(ROUNDS + 2, b->regs->rbx);
	if (b->p->have_global_memory_barrier)
		EXPECT_EQ(0, platform_global_memory_barrier(b->p));
}

/* Everything new: thread, address space, context. */
static void *begin_and_end(void *arg)
{
	struct bench b = *(struct bench *)arg;
	long i, err;

	err = bench_new_address_space(&b, &b.as);
	if (err)
		return (void *)err;
	err = bench_new_context(&b, &b.ctx);
	if (err)
		return (void *)err;
	for (i = 0; i < ROUNDS && !err; i++)
		err = bench_run_context(&b, b.ctx, b.as, &b.ev);
	bench_release_context(&b, b.ctx);
	address_space_release(b.as);
	return (void *)err;
}

TEST_F(confined, begins_anew)
{
	pthread_t threads[THREADS];
	struct bench *b = &self->b;
	void *err;
	int i;

	BENCH_LOAD(b, prog_count);
	ASSERT_EQ(0, confine(b->p));
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, begin_and_end, b));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &err));
		EXPECT_EQ(NULL, err);
	}
}
