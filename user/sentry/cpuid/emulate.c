// SPDX-License-Identifier: MIT
/*
 * emulate.c - CPUID instructions of the program, carried out
 */
#include <string.h>

#include "platform/cpuid_insn.h"
#include "sentry/mm.h"
#include "sentry/mm/cpuid_rewrite.h"
#include "sentry/signal.h"
#include "sentry/task.h"

#define EFLAGS_TF 0x100u

/* Number of prefixes of the instruction at rip if its opcode is 0f @second, or -1. */
static int prefixes_of(struct task *t, uint8_t second)
{
	uint8_t insn[X86_INSN_MAX];
	ssize_t n = mm_read(t->mm, t->regs->rip, insn, sizeof(insn));

	return n < 0 ? -1 : opcode_0f_offset(insn, (size_t)n, second);
}

/* A single step ends with the instruction, as if the CPU had executed it. */
static void end_step(struct task *t)
{
	siginfo_t info;

	if (!(t->regs->eflags & EFLAGS_TF))
		return;
	siginfo_user(&info, SIGTRAP, NULL);
	info.si_code = TRAP_TRACE;
	info.si_addr = (void *)(uintptr_t)t->regs->rip;
	signal_force(t, &info, NULL);
}

static void emulate(struct task *t, int prefixes)
{
	struct user_regs_struct *r = t->regs;
	struct cpuid_regs out;

	cpuid_query(&t->kernel->cpu, (uint32_t)r->rax, (uint32_t)r->rcx, &out);
	r->rax = out.eax;
	r->rbx = out.ebx;
	r->rcx = out.ecx;
	r->rdx = out.edx;
	r->rip += (uint64_t)prefixes + 2;
	atomic_fetch_add_explicit(&t->kernel->cpuid_count, 1, memory_order_relaxed);
	end_step(t);
}

void cpuid_emulate(struct task *t)
{
	int prefixes = prefixes_of(t, CPUID_BYTE_2);

	/* Gone meanwhile, by another thread's doing: none of them may know. */
	emulate(t, prefixes < 0 ? 0 : prefixes);
}

bool cpuid_emulate_rewritten(struct task *t)
{
	int prefixes;

	if (!t->kernel->rewrite_cpuid)
		return false;
	prefixes = prefixes_of(t, UD2_BYTE_2);
	/* Another thread had it put back meanwhile: it is executed again. */
	if (prefixes < 0)
		return prefixes_of(t, CPUID_BYTE_2) >= 0;
	if (!cpuid_is_site(t->mm, t->regs->rip + (uint64_t)prefixes + 1))
		return false;
	emulate(t, prefixes);
	return true;
}
