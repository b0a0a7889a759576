/* SPDX-License-Identifier: MIT */
/*
 * platform_util.h - a bench to run small programs on any platform
 *
 * A bench is a platform with one address space and one context in it, and a
 * memory file whose pages are mapped into both the address space and the test:
 *
 *	BENCH_CODE	read, execute	the program under test
 *	BENCH_DATA	read, write	what it works on
 *	BENCH_STACK	read, write	below BENCH_STACK_TOP
 *
 * Tests run once for each platform. PLATFORM names the one that must be there
 * (the default is ptrace); others are skipped where the machine lacks them.
 * SANDTRAP_PLATFORMS, a list of names, restricts the tests to those.
 */
#ifndef _SELFTESTS_PLATFORM_UTIL_H
#define _SELFTESTS_PLATFORM_UTIL_H

#include <sandtrap/platform.h>

#define BENCH_PAGE 4096ull
#define BENCH_AREA_PAGES 4
#define BENCH_AREA (BENCH_AREA_PAGES * BENCH_PAGE)

/* All below 2 GiB, so that programs can use absolute 32-bit addresses. */
#define BENCH_CODE 0x10000000ull
#define BENCH_DATA 0x20000000ull
#define BENCH_STACK 0x30000000ull
#define BENCH_STACK_TOP (BENCH_STACK + BENCH_AREA - 64)

/* Somewhere free, for tests of their own. */
#define BENCH_FREE 0x40000000ull

struct bench {
	struct platform *p;
	struct platform_address_space *as;
	struct platform_context *ctx;
	struct user_regs_struct *regs;
	struct platform_event ev;
	int fd; /* the memory file: code, data, stack, spare pages */
	unsigned char *code, *data, *stack, *spare;
};

/* Offsets in the memory file. */
#define BENCH_CODE_OFFSET 0ull
#define BENCH_DATA_OFFSET BENCH_AREA
#define BENCH_STACK_OFFSET (2 * BENCH_AREA)
#define BENCH_SPARE_OFFSET (3 * BENCH_AREA)
#define BENCH_FILE_SIZE (4 * BENCH_AREA)

/*
 * PROGRAM(name, text): assembler text (AT&T syntax) as the bytes from name to
 * name_end. It must be position independent or made for BENCH_CODE.
 */
#define PROGRAM(name, text) \
	asm(".pushsection .rodata.programs, \"a\", @progbits\n" \
	    "	.globl " #name ", " #name "_end\n" \
	    #name ":\n" text "\n" \
	    #name "_end:\n" \
	    "	.popsection\n"); \
	extern const unsigned char name[], name##_end[]

#define BENCH_LOAD(bench, name) bench_load(bench, name, name##_end - name)

/* Why a platform cannot be tested here; NULL: it can, or must. */
const char *bench_why_skip(const char *platform);

/* Opens everything; 0 or -errno. */
int bench_open(struct bench *b, const char *platform);
void bench_close(struct bench *b);

/* Another address space with the same three areas mapped; 0 or -errno. */
int bench_new_address_space(struct bench *b, struct platform_address_space **as);

/* Maps or unmaps in effect at return; 0 or -errno. */
int bench_map(struct bench *b, uint64_t addr, uint64_t offset, uint64_t len, int prot);
int bench_unmap(struct bench *b, uint64_t addr, uint64_t len);

/* Copies a program to BENCH_CODE and resets all registers to start it. */
void bench_load(struct bench *b, const unsigned char *program, size_t size);
void bench_start(struct user_regs_struct *regs);

/* Switches once: 0 with b->ev filled, or -errno. */
int bench_switch(struct bench *b);

/*
 * Switches until something else than an interrupt comes back; for tests in
 * which spurious ones do not matter.
 */
int bench_run(struct bench *b);

/* The program's word at an offset of the data area. */
static inline uint64_t *bench_word(struct bench *b, size_t index)
{
	return (uint64_t *)b->data + index;
}

/* Is the CPU QEMU's emulation, which lacks or mistreats some exceptions? */
bool bench_is_emulated(void);

/* Ids of the descendants of the calling process; their number. */
int bench_descendants(pid_t *pids, int max);

/*
 * Signals a descendant of the calling process; refuses any other id, so that no bug
 * of a test, run as root, ends up as kill(-1). 0 or -1.
 */
int bench_kill(pid_t pid, int sig);

/* The descendant that holds the bench's address space: it maps the memory file. */
pid_t bench_stub(struct bench *b);

/*
 * The fixture that most test programs are: struct bench b and one variant for
 * each platform. 255 is the harness's own exit status for a skipped test.
 */
#define BENCH_FIXTURE(name) \
	FIXTURE(name) { struct bench b; }; \
	FIXTURE_VARIANT(name) { const char *platform; }; \
	FIXTURE_VARIANT_ADD(name, ptrace) { .platform = "ptrace" }; \
	FIXTURE_VARIANT_ADD(name, sandtrap) { .platform = "sandtrap" }; \
	FIXTURE_SETUP(name) \
	{ \
		if (bench_why_skip(variant->platform)) \
			SKIP(_exit(255), "%s", bench_why_skip(variant->platform)); \
		ASSERT_EQ(0, bench_open(&self->b, variant->platform)); \
	} \
	FIXTURE_TEARDOWN(name) \
	{ \
		pid_t left[4]; \
		bench_close(&self->b); \
		EXPECT_EQ(0, bench_descendants(left, 4)); \
	}

/* The next event is a system call of this number. */
#define EXPECT_SYSCALL(bench, nr) do { \
	ASSERT_EQ(0, bench_run(bench)); \
	ASSERT_EQ(PLATFORM_SYSCALL, (bench)->ev.kind); \
	EXPECT_EQ((uint32_t)(nr), (uint32_t)(bench)->regs->orig_rax); \
} while (0)

/* The next event is a signal of this number and code. */
#define EXPECT_FAULT(bench, signo, code) do { \
	ASSERT_EQ(0, bench_run(bench)); \
	ASSERT_EQ(PLATFORM_SIGNAL, (bench)->ev.kind); \
	EXPECT_EQ(signo, (bench)->ev.info.si_signo); \
	EXPECT_EQ(code, (bench)->ev.info.si_code); \
	EXPECT_EQ(-1ull, (uint64_t)(bench)->regs->orig_rax); \
} while (0)

#endif /* _SELFTESTS_PLATFORM_UTIL_H */
