// SPDX-License-Identifier: MIT
/*
 * futex.c - futex(2)
 */
#include <linux/futex.h>

#include "sentry/futex/internal.h"

DECLARE_SYSCALL(futex);
DECLARE_SYSCALL(set_robust_list);
DECLARE_SYSCALL(get_robust_list);

/* The arguments of one call. */
struct futex_op {
	uint64_t uaddr, uaddr2;
	uint32_t val, val2, val3;
	bool shared;
	uint64_t deadline;
};

/* Compare and queue; with the bucket locked nobody wakes in between. */
static int futex_prepare(struct task *t, const struct futex_op *op,
			 struct futex_waiter *w)
{
	struct futex_bucket *b;
	uint32_t val;
	int err;

	err = user_futex_key(t, op->uaddr, op->shared, &w->key);
	if (err)
		return err;
	b = futex_hash(&w->key);
	pthread_mutex_lock(&b->lock);
	err = user_load_u32(t, op->uaddr, &val);
	if (!err && val != op->val)
		err = -EAGAIN;
	if (!err)
		futex_enqueue(b, w);
	pthread_mutex_unlock(&b->lock);
	return err;
}

/* 0: woken; -EAGAIN, -ETIMEDOUT, -ERESTARTSYS, -EFAULT, -EINVAL. */
static int do_wait(struct task *t, const struct futex_op *op, uint32_t bitset)
{
	struct futex_waiter w = { .task = t, .bitset = bitset };
	int err;

	if (!bitset)
		return -EINVAL;
	err = futex_prepare(t, op, &w);
	if (err)
		return err;
	while (!err && atomic_load(&w.bucket))
		err = task_block(t, op->deadline);
	/* Woken at the last moment counts as woken. */
	return futex_dequeue(&w) ? err : 0;
}

static long futex_restart(struct task *t)
{
	const struct futex_op op = {
		.uaddr = t->restart_args[0],
		.val = (uint32_t)t->restart_args[1],
		.shared = t->restart_args[1] >> 32,
		.deadline = t->restart_args[2],
	};
	int err = do_wait(t, &op, (uint32_t)t->restart_args[3]);

	return err == -ERESTARTSYS ? -ERESTART_RESTARTBLOCK : err;
}

/* A timeout goes on from where it was: the call cannot just be repeated. */
static long futex_wait(struct task *t, const struct futex_op *op,
		       uint32_t bitset)
{
	int err = do_wait(t, op, bitset);

	if (err != -ERESTARTSYS || op->deadline == FOREVER)
		return err;
	t->restart_fn = futex_restart;
	t->restart_args[0] = op->uaddr;
	t->restart_args[1] = op->val | (uint64_t)op->shared << 32;
	t->restart_args[2] = op->deadline;
	t->restart_args[3] = bitset;
	return -ERESTART_RESTARTBLOCK;
}

static int wake_key(const struct futex_key *key, uint32_t bitset, int max)
{
	struct futex_bucket *b = futex_hash(key);
	struct futex_wake_list list = { .n = 0 };
	int n, woken = 0;

	do {
		pthread_mutex_lock(&b->lock);
		n = futex_collect(b, key, bitset, max - woken, &list);
		pthread_mutex_unlock(&b->lock);
		futex_wake_list(&list);
		woken += n;
	} while (n == FUTEX_WAKE_BATCH && woken < max);
	return woken;
}

static long futex_wake(struct task *t, const struct futex_op *op,
		       uint32_t bitset)
{
	struct futex_key key;
	int err;

	if (!bitset)
		return -EINVAL;
	err = user_futex_key(t, op->uaddr, op->shared, &key);
	/* As in Linux, 0 wakes one too. */
	return err ? err : wake_key(&key, bitset, MAX((int)op->val, 1));
}

int futex_wake_addr(struct task *t, uint64_t addr, bool shared, int n)
{
	struct futex_key key;
	int err = user_futex_key(t, addr, shared, &key);

	if (!err)
		wake_key(&key, FUTEX_BITSET_MATCH_ANY, n);
	return err;
}

