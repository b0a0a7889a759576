// SPDX-License-Identifier: MIT
/*
 * sentry_mm_test.c - program memory against a model
 *
 * Random mmap, munmap, mprotect, mremap, madvise and fork calls, with reads
 * and writes by the "program" and by the sentry, on a platform that is a table
 * of pages: what it was told to map, where, with what protection. Operations
 * are deferred exactly as long as the contract allows. The model keeps one
 * byte per page, and must agree with every access.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sentry/fs.h"
#include "sentry/mm.h"
#include "sentry/mm/internal.h"
#include "sentry/task.h"

#include "kselftest_harness.h"
#include "patience.h"

#define BASE 0x10000000ull
#define NR_PAGES 512ull
#define MAX_PROCS 4
#define FILE_PAGES 64
#define QUEUE_MAX 4096

/* The platform: page tables, and operations that are not in effect yet. */
struct mock_page {
	bool mapped;
	int fd, prot;
	uint64_t off;
};

struct mock_op {
	uint64_t addr, len, off;
	int fd, prot;
};

struct mock_as {
	struct platform_address_space base;
	struct mock_page pages[NR_PAGES];
	struct mock_op queue[QUEUE_MAX];
	size_t queued;
};

static void mock_apply(struct mock_as *as)
{
	size_t i;
	uint64_t p;

	for (i = 0; i < as->queued; i++) {
		struct mock_op *op = &as->queue[i];

		for (p = 0; p < op->len / PAGE_SIZE; p++) {
			struct mock_page *pg =
				&as->pages[(op->addr - BASE) / PAGE_SIZE + p];

			pg->mapped = op->prot != 0;
			pg->fd = op->fd;
			pg->prot = op->prot;
			pg->off = op->off + p * PAGE_SIZE;
		}
	}
	as->queued = 0;
}

static int mock_queue(struct platform_address_space *base,
		      struct platform_context *ctx, struct mock_op op)
{
	struct mock_as *as = container_of(base, struct mock_as, base);

	/* Without a context it may not be deferred. */
	if (!ctx || as->queued == QUEUE_MAX)
		return -ENOMEM;
	as->queue[as->queued++] = op;
	return 0;
}

static int mock_map(struct platform_address_space *as,
		    struct platform_context *ctx, uint64_t addr, int fd,
		    uint64_t off, uint64_t len, int prot, bool precommit)
{
	(void)precommit;
	return mock_queue(as, ctx, (struct mock_op){ addr, len, off, fd,
						     prot });
}

static int mock_unmap(struct platform_address_space *as,
		      struct platform_context *ctx, uint64_t addr,
		      uint64_t len)
{
	return mock_queue(as, ctx, (struct mock_op){ addr, len, 0, -1, 0 });
}

static int flush_error;

static int mock_flush(struct platform_address_space *as,
		      struct platform_context *ctx)
{
	(void)ctx;
	if (flush_error)
		return flush_error;
	mock_apply(container_of(as, struct mock_as, base));
	return 0;
}

static int mock_new_as(struct platform *p, struct platform_address_space **out)
{
	struct mock_as *as = calloc(1, sizeof(*as));

	as->base.platform = p;
	*out = &as->base;
	return 0;
}

static void mock_as_release(struct platform_address_space *as)
{
	free(container_of(as, struct mock_as, base));
}

static void mock_nothing(struct platform_address_space *as)
{
	(void)as;
}

static const struct platform_ops mock_ops = {
	.new_address_space = mock_new_as,
	.map_file = mock_map,
	.unmap = mock_unmap,
	.flush = mock_flush,
	.pre_fork = mock_nothing,
	.post_fork = mock_nothing,
	.address_space_release = mock_as_release,
};

/* A host file that can be mapped. */
static int test_file_mmap(struct task *t, struct file *f,
			  struct file_mmap *out)
{
	(void)t;
	out->host_fd = f->host_fd;
	return 0;
}

static ssize_t test_file_readv(struct task *t, struct file *f,
			       const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n = preadv(f->host_fd, iov, cnt, off);

	(void)t;
	return n < 0 ? -errno : n;
}

