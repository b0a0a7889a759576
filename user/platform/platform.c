// SPDX-License-Identifier: MIT
/*
 * platform.c - checks and dispatch that all platforms share
 *
 * The implementations behind platform_ops may rely on these checks: arguments
 * are aligned and in range, and what a platform's queries decline never
 * reaches it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_MMAP_MIN_ADDR 65536

static const struct platform_options default_options = {
	.device_fd = -1,
	.spin_ns = PLATFORM_SPIN_DEFAULT,
};

/* platform */

int platform_open_device(const struct platform_constructor *c, const char *path)
{
	if (!c->open_device)
		return -ENODEV;
	return c->open_device(path ? path : c->requirements.device_path);
}

int platform_new(const struct platform_constructor *c,
		 const struct platform_options *opts, struct platform **out)
{
	int err = c->new_platform(opts ? opts : &default_options, out);

	if (!err)
		(*out)->kept_fd = -1;
	return err;
}

void platform_release(struct platform *p)
{
	p->ops->release(p);
}

int platform_new_address_space(struct platform *p,
			       struct platform_address_space **out)
{
	return p->ops->new_address_space(p, out);
}

int platform_new_context(struct platform *p, struct platform_context **out)
{
	return p->ops->new_context(p, out);
}

int platform_preempt_all_cpus(struct platform *p)
{
	if (!p->detects_cpu_preemption)
		return -EOPNOTSUPP;
	return p->ops->preempt_all_cpus(p);
}

int platform_global_memory_barrier(struct platform *p)
{
	if (!p->have_global_memory_barrier)
		return -EOPNOTSUPP;
	return p->ops->global_memory_barrier(p);
}

size_t platform_seccomp_info(struct platform *p,
			     const struct platform_seccomp_rule **rules)
{
	return p->ops->seccomp_info(p, rules);
}

void platform_get_stats(struct platform *p, struct platform_stats *out)
{
	memset(out, 0, sizeof(*out));
	p->ops->stats(p, out);
}

void context_release(struct platform_context *ctx)
{
	ctx->platform->ops->context_release(ctx);
}

/* address space */

static bool page_aligned(uint64_t value)
{
	return !(value & (PLATFORM_PAGE_SIZE - 1));
}

static bool overlaps_vdso(const struct platform *p, uint64_t addr, uint64_t end)
{
	return addr < p->vdso.end && p->vdso.start < end;
}

static int check_range(const struct platform_address_space *as, uint64_t addr,
		       uint64_t len)
{
	const struct platform *p = as->platform;
	uint64_t end;

	if (!page_aligned(addr) || !page_aligned(len) || !len)
		return -EINVAL;
	if (__builtin_add_overflow(addr, len, &end))
		return -EINVAL;
	if (addr < p->min_user_address || end > p->max_user_address)
		return -EINVAL;
	return overlaps_vdso(p, addr, end) ? -EINVAL : 0;
}

static int check_file_range(uint64_t offset, uint64_t len)
{
	uint64_t end;

	if (!page_aligned(offset) || __builtin_add_overflow(offset, len, &end))
		return -EINVAL;
	return end > INT64_MAX ? -EINVAL : 0;
}

static bool prot_ok(int prot)
{
	return prot && !(prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC));
}

int address_space_map_file(struct platform_address_space *as,
			   struct platform_context *ctx, uint64_t addr, int fd,
			   uint64_t offset, uint64_t len, int prot,
			   bool precommit)
{
	int err;

	if (!prot_ok(prot))
		return -EINVAL;
	if (fd < 0)
		return -EBADF;
	err = check_range(as, addr, len);
	if (!err)
		err = check_file_range(offset, len);
	if (err)
		return err;
	return as->platform->ops->map_file(as, ctx, addr, fd, offset, len, prot,
					   precommit);
}

int address_space_unmap(struct platform_address_space *as,
			struct platform_context *ctx, uint64_t addr,
			uint64_t len)
{
	int err = check_range(as, addr, len);

	if (err)
		return err;
	return as->platform->ops->unmap(as, ctx, addr, len);
}

int address_space_protect(struct platform_address_space *as,
			  struct platform_context *ctx, uint64_t addr,
			  uint64_t len, int prot)
{
	int err = check_range(as, addr, len);

	if (!as->platform->ops->protect)
		return -EOPNOTSUPP;
	if (err || !prot_ok(prot))
		return -EINVAL;
	return as->platform->ops->protect(as, ctx, addr, len, prot);
}

