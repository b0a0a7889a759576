/* SPDX-License-Identifier: MIT */
/*
 * sentry.h - an application kernel that runs Linux programs on a platform
 *
 * Life cycle, in four steps:
 *
 *  1. platform_new() a platform (platform.h).
 *  2. sentry_new() with the program to run; descriptors 0, 1 and 2 of the
 *     calling process become those of the program.
 *  3. sentry_run() until the first process of the sandbox has ended; every
 *     other process of the sandbox is then killed.
 *  4. sentry_release(), platform_release().
 *
 * One sandbox per process: the sentry installs signal handlers and, with
 * sentry_run(), forwards terminal signals to the sandboxed program. Functions
 * return 0 or a negative errno; nothing is printed but the strace and log
 * output that was asked for.
 */
#ifndef _SANDTRAP_SENTRY_H
#define _SANDTRAP_SENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct platform;
struct sentry;

/**
 * struct sentry_options - what to run, and where
 * @platform: platform to run on; stays the caller's
 * @argv: NULL-terminated arguments; argv[0] is searched for in the PATH of
 *	@envp inside the root unless it contains a slash
 * @envp: NULL-terminated environment
 * @root: host directory that becomes "/" of the sandbox; NULL: "/"
 * @cwd: working directory inside the root; NULL: that of the caller if it is
 *	inside the root, else "/"
 * @strace: print every system call of the program to this stream; NULL: no.
 *	Stays the caller's.
 * @cpuid: "hide=NAME[,NAME...]": features of the CPU that the program is not to see;
 *	NULL: none. See sentry_check_cpuid().
 * @no_cpuid_rewrite: where the CPU does not report CPUID instructions to the platform,
 *	do not look for them in the program's code: it sees the host's CPU as it is
 */
struct sentry_options {
	struct platform *platform;
	char *const *argv;
	char *const *envp;
	const char *root;
	const char *cwd;
	FILE *strace;
	const char *cpuid;
	bool no_cpuid_rewrite;
};

/**
 * sentry_new() - make a sandbox ready to run
 * @opts: options; strings are copied
 * @out: set on success
 *
 * Return: 0; -ENOENT: program, root or cwd not found; -EACCES or -ENOEXEC: the
 * program cannot be executed; -ENOMEM, -EAGAIN: no resources; -EINVAL: @opts->cpuid is
 * wrong; -EOPNOTSUPP: it hides features, but CPUID cannot be answered on this CPU
 * without the rewriting that @opts->no_cpuid_rewrite forbids.
 */
int sentry_new(const struct sentry_options *opts, struct sentry **out);

/**
 * sentry_run() - run the sandbox to its end
 * @s: sandbox, not run before
 * @status: set to the first process's status in the form of wait(2)
 *
 * Return: 0, or -errno if the sandbox itself failed.
 */
int sentry_run(struct sentry *s, int *status);

/**
 * sentry_print_stats() - print counters of a sandbox for people
 * @s: sandbox
 * @out: stream; system calls by number of calls, those not implemented,
 *	faults, platform counters
 */
void sentry_print_stats(const struct sentry *s, FILE *out);

/**
 * sentry_release() - destroy a sandbox
 * @s: sandbox that is not running
 */
void sentry_release(struct sentry *s);

/**
 * sentry_list_syscalls() - print the table of system calls
 * @out: stream; one line each: number, name, full|partial|none, what is
 *	missing
 */
void sentry_list_syscalls(FILE *out);

/**
 * sentry_check_cpuid() - is it a valid value of sentry_options.cpuid?
 * @spec: the string
 * @message: if it is not, set to what is wrong, and what to do
 * @size: bytes at @message
 *
 * Return: 0 or -EINVAL.
 */
int sentry_check_cpuid(const char *spec, char *message, size_t size);

/**
 * sentry_list_cpuid() - print the CPU features that can be hidden
 * @out: stream; one line each: name as in /proc/cpuinfo, present|absent on this
 *	machine, and what is hidden with it
 */
void sentry_list_cpuid(FILE *out);

#ifdef __cplusplus
}
#endif

#endif /* _SANDTRAP_SENTRY_H */
