// SPDX-License-Identifier: MIT
/*
 * poll.c - poll, ppoll, select, pselect6
 *
 * Files of the sentry tell of changes through wait queues, descriptors of the
 * host through one ppoll() of the host. A call that has both kinds sleeps in
 * the host's ppoll(), which a wake-up of the sentry's ends through an eventfd.
 */
#include <sys/eventfd.h>
#include <sys/select.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

#define ALWAYS_READY (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

/**
 * struct poll_item - a descriptor in a poll
 * @f: its file, a reference; NULL: bad, or to be ignored
 * @w: on the file's queues while @queued
 * @kick_fd: written to when @w is woken, if its task sleeps in the host
 */
struct poll_item {
	struct file *f;
	struct waiter w;
	bool queued;
	int kick_fd;
};

/**
 * struct poll_set - a poll under way
 * @t: task
 * @fds: what is asked, and the answer
 * @n: of these
 * @items: files, parallel to @fds
 * @host: for the host's ppoll(); entries of files that are none have fd -1. One
 *	more than @n: the kick_fd.
 * @nr_host: files of the host among them
 * @kick_fd: see struct poll_item; -1: none
 */
struct poll_set {
	struct task *t;
	struct pollfd *fds;
	unsigned int n;
	struct poll_item *items;
	struct pollfd *host;
	unsigned int nr_host;
	int kick_fd;
};

/* Every thread has at most one eventfd for its polls, which ends with it. */
static pthread_key_t kick_key;
static pthread_once_t kick_once = PTHREAD_ONCE_INIT;

static void kick_fd_close(void *fd_plus_one)
{
	close((int)(intptr_t)fd_plus_one - 1);
}

static void kick_key_init(void)
{
	pthread_key_create(&kick_key, kick_fd_close);
}

static int kick_fd_get(void)
{
	int fd;

	pthread_once(&kick_once, kick_key_init);
	fd = (int)(intptr_t)pthread_getspecific(kick_key) - 1;
	if (fd >= 0)
		return fd;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd >= 0)
		pthread_setspecific(kick_key, (void *)(intptr_t)(fd + 1));
	return fd < 0 ? -errno : fd;
}

static void kick_drain(int fd)
{
	uint64_t v;

	if (read(fd, &v, sizeof(v)) < 0)
		return;
}

/* A file of the sentry has changed while the poller sleeps in the host. */
static void poll_kick(struct waiter *w)
{
	const struct poll_item *it = container_of(w, struct poll_item, w);
	uint64_t one = 1;

	if (write(it->kick_fd, &one, sizeof(one)) < 0)
		return;
}

static int poll_set_init(struct poll_set *s, struct task *t,
			 struct pollfd *fds, unsigned int n)
{
	unsigned int i;

	*s = (struct poll_set){ .t = t, .fds = fds, .n = n, .kick_fd = -1 };
	s->items = calloc(n + 1, sizeof(*s->items));
	s->host = calloc(n + 1, sizeof(*s->host));
	if (!s->items || !s->host) {
		free(s->items);
		free(s->host);
		return -ENOMEM;
	}
	for (i = 0; i < n; i++) {
		s->host[i].fd = -1;
		s->items[i].f = fds[i].fd >= 0 ? fd_get_io(t, fds[i].fd) : NULL;
		if (!s->items[i].f || !s->items[i].f->host_poll)
			continue;
		s->host[i].fd = s->items[i].f->host_fd;
		s->host[i].events = fds[i].events;
		s->nr_host++;
	}
	s->host[n] = (struct pollfd){ -1, POLLIN, 0 };
	return 0;
}

/* Before the first sleep: does it need a kick_fd? 0 or -errno. */
static int poll_set_prepare(struct poll_set *s)
{
	if (!s->nr_host || s->nr_host == s->n)
		return 0;
	s->kick_fd = kick_fd_get();
	if (s->kick_fd < 0)
		return s->kick_fd;
	kick_drain(s->kick_fd);
	s->host[s->n].fd = s->kick_fd;
	return 0;
}

static void poll_set_destroy(struct poll_set *s)
{
	struct poll_item *it;
	unsigned int i;

	for (i = 0; i < s->n; i++) {
		it = &s->items[i];
		if (it->queued)
			it->f->ops->poll_done(s->t, it->f, &it->w);
		file_put(it->f);
	}
	free(s->items);
	free(s->host);
}

/* Events of a file of the sentry; queues it too, once, if @queue. */
static short item_events(struct poll_set *s, struct poll_item *it, bool queue)
{
	struct waiter *w = NULL;

	if (!it->f->ops->poll)
		return ALWAYS_READY;
	if (queue && !it->queued) {
		waiter_init(&it->w, s->t);
		it->kick_fd = s->kick_fd;
		if (s->kick_fd >= 0)
			it->w.wake = poll_kick;
		w = &it->w;
		it->queued = true;
	}
	return it->f->ops->poll(s->t, it->f, w);
}

