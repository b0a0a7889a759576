// SPDX-License-Identifier: MIT
/*
 * exec.c - load a program and make it a task's
 *
 * The new mm is put together beside the old one, so that until it is complete
 * every error leaves the caller as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "sentry/loader/internal.h"

/* Linux's: how much of a script's first line counts, how many nest. */
#define SCRIPT_LINE_MAX 256
#define SCRIPT_DEPTH_MAX 5

/**
 * struct exec - a program being loaded
 * @path: as given; for AT_EXECFN and comm
 * @file: the ELF file, or on the way to it a script; a reference
 * @argv: arguments; the array is owned, the strings are borrowed...
 * @owned: ...but these, made for scripts
 */
struct exec {
	struct task *t;
	const char *path;
	struct file *file;
	char **argv;
	char *owned[2 * SCRIPT_DEPTH_MAX];
	int nr_owned;
	struct elf_image prog, interp;
};

static char *own(struct exec *x, const char *s, size_t len)
{
	char *copy = strndup(s, len);

	if (copy)
		x->owned[x->nr_owned++] = copy;
	return copy;
}

/* argv becomes { interp, [arg], script, argv[1], ... }. */
static int script_argv(struct exec *x, char *interp, char *arg, char *script)
{
	size_t n = 0, i = 0;
	char **argv;

	while (x->argv[n])
		n++;
	argv = calloc(n + 4, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	argv[i++] = interp;
	if (arg)
		argv[i++] = arg;
	argv[i++] = script;
	if (n > 1)
		memcpy(argv + i, x->argv + 1, (n - 1) * sizeof(*argv));
	free(x->argv);
	x->argv = argv;
	return 0;
}

static char *skip_blanks(char *s)
{
	return s + strspn(s, " \t");
}

/* Take the interpreter's path and argument from "#!..." at @line. */
static int parse_script(struct exec *x, char *line, char **interp, char **arg)
{
	size_t len;
	char *s, *end = strchr(line, '\n');

	/* A line that does not end here may have lost part of the path. */
	if (!end && !strpbrk(skip_blanks(line + 2), " \t") &&
	    strlen(line) == SCRIPT_LINE_MAX - 1)
		return -ENOEXEC;
	if (end)
		*end = '\0';
	for (len = strlen(line); len && strchr(" \t", line[len - 1]); len--)
		line[len - 1] = '\0';
	s = skip_blanks(line + 2);
	len = strcspn(s, " \t");
	if (!len)
		return -ENOEXEC;
	*interp = own(x, s, len);
	s = skip_blanks(s + len);
	*arg = *s ? own(x, s, strlen(s)) : NULL;
	return *interp && (*arg || !*s) ? 0 : -ENOMEM;
}

/* If x->file is a script replace it by its interpreter: 1, 0 or -errno. */
static int resolve_script(struct exec *x, const char **script)
{
	char line[SCRIPT_LINE_MAX] = "";
	char *interp, *arg;
	struct file *file;
	ssize_t n;
	int err;

	n = file_pread(x->t, x->file, line, sizeof(line) - 1, 0);
	if (n < 0)
		return (int)n;
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return 0;
	err = parse_script(x, line, &interp, &arg);
	if (!err)
		err = script_argv(x, interp, arg, (char *)*script);
	if (!err)
		err = vfs_open_exec(x->t, AT_FDCWD, interp, 0, &file);
	if (err)
		return err;
	file_put(x->file);
	x->file = file;
	*script = interp;
	return 1;
}

static int resolve_scripts(struct exec *x)
{
	const char *script = x->path;
	int depth, ret;

	for (depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
		ret = resolve_script(x, &script);
		if (ret <= 0)
			return ret;
	}
	return -ELOOP;
}

static int load_interp(struct exec *x, struct mm *mm)
{
	struct file *file;
	int err;

	err = vfs_open_exec(x->t, AT_FDCWD, x->prog.interp, 0, &file);
	if (err)
		return err;
	err = elf_load(mm, x->t, file, true, &x->interp);
	file_put(file);
	return err;
}

static void set_layout(struct exec *x, struct mm *mm)
{
	mm->info.start_code = x->prog.start_code;
	mm->info.end_code = x->prog.end_code;
	mm->info.brk_start = page_up(x->prog.end) + random_offset(1u << 13);
	mm->info.brk = mm->info.brk_start;
}

static int load_locked(struct exec *x, struct mm *mm, char *const *envp,
		       uint64_t *entry, uint64_t *sp)
{
	int err;

	err = elf_load(mm, x->t, x->file, false, &x->prog);
	if (err)
		return err;
	set_layout(x, mm);
	*entry = x->prog.entry;
	if (x->prog.interp[0]) {
		err = load_interp(x, mm);
		if (err)
			return err;
		*entry = x->interp.entry;
	}
	return stack_create(mm, x->t, x->argv, envp, x->path, &x->prog,
			    x->interp.base, sp);
}

/* The state a program starts with: System V ABI for x86-64, section 3.4. */
static void reset_registers(struct task *t, uint64_t entry, uint64_t sp)
{
	struct arch_state *s = &t->ctx->state;
	const uint16_t fcw = 0x37f;
	const uint32_t mxcsr = 0x1f80;

	memset(s->regs, 0, sizeof(*s->regs));
	s->regs->rip = entry;
	s->regs->rsp = sp;
	s->regs->eflags = 0x202;
	s->regs->orig_rax = ~0ull;
	if (s->xstate) {
		memset(s->xstate, 0, s->xstate_size);
		memcpy((char *)s->xstate, &fcw, sizeof(fcw));
		memcpy((char *)s->xstate + 24, &mxcsr, sizeof(mxcsr));
	}
	context_full_state_changed(t->ctx);
}

static void set_comm(struct task *t, const char *path)
{
	const char *base = strrchr(path, '/');

	snprintf(t->comm, sizeof(t->comm), "%s", base ? base + 1 : path);
}

/* From here on nothing fails. */
static void install(struct exec *x, struct mm *mm, uint64_t entry, uint64_t sp)
{
	struct task *t = x->t;
	struct mm *old = t->mm;
	struct file *old_exe;

	/*
	 * Whatever is fetched later would be in the way, and whoever puts the old mm
	 * last, a reader in /proc perhaps, may fetch it.
	 */
	context_pull_full_state(t->ctx);
	mm_add_task(mm, t);
	pthread_mutex_lock(&t->kernel->tasks_lock);
	t->mm = mm;
	set_comm(t, x->path);
	old_exe = t->tg->exe;
	t->tg->exe = file_get(x->file);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	if (old_exe)
		file_put(old_exe);
	if (old) {
		mm_remove_task(old);
		task_mm_released(t);
		mm_put(old);
	}
	reset_registers(t, entry, sp);
}

static int load_program(struct exec *x, char *const *envp)
{
	uint64_t entry, sp;
	struct mm *mm;
	int err;

	err = resolve_scripts(x);
	if (!err)
		err = mm_create(x->t->kernel, &mm);
	if (err)
		return err;
	pthread_mutex_lock(&mm->lock);
	err = load_locked(x, mm, envp, &entry, &sp);
	pthread_mutex_unlock(&mm->lock);
	if (err)
		mm_put(mm);
	else
		install(x, mm, entry, sp);
	return err;
}

/* An empty argument list becomes { "" }, as in Linux since 5.18. */
static char **copy_vector(char *const *v)
{
	static char *const empty[] = { (char *)"", NULL };
	char **copy;
	size_t n = 0;

	if (!v[0])
		v = empty;
	while (v[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (copy)
		memcpy(copy, v, n * sizeof(*copy));
	return copy;
}

int exec_load(struct task *t, const char *path, struct file *file,
	      char *const *argv, char *const *envp)
{
	struct exec *x = calloc(1, sizeof(*x));
	int err = -ENOMEM;

	if (!x) {
		file_put(file);
		return -ENOMEM;
	}
	x->t = t;
	x->path = path;
	x->file = file;
	x->argv = copy_vector(argv);
	if (x->argv)
		err = load_program(x, envp);
	while (x->nr_owned)
		free(x->owned[--x->nr_owned]);
	free(x->argv);
	file_put(x->file);
	free(x);
	return err;
}
