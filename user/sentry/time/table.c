// SPDX-License-Identifier: MIT
/* table.c - the system calls of time/ */
#include "sentry/time/internal.h"

static const struct syscall_desc descs[] = {
	SYSCALL(clock_gettime, "dp"),
	SYSCALL(clock_getres, "dp"),
	SYSCALL_PART(clock_nanosleep, "ddpp", "no CPU clocks"),
	SYSCALL(nanosleep, "pp"),
	SYSCALL(gettimeofday, "pp"),
	SYSCALL(time, "p"),
	SYSCALL(restart_syscall, ""),
	SYSCALL(alarm, "u"),
	SYSCALL(getitimer, "dp"),
	SYSCALL(setitimer, "dpp"),
	SYSCALL(timer_create, "dpp"),
	SYSCALL(timer_settime, "dxpp"),
	SYSCALL(timer_gettime, "dp"),
	SYSCALL(timer_getoverrun, "d"),
	SYSCALL(timer_delete, "d"),
	SYSCALL_PART(clock_settime, "dp", "refused"),
	SYSCALL_PART(settimeofday, "pp", "refused"),
};

SYSCALL_GROUP(time_syscalls, descs);
