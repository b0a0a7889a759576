/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * sandtrap.h - the interface between the sandtrap module and its users
 *
 * Three kinds of descriptors:
 *
 *  - /dev/sandtrap: every open() is an *instance*, owned by the memory map (the
 *    process) that opened it, the sentry. It ends, and all its stub processes
 *    are killed, when its last descriptor is closed or when the process that
 *    opened it exits or executes another program. Ring and context pages are
 *    mmap()ed from it.
 *  - an *address space*, made by SANDTRAP_NEW_ADDRESS_SPACE, for the sentry:
 *    memory operations. Closing its last descriptor kills its stub process. It
 *    does not keep the instance alive.
 *  - a *stub* descriptor, made together with it, to be passed to the one process
 *    that is to become the stub of this address space. It takes SANDTRAP_SERVE
 *    and SANDTRAP_ATTACH and nothing else.
 *
 * A *context* is one thread of a sandboxed program: an id of the instance and
 * some pages shared by kernel and sentry, never by the stub. It runs in one
 * address space at a time, on a stub thread of its own or (SANDTRAP_CONTEXT_DIRECT)
 * on the thread that calls.
 *
 * Every argument structure begins with its size, and may grow at its end: the
 * kernel takes shorter ones (missing members are 0) and longer ones (whose
 * unknown tail must be 0). For that reason command numbers do not hold the size.
 *
 * Errors, the same for all commands:
 *  ENOTTY      unknown command, or not for this kind of descriptor
 *  E2BIG       structure longer than a page; or than the kernel's, and its tail is not 0
 *  EOPNOTSUPP  unknown flag, or reserved member that is not 0
 *  EINVAL      wrong value: size below the smallest, alignment, range, state
 *  EFAULT      bad pointer; or, for SANDTRAP_ATOMIC, a bad address in the address
 *              space
 *  EPERM       not the owner of the instance; the caller is not a stub fit to serve
 *              or to attach; or it cannot run a program directly
 *  ENOENT      no context with this id
 *  EBADF       not a descriptor, or not of the kind wanted
 *  EBUSY       another thread is running, waiting for or changing this context
 *  ENOTCONN    the context is not bound to an address space
 *  ESRCH       the stub process of the address space is dead; or the context is,
 *              and the event that says so has been seen
 *  EINTR       a signal came; the call may simply be repeated
 *  ETIME       the timeout of SANDTRAP_WAIT passed
 *  ENOSPC      no more contexts
 *  ENOMEM      no memory
 * Other values come from open files, through the memory operations.
 *
 * ABI number 1: this file.
 */
#ifndef _UAPI_SANDTRAP_H
#define _UAPI_SANDTRAP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SANDTRAP_ABI 1
#define SANDTRAP_DEVICE "/dev/sandtrap"

/* 't' 0x80..0xaf: termios uses the low numbers of 't'. */
#define SANDTRAP_IOC_MAGIC 't'

/* on an instance */
#define SANDTRAP_GET_INFO _IO(SANDTRAP_IOC_MAGIC, 0x80)
#define SANDTRAP_NEW_ADDRESS_SPACE _IO(SANDTRAP_IOC_MAGIC, 0x81)
#define SANDTRAP_NEW_CONTEXT _IO(SANDTRAP_IOC_MAGIC, 0x82)
#define SANDTRAP_BIND_CONTEXT _IO(SANDTRAP_IOC_MAGIC, 0x83)
#define SANDTRAP_RELEASE_CONTEXT _IO(SANDTRAP_IOC_MAGIC, 0x84)
#define SANDTRAP_RUN _IO(SANDTRAP_IOC_MAGIC, 0x85)
#define SANDTRAP_RESUME _IO(SANDTRAP_IOC_MAGIC, 0x86)
#define SANDTRAP_WAIT _IO(SANDTRAP_IOC_MAGIC, 0x87)
#define SANDTRAP_INTERRUPT _IO(SANDTRAP_IOC_MAGIC, 0x88)
#define SANDTRAP_PULL _IO(SANDTRAP_IOC_MAGIC, 0x89)
#define SANDTRAP_RING_SETUP _IO(SANDTRAP_IOC_MAGIC, 0x8a)

