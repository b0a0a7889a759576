// SPDX-License-Identifier: MIT
/*
 * mmap.c - mapping, unmapping and protecting program memory
 */
#include <string.h>
#include <sys/statvfs.h>

#include "sentry/mm/internal.h"

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)

static uint64_t min_addr(struct mm *mm)
{
	return mm->kernel->platform->min_user_address;
}

static uint64_t max_addr(struct mm *mm)
{
	return mm->kernel->platform->max_user_address;
}

/* Is [addr, addr + len) a range of the program's own to change? */
static bool range_ok(struct mm *mm, uint64_t addr, uint64_t len)
{
	struct vma *v;

	if (addr < min_addr(mm) || addr >= max_addr(mm) ||
	    len > max_addr(mm) - addr)
		return false;
	for (v = vma_find(mm, addr); v && v->start < addr + len;
	     v = RB_NEXT(vma_tree, &mm->vmas, v))
		if (v->fixed)
			return false;
	return true;
}

static int split_at(struct mm *mm, uint64_t addr)
{
	int err = vma_split_at(mm, addr);

	return err ? err : pma_split_at(mm, addr);
}

int mm_unmap(struct mm *mm, struct task *t, uint64_t addr, uint64_t len)
{
	uint64_t end = addr + len;
	struct vma *v, *next;
	int err;

	v = vma_find(mm, addr);
	if (!v || v->start >= end)
		return 0;
	err = split_at(mm, addr);
	if (!err)
		err = split_at(mm, end);
	if (!err)
		err = pma_drop(mm, t, addr, end);
	if (err)
		return err;
	for (v = vma_find(mm, addr); v && v->start < end; v = next) {
		next = RB_NEXT(vma_tree, &mm->vmas, v);
		vma_remove(mm, v);
	}
	if (end > mm->search_from && end <= mm->mmap_top)
		mm->search_from = end;
	return 0;
}

/* The host would not map it for execution. */
static bool is_noexec(const struct file_mmap *map)
{
	struct statvfs vfs;

	return map->host_fd >= 0 && !fstatvfs(map->host_fd, &vfs) && vfs.f_flag & ST_NOEXEC;
}

/* What mprotect() may ever allow for a mapping of @f. */
static int file_max_prot(struct file *f, const struct file_mmap *map,
			 bool shared, int prot, int *max_prot)
{
	int accmode = atomic_load(&f->flags) & O_ACCMODE;

	if (accmode == O_WRONLY)
		return -EACCES;
	*max_prot = PROT_ALL;
	if (shared && accmode != O_RDWR)
		*max_prot &= ~PROT_WRITE;
	if (prot & PROT_EXEC && is_noexec(map))
		return -EPERM;
	return prot & ~*max_prot ? -EACCES : 0;
}

/* Would the host map the @len bytes of @v's file, as the platform wants them mapped? */
static bool host_maps(const struct vma *v, uint64_t len, int prot)
{
	void *page = mmap(NULL, PAGE_SIZE, prot, MAP_SHARED, v->map.host_fd,
			  (off_t)(v->off + len - PAGE_SIZE));

	if (page == MAP_FAILED)
		return false;
	munmap(page, PAGE_SIZE);
	return true;
}

/*
 * What the host refuses is to be an error now: later it would be the end of the process.
 * Seals are one reason, the other is an offset that the file system does not know.
 */
static int ask_host(struct vma *v, uint64_t len)
{
	int prot = PROT_READ | (v->shared ? v->prot & PROT_WRITE : 0);

	if (v->map.host_fd < 0 || !(v->map.sealable || v->off + len > OFFSET_SURE))
		return 0;
	if (!host_maps(v, len, prot)) {
		/* Before 6.7 for what is sealed against writing, if it is open for that. */
		v->map.copied = !v->shared && errno == EPERM;
		return v->map.copied ? 0 : -errno;
	}
	if (v->max_prot & PROT_WRITE && v->shared && !host_maps(v, len, PROT_READ | PROT_WRITE))
		v->max_prot &= ~PROT_WRITE;
	return 0;
}

