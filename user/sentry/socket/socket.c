// SPDX-License-Identifier: MIT
/*
 * socket.c - sockets as objects and as files
 */
#include "sentry/socket/internal.h"

#define DEFAULT_BUF 212992
#define TCP_DEFAULT_RCVBUF 131072
#define TCP_DEFAULT_SNDBUF 16384

int net_create(struct kernel *k)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		return -ENOMEM;
	pthread_mutex_init(&net->lock, NULL);
	pthread_mutex_init(&net->collect_lock, NULL);
	pthread_mutex_init(&net->flight_lock, NULL);
	net->next_netlink = 1;
	k->net = net;
	return 0;
}

void net_destroy(struct kernel *k)
{
	if (!k->net)
		return;
	/* Sockets that only their own queues held until now. */
	scm_collect(k->net);
	pthread_mutex_destroy(&k->net->lock);
	pthread_mutex_destroy(&k->net->collect_lock);
	pthread_mutex_destroy(&k->net->flight_lock);
	free(k->net);
	k->net = NULL;
}

static struct socket *socket_alloc(struct task *t, int family, int type,
				   int protocol, const struct socket_ops *ops)
{
	struct socket *s = calloc(1, sizeof(*s));
	bool tcp = ops == &tcp_ops;

	if (!s)
		return NULL;
	s->ops = ops;
	s->refs = 1;
	s->net = t->kernel->net;
	s->family = (uint16_t)family;
	s->type = (uint16_t)type;
	s->protocol = protocol;
	s->ino = anon_inode();
	wait_queue_init(&s->wait);
	wait_queue_init(&s->space_wait);
	pthread_mutex_init(&s->lock, NULL);
	TAILQ_INIT(&s->ready);
	TAILQ_INIT(&s->pending);
	s->sndbuf = tcp ? TCP_DEFAULT_SNDBUF : DEFAULT_BUF;
	s->rcvbuf = tcp ? TCP_DEFAULT_RCVBUF : DEFAULT_BUF;
	s->rcvtimeo = s->sndtimeo = FOREVER;
	s->name_fd = -1;
	rx_init(&s->rx, DEFAULT_BUF);
	socket_options_init(s);
	task_creds(t, &s->creds);
	s->peer_creds = nobody;
	s->peer_creds.uid = s->peer_creds.gid = (uint32_t)-1;
	return s;
}

/**
 * struct kind - one kind of socket there is
 * @family, @type: as in socket(2)
 * @protocol: its number, which 0 stands for as well
 * @ops: what it is; NULL: needs rights that nobody has
 */
struct kind {
	int family, type, protocol;
	const struct socket_ops *ops;
};

static const struct kind kinds[] = {
	{ AF_UNIX, SOCK_STREAM, AF_UNIX, &unix_stream_ops },
	{ AF_UNIX, SOCK_DGRAM, AF_UNIX, &unix_dgram_ops },
	{ AF_UNIX, SOCK_RAW, AF_UNIX, &unix_dgram_ops },
	{ AF_UNIX, SOCK_SEQPACKET, AF_UNIX, &unix_seqpacket_ops },
	{ AF_INET, SOCK_STREAM, IPPROTO_TCP, &tcp_ops },
	{ AF_INET, SOCK_DGRAM, IPPROTO_UDP, &udp_ops },
	{ AF_INET, SOCK_RAW, 0, NULL },
	{ AF_INET6, SOCK_STREAM, IPPROTO_TCP, &tcp_ops },
	{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP, &udp_ops },
	{ AF_INET6, SOCK_RAW, 0, NULL },
	{ AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &netlink_ops },
	{ AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE, &netlink_ops },
};

static int kind_find(int family, int type, int protocol,
		     const struct kind **out)
{
	int err = -EAFNOSUPPORT;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];

		if (k->family != family)
			continue;
		if (k->type != type) {
			err = err == -EAFNOSUPPORT ? -ESOCKTNOSUPPORT : err;
			continue;
		}
		*out = k;
		if (!k->ops)
			return -EPERM;
		return !protocol || protocol == k->protocol ?
			       0 : -EPROTONOSUPPORT;
	}
	return err;
}

int socket_create(struct task *t, int family, int type, int protocol,
		  struct socket **out)
{
	const struct kind *k;
	int err = kind_find(family, type, protocol, &k);

	if (err)
		return err;
	if (family == AF_UNIX && type == SOCK_RAW)
		type = SOCK_DGRAM;
	*out = socket_alloc(t, family, type,
			    family == AF_UNIX ? 0 : k->protocol, k->ops);
	return *out ? 0 : -ENOMEM;
}

struct socket *socket_clone(struct task *t, struct socket *s)
{
	struct socket *c = socket_alloc(t, s->family, s->type, s->protocol,
					s->ops);

	if (!c)
		return NULL;
	memcpy(c->opts, s->opts, sizeof(c->opts));
	c->sndbuf = s->sndbuf;
	c->rcvbuf = s->rcvbuf;
	if (s->family != AF_UNIX) {
		c->rcvtimeo = s->rcvtimeo;
		c->sndtimeo = s->sndtimeo;
		c->linger = s->linger;
	}
	c->passcred = s->passcred;
	return c;
}

