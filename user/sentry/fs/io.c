// SPDX-License-Identifier: MIT
/*
 * io.c - read, write and their kin
 *
 * Program memory is pinned, then the file's own operation works on it in
 * place: for a host file that is one host call straight into the program's
 * pages.
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define MAX_IOVECS 1024

/* Segments of a vector that go into one operation of the file. */
#define BATCH 8

static ssize_t file_io(struct task *t, struct file *f, const struct iovec *iov,
		       int cnt, bool write, off_t off)
{
	return write ? f->ops->writev(t, f, iov, cnt, off) :
		       f->ops->readv(t, f, iov, cnt, off);
}

/* Does another call follow a full one? Only where it cannot block for input. */
static bool io_continues(const struct file *f, bool write)
{
	return write || f->ops->llseek;
}

/* I/O on one piece of program memory; @off -1: at the file's position. */
static ssize_t io_range(struct task *t, struct file *f, uint64_t addr,
			size_t len, bool write, off_t off)
{
	struct user_buffer ub;
	size_t done = 0;
	ssize_t pinned, n;

	do {
		pinned = user_buffer_pin(t, &ub, addr + done, len - done,
					 !write);
		n = pinned;
		if (pinned > 0) {
			n = file_io(t, f, ub.iov, ub.iovcnt, write, off);
			user_buffer_unpin(&ub, write || n < 0 ? 0 : (size_t)n);
		}
		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (off >= 0)
			off += n;
	} while (done < len && n == pinned && io_continues(f, write));
	return (ssize_t)done;
}

/* The checks that come before any I/O; NULL and *err. */
static struct file *io_get(struct task *t, int fd, bool write, int *err)
{
	struct file *f = fd_get_io(t, fd);

	*err = -EBADF;
	if (!f)
		return NULL;
	if (write ? !file_writable(f) : !file_readable(f))
		goto put;
	*err = -EINVAL;
	if (write ? f->ops->writev != NULL : f->ops->readv != NULL)
		return f;
put:
	file_put(f);
	return NULL;
}

static long do_rw(struct task *t, const uint64_t *args, bool write, off_t off)
{
	size_t len = MIN(args[2], (uint64_t)MAX_RW_COUNT);
	struct file *f;
	ssize_t n;
	int err;

	f = io_get(t, (int)args[0], write, &err);
	if (!f)
		return err;
	if (off >= 0 && !f->ops->llseek)
		n = -ESPIPE;
	else if (f->ops->user_io)
		n = f->ops->user_io(t, f, &(struct iovec){ (void *)args[1], len },
				    1, write);
	else
		n = io_range(t, f, args[1], len, write, off);
	file_put(f);
	return n;
}

long sys_read(struct task *t, const uint64_t *args)
{
	return do_rw(t, args, false, -1);
}

long sys_write(struct task *t, const uint64_t *args)
{
	return do_rw(t, args, true, -1);
}

long sys_pread64(struct task *t, const uint64_t *args)
{
	return (int64_t)args[3] < 0 ? -EINVAL :
				      do_rw(t, args, false, (off_t)args[3]);
}

long sys_pwrite64(struct task *t, const uint64_t *args)
{
	return (int64_t)args[3] < 0 ? -EINVAL :
				      do_rw(t, args, true, (off_t)args[3]);
}

/* vectors */

static int import_iovec(struct task *t, struct iovec *iov, uint64_t addr,
			uint64_t cnt)
{
	uint64_t total = 0;
	uint64_t i;

	if (cnt > MAX_IOVECS)
		return -EINVAL;
	if (copy_from_user(t, iov, addr, cnt * sizeof(*iov)))
		return -EFAULT;
	for (i = 0; i < cnt; i++) {
		if ((ssize_t)iov[i].iov_len < 0)
			return -EINVAL;
		iov[i].iov_len = MIN(iov[i].iov_len, MAX_RW_COUNT - total);
		total += iov[i].iov_len;
	}
	return 0;
}

/**
 * struct batch - segments pinned for one operation of the file
 * @ub: pins
 * @n: of these
 * @iov: all their pieces
 * @cnt: of these
 * @len: bytes
 */
struct batch {
	struct user_buffer ub[BATCH];
	int n;
	struct iovec iov[BATCH * USER_BUFFER_IOVS];
	int cnt;
	size_t len;
};

/*
 * Pin segments from *uiov on, which is moved behind them, or into one that
 * could not be pinned whole: 0 or -EFAULT.
 */
