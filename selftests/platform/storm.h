/* SPDX-License-Identifier: MIT */
/*
 * storm.h - a thread that interrupts contexts at random moments
 *
 * All functions take NULL for fair weather and do nothing then. A context must
 * be removed before it is released.
 */
#ifndef _SELFTESTS_PLATFORM_STORM_H
#define _SELFTESTS_PLATFORM_STORM_H

#include <sandtrap/platform.h>

struct storm;

/* NULL without memory or threads. */
struct storm *storm_begin(void);
void storm_end(struct storm *s);

/* The newest STORM_TARGETS contexts are interrupted. */
#define STORM_TARGETS 32
void storm_add(struct storm *s, struct platform_context *ctx);
void storm_remove(struct storm *s, struct platform_context *ctx);

/*
 * Tells what each switch returned, so that programs get on: while nothing but
 * interrupts comes back, the storm slackens.
 */
void storm_saw(struct storm *s, bool interrupt);

/* How many interrupts it sent. */
unsigned long storm_count(struct storm *s);

#endif /* _SELFTESTS_PLATFORM_STORM_H */
