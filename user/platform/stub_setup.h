/* SPDX-License-Identifier: MIT */
/*
 * stub_setup.h - what template processes of several platforms do alike
 *
 * Runs in a fork of the sentry, which may have threads: only system calls, no
 * library code that takes locks.
 */
#ifndef _SANDTRAP_PLATFORM_STUB_SETUP_H
#define _SANDTRAP_PLATFORM_STUB_SETUP_H

/* Features that not every machine has. */
#define STUB_CPUID_FAULTS 1u
#define STUB_BARRIER 2u

/**
 * stub_leave_rseq() - have the kernel forget the area that libc registered
 *
 * It will be unmapped, and the kernel would fault on it.
 *
 * Return: 0 or -errno.
 */
int stub_leave_rseq(void);

/**
 * stub_drop_privileges() - no new privileges, no capabilities, no core files
 *
 * Return: 0 or -errno.
 */
int stub_drop_privileges(void);

/**
 * stub_take_features() - CPUID faulting, membarrier; clones inherit them
 *
 * Return: STUB_* bits of those that are there.
 */
unsigned int stub_take_features(void);

#endif /* _SANDTRAP_PLATFORM_STUB_SETUP_H */
