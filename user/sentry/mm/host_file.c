// SPDX-License-Identifier: MIT
/*
 * host_file.c - the sentry's access to host files that a program has mapped
 *
 * Bytes are read and written by calls of the host, but a file that is read time
 * and again (the constants of a program: paths, messages) gets a *view*: a
 * read-only mapping of the whole of it, which lives as long as the open file. A
 * word is operated on through a mapping of its page that lives as long as the
 * operation; rare enough.
 *
 * The file may be truncated meanwhile, by the program itself for one, and the page
 * be gone: the SIGBUS that this means to the sentry is caught, and is an error to
 * the program like any other bad address.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sentry/mm/internal.h"

/* Where the thread goes on if its access faults; NULL: it makes none. */
static __thread sigjmp_buf *recover;

static struct sigaction old_action;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* To whoever had the signal before. */
static void pass_on(int signo, siginfo_t *info, void *uc)
{
	bool no_handler = old_action.sa_handler == SIG_DFL || old_action.sa_handler == SIG_IGN;

	/* The instruction faults once more, and that ends the process. */
	if (no_handler || old_action.sa_flags & SA_RESETHAND)
		signal(signo, SIG_DFL);
	if (no_handler)
		return;
	if (old_action.sa_flags & SA_SIGINFO)
		old_action.sa_sigaction(signo, info, uc);
	else
		old_action.sa_handler(signo);
}

static void bus_handler(int signo, siginfo_t *info, void *uc)
{
	if (recover)
		siglongjmp(*recover, 1);
	pass_on(signo, info, uc);
}

static void install_handler(void)
{
	/* Not masked meanwhile: the jump out of it restores no mask. */
	const struct sigaction sa = {
		.sa_sigaction = bus_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART,
	};

	sigaction(SIGBUS, &sa, &old_action);
}

uint32_t word_apply(_Atomic uint32_t *word, enum word_op op, uint32_t expected,
		    uint32_t new_value)
{
	switch (op) {
	case WORD_SWAP:
		return atomic_exchange(word, new_value);
	case WORD_CAS:
		atomic_compare_exchange_strong(word, &expected, new_value);
		return expected;
	default:
		return atomic_load(word);
	}
}

static int apply_guarded(_Atomic uint32_t *word, enum word_op op,
			 uint32_t expected, uint32_t new_value, uint32_t *old)
{
	sigjmp_buf env;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	*old = word_apply(word, op, expected, new_value);
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return 0;
}

int host_word_apply(const struct pma *p, uint64_t addr, enum word_op op,
		    uint32_t expected, uint32_t new_value, uint32_t *old)
{
	uint64_t off = p->off + (page_down(addr) - p->start);
	void *page;
	int err;

	pthread_once(&once, install_handler);
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    p->host_fd, (off_t)off);
	if (page == MAP_FAILED)
		return -EFAULT;
	err = apply_guarded((void *)((char *)page + (addr & (PAGE_SIZE - 1))),
			    op, expected, new_value, old);
	munmap(page, PAGE_SIZE);
	return err;
}

/* A view costs as much as some reads, and room: none for the others. */
#define VIEW_AFTER 16
#define VIEW_MAX (1ul << 30)

/**
 * struct file_view - a host file in the sentry's address space
 * @base: its first byte
 * @len: bytes, as the file had when it was mapped
 */
struct file_view {
	const char *base;
	uint64_t len;
};

static struct file_view *view_create(int fd)
{
	struct file_view *view;
	struct stat st;
	void *base;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size ||
	    (uint64_t)st.st_size > VIEW_MAX)
		return NULL;
	view = malloc(sizeof(*view));
	if (!view)
		return NULL;
	/* MAP_SHARED would be in the way of a seal against writing. */
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED) {
		free(view);
		return NULL;
	}
	pthread_once(&once, install_handler);
	*view = (struct file_view){ base, (uint64_t)st.st_size };
	return view;
}

static void view_destroy(struct file_view *view)
{
	munmap((void *)view->base, view->len);
	free(view);
}

