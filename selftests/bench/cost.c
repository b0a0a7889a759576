// SPDX-License-Identifier: MIT
/*
 * cost - what a system call, page fault or signal costs, from the slope of two loop lengths
 *
 * Prints "TICKS NANOSECONDS" of one getpid(), one fault on a page that reads as zeros, or
 * one signal to the thread itself, with a handler. The time stamp counter is read without
 * a system call; where QEMU counts instructions (-icount shift=0) a tick is one
 * executed instruction. The shortest of many rounds is taken for each length, so
 * that interrupts do not count, and their difference, so that the clock reads do not.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ENOUGH_NS UINT64_C(150000000)

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static uint64_t loop_getpid(unsigned int calls)
{
	uint64_t start = ticks();
	unsigned int i;
	long ret;

	for (i = 0; i < calls; i++)
		__asm__ volatile("syscall"
				 : "=a"(ret)
				 : "0"((long)SYS_getpid)
				 : "rcx", "r11", "memory");
	return ticks() - start;
}

#define PAGE 4096
#define PAGES 4096u

static volatile unsigned char *pages;

/* Nothing is allocated for a page that is only read, once its page table is there. */
static uint64_t loop_fault(unsigned int calls)
{
	uint64_t start;
	unsigned int i;

	if (madvise((void *)pages, PAGES * PAGE, MADV_DONTNEED))
		exit(1);
	start = ticks();
	for (i = 0; i < calls; i++)
		(void)pages[(size_t)i * PAGE];
	return ticks() - start;
}

static void ignore(int sig)
{
}

static uint64_t loop_signal(unsigned int calls)
{
	pid_t pid = getpid(), tid = gettid();
	uint64_t start = ticks();
	unsigned int i;

	for (i = 0; i < calls; i++)
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
	return ticks() - start;
}

static const struct {
	const char *name;
	uint64_t (*loop)(unsigned int calls);
} kinds[] = {
	{ "getpid", loop_getpid }, { "fault", loop_fault }, { "signal", loop_signal },
};

static uint64_t (*loop)(unsigned int calls) = loop_getpid;

/* Takes a leading argument that names what is measured. */
static void choose(int *argc, char ***argv)
{
	unsigned int i;

	for (i = 0; *argc > 1 && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp((*argv)[1], kinds[i].name))
			continue;
		loop = kinds[i].loop;
		--*argc;
		++*argv;
		break;
	}
	signal(SIGUSR1, ignore);
	pages = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || madvise((void *)pages, PAGES * PAGE, MADV_NOHUGEPAGE)) {
		perror("cost: mmap");
		exit(1);
	}
}

/*
 * The shortest loops of both lengths, one after the other, so that a disturbance
 * meets both: of so many rounds, and of more while they have taken little time.
 */
static double cost_of_one(unsigned int few, unsigned int many, unsigned int rounds)
{
	uint64_t best_few = UINT64_MAX, best_many = UINT64_MAX, now;
	uint64_t start = nanoseconds();

	while (rounds || nanoseconds() - start < ENOUGH_NS) {
		now = loop(few);
		if (now < best_few)
			best_few = now;
		now = loop(many);
		if (now < best_many)
			best_many = now;
		if (rounds)
			rounds--;
	}
	return (double)(int64_t)(best_many - best_few) / (many - few);
}

int main(int argc, char **argv)
{
	unsigned int few, many, rounds;
	uint64_t start_ns, start_ticks;
	double cost, ns_per_tick;

	choose(&argc, &argv);
	few = argc > 1 ? atoi(argv[1]) : 100;
	many = argc > 2 ? atoi(argv[2]) : 1100;
	rounds = argc > 3 ? atoi(argv[3]) : 20;
	if (!few || many <= few || !rounds || many > PAGES) {
		fprintf(stderr, "usage: cost [getpid|fault|signal] [FEW MANY [ROUNDS]], "
				"FEW < MANY <= %u\n", PAGES);
		return 2;
	}
	loop(many);
	start_ns = nanoseconds();
	start_ticks = ticks();
	cost = cost_of_one(few, many, rounds);
	ns_per_tick = (double)(nanoseconds() - start_ns) / (ticks() - start_ticks);
	printf("%.2f %.1f\n", cost, cost * ns_per_tick);
	return 0;
}
