// SPDX-License-Identifier: MIT
/*
 * ioctl.c - ioctl of sockets: what waits in them, and the one interface there is
 */
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>

#include "sentry/socket/internal.h"

#define LO_INDEX 1
#define LO_MTU 65536

static void put_v4(struct sockaddr *sa, uint32_t addr)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(addr) };

	memcpy(sa, &in, sizeof(in));
}

/* Requests about an interface by its name. */
static int interface_request(struct ifreq *r, unsigned int cmd)
{
	r->ifr_name[IFNAMSIZ - 1] = '\0';
	if (strcmp(r->ifr_name, "lo"))
		return -ENODEV;
	switch (cmd) {
	case SIOCGIFINDEX:
		r->ifr_ifindex = LO_INDEX;
		return 0;
	case SIOCGIFFLAGS:
		r->ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
		return 0;
	case SIOCGIFMTU:
		r->ifr_mtu = LO_MTU;
		return 0;
	case SIOCGIFADDR:
		put_v4(&r->ifr_addr, INADDR_LOOPBACK);
		return 0;
	case SIOCGIFNETMASK:
		put_v4(&r->ifr_addr, 0xff000000u);
		return 0;
	case SIOCGIFHWADDR:
		memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
		r->ifr_hwaddr.sa_family = ARPHRD_LOOPBACK;
		return 0;
	default:
		return -ENOTTY;
	}
}

static long interface_ioctl(struct task *t, unsigned int cmd, uint64_t arg)
{
	struct ifreq r;
	int err;

	/* All of them have the numbers of sockets; TCGETS and the like have not. */
	if (cmd >> 8 != SIOCGIFNAME >> 8)
		return -ENOTTY;
	if (copy_from_user(t, &r, arg, sizeof(r)))
		return -EFAULT;
	err = interface_request(&r, cmd);
	return err ? err : copy_to_user(t, arg, &r, sizeof(r));
}

/* SIGIO is never sent, but O_ASYNC is shown. */
static long set_async(struct task *t, struct file *f, uint64_t arg)
{
	uint32_t on;

	if (get_user_u32(t, &on, arg))
		return -EFAULT;
	if (on)
		atomic_fetch_or(&f->flags, O_ASYNC);
	else
		atomic_fetch_and(&f->flags, ~O_ASYNC);
	return 0;
}

static long interface_name(struct task *t, uint64_t arg)
{
	struct ifreq r;

	if (copy_from_user(t, &r, arg, sizeof(r)))
		return -EFAULT;
	if (r.ifr_ifindex != LO_INDEX)
		return -ENODEV;
	memset(r.ifr_name, 0, sizeof(r.ifr_name));
	strcpy(r.ifr_name, "lo");
	return copy_to_user(t, arg, &r, sizeof(r));
}

static long interface_list(struct task *t, uint64_t arg)
{
	struct ifreq r = { .ifr_name = "lo" };
	struct ifconf c;

	if (copy_from_user(t, &c, arg, sizeof(c)))
		return -EFAULT;
	put_v4(&r.ifr_addr, INADDR_LOOPBACK);
	if (c.ifc_buf && c.ifc_len < (int)sizeof(r))
		c.ifc_len = 0;
	else if (c.ifc_buf && copy_to_user(t, (uint64_t)c.ifc_buf, &r,
					   sizeof(r)))
		return -EFAULT;
	else
		c.ifc_len = sizeof(r);
	return copy_to_user(t, arg, &c, sizeof(c));
}

static long put_count(struct task *t, uint64_t arg, size_t n)
{
	return put_user_u32(t, arg, (uint32_t)MIN(n, (size_t)INT_MAX));
}

long socket_ioctl(struct task *t, struct file *f, unsigned int cmd,
		  uint64_t arg)
{
	struct socket *s = f->priv;

	switch (cmd) {
	case SIOCINQ:
		if (socket_state(s) == SOCKET_LISTENING)
			return -EINVAL;
		return put_count(t, arg, socket_readable(s));
	case SIOCOUTQ:
		if (socket_state(s) == SOCKET_LISTENING)
			return -EINVAL;
		return put_count(t, arg,
				 s->type == SOCK_DGRAM ? 0 : socket_unread(s));
	case SIOCATMARK:
		return s->ops == &tcp_ops ? put_count(t, arg, 0) : -ENOTTY;
	case FIOASYNC:
		return set_async(t, f, arg);
	case FIOSETOWN:
	case SIOCSPGRP:
		return 0;
	case FIOGETOWN:
	case SIOCGPGRP:
		return put_count(t, arg, 0);
	case SIOCGIFCONF:
		return interface_list(t, arg);
	case SIOCGIFNAME:
		return interface_name(t, arg);
	default:
		return interface_ioctl(t, cmd, arg);
	}
}
