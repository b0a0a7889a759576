/* SPDX-License-Identifier: MIT */
/*
 * syscalls.h - handlers of the system calls about sockets
 */
#ifndef _SENTRY_SOCKET_SYSCALLS_H
#define _SENTRY_SOCKET_SYSCALLS_H

#include <stdint.h>

struct file;
struct task;

/* The file of a descriptor that is a socket, a reference; or NULL and *err. */
struct file *socket_fd_get(struct task *t, int fd, long *err);

/* Calls @call with the socket of descriptor args[0]; its result, -EBADF or -ENOTSOCK. */
long socket_call(struct task *t, const uint64_t *args,
		 long (*call)(struct task *t, struct file *f, const uint64_t *args));

#define SOCKET_SYSCALL(_name) \
	long sys_##_name(struct task *t, const uint64_t *args)

SOCKET_SYSCALL(socket);
SOCKET_SYSCALL(socketpair);
SOCKET_SYSCALL(bind);
SOCKET_SYSCALL(listen);
SOCKET_SYSCALL(accept);
SOCKET_SYSCALL(accept4);
SOCKET_SYSCALL(connect);
SOCKET_SYSCALL(shutdown);
SOCKET_SYSCALL(getsockname);
SOCKET_SYSCALL(getpeername);
SOCKET_SYSCALL(sendto);
SOCKET_SYSCALL(recvfrom);
SOCKET_SYSCALL(sendmsg);
SOCKET_SYSCALL(recvmsg);
SOCKET_SYSCALL(sendmmsg);
SOCKET_SYSCALL(recvmmsg);
SOCKET_SYSCALL(setsockopt);
SOCKET_SYSCALL(getsockopt);

#endif /* _SENTRY_SOCKET_SYSCALLS_H */
