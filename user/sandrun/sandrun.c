// SPDX-License-Identifier: MIT
/*
 * sandrun.c - runs a program in a sandbox
 *
 * All the work is libsentry's. What is left for here: which platform, which
 * descriptors the sandbox may have, and what the exit status says.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sandtrap/platform.h>
#include <sandtrap/sentry.h>

#include "choose.h"
#include "cli.h"

#ifndef SANDRUN_VERSION
#define SANDRUN_VERSION "unknown"
#endif

extern char **environ;

static int fail(const char *what, int err)
{
	fprintf(stderr, "sandrun: %s: %s\n", what, strerror(-err));
	return SANDRUN_EXIT_FAILURE;
}

/*
 * The sandbox gets descriptors 0, 1 and 2 and no other. One of these that is
 * closed must not become the number of something that sandrun opens, the
 * device for one: put an O_PATH descriptor there, which like a closed one can
 * be neither read nor written.
 */
static int settle_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* The lowest free number is this one: those below are taken. */
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", O_PATH | O_CLOEXEC) < 0)
			return -errno;
	}
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0))
		return -errno;
	return 0;
}

/*
 * An ignored SIGCHLD is inherited through execve() and would let the kernel
 * reap the stubs of a platform behind its back.
 */
static void settle_signals(void)
{
	signal(SIGCHLD, SIG_DFL);
}

/* Is @path a directory inside @root? 0 or -errno. */
static int check_directory(const char *root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	int root_fd, fd, err = 0;

	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	if (fd < 0)
		err = -errno;
	else
		close(fd);
	close(root_fd);
	return err;
}

/*
 * --cwd counts from the caller's directory like env --chdir if the sandbox has
 * the whole tree, else from the root. Returns a string to free, or NULL.
 */
static char *absolute_cwd(const struct cli_options *opts)
{
	const char *base = "";
	char *here = NULL, *path = NULL;

	if (opts->cwd[0] == '/')
		return strdup(opts->cwd);
	if (!opts->root) {
		here = getcwd(NULL, 0);
		if (!here)
			return NULL;
		base = here;
	}
	if (asprintf(&path, "%s/%s", base, opts->cwd) < 0)
		path = NULL;
	free(here);
	return path;
}

/* Tell a wrong --root or --cwd from a wrong program: all are -ENOENT later. */
static int check_directories(const struct cli_options *opts, char **cwd)
{
	const char *root = opts->root ? opts->root : "/";
	int err;

	*cwd = NULL;
	err = check_directory(root, "/");
	if (err)
		return fail(root, err);
	if (!opts->cwd)
		return 0;
	*cwd = absolute_cwd(opts);
	if (!*cwd)
		return fail(opts->cwd, -errno);
	err = check_directory(root, *cwd);
	if (!err)
		return 0;
	fprintf(stderr, "sandrun: --cwd %s: %s%s%s\n", opts->cwd,
		strerror(-err), opts->root ? ", inside the root " : "",
		opts->root ? opts->root : "");
	free(*cwd);
	*cwd = NULL;
	return SANDRUN_EXIT_FAILURE;
}

/* Say why the program could not be started, and pick the exit status. */
static int explain_start(const char *program, int err)
{
	switch (err) {
	case -ENOENT:
		fprintf(stderr, "sandrun: %s: not found%s\n", program,
			strchr(program, '/') ?
				" (neither it nor, if it has one, its interpreter)" :
				" in PATH");
		return SANDRUN_EXIT_NOT_FOUND;
	case -ENOEXEC:
		fprintf(stderr,
			"sandrun: %s: neither an x86-64 ELF program nor a script that begins with #!\n",
			program);
		return SANDRUN_EXIT_CANNOT_EXECUTE;
	case -EACCES:
		fprintf(stderr,
			"sandrun: %s: permission denied (not executable, or a directory)\n",
			program);
		return SANDRUN_EXIT_CANNOT_EXECUTE;
	case -EXDEV:
		fputs("sandrun: --cwd: the sandbox has no such part of /proc, /dev or /sys\n",
		      stderr);
		return SANDRUN_EXIT_FAILURE;
	case -EOPNOTSUPP:
		fputs("sandrun: --cpuid: on this CPU features can only be hidden by rewriting CPUID instructions, which --no-cpuid-rewrite forbids\n",
		      stderr);
		return SANDRUN_EXIT_FAILURE;
	case -ENOMEM:
	case -EAGAIN:
	case -EMFILE:
	case -ENFILE:
		return fail("cannot make the sandbox", err);
	default:
		fail(program, err);
		return SANDRUN_EXIT_CANNOT_EXECUTE;
	}
}

static int exit_status(int status)
{
	if (WIFSIGNALED(status))
		return SANDRUN_EXIT_SIGNAL + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static int run_on(struct platform *p, const struct cli_options *opts,
		  const char *cwd)
{
	struct sentry_options so = {
		.platform = p,
		.argv = opts->argv,
		.envp = environ,
		.root = opts->root,
		.cwd = cwd,
		.strace = opts->strace ? stderr : NULL,
		.cpuid = opts->cpuid,
		.no_cpuid_rewrite = opts->no_cpuid_rewrite,
	};
	struct sentry *s;
	int err, status, ret;

	err = sentry_new(&so, &s);
	if (err)
		return explain_start(opts->argv[0], err);
	err = sentry_run(s, &status);
	ret = err ? fail("the sandbox failed", err) : exit_status(status);
	if (opts->stats)
		sentry_print_stats(s, stderr);
	sentry_release(s);
	return ret;
}

static int run(const struct cli_options *opts)
{
	struct platform *p;
	char *cwd;
	int ret;

	ret = check_directories(opts, &cwd);
	if (ret)
		return ret;
	p = choose_platform(opts->platform, &opts->platform_options,
			    opts->verbose);
	if (p) {
		ret = run_on(p, opts, cwd);
		platform_release(p);
	} else {
		ret = SANDRUN_EXIT_FAILURE;
	}
	free(cwd);
	return ret;
}

/* A full disk or a closed stdout must not look like success. */
static int finish_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		return fail("standard output", -errno);
	return 0;
}

int main(int argc, char **argv)
{
	struct cli_options opts;
	int err;

	err = settle_descriptors();
	if (err)
		return fail("/dev/null", err);
	settle_signals();
	if (!cli_parse(argc, argv, &opts))
		return SANDRUN_EXIT_FAILURE;
	switch (opts.action) {
	case CLI_RUN:
		return run(&opts);
	case CLI_LIST_SYSCALLS:
		sentry_list_syscalls(stdout);
		break;
	case CLI_LIST_CPUID:
		sentry_list_cpuid(stdout);
		break;
	case CLI_LIST_PLATFORMS:
		list_platforms(stdout);
		break;
	case CLI_HELP:
		cli_usage(stdout);
		break;
	case CLI_VERSION:
		puts("sandrun " SANDRUN_VERSION);
		break;
	}
	return finish_output();
}
