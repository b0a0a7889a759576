// SPDX-License-Identifier: MIT
/*
 * locks.c - record locks: fcntl(F_SETLK) and its kin
 *
 * To the host, all processes of the sandbox are one, so their locks are kept
 * here, by inode. Locks of POSIX belong to a descriptor table (a process), and
 * go with the first close of any descriptor of the file; F_OFD_* locks belong
 * to an open file description. What the sandbox holds in all is also locked on
 * the host, through one open file description per inode, so that processes
 * outside see it.
 */
#include "sentry/fs/locks.h"
#include "sentry/fs/internal.h"

/* How often to look whether a process outside has let go, in ns. */
#define HOST_RETRY_NS 20000000u

/*
 * Locks of all the sandbox. Releasing takes time by the square of the locks of a
 * file, which nothing can interrupt.
 */
#define LOCKS_MAX 16384u

/**
 * struct record_lock - one lock, a range [start, end]
 * @link: in lock_inode.locks
 * @owner: descriptor table, or file
 * @ofd: which of them
 * @pid: process to report
 * @type: F_RDLCK or F_WRLCK
 */
struct record_lock {
	LIST_ENTRY(record_lock) link;
	const void *owner;
	bool ofd;
	pid_t pid;
	short type;
	off_t start, end;
};

/**
 * struct lock_inode - a file with locks, or with tasks that wait for one
 * @link: in lock_inodes
 * @dev: with @ino: the host file
 * @refs: calls under way; it goes when there are none, and no locks
 * @host_fd: carries the locks on the host
 * @locks: all locks
 * @wait: who waits for one
 */
struct lock_inode {
	LIST_ENTRY(lock_inode) link;
	dev_t dev;
	ino_t ino;
	int refs;
	int host_fd;
	LIST_HEAD(, record_lock) locks;
	struct wait_queue wait;
};

/* Protects all of the above. Innermost but for wait queues. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, lock_inode) lock_inodes;
static atomic_ulong nr_locks;

/* inodes */

static struct lock_inode *inode_find(const struct stat *st)
{
	struct lock_inode *li;

	LIST_FOREACH(li, &lock_inodes, link) {
		if (li->ino == st->st_ino && li->dev == st->st_dev)
			return li;
	}
	return NULL;
}

/* A description of its own, for write locks too if the host permits that. */
static int open_again(struct task *t, int host_fd)
{
	const int flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int dir = task_vfs(t)->host_fds, fd;
	char link[16];

	snprintf(link, sizeof(link), "%d", host_fd);
	/* Nothing that is opened may block: a FIFO would, under the lock. */
	fd = openat(dir, link, O_RDWR | flags);
	return fd >= 0 ? fd : openat(dir, link, O_RDONLY | flags);
}

static struct lock_inode *inode_get(struct task *t, struct file *f,
				    const struct stat *st)
{
	struct lock_inode *li = inode_find(st);

	if (!li) {
		li = calloc(1, sizeof(*li));
		if (!li)
			return NULL;
		li->dev = st->st_dev;
		li->ino = st->st_ino;
		li->host_fd = open_again(t, f->host_fd);
		LIST_INIT(&li->locks);
		wait_queue_init(&li->wait);
		LIST_INSERT_HEAD(&lock_inodes, li, link);
	}
	li->refs++;
	return li;
}

static void inode_put(struct lock_inode *li)
{
	if (--li->refs || !LIST_EMPTY(&li->locks))
		return;
	LIST_REMOVE(li, link);
	if (li->host_fd >= 0)
		close(li->host_fd);
	free(li);
}

/* locks of the host */

static off_t range_len(off_t start, off_t end)
{
	return end == INT64_MAX ? 0 : end - start + 1;
}

/* 0 or -EAGAIN; other errors mean that the host has no such locks. */
static int host_lock(struct lock_inode *li, short type, off_t start, off_t end)
{
	struct flock fl = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = range_len(start, end),
	};

	if (li->host_fd < 0 || !fcntl(li->host_fd, F_OFD_SETLK, &fl))
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EAGAIN : 0;
}

/* Unlock on the host what is locked by nobody any more in [start, end]. */
static void host_unlock_rest(struct lock_inode *li, off_t start, off_t end)
{
	const struct record_lock *rl, *over;
	off_t next;

	for (;;) {
		over = NULL;
		next = end;
		LIST_FOREACH(rl, &li->locks, link) {
			if (rl->start <= start && rl->end >= start)
				over = rl;
			else if (rl->start > start && rl->start <= next)
				next = rl->start - 1;
		}
		if (over)
			next = over->end;
		else
			host_lock(li, F_UNLCK, start, next);
		if (next >= end)
			return;
		start = next + 1;
	}
}

/* the list of locks */