static void test_file_release(struct file *f)
{
	(void)f;
}

static const struct file_ops test_file_ops = {
	.release = test_file_release,
	.readv = test_file_readv,
	.mmap = test_file_mmap,
};

/* The model: what each page of each process is and holds. */
enum page_kind { PG_NONE, PG_PRIVATE, PG_FILE_PRIVATE, PG_SHARED };

struct model_page {
	enum page_kind kind;
	int prot;
	unsigned char value; /* PG_PRIVATE */
	unsigned char *shared; /* PG_SHARED, and PG_FILE_PRIVATE */
};

struct proc {
	bool alive;
	struct task *t;
	struct model_page pages[NR_PAGES];
};

FIXTURE(mm)
{
	struct platform platform;
	struct kernel *kernel;
	struct thread_group *tg;
	struct file *files[2]; /* mapped private, mapped shared */
	unsigned char contents[2][FILE_PAGES];
	struct proc procs[MAX_PROCS];
	unsigned int seed;
	unsigned long checks;
};

static unsigned int rnd(FIXTURE_DATA(mm) *s, unsigned int n)
{
	return (unsigned int)rand_r(&s->seed) % n;
}

static struct task *new_task(FIXTURE_DATA(mm) *s)
{
	struct task *t = calloc(1, sizeof(*t));

	t->ctx = calloc(1, sizeof(*t->ctx));
	t->kernel = s->kernel;
	t->tg = s->tg;
	return t;
}

static struct file *new_file(FIXTURE_DATA(mm) *s, int nr)
{
	struct file *f = file_alloc(&test_file_ops, O_RDWR);
	int i;

	f->host_fd = memfd_create("test", MFD_CLOEXEC);
	if (ftruncate(f->host_fd, FILE_PAGES * PAGE_SIZE))
		abort();
	for (i = 0; i < FILE_PAGES; i++) {
		s->contents[nr][i] = (unsigned char)(100 + nr * 50 + i);
		if (pwrite(f->host_fd, &s->contents[nr][i], 1,
			   i * (off_t)PAGE_SIZE) != 1)
			abort();
	}
	return f;
}

FIXTURE_SETUP(mm)
{
	self->platform = (struct platform){
		.ops = &mock_ops,
		.min_user_address = BASE,
		.max_user_address = BASE + NR_PAGES * PAGE_SIZE,
	};
	self->kernel = calloc(1, sizeof(*self->kernel));
	self->tg = calloc(1, sizeof(*self->tg));
	self->kernel->platform = &self->platform;
	pthread_mutex_init(&self->kernel->tasks_lock, NULL);
	ASSERT_EQ(0, memory_file_create(&self->kernel->memory_file));
	self->files[0] = new_file(self, 0);
	self->files[1] = new_file(self, 1);
	self->procs[0].t = new_task(self);
	self->procs[0].alive = true;
	ASSERT_EQ(0, mm_create(self->kernel, &self->procs[0].t->mm));
	mm_add_task(self->procs[0].t->mm, self->procs[0].t);
}

static void end_proc(struct proc *p)
{
	mm_remove_task(p->t->mm);
	mm_put(p->t->mm);
	free(p->t->ctx);
	free(p->t);
	p->alive = false;
}

FIXTURE_TEARDOWN(mm)
{
	int i;

	for (i = 0; i < MAX_PROCS; i++)
		if (self->procs[i].alive)
			end_proc(&self->procs[i]);
	/* Every page has been given back. */
	EXPECT_EQ(0ul, memory_file_usage(self->kernel->memory_file));
	memory_file_destroy(self->kernel->memory_file);
}

static long call(struct task *t, int nr, uint64_t a, uint64_t b, uint64_t c,
		 uint64_t d, uint64_t e)
{
	const uint64_t args[6] = { a, b, c, d, e, 0 };

	return syscall_table[nr]->fn(t, args);
}

