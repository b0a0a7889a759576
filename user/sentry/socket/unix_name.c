// SPDX-License-Identifier: MIT
/*
 * unix_name.c - names of AF_UNIX sockets: files, and abstract ones
 *
 * A socket with a path is a socket file on the host, which shows up in listings
 * and can be removed like any other, and an entry in net.names by the file's
 * device and inode number. The host knows no socket behind the file, and the
 * sandbox none behind socket files of the host's programs: ECONNREFUSED both ways.
 */
#include "sentry/socket/internal.h"

/* Bytes of an address before the path. */
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

static bool is_abstract(const struct address *a)
{
	return a->len > PATH_AT && !a->un.sun_path[0];
}

static unsigned int hash_bytes(const char *p, size_t len)
{
	unsigned int h = 5381;

	while (len--)
		h = h * 33 + (unsigned char)*p++;
	return h % NAME_BUCKETS;
}

static struct socket_list *abstract_bucket(struct net *net,
					   const struct address *a)
{
	return &net->names[hash_bytes(a->raw, a->len)];
}

static struct socket_list *inode_bucket(struct net *net, ino_t ino)
{
	return &net->names[ino % NAME_BUCKETS];
}

/* Under net.lock. */
static struct socket *find_abstract(struct net *net, const struct address *a)
{
	struct socket *s;

	LIST_FOREACH(s, abstract_bucket(net, a), name_link) {
		if (!s->name_ino && s->name.len == a->len &&
		    !memcmp(s->name.raw, a->raw, a->len))
			return s;
	}
	return NULL;
}

/* Under net.lock. */
static struct socket *find_inode(struct net *net, dev_t dev, ino_t ino)
{
	struct socket *s;

	LIST_FOREACH(s, inode_bucket(net, ino), name_link) {
		if (s->name_ino == ino && s->name_dev == dev)
			return s;
	}
	return NULL;
}

/* Under socket.lock and net.lock. */
static void set_name(struct socket *s, struct socket_list *bucket,
		     const struct address *a)
{
	s->name = *a;
	s->named = true;
	LIST_INSERT_HEAD(bucket, s, name_link);
}

static int bind_abstract(struct socket *s, const struct address *a)
{
	struct net *net = s->net;
	int err = -EADDRINUSE;

	pthread_mutex_lock(&net->lock);
	pthread_mutex_lock(&s->lock);
	if (s->name.len) {
		err = -EINVAL;
	} else if (!find_abstract(net, a)) {
		set_name(s, abstract_bucket(net, a), a);
		err = 0;
	}
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&net->lock);
	return err;
}

/* The path with its NUL, and the address with the length that Linux shows. */
static int path_of(struct address *a, char path[sizeof(a->un.sun_path) + 1])
{
	size_t len = a->len - PATH_AT;

	memcpy(path, a->un.sun_path, len);
	path[len] = '\0';
	len = strlen(path);
	a->un.sun_path[len] = '\0';
	a->len = (socklen_t)(PATH_AT + len + 1);
	return len ? 0 : -EINVAL;
}

/* Make the socket file: its descriptor, or -errno. */
static int make_node(struct task *t, const char *path)
{
	struct last last;
	struct loc dir;
	int err;

	err = walk_parent(t, AT_FDCWD, path, false, &dir, &last);
	if (err)
		return err;
	if (last.slash)
		err = -ENOENT;
	else if (dir.kind != LOC_HOST)
		err = -EPERM;
	else if (!name_is_plain(last.name) ||
		 host_step_leaves(dir.at_root, last.name))
		err = -EADDRINUSE;
	else if (mknodat(dir.fd, last.name, S_IFSOCK | (0777 & ~fs_umask(t)), 0))
		err = errno == EEXIST ? -EADDRINUSE : -errno;
	else
		err = (int)host_ret(openat(dir.fd, last.name,
					   O_PATH | O_NOFOLLOW | O_CLOEXEC));
	loc_put(&dir);
	return err;
}

static int add_inode(struct socket *s, const struct address *a, int fd,
		     const struct stat *st)
{
	struct net *net = s->net;
	int err = 0;

	pthread_mutex_lock(&net->lock);
	pthread_mutex_lock(&s->lock);
	if (s->name.len) {
		err = -EINVAL;
	} else {
		s->name_dev = st->st_dev;
		s->name_ino = st->st_ino;
		s->name_fd = fd;
		set_name(s, inode_bucket(net, st->st_ino), a);
	}
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&net->lock);
	return err;
}

static bool has_name(struct socket *s)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = s->name.len;
	pthread_mutex_unlock(&s->lock);
	return has;
}

