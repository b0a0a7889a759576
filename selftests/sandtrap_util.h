/* SPDX-License-Identifier: MIT */
/*
 * sandtrap_util.h - the module's interface, nearly bare, for tests of it
 *
 * A box is an instance with a template for stub processes and a memory file. It
 * has one address space with one context; tests make more. Nothing but the
 * template comes from the library: commands are the bare ioctls.
 */
#ifndef _SELFTESTS_SANDTRAP_UTIL_H
#define _SELFTESTS_SANDTRAP_UTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "platform/sandtrap.h"
#include "uapi/sandtrap.h"

#ifdef TEST_HARNESS_MAIN
#include "patience.h"
#endif

#define BOX_PAGE 4096ull
#define BOX_FILE_PAGES 32
#define BOX_FILE_SIZE (BOX_FILE_PAGES * BOX_PAGE)

/* Where box_open() maps pages 0..3 (r-x), 4..7 (rw-) and 8..11 (rw-). */
#define BOX_CODE 0x10000000ull
#define BOX_DATA 0x20000000ull
#define BOX_STACK 0x30000000ull
#define BOX_STACK_TOP (BOX_STACK + 4 * BOX_PAGE - 64)
#define BOX_DATA_PAGE 4
#define BOX_STACK_PAGE 8

/* Pages 12.. are free for tests, as is the memory from here. */
#define BOX_SPARE_PAGE 12
#define BOX_FREE 0x40000000ull

/* In milliseconds: what takes longer does not come. */
#define BOX_SOON 10000

struct box_context {
	uint32_t id;
	uint64_t offset;
	struct sandtrap_context_page *page;
};

struct box {
	int fd;
	struct sandtrap_info info;
	struct stub_template stubs;
	struct platform_vdso vdso;
	int mem;
	unsigned char *file; /* all of the memory file */
	int as;
	struct box_context ctx;
};

/* Why the module cannot be tested here, with what to do; NULL: it can. */
const char *box_why_skip(void);

/* All return 0 or -errno. */
int box_open_instance(struct box *b);
int box_open(struct box *b);
int box_open_on(struct box *b, int mem, void *file); /* memory of another box */
void box_close(struct box *b);
int box_new_space(struct box *b, int *as);
int box_new_context(struct box *b, int as, uint32_t flags,
		    struct box_context *ctx);
int box_map_areas(struct box *b, int as);
int box_map(struct box *b, int as, uint64_t addr, unsigned int page,
	    unsigned int pages, int prot);
int box_unmap(int as, uint64_t addr, uint64_t len);

/* A command with a context_arg. */
int box_command(struct box *b, unsigned int cmd, uint32_t id, uint32_t flags,
		uint32_t seq);

/* Copies a program to BOX_CODE and points the context at it. */
void box_load(struct box *b, struct box_context *ctx,
	      const unsigned char *program, size_t size);
