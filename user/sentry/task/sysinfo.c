// SPDX-License-Identifier: MIT
/*
 * sysinfo.c - what the machine is: uname, sysinfo, random numbers, barriers
 */
#include <linux/membarrier.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

long sys_uname(struct task *t, const uint64_t *args)
{
	struct utsname uts;

	memset(&uts, 0, sizeof(uts));
	if (uname(&uts))
		return -errno;
	return copy_to_user(t, args[0], &uts, sizeof(uts));
}

long sys_sethostname(struct task *t, const uint64_t *args)
{
	return -EPERM;
}

long sys_setdomainname(struct task *t, const uint64_t *args)
{
	return -EPERM;
}

/* The machine's memory, but the sandbox's processes and age. */
long sys_sysinfo(struct task *t, const uint64_t *args)
{
	struct kernel *k = t->kernel;
	struct sysinfo si;

	memset(&si, 0, sizeof(si));
	if (sysinfo(&si))
		return -errno;
	si.uptime = (long)((monotonic_ns() - k->boot_ns) / 1000000000ull);
	pthread_mutex_lock(&k->tasks_lock);
	si.procs = (unsigned short)MIN(k->tids->nr_tasks, 0xffffu);
	pthread_mutex_unlock(&k->tasks_lock);
	return copy_to_user(t, args[0], &si, sizeof(si));
}

long sys_getrandom(struct task *t, const uint64_t *args)
{
	size_t len = MIN(args[1], (uint64_t)INT_MAX), done = 0;
	unsigned int flags = (unsigned int)args[2];
	unsigned char buf[1024];
	ssize_t n;

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
	    (flags & (GRND_RANDOM | GRND_INSECURE)) ==
		    (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	while (done < len) {
		n = getrandom(buf, MIN(len - done, sizeof(buf)), flags);
		if (n < 0)
			return done ? (long)done : -errno;
		if (copy_to_user(t, args[0] + done, buf, (size_t)n))
			return done ? (long)done : -EFAULT;
		done += (size_t)n;
		if (done < len && task_has_work(t))
			break;
	}
	return (long)done;
}

/* All kinds are the platform's one barrier; core serialising ones are not. */
#define MEMBARRIER_COMMANDS                                             \
	(MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |      \
	 MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |                     \
	 MEMBARRIER_CMD_PRIVATE_EXPEDITED |                             \
	 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)

long sys_membarrier(struct task *t, const uint64_t *args)
{
	struct platform *p = t->kernel->platform;
	int cmd = (int)args[0];

	if (!p->have_global_memory_barrier)
		return -ENOSYS;
	if (args[1])
		return -EINVAL;
	switch (cmd) {
	case MEMBARRIER_CMD_QUERY:
		return MEMBARRIER_COMMANDS;
	case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED:
	case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
		return 0;
	case MEMBARRIER_CMD_GLOBAL:
	case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
	case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
		return platform_global_memory_barrier(p);
	default:
		return -EINVAL;
	}
}

/* Nobody can be traced here: what a kernel with a strict policy answers. */
long sys_ptrace(struct task *t, const uint64_t *args)
{
	return -EPERM;
}
