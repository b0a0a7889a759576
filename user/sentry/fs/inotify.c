// SPDX-License-Identifier: MIT
/*
 * inotify.c - inotify, by an instance of the host
 *
 * A watch is on the object that the sentry's own walk leads to, named to the
 * host by its descriptor. What the sentry makes up itself (/proc, /dev) never
 * changes, and cannot be watched.
 */
#include <sys/inotify.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

static long do_init(struct task *t, int flags)
{
	int fd;

	if (flags & ~(IN_NONBLOCK | IN_CLOEXEC))
		return -EINVAL;
	fd = inotify_init1(flags | IN_CLOEXEC);
	return host_anon_install(t, &host_stream_ops, host_ret(fd),
				 O_RDONLY | (flags & O_NONBLOCK),
				 flags & IN_CLOEXEC);
}

long sys_inotify_init(struct task *t, const uint64_t *args)
{
	return do_init(t, 0);
}

long sys_inotify_init1(struct task *t, const uint64_t *args)
{
	return do_init(t, (int)args[0]);
}

static long add_watch(struct task *t, struct file *f, uint64_t path,
		      uint32_t mask)
{
	unsigned int wflags = 0;
	struct user_path p;
	struct loc loc;
	char link[32];
	long ret;

	if (mask & IN_DONT_FOLLOW)
		wflags |= WALK_NOFOLLOW;
	if (mask & IN_ONLYDIR)
		wflags |= WALK_DIRECTORY;
	ret = user_path_get(t, &p, path);
	if (!ret)
		ret = walk(t, AT_FDCWD, p.s, wflags, &loc);
	if (ret)
		return ret;
	if (loc.kind == LOC_HOST) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", loc.fd);
		/* The link leads to the object itself, whatever it is. */
		mask &= ~(uint32_t)IN_DONT_FOLLOW;
		ret = host_ret(inotify_add_watch(f->host_fd, link, mask));
	} else {
		ret = -ENOSPC;
	}
	loc_put(&loc);
	return ret;
}

/* The host checks that it is an instance of inotify. */
long sys_inotify_add_watch(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret = -EINVAL;

	if (!f)
		return -EBADF;
	if (f->ops == &host_stream_ops)
		ret = add_watch(t, f, args[1], (uint32_t)args[2]);
	file_put(f);
	return ret;
}

long sys_inotify_rm_watch(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get_io(t, (int)args[0]);
	long ret = -EINVAL;

	if (!f)
		return -EBADF;
	if (f->ops == &host_stream_ops)
		ret = host_ret(inotify_rm_watch(f->host_fd, (int)args[1]));
	file_put(f);
	return ret;
}
