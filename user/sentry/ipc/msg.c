// SPDX-License-Identifier: MIT
/*
 * msg.c - message queues
 */
#include <stdlib.h>
#include <sys/msg.h>

#include "sentry/ipc/internal.h"

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

struct msg {
	TAILQ_ENTRY(msg) link;
	int64_t type;
	size_t len;
	char text[];
};

/**
 * struct msg_queue - a queue; under the lock of its table
 * @users: tasks that wait for it: it stays that long, though removed
 * @removed: from the table
 * @bytes: in all its messages
 * @max_bytes: how many there may be
 * @readers, @writers: tasks that wait for a message, and for room
 */
struct msg_queue {
	struct ipc_object obj;
	unsigned int users;
	bool removed;
	TAILQ_HEAD(, msg) messages;
	uint64_t bytes, max_bytes, count;
	pid_t sender, receiver;
	time_t stime, rtime, ctime;
	struct wait_queue readers, writers;
};

static struct ipc_table *msg_table(struct kernel *k)
{
	return &k->ipc->msg;
}

static struct msg_queue *queue_of(struct ipc_object *o)
{
	return container_of(o, struct msg_queue, obj);
}

static void queue_free(struct msg_queue *q)
{
	struct msg *m;

	while ((m = TAILQ_FIRST(&q->messages))) {
		TAILQ_REMOVE(&q->messages, m, link);
		free(m);
	}
	free(q);
}

static void queue_remove(struct ipc_table *table, struct msg_queue *q)
{
	ipc_remove(table, &q->obj);
	q->removed = true;
	wait_queue_wake_all(&q->readers);
	wait_queue_wake_all(&q->writers);
	if (!q->users)
		queue_free(q);
}

static struct ipc_object *msg_create(struct task *t, const uint64_t *args,
				     int *err)
{
	struct msg_queue *q = calloc(1, sizeof(*q));

	if (!q) {
		*err = -ENOMEM;
		return NULL;
	}
	TAILQ_INIT(&q->messages);
	wait_queue_init(&q->readers);
	wait_queue_init(&q->writers);
	q->max_bytes = MSG_QUEUE_BYTES;
	q->ctime = time(NULL);
	return &q->obj;
}

static int msg_check(const struct ipc_object *o, const uint64_t *args)
{
	return 0;
}

static void msg_undo_create(struct task *t, struct ipc_object *o)
{
	queue_free(queue_of(o));
}

long sys_msgget(struct task *t, const uint64_t *args)
{
	static const struct ipc_get_ops ops = { msg_create, msg_check,
						msg_undo_create };

	return ipc_get(t, msg_table(t->kernel), &ops, args, (int)args[1]);
}

/* The queue, if the caller has access; or NULL and *err. Under the lock. */
static struct msg_queue *queue_find(struct task *t, int id, mode_t access,
				    int *err)
{
	struct ipc_object *o = ipc_find(msg_table(t->kernel), id);

	*err = o ? ipc_permission(t, o, access) : -EINVAL;
	return *err ? NULL : queue_of(o);
}

/*
 * Sleep until something happens to the queue, without the lock meanwhile. When
 * it fails the queue may be gone. @reader: as one who wants a message.
 */
static int queue_wait(struct task *t, struct msg_queue *q, bool reader)
{
	struct ipc_table *table = msg_table(t->kernel);
	struct wait_queue *wq = reader ? &q->readers : &q->writers;
	struct waiter w;
	int err;

	waiter_init(&w, t);
	/* Before the lock is dropped: what happens then wakes. */
	wait_queue_add(wq, &w);
	q->users++;
	pthread_mutex_unlock(&table->lock);
	err = task_block(t, FOREVER);
	pthread_mutex_lock(&table->lock);
	wait_queue_remove(wq, &w);
	q->users--;
	if (q->removed) {
		if (!q->users)
			queue_free(q);
		return -EIDRM;
	}
	return err == -ERESTARTSYS ? -ERESTARTNOHAND : err;
}

static bool has_room(const struct msg_queue *q, size_t len)
{
	return len <= q->max_bytes && q->bytes <= q->max_bytes - len &&
	       q->count < q->max_bytes;
}

static void enqueue(struct task *t, struct msg_queue *q, struct msg *m)
{
	TAILQ_INSERT_TAIL(&q->messages, m, link);
	q->bytes += m->len;
	q->count++;
	q->sender = t->tg->tgid;
	q->stime = time(NULL);
	wait_queue_wake_all(&q->readers);
}

static int send_locked(struct task *t, int id, struct msg *m, int flags)
{
	struct msg_queue *q;
	int err;

	q = queue_find(t, id, IPC_WRITE, &err);
	if (!q)
		return err;
	while (!has_room(q, m->len)) {
		if (flags & IPC_NOWAIT)
			return -EAGAIN;
		err = queue_wait(t, q, false);
		if (err)
			return err;
		/* Its owner may have changed who has access. */
		err = ipc_permission(t, &q->obj, IPC_WRITE);
		if (err)
			return err;
	}
	enqueue(t, q, m);
	return 0;
}