/* An access by the program: -1 if it ends in a signal, else the byte. */
static int program_access(struct proc *p, uint64_t addr, bool write,
			  unsigned char value)
{
	struct mock_as *as = container_of(mm_address_space(p->t->mm),
					  struct mock_as, base);
	struct mock_page *pg = &as->pages[(addr - BASE) / PAGE_SIZE];
	uint32_t access = write ? PLATFORM_ACCESS_WRITE : PLATFORM_ACCESS_READ;
	int tries;

	for (tries = 0; tries < 4; tries++) {
		mock_apply(as);
		if (pg->mapped && (pg->prot & (write ? PROT_WRITE :
						       PROT_READ))) {
			if (write && pwrite(pg->fd, &value, 1,
					    (off_t)pg->off) != 1)
				return -2;
			if (pread(pg->fd, &value, 1, (off_t)pg->off) != 1)
				return -2;
			return value;
		}
		if (mm_handle_fault(p->t, addr, access))
			return -1;
	}
	return -3; /* never gets anywhere */
}

/* The same by the sentry on the program's behalf. */
static int sentry_access(struct proc *p, uint64_t addr, bool write,
			 unsigned char value)
{
	int err = write ? copy_to_user(p->t, addr, &value, 1) :
			  copy_from_user(p->t, &value, addr, 1);

	return err ? -1 : value;
}

static int model_access(struct proc *p, uint64_t addr, bool write,
			unsigned char value)
{
	struct model_page *pg = &p->pages[(addr - BASE) / PAGE_SIZE];

	if (pg->kind == PG_NONE || pg->prot == PROT_NONE ||
	    (write && !(pg->prot & PROT_WRITE)))
		return -1;
	if (write) {
		if (pg->kind == PG_FILE_PRIVATE)
			pg->kind = PG_PRIVATE;
		if (pg->kind == PG_SHARED)
			*pg->shared = value;
		else
			pg->value = value;
	}
	return pg->kind == PG_PRIVATE ? pg->value : *pg->shared;
}

static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
			     PROT_READ | PROT_WRITE };

/* Leaks on purpose: shared memory may outlive every process of the model. */
static unsigned char *model_object(size_t pages)
{
	return calloc(pages, 1);
}

static void do_mmap(struct __test_metadata *_metadata, FIXTURE_DATA(mm) *self,
		    struct proc *p, uint64_t at, uint64_t pages)
{
	unsigned int kind = rnd(self, 4);
	int prot = prots[rnd(self, ARRAY_SIZE(prots))];
	uint64_t addr = BASE + at * PAGE_SIZE, i, off = 0;
	unsigned char *object = NULL;
	struct file *file = NULL;
	int64_t ret;

	if (kind >= 2) {
		file = self->files[kind - 2];
		pages = MIN(pages, (uint64_t)FILE_PAGES);
		off = rnd(self, FILE_PAGES - pages + 1);
		object = &self->contents[kind - 2][off];
	} else if (kind == 1) {
		object = model_object(pages);
	}
	ret = mm_map_file(p->t, addr, pages * PAGE_SIZE, prot,
			  MAP_FIXED | (kind & 1 ? MAP_SHARED : MAP_PRIVATE),
			  file, off * PAGE_SIZE);
	ASSERT_EQ((int64_t)addr, ret);
	for (i = 0; i < pages; i++)
		p->pages[at + i] = (struct model_page){
			.kind = kind == 0 ? PG_PRIVATE :
				kind == 2 ? PG_FILE_PRIVATE : PG_SHARED,
			.prot = prot,
			.shared = object ? object + i : NULL,
		};
}

static void do_mprotect(struct __test_metadata *_metadata,
			FIXTURE_DATA(mm) *self, struct proc *p, uint64_t at,
			uint64_t pages)
{
	int prot = prots[rnd(self, ARRAY_SIZE(prots))];
	bool whole = true;
	uint64_t i;
	long ret;

	for (i = 0; i < pages; i++)
		whole &= p->pages[at + i].kind != PG_NONE;
	ret = call(p->t, SYS_mprotect, BASE + at * PAGE_SIZE,
		   pages * PAGE_SIZE, (uint64_t)prot, 0, 0);
	ASSERT_EQ(whole ? 0 : -ENOMEM, ret);
	for (i = 0; whole && i < pages; i++)
		p->pages[at + i].prot = prot;
}