static bool overlaps(const struct record_lock *a, const struct record_lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

/* The first one in the file that is in the way, or NULL. */
static const struct record_lock *find_conflict(const struct lock_inode *li,
					       const struct record_lock *want)
{
	const struct record_lock *rl, *first = NULL;

	LIST_FOREACH(rl, &li->locks, link) {
		if (rl->owner == want->owner || !overlaps(rl, want) ||
		    (rl->type != F_WRLCK && want->type != F_WRLCK))
			continue;
		if (!first || rl->start < first->start)
			first = rl;
	}
	return first;
}

static void drop(struct record_lock *rl)
{
	LIST_REMOVE(rl, link);
	free(rl);
	atomic_fetch_sub(&nr_locks, 1);
}

static void insert(struct lock_inode *li, struct record_lock *rl)
{
	LIST_INSERT_HEAD(&li->locks, rl, link);
	atomic_fetch_add(&nr_locks, 1);
}

/* Take the range out of one lock; @spare becomes the tail if it is cut in two. */
static void carve_one(struct lock_inode *li, struct record_lock *rl,
		      const struct record_lock *want,
		      struct record_lock **spare)
{
	struct record_lock *tail;

	if (rl->start < want->start && rl->end > want->end) {
		tail = *spare;
		*spare = NULL;
		*tail = *rl;
		tail->start = want->end + 1;
		insert(li, tail);
		rl->end = want->start - 1;
	} else if (rl->start < want->start) {
		rl->end = want->start - 1;
	} else if (rl->end > want->end) {
		rl->start = want->end + 1;
	} else {
		drop(rl);
	}
}

/* Take the range out of the owner's locks: at most one is cut in two. */
static void carve(struct lock_inode *li, const struct record_lock *want,
		  struct record_lock **spare)
{
	struct record_lock *rl, *next;

	for (rl = LIST_FIRST(&li->locks); rl; rl = next) {
		next = LIST_NEXT(rl, link);
		if (rl->owner == want->owner && overlaps(rl, want))
			carve_one(li, rl, want, spare);
	}
}

/* Set or clear: 0, or -EAGAIN with *@host telling whom to wait for. */
static int try_lock(struct lock_inode *li, const struct record_lock *want,
		    struct record_lock *mem[2], bool *host)
{
	*host = false;
	if (want->type != F_UNLCK) {
		if (find_conflict(li, want))
			return -EAGAIN;
		*host = true;
		if (host_lock(li, want->type, want->start, want->end))
			return -EAGAIN;
	}
	carve(li, want, &mem[1]);
	if (want->type == F_UNLCK) {
		host_unlock_rest(li, want->start, want->end);
	} else {
		*mem[0] = *want;
		insert(li, mem[0]);
		mem[0] = NULL;
	}
	return 0;
}

/* the calls */

static int set_lock(struct task *t, struct lock_inode *li,
		    const struct record_lock *want, bool block,
		    struct record_lock *mem[2])
{
	struct waiter w;
	bool host;
	int err, stop = 0;

	waiter_init(&w, t);
	wait_queue_add(&li->wait, &w);
	while ((err = try_lock(li, want, mem, &host)) && block && !stop) {
		pthread_mutex_unlock(&lock);
		stop = task_block(t, host ? monotonic_ns() + HOST_RETRY_NS :
					    FOREVER);
		if (stop == -ETIMEDOUT)
			stop = 0;
		pthread_mutex_lock(&lock);
	}
	wait_queue_remove(&li->wait, &w);
	if (!err)
		wait_queue_wake_all(&li->wait);
	return stop && err ? stop : err;
}

static void get_lock(struct lock_inode *li, const struct record_lock *want,
		     struct flock *fl)
{
	const struct record_lock *rl = find_conflict(li, want);
	struct flock host = {
		.l_type = want->type,
		.l_start = want->start,
		.l_len = range_len(want->start, want->end),
	};

	if (rl) {
		*fl = (struct flock){
			.l_type = rl->type,
			.l_start = rl->start,
			.l_len = range_len(rl->start, rl->end),
			.l_pid = rl->ofd ? -1 : rl->pid,
		};
		return;
	}
	if (li->host_fd >= 0 && !fcntl(li->host_fd, F_OFD_GETLK, &host) &&
	    host.l_type != F_UNLCK)
		*fl = host;
	else
		fl->l_type = F_UNLCK;
}

/* The range of a struct flock: 0 or -EINVAL, -EOVERFLOW. */
static int lock_range(struct file *f, const struct flock *fl,
		      const struct stat *st, struct record_lock *want)
{
	off_t base = 0;

	if (fl->l_whence == SEEK_CUR)
		base = lseek(f->host_fd, 0, SEEK_CUR);
	else if (fl->l_whence == SEEK_END)
		base = st->st_size;
	else if (fl->l_whence != SEEK_SET)
		return -EINVAL;
	if (__builtin_add_overflow(base, fl->l_start, &want->start))
		return -EOVERFLOW;
	if (want->start < 0)
		return -EINVAL;
	want->end = INT64_MAX;
	if (fl->l_len > 0 && __builtin_add_overflow(want->start, fl->l_len - 1,
						    &want->end))
		return -EOVERFLOW;
	if (fl->l_len < 0) {
		want->end = want->start - 1;
		if (__builtin_add_overflow(want->start, fl->l_len,
					   &want->start))
			return -EINVAL;
	}
	return want->start < 0 ? -EINVAL : 0;
}

static int check_lock(struct file *f, int cmd, bool ofd, const struct flock *fl)
{
	if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK &&
	    fl->l_type != F_UNLCK)
		return -EINVAL;
	if (ofd && fl->l_pid)
		return -EINVAL;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK)
		return fl->l_type == F_UNLCK ? -EINVAL : 0;
	if ((fl->l_type == F_RDLCK && !file_readable(f)) ||
	    (fl->l_type == F_WRLCK && !file_writable(f)))
		return -EBADF;
	return 0;
}

