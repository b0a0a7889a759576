// SPDX-License-Identifier: MIT
/*
 * fuzz.c - no instruction bytes whatsoever have an effect outside
 *
 * Programs are made of random bytes, and of every short sequence in turn. Their
 * registers are those of a system call that would leave a trace if the host
 * executed it, by either convention: a byte in a pipe that the stub may have
 * inherited, a directory, a mapping, another process. After each batch no trace
 * may be there: the pipe and the directory are empty, the stub's list of mappings
 * is what it was, and nobody has children that were not there before. A call
 * that the stub's filter kills for would show as an error of the switch.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

/* A context that wanders about is stopped after so many events. */
#define MAX_WANDERING 8

#define MAPS_SIZE 65536
#define MAX_PROCESSES 64

FIXTURE(fuzz) {
	struct bench b;
	int pipe[2];
	char dir[32];
	char *maps;
	int processes;
	uint64_t seed;
	pthread_t guard;
	bool guarded;
};

SUITE_VARIANTS(fuzz)
SUITE_STORM_VARIANTS(fuzz);

FIXTURE_SETUP(fuzz)
{
	SUITE_SKIP_UNLESS_POSSIBLE(variant->platform);
	/* Before the platform, so that even copied tables and directories have it. */
	ASSERT_EQ(0, pipe2(self->pipe, O_NONBLOCK));
	strcpy(self->dir, "/tmp/fuzz-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, bench_open(&self->b, variant->platform, variant->storm));
	self->maps = malloc(MAPS_SIZE);
	ASSERT_NE(NULL, self->maps);
	self->seed = 0x9e3779b97f4a7c15;
	ASSERT_EQ(0, pthread_create(&self->guard, NULL, bench_interrupt_forever, &self->b));
	self->guarded = true;
}

FIXTURE_TEARDOWN(fuzz)
{
	pid_t left[4];

	if (self->guarded) {
		pthread_cancel(self->guard);
		pthread_join(self->guard, NULL);
	}
	bench_close(&self->b);
	EXPECT_EQ(0, bench_descendants(left, 4));
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_EQ(0, chdir("/"));
	EXPECT_EQ(0, rmdir(self->dir));
	free(self->maps);
}

/* ---- traces ---- */

static void read_maps(struct bench *b, char *text)
{
	char path[64];
	size_t got;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", bench_stub(b));
	memset(text, 0, MAPS_SIZE);
	f = fopen(path, "re");
	got = f ? fread(text, 1, MAPS_SIZE - 1, f) : 0;
	text[got] = '\0';
	if (f)
		fclose(f);
}

static void remember(struct __test_metadata *_metadata, FIXTURE_DATA(fuzz) *self)
{
	pid_t pids[MAX_PROCESSES];

	read_maps(&self->b, self->maps);
	ASSERT_NE('\0', self->maps[0]);
	self->processes = bench_descendants(pids, MAX_PROCESSES);
}

static bool directory_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool empty = !!dir;

	while (dir && (entry = readdir(dir)))
		empty &= entry->d_name[0] == '.';
	if (dir)
		closedir(dir);
	return empty;
}

static void expect_no_trace(struct __test_metadata *_metadata, FIXTURE_DATA(fuzz) *self)
{
	pid_t pids[MAX_PROCESSES];
	char *maps = malloc(MAPS_SIZE);
	char byte;

	EXPECT_EQ(-1, read(self->pipe[0], &byte, 1));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(directory_is_empty(self->dir));
	read_maps(&self->b, maps);
	EXPECT_STREQ(self->maps, maps);
	EXPECT_EQ(self->processes, bench_descendants(pids, MAX_PROCESSES));
	free(maps);
}

/* ---- registers ---- */

struct call {
	uint64_t nr64, args64[6];
	uint64_t nr32, args32[6]; /* of the same effect, for int 0x80 and sysenter */
};

#define PATH BENCH_DATA /* "x" */
#define FAR_FROM_ALL 0x60000000ull

