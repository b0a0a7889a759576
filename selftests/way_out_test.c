// SPDX-License-Identifier: MIT
/*
 * way_out_test.c - no system call of a program ever reaches the host
 *
 * Shown by calls whose effect the test would see: files that would be made, and
 * a kill of the test itself.
 * timeout: 300
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"
#include "stub/stub.h"

BOX_FIXTURE(way_out)

/*
 * mkdir(path) by every way into the kernel there is; rdi, rbx: path. The numbers
 * of the i386 table are its own.
 */
BOX_PROGRAM(prog_ways_out,
	"movl $83, %eax\n syscall\n"
	"movl $39, %eax\n int $0x80\n"
	"movl $(0x40000000 + 83), %eax\n syscall\n"
	"movl $39, %eax\n syscall\n");

TEST_F(way_out, no_entry_reaches_the_host)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	char *path = (char *)self->b.file + BOX_DATA_PAGE * BOX_PAGE;

	snprintf(path, 64, "/tmp/sandtrap-trap-test-%d", getpid());
	BOX_LOAD(&self->b, prog_ways_out);
	r->rdi = r->rbx = BOX_DATA;
	r->rsi = r->rcx = 0700;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(SYS_mkdir, r->orig_rax);
	EXPECT_EQ(0, self->b.ctx.page->event_flags);
	r->rcx = 0700;
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(39, r->orig_rax);
	EXPECT_EQ(SANDTRAP_EVENT_F_COMPAT, self->b.ctx.page->event_flags);
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(0x40000000 + SYS_mkdir, r->orig_rax);
	EXPECT_EVENT(SYSCALL);
	EXPECT_EQ(-1, access(path, F_OK));
	EXPECT_EQ(ENOENT, errno);
}

/*
 * Into 32-bit mode, where "syscall", "sysenter" and "int $0x80" are other entries.
 * Whichever of them the CPU has must end in an event; then the test continues
 * with the next.
 */
BOX_PROGRAM(prog_compat,
	"subq $16, %rsp\n"
	"movl $0x10000040, (%rsp)\n movl $0x23, 4(%rsp)\n"
	"ljmp *(%rsp)\n"
	".org prog_compat + 0x40\n"
	".code32\n"
	"jmp *%esi\n"
	".org prog_compat + 0x50\n"
	"movl $39, %eax\n int $0x80\n ud2\n"
	".org prog_compat + 0x60\n"
	"movl $39, %eax\n movl %ecx, %ebp\n syscall\n ud2\n"
	".org prog_compat + 0x70\n"
	"movl $39, %eax\n movl %esp, %ebp\n sysenter\n ud2\n"
	".code64\n");

TEST_F(way_out, no_32_bit_entry_reaches_the_host)
{
	static const unsigned int entries[] = { 0x50, 0x60, 0x70 };
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	char *path = (char *)self->b.file + BOX_DATA_PAGE * BOX_PAGE;
	size_t i;
	int event;

	snprintf(path, 64, "/tmp/sandtrap-trap-test32-%d", getpid());
	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		BOX_LOAD(&self->b, prog_compat);
		r->rbx = BOX_DATA;
		r->rcx = 0700;
		r->rsi = BOX_CODE + entries[i];
		event = box_run(&self->b, &self->b.ctx);
		EXPECT_TRUE(event == SANDTRAP_EVENT_SYSCALL ||
			    event == SANDTRAP_EVENT_FAULT);
		if (event == SANDTRAP_EVENT_SYSCALL) {
			EXPECT_EQ(39, r->orig_rax);
			EXPECT_EQ(SANDTRAP_EVENT_F_COMPAT,
				  self->b.ctx.page->event_flags);
		}
		EXPECT_EQ(-1, access(path, F_OK));
		/* And 64-bit code runs again. */
		BOX_LOAD(&self->b, box_registers);
		EXPECT_EVENT(FAULT);
		EXPECT_EQ(3, fault(&self->b)->trap_nr);
	}
}

