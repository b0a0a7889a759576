/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of fs/ share
 *
 * Three kinds of places exist in the tree that the program sees: objects of the
 * host below a host directory (host_mount), nodes of the sentry's own file
 * systems (pseudo.h), and open files that a link of /proc leads to. A struct
 * loc names one of them.
 *
 * Confinement: a host descriptor is only ever obtained by openat2() below a
 * mount's own descriptor, by one O_NOFOLLOW step down from a directory so
 * obtained, or from an open file. No path of the program is ever resolved
 * by the host outside of a mount.
 */
#ifndef _SENTRY_FS_INTERNAL_H
#define _SENTRY_FS_INTERNAL_H

#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sentry/fs.h"
#include "sentry/fs/pseudo.h"
#include "sentry/mm.h"
#include "sentry/task.h"

/* glibc defines O_LARGEFILE as 0 on x86-64; F_GETFL shows the kernel's. */
#define FILE_O_LARGEFILE 0100000

/* At most this much per call of read(2) and its kin, as in Linux. */
#define MAX_RW_COUNT (INT_MAX & PAGE_MASK)

/* mounts */

#define HOST_MOUNTS 2
#define HOST_TTYS 3

/**
 * struct host_mount - a host directory in the tree of the sandbox
 * @fd: O_PATH descriptor
 * @dev: its device
 * @ino: its inode
 * @host_name: its name on the host, without a slash at the end ("" for "/")
 * @name: where the sandbox sees it, in the same form
 */
struct host_mount {
	int fd;
	dev_t dev;
	ino_t ino;
	char *host_name;
	const char *name;
};

#define HOST_ANCHORS 8

/**
 * struct host_anchor - a mount of the host right below the root
 * @name: its name there ("tmp")
 * @fd: O_PATH descriptor; a mount point can be neither renamed nor removed, so
 *	name and descriptor stay one
 */
struct host_anchor {
	char name[32];
	int fd;
};

/**
 * struct vfs - the file system tree of a sandbox
 * @mounts: host directories; the first is "/"
 * @nr_mounts: of these
 * @anchors: where paths may begin that the root's own mount cannot resolve
 * @nr_anchors: of these
 * @host_proc: host's /proc, for texts that are passed on
 * @host_fds: host's /proc/self/fd, for names of host descriptors
 * @covered: /proc and /dev of the host root are mount points, so that the host
 *	itself refuses (RESOLVE_NO_XDEV) whatever would lead into them
 * @ttys: terminals of the host among the first descriptors
 * @umask: the host process's, before the sentry made it 0; the first task's
 */
struct vfs {
	struct host_mount mounts[HOST_MOUNTS];
	int nr_mounts;
	struct host_anchor anchors[HOST_ANCHORS];
	int nr_anchors;
	int host_proc;
	int host_fds;
	bool covered;
	struct file *ttys[HOST_TTYS];
	mode_t umask;
};

/* places */

enum loc_kind {
	LOC_NONE,
	LOC_HOST,
	LOC_PSEUDO,
	LOC_FILE,
};

/**
 * struct loc - a place in the tree
 * @kind: which of the following count
 * @owned: LOC_HOST: @fd is closed by loc_put()
 * @at_root: LOC_HOST: as in struct file
 * @fd: LOC_HOST: host descriptor (O_PATH or a directory)
 * @dev: LOC_HOST: host device it is on; 0: not known
 * @file: LOC_FILE: the file, a reference; LOC_HOST: a reference that keeps a
 *	borrowed @fd open, or NULL
 * @node: LOC_PSEUDO
 */
struct loc {
	enum loc_kind kind;
	bool owned;
	uint8_t at_root;
	int fd;
	dev_t dev;
	struct file *file;
	struct pnode node;
};

