// SPDX-License-Identifier: MIT
/*
 * pty.c - pseudoterminals: /dev/ptmx and /dev/pts/N
 *
 * A pty of the sandbox is a pty of the host, which echoes, edits lines and keeps
 * the modes. Only a pty whose master the sandbox has opened can be opened. The
 * host knows of no session of the sandbox, so what its line discipline would
 * send to a foreground process group is sent from here.
 */
#include <asm/termbits.h>
#include <poll.h>
#include <sys/sysmacros.h>

#include "sentry/fs/internal.h"
#include "sentry/tty.h"

/* <sys/ioctl.h> clashes with the kernel's termios above. */
#include <asm/ioctls.h>
int ioctl(int fd, unsigned long request, ...);

#define PTY_SLAVE_MAJOR 136

/**
 * struct pty - an open master
 * @link: in ptys
 * @num: N of /dev/pts/N
 * @host_fd: the master's; valid while it is in the list
 * @kernel: sandbox
 */
struct pty {
	LIST_ENTRY(pty) link;
	int num;
	int host_fd;
	struct kernel *kernel;
};

/* Protects the list, and with it the descriptors in it. Innermost. */
static pthread_mutex_t ptys_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, pty) ptys = LIST_HEAD_INITIALIZER(ptys);

/* slaves */

/* A host descriptor of the slave, or -ENOENT, or -errno. */
static int open_peer(int num, int flags)
{
	struct pty *p;
	int fd = -ENOENT;

	pthread_mutex_lock(&ptys_lock);
	LIST_FOREACH(p, &ptys, link) {
		if (p->num == num)
			fd = (int)host_ret(ioctl(p->host_fd, TIOCGPTPEER,
						 flags | O_NOCTTY | O_CLOEXEC));
	}
	pthread_mutex_unlock(&ptys_lock);
	return fd;
}

static int slave_new(int num, int flags, struct file **out)
{
	int fd = open_peer(num, flags & (O_ACCMODE | O_NONBLOCK));
	struct file *f;

	if (fd < 0)
		return fd;
	f = file_alloc(&host_tty_ops, (flags & (O_ACCMODE | O_NONBLOCK)) |
					      FILE_O_LARGEFILE);
	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	f->host_fd = fd;
	f->host_poll = true;
	f->priv = (void *)(uintptr_t)makedev(PTY_SLAVE_MAJOR, (unsigned int)num);
	*out = f;
	return 0;
}

struct file *pty_by_rdev(dev_t rdev)
{
	struct file *f;

	if (major(rdev) != PTY_SLAVE_MAJOR ||
	    slave_new((int)minor(rdev), O_RDWR, &f))
		return NULL;
	return f;
}

bool pty_nth(unsigned int index, int *num)
{
	struct pty *p;

	pthread_mutex_lock(&ptys_lock);
	LIST_FOREACH(p, &ptys, link) {
		if (index-- == 0)
			break;
	}
	if (p)
		*num = p->num;
	pthread_mutex_unlock(&ptys_lock);
	return p;
}

/* what the line discipline would signal */

static void signal_foreground(const struct pty *p, int signo)
{
	tty_signal(p->kernel, makedev(PTY_SLAVE_MAJOR, (unsigned int)p->num),
		   signo);
}

/*
 * The host's line discipline works behind our back. A look for input at the slave
 * waits for it: who dies of the signal must not close the terminal before the echo.
 */
