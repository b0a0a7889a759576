// SPDX-License-Identifier: MIT
/*
 * host.c - the sandbox as seen from the host: signals that reach the process,
 * its stopping, and its end
 *
 * The main thread runs task_wait_all(). All signals are blocked in all
 * threads; it reads those that are the program's business from a signalfd.
 */
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sentry/task/internal.h"

static const int forwarded[] = {
	SIGHUP,	 SIGINT,  SIGQUIT, SIGUSR1,  SIGUSR2,
	SIGALRM, SIGTERM, SIGCONT, SIGWINCH, SIGTSTP,
};

static void drain(int fd)
{
	uint64_t value;

	/* Nonblocking: nothing to read is fine. */
	if (read(fd, &value, sizeof(value)) < 0)
		return;
}

/*
 * What the terminal sends goes to the sandbox's foreground process group, as
 * the host's is this one process; what somebody sends, to the first process.
 */
static void forward_signal(struct kernel *k, const struct signalfd_siginfo *si)
{
	int signo = (int)si->ssi_signo;
	bool terminal = si->ssi_code == SI_KERNEL;
	siginfo_t info;

	siginfo_user(&info, signo, NULL);
	if (!terminal)
		info.si_code = SI_USER;
	pthread_mutex_lock(&k->tasks_lock);
	if (signo == SIGCONT) {
		/* Who stopped together with the host process runs on with it. */
		signal_send_pgrp_locked(k, k->init->tg->pgid, &info);
		if (tty_host_foreground_locked(k) != k->init->tg->pgid)
			terminal = true;
		else
			goto out_unlock;
	}
	if (terminal)
		signal_send_pgrp_locked(k, tty_host_foreground_locked(k),
					&info);
	else
		signal_send(k->init, &info, true);
out_unlock:
	pthread_mutex_unlock(&k->tasks_lock);
}

static void forward_signals(struct kernel *k, int sfd)
{
	struct signalfd_siginfo si;

	while (read(sfd, &si, sizeof(si)) == sizeof(si))
		forward_signal(k, &si);
}

static bool group_is_stopped(struct thread_group *tg, int *signo)
{
	bool stopped;

	pthread_mutex_lock(&tg->lock);
	stopped = tg->sig.stopped && !tg->sig.stop_count;
	*signo = tg->sig.stop_signal;
	pthread_mutex_unlock(&tg->lock);
	return stopped;
}

/* Init and everything in the foreground sleeps: by which signal? 0: no. */
static int foreground_stop_signal(struct kernel *k)
{
	struct thread_group *tg;
	int signo = 0, other;
	pid_t pgid;

	pthread_mutex_lock(&k->tasks_lock);
	pgid = tty_host_foreground_locked(k);
	if (!group_is_stopped(k->init->tg, &signo))
		signo = 0;
	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->pgid == pgid && !tg->zombie &&
		    !group_is_stopped(tg, &other))
			signo = 0;
	pthread_mutex_unlock(&k->tasks_lock);
	return signo;
}

/* Our parent sees us stop as it would see the program stop. */
static void stop_host(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	kill(getpid(), signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	/* Stopped here; SIGCONT is blocked and stays for the signalfd. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool init_ended(struct kernel *k, int *status)
{
	bool ended;

	pthread_mutex_lock(&k->tasks_lock);
	ended = k->init->tg->zombie;
	*status = k->init->tg->status;
	pthread_mutex_unlock(&k->tasks_lock);
	return ended;
}

static void wait_for_init(struct kernel *k, int sfd, int *status)
{
	struct pollfd pfd[2] = {
		{ .fd = sfd, .events = POLLIN },
		{ .fd = k->tids->event_fd, .events = POLLIN },
	};
	int signo;

	while (!init_ended(k, status)) {
		poll(pfd, ARRAY_SIZE(pfd), -1);
		drain(k->tids->event_fd);
		forward_signals(k, sfd);
		signo = foreground_stop_signal(k);
		if (signo)
			stop_host(signo);
	}
}

static void kill_all(struct kernel *k)
{
	struct thread_group *tg;

	pthread_mutex_lock(&k->tasks_lock);
	k->tids->ending = true;
	TAILQ_FOREACH(tg, &k->tids->groups, all_link) {
		pthread_mutex_lock(&tg->lock);
		group_exit_locked(tg, SIGKILL, NULL);
		pthread_mutex_unlock(&tg->lock);
	}
	pthread_mutex_unlock(&k->tasks_lock);
}

static unsigned int threads_left(struct kernel *k)
{
	unsigned int n;

	pthread_mutex_lock(&k->tasks_lock);
	n = k->tids->nr_threads;
	pthread_mutex_unlock(&k->tasks_lock);
	return n;
}

static void wait_for_threads(struct kernel *k)
{
	struct pollfd pfd = { .fd = k->tids->event_fd, .events = POLLIN };

	while (threads_left(k)) {
		poll(&pfd, 1, -1);
		drain(k->tids->event_fd);
	}
}

/* The parent of all others goes last. */
static void reap_all(struct kernel *k)
{
	struct thread_group *init = k->init->tg, *tg, *next;

	pthread_mutex_lock(&k->tasks_lock);
	for (tg = TAILQ_FIRST(&k->tids->groups); tg; tg = next) {
		next = TAILQ_NEXT(tg, all_link);
		if (tg != init)
			thread_group_reap_locked(tg);
	}
	thread_group_reap_locked(init);
	pthread_mutex_unlock(&k->tasks_lock);
}

void tasks_release(struct kernel *k)
{
	sigset_t old;

	if (!k->tids)
		return;
	old = k->tids->host_mask;
	timer_thread_stop();
	reap_all(k);
	task_put(k->init);
	k->init = NULL;
	tty_destroy(k);
	tid_table_destroy(k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int task_wait_all(struct kernel *k, int *status)
{
	sigset_t set;
	size_t i;
	int sfd;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sfd < 0)
		return -errno;
	wait_for_init(k, sfd, status);
	close(sfd);
	kill_all(k);
	wait_for_threads(k);
	return 0;
}
