// SPDX-License-Identifier: MIT
/*
 * hazard_test.c - what the kernel keeps for a thread, while that runs a program
 *
 * In direct mode the program runs on the sentry's own thread. The CPU and the kernel
 * keep much for that thread, and others look at it: none of it may meet the program,
 * nor be lost. kmod/direct.c lists these hazards, direct_test and hazard_mm_test have the rest.
 *
 * timeout: 400
 */
#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define ROUNDS 20

#define TRAP_GP 13
#define TRAP_NM 7

BOX_DIRECT_FIXTURE(hazard)

#define LOAD(b, ctx, name) box_load(b, ctx, name, name##_end - name)

static const struct sandtrap_fault *fault_of(const struct box_context *ctx)
{
	return &ctx->page->fault;
}

/* A sentry whose program counts; see box_counts(). */
static pid_t start_counting(struct box *b, struct box_context *ctx)
{
	pid_t pid = box_fork(b, ctx);

	if (!pid) {
		LOAD(b, ctx, box_count);
		_exit(box_run(b, ctx));
	}
	return pid;
}

/* ---- debug registers ---- */

BOX_PROGRAM(prog_count_call, "1: incl 0x20000000\n syscall\n jmp 1b");

#define DR7_ENABLE(n) (1ul << (2 * (n)))
#define DR7_WRITES_OF_4(n) (0xdul << (16 + 4 * (n)))

static unsigned long debug_register(pid_t pid, int n)
{
	return ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[n]), 0);
}

static int set_debug_register(pid_t pid, int n, unsigned long value)
{
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[n]), value) ?
		-errno : 0;
}

static unsigned char *page_at(uint64_t addr, int prot)
{
	void *page = mmap((void *)(uintptr_t)addr, BOX_PAGE, prot,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

/* Has code and data where the program has its own; uses them when it has run. */
static void watched_sentry(struct box *b, struct box_context *ctx)
{
	unsigned char *code = page_at(BOX_CODE, PROT_READ | PROT_WRITE | PROT_EXEC);
	unsigned char *data = page_at(BOX_DATA, PROT_READ | PROT_WRITE);
	int i;

	if (!code || !data)
		_exit(101);
	*code = 0xc3; /* ret */
	LOAD(b, ctx, prog_count_call);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP))
		_exit(102);
	for (i = 0; i < ROUNDS; i++) {
		if (box_run(b, ctx) != SANDTRAP_EVENT_SYSCALL)
			_exit(103);
	}
	*(volatile int *)data = 1;
	((void (*)(void))code)();
	_exit(0);
}

#define EXPECT_STOP(pid, sig) do { \
	int _status; \
	ASSERT_EQ(pid, waitpid(pid, &_status, 0)); \
	ASSERT_TRUE(WIFSTOPPED(_status)); \
	ASSERT_EQ(sig, WSTOPSIG(_status)); \
} while (0)

TEST_F(hazard, breakpoints_of_the_caller_are_not_the_programs)
{
	int status;
	pid_t pid;

	pid = box_fork(&self->b, &self->ctx);
	if (!pid)
		watched_sentry(&self->b, &self->ctx);
	EXPECT_STOP(pid, SIGSTOP);
	ASSERT_EQ(0, set_debug_register(pid, 0, BOX_DATA));
	ASSERT_EQ(0, set_debug_register(pid, 1, BOX_CODE));
	ASSERT_EQ(0, set_debug_register(pid, 7, DR7_ENABLE(0) | DR7_WRITES_OF_4(0) |
						DR7_ENABLE(1)));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	/* The caller's own write, and then its call. */
	EXPECT_STOP(pid, SIGTRAP);
	EXPECT_EQ(ROUNDS, box_counter(&self->b));
	EXPECT_EQ(1, debug_register(pid, 6) & 15);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	EXPECT_STOP(pid, SIGTRAP);
	EXPECT_EQ(2, debug_register(pid, 6) & 15);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* What the program hit is not there to be found later. */
TEST_F(hazard, breakpoints_hit_by_the_program_leave_nothing)
{
	int i, status;
	pid_t pid;

	pid = start_counting(&self->b, &self->ctx);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, 0, 0));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(box_counts(&self->b));
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, pid, 0, 0));
		EXPECT_STOP(pid, SIGTRAP);
		EXPECT_EQ(0, debug_register(pid, 6) & 15);
		ASSERT_EQ(0, set_debug_register(pid, 0, BOX_DATA));
		ASSERT_EQ(0, set_debug_register(pid, 7, DR7_ENABLE(0) | DR7_WRITES_OF_4(0)));
		ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	}
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
}

