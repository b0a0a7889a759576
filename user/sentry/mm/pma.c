// SPDX-License-Identifier: MIT
/*
 * pma.c - what stands behind the pages of an mm, and in the address space
 */
#include <stdlib.h>
#include <string.h>

#include "sentry/mm/internal.h"

static int pma_cmp(struct pma *a, struct pma *b)
{
	return a->start < b->start ? -1 : a->start > b->start;
}

RB_GENERATE(pma_tree, pma, link, pma_cmp)

struct pma *pma_find(struct mm *mm, uint64_t addr)
{
	struct pma *p = RB_ROOT(&mm->pmas), *best = NULL;

	while (p) {
		if (addr < p->end) {
			best = p;
			p = RB_LEFT(p, link);
		} else {
			p = RB_RIGHT(p, link);
		}
	}
	return best;
}

struct pma *pma_at(struct mm *mm, uint64_t addr)
{
	struct pma *p = mm->last_pma;

	if (p && p->start <= addr && addr < p->end)
		return p;
	p = pma_find(mm, addr);
	if (!p || p->start > addr)
		return NULL;
	mm->last_pma = p;
	return p;
}

void pma_get_pages(struct mm *mm, struct file *file, uint64_t off,
		   uint64_t len)
{
	if (file)
		file_get(file);
	else
		memory_file_ref(mm->kernel->memory_file, off, len);
}

void pma_put_pages(struct mm *mm, struct file *file, uint64_t off,
		   uint64_t len)
{
	if (file)
		file_put(file);
	else
		memory_file_unref(mm->kernel->memory_file, off, len);
}

static bool can_merge(const struct pma *a, const struct pma *b)
{
	return a->end == b->start && a->file == b->file &&
	       a->prot == b->prot && a->cow == b->cow &&
	       a->mapped == b->mapped &&
	       a->off + (a->end - a->start) == b->off;
}

static void unlink_pma(struct mm *mm, struct pma *p)
{
	RB_REMOVE(pma_tree, &mm->pmas, p);
	mm->nr_pmas--;
	if (mm->last_pma == p)
		mm->last_pma = NULL;
	free(p);
}

struct pma *pma_insert(struct mm *mm, const struct pma *tmpl)
{
	struct pma *p = malloc(sizeof(*p)), *prev;

	if (!p) {
		pma_put_pages(mm, tmpl->file, tmpl->off,
			      tmpl->end - tmpl->start);
		return NULL;
	}
	*p = *tmpl;
	RB_INSERT(pma_tree, &mm->pmas, p);
	mm->nr_pmas++;
	prev = RB_PREV(pma_tree, &mm->pmas, p);
	if (prev && can_merge(prev, p) && vma_at(mm, prev->start) ==
	    vma_at(mm, p->start)) {
		prev->end = p->end;
		if (p->file)
			file_put(p->file);
		unlink_pma(mm, p);
		p = prev;
	}
	return p;
}

int pma_split_at(struct mm *mm, uint64_t addr)
{
	struct pma *p = pma_at(mm, addr), *upper;

	if (!p || p->start == addr)
		return 0;
	upper = malloc(sizeof(*upper));
	if (!upper)
		return -ENOMEM;
	*upper = *p;
	if (upper->file)
		file_get(upper->file);
	upper->start = addr;
	upper->off += addr - p->start;
	p->end = addr;
	RB_INSERT(pma_tree, &mm->pmas, upper);
	mm->nr_pmas++;
	return 0;
}

/* Protection in the platform's address space. */
static int pma_host_prot(const struct pma *p)
{
	int prot = p->prot;

	if (p->cow)
		prot &= ~PROT_WRITE;
	/* x86 cannot map pages that may be written but not read. */
	if (p->prot & PROT_WRITE)
		prot |= PROT_READ;
	return prot;
}

int pma_map(struct mm *mm, struct task *t, struct pma *p)
{
	int prot = pma_host_prot(p);
	int fd = p->file ? p->host_fd :
			   memory_file_fd(mm->kernel->memory_file);
	int err;

	/*
	 * Another task's mm: that task may have operations queued, which must
	 * not overtake. Its own fault will map the page.
	 */
	if (!t)
		return p->mapped ? -EFAULT : 0;
	if (!prot) {
		err = p->mapped ? address_space_unmap(mm->as, mm_ctx(t),
						      p->start,
						      p->end - p->start) :
				  0;
		p->mapped = false;
		return mm_broken(t, err);
	}
	err = address_space_map_file(mm->as, mm_ctx(t), p->start, fd, p->off,
				     p->end - p->start, prot, false);
	if (!err)
		p->mapped = true;
	return mm_broken(t, err);
}