static void do_dontneed(struct __test_metadata *_metadata,
			struct proc *p, uint64_t at)
{
	struct model_page *pg = &p->pages[at];
	long ret;

	/* One page: what happens to a range with holes is not of interest. */
	ret = call(p->t, SYS_madvise, BASE + at * PAGE_SIZE, PAGE_SIZE,
		   MADV_DONTNEED, 0, 0);
	ASSERT_EQ(pg->kind == PG_NONE ? -ENOMEM : 0, ret);
	if (pg->kind != PG_PRIVATE)
		return;
	/* A written page of a file shows the file again. */
	if (pg->shared)
		pg->kind = PG_FILE_PRIVATE;
	pg->value = 0;
}

static void do_mremap(struct __test_metadata *_metadata,
		      FIXTURE_DATA(mm) *self, struct proc *p, uint64_t at,
		      uint64_t pages)
{
	uint64_t to = rnd(self, NR_PAGES - pages), i;
	struct model_page moved[NR_PAGES];
	long ret;

	for (i = 0; i < pages; i++)
		if (p->pages[at + i].kind != PG_PRIVATE ||
		    p->pages[at + i].shared ||
		    p->pages[at + i].prot != p->pages[at].prot)
			return;
	if (to < at + pages && at < to + pages)
		return;
	ret = call(p->t, SYS_mremap, BASE + at * PAGE_SIZE, pages * PAGE_SIZE,
		   pages * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   BASE + to * PAGE_SIZE);
	/* Neighbours may be different mappings, which it refuses. */
	if (ret == -EFAULT)
		return;
	ASSERT_EQ((long)(BASE + to * PAGE_SIZE), ret);
	memcpy(moved, &p->pages[at], pages * sizeof(moved[0]));
	memset(&p->pages[at], 0, pages * sizeof(moved[0]));
	memcpy(&p->pages[to], moved, pages * sizeof(moved[0]));
}

static void do_fork(struct __test_metadata *_metadata, FIXTURE_DATA(mm) *self,
		    struct proc *p)
{
	struct proc *child = &self->procs[rnd(self, MAX_PROCS)];

	if (child == p)
		return;
	if (child->alive)
		end_proc(child);
	child->t = new_task(self);
	ASSERT_EQ(0, mm_fork(p->t, &child->t->mm));
	mm_add_task(child->t->mm, child->t);
	memcpy(child->pages, p->pages, sizeof(p->pages));
	child->alive = true;
}

static void do_access(struct __test_metadata *_metadata,
		      FIXTURE_DATA(mm) *self, struct proc *p, uint64_t at)
{
	bool write = rnd(self, 2), by_sentry = rnd(self, 2);
	unsigned char value = (unsigned char)rnd(self, 256);
	uint64_t addr = BASE + at * PAGE_SIZE;
	int want = model_access(p, addr, write, value);
	int got = by_sentry ? sentry_access(p, addr, write, value) :
			      program_access(p, addr, write, value);

	ASSERT_EQ(want, got)
	{
		TH_LOG("page %lu %s by %s, kind %d prot %d", at,
		       write ? "written" : "read",
		       by_sentry ? "the sentry" : "the program",
		       p->pages[at].kind, p->pages[at].prot);
	}
	self->checks++;
}

static void step(struct __test_metadata *_metadata, FIXTURE_DATA(mm) *self)
{
	struct proc *p = &self->procs[rnd(self, MAX_PROCS)];
	uint64_t pages = 1 + rnd(self, rnd(self, 4) ? 8 : 80);
	uint64_t at = rnd(self, (unsigned int)(NR_PAGES - pages));

	if (!p->alive)
		p = &self->procs[0];
	if (!p->alive)
		return;
	switch (rnd(self, 40)) {
	case 0 ... 3:
		do_mmap(_metadata, self, p, at, pages);
		break;
	case 4 ... 5:
		ASSERT_EQ(0, call(p->t, SYS_munmap, BASE + at * PAGE_SIZE,
				  pages * PAGE_SIZE, 0, 0, 0));
		memset(&p->pages[at], 0, pages * sizeof(p->pages[0]));
		break;
	case 6 ... 8:
		do_mprotect(_metadata, self, p, at, pages);
		break;
	case 9:
		do_fork(_metadata, self, p);
		break;
	case 10:
		do_dontneed(_metadata, p, at);
		break;
	case 11:
		do_mremap(_metadata, self, p, at, pages);
		break;
	default:
		do_access(_metadata, self, p, at);
	}
}

