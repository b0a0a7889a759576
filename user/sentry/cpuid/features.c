// SPDX-License-Identifier: MIT
/*
 * features.c - names of CPU features, what needs what, and the argument of --cpuid
 *
 * The names are those of /proc/cpuinfo; of features that Linux does not list there,
 * those of compilers. What the kernel makes up (constant_tsc, rep_good, ...) is in no
 * register and cannot be hidden.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "sentry/cpuid.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define ANY_SUBLEAF UINT32_MAX
#define NAME_MAX_LEN 24

enum reg { EAX, EBX, ECX, EDX };

/**
 * struct word - a register whose bits are features
 * @leaf: leaf it belongs to
 * @subleaf: subleaf, or ANY_SUBLEAF
 * @reg: which one
 * @names: of bits 0 to 31, in order; "-" has none
 */
struct word {
	uint32_t leaf, subleaf;
	enum reg reg;
	const char *names;
};

static const struct word words[] = {
	{ 1, ANY_SUBLEAF, EDX,
	  "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov "
	  "pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe" },
	{ 1, ANY_SUBLEAF, ECX,
	  "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm "
	  "- pcid dca sse4_1 sse4_2 x2apic movbe popcnt "
	  "tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor" },
	{ 7, 0, EBX,
	  "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a "
	  "avx512f avx512dq rdseed adx smap avx512ifma - clflushopt "
	  "clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl" },
	{ 7, 0, ECX,
	  "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 user_shstk "
	  "gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - "
	  "la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc -" },
	{ 7, 0, EDX,
	  "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - "
	  "tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - "
	  "flush_l1d arch_capabilities - -" },
	{ 7, 1, EAX,
	  "sha512 sm3 sm4 - avx_vnni avx512_bf16 - cmpccxadd - - - - - - - - "
	  "- fred - - - amx_fp16 - avx_ifma - - lam - - - - -" },
	{ 7, 1, EDX,
	  "- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - prefetchi - "
	  "- - - avx10 - - - - - - - - - - - -" },
	{ 0xd, 1, EAX,
	  "xsaveopt xsavec xgetbv1 xsaves - - - - - - - - - - - - "
	  "- - - - - - - - - - - - - - - -" },
	{ 0x80000001, ANY_SUBLEAF, EDX,
	  "- - - - - - - - - - - syscall - - - - "
	  "- - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow" },
	{ 0x80000001, ANY_SUBLEAF, ECX,
	  "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse "
	  "3dnowprefetch osvw ibs xop skinit wdt - lwp "
	  "fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc "
	  "mwaitx - -" },
	{ 0x80000008, ANY_SUBLEAF, EBX,
	  "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - - - - - "
	  "- - - - - - - - - - - - - - - -" },
};

_Static_assert(ARRAY_SIZE(words) == CPUID_WORDS, "as many words as masks");

/* The first is no use without the second. */
static const struct {
	const char *name, *needs;
} dependencies[] = {
	{ "ssse3", "pni" }, { "sse4a", "pni" }, { "sse4_1", "ssse3" }, { "sse4_2", "sse4_1" },
	{ "avx", "sse4_2" }, { "avx", "xsave" }, { "xsaveopt", "xsave" }, { "xsavec", "xsave" },
	{ "xgetbv1", "xsave" }, { "xsaves", "xsavec" }, { "pku", "xsave" }, { "ospke", "pku" },
	{ "pku", "ospke" }, { "mpx", "xsave" }, { "lwp", "xsave" }, { "amx_tile", "xsave" },
	{ "user_shstk", "xsaves" }, { "fma", "avx" }, { "f16c", "avx" }, { "avx2", "avx" },
	{ "xop", "avx" }, { "fma4", "avx" }, { "vaes", "avx" }, { "vaes", "aes" },
	{ "vpclmulqdq", "avx" }, { "vpclmulqdq", "pclmulqdq" }, { "sha512", "avx2" },
	{ "sm3", "avx" }, { "sm4", "avx2" }, { "avx_vnni", "avx2" }, { "avx_ifma", "avx2" },
	{ "avx_vnni_int8", "avx2" }, { "avx_vnni_int16", "avx2" }, { "avx_ne_convert", "avx2" },
	{ "avx512f", "avx2" }, { "avx512f", "fma" }, { "avx512f", "f16c" },
	{ "avx512cd", "avx512f" }, { "avx512dq", "avx512f" }, { "avx512bw", "avx512f" },
	{ "avx512vl", "avx512f" }, { "avx512pf", "avx512f" }, { "avx512er", "avx512f" },
	{ "avx512ifma", "avx512f" }, { "avx512_vnni", "avx512f" }, { "avx512_4vnniw", "avx512f" },
	{ "avx512_4fmaps", "avx512f" }, { "avx512_vpopcntdq", "avx512f" },
	{ "avx512_vp2intersect", "avx512f" }, { "avx512vbmi", "avx512bw" },
	{ "avx512_vbmi2", "avx512bw" }, { "avx512_bitalg", "avx512bw" },
	{ "avx512_bf16", "avx512bw" }, { "avx512_fp16", "avx512bw" }, { "avx10", "avx512f" },
	{ "amx_int8", "amx_tile" }, { "amx_bf16", "amx_tile" }, { "amx_fp16", "amx_tile" },
	{ "amx_complex", "amx_tile" }, { "3dnowext", "3dnow" }, { "sgx_lc", "sgx" },
};

