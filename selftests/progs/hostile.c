// SPDX-License-Identifier: MIT
/*
 * hostile.c - tries every way into the host kernel that a program may know
 *
 * Usage: hostile DIRECTORY PID
 * Each attack runs in a child of its own and makes two calls: it creates the
 * file DIRECTORY/ATTACK and sends SIGKILL to PID. In a sandbox whose root does
 * not contain DIRECTORY, and that has no process PID, neither can happen unless
 * a call reaches the host. Natively both do, which shows that the attacks work.
 *
 * Must be linked statically below 4 GiB: 32-bit code gets addresses in it.
 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096ul
#define TASK_SIZE 0x7ffffffff000ul
#define VSYSCALL_PAGE 0xffffffffff600000ul

#define X32_BIT 0x40000000l

#define CREAT_32 8
#define KILL_32 37

#define USER_CS_32 "0x23"
#define USER_CS_64 "0x33"

static char path[4096];
static const char *directory;
static pid_t victim;

/* ---- ways in: number and two arguments, in every register that counts ---- */

typedef long (*entry)(long nr, long a, long b);

static long by_syscall(long nr, long a, long b)
{
	asm volatile("syscall" : "+a"(nr) : "D"(a), "S"(b) : "rcx", "r11", "memory");
	return nr;
}

static long by_int80(long nr, long a, long b)
{
	asm volatile("int $0x80" : "+a"(nr) : "b"(a), "c"(b), "D"(a), "S"(b)
		     : "r8", "r9", "r10", "r11", "memory");
	return (int)nr;
}

/* Comes back, if ever, to the 32-bit vDSO, which is not there. */
static long by_sysenter(long nr, long a, long b)
{
	asm volatile("push %%rbp\n\tmov %%rsp, %%rbp\n\tsysenter\n\tpop %%rbp"
		     : "+a"(nr) : "b"(a), "c"(b) : "rdx", "r8", "r9", "r10", "r11", "memory");
	return nr;
}

uint64_t saved_rsp;
char low_stack[65536] __attribute__((aligned(16)));

/*
 * Code that runs with a 32-bit code segment, entered by a far jump: QEMU's far
 * call and return touch the stack as the kernel would, which SMAP forbids. The
 * upper halves of the registers do not survive it, so the stack pointer is kept
 * aside.
 */
asm(".data\n"
    "far_pointer:	.long 0\n"
    "		.word " USER_CS_32 "\n"
    ".text\n"
    ".code32\n"
    "far_int80:	int $0x80\n"
    "		ljmp $" USER_CS_64 ", $far_back\n"
    "far_syscall:	mov %ecx, %ebp\n"
    "		syscall\n"
    "		ljmp $" USER_CS_64 ", $far_back\n"
    "far_sysenter:	mov %esp, %ebp\n"
    "		sysenter\n"
    "		ljmp $" USER_CS_64 ", $far_back\n"
    ".code64\n"
    /* long far_call(long nr, long a, long b, void *where) */
    "far_call:	push %rbx\n"
    "		push %rbp\n"
    "		push %r12\n"
    "		push %r13\n"
    "		push %r14\n"
    "		push %r15\n"
    "		mov %rsp, saved_rsp\n"
    "		mov $low_stack + 65000, %esp\n"
    "		mov %rdi, %rax\n"
    "		mov %rsi, %rbx\n"
    "		mov %rcx, %r8\n"
    "		mov %rdx, %rcx\n"
    "		mov %r8d, far_pointer\n"
    "		ljmp *far_pointer\n"
    /* long signal_call(long pid, long signo) */
    "signal_call:	push %rbx\n"
    "		push %rbp\n"
    "		push %r12\n"
    "		push %r13\n"
    "		push %r14\n"
    "		push %r15\n"
    "		mov %rsp, saved_rsp\n"
    "		mov $62, %eax\n"
    "		syscall\n"
    "far_back:	mov saved_rsp, %rsp\n"
    "		pop %r15\n"
    "		pop %r14\n"
    "		pop %r13\n"
    "		pop %r12\n"
    "		pop %rbp\n"
    "		pop %rbx\n"
    "		movslq %eax, %rax\n"
    "		ret\n");

