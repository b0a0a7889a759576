/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sandtrap_internal.h - the objects of the module, and who may touch them
 *
 * References. An open /dev/sandtrap file holds its instance; an address space
 * file and a stub file hold their space; a space and a context hold their
 * instance's memory, which does not keep the instance alive: an instance is
 * dead after sandtrap_instance_kill(). The instance's table holds contexts. A
 * bound context holds its space, and is held by its thread, which lets go of it
 * before it goes; the way back, ->thread, is good under RCU only. An attached thread
 * holds its space, the module, and its task.
 *
 * Ordering of locks, outermost first:
 *
 *	sandtrap_context.busy	not a lock: a bit that one ioctl at a time takes
 *	sandtrap_space.batch	a bit as well: one batch of an address space at a
 *				time; given back by whoever is done with it
 *	sandtrap_owners_lock	spin lock; the table of owners
 *	servers_lock		spin lock; the table of servers
 *	sandtrap_instance.lock	spin lock; list of spaces, dead
 *	sandtrap_space.lock	spin lock; server, threads, waiting contexts, those
 *				that run directly
 *	sandtrap_ring.lock	spin lock; producer side of the ring
 *	task_struct.alloc_lock	the kernel's, with none of the spin locks above: of the
 *				calling task, while it changes its mm (direct.c); of one
 *				that is to become the owner of its mm (exit probe)
 *
 * Outside of all spin locks, and with none of each other: the mmap lock of an mm and
 * (since 6.19) the mutex of its concurrency ids, which sleep; the lock inside the table
 * of contexts.
 *
 * All are taken in process context only. The exit probe may hold a CPU with
 * preemption off (before 7.2), so nothing that can sleep is taken under a spin lock.
 * A system call in ring mode takes none of them but busy, and ring.lock if the context
 * uses the ring; in direct mode busy, and alloc_lock once each way.
 */
#ifndef _SANDTRAP_INTERNAL_H
#define _SANDTRAP_INTERNAL_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/static_call.h>
#include <linux/task_work.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <asm/fpu/types.h>

#include "uapi/sandtrap.h"

#define SANDTRAP_MAX_CONTEXTS (1u << 16)
#define SANDTRAP_MAX_MEM_OPS 64u
#define SANDTRAP_MAX_SPIN_NS 1000000u
#define SANDTRAP_MAX_RING_ENTRIES (1u << 16)
#define SANDTRAP_RECENT 16

/* mmap() offsets of an instance: the ring first, then a slot for each context. */
#define SANDTRAP_OFF_PRODUCER 0ull
#define SANDTRAP_OFF_CONSUMER (1ull << 20)
#define SANDTRAP_OFF_ENTRIES (2ull << 20)
#define SANDTRAP_OFF_CONTEXTS (1ull << 32)
#define SANDTRAP_SLOT_SHIFT 20

/*
 * Stub threads wait for long: no load, no hung task, no obstacle to freezing. No
 * signal but SIGKILL is for them; see thread_park() for what else wakes them.
 */
#define SANDTRAP_STUB_WAIT (TASK_INTERRUPTIBLE | TASK_FREEZABLE)

