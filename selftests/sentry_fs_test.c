// SPDX-License-Identifier: MIT
/*
 * sentry_fs_test.c - paths, pipes and descriptors of the sentry, without a
 * platform: the code runs on a task that never enters a program
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "patience.h"
/* Both sides define it. */
#undef ARRAY_SIZE
#include "sentry/fs/internal.h"
#include "sentry/fs/syscalls.h"

/* A directory of the host as root, and a task whose root it is. */
FIXTURE(fs)
{
	char top[64]; /* holds the root, and what must not be reached */
	char root[80];
	struct kernel kernel;
	struct thread_group tg;
	struct task task;
};

static int run(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

static void make_task(struct task *t, struct kernel *k, struct thread_group *tg)
{
	memset(t, 0, sizeof(*t));
	t->kernel = k;
	t->tg = tg;
	t->tid = tg->tgid = 1;
	tg->rlimits[RLIMIT_NOFILE].rlim_cur = 1024;
	pthread_mutex_init(&tg->lock, NULL);
	t->files = fd_table_create();
}

FIXTURE_SETUP(fs)
{
	int err = 0;

	strcpy(self->top, "/tmp/sentry_fs_XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->top));
	snprintf(self->root, sizeof(self->root), "%s/root", self->top);
	ASSERT_EQ(0, run("cd %s && mkdir -p root/a/b/c root/etc root/proc "
			 "root/dev && echo inside >root/a/file && "
			 "echo secret >secret && cd root && "
			 "ln -s /a/file abs && ln -s a/file rel && "
			 "ln -s ../../../../secret up && "
			 "ln -s %s/secret out && ln -s loop loop && "
			 "ln -s a/b dirlink && ln -s nowhere dangling && "
			 "ln -s ../proc/self/mounts etc/mtab && "
			 "ln -s /dev/null etc/null && "
			 "ln -s ../.. a/b/c/top",
			 self->top, self->top));
	memset(&self->kernel, 0, sizeof(self->kernel));
	memset(&self->tg, 0, sizeof(self->tg));
	pthread_mutex_init(&self->kernel.tasks_lock, NULL);
	ASSERT_EQ(0, vfs_init(&self->kernel, self->root));
	make_task(&self->task, &self->kernel, &self->tg);
	self->task.fs = fs_context_create(&self->kernel, "/", &err);
	ASSERT_EQ(0, err);
}

FIXTURE_TEARDOWN(fs)
{
	fs_context_put(self->task.fs);
	fd_table_put(self->task.files);
	vfs_destroy(&self->kernel);
	run("rm -rf %s", self->top);
}

/* Content of a file in @buf, or -errno. */
static int slurp(struct task *t, const char *path, char *buf, size_t len)
{
	struct file *f;
	ssize_t n;
	int err = vfs_open(t, AT_FDCWD, path, O_RDONLY, 0, &f);

	if (err)
		return err;
	n = file_pread(t, f, buf, len - 1, 0);
	if (n >= 0)
		buf[n] = '\0';
	file_put(f);
	return n < 0 ? (int)n : 0;
}

/* Name of the place a path leads to. */
static int resolve(struct task *t, const char *path, char *buf, size_t len)
{
	struct loc loc;
	int err = walk(t, AT_FDCWD, path, 0, &loc);

	if (err)
		return err;
	err = loc_name(t, &loc, buf, len);
	loc_put(&loc);
	return err;
}

struct place_case {
	const char *path;
	int err;
	const char *name;
};

TEST_F(fs, paths_lead_where_they_should)
{
	static const struct place_case cases[] = {
		{ "/", 0, "/" },
		{ "/a", 0, "/a" },
		{ "//a///b/", 0, "/a/b" },
		{ "/a/./b/../file", 0, "/a/file" },
		{ "a/file", 0, "/a/file" },
		{ "/..", 0, "/" },
		{ "/../../a", 0, "/a" },
		{ "/abs", 0, "/a/file" },
		{ "/rel", 0, "/a/file" },
		{ "/dirlink/c", 0, "/a/b/c" },
		{ "/dirlink/..", 0, "/a" },
		{ "/a/b/c/top/file", 0, "/a/file" },
		{ "/proc", 0, "/proc" },
		{ "/a/../proc/meminfo", 0, "/proc/meminfo" },
		{ "/../proc/sys/../meminfo", 0, "/proc/meminfo" },
		{ "/proc/../a", 0, "/a" },
		{ "/proc/..", 0, "/" },
		{ "/dev/../dev/null", 0, "/dev/null" },
		{ "/etc/null", 0, "/dev/null" },
		{ "/loop", -ELOOP, NULL },
		{ "/dangling", -ENOENT, NULL },
		{ "/a/file/x", -ENOTDIR, NULL },
		{ "/a/file/", -ENOTDIR, NULL },
		{ "/a/file/..", -ENOTDIR, NULL },
		{ "/a/none", -ENOENT, NULL },
		{ "/a/none/x", -ENOENT, NULL },
		{ "", -ENOENT, NULL },
	};
	char name[PATH_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(cases[i].err, resolve(&self->task, cases[i].path,
						name, sizeof(name))) {
			TH_LOG("%s", cases[i].path);
		}
		if (!cases[i].err) {
			EXPECT_STREQ(cases[i].name, name) {
				TH_LOG("%s", cases[i].path);
			}
		}
	}
}

/* With the host's own root, the host itself tells the ways into /proc. */
TEST_F(fs, links_of_the_host_root_lead_to_the_sentrys_proc)
{
	static const struct place_case cases[] = {
		{ "/usr/../proc/version", 0, "/proc/version" },
		{ "%s/to_proc", 0, "/proc/version" },
		{ "%s/to_dev", 0, "/dev/null" },
		{ "%s/relative", 0, "/proc/version" },
		{ "%s/to_proc/..", -ENOTDIR, NULL },
		{ "%s/to_root/dev", 0, "/dev" },
		{ "%s/to_root/dev/", 0, "/dev" },
		{ "%s/through", 0, "/dev" },
		{ "%s/through/null", 0, "/dev/null" },
		{ "%s/to_root/proc/version", 0, "/proc/version" },
		{ "%s/to_root/sys", 0, "/sys" },
		{ "%s/to_root/tmp/../dev", 0, "/dev" },
		{ "/./sys", 0, "/sys" },
	};
	struct kernel kernel = { 0 };
	struct task task = self->task;
	char path[256], name[PATH_MAX];
	struct pnode node;
	int err = 0;
	size_t i;

	ASSERT_EQ(0, run("cd %s && ln -s /proc/version to_proc && "
			 "ln -s /dev/null to_dev && "
			 "ln -s ../../proc/version relative && "
			 "ln -s / to_root && ln -s %s/to_root/dev through",
			 self->top, self->top));
	pthread_mutex_init(&kernel.tasks_lock, NULL);
	ASSERT_EQ(0, vfs_init(&kernel, "/"));
	task.kernel = &kernel;
	task.fs = fs_context_create(&kernel, "/", &err);
	ASSERT_EQ(0, err);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct loc loc;

		snprintf(path, sizeof(path), cases[i].path, self->top);
		ASSERT_EQ(cases[i].err, walk(&task, AT_FDCWD, path, 0, &loc)) {
			TH_LOG("%s", path);
		}
		if (cases[i].err)
			continue;
		EXPECT_EQ(LOC_PSEUDO, loc.kind);
		EXPECT_EQ(0, loc_name(&task, &loc, name, sizeof(name)));
		EXPECT_STREQ(cases[i].name, name);
		loc_put(&loc);
	}
	node = (struct pnode){ .at = { &proc_root } };
	EXPECT_EQ(-ENOENT, pseudo_lookup(&task, &node, "nonexistent", &node));
	fs_context_put(task.fs);
	vfs_destroy(&kernel);
	/* For the teardown: there is one tree at a time. */
	ASSERT_EQ(0, vfs_init(&self->kernel, self->root));
}

/* The root by another name is the root: /dev, /proc and /sys are not its own. */
TEST_F(fs, parent_that_is_the_root_is_known)
{
	static const char *const paths[] = {
		"/dev", "/./dev", "//.//proc", "./sys", "a/../dev", "dots/dev",
		"dots/./sys", "a/b/c/top/../proc", "into_dev", "/./into_dev",
		"dots/into_dev",
	};
	struct task *t = &self->task;
	struct last last;
	struct file *f;
	struct loc loc;
	size_t i;

	ASSERT_EQ(0, run("cd %s/root && ln -s a/.. dots && "
			 "ln -s dev/made into_dev", self->top));
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		bool link = strstr(paths[i], "into_dev");

		ASSERT_EQ(0, walk_parent(t, AT_FDCWD, paths[i], link, &loc,
					 &last));
		EXPECT_EQ(link ? LOC_PSEUDO : LOC_HOST, loc.kind) {
			TH_LOG("%s", paths[i]);
		}
		if (!link) {
			EXPECT_EQ(1, loc.at_root) {
				TH_LOG("%s", paths[i]);
			}
		}
		loc_put(&loc);
		EXPECT_NE(0, vfs_open(t, AT_FDCWD, paths[i],
				      O_CREAT | O_EXCL | O_WRONLY, 0600, &f));
	}
	EXPECT_EQ(0, run("test ! -e %s/root/dev/made", self->top));
	EXPECT_EQ(0, run("test ! -e %s/root/sys", self->top));
}

