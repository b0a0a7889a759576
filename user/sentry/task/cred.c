// SPDX-License-Identifier: MIT
/*
 * cred.c - credentials
 *
 * Files are opened by the host kernel, with the identity of the calling user.
 * A program that believed itself to be somebody else would be lied to by every
 * permission check. So the rule: a change is granted if Linux would grant it
 * and the effective and file system ids stay those of the host; any other is
 * refused with EPERM, as for a process without CAP_SETUID and CAP_SETGID.
 */
#include <unistd.h>

#include "sentry/task/internal.h"
#include "sentry/task/table.h"

#define NO_ID ((uint32_t)-1)

/*
 * Capabilities that the host's checks honour for what the sandbox does, and those
 * that the sentry's own do.
 */
#define HONOURED                                                       \
	(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE |                \
	 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER |            \
	 1ull << CAP_FSETID | 1ull << CAP_KILL | 1ull << CAP_MKNOD |   \
	 1ull << CAP_SETFCAP | 1ull << CAP_LEASE | 1ull << CAP_IPC_OWNER)

static uint64_t both_halves(const struct __user_cap_data_struct d[2],
			    size_t off)
{
	const char *p = (const char *)d + off;
	uint32_t lo, hi;

	memcpy(&lo, p, sizeof(lo));
	memcpy(&hi, p + sizeof(d[0]), sizeof(hi));
	return (uint64_t)hi << 32 | lo;
}

#define CAPS(_d, _member) \
	both_halves(_d, offsetof(struct __user_cap_data_struct, _member))

void cred_init_caps(struct cred *c)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = { 0 };

	if (syscall(SYS_capget, &h, d))
		return;
	c->cap_permitted = CAPS(d, permitted) & HONOURED;
	c->cap_effective = CAPS(d, effective) & HONOURED;
	c->cap_inheritable = CAPS(d, inheritable) & HONOURED;
	c->cap_bounding = HONOURED;
}

long sys_getuid(struct task *t, const uint64_t *args)
{
	return t->cred.uid;
}

long sys_geteuid(struct task *t, const uint64_t *args)
{
	return t->cred.euid;
}

long sys_getgid(struct task *t, const uint64_t *args)
{
	return t->cred.gid;
}

long sys_getegid(struct task *t, const uint64_t *args)
{
	return t->cred.egid;
}

static int put_ids(struct task *t, const uint64_t *args, uint32_t r,
		   uint32_t e, uint32_t s)
{
	if (put_user_u32(t, args[0], r) || put_user_u32(t, args[1], e) ||
	    put_user_u32(t, args[2], s))
		return -EFAULT;
	return 0;
}

long sys_getresuid(struct task *t, const uint64_t *args)
{
	return put_ids(t, args, t->cred.uid, t->cred.euid, t->cred.suid);
}

long sys_getresgid(struct task *t, const uint64_t *args)
{
	return put_ids(t, args, t->cred.gid, t->cred.egid, t->cred.sgid);
}

/* Real, effective and saved id, of a user or a group. */
struct id_triple {
	uint32_t r, e, s;
};

static bool is_one_of(const struct id_triple *ids, uint32_t id)
{
	return id == NO_ID || id == ids->r || id == ids->e || id == ids->s;
}

/* The rule above; @to holds NO_ID for what is to stay. */
static int change_ids(struct id_triple *ids, const struct id_triple *to)
{
	if (!is_one_of(ids, to->r) || !is_one_of(ids, to->e) ||
	    !is_one_of(ids, to->s))
		return -EPERM;
	if (to->e != NO_ID && to->e != ids->e)
		return -EPERM;
	if (to->r != NO_ID)
		ids->r = to->r;
	if (to->s != NO_ID)
		ids->s = to->s;
	return 0;
}

static int change_uids(struct task *t, struct id_triple to)
{
	struct cred *c = &t->cred;
	struct id_triple ids = { c->uid, c->euid, c->suid };
	int err = change_ids(&ids, &to);

	if (err)
		return err;
	c->uid = ids.r;
	c->suid = ids.s;
	return 0;
}

static int change_gids(struct task *t, struct id_triple to)
{
	struct cred *c = &t->cred;
	struct id_triple ids = { c->gid, c->egid, c->sgid };
	int err = change_ids(&ids, &to);

	if (err)
		return err;
	c->gid = ids.r;
	c->sgid = ids.s;
	return 0;
}

static struct id_triple all_ids(const uint64_t *args)
{
	return (struct id_triple){ (uint32_t)args[0], (uint32_t)args[1],
				   (uint32_t)args[2] };
}

long sys_setresuid(struct task *t, const uint64_t *args)
{
	return change_uids(t, all_ids(args));
}

long sys_setresgid(struct task *t, const uint64_t *args)
{
	return change_gids(t, all_ids(args));
}

/* The saved id follows the effective one if the real one is set. */
static struct id_triple re_ids(const uint64_t *args, uint32_t e)
{
	struct id_triple to = { (uint32_t)args[0], (uint32_t)args[1], NO_ID };

	if (to.r != NO_ID || to.e != NO_ID)
		to.s = to.e != NO_ID ? to.e : e;
	return to;
}

long sys_setreuid(struct task *t, const uint64_t *args)
{
	return change_uids(t, re_ids(args, t->cred.euid));
}

long sys_setregid(struct task *t, const uint64_t *args)
{
	return change_gids(t, re_ids(args, t->cred.egid));
}