struct socket *socket_get(struct socket *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void socket_put(struct socket *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1,
					    memory_order_acq_rel) != 1)
		return;
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->rx.lock);
	free(s);
}

void socket_end(struct socket *s, unsigned int shut, int err)
{
	pthread_mutex_lock(&s->rx.lock);
	atomic_fetch_or(&s->shut, shut);
	if (err)
		atomic_store(&s->err, err);
	pthread_mutex_unlock(&s->rx.lock);
	wait_queue_wake_all(&s->wait);
}

ssize_t socket_wait(struct task *t, struct wait_queue *q, uint64_t timeout,
		    ssize_t (*try)(struct task *t, struct socket *s, void *arg),
		    struct socket *s, void *arg)
{
	uint64_t deadline = FOREVER;
	struct waiter w;
	ssize_t n;
	int err = 0;

	if (timeout != FOREVER)
		deadline = monotonic_ns() + timeout;
	waiter_init(&w, t);
	wait_queue_add(q, &w);
	while ((n = try(t, s, arg)) == -EAGAIN && !err)
		err = task_block(t, deadline);
	wait_queue_remove(q, &w);
	if (n != -EAGAIN || err == -ETIMEDOUT)
		return n;
	return timeout == FOREVER ? err : -EINTR;
}

/* the file */

struct socket *file_socket(struct file *f)
{
	return f->ops == &socket_file_ops ? f->priv : NULL;
}

struct file *socket_file(struct socket *s, int flags)
{
	struct file *f = file_alloc(&socket_file_ops,
				    O_RDWR | (flags & O_NONBLOCK));

	if (!f) {
		s->dead = true;
		s->ops->release(s);
		rx_purge(s);
		socket_put(s);
		return NULL;
	}
	f->priv = s;
	pthread_mutex_lock(&s->net->flight_lock);
	s->file = f;
	pthread_mutex_unlock(&s->net->flight_lock);
	return f;
}

static void socket_file_release(struct file *f)
{
	struct socket *s = f->priv;
	struct net *net = s->net;
	bool collect;

	pthread_mutex_lock(&net->flight_lock);
	s->file = NULL;
	collect = s->family == AF_UNIX && !LIST_EMPTY(&net->flying);
	pthread_mutex_unlock(&net->flight_lock);
	pthread_mutex_lock(&s->rx.lock);
	s->dead = true;
	pthread_mutex_unlock(&s->rx.lock);
	s->ops->release(s);
	rx_purge(s);
	socket_put(s);
	if (collect)
		scm_collect(net);
}

static size_t iov_total(const struct iovec *iov, int cnt)
{
	size_t len = 0;

	while (cnt-- > 0)
		len += iov++->iov_len;
	return len;
}

static ssize_t socket_io(struct task *t, struct file *f,
			 const struct iovec *iov, int cnt, bool write,
			 bool user)
{
	struct socket *s = f->priv;
	struct message m;
	ssize_t n;

	message_init(&m, t, iov, cnt, iov_total(iov, cnt), 0);
	m.user = user;
	m.nonblock = file_nonblock(f);
	if (write)
		n = s->ops->send(t, s, &m);
	else
		n = m.len ? s->ops->recv(t, s, &m) : 0;
	/* Credentials that were not taken; and read(2) has no place for files. */
	if (unlikely(m.scm))
		scm_free(m.scm);
	return n;
}

static ssize_t socket_readv(struct task *t, struct file *f,
			    const struct iovec *iov, int cnt, off_t off)
{
	return socket_io(t, f, iov, cnt, false, false);
}

static ssize_t socket_writev(struct task *t, struct file *f,
			     const struct iovec *iov, int cnt, off_t off)
{
	return socket_io(t, f, iov, cnt, true, false);
}

static ssize_t socket_user_io(struct task *t, struct file *f,
			      const struct iovec *iov, int cnt, bool write)
{
	return socket_io(t, f, iov, cnt, write, true);
}

static short socket_poll(struct task *t, struct file *f, struct waiter *w)
{
	struct socket *s = f->priv;

	if (w)
		wait_queue_add(&s->wait, w);
	return s->ops->poll(s);
}

static void socket_poll_done(struct task *t, struct file *f, struct waiter *w)
{
	struct socket *s = f->priv;

	wait_queue_remove(&s->wait, w);
}

static int socket_fstat(struct task *t, struct file *f, struct stat *st)
{
	struct socket *s = f->priv;

	anon_stat(st, S_IFSOCK | 0777, s->ino);
	return 0;
}

static void socket_name(struct file *f, char *buf, size_t len)
{
	struct socket *s = f->priv;

	snprintf(buf, len, "socket:[%lu]", s->ino);
}

const struct file_ops socket_file_ops = {
	.kind = "socket",
	.release = socket_file_release,
	.readv = socket_readv,
	.writev = socket_writev,
	.user_io = socket_user_io,
	.ioctl = socket_ioctl,
	.fstat = socket_fstat,
	.poll = socket_poll,
	.poll_done = socket_poll_done,
	.name = socket_name,
};
