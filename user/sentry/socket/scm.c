// SPDX-License-Identifier: MIT
/*
 * scm.c - control messages: files and credentials that travel along
 *
 * A file in flight is one that a message in some queue holds. Sockets may be
 * sent over each other until nothing but queues refers to them: scm_collect()
 * finds those and empties their queues. It works under net.flight_lock, which
 * sending and receiving a file also takes, so that nothing takes off or lands
 * meanwhile. A socket none of whose references is outside of queues cannot be
 * got at by anybody, and neither can what only its own queue holds:
 *
 *   1. candidates: sockets with as many references as they are times in flight
 *   2. each reference from a candidate's queue is taken off its target's count
 *   3. a candidate with a count left is held from outside: it is none, and what
 *      its queue holds gets its references back, and so on
 *   4. what remains is garbage
 *
 * Anything that is on its way into or out of a queue counts as held from outside.
 */
#include "sentry/socket/internal.h"

/* Longest msg_control that is looked at; 253 descriptors need 1 KiB. */
#define CONTROL_MAX 20480

void task_creds(struct task *t, struct ucred *c)
{
	c->pid = t->tg->tgid;
	c->uid = t->cred.uid;
	c->gid = t->cred.gid;
}

struct scm *scm_alloc(unsigned int nr_files)
{
	return calloc(1, sizeof(struct scm) +
				 nr_files * sizeof(struct file *));
}

/**
 * struct scm_drain - files being put by a thread
 * @list: those that are still to be put
 * @collect: where to look for garbage when that is done, or NULL
 *
 * Putting a file may free a socket, whose queue holds files, and so on: those
 * wait on a list of the thread instead of on its stack, and however many
 * sockets that ends, the collector runs once.
 */
struct scm_drain {
	TAILQ_HEAD(, scm) list;
	struct net *collect;
};

static __thread struct scm_drain *draining;

static void put_files(struct scm *scm)
{
	unsigned int i;

	for (i = 0; i < scm->nr_files; i++)
		file_put(scm->files[i]);
	free(scm);
}

void scm_free(struct scm *scm)
{
	struct scm_drain later = { .collect = NULL };

	if (!scm)
		return;
	if (draining) {
		TAILQ_INSERT_TAIL(&draining->list, scm, link);
		return;
	}
	TAILQ_INIT(&later.list);
	draining = &later;
	put_files(scm);
	while ((scm = TAILQ_FIRST(&later.list))) {
		TAILQ_REMOVE(&later.list, scm, link);
		put_files(scm);
	}
	draining = NULL;
	if (later.collect)
		scm_collect(later.collect);
}

struct scm *scm_dup(const struct scm *scm)
{
	struct scm *copy = scm_alloc(scm->nr_files);
	unsigned int i;

	if (!copy)
		return NULL;
	copy->creds = scm->creds;
	copy->nr_files = scm->nr_files;
	for (i = 0; i < scm->nr_files; i++)
		copy->files[i] = file_get(scm->files[i]);
	return copy;
}

/* from the program */

static int import_files(struct task *t, struct scm **out, const int *fds,
			size_t n)
{
	struct scm *scm;
	size_t i;

	if (*out && (*out)->nr_files)
		return -EINVAL;
	scm = scm_alloc((unsigned int)n);
	if (!scm)
		return -ENOMEM;
	scm->creds = (*out)->creds;
	scm->explicit_creds = (*out)->explicit_creds;
	scm_free(*out);
	*out = scm;
	for (i = 0; i < n; i++) {
		scm->files[i] = fd_get_io(t, fds[i]);
		if (!scm->files[i])
			return -EBADF;
		scm->nr_files++;
	}
	return 0;
}

static bool one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
	return id == a || id == b || id == c;
}

/* A process may name itself only. */
static int import_creds(struct task *t, struct scm *scm, const struct ucred *u)
{
	const struct cred *c = &t->cred;

	if (u->pid != t->tg->tgid || !one_of(u->uid, c->uid, c->euid, c->suid) ||
	    !one_of(u->gid, c->gid, c->egid, c->sgid))
		return -EPERM;
	scm->creds = *u;
	scm->explicit_creds = true;
	return 0;
}

