// SPDX-License-Identifier: MIT
/*
 * ptrace_inject.c - make a tracee do something: attach, wait, execute a call
 *
 * Works on any tracee of the calling thread: leaders for the master thread,
 * threads of contexts for task threads.
 */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ptrace.h"

/* 64-bit user mode, interrupts on: what every user thread has. */
#define USER_EFLAGS 0x202

/* True: it stopped. */
static bool wait_for_stop(pid_t tid, int *status)
{
	pid_t got;

	/* Handlers of the sentry's own signals may run meanwhile. */
	do {
		got = wait4(tid, status, __WALL, NULL);
	} while (got < 0 && errno == EINTR);
	return got == tid && WIFSTOPPED(*status);
}

/*
 * Leaders stop once more before they die. That is when they have to be given up:
 * the kernel reports the death of a leader only after that of its last thread,
 * and a traced thread is dead only once its tracer looked, which may be asleep
 * in the sentry, or waiting for the very master that waits here.
 */
int ptrace_wait(pid_t tid, int *status)
{
	if (!wait_for_stop(tid, status))
		return -ECHILD;
	if (*status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
		return 0;
	ptrace(PTRACE_CONT, tid, 0, 0);
	return -ECHILD;
}

void ptrace_reap(pid_t tid)
{
	int status;

	while (wait_for_stop(tid, &status))
		ptrace(PTRACE_CONT, tid, 0, 0);
}

/* Waits for a tracee that vanished under a request: it is dying, so this ends. */
static int see_off(pid_t tid)
{
	int status;

	while (!ptrace_wait(tid, &status))
		ptrace(PTRACE_CONT, tid, 0, 0);
	return -ECHILD;
}

static void init_regs(struct user_regs_struct *regs, uint64_t rip)
{
	memset(regs, 0, sizeof(*regs));
	regs->rip = rip;
	regs->orig_rax = -1;
	regs->cs = PLATFORM_USER_CS;
	regs->ss = PLATFORM_USER_SS;
	regs->eflags = USER_EFLAGS;
}

static void load_call(struct user_regs_struct *regs, uint64_t stub,
		      const struct ptrace_call *call)
{
	init_regs(regs, call->nr == __NR_clone ? PTRACE_STUB_ADDR(stub, clone) :
						 PTRACE_STUB_ADDR(stub, syscall));
	regs->rax = call->nr;
	regs->rdi = call->args[0];
	regs->rsi = call->args[1];
	regs->rdx = call->args[2];
	regs->r10 = call->args[3];
	regs->r8 = call->args[4];
	regs->r9 = call->args[5];
}

/* The int3 after injected calls; rip is behind the instruction. */
static bool at_end_of_call(const struct user_regs_struct *regs, uint64_t stub)
{
	return regs->rip == PTRACE_STUB_ADDR(stub, called) ||
	       regs->rip == PTRACE_STUB_ADDR(stub, batched) ||
	       regs->rip == PTRACE_STUB_ADDR(stub, cloned);
}

/*
 * A leader that was killed since its last stop is at its last one already, and
 * would not stop again. Whoever kills it after this look finds it slower than
 * the request that resumes it.
 */
static bool is_dying(pid_t tid)
{
	siginfo_t info;

	return !ptrace(PTRACE_GETSIGINFO, tid, 0, &info) &&
	       info.si_code == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

/*
 * Any other stop is a signal from outside or a late interrupt: resuming without
 * it swallows it, and the kernel restarts the call by itself.
 */
static int run_regs(uint64_t stub, pid_t tid, struct user_regs_struct *regs)
{
	int status;

	if (ptrace(PTRACE_SETREGS, tid, 0, regs) || is_dying(tid))
		return see_off(tid);
	do {
		if (ptrace(PTRACE_CONT, tid, 0, 0))
			return see_off(tid);
		if (ptrace_wait(tid, &status))
			return -ECHILD;
		if (ptrace(PTRACE_GETREGS, tid, 0, regs))
			return see_off(tid);
	} while (status >> 16 || WSTOPSIG(status) != SIGTRAP || !at_end_of_call(regs, stub));
	return 0;
}

int ptrace_inject(uint64_t stub, pid_t tid, const struct ptrace_call *call,
		  long *result)
{
	struct user_regs_struct regs;
	int err;

	load_call(&regs, stub, call);
	err = run_regs(stub, tid, &regs);
	*result = regs.rax;
	return err;
}

int ptrace_inject_batch(uint64_t stub, pid_t tid, unsigned int count)
{
	struct user_regs_struct regs;
	int err;

	init_regs(&regs, PTRACE_STUB_ADDR(stub, batch));
	regs.rbx = PTRACE_OPS_ADDR(stub);
	regs.rbp = count;
	err = run_regs(stub, tid, &regs);
	if (err)
		return err;
	return regs.rbp ? (int)regs.rax : 0;
}

int ptrace_set_sigmask(pid_t tid, uint64_t mask)
{
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask))
		return see_off(tid);
	return 0;
}

static int try_seize(pid_t tid)
{
	const unsigned long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;

	return ptrace(PTRACE_SEIZE, tid, 0, options) ? -errno : 0;
}

/*
 * A thread that is just exiting refuses with EPERM like one that may not be
 * traced, but is gone a moment later.
 */
static int seize_patiently(pid_t tid)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	int tries, err = 0;

	for (tries = 0; tries < 20; tries++) {
		err = try_seize(tid);
		if (err != -EPERM)
			break;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	}
	return err == -ESRCH ? -ECHILD : err;
}

int ptrace_seize(pid_t tid)
{
	int status, err;

	err = seize_patiently(tid);
	if (err)
		return err;
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		return see_off(tid);
	return ptrace_wait(tid, &status);
}
