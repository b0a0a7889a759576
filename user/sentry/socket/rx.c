// SPDX-License-Identifier: MIT
/*
 * rx.c - the receive side of a socket: messages, and the end of it all
 */
#include "sentry/socket/internal.h"

/* What a message costs beyond its bytes, as Linux counts it. */
#define PACKET_OVERHEAD 512

void rx_init(struct rx *rx, uint32_t limit)
{
	pthread_mutex_init(&rx->lock, NULL);
	TAILQ_INIT(&rx->marks);
	STAILQ_INIT(&rx->packets);
	rx->limit = limit;
}

static void free_marks(struct socket *s, struct scm *m)
{
	struct scm *next;

	for (; m; m = next) {
		next = TAILQ_NEXT(m, link);
		scm_land(s->net, m);
		scm_free(m);
	}
}

static void free_packets(struct socket *s, struct packet *p)
{
	struct packet *next;

	for (; p; p = next) {
		next = STAILQ_NEXT(p, link);
		if (p->scm)
			scm_land(s->net, p->scm);
		packet_free(p);
	}
}

void rx_purge(struct socket *s)
{
	struct rx *rx = &s->rx;
	struct packet *packets;
	struct scm *marks;
	char *buf;

	pthread_mutex_lock(&rx->lock);
	marks = TAILQ_FIRST(&rx->marks);
	TAILQ_INIT(&rx->marks);
	packets = STAILQ_FIRST(&rx->packets);
	STAILQ_INIT(&rx->packets);
	atomic_fetch_sub(&s->net->memory, rx->size + rx->bytes);
	rx->count = 0;
	rx->bytes = 0;
	buf = rx->buf;
	rx->buf = NULL;
	rx->size = 0;
	rx->head = rx->tail = 0;
	pthread_mutex_unlock(&rx->lock);
	free(buf);
	free_marks(s, marks);
	free_packets(s, packets);
	wait_queue_wake_all(&s->space_wait);
}

struct packet *packet_create(struct message *m, int *err)
{
	struct packet *p = malloc(sizeof(*p) + m->len);

	*err = -ENOMEM;
	if (!p)
		return NULL;
	p->from.len = 0;
	p->scm = NULL;
	p->len = m->len;
	*err = message_get(m, p->data, p->len);
	if (*err) {
		free(p);
		return NULL;
	}
	if (m->scm)
		p->creds = m->scm->creds;
	else
		task_creds(m->t, &p->creds);
	return p;
}

void packet_free(struct packet *p)
{
	scm_free(p->scm);
	free(p);
}

bool packets_full_locked(struct socket *to, size_t len)
{
	const struct rx *rx = &to->rx;

	return rx->count && rx->bytes + len + PACKET_OVERHEAD > rx->limit;
}

void packet_queue_locked(struct socket *to, struct packet *p)
{
	STAILQ_INSERT_TAIL(&to->rx.packets, p, link);
	to->rx.count++;
	to->rx.bytes += p->len + PACKET_OVERHEAD;
	atomic_fetch_add(&to->net->memory, p->len + PACKET_OVERHEAD);
}

static void packet_remove_locked(struct socket *s, struct packet *p)
{
	STAILQ_REMOVE_HEAD(&s->rx.packets, link);
	s->rx.count--;
	s->rx.bytes -= p->len + PACKET_OVERHEAD;
	atomic_fetch_sub(&s->net->memory, p->len + PACKET_OVERHEAD);
}

static ssize_t packet_deliver(struct message *m, const struct packet *p)
{
	size_t n = MIN(p->len, m->len);

	if (message_put(m, p->data, n))
		return -EFAULT;
	m->name = p->from;
	m->creds = p->creds;
	if (n < p->len)
		m->out_flags |= MSG_TRUNC;
	return (ssize_t)(m->flags & MSG_TRUNC ? p->len : n);
}

/* Nothing is there: what that means. Datagrams end only for who would wait. */
static ssize_t nothing_there(struct socket *s, const struct message *m)
{
	bool ends = s->type == SOCK_SEQPACKET || !m->nonblock;
	int err = socket_take_error(s);

	if (err)
		return err;
	return ends && socket_shut(s) & SHUT_RECV ? 0 : -EAGAIN;
}

/* The first packet, out of the queue, or NULL and *err. */
static struct packet *take_packet(struct socket *s, const struct message *m,
				  ssize_t *err)
{
	struct packet *p;
	bool wake = false;

	pthread_mutex_lock(&s->rx.lock);
	p = STAILQ_FIRST(&s->rx.packets);
	if (p) {
		packet_remove_locked(s, p);
		wake = s->rx.nospace;
		s->rx.nospace = false;
	} else {
		*err = nothing_there(s, m);
	}
	pthread_mutex_unlock(&s->rx.lock);
	if (p)
		wait_queue_wake_all(&s->space_wait);
	/* Only a connection's peer ever sets nospace. */
	if (wake && s->peer)
		wait_queue_wake_all(&s->peer->wait);
	return p;
}

static ssize_t peek_packet(struct socket *s, struct message *m)
{
	struct packet *p;
	ssize_t n;

	pthread_mutex_lock(&s->rx.lock);
	p = STAILQ_FIRST(&s->rx.packets);
	n = p ? packet_deliver(m, p) : nothing_there(s, m);
	if (p && p->scm && n >= 0)
		m->scm = scm_dup(p->scm);
	pthread_mutex_unlock(&s->rx.lock);
	if (m->scm)
		scm_peeked(s->net);
	return n;
}

static ssize_t try_recv(struct task *t, struct socket *s, void *arg)
{
	struct message *m = arg;
	struct packet *p;
	ssize_t n;

	if (m->flags & MSG_PEEK)
		return peek_packet(s, m);
	p = take_packet(s, m, &n);
	if (!p)
		return n;
	n = packet_deliver(m, p);
	if (p->scm) {
		scm_land(s->net, p->scm);
		m->scm = p->scm;
		p->scm = NULL;
	}
	packet_free(p);
	return n;
}

ssize_t packet_recv(struct task *t, struct socket *s, struct message *m)
{
	ssize_t n = try_recv(t, s, m);

	if (n != -EAGAIN || m->nonblock)
		return n;
	return socket_wait(t, &s->wait, s->rcvtimeo, try_recv, s, m);
}
