// SPDX-License-Identifier: MIT
/*
 * walk.c - from a path to a place
 *
 * The ordinary path is resolved by the host in one call, openat2(), with the
 * host keeping it below the root and away from other mounts and from links of
 * procfs. Whatever the host refuses to resolve that way (EXDEV, ELOOP) and
 * whatever begins in /proc, /dev or /sys is walked here, one component at a
 * time, following links by their text.
 *
 * ".." from a host directory goes by the directory's present name: the parent
 * is opened from the mount's top, so that a directory that somebody moves out
 * of the root meanwhile leads nowhere.
 */
#include "sentry/fs/internal.h"

#define MAX_LINKS 40

/* the walk */

/**
 * struct walk - a walk under way
 * @t: task
 * @vfs: tree
 * @flags: WALK_* bits
 * @cur: where it stands
 * @links: links followed
 * @rest: what is still to be walked, at the end of @buf
 * @buf: room for @rest to grow to the left by the text of links
 */
struct walk {
	struct task *t;
	struct vfs *vfs;
	unsigned int flags;
	struct loc cur;
	unsigned int links;
	char *rest;
	char buf[2 * PATH_MAX];
};

static void walk_move(struct walk *w, const struct loc *to)
{
	loc_put(&w->cur);
	w->cur = *to;
}

