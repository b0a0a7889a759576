// SPDX-License-Identifier: MIT
/*
 * patch.c - many threads in code whose system calls get rewritten under them
 *
 * Usage: patch SECONDS
 *
 * Some threads call small functions that each make a system call in another way, and
 * compare every register, the flags and the red zone after it. Meanwhile other
 * threads map the same code anew, write other code in its place, move it, fork,
 * step through it, jump to the system call instruction itself, and interrupt all of
 * them by signals. It prints nothing but the first wrong result; natively it passes
 * too.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define EFLAGS_TF 0x100u
/* What a call must not change: CF PF AF ZF SF DF OF. */
#define EFLAGS_MASK 0xcd5u

#define RED_ZONE 128

/* ---- the code ---- */

/*
 * In each function: its name, name_call for the system call instruction, and
 * name_end. They start behind padding, as compilers put them. The last one has its
 * only long instruction across the end of a page.
 */
asm(".pushsection .rodata.sites, \"a\", @progbits\n"
    "	.balign 4096\n"
    "	.globl sites, sites_end\n"
    "sites:\n"
    "	.fill 16, 1, 0xcc\n"
    "direct:\n"
    "	mov	$39, %eax\n"
    "direct_call: syscall\n"
    "	ret\n"
    "direct_end:\n"
    "	.balign 16, 0xcc\n"
    "	.fill 16, 1, 0xcc\n"
    "between:\n"
    "	mov	$186, %r9d\n"
    "	mov	%r9d, %eax\n"
    "between_call: syscall\n"
    "	ret\n"
    "between_end:\n"
    "	.balign 16, 0xcc\n"
    "	.fill 16, 1, 0xcc\n"
    "generic:\n" /* like syscall(3), on the caller's stack */
    "	mov	%rdi, %rax\n"
    "	mov	%rsi, %rdi\n"
    "	mov	%r8, %r10\n"
    "	mov	8(%rsp), %r9\n"
    "generic_call: syscall\n"
    "	ret\n"
    "generic_end:\n"
    "	.balign 16, 0xcc\n"
    "	.fill 16, 1, 0xcc\n"
    "branch:\n"
    "	mov	$39, %eax\n"
    "	test	%rdi, %rdi\n"
    "	jne	1f\n"
    "branch_call: syscall\n"
    "	ret\n"
    "1:	mov	$186, %eax\n"
    "	syscall\n"
    "	ret\n"
    "branch_end:\n"
    "	.balign 16, 0xcc\n"
    "	.fill 16, 1, 0xcc\n"
    "relative:\n"
    "	mov	1f(%rip), %eax\n"
    "relative_call: syscall\n"
    "	ret\n"
    "1:	.long	39\n"
    "relative_end:\n"
    "	.balign 4096, 0xcc\n"
    "	.fill 4096 - 16, 1, 0xcc\n" /* a page on, so that it does not move the others */
    "	.balign 16, 0xcc\n"
    "across:\n"
    "	.fill 13, 1, 0x90\n"
    "	mov	$39, %eax\n"
    "across_call: syscall\n"
    "	ret\n"
    "across_end:\n"
    "	.balign 4096, 0xcc\n"
    "sites_end:\n"
    "	.popsection\n");

extern const char sites[], sites_end[];
#define SITE(name) extern const char name[], name##_call[], name##_end[]
SITE(direct);
SITE(between);
SITE(generic);
SITE(branch);
SITE(relative);
SITE(across);

enum answer { PID, TID };

static const struct site {
	const char *name;
	const char *start, *call, *end;
	enum answer answer;
	uint64_t rdi; /* argument that makes it so */
} table[] = {
	{ "direct", direct, direct_call, direct_end, PID, 0 },
	{ "between", between, between_call, between_end, TID, 0 },
	{ "generic", generic, generic_call, generic_end, PID, SYS_getpid },
	{ "generic tid", generic, generic_call, generic_end, TID, SYS_gettid },
	{ "branch", branch, branch_call, branch_end, PID, 0 },
	{ "branch taken", branch, branch_call, branch_end, TID, 1 },
	{ "relative", relative, relative_call, relative_end, PID, 0 },
	{ "across", across, across_call, across_end, PID, 0 },
};

