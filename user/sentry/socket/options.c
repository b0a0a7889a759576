// SPDX-License-Identifier: MIT
/*
 * options.c - getsockopt and setsockopt
 *
 * Most options of IP and TCP tune what a loopback interface does not do: those
 * are a table, they are checked for their range, remembered and given back.
 */
#include <linux/sockios.h>
#include <netinet/tcp.h>

#include "sentry/socket/internal.h"
#include "sentry/socket/syscalls.h"

/* Limits of SO_SNDBUF and SO_RCVBUF, as the program gives them (doubled). */
#define BUF_MAX 212992
#define SNDBUF_MIN 4608
#define RCVBUF_MIN 2304

/* <sys/socket.h> may lack the newer ones. */
#ifndef SO_RCVTIMEO_NEW
#define SO_RCVTIMEO_NEW 66
#define SO_SNDTIMEO_NEW 67
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef IPV6_RECVERR
#define IPV6_RECVERR 25
#endif

/**
 * struct int_option - an option that is only remembered
 * @level, @name: as in setsockopt(2)
 * @value: before it is set
 * @min, @max: what may be set; a bool, made 0 or 1, if both are 0; min > max:
 *	read only
 */
struct int_option {
	int level, name, value, min, max;
};

static const struct int_option options[] = {
	{ SOL_SOCKET, SO_REUSEADDR, 0, 0, 0 },
	{ SOL_SOCKET, SO_REUSEPORT, 0, 0, 0 },
	{ SOL_SOCKET, SO_KEEPALIVE, 0, 0, 0 },
	{ SOL_SOCKET, SO_BROADCAST, 0, 0, 0 },
	{ SOL_SOCKET, SO_DONTROUTE, 0, 0, 0 },
	{ SOL_SOCKET, SO_OOBINLINE, 0, 0, 0 },
	{ SOL_SOCKET, SO_DEBUG, 0, 0, 0 },
	{ SOL_SOCKET, SO_PRIORITY, 0, 0, 6 },
	{ SOL_SOCKET, SO_RCVLOWAT, 1, 0, INT_MAX },
	{ SOL_SOCKET, SO_SNDLOWAT, 1, 1, 0 },
	{ SOL_SOCKET, SO_INCOMING_CPU, -1, 0, INT_MAX },
	{ SOL_SOCKET, SO_BUSY_POLL, 0, 0, INT_MAX },
	{ SOL_SOCKET, SO_ZEROCOPY, 0, 0, 1 },
	{ IPPROTO_TCP, TCP_NODELAY, 0, 0, 0 },
	{ IPPROTO_TCP, TCP_CORK, 0, 0, 0 },
	{ IPPROTO_TCP, TCP_QUICKACK, 1, 0, 0 },
	{ IPPROTO_TCP, TCP_MAXSEG, 65483, 88, 65535 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 7200, 1, 32767 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 75, 1, 32767 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 9, 1, 127 },
	{ IPPROTO_TCP, TCP_SYNCNT, 6, 1, 127 },
	{ IPPROTO_TCP, TCP_LINGER2, 60, -1, INT_MAX },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, 0, INT_MAX },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, 0, INT_MAX },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 0, INT_MAX },
	{ IPPROTO_TCP, TCP_FASTOPEN, 0, 0, INT_MAX },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, -1, 0, INT_MAX },
	{ IPPROTO_IP, IP_TOS, 0, 0, 255 },
	{ IPPROTO_IP, IP_TTL, 64, -1, 255 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, 1, 0, 5 },
	{ IPPROTO_IP, IP_RECVERR, 0, 0, 0 },
	{ IPPROTO_IP, IP_MULTICAST_TTL, 1, -1, 255 },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, 1, 0, 0 },
	{ IPPROTO_IP, IP_FREEBIND, 0, 0, 0 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, 0, 0 },
	{ IPPROTO_IPV6, IPV6_V6ONLY, 0, 0, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, -1, 255 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, -1, 255 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, 0, 0 },
	{ IPPROTO_IPV6, IPV6_TCLASS, 0, -1, 255 },
	{ IPPROTO_IPV6, IPV6_RECVERR, 0, 0, 0 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, 1, 0, 5 },
	{ SOL_NETLINK, NETLINK_CAP_ACK, 0, 0, 0 },
	{ SOL_NETLINK, NETLINK_EXT_ACK, 0, 0, 0 },
	{ SOL_NETLINK, NETLINK_GET_STRICT_CHK, 0, 0, 0 },
	{ SOL_NETLINK, NETLINK_PKTINFO, 0, 0, 0 },
};

