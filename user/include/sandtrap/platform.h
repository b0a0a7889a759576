/* SPDX-License-Identifier: MIT */
/*
 * platform.h - the contract between a sentry and the code that runs programs
 *
 * A *platform* runs untrusted user code in address spaces that the sentry
 * fills, and hands every system call and every fault of that code to the
 * sentry. The contract is the one of gVisor's pkg/sentry/platform, in C.
 *
 * Life cycle, in four steps:
 *
 *  1. platform_lookup() a constructor by name, platform_new() a platform. Do
 *     this before the process confines itself and while it has one thread.
 *  2. platform_new_address_space() for every mm, fill it with
 *     address_space_map_file(); platform_new_context() for every task.
 *  3. On the task's own thread, in a loop: context_switch() until it returns,
 *     handle the event, put the result into the registers.
 *  4. context_release(), address_space_release(), platform_release().
 *
 * Unless a function says otherwise: it returns 0 or a negative errno, never prints or exits,
 * keeps no pointer it was given, may be called from any thread. Lengths are in bytes.
 */
#ifndef _SANDTRAP_PLATFORM_H
#define _SANDTRAP_PLATFORM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#ifdef __cplusplus
extern "C" {
#endif

struct platform;
struct platform_address_space;
struct platform_context;
struct scmp_arg_cmp; /* from <seccomp.h> */

/**
 * struct arch_state - the machine state of a context
 * @regs: general registers, in the layout of PTRACE_GETREGS
 * @xstate: FPU and vector state in the standard (non-compacted) XSAVE format
 * @xstate_size: bytes at @xstate; what CPUID leaf 0xd reports for XCR0
 *
 * Both pointers belong to the platform and are valid for the context's life;
 * on some platforms they are memory shared with the kernel, never with the
 * sandboxed program. The sentry may access them only on the context's own thread and
 * only outside context_switch(), which tells which parts are valid when.
 */
struct arch_state {
	struct user_regs_struct *regs;
	void *xstate;
	size_t xstate_size;
};

/**
 * enum platform_event_kind - why context_switch() returned
 * @PLATFORM_SYSCALL: the program executed a system call instruction
 * @PLATFORM_SIGNAL: the program faulted or trapped; @info of the event tells
 * @PLATFORM_CPUID: CPUID at rip, prefixes or not; it was not executed
 * @PLATFORM_INTERRUPT: context_interrupt() was called; may be spurious
 * @PLATFORM_PREEMPTED: the CPU ran something else meanwhile; only where the
 *	platform claims detects_cpu_preemption
 */
enum platform_event_kind {
	PLATFORM_SYSCALL,
	PLATFORM_SIGNAL,
	PLATFORM_CPUID,
	PLATFORM_INTERRUPT,
	PLATFORM_PREEMPTED,
};

/* Access types of a memory fault, a bit mask. 0: not a memory fault. */
#define PLATFORM_ACCESS_READ 1u
#define PLATFORM_ACCESS_WRITE 2u
#define PLATFORM_ACCESS_EXECUTE 4u

/* struct platform_event.flags */
#define PLATFORM_EVENT_COMPAT 1u /* syscall by int 0x80 or a 32-bit entry */
#define PLATFORM_EVENT_TRAP_VALID 2u /* trap_nr, error_code, cr2 are exact */
#define PLATFORM_EVENT_CAN_BE_PATCHED 4u /* syscall that trapped, see usertrap_entry */

/**
 * struct platform_event - what context_switch() reports; owned by the caller
 * @kind: which members below are valid
 * @flags: PLATFORM_EVENT_* bits
 * @access: for PLATFORM_SIGNAL by a page fault: PLATFORM_ACCESS_* bits. On
 *	platforms that cannot know (ptrace) it is a guess that is right when
 *	the fault repeats.
 * @trap_nr: x86 trap number (Intel SDM vol. 3, table 6-1)
 * @error_code: x86 error code of the trap, 0 if the trap has none
 * @cr2: faulting address for trap 14 (#PF)
 * @info: for PLATFORM_SIGNAL: signal number, code and address
 *
 * For PLATFORM_SYSCALL the registers tell the rest: number in orig_rax, six
 * arguments in rdi, rsi, rdx, r10, r8, r9 (for a COMPAT event the i386 ones).
 */
struct platform_event {
	enum platform_event_kind kind;
	uint32_t flags;
	uint32_t access;
	uint32_t trap_nr;
	uint64_t error_code;
	uint64_t cr2;
	siginfo_t info;
};

/**
 * struct segmentation_fault - where an address space access stopped
 * @addr: the first address that could not be accessed
 */
struct segmentation_fault {
	uint64_t addr;
};

/**
 * struct platform_options - what platform_new() takes
 * @device_fd: descriptor of the device for platforms that need one (see
 *	platform_requirements), as returned by platform_open_device(); the
 *	platform takes ownership, on failure too. -1: open the default path.
 * @spin_ns: nanoseconds that a thread may spin for the other side before it sleeps;
 *	0: never; PLATFORM_SPIN_DEFAULT: the platform decides from its CPUs
 * @disable_syscall_patching: never rewrite the program's syscall instructions
 * @disable_syscall_user_dispatch: catch system calls by seccomp, which is slower
 * @sandtrap_mode: "ring", "direct", or NULL: the sandtrap platform decides
 */
struct platform_options {
	int device_fd;
	uint64_t spin_ns;
	bool disable_syscall_patching;
	bool disable_syscall_user_dispatch;
	const char *sandtrap_mode;
};

#define PLATFORM_SPIN_DEFAULT UINT64_MAX

/**
 * struct platform_requirements - what must be there before platform_new()
 * @needs_cap_sys_ptrace: traces processes
 * @needs_current_pid_ns: stubs must be visible in the caller's PID namespace
 * @device_path: device file it needs, or NULL
 */
struct platform_requirements {
	bool needs_cap_sys_ptrace;
	bool needs_current_pid_ns;
	const char *device_path;
};

/**
 * struct platform_seccomp_rule - a host system call that a platform makes
 * @sysno: system call number
 * @nr_args: number of entries in @args; all must match
 * @args: conditions on the arguments in libseccomp's form, or NULL
 */
struct platform_seccomp_rule {
	int sysno;
	unsigned int nr_args;
	const struct scmp_arg_cmp *args;
};

/**
 * struct platform_vdso - the host's vDSO, kept mapped in every address space
 * @start: first address of the vvar and vDSO pages, 0 if there are none
 * @end: first address after them
 * @ehdr: address of the vDSO's ELF header, for AT_SYSINFO_EHDR
 *
 * The same for all address spaces of a platform. The sentry must not map or
 * unmap anything in [start, end).
 */
struct platform_vdso {
	uint64_t start;
	uint64_t end;
	uint64_t ehdr;
};

/**
 * struct platform_stats - counters for people; all since platform_new()
 * @switches: context_switch() calls that entered the program
 * @spin_hits: waits that ended while spinning
 * @sleeps: waits that went to sleep
 * @memory_ops: map and unmap operations carried out
 * @memory_batches: batches they were carried out in
 */
struct platform_stats {
	uint64_t switches;
	uint64_t spin_hits;
	uint64_t sleeps;
	uint64_t memory_ops;
	uint64_t memory_batches;
};

/**
 * struct platform_constructor - a kind of platform, as registered
 * @name: name for command lines
 * @description: one line for people
 * @requirements: what it needs
 * @new_platform: see platform_new()
 * @open_device: see platform_open_device(); NULL if it has no device
 */
struct platform_constructor {
	const char *name;
	const char *description;
	struct platform_requirements requirements;
	int (*new_platform)(const struct platform_options *opts, struct platform **out);
	int (*open_device)(const char *path);
};

/**
 * struct platform_ops - how a platform implements the contract
 * @release: platform_release()
 * @new_address_space: platform_new_address_space()
 * @new_context: platform_new_context()
 * @preempt_all_cpus: platform_preempt_all_cpus()
 * @global_memory_barrier: platform_global_memory_barrier()
 * @seccomp_info: platform_seccomp_info()
 * @stats: platform_get_stats(), counters are zero on entry
 * @switch_to: context_switch()
 * @pull_full_state: context_pull_full_state()
 * @full_state_changed: context_full_state_changed()
 * @interrupt: context_interrupt()
 * @preempt: context_preempt()
 * @prepare_sleep: context_prepare_sleep()
 * @context_release: context_release()
 * @map_file: address_space_map_file()
 * @unmap: address_space_unmap()
 * @protect: address_space_protect(), may be NULL
 * @flush: address_space_flush()
 * @pre_fork: address_space_pre_fork(), may be NULL
 * @post_fork: address_space_post_fork(), may be NULL
 * @address_space_release: address_space_release()
 * @copy_in: address_space_copy_in()
 * @copy_out: address_space_copy_out()
 * @zero_out: address_space_zero_out()
 * @swap_u32: address_space_swap_u32()
 * @cas_u32: address_space_cas_u32()
 * @load_u32: address_space_load_u32()
 *
 * Those functions, below, tell what is to be done, and check the arguments that
 * all platforms check alike. Members that a query declines may be NULL.
 */
struct platform_ops {
	/* platform */
	void (*release)(struct platform *p);
	int (*new_address_space)(struct platform *p, struct platform_address_space **out);
	int (*new_context)(struct platform *p, struct platform_context **out);
	int (*preempt_all_cpus)(struct platform *p);
	int (*global_memory_barrier)(struct platform *p);
	size_t (*seccomp_info)(struct platform *p,
			       const struct platform_seccomp_rule **rules);
	void (*stats)(struct platform *p, struct platform_stats *out);

	/* context */
	int (*switch_to)(struct platform_context *ctx,
			 struct platform_address_space *as, int cpu,
			 struct platform_event *ev);
	int (*pull_full_state)(struct platform_context *ctx);
	void (*full_state_changed)(struct platform_context *ctx);
	void (*interrupt)(struct platform_context *ctx);
	void (*preempt)(struct platform_context *ctx);
	void (*prepare_sleep)(struct platform_context *ctx);
	void (*context_release)(struct platform_context *ctx);

	/* address space */
	int (*map_file)(struct platform_address_space *as, struct platform_context *ctx,
			uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot,
			bool precommit);
	int (*unmap)(struct platform_address_space *as, struct platform_context *ctx,
		     uint64_t addr, uint64_t len);
	int (*protect)(struct platform_address_space *as, struct platform_context *ctx,
		       uint64_t addr, uint64_t len, int prot);
	int (*flush)(struct platform_address_space *as, struct platform_context *ctx);
	void (*pre_fork)(struct platform_address_space *as);
	void (*post_fork)(struct platform_address_space *as);
	void (*address_space_release)(struct platform_address_space *as);

	/* address space io */
	ssize_t (*copy_in)(struct platform_address_space *as, uint64_t addr,
			   void *dst, size_t len,
			   struct segmentation_fault *fault);
	ssize_t (*copy_out)(struct platform_address_space *as, uint64_t addr,
			    const void *src, size_t len,
			    struct segmentation_fault *fault);
	ssize_t (*zero_out)(struct platform_address_space *as, uint64_t addr,
			    size_t len, struct segmentation_fault *fault);
	int (*swap_u32)(struct platform_address_space *as, uint64_t addr, uint32_t new_value,
			uint32_t *old, struct segmentation_fault *fault);
	int (*cas_u32)(struct platform_address_space *as, uint64_t addr,
		       uint32_t expected, uint32_t new_value, uint32_t *old,
		       struct segmentation_fault *fault);
	int (*load_u32)(struct platform_address_space *as, uint64_t addr,
			uint32_t *value, struct segmentation_fault *fault);
};

/**
 * struct platform - what every platform begins with
 * @ops: implementation
 * @constructor: the constructor that made it
 * @mode: which of its ways it took ("direct", "ring"); NULL: it has but one
 * @supports_address_space_io: address_space_copy_in() and its kin work
 * @cooperatively_schedules_address_space: reserved, always false here
 * @detects_cpu_preemption: context_switch() returns PLATFORM_PREEMPTED, and
 *	platform_preempt_all_cpus() works
 * @have_global_memory_barrier: platform_global_memory_barrier() works
 * @owns_page_tables: the platform itself translates addresses (as KVM does)
 * @detects_access: struct platform_event.access is exact, not a guess
 * @cpuid_events: CPUID is reported as PLATFORM_CPUID on this machine
 * @untrusted_stops: a hostile program may run on although context_switch() has
 *	returned, so that memory may be reused only after address_space_flush()
 * @eager_maps: a deferred map operation costs little more than its page tables, so
 *	memory is better mapped before it is touched. Elsewhere it costs more than
 *	the fault that may never come
 * @map_unit: mapping granularity that is worth while in bytes; 0: the cost of
 *	a map does not depend on its size
 * @min_user_address: lowest address that can be mapped
 * @max_user_address: first address that cannot
 * @concurrency_count: contexts that can really run at once; INT_MAX: no limit
 * @usertrap_entry: address, the same in all address spaces, that the program may
 *	jump to instead of executing a system call instruction; 0: there is none
 * @vdso: where the vDSO is
 * @kept_fd: what platform_keep_fd() was told, or -1
 *
 * A jump to @usertrap_entry is a PLATFORM_SYSCALL without the cost of a trap. It
 * takes the number and the arguments in the registers of the instruction, and in
 * rcx the address behind a syscall instruction. All other registers and flags are
 * the program's; r11 may hold anything. Neither the stack nor what is below it is
 * used. The event is that of the instruction in front of rcx, and returns to rcx; a
 * thread for which the platform cannot do this is sent to that instruction.
 *
 * With @usertrap_entry, an event that came by a trap of the instruction has
 * PLATFORM_EVENT_CAN_BE_PATCHED set. It is a hint: the sentry may rewrite the code
 * in front of the instruction, on the context's own thread, before it handles the
 * call. Whether and how is its own affair, as it owns the pages (see
 * user/platform/usertrap.h). A context may then be found in what the sentry wrote:
 * the platform reports that rip as it is. What the entry is called with is hostile
 * like everything that comes from the program.
 *
 * Constant for the platform's life, but for @kept_fd. A platform embeds this as its first
 * member. A sentry reads the members and calls the functions below.
 */
struct platform {
	const struct platform_ops *ops;
	const struct platform_constructor *constructor;
	const char *mode;
	bool supports_address_space_io;
	bool cooperatively_schedules_address_space;
	bool detects_cpu_preemption;
	bool have_global_memory_barrier;
	bool owns_page_tables;
	bool detects_access;
	bool cpuid_events;
	bool untrusted_stops;
	bool eager_maps;
	uint64_t map_unit;
	uint64_t min_user_address;
	uint64_t max_user_address;
	int concurrency_count;
	uint64_t usertrap_entry;
	struct platform_vdso vdso;
	int kept_fd;
};

/**
 * struct platform_address_space - what every address space begins with
 * @platform: the platform it belongs to
 */
struct platform_address_space {
	struct platform *platform;
};

/**
 * struct platform_context - what every context begins with
 * @platform: the platform it belongs to
 * @state: its registers
 */
struct platform_context {
	struct platform *platform;
	struct arch_state state;
};

/* registry */

/**
 * platform_register() - make a kind of platform known
 * @c: constructor, must stay valid for ever
 *
 * The built-in platforms are registered without it. Not thread safe.
 *
 * Return: 0; -EEXIST if the name is taken; -ENOSPC if the table is full.
 */
int platform_register(const struct platform_constructor *c);

/**
 * platform_list() - all known kinds, best first
 * @count: set to the number of entries
 *
 * Return: array of pointers, owned by the registry.
 */
const struct platform_constructor *const *platform_list(size_t *count);

/**
 * platform_lookup() - find a kind of platform by name
 * @name: "sandtrap", "ptrace", ...
 *
 * Return: the constructor, or NULL.
 */
const struct platform_constructor *platform_lookup(const char *name);

/* platform */

/**
 * platform_open_device() - open the device a kind of platform needs
 * @c: constructor
 * @path: device file, NULL for the default of its requirements
 *
 * Return: a close-on-exec descriptor that the caller owns; -ENODEV if this
 * kind needs no device; else the errno of open(2): -ENOENT if the module is
 * not loaded, -EACCES without permission; -EPROTO if its ABI does not fit.
 */
int platform_open_device(const struct platform_constructor *c, const char *path);

/**
 * platform_new() - create a platform
 * @c: constructor
 * @opts: options, or NULL for all defaults
 * @out: set to the new platform on success
 *
 * Must be called before the process restricts its own host system calls:
 * platforms fork their template stub process here.
 *
 * Return: 0, or -errno: that of the device's open; -EPERM if tracing is not
 * permitted; -EAGAIN or -ENOMEM without resources.
 */
int platform_new(const struct platform_constructor *c,
		 const struct platform_options *opts, struct platform **out);

/**
 * platform_release() - destroy a platform and end all its stub processes
 * @p: platform whose contexts and address spaces have all been released
 */
void platform_release(struct platform *p);

/**
 * platform_new_address_space() - create an empty address space
 * @p: platform
 * @out: set to the new address space on success
 *
 * Nothing but the vDSO is visible to a program in it.
 *
 * Return: 0; -EAGAIN: retry once another address space has been released;
 * -ENOMEM; other -errno if no stub process could be made.
 */
int platform_new_address_space(struct platform *p, struct platform_address_space **out);

/**
 * platform_new_context() - create a context
 * @p: platform
 * @out: set to the new context on success
 *
 * All registers are zero, the FPU is in its initial state.
 *
 * Return: 0 or -ENOMEM, -EAGAIN.
 */
int platform_new_context(struct platform *p, struct platform_context **out);

/**
 * platform_preempt_all_cpus() - make all contexts return PLATFORM_PREEMPTED
 * @p: platform
 *
 * Concurrent switches, and the first following switch of each context, do.
 *
 * Return: 0, or -EOPNOTSUPP unless detects_cpu_preemption.
 */
int platform_preempt_all_cpus(struct platform *p);

/**
 * platform_global_memory_barrier() - order memory of all program threads
 * @p: platform
 *
 * As membarrier(2)'s MEMBARRIER_CMD_GLOBAL_EXPEDITED over all threads that
 * run program code and all threads of the caller.
 *
 * Return: 0, or -EOPNOTSUPP unless have_global_memory_barrier.
 */
int platform_global_memory_barrier(struct platform *p);

/**
 * platform_seccomp_info() - host system calls that only this platform makes
 * @p: platform
 * @rules: set to an array that the platform owns
 *
 * For the sentry's own filter.
 *
 * Return: number of rules.
 */
size_t platform_seccomp_info(struct platform *p,
			     const struct platform_seccomp_rule **rules);

/**
 * platform_get_stats() - read the counters
 * @p: platform
 * @out: filled
 */
void platform_get_stats(struct platform *p, struct platform_stats *out);

/* context: on the context's own thread, unless told otherwise */

/**
 * context_switch() - run the program until something happens
 * @ctx: context; the calling thread becomes its own thread. If another thread
 *	switched it before, that one must have called context_pull_full_state()
 *	since, or have ended.
 * @as: address space to run in; may differ from call to call
 * @cpu: CPU to run on where detects_cpu_preemption, else -1
 * @ev: filled with the event
 *
 * Blocks while the program runs. On entry the general registers of
 * ctx->state.regs are loaded; fs_base, gs_base and xstate only after
 * context_full_state_changed() (or for the first switch).
 *
 * After PLATFORM_SYSCALL rip is behind the instruction, orig_rax holds the
 * number and rax whatever the sentry is to replace by the result; all general
 * registers are valid (rcx and r11 as the instruction leaves them). After any
 * other event orig_rax is -1. fs_base, gs_base and xstate are valid only after
 * context_pull_full_state().
 *
 * cs, ss, ds, es, fs, gs selectors are not the program's to change: they are
 * ignored on entry and report the 64-bit user segments.
 *
 * Return: 0 with @ev filled. Otherwise -errno: the program cannot go on, and
 * the caller kills the task: -ECHILD: its stub died (killed from outside, out
 * of memory); -EINVAL: rip, fs_base, gs_base or xstate is bad, and nothing else:
 * the caller may change them instead; -EBUSY: the thread that switched it before
 * holds some of its state; others: a memory operation queued for this failed.
 */
static inline int context_switch(struct platform_context *ctx,
				 struct platform_address_space *as, int cpu,
				 struct platform_event *ev)
{
	return ctx->platform->ops->switch_to(ctx, as, cpu, ev);
}

/**
 * context_pull_full_state() - fetch fs_base, gs_base and xstate
 * @ctx: context that has been switched to before
 *
 * Cheap if nothing has to be fetched; no-op after
 * context_full_state_changed().
 *
 * Return: 0; -ECHILD if the stub died.
 */
static inline int context_pull_full_state(struct platform_context *ctx)
{
	return ctx->platform->ops->pull_full_state(ctx);
}

/**
 * context_full_state_changed() - the sentry rewrote the state
 * @ctx: context
 *
 * All of ctx->state is loaded at the next switch. Call context_pull_full_state()
 * before changing any of it: else the old state may be fetched later. An xstate
 * that XRSTOR would refuse makes the next switch return -EINVAL.
 */
static inline void context_full_state_changed(struct platform_context *ctx)
{
	ctx->platform->ops->full_state_changed(ctx);
}

/**
 * context_interrupt() - make a switch return
 * @ctx: context
 *
 * From any thread. A concurrent context_switch() returns soon, with
 * PLATFORM_INTERRUPT unless another event came first; without one, the next
 * switch returns PLATFORM_INTERRUPT at once. Calls before that collapse.
 */
static inline void context_interrupt(struct platform_context *ctx)
{
	ctx->platform->ops->interrupt(ctx);
}

/**
 * context_preempt() - make a running switch return
 * @ctx: context
 *
 * From any thread. As context_interrupt(), but without effect when no switch
 * is running.
 */
static inline void context_preempt(struct platform_context *ctx)
{
	ctx->platform->ops->preempt(ctx);
}

/**
 * context_prepare_sleep() - the task is about to block in the sentry
 * @ctx: context
 *
 * A hint: a spinning stub should go to sleep.
 */
static inline void context_prepare_sleep(struct platform_context *ctx)
{
	ctx->platform->ops->prepare_sleep(ctx);
}

/**
 * context_release() - destroy a context
 * @ctx: context that is not being switched to
 */
void context_release(struct platform_context *ctx);

/* address space */

/**
 * platform_keep_fd() - promise to keep a descriptor open
 * @p: platform
 * @fd: descriptor that stays open, and of the same file, as long as there are
 *	address spaces; one only, that of the file which most mappings are of
 *
 * A platform that defers address_space_map_file() need not duplicate it. Before
 * the first address space is made.
 */
static inline void platform_keep_fd(struct platform *p, int fd)
{
	p->kept_fd = fd;
}

/**
 * address_space_map_file() - map a range of a host file
 * @as: address space
 * @ctx: context of the calling thread that last ran, or next runs, in @as; or
 *	NULL. With it the platform may defer the operation to its next switch.
 * @addr: where, page aligned, in [min_user_address, max_user_address)
 * @fd: descriptor of the calling process; need not stay open, but for the one of
 *	platform_keep_fd()
 * @offset: page aligned offset into the file
 * @len: length, page aligned, not 0
 * @prot: PROT_READ, PROT_WRITE, PROT_EXEC bits, not 0
 * @precommit: advice to populate the page tables now
 *
 * Maps MAP_SHARED and replaces what was there. In effect at the latest when
 * @ctx enters the program, or when address_space_flush() returns. Operations
 * take effect in order.
 *
 * Return: 0 or -errno of mmap(2); -EINVAL for unaligned or out of range
 * arguments; -ECHILD if the stub died.
 */
int address_space_map_file(struct platform_address_space *as, struct platform_context *ctx,
			   uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot,
			   bool precommit);

/**
 * address_space_unmap() - unmap a range, holes included
 * @as: address space
 * @ctx: as for address_space_map_file()
 * @addr: page aligned
 * @len: page aligned, not 0
 *
 * Return: as address_space_map_file().
 */
int address_space_unmap(struct platform_address_space *as, struct platform_context *ctx,
			uint64_t addr, uint64_t len);

/**
 * address_space_protect() - change what is permitted in a range
 * @as: address space
 * @ctx: as for address_space_map_file()
 * @addr: page aligned
 * @len: page aligned, not 0; without holes
 * @prot: as for address_space_map_file(), and what it could have been given there
 *
 * As if the range was mapped anew from what it shows, but page tables stay filled.
 *
 * Return: as address_space_map_file(); -EOPNOTSUPP: not on this platform, map it anew.
 */
int address_space_protect(struct platform_address_space *as, struct platform_context *ctx,
			  uint64_t addr, uint64_t len, int prot);

/**
 * address_space_flush() - carry out all deferred operations
 * @as: address space
 * @ctx: as for address_space_map_file(): whose deferred operations to do
 *
 * When it returns they are visible to every thread running in @as.
 *
 * Return: as address_space_map_file(), for the first operation that failed.
 */
int address_space_flush(struct platform_address_space *as, struct platform_context *ctx);

/**
 * address_space_pre_fork() - about to copy the mm of this address space
 * @as: address space
 *
 * Between it and address_space_post_fork() the platform changes no program
 * memory on its own (as patching system calls would).
 */
void address_space_pre_fork(struct platform_address_space *as);

/**
 * address_space_post_fork() - ends address_space_pre_fork()
 * @as: address space
 */
void address_space_post_fork(struct platform_address_space *as);

/**
 * address_space_release() - destroy an address space
 * @as: address space in which no context runs or will run
 */
void address_space_release(struct platform_address_space *as);

/* address space io: -EOPNOTSUPP unless supports_address_space_io */

/**
 * address_space_copy_in() - read program memory
 * @as: address space
 * @addr: where
 * @dst: destination
 * @len: bytes
 * @fault: set on a short count
 *
 * Return: bytes copied, fewer than @len with @fault set if not all was
 * readable; -errno if nothing could be tried.
 */
ssize_t address_space_copy_in(struct platform_address_space *as, uint64_t addr,
			      void *dst, size_t len,
			      struct segmentation_fault *fault);

/**
 * address_space_copy_out() - write program memory
 * @as: address space
 * @addr: where
 * @src: source
 * @len: bytes
 * @fault: set on a short count
 *
 * Return: as address_space_copy_in().
 */
ssize_t address_space_copy_out(struct platform_address_space *as,
			       uint64_t addr, const void *src, size_t len,
			       struct segmentation_fault *fault);

/**
 * address_space_zero_out() - clear program memory
 * @as: address space
 * @addr: where
 * @len: bytes
 * @fault: set on a short count
 *
 * Return: as address_space_copy_in().
 */
ssize_t address_space_zero_out(struct platform_address_space *as, uint64_t addr, size_t len,
			       struct segmentation_fault *fault);

/**
 * address_space_swap_u32() - atomically exchange a word
 * @as: address space
 * @addr: where, 4-byte aligned
 * @new_value: stored
 * @old: set to what was there
 * @fault: set if -EFAULT is returned
 *
 * Return: 0; -EINVAL if unaligned; -EFAULT with @fault set.
 */
int address_space_swap_u32(struct platform_address_space *as, uint64_t addr,
			   uint32_t new_value, uint32_t *old,
			   struct segmentation_fault *fault);

/**
 * address_space_cas_u32() - atomically compare and swap a word
 * @as: address space
 * @addr: where, 4-byte aligned
 * @expected: stored over only if this is there
 * @new_value: stored
 * @old: set to what was there
 * @fault: set if -EFAULT is returned
 *
 * Return: as address_space_swap_u32().
 */
int address_space_cas_u32(struct platform_address_space *as, uint64_t addr,
			  uint32_t expected, uint32_t new_value, uint32_t *old,
			  struct segmentation_fault *fault);

/**
 * address_space_load_u32() - atomically read a word
 * @as: address space
 * @addr: where, 4-byte aligned
 * @value: set to what is there
 * @fault: set if -EFAULT is returned
 *
 * Return: as address_space_swap_u32().
 */
int address_space_load_u32(struct platform_address_space *as, uint64_t addr,
			   uint32_t *value, struct segmentation_fault *fault);

#ifdef __cplusplus
}
#endif

#endif /* _SANDTRAP_PLATFORM_H */
