// SPDX-License-Identifier: MIT
/*
 * ptrace_switch.c - run a context until something happens
 *
 * The hot path: PTRACE_POKEUSER for the result, or PTRACE_SETREGS if the sentry
 * changed more, PTRACE_SYSEMU, wait4, PTRACE_GETREGS. Vector state stays in the
 * stub thread until somebody asks for it.
 */
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/audit.h>
#include <unistd.h>

#include "cpuid_insn.h"
#include "ptrace.h"

/* Not in every libc: si_code of a seccomp trap and of a shadow stack fault. */
#define SYS_SECCOMP_CODE 1
#define SEGV_CPERR_CODE 10

#define EFLAGS_TF (1u << 8)
#define EFLAGS_RF (1u << 16)

#define SYSCALL_STOP (SIGTRAP | 0x80)

/* The kernel's ERESTARTSYS, the first of those that programs never see. */
#define FIRST_RESTART 512

/* The stop is none of the sentry's business. */
#define SWALLOW 1

static struct ptrace_platform *platform_of(const struct ptrace_context *ctx)
{
	return (struct ptrace_platform *)ctx->base.platform;
}

static int reap(struct ptrace_context *ctx)
{
	struct ptrace_thread *t = ctx->thread;
	int status;

	while (!ptrace_wait(t->tid, &status))
		ptrace(PTRACE_CONT, t->tid, 0, 0);
	return ptrace_thread_died(t);
}

/* ---- state ---- */

static bool user_address(uint64_t addr)
{
	return addr < PTRACE_TASK_SIZE;
}

static void set_user_segments(struct user_regs_struct *regs)
{
	regs->cs = PLATFORM_USER_CS;
	regs->ss = PLATFORM_USER_SS;
	regs->ds = regs->es = regs->fs = regs->gs = 0;
}

/*
 * Is the result all that is new? It takes a third of the time to set. But what looks
 * like a request for a restart must not be found beside a system call's number.
 */
static bool only_result_differs(const struct user_regs_struct *regs,
				const struct ptrace_thread *t)
{
	struct user_regs_struct with_result = t->loaded;

	with_result.rax = regs->rax;
	with_result.orig_rax = regs->orig_rax;
	return t->loaded_valid && (int64_t)regs->rax > -FIRST_RESTART &&
	       !memcmp(regs, &with_result, sizeof(*regs));
}

static long set_regs(struct ptrace_thread *t, struct user_regs_struct *regs)
{
	if (only_result_differs(regs, t))
		return ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.rax), regs->rax);
	return ptrace(PTRACE_SETREGS, t->tid, 0, regs);
}

/*
 * orig_rax -1: the system call of the last stop is over, so that the kernel
 * does not restart it when it finds the sentry's -ERESTART* in rax.
 */
static int load_regs(struct ptrace_context *ctx, struct ptrace_thread *t)
{
	struct user_regs_struct regs = ctx->regs;
	long ret;

	if (!user_address(regs.rip) || !user_address(regs.fs_base) || !user_address(regs.gs_base))
		return -EINVAL;
	regs.orig_rax = -1;
	set_user_segments(&regs);
	if (t->loaded_valid && !memcmp(&regs, &t->loaded, sizeof(regs)))
		return 0;
	ret = set_regs(t, &regs);
	t->loaded_valid = false;
	if (ret)
		return errno == ESRCH ? reap(ctx) : -EINVAL;
	t->loaded = regs;
	t->loaded_valid = true;
	return 0;
}

static void set_xstate_valid(struct ptrace_context *ctx, bool valid)
{
	atomic_store_explicit(&ctx->xstate_valid, valid, memory_order_relaxed);
}

static int load_xstate(struct ptrace_context *ctx, struct ptrace_thread *t)
{
	struct iovec iov = { ctx->base.state.xstate, ctx->base.state.xstate_size };

	if (ptrace(PTRACE_SETREGSET, t->tid, NT_X86_XSTATE, &iov))
		return errno == ESRCH ? reap(ctx) : -EINVAL;
	ctx->xstate_dirty = false;
	return 0;
}

static int load_state(struct ptrace_context *ctx)
{
	int err;

	err = load_regs(ctx, ctx->thread);
	if (!err && ctx->xstate_dirty)
		err = load_xstate(ctx, ctx->thread);
	return err;
}

static int fetch_regs(struct ptrace_context *ctx, struct ptrace_thread *t)
{
	t->loaded_valid = false;
	if (ptrace(PTRACE_GETREGS, t->tid, 0, &t->loaded))
		return reap(ctx);
	t->loaded_valid = true;
	ctx->regs = t->loaded;
	set_user_segments(&ctx->regs);
	return 0;
}

int ptrace_pull_full_state(struct platform_context *c)
{
	struct ptrace_context *ctx = (struct ptrace_context *)c;
	struct iovec iov = { c->state.xstate, c->state.xstate_size };

	if (atomic_load_explicit(&ctx->xstate_valid, memory_order_relaxed))
		return 0;
	if (!ptrace_context_is_mine(ctx))
		return ctx->thread ? -EBUSY : -ECHILD;
	if (ptrace(PTRACE_GETREGSET, ctx->thread->tid, NT_X86_XSTATE, &iov))
		return reap(ctx);
	set_xstate_valid(ctx, true);
	return 0;
}

