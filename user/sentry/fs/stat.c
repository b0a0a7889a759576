// SPDX-License-Identifier: MIT
/*
 * stat.c - stat, access and readlink families
 */
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

/* <linux/stat.h> repeats glibc's: only what glibc lacks is declared here. */
#define STATX_KNOWN_FLAGS                                             \
	(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | 0x6000)
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif

static unsigned int walk_flags(int at_flags)
{
	return (at_flags & AT_SYMLINK_NOFOLLOW ? WALK_NOFOLLOW : 0) |
	       (at_flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
}

/*
 * lstat() of a name in a host directory that is open already: one host call,
 * which follows nothing. 1: not such a case.
 */
static int stat_name(struct task *t, int dirfd, const char *path, int at_flags,
		     struct stat *st)
{
	struct base base;
	int err;

	if (!name_is_plain(path))
		return 1;
	err = base_get(t, dirfd, path, &base);
	if (err)
		return err;
	err = 1;
	if (base.loc->kind == LOC_HOST &&
	    !host_step_leaves(base.loc->at_root, path))
		err = (int)host_ret(fstatat(base.loc->fd, path, st,
					    AT_SYMLINK_NOFOLLOW));
	base_put(&base);
	if (!err && S_ISLNK(st->st_mode) && !(at_flags & AT_SYMLINK_NOFOLLOW))
		err = 1;
	return err;
}

static int stat_path(struct task *t, int dirfd, const char *path, int at_flags,
		     struct stat *st)
{
	struct loc loc;
	int err;

	err = stat_name(t, dirfd, path, at_flags, st);
	if (err <= 0)
		return err;
	err = walk(t, dirfd, path, walk_flags(at_flags), &loc);
	if (err)
		return err;
	err = loc_stat(t, &loc, st);
	loc_put(&loc);
	return err;
}

static int stat_fd(struct task *t, int fd, struct stat *st)
{
	struct file *f = fd_get(t, fd);
	int err;

	if (!f)
		return -EBADF;
	err = file_stat(t, f, st);
	file_put(f);
	return err;
}

static int do_stat(struct task *t, int dirfd, uint64_t path, int at_flags,
		   struct stat *st)
{
	struct user_path p;
	int err;

	if (!path && at_flags & AT_EMPTY_PATH)
		p.s[0] = '\0';
	else if ((err = user_path_get(t, &p, path)))
		return err;
	if (!p.s[0] && at_flags & AT_EMPTY_PATH && dirfd != AT_FDCWD)
		return stat_fd(t, dirfd, st);
	return stat_path(t, dirfd, p.s, at_flags, st);
}

static long put_stat(struct task *t, uint64_t addr, const struct stat *st,
		     int err)
{
	return err ? err : copy_to_user(t, addr, st, sizeof(*st));
}

long sys_stat(struct task *t, const uint64_t *args)
{
	struct stat st;
	int err = do_stat(t, AT_FDCWD, args[0], 0, &st);

	return put_stat(t, args[1], &st, err);
}

long sys_lstat(struct task *t, const uint64_t *args)
{
	struct stat st;
	int err = do_stat(t, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, &st);

	return put_stat(t, args[1], &st, err);
}

long sys_fstat(struct task *t, const uint64_t *args)
{
	struct stat st;
	int err = stat_fd(t, (int)args[0], &st);

	return put_stat(t, args[1], &st, err);
}

long sys_newfstatat(struct task *t, const uint64_t *args)
{
	int flags = (int)args[3];
	struct stat st;
	int err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	err = do_stat(t, (int)args[0], args[1], flags, &st);
	return put_stat(t, args[2], &st, err);
}

static struct statx_timestamp statx_time(const struct timespec *ts)
{
	return (struct statx_timestamp){ .tv_sec = ts->tv_sec,
					 .tv_nsec = (uint32_t)ts->tv_nsec };
}

static void statx_fill(struct statx *x, const struct stat *st)
{
	memset(x, 0, sizeof(*x));
	x->stx_mask = STATX_BASIC_STATS;
	x->stx_blksize = (uint32_t)st->st_blksize;
	x->stx_nlink = (uint32_t)st->st_nlink;
	x->stx_uid = st->st_uid;
	x->stx_gid = st->st_gid;
	x->stx_mode = (uint16_t)st->st_mode;
	x->stx_ino = st->st_ino;
	x->stx_size = (uint64_t)st->st_size;
	x->stx_blocks = (uint64_t)st->st_blocks;
	x->stx_atime = statx_time(&st->st_atim);
	x->stx_ctime = statx_time(&st->st_ctim);
	x->stx_mtime = statx_time(&st->st_mtim);
	x->stx_rdev_major = major(st->st_rdev);
	x->stx_rdev_minor = minor(st->st_rdev);
	x->stx_dev_major = major(st->st_dev);
	x->stx_dev_minor = minor(st->st_dev);
}

/* The time of birth and the like come from the host, if it is a host file. */
static int statx_loc(struct task *t, const struct loc *loc, unsigned int mask,
		     struct statx *x)
{
	struct stat st;
	int err;

	if (loc->kind == LOC_HOST) {
		err = (int)host_ret(statx(loc->fd, "", AT_EMPTY_PATH, mask, x));
		/* Mounts of the host mean nothing in the sandbox. */
		x->stx_mask &= ~STATX_MNT_ID;
		return err;
	}
	err = loc_stat(t, loc, &st);
	if (!err)
		statx_fill(x, &st);
	return err;
}

long sys_statx(struct task *t, const uint64_t *args)
{
	int flags = (int)args[2];
	struct user_path p = { .s = "" };
	struct statx x;
	struct loc loc;
	int err = 0;

	if (flags & ~STATX_KNOWN_FLAGS || args[3] & 0x80000000u ||
	    (flags & 0x6000) == 0x6000)
		return -EINVAL;
	if (args[1] || !(flags & AT_EMPTY_PATH))
		err = user_path_get(t, &p, args[1]);
	if (!err)
		err = walk(t, (int)args[0], p.s, walk_flags(flags), &loc);
	if (err)
		return err;
	memset(&x, 0, sizeof(x));
	err = statx_loc(t, &loc, (unsigned int)args[3], &x);
	loc_put(&loc);
	return err ? err : copy_to_user(t, args[4], &x, sizeof(x));
}

/* access */

static int access_mode(const struct stat *st, int mode)
{
	mode_t bits = st->st_mode;

	if (geteuid() == 0)
		return mode & X_OK && !(bits & 0111) ? -EACCES : 0;
	if (st->st_uid == geteuid())
		bits >>= 6;
	else if (st->st_gid == getegid())
		bits >>= 3;
	return (bits & (mode_t)mode) == (mode_t)mode ? 0 : -EACCES;
}

static int access_loc(struct task *t, const struct loc *loc, int mode,
		      int at_flags)
{
	struct stat st;
	int err;

	if (loc->kind == LOC_HOST)
		return (int)host_ret(syscall(SYS_faccessat2, loc->fd, "", mode,
					     AT_EMPTY_PATH |
						     (at_flags & AT_EACCESS)));
	err = loc_stat(t, loc, &st);
	if (err || mode == F_OK)
		return err;
	/* Permissions of a link are never asked for. */
	if (S_ISLNK(st.st_mode))
		return 0;
	return access_mode(&st, mode);
}

static long do_access(struct task *t, int dirfd, uint64_t path, int mode,
		      int flags)
{
	struct user_path p;
	struct loc loc;
	int err;

	if (mode & ~(R_OK | W_OK | X_OK) ||
	    flags & ~(AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH))
		return -EINVAL;
	err = user_path_get(t, &p, path);
	if (!err)
		err = walk(t, dirfd, p.s, walk_flags(flags), &loc);
	if (err)
		return err;
	err = access_loc(t, &loc, mode, flags);
	loc_put(&loc);
	return err;
}

long sys_access(struct task *t, const uint64_t *args)
{
	return do_access(t, AT_FDCWD, args[0], (int)args[1], 0);
}

long sys_faccessat(struct task *t, const uint64_t *args)
{
	return do_access(t, (int)args[0], args[1], (int)args[2], 0);
}

long sys_faccessat2(struct task *t, const uint64_t *args)
{
	return do_access(t, (int)args[0], args[1], (int)args[2],
			 (int)args[3]);
}

/* readlink */

static ssize_t readlink_loc(struct task *t, const struct loc *loc, char *buf,
			    size_t len)
{
	const struct pentry *e;
	ssize_t n;

	if (loc->kind == LOC_HOST) {
		n = readlinkat(loc->fd, "", buf, len);
		/* An empty path on what is no link: ENOENT on the host. */
		return n >= 0 ? n : errno == ENOENT ? -EINVAL : -errno;
	}
	if (loc->kind != LOC_PSEUDO)
		return -EINVAL;
	e = pnode_entry(&loc->node);
	return e->readlink && S_ISLNK(e->mode) ?
		       e->readlink(t, &loc->node, buf, len) : -EINVAL;
}

static long do_readlink(struct task *t, int dirfd, uint64_t path, uint64_t dst,
			int size)
{
	char text[PATH_MAX];
	struct user_path p;
	struct loc loc;
	ssize_t n;

	if (size <= 0)
		return -EINVAL;
	n = user_path_get(t, &p, path);
	if (!n)
		n = walk(t, dirfd, p.s,
			 WALK_NOFOLLOW | (dirfd == AT_FDCWD ? 0 : WALK_EMPTY),
			 &loc);
	if (n)
		return n;
	n = readlink_loc(t, &loc, text, sizeof(text));
	loc_put(&loc);
	if (n < 0)
		return n;
	n = MIN(n, size);
	return copy_to_user(t, dst, text, (size_t)n) ? -EFAULT : n;
}

long sys_readlink(struct task *t, const uint64_t *args)
{
	return do_readlink(t, AT_FDCWD, args[0], args[1], (int)args[2]);
}

long sys_readlinkat(struct task *t, const uint64_t *args)
{
	return do_readlink(t, (int)args[0], args[1], args[2], (int)args[3]);
}

/* statfs */

static int statfs_loc(const struct loc *loc, struct statfs *sfs)
{
	if (loc->kind == LOC_HOST)
		return (int)host_ret(fstatfs(loc->fd, sfs));
	if (loc->kind == LOC_FILE && file_is_host(loc->file))
		return (int)host_ret(fstatfs(loc->file->host_fd, sfs));
	memset(sfs, 0, sizeof(*sfs));
	sfs->f_bsize = sfs->f_frsize = PAGE_SIZE;
	sfs->f_namelen = NAME_MAX;
	sfs->f_type = PIPEFS_MAGIC;
	if (loc->kind == LOC_PSEUDO)
		sfs->f_type = loc->node.at[0] == &proc_root ? PROC_SUPER_MAGIC :
							      TMPFS_MAGIC;
	return 0;
}

long sys_statfs(struct task *t, const uint64_t *args)
{
	struct user_path p;
	struct statfs sfs;
	struct loc loc;
	int err;

	err = user_path_get(t, &p, args[0]);
	if (!err)
		err = walk(t, AT_FDCWD, p.s, 0, &loc);
	if (err)
		return err;
	err = statfs_loc(&loc, &sfs);
	loc_put(&loc);
	return err ? err : copy_to_user(t, args[1], &sfs, sizeof(sfs));
}

long sys_fstatfs(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get(t, (int)args[0]);
	struct statfs sfs;
	struct loc loc;
	int err;

	if (!f)
		return -EBADF;
	file_loc(f, &loc);
	err = statfs_loc(&loc, &sfs);
	file_put(f);
	return err ? err : copy_to_user(t, args[1], &sfs, sizeof(sfs));
}
