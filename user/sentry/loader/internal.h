/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of loader/ share
 */
#ifndef _SENTRY_LOADER_INTERNAL_H
#define _SENTRY_LOADER_INTERNAL_H

#include "sentry/mm/internal.h"

/**
 * struct elf_image - an ELF file put into an mm
 * @base: what was added to its addresses
 * @entry: first instruction
 * @phdr, @phnum: its program headers, in memory; 0 if not loaded
 * @start_code, @end_code: executable part
 * @end: first address after it, bss included
 * @interp: path of the program interpreter, "" for none
 */
struct elf_image {
	uint64_t base, entry;
	uint64_t phdr, phnum;
	uint64_t start_code, end_code, end;
	char interp[PATH_MAX];
};

/* Where a position-independent program goes if nothing is in the way. */
#define ELF_PIE_BASE 0x555555554000ull

/**
 * elf_load() - map an ELF file
 * @mm: new mm, locked
 * @t: calling task
 * @file: the file
 * @interpreter: it is a program interpreter: anywhere
 * @img: filled
 *
 * Return: 0; -ENOEXEC; -ELIBBAD for a bad interpreter; -ENOMEM; -EIO.
 */
int elf_load(struct mm *mm, struct task *t, struct file *file,
	     bool interpreter, struct elf_image *img);

/**
 * stack_create() - the first stack of a program
 * @mm: new mm, locked
 * @t: calling task
 * @argv, @envp: NULL-terminated
 * @execfn: for AT_EXECFN
 * @prog: the program
 * @interp_base: where its interpreter is, 0 for none
 * @sp: set to the stack pointer
 *
 * Return: 0; -E2BIG; -ENOMEM.
 */
int stack_create(struct mm *mm, struct task *t, char *const *argv,
		 char *const *envp, const char *execfn,
		 const struct elf_image *prog, uint64_t interp_base,
		 uint64_t *sp);

/* A random number of pages below @max_pages, in bytes. */
uint64_t random_offset(uint64_t max_pages);

#endif /* _SENTRY_LOADER_INTERNAL_H */
