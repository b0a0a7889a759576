// SPDX-License-Identifier: MIT
/*
 * signalfd.c - signals that are read from a descriptor
 *
 * A signalfd reads the signals of whoever reads it, not of its creator, so one that
 * several processes have is told of the signals of all that ever polled it: by a
 * link to each, which wakes those who wait at the signalfd.
 *
 * Lock order: signalfd.lock above the wait queues' locks.
 */
#include <sys/signalfd.h>

#include "sentry/fs/internal.h"
#include "sentry/signal/internal.h"
#include "sentry/signal/table.h"

/**
 * struct signalfd_link - a process whose signals a signalfd is told of
 * @link: in signalfd.links
 * @tg: the process, a reference
 * @sfd: the signalfd
 * @w: on the process's queue
 */
struct signalfd_link {
	LIST_ENTRY(signalfd_link) link;
	struct thread_group *tg;
	struct signalfd *sfd;
	struct waiter w;
};

/**
 * struct signalfd - a signalfd
 * @mask: signals that it reads
 * @wait: who waits for it
 * @lock: protects @links
 * @links: processes
 */
struct signalfd {
	_Atomic sigmask_t mask;
	struct wait_queue wait;
	pthread_mutex_t lock;
	LIST_HEAD(, signalfd_link) links;
};

static const struct file_ops signalfd_ops;

static void link_wake(struct waiter *w)
{
	struct signalfd_link *l = container_of(w, struct signalfd_link, w);

	wait_queue_wake_all(&l->sfd->wait);
}

static void link_free(struct signalfd_link *l)
{
	wait_queue_remove(&l->tg->sig.watchers, &l->w);
	thread_group_put(l->tg);
	free(l);
}

/* Under the lock: the process's link; *dead: one whose process is gone, unlinked. */
static struct signalfd_link *link_find(struct signalfd *sfd,
				       struct thread_group *tg,
				       struct signalfd_link **dead)
{
	struct signalfd_link *l, *found = NULL;

	*dead = NULL;
	LIST_FOREACH(l, &sfd->links, link) {
		if (l->tg == tg)
			found = l;
		else if (thread_group_is_dead(l->tg))
			*dead = l;
	}
	if (*dead)
		LIST_REMOVE(*dead, link);
	return found;
}

/* Have the signalfd told of the caller's signals: 0 or -ENOMEM. */
static int link_caller(struct task *t, struct signalfd *sfd)
{
	struct signalfd_link *l, *dead;

	pthread_mutex_lock(&sfd->lock);
	l = link_find(sfd, t->tg, &dead);
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (l) {
			l->tg = thread_group_get(t->tg);
			l->sfd = sfd;
			waiter_init(&l->w, NULL);
			l->w.wake = link_wake;
			wait_queue_add(&t->tg->sig.watchers, &l->w);
			LIST_INSERT_HEAD(&sfd->links, l, link);
		}
	}
	pthread_mutex_unlock(&sfd->lock);
	if (dead)
		link_free(dead);
	return l ? 0 : -ENOMEM;
}

static void signalfd_release(struct file *f)
{
	struct signalfd *sfd = f->priv;
	struct signalfd_link *l;

	while ((l = LIST_FIRST(&sfd->links))) {
		LIST_REMOVE(l, link);
		link_free(l);
	}
	pthread_mutex_destroy(&sfd->lock);
	free(sfd);
}

static void describe(struct signalfd_siginfo *out, const siginfo_t *info)
{
	memset(out, 0, sizeof(*out));
	out->ssi_signo = (uint32_t)info->si_signo;
	out->ssi_errno = info->si_errno;
	out->ssi_code = info->si_code;
	if (info->si_code == SI_TIMER) {
		out->ssi_tid = (uint32_t)info->si_timerid;
		out->ssi_overrun = (uint32_t)info->si_overrun;
		out->ssi_ptr = (uint64_t)info->si_value.sival_ptr;
		out->ssi_int = info->si_value.sival_int;
		return;
	}
	if (info->si_code > 0 && info->si_signo != SIGCHLD &&
	    info->si_code != SI_KERNEL) {
		out->ssi_addr = (uint64_t)info->si_addr;
		return;
	}
	out->ssi_pid = (uint32_t)info->si_pid;
	out->ssi_uid = info->si_uid;
	if (info->si_signo == SIGCHLD) {
		out->ssi_status = info->si_status;
		out->ssi_utime = (uint64_t)info->si_utime;
		out->ssi_stime = (uint64_t)info->si_stime;
	} else if (info->si_code < 0) {
		out->ssi_ptr = (uint64_t)info->si_value.sival_ptr;
		out->ssi_int = info->si_value.sival_int;
	}
}

/* Copy to where the vector stands, and move it on. */
static void put_bytes(struct iovec **iov, size_t *at, const void *src,
		      size_t len)
{
	size_t n;

	while (len) {
		n = MIN(len, (*iov)->iov_len - *at);
		memcpy((char *)(*iov)->iov_base + *at, src, n);
		src = (const char *)src + n;
		len -= n;
		*at += n;
		if (*at == (*iov)->iov_len) {
			(*iov)++;
			*at = 0;
		}
	}
}

