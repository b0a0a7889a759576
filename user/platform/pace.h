/* SPDX-License-Identifier: MIT */
/*
 * pace.h - does it pay to spin?
 *
 * Nobody can know beforehand: it depends on what the program does, on what else
 * the machine does, and on where the scheduler puts the threads. So both ways of
 * waiting are tried, for some switches in a row (an epoch), and the one that took
 * less time is used. The other one is tried again later; each trial in vain doubles
 * the time to the next. A trial ends as soon as it is known to be in vain.
 */
#ifndef _SANDTRAP_PLATFORM_PACE_H
#define _SANDTRAP_PLATFORM_PACE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct pace - how one context waits
 * @spin: it spins before it sleeps
 * @trial: this epoch decides
 * @misses: spins in a row that did not pay
 * @left: switches to go in this epoch
 * @epochs: epochs to go until the next trial
 * @period: their number at first
 * @sum: time waited in this epoch
 * @best: time that an epoch of the other way took
 *
 * All zero to begin with.
 */
struct pace {
	bool spin;
	bool trial;
	uint8_t misses;
	uint16_t left;
	uint16_t epochs;
	uint16_t period;
	uint64_t sum;
	uint64_t best;
};

/**
 * pace_begin() - about to wait
 * @c: pace
 */
void pace_begin(struct pace *c);

/**
 * pace_end() - waited
 * @c: pace
 * @ticks: for so long
 * @missed: span, but in vain
 */
void pace_end(struct pace *c, uint64_t ticks, bool missed);

#endif /* _SANDTRAP_PLATFORM_PACE_H */
