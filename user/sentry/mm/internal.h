/* SPDX-License-Identifier: MIT */
/*
 * internal.h - VMAs, page mappings and what the files of mm/ share
 *
 * A pma ("platform mapping area", gVisor's word) says what stands behind a
 * range of pages. It never crosses a VMA, carries its VMA's protection, and
 * refers either to the memory file or to a host file mapped directly.
 *
 * Everything in struct mm is protected by mm.lock, but what is atomic.
 */
#ifndef _SENTRY_MM_INTERNAL_H
#define _SENTRY_MM_INTERNAL_H

#include <sys/mman.h>

#include "sentry/fs.h"
#include "sentry/mm.h"
#include "sentry/mm/cpuid_rewrite.h"
#include "sentry/mm/patch.h"
#include "sentry/task.h"
#include "sentry/tree.h"

/* Anonymous mappings up to this size get their pages at once... */
#define POPULATE_MAX (64ul << 20)
/* ... larger ones in aligned windows of this size, by a fault each. */
#define POPULATE_WINDOW (4ul << 20)
#define POPULATE_WINDOW_STACK (128ul << 10)
/*
 * Copy-on-write is broken in aligned windows of this size, and of twice as much for as
 * many more areas: each is a mapping of the host, which allows for 65530.
 */
#define COW_WINDOW (64ul << 10)
#define COW_AREAS 8192
/* When a process forks, private areas up to this size are copied at once... */
#define FORK_COPY_MAX (160ul << 10)
/* ... and no more than this of them. */
#define FORK_COPY_TOTAL (1ul << 20)
/* Writable private file mappings up to this size are copied at once. */
#define PRIVATE_COPY_MAX (256ul << 10)

/* Mappings with MAP_32BIT are below this. */
#define MMAP_TOP_32BIT (1ul << 31)
/* Every file system knows offsets up to here. */
#define OFFSET_SURE (1ul << 32)

/**
 * struct vma - a mapping as the program asked for it
 * @start, @end: page aligned
 * @off: offset in the file, or in the shared object, of @start
 * @prot: PROT_* bits
 * @max_prot: what mprotect() may set
 * @shared: MAP_SHARED
 * @growsdown: the stack
 * @dontfork: MADV_DONTFORK
 * @fixed: the vDSO: not the program's to change
 * @file: file mapped, a reference; NULL for anonymous memory
 * @map: what file_ops.mmap told, if @file
 * @dev, @ino: identity of @file, for maps and futexes
 * @name: "[heap]" and the like, or NULL
 */
struct vma {
	RB_ENTRY(vma) link;
	uint64_t start, end;
	uint64_t off;
	int prot, max_prot;
	bool shared, growsdown, dontfork, fixed;
	struct file *file;
	struct file_mmap map;
	uint64_t dev, ino;
	const char *name;
};

/**
 * struct pma - what stands behind a range of pages
 * @start, @end: page aligned, within one VMA
 * @off: offset of @start in the memory file or the host file
 * @file: host file (a reference), or NULL: the memory file, whose pages are
 *	referenced
 * @prot: that of the VMA
 * @cow: to be copied before it is written
 * @mapped: in the platform's address space
 * @next_kept: if it is one of mm.kept
 */
struct pma {
	union {
		RB_ENTRY(pma) link;
		struct pma *next_kept;
	};
	uint64_t start, end;
	uint64_t off;
	struct file *file;
	int host_fd;
	int prot;
	bool cow, mapped;
};

RB_HEAD(vma_tree, vma);
RB_HEAD(pma_tree, pma);

/**
 * struct mm - an address space of the program
 * @refs: references of any kind
 * @nr_tasks: tasks that run in it
 * @id: unique in the sandbox, for futexes
 * @filled: buffers that the sentry is writing to, where the task is not the only one
 * @nr_vmas, @nr_pmas: how many there are
 * @last_pma: found last, or NULL
 * @kept: pages that were replaced, but which the program may still see
 * @unflushed: context that may have operations queued on @as, while one task
 *	runs in it
 * @last_fault: address of the last fault
 * @map_all: just forked: nothing is mapped until mm_start(), or the first fault
 * @patches: system calls that have been rewritten (patch.h), or NULL
 * @cpuid: CPUID instructions that have been rewritten (cpuid_rewrite.h), or NULL
 * @patch_seen: how often which ones trapped
 * @search_from: below this address mmap() looks for room first
 * @mmap_top: mappings are put below this
 */
