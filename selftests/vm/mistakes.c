// SPDX-License-Identifier: MIT
/*
 * mistakes - a module that makes the mistake whose name is written to its parameter
 *
 * For selftests/vm/reports, which wants to see each of them reported.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

#include <asm/msr.h>

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static int __rcu *published;
static int table[8];
static unsigned long counter;
static int sink;

static int hide(int value)
{
	OPTIMIZER_HIDE_VAR(value);
	return value;
}

static void out_of_bounds(void)
{
	char *p = kmalloc(16, GFP_KERNEL);

	if (p)
		WRITE_ONCE(sink, READ_ONCE(p[hide(16)]));
	kfree(p);
}

static void out_of_bounds_vmalloc(void)
{
	char *p = vmalloc(PAGE_SIZE / 2);

	if (p)
		WRITE_ONCE(p[hide(PAGE_SIZE / 2)], 0);
	vfree(p);
}

static void use_after_free(void)
{
	char *p = kmalloc(16, GFP_KERNEL);

	kfree(p);
	if (p)
		WRITE_ONCE(sink, READ_ONCE(p[hide(0)]));
}

static void shift(void)
{
	WRITE_ONCE(sink, 1 << hide(40));
}

static void array_index(void)
{
	WRITE_ONCE(sink, table[hide(ARRAY_SIZE(table))]);
}

static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void rcu(void)
{
	WRITE_ONCE(sink, !rcu_dereference(published));
}

static void expired(struct timer_list *unused)
{
}

static void free_active_timer(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return;
	timer_setup(timer, expired, 0);
	mod_timer(timer, jiffies + 600 * HZ);
	kfree(timer);
}

/* Several: a stale pointer somewhere may keep one of them from being found. */
static void leak(void)
{
	int i;

	for (i = 0; i < 16; i++)
		WRITE_ONCE(sink, !kmalloc(64, GFP_KERNEL));
}

static void hung_task(void)
{
	schedule_timeout_uninterruptible(100 * HZ);
}

static void soft_lockup(void)
{
	unsigned long end = jiffies + 100 * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

/* The marked read is none of the race. */
static void count_once(void)
{
	unsigned long before = READ_ONCE(counter);

	counter++;
	if (rdtsc() & 1)
		WRITE_ONCE(sink, READ_ONCE(counter) != before + 1);
}

static int count(void *unused)
{
	while (!kthread_should_stop()) {
		count_once();
		cond_resched();
	}
	return 0;
}

static void race(void)
{
	struct task_struct *task = kthread_run(count, NULL, "race");
	unsigned long end = jiffies + 20 * HZ;

	if (IS_ERR(task))
		return;
	while (time_before(jiffies, end)) {
		count_once();
		cond_resched();
	}
	kthread_stop(task);
}

static const struct {
	const char *name;
	void (*make)(void);
} mistakes[] = {
	{ "out_of_bounds", out_of_bounds },
	{ "out_of_bounds_vmalloc", out_of_bounds_vmalloc },
	{ "use_after_free", use_after_free },
	{ "shift", shift },
	{ "array_index", array_index },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "lock_order", lock_order },
	{ "rcu", rcu },
	{ "free_active_timer", free_active_timer },
	{ "leak", leak },
	{ "hung_task", hung_task },
	{ "soft_lockup", soft_lockup },
	{ "race", race },
};

static int mistake_set(const char *text, const struct kernel_param *unused)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mistakes); i++) {
		if (!sysfs_streq(text, mistakes[i].name))
			continue;
		mistakes[i].make();
		return 0;
	}
	return -EINVAL;
}

static const struct kernel_param_ops mistake_ops = { .set = mistake_set };
module_param_cb(mistake, &mistake_ops, NULL, 0200);

static int __init start(void)
{
	return 0;
}

static void __exit stop(void)
{
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("Mistakes that a debug kernel has to report");
MODULE_LICENSE("Dual MIT/GPL");