/* Answers from the sentry's files; the number that are ready. */
static int scan_sentry(struct poll_set *s, bool queue)
{
	unsigned int i;
	int ready = 0;

	for (i = 0; i < s->n; i++) {
		struct pollfd *p = &s->fds[i];

		p->revents = 0;
		if (p->fd < 0 || (s->items[i].f && s->items[i].f->host_poll))
			continue;
		if (!s->items[i].f)
			p->revents = POLLNVAL;
		else
			p->revents = item_events(s, &s->items[i], queue) &
				     (p->events | POLLERR | POLLHUP);
		ready += p->revents != 0;
	}
	return ready;
}

static int scan_host(struct poll_set *s)
{
	unsigned int i;
	int ready = 0;

	for (i = 0; i < s->n; i++) {
		if (s->host[i].fd < 0)
			continue;
		s->fds[i].revents = s->host[i].revents;
		ready += s->fds[i].revents != 0;
	}
	return ready;
}

/* The host's files, sleeping until @deadline at most (0: not at all). */
static long poll_host(struct poll_set *s, uint64_t deadline)
{
	uint64_t now = deadline && deadline != FOREVER ? monotonic_ns() : 0;
	uint64_t left = deadline > now ? deadline - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(left / 1000000000u),
			       .tv_nsec = (long)(left % 1000000000u) };
	const long a[6] = { (long)s->host, s->n + 1,
			    deadline == FOREVER ? 0 : (long)&ts };

	return task_host_syscall(s->t, SYS_ppoll, a);
}

/* Look once, sleeping for the host's files if @queue: ready, or -EINTR. */
static int poll_once(struct poll_set *s, uint64_t deadline, bool queue)
{
	int ready = scan_sentry(s, queue);
	long n = 0;

	if (s->nr_host) {
		n = poll_host(s, ready || !queue ? 0 : deadline);
		if (n > 0)
			ready += scan_host(s);
		if (n > 0 && s->host[s->n].revents)
			kick_drain(s->kick_fd);
	}
	return n < 0 && !ready ? (int)n : ready;
}

static int poll_sleep(struct poll_set *s, uint64_t deadline)
{
	int ready, err = poll_set_prepare(s);

	for (;;) {
		ready = poll_once(s, deadline, true);
		if (ready || err)
			return ready ? ready : err;
		if (!s->nr_host)
			err = task_block(s->t, deadline);
		else if (deadline != FOREVER && monotonic_ns() >= deadline)
			err = -ETIMEDOUT;
	}
}

/* Ready descriptors, 0 at the deadline (0: do not wait), or -ERESTARTNOHAND. */
static int do_poll(struct task *t, struct pollfd *fds, unsigned int n,
		   uint64_t deadline)
{
	struct poll_set s;
	int ret;

	ret = poll_set_init(&s, t, fds, n);
	if (ret)
		return ret;
	ret = poll_once(&s, 0, false);
	if (!ret && deadline)
		ret = poll_sleep(&s, deadline);
	poll_set_destroy(&s);
	if (ret == -ETIMEDOUT)
		return 0;
	return ret == -EINTR || ret == -ERESTARTSYS ? -ERESTARTNOHAND : ret;
}

/* a queue and a descriptor of the host: for epoll */

static void queue_poll_kick(struct waiter *w)
{
	struct queue_poll *qp = container_of(w, struct queue_poll, w);
	uint64_t one = 1;

	task_wake(qp->t);
	if (write(qp->kick_fd, &one, sizeof(one)) < 0)
		return;
}

void queue_poll_begin(struct queue_poll *qp, struct task *t,
		      struct wait_queue *q)
{
	qp->t = t;
	qp->q = q;
	qp->kick_fd = -1;
	waiter_init(&qp->w, t);
	wait_queue_add(q, &qp->w);
}

void queue_poll_end(struct queue_poll *qp)
{
	wait_queue_remove(qp->q, &qp->w);
}

int queue_poll_sleep(struct queue_poll *qp, int host_fd, uint64_t deadline)
{
	struct pollfd fds[2] = { { host_fd, POLLIN, 0 } };
	struct poll_set s = { .t = qp->t, .host = fds, .n = 1 };
	long n;

	if (host_fd < 0)
		return task_block(qp->t, deadline);
	if (qp->kick_fd < 0) {
		/* From now on wake-ups write to it; look once more for before. */
		qp->kick_fd = kick_fd_get();
		if (qp->kick_fd < 0)
			return qp->kick_fd;
		wait_queue_remove(qp->q, &qp->w);
		kick_drain(qp->kick_fd);
		qp->w.wake = queue_poll_kick;
		wait_queue_add(qp->q, &qp->w);
		return 0;
	}
	fds[1] = (struct pollfd){ qp->kick_fd, POLLIN, 0 };
	n = poll_host(&s, deadline);
	if (n > 0 && fds[1].revents)
		kick_drain(qp->kick_fd);
	if (n == 0)
		return -ETIMEDOUT;
	return n < 0 ? (int)restart_ret(n) : 0;
}

