// SPDX-License-Identifier: MIT
/*
 * tty.c - job control of terminals inside the sandbox (tty.h)
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "sentry/signal/internal.h"
#include "sentry/task/internal.h"
#include "sentry/tty.h"

/*
 * A terminal that is, or was, the controlling terminal of a session. It lives
 * as long as the sandbox. Protected by kernel.tasks_lock; "foreground" may be
 * read without it, as it may change at any time anyway.
 */
struct tty {
	TAILQ_ENTRY(tty) link;
	dev_t rdev;
	pid_t sid; /* 0: no session's */
	atomic_int foreground; /* process group; 0: none */
};

static struct tty *find_tty_locked(struct kernel *k, dev_t rdev)
{
	struct tty *tty;

	TAILQ_FOREACH(tty, &k->tids->ttys, link)
		if (tty->rdev == rdev)
			return tty;
	return NULL;
}

static struct tty *new_tty_locked(struct kernel *k, dev_t rdev)
{
	struct tty *tty = calloc(1, sizeof(*tty));

	if (!tty)
		return NULL;
	tty->rdev = rdev;
	TAILQ_INSERT_TAIL(&k->tids->ttys, tty, link);
	return tty;
}

/* /dev/tty means the caller's own. */
static struct tty *resolve_locked(struct task *t, dev_t rdev)
{
	if (rdev == makedev(5, 0))
		return t->tg->tty;
	return find_tty_locked(t->kernel, rdev);
}

static void take_tty_locked(struct thread_group *leader, struct tty *tty)
{
	tty->sid = leader->sid;
	atomic_store(&tty->foreground, leader->pgid);
	leader->tty = tty;
}

/* Device number of the host process's terminal, 0: none. */
static dev_t host_tty(void)
{
	char buf[512], *p;
	unsigned int nr = 0;
	ssize_t n;
	int fd;

	fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	/* pid (comm) state ppid pgrp session tty_nr; comm may hold anything */
	p = strrchr(buf, ')');
	if (!p || sscanf(p, ") %*c %*d %*d %*d %u", &nr) != 1)
		return 0;
	return makedev(nr >> 8 & 0xfff, (nr & 0xff) | (nr >> 12 & 0xfff00));
}

int tty_init(struct kernel *k, struct thread_group *init)
{
	pid_t parent = getppid();
	dev_t rdev = host_tty();
	struct tty *tty;

	k->tids->init_orphaned = getsid(parent) != getsid(0) ||
				 getpgid(parent) == getpgrp();
	if (!rdev)
		return 0;
	pthread_mutex_lock(&k->tasks_lock);
	tty = new_tty_locked(k, rdev);
	if (tty)
		take_tty_locked(init, tty);
	pthread_mutex_unlock(&k->tasks_lock);
	return tty ? 0 : -ENOMEM;
}

void tty_destroy(struct kernel *k)
{
	struct tty *tty;

	while ((tty = TAILQ_FIRST(&k->tids->ttys))) {
		TAILQ_REMOVE(&k->tids->ttys, tty, link);
		free(tty);
	}
}

static void release_tty_locked(struct kernel *k, struct tty *tty)
{
	struct thread_group *tg;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link)
		if (tg->tty == tty)
			tg->tty = NULL;
	tty->sid = 0;
	atomic_store(&tty->foreground, 0);
}

static void hang_up_locked(struct kernel *k, pid_t pgid)
{
	siginfo_t info;

	siginfo_user(&info, SIGHUP, NULL);
	signal_send_pgrp_locked(k, pgid, &info);
	siginfo_user(&info, SIGCONT, NULL);
	signal_send_pgrp_locked(k, pgid, &info);
}

void tty_session_exit_locked(struct thread_group *tg)
{
	struct tty *tty = tg->tty;
	pid_t foreground;

	if (!tty || tty->sid != tg->sid)
		return;
	foreground = atomic_load(&tty->foreground);
	release_tty_locked(tg->kernel, tty);
	if (foreground)
		hang_up_locked(tg->kernel, foreground);
}

pid_t tty_host_foreground_locked(struct kernel *k)
{
	struct thread_group *init = k->init->tg;
	pid_t pgid = 0;

	if (init->tty)
		pgid = atomic_load(&init->tty->foreground);
	return pgid ? pgid : init->pgid;
}

