// SPDX-License-Identifier: MIT
/*
 * proc_pid.c - /proc/PID and /proc/PID/task/TID
 */
#include <sys/resource.h>
#include <sys/vfs.h>

#include "sentry/fs/internal.h"

struct task *proc_task(struct task *t, const struct pnode *n)
{
	return n->tid == t->tid ? task_get(t) : task_find(t->kernel, n->tid);
}

/* The mm of the task, a reference; or NULL. */
static struct mm *node_mm(struct task *t, const struct pnode *n)
{
	struct task *target = proc_task(t, n);
	struct mm *mm;

	if (!target)
		return NULL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	mm = target->mm ? mm_get(target->mm) : NULL;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	return mm;
}

/* memory */

/* Append program memory [from, to), as much as can be read. */
static void text_memory(struct text *x, struct mm *mm, uint64_t from,
			uint64_t to)
{
	char buf[PAGE_SIZE];
	ssize_t n;

	if (to - from > (1u << 21))
		to = from + (1u << 21);
	for (; from < to; from += (uint64_t)n) {
		n = mm_read(mm, from, buf, MIN(to - from, sizeof(buf)));
		if (n <= 0)
			break;
		text_append(x, buf, (size_t)n);
	}
}

static int show_cmdline(struct task *t, const struct pnode *n, struct text *x)
{
	struct mm *mm = node_mm(t, n);
	struct mm_info info;

	if (!mm)
		return 0;
	mm_get_info(mm, &info);
	if (info.arg_end > info.arg_start)
		text_memory(x, mm, info.arg_start, info.arg_end);
	mm_put(mm);
	return 0;
}

static int show_environ(struct task *t, const struct pnode *n, struct text *x)
{
	struct mm *mm = node_mm(t, n);
	struct mm_info info;

	if (!mm)
		return -ESRCH;
	mm_get_info(mm, &info);
	if (info.env_end > info.env_start)
		text_memory(x, mm, info.env_start, info.env_end);
	mm_put(mm);
	return 0;
}

static int show_auxv(struct task *t, const struct pnode *n, struct text *x)
{
	struct mm *mm = node_mm(t, n);
	char buf[1024];

	if (!mm)
		return 0;
	text_append(x, buf, mm_get_auxv(mm, buf, sizeof(buf)));
	mm_put(mm);
	return 0;
}

static int show_maps(struct task *t, const struct pnode *n, struct text *x)
{
	struct mm *mm = node_mm(t, n);
	size_t len = 0;
	char *maps;

	if (!mm)
		return 0;
	maps = mm_format_maps(mm, &len);
	mm_put(mm);
	if (!maps)
		return -ENOMEM;
	text_append(x, maps, len);
	free(maps);
	return 0;
}

/* names */

static int show_comm(struct task *t, const struct pnode *n, struct text *x)
{
	struct task *target = proc_task(t, n);

	if (!target)
		return -ESRCH;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	text_printf(x, "%.15s\n", target->comm);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	return 0;
}

static ssize_t store_comm(struct task *t, const struct pnode *n,
			  const char *buf, size_t len)
{
	struct task *target = proc_task(t, n);
	size_t size = MIN(len, sizeof(target->comm) - 1);

	if (!target)
		return -ESRCH;
	if (target->tg != t->tg) {
		task_put(target);
		return -EINVAL;
	}
	if (size && buf[size - 1] == '\n')
		size--;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	memset(target->comm, 0, sizeof(target->comm));
	memcpy(target->comm, buf, size);
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	return (ssize_t)len;
}

/* limits */