/* Mms share files but not their locks: of two new views the first one stays. */
static struct file_view *view_of(struct file *f, int fd)
{
	struct file_view *view, *old = NULL;

	view = atomic_load_explicit(&f->view, memory_order_acquire);
	if (likely(view))
		return view;
	/* Tried once: what fails then would fail always. */
	if (atomic_fetch_add_explicit(&f->view_wanted, 1,
				      memory_order_relaxed) != VIEW_AFTER)
		return NULL;
	view = view_create(fd);
	if (view && !atomic_compare_exchange_strong(&f->view, &old, view)) {
		view_destroy(view);
		view = old;
	}
	return view;
}

void file_view_drop(struct file *f)
{
	struct file_view *view = atomic_load(&f->view);

	if (view)
		view_destroy(view);
}

static int copy_guarded(void *dst, const void *src, size_t len)
{
	sigjmp_buf env;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	memcpy(dst, src, len);
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return 0;
}

int host_file_guard(int (*fn)(void *arg), void *arg)
{
	sigjmp_buf env;
	int ret;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	ret = fn(arg);
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return ret;
}

const void *host_file_view(struct file *f, int fd, uint64_t *len)
{
	struct file_view *view, *old = NULL;

	view = atomic_load_explicit(&f->view, memory_order_acquire);
	if (!view)
		view = view_create(fd);
	if (!view)
		return NULL;
	if (!atomic_compare_exchange_strong(&f->view, &old, view) && old != view) {
		view_destroy(view);
		view = old;
	}
	*len = view->len;
	return view->base;
}

static bool view_read(const struct pma *p, uint64_t off, void *buf, size_t len)
{
	struct file_view *view = view_of(p->file, p->host_fd);

	return view && off < view->len && len <= view->len - off &&
	       !copy_guarded(buf, view->base + off, len);
}

/*
 * Of @len bytes at @off, how many are in the pages of the file, the last of which
 * has zeroes behind the end; *@in_file of them are the file's own.
 */
static size_t in_pages(int fd, uint64_t off, size_t len, size_t *in_file)
{
	struct stat st;
	uint64_t size;

	*in_file = len;
	if (fstat(fd, &st))
		return 0;
	if (!S_ISREG(st.st_mode))
		return len;
	size = (uint64_t)st.st_size;
	*in_file = off < size ? MIN(len, size - off) : 0;
	return off < page_up(size) ? MIN(len, page_up(size) - off) : 0;
}

static ssize_t read_at_end(const struct pma *p, uint64_t off, void *buf,
			   size_t len)
{
	size_t in_file, n = in_pages(p->host_fd, off, len, &in_file);

	if (!n || pread(p->host_fd, buf, in_file, (off_t)off) !=
			  (ssize_t)in_file)
		return -EFAULT;
	memset((char *)buf + in_file, 0, n - in_file);
	return (ssize_t)n;
}

ssize_t host_file_read(const struct pma *p, uint64_t addr, void *buf,
		       size_t len)
{
	uint64_t off = p->off + (addr - p->start);

	if (view_read(p, off, buf, len) ||
	    pread(p->host_fd, buf, len, (off_t)off) == (ssize_t)len)
		return (ssize_t)len;
	return read_at_end(p, off, buf, len);
}

ssize_t host_file_write(const struct pma *p, uint64_t addr, const void *buf,
			size_t len)
{
	uint64_t off = p->off + (addr - p->start);
	size_t in_file, n = in_pages(p->host_fd, off, len, &in_file);

	/* What is written behind the end changes no file, as through a mapping. */
	if (!n || pwrite(p->host_fd, buf, in_file, (off_t)off) !=
			  (ssize_t)in_file)
		return -EFAULT;
	return (ssize_t)n;
}

ssize_t host_file_room(const struct pma *p, uint64_t addr, size_t len)
{
	size_t in_file;

	return (ssize_t)in_pages(p->host_fd, p->off + (addr - p->start), len,
				 &in_file);
}
