// SPDX-License-Identifier: MIT
/*
 * open.c - opening files
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define VALID_OPEN_FLAGS                                                     \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |      \
	 O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT |                \
	 FILE_O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |           \
	 O_CLOEXEC | O_PATH | O_TMPFILE)
#define VALID_PATH_FLAGS (O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC)

/* What open(2) makes of flags it does not know: nothing. */
static int clean_flags(int flags)
{
	flags &= VALID_OPEN_FLAGS;
	if (flags & O_PATH)
		flags &= VALID_PATH_FLAGS;
	return flags;
}

static bool flags_take_mode(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

/*
 * The host call that opens. It blocks for a FIFO alone, so it is made in a way
 * that a signal can end.
 */
static long host_open(struct task *t, int dir, const char *path, int flags,
		      mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (unsigned int)flags | O_NOCTTY | O_CLOEXEC,
		.mode = flags_take_mode(flags) ? mode : 0,
		.resolve = resolve,
	};
	const long a[6] = { dir, (long)path, (long)&how, sizeof(how) };

	if (flags & O_PATH)
		how.flags &= ~(uint64_t)O_NOCTTY;
	return task_host_syscall(t, SYS_openat2, a);
}

/* A signal came: the open of a FIFO fails by it, any other one is repeated. */
static int interrupted_open(struct task *t, int dirfd, const char *path)
{
	struct loc loc;
	struct stat st;
	int err = -ERESTARTNOINTR;

	if (walk(t, dirfd, path, 0, &loc))
		return err;
	if (!loc_stat(t, &loc, &st) && S_ISFIFO(st.st_mode))
		err = -ERESTARTSYS;
	loc_put(&loc);
	return err;
}

static int open_existing(struct task *t, int dirfd, const char *path,
			 int flags, unsigned int wflags, struct file **out)
{
	struct loc loc;
	int err;

	if (flags & O_NOFOLLOW)
		wflags |= WALK_NOFOLLOW;
	if (flags & O_DIRECTORY)
		wflags |= WALK_DIRECTORY;
	err = walk(t, dirfd, path, wflags, &loc);
	if (err)
		return err;
	err = loc_open(t, &loc, flags, out);
	loc_put(&loc);
	return err;
}

/* O_CREAT in a pseudo file system: only for what is there already. */
static int pseudo_create(struct task *t, const struct loc *dir,
			 const char *name, int flags, struct file **out)
{
	struct loc loc = { .kind = LOC_PSEUDO };
	const struct pentry *e;
	int err;

	err = pseudo_lookup(t, &dir->node, name, &loc.node);
	if (err)
		return err == -ENOENT ? -EACCES : err;
	if (flags & O_EXCL)
		return -EEXIST;
	e = pnode_entry(&loc.node);
	if (S_ISDIR(e->mode))
		return -EISDIR;
	if (e->follow) {
		struct pnode node = loc.node;

		err = e->follow(t, &node, &loc);
		if (err)
			return err;
	}
	err = loc_open(t, &loc, flags, out);
	loc_put(&loc);
	return err;
}

static int create_in(struct task *t, const struct loc *dir,
		     const struct last *last, int flags, mode_t mode,
		     struct file **out)
{
	long fd;

	if (last->slash || !name_is_plain(last->name))
		return -EISDIR;
	if (dir->kind == LOC_PSEUDO)
		return pseudo_create(t, dir, last->name, flags, out);
	if (host_step_leaves(dir->at_root, last->name))
		return flags & O_EXCL ? -EEXIST : -EISDIR;
	fd = host_open(t, dir->fd, last->name, flags | O_NOFOLLOW, mode, 0);
	return fd < 0 ? (int)fd : host_file_new(t, (int)fd, flags, out);
}

static int open_create(struct task *t, int dirfd, const char *path, int flags,
		       mode_t mode, struct file **out)
{
	bool follow = !(flags & (O_NOFOLLOW | O_EXCL));
	struct last last;
	struct loc dir;
	int err;

	err = walk_parent(t, dirfd, path, follow, &dir, &last);
	if (err)
		return err;
	err = create_in(t, &dir, &last, flags, mode, out);
	loc_put(&dir);
	return err;
}

/* Open through the host's own resolution: -EXDEV if it cannot. */
static int open_fast(struct task *t, int dirfd, const char *path, int flags,
		     mode_t mode, struct file **out)
{
	struct fast_path fp;
	struct base base;
	long fd = -EXDEV;
	int err;

	err = base_get(t, dirfd, path, &base);
	if (err)
		return err;
	if (fast_path(task_vfs(t), &base, path, &fp)) {
		fd = host_open(t, fp.dir, fp.path, flags, mode, fp.resolve);
		if (fd < 0 && fd != -EINTR &&
		    (fp.by_name || fast_path_failed((int)fd)))
			fd = -EXDEV;
	}
	base_put(&base);
	if (fd < 0)
		return (int)fd;
	return host_file_new(t, (int)fd, flags, out);
}

