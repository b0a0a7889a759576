// SPDX-License-Identifier: GPL-2.0
/*
 * space.c - address spaces, and the server thread of each stub process
 *
 * The server makes threads when contexts need them, and carries out memory
 * operations when no stopped thread is at hand for them. It never runs program
 * code. Whatever ends it ends the address space; see sandtrap_server_gone().
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/hashtable.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "sandtrap_internal.h"
#include "trace.h"

static DEFINE_SPINLOCK(servers_lock);
/* Spaces by their server; changed under servers_lock, read under RCU. */
static DEFINE_HASHTABLE(servers, 8);

static void space_free_rcu(struct rcu_head *rcu)
{
	struct sandtrap_space *space =
		container_of(rcu, struct sandtrap_space, rcu);

	if (space->server)
		put_task_struct(space->server);
	kfree(space);
}

/* Who found a thread under RCU may look at its space and that one's server. */
static void space_free(struct kref *ref)
{
	struct sandtrap_space *space =
		container_of(ref, struct sandtrap_space, ref);

	spin_lock(&space->inst->lock);
	list_del(&space->node);
	spin_unlock(&space->inst->lock);
	spin_lock(&servers_lock);
	hash_del_rcu(&space->server_node);
	spin_unlock(&servers_lock);

	if (space->mm)
		mmdrop(space->mm);
	sandtrap_instance_put(space->inst);
	call_rcu(&space->rcu, space_free_rcu);
}

void sandtrap_space_put(struct sandtrap_space *space)
{
	kref_put(&space->ref, space_free);
}

/* Resolves a descriptor of the caller; the space must be of this instance. */
struct sandtrap_space *sandtrap_space_get(int fd,
					  struct sandtrap_instance *inst)
{
	struct sandtrap_space *space = ERR_PTR(-EBADF);
	struct file *file = fget(fd);

	if (!file)
		return space;
	if (file->f_op == &sandtrap_space_fops) {
		space = file->private_data;
		if (space->inst == inst)
			kref_get(&space->ref);
		else
			space = ERR_PTR(-EBADF);
	}
	fput(file);
	return space;
}

static struct sandtrap_space *space_new(struct sandtrap_instance *inst)
{
	struct sandtrap_space *space;

	space = kzalloc(sizeof(*space), GFP_KERNEL_ACCOUNT);
	if (!space)
		return NULL;
	kref_init(&space->ref);
	kref_get(&inst->ref);
	space->inst = inst;
	init_waitqueue_head(&space->wq);
	init_waitqueue_head(&space->batch_wq);
	spin_lock_init(&space->lock);
	INIT_LIST_HEAD(&space->starting);
	INIT_LIST_HEAD(&space->cloning);
	INIT_LIST_HEAD(&space->idle);
	INIT_LIST_HEAD(&space->direct);
	INIT_WORK(&space->drop, sandtrap_direct_drop_work);

	spin_lock(&inst->lock);
	list_add(&space->node, &inst->spaces);
	space->dead = inst->dead;
	spin_unlock(&inst->lock);
	return space;
}

/* A file of the space, which takes a reference to it. */
static struct file *space_file(struct sandtrap_space *space, const char *name,
			       const struct file_operations *fops)
{
	struct file *file;

	file = anon_inode_getfile(name, fops, space, O_RDWR);
	if (!IS_ERR(file))
		kref_get(&space->ref);
	return file;
}

