/* SPDX-License-Identifier: MIT */
/* table.h - the system calls of task/, and those of time/ that faults need */
#ifndef _SENTRY_TASK_TABLE_H
#define _SENTRY_TASK_TABLE_H

#include "sentry/task/internal.h"

DECLARE_SYSCALL(arch_prctl);
DECLARE_SYSCALL(capget);
DECLARE_SYSCALL(capset);
DECLARE_SYSCALL(clone);
DECLARE_SYSCALL(clone3);
DECLARE_SYSCALL(execve);
DECLARE_SYSCALL(execveat);
DECLARE_SYSCALL(exit);
DECLARE_SYSCALL(exit_group);
DECLARE_SYSCALL(fork);
DECLARE_SYSCALL(getcpu);
DECLARE_SYSCALL(getegid);
DECLARE_SYSCALL(geteuid);
DECLARE_SYSCALL(getgid);
DECLARE_SYSCALL(getgroups);
DECLARE_SYSCALL(getpgid);
DECLARE_SYSCALL(getpgrp);
DECLARE_SYSCALL(getpid);
DECLARE_SYSCALL(getppid);
DECLARE_SYSCALL(getpriority);
DECLARE_SYSCALL(getrandom);
DECLARE_SYSCALL(getresgid);
DECLARE_SYSCALL(getresuid);
DECLARE_SYSCALL(getrlimit);
DECLARE_SYSCALL(getrusage);
DECLARE_SYSCALL(getsid);
DECLARE_SYSCALL(gettid);
DECLARE_SYSCALL(getuid);
DECLARE_SYSCALL(ioprio_get);
DECLARE_SYSCALL(ioprio_set);
DECLARE_SYSCALL(membarrier);
DECLARE_SYSCALL(personality);
DECLARE_SYSCALL(prctl);
DECLARE_SYSCALL(prlimit64);
DECLARE_SYSCALL(ptrace);
DECLARE_SYSCALL(sched_get_priority_max);
DECLARE_SYSCALL(sched_get_priority_min);
DECLARE_SYSCALL(sched_getaffinity);
DECLARE_SYSCALL(sched_getparam);
DECLARE_SYSCALL(sched_getscheduler);
DECLARE_SYSCALL(sched_rr_get_interval);
DECLARE_SYSCALL(sched_setaffinity);
DECLARE_SYSCALL(sched_setparam);
DECLARE_SYSCALL(sched_setscheduler);
DECLARE_SYSCALL(sched_yield);
DECLARE_SYSCALL(set_tid_address);
DECLARE_SYSCALL(setdomainname);
DECLARE_SYSCALL(setfsgid);
DECLARE_SYSCALL(setfsuid);
DECLARE_SYSCALL(setgid);
DECLARE_SYSCALL(setgroups);
DECLARE_SYSCALL(sethostname);
DECLARE_SYSCALL(setpgid);
DECLARE_SYSCALL(setpriority);
DECLARE_SYSCALL(setregid);
DECLARE_SYSCALL(setresgid);
DECLARE_SYSCALL(setresuid);
DECLARE_SYSCALL(setreuid);
DECLARE_SYSCALL(setrlimit);
DECLARE_SYSCALL(setsid);
DECLARE_SYSCALL(setuid);
DECLARE_SYSCALL(sysinfo);
DECLARE_SYSCALL(times);
DECLARE_SYSCALL(uname);
DECLARE_SYSCALL(vfork);
DECLARE_SYSCALL(wait4);
DECLARE_SYSCALL(waitid);

/* For the vsyscall page. */
DECLARE_SYSCALL(gettimeofday);
DECLARE_SYSCALL(time);

#endif /* _SENTRY_TASK_TABLE_H */
