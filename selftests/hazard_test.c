// SPDX-License-Identifier: MIT
/*
 * hazard_test.c - what the kernel keeps for a thread, while that runs a program
 *
 * In direct mode the program runs on the sentry's own thread. The CPU and the kernel
 * keep much for that thread, and others look at it: none of it may meet the program,
 * nor be lost. kmod/direct.c lists these hazards, direct_test has the rest of them.
 *
 * timeout: 400
 */
#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "cgroup_util.h"
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

static unsigned int read_pkru(void)
{
	unsigned int eax, edx;

	asm volatile(".byte 0x0f, 0x01, 0xee" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static void write_pkru(unsigned int pkru)
{
	asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(pkru), "c"(0), "d"(0));
}

TEST_F(hazard, protection_keys_are_the_programs_own)
{
	unsigned int a, b, c = 0, d, mine;
	int i;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & 1 << 4))
		SKIP(return, "this CPU lacks protection keys");
	LOAD(&self->b, &self->ctx, prog_pkru);
	for (i = 0; i < ROUNDS; i++) {
		mine = 0x55555500 | i << 4;
		write_pkru(mine);
		ASSERT_EQ(SANDTRAP_EVENT_SYSCALL, box_run(&self->b, &self->ctx));
		ASSERT_EQ(mine, read_pkru());
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

struct runner {
	struct box *b;
	struct box_context *ctx;
	int event;
};

/* ---- signals ---- */

BOX_PROGRAM(prog_count_dirty, "pcmpeqd %xmm0, %xmm0\n 1: incl 0x20000000\n jmp 1b");

static __thread int thread_variable = 0x1ead;
static struct {
	int variable;
	unsigned long rip, rax;
	unsigned char xmm0[16];
	int times;
} seen;

static void note(int sig, siginfo_t *info, void *data)
{
	const ucontext_t *uc = data;

	seen.variable = thread_variable;
	seen.rip = uc->uc_mcontext.gregs[REG_RIP];
	seen.rax = uc->uc_mcontext.gregs[REG_RAX];
	memcpy(seen.xmm0, &uc->uc_mcontext.fpregs->_xmm[0], 16);
	seen.times++;
}

/* The frame is the caller's, on its stack; nothing of the program is in it. */
TEST_F(hazard, a_handler_finds_the_caller)
{
	struct itimerval once = { { 0, 0 }, { 0, 20000 } };
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

		setitimer(ITIMER_REAL, &once, NULL);
		asm volatile("movdqu %1, %%xmm0\n syscall"
			     : "=a"(ret)
			     : "m"(mine), "a"(SYS_ioctl), "D"(self->b.fd),
			       "S"(SANDTRAP_RUN), "d"(&arg)
			     : "rcx", "r11", "xmm0", "memory");
		ASSERT_EQ(-EINTR, ret);
		ASSERT_EQ(i + 1, seen.times);
		ASSERT_EQ(thread_variable, seen.variable);
		ASSERT_GT(seen.rip, BOX_FREE);
		ASSERT_EQ(-EINTR, (long)seen.rax);
		ASSERT_EQ(0, memcmp(mine, seen.xmm0, 16));
	}
	EXPECT_LT(0, box_counter(&self->b));
}

static void *run_until_killed(void *data)
{
	struct runner *r = data;

	box_fit_for_direct();
	r->event = box_run(r->b, r->ctx);
	return NULL;
}

/* Runs the program on another thread; returns when it has begun. */
static pthread_t start_runner(struct runner *r)
{
	pthread_t thread;

	LOAD(r->b, r->ctx, box_count);
	if (pthread_create(&thread, NULL, run_until_killed, r) || !box_counts(r->b))
		_exit(101);
	return thread;
}

/* Of our box: it has all of them once its other context's thread has come. */
static int references(struct box *b)
{
	BOX_LOAD(b, box_syscall);
	if (box_run(b, &b->ctx) != SANDTRAP_EVENT_SYSCALL)
		return -1;
	return box_module_refs();
}

/* Nothing of other sentries is left, their memory included: that holds its mappings. */
static bool references_become(int refs)
{
	int i;

	for (i = 0; i < 5000 && box_module_refs() != refs; i++)
		usleep(1000);
	return box_module_refs() == refs;
}

/* Has a secret, and ends by a signal to itself, or to the thread that runs the program. */
static void dumping_sentry(struct box *b, struct box_context *ctx, uint64_t secret,
			   bool runner_dumps)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct runner r = { b, ctx, 0 };
	volatile uint64_t *p = malloc(sizeof(*p));
	pthread_t thread;

	*p = secret;
	if (setrlimit(RLIMIT_CORE, &all))
		_exit(102);
	thread = start_runner(&r);
	if (!runner_dumps)
		abort();
	pthread_kill(thread, SIGABRT);
	for (;;)
		pause();
}

