// SPDX-License-Identifier: MIT
/*
 * sysmsg.c - the handler that hands a stub thread to the sentry
 *
 * Runs in the stub process, on a stack that the sandboxed program can write. It
 * has no data and needs no relocation, touches no FPU register, calls nothing,
 * and is linked into the page of sysmsg.S, whose head tells what a hostile program
 * can do with it.
 */
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/sigcontext.h>
#include <asm/ucontext.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "stub/sysmsg.h"
#include "user/platform/cpuid_insn.h"

#define TRAP_GP 13
#define EFLAGS_RF 0x10000
#define USER_CS 0x33
#define USER_SS 0x2b

_Static_assert(offsetof(struct sysmsg_ops, count) == 4, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, ack_fd) == 8, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, memory_fd) == 12, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, parent) == 16, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, area) == 24, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, stack) == 32, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_ops, ops) == 56, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_data, no_signals) == 4096, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_data, filter) == 4104, "sysmsg.S");
_Static_assert(offsetof(struct sysmsg_data, dispatch) == 4120, "sysmsg.S");
_Static_assert(offsetof(struct ucontext, uc_mcontext.eflags) == 176, "sysmsg.S");
_Static_assert(offsetof(struct sigcontext, eflags) -
	       offsetof(struct sigcontext, r8) == 8 * SYSMSG_EFLAGS, "order of registers");
_Static_assert(offsetof(struct sigcontext, rip) -
	       offsetof(struct sigcontext, r8) == 8 * SYSMSG_RIP, "order of registers");

#define HIDDEN __attribute__((visibility("hidden")))

/* Labels of sysmsg.S. */
extern const char sysmsg_text[] HIDDEN, sysmsg_call[] HIDDEN, sysmsg_call_slow[] HIDDEN,
	sysmsg_call_tail[] HIDDEN, sysmsg_call_end[] HIDDEN, sysmsg_make_frame[] HIDDEN,
	sysmsg_init[] HIDDEN;

HIDDEN void sysmsg_signal(int sig, siginfo_t *info, struct ucontext *uc);
HIDDEN void sysmsg_called(struct sysmsg_thread_context *tc);

static inline struct sysmsg_thread_context *context_of(const void *stack)
{
	uintptr_t area = (uintptr_t)stack & -(uintptr_t)SYSMSG_AREA_SIZE;

	return (struct sysmsg_thread_context *)(area + SYSMSG_SHARED);
}

static inline volatile uint32_t *thread_state(struct sysmsg_thread_context *tc)
{
	return (uint32_t *)((char *)tc + SYSMSG_MSG_OF_TC);
}

static inline uint64_t read_fs_base(void)
{
	uint64_t base;

	asm volatile("rdfsbase %0" : "=r"(base));
	return base;
}

static inline uint64_t read_gs_base(void)
{
	uint64_t base;

	asm volatile("rdgsbase %0" : "=r"(base));
	return base;
}

static inline void futex(uint32_t *word, long op, long value)
{
	register long timeout asm("r10") = 0;
	long ret;

	asm volatile("syscall" : "=a"(ret)
		     : "a"(__NR_futex), "D"(word), "S"(op), "d"(value), "r"(timeout)
		     : "rcx", "r11", "memory");
}

static inline void sched_yield(void)
{
	long ret;

	asm volatile("syscall" : "=a"(ret) : "a"(__NR_sched_yield) : "rcx", "r11", "memory");
}

/* ---- waiting for the sentry ---- */

static inline uint32_t whose_turn(struct sysmsg_thread_context *tc)
{
	return __atomic_load_n(&tc->state, __ATOMIC_ACQUIRE);
}

