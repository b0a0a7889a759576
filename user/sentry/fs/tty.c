// SPDX-License-Identifier: MIT
/*
 * tty.c - terminals of the host
 *
 * Data, modes and window size are the host's; whose terminal it is, is the
 * sandbox's own affair (sentry/tty.h).
 */
#include <asm/termbits.h>
#include <sys/sysmacros.h>

#include "sentry/fs/internal.h"
#include "sentry/tty.h"

/* <sys/ioctl.h> clashes with the kernel's termios above. */
#include <asm/ioctls.h>
int ioctl(int fd, unsigned long request, ...);

static dev_t tty_rdev(const struct file *f)
{
	return (dev_t)(uintptr_t)f->priv;
}

static ssize_t tty_readv(struct task *t, struct file *f,
			 const struct iovec *iov, int cnt, off_t off)
{
	int err = tty_check_read(t, tty_rdev(f), f->host_fd);

	return err ? err : host_stream_readv(t, f, iov, cnt, off);
}

static ssize_t tty_writev(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	int err = tty_check_write(t, tty_rdev(f), f->host_fd);

	return err ? err : host_stream_writev(t, f, iov, cnt, off);
}

/* What an ioctl's argument is: bytes copied in, or out, or a plain value. */
struct tty_request {
	unsigned int cmd;
	unsigned short in, out;
};

static const struct tty_request tty_requests[] = {
	{ TCGETS, 0, sizeof(struct termios) },
	{ TCSETS, sizeof(struct termios), 0 },
	{ TCSETSW, sizeof(struct termios), 0 },
	{ TCSETSF, sizeof(struct termios), 0 },
	{ TCGETS2, 0, sizeof(struct termios2) },
	{ TCSETS2, sizeof(struct termios2), 0 },
	{ TCSETSW2, sizeof(struct termios2), 0 },
	{ TCSETSF2, sizeof(struct termios2), 0 },
	{ TCSBRK, 0, 0 },
	{ TCSBRKP, 0, 0 },
	{ TCXONC, 0, 0 },
	{ TCFLSH, 0, 0 },
	{ TIOCGWINSZ, 0, 4 * sizeof(short) },
	{ TIOCSWINSZ, 4 * sizeof(short), 0 },
	{ FIONREAD, 0, sizeof(int) },
	{ TIOCOUTQ, 0, sizeof(int) },
	{ TIOCGETD, 0, sizeof(int) },
};

static const struct tty_request *tty_find_request(unsigned int cmd)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tty_requests); i++) {
		if (tty_requests[i].cmd == cmd)
			return &tty_requests[i];
	}
	return NULL;
}

/* Pass a request on; those that wait for output to drain may block. */
long tty_host_ioctl(struct task *t, struct file *f, unsigned int cmd,
		    uint64_t arg)
{
	const struct tty_request *req = tty_find_request(cmd);
	char buf[64] = { 0 };
	long a[6] = { f->host_fd, cmd, (long)buf };
	long ret;

	if (!req)
		return -ENOTTY;
	if (req->in && copy_from_user(t, buf, arg, req->in))
		return -EFAULT;
	if (!req->in && !req->out)
		a[2] = (int)arg;
	ret = restart_ret(task_host_syscall(t, SYS_ioctl, a));
	if (ret >= 0 && req->out && copy_to_user(t, arg, buf, req->out))
		return -EFAULT;
	return ret;
}

static long tty_file_ioctl(struct task *t, struct file *f, unsigned int cmd,
			   uint64_t arg)
{
	long ret = tty_ioctl(t, tty_rdev(f), f->host_fd, cmd, arg);

	return ret == -ENOIOCTLCMD ? tty_host_ioctl(t, f, cmd, arg) : ret;
}

/*
 * A terminal is opened anew by its descriptor; where the host does not permit
 * that (after su, say) the descriptor is shared.
 */
static int tty_reopen(struct task *t, struct file *f, int flags,
		      struct file **out)
{
	struct file *new;
	char link[16];
	int fd;

	snprintf(link, sizeof(link), "%d", f->host_fd);
	fd = openat(task_vfs(t)->host_fds, link,
		    (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fd = fcntl(f->host_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	new = file_alloc(&host_tty_ops, (flags & (O_ACCMODE | O_NONBLOCK)) |
						FILE_O_LARGEFILE);
	if (!new) {
		close(fd);
		return -ENOMEM;
	}
	new->host_fd = fd;
	new->host_poll = true;
	new->host_shared = true;
	new->foreign = f->foreign;
	new->priv = f->priv;
	if (!(flags & O_NOCTTY))
		tty_opened(t, tty_rdev(f));
	*out = new;
	return 0;
}

const struct file_ops host_tty_ops = {
	.kind = "tty",
	.readv = tty_readv,
	.writev = tty_writev,
	.ioctl = tty_file_ioctl,
	.reopen = tty_reopen,
	.set_flags = host_set_flags,
};

/* terminals that are known */

struct file *tty_by_rdev(struct vfs *vfs, dev_t rdev)
{
	int i;

	for (i = 0; i < HOST_TTYS; i++) {
		if (vfs->ttys[i] && tty_rdev(vfs->ttys[i]) == rdev)
			return file_get(vfs->ttys[i]);
	}
	return pty_by_rdev(rdev);
}

struct file *tty_by_name(struct vfs *vfs, const char *name)
{
	char buf[64];
	int i;

	for (i = 0; i < HOST_TTYS; i++) {
		if (!vfs->ttys[i] ||
		    vfs_host_name(vfs, vfs->ttys[i]->host_fd, buf, sizeof(buf)))
			continue;
		if (!strncmp(buf, "/dev/", 5) && !strcmp(buf + 5, name))
			return file_get(vfs->ttys[i]);
	}
	return NULL;
}

void tty_remember(struct vfs *vfs, struct file *f)
{
	struct file *known = tty_by_rdev(vfs, tty_rdev(f));
	int i;

	for (i = 0; i < HOST_TTYS && !known; i++) {
		if (!vfs->ttys[i]) {
			vfs->ttys[i] = f;
			return;
		}
	}
	file_put(known);
	file_put(f);
}