/* Move up to @max waiters from one key to another; both are locked. */
static int requeue(struct futex_bucket *from, const struct futex_key *key,
		   struct futex_bucket *to, const struct futex_key *key2,
		   int max)
{
	struct futex_waiter *w, *next;
	int n = 0;

	if (key->object == key2->object && key->offset == key2->offset)
		return 0;
	for (w = TAILQ_FIRST(&from->waiters); w && n < max; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->key.object != key->object ||
		    w->key.offset != key->offset)
			continue;
		TAILQ_REMOVE(&from->waiters, w, link);
		w->key = *key2;
		futex_enqueue(to, w);
		n++;
	}
	return n;
}

static int two_keys(struct task *t, const struct futex_op *op,
		    struct futex_key *k1, struct futex_key *k2)
{
	int err = user_futex_key(t, op->uaddr, op->shared, k1);

	return err ? err : user_futex_key(t, op->uaddr2, op->shared, k2);
}

static long futex_requeue(struct task *t, const struct futex_op *op,
			  bool compare)
{
	struct futex_wake_list list = { .n = 0 };
	struct futex_bucket *b1, *b2;
	struct futex_key k1, k2;
	uint32_t val;
	int err, n = 0;

	if ((int)op->val < 0 || (int)op->val2 < 0)
		return -EINVAL;
	err = two_keys(t, op, &k1, &k2);
	if (err)
		return err;
	b1 = futex_hash(&k1);
	b2 = futex_hash(&k2);
	futex_lock_two(b1, b2);
	if (compare)
		err = user_load_u32(t, op->uaddr, &val);
	if (compare && !err && val != op->val3)
		err = -EAGAIN;
	if (!err) {
		n = futex_collect(b1, &k1, FUTEX_BITSET_MATCH_ANY,
				  MIN((int)op->val, FUTEX_WAKE_BATCH), &list);
		n += requeue(b1, &k1, b2, &k2, (int)op->val2);
	}
	futex_unlock_two(b1, b2);
	futex_wake_list(&list);
	return err ? err : n;
}

