// SPDX-License-Identifier: MIT
/*
 * shm.c - shared memory segments
 *
 * A segment is a range of the memory file. Every shmat() maps a file of its own,
 * as it may be for reading only, whose vma_open and vma_close count how often the
 * segment is mapped: after forks, partial unmaps and the ends of processes too.
 */
#include <stdlib.h>
#include <sys/shm.h>

#include "sentry/fs/internal.h"
#include "sentry/ipc/internal.h"
#include "sentry/mm/internal.h"

/**
 * struct shm - a segment; under the lock of its table, but what is constant
 * @kernel: constant
 * @size: bytes asked for; constant
 * @off: in the memory file; constant
 * @name: the key that it was made with; constant
 * @attached: mappings of it, and shmat() calls under way
 * @creator, @last: processes that made it, and that mapped or unmapped it last
 */
struct shm {
	struct ipc_object obj;
	struct kernel *kernel;
	uint64_t size, off;
	key_t name;
	unsigned int attached;
	pid_t creator, last;
	time_t atime, dtime, ctime;
};

static struct ipc_table *shm_table(struct kernel *k)
{
	return &k->ipc->shm;
}

static struct shm *shm_of(struct ipc_object *o)
{
	return container_of(o, struct shm, obj);
}

static uint64_t shm_pages(const struct shm *s)
{
	return page_up(s->size) / PAGE_SIZE;
}

static void shm_free(struct shm *s)
{
	s->kernel->ipc->shm_pages -= shm_pages(s);
	memory_file_unref(s->kernel->memory_file, s->off, page_up(s->size));
	free(s);
}

static void shm_remove_locked(struct shm *s)
{
	ipc_remove(shm_table(s->kernel), &s->obj);
	shm_free(s);
}

static struct ipc_object *shm_create(struct task *t, const uint64_t *args,
				     int *err)
{
	struct kernel *k = t->kernel;
	uint64_t size = args[1];
	struct shm *s;

	*err = -EINVAL;
	if (!size || size > SHM_SIZE_MAX)
		return NULL;
	/* There are no huge pages. */
	*err = -ENOMEM;
	if (args[2] & SHM_HUGETLB)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*err = memory_file_alloc(k->memory_file, page_up(size), &s->off);
	if (*err) {
		free(s);
		return NULL;
	}
	s->kernel = k;
	s->size = size;
	s->name = (key_t)args[0];
	s->creator = t->tg->tgid;
	s->ctime = time(NULL);
	k->ipc->shm_pages += shm_pages(s);
	return &s->obj;
}

static int shm_check(const struct ipc_object *o, const uint64_t *args)
{
	return container_of(o, const struct shm, obj)->size < args[1] ?
		       -EINVAL : 0;
}

static void shm_undo_create(struct task *t, struct ipc_object *o)
{
	shm_free(shm_of(o));
}

long sys_shmget(struct task *t, const uint64_t *args)
{
	static const struct ipc_get_ops ops = { shm_create, shm_check,
						shm_undo_create };

	return ipc_get(t, shm_table(t->kernel), &ops, args, (int)args[2]);
}

/* The end of a mapping, or of a shmat(). */
static void shm_detach_locked(struct shm *s)
{
	if (--s->attached == 0 && (s->obj.mode & SHM_DEST))
		shm_remove_locked(s);
}

/* mm.lock is held in these two. */
static void shm_vma_open(struct file *f)
{
	struct shm *s = f->priv;
	struct ipc_table *table = shm_table(s->kernel);

	pthread_mutex_lock(&table->lock);
	s->attached++;
	s->atime = time(NULL);
	s->last = task_current_tgid();
	pthread_mutex_unlock(&table->lock);
}

static void shm_vma_close(struct file *f)
{
	struct shm *s = f->priv;
	struct ipc_table *table = shm_table(s->kernel);

	pthread_mutex_lock(&table->lock);
	s->dtime = time(NULL);
	s->last = task_current_tgid();
	shm_detach_locked(s);
	pthread_mutex_unlock(&table->lock);
}

static int shm_mmap(struct task *t, struct file *f, struct file_mmap *out)
{
	struct shm *s = f->priv;

	out->memory_off = s->off;
	out->memory_len = page_up(s->size);
	return 0;
}

static int shm_fstat(struct task *t, struct file *f, struct stat *st)
{
	struct shm *s = f->priv;

	anon_stat(st, S_IFREG | 0600, (uint64_t)s->obj.id);
	st->st_dev = 1;
	st->st_size = (off_t)s->size;
	return 0;
}

static void shm_name(struct file *f, char *buf, size_t len)
{
	struct shm *s = f->priv;

	snprintf(buf, len, "/SYSV%08x (deleted)", (unsigned int)s->name);
}

