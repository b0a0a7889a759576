/* SPDX-License-Identifier: MIT */
/*
 * sysmsg.h - what the systrap platform and its stub code share
 *
 * For C on both sides, and (without the structures) for assembler. The stub code
 * is stub/sysmsg.S and stub/sysmsg.c; the sentry's half is user/platform/systrap*.
 *
 * A stub process, from SYSMSG_BASE up (where the sandboxed program's memory ends):
 *
 *	SYSMSG_TEXT	the stub's code			sealed file, read, execute
 *	SYSMSG_DATA	struct sysmsg_data		sealed file, read
 *	SYSMSG_OPS	struct sysmsg_ops		shared, read; the sentry writes
 *	SYSMSG_THREADS	areas of stub threads, SYSMSG_AREA_SIZE each:
 *
 *		page 0		guard, not mapped
 *		page 1, 2	private stack, for calls out of patched code
 *		page 3		guard, not mapped
 *		page 4		struct sysmsg_thread_context, shared
 *		page 5 to 7	alternate signal stack, shared; at its end is
 *				struct sysmsg_msg
 *
 * All that is shared and writable here is hostile to both sides: the program
 * runs in the same address space. See user/platform/systrap.h.
 *
 * Two ways lead into the stub code, and end in the same handler:
 *
 *  1. A signal. The machine state is in the signal frame on the alternate stack,
 *     where the sentry reads and changes it; FPU state included.
 *
 *  2. A call out of patched code (a former system call instruction): a jump to
 *     SYSMSG_CALL(base), with
 *
 *	rcx	the address behind the former system call instruction
 *	r11	anything
 *	others	rax: the number; all others and the flags as the program has them
 *
 *     So a trampoline is no more than: mov $return_address, %rcx; jmp *entry. It
 *     must not touch flags, stack, or any other register. The call returns to
 *     the address in rcx with rax as the result, rcx and r11 as a system call
 *     instruction leaves them, all else unchanged.
 *
 *     The entry finds its thread by the gs base, which points to the thread's
 *     sysmsg_thread_context from the thread's first call on, if the program's own
 *     gs base is 0. If it points elsewhere, the entry raises a signal instead,
 *     and the call is a system call by way 1: always right, only slower. FPU registers are not touched, and stay where they are.
 *
 *     A signal that arrives between the first instruction of the entry and the
 *     last one of the return is put off: the sentry never sees an instruction
 *     pointer in there. One that arrives in the trampoline is reported with an
 *     instruction pointer in the trampoline.
 */
#ifndef _SANDTRAP_SYSMSG_H
#define _SANDTRAP_SYSMSG_H

/*
 * Nothing that a program can write is at or above 0x7fff00000000: the entry for
 * calls counts on it. The second place is for when the vDSO is in the way.
 */
#define SYSMSG_BASE 0x7fff00000000
#define SYSMSG_BASE_2 0x7fff40000000
#define SYSMSG_BASE_HIGH 0x7fff

#define SYSMSG_PAGE 0x1000
#define SYSMSG_TEXT_SIZE 0x1000
#define SYSMSG_DATA_SIZE 0x2000

/* Offsets from the base. */
#define SYSMSG_TEXT 0
#define SYSMSG_DATA 0x1000
#define SYSMSG_OPS 0x3000
#define SYSMSG_OPS_SIZE 0x1000
#define SYSMSG_THREADS 0x100000
#define SYSMSG_THREADS_MAX 1024
#define SYSMSG_AREA_SIZE 0x8000
#define SYSMSG_SIZE (SYSMSG_THREADS + SYSMSG_THREADS_MAX * SYSMSG_AREA_SIZE)

/* Offsets in an area. */
#define SYSMSG_STACK_PRIVATE 0x1000
#define SYSMSG_STACK_PRIVATE_SIZE 0x2000
#define SYSMSG_SHARED 0x4000
#define SYSMSG_SHARED_SIZE 0x4000
#define SYSMSG_ALTSTACK 0x5000
#define SYSMSG_MSG 0x7fc0
#define SYSMSG_ALTSTACK_SIZE (SYSMSG_MSG - SYSMSG_ALTSTACK)

