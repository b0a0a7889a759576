/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of user/platform share with each other
 */
#ifndef _SANDTRAP_PLATFORM_INTERNAL_H
#define _SANDTRAP_PLATFORM_INTERNAL_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include <sandtrap/platform.h>

#define PLATFORM_PAGE_SIZE 4096ull

/* Selectors of 64-bit user mode on Linux; all other segments are null. */
#define PLATFORM_USER_CS 0x33
#define PLATFORM_USER_SS 0x2b

/*
 * The built-in kinds of platform. A build without the module's platform
 * simply lists one kind less, hence weak.
 */
extern const struct platform_constructor sandtrap_constructor
	__attribute__((weak));
extern const struct platform_constructor systrap_constructor;
extern const struct platform_constructor ptrace_constructor;

/**
 * platform_find_vdso() - where the calling process has its vDSO
 * @vdso: filled; all zero if there is none
 *
 * Processes forked from the caller have it at the same place.
 *
 * Return: 0, or -errno of reading /proc/self/maps.
 */
int platform_find_vdso(struct platform_vdso *vdso);

/**
 * platform_min_user_address() - lowest address that an unprivileged process
 * may map on this host
 *
 * Return: the address, page aligned.
 */
uint64_t platform_min_user_address(void);

/**
 * platform_own_fd() - a descriptor for a memory operation that is carried out later
 * @p: platform
 * @fd: the caller's, who may close it at once
 *
 * Return: one that the operation owns, or @fd itself if that is the platform's kept_fd;
 * or -errno of fcntl(2). With -EMFILE, those that other operations have can be given
 * back by carrying them out.
 */
static inline int platform_own_fd(const struct platform *p, int fd)
{
	int own = fd == p->kept_fd ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return own < 0 ? -errno : own;
}

/**
 * platform_op_error() - what a switch returns for a memory operation that failed
 * @err: 0 or -errno of the operation
 *
 * Return: @err, but -EFAULT for -EINVAL, which would say that the registers are bad:
 * then the program may go on.
 */
static inline int platform_op_error(int err)
{
	return err == -EINVAL ? -EFAULT : err;
}

/**
 * platform_is_fault() - is it the signal of a fault or trap of the CPU?
 * @info: a signal
 *
 * Return: whether it is; nobody but the kernel can send a positive code.
 */
static inline bool platform_is_fault(const siginfo_t *info)
{
	switch (info->si_signo) {
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
	case SIGTRAP:
		return info->si_code > 0;
	default:
		return false;
	}
}

/**
 * platform_register_for_barrier() - have the calling process take part in
 * MEMBARRIER_CMD_GLOBAL_EXPEDITED, and all that it forks afterwards
 *
 * To be called first of all: with a second thread around the kernel waits for an
 * RCU grace period, which takes longer than all else that starts a sandbox.
 *
 * Return: whether the kernel has it.
 */
bool platform_register_for_barrier(void);

#endif /* _SANDTRAP_PLATFORM_INTERNAL_H */
