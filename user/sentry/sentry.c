// SPDX-License-Identifier: MIT
/*
 * sentry.c - one sandbox, from its options to its exit status
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sandtrap/sentry.h>

#include "sentry/fs.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/mm/cpuid_rewrite.h"
#include "sentry/socket.h"
#include "sentry/task.h"

/* As execvp(3) and the shells have it. */
#define DEFAULT_PATH "/usr/local/bin:/bin:/usr/bin"

struct sentry {
	struct kernel kernel;
};

static const char *env_path(char *const *envp)
{
	for (; *envp; envp++)
		if (!strncmp(*envp, "PATH=", 5))
			return *envp + 5;
	return DEFAULT_PATH;
}

/* Try @name in one directory of PATH; an empty one is the current. */
static int open_in_dir(struct task *t, const char *dir, size_t dir_len,
		       const char *name, char *path, struct file **out)
{
	int n = snprintf(path, PATH_MAX, "%.*s%s%s", (int)dir_len, dir,
			 dir_len ? "/" : "", name);

	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	return vfs_open_exec(t, AT_FDCWD, path, 0, out);
}

/* Find @name as a shell would; @path receives where it was found. */
static int open_program(struct task *t, const char *name, char *const *envp,
			char *path, struct file **out)
{
	const char *dirs = env_path(envp), *end;
	int err = -ENOENT, e;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/'))
		return open_in_dir(t, "", 0, name, path, out);
	for (;; dirs = end + 1) {
		end = strchrnul(dirs, ':');
		e = open_in_dir(t, dirs, (size_t)(end - dirs), name, path,
				out);
		if (!e)
			return 0;
		/* What cannot be executed is reported if nothing else is found. */
		if (e != -ENOENT && e != -ENOTDIR)
			err = e;
		if (!*end)
			return err;
	}
}

static int load_init(struct task *t, const struct sentry_options *opts)
{
	char path[PATH_MAX];
	struct file *file;
	int err;

	err = open_program(t, opts->argv[0], opts->envp, path, &file);
	return err ? err : exec_load(t, path, file, opts->argv, opts->envp);
}

static int create_init(struct kernel *k, const struct sentry_options *opts)
{
	struct task *t;
	int err;

	err = task_create_init(k, &t);
	if (err)
		return err;
	t->fs = fs_context_create(k, opts->cwd, &err);
	if (!t->fs)
		return err;
	t->files = fd_table_create();
	if (!t->files)
		return -ENOMEM;
	err = fd_table_import_stdio(t);
	return err ? err : load_init(t, opts);
}

/* CPUID has to be looked for where the CPU does not report it. */
static int cpu_init(struct kernel *k, const struct sentry_options *opts)
{
	struct cpuid_mask mask;
	char message[256];
	int err;

	err = cpuid_parse(opts->cpuid, &mask, message, sizeof(message));
	if (err)
		return err;
	cpuid_init(&k->cpu, &mask);
	k->rewrite_cpuid = !k->platform->cpuid_events && !opts->no_cpuid_rewrite;
	if (k->cpu.restricted && !k->rewrite_cpuid && !k->platform->cpuid_events)
		return -EOPNOTSUPP;
	return k->rewrite_cpuid ? cpuid_files_create(k) : 0;
}

static int kernel_init(struct kernel *k, const struct sentry_options *opts)
{
	int err;

	k->platform = opts->platform;
	k->strace = opts->strace;
	k->boot_ns = monotonic_ns();
	pthread_mutex_init(&k->tasks_lock, NULL);
	syscall_table_init();
	err = cpu_init(k, opts);
	if (!err)
		err = memory_file_create(&k->memory_file);
	if (!err)
		platform_keep_fd(k->platform, memory_file_fd(k->memory_file));
	if (!err)
		err = vfs_init(k, opts->root);
	if (!err)
		err = net_create(k);
	if (!err)
		err = ipc_create(k);
	return err ? err : create_init(k, opts);
}

int sentry_new(const struct sentry_options *opts, struct sentry **out)
{
	struct sentry *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	err = kernel_init(&s->kernel, opts);
	if (err) {
		sentry_release(s);
		return err;
	}
	*out = s;
	return 0;
}

int sentry_run(struct sentry *s, int *status)
{
	int err = sentry_confine(&s->kernel);

	if (!err)
		err = task_start(s->kernel.init);
	return err ? err : task_wait_all(&s->kernel, status);
}

void sentry_release(struct sentry *s)
{
	struct kernel *k = &s->kernel;

	tasks_release(k);
	net_destroy(k);
	ipc_destroy(k);
	if (k->vfs)
		vfs_destroy(k);
	if (k->memory_file)
		memory_file_destroy(k->memory_file);
	cpuid_files_destroy(k);
	cpuid_destroy(&k->cpu);
	pthread_mutex_destroy(&k->tasks_lock);
	free(s);
}

/* Numbers of system calls, most frequent first. */
static int by_count(const void *a, const void *b, void *kernel)
{
	const struct kernel *k = kernel;
	unsigned long x = k->syscall_count[*(const int *)a];
	unsigned long y = k->syscall_count[*(const int *)b];

	return x < y ? 1 : x > y ? -1 : *(const int *)a - *(const int *)b;
}

static void print_syscalls(const struct kernel *k, FILE *out)
{
	int order[SYSCALL_TABLE_SIZE], i;
	char name[64];

	for (i = 0; i < SYSCALL_TABLE_SIZE; i++)
		order[i] = i;
	qsort_r(order, ARRAY_SIZE(order), sizeof(order[0]), by_count,
		(void *)k);
	fprintf(out, "%12s  system call\n", "calls");
	for (i = 0; i < SYSCALL_TABLE_SIZE; i++) {
		int nr = order[i];

		if (!k->syscall_count[nr])
			break;
		syscall_name(nr, name, sizeof(name));
		fprintf(out, "%12lu  %s%s\n", k->syscall_count[nr], name,
			syscall_table[nr] ? "" : " (not implemented)");
	}
	if (k->unknown_count)
		fprintf(out, "%12lu  of numbers outside the table\n",
			k->unknown_count);
}

void sentry_print_stats(const struct sentry *s, FILE *out)
{
	const struct kernel *k = &s->kernel;
	struct platform_stats st;

	print_syscalls(k, out);
	fprintf(out, "%12lu  faults resolved\n", k->fault_count);
	if (k->platform->usertrap_entry)
		fprintf(out, "%12lu  system calls rewritten, %lu trapped\n",
			k->patch_count, k->trap_count);
	fprintf(out, "%12lu  CPUID instructions answered, %lu rewritten, %lu lookalikes left alone\n",
		k->cpuid_count, k->cpuid_sites, k->cpuid_left);
	platform_get_stats(k->platform, &st);
	fprintf(out, "%12lu  switches\n", st.switches);
	fprintf(out, "%12lu  waits that ended spinning\n", st.spin_hits);
	fprintf(out, "%12lu  waits that slept\n", st.sleeps);
	fprintf(out, "%12lu  memory operations, in %lu batches\n",
		st.memory_ops, st.memory_batches);
}

int sentry_check_cpuid(const char *spec, char *message, size_t size)
{
	struct cpuid_mask mask;

	return cpuid_parse(spec, &mask, message, size);
}

void sentry_list_cpuid(FILE *out)
{
	cpuid_list(out);
}