extern char far_int80[], far_syscall[], far_sysenter[];
long far_call(long nr, long a, long b, void *where);
long signal_call(long pid, long signo);

static long by_far_int80(long nr, long a, long b)
{
	return far_call(nr, a, b, far_int80);
}

static long by_far_syscall(long nr, long a, long b)
{
	return far_call(nr, a, b, far_syscall);
}

static long by_far_sysenter(long nr, long a, long b)
{
	return far_call(nr, a, b, far_sysenter);
}

/* A signal frame that asks for a 32-bit code segment. */
static long frame_args[3];

static void change_frame(int signo, siginfo_t *si, void *context)
{
	greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;

	gregs[REG_RAX] = frame_args[0];
	gregs[REG_RBX] = frame_args[1];
	gregs[REG_RCX] = frame_args[2];
	gregs[REG_RSP] = (greg_t)(low_stack + 65000);
	gregs[REG_RIP] = (greg_t)far_int80;
	gregs[REG_CSGSFS] = (gregs[REG_CSGSFS] & ~0xffffll) | 0x23;
}

static long by_sigreturn(long nr, long a, long b)
{
	struct sigaction sa = { .sa_sigaction = change_frame, .sa_flags = SA_SIGINFO };

	frame_args[0] = nr;
	frame_args[1] = a;
	frame_args[2] = b;
	sigaction(SIGUSR1, &sa, NULL);
	return signal_call(getpid(), SIGUSR1);
}

/* Tell the kernel to dispatch nothing: only the sentry may hear of it. */
static long by_syscall_undispatched(long nr, long a, long b)
{
	prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
	return by_syscall(nr, a, b);
}

/* ---- attacks ---- */

