// SPDX-License-Identifier: MIT
/*
 * reuse.c - nothing of an address space is left for the next owner of its stub
 *
 * A secret is put wherever a program can put one: memory, vector registers,
 * general registers, fs and gs base. Everything is released and made anew, and
 * then every byte that the new stub process could read is searched for it, and
 * the registers are looked at as the new program sees them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access.h"

#define SECRET 0x5ec2e7a9d3b1f086ull
#define SECRET_PAGES 16

SUITE_FIXTURE(reuse);

/* rdx: the secret, into every vector register and the stack. */
PROGRAM(prog_hide,
	"	movq %rdx, %xmm0\n"
	"	punpcklqdq %xmm0, %xmm0\n"
	"	.irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqa %xmm0, %xmm\\n\n"
	"	.endr\n"
	"	push %rdx\n"
	"	movq %rdx, %mm0\n"
	"	movq %rdx, %mm7\n"
	"1:	syscall\n"
	"	jmp 1b");

PROGRAM(prog_look,
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movdqu %xmm\\n, 0x20000000+16*\\n\n"
	"	.endr\n"
	"	fnsave 0x20000200\n"
	"	syscall");

static void set_all(struct user_regs_struct *r, uint64_t value)
{
	r->rax = r->rbx = r->rcx = r->rdx = r->rsi = r->rdi = r->rbp = value;
	r->r8 = r->r9 = r->r10 = r->r11 = r->r12 = r->r13 = r->r14 = r->r15 = value;
}

/* Runs in a memory file that goes away with the function. */
static void hide(struct __test_metadata *_metadata, struct bench *b)
{
	int fd = memfd_create("secrets", MFD_CLOEXEC);
	const uint64_t secret = SECRET;
	uint64_t i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SECRET_PAGES * BENCH_PAGE));
	for (i = 0; i < SECRET_PAGES; i++)
		ASSERT_EQ(8, pwrite(fd, &secret, 8, i * BENCH_PAGE));
	ASSERT_EQ(0, address_space_map_file(b->as, b->ctx, BENCH_FREE, fd, 0,
					    SECRET_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE,
					    true));
	ASSERT_EQ(0, address_space_map_file(b->as, b->ctx,
					    b->p->max_user_address - 64 * BENCH_PAGE, fd, 0,
					    SECRET_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE,
					    true));
	close(fd);
	EXPECT_READ(b, BENCH_FREE, SECRET);
	BENCH_LOAD(b, prog_hide);
	set_all(b->regs, SECRET);
	EXPECT_SYSCALL(b, SECRET);
	set_all(b->regs, SECRET);
	EXPECT_SYSCALL(b, SECRET);
	/* A fault and an interrupt leave their traces, too. */
	b->regs->rip = SECRET >> 24;
	ASSERT_EQ(0, bench_run(b));
	EXPECT_EQ(PLATFORM_SIGNAL, b->ev.kind);
}

/* Does the range hold the secret? What cannot be read, holds nothing. */
static bool search(int mem, uint64_t start, uint64_t end)
{
	const uint64_t secret = SECRET;
	unsigned char buf[64 * 1024];
	ssize_t got;

	for (; start < end; start += got) {
		got = pread(mem, buf, end - start < sizeof(buf) ? end - start : sizeof(buf), start);
		if (got <= 0)
			return false;
		if (memmem(buf, got, &secret, sizeof(secret)))
			return true;
	}
	return false;
}

/* All that its process maps, but the vDSO; the number of ranges searched. */
static int search_process(struct __test_metadata *_metadata, pid_t pid)
{
	char path[64], line[512], rights[8];
	unsigned long long start, end;
	int mem, searched = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (mem >= 0 && maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx %7s", &start, &end, rights) != 3 || rights[0] != 'r')
			continue;
		EXPECT_FALSE(search(mem, start, end)) TH_LOG("%s", line);
		EXPECT_EQ(NULL, strstr(line, "secrets")) TH_LOG("%s", line);
		searched++;
	}
	if (mem >= 0)
		close(mem);
	if (maps)
		fclose(maps);
	return searched;
}

/* Nothing in memory that the test itself shares with the stub. */
static void tidy_up(struct bench *b)
{
	memset(b->code, 0, BENCH_FILE_SIZE);
}

static void look(struct __test_metadata *_metadata, struct bench *b)
{
	const uint64_t secret = SECRET;
	pid_t stub;

	BENCH_LOAD(b, prog_look);
	EXPECT_SYSCALL(b, 0);
	EXPECT_EQ(NULL, memmem(b->data, BENCH_AREA, &secret, sizeof(secret)));
	EXPECT_EQ(NULL, memmem(b->regs, sizeof(*b->regs), &secret, sizeof(secret)));
	EXPECT_EQ(0, context_pull_full_state(b->ctx));
	EXPECT_EQ(NULL, memmem(b->ctx->state.xstate, b->ctx->state.xstate_size, &secret,
			       sizeof(secret)));
	stub = bench_stub(b);
	ASSERT_LT(0, stub);
	if (!geteuid())
		EXPECT_LT(2, search_process(_metadata, stub));
	EXPECT_FAULT_AT(b, prog_read, BENCH_FREE);
	EXPECT_FAULT_AT(b, prog_read, b->p->max_user_address - 64 * BENCH_PAGE);
}

/* First of all: a search that finds nothing, ever, proves nothing. */
TEST_F(reuse, search_would_find_it)
{
	struct bench *b = &self->b;
	char path[64];
	pid_t stub;
	int mem;

	if (geteuid())
		SKIP(return, "the machine lacks the right to read stubs: be root");
	hide(_metadata, b);
	stub = bench_stub(b);
	ASSERT_LT(0, stub);
	snprintf(path, sizeof(path), "/proc/%d/mem", stub);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_TRUE(search(mem, BENCH_FREE, BENCH_FREE + BENCH_PAGE));
	close(mem);
}

TEST_F(reuse, nothing_is_left_in_memory_or_registers)
{
	struct bench *b = &self->b;
	int i;

	for (i = 0; i < 6; i++) {
		hide(_metadata, b);
		/* In either order. */
		if (i % 2)
			address_space_release(b->as);
		bench_release_context(b, b->ctx);
		if (!(i % 2))
			address_space_release(b->as);
		b->ctx = NULL;
		tidy_up(b);
		ASSERT_EQ(0, bench_new_address_space(b, &b->as));
		ASSERT_EQ(0, bench_renew_context(b));
		look(_metadata, b);
	}
}

/* The address space stays, and with it its stub; only the context goes. */
TEST_F(reuse, nothing_is_left_by_a_context)
{
	const uint64_t secret = SECRET;
	struct bench *b = &self->b;
	int i;

	for (i = 0; i < 4; i++) {
		BENCH_LOAD(b, prog_hide);
		set_all(b->regs, SECRET);
		EXPECT_SYSCALL(b, SECRET);
		ASSERT_EQ(0, bench_renew_context(b));
		tidy_up(b);
		BENCH_LOAD(b, prog_look);
		EXPECT_SYSCALL(b, 0);
		EXPECT_EQ(NULL, memmem(b->data, BENCH_AREA, &secret, sizeof(secret)));
	}
}
