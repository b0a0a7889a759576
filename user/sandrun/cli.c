// SPDX-License-Identifier: MIT
/*
 * cli.c - parses the command line of sandrun
 *
 * Options are rows of one table: getopt's own table and the help text are made
 * from it, so that neither can be forgotten.
 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sandtrap/sentry.h>

#include "cli.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* getopt_long() returns this plus the row of a long option. */
#define OPTION_BASE 256

/**
 * struct cli_option - one option
 * @name: long name
 * @letter: short form, or 0
 * @arg: name of its argument in the help, or NULL if it takes none
 * @help: for people
 * @apply: puts it into the options; false after a message on stderr
 */
struct cli_option {
	const char *name;
	char letter;
	const char *arg;
	const char *help;
	bool (*apply)(struct cli_options *opts, const char *arg);
};

static bool apply_platform(struct cli_options *opts, const char *arg)
{
	opts->platform = strcmp(arg, "auto") ? arg : NULL;
	return true;
}

static bool apply_strace(struct cli_options *opts, const char *arg)
{
	opts->strace = true;
	return true;
}

static bool apply_stats(struct cli_options *opts, const char *arg)
{
	opts->stats = true;
	return true;
}

static bool apply_verbose(struct cli_options *opts, const char *arg)
{
	opts->verbose = true;
	return true;
}

static bool apply_list_syscalls(struct cli_options *opts, const char *arg)
{
	opts->action = CLI_LIST_SYSCALLS;
	return true;
}

static bool apply_list_platforms(struct cli_options *opts, const char *arg)
{
	opts->action = CLI_LIST_PLATFORMS;
	return true;
}

static bool apply_help(struct cli_options *opts, const char *arg)
{
	opts->action = CLI_HELP;
	return true;
}

static bool apply_version(struct cli_options *opts, const char *arg)
{
	opts->action = CLI_VERSION;
	return true;
}

static bool apply_directory(const char *name, const char **out, const char *arg)
{
	if (!*arg) {
		fprintf(stderr, "sandrun: --%s wants a directory, not ''\n",
			name);
		return false;
	}
	*out = arg;
	return true;
}

static bool apply_root(struct cli_options *opts, const char *arg)
{
	return apply_directory("root", &opts->root, arg);
}

static bool apply_cwd(struct cli_options *opts, const char *arg)
{
	return apply_directory("cwd", &opts->cwd, arg);
}

static bool apply_spin(struct cli_options *opts, const char *arg)
{
	unsigned long long ns;
	char *end;

	errno = 0;
	ns = strtoull(arg, &end, 10);
	/* strtoull() takes signs and blanks: the first character must be a digit. */
	if (*arg < '0' || *arg > '9' || *end || errno ||
	    ns == PLATFORM_SPIN_DEFAULT) {
		fprintf(stderr,
			"sandrun: --spin wants a number of nanoseconds, not '%s'\n",
			arg);
		return false;
	}
	opts->platform_options.spin_ns = ns;
	return true;
}

static bool apply_no_spin(struct cli_options *opts, const char *arg)
{
	opts->platform_options.spin_ns = 0;
	return true;
}

static bool apply_no_patch(struct cli_options *opts, const char *arg)
{
	opts->platform_options.disable_syscall_patching = true;
	return true;
}

static bool apply_sandtrap_mode(struct cli_options *opts, const char *arg)
{
	if (strcmp(arg, "auto") && strcmp(arg, "ring") && strcmp(arg, "direct")) {
		fprintf(stderr,
			"sandrun: --sandtrap-mode wants auto, ring or direct, not '%s'\n",
			arg);
		return false;
	}
	opts->platform_options.sandtrap_mode = arg;
	return true;
}

static bool apply_cpuid(struct cli_options *opts, const char *arg)
{
	char message[256];

	if (!strcmp(arg, "list")) {
		opts->action = CLI_LIST_CPUID;
		return true;
	}
	if (*arg && !sentry_check_cpuid(arg, message, sizeof(message))) {
		opts->cpuid = arg;
		return true;
	}
	fprintf(stderr, "sandrun: --cpuid: %s\n",
		*arg ? message : "wants hide=FEATURE[,FEATURE...] or list");
	return false;
}

static bool apply_no_cpuid_rewrite(struct cli_options *opts, const char *arg)
{
	opts->no_cpuid_rewrite = true;
	return true;
}

