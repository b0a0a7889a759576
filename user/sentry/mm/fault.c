// SPDX-License-Identifier: MIT
/*
 * fault.c - page faults, of the program and of the sentry on its behalf
 */
#include "sentry/mm/internal.h"

static bool permits(int prot, uint32_t access)
{
	if ((access & PLATFORM_ACCESS_WRITE) && !(prot & PROT_WRITE))
		return false;
	if ((access & PLATFORM_ACCESS_EXECUTE) && !(prot & PROT_EXEC))
		return false;
	/* x86: what may be written or executed may be read. */
	return prot != PROT_NONE;
}

/* How much of @v to give pages around a fault at @addr. */
static void fault_window(const struct mm *mm, const struct vma *v, uint64_t addr,
			 uint64_t *start, uint64_t *end)
{
	uint64_t window = v->growsdown ? POPULATE_WINDOW_STACK :
					 POPULATE_WINDOW;
	bool scan = mm->kernel->rewrite_cpuid && cpuid_wanted(v);

	if (!scan && v->file && !v->map.anonymous && v->map.host_fd >= 0 &&
	    !v->map.copied && !(v->prot & PROT_WRITE && !v->shared)) {
		*start = v->start;
		*end = v->end;
		return;
	}
	*start = MAX(v->start, addr & ~(window - 1));
	*end = MIN(v->end, (addr & ~(window - 1)) + window);
}

/*
 * Make @addr accessible and have it mapped; @out is set to the pma behind it.
 * Ends with mm_sync() if anything changed.
 */
static int resolve(struct mm *mm, struct task *t, uint64_t addr,
		   uint32_t access, struct pma **out)
{
	struct pma *p = pma_at(mm, addr);
	uint64_t start, end;
	struct vma *v;
	int err;

	if (!p) {
		v = vma_at(mm, addr);
		if (!v || v->fixed)
			return -EFAULT;
		if (!permits(v->prot, access))
			return -EACCES;
		fault_window(mm, v, addr, &start, &end);
		err = pma_populate(mm, t, v, start, end);
		if (!err)
			err = mm_sync(mm, t);
		if (err)
			return err;
		p = pma_at(mm, addr);
	}
	if (!permits(p->prot, access))
		return -EACCES;
	if (p->cow && (access & PLATFORM_ACCESS_WRITE)) {
		err = pma_break_cow(mm, t, p, addr);
		if (err)
			return err;
		p = pma_at(mm, addr);
	}
	*out = p;
	return 0;
}

int mm_access(struct mm *mm, struct task *t, uint64_t addr, bool write,
	      struct pma **out)
{
	struct pma *p = pma_at(mm, addr);
	uint32_t access = write ? PLATFORM_ACCESS_WRITE : PLATFORM_ACCESS_READ;
	int err;

	if (likely(p && permits(p->prot, access) && !(p->cow && write))) {
		*out = p;
		return 0;
	}
	err = resolve(mm, t, addr, access, out);
	return err == -ENOMEM ? err : err ? -EFAULT : 0;
}

/* The child of a fork starts with an empty address space, and touches its stack at once. */
static int map_all(struct mm *mm, struct task *t)
{
	struct pma *p;
	int err;

	RB_FOREACH(p, pma_tree, &mm->pmas) {
		err = pma_map(mm, t, p);
		if (err)
			return err;
	}
	mm->map_all = false;
	return 0;
}

int mm_start(struct task *t)
{
	struct mm *mm = t->mm;
	int err = 0;

	pthread_mutex_lock(&mm->lock);
	if (mm->map_all)
		err = map_all(mm, t);
	if (!err)
		err = mm_sync(mm, t);
	pthread_mutex_unlock(&mm->lock);
	return err;
}

int mm_handle_fault(struct task *t, uint64_t addr, uint32_t access)
{
	struct mm *mm = t->mm;
	struct pma *p;
	int err;

	pthread_mutex_lock(&mm->lock);
	if (mm->map_all) {
		err = map_all(mm, t);
		goto out;
	}
	/*
	 * If nothing needs to change another task's fault has been here first,
	 * and the program simply tries again. A second fault at the same place
	 * says that the mapping is gone.
	 */
	err = resolve(mm, t, addr, access, &p);
	if (!err && (!p->mapped || mm->last_fault == addr)) {
		err = pma_map(mm, t, p);
		if (!err)
			err = mm_sync(mm, t);
	}
	mm->last_fault = addr;
out:
	pthread_mutex_unlock(&mm->lock);
	return err;
}
