// SPDX-License-Identifier: MIT
/*
 * ptrace_template.c - the process that all stub processes are cloned from
 *
 * It is a fork of the sentry that gives up everything it got from there:
 * privileges, session, signal handlers, and in the end all of its memory but
 * the stub and the vDSO. Clones of it are cheap and all alike.
 *
 * The first half runs in the new process, which may be the fork of a process
 * with threads: only system calls, no library code that takes locks. From the
 * jump to the stub on, the master drives it by injected calls.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ptrace.h"
#include "stub_setup.h"

struct setup {
	pid_t parent;
	int go_fd; /* readable once the parent traces */
	int stub_fd;
	struct sock_fprog filter;
};

/* ---- in the new process ---- */

static int wait_for_tracer(const struct setup *s)
{
	char go;

	/* Traceable by the sentry, whatever that is itself. */
	if (prctl(PR_SET_DUMPABLE, 1) || prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	if (getppid() != s->parent)
		_exit(1);
	return read(s->go_fd, &go, 1) == 1 ? 0 : -EPIPE;
}

/*
 * Blocked in the template and so in all threads when they are born: only a
 * tracer unblocks them. The handlers' code will be unmapped: a kernel sigaction
 * with all zero is the default; the two signals that have no other fail.
 */
static int reset_signals(void)
{
	const unsigned long kernel_sigaction[4] = { 0 };
	const uint64_t all = ~0ull;
	int sig;

	if (syscall(__NR_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all)))
		return -errno;
	for (sig = 1; sig < NSIG; sig++)
		syscall(__NR_rt_sigaction, sig, kernel_sigaction, NULL, sizeof(all));
	return 0;
}

static int set_up(const struct setup *s, unsigned int *features)
{
	int err;

	err = wait_for_tracer(s);
	if (!err)
		err = reset_signals();
	if (!err)
		err = stub_leave_rseq();
	if (!err)
		err = stub_drop_privileges();
	if (err)
		return err;
	/* Out of reach of the terminal's signals. */
	if (setsid() < 0 || chdir("/") || prctl(PR_SET_NAME, "sandtrap-stub"))
		return -errno;
	*features = stub_take_features();
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &s->filter) ? -errno : 0;
}

static _Noreturn void template_main(const struct setup *s)
{
	unsigned int features = 0;
	void *stub;
	int err;

	stub = mmap(NULL, PTRACE_STUB_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, s->stub_fd, 0);
	if (stub == MAP_FAILED)
		_exit(2);
	err = set_up(s, &features);
	asm volatile("jmp *%0"
		     :
		     : "c"(PTRACE_STUB_ADDR((uint64_t)stub, report)), "a"((long)err),
		       "b"((long)features), "d"(stub)
		     : "memory");
	__builtin_unreachable();
}

/* ---- in the master thread ---- */

/* Sealed: nobody, whatever descriptors he has, can change the stub's code. */
static int make_stub_file(void)
{
	int fd;

	fd = memfd_create("sandtrap-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write(fd, ptrace_stub_start, PTRACE_STUB_SIZE) != (ssize_t)PTRACE_STUB_SIZE ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		close(fd);
		return -EIO;
	}
	return fd;
}

/*
 * Exit signal 0: a death is nobody's SIGCHLD, and no wait() of the embedder
 * sees it. CLONE_UNTRACED: a debugger of the sentry must not take it from us.
 */
static pid_t fork_template(const struct setup *s)
{
	pid_t pid = syscall(__NR_clone, CLONE_FILES | CLONE_UNTRACED, 0, 0, 0, 0);

	if (!pid)
		template_main(s);
	return pid < 0 ? -errno : pid;
}

/* Reads what template_main() left in the registers at its last instruction. */
static int read_report(pid_t pid, struct ptrace_template *out)
{
	struct user_regs_struct regs;
	int status, err;

	do {
		if (ptrace(PTRACE_CONT, pid, 0, 0))
			return -ECHILD;
		err = ptrace_wait(pid, &status);
		if (err)
			return err;
	} while (WSTOPSIG(status) != SIGTRAP || status >> 16);
	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return -errno;
	out->stub = regs.rdx;
	out->cpuid_faults = regs.rbx & STUB_CPUID_FAULTS;
	out->barrier = regs.rbx & STUB_BARRIER;
	return (int)regs.rax;
}

/*
 * Attaches while the process waits for it. It has not dropped its privileges
 * yet, as far as the kernel's check goes it is a copy of the caller.
 */
