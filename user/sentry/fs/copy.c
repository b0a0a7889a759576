// SPDX-License-Identifier: MIT
/*
 * copy.c - sendfile, splice, tee, copy_file_range
 *
 * Data goes from file to file through a buffer of the sentry; only between two
 * files of the host does the host copy by itself.
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define COPY_CHUNK (64u << 10)

/**
 * struct copy_end - one side of a copy
 * @f: file, a reference
 * @addr: program address of the offset to use and move, or 0
 * @off: the offset, or -1: the file's position
 */
struct copy_end {
	struct file *f;
	uint64_t addr;
	off_t off;
};

static int end_get(struct task *t, struct copy_end *e, int fd, uint64_t addr,
		   bool write)
{
	uint64_t off = (uint64_t)-1;

	e->f = fd_get_io(t, fd);
	e->addr = addr;
	if (!e->f)
		return -EBADF;
	if (write ? !file_writable(e->f) : !file_readable(e->f))
		return -EBADF;
	if (write ? !e->f->ops->writev : !e->f->ops->readv)
		return -EINVAL;
	if (addr && !e->f->ops->llseek)
		return -ESPIPE;
	if (addr && get_user_u64(t, &off, addr))
		return -EFAULT;
	if (addr && (int64_t)off < 0)
		return -EINVAL;
	e->off = (off_t)off;
	return 0;
}

static long end_put(struct task *t, struct copy_end *e, long ret)
{
	if (e->addr && ret >= 0 && e->f &&
	    put_user_u64(t, e->addr, (uint64_t)e->off))
		ret = -EFAULT;
	file_put(e->f);
	return ret;
}

static void end_move(struct copy_end *e, ssize_t n)
{
	if (e->off >= 0)
		e->off += n;
}

/* Write all of @buf, or as much as goes: bytes, or the first write's error. */
static ssize_t write_out(struct task *t, struct copy_end *out, const char *buf,
			 size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = file_write_buf(t, out->f, buf + done, len - done, out->off);
		if (n <= 0)
			return done ? (ssize_t)done : n;
		end_move(out, n);
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Input that was read but could not be written goes back, where it can. */
static void unread(struct task *t, struct copy_end *in, size_t n)
{
	if (in->off >= 0)
		in->off -= (off_t)n;
	else if (in->f->ops->llseek)
		in->f->ops->llseek(t, in->f, -(off_t)n, SEEK_CUR);
}

static long copy_ends(struct task *t, struct copy_end *in,
		      struct copy_end *out, size_t len)
{
	char *buf = malloc(MIN(len, (size_t)COPY_CHUNK) + 1);
	size_t done = 0;
	ssize_t n = buf ? 0 : -ENOMEM, w;

	while (buf && done < len) {
		n = file_read_buf(t, in->f, buf,
				  MIN(len - done, (size_t)COPY_CHUNK), in->off);
		if (n <= 0)
			break;
		end_move(in, n);
		w = write_out(t, out, buf, (size_t)n);
		if (w < n)
			unread(t, in, (size_t)(n - MAX(w, 0)));
		if (w < 0)
			n = w;
		if (w <= 0)
			break;
		done += (size_t)w;
		if (w < n || !in->f->ops->llseek)
			break;
	}
	free(buf);
	return done ? (long)done : n;
}

static long copy_fds(struct task *t, int in_fd, uint64_t in_off, int out_fd,
		     uint64_t out_off, size_t len,
		     long (*copy)(struct task *t, struct copy_end *in,
				  struct copy_end *out, size_t len))
{
	struct copy_end in, out = { 0 };
	long ret;

	ret = end_get(t, &in, in_fd, in_off, false);
	if (!ret)
		ret = end_get(t, &out, out_fd, out_off, true);
	if (!ret)
		ret = copy(t, &in, &out, MIN(len, (size_t)MAX_RW_COUNT));
	ret = end_put(t, &out, ret);
	return end_put(t, &in, ret);
}

/* sendfile(): what cannot be read at an offset is refused. */
static long sendfile_ends(struct task *t, struct copy_end *in,
			  struct copy_end *out, size_t len)
{
	if (!in->f->ops->llseek || out->f->flags & O_APPEND)
		return -EINVAL;
	return copy_ends(t, in, out, len);
}

long sys_sendfile(struct task *t, const uint64_t *args)
{
	return copy_fds(t, (int)args[1], args[2], (int)args[0], 0, args[3],
			sendfile_ends);
}

static long splice_ends(struct task *t, struct copy_end *in,
			struct copy_end *out, size_t len)
{
	ssize_t have = pipe_size(in->f);

	if (have < 0 && pipe_size(out->f) < 0)
		return -EINVAL;
	/* No more than the other pipe takes now: what is read is written. */
	if (pipe_size(out->f) >= 0)
		len = MIN(len, (size_t)PIPE_BUF);
	return copy_ends(t, in, out, len);
}

#define SPLICE_FLAGS 0xfu

long sys_splice(struct task *t, const uint64_t *args)
{
	if (args[5] & ~(uint64_t)SPLICE_FLAGS)
		return -EINVAL;
	return copy_fds(t, (int)args[0], args[1], (int)args[2], args[3],
			args[4], splice_ends);
}

static long range_ends(struct task *t, struct copy_end *in,
		       struct copy_end *out, size_t len)
{
	loff_t in_off = in->off, out_off = out->off;
	ssize_t n;

	if (out->f->flags & O_APPEND)
		return -EBADF;
	if (in->f->ops != &host_regular_ops || out->f->ops != &host_regular_ops)
		return in->f->ops->getdents || out->f->ops->getdents ? -EISDIR :
								       -EINVAL;
	n = copy_file_range(in->f->host_fd, in->off < 0 ? NULL : &in_off,
			    out->f->host_fd, out->off < 0 ? NULL : &out_off,
			    len, 0);
	if (n < 0)
		return -errno;
	end_move(in, n);
	end_move(out, n);
	return n;
}

long sys_copy_file_range(struct task *t, const uint64_t *args)
{
	if (args[5])
		return -EINVAL;
	return copy_fds(t, (int)args[0], args[1], (int)args[2], args[3],
			args[4], range_ends);
}
