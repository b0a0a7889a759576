// SPDX-License-Identifier: MIT
/*
 * trap_test.c - what a program does comes out of the module exactly
 *
 * Events, registers, faults and state on the module's own interface.
 * timeout: 300
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define TF 0x100ull
#define AC 0x40000ull
#define IOPL 0x3000ull
#define IF 0x200ull
#define ID 0x200000ull

/* x86 page fault error code. */
#define PF_PROT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_INSTR 16u

BOX_FIXTURE(trap)

/* system calls */

TEST_F(trap, syscall_is_reported_with_number_and_arguments)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;

	BOX_LOAD(&self->b, box_syscall);
	r->rax = SYS_getppid;
	r->rdi = 1;
	r->rsi = 2;
	r->rdx = 3;
	r->r10 = 4;
	r->r8 = 5;
	r->r9 = 6;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(2, self->b.ctx.page->event_seq);
	EXPECT_EQ(0, self->b.ctx.page->event_flags);
	EXPECT_EQ(SYS_getppid, r->orig_rax);
	EXPECT_EQ(SYS_getppid, r->rax);
	EXPECT_EQ(1, r->rdi);
	EXPECT_EQ(2, r->rsi);
	EXPECT_EQ(3, r->rdx);
	EXPECT_EQ(4, r->r10);
	EXPECT_EQ(5, r->r8);
	EXPECT_EQ(6, r->r9);
	EXPECT_EQ(BOX_CODE + 2, r->rip);
	EXPECT_EQ(BOX_CODE + 2, r->rcx);
	EXPECT_EQ(r->eflags, r->r11);
	EXPECT_EQ(BOX_STACK_TOP, r->rsp);
}

TEST_F(trap, every_number_is_reported_as_it_is)
{
	static const uint64_t numbers[] = {
		0, 1, 39, 334, 0x200, 0x3fffffff, 0x40000000 | 39, 0x40000000 | 520,
		0x7fffffff, 0x80000000, 0xffffffff, ~0ull, 1ull << 63, 1ull << 32,
	};
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	size_t i;

	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		r->rax = numbers[i];
		EXPECT_EVENT(SYSCALL);
		EXPECT_EQ(numbers[i], r->orig_rax);
		EXPECT_EQ(numbers[i], r->rax);
	}
}

TEST_F(trap, every_register_is_loaded_and_saved)
{
	static const size_t order[] = {
		offsetof(struct sandtrap_regs, rax), offsetof(struct sandtrap_regs, rbx),
		offsetof(struct sandtrap_regs, rcx), offsetof(struct sandtrap_regs, rdx),
		offsetof(struct sandtrap_regs, rsi), offsetof(struct sandtrap_regs, rdi),
		offsetof(struct sandtrap_regs, rbp), offsetof(struct sandtrap_regs, rsp),
		offsetof(struct sandtrap_regs, r8), offsetof(struct sandtrap_regs, r9),
		offsetof(struct sandtrap_regs, r10), offsetof(struct sandtrap_regs, r11),
		offsetof(struct sandtrap_regs, r12), offsetof(struct sandtrap_regs, r13),
		offsetof(struct sandtrap_regs, r14), offsetof(struct sandtrap_regs, r15),
	};
	const uint64_t *seen = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);
	char *r = (char *)&self->b.ctx.page->regs;
	size_t round, i;

	BOX_LOAD(&self->b, box_registers);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 16; i++)
			*(uint64_t *)(r + order[i]) = 0x0123456789abcdefull * (round + 3) + i;
		EXPECT_EVENT(FAULT);
		for (i = 0; i < 16; i++) {
			EXPECT_EQ(0x0123456789abcdefull * (round + 3) + i, seen[i]);
			EXPECT_EQ(seen[i], *(uint64_t *)(r + order[i]));
		}
	}
}

/* faults */

/* QEMU's emulation does not raise some exceptions. */
static bool is_emulated(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];
	bool yes = false;

	while (f && fgets(line, sizeof(line), f))
		yes |= strstr(line, "QEMU TCG") != NULL;
	if (f)
		fclose(f);
	return yes;
}

