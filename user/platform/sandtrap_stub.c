// SPDX-License-Identifier: MIT
/*
 * sandtrap_stub.c - the template process, and how a stub process is made of it
 *
 * The template is forked from the sentry while that is small. It waits for stub
 * descriptors on a socket, forks a child for each, and ends with the socket.
 * The child drops everything it inherited, puts a filter on itself and jumps
 * into the stub (stub/stub.S), which unmaps the rest.
 */
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "sandtrap.h"
#include "stub/stub.h"
#include "uapi/sandtrap.h"

#define TASK_SIZE 0x7ffffffff000ull

/* Candidates for the stub's page: far from each other, for the stack grows. */
#define STUB_TOP (TASK_SIZE - STUB_SIZE)
#define STUB_STEP (1ull << 30)
#define STUB_TRIES 64

extern const unsigned char sandtrap_stub_image[], sandtrap_stub_image_end[];

struct hole {
	uint64_t addr;
	uint64_t len;
};

/* What a child needs to become a stub process; made before the fork. */
struct stub_plan {
	uint64_t base;
	struct hole holes[STUB_HOLES];
	struct sock_filter *filter;
	unsigned short filter_len;
	bool cpuid_fault;
	pid_t template_pid;
};

/* the image */

static void plan_holes(struct stub_plan *plan, const struct platform_vdso *vdso)
{
	uint64_t a = plan->base, a_end = a + STUB_SIZE;
	uint64_t b = vdso->start, b_end = vdso->end;
	struct hole *h = plan->holes;

	if (!b)
		b = b_end = a;
	if (b < a) {
		uint64_t t = a, t_end = a_end;

		a = b;
		a_end = b_end;
		b = t;
		b_end = t_end;
	}
	/* Empty ones are left out: next to each other, or at the top. */
	*h++ = (struct hole){ 0, a };
	if (b > a_end)
		*h++ = (struct hole){ a_end, b - a_end };
	if (b_end < a_end)
		b_end = a_end;
	if (b_end < TASK_SIZE)
		*h = (struct hole){ b_end, TASK_SIZE - b_end };
}

static void write_image(unsigned char *page, const struct stub_plan *plan)
{
	uint64_t filter = plan->base + STUB_FILTER;

	memcpy(page, sandtrap_stub_image,
	       sandtrap_stub_image_end - sandtrap_stub_image);
	memcpy(page + STUB_FPROG_FILTER, &filter, sizeof(filter));
}

/* Finds a free page near the top and keeps it. */
static int reserve_base(uint64_t *base)
{
	int i;

	for (i = 0; i < STUB_TRIES; i++) {
		void *want = (void *)(uintptr_t)(STUB_TOP - i * STUB_STEP);
		void *got = mmap(want, STUB_SIZE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS |
				 MAP_FIXED_NOREPLACE, -1, 0);

		if (got == want) {
			*base = (uintptr_t)want;
			return 0;
		}
		if (got != MAP_FAILED)
			munmap(got, STUB_SIZE);
	}
	return -ENOMEM;
}