static int describe_file(struct task *t, struct vma *v, struct file *file, uint64_t len)
{
	struct stat st;
	int err;

	if (atomic_load(&file->flags) & O_PATH)
		return -EBADF;
	if (!file->ops->mmap)
		return -ENODEV;
	v->map = (struct file_mmap){ .host_fd = -1 };
	err = file->ops->mmap(t, file, &v->map);
	if (!err)
		err = file_max_prot(file, &v->map, v->shared, v->prot,
				    &v->max_prot);
	if (!err)
		err = ask_host(v, len);
	if (err)
		return err;
	if (!file_stat(t, file, &st)) {
		v->dev = st.st_dev;
		v->ino = st.st_ino;
	}
	v->file = file;
	return 0;
}

static bool populate_at_once(const struct mm *mm, const struct vma *v)
{
	bool anonymous = !v->file || v->map.anonymous;

	/* What is shared must be the same memory after a fork. */
	if (anonymous && v->shared)
		return true;
	if (v->prot == PROT_NONE)
		return false;
	if (anonymous)
		return mm->kernel->platform->eager_maps && !v->growsdown &&
		       v->end - v->start <= POPULATE_MAX;
	if (cpuid_wanted(v) && mm->kernel->rewrite_cpuid && v->end - v->start > CPUID_SCAN_MAX)
		return false;
	return v->shared || !(v->prot & PROT_WRITE) ||
	       v->end - v->start <= PRIVATE_COPY_MAX;
}

static int64_t choose_address(struct mm *mm, struct task *t, uint64_t addr,
			      uint64_t len, int flags)
{
	int err;

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (!range_ok(mm, addr, len))
			return addr < min_addr(mm) ? -EPERM : -ENOMEM;
		if (vma_range_free(mm, addr, addr + len))
			return (int64_t)addr;
		if (flags & MAP_FIXED_NOREPLACE)
			return -EEXIST;
		err = mm_unmap(mm, t, addr, len);
		return err ? err : (int64_t)addr;
	}
	addr = vma_find_room(mm, len, page_down(addr),
			     flags & MAP_32BIT ? MMAP_TOP_32BIT : mm->mmap_top);
	return addr ? (int64_t)addr : -ENOMEM;
}

int64_t mm_map(struct mm *mm, struct task *t, uint64_t addr, uint64_t len,
	       int prot, int flags, struct file *file, uint64_t off)
{
	struct vma tmpl = {
		.prot = prot & PROT_ALL,
		.max_prot = PROT_ALL,
		.off = off,
		.shared = flags & MAP_SHARED,
		.growsdown = flags & MAP_GROWSDOWN,
		.map.host_fd = -1,
	};
	struct vma *v;
	int64_t at;
	int err;

	if (file) {
		err = describe_file(t, &tmpl, file, len);
		if (err)
			return err;
	}
	at = choose_address(mm, t, addr, len, flags);
	if (at < 0)
		return at;
	tmpl.start = (uint64_t)at;
	tmpl.end = tmpl.start + len;
	v = vma_insert(mm, &tmpl);
	if (!v)
		return -ENOMEM;
	if (populate_at_once(mm, &tmpl)) {
		err = pma_populate(mm, t, v, tmpl.start, tmpl.end);
		if (err) {
			mm_unmap(mm, t, tmpl.start, len);
			return err;
		}
	}
	err = mm_sync(mm, t);
	return err ? err : at;
}

int64_t mm_map_file(struct task *t, uint64_t addr, uint64_t len, int prot,
		    int flags, struct file *file, uint64_t off)
{
	int64_t ret;

	pthread_mutex_lock(&t->mm->lock);
	ret = mm_map(t->mm, t, addr, len, prot, flags, file, off);
	pthread_mutex_unlock(&t->mm->lock);
	return ret;
}

