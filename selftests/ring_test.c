// SPDX-License-Identifier: MIT
/*
 * ring_test.c - the event ring of an instance
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define CONTEXTS 8
#define ENTRIES 4


struct ring {
	struct sandtrap_ring_setup setup;
	volatile struct sandtrap_ring_producer *producer;
	volatile struct sandtrap_ring_consumer *consumer;
	const struct sandtrap_ring_entry *entries;
};

static int ring_open(struct box *b, struct ring *r, uint32_t entries)
{
	memset(r, 0, sizeof(*r));
	r->setup.size = sizeof(r->setup);
	r->setup.entries = entries;
	if (ioctl(b->fd, SANDTRAP_RING_SETUP, &r->setup))
		return -errno;
	r->producer = mmap(NULL, 4096, PROT_READ, MAP_SHARED, b->fd,
			   r->setup.out_producer_offset);
	r->consumer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd,
			   r->setup.out_consumer_offset);
	r->entries = mmap(NULL, r->setup.out_entries_size, PROT_READ, MAP_SHARED,
			  b->fd, r->setup.out_entries_offset);
	return r->producer == MAP_FAILED || r->consumer == MAP_FAILED ||
	       r->entries == MAP_FAILED ? -errno : 0;
}

/* Takes the next entry; false if there is none. */
static bool ring_take(struct ring *r, struct sandtrap_ring_entry *e)
{
	uint32_t tail = r->consumer->tail;

	if (__atomic_load_n(&r->producer->head, __ATOMIC_ACQUIRE) == tail)
		return false;
	*e = r->entries[tail & (r->setup.entries - 1)];
	__atomic_store_n(&r->consumer->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

static int ring_wait(struct box *b, int ms)
{
	struct sandtrap_wait arg = {
		.size = sizeof(arg),
		.timeout_ns = ms < 0 ? SANDTRAP_WAIT_FOREVER :
				       box_now_ns() + ms * 1000000ull,
	};

	return ioctl(b->fd, SANDTRAP_WAIT, &arg) ? -errno : 0;
}

FIXTURE(ring) {
	struct box b;
	struct ring r;
	struct box_context ctx[CONTEXTS];
};

FIXTURE_SETUP(ring)
{
	int i;

	if (box_why_skip())
		SKIP(_exit(255), "%s", box_why_skip());
	ASSERT_EQ(0, box_open(&self->b));
	ASSERT_EQ(0, ring_open(&self->b, &self->r, ENTRIES));
	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as,
					     SANDTRAP_CONTEXT_RING, &self->ctx[i]));
		box_load(&self->b, &self->ctx[i], box_syscall,
			 box_syscall_end - box_syscall);
	}
}

FIXTURE_TEARDOWN(ring)
{
	box_close(&self->b);
}

static int resume(struct box *b, struct box_context *ctx)
{
	return box_command(b, SANDTRAP_RESUME, ctx->id, 0, ctx->page->event_seq);
}

/*
 * An entry comes a moment after the context's page tells of its event. Waits
 * until this many events have gone into the ring, or have had to wait.
 */
static bool ring_settled(struct ring *r, uint64_t events)
{
	uint64_t end = box_now_ns() + 10000000000ull;

	while (r->producer->head + r->producer->overflows < events) {
		if (box_now_ns() > end)
			return false;
	}
	return r->producer->head + r->producer->overflows == events;
}

TEST_F(ring, setup_checks_its_argument)
{
	static const uint32_t bad[] = { 0, 3, 5, 100, 1u << 31 };
	struct sandtrap_ring_setup arg = { .size = sizeof(arg), .entries = 8 };
	struct box other;
	size_t i;

	/* One ring for an instance. */
	EXPECT_EQ(-1, ioctl(self->b.fd, SANDTRAP_RING_SETUP, &arg));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, box_open_instance(&other));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		arg.entries = bad[i];
		EXPECT_EQ(-1, ioctl(other.fd, SANDTRAP_RING_SETUP, &arg));
		EXPECT_EQ(EINVAL, errno);
	}
	arg.entries = 2 * self->b.info.out_max_ring_entries;
	EXPECT_EQ(-1, ioctl(other.fd, SANDTRAP_RING_SETUP, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, ring_wait(&other, 0));
	arg.entries = self->b.info.out_max_ring_entries;
	EXPECT_EQ(0, ioctl(other.fd, SANDTRAP_RING_SETUP, &arg));
	EXPECT_EQ(-ETIME, ring_wait(&other, 0));
	close(other.fd);
}

