// SPDX-License-Identifier: MIT
/*
 * fd_table.c - descriptors of processes
 *
 * A table changes under its lock only. The task that alone uses a table (the
 * ordinary case) looks descriptors up without the lock: nobody else can change
 * it then. Readers of /proc take a reference first, which makes the table
 * shared for as long, and never change it.
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/locks.h"

#define FD_TABLE_MIN 64
#define FD_TABLE_MAX (1 << 20)

struct fd_slot {
	struct file *file;
	bool cloexec;
};

/**
 * struct fd_table - descriptors
 * @refs: tasks that use it, and readers of /proc
 * @lock: see above
 * @slots: by descriptor
 * @size: of @slots
 * @first_free: no descriptor below it is free
 */
struct fd_table {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct fd_slot *slots;
	int size;
	int first_free;
};

struct fd_table *fd_table_create(void)
{
	struct fd_table *ft = calloc(1, sizeof(*ft));

	if (!ft)
		return NULL;
	ft->slots = calloc(FD_TABLE_MIN, sizeof(*ft->slots));
	if (!ft->slots) {
		free(ft);
		return NULL;
	}
	ft->size = FD_TABLE_MIN;
	ft->refs = 1;
	pthread_mutex_init(&ft->lock, NULL);
	return ft;
}

struct fd_table *fd_table_get(struct fd_table *ft)
{
	atomic_fetch_add(&ft->refs, 1);
	return ft;
}

