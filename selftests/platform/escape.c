// SPDX-License-Identifier: MIT
/*
 * escape.c - no byte sequence reaches the host's system calls
 *
 * Every program here tries a write(2), by one way into the kernel or another,
 * to a pipe that it could reach if the call were executed: on platforms whose
 * stubs share the sentry's descriptors by its number, and otherwise the attempt
 * would show as a dead stub or a missing event. The registers are set up for
 * the 64-bit and the i386 convention at the same time.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "platform/systrap.h"
#include "suite.h"

/* Calls in both tables: write; i386's 1 is exit, and its 39 is mkdir. */
#define NR_WRITE_64 1
#define NR_WRITE_32 4
#define X32_BIT 0x40000000

#define VSYSCALL_PAGE 0xffffffffff600000ull

/* A context that wanders about is stopped after so many events. */
#define MAX_WANDERING 8

FIXTURE(escape) {
	struct bench b;
	int pipe[2];
};

SUITE_VARIANTS(escape)
SUITE_STORM_VARIANTS(escape);

FIXTURE_SETUP(escape)
{
	SUITE_SKIP_UNLESS_POSSIBLE(variant->platform);
	/* Before the platform, so that even a copied table has it. */
	ASSERT_EQ(0, pipe2(self->pipe, O_NONBLOCK));
	ASSERT_EQ(0, bench_open(&self->b, variant->platform, variant->storm));
}

FIXTURE_TEARDOWN(escape)
{
	bench_close(&self->b);
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/* The effect that no program may have. */
#define EXPECT_NO_EFFECT() do { \
	char byte_; \
	EXPECT_EQ(-1, read(self->pipe[0], &byte_, 1)); \
	EXPECT_EQ(EAGAIN, errno); \
} while (0)

/* write(pipe, BENCH_DATA, 1) in both conventions, all but the number. */
static void set_arguments(struct user_regs_struct *regs, int fd)
{
	regs->rdi = fd;
	regs->rsi = BENCH_DATA;
	regs->rdx = 1;
	regs->rbx = fd;
	regs->rcx = BENCH_DATA;
	regs->rbp = BENCH_STACK_TOP;
}

static void try(struct bench *b, int fd, uint64_t nr)
{
	bench_start(b->regs);
	set_arguments(b->regs, fd);
	b->regs->rax = nr;
}

PROGRAM(prog_syscall, "syscall");
PROGRAM(prog_int80, "int $0x80");
PROGRAM(prog_sysenter, "sysenter");
PROGRAM(prog_vsyscall, "call *%r12\n ud2");

/* The pipe works: a test that cannot see the effect proves nothing. */
TEST_F(escape, effect_would_be_seen)
{
	char byte;

	ASSERT_EQ(1, write(self->pipe[1], "x", 1));
	EXPECT_EQ(1, read(self->pipe[0], &byte, 1));
	EXPECT_NO_EFFECT();
}

TEST_F(escape, syscall)
{
	static const uint64_t numbers[] = {
		NR_WRITE_64, NR_WRITE_64 | 1ull << 32, -1ull, 1ull << 31, 0x7fffffff,
		NR_WRITE_64 | X32_BIT, 20 | X32_BIT, 512 | X32_BIT, X32_BIT,
	};
	struct bench *b = &self->b;
	size_t i;

	BENCH_LOAD(b, prog_syscall);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		try(b, self->pipe[1], numbers[i]);
		EXPECT_SYSCALL(b, numbers[i]);
		EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
	}
	EXPECT_NO_EFFECT();
}

/* The kernel may have been built, or booted, without 32-bit programs. */
static bool is_int80_refusal(const struct bench *b)
{
	return b->ev.kind == PLATFORM_SIGNAL && b->ev.info.si_signo == SIGSEGV;
}

TEST_F(escape, int80)
{
	static const uint64_t numbers[] = { NR_WRITE_32, 1, 20, 0x7fffffff, 0xffffffff };
	struct bench *b = &self->b;
	size_t i;

	BENCH_LOAD(b, prog_int80);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		try(b, self->pipe[1], numbers[i]);
		ASSERT_EQ(0, bench_run(b));
		if (is_int80_refusal(b))
			continue;
		ASSERT_EQ(PLATFORM_SYSCALL, b->ev.kind);
		EXPECT_EQ(PLATFORM_EVENT_COMPAT, b->ev.flags & PLATFORM_EVENT_COMPAT);
		EXPECT_EQ((uint32_t)numbers[i], (uint32_t)b->regs->orig_rax);
		EXPECT_EQ(BENCH_CODE + 2, b->regs->rip);
		EXPECT_EQ(self->pipe[1], b->regs->rbx);
		EXPECT_EQ(BENCH_DATA, b->regs->rcx);
	}
	EXPECT_NO_EFFECT();
}

