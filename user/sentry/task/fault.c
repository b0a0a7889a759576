// SPDX-License-Identifier: MIT
/*
 * fault.c - events of a task other than system calls: faults, CPUID, and ways
 * into the kernel that this kernel does not have
 */
#include "sentry/mm/patch.h"
#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#define TRAP_UD 6
#define TRAP_GP 13
#define TRAP_PF 14
#define TRAP_AC 17

/* Error code of a page fault. */
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_INSTR 16u

/* #GP by an interrupt gate that is not there: int 0x80. */
#define INT80_ERROR_CODE (0x80u << 3 | 2)

#define VSYSCALL_ADDR 0xffffffffff600000ull
#define VSYSCALL_SLOT 0x400ull

/* Calls the C function behind a slot of the vsyscall page. */
static long do_vsyscall(struct task *t, unsigned int slot)
{
	const uint64_t args[6] = { t->regs->rdi, t->regs->rsi, t->regs->rdx };

	switch (slot) {
	case 0:
		return sys_gettimeofday(t, args);
	case 1:
		return sys_time(t, args);
	default:
		return sys_getcpu(t, args);
	}
}

/*
 * Programs of old call fixed addresses in the kernel's half, which no platform
 * can map: the jump there faults, and the call is carried out here.
 */
static bool try_vsyscall(struct task *t)
{
	uint64_t off = t->regs->rip - VSYSCALL_ADDR;
	uint64_t ret_addr;
	long ret;

	if (off % VSYSCALL_SLOT || off / VSYSCALL_SLOT > 2)
		return false;
	if (get_user_u64(t, &ret_addr, t->regs->rsp))
		return false;
	ret = do_vsyscall(t, (unsigned int)(off / VSYSCALL_SLOT));
	if (ret == -EFAULT)
		return false;
	t->regs->rax = (uint64_t)ret;
	t->regs->rip = ret_addr;
	t->regs->rsp += 8;
	return true;
}

/* What the CPU would have said, where the platform does not know. */
static void guess_trap(struct platform_event *ev)
{
	static const uint8_t by_signal[] = {
		[SIGILL] = TRAP_UD, [SIGTRAP] = 3, [SIGBUS] = TRAP_AC,
		[SIGFPE] = 0, [SIGSEGV] = TRAP_GP,
	};

	if (ev->flags & PLATFORM_EVENT_TRAP_VALID)
		return;
	ev->error_code = 0;
	if (ev->access) {
		ev->trap_nr = TRAP_PF;
		ev->cr2 = (uint64_t)(uintptr_t)ev->info.si_addr;
		ev->error_code = PF_USER;
		if (ev->access & PLATFORM_ACCESS_WRITE)
			ev->error_code |= PF_WRITE;
		if (ev->access & PLATFORM_ACCESS_EXECUTE)
			ev->error_code |= PF_INSTR;
	} else if ((size_t)ev->info.si_signo < sizeof(by_signal)) {
		ev->trap_nr = by_signal[ev->info.si_signo];
	}
}

/*
 * The host's siginfo tells of its own mappings; the program has others. What the
 * CPU said of the page stands, where the platform knows it.
 */
static void describe_fault(struct platform_event *ev, uint64_t addr, int err)
{
	siginfo_t *info = &ev->info;

	memset(info, 0, sizeof(*info));
	info->si_addr = (void *)(uintptr_t)addr;
	switch (err) {
	case -EIO:
		info->si_signo = SIGBUS;
		info->si_code = BUS_ADRERR;
		break;
	case -EACCES:
		info->si_signo = SIGSEGV;
		info->si_code = SEGV_ACCERR;
		if (!(ev->flags & PLATFORM_EVENT_TRAP_VALID))
			ev->error_code |= PF_PRESENT;
		break;
	default:
		info->si_signo = SIGSEGV;
		info->si_code = SEGV_MAPERR;
		break;
	}
}

static void handle_page_fault(struct task *t, struct platform_event *ev)
{
	uint64_t addr = ev->flags & PLATFORM_EVENT_TRAP_VALID &&
					ev->trap_nr == TRAP_PF ?
				ev->cr2 :
				(uint64_t)(uintptr_t)ev->info.si_addr;
	int err = mm_handle_fault(t, addr, ev->access);

	if (!err) {
		t->fault_count++;
		return;
	}
	if (err == -ENOMEM) {
		task_group_exit(t, SIGKILL);
		return;
	}
	patch_leave_slot(t, ev);
	guess_trap(ev);
	describe_fault(ev, addr, err);
	signal_force(t, &ev->info, ev);
}

static void handle_signal(struct task *t, struct platform_event *ev)
{
	if (unlikely(t->regs->rip >= VSYSCALL_ADDR) && try_vsyscall(t))
		return;
	/*
	 * SIGBUS of the host is the answer already: the page is mapped, and there
	 * is nothing behind it, as behind the end of a file.
	 */
	if (ev->access && ev->info.si_signo == SIGSEGV) {
		handle_page_fault(t, ev);
		return;
	}
	if (ev->info.si_signo == SIGILL && cpuid_emulate_rewritten(t))
		return;
	if (patch_leave_slot(t, ev))
		return;
	guess_trap(ev);
	signal_force(t, &ev->info, ev);
}

/*
 * A kernel without 32-bit emulation has no gate 0x80: the instruction faults.
 * The other 32-bit entries are reached from code segments that it does not
 * have either.
 */
static void handle_compat(struct task *t, struct platform_event *ev)
{
	t->regs->rip -= 2;
	t->regs->rax = (uint32_t)t->regs->orig_rax;
	t->regs->orig_rax = -1ull;
	siginfo_user(&ev->info, SIGSEGV, NULL);
	ev->trap_nr = TRAP_GP;
	ev->error_code = INT80_ERROR_CODE;
	signal_force(t, &ev->info, ev);
}

void task_handle_event(struct task *t, struct platform_event *ev)
{
	switch (ev->kind) {
	case PLATFORM_SYSCALL:
		handle_compat(t, ev);
		break;
	case PLATFORM_SIGNAL:
		handle_signal(t, ev);
		break;
	case PLATFORM_CPUID:
		cpuid_emulate(t);
		break;
	case PLATFORM_INTERRUPT:
	case PLATFORM_PREEMPTED:
		patch_leave_slot(t, ev);
		break;
	}
}
