// SPDX-License-Identifier: MIT
/*
 * pipe.c - pipes
 *
 * A ring of bytes under a lock. Both ends' memory is pinned when it comes here,
 * so copying under the lock never faults, and one copy on each side is all
 * there is. Lock order: pipe.lock above the wait queues' locks.
 */
#include <sys/ioctl.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define PIPE_DEFAULT_SIZE (16 * PAGE_SIZE)
#define PIPE_MAX_SIZE (1u << 20)

/**
 * struct pipe - what two open file descriptions or more share
 * @lock: protects all but @refs
 * @refs: open file descriptions
 * @readers: of these, open for reading
 * @writers: of these, open for writing
 * @buf: ring, allocated by the first write
 * @size: its size, a power of two
 * @head: bytes ever written; wraps
 * @tail: bytes ever read; wraps
 * @ino: inode number
 * @read_wait: tasks that wait for bytes
 * @write_wait: tasks that wait for room
 */
struct pipe {
	pthread_mutex_t lock;
	atomic_uint refs;
	unsigned int readers, writers;
	char *buf;
	uint32_t size;
	uint32_t head, tail;
	uint64_t ino;
	struct wait_queue read_wait, write_wait;
};

static uint32_t pipe_used(const struct pipe *p)
{
	return p->head - p->tail;
}

static uint32_t pipe_room(const struct pipe *p)
{
	return p->size - pipe_used(p);
}

static struct pipe *pipe_create(void)
{
	struct pipe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->size = PIPE_DEFAULT_SIZE;
	p->ino = anon_inode();
	wait_queue_init(&p->read_wait);
	wait_queue_init(&p->write_wait);
	return p;
}

/* An open file description for it; takes no reference of the caller's. */
static struct file *pipe_open(struct pipe *p, int flags)
{
	struct file *f = file_alloc(&pipe_ops, flags);

	if (!f)
		return NULL;
	f->priv = p;
	atomic_fetch_add(&p->refs, 1);
	pthread_mutex_lock(&p->lock);
	p->readers += file_readable(f);
	p->writers += file_writable(f);
	pthread_mutex_unlock(&p->lock);
	return f;
}

static void pipe_free(struct pipe *p)
{
	pthread_mutex_destroy(&p->lock);
	free(p->buf);
	free(p);
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->priv;
	bool last_reader, last_writer;

	pthread_mutex_lock(&p->lock);
	last_reader = file_readable(f) && --p->readers == 0;
	last_writer = file_writable(f) && --p->writers == 0;
	pthread_mutex_unlock(&p->lock);
	if (last_writer)
		wait_queue_wake_all(&p->read_wait);
	if (last_reader)
		wait_queue_wake_all(&p->write_wait);
	if (atomic_fetch_sub(&p->refs, 1) == 1)
		pipe_free(p);
}

/* Copy between the ring at @pos and one piece of memory. */
static void ring_copy(struct pipe *p, uint32_t pos, void *mem, size_t len,
		      bool in)
{
	uint32_t at = pos & (p->size - 1);
	size_t first = MIN(len, (size_t)(p->size - at));

	if (in) {
		memcpy(p->buf + at, mem, first);
		memcpy(p->buf, (char *)mem + first, len - first);
	} else {
		memcpy(mem, p->buf + at, first);
		memcpy((char *)mem + first, p->buf, len - first);
	}
}

/* Move up to @max bytes, from @skip bytes into the vector on. */
static size_t ring_move(struct pipe *p, const struct iovec *iov, int cnt,
			size_t skip, size_t max, bool in)
{
	size_t done = 0, n;

	for (; cnt > 0 && done < max; iov++, cnt--) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		n = MIN(iov->iov_len - skip, max - done);
		ring_copy(p, (in ? p->head : p->tail) + (uint32_t)done,
			  (char *)iov->iov_base + skip, n, in);
		done += n;
		skip = 0;
	}
	return done;
}

static size_t iov_length(const struct iovec *iov, int cnt)
{
	size_t len = 0;

	while (cnt-- > 0)
		len += iov++->iov_len;
	return len;
}