void loc_put(struct loc *loc);
/* A second name for it, that borrows nothing from @src: 0 or -errno. */
int loc_dup(const struct loc *src, struct loc *dst);
bool loc_is_dir(struct task *t, const struct loc *loc);
/* The path the program would use for it: 0 or -ENOENT, -ENAMETOOLONG. */
int loc_name(struct task *t, const struct loc *loc, char *buf, size_t len);
int loc_stat(struct task *t, const struct loc *loc, struct stat *st);
/* Open it: what open(2) does once the walk is over. */
int loc_open(struct task *t, const struct loc *loc, int flags,
	     struct file **out);

/* The place an open file is; @loc borrows the caller's reference. */
void file_loc(struct file *f, struct loc *loc);

/* cwd, root, umask */

/* A directory that several contexts may share; never changes. */
struct cwd {
	atomic_uint refs;
	struct loc loc;
};

struct fs_context {
	atomic_uint refs;
	pthread_mutex_t lock; /* cwd of a context that tasks share */
	struct cwd *cwd;
	atomic_uint umask;
};

/* The caller's current directory, a reference. */
struct cwd *cwd_get(struct fs_context *fs);
void cwd_put(struct cwd *cwd);
/* Make @loc (consumed) the current directory: 0 or -ENOMEM. */
int fs_context_chdir(struct fs_context *fs, struct loc *loc);

static inline mode_t fs_umask(struct task *t)
{
	return atomic_load_explicit(&t->fs->umask, memory_order_relaxed);
}

static inline struct vfs *task_vfs(struct task *t)
{
	return t->kernel->vfs;
}

/* Name in the sandbox of what a host descriptor refers to: 0 or -errno. */
int vfs_host_name(struct vfs *vfs, int host_fd, char *buf, size_t len);
/* Is it on a file system of the host that the sandbox must not enter? */
bool host_fs_refused(int fd);
/* Which mount's top this is, plus one; 0: none. */
uint8_t vfs_at_root(const struct vfs *vfs, const struct stat *st);
/* Mount below which a name of the sandbox lies, and the rest of the name. */
const struct host_mount *vfs_find_mount(const struct vfs *vfs, const char *name,
					const char **rest);

/* Is it a name below the root's /proc, /dev or /sys, which are the sentry's? */
bool vfs_name_covered(const struct vfs *vfs, const char *name);

/* walk.c, fast_path.c */

#define WALK_NOFOLLOW 1u /* a link at the end is the result */
#define WALK_DIRECTORY 2u /* -ENOTDIR for anything else */
#define WALK_EMPTY 4u /* "" is the directory itself (AT_EMPTY_PATH) */
#define WALK_NO_SYMLINKS 8u /* openat2(): -ELOOP for any link */
#define WALK_NO_MAGICLINKS 16u

/**
 * walk() - resolve a path
 * @t: task
 * @dirfd: where relative paths begin
 * @path: sentry memory
 * @flags: WALK_* bits
 * @out: set on success; for loc_put()
 *
 * Return: 0 or -errno.
 */
int walk(struct task *t, int dirfd, const char *path, unsigned int flags,
	 struct loc *out);

/**
 * struct last - last component of a path
 * @name: the component; "/" if the path has none; may be "." or ".."
 * @slash: slashes follow it
 */
struct last {
	char name[NAME_MAX + 1];
	bool slash;
};

/*
 * Resolve all but the last component. With @follow, links at the end are
 * resolved until the last component is none.
 */
int walk_parent(struct task *t, int dirfd, const char *path, bool follow,
		struct loc *dir, struct last *last);

/*
 * Does a step @name down from a host directory leave the host file system?
 * (/proc, /dev, /sys of the root; "." and ".." too: not one step down.)
 */
bool host_step_leaves(uint8_t at_root, const char *name);
/* One component that is an ordinary name? */
static inline bool name_is_plain(const char *name)
{
	return name[0] && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}

/* Where a relative path begins, borrowed: see struct base. */
struct base {
	const struct loc *loc;
	struct cwd *cwd; /* references that keep loc */
	struct file *file;
	struct loc storage;
};

