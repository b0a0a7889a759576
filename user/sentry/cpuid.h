/* SPDX-License-Identifier: MIT */
/*
 * cpuid.h - the CPU that the sandboxed program sees
 *
 * The sentry answers CPUID wherever it learns of it: by a PLATFORM_CPUID event where
 * the CPU can fault, else by the invalid instruction that mm/cpuid_rewrite.h puts in
 * its place. The answers are the host's, with these differences:
 *
 *  - features can be hidden, with all that cannot be used without them;
 *  - what tells one CPU from another (APIC ids and the like) is that of CPU 0, and the
 *    kinds of core of a hybrid CPU are not told: a program sees the same CPU wherever
 *    it runs;
 *  - a leaf that describes a hidden feature alone is empty.
 *
 * What cannot be intercepted stays true: XGETBV and the XSAVE instructions use what the
 * host's kernel has enabled, whatever is hidden. So leaf 0xd goes on describing that:
 * a program that reserved less would have its stack overwritten.
 *
 * /proc/cpuinfo and the auxiliary vector say the same.
 */
#ifndef _SENTRY_CPUID_H
#define _SENTRY_CPUID_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct task;

/* Registers of CPUID that tell features; see cpuid/features.c. */
#define CPUID_WORDS 11

/* Answers kept: enough for all leaves of a CPU. */
#define CPUID_CACHE 256

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

/* Which features are hidden: a bit mask for each word. */
struct cpuid_mask {
	uint32_t hidden[CPUID_WORDS];
};

struct cpuid_entry {
	bool valid;
	uint32_t leaf, subleaf;
	struct cpuid_regs regs;
};

/**
 * struct cpuid - the CPU of a sandbox
 * @mask: what is hidden
 * @restricted: anything is
 * @lock: of @cache; nothing is taken under it
 * @cache: answers of the host by leaf, so that they never change
 */
struct cpuid {
	struct cpuid_mask mask;
	bool restricted;
	pthread_mutex_t lock;
	struct cpuid_entry cache[CPUID_CACHE];
};

/* features.c */

/**
 * cpuid_parse() - understand the argument of --cpuid
 * @spec: "hide=NAME,NAME..."; NULL or "": nothing is hidden
 * @mask: filled, dependents included
 * @message: on failure set to what is wrong and what to do, for people
 * @size: bytes at @message
 *
 * Return: 0 or -EINVAL.
 */
int cpuid_parse(const char *spec, struct cpuid_mask *mask, char *message, size_t size);

/* Print what can be hidden: name, present|absent, what goes with it. */
void cpuid_list(FILE *out);

/* Hide of a register of an answer what @mask says. */
void cpuid_apply_mask(const struct cpuid_mask *mask, uint32_t leaf, uint32_t subleaf,
		      struct cpuid_regs *regs);

/* Is the feature of that name, if it is one, hidden? */
bool cpuid_name_hidden(const struct cpuid_mask *mask, const char *name, size_t len);

/* answer.c */

void cpuid_init(struct cpuid *c, const struct cpuid_mask *mask);
void cpuid_destroy(struct cpuid *c);

/**
 * cpuid_query() - what CPUID tells the program
 * @c: CPU; any thread
 * @leaf: eax
 * @subleaf: ecx
 * @out: filled
 */
void cpuid_query(struct cpuid *c, uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out);

/**
 * cpuid_is_native() - would the CPU itself give the same answer, whichever it is?
 * @c: CPU
 * @leaf: eax
 */
bool cpuid_is_native(struct cpuid *c, uint32_t leaf);

/* AT_HWCAP and, from the host's, AT_HWCAP2 of the program. */
uint64_t cpuid_hwcap(struct cpuid *c);
uint64_t cpuid_hwcap2(struct cpuid *c, uint64_t host);

/* Take the hidden names out of a line of /proc/cpuinfo, in place. */
void cpuid_filter_line(const struct cpuid *c, char *line);

/* emulate.c */

/**
 * cpuid_emulate() - carry out the CPUID instruction at rip
 * @t: a task with a PLATFORM_CPUID event
 */
void cpuid_emulate(struct task *t);

/**
 * cpuid_emulate_rewritten() - carry it out if the sentry had rewritten it
 * @t: a task that has executed an invalid instruction
 *
 * Return: false if it was the program's own.
 */
bool cpuid_emulate_rewritten(struct task *t);

#endif /* _SENTRY_CPUID_H */
