// SPDX-License-Identifier: MIT
/*
 * advise.c - madvise, msync, mincore, mlock: what programs say of their memory
 */
#include <string.h>
#include <unistd.h>

#include "sentry/mm/internal.h"

/* 0 if [addr, addr + len) is mapped without a hole, else -ENOMEM. */
static int range_mapped(struct mm *mm, uint64_t addr, uint64_t len)
{
	uint64_t at = addr;
	struct vma *v;

	for (v = vma_find(mm, addr); at < addr + len;
	     v = RB_NEXT(vma_tree, &mm->vmas, v)) {
		if (!v || v->start > at)
			return -ENOMEM;
		at = v->end;
	}
	return 0;
}

/*
 * The next access finds what a new mapping would show. Pages that nobody else
 * has become holes where they are, which needs no change of the mapping.
 */
static int dontneed_vma(struct mm *mm, struct task *t, struct vma *v,
			uint64_t start, uint64_t end)
{
	struct memory_file *mf = mm->kernel->memory_file;
	uint64_t from, to, off;
	struct pma *p;
	int err;

	if (v->fixed)
		return -EINVAL;
	if (v->shared)
		return 0;
	cpuid_forget(mm, start, end);
	err = patch_forget(mm, t, start, end);
	if (err)
		return err;
	for (; start < end; start = to) {
		p = pma_find(mm, start);
		if (!p || p->start >= end)
			break;
		from = MAX(p->start, start);
		to = MIN(p->end, end);
		off = p->off + (from - p->start);
		if (!p->file && (!v->file || v->map.anonymous) &&
		    memory_file_exclusive(mf, off, to - from))
			err = memory_file_clear(mf, off, to - from);
		else
			err = pma_drop(mm, t, from, to);
		if (err)
			return err;
	}
	return 0;
}

static int madvise_vma(struct mm *mm, struct task *t, struct vma *v,
		       uint64_t start, uint64_t end, int advice)
{
	int err;

	switch (advice) {
	case MADV_DONTNEED:
		return dontneed_vma(mm, t, v, start, end);
	case MADV_FREE:
		return v->file || v->shared ? -EINVAL : 0;
	case MADV_DONTFORK:
	case MADV_DOFORK:
		err = vma_split_at(mm, start);
		if (!err)
			err = pma_split_at(mm, start);
		if (!err)
			err = vma_split_at(mm, end);
		if (!err)
			err = pma_split_at(mm, end);
		if (!err)
			vma_at(mm, start)->dontfork = advice == MADV_DONTFORK;
		return err;
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return 0;
	default:
		return -EINVAL;
	}
}

static int madvise_locked(struct mm *mm, struct task *t, uint64_t addr,
			  uint64_t len, int advice)
{
	uint64_t at = addr, end = addr + len, upto;
	int err, hole = 0;
	struct vma *v;

	/* It is done around a hole, too. */
	while (at < end) {
		v = vma_find(mm, at);
		if (!v || v->start > at)
			hole = -ENOMEM;
		if (!v || v->start >= end)
			break;
		at = MAX(at, v->start);
		upto = MIN(end, v->end);
		err = madvise_vma(mm, t, v, at, upto, advice);
		if (err)
			return err;
		at = upto;
	}
	err = mm_sync(mm, t);
	return err ? err : hole;
}

static bool range_valid(uint64_t addr, uint64_t len)
{
	return !(addr & ~PAGE_MASK) && page_up(len) >= len &&
	       addr + page_up(len) >= addr;
}

static long sys_madvise(struct task *t, const uint64_t *a)
{
	int err;

	if (!range_valid(a[0], a[1]))
		return -EINVAL;
	pthread_mutex_lock(&t->mm->lock);
	err = madvise_locked(t->mm, t, a[0], page_up(a[1]), (int)a[2]);
	pthread_mutex_unlock(&t->mm->lock);
	return err;
}

/*
 * The first mapping at *@at or behind it, and below @end, if that is to be synced: its
 * file. *@at goes to where it ends, *@hole is set if there is room before it.
 */
