// SPDX-License-Identifier: MIT
/*
 * vma.c - the mappings of an mm: finding, cutting and joining them
 */
#include <stdlib.h>
#include <string.h>

#include "sentry/mm/internal.h"

static int vma_cmp(struct vma *a, struct vma *b)
{
	return a->start < b->start ? -1 : a->start > b->start;
}

RB_GENERATE(vma_tree, vma, link, vma_cmp)

struct vma *vma_find(struct mm *mm, uint64_t addr)
{
	struct vma *v = RB_ROOT(&mm->vmas), *best = NULL;

	while (v) {
		if (addr < v->end) {
			best = v;
			v = RB_LEFT(v, link);
		} else {
			v = RB_RIGHT(v, link);
		}
	}
	return best;
}

struct vma *vma_at(struct mm *mm, uint64_t addr)
{
	struct vma *v = vma_find(mm, addr);

	return v && v->start <= addr ? v : NULL;
}

bool vma_range_free(struct mm *mm, uint64_t start, uint64_t end)
{
	struct vma *v = vma_find(mm, start);

	return !v || v->start >= end;
}

/* Is @b what would follow @a if both were one mapping? */
static bool can_merge(const struct vma *a, const struct vma *b)
{
	if (a->end != b->start || a->prot != b->prot ||
	    a->max_prot != b->max_prot || a->shared != b->shared ||
	    a->growsdown != b->growsdown || a->dontfork != b->dontfork ||
	    a->fixed != b->fixed || a->file != b->file || a->name != b->name ||
	    a->map.copied != b->map.copied)
		return false;
	if (a->fixed || (a->shared && !a->file))
		return false;
	return !a->file || a->off + (a->end - a->start) == b->off;
}

static void vma_get_file(struct vma *v)
{
	if (!v->file)
		return;
	file_get(v->file);
	if (v->file->ops->vma_open)
		v->file->ops->vma_open(v->file);
}

static void vma_put_file(struct vma *v)
{
	if (!v->file)
		return;
	if (v->file->ops->vma_close)
		v->file->ops->vma_close(v->file);
	file_put(v->file);
}

void vma_remove(struct mm *mm, struct vma *v)
{
	RB_REMOVE(vma_tree, &mm->vmas, v);
	mm->nr_vmas--;
	mm->vm_size -= v->end - v->start;
	vma_put_file(v);
	free(v);
}

struct vma *vma_merge(struct mm *mm, struct vma *v)
{
	struct vma *prev = RB_PREV(vma_tree, &mm->vmas, v);
	struct vma *next = RB_NEXT(vma_tree, &mm->vmas, v);

	if (next && can_merge(v, next)) {
		v->end = next->end;
		mm->vm_size += next->end - next->start;
		vma_remove(mm, next);
	}
	if (prev && can_merge(prev, v)) {
		prev->end = v->end;
		mm->vm_size += v->end - v->start;
		vma_remove(mm, v);
		v = prev;
	}
	return v;
}

struct vma *vma_insert(struct mm *mm, const struct vma *tmpl)
{
	struct vma *v;

	if (mm->nr_vmas >= MAX_VMAS)
		return NULL;
	v = malloc(sizeof(*v));
	if (!v)
		return NULL;
	*v = *tmpl;
	vma_get_file(v);
	RB_INSERT(vma_tree, &mm->vmas, v);
	mm->nr_vmas++;
	mm->vm_size += v->end - v->start;
	return vma_merge(mm, v);
}

int vma_split_at(struct mm *mm, uint64_t addr)
{
	struct vma *v = vma_at(mm, addr), *upper;

	if (!v || v->start == addr)
		return 0;
	if (mm->nr_vmas >= MAX_VMAS)
		return -ENOMEM;
	upper = malloc(sizeof(*upper));
	if (!upper)
		return -ENOMEM;
	*upper = *v;
	vma_get_file(upper);
	upper->start = addr;
	upper->off += addr - v->start;
	v->end = addr;
	RB_INSERT(vma_tree, &mm->vmas, upper);
	mm->nr_vmas++;
	return 0;
}

/*
 * The highest gap of @len bytes that ends at or below @top, or 0. A page is
 * left between the stack and what is below it.
 */
static uint64_t room_below(struct mm *mm, uint64_t len, uint64_t top)
{
	uint64_t min = mm->kernel->platform->min_user_address;
	uint64_t end = top;
	struct vma *v = vma_find(mm, top);

	if (v && v->start < top)
		end = v->start;
	v = v ? RB_PREV(vma_tree, &mm->vmas, v) :
		RB_MAX(vma_tree, &mm->vmas);
	for (; v; v = RB_PREV(vma_tree, &mm->vmas, v)) {
		if (v->end < end && end - v->end >= len)
			return end - len;
		end = MIN(end, v->start);
	}
	return end >= min && end - min >= len ? end - len : 0;
}

uint64_t vma_find_room(struct mm *mm, uint64_t len, uint64_t hint, uint64_t top)
{
	uint64_t min = mm->kernel->platform->min_user_address;
	uint64_t addr;

	top = MIN(top, mm->mmap_top);
	if (top < min || len > top - min)
		return 0;
	if (hint >= min && hint <= top - len &&
	    vma_range_free(mm, hint, hint + len))
		return hint;
	if (top < mm->mmap_top)
		return room_below(mm, len, top);
	/* Where the last search ended; all above was full then. */
	addr = room_below(mm, len, mm->search_from);
	if (!addr && mm->search_from != top)
		addr = room_below(mm, len, top);
	if (addr)
		mm->search_from = addr;
	return addr;
}

/* A page of distance on either side, so that overruns still fault. */
#define LONELY (3 * PAGE_SIZE)

/* Near is what a 32-bit displacement reaches from anywhere in a large mapping. */
#define NEAR_MAX (1ull << 30)

uint64_t vma_find_page_near(struct mm *mm, uint64_t addr)
{
	uint64_t min = mm->kernel->platform->min_user_address;
	struct vma *v = vma_at(mm, addr), *below;
	uint64_t floor;

	/* Below, as the heap grows above a program's image. */
	for (; v && addr - v->start < NEAR_MAX; v = below) {
		below = RB_PREV(vma_tree, &mm->vmas, v);
		floor = below ? below->end : min;
		if (!v->growsdown && v->start > floor && v->start - floor >= LONELY)
			return v->start - 2 * PAGE_SIZE;
	}
	return 0;
}
