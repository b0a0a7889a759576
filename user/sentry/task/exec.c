// SPDX-License-Identifier: MIT
/*
 * exec.c - execve and execveat
 *
 * Everything the new program is told is copied out of the old one's memory
 * first. What fails until exec_load() has succeeded leaves the old program as
 * it was.
 */
#include <fcntl.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

/* Linux's MAX_ARG_STRLEN, and its bound for all strings together. */
#define ARG_STRLEN_MAX (128 * 1024)
#define ARGS_TOTAL_MAX (6 * 1024 * 1024)
#define ARGS_TOTAL_MIN (128 * 1024)

/* Strings of argv and envp together. */
struct exec_args {
	char *path;
	char **argv;
	char **envp;
	size_t used, limit;
};

static void free_vector(char **v)
{
	size_t i;

	if (!v)
		return;
	for (i = 0; v[i]; i++)
		free(v[i]);
	free(v);
}

static void free_args(struct exec_args *a)
{
	free(a->path);
	free_vector(a->argv);
	free_vector(a->envp);
}

/* A quarter of the stack, as in Linux, within bounds. */
static size_t args_limit(struct task *t)
{
	rlim_t stack;

	pthread_mutex_lock(&t->tg->lock);
	stack = t->tg->rlimits[RLIMIT_STACK].rlim_cur;
	pthread_mutex_unlock(&t->tg->lock);
	return MAX(MIN(stack / 4, (rlim_t)ARGS_TOTAL_MAX),
		   (rlim_t)ARGS_TOTAL_MIN);
}

static int copy_string(struct task *t, struct exec_args *a, char *buf,
		       uint64_t addr, char **out)
{
	ssize_t n = strncpy_from_user(t, buf, addr, ARG_STRLEN_MAX);

	if (n == -ENAMETOOLONG)
		return -E2BIG;
	if (n < 0)
		return (int)n;
	/* The pointer to it lives on the new stack too. */
	a->used += (size_t)n + 1 + sizeof(uint64_t);
	if (a->used > a->limit)
		return -E2BIG;
	*out = malloc((size_t)n + 1);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, buf, (size_t)n + 1);
	return 0;
}

/* Room for one more string and the NULL behind it. */
static int grow_vector(char ***v, size_t n, size_t *room)
{
	size_t more = *room ? *room * 2 : 32;
	char **p;

	if (n + 1 < *room)
		return 0;
	p = reallocarray(*v, more, sizeof(*p));
	if (!p)
		return -ENOMEM;
	memset(p + *room, 0, (more - *room) * sizeof(*p));
	*v = p;
	*room = more;
	return 0;
}

/* @addr 0 is an empty vector, as in Linux. */
static int copy_vector(struct task *t, struct exec_args *a, char *buf,
		       uint64_t addr, char ***out)
{
	size_t n = 0, room = 0;
	uint64_t ptr;
	int err;

	err = grow_vector(out, 0, &room);
	while (!err && addr) {
		if (get_user_u64(t, &ptr, addr + n * sizeof(ptr)))
			return -EFAULT;
		if (!ptr)
			break;
		err = grow_vector(out, n, &room);
		if (!err)
			err = copy_string(t, a, buf, ptr, *out + n);
		n++;
	}
	return err;
}

static int copy_args(struct task *t, struct exec_args *a, uint64_t argv,
		     uint64_t envp)
{
	char *buf = malloc(ARG_STRLEN_MAX);
	int err;

	if (!buf)
		return -ENOMEM;
	a->limit = args_limit(t);
	err = copy_vector(t, a, buf, argv, &a->argv);
	if (!err)
		err = copy_vector(t, a, buf, envp, &a->envp);
	free(buf);
	return err;
}

static int copy_path(struct task *t, struct exec_args *a, uint64_t addr)
{
	ssize_t n;

	a->path = malloc(PATH_MAX);
	if (!a->path)
		return -ENOMEM;
	n = strncpy_from_user(t, a->path, addr, PATH_MAX);
	return n < 0 ? (int)n : 0;
}

/* How the program is called in /proc and by interpreters of scripts. */
static int name_of(struct exec_args *a, int dirfd)
{
	char *name;
	int n;

	if (dirfd == AT_FDCWD || a->path[0] == '/')
		return 0;
	n = a->path[0] ? asprintf(&name, "/dev/fd/%d/%s", dirfd, a->path) :
			 asprintf(&name, "/dev/fd/%d", dirfd);
	if (n < 0)
		return -ENOMEM;
	free(a->path);
	a->path = name;
	return 0;
}

/*
 * The new program is loaded: nothing can fail but by being killed. Robust
 * futexes in the memory left behind stay as they are, which only another
 * process that shares them could notice.
 */
static void become_new_program(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct kernel *k = t->kernel;

	/* Killed, or another thread was faster: this one only has to exit. */
	if (task_exec_alone(t))
		return;
	t->clear_child_tid = 0;
	t->set_child_tid = 0;
	t->robust_list = 0;
	process_timers_exec(tg);
	signal_exec(t);
	pthread_mutex_lock(&k->tasks_lock);
	tg->did_exec = true;
	tg->dumpable = 1;
	if (tg->exit_signal)
		tg->exit_signal = SIGCHLD;
	pthread_mutex_unlock(&k->tasks_lock);
	t->cred.suid = t->cred.euid;
	t->cred.sgid = t->cred.egid;
}

static int load(struct task *t, struct exec_args *a, struct file *file)
{
	int err;

	/* The old descriptors close only when there is a new program. */
	err = exec_load(t, a->path, file, a->argv, a->envp);
	if (err)
		return err;
	become_new_program(t);
	/* Without memory for a table of its own it cannot go on. */
	if (fd_table_exec(t))
		task_group_exit(t, SIGKILL);
	return 0;
}

static int do_execveat(struct task *t, int dirfd, const uint64_t *args,
		       int flags)
{
	struct exec_args a = { 0 };
	struct file *file = NULL;
	int err;

	err = copy_path(t, &a, args[0]);
	if (!err)
		err = vfs_open_exec(t, dirfd, a.path, flags, &file);
	if (!err)
		err = copy_args(t, &a, args[1], args[2]);
	if (!err)
		err = name_of(&a, dirfd);
	if (!err)
		err = load(t, &a, file);
	else if (file)
		file_put(file);
	free_args(&a);
	return err;
}

long sys_execve(struct task *t, const uint64_t *args)
{
	return do_execveat(t, AT_FDCWD, args, 0);
}

long sys_execveat(struct task *t, const uint64_t *args)
{
	int flags = (int)args[4];

	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return do_execveat(t, (int)args[0], args + 1, flags);
}
