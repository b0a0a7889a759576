/* SPDX-License-Identifier: MIT */
/*
 * mock_platform.h - a platform that is a table of pages: what it was told to map
 *
 * For tests that look at what an mm does with code: the table, a file with code on a
 * memfd, and tasks that call the sentry without running anything.
 */
#ifndef _SELFTESTS_MOCK_PLATFORM_H
#define _SELFTESTS_MOCK_PLATFORM_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sentry/fs.h"
#include "sentry/mm/internal.h"

#define MIN_ADDR 0x10000000ull
#define NR_PAGES 1024ull

/* ---- the platform ---- */

struct page {
	bool mapped;
	int fd, prot;
	uint64_t off;
};

struct mock_as {
	struct platform_address_space base;
	struct page pages[NR_PAGES];
};

static int mock_map(struct platform_address_space *base, struct platform_context *ctx,
		    uint64_t addr, int fd, uint64_t off, uint64_t len, int prot, bool precommit)
{
	struct mock_as *as = container_of(base, struct mock_as, base);
	uint64_t i;

	for (i = 0; i < len / PAGE_SIZE; i++)
		as->pages[(addr - MIN_ADDR) / PAGE_SIZE + i] =
			(struct page){ prot != 0, fd, prot, off + i * PAGE_SIZE };
	return 0;
}

static int mock_unmap(struct platform_address_space *as, struct platform_context *ctx,
		      uint64_t addr, uint64_t len)
{
	return mock_map(as, ctx, addr, -1, 0, len, 0, false);
}

static int mock_flush(struct platform_address_space *as, struct platform_context *ctx)
{
	return 0;
}

static int mock_new_as(struct platform *p, struct platform_address_space **out)
{
	struct mock_as *as = calloc(1, sizeof(*as));

	as->base.platform = p;
	*out = &as->base;
	return 0;
}

static void mock_nothing(struct platform_address_space *as)
{
}

static void mock_as_release(struct platform_address_space *as)
{
	free(container_of(as, struct mock_as, base));
}

static const struct platform_ops mock_ops = {
	.new_address_space = mock_new_as,
	.map_file = mock_map,
	.unmap = mock_unmap,
	.flush = mock_flush,
	.pre_fork = mock_nothing,
	.post_fork = mock_nothing,
	.address_space_release = mock_as_release,
};

/* ---- the file ---- */

static int code_mmap(struct task *t, struct file *f, struct file_mmap *out)
{
	out->host_fd = f->host_fd;
	return 0;
}

static ssize_t code_readv(struct task *t, struct file *f, const struct iovec *iov, int cnt,
			  off_t off)
{
	ssize_t n = preadv(f->host_fd, iov, cnt, off);

	return n < 0 ? -errno : n;
}

static void code_release(struct file *f)
{
}

static const struct file_ops code_ops = {
	.release = code_release,
	.readv = code_readv,
	.mmap = code_mmap,
};

/* ---- tasks ---- */

static inline struct task *new_task(struct kernel *k)
{
	struct task *t = calloc(1, sizeof(*t));

	t->ctx = calloc(1, sizeof(*t->ctx));
	t->regs = calloc(1, sizeof(*t->regs));
	t->tg = calloc(1, sizeof(*t->tg));
	t->kernel = k;
	return t;
}

static inline void end_task(struct task *t)
{
	if (!t)
		return;
	mm_remove_task(t->mm);
	mm_put(t->mm);
	free(t->tg);
	free(t->regs);
	free(t->ctx);
	free(t);
}

static inline int64_t map_at(struct task *t, uint64_t addr, uint64_t len, int prot, int flags,
			     struct file *f)
{
	return mm_map_file(t, addr, len, prot, flags | MAP_FIXED, f, 0);
}

/* A system call of the task. */
static inline long call(struct task *t, int nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
			uint64_t e)
{
	const uint64_t args[6] = { a, b, c, d, e, 0 };

	return syscall_table[nr]->fn(t, args);
}

#endif /* _SELFTESTS_MOCK_PLATFORM_H */