#define BOX_LOAD(box, name) \
	box_load(box, &(box)->ctx, name, name##_end - name)

/* Answers the last event and waits for the next: its code, or -errno. */
int box_run(struct box *b, struct box_context *ctx);
int box_run_flags(struct box *b, struct box_context *ctx, uint32_t flags);
/* A single call: -EINTR is returned as well. */
int box_try_run(struct box *b, struct box_context *ctx);

/*
 * Contexts that box_open() makes run directly if SANDTRAP_MODE is "direct". This
 * makes the calling thread fit for that.
 */
bool box_is_direct(void);
void box_fit_for_direct(void);

/* One more context, which runs directly whatever the mode is. 0 or -errno. */
int box_new_direct(struct box *b, struct box_context *ctx);

/* fork(). In the child @b is its own, on the same memory, with @ctx; it dies with us. */
pid_t box_fork(struct box *b, struct box_context *ctx);

/* How far box_count is. box_counts(): that it gets any further within a second. */
uint32_t box_counter(struct box *b);
bool box_counts(struct box *b);

/* Waits for an event later than @seq until @ms from now: 0 or -errno. */
int box_wait(struct box *b, struct box_context *ctx, uint32_t seq, int ms);

/* Processes whose parent's parent we are: stubs. Their number; -1: more. */
int box_stubs(struct box *b, pid_t *pids, int max);

/* The thread of a stub that runs its context: not the first. -1: there is none. */
pid_t box_running_thread(pid_t stub);

/* Waits up to @ms until @pid is gone, or is a zombie. */
bool box_gone(pid_t pid, int ms);

/*
 * What a process does that wants to be a stub: a filter, which allows everything, and
 * (un)registers libc's restartable sequences, if it has any. The former exits where it fails.
 */
void box_allow_everything(void);
long box_rseq(int flags);

/* References to the module; -1 if it is not loaded as a module. */
int box_module_refs(void);

/* Writes to a file of the kernel's, as of a control group or the tracer: 0 or -errno. */
int box_write(const char *dir, const char *file, const char *text);

uint64_t box_now_ns(void);

/*
 * SIGALRM again and again, as often as a machine can take that has taken @ns for twenty
 * rounds of the test; and no more of them.
 */
void box_begin_alarms(uint64_t ns);
void box_end_alarms(void);

/* Keeps a thread on a CPU; 0 is the caller. 0 or -1. */
int box_stay_on(pid_t tid, int cpu);

/* Protection keys: whether there are any, and the rights of the calling thread. */
bool box_has_pku(void);
unsigned int box_read_pkru(void);
void box_write_pkru(unsigned int pkru);

/* Assembler text as the bytes from name to name_end. */
#define BOX_PROGRAM(name, text) \
	asm(".pushsection .rodata.programs, \"a\", @progbits\n" \
	    "	.globl " #name ", " #name "_end\n" \
	    #name ":\n" text "\n" \
	    #name "_end:\n" \
	    "	.popsection\n"); \
	extern const unsigned char name[], name##_end[]

/*
 * Programs: system calls for ever; a jump to rbx; one that copies all registers
 * to BOX_DATA, and changes them; one that counts at BOX_DATA for ever.
 */
extern const unsigned char box_syscall[], box_syscall_end[];
extern const unsigned char box_jump[], box_jump_end[];
extern const unsigned char box_registers[], box_registers_end[];
extern const unsigned char box_count[], box_count_end[];

/* The fixture that most test programs are. */
#define BOX_FIXTURE(name) \
	FIXTURE(name) { struct box b; }; \
	FIXTURE_SETUP(name) \
	{ \
		if (box_why_skip()) \
			SKIP(_exit(255), "%s", box_why_skip()); \
		ASSERT_EQ(0, box_open(&self->b)); \
	} \
	FIXTURE_TEARDOWN(name) \
	{ \
		box_close(&self->b); \
	}

/* The same with a context that runs directly whatever the mode is. */
#define BOX_DIRECT_FIXTURE(name) \
	FIXTURE(name) { struct box b; struct box_context ctx; }; \
	FIXTURE_SETUP(name) \
	{ \
		if (box_why_skip()) \
			SKIP(_exit(255), "%s", box_why_skip()); \
		ASSERT_EQ(0, box_open(&self->b)); \
		if (!(self->b.info.out_features & SANDTRAP_FEATURE_DIRECT_MODE)) { \
			box_close(&self->b); \
			SKIP(_exit(255), \
			     "this kernel lacks what direct mode needs: see its log"); \
		} \
		ASSERT_EQ(0, box_new_direct(&self->b, &self->ctx)); \
	} \
	FIXTURE_TEARDOWN(name) \
	{ \
		box_close(&self->b); \
	}

/* In a test: run the program until its next event, which is to be this one. */
#define EXPECT_EVENT(event) \
	ASSERT_EQ(SANDTRAP_EVENT_##event, box_run(&self->b, &self->b.ctx))

/* The event after @seq is the last. */
#define EXPECT_DEAD(ctx, seq) do { \
	EXPECT_EQ(0, box_wait(&self->b, ctx, seq, BOX_SOON)); \
	EXPECT_EQ(SANDTRAP_EVENT_DEAD, (ctx)->page->event); \
} while (0)

static inline const struct sandtrap_fault *fault(struct box *b)
{
	return &b->ctx.page->fault;
}

#endif /* _SELFTESTS_SANDTRAP_UTIL_H */