#define EXPECT_FAULT(sig, sicode, trap, err) do { \
	EXPECT_EVENT(FAULT); \
	EXPECT_EQ(sig, fault(&self->b)->signo); \
	EXPECT_EQ(sicode, fault(&self->b)->code); \
	EXPECT_EQ(trap, fault(&self->b)->trap_nr); \
	EXPECT_EQ(err, fault(&self->b)->error_code); \
	EXPECT_EQ(~0ull, self->b.ctx.page->regs.orig_rax); \
} while (0)

#define EXPECT_PAGE_FAULT(sicode, err, what, where) do { \
	EXPECT_FAULT(SIGSEGV, sicode, 14, err); \
	EXPECT_EQ(what, fault(&self->b)->access); \
	EXPECT_EQ(where, fault(&self->b)->cr2); \
	EXPECT_EQ(where, fault(&self->b)->addr); \
} while (0)

BOX_PROGRAM(prog_read, "movq (%rbx), %rcx");
BOX_PROGRAM(prog_write, "movq %rcx, (%rbx)");

TEST_F(trap, page_fault_of_nothing_mapped)
{
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_read);
	EXPECT_PAGE_FAULT(SEGV_MAPERR, PF_USER, SANDTRAP_ACCESS_READ, BOX_FREE);
	EXPECT_EQ(BOX_CODE, self->b.ctx.page->regs.rip);
	BOX_LOAD(&self->b, prog_write);
	EXPECT_PAGE_FAULT(SEGV_MAPERR, PF_USER | PF_WRITE, SANDTRAP_ACCESS_WRITE,
			  BOX_FREE);
	BOX_LOAD(&self->b, box_jump);
	EXPECT_PAGE_FAULT(SEGV_MAPERR, PF_USER | PF_INSTR,
			  SANDTRAP_ACCESS_EXECUTE, BOX_FREE);
	EXPECT_EQ(BOX_FREE, self->b.ctx.page->regs.rip);
}

TEST_F(trap, page_fault_of_permissions)
{
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_write);
	/* Whether the page was present depends on an earlier read. */
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(PF_USER | PF_WRITE, fault(&self->b)->error_code & ~PF_PROT);
	EXPECT_EQ(SANDTRAP_ACCESS_WRITE, fault(&self->b)->access);
	EXPECT_EQ(SEGV_ACCERR, fault(&self->b)->code);
	BOX_LOAD(&self->b, box_jump);
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(PF_USER | PF_INSTR, fault(&self->b)->error_code & ~PF_PROT);
	EXPECT_EQ(SANDTRAP_ACCESS_EXECUTE, fault(&self->b)->access);
	EXPECT_EQ(SEGV_ACCERR, fault(&self->b)->code);
}

/* A fault is reported as what it is, every time: no guess is involved. */
TEST_F(trap, repeated_fault_keeps_its_access_type)
{
	int i;

	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_read);
	for (i = 0; i < 4; i++)
		EXPECT_PAGE_FAULT(SEGV_MAPERR, PF_USER, SANDTRAP_ACCESS_READ,
				  BOX_FREE);
}

TEST_F(trap, kernel_address_faults_without_telling_more)
{
	self->b.ctx.page->regs.rbx = 0xffffffff81000000ull;
	BOX_LOAD(&self->b, prog_read);
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SIGSEGV, fault(&self->b)->signo);
	EXPECT_EQ(14, fault(&self->b)->trap_nr);
	EXPECT_EQ(PF_USER | PF_PROT, fault(&self->b)->error_code);
}

TEST_F(trap, beyond_the_end_of_a_file_is_sigbus)
{
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_FILE_PAGES, 1,
			     PROT_READ | PROT_WRITE));
	self->b.ctx.page->regs.rbx = BOX_FREE;
	BOX_LOAD(&self->b, prog_write);
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SIGBUS, fault(&self->b)->signo);
	EXPECT_EQ(BUS_ADRERR, fault(&self->b)->code);
	EXPECT_EQ(SANDTRAP_ACCESS_WRITE, fault(&self->b)->access);
}

