// SPDX-License-Identifier: MIT
/*
 * proc_sys.c - /proc/sys: settings of the sandbox's kernel, read only
 */
#include <sys/random.h>
#include <sys/utsname.h>

#include "sentry/fs/internal.h"

static int show_uts(struct task *t, const struct pnode *n, struct text *x)
{
	const char *name = pnode_entry(n)->name;
	struct utsname u;

	uname(&u);
	text_printf(x, "%s\n", !strcmp(name, "hostname")  ? u.nodename :
			       !strcmp(name, "osrelease") ? u.release :
			       !strcmp(name, "version")	  ? u.version :
							    u.sysname);
	return 0;
}

static void text_uuid(struct text *x, unsigned char b[16])
{
	int i;

	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	for (i = 0; i < 16; i++)
		text_printf(x, "%s%02x",
			    i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			    b[i]);
	text_append(x, "\n", 1);
}

static int show_uuid(struct task *t, const struct pnode *n, struct text *x)
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return -EIO;
	text_uuid(x, b);
	return 0;
}

/* One for the life of the sandbox, unlike any other sandbox's. */
static unsigned char boot_id[16];

static void boot_id_init(void)
{
	if (getrandom(boot_id, sizeof(boot_id), 0) < 0)
		memset(boot_id, 0, sizeof(boot_id));
}

static int show_boot_id(struct task *t, const struct pnode *n, struct text *x)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned char b[16];

	pthread_once(&once, boot_id_init);
	memcpy(b, boot_id, sizeof(b));
	text_uuid(x, b);
	return 0;
}

/* Writes of values that change nothing in the sandbox. */
static ssize_t store_ignored(struct task *t, const struct pnode *n,
			     const char *buf, size_t len)
{
	return (ssize_t)len;
}

#define SYS_FILE(_name, _show) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = (_show) }
#define SYS_TEXT(_name, _text) \
	{ .name = (_name), .mode = S_IFREG | 0444, .show = show_arg, \
	  .arg = (_text) }
#define SYS_TUNABLE(_name, _text) \
	{ .name = (_name), .mode = S_IFREG | 0644, .show = show_arg, \
	  .arg = (_text), .store = store_ignored }
#define SYS_DIR(_name, _children)                  \
	{ .name = (_name), .mode = S_IFDIR | 0555, \
	  .children = (_children), .nr_children = ARRAY_SIZE(_children) }

static const struct pentry random_entries[] = {
	SYS_FILE("boot_id", show_boot_id),
	SYS_FILE("uuid", show_uuid),
	SYS_TEXT("entropy_avail", "256\n"),
	SYS_TEXT("poolsize", "256\n"),
};

static const struct pentry kernel_entries[] = {
	SYS_FILE("hostname", show_uts),
	SYS_FILE("ostype", show_uts),
	SYS_FILE("osrelease", show_uts),
	SYS_FILE("version", show_uts),
	SYS_TEXT("domainname", "(none)\n"),
	SYS_TEXT("pid_max", "4194304\n"),
	SYS_TEXT("threads-max", "65536\n"),
	SYS_TEXT("cap_last_cap", "40\n"),
	SYS_TEXT("ngroups_max", "65536\n"),
	SYS_TEXT("overflowuid", "65534\n"),
	SYS_TEXT("overflowgid", "65534\n"),
	SYS_TEXT("core_pattern", "core\n"),
	SYS_TEXT("core_uses_pid", "0\n"),
	SYS_TEXT("randomize_va_space", "2\n"),
	SYS_TEXT("shmmax", "18446744073692774399\n"),
	SYS_TEXT("shmall", "18446744073692774399\n"),
	SYS_TEXT("shmmni", "4096\n"),
	SYS_TEXT("msgmax", "8192\n"),
	SYS_TEXT("msgmnb", "16384\n"),
	SYS_TEXT("msgmni", "32000\n"),
	SYS_TEXT("sem", "32000\t1024000000\t500\t32000\n"),
	SYS_TEXT("sched_rr_timeslice_ms", "100\n"),
	SYS_TEXT("tainted", "0\n"),
	SYS_TEXT("perf_event_paranoid", "4\n"),
	SYS_TEXT("unprivileged_userns_clone", "0\n"),
	SYS_DIR("random", random_entries),
};

static const struct pentry vm_entries[] = {
	SYS_TUNABLE("overcommit_memory", "0\n"),
	SYS_TUNABLE("overcommit_ratio", "50\n"),
	SYS_TUNABLE("max_map_count", "65530\n"),
	SYS_TUNABLE("swappiness", "60\n"),
	SYS_TEXT("mmap_min_addr", "65536\n"),
	SYS_TEXT("nr_hugepages", "0\n"),
};

static const struct pentry inotify_entries[] = {
	SYS_TEXT("max_queued_events", "16384\n"),
	SYS_TEXT("max_user_instances", "128\n"),
	SYS_TEXT("max_user_watches", "65536\n"),
};

static const struct pentry fs_entries[] = {
	SYS_TEXT("pipe-max-size", "1048576\n"),
	SYS_TEXT("pipe-user-pages-soft", "16384\n"),
	SYS_TEXT("file-max", "9223372036854775807\n"),
	SYS_TEXT("file-nr", "0\t0\t9223372036854775807\n"),
	SYS_TEXT("nr_open", "1048576\n"),
	SYS_TEXT("aio-max-nr", "65536\n"),
	SYS_TEXT("protected_symlinks", "1\n"),
	SYS_TEXT("protected_hardlinks", "1\n"),
	SYS_DIR("inotify", inotify_entries),
};

static const struct pentry core_entries[] = {
	SYS_TEXT("somaxconn", "4096\n"),
	SYS_TEXT("rmem_default", "212992\n"),
	SYS_TEXT("rmem_max", "212992\n"),
	SYS_TEXT("wmem_default", "212992\n"),
	SYS_TEXT("wmem_max", "212992\n"),
};

static const struct pentry net_entries[] = { SYS_DIR("core", core_entries) };

const struct pentry proc_sys_entries[] = {
	SYS_DIR("kernel", kernel_entries),
	SYS_DIR("vm", vm_entries),
	SYS_DIR("fs", fs_entries),
	SYS_DIR("net", net_entries),
};

const size_t nr_proc_sys_entries = ARRAY_SIZE(proc_sys_entries);