TEST_F(way_out, vsyscalls_are_faults)
{
	static const uint64_t entries[] = {
		0xffffffffff600000ull, 0xffffffffff600400ull,
		0xffffffffff600800ull, 0xffffffffff600c00ull,
		0xffffffffff600001ull,
	};
	uint64_t *stack = (void *)(self->b.file + (BOX_STACK_PAGE + 4) * BOX_PAGE - 64);
	uint64_t *data = (void *)(self->b.file + BOX_DATA_PAGE * BOX_PAGE);
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	size_t i;

	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		BOX_LOAD(&self->b, box_jump);
		*stack = BOX_CODE;
		r->rbx = entries[i];
		r->rdi = r->rsi = BOX_DATA;
		data[0] = 0x5555;
		EXPECT_EVENT(FAULT);
		EXPECT_EQ(SIGSEGV, fault(&self->b)->signo);
		EXPECT_EQ(14, fault(&self->b)->trap_nr);
		EXPECT_EQ(entries[i], fault(&self->b)->cr2);
		EXPECT_EQ(SANDTRAP_ACCESS_EXECUTE, fault(&self->b)->access);
		EXPECT_EQ(entries[i], r->rip);
		EXPECT_EQ(0x5555, data[0]);
	}
}

/*
 * From every offset of the stub's page, with registers that would make its calls
 * hurt: a descriptor 0 that is the stub's, kill of this process, an exit.
 */
static void hostile_registers(struct sandtrap_regs *r, unsigned int offset)
{
	r->rip = r->rbx = 0;
	r->rax = offset % 3 == 0 ? SYS_kill : offset % 3 == 1 ? SYS_exit_group : 60;
	r->rdi = getpid();
	r->rsi = SIGKILL;
	r->rdx = r->r12 = r->r13 = 1;
	r->rbp = BOX_DATA;
	r->rsp = BOX_STACK_TOP;
}

TEST_F_TIMEOUT(way_out, no_offset_of_the_stub_reaches_the_host, 240)
{
	struct sandtrap_regs *r = &self->b.ctx.page->regs;
	unsigned int offset, step;
	int event;

	for (offset = 0; offset < STUB_SIZE; offset++) {
		hostile_registers(r, offset);
		r->rbx = self->b.stubs.base;
		r->rip = self->b.stubs.base + offset;
		/* On through the following calls, as a program would. */
		for (step = 0; step < 4; step++) {
			event = box_run(&self->b, &self->b.ctx);
			ASSERT_TRUE(event == SANDTRAP_EVENT_SYSCALL ||
				    event == SANDTRAP_EVENT_FAULT);
			r->rax = step;
		}
	}
	/* Neither the stub's server nor the context took notice. */
	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	EXPECT_EVENT(SYSCALL);
}

BOX_PROGRAM(prog_write_stub, "movb $0x90, (%rbx)");

TEST_F(way_out, stub_cannot_be_written)
{
	BOX_LOAD(&self->b, prog_write_stub);
	self->b.ctx.page->regs.rbx = self->b.stubs.base + STUB_ENTRY;
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SIGSEGV, fault(&self->b)->signo);
	EXPECT_EQ(SEGV_ACCERR, fault(&self->b)->code);
	EXPECT_EQ(SANDTRAP_ACCESS_WRITE, fault(&self->b)->access);
}

/* Signals from outside do nothing to a stub, but SIGKILL. */
TEST_F(way_out, stray_signals_are_ignored)
{
	pid_t stub[2];
	int sig;

	BOX_LOAD(&self->b, box_syscall);
	EXPECT_EVENT(SYSCALL);
	ASSERT_EQ(1, box_stubs(&self->b, stub, 2));
	for (sig = 1; sig < 65; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33) {
			ASSERT_EQ(0, kill(stub[0], sig));
		}
		EXPECT_EVENT(SYSCALL);
	}
	ASSERT_EQ(0, kill(stub[0], SIGSTOP));
	ASSERT_EQ(0, kill(stub[0], SIGCONT));
	EXPECT_EVENT(SYSCALL);
}

TEST_HARNESS_MAIN