/* What is there: bytes; 0 at the end of file; -EAGAIN if there may be more. */
static ssize_t pipe_try_read(struct pipe *p, const struct iovec *iov, int cnt)
{
	ssize_t n = -EAGAIN;

	pthread_mutex_lock(&p->lock);
	if (pipe_used(p)) {
		n = (ssize_t)ring_move(p, iov, cnt, 0, pipe_used(p), false);
		p->tail += (uint32_t)n;
	} else if (!p->writers) {
		n = 0;
	}
	pthread_mutex_unlock(&p->lock);
	if (n > 0)
		wait_queue_wake_all(&p->write_wait);
	return n;
}

static ssize_t pipe_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	struct pipe *p = f->priv;
	struct waiter w;
	ssize_t n;
	int err = 0;

	n = pipe_try_read(p, iov, cnt);
	if (n != -EAGAIN || file_nonblock(f))
		return n;
	waiter_init(&w, t);
	wait_queue_add(&p->read_wait, &w);
	while ((n = pipe_try_read(p, iov, cnt)) == -EAGAIN && !err)
		err = task_block(t, FOREVER);
	wait_queue_remove(&p->read_wait, &w);
	return n == -EAGAIN ? err : n;
}

/*
 * Write what fits: bytes, or -EAGAIN, -EPIPE, -ENOMEM. Up to PIPE_BUF bytes go
 * in one piece or not at all.
 */
static ssize_t pipe_try_write(struct pipe *p, const struct iovec *iov, int cnt,
			      size_t skip, size_t left)
{
	ssize_t n = -EAGAIN;

	pthread_mutex_lock(&p->lock);
	if (!p->buf && p->readers)
		p->buf = malloc(p->size);
	if (!p->readers)
		n = -EPIPE;
	else if (!p->buf)
		n = -ENOMEM;
	else if (pipe_room(p) >= (left <= PIPE_BUF ? left : 1)) {
		n = (ssize_t)ring_move(p, iov, cnt, skip, pipe_room(p), true);
		p->head += (uint32_t)n;
	}
	pthread_mutex_unlock(&p->lock);
	if (n > 0)
		wait_queue_wake_all(&p->read_wait);
	return n;
}

/* Write on after the pipe was found full; @done bytes are in it. */
static ssize_t pipe_wait_write(struct task *t, struct pipe *p,
			       const struct iovec *iov, int cnt, size_t done,
			       size_t len)
{
	struct waiter w;
	ssize_t n = 0;

	waiter_init(&w, t);
	wait_queue_add(&p->write_wait, &w);
	while (done < len) {
		n = pipe_try_write(p, iov, cnt, done, len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (n == -EAGAIN)
			n = task_block(t, FOREVER);
		if (n < 0)
			break;
	}
	wait_queue_remove(&p->write_wait, &w);
	return done ? (ssize_t)done : n;
}

static ssize_t pipe_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	struct pipe *p = f->priv;
	size_t len = iov_length(iov, cnt);
	ssize_t n;

	n = pipe_try_write(p, iov, cnt, 0, len);
	if (!file_nonblock(f) && (n == -EAGAIN || (n >= 0 && (size_t)n < len)))
		n = pipe_wait_write(t, p, iov, cnt, n > 0 ? (size_t)n : 0, len);
	return n == -EPIPE ? file_sigpipe(t) : n;
}

static short pipe_events(struct file *f)
{
	struct pipe *p = f->priv;
	short events = 0;

	pthread_mutex_lock(&p->lock);
	if (file_readable(f)) {
		if (pipe_used(p))
			events |= POLLIN | POLLRDNORM;
		if (!p->writers)
			events |= POLLHUP;
	}
	if (file_writable(f)) {
		if (pipe_room(p) >= PIPE_BUF)
			events |= POLLOUT | POLLWRNORM;
		if (!p->readers)
			events |= POLLERR;
	}
	pthread_mutex_unlock(&p->lock);
	return events;
}

