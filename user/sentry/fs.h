/* SPDX-License-Identifier: MIT */
/*
 * fs.h - files and descriptors of the sandboxed program
 *
 * A file is an open file description: what descriptors of one or several
 * processes refer to. What stands behind it (a host file, a pipe, a file of
 * procfs, a device) is told by its operations.
 */
#ifndef _SENTRY_FS_H
#define _SENTRY_FS_H

#include <fcntl.h>
#include <poll.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "sentry/kernel.h"
#include "sentry/wait.h"

struct file;
struct fd_table;
struct fs_context;

struct file_view;

/**
 * struct file_mmap - what mm/ maps for a file, filled by file_ops.mmap
 * @host_fd: host file to map directly at the same offset; or -1
 * @memory_off: else: offset in the memory file that file offset 0 stands at
 * @memory_len: bytes there; to be mapped at offset 0, and no more than these
 * @anonymous: else: as anonymous memory (/dev/zero)
 * @sealable: seals may have the host refuse to map it (memfd)
 * @copied: the host refuses; what is private shows copies of its pages
 */
struct file_mmap {
	int host_fd;
	uint64_t memory_off, memory_len;
	bool anonymous, sealable, copied;
};

/**
 * struct file_ops - behaviour of a kind of file
 * @kind: name of the kind
 * @release: the last reference is gone; frees what is private
 * @readv: read into sentry memory; @off: file offset, or -1 for "at the
 *	position" (pipes and the like ignore it). Blocks unless O_NONBLOCK.
 * @writev: likewise
 * @user_io: read, or with @write write, all of @iov, which are program addresses,
 *	in one operation: where the pieces of a vector must not be told apart
 *	(messages). NULL: readv and writev on pinned pieces.
 * @llseek, @ioctl (argument is a program address), @getdents, @fsync, @fstat, @truncate: as the
 *	system calls; NULL gives ESPIPE, ENOTTY, ENOTDIR, EINVAL
 * @poll: events ready now. With @w: put @w on the queues that tell of changes (removed by
 *	@poll_done). A file with host_poll set is polled on the host instead.
 * @mmap: see struct file_mmap; NULL gives ENODEV
 * @vma_open, @vma_close: a mapping of it has come to be (by mmap, fork, a split), or
 *	has ended; mm.lock is held. NULL: nobody counts them
 * @reopen: open what is behind it anew, as open(2) of /proc/self/fd/N does;
 *	NULL gives ENXIO
 * @name: for /proc/self/fd and maps; NULL: the host's name of host_fd
 * @set_flags: fcntl(F_SETFL) is about to change file.flags to @flags; NULL:
 *	nothing else to do
 *
 * All return a result or -errno (-ERESTARTSYS if interrupted).
 */
struct file_ops {
	const char *kind;
	void (*release)(struct file *f);
	ssize_t (*readv)(struct task *t, struct file *f,
			 const struct iovec *iov, int cnt, off_t off);
	ssize_t (*writev)(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off);
	ssize_t (*user_io)(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, bool write);
	off_t (*llseek)(struct task *t, struct file *f, off_t off, int whence);
	long (*ioctl)(struct task *t, struct file *f, unsigned int cmd,
		      uint64_t arg);
	long (*getdents)(struct task *t, struct file *f, void *buf,
			 size_t len);
	int (*fsync)(struct task *t, struct file *f, bool data_only);
	int (*fstat)(struct task *t, struct file *f, struct stat *st);
	int (*truncate)(struct task *t, struct file *f, off_t len);
	short (*poll)(struct task *t, struct file *f, struct waiter *w);
	void (*poll_done)(struct task *t, struct file *f, struct waiter *w);
	int (*mmap)(struct task *t, struct file *f, struct file_mmap *out);
	void (*vma_open)(struct file *f);
	void (*vma_close)(struct file *f);
	int (*reopen)(struct task *t, struct file *f, int flags,
		      struct file **out);
	void (*name)(struct file *f, char *buf, size_t len);
	int (*set_flags)(struct task *t, struct file *f, int flags);
};

