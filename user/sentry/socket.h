/* SPDX-License-Identifier: MIT */
/*
 * socket.h - sockets of the sandboxed program, as the rest of the sentry sees them
 *
 * A sandbox has a network of its own: a loopback interface, which no packet
 * leaves. There is no way to the host's network, by construction: the sentry
 * makes no host socket.
 */
#ifndef _SENTRY_SOCKET_H
#define _SENTRY_SOCKET_H

struct kernel;

/* The network of a sandbox, k->net: 0 or -ENOMEM. */
int net_create(struct kernel *k);
/* After all tasks are gone. NULL k->net is fine. */
void net_destroy(struct kernel *k);

#endif /* _SENTRY_SOCKET_H */
