// SPDX-License-Identifier: MIT
/*
 * proc.c - the root of procfs, and sysfs
 */
#include <sched.h>
#include <sys/utsname.h>

#include "sentry/fs/internal.h"
#include "sentry/ipc.h"

int show_arg(struct task *t, const struct pnode *n, struct text *x)
{
	text_printf(x, "%s", pnode_entry(n)->arg);
	return 0;
}

void text_host_proc(struct task *t, struct text *x, const char *name)
{
	int fd = openat(task_vfs(t)->host_proc, name, O_RDONLY | O_CLOEXEC);
	char buf[4096];
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		text_append(x, buf, (size_t)n);
	close(fd);
}

/* Figures of the machine are the host's. */
static int show_host(struct task *t, const struct pnode *n, struct text *x)
{
	text_host_proc(t, x, pnode_entry(n)->arg);
	return 0;
}

/* The host's, without the features that CPUID does not tell of. */
static int show_cpuinfo(struct task *t, const struct pnode *n, struct text *x)
{
	struct text host = { 0 };
	char *line, *next;

	text_host_proc(t, &host, "cpuinfo");
	text_append(&host, "", 1);
	for (line = host.buf; line && *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		cpuid_filter_line(&t->kernel->cpu, line);
		text_printf(x, "%s\n", line);
	}
	free(host.buf);
	return 0;
}

static int show_uptime(struct task *t, const struct pnode *n, struct text *x)
{
	uint64_t ns = monotonic_ns() - t->kernel->boot_ns;

	text_printf(x, "%lu.%02lu 0.00\n", ns / 1000000000u,
		    ns % 1000000000u / 10000000u);
	return 0;
}

/* The host's counters, with the time of the sandbox's own start. */
static int show_stat(struct task *t, const struct pnode *n, struct text *x)
{
	uint64_t up = (monotonic_ns() - t->kernel->boot_ns) / 1000000000u;
	struct text host = { 0 };
	char *line, *save = NULL;

	text_host_proc(t, &host, "stat");
	text_append(&host, "", 1);
	for (line = host.buf ? strtok_r(host.buf, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "btime ", 6))
			text_printf(x, "btime %lu\n",
				    (uint64_t)time(NULL) - up);
		else
			text_printf(x, "%s\n", line);
	}
	free(host.buf);
	return 0;
}

static int show_version(struct task *t, const struct pnode *n, struct text *x)
{
	struct utsname u;

	uname(&u);
	text_printf(x, "%s version %s (sandtrap) %s\n", u.sysname, u.release,
		    u.version);
	return 0;
}

static int show_shm(struct task *t, const struct pnode *n, struct text *x)
{
	ipc_text_shm(t, x);
	return 0;
}

static int show_sem(struct task *t, const struct pnode *n, struct text *x)
{
	ipc_text_sem(t, x);
	return 0;
}

static int show_msg(struct task *t, const struct pnode *n, struct text *x)
{
	ipc_text_msg(t, x);
	return 0;
}

static ssize_t put_link(char *buf, size_t len, const char *text)
{
	size_t n = MIN(strlen(text), len);

	memcpy(buf, text, n);
	return (ssize_t)n;
}

static ssize_t self_readlink(struct task *t, const struct pnode *n, char *buf,
			     size_t len)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", t->tg->tgid);
	return put_link(buf, len, text);
}

static ssize_t thread_self_readlink(struct task *t, const struct pnode *n,
				    char *buf, size_t len)
{
	char text[48];

	snprintf(text, sizeof(text), "%d/task/%d", t->tg->tgid, t->tid);
	return put_link(buf, len, text);
}

static ssize_t arg_readlink(struct task *t, const struct pnode *n, char *buf,
			    size_t len)
{
	return put_link(buf, len, pnode_entry(n)->arg);
}

#define PROC_FILE(_name, _show) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = (_show) }
#define PROC_TEXT(_name, _text) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = show_arg, \
	  .arg = (_text) }
#define PROC_HOST(_name) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = show_host, \
	  .arg = (_name) }
#define PROC_LINK(_name, _readlink, _arg) \
	{ .name = (_name), .mode = S_IFLNK | 0777, .readlink = (_readlink), \
	  .arg = (_arg) }

static const struct pentry sysvipc_entries[] = {
	PROC_FILE("msg", show_msg),
	PROC_FILE("sem", show_sem),
	PROC_FILE("shm", show_shm),
};

