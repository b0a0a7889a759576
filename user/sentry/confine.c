// SPDX-License-Identifier: MIT
/*
 * confine.c - the sentry takes away from itself what it does not need
 *
 * The sentry is what a hostile program attacks first. Before the program runs,
 * every thread of it gets a seccomp filter: the host system calls below, those
 * that the platform says it makes, and no others. So a sentry that has been
 * taken over can make no program run (execve), no code appear (no executable
 * mapping), no connection (no sockets), type no characters into its terminal
 * (TIOCSTI), and trace and signal no process but its own stubs; on systrap it can
 * kill and continue any that its user may, on ptrace trace and kill them. What is
 * refused fails with EPERM.
 *
 * The stub processes are not affected: they descend from a template that was
 * forked before, and have filters of their own.
 */
#include <asm/termbits.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sentry/kernel.h"

#define ALLOW(name) SCMP_SYS(name)

/* Whatever their arguments are. */
static const int plain_calls[] = {
	/* input and output on descriptors */
	ALLOW(read), ALLOW(write), ALLOW(readv), ALLOW(writev),
	ALLOW(pread64), ALLOW(pwrite64), ALLOW(preadv), ALLOW(pwritev),
	ALLOW(preadv2), ALLOW(pwritev2), ALLOW(lseek), ALLOW(close),
	ALLOW(close_range), ALLOW(dup), ALLOW(dup3), ALLOW(fcntl),
	ALLOW(flock), ALLOW(fsync), ALLOW(fdatasync), ALLOW(sync),
	ALLOW(syncfs), ALLOW(sync_file_range), ALLOW(fallocate),
	ALLOW(ftruncate), ALLOW(truncate), ALLOW(fadvise64),
	ALLOW(readahead), ALLOW(copy_file_range), ALLOW(sendfile),
	ALLOW(splice), ALLOW(tee), ALLOW(poll), ALLOW(ppoll),
	ALLOW(pselect6), ALLOW(epoll_create1), ALLOW(epoll_ctl),
	ALLOW(epoll_wait), ALLOW(epoll_pwait), ALLOW(eventfd2),
	ALLOW(pipe2), ALLOW(timerfd_create), ALLOW(timerfd_settime),
	ALLOW(timerfd_gettime), ALLOW(memfd_create), ALLOW(signalfd4),
	ALLOW(inotify_init1), ALLOW(inotify_add_watch),
	ALLOW(inotify_rm_watch),
	/* files */
	ALLOW(openat), ALLOW(openat2), ALLOW(open), ALLOW(newfstatat),
	ALLOW(fstat), ALLOW(statx), ALLOW(fstatfs), ALLOW(statfs),
	ALLOW(getdents64), ALLOW(readlinkat), ALLOW(readlink),
	ALLOW(mkdirat), ALLOW(mknodat), ALLOW(unlinkat), ALLOW(linkat),
	ALLOW(symlinkat), ALLOW(renameat), ALLOW(renameat2), ALLOW(fchmod),
	ALLOW(fchmodat), ALLOW(chmod), ALLOW(fchownat), ALLOW(fchown),
	ALLOW(utimensat), ALLOW(faccessat), ALLOW(faccessat2),
	ALLOW(access), ALLOW(umask), ALLOW(getxattr), ALLOW(lgetxattr),
	ALLOW(fgetxattr), ALLOW(setxattr), ALLOW(lsetxattr),
	ALLOW(fsetxattr), ALLOW(listxattr), ALLOW(llistxattr),
	ALLOW(flistxattr), ALLOW(removexattr), ALLOW(lremovexattr),
	ALLOW(fremovexattr),
	/* memory */
	ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW(brk),
	/* threads, signals, time */
	ALLOW(futex), ALLOW(set_robust_list), ALLOW(rseq), ALLOW(exit),
	ALLOW(exit_group), ALLOW(rt_sigaction), ALLOW(rt_sigprocmask),
	ALLOW(rt_sigreturn), ALLOW(rt_sigtimedwait), ALLOW(sigaltstack),
	ALLOW(restart_syscall), ALLOW(gettid), ALLOW(getpid),
	ALLOW(getppid), ALLOW(getpgid), ALLOW(getpgrp), ALLOW(getuid),
	ALLOW(geteuid), ALLOW(getgid), ALLOW(getegid), ALLOW(getgroups),
	ALLOW(sched_yield),
	ALLOW(sched_getaffinity), ALLOW(sched_setaffinity),
	ALLOW(sched_get_priority_max), ALLOW(sched_get_priority_min),
	ALLOW(getpriority), ALLOW(setpriority), ALLOW(clock_gettime),
	ALLOW(clock_getres), ALLOW(clock_nanosleep), ALLOW(gettimeofday),
	ALLOW(time), ALLOW(getcpu), ALLOW(getrusage), ALLOW(sysinfo),
	ALLOW(uname), ALLOW(getrandom), ALLOW(membarrier),
};

