// SPDX-License-Identifier: MIT
/*
 * no_patch - sandrun as the tests call it, with --no-patch
 *
 * A script in its place would change the environment.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* $BUILD/selftests/progs/no_patch -> $BUILD/sandrun */
static int find_sandrun(char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - sizeof("sandrun"));
	int i;

	if (n < 0)
		return -1;
	path[n] = '\0';
	for (i = 0; i < 3; i++)
		*strrchr(path, '/') = '\0';
	strcat(path, "/sandrun");
	return 0;
}

int main(int argc, char **argv)
{
	char **args = calloc((size_t)argc + 2, sizeof(*args));
	char path[PATH_MAX];

	if (!args || find_sandrun(path, sizeof(path)))
		return 125;
	args[0] = argv[0];
	args[1] = "--no-patch";
	memcpy(args + 2, argv + 1, (size_t)argc * sizeof(*args));
	execv(path, args);
	perror(path);
	return 125;
}
