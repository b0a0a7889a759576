// SPDX-License-Identifier: MIT
/*
 * systrap_filter.c - seccomp: what stub processes may do, and what the sentry must
 *
 * Two filters. That of the server is inherited by all; stub threads, which run
 * program code, add one that leaves next to nothing. Both answer what they do not
 * allow with SIGSYS, since that is how a program's system calls become events.
 *
 * With Syscall User Dispatch the kernel turns away system calls from outside the
 * stub code before any filter sees them, and the filter does not have to look
 * where a call comes from, so that the kernel can remember the answer for
 * rt_sigreturn. Without, two comparisons before libseccomp's program do that,
 * which libseccomp cannot express.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "filter.h"
#include "systrap.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#define EQ(n, value) \
	{ .arg = (n), .op = SCMP_CMP_EQ, .datum_a = (value) }
#define LOW32(n, value) \
	{ .arg = (n), .op = SCMP_CMP_MASKED_EQ, .datum_a = 0xffffffffu, .datum_b = (value) }
#define RULE0(nr) \
	{ .sysno = (nr) }
#define RULE(nr, cmp) \
	{ .sysno = (nr), .nr_args = sizeof(cmp) / sizeof((cmp)[0]), .args = (cmp) }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What the stub code does, with exactly the arguments it uses: see sysmsg.S. */
static const struct scmp_arg_cmp map_shared[] = { EQ(3, MAP_SHARED | MAP_FIXED) };
static const struct scmp_arg_cmp map_now[] = { EQ(3, MAP_SHARED | MAP_FIXED | MAP_POPULATE) };
static const struct scmp_arg_cmp map_stack[] = {
	EQ(2, PROT_READ | PROT_WRITE), EQ(3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
};
static const struct scmp_arg_cmp futex_wait[] = { EQ(1, FUTEX_WAIT) };
static const struct scmp_arg_cmp futex_wake[] = { EQ(1, FUTEX_WAKE) };
static const struct scmp_arg_cmp write_ack[] = { EQ(2, sizeof(uint64_t)) };
static const struct scmp_arg_cmp clone_thread[] = { EQ(0, SYSTRAP_THREAD_CLONE_FLAGS) };
static const struct scmp_arg_cmp clone_process[] = { EQ(0, SYSTRAP_PROCESS_CLONE_FLAGS) };
static const struct scmp_arg_cmp pdeathsig[] = { EQ(0, PR_SET_PDEATHSIG), EQ(1, SIGKILL) };
static const struct scmp_arg_cmp dispatch[] = { EQ(0, PR_SET_SYSCALL_USER_DISPATCH), EQ(1, 1) };
static const struct scmp_arg_cmp close_all[] = {
	EQ(0, 0), LOW32(1, 0xffffffffu), EQ(2, CLOSE_RANGE_UNSHARE),
};
static const struct scmp_arg_cmp set_mask[] = { EQ(0, SIG_SETMASK) };
static const struct scmp_arg_cmp add_filter[] = {
	EQ(0, SECCOMP_SET_MODE_FILTER), EQ(1, SECCOMP_FILTER_FLAG_SPEC_ALLOW),
};

static const struct platform_seccomp_rule server_rules[] = {
	RULE(__NR_mmap, map_shared),
	RULE(__NR_mmap, map_now),
	RULE(__NR_mmap, map_stack),
	RULE0(__NR_munmap),
	RULE0(__NR_mprotect),
	RULE(__NR_futex, futex_wait),
	RULE(__NR_futex, futex_wake),
	RULE0(__NR_sched_yield),
	RULE(__NR_write, write_ack),
	RULE(__NR_clone, clone_thread),
	RULE(__NR_clone, clone_process),
	RULE(__NR_prctl, pdeathsig),
	RULE(__NR_prctl, dispatch),
	RULE0(__NR_getppid),
	RULE(__NR_close_range, close_all),
	RULE0(__NR_sigaltstack),
	RULE(__NR_rt_sigprocmask, set_mask),
	RULE(__NR_seccomp, add_filter),
	RULE0(__NR_rt_sigreturn),
	RULE0(__NR_exit_group),
};

static const struct platform_seccomp_rule thread_rules[] = {
	RULE(__NR_futex, futex_wait),
	RULE(__NR_futex, futex_wake),
	RULE0(__NR_sched_yield),
	RULE(__NR_rt_sigprocmask, set_mask),
	RULE0(__NR_rt_sigreturn),
};

static int build(const struct platform_seccomp_rule *rules, size_t count, struct sock_fprog *prog)
{
	scmp_filter_ctx filter;
	int err;

	filter = seccomp_init(SCMP_ACT_TRAP);
	if (!filter)
		return -ENOMEM;
	err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP);
	if (!err)
		err = filter_allow(filter, rules, count);
	if (!err)
		err = filter_export(filter, prog);
	seccomp_release(filter);
	return err;
}

