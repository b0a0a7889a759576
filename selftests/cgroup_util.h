/* SPDX-License-Identifier: MIT */
/*
 * cgroup_util.h - a control group for a test
 */
#ifndef _SELFTESTS_CGROUP_UTIL_H
#define _SELFTESTS_CGROUP_UTIL_H

#include <stdbool.h>

struct cgroup {
	char mount[32];
	char dir[64];
};

/* A group below the root of a private mount of cgroup2; @controller may be NULL. */
int cgroup_make(struct cgroup *cg, const char *controller);

/* Whoever is in it goes back to the root first. */
void cgroup_remove(struct cgroup *cg);

/* The number behind @key in a file of the group; -1 if there is none. */
long cgroup_read(const struct cgroup *cg, const char *file, const char *key);

/* Waits until cgroup.events says so; false: not within ten seconds. */
bool cgroup_becomes(const struct cgroup *cg, const char *key, long value);

#endif /* _SELFTESTS_CGROUP_UTIL_H */
