// SPDX-License-Identifier: MIT
/*
 * init - process 1 of the test VM
 *
 * Made for one run: it builds a root file system out of the machine's own (9p,
 * read-only, under a tmpfs overlay), loads the module, runs one command with
 * its output copied byte by byte to two virtio-serial ports, takes the module
 * out, in and out again, looks for lost memory, at lockdep and at the taint, writes
 * the verdict into the control directory that it shares with selftests/vm/vm, and
 * powers off. Whatever goes wrong on the way ends in a power-off too, with the
 * reason in the verdict.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CTL "/ctl"
#define ROOT "/newroot"
#define OVERLAY "/overlay"
#define MODULE_NAME "sandtrap"
#define OPTS_9P "trans=virtio,version=9p2000.L,msize=524288"

/* Taints of every run: out-of-tree (12) and unsigned (13) module. */
#define TAINT_ALLOWED (1ul << 12 | 1ul << 13)

/*
 * The control directory, shared with the vm script. Only process 1 sees it: no
 * path in the new root leads there. The verdict goes into it.
 */
static int ctl_fd = -1;
static int verdict_fd = -1;

static void klog(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void klog(const char *fmt, ...)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char text[480], line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = snprintf(line, sizeof(line), "<6>vm-init: %s\n", text);
	/* Not dprintf: it seeks, which this device refuses. */
	if (write(fd, line, n) < 0)
		return;
	close(fd);
}

static void vcomplain(const char *fmt, va_list ap)
{
	char text[400];

	vsnprintf(text, sizeof(text), fmt, ap);
	klog("%s", text);
	if (verdict_fd >= 0)
		dprintf(verdict_fd, "complaint %s\n", text);
}

/* Notes a failure of the run; it goes on, to learn more. */
static void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
}

static void power_off(void) __attribute__((noreturn));
static void power_off(void)
{
	if (verdict_fd >= 0)
		fsync(verdict_fd);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	power_off();
}

static void mkdir_parents(const char *path)
{
	char dir[4096];
	char *p;

	snprintf(dir, sizeof(dir), "%s/", path);
	for (p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(dir, 0755);
		*p = '/';
	}
}

static void mount_or_die(const char *source, const char *target, const char *type,
			 unsigned long flags, const char *options)
{
	mkdir_parents(target);
	if (mount(source, target, type, flags, options))
		die("mount %s on %s: %s", source, target, strerror(errno));
}

static int load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret = fd < 0 ? -1 : (int)syscall(SYS_finit_module, fd, "", 0);

	if (ret)
		complain("the module %s cannot be loaded: %s", path, strerror(errno));
	close(fd);
	return ret;
}

static void load_boot_modules(void)
{
	FILE *list = fopen("/modules", "re");
	char path[256];

	if (!list)
		die("the initramfs has no list of modules");
	while (fgets(path, sizeof(path), list)) {
		path[strcspn(path, "\n")] = '\0';
		if (load_module(path))
			power_off();
	}
	fclose(list);
}

