// SPDX-License-Identifier: MIT
/*
 * dev.c - devfs: /dev of the sandbox, and its few harmless devices
 */
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "sentry/fs/internal.h"
#include "sentry/tty.h"

static ssize_t sum(const struct iovec *iov, int cnt)
{
	size_t n = 0;

	while (cnt-- > 0)
		n += iov++->iov_len;
	return (ssize_t)n;
}

static ssize_t null_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	return 0;
}

static ssize_t null_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	return sum(iov, cnt);
}

static ssize_t zero_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	int i;

	for (i = 0; i < cnt; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return sum(iov, cnt);
}

static ssize_t full_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	return -ENOSPC;
}

static ssize_t random_readv(struct task *t, struct file *f,
			    const struct iovec *iov, int cnt, off_t off)
{
	ssize_t done = 0, n;
	int i;

	for (i = 0; i < cnt; i++) {
		n = getrandom(iov[i].iov_base, iov[i].iov_len, 0);
		if (n < 0)
			return done ? done : -errno;
		done += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return done;
}

static off_t dev_llseek(struct task *t, struct file *f, off_t off, int whence)
{
	return 0;
}

static int zero_mmap(struct task *t, struct file *f, struct file_mmap *out)
{
	out->anonymous = true;
	return 0;
}

/**
 * struct device - a device of the sandbox
 * @name: below /dev/
 * @minor: with major 1, as in Linux
 * @ops: behaviour; the pentry's arg is the name
 */
struct device {
	const char *name;
	unsigned int minor;
	struct file_ops ops;
};

static void dev_name(struct file *f, char *buf, size_t len)
{
	const struct device *d = f->priv;

	snprintf(buf, len, "/dev/%s", d->name);
}

static int dev_fstat(struct task *t, struct file *f, struct stat *st)
{
	const struct device *d = f->priv;
	struct pnode n = { .at = { &dev_root } }, node;
	int err;

	err = pseudo_lookup(t, &n, d->name, &node);
	return err ? err : pseudo_stat(t, &node, st);
}

static int dev_reopen(struct task *t, struct file *f, int flags,
		      struct file **out)
{
	const struct device *d = f->priv;

	return dev_open(t, makedev(1, d->minor), flags, out);
}

#define DEV_OPS(_read, _write, _mmap)                                        \
	{                                                                    \
		.kind = "dev", .readv = (_read), .writev = (_write),         \
		.llseek = dev_llseek, .fstat = dev_fstat, .mmap = (_mmap),   \
		.reopen = dev_reopen, .name = dev_name,                      \
	}

static const struct device devices[] = {
	{ "null", 3, DEV_OPS(null_readv, null_writev, NULL) },
	{ "zero", 5, DEV_OPS(zero_readv, null_writev, zero_mmap) },
	{ "full", 7, DEV_OPS(zero_readv, full_writev, NULL) },
	{ "random", 8, DEV_OPS(random_readv, null_writev, NULL) },
	{ "urandom", 9, DEV_OPS(random_readv, null_writev, NULL) },
};

int dev_open(struct task *t, dev_t rdev, int flags, struct file **out)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		if (rdev != makedev(1, devices[i].minor))
			continue;
		*out = file_alloc(&devices[i].ops,
				  (flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)) |
					  FILE_O_LARGEFILE);
		if (!*out)
			return -ENOMEM;
		(*out)->priv = (void *)&devices[i];
		return 0;
	}
	return -ENXIO;
}

static int node_open(struct task *t, const struct pnode *n, int flags,
		     struct file **out)
{
	return dev_open(t, pnode_entry(n)->rdev, flags, out);
}

/* /dev/tty: the caller's controlling terminal */
static int tty_node_open(struct task *t, const struct pnode *n, int flags,
			 struct file **out)
{
	dev_t rdev = tty_controlling(t);
	struct file *f = rdev ? tty_by_rdev(task_vfs(t), rdev) : NULL;
	int err;

	if (!f)
		return -ENXIO;
	err = f->ops->reopen(t, f, flags | O_NOCTTY, out);
	file_put(f);
	return err;
}

/* a link whose text is the entry's arg */
static ssize_t fixed_readlink(struct task *t, const struct pnode *n, char *buf,
			      size_t len)
{
	const char *text = pnode_entry(n)->arg;
	size_t size = MIN(strlen(text), len);

	memcpy(buf, text, size);
	return (ssize_t)size;
}

/* terminals that came in as stdin, stdout or stderr, by their own names */

static int host_tty_follow(struct task *t, const char *prefix, const char *name,
			   struct loc *out)
{
	char path[32];

	if (snprintf(path, sizeof(path), "%s%s", prefix, name) >=
	    (int)sizeof(path))
		return -ENOENT;
	*out = (struct loc){ .kind = LOC_FILE };
	out->file = tty_by_name(task_vfs(t), path);
	return out->file ? 0 : -ENOENT;
}

