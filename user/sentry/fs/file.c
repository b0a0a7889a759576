// SPDX-License-Identifier: MIT
/*
 * file.c - open file descriptions
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/locks.h"

struct file *file_alloc(const struct file_ops *ops, int flags)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->ops = ops;
	f->refs = 1;
	f->flags = flags;
	f->host_fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

struct file *file_get(struct file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void file_put(struct file *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1,
					    memory_order_acq_rel) != 1)
		return;
	epoll_forget(f);
	lock_release(f, f);
	if (f->ops->release)
		f->ops->release(f);
	file_view_drop(f);
	if (f->host_fd >= 0)
		close(f->host_fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void file_name(struct file *f, char *buf, size_t len)
{
	int err = -ENOENT;

	if (f->ops->name) {
		f->ops->name(f, buf, len);
		return;
	}
	if (f->host_fd >= 0)
		err = vfs_host_name(NULL, f->host_fd, buf, len);
	if (err)
		snprintf(buf, len, "anon_inode:[%s]", f->ops->kind);
}

int file_stat(struct task *t, struct file *f, struct stat *st)
{
	if (f->ops->fstat)
		return f->ops->fstat(t, f, st);
	if (f->host_fd >= 0)
		return (int)host_ret(fstat(f->host_fd, st));
	anon_stat(st, 0600, 1);
	return 0;
}

uint64_t anon_inode(void)
{
	static atomic_ulong next = 4096;

	return atomic_fetch_add(&next, 1);
}

void anon_stat(struct stat *st, mode_t mode, uint64_t ino)
{
	memset(st, 0, sizeof(*st));
	clock_gettime(CLOCK_REALTIME, &st->st_mtim);
	st->st_atim = st->st_ctim = st->st_mtim;
	st->st_dev = 14;
	st->st_ino = ino;
	st->st_mode = mode;
	st->st_nlink = 1;
	st->st_uid = geteuid();
	st->st_gid = getegid();
	st->st_blksize = PAGE_SIZE;
}

ssize_t file_read_buf(struct task *t, struct file *f, void *buf, size_t len,
		      off_t off)
{
	struct iovec iov = { buf, len };

	return f->ops->readv ? f->ops->readv(t, f, &iov, 1, off) : -EINVAL;
}

ssize_t file_write_buf(struct task *t, struct file *f, const void *buf,
		       size_t len, off_t off)
{
	struct iovec iov = { (void *)buf, len };

	return f->ops->writev ? f->ops->writev(t, f, &iov, 1, off) : -EINVAL;
}

ssize_t file_pread(struct task *t, struct file *f, void *buf, size_t len,
		   off_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = file_read_buf(t, f, (char *)buf + done, len - done,
				  off + (off_t)done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

long file_sigpipe(struct task *t)
{
	siginfo_t info;

	siginfo_user(&info, SIGPIPE, t);
	signal_send(t, &info, false);
	return -EPIPE;
}
