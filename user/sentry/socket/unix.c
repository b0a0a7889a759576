// SPDX-License-Identifier: MIT
/*
 * unix.c - AF_UNIX: streams, sequential packets, datagrams
 */
#include "sentry/socket/internal.h"

/* As in Linux: datagrams that wait at a receiver (net.unix.max_dgram_qlen). */
#define DGRAM_QUEUE_MAX 10

/* streams and sequential packets: connections */

static int unix_listen(struct task *t, struct socket *s, int backlog)
{
	enum socket_state state;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	state = socket_state(s);
	if (!s->name.len || (state != SOCKET_NEW && state != SOCKET_LISTENING))
		err = -EINVAL;
	else
		listener_start(t, s, backlog);
	pthread_mutex_unlock(&s->lock);
	/* There may be more room than before. */
	wait_queue_wake_all(&s->space_wait);
	return err;
}

static int connect_state(const struct socket *s)
{
	switch (atomic_load(&s->state)) {
	case SOCKET_NEW:
		return 0;
	case SOCKET_LISTENING:
		return -EINVAL;
	default:
		return -EISCONN;
	}
}

static int connect_to(struct task *t, struct socket *s, struct socket *other)
{
	struct socket *child = socket_clone(t, other);
	int err;

	if (!child)
		return -ENOMEM;
	/* The name of the listening socket does not change any more. */
	child->name = other->name;
	pthread_mutex_lock(&s->lock);
	task_creds(t, &s->creds);
	err = connect_state(s);
	if (!err)
		err = listener_queue(other, s, child);
	pthread_mutex_unlock(&s->lock);
	socket_put(child);
	return err;
}

static int unix_connect(struct task *t, struct socket *s,
			const struct address *a, bool nonblock)
{
	struct socket *other;
	int err;

	if (s->passcred && !s->name.len)
		unix_autobind(t, s);
	do {
		err = unix_find(t, s, a, &other);
		if (err)
			return err;
		err = connect_to(t, s, other);
		if (err == -EAGAIN && !nonblock) {
			err = listener_wait(t, other, s->sndtimeo);
			err = err ? err : 1;
		}
		socket_put(other);
	} while (err > 0);
	return err;
}

static ssize_t unix_stream_recv(struct task *t, struct socket *s,
				struct message *m)
{
	ssize_t n = stream_recv(t, s, m);

	if (m->want_name && n >= 0 && socket_state(s) == SOCKET_CONNECTED) {
		unix_get_name(s, true, &m->name);
		/* A peer without a name gives none at all. */
		if (m->name.len <= sizeof(m->name.sa.sa_family))
			m->name.len = 0;
	}
	return n;
}

const struct socket_ops unix_stream_ops = {
	.bind = unix_bind,
	.listen = unix_listen,
	.connect = unix_connect,
	.name = unix_get_name,
	.send = stream_send,
	.recv = unix_stream_recv,
	.shutdown = connection_shutdown,
	.poll = connection_poll,
	.release = connection_release,
};

/* sending of messages */

/**
 * struct packet_call - a sending call under way
 * @p: what is to be queued; NULL once it is
 * @to: where
 */
struct packet_call {
	struct packet *p;
	struct socket *to;
};

static bool dgram_full(struct socket *s, struct socket *to, size_t len)
{
	if (packets_full_locked(to, len))
		return true;
	/* Two that are connected to each other have but their buffers. */
	return to->peer != s && to->rx.count > DGRAM_QUEUE_MAX;
}

static int queue_packet(struct socket *s, struct socket *to, struct packet *p)
{
	bool connection = s->type == SOCK_SEQPACKET;

	if (to->dead)
		return connection ? -EPIPE : -ECONNREFUSED;
	if (socket_shut(s) & SHUT_SEND || socket_shut(to) & SHUT_RECV)
		return -EPIPE;
	if (connection ? packets_full_locked(to, p->len) :
			 dgram_full(s, to, p->len)) {
		to->rx.nospace |= connection;
		return -EAGAIN;
	}
	packet_queue_locked(to, p);
	return 0;
}

