// SPDX-License-Identifier: MIT
/*
 * sentry_patch_test.c - what rewriting system calls does to an mm
 *
 * On a platform that is a table of pages: what it was told to map. The tests look
 * at memory as the program would see it, and at the file behind it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/usertrap.h"
#include "sentry/fs.h"
#include "sentry/mm/internal.h"

#include "kselftest_harness.h"
#include "mock_platform.h"
#include "patience.h"

#define CODE 0x10100000ull
#define CODE_PAGES 80ull
#define ENTRY 0x7fff12345678ull

/* Offsets in the first page of the code; the others are the same. */
#define FN_DIRECT 0x10 /* mov $39, %eax; syscall; ret */
#define FN_TWO 0x20 /* a long anchor, a system call, and another one */
#define FN_NEVER 0x40 /* push $39; pop %rax; syscall */
#define FN_ACROSS (PAGE_SIZE - 8) /* as FN_TWO: its anchor ends with the page */

#define DIRECT_IP (FN_DIRECT + 5)
#define TWO_FIRST_IP (FN_TWO + 10)
#define TWO_SECOND_IP (FN_TWO + 17)
#define NEVER_IP (FN_NEVER + 3)
#define ACROSS_IP (FN_ACROSS + 10)

static const uint8_t direct[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 };
static const uint8_t two[] = {
	0x64, 0x8b, 0x04, 0x25, 0xb8, 0, 0, 0, /* mov %fs:0xb8, %eax */
	0x85, 0xc0, 0x0f, 0x05, /* test %eax, %eax; syscall */
	0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3, /* mov $39, %eax; syscall; ret */
};
static const uint8_t never[] = { 0x6a, 39, 0x58, 0x0f, 0x05, 0xc3 };

static void fill_code(uint8_t *code)
{
	uint64_t page;

	memset(code, 0xcc, CODE_PAGES * PAGE_SIZE);
	for (page = 0; page < CODE_PAGES; page++, code += PAGE_SIZE) {
		memcpy(code + FN_DIRECT, direct, sizeof(direct));
		memcpy(code + FN_TWO, two, sizeof(two));
		memcpy(code + FN_NEVER, never, sizeof(never));
		memcpy(code, two + 8, sizeof(two) - 8);
		memcpy(code + FN_ACROSS, two, 8);
	}
}

FIXTURE(patch)
{
	struct platform platform;
	struct kernel *kernel;
	struct file *file;
	struct task *t, *child;
	uint8_t code[CODE_PAGES * PAGE_SIZE];
};

FIXTURE_SETUP(patch)
{
	self->platform = (struct platform){
		.ops = &mock_ops,
		.min_user_address = MIN_ADDR,
		.max_user_address = MIN_ADDR + NR_PAGES * PAGE_SIZE,
		.usertrap_entry = ENTRY,
	};
	syscall_table_init();
	self->kernel = calloc(1, sizeof(*self->kernel));
	self->kernel->platform = &self->platform;
	pthread_mutex_init(&self->kernel->tasks_lock, NULL);
	ASSERT_EQ(0, memory_file_create(&self->kernel->memory_file));
	fill_code(self->code);
	self->file = file_alloc(&code_ops, O_RDWR);
	self->file->host_fd = memfd_create("code", MFD_CLOEXEC);
	ASSERT_EQ((ssize_t)sizeof(self->code),
		  write(self->file->host_fd, self->code, sizeof(self->code)));
	self->t = new_task(self->kernel);
	ASSERT_EQ(0, mm_create(self->kernel, &self->t->mm));
	mm_add_task(self->t->mm, self->t);
	ASSERT_EQ((int64_t)CODE, map_at(self->t, CODE, sizeof(self->code), PROT_READ | PROT_EXEC,
					MAP_PRIVATE, self->file));
}

