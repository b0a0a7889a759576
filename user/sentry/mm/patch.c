// SPDX-License-Identifier: MIT
/*
 * patch.c - which system calls are rewritten, and the pages that this takes
 */
#include <stdlib.h>
#include <string.h>

#include "platform/usertrap.h"
#include "sentry/mm/internal.h"
#include "sentry/mm/patch.h"

/* Pages of slots in one mm; with them the number of sites is limited. */
#define AREAS_MAX 16

/*
 * Of mm.patch_seen: an address, and how often it trapped; SEEN_NEVER: it has been
 * tried. An address is in any entry of its set.
 */
#define SEEN_SHIFT 16
#define SEEN_NEVER 0xffffu
#define SEEN_WAYS 4
#define SEEN_HASH 0x9e3779b97f4a7c15ull
#define SEEN_HASH_SHIFT (64 - 5)

_Static_assert(PATCH_SEEN == SEEN_WAYS << (64 - SEEN_HASH_SHIFT), "as many sets as values");

#define SYSCALL_SIZE 2

/* A page of slots: who has them, slot 0 being the header. */
struct area {
	uint64_t addr;
	unsigned int used;
	uint64_t site[USERTRAP_SLOTS + 1];
};

/**
 * struct patch - a site that is, or was, rewritten
 * @plan: how
 * @slot: address of its slot, which it keeps for ever: threads may be in it
 * @active: the jump is there
 */
struct patch {
	struct usertrap_plan plan;
	uint64_t slot;
	bool active;
};

/* What an mm knows; under mm.lock. Patches are sorted by site. */
struct mm_patches {
	struct patch *sites;
	unsigned int nr_sites, max_sites;
	unsigned int nr_areas;
	struct area areas[AREAS_MAX];
};

/* ---- look-up ---- */