/* Whatever kind of descriptor the root was opened as. */
TEST_F(fs, descriptors_of_the_root_are_known)
{
	static const int flags[] = {
		O_RDONLY, O_RDONLY | O_DIRECTORY, O_PATH, O_PATH | O_DIRECTORY,
	};
	static const char *const paths[] = { "/", "/.", "a/..", "a/b/c/top/.." };
	struct task *t = &self->task;
	struct file *f;
	struct loc loc;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(flags) * ARRAY_SIZE(paths); i++) {
		ASSERT_EQ(0, vfs_open(t, AT_FDCWD, paths[i / ARRAY_SIZE(flags)],
				      flags[i % ARRAY_SIZE(flags)], 0, &f));
		fd = fd_install(t, f, false);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, walk(t, fd, "dev", 0, &loc));
		EXPECT_EQ(LOC_PSEUDO, loc.kind);
		loc_put(&loc);
		ASSERT_EQ(0, walk(t, fd, "./a/../sys", 0, &loc));
		EXPECT_EQ(LOC_PSEUDO, loc.kind);
		loc_put(&loc);
	}
}

TEST_F(fs, symlinks_do_not_leave_the_root)
{
	char buf[64];

	/* Both resolve inside the root, where there is no such file. */
	EXPECT_EQ(-ENOENT, slurp(&self->task, "/up", buf, sizeof(buf)));
	EXPECT_EQ(-ENOENT, slurp(&self->task, "/out", buf, sizeof(buf)));
	EXPECT_EQ(-ENOENT, slurp(&self->task, "../secret", buf, sizeof(buf)));
	EXPECT_EQ(-ENOENT,
		  slurp(&self->task, "/a/b/../../../secret", buf, sizeof(buf)));
}