/* Put the text of a link before the rest. */
static int walk_push(struct walk *w, const char *text, size_t len)
{
	struct loc root;

	if (++w->links > MAX_LINKS || w->flags & WALK_NO_SYMLINKS)
		return -ELOOP;
	if (!len)
		return -ENOENT;
	if (len + strlen(w->rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	w->rest -= len;
	memcpy(w->rest, text, len);
	if (text[0] == '/') {
		root_loc(w->vfs, &root);
		walk_move(w, &root);
	}
	return 0;
}

/* Take the next component off the rest: its length, 0 at the end. */
static ssize_t walk_next(struct walk *w, char name[NAME_MAX + 1])
{
	size_t len;

	w->rest += strspn(w->rest, "/");
	len = strcspn(w->rest, "/");
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->rest, len);
	name[len] = '\0';
	w->rest += len;
	return (ssize_t)len;
}

int host_arrive(const struct vfs *vfs, struct loc *to)
{
	struct stat st;
	int err;

	if (fstat(to->fd, &st)) {
		err = -errno;
		loc_put(to);
		return err;
	}
	to->at_root = S_ISDIR(st.st_mode) ? vfs_at_root(vfs, &st) : 0;
	to->dev = st.st_dev;
	return 0;
}

/* Open the directory with a name of the sandbox, from its mount's top. */
static int open_by_name(struct walk *w, const char *name, struct loc *out)
{
	const struct host_mount *m;
	const char *rest;
	long fd;

	/* A directory of the host's that came in open may lie below its /dev. */
	if (vfs_name_covered(w->vfs, name))
		return -EACCES;
	m = vfs_find_mount(w->vfs, name, &rest);
	fd = host_openat2(m->fd, *rest ? rest : ".",
			  O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
			  RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return (int)fd;
	*out = (struct loc){ .kind = LOC_HOST, .owned = true, .fd = (int)fd };
	return host_arrive(w->vfs, out);
}

/*
 * A directory whose name is too long has no name to go by. That the host itself
 * goes up is safe only where there is nothing outside of the root.
 */
static int host_dotdot_unnamed(struct walk *w)
{
	struct loc to = { .kind = LOC_HOST, .owned = true };
	int err;

	if (w->vfs->mounts[0].host_name[0] || w->cur.at_root)
		return -ENAMETOOLONG;
	to.fd = openat(w->cur.fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (to.fd < 0)
		return -errno;
	err = host_arrive(w->vfs, &to);
	if (!err)
		walk_move(w, &to);
	return err;
}

static int host_dotdot(struct walk *w)
{
	char name[PATH_MAX];
	struct loc parent;
	char *slash;
	int err;

	err = vfs_host_name(w->vfs, w->cur.fd, name, sizeof(name));
	if (err == -ENAMETOOLONG)
		return host_dotdot_unnamed(w);
	if (err)
		return err;
	slash = strrchr(name, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	err = open_by_name(w, name, &parent);
	if (!err)
		walk_move(w, &parent);
	return err;
}

static int walk_dotdot(struct walk *w)
{
	struct loc to = { .kind = LOC_PSEUDO };

	if (!loc_is_dir(w->t, &w->cur))
		return -ENOTDIR;
	switch (w->cur.kind) {
	case LOC_HOST:
		if (w->cur.at_root == 1)
			return 0;
		if (w->cur.at_root == 0)
			return host_dotdot(w);
		to.node.at[0] = &dev_root;
		walk_move(w, &to);
		return 0;
	case LOC_PSEUDO:
		if (w->cur.node.depth) {
			w->cur.node.depth--;
			return 0;
		}
		root_loc(w->vfs, &to);
		walk_move(w, &to);
		return 0;
	default:
		return -ENOTDIR;
	}
}

/* A host object, perhaps of another device, is entered: may we? */
static int check_crossing(struct walk *w, int fd, dev_t dev)
{
	if (dev == w->cur.dev)
		return 0;
	return host_fs_refused(fd) ? -EACCES : 0;
}

static int host_link(struct walk *w, int fd)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(fd, "", text, sizeof(text));

	if (n < 0)
		return -errno;
	if ((size_t)n >= sizeof(text))
		return -ENAMETOOLONG;
	return walk_push(w, text, (size_t)n);
}

static int enter_pseudo(struct walk *w, const struct pentry *top)
{
	struct loc to = { .kind = LOC_PSEUDO };

	to.node.at[0] = top;
	walk_move(w, &to);
	return 0;
}

/* One step down from a host directory; links are followed if @follow. */
static int host_step(struct walk *w, const char *name, bool follow)
{
	const struct pentry *top;
	struct loc to = { .kind = LOC_HOST, .owned = true };
	struct stat st;
	int err;

	top = w->cur.at_root == 1 ? pseudo_mount(name) : NULL;
	if (top)
		return enter_pseudo(w, top);
	to.fd = openat(w->cur.fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (to.fd < 0)
		return -errno;
	err = fstat(to.fd, &st) ? -errno : check_crossing(w, to.fd, st.st_dev);
	if (!err && S_ISLNK(st.st_mode) && follow) {
		err = host_link(w, to.fd);
		close(to.fd);
		return err;
	}
	if (err) {
		close(to.fd);
		return err;
	}
	if (S_ISDIR(st.st_mode))
		to.at_root = vfs_at_root(w->vfs, &st);
	to.dev = st.st_dev;
	walk_move(w, &to);
	return 0;
}

/* A link of procfs that leads to an object, or a mount on devfs. */
static int pseudo_magic(struct walk *w, const struct pnode *n)
{
	struct loc to = { 0 };
	int err;

	if (S_ISLNK(pnode_entry(n)->mode)) {
		if (w->flags & (WALK_NO_MAGICLINKS | WALK_NO_SYMLINKS) ||
		    ++w->links > MAX_LINKS)
			return -ELOOP;
	}
	err = pnode_entry(n)->follow(w->t, n, &to);
	if (!err)
		walk_move(w, &to);
	return err;
}

static int pseudo_step(struct walk *w, const char *name, bool follow)
{
	char text[PATH_MAX];
	const struct pentry *e;
	struct loc to = { .kind = LOC_PSEUDO };
	ssize_t n;
	int err;

	err = pseudo_lookup(w->t, &w->cur.node, name, &to.node);
	if (err)
		return err;
	e = pnode_entry(&to.node);
	if (e->follow && (follow || !S_ISLNK(e->mode)))
		return pseudo_magic(w, &to.node);
	if (S_ISLNK(e->mode) && follow) {
		n = e->readlink(w->t, &to.node, text, sizeof(text));
		return n < 0 ? (int)n : walk_push(w, text, (size_t)n);
	}
	walk_move(w, &to);
	return 0;
}

static int walk_step(struct walk *w, const char *name, bool follow)
{
	if (!strcmp(name, "."))
		return loc_is_dir(w->t, &w->cur) ? 0 : -ENOTDIR;
	if (!strcmp(name, ".."))
		return walk_dotdot(w);
	switch (w->cur.kind) {
	case LOC_HOST:
		return host_step(w, name, follow);
	case LOC_PSEUDO:
		return pseudo_step(w, name, follow);
	default:
		return -ENOTDIR;
	}
}

/*
 * Let the host do all but the last component of what is left, if it can: after
 * one step into another mount, the rest of a path is ordinary again.
 */
static int walk_shortcut(struct walk *w)
{
	struct base base = { .loc = &w->cur };
	struct loc to = { .kind = LOC_HOST, .owned = true };
	struct fast_path fp;
	char *slash;
	bool can;
	int err;

	slash = w->rest + strlen(w->rest);
	while (slash > w->rest && slash[-1] == '/')
		slash--;
	slash = memrchr(w->rest, '/', (size_t)(slash - w->rest));
	if (!slash || has_dotdot(w->rest))
		return 0;
	*slash = '\0';
	can = fast_path(w->vfs, &base, w->rest, &fp);
	to.fd = can ? fast_open_path(&fp, O_DIRECTORY) : -EXDEV;
	*slash = '/';
	if (to.fd < 0)
		return to.fd == -EXDEV ? 0 : to.fd;
	err = host_arrive(w->vfs, &to);
	if (err)
		return err;
	err = check_crossing(w, to.fd, to.dev);
	if (err) {
		loc_put(&to);
		return err;
	}
	walk_move(w, &to);
	w->rest = slash;
	return 0;
}

static int walk_start(struct walk *w, struct task *t, const struct base *base,
		      const char *path, unsigned int flags)
{
	size_t len = strlen(path);

	w->t = t;
	w->vfs = task_vfs(t);
	w->flags = flags;
	w->links = 0;
	w->rest = w->buf + sizeof(w->buf) - len - 1;
	memcpy(w->rest, path, len + 1);
	w->cur = *base->loc;
	w->cur.owned = false;
	/* The base keeps its own file for as long. */
	if (w->cur.kind == LOC_FILE)
		file_get(w->cur.file);
	else
		w->cur.file = NULL;
	return 0;
}

/*
 * Walk until nothing is left, or with @last until only the last component is.
 * A link at the end counts as the last component unless it is followed.
 */
static int walk_run(struct walk *w, struct last *last)
{
	char name[NAME_MAX + 1];
	unsigned int links;
	bool end, follow;
	dev_t dev;
	ssize_t n;
	int err;

	for (;;) {
		n = walk_next(w, name);
		if (n <= 0)
			break;
		end = !w->rest[strspn(w->rest, "/")];
		if (end && last)
			break;
		follow = !end || *w->rest || !(w->flags & WALK_NOFOLLOW);
		links = w->links;
		dev = w->cur.dev;
		err = walk_step(w, name, follow);
		if (!err && (w->links != links || w->cur.dev != dev) &&
		    w->cur.kind == LOC_HOST)
			err = walk_shortcut(w);
		if (err)
			return err;
	}
	if (n < 0)
		return (int)n;
	if (last) {
		strcpy(last->name, n ? name : "/");
		last->slash = n && *w->rest;
	}
	return 0;
}

/* Hand the place over: nothing in it is borrowed from the walk's base. */
static int walk_finish(struct walk *w, struct loc *out)
{
	int err = 0;

	if (w->cur.kind == LOC_HOST && !w->cur.owned && !w->cur.file)
		err = loc_dup(&w->cur, out);
	else
		*out = w->cur;
	return err;
}

static int slow_walk(struct task *t, const struct base *base, const char *path,
		     unsigned int flags, struct loc *out)
{
	size_t len = strlen(path);
	struct walk w;
	int err;

	walk_start(&w, t, base, path, flags);
	err = walk_run(&w, NULL);
	if (!err && (flags & WALK_DIRECTORY || (len && path[len - 1] == '/')) &&
	    !loc_is_dir(t, &w.cur))
		err = -ENOTDIR;
	if (!err)
		return walk_finish(&w, out);
	loc_put(&w.cur);
	return err;
}

/* Flags for the host's part of a walk. */
static int walk_host_flags(unsigned int flags)
{
	return (flags & WALK_NOFOLLOW ? O_NOFOLLOW : 0) |
	       (flags & WALK_DIRECTORY ? O_DIRECTORY : 0);
}

/* The whole walk by the host: 0, -EXDEV if it cannot, or -errno. */
static int fast_walk(struct task *t, const struct base *base,
		     const char *path, unsigned int flags, struct loc *out)
{
	struct fast_path fp;
	int fd = -EXDEV;

	if (flags & (WALK_NO_SYMLINKS | WALK_NO_MAGICLINKS))
		return fd;
	if (fast_path(task_vfs(t), base, path, &fp))
		fd = fast_open_path(&fp, walk_host_flags(flags));
	*out = (struct loc){ .kind = LOC_HOST, .owned = true, .fd = fd };
	return fd < 0 ? fd : 0;
}

static int walk_from(struct task *t, const struct base *base,
		     const char *path, unsigned int flags, struct loc *out)
{
	int err = fast_walk(t, base, path, flags, out);

	return err == -EXDEV ? slow_walk(t, base, path, flags, out) : err;
}

/* The base itself: borrows what the base borrows, keeps its references. */
static int walk_empty(struct base *base, struct loc *out)
{
	int err = 0;

	if (base->cwd)
		err = loc_dup(base->loc, out);
	else
		*out = *base->loc;
	out->owned = base->cwd && out->kind == LOC_HOST;
	/* The file's reference goes along. */
	out->file = base->file;
	base->file = NULL;
	return err;
}

int walk(struct task *t, int dirfd, const char *path, unsigned int flags,
	 struct loc *out)
{
	struct base base;
	int err;

	if (!path[0] && !(flags & WALK_EMPTY))
		return -ENOENT;
	err = base_get(t, dirfd, path, &base);
	if (!err)
		err = path[0] ? walk_from(t, &base, path, flags, out) :
				walk_empty(&base, out);
	base_put(&base);
	return err;
}

/* parents */

/* Split off the last component; false if it is too long. */
static bool split_last(const char *path, size_t *parent_len, struct last *last)
{
	size_t end = strlen(path), start;

	last->slash = end && path[end - 1] == '/';
	while (end && path[end - 1] == '/')
		end--;
	start = end;
	while (start && path[start - 1] != '/')
		start--;
	if (end - start > NAME_MAX)
		return false;
	memcpy(last->name, path + start, end - start);
	last->name[end - start] = '\0';
	if (!end)
		strcpy(last->name, "/");
	*parent_len = start;
	return true;
}

static int slow_parent(struct task *t, const struct base *base,
		       const char *path, struct loc *dir, struct last *last)
{
	struct walk w;
	int err;

	walk_start(&w, t, base, path, 0);
	err = walk_run(&w, last);
	if (!err && !loc_is_dir(t, &w.cur))
		err = -ENOTDIR;
	if (!err)
		return walk_finish(&w, dir);
	loc_put(&w.cur);
	return err;
}

/* If @dir/@last is a link, its text: 1; 0 if it is none; or -errno. */
static int link_text(struct task *t, const struct loc *dir,
		     const struct last *last, char *text)
{
	struct pnode n;
	ssize_t len;

	if (!name_is_plain(last->name))
		return 0;
	if (dir->kind == LOC_PSEUDO) {
		if (pseudo_lookup(t, &dir->node, last->name, &n) ||
		    !pnode_entry(&n)->readlink || pnode_entry(&n)->follow)
			return 0;
		len = pnode_entry(&n)->readlink(t, &n, text, PATH_MAX - 1);
	} else {
		len = readlinkat(dir->fd, last->name, text, PATH_MAX);
		if (len < 0)
			return 0;
	}
	if (len < 0)
		return (int)len;
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	text[len] = '\0';
	return 1;
}

/* Follow links at the end, each from the directory that it is in. */
static int follow_last(struct task *t, struct loc *dir, struct last *last)
{
	char text[PATH_MAX];
	struct base base;
	struct loc next;
	int links, ret;

	for (links = 0; links <= MAX_LINKS; links++) {
		ret = link_text(t, dir, last, text);
		if (ret <= 0)
			return ret;
		base = (struct base){ .loc = dir };
		if (text[0] == '/') {
			root_loc(task_vfs(t), &base.storage);
			base.loc = &base.storage;
		}
		ret = slow_parent(t, &base, text, &next, last);
		if (ret)
			return ret;
		loc_put(dir);
		*dir = next;
	}
	return -ELOOP;
}

static int fast_parent(struct task *t, struct base *base, const char *path,
		       size_t parent_len, bool follow, struct loc *dir,
		       const struct last *last)
{
	char parent[PATH_MAX];
	int err;

	if (parent_len == 0 || strspn(path, "/") == parent_len) {
		err = loc_is_dir(t, base->loc) ? 0 : -ENOTDIR;
		return err ? err : walk_empty(base, dir);
	}
	memcpy(parent, path, parent_len);
	parent[parent_len] = '\0';
	err = fast_walk(t, base, parent, WALK_DIRECTORY, dir);
	/* Whether that is the root matters to these names, and to text of links. */
	if (!err && (follow || pseudo_mount(last->name)))
		err = host_arrive(task_vfs(t), dir);
	return err;
}

int walk_parent(struct task *t, int dirfd, const char *path, bool follow,
		struct loc *dir, struct last *last)
{
	struct base base;
	size_t parent_len;
	int err;

	if (!path[0])
		return -ENOENT;
	if (!split_last(path, &parent_len, last))
		return -ENAMETOOLONG;
	err = base_get(t, dirfd, path, &base);
	if (!err) {
		err = fast_parent(t, &base, path, parent_len, follow, dir,
				  last);
		if (err == -EXDEV)
			err = slow_parent(t, &base, path, dir, last);
	}
	base_put(&base);
	if (err || !follow)
		return err;
	err = follow_last(t, dir, last);
	if (err)
		loc_put(dir);
	return err;
}