int sandtrap_new_address_space(struct sandtrap_instance *inst, void *arg,
			       void __user *uarg)
{
	struct sandtrap_new_address_space __user *out = uarg;
	struct sandtrap_new_address_space *a = arg;
	struct file *file, *stub_file;
	struct sandtrap_space *space;
	int fd, stub_fd, err;

	if (a->flags)
		return -EOPNOTSUPP;
	space = space_new(inst);
	if (!space)
		return -ENOMEM;
	err = fd = get_unused_fd_flags(O_CLOEXEC);
	if (err < 0)
		goto out_space;
	err = stub_fd = get_unused_fd_flags(O_CLOEXEC);
	if (err < 0)
		goto out_fd;
	file = space_file(space, "[sandtrap-space]", &sandtrap_space_fops);
	err = PTR_ERR_OR_ZERO(file);
	if (err)
		goto out_stub_fd;
	stub_file = space_file(space, "[sandtrap-stub]", &sandtrap_stub_fops);
	err = PTR_ERR_OR_ZERO(stub_file);
	if (err)
		goto out_file;
	err = -EFAULT;
	if (put_user(fd, &out->out_fd) || put_user(stub_fd, &out->out_stub_fd))
		goto out_stub_file;

	fd_install(fd, file);
	fd_install(stub_fd, stub_file);
	sandtrap_space_put(space);
	return 0;

out_stub_file:
	fput(stub_file);
out_file:
	fput(file);
out_stub_fd:
	put_unused_fd(stub_fd);
out_fd:
	put_unused_fd(fd);
out_space:
	sandtrap_space_put(space);
	return err;
}

/* death */

/* All contexts in @list, or the one with this @id. */
static void fail_waiting(struct sandtrap_space *space, struct list_head *list,
			 u32 id)
{
	struct sandtrap_context *ctx, *next;

	lockdep_assert_held(&space->lock);
	list_for_each_entry_safe(ctx, next, list, starting) {
		if (id && ctx->id != id)
			continue;
		list_del_init(&ctx->starting);
		sandtrap_publish(ctx, SANDTRAP_EVENT_DEAD, 0);
		sandtrap_context_put(ctx);
	}
}

/*
 * No thread will come for those who wait for one. Threads that are there report
 * their own death. A context that waits is held by its instance's table or by
 * a command as well, so its last reference is not dropped under the lock.
 */
void sandtrap_space_dead(struct sandtrap_space *space)
{
	spin_lock(&space->lock);
	/* Each of those contexts has a reference. */
	if (!space->dead && !list_empty(&space->direct)) {
		kref_get(&space->ref);
		queue_work(sandtrap_free_wq, &space->drop);
	}
	WRITE_ONCE(space->dead, true);
	fail_waiting(space, &space->starting, 0);
	fail_waiting(space, &space->cloning, 0);
	sandtrap_direct_kick_all(space);
	spin_unlock(&space->lock);
	wake_up_all(&space->wq);
	wake_up_all(&space->batch_wq);
}

/*
 * Can be called under inst->lock, and from the exit of the owner. The signal is
 * for the process: of a first thread that has ended by itself it would be lost.
 */
void sandtrap_space_kill(struct sandtrap_space *space)
{
	struct task_struct *server;

	sandtrap_space_dead(space);
	server = READ_ONCE(space->server);
	if (server) {
		trace_sandtrap_kill(0, SANDTRAP_KILL_SPACE);
		rcu_read_lock();
		kill_pid(task_tgid(server), SIGKILL, 1);
		rcu_read_unlock();
	}
}

/*
 * @task ends, or becomes another program, however that comes, and whoever has the stub's
 * descriptor. Every task of the machine comes here: it looks at one bucket.
 */
void sandtrap_server_gone(struct task_struct *task)
{
	struct sandtrap_space *space;

	rcu_read_lock();
	hash_for_each_possible_rcu(servers, space, server_node, (unsigned long)task) {
		if (READ_ONCE(space->server) == task)
			sandtrap_space_kill(space);
	}
	rcu_read_unlock();
}

/* contexts that want a thread */

int sandtrap_space_bind(struct sandtrap_space *space,
			struct sandtrap_context *ctx)
{
	struct sandtrap_thread *thr = NULL;
	bool serve = false;

	kref_get(&space->ref);
	kref_get(&ctx->ref);
	ctx->space = space;