/* timeouts */

uint64_t poll_deadline(uint64_t ns)
{
	uint64_t now = monotonic_ns();

	if (!ns)
		return 0;
	return ns < FOREVER - now ? now + ns : FOREVER;
}

int poll_import_timeout(struct task *t, uint64_t addr, uint64_t *deadline)
{
	struct timespec ts;

	*deadline = FOREVER;
	if (!addr)
		return 0;
	if (copy_from_user(t, &ts, addr, sizeof(ts)))
		return -EFAULT;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		return -EINVAL;
	if ((uint64_t)ts.tv_sec < FOREVER / 1000000000u - 1)
		*deadline = poll_deadline(timespec_to_ns(&ts));
	return 0;
}

/* What is left of a timeout goes back to the program, as Linux does. */
static void export_timeout(struct task *t, uint64_t addr, uint64_t deadline,
			   bool micro)
{
	uint64_t now, left;
	uint64_t ts[2];

	if (!addr || deadline == FOREVER)
		return;
	now = monotonic_ns();
	left = deadline > now ? deadline - now : 0;
	ts[0] = left / 1000000000u;
	ts[1] = left % 1000000000u / (micro ? 1000 : 1);
	(void)copy_to_user(t, addr, ts, sizeof(ts));
}

int poll_import_sigmask(struct task *t, uint64_t addr, uint64_t size,
			bool *saved)
{
	sigmask_t mask;

	*saved = false;
	if (!addr)
		return 0;
	if (size != sizeof(mask))
		return -EINVAL;
	if (get_user_u64(t, &mask, addr))
		return -EFAULT;
	signal_mask_save(t, mask);
	*saved = true;
	return 0;
}

/* The old mask comes back at once, unless a handler is about to run. */
static void restore_sigmask(struct task *t, bool saved, long ret)
{
	if (saved && ret != -ERESTARTNOHAND)
		signal_mask_restore(t);
}

/* poll, ppoll */

