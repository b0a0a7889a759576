/* SPDX-License-Identifier: MIT */
/*
 * systrap.h - the objects of the systrap platform
 *
 * Programs run in stub processes, whose threads are thrown out of the program by
 * SIGSYS (Syscall User Dispatch, or seccomp) and the signals of faults. The signal
 * handler (stub/sysmsg.c) hands the thread to the sentry through shared memory. No
 * right to trace is needed.
 *
 *	sentry process			stub process (one for each address space)
 *	  task thread  <-- shared area -->  stub thread, runs one context
 *	  any thread   --- operations  -->  server thread: mmap, mprotect, clone...
 *	  reaper       --- parent of   -->  the process
 *
 *	systrap.c		the platform, its counters
 *	systrap_process.c	template, reaper, birth and death of stub processes
 *	systrap_spare.c		address spaces made in advance
 *	systrap_template.c	what runs in the template process before the stub code
 *	systrap_filter.c	seccomp: what stubs may do, and what the sentry must
 *	systrap_space.c		address spaces: the server's operations
 *	systrap_thread.c	stub threads: which one runs which context
 *	systrap_context.c	contexts: registers and events; context_switch()
 *	systrap_wait.c		spinning, sleeping, interrupts
 *
 * Life of a system call: the program executes `syscall`; the kernel makes a signal
 * frame on the thread's alternate stack and starts the handler, which stores the
 * frame's place and the context's state and wakes the task thread if it sleeps.
 * That one copies the registers out of the frame, and returns from context_switch()
 * with the event. The next context_switch() stores the result in the shared area
 * (or all registers in the frame, if more has changed) and hands the turn back;
 * the handler returns from the signal. FPU state stays in the frame all the time,
 * unless somebody asks for it.
 *
 * Contexts and threads: a context keeps the thread it ran on, whose frame holds its
 * FPU state. When an address space has as many threads as it may, one that is not
 * running is taken from its context, after its state has been saved; when all are
 * running, contexts queue for them, and one that has run for long gives way.
 *
 * Memory operations: the server thread of a stub process carries them out in
 * batches, from a page that only the sentry can write. It shares the descriptor
 * table of the sentry (CLONE_FILES), so that it can map files by their number;
 * stub threads have a table of their own, which is empty. The acknowledgement
 * is a write to an eventfd: nothing that a program can do looks like it. A stub
 * thread that spins on another CPU makes room there for the server, or each change of
 * its address space would interrupt it.
 *
 * Threat model. The program controls all registers of its threads, all memory it
 * can write, and that includes the shared areas and stacks of the stub threads of
 * its process. It can jump into the stub code. Therefore:
 *  - stub threads have no descriptors, and a filter that allows futex(2),
 *    sched_yield(2) and rt_sigreturn(2) alone, only from the stub code;
 *  - the sentry reads each value in a shared area once, and checks what it uses:
 *    states, offsets of frames. Registers, signal numbers and FPU state mean
 *    nothing to it beyond what the program may do to itself anyway;
 *  - an event in a shared area says that the program wants a system call done. It
 *    does not say that its thread has stopped: a program may forge one, and run on.
 *    So the sentry must not reuse memory before it has flushed its unmapping
 *    (platform.untrusted_stops);
 *  - a thread that does not answer an interrupt in time is hostile, or stopped from
 *    outside: its process is killed;
 *  - a program that blocks the signals it should be stopped by dies of them.
 *
 * Death: the reaper thread is the parent of all stub processes. It notices a death
 * at once, wakes all that wait for the process, and they return -ECHILD. The death
 * of the sentry ends the reaper, and the kernel sends SIGKILL to its children.
 *
 * Order of locks: systrap_space.ops_lock, then systrap_platform.lock.
 */
#ifndef _SANDTRAP_PLATFORM_SYSTRAP_H
#define _SANDTRAP_PLATFORM_SYSTRAP_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "internal.h"
#include "pace.h"
#include "stub/sysmsg.h"

/* The signal that interrupts. */
#define SYSTRAP_INTERRUPT_SIGNAL SIGCHLD

#define SYSTRAP_TASK_SIZE 0x7ffffffff000ull

/* The flags with which stub threads and processes are made. */
#define SYSTRAP_THREAD_CLONE_FLAGS \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM | \
	 CLONE_THREAD | CLONE_UNTRACED | CLONE_CHILD_SETTID)
#define SYSTRAP_PROCESS_CLONE_FLAGS \
	(CLONE_FILES | CLONE_PARENT | CLONE_UNTRACED | CLONE_PARENT_SETTID)

