// SPDX-License-Identifier: MIT
/*
 * sentry_cpuid_test.c - which CPU the program is told of, and how CPUID is rewritten
 *
 * The names, masks and answers; the search for the instruction in bytes; and what it
 * does to an mm, on a platform that is a table of pages: what it was told to map.
 */
#include <cpuid.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/cpuid_insn.h"
#include "platform/usertrap.h"
#include "sentry/cpuid.h"
#include "sentry/fs.h"
#include "sentry/mm/internal.h"

#include "kselftest_harness.h"
#include "mock_platform.h"
#include "patience.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

#define CODE 0x10100000ull
#define CODE_PAGES 4ull
#define JIT 0x10200000ull

/* Offsets in the first page of the code, at multiples of 16 behind padding. */
#define FN_PLAIN 0x10
#define FN_PREFIX 0x20
#define FN_INSIDE 0x30
#define FN_CONSTANT 0x50
#define FN_CHANGED 0x60
#define FN_LAST 0x70

/* push %rbx; mov %edi, %eax; mov %esi, %ecx; cpuid; ...; pop %rbx; ret */
static const uint8_t plain[] = {
	0x53, 0x89, 0xf8, 0x89, 0xf1, 0x0f, 0xa2, 0x89, 0xd8, 0x5b, 0xc3,
};
/* mov $1, %eax; rep rex.W cpuid; ret */
static const uint8_t prefix[] = { 0xb8, 1, 0, 0, 0, 0xf3, 0x48, 0x0f, 0xa2, 0xc3 };
/* mov $1, %eax; mov $0xa20f, %ecx; ret: no CPUID */
static const uint8_t inside[] = { 0xb8, 1, 0, 0, 0, 0xb9, 0x0f, 0xa2, 0, 0, 0xc3 };
/* mov $0x80000000, %eax; cpuid; ret: nothing to change in the answer */
static const uint8_t constant[] = { 0xb8, 0, 0, 0, 0x80, 0x0f, 0xa2, 0xc3 };
/* mov $0x80000000, %eax; mov %edi, %eax; cpuid; ret: the leaf is another by then */
static const uint8_t changed[] = { 0xb8, 0, 0, 0, 0x80, 0x89, 0xf8, 0x0f, 0xa2, 0xc3 };
/* mov $1, %eax; mov $0xa20f0000, %ecx; ret: ends like CPUID */
static const uint8_t last[] = { 0xb8, 1, 0, 0, 0, 0xb9, 0, 0, 0x0f, 0xa2, 0xc3 };

#define PLAIN_SITE (FN_PLAIN + 6)
#define PREFIX_SITE (FN_PREFIX + 8)
#define CONSTANT_SITE (FN_CONSTANT + 6)
#define CHANGED_SITE (FN_CHANGED + 8)
/* Across the first two pages: the second byte is the first of a page. */
#define STRADDLE (PAGE_SIZE - 6)

static void fill_code(uint8_t *code)
{
	memset(code, 0x90, CODE_PAGES * PAGE_SIZE);
	memcpy(code + FN_PLAIN, plain, sizeof(plain));
	memcpy(code + FN_PREFIX, prefix, sizeof(prefix));
	memcpy(code + FN_INSIDE, inside, sizeof(inside));
	memcpy(code + FN_CONSTANT, constant, sizeof(constant));
	memcpy(code + FN_CHANGED, changed, sizeof(changed));
	memcpy(code + FN_LAST, last, sizeof(last));
	memcpy(code + STRADDLE, plain, sizeof(plain));
}

FIXTURE(rewrite)
{
	struct platform platform;
	struct kernel *kernel;
	struct file *file;
	struct task *t, *child;
	uint8_t code[CODE_PAGES * PAGE_SIZE];
};

static void map_code(struct task *t, struct file *f, int prot, int flags)
{
	if (map_at(t, CODE, CODE_PAGES * PAGE_SIZE, prot, flags, f) != (int64_t)CODE)
		abort();
}

