/* SPDX-License-Identifier: GPL-2.0 */
/*
 * event.h - an event goes into the context's page
 *
 * On the path of every system call, so in one piece with it.
 */
#ifndef _SANDTRAP_EVENT_H
#define _SANDTRAP_EVENT_H

#include "sandtrap_internal.h"
#include "trace.h"

/*
 * All of the event but this is in the page already. Returns its number, which the page
 * has from now on. A direct context's only waiter is its runner, which sees it when the
 * call returns; for all others see sandtrap_publish().
 */
static __always_inline u32 sandtrap_post(struct sandtrap_context *ctx, u32 event, u32 flags)
{
	struct sandtrap_context_page *page = ctx->page;
	u32 seq = ctx->seq + 1;

	if (trace_sandtrap_exit_enabled())
		trace_sandtrap_exit(ctx->id, seq, event);
	page->event = event;
	page->event_flags = flags;
	page->cpu = raw_smp_processor_id();
	WRITE_ONCE(ctx->event, event);
	/*
	 * A sentry that sees the event in the page may answer at once, by a command
	 * that must see it here. One that waits here must find it in the page.
	 */
	smp_store_release(&ctx->seq, seq);
	/* Pairs with the acquire load in the sentry. */
	smp_store_release(&page->event_seq, seq);
	return seq;
}

#endif /* _SANDTRAP_EVENT_H */