static ssize_t try_queue(struct task *t, struct socket *s, void *arg)
{
	struct packet_call *c = arg;
	int err;

	pthread_mutex_lock(&c->to->rx.lock);
	err = queue_packet(s, c->to, c->p);
	pthread_mutex_unlock(&c->to->rx.lock);
	if (!err)
		wait_queue_wake_all(&c->to->wait);
	return err;
}

static ssize_t queue_wait(struct task *t, struct socket *s, struct message *m,
			  struct packet_call *c)
{
	ssize_t err = try_queue(t, s, c);

	if (err != -EAGAIN || m->nonblock)
		return err;
	return socket_wait(t, s->type == SOCK_SEQPACKET ? &s->wait :
							  &c->to->space_wait,
			   s->sndtimeo, try_queue, s, c);
}

/* Send to a socket whose reference the caller has: bytes, or -errno. */
static ssize_t send_packet(struct task *t, struct socket *s, struct socket *to,
			   struct message *m)
{
	struct packet_call c = { .to = to };
	size_t len = m->len;
	ssize_t ret;
	int err;

	if (m->len > (size_t)s->sndbuf - 32)
		return -EMSGSIZE;
	if (atomic_load(&s->net->memory) > NET_MEMORY_MAX)
		return -ENOBUFS;
	c.p = packet_create(m, &err);
	if (!c.p)
		return err;
	unix_get_name(s, false, &c.p->from);
	if (m->scm && m->scm->nr_files) {
		ret = scm_launch(t, s->net, m->scm);
		if (ret) {
			packet_free(c.p);
			return ret;
		}
		c.p->scm = m->scm;
		m->scm = NULL;
	}
	ret = queue_wait(t, s, m, &c);
	if (!ret)
		return (ssize_t)len;
	if (c.p->scm)
		scm_land(s->net, c.p->scm);
	packet_free(c.p);
	return ret;
}

static ssize_t seqpacket_send(struct task *t, struct socket *s,
			      struct message *m)
{
	ssize_t n;

	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (socket_state(s) != SOCKET_CONNECTED)
		return -ENOTCONN;
	n = socket_take_error(s);
	return n ? n : send_packet(t, s, s->peer, m);
}

static ssize_t seqpacket_recv(struct task *t, struct socket *s,
			      struct message *m)
{
	if (socket_state(s) != SOCKET_CONNECTED)
		return -ENOTCONN;
	return packet_recv(t, s, m);
}

const struct socket_ops unix_seqpacket_ops = {
	.bind = unix_bind,
	.listen = unix_listen,
	.connect = unix_connect,
	.name = unix_get_name,
	.send = seqpacket_send,
	.recv = seqpacket_recv,
	.shutdown = connection_shutdown,
	.poll = connection_poll,
	.release = connection_release,
};

/* datagrams */

static void dgram_space_wake(struct waiter *w)
{
	struct socket *s = container_of(w, struct socket, space_waiter);

	wait_queue_wake_all(&s->wait);
}

/* Under s->lock: forget the peer; the caller puts the result. */
static struct socket *dgram_forget(struct socket *s)
{
	struct socket *old = s->peer;

	if (s->space_waiting)
		wait_queue_remove(&old->space_wait, &s->space_waiter);
	s->space_waiting = false;
	s->peer = NULL;
	atomic_store(&s->state, SOCKET_NEW);
	return old;
}

static struct socket *dgram_peer(struct socket *s)
{
	struct socket *peer;

	pthread_mutex_lock(&s->lock);
	peer = s->peer ? socket_get(s->peer) : NULL;
	pthread_mutex_unlock(&s->lock);
	return peer;
}

/* Does a receiver that is connected elsewhere take what @s sends? */
static bool dgram_accepts(struct socket *to, struct socket *s)
{
	bool ok;

	pthread_mutex_lock(&to->lock);
	ok = !to->peer || to->peer == s;
	pthread_mutex_unlock(&to->lock);
	return ok;
}

