// SPDX-License-Identifier: MIT
/*
 * platform_test.c - the checks of the platform contract, one list for all platforms
 *
 * timeout: 1200
 *
 * Every check runs on every platform, and once more in a storm of interrupts
 * (the variants NAME_storm: a thread interrupts all contexts at random moments,
 * platform/storm.c). A platform may decline a check only by a query of struct
 * platform. Parts that make their own weather have no storm variants: interrupt.
 *
 * What the contract promises, and where (platform/) it is checked:
 *
 * system calls
 *   six arguments, ip, rcx and r11		regs.c six_arguments_arrive,
 *						syscall_keeps_all_but_rax_rcx_r11
 *   all other registers			the same, program_sees_what_the_sentry_set
 *   eflags					each_flag_survives, privileged_flags_are_ignored
 *   fs and gs base				fs_and_gs_base_*
 *   x87, SSE, mxcsr, AVX, AVX-512		fpu.c
 *   negative and huge numbers, any result	regs.c any_number_*, any_result_*
 * faults
 *   address, access type, error code, cr2	fault.c *_of_nothing, write_to_read_only, ...
 *   straddling, null, kernel, non-canonical	straddling_*, null_pointer, kernel_addresses,
 *						non_canonical_*
 *   after unmap				faults_after_unmap, same_read_after_*
 * traps
 *   #UD #DE #BP #DB #AC #GP #SS #MF #XM	trap.c
 *   CPUID event or fall-through		trap.c cpuid*, other_faults_are_no_cpuid
 * interrupts
 *   before, during, after a switch		interrupt.c
 *   storms, exactly once, bounded latency	storm_*, exactly_once_*, during_the_switch
 *   the right context only			goes_to_its_own_context
 *   preempt, preempt_all_cpus where claimed	preempt_*
 * lazy state against a random model		state.c
 * address spaces
 *   replace, holes, unaligned, precommit	mm.c
 *   1 page to 1 GiB, permission matrix		map.c sizes, permission_matrix
 *   many VMAs, the host's limit of them	mm.c many_mappings, map.c host_limit_*
 *   running threads see changes		mm.c running_threads_*, map.c *_running_*
 *   io with short counts and fault address	object.c io_*
 *   pre_fork, post_fork			map.c fork_brackets_*
 *   release and reuse, nothing readable	mm.c released_*, reuse.c
 * numbers
 *   4,096 contexts				many.c
 *   more contexts than CPUs make progress	many.c all_make_progress
 *   memory barrier				many.c barrier_orders_memory
 * death
 *   of a stub, idle, running or at any moment	death.c killed_*
 *   of the sentry				death.c nothing_survives_the_sentry
 *   fork storm, no zombie left			death.c fork_storm, and every teardown
 *   stray host signals				death.c stray_signals_*
 * no byte sequence reaches a host system call	escape.c, fuzz.c
 * no made-up event is believed			escape.c a_forged_*
 * a confined sentry				confined.c
 *
 * Arguments are patterns (fnmatch) on FIXTURE.CHECK; without any, all are run.
 * SANDTRAP_PLATFORMS is a list of platforms to run them on; SANDTRAP_STORM=no
 * leaves the storms out, =only everything else, and a list of platforms says whose
 * storms are run. PLATFORM names the platform that must work; others are skipped
 * where the machine lacks something they need.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

#include "platform/suite.h"

#include "patience.h"

/* ---- registry: no platform needed ---- */

TEST(registry_knows_ptrace)
{
	const struct platform_constructor *c = platform_lookup("ptrace");

	ASSERT_NE(NULL, c);
	EXPECT_STREQ("ptrace", c->name);
	EXPECT_EQ(NULL, c->requirements.device_path);
	EXPECT_NE(NULL, c->description);
	EXPECT_EQ(NULL, platform_lookup("no such platform"));
	EXPECT_EQ(NULL, platform_lookup(""));
}

