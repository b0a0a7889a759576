// SPDX-License-Identifier: MIT
/*
 * mm.c - life of an mm: creation, fork, end
 */
#include <stdlib.h>
#include <string.h>

#include "sentry/mm/internal.h"

static struct mm *mm_alloc(struct kernel *k)
{
	static atomic_ulong next_id = 1;
	struct mm *mm = calloc(1, sizeof(*mm));

	if (!mm)
		return NULL;
	mm->kernel = k;
	mm->id = atomic_fetch_add(&next_id, 1);
	atomic_init(&mm->refs, 1);
	pthread_mutex_init(&mm->lock, NULL);
	RB_INIT(&mm->vmas);
	RB_INIT(&mm->pmas);
	mm->mmap_top = k->platform->max_user_address;
	mm->search_from = mm->mmap_top;
	return mm;
}

/* The platform keeps the vDSO mapped: keep everything else away from it. */
static int reserve_vdso(struct mm *mm)
{
	const struct platform_vdso *vdso = &mm->kernel->platform->vdso;
	struct vma tmpl = { .prot = PROT_READ, .max_prot = PROT_READ,
			    .fixed = true, .map.host_fd = -1 };

	if (!vdso->ehdr)
		return 0;
	if (vdso->start < vdso->ehdr) {
		tmpl.start = vdso->start;
		tmpl.end = vdso->ehdr;
		tmpl.name = "[vvar]";
		if (!vma_insert(mm, &tmpl))
			return -ENOMEM;
	}
	tmpl.start = vdso->ehdr;
	tmpl.end = vdso->end;
	tmpl.prot = PROT_READ | PROT_EXEC;
	tmpl.name = "[vdso]";
	return vma_insert(mm, &tmpl) ? 0 : -ENOMEM;
}

int mm_create(struct kernel *k, struct mm **out)
{
	struct mm *mm = mm_alloc(k);
	int err;

	if (!mm)
		return -ENOMEM;
	err = platform_new_address_space(k->platform, &mm->as);
	if (!err)
		err = reserve_vdso(mm);
	if (err) {
		mm_put(mm);
		return err;
	}
	*out = mm;
	return 0;
}

struct mm *mm_get(struct mm *mm)
{
	atomic_fetch_add(&mm->refs, 1);
	return mm;
}

static void free_all(struct mm *mm)
{
	struct pma *p;
	struct vma *v;

	while ((p = RB_MIN(pma_tree, &mm->pmas))) {
		RB_REMOVE(pma_tree, &mm->pmas, p);
		pma_put_pages(mm, p->file, p->off, p->end - p->start);
		free(p);
	}
	while ((v = RB_MIN(vma_tree, &mm->vmas)))
		vma_remove(mm, v);
}

void mm_exit(struct mm *mm)
{
	struct pma *p, *next;
	struct vma *v;

	if (atomic_load(&mm->refs) != 1)
		return;
	for (p = RB_MIN(pma_tree, &mm->pmas); p; p = next) {
		next = RB_NEXT(pma_tree, &mm->pmas, p);
		if (!p->file)
			continue;
		RB_REMOVE(pma_tree, &mm->pmas, p);
		file_put(p->file);
		free(p);
	}
	while ((v = RB_MIN(vma_tree, &mm->vmas)))
		vma_remove(mm, v);
}

void mm_put(struct mm *mm)
{
	if (atomic_fetch_sub(&mm->refs, 1) != 1)
		return;
	/* Nobody may see the pages when they are freed. */
	if (mm->as)
		address_space_release(mm->as);
	free_all(mm);
	patch_destroy(mm);
	cpuid_sites_destroy(mm);
	pthread_mutex_destroy(&mm->lock);
	free(mm);
}

struct platform_address_space *mm_address_space(struct mm *mm)
{
	return mm->as;
}

static int flush(struct mm *mm, struct task *t)
{
	return mm_broken(t, address_space_flush(mm->as, mm_ctx(t)));
}

int mm_sync(struct mm *mm, struct task *t)
{
	if (atomic_load(&mm->nr_tasks) > 1)
		return flush(mm, t);
	if (t)
		mm->unflushed = t->ctx;
	return 0;
}

int mm_sync_pages(struct mm *mm, struct task *t)
{
	return mm->kernel->platform->untrusted_stops ? flush(mm, t) :
						       mm_sync(mm, t);
}

void mm_add_task(struct mm *mm)
{
	/* Called by the only task so far: what it deferred becomes due. */
	pthread_mutex_lock(&mm->lock);
	if (atomic_fetch_add(&mm->nr_tasks, 1) && mm->unflushed) {
		address_space_flush(mm->as, mm->unflushed);
		mm->unflushed = NULL;
	}
	pthread_mutex_unlock(&mm->lock);
}

bool mm_is_shared(struct mm *mm)
{
	return atomic_load(&mm->nr_tasks) > 1;
}

void mm_remove_task(struct mm *mm)
{
	pthread_mutex_lock(&mm->lock);
	atomic_fetch_sub(&mm->nr_tasks, 1);
	pthread_mutex_unlock(&mm->lock);
}

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
 * as fast for it.
 */
static bool worth_copying(const struct pma *p, uint64_t *budget)
{
	uint64_t len = p->end - p->start;

	if (p->file || p->cow || !(p->prot & PROT_WRITE) ||
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

/* Share the pages of @p; private ones are copied by who writes first. */
static int fork_pma(struct mm *from, struct task *t, struct mm *to,
		    struct pma *p, uint64_t *budget)
{
	struct vma *v = vma_at(from, p->start);
	bool was_writable = (p->prot & PROT_WRITE) && !p->cow;
	struct pma copy;

	if (v->dontfork)
		return 0;
	if (!v->shared && worth_copying(p, budget))
		return fork_copy(to, p);
	if (!v->shared)
		p->cow = true;
	copy = *p;
	copy.mapped = false;
	pma_get_pages(to, copy.file, copy.off, copy.end - copy.start);
	if (!pma_insert(to, &copy))
		return -ENOMEM;
	if (was_writable && p->cow && p->mapped)
		return pma_protect(from, t, p);
	return 0;
}

static int fork_pmas(struct mm *from, struct task *t, struct mm *to)
{
	uint64_t budget = FORK_COPY_TOTAL;
	struct pma *p;
	int err;

	RB_FOREACH(p, pma_tree, &from->pmas) {
		err = fork_pma(from, t, to, p, &budget);
		if (err)
			return err;
	}
	return mm_sync_pages(from, t);
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