static bool too_many_locks(void)
{
	return atomic_load_explicit(&nr_locks, memory_order_relaxed) >=
	       LOCKS_MAX;
}

static int do_lock(struct task *t, struct file *f, int cmd,
		   const struct record_lock *want, const struct stat *st,
		   struct flock *fl)
{
	struct record_lock *mem[2] = { malloc(sizeof(*want)),
				       malloc(sizeof(*want)) };
	struct lock_inode *li;
	int err = 0;

	pthread_mutex_lock(&lock);
	li = mem[0] && mem[1] ? inode_get(t, f, st) : NULL;
	if (!li || (want->type != F_UNLCK && too_many_locks()))
		err = -ENOLCK;
	else if (cmd == F_GETLK || cmd == F_OFD_GETLK)
		get_lock(li, want, fl);
	else
		err = set_lock(t, li, want,
			       cmd == F_SETLKW || cmd == F_OFD_SETLKW, mem);
	if (li)
		inode_put(li);
	pthread_mutex_unlock(&lock);
	free(mem[0]);
	free(mem[1]);
	return err;
}

/*
 * Whoever closed the descriptor before the lock was there did not release it, and
 * nobody else has to. Whoever closes it from here on finds the lock.
 */
static int undo_if_closed(struct task *t, struct file *f, int fd)
{
	struct file *now = fd_table_lookup(t->files, fd, NULL);
	bool same = now == f;

	file_put(now);
	if (same)
		return 0;
	lock_release(t->files, f);
	return -EBADF;
}

long lock_fcntl(struct task *t, struct file *f, int fd, int cmd, uint64_t arg)
{
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK ||
		   cmd == F_OFD_SETLKW;
	struct record_lock want = {
		.owner = ofd ? (const void *)f : t->files,
		.ofd = ofd,
		.pid = t->tg->tgid,
	};
	struct flock fl;
	struct stat st;
	long err;

	if (copy_from_user(t, &fl, arg, sizeof(fl)))
		return -EFAULT;
	if (!file_is_host(f))
		return -EINVAL;
	if (fstat(f->host_fd, &st))
		return -errno;
	err = check_lock(f, cmd, ofd, &fl);
	if (!err)
		err = lock_range(f, &fl, &st, &want);
	if (err)
		return err;
	want.type = fl.l_type;
	err = do_lock(t, f, cmd, &want, &st, &fl);
	if (!err && (cmd == F_SETLK || cmd == F_SETLKW) &&
	    want.type != F_UNLCK)
		err = undo_if_closed(t, f, fd);
	if (!err && (cmd == F_GETLK || cmd == F_OFD_GETLK))
		err = copy_to_user(t, arg, &fl, sizeof(fl));
	return err;
}

void lock_release(const void *owner, struct file *f)
{
	struct record_lock all = { .owner = owner, .type = F_UNLCK,
				   .end = INT64_MAX };
	struct record_lock *spare = NULL;
	struct lock_inode *li;
	struct stat st;

	if (likely(!atomic_load_explicit(&nr_locks, memory_order_relaxed)) ||
	    !file_is_host(f) || fstat(f->host_fd, &st))
		return;
	pthread_mutex_lock(&lock);
	li = inode_find(&st);
	if (li) {
		li->refs++;
		/* The whole range: nothing is cut in two. */
		carve(li, &all, &spare);
		host_unlock_rest(li, 0, INT64_MAX);
		wait_queue_wake_all(&li->wait);
		inode_put(li);
	}
	pthread_mutex_unlock(&lock);
}
