/* SPDX-License-Identifier: MIT */
/*
 * ptrace.h - the objects of the ptrace platform and who may touch them
 *
 * A stub process holds one address space. Its first thread, the leader, never
 * runs program code: it stays stopped, traced by the platform's master thread,
 * which injects system calls into it. Every context that runs in the address
 * space has a further thread there, traced by the host thread that switches
 * the context, because ptrace obeys only the thread that attached.
 *
 *	sentry process				stub process
 *	  master thread     ---traces--->	  leader (stopped)
 *	  task thread       ---traces--->	  thread of a context
 *						  parked threads (not traced)
 *
 * A thread without a context is parked: detached, in pause(2) in the stub's
 * code, all signals blocked. Attaching it is PTRACE_SEIZE, which needs no
 * cooperation of it, so any host thread can take over any parked thread.
 *
 * What keeps a thread from the host's system calls: under PTRACE_SYSEMU the
 * kernel executes none, and stops before it even looks at seccomp. All tracees
 * have PTRACE_O_EXITKILL, so the death of the sentry kills every stub process,
 * at once and without running another instruction of the program. Behind that
 * a seccomp filter lets only injected calls and pause through. There is no
 * PTRACE_O_TRACEEXIT: a killed stub would wait in its exit for a tracer that
 * may be busy elsewhere, and wait4 tells of the death anyway.
 *
 * Descriptors: stub processes share the sentry's descriptor table (CLONE_FILES)
 * so that an injected mmap can name a file by the sentry's number. So a close
 * in the sentry is a close everywhere, nothing is inherited at a wrong moment,
 * and a mapping outlives its descriptor as usual. The table itself lives until
 * the last stub process is gone: platform_release() waits for that; after a
 * kill of the sentry pipes and locks may stay open for some milliseconds. An
 * execve() of the sentry process unshares the table and ends the master, which
 * kills all stubs. A sentry thread that unshares its table (unshare, or
 * close_range with CLOSE_RANGE_UNSHARE) can no longer name its files.
 *
 * Order for the process that uses it: enter namespaces, change user ids and
 * set its dumpable flag first, then platform_new(), because the rights to
 * trace are checked against the credentials the stubs were forked with.
 * Capabilities may be dropped at any time: the stubs keep none, and the master
 * thread only CAP_SYS_PTRACE, where yama permits no tracing without (then task
 * threads need it as well). A seccomp filter must be loaded for all threads
 * (TSYNC) and allow what ptrace_sentry_rules() lists.
 *
 * Host signals: the kernel sends the sentry a SIGCHLD for every ptrace stop
 * unless SIGCHLD is ignored by default or has SA_NOCLDSTOP: leave it so. A
 * thread in context_switch() may take any signal; its handlers run, and the
 * wait goes on. Nobody else may wait for "any child" with __WALL or __WCLONE.
 *
 * Ordering of locks: ptrace_platform.exit_lock or ptrace_address_space.ops_lock,
 * then ptrace_platform.lock, then .fault_lock. Neither of the latter two is held
 * over a system call that can block, nor over a master request.
 */
#ifndef _SANDTRAP_PLATFORM_PTRACE_H
#define _SANDTRAP_PLATFORM_PTRACE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "internal.h"

/* The signal that interrupts; ignored by default where nobody traces. */
#define PTRACE_INTERRUPT_SIGNAL SIGURG

/* Top of the user half with four-level page tables. */
#define PTRACE_TASK_SIZE 0x7ffffffff000ull

/* More idle stub processes than these are not kept, nor ones with more threads. */
#define PTRACE_POOL_MAX 32
#define PTRACE_POOL_THREADS_MAX 16

struct ptrace_context;
struct ptrace_master;

/**
 * struct ptrace_call - a system call to be made by a stopped tracee
 * @nr: system call number
 * @args: its arguments
 *
 * The stub reads these: see ptrace_stub_batch.
 */
struct ptrace_call {
	uint64_t nr;
	uint64_t args[6];
};

/**
 * struct ptrace_thread - a thread of a stub process, other than the leader
 * @proc: process it belongs to
 * @tid: its id
 * @tracer: host thread that traces it, NULL if it is parked
 * @ctx: context that it runs, NULL if parked or if its context went to another
 *	host thread: then only @tracer can park it
 * @link: in @proc->parked or in @tracer->threads
 * @loaded: registers that the kernel has for it, if @loaded_valid
 */
