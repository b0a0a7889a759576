// SPDX-License-Identifier: MIT
/*
 * vfs.c - mounts, names of host objects, current directories
 */
#include <dirent.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "sentry/fs/internal.h"

/* of the host's ipc/mqueue.c, in none of its headers */
#define MQUEUE_MAGIC 0x19800202u

/* One sandbox per process; names of files are asked for without a task. */
static struct vfs *the_vfs;

/* Name on the host of what a host descriptor refers to: 0 or -errno. */
static int host_fd_name(struct vfs *vfs, int fd, char *buf, size_t len)
{
	char link[16];
	ssize_t n;

	snprintf(link, sizeof(link), "%d", fd);
	n = readlinkat(vfs->host_fds, link, buf, len);
	if (n < 0)
		return -errno;
	if ((size_t)n >= len)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

/* Is @name the same as or below the directory @dir ("" for "/")? */
static bool name_below(const char *name, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(name, dir, n) && (name[n] == '/' || !name[n]);
}

/* Mount with the longest host name that @name lies below. */
static const struct host_mount *mount_of_host_name(const struct vfs *vfs,
						   const char *name)
{
	const struct host_mount *best = NULL, *m;

	for (m = vfs->mounts; m < vfs->mounts + vfs->nr_mounts; m++) {
		if (!name_below(name, m->host_name))
			continue;
		if (!best || strlen(m->host_name) > strlen(best->host_name))
			best = m;
	}
	return best;
}

int vfs_host_name(struct vfs *vfs, int host_fd, char *buf, size_t len)
{
	char host[PATH_MAX + 16];
	const struct host_mount *m;
	const char *rest;
	int err;

	if (!vfs)
		vfs = the_vfs;
	if (!vfs)
		return -ENOENT;
	err = host_fd_name(vfs, host_fd, host, sizeof(host));
	if (err)
		return err;
	if (host[0] != '/' || !strncmp(host, "/memfd:", 7)) {
		snprintf(buf, len, "%s", host);
		return 0;
	}
	m = mount_of_host_name(vfs, host);
	if (!m && strncmp(host, "/dev/", 5))
		return -ENOENT;
	if (!m) {
		/* A terminal that came in as stdin: its name is the same. */
		snprintf(buf, len, "%s", host);
		return 0;
	}
	rest = host + strlen(m->host_name);
	if (!*rest && !*m->name)
		rest = "/";
	else if (!strcmp(rest, "/") && *m->name)
		rest = "";
	return snprintf(buf, len, "%s%s", m->name, rest) < (int)len ?
		       0 : -ENAMETOOLONG;
}

uint8_t vfs_at_root(const struct vfs *vfs, const struct stat *st)
{
	int i;

	for (i = 0; i < vfs->nr_mounts; i++) {
		if (vfs->mounts[i].ino == st->st_ino &&
		    vfs->mounts[i].dev == st->st_dev)
			return (uint8_t)(i + 1);
	}
	return 0;
}

const struct host_mount *vfs_find_mount(const struct vfs *vfs, const char *name,
					const char **rest)
{
	const struct host_mount *best = &vfs->mounts[0], *m;

	for (m = vfs->mounts + 1; m < vfs->mounts + vfs->nr_mounts; m++) {
		if (name_below(name, m->name))
			best = m;
	}
	*rest = name + strlen(best->name);
	while (**rest == '/')
		(*rest)++;
	return best;
}

bool vfs_name_covered(const struct vfs *vfs, const char *name)
{
	const char *rest;

	return leaves_at_root(name) &&
	       vfs_find_mount(vfs, name, &rest) == &vfs->mounts[0];
}

/* @fd: O_PATH descriptor of a directory (consumed, on failure too). */
static int mount_add(struct vfs *vfs, int fd, const char *name)
{
	struct host_mount *m = &vfs->mounts[vfs->nr_mounts];
	char buf[PATH_MAX];
	struct stat st;
	size_t len;
	int err;

	m->fd = fd;
	err = fstat(m->fd, &st) ? -errno : 0;
	if (!err)
		err = host_fd_name(vfs, m->fd, buf, sizeof(buf));
	if (err) {
		close(m->fd);
		return err;
	}
	len = strlen(buf);
	if (len && buf[len - 1] == '/')
		buf[len - 1] = '\0';
	m->host_name = strdup(buf);
	if (!m->host_name) {
		close(m->fd);
		return -ENOMEM;
	}
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	m->name = name;
	vfs->nr_mounts++;
	return 0;
}

/* Does the host refuse a step from the root to @name as a mount's crossing? */
static bool is_mount_point(struct vfs *vfs, const char *name)
{
	int fd = (int)host_openat2(vfs->mounts[0].fd, name, O_PATH | O_CLOEXEC,
				   0, RESOLVE_IN_ROOT | RESOLVE_NO_XDEV |
					      RESOLVE_NO_SYMLINKS);

	if (fd >= 0)
		close(fd);
	return fd == -EXDEV;
}

/*
 * File systems through which a host is controlled, or what others of the user
 * share is reached. They are mounted elsewhere too, as in the roots of
 * containers.
 */
bool host_fs_refused(int fd)
{
	static const unsigned int refused[] = {
		PROC_SUPER_MAGIC,   SYSFS_MAGIC,	DEBUGFS_MAGIC,
		TRACEFS_MAGIC,	    SECURITYFS_MAGIC,	BPF_FS_MAGIC,
		CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, EFIVARFS_MAGIC,
		DEVPTS_SUPER_MAGIC, HUGETLBFS_MAGIC,	MQUEUE_MAGIC,
	};
	struct statfs sfs;
	size_t i;

	if (fstatfs(fd, &sfs))
		return true;
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		if ((unsigned int)sfs.f_type == refused[i])
			return true;
	}
	return false;
}