void ptrace_full_state_changed(struct platform_context *c)
{
	struct ptrace_context *ctx = (struct ptrace_context *)c;

	set_xstate_valid(ctx, true);
	ctx->xstate_dirty = true;
}

/* ---- interrupts ---- */

/*
 * RUNNING is set only around the program's execution. Whoever sets PENDING
 * while it is, sends the signal; the switch that clears both has been told.
 * The signal may come after the switch returned for another reason: it stops
 * the thread once more when that runs again, finds nothing PENDING, and is
 * swallowed.
 */
static bool begin_running(struct ptrace_context *ctx)
{
	unsigned int idle = 0;

	if (atomic_compare_exchange_strong(&ctx->interrupt, &idle, PTRACE_CTX_RUNNING))
		return true;
	atomic_store(&ctx->interrupt, 0);
	return false;
}

static bool end_running(struct ptrace_context *ctx)
{
	return atomic_exchange(&ctx->interrupt, 0) & PTRACE_CTX_PENDING;
}

/* The lock keeps the thread from being let go, so that its id is still its own. */
static void kick(struct ptrace_context *ctx)
{
	struct ptrace_platform *p = platform_of(ctx);

	pthread_mutex_lock(&p->lock);
	if (ctx->thread)
		tgkill(ctx->thread->proc->pid, ctx->thread->tid, PTRACE_INTERRUPT_SIGNAL);
	pthread_mutex_unlock(&p->lock);
}

void ptrace_interrupt(struct platform_context *c)
{
	struct ptrace_context *ctx = (struct ptrace_context *)c;

	if (atomic_fetch_or(&ctx->interrupt, PTRACE_CTX_PENDING) == PTRACE_CTX_RUNNING)
		kick(ctx);
}

void ptrace_preempt(struct platform_context *c)
{
	struct ptrace_context *ctx = (struct ptrace_context *)c;
	unsigned int running = PTRACE_CTX_RUNNING;

	if (atomic_compare_exchange_strong(&ctx->interrupt, &running,
					   PTRACE_CTX_RUNNING | PTRACE_CTX_PENDING))
		kick(ctx);
}

/* ---- what a stop means ---- */

/*
 * The SYSCALL instruction leaves the return address in rcx and the flags in
 * r11; int 0x80 and the 32-bit entries do not. Only when they differ is it
 * worth asking the kernel. A program that sets up both registers by hand and
 * then executes int 0x80 gets its call taken for a 64-bit one, no more.
 */
static bool left_by_syscall_insn(const struct user_regs_struct *regs)
{
	return regs->rcx == regs->rip && !((regs->r11 ^ regs->eflags) & ~(EFLAGS_TF | EFLAGS_RF));
}

static bool is_compat(const struct ptrace_thread *t)
{
	struct __ptrace_syscall_info info;

	if (left_by_syscall_insn(&t->loaded))
		return false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof(info), &info) <= 0)
		return false;
	return info.arch != AUDIT_ARCH_X86_64;
}

static int syscall_event(struct ptrace_context *ctx, struct platform_event *ev)
{
	atomic_store_explicit(&ctx->fault_seen, false, memory_order_relaxed);
	ev->kind = PLATFORM_SYSCALL;
	ev->flags = is_compat(ctx->thread) ? PLATFORM_EVENT_COMPAT : 0;
	ctx->regs.rax = ctx->regs.orig_rax;
	return 0;
}

static int interrupt_event(struct ptrace_context *ctx, struct platform_event *ev)
{
	ev->kind = PLATFORM_INTERRUPT;
	ev->flags = 0;
	ctx->regs.orig_rax = -1;
	return 0;
}

/*
 * ptrace tells the address but not what was tried. A fault at rip is a fetch;
 * else a read, unless the very same fault comes again although the sentry has
 * dealt with the read: then it was a write. An unmap in between ends the
 * memory, since the repeat may be the same read again.
 */
static uint32_t guess_access(struct ptrace_context *ctx, uint64_t addr, uint64_t rip)
{
	struct ptrace_platform *p = platform_of(ctx);
	bool again;

	if (addr == rip) {
		ctx->fault_seen = false;
		return PLATFORM_ACCESS_EXECUTE;
	}
	pthread_mutex_lock(&p->fault_lock);
	again = ctx->fault_seen && ctx->fault_addr == addr && ctx->fault_rip == rip;
	ctx->fault_addr = addr;
	ctx->fault_rip = rip;
	ctx->fault_seen = true;
	pthread_mutex_unlock(&p->fault_lock);
	return again ? PLATFORM_ACCESS_WRITE : PLATFORM_ACCESS_READ;
}

static bool is_page_fault(const siginfo_t *info)
{
	/* The kernel's own code stands for a stack that is not canonical (#SS). */
	if (info->si_signo == SIGBUS)
		return info->si_code != BUS_ADRALN && info->si_code != SI_KERNEL;
	return info->si_signo == SIGSEGV && info->si_code != SI_KERNEL &&
	       info->si_code != SEGV_CPERR_CODE;
}