static int protect_vma(struct mm *mm, struct task *t, struct vma *v, int prot)
{
	bool was_code = cpuid_wanted(v);
	struct pma *p;
	int err = 0;

	v->prot = prot;
	for (p = pma_find(mm, v->start); p && p->start < v->end;
	     p = RB_NEXT(pma_tree, &mm->pmas, p))
		p->prot = prot;
	/* Written before it became code, by a compiler at run time for one. */
	if (!was_code)
		err = cpuid_rewrite(mm, t, v, v->start, v->end);
	for (p = pma_find(mm, v->start); p && p->start < v->end && !err;
	     p = RB_NEXT(pma_tree, &mm->pmas, p)) {
		/* Written soon, so do not wait for the fault. */
		if (p->cow && p->file && (prot & PROT_WRITE) &&
		    p->end - p->start <= COW_WINDOW)
			err = pma_break_cow(mm, t, p, p->start);
		else if (!mm->map_all)
			err = pma_protect(mm, t, p);
	}
	if (!err && populate_at_once(mm, v))
		err = pma_populate(mm, t, v, v->start, v->end);
	return err;
}

int mm_protect(struct mm *mm, struct task *t, uint64_t addr, uint64_t len,
	       int prot)
{
	uint64_t end = addr + len, at = addr;
	struct vma *v;
	int err;

	for (v = vma_find(mm, addr); at < end;
	     v = RB_NEXT(vma_tree, &mm->vmas, v)) {
		if (!v || v->start > at || v->fixed)
			return -ENOMEM;
		if (prot & ~v->max_prot ||
		    (prot & ~v->prot & PROT_EXEC && is_noexec(&v->map)))
			return -EACCES;
		at = v->end;
	}
	/* What the program may write is its own code, and stays so. */
	err = prot & PROT_WRITE ? patch_restore(mm, t, addr, end) : 0;
	if (!err && (prot & PROT_WRITE))
		err = cpuid_restore(mm, t, addr, end);
	if (!err)
		err = split_at(mm, addr);
	if (!err)
		err = split_at(mm, end);
	for (v = vma_at(mm, addr); !err && v && v->start < end;
	     v = RB_NEXT(vma_tree, &mm->vmas, v)) {
		err = protect_vma(mm, t, v, prot);
		v = vma_merge(mm, v);
	}
	return err ? err : mm_sync(mm, t);
}

static long sys_mmap(struct task *t, const uint64_t *a)
{
	uint64_t addr = a[0], len = a[1], off = a[5];
	int prot = (int)a[2], flags = (int)a[3];
	int type = flags & MAP_TYPE;
	struct file *file = NULL;
	int64_t ret;

	if (!len || (off & ~PAGE_MASK))
		return -EINVAL;
	if (type != MAP_SHARED && type != MAP_PRIVATE &&
	    type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && (addr & ~PAGE_MASK))
		return -EINVAL;
	if (flags & MAP_HUGETLB)
		return -ENOMEM;
	if (len > max_addr(t->mm))
		return -ENOMEM;
	/* A file's offsets are signed; a negative one would mean "here". */
	if (off > INT64_MAX - page_up(len))
		return -EOVERFLOW;
	if (!(flags & MAP_ANONYMOUS)) {
		file = fd_get(t, (int)a[4]);
		if (!file)
			return -EBADF;
	}
	flags &= ~MAP_TYPE;
	flags |= type == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	ret = mm_map_file(t, addr, page_up(len), prot, flags, file,
			  file ? off : 0);
	if (file)
		file_put(file);
	return ret;
}

static long sys_munmap(struct task *t, const uint64_t *a)
{
	struct mm *mm = t->mm;
	uint64_t addr = a[0], len = page_up(a[1]);
	int err = -EINVAL;

	if ((addr & ~PAGE_MASK) || !len || a[1] > max_addr(mm))
		return -EINVAL;
	pthread_mutex_lock(&mm->lock);
	if (range_ok(mm, addr, len))
		err = mm_unmap(mm, t, addr, len);
	pthread_mutex_unlock(&mm->lock);
	return err;
}

