// SPDX-License-Identifier: MIT
/*
 * cgroup_util.c - a control group for a test
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup_util.h"
#include "sandtrap_util.h"

long cgroup_read(const struct cgroup *cg, const char *file, const char *key)
{
	char path[128], line[128];
	size_t len = strlen(key);
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", cg->dir, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len))
			value = atol(line + len);
	}
	if (f)
		fclose(f);
	return value;
}

bool cgroup_becomes(const struct cgroup *cg, const char *key, long value)
{
	int i;

	for (i = 0; i < 10000 && cgroup_read(cg, "cgroup.events", key) != value; i++)
		usleep(1000);
	return i < 10000;
}

int cgroup_make(struct cgroup *cg, const char *controller)
{
	strcpy(cg->mount, "/tmp/sandtrap-cg-XXXXXX");
	if (!mkdtemp(cg->mount))
		return -errno;
	snprintf(cg->dir, sizeof(cg->dir), "%s/sandtrap", cg->mount);
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", cg->mount, "cgroup2", 0, NULL))
		return -errno;
	if (controller && box_write(cg->mount, "cgroup.subtree_control", controller))
		return -ENOENT;
	return mkdir(cg->dir, 0700) && errno != EEXIST ? -errno : 0;
}

void cgroup_remove(struct cgroup *cg)
{
	rmdir(cg->dir);
	umount2(cg->mount, MNT_DETACH);
	rmdir(cg->mount);
}
