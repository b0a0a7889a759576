/* SPDX-License-Identifier: MIT */
/*
 * patience.h - time limits of the kselftest harness for slow kernels
 *
 * Where the environment has SANDTRAP_SLOW=N, as selftests/run sets it on a debug
 * kernel, each test may take N times as long. To be included behind the harness,
 * whose main() then calls this version of test_harness_run().
 */
#ifndef _SELFTESTS_PATIENCE_H
#define _SELFTESTS_PATIENCE_H

#include <stdlib.h>

static inline int run_with_patience(int argc, char **argv)
{
	const char *slow = getenv("SANDTRAP_SLOW");
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	int n = slow ? atoi(slow) : 1;

	for (f = __fixture_list; f && n > 1; f = f->next)
		for (t = f->tests; t; t = t->next)
			t->timeout *= n;
	return test_harness_run(argc, argv);
}

#define test_harness_run run_with_patience

#endif