/* Where the code is: everybody's, and the one that changes under a lock. */
struct region {
	_Atomic(char *) base;
};

static size_t region_size;
static struct region common, changing;
/* Its readers are always there: writers come first. */
static pthread_rwlock_t changing_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static int code_fd;

static atomic_bool stop, failed;
static pid_t main_pid;

/* Seconds beyond those asked for that it waits for each kind of event. */
#define PATIENCE 60

/* Statistics: each must have happened. */
enum { CALLS, MIDDLES, REMAPS, CHANGES, FORKS, STEPS, SIGNALS, RESTARTS, NR_COUNTS };
static const char *const count_names[NR_COUNTS] = {
	"calls", "jumps into the middle", "remaps", "changes", "forks", "steps", "signals",
	"restarts",
};
static atomic_ulong counts[NR_COUNTS];

static void count(int what)
{
	atomic_fetch_add_explicit(&counts[what], 1, memory_order_relaxed);
}

static void fail(const char *what, const char *which, uint64_t got, uint64_t want)
{
	char text[256];
	int n;

	n = snprintf(text, sizeof(text), "wrong: %s of %s: %#lx instead of %#lx\n", what, which,
		     got, want);
	if (!atomic_exchange(&failed, true) && write(1, text, (size_t)n) < 0)
		abort();
	atomic_store(&stop, true);
}

static char *place(const struct region *r, const char *code)
{
	return atomic_load(&r->base) + (code - sites);
}

/* ---- calls with all registers known ---- */

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, FLAGS, NR_REGS };

struct frame {
	uint64_t in[NR_REGS], out[NR_REGS];
	uint64_t xmm_in[16][2], xmm_out[16][2];
	uint64_t red_in[RED_ZONE / 8], red_out[RED_ZONE / 8];
	const void *target;
};

__thread struct frame *call_frame;
__thread uint64_t call_rax;

/*
 * Everything from *call_frame, the call, everything to it. What the function has as
 * its red zone is 8 bytes further down than ours.
 */
void call_site(struct frame *f);

#define REGS(op) \
	op(RBX, rbx, 8) op(RCX, rcx, 16) op(RDX, rdx, 24) op(RSI, rsi, 32) op(RDI, rdi, 40) \
	op(RBP, rbp, 48) op(R8, r8, 56) op(R9, r9, 64) op(R10, r10, 72) op(R11, r11, 80) \
	op(R12, r12, 88) op(R13, r13, 96) op(R14, r14, 104) op(R15, r15, 112)
#define LOAD(name, reg, off) "	mov	" #off "(%rax), %" #reg "\n"
#define STORE(name, reg, off) "	mov	%" #reg ", 128+" #off "(%rax)\n"
#define XMM(op) \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) \
	op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define XLOAD(n) "	movups	256+16*" #n "(%rax), %xmm" #n "\n"
#define XSTORE(n) "	movups	%xmm" #n ", 512+16*" #n "(%rax)\n"

asm("	.globl	call_site\n"
    "call_site:\n"
    "	push	%rbx\n"
    "	push	%rbp\n"
    "	push	%r12\n"
    "	push	%r13\n"
    "	push	%r14\n"
    "	push	%r15\n"
    "	sub	$8, %rsp\n"
    "	mov	%rdi, %fs:call_frame@tpoff\n"
    "	mov	%rdi, %rax\n"
    "	lea	768(%rax), %rsi\n" /* red_in */
    "	lea	-136(%rsp), %rdi\n"
    "	mov	$16, %ecx\n"
    "	rep movsq\n"
    XMM(XLOAD)
    "	lea	-256(%rsp), %rsp\n"
    "	push	120(%rax)\n"
    "	popf\n"
    "	lea	256(%rsp), %rsp\n"
    REGS(LOAD)
    "	call	*1024(%rax)\n" /* target */
    "	mov	%rax, %fs:call_rax@tpoff\n"
    "	mov	%fs:call_frame@tpoff, %rax\n"
    REGS(STORE)
    "	lea	-256(%rsp), %rsp\n"
    "	pushf\n"
    "	pop	128+120(%rax)\n"
    "	lea	256(%rsp), %rsp\n"
    "	cld\n"
    "	mov	%fs:call_rax@tpoff, %rcx\n"
    "	mov	%rcx, 128(%rax)\n"
    XMM(XSTORE)
    "	lea	-136(%rsp), %rsi\n"
    "	lea	896(%rax), %rdi\n" /* red_out */
    "	mov	$16, %ecx\n"
    "	rep movsq\n"
    "	add	$8, %rsp\n"
    "	pop	%r15\n"
    "	pop	%r14\n"
    "	pop	%r13\n"
    "	pop	%r12\n"
    "	pop	%rbp\n"
    "	pop	%rbx\n"
    "	ret\n");