static const char *const limit_names[RLIM_NLIMITS][2] = {
	[RLIMIT_CPU] = { "Max cpu time", "seconds" },
	[RLIMIT_FSIZE] = { "Max file size", "bytes" },
	[RLIMIT_DATA] = { "Max data size", "bytes" },
	[RLIMIT_STACK] = { "Max stack size", "bytes" },
	[RLIMIT_CORE] = { "Max core file size", "bytes" },
	[RLIMIT_RSS] = { "Max resident set", "bytes" },
	[RLIMIT_NPROC] = { "Max processes", "processes" },
	[RLIMIT_NOFILE] = { "Max open files", "files" },
	[RLIMIT_MEMLOCK] = { "Max locked memory", "bytes" },
	[RLIMIT_AS] = { "Max address space", "bytes" },
	[RLIMIT_LOCKS] = { "Max file locks", "locks" },
	[RLIMIT_SIGPENDING] = { "Max pending signals", "signals" },
	[RLIMIT_MSGQUEUE] = { "Max msgqueue size", "bytes" },
	[RLIMIT_NICE] = { "Max nice priority", "" },
	[RLIMIT_RTPRIO] = { "Max realtime priority", "" },
	[RLIMIT_RTTIME] = { "Max realtime timeout", "us" },
};

static void limit_text(char *buf, size_t len, rlim_t v)
{
	if (v == RLIM_INFINITY)
		snprintf(buf, len, "unlimited");
	else
		snprintf(buf, len, "%lu", v);
}

static int show_limits(struct task *t, const struct pnode *n, struct text *x)
{
	struct task *target = proc_task(t, n);
	struct rlimit limits[RLIM_NLIMITS];
	char soft[24], hard[24];
	int i;

	if (!target)
		return -ESRCH;
	pthread_mutex_lock(&target->tg->lock);
	memcpy(limits, target->tg->rlimits, sizeof(limits));
	pthread_mutex_unlock(&target->tg->lock);
	task_put(target);
	text_printf(x, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit",
		    "Hard Limit", "Units");
	for (i = 0; i < RLIM_NLIMITS; i++) {
		limit_text(soft, sizeof(soft), limits[i].rlim_cur);
		limit_text(hard, sizeof(hard), limits[i].rlim_max);
		text_printf(x, "%-25s %-20s %-20s %-10s\n", limit_names[i][0],
			    soft, hard, limit_names[i][1]);
	}
	return 0;
}

/* mounts */

struct mount_line {
	const char *dev, *dir, *type, *opts;
};

static const struct mount_line mount_lines[] = {
	{ "/dev/root", "/", NULL, "rw,relatime" },
	{ "proc", "/proc", "proc", "rw,nosuid,nodev,noexec,relatime" },
	{ "sysfs", "/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime" },
	{ "devtmpfs", "/dev", "devtmpfs", "rw,nosuid,relatime" },
	{ "tmpfs", "/dev/shm", "tmpfs", "rw,nosuid,nodev" },
};

/* Name of the root's type, of those that are common. */
static const char *root_type(struct task *t)
{
	static const struct {
		long magic;
		const char *name;
	} types[] = {
		{ 0xef53, "ext4" },	    { 0x58465342, "xfs" },
		{ 0x9123683e, "btrfs" },    { 0x794c7630, "overlay" },
		{ 0x01021994, "tmpfs" },    { 0x01021997, "9p" },
		{ 0x858458f6, "ramfs" },    { 0x6969, "nfs" },
	};
	struct statfs sfs;
	size_t i;

	if (!fstatfs(task_vfs(t)->mounts[0].fd, &sfs)) {
		for (i = 0; i < ARRAY_SIZE(types); i++) {
			if (types[i].magic == sfs.f_type)
				return types[i].name;
		}
	}
	return "hostfs";
}

int proc_show_mounts(struct task *t, const struct pnode *n, struct text *x)
{
	const struct mount_line *m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mount_lines); i++) {
		m = &mount_lines[i];
		text_printf(x, "%s %s %s %s 0 0\n", m->dev, m->dir,
			    m->type ? m->type : root_type(t), m->opts);
	}
	return 0;
}

static int show_mountinfo(struct task *t, const struct pnode *n,
			  struct text *x)
{
	const struct mount_line *m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mount_lines); i++) {
		m = &mount_lines[i];
		text_printf(x, "%zu %d 0:%zu / %s %s - %s %s rw\n", 20 + i,
			    i == 0 ? 1 : i == 4 ? 23 : 20, 20 + i, m->dir,
			    m->opts, m->type ? m->type : root_type(t), m->dev);
	}
	return 0;
}

/* exe, cwd, root */

