// SPDX-License-Identifier: MIT
/*
 * dir.c - reading directories, and the current one
 */
#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define GETDENTS_MAX (64u << 10)

/* The common case: the program's buffer is one piece, and used in place. */
static long getdents_direct(struct task *t, struct file *f, uint64_t addr,
			    size_t len)
{
	struct user_buffer ub;
	ssize_t pinned;
	long n;

	pinned = user_buffer_pin(t, &ub, addr, len, true);
	if (pinned <= 0)
		return pinned ? pinned : -EINVAL;
	n = -EAGAIN;
	if (ub.iovcnt == 1 && (size_t)pinned == len)
		n = f->ops->getdents(t, f, ub.iov[0].iov_base, len);
	user_buffer_unpin(&ub, n > 0 ? (size_t)n : 0);
	return n;
}

static long getdents_bounce(struct task *t, struct file *f, uint64_t addr,
			    size_t len)
{
	void *buf = malloc(len);
	long n;

	if (!buf)
		return -ENOMEM;
	n = f->ops->getdents(t, f, buf, len);
	if (n > 0 && copy_to_user(t, addr, buf, (size_t)n))
		n = -EFAULT;
	free(buf);
	return n;
}

long sys_getdents64(struct task *t, const uint64_t *args)
{
	size_t len = MIN((unsigned int)args[2], GETDENTS_MAX);
	struct file *f = fd_get_io(t, (int)args[0]);
	long n = -ENOTDIR;

	if (!f)
		return -EBADF;
	if (f->ops->getdents) {
		n = getdents_direct(t, f, args[1], len);
		if (n == -EAGAIN)
			n = getdents_bounce(t, f, args[1], len);
	}
	file_put(f);
	return n;
}

/* getdents: the old format, with the type behind the name */

struct dirent64_head {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
};

#define D64_NAME 19
#define D32_NAME 18

/* Rewrite one entry in place; it never grows. Its length. */
static size_t dirent_to_old(char *p)
{
	struct dirent64_head h;
	size_t n;

	memcpy(&h, p, D64_NAME);
	n = strlen(p + D64_NAME);
	memcpy(p + 16, &h.reclen, sizeof(h.reclen));
	memmove(p + D32_NAME, p + D64_NAME, n + 1);
	memset(p + D32_NAME + n + 1, 0, h.reclen - D32_NAME - n - 1);
	p[h.reclen - 1] = (char)h.type;
	return h.reclen;
}

long sys_getdents(struct task *t, const uint64_t *args)
{
	size_t len = MIN((unsigned int)args[2], GETDENTS_MAX), at;
	struct file *f = fd_get_io(t, (int)args[0]);
	char *buf = malloc(len ? len : 1);
	long n = -ENOTDIR;

	if (!f || !buf) {
		file_put(f);
		free(buf);
		return f ? -ENOMEM : -EBADF;
	}
	if (f->ops->getdents)
		n = f->ops->getdents(t, f, buf, len);
	for (at = 0; n > 0 && at < (size_t)n;)
		at += dirent_to_old(buf + at);
	if (n > 0 && copy_to_user(t, args[1], buf, (size_t)n))
		n = -EFAULT;
	file_put(f);
	free(buf);
	return n;
}

/* the current directory */

long sys_getcwd(struct task *t, const uint64_t *args)
{
	struct cwd *cwd = cwd_get(t->fs);
	char name[PATH_MAX];
	struct stat st;
	size_t len;
	int err;

	err = loc_stat(t, &cwd->loc, &st);
	if (!err && !st.st_nlink)
		err = -ENOENT;
	if (!err)
		err = loc_name(t, &cwd->loc, name, sizeof(name));
	cwd_put(cwd);
	if (err)
		return err;
	len = strlen(name) + 1;
	if (len > args[1])
		return -ERANGE;
	return copy_to_user(t, args[0], name, len) ? -EFAULT : (long)len;
}

/* May the caller search it? Also fills in what a directory in use needs. */
static int prepare_dir(struct task *t, struct loc *loc)
{
	struct stat st;
	int err;

	err = loc_stat(t, loc, &st);
	if (err)
		return err;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (loc->kind != LOC_HOST)
		return 0;
	loc->at_root = vfs_at_root(task_vfs(t), &st);
	loc->dev = st.st_dev;
	return (int)host_ret(syscall(SYS_faccessat2, loc->fd, "", X_OK,
				     AT_EMPTY_PATH | AT_EACCESS));
}

long sys_chdir(struct task *t, const uint64_t *args)
{
	struct user_path p;
	struct loc loc;
	int err;

	err = user_path_get(t, &p, args[0]);
	if (!err)
		err = walk(t, AT_FDCWD, p.s, WALK_DIRECTORY, &loc);
	if (err)
		return err;
	err = prepare_dir(t, &loc);
	if (err) {
		loc_put(&loc);
		return err;
	}
	return fs_context_chdir(t->fs, &loc);
}

long sys_fchdir(struct task *t, const uint64_t *args)
{
	struct file *f = fd_get(t, (int)args[0]);
	struct loc at, loc;
	int err;

	if (!f)
		return -EBADF;
	file_loc(f, &at);
	err = at.kind == LOC_FILE ? -ENOTDIR : loc_dup(&at, &loc);
	file_put(f);
	if (err)
		return err;
	err = prepare_dir(t, &loc);
	if (err) {
		loc_put(&loc);
		return err;
	}
	return fs_context_chdir(t->fs, &loc);
}

long sys_chroot(struct task *t, const uint64_t *args)
{
	return -EPERM;
}

long sys_umask(struct task *t, const uint64_t *args)
{
	return (long)atomic_exchange(&t->fs->umask, args[0] & 0777);
}