/* on an address space */
#define SANDTRAP_MEM _IO(SANDTRAP_IOC_MAGIC, 0x90)
#define SANDTRAP_COPY _IO(SANDTRAP_IOC_MAGIC, 0x91)
#define SANDTRAP_ATOMIC _IO(SANDTRAP_IOC_MAGIC, 0x92)

/* on a stub descriptor; their argument is a number, not a pointer */
#define SANDTRAP_SERVE _IO(SANDTRAP_IOC_MAGIC, 0xa0)
#define SANDTRAP_ATTACH _IO(SANDTRAP_IOC_MAGIC, 0xa1)

/* Assembler code of a stub wants the numbers above, no more. */
#ifndef __ASSEMBLY__

/**
 * DOC: Features
 *
 * Bits of &sandtrap_info.out_features. Later kernels set more of them.
 *
 * SANDTRAP_FEATURE_RING_MODE: contexts run on threads of a stub process.
 * SANDTRAP_FEATURE_DIRECT_MODE: contexts can run on the calling thread; see
 * SANDTRAP_CONTEXT_DIRECT.
 * SANDTRAP_FEATURE_CPUID_FAULTING: the CPU can make CPUID fault; in ring mode
 * the stub process decides with arch_prctl(ARCH_SET_CPUID) before it attaches, in
 * direct mode what the caller has set holds.
 */
#define SANDTRAP_FEATURE_RING_MODE (1u << 0)
#define SANDTRAP_FEATURE_DIRECT_MODE (1u << 1)
#define SANDTRAP_FEATURE_CPUID_FAULTING (1u << 2)

/**
 * struct sandtrap_info - argument of SANDTRAP_GET_INFO
 * @size: sizeof(struct sandtrap_info)
 * @flags: must be 0
 * @out_abi: SANDTRAP_ABI of the kernel
 * @out_max_contexts: limit on contexts of one instance
 * @out_features: SANDTRAP_FEATURE_* bits
 * @out_context_size: bytes to mmap() for one context: the context page, and
 *	behind it, at offset SANDTRAP_FPU_OFFSET, the FPU area
 * @out_fpu_size: bytes of FPU state, in the standard XSAVE format
 * @out_max_mem_ops: limit on operations in one batch
 * @out_max_spin_ns: larger spin budgets are cut to this
 * @out_max_ring_entries: limit of SANDTRAP_RING_SETUP
 * @__reserved: 0
 * @out_task_size: first address that no program can use
 *
 * On an instance, by anybody who has the descriptor.
 */
struct sandtrap_info {
	__u32 size;
	__u32 flags;
	__u32 out_abi;
	__u32 out_max_contexts;
	__aligned_u64 out_features;
	__u32 out_context_size;
	__u32 out_fpu_size;
	__u32 out_max_mem_ops;
	__u32 out_max_spin_ns;
	__u32 out_max_ring_entries;
	__u32 __reserved;
	__aligned_u64 out_task_size;
};

/**
 * struct sandtrap_new_address_space - argument of SANDTRAP_NEW_ADDRESS_SPACE
 * @size: sizeof(struct sandtrap_new_address_space)
 * @flags: must be 0
 * @out_fd: the address space, for the sentry
 * @out_stub_fd: for the process that will be its stub
 *
 * On an instance, by its owner. Both descriptors are close-on-exec. If the last
 * stub descriptor is closed, the address space is dead, and its stub is killed.
 */
struct sandtrap_new_address_space {
	__u32 size;
	__u32 flags;
	__s32 out_fd;
	__s32 out_stub_fd;
};