static long sys_mprotect(struct task *t, const uint64_t *a)
{
	struct mm *mm = t->mm;
	uint64_t addr = a[0], len = page_up(a[1]);
	int prot = (int)a[2], err = -ENOMEM;

	if ((addr & ~PAGE_MASK) || (prot & ~PROT_ALL))
		return -EINVAL;
	if (!len)
		return a[1] ? -ENOMEM : 0;
	pthread_mutex_lock(&mm->lock);
	if (range_ok(mm, addr, len))
		err = mm_protect(mm, t, addr, len, prot);
	pthread_mutex_unlock(&mm->lock);
	return err;
}

static long brk_locked(struct mm *mm, struct task *t, uint64_t brk)
{
	uint64_t old_end = page_up(mm->info.brk), new_end = page_up(brk);
	struct vma tmpl = { .start = old_end, .end = new_end,
			    .prot = PROT_READ | PROT_WRITE,
			    .max_prot = PROT_ALL, .name = "[heap]",
			    .map.host_fd = -1 };
	struct vma *v;

	if (brk < mm->info.brk_start || brk >= mm->mmap_top)
		return (long)mm->info.brk;
	if (new_end < old_end) {
		if (mm_unmap(mm, t, new_end, old_end - new_end))
			return (long)mm->info.brk;
	} else if (new_end > old_end) {
		/* A page of distance from what comes next, as in Linux. */
		if (!vma_range_free(mm, old_end, new_end + PAGE_SIZE))
			return (long)mm->info.brk;
		v = vma_insert(mm, &tmpl);
		if (!v)
			return (long)mm->info.brk;
		if (new_end - old_end <= POPULATE_MAX &&
		    pma_populate(mm, t, v, old_end, new_end)) {
			mm_unmap(mm, t, old_end, new_end - old_end);
			return (long)mm->info.brk;
		}
		if (mm_sync(mm, t))
			return (long)mm->info.brk;
	}
	mm->info.brk = brk;
	return (long)brk;
}

static long sys_brk(struct task *t, const uint64_t *a)
{
	long ret;

	pthread_mutex_lock(&t->mm->lock);
	ret = brk_locked(t->mm, t, a[0]);
	pthread_mutex_unlock(&t->mm->lock);
	return ret;
}

/* Move the pages behind [from, from + len) to @to, in another VMA. */
static int move_pmas(struct mm *mm, struct task *t, uint64_t from, uint64_t to,
		     uint64_t len)
{
	struct pma *p, *next, tmpl;
	int err;

	err = pma_split_at(mm, from);
	if (!err)
		err = pma_split_at(mm, from + len);
	for (p = pma_find(mm, from); !err && p && p->start < from + len;
	     p = next) {
		next = RB_NEXT(pma_tree, &mm->pmas, p);
		tmpl = *p;
		tmpl.start = p->start - from + to;
		tmpl.end = p->end - from + to;
		tmpl.mapped = false;
		pma_get_pages(mm, tmpl.file, tmpl.off, tmpl.end - tmpl.start);
		p = pma_insert(mm, &tmpl);
		err = p ? pma_map(mm, t, p) : -ENOMEM;
	}
	return err;
}

static int64_t mremap_move(struct mm *mm, struct task *t, struct vma *v,
			   uint64_t old, uint64_t old_len, uint64_t new_len,
			   int flags, uint64_t new_addr)
{
	/* Making room may cut or join VMAs: @v is not used after it. */
	struct vma tmpl = *v;
	int64_t at;
	int err;

	/* Jumps are relative to where they are. */
	err = patch_restore(mm, t, old, old + old_len);
	if (!err)
		err = cpuid_restore(mm, t, old, old + old_len);
	if (err)
		return err;
	at = choose_address(mm, t, flags & MREMAP_FIXED ? new_addr : 0,
			    new_len, flags & MREMAP_FIXED ? MAP_FIXED : 0);
	if (at < 0)
		return at;
	tmpl.off += old - tmpl.start;
	tmpl.start = (uint64_t)at;
	tmpl.end = tmpl.start + new_len;
	tmpl.name = NULL;
	if (!vma_insert(mm, &tmpl))
		return -ENOMEM;
	err = move_pmas(mm, t, old, tmpl.start, MIN(old_len, new_len));
	if (!err)
		err = mm_unmap(mm, t, old, old_len);
	if (!err)
		err = cpuid_rewrite(mm, t, vma_at(mm, tmpl.start), tmpl.start, tmpl.end);
	if (!err && populate_at_once(mm, &tmpl))
		err = pma_populate(mm, t, vma_at(mm, tmpl.start), tmpl.start,
				   tmpl.end);
	if (!err)
		err = mm_sync(mm, t);
	return err ? err : at;
}

