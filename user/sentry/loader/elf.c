// SPDX-License-Identifier: MIT
/*
 * elf.c - put ELF programs into an mm
 *
 * The file is hostile: libelf decodes the headers, every number in them is
 * checked before it is used.
 */
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "sentry/loader/internal.h"

#define PHNUM_MAX 128u

/**
 * struct elf_file - decoded headers of an ELF file
 * @phdrs: all program headers
 */
struct elf_file {
	struct file *file;
	GElf_Ehdr ehdr;
	GElf_Phdr phdrs[PHNUM_MAX];
	size_t phnum;
};

static int check_ehdr(const GElf_Ehdr *eh)
{
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    eh->e_machine != EM_X86_64 ||
	    (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) ||
	    eh->e_phentsize != sizeof(Elf64_Phdr) || !eh->e_phnum ||
	    eh->e_phnum > PHNUM_MAX || eh->e_phoff > 1u << 30)
		return -ENOEXEC;
	return 0;
}

static int decode(struct elf_file *ef, char *buf, size_t len)
{
	Elf *elf = elf_memory(buf, len);
	int err = -ENOEXEC;
	size_t i;

	if (!elf)
		return -ENOEXEC;
	if (!gelf_getehdr(elf, &ef->ehdr) || check_ehdr(&ef->ehdr))
		goto out;
	ef->phnum = ef->ehdr.e_phnum;
	if (ef->ehdr.e_phoff + ef->phnum * sizeof(Elf64_Phdr) > len)
		goto out;
	for (i = 0; i < ef->phnum; i++)
		if (!gelf_getphdr(elf, (int)i, &ef->phdrs[i]))
			goto out;
	err = 0;
out:
	elf_end(elf);
	return err;
}

/* Read and decode the headers; in nearly all files one page holds them. */
static int read_headers(struct task *t, struct elf_file *ef)
{
	Elf64_Ehdr *eh;
	size_t need;
	char *buf;
	ssize_t n;
	int err = -ENOEXEC;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	buf = malloc(PAGE_SIZE);
	if (!buf)
		return -ENOMEM;
	n = file_pread(t, ef->file, buf, PAGE_SIZE, 0);
	if (n < (ssize_t)sizeof(*eh))
		goto out;
	eh = (Elf64_Ehdr *)buf;
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_phoff > 1u << 20)
		goto out;
	need = eh->e_phoff + (size_t)eh->e_phnum * sizeof(Elf64_Phdr);
	if (need > (size_t)n) {
		free(buf);
		buf = malloc(need);
		if (!buf)
			return -ENOMEM;
		n = file_pread(t, ef->file, buf, need, 0);
		if (n < (ssize_t)need)
			goto out;
	}
	err = decode(ef, buf, (size_t)n);
out:
	free(buf);
	return err;
}

static int phdr_prot(const GElf_Phdr *ph)
{
	return (ph->p_flags & PF_R ? PROT_READ : 0) |
	       (ph->p_flags & PF_W ? PROT_WRITE : 0) |
	       (ph->p_flags & PF_X ? PROT_EXEC : 0);
}

static bool phdr_ok(const GElf_Phdr *ph)
{
	const uint64_t limit = 1ull << 46;

	return ph->p_filesz <= ph->p_memsz && ph->p_vaddr < limit &&
	       ph->p_memsz < limit && ph->p_offset < limit &&
	       !((ph->p_vaddr - ph->p_offset) & ~PAGE_MASK);
}

/* Range of addresses of all PT_LOAD segments, before relocation. */
static int image_range(const struct elf_file *ef, uint64_t *start,
		       uint64_t *end)
{
	size_t i;

	*start = UINT64_MAX;
	*end = 0;
	for (i = 0; i < ef->phnum; i++) {
		const GElf_Phdr *ph = &ef->phdrs[i];

		if (ph->p_type != PT_LOAD || !ph->p_memsz)
			continue;
		/* The ELF specification wants them in ascending order. */
		if (!phdr_ok(ph) || (*end && ph->p_vaddr < *start))
			return -ENOEXEC;
		*start = MIN(*start, page_down(ph->p_vaddr));
		*end = MAX(*end, page_up(ph->p_vaddr + ph->p_memsz));
	}
	return *end ? 0 : -ENOEXEC;
}

static int map_fixed(struct mm *mm, struct task *t, uint64_t addr,
		     uint64_t len, int prot, struct file *file, uint64_t off)
{
	int64_t at = mm_map(mm, t, addr, len, prot,
			    MAP_PRIVATE | MAP_FIXED |
				    (file ? 0 : MAP_ANONYMOUS),
			    file, off);

	return at < 0 ? (int)at : 0;
}

