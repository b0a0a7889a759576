// SPDX-License-Identifier: MIT
/*
 * sysv_msg.c - prints what System V message queues do, for comparison
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static int id;
static struct {
	long type;
	char text[9000];
} m;

static int send(long type, const char *text, int flags)
{
	m.type = type;
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), flags);
}

static void receive(const char *what, size_t room, long type, int flags)
{
	long n;

	memset(&m, 0, sizeof(m));
	n = show(what, msgrcv(id, &m, room, type, flags));
	if (n >= 0)
		printf("  type %ld: %s\n", m.type, m.text);
}

static void show_stat(const char *what)
{
	struct msqid_ds ds;

	if (show(what, msgctl(id, IPC_STAT, &ds)) < 0)
		return;
	printf("  %lu messages, %lu of %lu bytes, sent %d received %d, mode %o\n",
	       ds.msg_qnum, ds.__msg_cbytes, ds.msg_qbytes,
	       ds.msg_lspid == getpid(), ds.msg_lrpid == getpid(),
	       ds.msg_perm.mode);
}

static void test_types(void)
{
	show("send", send(5, "five", 0));
	show("send", send(3, "three", 0));
	show("send", send(4, "four", 0));
	show("send", send(3, "", 0));
	show("type 0", send(0, "zero", 0));
	show("too long", msgsnd(id, &m, 8193, 0));
	show_stat("four");
	receive("copy of the second", 100, 1, MSG_COPY | IPC_NOWAIT);
	receive("lowest up to 4", 100, -4, 0);
	receive("not five", 100, 5, MSG_EXCEPT);
	receive("short", 2, 5, 0);
	receive("cut", 2, 5, MSG_NOERROR);
	receive("none of 9", 100, 9, IPC_NOWAIT);
	receive("any", 100, 0, 0);
	receive("empty", 100, 0, IPC_NOWAIT);
	show("fault", msgsnd(id, (void *)8, 8, 0));
	show_stat("none");
}

static void fill(void)
{
	m.type = 1;
	while (!msgsnd(id, &m, 1000, IPC_NOWAIT))
		;
	show("full", -1);
	show_stat("full");
}

static void test_waiting(void)
{
	pid_t pid = fork();
	int status, i;

	if (!pid) {
		for (i = 0; i < 1000; i++)
			send(1 + i % 2, "hello", 0);
		_exit(0);
	}
	for (i = 0; i < 1000; i++)
		if (msgrcv(id, &m, 100, 1 + i % 2, 0) != 5)
			break;
	printf("%d messages\n", i);
	waitpid(pid, &status, 0);
	fill();
	pid = fork();
	if (!pid)
		_exit(send(7, "last", 0) ? errno : 0);
	usleep(20000);
	receive("first", 9000, 0, 0);
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
	receive("last", 9000, 7, 0);
}

static void on_signal(int signo)
{
}

/* A process that waits for what never comes, or is about to. */
static pid_t start_reader(void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	int ready[2];
	pid_t pid;
	char c;

	pipe(ready);
	pid = fork();
	if (!pid) {
		sigaction(SIGUSR1, &sa, NULL);
		write(ready[1], "", 1);
		_exit(msgrcv(id, &m, 100, 99, 0) < 0 ? errno : 0);
	}
	read(ready[0], &c, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void test_interruption(void)
{
	pid_t pid = start_reader(on_signal);
	int status;

	/* A signal that comes before it waits interrupts nothing. */
	while (!waitpid(pid, &status, WNOHANG)) {
		kill(pid, SIGUSR1);
		usleep(10000);
	}
	printf("interrupted: %s\n", strerrorname_np(WEXITSTATUS(status)));
}

static void test_removal(void)
{
	pid_t pid = start_reader(SIG_IGN);
	int status;

	usleep(300000);
	kill(pid, SIGUSR1);
	show("remove", msgctl(id, IPC_RMID, NULL));
	waitpid(pid, &status, 0);
	printf("removed: %s\n", strerrorname_np(WEXITSTATUS(status)));
	show("gone", msgctl(id, IPC_RMID, NULL));
	show("missing", msgget(0x5b000000 + getpid(), 0));
}

int main(void)
{
	struct msqid_ds ds;

	setvbuf(stdout, NULL, _IOLBF, 0);
	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	show_stat("new");
	test_types();
	test_waiting();
	msgctl(id, IPC_STAT, &ds);
	ds.msg_qbytes = 100;
	ds.msg_perm.mode = 0660;
	show("set", msgctl(id, IPC_SET, &ds));
	show("no room", msgsnd(id, &m, 101, IPC_NOWAIT));
	test_interruption();
	test_removal();
	return 0;
}
