// SPDX-License-Identifier: MIT
/*
 * fork.c - a copy of an mm
 *
 * The child finds the memory of one moment: private pages are write-protected one after
 * the other, and a thread that writes to one waits for the end. So what it would write
 * next is not there either.
 */
#include <string.h>

#include "sentry/mm/internal.h"

static int fork_vmas(struct mm *from, struct mm *to)
{
	struct vma *v;

	RB_FOREACH(v, vma_tree, &from->vmas)
		if (!v->dontfork && !v->fixed && !vma_insert(to, v))
			return -ENOMEM;
	return 0;
}

/*
 * Small writable areas (data of libraries, the stack's top) are written by both
 * sides soon: a copy now is cheaper than a fault for each. A shell forks twice
 * as fast for it. Other threads would write meanwhile, and the child would find memory
 * that never was: what they wrote last without what they wrote before.
 */
static bool worth_copying(struct mm *from, const struct pma *p, uint64_t *budget)
{
	uint64_t len = p->end - p->start;

	if (mm_is_shared(from) || p->file || p->cow || !(p->prot & PROT_WRITE) ||
	    len > FORK_COPY_MAX || len > *budget)
		return false;
	*budget -= len;
	return true;
}

static int fork_copy(struct mm *to, const struct pma *p)
{
	struct memory_file *mf = to->kernel->memory_file;
	struct pma copy = *p;
	int err;

	copy.mapped = false;
	err = memory_file_alloc(mf, p->end - p->start, &copy.off);
	if (err)
		return err;
	memory_file_copy(mf, copy.off, p->off, p->end - p->start);
	return pma_insert(to, &copy) ? 0 : -ENOMEM;
}

/* ---- buffers that are being filled ---- */

static bool overlaps(const struct user_buffer *ub, int piece, const struct pma *p)
{
	uint64_t off = ub->pin_off[piece];

	return !p->file && off < p->off + (p->end - p->start) &&
	       p->off < off + ub->iov[piece].iov_len;
}

static bool is_filled(const struct mm *mm, const struct pma *p)
{
	const struct user_buffer *ub;
	int i;

	LIST_FOREACH(ub, &mm->filled, link) {
		for (i = 0; i < ub->iovcnt; i++) {
			if (overlaps(ub, i, p))
				return true;
		}
	}
	return false;
}

static int cut_out_piece(struct mm *mm, const struct user_buffer *ub, int piece)
{
	uint64_t first = page_down(ub->pin_off[piece]);
	uint64_t end = page_up(ub->pin_off[piece] + ub->iov[piece].iov_len);
	struct pma *p;
	int err = 0;

	RB_FOREACH(p, pma_tree, &mm->pmas) {
		if (!overlaps(ub, piece, p))
			continue;
		if (first > p->off)
			err = pma_split_at(mm, p->start + (first - p->off));
		else if (end < p->off + (p->end - p->start))
			err = pma_split_at(mm, p->start + (end - p->off));
		if (err)
			return err;
	}
	return 0;
}

/* Their pages get pmas of their own, so that no others are copied. */
static int cut_out_filled(struct mm *mm)
{
	const struct user_buffer *ub;
	int err = 0, i;

	LIST_FOREACH(ub, &mm->filled, link) {
		for (i = 0; !err && i < ub->iovcnt; i++)
			err = cut_out_piece(mm, ub, i);
	}
	return err;
}

/*
 * No thread can write now. Who fills these pages knows only where they are: they stay,
 * and the child gets copies, or it would be given what arrives from now on.
 */
static int fork_filled(struct mm *from, struct task *t, struct mm *to)
{
	struct pma *p;
	int err;

	if (LIST_EMPTY(&from->filled))
		return 0;
	RB_FOREACH(p, pma_tree, &from->pmas) {
		if (!p->cow || !is_filled(from, p))
			continue;
		p->cow = false;
		err = fork_copy(to, p);
		if (!err && p->mapped)
			err = pma_protect(from, t, p);
		if (err)
			return err;
	}
	return mm_sync(from, t);
}

/* ---- pages ---- */

/* Share the pages of @p; private ones are copied by who writes first. */
static int fork_pma(struct mm *from, struct task *t, struct mm *to,
		    struct pma *p, uint64_t *budget)
{
	struct vma *v = vma_at(from, p->start);
	bool was_writable = (p->prot & PROT_WRITE) && !p->cow;
	struct pma copy;

	if (v->dontfork)
		return 0;
	if (!v->shared && worth_copying(from, p, budget))
		return fork_copy(to, p);
	if (!v->shared)
		p->cow = true;
	if (!p->cow || !is_filled(from, p)) {
		copy = *p;
		copy.mapped = false;
		pma_get_pages(to, copy.file, copy.off, copy.end - copy.start);
		if (!pma_insert(to, &copy))
			return -ENOMEM;
	}
	if (was_writable && p->cow && p->mapped)
		return pma_protect(from, t, p);
	return 0;
}

static int fork_pmas(struct mm *from, struct task *t, struct mm *to)
{
	uint64_t budget = FORK_COPY_TOTAL;
	struct pma *p;
	int err;

	err = cut_out_filled(from);
	if (err)
		return err;
	RB_FOREACH(p, pma_tree, &from->pmas) {
		err = fork_pma(from, t, to, p, &budget);
		if (err)
			return err;
	}
	err = mm_sync_pages(from, t);
	return err ? err : fork_filled(from, t, to);
}

int mm_fork(struct task *t, struct mm **out)
{
	struct mm *from = t->mm, *to;
	int err;

	err = mm_create(from->kernel, &to);
	if (err)
		return err;
	pthread_mutex_lock(&from->lock);
	address_space_pre_fork(from->as);
	to->mmap_top = from->mmap_top;
	to->search_from = from->search_from;
	to->info = from->info;
	to->map_all = true;
	memcpy(to->auxv, from->auxv, from->auxv_len);
	to->auxv_len = from->auxv_len;
	err = fork_vmas(from, to);
	if (!err)
		err = fork_pmas(from, t, to);
	if (!err)
		err = patch_fork(from, to);
	if (!err)
		err = cpuid_fork(from, to);
	address_space_post_fork(from->as);
	pthread_mutex_unlock(&from->lock);
	if (err) {
		mm_put(to);
		return err;
	}
	*out = to;
	return 0;
}
