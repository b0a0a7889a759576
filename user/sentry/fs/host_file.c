// SPDX-License-Identifier: MIT
/*
 * host_file.c - files of the host: regular ones, directories, streams
 *
 * A regular file's position is the host's own: one host call per read or
 * write. Streams (FIFOs, and whatever stdin, stdout and stderr are) may block
 * and go through task_host_syscall(), which ends early for signals.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "sentry/fs/internal.h"

/* regular files */

static ssize_t host_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n;

	if (off >= 0)
		n = cnt == 1 ? pread(f->host_fd, iov->iov_base, iov->iov_len,
				     off) :
			       preadv(f->host_fd, iov, cnt, off);
	else
		n = cnt == 1 ? read(f->host_fd, iov->iov_base, iov->iov_len) :
			       readv(f->host_fd, iov, cnt);
	return n < 0 ? -errno : n;
}

static ssize_t host_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n;

	if (unlikely(size_limit(t) != RLIM_INFINITY))
		return size_limit_writev(t, f, iov, cnt, off);
	if (off >= 0)
		n = cnt == 1 ? pwrite(f->host_fd, iov->iov_base, iov->iov_len,
				      off) :
			       pwritev(f->host_fd, iov, cnt, off);
	else
		n = cnt == 1 ? write(f->host_fd, iov->iov_base, iov->iov_len) :
			       writev(f->host_fd, iov, cnt);
	return n < 0 ? -errno : n;
}

static off_t host_llseek(struct task *t, struct file *f, off_t off, int whence)
{
	return host_ret(lseek(f->host_fd, off, whence));
}

static int host_fsync(struct task *t, struct file *f, bool data_only)
{
	return (int)host_ret(data_only ? fdatasync(f->host_fd) :
					 fsync(f->host_fd));
}

static int host_truncate(struct task *t, struct file *f, off_t len)
{
	int err = size_limit_check(t, (uint64_t)len);

	return err ? err : (int)host_ret(ftruncate(f->host_fd, len));
}

/* Seals matter to who may write. With only the seal of seals there will be no others. */
static bool is_sealable(const struct file *f)
{
	int seals;

	if ((atomic_load(&f->flags) & O_ACCMODE) != O_RDWR)
		return false;
	seals = fcntl(f->host_fd, F_GET_SEALS);
	return seals >= 0 && seals != F_SEAL_SEAL;
}

/*
 * Whether the host can map the file at all: to be known now, for the mapping itself
 * is put off, and must not fail then. The answer changes with the seals of a file alone.
 */
static int host_mmap(struct task *t, struct file *f, struct file_mmap *out)
{
	void *page;

	out->host_fd = f->host_fd;
	if (atomic_load_explicit(&f->mappable, memory_order_relaxed))
		return 0;
	page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, f->host_fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	munmap(page, PAGE_SIZE);
	out->sealable = is_sealable(f);
	if (!out->sealable)
		atomic_store_explicit(&f->mappable, true, memory_order_relaxed);
	return 0;
}

/*
 * Another description of a foreign file may do no more than the one that came
 * in. What was opened to be appended to is not truncated either.
 */
static int foreign_flags(struct file *f, int flags)
{
	int have = fcntl(f->host_fd, F_GETFL), mode = have & O_ACCMODE;

	if (have < 0 || flags & O_PATH ||
	    (mode != O_RDWR && (flags & O_ACCMODE) != mode) ||
	    (mode == O_RDONLY && flags & O_TRUNC))
		return -EACCES;
	return have & O_APPEND ? (flags & ~O_TRUNC) | O_APPEND : flags;
}

static int host_file_reopen(struct task *t, struct file *f, int flags,
			    struct file **out)
{
	int err;

	if (f->foreign)
		flags = foreign_flags(f, flags);
	if (flags < 0)
		return flags;
	err = host_reopen(t, f->host_fd, flags, out);
	if (!err)
		(*out)->foreign = f->foreign;
	return err;
}

int host_set_flags(struct task *t, struct file *f, int flags)
{
	if (f->host_shared)
		return 0;
	return (int)host_ret(fcntl(f->host_fd, F_SETFL, flags));
}

const struct file_ops host_regular_ops = {
	.kind = "file",
	.readv = host_readv,
	.writev = host_writev,
	.llseek = host_llseek,
	.fsync = host_fsync,
	.truncate = host_truncate,
	.mmap = host_mmap,
	.reopen = host_file_reopen,
	.set_flags = host_set_flags,
};

/* directories */

static ssize_t dir_readv(struct task *t, struct file *f,
			 const struct iovec *iov, int cnt, off_t off)
{
	return -EISDIR;
}

static long dir_getdents(struct task *t, struct file *f, void *buf, size_t len)
{
	return host_ret(syscall(SYS_getdents64, f->host_fd, buf, len));
}

const struct file_ops host_dir_ops = {
	.kind = "dir",
	.readv = dir_readv,
	.llseek = host_llseek,
	.getdents = dir_getdents,
	.fsync = host_fsync,
	.reopen = host_file_reopen,
	.set_flags = host_set_flags,
};

const struct file_ops host_path_ops = {
	.kind = "path",
	.reopen = host_file_reopen,
};

/* streams */

