// SPDX-License-Identifier: MIT
/*
 * prctl.c - prctl, arch_prctl, personality
 */
#include <asm/prctl.h>
#include <sys/prctl.h>

#include "sentry/signal/internal.h"
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef ARCH_GET_CPUID
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012
#endif

static long set_name(struct task *t, uint64_t addr)
{
	char name[sizeof(t->comm)] = "";
	ssize_t n;

	n = strncpy_from_user(t, name, addr, sizeof(name) - 1);
	if (n < 0 && n != -ENAMETOOLONG)
		return n;
	name[sizeof(name) - 1] = '\0';
	pthread_mutex_lock(&t->kernel->tasks_lock);
	memcpy(t->comm, name, sizeof(name));
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return 0;
}

static long set_pdeath_signal(struct task *t, uint64_t signo)
{
	if (signo && (signo > SIGNAL_MAX || !signo_valid((int)signo)))
		return -EINVAL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	t->tg->pdeath_signal = (int)signo;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return 0;
}

static long set_subreaper(struct task *t, bool on)
{
	pthread_mutex_lock(&t->kernel->tasks_lock);
	t->tg->child_subreaper = on;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return 0;
}

static long set_no_new_privs(struct task *t, const uint64_t *args)
{
	if (args[1] != 1 || args[2] || args[3] || args[4])
		return -EINVAL;
	t->tg->no_new_privs = true;
	return 0;
}

static long get_no_new_privs(struct task *t, const uint64_t *args)
{
	if (args[1] || args[2] || args[3] || args[4])
		return -EINVAL;
	return t->tg->no_new_privs;
}

static long set_dumpable(struct task *t, uint64_t value)
{
	if (value > 1)
		return -EINVAL;
	t->tg->dumpable = (int)value;
	return 0;
}

static long read_bounding(struct task *t, uint64_t cap)
{
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	return t->cred.cap_bounding >> cap & 1;
}

static long drop_bounding(struct task *t, uint64_t cap)
{
	/* Needs CAP_SETPCAP, which the sandbox does not have. */
	return cap > CAP_LAST_CAP ? -EINVAL : -EPERM;
}

long sys_prctl(struct task *t, const uint64_t *args)
{
	switch ((int)args[0]) {
	case PR_SET_NAME:
		return set_name(t, args[1]);
	case PR_GET_NAME:
		return copy_to_user(t, args[1], t->comm, sizeof(t->comm));
	case PR_SET_PDEATHSIG:
		return set_pdeath_signal(t, args[1]);
	case PR_GET_PDEATHSIG:
		return put_user_u32(t, args[1], (uint32_t)t->tg->pdeath_signal);
	case PR_SET_CHILD_SUBREAPER:
		return set_subreaper(t, args[1]);
	case PR_GET_CHILD_SUBREAPER:
		return put_user_u32(t, args[1], t->tg->child_subreaper);
	case PR_SET_NO_NEW_PRIVS:
		return set_no_new_privs(t, args);
	case PR_GET_NO_NEW_PRIVS:
		return get_no_new_privs(t, args);
	case PR_SET_DUMPABLE:
		return set_dumpable(t, args[1]);
	case PR_GET_DUMPABLE:
		return t->tg->dumpable;
	case PR_CAPBSET_READ:
		return read_bounding(t, args[1]);
	case PR_CAPBSET_DROP:
		return drop_bounding(t, args[1]);
	case PR_GET_KEEPCAPS:
	case PR_GET_SECCOMP:
	case PR_GET_SECUREBITS:
		return 0;
	case PR_GET_TIMERSLACK:
		return 50000;
	case PR_SET_TIMERSLACK:
	/* Who may trace whom does not matter where nobody can trace. */
	case PR_SET_PTRACER:
		return 0;
	case PR_GET_TSC:
		return put_user_u32(t, args[1], PR_TSC_ENABLE);
	default:
		/* PR_SET_VMA among them: names of memory are a nicety. */
		return -EINVAL;
	}
}

static long set_base(struct task *t, uint64_t addr, bool fs)
{
	int err;

	if (addr >= t->kernel->platform->max_user_address)
		return -EPERM;
	err = context_pull_full_state(t->ctx);
	if (err)
		return err;
	if (fs)
		t->regs->fs_base = addr;
	else
		t->regs->gs_base = addr;
	context_full_state_changed(t->ctx);
	return 0;
}

static long get_base(struct task *t, uint64_t addr, bool fs)
{
	int err = context_pull_full_state(t->ctx);

	if (err)
		return err;
	return put_user_u64(t, addr, fs ? t->regs->fs_base : t->regs->gs_base);
}

long sys_arch_prctl(struct task *t, const uint64_t *args)
{
	switch ((int)args[0]) {
	case ARCH_SET_FS:
		return set_base(t, args[1], true);
	case ARCH_SET_GS:
		return set_base(t, args[1], false);
	case ARCH_GET_FS:
		return get_base(t, args[1], true);
	case ARCH_GET_GS:
		return get_base(t, args[1], false);
	case ARCH_GET_CPUID:
		return 1;
	case ARCH_SET_CPUID:
		return -ENODEV;
	default:
		return -EINVAL;
	}
}

#define PERSONALITY_QUERY 0xffffffffu
#define PER_MASK 0xffu
#define ADDR_NO_RANDOMIZE 0x0040000u

/* Only Linux's own, and what has no effect here or is mm/'s choice. */
long sys_personality(struct task *t, const uint64_t *args)
{
	unsigned int new = (unsigned int)args[0], old = t->personality;

	if (new == PERSONALITY_QUERY)
		return old;
	if (new & PER_MASK || new & ~(PER_MASK | ADDR_NO_RANDOMIZE))
		return -EINVAL;
	t->personality = new;
	return old;
}