TEST_F(fs, links_into_proc_and_dev_are_the_sentrys)
{
	char buf[512], name[PATH_MAX];
	struct loc loc;

	ASSERT_EQ(0, walk(&self->task, AT_FDCWD, "/etc/null", 0, &loc));
	EXPECT_EQ(LOC_PSEUDO, loc.kind);
	loc_put(&loc);
	ASSERT_EQ(0, walk(&self->task, AT_FDCWD, "/proc/sys/kernel/ostype", 0,
			  &loc));
	EXPECT_EQ(LOC_PSEUDO, loc.kind);
	ASSERT_EQ(0, loc_name(&self->task, &loc, name, sizeof(name)));
	EXPECT_STREQ("/proc/sys/kernel/ostype", name);
	loc_put(&loc);
	ASSERT_EQ(0, slurp(&self->task, "/proc/sys/kernel/ostype", buf,
			   sizeof(buf)));
	EXPECT_STREQ("Linux\n", buf);
}

TEST_F(fs, creation_follows_a_dangling_link_inside)
{
	struct file *f;
	char path[128];

	ASSERT_EQ(0, vfs_open(&self->task, AT_FDCWD, "/dangling",
			      O_CREAT | O_WRONLY, 0644, &f));
	file_put(f);
	snprintf(path, sizeof(path), "%s/nowhere", self->root);
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_EQ(-EEXIST, vfs_open(&self->task, AT_FDCWD, "/dangling",
				    O_CREAT | O_EXCL | O_WRONLY, 0644, &f));
	/* A link out of the root is created inside, or not at all. */
	EXPECT_EQ(-ENOENT, vfs_open(&self->task, AT_FDCWD, "/out",
				    O_CREAT | O_WRONLY, 0644, &f));
}

