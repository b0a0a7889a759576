/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - the state of one sandbox, and the helpers all of the sentry uses
 *
 * Lock order, outermost first; a lock may be taken only while holding locks
 * that stand above it:
 *
 *   kernel.tasks_lock     process tree, thread groups, sessions, tid table
 *   process_timers.lock   interval and POSIX timers of a process (time/)
 *   thread_group.lock     signals of a thread group, its thread list
 *   sighand.lock          signal dispositions
 *   fd_table.lock         descriptors
 *   file locks            pipe, epoll, sockets (each names its own order)
 *   futex bucket lock     futex waiters by key; two of them by address
 *   mm.lock               VMAs and page mappings of one mm
 *   ipc tables            segments, semaphores, message queues; one at a time
 *   cpuid_files.lock      what is known of files of code
 *   memory_file.lock      allocator of the memory file
 *   wait_queue.lock       waiters (innermost: nothing is taken under it)
 */
#ifndef _SENTRY_KERNEL_H
#define _SENTRY_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include <sandtrap/platform.h>

#include "sentry/cpuid.h"
#include "sentry/syscall.h"

/* PAGE_SIZE and PAGE_MASK come from <sys/user.h>, by way of platform.h. */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

static inline uint64_t page_down(uint64_t x)
{
	return x & PAGE_MASK;
}

/* Wraps to 0 for the last page of the address space: check before. */
static inline uint64_t page_up(uint64_t x)
{
	return (x + PAGE_SIZE - 1) & PAGE_MASK;
}

struct cpuid_files; /* mm/ */
struct ipc; /* ipc/ */
struct memory_file;
struct net; /* socket/ */
struct task;
struct tid_table; /* task/ */
struct vfs; /* fs/ */

/**
 * struct kernel - one sandbox
 * @platform: what runs the programs
 * @memory_file: holds every anonymous and private page
 * @vfs: mounts and root, owned by fs/
 * @net: names and ports of sockets, owned by socket/
 * @ipc: System V IPC, owned by ipc/
 * @tasks_lock: see the lock order
 * @tids: thread ids -> tasks, owned by task/; protected by @tasks_lock
 * @init: first task; its thread group's end ends the sandbox
 * @strace: stream for --strace, or NULL
 * @boot_ns: CLOCK_MONOTONIC when the sandbox started, in ns (for uptime and
 *	process start times)
 * @syscall_count: calls by number; updated without a lock by every task's
 *	thread from its own counters when it exits
 * @unknown_count: calls with numbers outside the table
 * @fault_count: faults that the sentry resolved
 * @patch_count: system call instructions rewritten
 * @trap_count: system calls that trapped where they need not have
 * @cpu: what CPUID says
 * @rewrite_cpuid: CPUID instructions are found in code, as the CPU does not report them
 * @cpuid_files: what is known of files mapped as code; owned by mm/cpuid_scan.c
 * @cpuid_count: CPUID instructions carried out
 * @cpuid_sites: rewritten
 * @cpuid_left: bytes that could be one, left alone as nothing shows that they are
 */
struct kernel {
	struct platform *platform;
	struct memory_file *memory_file;
	struct vfs *vfs;
	struct net *net;
	struct ipc *ipc;
	pthread_mutex_t tasks_lock;
	struct tid_table *tids;
	struct task *init;
	FILE *strace;
	cpu_set_t cpus; /* where tasks may run at all */
	size_t cpus_size; /* bytes of it that the host has */
	uint64_t boot_ns;
	atomic_ulong syscall_count[SYSCALL_TABLE_SIZE];
	atomic_ulong unknown_count;
	atomic_ulong fault_count;
	atomic_ulong patch_count;
	atomic_ulong trap_count;
	struct cpuid cpu;
	bool rewrite_cpuid;
	struct cpuid_files *cpuid_files;
	atomic_ulong cpuid_count;
	atomic_ulong cpuid_sites;
	atomic_ulong cpuid_left;
};

/*
 * Restrict the host system calls of all threads of this process for ever, to
 * what the sentry and its platform need: 0 or -errno. See confine.c.
 */
int sentry_confine(struct kernel *k);

static inline uint64_t timespec_to_ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec;
}

static inline uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return timespec_to_ns(&ts);
}

#endif /* _SENTRY_KERNEL_H */