FIXTURE_TEARDOWN(patch)
{
	uint8_t *now = malloc(sizeof(self->code));

	/* Whatever happened: the file is what it was. */
	EXPECT_EQ((ssize_t)sizeof(self->code),
		  pread(self->file->host_fd, now, sizeof(self->code), 0));
	EXPECT_EQ(0, memcmp(now, self->code, sizeof(self->code)));
	free(now);
	end_task(self->child);
	end_task(self->t);
	EXPECT_EQ(0ul, memory_file_usage(self->kernel->memory_file));
	memory_file_destroy(self->kernel->memory_file);
}

/* ---- helpers ---- */

static void trap(struct task *t, uint64_t ip, unsigned int times)
{
	while (times--) {
		t->regs->rip = ip + 2;
		patch_syscall(t);
		/* The call is handled at the address it came from. */
		if (t->regs->rip != ip + 2)
			abort();
	}
}

/* What the program sees at an address, by what the platform was told to map. */
static bool see(struct task *t, uint64_t addr, void *buf, size_t len)
{
	struct mock_as *as = container_of(mm_address_space(t->mm), struct mock_as, base);
	struct page *pg = &as->pages[(addr - MIN_ADDR) / PAGE_SIZE];

	return pg->mapped && pread(pg->fd, buf, len, (off_t)(pg->off + addr % PAGE_SIZE)) ==
				     (ssize_t)len;
}

/* The slot that the code at @site jumps to, 0 if it is the original. */
static uint64_t slot_of(struct task *t, uint64_t site)
{
	uint8_t now[5];
	int32_t rel;

	if (!see(t, site, now, sizeof(now)))
		return ~0ull;
	if (now[0] != 0xe9)
		return 0;
	memcpy(&rel, now + 1, sizeof(rel));
	return site + 5 + (uint64_t)(int64_t)rel;
}

static bool seen_as_original(struct task *t, uint64_t addr, const uint8_t *code, size_t len)
{
	uint8_t now[64];

	return see(t, addr, now, len) && !memcmp(now, code, len);
}

#define PATCH(t, ip) trap(t, ip, PATCH_AFTER)
#define EXPECT_ORIGINAL(t, at) EXPECT_EQ(0ull, slot_of(t, at))
#define EXPECT_PATCHED(t, at) \
	EXPECT_TRUE(slot_of(t, at) && slot_of(t, at) != ~0ull)

/* ---- tests ---- */

TEST_F(patch, happens_once_it_pays)
{
	uint8_t slot[USERTRAP_SLOT_SIZE], header[8], want[USERTRAP_SLOT_SIZE];
	struct usertrap_plan plan;
	const uint64_t entry = ENTRY;
	char *maps;
	size_t len;

	trap(self->t, CODE + DIRECT_IP, PATCH_AFTER - 1);
	EXPECT_ORIGINAL(self->t, CODE + FN_DIRECT);
	trap(self->t, CODE + DIRECT_IP, 1);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
	EXPECT_EQ(1ul, self->kernel->patch_count);
	/* Five bytes have changed and no more. */
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_DIRECT + 5, direct + 5, 3));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_TWO, two, sizeof(two)));
	/* The slot is what it should be. */
	ASSERT_EQ(0, usertrap_decode(direct, CODE + FN_DIRECT, CODE + DIRECT_IP, &plan));
	ASSERT_EQ(0, usertrap_emit(&plan, slot_of(self->t, CODE + FN_DIRECT), want));
	ASSERT_TRUE(see(self->t, slot_of(self->t, CODE + FN_DIRECT), slot, sizeof(slot)));
	EXPECT_EQ(0, memcmp(slot, want, sizeof(slot)));
	ASSERT_TRUE(see(self->t, page_down(slot_of(self->t, CODE + FN_DIRECT)), header, 8));
	EXPECT_EQ(0, memcmp(header, &entry, 8));
	maps = mm_format_maps(self->t->mm, &len);
	EXPECT_NE(NULL, strstr(maps, "[usertrap]"));
	free(maps);
	/* Threads that still trap there change nothing. */
	trap(self->t, CODE + DIRECT_IP, 3 * PATCH_AFTER);
	EXPECT_EQ(1ul, self->kernel->patch_count);
}

