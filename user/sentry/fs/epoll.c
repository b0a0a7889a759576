// SPDX-License-Identifier: MIT
/*
 * epoll.c - epoll over files of the sentry and of the host
 *
 * Files of the host are registered with an epoll instance of the host, which
 * then knows all there is to know about them. Files of the sentry have an item
 * with a waiter on the file's queue; waking it puts the item on the ready list.
 *
 * Locks, outermost first: watch_lock (who watches what), epoll.lock (items),
 * locks of the watched files, their wait queues, epoll.ready_lock (ready list),
 * epoll.wait. An item holds no reference to its file: a file that goes away
 * takes its items with it (epoll_forget()).
 */
#include <sys/epoll.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

/**
 * struct epoll_item - a file of the sentry that is watched
 * @ep: by whom
 * @f: the file
 * @fd: the descriptor it was registered by; with @f, its identity
 * @events: asked for
 * @spent: a one-shot event was reported; until it is registered anew
 * @data: the program's own
 * @w: on the file's queue
 * @link: in epoll.items
 * @file_link: in file.watchers; under watch_lock
 * @ready_link: in epoll.ready while @ready; both under ready_lock
 */
struct epoll_item {
	struct epoll *ep;
	struct file *f;
	int fd;
	uint32_t events;
	bool spent;
	uint64_t data;
	struct waiter w;
	LIST_ENTRY(epoll_item) link;
	LIST_ENTRY(epoll_item) file_link;
	TAILQ_ENTRY(epoll_item) ready_link;
	bool ready;
};

/**
 * struct epoll - an epoll instance
 * @lock: see above
 * @items: under @lock
 * @ready_lock: see above
 * @ready: items that may have events
 * @wait: tasks in epoll_wait()
 * @host_used: there is, or was, a file of the host in it; file.host_fd is the
 *	host's instance
 * @depth: levels of instances that it watches, or has watched; under watch_lock
 */
struct epoll {
	pthread_mutex_t lock;
	LIST_HEAD(, epoll_item) items;
	pthread_mutex_t ready_lock;
	TAILQ_HEAD(ready_list, epoll_item) ready;
	struct wait_queue wait;
	atomic_bool host_used;
	unsigned int depth;
};

/* As in Linux: looking at an instance recurses into those that it watches. */
#define EPOLL_DEPTH_MAX 4

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct file_ops epoll_ops;

/* the ready list */

/* Was it not on the list before? */
static bool item_make_ready(struct epoll_item *it)
{
	struct epoll *ep = it->ep;
	bool fresh;

	pthread_mutex_lock(&ep->ready_lock);
	fresh = !it->ready;
	if (fresh) {
		it->ready = true;
		TAILQ_INSERT_TAIL(&ep->ready, it, ready_link);
	}
	pthread_mutex_unlock(&ep->ready_lock);
	return fresh;
}

/*
 * Called under the lock of the file's wait queue. Who sleeps has found the list
 * empty, so an item that is on it has woken everybody already; not to do it
 * again bounds what instances that watch each other many times over can cost.
 */
static void item_wake(struct waiter *w)
{
	struct epoll_item *it = container_of(w, struct epoll_item, w);

	if (item_make_ready(it))
		wait_queue_wake_all(&it->ep->wait);
}

static struct epoll_item *take_ready(struct epoll *ep)
{
	struct epoll_item *it;

	pthread_mutex_lock(&ep->ready_lock);
	it = TAILQ_FIRST(&ep->ready);
	if (it) {
		TAILQ_REMOVE(&ep->ready, it, ready_link);
		it->ready = false;
	}
	pthread_mutex_unlock(&ep->ready_lock);
	return it;
}

static void unready(struct epoll_item *it)
{
	pthread_mutex_lock(&it->ep->ready_lock);
	if (it->ready)
		TAILQ_REMOVE(&it->ep->ready, it, ready_link);
	it->ready = false;
	pthread_mutex_unlock(&it->ep->ready_lock);
}

/* items; all under watch_lock and epoll.lock */

static struct epoll_item *item_find(struct epoll *ep, struct file *f, int fd)
{
	struct epoll_item *it;

