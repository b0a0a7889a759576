// SPDX-License-Identifier: MIT
/*
 * choose.c - takes the best platform that works here, and can say why
 */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "choose.h"

/* What to do about @err of a platform that needs the device @path. */
static void print_device_hint(FILE *out, const char *path, int err)
{
	struct utsname host;

	switch (err) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		uname(&host);
		fprintf(out, " (is sandtrap.ko loaded? try: insmod build/kmod/%s/sandtrap.ko)",
			host.release);
		break;
	case -EACCES:
	case -EPERM:
		fprintf(out, " (you need read and write permission on %s: run as root, or have it granted)",
			path);
		break;
	case -EPROTO:
		fputs(" (the loaded module has another ABI: rebuild both, then rmmod sandtrap and insmod the new one)",
		      out);
		break;
	}
}

/* What to do about @err of a platform that needs no device. */
static void print_process_hint(FILE *out, int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		fputs(" (may this process trace its children? see sysctl kernel.yama.ptrace_scope, and a container's seccomp profile)",
		      out);
		break;
	case -EAGAIN:
	case -ENOMEM:
		fputs(" (see ulimit -u and the free memory)", out);
		break;
	}
}

/* Why a platform could not be created, and what to do about it. */
static void print_reason(FILE *out, const struct platform_constructor *c,
			 int err)
{
	const char *device = c->requirements.device_path;

	fprintf(out, "%s: %s", device ? device : c->name, strerror(-err));
	if (device)
		print_device_hint(out, device, err);
	else
		print_process_hint(out, err);
}

static int create_platform(const struct platform_constructor *c,
			   const struct platform_options *opts,
			   struct platform **out)
{
	struct platform_options own = *opts;

	if (c->requirements.device_path) {
		own.device_fd = platform_open_device(c, NULL);
		if (own.device_fd < 0)
			return own.device_fd;
	}
	return platform_new(c, &own, out);
}

static void print_taken(const struct platform *p)
{
	fprintf(stderr, "sandrun: platform %s", p->constructor->name);
	if (p->mode)
		fprintf(stderr, " (%s mode)", p->mode);
	fputs(": ", stderr);
}

static struct platform *choose_named(const char *name,
				     const struct platform_options *opts,
				     bool verbose)
{
	const struct platform_constructor *c = platform_lookup(name);
	struct platform *p;
	int err;

	if (!c) {
		fprintf(stderr,
			"sandrun: there is no platform '%s'; see sandrun --list-platforms\n",
			name);
		return NULL;
	}
	err = create_platform(c, opts, &p);
	if (err) {
		fprintf(stderr, "sandrun: platform %s: ", name);
		print_reason(stderr, c, err);
		fputc('\n', stderr);
		return NULL;
	}
	if (verbose) {
		print_taken(p);
		fputs("asked for\n", stderr);
	}
	return p;
}

/* Say what was taken, and why nothing better: @reasons, "" if it is the best. */
static void print_choice(const struct platform *p, const char *reasons)
{
	const char *device = p->constructor->requirements.device_path;

	print_taken(p);
	if (*reasons)
		fprintf(stderr, "%s\n", reasons);
	else if (device)
		fprintf(stderr, "the best one, and %s could be opened\n", device);
	else
		fputs("the best one\n", stderr);
}

/*
 * Try them all, best first; what is wrong with those that do not work goes to
 * @reasons.
 */
static struct platform *choose_best(const struct platform_options *opts,
				    FILE *reasons)
{
	const struct platform_constructor *const *list;
	struct platform *p;
	size_t count, i;
	int err;

	list = platform_list(&count);
	for (i = 0; i < count; i++) {
		err = create_platform(list[i], opts, &p);
		if (!err)
			return p;
		if (i)
			fputs("; ", reasons);
		print_reason(reasons, list[i], err);
	}
	return NULL;
}

struct platform *choose_platform(const char *name,
				 const struct platform_options *opts,
				 bool verbose)
{
	struct platform *p;
	char text[1024] = "";
	FILE *reasons;

	if (name)
		return choose_named(name, opts, verbose);
	/* One byte is kept for the terminator, however long the reasons are. */
	reasons = fmemopen(text, sizeof(text) - 1, "w");
	if (!reasons) {
		fprintf(stderr, "sandrun: %s\n", strerror(errno));
		return NULL;
	}
	p = choose_best(opts, reasons);
	fclose(reasons);
	if (!p)
		fprintf(stderr, "sandrun: no platform works here: %s\n", text);
	else if (verbose)
		print_choice(p, text);
	return p;
}

/* Could it be created? Devices are opened; no stub process is made. */
static int probe_platform(const struct platform_constructor *c)
{
	int fd;

	if (!c->requirements.device_path)
		return 0;
	fd = platform_open_device(c, NULL);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

void list_platforms(FILE *out)
{
	const struct platform_constructor *const *list;
	size_t count, i;
	int err;

	list = platform_list(&count);
	for (i = 0; i < count; i++) {
		err = probe_platform(list[i]);
		fprintf(out, "%s\t%s\t%s", list[i]->name,
			err ? "unusable" : "usable", list[i]->description);
		if (err) {
			fputs("; ", out);
			print_reason(out, list[i], err);
		}
		fputc('\n', out);
	}
}
