/* SPDX-License-Identifier: MIT */
/*
 * choose.h - which platform runs the program, and why
 */
#ifndef _SANDRUN_CHOOSE_H
#define _SANDRUN_CHOOSE_H

#include <stdbool.h>
#include <stdio.h>

#include <sandtrap/platform.h>

/**
 * choose_platform() - create the platform to run on
 * @name: name of the only one wanted, or NULL: the first of platform_list()
 *	that can be created
 * @opts: options for it
 * @verbose: say on stderr which one was taken, and why
 *
 * Return: the platform; NULL after a message on stderr.
 */
struct platform *choose_platform(const char *name,
				 const struct platform_options *opts,
				 bool verbose);

/* Print one line for every platform: name, usable or why not, description. */
void list_platforms(FILE *out);

#endif /* _SANDRUN_CHOOSE_H */