/* As many signals as are there and have room: bytes, or -EAGAIN. */
static ssize_t read_signals(struct task *t, struct signalfd *sfd,
			    const struct iovec *iov, size_t room)
{
	struct iovec *to = (struct iovec *)iov;
	struct signalfd_siginfo out;
	size_t at = 0, done = 0;
	siginfo_t info;

	while (room - done >= sizeof(out) &&
	       signal_take(t, atomic_load(&sfd->mask), &info)) {
		describe(&out, &info);
		put_bytes(&to, &at, &out, sizeof(out));
		done += sizeof(out);
	}
	return done ? (ssize_t)done : -EAGAIN;
}

static ssize_t signalfd_readv(struct task *t, struct file *f,
			      const struct iovec *iov, int cnt, off_t off)
{
	struct signalfd *sfd = f->priv;
	struct waiter w;
	size_t room = 0;
	ssize_t n;
	int i, err;

	for (i = 0; i < cnt; i++)
		room += iov[i].iov_len;
	if (room < sizeof(struct signalfd_siginfo))
		return -EINVAL;
	n = read_signals(t, sfd, iov, room);
	if (n != -EAGAIN || file_nonblock(f))
		return n;
	err = link_caller(t, sfd);
	if (err)
		return err;
	waiter_init(&w, t);
	wait_queue_add(&sfd->wait, &w);
	while ((n = read_signals(t, sfd, iov, room)) == -EAGAIN && !err)
		err = task_block(t, FOREVER);
	wait_queue_remove(&sfd->wait, &w);
	return n == -EAGAIN ? err : n;
}

static short signalfd_poll(struct task *t, struct file *f, struct waiter *w)
{
	struct signalfd *sfd = f->priv;
	sigmask_t mask = atomic_load(&sfd->mask);

	if (w)
		wait_queue_add(&sfd->wait, w);
	link_caller(t, sfd);
	/*
	 * Without the group's lock, which stands above those of who polls: a
	 * signal that comes now wakes the link.
	 */
	mask &= __atomic_load_n(&t->sig.pending.mask, __ATOMIC_SEQ_CST) |
		__atomic_load_n(&t->tg->sig.pending.mask, __ATOMIC_SEQ_CST);
	return mask ? POLLIN | POLLRDNORM : 0;
}

static void signalfd_poll_done(struct task *t, struct file *f,
			       struct waiter *w)
{
	struct signalfd *sfd = f->priv;

	wait_queue_remove(&sfd->wait, w);
}

static int signalfd_fstat(struct task *t, struct file *f, struct stat *st)
{
	anon_stat(st, 0600, 1);
	return 0;
}

static void signalfd_name(struct file *f, char *buf, size_t len)
{
	snprintf(buf, len, "anon_inode:[signalfd]");
}

static const struct file_ops signalfd_ops = {
	.kind = "signalfd",
	.release = signalfd_release,
	.readv = signalfd_readv,
	.poll = signalfd_poll,
	.poll_done = signalfd_poll_done,
	.fstat = signalfd_fstat,
	.name = signalfd_name,
};

static long create(struct task *t, sigmask_t mask, int flags)
{
	struct signalfd *sfd = calloc(1, sizeof(*sfd));
	struct file *f = sfd ? file_alloc(&signalfd_ops,
					  O_RDWR | (flags & O_NONBLOCK)) : NULL;

	if (!f) {
		free(sfd);
		return -ENOMEM;
	}
	atomic_init(&sfd->mask, mask);
	wait_queue_init(&sfd->wait);
	pthread_mutex_init(&sfd->lock, NULL);
	LIST_INIT(&sfd->links);
	f->priv = sfd;
	return fd_install(t, f, flags & SFD_CLOEXEC);
}

static long change(struct task *t, int fd, sigmask_t mask)
{
	struct file *f = fd_get_io(t, fd);
	struct signalfd *sfd;

	if (!f)
		return -EBADF;
	if (f->ops != &signalfd_ops) {
		file_put(f);
		return -EINVAL;
	}
	sfd = f->priv;
	atomic_store(&sfd->mask, mask);
	wait_queue_wake_all(&sfd->wait);
	file_put(f);
	return fd;
}

static long do_signalfd(struct task *t, const uint64_t *args, int flags)
{
	sigmask_t mask;

	if (flags & ~(SFD_CLOEXEC | SFD_NONBLOCK) || args[2] != sizeof(mask))
		return -EINVAL;
	if (get_user_u64(t, &mask, args[1]))
		return -EFAULT;
	mask &= ~KERNEL_ONLY;
	if ((int)args[0] == -1)
		return create(t, mask, flags);
	return change(t, (int)args[0], mask);
}

long sys_signalfd(struct task *t, const uint64_t *args)
{
	return do_signalfd(t, args, 0);
}

long sys_signalfd4(struct task *t, const uint64_t *args)
{
	return do_signalfd(t, args, (int)args[3]);
}
