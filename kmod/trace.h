/* SPDX-License-Identifier: GPL-2.0 */
/*
 * trace.h - tracepoints, instead of printing
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM sandtrap

#if !defined(_SANDTRAP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SANDTRAP_TRACE_H

#include <linux/tracepoint.h>

#include "sandtrap_internal.h"

/* A context stopped: the program was left. */
TRACE_EVENT(sandtrap_exit,
	TP_PROTO(u32 id, u32 seq, u32 event),
	TP_ARGS(id, seq, event),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, seq)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->seq = seq;
		__entry->event = event;
	),
	TP_printk("context=%u seq=%u event=%u",
		  __entry->id, __entry->seq, __entry->event)
);

/* A context continues: the program is entered. */
TRACE_EVENT(sandtrap_enter,
	TP_PROTO(u32 id, u32 seq, unsigned long ip),
	TP_ARGS(id, seq, ip),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, seq)
		__field(unsigned long, ip)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->seq = seq;
		__entry->ip = ip;
	),
	TP_printk("context=%u seq=%u ip=%#lx",
		  __entry->id, __entry->seq, __entry->ip)
);

/* A thread of a stub attached itself, for this context or for none (0). */
TRACE_EVENT(sandtrap_attach,
	TP_PROTO(u32 id),
	TP_ARGS(id),
	TP_STRUCT__entry(
		__field(u32, id)
	),
	TP_fast_assign(
		__entry->id = id;
	),
	TP_printk("context=%u", __entry->id)
);

#define SANDTRAP_KILL_REASONS \
	{ SANDTRAP_KILL_EXIT,	"thread exited" }, \
	{ SANDTRAP_KILL_SEAL,	"call before the thread was sealed" }, \
	{ SANDTRAP_KILL_FILTER,	"no filter behind the hook" }, \
	{ SANDTRAP_KILL_SPACE,	"address space released" }

/* An attached thread, or a stub process (context 0), is killed or has died. */
TRACE_EVENT(sandtrap_kill,
	TP_PROTO(u32 id, u32 why),
	TP_ARGS(id, why),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, why)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->why = why;
	),
	TP_printk("context=%u: %s", __entry->id,
		  __print_symbolic(__entry->why, SANDTRAP_KILL_REASONS))
);

/* An operation on the memory of an address space. */
TRACE_EVENT(sandtrap_mem,
	TP_PROTO(u32 op, u64 addr, u64 len, int error),
	TP_ARGS(op, addr, len, error),
	TP_STRUCT__entry(
		__field(u32, op)
		__field(u64, addr)
		__field(u64, len)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->op = op;
		__entry->addr = addr;
		__entry->len = len;
		__entry->error = error;
	),
	TP_printk("op=%u addr=%#llx len=%#llx error=%d",
		  __entry->op, __entry->addr, __entry->len, __entry->error)
);

#endif /* _SANDTRAP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
