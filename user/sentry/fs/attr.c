// SPDX-License-Identifier: MIT
/*
 * attr.c - modes, owners, times, extended attributes, sizes of files by name
 */
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

/* The object that a path or a descriptor names. */
static int attr_get(struct task *t, int dirfd, uint64_t path, int at_flags,
		    struct loc *loc)
{
	unsigned int wflags = 0;
	struct user_path p;
	int err;

	if (at_flags & AT_SYMLINK_NOFOLLOW)
		wflags |= WALK_NOFOLLOW;
	if (at_flags & AT_EMPTY_PATH)
		wflags |= WALK_EMPTY;
	err = user_path_get(t, &p, path);
	return err ? err : walk(t, dirfd, p.s, wflags, loc);
}

static int attr_get_fd(struct task *t, int fd, struct loc *loc)
{
	struct file *f = fd_get_io(t, fd);

	if (!f)
		return -EBADF;
	file_loc(f, loc);
	/* The reference goes along. */
	loc->file = f;
	return 0;
}

/* Host descriptor of an object, -EPERM if it is none of the host's. */
static int attr_host_fd(const struct loc *loc)
{
	if (loc->kind == LOC_HOST)
		return loc->fd;
	if (loc->kind == LOC_FILE && file_is_host(loc->file) &&
	    !loc->file->foreign)
		return loc->file->host_fd;
	return -EPERM;
}

/* Its name in the host's /proc: for calls that take no O_PATH descriptor. */
struct host_link {
	char s[32];
};

static int host_link(const struct loc *loc, struct host_link *link)
{
	int fd = attr_host_fd(loc);

	if (fd < 0)
		return fd;
	snprintf(link->s, sizeof(link->s), "/proc/self/fd/%d", fd);
	return 0;
}

/* chmod */

static long chmod_loc(struct loc *loc, mode_t mode)
{
	struct host_link link;
	long err = host_link(loc, &link);

	if (!err)
		err = host_ret(chmod(link.s, mode & 07777));
	loc_put(loc);
	return err;
}

static long do_chmod(struct task *t, int dirfd, uint64_t path, mode_t mode,
		     int flags)
{
	struct loc loc;
	int err = attr_get(t, dirfd, path, flags, &loc);

	return err ? err : chmod_loc(&loc, mode);
}

long sys_chmod(struct task *t, const uint64_t *args)
{
	return do_chmod(t, AT_FDCWD, args[0], args[1], 0);
}

long sys_fchmodat(struct task *t, const uint64_t *args)
{
	return do_chmod(t, (int)args[0], args[1], args[2], 0);
}

long sys_fchmod(struct task *t, const uint64_t *args)
{
	struct loc loc;
	int err = attr_get_fd(t, (int)args[0], &loc);

	return err ? err : chmod_loc(&loc, args[1]);
}

/* chown */