	spin_lock(&space->lock);
	if (space->dead) {
		spin_unlock(&space->lock);
		ctx->space = NULL;
		sandtrap_context_put(ctx);
		sandtrap_space_put(space);
		return -ESRCH;
	}
	if (ctx->flags & SANDTRAP_CONTEXT_DIRECT) {
		sandtrap_direct_bind(ctx);
		spin_unlock(&space->lock);
		sandtrap_context_put(ctx);
		return 0;
	}
	thr = list_first_entry_or_null(&space->idle, struct sandtrap_thread,
				       idle);
	if (thr) {
		list_del_init(&thr->idle);
		WRITE_ONCE(thr->next, ctx);
		rcu_assign_pointer(ctx->thread, thr);
		wake_up_process(thr->task);
	} else {
		list_add_tail(&ctx->starting, &space->starting);
		serve = true;
	}
	spin_unlock(&space->lock);
	if (serve)
		wake_up_all(&space->wq);
	return 0;
}

/* the server */

/* The stub's code is where the call comes from; and it must stay as it is. */
static int find_stub(unsigned long *start, unsigned long *end)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int err = -EPERM;

	mmap_read_lock(mm);
	vma = find_vma(mm, task_pt_regs(current)->ip);
	if (vma && vma->vm_start <= task_pt_regs(current)->ip &&
	    (vma->vm_flags & VM_EXEC) && !(vma->vm_flags & VM_WRITE)) {
		*start = vma->vm_start;
		*end = vma->vm_end;
		err = 0;
	}
	mmap_read_unlock(mm);
	return err;
}

/*
 * The kernel writes to memory that a task has registered, at times of its own
 * choice. That memory is the program's soon, which could steer those writes.
 */
bool sandtrap_task_is_bare(void)
{
	return !current->clear_child_tid && !sandtrap_has_robust_list() &&
	       !sandtrap_has_rseq();
}

static int become_server(struct sandtrap_space *space)
{
	unsigned long start, end;
	int err;

	if (!thread_group_empty(current) ||
	    current->mm == space->inst->owner_mm || !sandtrap_owns_mm() ||
	    current->seccomp.mode != SECCOMP_MODE_FILTER ||
	    !task_no_new_privs(current) || !sandtrap_task_is_bare())
		return -EPERM;
	/* Before anything is changed: who is refused may ask again. */
	err = find_stub(&start, &end);
	if (err)
		return err;

	spin_lock(&space->lock);
	err = -EPERM;
	if (!space->server) {
		space->stub_start = start;
		space->stub_end = end;
		WRITE_ONCE(space->server, get_task_struct(current));
		err = 0;
	}
	spin_unlock(&space->lock);
	if (err)
		return err;

	spin_lock(&servers_lock);
	hash_add_rcu(servers, &space->server_node, (unsigned long)current);
	spin_unlock(&servers_lock);
	mmgrab(current->mm);
	/* From here on others look at the mm. */
	smp_store_release(&space->mm, current->mm);
	wake_up_all(&space->wq);
	return 0;
}

/* The thread for context @id could not be made; those for others may yet come. */
void sandtrap_space_no_thread(struct sandtrap_space *space, u32 id)
{
	spin_lock(&space->lock);
	fail_waiting(space, &space->cloning, id);
	spin_unlock(&space->lock);
}

/*
 * What became of the thread that the server was told to make. The call may be
 * started again with the same argument, so each result counts once.
 */
static void last_result(struct sandtrap_space *space, long result)
{
	u32 id = space->last_clone;

	space->last_clone = 0;
	if (result && id)
		sandtrap_space_no_thread(space, id);
}

/* The next context that wants a thread; 0 if there is none. */
static u32 next_clone(struct sandtrap_space *space)
{
	struct sandtrap_context *ctx;
	u32 id = 0;

	if (list_empty_careful(&space->starting))
		return 0;
	spin_lock(&space->lock);
	ctx = list_first_entry_or_null(&space->starting,
				       struct sandtrap_context, starting);
	if (ctx) {
		list_move_tail(&ctx->starting, &space->cloning);
		id = ctx->id;
	}
	spin_unlock(&space->lock);
	return id;
}

