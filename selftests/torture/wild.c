// SPDX-License-Identifier: MIT
/*
 * wild - a program that does to its own process all the harm it can
 *
 *	wild SEED ACTIONS FILE PID
 *
 * It jumps to every offset of the pages that a platform keeps in its part of the
 * address space, and to others at random, with registers that a system call there
 * would take to create FILE or to kill PID; and it writes to whatever can be
 * written there, at random, from two threads. That may cost it its process at any
 * time: the parent, which does nothing of the kind, makes the next, and at the end
 * says "all done".
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define TOP_PAGES 16

/* Where platforms put their code and data: see stub/stub.h and stub/sysmsg.h. */
static const struct {
	uint64_t start;
	uint64_t size;
} areas[] = {
	{ 0x7ffffffff000 - TOP_PAGES * PAGE, TOP_PAGES * PAGE },
	{ 0x7fff00000000, 4 * PAGE },
	{ 0x7fff00100000, 16 * 8 * PAGE },
};
#define AREAS (sizeof(areas) / sizeof(*areas))

struct shared {
	_Atomic uint32_t next; /* action */
	_Atomic uint32_t faults;
	_Atomic uint32_t jumps;
	_Atomic uint32_t writes;
};

static struct shared *shared;
static uint64_t chance_state;
static const char *path;
static long victim;
static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t away;
static uint64_t target;

static uint64_t chance(void)
{
	chance_state = chance_state * 6364136223846793005ull + 1442695040888963407ull;
	return chance_state >> 24;
}

static void on_signal(int sig)
{
	if (!away)
		return;
	away = 0;
	shared->faults++;
	siglongjmp(back, 1);
}

/* A program of its own may have nothing left that is right but this stack. */
static void catch_everything(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM };
	static char stack[1 << 16];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER };
	size_t i;

	sigaltstack(&alt, NULL);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &action, NULL);
}

static uint64_t wild_address(void)
{
	unsigned int i = chance() % AREAS;

	return areas[i].start + chance() % areas[i].size;
}

/* Each offset of the page where a stub is, on the module and on systrap; then of others. */
static uint64_t every_address(uint32_t i)
{
	const uint64_t last = areas[0].start + areas[0].size - 1;

	if (i < PAGE)
		return last - i;
	if (i < 2 * PAGE)
		return areas[1].start + i - PAGE;
	return last - (i - PAGE) % areas[0].size;
}

static void creat_call(uint64_t where)
{
	asm volatile("push $0\n\tpush $0\n\tjmp *%0"
		     : : "r"(where), "a"((long)SYS_creat), "D"(path), "S"(0666l), "b"(path),
			 "c"(0666l), "d"(0l)
		     : "memory", "r8", "r9", "r10", "r11");
}

static void kill_call(uint64_t where)
{
	asm volatile("jmp *%0"
		     : : "r"(where), "a"((long)SYS_kill), "D"(victim), "S"((long)SIGKILL)
		     : "memory", "rcx", "r11");
}

/* The stack pointer leads to what is there, and everything else as well. */
static void lost_call(uint64_t where)
{
	target = where;
	asm volatile("mov %0, %%rsp\n\tmov %0, %%rbx\n\tmov %0, %%rbp\n\tmov %0, %%rdi\n\t"
		     "mov %0, %%r12\n\tmov %0, %%r13\n\tmov %0, %%r14\n\tmov %0, %%r15\n\t"
		     "jmp *%1"
		     : : "r"(wild_address()), "m"(target), "a"((long)SYS_rt_sigreturn)
		     : "memory");
}

static void jump(uint64_t where)
{
	struct itimerval soon = { .it_value.tv_usec = 20000 }, never = { 0 };

	shared->jumps++;
	if (sigsetjmp(back, 1))
		return;
	setitimer(ITIMER_REAL, &soon, NULL);
	away = 1;
	switch (chance() % 3) {
	case 0: creat_call(where); break;
	case 1: kill_call(where); break;
	default: lost_call(where); break;
	}
	away = 0;
	setitimer(ITIMER_REAL, &never, NULL);
}

static void scribble(void)
{
	volatile uint64_t *word = (uint64_t *)(wild_address() & ~7ul);

	if (sigsetjmp(back, 1))
		return;
	away = 1;
	*word = chance() & 1 ? chance() : *word ^ (1ull << (chance() % 64));
	shared->writes++;
	away = 0;
}

static void *scribbler(void *data)
{
	catch_everything();
	for (;;) {
		scribble();
		if (!(chance() % 64))
			usleep(1000);
	}
	return NULL;
}

/* One life: goes on where the last one ended. Some have a thread that scribbles. */
static void live(uint32_t actions, uint64_t seed)
{
	pthread_t thread;
	uint32_t n;

	/* What it does to its process group is not done to the parent. */
	setpgid(0, 0);
	catch_everything();
	alarm(0);
	chance_state = seed + shared->next;
	if (chance() % 4 == 0)
		pthread_create(&thread, NULL, scribbler, NULL);
	while ((n = shared->next++) < actions) {
		if (n % 4 == 3)
			scribble();
		else if (n % 4 == 2)
			jump(wild_address());
		else
			jump(every_address(n / 4 * 2 + n % 4));
	}
	_exit(0);
}

/* A child that has lost its way for good is ended. */
static void wait_for(pid_t pid)
{
	uint32_t before = shared->next, quiet = 0;

	while (!waitpid(pid, NULL, WNOHANG)) {
		usleep(2000);
		if (shared->next != before)
			quiet = 0;
		before = shared->next;
		if (++quiet == 250)
			kill(pid, SIGKILL);
	}
}

int main(int argc, char **argv)
{
	uint32_t actions, lives = 0;

	if (argc != 5) {
		fprintf(stderr, "usage: wild SEED ACTIONS FILE PID\n");
		return 2;
	}
	actions = atoi(argv[2]);
	path = argv[3];
	victim = atol(argv[4]);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	while (shared->next < actions) {
		pid_t pid = fork();

		if (!pid)
			live(actions, strtoull(argv[1], NULL, 0) + lives);
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		wait_for(pid);
		lives++;
	}
	printf("%u lives, %u jumps, %u writes, %u times caught\nall done\n", lives, shared->jumps,
	       shared->writes, shared->faults);
	return 0;
}