FIXTURE_SETUP(rewrite)
{
	static const struct cpuid_mask none;

	self->platform = (struct platform){
		.ops = &mock_ops,
		.min_user_address = MIN_ADDR,
		.max_user_address = MIN_ADDR + NR_PAGES * PAGE_SIZE,
		.eager_maps = true,
	};
	syscall_table_init();
	self->kernel = calloc(1, sizeof(*self->kernel));
	self->kernel->platform = &self->platform;
	pthread_mutex_init(&self->kernel->tasks_lock, NULL);
	cpuid_init(&self->kernel->cpu, &none);
	self->kernel->rewrite_cpuid = true;
	ASSERT_EQ(0, cpuid_files_create(self->kernel));
	ASSERT_EQ(0, memory_file_create(&self->kernel->memory_file));
	fill_code(self->code);
	self->file = file_alloc(&code_ops, O_RDWR);
	self->file->host_fd = memfd_create("code", MFD_CLOEXEC);
	ASSERT_EQ((ssize_t)sizeof(self->code),
		  write(self->file->host_fd, self->code, sizeof(self->code)));
	self->t = new_task(self->kernel);
	ASSERT_EQ(0, mm_create(self->kernel, &self->t->mm));
	mm_add_task(self->t->mm, self->t);
}

FIXTURE_TEARDOWN(rewrite)
{
	uint8_t *now = malloc(sizeof(self->code));

	/* Whatever happened: the file is what it was. */
	EXPECT_EQ((ssize_t)sizeof(self->code),
		  pread(self->file->host_fd, now, sizeof(self->code), 0));
	EXPECT_EQ(0, memcmp(now, self->code, sizeof(self->code)));
	free(now);
	end_task(self->child);
	end_task(self->t);
	EXPECT_EQ(0ul, memory_file_usage(self->kernel->memory_file));
	memory_file_destroy(self->kernel->memory_file);
	cpuid_files_destroy(self->kernel);
}

/* ---- helpers ---- */

/* The byte the program sees at an address, by what the platform was told to map. */
static int see(struct task *t, uint64_t addr)
{
	struct mock_as *as = container_of(mm_address_space(t->mm), struct mock_as, base);
	struct page *pg = &as->pages[(addr - MIN_ADDR) / PAGE_SIZE];
	uint8_t byte;

	if (!pg->mapped || pread(pg->fd, &byte, 1, (off_t)(pg->off + addr % PAGE_SIZE)) != 1)
		return -1;
	return byte;
}

static long protect(struct task *t, uint64_t addr, uint64_t len, int prot)
{
	return call(t, SYS_mprotect, addr, len, (uint64_t)prot, 0, 0);
}

/* Execute the invalid instruction at @addr; the answer of leaf 0 comes if it was CPUID. */
static bool emulated(struct task *t, uint64_t addr)
{
	t->regs->rip = addr;
	t->regs->rax = t->regs->rcx = 0;
	return cpuid_emulate_rewritten(t);
}

#define EXPECT_REWRITTEN(t, at) \
	do { \
		EXPECT_EQ(UD2_BYTE_2, see(t, at)); \
		EXPECT_TRUE(cpuid_is_site((t)->mm, at)); \
	} while (0)

#define EXPECT_ORIGINAL(t, at) \
	do { \
		EXPECT_EQ(CPUID_BYTE_2, see(t, at)); \
		EXPECT_FALSE(cpuid_is_site((t)->mm, at)); \
	} while (0)

#define RX (PROT_READ | PROT_EXEC)
#define RW (PROT_READ | PROT_WRITE)

/* ---- mappings ---- */

TEST_F(rewrite, when_code_is_mapped)
{
	uint64_t i, same = 0;

	map_code(self->t, self->file, RX, MAP_PRIVATE);
	EXPECT_REWRITTEN(self->t, CODE + PLAIN_SITE);
	EXPECT_REWRITTEN(self->t, CODE + PREFIX_SITE);
	EXPECT_REWRITTEN(self->t, CODE + PAGE_SIZE);
	EXPECT_REWRITTEN(self->t, CODE + CHANGED_SITE);
	EXPECT_ORIGINAL(self->t, CODE + CONSTANT_SITE);
	EXPECT_EQ(0xa2, see(self->t, CODE + FN_INSIDE + 7));
	EXPECT_EQ(0xa2, see(self->t, CODE + FN_LAST + 9));
	EXPECT_EQ(4ul, self->kernel->cpuid_sites);
	EXPECT_EQ(2ul, self->kernel->cpuid_left);
	for (i = 0; i < sizeof(self->code); i++)
		same += see(self->t, CODE + i) == self->code[i];
	EXPECT_EQ(sizeof(self->code) - 4, same);
	/* Known the second time. */
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	EXPECT_REWRITTEN(self->t, CODE + PLAIN_SITE);
	EXPECT_EQ(2ul, self->kernel->cpuid_left);
}