static struct pentry proc_entries[] = {
	PROC_LINK("self", self_readlink, NULL),
	PROC_LINK("thread-self", thread_self_readlink, NULL),
	PROC_LINK("mounts", arg_readlink, "self/mounts"),
	PROC_FILE("cpuinfo", show_cpuinfo),
	PROC_HOST("meminfo"),
	PROC_HOST("loadavg"),
	PROC_HOST("vmstat"),
	PROC_FILE("stat", show_stat),
	PROC_FILE("uptime", show_uptime),
	PROC_FILE("version", show_version),
	PROC_TEXT("cmdline", "sandtrap\n"),
	PROC_TEXT("devices", "Character devices:\n  1 mem\n  5 /dev/tty\n"
			     "136 pts\n\nBlock devices:\n"),
	PROC_TEXT("filesystems", "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\n"
				 "nodev\tdevtmpfs\nnodev\tpipefs\n"),
	PROC_TEXT("modules", ""),
	PROC_TEXT("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
	{ .name = "sysvipc", .mode = S_IFDIR | 0555,
	  .children = sysvipc_entries,
	  .nr_children = ARRAY_SIZE(sysvipc_entries) },
	{ .name = "sys", .mode = S_IFDIR | 0555 },
};

/* Tables of other files have no constant size here. */
__attribute__((constructor)) static void proc_init(void)
{
	struct pentry *sys = &proc_entries[ARRAY_SIZE(proc_entries) - 1];

	sys->children = proc_sys_entries;
	sys->nr_children = nr_proc_sys_entries;
}

const struct pentry proc_root = {
	.name = "proc",
	.mode = S_IFDIR | 0555,
	.children = proc_entries,
	.nr_children = ARRAY_SIZE(proc_entries),
	.lookup = proc_pid_lookup,
	.iterate = proc_pid_iterate,
};

/* sysfs: the CPUs, which programs size their pools by */

static int show_cpus(struct task *t, const struct pnode *n, struct text *x)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	text_printf(x, cpus > 1 ? "0-%ld\n" : "0\n", cpus - 1);
	return 0;
}

static const struct pentry cpu_entries[] = {
	PROC_FILE("online", show_cpus),
	PROC_FILE("possible", show_cpus),
	PROC_FILE("present", show_cpus),
	PROC_TEXT("offline", "\n"),
	PROC_TEXT("isolated", "\n"),
};

/* Programs count these: nothing is told of a CPU but that it is there. */
static const struct pentry cpu_entry = { .mode = S_IFDIR | 0555,
					 .arg = PNODE_CPU };

static int cpu_lookup(struct task *t, struct pnode *out, const char *name)
{
	if (strncmp(name, PNODE_CPU, strlen(PNODE_CPU)))
		return -ENOENT;
	out->num = parse_id(name + strlen(PNODE_CPU));
	if (out->num < 0 || out->num >= sysconf(_SC_NPROCESSORS_CONF))
		return -ENOENT;
	pnode_push(out, &cpu_entry);
	return 0;
}

static bool cpu_iterate(struct task *t, const struct pnode *dir,
			unsigned int index, char *name, size_t len)
{
	snprintf(name, len, PNODE_CPU "%u", index);
	return index < sysconf(_SC_NPROCESSORS_CONF);
}

#define SYS_DIR(_name, _children)                        \
	{ .name = (_name), .mode = S_IFDIR | 0555,       \
	  .children = (_children), .nr_children = ARRAY_SIZE(_children) }

static const struct pentry system_entries[] = {
	{ .name = "cpu", .mode = S_IFDIR | 0555, .children = cpu_entries,
	  .nr_children = ARRAY_SIZE(cpu_entries), .lookup = cpu_lookup,
	  .iterate = cpu_iterate },
};
static const struct pentry devices_entries[] = {
	SYS_DIR("system", system_entries),
};
static const struct pentry hugepage_entries[] = {
	PROC_TEXT("enabled", "always madvise [never]\n"),
};
static const struct pentry sysmm_entries[] = {
	SYS_DIR("transparent_hugepage", hugepage_entries),
};
static const struct pentry syskernel_entries[] = {
	SYS_DIR("mm", sysmm_entries),
};
static const struct pentry fs_entries[] = {
	{ .name = "cgroup", .mode = S_IFDIR | 0555 },
};
static const struct pentry sys_entries[] = {
	SYS_DIR("devices", devices_entries),
	SYS_DIR("kernel", syskernel_entries),
	SYS_DIR("fs", fs_entries),
};

const struct pentry sys_root = SYS_DIR("sys", sys_entries);
