// SPDX-License-Identifier: MIT
/*
 * getpid - what one system call costs, from the slope between two loop lengths
 *
 * Prints "TICKS NANOSECONDS" of one getpid. The time stamp counter is read without
 * a system call; where QEMU counts instructions (-icount shift=0) a tick is one
 * executed instruction. The shortest of many rounds is taken for each length, so
 * that interrupts do not count, and their difference, so that the clock reads do not.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

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

static uint64_t loop(unsigned int calls)
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
	unsigned int few = argc > 1 ? atoi(argv[1]) : 100;
	unsigned int many = argc > 2 ? atoi(argv[2]) : 1100;
	unsigned int rounds = argc > 3 ? atoi(argv[3]) : 20;
	uint64_t start_ns, start_ticks;
	double cost, ns_per_tick;

	if (!few || many <= few || !rounds) {
		fprintf(stderr, "usage: getpid [FEW MANY [ROUNDS]], FEW < MANY\n");
		return 2;
	}
	loop(few);
	start_ns = nanoseconds();
	start_ticks = ticks();
	cost = cost_of_one(few, many, rounds);
	ns_per_tick = (double)(nanoseconds() - start_ns) / (ticks() - start_ticks);
	printf("%.2f %.1f\n", cost, cost * ns_per_tick);
	return 0;
}