TEST_F(rewrite, constant_leaves_too_if_features_are_hidden)
{
	ASSERT_EQ(0, cpuid_parse("hide=avx", &self->kernel->cpu.mask, NULL, 0));
	self->kernel->cpu.restricted = true;
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	EXPECT_REWRITTEN(self->t, CODE + CONSTANT_SITE);
}

/* Its header says that the code is at the end of all memory. */
TEST_F(rewrite, a_program_with_a_strange_address)
{
	const Elf64_Ehdr eh = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64 }, .e_phoff = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
	};
	const Elf64_Phdr ph = {
		.p_type = PT_LOAD, .p_flags = PF_X, .p_offset = 0x100, .p_filesz = 5,
		.p_vaddr = -6ull - (1ull << 40),
	};
	struct file *f = file_alloc(&code_ops, O_RDWR);

	f->host_fd = memfd_create("strange", MFD_CLOEXEC);
	ASSERT_EQ((ssize_t)sizeof(eh), pwrite(f->host_fd, &eh, sizeof(eh), 0));
	ASSERT_EQ((ssize_t)sizeof(ph), pwrite(f->host_fd, &ph, sizeof(ph), sizeof(eh)));
	ASSERT_EQ(2, pwrite(f->host_fd, plain + 5, 2, 0x100));
	ASSERT_EQ(0, ftruncate(f->host_fd, CODE_PAGES * PAGE_SIZE));
	map_code(self->t, f, RX, MAP_PRIVATE);
	file_put(f);
}

TEST_F(rewrite, not_what_others_see_or_the_program_writes)
{
	map_code(self->t, self->file, RX, MAP_SHARED);
	EXPECT_ORIGINAL(self->t, CODE + PLAIN_SITE);
	map_code(self->t, self->file, RX | PROT_WRITE, MAP_PRIVATE);
	EXPECT_ORIGINAL(self->t, CODE + PLAIN_SITE);
	map_code(self->t, self->file, PROT_READ, MAP_PRIVATE);
	EXPECT_ORIGINAL(self->t, CODE + PLAIN_SITE);
	self->kernel->rewrite_cpuid = false;
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	EXPECT_ORIGINAL(self->t, CODE + PLAIN_SITE);
}

TEST_F(rewrite, code_made_at_run_time)
{
	ASSERT_EQ((int64_t)JIT, map_at(self->t, JIT, 2 * PAGE_SIZE, RW,
				       MAP_PRIVATE | MAP_ANONYMOUS, NULL));
	ASSERT_EQ(0, copy_to_user(self->t, JIT, self->code, 2 * PAGE_SIZE));
	EXPECT_ORIGINAL(self->t, JIT + PLAIN_SITE);
	ASSERT_EQ(0, protect(self->t, JIT, 2 * PAGE_SIZE, RX));
	EXPECT_REWRITTEN(self->t, JIT + PLAIN_SITE);
	EXPECT_REWRITTEN(self->t, JIT + PAGE_SIZE);
	EXPECT_REWRITTEN(self->t, JIT + CHANGED_SITE);
	EXPECT_ORIGINAL(self->t, JIT + CONSTANT_SITE);
	EXPECT_EQ(0xa2, see(self->t, JIT + FN_INSIDE + 7));
	EXPECT_EQ(0xa2, see(self->t, JIT + FN_LAST + 9));
	/* Only pages that may be written get their own code back. */
	ASSERT_EQ(0, protect(self->t, JIT + PAGE_SIZE, PAGE_SIZE, RW));
	EXPECT_ORIGINAL(self->t, JIT + PAGE_SIZE);
	EXPECT_REWRITTEN(self->t, JIT + PLAIN_SITE);
	ASSERT_EQ(0, protect(self->t, JIT + PAGE_SIZE, PAGE_SIZE, RX));
	EXPECT_REWRITTEN(self->t, JIT + PAGE_SIZE);
	/* An instruction across the border, when its first page becomes code last. */
	ASSERT_EQ(0, protect(self->t, JIT, 2 * PAGE_SIZE, RW));
	ASSERT_EQ(0, protect(self->t, JIT + PAGE_SIZE, PAGE_SIZE, RX));
	EXPECT_ORIGINAL(self->t, JIT + PAGE_SIZE);
	ASSERT_EQ(0, protect(self->t, JIT, PAGE_SIZE, RX));
	EXPECT_REWRITTEN(self->t, JIT + PAGE_SIZE);
}

