// SPDX-License-Identifier: MIT
/*
 * objects - values, programs and objects for the fuzzer, by chance
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "torture/fuzz/fuzz.h"

uint64_t fuzz_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t chance(struct fuzzer *f)
{
	f->random += 0x9e3779b97f4a7c15ull;
	return fuzz_mix(f->random);
}

unsigned int pick(struct fuzzer *f, unsigned int n)
{
	return chance(f) % n;
}

uint64_t fuzz_nasty(struct fuzzer *f)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0xff, 4095, 4096, 4097, 0x10000,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7ffffffff000,
		0x7fffffffe000, 0x800000000000, 0x7fffffffffffffff, 0x8000000000000000,
		0xffff800000000000, 0xffffffff81000000, 0xffffffffff600000, -4096ull, -1ull,
		BOX_CODE, BOX_DATA, BOX_STACK, BOX_FREE,
	};

	if (!pick(f, 4))
		return chance(f) >> pick(f, 64);
	return values[pick(f, sizeof(values) / sizeof(*values))];
}

/* Changes one aligned value of an object; in 32 or 64 bits, or one bit of it. */
void fuzz_mutate(struct fuzzer *f, void *object, size_t size)
{
	volatile uint32_t *words = object;
	unsigned int at = pick(f, size / 4);
	uint64_t value = fuzz_nasty(f);

	switch (pick(f, 3)) {
	case 0:
		words[at] ^= 1u << pick(f, 32);
		break;
	case 1:
		words[at] = value;
		break;
	default:
		at &= ~1u;
		words[at] = value;
		if (at + 1 < size / 4)
			words[at + 1] = value >> 32;
	}
}

/* ---- programs ---- */

/* See PROGRAM_SIZE. */
BOX_PROGRAM(fuzz_programs,
	".balign 64\n 1: syscall\n jmp 1b\n"
	".balign 64\n 1: pause\n jmp 1b\n"
	".balign 64\n 1: int3\n jmp 1b\n"
	".balign 64\n 1: ud2\n jmp 1b\n"
	".balign 64\n 1: cpuid\n rdtsc\n mov %eax, %eax\n syscall\n jmp 1b\n"
	".balign 64\n 1: int $0x80\n jmp 1b\n"
	".balign 64\n 1: mov %rax, (%rbx)\n syscall\n jmp 1b\n"
	".balign 64\n 1: pxor %xmm0, %xmm0\n fninit\n hlt\n jmp 1b\n"
	".balign 64\n 1: mov (%rsp), %rax\n jmp *%rax\n"
	".balign 64\n 1: pushf\n orl $0x100, (%rsp)\n popf\n nop\n syscall\n jmp 1b\n"
	".balign 64\n 1: movq %rax, 0x20000000\n incq 0x20000008\n call 1b\n"
	".balign 64\n 1: xor %ecx, %ecx\n div %ecx\n jmp 1b\n");

void fuzz_load_registers(struct fuzzer *f, struct sandtrap_context_page *page)
{
	volatile struct sandtrap_regs *regs = &page->regs;

	/* Programs write to their own code, too. */
	if (!pick(f, 4))
		memcpy(fuzz.box.file, fuzz_programs, fuzz_programs_end - fuzz_programs);
	regs->rip = BOX_CODE + PROGRAM_SIZE * pick(f, PROGRAMS);
	regs->rsp = BOX_STACK_TOP;
	regs->rax = pick(f, 400);
	regs->rbx = fuzz_nasty(f);
	regs->eflags = 2;
	regs->fs_base = regs->gs_base = 0;
}

/* ---- what is watched ---- */

/* The errors of uapi/sandtrap.h, and those of files that are mapped. */
static bool is_known(int err)
{
	static const int known[] = {
		0, ENOTTY, E2BIG, EOPNOTSUPP, EINVAL, EFAULT, EPERM, ENOENT, EBADF, EBUSY,
		ENOTCONN, ESRCH, EINTR, ETIME, ENOSPC, ENOMEM, EMFILE,
		EACCES, ENODEV, EAGAIN, EOVERFLOW,
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (err == known[i])
			return true;
	return false;
}

void fuzz_begin(struct fuzzer *f, const char *what)
{
	struct progress *p = &board->threads[f->number];
	char text[8];

	p->what = what;
	p->since = box_now_ns();
	if (f->fail_nth >= 0) {
		snprintf(text, sizeof(text), "%u", 1 + pick(f, 12));
		(void)!pwrite(f->fail_nth, text, strlen(text), 0);
	}
}

/* What is left of the number tells whether the allocation came to fail. */
static void stop_injection(struct fuzzer *f)
{
	char text[16] = "";

	if (f->fail_nth < 0)
		return;
	if (pread(f->fail_nth, text, sizeof(text) - 1, 0) > 0 && !atoi(text))
		board->injected++;
	(void)!pwrite(f->fail_nth, "0", 1, 0);
}

int fuzz_end(struct fuzzer *f, long ret)
{
	struct progress *p = &board->threads[f->number];
	int err = ret < 0 ? errno : 0, none = 0;

	stop_injection(f);
	p->since = 0;
	if (!is_known(err) && atomic_compare_exchange_strong(&board->strange, &none, err)) {
		board->strange_op = p->op;
		board->strange_what = p->what;
	}
	return err;
}

/* ---- objects ---- */

/* The last of these tries may be in vain: what is not there is of interest, too. */
#define TRIES 12

int fuzz_any_space(struct fuzzer *f)
{
	int i, fd = -1;

	for (i = 0; fd < 0 && i < TRIES; i++)
		fd = fuzz.spaces[pick(f, SPACES)];
	return fd;
}

static bool is_alive(unsigned int slot)
{
	struct sandtrap_context_page *page = fuzz.pages[slot];

	return page && fuzz.ids[slot] &&
	       *(volatile uint32_t *)&page->event != SANDTRAP_EVENT_DEAD;
}

unsigned int fuzz_any_slot(struct fuzzer *f)
{
	unsigned int i, slot = pick(f, CONTEXTS);

	for (i = 0; !is_alive(slot) && i < TRIES; i++)
		slot = pick(f, CONTEXTS);
	return slot;
}

/* For a new context: rather where there is none, or a dead one. */
unsigned int fuzz_free_slot(struct fuzzer *f)
{
	unsigned int i, slot = pick(f, CONTEXTS);

	for (i = 0; is_alive(slot) && i < 2 * TRIES; i++)
		slot = pick(f, CONTEXTS);
	return slot;
}

unsigned int fuzz_free_space(struct fuzzer *f)
{
	unsigned int i, slot = pick(f, SPACES);

	for (i = 0; fuzz.spaces[slot] >= 0 && i < 2 * TRIES; i++)
		slot = pick(f, SPACES);
	return slot;
}

uint32_t fuzz_seq_of(unsigned int slot)
{
	struct sandtrap_context_page *page = fuzz.pages[slot];

	return page ? *(volatile uint32_t *)&page->event_seq : 1;
}

int fuzz_any_fd(struct fuzzer *f)
{
	switch (pick(f, 8)) {
	case 0: return fuzz.other_instance;
	case 1: return fuzz.stub_fds[pick(f, SPACES)];
	case 2: return fuzz.box.mem;
	case 3: return (int)fuzz_nasty(f);
	case 4: return fuzz.box.fd;
	default: return fuzz_any_space(f);
	}
}
