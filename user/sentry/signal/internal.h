/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of signal/ share among themselves
 */
#ifndef _SENTRY_SIGNAL_INTERNAL_H
#define _SENTRY_SIGNAL_INTERNAL_H

#include "sentry/task/internal.h"

/* struct kernel_sigaction.handler */
#define HANDLER_DFL 0ull
#define HANDLER_IGN 1ull

#define SA_RESTORER 0x04000000ull
#ifndef SS_AUTODISARM
#define SS_AUTODISARM ((int)(1u << 31))
#endif

#define STOP_SIGNALS                                                  \
	(SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) |     \
	 SIGMASK(SIGTTOU))
#define KERNEL_ONLY (SIGMASK(SIGKILL) | SIGMASK(SIGSTOP))
/* Ignored by default. */
#define DEFAULT_IGNORE                                                \
	(SIGMASK(SIGCONT) | SIGMASK(SIGCHLD) | SIGMASK(SIGWINCH) |    \
	 SIGMASK(SIGURG))

#define FIRST_REALTIME 32

static inline bool signo_valid(int signo)
{
	return signo >= 1 && signo <= SIGNAL_MAX;
}

static inline bool default_is_fatal(int signo)
{
	return !(SIGMASK(signo) & (DEFAULT_IGNORE | STOP_SIGNALS));
}

/*
 * action.c: take a pending signal of @set, of the caller's or its group's: its
 * number, or 0.
 */
int signal_take(struct task *t, sigmask_t set, siginfo_t *info);

/* Has the last thread of a process gone? Without a lock. */
static inline bool thread_group_is_dead(const struct thread_group *tg)
{
	return __atomic_load_n(&tg->zombie, __ATOMIC_SEQ_CST);
}

/* send.c: the permission of kill(2). */
bool may_signal(struct task *from, struct task *to, int signo);

/* stop.c */
/* The group stops by @signo; the lock of the caller's group is held. */
void stop_begin_locked(struct task *t, int signo);
/* Sleep as long as the group is stopped. No locks. */
void stop_wait(struct task *t);
/* SIGCONT arrived, or SIGKILL: run again. */
void stop_end_locked(struct thread_group *tg, bool continued);

/* frame.c */
/* Build a frame for a handler: 0 or -EFAULT. */
int frame_setup(struct task *t, const struct kernel_sigaction *ka,
		const siginfo_t *info, sigmask_t old_mask);

/* deliver.c: what the next rt_sigreturn(2) or mask change makes true. */
void signal_set_mask(struct task *t, sigmask_t mask);

/* altstack.c */
bool altstack_contains(const stack_t *ss, uint64_t sp);
/* As above, but a stack that disarms itself is never in use. */
bool on_altstack(const stack_t *ss, uint64_t sp);
int do_sigaltstack(struct task *t, const stack_t *ss, uint64_t sp,
		   size_t min_size);

#endif /* _SENTRY_SIGNAL_INTERNAL_H */
