// SPDX-License-Identifier: MIT
/*
 * copy_test.c - the memory of an address space, from outside: COPY and ATOMIC
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "sandtrap_util.h"

#define BAD_ADDRESS 0x7000000000ull

BOX_FIXTURE(copy)

static int copy(struct box *b, uint32_t op, uint64_t addr, void *buf, size_t len,
		struct sandtrap_copy *out)
{
	*out = (struct sandtrap_copy){
		.size = sizeof(*out), .op = op, .addr = addr,
		.buf = (uintptr_t)buf, .len = len,
		.out_done = 77, .out_fault = 77,
	};
	return ioctl(b->as, SANDTRAP_COPY, out) ? -errno : 0;
}

/* The four pages at BOX_FREE are writable; and the stub serves from then on. */
#define MAP_FREE() \
	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 4, \
			     PROT_READ | PROT_WRITE))

TEST_F(copy, copies_go_both_ways)
{
	unsigned char *file = self->b.file + BOX_SPARE_PAGE * BOX_PAGE;
	unsigned char buf[3 * 4096], want[3 * 4096];
	struct sandtrap_copy out;
	size_t i;

	MAP_FREE();
	for (i = 0; i < sizeof(buf); i++)
		buf[i] = want[i] = i * 7;
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_OUT, BOX_FREE + 100, buf,
			  sizeof(buf), &out));
	EXPECT_EQ(sizeof(buf), out.out_done);
	EXPECT_EQ(0, out.out_fault);
	EXPECT_EQ(0, memcmp(file + 100, want, sizeof(want)));
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_IN, BOX_FREE + 100, buf,
			  sizeof(buf), &out));
	EXPECT_EQ(sizeof(buf), out.out_done);
	EXPECT_EQ(0, memcmp(buf, want, sizeof(want)));
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_ZERO, BOX_FREE + 4000, NULL,
			  200, &out));
	EXPECT_EQ(200, out.out_done);
	for (i = 0; i < 200; i++)
		EXPECT_EQ(0, file[4000 + i]);
	EXPECT_EQ(want[3899], file[3999]);
	EXPECT_EQ(want[4100], file[4200]);
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_IN, BOX_FREE, buf, 0, &out));
	EXPECT_EQ(0, out.out_done);
}

TEST_F(copy, a_short_copy_names_the_address)
{
	unsigned char buf[8192];
	struct sandtrap_copy out;
	uint64_t end = BOX_FREE + 4 * BOX_PAGE;

	MAP_FREE();
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_IN, end - 100, buf, 4196, &out));
	EXPECT_EQ(100, out.out_done);
	EXPECT_EQ(end, out.out_fault);
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_OUT, end - 1, buf, 2, &out));
	EXPECT_EQ(1, out.out_done);
	EXPECT_EQ(end, out.out_fault);
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_ZERO, end + 5, NULL, 2, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ(end + 5, out.out_fault);
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_IN, 0xffffffff81000000ull, buf,
			  8, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ(0xffffffff81000000ull, out.out_fault);
}

TEST_F(copy, copies_obey_permissions)
{
	unsigned char buf[16] = { 1 };
	struct sandtrap_copy out;

	ASSERT_EQ(0, box_map(&self->b, self->b.as, BOX_FREE, BOX_SPARE_PAGE, 1,
			     PROT_READ));
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_OUT, BOX_FREE, buf, 16, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ(BOX_FREE, out.out_fault);
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_IN, BOX_FREE, buf, 16, &out));
	EXPECT_EQ(16, out.out_done);
	/* The stub itself cannot be written. */
	EXPECT_EQ(0, copy(&self->b, SANDTRAP_COPY_OUT, self->b.stubs.base, buf, 16,
			  &out));
	EXPECT_EQ(0, out.out_done);
}