/* A file open for both ways waits for input: output is nearly always possible. */
static struct wait_queue *pipe_queue(struct file *f)
{
	struct pipe *p = f->priv;

	return file_readable(f) ? &p->read_wait : &p->write_wait;
}

static short pipe_poll(struct task *t, struct file *f, struct waiter *w)
{
	if (w)
		wait_queue_add(pipe_queue(f), w);
	return pipe_events(f);
}

static void pipe_poll_done(struct task *t, struct file *f, struct waiter *w)
{
	wait_queue_remove(pipe_queue(f), w);
}

ssize_t pipe_size(struct file *f)
{
	struct pipe *p = f->priv;
	ssize_t n;

	if (f->ops != &pipe_ops)
		return -1;
	pthread_mutex_lock(&p->lock);
	n = pipe_used(p);
	pthread_mutex_unlock(&p->lock);
	return n;
}

static long pipe_ioctl(struct task *t, struct file *f, unsigned int cmd,
		       uint64_t arg)
{
	int n;

	if (cmd != FIONREAD)
		return -ENOTTY;
	n = (int)pipe_size(f);
	return copy_to_user(t, arg, &n, sizeof(n));
}

static long pipe_resize(struct pipe *p, uint64_t want)
{
	uint32_t size = PAGE_SIZE, used;
	struct iovec iov;
	char *buf;
	long ret;

	if (want > INT_MAX)
		return -EINVAL;
	if (want > PIPE_MAX_SIZE)
		return -EPERM;
	while (size < want)
		size *= 2;
	buf = malloc(size);
	if (!buf)
		return -ENOMEM;
	pthread_mutex_lock(&p->lock);
	used = pipe_used(p);
	ret = used > size ? -EBUSY : (long)size;
	if (ret > 0) {
		iov = (struct iovec){ buf, used };
		if (used)
			ring_move(p, &iov, 1, 0, used, false);
		free(p->buf);
		p->buf = buf;
		p->size = size;
		p->tail = 0;
		p->head = used;
	}
	pthread_mutex_unlock(&p->lock);
	if (ret < 0)
		free(buf);
	else
		wait_queue_wake_all(&p->write_wait);
	return ret;
}

long pipe_fcntl(struct task *t, struct file *f, int cmd, uint64_t arg)
{
	struct pipe *p = f->priv;

	if (f->ops != &pipe_ops)
		return -EBADF;
	return cmd == F_GETPIPE_SZ ? (long)p->size :
				     pipe_resize(p, (unsigned int)arg);
}

/*
 * Copy bytes from one pipe to another without reading them; never sleeps with
 * anything half done, as what is copied comes out of one look at the input.
 */
static long pipe_tee(struct pipe *in, struct pipe *out, size_t len)
{
	char buf[PIPE_BUF];
	struct iovec iov = { buf, 0 };

	pthread_mutex_lock(&in->lock);
	iov.iov_len = MIN(MIN(len, sizeof(buf)), (size_t)pipe_used(in));
	if (iov.iov_len)
		ring_move(in, &iov, 1, 0, iov.iov_len, false);
	len = in->writers || iov.iov_len ? 1 : 0;
	pthread_mutex_unlock(&in->lock);
	if (!iov.iov_len)
		return len ? -EAGAIN : 0;
	return pipe_try_write(out, &iov, 1, 0, iov.iov_len);
}

/* Wait for both pipes in turn: each is looked at again after a wake-up. */
static long pipe_tee_wait(struct task *t, struct pipe *in, struct pipe *out,
			  size_t len)
{
	struct waiter r, w;
	long n, err = 0;

	waiter_init(&r, t);
	waiter_init(&w, t);
	wait_queue_add(&in->read_wait, &r);
	wait_queue_add(&out->write_wait, &w);
	while ((n = pipe_tee(in, out, len)) == -EAGAIN && !err)
		err = task_block(t, FOREVER);
	wait_queue_remove(&out->write_wait, &w);
	wait_queue_remove(&in->read_wait, &r);
	return n == -EAGAIN ? err : n;
}