static int import_one(struct task *t, struct socket *s, struct scm **out,
		      const struct cmsghdr *c)
{
	size_t len = c->cmsg_len - CMSG_LEN(0);
	struct ucred u;

	/* Those of IP and the like change nothing on a loopback interface. */
	if (c->cmsg_level != SOL_SOCKET)
		return 0;
	switch (c->cmsg_type) {
	case SCM_RIGHTS:
		if (s->family != AF_UNIX || len / sizeof(int) > SCM_FILES_MAX)
			return -EINVAL;
		return import_files(t, out, (const int *)CMSG_DATA(c),
				    len / sizeof(int));
	case SCM_CREDENTIALS:
		if (len != sizeof(u))
			return -EINVAL;
		memcpy(&u, CMSG_DATA(c), sizeof(u));
		return import_creds(t, *out, &u);
	default:
		return -EINVAL;
	}
}

/* @buf is the sentry's own copy. */
static int import_all(struct task *t, struct socket *s, struct scm **out,
		      const char *buf, size_t len)
{
	const struct cmsghdr *c;
	size_t at = 0;
	int err = 0;

	while (!err && len - at >= sizeof(*c)) {
		c = (const struct cmsghdr *)(buf + at);
		if (c->cmsg_len < sizeof(*c) || c->cmsg_len > len - at)
			return -EINVAL;
		err = import_one(t, s, out, c);
		if (CMSG_ALIGN(c->cmsg_len) >= len - at)
			break;
		at += CMSG_ALIGN(c->cmsg_len);
	}
	return err;
}

int scm_import(struct task *t, struct socket *s, struct message *m,
	       uint64_t addr, uint64_t len)
{
	struct scm *scm;
	char *buf;
	int err;

	if (!len)
		return 0;
	if (len > CONTROL_MAX)
		return -ENOBUFS;
	buf = malloc(len);
	scm = scm_alloc(0);
	err = buf && scm ? copy_from_user(t, buf, addr, len) : -ENOMEM;
	if (!err) {
		task_creds(t, &scm->creds);
		err = import_all(t, s, &scm, buf, len);
	}
	free(buf);
	if (err || (!scm->nr_files && !scm->explicit_creds)) {
		scm_free(scm);
		return err;
	}
	m->scm = scm;
	return 0;
}

/* in flight */

/* The AF_UNIX socket of a file, which alone can be part of a cycle. */
static struct socket *flying_socket(struct file *f)
{
	struct socket *s = file_socket(f);

	return s && s->family == AF_UNIX ? s : NULL;
}

int scm_launch(struct task *t, struct net *net, struct scm *scm)
{
	uint64_t max = t->tg->rlimits[RLIMIT_NOFILE].rlim_cur;
	struct socket *s;
	unsigned int i;
	int err = 0;

	pthread_mutex_lock(&net->flight_lock);
	if (net->nr_flying + scm->nr_files > max)
		err = -ETOOMANYREFS;
	for (i = 0; !err && i < scm->nr_files; i++) {
		s = flying_socket(scm->files[i]);
		if (s && !s->flight++)
			LIST_INSERT_HEAD(&net->flying, s, flight_link);
	}
	if (!err)
		net->nr_flying += scm->nr_files;
	pthread_mutex_unlock(&net->flight_lock);
	return err;
}

static void land_locked(struct net *net, struct scm *scm)
{
	struct socket *s;
	unsigned int i;

	for (i = 0; i < scm->nr_files; i++) {
		s = flying_socket(scm->files[i]);
		if (s && !--s->flight)
			LIST_REMOVE(s, flight_link);
	}
	net->nr_flying -= scm->nr_files;
}

void scm_land(struct net *net, struct scm *scm)
{
	if (!scm->nr_files)
		return;
	pthread_mutex_lock(&net->flight_lock);
	land_locked(net, scm);
	pthread_mutex_unlock(&net->flight_lock);
}

void scm_peeked(struct net *net)
{
	pthread_mutex_lock(&net->flight_lock);
	pthread_mutex_unlock(&net->flight_lock);
}

/* the collector; all under flight_lock */