_Static_assert(ARRAY_SIZE(options) <= SOCKET_INT_OPTIONS, "struct socket.opts");

void socket_options_init(struct socket *s)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++)
		s->opts[i] = options[i].value;
}

static int option_index(int level, int name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].level == level && options[i].name == name)
			return (int)i;
	}
	return -1;
}

int socket_option(struct socket *s, int level, int name)
{
	int i = option_index(level, name);

	return i < 0 ? 0 : s->opts[i];
}

/* Has a socket options of a level? */
static bool has_level(const struct socket *s, int level)
{
	switch (level) {
	case SOL_SOCKET:
		return true;
	case IPPROTO_TCP:
		return s->ops == &tcp_ops;
	case IPPROTO_IP:
		return s->family == AF_INET || s->family == AF_INET6;
	case IPPROTO_IPV6:
		return s->family == AF_INET6;
	case SOL_NETLINK:
		return s->family == AF_NETLINK;
	default:
		return false;
	}
}

static int no_option(const struct socket *s, int level)
{
	return s->family == AF_UNIX && level != SOL_SOCKET ? -EOPNOTSUPP :
							     -ENOPROTOOPT;
}

/* An unknown level: here reading is refused in another way than writing. */
static int no_level(const struct socket *s, int level)
{
	bool known = level == SOL_SOCKET || level == IPPROTO_TCP ||
		     level == IPPROTO_IP || level == IPPROTO_IPV6;

	return known ? no_option(s, level) : -EOPNOTSUPP;
}

/* getsockopt */

/**
 * struct value - an option's value on its way to the program
 * @len: its length
 */
struct value {
	socklen_t len;
	union {
		int i;
		uint64_t u64;
		struct linger linger;
		struct timeval tv;
		struct ucred creds;
		struct tcp_info tcp;
		struct address name;
		gid_t groups[32];
		char text[16];
	};
};

static int value_int(struct value *v, int i)
{
	v->len = sizeof(v->i);
	v->i = i;
	return 0;
}

static int value_time(struct value *v, uint64_t ns)
{
	v->len = sizeof(v->tv);
	if (ns == FOREVER)
		ns = 0;
	v->tv.tv_sec = (time_t)(ns / 1000000000u);
	v->tv.tv_usec = (suseconds_t)(ns % 1000000000u / 1000);
	return 0;
}

static int value_peer_name(struct socket *s, struct value *v)
{
	struct address a;

	if (s->ops->name(s, true, &a))
		return -ENOTCONN;
	v->len = a.len;
	memcpy(v->text, a.raw, a.len);
	return 0;
}

