// SPDX-License-Identifier: MIT
/*
 * sentry_socket_test.c - sockets of the sentry, without a platform
 *
 * Tasks here are bare structs whose "program" is a host thread of the test, and
 * messages are in the test's own memory.
 */
#include <malloc.h>
#include <pthread.h>
#include <sched.h>

#include "kselftest_harness.h"
#include "patience.h"
/* Both sides define it. */
#undef ARRAY_SIZE
#include "sentry/socket/internal.h"
#include "sentry/socket/syscalls.h"

FIXTURE(net)
{
	struct kernel kernel;
	struct thread_group tg;
	struct task task;
};

static void make_task(struct task *t, struct kernel *k, struct thread_group *tg)
{
	memset(t, 0, sizeof(*t));
	atomic_init(&t->refs, 1000);
	t->kernel = k;
	t->tg = tg;
	t->tid = 1;
	t->host_tid = gettid();
}

FIXTURE_SETUP(net)
{
	memset(&self->kernel, 0, sizeof(self->kernel));
	memset(&self->tg, 0, sizeof(self->tg));
	self->tg.tgid = 1;
	self->tg.rlimits[RLIMIT_NOFILE].rlim_cur = 100000;
	ASSERT_EQ(0, net_create(&self->kernel));
	make_task(&self->task, &self->kernel, &self->tg);
}

FIXTURE_TEARDOWN(net)
{
	EXPECT_EQ(0, self->kernel.net->nr_flying);
	EXPECT_EQ(0, atomic_load(&self->kernel.net->memory));
	net_destroy(&self->kernel);
}

/* files: of sockets, and some that tell when they go */

static atomic_int live_files;

static void counted_release(struct file *f)
{
	atomic_fetch_sub(&live_files, 1);
}

static const struct file_ops counted_ops = {
	.kind = "counted",
	.release = counted_release,
};

static struct file *counted_file(void)
{
	atomic_fetch_add(&live_files, 1);
	return file_alloc(&counted_ops, O_RDWR);
}

static struct file *new_socket(struct task *t, int family, int type)
{
	struct socket *s;

	if (socket_create(t, family, type, 0, &s))
		abort();
	return socket_file(s, 0);
}

static void new_pair(struct task *t, int type, struct file *f[2])
{
	f[0] = new_socket(t, AF_UNIX, type);
	f[1] = new_socket(t, AF_UNIX, type);
	stream_join(f[0]->priv, f[1]->priv, SOCKET_CONNECTED);
}

static ssize_t do_send(struct task *t, struct file *f, const void *buf,
		       size_t len, struct file **files, unsigned int n)
{
	struct iovec iov = { (void *)buf, len };
	struct message m = { .t = t, .iov = &iov, .cnt = 1, .len = len,
			     .flags = MSG_NOSIGNAL, .nonblock = true };
	struct socket *s = f->priv;
	unsigned int i;
	ssize_t ret;

	if (n) {
		m.scm = scm_alloc(n);
		for (i = 0; i < n; i++)
			m.scm->files[m.scm->nr_files++] = file_get(files[i]);
	}
	ret = s->ops->send(t, s, &m);
	scm_free(m.scm);
	return ret;
}

static ssize_t do_recv(struct task *t, struct file *f, void *buf, size_t len,
		       struct scm **scm)
{
	struct iovec iov = { buf, len };
	struct message m = { .t = t, .iov = &iov, .cnt = 1, .len = len,
			     .nonblock = true };
	struct socket *s = f->priv;
	ssize_t n = s->ops->recv(t, s, &m);