/* The fence pairs with the one in the sentry between its store and its load. */
static void sleep_for_sentry(struct sysmsg_thread_context *tc, uint32_t told)
{
	*thread_state(tc) = SYSMSG_THREAD_ASLEEP;
	__atomic_store_n(&tc->stub_sleeps, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (whose_turn(tc) == told)
		futex(&tc->state, FUTEX_WAIT, told);
	__atomic_store_n(&tc->stub_sleeps, 0, __ATOMIC_RELAXED);
}

/* The sentry may end this by a store to @spin. */
static void wait_for_sentry(struct sysmsg_thread_context *tc, uint32_t told, unsigned int factor)
{
	const uint64_t start = __builtin_ia32_rdtsc();
	uint64_t spin;

	while ((spin = __atomic_load_n(&tc->spin, __ATOMIC_RELAXED)) &&
	       __builtin_ia32_rdtsc() - start < spin * factor) {
		if (whose_turn(tc) != told)
			return;
		__builtin_ia32_pause();
	}
	sleep_for_sentry(tc, told);
}

/*
 * Has the server work here and now: its operations would interrupt any other CPU that
 * this thread spins on. The sentry says when they are done, and wakes the server
 * itself if it takes long.
 */
static void make_room_for_server(struct sysmsg_thread_context *tc, uint32_t told)
{
	const struct sysmsg_ops *ops = (const void *)(sysmsg_text + SYSMSG_OPS);
	const uint64_t start = __builtin_ia32_rdtsc();

	futex((uint32_t *)&ops->seq, FUTEX_WAKE, 1);
	do {
		sched_yield();
		if (whose_turn(tc) != told)
			return;
	} while (__builtin_ia32_rdtsc() - start < __atomic_load_n(&tc->spin, __ATOMIC_RELAXED));
	sleep_for_sentry(tc, told);
}

static inline bool is_ops(uint32_t state)
{
	return state == SYSMSG_CONTEXT_OPS_OF(0) || state == SYSMSG_CONTEXT_OPS_OF(1);
}

/* Tells the sentry, and returns when it is the stub's turn again. */
static void tell_sentry(struct sysmsg_thread_context *tc, uint32_t state, uint32_t frame,
			uint32_t hints)
{
	uint64_t gs = read_gs_base();
	unsigned int cpu, factor = 1;

	__builtin_ia32_rdtscp(&cpu);
	if (tc->options & SYSMSG_OPTION_CALLS && gs == (uintptr_t)tc)
		gs = 0;
	/* In this order: for a signal, which may come from here on; see is_interrupt(). */
	*(volatile uint32_t *)&tc->resume = SYSMSG_RESUME_UNANSWERED;
	*thread_state(tc) = SYSMSG_THREAD_DONE;
	tc->frame = frame;
	tc->hints = hints;
	tc->cpu = cpu;
	tc->fs_base = read_fs_base();
	tc->gs_base = gs;
	/* Full barrier: then look whether it sleeps. */
	__atomic_exchange_n(&tc->state, state, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&tc->sentry_sleeps, __ATOMIC_RELAXED)) {
		futex(&tc->state, FUTEX_WAKE, 1);
		factor = SYSMSG_SPIN_WAKEUP_FACTOR;
	}
	wait_for_sentry(tc, state, factor);
	while (is_ops(state = whose_turn(tc)))
		make_room_for_server(tc, state);
}

static void load_bases(struct sysmsg_thread_context *tc, uint32_t resume)
{
	uint64_t gs = tc->gs_base;
	bool calls = tc->options & SYSMSG_OPTION_CALLS;

	if (!(resume & SYSMSG_RESUME_BASES)) {
		if (!calls || read_gs_base())
			return;
	} else {
		asm volatile("wrfsbase %0" : : "r"(tc->fs_base));
	}
	if (calls && !gs)
		gs = (uintptr_t)tc;
	asm volatile("wrgsbase %0" : : "r"(gs));
}

/* ---- the two ways in ---- */

/*
 * The faulting instruction can be read: it has just been executed, up to what follows
 * a prefix, and to its second byte if the first is 0f.
 */
static bool is_cpuid(const struct sysmsg_thread_context *tc, const struct sigcontext *regs)
{
	return tc->options & SYSMSG_OPTION_CPUID && regs->trapno == TRAP_GP &&
	       opcode_0f_offset((const uint8_t *)regs->rip, X86_INSN_MAX, CPUID_BYTE_2) >= 0;
}

/* The call is over as far as the sentry goes: end it here and now. */
static void finish_call(struct sysmsg_thread_context *tc, struct sigcontext *regs)
{
	uint64_t *to = (uint64_t *)&regs->r8;
	int i;

	for (i = 0; i < SYSMSG_NR_REGS; i++)
		to[i] = ((volatile uint64_t *)tc->regs)[i];
}

/*
 * A signal from outside. Between patched code and handler there is a time when
 * it has to wait: nothing is lost, since an event for the sentry is under way, or the
 * sentry is about to answer one, and sends the signal again.
 */
static bool is_interrupt(struct sysmsg_thread_context *tc, struct sigcontext *regs)
{
	const char *rip = (const char *)regs->rip;
	uint32_t state = *thread_state(tc);

	if (!__atomic_load_n(&tc->interrupt, __ATOMIC_RELAXED))
		return false;
	if (state == SYSMSG_THREAD_PREP)
		return false;
	if (state == SYSMSG_THREAD_NONE) {
		if (rip == sysmsg_call_tail)
			finish_call(tc, regs);
		return rip < sysmsg_call || rip >= sysmsg_call_tail;
	}
	/* In the handler of a call. Is it answered, and the program to go on? */
	if (whose_turn(tc) != SYSMSG_CONTEXT_NONE ||
	    tc->resume & (SYSMSG_RESUME_MAKE_FRAME | SYSMSG_RESUME_UNANSWERED))
		return false;
	tc->regs[SYSMSG_RAX] = tc->rax;
	finish_call(tc, regs);
	return true;
}

/* Single steps within a call are not the program's. */
static bool is_own_step(int sig, const struct sigcontext *regs)
{
	const char *rip = (const char *)regs->rip;

	return sig == SIGTRAP && rip >= sysmsg_call && rip < sysmsg_call_end;
}