TEST_F(mm, agrees_with_the_model)
{
	unsigned int seed, i;

	syscall_table_init();
	for (seed = 1; seed <= 100; seed++) {
		self->seed = seed;
		for (i = 0; i < 5000; i++)
			step(_metadata, self);
	}
	ASSERT_LT(10000ul, self->checks);
}

TEST_F(mm, pinned_memory_survives_unmapping)
{
	struct proc *p = &self->procs[0];
	struct user_buffer ub;
	uint64_t off;

	syscall_table_init();
	mm_add_task(p->t->mm, p->t); /* a second task, which could unmap */
	ASSERT_EQ((int64_t)BASE, mm_map_file(p->t, BASE, 4 * PAGE_SIZE,
					     PROT_READ | PROT_WRITE,
					     MAP_FIXED | MAP_PRIVATE, NULL,
					     0));
	ASSERT_EQ(8192, user_buffer_pin(p->t, &ub, BASE + 100, 8192, true));
	ASSERT_EQ(0, call(p->t, SYS_munmap, BASE, 4 * PAGE_SIZE, 0, 0, 0));
	/* Whatever is allocated now must be somewhere else. */
	ASSERT_EQ(0, memory_file_alloc(self->kernel->memory_file,
				       4 * PAGE_SIZE, &off));
	memset(ub.iov[0].iov_base, 0xaa, ub.iov[0].iov_len);
	EXPECT_EQ(0, *(char *)memory_file_ptr(self->kernel->memory_file, off));
	memory_file_unref(self->kernel->memory_file, off, 4 * PAGE_SIZE);
	user_buffer_unpin(&ub, 0);
	mm_remove_task(p->t->mm);
}

/* Other tasks run on until the process is killed. */
TEST_F(mm, what_may_still_be_seen_is_not_freed)
{
	struct memory_file *mf = self->kernel->memory_file;
	struct proc *p = &self->procs[0];
	struct task *child = new_task(self);
	uint64_t old;

	syscall_table_init();
	ASSERT_EQ((int64_t)BASE, mm_map_file(p->t, BASE, 512 << 10, PROT_READ | PROT_WRITE,
					     MAP_FIXED | MAP_PRIVATE, NULL, 0));
	ASSERT_EQ(0, mm_handle_fault(p->t, BASE, PLATFORM_ACCESS_WRITE));
	mm_add_task(p->t->mm, p->t);
	ASSERT_EQ(0, mm_fork(p->t, &child->mm));
	mm_add_task(child->mm, child);
	old = pma_at(p->t->mm, BASE)->off;
	flush_error = -ENOMEM;
	EXPECT_EQ(-ENOMEM, mm_handle_fault(p->t, BASE, PLATFORM_ACCESS_WRITE));
	flush_error = 0;
	EXPECT_NE(old, pma_at(p->t->mm, BASE)->off);
	mm_remove_task(child->mm);
	mm_put(child->mm);
	EXPECT_TRUE(memory_file_exclusive(mf, old, PAGE_SIZE));
	mm_remove_task(p->t->mm);
	free(child->ctx);
	free(child);
}

