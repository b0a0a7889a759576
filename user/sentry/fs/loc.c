// SPDX-License-Identifier: MIT
/*
 * loc.c - places in the tree: see struct loc
 */
#include "sentry/fs/internal.h"

void loc_put(struct loc *loc)
{
	if (loc->kind == LOC_HOST && loc->owned)
		close(loc->fd);
	if (loc->file)
		file_put(loc->file);
	loc->kind = LOC_NONE;
	loc->file = NULL;
}

int loc_dup(const struct loc *src, struct loc *dst)
{
	*dst = *src;
	dst->file = NULL;
	if (src->kind == LOC_FILE)
		dst->file = file_get(src->file);
	if (src->kind != LOC_HOST)
		return 0;
	dst->fd = fcntl(src->fd, F_DUPFD_CLOEXEC, 0);
	if (dst->fd < 0)
		return -errno;
	dst->owned = true;
	return 0;
}

int loc_stat(struct task *t, const struct loc *loc, struct stat *st)
{
	switch (loc->kind) {
	case LOC_HOST:
		return (int)host_ret(fstat(loc->fd, st));
	case LOC_PSEUDO:
		return pseudo_stat(t, &loc->node, st);
	case LOC_FILE:
		return file_stat(t, loc->file, st);
	default:
		return -ENOENT;
	}
}

bool loc_is_dir(struct task *t, const struct loc *loc)
{
	struct stat st;

	return !loc_stat(t, loc, &st) && S_ISDIR(st.st_mode);
}

int loc_name(struct task *t, const struct loc *loc, char *buf, size_t len)
{
	switch (loc->kind) {
	case LOC_HOST:
		return vfs_host_name(task_vfs(t), loc->fd, buf, len);
	case LOC_PSEUDO:
		return pseudo_name(&loc->node, buf, len);
	case LOC_FILE:
		file_name(loc->file, buf, len);
		return 0;
	default:
		return -ENOENT;
	}
}

int loc_open(struct task *t, const struct loc *loc, int flags,
	     struct file **out)
{
	switch (loc->kind) {
	case LOC_HOST:
		return host_reopen(t, loc->fd, flags, out);
	case LOC_PSEUDO:
		return pseudo_open(t, &loc->node, flags, out);
	case LOC_FILE:
		if (loc->file->ops->reopen)
			return loc->file->ops->reopen(t, loc->file, flags, out);
		return -ENXIO;
	default:
		return -ENOENT;
	}
}