/* struct sandtrap_new_context.flags */
#define SANDTRAP_CONTEXT_RING (1u << 0) /* its events go to the ring, too */
#define SANDTRAP_CONTEXT_DIRECT (1u << 1) /* runs on the thread that calls */
#define SANDTRAP_CONTEXT_ALL (SANDTRAP_CONTEXT_RING | SANDTRAP_CONTEXT_DIRECT)

/**
 * DOC: SANDTRAP_CONTEXT_DIRECT
 *
 * With SANDTRAP_FEATURE_DIRECT_MODE; EOPNOTSUPP without. The context needs no
 * thread of the stub: the thread that calls SANDTRAP_RUN, or lseek, becomes the
 * program, in the address space's memory, and the program's next event is the
 * return of that call. Only these two resume it; a store to resume_seq has no
 * effect, SANDTRAP_RESUME returns EINVAL, and so does SANDTRAP_WAIT while the context
 * is stopped. It cannot use the ring: EINVAL.
 *
 * A signal for the calling thread ends the program's turn first. If the signal has
 * a handler, the call returns EINTR and is to be repeated; else it is restarted
 * (after operations on memory, and while there is no server yet: EINTR in any case).
 * Meanwhile the program's registers are in the context's page.
 *
 * The call returns EPERM to a thread for which the kernel keeps what must not meet
 * a program: restartable sequences, an io_uring, I/O ports, syscall user dispatch;
 * to a 32-bit caller; to a process that only shares its memory with the owner; and,
 * before Linux 7.2, if the stub process can be traced by more users than the caller.
 * That is seen when the program is entered, so PR_SET_DUMPABLE comes first. A thread
 * that registers restartable sequences after a turn finds a sound mm_cid in them only
 * when it has been scheduled again (since 6.19).
 *
 * The program runs on the caller's account: CPU time, priority, cgroups, CPU set,
 * and the mitigations of speculation that prctl() switched on for the caller. With
 * PR_SPEC_INDIRECT_BRANCH disabled, branch predictors are flushed on every entry
 * and exit. While it runs, /proc shows the memory of the address space as that of
 * the thread.
 */

/**
 * struct sandtrap_new_context - argument of SANDTRAP_NEW_CONTEXT
 * @size: sizeof(struct sandtrap_new_context)
 * @flags: SANDTRAP_CONTEXT_* bits
 * @address_space: descriptor of the address space it is bound to, or -1
 * @out_id: its id, never 0
 * @cookie: comes back in ring entries
 * @out_mmap_offset: where its pages are in the instance's descriptor
 *
 * On an instance, by its owner. The context is stopped with event
 * SANDTRAP_EVENT_NONE and sequence number 1; its FPU area holds the initial
 * state, all registers are 0. The first resume loads all of it.
 */
struct sandtrap_new_context {
	__u32 size;
	__u32 flags;
	__s32 address_space;
	__u32 out_id;
	__aligned_u64 cookie;
	__aligned_u64 out_mmap_offset;
};

/**
 * struct sandtrap_bind_context - argument of SANDTRAP_BIND_CONTEXT
 * @size: sizeof(struct sandtrap_bind_context)
 * @flags: must be 0
 * @id: context
 * @address_space: descriptor of the address space it is to run in, or -1
 *
 * On an instance, by its owner. Takes the context from the address space it
 * was bound to. A program that was running is stopped without an event, and
 * the context is stopped with its sequence number as it was, unless its thread
 * dies meanwhile. The next resume loads all state from the context's pages: pull
 * what is wanted first. EBUSY if another command waits for the context, or if it
 * runs directly.
 */
struct sandtrap_bind_context {
	__u32 size;
	__u32 flags;
	__u32 id;
	__s32 address_space;
};