TEST(registry_lists_best_first)
{
	const struct platform_constructor *const *list;
	size_t count, i;

	list = platform_list(&count);
	ASSERT_LE(1, count);
	for (i = 0; i < count; i++) {
		ASSERT_NE(NULL, list[i]);
		EXPECT_EQ(list[i], platform_lookup(list[i]->name));
	}
	if (platform_lookup("sandtrap"))
		EXPECT_STREQ("sandtrap", list[0]->name);
}

static int refuse(const struct platform_options *opts, struct platform **out)
{
	return -ENXIO;
}

TEST(registry_takes_more)
{
	static struct platform_constructor kinds[64];
	static char names[64][8];
	size_t before, after, i;
	struct platform *p;

	platform_list(&before);
	for (i = 0; i < 64; i++) {
		snprintf(names[i], sizeof(names[i]), "kind%zu", i);
		kinds[i].name = names[i];
		kinds[i].new_platform = refuse;
		if (platform_register(&kinds[i]))
			break;
		EXPECT_EQ(&kinds[i], platform_lookup(names[i]));
		EXPECT_EQ(-EEXIST, platform_register(&kinds[i]));
	}
	ASSERT_LT(0, i);
	ASSERT_GT(64, i);
	EXPECT_EQ(-ENOSPC, platform_register(&kinds[i]));
	platform_list(&after);
	EXPECT_EQ(before + i, after);
	EXPECT_EQ(-ENXIO, platform_new(&kinds[0], NULL, &p));
	EXPECT_EQ(-ENODEV, platform_open_device(&kinds[0], NULL));
}

/* ---- which checks to run ---- */

/* Is @name one of the words of @list? */
static bool listed(const char *list, const char *name)
{
	const size_t len = strlen(name);
	const char *at = list;

	while ((at = strstr(at, name))) {
		bool starts = at == list || strchr(" ,", at[-1]);
		bool ends = !at[len] || strchr(" ,", at[len]);

		if (starts && ends)
			return true;
		at += len;
	}
	return false;
}

static bool wants_variant(const char *name)
{
	const char *platforms = getenv("SANDTRAP_PLATFORMS"), *storm = getenv("SANDTRAP_STORM");
	const char *suffix = strstr(name, "_storm");
	char platform[64];

	snprintf(platform, sizeof(platform), "%.*s", (int)(suffix ? suffix - name : 63), name);
	if (platforms && !listed(platforms, platform))
		return false;
	if (!storm)
		return true;
	return suffix ? !strcmp(storm, "only") || listed(storm, platform) : strcmp(storm, "only");
}

static bool wants_test(char **patterns, const char *fixture, const char *test)
{
	char name[128];

	snprintf(name, sizeof(name), "%s.%s", fixture, test);
	for (; *patterns; patterns++) {
		if (!fnmatch(*patterns, name, 0))
			return true;
	}
	return false;
}

/* Only the forward links of the harness's lists are followed once main() runs. */
static void choose_tests(struct __fixture_metadata *f, char **patterns)
{
	struct __test_metadata **t = &f->tests;

	while (*t) {
		if (wants_test(patterns, f->name, (*t)->name))
			t = &(*t)->next;
		else
			*t = (*t)->next;
	}
}

static void choose_variants(struct __fixture_metadata *f)
{
	struct __fixture_variant_metadata **v = &f->variant;

	if (!*v)
		return;
	while (*v) {
		if (wants_variant((*v)->name))
			v = &(*v)->next;
		else
			*v = (*v)->next;
	}
	/* The harness takes a fixture without variants for one that needs none. */
	if (!f->variant)
		f->tests = NULL;
}

int main(int argc, char **argv)
{
	struct __fixture_metadata *f;

	/* A test that crashes must not lose its lines. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (f = __fixture_list; f; f = f->next) {
		if (argc > 1)
			choose_tests(f, argv + 1);
		choose_variants(f);
	}
	return test_harness_run(argc, argv);
}