TEST_F(ring, each_side_writes_its_own_page_only)
{
	const int rw = PROT_READ | PROT_WRITE;
	int fd = self->b.fd;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, rw, MAP_SHARED, fd,
				   self->r.setup.out_producer_offset));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, rw, MAP_SHARED, fd,
				   self->r.setup.out_entries_offset));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd,
				   self->r.setup.out_producer_offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED,
				   fd, self->r.setup.out_consumer_offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd,
				   self->r.setup.out_producer_offset));
	EXPECT_EQ(-1, mprotect((void *)self->r.producer, 4096, rw));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect((void *)self->r.entries, 4096, rw));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(ring, an_event_brings_an_entry)
{
	struct sandtrap_ring_entry e;
	int i;

	EXPECT_FALSE(ring_take(&self->r, &e));
	EXPECT_EQ(-ETIME, ring_wait(&self->b, 5));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, resume(&self->b, &self->ctx[0]));
		ASSERT_EQ(0, ring_wait(&self->b, 10000));
		ASSERT_TRUE(ring_take(&self->r, &e));
		EXPECT_EQ(self->ctx[0].id, e.id);
		EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, e.event);
		EXPECT_EQ(i + 2, e.seq);
		EXPECT_EQ(i + 2, self->ctx[0].page->event_seq);
		EXPECT_EQ(0x5a5a000000000000ull, e.cookie);
		EXPECT_EQ(0, e.__reserved);
		EXPECT_FALSE(ring_take(&self->r, &e));
	}
	EXPECT_EQ(20, self->r.producer->head);
	EXPECT_EQ(0, self->r.producer->overflows);
}

TEST_F(ring, other_contexts_do_not_use_it)
{
	box_load(&self->b, &self->b.ctx, box_syscall,
		 box_syscall_end - box_syscall);
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->b.ctx));
	EXPECT_EQ(0, self->r.producer->head);
}

TEST_F(ring, poll_tells_of_entries)
{
	struct pollfd p = { .fd = self->b.fd, .events = POLLIN };
	struct sandtrap_ring_entry e;

	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(0, resume(&self->b, &self->ctx[0]));
	EXPECT_EQ(1, poll(&p, 1, 10000));
	EXPECT_EQ(POLLIN, p.revents);
	EXPECT_EQ(1, poll(&p, 1, 0));
	ASSERT_TRUE(ring_take(&self->r, &e));
	EXPECT_EQ(0, poll(&p, 1, 0));
}

/* More events than entries: none is lost, and each is told once. */
TEST_F(ring, overflow_loses_nothing)
{
	int i, round, seen[CONTEXTS], n;
	struct sandtrap_ring_entry e;

	for (round = 0; round < 10; round++) {
		for (i = 0; i < CONTEXTS; i++) {
			uint32_t seq = self->ctx[i].page->event_seq;

			ASSERT_EQ(0, resume(&self->b, &self->ctx[i]));
			ASSERT_EQ(0, box_wait(&self->b, &self->ctx[i], seq, 10000));
		}
		/* Those that had to wait before have come in since: they count twice. */
		ASSERT_TRUE(ring_settled(&self->r, (round + 1) * CONTEXTS +
					 round * (CONTEXTS - ENTRIES)));
		memset(seen, 0, sizeof(seen));
		for (n = 0; n < CONTEXTS; n++) {
			ASSERT_EQ(0, ring_wait(&self->b, 10000));
			ASSERT_TRUE(ring_take(&self->r, &e));
			EXPECT_EQ(round + 2, e.seq);
			for (i = 0; i < CONTEXTS; i++)
				seen[i] += self->ctx[i].id == e.id;
		}
		for (i = 0; i < CONTEXTS; i++)
			EXPECT_EQ(1, seen[i]);
		EXPECT_EQ(-ETIME, ring_wait(&self->b, 0));
		EXPECT_EQ(0, self->r.producer->flags);
	}
	EXPECT_EQ(10 * CONTEXTS, self->r.producer->head);
	EXPECT_EQ(10 * (CONTEXTS - ENTRIES), self->r.producer->overflows);
}

TEST_F(ring, overflow_is_told_by_a_flag)
{
	struct sandtrap_ring_entry e;
	int i;

	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, resume(&self->b, &self->ctx[i]));
		ASSERT_EQ(0, box_wait(&self->b, &self->ctx[i], 1, 10000));
		ASSERT_TRUE(ring_settled(&self->r, i + 1));
		EXPECT_EQ(i < ENTRIES ? 0 : SANDTRAP_RING_NEED_WAKEUP,
			  self->r.producer->flags);
	}
	for (i = 0; i < ENTRIES; i++)
		ASSERT_TRUE(ring_take(&self->r, &e));
	/* The rest comes when somebody asks. */
	EXPECT_FALSE(ring_take(&self->r, &e));
	EXPECT_EQ(0, ring_wait(&self->b, 0));
	EXPECT_TRUE(ring_take(&self->r, &e));
}

