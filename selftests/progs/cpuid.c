// SPDX-License-Identifier: MIT
/*
 * cpuid.c - what CPUID says, and what happens to code that has it
 *
 * Usage: cpuid dump|features|agree|cpus|jit|straddle|prefixes|invalid|step|fork
 *
 * dump and features print; the others print one line for what is wrong, and "ok".
 */
#include <cpuid.h>
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 4096

struct regs {
	unsigned int r[4]; /* eax, ebx, ecx, edx */
};

static int failures;

#define EXPECT(cond)                                           \
	do {                                                   \
		if (!(cond)) {                                 \
			failures++;                            \
			printf("line %d: %s\n", __LINE__, #cond); \
		}                                              \
	} while (0)

/* The leaf is no constant, so this is carried out by the sentry wherever it can be. */
static __attribute__((noinline)) struct regs ask(unsigned int leaf, unsigned int subleaf)
{
	struct regs a;

	__cpuid_count(leaf, subleaf, a.r[0], a.r[1], a.r[2], a.r[3]);
	return a;
}

static void print_leaf(unsigned int leaf, unsigned int subleaf)
{
	struct regs a = ask(leaf, subleaf);

	printf("%08x %02x: %08x %08x %08x %08x\n", leaf, subleaf, a.r[0], a.r[1], a.r[2], a.r[3]);
}

/* Also two leaves behind the last one. */
static void dump_range(unsigned int first)
{
	unsigned int last = ask(first, 0).r[0], leaf, subleaf, subleaves;

	if (last < first || last > first + 0x40)
		last = first;
	for (leaf = first; leaf <= last + 2; leaf++) {
		subleaves = leaf == 0xd ? 20 : leaf == 4 || leaf == 7 || leaf == 0xb ||
				    leaf == 0x1f || leaf == 0x8000001d ? 5 : 1;
		for (subleaf = 0; subleaf < subleaves; subleaf++)
			print_leaf(leaf, subleaf);
	}
}

static int dump(void)
{
	dump_range(0);
	dump_range(0x40000000);
	dump_range(0x80000000);
	return 0;
}

static const struct {
	const char *name;
	unsigned int leaf, subleaf, reg, bit;
} features[] = {
	{ "sse2", 1, 0, 3, 26 }, { "pni", 1, 0, 2, 0 }, { "ssse3", 1, 0, 2, 9 },
	{ "sse4_1", 1, 0, 2, 19 }, { "sse4_2", 1, 0, 2, 20 }, { "popcnt", 1, 0, 2, 23 },
	{ "aes", 1, 0, 2, 25 }, { "xsave", 1, 0, 2, 26 }, { "avx", 1, 0, 2, 28 },
	{ "f16c", 1, 0, 2, 29 }, { "rdrand", 1, 0, 2, 30 }, { "fma", 1, 0, 2, 12 },
	{ "clflush", 1, 0, 3, 19 }, { "bmi1", 7, 0, 1, 3 }, { "avx2", 7, 0, 1, 5 },
	{ "bmi2", 7, 0, 1, 8 }, { "erms", 7, 0, 1, 9 }, { "avx512f", 7, 0, 1, 16 },
	{ "adx", 7, 0, 1, 19 }, { "sha_ni", 7, 0, 1, 29 }, { "avx512vl", 7, 0, 1, 31 },
	{ "vaes", 7, 0, 2, 9 }, { "avx512_bitalg", 7, 0, 2, 12 },
	{ "xsaveopt", 0xd, 1, 0, 0 }, { "xsavec", 0xd, 1, 0, 1 },
	{ "lahf_lm", 0x80000001, 0, 2, 0 }, { "abm", 0x80000001, 0, 2, 5 },
};

static int feature_bit(unsigned int i)
{
	return ask(features[i].leaf, features[i].subleaf).r[features[i].reg] >>
		       features[i].bit & 1;
}

static int print_features(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (feature_bit(i))
			puts(features[i].name);
	return 0;
}

/* The first line of flags, with a blank on either side. */
static char *cpuinfo_flags(void)
{
	static char line[16384];
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "flags", 5))
			break;
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = ' ';
	return line;
}