	if (scm)
		*scm = m.scm;
	else
		scm_free(m.scm);
	return n;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

TEST_F(net, ring_keeps_every_byte_in_order)
{
	static unsigned char buf[1 << 19];
	uint64_t in = 0, out = 0;
	struct file *f[2];
	uint32_t seed = 1;
	int round;
	ssize_t n, i;

	new_pair(&self->task, SOCK_STREAM, f);
	for (round = 0; round < 3000; round++) {
		size_t len = next_random(&seed) %
			     (round % 10 ? 9000 : sizeof(buf)) + 1;

		if (next_random(&seed) % 2) {
			for (i = 0; i < (ssize_t)len; i++)
				buf[i] = (unsigned char)((in + i) * 131 >> 3);
			n = do_send(&self->task, f[0], buf, len, NULL, 0);
			ASSERT_TRUE(n > 0 || n == -EAGAIN);
			in += n > 0 ? n : 0;
		} else {
			n = do_recv(&self->task, f[1], buf, len, NULL);
			ASSERT_TRUE(n > 0 || (n == -EAGAIN && in == out));
			for (i = 0; i < n; i++)
				ASSERT_EQ(buf[i], (unsigned char)((out + i) * 131 >> 3));
			out += n > 0 ? n : 0;
		}
		ASSERT_LE(in - out, 212992);
	}
	file_put(f[0]);
	while ((n = do_recv(&self->task, f[1], buf, sizeof(buf), NULL)) > 0)
		out += n;
	EXPECT_EQ(0, n);
	EXPECT_EQ(in, out);
	file_put(f[1]);
}

/* What a reader may see of messages some of which carry a file. */
TEST_F(net, files_come_with_their_bytes)
{
	struct file *f[2], *file = counted_file();
	int sent = 0, got = 0, round;
	char buf[64];
	uint32_t seed = 7;
	struct scm *scm;
	ssize_t n;

	new_pair(&self->task, SOCK_STREAM, f);
	for (round = 0; round < 4000; round++) {
		size_t len = next_random(&seed) % 20 + 1;
		bool with = next_random(&seed) % 3 == 0;

		memset(buf, 'a', sizeof(buf));
		if (with)
			buf[0] = 'F';
		if (next_random(&seed) % 2) {
			n = do_send(&self->task, f[0], buf, len, &file, with);
			ASSERT_EQ(n, (ssize_t)len);
			sent += with;
			continue;
		}
		n = do_recv(&self->task, f[1], buf, len, &scm);
		if (n == -EAGAIN)
			continue;
		ASSERT_GT(n, 0);
		/* A file if, and only if, its first byte is there; never two. */
		ASSERT_EQ(scm != NULL, memchr(buf, 'F', n) != NULL);
		if (scm) {
			char *first = memchr(buf, 'F', n);

			ASSERT_EQ(NULL, memchr(first + 1, 'F',
					       n - (first + 1 - buf)));
			ASSERT_EQ(1, scm->nr_files);
			got++;
		}
		scm_free(scm);
	}
	EXPECT_GT(got, 100);
	EXPECT_EQ((unsigned long)(sent - got), self->kernel.net->nr_flying);
	file_put(f[0]);
	file_put(f[1]);
	EXPECT_EQ(1, atomic_load(&live_files));
	file_put(file);
	EXPECT_EQ(0, atomic_load(&live_files));
}

TEST_F(net, cycles_are_collected)
{
	struct file *a[2], *b[2], *file, *list[3];
	int type;

	for (type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		new_pair(&self->task, type, a);
		new_pair(&self->task, type, b);
		file = counted_file();
		list[0] = a[0];
		list[1] = a[1];
		list[2] = file;
		EXPECT_EQ(1, do_send(&self->task, b[0], "x", 1, list, 3));
		list[0] = b[0];
		list[1] = b[1];
		EXPECT_EQ(1, do_send(&self->task, a[0], "x", 1, list, 3));
		file_put(file);
		file_put(a[0]);
		file_put(a[1]);
		file_put(b[0]);
		EXPECT_EQ(1, atomic_load(&live_files));
		EXPECT_EQ(6, self->kernel.net->nr_flying);
		file_put(b[1]);
		/* The last reference went while it was in flight: not seen yet. */
		scm_collect(self->kernel.net);
		EXPECT_EQ(0, atomic_load(&live_files));
		EXPECT_EQ(0, self->kernel.net->nr_flying);
	}
}

TEST_F(net, collector_spares_what_can_be_received)
{
	struct file *a[2], *b[2], *c[2], *file = counted_file();
	struct scm *scm;
	char x;

	new_pair(&self->task, SOCK_STREAM, a);
	new_pair(&self->task, SOCK_STREAM, b);
	new_pair(&self->task, SOCK_STREAM, c);
	/* c[1], which holds a file, in b[1]'s queue, b[1] in a[1]'s. */
	do_send(&self->task, c[0], "x", 1, &file, 1);
	do_send(&self->task, b[0], "x", 1, &c[1], 1);
	do_send(&self->task, a[0], "x", 1, &b[1], 1);
	file_put(file);
	file_put(b[0]);
	file_put(b[1]);
	file_put(c[0]);
	file_put(c[1]);
	scm_collect(self->kernel.net);
	EXPECT_EQ(1, atomic_load(&live_files));
	ASSERT_EQ(1, do_recv(&self->task, a[1], &x, 1, &scm));
	ASSERT_NE(NULL, scm);
	b[1] = file_get(scm->files[0]);
	scm_free(scm);
	ASSERT_EQ(1, do_recv(&self->task, b[1], &x, 1, &scm));
	c[1] = file_get(scm->files[0]);
	scm_free(scm);
	ASSERT_EQ(1, do_recv(&self->task, c[1], &x, 1, &scm));
	scm_free(scm);
	EXPECT_EQ(0, atomic_load(&live_files));
	file_put(a[0]);
	file_put(a[1]);
	file_put(b[1]);
	file_put(c[1]);
}

/* Each in the next one's queue: their end is no recursion. */
TEST_F(net, long_chains_end)
{
	struct file *a[2], *b[2];
	int i;

	new_pair(&self->task, SOCK_STREAM, a);
	for (i = 0; i < 50000; i++) {
		new_pair(&self->task, SOCK_STREAM, b);
		ASSERT_EQ(1, do_send(&self->task, b[0], "x", 1, a, 2));
		file_put(a[0]);
		file_put(a[1]);
		memcpy(a, b, sizeof(a));
	}
	EXPECT_EQ(100000, self->kernel.net->nr_flying);
	file_put(a[0]);
	file_put(a[1]);
	EXPECT_EQ(0, self->kernel.net->nr_flying);
}

TEST_F(net, files_in_flight_are_limited)
{
	struct file *f[2], *file = counted_file();
	int i;

	self->tg.rlimits[RLIMIT_NOFILE].rlim_cur = 10;
	new_pair(&self->task, SOCK_STREAM, f);
	for (i = 0; i < 10; i++)
		EXPECT_EQ(1, do_send(&self->task, f[0], "x", 1, &file, 1));
	EXPECT_EQ(-ETOOMANYREFS, do_send(&self->task, f[0], "x", 1, &file, 1));
	EXPECT_EQ(1, do_send(&self->task, f[0], "x", 1, NULL, 0));
	file_put(f[0]);
	file_put(f[1]);
	file_put(file);
	EXPECT_EQ(0, atomic_load(&live_files));
}

/* What was made for a message that was not sent, or that joined the last one, goes. */
TEST_F(net, credentials_not_taken_are_freed)
{
	static char buf[1 << 20];
	struct iovec few = { buf, 1 }, many = { buf, sizeof(buf) };
	uint64_t args[6] = { 0, (uint64_t)buf, 1, MSG_DONTWAIT | MSG_NOSIGNAL };
	struct task *t = &self->task;
	struct file *f[2];
	size_t before;
	int i;

	t->files = fd_table_create();
	new_pair(t, SOCK_STREAM, f);
	atomic_fetch_or(&f[0]->flags, O_NONBLOCK);
	((struct socket *)f[0]->priv)->passcred = true;
	args[0] = (uint64_t)fd_install(t, file_get(f[0]), false);
	/* The ring and the first mark are there to stay. */
	ASSERT_EQ(1, socket_file_ops.writev(t, f[0], &few, 1, -1));
	before = mallinfo2().uordblks;
	for (i = 0; i < 10000; i++)
		ASSERT_EQ(1, socket_file_ops.writev(t, f[0], &few, 1, -1));
	EXPECT_GT(before + 10000, mallinfo2().uordblks);
	ASSERT_LT(0, socket_file_ops.writev(t, f[0], &many, 1, -1));
	before = mallinfo2().uordblks;
	for (i = 0; i < 10000; i++)
		ASSERT_EQ(-EAGAIN, socket_file_ops.writev(t, f[0], &few, 1, -1));
	EXPECT_GT(before + 10000, mallinfo2().uordblks);
	for (i = 0; i < 10000; i++)
		ASSERT_EQ(-EAGAIN, sys_sendto(t, args));
	EXPECT_GT(before + 10000, mallinfo2().uordblks);
	file_put(f[1]);
	before = mallinfo2().uordblks;
	for (i = 0; i < 10000; i++)
		ASSERT_EQ(-EPIPE, sys_sendto(t, args));
	EXPECT_GT(before + 10000, mallinfo2().uordblks);
	file_put(f[0]);
	fd_table_put(t->files);
}

/* TCP */

static struct address loopback(int port)
{
	struct address a = { .len = sizeof(a.in) };