int address_space_flush(struct platform_address_space *as,
			struct platform_context *ctx)
{
	return as->platform->ops->flush(as, ctx);
}

void address_space_pre_fork(struct platform_address_space *as)
{
	if (as->platform->ops->pre_fork)
		as->platform->ops->pre_fork(as);
}

void address_space_post_fork(struct platform_address_space *as)
{
	if (as->platform->ops->post_fork)
		as->platform->ops->post_fork(as);
}

void address_space_release(struct platform_address_space *as)
{
	as->platform->ops->address_space_release(as);
}

/* address space io */

ssize_t address_space_copy_in(struct platform_address_space *as, uint64_t addr,
			      void *dst, size_t len,
			      struct segmentation_fault *fault)
{
	if (!as->platform->supports_address_space_io)
		return -EOPNOTSUPP;
	return as->platform->ops->copy_in(as, addr, dst, len, fault);
}

ssize_t address_space_copy_out(struct platform_address_space *as, uint64_t addr,
			       const void *src, size_t len,
			       struct segmentation_fault *fault)
{
	if (!as->platform->supports_address_space_io)
		return -EOPNOTSUPP;
	return as->platform->ops->copy_out(as, addr, src, len, fault);
}

ssize_t address_space_zero_out(struct platform_address_space *as, uint64_t addr,
			       size_t len, struct segmentation_fault *fault)
{
	if (!as->platform->supports_address_space_io)
		return -EOPNOTSUPP;
	return as->platform->ops->zero_out(as, addr, len, fault);
}

static int check_u32(const struct platform_address_space *as, uint64_t addr)
{
	if (!as->platform->supports_address_space_io)
		return -EOPNOTSUPP;
	return addr % sizeof(uint32_t) ? -EINVAL : 0;
}

int address_space_swap_u32(struct platform_address_space *as, uint64_t addr,
			   uint32_t new_value, uint32_t *old,
			   struct segmentation_fault *fault)
{
	int err = check_u32(as, addr);

	if (err)
		return err;
	return as->platform->ops->swap_u32(as, addr, new_value, old, fault);
}

int address_space_cas_u32(struct platform_address_space *as, uint64_t addr,
			  uint32_t expected, uint32_t new_value, uint32_t *old,
			  struct segmentation_fault *fault)
{
	int err = check_u32(as, addr);

	if (err)
		return err;
	return as->platform->ops->cas_u32(as, addr, expected, new_value, old,
					  fault);
}

int address_space_load_u32(struct platform_address_space *as, uint64_t addr,
			   uint32_t *value, struct segmentation_fault *fault)
{
	int err = check_u32(as, addr);

	if (err)
		return err;
	return as->platform->ops->load_u32(as, addr, value, fault);
}

/* facts about the host */

static void add_vdso_range(struct platform_vdso *vdso, uint64_t start,
			   uint64_t end)
{
	if (!vdso->end || start < vdso->start)
		vdso->start = start;
	if (end > vdso->end)
		vdso->end = end;
}

/* [vvar], [vvar_vclock] and [vdso] are neighbours: one range holds them. */
static void read_maps_line(const char *line, struct platform_vdso *vdso)
{
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx", &start, &end) != 2)
		return;
	if (strstr(line, " [vdso]"))
		vdso->ehdr = start;
	else if (!strstr(line, " [vvar"))
		return;
	add_vdso_range(vdso, start, end);
}

int platform_find_vdso(struct platform_vdso *vdso)
{
	char line[PATH_MAX + 128];
	FILE *maps;

	memset(vdso, 0, sizeof(*vdso));
	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return -errno;
	while (fgets(line, sizeof(line), maps))
		read_maps_line(line, vdso);
	fclose(maps);
	if (!vdso->ehdr)
		memset(vdso, 0, sizeof(*vdso));
	return 0;
}

uint64_t platform_min_user_address(void)
{
	unsigned long addr = DEFAULT_MMAP_MIN_ADDR;
	FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");

	if (f) {
		if (fscanf(f, "%lu", &addr) != 1)
			addr = DEFAULT_MMAP_MIN_ADDR;
		fclose(f);
	}
	if (addr < PLATFORM_PAGE_SIZE)
		addr = PLATFORM_PAGE_SIZE;
	return (addr + PLATFORM_PAGE_SIZE - 1) & -PLATFORM_PAGE_SIZE;
}

bool platform_register_for_barrier(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}