TEST_F(patch, failures_are_remembered)
{
	unsigned int i, found = 0;

	trap(self->t, CODE + NEVER_IP, 5 * PATCH_AFTER);
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_NEVER, never, sizeof(never)));
	for (i = 0; i < PATCH_SEEN; i++)
		found += self->t->mm->patch_seen[i] == ((CODE + NEVER_IP) << 16 | 0xffff);
	EXPECT_EQ(1u, found);
	EXPECT_EQ(0ul, self->kernel->patch_count);
}

/* Its start is decoded from a neighbour that has been patched, tail and all. */
TEST_F(patch, neighbours_do_not_confuse)
{
	PATCH(self->t, CODE + TWO_FIRST_IP);
	EXPECT_PATCHED(self->t, CODE + FN_TWO);
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_TWO + 5, two + 5, sizeof(two) - 5));
	PATCH(self->t, CODE + TWO_SECOND_IP);
	EXPECT_PATCHED(self->t, CODE + FN_TWO + 12);
	EXPECT_EQ(slot_of(self->t, CODE + FN_TWO) + USERTRAP_SLOT_SIZE,
		  slot_of(self->t, CODE + FN_TWO + 12));
}

TEST_F(patch, only_what_is_private_and_read_only)
{
	const uint64_t at = CODE + sizeof(self->code) + 16 * PAGE_SIZE;

	ASSERT_EQ((int64_t)at, map_at(self->t, at, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED,
				      self->file));
	PATCH(self->t, at + DIRECT_IP);
	EXPECT_ORIGINAL(self->t, at + FN_DIRECT);
	ASSERT_EQ((int64_t)at, map_at(self->t, at, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
				      MAP_PRIVATE, self->file));
	PATCH(self->t, at + DIRECT_IP);
	EXPECT_ORIGINAL(self->t, at + FN_DIRECT);
	EXPECT_EQ(0ul, self->kernel->patch_count);
}

TEST_F(patch, writable_code_is_the_original)
{
	uint64_t slot;

	PATCH(self->t, CODE + DIRECT_IP);
	PATCH(self->t, CODE + TWO_FIRST_IP);
	slot = slot_of(self->t, CODE + FN_DIRECT);
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ, 0, 0));
	EXPECT_EQ(slot, slot_of(self->t, CODE + FN_DIRECT));
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_WRITE, 0, 0));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_DIRECT, direct, sizeof(direct)));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_TWO, two, sizeof(two)));
	/* Unchanged and executable again: the same slot. */
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_EXEC, 0, 0));
	EXPECT_ORIGINAL(self->t, CODE + FN_DIRECT);
	PATCH(self->t, CODE + DIRECT_IP);
	EXPECT_EQ(slot, slot_of(self->t, CODE + FN_DIRECT));
	/* Changed: what is in the slot is not it. */
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_WRITE, 0, 0));
	ASSERT_EQ(0, copy_to_user(self->t, CODE + FN_DIRECT + 1, "\x6e", 1));
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_EXEC, 0, 0));
	PATCH(self->t, CODE + DIRECT_IP);
	EXPECT_ORIGINAL(self->t, CODE + FN_DIRECT);
}

/* Its slot has a copy of instructions in the next page. */
TEST_F(patch, code_in_two_pages_is_the_original_if_the_second_changes)
{
	const uint64_t first = CODE, second = CODE + 4 * PAGE_SIZE;

	PATCH(self->t, first + ACROSS_IP);
	EXPECT_PATCHED(self->t, first + FN_ACROSS);
	ASSERT_EQ(0, call(self->t, SYS_mprotect, first + PAGE_SIZE, PAGE_SIZE,
			  PROT_READ | PROT_WRITE, 0, 0));
	EXPECT_ORIGINAL(self->t, first + FN_ACROSS);
	PATCH(self->t, second + ACROSS_IP);
	PATCH(self->t, second + DIRECT_IP);
	EXPECT_PATCHED(self->t, second + FN_ACROSS);
	ASSERT_EQ(0, call(self->t, SYS_munmap, second + PAGE_SIZE, PAGE_SIZE, 0, 0, 0));
	EXPECT_ORIGINAL(self->t, second + FN_ACROSS);
	EXPECT_PATCHED(self->t, second + FN_DIRECT);
}