/* Kept to calls that harm nobody, should they be executed after all. */
static void choose_call(FIXTURE_DATA(fuzz) *self, struct call *c, uint64_t which)
{
	const uint64_t fd = self->pipe[1], anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	const struct call calls[] = {
		{ 1, { fd, PATH, 1 }, 4, { fd, PATH, 1 } }, /* write */
		{ 83, { PATH, 0700 }, 39, { PATH, 0700 } }, /* mkdir */
		{ 9, { FAR_FROM_ALL, BENCH_PAGE, PROT_READ, anonymous, -1ull, 0 },
		  192, { FAR_FROM_ALL, BENCH_PAGE, PROT_READ, anonymous, -1ull, 0 } }, /* mmap */
		{ 11, { BENCH_DATA, BENCH_PAGE }, 91, { BENCH_DATA, BENCH_PAGE } }, /* munmap */
		{ 57, { 0 }, 2, { 0 } }, /* fork */
		{ 60, { 1 }, 1, { 1 } }, /* exit: the stub would be gone */
	};

	*c = calls[which % (sizeof(calls) / sizeof(calls[0]))];
}

/* Where a register is in both conventions, chance decides whose it is. */
static void set_registers(FIXTURE_DATA(fuzz) *self)
{
	struct user_regs_struct *r = self->b.regs;
	uint64_t chance = bench_random(&self->seed);
	bool compat = chance & 1;
	struct call c;

	choose_call(self, &c, chance >> 8);
	memcpy(self->b.data, "x", 2);
	bench_start(r);
	r->rax = compat ? c.nr32 : c.nr64;
	r->rdi = compat ? c.args32[4] : c.args64[0];
	r->rsi = compat ? c.args32[3] : c.args64[1];
	r->rdx = compat ? c.args32[2] : c.args64[2];
	r->r10 = c.args64[3];
	r->r8 = c.args64[4];
	r->r9 = c.args64[5];
	r->rbx = c.args32[0];
	r->rcx = c.args32[1];
	r->rbp = BENCH_STACK_TOP;
}

/* ---- programs ---- */

/*
 * In user mode QEMU's emulation of far returns and interrupt returns uses the
 * stack with the kernel's rights, and so raises a kernel fault that panics any
 * kernel; 0xff is the group with the far calls.
 */
static bool is_far(unsigned char byte)
{
	return byte == 0xca || byte == 0xcb || byte == 0xcf || byte == 0xff;
}

static void remove_far(struct bench *b, size_t size)
{
	size_t i;

	for (i = 0; bench_is_emulated() && i < size; i++) {
		if (is_far(b->code[i]))
			b->code[i] = 0xcc;
	}
}

/* Goes on behind system calls, as a sentry would, with another attempt. */
static int wander(struct bench *b)
{
	const uint64_t nr = b->regs->rax;
	int i, err = 0;

	for (i = 0; i < MAX_WANDERING && !err; i++) {
		err = bench_switch(b);
		if (!err && b->ev.kind != PLATFORM_SYSCALL)
			break;
		b->regs->rax = nr;
	}
	return err;
}

static void run_program(struct __test_metadata *_metadata, FIXTURE_DATA(fuzz) *self)
{
	struct bench *b = &self->b;

	set_registers(self);
	ASSERT_EQ(0, wander(b)) TH_LOG("bytes %02x %02x %02x %02x %02x %02x %02x %02x", b->code[0],
				       b->code[1], b->code[2], b->code[3], b->code[4], b->code[5],
				       b->code[6], b->code[7]);
	/* It may have left what no switch accepts. */
	ASSERT_EQ(0, context_pull_full_state(b->ctx));
	b->regs->fs_base = b->regs->gs_base = 0;
	context_full_state_changed(b->ctx);
}

/* First of all: an effect would be seen. */
TEST_F(fuzz, traces_would_be_seen)
{
	char byte, *maps = malloc(MAPS_SIZE);

	remember(_metadata, self);
	ASSERT_EQ(0, mkdir("x", 0700));
	EXPECT_FALSE(directory_is_empty(self->dir));
	ASSERT_EQ(0, rmdir("x"));
	ASSERT_EQ(1, write(self->pipe[1], "x", 1));
	EXPECT_EQ(1, read(self->pipe[0], &byte, 1));
	ASSERT_EQ(0, bench_map(&self->b, FAR_FROM_ALL, 0, BENCH_PAGE, PROT_READ));
	read_maps(&self->b, maps);
	EXPECT_STRNE(self->maps, maps);
	ASSERT_EQ(0, bench_unmap(&self->b, FAR_FROM_ALL, BENCH_PAGE));
	expect_no_trace(_metadata, self);
	free(maps);
}