/**
 * struct sandtrap_context_arg - argument of commands that only name a context
 * @size: sizeof(struct sandtrap_context_arg)
 * @flags: must be 0; for SANDTRAP_PULL SANDTRAP_STATE_* bits, at least one
 * @id: context
 * @seq: for SANDTRAP_RESUME: the sequence number of the event that is
 *	answered; else 0
 *
 * On an instance, by its owner.
 *
 * SANDTRAP_RELEASE_CONTEXT: ends the context. Its thread is stopped and kept
 * for another context of the same address space.
 *
 * SANDTRAP_RESUME: continues the program and returns at once. Does nothing if
 * the context is not stopped with @seq. The same as storing @seq into
 * &sandtrap_context_page.resume_seq, followed by a wake-up if need_wakeup is
 * set.
 *
 * SANDTRAP_INTERRUPT: makes the context stop with SANDTRAP_EVENT_INTERRUPT. If
 * it is stopped, that happens when it is resumed. Interrupts that came before
 * the event was reported are one.
 *
 * SANDTRAP_PULL: brings state of the stopped context into its pages; EINVAL if
 * the context is not stopped.
 */
struct sandtrap_context_arg {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 seq;
};

/* struct sandtrap_mem_op.op */
#define SANDTRAP_MEM_MAP 1
#define SANDTRAP_MEM_UNMAP 2

/* struct sandtrap_mem_op.flags */
#define SANDTRAP_MEM_POPULATE (1u << 0) /* map: fill the page tables now */
#define SANDTRAP_MEM_ALL (SANDTRAP_MEM_POPULATE)

/**
 * struct sandtrap_mem_op - one operation on the memory of an address space
 * @op: SANDTRAP_MEM_MAP or SANDTRAP_MEM_UNMAP
 * @flags: SANDTRAP_MEM_* bits, only for a map
 * @prot: map: PROT_READ, PROT_WRITE, PROT_EXEC bits, not 0; unmap: 0
 * @fd: map: file, resolved in the calling process; unmap: 0
 * @addr: page aligned
 * @len: page aligned, not 0
 * @offset: map: page aligned offset into the file; unmap: 0
 *
 * A map is MAP_SHARED and MAP_FIXED; mapping again is how permissions change.
 * An unmap may cover holes. A range that touches the mapping which holds the
 * stub's code is refused with EINVAL.
 */
struct sandtrap_mem_op {
	__u32 op;
	__u32 flags;
	__u32 prot;
	__s32 fd;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 offset;
};

/* struct sandtrap_run.flags */
#define SANDTRAP_RUN_ALL 0u

/**
 * struct sandtrap_run - argument of SANDTRAP_RUN
 * @size: sizeof(struct sandtrap_run)
 * @flags: SANDTRAP_RUN_* bits
 * @id: context
 * @seq: sequence number of the event that is answered
 * @ops: user address of an array of struct sandtrap_mem_op
 * @nr_ops: its length; 0 if there are none
 * @out_ops_done: operations carried out; only written if @nr_ops is not 0, and
 *	@ops have passed the check
 * @out_op_error: errno of the operation that failed, else 0; written as
 *	@out_ops_done
 * @__reserved: must be 0
 *
 * On an instance, by its owner. Carries out @ops in the context's address
 * space, resumes the context with the registers of its page, and waits until
 * it stops. If an operation fails the rest of them is left out, the context
 * stays stopped and the operation's error is returned.
 *
 * If the context is not stopped with @seq any more, @ops must be empty, and
 * the call only waits. So after EINTR the call is repeated with those of @ops
 * that @out_ops_done does not count, if any.
 *
 * Batches of one address space are carried out one after the other.
 *
 * Returns 0 once &sandtrap_context_page.event_seq differs from @seq.
 */
struct sandtrap_run {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 seq;
	__aligned_u64 ops;
	__u32 nr_ops;
	__u32 out_ops_done;
	__u32 out_op_error;
	__u32 __reserved;
};