/* Clear what the page after the end of file data shows of the file. */
static int clear_tail(struct mm *mm, struct task *t, uint64_t addr)
{
	static const char zeroes[PAGE_SIZE];
	size_t n = page_up(addr) - addr;

	return mm_copy(mm, t, addr, (void *)zeroes, n, true) == n ? 0 :
								    -ENOMEM;
}

static int load_segment(struct mm *mm, struct task *t, struct file *file,
			const GElf_Phdr *ph, uint64_t base)
{
	uint64_t start = page_down(base + ph->p_vaddr);
	uint64_t file_end = base + ph->p_vaddr + ph->p_filesz;
	uint64_t mem_end = page_up(base + ph->p_vaddr + ph->p_memsz);
	uint64_t bss = ph->p_filesz ? page_up(file_end) : start;
	int prot = phdr_prot(ph), err = 0;

	if (bss > start)
		err = map_fixed(mm, t, start, bss - start, prot, file,
				page_down(ph->p_offset));
	if (!err && ph->p_filesz && ph->p_memsz > ph->p_filesz &&
	    (prot & PROT_WRITE) && (file_end & ~PAGE_MASK))
		err = clear_tail(mm, t, file_end);
	if (!err && mem_end > bss)
		err = map_fixed(mm, t, bss, mem_end - bss, prot, NULL, 0);
	return err;
}

static int choose_base(struct mm *mm, const struct elf_file *ef,
		       bool interpreter, uint64_t start, uint64_t end,
		       uint64_t *base)
{
	uint64_t at;

	*base = 0;
	if (ef->ehdr.e_type == ET_EXEC) {
		if (start < mm->kernel->platform->min_user_address ||
		    !vma_range_free(mm, start, end))
			return -ENOEXEC;
		return 0;
	}
	at = vma_find_room(mm, end - start, interpreter ? 0 :
			   ELF_PIE_BASE + random_offset(1u << 20), mm->mmap_top);
	if (!at)
		return -ENOMEM;
	*base = at - start;
	return 0;
}

static int read_interp(struct task *t, const struct elf_file *ef,
		       const GElf_Phdr *ph, struct elf_image *img)
{
	ssize_t n;

	if (ph->p_filesz < 2 || ph->p_filesz > sizeof(img->interp))
		return -ENOEXEC;
	n = file_pread(t, ef->file, img->interp, ph->p_filesz,
		       (off_t)ph->p_offset);
	if (n != (ssize_t)ph->p_filesz || img->interp[n - 1])
		return n < 0 ? (int)n : -ENOEXEC;
	return 0;
}

static void note_segment(const struct elf_file *ef, const GElf_Phdr *ph,
			 uint64_t base, struct elf_image *img)
{
	uint64_t start = base + ph->p_vaddr;

	if (ef->ehdr.e_phoff >= ph->p_offset &&
	    ef->ehdr.e_phoff - ph->p_offset < ph->p_filesz)
		img->phdr = start + (ef->ehdr.e_phoff - ph->p_offset);
	if (ph->p_flags & PF_X) {
		img->start_code = MIN(img->start_code, start);
		img->end_code = MAX(img->end_code, start + ph->p_filesz);
	}
	img->end = MAX(img->end, start + ph->p_memsz);
}

static int load(struct mm *mm, struct task *t, const struct elf_file *ef,
		bool interpreter, struct elf_image *img)
{
	uint64_t start, end;
	size_t i;
	int err;

	err = image_range(ef, &start, &end);
	if (!err)
		err = choose_base(mm, ef, interpreter, start, end,
				  &img->base);
	for (i = 0; i < ef->phnum && !err; i++) {
		const GElf_Phdr *ph = &ef->phdrs[i];

		if (ph->p_type == PT_INTERP && !interpreter &&
		    !img->interp[0])
			err = read_interp(t, ef, ph, img);
		if (ph->p_type != PT_LOAD || !ph->p_memsz)
			continue;
		err = load_segment(mm, t, ef->file, ph, img->base);
		note_segment(ef, ph, img->base, img);
	}
	img->phnum = ef->phnum;
	img->entry = img->base + ef->ehdr.e_entry;
	return err;
}

int elf_load(struct mm *mm, struct task *t, struct file *file,
	     bool interpreter, struct elf_image *img)
{
	struct elf_file *ef = calloc(1, sizeof(*ef));
	int err;

	if (!ef)
		return -ENOMEM;
	memset(img, 0, sizeof(*img));
	img->start_code = UINT64_MAX;
	ef->file = file;
	err = read_headers(t, ef);
	if (err == -ENOEXEC && interpreter)
		err = -ELIBBAD;
	if (!err)
		err = load(mm, t, ef, interpreter, img);
	free(ef);
	return err;
}