TEST_F(rewrite, ends_with_the_mapping)
{
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	ASSERT_EQ(0, call(self->t, SYS_munmap, CODE, PAGE_SIZE, 0, 0, 0));
	EXPECT_FALSE(cpuid_is_site(self->t->mm, CODE + PLAIN_SITE));
	EXPECT_TRUE(cpuid_is_site(self->t->mm, CODE + PAGE_SIZE));
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	ASSERT_EQ(0, call(self->t, SYS_madvise, CODE, 2 * PAGE_SIZE, MADV_DONTNEED, 0, 0));
	EXPECT_FALSE(cpuid_is_site(self->t->mm, CODE + PLAIN_SITE));
	ASSERT_EQ(0, mm_handle_fault(self->t, CODE, PLATFORM_ACCESS_EXECUTE));
	EXPECT_REWRITTEN(self->t, CODE + PLAIN_SITE);
}

TEST_F(rewrite, moves_with_the_mapping)
{
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	ASSERT_EQ((long)JIT, call(self->t, SYS_mremap, CODE, PAGE_SIZE, PAGE_SIZE,
				  MREMAP_MAYMOVE | MREMAP_FIXED, JIT));
	EXPECT_REWRITTEN(self->t, JIT + PLAIN_SITE);
	EXPECT_FALSE(cpuid_is_site(self->t->mm, CODE + PLAIN_SITE));
}

TEST_F(rewrite, fork_gives_each_its_own)
{
	map_code(self->t, self->file, RX, MAP_PRIVATE);
	self->child = new_task(self->kernel);
	ASSERT_EQ(0, mm_fork(self->t, &self->child->mm));
	mm_add_task(self->child->mm, self->child);
	ASSERT_EQ(0, mm_handle_fault(self->child, CODE, PLATFORM_ACCESS_EXECUTE));
	EXPECT_REWRITTEN(self->child, CODE + PLAIN_SITE);
	ASSERT_EQ(0, protect(self->child, CODE, PAGE_SIZE, RW));
	EXPECT_ORIGINAL(self->child, CODE + PLAIN_SITE);
	EXPECT_REWRITTEN(self->t, CODE + PLAIN_SITE);
}

TEST_F(rewrite, is_carried_out)
{
	uint32_t a, b, c, d;

	map_code(self->t, self->file, RX, MAP_PRIVATE);
	self->t->regs->rdx = ~0ull;
	EXPECT_TRUE(emulated(self->t, CODE + PLAIN_SITE - 1));
	__cpuid(0, a, b, c, d);
	EXPECT_EQ(a, self->t->regs->rax);
	EXPECT_EQ(b, self->t->regs->rbx);
	EXPECT_EQ(c, self->t->regs->rcx);
	EXPECT_EQ(d, self->t->regs->rdx);
	EXPECT_EQ(CODE + PLAIN_SITE + 1, self->t->regs->rip);
	EXPECT_TRUE(emulated(self->t, CODE + PREFIX_SITE - 3));
	EXPECT_EQ(CODE + PREFIX_SITE + 1, self->t->regs->rip);
	EXPECT_TRUE(emulated(self->t, CODE + PAGE_SIZE - 1));
	EXPECT_FALSE(emulated(self->t, CODE + FN_PLAIN));
	EXPECT_EQ(3ul, self->kernel->cpuid_count);
}

TEST_F(rewrite, own_invalid_instructions_are_the_programs)
{
	static const uint8_t ud2[] = { 0x0f, 0x0b };

	ASSERT_EQ((int64_t)JIT, map_at(self->t, JIT, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS,
				       NULL));
	ASSERT_EQ(0, copy_to_user(self->t, JIT, plain, sizeof(plain)));
	ASSERT_EQ(0, protect(self->t, JIT, PAGE_SIZE, RX));
	EXPECT_TRUE(emulated(self->t, JIT + 5));
	ASSERT_EQ(0, protect(self->t, JIT, PAGE_SIZE, RW));
	ASSERT_EQ(0, copy_to_user(self->t, JIT + 5, ud2, 2));
	ASSERT_EQ(0, protect(self->t, JIT, PAGE_SIZE, RX));
	EXPECT_FALSE(emulated(self->t, JIT + 5));
}

