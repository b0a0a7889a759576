// SPDX-License-Identifier: MIT
/*
 * sigrules.c - prints how signals are queued, blocked, ordered and framed, for comparison
 *
 * Usage: sigrules [mxcsr]
 *
 * With an argument only a case that emulators get wrong: a frame whose MXCSR
 * the CPU refuses to load.
 */
#include <errno.h>
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int *volatile nowhere = (volatile int *)8;
static char log_line[512];

static void note(const char *what, long value)
{
	size_t n = strlen(log_line);

	snprintf(log_line + n, sizeof(log_line) - n, " %s%ld", what, value);
}

static void flush_log(const char *name)
{
	printf("%s:%s\n", name, log_line);
	log_line[0] = '\0';
}

static void result(const char *name, long ret)
{
	printf("%s: %ld %s\n", name, ret,
	       ret < 0 ? strerrorname_np(errno) : "");
}

static void on_signal(int signo, siginfo_t *si, void *context)
{
	note("sig", signo);
	note("code", si->si_code);
	note("value", si->si_code == SI_QUEUE ? si->si_value.sival_int : -1);
}

static void handle(int signo, int flags, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = fn,
				.sa_flags = flags | SA_SIGINFO };

	sigaction(signo, &sa, NULL);
}

static void block(int how, int a, int b)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	sigprocmask(how, &set, NULL);
}

/* Standard signals merge, real-time ones queue; low numbers go first. */
static void queueing(void)
{
	union sigval v;
	int i;

	handle(SIGUSR1, 0, on_signal);
	handle(SIGRTMIN + 1, 0, on_signal);
	block(SIG_BLOCK, SIGUSR1, SIGRTMIN + 1);
	for (i = 0; i < 3; i++) {
		v.sival_int = i;
		sigqueue(getpid(), SIGRTMIN + 1, v);
		sigqueue(getpid(), SIGUSR1, v);
		kill(getpid(), SIGUSR1);
	}
	block(SIG_UNBLOCK, SIGUSR1, SIGRTMIN + 1);
	flush_log("queueing");
}

static int to_raise;

static void on_nested(int signo, siginfo_t *si, void *context)
{
	note("enter", to_raise);
	if (to_raise-- > 0)
		raise(signo);
	note("leave", to_raise);
}

static void nesting(void)
{
	to_raise = 2;
	handle(SIGUSR1, 0, on_nested);
	raise(SIGUSR1);
	flush_log("deferred");
	to_raise = 2;
	handle(SIGUSR1, SA_NODEFER, on_nested);
	raise(SIGUSR1);
	flush_log("nodefer");
}

static void one_shot(void)
{
	struct sigaction sa;

	handle(SIGUSR2, SA_RESETHAND, on_signal);
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &sa);
	note("default", sa.sa_handler == SIG_DFL);
	flush_log("resethand");
}

static char *alt;

static void on_alt(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	stack_t ss;
	char here;

	sigaltstack(NULL, &ss);
	note("inside", &here >= alt && &here < alt + 65536);
	note("flags", ss.ss_flags);
	note("frame_flags", uc->uc_stack.ss_flags);
	note("aligned", ((uintptr_t)__builtin_frame_address(0) & 15) == 0);
	ss.ss_flags = SS_DISABLE;
	note("disable", sigaltstack(&ss, NULL));
	note("errno", errno);
}