/* Dressed up as the other kind: the flag may be wrong, the effect may not. */
TEST_F(escape, int80_in_disguise)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_int80);
	try(b, self->pipe[1], NR_WRITE_32);
	b->regs->rcx = BENCH_CODE + 2;
	b->regs->r11 = 0x202;
	b->regs->eflags = 0x202;
	ASSERT_EQ(0, bench_run(b));
	if (!is_int80_refusal(b))
		EXPECT_EQ(PLATFORM_SYSCALL, b->ev.kind);
	EXPECT_NO_EFFECT();
}

/* Some CPUs know it in 64-bit mode, others do not. */
TEST_F(escape, sysenter)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_sysenter);
	try(b, self->pipe[1], NR_WRITE_32);
	for (i = 0; i < MAX_WANDERING && !bench_run(b); i++)
		;
	EXPECT_NO_EFFECT();
}

/* A fault at the page, as if it were not there, with the call half done. */
TEST_F(escape, vsyscalls)
{
	struct bench *b = &self->b;
	int i;

	BENCH_LOAD(b, prog_vsyscall);
	memset(b->data, 0, BENCH_AREA);
	for (i = 0; i < 3; i++) {
		bench_start(b->regs);
		b->regs->r12 = VSYSCALL_PAGE + i * 1024;
		b->regs->rdi = BENCH_DATA;
		b->regs->rsi = BENCH_DATA + 64;
		b->regs->rbx = 0x1234;
		EXPECT_FAULT(b, SIGSEGV, SEGV_MAPERR);
		EXPECT_EQ(VSYSCALL_PAGE + i * 1024, (uint64_t)b->ev.info.si_addr);
		EXPECT_EQ(VSYSCALL_PAGE + i * 1024, b->regs->rip);
		EXPECT_EQ(PLATFORM_ACCESS_EXECUTE, b->ev.access);
		EXPECT_EQ(BENCH_STACK_TOP - 8, b->regs->rsp);
		EXPECT_EQ(BENCH_CODE + 3, *(uint64_t *)(b->stack + BENCH_AREA - 72));
		EXPECT_EQ(BENCH_DATA, b->regs->rdi);
		EXPECT_EQ(0x1234, b->regs->rbx);
	}
	/* gettimeofday() and friends did not store anything. */
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, *bench_word(b, i));
	/* The sentry can emulate the call and go on. */
	b->regs->rip = *(uint64_t *)(b->stack + BENCH_AREA - 72);
	b->regs->rsp += 8;
	EXPECT_FAULT(b, SIGILL, ILL_ILLOPN);
}

TEST_F(escape, vsyscall_page_elsewhere)
{
	static const uint64_t offsets[] = { 1, 7, 0x200, 0xc00, 0xfff };
	struct bench *b = &self->b;
	size_t i;

	BENCH_LOAD(b, prog_vsyscall);
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		bench_start(b->regs);
		b->regs->r12 = VSYSCALL_PAGE + offsets[i];
		ASSERT_EQ(0, bench_run(b));
		EXPECT_EQ(PLATFORM_SIGNAL, b->ev.kind);
		EXPECT_EQ(SIGSEGV, b->ev.info.si_signo);
	}
	EXPECT_NO_EFFECT();
}

/* ---- 32-bit code ---- */

/* To the 32-bit code segment that every process has, and on from there. */
PROGRAM(prog_far_int80,
	"	ljmp *(%r12)\n"
	"	.code32\n"
	"1:	int $0x80\n"
	"	jmp 1b\n"
	"	.code64");
PROGRAM(prog_far_syscall,
	"	ljmp *(%r12)\n"
	"	.code32\n"
	"1:	.byte 0x0f, 0x05\n"
	"	jmp 1b\n"
	"	.code64");
