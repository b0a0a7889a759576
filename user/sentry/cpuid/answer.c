// SPDX-License-Identifier: MIT
/*
 * answer.c - what CPUID tells the program
 *
 * Every leaf of the host is asked for once and kept: the answers stay the same when
 * the asking thread runs on another CPU, even where CPUs differ.
 */
#include <cpuid.h>
#include <string.h>

#include "sentry/cpuid.h"

#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_EXTENDED 0x80000000u

/* Leaf 1. */
#define EBX_APIC_ID 0xff000000u
#define ECX_XSAVE (1u << 26)
#define ECX_OSXSAVE (1u << 27)

/* Leaf 7: cores of several kinds. */
#define EDX_HYBRID (1u << 15)

#define HWCAP2_FSGSBASE 2u

static struct cpuid_regs ask_host(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	__cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
	return r;
}

/* A program that asks for nonsense pushes answers out; they are asked for again. */
static struct cpuid_entry *slot_of(struct cpuid *c, uint32_t leaf, uint32_t subleaf)
{
	uint32_t hash = (leaf ^ leaf >> 26) * 8 + subleaf;

	return &c->cache[hash % CPUID_CACHE];
}

static struct cpuid_regs host(struct cpuid *c, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_entry *e = slot_of(c, leaf, subleaf);
	struct cpuid_regs r;

	pthread_mutex_lock(&c->lock);
	if (!e->valid || e->leaf != leaf || e->subleaf != subleaf) {
		e->regs = ask_host(leaf, subleaf);
		e->leaf = leaf;
		e->subleaf = subleaf;
		e->valid = true;
	}
	r = e->regs;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static bool hidden(const struct cpuid *c, const char *name)
{
	return c->restricted && cpuid_name_hidden(&c->mask, name, strlen(name));
}

static bool is_amd(struct cpuid *c)
{
	struct cpuid_regs r = host(c, 0, 0);

	return r.ebx == signature_AMD_ebx || r.ebx == 0x6f677948; /* "Hygo" */
}

/*
 * Behind the last leaf Intel's CPUs answer as for the last basic one, which must be
 * the program's answer too. Those of AMD have zeroes there.
 */
static uint32_t effective_leaf(struct cpuid *c, uint32_t leaf)
{
	uint32_t last = host(c, 0, 0).eax;

	if (leaf <= last || is_amd(c))
		return leaf;
	if (leaf < LEAF_HYPERVISOR)
		return last;
	if (leaf < LEAF_EXTENDED)
		return hidden(c, "hypervisor") ? last : leaf;
	return leaf <= host(c, LEAF_EXTENDED, 0).eax ? leaf : last;
}

/* Does the leaf describe nothing but a hidden feature? */
static bool leaf_hidden(const struct cpuid *c, uint32_t leaf)
{
	switch (leaf) {
	case 0xd:
		return hidden(c, "xsave");
	case 0x12:
		return hidden(c, "sgx");
	case 0x14:
		return hidden(c, "intel_pt");
	case 0x1d:
	case 0x1e:
		return hidden(c, "amx_tile");
	case 0x24:
		return hidden(c, "avx10");
	case 0x8000001d:
	case 0x8000001e:
		return hidden(c, "topoext");
	default:
		return leaf >= LEAF_HYPERVISOR && leaf < LEAF_EXTENDED && hidden(c, "hypervisor");
	}
}

/* What differs from CPU to CPU becomes that of the first one. */
static void forget_which_cpu(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *r)
{
	switch (leaf) {
	case 1:
		r->ebx &= ~EBX_APIC_ID;
		break;
	case 7:
		if (!subleaf)
			r->edx &= ~EDX_HYBRID;
		break;
	case 0xb:
	case 0x1f:
	case 0x80000026:
		r->edx = 0;
		break;
	case 0x1a:
		memset(r, 0, sizeof(*r));
		break;
	case 0x8000001e:
		r->eax = 0;
		r->ebx &= ~0xffu;
		r->ecx &= ~0xffu;
		break;
	}
}

void cpuid_init(struct cpuid *c, const struct cpuid_mask *mask)
{
	static const struct cpuid_mask none;

	memset(c, 0, sizeof(*c));
	c->mask = *mask;
	c->restricted = memcmp(mask, &none, sizeof(none));
	pthread_mutex_init(&c->lock, NULL);
}

void cpuid_destroy(struct cpuid *c)
{
	pthread_mutex_destroy(&c->lock);
}

void cpuid_query(struct cpuid *c, uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
	leaf = effective_leaf(c, leaf);
	if (leaf_hidden(c, leaf)) {
		memset(out, 0, sizeof(*out));
		return;
	}
	*out = host(c, leaf, subleaf);
	forget_which_cpu(leaf, subleaf, out);
	if (!c->restricted)
		return;
	cpuid_apply_mask(&c->mask, leaf, subleaf, out);
	if (leaf == 1 && !(out->ecx & ECX_XSAVE))
		out->ecx &= ~ECX_OSXSAVE;
}

bool cpuid_is_native(struct cpuid *c, uint32_t leaf)
{
	if (c->restricted || leaf != effective_leaf(c, leaf))
		return false;
	switch (leaf) {
	case 1:
	case 2:
	case 4:
	case 0xb:
	case 0x18:
	case 0x1a:
	case 0x1f:
	case 0x8000001d:
	case 0x8000001e:
	case 0x80000026:
		return false;
	default:
		/* Cores of several kinds differ in more. */
		return host(c, 0, 0).eax < 7 || !(host(c, 7, 0).edx & EDX_HYBRID);
	}
}

/* Of the sentry's own auxiliary vector glibc changes this value before it can be read. */
uint64_t cpuid_hwcap(struct cpuid *c)
{
	struct cpuid_regs r;

	cpuid_query(c, 1, 0, &r);
	return r.edx;
}

uint64_t cpuid_hwcap2(struct cpuid *c, uint64_t host_value)
{
	return hidden(c, "fsgsbase") ? host_value & ~(uint64_t)HWCAP2_FSGSBASE : host_value;
}

void cpuid_filter_line(const struct cpuid *c, char *line)
{
	char *from, *to;
	size_t len;

	if (!c->restricted || strncmp(line, "flags", 5) || !(from = strchr(line, ':')))
		return;
	to = ++from;
	while (*from) {
		/* A name with the blank in front of it. */
		len = strspn(from, " ");
		len += strcspn(from + len, " ");
		if (!cpuid_name_hidden(&c->mask, from + strspn(from, " "),
				       len - strspn(from, " "))) {
			memmove(to, from, len);
			to += len;
		}
		from += len;
	}
	*to = '\0';
}