/**
 * DOC: lseek
 *
 * On an instance, by its owner: lseek(fd, id, SEEK_SET). The same as SANDTRAP_RUN
 * without operations, for a caller that has stored the sequence number of the
 * event it answers into &sandtrap_context_page.resume_seq. Returns 0 once
 * &sandtrap_context_page.event_seq differs from that number. EINVAL for another
 * whence, or for an offset that cannot be an id.
 *
 * With SANDTRAP_CONTEXT_DIRECT it counts as a function call, which it is in C: of the
 * caller's x87 and vector registers only the control words are as they were. With
 * SANDTRAP_RUN all of them are.
 *
 * It is the fastest way to run a context: there is nothing to copy, and no
 * security module, file system watch or filter of the caller wants to see
 * arguments, as they do with an ioctl, or with a read.
 */

#define SANDTRAP_WAIT_FOREVER (~0ull)

/**
 * struct sandtrap_wait - argument of SANDTRAP_WAIT
 * @size: sizeof(struct sandtrap_wait)
 * @flags: must be 0
 * @id: context; 0: wait for an entry in the ring
 * @seq: wait until &sandtrap_context_page.event_seq differs from this; 0 with
 *	@id 0
 * @timeout_ns: absolute time of CLOCK_MONOTONIC in nanoseconds, or
 *	SANDTRAP_WAIT_FOREVER; 0 never waits
 *
 * On an instance, by its owner.
 */
struct sandtrap_wait {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 seq;
	__aligned_u64 timeout_ns;
};

/**
 * struct sandtrap_mem - argument of SANDTRAP_MEM
 * @size: sizeof(struct sandtrap_mem)
 * @flags: must be 0
 * @ops: user address of an array of struct sandtrap_mem_op
 * @nr_ops: its length, not 0
 * @out_ops_done: operations carried out
 *
 * On an address space, by its owner. All operations are checked first: if one makes
 * no sense none is carried out, and @out_ops_done is 0. Then stops at the first that
 * fails and returns its error; @out_ops_done is then the index of that operation.
 */
struct sandtrap_mem {
	__u32 size;
	__u32 flags;
	__aligned_u64 ops;
	__u32 nr_ops;
	__u32 out_ops_done;
};

/* struct sandtrap_copy.op */
#define SANDTRAP_COPY_IN 1 /* out of the address space */
#define SANDTRAP_COPY_OUT 2 /* into the address space */
#define SANDTRAP_COPY_ZERO 3

/**
 * struct sandtrap_copy - argument of SANDTRAP_COPY
 * @size: sizeof(struct sandtrap_copy)
 * @flags: must be 0
 * @op: SANDTRAP_COPY_IN, _OUT or _ZERO
 * @__reserved: must be 0
 * @addr: address in the address space
 * @buf: address in the caller, 0 for _ZERO
 * @len: bytes
 * @out_done: bytes that were copied
 * @out_fault: first address that could not be accessed, if @out_done < @len
 *
 * On an address space, by its owner. Obeys the permissions of the mappings.
 * Returns 0 with a short @out_done if the address space cannot be accessed
 * any further; EFAULT only for @buf.
 */
struct sandtrap_copy {
	__u32 size;
	__u32 flags;
	__u32 op;
	__u32 __reserved;
	__aligned_u64 addr;
	__aligned_u64 buf;
	__aligned_u64 len;
	__aligned_u64 out_done;
	__aligned_u64 out_fault;
};

/* struct sandtrap_atomic.op */
#define SANDTRAP_ATOMIC_LOAD 1
#define SANDTRAP_ATOMIC_SWAP 2
#define SANDTRAP_ATOMIC_CAS 3

/**
 * struct sandtrap_atomic - argument of SANDTRAP_ATOMIC
 * @size: sizeof(struct sandtrap_atomic)
 * @flags: must be 0
 * @op: SANDTRAP_ATOMIC_LOAD, _SWAP or _CAS, all on 32 bits
 * @expected: for _CAS; else 0
 * @addr: address in the address space, multiple of 4
 * @value: what _SWAP and _CAS store; 0 for _LOAD
 * @out_old: what was there
 *
 * On an address space, by its owner. EFAULT if @addr cannot be accessed.
 */
