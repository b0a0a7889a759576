/* SPDX-License-Identifier: MIT */
/*
 * locks.h - record locks
 */
#ifndef _SENTRY_FS_LOCKS_H
#define _SENTRY_FS_LOCKS_H

#include <stdint.h>

struct file;
struct task;

/*
 * fcntl(): F_GETLK, F_SETLK, F_SETLKW and the same of F_OFD_*; @f is what @fd
 * was when the call began.
 */
long lock_fcntl(struct task *t, struct file *f, int fd, int cmd, uint64_t arg);

/*
 * Drop the locks that @owner, a descriptor table or a file, has on the inode
 * of @f. Called when a table closes a descriptor of it, and when a file goes.
 */
void lock_release(const void *owner, struct file *f);

#endif /* _SENTRY_FS_LOCKS_H */
