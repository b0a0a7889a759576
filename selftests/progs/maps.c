// SPDX-License-Identifier: MIT
/*
 * maps.c - rules of memory mappings that programs rely on
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "show.h"

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)

/* Zero, or the error. */
static long try_map(int prot, int flags, int fd, off_t off)
{
	void *p = mmap(NULL, PAGE, prot, flags, fd, off);

	if (p == MAP_FAILED)
		return -1;
	munmap(p, PAGE);
	return 0;
}

static void low_addresses(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
	char *p = mmap(NULL, PAGE, RW, flags, -1, 0);
	char *q = mmap(NULL, 100 * PAGE, RW, flags, -1, 0);

	show("below 2 GiB", (uintptr_t)p < 1ul << 31 && (uintptr_t)q < 1ul << 31);
	show("4 GiB below 2 GiB",
	     mmap(NULL, 1ul << 32, PROT_NONE, flags, -1, 0) == MAP_FAILED ? -1 : 0);
}

static void holes(void)
{
	char *p = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 1, 3 * PAGE);
	munmap(p + PAGE, PAGE);
	show("madvise over a hole", madvise(p, 3 * PAGE, MADV_DONTNEED));
	show("before it", p[0]);
	show("behind it", p[2 * PAGE]);
	show("msync over a hole", msync(p, 3 * PAGE, MS_SYNC));
	show("msync", msync(p, PAGE, MS_SYNC));
}

static void offsets(void)
{
	int fd = fileno(tmpfile());

	show("offset of 5 GiB", try_map(PROT_READ, MAP_PRIVATE, fd, 5l << 30));
	show("offset of 1 EiB", try_map(PROT_READ, MAP_PRIVATE, fd, 1l << 60));
	show("offset of 1 EiB, shared", try_map(RW, MAP_SHARED, fd, 1l << 60));
}

static void seals(void)
{
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
	char *p;

	show("write", write(fd, "contents", 8));
	p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	show("seal of what is mapped", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(p, PAGE);
	show("seal", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	show("shared for writing", try_map(RW, MAP_SHARED, fd, 0));
	p = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	printf("private: %.8s\n", p == MAP_FAILED ? "none" : p);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	printf("private for reading: %.8s\n", p == MAP_FAILED ? "none" : p);
	if (p != MAP_FAILED) {
		show("for writing after all", mprotect(p, PAGE, RW));
		p[0] = 'C';
		printf("changed: %.8s\n", p);
	}
	/* Since 6.7. */
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	printf("shared for reading: %.8s\n", p == MAP_FAILED ? "none" : p);
	if (p != MAP_FAILED)
		show("shared for writing after all", mprotect(p, PAGE, RW));
}

int main(void)
{
	low_addresses();
	holes();
	offsets();
	seals();
	return 0;
}
