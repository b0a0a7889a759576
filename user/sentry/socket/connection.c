// SPDX-License-Identifier: MIT
/*
 * connection.c - sockets with connections: listening, accepting, ending
 *
 * connect() makes the socket that accept() will return, so that a connection is
 * complete, and can be written to, before anybody accepts it. Behind a full
 * backlog an AF_UNIX connect waits for room; a TCP one is put on a second list
 * and is complete only when it moves up, because connect() need not wait for it.
 */
#include "sentry/socket/internal.h"

#define SOMAXCONN_LIMIT 4096

static bool is_unix(const struct socket *s)
{
	return s->family == AF_UNIX;
}

/* As in Linux one more than the backlog fits. */
static bool full_locked(const struct socket *s)
{
	return s->qlen > s->backlog;
}

static void queue_ready(struct socket *listener, struct socket *child)
{
	TAILQ_INSERT_TAIL(&listener->ready, child, queue_link);
	listener->qlen++;
}

static int queue_locked(struct socket *listener, struct socket *s,
			struct socket *child)
{
	bool full = full_locked(listener);

	if (socket_state(listener) != SOCKET_LISTENING ||
	    socket_shut(listener) & SHUT_RECV)
		return -ECONNREFUSED;
	if (full && is_unix(s))
		return -EAGAIN;
	child->creds = listener->creds;
	if (full)
		s->listener = socket_get(listener);
	/* Never CONNECTED in between: this connection may yet fail, and be freed. */
	stream_join(s, child, full ? SOCKET_CONNECTING : SOCKET_CONNECTED);
	socket_get(child);
	if (!full) {
		queue_ready(listener, child);
		return 0;
	}
	child->is_pending = true;
	TAILQ_INSERT_TAIL(&listener->pending, child, queue_link);
	return -EAGAIN;
}

int listener_queue(struct socket *listener, struct socket *s,
		   struct socket *child)
{
	int err;

	/* Only a socket that will never connect is locked as the second one. */
	if (socket_state(listener) != SOCKET_LISTENING)
		return -ECONNREFUSED;
	pthread_mutex_lock(&listener->lock);
	err = queue_locked(listener, s, child);
	pthread_mutex_unlock(&listener->lock);
	if (!err)
		wait_queue_wake_all(&listener->wait);
	return err;
}

static ssize_t try_not_full(struct task *t, struct socket *s, void *arg)
{
	bool full;

	pthread_mutex_lock(&s->lock);
	full = full_locked(s) && socket_state(s) == SOCKET_LISTENING &&
	       !(socket_shut(s) & SHUT_RECV) && !s->dead;
	pthread_mutex_unlock(&s->lock);
	return full ? -EAGAIN : 0;
}

int listener_wait(struct task *t, struct socket *listener, uint64_t timeout)
{
	return (int)socket_wait(t, &listener->space_wait, timeout, try_not_full,
				listener, NULL);
}

void listener_start(struct task *t, struct socket *s, int backlog)
{
	s->backlog = MIN((unsigned int)backlog, SOMAXCONN_LIMIT);
	task_creds(t, &s->creds);
	atomic_store(&s->state, SOCKET_LISTENING);
}

/* A connection that nobody will accept ends; consumes the reference. */
static void child_drop(struct socket *child, int err)
{
	pthread_mutex_lock(&child->rx.lock);
	child->dead = true;
	pthread_mutex_unlock(&child->rx.lock);
	socket_end(child->peer, SHUT_BOTH, err);
	rx_purge(child);
	socket_put(child->peer);
	child->peer = NULL;
	socket_put(child);
}

/*
 * Under s->lock: connections that the backlog has room for now are complete.
 * Those that nobody waits for any more go onto @gone.
 */
static void promote_locked(struct socket *s, struct socket_queue *gone)
{
	struct socket *child;
	unsigned int was;

	while (!full_locked(s) && (child = TAILQ_FIRST(&s->pending))) {
		TAILQ_REMOVE(&s->pending, child, queue_link);
		child->is_pending = false;
		was = SOCKET_CONNECTING;
		if (!atomic_compare_exchange_strong(&child->peer->state, &was,
						    SOCKET_CONNECTED)) {
			TAILQ_INSERT_TAIL(gone, child, queue_link);
			continue;
		}
		queue_ready(s, child);
		wait_queue_wake_all(&child->peer->wait);
	}
}

static void drop_all(struct socket_queue *q, int err)
{
	struct socket *child;

	while ((child = TAILQ_FIRST(q))) {
		TAILQ_REMOVE(q, child, queue_link);
		child_drop(child, err);
	}
}

static ssize_t try_accept(struct task *t, struct socket *s, void *arg)
{
	struct socket_queue gone = TAILQ_HEAD_INITIALIZER(gone);
	struct socket *child = NULL;
	ssize_t ret = -EAGAIN;

	pthread_mutex_lock(&s->lock);
	if (socket_state(s) == SOCKET_LISTENING)
		child = TAILQ_FIRST(&s->ready);
	if (child) {
		TAILQ_REMOVE(&s->ready, child, queue_link);
		s->qlen--;
		promote_locked(s, &gone);
		*(struct socket **)arg = child;
		ret = 0;
	} else if (socket_state(s) != SOCKET_LISTENING ||
		   socket_shut(s) & SHUT_RECV) {
		ret = -EINVAL;
	}
	pthread_mutex_unlock(&s->lock);
	drop_all(&gone, 0);
	if (child)
		wait_queue_wake_all(&s->space_wait);
	return ret;
}