/* Runs @attack in a child: "NAME: returned N" or "NAME: signal N". */
static void in_child(const char *name, void (*attack)(const void *arg), const void *arg)
{
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		/* The handlers are for probing memory; here a fault is the end. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		alarm(5);
		attack(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("%s: no child: %m\n", name);
		return;
	}
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", name, WTERMSIG(status));
	else
		printf("%s: returned\n", name);
}

struct way {
	const char *name;
	entry enter;
	long creat, kill;
};

static void take_way(const void *arg)
{
	const struct way *way = arg;

	way->enter(way->creat, (long)path, 0666);
	way->enter(way->kill, victim, SIGKILL);
}

/* The second call of a pair, where the first does not come back. */
static void take_second(const void *arg)
{
	const struct way *way = arg;

	way->enter(way->kill, victim, SIGKILL);
}

#define NUMBERS_64(bits) (long)(SYS_creat | (bits)), (long)(SYS_kill | (bits))

static const struct way ways[] = {
	{ "syscall", by_syscall, NUMBERS_64(0) },
	{ "syscall_upper_half", by_syscall, NUMBERS_64(1l << 32) },
	{ "syscall_top_bits", by_syscall, NUMBERS_64(0xdeadul << 48) },
	{ "syscall_sign_of_int", by_syscall, NUMBERS_64(1l << 31) },
	{ "syscall_sign_of_long", by_syscall, NUMBERS_64(1ul << 63) },
	{ "syscall_x32", by_syscall, NUMBERS_64(X32_BIT) },
	{ "syscall_x32_upper_half", by_syscall, NUMBERS_64(X32_BIT | 1l << 40) },
	{ "syscall_minus_one", by_syscall, -1, -2 },
	{ "syscall_smallest", by_syscall, INT64_MIN, INT32_MIN },
	{ "syscall_largest", by_syscall, INT64_MAX, INT32_MAX },
	{ "syscall_undispatched", by_syscall_undispatched, NUMBERS_64(0) },
	{ "int80", by_int80, CREAT_32, KILL_32 },
	{ "int80_upper_half", by_int80, CREAT_32 | 1l << 32, KILL_32 | 1l << 32 },
	{ "sysenter", by_sysenter, CREAT_32, KILL_32 },
	{ "far_int80", by_far_int80, CREAT_32, KILL_32 },
	{ "far_syscall", by_far_syscall, CREAT_32, KILL_32 },
	{ "far_sysenter", by_far_sysenter, CREAT_32, KILL_32 },
	{ "sigreturn_int80", by_sigreturn, CREAT_32, KILL_32 },
};

static void call_vsyscall(const void *arg)
{
	struct {
		long a, b;
	} out = { 0 };
	long (*call)(void *, void *) = (long (*)(void *, void *))arg;

	call(&out, NULL);
}

static void vsyscalls(void)
{
	in_child("vsyscall_gettimeofday", call_vsyscall, (void *)VSYSCALL_PAGE);
	in_child("vsyscall_time", call_vsyscall, (void *)(VSYSCALL_PAGE + 0x400));
	in_child("vsyscall_getcpu", call_vsyscall, (void *)(VSYSCALL_PAGE + 0x800));
	in_child("vsyscall_elsewhere", call_vsyscall, (void *)(VSYSCALL_PAGE + 0x123));
}

/* Goes to @where with the registers of a call in both conventions. */
static void jump_to(const void *where)
{
	asm volatile("push $0\n\tjmp *%0"
		     : : "r"(where), "a"((long)SYS_creat), "D"(path), "S"(0666l), "b"(path),
			 "c"(0666l), "d"(0l)
		     : "memory");
}

static sigjmp_buf unreadable;

static void on_fault(int signo)
{
	siglongjmp(unreadable, 1);
}

/* Copies a page out, if it can be read. */
static bool read_page(uint64_t page, unsigned char *copy)
{
	if (sigsetjmp(unreadable, 1))
		return false;
	memcpy(copy, (const void *)page, PAGE);
	return true;
}

static bool is_entry(const unsigned char *code)
{
	return (code[0] == 0x0f && (code[1] == 0x05 || code[1] == 0x34)) ||
	       (code[0] == 0xcd && code[1] == 0x80);
}

/* Jumps to every instruction of a page that enters the kernel, and to its start. */
static unsigned int jump_into_page(const char *name, uint64_t page)
{
	static unsigned char copy[PAGE];
	unsigned int i, jumps = 0;
	char full[64];

	if (!read_page(page, copy))
		return 0;
	for (i = 0; i + 1 < PAGE; i++) {
		if (i % 256 && !is_entry(copy + i))
			continue;
		snprintf(full, sizeof(full), "%s_%lx_%x", name, page, i);
		in_child(full, jump_to, (const void *)(page + i));
		jumps++;
	}
	return jumps;
}

/* Whatever a platform keeps in the program's address space is near its end. */
static void jumps(void)
{
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR) & -PAGE, page;
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	unsigned int count = 0;
	char full[64];

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	for (page = TASK_SIZE - 16 * PAGE; page < TASK_SIZE; page += PAGE) {
		count += jump_into_page("stub", page);
		/* It may be executable and not readable. */
		snprintf(full, sizeof(full), "top_%lx", page);
		in_child(full, jump_to, (const void *)page);
	}
	for (page = vdso; vdso && page < vdso + 4 * PAGE; page += PAGE)
		count += jump_into_page("vdso", page);
	printf("jumps: %u\n", count);
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc != 3 || argv[1][0] != '/' || atoi(argv[2]) <= 1) {
		fprintf(stderr, "usage: hostile DIRECTORY PID\n");
		return 2;
	}
	directory = argv[1];
	victim = atoi(argv[2]);
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		in_child(ways[i].name, take_way, &ways[i]);
		in_child(ways[i].name, take_second, &ways[i]);
	}
	vsyscalls();
	jumps();
	puts("all done");
	return 0;
}
