// SPDX-License-Identifier: MIT
/*
 * registry.c - the kinds of platform there are, best first
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define MAX_PLATFORMS 16

/*
 * In the order in which somebody without a wish should try them. Null entries
 * are kinds that this build lacks; registry() squeezes them out.
 */
static const struct platform_constructor *kinds[MAX_PLATFORMS] = {
	&sandtrap_constructor,
	&systrap_constructor,
	&ptrace_constructor,
};
static size_t nr_kinds = 3;

static void drop_absent_kinds(void)
{
	size_t from, to = 0;

	for (from = 0; from < nr_kinds; from++) {
		if (kinds[from])
			kinds[to++] = kinds[from];
	}
	nr_kinds = to;
}

int platform_register(const struct platform_constructor *c)
{
	if (platform_lookup(c->name))
		return -EEXIST;
	if (nr_kinds == MAX_PLATFORMS)
		return -ENOSPC;
	kinds[nr_kinds++] = c;
	return 0;
}

const struct platform_constructor *const *platform_list(size_t *count)
{
	*count = nr_kinds;
	return kinds;
}

const struct platform_constructor *platform_lookup(const char *name)
{
	size_t i;

	for (i = 0; i < nr_kinds; i++) {
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	}
	return NULL;
}

/*
 * Before main() and before constructors that call platform_register(), so that
 * nobody above meets a null entry.
 */
__attribute__((constructor(101))) static void init_registry(void)
{
	drop_absent_kinds();
}
