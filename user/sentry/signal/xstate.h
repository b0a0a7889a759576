/* SPDX-License-Identifier: MIT */
/*
 * xstate.h - FPU and vector state in signal frames
 *
 * All of it works on the task's own context, whose full state has been pulled
 * before and is marked as changed by the caller afterwards.
 */
#ifndef _SENTRY_SIGNAL_XSTATE_H
#define _SENTRY_SIGNAL_XSTATE_H

#include <stdint.h>

struct task;

/* Bytes that the state takes in a frame. */
uint64_t xstate_frame_size(struct task *t);
/* The state a program starts with. */
void xstate_reset(struct task *t);
/* Write it to program memory: 0 or -EFAULT. */
int xstate_to_frame(struct task *t, uint64_t addr);
/*
 * Read it back; addr 0: the initial state. 0, or -EFAULT (also for contents
 * that the CPU would refuse) with the initial state set.
 */
int xstate_from_frame(struct task *t, uint64_t addr);

#endif /* _SENTRY_SIGNAL_XSTATE_H */
