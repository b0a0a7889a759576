/* SPDX-License-Identifier: MIT */
/*
 * mm.h - memory of the sandboxed program
 *
 * An mm has VMAs (what the program asked for) and page mappings, called pmas
 * (what stands behind the pages: a range of the memory file, or of a host file
 * mapped directly). The platform's address space is a cache of the pmas.
 *
 * The sentry reads and writes program memory through its own mapping of the
 * memory file: the functions below take program addresses, which are hostile,
 * and resolve them, allocating and breaking copy-on-write as a fault of the
 * program would. None of them makes a host system call on its fast path.
 */
#ifndef _SENTRY_MM_H
#define _SENTRY_MM_H

#include <sys/queue.h>
#include <sys/uio.h>

#include "sentry/kernel.h"

struct file;
struct mm;

/* life of an mm; reference counted by its tasks and by readers of /proc */

/**
 * mm_create() - an empty mm with an address space of its own
 * @k: sandbox
 * @out: set on success, with one reference
 *
 * Return: 0; -ENOMEM, -EAGAIN: no resources.
 */
int mm_create(struct kernel *k, struct mm **out);

/**
 * mm_fork() - a copy of the calling task's mm (fork)
 * @t: the calling task
 * @out: set on success
 *
 * Private pages are shared copy-on-write.
 *
 * Return: as mm_create().
 */
int mm_fork(struct task *t, struct mm **out);

struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm);

/**
 * mm_exit() - all tasks have left it
 * @mm: mm
 *
 * Gives up at once what others may notice, the files that are mapped. Memory and
 * address space go with the last reference. Does nothing if there are others yet.
 */
void mm_exit(struct mm *mm);

struct platform_address_space *mm_address_space(struct mm *mm);

/**
 * mm_map_file() - mmap() on behalf of the sentry
 * @t: the calling task
 * @addr, @len, @prot, @flags, @off: as mmap(2); page aligned
 * @file: file to map, or NULL for anonymous memory
 *
 * Return: address, or -errno as mmap(2).
 */
int64_t mm_map_file(struct task *t, uint64_t addr, uint64_t len, int prot,
		    int flags, struct file *file, uint64_t off);

/*
 * Number of tasks running in it: mm_get() is for references of any kind. @t is the
 * calling task, whose process is killed if what it had deferred fails now.
 */
void mm_add_task(struct mm *mm, struct task *t);
void mm_remove_task(struct mm *mm);
/* Does more than one task run in it? */
bool mm_is_shared(struct mm *mm);

/**
 * mm_start() - about to run a task for the first time
 * @t: calling task
 *
 * Return: 0; -errno: it has been killed.
 */
int mm_start(struct task *t);

/**
 * mm_handle_fault() - a page fault of the program
 * @t: the faulting task
 * @addr: where
 * @access: PLATFORM_ACCESS_* bits, as the platform reported them
 *
 * Return: 0: go on; -EFAULT: no mapping (SEGV_MAPERR); -EACCES: not permitted
 * (SEGV_ACCERR); -EIO: behind the end of a file (SIGBUS); -ENOMEM.
 */
int mm_handle_fault(struct task *t, uint64_t addr, uint32_t access);

/* user memory, by the task that runs in it */

/* Copy, all or nothing is reported: 0 or -EFAULT. */
int copy_from_user(struct task *t, void *dst, uint64_t addr, size_t len);
int copy_to_user(struct task *t, uint64_t addr, const void *src, size_t len);
int clear_user(struct task *t, uint64_t addr, size_t len);

/**
 * strncpy_from_user() - copy a string
 * @t: task
 * @dst: buffer of @max bytes
 * @addr: program address
 * @max: > 0
 *
 * Return: length without the NUL; -EFAULT; -ENAMETOOLONG if there is no NUL in
 * the first @max bytes.
 */
ssize_t strncpy_from_user(struct task *t, char *dst, uint64_t addr,
			  size_t max);

static inline int get_user_u64(struct task *t, uint64_t *dst, uint64_t addr)
{
	return copy_from_user(t, dst, addr, sizeof(*dst));
}

static inline int get_user_u32(struct task *t, uint32_t *dst, uint64_t addr)
{
	return copy_from_user(t, dst, addr, sizeof(*dst));
}

static inline int put_user_u64(struct task *t, uint64_t addr, uint64_t v)
{
	return copy_to_user(t, addr, &v, sizeof(v));
}

static inline int put_user_u32(struct task *t, uint64_t addr, uint32_t v)
{
	return copy_to_user(t, addr, &v, sizeof(v));
}

/*
 * Read another task's mm (proc files): bytes read, fewer than @len if a later
 * page cannot be accessed, or -EFAULT.
 */
ssize_t mm_read(struct mm *mm, uint64_t addr, void *dst, size_t len);

/*
 * Atomic operations on a word of the program: 0, -EFAULT, or -EINVAL if @addr
 * is not 4-byte aligned. Ordering: sequentially consistent.
 */
int user_load_u32(struct task *t, uint64_t addr, uint32_t *value);
int user_cas_u32(struct task *t, uint64_t addr, uint32_t expected,
		 uint32_t new_value, uint32_t *old);
