// SPDX-License-Identifier: MIT
/* table.c - the system calls of ipc/ */
#include "sentry/ipc/internal.h"

static const struct syscall_desc descs[] = {
	SYSCALL_PART(shmget, "xxo", "no huge pages"),
	SYSCALL(shmat, "dpx"),
	SYSCALL(shmdt, "p"),
	SYSCALL(shmctl, "ddp"),
	SYSCALL(semget, "xdo"),
	SYSCALL(semop, "dpu"),
	SYSCALL(semtimedop, "dpup"),
	SYSCALL(semctl, "dddx"),
	SYSCALL(msgget, "xo"),
	SYSCALL(msgsnd, "dpux"),
	SYSCALL(msgrcv, "dpulx"),
	SYSCALL(msgctl, "ddp"),
};

SYSCALL_GROUP(ipc_syscalls, descs);
