/* SPDX-License-Identifier: MIT */
/*
 * patch.h - rewriting system calls of the program so that they need no trap
 *
 * user/platform/usertrap.h tells what is written. Here is how it comes into the
 * program's memory, and how it leaves it again.
 *
 * A page of code is never changed while it is mapped. A copy of it is changed, and
 * the copy is mapped in place of the page, as for copy-on-write; so there is no
 * state in between that a thread could see:
 *
 *  - a thread at the anchor executes the old instruction, whole, or the jump, whole,
 *    because the bytes of the jump lie in one page. Between the two its CPU has been
 *    interrupted by the host to drop the old translation, which discards what was
 *    prefetched or decoded of the old page;
 *  - a thread behind the anchor finds the bytes it would have found anyway, up to
 *    and including the system call instruction, and traps;
 *  - a thread that faults because the host is replacing the page waits for it, in
 *    the host's page fault, or tries again after its event;
 *  - the slot is complete before the page with the jump is mapped, and what is in
 *    it is never executed before, nor changed after.
 *
 * The copy belongs to the program's private memory: neither the file nor any other
 * mapping of it is changed. Shared mappings and those that the program may write are
 * not patched. When a mapping becomes writable, or is moved, the original bytes are
 * put back before; when it goes, its patches are forgotten, and what reached into it
 * from the page before is put back. fork() copies all of it.
 *
 * What a program can notice: five bytes of code that differ when it reads them
 * (checksums of its own text), a mapping called [usertrap] in /proc/self/maps, and
 * text that is a copy of the file as it was. sandrun --no-patch avoids all of that.
 */
#ifndef _SENTRY_MM_PATCH_H
#define _SENTRY_MM_PATCH_H

#include "platform/usertrap.h"
#include "sentry/kernel.h"

struct mm;
struct vma;

/*
 * A site is patched at its so manieth trap. Patching takes about as long as that many
 * patched calls save when nobody spins (31 us to copy and map a page, 2.6 us a call),
 * so it never costs much more than it is worth: most sites of a short-lived program
 * are executed only a few times.
 */
#define PATCH_AFTER 12

/* Sites being counted, and those that cannot be patched: a cache, by address. */
#define PATCH_SEEN 128

/**
 * patch_syscall() - a system call of the program trapped (a hint)
 * @t: the task, whose registers tell where
 *
 * Counts; when it is time and the code permits, rewrites it. Never fails: at worst
 * the next call traps as well.
 */
void patch_syscall(struct task *t);

/**
 * patch_leave_slot() - move a task that was stopped in a slot to the original code
 * @t: task with an event other than a system call
 * @ev: the event; addresses in it are changed as well
 *
 * Return: true if the event is to be ignored: a single step that would not have been
 * one.
 */
bool patch_leave_slot(struct task *t, struct platform_event *ev);

/* The rest is called under mm.lock. */

/**
 * struct patch_source - code of the program as it was, for usertrap.h
 * @src: to be passed on
 * @mm, @t, @v: where it reads
 */
struct patch_source {
	struct usertrap_source src;
	struct mm *mm;
	struct task *t;
	struct vma *v;
};

/* Code of the mapping @v; valid as long as that is. */
void patch_source_init(struct patch_source *s, struct mm *mm, struct task *t, struct vma *v);

/**
 * patch_restore() - put the original code back
 * @mm: mm
 * @t: calling task, which runs in it
 * @start: first address
 * @end: first address behind
 *
 * Also that which begins before @start and ends behind it.
 *
 * Return: 0 or -ENOMEM, -errno.
 */
int patch_restore(struct mm *mm, struct task *t, uint64_t start, uint64_t end);

/**
 * patch_forget() - a range is about to lose its pages
 * @mm: mm
 * @t: calling task
 * @start: first address
 * @end: first address behind
 *
 * If slots are in the range the code that jumps to them is restored.
 *
 * Return: as patch_restore().
 */
int patch_forget(struct mm *mm, struct task *t, uint64_t start, uint64_t end);

/* A child has a copy of all pages: give it what is known of them. 0 or -ENOMEM. */
int patch_fork(const struct mm *from, struct mm *to);

void patch_destroy(struct mm *mm);

#endif /* _SENTRY_MM_PATCH_H */