static int batch_pin(struct task *t, struct batch *b, struct iovec **uiov,
		     const struct iovec *end, bool write)
{
	struct user_buffer *ub;
	ssize_t n;

	b->n = b->cnt = 0;
	b->len = 0;
	for (; *uiov < end && b->n < BATCH; (*uiov)++) {
		if (!(*uiov)->iov_len)
			continue;
		ub = &b->ub[b->n];
		n = user_buffer_pin(t, ub, (uint64_t)(*uiov)->iov_base,
				    (*uiov)->iov_len, !write);
		if (n < 0)
			return b->n ? 0 : (int)n;
		memcpy(b->iov + b->cnt, ub->iov, ub->iovcnt * sizeof(*b->iov));
		b->cnt += ub->iovcnt;
		b->len += (size_t)n;
		b->n++;
		if ((size_t)n < (*uiov)->iov_len) {
			(*uiov)->iov_base = (char *)(*uiov)->iov_base + n;
			(*uiov)->iov_len -= (size_t)n;
			break;
		}
	}
	return 0;
}

static void batch_unpin(struct batch *b, size_t used)
{
	size_t n;
	int i;

	for (i = 0; i < b->n; i++) {
		n = MIN(used, b->ub[i].len);
		user_buffer_unpin(&b->ub[i], n);
		used -= n;
	}
}

static ssize_t io_vector(struct task *t, struct file *f, struct iovec *uiov,
			 int cnt, bool write, off_t off)
{
	const struct iovec *end = uiov + cnt;
	struct batch b;
	size_t done = 0;
	ssize_t n;

	do {
		n = batch_pin(t, &b, &uiov, end, write);
		if (!n && b.n) {
			n = file_io(t, f, b.iov, b.cnt, write, off);
			batch_unpin(&b, write || n < 0 ? 0 : (size_t)n);
		}
		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (off >= 0)
			off += n;
	} while (uiov < end && (size_t)n == b.len && io_continues(f, write));
	return (ssize_t)done;
}

static long do_rwv(struct task *t, const uint64_t *args, bool write, off_t off)
{
	struct iovec uiov[16], *iov = uiov;
	uint64_t cnt = args[2];
	struct file *f;
	ssize_t n;
	int err;

	f = io_get(t, (int)args[0], write, &err);
	if (!f)
		return err;
	if (cnt > ARRAY_SIZE(uiov) && cnt <= MAX_IOVECS)
		iov = malloc(cnt * sizeof(*iov));
	n = iov ? import_iovec(t, iov, args[1], cnt) : -ENOMEM;
	if (!n && off >= 0 && !f->ops->llseek)
		n = -ESPIPE;
	if (!n && f->ops->user_io)
		n = f->ops->user_io(t, f, iov, (int)cnt, write);
	else if (!n && cnt == 1)
		n = io_range(t, f, (uint64_t)iov->iov_base, iov->iov_len,
			     write, off);
	else if (!n)
		n = io_vector(t, f, iov, (int)cnt, write, off);
	if (iov != uiov)
		free(iov);
	file_put(f);
	return n;
}

long sys_readv(struct task *t, const uint64_t *args)
{
	return do_rwv(t, args, false, -1);
}

long sys_writev(struct task *t, const uint64_t *args)
{
	return do_rwv(t, args, true, -1);
}

long sys_preadv(struct task *t, const uint64_t *args)
{
	return (int64_t)args[3] < 0 ? -EINVAL :
				      do_rwv(t, args, false, (off_t)args[3]);
}

long sys_pwritev(struct task *t, const uint64_t *args)
{
	return (int64_t)args[3] < 0 ? -EINVAL :
				      do_rwv(t, args, true, (off_t)args[3]);
}

#define RWF_IGNORED 0x1u /* RWF_HIPRI: a hint */
#define RWF_SYNCS 0x6u /* RWF_DSYNC, RWF_SYNC */

static long do_rwv2(struct task *t, const uint64_t *args, bool write)
{
	unsigned int flags = args[5];
	struct file *f;
	long n;

	if (flags & ~(RWF_IGNORED | RWF_SYNCS))
		return -EOPNOTSUPP;
	if ((int64_t)args[3] < -1)
		return -EINVAL;
	n = do_rwv(t, args, write, (off_t)args[3]);
	if (n <= 0 || !write || !(flags & RWF_SYNCS))
		return n;
	f = fd_get_io(t, (int)args[0]);
	if (f && f->ops->fsync)
		f->ops->fsync(t, f, true);
	file_put(f);
	return n;
}

long sys_preadv2(struct task *t, const uint64_t *args)
{
	return do_rwv2(t, args, false);
}

long sys_pwritev2(struct task *t, const uint64_t *args)
{
	return do_rwv2(t, args, true);
}

long sys_lseek(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret;

	if (!f)
		return -EBADF;
	ret = f->ops->llseek ?
		      f->ops->llseek(t, f, (off_t)args[1], (int)args[2]) :
		      -ESPIPE;
	file_put(f);
	return ret;
}
