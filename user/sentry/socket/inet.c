// SPDX-License-Identifier: MIT
/*
 * inet.c - addresses and ports of a network that is only a loopback interface
 *
 * IPv4 addresses are held as IPv6 ones that they are mapped into. All of
 * 127.0.0.0/8 and ::1 are this machine; nothing else can be reached.
 */
#include <arpa/inet.h>

#include "sentry/socket/internal.h"

#define EPHEMERAL_FIRST 32768u
#define EPHEMERAL_LAST 60999u
#define NR_EPHEMERAL (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1)
/* Ports below are root's. */
#define UNPRIVILEGED_FIRST 1024

/* Least length of a struct sockaddr_in6, as in Linux. */
#define SIN6_LEN 24

static uint32_t v4_of(const struct in6_addr *ip)
{
	return ntohl(ip->s6_addr32[3]);
}

static struct in6_addr v4_mapped(uint32_t addr)
{
	struct in6_addr ip = { .s6_addr32 = { 0, 0, htonl(0xffff),
					      htonl(addr) } };

	return ip;
}

static bool is_v4(const struct in6_addr *ip)
{
	return IN6_IS_ADDR_V4MAPPED(ip);
}

bool inet_is_any(const struct in6_addr *ip)
{
	return IN6_IS_ADDR_UNSPECIFIED(ip) || (is_v4(ip) && !v4_of(ip));
}

static bool is_local(const struct in6_addr *ip)
{
	return is_v4(ip) ? v4_of(ip) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(ip);
}