long sys_setuid(struct task *t, const uint64_t *args)
{
	uint32_t id = (uint32_t)args[0];

	if (id == NO_ID)
		return -EINVAL;
	return change_uids(t, (struct id_triple){ NO_ID, id, NO_ID });
}

long sys_setgid(struct task *t, const uint64_t *args)
{
	uint32_t id = (uint32_t)args[0];

	if (id == NO_ID)
		return -EINVAL;
	return change_gids(t, (struct id_triple){ NO_ID, id, NO_ID });
}

/* They return the old id, whether or not they changed it: never, here. */
long sys_setfsuid(struct task *t, const uint64_t *args)
{
	return t->cred.fsuid;
}

long sys_setfsgid(struct task *t, const uint64_t *args)
{
	return t->cred.fsgid;
}

long sys_getgroups(struct task *t, const uint64_t *args)
{
	const struct cred *c = &t->cred;
	int size = (int)args[0];

	if (size < 0)
		return -EINVAL;
	if (size) {
		if ((unsigned int)size < c->ngroups)
			return -EINVAL;
		if (copy_to_user(t, args[1], c->groups,
				 c->ngroups * sizeof(c->groups[0])))
			return -EFAULT;
	}
	return c->ngroups;
}

static bool in_groups(const struct cred *c, gid_t gid)
{
	unsigned int i;

	for (i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

/* Are all of @a but the effective group, which counts anyhow, in @b? */
static bool groups_within(const struct cred *a, const struct cred *b)
{
	unsigned int i;

	for (i = 0; i < a->ngroups; i++)
		if (a->groups[i] != a->egid && !in_groups(b, a->groups[i]))
			return false;
	return true;
}

/*
 * Only the groups that the host knows already, in any order: servers started by
 * root set those of root before they fork.
 */
long sys_setgroups(struct task *t, const uint64_t *args)
{
	int size = (int)args[0];
	struct cred to = t->cred;

	if (size < 0 || size > 65536)
		return -EINVAL;
	if ((size_t)size > ARRAY_SIZE(to.groups) || to.euid)
		return -EPERM;
	to.ngroups = (unsigned int)size;
	if (copy_from_user(t, to.groups, args[1],
			   (size_t)size * sizeof(to.groups[0])))
		return -EFAULT;
	if (!groups_within(&to, &t->cred) || !groups_within(&t->cred, &to))
		return -EPERM;
	t->cred = to;
	return 0;
}

/* How many data structs follow the header; 0: unknown version. */
static unsigned int cap_words(uint32_t version)
{
	switch (version) {
	case _LINUX_CAPABILITY_VERSION_1:
		return 1;
	case _LINUX_CAPABILITY_VERSION_2:
	case _LINUX_CAPABILITY_VERSION_3:
		return 2;
	default:
		return 0;
	}
}

static int get_cap_header(struct task *t, uint64_t addr, unsigned int *words,
			  pid_t *pid)
{
	struct __user_cap_header_struct h;

	if (copy_from_user(t, &h, addr, sizeof(h)))
		return -EFAULT;
	*words = cap_words(h.version);
	*pid = h.pid;
	if (*words)
		return 0;
	/* Tells the caller what to use instead. */
	if (put_user_u32(t, addr, _LINUX_CAPABILITY_VERSION_3))
		return -EFAULT;
	return -EINVAL;
}

static int cred_of(struct task *t, pid_t pid, struct cred *out)
{
	struct task *o;

	if (pid < 0)
		return -EINVAL;
	if (!pid || pid == t->tid) {
		*out = t->cred;
		return 0;
	}
	o = task_find(t->kernel, pid);
	if (!o)
		return -ESRCH;
	*out = o->cred;
	task_put(o);
	return 0;
}

static void split_caps(const struct cred *c,
		       struct __user_cap_data_struct d[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		d[i].effective = (uint32_t)(c->cap_effective >> 32 * i);
		d[i].permitted = (uint32_t)(c->cap_permitted >> 32 * i);
		d[i].inheritable = (uint32_t)(c->cap_inheritable >> 32 * i);
	}
}

long sys_capget(struct task *t, const uint64_t *args)
{
	struct __user_cap_data_struct d[2];
	unsigned int words;
	struct cred c;
	pid_t pid;
	int err;

	err = get_cap_header(t, args[0], &words, &pid);
	if (err)
		return err == -EINVAL && !args[1] ? 0 : err;
	err = cred_of(t, pid, &c);
	if (err || !args[1])
		return err;
	split_caps(&c, d);
	return copy_to_user(t, args[1], d, words * sizeof(d[0]));
}

/* The host's checks go by the host's sets: only what is there is granted. */
long sys_capset(struct task *t, const uint64_t *args)
{
	struct __user_cap_data_struct d[2] = { 0 };
	struct cred *c = &t->cred;
	unsigned int words;
	pid_t pid;
	int err;

	err = get_cap_header(t, args[0], &words, &pid);
	if (err)
		return err;
	if (pid && pid != t->tid)
		return -EPERM;
	if (copy_from_user(t, d, args[1], words * sizeof(d[0])))
		return -EFAULT;
	if (CAPS(d, effective) != c->cap_effective ||
	    CAPS(d, permitted) != c->cap_permitted ||
	    CAPS(d, inheritable) & ~(c->cap_inheritable | c->cap_permitted))
		return -EPERM;
	c->cap_inheritable = CAPS(d, inheritable);
	return 0;
}