static int dgram_connect(struct task *t, struct socket *s,
			 const struct address *a, bool nonblock)
{
	struct socket *to = NULL, *old;
	int err = 0;

	if (a->sa.sa_family != AF_UNSPEC) {
		if (s->passcred && !s->name.len)
			unix_autobind(t, s);
		err = unix_find(t, s, a, &to);
		if (!err && !dgram_accepts(to, s))
			err = -EPERM;
		if (err) {
			socket_put(to);
			return err;
		}
	}
	pthread_mutex_lock(&s->lock);
	old = dgram_forget(s);
	s->peer = to;
	if (to) {
		s->peer_creds = to->creds;
		atomic_store(&s->state, SOCKET_CONNECTED);
	}
	pthread_mutex_unlock(&s->lock);
	socket_put(old);
	return 0;
}

static ssize_t dgram_send_to(struct task *t, struct socket *s,
			     struct socket *to, struct message *m)
{
	if (!dgram_accepts(to, s))
		return -EPERM;
	return send_packet(t, s, to, m);
}

static ssize_t dgram_send_peer(struct task *t, struct socket *s,
			       struct message *m)
{
	struct socket *to = dgram_peer(s), *old = NULL;
	ssize_t n;

	if (!to)
		return -ENOTCONN;
	n = dgram_send_to(t, s, to, m);
	if (n == -ECONNREFUSED) {
		pthread_mutex_lock(&s->lock);
		if (s->peer == to)
			old = dgram_forget(s);
		pthread_mutex_unlock(&s->lock);
		socket_put(old);
	}
	socket_put(to);
	return n;
}

static ssize_t dgram_send(struct task *t, struct socket *s, struct message *m)
{
	struct socket *to;
	ssize_t n;

	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	n = socket_take_error(s);
	if (n)
		return n;
	if (s->passcred && !s->name.len)
		unix_autobind(t, s);
	if (!m->name.len)
		return dgram_send_peer(t, s, m);
	n = unix_find(t, s, &m->name, &to);
	if (n)
		return n;
	n = dgram_send_to(t, s, to, m);
	socket_put(to);
	return n;
}

static ssize_t dgram_recv(struct task *t, struct socket *s, struct message *m)
{
	ssize_t n = packet_recv(t, s, m);

	if (n >= 0 && m->name.len <= sizeof(m->name.sa.sa_family))
		m->name.len = 0;
	return n;
}

static int dgram_shutdown(struct socket *s, unsigned int how)
{
	socket_end(s, how, 0);
	return 0;
}

/* Under s->lock: can the peer take more? If not, have it tell us. */
static bool dgram_writable_locked(struct socket *s)
{
	struct socket *to = s->peer;
	bool full;

	if (!to)
		return true;
	if (!s->space_waiting) {
		waiter_init(&s->space_waiter, NULL);
		s->space_waiter.wake = dgram_space_wake;
		wait_queue_add(&to->space_wait, &s->space_waiter);
		s->space_waiting = true;
	}
	pthread_mutex_lock(&to->rx.lock);
	full = !to->dead && dgram_full(s, to, 0);
	pthread_mutex_unlock(&to->rx.lock);
	return !full;
}

static short dgram_poll(struct socket *s)
{
	unsigned int shut = socket_shut(s);
	short events = 0;

	pthread_mutex_lock(&s->lock);
	if (dgram_writable_locked(s))
		events |= POLLOUT | POLLWRNORM | POLLWRBAND;
	pthread_mutex_unlock(&s->lock);
	if (s->err)
		events |= POLLERR;
	if (shut == SHUT_BOTH)
		events |= POLLHUP;
	if (shut & SHUT_RECV)
		events |= POLLIN | POLLRDNORM | POLLRDHUP;
	pthread_mutex_lock(&s->rx.lock);
	if (s->rx.count)
		events |= POLLIN | POLLRDNORM;
	pthread_mutex_unlock(&s->rx.lock);
	return events;
}

static void dgram_release(struct socket *s)
{
	struct socket *old;

	unix_unbind(s);
	pthread_mutex_lock(&s->lock);
	old = dgram_forget(s);
	pthread_mutex_unlock(&s->lock);
	socket_put(old);
}

const struct socket_ops unix_dgram_ops = {
	.bind = unix_bind,
	.connect = dgram_connect,
	.name = unix_get_name,
	.send = dgram_send,
	.recv = dgram_recv,
	.shutdown = dgram_shutdown,
	.poll = dgram_poll,
	.release = dgram_release,
};
