// SPDX-License-Identifier: MIT
/*
 * usercopy.c - program memory, read and written by the sentry
 *
 * Addresses are hostile; every access goes through mm_access(). Pages in the
 * memory file are accessed through the sentry's mapping of it. Pages of host
 * files are not: the host file may be truncated at any time, and touching a
 * mapping of it would fault. They are read and written with pread and pwrite.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sentry/mm/internal.h"

/* Host file pages are buffered up to this much at a time. */
#define BOUNCE_MAX (256ul << 10)

static void *pma_ptr(struct mm *mm, const struct pma *p, uint64_t addr)
{
	return memory_file_ptr(mm->kernel->memory_file,
			       p->off + (addr - p->start));
}

size_t mm_copy(struct mm *mm, struct task *t, uint64_t addr, void *buf,
	       size_t len, bool write)
{
	size_t done = 0, n;
	struct pma *p;

	while (done < len && !mm_access(mm, t, addr, write, &p)) {
		n = MIN(len - done, p->end - addr);
		if (unlikely(p->file)) {
			ssize_t r = write ?
				host_file_write(p, addr, (char *)buf + done, n) :
				host_file_read(p, addr, (char *)buf + done, n);

			if (r <= 0)
				break;
			n = (size_t)r;
		} else if (write) {
			memcpy(pma_ptr(mm, p, addr), (char *)buf + done, n);
		} else {
			memcpy((char *)buf + done, pma_ptr(mm, p, addr), n);
		}
		done += n;
		addr += n;
	}
	return done;
}

static size_t copy_user(struct mm *mm, struct task *t, uint64_t addr,
			void *buf, size_t len, bool write)
{
	size_t done;

	pthread_mutex_lock(&mm->lock);
	done = mm_copy(mm, t, addr, buf, len, write);
	pthread_mutex_unlock(&mm->lock);
	return done;
}

int copy_from_user(struct task *t, void *dst, uint64_t addr, size_t len)
{
	return copy_user(t->mm, t, addr, dst, len, false) == len ? 0 : -EFAULT;
}

int copy_to_user(struct task *t, uint64_t addr, const void *src, size_t len)
{
	return copy_user(t->mm, t, addr, (void *)src, len, true) == len ?
		       0 : -EFAULT;
}

int clear_user(struct task *t, uint64_t addr, size_t len)
{
	static const char zeroes[PAGE_SIZE];
	size_t n;
	int err;

	while (len) {
		n = MIN(len, sizeof(zeroes));
		err = copy_to_user(t, addr, zeroes, n);
		if (err)
			return err;
		addr += n;
		len -= n;
	}
	return 0;
}

ssize_t strncpy_from_user(struct task *t, char *dst, uint64_t addr, size_t max)
{
	struct mm *mm = t->mm;
	size_t done = 0, n;
	char *nul;

	pthread_mutex_lock(&mm->lock);
	while (done < max) {
		/* Not past the page: the next one may not be there. */
		n = MIN(max - done, PAGE_SIZE - (addr & (PAGE_SIZE - 1)));
		n = mm_copy(mm, t, addr, dst + done, n, false);
		if (!n)
			break;
		nul = memchr(dst + done, '\0', n);
		if (nul) {
			pthread_mutex_unlock(&mm->lock);
			return nul - dst;
		}
		done += n;
		addr += n;
	}
	pthread_mutex_unlock(&mm->lock);
	return done < max ? -EFAULT : -ENAMETOOLONG;
}

ssize_t mm_read(struct mm *mm, uint64_t addr, void *dst, size_t len)
{
	size_t n = copy_user(mm, NULL, addr, dst, len, false);

	return n || !len ? (ssize_t)n : -EFAULT;
}

static int word_locked(struct mm *mm, struct task *t, uint64_t addr,
		       enum word_op op, uint32_t expected, uint32_t new_value,
		       uint32_t *old)
{
	struct pma *p;
	int err;

	err = mm_access(mm, t, addr, op != WORD_LOAD, &p);
	if (err)
		return err;
	if (!p->file) {
		*old = word_apply(pma_ptr(mm, p, addr), op, expected,
				  new_value);
		return 0;
	}
	if (op == WORD_LOAD)
		return host_file_read(p, addr, old, sizeof(*old)) ==
			sizeof(*old) ? 0 : -EFAULT;
	return host_word_apply(p, addr, op, expected, new_value, old);
}

static int user_word(struct task *t, uint64_t addr, enum word_op op,
		     uint32_t expected, uint32_t new_value, uint32_t *old)
{
	int err;

	if (addr & 3)
		return -EINVAL;
	pthread_mutex_lock(&t->mm->lock);
	err = word_locked(t->mm, t, addr, op, expected, new_value, old);
	pthread_mutex_unlock(&t->mm->lock);
	return err;
}

int user_load_u32(struct task *t, uint64_t addr, uint32_t *value)
{
	return user_word(t, addr, WORD_LOAD, 0, 0, value);
}

int user_swap_u32(struct task *t, uint64_t addr, uint32_t new_value,
		  uint32_t *old)
{
	return user_word(t, addr, WORD_SWAP, 0, new_value, old);
}

