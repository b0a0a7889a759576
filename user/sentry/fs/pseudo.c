// SPDX-License-Identifier: MIT
/*
 * pseudo.c - what procfs, devfs and sysfs have in common
 */
#include <stdarg.h>

#include "sentry/fs/internal.h"

/* texts */

static bool text_room(struct text *x, size_t len)
{
	size_t cap = x->cap ? x->cap : 512;
	char *buf;

	if (x->failed)
		return false;
	while (cap < x->len + len + 1)
		cap *= 2;
	if (cap == x->cap)
		return true;
	buf = realloc(x->buf, cap);
	if (!buf) {
		x->failed = true;
		return false;
	}
	x->buf = buf;
	x->cap = cap;
	return true;
}

void text_append(struct text *x, const void *data, size_t len)
{
	if (!text_room(x, len))
		return;
	memcpy(x->buf + x->len, data, len);
	x->len += len;
}

void text_printf(struct text *x, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !text_room(x, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(x->buf + x->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	x->len += (size_t)n;
}

/* nodes */

const struct pentry *pseudo_mount(const char *name)
{
	if (!strcmp(name, "proc"))
		return &proc_root;
	if (!strcmp(name, "dev"))
		return &dev_root;
	if (!strcmp(name, "sys"))
		return &sys_root;
	return NULL;
}

int parse_id(const char *name)
{
	int v = 0;

	if (!*name || (*name == '0' && name[1]))
		return -1;
	for (; *name; name++) {
		if (*name < '0' || *name > '9' || v > (INT_MAX - 9) / 10)
			return -1;
		v = v * 10 + *name - '0';
	}
	return v;
}

int pseudo_lookup(struct task *t, const struct pnode *dir, const char *name,
		  struct pnode *out)
{
	const struct pentry *e = pnode_entry(dir);
	size_t i;

	if (!S_ISDIR(e->mode))
		return -ENOTDIR;
	*out = *dir;
	for (i = 0; i < e->nr_children; i++) {
		if (!strcmp(e->children[i].name, name)) {
			pnode_push(out, &e->children[i]);
			return 0;
		}
	}
	return e->lookup ? e->lookup(t, out, name) : -ENOENT;
}

static void pnode_component(const struct pnode *n, unsigned int depth,
			    char *buf, size_t len)
{
	const struct pentry *e = n->at[depth];
	int id = n->num;

	if (e->name) {
		snprintf(buf, len, "%s", e->name);
		return;
	}
	if (!strcmp(e->arg, PNODE_TGID))
		id = n->tgid;
	else if (!strcmp(e->arg, PNODE_TID))
		id = n->tid;
	snprintf(buf, len, "%s%d", strcmp(e->arg, PNODE_CPU) ? "" : PNODE_CPU,
		 id);
}

int pseudo_name(const struct pnode *n, char *buf, size_t len)
{
	char part[NAME_MAX + 1];
	size_t at = 0;
	unsigned int i;

	for (i = 0; i <= n->depth; i++) {
		pnode_component(n, i, part, sizeof(part));
		at += (size_t)snprintf(buf + at, len - at, "/%s", part);
		if (at >= len)
			return -ENAMETOOLONG;
	}
	return 0;
}

/* The same node has the same number; which one does not matter. */
static uint64_t pseudo_inode(const struct pnode *n)
{
	char name[PATH_MAX];
	uint64_t hash = 0xcbf29ce484222325ull;
	const char *p;

	if (pseudo_name(n, name, sizeof(name)))
		return 1;
	for (p = name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 0x100000001b3ull;
	return (hash >> 24) | 1;
}

/* Device numbers of the pseudo file systems themselves. */
static dev_t pseudo_dev(const struct pnode *n)
{
	return n->at[0] == &proc_root ? 21 : n->at[0] == &dev_root ? 22 : 23;
}

int pseudo_stat(struct task *t, const struct pnode *n, struct stat *st)
{
	const struct pentry *e = pnode_entry(n);

	anon_stat(st, e->mode, pseudo_inode(n));
	st->st_dev = pseudo_dev(n);
	st->st_rdev = e->rdev;
	if (n->at[0] == &proc_root)
		st->st_blksize = 1024;
	if (S_ISDIR(e->mode))
		st->st_nlink = 2;
	return 0;
}

/* open nodes */

/**
 * struct pseudo_file - an open node
 * @node: which
 * @text: content of a regular file, made anew when it is read from the start
 */
struct pseudo_file {
	struct pnode node; /* first: file_loc() reads it */
	struct text text;
};

static void pseudo_release(struct file *f)
{
	struct pseudo_file *pf = f->priv;

	free(pf->text.buf);
	free(pf);
}

static int pseudo_fstat(struct task *t, struct file *f, struct stat *st)
{
	return pseudo_stat(t, f->priv, st);
}

static void pseudo_file_name(struct file *f, char *buf, size_t len)
{
	if (pseudo_name(f->priv, buf, len))
		snprintf(buf, len, "?");
}

static int pseudo_reopen(struct task *t, struct file *f, int flags,
			 struct file **out)
{
	return pseudo_open(t, f->priv, flags, out);
}

/* regular files */

static int text_refresh(struct task *t, struct pseudo_file *pf)
{
	const struct pentry *e = pnode_entry(&pf->node);
	int err;

	pf->text.len = 0;
	pf->text.failed = false;
	err = e->show ? e->show(t, &pf->node, &pf->text) : -EINVAL;
	return err ? err : pf->text.failed ? -ENOMEM : 0;
}

static ssize_t text_copy(const struct text *x, const struct iovec *iov, int cnt,
			 off_t pos)
{
	size_t done = 0, n;

	for (; cnt > 0 && (size_t)pos < x->len; iov++, cnt--) {
		n = MIN(iov->iov_len, x->len - (size_t)pos);
		memcpy(iov->iov_base, x->buf + pos, n);
		pos += (off_t)n;
		done += n;
	}
	return (ssize_t)done;
}

static ssize_t pseudo_readv(struct task *t, struct file *f,
			    const struct iovec *iov, int cnt, off_t off)
{
	struct pseudo_file *pf = f->priv;
	off_t pos;
	ssize_t n = 0;

	pthread_mutex_lock(&f->lock);
	pos = off >= 0 ? off : f->pos;
	if (pos == 0 || !pf->text.buf)
		n = text_refresh(t, pf);
	if (!n)
		n = text_copy(&pf->text, iov, cnt, pos);
	if (n > 0 && off < 0)
		f->pos += n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static ssize_t pseudo_writev(struct task *t, struct file *f,
			     const struct iovec *iov, int cnt, off_t off)
{
	const struct pseudo_file *pf = f->priv;
	const struct pentry *e = pnode_entry(&pf->node);

	if (!e->store)
		return -EINVAL;
	return e->store(t, &pf->node, iov->iov_base, iov->iov_len);
}

static off_t pseudo_llseek(struct task *t, struct file *f, off_t off,
			   int whence)
{
	off_t ret = -EINVAL;

	pthread_mutex_lock(&f->lock);
	if (whence == SEEK_CUR)
		off += f->pos;
	if ((whence == SEEK_SET || whence == SEEK_CUR) && off >= 0)
		ret = f->pos = off;
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static int pseudo_truncate(struct task *t, struct file *f, off_t len)
{
	return 0;
}

static const struct file_ops pseudo_file_ops = {
	.kind = "pseudo",
	.release = pseudo_release,
	.readv = pseudo_readv,
	.writev = pseudo_writev,
	.llseek = pseudo_llseek,
	.fstat = pseudo_fstat,
	.truncate = pseudo_truncate,
	.reopen = pseudo_reopen,
	.name = pseudo_file_name,
};

/* directories */

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

#define DIRENT_HEAD offsetof(struct linux_dirent64, d_name)

/* Add an entry at @buf: its length; 0 if there is no room. */
static size_t dirent_put(void *buf, size_t room, const char *name,
			 uint64_t ino, mode_t mode, off_t next)
{
	size_t n = strlen(name) + 1;
	size_t len = (DIRENT_HEAD + n + 7) & ~(size_t)7;
	struct linux_dirent64 head = {
		.d_ino = ino,
		.d_off = next,
		.d_reclen = (unsigned short)len,
		.d_type = (unsigned char)((mode & S_IFMT) >> 12),
	};

	if (len > room)
		return 0;
	memset(buf, 0, len);
	memcpy(buf, &head, DIRENT_HEAD);
	memcpy((char *)buf + DIRENT_HEAD, name, n);
	return len;
}

/* Name and node of the @index'th entry; false behind the last. */
static bool dir_entry(struct task *t, const struct pnode *dir,
		      unsigned int index, char *name, size_t len,
		      struct pnode *n)
{
	const struct pentry *e = pnode_entry(dir);

	*n = *dir;
	if (index < 2) {
		snprintf(name, len, "%s", index ? ".." : ".");
		return true;
	}
	index -= 2;
	if (index < e->nr_children) {
		snprintf(name, len, "%s", e->children[index].name);
		pnode_push(n, &e->children[index]);
		return true;
	}
	return e->iterate && e->iterate(t, dir, index - e->nr_children, name,
					len);
}

static long pseudo_getdents(struct task *t, struct file *f, void *buf,
			    size_t len)
{
	const struct pseudo_file *pf = f->priv;
	char name[NAME_MAX + 1];
	struct pnode n, found;
	size_t done = 0, size = 1;
	long ret;

	pthread_mutex_lock(&f->lock);
	while (dir_entry(t, &pf->node, (unsigned int)f->pos, name,
			 sizeof(name), &n)) {
		/* A process that has gone meanwhile. */
		if (n.depth == pf->node.depth && f->pos >= 2) {
			if (pseudo_lookup(t, &pf->node, name, &found)) {
				f->pos++;
				continue;
			}
			n = found;
		}
		size = dirent_put((char *)buf + done, len - done, name,
				  pseudo_inode(&n), pnode_entry(&n)->mode,
				  f->pos + 1);
		if (!size)
			break;
		done += size;
		f->pos++;
	}
	ret = done || size ? (long)done : -EINVAL;
	pthread_mutex_unlock(&f->lock);
	return ret;
}

const struct file_ops pseudo_dir_ops = {
	.kind = "pseudo",
	.release = pseudo_release,
	.llseek = pseudo_llseek,
	.getdents = pseudo_getdents,
	.fstat = pseudo_fstat,
	.reopen = pseudo_reopen,
	.name = pseudo_file_name,
};

const struct file_ops pseudo_path_ops = {
	.kind = "pseudo",
	.release = pseudo_release,
	.fstat = pseudo_fstat,
	.reopen = pseudo_reopen,
	.name = pseudo_file_name,
};

/* opening */

#define OPEN_KEEPS                                                          \
	(O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_NOFOLLOW | \
	 O_PATH)

static int pseudo_file_new(const struct file_ops *ops, const struct pnode *n,
			   int flags, struct file **out)
{
	struct pseudo_file *pf = calloc(1, sizeof(*pf));

	flags &= OPEN_KEEPS;
	if (!(flags & O_PATH))
		flags |= FILE_O_LARGEFILE;
	*out = pf ? file_alloc(ops, flags) : NULL;
	if (!*out) {
		free(pf);
		return -ENOMEM;
	}
	pf->node = *n;
	(*out)->priv = pf;
	return 0;
}

static int check_mode(const struct pentry *e, int flags)
{
	bool write = (flags & O_ACCMODE) != O_RDONLY;
	bool read = (flags & O_ACCMODE) != O_WRONLY;

	if (write && !(e->mode & 0222))
		return -EACCES;
	return read && !(e->mode & 0444) ? -EACCES : 0;
}

int pseudo_open(struct task *t, const struct pnode *n, int flags,
		struct file **out)
{
	const struct pentry *e = pnode_entry(n);
	int err;

	if (flags & O_PATH)
		return pseudo_file_new(&pseudo_path_ops, n, flags, out);
	if (S_ISLNK(e->mode))
		return -ELOOP;
	if (S_ISDIR(e->mode)) {
		if ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT)
			return -EISDIR;
		return pseudo_file_new(&pseudo_dir_ops, n, flags, out);
	}
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	err = check_mode(e, flags);
	if (err)
		return err;
	return e->open ? e->open(t, n, flags, out) :
			 pseudo_file_new(&pseudo_file_ops, n, flags, out);
}