static const struct cli_option options[] = {
	{ "platform", 'p', "NAME", "auto (the best that works) or a name of --list-platforms",
	  apply_platform },
	{ "root", 0, "DIR", "host directory that becomes / (default: /)", apply_root },
	{ "cwd", 0, "DIR", "working directory inside the root (default: the caller's)",
	  apply_cwd },
	{ "strace", 0, NULL, "print every system call on stderr", apply_strace },
	{ "stats", 0, NULL, "print counters on stderr at the end", apply_stats },
	{ "spin", 0, "NS", "spin for at most NS nanoseconds before sleeping", apply_spin },
	{ "no-spin", 0, NULL, "never spin", apply_no_spin },
	{ "no-patch", 0, NULL, "never rewrite system call instructions", apply_no_patch },
	{ "sandtrap-mode", 0, "MODE", "sandtrap: auto, ring (stub threads) or direct (our own)",
	  apply_sandtrap_mode },
	{ "cpuid", 0, "SPEC", "hide=avx512f,...: features the program must not see; or list",
	  apply_cpuid },
	{ "no-cpuid-rewrite", 0, NULL, "never rewrite CPUID instructions", apply_no_cpuid_rewrite },
	{ "verbose", 'v', NULL, "say on stderr which platform was taken, and why",
	  apply_verbose },
	{ "list-syscalls", 0, NULL, "print the table of system calls", apply_list_syscalls },
	{ "list-platforms", 0, NULL, "print the platforms, best first", apply_list_platforms },
	{ "help", 'h', NULL, "print this", apply_help },
	{ "version", 'V', NULL, "print the version", apply_version },
};

void cli_usage(FILE *out)
{
	size_t i;

	fputs("usage: sandrun [OPTIONS] [--] PROGRAM [ARGS...]\n"
	      "Runs an unmodified Linux program on an application kernel.\n\n",
	      out);
	for (i = 0; i < ARRAY_SIZE(options); i++) {
		const struct cli_option *o = &options[i];
		char left[32];

		snprintf(left, sizeof(left), "--%s%s%s", o->name,
			 o->arg ? "=" : "", o->arg ? o->arg : "");
		if (o->letter)
			fprintf(out, "  -%c, %-18s %s\n", o->letter, left, o->help);
		else
			fprintf(out, "      %-18s %s\n", left, o->help);
	}
	fputs("\nExit status: the program's; 128+N if signal N ended it; 125 sandrun\n"
	      "itself failed; 126 PROGRAM cannot be executed; 127 it was not found.\n",
	      out);
}

/* The row of what getopt_long() returned, or NULL. */
static const struct cli_option *find_option(int code)
{
	size_t i;

	if (code >= OPTION_BASE)
		return &options[code - OPTION_BASE];
	for (i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].letter && options[i].letter == code)
			return &options[i];
	}
	return NULL;
}

/* Parse all options; getopt_long() itself complains about what it cannot. */
static bool parse_options(int argc, char **argv, struct cli_options *opts)
{
	struct option long_options[ARRAY_SIZE(options) + 1] = { 0 };
	/* "+": stop at the first non-option: the rest is the program's. */
	char letters[2 * ARRAY_SIZE(options) + 2] = "+";
	char *letter = letters + 1;
	const struct cli_option *o;
	size_t i;
	int code;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		o = &options[i];
		long_options[i].name = o->name;
		long_options[i].has_arg = o->arg ? required_argument :
						   no_argument;
		long_options[i].val = OPTION_BASE + (int)i;
		if (o->letter) {
			*letter++ = o->letter;
			if (o->arg)
				*letter++ = ':';
		}
	}
	while ((code = getopt_long(argc, argv, letters, long_options,
				   NULL)) != -1) {
		o = find_option(code);
		if (!o || !o->apply(opts, optarg))
			return false;
	}
	return true;
}

bool cli_parse(int argc, char **argv, struct cli_options *opts)
{
	static char name[] = "sandrun";

	*opts = (struct cli_options){
		.action = CLI_RUN,
		.platform_options = {
			.device_fd = -1,
			.spin_ns = PLATFORM_SPIN_DEFAULT,
		},
	};
	if (getenv("SANDTRAP_MODE") &&
	    !apply_sandtrap_mode(opts, getenv("SANDTRAP_MODE")))
		return false;
	/* getopt_long() begins its messages with it. */
	if (argc > 0)
		argv[0] = name;
	if (!parse_options(argc, argv, opts)) {
		fputs("Try 'sandrun --help'.\n", stderr);
		return false;
	}
	if (opts->action == CLI_RUN && optind >= argc) {
		fputs("sandrun: no program to run\nTry 'sandrun --help'.\n",
		      stderr);
		return false;
	}
	opts->argv = argv + optind;
	return true;
}
