// SPDX-License-Identifier: MIT
/*
 * stack.c - the first stack of a program: strings, vectors, auxiliary vector
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include "sentry/loader/internal.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define STACK_DEFAULT (8ul << 20)
#define STACK_MAX (1ul << 30)
/* Linux's limit for the length of one string. */
#define STRING_MAX (32 * PAGE_SIZE)
/* The stack begins at random within this many pages of the top. */
#define STACK_RANDOM_PAGES (1u << 18)
/* Room between the stack and what mmap() hands out. */
#define STACK_GAP (1ul << 20)

/**
 * struct stack_image - the top of the stack, while it is put together
 * @buf: its bytes; filled from the end
 * @size: bytes at @buf
 * @pos: first byte in use
 * @top: program address of the end of @buf
 */
struct stack_image {
	char *buf;
	size_t size, pos;
	uint64_t top;
};

uint64_t random_offset(uint64_t max_pages)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = monotonic_ns();
	return r % max_pages * PAGE_SIZE;
}

static uint64_t push(struct stack_image *st, const void *data, size_t len)
{
	st->pos -= len;
	memcpy(st->buf + st->pos, data, len);
	return st->top - (st->size - st->pos);
}

static uint64_t push_string(struct stack_image *st, const char *s)
{
	return push(st, s, strlen(s) + 1);
}

/* Pushes the strings, last first; addresses go to @out. */
static void push_strings(struct stack_image *st, char *const *v, size_t n,
			 uint64_t *out)
{
	while (n--)
		out[n] = push_string(st, v[n]);
}

static int count(char *const *v, size_t *n, size_t *bytes)
{
	size_t len;

	for (*n = 0; v[*n]; (*n)++) {
		len = strlen(v[*n]) + 1;
		if (len > STRING_MAX)
			return -E2BIG;
		*bytes += len + sizeof(uint64_t);
	}
	return 0;
}

static uint64_t stack_size(struct task *t)
{
	uint64_t size;

	pthread_mutex_lock(&t->tg->lock);
	size = t->tg->rlimits[RLIMIT_STACK].rlim_cur;
	pthread_mutex_unlock(&t->tg->lock);
	if (!size || size == RLIM_INFINITY)
		size = STACK_DEFAULT;
	return page_up(MAX(MIN(size, STACK_MAX), 128ul << 10));
}

static int map_stack(struct mm *mm, struct task *t, uint64_t *top)
{
	uint64_t size = stack_size(t);
	uint64_t hint = mm->mmap_top - size -
			random_offset(STACK_RANDOM_PAGES);
	int64_t at;

	at = mm_map(mm, t, hint, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, NULL, 0);
	if (at < 0)
		return (int)at;
	vma_at(mm, (uint64_t)at)->name = "[stack]";
	*top = (uint64_t)at + size;
	mm->mmap_top = (uint64_t)at - STACK_GAP -
		       random_offset(STACK_RANDOM_PAGES);
	mm->search_from = mm->mmap_top;
	return 0;
}

static void aux(struct mm *mm, uint64_t type, uint64_t value)
{
	size_t i = mm->auxv_len / sizeof(uint64_t);

	mm->auxv[i] = type;
	mm->auxv[i + 1] = value;
	mm->auxv_len += 2 * sizeof(uint64_t);
}