/* FUTEX_WAKE_OP's @val3: what to do to the word, and what to compare. */
static int op_apply(uint32_t code, uint32_t old, uint32_t *new)
{
	uint32_t arg = code >> 12 & 0xfff;

	if (code >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = 1u << (arg & 31);
	else if (arg & 0x800)
		arg |= 0xfffff000;
	switch (code >> 28 & 7) {
	case FUTEX_OP_SET:
		*new = arg;
		return 0;
	case FUTEX_OP_ADD:
		*new = old + arg;
		return 0;
	case FUTEX_OP_OR:
		*new = old | arg;
		return 0;
	case FUTEX_OP_ANDN:
		*new = old & ~arg;
		return 0;
	case FUTEX_OP_XOR:
		*new = old ^ arg;
		return 0;
	default:
		return -ENOSYS;
	}
}

static int op_compare(uint32_t code, uint32_t old)
{
	int32_t a = (int32_t)old, b = (int32_t)(code << 20) >> 20;

	switch (code >> 24 & 15) {
	case FUTEX_OP_CMP_EQ:
		return a == b;
	case FUTEX_OP_CMP_NE:
		return a != b;
	case FUTEX_OP_CMP_LT:
		return a < b;
	case FUTEX_OP_CMP_GE:
		return a >= b;
	case FUTEX_OP_CMP_LE:
		return a <= b;
	case FUTEX_OP_CMP_GT:
		return a > b;
	default:
		return -ENOSYS;
	}
}

/* Returns what the comparison says, or -errno. */
static int op_on_user(struct task *t, uint64_t addr, uint32_t code)
{
	uint32_t old, new, seen;
	int err;

	err = user_load_u32(t, addr, &old);
	while (!err) {
		err = op_apply(code, old, &new);
		if (!err)
			err = user_cas_u32(t, addr, old, new, &seen);
		if (err || seen == old)
			break;
		old = seen;
	}
	return err ? err : op_compare(code, old);
}

static long futex_wake_op(struct task *t, const struct futex_op *op)
{
	struct futex_wake_list list = { .n = 0 };
	struct futex_bucket *b1, *b2;
	struct futex_key k1, k2;
	int ret, n = 0, n2 = 0;

	ret = two_keys(t, op, &k1, &k2);
	if (ret)
		return ret;
	b1 = futex_hash(&k1);
	b2 = futex_hash(&k2);
	futex_lock_two(b1, b2);
	ret = op_on_user(t, op->uaddr2, op->val3);
	if (ret >= 0)
		n = futex_collect(b1, &k1, FUTEX_BITSET_MATCH_ANY,
				  (int)op->val, &list);
	if (ret > 0)
		n2 = futex_collect(b2, &k2, FUTEX_BITSET_MATCH_ANY,
				   (int)op->val2, &list);
	futex_unlock_two(b1, b2);
	if (ret < 0)
		return ret;
	/* More than one list holds: the order among them does not matter. */
	if (list.n == FUTEX_WAKE_BATCH) {
		futex_wake_list(&list);
		n += wake_key(&k1, FUTEX_BITSET_MATCH_ANY, (int)op->val - n);
		if (ret)
			n2 += wake_key(&k2, FUTEX_BITSET_MATCH_ANY,
				       (int)op->val2 - n2);
	}
	futex_wake_list(&list);
	return n + n2;
}

static bool takes_timeout(int cmd)
{
	return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET;
}

/* FUTEX_WAIT's timeout is relative, FUTEX_WAIT_BITSET's absolute. */
static int get_timeout(struct task *t, uint64_t addr, int cmd, bool realtime,
		       uint64_t *deadline)
{
	struct timespec ts;

	*deadline = FOREVER;
	if (!addr)
		return 0;
	if (copy_from_user(t, &ts, addr, sizeof(ts)))
		return -EFAULT;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		return -EINVAL;
	if (cmd == FUTEX_WAIT)
		*deadline = deadline_after(&ts);
	else
		*deadline = deadline_at(realtime ? CLOCK_REALTIME :
						   CLOCK_MONOTONIC,
					&ts);
	return 0;
}

static long futex_dispatch(struct task *t, const struct futex_op *op, int cmd)
{
	switch (cmd) {
	case FUTEX_WAIT:
		return futex_wait(t, op, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAIT_BITSET:
		return futex_wait(t, op, op->val3);
	case FUTEX_WAKE:
		return futex_wake(t, op, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(t, op, op->val3);
	case FUTEX_REQUEUE:
		return futex_requeue(t, op, false);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(t, op, true);
	case FUTEX_WAKE_OP:
		return futex_wake_op(t, op);
	default:
		return -ENOSYS;
	}
}

long sys_futex(struct task *t, const uint64_t *args)
{
	int cmd = (int)args[1] & FUTEX_CMD_MASK;
	bool realtime = args[1] & FUTEX_CLOCK_REALTIME;
	struct futex_op op = {
		.uaddr = args[0],
		.uaddr2 = args[4],
		.val = (uint32_t)args[2],
		.val2 = (uint32_t)args[3],
		.val3 = (uint32_t)args[5],
		.shared = !(args[1] & FUTEX_PRIVATE_FLAG),
	};
	int err;

	if (realtime && cmd != FUTEX_WAIT_BITSET)
		return -ENOSYS;
	if (takes_timeout(cmd)) {
		err = get_timeout(t, args[3], cmd, realtime, &op.deadline);
		if (err)
			return err;
	}
	return futex_dispatch(t, &op, cmd);
}

static const struct syscall_desc descs[] = {
	SYSCALL_PART(futex, "pduppu", "no priority inheritance"),
	SYSCALL(set_robust_list, "pu"),
	SYSCALL(get_robust_list, "dpp"),
};

SYSCALL_GROUP(futex_syscalls, descs);