/*
 * The locks one by one: what each protects, who takes it, what may happen under it.
 *
 * sandtrap_context.busy
 *	protects	what the context is bound to (->space), the place of the one who
 *			waits for it (->waiter), and the request that is made to it
 *	taken by	RUN, lseek(), WAIT, PULL, BIND while they last, and in direct mode
 *			until the program has been left; RELEASE and the last close() of
 *			the instance, for ever; NEW_CONTEXT, until the context is complete;
 *			the work that drops the mm of a space which has died
 *	may sleep	yes; nobody waits for it: the second comer gets EBUSY. That work does
 *			not sleep: who meets it spins. RESUME and INTERRUPT do without
 * sandtrap_space.batch
 *	protects	the order of batches; ->req
 *	taken by	whoever has a batch, in MEM or RUN; given back by who carried it out,
 *			or by the asker that has withdrawn it
 *	may sleep	yes, as long as the files take; waited for interruptibly
 * sandtrap_owners_lock
 *	protects	changes of the table of owners; readers, at the exit and exec of any
 *			process, are under RCU
 *	taken by	open() and the last close() of an instance; the exit or exec of its owner
 *	may sleep	no; nothing else is taken under it
 * servers_lock
 *	protects	changes of the table of servers; readers, at the exit and exec of any
 *			task, are under RCU
 *	taken by	the first SERVE, the last put of a space
 *	may sleep	no; nothing else is taken under it
 * threads_lock
 *	protects	the list of all attached threads
 *	taken by	ATTACH; a thread that exits
 *	may sleep	no; nothing else is taken under it
 * sandtrap_instance.lock
 *	protects	->spaces, ->dead
 *	taken by	NEW_ADDRESS_SPACE, the last put of a space, whoever ends the instance:
 *			its last close(), the exit or exec of its owner
 *	may sleep	no; space locks, and those that a signal takes, are taken under it
 * sandtrap_space.lock
 *	protects	which thread has which context (->thread, ->ctx, ->next, ->unbind),
 *			the lists of those who wait, of idle threads and of contexts that run
 *			directly; ->server, ->dead; ->mm is published for readers without it
 *	taken by	NEW_CONTEXT, BIND, RELEASE; SERVE, ATTACH; a thread that lets go of its
 *			context, or exits; the end of the space
 *	may sleep	no; an event may be published under it, and work queued, so ring.lock
 *			and the locks of wait queues and workqueues are taken under it
 * sandtrap_ring.lock
 *	protects	the producer's side of the ring: ->head, ->overflows, ->backlog
 *	taken by	RING_SETUP; every event of a context with SANDTRAP_CONTEXT_RING; poll(),
 *			WAIT for the ring, the last put of a context
 *	may sleep	no; nothing else is taken under it
 * task_struct.alloc_lock
 *	protects	the task's ->mm, and who owns an mm
 *	taken by	a thread that enters a program or leaves one; the exit probe
 *	may sleep	no; nothing of ours is taken under it
 */

struct sandtrap_context;

/* Told by the tracepoint sandtrap:sandtrap_kill. */
enum sandtrap_kill_reason {
	SANDTRAP_KILL_EXIT,
	SANDTRAP_KILL_SEAL,
	SANDTRAP_KILL_FILTER,
	SANDTRAP_KILL_SPACE,
};

/* Event ring. Shared pages are hostile: only ring.c looks at them. */
struct sandtrap_ring {
	spinlock_t lock;
	/* set once, published by ->entries */
	struct sandtrap_ring_producer *producer; /* shared, read-only for users */
	struct sandtrap_ring_consumer *consumer; /* shared: hostile */
	struct sandtrap_ring_entry *entries; /* shared, read-only for users */
	u32 nr;
	/* protected by ->lock */
	u32 head;
	u64 overflows;
	struct list_head backlog;
};

struct sandtrap_instance {
	struct kref ref;
	struct rcu_work free;
	struct mm_struct *owner_mm; /* compared; mm_count held */
	struct signal_struct *owner; /* compared, never followed */
	struct hlist_node owner_node; /* under sandtrap_owners_lock, or RCU */
	struct xarray contexts;
	/* Of those in the table; set and cleared by whoever has claimed one. */
	struct sandtrap_context *recent[SANDTRAP_RECENT];
	u32 next_id;
	wait_queue_head_t wq; /* waiters for the ring */
	struct sandtrap_ring ring;

	spinlock_t lock;
	/* protected by ->lock */
	struct list_head spaces;
	bool dead;
};

