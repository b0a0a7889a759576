// SPDX-License-Identifier: MIT
/*
 * storm.c - a thread that interrupts contexts at random moments
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench.h"
#include "storm.h"

/* Between two interrupts, at most; an emulated machine needs longer for a switch. */
#define PAUSE_US 250
#define PAUSE_EMULATED_US 1000

/* After so many interrupts without another event, each pause is a long one. */
#define IN_A_ROW_MAX 3
#define LONG_PAUSE_US 5000

struct storm {
	pthread_t thread;
	atomic_bool stop;
	atomic_uint in_a_row;
	atomic_ulong count;
	long pause_us;
	pthread_mutex_t lock;
	/* protected by lock */
	struct platform_context *targets[STORM_TARGETS];
	unsigned int next;
};

/* The lock keeps the context from being released meanwhile. */
static void strike(struct storm *s, unsigned int which)
{
	pthread_mutex_lock(&s->lock);
	if (s->targets[which]) {
		context_interrupt(s->targets[which]);
		s->count++;
	}
	pthread_mutex_unlock(&s->lock);
}

/* In each round every target has one chance in two. */
static void *storm_main(void *arg)
{
	struct storm *s = arg;
	uint64_t seed = 0x9e3779b97f4a7c15;
	unsigned int i;

	while (!s->stop) {
		uint64_t chances = bench_random(&seed);

		for (i = 0; i < STORM_TARGETS; i++) {
			if (chances >> i & 1)
				strike(s, i);
		}
		if (s->in_a_row > IN_A_ROW_MAX)
			bench_sleep_us(LONG_PAUSE_US);
		else
			bench_sleep_us((long)((chances >> 32) % s->pause_us));
	}
	return NULL;
}

struct storm *storm_begin(void)
{
	struct storm *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pause_us = bench_scale(PAUSE_US, PAUSE_EMULATED_US);
	pthread_mutex_init(&s->lock, NULL);
	if (pthread_create(&s->thread, NULL, storm_main, s)) {
		free(s);
		return NULL;
	}
	return s;
}

void storm_end(struct storm *s)
{
	if (!s)
		return;
	s->stop = true;
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void storm_add(struct storm *s, struct platform_context *ctx)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->targets[s->next++ % STORM_TARGETS] = ctx;
	pthread_mutex_unlock(&s->lock);
}

void storm_remove(struct storm *s, struct platform_context *ctx)
{
	unsigned int i;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	for (i = 0; i < STORM_TARGETS; i++) {
		if (s->targets[i] == ctx)
			s->targets[i] = NULL;
	}
	pthread_mutex_unlock(&s->lock);
}

void storm_saw(struct storm *s, bool interrupt)
{
	if (s && interrupt)
		s->in_a_row++;
	else if (s)
		s->in_a_row = 0;
}

unsigned long storm_count(struct storm *s)
{
	return s ? s->count : 0;
}