static void alternate_stack(void)
{
	stack_t ss = { .ss_size = 65536 }, old;

	alt = malloc(65536);
	ss.ss_sp = alt;
	note("set", sigaltstack(&ss, NULL));
	handle(SIGUSR1, SA_ONSTACK, on_alt);
	raise(SIGUSR1);
	sigaltstack(NULL, &old);
	note("after", old.ss_flags);
	ss.ss_size = 100;
	note("small", sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
	sigaltstack(NULL, &old);
	note("off", old.ss_flags);
	flush_log("altstack");
}

static void on_frame(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	uint32_t *sw = (uint32_t *)((char *)uc->uc_mcontext.fpregs + 464);
	unsigned int mxcsr = _mm_getcsr();
	uint32_t magic2;

	memcpy(&magic2, (char *)uc->uc_mcontext.fpregs + sw[4],
	       sizeof(magic2));
	note("uc_flags", (long)(uc->uc_flags & 7));
	note("magic1", sw[0] == FP_XSTATE_MAGIC1);
	note("magic2", magic2 == FP_XSTATE_MAGIC2);
	note("extended", sw[1] - sw[4]);
	note("fp_aligned", ((uintptr_t)uc->uc_mcontext.fpregs & 63) == 0);
	note("mxcsr", mxcsr);
	note("saved_mxcsr", uc->uc_mcontext.fpregs->mxcsr);
	note("cs", uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff);
	/* Takes effect on return. */
	uc->uc_mcontext.gregs[REG_R12] = 77;
	uc->uc_mcontext.fpregs->mxcsr |= 0x8000;
	uc->uc_mcontext.fpregs->_xmm[3].element[0] = 0x1234;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

/* tgkill() with known registers around it. */
static long kill_self(long pid, long tid, unsigned int *xmm3)
{
	register long r12 __asm__("r12") = 5;
	long rax = SYS_tgkill, rdx = SIGUSR1;

	__asm__ volatile("syscall\n\tmovd %%xmm3, %1"
			 : "+r"(r12), "=r"(*xmm3), "+a"(rax)
			 : "D"(pid), "S"(tid), "d"(rdx)
			 : "rcx", "r11", "memory", "xmm3");
	return r12;
}

/* The handler runs with a fresh FPU, and may change what is returned to. */
static void frame(void)
{
	long tid = syscall(SYS_gettid);
	unsigned int xmm3 = 0;
	sigset_t set;

	handle(SIGUSR1, 0, on_frame);
	_mm_setcsr(0x1fa0);
	note("r12", kill_self(getpid(), tid, &xmm3));
	note("xmm3", xmm3);
	note("mxcsr", _mm_getcsr());
	_mm_setcsr(0x1f80);
	sigprocmask(SIG_BLOCK, NULL, &set);
	note("usr2_blocked", sigismember(&set, SIGUSR2));
	block(SIG_UNBLOCK, SIGUSR2, 0);
	flush_log("frame");
}

static int wait_status(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static void bad_return(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)0x800000000000;
}

static void bad_mxcsr(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.fpregs->mxcsr = 0xffffffff;
}

static void bad_fpstate(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.fpregs = (void *)8;
}

static void no_fpstate(int signo, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.fpregs = NULL;
}

/* Hostile frames end the process, or do no harm. */
static void bad_frame(void (*handler)(int, siginfo_t *, void *))
{
	pid_t pid = fork();

	if (!pid) {
		handle(SIGUSR1, 0, handler);
		raise(SIGUSR1);
		_exit(9);
	}
	note("status", wait_status(pid));
	flush_log("bad_frame");
}

static void stack_overflow(void)
{
	pid_t pid = fork();

	if (!pid) {
		handle(SIGUSR1, 0, on_signal);
		__asm__ volatile("mov $16, %%rsp\n\tmov %0, %%eax\n\t"
				 "mov %1, %%edi\n\tmov %2, %%esi\n\tsyscall"
				 :
				 : "i"(SYS_kill), "r"(getpid()), "i"(SIGUSR1));
		__builtin_unreachable();
	}
	note("status", wait_status(pid));
	flush_log("no_room_for_frame");
}

static void blocked_fault(void)
{
	pid_t pid = fork();

	if (!pid) {
		handle(SIGSEGV, 0, on_signal);
		block(SIG_BLOCK, SIGSEGV, 0);
		*nowhere = 1;
		_exit(1);
	}
	note("status", wait_status(pid));
	flush_log("blocked_fault");
}

static void waiting(void)
{
	struct timespec ts = { .tv_nsec = 20000000 };
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	result("timedwait_nothing", sigtimedwait(&set, &si, &ts));
	raise(SIGUSR1);
	result("timedwait_pending", sigtimedwait(&set, &si, &ts));
	if (!fork())
		_exit(4);
	result("waitinfo_child", sigwaitinfo(&set, &si));
	note("code", si.si_code);
	note("status", si.si_status);
	wait(NULL);
	flush_log("waitinfo");
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void errors(void)
{
	struct sigaction sa = { .sa_handler = SIG_IGN };
	siginfo_t si = { .si_code = SI_USER };

	result("kill_bad_signal", kill(getpid(), 65));
	result("kill_nobody", kill(999999, 0));
	result("kill_nobody_group", kill(-999999, SIGTERM));
	result("catch_kill", sigaction(SIGKILL, &sa, NULL));
	result("catch_stop", sigaction(SIGSTOP, &sa, NULL));
	result("tgkill_zero", syscall(SYS_tgkill, 0, 0, SIGUSR1));
	result("tgkill_wrong_group",
	       syscall(SYS_tgkill, getpid() + 1, getpid(), 0));
	result("tkill_negative", syscall(SYS_tkill, -1, SIGUSR1));
	result("sigprocmask_how", syscall(SYS_rt_sigprocmask, 7, &sa, NULL, 8));
	result("sigprocmask_size",
	       syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 4));
	result("sigprocmask_fault",
	       syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
	result("sigpending_size", syscall(SYS_rt_sigpending, &sa, 16));
	result("queueinfo_forged",
	       syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &si));
	result("sigsuspend_size", syscall(SYS_rt_sigsuspend, &sa, 4));
}

static void ignored_is_dropped(void)
{
	sigset_t set;

	block(SIG_BLOCK, SIGUSR1, SIGCHLD);
	raise(SIGUSR1);
	raise(SIGCHLD);
	sigpending(&set);
	note("pending", sigismember(&set, SIGUSR1));
	note("chld", sigismember(&set, SIGCHLD));
	signal(SIGUSR1, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigpending(&set);
	note("pending", sigismember(&set, SIGUSR1));
	note("chld", sigismember(&set, SIGCHLD));
	block(SIG_UNBLOCK, SIGUSR1, SIGCHLD);
	flush_log("ignored");
}

static long queue_self(int pidfd, siginfo_t *si)
{
	if (pidfd >= 0)
		return syscall(SYS_pidfd_send_signal, pidfd, si->si_signo, si, 0);
	return syscall(SYS_rt_sigqueueinfo, getpid(), si->si_signo, si);
}

/* How many go in is not compared: Linux counts all of the user's. */
static void fill(int pidfd, int code)
{
	siginfo_t si = { .si_signo = SIGRTMIN + 2, .si_code = code };
	int i;

	for (i = 0; i < 64; i++)
		if (queue_self(pidfd, &si))
			break;
	note("code", code);
	note("refused", i <= 8);
	note("errno", i < 64 ? errno : 0);
}

/* Whatever a signal says of itself, the limit holds; but kill() always works. */
static void limit(void)
{
	static const int codes[] = { SI_QUEUE, SI_KERNEL, SI_TKILL, SI_TIMER, 1 };
	int signo = SIGRTMIN + 2, pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct timespec now = { 0 };
	struct rlimit old, rl;
	siginfo_t si = { 0 };
	sigset_t set;
	size_t i;

	getrlimit(RLIMIT_SIGPENDING, &old);
	rl = (struct rlimit){ 8, old.rlim_max };
	block(SIG_BLOCK, signo, 0);
	setrlimit(RLIMIT_SIGPENDING, &rl);
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		fill(i & 1 ? pidfd : -1, codes[i]);
		fill(i & 1 ? -1 : pidfd, codes[i]);
		signal(signo, SIG_IGN);
		signal(signo, SIG_DFL);
	}
	flush_log("limit");
	rl.rlim_cur = 0;
	setrlimit(RLIMIT_SIGPENDING, &rl);
	note("tgkill", tgkill(getpid(), gettid(), signo));
	note("kill", kill(getpid(), signo));
	note("again", kill(getpid(), signo));
	sigemptyset(&set);
	sigaddset(&set, signo);
	note("sig", sigtimedwait(&set, &si, &now));
	note("code", si.si_code);
	note("pid", si.si_pid);
	note("more", sigtimedwait(&set, &si, &now));
	flush_log("no_room");
	setrlimit(RLIMIT_SIGPENDING, &old);
	block(SIG_UNBLOCK, signo, 0);
	close(pidfd);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) {
		bad_frame(bad_mxcsr);
		return 0;
	}
	queueing();
	nesting();
	one_shot();
	alternate_stack();
	frame();
	bad_frame(bad_return);
	bad_frame(bad_fpstate);
	bad_frame(no_fpstate);
	stack_overflow();
	blocked_fault();
	waiting();
	errors();
	ignored_is_dropped();
	limit();
	return 0;
}
