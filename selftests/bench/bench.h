/* SPDX-License-Identifier: MIT */
/*
 * bench.h - measures what one round of a loop costs, from the slope of two lengths
 *
 * A program is a table of rows. It prints "run ROW" when it begins one, and then
 * "ROW TICKS", the cost of one operation, or "ROW fails: REASON". Time is the time stamp
 * counter, which costs no system call on any platform; where QEMU counts instructions
 * (-icount shift=0) a tick is one executed instruction. Start-up, set-up and the
 * reads of the clock are in both lengths, so they are not in the slope. Both lengths are
 * taken many times in turn, and of each the median: a loop that was disturbed does not
 * count, and no lucky one stands for all.
 *
 * usage: PROGRAM [-t TICKS] [-d DATA] [ROW...]
 * -t is the time for one row, -d a readable file of at least 4 MiB.
 */
#ifndef _SANDTRAP_BENCH_H
#define _SANDTRAP_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BENCH_PAGE 4096
#define BENCH_DATA_SIZE (4u << 20)

/*
 * One row. Only run() is needed. It does the operation @count times: at least @min in
 * the longer of two loops, for costs that come in lumps, and @max at the most, if those
 * are not 0. Each of the functions may end the row by bench_fail();
 * tear_down() is called in any case, and must cope with half a set-up.
 */
struct bench_row {
	const char *name;
	void (*run)(unsigned long count);
	void (*set_up)(void);
	void (*tear_down)(void);
	unsigned long min;
	unsigned long max;
};

static struct {
	uint64_t budget;
	const char *data;
	const char *self;
	const char *row;
	pid_t pid;
	jmp_buf failed;
} bench = { .budget = 100000000 };

static inline uint64_t bench_ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* End the row: @what failed, for the reason in errno. */
static inline void __attribute__((noreturn)) bench_fail(const char *what)
{
	/* A child or another thread: the first one finds out by what it gets, or does not. */
	if (gettid() != bench.pid)
		_exit(1);
	printf("%s fails: %s: %s\n", bench.row, what, strerror(errno));
	longjmp(bench.failed, 1);
}

/* Pass @ret on unless it is negative. */
static inline long bench_want(long ret, const char *what)
{
	if (ret < 0)
		bench_fail(what);
	return ret;
}

static inline void *bench_map(size_t size, int prot)
{
	void *mem = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		bench_fail("mmap");
	return mem;
}

static inline int bench_open_data(void)
{
	if (!bench.data) {
		errno = EINVAL;
		bench_fail("no data file (-d)");
	}
	return bench_want(open(bench.data, O_RDONLY), bench.data);
}

/* Exactly one child, which is to have ended well. */
static inline void bench_reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		bench_fail("waitpid");
	if (status) {
		errno = ECHILD;
		bench_fail("status of a child");
	}
}

static inline uint64_t bench_time(const struct bench_row *row, unsigned long count)
{
	uint64_t start = bench_ticks();

	row->run(count);
	return bench_ticks() - start;
}

/* A loop that takes a fair part of the time: short enough that some fit in. */
static inline unsigned long bench_calibrate(const struct bench_row *row)
{
	unsigned long count = row->min ? row->min : 2;

	while (bench_time(row, count) < bench.budget / 16) {
		if (row->max && count * 2 > row->max)
			return row->max;
		count *= 2;
	}
	return count;
}

static inline int bench_compare(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return a < b ? -1 : a > b;
}

static inline double bench_median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), bench_compare);
	return (values[count / 2] + values[(count - 1) / 2]) / 2;
}

#define BENCH_MIN_PAIRS 5
#define BENCH_MAX_PAIRS 201

static inline double bench_cost(const struct bench_row *row)
{
	unsigned long many = bench_calibrate(row), few = many / 8 ? many / 8 : 1;
	double few_times[BENCH_MAX_PAIRS], many_times[BENCH_MAX_PAIRS];
	uint64_t start = bench_ticks();
	unsigned int i;

	for (i = 0; i < BENCH_MAX_PAIRS; i++) {
		if (i >= BENCH_MIN_PAIRS && bench_ticks() - start > bench.budget)
			break;
		few_times[i] = bench_time(row, few);
		many_times[i] = bench_time(row, many);
	}
	return (bench_median(many_times, i) - bench_median(few_times, i)) / (many - few);
}

static inline void bench_one(const struct bench_row *row)
{
	bench.row = row->name;
	printf("run %s\n", row->name);
	fflush(stdout);
	if (!setjmp(bench.failed)) {
		if (row->set_up)
			row->set_up();
		printf("%s %.2f\n", row->name, bench_cost(row));
	}
	if (row->tear_down && !setjmp(bench.failed))
		row->tear_down();
	fflush(stdout);
}

static inline int bench_wanted(const char *name, int count, char **names)
{
	int i;

	for (i = 0; i < count; i++) {
		if (!strcmp(names[i], name))
			return 1;
	}
	return !count;
}

static inline int bench_main(int argc, char **argv, const struct bench_row *rows, size_t count)
{
	size_t i;
	int opt;

	bench.self = argv[0];
	bench.pid = getpid();
	while ((opt = getopt(argc, argv, "t:d:")) != -1) {
		if (opt == 't') {
			bench.budget = strtoull(optarg, NULL, 10);
		} else if (opt == 'd') {
			bench.data = optarg;
		} else {
			fprintf(stderr, "usage: %s [-t TICKS] [-d DATA] [ROW...]\n", argv[0]);
			return 2;
		}
	}
	for (i = 0; i < count; i++) {
		if (bench_wanted(rows[i].name, argc - optind, argv + optind))
			bench_one(&rows[i]);
	}
	return 0;
}

#endif