TEST_F(fs, a_host_device_cannot_be_opened)
{
	struct file *f;

	if (geteuid())
		SKIP(return, "needs root to make a device node");
	ASSERT_EQ(0, run("mknod %s/kmsg c 1 11", self->root));
	EXPECT_EQ(-ENXIO, vfs_open(&self->task, AT_FDCWD, "/kmsg", O_RDONLY, 0,
				   &f));
	ASSERT_EQ(0, run("mknod %s/zero c 1 5", self->root));
	ASSERT_EQ(0, vfs_open(&self->task, AT_FDCWD, "/zero", O_RDONLY, 0, &f));
	EXPECT_EQ(-1, f->host_fd);
	file_put(f);
}

/* Many rounds on a fast machine, a few seconds on a slow one. */
#define MOVES_MAX 20000
#define MOVES_NS (4 * 1000000000ull)

static atomic_bool moved_enough;

/* An attacker on the host moves a directory out of the root and back. */
static void *mover(void *arg)
{
	const uint64_t end = monotonic_ns() + MOVES_NS;
	const char *top = arg;
	char in[128], out[128];
	int i;

	snprintf(in, sizeof(in), "%s/root/a/b", top);
	snprintf(out, sizeof(out), "%s/b", top);
	for (i = 0; i < MOVES_MAX && monotonic_ns() < end; i++) {
		rename(in, out);
		rename(out, in);
	}
	moved_enough = true;
	return NULL;
}

TEST_F(fs, moved_directories_do_not_lead_out)
{
	struct fs_context *inside;
	char buf[64], name[PATH_MAX];
	int err = 0, rounds, escapes = 0;
	pthread_t thread;

	/* The current directory is the one that is moved. */
	inside = fs_context_create(&self->kernel, "/a/b/c", &err);
	ASSERT_EQ(0, err);
	fs_context_put(self->task.fs);
	self->task.fs = inside;
	ASSERT_EQ(0, pthread_create(&thread, NULL, mover, self->top));
	for (rounds = 0; !moved_enough; rounds++) {
		if (!slurp(&self->task, "../../secret", buf, sizeof(buf)) ||
		    !slurp(&self->task, "/a/b/c/../../secret", buf,
			   sizeof(buf)) ||
		    !slurp(&self->task, "top/../secret", buf, sizeof(buf)))
			escapes++;
		if (!resolve(&self->task, "../..", name, sizeof(name)) &&
		    strstr(name, self->top))
			escapes++;
	}
	pthread_join(thread, NULL);
	EXPECT_LT(10, rounds);
	EXPECT_EQ(0, escapes);
}

/* pipes */

struct pipe_end {
	struct task *t;
	struct file *f;
	size_t chunk;
	uint64_t bytes;
	uint64_t sum;
};

#define PIPE_TOTAL (8u << 20)

static void *pipe_writer(void *arg)
{
	struct pipe_end *e = arg;
	unsigned char buf[9000];
	size_t i, n;
	ssize_t ret;

	while (e->bytes < PIPE_TOTAL) {
		n = MIN(e->chunk, PIPE_TOTAL - e->bytes);
		for (i = 0; i < n; i++) {
			buf[i] = (unsigned char)((e->bytes + i) * 7);
			e->sum += buf[i] * (e->bytes + i);
		}
		ret = file_write_buf(e->t, e->f, buf, n, -1);
		if (ret != (ssize_t)n)
			break;
		e->bytes += n;
	}
	file_put(e->f);
	return NULL;
}

static void pipe_reader(struct pipe_end *e)
{
	unsigned char buf[7001];
	ssize_t n, i;

	while ((n = file_read_buf(e->t, e->f, buf, e->chunk, -1)) > 0) {
		for (i = 0; i < n; i++)
			e->sum += buf[i] * (e->bytes + (uint64_t)i);
		e->bytes += (uint64_t)n;
	}
	file_put(e->f);
}