/* True: there is a core file, and the secret is in it; or the kernel puts them elsewhere. */
static bool core_has(uint64_t secret)
{
	char pattern[128] = "";
	bool found = false;
	struct stat st;
	void *core;
	FILE *f;
	int fd;

	f = fopen("/proc/sys/kernel/core_pattern", "r");
	if (f && fgets(pattern, sizeof(pattern), f) && strcmp(pattern, "core\n"))
		found = true;
	if (f)
		fclose(f);
	fd = open("core", O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		return found;
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (core != MAP_FAILED) {
		found = memmem(core, st.st_size, &secret, sizeof(secret));
		munmap(core, st.st_size);
	}
	close(fd);
	unlink("core");
	return found;
}

/*
 * Every thread is killed, and waited for, before the memory is written. It is that of
 * the sentry, whichever thread writes it: a stub's would not be written at all.
 */
TEST_F(hazard, the_process_dumps_core)
{
	char dir[] = "/tmp/sandtrap-core-XXXXXX";
	int refs = references(&self->b);
	uint64_t secret;
	int i, status;
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, chdir(dir));
	for (i = 0; i < 8; i++) {
		secret = box_now_ns() * 0x9e3779b97f4a7c15;
		pid = box_fork(&self->b, &self->ctx);
		if (!pid)
			dumping_sentry(&self->b, &self->ctx, secret, i % 2);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGABRT, WTERMSIG(status));
		EXPECT_TRUE(WCOREDUMP(status));
		EXPECT_TRUE(core_has(secret));
	}
	EXPECT_TRUE(references_become(refs));
	EXPECT_EQ(0, chdir("/"));
	EXPECT_EQ(0, rmdir(dir));
}

/* ---- memory barriers ---- */

/* Counts until it is told to end, by the next word. */
BOX_PROGRAM(prog_count_turn,
	"1: incl 0x20000000\n cmpl $0, 0x20000004\n je 1b\n syscall\n jmp 1b");

enum turn { TURN_PROGRAM, TURN_ENDS, TURN_SENTRY };

#define BARRIERS 10

static volatile uint32_t *turn_of(struct box *b)
{
	return (uint32_t *)(b->file + BOX_DATA_PAGE * BOX_PAGE) + 1;
}

static int stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* Makes no call between the program's turns: its CPU learns from the module alone. */
static void sentry_by_turns(struct box *b, struct box_context *ctx)
{
	volatile uint32_t *turn = turn_of(b);

	LOAD(b, ctx, prog_count_turn);
	if (stay_on(0))
		_exit(101);
	while (box_run(b, ctx) == SANDTRAP_EVENT_SYSCALL) {
		*turn = TURN_SENTRY;
		while (*turn == TURN_SENTRY)
			;
	}
	_exit(102);
}

static bool turn_becomes(struct box *b, enum turn turn)
{
	int i;

	for (i = 0; i < 5000 && *turn_of(b) != turn; i++)
		usleep(1000);
	return *turn_of(b) == turn;
}

/* Interrupts by which the first CPU was told to call a function; -1: unknown. */
static long calls_of_functions(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[512];
	long n = -1;

	while (f && fgets(line, sizeof(line), f) && sscanf(line, " CAL: %ld", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

/* How many of our barriers reach the first CPU: each that does is an interrupt there. */
static long barriers_that_arrive(void)
{
	long before = calls_of_functions();
	int i;

	for (i = 0; i < BARRIERS; i++) {
		if (syscall(SYS_membarrier, 2 /* GLOBAL_EXPEDITED */, 0, 0))
			return -errno;
	}
	return before < 0 ? before : calls_of_functions() - before;
}

/*
 * Stubs are registered for barriers, this sentry is not, and the kernel goes by what the
 * CPU was told last. It is told by each switch to a process with another mm, too: both
 * spin, so that there is none. What happens in between all the same, on a busy machine
 * or for the kernel's own sake, makes a round come out wrong, but not half of them.
 */
TEST_F(hazard, barriers_of_others_reach_the_program_and_not_the_sentry)
{
	int missed = 0, needless = 0, i;
	cpu_set_t cpus;
	pid_t pid;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(cpus), &cpus));
	if (!CPU_ISSET(0, &cpus) || !CPU_ISSET(1, &cpus))
		SKIP(return, "this machine has no second CPU");
	ASSERT_EQ(0, stay_on(1));
	pid = box_fork(&self->b, &self->ctx);
	if (!pid)
		sentry_by_turns(&self->b, &self->ctx);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(box_counts(&self->b));
		missed += barriers_that_arrive() < BARRIERS / 2;
		*turn_of(&self->b) = TURN_ENDS;
		ASSERT_TRUE(turn_becomes(&self->b, TURN_SENTRY));
		needless += barriers_that_arrive() >= BARRIERS / 2;
		*turn_of(&self->b) = TURN_PROGRAM;
	}
	EXPECT_GT(ROUNDS / 2, missed);
	EXPECT_GT(ROUNDS / 2, needless);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
}

/* ---- out of memory ---- */

BOX_PROGRAM(prog_touch, "1: movq %rbx, (%rbx)\n addq $4096, %rbx\n jmp 1b");

#define LIMIT "24M"
#define TOO_MUCH (64ul << 20)

static void touch(volatile unsigned char *p, size_t size)
{
	for (; size; size -= BOX_PAGE, p += BOX_PAGE)
		*p = 1;
}

