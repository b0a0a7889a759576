// SPDX-License-Identifier: MIT
/*
 * udp.c - UDP over loopback
 *
 * What has no room at the receiver is lost, as ever. Nobody at a port is told to
 * a connected sender by its next call: ECONNREFUSED.
 */
#include "sentry/socket/internal.h"

#define UDP_MAX 65507

static int udp_disconnect(struct socket *s)
{
	pthread_mutex_lock(&s->net->lock);
	pthread_mutex_lock(&s->lock);
	memset(&s->remote, 0, sizeof(s->remote));
	atomic_store(&s->state, SOCKET_NEW);
	inet_reset_local_locked(s);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->net->lock);
	return 0;
}

static int udp_connect(struct task *t, struct socket *s,
		       const struct address *a, bool nonblock)
{
	struct inet_name to, from;
	int err;

	if (a->sa.sa_family == AF_UNSPEC)
		return udp_disconnect(s);
	err = inet_import(s, a, &to);
	if (!err)
		err = inet_route(&to);
	if (!err)
		err = inet_autobind(s);
	if (err)
		return err;
	/* Who looks for a receiver looks at these. */
	pthread_mutex_lock(&s->net->lock);
	pthread_mutex_lock(&s->lock);
	inet_source(s, &to, &from);
	s->local = from;
	s->remote = to;
	atomic_store(&s->state, SOCKET_CONNECTED);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->net->lock);
	return 0;
}

static int destination(struct socket *s, struct message *m,
		       struct inet_name *to)
{
	int err = 0;

	if (m->name.len) {
		err = inet_import(s, &m->name, to);
		if (!err && !to->port)
			err = -EINVAL;
		return err ? err : inet_route(to);
	}
	pthread_mutex_lock(&s->lock);
	*to = s->remote;
	pthread_mutex_unlock(&s->lock);
	return to->port ? 0 : -EDESTADDRREQ;
}

/* Queue it, or lose it. */
static void deliver(struct socket *to, struct packet *p)
{
	bool full;

	pthread_mutex_lock(&to->rx.lock);
	full = to->dead || packets_full_locked(to, p->len) ||
	       atomic_load(&to->net->memory) > NET_MEMORY_MAX;
	if (!full)
		packet_queue_locked(to, p);
	pthread_mutex_unlock(&to->rx.lock);
	if (full)
		packet_free(p);
	else
		wait_queue_wake_all(&to->wait);
}

static ssize_t send_to(struct socket *s, struct message *m,
		       const struct inet_name *to)
{
	struct inet_name from;
	struct socket *receiver;
	size_t len = m->len;
	struct packet *p;
	int err;

	p = packet_create(m, &err);
	if (!p)
		return err;
	inet_source(s, to, &from);
	receiver = inet_find(s->net, true, to, &from);
	if (!receiver) {
		packet_free(p);
		if (s->remote.port)
			socket_end(s, 0, ECONNREFUSED);
		return (ssize_t)len;
	}
	inet_export(receiver, &from, &p->from);
	deliver(receiver, p);
	socket_put(receiver);
	return (ssize_t)len;
}

static ssize_t udp_send(struct task *t, struct socket *s, struct message *m)
{
	struct inet_name to;
	ssize_t err;

	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (m->len > UDP_MAX)
		return -EMSGSIZE;
	err = socket_take_error(s);
	if (!err && socket_shut(s) & SHUT_SEND)
		err = -EPIPE;
	if (!err)
		err = destination(s, m, &to);
	if (!err)
		err = inet_autobind(s);
	if (err == -EPIPE && !(m->flags & MSG_NOSIGNAL))
		file_sigpipe(t);
	return err ? err : send_to(s, m, &to);
}

static int udp_shutdown(struct socket *s, unsigned int how)
{
	if (socket_state(s) != SOCKET_CONNECTED)
		return -ENOTCONN;
	socket_end(s, how, 0);
	return 0;
}

static short udp_poll(struct socket *s)
{
	unsigned int shut = socket_shut(s);
	short events = POLLOUT | POLLWRNORM | POLLWRBAND;

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

const struct socket_ops udp_ops = {
	.bind = inet_bind,
	.connect = udp_connect,
	.name = inet_get_name,
	.send = udp_send,
	.recv = packet_recv,
	.shutdown = udp_shutdown,
	.poll = udp_poll,
	.release = inet_unbind,
};
