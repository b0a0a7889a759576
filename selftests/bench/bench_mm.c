// SPDX-License-Identifier: MIT
/*
 * bench_mm - what memory costs: faults, mappings, permissions, SIGSEGV handlers
 *
 * Linked statically. A signal to self is here as well, to compare.
 */
#include "bench.h"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define ANON_PAGES 2048
#define FILE_PAGES (BENCH_DATA_SIZE / BENCH_PAGE)
/* Length of "movb $0, (%rax)". */
#define STORE_LENGTH 3

static int data_fd = -1;
static char *area;
static volatile sig_atomic_t handled;

/* The first store to each of @count pages. */
static void touch(volatile char *mem, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++)
		mem[i * BENCH_PAGE] = 1;
}

static void fault_anon(unsigned long count)
{
	char *mem = bench_map(ANON_PAGES * BENCH_PAGE, PROT_READ | PROT_WRITE);

	touch(mem, count);
	munmap(mem, ANON_PAGES * BENCH_PAGE);
}

static void open_data(void)
{
	data_fd = bench_open_data();
}

static void close_data(void)
{
	if (data_fd >= 0)
		close(data_fd);
	data_fd = -1;
}

/* Stores, since one load fault maps as many pages as the file system likes. */
static void fault_file(unsigned long count)
{
	char *mem = mmap(NULL, BENCH_DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, data_fd, 0);

	if (mem == MAP_FAILED)
		bench_fail("mmap of a file");
	touch(mem, count);
	munmap(mem, BENCH_DATA_SIZE);
}

static void map_unmap(unsigned long count)
{
	while (count--)
		bench_want(munmap(bench_map(BENCH_PAGE, PROT_READ | PROT_WRITE), BENCH_PAGE),
			   "munmap");
}

static void map_touch_unmap(unsigned long count)
{
	char *mem;

	while (count--) {
		mem = bench_map(BENCH_PAGE, PROT_READ | PROT_WRITE);
		touch(mem, 1);
		bench_want(munmap(mem, BENCH_PAGE), "munmap");
	}
}

static void protect(char *mem, int prot)
{
	bench_want(mprotect(mem, BENCH_PAGE, prot), "mprotect");
}

static void map_area(void)
{
	area = bench_map(2 * BENCH_PAGE, PROT_READ | PROT_WRITE);
	touch(area, 2);
}

static void unmap_area(void)
{
	if (area)
		munmap(area, 2 * BENCH_PAGE);
	area = NULL;
}

static void change_protection(unsigned long count)
{
	while (count--)
		protect(area, count % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	bench_want(sigaction(signal, &action, NULL), "sigaction");
}

/* A write barrier: open the page that was hit, close the other one. */
static void on_barrier(int signal, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)(BENCH_PAGE - 1));
	char *other = page == area ? area + BENCH_PAGE : area;

	if (mprotect(page, BENCH_PAGE, PROT_READ | PROT_WRITE) ||
	    mprotect(other, BENCH_PAGE, PROT_READ))
		_exit(1);
}

static void set_up_barrier(void)
{
	map_area();
	protect(area, PROT_READ);
	handle(SIGSEGV, on_barrier);
}

static void tear_down_handler(void)
{
	signal(SIGSEGV, SIG_DFL);
	unmap_area();
}

/* Both pages are shut for a moment between two loops, so the first store hits too. */
static void hit_barrier(unsigned long count)
{
	protect(area, PROT_READ);
	protect(area + BENCH_PAGE, PROT_READ);
	while (count--)
		*(volatile char *)(area + count % 2 * BENCH_PAGE) = 1;
}

static void on_null(int signal, siginfo_t *info, void *context)
{
	ucontext_t *frame = context;

	frame->uc_mcontext.gregs[REG_RIP] += STORE_LENGTH;
	handled++;
}

static void set_up_skip(void)
{
	handle(SIGSEGV, on_null);
}

static void skip_store(unsigned long count)
{
	unsigned long i;

	handled = 0;
	for (i = 0; i < count; i++)
		__asm__ volatile("movb $0, (%%rax)" : : "a"(16L) : "memory");
	if ((unsigned long)handled != count) {
		errno = EPROTO;
		bench_fail("count of signals");
	}
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	handled++;
}

static void set_up_signal(void)
{
	handle(SIGUSR1, on_signal);
}

static void signal_self(unsigned long count)
{
	unsigned long i;
	long tid = syscall(SYS_gettid);

	handled = 0;
	for (i = 0; i < count; i++)
		bench_want(syscall(SYS_tgkill, bench.pid, tid, SIGUSR1), "tgkill");
	if ((unsigned long)handled != count) {
		errno = EPROTO;
		bench_fail("count of signals");
	}
}

static const struct bench_row rows[] = {
	{ .name = "fault_anon", .run = fault_anon, .min = ANON_PAGES, .max = ANON_PAGES },
	{ .name = "fault_file", .run = fault_file, .min = FILE_PAGES, .max = FILE_PAGES,
	  .set_up = open_data, .tear_down = close_data },
	{ .name = "mmap_munmap", .run = map_unmap },
	{ .name = "mmap_touch_munmap", .run = map_touch_unmap },
	{ .name = "mprotect", .run = change_protection,
	  .set_up = map_area, .tear_down = unmap_area },
	{ .name = "segv_2mprotect", .run = hit_barrier,
	  .set_up = set_up_barrier, .tear_down = tear_down_handler },
	{ .name = "segv_skip", .run = skip_store,
	  .set_up = set_up_skip, .tear_down = tear_down_handler },
	{ .name = "signal_self", .run = signal_self, .set_up = set_up_signal },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
