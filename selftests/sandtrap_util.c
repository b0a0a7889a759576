// SPDX-License-Identifier: MIT
/*
 * sandtrap_util.c - the module's interface, nearly bare, for tests of it
 */
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/rseq.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandtrap_util.h"

const char *box_why_skip(void)
{
	if (!access(SANDTRAP_DEVICE, R_OK | W_OK))
		return NULL;
	if (getenv("SANDTRAP_MUST_WORK") &&
	    !strcmp(getenv("SANDTRAP_MUST_WORK"), "1"))
		return NULL;
	return "no " SANDTRAP_DEVICE ": run make vm CMD='build/selftests/NAME'";
}

long box_rseq(int flags)
{
	if (!__rseq_size)
		return 0;
	return syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
		       sizeof(struct rseq), flags, RSEQ_SIG);
}

void box_allow_everything(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		_exit(100);
}

int box_write(const char *dir, const char *file, const char *text)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

uint64_t box_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* life */

int box_open_instance(struct box *b)
{
	memset(b, 0, sizeof(*b));
	b->as = b->mem = -1;
	b->fd = open(SANDTRAP_DEVICE, O_RDWR | O_CLOEXEC);
	if (b->fd < 0)
		return -errno;
	b->info.size = sizeof(b->info);
	if (ioctl(b->fd, SANDTRAP_GET_INFO, &b->info))
		return -errno;
	return 0;
}

static int open_memory(struct box *b)
{
	b->mem = memfd_create("box", MFD_CLOEXEC);
	if (b->mem < 0 || ftruncate(b->mem, BOX_FILE_SIZE))
		return -errno;
	b->file = mmap(NULL, BOX_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       b->mem, 0);
	return b->file == MAP_FAILED ? -errno : 0;
}

bool box_is_direct(void)
{
	const char *mode = getenv("SANDTRAP_MODE");

	return mode && !strcmp(mode, "direct");
}

/* The kernel logs a fault of a process that has no handler for its signal. */
static void once(int sig)
{
}

void box_fit_for_direct(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction sa = {
		.sa_handler = once,
		.sa_flags = SA_RESETHAND,
	};
	unsigned int i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &sa, NULL);
	box_rseq(RSEQ_FLAG_UNREGISTER);
}

int box_open(struct box *b)
{
	return box_open_on(b, -1, NULL);
}

int box_open_on(struct box *b, int mem, void *file)
{
	int err = box_open_instance(b);

	if (!err)
		err = platform_find_vdso(&b->vdso);
	if (!err)
		err = stub_template_start(&b->stubs, &b->vdso, false);
	b->mem = mem;
	b->file = file;
	if (!err && mem < 0)
		err = open_memory(b);
	if (!err)
		err = box_new_space(b, &b->as);
	if (!err)
		err = box_map_areas(b, b->as);
	if (!err)
		err = box_new_context(b, b->as,
				      box_is_direct() ? SANDTRAP_CONTEXT_DIRECT : 0,
				      &b->ctx);
	box_fit_for_direct();
	return err;
}

void box_close(struct box *b)
{
	if (b->ctx.page)
		munmap(b->ctx.page, b->info.out_context_size);
	if (b->as >= 0)
		close(b->as);
	if (b->fd >= 0)
		close(b->fd);
	stub_template_stop(&b->stubs);
	munmap(b->file, BOX_FILE_SIZE);
	close(b->mem);
}

int box_new_space(struct box *b, int *as)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };
	int err;

	if (ioctl(b->fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg))
		return -errno;
	err = stub_template_spawn(&b->stubs, arg.out_stub_fd);
	close(arg.out_stub_fd);
	*as = arg.out_fd;
	return err;
}

int box_new_context(struct box *b, int as, uint32_t flags,
		    struct box_context *ctx)
{
	struct sandtrap_new_context arg = {
		.size = sizeof(arg),
		.flags = flags,
		.address_space = as,
		.cookie = 0x5a5a000000000000ull,
	};

	if (ioctl(b->fd, SANDTRAP_NEW_CONTEXT, &arg))
		return -errno;
	ctx->id = arg.out_id;
	ctx->offset = arg.out_mmap_offset;
	ctx->page = mmap(NULL, b->info.out_context_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, b->fd, arg.out_mmap_offset);
	return ctx->page == MAP_FAILED ? -errno : 0;
}

int box_new_direct(struct box *b, struct box_context *ctx)
{
	return box_new_context(b, b->as, SANDTRAP_CONTEXT_DIRECT, ctx);
}

/* memory */

static int mem_op(int as, struct sandtrap_mem_op *op)
{
	struct sandtrap_mem arg = {
		.size = sizeof(arg),
		.ops = (uintptr_t)op,
		.nr_ops = 1,
	};

	return ioctl(as, SANDTRAP_MEM, &arg) ? -errno : 0;
}

int box_map(struct box *b, int as, uint64_t addr, unsigned int page,
	    unsigned int pages, int prot)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_MAP,
		.prot = prot,
		.fd = b->mem,
		.addr = addr,
		.len = pages * BOX_PAGE,
		.offset = page * BOX_PAGE,
	};

	return mem_op(as, &op);
}

int box_unmap(int as, uint64_t addr, uint64_t len)
{
	struct sandtrap_mem_op op = {
		.op = SANDTRAP_MEM_UNMAP,
		.addr = addr,
		.len = len,
	};

	return mem_op(as, &op);
}

int box_map_areas(struct box *b, int as)
{
	int err;

	err = box_map(b, as, BOX_CODE, 0, 4, PROT_READ | PROT_EXEC);
	if (!err)
		err = box_map(b, as, BOX_DATA, BOX_DATA_PAGE, 4,
			      PROT_READ | PROT_WRITE);
	if (!err)
		err = box_map(b, as, BOX_STACK, BOX_STACK_PAGE, 4,
			      PROT_READ | PROT_WRITE);
	return err;
}