/* args: msqid, message (type, then text), length, flags */
long sys_msgsnd(struct task *t, const uint64_t *args)
{
	struct ipc_table *table = msg_table(t->kernel);
	uint64_t type, len = args[2];
	struct msg *m;
	int err;

	if (get_user_u64(t, &type, args[1]))
		return -EFAULT;
	if (len > MSG_SIZE_MAX || (int)args[0] < 0 || (int64_t)type < 1)
		return -EINVAL;
	m = malloc(sizeof(*m) + len);
	if (!m)
		return -ENOMEM;
	m->type = (int64_t)type;
	m->len = len;
	err = copy_from_user(t, m->text, args[1] + sizeof(type), len);
	if (!err) {
		pthread_mutex_lock(&table->lock);
		err = send_locked(t, (int)args[0], m, (int)args[3]);
		pthread_mutex_unlock(&table->lock);
	}
	if (err)
		free(m);
	return err;
}

static struct msg *nth_message(struct msg_queue *q, int64_t n)
{
	struct msg *m = TAILQ_FIRST(&q->messages);

	while (m && n-- > 0)
		m = TAILQ_NEXT(m, link);
	return m;
}

/* Of the lowest type up to @max, the first. */
static struct msg *lowest_message(struct msg_queue *q, int64_t max)
{
	struct msg *m, *best = NULL;

	TAILQ_FOREACH(m, &q->messages, link)
		if (m->type <= max && (!best || m->type < best->type))
			best = m;
	return best;
}

static struct msg *find_message(struct msg_queue *q, int64_t type, int flags)
{
	struct msg *m;

	if (flags & MSG_COPY)
		return nth_message(q, type);
	if (!type)
		return TAILQ_FIRST(&q->messages);
	if (type < 0)
		return lowest_message(q, type == INT64_MIN ? INT64_MAX : -type);
	TAILQ_FOREACH(m, &q->messages, link)
		if ((m->type == type) != !!(flags & MSG_EXCEPT))
			return m;
	return NULL;
}

static struct msg *copy_message(const struct msg *m)
{
	struct msg *copy = malloc(sizeof(*copy) + m->len);

	if (copy)
		memcpy(copy, m, sizeof(*copy) + m->len);
	return copy;
}

static struct msg *dequeue(struct task *t, struct msg_queue *q, struct msg *m)
{
	TAILQ_REMOVE(&q->messages, m, link);
	q->bytes -= m->len;
	q->count--;
	q->receiver = t->tg->tgid;
	q->rtime = time(NULL);
	wait_queue_wake_all(&q->writers);
	return m;
}

/* The message, which is the caller's then; or NULL and *err. */
static struct msg *receive_locked(struct task *t, const uint64_t *args,
				  int *err)
{
	int64_t type = (int64_t)args[3];
	int flags = (int)args[4];
	struct msg_queue *q;
	struct msg *m;

	q = queue_find(t, (int)args[0], IPC_READ, err);
	if (!q)
		return NULL;
	while (!(m = find_message(q, type, flags))) {
		*err = flags & IPC_NOWAIT ? -ENOMSG : queue_wait(t, q, true);
		if (!*err)
			*err = ipc_permission(t, &q->obj, IPC_READ);
		if (*err)
			return NULL;
	}
	if (m->len > args[2] && !(flags & MSG_NOERROR)) {
		*err = -E2BIG;
		return NULL;
	}
	m = flags & MSG_COPY ? copy_message(m) : dequeue(t, q, m);
	*err = m ? 0 : -ENOMEM;
	return m;
}