struct sandtrap_space {
	struct kref ref;
	struct rcu_head rcu;
	struct sandtrap_instance *inst;
	struct list_head node; /* protected by inst->lock */
	struct hlist_node server_node; /* protected by servers_lock */
	wait_queue_head_t wq; /* the server */
	wait_queue_head_t batch_wq; /* those who wait for a batch */
	unsigned long batch; /* a batch is being, or is to be, carried out */
	struct sandtrap_request *req; /* for the server; taken with xchg() */
	u32 last_clone; /* context to make a thread for; the server's alone */

	spinlock_t lock;
	/* protected by ->lock; server, mm and stub_* are set once */
	struct task_struct *server;
	struct mm_struct *mm; /* mm_count held */
	unsigned long stub_start;
	unsigned long stub_end;
	struct list_head starting; /* contexts for which a thread is to be made */
	struct list_head cloning; /* contexts whose thread is being made */
	struct list_head idle; /* threads without a context */
	struct list_head direct; /* contexts that run on their callers */
	bool dead;
	struct work_struct drop; /* holds a reference while queued */
};

/*
 * Something for a stopped thread, or the server, to do. It is handed over through
 * a pointer; whoever takes the pointer with xchg() owns it: the thread, or the
 * asker, withdrawing it. The thread sets ->done when it has done it.
 *
 * A batch can take for ever, if a file's server does not answer, and the asker may
 * be killed meanwhile: the pointer then holds a reference to the batch that the
 * request is part of. Other requests take no time, and live on the asker's stack;
 * ->done is the thread's last access to them.
 */
struct sandtrap_request {
	struct sandtrap_batch *batch;
	u32 pull; /* SANDTRAP_STATE_* */
	bool resume; /* if all went well continue with the program */
	int error;
	bool done;
};

/* Operations on memory, copied and checked. */
struct sandtrap_batch {
	struct kref ref;
	struct sandtrap_request req;
	u32 nr;
	u32 done;
	struct sandtrap_batch_op {
		struct sandtrap_mem_op op;
		struct file *file;
	} ops[];
};

/*
 * What current->syscall_dispatch.selector points to, in a task of ours: part of a
 * struct sandtrap_thread, or of the context that the task wears; see direct.c.
 */
struct sandtrap_trapped {
	/*
	 * Neither of the values that the kernel takes for "allow" or "block": if
	 * the hook were gone, syscall_user_dispatch() would kill the task.
	 */
	u8 selector;
	bool in_program; /* runs program code; written by the task */
	bool direct;
};

/* Not 0 (allow) and not 1 (block). */
#define SANDTRAP_SELECTOR_POISON 0xff

/* Bases and selectors of the segments that 64-bit code has. */
struct sandtrap_segments {
	unsigned long fs_base;
	unsigned long gs_base;
	union {
		struct {
			u16 fs;
			u16 gs;
			u16 ds;
			u16 es;
		};
		u64 selectors; /* all of them: mostly 0 */
	};
};

/*
 * The part of a context that runs on the thread that calls SANDTRAP_RUN. All of it
 * belongs to whoever has claimed the context, but what is said otherwise.
 */
struct sandtrap_direct {
	struct sandtrap_trapped trapped;
	bool entered; /* the program has run since the last event */
	bool fresh; /* nothing has been loaded from the pages yet */
	bool has_fault; /* ->fault is to be reported when the program is left */
	u32 save; /* SANDTRAP_STATE_* to save with the next event */
	bool keep_fpu; /* the caller counts on its FPU state */
	u16 caller_fcw;
	u32 caller_mxcsr;
	u32 caller_pkru;
	u32 pkru;
	struct mm_struct *mm; /* of the space while it lives; mm_users held since the first run */
	struct fpu_guest fpu;
	struct sandtrap_segments segments;
	struct sandtrap_segments caller_segments;
	struct pt_regs caller; /* how the call of the runner returns */
	struct sandtrap_fault fault;
	long interrupted; /* what the call returns if a signal ends it */

	struct task_struct *runner; /* set while ->mm is worn; valid under RCU */
	struct callback_head kick_work; /* holds a reference while queued */
	unsigned long kicked;
	struct list_head node; /* in space->direct; under space->lock */
	bool told_dead; /* under space->lock */
};

