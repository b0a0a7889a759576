// SPDX-License-Identifier: MIT
/*
 * proc_fd.c - /proc/PID/fd and /proc/PID/fdinfo
 */
#include "sentry/fs/internal.h"

/* The table of a task's descriptors, a reference; or NULL. */
static struct fd_table *task_files(struct task *t, const struct pnode *n)
{
	struct task *target = proc_task(t, n);
	struct fd_table *ft;

	if (!target)
		return NULL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	ft = target->files ? fd_table_get(target->files) : NULL;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	return ft;
}

static struct file *node_file(struct task *t, const struct pnode *n,
			      bool *cloexec)
{
	struct fd_table *ft = task_files(t, n);
	struct file *f = ft ? fd_table_lookup(ft, n->num, cloexec) : NULL;

	fd_table_put(ft);
	return f;
}

static ssize_t fd_readlink(struct task *t, const struct pnode *n, char *buf,
			   size_t len)
{
	struct file *f = node_file(t, n, NULL);
	char name[PATH_MAX];
	size_t size;

	if (!f)
		return -ENOENT;
	file_name(f, name, sizeof(name));
	file_put(f);
	size = MIN(strlen(name), len);
	memcpy(buf, name, size);
	return (ssize_t)size;
}

static int fd_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	struct file *f = node_file(t, n, NULL);

	if (!f)
		return -ENOENT;
	file_loc(f, out);
	/* The reference goes along. */
	out->file = f;
	return 0;
}

static int show_fdinfo(struct task *t, const struct pnode *n, struct text *x)
{
	bool cloexec = false;
	struct file *f = node_file(t, n, &cloexec);
	struct stat st = { 0 };
	off_t pos;

	if (!f)
		return -ENOENT;
	/*
	 * A file of ours may be the very one that is being read: its lock is
	 * held then, and is not needed to look at a word.
	 */
	if (file_is_host(f) && f->ops->llseek)
		pos = f->ops->llseek(t, f, 0, SEEK_CUR);
	else
		pos = __atomic_load_n(&f->pos, __ATOMIC_RELAXED);
	file_stat(t, f, &st);
	text_printf(x, "pos:\t%ld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%lu\n",
		    MAX(pos, 0), (unsigned int)f->flags |
		    (cloexec ? O_CLOEXEC : 0), 1, st.st_ino);
	file_put(f);
	return 0;
}

/* By access mode, as the permissions of the links show it. */
static const struct pentry fd_entries[4] = {
	{ .mode = S_IFLNK | 0500, .readlink = fd_readlink,
	  .follow = fd_follow, .arg = PNODE_NUM },
	{ .mode = S_IFLNK | 0300, .readlink = fd_readlink,
	  .follow = fd_follow, .arg = PNODE_NUM },
	{ .mode = S_IFLNK | 0700, .readlink = fd_readlink,
	  .follow = fd_follow, .arg = PNODE_NUM },
	{ .mode = S_IFLNK | 0700, .readlink = fd_readlink,
	  .follow = fd_follow, .arg = PNODE_NUM },
};

static const struct pentry fdinfo_entry = {
	.mode = S_IFREG | 0444, .show = show_fdinfo, .arg = PNODE_NUM,
};

static int lookup_fd(struct task *t, struct pnode *out, const char *name,
		     const struct pentry *e)
{
	struct file *f;

	out->num = parse_id(name);
	f = out->num < 0 ? NULL : node_file(t, out, NULL);
	if (!f)
		return -ENOENT;
	pnode_push(out, e ? e : &fd_entries[f->flags & O_ACCMODE]);
	file_put(f);
	return 0;
}

int proc_fd_lookup(struct task *t, struct pnode *out, const char *name)
{
	return lookup_fd(t, out, name, NULL);
}

int proc_fdinfo_lookup(struct task *t, struct pnode *out, const char *name)
{
	return lookup_fd(t, out, name, &fdinfo_entry);
}

struct nth {
	unsigned int index;
	int fd;
};

static int find_nth(int fd, struct file *f, void *arg)
{
	struct nth *nth = arg;

	if (nth->index--)
		return 0;
	nth->fd = fd;
	return 1;
}

bool proc_fd_iterate(struct task *t, const struct pnode *dir,
		     unsigned int index, char *name, size_t len)
{
	struct fd_table *ft = task_files(t, dir);
	struct nth nth = { index, -1 };

	if (ft)
		fd_table_for_each(ft, 0, find_nth, &nth);
	fd_table_put(ft);
	snprintf(name, len, "%d", nth.fd);
	return nth.fd >= 0;
}
