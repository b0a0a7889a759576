// SPDX-License-Identifier: MIT
/*
 * sentry_loader_test.c - the loader against files that lie
 *
 * Programs are loaded on a platform that checks what it is asked to map and
 * maps nothing. Whatever a file says, loading ends in success or an error that
 * execve(2) documents, and gives back all memory when the mm goes.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sentry/fs.h"
#include "sentry/mm.h"
#include "sentry/task.h"

#include "kselftest_harness.h"
#include "patience.h"

#define IMAGE_SIZE (64 * 1024)
#define MIN_ADDR 0x10000ull
#define MAX_ADDR 0x7ffffffde000ull

static unsigned long bad_requests;

static int check_range(uint64_t addr, uint64_t len)
{
	if ((addr | len) & (PAGE_SIZE - 1) || !len || addr < MIN_ADDR ||
	    addr >= MAX_ADDR || len > MAX_ADDR - addr)
		bad_requests++;
	return 0;
}

static int null_map(struct platform_address_space *as,
		    struct platform_context *ctx, uint64_t addr, int fd,
		    uint64_t off, uint64_t len, int prot, bool precommit)
{
	if (fd < 0 || !prot || off & (PAGE_SIZE - 1))
		bad_requests++;
	return check_range(addr, len);
}

static int null_unmap(struct platform_address_space *as,
		      struct platform_context *ctx, uint64_t addr,
		      uint64_t len)
{
	return check_range(addr, len);
}

static int null_new_as(struct platform *p, struct platform_address_space **out)
{
	*out = calloc(1, sizeof(**out));
	(*out)->platform = p;
	return 0;
}

static void null_as_release(struct platform_address_space *as)
{
	free(as);
}

static int null_pull_full_state(struct platform_context *ctx)
{
	return 0;
}

static void null_full_state_changed(struct platform_context *ctx)
{
}

static const struct platform_ops null_ops = {
	.new_address_space = null_new_as,
	.pull_full_state = null_pull_full_state,
	.full_state_changed = null_full_state_changed,
	.map_file = null_map,
	.unmap = null_unmap,
	.address_space_release = null_as_release,
};

static int image_mmap(struct task *t, struct file *f, struct file_mmap *out)
{
	out->host_fd = f->host_fd;
	return 0;
}

static ssize_t image_readv(struct task *t, struct file *f,
			   const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n = preadv(f->host_fd, iov, cnt, off);

	return n < 0 ? -errno : n;
}

static void image_release(struct file *f)
{
}

static const struct file_ops image_ops = {
	.release = image_release,
	.readv = image_readv,
	.mmap = image_mmap,
};

FIXTURE(loader)
{
	struct platform platform;
	struct platform_context ctx;
	struct user_regs_struct regs;
	struct kernel *kernel;
	struct thread_group *tg;
	struct task *t;
	struct file *file;
	unsigned char image[IMAGE_SIZE];
	unsigned int seed;
};

/* A small static program: text, data with bss. */
static void make_image(unsigned char *image)
{
	Elf64_Ehdr *eh = (Elf64_Ehdr *)image;
	Elf64_Phdr *ph = (Elf64_Phdr *)(eh + 1);

	memset(image, 0, IMAGE_SIZE);
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_X86_64;
	eh->e_version = EV_CURRENT;
	eh->e_entry = 0x401000;
	eh->e_phoff = sizeof(*eh);
	eh->e_ehsize = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 3;
	ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_X,
			      .p_vaddr = 0x400000, .p_filesz = 0x2000,
			      .p_memsz = 0x2000, .p_align = 0x1000 };
	ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W,
			      .p_offset = 0x3010, .p_vaddr = 0x403010,
			      .p_filesz = 0x123, .p_memsz = 0x5000,
			      .p_align = 0x1000 };
	ph[2] = (Elf64_Phdr){ .p_type = PT_GNU_STACK,
			      .p_flags = PF_R | PF_W };
}

FIXTURE_SETUP(loader)
{
	self->platform = (struct platform){
		.ops = &null_ops,
		.min_user_address = MIN_ADDR,
		.max_user_address = MAX_ADDR,
	};
	self->kernel = calloc(1, sizeof(*self->kernel));
	self->tg = calloc(1, sizeof(*self->tg));
	self->t = calloc(1, sizeof(*self->t));
	self->kernel->platform = &self->platform;
	pthread_mutex_init(&self->kernel->tasks_lock, NULL);
	pthread_mutex_init(&self->tg->lock, NULL);
	ASSERT_EQ(0, memory_file_create(&self->kernel->memory_file));
	self->ctx.platform = &self->platform;
	self->ctx.state.regs = &self->regs;
	self->t->ctx = &self->ctx;
	self->t->regs = &self->regs;
	self->t->kernel = self->kernel;
	self->t->tg = self->tg;
	self->file = file_alloc(&image_ops, O_RDONLY);
	self->file->host_fd = memfd_create("image", MFD_CLOEXEC);
	make_image(self->image);
	bad_requests = 0;
}

FIXTURE_TEARDOWN(loader)
{
	if (self->t->mm) {
		mm_remove_task(self->t->mm);
		mm_put(self->t->mm);
	}
	EXPECT_EQ(0, (long)memory_file_usage(self->kernel->memory_file));
	EXPECT_EQ(0, (long)bad_requests);
	memory_file_destroy(self->kernel->memory_file);
}