/* Prefixes, then a way into the kernel, at any distance from a page's end. */
static size_t ways_in(unsigned char *at, uint64_t r)
{
	static const unsigned char prefixes[] = {
		0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf0,
		0x40, 0x41, 0x42, 0x44, 0x48, 0x4f,
	};
	static const unsigned char ways[][3] = {
		{ 0x0f, 0x05 }, { 0xcd, 0x80 }, { 0x0f, 0x34 }, { 0x0f, 0x0b },
		{ 0xf1 }, { 0xce }, { 0x0f, 0x07 }, { 0x0f, 0x35 },
	};
	size_t i, count = r % 4, size = 0;

	for (i = 0; i < count; i++) {
		r = r >> 7 | r << 57;
		at[size++] = prefixes[r % sizeof(prefixes)];
	}
	memcpy(at + size, ways[(r >> 8) % 8], 2);
	return size + 2;
}

TEST_F_TIMEOUT(fuzz, ways_in_with_prefixes, 60)
{
	const int rounds = bench_scale(3000, 400);
	struct bench *b = &self->b;
	unsigned char code[16];
	size_t size;
	int i;

	remember(_metadata, self);
	memset(b->code, 0xcc, BENCH_AREA);
	for (i = 0; i < rounds; i++) {
		memset(code, 0xcc, sizeof(code));
		size = ways_in(code, bench_random(&self->seed));
		memcpy(b->code, code, sizeof(code));
		remove_far(b, size);
		run_program(_metadata, self);
	}
	expect_no_trace(_metadata, self);
}

/* All of int 0 to int 255. */
TEST_F_TIMEOUT(fuzz, every_interrupt_vector, 60)
{
	struct bench *b = &self->b;
	int vector;

	remember(_metadata, self);
	memset(b->code, 0xcc, BENCH_AREA);
	for (vector = 0; vector < 256; vector++) {
		b->code[0] = 0xcd;
		b->code[1] = vector;
		remove_far(b, 2);
		run_program(_metadata, self);
	}
	expect_no_trace(_metadata, self);
}

/*
 * Every first byte with every second one, and what follows them by chance; an
 * emulated CPU tries one in so many.
 */
TEST_F_TIMEOUT(fuzz, every_two_bytes, 120)
{
	const int step = bench_scale(variant->storm ? 31 : 7, 131);
	struct bench *b = &self->b;
	uint64_t tail;
	int i;

	remember(_metadata, self);
	memset(b->code, 0xcc, BENCH_AREA);
	for (i = 0; i < 65536; i += step) {
		b->code[0] = i >> 8;
		b->code[1] = i & 0xff;
		tail = bench_random(&self->seed);
		memcpy(b->code + 2, &tail, 6);
		remove_far(b, 8);
		run_program(_metadata, self);
	}
	expect_no_trace(_metadata, self);
}

/* Half of all instructions are one of the ways into the kernel. */
static void random_program(struct bench *b, uint64_t *seed)
{
	uint64_t r;
	size_t i;

	for (i = 0; i < 256; i += 2) {
		r = bench_random(seed);
		if (r & 1)
			i += ways_in(b->code + i, r >> 1) - 2;
		else
			memcpy(b->code + i, (unsigned char *)&r + 2, 2);
	}
	remove_far(b, 300);
}

TEST_F_TIMEOUT(fuzz, random_code, 120)
{
	const int rounds = bench_scale(1500, 300);
	struct bench *b = &self->b;
	int i;

	remember(_metadata, self);
	memset(b->code, 0xcc, BENCH_AREA);
	for (i = 0; i < rounds; i++) {
		random_program(b, &self->seed);
		run_program(_metadata, self);
	}
	expect_no_trace(_metadata, self);
	/* Still in good health. */
	memcpy(b->code, "\x0f\x05", 2);
	bench_start(b->regs);
	b->regs->rax = 39;
	EXPECT_SYSCALL(b, 39);
}
