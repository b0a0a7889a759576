/* SPDX-License-Identifier: MIT */
/*
 * tty.h - job control of terminals inside the sandbox
 *
 * A terminal of the sandbox is a terminal of the host: data, modes and window
 * size are the host's. What the sandbox keeps itself is whose terminal it is:
 * its session and foreground process group, as these are ids of the sandbox.
 * Terminals are named by the device number (st_rdev) of the host's file;
 * /dev/tty, makedev(5, 0), means the caller's controlling terminal.
 *
 * A file that stands for a terminal calls tty_ioctl() before it passes an
 * ioctl on to the host, tty_check_read() before a read and tty_check_write()
 * before a write.
 */
#ifndef _SENTRY_TTY_H
#define _SENTRY_TTY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kernel;
struct task;

/**
 * tty_ioctl() - the job control part of a terminal's ioctl
 * @t: the calling task
 * @rdev: which terminal
 * @host_fd: host descriptor of it
 * @cmd: request
 * @arg: program address or value
 *
 * Carries out TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSCTTY, TIOCNOTTY. For
 * requests that change the terminal (TCSETS and the like, TCSBRK, TCFLSH,
 * ...) it stops callers in the background by SIGTTOU.
 *
 * Return: -ENOIOCTLCMD if the caller is to pass the request on to the host;
 * else the result, which may be -ERESTARTSYS.
 */
long tty_ioctl(struct task *t, dev_t rdev, int host_fd, unsigned int cmd,
	       uint64_t arg);

/* Linux's number; never seen by a program. */
#define ENOIOCTLCMD 515

/**
 * tty_check_read() - may the caller read from the terminal?
 * @t: the calling task
 * @rdev: which terminal
 * @host_fd: host descriptor of it
 *
 * Return: 0; -ERESTARTSYS: in the background, SIGTTIN was sent; -EIO: in the
 * background and SIGTTIN is ignored or blocked, or the group is orphaned.
 */
int tty_check_read(struct task *t, dev_t rdev, int host_fd);

/**
 * tty_check_write() - may the caller write to the terminal?
 * @t: the calling task
 * @rdev: which terminal
 * @host_fd: host descriptor of it
 *
 * Return: 0; if the terminal has TOSTOP set and the caller is in the
 * background: -ERESTARTSYS (SIGTTOU was sent) or -EIO (group orphaned).
 */
int tty_check_write(struct task *t, dev_t rdev, int host_fd);

/**
 * tty_opened() - a terminal was opened without O_NOCTTY
 * @t: the calling task
 * @rdev: which terminal
 *
 * A session leader without a terminal gets it as its controlling one.
 */
void tty_opened(struct task *t, dev_t rdev);

/**
 * tty_signal() - a signal that a terminal's line discipline sends
 * @k: sandbox
 * @rdev: which terminal
 * @signo: sent to its foreground process group, if it has one
 *
 * For terminals whose sessions the host does not know. Takes tasks_lock.
 */
void tty_signal(struct kernel *k, dev_t rdev, int signo);

/**
 * tty_hangup() - the other side of a terminal is gone
 * @k: sandbox
 * @rdev: which terminal
 *
 * Its session leader gets SIGHUP; the foreground process group does when the
 * leader ends. Takes tasks_lock.
 */
void tty_hangup(struct kernel *k, dev_t rdev);

/* Device number of the caller's controlling terminal; 0: none (ENXIO). */
dev_t tty_controlling(struct task *t);

/*
 * Foreground process group of the controlling terminal of a process, for
 * /proc/PID/stat; -1: none. Under tasks_lock.
 */
pid_t tty_foreground_locked(struct task *t);

#endif /* _SENTRY_TTY_H */