_Static_assert(offsetof(struct frame, out) == 128, "call_site counts on it");
_Static_assert(offsetof(struct frame, xmm_in) == 256, "call_site counts on it");
_Static_assert(offsetof(struct frame, xmm_out) == 512, "call_site counts on it");
_Static_assert(offsetof(struct frame, red_in) == 768, "call_site counts on it");
_Static_assert(offsetof(struct frame, red_out) == 896, "call_site counts on it");
_Static_assert(offsetof(struct frame, target) == 1024, "call_site counts on it");

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void fill(struct frame *f, const struct site *s, uint64_t *seed)
{
	uint64_t *word = (uint64_t *)f;
	size_t i;

	for (i = 0; i < offsetof(struct frame, target) / 8; i++)
		word[i] = next_random(seed);
	f->in[RDI] = s->rdi;
	f->in[FLAGS] = (f->in[FLAGS] & EFLAGS_MASK) | 2;
}

/* What the functions themselves change. */
static bool is_changed(const struct site *s, int reg)
{
	if (s->start == between && reg == R9)
		return true;
	return s->start == generic && (reg == R9 || reg == RDI || reg == R10);
}

static void compare(const struct site *s, const struct frame *f, bool middle, uint64_t behind)
{
	int i;

	for (i = RBX; i <= R15; i++) {
		if (i == RCX || i == R11 || (!middle && is_changed(s, i)))
			continue;
		if (f->out[i] != f->in[i])
			fail("a register", s->name, f->out[i], f->in[i]);
	}
	if (behind && f->out[RCX] != behind)
		fail("rcx", s->name, f->out[RCX], behind);
	if ((f->out[R11] ^ f->out[FLAGS]) & EFLAGS_MASK)
		fail("r11", s->name, f->out[R11], f->out[FLAGS]);
	if (s->start != branch && (f->out[FLAGS] ^ f->in[FLAGS]) & EFLAGS_MASK)
		fail("flags", s->name, f->out[FLAGS], f->in[FLAGS]);
	if (memcmp(f->xmm_in, f->xmm_out, sizeof(f->xmm_in)))
		fail("xmm", s->name, 0, 0);
	/* The lowest word is below our own red zone: signals may use it outside the call. */
	if (memcmp(f->red_in + 1, f->red_out + 1, sizeof(f->red_in) - sizeof(f->red_in[0])))
		fail("the red zone", s->name, 0, 0);
}

/* Call a site in a region; @pid and @tid are what it must answer. */
static void check_site(const struct region *r, const struct site *s, uint64_t *seed, pid_t pid,
		       pid_t tid)
{
	uint64_t behind = 0, want = (uint64_t)(s->answer == PID ? pid : tid);
	struct frame f;

	fill(&f, s, seed);
	f.target = place(r, s->start);
	if (!(s->start == branch && s->rdi))
		behind = (uint64_t)place(r, s->call) + 2;
	call_site(&f);
	count(CALLS);
	if (f.out[RAX] != want)
		fail("the result", s->name, f.out[RAX], want);
	compare(s, &f, false, behind);
}

/* call_site() takes rax for itself: this sets it, then jumps to the instruction. */
asm("	.globl	middle\n"
    "middle:\n"
    "	mov	%rbx, %rax\n"
    "	jmp	*%r12\n");
extern const char middle[];