static void serve_request(struct sandtrap_space *space)
{
	struct sandtrap_request *req;

	if (!READ_ONCE(space->req))
		return;
	req = xchg(&space->req, NULL);
	if (!req)
		return;
	WRITE_ONCE(req->error, sandtrap_batch_run(req->batch, space));
	smp_store_release(&req->done, true);
	sandtrap_space_end_batch(space);
	sandtrap_batch_put(req->batch);
}

/*
 * Files that were unmapped are closed on the way to user mode, where the server
 * seldom goes. Has it go there and come back with the same call.
 */
static bool closing_files(void)
{
	if (!task_work_pending(current))
		return false;
	/* What makes the kernel look at -ERESTARTNOINTR. */
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return true;
}

long sandtrap_serve(struct sandtrap_space *space, unsigned long arg)
{
	u32 id = 0;
	int err;

	if ((long)arg > 0 || (long)arg < -MAX_ERRNO)
		return -EINVAL;
	if (!READ_ONCE(space->server)) {
		err = become_server(space);
		if (err)
			return err;
	} else if (READ_ONCE(space->server) != current) {
		return -EPERM;
	}
	last_result(space, arg);

	for (;;) {
		err = wait_event_state(space->wq,
				       READ_ONCE(space->dead) ||
				       READ_ONCE(space->req) ||
				       (id = next_clone(space)),
				       (SANDTRAP_STUB_WAIT));
		if (READ_ONCE(space->dead) || fatal_signal_pending(current))
			break;
		/* The server is to be frozen or stopped. Then it comes back. */
		if (err)
			return -ERESTARTNOINTR;
		if (id) {
			space->last_clone = id;
			return id;
		}
		serve_request(space);
		if (closing_files())
			return -ERESTARTNOINTR;
	}
	sandtrap_space_dead(space);
	return -ESRCH;
}

/* memory operations */

/*
 * Batches of an address space are carried out one after the other, in the order
 * in which they begin here, no matter which thread does it.
 */
int sandtrap_space_begin_batch(struct sandtrap_space *space)
{
	if (!test_and_set_bit_lock(0, &space->batch))
		return 0;
	return wait_event_interruptible(space->batch_wq,
					!test_and_set_bit_lock(0, &space->batch)) ?
		-EINTR : 0;
}

/* Whoever waits for a batch to be done waits here as well. */
void sandtrap_space_end_batch(struct sandtrap_space *space)
{
	clear_bit_unlock(0, &space->batch);
	/* Pairs with the barrier of waits for batch_wq. */
	smp_mb__after_atomic();
	if (waitqueue_active(&space->batch_wq))
		wake_up_all(&space->batch_wq);
}

static int mem_request(struct sandtrap_space *space,
		       struct sandtrap_batch *batch)
{
	struct sandtrap_request *req = &batch->req;
	int err;

	err = sandtrap_space_begin_batch(space);
	if (err)
		return err;
	kref_get(&batch->ref);
	smp_store_release(&space->req, req);
	wake_up_all(&space->wq);
	err = wait_event_interruptible(space->batch_wq,
				       smp_load_acquire(&req->done) ||
				       READ_ONCE(space->dead)) ? -EINTR : 0;
	if (cmpxchg(&space->req, req, NULL) == req) {
		sandtrap_space_end_batch(space);
		sandtrap_batch_put(batch);
		return err ?: -ESRCH;
	}
	/* The server has begun: it is waited for, unless we are killed. */
	if (wait_event_killable(space->batch_wq, smp_load_acquire(&req->done)))
		return -EINTR;
	return req->error;
}

int sandtrap_mem(struct sandtrap_space *space, void *arg)
{
	struct sandtrap_mem *a = arg;
	struct sandtrap_batch *batch;
	int err;

	if (a->flags)
		return -EOPNOTSUPP;
	a->out_ops_done = 0;
	if (!a->nr_ops)
		return -EINVAL;
	batch = sandtrap_batch_new(a->ops, a->nr_ops);
	if (IS_ERR(batch))
		return PTR_ERR(batch);
	err = mem_request(space, batch);
	a->out_ops_done = READ_ONCE(batch->done);
	sandtrap_batch_put(batch);
	return err;
}