static struct file *next_to_sync(struct mm *mm, uint64_t *at, uint64_t end, bool *hole)
{
	struct file *file = NULL;
	struct vma *v;

	pthread_mutex_lock(&mm->lock);
	v = vma_find(mm, *at);
	*hole |= !v || v->start > *at;
	*at = v ? v->end : end;
	if (v && v->start < end && v->shared && v->map.host_fd >= 0)
		file = file_get(v->file);
	pthread_mutex_unlock(&mm->lock);
	return file;
}

static long sys_msync(struct task *t, const uint64_t *a)
{
	uint64_t at = a[0], end = at + page_up(a[1]);
	int flags = (int)a[2], err = 0;
	bool hole = false;
	struct file *file;

	if (!range_valid(at, a[1]) ||
	    (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
		return -EINVAL;
	/* Other tasks may use the mm while the disk works. */
	while (at < end && !err) {
		file = next_to_sync(t->mm, &at, end, &hole);
		if (!file)
			continue;
		if (flags & MS_SYNC && fdatasync(file->host_fd))
			err = -errno;
		file_put(file);
	}
	return err || !hole ? err : -ENOMEM;
}

static long sys_mincore(struct task *t, const uint64_t *a)
{
	uint64_t addr = a[0], pages = page_up(a[1]) / PAGE_SIZE, n;
	unsigned char vec[1024];
	int err;

	if (addr & ~PAGE_MASK)
		return -EINVAL;
	if (!range_valid(addr, a[1]))
		return -ENOMEM;
	pthread_mutex_lock(&t->mm->lock);
	err = range_mapped(t->mm, addr, pages * PAGE_SIZE);
	pthread_mutex_unlock(&t->mm->lock);
	memset(vec, 1, sizeof(vec));
	for (addr = a[2]; pages && !err; pages -= n, addr += n) {
		n = MIN(pages, sizeof(vec));
		err = copy_to_user(t, addr, vec, n);
	}
	return err;
}

/* The sandbox's memory is the host's to page out: locks are accepted. */
static long lock_range(struct task *t, uint64_t addr, uint64_t len)
{
	int err;

	if (addr + len < addr)
		return -EINVAL;
	len = page_up(addr + len) - page_down(addr);
	pthread_mutex_lock(&t->mm->lock);
	err = range_mapped(t->mm, page_down(addr), len);
	pthread_mutex_unlock(&t->mm->lock);
	return err;
}

static long sys_mlock(struct task *t, const uint64_t *a)
{
	return lock_range(t, a[0], a[1]);
}

static long sys_mlock2(struct task *t, const uint64_t *a)
{
	return a[2] & ~1ull ? -EINVAL : lock_range(t, a[0], a[1]);
}

static long sys_munlock(struct task *t, const uint64_t *a)
{
	return lock_range(t, a[0], a[1]);
}

static long sys_mlockall(struct task *t, const uint64_t *a)
{
	(void)t;
	return !a[0] || a[0] & ~7ull ? -EINVAL : 0;
}

static long sys_munlockall(struct task *t, const uint64_t *a)
{
	(void)t;
	(void)a;
	return 0;
}

#define NOT_LOCKED "accepted, but the host may page the memory out"

static const struct syscall_desc descs[] = {
	SYSCALL_PART(madvise, "pxd", "hints have no effect"),
	SYSCALL(msync, "pxx"),
	SYSCALL_PART(mincore, "pxp", "all mapped pages count as resident"),
	SYSCALL_PART(mlock, "px", NOT_LOCKED),
	SYSCALL_PART(mlock2, "pxx", NOT_LOCKED),
	SYSCALL_PART(munlock, "px", NOT_LOCKED),
	SYSCALL_PART(mlockall, "x", NOT_LOCKED),
	SYSCALL_PART(munlockall, "", NOT_LOCKED),
};

SYSCALL_GROUP(advise_syscalls, descs);