struct sandtrap_context {
	/* The hot path: written by the thread, or by the one who resumes. */
	struct sandtrap_context_page *page; /* shared: hostile */
	u32 seq; /* private copy of page->event_seq, the true one; written before it */
	u32 told; /* the same, written after it: for those who wait here */
	u32 event; /* written before ->seq */
	bool interrupt; /* pending */
	u8 aside_pause; /* see step_aside() */
	struct task_struct *waiter; /* valid under RCU */
	struct sandtrap_request *req; /* taken with xchg() */
	struct sandtrap_thread __rcu *thread; /* written under space->lock */

	struct kref ref;
	struct rcu_work free;
	struct sandtrap_instance *inst;
	struct sandtrap_space *space; /* written by the holder of ->busy */
	unsigned long busy; /* SANDTRAP_BUSY_* */
	u32 id;
	u32 flags;
	u64 cookie;
	void *fpu; /* private copy while loading; see state.c */
	struct list_head starting; /* protected by space->lock */
	struct list_head backlog; /* protected by ring.lock, as are the next */
	u32 backlog_seq;
	u32 backlog_event;

	struct sandtrap_direct direct; /* with SANDTRAP_CONTEXT_DIRECT */
};

/* Nobody will ever answer to @seq. */
static inline bool sandtrap_context_dead(struct sandtrap_context *ctx, u32 seq)
{
	return READ_ONCE(ctx->seq) == seq &&
	       READ_ONCE(ctx->event) == SANDTRAP_EVENT_DEAD;
}

/* Can the program be run on from @seq? The caller has claimed the context. */
static inline int sandtrap_context_check(struct sandtrap_context *ctx, u32 seq)
{
	if (unlikely(!ctx->space))
		return -ENOTCONN;
	return unlikely(sandtrap_context_dead(ctx, seq)) ? -ESRCH : 0;
}

/* bits of sandtrap_context.busy */
#define SANDTRAP_BUSY_CLAIMED 0
#define SANDTRAP_BUSY_ORPHAN 1 /* its instance is gone: the claimant ends it */
#define SANDTRAP_BUSY_DEAD 2 /* its space has died: the claimant drops the mm */
#define SANDTRAP_BUSY_DROPPING 3 /* claimed for that alone: no time */

enum sandtrap_thread_state {
	SANDTRAP_ARMED, /* attached; may make one seccomp() call */
	SANDTRAP_SEALED, /* has made it; the next call parks the thread */
	SANDTRAP_LIVE, /* no system call of this thread is ever let through */
};

/*
 * An attached thread of a stub. current->syscall_dispatch.selector points to
 * it; see sandtrap_current().
 */
struct sandtrap_thread {
	struct sandtrap_trapped trapped;
	bool parked; /* on a round trip to user mode; see thread_park() */
	bool fresh; /* nothing of the context has been loaded yet */
	bool sleeping; /* a wake-up is needed; see thread_sleep() */
	bool unbind; /* let go of the context; written under space->lock */
	bool has_fault; /* ->fault is to be reported on the way to user mode */
	bool fault_work_queued;
	struct sandtrap_fault fault;
	u32 save; /* SANDTRAP_STATE_* to save with the next event */
	u32 state;
	struct sandtrap_context *ctx; /* written by the thread */
	struct task_struct *task;
	struct list_head node; /* in all threads; protected by threads_lock */
	struct sandtrap_space *space;
	unsigned long park; /* a system call instruction of the stub */

	struct kref ref;
	struct rcu_head rcu;
	unsigned int filters; /* seccomp filters when it attached */
	struct callback_head work; /* interrupt; held by ->ref while queued */
	unsigned long work_queued;
	struct callback_head fault_work; /* held by ->ref while queued */
	struct sandtrap_context *next; /* protected by space->lock, as is */
	struct list_head idle;
};