static int load(FIXTURE_DATA(loader) *self, size_t size)
{
	static char *const argv[] = { (char *)"prog", (char *)"arg", NULL };
	static char *const envp[] = { (char *)"A=b", NULL };

	if (ftruncate(self->file->host_fd, 0) ||
	    pwrite(self->file->host_fd, self->image, size, 0) !=
		    (ssize_t)size)
		abort();
	return exec_load(self->t, "/bin/prog", file_get(self->file), argv,
			 envp);
}

TEST_F(loader, a_good_program_starts_as_the_abi_says)
{
	uint64_t argc, arg0;
	char buf[8];

	ASSERT_EQ(0, load(self, IMAGE_SIZE));
	EXPECT_EQ(0x401000, (long)self->regs.rip);
	EXPECT_EQ(0, (long)(self->regs.rsp & 15));
	ASSERT_EQ(0, get_user_u64(self->t, &argc, self->regs.rsp));
	EXPECT_EQ(2, (long)argc);
	ASSERT_EQ(0, get_user_u64(self->t, &arg0, self->regs.rsp + 8));
	ASSERT_EQ(4, strncpy_from_user(self->t, buf, arg0, sizeof(buf)));
	EXPECT_STREQ("prog", buf);
}

TEST_F(loader, bss_is_zero_where_the_file_is_not)
{
	unsigned char byte = 1;

	self->image[0x3132] = 7; /* the last byte of data */
	self->image[0x3133] = 9; /* the first of bss */
	ASSERT_EQ(0, load(self, IMAGE_SIZE));
	ASSERT_EQ(0, copy_from_user(self->t, &byte, 0x403132, 1));
	EXPECT_EQ(7, byte);
	ASSERT_EQ(0, copy_from_user(self->t, &byte, 0x403133, 1));
	EXPECT_EQ(0, byte);
	ASSERT_EQ(0, copy_from_user(self->t, &byte, 0x40800f, 1));
	EXPECT_EQ(0, byte);
	EXPECT_EQ(-EFAULT, copy_from_user(self->t, &byte, 0x409000, 1));
}

TEST_F(loader, every_length_of_a_truncated_file_is_survived)
{
	size_t size;

	for (size = 0; size < 0x4000; size += size < 512 ? 1 : 61) {
		int err = load(self, size);

		EXPECT_TRUE(err == 0 || err == -ENOEXEC)
		{
			TH_LOG("%zu bytes: %d", size, err);
		}
	}
}

/* Values that arithmetic goes wrong on. */
static uint64_t nasty(FIXTURE_DATA(loader) *self)
{
	static const uint64_t values[] = {
		0, 1, 7, 0xfff, 0x1000, 0x1001, 0x7fffffff, 0x80000000,
		0xffffffff, 1ull << 46, (1ull << 47) - 1, MAX_ADDR,
		MAX_ADDR - 0x1000, 1ull << 63, ~0ull, ~0ull - 0xfff, ~0ull << 12,
	};

	return values[(unsigned int)rand_r(&self->seed) % ARRAY_SIZE(values)];
}

static void mutate(FIXTURE_DATA(loader) *self)
{
	size_t limit = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
	int i, n = 1 + rand_r(&self->seed) % 3;
	uint64_t value;
	size_t at, len;

	for (i = 0; i < n; i++) {
		at = (size_t)rand_r(&self->seed) % limit;
		len = 1u << rand_r(&self->seed) % 4;
		at &= ~(len - 1);
		value = nasty(self);
		memcpy(self->image + at, &value, len);
	}
}

static bool documented(int err)
{
	return err == 0 || err == -ENOEXEC || err == -ENOMEM ||
	       err == -EINVAL || err == -ELIBBAD || err == -ENOENT ||
	       err == -EPERM || err == -EIO || err == -EACCES;
}

TEST_F(loader, mutated_headers_are_survived)
{
	int i, loaded = 0, refused = 0, err;

	for (i = 0; i < 20000; i++) {
		self->seed = (unsigned int)i + 1;
		make_image(self->image);
		mutate(self);
		err = load(self, 0x4000);
		ASSERT_TRUE(documented(err))
		{
			TH_LOG("mutation %d: %d", i, err);
		}
		err ? refused++ : loaded++;
	}
	/* Both happen, or the mutations are no good. */
	EXPECT_LT(1000, loaded);
	EXPECT_LT(1000, refused);
}

TEST_F(loader, scripts_without_an_interpreter_are_refused)
{
	static const char *const scripts[] = { "#!", "#!\n", "#! \t \n",
					       "#!  " };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(scripts); i++) {
		memset(self->image, 0, 64);
		strcpy((char *)self->image, scripts[i]);
		EXPECT_EQ(-ENOEXEC, load(self, strlen(scripts[i])));
	}
	memset(self->image, 'a', 4096);
	memcpy(self->image, "#!/", 3);
	EXPECT_EQ(-ENOEXEC, load(self, 4096));
}

TEST_F(loader, argument_lists_that_do_not_fit_are_refused)
{
	char *argv[] = { NULL, NULL };
	char *const envp[] = { NULL };

	if (pwrite(self->file->host_fd, self->image, IMAGE_SIZE, 0) < 0)
		abort();
	argv[0] = malloc(40 * PAGE_SIZE);
	memset(argv[0], 'x', 40 * PAGE_SIZE);
	argv[0][40 * PAGE_SIZE - 1] = '\0';
	EXPECT_EQ(-E2BIG, exec_load(self->t, "/bin/prog",
				    file_get(self->file), argv, envp));
	argv[0][32 * PAGE_SIZE - 1] = '\0';
	EXPECT_EQ(0, exec_load(self->t, "/bin/prog", file_get(self->file),
			       argv, envp));
	free(argv[0]);
}

TEST_HARNESS_MAIN
