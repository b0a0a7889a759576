/* SPDX-License-Identifier: MIT */
/*
 * cpuid_rewrite.h - having CPUID instructions of the program trap
 *
 * Where the CPU cannot make CPUID fault, the sentry changes the instruction into UD2,
 * which is as long: of 0f a2 the second byte becomes 0b. What the CPU then reports as
 * an invalid instruction at such a place is CPUID (sentry/cpuid.h).
 *
 * When: pages are searched before the program can execute them for the first time, that
 * is when they are mapped as code, or become code by mprotect(). Large mappings get
 * their pages, and are searched, in windows, by a fault each. What has been found out
 * of a host file is kept as long as the file is not changed.
 *
 * Which: 0f a2 may also be part of another instruction, or data. It is rewritten if
 * decoding the enclosing function from its start arrives there; the start is known
 * from unwind tables or symbols. Where there are none, as in generated code, guesses
 * have to agree, and eax has to be loaded just before (platform/usertrap.h). What
 * cannot be shown to be CPUID is left, and tells of the host's CPU.
 *
 * An instruction that is told its leaf by a constant just before is left as it is, if the
 * CPU itself gives the answer that the sentry would give (cpuid_is_native()). As long
 * as no feature is hidden these are most of them, and a program starts as fast as
 * without. A jump that leads between the two, with another leaf, is not looked for.
 *
 * A page is not changed, but a copy of it, which replaces it and is the program's
 * private memory: neither the file nor another mapping of it changes. The byte is in
 * one page, so an instruction that lies in two needs nothing special.
 *
 * Before the program can write there (mprotect(), mremap()) the byte is put back, and
 * looked for again when the page is code once more. When pages go, so does what is known
 * of them. fork() copies it. An invalid instruction anywhere else is the program's own.
 *
 * Not rewritten: shared mappings; code that may be written as long as it is executable;
 * the vDSO, which has no CPUID. A program sees 0b if it reads its own code, or has the
 * sentry read it (write() of a buffer in its code). One that jumps between the two
 * bytes executes another instruction than it wrote. sandrun --no-cpuid-rewrite avoids
 * all of that.
 */
#ifndef _SENTRY_MM_CPUID_REWRITE_H
#define _SENTRY_MM_CPUID_REWRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel;
struct mm;
struct pma;
struct task;
struct vma;

/* Mappings of code up to this size are searched when they are made. */
#define CPUID_SCAN_MAX (4ul << 20)

/* No more are rewritten in an mm. */
#define CPUID_SITES_MAX 4096u

/**
 * struct cpuid_list - sites found
 * @site: addresses, or file offsets, of second bytes, ascending
 * @nr: how many
 * @max: room
 */
struct cpuid_list {
	uint64_t *site;
	unsigned int nr, max;
};

int cpuid_list_add(struct cpuid_list *l, uint64_t site);

/* cpuid_rewrite.c; all under mm.lock */

/* Is it code that is not to be changed by the program? */
bool cpuid_wanted(const struct vma *v);

/**
 * cpuid_rewrite() - rewrite what is CPUID in pages of code
 * @mm: mm
 * @t: calling task
 * @v: mapping; if it is not cpuid_wanted() nothing is done
 * @start: first address, page aligned
 * @end: first address behind
 *
 * Looks at pages that have a pma, mapped or not.
 *
 * Return: 0 or -ENOMEM, -errno.
 */
int cpuid_rewrite(struct mm *mm, struct task *t, struct vma *v, uint64_t start, uint64_t end);

/* Put the original code back: 0, -ENOMEM, -errno. */
int cpuid_restore(struct mm *mm, struct task *t, uint64_t start, uint64_t end);

/* A range is about to lose its pages. */
void cpuid_forget(struct mm *mm, uint64_t start, uint64_t end);

/* A child has a copy of all pages: give it what is known of them. 0 or -ENOMEM. */
int cpuid_fork(const struct mm *from, struct mm *to);

void cpuid_sites_destroy(struct mm *mm);

/* Has CPUID with its second byte at @addr been rewritten? Takes mm.lock. */
bool cpuid_is_site(struct mm *mm, uint64_t addr);

/* cpuid_scan.c */

/* Index of the first 0f a2 at @p, or @len. */
size_t cpuid_find_bytes(const uint8_t *p, size_t len);

/**
 * cpuid_scan_file() - find CPUID in a part of a host file
 * @k: sandbox
 * @p: pma of the file
 * @off: offset in the file
 * @len: bytes
 * @out: list that file offsets of second bytes are added to
 *
 * Return: 0 or -ENOMEM.
 */
int cpuid_scan_file(struct kernel *k, const struct pma *p, uint64_t off, uint64_t len,
		    struct cpuid_list *out);

int cpuid_files_create(struct kernel *k);
void cpuid_files_destroy(struct kernel *k);

#endif /* _SENTRY_MM_CPUID_REWRITE_H */
