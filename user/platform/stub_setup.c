// SPDX-License-Identifier: MIT
/*
 * stub_setup.c - what template processes of several platforms do alike
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stub_setup.h"

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif

/* The registered length is that of the structure's first version at least. */
int stub_leave_rseq(void)
{
	struct rseq *area;

	if (!__rseq_size)
		return 0;
	area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	if (!syscall(__NR_rseq, area, sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
		return 0;
	if (!syscall(__NR_rseq, area, __rseq_size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
		return 0;
	return -errno;
}

int stub_drop_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	const struct rlimit no_core = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (syscall(__NR_capset, &header, none))
		return -errno;
	return setrlimit(RLIMIT_CORE, &no_core) ? -errno : 0;
}

unsigned int stub_take_features(void)
{
	unsigned int features = 0;

	if (!syscall(__NR_arch_prctl, ARCH_SET_CPUID, 0))
		features |= STUB_CPUID_FAULTS;
	if (!syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0))
		features |= STUB_BARRIER;
	return features;
}