static bool same_ip(const struct in6_addr *a, const struct in6_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static bool v6_only(const struct socket *s)
{
	return s->family == AF_INET6 &&
	       socket_option((struct socket *)s, IPPROTO_IPV6, IPV6_V6ONLY) > 0;
}

/* addresses of the program */

static int import_v4(const struct address *a, struct inet_name *out)
{
	if (a->len < sizeof(a->in))
		return -EINVAL;
	if (a->in.sin_family != AF_INET &&
	    (a->in.sin_family != AF_UNSPEC || a->in.sin_addr.s_addr))
		return -EAFNOSUPPORT;
	out->ip = v4_mapped(ntohl(a->in.sin_addr.s_addr));
	out->port = ntohs(a->in.sin_port);
	return 0;
}

int inet_import(struct socket *s, const struct address *a,
		struct inet_name *out)
{
	if (s->family == AF_INET)
		return import_v4(a, out);
	/* A datagram socket of both kinds takes addresses of both. */
	if (a->sa.sa_family == AF_INET && s->type == SOCK_DGRAM && !v6_only(s))
		return import_v4(a, out);
	if (a->len < SIN6_LEN)
		return -EINVAL;
	if (a->in6.sin6_family != AF_INET6)
		return -EAFNOSUPPORT;
	out->ip = a->in6.sin6_addr;
	out->port = ntohs(a->in6.sin6_port);
	if (is_v4(&out->ip) && v6_only(s))
		return -ENETUNREACH;
	return 0;
}

void inet_export(struct socket *s, const struct inet_name *n,
		 struct address *out)
{
	memset(out, 0, sizeof(*out));
	if (s->family == AF_INET) {
		out->len = sizeof(out->in);
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(n->port);
		out->in.sin_addr.s_addr = is_v4(&n->ip) ?
						  n->ip.s6_addr32[3] : 0;
		return;
	}
	out->len = sizeof(out->in6);
	out->in6.sin6_family = AF_INET6;
	out->in6.sin6_port = htons(n->port);
	out->in6.sin6_addr = n->ip;
}

int inet_get_name(struct socket *s, bool peer, struct address *out)
{
	bool connected = socket_state(s) == SOCKET_CONNECTED;

	if (peer && (!connected || !s->remote.port))
		return -ENOTCONN;
	/* A connection that was reset has no other end any more. */
	if (peer && s->ops == &tcp_ops && socket_shut(s) == SHUT_BOTH &&
	    s->peer->dead)
		return -ENOTCONN;
	pthread_mutex_lock(&s->lock);
	inet_export(s, peer ? &s->remote : &s->local, out);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* routes */

int inet_route(struct inet_name *to)
{
	if (IN6_IS_ADDR_UNSPECIFIED(&to->ip))
		to->ip = in6addr_loopback;
	else if (is_v4(&to->ip) && !v4_of(&to->ip))
		to->ip = v4_mapped(INADDR_LOOPBACK);
	return is_local(&to->ip) ? 0 : -ENETUNREACH;
}

void inet_source(const struct socket *s, const struct inet_name *to,
		 struct inet_name *from)
{
	*from = s->local;
	if (inet_is_any(&from->ip))
		from->ip = is_v4(&to->ip) ? v4_mapped(INADDR_LOOPBACK) :
					    in6addr_loopback;
}

/* ports; under net.lock */

static struct socket_list *bucket(struct net *net, bool udp, uint16_t port)
{
	return &net->ports[udp][port % NAME_BUCKETS];
}

static bool is_udp(const struct socket *s)
{
	return s->ops == &udp_ops;
}

/* Do two sockets with one port have addresses in common? */
static bool overlap(const struct socket *a, const struct in6_addr *ip,
		    const struct socket *b)
{
	const struct in6_addr *other = &b->local.ip;
	bool a_all = !is_v4(ip) && inet_is_any(ip) && !v6_only(a);
	bool b_all = !is_v4(other) && inet_is_any(other) && !v6_only(b);

	if (a_all || b_all)
		return true;
	if (is_v4(ip) != is_v4(other))
		return false;
	return inet_is_any(ip) || inet_is_any(other) || same_ip(ip, other);
}

static bool may_share(struct socket *a, struct socket *b)
{
	bool listening = socket_state(a) == SOCKET_LISTENING ||
			 socket_state(b) == SOCKET_LISTENING;

	if (socket_option(a, SOL_SOCKET, SO_REUSEPORT) &&
	    socket_option(b, SOL_SOCKET, SO_REUSEPORT))
		return true;
	return !listening && socket_option(a, SOL_SOCKET, SO_REUSEADDR) &&
	       socket_option(b, SOL_SOCKET, SO_REUSEADDR);
}

static bool port_taken(struct socket *s, const struct in6_addr *ip,
		       uint16_t port, bool exclusive)
{
	struct socket *b;

	LIST_FOREACH(b, bucket(s->net, is_udp(s), port), name_link) {
		if (b != s && b->local.port == port && overlap(s, ip, b) &&
		    (exclusive || !may_share(s, b)))
			return true;
	}
	return false;
}

/* A free port, or 0. */
static uint16_t port_find(struct socket *s, const struct in6_addr *ip)
{
	struct net *net = s->net;
	unsigned int i, port;

	if (!net->next_port)
		net->next_port = (unsigned int)(monotonic_ns() >> 10);
	for (i = 0; i < NR_EPHEMERAL; i++) {
		port = EPHEMERAL_FIRST + net->next_port++ % NR_EPHEMERAL;
		if (!port_taken(s, ip, (uint16_t)port, true))
			return (uint16_t)port;
	}
	return 0;
}

static int bind_locked(struct socket *s, const struct inet_name *n)
{
	uint16_t port = n->port;

	if (s->bound || socket_state(s) != SOCKET_NEW)
		return -EINVAL;
	if (!port)
		port = port_find(s, &n->ip);
	if (!port || (n->port && port_taken(s, &n->ip, port, false)))
		return -EADDRINUSE;
	s->local.ip = n->ip;
	s->local.port = port;
	s->bound = true;
	LIST_INSERT_HEAD(bucket(s->net, is_udp(s), port), s, name_link);
	return 0;
}

static int bind_name(struct socket *s, const struct inet_name *n)
{
	int err;

	pthread_mutex_lock(&s->net->lock);
	pthread_mutex_lock(&s->lock);
	err = bind_locked(s, n);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->net->lock);
	return err;
}

int inet_bind(struct task *t, struct socket *s, const struct address *a)
{
	struct inet_name n;
	int err = inet_import(s, a, &n);

	if (err)
		return err == -ENETUNREACH ? -EINVAL : err;
	if (!inet_is_any(&n.ip) && !is_local(&n.ip))
		return -EADDRNOTAVAIL;
	if (n.port && n.port < UNPRIVILEGED_FIRST && t->cred.euid)
		return -EACCES;
	err = bind_name(s, &n);
	if (!err) {
		s->chose_ip = !inet_is_any(&n.ip);
		s->chose_port = n.port;
	}
	return err;
}

int inet_autobind(struct socket *s)
{
	struct inet_name any = { .ip = in6addr_any };
	int err;

	if (s->family == AF_INET)
		any.ip = v4_mapped(INADDR_ANY);
	if (s->bound)
		return 0;
	if (s->chose_ip)
		any.ip = s->local.ip;
	err = bind_name(s, &any);
	/* Another thread may have been faster. */
	return err == -EINVAL && s->bound ? 0 : err;
}

void inet_unbind(struct socket *s)
{
	pthread_mutex_lock(&s->net->lock);
	if (s->bound)
		LIST_REMOVE(s, name_link);
	s->bound = false;
	pthread_mutex_unlock(&s->net->lock);
}

void inet_reset_local_locked(struct socket *s)
{
	if (!s->chose_ip)
		s->local.ip = in6addr_any;
	if (!s->bound || s->chose_port)
		return;
	LIST_REMOVE(s, name_link);
	s->bound = false;
	s->local.port = 0;
}

/* who gets it */

/* How well a socket fits, 0: not at all. */
static int score(struct socket *s, bool udp, const struct inet_name *to,
		 const struct inet_name *from)
{
	const struct in6_addr *ip = &s->local.ip;
	bool all = !is_v4(ip) && inet_is_any(ip) && !v6_only(s);
	int points = 1;

	if (s->local.port != to->port)
		return 0;
	if (!udp && socket_state(s) != SOCKET_LISTENING)
		return 0;
	if (!all) {
		if (is_v4(ip) != is_v4(&to->ip))
			return 0;
		if (!inet_is_any(ip) && !same_ip(ip, &to->ip))
			return 0;
		points += inet_is_any(ip) ? 1 : 2;
	}
	if (!udp || !s->remote.port)
		return points;
	if (s->remote.port != from->port || !same_ip(&s->remote.ip, &from->ip))
		return 0;
	return points + 4;
}

struct socket *inet_find(struct net *net, bool udp, const struct inet_name *to,
			 const struct inet_name *from)
{
	struct socket *s, *found = NULL;
	int best = 0, points;
	unsigned int same = 0;

	pthread_mutex_lock(&net->lock);
	LIST_FOREACH(s, bucket(net, udp, to->port), name_link) {
		points = score(s, udp, to, from);
		if (!points || points < best)
			continue;
		same = points > best ? 1 : same + 1;
		best = points;
		/* SO_REUSEPORT: each of the equals gets its share. */
		if (same == 1 || from->port % same == 0)
			found = s;
	}
	if (found)
		socket_get(found);
	pthread_mutex_unlock(&net->lock);
	return found;
}
