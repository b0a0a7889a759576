// SPDX-License-Identifier: MIT
/*
 * syscalls.c - making, naming and connecting sockets, and the table
 */
#include "sentry/socket/internal.h"
#include "sentry/socket/syscalls.h"
#include "sentry/fs/syscalls.h"
#include "sentry/syscall.h"

#define TYPE_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)

_Static_assert(SOCK_CLOEXEC == O_CLOEXEC && SOCK_NONBLOCK == O_NONBLOCK,
	       "flags of socket(2) are those of open(2)");

static long install(struct task *t, struct socket *s, int flags)
{
	struct file *f = socket_file(s, flags);

	return f ? fd_install(t, f, flags & SOCK_CLOEXEC) : -ENOMEM;
}

long sys_socket(struct task *t, const uint64_t *args)
{
	int type = (int)args[1];
	struct socket *s;
	int err;

	if (type & ~(TYPE_FLAGS | 0xf))
		return -EINVAL;
	err = socket_create(t, (int)args[0], type & 0xf, (int)args[2], &s);
	return err ? err : install(t, s, type);
}

static int create_pair(struct task *t, const uint64_t *args,
		       struct socket *pair[2])
{
	int type = (int)args[1] & 0xf, family = (int)args[0], err;

	err = socket_create(t, family, type, (int)args[2], &pair[0]);
	if (err)
		return err;
	if (family != AF_UNIX) {
		socket_put(pair[0]);
		return -EOPNOTSUPP;
	}
	err = socket_create(t, family, type, (int)args[2], &pair[1]);
	if (err)
		socket_put(pair[0]);
	else
		stream_join(pair[0], pair[1], SOCKET_CONNECTED);
	return err;
}

static long install_pair(struct task *t, struct socket *pair[2], int flags,
			 uint64_t addr)
{
	uint64_t args[6] = { 0 };
	int fds[2];
	long err;

	fds[0] = (int)install(t, pair[0], flags);
	fds[1] = (int)install(t, pair[1], flags);
	err = fds[0] < 0 ? fds[0] : fds[1] < 0 ? fds[1] : 0;
	if (!err)
		err = copy_to_user(t, addr, fds, sizeof(fds));
	if (!err)
		return 0;
	for (int i = 0; i < 2; i++) {
		args[0] = (uint64_t)fds[i];
		if (fds[i] >= 0)
			sys_close(t, args);
	}
	return err;
}

long sys_socketpair(struct task *t, const uint64_t *args)
{
	struct socket *pair[2];
	int type = (int)args[1], err;

	if (type & ~(TYPE_FLAGS | 0xf))
		return -EINVAL;
	err = create_pair(t, args, pair);
	return err ? err : install_pair(t, pair, type, args[3]);
}

static long do_bind(struct task *t, struct file *f, const uint64_t *args)
{
	struct socket *s = f->priv;
	struct address a;
	int err;

	err = address_import(t, &a, args[1], (int)args[2]);
	return err ? err : s->ops->bind(t, s, &a);
}

long sys_bind(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_bind);
}

static long do_listen(struct task *t, struct file *f, const uint64_t *args)
{
	struct socket *s = f->priv;

	return s->ops->listen ? s->ops->listen(t, s, (int)args[1]) : -EOPNOTSUPP;
}

long sys_listen(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_listen);
}

static long accept_install(struct task *t, struct socket *child,
			   const uint64_t *args, int flags)
{
	struct address a = { .len = 0 };
	int err = 0;

	if (args[1]) {
		/* It may have ended by now: then it has no name to show. */
		child->ops->name(child, true, &a);
		err = address_export(t, &a, args[1], args[2]);
	}
	if (!err)
		return install(t, child, flags);
	file_put(socket_file(child, 0));
	return err;
}

static long do_accept(struct task *t, const uint64_t *args, int flags)
{
	struct socket *s, *child;
	struct file *f;
	long ret;

	if (flags & ~TYPE_FLAGS)
		return -EINVAL;
	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	s = f->priv;
	ret = s->ops->listen ?
		      listener_accept(t, s, file_nonblock(f), &child) :
		      -EOPNOTSUPP;
	file_put(f);
	return ret ? ret : accept_install(t, child, args, flags);
}