static int get_socket_level(struct socket *s, int name, struct value *v)
{
	switch (name) {
	case SO_TYPE:
		return value_int(v, s->type);
	case SO_ERROR:
		return value_int(v, -socket_take_error(s));
	case SO_DOMAIN:
		return value_int(v, s->family);
	case SO_PROTOCOL:
		return value_int(v, s->protocol);
	case SO_ACCEPTCONN:
		return value_int(v, socket_state(s) == SOCKET_LISTENING);
	case SO_SNDBUF:
		return value_int(v, s->sndbuf);
	case SO_RCVBUF:
		return value_int(v, s->rcvbuf);
	case SO_PASSCRED:
		return value_int(v, s->passcred);
	case SO_RCVTIMEO:
	case SO_RCVTIMEO_NEW:
		return value_time(v, s->rcvtimeo);
	case SO_SNDTIMEO:
	case SO_SNDTIMEO_NEW:
		return value_time(v, s->sndtimeo);
	case SO_LINGER:
		v->len = sizeof(v->linger);
		v->linger = s->linger;
		return 0;
	case SO_PEERCRED:
		v->len = sizeof(v->creds);
		v->creds = s->peer_creds;
		return 0;
	case SO_PEERNAME:
		return value_peer_name(s, v);
	case SO_COOKIE:
		v->len = sizeof(v->u64);
		v->u64 = s->ino;
		return 0;
	case SO_BINDTODEVICE:
		v->len = 0;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int tcp_state(struct socket *s)
{
	switch (socket_state(s)) {
	case SOCKET_LISTENING:
		return TCP_LISTEN;
	case SOCKET_CONNECTING:
		return TCP_SYN_SENT;
	case SOCKET_CONNECTED:
		break;
	default:
		return TCP_CLOSE;
	}
	switch (socket_shut(s)) {
	case 0:
		return TCP_ESTABLISHED;
	case SHUT_RECV:
		return TCP_CLOSE_WAIT;
	case SHUT_SEND:
		return TCP_FIN_WAIT2;
	default:
		return TCP_CLOSE;
	}
}

static int value_tcp_info(struct socket *s, struct value *v)
{
	v->len = sizeof(v->tcp);
	memset(&v->tcp, 0, sizeof(v->tcp));
	v->tcp.tcpi_state = (uint8_t)tcp_state(s);
	v->tcp.tcpi_snd_mss = v->tcp.tcpi_rcv_mss = 32768;
	v->tcp.tcpi_pmtu = 65535;
	v->tcp.tcpi_advmss = 65483;
	v->tcp.tcpi_rto = 200000;
	v->tcp.tcpi_rtt = 30;
	v->tcp.tcpi_snd_cwnd = 10;
	v->tcp.tcpi_unacked = (uint32_t)socket_unread(s);
	return 0;
}

static int get_option(struct socket *s, int level, int name, struct value *v)
{
	int i = has_level(s, level) ? option_index(level, name) : -1;

	if (i >= 0)
		return value_int(v, s->opts[i]);
	if (level == SOL_SOCKET)
		return get_socket_level(s, name, v);
	if (level == IPPROTO_TCP && s->ops == &tcp_ops) {
		if (name == TCP_INFO)
			return value_tcp_info(s, v);
		if (name == TCP_CONGESTION) {
			v->len = sizeof(v->text);
			strncpy(v->text, "cubic", sizeof(v->text));
			return 0;
		}
	}
	return no_level(s, level);
}

/* SO_PEERGROUPS says how long the list is if there is no room for it. */
static int get_groups(struct task *t, const uint64_t *args, uint32_t room)
{
	const struct cred *c = &t->cred;
	uint32_t len = c->ngroups * (uint32_t)sizeof(gid_t);

	if (put_user_u32(t, args[4], len))
		return -EFAULT;
	if (room < len)
		return -ERANGE;
	return copy_to_user(t, args[3], c->groups, len);
}

static long do_getsockopt(struct task *t, struct file *f, const uint64_t *args)
{
	struct socket *s = f->priv;
	struct value v;
	uint32_t room;
	int err;

	if (get_user_u32(t, &room, args[4]))
		return -EFAULT;
	if ((int)room < 0)
		return -EINVAL;
	/* All of a sandbox's processes have the same groups. */
	if ((int)args[1] == SOL_SOCKET && (int)args[2] == SO_PEERGROUPS)
		return s->peer ? get_groups(t, args, room) : -ENODATA;
	err = get_option(s, (int)args[1], (int)args[2], &v);
	if (err)
		return err;
	v.len = MIN(v.len, room);
	if (copy_to_user(t, args[3], v.text, v.len))
		return -EFAULT;
	return put_user_u32(t, args[4], v.len);
}

long sys_getsockopt(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_getsockopt);
}

/* setsockopt */

static int set_time(struct task *t, uint64_t *ns, uint64_t addr, size_t len)
{
	struct timeval tv;

	if (len < sizeof(tv))
		return -EINVAL;
	if (copy_from_user(t, &tv, addr, sizeof(tv)))
		return -EFAULT;
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0)
		*ns = 0;
	else if ((!tv.tv_sec && !tv.tv_usec) || tv.tv_sec > INT_MAX)
		*ns = FOREVER;
	else
		*ns = (uint64_t)tv.tv_sec * 1000000000u +
		      (uint64_t)tv.tv_usec * 1000u;
	return 0;
}

static int set_linger(struct task *t, struct socket *s, uint64_t addr,
		      size_t len)
{
	struct linger linger;

	if (len < sizeof(linger))
		return -EINVAL;
	if (copy_from_user(t, &linger, addr, sizeof(linger)))
		return -EFAULT;
	linger.l_onoff = !!linger.l_onoff;
	s->linger = linger;
	return 0;
}

static int buf_size(int v, int min)
{
	if (v < 0)
		v = INT_MAX;
	return MAX(MIN(v, BUF_MAX) * 2, min);
}