/* args: msqid, message (type, then text), room for the text, type, flags */
long sys_msgrcv(struct task *t, const uint64_t *args)
{
	struct ipc_table *table = msg_table(t->kernel);
	int flags = (int)args[4], err;
	struct msg *m;
	size_t len;

	if ((int)args[0] < 0 || (int64_t)args[2] < 0)
		return -EINVAL;
	if ((flags & MSG_COPY) &&
	    ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	pthread_mutex_lock(&table->lock);
	m = receive_locked(t, args, &err);
	pthread_mutex_unlock(&table->lock);
	if (!m)
		return err;
	len = MIN(m->len, args[2]);
	if (put_user_u64(t, args[1], (uint64_t)m->type) ||
	    copy_to_user(t, args[1] + sizeof(m->type), m->text, len))
		err = -EFAULT;
	free(m);
	return err ? err : (long)len;
}

static int msg_stat(struct task *t, int id, int cmd, uint64_t addr)
{
	struct ipc_table *table = msg_table(t->kernel);
	struct msqid_ds ds = { 0 };
	struct ipc_object *o;
	struct msg_queue *q;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_stat_object(t, table, id, cmd != IPC_STAT,
			    cmd == MSG_STAT_ANY, &err);
	if (o) {
		q = queue_of(o);
		ipc_fill_perm(&ds.msg_perm, o);
		ds.msg_stime = q->stime;
		ds.msg_rtime = q->rtime;
		ds.msg_ctime = q->ctime;
		ds.__msg_cbytes = q->bytes;
		ds.msg_qnum = q->count;
		ds.msg_qbytes = q->max_bytes;
		ds.msg_lspid = q->sender;
		ds.msg_lrpid = q->receiver;
		id = o->id;
	}
	pthread_mutex_unlock(&table->lock);
	if (err || copy_to_user(t, addr, &ds, sizeof(ds)))
		return err ? err : -EFAULT;
	return cmd == IPC_STAT ? 0 : id;
}

static int set_queue(struct msg_queue *q, const struct msqid_ds *ds)
{
	/* More takes CAP_SYS_RESOURCE, which nobody has. */
	if (ds->msg_qbytes > MSG_QUEUE_BYTES)
		return -EPERM;
	ipc_set_perm(&q->obj, &ds->msg_perm);
	q->max_bytes = ds->msg_qbytes;
	q->ctime = time(NULL);
	wait_queue_wake_all(&q->readers);
	wait_queue_wake_all(&q->writers);
	return 0;
}

/* @ds: IPC_SET; NULL: IPC_RMID */
static int msg_change(struct task *t, int id, const struct msqid_ds *ds)
{
	struct ipc_table *table = msg_table(t->kernel);
	struct ipc_object *o;
	int err;

	pthread_mutex_lock(&table->lock);
	o = ipc_find(table, id);
	err = o ? ipc_owner(t, o) : -EINVAL;
	if (!err && ds)
		err = set_queue(queue_of(o), ds);
	else if (!err)
		queue_remove(table, queue_of(o));
	pthread_mutex_unlock(&table->lock);
	return err;
}

static void count_all(const struct ipc_table *table, struct msginfo *info)
{
	const struct msg_queue *q;
	unsigned int i;

	info->msgpool = (int)table->used;
	for (i = 0; i < table->size; i++) {
		if (!table->slots[i])
			continue;
		q = queue_of(table->slots[i]);
		info->msgmap += (int)q->count;
		info->msgtql += (int)q->bytes;
	}
}

static long msg_info(struct task *t, int cmd, uint64_t addr)
{
	struct ipc_table *table = msg_table(t->kernel);
	struct msginfo info = {
		.msgmax = MSG_SIZE_MAX,
		.msgmnb = MSG_QUEUE_BYTES,
		.msgmni = MSG_ID_MAX,
		.msgssz = 16,
		.msgseg = 0xffff,
	};
	long max;

	pthread_mutex_lock(&table->lock);
	if (cmd == MSG_INFO) {
		count_all(table, &info);
	} else {
		info.msgpool = MSG_ID_MAX * MSG_QUEUE_BYTES / 1024;
		info.msgmap = info.msgtql = MSG_QUEUE_BYTES;
	}
	max = ipc_max_index(table);
	pthread_mutex_unlock(&table->lock);
	return copy_to_user(t, addr, &info, sizeof(info)) ? -EFAULT : max;
}

long sys_msgctl(struct task *t, const uint64_t *args)
{
	int id = (int)args[0], cmd = (int)args[1];
	struct msqid_ds ds;

	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case MSG_INFO:
		return msg_info(t, cmd, args[2]);
	case IPC_STAT:
	case MSG_STAT:
	case MSG_STAT_ANY:
		return msg_stat(t, id, cmd, args[2]);
	case IPC_SET:
		if (copy_from_user(t, &ds, args[2], sizeof(ds)))
			return -EFAULT;
		return msg_change(t, id, &ds);
	case IPC_RMID:
		return msg_change(t, id, NULL);
	default:
		return -EINVAL;
	}
}

void msg_destroy_all(struct kernel *k)
{
	struct ipc_table *table = msg_table(k);
	unsigned int i;

	for (i = 0; i < table->size; i++)
		if (table->slots[i])
			queue_remove(table, queue_of(table->slots[i]));
}

static void msg_line(struct text *x, const struct ipc_object *o)
{
	const struct msg_queue *q = container_of(o, const struct msg_queue, obj);

	text_printf(x, "%10d %10d  %4o  %10lu %10lu %5d %5d %5u %5u %5u %5u "
		    "%10ld %10ld %10ld\n", o->key, o->id, o->mode, q->bytes,
		    q->count, q->sender, q->receiver, o->uid, o->gid, o->cuid,
		    o->cgid, q->stime, q->rtime, q->ctime);
}

void ipc_text_msg(struct task *t, struct text *x)
{
	text_printf(x, "       key      msqid perms      cbytes       qnum "
		    "lspid lrpid   uid   gid  cuid  cgid      stime"
		    "      rtime      ctime\n");
	ipc_text(msg_table(t->kernel), x, msg_line);
}
