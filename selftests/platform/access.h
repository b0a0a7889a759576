/* SPDX-License-Identifier: MIT */
/*
 * access.h - programs that access one address, and what comes of it
 */
#ifndef _SELFTESTS_PLATFORM_ACCESS_H
#define _SELFTESTS_PLATFORM_ACCESS_H

#include <signal.h>

#include "suite.h"

/* rbx: address. */
PROGRAM(prog_read, "1: movq (%rbx), %r12\n syscall\n jmp 1b");
PROGRAM(prog_write, "1: movq %rdx, (%rbx)\n syscall\n jmp 1b");
PROGRAM(prog_call, "1: call *%rbx\n syscall\n jmp 1b");

static inline void access_start(struct bench *b, const unsigned char *program, const unsigned char *end,
		  uint64_t rbx)
{
	bench_load(b, program, end - program);
	b->regs->rbx = rbx;
}

/* The program reads @value at @addr. */
#define EXPECT_READ(b, addr, value) do { \
	access_start(b, prog_read, prog_read_end, addr); \
	ASSERT_EQ(0, bench_run(b)); \
	ASSERT_EQ(PLATFORM_SYSCALL, (b)->ev.kind) TH_LOG("fault at %p", (b)->ev.info.si_addr); \
	EXPECT_EQ(value, (b)->regs->r12); \
} while (0)

/* Accessing @addr with @program faults there. */
#define EXPECT_FAULT_AT(b, program, addr) do { \
	access_start(b, program, program##_end, addr); \
	ASSERT_EQ(0, bench_run(b)); \
	ASSERT_EQ(PLATFORM_SIGNAL, (b)->ev.kind); \
	EXPECT_EQ(SIGSEGV, (b)->ev.info.si_signo); \
	EXPECT_EQ(addr, (uint64_t)(b)->ev.info.si_addr); \
} while (0)

#define EXPECT_OK(b, program, addr) do { \
	access_start(b, program, program##_end, addr); \
	ASSERT_EQ(0, bench_run(b)); \
	EXPECT_EQ(PLATFORM_SYSCALL, (b)->ev.kind); \
} while (0)

#endif /* _SELFTESTS_PLATFORM_ACCESS_H */