static void wait_for_echo(const struct pty *p)
{
	struct pollfd slave = { .events = POLLIN };

	slave.fd = ioctl(p->host_fd, TIOCGPTPEER, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (slave.fd < 0)
		return;
	poll(&slave, 1, 0);
	close(slave.fd);
}

/* Which signal does this byte mean to the terminal? 0: none. */
static int signal_of(const struct termios *tio, unsigned char c)
{
	if (!(tio->c_lflag & ISIG) || !c)
		return 0;
	if (c == tio->c_cc[VINTR])
		return SIGINT;
	if (c == tio->c_cc[VQUIT])
		return SIGQUIT;
	return c == tio->c_cc[VSUSP] ? SIGTSTP : 0;
}

static void signal_for_input(const struct pty *p, const struct iovec *iov,
			     int cnt, size_t len)
{
	const unsigned char *c;
	struct termios tio;
	size_t i;
	int signo;

	if (ioctl(p->host_fd, TCGETS, &tio) || !(tio.c_lflag & ISIG))
		return;
	for (; cnt > 0 && len; iov++, cnt--) {
		c = iov->iov_base;
		for (i = 0; i < iov->iov_len && len; i++, len--) {
			signo = signal_of(&tio, c[i]);
			if (!signo)
				continue;
			wait_for_echo(p);
			signal_foreground(p, signo);
		}
	}
}

/* masters */

static ssize_t master_writev(struct task *t, struct file *f,
			     const struct iovec *iov, int cnt, off_t off)
{
	ssize_t n = host_stream_writev(t, f, iov, cnt, off);

	if (n > 0)
		signal_for_input(f->priv, iov, cnt, (size_t)n);
	return n;
}

static long ioctl_int_in(struct task *t, struct file *f, unsigned int cmd,
			 uint64_t arg)
{
	int v;

	if (copy_from_user(t, &v, arg, sizeof(v)))
		return -EFAULT;
	return host_ret(ioctl(f->host_fd, cmd, &v));
}

static long ioctl_int_out(struct task *t, struct file *f, unsigned int cmd,
			  uint64_t arg)
{
	int v = 0;
	long ret = host_ret(ioctl(f->host_fd, cmd, &v));

	if (!ret && copy_to_user(t, arg, &v, sizeof(v)))
		ret = -EFAULT;
	return ret;
}

static long ioctl_peer(struct task *t, const struct pty *p, int flags)
{
	struct file *f;
	int err = slave_new(p->num, flags, &f);

	return err ? err : fd_install(t, f, flags & O_CLOEXEC);
}

static long master_ioctl(struct task *t, struct file *f, unsigned int cmd,
			 uint64_t arg)
{
	const struct pty *p = f->priv;
	long ret;

	switch (cmd) {
	case TIOCSPTLCK:
	case TIOCPKT:
		return ioctl_int_in(t, f, cmd, arg);
	case TIOCGPTN:
	case TIOCGPTLCK:
	case TIOCGPKT:
		return ioctl_int_out(t, f, cmd, arg);
	case TIOCGPTPEER:
		return ioctl_peer(t, p, (int)arg);
	case TIOCSWINSZ:
		ret = tty_host_ioctl(t, f, cmd, arg);
		if (!ret)
			signal_foreground(p, SIGWINCH);
		return ret;
	default:
		return tty_host_ioctl(t, f, cmd, arg);
	}
}

static void master_release(struct file *f)
{
	struct pty *p = f->priv;

	pthread_mutex_lock(&ptys_lock);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&ptys_lock);
	tty_hangup(p->kernel, makedev(PTY_SLAVE_MAJOR, (unsigned int)p->num));
	free(p);
}

static const struct file_ops master_ops = {
	.kind = "ptmx",
	.release = master_release,
	.readv = host_stream_readv,
	.writev = master_writev,
	.ioctl = master_ioctl,
	.set_flags = host_set_flags,
};

int ptmx_open(struct task *t, const struct pnode *n, int flags,
	      struct file **out)
{
	int keep = flags & (O_ACCMODE | O_NONBLOCK), fd, num;
	struct pty *p;
	struct file *f;

	fd = open("/dev/ptmx", keep | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	p = calloc(1, sizeof(*p));
	f = p ? file_alloc(&master_ops, keep | FILE_O_LARGEFILE) : NULL;
	if (!f || ioctl(fd, TIOCGPTN, &num)) {
		if (f)
			f->ops = &host_stream_ops;
		file_put(f);
		free(p);
		close(fd);
		return -ENXIO;
	}
	f->host_fd = p->host_fd = fd;
	f->host_poll = true;
	f->priv = p;
	p->num = num;
	p->kernel = t->kernel;
	pthread_mutex_lock(&ptys_lock);
	LIST_INSERT_HEAD(&ptys, p, link);
	pthread_mutex_unlock(&ptys_lock);
	*out = f;
	return 0;
}
