// SPDX-License-Identifier: MIT
/*
 * strace.c - printing of system calls, in the manner of strace(1)
 *
 * A line is put together in a buffer of the task and printed at once, so lines
 * of different tasks do not mix. Arguments are printed as they are before the
 * call, but for buffers that the call fills.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "sentry/signal/internal.h"
#include "sentry/task/internal.h"

#define LINE_MAX_LEN 1024
#define STRING_SHOWN 64
#define VECTOR_SHOWN 16

static __attribute__((format(printf, 2, 3))) void
put(struct task *t, const char *fmt, ...)
{
	size_t room = LINE_MAX_LEN - t->strace_len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->strace_line + t->strace_len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->strace_len += MIN((size_t)n, room - 1);
}

static void put_char(struct task *t, unsigned char c)
{
	static const char escapes[] = "\aa\bb\tt\nn\vv\ff\rr\"\"\\\\";
	const char *e;

	for (e = escapes; *e; e += 2)
		if (c == (unsigned char)*e) {
			put(t, "\\%c", e[1]);
			return;
		}
	if (isprint(c))
		put(t, "%c", c);
	else
		put(t, "\\%o", c);
}

static void put_quoted(struct task *t, const char *s, size_t len, bool more)
{
	size_t i;

	put(t, "\"");
	for (i = 0; i < len; i++)
		put_char(t, (unsigned char)s[i]);
	put(t, more ? "\"..." : "\"");
}

static void put_string(struct task *t, uint64_t addr)
{
	char buf[STRING_SHOWN + 1];
	ssize_t n;

	if (!addr) {
		put(t, "NULL");
		return;
	}
	n = strncpy_from_user(t, buf, addr, sizeof(buf));
	if (n == -ENAMETOOLONG)
		put_quoted(t, buf, STRING_SHOWN, true);
	else if (n < 0)
		put(t, "%#lx", addr);
	else
		put_quoted(t, buf, (size_t)n, false);
}

static void put_buffer(struct task *t, uint64_t addr, uint64_t len)
{
	size_t n = MIN(len, (uint64_t)STRING_SHOWN);
	char buf[STRING_SHOWN];

	if (!addr || copy_from_user(t, buf, addr, n))
		put(t, addr ? "%#lx" : "NULL", addr);
	else
		put_quoted(t, buf, n, len > n);
}

static void put_vector(struct task *t, uint64_t addr)
{
	uint64_t ptr;
	int i;

	put(t, "[");
	for (i = 0; i < VECTOR_SHOWN; i++, addr += sizeof(ptr)) {
		if (!addr || get_user_u64(t, &ptr, addr) || !ptr)
			break;
		put(t, i ? ", " : "");
		put_string(t, ptr);
	}
	put(t, i == VECTOR_SHOWN ? ", ...]" : "]");
}

static void put_signal(struct task *t, int signo)
{
	const char *name = sigabbrev_np(signo);

	if (name)
		put(t, "SIG%s", name);
	else
		put(t, "%d", signo);
}

static void put_arg(struct task *t, char kind, const uint64_t *args, int i,
		    long ret)
{
	uint64_t v = args[i];

	switch (kind) {
	case 'd':
	case 'f':
		put(t, "%d", (int)v);
		break;
	case 'a':
		if ((int)v == AT_FDCWD)
			put(t, "AT_FDCWD");
		else
			put(t, "%d", (int)v);
		break;
	case 'u':
		put(t, "%lu", v);
		break;
	case 'l':
		put(t, "%ld", (long)v);
		break;
	case 'o':
		put(t, "0%lo", v);
		break;
	case 's':
		put_string(t, v);
		break;
	case 'b':
		put_buffer(t, v, args[i + 1]);
		break;
	case 'B':
		put_buffer(t, v, ret > 0 ? (uint64_t)ret : 0);
		break;
	case 'S':
		put_signal(t, (int)v);
		break;
	case 'A':
		put_vector(t, v);
		break;
	default:
		if (v || kind == 'x')
			put(t, "%#lx", v);
		else
			put(t, "NULL");
		break;
	}
}

/* The arguments from @from on, up to one that only the call's end shows. */
static size_t put_args(struct task *t, const char *kinds, size_t from,
		       const uint64_t *args, bool ended, long ret)
{
	size_t i;

	for (i = from; kinds[i] && i < 6; i++) {
		if (kinds[i] == 'B' && !ended)
			break;
		if (i)
			put(t, ", ");
		put_arg(t, kinds[i], args, (int)i, ret);
	}
	return i;
}