static int bind_path(struct task *t, struct socket *s, const struct address *a)
{
	char path[sizeof(a->un.sun_path) + 1];
	struct address name = *a;
	struct stat st;
	int fd, err;

	err = path_of(&name, path);
	if (err)
		return err;
	if (has_name(s))
		return -EINVAL;
	fd = make_node(t, path);
	if (fd < 0)
		return fd;
	/* Somebody else may have put something else there since. */
	err = fstat(fd, &st) ? -errno : S_ISSOCK(st.st_mode) ? 0 : -EADDRINUSE;
	if (!err)
		err = add_inode(s, &name, fd, &st);
	if (err)
		close(fd);
	return err;
}

/* Abstract names of five hexadecimal digits, as Linux gives them. */
int unix_autobind(struct task *t, struct socket *s)
{
	static atomic_uint next;
	struct address a = { .un.sun_family = AF_UNIX };
	int tries, err = -EADDRINUSE;

	a.len = PATH_AT + 6;
	for (tries = 0; err == -EADDRINUSE && tries < 1 << 20; tries++) {
		snprintf(a.un.sun_path + 1, 6, "%05x",
			 atomic_fetch_add(&next, 1) & 0xfffff);
		err = bind_abstract(s, &a);
	}
	return err == -EADDRINUSE ? -ENOSPC : err;
}

static int check_address(const struct address *a)
{
	if (a->len > sizeof(a->un) || a->len <= PATH_AT ||
	    a->un.sun_family != AF_UNIX)
		return -EINVAL;
	return 0;
}

int unix_bind(struct task *t, struct socket *s, const struct address *a)
{
	int err;

	if (a->len == PATH_AT && a->un.sun_family == AF_UNIX)
		return has_name(s) ? 0 : unix_autobind(t, s);
	err = check_address(a);
	if (err)
		return err;
	return is_abstract(a) ? bind_abstract(s, a) : bind_path(t, s, a);
}

/* The name itself stays, for those who ask a peer that is going away. */
void unix_unbind(struct socket *s)
{
	struct net *net = s->net;

	pthread_mutex_lock(&net->lock);
	if (s->named)
		LIST_REMOVE(s, name_link);
	s->named = false;
	pthread_mutex_unlock(&net->lock);
	if (s->name_fd >= 0)
		close(s->name_fd);
	s->name_fd = -1;
}

/* The socket file: may the caller write to it, and which inode is it? */
static int stat_node(struct task *t, const char *path, struct stat *st)
{
	struct loc loc;
	int err;

	err = walk(t, AT_FDCWD, path, 0, &loc);
	if (err)
		return err;
	err = loc_stat(t, &loc, st);
	if (!err && loc.kind == LOC_HOST)
		err = (int)host_ret(syscall(SYS_faccessat2, loc.fd, "", W_OK,
					    AT_EMPTY_PATH | AT_EACCESS));
	if (!err && !S_ISSOCK(st->st_mode))
		err = -ECONNREFUSED;
	loc_put(&loc);
	return err;
}

static int find_path(struct task *t, struct net *net, const struct address *a,
		     struct socket **out)
{
	char path[sizeof(a->un.sun_path) + 1];
	struct address name = *a;
	struct stat st;
	int err;

	err = path_of(&name, path);
	if (!err)
		err = stat_node(t, path, &st);
	if (err)
		return err;
	pthread_mutex_lock(&net->lock);
	*out = find_inode(net, st.st_dev, st.st_ino);
	if (*out)
		socket_get(*out);
	pthread_mutex_unlock(&net->lock);
	return *out ? 0 : -ECONNREFUSED;
}

int unix_find(struct task *t, struct socket *s, const struct address *a,
	      struct socket **out)
{
	struct net *net = s->net;
	int err = check_address(a);

	*out = NULL;
	if (err)
		return err;
	if (is_abstract(a)) {
		pthread_mutex_lock(&net->lock);
		*out = find_abstract(net, a);
		if (*out)
			socket_get(*out);
		pthread_mutex_unlock(&net->lock);
		err = *out ? 0 : -ECONNREFUSED;
	} else {
		err = find_path(t, net, a, out);
	}
	if (!err && (*out)->type != s->type) {
		socket_put(*out);
		*out = NULL;
		err = -EPROTOTYPE;
	}
	return err;
}

static void copy_name(struct socket *s, struct address *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->name;
	pthread_mutex_unlock(&s->lock);
	if (!out->len) {
		out->un.sun_family = AF_UNIX;
		out->len = PATH_AT;
	}
}

int unix_get_name(struct socket *s, bool peer, struct address *out)
{
	struct socket *of = s;

	if (peer) {
		pthread_mutex_lock(&s->lock);
		of = s->peer ? socket_get(s->peer) : NULL;
		pthread_mutex_unlock(&s->lock);
		if (!of)
			return -ENOTCONN;
	}
	copy_name(of, out);
	if (peer)
		socket_put(of);
	return 0;
}
