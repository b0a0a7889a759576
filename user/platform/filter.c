// SPDX-License-Identifier: MIT
/*
 * filter.c - seccomp filters as programs in memory
 *
 * A stub process loads its filter after the fork, where libseccomp, which takes
 * memory and locks, must not be called any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filter.h"
#include "internal.h"

int filter_allow(scmp_filter_ctx filter, const struct platform_seccomp_rule *rules, size_t count)
{
	size_t i;
	int err = 0;

	for (i = 0; i < count && !err; i++)
		err = seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, rules[i].sysno,
						   rules[i].nr_args, rules[i].args);
	return err;
}

/* libseccomp exports to a descriptor only. */
static int read_program(int fd, struct sock_fprog *prog)
{
	struct sock_filter *insns;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!st.st_size || st.st_size > BPF_MAXINSNS * (off_t)sizeof(*insns))
		return -EINVAL;
	insns = malloc(st.st_size);
	if (!insns)
		return -ENOMEM;
	if (pread(fd, insns, st.st_size, 0) != st.st_size) {
		free(insns);
		return -EIO;
	}
	prog->filter = insns;
	prog->len = st.st_size / sizeof(*insns);
	return 0;
}

int filter_export(scmp_filter_ctx filter, struct sock_fprog *prog)
{
	int fd, err;

	fd = memfd_create("sandtrap-filter", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = seccomp_export_bpf(filter, fd);
	if (!err)
		err = read_program(fd, prog);
	close(fd);
	return err;
}