struct mm {
	atomic_uint refs;
	atomic_uint nr_tasks;
	struct kernel *kernel;
	uint64_t id;
	struct platform_address_space *as;
	pthread_mutex_t lock;
	struct vma_tree vmas;
	struct pma_tree pmas;
	LIST_HEAD(, user_buffer) filled;
	struct pma *last_pma;
	struct pma *kept;
	struct platform_context *unflushed;
	unsigned int nr_vmas, nr_pmas;
	uint64_t last_fault;
	bool map_all;
	struct mm_patches *patches;
	struct mm_cpuid *cpuid;
	_Atomic uint64_t patch_seen[PATCH_SEEN];
	uint64_t search_from;
	uint64_t mmap_top;
	uint64_t vm_size;
	struct mm_info info; /* code, stack, args, brk */
	uint64_t auxv[64];
	size_t auxv_len; /* bytes */
};

RB_PROTOTYPE(vma_tree, vma, link, vma_cmp)
RB_PROTOTYPE(pma_tree, pma, link, pma_cmp)

/* Linux's default for vm.max_map_count. */
#define MAX_VMAS 65530u

/* vma.c */
/* The VMA that contains @addr or, if none does, the next above; or NULL. */
struct vma *vma_find(struct mm *mm, uint64_t addr);
/* The VMA that contains @addr, or NULL. */
struct vma *vma_at(struct mm *mm, uint64_t addr);
/* A new VMA with a copy of @tmpl (reference of the file taken), merged with
 * its neighbours if possible; the range must be free. NULL: no memory. */
struct vma *vma_insert(struct mm *mm, const struct vma *tmpl);
/* Cut VMAs so that none crosses @addr. 0 or -ENOMEM. */
int vma_split_at(struct mm *mm, uint64_t addr);
/* Join with equal neighbours; returns the VMA that now contains @v's start. */
struct vma *vma_merge(struct mm *mm, struct vma *v);
void vma_remove(struct mm *mm, struct vma *v);
/* Lowest-risk place for @len bytes below @top, at most mm->mmap_top: address or 0. */
uint64_t vma_find_room(struct mm *mm, uint64_t len, uint64_t hint, uint64_t top);
/* A free page between free pages, less than 2 GiB from @addr: address or 0. */
uint64_t vma_find_page_near(struct mm *mm, uint64_t addr);
bool vma_range_free(struct mm *mm, uint64_t start, uint64_t end);

/* pma.c */
struct pma *pma_at(struct mm *mm, uint64_t addr);
/* The first pma that ends above @addr, or NULL. */
struct pma *pma_find(struct mm *mm, uint64_t addr);
int pma_split_at(struct mm *mm, uint64_t addr);
/* Forget pmas in a range, unmap it from the address space. */
int pma_drop(struct mm *mm, struct task *t, uint64_t start, uint64_t end);
/* Put pages behind [start, end) of @v where there are none, and map them. */
int pma_populate(struct mm *mm, struct task *t, struct vma *v, uint64_t start,
		 uint64_t end);
/* Make the page at @addr of @p writable: copy it if it is shared. */
int pma_break_cow(struct mm *mm, struct task *t, struct pma *p,
		  uint64_t addr);
/* (Re)map in the platform's address space with what is permitted now. */
int pma_map(struct mm *mm, struct task *t, struct pma *p);
/* The same where nothing but the permission has changed. */
int pma_protect(struct mm *mm, struct task *t, struct pma *p);
/*
 * Have @edit change a copy of the page at @page, which has @need bytes at least, and map
 * it in place of the page if that is mapped, whatever its protection is.
 */
int pma_rewrite(struct mm *mm, struct task *t, uint64_t page, size_t need,
		void (*edit)(void *copy, const void *arg), const void *arg);
/* Add a pma that takes over one reference of its pages, joined with its
 * predecessor if possible. NULL: no memory, references dropped. */
struct pma *pma_insert(struct mm *mm, const struct pma *tmpl);
void pma_put_pages(struct mm *mm, struct file *file, uint64_t off,
		   uint64_t len);
