/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - the table of system calls, as data
 *
 * Every subsystem describes the system calls it implements in one group; the
 * groups are merged into one table by number when a sentry starts.
 */
#ifndef _SENTRY_SYSCALL_H
#define _SENTRY_SYSCALL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

struct task;

/*
 * Errors that never reach the program: what to do with a call that a signal
 * interrupted. Same names, numbers and meaning as in Linux.
 */
#define ERESTARTSYS 512 /* restart if the handler has SA_RESTART, or none */
#define ERESTARTNOINTR 513 /* always restart */
#define ERESTARTNOHAND 514 /* restart if no handler runs */
#define ERESTART_RESTARTBLOCK 516 /* restart by restart_syscall(2) */

enum syscall_status {
	SYSCALL_NONE, /* returns -ENOSYS and is counted */
	SYSCALL_PARTIAL,
	SYSCALL_FULL,
};

/*
 * A handler runs on the task's own thread, takes the six arguments as the
 * program left them in its registers, and returns the result or -errno,
 * -ERESTART* included. Handlers that rewrite the registers (execve,
 * rt_sigreturn) return the value that rax is to have.
 */
typedef long (*syscall_fn)(struct task *t, const uint64_t *args);

/**
 * struct syscall_desc - one system call
 * @nr: number
 * @status: how complete it is
 * @name: name
 * @args: one letter per argument, for tracing: d int, u unsigned, l long,
 *	x hex, o octal mode, p pointer, f descriptor, a directory descriptor (AT_FDCWD),
 *	s string, b buffer whose length is the next argument, B buffer filled by the
 *	call whose length is the result, S signal, A argv-like vector
 * @fn: handler
 * @note: for SYSCALL_PARTIAL: what is missing
 */
struct syscall_desc {
	uint16_t nr;
	uint8_t status;
	const char *name;
	const char *args;
	syscall_fn fn;
	const char *note;
};

struct syscall_group {
	const struct syscall_desc *descs;
	size_t count;
};

/* SYSCALL(read, "fBu") describes sys_read(). */
#define SYSCALL(_name, _args)                                          \
	{ .nr = SYS_##_name, .status = SYSCALL_FULL, .name = #_name,   \
	  .args = (_args), .fn = sys_##_name }
#define SYSCALL_PART(_name, _args, _note)                                \
	{ .nr = SYS_##_name, .status = SYSCALL_PARTIAL, .name = #_name, \
	  .args = (_args), .fn = sys_##_name, .note = (_note) }

#define SYSCALL_GROUP(_group, _descs)                  \
	const struct syscall_group _group = {          \
		.descs = (_descs),                     \
		.count = sizeof(_descs) / sizeof((_descs)[0]), \
	}

/* One per subsystem; listed in kernel.c. */
extern const struct syscall_group mmap_syscalls, advise_syscalls; /* mm/ */
extern const struct syscall_group task_syscalls; /* task/ */
extern const struct syscall_group signal_syscalls; /* signal/ */
extern const struct syscall_group futex_syscalls; /* futex/ */
extern const struct syscall_group time_syscalls; /* time/ */
extern const struct syscall_group fs_syscalls; /* fs/ */
extern const struct syscall_group socket_syscalls; /* socket/ */
extern const struct syscall_group ipc_syscalls; /* ipc/ */

#define SYSCALL_TABLE_SIZE 512

/* Number -> description, NULL where there is none. Constant after start. */
extern const struct syscall_desc *syscall_table[SYSCALL_TABLE_SIZE];

void syscall_table_init(void);

/* Name for messages into @buf: "syscall_NNN" for unknown numbers. */
void syscall_name(long nr, char *buf, size_t len);

#endif /* _SENTRY_SYSCALL_H */
