// SPDX-License-Identifier: MIT
/*
 * timers.c - prints what sleeps, interval timers and POSIX timers do, for comparison
 *
 * Times are only compared with bounds, since machines differ in speed.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t hits, last_code, last_value;

static void on_signal(int signo, siginfo_t *si, void *context)
{
	hits++;
	last_code = si->si_code;
	last_value = si->si_code == SI_TIMER ? si->si_value.sival_int : -1;
}

static void handle(int signo)
{
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO };

	sigaction(signo, &sa, NULL);
	hits = 0;
}

static void result(const char *name, long ret)
{
	printf("%s: %ld %s\n", name, ret,
	       ret < 0 ? strerrorname_np(errno) : "");
}

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void clocks(void)
{
	static const int good[] = { 0, 1, 2, 3, 4, 5, 6, 7, 11 };
	struct timespec ts;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		printf("clock %d: %ld\n", good[i],
		       syscall(SYS_clock_gettime, good[i], &ts));
	result("clock_bad", syscall(SYS_clock_gettime, 77, &ts));
	result("clock_res", syscall(SYS_clock_getres, 1, &ts));
	printf("resolution: %ld %ld\n", (long)ts.tv_sec, ts.tv_nsec);
	result("clock_fault", syscall(SYS_clock_gettime, 1, 8));
	result("settime_bad", clock_settime(CLOCK_MONOTONIC, &ts));
}

static void sleeps(void)
{
	struct timespec ts = { .tv_nsec = 30000000 }, rem;
	double start = now(CLOCK_MONOTONIC), took;

	result("nanosleep", nanosleep(&ts, NULL));
	took = now(CLOCK_MONOTONIC) - start;
	printf("took: %d\n", took >= 0.03 && took < 5);
	ts.tv_nsec = -1;
	result("nanosleep_bad", nanosleep(&ts, NULL));
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec -= 100;
	printf("absolute_past: %d\n",
	       clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL));
	printf("bad_clock: %s\n",
	       strerrorname_np(clock_nanosleep(99, 0, &ts, NULL)));
	handle(SIGALRM);
	ts = (struct timespec){ .tv_sec = 10 };
	ualarm(20000, 0);
	result("interrupted", nanosleep(&ts, &rem));
	printf("remaining: %d\n", rem.tv_sec == 9);
}

static void intervals(void)
{
	struct itimerval itv = { .it_value.tv_usec = 5000,
				 .it_interval.tv_usec = 5000 }, old;

	handle(SIGALRM);
	result("setitimer", setitimer(ITIMER_REAL, &itv, NULL));
	while (hits < 3)
		pause();
	printf("code: %d\n", last_code);
	/* One that cannot expire before it is looked at. */
	itv.it_value.tv_sec = 1000;
	result("far", setitimer(ITIMER_REAL, &itv, NULL));
	itv.it_value.tv_sec = 0;
	itv.it_value.tv_usec = 0;
	result("stop", setitimer(ITIMER_REAL, &itv, &old));
	printf("old: %ld %d\n", (long)old.it_interval.tv_usec,
	       old.it_value.tv_sec > 0);
	itv.it_value.tv_usec = 1000000;
	result("bad", setitimer(ITIMER_REAL, &itv, NULL));
	result("unknown", setitimer((__itimer_which_t)3, &old, NULL));
	result("alarm", alarm(10));
	result("alarm_left", alarm(0));
	result("alarm_none", alarm(0));
}

static void cpu_intervals(void)
{
	struct itimerval itv = { .it_value.tv_usec = 20000 };

	/*
	 * How soon is not compared: Linux counts whole ticks, whoever used most
	 * of them.
	 */
	handle(SIGPROF);
	setitimer(ITIMER_PROF, &itv, NULL);
	while (!hits)
		;
	printf("prof: %d\n", (int)hits);
	handle(SIGVTALRM);
	setitimer(ITIMER_VIRTUAL, &itv, NULL);
	while (!hits)
		;
	printf("virtual: %d\n", (int)hits);
}

static void posix_timers(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
			       .sigev_signo = SIGRTMIN };
	struct itimerspec its = { .it_value.tv_nsec = 5000000 }, got;
	timer_t a, b;
	sigset_t set, old;
	siginfo_t si;

	handle(SIGRTMIN);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, &old);
	ev.sigev_value.sival_int = 42;
	result("create", timer_create(CLOCK_MONOTONIC, &ev, &a));
	result("settime", timer_settime(a, 0, &its, NULL));
	while (!hits)
		sigsuspend(&old);
	printf("timer: %d %d\n", last_code == SI_TIMER, last_value);
	timer_gettime(a, &got);
	printf("disarmed: %ld\n", got.it_value.tv_nsec);
	/* Blocked, it overruns. */
	its.it_interval.tv_nsec = 1000000;
	timer_settime(a, 0, &its, NULL);
	usleep(60000);
	sigwaitinfo(&set, &si);
	printf("overrun: %d\n", si.si_overrun >= 20 &&
			     si.si_overrun == timer_getoverrun(a));
	result("create_none", timer_create(CLOCK_REALTIME,
		&(struct sigevent){ .sigev_notify = SIGEV_NONE }, &b));
	result("delete", timer_delete(a));
	result("delete_again", timer_delete(a));
	result("delete_none", timer_delete(b));
	result("bad_clock", timer_create(77, &ev, &a));
	ev.sigev_signo = 99;
	result("bad_signal", timer_create(CLOCK_MONOTONIC, &ev, &a));
}

static void cpu_time(void)
{
	double start, least = 1;
	struct tms tms;
	int i;

	/* The sandbox counts waiting for a CPU too: a quiet moment will come. */
	for (i = 0; i < 100 && least > 0.01; i++) {
		start = now(CLOCK_THREAD_CPUTIME_ID);
		usleep(20000);
		start = now(CLOCK_THREAD_CPUTIME_ID) - start;
		least = start < least ? start : least;
	}
	printf("asleep: %d\n", least <= 0.01);
	printf("times: %d\n", times(&tms) > 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	clocks();
	sleeps();
	intervals();
	cpu_intervals();
	posix_timers();
	cpu_time();
	return 0;
}
