// SPDX-License-Identifier: MIT
/*
 * ptrace_filter.c - seccomp: what stubs may do, and what the sentry must
 *
 * Under PTRACE_SYSEMU no system call of a program gets as far as seccomp: this
 * filter is what is left should tracing ever fail. It lets through what the
 * master and the task threads inject, and pause(2) of parked threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "ptrace.h"

#define EQ(n, value) \
	{ .arg = (n), .op = SCMP_CMP_EQ, .datum_a = (value) }
#define RULE0(nr) \
	{ .sysno = (nr) }
#define RULE(nr, cmp) \
	{ .sysno = (nr), .nr_args = sizeof(cmp) / sizeof((cmp)[0]), .args = (cmp) }

static const struct scmp_arg_cmp clone_thread[] = { EQ(0, PTRACE_THREAD_CLONE_FLAGS) };
static const struct scmp_arg_cmp clone_process[] = { EQ(0, PTRACE_PROCESS_CLONE_FLAGS) };
static const struct scmp_arg_cmp map_shared[] = { EQ(3, MAP_SHARED | MAP_FIXED) };
static const struct scmp_arg_cmp map_now[] = { EQ(3, MAP_SHARED | MAP_FIXED | MAP_POPULATE) };
static const struct scmp_arg_cmp pdeathsig[] = { EQ(0, PR_SET_PDEATHSIG), EQ(1, SIGKILL) };

static const struct platform_seccomp_rule stub_rules[] = {
	RULE(__NR_clone, clone_thread),
	RULE(__NR_clone, clone_process),
	RULE(__NR_mmap, map_shared),
	RULE(__NR_mmap, map_now),
	RULE0(__NR_munmap),
	RULE0(__NR_mprotect),
	RULE(__NR_prctl, pdeathsig),
	RULE0(__NR_pause),
};

/*
 * Calls into the vsyscall page do not go through the system call entry, hence
 * past PTRACE_SYSEMU, but the kernel asks seccomp before it emulates them. TRAP
 * makes a SIGSYS of them, which the tracer turns into the page fault that it
 * stands for.
 */
static const int vsyscalls[] = { __NR_gettimeofday, __NR_time, __NR_getcpu };

static int add_rules(scmp_filter_ctx filter)
{
	size_t i;
	int err;

	err = filter_allow(filter, stub_rules, sizeof(stub_rules) / sizeof(stub_rules[0]));
	if (err)
		return err;
	for (i = 0; i < sizeof(vsyscalls) / sizeof(vsyscalls[0]); i++) {
		err = seccomp_rule_add_exact(filter, SCMP_ACT_TRAP, vsyscalls[i], 0);
		if (err)
			return err;
	}
	return 0;
}

int ptrace_filter_build(struct sock_fprog *prog)
{
	scmp_filter_ctx filter;
	int err;

	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return -ENOMEM;
	err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!err)
		err = add_rules(filter);
	if (!err)
		err = filter_export(filter, prog);
	seccomp_release(filter);
	return err;
}

void ptrace_filter_free(struct sock_fprog *prog)
{
	free(prog->filter);
}

static const struct scmp_arg_cmp wait_all[] = { EQ(2, __WALL) };
static const struct scmp_arg_cmp kill_stub[] = { EQ(1, SIGKILL) };
static const struct scmp_arg_cmp kick_thread[] = { EQ(2, PTRACE_INTERRUPT_SIGNAL) };
static const struct scmp_arg_cmp keep_open[] = { EQ(1, F_DUPFD_CLOEXEC) };
static const struct scmp_arg_cmp barrier[] = { EQ(0, MEMBARRIER_CMD_GLOBAL_EXPEDITED) };

static const struct platform_seccomp_rule sentry_rules[] = {
	RULE0(__NR_ptrace),
	RULE(__NR_wait4, wait_all),
	RULE0(__NR_waitid),
	RULE(__NR_kill, kill_stub),
	RULE(__NR_tgkill, kick_thread),
	RULE(__NR_membarrier, barrier),
	RULE0(__NR_clock_nanosleep),
	RULE0(__NR_sched_getaffinity),
	RULE0(__NR_sched_setaffinity),
	RULE0(__NR_gettid),
	RULE(__NR_fcntl, keep_open),
	RULE0(__NR_memfd_create),
	RULE0(__NR_ftruncate),
	RULE0(__NR_mmap),
	RULE0(__NR_munmap),
	RULE0(__NR_close),
};

size_t ptrace_sentry_rules(const struct platform_seccomp_rule **rules)
{
	*rules = sentry_rules;
	return sizeof(sentry_rules) / sizeof(sentry_rules[0]);
}