static int trace_template(pid_t pid, int go_fd, struct ptrace_template *out)
{
	int err;

	err = ptrace_seize(pid);
	if (!err && ptrace(PTRACE_SETOPTIONS, pid, 0,
			   PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT))
		err = -errno;
	if (err)
		return err;
	if (write(go_fd, "", 1) != 1)
		return -EIO;
	return read_report(pid, out);
}

static int inject_munmap(uint64_t stub, pid_t tid, uint64_t start, uint64_t end)
{
	const struct ptrace_call call = { __NR_munmap, { start, end - start } };
	long result;
	int err;

	if (start >= end)
		return 0;
	err = ptrace_inject(stub, tid, &call, &result);
	return err ? err : (int)result;
}

int ptrace_unmap_all(uint64_t stub, pid_t tid, const struct platform_vdso *vdso)
{
	const uint64_t start = PTRACE_OPS_ADDR(stub), end = stub + PTRACE_STUB_SIZE;
	const bool above = vdso->start >= end;
	int err;

	/* The vDSO is below the stub and its list, or above. */
	err = inject_munmap(stub, tid, 0, above ? start : vdso->start);
	if (!err)
		err = inject_munmap(stub, tid, above ? end : vdso->end,
				    above ? vdso->start : start);
	if (!err)
		err = inject_munmap(stub, tid, above ? vdso->end : end, PTRACE_TASK_SIZE);
	return err;
}

/* The highest pages that the vDSO leaves free, for the stub and its list. */
static uint64_t place_for_stub(const struct platform_vdso *vdso)
{
	uint64_t addr = PTRACE_TASK_SIZE - PTRACE_STUB_SIZE;

	if (PTRACE_OPS_ADDR(addr) < vdso->end && vdso->start < PTRACE_TASK_SIZE)
		addr = vdso->start - PTRACE_STUB_SIZE;
	return addr;
}

/*
 * Moves the stub to its final place. The fork of the sentry has its own stack
 * up there, which this replaces; nothing of it is needed any more.
 */
static int move_stub(struct ptrace_template *t, int stub_fd, const struct platform_vdso *vdso)
{
	const uint64_t place = place_for_stub(vdso);
	const struct ptrace_call call = {
		__NR_mmap,
		{ place, PTRACE_STUB_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, stub_fd },
	};
	long result;
	int err;

	err = ptrace_inject(t->stub, t->pid, &call, &result);
	if (err)
		return err;
	if ((uint64_t)result != place)
		return (int)result;
	t->stub = place;
	return 0;
}

/* The kernel takes an image of exactly the size that it returns. */
static int measure_xstate(struct ptrace_template *t)
{
	static unsigned char buf[65536];
	struct iovec iov = { buf, sizeof(buf) };

	if (ptrace(PTRACE_GETREGSET, t->pid, NT_X86_XSTATE, &iov))
		return -errno;
	t->xstate_size = iov.iov_len;
	return 0;
}

static int drive_template(const struct setup *s, int go_fd, const struct platform_vdso *vdso,
			  struct ptrace_template *out)
{
	int err;

	err = trace_template(out->pid, go_fd, out);
	if (!err)
		err = move_stub(out, s->stub_fd, vdso);
	if (!err)
		err = ptrace_unmap_all(out->stub, out->pid, vdso);
	if (!err)
		err = measure_xstate(out);
	return err;
}

static int start_template(struct setup *s, int go_fd, const struct platform_vdso *vdso,
			  struct ptrace_template *out)
{
	int err;

	out->pid = fork_template(s);
	if (out->pid < 0)
		return out->pid;
	err = drive_template(s, go_fd, vdso, out);
	if (err) {
		kill(out->pid, SIGKILL);
		ptrace_reap(out->pid);
	}
	return err;
}

int ptrace_template_create(const struct platform_vdso *vdso, struct ptrace_template *out)
{
	struct setup s = { .parent = getpid() };
	int go[2], err;

	s.stub_fd = make_stub_file();
	if (s.stub_fd < 0)
		return s.stub_fd;
	err = ptrace_filter_build(&s.filter);
	if (err)
		goto out_close_stub;
	if (pipe2(go, O_CLOEXEC)) {
		err = -errno;
		goto out_free_filter;
	}
	s.go_fd = go[0];
	err = start_template(&s, go[1], vdso, out);
	close(go[0]);
	close(go[1]);
out_free_filter:
	ptrace_filter_free(&s.filter);
out_close_stub:
	close(s.stub_fd);
	return err;
}
