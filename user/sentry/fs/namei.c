// SPDX-License-Identifier: MIT
/*
 * namei.c - making, removing and renaming names
 *
 * All of them resolve the parent directory and let the host do the last step,
 * which never follows a link.
 */
#include <linux/fs.h>
#include <sys/sysmacros.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

/**
 * struct place - a name in a directory
 * @dir: the directory
 * @last: the name
 * @name: the name for the host, with a slash if the program's path had one
 */
struct place {
	struct loc dir;
	struct last last;
	char name[NAME_MAX + 2];
};

/* The name, if the program may create or remove it at all. */
static int place_get(struct task *t, int dirfd, uint64_t path,
		     struct place *pl)
{
	struct user_path p;
	int err;

	err = user_path_get(t, &p, path);
	if (!err)
		err = walk_parent(t, dirfd, p.s, false, &pl->dir, &pl->last);
	if (err)
		return err;
	snprintf(pl->name, sizeof(pl->name), "%s%s", pl->last.name,
		 pl->last.slash ? "/" : "");
	return 0;
}

static void place_put(struct place *pl)
{
	loc_put(&pl->dir);
}

/* Is the name one of a host directory, for the host to work on? */
static bool place_on_host(const struct place *pl)
{
	return pl->dir.kind == LOC_HOST &&
	       !host_step_leaves(pl->dir.at_root, pl->last.name);
}

/* What creating a name gives that cannot be created. */
static int create_error(struct task *t, const struct place *pl)
{
	struct pnode n;

	if (pl->dir.kind != LOC_PSEUDO || !name_is_plain(pl->last.name))
		return -EEXIST;
	return pseudo_lookup(t, &pl->dir.node, pl->last.name, &n) ? -EPERM :
								     -EEXIST;
}

/* What removing a name gives that cannot be removed. */
static int remove_error(struct task *t, const struct place *pl, bool dir)
{
	struct pnode n;

	if (!strcmp(pl->last.name, "/"))
		return dir ? -EBUSY : -EISDIR;
	if (!strcmp(pl->last.name, "."))
		return dir ? -EINVAL : -EISDIR;
	if (!strcmp(pl->last.name, ".."))
		return dir ? -ENOTEMPTY : -EISDIR;
	if (pl->dir.kind != LOC_PSEUDO)
		return -EBUSY;
	return pseudo_lookup(t, &pl->dir.node, pl->last.name, &n) ? -ENOENT :
								     -EPERM;
}

/* mkdir, mknod */

static long do_mkdir(struct task *t, int dirfd, uint64_t path, mode_t mode)
{
	struct place pl;
	int err;

	err = place_get(t, dirfd, path, &pl);
	if (err)
		return err;
	err = place_on_host(&pl) ?
		      (int)host_ret(mkdirat(pl.dir.fd, pl.name,
					    mode & 01777 & ~fs_umask(t))) :
		      create_error(t, &pl);
	place_put(&pl);
	return err;
}

long sys_mkdir(struct task *t, const uint64_t *args)
{
	return do_mkdir(t, AT_FDCWD, args[0], args[1]);
}

long sys_mkdirat(struct task *t, const uint64_t *args)
{
	return do_mkdir(t, (int)args[0], args[1], args[2]);
}

static long do_mknod(struct task *t, int dirfd, uint64_t path, mode_t mode)
{
	struct place pl;
	int err;

	if (mode_is_device(mode))
		return -EPERM;
	err = place_get(t, dirfd, path, &pl);
	if (err)
		return err;
	err = place_on_host(&pl) ?
		      (int)host_ret(mknodat(pl.dir.fd, pl.name,
					    mode & ~fs_umask(t), 0)) :
		      create_error(t, &pl);
	place_put(&pl);
	return err;
}

long sys_mknod(struct task *t, const uint64_t *args)
{
	return do_mknod(t, AT_FDCWD, args[0], args[1]);
}

long sys_mknodat(struct task *t, const uint64_t *args)
{
	return do_mknod(t, (int)args[0], args[1], args[2]);
}

/* unlink, rmdir */

static long do_unlink(struct task *t, int dirfd, uint64_t path, int flags)
{
	struct place pl;
	int err;

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	err = place_get(t, dirfd, path, &pl);
	if (err)
		return err;
	err = place_on_host(&pl) ?
		      (int)host_ret(unlinkat(pl.dir.fd, pl.name, flags)) :
		      remove_error(t, &pl, flags & AT_REMOVEDIR);
	place_put(&pl);
	return err;
}

long sys_unlink(struct task *t, const uint64_t *args)
{
	return do_unlink(t, AT_FDCWD, args[0], 0);
}