TEST_F(copy, malformed_copies_are_refused)
{
	unsigned char buf[16];
	struct sandtrap_copy out;

	MAP_FREE();
	EXPECT_EQ(-EOPNOTSUPP, copy(&self->b, 0, BOX_FREE, buf, 16, &out));
	EXPECT_EQ(-EOPNOTSUPP, copy(&self->b, 4, BOX_FREE, buf, 16, &out));
	EXPECT_EQ(-EINVAL, copy(&self->b, SANDTRAP_COPY_ZERO, BOX_FREE, buf, 16,
				&out));
	EXPECT_EQ(-EINVAL, copy(&self->b, SANDTRAP_COPY_IN, ~0ull - 3, buf, 16,
				&out));
	EXPECT_EQ(-EFAULT, copy(&self->b, SANDTRAP_COPY_IN, BOX_FREE,
				(void *)BAD_ADDRESS, 16, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ(-EFAULT, copy(&self->b, SANDTRAP_COPY_OUT, BOX_FREE,
				(void *)~0xffffull, 16, &out));
}

/* The buffer ends before the length does. */
TEST_F(copy, what_was_not_copied_is_left_as_it_was)
{
	unsigned char *buf, *file = self->b.file + BOX_SPARE_PAGE * BOX_PAGE;
	struct sandtrap_copy out;
	unsigned int i;

	MAP_FREE();
	buf = mmap(NULL, 2 * BOX_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, munmap(buf + BOX_PAGE, BOX_PAGE));
	memset(buf, 1, BOX_PAGE);
	memset(file, 2, BOX_PAGE);
	EXPECT_EQ(-EFAULT, copy(&self->b, SANDTRAP_COPY_OUT, BOX_FREE,
				buf + BOX_PAGE - 16, BOX_PAGE, &out));
	EXPECT_EQ(16, out.out_done);
	for (i = 0; i < BOX_PAGE; i++)
		EXPECT_EQ(i < out.out_done ? 1 : 2, file[i]);
	munmap(buf, BOX_PAGE);
}

/* atomics */

static int atomic(struct box *b, uint32_t op, uint64_t addr, uint32_t expected,
		  uint32_t value, uint32_t *old)
{
	struct sandtrap_atomic arg = {
		.size = sizeof(arg), .op = op, .addr = addr,
		.expected = expected, .value = value, .out_old = 0xcccccccc,
	};
	int ret = ioctl(b->as, SANDTRAP_ATOMIC, &arg) ? -errno : 0;

	*old = arg.out_old;
	return ret;
}

#define LOAD SANDTRAP_ATOMIC_LOAD
#define SWAP SANDTRAP_ATOMIC_SWAP
#define CAS SANDTRAP_ATOMIC_CAS

TEST_F(copy, atomics)
{
	uint32_t *file = (void *)(self->b.file + BOX_SPARE_PAGE * BOX_PAGE), old;

	MAP_FREE();
	file[1] = 5;
	EXPECT_EQ(0, atomic(&self->b, LOAD, BOX_FREE + 4, 0, 0, &old));
	EXPECT_EQ(5, old);
	EXPECT_EQ(0, atomic(&self->b, SWAP, BOX_FREE + 4, 0, 6, &old));
	EXPECT_EQ(5, old);
	EXPECT_EQ(6, file[1]);
	EXPECT_EQ(0, atomic(&self->b, CAS, BOX_FREE + 4, 5, 7, &old));
	EXPECT_EQ(6, old);
	EXPECT_EQ(6, file[1]);
	EXPECT_EQ(0, atomic(&self->b, CAS, BOX_FREE + 4, 6, 8, &old));
	EXPECT_EQ(6, old);
	EXPECT_EQ(8, file[1]);
}

TEST_F(copy, malformed_atomics_are_refused)
{
	uint32_t old;

	MAP_FREE();
	EXPECT_EQ(-EOPNOTSUPP, atomic(&self->b, 0, BOX_FREE, 0, 0, &old));
	EXPECT_EQ(-EOPNOTSUPP, atomic(&self->b, 4, BOX_FREE, 0, 0, &old));
	EXPECT_EQ(-EINVAL, atomic(&self->b, LOAD, BOX_FREE + 2, 0, 0, &old));
	EXPECT_EQ(-EINVAL, atomic(&self->b, LOAD, BOX_FREE, 1, 0, &old));
	EXPECT_EQ(-EINVAL, atomic(&self->b, LOAD, BOX_FREE, 0, 1, &old));
	EXPECT_EQ(-EINVAL, atomic(&self->b, SWAP, BOX_FREE, 1, 0, &old));
	EXPECT_EQ(0xcccccccc, old);
	EXPECT_EQ(-EFAULT, atomic(&self->b, LOAD, BOX_FREE + 4 * BOX_PAGE, 0, 0,
				  &old));
	EXPECT_EQ(-EFAULT, atomic(&self->b, SWAP, BOX_CODE, 0, 0, &old));
	EXPECT_EQ(-EFAULT, atomic(&self->b, LOAD, ~0ull - 3, 0, 0, &old));
}

/* Against a program that increments the same word with a lock prefix. */
BOX_PROGRAM(prog_increment,
	    "1: lock incl 0x40000000\n decq %rdx\n jnz 1b\n syscall");

TEST_F(copy, atomics_are_atomic)
{
	volatile uint32_t *file = (void *)(self->b.file + BOX_SPARE_PAGE * BOX_PAGE);
	volatile struct sandtrap_context_page *page = self->b.ctx.page;
	uint32_t old, seen, done = 0;

	MAP_FREE();
	BOX_LOAD(&self->b, prog_increment);
	page->regs.rdx = 3000000;
	ASSERT_EQ(0, box_command(&self->b, SANDTRAP_RESUME, self->b.ctx.id, 0, 1));
	while (page->event_seq == 1) {
		seen = file[0];
		ASSERT_EQ(0, atomic(&self->b, CAS, BOX_FREE, seen, seen + 1, &old));
		done += old == seen;
	}
	EXPECT_EQ(3000000 + done, file[0]);
}

TEST_HARNESS_MAIN