BOX_PROGRAM(prog_gp, "1: hlt\n jmp 1b");
BOX_PROGRAM(prog_noncanonical, "movabs $0x8000000000000000, %rbx\n movq (%rbx), %rcx");
BOX_PROGRAM(prog_gp_selector, "movw $0x1234, %ax\n movw %ax, %ds");
BOX_PROGRAM(prog_ud, "ud2");
BOX_PROGRAM(prog_de, "xorl %edx, %edx\n xorl %ecx, %ecx\n divl %ecx");
BOX_PROGRAM(prog_bp, "int3\n .byte 0xcd, 0x03");
BOX_PROGRAM(prog_int, "int $0x42");
BOX_PROGRAM(prog_of, "int $4");

TEST_F(trap, general_protection)
{
	BOX_LOAD(&self->b, prog_gp);
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 13, 0);
	EXPECT_EQ(0, fault(&self->b)->access);
	EXPECT_EQ(0, fault(&self->b)->cr2);
	EXPECT_EQ(BOX_CODE, self->b.ctx.page->regs.rip);
	BOX_LOAD(&self->b, prog_noncanonical);
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 13, 0);
	BOX_LOAD(&self->b, prog_gp_selector);
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 13, 0x1234);
	/* Vector and IDT bit. */
	BOX_LOAD(&self->b, prog_int);
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 13, 0x42u * 8 + 2);
}

TEST_F(trap, undefined_instruction)
{
	BOX_LOAD(&self->b, prog_ud);
	EXPECT_FAULT(SIGILL, ILL_ILLOPN, 6, 0);
	EXPECT_EQ(BOX_CODE, fault(&self->b)->addr);
}

TEST_F(trap, division_by_zero)
{
	BOX_LOAD(&self->b, prog_de);
	EXPECT_FAULT(SIGFPE, FPE_INTDIV, 0, 0);
	EXPECT_EQ(BOX_CODE + 4, fault(&self->b)->addr);
}

TEST_F(trap, breakpoints_and_overflow)
{
	BOX_LOAD(&self->b, prog_bp);
	EXPECT_FAULT(SIGTRAP, SI_KERNEL, 3, 0);
	EXPECT_EQ(BOX_CODE + 1, self->b.ctx.page->regs.rip);
	EXPECT_FAULT(SIGTRAP, SI_KERNEL, 3, 0);
	EXPECT_EQ(BOX_CODE + 3, self->b.ctx.page->regs.rip);
	BOX_LOAD(&self->b, prog_of);
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 4, 0);
}

BOX_PROGRAM(prog_nops, "nop\n nop\n nop\n syscall\n nop\n nop");

TEST_F(trap, single_step)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	int i;

	BOX_LOAD(&self->b, prog_nops);
	r->eflags |= TF;
	for (i = 1; i <= 3; i++) {
		EXPECT_FAULT(SIGTRAP, TRAP_TRACE, 1, 0);
		EXPECT_EQ(BOX_CODE + i, r->rip);
		EXPECT_NE(0, r->eflags & TF);
	}
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(BOX_CODE + 5, r->rip);
}

BOX_PROGRAM(prog_fp,
	"1: divss %xmm1, %xmm0\n jmp 1b");
BOX_PROGRAM(prog_x87,
	"fldz\n fld1\n fdivp\n fwait\n");

TEST_F(trap, floating_point_sse)
{
	unsigned char *fpu = (unsigned char *)self->b.ctx.page + SANDTRAP_FPU_OFFSET;
	uint32_t mxcsr = 0x1f80 & ~0x200; /* divide by zero is not masked */
	float one = 1;

	if (is_emulated())
		SKIP(return, "this CPU lacks #XM: it is QEMU's emulation");
	memcpy(fpu + 24, &mxcsr, 4);
	memcpy(fpu + 160, &one, 4);
	BOX_LOAD(&self->b, prog_fp);
	EXPECT_FAULT(SIGFPE, FPE_FLTDIV, 19, 0);
}

TEST_F(trap, floating_point_x87)
{
	unsigned char *fpu = (unsigned char *)self->b.ctx.page + SANDTRAP_FPU_OFFSET;
	uint16_t fcw = 0x37f & ~4;

	memcpy(fpu, &fcw, 2);
	BOX_LOAD(&self->b, prog_x87);
	EXPECT_FAULT(SIGFPE, FPE_FLTDIV, 16, 0);
}

