/* SPDX-License-Identifier: MIT */
/*
 * internal.h - sockets: what the files of socket/ share
 *
 * Every socket lives inside the sentry; no host socket is ever made. What comes
 * in for a socket waits in that socket's own receive side (struct rx), where
 * the sender puts it: a stream's bytes in a ring, messages in a list. So one
 * direction of a connection is one lock and one copy on each side, the same for
 * AF_UNIX and TCP.
 *
 * A socket is reference counted apart from its file: a connected peer holds a
 * reference, so a sender never meets freed memory; the end of the file breaks
 * the cycle. A connection's peer never changes once it is there.
 *
 * Lock order, outermost first:
 *
 *   net.collect_lock   one collector at a time; files are put under it
 *   net.lock           names and ports
 *   net.flight_lock    files in flight; never with net.lock
 *   socket.lock        state, names and options; of a connecting socket before that
 *                      of the listening one (which never connects)
 *   rx.lock            what was received; of one socket at a time
 *   mm.lock            copies from and to the program are made under rx.lock
 *   wait queues        innermost
 *
 * No file is put while one of the others is held: it may be a socket's last
 * reference.
 */
#ifndef _SENTRY_SOCKET_INTERNAL_H
#define _SENTRY_SOCKET_INTERNAL_H

#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sentry/fs/internal.h"
#include "sentry/mm.h"
#include "sentry/socket.h"
#include "sentry/task.h"

struct message;
struct packet;
struct scm;
struct socket;

/**
 * struct address - a socket address, copied in
 * @len: bytes of it that count
 */
struct address {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_nl nl;
		char raw[sizeof(struct sockaddr_storage) + 1];
	};
};

/* An IPv6 address, or an IPv4 address mapped into one, and a port. */
struct inet_name {
	struct in6_addr ip;
	uint16_t port;
};

/* struct socket.state */
enum socket_state {
	SOCKET_NEW,
	SOCKET_LISTENING,
	SOCKET_CONNECTING, /* TCP: behind the backlog of the listening one */
	SOCKET_CONNECTED,
	SOCKET_FAILED, /* TCP: a connection failed, or is over */
};

/* struct socket.shut; not the numbers of shutdown(2) */
#define SHUT_RECV 1u
#define SHUT_SEND 2u
#define SHUT_BOTH (SHUT_RECV | SHUT_SEND)

/**
 * struct rx - what a socket has received
 * @lock: protects the rest
 * @buf: stream: ring, allocated by the first sender; grows up to @limit
 * @size: of @buf, a power of two
 * @limit: bytes that may wait here
 * @head: stream: bytes ever put in
 * @tail: stream: bytes ever taken out; both restart at 0 when it gets empty
 * @marks: stream: control messages, by position
 * @packets: messages
 * @count: of these
 * @bytes: in these
 * @nospace: a sender or a poller found it full and wants to be woken
 */
struct rx {
	pthread_mutex_t lock;
	char *buf;
	uint32_t size, limit;
	uint64_t head, tail;
	TAILQ_HEAD(scm_marks, scm) marks;
	STAILQ_HEAD(, packet) packets;
	unsigned int count;
	size_t bytes;
	bool nospace;
};

TAILQ_HEAD(socket_queue, socket);

/* Options that are stored and given back; options.c knows which is which. */
#define SOCKET_INT_OPTIONS 48