static void check_middle(const struct region *r, const struct site *s, uint64_t *seed, pid_t tid)
{
	struct frame f;

	fill(&f, s, seed);
	f.target = middle;
	f.in[RBX] = SYS_gettid;
	f.in[R12] = (uint64_t)place(r, s->call);
	call_site(&f);
	count(MIDDLES);
	if (f.out[RAX] != (uint64_t)tid)
		fail("the result in the middle", s->name, f.out[RAX], (uint64_t)tid);
	compare(s, &f, true, f.in[R12] + 2);
}

/* ---- threads that execute ---- */

static void check_all(const struct region *r, uint64_t *seed, pid_t pid, pid_t tid)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		check_site(r, &table[i], seed, pid, tid);
		check_middle(r, &table[i], seed, tid);
	}
}

static void *executor(void *arg)
{
	uint64_t seed = (uint64_t)arg * 0x9e3779b97f4a7c15ull;
	pid_t tid = gettid();

	while (!atomic_load(&stop)) {
		check_all(&common, &seed, main_pid, tid);
		pthread_rwlock_rdlock(&changing_lock);
		check_all(&changing, &seed, main_pid, tid);
		pthread_rwlock_unlock(&changing_lock);
	}
	return NULL;
}

/* ---- threads that change ---- */

static char *map_code(char *where)
{
	char *p = mmap(where, region_size, PROT_READ | PROT_EXEC,
		       MAP_PRIVATE | (where ? MAP_FIXED : 0), code_fd, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

static void *remapper(void *arg)
{
	while (!atomic_load(&stop)) {
		map_code(atomic_load(&common.base));
		count(REMAPS);
		usleep(500);
	}
	return NULL;
}

static void must(const char *what, bool ok)
{
	if (!ok)
		fail(what, "the kernel", (uint64_t)errno, 0);
}

/* Writable code is what the program wrote, and what it writes is executed. */
static void write_code(uint64_t *seed)
{
	char *base = atomic_load(&changing.base);
	struct site other = table[0];
	uint32_t nr = SYS_gettid;

	must("mprotect", !mprotect(base, region_size, PROT_READ | PROT_WRITE));
	if (memcmp(base, sites, region_size))
		fail("writable code", "changing", 1, 0);
	memcpy(place(&changing, direct) + 1, &nr, sizeof(nr));
	must("mprotect", !mprotect(base, region_size, PROT_READ | PROT_EXEC));
	other.answer = TID;
	for (int i = 0; i < 20; i++)
		check_site(&changing, &other, seed, main_pid, gettid());
	must("mprotect", !mprotect(base, region_size, PROT_READ | PROT_WRITE | PROT_EXEC));
	nr = SYS_getpid;
	memcpy(place(&changing, direct) + 1, &nr, sizeof(nr));
	check_site(&changing, &table[0], seed, main_pid, gettid());
	must("mprotect", !mprotect(base, region_size, PROT_READ | PROT_EXEC));
}

static void move_code(void)
{
	char *base = atomic_load(&changing.base), *hole, *to;

	hole = mmap(NULL, region_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	to = mremap(base, region_size, region_size, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	must("mremap", to == hole);
	atomic_store(&changing.base, to);
}

static void replace_code(void)
{
	char *base = atomic_load(&changing.base);

	must("munmap", !munmap(base, region_size));
	atomic_store(&changing.base, map_code(NULL));
}

static void discard_code(void)
{
	must("madvise", !madvise(atomic_load(&changing.base), region_size, MADV_DONTNEED));
}

static void *changer(void *arg)
{
	uint64_t seed = 77;
	pid_t tid = gettid();
	int i;

	while (!atomic_load(&stop)) {
		pthread_rwlock_wrlock(&changing_lock);
		switch (next_random(&seed) % 4) {
		case 0:
			write_code(&seed);
			break;
		case 1:
			move_code();
			break;
		case 2:
			replace_code();
			break;
		default:
			discard_code();
			break;
		}
		for (i = 0; i < 10; i++)
			check_all(&changing, &seed, main_pid, tid);
		pthread_rwlock_unlock(&changing_lock);
		count(CHANGES);
		usleep(2000);
	}
	return NULL;
}

/* ---- fork ---- */

static void check_in_child(uint64_t seed)
{
	pid_t pid = (pid_t)syscall(SYS_getpid), tid = (pid_t)syscall(SYS_gettid);
	int i;

	for (i = 0; i < 12; i++)
		check_all(&common, &seed, pid, tid);
	_exit(atomic_load(&failed) ? 3 : 0);
}

static void *forker(void *arg)
{
	uint64_t seed = 99;
	int status;
	pid_t pid;

	while (!atomic_load(&stop)) {
		next_random(&seed);
		pid = fork();
		if (!pid)
			check_in_child(seed);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			fail("fork", "forker", (uint64_t)errno, 0);
		else if (status)
			fail("a child's status", "forker", (uint64_t)status, 0);
		count(FORKS);
	}
	return NULL;
}

/* ---- single steps ---- */

static __thread uint64_t step_ips[64];
static __thread volatile unsigned int nr_steps;
static __thread volatile uint64_t step_low, step_high;

static void on_trap(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

	if ((uint64_t)info->si_addr != ip)
		fail("si_addr", "a step", (uint64_t)info->si_addr, ip);
	if (ip >= step_low && ip < step_high && nr_steps < ARRAY_SIZE(step_ips))
		step_ips[nr_steps++] = ip;
}

/* Call with TF set, by way of call_site()'s popf. */
static void step_through(const struct site *s, uint64_t *seed, pid_t tid)
{
	struct frame f;

	fill(&f, s, seed);
	f.target = place(&common, s->start);
	f.in[FLAGS] = (f.in[FLAGS] & ~0x400ull) | EFLAGS_TF;
	step_low = (uint64_t)f.target;
	step_high = (uint64_t)place(&common, s->end);
	nr_steps = 0;
	call_site(&f);
	asm volatile("pushf; andl %0, (%%rsp); popf" : : "i"(~EFLAGS_TF) : "cc", "memory");
	count(STEPS);
	if (f.out[RAX] != (uint64_t)(s->answer == PID ? main_pid : tid))
		fail("the result of a step", s->name, f.out[RAX], (uint64_t)tid);
}

/* Every instruction up to the system call is seen, once and in order. */
static void check_steps(const struct site *s, const unsigned char *offsets, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (i >= nr_steps || step_ips[i] != step_low + offsets[i])
			fail("a step", s->name, i < nr_steps ? step_ips[i] - step_low : ~0ull,
			     offsets[i]);
	}
}

static void *stepper(void *arg)
{
	static const unsigned char of_direct[] = { 0, 5 }, of_between[] = { 0, 6, 9 },
				   of_branch[] = { 0, 5, 8, 10 };
	pid_t tid = gettid();
	uint64_t seed = 5;

	while (!atomic_load(&stop)) {
		step_through(&table[0], &seed, tid);
		check_steps(&table[0], of_direct, 2);
		step_through(&table[1], &seed, tid);
		check_steps(&table[1], of_between, 3);
		step_through(&table[4], &seed, tid);
		check_steps(&table[4], of_branch, 4);
	}
	return NULL;
}

/* ---- signals ---- */

#define NR_EXECUTORS 3
static pthread_t executors[NR_EXECUTORS + 1];

/* An address in our code is one of an instruction: that of no other code shows up. */
static bool is_instruction(uint64_t off, const struct site *s)
{
	uint64_t start = (uint64_t)(s->start - sites), end = (uint64_t)(s->end - sites);
	uint64_t call = (uint64_t)(s->call - sites);

	if (off < start || off >= end)
		return false;
	return off <= start || off >= call || s->start != direct;
}

/* The last interrupted instructions outside of it. */
#define NR_SAMPLES 4096
static _Atomic uint64_t samples[NR_SAMPLES];
static atomic_uint nr_samples;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	uint64_t off = ip - (uint64_t)atomic_load(&common.base);
	int saved = errno;
	bool found = false;
	size_t i;

	count(SIGNALS);
	for (i = 0; i < ARRAY_SIZE(table); i++)
		found |= is_instruction(off, &table[i]);
	if (off >= region_size)
		atomic_store(&samples[atomic_fetch_add(&nr_samples, 1) % NR_SAMPLES], ip);
	else if (!found)
		fail("the interrupted instruction", "common", off, 0);
	errno = saved;
}

/* Where system calls have been rewritten to go, no thread has ever been seen. */
static void check_samples(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t start, end;
	char line[512];
	size_t i;

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "[usertrap]") ||
		    sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		for (i = 0; i < NR_SAMPLES; i++)
			if (samples[i] >= start && samples[i] < end)
				fail("the interrupted instruction", "a slot", samples[i], 0);
	}
	if (maps)
		fclose(maps);
}

