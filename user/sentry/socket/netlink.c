// SPDX-License-Identifier: MIT
/*
 * netlink.c - NETLINK_ROUTE, as far as getaddrinfo(3) and getifaddrs(3) need it
 *
 * Requests are answered at once, by messages in the socket's own queue: dumps of
 * the links and addresses there are, which is the loopback interface. There is
 * nothing that could be changed.
 */
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

#include "sentry/socket/internal.h"

#define LO_INDEX 1
/* <linux/if.h> has it, which cannot be had together with <net/if.h>. */
#define LOWER_UP 0x10000u
#define LO_MTU 65536
#define REQUEST_MAX 4096
#define REPLY_MAX 1024

/**
 * struct reply - messages being put together for one request
 * @request: which they answer
 * @port_id: of the socket
 * @p: the packet; p->len is what is filled
 */
struct reply {
	struct nlmsghdr request;
	uint32_t port_id;
	struct packet *p;
};

static void *reply_put(struct reply *r, size_t len)
{
	char *at = r->p->data + r->p->len;

	memset(at, 0, NLMSG_ALIGN(len));
	r->p->len += NLMSG_ALIGN(len);
	return at;
}

static struct nlmsghdr *reply_begin(struct reply *r, uint16_t type)
{
	struct nlmsghdr *h = reply_put(r, sizeof(*h));

	h->nlmsg_type = type;
	h->nlmsg_flags = type == NLMSG_ERROR ? 0 : NLM_F_MULTI;
	h->nlmsg_seq = r->request.nlmsg_seq;
	h->nlmsg_pid = r->port_id;
	return h;
}

static void reply_end(struct reply *r, struct nlmsghdr *h)
{
	h->nlmsg_len = (uint32_t)(r->p->data + r->p->len - (char *)h);
}

