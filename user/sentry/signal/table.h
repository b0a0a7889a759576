/* SPDX-License-Identifier: MIT */
/* table.h - the system calls of signal/ */
#ifndef _SENTRY_SIGNAL_TABLE_H
#define _SENTRY_SIGNAL_TABLE_H

#include "sentry/task/internal.h"

DECLARE_SYSCALL(kill);
DECLARE_SYSCALL(pause);
DECLARE_SYSCALL(pidfd_open);
DECLARE_SYSCALL(pidfd_send_signal);
DECLARE_SYSCALL(rt_sigaction);
DECLARE_SYSCALL(rt_sigpending);
DECLARE_SYSCALL(rt_sigprocmask);
DECLARE_SYSCALL(rt_sigqueueinfo);
DECLARE_SYSCALL(rt_sigreturn);
DECLARE_SYSCALL(rt_sigsuspend);
DECLARE_SYSCALL(rt_sigtimedwait);
DECLARE_SYSCALL(rt_tgsigqueueinfo);
DECLARE_SYSCALL(sigaltstack);
DECLARE_SYSCALL(signalfd);
DECLARE_SYSCALL(signalfd4);
DECLARE_SYSCALL(tgkill);
DECLARE_SYSCALL(tkill);

#endif /* _SENTRY_SIGNAL_TABLE_H */
