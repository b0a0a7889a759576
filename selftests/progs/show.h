/* SPDX-License-Identifier: MIT */
/*
 * show.h - prints what a call returned, for comparison of two runs
 */
#ifndef _PROGS_SHOW_H
#define _PROGS_SHOW_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One result: a number, or the name of its error. */
static inline long show(const char *what, long ret)
{
	if (ret < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, ret);
	return ret;
}

#endif /* _PROGS_SHOW_H */