static const struct file_ops shm_file_ops = {
	.kind = "shm",
	.mmap = shm_mmap,
	.vma_open = shm_vma_open,
	.vma_close = shm_vma_close,
	.fstat = shm_fstat,
	.name = shm_name,
};

/* The segment, kept by being attached once more; or NULL and *err. */
static struct shm *shm_attach(struct task *t, int id, mode_t access, int *err)
{
	struct ipc_table *table = shm_table(t->kernel);
	struct ipc_object *o;

	pthread_mutex_lock(&table->lock);
	o = ipc_find(table, id);
	*err = o ? ipc_permission(t, o, access) : -EINVAL;
	if (!*err)
		shm_of(o)->attached++;
	pthread_mutex_unlock(&table->lock);
	return *err ? NULL : shm_of(o);
}

static void shm_detach(struct shm *s)
{
	struct ipc_table *table = shm_table(s->kernel);

	pthread_mutex_lock(&table->lock);
	shm_detach_locked(s);
	pthread_mutex_unlock(&table->lock);
}

static int64_t shm_map(struct task *t, struct shm *s, uint64_t addr, int flags)
{
	int prot = PROT_READ, how = MAP_SHARED;
	struct file *f;
	int64_t ret;

	f = file_alloc(&shm_file_ops,
		       flags & SHM_RDONLY ? O_RDONLY : O_RDWR);
	if (!f)
		return -ENOMEM;
	f->priv = s;
	if (!(flags & SHM_RDONLY))
		prot |= PROT_WRITE;
	if (flags & SHM_EXEC)
		prot |= PROT_EXEC;
	if (addr)
		how |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	ret = mm_map_file(t, addr, page_up(s->size), prot, how, f, 0);
	file_put(f);
	return ret == -EEXIST ? -EINVAL : ret;
}

static int shmat_addr(uint64_t *addr, int flags)
{
	if (*addr & ~PAGE_MASK) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		*addr = page_down(*addr);
		if (!*addr && (flags & SHM_REMAP))
			return -EINVAL;
	}
	return !*addr && (flags & SHM_REMAP) ? -EINVAL : 0;
}

long sys_shmat(struct task *t, const uint64_t *args)
{
	int flags = (int)args[2], err;
	mode_t access = IPC_READ;
	uint64_t addr = args[1];
	struct shm *s;
	int64_t ret;

	if ((int)args[0] < 0)
		return -EINVAL;
	err = shmat_addr(&addr, flags);
	if (err)
		return err;
	if (!(flags & SHM_RDONLY))
		access |= IPC_WRITE;
	if (flags & SHM_EXEC)
		access |= 0111;
	s = shm_attach(t, (int)args[0], access, &err);
	if (!s)
		return err;
	ret = shm_map(t, s, addr, flags);
	shm_detach(s);
	return ret;
}

/* Is @v what lies at its distance from @addr in a segment attached there? */
static bool attached_at(const struct vma *v, uint64_t addr)
{
	return v->file && v->file->ops == &shm_file_ops &&
	       v->start - addr == v->off;
}

/*
 * All of one attachment that is still where it was put: some of it may be
 * unmapped, and something else be there.
 */
static int detach_at(struct mm *mm, struct task *t, uint64_t addr)
{
	struct vma *v = vma_find(mm, addr);
	struct file *f;
	uint64_t end, at;
	int err = 0;

	while (v && !attached_at(v, addr))
		v = RB_NEXT(vma_tree, &mm->vmas, v);
	if (!v)
		return -EINVAL;
	f = v->file;
	end = addr + page_up(((struct shm *)f->priv)->size);
	for (; v && v->end <= end && !err; v = vma_find(mm, at)) {
		at = v->end;
		if (attached_at(v, addr) && v->file == f)
			err = mm_unmap(mm, t, v->start, at - v->start);
	}
	return err;
}

long sys_shmdt(struct task *t, const uint64_t *args)
{
	int err;

	if (args[0] & ~PAGE_MASK)
		return -EINVAL;
	pthread_mutex_lock(&t->mm->lock);
	err = detach_at(t->mm, t, args[0]);
	pthread_mutex_unlock(&t->mm->lock);
	return err;
}

static int shm_stat(struct task *t, int id, int cmd, uint64_t addr)
{
	struct ipc_table *table = shm_table(t->kernel);
	struct shmid_ds ds = { 0 };
	struct ipc_object *o;
	struct shm *s;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_stat_object(t, table, id, cmd != IPC_STAT,
			    cmd == SHM_STAT_ANY, &err);
	if (o) {
		s = shm_of(o);
		ipc_fill_perm(&ds.shm_perm, o);
		ds.shm_segsz = s->size;
		ds.shm_atime = s->atime;
		ds.shm_dtime = s->dtime;
		ds.shm_ctime = s->ctime;
		ds.shm_cpid = s->creator;
		ds.shm_lpid = s->last;
		ds.shm_nattch = s->attached;
		id = o->id;
	}
	pthread_mutex_unlock(&table->lock);
	if (err || copy_to_user(t, addr, &ds, sizeof(ds)))
		return err ? err : -EFAULT;
	return cmd == IPC_STAT ? 0 : id;
}