static void *signaller(void *arg)
{
	uint64_t seed = 3;

	while (!atomic_load(&stop)) {
		pthread_kill(executors[next_random(&seed) % ARRAY_SIZE(executors)], SIGUSR1);
		usleep(50 + next_random(&seed) % 300);
	}
	return NULL;
}

/* A read that is interrupted again and again, and restarted behind our back. */
static void *restarter(void *arg)
{
	char byte, want = 0;
	int fds[2];

	if (pipe(fds))
		return NULL;
	while (!atomic_load(&stop)) {
		pid_t pid = fork();

		if (!pid) {
			usleep(3000);
			_exit(write(fds[1], &want, 1) == 1 ? 0 : 1);
		}
		if (read(fds[0], &byte, 1) != 1 || byte != want)
			fail("read", "restarter", (uint64_t)byte, (uint64_t)want);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		want++;
		count(RESTARTS);
	}
	return NULL;
}

/* ---- start and end ---- */

static void handle(int signo, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(signo, &sa, NULL);
}

static void create_code(void)
{
	char name[] = "/tmp/sandtrap-patch.XXXXXX";

	region_size = (size_t)(sites_end - sites);
	code_fd = mkstemp(name);
	if (code_fd < 0 || unlink(name) ||
	    write(code_fd, sites, region_size) != (ssize_t)region_size) {
		perror(name);
		exit(2);
	}
	atomic_store(&common.base, map_code(NULL));
	atomic_store(&changing.base, map_code(NULL));
}