static void fill_auxv(struct mm *mm, struct task *t,
		      const struct elf_image *prog, uint64_t interp_base,
		      uint64_t execfn, uint64_t platform, uint64_t random)
{
	if (mm->kernel->platform->vdso.ehdr)
		aux(mm, AT_SYSINFO_EHDR, mm->kernel->platform->vdso.ehdr);
	aux(mm, AT_HWCAP, cpuid_hwcap(&mm->kernel->cpu));
	aux(mm, AT_PAGESZ, PAGE_SIZE);
	aux(mm, AT_CLKTCK, 100);
	aux(mm, AT_PHDR, prog->phdr);
	aux(mm, AT_PHENT, sizeof(Elf64_Phdr));
	aux(mm, AT_PHNUM, prog->phnum);
	aux(mm, AT_BASE, interp_base);
	aux(mm, AT_FLAGS, 0);
	aux(mm, AT_ENTRY, prog->entry);
	aux(mm, AT_UID, t->cred.uid);
	aux(mm, AT_EUID, t->cred.euid);
	aux(mm, AT_GID, t->cred.gid);
	aux(mm, AT_EGID, t->cred.egid);
	aux(mm, AT_SECURE, 0);
	aux(mm, AT_RANDOM, random);
	aux(mm, AT_HWCAP2, cpuid_hwcap2(&mm->kernel->cpu, getauxval(AT_HWCAP2)));
	aux(mm, AT_EXECFN, execfn);
	aux(mm, AT_PLATFORM, platform);
	if (getauxval(AT_MINSIGSTKSZ))
		aux(mm, AT_MINSIGSTKSZ, getauxval(AT_MINSIGSTKSZ));
	aux(mm, AT_NULL, 0);
}

/* Vectors below the strings: argc, argv, envp, auxv. */
static void push_vectors(struct stack_image *st, struct mm *mm,
			 const uint64_t *args, uint64_t argc, size_t envc)
{
	const uint64_t zero = 0;
	size_t words = 1 + argc + 1 + envc + 1 + mm->auxv_len / 8;

	st->pos &= ~15ul;
	if (words & 1)
		st->pos -= 8;
	push(st, mm->auxv, mm->auxv_len);
	push(st, &zero, sizeof(zero));
	push(st, args + argc, envc * sizeof(*args));
	push(st, &zero, sizeof(zero));
	push(st, args, argc * sizeof(*args));
	push(st, &argc, sizeof(argc));
}

static void fill_image(struct stack_image *st, struct mm *mm, struct task *t,
		       char *const *argv, size_t argc, char *const *envp,
		       size_t envc, const char *execfn,
		       const struct elf_image *prog, uint64_t interp_base,
		       uint64_t *args)
{
	const uint64_t zero = 0;
	uint64_t fn, platform, random;
	char bytes[16];

	push(st, &zero, sizeof(zero));
	fn = push_string(st, execfn);
	mm->info.env_end = fn;
	push_strings(st, envp, envc, args + argc);
	mm->info.env_start = envc ? args[argc] : mm->info.env_end;
	mm->info.arg_end = mm->info.env_start;
	push_strings(st, argv, argc, args);
	mm->info.arg_start = argc ? args[0] : mm->info.arg_end;
	platform = push_string(st, "x86_64");
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		memset(bytes, 0, sizeof(bytes));
	random = push(st, bytes, sizeof(bytes));
	fill_auxv(mm, t, prog, interp_base, fn, platform, random);
	push_vectors(st, mm, args, argc, envc);
}

int stack_create(struct mm *mm, struct task *t, char *const *argv,
		 char *const *envp, const char *execfn,
		 const struct elf_image *prog, uint64_t interp_base,
		 uint64_t *sp)
{
	struct stack_image st = { .size = 2048 + strlen(execfn) };
	uint64_t *args = NULL;
	size_t argc, envc;
	int err;

	err = count(argv, &argc, &st.size);
	if (!err)
		err = count(envp, &envc, &st.size);
	if (!err && st.size > stack_size(t) / 4)
		err = -E2BIG;
	if (!err)
		err = map_stack(mm, t, &st.top);
	if (err)
		return err;
	/* Positions in the buffer and on the stack are aligned alike. */
	st.size = (st.size + 15) & ~15ul;
	st.pos = st.size;
	st.buf = malloc(st.size);
	args = calloc(argc + envc + 1, sizeof(*args));
	err = -ENOMEM;
	if (!st.buf || !args)
		goto out;
	fill_image(&st, mm, t, argv, argc, envp, envc, execfn, prog,
		   interp_base, args);
	*sp = st.top - (st.size - st.pos);
	mm->info.start_stack = *sp;
	if (mm_copy(mm, t, *sp, st.buf + st.pos, st.size - st.pos, true) ==
	    st.size - st.pos)
		err = 0;
out:
	free(args);
	free(st.buf);
	return err;
}