/* Seizes the sentry, if it is not traced, and stops it. */
static int interrupt_sentry(pid_t pid, struct user_regs_struct *regs)
{
	int status;

	if ((ptrace(PTRACE_SEIZE, pid, 0, 0) && errno != EPERM) ||
	    ptrace(PTRACE_INTERRUPT, pid, 0, 0) || waitpid(pid, &status, 0) != pid ||
	    !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		return -ECHILD;
	return ptrace(PTRACE_GETREGS, pid, 0, regs) ? -errno : 0;
}

/* Stopped, it is in the call; a step goes on with the program, without an end here. */
TEST_F(hazard, a_debugger_finds_the_sentry)
{
	struct user_regs_struct regs;
	int i, status;
	pid_t pid;

	pid = start_counting(&self->b, &self->ctx);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(box_counts(&self->b));
		ASSERT_EQ(0, interrupt_sentry(pid, &regs));
		EXPECT_GT(regs.rip, BOX_FREE);
		ASSERT_EQ(0, ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		ASSERT_TRUE(box_counts(&self->b));
		ASSERT_EQ(0, interrupt_sentry(pid, &regs));
		EXPECT_GT(regs.rip, BOX_FREE);
		EXPECT_EQ(SYS_ioctl, regs.orig_rax);
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, 0, 0));
	}
	EXPECT_TRUE(box_counts(&self->b));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
}

/* A call of each kind, and an end by a fault. */
static void stepped_sentry(struct box *b, struct box_context *ctx)
{
	LOAD(b, ctx, prog_count_call);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP))
		_exit(101);
	if (box_run(b, ctx) != SANDTRAP_EVENT_SYSCALL)
		_exit(102);
	ctx->page->resume_seq = ctx->page->event_seq;
	if (lseek(b->fd, ctx->id, SEEK_SET) || ctx->page->event != SANDTRAP_EVENT_SYSCALL)
		_exit(103);
	ctx->page->regs.rip = BOX_FREE;
	if (box_run(b, ctx) != SANDTRAP_EVENT_FAULT)
		_exit(104);
	_exit(0);
}