	LIST_FOREACH(it, &ep->items, link) {
		if (it->f == f && it->fd == fd)
			return it;
	}
	return NULL;
}

static uint32_t item_events(struct task *t, struct epoll_item *it)
{
	uint32_t events = (uint16_t)it->f->ops->poll(t, it->f, NULL);

	return it->spent ? 0 : events & (it->events | EPOLLERR | EPOLLHUP);
}

static void item_set(struct epoll_item *it, const struct epoll_event *ev)
{
	it->events = ev->events;
	it->data = ev->data.u64;
	it->spent = false;
}

static int item_add(struct task *t, struct epoll *ep, struct file *f, int fd,
		    const struct epoll_event *ev)
{
	struct epoll_item *it = calloc(1, sizeof(*it));

	if (!it)
		return -ENOMEM;
	it->ep = ep;
	it->f = f;
	it->fd = fd;
	item_set(it, ev);
	waiter_init(&it->w, NULL);
	it->w.wake = item_wake;
	LIST_INSERT_HEAD(&ep->items, it, link);
	LIST_INSERT_HEAD(&f->watchers, it, file_link);
	if (f->ops->poll(t, f, &it->w) && item_events(t, it)) {
		item_make_ready(it);
		wait_queue_wake_all(&ep->wait);
	}
	return 0;
}

static void item_free(struct epoll_item *it)
{
	it->f->ops->poll_done(NULL, it->f, &it->w);
	unready(it);
	LIST_REMOVE(it, link);
	LIST_REMOVE(it, file_link);
	free(it);
}

void epoll_forget(struct file *f)
{
	struct epoll_item *it;
	struct epoll *ep;

	if (likely(LIST_EMPTY(&f->watchers)))
		return;
	pthread_mutex_lock(&watch_lock);
	while ((it = LIST_FIRST(&f->watchers))) {
		ep = it->ep;
		pthread_mutex_lock(&ep->lock);
		item_free(it);
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&watch_lock);
}

/* the instance as a file */

static void epoll_release(struct file *f)
{
	struct epoll *ep = f->priv;
	struct epoll_item *it;

	pthread_mutex_lock(&watch_lock);
	pthread_mutex_lock(&ep->lock);
	while ((it = LIST_FIRST(&ep->items)))
		item_free(it);
	pthread_mutex_unlock(&ep->lock);
	pthread_mutex_unlock(&watch_lock);
	free(ep);
}

static bool host_ready(struct file *f)
{
	struct pollfd pfd = { .fd = f->host_fd, .events = POLLIN };
	struct epoll *ep = f->priv;

	return ep->host_used && poll(&pfd, 1, 0) > 0;
}

/* Items without events leave the list: each is looked at once, not every time. */
static bool sentry_ready(struct task *t, struct epoll *ep)
{
	struct epoll_item *it;
	bool ready = false;

	pthread_mutex_lock(&ep->lock);
	while (!ready && (it = take_ready(ep))) {
		ready = item_events(t, it) != 0;
		if (ready)
			item_make_ready(it);
	}
	pthread_mutex_unlock(&ep->lock);
	return ready;
}

static short epoll_poll(struct task *t, struct file *f, struct waiter *w)
{
	struct epoll *ep = f->priv;

	if (w)
		wait_queue_add(&ep->wait, w);
	return host_ready(f) || sentry_ready(t, ep) ? POLLIN | POLLRDNORM : 0;
}

static void epoll_poll_done(struct task *t, struct file *f, struct waiter *w)
{
	struct epoll *ep = f->priv;

	wait_queue_remove(&ep->wait, w);
}

static void epoll_name(struct file *f, char *buf, size_t len)
{
	snprintf(buf, len, "anon_inode:[eventpoll]");
}

static int epoll_fstat(struct task *t, struct file *f, struct stat *st)
{
	anon_stat(st, 0600, 1);
	return 0;
}

static const struct file_ops epoll_ops = {
	.kind = "eventpoll",
	.release = epoll_release,
	.fstat = epoll_fstat,
	.poll = epoll_poll,
	.poll_done = epoll_poll_done,
	.name = epoll_name,
};

