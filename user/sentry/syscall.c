// SPDX-License-Identifier: MIT
/*
 * syscall.c - the merged table of system calls
 */
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

#include <sandtrap/sentry.h>

#include "sentry/kernel.h"

/* Above the highest number that libseccomp may know a name for. */
#define SYSCALL_NAMES_END 470

static const struct syscall_group *const groups[] = {
	&mmap_syscalls,	  &advise_syscalls, &task_syscalls,
	&signal_syscalls, &futex_syscalls,  &time_syscalls,
	&fs_syscalls,	  &socket_syscalls, &ipc_syscalls,
};

const struct syscall_desc *syscall_table[SYSCALL_TABLE_SIZE];

static void init_once(void)
{
	size_t g, i;

	for (g = 0; g < ARRAY_SIZE(groups); g++)
		for (i = 0; i < groups[g]->count; i++)
			syscall_table[groups[g]->descs[i].nr] =
				&groups[g]->descs[i];
}

void syscall_table_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_once);
}

void syscall_name(long nr, char *buf, size_t len)
{
	char *name;

	syscall_table_init();
	if (nr >= 0 && nr < SYSCALL_TABLE_SIZE && syscall_table[nr]) {
		snprintf(buf, len, "%s", syscall_table[nr]->name);
		return;
	}
	name = nr == (int)nr ? seccomp_syscall_resolve_num_arch(
				       SCMP_ARCH_X86_64, (int)nr) : NULL;
	if (name)
		snprintf(buf, len, "%s", name);
	else
		snprintf(buf, len, "syscall_%ld", nr);
	free(name);
}

void sentry_list_syscalls(FILE *out)
{
	static const char *const status[] = {
		[SYSCALL_NONE] = "none",
		[SYSCALL_PARTIAL] = "partial",
		[SYSCALL_FULL] = "full",
	};
	const struct syscall_desc *d;
	char name[64];
	int nr;

	syscall_table_init();
	for (nr = 0; nr < SYSCALL_NAMES_END; nr++) {
		d = syscall_table[nr];
		syscall_name(nr, name, sizeof(name));
		if (!d && !strncmp(name, "syscall_", 8))
			continue;
		fprintf(out, "%-4d %-24s %-8s%s\n", nr, name,
			status[d ? d->status : SYSCALL_NONE],
			d && d->note ? d->note : "");
	}
}
