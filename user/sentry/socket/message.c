// SPDX-License-Identifier: MIT
/*
 * message.c - send and receive calls: what the program's memory says, copied in
 * and checked, and what goes back
 */
#include "sentry/socket/internal.h"
#include "sentry/socket/syscalls.h"

#define IOVECS_MAX 1024
#define IOVECS_FEW 8
#define MMSG_MAX 1024

/* Flags that change nothing on a loopback interface, or that are looked at. */
#define SEND_FLAGS                                                         \
	(MSG_OOB | MSG_DONTROUTE | MSG_DONTWAIT | MSG_EOR | MSG_CONFIRM |  \
	 MSG_NOSIGNAL | MSG_MORE)

/* memory */

static int copy_piece(struct message *m, char *at, void *mem, size_t n,
		      bool get)
{
	if (m->user)
		return get ? copy_from_user(m->t, mem, (uint64_t)at, n) :
			     copy_to_user(m->t, (uint64_t)at, mem, n);
	if (get)
		memcpy(mem, at, n);
	else
		memcpy(at, mem, n);
	return 0;
}

static void move_on(struct message *m, size_t n)
{
	m->at += n;
	m->len -= n;
	if (m->at == m->iov->iov_len) {
		m->iov++;
		m->cnt--;
		m->at = 0;
	}
}

static int message_copy(struct message *m, void *mem, size_t len, bool get)
{
	size_t n;

	while (len && m->cnt > 0) {
		n = MIN(len, m->iov->iov_len - m->at);
		if (n && copy_piece(m, (char *)m->iov->iov_base + m->at, mem, n,
				    get))
			return -EFAULT;
		move_on(m, n);
		mem = (char *)mem + n;
		len -= n;
	}
	return 0;
}

int message_get(struct message *m, void *dst, size_t len)
{
	return message_copy(m, dst, len, true);
}

int message_put(struct message *m, const void *src, size_t len)
{
	return message_copy(m, (void *)src, len, false);
}

void message_skip(struct message *m, size_t len)
{
	size_t n;

	while (len && m->cnt > 0) {
		n = MIN(len, m->iov->iov_len - m->at);
		move_on(m, n);
		len -= n;
	}
}

/* files and sockets */

struct file *socket_fd_get(struct task *t, int fd, long *err)
{
	struct file *f = fd_get_io(t, fd);

	*err = f ? -ENOTSOCK : -EBADF;
	if (f && file_socket(f))
		return f;
	file_put(f);
	return NULL;
}

long socket_call(struct task *t, const uint64_t *args,
		 long (*call)(struct task *t, struct file *f, const uint64_t *args))
{
	struct file *f;
	long ret;

	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = call(t, f, args);
	file_put(f);
	return ret;
}

static ssize_t do_send(struct task *t, struct file *f, struct message *m)
{
	struct socket *s = f->priv;

	m->nonblock = file_nonblock(f) || m->flags & MSG_DONTWAIT;
	return s->ops->send(t, s, m);
}

