// SPDX-License-Identifier: MIT
/*
 * bench.c - a bench to run small programs on any platform
 */
#include "bench.h"
#include "storm.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_PLATFORM "ptrace"

#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_HYPERVISOR 0x40000000
#define CPUID_HYPERVISOR_EBX_TCG 0x54474354 /* "TCGT" */

static bool must_work(const char *name)
{
	const char *wanted = getenv("PLATFORM");

	return !strcmp(name, wanted ? wanted : DEFAULT_PLATFORM);
}

/* yama may leave it to root, or to nobody. */
static bool may_trace(const struct platform_constructor *c)
{
	FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (!f)
		return true;
	if (fscanf(f, "%d", &scope) != 1)
		scope = 0;
	fclose(f);
	return !c->requirements.needs_cap_sys_ptrace || scope < (geteuid() ? 2 : 3);
}

const char *bench_why_skip(const char *name)
{
	const struct platform_constructor *c = platform_lookup(name);

	if (must_work(name))
		return NULL;
	if (!c)
		return "this build lacks the platform";
	if (c->requirements.device_path && access(c->requirements.device_path, R_OK | W_OK))
		return "the machine has no /dev/sandtrap: load sandtrap.ko, or use the VM (make vm)";
	if (!may_trace(c))
		return "the machine lacks the right to trace: be root, or set kernel.yama.ptrace_scope";
	return NULL;
}

static int map_area(struct bench *b, struct platform_address_space *as, uint64_t addr,
		    uint64_t offset, int prot)
{
	return address_space_map_file(as, NULL, addr, b->fd, offset, BENCH_AREA, prot, false);
}

int bench_new_address_space(struct bench *b, struct platform_address_space **as)
{
	int err;

	err = platform_new_address_space(b->p, as);
	if (err)
		return err;
	err = map_area(b, *as, BENCH_CODE, BENCH_CODE_OFFSET, PROT_READ | PROT_EXEC);
	if (!err)
		err = map_area(b, *as, BENCH_DATA, BENCH_DATA_OFFSET, PROT_READ | PROT_WRITE);
	if (!err)
		err = map_area(b, *as, BENCH_STACK, BENCH_STACK_OFFSET, PROT_READ | PROT_WRITE);
	if (!err)
		err = address_space_flush(*as, NULL);
	if (err) {
		address_space_release(*as);
		*as = NULL;
	}
	return err;
}

static int make_memory(struct bench *b)
{
	b->fd = memfd_create("bench", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, BENCH_FILE_SIZE))
		return -errno;
	b->code = mmap(NULL, BENCH_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	if (b->code == MAP_FAILED)
		return -errno;
	b->data = b->code + BENCH_DATA_OFFSET;
	b->stack = b->code + BENCH_STACK_OFFSET;
	b->spare = b->code + BENCH_SPARE_OFFSET;
	return 0;
}

int bench_new_context(struct bench *b, struct platform_context **ctx)
{
	int err;

	err = platform_new_context(b->p, ctx);
	if (err)
		return err;
	bench_start((*ctx)->state.regs);
	storm_add(b->storm, *ctx);
	return 0;
}

void bench_release_context(struct bench *b, struct platform_context *ctx)
{
	storm_remove(b->storm, ctx);
	context_release(ctx);
}

int bench_renew_context(struct bench *b)
{
	int err;

	if (b->ctx)
		bench_release_context(b, b->ctx);
	b->ctx = NULL;
	err = bench_new_context(b, &b->ctx);
	if (!err)
		b->regs = b->ctx->state.regs;
	return err;
}

int bench_open(struct bench *b, const char *platform, bool storm)
{
	const struct platform_constructor *c = platform_lookup(platform);
	struct platform_options opts = {
		.device_fd = -1,
		.spin_ns = PLATFORM_SPIN_DEFAULT,
		.sandtrap_mode = getenv("SANDTRAP_MODE"),
	};
	int err;

	memset(b, 0, sizeof(*b));
	if (!c)
		return -ENOENT;
	err = platform_new(c, &opts, &b->p);
	if (!err)
		err = make_memory(b);
	if (!err)
		err = bench_new_address_space(b, &b->as);
	if (!err && storm && !(b->storm = storm_begin()))
		err = -ENOMEM;
	if (!err)
		err = bench_renew_context(b);
	return err;
}

void bench_close(struct bench *b)
{
	storm_end(b->storm);
	if (b->ctx)
		context_release(b->ctx);
	if (b->as)
		address_space_release(b->as);
	if (b->p)
		platform_release(b->p);
	if (b->code)
		munmap(b->code, BENCH_FILE_SIZE);
	close(b->fd);
	memset(b, 0, sizeof(*b));
	b->fd = -1;
}

