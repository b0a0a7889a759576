// SPDX-License-Identifier: MIT
/*
 * usertrap_elf.c - where the function around an instruction starts
 *
 * In this order:
 *  1. the binary search table of .eh_frame_hdr, which nearly every program has for
 *     all of its functions, assembler ones included, stripped or not;
 *  2. a symbol of .symtab or .dynsym of the file (musl, Go);
 *  3. guesses: a multiple of 16 behind padding, or endbr64 at one; else the start of
 *     the mapping. Generated code has nothing else.
 *
 * All of it belongs to the program: every offset is checked, every loop bounded.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "usertrap.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))

#define PHDRS_MAX 32
#define SHDRS_MAX 128

/* Symbols are read in pieces, and no more of them than this. */
#define SYMBOLS_CHUNK 256
#define SYMBOLS_MAX 65536
/* SHT_SYMTAB and SHT_DYNSYM: the ABI allows one of each. */
#define TABLES_MAX 2

/* How far back to look for padding. */
#define PADDING_WINDOW 2048
#define FUNCTION_ALIGN 16

/* .eh_frame_hdr as all linkers write it. */
#define HDR_VERSION 1
#define ENC_PCREL_SDATA4 0x1b
#define ENC_UDATA4 0x03
#define ENC_DATAREL_SDATA4 0x3b

struct eh_frame_hdr {
	uint8_t version, frame_enc, count_enc, table_enc;
	int32_t frame;
	uint32_t count;
};

struct eh_entry {
	int32_t pc, fde; /* relative to the header */
};

/* Up to the range; pointers of the usual encoding, pcrel | sdata4. */
struct fde {
	uint32_t len;
	uint32_t cie;
	int32_t pc;
	uint32_t range;
};

/**
 * struct image - the ELF file that is mapped around the instruction
 * @bias: what to add to its addresses
 * @hdr: address of .eh_frame_hdr, 0 if it has none
 */
struct image {
	uint64_t bias;
	uint64_t hdr;
};

static bool read_exact(const struct usertrap_source *src, uint64_t addr, void *buf, size_t len)
{
	return src->read(src->arg, addr, buf, len) == (ssize_t)len;
}

static bool is_elf64(const Elf64_Ehdr *eh)
{
	return !memcmp(eh->e_ident, ELFMAG, SELFMAG) && eh->e_ident[EI_CLASS] == ELFCLASS64;
}

static bool find_image(const struct usertrap_source *src, struct image *img)
{
	Elf64_Phdr ph[PHDRS_MAX];
	bool loaded = false;
	Elf64_Ehdr eh;
	unsigned int i;

	if (!src->image || !read_exact(src, src->image, &eh, sizeof(eh)) || !is_elf64(&eh) ||
	    eh.e_phentsize != sizeof(*ph) || !eh.e_phnum || eh.e_phnum > PHDRS_MAX ||
	    !read_exact(src, src->image + eh.e_phoff, ph, eh.e_phnum * sizeof(*ph)))
		return false;
	*img = (struct image){ 0 };
	for (i = 0; i < eh.e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD && !loaded) {
			img->bias = src->image - (ph[i].p_vaddr - ph[i].p_offset);
			loaded = true;
		} else if (ph[i].p_type == PT_GNU_EH_FRAME) {
			img->hdr = ph[i].p_vaddr;
		}
	}
	if (img->hdr)
		img->hdr += img->bias;
	return loaded;
}

/* ---- .eh_frame_hdr ---- */

static bool read_entry(const struct usertrap_source *src, uint64_t hdr, uint32_t index,
		       struct eh_entry *e)
{
	return read_exact(src, hdr + sizeof(struct eh_frame_hdr) + index * sizeof(*e), e,
			  sizeof(*e));
}

/* The last entry that does not start behind @ip. */
static bool search_table(const struct usertrap_source *src, uint64_t hdr, uint32_t count,
			 uint64_t ip, struct eh_entry *found)
{
	uint32_t low = 0, high = count;
	struct eh_entry e;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (!read_entry(src, hdr, mid, &e))
			return false;
		if (hdr + (uint64_t)(int64_t)e.pc <= ip)
			low = mid + 1;
		else
			high = mid;
	}
	return low && read_entry(src, hdr, low - 1, found);
}

/* The entry's description must tell the same start, and reach as far as @ip. */
static bool fde_covers(const struct usertrap_source *src, uint64_t fde_addr, uint64_t start,
		       uint64_t ip)
{
	uint64_t pc_addr = fde_addr + offsetof(struct fde, pc);
	struct fde fde;

	if (!read_exact(src, fde_addr, &fde, sizeof(fde)))
		return false;
	return pc_addr + (uint64_t)(int64_t)fde.pc == start && ip - start < fde.range;
}

static bool from_unwind_table(const struct usertrap_source *src, const struct image *img,
			      uint64_t ip, uint64_t *start)
{
	struct eh_frame_hdr hdr;
	struct eh_entry e;

	if (!img->hdr || !read_exact(src, img->hdr, &hdr, sizeof(hdr)) ||
	    hdr.version != HDR_VERSION || hdr.frame_enc != ENC_PCREL_SDATA4 ||
	    hdr.count_enc != ENC_UDATA4 || hdr.table_enc != ENC_DATAREL_SDATA4)
		return false;
	if (!search_table(src, img->hdr, hdr.count, ip, &e))
		return false;
	*start = img->hdr + (uint64_t)(int64_t)e.pc;
	return fde_covers(src, img->hdr + (uint64_t)(int64_t)e.fde, *start, ip);
}