/* One that the host process came with, or one of the sandbox's own ptys. */
static int pts_find(struct task *t, int num, struct loc *out)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", num);
	if (!host_tty_follow(t, "pts/", name, out))
		return 0;
	out->file = pty_by_rdev(makedev(136, (unsigned int)num));
	return out->file ? 0 : -ENOENT;
}

static int pts_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	return pts_find(t, n->num, out);
}

static const struct pentry pts_entry = {
	.arg = PNODE_NUM,
	.mode = S_IFCHR | 0620,
	.follow = pts_follow,
};

static int pts_lookup(struct task *t, struct pnode *out, const char *name)
{
	struct loc loc;

	out->num = parse_id(name);
	if (out->num < 0 || pts_find(t, out->num, &loc))
		return -ENOENT;
	loc_put(&loc);
	pnode_push(out, &pts_entry);
	return 0;
}

/* The @index'th terminal that is a pty. */
static bool pts_iterate(struct task *t, const struct pnode *dir,
			unsigned int index, char *name, size_t len)
{
	struct vfs *vfs = task_vfs(t);
	char buf[64];
	int i;

	for (i = 0; i < HOST_TTYS; i++) {
		if (!vfs->ttys[i])
			break;
		file_name(vfs->ttys[i], buf, sizeof(buf));
		if (strncmp(buf, "/dev/pts/", 9) || index-- > 0)
			continue;
		snprintf(name, len, "%s", buf + 9);
		return true;
	}
	if (!pty_nth(index, &i))
		return false;
	snprintf(name, len, "%d", i);
	return true;
}

/* Terminals other than ptys: the number is an index into vfs.ttys. */
static int other_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	*out = (struct loc){ .kind = LOC_FILE };
	out->file = file_get(task_vfs(t)->ttys[n->num]);
	return 0;
}

static const struct pentry other_tty_entry = {
	.arg = PNODE_NUM,
	.mode = S_IFCHR | 0620,
	.follow = other_follow,
};

static int dev_lookup(struct task *t, struct pnode *out, const char *name)
{
	struct vfs *vfs = task_vfs(t);
	char buf[64];
	int i;

	for (i = 0; i < HOST_TTYS && vfs->ttys[i]; i++) {
		file_name(vfs->ttys[i], buf, sizeof(buf));
		if (strncmp(buf, "/dev/", 5) || strcmp(buf + 5, name))
			continue;
		out->num = i;
		pnode_push(out, &other_tty_entry);
		return 0;
	}
	return -ENOENT;
}

/* The host's /dev/shm: a mount, hence a directory that is somewhere else. */
static int shm_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	const struct vfs *vfs = task_vfs(t);

	if (vfs->nr_mounts < 2)
		return -ENOENT;
	*out = (struct loc){
		.kind = LOC_HOST,
		.fd = vfs->mounts[1].fd,
		.at_root = 2,
	};
	return 0;
}

/* As makedev(), which is no constant expression; for small numbers. */
#define DEV_NUMBER(_major, _minor) ((dev_t)(_major) << 8 | (_minor))
#define DEV_NODE(_name, _minor)                                      \
	{ .name = (_name), .mode = S_IFCHR | 0666, .open = node_open, \
	  .rdev = DEV_NUMBER(1, _minor) }
#define DEV_LINK(_name, _to)                                                 \
	{ .name = (_name), .mode = S_IFLNK | 0777, .readlink = fixed_readlink, \
	  .arg = (_to) }

#define DEV_PTMX                                                \
	{ .name = "ptmx", .mode = S_IFCHR | 0666, .open = ptmx_open, \
	  .rdev = DEV_NUMBER(5, 2) }

static const struct pentry pts_entries[] = { DEV_PTMX };

static const struct pentry dev_entries[] = {
	DEV_PTMX,
	DEV_NODE("null", 3),
	DEV_NODE("zero", 5),
	DEV_NODE("full", 7),
	DEV_NODE("random", 8),
	DEV_NODE("urandom", 9),
	{ .name = "tty", .mode = S_IFCHR | 0666, .open = tty_node_open,
	  .rdev = DEV_NUMBER(5, 0) },
	DEV_LINK("fd", "/proc/self/fd"),
	DEV_LINK("stdin", "/proc/self/fd/0"),
	DEV_LINK("stdout", "/proc/self/fd/1"),
	DEV_LINK("stderr", "/proc/self/fd/2"),
	{ .name = "shm", .mode = S_IFDIR | 01777, .follow = shm_follow },
	{ .name = "pts", .mode = S_IFDIR | 0755, .children = pts_entries,
	  .nr_children = ARRAY_SIZE(pts_entries), .lookup = pts_lookup,
	  .iterate = pts_iterate },
};

const struct pentry dev_root = {
	.name = "dev",
	.mode = S_IFDIR | 0755,
	.children = dev_entries,
	.nr_children = ARRAY_SIZE(dev_entries),
	.lookup = dev_lookup,
};
