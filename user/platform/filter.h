/* SPDX-License-Identifier: MIT */
/*
 * filter.h - seccomp filters as programs in memory
 */
#ifndef _SANDTRAP_PLATFORM_FILTER_H
#define _SANDTRAP_PLATFORM_FILTER_H

#include <linux/filter.h>
#include <seccomp.h>
#include <stddef.h>

struct platform_seccomp_rule;

/**
 * filter_allow() - allow what is listed
 * @filter: libseccomp's filter
 * @rules: rules
 * @count: their number
 *
 * Return: 0 or -errno.
 */
int filter_allow(scmp_filter_ctx filter, const struct platform_seccomp_rule *rules,
		 size_t count);

/**
 * filter_export() - the program of a filter, to be loaded elsewhere
 * @filter: libseccomp's filter
 * @prog: filled; free() its instructions
 *
 * Return: 0 or -errno.
 */
int filter_export(scmp_filter_ctx filter, struct sock_fprog *prog);

#endif /* _SANDTRAP_PLATFORM_FILTER_H */