/* What every program for x86-64 uses without asking. */
static const char *const baseline[] = {
	"fpu", "cx8", "cmov", "mmx", "fxsr", "sse", "sse2", "syscall", "lm",
};

/* ---- names ---- */

/* Of a list of words separated by blanks: the next one and its length; NULL: none. */
static const char *next_name(const char **list, size_t *len)
{
	const char *name = *list + strspn(*list, " ");

	*len = strcspn(name, " ");
	*list = name + *len;
	return *len ? name : NULL;
}

static bool find_feature(const char *name, size_t len, unsigned int *word, uint32_t *bit)
{
	const char *list, *at;
	size_t n, i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		list = words[i].names;
		for (*bit = 1; (at = next_name(&list, &n)); *bit <<= 1) {
			if (n == len && *at != '-' && !memcmp(at, name, len)) {
				*word = (unsigned int)i;
				return true;
			}
		}
	}
	return false;
}

bool cpuid_name_hidden(const struct cpuid_mask *mask, const char *name, size_t len)
{
	unsigned int word;
	uint32_t bit;

	return find_feature(name, len, &word, &bit) && mask->hidden[word] & bit;
}

static bool hide_name(struct cpuid_mask *mask, const char *name, size_t len)
{
	unsigned int word;
	uint32_t bit;

	if (!find_feature(name, len, &word, &bit))
		return false;
	mask->hidden[word] |= bit;
	return true;
}

static void hide_dependents(struct cpuid_mask *mask)
{
	bool again = true;
	size_t i;

	while (again) {
		again = false;
		for (i = 0; i < ARRAY_SIZE(dependencies); i++) {
			const char *name = dependencies[i].name, *needs = dependencies[i].needs;

			if (!cpuid_name_hidden(mask, needs, strlen(needs)) ||
			    cpuid_name_hidden(mask, name, strlen(name)))
				continue;
			hide_name(mask, name, strlen(name));
			again = true;
		}
	}
}

/* ---- the closest name ---- */

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters to add, drop or change. */
static unsigned int distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned int row[NAME_MAX_LEN + 1], diagonal, above;
	size_t i, j;

	if (alen > NAME_MAX_LEN || blen > NAME_MAX_LEN)
		return UINT32_MAX;
	for (j = 0; j <= blen; j++)
		row[j] = (unsigned int)j;
	for (i = 1; i <= alen; i++) {
		diagonal = row[0];
		row[0] = (unsigned int)i;
		for (j = 1; j <= blen; j++) {
			above = row[j];
			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[blen];
}

/* What may have been meant: a name of at most *@len letters, or NULL. */
static const char *closest_name(const char *name, size_t len, size_t *found_len)
{
	unsigned int best = len < 4 ? 2 : 4, d;
	const char *found = NULL, *list, *at;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		list = words[i].names;
		while ((at = next_name(&list, &n))) {
			d = *at == '-' ? UINT32_MAX : distance(name, len, at, n);
			if (d < best) {
				best = d;
				found = at;
				*found_len = n;
			}
		}
	}
	return found;
}

/* ---- the argument ---- */