long sys_accept(struct task *t, const uint64_t *args)
{
	return do_accept(t, args, 0);
}

long sys_accept4(struct task *t, const uint64_t *args)
{
	return do_accept(t, args, (int)args[3]);
}

static long do_connect(struct task *t, struct file *f, const uint64_t *args)
{
	struct socket *s = f->priv;
	struct address a;
	int err;

	err = address_import(t, &a, args[1], (int)args[2]);
	if (err)
		return err;
	if (a.len < (socklen_t)sizeof(a.sa.sa_family))
		return -EINVAL;
	return s->ops->connect(t, s, &a, file_nonblock(f));
}

long sys_connect(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_connect);
}

static long do_shutdown(struct task *t, struct file *f, const uint64_t *args)
{
	/* SHUT_RD, SHUT_WR and SHUT_RDWR are 0, 1 and 2. */
	unsigned int how = (unsigned int)args[1] + 1;
	struct socket *s = f->priv;

	(void)t;
	if (how < 1 || how > SHUT_BOTH)
		return -EINVAL;
	return s->ops->shutdown ? s->ops->shutdown(s, how) : -EOPNOTSUPP;
}

long sys_shutdown(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_shutdown);
}

static long get_name(struct task *t, struct file *f, const uint64_t *args, bool peer)
{
	struct socket *s = f->priv;
	struct address a;
	int err;

	err = s->ops->name(s, peer, &a);
	return err ? err : address_export(t, &a, args[1], args[2]);
}

static long do_getsockname(struct task *t, struct file *f, const uint64_t *args)
{
	return get_name(t, f, args, false);
}

static long do_getpeername(struct task *t, struct file *f, const uint64_t *args)
{
	return get_name(t, f, args, true);
}

long sys_getsockname(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_getsockname);
}

long sys_getpeername(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_getpeername);
}

/* addresses */

int address_import(struct task *t, struct address *a, uint64_t addr, int len)
{
	if (len < 0 || (size_t)len > sizeof(struct sockaddr_storage))
		return -EINVAL;
	memset(a, 0, sizeof(*a));
	a->len = (socklen_t)len;
	return copy_from_user(t, a->raw, addr, (size_t)len);
}

int address_export(struct task *t, const struct address *a, uint64_t addr,
		   uint64_t len_addr)
{
	uint32_t room;

	if (get_user_u32(t, &room, len_addr))
		return -EFAULT;
	if ((int)room < 0)
		return -EINVAL;
	if (copy_to_user(t, addr, a->raw, MIN(room, a->len)))
		return -EFAULT;
	return put_user_u32(t, len_addr, a->len);
}

static const struct syscall_desc descs[] = {
	SYSCALL_PART(socket, "dxd",
		     "AF_UNIX, TCP and UDP over loopback, NETLINK_ROUTE dumps"),
	SYSCALL(connect, "fpu"),
	SYSCALL(accept, "fpp"),
	SYSCALL_PART(sendto, "fbuxpu", "no out-of-band data"),
	SYSCALL_PART(recvfrom, "fBuxpp", "no out-of-band data"),
	SYSCALL_PART(sendmsg, "fpx",
		     "no out-of-band data; of control messages SCM_RIGHTS and SCM_CREDENTIALS"),
	SYSCALL_PART(recvmsg, "fpx",
		     "no out-of-band data; of control messages SCM_RIGHTS and SCM_CREDENTIALS"),
	SYSCALL(shutdown, "fd"),
	SYSCALL(bind, "fpu"),
	SYSCALL(listen, "fd"),
	SYSCALL(getsockname, "fpp"),
	SYSCALL(getpeername, "fpp"),
	SYSCALL(socketpair, "dxdp"),
	SYSCALL_PART(setsockopt, "fddpu",
		     "many options of TCP and IP are only remembered"),
	SYSCALL_PART(getsockopt, "fddpp",
		     "many options of TCP and IP are only remembered"),
	SYSCALL(accept4, "fppx"),
	SYSCALL(recvmmsg, "fpuxp"),
	SYSCALL(sendmmsg, "fpux"),
};

SYSCALL_GROUP(socket_syscalls, descs);