/* As sandtrap_trapped(), for a task with the work bit. */
static __always_inline struct sandtrap_trapped *
sandtrap_dispatched(struct task_struct *task)
{
	unsigned long p = (unsigned long __force)task->syscall_dispatch.selector;

	return (long)p < 0 ? (struct sandtrap_trapped *)p : NULL;
}

/*
 * For a task that runs or cannot run: what it is to us, or NULL. O(1), and cannot
 * be forged: user space can put only user addresses into the selector (prctl and
 * ptrace check that), and none at all without the work bit.
 */
static __always_inline struct sandtrap_trapped *
sandtrap_trapped(struct task_struct *task)
{
	struct sandtrap_trapped *t = sandtrap_dispatched(task);

	return t && test_task_syscall_work(task, SYSCALL_USER_DISPATCH) ? t : NULL;
}

/* The caller is trapped, and not direct. */
static __always_inline struct sandtrap_thread *sandtrap_current_thread(void)
{
	return (void *)(unsigned long __force)current->syscall_dispatch.selector;
}

/* From here on the hooks take the calling task for ours. */
static __always_inline void sandtrap_trap_current(struct sandtrap_trapped *t)
{
	current->syscall_dispatch.offset = 0;
	current->syscall_dispatch.len = 0;
	current->syscall_dispatch.selector = (char __user __force *)t;
	current->syscall_dispatch.on_dispatch = false;
	set_syscall_work(SYSCALL_USER_DISPATCH);
}

static __always_inline void sandtrap_untrap_current(void)
{
	clear_syscall_work(SYSCALL_USER_DISPATCH);
	current->syscall_dispatch.selector = NULL;
}

/* Unexported functions of the kernel; see symbols.c. */
void sandtrap_switch_mm_fn(struct mm_struct *prev, struct mm_struct *next,
			   struct task_struct *task);
void sandtrap_membarrier_mm_fn(struct mm_struct *mm);
void sandtrap_do_signal_fn(struct pt_regs *regs);
void sandtrap_save_fpu_fn(struct fpu *fpu);
void sandtrap_restore_fpu_fn(struct fpstate *fpstate, u64 mask);

/* main.c */
extern bool sandtrap_has_direct;
extern struct workqueue_struct *sandtrap_free_wq;
size_t sandtrap_context_size(void);

/* dev.c */
extern const struct file_operations sandtrap_instance_fops;
extern const struct file_operations sandtrap_space_fops;
extern const struct file_operations sandtrap_stub_fops;

/* instance.c */
struct sandtrap_instance *sandtrap_instance_new(void);
void sandtrap_instance_kill(struct sandtrap_instance *inst);
void sandtrap_instance_release(struct sandtrap_instance *inst);
void sandtrap_instance_put(struct sandtrap_instance *inst);
void sandtrap_owner_gone(struct task_struct *task);
void sandtrap_owner_exits(struct task_struct *task);
int sandtrap_get_info(struct sandtrap_instance *inst, void *arg);
int sandtrap_instance_mmap(struct sandtrap_instance *inst,
			   struct vm_area_struct *vma);

/* space.c */
struct sandtrap_space *sandtrap_space_get(int fd,
					  struct sandtrap_instance *inst);
void sandtrap_space_put(struct sandtrap_space *space);
void sandtrap_space_kill(struct sandtrap_space *space);
void sandtrap_space_dead(struct sandtrap_space *space);
void sandtrap_server_gone(struct task_struct *task);
void sandtrap_space_no_thread(struct sandtrap_space *space, u32 id);
bool sandtrap_task_is_bare(void);
int sandtrap_space_bind(struct sandtrap_space *space,
			struct sandtrap_context *ctx);
int sandtrap_space_begin_batch(struct sandtrap_space *space);
void sandtrap_space_end_batch(struct sandtrap_space *space);
int sandtrap_new_address_space(struct sandtrap_instance *inst, void *arg,
			       void __user *uarg);