int systrap_server_filter(struct sock_fprog *prog)
{
	return build(server_rules, COUNT(server_rules), prog);
}

/*
 * Calls from outside the stub's page are trapped. The instruction pointer is
 * behind the instruction, which does not begin at the end of the page. BPF jumps
 * are relative, so the rest of the program can be moved.
 */
static int add_origin_check(uint64_t text, struct sock_fprog *prog)
{
	const uint32_t ip = offsetof(struct seccomp_data, instruction_pointer);
	const struct sock_filter check[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, text >> 32, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(SYSMSG_TEXT_SIZE - 1u)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)text, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_filter *insns;

	insns = malloc(sizeof(check) + prog->len * sizeof(*insns));
	if (!insns)
		return -ENOMEM;
	memcpy(insns, check, sizeof(check));
	memcpy(insns + COUNT(check), prog->filter, prog->len * sizeof(*insns));
	free(prog->filter);
	prog->filter = insns;
	prog->len += COUNT(check);
	return 0;
}

int systrap_thread_filter(const struct systrap_platform *p, struct sock_fprog *prog)
{
	int err;

	err = build(thread_rules, COUNT(thread_rules), prog);
	if (!err && !p->dispatch)
		err = add_origin_check(p->stub + SYSMSG_TEXT, prog);
	return err;
}

static const struct scmp_arg_cmp kill_stub[] = { LOW32(1, SIGKILL) };
static const struct scmp_arg_cmp continue_stub[] = { LOW32(1, SIGCONT) };
static const struct scmp_arg_cmp kick_thread[] = { LOW32(2, SYSTRAP_INTERRUPT_SIGNAL) };
static const struct scmp_arg_cmp keep_open[] = { LOW32(1, F_DUPFD_CLOEXEC) };
static const struct scmp_arg_cmp barrier[] = { LOW32(0, MEMBARRIER_CMD_GLOBAL_EXPEDITED) };

static const struct platform_seccomp_rule sentry_rules[] = {
	/* The hot path: without conditions, so that the kernel remembers it. */
	RULE0(__NR_futex),
	RULE0(__NR_read),
	RULE0(__NR_preadv2),
	RULE0(__NR_write),
	RULE0(__NR_waitid),
	RULE(__NR_kill, kill_stub),
	RULE(__NR_kill, continue_stub),
	RULE(__NR_tgkill, kick_thread),
	RULE(__NR_membarrier, barrier),
	RULE(__NR_fcntl, keep_open),
	RULE0(__NR_memfd_create),
	RULE0(__NR_ftruncate),
	RULE0(__NR_eventfd2),
	RULE0(__NR_mmap),
	RULE0(__NR_munmap),
	RULE0(__NR_close),
	RULE0(__NR_clock_gettime),
	RULE0(__NR_sched_setaffinity),
};

size_t systrap_sentry_rules(const struct platform_seccomp_rule **rules)
{
	*rules = sentry_rules;
	return COUNT(sentry_rules);
}