/* The tail is hostile: whatever it says, the module neither hangs nor writes out
 * of the ring, and goes on when it is right again. */
TEST_F(ring, a_mad_tail_does_no_harm)
{
	static const uint32_t tails[] = { 1, 100, 0x80000000, 0xffffffff };
	struct sandtrap_ring_entry e;
	size_t i;

	for (i = 0; i < sizeof(tails) / sizeof(*tails); i++) {
		uint64_t events = self->r.producer->head + self->r.producer->overflows;
		uint32_t seq = self->ctx[0].page->event_seq;

		self->r.consumer->tail = self->r.producer->head + tails[i];
		ASSERT_EQ(0, resume(&self->b, &self->ctx[0]));
		ASSERT_EQ(0, box_wait(&self->b, &self->ctx[0], seq, 10000));
		ASSERT_TRUE(ring_settled(&self->r, events + 1));
		self->r.consumer->tail = self->r.producer->head;
		ring_wait(&self->b, 0);
		while (ring_take(&self->r, &e))
			EXPECT_EQ(self->ctx[0].id, e.id);
	}
	/* As if nothing had been. */
	ASSERT_EQ(0, resume(&self->b, &self->ctx[1]));
	ASSERT_EQ(0, ring_wait(&self->b, 10000));
	ASSERT_TRUE(ring_take(&self->r, &e));
	EXPECT_EQ(self->ctx[1].id, e.id);
}

TEST_F(ring, a_released_context_leaves_the_backlog)
{
	struct sandtrap_ring_entry e;
	int i, n = 0;

	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, resume(&self->b, &self->ctx[i]));
		ASSERT_EQ(0, box_wait(&self->b, &self->ctx[i], 1, 10000));
	}
	for (i = 0; i < CONTEXTS; i++)
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT,
					 self->ctx[i].id, 0, 0));
	/* Their threads let go of them in their own time. */
	usleep(200000);
	while (!ring_wait(&self->b, 0) && ring_take(&self->r, &e))
		n++;
	EXPECT_LE(ENTRIES, n);
	EXPECT_GE(CONTEXTS, n);
}

/* A thread that consumes, for a loop of many contexts: indices wrap many times. */
struct consumer {
	struct box *b;
	struct ring *r;
	struct box_context *ctx;
	unsigned int events;
	int err;
};

static void *consume(void *arg)
{
	struct consumer *c = arg;
	struct sandtrap_ring_entry e;
	int i;

	while (c->events < 4000 && !c->err) {
		c->err = ring_wait(c->b, 10000);
		/* Each resume may bring the next entry at once: count here too. */
		while (c->events < 4000 && ring_take(c->r, &e)) {
			c->events++;
			for (i = 0; i < CONTEXTS && c->ctx[i].id != e.id; i++)
				;
			if (i == CONTEXTS || c->ctx[i].page->event_seq != e.seq)
				c->err = -EPROTO;
			else
				c->err = resume(c->b, &c->ctx[i]);
			if (c->err)
				break;
		}
	}
	return NULL;
}

TEST_F(ring, one_thread_serves_many_contexts)
{
	struct consumer c = { &self->b, &self->r, self->ctx, 0, 0 };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, consume, &c));
	for (i = 0; i < CONTEXTS; i++)
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME,
					 self->ctx[i].id, 0, 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, c.err);
	EXPECT_LE(4000, c.events);
	EXPECT_EQ(self->r.consumer->tail, c.events);
}

/* Death is an event as well. */
TEST_F(ring, death_brings_an_entry)
{
	struct sandtrap_ring_entry e;
	int i, dead = 0;
	pid_t stub[2];

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, resume(&self->b, &self->ctx[i]));
		ASSERT_EQ(0, ring_wait(&self->b, 10000));
		ASSERT_TRUE(ring_take(&self->r, &e));
	}
	ASSERT_EQ(1, box_stubs(&self->b, stub, 2));
	ASSERT_EQ(0, kill(stub[0], SIGKILL));
	while (dead < 3 && !ring_wait(&self->b, 10000)) {
		while (ring_take(&self->r, &e))
			dead += e.event == SANDTRAP_EVENT_DEAD;
	}
	EXPECT_LE(3, dead);
}

TEST_HARNESS_MAIN