int sandtrap_mem(struct sandtrap_space *space, void *arg);
long sandtrap_serve(struct sandtrap_space *space, unsigned long arg);

/* context.c */
void sandtrap_context_put(struct sandtrap_context *ctx);
void sandtrap_context_release(struct sandtrap_context *ctx);
struct sandtrap_context *sandtrap_context_get(struct sandtrap_instance *inst,
					      u32 id);
int sandtrap_new_context(struct sandtrap_instance *inst, void *arg,
			 void __user *uarg);
int sandtrap_bind_context(struct sandtrap_instance *inst, void *arg);
int sandtrap_release_context(struct sandtrap_instance *inst, void *arg);
int sandtrap_run(struct sandtrap_instance *inst, void *arg,
		 void __user *uarg);
long sandtrap_run_fast(struct sandtrap_instance *inst, u32 id);
int sandtrap_resume(struct sandtrap_instance *inst, void *arg);
int sandtrap_wait(struct sandtrap_instance *inst, void *arg);
int sandtrap_interrupt(struct sandtrap_instance *inst, void *arg);
int sandtrap_pull(struct sandtrap_instance *inst, void *arg);

void sandtrap_context_unclaim(struct sandtrap_context *ctx);

/* direct.c */
int sandtrap_direct_init(struct sandtrap_context *ctx);
void sandtrap_direct_free(struct sandtrap_context *ctx);
void sandtrap_direct_bind(struct sandtrap_context *ctx);
void sandtrap_direct_unbind(struct sandtrap_context *ctx);
long sandtrap_direct_run(struct sandtrap_context *ctx, u32 seq,
			 struct sandtrap_batch *batch);
long sandtrap_direct_run_fast(struct sandtrap_context *ctx);
int sandtrap_direct_pull(struct sandtrap_context *ctx, u32 what);
bool sandtrap_direct_syscall(struct pt_regs *regs);
int sandtrap_direct_fault(struct kernel_siginfo *info, struct task_struct *task,
			  int handler);
int sandtrap_direct_breakpoint(struct kernel_siginfo *info, struct task_struct *task,
			       int handler);
int sandtrap_direct_fault_later(struct kernel_siginfo *info,
				struct task_struct *task, int handler);
void sandtrap_direct_signal(struct pt_regs *regs);
void sandtrap_direct_exit(void);

/* kick.c */
void sandtrap_direct_kick_work(struct callback_head *work);
void sandtrap_direct_kick(struct sandtrap_context *ctx);
void sandtrap_direct_kick_all(struct sandtrap_space *space);
void sandtrap_direct_drop_mm(struct sandtrap_context *ctx);
void sandtrap_direct_drop_work(struct work_struct *work);

/* symbols.c */
/*
 * The address of a function that is not exported, or NULL: then the log says which one
 * is missing, and the consequence. May sleep; for the time of loading.
 */
void *sandtrap_find_function(const char *name, const char *consequence);
/* Has the static call @call call the function @name; false if there is none. */
#define SANDTRAP_FIND(call, name, consequence) ({ \
	typeof(&STATIC_CALL_TRAMP(call)) __fn = sandtrap_find_function(name, consequence); \
	if (__fn) \
		static_call_update(call, __fn); \
	__fn != NULL; \
})
DECLARE_STATIC_CALL(sandtrap_switch_mm, sandtrap_switch_mm_fn);
DECLARE_STATIC_CALL(sandtrap_membarrier_mm, sandtrap_membarrier_mm_fn);
DECLARE_STATIC_CALL(sandtrap_do_signal, sandtrap_do_signal_fn);
DECLARE_STATIC_CALL(sandtrap_save_fpu, sandtrap_save_fpu_fn);
DECLARE_STATIC_CALL(sandtrap_restore_fpu, sandtrap_restore_fpu_fn);
bool sandtrap_symbols_init(void);