/* The kernel looks at the low half of these arguments. */
#define LOW32(arg, value) \
	((struct scmp_arg_cmp){ arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, value })

/* Commands of ioctl(2) on terminals and files; TIOCSTI is not among them. */
static const unsigned int ioctls[] = {
	TCGETS, TCSETS, TCSETSW, TCSETSF, TCGETA, TCSETA, TCSETAW, TCSETAF,
	TCGETS2, TCSETS2, TCSETSW2, TCSETSF2, TCSBRK, TCSBRKP, TCXONC, TCFLSH,
	TIOCGWINSZ, TIOCSWINSZ, TIOCOUTQ, TIOCGETD, TIOCGPGRP, TIOCGSID,
	TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK, TIOCGPTPEER, TIOCPKT, TIOCGPKT,
	FIONREAD, FIONBIO,
};

static int allow_plain(scmp_filter_ctx f)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(plain_calls); i++) {
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, plain_calls[i], 0);
		if (err)
			return err;
	}
	return 0;
}

static int allow_ioctls(scmp_filter_ctx f)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(ioctls); i++) {
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       LOW32(1, ioctls[i]));
		if (err)
			return err;
	}
	return 0;
}

/* Memory that is not executable; threads; signals to this process. */
static int allow_limited(scmp_filter_ctx f)
{
	const int threads = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
	int err;

	err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
			       SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect),
				       1, SCMP_A2_32(SCMP_CMP_MASKED_EQ,
						     PROT_EXEC, 0));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				       SCMP_A0_32(SCMP_CMP_MASKED_EQ,
						  (scmp_datum_t)threads,
						  (scmp_datum_t)threads));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       LOW32(0, (scmp_datum_t)getpid()));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1,
				       LOW32(0, (scmp_datum_t)getpid()));
	/* Its flags are in memory: the C library then takes clone(). */
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS),
				       SCMP_SYS(clone3), 0);
	return err;
}

/* Rules for a call that is allowed anyway are refused as redundant. */
static int allow_platform(scmp_filter_ctx f, struct platform *p)
{
	const struct platform_seccomp_rule *r;
	size_t i, n = platform_seccomp_info(p, &r);
	int err;

	for (i = 0; i < n; i++, r++) {
		err = r->sysno == SCMP_SYS(mmap) || r->sysno == SCMP_SYS(mprotect) ?
			      0 : seccomp_rule_add_array(f, SCMP_ACT_ALLOW,
							 r->sysno,
							 r->nr_args, r->args);
		if (err && err != -EEXIST)
			return err;
	}
	return 0;
}

int sentry_confine(struct kernel *k)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err;

	if (!f)
		return -ENOMEM;
	err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	/* What every system call of the program needs comes first. */
	if (!err)
		err = seccomp_syscall_priority(f, SCMP_SYS(ioctl), 255);
	if (!err)
		err = allow_platform(f, k->platform);
	if (!err)
		err = allow_plain(f);
	if (!err)
		err = allow_ioctls(f);
	if (!err)
		err = allow_limited(f);
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}