static long do_create(struct task *t, bool cloexec)
{
	struct epoll *ep = calloc(1, sizeof(*ep));
	struct file *f = ep ? file_alloc(&epoll_ops, O_RDWR) : NULL;

	if (!f) {
		free(ep);
		return -ENOMEM;
	}
	pthread_mutex_init(&ep->lock, NULL);
	pthread_mutex_init(&ep->ready_lock, NULL);
	LIST_INIT(&ep->items);
	TAILQ_INIT(&ep->ready);
	wait_queue_init(&ep->wait);
	f->priv = ep;
	return fd_install(t, f, cloexec);
}

long sys_epoll_create(struct task *t, const uint64_t *args)
{
	return (int)args[0] <= 0 ? -EINVAL : do_create(t, false);
}

long sys_epoll_create1(struct task *t, const uint64_t *args)
{
	if (args[0] & ~(uint64_t)EPOLL_CLOEXEC)
		return -EINVAL;
	return do_create(t, args[0] & EPOLL_CLOEXEC);
}

/* epoll_ctl */

/* Under watch_lock: the host's instance, made when it is first needed. */
static int host_instance(struct file *epf)
{
	struct epoll *ep = epf->priv;

	if (epf->host_fd < 0)
		epf->host_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epf->host_fd < 0)
		return -errno;
	ep->host_used = true;
	return 0;
}

static long host_ctl(struct file *epf, int op, struct file *f,
		     struct epoll_event *ev)
{
	struct epoll *ep = epf->priv;
	long ret;

	pthread_mutex_lock(&watch_lock);
	ret = host_instance(epf);
	if (!ret)
		ret = host_ret(epoll_ctl(epf->host_fd, op, f->host_fd, ev));
	pthread_mutex_unlock(&watch_lock);
	/* Those who sleep know of the sentry's files only. */
	wait_queue_wake_all(&ep->wait);
	return ret;
}

static long sentry_ctl(struct task *t, struct epoll *ep, int op,
		       struct file *f, int fd, const struct epoll_event *ev)
{
	struct epoll_item *it = item_find(ep, f, fd);

	switch (op) {
	case EPOLL_CTL_ADD:
		return it ? -EEXIST : item_add(t, ep, f, fd, ev);
	case EPOLL_CTL_DEL:
		if (!it)
			return -ENOENT;
		item_free(it);
		return 0;
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		item_set(it, ev);
		if (item_events(t, it)) {
			item_make_ready(it);
			wait_queue_wake_all(&ep->wait);
		}
		return 0;
	default:
		return -EINVAL;
	}
}

/*
 * Under watch_lock. Instances that watch each other would never come to rest,
 * so one that is watched takes no others: they are put together from below.
 */
static int nest(struct file *epf, int op, struct file *f)
{
	struct epoll *ep = epf->priv, *below = f->priv;

	if (f->ops != &epoll_ops || op != EPOLL_CTL_ADD)
		return 0;
	if (!LIST_EMPTY(&epf->watchers) || below->depth >= EPOLL_DEPTH_MAX)
		return -ELOOP;
	ep->depth = MAX(ep->depth, below->depth + 1);
	return 0;
}

static long do_ctl(struct task *t, struct file *epf, int op, struct file *f,
		   int fd, struct epoll_event *ev)
{
	struct epoll *ep = epf->priv;
	long ret;

	if (epf->ops != &epoll_ops || epf == f)
		return -EINVAL;
	if (f->host_poll)
		return host_ctl(epf, op, f, ev);
	if (!f->ops->poll)
		return -EPERM;
	pthread_mutex_lock(&watch_lock);
	ret = nest(epf, op, f);
	if (!ret) {
		pthread_mutex_lock(&ep->lock);
		ret = sentry_ctl(t, ep, op, f, fd, ev);
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&watch_lock);
	return ret;
}

long sys_epoll_ctl(struct task *t, const uint64_t *args)
{
	int fd = (int)args[2], op = (int)args[1];
	struct epoll_event ev = { 0 };
	struct file *epf, *f;
	long ret = -EBADF;

	if (op != EPOLL_CTL_DEL && copy_from_user(t, &ev, args[3], sizeof(ev)))
		return -EFAULT;
	epf = fd_get_io(t, (int)args[0]);
	f = fd_get_io(t, fd);
	if (epf && f)
		ret = do_ctl(t, epf, op, f, fd, &ev);
	file_put(f);
	file_put(epf);
	return ret;
}