void pma_get_pages(struct mm *mm, struct file *file, uint64_t off,
		   uint64_t len);

/* mm.c */
/*
 * Functions that take a struct task *t: the calling task, which runs in the
 * mm; or NULL to look at another one's, which must not change what is mapped.
 */
static inline struct platform_context *mm_ctx(struct task *t)
{
	return t ? t->ctx : NULL;
}

/*
 * Ends a change of the mm. With one task the platform may defer it to that
 * task's next switch; if other tasks run in it, they must see it before the
 * caller goes on.
 */
int mm_sync(struct mm *mm, struct task *t);

/*
 * The same before pages of the memory file that are mapped no longer, or no longer
 * for writing, get into other hands. On some platforms a hostile program may be
 * running on although its task has stopped.
 */
int mm_sync_pages(struct mm *mm, struct task *t);

/*
 * An operation on the address space failed, and those after it were dropped: what
 * the program sees is no longer what the pmas say, so it must not run on. Kills
 * the caller's process and passes the error on.
 */
static inline int mm_broken(struct task *t, int err)
{
	if (err && t)
		task_group_exit(t, SIGKILL);
	return err;
}

/* mmap.c */
/**
 * mm_map() - mmap() for the program or the loader, under mm.lock
 * @mm: mm
 * @t: calling task
 * @addr: fixed address, or 0 for any; a hint otherwise
 * @len: page aligned, > 0
 * @prot: PROT_*
 * @flags: MAP_*
 * @file: file or NULL
 * @off: page aligned
 *
 * Return: address, or -errno.
 */
int64_t mm_map(struct mm *mm, struct task *t, uint64_t addr, uint64_t len,
	       int prot, int flags, struct file *file, uint64_t off);
int mm_unmap(struct mm *mm, struct task *t, uint64_t addr, uint64_t len);
int mm_protect(struct mm *mm, struct task *t, uint64_t addr, uint64_t len,
	       int prot);

/* fault.c */
/**
 * mm_access() - resolve a program address for the sentry, under mm.lock
 * @mm: mm
 * @t: calling task, or NULL for another one's mm
 * @addr: program address
 * @write: for writing
 * @out: set to the pma that holds it, valid until the lock is dropped
 *
 * Return: 0, -EFAULT or -ENOMEM.
 */
int mm_access(struct mm *mm, struct task *t, uint64_t addr, bool write,
	      struct pma **out);

/* usercopy.c */
/* Copy to or from @buf until something fails, under mm.lock: bytes copied. */
size_t mm_copy(struct mm *mm, struct task *t, uint64_t addr, void *buf,
	       size_t len, bool write);

/* host_file.c */
enum word_op { WORD_LOAD, WORD_SWAP, WORD_CAS };

/* The atomic operation itself; returns what was there before. */
uint32_t word_apply(_Atomic uint32_t *word, enum word_op op, uint32_t expected,
		    uint32_t new_value);
/*
 * What @p, which maps a host file, has at @addr, all within it: the number of bytes
 * copied, fewer where the last page of the file ends, or -EFAULT.
 */
ssize_t host_file_read(const struct pma *p, uint64_t addr, void *buf,
		       size_t len);
ssize_t host_file_write(const struct pma *p, uint64_t addr, const void *buf,
			size_t len);
/* How many of @len bytes at @addr host_file_write() could write. */
ssize_t host_file_room(const struct pma *p, uint64_t addr, size_t len);
/*
 * A mapping of the whole of a host file that lives as long as the open file, its length
 * when it was made in *@len; or NULL. It is touched by host_file_guard() alone.
 */
const void *host_file_view(struct file *f, int fd, uint64_t *len);
/*
 * What @fn returns, or -EFAULT if a page that it touched is gone: then it has been left
 * in the middle, so it must hold nothing.
 */
int host_file_guard(int (*fn)(void *arg), void *arg);
/* word_apply() in a host file that @p maps: 0 with *@old set, or -EFAULT. */
int host_word_apply(const struct pma *p, uint64_t addr, enum word_op op,
		    uint32_t expected, uint32_t new_value, uint32_t *old);

#endif /* _SENTRY_MM_INTERNAL_H */
