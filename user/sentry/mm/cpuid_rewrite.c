// SPDX-License-Identifier: MIT
/*
 * cpuid_rewrite.c - which CPUID instructions of an mm are rewritten
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/cpuid_insn.h"
#include "platform/usertrap.h"
#include "sentry/mm/internal.h"

/* What an mm knows; under mm.lock. */
struct mm_cpuid {
	struct cpuid_list sites;
};

bool cpuid_wanted(const struct vma *v)
{
	return (v->prot & (PROT_EXEC | PROT_WRITE)) == PROT_EXEC && !v->shared && !v->fixed;
}

/* ---- lists ---- */

static int list_reserve(struct cpuid_list *l, unsigned int nr)
{
	unsigned int max = MAX(l->max, 16u);
	uint64_t *site;

	if (nr <= l->max)
		return 0;
	while (max < nr)
		max *= 2;
	site = realloc(l->site, max * sizeof(*site));
	if (!site)
		return -ENOMEM;
	l->site = site;
	l->max = max;
	return 0;
}

int cpuid_list_add(struct cpuid_list *l, uint64_t site)
{
	int err = list_reserve(l, l->nr + 1);

	if (!err)
		l->site[l->nr++] = site;
	return err;
}

/* Index of the first one at or above @addr. */
static unsigned int first_at(const struct cpuid_list *l, uint64_t addr)
{
	unsigned int low = 0, high = l->nr, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (l->site[mid] < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool list_has(const struct cpuid_list *l, uint64_t addr)
{
	unsigned int i = first_at(l, addr);

	return i < l->nr && l->site[i] == addr;
}

static int list_insert(struct cpuid_list *l, uint64_t addr)
{
	unsigned int i = first_at(l, addr);
	int err;

	if (i < l->nr && l->site[i] == addr)
		return 0;
	err = list_reserve(l, l->nr + 1);
	if (err)
		return err;
	memmove(&l->site[i + 1], &l->site[i], (l->nr - i) * sizeof(*l->site));
	l->site[i] = addr;
	l->nr++;
	return 0;
}

static void list_remove(struct cpuid_list *l, uint64_t start, uint64_t end)
{
	unsigned int from = first_at(l, start), to = first_at(l, end);

	memmove(&l->site[from], &l->site[to], (l->nr - to) * sizeof(*l->site));
	l->nr -= to - from;
}

/* ---- pages ---- */

/* Sites within one page, and what their second byte is to be. */
struct edit {
	const uint64_t *site;
	unsigned int nr;
	uint8_t byte;
};

static void edit_page(void *page, const void *arg)
{
	const struct edit *e = arg;
	unsigned int i;

	for (i = 0; i < e->nr; i++)
		((uint8_t *)page)[e->site[i] & ~PAGE_MASK] = e->byte;
}

/* Write @byte at all sites of @l from index *@i on that are in one page. */
static int write_page(struct mm *mm, struct task *t, const struct cpuid_list *l,
		      unsigned int *i, uint8_t byte)
{
	struct edit e = { .site = &l->site[*i], .byte = byte };
	uint64_t page = page_down(l->site[*i]), last;

	while (*i < l->nr && page_down(l->site[*i]) == page) {
		e.nr++;
		(*i)++;
	}
	last = e.site[e.nr - 1] & ~PAGE_MASK;
	return pma_rewrite(mm, t, page, last + 1, edit_page, &e);
}

/* ---- finding ---- */

/* So many places may look like CPUID in one search; each takes a while to examine. */
#define TRIES_MAX 1024u

/* A search in memory. */
struct search {
	struct mm *mm;
	struct patch_source source;
	struct usertrap_source src;
	struct usertrap_walk walk;
	unsigned int tries;
	struct cpuid_list *out;
};

/* Reads what has pages: to give others theirs would change the pmas under the search. */
static ssize_t read_present(void *arg, uint64_t addr, void *buf, size_t len)
{
	struct search *s = arg;
	uint64_t end = addr;
	struct pma *p;

	while (end - addr < len && (p = pma_at(s->mm, end)))
		end = p->end;
	len = MIN(len, end - addr);
	return len ? s->source.src.read(&s->source, addr, buf, len) : -EFAULT;
}

static ssize_t read_file(void *arg, uint64_t off, void *buf, size_t len)
{
	struct search *s = arg;

	return s->source.src.read_file(&s->source, off, buf, len);
}

static void search_init(struct search *s, struct task *t, struct vma *v)
{
	patch_source_init(&s->source, s->mm, t, v);
	s->src = s->source.src;
	s->src.arg = s;
	s->src.read = read_present;
	if (s->src.read_file)
		s->src.read_file = read_file;
}

/* Is the code at @addr the first byte of CPUID? Then it is a site. */
static int consider(struct search *s, uint64_t addr)
{
	if (s->tries++ >= TRIES_MAX)
		return 0;
	if (usertrap_examine_cpuid(&s->src, addr, true, &s->walk)) {
		atomic_fetch_add_explicit(&s->mm->kernel->cpuid_left, 1, memory_order_relaxed);
		return 0;
	}
	if (s->walk.leaf_known && cpuid_is_native(&s->mm->kernel->cpu, s->walk.leaf))
		return 0;
	return cpuid_list_add(s->out, addr + 1);
}

/* Pages in the memory file that hold anything, of [start, end) within @p. */
static int search_memory(struct search *s, const struct pma *p, uint64_t start, uint64_t end)
{
	struct memory_file *mf = s->mm->kernel->memory_file;
	const uint8_t *code = memory_file_ptr(mf, p->off);
	int fd = memory_file_fd(mf), err = 0;
	off_t data, hole;
	uint64_t stop;

	while (!err && start < end) {
		/* Looking at a page that nobody has touched would allocate it. */
		data = lseek(fd, (off_t)(p->off + (start - p->start)), SEEK_DATA);
		hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			break;
		start = p->start + ((uint64_t)data - p->off);
		stop = MIN(end, p->start + ((uint64_t)hole - p->off));
		while (!err && start < stop && s->tries < TRIES_MAX) {
			start += cpuid_find_bytes(code + (start - p->start), stop - start);
			if (start < stop)
				err = consider(s, start++);
		}
		start = MAX(start, stop);
	}
	return err;
}

static int search_file(struct search *s, const struct pma *p, uint64_t start, uint64_t end)
{
	unsigned int i = s->out->nr;
	int err;

	err = cpuid_scan_file(s->mm->kernel, p, p->off + (start - p->start), end - start, s->out);
	for (; i < s->out->nr; i++)
		s->out->site[i] = s->out->site[i] - p->off + p->start;
	return err;
}

/* An instruction may lie across @addr, where the pages on one side are new as code. */
static int search_border(struct search *s, uint64_t addr)
{
	struct vma *v = vma_at(s->mm, addr - 1), *u = vma_at(s->mm, addr);
	uint8_t code[2];

	if (!v || !(v->prot & PROT_EXEC) || !u || !cpuid_wanted(u) ||
	    read_present(s, addr - 1, code, 2) != 2 || code[0] != CPUID_BYTE_1 ||
	    code[1] != CPUID_BYTE_2)
		return 0;
	/* The code around may be of both mappings. */
	s->src.start = MIN(s->src.start, v->start);
	s->src.end = MAX(s->src.end, u->end);
	return consider(s, addr - 1);
}

static int search_pma(struct search *s, const struct pma *p, uint64_t start, uint64_t end)
{
	int err = search_border(s, start);

	if (err)
		return err;
	return p->file ? search_file(s, p, start, end) : search_memory(s, p, start, end);
}

static int search(struct mm *mm, struct task *t, struct vma *v, uint64_t start, uint64_t end,
		  struct cpuid_list *out)
{
	struct search s = { .mm = mm, .out = out };
	struct pma *p;
	int err = 0;

	search_init(&s, t, v);
	for (p = pma_find(mm, start); !err && p && p->start < end;
	     p = RB_NEXT(pma_tree, &mm->pmas, p))
		err = search_pma(&s, p, MAX(start, p->start), MIN(end, p->end));
	return err ? err : search_border(&s, end);
}

/* ---- rewriting ---- */

static int rewrite_sites(struct mm *mm, struct task *t, struct cpuid_list *found)
{
	unsigned int i, done = 0;
	int err = 0;

	if (!mm->cpuid)
		mm->cpuid = calloc(1, sizeof(*mm->cpuid));
	if (!mm->cpuid)
		return -ENOMEM;
	found->nr = MIN(found->nr, CPUID_SITES_MAX - MIN(mm->cpuid->sites.nr, CPUID_SITES_MAX));
	/* Known before they are executed. */
	for (i = 0; !err && i < found->nr; i++)
		err = list_insert(&mm->cpuid->sites, found->site[i]);
	while (!err && done < found->nr)
		err = write_page(mm, t, found, &done, UD2_BYTE_2);
	if (!err)
		atomic_fetch_add_explicit(&mm->kernel->cpuid_sites, found->nr,
					  memory_order_relaxed);
	return err;
}

int cpuid_rewrite(struct mm *mm, struct task *t, struct vma *v, uint64_t start, uint64_t end)
{
	struct cpuid_list found = { 0 };
	int err;

	if (!mm->kernel->rewrite_cpuid || !v || !cpuid_wanted(v))
		return 0;
	err = search(mm, t, v, start, end, &found);
	if (!err && found.nr)
		err = rewrite_sites(mm, t, &found);
	free(found.site);
	return err;
}

int cpuid_restore(struct mm *mm, struct task *t, uint64_t start, uint64_t end)
{
	struct cpuid_list part;
	unsigned int from, i = 0;
	int err = 0;

	if (!mm->cpuid)
		return 0;
	from = first_at(&mm->cpuid->sites, start);
	part.site = mm->cpuid->sites.site + from;
	part.nr = first_at(&mm->cpuid->sites, end) - from;
	while (!err && i < part.nr)
		err = write_page(mm, t, &part, &i, CPUID_BYTE_2);
	if (!err)
		list_remove(&mm->cpuid->sites, start, end);
	return err;
}

void cpuid_forget(struct mm *mm, uint64_t start, uint64_t end)
{
	if (mm->cpuid)
		list_remove(&mm->cpuid->sites, start, end);
}

bool cpuid_is_site(struct mm *mm, uint64_t addr)
{
	bool is;

	pthread_mutex_lock(&mm->lock);
	is = mm->cpuid && list_has(&mm->cpuid->sites, addr);
	pthread_mutex_unlock(&mm->lock);
	return is;
}

/* ---- life ---- */

int cpuid_fork(const struct mm *from, struct mm *to)
{
	const struct cpuid_list *l;
	unsigned int i;
	int err = 0;

	if (!from->cpuid)
		return 0;
	to->cpuid = calloc(1, sizeof(*to->cpuid));
	if (!to->cpuid)
		return -ENOMEM;
	l = &from->cpuid->sites;
	/* Mappings that the child does not get take their sites with them. */
	for (i = 0; !err && i < l->nr; i++)
		if (pma_at(to, l->site[i]))
			err = cpuid_list_add(&to->cpuid->sites, l->site[i]);
	return err;
}

void cpuid_sites_destroy(struct mm *mm)
{
	if (!mm->cpuid)
		return;
	free(mm->cpuid->sites.site);
	free(mm->cpuid);
}