/* A step is over the call, with all that the program did in it. */
TEST_F(hazard, a_debugger_steps_over_the_call)
{
	struct user_regs_struct regs;
	int status = 0, steps;
	pid_t pid;

	pid = box_fork(&self->b, &self->ctx);
	if (!pid)
		stepped_sentry(&self->b, &self->ctx);
	EXPECT_STOP(pid, SIGSTOP);
	for (steps = 0; steps < 20000; steps++) {
		ASSERT_EQ(0, ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		ASSERT_EQ(SIGTRAP, WSTOPSIG(status));
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		ASSERT_GT(regs.rip, BOX_FREE);
	}
	EXPECT_GT(20000, steps);
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, box_counter(&self->b));
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

/* ---- descriptors and faults that the caller asked for ---- */

BOX_PROGRAM(prog_see_selectors, "1: mov %gs, %ebx\n mov %es, %edi\n syscall\n jmp 1b");
BOX_PROGRAM(prog_load_selector, "mov %ebx, %gs\n syscall");

/* The first descriptor of the LDT. */
#define LDT_SELECTOR 7u

static int set_descriptor(const void *base)
{
	struct user_desc desc = {
		.base_addr = (uintptr_t)base,
		.limit = 0xfffff,
		.seg_32bit = 1,
		.limit_in_pages = 1,
	};

	return syscall(SYS_modify_ldt, 1, &desc, sizeof(desc)) ? -errno : 0;
}

static void load_selectors(unsigned int selector)
{
	asm volatile("mov %0, %%gs\n mov %0, %%es" : : "r"(selector));
}

TEST_F(hazard, descriptors_of_the_caller_stay_its_own)
{
	struct sandtrap_regs *r = &self->ctx.page->regs;
	unsigned int gs, es, value;
	unsigned int *mine;
	int i;

	mine = mmap(NULL, BOX_PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, mine);
	*mine = 0x600df00d;
	if (set_descriptor(mine))
		SKIP(return, "this kernel lacks modify_ldt()");
	LOAD(&self->b, &self->ctx, prog_see_selectors);
	load_selectors(LDT_SELECTOR);
	for (i = 0; i < ROUNDS; i++) {
		int event = box_run(&self->b, &self->ctx);

		asm volatile("mov %%gs, %0\n mov %%es, %1\n" : "=r"(gs), "=r"(es));
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, event);
		ASSERT_EQ(0, r->rbx);
		ASSERT_EQ(0, r->rdi);
		ASSERT_EQ(LDT_SELECTOR, gs);
		ASSERT_EQ(LDT_SELECTOR, es);
		asm volatile("movl %%gs:0, %0" : "=r"(value));
		ASSERT_EQ(0x600df00d, value);
	}
	load_selectors(0);
	/* The program has no such descriptor. */
	LOAD(&self->b, &self->ctx, prog_load_selector);
	r->rbx = LDT_SELECTOR;
	ASSERT_EQ(SANDTRAP_EVENT_FAULT, box_run(&self->b, &self->ctx));
	EXPECT_EQ(TRAP_GP, fault_of(&self->ctx)->trap_nr);
	EXPECT_EQ(LDT_SELECTOR & ~3u, fault_of(&self->ctx)->error_code);
	load_selectors(LDT_SELECTOR);
	asm volatile("movl %%gs:0, %0" : "=r"(value));
	EXPECT_EQ(0x600df00d, value);
	load_selectors(0);
}

BOX_PROGRAM(prog_rdtsc, "rdtsc\n syscall");
BOX_PROGRAM(prog_cpuid, "xorl %eax, %eax\n cpuid\n syscall");

/* Who forbids itself to read the time forbids it to the programs that it runs. */
TEST_F(hazard, time_stamp_counter_as_the_caller_has_it)
{
	int i, event;

	for (i = 0; i < ROUNDS; i++) {
		LOAD(&self->b, &self->ctx, prog_rdtsc);
		ASSERT_EQ(0, prctl(PR_SET_TSC, i % 2 ? PR_TSC_SIGSEGV : PR_TSC_ENABLE));
		event = box_run(&self->b, &self->ctx);
		ASSERT_EQ(0, prctl(PR_SET_TSC, PR_TSC_ENABLE));
		ASSERT_EQ(i % 2 ? SANDTRAP_EVENT_FAULT : SANDTRAP_EVENT_SYSCALL, event);
		if (i % 2) {
			EXPECT_EQ(TRAP_GP, fault_of(&self->ctx)->trap_nr);
			EXPECT_EQ(BOX_CODE, self->ctx.page->regs.rip);
		}
	}
}

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif

TEST_F(hazard, cpuid_as_the_caller_has_it)
{
	int i, event;

	if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1))
		SKIP(return, "this CPU lacks CPUID faulting");
	for (i = 0; i < ROUNDS; i++) {
		LOAD(&self->b, &self->ctx, prog_cpuid);
		ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_CPUID, i % 2 ? 0 : 1));
		event = box_run(&self->b, &self->ctx);
		ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1));
		ASSERT_EQ(i % 2 ? SANDTRAP_EVENT_FAULT : SANDTRAP_EVENT_SYSCALL, event);
		if (i % 2) {
			EXPECT_EQ(TRAP_GP, fault_of(&self->ctx)->trap_nr);
			EXPECT_EQ(BOX_CODE + 2, self->ctx.page->regs.rip);
		}
	}
}

/* ---- extended state ---- */

