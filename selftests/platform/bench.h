/* SPDX-License-Identifier: MIT */
/*
 * bench.h - a bench to run small programs on any platform
 *
 * A bench is a platform with one address space and one context in it, and a
 * memory file whose pages are mapped into both the address space and the test:
 *
 *	BENCH_CODE	read, execute	the program under test
 *	BENCH_DATA	read, write	what it works on
 *	BENCH_STACK	read, write	below BENCH_STACK_TOP
 *
 * A bench may stand in a storm: a thread that interrupts all its contexts at
 * random moments. Whoever switches must then expect PLATFORM_INTERRUPT at any
 * time; bench_run() and bench_run_context() go on behind it.
 */
#ifndef _SELFTESTS_PLATFORM_BENCH_H
#define _SELFTESTS_PLATFORM_BENCH_H

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

struct storm;

struct bench {
	struct platform *p;
	struct platform_address_space *as;
	struct platform_context *ctx;
	struct user_regs_struct *regs;
	struct platform_event ev;
	int fd; /* the memory file: code, data, stack, spare pages */
	unsigned char *code, *data, *stack, *spare;
	struct storm *storm; /* NULL: fair weather */
	unsigned long switches; /* calls of context_switch() by bench_run() and kin */
};

/* Offsets in the memory file. */
#define BENCH_CODE_OFFSET 0ull
#define BENCH_DATA_OFFSET BENCH_AREA
#define BENCH_STACK_OFFSET (2 * BENCH_AREA)
#define BENCH_SPARE_OFFSET (3 * BENCH_AREA)
#define BENCH_FILE_SIZE (4 * BENCH_AREA)

/*
 * PROGRAM(name, text): assembler text (AT&T syntax) as the bytes from name to
 * name_end. It must be position independent or made for BENCH_CODE. The names
 * are the source file's own.
 */
#define PROGRAM(name, text) \
	asm(".pushsection .rodata.programs, \"a\", @progbits\n" \
	    #name ":\n" text "\n" \
	    #name "_end:\n" \
	    "	.popsection\n"); \
	extern const unsigned char name[], name##_end[] __attribute__((visibility("hidden")))

#define BENCH_LOAD(bench, name) bench_load(bench, name, name##_end - name)

/*
 * Why a platform cannot be tested here, and what would change that; NULL: it can,
 * or must, because PLATFORM in the environment names it.
 */
const char *bench_why_skip(const char *platform);

/* Opens everything; 0 or -errno. */
int bench_open(struct bench *b, const char *platform, bool storm);
void bench_close(struct bench *b);

/* A further context, with its registers set to start the program; 0 or -errno. */
int bench_new_context(struct bench *b, struct platform_context **ctx);
void bench_release_context(struct bench *b, struct platform_context *ctx);

/* Takes another context for the bench's own, which may be NULL; 0 or -errno. */
int bench_renew_context(struct bench *b);

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

/* Switches until something else than an interrupt comes back. */
int bench_run(struct bench *b);
int bench_run_context(struct bench *b, struct platform_context *ctx,
		      struct platform_address_space *as, struct platform_event *ev);

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

/* Another such process than this one; -1: there is none. */
pid_t bench_stub_but(struct bench *b, pid_t spared);

/* Has a process ended? A zombie has; who reaps it is another matter. */
bool bench_is_gone(pid_t pid);

/* How many threads of a process /proc lists, and their ids. */
int bench_threads(pid_t pid, pid_t *tids, int max);

/* Is the program to be kept short, because this CPU is an emulated one? */
static inline int bench_scale(int native, int emulated)
{
	return bench_is_emulated() ? emulated : native;
}

/* A repeatable sequence; *state must not be 0. */
uint64_t bench_random(uint64_t *state);

int64_t bench_now_ns(void);
/* As long as that; SANDTRAP_SLOW times as long on a slow kernel: see patience.h. */
int64_t bench_patience_ns(int64_t ns);
void bench_sleep_us(long us);

/*
 * A thread, until it is cancelled: interrupts the context of the bench it is given.
 * Should there be a loop in a program, that ends it.
 */
void *bench_interrupt_forever(void *bench);

#endif /* _SELFTESTS_PLATFORM_BENCH_H */
