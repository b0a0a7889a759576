// SPDX-License-Identifier: MIT
/*
 * cpuid_scan.c - CPUID instructions in files that are mapped as code
 *
 * A program and its libraries are mapped anew by every process: what has been found
 * in a host file is kept, under the file's identity and the times of its last changes.
 * Functions are looked up in the file, not in memory, as its parts are mapped one
 * after the other.
 *
 * The file belongs to the program: offsets are checked, loops are bounded, and a page
 * that is gone when it is read ends the search (host_file_guard()).
 */
#include <elf.h>
#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "platform/cpuid_insn.h"
#include "platform/usertrap.h"
#include "sentry/mm/internal.h"

#define PHDRS_MAX 32

/* Where files are imagined to be mapped: address 0 would mean "nowhere". */
#define BASE (1ull << 40)

/* Places in a part of a file that may look like CPUID. */
#define TRIES_MAX 1024

/* Parts of files that are remembered. */
#define PARTS_MAX 512

/* ---- bytes ---- */

static inline __m128i pairs_at(const uint8_t *p)
{
	const __m128i first = _mm_set1_epi8(CPUID_BYTE_1), second = _mm_set1_epi8((char)CPUID_BYTE_2);

	return _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), first),
			     _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + 1)), second));
}

/* Megabytes are searched when a program starts: 64 bytes at a time. */
size_t cpuid_find_bytes(const uint8_t *p, size_t len)
{
	size_t i = 0;

	for (; i + 65 <= len; i += 64) {
		const __m128i any = _mm_or_si128(_mm_or_si128(pairs_at(p + i), pairs_at(p + i + 16)),
						 _mm_or_si128(pairs_at(p + i + 32),
							      pairs_at(p + i + 48)));

		if (unlikely(_mm_movemask_epi8(any)))
			break;
	}
	for (; i + 2 <= len; i++)
		if (p[i] == CPUID_BYTE_1 && p[i + 1] == CPUID_BYTE_2)
			return i;
	return len;
}

/* ---- a file ---- */

/**
 * struct image - a part of a file that is searched
 * @base, @size: the file
 * @off, @len: the part
 * @phdrs, @nr_phdrs: its segments; none if it is not ELF
 * @unwind: it has a table that knows all functions, so nothing needs to be guessed
 * @src, @walk: for usertrap.h
 * @site: second bytes found, file offsets
 * @nr: how many
 * @cpu: tells which ones may stay as they are
 * @left: places that are no CPUID, as far as can be shown
 * @native: instructions that need not be rewritten
 */
struct image {
	const uint8_t *base;
	uint64_t size;
	uint64_t off, len;
	Elf64_Phdr phdrs[PHDRS_MAX];
	unsigned int nr_phdrs;
	bool unwind;
	struct usertrap_source src;
	struct usertrap_walk walk;
	uint64_t site[TRIES_MAX];
	unsigned int nr, left, native;
	struct cpuid *cpu;
};

static bool in_file(const struct image *im, uint64_t off, uint64_t len)
{
	return off <= im->size && len <= im->size - off;
}

static const Elf64_Phdr *segment_at(const struct image *im, uint64_t vaddr)
{
	unsigned int i;

	for (i = 0; i < im->nr_phdrs; i++)
		if (im->phdrs[i].p_type == PT_LOAD && vaddr >= im->phdrs[i].p_vaddr &&
		    vaddr - im->phdrs[i].p_vaddr < im->phdrs[i].p_filesz)
			return &im->phdrs[i];
	return NULL;
}

static ssize_t read_address(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct image *im = arg;
	uint64_t vaddr = addr - BASE, off = vaddr;
	const Elf64_Phdr *ph;

	if (im->nr_phdrs) {
		ph = segment_at(im, vaddr);
		if (!ph || len > ph->p_filesz - (vaddr - ph->p_vaddr))
			return -EFAULT;
		off = ph->p_offset + (vaddr - ph->p_vaddr);
	}
	if (!in_file(im, off, len))
		return -EFAULT;
	memcpy(buf, im->base + off, len);
	return (ssize_t)len;
}

static ssize_t read_offset(void *arg, uint64_t off, void *buf, size_t len)
{
	const struct image *im = arg;

	if (!in_file(im, off, len))
		return -EFAULT;
	memcpy(buf, im->base + off, len);
	return (ssize_t)len;
}

/* The segments, if it is a program; what follows from them. */
static void read_phdrs(struct image *im)
{
	const Elf64_Phdr *first = NULL, *ph;
	bool unwind = false;
	Elf64_Ehdr eh;
	unsigned int i;

	if (read_offset(im, 0, &eh, sizeof(eh)) < 0 || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(*im->phdrs) ||
	    !eh.e_phnum || eh.e_phnum > PHDRS_MAX ||
	    read_offset(im, eh.e_phoff, im->phdrs, eh.e_phnum * sizeof(*im->phdrs)) < 0)
		return;
	for (i = 0; i < eh.e_phnum; i++) {
		ph = &im->phdrs[i];
		if (ph->p_type == PT_LOAD && !first)
			first = ph;
		/* Addresses wrap nowhere. */
		if (ph->p_type == PT_LOAD && (ph->p_vaddr >= BASE || ph->p_filesz >= BASE))
			return;
		unwind |= ph->p_type == PT_GNU_EH_FRAME;
	}
	if (!first)
		return;
	im->unwind = unwind;
	im->nr_phdrs = eh.e_phnum;
	im->src.image = BASE + first->p_vaddr - first->p_offset;
}

