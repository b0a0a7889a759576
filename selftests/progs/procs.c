// SPDX-License-Identifier: MIT
/*
 * procs.c - prints how processes are made, grouped, waited for and end, for comparison
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[65536] __attribute__((aligned(16)));

static void result(const char *name, long ret)
{
	printf("%s: %ld %s\n", name, ret,
	       ret < 0 ? strerrorname_np(errno) : "");
	fflush(stdout);
}

static void status(const char *name, pid_t pid, int options)
{
	int st = -1;
	pid_t got = waitpid(pid, &st, options);

	printf("%s: %s %#x\n", name, got == pid ? "it" : "other", st);
	fflush(stdout);
}

static void clone_errors(void)
{
	static const struct {
		const char *name;
		unsigned long flags;
	} cases[] = {
		{ "thread_without_sighand", CLONE_THREAD | CLONE_VM },
		{ "sighand_without_vm", CLONE_SIGHAND },
		{ "newns_with_fs", CLONE_NEWNS | CLONE_FS },
		{ "thread_newuser",
		  CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWUSER },
	};
	struct clone_args ca;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		result(cases[i].name,
		       syscall(SYS_clone, cases[i].flags, 0, 0, 0, 0));
	memset(&ca, 0, sizeof(ca));
	result("clone3_small", syscall(SYS_clone3, &ca, 32));
	result("clone3_huge", syscall(SYS_clone3, &ca, 8192));
	ca.exit_signal = 65;
	result("clone3_signal", syscall(SYS_clone3, &ca, sizeof(ca)));
	ca.exit_signal = 0;
	ca.stack = 8;
	result("clone3_stack", syscall(SYS_clone3, &ca, sizeof(ca)));
	ca.stack = 0;
	ca.flags = 1ull << 40;
	result("clone3_flags", syscall(SYS_clone3, &ca, sizeof(ca)));
}

static int shared;

static int child_writes(void *arg)
{
	shared = 7;
	if (arg)
		close(*(int *)arg);
	_exit(3);
}

static void sharing(void)
{
	int fd = open("/dev/null", O_RDONLY);
	pid_t pid;

	shared = 1;
	pid = clone(child_writes, stack + sizeof(stack), SIGCHLD, NULL);
	status("clone_copy", pid, 0);
	result("memory_copied", shared);
	pid = clone(child_writes, stack + sizeof(stack),
		    CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, &fd);
	result("vfork_memory_shared", shared);
	result("files_shared", fcntl(fd, F_GETFD));
	status("clone_vm", pid, 0);
	pid = clone(child_writes, stack + sizeof(stack), CLONE_VM, NULL);
	result("clone_child_plain_wait", waitpid(pid, NULL, 0));
	status("clone_child_wclone", pid, __WCLONE);
	signal(SIGUSR2, SIG_IGN);
	pid = clone(child_writes, stack + sizeof(stack), CLONE_VM | SIGUSR2,
		    NULL);
	status("clone_child_wall", pid, __WALL);
}

static void tids(void)
{
	int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	pid = (pid_t)syscall(SYS_clone,
			     CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD,
			     0, word, word + 1, 0);
	if (!pid)
		_exit(word[1] == getpid() && gettid() == getpid());
	result("parent_settid", word[0] == pid);
	status("child_settid", pid, 0);
}

static void waiting(void)
{
	siginfo_t si;
	pid_t pid;

	result("wait_no_child", waitpid(-1, NULL, 0));
	result("wait_bad_options", waitpid(-1, NULL, 0x40000000));
	result("waitid_bad", waitid(P_ALL, 0, &si, WNOHANG));
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		usleep(200000);
		_exit(5);
	}
	memset(&si, 0, sizeof(si));
	waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOWAIT);
	printf("waitid stopped: %d %d %d\n", si.si_signo, si.si_code,
	       si.si_status);
	status("untraced", pid, WUNTRACED);
	result("untraced_once", waitpid(pid, NULL, WUNTRACED | WNOHANG));
	kill(pid, SIGCONT);
	status("continued", pid, WCONTINUED);
	memset(&si, 0, sizeof(si));
	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
	printf("waitid exited: %d %d %d\n", si.si_signo, si.si_code,
	       si.si_status);
	result("zombie_can_be_signalled", kill(pid, SIGTERM));
	result("zombie_pgid", getpgid(pid) == getpgrp());
	status("exited", pid, 0);
	result("gone", kill(pid, 0));
}

static void auto_reap(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL,
				.sa_flags = SA_NOCLDWAIT };

	signal(SIGCHLD, SIG_IGN);
	if (!fork())
		_exit(1);
	result("ignored_chld", wait(NULL));
	sigaction(SIGCHLD, &sa, NULL);
	if (!fork())
		_exit(1);
	result("nocldwait", wait(NULL));
	signal(SIGCHLD, SIG_DFL);
}

static void groups(void)
{
	pid_t pid, grandchild;
	int fds[2];

	if (pipe(fds))
		return;
	pid = fork();
	if (!pid) {
		result("setsid", setsid() == getpid());
		result("setsid_again", setsid());
		result("setpgid_leader", setpgid(0, 0));
		result("sid", getsid(0) == getpid());
		grandchild = fork();
		if (!grandchild)
			pause();
		result("setpgid_child",
		       setpgid(grandchild, grandchild));
		result("setpgid_nobody", setpgid(999999, 0));
		result("setpgid_no_group", setpgid(grandchild, 999999 % 32768));
		result("kill_group", kill(-grandchild, SIGTERM));
		status("group_killed", grandchild, 0);
		_exit(0);
	}
	status("session", pid, 0);
	result("getpgid_nobody", getpgid(999999));
	result("setpgid_negative", setpgid(0, -1));
}

static void *thread_exits_process(void *arg)
{
	usleep(20000);
	exit(11);
}

static void *thread_execs(void *arg)
{
	execl("/bin/sh", "sh", "-c", arg, NULL);
	return NULL;
}

static void *thread_sleeps(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void threads(void)
{
	pthread_t th;
	pid_t pid;

	pid = fork();
	if (!pid) {
		pthread_create(&th, NULL, thread_exits_process, NULL);
		pthread_exit(NULL);
	}
	status("leader_first", pid, 0);
	pid = fork();
	if (!pid) {
		char script[64];

		snprintf(script, sizeof(script),
			 "[ $$ = %d ] && exit 12", getpid());
		pthread_create(&th, NULL, thread_sleeps, NULL);
		pthread_create(&th, NULL, thread_execs, script);
		thread_sleeps(NULL);
	}
	status("exec_by_thread", pid, 0);
	pid = fork();
	if (!pid) {
		pthread_create(&th, NULL, thread_sleeps, NULL);
		usleep(10000);
		raise(SIGKILL);
	}
	status("kill_of_threads", pid, 0);
}

static volatile sig_atomic_t got, got_code, got_pid;

static void on_usr1(int signo, siginfo_t *si, void *context)
{
	got_code = si->si_code;
	got_pid = si->si_pid;
	got = 1;
}

static void parents(void)
{
	struct sigaction sa = { .sa_sigaction = on_usr1,
				.sa_flags = SA_SIGINFO };
	int fds[2], st = -1;
	pid_t pid;
	char c;

	if (pipe(fds))
		return;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork();
	if (!pid) {
		pid = getpid();
		if (!fork()) {
			sigaction(SIGUSR1, &sa, NULL);
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			if (write(fds[1], "x", 1) != 1)
				_exit(1);
			while (!got)
				usleep(1000);
			_exit(got_code == SI_USER && got_pid == pid ? 20 : 21);
		}
		if (read(fds[0], &c, 1) != 1)
			_exit(1);
		_exit(2);
	}
	setpgid(0, 0);
	status("middle", pid, 0);
	pid = wait(&st);
	result("orphan_adopted", pid > 0);
	result("death_told_by_the_dead", WEXITSTATUS(st) == 20);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void others(void)
{
	struct rlimit rl = { 64, 128 }, huge = { 64, 256 };
	char name[16];

	prctl(PR_SET_NAME, "a-name-that-is-too-long");
	prctl(PR_GET_NAME, name);
	printf("name: %s\n", name);
	result("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	result("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	result("prctl_unknown", prctl(12345));
	result("setrlimit", setrlimit(RLIMIT_NOFILE, &rl));
	getrlimit(RLIMIT_NOFILE, &rl);
	printf("nofile: %lu %lu\n", rl.rlim_cur, rl.rlim_max);
	huge.rlim_cur = 512;
	result("rlimit_above_max", setrlimit(RLIMIT_NOFILE, &huge));
	result("rlimit_unknown", getrlimit((__rlimit_resource_t)99, &rl));
	result("setuid_same", setuid(geteuid()));
	result("setuid_invalid", syscall(SYS_setuid, -1));
	result("getpriority", getpriority(PRIO_PROCESS, 0));
	result("nice", setpriority(PRIO_PROCESS, 0, 5));
	result("getpriority", getpriority(PRIO_PROCESS, 0));
	result("sched_yield", sched_yield());
	result("sched_getscheduler", sched_getscheduler(0));
	result("x32_getpid", syscall(0x40000000 + SYS_getpid));
	result("negative", syscall(-5));
	result("huge", syscall(0x7fffffff));
	result("truncated",
	       syscall((long)(0x100000000 | SYS_getpid)) == getpid());
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	waiting();
	clone_errors();
	sharing();
	tids();
	auto_reap();
	groups();
	threads();
	parents();
	others();
	return 0;
}