/* Reads a file of the control directory whole; *size excludes the final NUL. */
static char *read_control(const char *name, size_t *size)
{
	struct stat st;
	ssize_t n;
	char *text;
	int fd;

	fd = openat(ctl_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die("control file %s: %s", name, strerror(errno));
	text = calloc(1, st.st_size + 1);
	if (!text)
		die("no memory");
	for (*size = 0; *size < (size_t)st.st_size; *size += n) {
		n = read(fd, text + *size, st.st_size - *size);
		if (n <= 0)
			die("control file %s is short", name);
	}
	close(fd);
	return text;
}

/* Reads a file of NUL-terminated strings into a NULL-terminated vector. */
static char **read_vector(const char *name)
{
	size_t size, i, n = 0;
	char *text = read_control(name, &size);
	char **vector = calloc(size + 1, sizeof(*vector));

	if (!vector)
		die("no memory");
	for (i = 0; i < size; i += strlen(text + i) + 1)
		vector[n++] = text + i;
	return vector;
}

/* One line, without its line end; NULL when it is empty. */
static char *read_line(const char *name)
{
	size_t size;
	char *text = read_control(name, &size);

	text[strcspn(text, "\n")] = '\0';
	return *text ? text : NULL;
}

static void mount_control(void)
{
	mount_or_die("vmctl", CTL, "9p", 0, OPTS_9P ",cache=none");
	ctl_fd = open(CTL, O_PATH | O_DIRECTORY | O_CLOEXEC);
	verdict_fd = openat(ctl_fd, "verdict", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (verdict_fd < 0)
		die("create the verdict: %s", strerror(errno));
}

static void bind_into(const char *from, const char *path)
{
	char source[4096], target[4096];

	snprintf(source, sizeof(source), "%s%s", from, path);
	snprintf(target, sizeof(target), ROOT "%s", path);
	mount_or_die(source, target, NULL, MS_BIND, NULL);
}

/* The machine's root below an overlay, so that everything may be written. */
static void mount_root(void)
{
	mount_or_die("host", "/host", "9p", MS_RDONLY, OPTS_9P ",cache=loose,ro");
	mount_or_die("tmpfs", "/rw", "tmpfs", 0, "size=75%,mode=755");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	mount_or_die("overlay", OVERLAY, "overlay", 0,
		     "lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work");
	mount_or_die(OVERLAY, ROOT, NULL, MS_BIND, NULL);
}

static void mount_system(void)
{
	mount_or_die("proc", ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_die("sysfs", ROOT "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_die("tracefs", ROOT "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount_or_die("debugfs", ROOT "/sys/kernel/debug", "debugfs", 0, NULL);
	mount_or_die("cgroup2", ROOT "/sys/fs/cgroup", "cgroup2", 0, NULL);
	mount_or_die("devtmpfs", ROOT "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	mount_or_die("devpts", ROOT "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		     "gid=5,mode=620,ptmxmode=666");
	mount_or_die("tmpfs", ROOT "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_die("tmpfs", ROOT "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	mount_or_die("tmpfs", ROOT "/tmp", "tmpfs", MS_NOSUID, "mode=1777");
	symlink("/proc/self/fd", ROOT "/dev/fd");
	symlink("/proc/self/fd/0", ROOT "/dev/stdin");
	symlink("/proc/self/fd/1", ROOT "/dev/stdout");
	symlink("/proc/self/fd/2", ROOT "/dev/stderr");
}

/* "keep": paths below the fresh /tmp or /run that must stay visible. */
static void bind_kept_paths(void)
{
	char **path;

	for (path = read_vector("keep"); *path; path++)
		bind_into(OVERLAY, *path);
}

/* "share": pairs of mount tag and path, writable through to the machine. */
static void mount_shares(void)
{
	char target[4096], **share;

	for (share = read_vector("share"); share[0] && share[1]; share += 2) {
		snprintf(target, sizeof(target), ROOT "%s", share[1]);
		mount_or_die(share[0], target, "9p", 0, OPTS_9P ",cache=none");
	}
}

/* "moddir": where the kernel's modules are, when they are not installed. */
static void bind_kernel_modules(void)
{
	size_t size;
	char *pair = read_control("moddir", &size), *target = strchr(pair, '\n');
	char source[4096], path[4096];

	if (!target)
		return;
	*target++ = '\0';
	target[strcspn(target, "\n")] = '\0';
	snprintf(source, sizeof(source), OVERLAY "%s", pair);
	snprintf(path, sizeof(path), ROOT "%s", target);
	mount_or_die(source, path, NULL, MS_BIND, NULL);
}

static void switch_root(void)
{
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("switch to the new root: %s", strerror(errno));
	umask(022);
}

static void set_up_network(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		complain("bring up the loopback interface: %s", strerror(errno));
	close(fd);
	sethostname("sandtrap-vm", strlen("sandtrap-vm"));
}

/* Finds the virtio-serial port of that name; it appears some time after its driver. */
static int open_port(const char *name)
{
	char path[300], text[64];
	struct dirent *entry;
	int tries, fd, n;
	DIR *dir;

	for (tries = 0; tries < 1000; tries++, usleep(10000)) {
		dir = opendir("/sys/class/virtio-ports");
		while (dir && (entry = readdir(dir))) {
			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
				 entry->d_name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
			close(fd);
			if (n <= 0)
				continue;
			text[n] = '\0';
			text[strcspn(text, "\n")] = '\0';
			if (strcmp(text, name))
				continue;
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			closedir(dir);
			return open(path, O_WRONLY | O_CLOEXEC);
		}
		if (dir)
			closedir(dir);
	}
	return -1;
}

static int open_port_or_die(const char *name)
{
	int fd = open_port(name);

	if (fd < 0)
		die("no virtio-serial port %s", name);
	return fd;
}

/* Copies what is there; returns false at the end of the pipe, or when it is empty. */
static bool copy_some(int from, int to)
{
	static char buffer[65536];
	ssize_t n = read(from, buffer, sizeof(buffer)), done = 0, put;

	if (n <= 0)
		return false;
	while (done < n) {
		put = write(to, buffer + done, n - done);
		if (put < 0 && errno != EINTR && errno != EAGAIN)
			die("write the output: %s", strerror(errno));
		if (put > 0)
			done += put;
	}
	return true;
}

/* Collects every dead child; returns true when the command was among them. */
static bool reap(pid_t command, int *status)
{
	bool found = false;
	pid_t pid;
	int s;

	while ((pid = waitpid(-1, &s, WNOHANG)) > 0) {
		if (pid == command) {
			*status = s;
			found = true;
		}
	}
	return found;
}

/*
 * Copies output until the command itself has ended. Its descendants may hold
 * the pipes open for longer: what they wrote until then is copied, no more.
 */
static int relay(pid_t command, const int pipes[2], const int ports[2], int signals)
{
	struct pollfd fds[3] = {
		{ .fd = pipes[0], .events = POLLIN },
		{ .fd = pipes[1], .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	int status = 0, i;

	for (;;) {
		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[2].revents & POLLIN && read(signals, &info, sizeof(info)) > 0 &&
		    reap(command, &status))
			break;
		for (i = 0; i < 2; i++)
			if (fds[i].revents && !copy_some(pipes[i], ports[i]) && errno != EAGAIN)
				fds[i].fd = -1;
	}
	for (i = 0; i < 2; i++)
		while (copy_some(pipes[i], ports[i]))
			;
	return status;
}

static void run_child(const int out[2], const int err[2], const sigset_t *mask) __attribute__((noreturn));
static void run_child(const int out[2], const int err[2], const sigset_t *mask)
{
	char **argv = read_vector("argv"), **env = read_vector("env");
	const char *cwd = read_line("cwd");
	int null = open("/dev/null", O_RDONLY);

	setsid();
	sigprocmask(SIG_UNBLOCK, mask, NULL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
		_exit(125);
	if (null > 2)
		close(null);
	if (!cwd || chdir(cwd)) {
		dprintf(2, "vm: cannot enter %s in the guest: %s\n", cwd, strerror(errno));
		_exit(125);
	}
	environ = env;
	execvp(argv[0], argv);
	dprintf(2, "vm: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int run_command(void)
{
	int ports[2] = { open_port_or_die("vm.stdout"), open_port_or_die("vm.stderr") };
	int out[2], err[2], signals, status, i;
	sigset_t mask;
	pid_t pid;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		die("pipes: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		run_child(out, err, &mask);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	status = relay(pid, (int[]){ out[0], err[0] }, ports, signals);
	for (i = 0; i < 2; i++)
		close(ports[i]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Says which processes the command left behind, for who must find the leak. */
static void list_processes(void)
{
	char path[300], comm[64], exe[8];
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	int fd, n;

	while (proc && (entry = readdir(proc))) {
		if (atoi(entry->d_name) <= 1)
			continue;
		/* Only a user process has something to read here. */
		snprintf(path, sizeof(path), "/proc/%s/exe", entry->d_name);
		if (readlink(path, exe, sizeof(exe)) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, comm, sizeof(comm) - 1);
		close(fd);
		complain("still running: process %s, %.*s", entry->d_name, n > 0 ? n - 1 : 0, comm);
	}
	if (proc)
		closedir(proc);
}

/*
 * The last references of a killed task go away in work items: give them a moment.
 * A module that the command itself has removed is no failure.
 */
static int remove_module(void)
{
	int tries;

	for (tries = 0; tries < 100; tries++, usleep(10000)) {
		if (!syscall(SYS_delete_module, MODULE_NAME, O_NONBLOCK) || errno == ENOENT)
			return 0;
		if (errno != EAGAIN && errno != EBUSY)
			break;
	}
	complain("the module cannot be removed: %s", strerror(errno));
	list_processes();
	return -1;
}

static void check_module(const char *path)
{
	if (!remove_module() && !load_module(path))
		remove_module();
}

/* Returns the length of what kmemleak finds now, the start of which is in @text. */
static int find_leaks(int fd, char *text, size_t size)
{
	int n;

	if (write(fd, "scan", strlen("scan")) < 0)
		complain("kmemleak cannot scan: %s", strerror(errno));
	n = pread(fd, text, size - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/*
 * Where the kernel has kmemleak. It takes nothing for lost that is younger than
 * five seconds, or that has changed since the scan before: the first scan finds
 * nothing. A scan is long, so there is a third only if the second found something:
 * the pointer may have been in a register.
 */
static void scan_for_leaks(void)
{
	int fd = open("/sys/kernel/debug/kmemleak", O_RDWR | O_CLOEXEC);
	char text[4096], *line, *rest = NULL;

	if (fd < 0)
		return;
	klog("kmemleak looks for lost memory");
	sleep(6);
	find_leaks(fd, text, sizeof(text));
	if (find_leaks(fd, text, sizeof(text)) > 0 && find_leaks(fd, text, sizeof(text)) > 0) {
		for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
			klog("kmemleak: %s", line);
		complain("kmemleak found lost memory (see the kernel's log)");
	}
	close(fd);
}

/* Where the kernel has lockdep. It stops for good at what it reports, or cannot follow. */
static void check_lockdep(void)
{
	FILE *file = fopen("/proc/lockdep_stats", "re");
	char line[256];
	int on = 1;

	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		sscanf(line, " debug_locks: %d", &on);
	fclose(file);
	if (!on)
		complain("lockdep was turned off (see the kernel's log)");
}

static void check_taint(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "re");
	unsigned long taint = 0;

	if (!file || fscanf(file, "%lu", &taint) != 1)
		die("cannot read the taint");
	fclose(file);
	if (taint & ~TAINT_ALLOWED)
		complain("the kernel is tainted: %lu (see /proc/sys/kernel/tainted)", taint);
}

int main(void)
{
	char *module;
	int status;

	mount_or_die("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	load_boot_modules();
	mount_control();
	mount_root();
	mount_system();
	bind_kept_paths();
	mount_shares();
	bind_kernel_modules();
	module = read_line("module");
	switch_root();
	set_up_network();
	if (module && load_module(module))
		power_off();
	klog("running the command");
	status = run_command();
	klog("the command ended with status %d", status);
	if (module)
		check_module(module);
	scan_for_leaks();
	check_lockdep();
	check_taint();
	dprintf(verdict_fd, "status %d\n", status);
	power_off();
}