static ssize_t do_recv(struct task *t, struct file *f, struct message *m)
{
	struct socket *s = f->priv;

	m->nonblock = file_nonblock(f) || m->flags & MSG_DONTWAIT;
	if (m->flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (m->flags & MSG_OOB)
		return s->family == AF_UNIX ? -EOPNOTSUPP : -EINVAL;
	return s->ops->recv(t, s, m);
}

/* sendto, recvfrom */

long sys_sendto(struct task *t, const uint64_t *args)
{
	struct iovec iov = { (void *)args[1],
			     MIN(args[2], (uint64_t)MAX_RW_COUNT) };
	struct message m;
	struct file *f;
	long ret;

	message_init(&m, t, &iov, 1, iov.iov_len, (int)args[3] & SEND_FLAGS);
	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = args[4] ? address_import(t, &m.name, args[4], (int)args[5]) : 0;
	if (!ret)
		ret = do_send(t, f, &m);
	file_put(f);
	/* Credentials that were not taken. */
	scm_free(m.scm);
	return ret;
}

long sys_recvfrom(struct task *t, const uint64_t *args)
{
	struct iovec iov = { (void *)args[1],
			     MIN(args[2], (uint64_t)MAX_RW_COUNT) };
	struct message m;
	struct file *f;
	long ret;
	int err;

	message_init(&m, t, &iov, 1, iov.iov_len, (int)args[3]);
	m.want_name = args[4];
	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = do_recv(t, f, &m);
	file_put(f);
	scm_free(m.scm);
	if (ret >= 0 && args[4]) {
		err = address_export(t, &m.name, args[4], args[5]);
		if (err)
			return err;
	}
	return ret;
}

/* sendmsg, recvmsg */

/**
 * struct user_message - a struct msghdr of the program and its vector
 * @h: the header, copied in
 * @few: the vector, if it is short
 * @iov: the vector
 * @len: bytes in all
 */
struct user_message {
	struct msghdr h;
	struct iovec few[IOVECS_FEW];
	struct iovec *iov;
	size_t len;
};

static int check_iovec(struct user_message *um)
{
	size_t i;

	um->len = 0;
	for (i = 0; i < um->h.msg_iovlen; i++) {
		if ((ssize_t)um->iov[i].iov_len < 0)
			return -EINVAL;
		um->iov[i].iov_len = MIN(um->iov[i].iov_len,
					 MAX_RW_COUNT - um->len);
		um->len += um->iov[i].iov_len;
	}
	return 0;
}

static void user_message_free(struct user_message *um)
{
	if (um->iov != um->few)
		free(um->iov);
}

static int user_message_get(struct task *t, struct user_message *um,
			    uint64_t addr)
{
	int err;

	if (copy_from_user(t, &um->h, addr, sizeof(um->h)))
		return -EFAULT;
	if (um->h.msg_iovlen > IOVECS_MAX)
		return -EMSGSIZE;
	um->iov = um->few;
	if (um->h.msg_iovlen > IOVECS_FEW)
		um->iov = malloc(um->h.msg_iovlen * sizeof(*um->iov));
	if (!um->iov)
		return -ENOMEM;
	err = copy_from_user(t, um->iov, (uint64_t)um->h.msg_iov,
			     um->h.msg_iovlen * sizeof(*um->iov));
	if (!err)
		err = check_iovec(um);
	if (err)
		user_message_free(um);
	return err;
}

static void message_of(struct message *m, struct task *t,
		       const struct user_message *um, int flags)
{
	message_init(m, t, um->iov, (int)um->h.msg_iovlen, um->len, flags);
}

static long send_user_message(struct task *t, struct file *f,
			      struct user_message *um, int flags)
{
	struct message m;
	long ret = 0;

	message_of(&m, t, um, flags & SEND_FLAGS);
	if (um->h.msg_name && um->h.msg_namelen)
		ret = address_import(t, &m.name, (uint64_t)um->h.msg_name,
				     (int)um->h.msg_namelen);
	if (!ret && um->h.msg_control)
		ret = scm_import(t, f->priv, &m, (uint64_t)um->h.msg_control,
				 um->h.msg_controllen);
	if (!ret)
		ret = do_send(t, f, &m);
	scm_free(m.scm);
	return ret;
}

static long send_one(struct task *t, struct file *f, uint64_t addr, int flags)
{
	struct user_message um;
	long ret = user_message_get(t, &um, addr);

	if (ret)
		return ret;
	ret = send_user_message(t, f, &um, flags);
	user_message_free(&um);
	return ret;
}

static long do_sendmsg(struct task *t, struct file *f, const uint64_t *args)
{
	return send_one(t, f, args[1], (int)args[2]);
}

long sys_sendmsg(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_sendmsg);
}

/**
 * struct control - msg_control of recvmsg(2), being filled
 * @addr: where the next message goes
 * @room: bytes left
 * @truncated: something had no room
 */
struct control {
	uint64_t addr;
	size_t room;
	bool truncated;
};

static int put_control(struct task *t, struct control *c, int type,
		       const void *data, size_t len)
{
	struct cmsghdr h = { CMSG_LEN(len), SOL_SOCKET, type };
	size_t space = CMSG_SPACE(len);

	if (c->room < sizeof(h)) {
		c->truncated = true;
		return 0;
	}
	if (c->room < h.cmsg_len) {
		c->truncated = true;
		h.cmsg_len = c->room;
	}
	if (copy_to_user(t, c->addr, &h, sizeof(h)) ||
	    copy_to_user(t, c->addr + sizeof(h), data,
			 h.cmsg_len - sizeof(h)))
		return -EFAULT;
	space = MIN(space, c->room);
	c->addr += space;
	c->room -= space;
	return 0;
}

/* Descriptors for as many files as there is room for; the others are put. */
static int put_files(struct task *t, struct control *c, struct scm *scm,
		     bool cloexec)
{
	int fds[SCM_FILES_MAX], fd;
	unsigned int n = 0, max = 0;

	if (c->room > sizeof(struct cmsghdr))
		max = (unsigned int)MIN((c->room - sizeof(struct cmsghdr)) /
						sizeof(int), SCM_FILES_MAX);
	while (n < scm->nr_files && n < max) {
		fd = fd_install(t, file_get(scm->files[n]), cloexec);
		if (fd < 0)
			break;
		fds[n++] = fd;
	}
	if (n < scm->nr_files)
		c->truncated = true;
	return n ? put_control(t, c, SCM_RIGHTS, fds, n * sizeof(int)) : 0;
}

