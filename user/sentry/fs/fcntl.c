// SPDX-License-Identifier: MIT
/*
 * fcntl.c - fcntl, flock, ioctl, and what is done to open files as a whole
 */
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/locks.h"
#include "sentry/fs/syscalls.h"

/* Flags that F_SETFL can change. */
#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

static long set_flags(struct task *t, struct file *f, int flags)
{
	int now = atomic_load(&f->flags), new;
	int err = 0;

	new = (now & ~SETFL_MASK) | (flags & SETFL_MASK);
	if (new != now && f->ops->set_flags)
		err = f->ops->set_flags(t, f, new);
	if (!err)
		atomic_store(&f->flags, new);
	return err;
}

/* Signal-driven I/O is not delivered; its settings are taken, and read as unset. */
static long get_owner(struct task *t, int cmd, uint64_t arg)
{
	struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = 0 };

	if (cmd == F_GETOWN_EX)
		return copy_to_user(t, arg, &owner, sizeof(owner));
	return 0;
}

static long host_seals(struct file *f, int cmd, uint64_t arg)
{
	if (!file_is_host(f))
		return -EINVAL;
	return host_ret(fcntl(f->host_fd, cmd, (int)arg));
}

static long file_fcntl(struct task *t, struct file *f, int fd, int cmd,
		       uint64_t arg)
{
	switch (cmd) {
	case F_SETFL:
		return set_flags(t, f, (int)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return lock_fcntl(t, f, fd, cmd, arg);
	case F_GETOWN:
	case F_GETOWN_EX:
	case F_GETSIG:
		return get_owner(t, cmd, arg);
	case F_SETOWN:
	case F_SETOWN_EX:
	case F_SETSIG:
		return 0;
	case F_GETPIPE_SZ:
	case F_SETPIPE_SZ:
		return pipe_fcntl(t, f, cmd, arg);
	case F_ADD_SEALS:
	case F_GET_SEALS:
		return host_seals(f, cmd, arg);
	default:
		return -EINVAL;
	}
}

static long do_fcntl(struct task *t, struct file *f, int fd, int cmd,
		     uint64_t arg)
{
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
	case F_GETFD:
	case F_SETFD:
		return fd_fcntl(t, f, fd, cmd, arg);
	case F_GETFL:
		return atomic_load(&f->flags);
	default:
		return f->flags & O_PATH ? -EBADF :
					   file_fcntl(t, f, fd, cmd, arg);
	}
}

long sys_fcntl(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get(t, (int)args[0]);
	long ret;

	if (!f)
		return -EBADF;
	ret = do_fcntl(t, f, (int)args[0], (int)args[1], args[2]);
	file_put(f);
	return ret;
}

/* ioctl */