static void pipe_transfer(struct __test_metadata *_metadata, struct task *t,
			  size_t wchunk, size_t rchunk)
{
	struct pipe_end w = { .chunk = wchunk }, r = { .t = t, .chunk = rchunk };
	struct task writer = *t;
	struct file *ends[2];
	pthread_t thread;

	w.t = &writer;
	ASSERT_EQ(0, pipe_pair(0, ends));
	r.f = ends[0];
	w.f = ends[1];
	ASSERT_EQ(0, pthread_create(&thread, NULL, pipe_writer, &w));
	pipe_reader(&r);
	pthread_join(thread, NULL);
	EXPECT_EQ(PIPE_TOTAL, r.bytes);
	EXPECT_EQ(w.sum, r.sum);
}

TEST_F(fs, pipe_passes_all_bytes_in_order)
{
	pipe_transfer(_metadata, &self->task, 9000, 7001);
	pipe_transfer(_metadata, &self->task, 4096, 100);
	pipe_transfer(_metadata, &self->task, 13, 7001);
}

TEST_F(fs, pipe_writes_up_to_pipe_buf_are_whole)
{
	struct task *t = &self->task;
	struct file *ends[2];
	char buf[PIPE_BUF] = { 0 };
	ssize_t total = 0, n;

	ASSERT_EQ(0, pipe_pair(O_NONBLOCK, ends));
	EXPECT_EQ(-EAGAIN, file_read_buf(t, ends[0], buf, 1, -1));
	while ((n = file_write_buf(t, ends[1], buf, 1000, -1)) > 0) {
		EXPECT_EQ(1000, n);
		total += n;
	}
	EXPECT_EQ(-EAGAIN, n);
	EXPECT_EQ(65000, total);
	/* More than PIPE_BUF takes what room there is. */
	ASSERT_EQ(65536, pipe_fcntl(t, ends[1], F_GETPIPE_SZ, 0));
	EXPECT_EQ(total, pipe_size(ends[0]));
	EXPECT_EQ(-EBUSY, pipe_fcntl(t, ends[1], F_SETPIPE_SZ, 4096));
	EXPECT_EQ(131072, pipe_fcntl(t, ends[1], F_SETPIPE_SZ, 100000));
	EXPECT_EQ(1000, file_write_buf(t, ends[1], buf, 1000, -1));
	EXPECT_EQ(0, ends[0]->ops->poll(t, ends[0], NULL) & POLLHUP);
	file_put(ends[1]);
	EXPECT_EQ(POLLHUP | POLLIN,
		  ends[0]->ops->poll(t, ends[0], NULL) & (POLLHUP | POLLIN));
	for (total = 0; (n = file_read_buf(t, ends[0], buf, sizeof(buf), -1)) > 0;)
		total += n;
	EXPECT_EQ(0, n);
	EXPECT_EQ(66000, total);
	file_put(ends[0]);
}

/* descriptors */

TEST_F(fs, lowest_free_descriptor_is_used)
{
	struct task *t = &self->task;
	uint64_t args[6] = { 0 };
	struct file *ends[2], *f;

	ASSERT_EQ(0, pipe_pair(0, ends));
	EXPECT_EQ(0, fd_install(t, ends[0], false));
	EXPECT_EQ(1, fd_install(t, ends[1], true));
	EXPECT_EQ(2, sys_dup(t, (uint64_t[]){ 0 }));
	args[0] = 1;
	EXPECT_EQ(0, sys_close(t, args));
	EXPECT_EQ(-EBADF, sys_close(t, args));
	EXPECT_EQ(1, sys_dup(t, (uint64_t[]){ 2 }));
	EXPECT_EQ(500, sys_dup2(t, (uint64_t[]){ 1, 500 }));
	EXPECT_EQ(-EBADF, sys_dup2(t, (uint64_t[]){ 1, 5000 }));
	EXPECT_EQ(-EINVAL, sys_dup3(t, (uint64_t[]){ 1, 1, 0 }));
	EXPECT_EQ(501, sys_fcntl(t, (uint64_t[]){ 1, F_DUPFD_CLOEXEC, 500 }));
	EXPECT_EQ(FD_CLOEXEC, sys_fcntl(t, (uint64_t[]){ 501, F_GETFD, 0 }));
	EXPECT_EQ(0, fd_table_exec(t));
	EXPECT_EQ(NULL, fd_get(t, 501));
	f = fd_get(t, 500);
	EXPECT_NE(NULL, f);
	file_put(f);
	EXPECT_EQ(0, sys_close_range(t, (uint64_t[]){ 1, 600, 0 }));
	EXPECT_EQ(1, fd_table_size(t->files));
}

TEST_HARNESS_MAIN