/* thread.c */
long sandtrap_attach(struct sandtrap_space *space, unsigned long token);
bool sandtrap_thread_admit(struct sandtrap_thread *thr, struct pt_regs *regs);
void sandtrap_thread_exit(struct sandtrap_thread *thr);
void sandtrap_thread_exit_exec(void);
void sandtrap_thread_interrupt(struct sandtrap_thread *thr);
void sandtrap_thread_kill(struct sandtrap_thread *thr,
			  enum sandtrap_kill_reason why);
bool sandtrap_thread_rebind(struct sandtrap_thread *thr);
void sandtrap_thread_work(struct callback_head *work);
void sandtrap_thread_fault(struct sandtrap_thread *thr);
void sandtrap_thread_fault_work(struct callback_head *work);

/* trap.c */
void sandtrap_publish(struct sandtrap_context *ctx, u32 event, u32 flags);
void sandtrap_stop(struct sandtrap_thread *thr, struct pt_regs *regs);
void sandtrap_save_fault(struct sandtrap_fault *f,
			 const struct kernel_siginfo *info);
bool sandtrap_trap_syscall(struct pt_regs *regs);
int sandtrap_trap_fault(struct kernel_siginfo *info, struct task_struct *task,
			int handler);
int sandtrap_trap_fault_later(struct kernel_siginfo *info,
			      struct task_struct *task, int handler);
void sandtrap_interrupted(struct sandtrap_thread *thr);
void sandtrap_wake_waiter(struct sandtrap_context *ctx);
void sandtrap_wake_stub(struct sandtrap_context *ctx);

/* hook.c */
int sandtrap_hooks_init(void);
void sandtrap_hooks_exit(void);

/* mem.c */
struct sandtrap_batch *sandtrap_batch_new(u64 uaddr, u32 nr);
void sandtrap_batch_put(struct sandtrap_batch *batch);
int sandtrap_batch_run(struct sandtrap_batch *batch,
		       struct sandtrap_space *space);
struct mm_struct *sandtrap_space_mm(struct sandtrap_space *space);
int sandtrap_copy(struct sandtrap_space *space, void *arg);
int sandtrap_atomic(struct sandtrap_space *space, void *arg);

/* shared.c */
void *sandtrap_shared_alloc(size_t size);
int sandtrap_shared_mmap(struct vm_area_struct *vma, void *mem,
			 unsigned long forbid);

/* state.c */
extern u32 sandtrap_fpu_size;
extern u64 sandtrap_fpu_features;
extern u64 sandtrap_fpu_xfd; /* features that fault when a task first uses them */
void sandtrap_fpu_setup(void);
void *sandtrap_fpu_copy_new(void);
void sandtrap_state_init(struct sandtrap_context *ctx);
u32 sandtrap_state_save(struct sandtrap_context *ctx, u32 what);
int sandtrap_state_load(struct sandtrap_context *ctx, u32 what);
int sandtrap_state_load_fresh(struct sandtrap_context *ctx);
u32 sandtrap_direct_state_save(struct sandtrap_context *ctx, u32 what);
int sandtrap_direct_state_load(struct sandtrap_context *ctx, u32 what);
void sandtrap_segments_load(const struct sandtrap_segments *from,
			    const struct sandtrap_segments *to);
void sandtrap_segments_swap_by_msr(struct sandtrap_segments *from,
				   const struct sandtrap_segments *to);

/* ring.c */
void sandtrap_ring_init(struct sandtrap_ring *ring);
void sandtrap_ring_free(struct sandtrap_ring *ring);
int sandtrap_ring_setup(struct sandtrap_instance *inst, void *arg,
			void __user *uarg);
void sandtrap_ring_push(struct sandtrap_context *ctx, u32 event);
void sandtrap_ring_forget(struct sandtrap_context *ctx);
bool sandtrap_ring_ready(struct sandtrap_instance *inst);
int sandtrap_ring_mmap(struct sandtrap_instance *inst,
		       struct vm_area_struct *vma);

#endif /* _SANDTRAP_INTERNAL_H */
