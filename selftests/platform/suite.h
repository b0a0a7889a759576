/* SPDX-License-Identifier: MIT */
/*
 * suite.h - what every part of platform_test includes: harness, bench, fixture
 *
 * A part is a source file with a fixture and checks in it. They are linked to
 * one program; platform_test.c has the list of what is checked where.
 */
#ifndef _SELFTESTS_PLATFORM_SUITE_H
#define _SELFTESTS_PLATFORM_SUITE_H

/*
 * The harness is made for programs of one source file: its few global symbols
 * would clash. Weak, they are merged, and with them the lists that begin there.
 */
#pragma weak _fixture_global
#pragma weak __active_test
#pragma weak __wait_for_test
#pragma weak __run_test

#include "kselftest_harness.h"

#include "bench.h"
#include "storm.h"

/* The harness's own exit status for a skipped test. */
#define SUITE_EXIT_SKIP 255

/*
 * The fixture that most parts have: struct bench b, one variant for each
 * platform, and one for each in a storm of interrupts. Nothing may be left of
 * any of them.
 */
#define SUITE_FIXTURE(name) \
	SUITE_FIXTURE_CALM(name) \
	SUITE_STORM_VARIANTS(name)

#define SUITE_STORM_VARIANTS(name) \
	FIXTURE_VARIANT_ADD(name, ptrace_storm) { .platform = "ptrace", .storm = true }; \
	FIXTURE_VARIANT_ADD(name, systrap_storm) { .platform = "systrap", .storm = true }; \
	FIXTURE_VARIANT_ADD(name, sandtrap_storm) { .platform = "sandtrap", .storm = true }

/* For checks that make their own weather. */
#define SUITE_FIXTURE_CALM(name) \
	FIXTURE(name) { struct bench b; }; \
	SUITE_VARIANTS(name) \
	FIXTURE_SETUP(name) \
	{ \
		SUITE_SKIP_UNLESS_POSSIBLE(variant->platform); \
		ASSERT_EQ(0, bench_open(&self->b, variant->platform, variant->storm)); \
	} \
	FIXTURE_TEARDOWN(name) \
	{ \
		pid_t left_[4]; \
		bench_close(&self->b); \
		EXPECT_EQ(0, bench_descendants(left_, 4)); \
	}

#define SUITE_VARIANTS(name) \
	FIXTURE_VARIANT(name) { const char *platform; bool storm; }; \
	FIXTURE_VARIANT_ADD(name, ptrace) { .platform = "ptrace" }; \
	FIXTURE_VARIANT_ADD(name, systrap) { .platform = "systrap" }; \
	FIXTURE_VARIANT_ADD(name, sandtrap) { .platform = "sandtrap" };

#define SUITE_SKIP_UNLESS_POSSIBLE(platform) do { \
	const char *why_ = bench_why_skip(platform); \
	if (why_) \
		SKIP(_exit(SUITE_EXIT_SKIP), "%s: %s", platform, why_); \
} while (0)

/* The next event is a system call of this number. */
#define EXPECT_SYSCALL(bench, nr) do { \
	ASSERT_EQ(0, bench_run(bench)); \
	ASSERT_EQ(PLATFORM_SYSCALL, (bench)->ev.kind) \
		TH_LOG("signal %d at %#llx", (bench)->ev.info.si_signo, (bench)->regs->rip); \
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

#endif /* _SELFTESTS_PLATFORM_SUITE_H */