/* ---- symbols ---- */

static bool read_file(const struct usertrap_source *src, uint64_t off, void *buf, size_t len)
{
	return src->read_file && src->read_file(src->arg, off, buf, len) == (ssize_t)len;
}

static bool symbol_covers(const Elf64_Sym *sym, uint64_t addr)
{
	return ELF64_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_shndx != SHN_UNDEF &&
	       addr >= sym->st_value && addr - sym->st_value < sym->st_size;
}

static bool search_symbols(const struct usertrap_source *src, const Elf64_Shdr *sh, uint64_t addr,
			   uint64_t *value)
{
	uint64_t count = MIN(sh->sh_size / sizeof(Elf64_Sym), SYMBOLS_MAX), done, n, i;
	Elf64_Sym syms[SYMBOLS_CHUNK];

	for (done = 0; done < count; done += n) {
		n = MIN(count - done, SYMBOLS_CHUNK);
		if (!read_file(src, sh->sh_offset + done * sizeof(*syms), syms, n * sizeof(*syms)))
			return false;
		for (i = 0; i < n; i++) {
			if (symbol_covers(&syms[i], addr)) {
				*value = syms[i].st_value;
				return true;
			}
		}
	}
	return false;
}

static bool from_symbols(const struct usertrap_source *src, const struct image *img, uint64_t ip,
			 uint64_t *start)
{
	Elf64_Ehdr eh;
	unsigned int i, tables = 0;
	Elf64_Shdr sh;

	if (!read_file(src, 0, &eh, sizeof(eh)) || !is_elf64(&eh) ||
	    eh.e_shentsize != sizeof(sh))
		return false;
	for (i = 0; i < MIN(eh.e_shnum, SHDRS_MAX) && tables < TABLES_MAX; i++) {
		if (!read_file(src, eh.e_shoff + i * sizeof(sh), &sh, sizeof(sh)))
			return false;
		if (sh.sh_type != SHT_SYMTAB && sh.sh_type != SHT_DYNSYM)
			continue;
		tables++;
		if (search_symbols(src, &sh, ip - img->bias, start)) {
			*start += img->bias;
			return true;
		}
	}
	return false;
}

/* ---- guesses ---- */

/* What assemblers and compilers put in front of a function, or end it with. */
static const struct {
	uint8_t len;
	uint8_t bytes[8];
} paddings[] = {
	{ 2, { 0xcc, 0xcc } },
	{ 2, { 0x90, 0x90 } },
	{ 2, { 0x66, 0x90 } },
	{ 3, { 0x0f, 0x1f, 0x00 } },
	{ 4, { 0x0f, 0x1f, 0x40, 0x00 } },
	{ 5, { 0x0f, 0x1f, 0x44, 0x00, 0x00 } },
	{ 7, { 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 } },
	{ 8, { 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 } },
};

#define PADDING_LEN_MAX 8

/* @code: what begins PADDING_LEN_MAX bytes in front of the place. */
static bool looks_like_start(const uint8_t *code)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	const uint8_t *place = code + PADDING_LEN_MAX;
	unsigned int i;

	for (i = 0; i < sizeof(paddings) / sizeof(paddings[0]); i++) {
		if (!memcmp(place - paddings[i].len, paddings[i].bytes, paddings[i].len))
			return true;
	}
	return !memcmp(place, endbr64, sizeof(endbr64));
}

static bool from_padding(const struct usertrap_source *src, uint64_t ip, unsigned int nth,
			 uint64_t *start)
{
	uint64_t window = MIN(ip - src->start, PADDING_WINDOW), back;
	uint8_t code[PADDING_WINDOW + 4];

	if (!read_exact(src, ip - window, code, window + 2))
		return false;
	/* Distances: an address could be less than one from the ends of all memory. */
	for (back = ip % FUNCTION_ALIGN; back + PADDING_LEN_MAX <= window; back += FUNCTION_ALIGN) {
		if (back >= 4 && looks_like_start(code + (window - back - PADDING_LEN_MAX)) &&
		    !nth--) {
			*start = ip - back;
			return true;
		}
	}
	return false;
}

static int guess(const struct usertrap_source *src, uint64_t ip, unsigned int nth, uint64_t *start)
{
	if (from_padding(src, ip, nth, start))
		return USERTRAP_PADDING;
	if (nth || ip - src->start >= USERTRAP_FUNCTION_MAX)
		return -ENOENT;
	*start = src->start;
	return USERTRAP_MAPPING;
}

int usertrap_function_start(const struct usertrap_source *src, uint64_t ip, unsigned int nth,
			    uint64_t *start)
{
	struct image img;

	if (find_image(src, &img)) {
		if (from_unwind_table(src, &img, ip, start))
			return nth ? -ENOENT : USERTRAP_UNWIND_TABLE;
		if (from_symbols(src, &img, ip, start))
			return nth ? -ENOENT : USERTRAP_SYMBOL;
	}
	return guess(src, ip, nth, start);
}