/**
 * struct socket - one end
 * @ops: what it is
 * @refs: file, peer, queue of a listening one, and calls that use it
 * @net: names and ports it lives among
 * @family, @type, @protocol: as in socket(2)
 * @ino: inode number
 * @wait: everybody who waits for it, pollers too
 * @space_wait: those who wait for room in @rx or in the queue, by way of other sockets
 * @state: enum socket_state
 * @shut: SHUT_* bits; set under rx.lock
 * @err: pending error (SO_ERROR), positive
 * @dead: its file is gone
 * @rx: received
 * @peer: the other end, a reference. A connection's is set before the state
 *	says so and then stays; a datagram socket's changes under @lock.
 * @file: its file, without a reference; NULL before accept(); under net.flight_lock
 * @lock: protects what follows
 * @backlog: of a listening one
 * @qlen: in @ready
 * @ready: connections to be accepted, references
 * @pending: TCP: connections behind the backlog
 * @queue_link: in one of these
 * @is_pending: in @pending of another; under that one's lock
 * @listener: TCP: behind whose backlog its connection is, or was; a reference
 * @sndbuf, @rcvbuf: as getsockopt() shows them
 * @rcvtimeo, @sndtimeo: ns, or FOREVER
 * @linger: SO_LINGER
 * @opts: by index of options.c
 * @passcred: SO_PASSCRED
 * @creds: its owner's, since listen() or its creation
 * @peer_creds: SO_PEERCRED
 * @name: AF_UNIX: own name; len 0: none. Set once.
 * @name_link: in net.names if @named, or net.ports; under net.lock
 * @named: AF_UNIX: connect() finds it by name
 * @name_fd: AF_UNIX: host descriptor of the name's inode: while it is open, the
 *	number stands for no other
 * @name_dev, @name_ino: its identity; 0: an abstract name
 * @space_waiter: on @peer's space_wait while @space_waiting: messages
 * @local, @remote: inet: names; port 0: none
 * @bound: inet: in net.ports
 * @chose_ip, @chose_port: inet: bind() gave it, so disconnecting keeps it
 * @connect_told: TCP: connect() has said that it is connected
 * @port_id: netlink
 * @flight: times its file is in flight, if that is > 0; under net.flight_lock
 * @flight_link: in net.flying
 * @gc_refs, @gc_queued, @gc_link: for the collector
 */
struct socket {
	const struct socket_ops *ops;
	atomic_uint refs;
	struct net *net;
	uint16_t family, type;
	int protocol;
	uint64_t ino;
	struct wait_queue wait;
	struct wait_queue space_wait;
	atomic_uint state;
	atomic_uint shut;
	atomic_int err;
	atomic_bool dead;
	struct rx rx;
	struct socket *peer;
	struct file *file;

	pthread_mutex_t lock;
	unsigned int backlog, qlen;
	struct socket_queue ready, pending;
	TAILQ_ENTRY(socket) queue_link;
	bool is_pending;
	struct socket *listener;
	int sndbuf, rcvbuf;
	uint64_t rcvtimeo, sndtimeo;
	struct linger linger;
	int opts[SOCKET_INT_OPTIONS];
	atomic_bool passcred;
	struct ucred creds, peer_creds;

	struct address name;
	LIST_ENTRY(socket) name_link;
	bool named;
	int name_fd;
	dev_t name_dev;
	ino_t name_ino;
	struct waiter space_waiter;
	bool space_waiting;

	struct inet_name local, remote;
	bool bound, chose_ip, chose_port, connect_told;
	uint32_t port_id;

	unsigned int flight;
	LIST_ENTRY(socket) flight_link;
	long gc_refs;
	bool gc_queued;
	SLIST_ENTRY(socket) gc_link;
};

/**
 * struct socket_ops - a family and type
 * @shutdown: @how is SHUT_* bits
 * @name: own name, or with @peer the other's
 * @poll: events
 * @release: the file is gone
 *
 * Results or -errno; what is NULL gives EOPNOTSUPP.
 */
struct socket_ops {
	int (*bind)(struct task *t, struct socket *s, const struct address *a);
	int (*listen)(struct task *t, struct socket *s, int backlog);
	int (*connect)(struct task *t, struct socket *s,
		       const struct address *a, bool nonblock);
	int (*name)(struct socket *s, bool peer, struct address *out);
	ssize_t (*send)(struct task *t, struct socket *s, struct message *m);
	ssize_t (*recv)(struct task *t, struct socket *s, struct message *m);
	int (*shutdown)(struct socket *s, unsigned int how);
	short (*poll)(struct socket *s);
	void (*release)(struct socket *s);
};