/* What the host resolved may be the top of a mount; @to is put if that fails. */
int host_arrive(const struct vfs *vfs, struct loc *to);
/* The root directory; borrows the mount's descriptor. */
void root_loc(const struct vfs *vfs, struct loc *loc);
/* Does a path from the root begin with /proc, /dev or /sys? */
bool leaves_at_root(const char *path);
/* Is one of the components ".."? */
bool has_dotdot(const char *path);

int base_get(struct task *t, int dirfd, const char *path, struct base *base);
void base_put(struct base *base);

/**
 * struct fast_path - arguments of openat2() that resolve a path in one call
 * @dir: where to begin
 * @path: from there
 * @resolve: RESOLVE_* bits
 * @by_name: goes by the present name of the base: an error proves nothing
 * @buf: storage for @path
 */
struct fast_path {
	int dir;
	const char *path;
	uint64_t resolve;
	bool by_name;
	char buf[PATH_MAX];
};

/* Can the host resolve @path below @base in one call? Then @fp is filled in. */
bool fast_path(struct vfs *vfs, const struct base *base, const char *path,
	       struct fast_path *fp);
/* Is the host's answer one that only a component walk can give? */
bool fast_path_failed(int err);
/* Make the call: a descriptor; -EXDEV if a walk is needed; or -errno. */
int fast_open_path(const struct fast_path *fp, int flags);

static inline long host_openat2(int dir, const char *path, int flags,
				mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (unsigned int)flags,
		.mode = mode,
		.resolve = resolve,
	};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* host_file.c */

extern const struct file_ops host_regular_ops, host_dir_ops, host_stream_ops;
extern const struct file_ops host_path_ops;
extern const struct file_ops pseudo_dir_ops, pseudo_path_ops;
/*
 * A file for a host descriptor (consumed, on failure too) that was opened
 * with @flags. Refuses devices: -ENXIO.
 */
int host_file_new(struct task *t, int host_fd, int flags, struct file **out);
/* The same for a descriptor inherited from the host. */
int host_file_import(struct vfs *vfs, int host_fd, struct file **out);
/* Open a host place again, by its descriptor. */
int host_reopen(struct task *t, int host_fd, int flags, struct file **out);

/*
 * anon.c: install a descriptor that the host has just made (consumed), or pass
 * on its -errno.
 */
long host_anon_install(struct task *t, const struct file_ops *ops, long fd,
		       int flags, bool cloexec);

/* tty.c: terminals of the host, known by the descriptors they came in by. */

extern const struct file_ops host_tty_ops;
/* Remember a terminal (consumes a reference) for /dev/tty and its own name. */
void tty_remember(struct vfs *vfs, struct file *f);
/* A remembered terminal by device number or by its name below /dev/. */
struct file *tty_by_rdev(struct vfs *vfs, dev_t rdev);
struct file *tty_by_name(struct vfs *vfs, const char *name);

/* An ioctl of a terminal that the host carries out as it is. */
long tty_host_ioctl(struct task *t, struct file *f, unsigned int cmd,
		    uint64_t arg);

/* pty.c */

/* The slave of a pty by device number, opened for it; or NULL. */
struct file *pty_by_rdev(dev_t rdev);
/* Number of the @index'th pty: false behind the last. */
bool pty_nth(unsigned int index, int *num);
int ptmx_open(struct task *t, const struct pnode *n, int flags,
	      struct file **out);

/* Blocking I/O on a host stream: as file_ops.readv and writev. */
ssize_t host_stream_readv(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off);
ssize_t host_stream_writev(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off);
int host_set_flags(struct task *t, struct file *f, int flags);

/* file.c */

/* As fd_get(), but NULL for O_PATH files as well. */
struct file *fd_get_io(struct task *t, int fd);
/* SIGPIPE for the caller; returns -EPIPE. */
long file_sigpipe(struct task *t);

static inline bool file_readable(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_WRONLY;
}

static inline bool file_writable(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY;
}