static int complain_name(const char *name, size_t len, char *message, size_t size)
{
	const char *meant;
	size_t n = 0;

	meant = closest_name(name, len, &n);
	if (meant)
		snprintf(message, size,
			 "there is no CPU feature '%.*s'; did you mean '%.*s'? --cpuid=list prints all",
			 (int)len, name, (int)n, meant);
	else
		snprintf(message, size,
			 "there is no CPU feature '%.*s'; --cpuid=list prints those that can be hidden",
			 (int)len, name);
	return -EINVAL;
}

static bool is_baseline(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(baseline); i++)
		if (strlen(baseline[i]) == len && !memcmp(baseline[i], name, len))
			return true;
	return false;
}

static int hide_one(struct cpuid_mask *mask, const char *name, size_t len, char *message,
		    size_t size)
{
	if (is_baseline(name, len)) {
		snprintf(message, size,
			 "'%.*s' cannot be hidden: every x86-64 program uses it without asking",
			 (int)len, name);
		return -EINVAL;
	}
	return hide_name(mask, name, len) ? 0 : complain_name(name, len, message, size);
}

int cpuid_parse(const char *spec, struct cpuid_mask *mask, char *message, size_t size)
{
	static const char hide[] = "hide=";
	size_t len;
	int err;

	memset(mask, 0, sizeof(*mask));
	if (!spec || !*spec)
		return 0;
	if (strncmp(spec, hide, sizeof(hide) - 1)) {
		snprintf(message, size, "'%s' is not hide=FEATURE[,FEATURE...] or list", spec);
		return -EINVAL;
	}
	spec += sizeof(hide) - 1;
	do {
		len = strcspn(spec, ",");
		err = hide_one(mask, spec, len, message, size);
		if (err)
			return err;
		spec += len;
	} while (*spec++ == ',');
	hide_dependents(mask);
	return 0;
}

/* ---- answers ---- */

static uint32_t *reg_of(struct cpuid_regs *regs, enum reg reg)
{
	switch (reg) {
	case EAX:
		return &regs->eax;
	case EBX:
		return &regs->ebx;
	case ECX:
		return &regs->ecx;
	default:
		return &regs->edx;
	}
}

/* AMD repeats these of leaf 1 in edx of leaf 0x80000001. */
#define AMD_ALIASES 0x0183f3ffu

void cpuid_apply_mask(const struct cpuid_mask *mask, uint32_t leaf, uint32_t subleaf,
		      struct cpuid_regs *regs)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].leaf == leaf &&
		    (words[i].subleaf == ANY_SUBLEAF || words[i].subleaf == subleaf))
			*reg_of(regs, words[i].reg) &= ~mask->hidden[i];
	if (leaf == 0x80000001)
		regs->edx &= ~(mask->hidden[0] & AMD_ALIASES);
}

/* ---- the list ---- */

static bool host_has(const struct word *w, uint32_t bit)
{
	struct cpuid_regs r = { 0 };

	if (__get_cpuid_max(w->leaf & 0x80000000, NULL) >= w->leaf)
		__cpuid_count(w->leaf, w->subleaf == ANY_SUBLEAF ? 0 : w->subleaf, r.eax, r.ebx,
			      r.ecx, r.edx);
	return *reg_of(&r, w->reg) & bit;
}

static void list_dependents(FILE *out, const struct cpuid_mask *mask, const char *self,
			    size_t len)
{
	const char *list, *at, *separator = "\thides too: ";
	uint32_t bit;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		list = words[i].names;
		for (bit = 1; (at = next_name(&list, &n)); bit <<= 1) {
			if (!(mask->hidden[i] & bit) || (n == len && !memcmp(at, self, n)))
				continue;
			fprintf(out, "%s%.*s", separator, (int)n, at);
			separator = " ";
		}
	}
}

static void list_feature(FILE *out, const struct word *w, const char *name, size_t len,
			 uint32_t bit)
{
	struct cpuid_mask mask = { 0 };

	hide_name(&mask, name, len);
	hide_dependents(&mask);
	fprintf(out, "%.*s\t%s", (int)len, name, host_has(w, bit) ? "present" : "absent");
	list_dependents(out, &mask, name, len);
	fputc('\n', out);
}

void cpuid_list(FILE *out)
{
	const char *list, *at;
	uint32_t bit;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		list = words[i].names;
		for (bit = 1; (at = next_name(&list, &n)); bit <<= 1)
			if (*at != '-' && !is_baseline(at, n))
				list_feature(out, &words[i], at, n, bit);
	}
}
