// SPDX-License-Identifier: MIT
/*
 * systrap_process.c - birth and death of stub processes
 *
 * The reaper is the host thread whose child the template is, and, by CLONE_PARENT,
 * every stub process. It must live as long as they do, for the kernel kills them
 * when it ends, and has nothing else to do than to wait for their deaths.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stub_setup.h"
#include "sysmsg_symbols.h"
#include "systrap.h"

extern const unsigned char sysmsg_image[], sysmsg_image_end[];

/* Operations, then the shared part of each area. Sparse. */
#define MEMORY_SIZE \
	(SYSMSG_OPS_SIZE + (uint64_t)SYSMSG_THREADS_MAX * SYSMSG_SHARED_SIZE)

/* What an acknowledgement says when the server is dead: no errno is as large. */
#define ACK_DEAD 4096

/* ---- the stub's file ---- */

static int fill_data(const struct systrap_platform *p, struct sysmsg_data *data)
{
	struct sock_fprog prog;
	size_t i;
	int err;

	for (i = 0; i < sizeof(data->acks) / sizeof(data->acks[0]); i++)
		data->acks[i] = i + 1;
	err = systrap_thread_filter(p, &prog);
	if (err)
		return err;
	if (prog.len > SYSMSG_FILTER_MAX) {
		free(prog.filter);
		return -E2BIG;
	}
	memcpy(data->insns, prog.filter, prog.len * sizeof(*prog.filter));
	free(prog.filter);
	data->filter.len = prog.len;
	data->filter.filter = (struct sock_filter *)(p->stub + SYSMSG_DATA +
						     offsetof(struct sysmsg_data, insns));
	data->dispatch = p->dispatch;
	return 0;
}

