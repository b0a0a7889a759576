// SPDX-License-Identifier: MIT
/*
 * platform_util.c - a bench to run small programs on any platform
 */
#include "platform_util.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_PLATFORM "ptrace"

#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_HYPERVISOR 0x40000000
#define CPUID_HYPERVISOR_EBX_TCG 0x54474354 /* "TCGT" */

/* Is @name one of the words of @list? */
static bool listed(const char *list, const char *name)
{
	const size_t len = strlen(name);
	const char *at = list;

	while ((at = strstr(at, name))) {
		bool starts = at == list || strchr(" ,", at[-1]);
		bool ends = !at[len] || strchr(" ,", at[len]);

		if (starts && ends)
			return true;
		at += len;
	}
	return false;
}

static bool must_work(const char *name)
{
	const char *wanted = getenv("PLATFORM");

	return !strcmp(name, wanted ? wanted : DEFAULT_PLATFORM);
}

const char *bench_why_skip(const char *name)
{
	const struct platform_constructor *c = platform_lookup(name);
	const char *only = getenv("SANDTRAP_PLATFORMS");

	if (only && !listed(only, name))
		return "not in SANDTRAP_PLATFORMS";
	if (must_work(name))
		return NULL;
	if (!c)
		return "this build lacks the platform";
	if (c->requirements.device_path && access(c->requirements.device_path, R_OK | W_OK))
		return "the machine has no /dev/sandtrap: load sandtrap.ko, or use the VM (make vm)";
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

int bench_open(struct bench *b, const char *platform)
{
	const struct platform_constructor *c = platform_lookup(platform);
	int err;

	memset(b, 0, sizeof(*b));
	if (!c)
		return -ENOENT;
	err = platform_new(c, NULL, &b->p);
	if (!err)
		err = make_memory(b);
	if (!err)
		err = bench_new_address_space(b, &b->as);
	if (!err)
		err = platform_new_context(b->p, &b->ctx);
	if (!err)
		b->regs = b->ctx->state.regs;
	return err;
}

void bench_close(struct bench *b)
{
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
	memset(&b->ev, 0xcc, sizeof(b->ev));
	return context_switch(b->ctx, b->as, -1, &b->ev);
}

int bench_run(struct bench *b)
{
	int err;

	do {
		err = bench_switch(b);
	} while (!err && b->ev.kind == PLATFORM_INTERRUPT);
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

pid_t bench_stub(struct bench *b)
{
	pid_t pids[64];
	int i, count = bench_descendants(pids, 64);

	for (i = 0; i < count; i++) {
		if (maps_bench(pids[i]))
			return pids[i];
	}
	return -1;
}