BOX_PROGRAM(prog_unaligned, "movq 0x20000001, %rcx\n 1: syscall\n jmp 1b");

TEST_F(trap, alignment_check)
{
	BOX_LOAD(&self->b, prog_unaligned);
	self->b.ctx.page->regs.eflags |= AC;
	if (is_emulated())
		SKIP(return, "this CPU lacks #AC: it is QEMU's emulation");
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SIGBUS, fault(&self->b)->signo);
	EXPECT_EQ(BUS_ADRALN, fault(&self->b)->code);
	EXPECT_EQ(17, fault(&self->b)->trap_nr);
}

/* resume: what the sentry may load */

TEST_F(trap, system_flags_are_not_the_sentry_s_to_set)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;

	BOX_LOAD(&self->b, box_syscall);
	r->eflags = IOPL | 0xcd5;
	r->cs = 0x10;
	r->ss = 0x18;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(0, r->eflags & IOPL);
	EXPECT_EQ(IF, r->eflags & IF);
	EXPECT_EQ(0xcd5, r->eflags & 0xcd5 & ~TF);
	EXPECT_EQ(0x33, r->cs);
	EXPECT_EQ(0x2b, r->ss);
}

TEST_F(trap, bad_rip_is_an_error_event_and_can_be_mended)
{
	const uint64_t bad[] = {
		~0ull, 1ull << 63, 0xffffffff81000000ull,
		self->b.info.out_task_size,
	};
	size_t i;

	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		self->b.ctx.page->regs.rip = bad[i];
		EXPECT_EVENT(ERROR);
		EXPECT_EQ(EINVAL, self->b.ctx.page->error);
		EXPECT_EQ(bad[i], self->b.ctx.page->regs.rip);
	}
	self->b.ctx.page->regs.rip = BOX_CODE;
	self->b.ctx.page->regs.rax = 77;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(77, self->b.ctx.page->regs.orig_rax);
}

TEST_F(trap, bad_segment_base_is_an_error_event)
{
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	self->b.ctx.page->regs.fs_base = 0xffff888000000000ull;
	EXPECT_EQ(SANDTRAP_EVENT_ERROR,
		  box_run_flags(&self->b, &self->b.ctx,
				SANDTRAP_RESUME_LOAD_SEGMENTS));
	self->b.ctx.page->regs.fs_base = 0;
	self->b.ctx.page->regs.gs_base = self->b.info.out_task_size;
	EXPECT_EQ(SANDTRAP_EVENT_ERROR,
		  box_run_flags(&self->b, &self->b.ctx,
				SANDTRAP_RESUME_LOAD_SEGMENTS));
	self->b.ctx.page->regs.gs_base = 0;
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL,
		  box_run_flags(&self->b, &self->b.ctx,
				SANDTRAP_RESUME_LOAD_SEGMENTS));
}

TEST_F(trap, unknown_resume_flag_is_an_error_event)
{
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EQ(SANDTRAP_EVENT_ERROR,
		  box_run_flags(&self->b, &self->b.ctx, 1u << 4));
	EXPECT_EQ(EOPNOTSUPP, self->b.ctx.page->error);
	EXPECT_EQ(SANDTRAP_EVENT_ERROR,
		  box_run_flags(&self->b, &self->b.ctx, 1u << 31));
	EXPECT_EVENT(SYSCALL);
}

TEST_F(trap, bad_fpu_state_is_an_error_event)
{
	unsigned char *fpu = (unsigned char *)self->b.ctx.page + SANDTRAP_FPU_OFFSET;
	unsigned char good[832];

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id,
				 SANDTRAP_STATE_FPU, 0));
	memcpy(good, fpu, sizeof(good));
