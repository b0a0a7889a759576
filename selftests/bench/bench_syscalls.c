// SPDX-License-Identifier: MIT
/*
 * bench_syscalls - what single system calls cost: empty ones, pipes, files, the clock
 *
 * Linked statically.
 */
#include "bench.h"

#include <sys/syscall.h>
#include <time.h>

#define NO_SUCH_CALL 1000
/* Less than a pipe holds. */
#define PIPE_CHUNK 4096

static int fds[2] = { -1, -1 };
static char buffer[65536];

static void close_fds(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* By libc's syscall(), whose instruction no platform patches. */
static void getpid_libc(unsigned long count)
{
	while (count--)
		bench_want(syscall(SYS_getpid), "getpid");
}

/* "mov $nr, %eax; syscall", which can be patched. */
static void getpid_inline(unsigned long count)
{
	long ret = 0;

	while (count--)
		__asm__ volatile("mov %1, %%eax; syscall"
				 : "=&a"(ret)
				 : "i"(SYS_getpid)
				 : "rcx", "r11", "memory");
	bench_want(ret, "getpid");
}

static void unknown_syscall(unsigned long count)
{
	while (count--) {
		if (syscall(NO_SUCH_CALL) != -1 || errno != ENOSYS)
			bench_fail("a call that does not exist");
	}
}

static void open_pipe(void)
{
	bench_want(pipe(fds), "pipe");
}

/* One call in so many fills the pipe, or empties it. */
static void pipe_read(unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		if (i % PIPE_CHUNK == 0)
			bench_want(write(fds[1], buffer, PIPE_CHUNK), "write");
		if (read(fds[0], buffer, 1) != 1)
			bench_fail("read");
	}
	if (count % PIPE_CHUNK)
		bench_want(read(fds[0], buffer, PIPE_CHUNK), "read");
}

static void pipe_write(unsigned long count)
{
	unsigned long i;

	for (i = 1; i <= count; i++) {
		if (write(fds[1], buffer, 1) != 1)
			bench_fail("write");
		if (i % PIPE_CHUNK == 0)
			bench_want(read(fds[0], buffer, PIPE_CHUNK), "read");
	}
	if (count % PIPE_CHUNK)
		bench_want(read(fds[0], buffer, PIPE_CHUNK), "read");
}

static void open_data(void)
{
	fds[0] = bench_open_data();
}

static void pread_size(unsigned long count, size_t size)
{
	while (count--) {
		if (pread(fds[0], buffer, size, 65536) != (ssize_t)size)
			bench_fail("pread");
	}
}

static void pread_4k(unsigned long count)
{
	pread_size(count, 4096);
}

static void pread_64k(unsigned long count)
{
	pread_size(count, 65536);
}

static void stat_data(unsigned long count)
{
	struct stat st;

	while (count--)
		bench_want(stat(bench.data, &st), "stat");
}

static void open_close(unsigned long count)
{
	while (count--)
		close(bench_open_data());
}

static void clock_monotonic(unsigned long count)
{
	struct timespec now;

	while (count--)
		bench_want(clock_gettime(CLOCK_MONOTONIC, &now), "clock_gettime");
}

static const struct bench_row rows[] = {
	{ .name = "getpid_libc", .run = getpid_libc },
	{ .name = "getpid_inline", .run = getpid_inline },
	{ .name = "unknown_syscall", .run = unknown_syscall },
	{ .name = "pipe_read", .run = pipe_read, .set_up = open_pipe, .tear_down = close_fds },
	{ .name = "pipe_write", .run = pipe_write, .set_up = open_pipe, .tear_down = close_fds },
	{ .name = "pread_4k", .run = pread_4k, .set_up = open_data, .tear_down = close_fds },
	{ .name = "pread_64k", .run = pread_64k, .set_up = open_data, .tear_down = close_fds },
	{ .name = "stat", .run = stat_data },
	{ .name = "open_close", .run = open_close },
	{ .name = "clock_gettime", .run = clock_monotonic },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
