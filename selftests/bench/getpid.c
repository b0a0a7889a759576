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

static uint64_t shortest(unsigned int calls, unsigned int rounds)
{
	uint64_t best = UINT64_MAX, now;
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		now = loop(calls);
		if (now < best)
			best = now;
	}
	return best;
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
	cost = (double)(int64_t)(shortest(many, rounds) - shortest(few, rounds)) / (many - few);
	ns_per_tick = (double)(nanoseconds() - start_ns) / (ticks() - start_ticks);
	printf("%.2f %.1f\n", cost, cost * ns_per_tick);
	return 0;
}