struct ptrace_thread {
	struct ptrace_process *proc;
	pid_t tid;
	/* protected by ptrace_platform.lock */
	struct ptrace_tracer *tracer;
	struct ptrace_context *ctx;
	LIST_ENTRY(ptrace_thread) link;
	/* used by the tracer alone */
	bool loaded_valid;
	struct user_regs_struct loaded;
};

LIST_HEAD(ptrace_thread_list, ptrace_thread);

/**
 * struct ptrace_process - a stub process
 * @pid: its id, also that of its leader; reaped when nobody uses the process
 * @refs: one for the address space, one for each traced thread
 * @nr_threads: parked and traced ones
 * @parked: threads without a context
 * @link: in ptrace_platform.processes, from birth to death
 * @idle_link: in ptrace_platform.idle while without an address space
 * @dead: it was killed; set once, by whoever notices
 * @leader_dying: the master saw its leader die, which need not be killed again
 * @ops: the page at PTRACE_OPS_ADDR in it, writable here, read-only there;
 *	belongs to the address space
 */
struct ptrace_process {
	pid_t pid;
	atomic_bool dead;
	bool leader_dying; /* used by the master alone */
	struct ptrace_call *ops;
	/* protected by ptrace_platform.lock */
	unsigned int refs;
	unsigned int nr_threads;
	struct ptrace_thread_list parked;
	LIST_ENTRY(ptrace_process) link;
	LIST_ENTRY(ptrace_process) idle_link;
};

LIST_HEAD(ptrace_process_list, ptrace_process);

/**
 * struct ptrace_tracer - a host thread that has switched a context
 * @platform: for the destructor of the thread's key
 * @orphans: how many of @threads lost their context to another thread
 * @threads: what it traces
 */
struct ptrace_tracer {
	struct ptrace_platform *platform;
	atomic_uint orphans;
	/* protected by ptrace_platform.lock */
	struct ptrace_thread_list threads;
	LIST_ENTRY(ptrace_tracer) link;
};

/**
 * struct ptrace_address_space - an address space
 * @proc: the process that holds it
 * @ops_lock: outermost lock, held while operations are carried out, so that
 *	they keep their order
 * @nr_ops: deferred operations in @proc->ops; descriptors in them are ours.
 *	Written under @ops_lock, read without: a thread needs to see what it
 *	deferred itself
 * @contexts: contexts that ran here last
 */
struct ptrace_address_space {
	struct platform_address_space base;
	struct ptrace_process *proc;
	pthread_mutex_t ops_lock;
	atomic_uint nr_ops;
	/* protected by ptrace_platform.fault_lock */
	LIST_HEAD(, ptrace_context) contexts;
};

/* ptrace_context.interrupt: who runs and who wants it to stop */
#define PTRACE_CTX_RUNNING 1u
#define PTRACE_CTX_PENDING 2u

/**
 * struct ptrace_pair - a context's two threads on one CPU: ptrace_pair.c
 * @on: they are bound to one; written under ptrace_platform.lock
 * @streak: switches in a row that came soon after each other
 * @last, @end: when the last switch was, when the pair ends; time stamps
 * @tracer: thread id of the one that runs the context
 * @before, @bound: where the threads may run otherwise, and as a pair
 * @seen: switches when the master looked last
 */
struct ptrace_pair {
	atomic_bool on;
	unsigned int streak;
	uint64_t last, end;
	pid_t tracer;
	cpu_set_t before, bound;
	unsigned long seen;
};

/**
 * struct ptrace_context - a context
 * @thread: what runs it, written under ptrace_platform.lock
 * @owner: stands for the host thread that traces @thread, NULL without @thread
 * @regs: what base.state.regs points to
 * @interrupt: PTRACE_CTX_* bits
 * @xstate_valid: base.state.xstate is up to date
 * @xstate_dirty: it has to be loaded before the program runs on
 * @switches: for platform_stats
 * @pair: keeps its threads together
 * @as: where it ran last
 * @fault_seen: the last event was a page fault, told by the next two
 */