extern const struct socket_ops unix_stream_ops, unix_seqpacket_ops,
	unix_dgram_ops, tcp_ops, udp_ops, netlink_ops;

#define NAME_BUCKETS 256

LIST_HEAD(socket_list, socket);

/**
 * struct net - what the sockets of a sandbox have in common
 * @lock: protects names and ports
 * @names: AF_UNIX, by name
 * @ports: by port; [0] TCP, [1] UDP
 * @next_port: where the search for a free one goes on
 * @next_netlink: likewise
 * @collect_lock: see the lock order
 * @flight_lock: protects the rest
 * @nr_flying: files in flight
 * @flying: AF_UNIX sockets among these
 * @memory: bytes of received data, roughly
 */
struct net {
	pthread_mutex_t lock;
	struct socket_list names[NAME_BUCKETS];
	struct socket_list ports[2][NAME_BUCKETS];
	unsigned int next_port;
	uint32_t next_netlink;
	pthread_mutex_t collect_lock;
	pthread_mutex_t flight_lock;
	unsigned long nr_flying;
	struct socket_list flying;
	atomic_ulong memory;
};

/* Received data of all sockets of a sandbox, beyond what each may have anyway. */
#define NET_MEMORY_MAX (256ul << 20)

/* socket.c */

int socket_create(struct task *t, int family, int type, int protocol,
		  struct socket **out);
/* Another of the same kind, with the options of @s: for a connection. */
struct socket *socket_clone(struct task *t, struct socket *s);
struct socket *socket_get(struct socket *s);
void socket_put(struct socket *s);
/* A file for it; consumes the reference, on failure too. NULL: no memory. */
struct file *socket_file(struct socket *s, int flags);
/* The socket of a file, or NULL. */
struct socket *file_socket(struct file *f);
extern const struct file_ops socket_file_ops;

static inline enum socket_state socket_state(struct socket *s)
{
	return (enum socket_state)atomic_load_explicit(&s->state,
						       memory_order_acquire);
}

/* The other end of a connection; NULL before there is one. Not of a datagram socket. */
static inline struct socket *socket_peer(struct socket *s)
{
	return likely(socket_state(s) == SOCKET_CONNECTED) ? s->peer : NULL;
}

static inline unsigned int socket_shut(struct socket *s)
{
	return atomic_load_explicit(&s->shut, memory_order_relaxed);
}

/* Take the pending error: 0 or -errno. */
static inline int socket_take_error(struct socket *s)
{
	if (likely(!atomic_load_explicit(&s->err, memory_order_relaxed)))
		return 0;
	return -atomic_exchange(&s->err, 0);
}

/* Set bits of @shut and a pending error (0: none), and wake who waits. */
void socket_end(struct socket *s, unsigned int shut, int err);

/**
 * socket_wait() - repeat something until it is done
 * @t: the calling task
 * @q: woken when it is worth trying again
 * @timeout: ns, or FOREVER
 * @try: -EAGAIN: not yet
 * @s, @arg: for @try
 *
 * Return: what @try returned; -EAGAIN when the time is over; -ERESTARTSYS, or
 * -EINTR with a timeout, if a signal came.
 */
ssize_t socket_wait(struct task *t, struct wait_queue *q, uint64_t timeout,
		    ssize_t (*try)(struct task *t, struct socket *s, void *arg),
		    struct socket *s, void *arg);

/* message.c */

/**
 * struct message - one sending or receiving call
 * @t: the calling task
 * @iov: memory; of the program if @user, else of the sentry
 * @cnt: pieces
 * @at: how far into @iov[0]
 * @len: bytes left in @iov
 * @user: see @iov
 * @flags: MSG_*
 * @nonblock: do not wait
 * @want_name: receiving: the source is asked for
 * @name: sending: destination; receiving: source. len 0: none.
 * @scm: sending: control message, owned by the call until it is taken (NULL
 *	then); receiving: files that came along, owned by the caller
 * @creds: receiving: of the sender
 * @out_flags: receiving: MSG_TRUNC, MSG_EOR
 */