BOX_PROGRAM(prog_pkru,
	"1: xorl %ecx, %ecx\n .byte 0x0f, 0x01, 0xee\n movl %eax, %ebx\n"
	"movl $0x55555554, %eax\n xorl %edx, %edx\n .byte 0x0f, 0x01, 0xef\n"
	"syscall\n jmp 1b");

TEST_F(hazard, protection_keys_are_the_programs_own)
{
	unsigned int mine;
	int i;

	if (!box_has_pku())
		SKIP(return, "this CPU lacks protection keys");
	LOAD(&self->b, &self->ctx, prog_pkru);
	for (i = 0; i < ROUNDS; i++) {
		mine = 0x55555500 | i << 4;
		box_write_pkru(mine);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		ASSERT_EQ(mine, box_read_pkru());
		/* At first none is denied; then it is what the program wrote. */
		ASSERT_EQ(i ? 0x55555554 : 0, self->ctx.page->regs.rbx);
	}
}

/* 64 bytes at BOX_DATA configure one tile of one row. */
BOX_PROGRAM(prog_amx,
	"ldtilecfg 0x20000000\n tileloadd (%rbx), %tmm0\n"
	"1: syscall\n tilestored %tmm0, (%rdi)\n jmp 1b");

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILEDATA 18

/* It takes a permission, for the process; then the program's state grows. */
TEST_F(hazard, tiles_are_the_programs_own)
{
	unsigned char *data = self->b.file + BOX_DATA_PAGE * BOX_PAGE;
	struct sandtrap_regs *r = &self->ctx.page->regs;
	unsigned int a, b, c, d = 0;
	int i;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & 1 << 24))
		SKIP(return, "this CPU lacks AMX (QEMU does not emulate it)");
	data[0] = 1;  /* palette */
	data[16] = 8; /* bytes of a row */
	data[48] = 1; /* rows */
	memcpy(data + 64, "program", 8);
	LOAD(&self->b, &self->ctx, prog_amx);
	r->rbx = BOX_DATA + 64;
	r->rdi = BOX_DATA + 128;
	ASSERT_EQ(SANDTRAP_EVENT_FAULT, box_run(&self->b, &self->ctx));
	EXPECT_EQ(SIGILL, fault_of(&self->ctx)->signo);
	EXPECT_EQ(TRAP_NM, fault_of(&self->ctx)->trap_nr);
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA))
		SKIP(return, "this kernel lacks AMX");
	for (i = 0; i < ROUNDS; i++) {
		memset(data + 128, 0, 8);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		if (i)
			ASSERT_STREQ("program", (char *)data + 128);
	}
}

/* ---- what completes in the task, or is written to its memory ---- */

static void *run_elsewhere(void *data)
{
	FIXTURE_DATA(hazard) *self = data;

	box_fit_for_direct();
	return (void *)(long)box_try_run(&self->b, &self->ctx);
}

TEST_F(hazard, not_with_io_uring)
{
	char params[120] = {};
	pthread_t thread;
	void *result;
	int ring;

	LOAD(&self->b, &self->ctx, box_syscall);
	ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_try_run(&self->b, &self->ctx));
	ring = syscall(SYS_io_uring_setup, 4, params);
	if (ring < 0)
		SKIP(return, "this kernel lacks io_uring for us: see sysctl kernel.io_uring_disabled");
	EXPECT_EQ(-EPERM, box_try_run(&self->b, &self->ctx));
	close(ring);
	/* It was this thread that used it. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_elsewhere, self));
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, (long)result);
}

TEST_F(hazard, not_by_a_32_bit_call)
{
	long ret;

	LOAD(&self->b, &self->ctx, box_syscall);
	self->ctx.page->resume_seq = self->ctx.page->event_seq;
	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(19 /* lseek */), "b"(self->b.fd), "c"(self->ctx.id), "d"(SEEK_SET)
		     : "memory", "r8", "r9", "r10", "r11");
	if (ret == -ENOSYS)
		SKIP(return, "this kernel lacks 32-bit calls");
	EXPECT_EQ(-EPERM, (int)ret);
}

