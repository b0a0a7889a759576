// SPDX-License-Identifier: MIT
/*
 * signals.c - prints what handlers of all kinds are told, for comparison
 *
 * Usage: signals [exact]
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile sig_atomic_t depth;
static char *page;
/* Trap number and error code too: not every platform can know them. */
static bool exact;

static void report(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	greg_t *gregs = uc->uc_mcontext.gregs;

	printf("signal %d code %d addr %s", signo, si->si_code,
	       si->si_addr == page ? "page" : si->si_addr ? "other" : "null");
	if (exact)
		printf(" trap %lld error %llx", (long long)gregs[REG_TRAPNO],
		       (unsigned long long)gregs[REG_ERR]);
	putchar('\n');
	siglongjmp(back, 1);
}

static void write_null(void)
{
	*(volatile int *)NULL = 1;
}

static void write_read_only(void)
{
	mprotect(page, 4096, PROT_READ);
	*(volatile char *)page = 1;
}

static void read_none(void)
{
	mprotect(page, 4096, PROT_NONE);
	(void)*(volatile char *)page;
}

static void execute_data(void)
{
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	page[0] = (char)0xc3;
	((void (*)(void))page)();
}

static void divide(void)
{
	volatile int zero = 0, one = 1;

	zero = one / zero;
}

static void undefined(void)
{
	asm volatile("ud2");
}

static void breakpoint(void)
{
	asm volatile("int3");
}

static void privileged(void)
{
	asm volatile("hlt");
}

static void non_canonical(void)
{
	(void)*(volatile char *)(1ull << 63);
}

static void past_the_end(void)
{
	FILE *f = tmpfile();
	char *map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fileno(f), 0);

	(void)*(volatile char *)(map + 4096);
}

static void on_each_fault(void)
{
	static void (*const faults[])(void) = {
		write_null, write_read_only, read_none, execute_data, divide, undefined,
		breakpoint, privileged, non_canonical, past_the_end,
	};
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = report, .sa_flags = SA_SIGINFO };
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (!sigsetjmp(back, 1))
			faults[i]();
	}
}

static void alternate(int signo)
{
	stack_t now;

	sigaltstack(NULL, &now);
	printf("on the alternate stack: %d\n", !!(now.ss_flags & SS_ONSTACK));
}

static void on_alternate_stack(void)
{
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction sa = { .sa_handler = alternate, .sa_flags = SA_ONSTACK };

	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	sigaltstack(NULL, &stack);
	printf("off it again: %d\n", !(stack.ss_flags & SS_ONSTACK));
}

static void nested(int signo)
{
	static bool raised;
	sigset_t pending;

	depth++;
	sigpending(&pending);
	printf("depth %d in %d\n", depth, signo);
	if (!raised) {
		raised = true;
		raise(SIGUSR1);
		raise(SIGUSR2);
		sigpending(&pending);
		printf("pending: usr1 %d usr2 %d\n", sigismember(&pending, SIGUSR1),
		       sigismember(&pending, SIGUSR2));
	}
	depth--;
}

static void on_nesting(void)
{
	struct sigaction sa = { .sa_handler = nested };

	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR1);
}

static void value(int signo, siginfo_t *si, void *context)
{
	printf("real-time %d code %d value %d from me %d\n", signo - SIGRTMIN, si->si_code,
	       si->si_value.sival_int, si->si_pid == getpid());
}

static void on_queue(void)
{
	struct sigaction sa = { .sa_sigaction = value, .sa_flags = SA_SIGINFO };
	sigset_t set, old;
	int i;

	sigemptyset(&set);
	for (i = 0; i < 3; i++) {
		sigaction(SIGRTMIN + i, &sa, NULL);
		sigaddset(&set, SIGRTMIN + i);
	}
	sigprocmask(SIG_BLOCK, &set, &old);
	for (i = 0; i < 6; i++)
		sigqueue(getpid(), SIGRTMIN + 2 - i % 3, (union sigval){ .sival_int = i });
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void child_ended(int signo, siginfo_t *si, void *context)
{
	printf("child: code %d status %d uid %d\n", si->si_code, si->si_status,
	       si->si_uid == getuid());
}

static void on_children(void)
{
	struct sigaction sa = { .sa_sigaction = child_ended, .sa_flags = SA_SIGINFO | SA_RESTART };
	pid_t pid;

	sigaction(SIGCHLD, &sa, NULL);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(3);
	waitpid(pid, NULL, 0);
	pid = fork();
	if (!pid) {
		signal(SIGTERM, SIG_DFL);
		raise(SIGTERM);
	}
	waitpid(pid, NULL, 0);
}

static void once(int signo)
{
	printf("once\n");
}

/* Floating-point and vector state must come through a handler unharmed. */
static void clobber(int signo)
{
	volatile double x = 3.0;

	asm volatile("vxorps %%ymm3, %%ymm3, %%ymm3; fninit" ::: "xmm3");
	x = x * 2;
}

static void on_vector_state(void)
{
	uint64_t in[4] = { 1, 2, 3, 4 }, out[4] = { 0 };
	struct sigaction sa = { .sa_handler = clobber };

	if (!__builtin_cpu_supports("avx")) {
		puts("vector state kept: 1");
		return;
	}
	sigaction(SIGUSR1, &sa, NULL);
	asm volatile("vmovdqu %1, %%ymm3\n\t"
		     "syscall\n\t"
		     "vmovdqu %%ymm3, %0"
		     : "=m"(out), "+m"(in)
		     : "a"(62), "D"(getpid()), "S"(SIGUSR1)
		     : "xmm3", "rcx", "r11", "memory");
	printf("vector state kept: %d\n", !memcmp(in, out, sizeof(in)));
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = once, .sa_flags = SA_RESETHAND };

	exact = argc > 1 && !strcmp(argv[1], "exact");
	setvbuf(stdout, NULL, _IOLBF, 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	on_each_fault();
	on_alternate_stack();
	on_nesting();
	on_queue();
	on_children();
	on_vector_state();
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &sa);
	printf("reset: %d\n", sa.sa_handler == SIG_DFL);
	fflush(stdout);
	raise(SIGUSR1);
	return 1;
}
