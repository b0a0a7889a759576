// SPDX-License-Identifier: MIT
/*
 * signalfds.c - prints what signalfds and pidfds do, for comparison
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static struct signalfd_siginfo got[4];

static sigset_t block(int a, int b, int c)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	if (c)
		sigaddset(&set, c);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return set;
}

/* A child that does something later on. */
static pid_t later(int ms, int signo, int status)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	usleep(ms * 1000);
	if (signo)
		kill(parent, signo);
	_exit(status);
}

static void show_read(const char *what, int fd, pid_t from)
{
	ssize_t n = read(fd, got, sizeof(got)), i;

	show(what, n);
	for (i = 0; i < n / (ssize_t)sizeof(got[0]); i++)
		printf("  signal %u code %d value %d status %d from %d\n",
		       got[i].ssi_signo, got[i].ssi_code, got[i].ssi_int,
		       got[i].ssi_status, (pid_t)got[i].ssi_pid == from);
}

static void test_reading(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0);
	union sigval v;
	pid_t pid;

	show("empty", read(fd, got, sizeof(got)));
	show("no room", read(fd, got, 100));
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	show("epoll", epoll_wait(ep, &ev, 1, 0));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	for (v.sival_int = 7; v.sival_int < 9; v.sival_int++)
		sigqueue(getpid(), SIGRTMIN, v);
	show("epoll", epoll_wait(ep, &ev, 1, 0));
	show_read("pending", fd, getpid());
	show("epoll", epoll_wait(ep, &ev, 1, 0));
	pid = later(50, 0, 3);
	show("epoll is woken", epoll_wait(ep, &ev, 1, 20000));
	show_read("child", fd, pid);
	wait(NULL);
	fcntl(fd, F_SETFL, 0);
	pid = later(50, SIGUSR1, 0);
	show("blocks", read(fd, got, sizeof(got[0])));
	printf("  from %d\n", (pid_t)got[0].ssi_pid == pid);
	waitpid(pid, NULL, 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	show("left over", read(fd, got, sizeof(got)));
	close(ep);
}

/* Whoever reads gets signals of its own. */
static void test_inherited(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	pid_t pid = fork();

	if (!pid) {
		raise(SIGUSR1);
		show_read("a child's own", fd, getpid());
		later(30, SIGUSR1, 0);
		show("a child polls", poll(&p, 1, 20000));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void test_mask(int fd)
{
	sigset_t set = block(SIGUSR2, 0, 0);

	show("change", signalfd(fd, &set, 0) == fd);
	kill(getpid(), SIGUSR1);
	show_read("not of the mask", fd, getpid());
	kill(getpid(), SIGUSR2);
	show_read("of the mask", fd, getpid());
	show("not one", signalfd(0, &set, 0));
	show("bad flags", signalfd(-1, &set, 1));
	show("bad size", syscall(SYS_signalfd4, -1, &set, 4, 0));
}

static int pidfd_open(pid_t pid, unsigned int flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

static long pidfd_kill(int fd, int signo)
{
	return syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
}

static void test_pidfd(void)
{
	pid_t pid = fork();
	struct pollfd p = { .events = POLLIN };
	siginfo_t info = { 0 };

	if (!pid) {
		pause();
		_exit(0);
	}
	p.fd = pidfd_open(pid, 0);
	show("cloexec", fcntl(p.fd, F_GETFD));
	show("runs", poll(&p, 1, 50));
	show("ask", pidfd_kill(p.fd, 0));
	show("bad signal", pidfd_kill(p.fd, 65));
	show("kill", pidfd_kill(p.fd, SIGTERM));
	show("ended", poll(&p, 1, 20000));
	show("wait", waitid(P_PIDFD, (id_t)p.fd, &info, WEXITED));
	printf("  code %d status %d pid %d\n", info.si_code, info.si_status,
	       info.si_pid == pid);
	show("gone", pidfd_kill(p.fd, 0));
	show("wait again", waitid(P_PIDFD, (id_t)p.fd, &info, WEXITED));
	show("no process", pidfd_open(pid, 0));
	show("negative", pidfd_open(-1, 0));
	show("bad flags", pidfd_open(getpid(), 1));
	show("not one", pidfd_kill(0, 0));
	pid = later(100, 0, 4);
	p.fd = pidfd_open(pid, O_NONBLOCK);
	show("would wait", waitid(P_PIDFD, (id_t)p.fd, &info, WEXITED));
	show("no hang", waitid(P_PIDFD, (id_t)p.fd, &info, WEXITED | WNOHANG));
	show("ended", poll(&p, 1, 20000));
	show("wait", waitid(P_PIDFD, (id_t)p.fd, &info, WEXITED));
	printf("  status %d\n", info.si_status);
	show("read", read(p.fd, &info, 1));
}

int main(void)
{
	sigset_t set = block(SIGUSR1, SIGCHLD, SIGRTMIN);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);

	setvbuf(stdout, NULL, _IOLBF, 0);
	test_reading(fd);
	test_inherited(fd);
	test_mask(fd);
	test_pidfd();
	return 0;
}