static void print_line(struct task *t)
{
	fprintf(t->kernel->strace, "[%5d] %s\n", t->tid, t->strace_line);
	t->strace_len = 0;
}

static const char *arg_kinds(long nr)
{
	const struct syscall_desc *d = NULL;

	if (nr >= 0 && nr < SYSCALL_TABLE_SIZE)
		d = syscall_table[nr];
	return d && d->args ? d->args : "xxxxxx";
}

/* Calls that do not return have no end to print a line at. */
static bool never_returns(long nr)
{
	return nr == SYS_exit || nr == SYS_exit_group;
}

void strace_enter(struct task *t, long nr, const uint64_t *args)
{
	char name[64];

	if (!t->strace_line)
		t->strace_line = malloc(LINE_MAX_LEN);
	if (!t->strace_line)
		return;
	t->strace_len = 0;
	syscall_name(nr, name, sizeof(name));
	put(t, "%s(", name);
	t->strace_args = put_args(t, arg_kinds(nr), 0, args, false, 0);
	if (never_returns(nr)) {
		put(t, ") = ?");
		print_line(t);
	}
}

static void put_result(struct task *t, long ret)
{
	static const char *const restarts[] = {
		"ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "?",
		"ERESTART_RESTARTBLOCK",
	};
	const char *name = NULL;

	if (ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK) {
		put(t, "? %s", restarts[-ret - ERESTARTSYS]);
		return;
	}
	if (ret < 0 && ret > -4096)
		name = strerrorname_np((int)-ret);
	if (name)
		put(t, "-1 %s (%s)", name, strerrordesc_np((int)-ret));
	else if (ret >= 0 && ret < 1 << 20)
		put(t, "%ld", ret);
	else
		put(t, "%#lx", (unsigned long)ret);
}

void strace_exit(struct task *t, long nr, const uint64_t *args, long ret)
{
	if (!t->strace_line || never_returns(nr))
		return;
	put_args(t, arg_kinds(nr), t->strace_args, args, true, ret);
	put(t, ") = ");
	put_result(t, ret);
	print_line(t);
}

void strace_signal(struct task *t, const siginfo_t *info)
{
	if (!t->strace_line)
		return;
	put(t, "--- ");
	put_signal(t, info->si_signo);
	put(t, " {si_code=%d, ", info->si_code);
	if (info->si_code > 0 && info->si_code != SI_KERNEL &&
	    info->si_signo != SIGCHLD)
		put(t, "si_addr=%p", info->si_addr);
	else
		put(t, "si_pid=%d, si_uid=%u", info->si_pid, info->si_uid);
	put(t, "} ---");
	print_line(t);
}

/* Else nobody could tell why the program was killed. */
void strace_switch_failed(struct task *t, int err)
{
	fprintf(t->kernel->strace, "[%5d] !!! cannot run on: %s (%s)\n",
		t->tid, strerrorname_np(-err), strerrordesc_np(-err));
}

void strace_task_exit(struct task *t)
{
	int status = t->tg->sig.exiting ? t->tg->sig.exit_status :
					  t->exit_status;

	if (!t->strace_line)
		return;
	t->strace_len = 0;
	if (WIFSIGNALED(status)) {
		put(t, "+++ killed by ");
		put_signal(t, WTERMSIG(status));
		put(t, " +++");
	} else {
		put(t, "+++ exited with %d +++", WEXITSTATUS(status));
	}
	print_line(t);
}
