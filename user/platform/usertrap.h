/* SPDX-License-Identifier: MIT */
/*
 * usertrap.h - system calls of the program that need no trap
 *
 * A system call instruction that traps costs a signal frame. Most of them can be
 * rewritten, once, so that the program calls the platform's handler like a function:
 *
 *	before				after
 *	  mov $39, %eax   b8 27 00 00 00  jmp slot	e9 xx xx xx xx
 *	  syscall	  0f 05		  syscall	0f 05
 *
 *	slot:	mov  $39, %eax		copies of all that the jump skips
 *		lea  next(%rip), %rcx	as the instruction leaves it
 *		jmp  *entry(%rip)	the handler; it returns to rcx
 *
 * The jump replaces one instruction, the *anchor*: the last one of at least five
 * bytes in the straight run of code that ends in the syscall instruction. What
 * stands between the two is copied to the slot as well. All bytes behind the
 * anchor stay as they were, and there is no boundary of an instruction inside it,
 * so whoever is behind it already, jumps behind it, or returns to the syscall
 * instruction to restart it, executes the original code and traps. gVisor's form
 * replaces seven bytes and has to recognise those cases by a trap on bytes of the
 * jump; it can replace nothing but `mov $nr, %eax; syscall`.
 *
 * What may be between: anything that does not transfer control, and conditional
 * jumps. Operands relative to rip are adjusted. The state of a thread in a slot is
 * always that of an instruction of the original code (usertrap_original_ip());
 * rcx and r11, which differ behind the copies, are dead there.
 *
 * Which sites: the bytes of the whole enclosing function are decoded from its start
 * (usertrap_function_start()), and the anchor and the system call must both be
 * instructions of it. Never rt_sigreturn, whose bytes unwinders look for.
 *
 * This file and its .c files compute; they change no memory of the program. That
 * is the sentry's part, because the pages are: sentry/mm/patch.h.
 *
 * Hostile programs: all that is read here belongs to the program. Wrong symbols or
 * code that changes while it is read make the program execute wrong code in its
 * own address space, with its own rights; the handler believes nothing of what it is
 * called with, because the program can call it by itself at any time.
 */
#ifndef _SANDTRAP_PLATFORM_USERTRAP_H
#define _SANDTRAP_PLATFORM_USERTRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The replacing instruction: e9 rel32. */
#define USERTRAP_JUMP_SIZE 5

/* A slot is a cache line of its page. The first one holds the entry's address. */
#define USERTRAP_PAGE_SIZE 4096
#define USERTRAP_SLOT_SIZE 64
#define USERTRAP_SLOTS (USERTRAP_PAGE_SIZE / USERTRAP_SLOT_SIZE - 1)

/* At most so many instructions, and bytes, from the anchor to the system call. */
#define USERTRAP_INSNS_MAX 6
#define USERTRAP_RUN_MAX 40

/* A function that is longer is not decoded. */
#define USERTRAP_FUNCTION_MAX (32u << 10)

/* How an instruction is copied. */
enum usertrap_kind {
	USERTRAP_COPY, /* as it is */
	USERTRAP_RIP_DISP, /* with another 32-bit displacement */
	USERTRAP_JCC, /* a conditional jump, in its long form */
};

/**
 * struct usertrap_insn - an instruction that a slot has a copy of
 * @off: from the site
 * @len: in bytes
 * @kind: how it is copied
 * @disp_off: of the displacement within it, for USERTRAP_RIP_DISP
 * @target: of the jump, for USERTRAP_JCC
 * @slot_off: of the copy in the slot, set by usertrap_emit()
 */
struct usertrap_insn {
	uint8_t off, len;
	uint8_t kind;
	uint8_t disp_off;
	uint8_t slot_off;
	uint64_t target;
};

/**
 * struct usertrap_plan - how a system call is to be rewritten
 * @site: address of the anchor
 * @code: original bytes from the anchor to the end of the system call instruction
 * @syscall_off: of the system call instruction, from the site
 * @tail_off: where in the slot the copies end, set by usertrap_emit()
 * @nr_insns: entries in @insns
 * @insns: the anchor and what follows it up to the system call
 */
struct usertrap_plan {
	uint64_t site;
	uint8_t code[USERTRAP_RUN_MAX + 2];
	uint8_t syscall_off;
	uint8_t tail_off;
	uint8_t nr_insns;
	struct usertrap_insn insns[USERTRAP_INSNS_MAX];
};

/**
 * struct usertrap_source - where to read the program
 * @read: reads program memory; returns bytes read, or a value <= 0
 * @read_file: reads the file that is mapped there at an offset, likewise; NULL if
 *	there is no file
 * @arg: passed to both
 * @start: first address of the executable mapping
 * @end: first address behind it
 * @image: where the file's first byte is mapped, 0 if it is not
 */
struct usertrap_source {
	ssize_t (*read)(void *arg, uint64_t addr, void *buf, size_t len);
	ssize_t (*read_file)(void *arg, uint64_t off, void *buf, size_t len);
	void *arg;
	uint64_t start, end;
	uint64_t image;
};

/* usertrap_elf.c */