/* ---- bytes ---- */

TEST(every_pair_is_found)
{
	uint8_t buf[300];
	size_t at, start, len;

	for (at = 0; at < 150; at++) {
		memset(buf, 0x0f, sizeof(buf));
		buf[at + 1] = 0xa2;
		for (start = 0; start <= at; start += 7) {
			len = 298 - start;
			ASSERT_EQ(at - start, cpuid_find_bytes(buf + start, len));
			len = at + 2 - start;
			ASSERT_EQ(at - start, cpuid_find_bytes(buf + start, len));
			/* Not if the second byte is behind the end. */
			len = at + 1 - start;
			ASSERT_EQ(len, cpuid_find_bytes(buf + start, len));
		}
	}
}

TEST(prefixes_are_no_obstacle)
{
	static const struct {
		uint8_t insn[6];
		int offset;
	} rows[] = {
		{ { 0x0f, 0xa2 }, 0 }, { { 0x66, 0x0f, 0xa2 }, 1 }, { { 0x48, 0x0f, 0xa2 }, 1 },
		{ { 0xf2, 0x66, 0x2e, 0x0f, 0xa2 }, 3 }, { { 0xf0, 0x0f, 0xa2 }, -1 },
		{ { 0x90, 0x0f, 0xa2 }, -1 }, { { 0x0f, 0x0b }, -1 }, { { 0x0f, 0x0f, 0xa2 }, -1 },
	};
	uint8_t many[X86_INSN_MAX + 1];
	size_t i;

	for (i = 0; i < ARRAY(rows); i++)
		EXPECT_EQ(rows[i].offset, opcode_0f_offset(rows[i].insn, 6, CPUID_BYTE_2));
	memset(many, 0x66, sizeof(many));
	memcpy(many + 13, "\x0f\xa2", 2);
	EXPECT_EQ(13, opcode_0f_offset(many, sizeof(many), CPUID_BYTE_2));
	EXPECT_EQ(-1, opcode_0f_offset(many, 14, CPUID_BYTE_2));
	memcpy(many + 13, "\x66\x0f\xa2", 3);
	EXPECT_EQ(-1, opcode_0f_offset(many, sizeof(many), CPUID_BYTE_2));
}

/*
 * In front of CPUID each byte either has no effect or makes it something else. The list
 * is that of the manual, spelled out: legacy prefixes but LOCK, and REX.
 */
TEST(only_prefixes_are_no_obstacle)
{
	static const char legacy[] = "\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3";
	static const char rex[] = "@ABCDEFGHIJKLMNO";
	uint8_t insn[3] = { 0, 0x0f, 0xa2 };
	int byte, offset;

	for (byte = 1; byte < 256; byte++) {
		insn[0] = (uint8_t)byte;
		offset = strchr(legacy, byte) || strchr(rex, byte) ? 1 : -1;
		EXPECT_EQ(offset, opcode_0f_offset(insn, sizeof(insn), CPUID_BYTE_2)) {
			TH_LOG("prefix %02x", byte);
		}
		/* The opcode is both of its bytes, and another instruction is not this one. */
		insn[0] = 0x0f;
		insn[1] = (uint8_t)byte;
		offset = byte == CPUID_BYTE_2 ? 0 : -1;
		EXPECT_EQ(offset, opcode_0f_offset(insn, 2, CPUID_BYTE_2));
		insn[1] = 0x0f;
	}
}

/* ---- features ---- */

static bool parsed(const char *spec, struct cpuid *c)
{
	struct cpuid_mask mask;
	char message[256];

	if (cpuid_parse(spec, &mask, message, sizeof(message)))
		return false;
	cpuid_init(c, &mask);
	return true;
}

static bool hides(const struct cpuid *c, const char *name)
{
	return cpuid_name_hidden(&c->mask, name, strlen(name));
}