struct sandtrap_atomic {
	__u32 size;
	__u32 flags;
	__u32 op;
	__u32 expected;
	__aligned_u64 addr;
	__u32 value;
	__u32 out_old;
};

/**
 * DOC: SANDTRAP_SERVE and SANDTRAP_ATTACH
 *
 * On a stub descriptor, by the stub process, which is not the owner's. Both want
 * seccomp in filter mode, and nothing registered that the kernel would write to: no
 * restartable sequences, no robust futexes, no thread id to clear. SANDTRAP_SERVE also
 * wants its caller to be alone in its process, to be the owner of its memory (another
 * process that shares it is not sandboxed), PR_SET_NO_NEW_PRIVS, and its code in a
 * mapping that is executable and not writable; SANDTRAP_ATTACH wants no syscall user
 * dispatch. EPERM otherwise.
 *
 * SANDTRAP_SERVE makes the caller the server of the address space: the only
 * one, for ever. It returns a positive number for which the server is to make
 * a thread, and is to be called again with 0, or with the negative errno of
 * the attempt; any other argument is refused with EINVAL. Meanwhile it carries
 * out memory operations.
 *
 * SANDTRAP_ATTACH, with that number, makes the calling thread run a context.
 * The next system call of the thread must be seccomp(SECCOMP_SET_MODE_FILTER)
 * with a filter that kills; it is the last one that the thread makes. With the
 * following system call instruction the thread stops and waits for a context.
 */

/* struct sandtrap_context_page.event */
#define SANDTRAP_EVENT_NONE 0 /* never ran */
#define SANDTRAP_EVENT_SYSCALL 1 /* number in orig_rax; not executed */
#define SANDTRAP_EVENT_FAULT 2 /* see the fault record */
#define SANDTRAP_EVENT_INTERRUPT 3 /* SANDTRAP_INTERRUPT */
#define SANDTRAP_EVENT_CPUID 4 /* reserved */
#define SANDTRAP_EVENT_PREEMPTED 5 /* reserved */
#define SANDTRAP_EVENT_DEAD 6 /* the thread died: bind or release */
#define SANDTRAP_EVENT_ERROR 7 /* did not enter the program: see error */

/* struct sandtrap_context_page.event_flags */
#define SANDTRAP_EVENT_F_COMPAT (1u << 0) /* int 0x80 or a 32-bit entry */
#define SANDTRAP_EVENT_F_SEGMENTS (1u << 1) /* fs_base, gs_base are valid */
#define SANDTRAP_EVENT_F_FPU (1u << 2) /* the FPU area is valid */

/* What SANDTRAP_PULL brings. */
#define SANDTRAP_STATE_SEGMENTS (1u << 0)
#define SANDTRAP_STATE_FPU (1u << 1)
#define SANDTRAP_STATE_ALL (SANDTRAP_STATE_SEGMENTS | SANDTRAP_STATE_FPU)

/* struct sandtrap_context_page.resume_flags */
#define SANDTRAP_RESUME_LOAD_SEGMENTS (1u << 0) /* load fs_base, gs_base */
#define SANDTRAP_RESUME_LOAD_FPU (1u << 1) /* load the FPU area */
#define SANDTRAP_RESUME_SAVE_SEGMENTS (1u << 2) /* pull them with the event */
#define SANDTRAP_RESUME_SAVE_FPU (1u << 3)
#define SANDTRAP_RESUME_ALL 0xfu

/* struct sandtrap_fault.access */
#define SANDTRAP_ACCESS_READ 1u
#define SANDTRAP_ACCESS_WRITE 2u
#define SANDTRAP_ACCESS_EXECUTE 4u

