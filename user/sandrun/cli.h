/* SPDX-License-Identifier: MIT */
/*
 * cli.h - the command line of sandrun
 */
#ifndef _SANDRUN_CLI_H
#define _SANDRUN_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include <sandtrap/platform.h>

/* Exit statuses of sandrun itself, as of env(1); all others are the program's. */
enum sandrun_exit {
	SANDRUN_EXIT_FAILURE = 125,
	SANDRUN_EXIT_CANNOT_EXECUTE = 126,
	SANDRUN_EXIT_NOT_FOUND = 127,
	/* Plus the number of the signal that ended the program. */
	SANDRUN_EXIT_SIGNAL = 128,
};

/**
 * enum cli_action - what the command line asks for
 * @CLI_RUN: run a program
 * @CLI_LIST_SYSCALLS: print the table of system calls
 * @CLI_LIST_CPUID: print the CPU features that can be hidden
 * @CLI_LIST_PLATFORMS: print what is there to run programs on
 * @CLI_HELP: print the usage
 * @CLI_VERSION: print the version
 */
enum cli_action {
	CLI_RUN,
	CLI_LIST_SYSCALLS,
	CLI_LIST_CPUID,
	CLI_LIST_PLATFORMS,
	CLI_HELP,
	CLI_VERSION,
};

/**
 * struct cli_options - a parsed command line
 * @action: what to do
 * @platform: name of a platform, or NULL for the best that works
 * @root: --root or NULL
 * @cwd: --cwd or NULL
 * @strace: print system calls
 * @stats: print counters at the end
 * @verbose: say which platform was taken, and why
 * @cpuid: --cpuid or NULL; valid
 * @no_cpuid_rewrite: leave CPUID instructions as they are
 * @platform_options: for platform_new(); device_fd is -1
 * @argv: program and arguments, NULL-terminated; part of main()'s argv
 */
struct cli_options {
	enum cli_action action;
	const char *platform;
	const char *root;
	const char *cwd;
	bool strace;
	bool stats;
	bool verbose;
	const char *cpuid;
	bool no_cpuid_rewrite;
	struct platform_options platform_options;
	char **argv;
};

/**
 * cli_parse() - parse a command line
 * @argc: of main()
 * @argv: of main()
 * @opts: filled
 *
 * Return: true; false after a message on stderr.
 */
bool cli_parse(int argc, char **argv, struct cli_options *opts);

/* Print the usage, with one line for every option. */
void cli_usage(FILE *out);

#endif /* _SANDRUN_CLI_H */