struct message {
	struct task *t;
	struct iovec *iov;
	int cnt;
	size_t at, len;
	bool user;
	int flags;
	bool nonblock, want_name;
	struct address name;
	struct scm *scm;
	struct ucred creds;
	int out_flags;
};

/* All but the name's bytes, which are many: this is on every call's way. */
static inline void message_init(struct message *m, struct task *t,
				const struct iovec *iov, int cnt, size_t len,
				int flags)
{
	m->t = t;
	m->iov = (struct iovec *)iov;
	m->cnt = cnt;
	m->at = 0;
	m->len = len;
	m->user = true;
	m->flags = flags;
	m->nonblock = m->want_name = false;
	m->name.len = 0;
	m->scm = NULL;
	m->creds = (struct ucred){ 0 };
	m->out_flags = 0;
}

/* Copy from or to the message's memory and move on: 0 or -EFAULT. */
int message_get(struct message *m, void *dst, size_t len);
int message_put(struct message *m, const void *src, size_t len);
/* Move on without copying. */
void message_skip(struct message *m, size_t len);

/* rx.c */

void rx_init(struct rx *rx, uint32_t limit);
/* Free all; the files go too. */
void rx_purge(struct socket *s);

/**
 * struct packet - a message in a receive queue
 * @from: source
 * @creds: of the sender
 * @scm: files, or NULL
 * @seen: MSG_PEEK of a sequential one: unused otherwise
 */
struct packet {
	STAILQ_ENTRY(packet) link;
	struct address from;
	struct ucred creds;
	struct scm *scm;
	size_t len;
	char data[];
};

/* A packet with the message's bytes, or NULL and *err. */
struct packet *packet_create(struct message *m, int *err);
void packet_free(struct packet *p);
/* Put it into @to's queue; under rx.lock. */
void packet_queue_locked(struct socket *to, struct packet *p);
/* Is there no room for another @len bytes? Under rx.lock. */
bool packets_full_locked(struct socket *to, size_t len);
/* Receive one, waiting as the message says: bytes, or -errno. */
ssize_t packet_recv(struct task *t, struct socket *s, struct message *m);

/* stream.c */

ssize_t stream_send(struct task *t, struct socket *s, struct message *m);
ssize_t stream_recv(struct task *t, struct socket *s, struct message *m);
/* Bytes that can be read; of a queue: of the first message. */
size_t socket_readable(struct socket *s);
/* Bytes that the peer has not read yet. */
size_t socket_unread(struct socket *s);
/* May the socket's sender go on? Notes that somebody wants to know if not. */
bool stream_writable(struct socket *s);
/* Make two sockets the ends of one connection; the first gets into @state. */
void stream_join(struct socket *a, struct socket *b, enum socket_state state);

/* connection.c */

/*
 * Join @s with @child and queue that at @listener; under s->lock: 0,
 * -ECONNREFUSED, or -EAGAIN: the queue is full, nothing was done (a TCP socket
 * gets into the state SOCKET_CONNECTING instead).
 */
int listener_queue(struct socket *listener, struct socket *s,
		   struct socket *child);
/* Wait until the queue has room, or the socket is no longer listening. */
int listener_wait(struct task *t, struct socket *listener, uint64_t timeout);
/* Start listening, or change the backlog; under socket.lock. */
void listener_start(struct task *t, struct socket *s, int backlog);
/* accept(2): a reference in *out, or -errno. */
int listener_accept(struct task *t, struct socket *s, bool nonblock,
		    struct socket **out);
/* What waits to be accepted is refused. */
void listener_close(struct socket *s);
/* The connection is no more, or never was: drop what is left of it. */
void connection_forget(struct socket *s);
/* struct socket_ops of sockets with connections */
int connection_shutdown(struct socket *s, unsigned int how);
void connection_release(struct socket *s);
short connection_poll(struct socket *s);