#define EXPECT_BAD(offset, value) do { \
		fpu[offset] = value; \
		EXPECT_EQ(SANDTRAP_EVENT_ERROR, \
			  box_run_flags(&self->b, &self->b.ctx, \
					SANDTRAP_RESUME_LOAD_FPU)); \
		EXPECT_EQ(EINVAL, self->b.ctx.page->error); \
		memcpy(fpu, good, sizeof(good)); \
	} while (0)
	EXPECT_BAD(27, 0xff);		/* mxcsr: reserved bits */
	EXPECT_BAD(519, 0x40);		/* xfeatures: unknown component */
	EXPECT_BAD(513, 0x01);		/* xfeatures: a supervisor component */
	EXPECT_BAD(527, 0x80);		/* xcomp_bv: compacted */
	EXPECT_BAD(540, 1);		/* reserved */
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL,
		  box_run_flags(&self->b, &self->b.ctx,
				SANDTRAP_RESUME_LOAD_FPU));
}

/* full state */

BOX_PROGRAM(prog_segments,
	"movq %fs:0, %rax\n movq %gs:8, %rbx\n syscall\n"
	"movq %fs:8, %rax\n movq %gs:0, %rbx\n syscall");

TEST_F(trap, segment_bases_are_loaded_kept_and_pulled)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	uint64_t *data = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);

	data[0] = 11;
	data[1] = 12;
	data[512] = 21;
	data[513] = 22;
	BOX_LOAD(&self->b, prog_segments);
	r->fs_base = BOX_DATA;
	r->gs_base = BOX_DATA + BOX_PAGE;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(11, r->rax);
	EXPECT_EQ(22, r->rbx);
	r->fs_base = r->gs_base = 0;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(12, r->rax);
	EXPECT_EQ(21, r->rbx);
	EXPECT_EQ(0, self->b.ctx.page->event_flags);
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id,
				 SANDTRAP_STATE_SEGMENTS, 0));
	EXPECT_EQ(SANDTRAP_EVENT_F_SEGMENTS, self->b.ctx.page->event_flags);
	EXPECT_EQ(BOX_DATA, r->fs_base);
	EXPECT_EQ(BOX_DATA + BOX_PAGE, r->gs_base);
}

BOX_PROGRAM(prog_vectors,
	"1: vmovups %ymm7, 0x20000000\n"
	"vmovups %ymm15, 0x20000020\n"
	"vaddps %ymm7, %ymm7, %ymm7\n"
	"syscall\n jmp 1b");

TEST_F(trap, vector_registers_are_kept_pulled_and_loaded)
{
	float *data = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);
	unsigned char *fpu = (unsigned char *)self->b.ctx.page + SANDTRAP_FPU_OFFSET;
	float low[4] = { 1, 2, 3, 4 }, high[4] = { 5, 6, 7, 8 }, seen[4];
	uint64_t features = 7;
	int i, round;

	if (!__builtin_cpu_supports("avx"))
		SKIP(return, "this CPU lacks AVX");
	BOX_LOAD(&self->b, prog_vectors);
	memcpy(fpu + 512, &features, 8);
	memcpy(fpu + 160 + 7 * 16, low, 16);
	memcpy(fpu + 576 + 7 * 16, high, 16);
	for (round = 0; round < 3; round++) {
		EXPECT_EVENT(SYSCALL);
		for (i = 0; i < 8; i++)
			EXPECT_EQ((float)((i + 1) << round), data[i]);
	}
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id,
				 SANDTRAP_STATE_FPU, 0));
	memcpy(seen, fpu + 576 + 7 * 16, 16);
	EXPECT_EQ(64, seen[3]);
	seen[3] = 100;
	memcpy(fpu + 576 + 7 * 16, seen, 16);
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL,
		  box_run_flags(&self->b, &self->b.ctx,
				SANDTRAP_RESUME_LOAD_FPU |
				SANDTRAP_RESUME_SAVE_FPU));
	EXPECT_EQ(100, data[7]);
	EXPECT_EQ(SANDTRAP_EVENT_F_FPU, self->b.ctx.page->event_flags);
	memcpy(seen, fpu + 576 + 7 * 16, 16);
	EXPECT_EQ(200, seen[3]);
	/* Not loaded unless asked for. */
	memset(fpu, 0, 1024);
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(200, data[7]);
}

