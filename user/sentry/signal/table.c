// SPDX-License-Identifier: MIT
/* table.c - the system calls of signal/ */
#include "sentry/signal/table.h"

static const struct syscall_desc descs[] = {
	SYSCALL(rt_sigaction, "Sppu"),
	SYSCALL(rt_sigprocmask, "dppu"),
	SYSCALL(rt_sigreturn, ""),
	SYSCALL(rt_sigpending, "pu"),
	SYSCALL(rt_sigtimedwait, "pppu"),
	SYSCALL(rt_sigqueueinfo, "dSp"),
	SYSCALL(rt_tgsigqueueinfo, "ddSp"),
	SYSCALL(rt_sigsuspend, "pu"),
	SYSCALL(sigaltstack, "pp"),
	SYSCALL(pause, ""),
	SYSCALL(kill, "dS"),
	SYSCALL(tkill, "dS"),
	SYSCALL(tgkill, "ddS"),
	SYSCALL(signalfd, "dpu"),
	SYSCALL(signalfd4, "dpux"),
	SYSCALL(pidfd_open, "dx"),
	SYSCALL(pidfd_send_signal, "fSpx"),
};

SYSCALL_GROUP(signal_syscalls, descs);