static long poll_fds(struct task *t, uint64_t addr, uint64_t n,
		     uint64_t deadline)
{
	struct pollfd few[32], *fds = few;
	long ret;

	if (n > t->tg->rlimits[RLIMIT_NOFILE].rlim_cur || n > INT_MAX / 64)
		return -EINVAL;
	if (n > ARRAY_SIZE(few))
		fds = malloc(n * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	ret = copy_from_user(t, fds, addr, n * sizeof(*fds));
	if (!ret)
		ret = do_poll(t, fds, (unsigned int)n, deadline);
	if (ret >= 0 && copy_to_user(t, addr, fds, n * sizeof(*fds)))
		ret = -EFAULT;
	if (fds != few)
		free(fds);
	return ret;
}

/* poll() is restarted with the time that is left, not with the whole. */
static long poll_restart(struct task *t)
{
	long ret = poll_fds(t, t->restart_args[0], t->restart_args[1],
			    t->restart_args[2]);

	return ret == -ERESTARTNOHAND ? -ERESTART_RESTARTBLOCK : ret;
}

long sys_poll(struct task *t, const uint64_t *args)
{
	int ms = (int)args[2];
	uint64_t deadline = ms < 0 ? FOREVER :
				     poll_deadline((uint64_t)ms * 1000000u);
	long ret = poll_fds(t, args[0], (unsigned int)args[1], deadline);

	if (ret != -ERESTARTNOHAND)
		return ret;
	t->restart_fn = poll_restart;
	t->restart_args[0] = args[0];
	t->restart_args[1] = (unsigned int)args[1];
	t->restart_args[2] = deadline;
	return -ERESTART_RESTARTBLOCK;
}

long sys_ppoll(struct task *t, const uint64_t *args)
{
	uint64_t deadline;
	bool saved;
	long ret;

	ret = poll_import_timeout(t, args[2], &deadline);
	if (!ret)
		ret = poll_import_sigmask(t, args[3], args[4], &saved);
	if (ret)
		return ret;
	ret = poll_fds(t, args[0], (unsigned int)args[1], deadline);
	restore_sigmask(t, saved, ret);
	export_timeout(t, args[2], deadline, false);
	return ret;
}

/* select, pselect6 */

#define SELECT_MAX 65536
#define SELECT_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX POLLPRI

/* The three sets, as bytes of the program; in the order of the arguments. */
struct select_sets {
	unsigned char *bits[3];
	size_t bytes;
};

static bool set_has(const struct select_sets *s, int which, int fd)
{
	return s->bits[which][fd / 8] & 1u << fd % 8;
}

static int select_import(struct task *t, const uint64_t *args, int n,
			 struct select_sets *s)
{
	int i;

	s->bytes = ((size_t)n + 63) / 64 * 8;
	s->bits[0] = calloc(3, s->bytes + 1);
	if (!s->bits[0])
		return -ENOMEM;
	s->bits[1] = s->bits[0] + s->bytes;
	s->bits[2] = s->bits[1] + s->bytes;
	for (i = 0; i < 3; i++) {
		if (args[1 + i] && copy_from_user(t, s->bits[i], args[1 + i],
						  s->bytes)) {
			free(s->bits[0]);
			return -EFAULT;
		}
	}
	return 0;
}

static int select_export(struct task *t, const uint64_t *args,
			 const struct select_sets *s)
{
	int i;

	for (i = 0; i < 3; i++) {
		if (args[1 + i] &&
		    copy_to_user(t, args[1 + i], s->bits[i], s->bytes))
			return -EFAULT;
	}
	return 0;
}

static unsigned int select_to_poll(const struct select_sets *s, int n,
				   struct pollfd *fds)
{
	unsigned int cnt = 0;
	short events;
	int fd;

	for (fd = 0; fd < n; fd++) {
		events = (short)((set_has(s, 0, fd) ? SELECT_IN : 0) |
				 (set_has(s, 1, fd) ? SELECT_OUT : 0) |
				 (set_has(s, 2, fd) ? SELECT_EX : 0));
		if (events)
			fds[cnt++] = (struct pollfd){ fd, events, 0 };
	}
	return cnt;
}

/* Put the answer into the sets; the number of bits, or -EBADF. */
static int select_from_poll(struct select_sets *s, const struct pollfd *fds,
			    unsigned int cnt)
{
	static const short events[3] = { SELECT_IN, SELECT_OUT, SELECT_EX };
	struct select_sets old = *s;
	int i, bits = 0;
	unsigned int k;

	for (k = 0; k < cnt; k++) {
		int fd = fds[k].fd;

		if (fds[k].revents & POLLNVAL)
			return -EBADF;
		for (i = 0; i < 3; i++) {
			if (!set_has(&old, i, fd))
				continue;
			if (fds[k].revents & events[i])
				bits++;
			else
				s->bits[i][fd / 8] &=
					(unsigned char)~(1u << fd % 8);
		}
	}
	return bits;
}

static long select_fds(struct task *t, const uint64_t *args, uint64_t deadline)
{
	int n = (int)args[0];
	struct select_sets s;
	struct pollfd *fds;
	unsigned int cnt;
	long ret;

	if (n < 0)
		return -EINVAL;
	n = MIN(n, SELECT_MAX);
	ret = select_import(t, args, n, &s);
	if (ret)
		return ret;
	fds = malloc(((size_t)n + 1) * sizeof(*fds));
	cnt = fds ? select_to_poll(&s, n, fds) : 0;
	ret = fds ? do_poll(t, fds, cnt, deadline) : -ENOMEM;
	if (ret >= 0)
		ret = select_from_poll(&s, fds, cnt);
	if (ret >= 0 && select_export(t, args, &s))
		ret = -EFAULT;
	free(fds);
	free(s.bits[0]);
	return ret;
}

long sys_select(struct task *t, const uint64_t *args)
{
	uint64_t deadline = FOREVER, tv[2];
	long ret;

	if (args[4]) {
		if (copy_from_user(t, tv, args[4], sizeof(tv)))
			return -EFAULT;
		if ((int64_t)tv[0] < 0 || (int64_t)tv[1] < 0)
			return -EINVAL;
		if (tv[0] < FOREVER / 2000000000u && tv[1] < FOREVER / 2000u)
			deadline = poll_deadline(tv[0] * 1000000000u +
					       tv[1] * 1000u);
	}
	ret = select_fds(t, args, deadline);
	export_timeout(t, args[4], deadline, true);
	return ret;
}

long sys_pselect6(struct task *t, const uint64_t *args)
{
	uint64_t deadline, sig[2] = { 0, 0 };
	bool saved;
	long ret;

	if (args[5] && copy_from_user(t, sig, args[5], sizeof(sig)))
		return -EFAULT;
	ret = poll_import_timeout(t, args[4], &deadline);
	if (!ret)
		ret = poll_import_sigmask(t, sig[0], sig[1], &saved);
	if (ret)
		return ret;
	ret = select_fds(t, args, deadline);
	restore_sigmask(t, saved, ret);
	export_timeout(t, args[4], deadline, false);
	return ret;
}