static void reply_attr(struct reply *r, uint16_t type, const void *data,
		       size_t len)
{
	struct rtattr *a = reply_put(r, RTA_LENGTH(len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
}

static void reply_attr_u32(struct reply *r, uint16_t type, uint32_t v)
{
	reply_attr(r, type, &v, sizeof(v));
}

static void put_link(struct reply *r)
{
	static const uint8_t no_address[6];
	struct nlmsghdr *h = reply_begin(r, RTM_NEWLINK);
	struct ifinfomsg *info = reply_put(r, sizeof(*info));

	info->ifi_type = ARPHRD_LOOPBACK;
	info->ifi_index = LO_INDEX;
	info->ifi_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | LOWER_UP;
	reply_attr(r, IFLA_IFNAME, "lo", sizeof("lo"));
	reply_attr_u32(r, IFLA_TXQLEN, 1000);
	reply_attr_u32(r, IFLA_MTU, LO_MTU);
	reply_attr(r, IFLA_ADDRESS, no_address, sizeof(no_address));
	reply_attr(r, IFLA_BROADCAST, no_address, sizeof(no_address));
	reply_end(r, h);
}

static void put_address(struct reply *r, uint8_t family, const void *ip,
			size_t len, uint8_t prefix)
{
	struct nlmsghdr *h = reply_begin(r, RTM_NEWADDR);
	struct ifaddrmsg *a = reply_put(r, sizeof(*a));

	a->ifa_family = family;
	a->ifa_prefixlen = prefix;
	a->ifa_flags = IFA_F_PERMANENT;
	a->ifa_scope = RT_SCOPE_HOST;
	a->ifa_index = LO_INDEX;
	reply_attr(r, IFA_ADDRESS, ip, len);
	reply_attr(r, IFA_LOCAL, ip, len);
	if (family == AF_INET)
		reply_attr(r, IFA_LABEL, "lo", sizeof("lo"));
	reply_attr_u32(r, IFA_FLAGS, IFA_F_PERMANENT);
	reply_end(r, h);
}

static void put_addresses(struct reply *r, int family)
{
	uint32_t v4 = htonl(INADDR_LOOPBACK);

	if (family != AF_INET6)
		put_address(r, AF_INET, &v4, sizeof(v4), 8);
	if (family != AF_INET)
		put_address(r, AF_INET6, &in6addr_loopback,
			    sizeof(in6addr_loopback), 128);
}

static void put_error(struct reply *r, int err)
{
	struct nlmsghdr *h = reply_begin(r, NLMSG_ERROR);
	struct nlmsgerr *e = reply_put(r, sizeof(*e));

	e->error = err;
	e->msg = r->request;
	reply_end(r, h);
}

static void put_done(struct reply *r)
{
	struct nlmsghdr *h = reply_begin(r, NLMSG_DONE);

	reply_put(r, sizeof(int));
	reply_end(r, h);
}

/* A request about one link or all; an index that is not there: -ENODEV. */
static void answer(struct reply *r, int family)
{
	bool dump = (r->request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;

	switch (r->request.nlmsg_type) {
	case RTM_GETLINK:
		put_link(r);
		break;
	case RTM_GETADDR:
		put_addresses(r, family);
		break;
	case RTM_GETROUTE:
	case RTM_GETNEIGH:
	case RTM_GETRULE:
		break;
	default:
		put_error(r, -EPERM);
		return;
	}
	if (dump)
		put_done(r);
	else if (r->request.nlmsg_flags & NLM_F_ACK)
		put_error(r, 0);
}

static int queue_reply(struct socket *s, struct reply *r)
{
	bool full;

	r->p->from.len = sizeof(r->p->from.nl);
	memset(&r->p->from.nl, 0, sizeof(r->p->from.nl));
	r->p->from.nl.nl_family = AF_NETLINK;
	r->p->creds = (struct ucred){ 0, 0, 0 };
	r->p->scm = NULL;
	pthread_mutex_lock(&s->rx.lock);
	full = packets_full_locked(s, r->p->len);
	if (!full)
		packet_queue_locked(s, r->p);
	pthread_mutex_unlock(&s->rx.lock);
	if (full)
		packet_free(r->p);
	else
		wait_queue_wake_all(&s->wait);
	return full ? -ENOBUFS : 0;
}

/* One message of the request; @len bytes of it are there. */
static int answer_one(struct socket *s, const char *msg, size_t len)
{
	struct reply r = { .port_id = s->port_id };
	int family = AF_UNSPEC;

	memcpy(&r.request, msg, sizeof(r.request));
	if (!(r.request.nlmsg_flags & NLM_F_REQUEST) ||
	    r.request.nlmsg_type < NLMSG_MIN_TYPE)
		return 0;
	if (len > NLMSG_HDRLEN)
		family = (unsigned char)msg[NLMSG_HDRLEN];
	r.p = calloc(1, sizeof(*r.p) + REPLY_MAX);
	if (!r.p)
		return -ENOMEM;
	answer(&r, family);
	if (r.p->len)
		return queue_reply(s, &r);
	packet_free(r.p);
	return 0;
}

static int answer_all(struct socket *s, const char *buf, size_t len)
{
	struct nlmsghdr h;
	int err = 0;

	while (!err && len >= sizeof(h)) {
		memcpy(&h, buf, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			break;
		err = answer_one(s, buf, h.nlmsg_len);
		if (NLMSG_ALIGN(h.nlmsg_len) >= len)
			break;
		buf += NLMSG_ALIGN(h.nlmsg_len);
		len -= NLMSG_ALIGN(h.nlmsg_len);
	}
	return err;
}

/* A port of its own, if it has none: the process id for the first, as in Linux. */
static void autobind(struct task *t, struct socket *s)
{
	struct net *net = s->net;

	pthread_mutex_lock(&net->lock);
	if (!s->port_id)
		s->port_id = net->next_netlink++ == 1 ?
				     (uint32_t)t->tg->tgid :
				     0x80000000u + net->next_netlink;
	pthread_mutex_unlock(&net->lock);
}

static int netlink_bind(struct task *t, struct socket *s,
			const struct address *a)
{
	if (a->len < sizeof(a->nl) || a->nl.nl_family != AF_NETLINK)
		return -EINVAL;
	if (a->nl.nl_pid && s->port_id && s->port_id != a->nl.nl_pid)
		return -EINVAL;
	if (a->nl.nl_pid)
		s->port_id = a->nl.nl_pid;
	autobind(t, s);
	return 0;
}

static int netlink_connect(struct task *t, struct socket *s,
			   const struct address *a, bool nonblock)
{
	if (a->len < sizeof(a->nl) || a->nl.nl_family != AF_NETLINK)
		return -EINVAL;
	if (a->nl.nl_pid)
		return -EPERM;
	autobind(t, s);
	return 0;
}

static int netlink_name(struct socket *s, bool peer, struct address *out)
{
	memset(out, 0, sizeof(*out));
	out->len = sizeof(out->nl);
	out->nl.nl_family = AF_NETLINK;
	out->nl.nl_pid = peer ? 0 : s->port_id;
	return 0;
}

static ssize_t netlink_send(struct task *t, struct socket *s,
			    struct message *m)
{
	size_t len = m->len;
	char *buf;
	int err;

	if (m->name.len && (m->name.len < sizeof(m->name.nl) ||
			    m->name.nl.nl_family != AF_NETLINK))
		return -EINVAL;
	if (m->name.len && m->name.nl.nl_pid)
		return -ECONNREFUSED;
	if (len > REQUEST_MAX)
		return -EMSGSIZE;
	autobind(t, s);
	buf = malloc(len + 1);
	if (!buf)
		return -ENOMEM;
	err = message_get(m, buf, len);
	if (!err)
		err = answer_all(s, buf, len);
	free(buf);
	return err ? err : (ssize_t)len;
}

static short netlink_poll(struct socket *s)
{
	short events = POLLOUT | POLLWRNORM;

	pthread_mutex_lock(&s->rx.lock);
	if (s->rx.count)
		events |= POLLIN | POLLRDNORM;
	pthread_mutex_unlock(&s->rx.lock);
	return events;
}

static void netlink_release(struct socket *s)
{
}

const struct socket_ops netlink_ops = {
	.bind = netlink_bind,
	.connect = netlink_connect,
	.name = netlink_name,
	.send = netlink_send,
	.recv = packet_recv,
	.poll = netlink_poll,
	.release = netlink_release,
};