TEST_F(patch, code_out_of_reach_can_become_writable)
{
	PATCH(self->t, CODE + DIRECT_IP);
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_NONE, 0, 0));
	ASSERT_EQ(0, call(self->t, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_WRITE, 0, 0));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_DIRECT, direct, sizeof(direct)));
}

TEST_F(patch, moved_code_is_the_original)
{
	const uint64_t to = CODE + sizeof(self->code) + 64 * PAGE_SIZE;

	PATCH(self->t, CODE + DIRECT_IP);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
	ASSERT_EQ((long)to, call(self->t, SYS_mremap, CODE, PAGE_SIZE, PAGE_SIZE,
				 MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(seen_as_original(self->t, to + FN_DIRECT, direct, sizeof(direct)));
	PATCH(self->t, to + DIRECT_IP);
	EXPECT_PATCHED(self->t, to + FN_DIRECT);
}

TEST_F(patch, unmapped_code_is_forgotten)
{
	PATCH(self->t, CODE + DIRECT_IP);
	ASSERT_EQ(0, call(self->t, SYS_munmap, CODE, PAGE_SIZE, 0, 0, 0));
	ASSERT_EQ((int64_t)CODE, map_at(self->t, CODE, PAGE_SIZE, PROT_READ | PROT_EXEC,
					MAP_PRIVATE, self->file));
	EXPECT_ORIGINAL(self->t, CODE + FN_DIRECT);
	PATCH(self->t, CODE + DIRECT_IP);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
	ASSERT_EQ(0, call(self->t, SYS_madvise, CODE, PAGE_SIZE, MADV_DONTNEED, 0, 0));
	mm_handle_fault(self->t, CODE + FN_DIRECT, PLATFORM_ACCESS_EXECUTE);
	EXPECT_ORIGINAL(self->t, CODE + FN_DIRECT);
}

TEST_F(patch, slots_can_be_taken_away)
{
	uint64_t page;

	PATCH(self->t, CODE + DIRECT_IP);
	PATCH(self->t, CODE + TWO_SECOND_IP);
	page = page_down(slot_of(self->t, CODE + FN_DIRECT));
	ASSERT_EQ(0, call(self->t, SYS_munmap, page, PAGE_SIZE, 0, 0, 0));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_DIRECT, direct, sizeof(direct)));
	EXPECT_TRUE(seen_as_original(self->t, CODE + FN_TWO, two, sizeof(two)));
	PATCH(self->t, CODE + DIRECT_IP);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
}

TEST_F(patch, fork_gives_each_its_own)
{
	uint64_t mine, its;

	PATCH(self->t, CODE + DIRECT_IP);
	self->child = new_task(self->kernel);
	ASSERT_EQ(0, mm_fork(self->t, &self->child->mm));
	mm_add_task(self->child->mm, self->child);
	ASSERT_EQ(0, mm_handle_fault(self->child, CODE, PLATFORM_ACCESS_EXECUTE));
	EXPECT_EQ(slot_of(self->t, CODE + FN_DIRECT), slot_of(self->child, CODE + FN_DIRECT));
	/* Both use the next slot, for different sites. */
	PATCH(self->t, CODE + TWO_FIRST_IP);
	PATCH(self->child, CODE + TWO_SECOND_IP);
	EXPECT_ORIGINAL(self->child, CODE + FN_TWO);
	EXPECT_ORIGINAL(self->t, CODE + FN_TWO + 12);
	mine = slot_of(self->t, CODE + FN_TWO);
	its = slot_of(self->child, CODE + FN_TWO + 12);
	EXPECT_EQ(mine, its);
	EXPECT_TRUE(seen_as_original(self->t, mine, two, 8));
	EXPECT_TRUE(seen_as_original(self->child, its, two + 12, 5));
	/* What one restores, the other keeps. */
	ASSERT_EQ(0, call(self->child, SYS_mprotect, CODE, PAGE_SIZE, PROT_READ | PROT_WRITE, 0,
			  0));
	EXPECT_ORIGINAL(self->child, CODE + FN_DIRECT);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
}