TEST_F(trap, state_survives_other_work_on_the_cpu)
{
	float *data = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);
	unsigned char *fpu = (unsigned char *)self->b.ctx.page + SANDTRAP_FPU_OFFSET;
	float low[4] = { 1, 2, 3, 4 };
	struct box_context other;
	uint64_t features = 3;
	int i;

	BOX_LOAD(&self->b, box_syscall);
	ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &other));
	BOX_LOAD(&self->b, prog_vectors);
	other.page->regs.rip = BOX_CODE;
	memcpy(fpu + 512, &features, 8);
	memcpy(fpu + 160 + 15 * 16, low, 16);
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &other));
		ASSERT_EQ(0, data[8]);
		EXPECT_EVENT(SYSCALL);
		ASSERT_EQ(1, data[8]);
		ASSERT_EQ(4, data[11]);
	}
}

BOX_PROGRAM(prog_leave,
	"movl $0x2b, %eax\n movw %ax, %ds\n movw %ax, %es\n"
	"pushfq\n orl $0x200000, (%rsp)\n popfq\n syscall");
BOX_PROGRAM(prog_find,
	"movw %ds, %ax\n movw %es, %bx\n pushfq\n popq %rdx\n syscall");

/* The next context on the same thread finds nothing of the one before. */
TEST_F(trap, selectors_and_flags_are_not_inherited)
{
	struct box_context ctx;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
		box_load(&self->b, &ctx, prog_leave, prog_leave_end - prog_leave);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
		EXPECT_NE(0, ctx.page->regs.eflags & ID);
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ctx.id, 0, 0));
		usleep(2000);
		ASSERT_EQ(0, box_new_context(&self->b, self->b.as, 0, &ctx));
		box_load(&self->b, &ctx, prog_find, prog_find_end - prog_find);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &ctx));
		EXPECT_EQ(0, ctx.page->regs.rax);
		EXPECT_EQ(0, ctx.page->regs.rbx);
		EXPECT_EQ(0, ctx.page->regs.rdx & ID);
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RELEASE_CONTEXT, ctx.id, 0, 0));
		usleep(2000);
	}
}

/* But a program keeps its own flag over events. */
BOX_PROGRAM(prog_id,
	"pushfq\n orl $0x200000, (%rsp)\n popfq\n syscall\n"
	"pushfq\n popq %rdx\n syscall");

TEST_F(trap, the_id_flag_is_kept)
{
	BOX_LOAD(&self->b, prog_id);
	EXPECT_EVENT(SYSCALL);
	EXPECT_EVENT(SYSCALL);
	EXPECT_NE(0, self->b.ctx.page->regs.rdx & ID);
}

/* interrupts */

BOX_PROGRAM(prog_loop, "1: incq 0x20000000\n jmp 1b");

TEST_F(trap, interrupt_stops_a_running_program_once)
{
	struct box_context *ctx = &self->b.ctx;
	uint64_t *count = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);
	int i;

	BOX_LOAD(&self->b, prog_loop);
	for (i = 0; i < 20; i++) {
		uint32_t seq = ctx->page->event_seq;
		uint64_t before = *(volatile uint64_t *)count;

		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, ctx->id, 0, seq));
		while (*(volatile uint64_t *)count == before)
			usleep(100);
		ASSERT_EQ(-ETIME, box_wait(&self->b, ctx, seq, 1));
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, ctx->id, 0, 0));
		ASSERT_EQ(0, box_wait(&self->b, ctx, seq, 10000));
		ASSERT_EQ(SANDTRAP_EVENT_INTERRUPT, ctx->page->event);
		ASSERT_EQ(seq + 1, ctx->page->event_seq);
		ASSERT_EQ(~0ull, ctx->page->regs.orig_rax);
		ASSERT_LE(BOX_CODE, ctx->page->regs.rip);
		ASSERT_GE(BOX_CODE + 16, ctx->page->regs.rip);
	}
}

TEST_F(trap, interrupts_of_a_stopped_context_are_one)
{
	struct box_context *ctx = &self->b.ctx;
	int i;

	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, ctx->id, 0, 0));
	EXPECT_EVENT(INTERRUPT);
	EXPECT_EQ(BOX_CODE, ctx->page->regs.rip);
	EXPECT_EVENT(SYSCALL);
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, box_command(&self->b, SANDTRAP_INTERRUPT, ctx->id, 0, 0));
	EXPECT_EVENT(INTERRUPT);
	EXPECT_EVENT(SYSCALL);
	EXPECT_EVENT(SYSCALL);
}