/* Wait until the host says that I/O is possible: 0 or -errno. */
static long stream_wait(struct task *t, struct file *f, short events)
{
	struct pollfd pfd = { .fd = f->host_fd, .events = events };
	const long a[6] = { (long)&pfd, 1 };
	long n = task_host_syscall(t, SYS_ppoll, a);

	return n < 0 ? n : 0;
}

static bool stream_ready(struct file *f, short events)
{
	struct pollfd pfd = { .fd = f->host_fd, .events = events };

	return poll(&pfd, 1, 0) != 0;
}

/*
 * The host's O_NONBLOCK is not ours to change if others share the open file
 * description, so both ways of the flag are played by asking first.
 */
static ssize_t stream_io(struct task *t, struct file *f, long nr,
			 const struct iovec *iov, int cnt)
{
	const long a[6] = { f->host_fd, (long)iov, cnt };
	short events = nr == SYS_readv ? POLLIN : POLLOUT;
	long n;

	if (f->host_shared && file_nonblock(f) && !stream_ready(f, events))
		return -EAGAIN;
	for (;;) {
		n = task_host_syscall(t, nr, a);
		if (n != -EAGAIN || file_nonblock(f))
			break;
		n = stream_wait(t, f, events);
		if (n < 0)
			break;
	}
	return restart_ret(n);
}

ssize_t host_stream_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	return stream_io(t, f, SYS_readv, iov, cnt);
}

ssize_t host_stream_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n = stream_io(t, f, SYS_writev, iov, cnt);

	return n == -EPIPE ? file_sigpipe(t) : n;
}

static long stream_ioctl(struct task *t, struct file *f, unsigned int cmd,
			 uint64_t arg)
{
	int n;

	if (cmd != FIONREAD)
		return -ENOTTY;
	if (ioctl(f->host_fd, FIONREAD, &n))
		return -errno;
	return copy_to_user(t, arg, &n, sizeof(n));
}

const struct file_ops host_stream_ops = {
	.kind = "stream",
	.readv = host_stream_readv,
	.writev = host_stream_writev,
	.ioctl = stream_ioctl,
	.reopen = host_file_reopen,
	.set_flags = host_set_flags,
};

/* from a descriptor to a file */

#define FLAGS_OF_OPEN (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)

static const struct file_ops *ops_of_mode(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return &host_regular_ops;
	case S_IFDIR:
		return &host_dir_ops;
	default:
		return &host_stream_ops;
	}
}

static struct file *host_file_alloc(struct vfs *vfs, int host_fd, int flags,
				    const struct stat *st)
{
	const struct file_ops *ops = ops_of_mode(st->st_mode);
	struct file *f;

	if (flags & O_PATH)
		ops = &host_path_ops;
	else
		flags |= FILE_O_LARGEFILE;
	f = file_alloc(ops, flags & ~FLAGS_OF_OPEN);
	if (!f) {
		close(host_fd);
		return NULL;
	}
	f->host_fd = host_fd;
	f->host_poll = ops == &host_stream_ops;
	if (S_ISDIR(st->st_mode))
		f->at_root = vfs_at_root(vfs, st);
	return f;
}

int host_file_new(struct task *t, int host_fd, int flags, struct file **out)
{
	struct stat st;
	int err;

	if (fstat(host_fd, &st)) {
		err = -errno;
		close(host_fd);
		return err;
	}
	if (mode_is_device(st.st_mode) && !(flags & O_PATH)) {
		close(host_fd);
		return dev_open(t, st.st_rdev, flags, out);
	}
	*out = host_file_alloc(task_vfs(t), host_fd, flags, &st);
	return *out ? 0 : -ENOMEM;
}

int host_file_import(struct vfs *vfs, int host_fd, struct file **out)
{
	int flags = fcntl(host_fd, F_GETFL);
	struct stat st;
	int err;

	if (flags < 0 || fstat(host_fd, &st)) {
		err = -errno;
		close(host_fd);
		return err;
	}
	*out = host_file_alloc(vfs, host_fd, flags, &st);
	if (!*out)
		return -ENOMEM;
	(*out)->host_shared = true;
	(*out)->foreign = !S_ISDIR(st.st_mode);
	if (S_ISCHR(st.st_mode) && isatty(host_fd)) {
		(*out)->ops = &host_tty_ops;
		(*out)->priv = (void *)(uintptr_t)st.st_rdev;
	}
	return 0;
}

int host_reopen(struct task *t, int host_fd, int flags, struct file **out)
{
	char link[16];
	const long a[6] = { task_vfs(t)->host_fds, (long)link,
			    (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) |
				    O_NOCTTY | O_CLOEXEC, 0600 };
	struct stat st;
	long fd;

	if (!(flags & O_PATH)) {
		if (fstat(host_fd, &st))
			return -errno;
		/* Devices of the host are not even opened. */
		if (mode_is_device(st.st_mode))
			return dev_open(t, st.st_rdev, flags, out);
		/* The link of procfs would lead on, whatever O_NOFOLLOW says. */
		if (S_ISLNK(st.st_mode))
			return -ELOOP;
	}
	snprintf(link, sizeof(link), "%d", host_fd);
	fd = task_host_syscall(t, SYS_openat, a);
	if (fd < 0)
		return (int)restart_ret(fd);
	return host_file_new(t, (int)fd, flags, out);
}
