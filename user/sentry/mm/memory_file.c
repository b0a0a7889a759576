// SPDX-License-Identifier: MIT
/*
 * memory_file.c - the file that holds the pages of a sandbox
 *
 * One memfd, mapped into the sentry as a whole when it is created: it is
 * sparse, so neither the file nor the mapping costs anything before pages are
 * touched. Every page has a reference count.
 *
 * Free space is kept in extents, in two trees: by offset for joining, by
 * length for best fit. Freed pages still hold data: they are "dirty". They are
 * handed out first, zeroed, since a page that is there costs its next owner half
 * of what a new one does. When there are too many, all are given back to the host
 * at once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "sentry/fs.h"
#include "sentry/mm.h"
#include "sentry/tree.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* With less there is no point in starting. */
#define FILE_SIZE_MIN (64ul << 20)

/* Punch holes when more than this much, or this many extents, are dirty. */
#define DIRTY_BYTES_MAX (16ul << 20)
#define DIRTY_EXTENTS_MAX 256u

struct extent {
	RB_ENTRY(extent) by_off;
	RB_ENTRY(extent) by_len;
	uint64_t off, len;
};

static int extent_cmp_off(struct extent *a, struct extent *b)
{
	return a->off < b->off ? -1 : a->off > b->off;
}

static int extent_cmp_len(struct extent *a, struct extent *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return extent_cmp_off(a, b);
}

RB_HEAD(off_tree, extent);
RB_HEAD(len_tree, extent);
RB_GENERATE_STATIC(off_tree, extent, by_off, extent_cmp_off)
RB_GENERATE_STATIC(len_tree, extent, by_len, extent_cmp_len)

/* Extents none of which touches another. */
struct pool {
	struct off_tree by_off;
	struct len_tree by_len;
	uint64_t bytes;
	unsigned int count;
};

struct memory_file {
	int fd;
	char *base;
	uint64_t size;
	pthread_mutex_t lock;
	/* Protected by lock. */
	uint32_t *refs; /* by page */
	uint64_t top; /* never handed out from here on */
	struct pool clean, dirty;
	uint64_t usage;
};

static void pool_init(struct pool *p)
{
	RB_INIT(&p->by_off);
	RB_INIT(&p->by_len);
}

static void pool_remove(struct pool *p, struct extent *e)
{
	RB_REMOVE(off_tree, &p->by_off, e);
	RB_REMOVE(len_tree, &p->by_len, e);
	p->bytes -= e->len;
	p->count--;
}

static void pool_insert(struct pool *p, struct extent *e)
{
	RB_INSERT(off_tree, &p->by_off, e);
	RB_INSERT(len_tree, &p->by_len, e);
	p->bytes += e->len;
	p->count++;
}

static void pool_destroy(struct pool *p)
{
	struct extent *e;

	while ((e = RB_MIN(off_tree, &p->by_off))) {
		pool_remove(p, e);
		free(e);
	}
}

/* Joined with the extents that it touches. */
static void pool_add(struct pool *p, uint64_t off, uint64_t len)
{
	struct extent key = { .off = off };
	struct extent *next = RB_NFIND(off_tree, &p->by_off, &key);
	struct extent *prev = next ? RB_PREV(off_tree, &p->by_off, next) :
				     RB_MAX(off_tree, &p->by_off);
	struct extent *e = NULL;

	if (next && off + len == next->off) {
		e = next;
		pool_remove(p, e);
		len += e->len;
	}
	if (prev && prev->off + prev->len == off) {
		free(e);
		e = prev;
		pool_remove(p, e);
		off = e->off;
		len += e->len;
	}
	if (!e)
		e = malloc(sizeof(*e));
	/* Without memory for the extent its space is lost, no more. */
	if (!e)
		return;
	e->off = off;
	e->len = len;
	pool_insert(p, e);
}

/* Best fit: offset, or 0. */
static uint64_t pool_take(struct pool *p, uint64_t len)
{
	struct extent key = { .len = len };
	struct extent *e = RB_NFIND(len_tree, &p->by_len, &key);
	uint64_t off;

	if (!e)
		return 0;
	off = e->off;
	pool_remove(p, e);
	if (e->len == len) {
		free(e);
	} else {
		e->off += len;
		e->len -= len;
		pool_insert(p, e);
	}
	return off;
}

/*
 * Address space is what large mappings use up, memory what pages use up: be
 * generous with the former.
 */