int pma_protect(struct mm *mm, struct task *t, struct pma *p)
{
	int prot = pma_host_prot(p), err;

	if (!t || !p->mapped || !prot)
		return pma_map(mm, t, p);
	err = address_space_protect(mm->as, mm_ctx(t), p->start,
				    p->end - p->start, prot);
	return err == -EOPNOTSUPP ? pma_map(mm, t, p) : mm_broken(t, err);
}

int pma_drop(struct mm *mm, struct task *t, uint64_t start, uint64_t end)
{
	struct pma *p, *next;
	bool mapped = false, pages = false;
	int err;

	cpuid_forget(mm, start, end);
	err = patch_forget(mm, t, start, end);
	if (!err)
		err = pma_split_at(mm, start);
	if (!err)
		err = pma_split_at(mm, end);
	if (err)
		return err;
	for (p = pma_find(mm, start); p && p->start < end;
	     p = RB_NEXT(pma_tree, &mm->pmas, p)) {
		mapped |= p->mapped;
		pages |= p->mapped && !p->file;
	}
	if (mapped) {
		err = mm_broken(t, address_space_unmap(mm->as, mm_ctx(t),
						       start, end - start));
		if (!err)
			err = pages ? mm_sync_pages(mm, t) : mm_sync(mm, t);
		/* While the program may see the pages they stay ours. */
		if (err)
			return err;
	}
	for (p = pma_find(mm, start); p && p->start < end; p = next) {
		next = RB_NEXT(pma_tree, &mm->pmas, p);
		pma_put_pages(mm, p->file, p->off, p->end - p->start);
		unlink_pma(mm, p);
	}
	return 0;
}

/* Read from a mapped file into pages of the memory file. */
static int read_file_pages(struct mm *mm, struct task *t, struct file *f,
			   uint64_t file_off, uint64_t mem_off, uint64_t len)
{
	char *dst = memory_file_ptr(mm->kernel->memory_file, mem_off);
	uint64_t done = 0;
	ssize_t n;

	while (done < len) {
		n = file_pread(t, f, dst + done, len - done,
			       (off_t)(file_off + done));
		if (n < 0)
			return (int)n;
		if (!n)
			break;
		done += (uint64_t)n;
	}
	return 0;
}

/* Own pages for [start, end) of @v: zeroes, or copies from its file. */
static int add_private(struct mm *mm, struct task *t, struct vma *v,
		       uint64_t start, uint64_t end, struct pma **out)
{
	struct pma tmpl = { .start = start, .end = end, .prot = v->prot,
			    .host_fd = -1 };
	int err;

	err = memory_file_alloc(mm->kernel->memory_file, end - start,
				&tmpl.off);
	if (err)
		return err;
	if (v->file && !v->map.anonymous) {
		err = read_file_pages(mm, t, v->file,
				      v->off + (start - v->start), tmpl.off,
				      end - start);
		if (err) {
			memory_file_unref(mm->kernel->memory_file, tmpl.off,
					  end - start);
			return err;
		}
	}
	*out = pma_insert(mm, &tmpl);
	return *out ? 0 : -ENOMEM;
}

/* Map the file's own pages: shared, or to be copied when written. */
static int add_file(struct mm *mm, struct vma *v, uint64_t start, uint64_t end,
		    struct pma **out)
{
	struct pma tmpl = { .start = start, .end = end, .prot = v->prot,
			    .cow = !v->shared, .host_fd = v->map.host_fd };
	uint64_t file_off = v->off + (start - v->start);

	if (v->map.host_fd >= 0) {
		tmpl.file = v->file;
		tmpl.off = file_off;
	} else {
		tmpl.off = v->map.memory_off + file_off;
	}
	pma_get_pages(mm, tmpl.file, tmpl.off, end - start);
	*out = pma_insert(mm, &tmpl);
	return *out ? 0 : -ENOMEM;
}

static int add_pages(struct mm *mm, struct task *t, struct vma *v,
		     uint64_t start, uint64_t end, struct pma **out)
{
	if (!v->file || v->map.anonymous)
		return add_private(mm, t, v, start, end, out);
	if (v->map.copied ||
	    (!v->shared && (v->prot & PROT_WRITE) && end - start <= PRIVATE_COPY_MAX))
		return add_private(mm, t, v, start, end, out);
	return add_file(mm, v, start, end, out);
}

/* New pages are changed before the program sees them for the first time. */
static int map_new(struct mm *mm, struct task *t, struct vma *v, uint64_t start, uint64_t end)
{
	struct pma *p;
	int err = 0;

	if (v->file && !v->map.anonymous)
		err = cpuid_rewrite(mm, t, v, start, end);
	for (p = pma_find(mm, start); !err && p && p->start < end;
	     p = RB_NEXT(pma_tree, &mm->pmas, p))
		if (!p->mapped)
			err = pma_map(mm, t, p);
	return err;
}