int listener_accept(struct task *t, struct socket *s, bool nonblock,
		    struct socket **out)
{
	ssize_t ret = try_accept(t, s, out);

	if (ret == -EAGAIN && !nonblock)
		ret = socket_wait(t, &s->wait, s->rcvtimeo, try_accept, s, out);
	return (int)ret;
}

/* A connection behind the backlog is refused, unless it was given up. */
static void refuse_pending(struct socket_queue *q)
{
	unsigned int was;
	struct socket *child;

	TAILQ_FOREACH(child, q, queue_link) {
		was = SOCKET_CONNECTING;
		atomic_compare_exchange_strong(&child->peer->state, &was,
					       SOCKET_FAILED);
	}
	drop_all(q, ECONNREFUSED);
}

void listener_close(struct socket *s)
{
	struct socket_queue ready = TAILQ_HEAD_INITIALIZER(ready);
	struct socket_queue pending = TAILQ_HEAD_INITIALIZER(pending);
	struct socket *child;

	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH(child, &s->pending, queue_link)
		child->is_pending = false;
	TAILQ_CONCAT(&ready, &s->ready, queue_link);
	TAILQ_CONCAT(&pending, &s->pending, queue_link);
	s->qlen = 0;
	pthread_mutex_unlock(&s->lock);
	drop_all(&ready, ECONNRESET);
	refuse_pending(&pending);
	wait_queue_wake_all(&s->space_wait);
}

/* shutdown(2) and the end */

static int shutdown_listener(struct socket *s, unsigned int how)
{
	socket_end(s, how, 0);
	if (how & SHUT_RECV && !is_unix(s)) {
		inet_unbind(s);
		atomic_store(&s->state, SOCKET_NEW);
		listener_close(s);
	}
	wait_queue_wake_all(&s->space_wait);
	return 0;
}

int connection_shutdown(struct socket *s, unsigned int how)
{
	unsigned int theirs = (how & SHUT_SEND ? SHUT_RECV : 0) |
			      (how & SHUT_RECV && is_unix(s) ? SHUT_SEND : 0);
	enum socket_state state = socket_state(s);

	if (state == SOCKET_LISTENING)
		return shutdown_listener(s, how);
	if (state != SOCKET_CONNECTED && !is_unix(s))
		return -ENOTCONN;
	socket_end(s, how, 0);
	if (state == SOCKET_CONNECTED)
		socket_end(s->peer, theirs, 0);
	return 0;
}

/* What the peer learns when this end is closed; *err: its pending error. */
static unsigned int last_words(struct socket *s, int *err)
{
	bool reset = socket_readable(s) ||
		     !STAILQ_EMPTY(&s->rx.packets) ||
		     (!is_unix(s) && s->linger.l_onoff && !s->linger.l_linger);

	*err = reset ? ECONNRESET : 0;
	return is_unix(s) || reset ? SHUT_BOTH : SHUT_RECV;
}

void connection_forget(struct socket *s)
{
	socket_put(s->listener);
	s->listener = NULL;
	socket_put(s->peer);
	s->peer = NULL;
}

/* A connection behind a backlog is given up, and leaves the queue at once. */
static void withdraw(struct socket *s)
{
	struct socket *listener = s->listener, *child = s->peer;
	bool found;

	pthread_mutex_lock(&listener->lock);
	found = child->is_pending;
	if (found)
		TAILQ_REMOVE(&listener->pending, child, queue_link);
	child->is_pending = false;
	pthread_mutex_unlock(&listener->lock);
	if (found)
		child_drop(child, 0);
}

void connection_release(struct socket *s)
{
	enum socket_state state;
	unsigned int shut;
	int err;

	state = (enum socket_state)atomic_exchange(&s->state, SOCKET_FAILED);
	if (is_unix(s))
		unix_unbind(s);
	else
		inet_unbind(s);
	if (state == SOCKET_LISTENING)
		listener_close(s);
	if (state == SOCKET_CONNECTED) {
		shut = last_words(s, &err);
		socket_end(s->peer, shut, err);
	}
	if (state == SOCKET_CONNECTING)
		withdraw(s);
	connection_forget(s);
}

/* poll */

static short listener_poll(struct socket *s)
{
	bool ready;

	pthread_mutex_lock(&s->lock);
	ready = !TAILQ_EMPTY(&s->ready);
	pthread_mutex_unlock(&s->lock);
	return ready ? POLLIN | POLLRDNORM : 0;
}

static bool has_input(struct socket *s)
{
	bool input;

	pthread_mutex_lock(&s->rx.lock);
	input = s->rx.head != s->rx.tail || s->rx.count;
	pthread_mutex_unlock(&s->rx.lock);
	return input;
}

short connection_poll(struct socket *s)
{
	enum socket_state state = socket_state(s);
	unsigned int shut = socket_shut(s);
	short events = 0;

	if (state == SOCKET_LISTENING)
		return listener_poll(s);
	if (state == SOCKET_CONNECTING)
		return 0;
	if (s->err)
		events |= POLLERR;
	if (shut == SHUT_BOTH || state == SOCKET_NEW || state == SOCKET_FAILED)
		events |= POLLHUP;
	if (shut & SHUT_RECV)
		events |= POLLIN | POLLRDNORM | POLLRDHUP;
	else if (has_input(s))
		events |= POLLIN | POLLRDNORM;
	if ((shut & SHUT_SEND && !is_unix(s)) || stream_writable(s))
		events |= POLLOUT | POLLWRNORM | (is_unix(s) ? POLLWRBAND : 0);
	return events;
}
