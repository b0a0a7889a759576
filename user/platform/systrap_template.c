// SPDX-License-Identifier: MIT
/*
 * systrap_template.c - how a fork of the sentry becomes the template process
 *
 * It gives up what it got from the sentry, and enters the stub code as a server.
 * The first thing that it is told to do there is to unmap all memory but the
 * stub's and the vDSO. Stub processes are clones of it.
 *
 * The fork may be that of a process with threads: only system calls here.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stub_setup.h"
#include "systrap.h"

struct kernel_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

#define SA_RESTORER_FLAG 0x04000000

static const uint64_t all_signals = ~0ull;

static bool is_handled(int sig)
{
	switch (sig) {
	case SIGSYS:
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGTRAP:
	case SIGILL:
	case SYSTRAP_INTERRUPT_SIGNAL:
		return true;
	default:
		return false;
	}
}

/*
 * All are blocked here, in the server, and while the handler runs; stub threads
 * unblock them. The two that can have no handler are refused.
 */
static int set_signals(const struct systrap_template_setup *s)
{
	struct kernel_sigaction sa;
	int sig;

	if (syscall(__NR_rt_sigprocmask, SIG_SETMASK, &all_signals, NULL, sizeof(all_signals)))
		return -errno;
	for (sig = 1; sig < NSIG; sig++) {
		sa = (struct kernel_sigaction){ .handler = (uint64_t)SIG_IGN };
		if (is_handled(sig)) {
			sa.handler = s->handler;
			sa.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG;
			sa.restorer = s->restorer;
			sa.mask = all_signals;
		}
		syscall(__NR_rt_sigaction, sig, &sa, NULL, sizeof(sa.mask));
	}
	return 0;
}

static bool map_at(uint64_t addr, uint64_t len, int prot, int fd, uint64_t offset)
{
	return (uint64_t)mmap((void *)addr, len, prot, MAP_SHARED | MAP_FIXED, fd, offset) == addr;
}

static bool map_stub(const struct systrap_template_setup *s)
{
	return map_at(s->stub + SYSMSG_TEXT, SYSMSG_TEXT_SIZE, PROT_READ | PROT_EXEC,
		      s->image_fd, 0) &&
	       map_at(s->stub + SYSMSG_DATA, SYSMSG_DATA_SIZE, PROT_READ, s->image_fd,
		      SYSMSG_TEXT_SIZE) &&
	       map_at(s->stub + SYSMSG_OPS, SYSMSG_OPS_SIZE, PROT_READ | PROT_WRITE,
		      s->memory_fd, 0);
}

/*
 * A process group of its own keeps the terminal's signals away. Not a session of
 * its own, which would be another scheduling group (autogroup).
 */
static int leave_sentry(const struct systrap_template_setup *s)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 0))
		return 1;
	if (getppid() != s->parent)
		return 2;
	if (set_signals(s) || setpgid(0, 0) || chdir("/") || prctl(PR_SET_NAME, "sandtrap-stub"))
		return 3;
	if (stub_leave_rseq())
		return 4;
	syscall(__NR_set_robust_list, NULL, 3 * sizeof(void *));
	return stub_drop_privileges() ? 5 : 0;
}

_Noreturn void systrap_template_main(const struct systrap_template_setup *s)
{
	struct sysmsg_ops *ops = (struct sysmsg_ops *)(s->stub + SYSMSG_OPS);
	int step = leave_sentry(s);

	if (step)
		_exit(step);
	if (!map_stub(s))
		_exit(6);
	ops->stack[0] = stub_take_features();
	if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		    &s->filter))
		_exit(7);
	asm volatile("jmp *%0" : : "a"(s->stub + SYSMSG_TEXT + SYSMSG_ENTRY_SERVER) : "memory");
	__builtin_unreachable();
}