/* Linux keeps the CPU's number in the low bits of IA32_TSC_AUX. */
#define SYSTRAP_TSC_AUX_CPU 0xfff
#define SYSTRAP_ANY_CPU (~0u)

/* Address spaces that are made in advance. */
#define SYSTRAP_SPARES 2

struct systrap_context;

/**
 * struct systrap_waiter - a context that looks for a thread
 * @link: in its address space's queue; the first one is served
 */
struct systrap_waiter {
	TAILQ_ENTRY(systrap_waiter) link;
};

/**
 * struct systrap_thread - a stub thread
 * @space: its address space
 * @tc: its shared context page; hostile
 * @area: address of its area in the stub process
 * @tid: its id
 * @frame: offset of its signal frame in the area, checked; 0: has none
 * @claimed: somebody uses it: its context runs, or its state is being moved
 * @ctx: whose state it holds; NULL: nobody's. Changed under the platform's lock,
 *	by whoever has claimed it
 * @link: in the space's list
 */
struct systrap_thread {
	struct systrap_space *space;
	struct sysmsg_thread_context *tc;
	uint64_t area;
	pid_t tid;
	uint32_t frame;
	atomic_bool claimed;
	struct systrap_context *ctx;
	LIST_ENTRY(systrap_thread) link;
};

/**
 * struct systrap_space - an address space: a stub process
 * @base: what every address space begins with
 * @pid: its process; 0 once it has been reaped. Under the platform's lock
 * @refs: one of its owner, one of the reaper
 * @dead: the process is dead; its memory is gone
 * @server_cpu: the only CPU where the server runs, or SYSTRAP_ANY_CPU; under @ops_lock
 * @ack_fd: eventfd for acknowledgements
 * @memory_fd: what it shares with the sentry: struct sysmsg_ops, then areas
 * @ops: mapping of it
 * @link: in the platform's list
 * @ops_lock: protects the operations, so that they keep their order
 * @nr_ops: operations that wait in @ops; written under @ops_lock
 * @threads: its threads; under the platform's lock, as all below
 * @nr_threads: their number, those being made included
 * @queue: contexts that look for a thread
 * @waiters: their number
 * @thread_free: for them
 */
struct systrap_space {
	struct platform_address_space base;
	pid_t pid;
	atomic_uint refs;
	atomic_bool dead;
	unsigned int server_cpu;
	int ack_fd;
	int memory_fd;
	struct sysmsg_ops *ops;
	LIST_ENTRY(systrap_space) link;
	pthread_mutex_t ops_lock;
	atomic_uint nr_ops;
	LIST_HEAD(, systrap_thread) threads;
	unsigned int nr_threads;
	TAILQ_HEAD(, systrap_waiter) queue;
	atomic_uint waiters;
	pthread_cond_t thread_free;
};

/* systrap_context.interrupt: who runs and who wants it to stop */
#define SYSTRAP_RUNNING 1u
#define SYSTRAP_PENDING 2u

/**
 * struct systrap_context - a context
 * @base: what every context begins with
 * @space: where it ran last; changed under the platform's lock
 * @thread: thread that holds its state; NULL: the sentry's memory does
 * @regs: what base.state.regs points to
 * @loaded: registers that the thread has, if @loaded_valid
 * @resume: SYSMSG_RESUME_* bits for the next resumption
 * @interrupt: SYSTRAP_* bits
 * @full: base.state.xstate is up to date
 * @dirty: it, and the segment bases, have to be loaded
 * @yield: is to give its thread away
 * @pace: how it waits
 * @switches: for platform_stats, like the next two
 */
struct systrap_context {
	struct platform_context base;
	struct systrap_space *space;
	struct systrap_thread *_Atomic thread;
	struct user_regs_struct regs;
	struct user_regs_struct loaded;
	bool loaded_valid;
	uint32_t resume;
	atomic_uint interrupt;
	bool full;
	bool dirty;
	atomic_bool yield;
	struct pace pace;
	atomic_ulong switches;
	atomic_ulong spin_hits;
	atomic_ulong sleeps;
	LIST_ENTRY(systrap_context) link;
};