	a.in.sin_family = AF_INET;
	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.in.sin_port = htons((uint16_t)port);
	return a;
}

static struct file *listener(struct task *t, int backlog, struct address *a)
{
	struct file *f = new_socket(t, AF_INET, SOCK_STREAM);
	struct socket *s = f->priv;

	*a = loopback(0);
	if (s->ops->bind(t, s, a) || s->ops->listen(t, s, backlog))
		abort();
	s->ops->name(s, false, a);
	return f;
}

TEST_F(net, connections_wait_behind_the_backlog)
{
	struct file *clients[8], *l;
	struct socket *s, *child;
	struct address a;
	int i, n;

	l = listener(&self->task, 2, &a);
	for (i = 0; i < 8; i++) {
		clients[i] = new_socket(&self->task, AF_INET, SOCK_STREAM);
		s = clients[i]->priv;
		EXPECT_EQ(-EINPROGRESS, s->ops->connect(&self->task, s, &a, true));
		EXPECT_EQ(i < 3 ? SOCKET_CONNECTED : SOCKET_CONNECTING,
			  socket_state(s));
	}
	EXPECT_EQ(0, connection_poll(clients[3]->priv));
	EXPECT_EQ(-EAGAIN, do_send(&self->task, clients[3], "x", 1, NULL, 0));
	/* One gives up; the next but one moves up when there is room. */
	file_put(clients[3]);
	for (i = 0; i < 1000; i++) {
		struct file *f = new_socket(&self->task, AF_INET, SOCK_STREAM);

		s = f->priv;
		EXPECT_EQ(-EINPROGRESS, s->ops->connect(&self->task, s, &a, true));
		file_put(f);
	}
	s = l->priv;
	n = 0;
	TAILQ_FOREACH(child, &s->pending, queue_link)
		n++;
	EXPECT_EQ(4, n);
	ASSERT_EQ(0, listener_accept(&self->task, l->priv, true, &child));
	file_put(socket_file(child, 0));
	EXPECT_EQ(SOCKET_CONNECTED,
		  socket_state((struct socket *)clients[4]->priv));
	EXPECT_EQ(SOCKET_CONNECTING,
		  socket_state((struct socket *)clients[5]->priv));
	EXPECT_EQ(1, do_send(&self->task, clients[4], "x", 1, NULL, 0));
	file_put(l);
	s = clients[5]->priv;
	EXPECT_EQ(SOCKET_FAILED, socket_state(s));
	EXPECT_EQ(-ECONNREFUSED, s->ops->connect(&self->task, s, &a, true));
	EXPECT_EQ(-ECONNREFUSED, s->ops->connect(&self->task, s, &a, false));
	s = clients[2]->priv;
	EXPECT_EQ(-ECONNRESET, socket_take_error(s));
	for (i = 0; i < 8; i++) {
		if (i != 3)
			file_put(clients[i]);
	}
}

TEST_F(net, ports_run_out)
{
	static struct file *f[30000];
	struct address a = loopback(0);
	struct socket *s;
	int i, n, err = 0;

	for (n = 0; n < 30000 && !err; n++) {
		f[n] = new_socket(&self->task, AF_INET, SOCK_DGRAM);
		s = f[n]->priv;
		err = s->ops->bind(&self->task, s, &a);
	}
	EXPECT_EQ(-EADDRINUSE, err);
	EXPECT_EQ(60999 - 32768 + 2, n);
	for (i = 0; i < n; i++)
		file_put(f[i]);
}

/* storms: what several threads do to each other must leave nothing behind */

#define STORM_THREADS 4
#define STORM_SOCKETS 12

struct storm {
	struct kernel *kernel;
	struct thread_group *tg;
	struct address a;
	struct file *listener;
	pthread_mutex_t lock;
	struct file *files[STORM_SOCKETS];
	uint32_t seed;
	atomic_bool stop;
	atomic_long done;
};

/* Take a reference to one of the sockets; another takes its place at times. */
static struct file *storm_file(struct storm *st, struct task *t, uint32_t *seed)
{
	unsigned int i = next_random(seed) % (STORM_SOCKETS / 2) * 2;
	struct file *old[2] = { NULL, NULL }, *f;