static bool is_fault(const siginfo_t *info)
{
	return platform_is_fault(info) || (info->si_signo == SIGSYS && info->si_code > 0);
}

/*
 * A call into the vsyscall page, stopped by the seccomp filter. The kernel has
 * emulated the return already; undo it and report what the page means to the
 * sentry: memory that is not there. rax is lost, as in the call it stands for.
 */
static void undo_vsyscall(struct ptrace_context *ctx, siginfo_t *info)
{
	uint64_t entry = (uint64_t)info->si_call_addr;

	memset(info, 0, sizeof(*info));
	info->si_signo = SIGSEGV;
	info->si_code = SEGV_MAPERR;
	info->si_addr = (void *)entry;
	ctx->regs.rip = entry;
	ctx->regs.rsp -= sizeof(uint64_t);
}

static int peek_byte(pid_t tid, uint64_t addr)
{
	uint64_t word = addr & -sizeof(long);
	long data;

	errno = 0;
	data = ptrace(PTRACE_PEEKDATA, tid, word, 0);
	return errno ? -1 : (int)((data >> 8 * (addr - word)) & 0xff);
}

static bool at_cpuid(const struct ptrace_context *ctx)
{
	uint8_t insn[X86_INSN_MAX];
	size_t n;
	int byte;

	/* Each byte is a call: no more than tell. */
	for (n = 0; n < sizeof(insn) && (n < 2 || is_ignored_prefix(insn[n - 2])); n++) {
		byte = peek_byte(ctx->thread->tid, ctx->regs.rip + n);
		if (byte < 0)
			break;
		insn[n] = (uint8_t)byte;
	}
	return opcode_0f_offset(insn, n, CPUID_BYTE_2) >= 0;
}

static int fault_event(struct ptrace_context *ctx, struct platform_event *ev)
{
	siginfo_t *info = &ev->info;

	if (ptrace(PTRACE_GETSIGINFO, ctx->thread->tid, 0, info))
		return reap(ctx);
	if (!is_fault(info))
		return SWALLOW;
	ctx->regs.orig_rax = -1;
	ev->flags = 0;
	ev->access = 0;
	ev->kind = PLATFORM_SIGNAL;
	if (info->si_signo == SIGSYS && info->si_code == SYS_SECCOMP_CODE)
		undo_vsyscall(ctx, info);
	if (is_page_fault(info)) {
		ev->access = guess_access(ctx, (uint64_t)info->si_addr, ctx->regs.rip);
		return 0;
	}
	atomic_store_explicit(&ctx->fault_seen, false, memory_order_relaxed);
	if (ctx->base.platform->cpuid_events && info->si_signo == SIGSEGV && at_cpuid(ctx))
		ev->kind = PLATFORM_CPUID;
	return 0;
}

/* Returns 0 with @ev filled, SWALLOW, or -errno. */
static int handle_stop(struct ptrace_context *ctx, int status, bool interrupted,
		       struct platform_event *ev)
{
	int err;

	err = fetch_regs(ctx, ctx->thread);
	if (err)
		return err;
	if (WSTOPSIG(status) == SYSCALL_STOP)
		return syscall_event(ctx, ev);
	/* Group stops and late answers to PTRACE_INTERRUPT. */
	err = SWALLOW;
	if (status >> 16 == 0 && WSTOPSIG(status) != PTRACE_INTERRUPT_SIGNAL)
		err = fault_event(ctx, ev);
	if (err == SWALLOW && interrupted)
		return interrupt_event(ctx, ev);
	return err;
}

static int run(struct ptrace_context *ctx, struct platform_event *ev)
{
	pid_t tid = ctx->thread->tid;
	bool interrupted;
	int status, err;

	do {
		if (!begin_running(ctx))
			return interrupt_event(ctx, ev);
		if (ptrace(PTRACE_SYSEMU, tid, 0, 0))
			err = -ECHILD;
		else
			err = ptrace_wait(tid, &status);
		interrupted = end_running(ctx);
		if (err)
			return reap(ctx);
		set_xstate_valid(ctx, false);
		err = handle_stop(ctx, status, interrupted, ev);
	} while (err == SWALLOW);
	return err;
}

int ptrace_switch_to(struct platform_context *c, struct platform_address_space *base, int cpu,
		     struct platform_event *ev)
{
	struct ptrace_address_space *as = (struct ptrace_address_space *)base;
	struct ptrace_context *ctx = (struct ptrace_context *)c;
	int err;

	if (ctx->as != as || !ptrace_context_is_mine(ctx)) {
		err = ptrace_thread_bind(ctx, as);
		if (err)
			return err;
	}
	if (atomic_load_explicit(&as->nr_ops, memory_order_relaxed)) {
		err = ptrace_flush(base, c);
		if (err)
			return platform_op_error(err);
	}
	ptrace_pair_switch(ctx);
	err = load_state(ctx);
	if (err)
		return err;
	atomic_store_explicit(&ctx->switches,
			      atomic_load_explicit(&ctx->switches, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return run(ctx, ev);
}
