// SPDX-License-Identifier: MIT
/*
 * anon.c - eventfd, timerfd, memfd: objects without a name, kept by the host
 */
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

long host_anon_install(struct task *t, const struct file_ops *ops, long fd,
		       int flags, bool cloexec)
{
	struct file *f;

	if (fd < 0)
		return fd;
	f = file_alloc(ops, flags);
	if (!f) {
		close((int)fd);
		return -ENOMEM;
	}
	f->host_fd = (int)fd;
	f->host_poll = ops == &host_stream_ops;
	return fd_install(t, f, cloexec);
}

static long do_eventfd(struct task *t, unsigned int count, int flags)
{
	if (flags & ~(EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC))
		return -EINVAL;
	return host_anon_install(t, &host_stream_ops,
				 host_ret(eventfd(count, flags | EFD_CLOEXEC)),
				 O_RDWR | (flags & O_NONBLOCK),
				 flags & EFD_CLOEXEC);
}

long sys_eventfd(struct task *t, const uint64_t *args)
{
	return do_eventfd(t, (unsigned int)args[0], 0);
}

long sys_eventfd2(struct task *t, const uint64_t *args)
{
	return do_eventfd(t, (unsigned int)args[0], (int)args[1]);
}

long sys_timerfd_create(struct task *t, const uint64_t *args)
{
	int flags = (int)args[1];
	long fd;

	if (flags & ~(TFD_NONBLOCK | TFD_CLOEXEC))
		return -EINVAL;
	fd = host_ret(timerfd_create((int)args[0], flags | TFD_CLOEXEC));
	return host_anon_install(t, &host_stream_ops, fd,
				 O_RDWR | (flags & O_NONBLOCK),
				 flags & TFD_CLOEXEC);
}

/* The host checks that it is a timer; stdio is not the sandbox's to set. */
static struct file *timerfd_get(struct task *t, int fd, long *err)
{
	struct file *f = fd_get_io(t, fd);

	*err = f ? -EINVAL : -EBADF;
	if (f && file_is_host(f) && !f->host_shared)
		return f;
	file_put(f);
	return NULL;
}

long sys_timerfd_settime(struct task *t, const uint64_t *args)
{
	struct itimerspec new, old;
	struct file *f;
	long ret;

	if (copy_from_user(t, &new, args[2], sizeof(new)))
		return -EFAULT;
	f = timerfd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = host_ret(timerfd_settime(f->host_fd, (int)args[1], &new, &old));
	file_put(f);
	if (!ret && args[3])
		ret = copy_to_user(t, args[3], &old, sizeof(old));
	return ret;
}

long sys_timerfd_gettime(struct task *t, const uint64_t *args)
{
	struct itimerspec now;
	struct file *f;
	long ret;

	f = timerfd_get(t, (int)args[0], &ret);
	if (!f)
		return ret;
	ret = host_ret(timerfd_gettime(f->host_fd, &now));
	file_put(f);
	return ret ? ret : copy_to_user(t, args[1], &now, sizeof(now));
}

/* Longest name, with its NUL: NAME_MAX less "memfd:". */
#define MEMFD_NAME_BYTES 250

long sys_memfd_create(struct task *t, const uint64_t *args)
{
	unsigned int flags = (unsigned int)args[1];
	char name[MEMFD_NAME_BYTES];
	ssize_t n;

	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	n = strncpy_from_user(t, name, args[0], sizeof(name));
	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : n;
	return host_anon_install(t, &host_regular_ops,
				 host_ret(memfd_create(name,
						       flags | MFD_CLOEXEC)),
				 O_RDWR | FILE_O_LARGEFILE,
				 flags & MFD_CLOEXEC);
}