/* The address of an offset in code, 0 if there is none; sets the range around it. */
static uint64_t code_address(struct image *im, uint64_t off)
{
	const Elf64_Phdr *ph;
	unsigned int i;

	if (!im->nr_phdrs) {
		im->src.start = BASE + im->off;
		im->src.end = BASE + im->off + im->len;
		return BASE + off;
	}
	for (i = 0; i < im->nr_phdrs; i++) {
		ph = &im->phdrs[i];
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X) || off < ph->p_offset ||
		    off - ph->p_offset >= ph->p_filesz)
			continue;
		im->src.start = BASE + ph->p_vaddr;
		im->src.end = BASE + ph->p_vaddr + ph->p_filesz;
		return BASE + ph->p_vaddr + (off - ph->p_offset);
	}
	return 0;
}

static void consider(struct image *im, uint64_t off)
{
	uint64_t addr = code_address(im, off);

	if (!addr || usertrap_examine_cpuid(&im->src, addr, !im->unwind, &im->walk))
		im->left++;
	else if (im->walk.leaf_known && cpuid_is_native(im->cpu, im->walk.leaf))
		im->native++;
	else
		im->site[im->nr++] = off + 1;
}

static int search_image(void *arg)
{
	struct image *im = arg;
	uint64_t at = im->off, end = MIN(im->off + im->len, im->size);

	while (at < end && im->nr + im->left + im->native < TRIES_MAX) {
		at += cpuid_find_bytes(im->base + at, end - at);
		if (at >= end)
			break;
		/* Most files have none: their headers are of no interest. */
		if (!im->src.read) {
			im->src.read = read_address;
			im->src.read_file = read_offset;
			im->src.arg = im;
			read_phdrs(im);
		}
		consider(im, at++);
	}
	return 0;
}

/* ---- what is remembered ---- */

struct part_key {
	uint64_t dev, ino, size;
	struct timespec mtime, ctime;
	uint64_t off, len;
};

struct part {
	struct part_key key;
	uint64_t *site;
	unsigned int nr;
};

/* The oldest one is forgotten first. */
struct cpuid_files {
	pthread_mutex_t lock;
	struct part parts[PARTS_MAX];
	unsigned int nr, next;
};

static struct part *find_part(struct cpuid_files *cf, const struct part_key *key)
{
	unsigned int i;

	for (i = 0; i < cf->nr; i++)
		if (!memcmp(&cf->parts[i].key, key, sizeof(*key)))
			return &cf->parts[i];
	return NULL;
}

static int copy_sites(const uint64_t *site, unsigned int nr, struct cpuid_list *out)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < nr; i++)
		err = cpuid_list_add(out, site[i]);
	return err;
}

static bool recall(struct cpuid_files *cf, const struct part_key *key, struct cpuid_list *out,
		   int *err)
{
	struct part *part;

	pthread_mutex_lock(&cf->lock);
	part = find_part(cf, key);
	if (part)
		*err = copy_sites(part->site, part->nr, out);
	pthread_mutex_unlock(&cf->lock);
	return part;
}

/* Without memory it is searched again the next time. */
static void remember(struct cpuid_files *cf, const struct part_key *key, const uint64_t *site,
		     unsigned int nr)
{
	uint64_t *copy = nr ? malloc(nr * sizeof(*copy)) : NULL;
	struct part *part;

	if (nr && !copy)
		return;
	if (nr)
		memcpy(copy, site, nr * sizeof(*copy));
	pthread_mutex_lock(&cf->lock);
	part = &cf->parts[cf->next];
	cf->next = (cf->next + 1) % PARTS_MAX;
	cf->nr = MIN(cf->nr + 1, PARTS_MAX);
	free(part->site);
	*part = (struct part){ .key = *key, .site = copy, .nr = nr };
	pthread_mutex_unlock(&cf->lock);
}

static bool make_key(int fd, uint64_t off, uint64_t len, struct part_key *key)
{
	struct stat st;

	if (fstat(fd, &st))
		return false;
	memset(key, 0, sizeof(*key));
	key->dev = st.st_dev;
	key->ino = st.st_ino;
	key->size = (uint64_t)st.st_size;
	key->mtime = st.st_mtim;
	key->ctime = st.st_ctim;
	key->off = off;
	key->len = len;
	return true;
}

static int search_part(struct kernel *k, const struct pma *p, const struct part_key *key,
		       struct cpuid_list *out)
{
	struct image *im = calloc(1, sizeof(*im));
	int err = 0;

	if (!im)
		return -ENOMEM;
	im->off = key->off;
	im->len = key->len;
	im->cpu = &k->cpu;
	im->base = host_file_view(p->file, p->host_fd, &im->size);
	if (im->base && !host_file_guard(search_image, im)) {
		atomic_fetch_add_explicit(&k->cpuid_left, im->left, memory_order_relaxed);
		remember(k->cpuid_files, key, im->site, im->nr);
		err = copy_sites(im->site, im->nr, out);
	}
	free(im);
	return err;
}

int cpuid_scan_file(struct kernel *k, const struct pma *p, uint64_t off, uint64_t len,
		    struct cpuid_list *out)
{
	struct part_key key;
	int err = 0;

	if (!make_key(p->host_fd, off, len, &key) || recall(k->cpuid_files, &key, out, &err))
		return err;
	return search_part(k, p, &key, out);
}

int cpuid_files_create(struct kernel *k)
{
	k->cpuid_files = calloc(1, sizeof(*k->cpuid_files));
	if (!k->cpuid_files)
		return -ENOMEM;
	pthread_mutex_init(&k->cpuid_files->lock, NULL);
	return 0;
}

void cpuid_files_destroy(struct kernel *k)
{
	unsigned int i;

	if (!k->cpuid_files)
		return;
	for (i = 0; i < k->cpuid_files->nr; i++)
		free(k->cpuid_files->parts[i].site);
	pthread_mutex_destroy(&k->cpuid_files->lock);
	free(k->cpuid_files);
}