int bench_map(struct bench *b, uint64_t addr, uint64_t offset, uint64_t len, int prot)
{
	int err;

	err = address_space_map_file(b->as, b->ctx, addr, b->fd, offset, len, prot, false);
	return err ? err : address_space_flush(b->as, b->ctx);
}

int bench_unmap(struct bench *b, uint64_t addr, uint64_t len)
{
	int err;

	err = address_space_unmap(b->as, b->ctx, addr, len);
	return err ? err : address_space_flush(b->as, b->ctx);
}

void bench_start(struct user_regs_struct *regs)
{
	const uint64_t fs_base = regs->fs_base, gs_base = regs->gs_base;

	memset(regs, 0, sizeof(*regs));
	regs->rip = BENCH_CODE;
	regs->rsp = BENCH_STACK_TOP;
	regs->fs_base = fs_base;
	regs->gs_base = gs_base;
}

void bench_load(struct bench *b, const unsigned char *program, size_t size)
{
	/* What follows the program must not be nops of chance. */
	memset(b->code, 0xcc, BENCH_AREA);
	memcpy(b->code, program, size);
	bench_start(b->regs);
}

int bench_switch(struct bench *b)
{
	int err;

	memset(&b->ev, 0xcc, sizeof(b->ev));
	b->switches++;
	err = context_switch(b->ctx, b->as, -1, &b->ev);
	storm_saw(b->storm, !err && b->ev.kind == PLATFORM_INTERRUPT);
	return err;
}

int bench_run(struct bench *b)
{
	int err;

	do {
		err = bench_switch(b);
	} while (!err && b->ev.kind == PLATFORM_INTERRUPT);
	return err;
}

int bench_run_context(struct bench *b, struct platform_context *ctx,
		      struct platform_address_space *as, struct platform_event *ev)
{
	bool interrupted;
	int err;

	do {
		memset(ev, 0xcc, sizeof(*ev));
		err = context_switch(ctx, as, -1, ev);
		interrupted = !err && ev->kind == PLATFORM_INTERRUPT;
		storm_saw(b->storm, interrupted);
	} while (interrupted);
	return err;
}

bool bench_is_emulated(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & CPUID_1_ECX_HYPERVISOR))
		return false;
	__cpuid(CPUID_HYPERVISOR, eax, ebx, ecx, edx);
	return ebx == CPUID_HYPERVISOR_EBX_TCG;
}

/* 0 if there is no such process. */
static pid_t parent_of(pid_t pid)
{
	char path[64], line[512], *after_name;
	pid_t ppid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f)) {
		after_name = strrchr(line, ')');
		if (!after_name || sscanf(after_name + 1, " %*c %d", &ppid) != 1)
			ppid = 0;
	}
	fclose(f);
	return ppid;
}

static bool is_descendant(pid_t pid)
{
	for (pid = parent_of(pid); pid > 0; pid = parent_of(pid)) {
		if (pid == getpid())
			return true;
	}
	return false;
}

/* By /proc rather than "children", which not every kernel is built with. */
int bench_descendants(pid_t *pids, int max)
{
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	int found = 0;

	while (proc && found < max && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && is_descendant(pid))
			pids[found++] = pid;
	}
	if (proc)
		closedir(proc);
	return found;
}

int bench_kill(pid_t pid, int sig)
{
	return pid > 1 && is_descendant(pid) ? kill(pid, sig) : -1;
}

static bool maps_bench(pid_t pid)
{
	char path[64], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		found |= !!strstr(line, "memfd:bench");
	if (f)
		fclose(f);
	return found;
}

pid_t bench_stub_but(struct bench *b, pid_t spared)
{
	pid_t pids[64];
	int i, count = bench_descendants(pids, 64);

	for (i = 0; i < count; i++) {
		if (pids[i] != spared && maps_bench(pids[i]))
			return pids[i];
	}
	return -1;
}

pid_t bench_stub(struct bench *b)
{
	return bench_stub_but(b, -1);
}

bool bench_is_gone(pid_t pid)
{
	char path[64], line[512] = "";
	const char *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	state = strrchr(line, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

int bench_threads(pid_t pid, pid_t *tids, int max)
{
	struct dirent *entry;
	char path[64];
	int found = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && found < max && (entry = readdir(tasks))) {
		pid_t tid = atoi(entry->d_name);

		if (tid > 0)
			tids[found++] = tid;
	}
	if (tasks)
		closedir(tasks);
	return found;
}

uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int64_t bench_patience_ns(int64_t ns)
{
	const char *slow = getenv("SANDTRAP_SLOW");

	return slow && atoi(slow) > 1 ? ns * atoi(slow) : ns;
}

void bench_sleep_us(long us)
{
	const struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

void *bench_interrupt_forever(void *arg)
{
	struct bench *b = arg;

	for (;;) {
		context_interrupt(b->ctx);
		pthread_testcancel();
		bench_sleep_us(2000);
	}
	return NULL;
}
