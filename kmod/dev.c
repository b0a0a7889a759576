// SPDX-License-Identifier: GPL-2.0
/*
 * dev.c - file operations, the tables of commands, the one copy of arguments
 */
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#include "sandtrap_internal.h"

union sandtrap_arg {
	u32 size;
	struct sandtrap_info info;
	struct sandtrap_new_address_space new_address_space;
	struct sandtrap_new_context new_context;
	struct sandtrap_bind_context bind_context;
	struct sandtrap_context_arg context;
	struct sandtrap_run run;
	struct sandtrap_wait wait;
	struct sandtrap_ring_setup ring_setup;
	struct sandtrap_mem mem;
	struct sandtrap_copy copy;
	struct sandtrap_atomic atomic;
};

/*
 * One command: its handler and the size of its argument, and whether only the
 * owner of the instance may use it. min_size is the size that the argument had
 * in the first ABI: it never changes. Handlers on an instance may also be of
 * the kind that writes its results itself.
 */
struct sandtrap_command {
	unsigned int cmd;
	u16 size;
	u16 min_size;
	bool out; /* copy the argument back on success */
	bool out_on_error; /* on failure too: it tells how far it came */
	bool anybody;
	int (*instance)(struct sandtrap_instance *inst, void *arg);
	int (*writes_itself)(struct sandtrap_instance *inst, void *arg,
			     void __user *uarg);
	int (*space)(struct sandtrap_space *space, void *arg);
};

#define COMMAND(_cmd, _kind, _fn, _type, _last, ...) \
	[_IOC_NR(_cmd) & 0xf] = { \
		.cmd = _cmd, \
		.size = sizeof(struct _type), \
		.min_size = offsetofend(struct _type, _last), \
		._kind = _fn, \
		__VA_ARGS__ \
	}

static const struct sandtrap_command instance_commands[16] = {
	COMMAND(SANDTRAP_GET_INFO, instance, sandtrap_get_info, sandtrap_info,
		out_task_size, .out = true, .anybody = true),
	COMMAND(SANDTRAP_NEW_ADDRESS_SPACE, writes_itself,
		sandtrap_new_address_space, sandtrap_new_address_space,
		out_stub_fd),
	COMMAND(SANDTRAP_NEW_CONTEXT, writes_itself, sandtrap_new_context,
		sandtrap_new_context, out_mmap_offset),
	COMMAND(SANDTRAP_BIND_CONTEXT, instance, sandtrap_bind_context,
		sandtrap_bind_context, address_space),
	COMMAND(SANDTRAP_RELEASE_CONTEXT, instance, sandtrap_release_context,
		sandtrap_context_arg, seq),
	COMMAND(SANDTRAP_RUN, writes_itself, sandtrap_run, sandtrap_run,
		__reserved),
	COMMAND(SANDTRAP_RESUME, instance, sandtrap_resume,
		sandtrap_context_arg, seq),
	COMMAND(SANDTRAP_WAIT, instance, sandtrap_wait, sandtrap_wait,
		timeout_ns),
	COMMAND(SANDTRAP_INTERRUPT, instance, sandtrap_interrupt,
		sandtrap_context_arg, seq),
	COMMAND(SANDTRAP_PULL, instance, sandtrap_pull, sandtrap_context_arg,
		seq),
	COMMAND(SANDTRAP_RING_SETUP, writes_itself, sandtrap_ring_setup,
		sandtrap_ring_setup, out_entries_size),
};

static const struct sandtrap_command space_commands[16] = {
	COMMAND(SANDTRAP_MEM, space, sandtrap_mem, sandtrap_mem, out_ops_done,
		.out = true, .out_on_error = true),
	COMMAND(SANDTRAP_COPY, space, sandtrap_copy, sandtrap_copy, out_fault,
		.out = true, .out_on_error = true),
	COMMAND(SANDTRAP_ATOMIC, space, sandtrap_atomic, sandtrap_atomic,
		out_old, .out = true),
};

static const struct sandtrap_command *
find_command(const struct sandtrap_command *table, unsigned int cmd)
{
	const struct sandtrap_command *c = &table[_IOC_NR(cmd) & 0xf];

	return cmd && c->cmd == cmd ? c : NULL;
}

