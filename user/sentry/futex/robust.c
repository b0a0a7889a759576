// SPDX-License-Identifier: MIT
/*
 * robust.c - robust futexes: those that a task holds when it dies
 *
 * The list lives in program memory and is hostile: it is followed for a
 * bounded number of steps.
 */
#include <linux/futex.h>

#include "sentry/futex/internal.h"

DECLARE_SYSCALL(set_robust_list);
DECLARE_SYSCALL(get_robust_list);

#define LIST_LIMIT 2048
/* Bit 0 of a pointer marks a futex with priority inheritance. */
#define PI_BIT 1ull

/* struct robust_list_head, as the program has it. */
struct robust_head {
	uint64_t next;
	int64_t futex_offset;
	uint64_t pending;
};

long sys_set_robust_list(struct task *t, const uint64_t *args)
{
	if (args[1] != sizeof(struct robust_head))
		return -EINVAL;
	t->robust_list = args[0];
	t->robust_list_len = args[1];
	return 0;
}

long sys_get_robust_list(struct task *t, const uint64_t *args)
{
	pid_t pid = (pid_t)args[0];
	struct task *o = pid ? task_find(t->kernel, pid) : task_get(t);
	uint64_t head;

	if (!o)
		return -ESRCH;
	head = o->robust_list;
	task_put(o);
	if (put_user_u64(t, args[2], sizeof(struct robust_head)) ||
	    put_user_u64(t, args[1], head))
		return -EFAULT;
	return 0;
}

/* Mark a futex as left behind by its owner; wake one who may take it. */
static int owner_died(struct task *t, uint64_t addr, bool pi, bool pending)
{
	uint32_t val, seen;
	int err;

	if (addr & 3)
		return -EINVAL;
	err = user_load_u32(t, addr, &val);
	for (;;) {
		if (err)
			return err;
		/* Being unlocked when the owner died: waiters may be asleep. */
		if (pending && !pi && !(val & FUTEX_TID_MASK))
			return futex_wake_addr(t, addr, true, 1);
		if ((val & FUTEX_TID_MASK) != (uint32_t)t->tid)
			return 0;
		err = user_cas_u32(t, addr, val,
				   (val & FUTEX_WAITERS) | FUTEX_OWNER_DIED,
				   &seen);
		if (!err && seen == val)
			break;
		val = seen;
	}
	if (!pi && val & FUTEX_WAITERS)
		return futex_wake_addr(t, addr, true, 1);
	return 0;
}

static int handle_entry(struct task *t, const struct robust_head *head,
			uint64_t entry, bool pending)
{
	uint64_t addr = (entry & ~PI_BIT) + (uint64_t)head->futex_offset;

	return owner_died(t, addr, entry & PI_BIT, pending);
}

void futex_exit_robust_list(struct task *t)
{
	struct robust_head head;
	uint64_t entry, next;
	int i;

	if (!t->robust_list ||
	    copy_from_user(t, &head, t->robust_list, sizeof(head)))
		return;
	entry = head.next;
	for (i = 0; i < LIST_LIMIT; i++) {
		if ((entry & ~PI_BIT) == t->robust_list)
			break;
		/* Read on before the entry is given away. */
		if (get_user_u64(t, &next, entry & ~PI_BIT))
			return;
		if (entry != head.pending &&
		    handle_entry(t, &head, entry, false))
			return;
		entry = next;
	}
	if (head.pending)
		handle_entry(t, &head, head.pending, true);
}