static int write_image(int fd, const struct systrap_platform *p)
{
	const size_t text_size = sysmsg_image_end - sysmsg_image;
	struct sysmsg_data data = { 0 };
	int err;

	err = fill_data(p, &data);
	if (err)
		return err;
	if (ftruncate(fd, SYSMSG_TEXT_SIZE + SYSMSG_DATA_SIZE))
		return -errno;
	if (pwrite(fd, sysmsg_image, text_size, 0) != (ssize_t)text_size ||
	    pwrite(fd, &data, sizeof(data), SYSMSG_TEXT_SIZE) != (ssize_t)sizeof(data))
		return -EIO;
	return fcntl(fd, F_ADD_SEALS,
		     F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ? -errno : 0;
}

/* Sealed: nobody, whatever descriptors he has, can change the stub. */
static int make_image(struct systrap_platform *p)
{
	int err;

	p->image_fd = memfd_create("sandtrap-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (p->image_fd < 0)
		return -errno;
	err = write_image(p->image_fd, p);
	if (err)
		close(p->image_fd);
	return err;
}

/* ---- objects ---- */

static int open_memory(struct systrap_space *s)
{
	void *memory;

	s->memory_fd = memfd_create("sandtrap-sysmsg", MFD_CLOEXEC);
	if (s->memory_fd < 0)
		return -errno;
	if (ftruncate(s->memory_fd, MEMORY_SIZE))
		return -errno;
	memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		      s->memory_fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	s->ops = memory;
	s->ack_fd = eventfd(0, EFD_CLOEXEC);
	return s->ack_fd < 0 ? -errno : 0;
}

static void free_space(struct systrap_space *s)
{
	struct systrap_thread *t;

	while ((t = LIST_FIRST(&s->threads))) {
		LIST_REMOVE(t, link);
		free(t);
	}
	if (s->ops)
		munmap(s->ops, MEMORY_SIZE);
	if (s->memory_fd >= 0)
		close(s->memory_fd);
	if (s->ack_fd >= 0)
		close(s->ack_fd);
	pthread_cond_destroy(&s->thread_free);
	pthread_mutex_destroy(&s->ops_lock);
	free(s);
}

void systrap_space_put(struct systrap_space *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		free_space(s);
}

static int alloc_space(struct systrap_platform *p, struct systrap_space **out)
{
	struct systrap_space *s;
	pthread_condattr_t attr;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->base.platform = &p->base;
	s->refs = 1;
	s->server_cpu = SYSTRAP_ANY_CPU;
	s->memory_fd = s->ack_fd = -1;
	LIST_INIT(&s->threads);
	TAILQ_INIT(&s->queue);
	pthread_mutex_init(&s->ops_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->thread_free, &attr);
	pthread_condattr_destroy(&attr);
	err = open_memory(s);
	if (err) {
		free_space(s);
		return err;
	}
	s->ops->ack_fd = s->ack_fd;
	s->ops->parent = getpid();
	*out = s;
	return 0;
}

/*
 * The process is there: from now on the reaper looks after it. It may have buried
 * it already.
 */
static int publish(struct systrap_platform *p, struct systrap_space *s, pid_t pid)
{
	int err = -ECHILD;

	pthread_mutex_lock(&p->lock);
	if (p->early_death != pid) {
		s->pid = pid;
		atomic_fetch_add(&s->refs, 1);
		LIST_INSERT_HEAD(&p->spaces, s, link);
		err = 0;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

void systrap_space_kill(struct systrap_space *s)
{
	struct systrap_platform *p = to_systrap(s->base.platform);

	pthread_mutex_lock(&p->lock);
	if (s->pid)
		kill(s->pid, SIGKILL);
	pthread_mutex_unlock(&p->lock);
}

/* ---- the reaper ---- */

static struct systrap_space *find_space(struct systrap_platform *p, pid_t pid)
{
	struct systrap_space *s;

	LIST_FOREACH(s, &p->spaces, link) {
		if (s->pid == pid)
			break;
	}
	return s;
}

/* Before it is reaped, so that nobody signals another process of the same id. */
static void bury(struct systrap_platform *p, pid_t pid)
{
	const uint64_t dead = ACK_DEAD;
	struct systrap_space *s;

	pthread_mutex_lock(&p->lock);
	s = find_space(p, pid);
	if (!s) {
		p->early_death = pid;
	} else {
		LIST_REMOVE(s, link);
		s->pid = 0;
		atomic_store(&s->dead, true);
		systrap_wake_all(s);
		while (write(s->ack_fd, &dead, sizeof(dead)) < 0 && errno == EINTR)
			;
	}
	pthread_mutex_unlock(&p->lock);
	waitid(P_PID, pid, NULL, WEXITED | __WALL);
	if (s)
		systrap_space_put(s);
}

/* Stopped by somebody's SIGSTOP: that is not how to stop a sandbox. */
static void go_on(pid_t pid)
{
	siginfo_t info;

	waitid(P_PID, pid, &info, WSTOPPED | WNOHANG | __WALL);
	kill(pid, SIGCONT);
}

static void reap_all(struct systrap_platform *p)
{
	siginfo_t info;

	for (;;) {
		memset(&info, 0, sizeof(info));
		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD)) {
			if (errno == EINTR)
				continue;
			return;
		}
		if (info.si_code == CLD_STOPPED)
			go_on(info.si_pid);
		else
			bury(p, info.si_pid);
	}
}

struct reaper_start {
	struct systrap_platform *p;
	const struct systrap_template_setup *setup;
	pthread_mutex_t lock;
	pthread_cond_t done;
	pid_t pid; /* of the template, or -errno; 0: not yet */
};

/*
 * Exit signal 0: a death is nobody's SIGCHLD, and no wait() of the embedder sees
 * it. CLONE_UNTRACED: a debugger of the sentry must not take it from us.
 */
static pid_t fork_template(const struct systrap_template_setup *setup)
{
	pid_t pid = syscall(__NR_clone, CLONE_FILES | CLONE_UNTRACED, 0, 0, 0, 0);

	if (!pid)
		systrap_template_main(setup);
	return pid < 0 ? -errno : pid;
}

static void *reaper_main(void *arg)
{
	struct reaper_start *start = arg;
	struct systrap_platform *p = start->p;
	pid_t pid;

	prctl(PR_SET_NAME, "systrap-reaper");
	pid = fork_template(start->setup);
	if (pid > 0)
		publish(p, p->template, pid);
	pthread_mutex_lock(&start->lock);
	start->pid = pid;
	pthread_cond_signal(&start->done);
	pthread_mutex_unlock(&start->lock);
	/* Returns when there are no children left: the template is the last one. */
	reap_all(p);
	return NULL;
}

/* The sentry's signals are for its other threads. */
static int start_reaper(struct systrap_platform *p, const struct systrap_template_setup *setup)
{
	struct reaper_start start = {
		.p = p,
		.setup = setup,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.done = PTHREAD_COND_INITIALIZER,
	};
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&p->reaper, NULL, reaper_main, &start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_mutex_lock(&start.lock);
	while (!start.pid)
		pthread_cond_wait(&start.done, &start.lock);
	pthread_mutex_unlock(&start.lock);
	if (start.pid > 0)
		return 0;
	pthread_join(p->reaper, NULL);
	return start.pid;
}

/* ---- the template ---- */

static void add_hole(struct systrap_space *s, unsigned int *nr, uint64_t start, uint64_t end)
{
	if (start < end)
		s->ops->ops[(*nr)++] = (struct sysmsg_op){ __NR_munmap, { start, end - start } };
}

/* Everything but the stub and the vDSO. */
static int empty_template(struct systrap_platform *p)
{
	const struct platform_vdso *vdso = &p->base.vdso;
	const uint64_t start = p->stub, end = p->stub + SYSMSG_OPS + SYSMSG_OPS_SIZE;
	struct systrap_space *s = p->template;
	unsigned int nr = 0;

	if (!vdso->end || vdso->start >= end) {
		add_hole(s, &nr, 0, start);
		add_hole(s, &nr, end, vdso->end ? vdso->start : SYSTRAP_TASK_SIZE);
		if (vdso->end)
			add_hole(s, &nr, vdso->end, SYSTRAP_TASK_SIZE);
	} else {
		add_hole(s, &nr, 0, vdso->start);
		add_hole(s, &nr, vdso->end, start);
		add_hole(s, &nr, end, SYSTRAP_TASK_SIZE);
	}
	return systrap_run_ops(s, nr);
}

static int make_template(struct systrap_platform *p)
{
	struct systrap_template_setup setup = {
		.parent = getpid(),
		.stub = p->stub,
		.handler = p->stub + SYSMSG_TEXT + SYSMSG_HANDLER_OFFSET,
		.restorer = p->stub + SYSMSG_TEXT + SYSMSG_RESTORE_OFFSET,
		.image_fd = p->image_fd,
		.memory_fd = p->template->memory_fd,
	};
	uint64_t features;
	int err;

	err = systrap_server_filter(&setup.filter);
	if (err)
		return err;
	err = start_reaper(p, &setup);
	if (!err) {
		err = empty_template(p);
		if (err)
			systrap_stop(p);
	}
	free(setup.filter.filter);
	if (err)
		return err;
	features = p->template->ops->stack[0];
	p->base.cpuid_events = features & STUB_CPUID_FAULTS;
	if (p->base.cpuid_events)
		p->options |= SYSMSG_OPTION_CPUID;
	p->base.have_global_memory_barrier = features & STUB_BARRIER;
	return 0;
}

int systrap_start(struct systrap_platform *p)
{
	int err;

	err = make_image(p);
	if (err)
		return err;
	err = alloc_space(p, &p->template);
	if (!err) {
		err = make_template(p);
		if (err)
			systrap_space_put(p->template);
	}
	if (err)
		close(p->image_fd);
	return err;
}

static void kill_all(struct systrap_platform *p)
{
	struct systrap_space *s;

	pthread_mutex_lock(&p->lock);
	LIST_FOREACH(s, &p->spaces, link)
		kill(s->pid, SIGKILL);
	pthread_mutex_unlock(&p->lock);
}

void systrap_stop(struct systrap_platform *p)
{
	kill_all(p);
	pthread_join(p->reaper, NULL);
}

/* ---- stub processes ---- */

static int wait_born(struct systrap_space *s)
{
	uint64_t ack = 0;

	while (read(s->ack_fd, &ack, sizeof(ack)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return ack == 1 ? 0 : -ECHILD;
}

/* The child reads the template's page until it reports from its own. */
static int clone_template(struct systrap_platform *p, struct systrap_space *s)
{
	struct systrap_space *t = p->template;
	const uint64_t pid_addr = p->stub + SYSMSG_OPS + offsetof(struct sysmsg_ops, pid);
	int err;

	pthread_mutex_lock(&p->template_lock);
	p->early_death = 0;
	t->ops->memory_fd = s->memory_fd;
	t->ops->ops[0] = (struct sysmsg_op){
		__NR_clone, { SYSTRAP_PROCESS_CLONE_FLAGS, 0, pid_addr },
	};
	err = systrap_run_ops(t, 1);
	if (!err) {
		err = publish(p, s, t->ops->pid);
		if (!err)
			err = wait_born(s);
		if (err)
			systrap_space_kill(s);
	}
	pthread_mutex_unlock(&p->template_lock);
	return err;
}

int systrap_space_create(struct systrap_platform *p, struct systrap_space **out)
{
	struct systrap_space *s;
	int err;

	err = alloc_space(p, &s);
	if (err)
		return err;
	err = clone_template(p, s);
	if (err) {
		systrap_space_put(s);
		return err;
	}
	*out = s;
	return 0;
}