struct ptrace_context {
	struct platform_context base;
	struct ptrace_thread *thread;
	const char *_Atomic owner;
	struct user_regs_struct regs;
	atomic_uint interrupt;
	atomic_bool xstate_valid;
	bool xstate_dirty;
	atomic_ulong switches;
	struct ptrace_pair pair;
	LIST_ENTRY(ptrace_context) link; /* in ptrace_platform.contexts */
	LIST_ENTRY(ptrace_context) pair_link; /* in ptrace_platform.pairs */
	/* written under ptrace_platform.fault_lock */
	struct ptrace_address_space *_Atomic as;
	LIST_ENTRY(ptrace_context) as_link;
	atomic_bool fault_seen;
	uint64_t fault_addr;
	uint64_t fault_rip;
};

struct ptrace_platform {
	struct platform base;
	struct ptrace_master *master;
	pid_t template_pid;
	uint64_t stub; /* where all processes have the stub */
	size_t xstate_size;
	pthread_key_t tracer_key;
	atomic_uint refs; /* one for its owner, one for each tracer */
	atomic_ulong memory_ops;
	atomic_ulong memory_batches;

	pthread_mutex_t lock;
	/* protected by lock */
	struct ptrace_process_list processes;
	struct ptrace_process_list idle;
	unsigned int nr_idle;
	LIST_HEAD(, ptrace_tracer) tracers;
	LIST_HEAD(, ptrace_context) contexts;
	LIST_HEAD(, ptrace_context) pairs;
	unsigned long switches; /* of released contexts */

	pthread_mutex_t fault_lock;

	/*
	 * Held by a host thread that ends while it parks what it traces, and by
	 * the release, so that these meet before or after each other.
	 */
	pthread_mutex_t exit_lock;
	bool closed;
};

/* the stub's code, ptrace_stub.S */
extern const unsigned char ptrace_stub_start[], ptrace_stub_syscall[],
	ptrace_stub_called[], ptrace_stub_batch[], ptrace_stub_batched[],
	ptrace_stub_clone[], ptrace_stub_cloned[],
	ptrace_stub_park[], ptrace_stub_report[], ptrace_stub_end[];

/* Below the stub's page each process has the list of what it is to execute. */
#define PTRACE_STUB_SIZE PLATFORM_PAGE_SIZE
#define PTRACE_OPS_SIZE PLATFORM_PAGE_SIZE
#define PTRACE_OPS_ADDR(stub) ((stub) - PTRACE_OPS_SIZE)
#define PTRACE_OPS_MAX 64

