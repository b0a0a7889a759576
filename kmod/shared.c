// SPDX-License-Identifier: GPL-2.0
/*
 * shared.c - memory that kernel and sentry share, charged to who asked for it
 *
 * vmalloc_user() would charge nobody, and anybody may open the device.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "sandtrap_internal.h"

/* On success vfree() frees the pages and their array as well. */
static void *map_pages(struct page **pages, unsigned int nr)
{
	unsigned int i;
	void *mem = NULL;

	for (i = 0; i < nr; i++) {
		pages[i] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!pages[i])
			goto out_pages;
	}
	mem = vmap(pages, nr, VM_MAP | VM_USERMAP | VM_MAP_PUT_PAGES,
		   PAGE_KERNEL);
	if (mem)
		return mem;
out_pages:
	while (i--)
		__free_page(pages[i]);
	return NULL;
}

/* Zeroed; give it back with vfree(). */
void *sandtrap_shared_alloc(size_t size)
{
	unsigned int nr = PAGE_ALIGN(size) >> PAGE_SHIFT;
	struct page **pages;
	void *mem;

	pages = kvcalloc(nr, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return NULL;
	mem = map_pages(pages, nr);
	if (!mem)
		kvfree(pages);
	return mem;
}

/* All of @mem, to whoever is mapping @vma. */
int sandtrap_shared_mmap(struct vm_area_struct *vma, void *mem,
			 unsigned long forbid)
{
	/* A forked child of the sentry is not the sentry. */
	sandtrap_vma_flags(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
			   VM_MAYEXEC | forbid);
	return remap_vmalloc_range(vma, mem, 0);
}