static int copy_arg(union sandtrap_arg *arg, void __user *uarg,
		    const struct sandtrap_command *c, u32 *usize)
{
	if (get_user(*usize, (u32 __user *)uarg))
		return -EFAULT;
	if (*usize < c->min_size)
		return -EINVAL;
	if (*usize > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(arg, c->size, uarg, *usize);
}

static int copy_back(void __user *uarg, union sandtrap_arg *arg,
		     const struct sandtrap_command *c, u32 usize)
{
	/* What the user sees is the size the user gave. */
	arg->size = usize;
	if (copy_to_user(uarg, arg, min_t(u32, usize, c->size)))
		return -EFAULT;
	return 0;
}

static long instance_ioctl(struct file *file, unsigned int cmd,
			   unsigned long user)
{
	struct sandtrap_instance *inst = file->private_data;
	void __user *uarg = (void __user *)user;
	const struct sandtrap_command *c;
	union sandtrap_arg arg;
	u32 usize;
	int ret;

	c = find_command(instance_commands, cmd);
	if (!c)
		return -ENOIOCTLCMD;
	if (!c->anybody && inst->owner_mm != current->mm)
		return -EPERM;
	ret = copy_arg(&arg, uarg, c, &usize);
	if (ret)
		return ret;

	if (c->writes_itself)
		return c->writes_itself(inst, &arg, uarg);
	ret = c->instance(inst, &arg);
	if (!ret && c->out)
		ret = copy_back(uarg, &arg, c, usize);
	return ret;
}

/* The hot path: see "lseek" in uapi/sandtrap.h. */
static loff_t instance_llseek(struct file *file, loff_t offset, int whence)
{
	struct sandtrap_instance *inst = file->private_data;

	if (unlikely(inst->owner_mm != current->mm))
		return -EPERM;
	if (unlikely(whence != SEEK_SET || (u64)offset > U32_MAX))
		return -EINVAL;
	return sandtrap_run_fast(inst, offset);
}

static long space_ioctl(struct file *file, unsigned int cmd,
			unsigned long user)
{
	struct sandtrap_space *space = file->private_data;
	void __user *uarg = (void __user *)user;
	const struct sandtrap_command *c;
	union sandtrap_arg arg;
	u32 usize;
	int ret;

	c = find_command(space_commands, cmd);
	if (!c)
		return -ENOIOCTLCMD;
	if (space->inst->owner_mm != current->mm)
		return -EPERM;
	ret = copy_arg(&arg, uarg, c, &usize);
	if (ret)
		return ret;

	ret = c->space(space, &arg);
	if (!ret || c->out_on_error) {
		int err = copy_back(uarg, &arg, c, usize);

		ret = ret ?: err;
	}
	return ret;
}

/* The argument is a number: the stub has no memory of its own. */
static long stub_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case SANDTRAP_SERVE:
		return sandtrap_serve(file->private_data, arg);
	case SANDTRAP_ATTACH:
		return sandtrap_attach(file->private_data, arg);
	default:
		return -ENOIOCTLCMD;
	}
}

static int instance_open(struct inode *inode, struct file *file)
{
	struct sandtrap_instance *inst = sandtrap_instance_new();

	if (IS_ERR(inst))
		return PTR_ERR(inst);
	file->private_data = inst;
	return 0;
}

static int instance_release(struct inode *inode, struct file *file)
{
	sandtrap_instance_release(file->private_data);
	return 0;
}

static int instance_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct sandtrap_instance *inst = file->private_data;

	if (inst->owner_mm != current->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	return sandtrap_instance_mmap(inst, vma);
}

static __poll_t instance_poll(struct file *file, poll_table *wait)
{
	struct sandtrap_instance *inst = file->private_data;

	poll_wait(file, &inst->wq, wait);
	if (READ_ONCE(inst->dead))
		return EPOLLERR | EPOLLHUP;
	return sandtrap_ring_ready(inst) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* Closing an address space kills its stub. */
static int space_release(struct inode *inode, struct file *file)
{
	struct sandtrap_space *space = file->private_data;

	sandtrap_space_kill(space);
	sandtrap_space_put(space);
	return 0;
}

/* Nobody can become the stub any more, nor serve on. */
static int stub_release(struct inode *inode, struct file *file)
{
	struct sandtrap_space *space = file->private_data;

	sandtrap_space_kill(space);
	sandtrap_space_put(space);
	return 0;
}

const struct file_operations sandtrap_instance_fops = {
	.owner		= THIS_MODULE,
	.open		= instance_open,
	.release	= instance_release,
	.llseek		= instance_llseek,
	.unlocked_ioctl	= instance_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= instance_mmap,
	.poll		= instance_poll,
};

const struct file_operations sandtrap_space_fops = {
	.owner		= THIS_MODULE,
	.release	= space_release,
	.unlocked_ioctl	= space_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

const struct file_operations sandtrap_stub_fops = {
	.owner		= THIS_MODULE,
	.release	= stub_release,
	.unlocked_ioctl	= stub_ioctl,
	.llseek		= noop_llseek,
};