void tty_signal(struct kernel *k, dev_t rdev, int signo)
{
	struct tty *tty;
	siginfo_t info;
	pid_t pgid;

	siginfo_user(&info, signo, NULL);
	pthread_mutex_lock(&k->tasks_lock);
	tty = find_tty_locked(k, rdev);
	pgid = tty ? atomic_load(&tty->foreground) : 0;
	if (pgid)
		signal_send_pgrp_locked(k, pgid, &info);
	pthread_mutex_unlock(&k->tasks_lock);
}

/* All but the leader lose it now; the leader's end does the rest. */
static void hangup_session_locked(struct kernel *k, struct tty *tty)
{
	struct thread_group *tg;
	siginfo_t info;

	TAILQ_FOREACH(tg, &k->tids->groups, all_link) {
		if (tg->tty != tty)
			continue;
		if (tg->tgid != tty->sid) {
			tg->tty = NULL;
			continue;
		}
		siginfo_user(&info, SIGHUP, NULL);
		signal_send(tg->leader, &info, true);
		siginfo_user(&info, SIGCONT, NULL);
		signal_send(tg->leader, &info, true);
	}
}

void tty_hangup(struct kernel *k, dev_t rdev)
{
	struct tty *tty;

	pthread_mutex_lock(&k->tasks_lock);
	tty = find_tty_locked(k, rdev);
	if (tty && tty->sid) {
		hangup_session_locked(k, tty);
		/* The number may name another terminal from now on. */
		tty->rdev = 0;
	}
	pthread_mutex_unlock(&k->tasks_lock);
}

dev_t tty_controlling(struct task *t)
{
	dev_t rdev = 0;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	if (t->tg->tty)
		rdev = t->tg->tty->rdev;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return rdev;
}

pid_t tty_foreground_locked(struct task *t)
{
	return t->tg->tty ? atomic_load(&t->tg->tty->foreground) : -1;
}

/* Is it free, or of a session whose leader is gone? */
static int set_controlling_locked(struct task *t, dev_t rdev, bool steal)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;
	struct tty *tty = find_tty_locked(k, rdev);

	if (tg->sid != tg->tgid || tg->tty)
		return tty && tg->tty == tty && tg->sid == tg->tgid ? 0 :
								       -EPERM;
	if (tty && tty->sid) {
		if (!steal || !(t->cred.cap_effective & 1ull << CAP_SYS_ADMIN))
			return -EPERM;
		release_tty_locked(k, tty);
	}
	if (!tty)
		tty = new_tty_locked(k, rdev);
	if (!tty)
		return -ENOMEM;
	take_tty_locked(tg, tty);
	return 0;
}

void tty_opened(struct task *t, dev_t rdev)
{
	/* The common case costs no lock. */
	if (t->tg->sid != t->tg->tgid || t->tg->tty)
		return;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	set_controlling_locked(t, rdev, false);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
}

static int give_up_locked(struct task *t, dev_t rdev)
{
	struct thread_group *tg = t->tg;
	struct tty *tty = resolve_locked(t, rdev);

	if (!tty || tg->tty != tty)
		return -ENOTTY;
	if (tg->sid == tg->tgid)
		tty_session_exit_locked(tg);
	tg->tty = NULL;
	return 0;
}

static int get_foreground_locked(struct task *t, dev_t rdev, pid_t *pgid)
{
	struct tty *tty = resolve_locked(t, rdev);

	if (!tty || t->tg->tty != tty)
		return -ENOTTY;
	*pgid = atomic_load(&tty->foreground);
	return 0;
}

static int set_foreground_locked(struct task *t, dev_t rdev, pid_t pgid)
{
	struct tty *tty = resolve_locked(t, rdev);
	struct thread_group *tg;

	if (!tty || t->tg->tty != tty || tty->sid != t->tg->sid)
		return -ENOTTY;
	if (pgid < 0)
		return -EINVAL;
	TAILQ_FOREACH(tg, &t->kernel->tids->groups, all_link) {
		if (tg->pgid != pgid)
			continue;
		if (tg->sid != t->tg->sid)
			return -EPERM;
		atomic_store(&tty->foreground, pgid);
		return 0;
	}
	return -ESRCH;
}