SLIST_HEAD(gc_list, socket);

/**
 * struct gc - a collection under way
 * @delta: added to the count of each candidate that a queue holds
 * @found: candidates whose count rose
 */
struct gc {
	long delta;
	struct gc_list found;
};

static void gc_file(struct gc *gc, struct file *f)
{
	struct socket *s = flying_socket(f);

	if (!s || !s->gc_queued)
		return;
	s->gc_refs += gc->delta;
	/* Held by something that is held from outside. */
	if (gc->delta > 0) {
		s->gc_queued = false;
		SLIST_INSERT_HEAD(&gc->found, s, gc_link);
	}
}

static void gc_scm(struct gc *gc, const struct scm *scm)
{
	unsigned int i;

	for (i = 0; scm && i < scm->nr_files; i++)
		gc_file(gc, scm->files[i]);
}

static void gc_rx(struct gc *gc, struct socket *s)
{
	struct packet *p;
	struct scm *m;

	pthread_mutex_lock(&s->rx.lock);
	TAILQ_FOREACH(m, &s->rx.marks, link)
		gc_scm(gc, m);
	STAILQ_FOREACH(p, &s->rx.packets, link)
		gc_scm(gc, p->scm);
	pthread_mutex_unlock(&s->rx.lock);
}

/* What a socket holds: its own queue, and those of connections not accepted. */
static void gc_children(struct gc *gc, struct socket *s)
{
	struct socket *child;

	gc_rx(gc, s);
	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH(child, &s->ready, queue_link)
		gc_rx(gc, child);
	pthread_mutex_unlock(&s->lock);
}

/* Steps 1 and 2. */
static void gc_candidates(struct net *net)
{
	struct gc gc = { .delta = -1 };
	struct socket *s;

	LIST_FOREACH(s, &net->flying, flight_link) {
		s->gc_refs = s->file ? (long)s->flight : -1;
		s->gc_queued = s->file && atomic_load(&s->file->refs) ==
						  s->flight;
	}
	LIST_FOREACH(s, &net->flying, flight_link) {
		if (s->gc_queued)
			gc_children(&gc, s);
	}
}

/* Step 3. */
static void gc_restore(struct net *net)
{
	struct gc gc = { .delta = 1, .found = SLIST_HEAD_INITIALIZER(gc.found) };
	struct socket *s;

	LIST_FOREACH(s, &net->flying, flight_link) {
		if (s->gc_queued && s->gc_refs > 0) {
			s->gc_queued = false;
			SLIST_INSERT_HEAD(&gc.found, s, gc_link);
		}
	}
	while ((s = SLIST_FIRST(&gc.found))) {
		SLIST_REMOVE_HEAD(&gc.found, gc_link);
		gc_children(&gc, s);
	}
}

/* Step 4: references to garbage, to be emptied without the lock. */
static void gc_garbage(struct net *net, struct gc_list *garbage)
{
	struct socket *s;

	LIST_FOREACH(s, &net->flying, flight_link) {
		if (s->gc_queued) {
			s->gc_queued = false;
			socket_get(s);
			SLIST_INSERT_HEAD(garbage, s, gc_link);
		}
	}
}

void scm_collect(struct net *net)
{
	static __thread bool collecting;
	struct gc_list garbage = SLIST_HEAD_INITIALIZER(garbage);
	struct socket *s;

	if (draining) {
		draining->collect = net;
		return;
	}
	/* What it frees are sockets, whose end would ask for it again. */
	if (collecting)
		return;
	pthread_mutex_lock(&net->collect_lock);
	pthread_mutex_lock(&net->flight_lock);
	gc_candidates(net);
	gc_restore(net);
	gc_garbage(net, &garbage);
	pthread_mutex_unlock(&net->flight_lock);
	collecting = true;
	while ((s = SLIST_FIRST(&garbage))) {
		SLIST_REMOVE_HEAD(&garbage, gc_link);
		if (socket_state(s) == SOCKET_LISTENING)
			listener_close(s);
		rx_purge(s);
		socket_put(s);
	}
	collecting = false;
	pthread_mutex_unlock(&net->collect_lock);
}