/* What waits at the other end counts as sent. */
static void set_sndbuf(struct socket *s, int v)
{
	struct socket *peer;

	s->sndbuf = buf_size(v, SNDBUF_MIN);
	if (s->family != AF_UNIX || s->type == SOCK_DGRAM)
		return;
	peer = socket_peer(s);
	if (!peer)
		return;
	pthread_mutex_lock(&peer->rx.lock);
	peer->rx.limit = (uint32_t)s->sndbuf;
	pthread_mutex_unlock(&peer->rx.lock);
}

static void set_rcvbuf(struct socket *s, int v)
{
	s->rcvbuf = buf_size(v, RCVBUF_MIN);
	if (s->ops != &udp_ops)
		return;
	pthread_mutex_lock(&s->rx.lock);
	s->rx.limit = (uint32_t)s->rcvbuf;
	pthread_mutex_unlock(&s->rx.lock);
}

static int set_socket_level(struct socket *s, int name, int v)
{
	switch (name) {
	case SO_SNDBUF:
		set_sndbuf(s, v);
		return 0;
	case SO_RCVBUF:
		set_rcvbuf(s, v);
		return 0;
	case SO_SNDBUFFORCE:
	case SO_RCVBUFFORCE:
	case SO_MARK:
		return -EPERM;
	case SO_PASSCRED:
		s->passcred = !!v;
		return 0;
	case SO_TIMESTAMP:
	case SO_TIMESTAMPNS:
		return v ? -EOPNOTSUPP : 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int set_stored(struct socket *s, int i, int v)
{
	const struct int_option *o = &options[i];

	if (o->name == IPV6_V6ONLY && o->level == IPPROTO_IPV6 && s->bound)
		return -EINVAL;
	if (o->min > o->max)
		return -ENOPROTOOPT;
	if (!o->min && !o->max)
		v = !!v;
	else if (v < o->min || v > o->max)
		return -EINVAL;
	s->opts[i] = v;
	return 0;
}

/* Nobody can be a member of a group: the interface has no multicast. */
static bool is_multicast(int level, int name)
{
	return (level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP ||
					name == IP_MULTICAST_IF)) ||
	       (level == IPPROTO_IPV6 && name == IPV6_JOIN_GROUP);
}

static int set_int(struct socket *s, int level, int name, int v)
{
	int i = option_index(level, name);

	if (i >= 0)
		return set_stored(s, i, v);
	if (level == SOL_SOCKET)
		return set_socket_level(s, name, v);
	return is_multicast(level, name) ? -ENODEV : no_option(s, level);
}

/* The name of a congestion control or of an interface. */
static int set_name(struct task *t, uint64_t addr, size_t len,
		    const char *only, int err)
{
	char name[16] = "";

	if (copy_from_user(t, name, addr, MIN(len, sizeof(name) - 1)))
		return -EFAULT;
	return !name[0] || !strcmp(name, only) ? 0 : err;
}

static int get_int(struct task *t, int level, uint64_t addr, size_t len,
		   int *v)
{
	unsigned char byte;

	if (len >= sizeof(*v))
		return copy_from_user(t, v, addr, sizeof(*v));
	if (level != IPPROTO_IP || !len)
		return -EINVAL;
	if (copy_from_user(t, &byte, addr, 1))
		return -EFAULT;
	*v = byte;
	return 0;
}

static long do_setsockopt(struct task *t, struct file *f, const uint64_t *args)
{
	struct socket *s = f->priv;
	int level = (int)args[1], name = (int)args[2], v, err;
	size_t len = (size_t)args[4];

	if ((int)args[4] < 0)
		return -EINVAL;
	if (!has_level(s, level))
		return no_option(s, level);
	if (level == SOL_SOCKET) {
		switch (name) {
		case SO_LINGER:
			return set_linger(t, s, args[3], len);
		case SO_RCVTIMEO:
		case SO_RCVTIMEO_NEW:
			return set_time(t, &s->rcvtimeo, args[3], len);
		case SO_SNDTIMEO:
		case SO_SNDTIMEO_NEW:
			return set_time(t, &s->sndtimeo, args[3], len);
		case SO_BINDTODEVICE:
			return set_name(t, args[3], len, "lo", -ENODEV);
		}
	}
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return set_name(t, args[3], len, "cubic", -ENOENT);
	err = get_int(t, level, args[3], len, &v);
	return err ? err : set_int(s, level, name, v);
}

long sys_setsockopt(struct task *t, const uint64_t *args)
{
	return socket_call(t, args, do_setsockopt);
}
