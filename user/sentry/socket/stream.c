// SPDX-License-Identifier: MIT
/*
 * stream.c - byte streams between two sockets: AF_UNIX and TCP
 *
 * The sender copies from the program's memory into the receiver's ring, the
 * receiver from there to the program's: under the receiver's lock, without
 * any allocation once the ring is there, and with one wake-up of a sleeper.
 * Positions restart when the ring is empty, so a ping-pong stays in one
 * cache line.
 */
#include "sentry/socket/internal.h"

#define RING_MIN (16u << 10)
#define RING_MAX (1u << 20)
/* What a TCP connection over loopback may hold, as Linux tunes it. */
#define TCP_SNDBUF 2626560

static bool is_unix(const struct socket *s)
{
	return s->family == AF_UNIX;
}

static uint32_t ring_used(const struct rx *rx)
{
	return (uint32_t)(rx->head - rx->tail);
}

static uint32_t ring_room(const struct rx *rx)
{
	uint32_t used = ring_used(rx);

	return used < rx->limit ? rx->limit - used : 0;
}

/* As in Linux a poller is told only when there is a good deal of room. */
static bool ring_writable(const struct rx *rx)
{
	return ring_used(rx) <= rx->limit / 2;
}

static uint32_t round_up_pow2(uint32_t n)
{
	uint32_t size = RING_MIN;

	while (size < n)
		size *= 2;
	return size;
}

/* Copy what is in the ring to a larger one, at the same positions. */
static void ring_move(const struct rx *rx, char *buf, uint32_t size)
{
	uint64_t pos = rx->tail;
	uint32_t from, to, n;

	while (pos < rx->head) {
		from = pos & (rx->size - 1);
		to = pos & (size - 1);
		n = (uint32_t)MIN(rx->head - pos, rx->size - from);
		n = MIN(n, size - to);
		memcpy(buf + to, rx->buf + from, n);
		pos += n;
	}
}

/* Make room for @len more bytes, if it can be had: how many there is room for. */
static uint32_t ring_reserve(struct socket *s, uint32_t len)
{
	struct rx *rx = &s->rx;
	uint32_t size = round_up_pow2(ring_used(rx) + len);
	char *buf;

	if (likely(size <= rx->size))
		return len;
	if (rx->size && atomic_load(&s->net->memory) > NET_MEMORY_MAX)
		size = rx->size;
	buf = size > rx->size ? malloc(size) : NULL;
	if (buf) {
		if (rx->buf)
			ring_move(rx, buf, size);
		free(rx->buf);
		rx->buf = buf;
		atomic_fetch_add(&s->net->memory, size - rx->size);
		rx->size = size;
	}
	return MIN(len, rx->size - ring_used(rx));
}

/* Between the ring at @pos and the message: 0 or -EFAULT. */
static int ring_copy(struct rx *rx, uint64_t pos, struct message *m,
		     uint32_t len, bool in)
{
	uint32_t at = pos & (rx->size - 1);
	uint32_t first = MIN(len, rx->size - at);
	int err;

	err = in ? message_get(m, rx->buf + at, first) :
		   message_put(m, rx->buf + at, first);
	if (!err && len > first)
		err = in ? message_get(m, rx->buf, len - first) :
			   message_put(m, rx->buf, len - first);
	return err;
}

/* sending */