	pthread_mutex_lock(&st->lock);
	if (next_random(seed) % 8 == 0) {
		old[0] = st->files[i];
		old[1] = st->files[i + 1];
		new_pair(t, next_random(seed) % 2 ? SOCK_STREAM : SOCK_DGRAM,
			 &st->files[i]);
	}
	f = file_get(st->files[i + next_random(seed) % 2]);
	pthread_mutex_unlock(&st->lock);
	file_put(old[0]);
	file_put(old[1]);
	return f;
}

static void *flight_storm(void *arg)
{
	struct storm *st = arg;
	uint32_t seed = (uint32_t)gettid();
	struct file *f, *send[3];
	char buf[10] = "";
	struct task t;
	int i;

	make_task(&t, st->kernel, st->tg);
	while (!atomic_load(&st->stop)) {
		f = storm_file(st, &t, &seed);
		send[0] = storm_file(st, &t, &seed);
		send[1] = storm_file(st, &t, &seed);
		send[2] = counted_file();
		if (next_random(&seed) % 2)
			do_send(&t, f, buf, next_random(&seed) % 9 + 1, send, 3);
		else
			do_recv(&t, f, buf, next_random(&seed) % 9 + 1, NULL);
		for (i = 0; i < 3; i++)
			file_put(send[i]);
		file_put(f);
		atomic_fetch_add(&st->done, 1);
	}
	return NULL;
}

TEST_F(net, storm_of_files_in_flight_leaves_nothing)
{
	struct storm st = { .kernel = &self->kernel, .tg = &self->tg };
	pthread_t threads[STORM_THREADS];
	int i;

	pthread_mutex_init(&st.lock, NULL);
	for (i = 0; i < STORM_SOCKETS; i += 2)
		new_pair(&self->task, SOCK_STREAM, &st.files[i]);
	for (i = 0; i < STORM_THREADS; i++)
		pthread_create(&threads[i], NULL, flight_storm, &st);
	sleep(2);
	atomic_store(&st.stop, true);
	for (i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_GT(atomic_load(&st.done), 100);
	for (i = 0; i < STORM_SOCKETS; i++)
		file_put(st.files[i]);
	scm_collect(self->kernel.net);
	EXPECT_EQ(0, atomic_load(&live_files));
}

static void *connect_storm(void *arg)
{
	struct storm *st = arg;
	uint32_t seed = (uint32_t)gettid();
	struct socket *s;
	struct file *f;
	struct task t;
	char x;

	make_task(&t, st->kernel, st->tg);
	while (!atomic_load(&st->stop)) {
		f = new_socket(&t, AF_INET, SOCK_STREAM);
		s = f->priv;
		if (s->ops->connect(&t, s, &st->a, next_random(&seed) % 2) == 0)
			do_send(&t, f, "x", 1, NULL, 0);
		s->ops->poll(s);
		do_recv(&t, f, &x, 1, NULL);
		file_put(f);
		atomic_fetch_add(&st->done, 1);
	}
	return NULL;
}

static void *accept_storm(void *arg)
{
	struct storm *st = arg;
	struct socket *child;
	struct file *f;
	struct task t;
	char x;

	make_task(&t, st->kernel, st->tg);
	while (!atomic_load(&st->stop)) {
		if (listener_accept(&t, st->listener->priv, true, &child)) {
			sched_yield();
			continue;
		}
		f = socket_file(child, 0);
		do_recv(&t, f, &x, 1, NULL);
		do_send(&t, f, "y", 1, NULL, 0);
		file_put(f);
	}
	/* Nobody is to wait for ever for a connection to be taken. */
	listener_close(st->listener->priv);
	return NULL;
}

TEST_F(net, storm_of_connections_leaves_nothing)
{
	struct storm st = { .kernel = &self->kernel, .tg = &self->tg };
	pthread_t threads[STORM_THREADS];
	int i;

	st.listener = listener(&self->task, 1, &st.a);
	for (i = 0; i < STORM_THREADS; i++)
		pthread_create(&threads[i], NULL,
			       i ? connect_storm : accept_storm, &st);
	sleep(2);
	atomic_store(&st.stop, true);
	/* A last one may have queued up after the listener was emptied. */
	for (i = 0; i < 100; i++) {
		usleep(1000);
		listener_close(st.listener->priv);
	}
	for (i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_GT(atomic_load(&st.done), 100);
	file_put(st.listener);
	for (i = 0; i < NAME_BUCKETS; i++)
		EXPECT_TRUE(LIST_EMPTY(&self->kernel.net->ports[0][i]));
}

/* One thread uses a socket that another connects. */
struct connecting {
	struct kernel *kernel;
	struct thread_group *tg;
	struct address a;
	struct file *listener;
	pthread_mutex_t lock;
	struct file *_Atomic file, *_Atomic seen;
	atomic_bool may_send, stop;
	atomic_long early, sent;
};

static void *use_while_connecting(void *arg)
{
	struct connecting *c = arg;
	struct file *f;
	struct task t;

	make_task(&t, c->kernel, c->tg);
	while (!atomic_load(&c->stop)) {
		pthread_mutex_lock(&c->lock);
		f = file_get(atomic_load(&c->file));
		pthread_mutex_unlock(&c->lock);
		do {
			atomic_store(&c->seen, f);
			socket_unread(f->priv);
			if (do_send(&t, f, "x", 1, NULL, 0) <= 0)
				continue;
			atomic_fetch_add(&c->sent, 1);
			if (!atomic_load(&c->may_send))
				atomic_fetch_add(&c->early, 1);
		} while (atomic_load(&c->file) == f && !atomic_load(&c->stop));
		file_put(f);
	}
	return NULL;
}

static void next_file(struct connecting *c, struct file *f)
{
	struct file *old;

	pthread_mutex_lock(&c->lock);
	old = atomic_exchange(&c->file, f);
	pthread_mutex_unlock(&c->lock);
	file_put(old);
	while (atomic_load(&c->seen) != f)
		sched_yield();
}

/* Behind the backlog first, refused there, and then to a listener with room. */
TEST_F(net, socket_is_used_while_it_connects)
{
	struct connecting c = { .kernel = &self->kernel, .tg = &self->tg };
	struct task *t = &self->task;
	uint64_t end = monotonic_ns() + 1000000000;
	pthread_t thread;
	struct socket *s;
	struct file *f;

	pthread_mutex_init(&c.lock, NULL);
	c.listener = listener(t, 0, &c.a);
	f = new_socket(t, AF_INET, SOCK_STREAM);
	s = f->priv;
	ASSERT_EQ(0, s->ops->connect(t, s, &c.a, false));
	atomic_store(&c.may_send, true);
	atomic_store(&c.file, f);
	pthread_create(&thread, NULL, use_while_connecting, &c);
	while (monotonic_ns() < end) {
		f = new_socket(t, AF_INET, SOCK_STREAM);
		s = f->priv;
		next_file(&c, f);
		atomic_store(&c.may_send, false);
		ASSERT_EQ(-EINPROGRESS, s->ops->connect(t, s, &c.a, true));
		ASSERT_EQ(SOCKET_CONNECTING, socket_state(s));
		listener_close(c.listener->priv);
		ASSERT_EQ(SOCKET_FAILED, socket_state(s));
		ASSERT_GT(0, s->ops->connect(t, s, &c.a, true));
		atomic_store(&c.may_send, true);
		ASSERT_EQ(0, s->ops->connect(t, s, &c.a, false));
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, atomic_load(&c.early));
	EXPECT_GT(atomic_load(&c.sent), 0);
	file_put(atomic_load(&c.file));
	file_put(c.listener);
}

TEST_HARNESS_MAIN