/* A sentry in the group that runs out of memory: its own, or the program's. */
static void hungry_sentry(struct box *b, struct cgroup *cg, bool program)
{
	struct box_context ctx;
	struct runner r = { b, &ctx, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cgroup_write(cg->dir, "cgroup.procs", "0") ||
	    box_open_on(b, b->mem, b->file) || box_new_direct(b, &ctx))
		_exit(101);
	if (!program) {
		start_runner(&r);
		touch(malloc(TOO_MUCH), TOO_MUCH);
		_exit(102);
	}
	b->mem = memfd_create("much", MFD_CLOEXEC);
	if (ftruncate(b->mem, TOO_MUCH) ||
	    box_map(b, b->as, BOX_FREE, 0, TOO_MUCH / BOX_PAGE, PROT_READ | PROT_WRITE))
		_exit(103);
	LOAD(b, &ctx, prog_touch);
	ctx.page->regs.rbx = BOX_FREE;
	_exit(box_run(b, &ctx) == SANDTRAP_EVENT_DEAD ? 0 : 104);
}

/* It tells of a kill with a backtrace, which is no trouble here; of trouble it tells so. */
static bool kernel_is_well(const char *since)
{
	int size = klogctl(10 /* SIZE_BUFFER */, NULL, 0);
	char *log = calloc(1, size + 1), *p;
	bool well = false;

	if (klogctl(3 /* READ_ALL */, log, size) > 0) {
		p = strstr(log, since);
		well = p && !strstr(p, "WARNING:") && !strstr(p, "BUG:");
	}
	free(log);
	return well;
}

static void mark_log(const char *mark)
{
	FILE *f = fopen("/dev/kmsg", "w");

	if (f) {
		fprintf(f, "%s\n", mark);
		fclose(f);
	}
}

static void test_hunger(struct __test_metadata *_metadata, FIXTURE_DATA(hazard) *self,
			bool program)
{
	int refs = references(&self->b);
	struct cgroup cg;
	int i, status;
	char mark[64];
	pid_t pid;

	snprintf(mark, sizeof(mark), "hazard_test: %d runs out of memory", getpid());
	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	ASSERT_EQ(0, cgroup_write(cg.dir, "memory.max", LIMIT));
	cgroup_write(cg.dir, "memory.swap.max", "0");
	mark_log(mark);
	ASSERT_EQ(0, klogctl(8 /* CONSOLE_LEVEL */, NULL, 4));
	for (i = 0; i < 4; i++) {
		pid = fork();
		if (!pid)
			hungry_sentry(&self->b, &cg, program);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		/* If it is the stub that was chosen, the sentry is told. */
		EXPECT_TRUE(status == SIGKILL || (program && status == 0));
	}
	EXPECT_LT(0, cgroup_read(&cg, "memory.events", "oom_kill "));
	EXPECT_TRUE(kernel_is_well(mark));
	klogctl(8 /* CONSOLE_LEVEL */, NULL, 7);
	EXPECT_TRUE(cgroup_becomes(&cg, "populated ", 0));
	EXPECT_TRUE(references_become(refs));
	cgroup_remove(&cg);
}

#define SHARE (32l << 20)

/* A first thread that has ended before the others is a zombie until they end. */
static bool has_ended(pid_t pid)
{
	char path[32], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state == 'Z';
}

static void *allocator(void *data)
{
	struct cgroup *cg = data;
	long before;

	while (!has_ended(getpid()))
		usleep(1000);
	before = cgroup_read(cg, "memory.current", "");
	touch(mmap(NULL, SHARE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	      SHARE);
	_exit(cgroup_read(cg, "memory.current", "") - before < SHARE * 3 / 4);
}

/*
 * The kernel charges memory to the group of an mm's owner. When that ends it looks for
 * another among the threads, up to one that has a different mm: there it gives up.
 */
TEST_F(hazard, a_sentry_is_charged_for_its_memory_when_its_first_thread_has_ended)
{
	struct cgroup cg;
	int status;
	pid_t pid;

	if (geteuid() || cgroup_make(&cg, "+memory"))
		SKIP(return, "this machine has no cgroup2 with memory for us: run as root");
	pid = fork();
	if (!pid) {
		struct box_context ctx;
		struct runner r = { &self->b, &ctx, 0 };
		pthread_t thread;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (cgroup_write(cg.dir, "cgroup.procs", "0") ||
		    box_open_on(&self->b, self->b.mem, self->b.file) ||
		    box_new_direct(&self->b, &ctx))
			_exit(101);
		LOAD(&self->b, &ctx, box_count);
		start_runner(&r);
		if (!box_counts(&self->b) || pthread_create(&thread, NULL, allocator, &cg))
			_exit(102);
		/* This thread alone. */
		syscall(SYS_exit, 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(cgroup_becomes(&cg, "populated ", 0));
	cgroup_remove(&cg);
}

TEST_F(hazard, the_sentry_runs_out_of_memory)
{
	test_hunger(_metadata, self, false);
}

TEST_F(hazard, the_program_runs_out_of_memory)
{
	test_hunger(_metadata, self, true);
}

TEST_HARNESS_MAIN