static inline bool file_nonblock(const struct file *f)
{
	return f->flags & O_NONBLOCK;
}

static inline bool file_is_host(const struct file *f)
{
	return f->host_fd >= 0;
}

/* A fresh inode number for pipes and the like. */
uint64_t anon_inode(void);
/* Fill in what fstat(2) of a file of the sentry's own shows. */
void anon_stat(struct stat *st, mode_t mode, uint64_t ino);

/* Read or write all of it through the file's operations, from sentry memory. */
ssize_t file_read_buf(struct task *t, struct file *f, void *buf, size_t len,
		      off_t off);
ssize_t file_write_buf(struct task *t, struct file *f, const void *buf,
		       size_t len, off_t off);

/* size_limit.c */

/* RLIMIT_FSIZE of the caller; RLIM_INFINITY: none. */
uint64_t size_limit(struct task *t);
/* May a file become @size long? 0, or -EFBIG with SIGXFSZ sent. */
int size_limit_check(struct task *t, uint64_t size);
/* As file_ops.writev of a regular host file, up to the limit. */
ssize_t size_limit_writev(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off);

/* fd_table.c */

/* Call @fn for each descriptor from @from on until it returns non-zero. */
int fd_table_for_each(struct fd_table *ft, int from,
		      int (*fn)(int fd, struct file *f, void *arg), void *arg);
/* The file of a descriptor in any table, a reference, or NULL. */
struct file *fd_table_lookup(struct fd_table *ft, int fd, bool *cloexec);
int fd_table_size(struct fd_table *ft);

/* pipe.c */

extern const struct file_ops pipe_ops;
/* Both ends of a new pipe: 0 or -ENOMEM. */
int pipe_pair(int flags, struct file *ends[2]);
/* Bytes to read; -1 if it is no pipe. */
ssize_t pipe_size(struct file *f);
long pipe_fcntl(struct task *t, struct file *f, int cmd, uint64_t arg);

/* poll.c */

/* Deadline for a time from now; 0 for no time at all. */
uint64_t poll_deadline(uint64_t ns);
/* From a struct timespec of the program; FOREVER if there is none. */
int poll_import_timeout(struct task *t, uint64_t addr, uint64_t *deadline);
/* Take on the program's signal mask for a wait, if it gave one. */
int poll_import_sigmask(struct task *t, uint64_t addr, uint64_t size,
			bool *saved);

/**
 * struct queue_poll - a wait for a queue and for a descriptor of the host
 * @t: who waits
 * @q: the queue
 * @w: on it
 * @kick_fd: ends a sleep in the host; -1 until there is such a sleep
 */
struct queue_poll {
	struct task *t;
	struct wait_queue *q;
	struct waiter w;
	int kick_fd;
};

void queue_poll_begin(struct queue_poll *qp, struct task *t,
		      struct wait_queue *q);
void queue_poll_end(struct queue_poll *qp);
/* Until @q is woken or @host_fd (or -1) can be read: as task_block(). */
int queue_poll_sleep(struct queue_poll *qp, int host_fd, uint64_t deadline);

/* epoll.c: a file goes away, and with it what watches it. */
void epoll_forget(struct file *f);

/* Path argument of a system call. */
struct user_path {
	char s[PATH_MAX];
};

static inline int user_path_get(struct task *t, struct user_path *p,
				uint64_t addr)
{
	ssize_t n = strncpy_from_user(t, p->s, addr, sizeof(p->s));

	return n < 0 ? (int)n : 0;
}

/* -errno of the last libc call, or its result. */
static inline long host_ret(long r)
{
	return r < 0 ? -errno : r;
}

/* What an interrupted blocking host call means to the program. */
static inline long restart_ret(long r)
{
	return r == -EINTR ? -ERESTARTSYS : r;
}

static inline bool mode_is_device(mode_t mode)
{
	return S_ISCHR(mode) || S_ISBLK(mode);
}

#endif /* _SENTRY_FS_INTERNAL_H */
