// SPDX-License-Identifier: MIT
/*
 * others - what a sentry does with its descriptors and processes besides commands
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture/fuzz/fuzz.h"

/* The fast way to run; the answer is stored first, or not. */
static void do_lseek(struct fuzzer *f)
{
	unsigned int slot = fuzz_any_slot(f);
	struct sandtrap_context_page *page = fuzz.pages[slot];
	uint32_t id = fuzz.ids[slot];
	long ret;

	if (page && pick(f, 8))
		*(volatile uint32_t *)&page->resume_seq = fuzz_seq_of(slot);
	fuzz_begin(f, "lseek");
	ret = fuzz_call(false, SYS_lseek, fuzz.box.fd, pick(f, 16) ? id : fuzz_nasty(f),
			pick(f, 16) ? SEEK_SET : 1);
	fuzz_end(f, ret);
	if (!ret)
		board->direct_lseek += fuzz_count_event(id);
}

static void do_any_ioctl(struct fuzzer *f)
{
	unsigned int cmd = _IO(SANDTRAP_IOC_MAGIC, 0x80 + pick(f, 48));

	memset(f->arg, 0, sizeof(*f->arg));
	f->arg->size = pick(f, 64);
	fuzz_begin(f, "any ioctl");
	fuzz_end(f, ioctl(fuzz_any_fd(f), cmd, pick(f, 2) ? (uintptr_t)f->arg : fuzz_nasty(f)));
}

static void do_mmap(struct fuzzer *f)
{
	static const uint64_t offsets[] = { 0, 1ull << 20, 2ull << 20, 1ull << 32 };
	uint64_t id = fuzz.ids[fuzz_any_slot(f)];
	uint64_t offset = offsets[pick(f, 4)] + (id << 20) * pick(f, 2);
	size_t size = BOX_PAGE * (1 + pick(f, 6));
	void *p;

	if (!pick(f, 4))
		offset = fuzz_nasty(f) & ~4095ull;
	fuzz_begin(f, "mmap");
	p = mmap(NULL, size, pick(f, 8), pick(f, 8) ? MAP_SHARED : MAP_PRIVATE, fuzz.box.fd, offset);
	if (p != MAP_FAILED) {
		if (pick(f, 2))
			madvise(p, size, pick(f, 26));
		/* It must not grow. */
		if (mremap(p, size, size + BOX_PAGE, 0) != MAP_FAILED)
			_exit(30);
		munmap(p, size);
	}
	fuzz_end(f, 0);
}

static void do_map_ring(struct fuzzer *f)
{
	void *p;

	fuzz_begin(f, "map ring");
	p = mmap(NULL, BOX_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fuzz.box.fd, 1 << 20);
	if (p != MAP_FAILED) {
		if (fuzz.consumer)
			munmap(p, BOX_PAGE);
		else
			fuzz.consumer = p;
	}
	fuzz_end(f, 0);
}

/* Consumes what there is, so that the backlog moves. */
static void do_consume(struct fuzzer *f)
{
	struct sandtrap_ring_consumer *c = fuzz.consumer;
	struct pollfd poll_fd = { .fd = fuzz.box.fd, .events = POLLIN };

	if (c)
		*(volatile uint32_t *)&c->tail += pick(f, 8);
	fuzz_begin(f, "poll");
	poll(&poll_fd, 1, pick(f, 2));
	fuzz_end(f, 0);
}

static void do_close_space(struct fuzzer *f)
{
	unsigned int slot = pick(f, SPACES);
	int fd;

	if (pick(f, 3))
		return;
	fuzz_begin(f, "close");
	fd = atomic_exchange(pick(f, 2) ? &fuzz.spaces[slot] : &fuzz.stub_fds[slot], -1);
	if (fd > 2)
		close(fd);
	fuzz_end(f, 0);
}

static void do_kill(struct fuzzer *f)
{
	static const int signals[] = { SIGKILL, SIGSTOP, SIGCONT, SIGCONT, SIGCONT, SIGTERM,
				       SIGSEGV, SIGUSR1 };
	pid_t stubs[64];
	int n;

	/* A dead stub is no use to anybody. */
	if (pick(f, 3))
		return;
	fuzz_begin(f, "kill");
	n = box_stubs(&fuzz.box, stubs, 64);
	if (n > 0)
		kill(stubs[pick(f, n)], signals[pick(f, 8)]);
	fuzz_end(f, 0);
}

/* A second instance, and a stub descriptor where a sentry uses it. */
static void do_other(struct fuzzer *f)
{
	fuzz_begin(f, "serve");
	fuzz_end(f, ioctl(fuzz.stub_fds[pick(f, SPACES)],
			  pick(f, 2) ? SANDTRAP_SERVE : SANDTRAP_ATTACH, fuzz_nasty(f)));
	if (pick(f, 8))
		return;
	fuzz_begin(f, "open");
	close(open(SANDTRAP_DEVICE, O_RDWR | O_CLOEXEC));
	fuzz_end(f, 0);
}

void fuzz_other(struct fuzzer *f)
{
	static void (*const others[])(struct fuzzer *f) = {
		do_lseek, do_lseek, do_lseek, do_any_ioctl, do_mmap, do_map_ring, do_consume,
		do_close_space, do_kill, do_other,
	};

	others[pick(f, sizeof(others) / sizeof(*others))](f);
}
