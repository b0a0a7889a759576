// SPDX-License-Identifier: MIT
/*
 * info.c - what /proc shows of an mm
 */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "sentry/mm/internal.h"

static void print_vma(FILE *out, const struct vma *v)
{
	char name[PATH_MAX];
	int n;

	n = fprintf(out, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ",
		    v->start, v->end, v->prot & PROT_READ ? 'r' : '-',
		    v->prot & PROT_WRITE ? 'w' : '-',
		    v->prot & PROT_EXEC ? 'x' : '-', v->shared ? 's' : 'p',
		    v->file ? v->off : 0, major(v->dev), minor(v->dev),
		    v->ino);
	name[0] = '\0';
	if (v->file)
		file_name(v->file, name, sizeof(name));
	else if (v->name)
		snprintf(name, sizeof(name), "%s", v->name);
	/* Names begin in column 74, as in Linux. */
	if (name[0])
		fprintf(out, "%*s%s", MAX(73 - n, 0), "", name);
	fputc('\n', out);
}

char *mm_format_maps(struct mm *mm, size_t *len)
{
	char *text = NULL;
	struct vma *v;
	FILE *out;

	out = open_memstream(&text, len);
	if (!out)
		return NULL;
	pthread_mutex_lock(&mm->lock);
	RB_FOREACH(v, vma_tree, &mm->vmas)
		print_vma(out, v);
	pthread_mutex_unlock(&mm->lock);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static void count_vma(struct mm_info *info, const struct vma *v)
{
	uint64_t size = v->end - v->start;

	if (v->growsdown)
		info->vm_stack += size;
	else if ((v->prot & PROT_WRITE) && !v->shared)
		info->vm_data += size;
	if (!(v->prot & PROT_EXEC))
		return;
	if (v->start >= info->start_code && v->end <= info->end_code)
		info->vm_exe += size;
	else
		info->vm_lib += size;
}

void mm_get_info(struct mm *mm, struct mm_info *info)
{
	struct vma *v;
	struct pma *p;

	pthread_mutex_lock(&mm->lock);
	*info = mm->info;
	info->vm_size = mm->vm_size;
	info->vm_rss = 0;
	RB_FOREACH(v, vma_tree, &mm->vmas)
		count_vma(info, v);
	RB_FOREACH(p, pma_tree, &mm->pmas)
		info->vm_rss += p->end - p->start;
	pthread_mutex_unlock(&mm->lock);
}

size_t mm_get_auxv(struct mm *mm, void *buf, size_t len)
{
	pthread_mutex_lock(&mm->lock);
	len = MIN(len, mm->auxv_len);
	memcpy(buf, mm->auxv, len);
	pthread_mutex_unlock(&mm->lock);
	return len;
}
