// SPDX-License-Identifier: MIT
/*
 * fast_path.c - where a path begins, and whether the host can resolve it in one
 * call
 */
#include "sentry/fs/internal.h"

#define RESOLVE_SAFE (RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

/* where paths begin */

void root_loc(const struct vfs *vfs, struct loc *loc)
{
	*loc = (struct loc){
		.kind = LOC_HOST,
		.fd = vfs->mounts[0].fd,
		.at_root = 1,
		.dev = vfs->mounts[0].dev,
	};
}

void file_loc(struct file *f, struct loc *loc)
{
	*loc = (struct loc){ .kind = LOC_FILE, .file = f };
	/* As a place it would have all the rights of the user. */
	if (f->foreign)
		return;
	if (f->ops == &host_dir_ops || f->ops == &host_path_ops ||
	    f->ops == &host_regular_ops) {
		loc->kind = LOC_HOST;
		loc->fd = f->host_fd;
		loc->at_root = f->at_root;
	} else if (f->ops == &pseudo_dir_ops || f->ops == &pseudo_path_ops) {
		loc->kind = LOC_PSEUDO;
		loc->node = *(const struct pnode *)f->priv;
	}
}

int base_get(struct task *t, int dirfd, const char *path, struct base *base)
{
	base->cwd = NULL;
	base->file = NULL;
	base->loc = &base->storage;
	if (path[0] == '/') {
		root_loc(task_vfs(t), &base->storage);
		return 0;
	}
	if (dirfd == AT_FDCWD) {
		/* Only this thread changes a context that is its own. */
		if (atomic_load(&t->fs->refs) > 1)
			base->cwd = cwd_get(t->fs);
		base->loc = base->cwd ? &base->cwd->loc : &t->fs->cwd->loc;
		return 0;
	}
	base->file = fd_get(t, dirfd);
	if (!base->file)
		return -EBADF;
	file_loc(base->file, &base->storage);
	return 0;
}

void base_put(struct base *base)
{
	if (base->cwd)
		cwd_put(base->cwd);
	if (base->file)
		file_put(base->file);
}

/* the fast path */

/* First component of a path that is neither "." nor "..", at the root. */
static const char *first_component(const char *path, size_t *len)
{
	for (;;) {
		path += strspn(path, "/");
		*len = strcspn(path, "/");
		if (*len == 0 || *len > 2 || memcmp(path, "..", *len))
			return path;
		path += *len;
	}
}

bool has_dotdot(const char *path)
{
	const char *p = path;

	while ((p = strstr(p, ".."))) {
		if ((p == path || p[-1] == '/') && (p[2] == '/' || !p[2]))
			return true;
		p += 2;
	}
	return false;
}

bool leaves_at_root(const char *path)
{
	char name[8];
	size_t len;

	path = first_component(path, &len);
	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, path, len);
	name[len] = '\0';
	return pseudo_mount(name);
}

bool host_step_leaves(uint8_t at_root, const char *name)
{
	return !name_is_plain(name) || (at_root == 1 && pseudo_mount(name));
}

/* A path from the root that begins in another mount of the host. */
static bool fast_path_anchor(const struct vfs *vfs, const char *path,
			     struct fast_path *fp)
{
	const struct host_anchor *a;
	size_t len;

	path = first_component(path, &len);
	for (a = vfs->anchors; a < vfs->anchors + vfs->nr_anchors; a++) {
		if (strlen(a->name) != len || memcmp(a->name, path, len))
			continue;
		path += len;
		path += strspn(path, "/");
		fp->dir = a->fd;
		fp->path = *path ? path : ".";
		/* What leads out of the mount is for a walk. */
		fp->resolve = RESOLVE_SAFE | RESOLVE_BENEATH;
		return true;
	}
	return false;
}

static bool starts_with_dotdot(const char *path)
{
	return !strncmp(path, "..", 2) && (path[2] == '/' || !path[2]);
}

/*
 * "../x" from a directory below the root: the directory's present name has no
 * links in it, so the host can resolve the two together from the root.
 */
static bool fast_path_by_name(struct vfs *vfs, const struct loc *loc,
			      const char *path, struct fast_path *fp)
{
	size_t len, more = strlen(path) + 1;

	if (!vfs->covered ||
	    vfs_host_name(vfs, loc->fd, fp->buf, sizeof(fp->buf)) ||
	    fp->buf[0] != '/' || leaves_at_root(fp->buf))
		return false;
	len = strlen(fp->buf);
	if (len + 1 + more > sizeof(fp->buf))
		return false;
	fp->buf[len] = '/';
	memcpy(fp->buf + len + 1, path, more);
	fp->by_name = true;
	if (fast_path_anchor(vfs, fp->buf, fp))
		return true;
	fp->dir = vfs->mounts[0].fd;
	fp->path = fp->buf + 1;
	fp->resolve = RESOLVE_SAFE | RESOLVE_IN_ROOT;
	return true;
}

bool fast_path(struct vfs *vfs, const struct base *base, const char *path,
	       struct fast_path *fp)
{
	const struct loc *loc = base->loc;

	if (loc->kind != LOC_HOST)
		return false;
	if (loc->at_root == 1 && leaves_at_root(path))
		return false;
	if (!loc->at_root && starts_with_dotdot(path))
		return fast_path_by_name(vfs, loc, path, fp);
	fp->by_name = false;
	if (loc->at_root == 1 && fast_path_anchor(vfs, path, fp))
		return true;
	fp->resolve = RESOLVE_SAFE |
		      (loc->at_root == 1 ? RESOLVE_IN_ROOT : RESOLVE_BENEATH);
	if (!vfs->covered) {
		/* The host cannot tell a way into /proc or /dev. */
		if (has_dotdot(path))
			return false;
		fp->resolve |= RESOLVE_NO_SYMLINKS;
	}
	fp->dir = loc->fd;
	path += strspn(path, "/");
	fp->path = *path ? path : ".";
	return true;
}

bool fast_path_failed(int err)
{
	return err == -EXDEV || err == -ELOOP || err == -EAGAIN ||
	       err == -ENOSYS || err == -EPERM;
}

int fast_open_path(const struct fast_path *fp, int flags)
{
	int fd = (int)host_openat2(fp->dir, fp->path,
				   flags | O_PATH | O_CLOEXEC, 0, fp->resolve);

	if (fd < 0 && (fp->by_name || fast_path_failed(fd)))
		return -EXDEV;
	return fd;
}