static bool ignores_or_blocks(struct task *t, int signo)
{
	bool ret;

	pthread_mutex_lock(&t->tg->lock);
	ret = t->sig.mask & SIGMASK(signo) ||
	      sigaction_of(t->tg, signo).handler == HANDLER_IGN;
	pthread_mutex_unlock(&t->tg->lock);
	return ret;
}

/*
 * In the background of its controlling terminal? Also if the whole sandbox is:
 * the host then cannot stop us, as its signals are blocked here.
 */
static bool in_background(struct task *t, dev_t rdev, int host_fd)
{
	struct tty *tty = __atomic_load_n(&t->tg->tty, __ATOMIC_RELAXED);
	pid_t host_pgrp;

	if (!tty || (rdev != tty->rdev && rdev != makedev(5, 0)))
		return false;
	if (atomic_load(&tty->foreground) != t->tg->pgid)
		return true;
	host_pgrp = tcgetpgrp(host_fd);
	return host_pgrp > 0 && host_pgrp != getpgrp();
}

/* Stop the caller's process group: -ERESTARTSYS, or -EIO. */
static int stop_background(struct task *t, int signo)
{
	struct kernel *k = t->kernel;
	siginfo_t info;
	int err = -EIO;

	siginfo_user(&info, signo, NULL);
	pthread_mutex_lock(&k->tasks_lock);
	if (!pgrp_is_orphaned_locked(k, t->tg->pgid, NULL)) {
		signal_send_pgrp_locked(k, t->tg->pgid, &info);
		err = -ERESTARTSYS;
	}
	pthread_mutex_unlock(&k->tasks_lock);
	return err;
}

int tty_check_read(struct task *t, dev_t rdev, int host_fd)
{
	if (likely(!in_background(t, rdev, host_fd)))
		return 0;
	if (ignores_or_blocks(t, SIGTTIN))
		return -EIO;
	return stop_background(t, SIGTTIN);
}

static int check_change(struct task *t, dev_t rdev, int host_fd)
{
	if (!in_background(t, rdev, host_fd) || ignores_or_blocks(t, SIGTTOU))
		return 0;
	return stop_background(t, SIGTTOU);
}

int tty_check_write(struct task *t, dev_t rdev, int host_fd)
{
	struct tty *tty = __atomic_load_n(&t->tg->tty, __ATOMIC_RELAXED);
	struct termios tio;

	/* In front, which is the usual case, TOSTOP does not matter. */
	if (!tty || atomic_load(&tty->foreground) == t->tg->pgid)
		return 0;
	if (tcgetattr(host_fd, &tio) || !(tio.c_lflag & TOSTOP))
		return 0;
	return check_change(t, rdev, host_fd);
}

static long ioctl_set_foreground(struct task *t, dev_t rdev, int host_fd,
				 uint64_t arg)
{
	uint32_t pgid;
	int err;

	err = check_change(t, rdev, host_fd);
	if (err)
		return err;
	if (get_user_u32(t, &pgid, arg))
		return -EFAULT;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = set_foreground_locked(t, rdev, (pid_t)pgid);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

static long ioctl_get(struct task *t, dev_t rdev, uint64_t arg, bool session)
{
	pid_t id;
	int err;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = get_foreground_locked(t, rdev, &id);
	if (!err && session)
		id = t->tg->tty->sid;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err ? err : put_user_u32(t, arg, (uint32_t)id);
}

static long ioctl_session(struct task *t, dev_t rdev, unsigned int cmd,
			  uint64_t arg)
{
	int err;

	pthread_mutex_lock(&t->kernel->tasks_lock);
	err = cmd == TIOCSCTTY ? set_controlling_locked(t, rdev, arg == 1) :
				 give_up_locked(t, rdev);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	return err;
}

long tty_ioctl(struct task *t, dev_t rdev, int host_fd, unsigned int cmd,
	       uint64_t arg)
{
	int err;

	switch (cmd) {
	case TIOCGPGRP:
		return ioctl_get(t, rdev, arg, false);
	case TIOCGSID:
		return ioctl_get(t, rdev, arg, true);
	case TIOCSPGRP:
		return ioctl_set_foreground(t, rdev, host_fd, arg);
	case TIOCSCTTY:
	case TIOCNOTTY:
		return ioctl_session(t, rdev, cmd, arg);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
	case TIOCSETD:
		err = check_change(t, rdev, host_fd);
		return err ? err : -ENOIOCTLCMD;
	default:
		return -ENOIOCTLCMD;
	}
}