PROGRAM(prog_far_sysenter,
	"	ljmp *(%r12)\n"
	"	.code32\n"
	"1:	sysenter\n"
	"	jmp 1b\n"
	"	.code64");

#define FAR_JUMP_SIZE 4

static void try_far(struct __test_metadata *_metadata, struct bench *b, int fd,
		    const unsigned char *program, size_t size)
{
	const uint32_t target = BENCH_CODE + FAR_JUMP_SIZE;
	const uint16_t user32_cs = 0x23;
	int i;

	bench_load(b, program, size);
	try(b, fd, NR_WRITE_32);
	memcpy(b->data + 64, &target, sizeof(target));
	memcpy(b->data + 68, &user32_cs, sizeof(user32_cs));
	b->regs->r12 = BENCH_DATA + 64;
	for (i = 0; i < MAX_WANDERING; i++) {
		ASSERT_EQ(0, bench_run(b));
		EXPECT_EQ(0x33, b->regs->cs);
		if (b->ev.kind == PLATFORM_SIGNAL)
			break;
	}
}

#define TRY_FAR(program) \
	try_far(_metadata, &self->b, self->pipe[1], program, program##_end - program)

TEST_F(escape, int80_in_32_bit_code)
{
	TRY_FAR(prog_far_int80);
	EXPECT_NO_EFFECT();
}

TEST_F(escape, syscall_in_32_bit_code)
{
	TRY_FAR(prog_far_syscall);
	EXPECT_NO_EFFECT();
}

TEST_F(escape, sysenter_in_32_bit_code)
{
	TRY_FAR(prog_far_sysenter);
	EXPECT_NO_EFFECT();
}

/* ---- into the stub, and into the vDSO ---- */

/*
 * Lets the program loose at an address. It may run into whatever is there; all
 * that matters is that each stop is an event and that nothing happens outside.
 */
static int wander(struct bench *b)
{
	int i, err = 0;

	for (i = 0; i < MAX_WANDERING && !err; i++) {
		err = bench_switch(b);
		if (!err && b->ev.kind != PLATFORM_SYSCALL)
			break;
		b->regs->rax = NR_WRITE_64;
	}
	return err;
}

static void jump_everywhere(struct __test_metadata *_metadata, struct bench *b, int fd,
			    uint64_t start, uint64_t end, uint64_t step)
{
	pthread_t guard;
	uint64_t at;

	/* Should there be a loop in it, interrupts end that round. */
	ASSERT_EQ(0, pthread_create(&guard, NULL, bench_interrupt_forever, b));
	for (at = start; at < end; at += step) {
		try(b, fd, NR_WRITE_64);
		b->regs->rip = at;
		ASSERT_EQ(0, wander(b)) TH_LOG("at %llx", (unsigned long long)at);
	}
	pthread_cancel(guard);
	pthread_join(guard, NULL);
}

/*
 * May a jump into the middle of some instruction of this page come upon a far
 * return, or call? QEMU's emulation of them in user mode takes the kernel down.
 */
static bool has_far(struct bench *b, uint64_t page)
{
	unsigned char code[BENCH_PAGE];
	char path[64];
	bool far = false;
	ssize_t got, i;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", bench_stub(b));
	mem = open(path, O_RDONLY | O_CLOEXEC);
	got = mem < 0 ? 0 : pread(mem, code, sizeof(code), page);
	for (i = 0; i < got && !far; i++) {
		far = code[i] == 0xca || code[i] == 0xcb || code[i] == 0xcf;
		far |= code[i] == 0xff && i + 1 < got && (code[i + 1] >> 3 & 7) == 3;
	}
	if (mem >= 0)
		close(mem);
	return far;
}

TEST_F_TIMEOUT(escape, jumps_into_the_stub, 120)
{
	struct bench *b = &self->b;
	uint64_t start = b->p->max_user_address;

	BENCH_LOAD(b, prog_syscall);
	if (bench_is_emulated() && has_far(b, start))
		SKIP(return, "the machine lacks a proper far return (QEMU without KVM)");
	/* Whatever is above what programs may use, densely where code begins. */
	for (; start < 0x7ffffffff000 && start < b->p->max_user_address + 4 * BENCH_PAGE;
	     start += BENCH_PAGE) {
		if (bench_is_emulated() && has_far(b, start))
			continue;
		jump_everywhere(_metadata, b, self->pipe[1], start, start + 256, 1);
		jump_everywhere(_metadata, b, self->pipe[1], start + 256, start + BENCH_PAGE, 61);
	}
	EXPECT_NO_EFFECT();
	/* Still in good health. */
	try(b, self->pipe[1], 39);
	EXPECT_SYSCALL(b, 39);
}

TEST_F_TIMEOUT(escape, jumps_into_the_vdso, 120)
{
	const struct platform_vdso *v = &self->b.p->vdso;
	struct bench *b = &self->b;

	if (!v->end)
		SKIP(return, "the kernel has no vDSO");
	if (bench_is_emulated())
		SKIP(return, "the machine lacks a proper IRET (QEMU without KVM)");
	BENCH_LOAD(b, prog_syscall);
	jump_everywhere(_metadata, b, self->pipe[1], v->ehdr, v->end, 17);
	EXPECT_NO_EFFECT();
	try(b, self->pipe[1], 39);
	EXPECT_SYSCALL(b, 39);
}

/* The stub is code that a program may read, and no more than that. */
PROGRAM(prog_scribble, "movb $0x90, (%r12)\n syscall");

TEST_F(escape, stub_cannot_be_written)
{
	struct bench *b = &self->b;

	BENCH_LOAD(b, prog_scribble);
	b->regs->r12 = b->p->max_user_address;
	ASSERT_EQ(0, bench_run(b));
	EXPECT_EQ(PLATFORM_SIGNAL, b->ev.kind);
	EXPECT_EQ(SIGSEGV, b->ev.info.si_signo);
}

/*
 * systrap has events told by memory that the program can write. This makes one up, again
 * and again, as it may be interrupted: a signal of number %eax with code %ebx, in a frame
 * that begins at %r12 of the area.
 */
PROGRAM(prog_forge,
	"1: movl %eax, (%rdi)\n movl %ebx, 8(%rdi)\n movl %r12d, (%rsi)\n"
	"movl %r13d, (%rdx)\n pause\n jmp 1b");

/* Where the first thread's area is: 0 if nowhere. */
static uint64_t find_area(struct bench *b)
{
	const uint64_t bases[] = { SYSMSG_BASE, SYSMSG_BASE_2 };
	uint64_t area, found = 0;
	char path[64], byte;
	unsigned int i;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", bench_stub(b));
	mem = open(path, O_RDONLY | O_CLOEXEC);
	for (i = 0; i < sizeof(bases) / sizeof(bases[0]) && !found; i++) {
		area = bases[i] + SYSMSG_THREADS;
		if (pread(mem, &byte, 1, area + SYSMSG_SHARED) == 1)
			found = area;
	}
	close(mem);
	return found;
}

static int forge(struct bench *b, uint64_t area, int signo, int code)
{
	const uint64_t tc = area + SYSMSG_SHARED;

	BENCH_LOAD(b, prog_forge);
	b->regs->rax = signo;
	b->regs->rbx = code;
	b->regs->r12 = SYSMSG_ALTSTACK;
	b->regs->r13 = SYSMSG_CONTEXT_FAULT;
	b->regs->rdi = area + SYSMSG_ALTSTACK + SYSTRAP_UC_SIZE;
	b->regs->rsi = tc + offsetof(struct sysmsg_thread_context, frame);
	b->regs->rdx = tc + offsetof(struct sysmsg_thread_context, state);
	return bench_run(b);
}

static void expect_no_belief(struct __test_metadata *_metadata, struct bench *b, int fd, int signo,
			     int code)
{
	uint64_t area;

	BENCH_LOAD(b, prog_syscall);
	try(b, fd, 39);
	EXPECT_SYSCALL(b, 39);
	area = find_area(b);
	ASSERT_NE(0, area);
	EXPECT_EQ(-ECHILD, forge(b, area, signo, code));
}

TEST_F(escape, a_forged_number_is_no_fault)
{
	if (!strcmp(variant->platform, "systrap"))
		expect_no_belief(_metadata, &self->b, self->pipe[1], 1000, 1);
}

TEST_F(escape, a_forged_signal_is_no_fault)
{
	if (!strcmp(variant->platform, "systrap"))
		expect_no_belief(_metadata, &self->b, self->pipe[1], SIGSEGV, 0);
}