/* The file itself is what it was. */
static void check_file(void)
{
	char *copy = malloc(region_size);

	if (pread(code_fd, copy, region_size, 0) != (ssize_t)region_size ||
	    memcmp(copy, sites, region_size))
		fail("the file", "code", 1, 0);
	free(copy);
}

static void start(pthread_t *thread, void *(*fn)(void *), long arg)
{
	if (pthread_create(thread, NULL, fn, (void *)arg)) {
		perror("pthread_create");
		exit(2);
	}
}

static bool all_happened(void)
{
	size_t i;

	for (i = 0; i < NR_COUNTS; i++)
		if (!atomic_load(&counts[i]))
			return false;
	return true;
}

/* Whole seconds. */
static unsigned int seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned int)(now.tv_sec - then->tv_sec - (now.tv_nsec < then->tv_nsec));
}

/* For so long by the clock, and on a slow machine until everything has happened once. */
static void let_run(unsigned int seconds)
{
	struct timespec began;
	unsigned int passed;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (!atomic_load(&stop)) {
		passed = seconds_since(&began);
		if (passed >= seconds + PATIENCE || (passed >= seconds && all_happened()))
			break;
		usleep(100000);
	}
	atomic_store(&stop, true);
}

int main(int argc, char **argv)
{
	static void *(*const others[])(void *) = {
		remapper, changer, forker, stepper, signaller,
	};
	pthread_t threads[ARRAY_SIZE(others)];
	size_t i;

	main_pid = getpid();
	create_code();
	handle(SIGTRAP, on_trap);
	handle(SIGUSR1, on_signal);
	for (i = 0; i < NR_EXECUTORS; i++)
		start(&executors[i], executor, (long)i + 1);
	start(&executors[NR_EXECUTORS], restarter, 0);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		start(&threads[i], others[i], 0);
	let_run((unsigned int)atoi(argc > 1 ? argv[1] : "5"));
	for (i = 0; i < ARRAY_SIZE(others); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i <= NR_EXECUTORS; i++)
		pthread_join(executors[i], NULL);
	check_file();
	check_samples();
	for (i = 0; i < NR_COUNTS; i++) {
		fprintf(stderr, "%lu %s\n", atomic_load(&counts[i]), count_names[i]);
		if (!atomic_load(&counts[i]))
			fail("the number", count_names[i], 0, 1);
	}
	return atomic_load(&failed) ? 1 : 0;
}
