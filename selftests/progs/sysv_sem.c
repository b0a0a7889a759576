// SPDX-License-Identifier: MIT
/*
 * sysv_sem.c - prints what System V semaphores do, for comparison
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

static int id;

static int op(int num, int value, int flags)
{
	struct sembuf s = { num, value, flags };

	return semop(id, &s, 1);
}

static int op2(int num, int value, int num2, int value2, int flags)
{
	struct sembuf s[] = { { num, value, flags }, { num2, value2, flags } };

	return semop(id, s, 2);
}

static void show_all(const char *what)
{
	unsigned short v[3];

	semctl(id, 0, GETALL, v);
	printf("%s: %d %d %d\n", what, v[0], v[1], v[2]);
}

static void set_all(int a, int b, int c)
{
	unsigned short v[] = { a, b, c };

	show("setall", semctl(id, 0, SETALL, v));
}

/* Until one call waits for semaphore @num. */
static void await_waiter(int num, int cmd, int n)
{
	while (semctl(id, num, cmd) < n)
		usleep(1000);
}

static void test_values(void)
{
	show("get", semctl(id, 0, GETVAL));
	show("set", semctl(id, 1, SETVAL, 5));
	show("too large", semctl(id, 1, SETVAL, 40000));
	show("no such", semctl(id, 3, GETVAL));
	show("down", op(1, -2, 0));
	show("by us", semctl(id, 1, GETPID) == getpid());
	show("below", op(1, -4, IPC_NOWAIT));
	show("zero", op(0, 0, IPC_NOWAIT));
	show("not zero", op(1, 0, IPC_NOWAIT));
	show("none such", op(3, 1, 0));
	show("range", op2(1, 1, 1, 32767, 0));
	/* All or nothing. */
	show("both", op2(1, -3, 0, -1, IPC_NOWAIT));
	show_all("after");
	show("none", semop(id, NULL, 0));
	show("many", semop(id, NULL, 501));
	show("fault", semop(id, (void *)8, 1));
}

static void test_waiting(void)
{
	struct timespec ts = { 0, 20000000 }, bad = { 0, -1 };
	struct sembuf s = { 2, -1, 0 };
	int status;
	pid_t pid;

	set_all(0, 0, 0);
	show("in time", semtimedop(id, &s, 1, &ts));
	show("bad time", semtimedop(id, &s, 1, &bad));
	pid = fork();
	if (!pid)
		_exit(op2(0, -2, 1, -1, 0) ? errno : 0);
	await_waiter(0, GETNCNT, 1);
	show("half of it", op(0, 2, 0));
	await_waiter(1, GETNCNT, 1);
	show_all("waits for the other");
	show("the other", op(1, 1, 0));
	show_all("done at once");
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
	op(2, 1, 0);
	pid = fork();
	if (!pid)
		_exit(op(2, 0, 0) ? errno : 0);
	await_waiter(2, GETZCNT, 1);
	show("to zero", op(2, -1, 0));
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
}

static void on_signal(int signo)
{
}

static void test_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal,
				.sa_flags = SA_RESTART };
	int status;
	pid_t pid = fork();

	if (!pid) {
		sigaction(SIGUSR1, &sa, NULL);
		_exit(op(0, -1, 0) ? errno : 0);
	}
	await_waiter(0, GETNCNT, 1);
	kill(pid, SIGUSR1);
	waitpid(pid, &status, 0);
	printf("interrupted: %d\n", WEXITSTATUS(status) == EINTR);
	show("nobody waits", semctl(id, 0, GETNCNT));
}

static void *undone(void *arg)
{
	op(0, 3, SEM_UNDO);
	return NULL;
}

/* A process of two threads, the first of which has ended. */
static void undo_child(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, undone, NULL);
	pthread_join(thread, NULL);
	op(1, -1, SEM_UNDO);
	op(2, 2, SEM_UNDO);
	show_all("before");
	/* What is set is not undone. */
	semctl(id, 2, SETVAL, 9);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void test_undo(void)
{
	int status;
	pid_t pid;

	set_all(0, 1, 0);
	pid = fork();
	if (!pid)
		undo_child();
	waitpid(pid, &status, 0);
	show_all("undone");
	pid = fork();
	if (!pid) {
		op(1, -1, SEM_UNDO);
		op(0, 1, 0);
		raise(SIGKILL);
	}
	op(0, -1, 0);
	show("given back", op(1, -1, 0));
	waitpid(pid, &status, 0);
	show_all("after a kill");
}

static void test_removal(void)
{
	struct semid_ds ds;
	int status;
	pid_t pid;

	show("stat", semctl(id, 0, IPC_STAT, &ds));
	printf("%lu of mode %o, used %d\n", ds.sem_nsems, ds.sem_perm.mode,
	       ds.sem_otime > 0);
	ds.sem_perm.mode = 0666;
	show("ipc_set", semctl(id, 0, IPC_SET, &ds));
	set_all(0, 0, 0);
	pid = fork();
	if (!pid)
		_exit(op(0, -1, SEM_UNDO) ? errno : 0);
	await_waiter(0, GETNCNT, 1);
	show("remove", semctl(id, 0, IPC_RMID));
	waitpid(pid, &status, 0);
	printf("removed: %d\n", WEXITSTATUS(status) == EIDRM);
	show("gone", op(0, 1, 0));
	show("no semaphores", semget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
	show("too many", semget(IPC_PRIVATE, 32001, IPC_CREAT | 0600));
}

#define ROUNDS 2000

/* Two processes take turns. */
static void test_turns(void)
{
	int i, status;
	pid_t pid;

	id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	pid = fork();
	for (i = 0; i < ROUNDS; i++) {
		op(pid ? 0 : 1, 1, 0);
		op(pid ? 1 : 0, -1, 0);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	show_all("turns");
	semctl(id, 0, IPC_RMID);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	test_values();
	test_waiting();
	test_signals();
	test_undo();
	test_removal();
	test_turns();
	return 0;
}