/* Index of the first patch at or above @addr. */
static unsigned int first_site(const struct mm_patches *ps, uint64_t addr)
{
	unsigned int low = 0, high = ps->nr_sites, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (ps->sites[mid].plan.site < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct patch *find_site(struct mm_patches *ps, uint64_t site)
{
	unsigned int i = first_site(ps, site);

	return i < ps->nr_sites && ps->sites[i].plan.site == site ? &ps->sites[i] : NULL;
}

static uint64_t patch_end(const struct patch *p)
{
	return p->plan.site + p->plan.syscall_off + SYSCALL_SIZE;
}

/* The first that may not end before @addr. */
static unsigned int first_site_reaching(const struct mm_patches *ps, uint64_t addr)
{
	return first_site(ps, addr - MIN(addr, USERTRAP_RUN_MAX + SYSCALL_SIZE));
}

/* Is anything of [start, end) part of a rewritten system call? */
static bool overlaps_patch(const struct mm_patches *ps, uint64_t start, uint64_t end)
{
	unsigned int i;

	for (i = first_site_reaching(ps, start); i < ps->nr_sites; i++) {
		if (ps->sites[i].plan.site >= end)
			break;
		if (ps->sites[i].active && patch_end(&ps->sites[i]) > start)
			return true;
	}
	return false;
}

static struct area *find_area(struct mm_patches *ps, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < ps->nr_areas; i++)
		if (ps->areas[i].addr == page_down(addr))
			return &ps->areas[i];
	return NULL;
}

static struct mm_patches *get_patches(struct mm *mm)
{
	if (!mm->patches)
		mm->patches = calloc(1, sizeof(*mm->patches));
	return mm->patches;
}

/* ---- what the decoder reads ---- */

/* As the program's own code was: patches of its neighbours are undone. */
static void show_original(const struct mm_patches *ps, uint64_t addr, uint8_t *buf, size_t len)
{
	unsigned int i, b;
	uint64_t at;

	if (!ps)
		return;
	for (i = first_site(ps, addr - MIN(addr, USERTRAP_JUMP_SIZE)); i < ps->nr_sites && ps->sites[i].plan.site < addr + len; i++) {
		for (b = 0; ps->sites[i].active && b < USERTRAP_JUMP_SIZE; b++) {
			at = ps->sites[i].plan.site + b;
			if (at >= addr && at - addr < len)
				buf[at - addr] = ps->sites[i].plan.code[b];
		}
	}
}

static ssize_t source_read(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct patch_source *s = arg;
	size_t n = mm_copy(s->mm, s->t, addr, buf, len, false);

	show_original(s->mm->patches, addr, buf, n);
	return (ssize_t)n;
}

static ssize_t source_read_file(void *arg, uint64_t off, void *buf, size_t len)
{
	const struct patch_source *s = arg;

	if (off > INT64_MAX - len)
		return -EINVAL;
	return file_pread(s->t, s->v->file, buf, len, (off_t)off);
}

/* Where the first byte of the file is mapped for which @v has been mapped. */
static uint64_t image_start(struct mm *mm, const struct vma *v)
{
	const struct vma *first = NULL;
	struct vma *u;

	if (!v->file)
		return 0;
	for (u = vma_find(mm, v->start - MIN(v->start, v->off)); u && u->start <= v->start;
	     u = RB_NEXT(vma_tree, &mm->vmas, u))
		if (u->off == 0 && u->file && u->dev == v->dev && u->ino == v->ino)
			first = u;
	return first ? first->start : 0;
}

void patch_source_init(struct patch_source *s, struct mm *mm, struct task *t, struct vma *v)
{
	*s = (struct patch_source){
		.mm = mm, .t = t, .v = v,
		.src = {
			.read = source_read,
			.read_file = v->file ? source_read_file : NULL,
			.arg = s,
			.start = v->start,
			.end = v->end,
			.image = image_start(mm, v),
		},
	};
}

static int examine(struct mm *mm, struct task *t, struct vma *v, uint64_t ip,
		   struct usertrap_plan *plan)
{
	struct patch_source s;

	patch_source_init(&s, mm, t, v);
	return usertrap_examine(&s.src, ip, plan);
}

/* ---- pages ---- */

struct bytes {
	uint64_t off;
	const void *bytes;
	size_t len;
};

static void put_bytes(void *page, const void *arg)
{
	const struct bytes *b = arg;

	memcpy((char *)page + b->off, b->bytes, b->len);
}

static int rewrite_page(struct mm *mm, struct task *t, uint64_t addr, const void *bytes,
			size_t len)
{
	const struct bytes b = { addr & ~PAGE_MASK, bytes, len };

	return pma_rewrite(mm, t, page_down(addr), b.off + len, put_bytes, &b);
}

static int map_area(struct mm *mm, struct task *t, struct vma *v, uint64_t addr)
{
	struct memory_file *mf = mm->kernel->memory_file;
	struct pma *p;
	void *page;
	int err;

	err = pma_populate(mm, t, v, addr, addr + PAGE_SIZE);
	if (err)
		return err;
	p = pma_at(mm, addr);
	page = memory_file_ptr(mf, p->off + (addr - p->start));
	memset(page, 0xcc, PAGE_SIZE); /* int3 */
	usertrap_emit_header(mm->kernel->platform->usertrap_entry, page);
	return 0;
}

static struct area *new_area(struct mm *mm, struct task *t, uint64_t near)
{
	struct mm_patches *ps = mm->patches;
	struct vma tmpl = {
		.prot = PROT_READ | PROT_EXEC, .max_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
		.map.host_fd = -1, .name = "[usertrap]",
	};
	struct area *a;
	struct vma *v;

	if (ps->nr_areas == AREAS_MAX)
		return NULL;
	tmpl.start = vma_find_page_near(mm, near);
	tmpl.end = tmpl.start + PAGE_SIZE;
	v = tmpl.start ? vma_insert(mm, &tmpl) : NULL;
	if (!v)
		return NULL;
	if (map_area(mm, t, v, tmpl.start)) {
		mm_unmap(mm, t, tmpl.start, PAGE_SIZE);
		return NULL;
	}
	a = &ps->areas[ps->nr_areas++];
	memset(a, 0, sizeof(*a));
	a->addr = tmpl.start;
	return a;
}

static bool reaches(const struct area *a, uint64_t site)
{
	return a->addr - site + INT32_MAX - PAGE_SIZE <= 2ull * (INT32_MAX - PAGE_SIZE);
}

/* An area with a free slot that a jump at @site reaches; a new one if need be. */
static struct area *choose_area(struct mm *mm, struct task *t, uint64_t site)
{
	struct mm_patches *ps = mm->patches;
	unsigned int i;

	for (i = 0; i < ps->nr_areas; i++)
		if (ps->areas[i].used < USERTRAP_SLOTS && reaches(&ps->areas[i], site))
			return &ps->areas[i];
	return new_area(mm, t, site);
}

/*
 * A free slot of a page that is the mm's own is written in place: nobody has
 * executed it. After a fork the page is shared, and the other side has the slot too.
 */
static int write_slot(struct mm *mm, struct task *t, uint64_t addr, const uint8_t *code)
{
	struct pma *p = pma_at(mm, addr);

	if (!p || p->file)
		return -EFAULT;
	if (p->cow)
		return rewrite_page(mm, t, addr, code, USERTRAP_SLOT_SIZE);
	memcpy((char *)memory_file_ptr(mm->kernel->memory_file, p->off + (addr - p->start)),
	       code, USERTRAP_SLOT_SIZE);
	return 0;
}

/* ---- patching ---- */

static int make_room(struct mm_patches *ps)
{
	unsigned int max = ps->max_sites ? 2 * ps->max_sites : 16;
	struct patch *sites;

	if (ps->nr_sites < ps->max_sites)
		return 0;
	sites = realloc(ps->sites, max * sizeof(*sites));
	if (!sites)
		return -ENOMEM;
	ps->sites = sites;
	ps->max_sites = max;
	return 0;
}

static void add_site(struct mm_patches *ps, const struct patch *p)
{
	unsigned int i = first_site(ps, p->plan.site);

	memmove(&ps->sites[i + 1], &ps->sites[i], (ps->nr_sites - i) * sizeof(*p));
	ps->sites[i] = *p;
	ps->nr_sites++;
}

static int jump_to_slot(struct mm *mm, struct task *t, struct patch *p)
{
	uint8_t jump[USERTRAP_JUMP_SIZE];
	int err;

	usertrap_jump(&p->plan, p->slot, jump);
	err = rewrite_page(mm, t, p->plan.site, jump, sizeof(jump));
	p->active = !err;
	return err;
}

/* The code is as it was when it had been rewritten before: so is the slot. */
static int patch_again(struct mm *mm, struct task *t, struct patch *p,
		       const struct usertrap_plan *plan)
{
	if (p->plan.syscall_off != plan->syscall_off ||
	    memcmp(p->plan.code, plan->code, plan->syscall_off + SYSCALL_SIZE))
		return -ENOTSUP;
	return jump_to_slot(mm, t, p);
}

static int patch_new(struct mm *mm, struct task *t, const struct usertrap_plan *plan)
{
	struct patch p = { .plan = *plan };
	uint8_t code[USERTRAP_SLOT_SIZE];
	struct area *a;
	int err;

	err = make_room(mm->patches);
	if (err)
		return err;
	a = choose_area(mm, t, plan->site);
	if (!a)
		return -ENOSPC;
	p.slot = a->addr + (a->used + 1ull) * USERTRAP_SLOT_SIZE;
	err = usertrap_emit(&p.plan, p.slot, code);
	if (!err)
		err = write_slot(mm, t, p.slot, code);
	if (err)
		return err;
	a->site[++a->used] = plan->site;
	err = jump_to_slot(mm, t, &p);
	add_site(mm->patches, &p);
	return err;
}

/* Not what the program may change, or shows to others. */
static bool may_patch(struct mm *mm, const struct vma *v, uint64_t addr)
{
	struct pma *p = pma_at(mm, addr);

	return v && !v->shared && !v->fixed && !v->growsdown && (v->prot & PROT_EXEC) &&
	       !(v->prot & PROT_WRITE) && p && p->mapped;
}

static int patch_locked(struct mm *mm, struct task *t, uint64_t ip)
{
	struct vma *v = vma_at(mm, ip);
	struct usertrap_plan plan;
	struct patch *p;
	int err;

	if (!get_patches(mm))
		return -ENOMEM;
	if (!may_patch(mm, v, ip) || find_area(mm->patches, ip))
		return -EACCES;
	if (overlaps_patch(mm->patches, ip, ip + SYSCALL_SIZE))
		return -EALREADY;
	err = examine(mm, t, v, ip, &plan);
	if (err)
		return err;
	if (vma_at(mm, plan.site) != v || !may_patch(mm, v, plan.site) ||
	    overlaps_patch(mm->patches, plan.site, ip))
		return -EACCES;
	p = find_site(mm->patches, plan.site);
	return p ? patch_again(mm, t, p, &plan) : patch_new(mm, t, &plan);
}

static void try_patch(struct task *t, uint64_t ip)
{
	struct mm *mm = t->mm;
	int err;

	pthread_mutex_lock(&mm->lock);
	err = patch_locked(mm, t, ip);
	pthread_mutex_unlock(&mm->lock);
	if (!err)
		atomic_fetch_add_explicit(&mm->kernel->patch_count, 1, memory_order_relaxed);
}

static inline uint64_t load_seen(_Atomic uint64_t *entry)
{
	return atomic_load_explicit(entry, memory_order_relaxed);
}

/*
 * The entry of a site, or else the one of its set that is worth the least: so sites
 * that take turns do not keep each other from being patched.
 */
static _Atomic uint64_t *find_seen(struct mm *mm, uint64_t ip)
{
	_Atomic uint64_t *set = &mm->patch_seen[(ip * SEEN_HASH >> SEEN_HASH_SHIFT) * SEEN_WAYS];
	_Atomic uint64_t *least = set;
	unsigned int i;

	for (i = 0; i < SEEN_WAYS; i++) {
		if (load_seen(&set[i]) >> SEEN_SHIFT == ip)
			return &set[i];
		if ((load_seen(&set[i]) & SEEN_NEVER) < (load_seen(least) & SEEN_NEVER))
			least = &set[i];
	}
	return least;
}

/*
 * Threads share the counts without a lock: one that is lost only puts a patch off.
 */
void patch_syscall(struct task *t)
{
	uint64_t ip = t->regs->rip - SYSCALL_SIZE, seen;
	_Atomic uint64_t *entry = find_seen(t->mm, ip);

	atomic_fetch_add_explicit(&t->kernel->trap_count, 1, memory_order_relaxed);
	seen = load_seen(entry);
	if (seen >> SEEN_SHIFT != ip)
		seen = ip << SEEN_SHIFT;
	if ((seen & SEEN_NEVER) == SEEN_NEVER)
		return;
	if ((++seen & SEEN_NEVER) >= PATCH_AFTER)
		seen |= SEEN_NEVER;
	atomic_store_explicit(entry, seen, memory_order_relaxed);
	if ((seen & SEEN_NEVER) == SEEN_NEVER)
		try_patch(t, ip);
}

/* ---- leaving ---- */

/* What has been found out may no longer be so. */
static void clear_seen(struct mm *mm)
{
	unsigned int i;

	for (i = 0; i < PATCH_SEEN; i++)
		atomic_store_explicit(&mm->patch_seen[i], 0, memory_order_relaxed);
}

static int restore_site(struct mm *mm, struct task *t, struct patch *p)
{
	int err;

	if (!p->active)
		return 0;
	err = rewrite_page(mm, t, p->plan.site, p->plan.code, USERTRAP_JUMP_SIZE);
	if (!err)
		p->active = false;
	return err;
}

int patch_restore(struct mm *mm, struct task *t, uint64_t start, uint64_t end)
{
	struct mm_patches *ps = mm->patches;
	bool found = false;
	unsigned int i;
	int err = 0;

	if (likely(!ps))
		return 0;
	/* A jump is in one page, but what the slot has a copy of may go on in the next. */
	for (i = first_site_reaching(ps, start); !err && i < ps->nr_sites; i++) {
		if (ps->sites[i].plan.site >= end)
			break;
		if (patch_end(&ps->sites[i]) <= start)
			continue;
		err = restore_site(mm, t, &ps->sites[i]);
		found = true;
	}
	if (found)
		clear_seen(mm);
	return err;
}

/* The program takes a page of slots away: nothing may jump there any more. */
static int drop_area(struct mm *mm, struct task *t, struct area *a)
{
	struct mm_patches *ps = mm->patches;
	unsigned int i, kept = 0;
	int err = 0;

	for (i = 0; i < ps->nr_sites; i++) {
		if (page_down(ps->sites[i].slot) != a->addr)
			ps->sites[kept++] = ps->sites[i];
		else if (!err)
			err = restore_site(mm, t, &ps->sites[i]);
	}
	ps->nr_sites = kept;
	clear_seen(mm);
	*a = ps->areas[--ps->nr_areas];
	return err;
}

int patch_forget(struct mm *mm, struct task *t, uint64_t start, uint64_t end)
{
	struct mm_patches *ps = mm->patches;
	bool found = false;
	unsigned int i;
	int err;

	if (likely(!ps))
		return 0;
	/* What begins before stays. */
	err = patch_restore(mm, t, start, start);
	for (i = first_site(ps, start); i < ps->nr_sites && ps->sites[i].plan.site < end; i++) {
		ps->sites[i].active = false;
		found = true;
	}
	if (found)
		clear_seen(mm);
	for (i = ps->nr_areas; !err && i--;)
		if (ps->areas[i].addr >= start && ps->areas[i].addr < end)
			err = drop_area(mm, t, &ps->areas[i]);
	return err;
}

/* ---- threads in slots ---- */

/* Is the address of the fault that of the instruction? Then it moves along. */
static bool tells_ip(const struct platform_event *ev, uint64_t ip)
{
	return ev->kind == PLATFORM_SIGNAL && (uint64_t)(uintptr_t)ev->info.si_addr == ip &&
	       (ev->info.si_signo == SIGILL || ev->info.si_signo == SIGFPE ||
		ev->info.si_signo == SIGTRAP);
}

static bool leave_slot_locked(struct mm_patches *ps, struct user_regs_struct *r,
			      struct platform_event *ev)
{
	struct area *a = find_area(ps, r->rip);
	uint64_t ip, off = r->rip & ~PAGE_MASK;
	enum usertrap_progress progress;
	struct patch *p;

	p = a ? find_site(ps, a->site[off / USERTRAP_SLOT_SIZE]) : NULL;
	if (!p)
		return false;
	progress = usertrap_original_ip(&p->plan, off % USERTRAP_SLOT_SIZE, &ip);
	if (progress == USERTRAP_NOWHERE)
		return false;
	/* A step from the anchor has not executed it yet: step on. */
	if (progress == USERTRAP_AT_START && ev->kind == PLATFORM_SIGNAL &&
	    ev->info.si_signo == SIGTRAP)
		return true;
	if (tells_ip(ev, r->rip))
		ev->info.si_addr = (void *)(uintptr_t)ip;
	r->rip = ip;
	return false;
}

bool patch_leave_slot(struct task *t, struct platform_event *ev)
{
	struct mm *mm = t->mm;
	bool ignore = false;

	pthread_mutex_lock(&mm->lock);
	if (mm->patches)
		ignore = leave_slot_locked(mm->patches, t->regs, ev);
	pthread_mutex_unlock(&mm->lock);
	return ignore;
}

/* ---- life ---- */

/*
 * Mappings that the child does not get take their patches with them. Where a page of
 * slots was, the program may map whatever it likes.
 */
static int check_child(struct mm *to)
{
	struct mm_patches *ps = to->patches;
	unsigned int i;
	int err = 0;

	for (i = 0; i < ps->nr_sites; i++)
		if (ps->sites[i].active && !pma_at(to, ps->sites[i].plan.site))
			ps->sites[i].active = false;
	for (i = ps->nr_areas; !err && i--;)
		if (!pma_at(to, ps->areas[i].addr))
			err = drop_area(to, NULL, &ps->areas[i]);
	return err;
}

int patch_fork(const struct mm *from, struct mm *to)
{
	const struct mm_patches *ps = from->patches;
	struct mm_patches *copy;

	if (!ps)
		return 0;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *ps;
	copy->max_sites = ps->nr_sites;
	copy->sites = malloc(MAX(ps->nr_sites, 1u) * sizeof(*copy->sites));
	if (!copy->sites) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy->sites, ps->sites, ps->nr_sites * sizeof(*copy->sites));
	to->patches = copy;
	return check_child(to);
}

void patch_destroy(struct mm *mm)
{
	if (!mm->patches)
		return;
	free(mm->patches->sites);
	free(mm->patches);
}