/* Where in a stub at @base a label of ptrace_stub.S is. */
#define PTRACE_STUB_ADDR(base, label) \
	((base) + (uint64_t)(ptrace_stub_##label - ptrace_stub_start))

/* ptrace_inject.c */

/**
 * ptrace_wait() - wait for a tracee to stop or die
 * @tid: thread id
 * @status: set as by wait4(2)
 *
 * Return: 0 if it stopped, -ECHILD if it died: a thread has been reaped then, a
 * leader (see ptrace_template_create()) is dying and must be, by ptrace_reap().
 */
int ptrace_wait(pid_t tid, int *status);

/**
 * ptrace_reap() - wait for the end of a tracee that is dying
 * @tid: thread id; for a leader, none of its threads may be traced any more
 */
void ptrace_reap(pid_t tid);

/**
 * ptrace_inject() - make a stopped tracee execute a system call
 * @stub: where the stub is mapped in its process
 * @tid: tracee of the calling thread
 * @call: what to execute
 * @result: set to the call's result, -errno included
 *
 * Leaves the thread stopped in the stub with none of its registers preserved.
 * Signals that were pending for it are lost, as they must be.
 *
 * Return: 0, or -ECHILD if it died, as ptrace_wait().
 */
int ptrace_inject(uint64_t stub, pid_t tid, const struct ptrace_call *call,
		  long *result);

/**
 * ptrace_inject_batch() - make a stopped tracee execute what is in its list
 * @stub: where the stub is mapped in its process
 * @tid: tracee of the calling thread
 * @count: how many calls
 *
 * Stops at the first call that fails.
 *
 * Return: 0; -ECHILD if it died, as ptrace_wait(); -errno of the call.
 */
int ptrace_inject_batch(uint64_t stub, pid_t tid, unsigned int count);

/**
 * ptrace_seize() - attach to a parked thread and stop it
 * @tid: thread that nobody traces
 *
 * Return: 0; -ECHILD if it is dead; -EPERM if tracing is not permitted.
 */
int ptrace_seize(pid_t tid);

/**
 * ptrace_set_sigmask() - set the blocked signals of a stopped tracee
 * @tid: tracee of the calling thread
 * @mask: bit n-1 for signal n
 *
 * Return: 0, or -ECHILD if it died.
 */
int ptrace_set_sigmask(pid_t tid, uint64_t mask);

/* ptrace.c */

/**
 * ptrace_platform_put() - drop a reference
 * @p: platform, freed with the last one
 */
void ptrace_platform_put(struct ptrace_platform *p);

/* ptrace_template.c */

/**
 * struct ptrace_template - the process all stub processes are cloned from
 * @pid: its id; stopped, traced by the calling thread
 * @stub: where it has the stub
 * @xstate_size: size of the XSAVE image that the kernel takes
 * @cpuid_faults: CPUID faults in it and all its children
 * @barrier: it and all its children are registered for membarrier(2)
 */
struct ptrace_template {
	pid_t pid;
	uint64_t stub;
	size_t xstate_size;
	bool cpuid_faults;
	bool barrier;
};

/**
 * ptrace_template_create() - fork and prepare the template process
 * @vdso: what to leave mapped besides the stub
 * @out: filled on success
 *
 * The calling thread becomes its parent and tracer, and must have the sentry's
 * signals blocked. Leaders, that is the template and all processes cloned from
 * it, stop before they die.
 *
 * Return: 0 or -errno.
 */
int ptrace_template_create(const struct platform_vdso *vdso,
			   struct ptrace_template *out);

/**
 * ptrace_unmap_all() - unmap everything but the stub and the vDSO
 * @stub: where the stub is
 * @tid: leader of the process, stopped, tracee of the calling thread
 * @vdso: the range to leave
 *
 * Return: 0; -ECHILD if it died; -errno of munmap(2).
 */
int ptrace_unmap_all(uint64_t stub, pid_t tid,
		     const struct platform_vdso *vdso);

/* The flags with which stub threads and processes are made. */
#define PTRACE_THREAD_CLONE_FLAGS \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM | \
	 CLONE_THREAD | CLONE_UNTRACED)
#define PTRACE_PROCESS_CLONE_FLAGS (CLONE_FILES | CLONE_PARENT | CLONE_PTRACE)

/* ptrace_filter.c */

struct sock_fprog;

/**
 * ptrace_filter_build() - the seccomp filter of stub processes
 * @prog: filled; ptrace_filter_free() it
 *
 * Return: 0 or -errno.
 */
int ptrace_filter_build(struct sock_fprog *prog);

/**
 * ptrace_filter_free() - free what ptrace_filter_build() made
 * @prog: the filter
 */
void ptrace_filter_free(struct sock_fprog *prog);

/**
 * ptrace_sentry_rules() - system calls that the sentry makes for this platform
 * @rules: set to a constant array
 *
 * Return: number of rules.
 */
size_t ptrace_sentry_rules(const struct platform_seccomp_rule **rules);

/* ptrace_master.c: requests to the master thread, from any thread */

/**
 * ptrace_master_start() - create the master thread and the template
 * @p: platform, filled with what is known of the template
 *
 * Return: 0 or -errno.
 */
int ptrace_master_start(struct ptrace_platform *p);

/**
 * ptrace_master_stop() - kill and reap all stub processes, end the thread
 * @p: platform
 */
void ptrace_master_stop(struct ptrace_platform *p);

/**
 * ptrace_master_new_process() - clone a process from the template
 * @p: platform
 * @proc: set on success: an empty process with one reference, one parked thread
 *
 * Return: 0 or -errno.
 */
int ptrace_master_new_process(struct ptrace_platform *p,
			      struct ptrace_process **proc);

/**
 * ptrace_master_new_thread() - make a parked thread
 * @p: platform
 * @proc: its process
 * @out: set on success: a thread in no list
 *
 * Return: 0 or -errno; -ECHILD if the process died.
 */
int ptrace_master_new_thread(struct ptrace_platform *p,
			     struct ptrace_process *proc,
			     struct ptrace_thread **out);

/**
 * ptrace_master_batch() - make the leader of a process execute its list
 * @p: platform
 * @proc: process
 * @count: how many calls
 *
 * Return: as ptrace_inject_batch().
 */
int ptrace_master_batch(struct ptrace_platform *p, struct ptrace_process *proc,
			unsigned int count);

/**
 * ptrace_master_release() - empty a process and drop its address space's
 * reference
 * @p: platform
 * @proc: process
 */
void ptrace_master_release(struct ptrace_platform *p,
			   struct ptrace_process *proc);

/**
 * ptrace_master_retire() - pool or end a process without references
 * @p: platform
 * @proc: process
 */
void ptrace_master_retire(struct ptrace_platform *p,
			  struct ptrace_process *proc);

/* ptrace_thread.c: who traces what */

/**
 * ptrace_thread_bind() - give a context a thread to run in
 * @ctx: context of the calling thread
 * @as: address space to run in
 *
 * Return: 0, and ctx->thread is a stopped tracee of the calling thread in @as;
 * -ECHILD if the process died; -EBUSY if another thread holds state of the
 * context that it did not pull; -errno.
 */
int ptrace_thread_bind(struct ptrace_context *ctx,
		       struct ptrace_address_space *as);

/**
 * ptrace_context_is_mine() - does the calling thread trace its stub thread?
 * @ctx: context
 *
 * If so, nobody else can change ctx->thread or what it points to.
 */
bool ptrace_context_is_mine(const struct ptrace_context *ctx);

/**
 * ptrace_thread_drop() - take the thread away from a context
 * @ctx: context; what its thread had loaded is lost
 */
void ptrace_thread_drop(struct ptrace_context *ctx);

/**
 * ptrace_thread_died() - clean up after a traced thread
 * @t: thread of the calling tracer, dead and reaped; freed
 *
 * Return: -ECHILD, for the caller to pass on.
 */
int ptrace_thread_died(struct ptrace_thread *t);

/**
 * ptrace_tracer_exit() - destructor of ptrace_platform.tracer_key
 * @tracer: struct ptrace_tracer of a host thread that ends
 *
 * Parks what it traces; otherwise EXITKILL would kill those processes.
 */
void ptrace_tracer_exit(void *tracer);

/* ptrace_space.c */

int ptrace_new_address_space(struct platform *base,
			     struct platform_address_space **out);
void ptrace_address_space_release(struct platform_address_space *as);
int ptrace_map_file(struct platform_address_space *as,
		    struct platform_context *ctx, uint64_t addr, int fd,
		    uint64_t offset, uint64_t len, int prot, bool precommit);
int ptrace_unmap(struct platform_address_space *as,
		 struct platform_context *ctx, uint64_t addr, uint64_t len);
int ptrace_protect(struct platform_address_space *as,
		   struct platform_context *ctx, uint64_t addr, uint64_t len, int prot);
int ptrace_flush(struct platform_address_space *as,
		 struct platform_context *ctx);

/* ptrace_switch.c */

int ptrace_switch_to(struct platform_context *c,
		     struct platform_address_space *as, int cpu,
		     struct platform_event *ev);
int ptrace_pull_full_state(struct platform_context *c);
void ptrace_full_state_changed(struct platform_context *c);
void ptrace_interrupt(struct platform_context *c);
void ptrace_preempt(struct platform_context *c);

/* ---- ptrace_pair.c ---- */

/* Before the program is run: by the tracer of @ctx, which has its thread. */
void ptrace_pair_switch(struct ptrace_context *ctx);
/* Lets the threads of @ctx go, before it loses its thread. Under the lock. */
void ptrace_pair_end_locked(struct ptrace_context *ctx);
/* Ends the pairs that have not switched since the last time; are any left? */
bool ptrace_pair_check(struct ptrace_platform *p);
/* Has the master call ptrace_pair_check() from now on; ptrace_master.c. */
void ptrace_master_watch_pairs(struct ptrace_platform *p);

#define PTRACE_PAIR_CHECK_NS 20000000

#endif /* _SANDTRAP_PLATFORM_PTRACE_H */