/**
 * struct systrap_platform - the platform
 * @base: what every platform begins with
 * @stub: address of the stub code in all stub processes
 * @image_fd: sealed file with code and data of the stub
 * @template: the process that all others are cloned from; has no threads
 * @template_lock: for one clone at a time
 * @reaper: parent of all stub processes
 * @xstate_size: bytes of an XSAVE image in a signal frame
 * @xfeatures: its components
 * @max_threads: stub threads of an address space
 * @spin_ns: for how long to spin; 0: never
 * @spin_ticks: the same in ticks of the TSC
 * @max_spinners: contexts that may spin at the same time
 * @cpus: those that it may use
 * @spinners: contexts that do
 * @queueing: contexts that wait for a thread
 * @options: SYSMSG_OPTION_* for all threads
 * @dispatch: system calls are caught by Syscall User Dispatch
 * @lock: protects lists and which thread runs which context
 * @nursery: thread that makes @spares, if @nursery_up
 * @spares: address spaces made in advance
 * @nr_spares: their number
 * @taken: address spaces asked for so far; two are many
 * @spares_wanted: the nursery has, or is to, set to work
 * @nursery_ends: it is to end
 * @nursery_cond: for all that it waits for
 * @early_death: process that died before anybody knew it; one at most, since
 *	they are made one at a time
 */
struct systrap_platform {
	struct platform base;
	uint64_t stub;
	int image_fd;
	struct systrap_space *template;
	pthread_mutex_t template_lock;
	pthread_t reaper;
	size_t xstate_size;
	uint64_t xfeatures;
	unsigned int max_threads;
	uint64_t spin_ns;
	uint32_t spin_ticks;
	unsigned int max_spinners;
	cpu_set_t cpus;
	atomic_uint spinners;
	atomic_uint queueing;
	uint32_t options;
	bool dispatch;
	atomic_ulong memory_ops;
	atomic_ulong memory_batches;

	pthread_mutex_t lock;
	/* protected by lock */
	pthread_t nursery;
	struct systrap_space *spares[SYSTRAP_SPARES];
	unsigned int nr_spares;
	unsigned int taken;
	bool spares_wanted;
	bool nursery_up;
	bool nursery_ends;
	pthread_cond_t nursery_cond;
	LIST_HEAD(, systrap_space) spaces;
	LIST_HEAD(, systrap_context) contexts;
	struct platform_stats released;
	pid_t early_death;
};

static inline struct systrap_platform *to_systrap(struct platform *p)
{
	return (struct systrap_platform *)p;
}

static inline void systrap_count(atomic_ulong *counter)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* systrap_process.c */

/**
 * systrap_start() - make reaper, template and a first address space
 * @p: platform, filled with what is known of them
 *
 * Return: 0 or -errno.
 */
int systrap_start(struct systrap_platform *p);

/**
 * systrap_stop() - end all stub processes and the reaper
 * @p: platform
 */
void systrap_stop(struct systrap_platform *p);

/**
 * systrap_space_create() - make a stub process without threads
 * @p: platform
 * @out: set on success, in the platform's list
 *
 * Return: 0 or -errno.
 */
int systrap_space_create(struct systrap_platform *p, struct systrap_space **out);

/**
 * systrap_space_kill() - kill the process, whatever it does
 * @s: address space
 */
void systrap_space_kill(struct systrap_space *s);

/**
 * systrap_space_put() - drop a reference
 * @s: address space
 */
void systrap_space_put(struct systrap_space *s);

/* systrap_spare.c */

/**
 * systrap_first_spare() - make an address space, and learn the size of FPU state
 * @p: platform, its xstate_size and xfeatures are set
 *
 * Return: 0 or -errno.
 */
int systrap_first_spare(struct systrap_platform *p);

/**
 * systrap_take_spare() - take an address space made in advance
 * @p: platform
 *
 * Return: the address space; NULL: there is none.
 */
struct systrap_space *systrap_take_spare(struct systrap_platform *p);

/**
 * systrap_put_spares() - drop those that nobody took
 * @p: platform, without a nursery
 */
void systrap_put_spares(struct systrap_platform *p);

/**
 * systrap_start_nursery() - have a thread make more of them when they are needed
 * @p: platform
 *
 * Return: 0 or -errno.
 */
int systrap_start_nursery(struct systrap_platform *p);

/**
 * systrap_stop_nursery() - end that thread, if there is one
 * @p: platform
 */
void systrap_stop_nursery(struct systrap_platform *p);

/* systrap_template.c */

/* What the template process has to know. It reports its STUB_* features, see
 * stub_setup.h, in sysmsg_ops.stack[0]. */
struct systrap_template_setup {
	pid_t parent;
	uint64_t stub;
	uint64_t handler;
	uint64_t restorer;
	int image_fd;
	int memory_fd;
	struct sock_fprog filter;
};

/**
 * systrap_template_main() - become the template process
 * @s: how
 *
 * Runs in a fork of the sentry. The exit code tells which step failed.
 */