static int sealed_image(const struct stub_plan *plan)
{
	unsigned char page[STUB_SIZE] = { 0 };
	int fd, err;

	write_image(page, plan);
	fd = memfd_create("sandtrap-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write(fd, page, sizeof(page)) == sizeof(page) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
				    F_SEAL_WRITE))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int map_stub(const struct stub_plan *plan)
{
	void *base = (void *)(uintptr_t)plan->base;
	int err = 0, fd = sealed_image(plan);

	if (fd < 0)
		return fd;
	if (mmap(base, STUB_SIZE, PROT_READ | PROT_EXEC,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		err = -errno;
	close(fd);
	return err;
}

/* the filter of the first thread */

/* Exactly what stub.S does, with exactly the arguments it uses. */
static int add_rules(scmp_filter_ctx ctx, const struct stub_plan *plan)
{
	int err = 0, i;

#define ALLOW(sysno, n, args...) \
	(err = err ?: seccomp_rule_add_exact(ctx, SCMP_ACT_ALLOW, \
					     SCMP_SYS(sysno), n, ##args))
	for (i = 0; i < STUB_HOLES; i++) {
		if (plan->holes[i].len)
			ALLOW(munmap, 2,
			      SCMP_A0(SCMP_CMP_EQ, plan->holes[i].addr),
			      SCMP_A1(SCMP_CMP_EQ, plan->holes[i].len));
	}
	ALLOW(ioctl, 2, SCMP_A0(SCMP_CMP_EQ, STUB_FD),
	      SCMP_A1(SCMP_CMP_EQ, SANDTRAP_SERVE));
	ALLOW(ioctl, 2, SCMP_A0(SCMP_CMP_EQ, STUB_FD),
	      SCMP_A1(SCMP_CMP_EQ, SANDTRAP_ATTACH));
	ALLOW(clone, 2, SCMP_A0(SCMP_CMP_EQ, STUB_CLONE_FLAGS),
	      SCMP_A1(SCMP_CMP_EQ, 0));
	ALLOW(seccomp, 2, SCMP_A0(SCMP_CMP_EQ, SECCOMP_SET_MODE_FILTER),
	      SCMP_A1(SCMP_CMP_EQ, 0));
	ALLOW(exit, 0);
	ALLOW(exit_group, 0);
#undef ALLOW
	return err;
}

/* The program of a filter, in memory: it is installed after the fork. */
static int export_filter(scmp_filter_ctx ctx, struct stub_plan *plan)
{
	struct sock_filter *filter;
	int err, fd;
	off_t size;

	fd = memfd_create("sandtrap-filter", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = seccomp_export_bpf(ctx, fd);
	if (err)
		goto out;
	err = -ENOMEM;
	size = lseek(fd, 0, SEEK_END);
	filter = malloc(size);
	if (!filter)
		goto out;
	err = -EIO;
	if (pread(fd, filter, size, 0) != size) {
		free(filter);
		goto out;
	}
	plan->filter = filter;
	plan->filter_len = size / sizeof(*filter);
	err = 0;
out:
	close(fd);
	return err;
}

static int build_filter(struct stub_plan *plan)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	if (!ctx)
		return -ENOMEM;
	err = add_rules(ctx, plan);
	if (!err)
		err = export_filter(ctx, plan);
	seccomp_release(ctx);
	return err;
}

/* the child, on its way to being a stub process */

struct kernel_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

/*
 * Stray signals must not do anything. Those of faults need a handler, for the
 * kernel logs a fault that has none; it is never run, for all is blocked.
 */
static void set_signals(uint64_t base)
{
	const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) |
				1ull << (SIGFPE - 1) | 1ull << (SIGILL - 1) |
				1ull << (SIGTRAP - 1) | 1ull << (SIGSYS - 1);
	uint64_t all = ~0ull;
	int sig;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
	for (sig = 1; sig <= 64; sig++) {
		struct kernel_sigaction sa = {
			.handler = (uintptr_t)SIG_IGN,
		};

		if (faults & 1ull << (sig - 1))
			sa.handler = base + STUB_SIGNAL;
		syscall(SYS_rt_sigaction, sig, &sa, NULL, sizeof(sa.mask));
	}
}

/* The kernel must not write to memory that will be the program's. */
static void forget_thread_areas(void)
{
	stack_t none = { .ss_flags = SS_DISABLE };

	if (__rseq_size) {
		char *self = __builtin_thread_pointer();

		syscall(SYS_rseq, self + __rseq_offset, sizeof(struct rseq),
			RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
	}
	syscall(SYS_set_robust_list, NULL, 3 * sizeof(void *));
	syscall(SYS_set_tid_address, NULL);
	sigaltstack(&none, NULL);
}

static bool drop_everything(const struct stub_plan *plan, int stub_fd)
{
	const struct rlimit no_core = { 0, 0 };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    getppid() != plan->template_pid ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_DUMPABLE, 0) || chdir("/"))
		return false;
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_NAME, "sandtrap-stub");
	if (dup2(stub_fd, STUB_FD) != STUB_FD ||
	    syscall(SYS_close_range, STUB_FD + 1, ~0u, 0))
		return false;
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
	if (plan->cpuid_fault)
		syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
	set_signals(plan->base);
	forget_thread_areas();
	return true;
}

/* See stub.h for what is where. */
static void __attribute__((noreturn)) enter_stub(const struct stub_plan *plan)
{
	register uint64_t r8 __asm__("r8") = plan->holes[1].addr;
	register uint64_t r9 __asm__("r9") = plan->holes[1].len;
	register uint64_t r10 __asm__("r10") = plan->holes[2].addr;
	register uint64_t r12 __asm__("r12") = plan->holes[2].len;

	__asm__ volatile("jmp *%0" : :
			 "a"(plan->base + STUB_ENTRY), "D"(plan->holes[0].addr),
			 "S"(plan->holes[0].len), "r"(r8), "r"(r9), "r"(r10),
			 "r"(r12) : "memory");
	__builtin_unreachable();
}

static void __attribute__((noreturn)) become_stub(const struct stub_plan *plan,
						  int stub_fd)
{
	struct sock_fprog prog = { plan->filter_len, plan->filter };

	if (drop_everything(plan, stub_fd) &&
	    !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		enter_stub(plan);
	/* The end of its last descriptor tells the module. */
	_exit(1);
}

/* the template */

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	ssize_t n;
	int fd;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (n != 1 || !cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static void __attribute__((noreturn)) template_main(struct stub_plan *plan,
						    int sock)
{
	int fd;

	/*
	 * Terminal signals are for the sentry; children need not be reaped. A
	 * process group of its own is enough for that, since stub processes
	 * block everything. A session of its own would put them into another
	 * scheduling group (autogroup), and each switch between sentry and stub
	 * would cost a third more.
	 */
	setpgid(0, 0);
	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_NAME, "sandtrap-tmpl");
	prctl(PR_SET_DUMPABLE, 0);
	dup2(sock, 0);
	syscall(SYS_close_range, 1, ~0u, 0);
	plan->template_pid = getpid();

	while ((fd = receive_fd(0)) >= 0) {
		if (!fork())
			become_stub(plan, fd);
		close(fd);
	}
	_exit(0);
}

static int fork_template(struct stub_template *t, struct stub_plan *plan)
{
	int socks[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	pid = fork();
	if (!pid) {
		close(socks[0]);
		template_main(plan, socks[1]);
	}
	close(socks[1]);
	if (pid < 0) {
		int err = -errno;

		close(socks[0]);
		return err;
	}
	t->sock = socks[0];
	t->pid = pid;
	return 0;
}

int stub_template_start(struct stub_template *t,
			const struct platform_vdso *vdso, bool cpuid_fault)
{
	struct stub_plan plan = { .cpuid_fault = cpuid_fault };
	int err;

	err = reserve_base(&plan.base);
	if (err)
		return err;
	plan_holes(&plan, vdso);
	err = map_stub(&plan);
	if (!err)
		err = build_filter(&plan);
	if (!err)
		err = fork_template(t, &plan);
	t->base = plan.base;
	/* Only the template's copies are needed from here on. */
	munmap((void *)(uintptr_t)plan.base, STUB_SIZE);
	free(plan.filter);
	return err;
}

int stub_template_spawn(const struct stub_template *t, int stub_fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &stub_fd, sizeof(stub_fd));
	while (sendmsg(t->sock, &msg, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void stub_template_stop(struct stub_template *t)
{
	close(t->sock);
	while (waitpid(t->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