long sys_rmdir(struct task *t, const uint64_t *args)
{
	return do_unlink(t, AT_FDCWD, args[0], AT_REMOVEDIR);
}

long sys_unlinkat(struct task *t, const uint64_t *args)
{
	return do_unlink(t, (int)args[0], args[1], (int)args[2]);
}

/* rename */

static int rename_places(struct task *t, const struct place *from,
			 const struct place *to, unsigned int flags)
{
	if (!name_is_plain(from->last.name) || !name_is_plain(to->last.name))
		return -EBUSY;
	if (place_on_host(from) && place_on_host(to))
		return (int)host_ret(renameat2(from->dir.fd, from->name,
					       to->dir.fd, to->name, flags));
	if (from->dir.kind != LOC_PSEUDO && to->dir.kind != LOC_PSEUDO)
		return -EBUSY;
	return -EXDEV;
}

static long do_rename(struct task *t, int from_fd, uint64_t from, int to_fd,
		      uint64_t to, unsigned int flags)
{
	struct place a, b;
	int err;

	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = place_get(t, from_fd, from, &a);
	if (err)
		return err;
	err = place_get(t, to_fd, to, &b);
	if (!err) {
		err = rename_places(t, &a, &b, flags);
		place_put(&b);
	}
	place_put(&a);
	return err;
}

long sys_rename(struct task *t, const uint64_t *args)
{
	return do_rename(t, AT_FDCWD, args[0], AT_FDCWD, args[1], 0);
}

long sys_renameat(struct task *t, const uint64_t *args)
{
	return do_rename(t, (int)args[0], args[1], (int)args[2], args[3], 0);
}

long sys_renameat2(struct task *t, const uint64_t *args)
{
	return do_rename(t, (int)args[0], args[1], (int)args[2], args[3],
			 (unsigned int)args[4]);
}

/* link, symlink */

/* Give the host object at @from a name more. */
static int link_loc(struct task *t, const struct loc *from,
		    const struct place *to)
{
	char link[16];

	if (!place_on_host(to))
		return to->dir.kind == LOC_PSEUDO ? -EXDEV : create_error(t, to);
	if (from->kind != LOC_HOST)
		return -EXDEV;
	/* AT_EMPTY_PATH would need a capability; the link of procfs does not. */
	snprintf(link, sizeof(link), "%d", from->fd);
	return (int)host_ret(linkat(task_vfs(t)->host_fds, link, to->dir.fd,
				    to->name, AT_SYMLINK_FOLLOW));
}

static long do_link(struct task *t, int from_fd, uint64_t from, int to_fd,
		    uint64_t to, int flags)
{
	unsigned int wflags = flags & AT_SYMLINK_FOLLOW ? 0 : WALK_NOFOLLOW;
	struct user_path p;
	struct place pl;
	struct loc loc;
	int err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (flags & AT_EMPTY_PATH)
		wflags |= WALK_EMPTY;
	err = user_path_get(t, &p, from);
	if (!err)
		err = walk(t, from_fd, p.s, wflags, &loc);
	if (err)
		return err;
	err = place_get(t, to_fd, to, &pl);
	if (!err) {
		err = link_loc(t, &loc, &pl);
		place_put(&pl);
	}
	loc_put(&loc);
	return err;
}

long sys_link(struct task *t, const uint64_t *args)
{
	return do_link(t, AT_FDCWD, args[0], AT_FDCWD, args[1], 0);
}

long sys_linkat(struct task *t, const uint64_t *args)
{
	return do_link(t, (int)args[0], args[1], (int)args[2], args[3],
		       (int)args[4]);
}

static long do_symlink(struct task *t, uint64_t text, int dirfd, uint64_t path)
{
	struct user_path target;
	struct place pl;
	int err;

	err = user_path_get(t, &target, text);
	if (!err && !target.s[0])
		err = -ENOENT;
	if (!err)
		err = place_get(t, dirfd, path, &pl);
	if (err)
		return err;
	err = place_on_host(&pl) ?
		      (int)host_ret(symlinkat(target.s, pl.dir.fd, pl.name)) :
		      create_error(t, &pl);
	place_put(&pl);
	return err;
}

long sys_symlink(struct task *t, const uint64_t *args)
{
	return do_symlink(t, args[0], AT_FDCWD, args[1]);
}

long sys_symlinkat(struct task *t, const uint64_t *args)
{
	return do_symlink(t, args[0], (int)args[1], args[2]);
}

/* mounts are the sandbox's own affair */

long sys_mount(struct task *t, const uint64_t *args)
{
	return -EPERM;
}

long sys_umount2(struct task *t, const uint64_t *args)
{
	return -EPERM;
}