_Noreturn void systrap_template_main(const struct systrap_template_setup *s);

/* systrap_filter.c */

/**
 * systrap_server_filter() - the filter of template and servers
 * @prog: filled; free its instructions
 *
 * Return: 0 or -errno.
 */
int systrap_server_filter(struct sock_fprog *prog);

/**
 * systrap_thread_filter() - the filter that stub threads add
 * @p: platform: where the stub is, and whether it has Syscall User Dispatch
 * @prog: filled; free its instructions
 *
 * Return: 0 or -errno.
 */
int systrap_thread_filter(const struct systrap_platform *p, struct sock_fprog *prog);

/**
 * systrap_sentry_rules() - system calls that the sentry makes for this platform
 * @rules: set to a constant array
 *
 * Return: number of rules.
 */
size_t systrap_sentry_rules(const struct platform_seccomp_rule **rules);

/* systrap_space.c; the first ones are functions of struct platform_ops */
int systrap_new_address_space(struct platform *p, struct platform_address_space **out);
void systrap_address_space_release(struct platform_address_space *as);
int systrap_map_file(struct platform_address_space *as, struct platform_context *ctx,
		     uint64_t addr, int fd, uint64_t offset, uint64_t len, int prot,
		     bool precommit);
int systrap_unmap(struct platform_address_space *as, struct platform_context *ctx,
		  uint64_t addr, uint64_t len);
int systrap_protect(struct platform_address_space *as, struct platform_context *ctx,
		    uint64_t addr, uint64_t len, int prot);
int systrap_flush(struct platform_address_space *as, struct platform_context *ctx);

/**
 * systrap_flush_locked() - as address_space_flush()
 * @s: address space; caller holds ops_lock
 *
 * Return: as address_space_flush().
 */
int systrap_flush_locked(struct systrap_space *s);

/**
 * systrap_flush_beside() - as address_space_flush(), on the thread's CPU if it spins
 * @ctx: context of the calling thread
 * @t: its thread, claimed
 *
 * Return: as address_space_flush().
 */
int systrap_flush_beside(struct systrap_context *ctx, struct systrap_thread *t);

/**
 * systrap_run_ops() - have the server carry out what is in its list
 * @s: address space; caller holds ops_lock
 * @count: number of operations
 *
 * Return: 0; -ECHILD if the process died; -errno of the operation that failed.
 */
int systrap_run_ops(struct systrap_space *s, unsigned int count);

/* systrap_thread.c */

/**
 * systrap_thread_create() - make a stub thread
 * @s: address space
 * @index: which area; no other thread has it
 * @out: set on success: a thread without context, claimed, in no list
 *
 * Return: 0 or -errno; -ECHILD if the process died.
 */
int systrap_thread_create(struct systrap_space *s, unsigned int index,
			  struct systrap_thread **out);

/**
 * systrap_thread_bind() - give a context a thread of an address space
 * @ctx: context of the calling thread
 * @s: address space to run in
 *
 * Return: 0, and its thread is claimed; -EINTR if it is to be interrupted;
 * -ECHILD if the process died; -errno.
 */
int systrap_thread_bind(struct systrap_context *ctx, struct systrap_space *s);

/**
 * systrap_thread_claim() - use the thread that a context has
 * @ctx: context of the calling thread
 * @s: address space to run in
 *
 * Return: the thread, to be given up by systrap_thread_unclaim(); NULL: has none
 * there.
 */
static inline struct systrap_thread *systrap_thread_claim(struct systrap_context *ctx,
							  struct systrap_space *s)
{
	struct systrap_thread *t;
	bool idle = false;

	if (ctx->space != s)
		return NULL;
	t = atomic_load_explicit(&ctx->thread, memory_order_relaxed);
	if (!t || !atomic_compare_exchange_strong(&t->claimed, &idle, true))
		return NULL;
	if (t->ctx == ctx)
		return t;
	atomic_store(&t->claimed, false);
	return NULL;
}

/**
 * systrap_thread_claim_own() - wait for the thread that a context has
 * @ctx: context of the calling thread
 *
 * Return: as systrap_thread_claim(), wherever it is.
 */
struct systrap_thread *systrap_thread_claim_own(struct systrap_context *ctx);

/**
 * systrap_thread_yield() - let another context have the thread
 * @ctx: context of the calling thread
 */
void systrap_thread_yield(struct systrap_context *ctx);

/**
 * systrap_thread_unclaim() - end what systrap_thread_claim() began
 * @t: thread
 */
void systrap_thread_unclaim(struct systrap_thread *t);

