/* SPDX-License-Identifier: MIT */
/*
 * pseudo.h - the sentry's own file systems: procfs, devfs, sysfs
 *
 * They are trees of constant tables. Nothing is allocated for a node: a pnode
 * is the list of table entries that lead to it, plus the ids that its dynamic
 * components (process, thread, descriptor) stand for.
 */
#ifndef _SENTRY_FS_PSEUDO_H
#define _SENTRY_FS_PSEUDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct file;
struct loc;
struct pnode;
struct task;

/**
 * struct text - a string that grows
 * @buf: malloc()ed, or NULL
 * @len: bytes in it
 * @cap: bytes allocated
 * @failed: memory ran out; what is there is incomplete
 */
struct text {
	char *buf;
	size_t len;
	size_t cap;
	bool failed;
};

__attribute__((format(printf, 2, 3)))
void text_printf(struct text *x, const char *fmt, ...);
void text_append(struct text *x, const void *data, size_t len);

/**
 * struct pentry - one entry of a directory of a pseudo file system
 * @name: name; NULL for entries that stand for dynamic names
 * @mode: type and permissions
 * @children: of a directory: fixed entries
 * @nr_children: of these
 * @lookup: of a directory: dynamic names. On success has filled in @out, which
 *	is a copy of the directory's node, with pnode_push(). 0 or -ENOENT.
 * @iterate: of a directory: the @index'th dynamic name into @name: false after
 *	the last.
 * @show: of a regular file: its content. 0 or -errno.
 * @store: of a regular file: write(2)
 * @readlink: of a link: its target, a string. Length or -errno.
 * @follow: of a link that is not resolved by its text: the place it leads to
 * @open: of a device or anything special
 * @arg: for these functions' own use; of an entry without a name: which id of
 *	the node is its name, PNODE_TGID and so on
 * @rdev: of a device
 */
struct pentry {
	const char *name;
	mode_t mode;
	const struct pentry *children;
	size_t nr_children;
	int (*lookup)(struct task *t, struct pnode *out, const char *name);
	bool (*iterate)(struct task *t, const struct pnode *dir,
			unsigned int index, char *name, size_t len);
	int (*show)(struct task *t, const struct pnode *n, struct text *x);
	ssize_t (*store)(struct task *t, const struct pnode *n,
			 const char *buf, size_t len);
	ssize_t (*readlink)(struct task *t, const struct pnode *n, char *buf,
			    size_t len);
	int (*follow)(struct task *t, const struct pnode *n, struct loc *out);
	int (*open)(struct task *t, const struct pnode *n, int flags,
		    struct file **out);
	const char *arg;
	dev_t rdev;
};

#define PNODE_DEPTH 8
#define PNODE_TGID "tgid"
#define PNODE_TID "tid"
#define PNODE_NUM "num"
#define PNODE_CPU "cpu" /* "cpu" and the number */

/**
 * struct pnode - a node of a pseudo file system, by value
 * @at: entries from the file system's top (at[0]) down to the node
 * @depth: index of the node's own entry
 * @tgid: process that a component stands for
 * @tid: thread that a component stands for
 * @num: number that a component stands for (a descriptor)
 */
struct pnode {
	const struct pentry *at[PNODE_DEPTH];
	unsigned int depth;
	pid_t tgid;
	pid_t tid;
	int num;
};

static inline const struct pentry *pnode_entry(const struct pnode *n)
{
	return n->at[n->depth];
}

/* Go down to an entry; tables are never deeper than PNODE_DEPTH. */
static inline void pnode_push(struct pnode *n, const struct pentry *e)
{
	n->at[++n->depth] = e;
}

/* Tops of the file systems, with name "proc", "dev", "sys". */
extern const struct pentry proc_root, dev_root, sys_root;
/* The one that covers @name in the root directory, or NULL. */
const struct pentry *pseudo_mount(const char *name);

/* One step down: 0, -ENOENT, -ENOTDIR. */
int pseudo_lookup(struct task *t, const struct pnode *dir, const char *name,
		  struct pnode *out);
int pseudo_stat(struct task *t, const struct pnode *n, struct stat *st);
/* Its path: "/proc/1/maps". */
int pseudo_name(const struct pnode *n, char *buf, size_t len);
int pseudo_open(struct task *t, const struct pnode *n, int flags,
		struct file **out);
/* Parse a decimal number that is a whole name: >= 0, or -1. */
int parse_id(const char *name);

/* proc_pid.c: directories of processes, in the root of procfs */
int proc_pid_lookup(struct task *t, struct pnode *out, const char *name);
bool proc_pid_iterate(struct task *t, const struct pnode *dir,
		      unsigned int index, char *name, size_t len);
/* The task that a node is about, a reference; or NULL. */
struct task *proc_task(struct task *t, const struct pnode *n);
/* A list of mounts, as /proc/mounts shows it. */
int proc_show_mounts(struct task *t, const struct pnode *n, struct text *x);

/* proc_status.c: stat, status and statm of a task */
int proc_show_stat(struct task *t, const struct pnode *n, struct text *x);
int proc_show_status(struct task *t, const struct pnode *n, struct text *x);
int proc_show_statm(struct task *t, const struct pnode *n, struct text *x);

/* proc_fd.c: /proc/PID/fd and fdinfo */
int proc_fd_lookup(struct task *t, struct pnode *out, const char *name);
int proc_fdinfo_lookup(struct task *t, struct pnode *out, const char *name);
bool proc_fd_iterate(struct task *t, const struct pnode *dir,
		     unsigned int index, char *name, size_t len);

/* proc_sys.c: children of /proc/sys */
extern const struct pentry proc_sys_entries[];
extern const size_t nr_proc_sys_entries;

/* A regular file that shows its entry's arg. */
int show_arg(struct task *t, const struct pnode *n, struct text *x);
/* Append what the host's procfs has in a file, or nothing. */
void text_host_proc(struct task *t, struct text *x, const char *name);

/* dev.c: a file for one of the harmless devices by number, or -ENXIO. */
int dev_open(struct task *t, dev_t rdev, int flags, struct file **out);

#endif /* _SENTRY_FS_PSEUDO_H */