/* Signals of the sentry end waits, and lose nothing. */
static void ignore(int sig)
{
}

TEST_F(trap, signals_of_the_sentry_do_not_disturb)
{
	struct sigaction action = { .sa_handler = ignore };
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	uint64_t i, start = box_now_ns();

	sigaction(SIGALRM, &action, NULL);
	BOX_LOAD(&self->b, box_syscall);
	for (i = 0; i < 3000; i++) {
		r->rax = i;
		EXPECT_EVENT(SYSCALL);
		ASSERT_EQ(i, r->orig_rax);
		if (i == 20)
			box_begin_alarms(box_now_ns() - start);
	}
	box_end_alarms();
}

/* All threads of a process. */
static int keep_on(pid_t pid, int cpu)
{
	struct dirent *entry;
	char path[64];
	int err = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name))
			err |= box_stay_on(atoi(entry->d_name), cpu);
	return dir ? closedir(dir) | err : -1;
}

TEST_F(trap, spinning_needs_no_command)
{
	struct sandtrap_context_page *page = self->b.ctx.page;
	uint64_t end;
	uint32_t seq;
	pid_t stub;
	int i, hits = 0;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "this machine has no second CPU");
	BOX_LOAD(&self->b, box_syscall);
	page->spin_ns = self->b.info.out_max_spin_ns;
	EXPECT_EVENT(SYSCALL);
	/* Nobody spins for a thread on its own CPU. */
	ASSERT_EQ(1, box_stubs(&self->b, &stub, 1));
	ASSERT_EQ(0, box_stay_on(0, 0));
	ASSERT_EQ(0, keep_on(stub, 1));
	for (i = 0; i < 20000 && hits < 100; i++) {
		seq = page->event_seq;
		__atomic_store_n(&page->resume_seq, seq, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED)) {
			ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME,
						 self->b.ctx.id, 0, seq));
		} else {
			hits++;
		}
		end = box_now_ns() + 5000000000ull;
		while (__atomic_load_n(&page->event_seq, __ATOMIC_ACQUIRE) == seq)
			ASSERT_GT(end, box_now_ns());
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, page->event);
	}
	EXPECT_EQ(100, hits)
		TH_LOG("the stub's thread was on CPU %u, and slept %llu times", page->cpu,
		       (unsigned long long)page->sleeps);
	EXPECT_LT(0, page->spin_hits);
}

/* Answers from another CPU, while the thread that published is not done with it. */
TEST_F(trap, an_event_can_be_answered_as_soon_as_it_is_seen)
{
	struct sandtrap_context_page *page = self->b.ctx.page;
	uint64_t end = box_now_ns() + 2000000000ull;
	pid_t hog;
	uint32_t seq;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "this machine has no second CPU");
	BOX_LOAD(&self->b, box_syscall);
	page->spin_ns = self->b.info.out_max_spin_ns;
	EXPECT_EVENT(SYSCALL);
	/* Now and then the thread loses its CPU in between. */
	hog = fork();
	if (!hog)
		for (;;)
			;
	while (box_now_ns() < end) {
		seq = page->event_seq;
		__atomic_store_n(&page->resume_seq, seq, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED) &&
		    box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, seq))
			break;
		while (__atomic_load_n(&page->event_seq, __ATOMIC_ACQUIRE) == seq)
			;
		if (box_command(&self->b, SANDTRAP_PULL, self->b.ctx.id,
				SANDTRAP_STATE_SEGMENTS, 0))
			break;
		seq = page->event_seq;
		__atomic_store_n(&page->resume_seq, seq, __ATOMIC_SEQ_CST);
		if (lseek(self->b.fd, self->b.ctx.id, SEEK_SET) || page->event_seq == seq)
			break;
	}
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	EXPECT_LE(end, box_now_ns());
}

TEST_HARNESS_MAIN