/*
 * Not the ordinary way into the kernel, or a number that looks to the kernel like
 * an error of its own, which made it change registers.
 */
static bool is_unusual(const siginfo_t *info, const struct sigcontext *regs)
{
	return info->si_arch != AUDIT_ARCH_X86_64 ||
	       (uint64_t)info->si_call_addr != regs->rip ||
	       (uint32_t)info->si_syscall != (uint32_t)regs->rax;
}

/*
 * The kernel drops the signal of a system call while another SIGSYS, one from
 * outside, is on its way to the thread, which then finds itself behind a system
 * call that nobody has made. That is the difference to a thread that has just
 * been resumed there: RF, set on every way back, lasts until an instruction has
 * been executed.
 */
static bool is_lost_syscall(int sig, const struct sigcontext *regs)
{
	return sig == SIGSYS && !(regs->eflags & EFLAGS_RF) && regs->rcx == regs->rip &&
	       regs->r11 == regs->eflags;
}

/* RF in the registers of these signals can only be what was set on the way back. */
static void hide_resume_flag(int sig, struct sigcontext *regs)
{
	if (sig != SIGSYS && sig != SIGCHLD)
		return;
	regs->eflags &= ~(uint64_t)EFLAGS_RF;
	if (sig == SIGSYS && regs->rcx == regs->rip)
		regs->r11 &= ~(uint64_t)EFLAGS_RF;
}

static uint32_t find_hints(int sig, const siginfo_t *info, const struct sysmsg_thread_context *tc,
			   const struct sigcontext *regs)
{
	if (sig == SIGSYS)
		return info->si_code > 0 && is_unusual(info, regs) ? SYSMSG_HINT_UNUSUAL : 0;
	return is_cpuid(tc, regs) ? SYSMSG_HINT_CPUID : 0;
}

/* What the signal means to the sentry; SYSMSG_CONTEXT_NONE: nothing. */
static uint32_t classify(int sig, const siginfo_t *info, struct sysmsg_thread_context *tc,
			 struct sigcontext *regs)
{
	const char *rip = (const char *)regs->rip;

	if (sig == SIGCHLD)
		return is_interrupt(tc, regs) ? SYSMSG_CONTEXT_FAULT : SYSMSG_CONTEXT_NONE;
	/* Only the kernel's own have a positive code. */
	if (info->si_code <= 0)
		return is_lost_syscall(sig, regs) ? SYSMSG_CONTEXT_SYSCALL : SYSMSG_CONTEXT_NONE;
	if (sig == SIGSYS)
		return tc->options & SYSMSG_OPTION_PATCH ?
		       SYSMSG_CONTEXT_SYSCALL_CAN_BE_PATCHED : SYSMSG_CONTEXT_SYSCALL;
	if (sig == SIGILL && (rip == sysmsg_init || rip == sysmsg_make_frame))
		return SYSMSG_CONTEXT_READY;
	if (sig == SIGILL && rip == sysmsg_call_slow) {
		regs->rip = regs->rcx = regs->r11;
		regs->r11 = regs->eflags;
		/* The next one finds its thread, unless the program uses gs. */
		tc->options |= SYSMSG_OPTION_CALLS;
		return SYSMSG_CONTEXT_SYSCALL;
	}
	if (is_own_step(sig, regs))
		return SYSMSG_CONTEXT_NONE;
	return SYSMSG_CONTEXT_FAULT;
}

void sysmsg_signal(int sig, siginfo_t *info, struct ucontext *uc)
{
	struct sysmsg_thread_context *tc = context_of(uc);
	struct sigcontext *regs = &uc->uc_mcontext;
	uint32_t state, resume;

	state = classify(sig, info, tc, regs);
	if (state == SYSMSG_CONTEXT_NONE)
		return;
	hide_resume_flag(sig, regs);
	tell_sentry(tc, state, (uintptr_t)uc & (SYSMSG_AREA_SIZE - 1),
		    find_hints(sig, info, tc, regs));

	resume = tc->resume;
	if (!(resume & SYSMSG_RESUME_FRAME))
		regs->rax = tc->rax;
	/* A program that went to 32-bit mode comes back in 64-bit mode. */
	regs->cs = USER_CS;
	regs->gs = regs->fs = 0;
	regs->ss = USER_SS;
	regs->eflags |= EFLAGS_RF;
	load_bases(tc, resume);
	*thread_state(tc) = SYSMSG_THREAD_NONE;
}

void sysmsg_called(struct sysmsg_thread_context *tc)
{
	tell_sentry(tc, SYSMSG_CONTEXT_SYSCALL_TRAP, 0, 0);
	/* Does not come back: the frame takes over. */
	if (tc->resume & SYSMSG_RESUME_MAKE_FRAME)
		asm volatile("jmp sysmsg_make_frame");
	tc->regs[SYSMSG_RAX] = tc->rax;
}
