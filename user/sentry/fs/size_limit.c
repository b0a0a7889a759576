// SPDX-License-Identifier: MIT
/*
 * size_limit.c - RLIMIT_FSIZE: how large the program may make files
 *
 * The limit is the sandbox's own, so the host cannot check it. Without one,
 * which is the rule, a write pays a single load for it.
 */
#include <string.h>

#include "sentry/fs/internal.h"

uint64_t size_limit(struct task *t)
{
	/* A word, and whoever changes it meanwhile gets either answer. */
	return __atomic_load_n(&t->tg->rlimits[RLIMIT_FSIZE].rlim_cur,
			       __ATOMIC_RELAXED);
}

static int exceeded(struct task *t)
{
	siginfo_t info;

	siginfo_user(&info, SIGXFSZ, NULL);
	signal_send(t, &info, false);
	return -EFBIG;
}

int size_limit_check(struct task *t, uint64_t size)
{
	return size > size_limit(t) ? exceeded(t) : 0;
}

static off_t write_position(struct file *f, off_t off)
{
	struct stat st;

	if (f->flags & O_APPEND)
		return fstat(f->host_fd, &st) ? -errno : st.st_size;
	if (off >= 0)
		return off;
	off = lseek(f->host_fd, 0, SEEK_CUR);
	return off < 0 ? -errno : off;
}

ssize_t size_limit_writev(struct task *t, struct file *f,
			  const struct iovec *iov, int cnt, off_t off)
{
	struct iovec part[USER_BUFFER_IOVS];
	uint64_t limit = size_limit(t), room;
	off_t pos = write_position(f, off);
	ssize_t n;
	int i;

	if (pos < 0)
		return pos;
	if ((uint64_t)pos >= limit)
		return exceeded(t);
	room = limit - (uint64_t)pos;
	for (i = 0; i < cnt && i < USER_BUFFER_IOVS && room; i++) {
		part[i] = iov[i];
		part[i].iov_len = MIN(part[i].iov_len, room);
		room -= part[i].iov_len;
	}
	n = off >= 0 ? pwritev(f->host_fd, part, i, off) :
		       writev(f->host_fd, part, i);
	return n < 0 ? -errno : n;
}