/**
 * struct sandtrap_regs - registers, in the order of struct user_regs_struct
 * @r15: and the others up to
 * @r14: what their names say
 * @r13: .
 * @r12: .
 * @rbp: .
 * @rbx: .
 * @r11: .
 * @r10: .
 * @r9: .
 * @r8: .
 * @rax: after a system call event: as the program had it
 * @rcx: .
 * @rdx: .
 * @rsi: .
 * @rdi: .
 * @orig_rax: system call number, the x32 bit included; -1 after other events,
 *	but for SANDTRAP_EVENT_ERROR, after which it may be as it was;
 *	ignored on resume
 * @rip: behind the instruction after a system call
 * @cs: ignored on resume, as are @ss, @ds, @es, @fs and @gs
 * @eflags: system flags are ignored on resume
 * @rsp: .
 * @ss: .
 * @fs_base: valid with SANDTRAP_EVENT_F_SEGMENTS
 * @gs_base: valid with SANDTRAP_EVENT_F_SEGMENTS
 * @ds: 0
 * @es: 0
 * @fs: 0
 * @gs: 0
 */
struct sandtrap_regs {
	__aligned_u64 r15;
	__aligned_u64 r14;
	__aligned_u64 r13;
	__aligned_u64 r12;
	__aligned_u64 rbp;
	__aligned_u64 rbx;
	__aligned_u64 r11;
	__aligned_u64 r10;
	__aligned_u64 r9;
	__aligned_u64 r8;
	__aligned_u64 rax;
	__aligned_u64 rcx;
	__aligned_u64 rdx;
	__aligned_u64 rsi;
	__aligned_u64 rdi;
	__aligned_u64 orig_rax;
	__aligned_u64 rip;
	__aligned_u64 cs;
	__aligned_u64 eflags;
	__aligned_u64 rsp;
	__aligned_u64 ss;
	__aligned_u64 fs_base;
	__aligned_u64 gs_base;
	__aligned_u64 ds;
	__aligned_u64 es;
	__aligned_u64 fs;
	__aligned_u64 gs;
};

/**
 * struct sandtrap_fault - what the CPU and the kernel know about a fault
 * @signo: signal that the kernel would have forced
 * @code: its si_code
 * @access: SANDTRAP_ACCESS_* bit of a page fault, else 0
 * @trap_nr: x86 trap number
 * @error_code: of the trap, 0 if it has none
 * @addr: si_addr
 * @cr2: for trap number 14
 * @__reserved: 0
 */
struct sandtrap_fault {
	__s32 signo;
	__s32 code;
	__u32 access;
	__u32 trap_nr;
	__aligned_u64 error_code;
	__aligned_u64 addr;
	__aligned_u64 cr2;
	__aligned_u64 __reserved[3];
};

#define SANDTRAP_FPU_OFFSET 4096

/**
 * struct sandtrap_context_page - the page shared by kernel and sentry
 * @event_seq: incremented, with release semantics, as the last step of
 *	publishing an event: the context is stopped until it is resumed
 * @event: SANDTRAP_EVENT_*
 * @event_flags: SANDTRAP_EVENT_F_* bits
 * @need_wakeup: not 0: after storing @resume_seq a SANDTRAP_RESUME or
 *	SANDTRAP_RUN is needed, because nobody looks at it. Read it after a full
 *	barrier.
 * @error: errno of SANDTRAP_EVENT_ERROR
 * @cpu: CPU that the event happened on
 * @spin_hits: waits of the thread for a resume that ended while spinning
 * @sleeps: waits of the thread for a resume that went to sleep
 * @batches: batches of SANDTRAP_RUN that were carried out, wholly or not; what
 *	others ask for in the same address space cannot come before them any more
 * @__reserved0: 0
 * @resume_seq: the sentry stores @event_seq here, with release semantics, to
 *	resume the context
 * @resume_flags: SANDTRAP_RESUME_* bits, read when the context is resumed
 * @spin_ns: how long the thread may spin for a resume before it sleeps; 0:
 *	never; without effect while one CPU is online
 * @__reserved1: leave 0
 * @regs: general registers: written with the event, read on resume
 * @__reserved2: leave 0
 * @fault: written with SANDTRAP_EVENT_FAULT
 *
 * The first 64 bytes are written by the kernel alone, the next 64 by the sentry, and by
 * the kernel where it answers an event itself; so each is a cache line that mostly has
 * one writer. The kernel believes nothing it reads from this page: what it needs is
 * copied once and checked.
 */