static long chown_loc(struct loc *loc, uid_t uid, gid_t gid)
{
	int fd = attr_host_fd(loc);
	long err = fd;

	if (fd >= 0)
		err = host_ret(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
	loc_put(loc);
	return err;
}

static long do_chown(struct task *t, int dirfd, uint64_t path, uid_t uid,
		     gid_t gid, int flags)
{
	struct loc loc;
	int err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = attr_get(t, dirfd, path, flags, &loc);
	return err ? err : chown_loc(&loc, uid, gid);
}

long sys_chown(struct task *t, const uint64_t *args)
{
	return do_chown(t, AT_FDCWD, args[0], args[1], args[2], 0);
}

long sys_lchown(struct task *t, const uint64_t *args)
{
	return do_chown(t, AT_FDCWD, args[0], args[1], args[2],
			AT_SYMLINK_NOFOLLOW);
}

long sys_fchownat(struct task *t, const uint64_t *args)
{
	return do_chown(t, (int)args[0], args[1], args[2], args[3],
			(int)args[4]);
}

long sys_fchown(struct task *t, const uint64_t *args)
{
	struct loc loc;
	int err = attr_get_fd(t, (int)args[0], &loc);

	return err ? err : chown_loc(&loc, args[1], args[2]);
}

/* times */

static long utimens_loc(struct loc *loc, const struct timespec ts[2])
{
	struct host_link link;
	long err = host_link(loc, &link);

	if (!err)
		err = host_ret(utimensat(AT_FDCWD, link.s, ts, 0));
	loc_put(loc);
	return err;
}

static long do_utimens(struct task *t, int dirfd, uint64_t path,
		       const struct timespec ts[2], int flags)
{
	struct loc loc;
	int err;

	if (!path && dirfd != AT_FDCWD)
		err = flags ? -EINVAL : attr_get_fd(t, dirfd, &loc);
	else
		err = attr_get(t, dirfd, path, flags, &loc);
	return err ? err : utimens_loc(&loc, ts);
}

long sys_utimensat(struct task *t, const uint64_t *args)
{
	int flags = (int)args[3];
	struct timespec ts[2];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (args[2] && copy_from_user(t, ts, args[2], sizeof(ts)))
		return -EFAULT;
	return do_utimens(t, (int)args[0], args[1], args[2] ? ts : NULL, flags);
}

static long do_utimes(struct task *t, int dirfd, uint64_t path, uint64_t times)
{
	struct timeval tv[2];
	struct timespec ts[2];
	int i;

	if (!times)
		return do_utimens(t, dirfd, path, NULL, 0);
	if (copy_from_user(t, tv, times, sizeof(tv)))
		return -EFAULT;
	for (i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
			return -EINVAL;
		ts[i].tv_sec = tv[i].tv_sec;
		ts[i].tv_nsec = tv[i].tv_usec * 1000;
	}
	return do_utimens(t, dirfd, path, ts, 0);
}

long sys_utimes(struct task *t, const uint64_t *args)
{
	return do_utimes(t, AT_FDCWD, args[0], args[1]);
}

long sys_futimesat(struct task *t, const uint64_t *args)
{
	return do_utimes(t, (int)args[0], args[1], args[2]);
}

long sys_utime(struct task *t, const uint64_t *args)
{
	struct timespec ts[2] = { { 0 } };
	struct utimbuf times;

	if (!args[1])
		return do_utimens(t, AT_FDCWD, args[0], NULL, 0);
	if (copy_from_user(t, &times, args[1], sizeof(times)))
		return -EFAULT;
	ts[0].tv_sec = times.actime;
	ts[1].tv_sec = times.modtime;
	return do_utimens(t, AT_FDCWD, args[0], ts, 0);
}

/* sizes */

long sys_truncate(struct task *t, const uint64_t *args)
{
	struct host_link link;
	struct loc loc;
	long err;

	if ((int64_t)args[1] < 0)
		return -EINVAL;
	err = attr_get(t, AT_FDCWD, args[0], 0, &loc);
	if (err)
		return err;
	err = size_limit_check(t, args[1]);
	if (!err)
		err = host_link(&loc, &link);
	if (!err)
		err = host_ret(truncate(link.s, (off_t)args[1]));
	loc_put(&loc);
	return err;
}

/* extended attributes */

#define XATTR_NAME_BYTES 256

/* What the twelve calls have in common, in the order of their arguments. */
struct xattr_call {
	uint64_t path;
	int fd; /* -1: by path */
	bool nofollow;
};

static int xattr_get(struct task *t, const struct xattr_call *c,
		     struct loc *loc, struct host_link *link)
{
	int err;

	if (c->fd >= 0 || !c->path)
		err = attr_get_fd(t, c->fd, loc);
	else
		err = attr_get(t, AT_FDCWD, c->path,
			       c->nofollow ? AT_SYMLINK_NOFOLLOW : 0, loc);
	if (err)
		return err;
	err = host_link(loc, link);
	if (!err)
		return 0;
	loc_put(loc);
	return -EOPNOTSUPP;
}

static struct xattr_call by_path(const uint64_t *args, bool nofollow)
{
	return (struct xattr_call){ args[0], -1, nofollow };
}

static struct xattr_call by_fd(const uint64_t *args)
{
	return (struct xattr_call){ 0, (int)args[0], false };
}

static int xattr_name(struct task *t, char *name, uint64_t addr)
{
	ssize_t n = strncpy_from_user(t, name, addr, XATTR_NAME_BYTES);

	if (n == -ENAMETOOLONG || n == 0)
		return -ERANGE;
	return n < 0 ? (int)n : 0;
}

/*
 * To the host these are capabilities and labels of what it runs itself, which a
 * sandbox of the superuser's could otherwise hand out.
 */
static bool xattr_is_privileged(const char *name)
{
	return !strncmp(name, "security.", 9) || !strncmp(name, "trusted.", 8);
}

/* getxattr (with a name) and listxattr (without). */
static long xattr_read(struct task *t, struct xattr_call c, bool named,
		       const uint64_t *args)
{
	uint64_t dst = args[named ? 2 : 1], size = args[named ? 3 : 2];
	char name[XATTR_NAME_BYTES];
	struct host_link link;
	struct loc loc;
	char *buf;
	long n;

	n = named ? xattr_name(t, name, args[1]) : 0;
	if (!n)
		n = xattr_get(t, &c, &loc, &link);
	if (n)
		return n;
	size = MIN(size, (uint64_t)XATTR_SIZE_MAX);
	buf = malloc(size + 1);
	if (!buf)
		n = -ENOMEM;
	else
		n = host_ret(named ? getxattr(link.s, name, buf, size) :
				     listxattr(link.s, buf, size));
	if (n > 0 && size && copy_to_user(t, dst, buf, (size_t)n))
		n = -EFAULT;
	free(buf);
	loc_put(&loc);
	return n;
}

static long xattr_write(struct task *t, struct xattr_call c,
			const uint64_t *args)
{
	char name[XATTR_NAME_BYTES];
	struct host_link link;
	struct loc loc;
	char *buf;
	long err;

	if (args[3] > XATTR_SIZE_MAX)
		return -E2BIG;
	err = xattr_name(t, name, args[1]);
	if (!err && xattr_is_privileged(name))
		err = -EOPNOTSUPP;
	if (err)
		return err;
	buf = malloc(args[3] + 1);
	if (!buf)
		return -ENOMEM;
	err = copy_from_user(t, buf, args[2], args[3]);
	if (!err)
		err = xattr_get(t, &c, &loc, &link);
	if (!err) {
		err = host_ret(setxattr(link.s, name, buf, args[3],
					(int)args[4]));
		loc_put(&loc);
	}
	free(buf);
	return err;
}

static long xattr_remove(struct task *t, struct xattr_call c,
			 const uint64_t *args)
{
	char name[XATTR_NAME_BYTES];
	struct host_link link;
	struct loc loc;
	long err;

	err = xattr_name(t, name, args[1]);
	if (!err && xattr_is_privileged(name))
		err = -EOPNOTSUPP;
	if (!err)
		err = xattr_get(t, &c, &loc, &link);
	if (err)
		return err;
	err = host_ret(removexattr(link.s, name));
	loc_put(&loc);
	return err;
}

long sys_getxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_path(args, false), true, args);
}

long sys_lgetxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_path(args, true), true, args);
}

long sys_fgetxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_fd(args), true, args);
}

long sys_listxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_path(args, false), false, args);
}

long sys_llistxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_path(args, true), false, args);
}

long sys_flistxattr(struct task *t, const uint64_t *args)
{
	return xattr_read(t, by_fd(args), false, args);
}

long sys_setxattr(struct task *t, const uint64_t *args)
{
	return xattr_write(t, by_path(args, false), args);
}

long sys_lsetxattr(struct task *t, const uint64_t *args)
{
	return xattr_write(t, by_path(args, true), args);
}

long sys_fsetxattr(struct task *t, const uint64_t *args)
{
	return xattr_write(t, by_fd(args), args);
}

long sys_removexattr(struct task *t, const uint64_t *args)
{
	return xattr_remove(t, by_path(args, false), args);
}

long sys_lremovexattr(struct task *t, const uint64_t *args)
{
	return xattr_remove(t, by_path(args, true), args);
}

long sys_fremovexattr(struct task *t, const uint64_t *args)
{
	return xattr_remove(t, by_fd(args), args);
}