static bool same_creds(const struct ucred *a, const struct ucred *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* Does the mark continue the last one? Then that one grows instead. */
static bool mark_extends(struct rx *rx, const struct scm *m, uint32_t len)
{
	struct scm *last = TAILQ_LAST(&rx->marks, scm_marks);

	if (!last || last->nr_files || m->nr_files || last->end != rx->head ||
	    !same_creds(&last->creds, &m->creds))
		return false;
	last->end += len;
	return true;
}

/* The control message goes with the first bytes that are sent. */
static void put_mark(struct rx *rx, struct message *m, uint32_t len)
{
	struct scm *scm = m->scm;

	if (!scm->nr_files && mark_extends(rx, scm, len))
		return; /* the rest of the message needs it again */
	scm->start = rx->head;
	scm->end = rx->head + len;
	TAILQ_INSERT_TAIL(&rx->marks, scm, link);
	m->scm = NULL;
}

/* A TCP peer that is gone takes what is sent to it, once, and says so then. */
static ssize_t send_to_dead(struct socket *s, struct message *m)
{
	size_t n = m->len;

	if (is_unix(s))
		return -EPIPE;
	message_skip(m, n);
	/* The peer's lock is held; of ours none is needed for this. */
	atomic_store(&s->err, EPIPE);
	atomic_fetch_or(&s->shut, SHUT_BOTH);
	wait_queue_wake_all(&s->wait);
	return (ssize_t)n;
}

static ssize_t send_locked(struct socket *s, struct socket *peer,
			   struct message *m)
{
	struct rx *rx = &peer->rx;
	uint32_t n;

	if (socket_shut(s) & SHUT_SEND)
		return -EPIPE;
	if (unlikely(peer->dead))
		return send_to_dead(s, m);
	n = (uint32_t)MIN(m->len, (size_t)ring_room(rx));
	if (!n) {
		rx->nospace = true;
		return -EAGAIN;
	}
	n = ring_reserve(peer, n);
	if (unlikely(!n))
		return rx->size ? -EAGAIN : -ENOBUFS;
	if (ring_copy(rx, rx->head, m, n, true))
		return -EFAULT;
	if (unlikely(m->scm))
		put_mark(rx, m, n);
	rx->head += n;
	return n;
}

/* Send what there is room for: bytes, or -errno. */
static ssize_t try_send(struct task *t, struct socket *s, void *arg)
{
	struct socket *peer;
	ssize_t n;

	if (unlikely(socket_state(s) == SOCKET_CONNECTING))
		return -EAGAIN;
	if (!is_unix(s) && unlikely(s->err)) {
		n = socket_take_error(s);
		if (n)
			return n;
	}
	peer = socket_peer(s);
	if (unlikely(!peer))
		return is_unix(s) ? -ENOTCONN : -EPIPE;
	pthread_mutex_lock(&peer->rx.lock);
	n = send_locked(s, peer, arg);
	pthread_mutex_unlock(&peer->rx.lock);
	if (n > 0)
		wait_queue_wake_all(&peer->wait);
	return n;
}

/* Nothing to send: may it be sent? */
static ssize_t send_nothing(struct socket *s)
{
	if (socket_state(s) == SOCKET_CONNECTED)
		return socket_shut(s) & SHUT_SEND ? -EPIPE : 0;
	return is_unix(s) ? -ENOTCONN : -EPIPE;
}

/*
 * With SO_PASSCRED on either side every message carries credentials. What is not
 * taken of them stays in m->scm: the caller frees it.
 */
static int add_creds(struct task *t, struct socket *s, struct message *m)
{
	if (socket_state(s) != SOCKET_CONNECTED || m->scm ||
	    likely(!s->passcred && !s->peer->passcred))
		return 0;
	m->scm = scm_alloc(0);
	if (!m->scm)
		return -ENOMEM;
	task_creds(t, &m->scm->creds);
	return 0;
}

static ssize_t send_all(struct task *t, struct socket *s, struct message *m)
{
	size_t done = 0;
	ssize_t n;

	do {
		n = is_unix(s) ? add_creds(t, s, m) : 0;
		if (n)
			break;
		n = try_send(t, s, m);
		if (n == -EAGAIN && !m->nonblock)
			n = socket_wait(t, &s->wait, s->sndtimeo, try_send, s,
					m);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && m->len);
	return done ? (ssize_t)done : n;
}

static ssize_t send_files(struct task *t, struct socket *s, struct message *m)
{
	struct scm *files = m->scm;
	ssize_t n = scm_launch(t, s->net, files);

	if (n)
		return n;
	n = send_all(t, s, m);
	/* Not taken: it is the caller's again. */
	if (m->scm == files)
		scm_land(s->net, files);
	return n;
}

ssize_t stream_send(struct task *t, struct socket *s, struct message *m)
{
	ssize_t n = 0;

	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (is_unix(s) && m->name.len)
		return socket_state(s) == SOCKET_CONNECTED ? -EISCONN :
							     -EOPNOTSUPP;
	if (!m->len) {
		n = send_nothing(s);
	} else {
		n = unlikely(m->scm && m->scm->nr_files) ?
			    send_files(t, s, m) : send_all(t, s, m);
	}
	if (n == -EPIPE && !(m->flags & MSG_NOSIGNAL))
		file_sigpipe(t);
	return n;
}

/* receiving */

/*
 * How far the message may read: bytes with files end it, and with SO_PASSCRED
 * bytes of different senders do not mix. @hit: the mark that goes along.
 */
static uint64_t marks_limit(const struct rx *rx, bool passcred,
			    struct scm **hit)
{
	struct scm *m;

	*hit = NULL;
	TAILQ_FOREACH(m, &rx->marks, link) {
		if (passcred && m->start > rx->tail)
			return m->start;
		if (!m->nr_files && !passcred)
			continue;
		*hit = m;
		return m->end;
	}
	return rx->head;
}

/* Part of a mark's bytes stay behind: so do the credentials. */
static void split_mark(struct rx *rx, struct scm *m)
{
	struct scm *rest = scm_alloc(0);

	if (!rest)
		return;
	rest->creds = m->creds;
	rest->start = rx->tail;
	rest->end = m->end;
	TAILQ_INSERT_AFTER(&rx->marks, m, rest, link);
}

/* Files go to the message, and marks that have been read away. */
static void take_marks(struct rx *rx, struct message *m, struct scm *hit,
		       bool peek)
{
	struct scm *s;

	if (hit) {
		m->creds = hit->creds;
		if (peek) {
			m->scm = hit->nr_files ? scm_dup(hit) : NULL;
			return;
		}
		if (hit->nr_files) {
			if (hit->end > rx->tail)
				split_mark(rx, hit);
			TAILQ_REMOVE(&rx->marks, hit, link);
			m->scm = hit;
		}
	}
	while (!peek && (s = TAILQ_FIRST(&rx->marks)) && s->end <= rx->tail) {
		TAILQ_REMOVE(&rx->marks, s, link);
		free(s);
	}
}

static ssize_t recv_bytes(struct socket *s, struct message *m, bool *more)
{
	bool peek = m->flags & MSG_PEEK, marks = !TAILQ_EMPTY(&s->rx.marks);
	struct rx *rx = &s->rx;
	struct scm *hit = NULL;
	uint64_t end = rx->head;
	uint32_t n;

	m->creds = nobody;
	if (unlikely(marks))
		end = marks_limit(rx, s->passcred, &hit);
	n = (uint32_t)MIN((uint64_t)m->len, end - rx->tail);
	/* TCP: bytes that are not wanted. */
	if (m->flags & MSG_TRUNC && !is_unix(s))
		message_skip(m, n);
	else if (ring_copy(rx, rx->tail, m, n, false))
		return -EFAULT;
	if (hit && rx->tail + n <= hit->start)
		hit = NULL;
	if (!peek)
		rx->tail += n;
	if (unlikely(marks))
		take_marks(rx, m, hit, peek);
	/* Files end a message. */
	*more = !hit && !(marks && s->passcred);
	if (rx->tail == rx->head)
		rx->head = rx->tail = 0;
	return n;
}

/* EPIPE is for senders: a receiver then has seen the end already. */
static ssize_t no_bytes(struct socket *s)
{
	int err = atomic_load(&s->err);

	if (err && err != EPIPE)
		return socket_take_error(s);
	return socket_shut(s) & SHUT_RECV ? 0 : -EAGAIN;
}

/**
 * struct recv_call - a receiving call under way
 * @m: message
 * @more: it may go on with what follows
 */
struct recv_call {
	struct message *m;
	bool more;
};

static ssize_t try_recv(struct task *t, struct socket *s, void *arg)
{
	struct recv_call *c = arg;
	struct rx *rx = &s->rx;
	bool wake = false;
	ssize_t n;

	pthread_mutex_lock(&rx->lock);
	n = ring_used(rx) ? recv_bytes(s, c->m, &c->more) : no_bytes(s);
	if (unlikely(rx->nospace) && n > 0 && ring_writable(rx)) {
		rx->nospace = false;
		wake = true;
	}
	pthread_mutex_unlock(&rx->lock);
	if (wake && s->peer)
		wait_queue_wake_all(&s->peer->wait);
	if (likely(!c->m->scm))
		return n;
	if (c->m->flags & MSG_PEEK)
		scm_peeked(s->net);
	else
		scm_land(s->net, c->m->scm);
	return n;
}

static ssize_t recv_state(struct socket *s)
{
	switch (socket_state(s)) {
	case SOCKET_CONNECTED:
	case SOCKET_CONNECTING:
		return 0;
	case SOCKET_FAILED:
		return s->err ? socket_take_error(s) :
				socket_shut(s) ? 0 : -ENOTCONN;
	default:
		return is_unix(s) ? -EINVAL : -ENOTCONN;
	}
}

ssize_t stream_recv(struct task *t, struct socket *s, struct message *m)
{
	struct recv_call c = { .m = m };
	size_t done = 0;
	ssize_t n;

	if (unlikely(socket_state(s) != SOCKET_CONNECTED)) {
		n = recv_state(s);
		if (n || socket_state(s) == SOCKET_FAILED)
			return n;
	}
	do {
		n = try_recv(t, s, &c);
		if (n == -EAGAIN && !m->nonblock)
			n = socket_wait(t, &s->wait, s->rcvtimeo, try_recv, s,
					&c);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && m->flags & MSG_WAITALL && m->len && c.more &&
		 !(m->flags & MSG_PEEK));
	return done ? (ssize_t)done : n;
}

size_t socket_readable(struct socket *s)
{
	struct packet *p;
	size_t n;

	pthread_mutex_lock(&s->rx.lock);
	p = STAILQ_FIRST(&s->rx.packets);
	n = p ? p->len : ring_used(&s->rx);
	pthread_mutex_unlock(&s->rx.lock);
	return n;
}

size_t socket_unread(struct socket *s)
{
	struct socket *peer = socket_peer(s);
	size_t n;

	if (!peer)
		return 0;
	pthread_mutex_lock(&peer->rx.lock);
	n = ring_used(&peer->rx) + peer->rx.bytes;
	pthread_mutex_unlock(&peer->rx.lock);
	return n;
}

bool stream_writable(struct socket *s)
{
	struct rx *rx;
	bool ok;

	if (socket_state(s) != SOCKET_CONNECTED)
		return true;
	rx = &s->peer->rx;
	pthread_mutex_lock(&rx->lock);
	ok = rx->count ? rx->bytes <= rx->limit / 2 : ring_writable(rx);
	if (!ok)
		rx->nospace = true;
	pthread_mutex_unlock(&rx->lock);
	return ok;
}

/* connections */

static uint32_t ring_limit(const struct socket *to, const struct socket *from)
{
	uint64_t limit = (uint64_t)from->sndbuf;

	if (!is_unix(to))
		limit += (uint64_t)to->rcvbuf + TCP_SNDBUF;
	return (uint32_t)MIN(limit, (uint64_t)RING_MAX);
}

void stream_join(struct socket *a, struct socket *b, enum socket_state state)
{
	a->rx.limit = ring_limit(a, b);
	b->rx.limit = ring_limit(b, a);
	a->peer = socket_get(b);
	b->peer = socket_get(a);
	a->peer_creds = b->creds;
	b->peer_creds = a->creds;
	atomic_store(&b->state, SOCKET_CONNECTED);
	atomic_store(&a->state, state);
}