static struct file *node_exe(struct task *t, const struct pnode *n)
{
	struct task *target = proc_task(t, n);
	struct file *exe;

	if (!target)
		return NULL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	exe = target->mm && target->tg->exe ? file_get(target->tg->exe) : NULL;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	return exe;
}

static ssize_t put_text(char *buf, size_t len, const char *text)
{
	size_t n = MIN(strlen(text), len);

	memcpy(buf, text, n);
	return (ssize_t)n;
}

static ssize_t exe_readlink(struct task *t, const struct pnode *n, char *buf,
			    size_t len)
{
	struct file *exe = node_exe(t, n);
	char name[PATH_MAX];

	if (!exe)
		return -ENOENT;
	file_name(exe, name, sizeof(name));
	file_put(exe);
	return put_text(buf, len, name);
}

static int exe_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	struct file *exe = node_exe(t, n);

	if (!exe)
		return -ENOENT;
	file_loc(exe, out);
	out->file = exe;
	return 0;
}

static struct cwd *node_cwd(struct task *t, const struct pnode *n)
{
	struct task *target = proc_task(t, n);
	struct fs_context *fs;
	struct cwd *cwd;

	if (!target)
		return NULL;
	pthread_mutex_lock(&t->kernel->tasks_lock);
	fs = target->fs ? fs_context_get(target->fs) : NULL;
	pthread_mutex_unlock(&t->kernel->tasks_lock);
	task_put(target);
	cwd = fs ? cwd_get(fs) : NULL;
	fs_context_put(fs);
	return cwd;
}

static ssize_t cwd_readlink(struct task *t, const struct pnode *n, char *buf,
			    size_t len)
{
	struct cwd *cwd = node_cwd(t, n);
	char name[PATH_MAX];
	int err;

	if (!cwd)
		return -ENOENT;
	err = loc_name(t, &cwd->loc, name, sizeof(name));
	cwd_put(cwd);
	return err ? err : put_text(buf, len, name);
}

static int cwd_follow(struct task *t, const struct pnode *n, struct loc *out)
{
	struct cwd *cwd = node_cwd(t, n);
	int err;

	if (!cwd)
		return -ENOENT;
	err = loc_dup(&cwd->loc, out);
	cwd_put(cwd);
	return err;
}

static ssize_t root_readlink(struct task *t, const struct pnode *n, char *buf,
			     size_t len)
{
	return put_text(buf, len, "/");
}

/* Writes of settings that change nothing in the sandbox. */
static ssize_t store_ignored(struct task *t, const struct pnode *n,
			     const char *buf, size_t len)
{
	return (ssize_t)len;
}

/* the directories */

static int task_lookup(struct task *t, struct pnode *out, const char *name);
static bool task_iterate(struct task *t, const struct pnode *dir,
			 unsigned int index, char *name, size_t len);

#define PID_FILE(_name, _show) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = (_show) }
#define PID_TEXT(_name, _text) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = show_arg, \
	  .arg = (_text) }
#define PID_SETTING(_name, _text) \
	{ .name = (_name), .mode = S_IFREG | 0644, .show = show_arg, \
	  .arg = (_text), .store = store_ignored }