/**
 * struct file - an open file description
 * @ops: what it is
 * @refs: descriptors, mappings and calls that use it
 * @flags: O_ACCMODE, O_APPEND, O_NONBLOCK, O_PATH, ... as F_GETFL shows them
 * @host_fd: host descriptor behind it, or -1; owned
 * @host_poll: readiness is that of host_fd
 * @host_shared: host_fd's open file description belongs to others too (stdio):
 *	its host flags are not ours to change
 * @foreign: the host process came with it, and it need not be below the root: to
 *	be used as it is, not to be opened with other rights, linked or changed
 * @at_root: host directory that is the top of mount number at_root - 1
 * @watchers: epoll items that watch it; fs/epoll.c
 * @pos: position, for kinds that keep their own; under @lock
 * @priv: belongs to @ops
 * @view: the sentry's mapping of a host file, or NULL; mm/host_file.c
 * @view_wanted: how often there was none
 * @mappable: the host is known to be able to map it, now and always
 */
struct file {
	const struct file_ops *ops;
	atomic_uint refs;
	atomic_int flags;
	int host_fd;
	bool host_poll;
	bool host_shared;
	bool foreign;
	uint8_t at_root;
	LIST_HEAD(, epoll_item) watchers;
	pthread_mutex_t lock;
	off_t pos;
	void *priv;
	_Atomic(struct file_view *) view;
	atomic_uint view_wanted;
	atomic_bool mappable;
};

/* Gives up the sentry's mapping of @f, which nobody else uses; mm/host_file.c. */
void file_view_drop(struct file *f);

struct file *file_get(struct file *f);
void file_put(struct file *f);
/* A new file with one reference, or NULL. */
struct file *file_alloc(const struct file_ops *ops, int flags);

/* Read at an offset into sentry memory; short at the end. For the loader. */
ssize_t file_pread(struct task *t, struct file *f, void *buf, size_t len,
		   off_t off);
/* What mm/ shows in maps: "/path" or "pipe:[1]" or ...; into @buf. */
void file_name(struct file *f, char *buf, size_t len);
/* Type, size, inode and device for maps and checks: 0 or -errno. */
int file_stat(struct task *t, struct file *f, struct stat *st);

/* descriptors */
struct fd_table *fd_table_create(void);
struct fd_table *fd_table_get(struct fd_table *ft);
struct fd_table *fd_table_fork(struct fd_table *ft); /* a copy, or NULL */
void fd_table_put(struct fd_table *ft);
/* Make it the caller's alone (a copy if shared) and close FD_CLOEXEC ones. */
int fd_table_exec(struct task *t);
/* The file of a descriptor with a reference, or NULL (EBADF). */
struct file *fd_get(struct task *t, int fd);
/* Install a file (reference consumed, on failure too): fd or -EMFILE. */
int fd_install(struct task *t, struct file *f, bool cloexec);

/* current directory, root, umask */
struct fs_context *fs_context_create(struct kernel *k, const char *cwd,
				     int *err);
struct fs_context *fs_context_get(struct fs_context *fs);
struct fs_context *fs_context_fork(struct fs_context *fs);
void fs_context_put(struct fs_context *fs);

/* Mount the root (host directory @root), /proc, /dev: 0 or -errno. */
int vfs_init(struct kernel *k, const char *root);
void vfs_destroy(struct kernel *k);

/* Descriptors 0, 1, 2 of the host process, for the first task. */
int fd_table_import_stdio(struct task *t);

/**
 * vfs_open() - open a path for the sentry itself or for open(2)
 * @t: task whose cwd, root and credentials count
 * @dirfd: descriptor or AT_FDCWD
 * @path: sentry memory
 * @flags: open(2) flags
 * @mode: for O_CREAT, before the umask
 * @out: set on success, one reference
 *
 * Return: 0 or -errno.
 */
int vfs_open(struct task *t, int dirfd, const char *path, int flags,
	     mode_t mode, struct file **out);

/*
 * Open for execve(): a regular file with an x bit the caller may use. 0,
 * -ENOENT, -EACCES (directory, no x bit, mount noexec), -ELOOP, ...
 */
int vfs_open_exec(struct task *t, int dirfd, const char *path, int flags,
		  struct file **out);

#endif /* _SENTRY_FS_H */