/* scm.c */

#define SCM_FILES_MAX 253

/**
 * struct scm - a control message on its way
 * @link: in rx.marks
 * @start, @end: stream: bytes of the ring that it belongs to
 * @creds: of the sender
 * @explicit_creds: given by SCM_CREDENTIALS
 * @nr_files: of these
 * @files: references
 */
struct scm {
	TAILQ_ENTRY(scm) link;
	uint64_t start, end;
	struct ucred creds;
	bool explicit_creds;
	unsigned int nr_files;
	struct file *files[];
};

struct scm *scm_alloc(unsigned int nr_files);
/* From msg_control of sendmsg(2), into m->scm: 0 or -errno. */
int scm_import(struct task *t, struct socket *s, struct message *m,
	       uint64_t addr, uint64_t len);
/* The same files once more (MSG_PEEK), or NULL. */
struct scm *scm_dup(const struct scm *scm);
/* Free; puts the files. NULL is fine. Never under a lock. */
void scm_free(struct scm *scm);
/* Its files are in a queue from now on: 0 or -ETOOMANYREFS. */
int scm_launch(struct task *t, struct net *net, struct scm *scm);
/* They are no longer. */
void scm_land(struct net *net, struct scm *scm);
/*
 * Files were duplicated out of a queue, which scm_collect() may be looking at:
 * wait for its end before the program gets them. Under no lock.
 */
void scm_peeked(struct net *net);
/* Free files of sockets that only their own queues hold. */
void scm_collect(struct net *net);
void task_creds(struct task *t, struct ucred *c);
static const struct ucred nobody = { 0, 65534, 65534 };

/* address.c: addresses */

int address_import(struct task *t, struct address *a, uint64_t addr,
		   int len);
/* As accept(2) and the like give it: 0 or -errno. */
int address_export(struct task *t, const struct address *a, uint64_t addr,
		   uint64_t len_addr);

/* unix_name.c: names of AF_UNIX sockets */

int unix_bind(struct task *t, struct socket *s, const struct address *a);
int unix_autobind(struct task *t, struct socket *s);
void unix_unbind(struct socket *s);
/* The socket with a name, a reference: 0 or -errno. */
int unix_find(struct task *t, struct socket *s, const struct address *a,
	      struct socket **out);
int unix_get_name(struct socket *s, bool peer, struct address *out);

/* inet.c: addresses and ports */

int inet_import(struct socket *s, const struct address *a,
		struct inet_name *out);
void inet_export(struct socket *s, const struct inet_name *n,
		 struct address *out);
int inet_bind(struct task *t, struct socket *s, const struct address *a);
/* A port of its own, if it has none: 0 or -EADDRINUSE. Under no lock. */
int inet_autobind(struct socket *s);
void inet_unbind(struct socket *s);
/* Gives up what bind() did not ask for; under net.lock and the socket's lock. */
void inet_reset_local_locked(struct socket *s);
int inet_get_name(struct socket *s, bool peer, struct address *out);
/* Where a packet to @to goes: 0 and the address itself, or -ENETUNREACH. */
int inet_route(struct inet_name *to);
/* The name a packet to @to comes from, given the bound name. */
void inet_source(const struct socket *s, const struct inet_name *to,
		 struct inet_name *from);
/* Who receives what @from sends to @to: a reference, or NULL. */
struct socket *inet_find(struct net *net, bool udp, const struct inet_name *to,
			 const struct inet_name *from);
bool inet_is_any(const struct in6_addr *ip);

/* options.c, ioctl.c */

void socket_options_init(struct socket *s);
/* Value of an option that is stored, or @none. */
int socket_option(struct socket *s, int level, int name);
long socket_ioctl(struct task *t, struct file *f, unsigned int cmd,
		  uint64_t arg);

#endif /* _SENTRY_SOCKET_INTERNAL_H */