static int do_open(struct task *t, int dirfd, const char *path, int flags,
		   mode_t mode, unsigned int wflags, struct file **out)
{
	int err = -EXDEV;

	if (!path[0])
		return -ENOENT;
	flags = clean_flags(flags);
	mode = mode & 07777 & ~fs_umask(t);
	if (!wflags)
		err = open_fast(t, dirfd, path, flags, mode, out);
	if (err == -EXDEV)
		err = flags & O_CREAT ?
			      open_create(t, dirfd, path, flags, mode, out) :
			      open_existing(t, dirfd, path, flags, wflags, out);
	if (unlikely(err == -EINTR || err == -ERESTARTSYS))
		err = interrupted_open(t, dirfd, path);
	return err;
}

int vfs_open(struct task *t, int dirfd, const char *path, int flags,
	     mode_t mode, struct file **out)
{
	return do_open(t, dirfd, path, flags, mode, 0, out);
}

/* May the caller execute it? Asked of the host, which knows of noexec. */
static int check_exec(struct task *t, struct file *f)
{
	struct stat st;
	int err = file_stat(t, f, &st);

	if (err)
		return err;
	if (!S_ISREG(st.st_mode) || !file_is_host(f))
		return -EACCES;
	return (int)host_ret(syscall(SYS_faccessat2, f->host_fd, "", X_OK,
				     AT_EMPTY_PATH | AT_EACCESS));
}

int vfs_open_exec(struct task *t, int dirfd, const char *path, int flags,
		  struct file **out)
{
	/* O_NONBLOCK: a FIFO is refused, not waited for. */
	int oflags = O_RDONLY | O_NONBLOCK;
	struct file *f;
	int err;

	if (flags & AT_SYMLINK_NOFOLLOW)
		oflags |= O_NOFOLLOW;
	if (!path[0] && flags & AT_EMPTY_PATH)
		err = open_existing(t, dirfd, path, oflags, WALK_EMPTY, &f);
	else
		err = do_open(t, dirfd, path, oflags, 0, 0, &f);
	if (err)
		return err;
	err = check_exec(t, f);
	if (err) {
		file_put(f);
		return err;
	}
	f->flags &= ~O_NONBLOCK;
	*out = f;
	return 0;
}

/* system calls */

static long open_at(struct task *t, int dirfd, uint64_t path, int flags,
		    mode_t mode, unsigned int wflags)
{
	struct user_path p;
	struct file *f;
	int err;

	err = user_path_get(t, &p, path);
	if (!err)
		err = do_open(t, dirfd, p.s, flags, mode, wflags, &f);
	return err ? err : fd_install(t, f, flags & O_CLOEXEC);
}

long sys_open(struct task *t, const uint64_t *args)
{
	return open_at(t, AT_FDCWD, args[0], (int)args[1], args[2], 0);
}

long sys_creat(struct task *t, const uint64_t *args)
{
	return open_at(t, AT_FDCWD, args[0], O_CREAT | O_WRONLY | O_TRUNC,
		       args[1], 0);
}

long sys_openat(struct task *t, const uint64_t *args)
{
	return open_at(t, (int)args[0], args[1], (int)args[2], args[3], 0);
}

static int import_open_how(struct task *t, struct open_how *how,
			   uint64_t addr, uint64_t size)
{
	char tail[64] = { 0 };
	size_t i;

	if (size < sizeof(*how))
		return -EINVAL;
	if (size > sizeof(*how) + sizeof(tail))
		return -E2BIG;
	if (copy_from_user(t, how, addr, sizeof(*how)) ||
	    copy_from_user(t, tail, addr + sizeof(*how), size - sizeof(*how)))
		return -EFAULT;
	for (i = 0; i < sizeof(tail); i++) {
		if (tail[i])
			return -E2BIG;
	}
	if (how->flags & ~(uint64_t)VALID_OPEN_FLAGS || how->mode & ~07777ull)
		return -EINVAL;
	if (how->mode && !flags_take_mode((int)how->flags))
		return -EINVAL;
	return 0;
}

/* RESOLVE_* bits that a walk of ours can promise. */
#define RESOLVE_KNOWN (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

long sys_openat2(struct task *t, const uint64_t *args)
{
	unsigned int wflags = 0;
	struct open_how how;
	int err;

	err = import_open_how(t, &how, args[2], args[3]);
	if (err)
		return err;
	if (how.resolve & ~(uint64_t)RESOLVE_KNOWN)
		return -EINVAL;
	if (how.resolve & RESOLVE_NO_SYMLINKS)
		wflags |= WALK_NO_SYMLINKS | WALK_NO_MAGICLINKS;
	if (how.resolve & RESOLVE_NO_MAGICLINKS)
		wflags |= WALK_NO_MAGICLINKS;
	if (wflags && how.flags & O_CREAT)
		return -EOPNOTSUPP;
	return open_at(t, (int)args[0], args[1], (int)how.flags, how.mode,
		       wflags);
}