struct sandtrap_context_page {
	__u32 event_seq;
	__u32 event;
	__u32 event_flags;
	__u32 need_wakeup;
	__s32 error;
	__u32 cpu;
	__aligned_u64 spin_hits;
	__aligned_u64 sleeps;
	__aligned_u64 batches;
	__aligned_u64 __reserved0[2];

	__u32 resume_seq;
	__u32 resume_flags;
	__u32 spin_ns;
	__u32 __reserved1[13];

	struct sandtrap_regs regs;
	__aligned_u64 __reserved2[5];
	struct sandtrap_fault fault;
};

/**
 * struct sandtrap_ring_setup - argument of SANDTRAP_RING_SETUP
 * @size: sizeof(struct sandtrap_ring_setup)
 * @flags: must be 0
 * @entries: number of entries, a power of two
 * @__reserved: must be 0
 * @out_producer_offset: mmap() offset of struct sandtrap_ring_producer, one
 *	page, read-only
 * @out_consumer_offset: mmap() offset of struct sandtrap_ring_consumer, one
 *	page
 * @out_entries_offset: mmap() offset of the array of struct
 *	sandtrap_ring_entry, read-only
 * @out_entries_size: bytes to mmap() for it
 *
 * On an instance, by its owner, once. EBUSY if it has a ring.
 */
struct sandtrap_ring_setup {
	__u32 size;
	__u32 flags;
	__u32 entries;
	__u32 __reserved;
	__aligned_u64 out_producer_offset;
	__aligned_u64 out_consumer_offset;
	__aligned_u64 out_entries_offset;
	__aligned_u64 out_entries_size;
};

/* struct sandtrap_ring_producer.flags */
#define SANDTRAP_RING_NEED_WAKEUP (1u << 0)

/**
 * struct sandtrap_ring_producer - the kernel's side of the event ring
 * @head: number of entries ever produced, modulo 2^32; read it with acquire
 *	semantics
 * @flags: SANDTRAP_RING_NEED_WAKEUP: the ring was full and events wait in the
 *	kernel; after consuming, SANDTRAP_WAIT or poll() brings them
 * @overflows: events that had to wait in that way; none is ever lost
 */
struct sandtrap_ring_producer {
	__u32 head;
	__u32 flags;
	__aligned_u64 overflows;
};

/**
 * struct sandtrap_ring_consumer - the sentry's side of the event ring
 * @tail: number of entries ever consumed, modulo 2^32; store it with release
 *	semantics
 * @__reserved: leave 0
 */
struct sandtrap_ring_consumer {
	__u32 tail;
	__u32 __reserved;
};

/**
 * struct sandtrap_ring_entry - one event
 * @id: context
 * @event: SANDTRAP_EVENT_*
 * @seq: its sequence number; if the context's page has a later one, the sentry
 *	has resumed the context already and this entry is stale
 * @__reserved: 0
 * @cookie: of the context
 *
 * Entry n of the ring is at index n modulo the number of entries.
 */
struct sandtrap_ring_entry {
	__u32 id;
	__u32 event;
	__u32 seq;
	__u32 __reserved;
	__aligned_u64 cookie;
};

#endif /* __ASSEMBLY__ */

#endif /* _UAPI_SANDTRAP_H */