/* Nobody finds it by its key any more; it goes with the last mapping. */
static void mark_removed(struct shm *s)
{
	s->obj.mode |= SHM_DEST;
	s->obj.key = IPC_PRIVATE;
	if (!s->attached)
		shm_remove_locked(s);
}

static int shm_change(struct task *t, int id, int cmd,
		      const struct shmid_ds *ds)
{
	struct ipc_table *table = shm_table(t->kernel);
	struct ipc_object *o;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_find(table, id);
	err = o ? ipc_owner(t, o) : -EINVAL;
	if (err) {
		pthread_mutex_unlock(&table->lock);
		return err;
	}
	switch (cmd) {
	case IPC_SET:
		ipc_set_perm(o, &ds->shm_perm);
		shm_of(o)->ctime = time(NULL);
		break;
	case IPC_RMID:
		mark_removed(shm_of(o));
		break;
	/* Nothing is swapped out of the sentry's sight: for those who ask. */
	case SHM_LOCK:
		o->mode |= SHM_LOCKED;
		break;
	default:
		o->mode &= ~(mode_t)SHM_LOCKED;
	}
	pthread_mutex_unlock(&table->lock);
	return 0;
}

static long shm_limits(struct task *t, uint64_t addr)
{
	struct ipc_table *table = shm_table(t->kernel);
	const struct shminfo info = {
		.shmmax = SHM_SIZE_MAX,
		.shmmin = 1,
		.shmmni = SHM_ID_MAX,
		.shmseg = SHM_ID_MAX,
		.shmall = SHM_PAGES_MAX,
	};
	long max;

	pthread_mutex_lock(&table->lock);
	max = ipc_max_index(table);
	pthread_mutex_unlock(&table->lock);
	return copy_to_user(t, addr, &info, sizeof(info)) ? -EFAULT : max;
}

static long shm_usage(struct task *t, uint64_t addr)
{
	struct ipc_table *table = shm_table(t->kernel);
	struct shm_info info = { 0 };
	long max;

	pthread_mutex_lock(&table->lock);
	info.used_ids = (int)table->used;
	/* Which pages have been touched the host knows: all is an upper bound. */
	info.shm_tot = info.shm_rss = t->kernel->ipc->shm_pages;
	max = ipc_max_index(table);
	pthread_mutex_unlock(&table->lock);
	return copy_to_user(t, addr, &info, sizeof(info)) ? -EFAULT : max;
}

long sys_shmctl(struct task *t, const uint64_t *args)
{
	int id = (int)args[0], cmd = (int)args[1];
	struct shmid_ds ds;

	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
		return shm_limits(t, args[2]);
	case SHM_INFO:
		return shm_usage(t, args[2]);
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		return shm_stat(t, id, cmd, args[2]);
	case IPC_SET:
		if (copy_from_user(t, &ds, args[2], sizeof(ds)))
			return -EFAULT;
		return shm_change(t, id, cmd, &ds);
	case IPC_RMID:
	case SHM_LOCK:
	case SHM_UNLOCK:
		return shm_change(t, id, cmd, NULL);
	default:
		return -EINVAL;
	}
}

void shm_destroy_all(struct kernel *k)
{
	struct ipc_table *table = shm_table(k);
	unsigned int i;

	for (i = 0; i < table->size; i++)
		if (table->slots[i])
			shm_remove_locked(shm_of(table->slots[i]));
}

static void shm_line(struct text *x, const struct ipc_object *o)
{
	const struct shm *s = container_of(o, const struct shm, obj);

	text_printf(x, "%10d %10d  %4o %21lu %5d %5d  %5u %5u %5u %5u %5u "
		    "%10ld %10ld %10ld %21lu %21lu\n",
		    o->key, o->id, o->mode, s->size, s->creator, s->last,
		    s->attached, o->uid, o->gid, o->cuid, o->cgid, s->atime,
		    s->dtime, s->ctime, page_up(s->size), 0ul);
}

void ipc_text_shm(struct task *t, struct text *x)
{
	text_printf(x, "       key      shmid perms                  size"
		    "  cpid  lpid nattch   uid   gid  cuid  cgid      atime"
		    "      dtime      ctime                   rss"
		    "                  swap\n");
	ipc_text(shm_table(t->kernel), x, shm_line);
}
