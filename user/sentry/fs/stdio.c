// SPDX-License-Identifier: MIT
/*
 * stdio.c - descriptors that the first task inherits from the host process
 *
 * The open file descriptions behind them belong to others too (the shell that
 * started the sandbox): position and flags are shared, and their host flags
 * are never changed.
 */
#include <sys/resource.h>

#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

static int import_fd(struct task *t, int fd)
{
	struct file *f;
	int copy, err, flags;

	/* sandrun puts an O_PATH descriptor where there is none: closed it is. */
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_PATH))
		return 0;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return errno == EBADF ? 0 : -errno;
	err = host_file_import(task_vfs(t), copy, &f);
	if (err)
		return err;
	if (f->ops == &host_tty_ops)
		tty_remember(task_vfs(t), file_get(f));
	err = fd_install_import(t, f, fd);
	return err < 0 ? err : 0;
}

/*
 * The descriptors of all processes of the sandbox are the host process's. Its
 * limit is raised after the first task has taken on the caller's as its own.
 */
static void raise_host_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int fd_table_import_stdio(struct task *t)
{
	int fd, err;

	raise_host_limit();
	for (fd = 0; fd <= 2; fd++) {
		err = import_fd(t, fd);
		if (err)
			return err;
	}
	return 0;
}