static int64_t mremap_grow(struct mm *mm, struct task *t, struct vma *v,
			   uint64_t old_end, uint64_t new_end)
{
	struct vma tmpl = *v;
	int err;

	tmpl.off = v->off + (old_end - v->start);
	tmpl.start = old_end;
	tmpl.end = new_end;
	v = vma_insert(mm, &tmpl);
	if (!v)
		return -ENOMEM;
	if (populate_at_once(mm, &tmpl)) {
		err = pma_populate(mm, t, v, old_end, new_end);
		if (err)
			return err;
	}
	return mm_sync(mm, t);
}

/* Can the mapping of @v show @len bytes from @addr on? Not all memory has more. */
static bool can_grow(const struct vma *v, uint64_t addr, uint64_t len)
{
	if (!v->shared)
		return true;
	if (!v->file)
		return false;
	return v->map.host_fd >= 0 || v->map.anonymous ||
	       (len <= v->map.memory_len &&
		v->off + (addr - v->start) <= v->map.memory_len - len);
}

static int64_t mremap_locked(struct mm *mm, struct task *t, uint64_t old,
			     uint64_t old_len, uint64_t new_len, int flags,
			     uint64_t new_addr)
{
	struct vma *v = vma_at(mm, old);
	int64_t err;

	if (!v || v->fixed || old_len > v->end - old)
		return -EFAULT;
	if (new_len > old_len && !can_grow(v, old, new_len))
		return -EFAULT;
	if (flags & MREMAP_FIXED) {
		if (!range_ok(mm, new_addr, new_len) ||
		    (new_addr < old + old_len && old < new_addr + new_len))
			return -EINVAL;
		return mremap_move(mm, t, v, old, old_len, new_len, flags,
				   new_addr);
	}
	if (new_len <= old_len) {
		err = new_len < old_len ? mm_unmap(mm, t, old + new_len,
						   old_len - new_len) : 0;
		return err ? err : (int64_t)old;
	}
	if (old + old_len == v->end && new_len <= max_addr(mm) - old &&
	    vma_range_free(mm, v->end, old + new_len)) {
		err = mremap_grow(mm, t, v, v->end, old + new_len);
		return err ? err : (int64_t)old;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	return mremap_move(mm, t, v, old, old_len, new_len, 0, 0);
}

static long sys_mremap(struct task *t, const uint64_t *a)
{
	uint64_t old = a[0], old_len = page_up(a[1]), new_len = page_up(a[2]);
	int flags = (int)a[3];
	long ret;

	if ((old & ~PAGE_MASK) || !new_len || !old_len ||
	    (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)))
		return -EINVAL;
	if ((flags & MREMAP_FIXED) &&
	    (!(flags & MREMAP_MAYMOVE) || (a[4] & ~PAGE_MASK)))
		return -EINVAL;
	pthread_mutex_lock(&t->mm->lock);
	ret = mremap_locked(t->mm, t, old, old_len, new_len, flags, a[4]);
	pthread_mutex_unlock(&t->mm->lock);
	return ret;
}

static const struct syscall_desc descs[] = {
	SYSCALL(mmap, "pxxxfx"),
	SYSCALL(munmap, "px"),
	SYSCALL(mprotect, "pxx"),
	SYSCALL(brk, "p"),
	SYSCALL_PART(mremap, "pxxxp", "no MREMAP_DONTUNMAP"),
};

SYSCALL_GROUP(mmap_syscalls, descs);
