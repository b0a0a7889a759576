/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the parts of the fuzzer share, see fuzz.c
 *
 * objects.c makes values and picks objects, commands.c and others.c do something
 * with them, hostile.c changes them meanwhile. fuzz.c is the round around it.
 */
#ifndef _SELFTESTS_FUZZ_H
#define _SELFTESTS_FUZZ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sandtrap_util.h"

#define MAX_THREADS 16
#define SPACES 6
#define CONTEXTS 24
#define MAX_MAPPED 1500 /* contexts of a round whose pages are mapped */
#define MAX_OPS 4
#define MAX_ERRNO 134

/* fuzz_programs: one a slot of PROGRAM_SIZE bytes; the last slots stay empty. */
#define PROGRAM_SIZE 64
#define PROGRAMS 12

/* Where copies go to: far from anything a flipped bit could lead to. */
#define DESERT (1ull << 40)
#define OASIS (1ull << 20)

/* What a thread is doing, for whoever has to explain a failure. */
struct progress {
	_Atomic uint64_t since; /* 0: nothing */
	_Atomic uint32_t op;
	const char *_Atomic what;
	_Atomic int tid;
};

/* Shared by all processes. */
struct board {
	struct progress threads[MAX_THREADS];
	_Atomic uint32_t done;
	_Atomic uint32_t injected;
	_Atomic uint32_t events[8];
	_Atomic uint32_t direct; /* events of contexts that run directly, */
	_Atomic uint32_t direct_lseek; /* by lseek, */
	_Atomic uint32_t direct_ops; /* and after operations on memory */
	_Atomic uint32_t lost_fpu; /* calls that changed the caller's registers */
	_Atomic bool has_direct;
	_Atomic uint32_t good[32]; /* by command */
	_Atomic uint32_t bad[32][MAX_ERRNO]; /* by command and errno */
	_Atomic int strange; /* an error that no command may return */
	_Atomic uint32_t strange_op;
	const char *_Atomic strange_what;
};

union argument {
	uint32_t size;
	struct sandtrap_info info;
	struct sandtrap_new_address_space new_space;
	struct sandtrap_new_context new_context;
	struct sandtrap_bind_context bind;
	struct sandtrap_context_arg context;
	struct sandtrap_run run;
	struct sandtrap_wait wait;
	struct sandtrap_ring_setup ring;
	struct sandtrap_mem mem;
	struct sandtrap_copy copy;
	struct sandtrap_atomic atomic;
	uint32_t words[32];
};

struct fuzzer {
	unsigned int number;
	uint64_t random;
	int fail_nth;
	union argument *arg; /* at the end of a page, and hostile as the context pages */
	struct sandtrap_mem_op *ops;
};

/* Everything of a round: descriptors and ids go stale under whoever uses them. */
struct fuzz_round {
	struct box box;
	int other_instance;
	_Atomic int spaces[SPACES], stub_fds[SPACES];
	_Atomic uint32_t ids[CONTEXTS];
	struct sandtrap_context_page *_Atomic pages[CONTEXTS];
	atomic_bool direct[CONTEXTS];
	struct sandtrap_ring_consumer *_Atomic consumer;
	atomic_int mapped;
	struct fuzzer fuzzers[MAX_THREADS];
	unsigned int threads; /* fuzzers; behind them comes the one that scribbles */
	unsigned char *oasis;
	atomic_bool over;
};

extern struct fuzz_round fuzz;
extern struct board *board;

/* ---- objects.c ---- */

extern const unsigned char fuzz_programs[], fuzz_programs_end[];

uint64_t fuzz_mix(uint64_t x);
uint64_t chance(struct fuzzer *f);
unsigned int pick(struct fuzzer *f, unsigned int n);

/* A value that means something to somebody, and a change of one in an object. */
uint64_t fuzz_nasty(struct fuzzer *f);
void fuzz_mutate(struct fuzzer *f, void *object, size_t size);

/* Around everything that may hang or fail: the latter returns the error, if any. */
void fuzz_begin(struct fuzzer *f, const char *what);
int fuzz_end(struct fuzzer *f, long ret);

/* Mostly ones that are there. Contexts and spaces go by slot. */
int fuzz_any_fd(struct fuzzer *f);
int fuzz_any_space(struct fuzzer *f);
unsigned int fuzz_any_slot(struct fuzzer *f);
unsigned int fuzz_free_slot(struct fuzzer *f);
unsigned int fuzz_free_space(struct fuzzer *f);
uint32_t fuzz_seq_of(unsigned int slot);

/* A program to run next. */
void fuzz_load_registers(struct fuzzer *f, struct sandtrap_context_page *page);

/* ---- commands.c ---- */

void fuzz_command(struct fuzzer *f);

/* The context @id has come to an event; true: it runs directly. */
bool fuzz_count_event(uint32_t id);

/* Room for @new in this process, and registers to begin with. */
void fuzz_remember_context(struct fuzzer *f, const struct sandtrap_new_context *new);

/* Shows how often each succeeded; false: one never did. */
bool fuzz_report_commands(void);

/* ---- others.c ---- */

void fuzz_other(struct fuzzer *f);

/* ---- hostile.c ---- */

/* ---- fpu.c ---- */

/*
 * A system call with values in registers that it has to leave alone: the control words,
 * and with @all the x87, SSE and AVX registers. Tells the board of what is lost.
 */
long fuzz_call(bool all, long nr, long a, long b, long c);

/* The thread that scribbles, until the round is over. */
void *fuzz_hostile(void *data);

#endif /* _SELFTESTS_FUZZ_H */