TEST_F(mm, many_areas_are_broken_in_larger_pieces)
{
	struct proc *p = &self->procs[0];
	struct mm *mm = p->t->mm;
	struct task *child = new_task(self);
	struct pma *area;

	syscall_table_init();
	ASSERT_EQ((int64_t)BASE, mm_map_file(p->t, BASE, 1 << 20, PROT_READ | PROT_WRITE,
					     MAP_FIXED | MAP_PRIVATE, NULL, 0));
	ASSERT_EQ(0, mm_handle_fault(p->t, BASE, PLATFORM_ACCESS_WRITE));
	ASSERT_EQ(0, mm_fork(p->t, &child->mm));
	mm_add_task(child->mm, child);
	EXPECT_EQ(1u, mm->nr_pmas);
	ASSERT_EQ(0, mm_handle_fault(p->t, BASE, PLATFORM_ACCESS_WRITE));
	area = pma_at(mm, BASE);
	EXPECT_EQ(COW_WINDOW, area->end - area->start);
	EXPECT_EQ(2u, mm->nr_pmas);
	mm->nr_pmas += 3 * COW_AREAS;
	ASSERT_EQ(0, mm_handle_fault(p->t, BASE + (512 << 10), PLATFORM_ACCESS_WRITE));
	mm->nr_pmas -= 3 * COW_AREAS;
	area = pma_at(mm, BASE + (512 << 10));
	EXPECT_EQ(8 * COW_WINDOW, area->end - area->start);
	EXPECT_EQ(3u, mm->nr_pmas);
	mm_remove_task(child->mm);
	mm_put(child->mm);
	free(child->ctx);
	free(child);
}

static void fault_once(int signo)
{
	(void)signo;
}

static void fault_behind_the_end(void)
{
	const struct sigaction sa = { .sa_handler = fault_once, .sa_flags = SA_RESETHAND };
	int fd = memfd_create("empty", MFD_CLOEXEC);
	struct pma p = { .end = PAGE_SIZE, .host_fd = fd };
	uint32_t old;

	sigaction(SIGBUS, &sa, NULL);
	if (host_word_apply(&p, 0, WORD_SWAP, 0, 1, &old) != -EFAULT)
		_exit(1);
	alarm(20);
	_exit(*(volatile char *)mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0));
}

TEST(a_fault_of_the_sentry_ends_it)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		fault_behind_the_end();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
}

/* Runs of random lengths, scribbled on here and there, freed in parts and any order. */
TEST_F(mm, freed_pages_read_as_zero_when_they_come_back)
{
	enum { RUNS = 40, ROUNDS = 4000, PAGES_MAX = 600 };
	struct memory_file *mf = self->kernel->memory_file;
	struct { uint64_t off, pages; } runs[RUNS] = { 0 };
	unsigned int i, n, bad = 0;
	uint64_t *words, page;

	for (i = 0; i < ROUNDS && !bad; i++) {
		n = rnd(self, RUNS);
		if (runs[n].off) {
			/* The last page goes last. */
			memory_file_unref(mf, runs[n].off, (runs[n].pages - 1) * PAGE_SIZE);
			memory_file_unref(mf, runs[n].off + (runs[n].pages - 1) * PAGE_SIZE,
					  PAGE_SIZE);
		}
		runs[n].pages = 2 + rnd(self, rnd(self, 4) ? 20 : PAGES_MAX);
		ASSERT_EQ(0, memory_file_alloc(mf, runs[n].pages * PAGE_SIZE, &runs[n].off));
		words = memory_file_ptr(mf, runs[n].off);
		for (page = 0; page < runs[n].pages; page += 1 + rnd(self, 4)) {
			uint64_t *word = words + page * 512 + rnd(self, 512);

			bad += *word != 0 || words[page * 512] != 0;
			*word = words[page * 512] = i + 1;
		}
	}
	EXPECT_EQ(0u, bad);
	for (n = 0; n < RUNS; n++) {
		if (runs[n].off)
			memory_file_unref(mf, runs[n].off, runs[n].pages * PAGE_SIZE);
	}
}