/* What is mounted for a while would be kept from being unmounted. */
static bool may_anchor(const char *name)
{
	return name[0] != '.' && !pseudo_mount(name) && strcmp(name, "mnt") &&
	       strcmp(name, "media");
}

static void anchor_add(struct vfs *vfs, const char *name)
{
	struct host_anchor *a = &vfs->anchors[vfs->nr_anchors];

	if (strlen(name) >= sizeof(a->name) || !may_anchor(name) ||
	    !is_mount_point(vfs, name))
		return;
	a->fd = (int)host_openat2(vfs->mounts[0].fd, name,
				  O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
				  RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (a->fd < 0)
		return;
	if (host_fs_refused(a->fd)) {
		close(a->fd);
		return;
	}
	strcpy(a->name, name);
	vfs->nr_anchors++;
}

/* Find the mounts right below the root. */
static void anchors_init(struct vfs *vfs)
{
	int fd = openat(vfs->mounts[0].fd, ".", O_RDONLY | O_DIRECTORY |
						O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (vfs->nr_anchors < HOST_ANCHORS && (d = readdir(dir))) {
		if (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN)
			anchor_add(vfs, d->d_name);
	}
	closedir(dir);
}

static int mount_root(struct vfs *vfs, const char *root)
{
	int fd = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : mount_add(vfs, fd, "");
}

/*
 * The directory of that name below the root, never the host's own: what other
 * processes of the user share there is outside. Without it, there is none.
 */
static void mount_shm(struct vfs *vfs)
{
	int fd = (int)host_openat2(vfs->mounts[0].fd, "dev/shm",
				   O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
				   RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

	if (fd >= 0 && host_fs_refused(fd))
		close(fd);
	else if (fd >= 0)
		mount_add(vfs, fd, "/dev/shm");
}

int vfs_init(struct kernel *k, const char *root)
{
	struct vfs *vfs = calloc(1, sizeof(*vfs));
	int err;

	if (!vfs)
		return -ENOMEM;
	vfs->host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	vfs->host_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (vfs->host_fds < 0) {
		err = -errno;
		close(vfs->host_proc);
		free(vfs);
		return err;
	}
	k->vfs = the_vfs = vfs;
	err = mount_root(vfs, root);
	if (err) {
		vfs_destroy(k);
		return err;
	}
	mount_shm(vfs);
	vfs->covered = is_mount_point(vfs, "proc") && is_mount_point(vfs, "dev");
	anchors_init(vfs);
	/* Modes are the program's business. */
	vfs->umask = umask(0);
	return 0;
}

void vfs_destroy(struct kernel *k)
{
	struct vfs *vfs = k->vfs;
	int i;

	if (!vfs)
		return;
	for (i = 0; i < vfs->nr_mounts; i++) {
		close(vfs->mounts[i].fd);
		free(vfs->mounts[i].host_name);
	}
	for (i = 0; i < vfs->nr_anchors; i++)
		close(vfs->anchors[i].fd);
	for (i = 0; i < HOST_TTYS; i++)
		file_put(vfs->ttys[i]);
	close(vfs->host_proc);
	close(vfs->host_fds);
	free(vfs);
	k->vfs = the_vfs = NULL;
}

/* current directory and umask */

static struct cwd *cwd_new(struct loc *loc)
{
	struct cwd *cwd = calloc(1, sizeof(*cwd));

	if (!cwd) {
		loc_put(loc);
		return NULL;
	}
	cwd->refs = 1;
	cwd->loc = *loc;
	return cwd;
}

void cwd_put(struct cwd *cwd)
{
	if (!cwd || atomic_fetch_sub(&cwd->refs, 1) != 1)
		return;
	loc_put(&cwd->loc);
	free(cwd);
}

struct cwd *cwd_get(struct fs_context *fs)
{
	struct cwd *cwd;

	pthread_mutex_lock(&fs->lock);
	cwd = fs->cwd;
	atomic_fetch_add(&cwd->refs, 1);
	pthread_mutex_unlock(&fs->lock);
	return cwd;
}

static struct fs_context *fs_context_new(struct cwd *cwd, mode_t mask)
{
	struct fs_context *fs = calloc(1, sizeof(*fs));

	if (!fs) {
		cwd_put(cwd);
		return NULL;
	}
	fs->refs = 1;
	fs->cwd = cwd;
	fs->umask = mask;
	pthread_mutex_init(&fs->lock, NULL);
	return fs;
}

/* Of what the sentry's /proc, /dev and /sys cover, only their tops are there. */
static bool cwd_covered(const struct vfs *vfs, int fd, const char *name)
{
	return !pseudo_mount(name + 1) &&
	       (vfs_name_covered(vfs, name) || host_fs_refused(fd));
}

/* The host process's directory as the sandbox sees it; "/" if it does not. */
static void host_cwd(struct vfs *vfs, char *buf, size_t len)
{
	int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || vfs_host_name(vfs, fd, buf, len) || buf[0] != '/' ||
	    cwd_covered(vfs, fd, buf))
		snprintf(buf, len, "/");
	if (fd >= 0)
		close(fd);
}

/* What the host has at @cwd, if the sandbox has it there too. */
static int cwd_open(const struct vfs *vfs, const char *cwd, struct loc *loc)
{
	*loc = (struct loc){ .kind = LOC_HOST, .owned = true };
	while (*cwd == '/')
		cwd++;
	loc->fd = (int)host_openat2(vfs->mounts[0].fd, *cwd ? cwd : ".",
				    O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
				    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	return loc->fd < 0 ? loc->fd : 0;
}

/* Make a place of the host the one that the sandbox has under its name, or put it. */
static int cwd_cover(struct vfs *vfs, struct loc *loc)
{
	const struct pentry *top;
	char name[PATH_MAX];
	int err;

	err = host_arrive(vfs, loc);
	if (err)
		return err;
	err = vfs_host_name(vfs, loc->fd, name, sizeof(name));
	if (!err && cwd_covered(vfs, loc->fd, name))
		err = -EXDEV;
	if (err) {
		loc_put(loc);
		return err;
	}
	top = pseudo_mount(name + 1);
	if (top) {
		loc_put(loc);
		*loc = (struct loc){ .kind = LOC_PSEUDO };
		loc->node.at[0] = top;
	}
	return 0;
}

struct fs_context *fs_context_create(struct kernel *k, const char *cwd,
				     int *err)
{
	struct vfs *vfs = k->vfs;
	char host[PATH_MAX];
	struct fs_context *fs;
	struct loc loc;
	struct cwd *c;

	if (!cwd) {
		host_cwd(vfs, host, sizeof(host));
		cwd = host;
	}
	*err = cwd_open(vfs, cwd, &loc);
	if (*err)
		return NULL;
	*err = cwd_cover(vfs, &loc);
	if (*err)
		return NULL;
	c = cwd_new(&loc);
	fs = c ? fs_context_new(c, vfs->umask) : NULL;
	*err = fs ? 0 : -ENOMEM;
	return fs;
}

struct fs_context *fs_context_get(struct fs_context *fs)
{
	atomic_fetch_add(&fs->refs, 1);
	return fs;
}

struct fs_context *fs_context_fork(struct fs_context *fs)
{
	return fs_context_new(cwd_get(fs), atomic_load(&fs->umask));
}

void fs_context_put(struct fs_context *fs)
{
	if (!fs || atomic_fetch_sub(&fs->refs, 1) != 1)
		return;
	cwd_put(fs->cwd);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

int fs_context_chdir(struct fs_context *fs, struct loc *loc)
{
	struct cwd *cwd = cwd_new(loc), *old;

	if (!cwd)
		return -ENOMEM;
	pthread_mutex_lock(&fs->lock);
	old = fs->cwd;
	fs->cwd = cwd;
	pthread_mutex_unlock(&fs->lock);
	cwd_put(old);
	return 0;
}