/* What rseq shows of the ids that the kernel gives to threads, since 6.3. */
struct ids {
	uint32_t cpu_id_start;
	uint32_t cpu_id;
	uint64_t critical;
	uint32_t flags;
	uint32_t node_id;
	uint32_t mm_cid;
	uint32_t padding;
} __attribute__((aligned(32)));

#define IDS_SIGNATURE 0x53053053
#define AT_RSEQ_FEATURE_SIZE 27
#define THREADS 3

struct id_thread {
	struct box *b;
	struct box_context ctx;
	struct ids ids;
	pthread_barrier_t *barrier;
	volatile uint32_t *owners;
	int event;
	bool sound;
	unsigned int shared; /* times that another had the same id */
};

/* Whoever has the id marks it, and finds its mark for as long as it runs. */
static void use_id(struct id_thread *t, unsigned int most)
{
	volatile struct ids *ids = &t->ids;
	unsigned int i, id;

	for (i = 0; i < 200000; i++) {
		id = ids->mm_cid;
		if (id >= most || ids->cpu_id >= 4096 || ids->node_id >= 4096) {
			t->sound = false;
			return;
		}
		t->owners[id * 16] = ids->cpu_id + 1;
		__asm__ volatile("" : : : "memory");
		if (ids->mm_cid == id && t->owners[id * 16] != ids->cpu_id + 1)
			t->shared++;
	}
}

static void *id_thread(void *data)
{
	struct id_thread *t = data;
	int i;

	box_fit_for_direct();
	for (i = 0; i < 300; i++)
		t->event = box_run(t->b, &t->ctx);
	t->sound = true;
	if (syscall(SYS_rseq, &t->ids, sizeof(t->ids), 0, IDS_SIGNATURE))
		t->event = -errno;
	pthread_barrier_wait(t->barrier);
	use_id(t, THREADS + 1);
	pthread_barrier_wait(t->barrier);
	syscall(SYS_rseq, &t->ids, sizeof(t->ids), 1 /* UNREGISTER */, IDS_SIGNATURE);
	return NULL;
}

/* No thread that ran programs is left without an id, or with another's. */
TEST_F(hazard, ids_are_sound_afterwards)
{
	static volatile uint32_t owners[16 * 64];
	struct id_thread t[THREADS] = {};
	pthread_barrier_t barrier;
	pthread_t threads[THREADS];
	int i;

	if (getauxval(AT_RSEQ_FEATURE_SIZE) < offsetof(struct ids, padding))
		SKIP(return, "this kernel lacks rseq's mm_cid");
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		t[i].b = &self->b;
		t[i].barrier = &barrier;
		t[i].owners = owners;
		ASSERT_EQ(0, box_new_direct(&self->b, &t[i].ctx));
		LOAD(&self->b, &t[i].ctx, box_syscall);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, id_thread, &t[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(SANDTRAP_EVENT_SYSCALL, t[i].event);
		EXPECT_TRUE(t[i].sound);
		/* Now and then a thread is scheduled out between its two looks. */
		EXPECT_GT(2000, t[i].shared);
	}
}

/* ---- signals ---- */

BOX_PROGRAM(prog_count_dirty, "pcmpeqd %xmm0, %xmm0\n 1: incl 0x20000000\n jmp 1b");

static __thread int thread_variable = 0x1ead;
static struct {
	int variable;
	unsigned long rip, rax;
	unsigned char xmm0[16];
	int times;
} seen;

/* The timer goes off until it ends a call; one before the call would not. */
static void note(int sig, siginfo_t *info, void *data)
{
	const struct itimerval none = {};
	const ucontext_t *uc = data;

	if (uc->uc_mcontext.gregs[REG_RAX] == -EINTR)
		setitimer(ITIMER_REAL, &none, NULL);
	seen.variable = thread_variable;
	seen.rip = uc->uc_mcontext.gregs[REG_RIP];
	seen.rax = uc->uc_mcontext.gregs[REG_RAX];
	memcpy(seen.xmm0, &uc->uc_mcontext.fpregs->_xmm[0], 16);
	seen.times++;
}