/* Else every first store costs what a new page of a file costs. */
TEST_F(mm, freed_pages_are_kept_up_to_a_limit)
{
	struct memory_file *mf = self->kernel->memory_file;
	const uint64_t small = 8ul << 20, large = 64ul << 20;
	uint64_t off, again;
	struct stat st;

	ASSERT_EQ(0, memory_file_alloc(mf, small, &off));
	memset(memory_file_ptr(mf, off), 1, small);
	memory_file_unref(mf, off, small);
	ASSERT_EQ(0, memory_file_alloc(mf, small, &again));
	EXPECT_EQ(off, again);
	ASSERT_EQ(0, fstat(memory_file_fd(mf), &st));
	EXPECT_LE(small, (uint64_t)st.st_blocks * 512);
	EXPECT_EQ(0, *(char *)memory_file_ptr(mf, again + small - 1));
	memory_file_unref(mf, again, small);
	ASSERT_EQ(0, memory_file_alloc(mf, large, &off));
	memset(memory_file_ptr(mf, off), 1, large);
	memory_file_unref(mf, off, large);
	ASSERT_EQ(0, fstat(memory_file_fd(mf), &st));
	EXPECT_GT(small, (uint64_t)st.st_blocks * 512);
}

TEST_F(mm, a_copy_takes_no_memory_for_what_nobody_has_touched)
{
	struct memory_file *mf = self->kernel->memory_file;
	int fd = memory_file_fd(mf);
	uint64_t from, to;
	char *src, *dst;

	ASSERT_EQ(0, memory_file_alloc(mf, 16 * PAGE_SIZE, &from));
	ASSERT_EQ(0, memory_file_alloc(mf, 16 * PAGE_SIZE, &to));
	src = memory_file_ptr(mf, from);
	dst = memory_file_ptr(mf, to);
	memory_file_copy(mf, to, from, 16 * PAGE_SIZE);
	EXPECT_LE((off_t)(to + 16 * PAGE_SIZE), (uint64_t)lseek(fd, (off_t)to, SEEK_DATA));
	/* The first page, one in the middle, the last. */
	src[0] = 1;
	src[5 * PAGE_SIZE + 7] = 2;
	src[16 * PAGE_SIZE - 1] = 3;
	memory_file_copy(mf, to, from, 16 * PAGE_SIZE);
	EXPECT_EQ((off_t)(to + PAGE_SIZE), lseek(fd, (off_t)to, SEEK_HOLE));
	EXPECT_EQ((off_t)(to + 5 * PAGE_SIZE), lseek(fd, (off_t)(to + PAGE_SIZE), SEEK_DATA));
	EXPECT_EQ((off_t)(to + 6 * PAGE_SIZE), lseek(fd, (off_t)(to + 5 * PAGE_SIZE), SEEK_HOLE));
	EXPECT_EQ(0, memcmp(src, dst, 16 * PAGE_SIZE));
	memory_file_unref(mf, from, 16 * PAGE_SIZE);
	memory_file_unref(mf, to, 16 * PAGE_SIZE);
}

TEST_F(mm, strings_end_at_the_first_bad_page)
{
	struct proc *p = &self->procs[0];
	char buf[PAGE_SIZE];

	ASSERT_EQ((int64_t)BASE, mm_map_file(p->t, BASE, PAGE_SIZE,
					     PROT_READ | PROT_WRITE,
					     MAP_FIXED | MAP_PRIVATE, NULL,
					     0));
	ASSERT_EQ(0, copy_to_user(p->t, BASE + PAGE_SIZE - 4, "abc", 4));
	EXPECT_EQ(3, strncpy_from_user(p->t, buf, BASE + PAGE_SIZE - 4,
				       sizeof(buf)));
	EXPECT_EQ(-ENAMETOOLONG,
		  strncpy_from_user(p->t, buf, BASE + PAGE_SIZE - 4, 3));
	ASSERT_EQ(0, copy_to_user(p->t, BASE + PAGE_SIZE - 4, "abcd", 4));
	EXPECT_EQ(-EFAULT, strncpy_from_user(p->t, buf, BASE + PAGE_SIZE - 4,
					     sizeof(buf)));
	EXPECT_EQ(-EFAULT, copy_from_user(p->t, buf, BASE + PAGE_SIZE - 1, 2));
	EXPECT_EQ(-EFAULT, copy_from_user(p->t, buf, ~0ull - 1, 8));
}

TEST_HARNESS_MAIN