int pma_populate(struct mm *mm, struct task *t, struct vma *v, uint64_t start,
		 uint64_t end)
{
	struct pma *p = pma_find(mm, start);
	uint64_t gap_end;
	int err;

	while (start < end) {
		if (p && p->start <= start) {
			start = p->end;
			p = RB_NEXT(pma_tree, &mm->pmas, p);
			continue;
		}
		gap_end = p ? MIN(end, p->start) : end;
		err = add_pages(mm, t, v, start, gap_end, &p);
		if (!err)
			err = map_new(mm, t, v, start, gap_end);
		if (err)
			return err;
		start = gap_end;
		p = pma_find(mm, start);
	}
	return 0;
}

/* Fill new pages with what @p shows at [start, end). */
static int copy_pages(struct mm *mm, struct task *t, struct pma *p,
		      uint64_t start, uint64_t end, uint64_t new_off)
{
	struct memory_file *mf = mm->kernel->memory_file;
	uint64_t off = p->off + (start - p->start);

	if (p->file)
		return read_file_pages(mm, t, p->file, off, new_off,
				       end - start);
	memory_file_copy(mf, new_off, off, end - start);
	return 0;
}

/* Until nobody can see the address space; without memory, until the sandbox ends. */
static void keep_pages(struct mm *mm, const struct pma *old)
{
	struct pma *p = malloc(sizeof(*p));

	if (!p)
		return;
	*p = *old;
	p->next_kept = mm->kept;
	mm->kept = p;
}

/* Own pages that the program saw until now may be given back when it sees them no more. */
static int show_copy(struct mm *mm, struct task *t, struct pma *p, const struct pma *old)
{
	int err = pma_map(mm, t, p);

	if (!err)
		err = old->file ? mm_sync(mm, t) : mm_sync_pages(mm, t);
	if (err)
		keep_pages(mm, old);
	else
		pma_put_pages(mm, old->file, old->off, old->end - old->start);
	return err;
}

static uint64_t cow_window(const struct mm *mm)
{
	return COW_WINDOW << MIN(mm->nr_pmas / COW_AREAS, 16u);
}

int pma_break_cow(struct mm *mm, struct task *t, struct pma *p, uint64_t addr)
{
	struct memory_file *mf = mm->kernel->memory_file;
	const uint64_t window = cow_window(mm), at = addr & ~(window - 1);
	uint64_t start = MAX(at, p->start), end = MIN(at + window, p->end);
	struct pma old, *copy;
	int err;

	/* What is mapped must not lose its pages before it is unmapped. */
	if (!t && p->mapped)
		return -EFAULT;
	if (!p->file && memory_file_exclusive(mf, p->off,
					      p->end - p->start)) {
		/* The others have gone: the pages are ours again. */
		p->cow = false;
		return pma_protect(mm, t, p);
	}
	err = pma_split_at(mm, start);
	if (!err)
		err = pma_split_at(mm, end);
	if (err)
		return err;
	copy = pma_at(mm, start);
	old = *copy;
	err = memory_file_alloc(mf, end - start, &copy->off);
	if (err) {
		copy->off = old.off;
		return err;
	}
	err = copy_pages(mm, t, &old, start, end, copy->off);
	if (err) {
		memory_file_unref(mf, copy->off, end - start);
		copy->off = old.off;
		return err;
	}
	copy->file = NULL;
	copy->host_fd = -1;
	copy->cow = false;
	return show_copy(mm, t, copy, &old);
}

int pma_rewrite(struct mm *mm, struct task *t, uint64_t page, size_t need,
		void (*edit)(void *copy, const void *arg), const void *arg)
{
	struct memory_file *mf = mm->kernel->memory_file;
	struct pma *p, old;
	uint64_t off;
	char *copy;
	int err;

	/* As in pma_break_cow(). */
	p = pma_at(mm, page);
	if (!p || (!t && p->mapped))
		return -EFAULT;
	err = pma_split_at(mm, page);
	if (!err)
		err = pma_split_at(mm, page + PAGE_SIZE);
	if (!err)
		err = memory_file_alloc(mf, PAGE_SIZE, &off);
	if (err)
		return err;
	copy = memory_file_ptr(mf, off);
	p = pma_at(mm, page);
	/* Own pages may be out of the program's reach. Behind the end of a file there are zeroes. */
	if (!p->file) {
		memory_file_copy(mf, off, p->off, PAGE_SIZE);
	} else if (mm_copy(mm, t, page, copy, PAGE_SIZE, false) < need) {
		memory_file_unref(mf, off, PAGE_SIZE);
		return -EFAULT;
	}
	edit(copy, arg);
	old = *p;
	p->off = off;
	p->file = NULL;
	p->host_fd = -1;
	p->cow = false;
	if (old.mapped)
		return show_copy(mm, t, p, &old);
	pma_put_pages(mm, old.file, old.off, PAGE_SIZE);
	return 0;
}