int user_swap_u32(struct task *t, uint64_t addr, uint32_t new_value,
		  uint32_t *old);

/**
 * struct user_buffer - program memory pinned for input or output
 * @iov: pieces in the sentry's address space, in order
 * @iovcnt: number of pieces
 * @len: bytes in all; may be fewer than asked for
 *
 * The pieces stay valid, though not private to the sentry, until
 * user_buffer_unpin(): even if the program unmaps them meanwhile. What is written to
 * them is in this mm, though it may fork meanwhile, and not in the child's.
 */
#define USER_BUFFER_IOVS 32
struct user_buffer {
	struct iovec iov[USER_BUFFER_IOVS];
	int iovcnt;
	size_t len;
	/* private to mm/ */
	LIST_ENTRY(user_buffer) link; /* mm.filled, if written to and pinned */
	struct mm *mm;
	struct task *task; /* who pinned it, and unpins it */
	uint64_t pin_off[USER_BUFFER_IOVS];
	void *bounce;
	uint64_t bounce_addr;
	bool write, pinned;
};

/**
 * user_buffer_pin() - make program memory accessible to the sentry
 * @t: task
 * @ub: filled; to be unpinned if the return value is > 0
 * @addr: program address
 * @len: bytes wanted
 * @write: the sentry will write to it (output buffer of a read(2))
 *
 * May yield less than @len, for lack of pieces or because a later page cannot
 * be accessed: callers loop.
 *
 * Return: bytes pinned; 0 if @len is 0; -EFAULT if not even the first byte can
 * be accessed.
 */
ssize_t user_buffer_pin(struct task *t, struct user_buffer *ub, uint64_t addr,
			size_t len, bool write);

/* @used: bytes written into it, from the start; 0 for input buffers. */
void user_buffer_unpin(struct user_buffer *ub, size_t used);

/**
 * struct futex_key - identity of a futex word
 *
 * Equal for all addresses that name the same word: (mm, address) for private
 * memory, (memory file or host file, offset) for shared mappings.
 */
struct futex_key {
	uint64_t object;
	uint64_t offset;
};

/*
 * Key of the word at @addr; @shared: the call lacked FUTEX_PRIVATE_FLAG. 0,
 * -EFAULT or -EINVAL.
 */
int user_futex_key(struct task *t, uint64_t addr, bool shared,
		   struct futex_key *key);

/* for /proc; each takes mm.lock */

/* Text of /proc/PID/maps: a malloc()ed string of *len bytes, or NULL. */
char *mm_format_maps(struct mm *mm, size_t *len);

struct mm_info {
	uint64_t vm_size; /* bytes mapped */
	uint64_t vm_rss; /* bytes with pages, an upper bound */
	uint64_t vm_data, vm_stack, vm_exe, vm_lib, vm_locked;
	uint64_t start_code, end_code, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t brk_start, brk;
};
void mm_get_info(struct mm *mm, struct mm_info *info);

/* The auxiliary vector of the program: bytes copied to @buf. */
size_t mm_get_auxv(struct mm *mm, void *buf, size_t len);

/* loader */

/**
 * exec_load() - load a program into a new mm and make it the task's
 * @t: the calling task (or one not started yet)
 * @path: file to execute, in the task's fs_context
 * @file: opened executable; a reference that is consumed
 * @argv: NULL-terminated
 * @envp: NULL-terminated
 *
 * On success the task's old mm is gone, its registers are set, comm and
 * /proc/self/exe renewed; signals and descriptors are the caller's business.
 *
 * Return: 0; -ENOEXEC, -ELIBBAD, -EACCES, -ENOENT (interpreter), -E2BIG,
 * -ENOMEM, -ELOOP with the old mm untouched.
 */
int exec_load(struct task *t, const char *path, struct file *file,
	      char *const *argv, char *const *envp);

/**
 * memory_file - the file that holds the pages of a sandbox
 *
 * Offsets are page aligned; every page has a reference count.
 */
int memory_file_create(struct memory_file **out);
void memory_file_destroy(struct memory_file *mf);
/* Allocate @len bytes of zeroes: 0 and *off, or -ENOMEM. */
int memory_file_alloc(struct memory_file *mf, uint64_t len, uint64_t *off);
void memory_file_ref(struct memory_file *mf, uint64_t off, uint64_t len);
void memory_file_unref(struct memory_file *mf, uint64_t off, uint64_t len);
/* Does every page of a range have one reference only? */
bool memory_file_exclusive(struct memory_file *mf, uint64_t off, uint64_t len);
/* Copy @len bytes to newly allocated pages. What nobody has touched stays so. */
void memory_file_copy(struct memory_file *mf, uint64_t to, uint64_t from,
		      uint64_t len);
/* Make a range read as zeroes again, wherever it is mapped: 0 or -errno. */
int memory_file_clear(struct memory_file *mf, uint64_t off, uint64_t len);
/* Where the sentry sees it. */
void *memory_file_ptr(struct memory_file *mf, uint64_t off);
int memory_file_fd(struct memory_file *mf);
/* Bytes allocated now. */
uint64_t memory_file_usage(struct memory_file *mf);

#endif /* _SENTRY_MM_H */