/* Entries, as offsets in the text; checked when it is linked. */
#define SYSMSG_ENTRY_SERVER 0
#define SYSMSG_ENTRY_CALL 16
#define SYSMSG_CALL(base) ((base) + SYSMSG_TEXT + SYSMSG_ENTRY_CALL)

/* States of a thread: struct sysmsg_msg.state. */
#define SYSMSG_THREAD_NONE 0 /* runs the program */
#define SYSMSG_THREAD_DONE 1 /* in the handler, has told the sentry */
#define SYSMSG_THREAD_PREP 2 /* on its way between patched code and handler */
#define SYSMSG_THREAD_ASLEEP 3 /* in the handler, sleeps for the sentry */
#define SYSMSG_THREAD_INITIALIZING 4 /* has not run anything yet */

/* States of a context: struct sysmsg_thread_context.state. */
#define SYSMSG_CONTEXT_NONE 0 /* the stub's turn: runs the program */
#define SYSMSG_CONTEXT_SYSCALL 1 /* the sentry's turn, as for all below */
#define SYSMSG_CONTEXT_FAULT 2 /* or an interrupt: the signal tells */
#define SYSMSG_CONTEXT_SYSCALL_TRAP 3 /* by a call; no signal frame */
#define SYSMSG_CONTEXT_SYSCALL_CAN_BE_PATCHED 4 /* trapped, but need not */
#define SYSMSG_CONTEXT_READY 5 /* a new thread, or a call got a frame */
#define SYSMSG_CONTEXT_DEAD 6 /* written by the sentry alone, as the next */
/* The stub is to make room for the server; 7 and 8 by turns, so that it sees each. */
#define SYSMSG_CONTEXT_OPS 7
#define SYSMSG_CONTEXT_OPS_OF(seq) (SYSMSG_CONTEXT_OPS + ((seq) & 1))

/*
 * A side that sleeps has to be woken, on another CPU perhaps, which takes so much
 * longer than an answer; the side that waits for it spins for longer then.
 */
#define SYSMSG_SPIN_WAKEUP_FACTOR 10

/* struct sysmsg_thread_context.resume */
#define SYSMSG_RESUME_RAX 0 /* only rax differs from what was reported */
#define SYSMSG_RESUME_FRAME 1 /* all general registers are in the frame */
#define SYSMSG_RESUME_BASES 2 /* load fs_base and gs_base as well */
#define SYSMSG_RESUME_MAKE_FRAME 4 /* after a call: get a frame, report READY */
#define SYSMSG_RESUME_UNANSWERED 8 /* written by the stub: the sentry is yet to say */

/* struct sysmsg_thread_context.options */
#define SYSMSG_OPTION_CALLS 1 /* gs base is the stub's where the program's is 0 */
#define SYSMSG_OPTION_PATCH 2 /* tell that what trapped can be patched */
#define SYSMSG_OPTION_CPUID 4 /* CPUID faults: look at the instruction */

/* struct sysmsg_thread_context.hints */
#define SYSMSG_HINT_CPUID 1 /* the fault is one of CPUID */
#define SYSMSG_HINT_UNUSUAL 2 /* of a system call: the siginfo tells more */

/* Offsets for assembler. */
#define SYSMSG_TC_REGS 64
#define SYSMSG_MSG_OF_TC (SYSMSG_MSG - SYSMSG_SHARED)

#ifndef __ASSEMBLER__

#include <linux/filter.h>
#include <stdint.h>

/**
 * struct sysmsg_thread_context - hands a context over and back
 * @state: whose turn it is, and why; both sides sleep on it
 * @resume: SYSMSG_RESUME_*, written by the sentry with each answer
 * @stub_sleeps: the stub wants a wake-up
 * @sentry_sleeps: the sentry wants a wake-up
 * @interrupt: the signal that follows is an interrupt
 * @spin: for how many ticks of the TSC the stub may spin; 0: not at all
 * @rax: for the stub: the result
 * @frame: offset in the area of the ucontext of the signal frame, where the
 *	registers are; 0: there is none, they are in @regs
 * @options: SYSMSG_OPTION_*, written by the sentry
 * @fs_base: of the program; for the sentry, and with RESUME_BASES for the stub
 * @gs_base: .
 * @hints: SYSMSG_HINT_*, written by the stub
 * @cpu: CPU that the stub ran on, written by it
 * @tid: the thread's id, written by the kernel
 * @regs: registers of a call, in the order of struct sigcontext
 *
 * The first cache line is all that goes both ways for most system calls, besides the
 * registers. While one side polls it, the other stores all it has to say at once.
 */