TEST(dependents_are_hidden)
{
	struct cpuid c;

	ASSERT_TRUE(parsed("hide=avx", &c));
	EXPECT_TRUE(hides(&c, "avx"));
	EXPECT_TRUE(hides(&c, "avx2"));
	EXPECT_TRUE(hides(&c, "fma"));
	EXPECT_TRUE(hides(&c, "avx512vbmi"));
	EXPECT_TRUE(hides(&c, "vaes"));
	EXPECT_FALSE(hides(&c, "aes"));
	EXPECT_FALSE(hides(&c, "xsave"));
	EXPECT_FALSE(hides(&c, "sse4_2"));
	ASSERT_TRUE(parsed("hide=xsave,bmi1", &c));
	EXPECT_TRUE(hides(&c, "avx512f"));
	EXPECT_TRUE(hides(&c, "xsaves"));
	EXPECT_TRUE(hides(&c, "bmi1"));
	EXPECT_FALSE(hides(&c, "bmi2"));
	ASSERT_TRUE(parsed(NULL, &c));
	EXPECT_FALSE(c.restricted);
}

TEST(mistakes_are_explained)
{
	static const struct {
		const char *spec, *text;
	} rows[] = {
		{ "hide=avx512", "did you mean 'avx512" }, { "hide=sse4.1", "did you mean 'sse4_1'" },
		{ "hide=popcnt,sse2", "'sse2' cannot be hidden" }, { "hide=", "--cpuid=list" },
		{ "hide=avx,", "--cpuid=list" }, { "hide=-", "--cpuid=list" },
		{ "show=avx", "is not hide=" }, { "avx", "is not hide=" },
		{ "hide=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "--cpuid=list" },
	};
	struct cpuid_mask mask;
	char message[256];
	size_t i;

	for (i = 0; i < ARRAY(rows); i++) {
		EXPECT_EQ(-EINVAL, cpuid_parse(rows[i].spec, &mask, message, sizeof(message)));
		EXPECT_NE(NULL, strstr(message, rows[i].text)) {
			TH_LOG("%s: %s", rows[i].spec, message);
		}
	}
}

TEST(answers_are_the_hosts_but_for_what_is_hidden)
{
	struct cpuid_regs r, h;
	struct cpuid c;

	ASSERT_TRUE(parsed("hide=popcnt,bmi1,xsaveopt,lahf_lm,fsgsbase", &c));
	cpuid_query(&c, 1, 0, &r);
	__cpuid(1, h.eax, h.ebx, h.ecx, h.edx);
	EXPECT_EQ(h.ecx & ~(1u << 23), r.ecx);
	EXPECT_EQ(h.edx, r.edx);
	EXPECT_EQ(h.ebx & 0xffffff, r.ebx);
	cpuid_query(&c, 7, 0, &r);
	EXPECT_EQ(0u, r.ebx & (1u << 3 | 1));
	cpuid_query(&c, 0xd, 1, &r);
	EXPECT_EQ(0u, r.eax & 1);
	cpuid_query(&c, 0x80000001, 0, &r);
	EXPECT_EQ(0u, r.ecx & 1);
	EXPECT_EQ(0u, cpuid_hwcap2(&c, 2));
	cpuid_query(&c, 1, 0, &r);
	EXPECT_EQ(r.edx, cpuid_hwcap(&c));
	/* State is saved as the CPU does it, as long as it is saved at all. */
	cpuid_query(&c, 0xd, 0, &r);
	__cpuid_count(0xd, 0, h.eax, h.ebx, h.ecx, h.edx);
	EXPECT_EQ(0, memcmp(&r, &h, sizeof(r)));
	ASSERT_TRUE(parsed("hide=xsave", &c));
	cpuid_query(&c, 0xd, 0, &r);
	EXPECT_EQ(0u, r.eax | r.ebx | r.ecx | r.edx);
	cpuid_query(&c, 1, 0, &r);
	EXPECT_EQ(0u, r.ecx & (1u << 26 | 1u << 27 | 1u << 28));
}

TEST(the_flags_line_is_filtered)
{
	char line[] = "flags\t\t: fpu avx sse2 avx2 fma constant_tsc avx512f", other[] = "model: avx";
	struct cpuid c;

	ASSERT_TRUE(parsed("hide=avx", &c));
	cpuid_filter_line(&c, line);
	EXPECT_STREQ("flags\t\t: fpu sse2 constant_tsc", line);
	cpuid_filter_line(&c, other);
	EXPECT_STREQ("model: avx", other);
}

TEST_HARNESS_MAIN