static uint64_t file_size(void)
{
	struct sysinfo si;
	uint64_t ram = 1ull << 30;

	if (!sysinfo(&si))
		ram = (uint64_t)si.totalram * si.mem_unit;
	return MAX(64 * ram, 256ull << 30) & ~((1ull << 30) - 1);
}

static int open_memfd(void)
{
	int fd = memfd_create("sandtrap-memory", MFD_CLOEXEC | MFD_EXEC);

	/* Kernels before 6.3 do not know MFD_EXEC, and need none. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("sandtrap-memory", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * RLIMIT_FSIZE counts for this file as well, when it is sized; the program's
 * files are limited elsewhere. Going beyond it would be a fatal signal.
 */
static int set_size(int fd, uint64_t size)
{
	struct rlimit own, raised;
	int err = 0;

	if (getrlimit(RLIMIT_FSIZE, &own) || size > own.rlim_max)
		return -EFBIG;
	raised = (struct rlimit){ own.rlim_max, own.rlim_max };
	if (setrlimit(RLIMIT_FSIZE, &raised) || ftruncate(fd, (off_t)size))
		err = -errno;
	setrlimit(RLIMIT_FSIZE, &own);
	return err;
}

/* Room for the mapping; smaller when files or the address space are limited. */
static int map_file(struct memory_file *mf)
{
	for (mf->size = file_size(); mf->size >= FILE_SIZE_MIN;
	     mf->size /= 2) {
		void *base, *refs;

		if (set_size(mf->fd, mf->size))
			continue;
		base = mmap(NULL, mf->size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_NORESERVE, mf->fd, 0);
		if (base == MAP_FAILED)
			continue;
		refs = mmap(NULL, mf->size / PAGE_SIZE * sizeof(*mf->refs),
			    PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			    0);
		if (refs == MAP_FAILED) {
			munmap(base, mf->size);
			continue;
		}
		mf->base = base;
		mf->refs = refs;
		return 0;
	}
	return -ENOMEM;
}

int memory_file_create(struct memory_file **out)
{
	struct memory_file *mf = calloc(1, sizeof(*mf));
	int err;

	if (!mf)
		return -ENOMEM;
	mf->fd = open_memfd();
	if (mf->fd < 0) {
		err = mf->fd;
		goto out_free;
	}
	err = map_file(mf);
	if (err)
		goto out_close;
	/* Offset 0 is never handed out. */
	mf->top = PAGE_SIZE;
	pthread_mutex_init(&mf->lock, NULL);
	pool_init(&mf->clean);
	pool_init(&mf->dirty);
	*out = mf;
	return 0;

out_close:
	close(mf->fd);
out_free:
	free(mf);
	return err;
}

void memory_file_destroy(struct memory_file *mf)
{
	pool_destroy(&mf->clean);
	pool_destroy(&mf->dirty);
	munmap(mf->base, mf->size);
	munmap(mf->refs, mf->size / PAGE_SIZE * sizeof(*mf->refs));
	close(mf->fd);
	pthread_mutex_destroy(&mf->lock);
	free(mf);
}

void *memory_file_ptr(struct memory_file *mf, uint64_t off)
{
	return mf->base + off;
}

int memory_file_fd(struct memory_file *mf)
{
	return mf->fd;
}

uint64_t memory_file_usage(struct memory_file *mf)
{
	uint64_t usage;

	pthread_mutex_lock(&mf->lock);
	usage = mf->usage;
	pthread_mutex_unlock(&mf->lock);
	return usage;
}

/* Give the dirty pages back to the host, which zeroes them. */
static void punch_dirty(struct memory_file *mf)
{
	struct extent *e;

	while ((e = RB_MIN(off_tree, &mf->dirty.by_off))) {
		pool_remove(&mf->dirty, e);
		if (fallocate(mf->fd,
			      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)e->off, (off_t)e->len))
			memset(mf->base + e->off, 0, e->len);
		pool_add(&mf->clean, e->off, e->len);
		free(e);
	}
}

static void free_pages(struct memory_file *mf, uint64_t off, uint64_t len)
{
	pool_add(&mf->dirty, off, len);
	if (mf->dirty.bytes > DIRTY_BYTES_MAX ||
	    mf->dirty.count > DIRTY_EXTENTS_MAX)
		punch_dirty(mf);
}

static uint64_t take_top(struct memory_file *mf, uint64_t len)
{
	uint64_t off = mf->top;

	if (len > mf->size - mf->top)
		return 0;
	mf->top += len;
	return off;
}

