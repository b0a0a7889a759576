// SPDX-License-Identifier: MIT
/*
 * pace.c - does it pay to spin?
 */
#include "pace.h"

#define EPOCH 32
#define FIRST_PERIOD 4
#define LAST_PERIOD 1024
#define MAX_MISSES 3

static void begin_epoch(struct pace *c)
{
	c->left = EPOCH;
	c->sum = 0;
	c->misses = 0;
}

/*
 * Nothing is known yet: learn what it takes to sleep, then try to spin. Most programs
 * make few system calls before they end, with long ways between them.
 */
static void begin_first(struct pace *c)
{
	c->period = FIRST_PERIOD;
	c->epochs = 1;
	begin_epoch(c);
}

static void begin_trial(struct pace *c)
{
	c->best = c->sum;
	c->spin = !c->spin;
	c->trial = true;
}

static void end_trial(struct pace *c, bool better)
{
	c->trial = false;
	if (better) {
		c->period = FIRST_PERIOD;
	} else {
		c->spin = !c->spin;
		if (c->period < LAST_PERIOD)
			c->period *= 2;
	}
	c->epochs = c->period;
}

void pace_begin(struct pace *c)
{
	if (!c->period)
		begin_first(c);
}

void pace_end(struct pace *c, uint64_t ticks, bool missed)
{
	c->sum += ticks;
	c->misses = missed ? c->misses + 1 : 0;
	if (c->trial && (c->sum >= c->best || c->misses == MAX_MISSES)) {
		end_trial(c, false);
		begin_epoch(c);
		return;
	}
	/* It did pay, and does no longer. */
	if (c->misses == MAX_MISSES) {
		c->trial = true;
		end_trial(c, false);
		begin_epoch(c);
		return;
	}
	if (--c->left)
		return;
	if (c->trial)
		end_trial(c, true);
	else if (!--c->epochs)
		begin_trial(c);
	begin_epoch(c);
}