static int export_control(struct task *t, struct socket *s, struct message *m,
			  struct user_message *um)
{
	struct control c = {
		.addr = (uint64_t)um->h.msg_control,
		.room = um->h.msg_control ? um->h.msg_controllen : 0,
	};
	int err = 0;

	if (s->passcred && s->family == AF_UNIX)
		err = put_control(t, &c, SCM_CREDENTIALS, &m->creds,
				  sizeof(m->creds));
	if (!err && m->scm)
		err = put_files(t, &c, m->scm, m->flags & MSG_CMSG_CLOEXEC);
	if (c.truncated)
		m->out_flags |= MSG_CTRUNC;
	um->h.msg_controllen = c.addr - (uint64_t)um->h.msg_control;
	return err;
}

static int export_name(struct task *t, struct message *m,
		       struct user_message *um)
{
	int room = (int)um->h.msg_namelen;

	if (!um->h.msg_name) {
		um->h.msg_namelen = 0;
		return 0;
	}
	if (room < 0)
		return -EINVAL;
	um->h.msg_namelen = m->name.len;
	return copy_to_user(t, (uint64_t)um->h.msg_name, m->name.raw,
			    MIN((socklen_t)room, m->name.len));
}

static int export_header(struct task *t, struct socket *s, struct message *m,
			 struct user_message *um, uint64_t addr)
{
	int err = export_name(t, m, um);

	if (!err)
		err = export_control(t, s, m, um);
	um->h.msg_flags = m->out_flags | (m->flags & MSG_CMSG_CLOEXEC);
	if (!err && (put_user_u32(t, addr + offsetof(struct msghdr, msg_namelen),
				  um->h.msg_namelen) ||
		     put_user_u64(t, addr + offsetof(struct msghdr,
						     msg_controllen),
				  um->h.msg_controllen) ||
		     put_user_u32(t, addr + offsetof(struct msghdr, msg_flags),
				  (uint32_t)um->h.msg_flags)))
		err = -EFAULT;
	return err;
}

static long recv_one(struct task *t, struct file *f, uint64_t addr, int flags)
{
	struct user_message um;
	struct message m;
	long ret;
	int err = user_message_get(t, &um, addr);

	if (err)
		return err;
	message_of(&m, t, &um, flags);
	m.want_name = um.h.msg_name;
	ret = do_recv(t, f, &m);
	if (ret >= 0) {
		err = export_header(t, f->priv, &m, &um, addr);
		ret = err ? err : ret;
	}
	scm_free(m.scm);
	user_message_free(&um);
	return ret;
}

static long do_recvmsg(struct task *t, struct file *f, const uint64_t *args)
{
	return recv_one(t, f, args[1], (int)args[2]);
}

long sys_recvmsg(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_recvmsg);
}

/* sendmmsg, recvmmsg */

static bool mmsg_put_len(struct task *t, uint64_t addr, long len)
{
	return !put_user_u32(t, addr + offsetof(struct mmsghdr, msg_len),
			     (uint32_t)len);
}

long sys_sendmmsg(struct task *t, const uint64_t *args)
{
	unsigned int n = (unsigned int)MIN(args[2] & 0xffffffffu,
					   (uint64_t)MMSG_MAX), i;
	uint64_t addr = args[1];
	struct file *f;
	long ret = 0;

	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = 0;
	for (i = 0; i < n; i++, addr += sizeof(struct mmsghdr)) {
		ret = send_one(t, f, addr, (int)args[3]);
		if (ret >= 0 && !mmsg_put_len(t, addr, ret))
			ret = -EFAULT;
		if (ret < 0)
			break;
	}
	file_put(f);
	return i ? (long)i : ret;
}

/* Messages until there are @n, time is over, or an error. */
static long recv_many(struct task *t, struct file *f, uint64_t addr,
		      unsigned int n, int flags, uint64_t deadline)
{
	unsigned int i;
	long ret = 0;

	for (i = 0; i < n; i++, addr += sizeof(struct mmsghdr)) {
		ret = recv_one(t, f, addr, flags & ~MSG_WAITFORONE);
		if (ret >= 0 && !mmsg_put_len(t, addr, ret))
			ret = -EFAULT;
		if (ret < 0)
			break;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (deadline != FOREVER && monotonic_ns() >= deadline) {
			i++;
			break;
		}
	}
	return i ? (long)i : ret;
}

long sys_recvmmsg(struct task *t, const uint64_t *args)
{
	unsigned int n = (unsigned int)MIN(args[2] & 0xffffffffu,
					   (uint64_t)MMSG_MAX);
	uint64_t deadline;
	struct file *f;
	long ret;

	ret = poll_import_timeout(t, args[4], &deadline);
	if (ret)
		return ret;
	f = socket_fd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = recv_many(t, f, args[1], n, (int)args[3], deadline);
	file_put(f);
	return ret;
}
