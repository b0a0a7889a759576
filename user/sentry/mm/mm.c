// SPDX-License-Identifier: MIT
/*
 * mm.c - life of an mm: creation, tasks, end
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
	LIST_INIT(&mm->filled);
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

	while ((p = mm->kept)) {
		mm->kept = p->next_kept;
		pma_put_pages(mm, p->file, p->off, p->end - p->start);
		free(p);
	}
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

void mm_add_task(struct mm *mm, struct task *t)
{
	/* What the only task so far has deferred becomes due. */
	pthread_mutex_lock(&mm->lock);
	if (atomic_fetch_add(&mm->nr_tasks, 1) && mm->unflushed) {
		mm_broken(t, address_space_flush(mm->as, mm->unflushed));
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
