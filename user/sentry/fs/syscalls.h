/* SPDX-License-Identifier: MIT */
/*
 * syscalls.h - handlers of the system calls about files; see syscalls.c
 */
#ifndef _SENTRY_FS_SYSCALLS_H
#define _SENTRY_FS_SYSCALLS_H

#include <stdint.h>

struct file;
struct task;

long sys_read(struct task *t, const uint64_t *args);
long sys_write(struct task *t, const uint64_t *args);
long sys_open(struct task *t, const uint64_t *args);
long sys_close(struct task *t, const uint64_t *args);
long sys_stat(struct task *t, const uint64_t *args);
long sys_fstat(struct task *t, const uint64_t *args);
long sys_lstat(struct task *t, const uint64_t *args);
long sys_poll(struct task *t, const uint64_t *args);
long sys_lseek(struct task *t, const uint64_t *args);
long sys_pread64(struct task *t, const uint64_t *args);
long sys_pwrite64(struct task *t, const uint64_t *args);
long sys_readv(struct task *t, const uint64_t *args);
long sys_writev(struct task *t, const uint64_t *args);
long sys_access(struct task *t, const uint64_t *args);
long sys_pipe(struct task *t, const uint64_t *args);
long sys_select(struct task *t, const uint64_t *args);
long sys_dup(struct task *t, const uint64_t *args);
long sys_dup2(struct task *t, const uint64_t *args);
long sys_sendfile(struct task *t, const uint64_t *args);
long sys_fcntl(struct task *t, const uint64_t *args);
long sys_flock(struct task *t, const uint64_t *args);
long sys_fsync(struct task *t, const uint64_t *args);
long sys_fdatasync(struct task *t, const uint64_t *args);
long sys_truncate(struct task *t, const uint64_t *args);
long sys_ftruncate(struct task *t, const uint64_t *args);
long sys_getdents(struct task *t, const uint64_t *args);
long sys_getcwd(struct task *t, const uint64_t *args);
long sys_chdir(struct task *t, const uint64_t *args);
long sys_fchdir(struct task *t, const uint64_t *args);
long sys_rename(struct task *t, const uint64_t *args);
long sys_mkdir(struct task *t, const uint64_t *args);
long sys_rmdir(struct task *t, const uint64_t *args);
long sys_creat(struct task *t, const uint64_t *args);
long sys_link(struct task *t, const uint64_t *args);
long sys_unlink(struct task *t, const uint64_t *args);
long sys_symlink(struct task *t, const uint64_t *args);
long sys_readlink(struct task *t, const uint64_t *args);
long sys_chmod(struct task *t, const uint64_t *args);
long sys_fchmod(struct task *t, const uint64_t *args);
long sys_chown(struct task *t, const uint64_t *args);
long sys_fchown(struct task *t, const uint64_t *args);
long sys_lchown(struct task *t, const uint64_t *args);
long sys_umask(struct task *t, const uint64_t *args);
long sys_utime(struct task *t, const uint64_t *args);
long sys_mknod(struct task *t, const uint64_t *args);
long sys_statfs(struct task *t, const uint64_t *args);
long sys_fstatfs(struct task *t, const uint64_t *args);
long sys_chroot(struct task *t, const uint64_t *args);
long sys_sync(struct task *t, const uint64_t *args);
long sys_mount(struct task *t, const uint64_t *args);
long sys_umount2(struct task *t, const uint64_t *args);
long sys_readahead(struct task *t, const uint64_t *args);
long sys_setxattr(struct task *t, const uint64_t *args);
long sys_lsetxattr(struct task *t, const uint64_t *args);
long sys_fsetxattr(struct task *t, const uint64_t *args);
long sys_getxattr(struct task *t, const uint64_t *args);
long sys_lgetxattr(struct task *t, const uint64_t *args);
long sys_fgetxattr(struct task *t, const uint64_t *args);
long sys_listxattr(struct task *t, const uint64_t *args);
long sys_llistxattr(struct task *t, const uint64_t *args);
long sys_flistxattr(struct task *t, const uint64_t *args);
long sys_removexattr(struct task *t, const uint64_t *args);
long sys_lremovexattr(struct task *t, const uint64_t *args);
long sys_fremovexattr(struct task *t, const uint64_t *args);
long sys_getdents64(struct task *t, const uint64_t *args);
long sys_fadvise64(struct task *t, const uint64_t *args);
long sys_utimes(struct task *t, const uint64_t *args);
long sys_openat(struct task *t, const uint64_t *args);
long sys_mkdirat(struct task *t, const uint64_t *args);
long sys_mknodat(struct task *t, const uint64_t *args);
long sys_fchownat(struct task *t, const uint64_t *args);
long sys_futimesat(struct task *t, const uint64_t *args);
long sys_newfstatat(struct task *t, const uint64_t *args);
long sys_unlinkat(struct task *t, const uint64_t *args);
long sys_renameat(struct task *t, const uint64_t *args);
long sys_linkat(struct task *t, const uint64_t *args);
long sys_symlinkat(struct task *t, const uint64_t *args);
long sys_readlinkat(struct task *t, const uint64_t *args);
long sys_fchmodat(struct task *t, const uint64_t *args);
long sys_faccessat(struct task *t, const uint64_t *args);
long sys_pselect6(struct task *t, const uint64_t *args);
long sys_ppoll(struct task *t, const uint64_t *args);
long sys_splice(struct task *t, const uint64_t *args);
long sys_sync_file_range(struct task *t, const uint64_t *args);
long sys_utimensat(struct task *t, const uint64_t *args);
long sys_fallocate(struct task *t, const uint64_t *args);
long sys_dup3(struct task *t, const uint64_t *args);
long sys_pipe2(struct task *t, const uint64_t *args);
long sys_preadv(struct task *t, const uint64_t *args);
long sys_pwritev(struct task *t, const uint64_t *args);
long sys_syncfs(struct task *t, const uint64_t *args);
long sys_renameat2(struct task *t, const uint64_t *args);
long sys_copy_file_range(struct task *t, const uint64_t *args);
long sys_preadv2(struct task *t, const uint64_t *args);
long sys_pwritev2(struct task *t, const uint64_t *args);
long sys_statx(struct task *t, const uint64_t *args);
long sys_openat2(struct task *t, const uint64_t *args);
long sys_close_range(struct task *t, const uint64_t *args);
long sys_faccessat2(struct task *t, const uint64_t *args);
long sys_ioctl(struct task *t, const uint64_t *args);
long sys_eventfd(struct task *t, const uint64_t *args);
long sys_eventfd2(struct task *t, const uint64_t *args);
long sys_timerfd_create(struct task *t, const uint64_t *args);
long sys_timerfd_settime(struct task *t, const uint64_t *args);
long sys_timerfd_gettime(struct task *t, const uint64_t *args);
long sys_memfd_create(struct task *t, const uint64_t *args);
long sys_epoll_create(struct task *t, const uint64_t *args);
long sys_epoll_create1(struct task *t, const uint64_t *args);
long sys_epoll_ctl(struct task *t, const uint64_t *args);
long sys_epoll_wait(struct task *t, const uint64_t *args);
long sys_epoll_pwait(struct task *t, const uint64_t *args);
long sys_epoll_pwait2(struct task *t, const uint64_t *args);
long sys_tee(struct task *t, const uint64_t *args);
long sys_inotify_init(struct task *t, const uint64_t *args);
long sys_inotify_init1(struct task *t, const uint64_t *args);
long sys_inotify_add_watch(struct task *t, const uint64_t *args);
long sys_inotify_rm_watch(struct task *t, const uint64_t *args);

/* fcntl() about the descriptor: F_DUPFD*, F_GETFD, F_SETFD. */
long fd_fcntl(struct task *t, struct file *f, int fd, int cmd, uint64_t arg);
/* Put a file (consumed, always) at a given descriptor: fd or -errno. */
int fd_install_import(struct task *t, struct file *f, int fd);

#endif /* _SENTRY_FS_SYSCALLS_H */