struct sysmsg_thread_context {
	uint32_t state;
	uint32_t resume;
	uint32_t stub_sleeps;
	uint32_t sentry_sleeps;
	uint32_t interrupt;
	uint32_t spin;
	uint64_t rax;
	uint32_t frame;
	uint32_t options;
	uint64_t fs_base;
	uint64_t gs_base;
	uint16_t hints;
	uint16_t cpu;
	uint32_t tid;
	uint64_t regs[18];
};

/**
 * struct sysmsg_msg - a stub thread
 * @state: SYSMSG_THREAD_*
 */
struct sysmsg_msg {
	uint32_t state;
	uint32_t reserved[15];
};

/* Indices of sysmsg_thread_context.regs: as struct sigcontext has them. */
enum sysmsg_reg {
	SYSMSG_R8, SYSMSG_R9, SYSMSG_R10, SYSMSG_R11,
	SYSMSG_R12, SYSMSG_R13, SYSMSG_R14, SYSMSG_R15,
	SYSMSG_RDI, SYSMSG_RSI, SYSMSG_RBP, SYSMSG_RBX,
	SYSMSG_RDX, SYSMSG_RAX, SYSMSG_RCX, SYSMSG_RSP,
	SYSMSG_RIP, SYSMSG_EFLAGS,
	SYSMSG_NR_REGS,
};

/**
 * struct sysmsg_op - a system call for the server thread
 * @nr: number
 * @args: arguments
 */
struct sysmsg_op {
	uint64_t nr;
	uint64_t args[6];
};

#define SYSMSG_OPS_MAX 64

/**
 * struct sysmsg_ops - what the server thread of a stub process is to do
 * @seq: counts batches; the server sleeps on it
 * @count: operations of this batch
 * @ack_fd: descriptor of the eventfd for the results
 * @memory_fd: for a new process: file with its own struct sysmsg_ops
 * @parent: for a new process: id of the sentry
 * @area: for a new thread: address of its area
 * @stack: for a new thread: struct stack_t of its alternate stack
 * @pid: id of the process just cloned; only the template's page is written
 * @ops: the operations
 */
struct sysmsg_ops {
	uint32_t seq;
	uint32_t count;
	uint32_t ack_fd;
	uint32_t memory_fd;
	uint32_t parent;
	uint32_t pid;
	uint64_t area;
	uint64_t stack[3];
	struct sysmsg_op ops[SYSMSG_OPS_MAX];
};

#define SYSMSG_FILTER_MAX 128

/**
 * struct sysmsg_data - constants of the stub
 * @acks: value i+1 at index i: an acknowledgement is written from here
 * @no_signals: an empty signal mask
 * @filter: program of a stub thread's seccomp filter
 * @dispatch: Syscall User Dispatch is to be used
 * @insns: instructions of @filter
 */
struct sysmsg_data {
	uint64_t acks[512];
	uint64_t no_signals;
	struct sock_fprog filter;
	uint64_t dispatch;
	struct sock_filter insns[SYSMSG_FILTER_MAX];
};

_Static_assert(sizeof(struct sysmsg_op) == 56, "the server counts on it");
_Static_assert(sizeof(struct sysmsg_ops) <= SYSMSG_OPS_SIZE, "one page");
_Static_assert(sizeof(struct sysmsg_data) <= SYSMSG_DATA_SIZE, "two pages");
_Static_assert(sizeof(struct sysmsg_msg) == 64, "one cache line");
_Static_assert(sizeof(struct sysmsg_thread_context) <= SYSMSG_PAGE, "one page");
_Static_assert(__builtin_offsetof(struct sysmsg_thread_context, regs) == SYSMSG_TC_REGS,
	       "the first cache line");
_Static_assert(SYSMSG_MSG + sizeof(struct sysmsg_msg) == SYSMSG_AREA_SIZE, "at the end");

#endif /* __ASSEMBLER__ */

#endif /* _SANDTRAP_SYSMSG_H */