/* Under ft->lock: make room for descriptor @fd. */
static int fd_table_grow(struct fd_table *ft, int fd)
{
	struct fd_slot *slots;
	int size = ft->size;

	if (fd < size)
		return 0;
	if (fd >= FD_TABLE_MAX)
		return -EMFILE;
	while (size <= fd)
		size *= 2;
	slots = calloc(size, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memcpy(slots, ft->slots, ft->size * sizeof(*slots));
	free(ft->slots);
	ft->slots = slots;
	ft->size = size;
	return 0;
}

struct fd_table *fd_table_fork(struct fd_table *ft)
{
	struct fd_table *copy = fd_table_create();
	int fd;

	if (!copy)
		return NULL;
	pthread_mutex_lock(&ft->lock);
	if (fd_table_grow(copy, ft->size - 1)) {
		pthread_mutex_unlock(&ft->lock);
		fd_table_put(copy);
		return NULL;
	}
	for (fd = 0; fd < ft->size; fd++) {
		copy->slots[fd] = ft->slots[fd];
		if (copy->slots[fd].file)
			file_get(copy->slots[fd].file);
	}
	copy->first_free = ft->first_free;
	pthread_mutex_unlock(&ft->lock);
	return copy;
}

/* A descriptor of the table was closed: what that means for its file. */
static void fd_closed(struct fd_table *ft, struct file *f)
{
	lock_release(ft, f);
	file_put(f);
}

void fd_table_put(struct fd_table *ft)
{
	int fd;

	if (!ft || atomic_fetch_sub(&ft->refs, 1) != 1)
		return;
	for (fd = 0; fd < ft->size; fd++) {
		if (ft->slots[fd].file)
			fd_closed(ft, ft->slots[fd].file);
	}
	pthread_mutex_destroy(&ft->lock);
	free(ft->slots);
	free(ft);
}

/* Take the file out of a slot; the caller puts it without the lock. */
static struct file *fd_take(struct fd_table *ft, int fd)
{
	struct file *f = NULL;

	pthread_mutex_lock(&ft->lock);
	if (fd >= 0 && fd < ft->size) {
		f = ft->slots[fd].file;
		ft->slots[fd].file = NULL;
		if (f && fd < ft->first_free)
			ft->first_free = fd;
	}
	pthread_mutex_unlock(&ft->lock);
	return f;
}

int fd_table_exec(struct task *t)
{
	struct fd_table *ft = t->files;
	struct file *f;
	int fd;

	if (atomic_load(&ft->refs) > 1) {
		ft = fd_table_fork(ft);
		if (!ft)
			return -ENOMEM;
		pthread_mutex_lock(&t->kernel->tasks_lock);
		struct fd_table *old = t->files;
		t->files = ft;
		pthread_mutex_unlock(&t->kernel->tasks_lock);
		fd_table_put(old);
	}
	for (fd = 0; fd < ft->size; fd++) {
		if (!ft->slots[fd].file || !ft->slots[fd].cloexec)
			continue;
		f = fd_take(ft, fd);
		if (f)
			fd_closed(ft, f);
	}
	return 0;
}

static struct file *fd_slot_get(struct fd_table *ft, int fd)
{
	struct file *f;

	if ((unsigned int)fd >= (unsigned int)ft->size)
		return NULL;
	f = ft->slots[fd].file;
	return f ? file_get(f) : NULL;
}

struct file *fd_get(struct task *t, int fd)
{
	struct fd_table *ft = t->files;
	struct file *f;

	if (likely(atomic_load_explicit(&ft->refs, memory_order_acquire) == 1))
		return fd_slot_get(ft, fd);
	pthread_mutex_lock(&ft->lock);
	f = fd_slot_get(ft, fd);
	pthread_mutex_unlock(&ft->lock);
	return f;
}

struct file *fd_get_io(struct task *t, int fd)
{
	struct file *f = fd_get(t, fd);

	if (f && unlikely(f->flags & O_PATH)) {
		file_put(f);
		return NULL;
	}
	return f;
}

struct file *fd_table_lookup(struct fd_table *ft, int fd, bool *cloexec)
{
	struct file *f;

	pthread_mutex_lock(&ft->lock);
	f = fd_slot_get(ft, fd);
	if (f && cloexec)
		*cloexec = ft->slots[fd].cloexec;
	pthread_mutex_unlock(&ft->lock);
	return f;
}

int fd_table_size(struct fd_table *ft)
{
	int fd;

	pthread_mutex_lock(&ft->lock);
	for (fd = ft->size; fd > 0; fd--) {
		if (ft->slots[fd - 1].file)
			break;
	}
	pthread_mutex_unlock(&ft->lock);
	return fd;
}

/* First descriptor from @from on that is in use, or -1. */
static int fd_table_next(struct fd_table *ft, int from)
{
	int fd = -1;

	pthread_mutex_lock(&ft->lock);
	for (; from < ft->size; from++) {
		if (ft->slots[from].file) {
			fd = from;
			break;
		}
	}
	pthread_mutex_unlock(&ft->lock);
	return fd;
}

int fd_table_for_each(struct fd_table *ft, int from,
		      int (*fn)(int fd, struct file *f, void *arg), void *arg)
{
	struct file *f;
	int fd, ret;

	for (fd = fd_table_next(ft, from); fd >= 0;
	     fd = fd_table_next(ft, fd + 1)) {
		f = fd_table_lookup(ft, fd, NULL);
		if (!f)
			continue;
		ret = fn(fd, f, arg);
		file_put(f);
		if (ret)
			return ret;
	}
	return 0;
}

static uint64_t nofile_limit(struct task *t)
{
	return t->tg->rlimits[RLIMIT_NOFILE].rlim_cur;
}

/* Lowest free descriptor >= @min gets the file (consumed, always). */
static int fd_install_from(struct task *t, struct file *f, int min,
			   bool cloexec)
{
	struct fd_table *ft = t->files;
	int fd, err = 0;

	pthread_mutex_lock(&ft->lock);
	fd = MAX(min, ft->first_free);
	while (fd < ft->size && ft->slots[fd].file)
		fd++;
	if ((uint64_t)fd >= nofile_limit(t))
		err = -EMFILE;
	if (!err)
		err = fd_table_grow(ft, fd);
	if (!err) {
		ft->slots[fd] = (struct fd_slot){ f, cloexec };
		if (min <= ft->first_free)
			ft->first_free = fd + 1;
	}
	pthread_mutex_unlock(&ft->lock);
	if (err) {
		file_put(f);
		return err;
	}
	return fd;
}

int fd_install(struct task *t, struct file *f, bool cloexec)
{
	return fd_install_from(t, f, 0, cloexec);
}

/* Put the file (consumed, always) at @fd, closing what is there. */
static int fd_install_at(struct task *t, struct file *f, int fd, bool cloexec)
{
	struct fd_table *ft = t->files;
	struct file *old = NULL;
	int err;

	pthread_mutex_lock(&ft->lock);
	err = fd < 0 || (uint64_t)fd >= nofile_limit(t) ? -EBADF :
							   fd_table_grow(ft, fd);
	if (!err) {
		old = ft->slots[fd].file;
		ft->slots[fd] = (struct fd_slot){ f, cloexec };
	}
	pthread_mutex_unlock(&ft->lock);
	if (err)
		file_put(f);
	if (old)
		fd_closed(ft, old);
	return err ? err : fd;
}

int fd_install_import(struct task *t, struct file *f, int fd)
{
	return fd_install_at(t, f, fd, false);
}

long sys_close(struct task *t, const uint64_t *args)
{
	struct file *f = fd_take(t->files, (int)args[0]);

	if (!f)
		return -EBADF;
	fd_closed(t->files, f);
	return 0;
}

static void fd_set_cloexec(struct fd_table *ft, int fd, bool on)
{
	pthread_mutex_lock(&ft->lock);
	if (fd < ft->size && ft->slots[fd].file)
		ft->slots[fd].cloexec = on;
	pthread_mutex_unlock(&ft->lock);
}

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

/* CLOSE_RANGE_UNSHARE: a table of the caller's own. */
static int fd_table_unshare(struct task *t)
{
	struct fd_table *old = t->files, *copy;

	if (atomic_load(&old->refs) == 1)
		return 0;
	copy = fd_table_fork(old);
	if (!copy)
		return -ENOMEM;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	t->files = copy;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	fd_table_put(old);
	return 0;
}

long sys_close_range(struct task *t, const uint64_t *args)
{
	unsigned int first = args[0], last = args[1], flags = args[2];
	struct file *f;
	int fd, err;

	if (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) ||
	    first > last)
		return -EINVAL;
	if (flags & CLOSE_RANGE_UNSHARE) {
		err = fd_table_unshare(t);
		if (err)
			return err;
	}
	if (first > INT_MAX)
		return 0;
	for (fd = fd_table_next(t->files, first);
	     fd >= 0 && (unsigned int)fd <= last;
	     fd = fd_table_next(t->files, fd + 1)) {
		if (flags & CLOSE_RANGE_CLOEXEC) {
			fd_set_cloexec(t->files, fd, true);
			continue;
		}
		f = fd_take(t->files, fd);
		if (f)
			fd_closed(t->files, f);
	}
	return 0;
}