/* epoll_wait */

#define WAIT_MAX 256

/* Events of the sentry's files: how many. */
static int collect_sentry(struct task *t, struct epoll *ep,
			  struct epoll_event *out, int max)
{
	TAILQ_HEAD(, epoll_item) again = TAILQ_HEAD_INITIALIZER(again);
	struct epoll_item *it, *first_again = NULL;
	uint32_t events;
	int n = 0;

	pthread_mutex_lock(&ep->lock);
	while (n < max && (it = take_ready(ep))) {
		/* A level-triggered one that was put back: all have been seen. */
		if (it == first_again) {
			item_make_ready(it);
			break;
		}
		events = item_events(t, it);
		if (!events)
			continue;
		out[n++] = (struct epoll_event){ .events = events,
						 .data.u64 = it->data };
		if (it->events & EPOLLONESHOT) {
			it->spent = true;
		} else if (!(it->events & EPOLLET)) {
			item_make_ready(it);
			if (!first_again)
				first_again = it;
		}
	}
	pthread_mutex_unlock(&ep->lock);
	return n;
}

static int collect(struct task *t, struct file *epf, struct epoll_event *out,
		   int max)
{
	struct epoll *ep = epf->priv;
	int n = collect_sentry(t, ep, out, max), host = 0;

	if (n < max && ep->host_used)
		host = epoll_wait(epf->host_fd, out + n, max - n, 0);
	return n + MAX(host, 0);
}

static int wait_events(struct task *t, struct file *epf,
		       struct epoll_event *out, int max, uint64_t deadline)
{
	struct epoll *ep = epf->priv;
	struct queue_poll qp;
	int n, err = 0;

	n = collect(t, epf, out, max);
	if (n || !deadline)
		return n;
	queue_poll_begin(&qp, t, &ep->wait);
	while (!(n = collect(t, epf, out, max)) && !err)
		err = queue_poll_sleep(&qp, ep->host_used ? epf->host_fd : -1,
				       deadline);
	queue_poll_end(&qp);
	return n ? n : err == -ETIMEDOUT ? 0 : err;
}

static long do_wait(struct task *t, int fd, uint64_t addr, int max,
		    uint64_t deadline)
{
	struct epoll_event events[WAIT_MAX];
	struct file *epf;
	long n;

	if (max <= 0)
		return -EINVAL;
	epf = fd_get_io(t, fd);
	if (!epf)
		return -EBADF;
	n = epf->ops == &epoll_ops ? wait_events(t, epf, events,
						 MIN(max, WAIT_MAX), deadline) :
				     -EINVAL;
	file_put(epf);
	if (n > 0 && copy_to_user(t, addr, events, (size_t)n * sizeof(*events)))
		n = -EFAULT;
	/* Never restarted. */
	return n == -ERESTARTSYS ? -EINTR : n;
}

static uint64_t ms_deadline(int ms)
{
	return ms < 0 ? FOREVER : poll_deadline((uint64_t)ms * 1000000u);
}

long sys_epoll_wait(struct task *t, const uint64_t *args)
{
	return do_wait(t, (int)args[0], args[1], (int)args[2],
		       ms_deadline((int)args[3]));
}

static long masked_wait(struct task *t, const uint64_t *args,
			uint64_t deadline)
{
	bool saved;
	long ret;

	ret = poll_import_sigmask(t, args[4], args[5], &saved);
	if (ret)
		return ret;
	ret = do_wait(t, (int)args[0], args[1], (int)args[2], deadline);
	/* A signal that ended the wait is delivered with the mask it saw. */
	if (saved && ret != -EINTR)
		signal_mask_restore(t);
	return ret;
}

long sys_epoll_pwait(struct task *t, const uint64_t *args)
{
	return masked_wait(t, args, ms_deadline((int)args[3]));
}

long sys_epoll_pwait2(struct task *t, const uint64_t *args)
{
	uint64_t deadline;
	int err = poll_import_timeout(t, args[3], &deadline);

	return err ? err : masked_wait(t, args, deadline);
}