/* Who told where a function starts, best first. */
enum usertrap_boundary {
	USERTRAP_UNWIND_TABLE, /* the search table of .eh_frame_hdr */
	USERTRAP_SYMBOL, /* .symtab or .dynsym */
	USERTRAP_PADDING, /* behind int3 or nop at a multiple of 16, or endbr64 */
	USERTRAP_MAPPING, /* the start of the mapping */
};

/**
 * usertrap_function_start() - find the function that encloses an instruction
 * @src: the program
 * @ip: address within the function
 * @nth: 0 for the best answer; 1, 2, ... for further ones. Only the last two kinds
 *	are guesses, of which there may be several.
 * @start: set to its first address
 *
 * Return: an enum usertrap_boundary; -ENOENT if there is no (further) answer.
 */
int usertrap_function_start(const struct usertrap_source *src, uint64_t ip,
			    unsigned int nth, uint64_t *start);

/* usertrap_decode.c */

/**
 * usertrap_decode() - plan the rewriting of a system call
 * @code: the enclosing function, from its start to the end of the system call
 * @start: address of the function
 * @ip: address of the system call instruction
 * @plan: filled on success, but for what usertrap_emit() sets
 *
 * Return: 0; -EILSEQ if decoding from the start does not come by @ip, or finds no
 * syscall instruction there; -ENOTSUP if the code in front of it cannot be replaced.
 */
int usertrap_decode(const uint8_t *code, uint64_t start, uint64_t ip,
		    struct usertrap_plan *plan);

/**
 * usertrap_examine() - find the function, decode it, plan the rewriting
 * @src: the program
 * @ip: address of the system call instruction
 * @plan: as for usertrap_decode()
 *
 * Guessed starts must all lead to the same plan.
 *
 * Return: 0; -ENOENT if no function start is known; -EFBIG if the function is too
 * long; -EFAULT if it cannot be read; -ENOMEM; or as usertrap_decode().
 */
int usertrap_examine(const struct usertrap_source *src, uint64_t ip,
		     struct usertrap_plan *plan);

/* usertrap_cpuid.c */

/**
 * struct usertrap_walk - how far a function has been decoded
 * @start: of the function
 * @at: the next instruction
 * @leaf_set: address of the last one that loads eax, 0: none has
 * @leaf: the constant that eax has at @at
 * @leaf_known: it has one, unless a jump leads in between
 *
 * Zeroed in the beginning; it saves work when sites are examined in ascending order.
 */
struct usertrap_walk {
	uint64_t start, at, leaf_set;
	uint32_t leaf;
	bool leaf_known;
};

/**
 * usertrap_examine_cpuid() - are the bytes 0f a2 a CPUID instruction?
 * @src: the program
 * @ip: address of the two bytes
 * @guess: trust guessed function starts too, if the code looks as CPUID is used
 * @w: state of the walk; on success @w->leaf_known and @w->leaf are of the instruction
 *
 * Return: 0 if they are; -ENOENT if no function start is known; -EILSEQ if they are
 * something else, as far as decoding tells; -EFBIG, -EFAULT as usertrap_examine().
 */
int usertrap_examine_cpuid(const struct usertrap_source *src, uint64_t ip, bool guess,
			   struct usertrap_walk *w);

/* usertrap_emit.c */

/**
 * usertrap_emit_header() - write the first slot of a page
 * @entry: address of the platform's handler, see struct platform.usertrap_entry
 * @slot: USERTRAP_SLOT_SIZE bytes
 */
void usertrap_emit_header(uint64_t entry, uint8_t *slot);

/**
 * usertrap_emit() - write the slot of a site
 * @plan: completed
 * @addr: address the slot will have in the program; its page has the header
 * @slot: USERTRAP_SLOT_SIZE bytes
 *
 * Return: 0; -E2BIG if it does not fit; -ERANGE if a distance is above 2 GiB.
 */
int usertrap_emit(struct usertrap_plan *plan, uint64_t addr, uint8_t *slot);

/**
 * usertrap_jump() - the bytes that replace the first ones of the anchor
 * @plan: plan that usertrap_emit() has accepted for the same address
 * @addr: address of the slot
 * @jump: filled
 */
void usertrap_jump(const struct usertrap_plan *plan, uint64_t addr,
		   uint8_t jump[USERTRAP_JUMP_SIZE]);

/* usertrap_original_ip(): how far a thread in a slot has come. */
enum usertrap_progress {
	USERTRAP_AT_START, /* the jump has been executed and nothing else */
	USERTRAP_INSIDE,
	USERTRAP_NOWHERE, /* not at an instruction of the slot */
};

/**
 * usertrap_original_ip() - where a thread that is in a slot would be otherwise
 * @plan: of the slot
 * @off: of its instruction pointer in the slot
 * @ip: set to the address in the original code, unless USERTRAP_NOWHERE
 *
 * Return: how far it has come.
 */
enum usertrap_progress usertrap_original_ip(const struct usertrap_plan *plan,
					    unsigned int off, uint64_t *ip);

#endif /* _SANDTRAP_PLATFORM_USERTRAP_H */