int user_cas_u32(struct task *t, uint64_t addr, uint32_t expected,
		 uint32_t new_value, uint32_t *old)
{
	return user_word(t, addr, WORD_CAS, expected, new_value, old);
}

int user_futex_key(struct task *t, uint64_t addr, bool shared,
		   struct futex_key *key)
{
	struct mm *mm = t->mm;
	struct vma *v;
	struct pma *p;
	int err;

	if (addr & 3)
		return -EINVAL;
	/* Ids of mms are even, of files odd; the memory file is 1. */
	key->object = mm->id << 1;
	key->offset = addr;
	if (!shared)
		return 0;
	pthread_mutex_lock(&mm->lock);
	err = mm_access(mm, t, addr, false, &p);
	v = err ? NULL : vma_at(mm, addr);
	if (v && v->shared) {
		key->object = p->file ? (v->ino << 17 ^ v->dev << 1) | 1 : 1;
		key->offset = p->off + (addr - p->start);
	}
	pthread_mutex_unlock(&mm->lock);
	return err;
}

/* Pages of a host file: a buffer instead of the pages. */
static ssize_t pin_bounce(struct user_buffer *ub, const struct pma *p,
			  uint64_t addr, size_t len)
{
	ssize_t n = (ssize_t)MIN(MIN(len, p->end - addr), BOUNCE_MAX);

	ub->bounce = malloc((size_t)n);
	if (!ub->bounce)
		return -ENOMEM;
	n = ub->write ? host_file_room(p, addr, (size_t)n) :
			host_file_read(p, addr, ub->bounce, (size_t)n);
	if (n <= 0) {
		free(ub->bounce);
		ub->bounce = NULL;
		return -EFAULT;
	}
	ub->bounce_addr = addr;
	ub->iov[0].iov_base = ub->bounce;
	ub->iov[0].iov_len = (size_t)n;
	ub->iovcnt = 1;
	return n;
}

/*
 * Only another task of the same mm could unmap the pages while they are in
 * use: alone, there is no need for references.
 */
static bool needs_pins(struct mm *mm)
{
	return atomic_load_explicit(&mm->nr_tasks, memory_order_relaxed) > 1;
}

static void pin_pages(struct user_buffer *ub, const struct pma *p,
		      uint64_t addr, size_t len)
{
	uint64_t off = p->off + (addr - p->start);
	uint64_t first = page_down(off);

	if (ub->pinned)
		memory_file_ref(ub->mm->kernel->memory_file, first,
				page_up(off + len) - first);
	ub->pin_off[ub->iovcnt] = off;
	ub->iov[ub->iovcnt].iov_base = pma_ptr(ub->mm, p, addr);
	ub->iov[ub->iovcnt].iov_len = len;
	ub->iovcnt++;
	ub->len += len;
}

static ssize_t pin_locked(struct task *t, struct user_buffer *ub,
			  uint64_t addr, size_t len)
{
	struct pma *p;
	size_t n;

	while (ub->len < len && ub->iovcnt < USER_BUFFER_IOVS &&
	       !mm_access(ub->mm, t, addr, ub->write, &p)) {
		if (unlikely(p->file)) {
			if (ub->iovcnt)
				break;
			ub->len = 0;
			return pin_bounce(ub, p, addr, len);
		}
		n = MIN(len - ub->len, p->end - addr);
		pin_pages(ub, p, addr, n);
		addr += n;
	}
	return ub->len ? (ssize_t)ub->len : -EFAULT;
}

/* Pages of the memory file, written to while another task could fork. */
static bool counts_as_filled(const struct user_buffer *ub)
{
	return ub->pinned && ub->write && !ub->bounce;
}

ssize_t user_buffer_pin(struct task *t, struct user_buffer *ub, uint64_t addr,
			size_t len, bool write)
{
	ssize_t n;

	ub->mm = t->mm;
	ub->task = t;
	ub->iovcnt = 0;
	ub->len = 0;
	ub->bounce = NULL;
	ub->write = write;
	ub->pinned = needs_pins(ub->mm);
	if (!len)
		return 0;
	pthread_mutex_lock(&ub->mm->lock);
	n = pin_locked(t, ub, addr, len);
	if (n > 0 && counts_as_filled(ub))
		LIST_INSERT_HEAD(&ub->mm->filled, ub, link);
	pthread_mutex_unlock(&ub->mm->lock);
	if (n > 0)
		ub->len = (size_t)n;
	return n;
}

void user_buffer_unpin(struct user_buffer *ub, size_t used)
{
	uint64_t first;
	int i;

	if (ub->bounce) {
		if (ub->write && used)
			copy_user(ub->mm, ub->task, ub->bounce_addr,
				  ub->bounce, used, true);
		free(ub->bounce);
		return;
	}
	if (counts_as_filled(ub)) {
		pthread_mutex_lock(&ub->mm->lock);
		LIST_REMOVE(ub, link);
		pthread_mutex_unlock(&ub->mm->lock);
	}
	for (i = 0; ub->pinned && i < ub->iovcnt; i++) {
		first = page_down(ub->pin_off[i]);
		memory_file_unref(ub->mm->kernel->memory_file, first,
				  page_up(ub->pin_off[i] +
					  ub->iov[i].iov_len) - first);
	}
}
