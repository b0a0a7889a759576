// SPDX-License-Identifier: MIT
/*
 * hostile - a thread that changes what kernel and sentry share while they read it
 */
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture/fuzz/fuzz.h"

/* A command that waits gets a signal after this; one that hangs ignores it. */
#define PATIENCE_NS 15000000ull

static void scribble_context(struct fuzzer *f)
{
	struct sandtrap_context_page *page = fuzz.pages[fuzz_any_slot(f)];
	unsigned int n = pick(f, 4);

	if (!page)
		return;
	if (!pick(f, 8))
		fuzz_mutate(f, (char *)page + SANDTRAP_FPU_OFFSET, 640);
	while (n--)
		fuzz_mutate(f, (char *)page + (pick(f, 2) ? 64 : 0), pick(f, 2) ? 16 : 448);
}

static void scribble(struct fuzzer *f)
{
	struct sandtrap_ring_consumer *c = fuzz.consumer;
	struct fuzzer *victim = &fuzz.fuzzers[pick(f, fuzz.threads)];

	switch (pick(f, 6)) {
	case 0:
		if (c)
			fuzz_mutate(f, c, sizeof(*c));
		break;
	case 1:
		fuzz_mutate(f, victim->arg, 64);
		break;
	case 2:
		fuzz_mutate(f, victim->ops, MAX_OPS * sizeof(*victim->ops));
		break;
	case 3:
		fuzz_mutate(f, fuzz.box.file + PROGRAMS * PROGRAM_SIZE, BOX_FILE_SIZE / 2);
		break;
	default:
		scribble_context(f);
	}
}

/* Scribbles, and sends a signal to whoever has waited long enough. */
void *fuzz_hostile(void *data)
{
	struct fuzzer *f = data;
	uint64_t since;
	unsigned int i;

	while (!fuzz.over) {
		for (i = 0; i < 4; i++)
			scribble(f);
		for (i = 0; i < fuzz.threads; i++) {
			since = board->threads[i].since;
			if (since && box_now_ns() > since + PATIENCE_NS)
				syscall(SYS_tgkill, getpid(), board->threads[i].tid, SIGUSR2);
		}
		usleep(500);
	}
	return NULL;
}