/* AT_HWCAP as the program was given it: glibc changes what getauxval() tells. */
static unsigned long hwcap(void)
{
	FILE *f = fopen("/proc/self/auxv", "r");
	unsigned long pair[2] = { 0 };

	while (f && fread(pair, sizeof(pair), 1, f) == 1)
		if (pair[0] == AT_HWCAP)
			break;
	if (f)
		fclose(f);
	return pair[0] == AT_HWCAP ? pair[1] : 0;
}

/* The kernel may leave features out, but not add any. */
static void agree(void)
{
	const char *flags = cpuinfo_flags();
	unsigned int i;
	char name[32];

	for (i = 0; i < ARRAY_SIZE(features); i++) {
		snprintf(name, sizeof(name), " %s ", features[i].name);
		if (strstr(flags, name) && !feature_bit(i)) {
			failures++;
			printf("%s is in /proc/cpuinfo alone\n", features[i].name);
		}
	}
	EXPECT(strstr(flags, " sse2 "));
	EXPECT(hwcap() == ask(1, 0).r[3]);
}

static void on_cpu(int cpu, struct regs *a)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	EXPECT(!sched_setaffinity(0, sizeof(set), &set));
	a[0] = ask(1, 0);
	a[1] = ask(0xb, 0);
	a[2] = ask(0x8000001e, 0);
}

/* Every CPU tells the same. */
static void cpus(void)
{
	struct regs first[3], other[3];
	cpu_set_t all;
	int cpu, seen = 0;

	EXPECT(!sched_getaffinity(0, sizeof(all), &all));
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		on_cpu(cpu, seen ? other : first);
		EXPECT(!seen++ || !memcmp(first, other, sizeof(first)));
	}
	EXPECT(seen);
	EXPECT(!(first[0].r[1] >> 24));
}

/* ---- code made at run time ---- */

/* unsigned f(unsigned leaf, unsigned subleaf): ebx of the answer */
static const unsigned char code[] = {
	0x53, /* push %rbx */
	0x89, 0xf8, /* mov %edi, %eax */
	0x89, 0xf1, /* mov %esi, %ecx */
	0x0f, 0xa2, /* cpuid */
	0x89, 0xd8, /* mov %ebx, %eax */
	0x5b, 0xc3, /* pop %rbx; ret */
};

#define CPUID_OFF 5

/* mov $42, %eax; ret */
static const unsigned char other_code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

typedef unsigned int (*asking_fn)(unsigned int leaf, unsigned int subleaf);

static unsigned char *pages(int nr)
{
	unsigned char *p = mmap(NULL, (size_t)nr * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(90);
	return p;
}

static void protect(void *p, int nr, int prot)
{
	EXPECT(!mprotect(p, (size_t)nr * PAGE, prot));
}

/* Answered by the sentry: the APIC id of leaf 1 is 0. */
static int answered(const void *p)
{
	return !(((asking_fn)p)(1, 0) >> 24) && ((asking_fn)p)(0, 0) == ask(0, 0).r[1];
}

static void jit(void)
{
	unsigned char *p = pages(1), *q;

	memcpy(p, code, sizeof(code));
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(p));
	/* What may be written is what was written. */
	protect(p, 1, PROT_READ | PROT_WRITE);
	EXPECT(!memcmp(p, code, sizeof(code)));
	memcpy(p, other_code, sizeof(other_code));
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(((asking_fn)p)(1, 0) == 42);
	protect(p, 1, PROT_READ | PROT_WRITE);
	memcpy(p, code, sizeof(code));
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(p));
	q = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, pages(1));
	EXPECT(q != MAP_FAILED && answered(q));
	/* Code that may be written as long as it is executable works as well. */
	protect(q, 1, PROT_READ | PROT_WRITE | PROT_EXEC);
	EXPECT(!memcmp(q, code, sizeof(code)));
	EXPECT(((asking_fn)q)(0, 0) == ask(0, 0).r[1]);
	EXPECT(!madvise(q, PAGE, MADV_DONTNEED));
	memcpy(q, other_code, sizeof(other_code));
	EXPECT(((asking_fn)q)(1, 0) == 42);
}