/* Whatever the child has at the address of the slots, it is not for slots. */
TEST_F(patch, fork_may_leave_out_slots)
{
	uint64_t page;

	PATCH(self->t, CODE + DIRECT_IP);
	page = page_down(slot_of(self->t, CODE + FN_DIRECT));
	ASSERT_EQ(0, call(self->t, SYS_madvise, page, PAGE_SIZE, MADV_DONTFORK, 0, 0));
	self->child = new_task(self->kernel);
	ASSERT_EQ(0, mm_fork(self->t, &self->child->mm));
	mm_add_task(self->child->mm, self->child);
	ASSERT_EQ(0, mm_handle_fault(self->child, CODE, PLATFORM_ACCESS_EXECUTE));
	EXPECT_ORIGINAL(self->child, CODE + FN_DIRECT);
	EXPECT_PATCHED(self->t, CODE + FN_DIRECT);
	ASSERT_EQ((int64_t)page,
		  map_at(self->child, page, PAGE_SIZE, PROT_READ, MAP_SHARED, self->file));
	PATCH(self->child, CODE + TWO_SECOND_IP);
	EXPECT_PATCHED(self->child, CODE + FN_TWO + 12);
	EXPECT_NE(page, page_down(slot_of(self->child, CODE + FN_TWO + 12)));
}

TEST_F(patch, events_show_the_original_address)
{
	struct platform_event ev = { .kind = PLATFORM_INTERRUPT };
	uint64_t slot;

	PATCH(self->t, CODE + TWO_FIRST_IP);
	slot = slot_of(self->t, CODE + FN_TWO);
	self->t->regs->rip = slot;
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(CODE + FN_TWO, self->t->regs->rip);
	self->t->regs->rip = slot + 8;
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(CODE + FN_TWO + 8, self->t->regs->rip);
	/* Behind the copies all that is left to do is the system call. */
	self->t->regs->rip = slot + 10;
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(CODE + TWO_FIRST_IP, self->t->regs->rip);
	/* A step that has only executed the jump is none. */
	ev.kind = PLATFORM_SIGNAL;
	ev.info.si_signo = SIGTRAP;
	self->t->regs->rip = slot;
	EXPECT_TRUE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(slot, self->t->regs->rip);
	self->t->regs->rip = slot + 8;
	ev.info.si_addr = (void *)(slot + 8);
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(CODE + FN_TWO + 8, self->t->regs->rip);
	EXPECT_EQ(CODE + FN_TWO + 8, (uint64_t)ev.info.si_addr);
	/* Other addresses are left alone. */
	self->t->regs->rip = slot + 3;
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(slot + 3, self->t->regs->rip);
	self->t->regs->rip = CODE + FN_DIRECT;
	EXPECT_FALSE(patch_leave_slot(self->t, &ev));
	EXPECT_EQ(CODE + FN_DIRECT, self->t->regs->rip);
}

/* More sites than there are slots in a page: each has one of its own. */
TEST_F(patch, many_sites)
{
	uint64_t page, last = 0, slot;

	for (page = 0; page < CODE_PAGES; page++) {
		PATCH(self->t, CODE + page * PAGE_SIZE + DIRECT_IP);
		slot = slot_of(self->t, CODE + page * PAGE_SIZE + FN_DIRECT);
		EXPECT_NE(last, slot);
		EXPECT_NE(0, slot % PAGE_SIZE);
		last = slot;
	}
	EXPECT_EQ(CODE_PAGES, self->kernel->patch_count);
	for (page = 0; page < CODE_PAGES; page++)
		EXPECT_PATCHED(self->t, CODE + page * PAGE_SIZE + FN_DIRECT);
	ASSERT_EQ(0, call(self->t, SYS_munmap, CODE, sizeof(self->code), 0, 0, 0));
}

TEST_HARNESS_MAIN