/* contexts */

int box_command(struct box *b, unsigned int cmd, uint32_t id, uint32_t flags,
		uint32_t seq)
{
	struct sandtrap_context_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.id = id,
		.seq = seq,
	};

	return ioctl(b->fd, cmd, &arg) ? -errno : 0;
}

void box_load(struct box *b, struct box_context *ctx,
	      const unsigned char *program, size_t size)
{
	memcpy(b->file, program, size);
	ctx->page->regs.rip = BOX_CODE;
	ctx->page->regs.rsp = BOX_STACK_TOP;
}

int box_run_flags(struct box *b, struct box_context *ctx, uint32_t flags)
{
	struct sandtrap_run arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = ctx->page->event_seq,
	};

	ctx->page->resume_flags = flags;
	while (ioctl(b->fd, SANDTRAP_RUN, &arg)) {
		if (errno != EINTR)
			return -errno;
	}
	return ctx->page->event;
}

int box_run(struct box *b, struct box_context *ctx)
{
	return box_run_flags(b, ctx, 0);
}

int box_try_run(struct box *b, struct box_context *ctx)
{
	struct sandtrap_run arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = ctx->page->event_seq,
	};

	return ioctl(b->fd, SANDTRAP_RUN, &arg) ? -errno : (int)ctx->page->event;
}

int box_wait(struct box *b, struct box_context *ctx, uint32_t seq, int ms)
{
	struct sandtrap_wait arg = {
		.size = sizeof(arg),
		.id = ctx->id,
		.seq = seq,
		.timeout_ns = box_now_ns() + ms * 1000000ull,
	};

	return ioctl(b->fd, SANDTRAP_WAIT, &arg) ? -errno : 0;
}

uint32_t box_counter(struct box *b)
{
	return *(volatile uint32_t *)(b->file + BOX_DATA_PAGE * BOX_PAGE);
}

bool box_counts(struct box *b)
{
	uint32_t start = box_counter(b);
	int i;

	for (i = 0; i < 5000 && box_counter(b) == start; i++)
		usleep(200);
	return box_counter(b) != start;
}

/* processes */

pid_t box_fork(struct box *b, struct box_context *ctx)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (box_open_on(b, b->mem, b->file) || box_new_direct(b, ctx))
		_exit(100);
	return 0;
}

int box_stubs(struct box *b, pid_t *pids, int max)
{
	char path[64];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", b->stubs.pid,
		 b->stubs.pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (n < max && fscanf(f, "%d", &pids[n]) == 1)
		n++;
	fclose(f);
	return n;
}

static bool alive(pid_t pid)
{
	char path[64], state = 'X';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	fclose(f);
	return state != 'Z' && state != 'X';
}

pid_t box_running_thread(pid_t stub)
{
	char path[32];
	struct dirent *d;
	pid_t tid = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", stub);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (atoi(d->d_name) > 0 && atoi(d->d_name) != stub)
			tid = atoi(d->d_name);
	}
	if (dir)
		closedir(dir);
	return tid;
}

bool box_gone(pid_t pid, int ms)
{
	uint64_t end = box_now_ns() + ms * 1000000ull;

	while (alive(pid)) {
		if (box_now_ns() > end)
			return false;
		usleep(1000);
	}
	return true;
}

int box_module_refs(void)
{
	FILE *f = fopen("/sys/module/sandtrap/refcnt", "r");
	int refs = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &refs) != 1)
		refs = -1;
	fclose(f);
	return refs;
}

/* the caller */

static void set_alarms(long us)
{
	const struct itimerval timer = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

void box_begin_alarms(uint64_t ns)
{
	set_alarms(200 + (long)(ns / 1000 / 5));
}

void box_end_alarms(void)
{
	set_alarms(0);
}

int box_stay_on(pid_t tid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(tid, sizeof(set), &set);
}

bool box_has_pku(void)
{
	unsigned int a, b, c = 0, d;

	/* OSPKE: the kernel uses them. */
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && c & 1 << 4;
}

unsigned int box_read_pkru(void)
{
	unsigned int pkru, edx;

	asm volatile(".byte 0x0f, 0x01, 0xee" : "=a"(pkru), "=d"(edx) : "c"(0));
	return pkru;
}

void box_write_pkru(unsigned int pkru)
{
	asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(pkru), "c"(0), "d"(0));
}

/* programs that several tests run */

BOX_PROGRAM(box_syscall, "1: syscall\n jmp 1b");
BOX_PROGRAM(box_jump, "jmp *%rbx");
BOX_PROGRAM(box_count, "1: incl 0x20000000\n jmp 1b");

/* Copies all registers to memory and changes every one of them. */
BOX_PROGRAM(box_registers,
	"1: movq %rax, 0x20000000\n"
	"movq %rbx, 0x20000008\n"
	"movq %rcx, 0x20000010\n"
	"movq %rdx, 0x20000018\n"
	"movq %rsi, 0x20000020\n"
	"movq %rdi, 0x20000028\n"
	"movq %rbp, 0x20000030\n"
	"movq %rsp, 0x20000038\n"
	"movq %r8, 0x20000040\n"
	"movq %r9, 0x20000048\n"
	"movq %r10, 0x20000050\n"
	"movq %r11, 0x20000058\n"
	"movq %r12, 0x20000060\n"
	"movq %r13, 0x20000068\n"
	"movq %r14, 0x20000070\n"
	"movq %r15, 0x20000078\n"
	"int3\n jmp 1b");