#define TEE_NONBLOCK 2u

static long tee_files(struct task *t, struct file *in, struct file *out,
		      size_t len, unsigned int flags)
{
	long n;

	if (in->ops != &pipe_ops || out->ops != &pipe_ops ||
	    in->priv == out->priv)
		return -EINVAL;
	if (!file_readable(in) || !file_writable(out))
		return -EBADF;
	if (!len)
		return 0;
	n = pipe_tee(in->priv, out->priv, len);
	if (n == -EAGAIN && !(flags & TEE_NONBLOCK))
		n = pipe_tee_wait(t, in->priv, out->priv, len);
	return n == -EPIPE ? file_sigpipe(t) : n;
}

long sys_tee(struct task *t, const uint64_t *args)
{
	struct file *in, *out;
	long ret = -EBADF;

	if (args[3] & ~0xfull)
		return -EINVAL;
	in = fd_get_io(t, (int)args[0]);
	out = fd_get_io(t, (int)args[1]);
	if (in && out)
		ret = tee_files(t, in, out, args[2], (unsigned int)args[3]);
	file_put(out);
	file_put(in);
	return ret;
}

static int pipe_fstat(struct task *t, struct file *f, struct stat *st)
{
	struct pipe *p = f->priv;

	anon_stat(st, S_IFIFO | 0600, p->ino);
	return 0;
}

static void pipe_name(struct file *f, char *buf, size_t len)
{
	struct pipe *p = f->priv;

	snprintf(buf, len, "pipe:[%lu]", p->ino);
}

static int pipe_reopen(struct task *t, struct file *f, int flags,
		       struct file **out)
{
	*out = pipe_open(f->priv, flags & (O_ACCMODE | O_NONBLOCK));
	return *out ? 0 : -ENOMEM;
}

const struct file_ops pipe_ops = {
	.kind = "pipe",
	.release = pipe_release,
	.readv = pipe_readv,
	.writev = pipe_writev,
	.ioctl = pipe_ioctl,
	.fstat = pipe_fstat,
	.poll = pipe_poll,
	.poll_done = pipe_poll_done,
	.reopen = pipe_reopen,
	.name = pipe_name,
};

int pipe_pair(int flags, struct file *ends[2])
{
	struct pipe *p = pipe_create();

	if (!p)
		return -ENOMEM;
	/* The creator's own reference goes once both ends hold theirs. */
	p->refs = 1;
	ends[0] = pipe_open(p, O_RDONLY | (flags & O_NONBLOCK));
	ends[1] = pipe_open(p, O_WRONLY | (flags & O_NONBLOCK));
	if (atomic_fetch_sub(&p->refs, 1) == 1)
		pipe_free(p);
	if (ends[0] && ends[1])
		return 0;
	file_put(ends[0]);
	file_put(ends[1]);
	return -ENOMEM;
}

static void close_fd(struct task *t, int fd)
{
	const uint64_t args[6] = { (uint64_t)fd };

	sys_close(t, args);
}

static long do_pipe(struct task *t, uint64_t addr, int flags)
{
	struct file *ends[2];
	int fds[2], err;

	/* No packet mode (O_DIRECT). */
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	err = pipe_pair(flags, ends);
	if (err)
		return err;
	fds[0] = fd_install(t, ends[0], flags & O_CLOEXEC);
	if (fds[0] < 0) {
		file_put(ends[1]);
		return fds[0];
	}
	fds[1] = fd_install(t, ends[1], flags & O_CLOEXEC);
	err = fds[1] < 0 ? fds[1] : copy_to_user(t, addr, fds, sizeof(fds));
	if (!err)
		return 0;
	close_fd(t, fds[0]);
	if (fds[1] >= 0)
		close_fd(t, fds[1]);
	return err;
}

long sys_pipe(struct task *t, const uint64_t *args)
{
	return do_pipe(t, args[0], 0);
}

long sys_pipe2(struct task *t, const uint64_t *args)
{
	return do_pipe(t, args[0], (int)args[1]);
}