/* @dirty: is to be zeroed. */
static uint64_t take(struct memory_file *mf, uint64_t len, bool *dirty)
{
	uint64_t off = pool_take(&mf->dirty, len);

	*dirty = off;
	if (!off)
		off = pool_take(&mf->clean, len);
	if (!off)
		off = take_top(mf, len);
	if (!off && mf->dirty.count) {
		punch_dirty(mf);
		off = pool_take(&mf->clean, len);
	}
	return off;
}

/* The next page at or after @at, before @end, that holds data; @end if none does. */
static uint64_t next_data(struct memory_file *mf, uint64_t at, uint64_t end)
{
	off_t data;

	if (at == end)
		return end;
	data = lseek(mf->fd, (off_t)at, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? end : at;
	return MIN((uint64_t)data, end);
}

static uint64_t data_end(struct memory_file *mf, uint64_t at, uint64_t end)
{
	off_t hole = lseek(mf->fd, (off_t)at, SEEK_HOLE);

	return hole < 0 ? end : MIN((uint64_t)hole, end);
}

/* Pages that are not there stay so; a single one is going to be used. */
static void zero(struct memory_file *mf, uint64_t off, uint64_t len)
{
	const uint64_t end = off + len;
	uint64_t at, upto;

	if (len == PAGE_SIZE) {
		memset(mf->base + off, 0, len);
		return;
	}
	for (at = next_data(mf, off, end); at < end; at = next_data(mf, upto, end)) {
		upto = data_end(mf, at, end);
		memset(mf->base + at, 0, upto - at);
	}
}

int memory_file_alloc(struct memory_file *mf, uint64_t len, uint64_t *off)
{
	uint64_t i, first;
	bool dirty;

	pthread_mutex_lock(&mf->lock);
	*off = take(mf, len, &dirty);
	if (*off) {
		first = *off / PAGE_SIZE;
		for (i = 0; i < len / PAGE_SIZE; i++)
			mf->refs[first + i] = 1;
		mf->usage += len;
	}
	pthread_mutex_unlock(&mf->lock);
	if (!*off)
		return -ENOMEM;
	if (dirty)
		zero(mf, *off, len);
	return 0;
}

void memory_file_ref(struct memory_file *mf, uint64_t off, uint64_t len)
{
	uint64_t i, first = off / PAGE_SIZE;

	pthread_mutex_lock(&mf->lock);
	for (i = 0; i < len / PAGE_SIZE; i++)
		mf->refs[first + i]++;
	pthread_mutex_unlock(&mf->lock);
}

void memory_file_unref(struct memory_file *mf, uint64_t off, uint64_t len)
{
	uint64_t i, n = len / PAGE_SIZE, first = off / PAGE_SIZE;
	uint64_t run = 0;

	pthread_mutex_lock(&mf->lock);
	for (i = 0; i < n; i++) {
		if (!--mf->refs[first + i]) {
			run++;
			continue;
		}
		if (run)
			free_pages(mf, off + (i - run) * PAGE_SIZE,
				   run * PAGE_SIZE);
		mf->usage -= run * PAGE_SIZE;
		run = 0;
	}
	if (run)
		free_pages(mf, off + (n - run) * PAGE_SIZE, run * PAGE_SIZE);
	mf->usage -= run * PAGE_SIZE;
	pthread_mutex_unlock(&mf->lock);
}

bool memory_file_exclusive(struct memory_file *mf, uint64_t off, uint64_t len)
{
	uint64_t i, first = off / PAGE_SIZE;
	bool exclusive = true;

	pthread_mutex_lock(&mf->lock);
	for (i = 0; i < len / PAGE_SIZE && exclusive; i++)
		exclusive = mf->refs[first + i] == 1;
	pthread_mutex_unlock(&mf->lock);
	return exclusive;
}

void memory_file_copy(struct memory_file *mf, uint64_t to, uint64_t from,
		      uint64_t len)
{
	uint64_t end = from + len, at = next_data(mf, from, end), upto;

	while (at < end) {
		upto = data_end(mf, at, end);
		memcpy(mf->base + to + (at - from), mf->base + at, upto - at);
		at = next_data(mf, upto, end);
	}
}

int memory_file_clear(struct memory_file *mf, uint64_t off, uint64_t len)
{
	if (fallocate(mf->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)off, (off_t)len))
		return -errno;
	return 0;
}
