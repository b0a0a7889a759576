// SPDX-License-Identifier: MIT
/*
 * tcp.c - TCP over loopback
 *
 * There are no segments: a connection is a pair of sockets that stream.c copies
 * between. What is kept of TCP is what its sockets show: ports, backlogs, half
 * closed connections, resets, and that a non-blocking connect() is told of its
 * end by poll() and SO_ERROR.
 */
#include "sentry/socket/internal.h"

static int tcp_listen(struct task *t, struct socket *s, int backlog)
{
	enum socket_state state = socket_state(s);
	int err;

	if (state != SOCKET_NEW && state != SOCKET_LISTENING)
		return -EINVAL;
	err = inet_autobind(s);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	state = socket_state(s);
	if (state == SOCKET_NEW || state == SOCKET_LISTENING) {
		atomic_fetch_and(&s->shut, ~SHUT_BOTH);
		listener_start(t, s, backlog);
	} else {
		err = -EINVAL;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static struct socket *make_child(struct task *t, struct socket *listener,
				 const struct inet_name *local,
				 const struct inet_name *remote)
{
	struct socket *child = socket_clone(t, listener);

	if (!child)
		return NULL;
	child->local = *local;
	child->remote = *remote;
	child->connect_told = true;
	return child;
}

/* Under s->lock, in the state SOCKET_NEW: 0, -EAGAIN: under way, or -errno. */
static int connect_locked(struct task *t, struct socket *s,
			  struct socket *listener, const struct inet_name *to)
{
	struct inet_name from;
	struct socket *child;
	int err;

	inet_source(s, to, &from);
	child = make_child(t, listener, to, &from);
	if (!child)
		return -ENOMEM;
	s->local = from;
	s->remote = *to;
	err = listener_queue(listener, s, child);
	if (err && err != -EAGAIN)
		s->remote.port = 0;
	socket_put(child);
	return err;
}

static int connect_new(struct task *t, struct socket *s,
		       const struct inet_name *to, struct socket *listener,
		       bool nonblock)
{
	int err = listener ? connect_locked(t, s, listener, to) :
			     -ECONNREFUSED;

	s->connect_told = !err && !nonblock;
	if (!nonblock || err == -ENOMEM)
		return err;
	/* The answer comes later, for all that the program knows. */
	if (err && err != -EAGAIN) {
		atomic_store(&s->err, -err);
		atomic_fetch_or(&s->shut, SHUT_BOTH);
		atomic_store(&s->state, SOCKET_FAILED);
	}
	return -EINPROGRESS;
}

/* The failure is told: from now on it is as new. Under s->lock. */
static int connect_failed(struct socket *s)
{
	int err = socket_take_error(s);

	atomic_fetch_and(&s->shut, ~SHUT_BOTH);
	connection_forget(s);
	s->remote.port = 0;
	atomic_store(&s->state, SOCKET_NEW);
	return err ? err : -ECONNABORTED;
}

static int connect_step(struct task *t, struct socket *s,
			const struct inet_name *to, struct socket *listener,
			bool nonblock)
{
	int err;

	switch (socket_state(s)) {
	case SOCKET_NEW:
		return connect_new(t, s, to, listener, nonblock);
	case SOCKET_CONNECTING:
		return nonblock ? -EALREADY : -EAGAIN;
	case SOCKET_CONNECTED:
		err = s->connect_told ? -EISCONN : 0;
		s->connect_told = true;
		return err;
	case SOCKET_FAILED:
		return connect_failed(s);
	default:
		return -EISCONN;
	}
}

/* 0: connected; 1: refused. */
static ssize_t try_connected(struct task *t, struct socket *s, void *arg)
{
	switch (socket_state(s)) {
	case SOCKET_CONNECTING:
		return -EAGAIN;
	case SOCKET_CONNECTED:
		return 0;
	default:
		return 1;
	}
}

/* A blocking connect() behind the backlog. */
static int connect_wait(struct task *t, struct socket *s)
{
	ssize_t ret = socket_wait(t, &s->wait, s->sndtimeo, try_connected, s,
				  NULL);

	if (ret == -EAGAIN)
		return -EINPROGRESS;
	pthread_mutex_lock(&s->lock);
	if (!ret)
		s->connect_told = true;
	else if (ret > 0)
		ret = socket_state(s) == SOCKET_FAILED ? connect_failed(s) :
							 -ECONNABORTED;
	pthread_mutex_unlock(&s->lock);
	return (int)ret;
}

/* Who listens there, if it matters: 0 and *out, a reference or NULL. */
static int find_listener(struct socket *s, const struct address *a,
			 struct inet_name *to, struct socket **out)
{
	int err;

	*out = NULL;
	if (socket_state(s) != SOCKET_NEW)
		return 0;
	err = inet_import(s, a, to);
	if (!err)
		err = inet_route(to);
	if (!err)
		err = inet_autobind(s);
	if (err)
		return err == -EADDRINUSE ? -EADDRNOTAVAIL : err;
	*out = inet_find(s->net, false, to, &s->local);
	return 0;
}

static int tcp_connect(struct task *t, struct socket *s,
		       const struct address *a, bool nonblock)
{
	struct inet_name to = { .port = 0 };
	struct socket *listener;
	int err;

	if (a->sa.sa_family == AF_UNSPEC)
		return socket_state(s) == SOCKET_NEW ? 0 : -EOPNOTSUPP;
	err = find_listener(s, a, &to, &listener);
	if (err)
		return err;
	/* The names that are set are looked at under net.lock. */
	pthread_mutex_lock(&s->net->lock);
	pthread_mutex_lock(&s->lock);
	err = connect_step(t, s, &to, listener, nonblock);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->net->lock);
	socket_put(listener);
	if (!err || err == -EINPROGRESS)
		wait_queue_wake_all(&s->wait);
	return err == -EAGAIN ? connect_wait(t, s) : err;
}

const struct socket_ops tcp_ops = {
	.bind = inet_bind,
	.listen = tcp_listen,
	.connect = tcp_connect,
	.name = inet_get_name,
	.send = stream_send,
	.recv = stream_recv,
	.shutdown = connection_shutdown,
	.poll = connection_poll,
	.release = connection_release,
};