static long ioctl_nonblock(struct task *t, struct file *f, uint64_t arg)
{
	int on, flags = atomic_load(&f->flags);

	if (copy_from_user(t, &on, arg, sizeof(on)))
		return -EFAULT;
	return set_flags(t, f, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/* Bytes left in a regular file. */
static long ioctl_regular(struct task *t, struct file *f, unsigned int cmd,
			  uint64_t arg)
{
	struct stat st;
	off_t pos;
	int n;

	if (cmd != FIONREAD || f->ops != &host_regular_ops)
		return -ENOTTY;
	pos = lseek(f->host_fd, 0, SEEK_CUR);
	if (pos < 0 || fstat(f->host_fd, &st))
		return -errno;
	n = (int)(st.st_size - pos);
	return copy_to_user(t, arg, &n, sizeof(n));
}

static long do_ioctl(struct task *t, struct file *f, int fd, unsigned int cmd,
		     uint64_t arg)
{
	switch (cmd) {
	case FIOCLEX:
		return fd_fcntl(t, f, fd, F_SETFD, FD_CLOEXEC);
	case FIONCLEX:
		return fd_fcntl(t, f, fd, F_SETFD, 0);
	case FIONBIO:
		return ioctl_nonblock(t, f, arg);
	default:
		if (f->ops->ioctl)
			return f->ops->ioctl(t, f, cmd, arg);
		return ioctl_regular(t, f, cmd, arg);
	}
}

long sys_ioctl(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret;

	if (!f)
		return -EBADF;
	ret = do_ioctl(t, f, (int)args[0], (unsigned int)args[1], args[2]);
	file_put(f);
	return ret;
}

/* Calls that a host file passes on; others give @none. */
static struct file *host_only(struct task *t, int fd, long none, long *err)
{
	struct file *f = fd_get_io(t, fd);

	*err = f ? none : -EBADF;
	if (f && file_is_host(f))
		return f;
	file_put(f);
	return NULL;
}

long sys_flock(struct task *t, const uint64_t *args)
{
	long ret;
	struct file *f = host_only(t, (int)args[0], -EBADF, &ret);

	if (!f)
		return ret;
	const long a[6] = { f->host_fd, (int)args[1] };

	ret = restart_ret(task_host_syscall(t, SYS_flock, a));
	file_put(f);
	return ret;
}

static long do_fsync(struct task *t, int fd, bool data_only)
{
	struct file *f = fd_get_io(t, fd);
	long ret = -EINVAL;

	if (!f)
		return -EBADF;
	if (f->ops->fsync)
		ret = f->ops->fsync(t, f, data_only);
	file_put(f);
	return ret;
}

long sys_fsync(struct task *t, const uint64_t *args)
{
	return do_fsync(t, (int)args[0], false);
}

long sys_fdatasync(struct task *t, const uint64_t *args)
{
	return do_fsync(t, (int)args[0], true);
}

long sys_sync(struct task *t, const uint64_t *args)
{
	sync();
	return 0;
}

long sys_syncfs(struct task *t, const uint64_t *args)
{
	long ret;
	struct file *f = host_only(t, (int)args[0], 0, &ret);

	if (!f)
		return ret;
	ret = host_ret(syncfs(f->host_fd));
	file_put(f);
	return ret;
}

long sys_sync_file_range(struct task *t, const uint64_t *args)
{
	long ret;
	struct file *f = host_only(t, (int)args[0], -ESPIPE, &ret);

	if (!f)
		return ret;
	ret = host_ret(sync_file_range(f->host_fd, (off_t)args[1],
				       (off_t)args[2], (unsigned int)args[3]));
	file_put(f);
	return ret;
}

long sys_ftruncate(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret = -EINVAL;

	if (!f)
		return -EBADF;
	if ((int64_t)args[1] >= 0 && file_writable(f) && f->ops->truncate)
		ret = f->ops->truncate(t, f, (off_t)args[1]);
	file_put(f);
	return ret;
}

long sys_fallocate(struct task *t, const uint64_t *args)
{
	long ret;
	struct file *f = host_only(t, (int)args[0], -ENODEV, &ret);

	if (!f)
		return ret;
	if (!((int)args[1] & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) &&
	    (int64_t)args[2] >= 0 && (int64_t)args[3] > 0)
		ret = size_limit_check(t, args[2] + args[3]);
	else
		ret = 0;
	if (!ret)
		ret = host_ret(fallocate(f->host_fd, (int)args[1],
					 (off_t)args[2], (off_t)args[3]));
	file_put(f);
	return ret;
}

long sys_fadvise64(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret = 0;

	if (!f)
		return -EBADF;
	if (f->ops == &pipe_ops)
		ret = -ESPIPE;
	else if (file_is_host(f))
		ret = -posix_fadvise(f->host_fd, (off_t)args[1], (off_t)args[2],
				     (int)args[3]);
	file_put(f);
	return ret;
}

long sys_readahead(struct task *t, const uint64_t *args)
{
	long ret;
	struct file *f = host_only(t, (int)args[0], -EINVAL, &ret);

	if (!f)
		return ret;
	ret = host_ret(readahead(f->host_fd, (off_t)args[1], args[2]));
	file_put(f);
	return ret;
}