long sys_dup(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get(t, (int)args[0]);

	return f ? fd_install_from(t, f, 0, false) : -EBADF;
}

static long do_dup3(struct task *t, int from, int to, int flags)
{
	struct file *f = fd_get(t, from);

	return f ? fd_install_at(t, f, to, flags & O_CLOEXEC) : -EBADF;
}

long sys_dup2(struct task *t, const uint64_t *args)
{
	int from = args[0], to = args[1];
	struct file *f;

	if (from != to)
		return do_dup3(t, from, to, 0);
	f = fd_get(t, from);
	if (!f)
		return -EBADF;
	file_put(f);
	return to;
}

long sys_dup3(struct task *t, const uint64_t *args)
{
	int from = args[0], to = args[1], flags = args[2];

	if (flags & ~O_CLOEXEC || from == to)
		return -EINVAL;
	return do_dup3(t, from, to, flags);
}

/* The commands of fcntl() that are about the descriptor, not the file. */
long fd_fcntl(struct task *t, struct file *f, int fd, int cmd, uint64_t arg)
{
	bool cloexec = false;

	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (arg >= nofile_limit(t) || arg > INT_MAX)
			return -EINVAL;
		return fd_install_from(t, file_get(f), (int)arg,
				       cmd == F_DUPFD_CLOEXEC);
	case F_GETFD:
		f = fd_table_lookup(t->files, fd, &cloexec);
		if (f)
			file_put(f);
		return cloexec ? FD_CLOEXEC : 0;
	default:
		fd_set_cloexec(t->files, fd, arg & FD_CLOEXEC);
		return 0;
	}
}