static const struct pentry pid_entries[] = {
	/* The first is not in the directories of threads. */
	{ .name = "task", .mode = S_IFDIR | 0555, .lookup = task_lookup,
	  .iterate = task_iterate },
	{ .name = "fd", .mode = S_IFDIR | 0500, .lookup = proc_fd_lookup,
	  .iterate = proc_fd_iterate },
	{ .name = "fdinfo", .mode = S_IFDIR | 0555,
	  .lookup = proc_fdinfo_lookup, .iterate = proc_fd_iterate },
	{ .name = "exe", .mode = S_IFLNK | 0777, .readlink = exe_readlink,
	  .follow = exe_follow },
	{ .name = "cwd", .mode = S_IFLNK | 0777, .readlink = cwd_readlink,
	  .follow = cwd_follow },
	{ .name = "root", .mode = S_IFLNK | 0777, .readlink = root_readlink },
	{ .name = "comm", .mode = S_IFREG | 0644, .show = show_comm,
	  .store = store_comm },
	{ .name = "environ", .mode = S_IFREG | 0400, .show = show_environ },
	{ .name = "auxv", .mode = S_IFREG | 0400, .show = show_auxv },
	PID_FILE("cmdline", show_cmdline),
	PID_FILE("maps", show_maps),
	PID_FILE("smaps", show_maps),
	PID_FILE("stat", proc_show_stat),
	PID_FILE("status", proc_show_status),
	PID_FILE("statm", proc_show_statm),
	PID_FILE("limits", show_limits),
	PID_FILE("mounts", proc_show_mounts),
	PID_FILE("mountinfo", show_mountinfo),
	PID_TEXT("cgroup", "0::/\n"),
	PID_TEXT("wchan", "0"),
	PID_TEXT("personality", "00000000\n"),
	PID_TEXT("oom_score", "0\n"),
	PID_TEXT("sessionid", "4294967295\n"),
	PID_TEXT("io", "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\n"
		       "read_bytes: 0\nwrite_bytes: 0\n"
		       "cancelled_write_bytes: 0\n"),
	PID_TEXT("uid_map", "         0          0 4294967295\n"),
	PID_TEXT("gid_map", "         0          0 4294967295\n"),
	PID_TEXT("setgroups", "allow\n"),
	PID_SETTING("oom_score_adj", "0\n"),
	PID_SETTING("oom_adj", "0\n"),
	PID_SETTING("loginuid", "4294967295"),
	PID_SETTING("coredump_filter", "00000033\n"),
	PID_SETTING("timerslack_ns", "50000\n"),
};

static const struct pentry tid_dir = {
	.mode = S_IFDIR | 0555,
	.children = pid_entries + 1,
	.nr_children = ARRAY_SIZE(pid_entries) - 1,
	.arg = PNODE_TID,
};

static const struct pentry pid_dir = {
	.mode = S_IFDIR | 0555,
	.children = pid_entries,
	.nr_children = ARRAY_SIZE(pid_entries),
	.arg = PNODE_TGID,
};

/* A thread's id works as a process's too, though it is not listed. */
int proc_pid_lookup(struct task *t, struct pnode *out, const char *name)
{
	int pid = parse_id(name);
	struct task *target = pid > 0 ? task_find(t->kernel, pid) : NULL;

	if (!target)
		return -ENOENT;
	out->tgid = out->tid = pid;
	pnode_push(out, &pid_dir);
	task_put(target);
	return 0;
}

static int task_lookup(struct task *t, struct pnode *out, const char *name)
{
	int tid = parse_id(name);
	struct task *target = tid > 0 ? task_find(t->kernel, tid) : NULL;
	bool found;

	if (!target)
		return -ENOENT;
	found = target->tg->tgid == out->tgid;
	task_put(target);
	if (!found)
		return -ENOENT;
	out->tid = tid;
	pnode_push(out, &tid_dir);
	return 0;
}

/**
 * struct nth_task - search for the n'th process, or thread of a process
 * @tgid: threads of this process; 0: processes
 * @index: of those still to be skipped
 * @id: result, 0: none
 */
struct nth_task {
	pid_t tgid;
	unsigned int index;
	pid_t id;
};

static void find_nth(struct task *t, void *arg)
{
	struct nth_task *nth = arg;

	if (nth->id || (nth->tgid ? t->tg->tgid != nth->tgid :
				    t->tg->tgid != t->tid))
		return;
	if (nth->index-- == 0)
		nth->id = t->tid;
}

static bool iterate(struct task *t, pid_t tgid, unsigned int index, char *name,
		    size_t len)
{
	struct nth_task nth = { tgid, index, 0 };

	task_for_each(t->kernel, find_nth, &nth);
	snprintf(name, len, "%d", nth.id);
	return nth.id != 0;
}

bool proc_pid_iterate(struct task *t, const struct pnode *dir,
		      unsigned int index, char *name, size_t len)
{
	return iterate(t, 0, index, name, len);
}

static bool task_iterate(struct task *t, const struct pnode *dir,
			 unsigned int index, char *name, size_t len)
{
	return iterate(t, dir->tgid, index, name, len);
}