static void straddle(void)
{
	unsigned char *p = pages(2), *at = p + PAGE - CPUID_OFF - 1;

	/* A function is looked for behind padding, at a multiple of 16. */
	memset(p, 0x90, PAGE);
	memcpy(at, code, sizeof(code));
	protect(p, 2, PROT_READ | PROT_EXEC);
	EXPECT(answered(at));
	/* One page after the other, in both orders. */
	protect(p, 1, PROT_READ | PROT_WRITE);
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(at));
	protect(p + PAGE, 1, PROT_READ | PROT_WRITE);
	EXPECT(p[PAGE] == 0xa2);
	protect(p + PAGE, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(at));
}

static void prefixes(void)
{
	unsigned int a = 1, b, c = 0, d;
	struct regs plain = ask(1, 0);

	__asm__ volatile(".byte 0x66, 0xf3, 0x48\n cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	EXPECT(a == plain.r[0] && b == plain.r[1] && c == plain.r[2] && d == plain.r[3]);
}

/* ---- signals ---- */

static volatile sig_atomic_t traps;
static void *volatile trap_addr;

static void skip_ud2(int signo, siginfo_t *info, void *uc)
{
	traps++;
	trap_addr = info->si_addr;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void count_step(int signo, siginfo_t *info, void *uc)
{
	traps++;
}

static void catch(int signo, void (*handler)(int, siginfo_t *, void *))
{
	const struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	if (sigaction(signo, &sa, NULL))
		exit(91);
}

/* Invalid instructions of the program's own, in code that had CPUID in it for one. */
static void invalid(void)
{
	unsigned char *p = pages(1);

	catch(SIGILL, skip_ud2);
	__asm__ volatile("ud2");
	EXPECT(traps == 1);
	memcpy(p, code, sizeof(code));
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(p));
	protect(p, 1, PROT_READ | PROT_WRITE);
	p[CPUID_OFF + 1] = 0x0b;
	protect(p, 1, PROT_READ | PROT_EXEC);
	((asking_fn)p)(1, 0);
	EXPECT(traps == 2 && trap_addr == p + CPUID_OFF);
	EXPECT(!munmap(p, PAGE));
	EXPECT(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) == p);
	memcpy(p, code, sizeof(code));
	p[CPUID_OFF + 1] = 0x0b;
	protect(p, 1, PROT_READ | PROT_EXEC);
	((asking_fn)p)(1, 0);
	EXPECT(traps == 3);
}

/* A single step over CPUID is one step. */
static void step(void)
{
	unsigned int a = 0, b, c = 0, d;

	catch(SIGTRAP, count_step);
	__asm__ volatile("pushf\n orl $0x100, (%%rsp)\n popf\n"
			 "cpuid\n nop\n"
			 "pushf\n andl $~0x100, (%%rsp)\n popf"
			 : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "cc", "memory");
	/* cpuid, nop, pushf, andl, popf: the last one is still stepped. */
	EXPECT(traps == 5);
}

static void in_child(void)
{
	unsigned char *p = pages(1);
	int status = -1;
	pid_t pid;

	memcpy(p, code, sizeof(code));
	protect(p, 1, PROT_READ | PROT_EXEC);
	EXPECT(answered(p));
	pid = fork();
	if (!pid) {
		EXPECT(answered(p));
		protect(p, 1, PROT_READ | PROT_WRITE);
		EXPECT(!memcmp(p, code, sizeof(code)));
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && !status);
	/* The child has changed its own. */
	EXPECT(answered(p));
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "agree", agree }, { "cpus", cpus }, { "jit", jit }, { "straddle", straddle },
	{ "prefixes", prefixes }, { "invalid", invalid }, { "step", step }, { "fork", in_child },
};

int main(int argc, char **argv)
{
	unsigned int i;

	if (argc == 2 && !strcmp(argv[1], "dump"))
		return dump();
	if (argc == 2 && !strcmp(argv[1], "features"))
		return print_features();
	for (i = 0; argc == 2 && i < ARRAY_SIZE(tests); i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].fn();
		if (!failures)
			puts("ok");
		return failures ? 1 : 0;
	}
	fprintf(stderr, "usage: cpuid dump|features|agree|cpus|jit|straddle|prefixes|invalid|step|fork\n");
	return 2;
}