/**
 * systrap_thread_drop() - take the thread away from a context
 * @ctx: context; what the thread has of its state is lost
 */
void systrap_thread_drop(struct systrap_context *ctx);

/**
 * systrap_forget_threads() - save the state of all contexts of an address space
 * @s: address space that is about to be released
 */
void systrap_forget_threads(struct systrap_space *s);

/* systrap_context.c; functions of struct platform_ops */
int systrap_new_context(struct platform *p, struct platform_context **out);
int systrap_switch(struct platform_context *ctx, struct platform_address_space *as, int cpu,
		   struct platform_event *ev);
int systrap_pull_full_state(struct platform_context *ctx);
void systrap_full_state_changed(struct platform_context *ctx);
void systrap_context_release(struct platform_context *ctx);

/**
 * systrap_save_state() - copy FPU state and bases of a context out of its thread
 * @ctx: context whose thread the caller has claimed
 *
 * Return: 0 or -ECHILD.
 */
int systrap_save_state(struct systrap_context *ctx, struct systrap_thread *t);

/**
 * systrap_read_xstate_size() - learn from a frame what the kernel saves
 * @p: platform, its xstate_size and xfeatures are set
 * @t: thread that is ready
 *
 * Return: 0; -EOPNOTSUPP: no XSAVE.
 */
int systrap_read_xstate_size(struct systrap_platform *p, const struct systrap_thread *t);

/* systrap_wait.c */

/**
 * systrap_resume() - hand a thread the turn and wait for its next event
 * @ctx: context that runs
 * @t: its thread
 *
 * Return: a state, SYSMSG_CONTEXT_SYSCALL or another of them; -ECHILD.
 */
int systrap_resume(struct systrap_context *ctx, struct systrap_thread *t);

/**
 * systrap_wait_ready() - wait for a thread that comes up, or gets a frame
 * @t: thread
 *
 * Return: 0 or -ECHILD.
 */
int systrap_wait_ready(struct systrap_thread *t);

/* CPU that the caller is on. */
unsigned int systrap_this_cpu(void);

/**
 * systrap_spins_at() - does a thread spin on another CPU than the caller's?
 * @ctx: its context
 * @t: thread, claimed; it is the sentry's turn
 *
 * Return: that CPU, one of the platform's; SYSTRAP_ANY_CPU: no.
 */
unsigned int systrap_spins_at(const struct systrap_context *ctx, const struct systrap_thread *t);

/**
 * systrap_make_room() - have a spinning thread wake the server, and make room for it
 * @t: thread, claimed; it is the sentry's turn, and stays so
 *
 * Return: false if the thread sleeps, and will not do it.
 */
bool systrap_make_room(struct systrap_thread *t);

/**
 * systrap_make_frame() - see that a thread has a signal frame
 * @t: thread, claimed
 *
 * Return: 0 or -ECHILD.
 */
int systrap_make_frame(struct systrap_thread *t);

/**
 * systrap_check_frame() - take over the frame offset that a thread reports
 * @t: thread
 *
 * Return: 0; -ECHILD: it is no such offset, and the process has been killed.
 */
int systrap_check_frame(struct systrap_thread *t);

/**
 * systrap_wake_all() - wake all that wait for an address space, which is dead
 * @s: address space; caller holds the platform's lock
 */
void systrap_wake_all(struct systrap_space *s);

void systrap_interrupt(struct platform_context *ctx);
void systrap_preempt(struct platform_context *ctx);
void systrap_prepare_sleep(struct platform_context *ctx);

/**
 * systrap_kick() - stop a running thread
 * @t: thread; caller holds the platform's lock
 */
void systrap_kick(struct systrap_thread *t);

/* The 64-bit word at an offset of a thread's area; hostile. */
static inline volatile uint64_t *systrap_word(const struct systrap_thread *t, uint32_t offset)
{
	return (volatile uint64_t *)((char *)t->tc + (offset - SYSMSG_SHARED));
}

/* Offsets in a ucontext: general registers, fpstate, and the siginfo behind it. */
#define SYSTRAP_UC_REGS 40
#define SYSTRAP_UC_CS 184
#define SYSTRAP_UC_ERR 192
#define SYSTRAP_UC_TRAPNO 200
#define SYSTRAP_UC_CR2 216
#define SYSTRAP_UC_FPSTATE 224
#define SYSTRAP_UC_SIZE 304
#define SYSTRAP_FRAME_SIZE (SYSTRAP_UC_SIZE + 128)

#endif /* _SANDTRAP_PLATFORM_SYSTRAP_H */