/* The frame is the caller's, on its stack; nothing of the program is in it. */
TEST_F(hazard, a_handler_finds_the_caller)
{
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
	unsigned char mine[16] = "of the caller..";
	int i;

	sigaction(SIGALRM, &action, NULL);
	LOAD(&self->b, &self->ctx, prog_count_dirty);
	for (i = 0; i < ROUNDS; i++) {
		struct sandtrap_run arg = {
			.size = sizeof(arg), .id = self->ctx.id,
			.seq = self->ctx.page->event_seq,
		};
		long ret;

		seen.times = 0;
		setitimer(ITIMER_REAL, &often, NULL);
		asm volatile("movdqu %1, %%xmm0\n syscall"
			     : "=a"(ret)
			     : "m"(mine), "a"(SYS_ioctl), "D"(self->b.fd),
			       "S"(SANDTRAP_RUN), "d"(&arg)
			     : "rcx", "r11", "xmm0", "memory");
		ASSERT_EQ(-EINTR, ret);
		ASSERT_LT(0, seen.times);
		ASSERT_EQ(thread_variable, seen.variable);
		ASSERT_GT(seen.rip, BOX_FREE);
		ASSERT_EQ(-EINTR, (long)seen.rax);
		ASSERT_EQ(0, memcmp(mine, seen.xmm0, 16));
	}
	EXPECT_LT(0, box_counter(&self->b));
}

/* ---- uprobes ---- */

BOX_PROGRAM(prog_breakpoints, "int3\n int3");

/* A uprobe is put here, so that what is forked from this process is searched for it. */
static __attribute__((noinline)) void probed(void)
{
	__asm__ volatile("nop");
}

/* Offset of probed() in the file of this program; 0 if it is not found. */
static uint64_t probed_offset(void)
{
	unsigned long addr = (unsigned long)probed, start, end, offset, found = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    addr >= start && addr < end)
			found = addr - start + offset;
	}
	if (f)
		fclose(f);
	return found;
}

/* A descriptor that keeps the uprobe, or -errno. */
static int probe_this_program(void)
{
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.uprobe_path = (uintptr_t)"/proc/self/exe",
		.probe_offset = probed_offset(),
	};
	int fd = -ENOENT;

	if (!f)
		return fd;
	if (fscanf(f, "%u", &attr.type) == 1) {
		fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	fclose(f);
	return fd;
}

/* Has a uprobe from the first byte to @ready until there is one in @done. */
static void have_a_uprobe(int ready, int done)
{
	int fd = probe_this_program(), err = fd < 0 ? fd : 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(ready, &err, sizeof(err)) != sizeof(err) || err)
		_exit(1);
	while (read(done, &err, 1) < 0)
		;
	close(fd);
	_exit(0);
}

/*
 * The kernel looks for uprobes at an INT3 as a reader for whom they wait who take a
 * uprobe away: a stub's thread must not stay there until the sentry has answered.
 */
TEST(a_breakpoint_does_not_hold_up_uprobes)
{
	struct { struct box b; } box, *self = &box; /* for EXPECT_EVENT() */
	int ready[2], done[2], err = -1;
	pid_t prober;

	if (box_why_skip())
		SKIP(return, "%s", box_why_skip());
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(done));
	prober = fork();
	if (!prober)
		have_a_uprobe(ready[1], done[0]);
	ASSERT_EQ(sizeof(err), read(ready[0], &err, sizeof(err)));
	if (err == -ENOENT) {
		waitpid(prober, NULL, 0);
		SKIP(return, "this kernel lacks uprobes for perf (CONFIG_UPROBE_EVENTS)");
	}
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, box_open(&self->b));
	BOX_LOAD(&self->b, prog_breakpoints);
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(SIGTRAP, fault(&self->b)->signo);
	EXPECT_EQ(3, fault(&self->b)->trap_nr);
	ASSERT_EQ(1, write(done[1], "", 1));
	EXPECT_TRUE(box_gone(prober, 5000));
	/* Whoever waits in there for us does so no longer. */
	EXPECT_EVENT(FAULT);
	EXPECT_EQ(prober, waitpid(prober, NULL, 0));
	box_close(&self->b);
}

TEST_HARNESS_MAIN
