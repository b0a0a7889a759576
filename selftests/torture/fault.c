// SPDX-License-Identifier: MIT
/*
 * fault - every command of the module, with each of its allocations failing
 *
 *	fault [PATTERN]
 *
 * A case is a command in a box of its own. It is done with the first allocation failing
 * (fail-nth), in a new box with the second, and so on until there is none left to
 * fail. A command that fails says ENOMEM and nothing else, has changed nothing, and
 * succeeds when it is repeated; and the box is as good as any afterwards. The tasks of
 * stubs have their allocations fail, too: then it is the context that may die.
 *
 * PATTERN, as of file names, chooses cases. TAP on stdout; nothing may be left.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandtrap_util.h"

#define MAX_NTH 400
#define SOON 20000

/* struct fault_case.flags */
#define DIRECT (1u << 0) /* the box's context runs on this thread */
#define IN_SERVER (1u << 1) /* allocations of the stub's first thread fail, */
#define IN_THREAD (1u << 2) /* or of the one that runs the context */

struct scene {
	struct box b;
	struct box_context other;
	int as, stub_fd, instance;
	pid_t pid;
	char *buf;
	void *ring;
	uint64_t token;
};

struct fault_case {
	const char *name;
	uint32_t flags;
	int (*prepare)(struct scene *s); /* with nothing failing: 0 or -errno */
	int (*call)(struct scene *s); /* the same */
};

/* ---- failing allocations ---- */

/* The file of a task which counts the allocations until the one that fails. */
static int open_nth(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fail-nth", tid, tid);
	if (tid != gettid() && access(path, W_OK))
		snprintf(path, sizeof(path), "/proc/%d/fail-nth", tid);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void set_nth(int fd, unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(fd, text, strlen(text), 0) < 0 && errno != ESRCH)
		exit(20);
}

/* Has it failed? Of a task that is gone nobody knows: it may have. */
static bool has_failed(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) <= 0 || !atoi(text);
}

/* ---- scenes ---- */

static pid_t the_stub(struct box *b)
{
	pid_t pid[2];

	return box_stubs(b, pid, 2) == 1 ? pid[0] : -1;
}

/* The thread of the stub that runs a context: the one that is not the first. */
static pid_t the_thread(struct box *b)
{
	pid_t stub = the_stub(b), tid = -1;
	char path[64];
	int i;

	for (i = stub + 1; i < stub + 64 && tid < 0; i++) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d", stub, i);
		if (!access(path, F_OK))
			tid = i;
	}
	return tid;
}

static int open_scene(struct scene *s, bool direct)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->as = s->stub_fd = s->instance = -1;
	setenv("SANDTRAP_MODE", direct ? "direct" : "ring", 1);
	err = box_open(&s->b);
	if (err)
		return err;
	s->buf = mmap(NULL, 8 * BOX_PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	BOX_LOAD(&s->b, box_syscall);
	err = box_run(&s->b, &s->b.ctx);
	return err == SANDTRAP_EVENT_SYSCALL ? 0 : err < 0 ? err : -EPROTO;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_scene(struct scene *s)
{
	/* With nothing failing: an unmapping may want memory. */
	if (s->ring && s->ring != MAP_FAILED)
		munmap(s->ring, BOX_PAGE);
	if (s->other.page && s->other.page != MAP_FAILED)
		munmap(s->other.page, s->b.info.out_context_size);
	munmap(s->buf, 8 * BOX_PAGE);
	close_fd(s->as);
	close_fd(s->stub_fd);
	close_fd(s->instance);
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	box_close(&s->b);
}

static int event_or_error(int event, int want)
{
	return event == want ? 0 : event < 0 ? event : -EPROTO;
}

/* The space runs programs, in the context that was there and in a new one. */
static int is_sound(struct scene *s, const struct fault_case *c)
{
	struct box_context ctx = { 0 };
	int err;

	err = event_or_error(box_run(&s->b, &s->b.ctx), SANDTRAP_EVENT_SYSCALL);
	if (err)
		return err;
	err = box_new_context(&s->b, s->b.as, c->flags & DIRECT ? SANDTRAP_CONTEXT_DIRECT : 0,
			      &ctx);
	if (err)
		return err;
	box_load(&s->b, &ctx, box_syscall, box_syscall_end - box_syscall);
	err = event_or_error(box_run(&s->b, &ctx), SANDTRAP_EVENT_SYSCALL);
	munmap(ctx.page, s->b.info.out_context_size);
	if (!err)
		err = box_command(&s->b, SANDTRAP_RELEASE_CONTEXT, ctx.id, 0, 0);
	return err;
}

/* ---- the commands ---- */

static int do_open(struct scene *s)
{
	s->instance = open(SANDTRAP_DEVICE, O_RDWR | O_CLOEXEC);
	return s->instance < 0 ? -errno : 0;
}

static int do_get_info(struct scene *s)
{
	struct sandtrap_info arg = { .size = sizeof(arg) };

	return ioctl(s->b.fd, SANDTRAP_GET_INFO, &arg) ? -errno : 0;
}

static int do_new_space(struct scene *s)
{
	struct sandtrap_new_address_space arg = { .size = sizeof(arg) };

	if (ioctl(s->b.fd, SANDTRAP_NEW_ADDRESS_SPACE, &arg))
		return -errno;
	s->as = arg.out_fd;
	s->stub_fd = arg.out_stub_fd;
	return 0;
}

static int new_context(struct scene *s, int as, uint32_t flags)
{
	struct sandtrap_new_context arg = {
		.size = sizeof(arg), .flags = flags, .address_space = as,
	};

	if (ioctl(s->b.fd, SANDTRAP_NEW_CONTEXT, &arg))
		return -errno;
	s->other.id = arg.out_id;
	s->other.offset = arg.out_mmap_offset;
	return 0;
}

static int do_new_context(struct scene *s)
{
	return new_context(s, s->b.as, 0);
}

static int do_new_direct_context(struct scene *s)
{
	return new_context(s, s->b.as, SANDTRAP_CONTEXT_DIRECT);
}

static int have_unbound(struct scene *s)
{
	return new_context(s, -1, 0);
}

static int do_bind(struct scene *s)
{
	struct sandtrap_bind_context arg = {
		.size = sizeof(arg), .id = s->other.id, .address_space = s->b.as,
	};

	return ioctl(s->b.fd, SANDTRAP_BIND_CONTEXT, &arg) ? -errno : 0;
}

static int do_release(struct scene *s)
{
	return box_command(&s->b, SANDTRAP_RELEASE_CONTEXT, s->other.id, 0, 0);
}

static int do_map_context(struct scene *s)
{
	s->other.page = mmap(NULL, s->b.info.out_context_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED, s->b.fd, s->other.offset);
	return s->other.page == MAP_FAILED ? -errno : 0;
}

static int do_run(struct scene *s)
{
	return event_or_error(box_run(&s->b, &s->b.ctx), SANDTRAP_EVENT_SYSCALL);
}

static int do_run_all_state(struct scene *s)
{
	return event_or_error(box_run_flags(&s->b, &s->b.ctx, SANDTRAP_RESUME_ALL),
			      SANDTRAP_EVENT_SYSCALL);
}

static int do_lseek(struct scene *s)
{
	uint32_t seq = s->b.ctx.page->event_seq;

	s->b.ctx.page->resume_flags = 0;
	__atomic_store_n(&s->b.ctx.page->resume_seq, seq, __ATOMIC_RELEASE);
	if (lseek(s->b.fd, s->b.ctx.id, SEEK_SET) < 0)
		return -errno;
	return event_or_error(s->b.ctx.page->event, SANDTRAP_EVENT_SYSCALL);
}

static int fill_ops(struct scene *s, struct sandtrap_mem_op *ops)
{
	memset(ops, 0, 3 * sizeof(*ops));
	ops[0] = (struct sandtrap_mem_op){
		.op = SANDTRAP_MEM_MAP, .flags = SANDTRAP_MEM_POPULATE,
		.prot = PROT_READ | PROT_WRITE, .fd = s->b.mem, .addr = BOX_FREE,
		.len = 4 * BOX_PAGE, .offset = BOX_SPARE_PAGE * BOX_PAGE,
	};
	ops[1] = ops[0];
	ops[1].flags = 0;
	ops[1].addr += 1ull << 40; /* tables of its own */
	ops[2] = (struct sandtrap_mem_op){
		.op = SANDTRAP_MEM_UNMAP, .addr = BOX_FREE + BOX_PAGE, .len = BOX_PAGE,
	};
	return 3;
}

static int do_run_ops(struct scene *s)
{
	struct sandtrap_mem_op ops[3];
	struct sandtrap_run arg = {
		.size = sizeof(arg), .id = s->b.ctx.id, .seq = s->b.ctx.page->event_seq,
		.ops = (uintptr_t)ops, .nr_ops = fill_ops(s, ops),
	};

	s->b.ctx.page->resume_flags = 0;
	if (ioctl(s->b.fd, SANDTRAP_RUN, &arg)) {
		if (arg.out_op_error && (int)arg.out_op_error != errno)
			return -EPROTO;
		return arg.out_ops_done < 3 ? -errno : -EPROTO;
	}
	if (arg.out_ops_done != 3 || arg.out_op_error)
		return -EPROTO;
	return event_or_error(s->b.ctx.page->event, SANDTRAP_EVENT_SYSCALL);
}

static int do_mem(struct scene *s)
{
	struct sandtrap_mem_op ops[3];
	struct sandtrap_mem arg = {
		.size = sizeof(arg), .ops = (uintptr_t)ops, .nr_ops = fill_ops(s, ops),
	};

	if (ioctl(s->b.as, SANDTRAP_MEM, &arg))
		return arg.out_ops_done < 3 ? -errno : -EPROTO;
	return arg.out_ops_done == 3 ? 0 : -EPROTO;
}

static int do_resume_and_wait(struct scene *s)
{
	uint32_t seq = s->b.ctx.page->event_seq;
	int err = box_command(&s->b, SANDTRAP_RESUME, s->b.ctx.id, 0, seq);

	return err ?: box_wait(&s->b, &s->b.ctx, seq, SOON);
}

static int do_interrupt(struct scene *s)
{
	int err = box_command(&s->b, SANDTRAP_INTERRUPT, s->b.ctx.id, 0, 0);

	return err ?: event_or_error(box_run(&s->b, &s->b.ctx), SANDTRAP_EVENT_INTERRUPT);
}

static int do_pull(struct scene *s)
{
	return box_command(&s->b, SANDTRAP_PULL, s->b.ctx.id, SANDTRAP_STATE_ALL, 0);
}

static int do_ring_setup(struct scene *s)
{
	struct sandtrap_ring_setup arg = { .size = sizeof(arg), .entries = 1024 };

	return ioctl(s->b.fd, SANDTRAP_RING_SETUP, &arg) ? -errno : 0;
}

static int do_map_ring(struct scene *s)
{
	s->ring = mmap(NULL, BOX_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->b.fd, 1 << 20);
	return s->ring == MAP_FAILED ? -errno : 0;
}

/* Pages that the space has mapped and nobody has touched yet. */
static int have_untouched(struct scene *s)
{
	return box_map(&s->b, s->b.as, BOX_FREE, BOX_SPARE_PAGE, 8, PROT_READ | PROT_WRITE);
}

BOX_PROGRAM(prog_touch, "movq %rax, 0x40000000\n movq %rax, 0x40004000\n"
			"1: syscall\n jmp 1b");

/* It is the program that has them made. */
static int have_untouched_and_touch(struct scene *s)
{
	BOX_LOAD(&s->b, prog_touch);
	return have_untouched(s);
}

static int copy(struct scene *s, uint32_t op)
{
	struct sandtrap_copy arg = {
		.size = sizeof(arg), .op = op, .addr = BOX_FREE + 100, .len = 5 * BOX_PAGE,
		.buf = op == SANDTRAP_COPY_ZERO ? 0 : (uintptr_t)s->buf,
	};

	if (ioctl(s->b.as, SANDTRAP_COPY, &arg))
		return -errno;
	return arg.out_done == arg.len ? 0 : -EPROTO;
}

static int do_copy_in(struct scene *s)
{
	return copy(s, SANDTRAP_COPY_IN);
}

static int do_copy_out(struct scene *s)
{
	return copy(s, SANDTRAP_COPY_OUT);
}

static int do_copy_zero(struct scene *s)
{
	return copy(s, SANDTRAP_COPY_ZERO);
}

static int do_atomic(struct scene *s)
{
	struct sandtrap_atomic arg = {
		.size = sizeof(arg), .op = SANDTRAP_ATOMIC_SWAP, .addr = BOX_FREE, .value = 1,
	};

	return ioctl(s->b.as, SANDTRAP_ATOMIC, &arg) ? -errno : 0;
}

/* The server makes a thread for it, if it can. */
static int do_start_context(struct scene *s)
{
	struct box_context ctx = { 0 };
	int err = box_new_context(&s->b, s->b.as, 0, &ctx);

	if (err)
		return err;
	box_load(&s->b, &ctx, box_syscall, box_syscall_end - box_syscall);
	err = box_run(&s->b, &ctx);
	/* If it died before we came, it is too late for an event. */
	if (ctx.page->event == SANDTRAP_EVENT_DEAD)
		err = SANDTRAP_EVENT_SYSCALL;
	munmap(ctx.page, s->b.info.out_context_size);
	return event_or_error(err, SANDTRAP_EVENT_SYSCALL);
}

/* ---- a stub that counts the allocations of its own calls ---- */

/* What the stub says, in memory that it shares with us. */
struct stub_says {
	unsigned int nth; /* the call of SERVE, and of ATTACH, with this */
	_Atomic int served;
	_Atomic int attached;
	_Atomic bool failed, done;
};

static struct stub_says *says;

static void add_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		_exit(10);
}

static long failing_ioctl(int fd, unsigned int cmd, long arg)
{
	int nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	long ret;

	set_nth(nth, says->nth);
	ret = ioctl(fd, cmd, arg);
	/* One that has attached makes one call more. */
	if (cmd == SANDTRAP_ATTACH && !ret)
		return 0;
	if (ret < 0)
		ret = -errno;
	says->failed |= has_failed(nth);
	set_nth(nth, 0);
	close(nth);
	return ret;
}

static int stub_thread(void *data)
{
	const struct scene *s = data;

	says->attached = failing_ioctl(s->stub_fd, SANDTRAP_ATTACH, s->token);
	says->done = true;
	_exit(0);
}

static void stub_process(struct scene *s)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	long token;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(11);
	add_filter();
	syscall(SYS_set_tid_address, NULL);
	syscall(SYS_set_robust_list, NULL, 3 * sizeof(void *));
	token = failing_ioctl(s->stub_fd, SANDTRAP_SERVE, 0);
	says->served = token;
	if (token <= 0)
		_exit(12);
	s->token = token;
	if (clone(stub_thread, stack + sizeof(stack),
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		  CLONE_SYSVSEM, s) < 0)
		_exit(13);
	for (;;)
		pause();
}

/* Until it has said all, or is dead. */
static void listen_to(struct scene *s)
{
	uint64_t end = box_now_ns() + SOON * 1000000ull;

	while (!says->done && box_now_ns() < end && !box_gone(s->pid, 1))
		usleep(1000);
}

/* SERVE and ATTACH with allocation @nth failing: the context dies, or its stub. */
static int own_stub(struct scene *s, unsigned int nth, bool *failed)
{
	struct box_context ctx = { 0 };
	int err;

	memset(says, 0, sizeof(*says));
	says->nth = nth;
	says->served = says->attached = -EPROTO;
	err = do_new_space(s);
	if (err)
		return err;
	s->pid = fork();
	if (!s->pid)
		stub_process(s);
	close_fd(s->stub_fd);
	s->stub_fd = -1;
	err = box_new_context(&s->b, s->as, 0, &ctx);
	if (err)
		return err;
	err = box_wait(&s->b, &ctx, 1, SOON);
	if (!err)
		err = event_or_error(ctx.page->event, SANDTRAP_EVENT_DEAD);
	munmap(ctx.page, s->b.info.out_context_size);
	listen_to(s);
	*failed = says->failed;
	if (says->served < 0)
		return says->served == -ENOMEM && *failed ? err : says->served;
	return says->attached && !(says->attached == -ENOMEM && *failed) ? says->attached : err;
}

/* ---- cases ---- */

static const struct fault_case cases[] = {
	{ "open", 0, NULL, do_open },
	{ "get_info", 0, NULL, do_get_info },
	{ "new_address_space", 0, NULL, do_new_space },
	{ "new_context", 0, NULL, do_new_context },
	{ "new_direct_context", DIRECT, NULL, do_new_direct_context },
	{ "bind_context", 0, have_unbound, do_bind },
	{ "release_context", 0, have_unbound, do_release },
	{ "mmap_of_a_context", 0, have_unbound, do_map_context },
	{ "run", 0, NULL, do_run },
	{ "run_direct", DIRECT, NULL, do_run },
	{ "run_with_all_state", 0, NULL, do_run_all_state },
	{ "run_direct_with_all_state", DIRECT, NULL, do_run_all_state },
	{ "run_with_operations", 0, NULL, do_run_ops },
	{ "run_with_operations_in_the_thread", IN_THREAD, NULL, do_run_ops },
	{ "run_direct_with_operations", DIRECT, NULL, do_run_ops },
	{ "run_that_faults_in_the_thread", IN_THREAD, have_untouched_and_touch, do_run },
	{ "run_direct_that_faults", DIRECT, have_untouched_and_touch, do_run },
	{ "lseek", 0, NULL, do_lseek },
	{ "lseek_direct", DIRECT, NULL, do_lseek },
	{ "resume_and_wait", 0, NULL, do_resume_and_wait },
	{ "interrupt", 0, NULL, do_interrupt },
	{ "interrupt_direct", DIRECT, NULL, do_interrupt },
	{ "pull", 0, NULL, do_pull },
	{ "pull_in_the_thread", IN_THREAD, NULL, do_pull },
	{ "pull_direct", DIRECT, NULL, do_pull },
	{ "ring_setup", 0, NULL, do_ring_setup },
	{ "mmap_of_a_ring", 0, do_ring_setup, do_map_ring },
	{ "mem", 0, NULL, do_mem },
	{ "mem_in_the_server", IN_SERVER, NULL, do_mem },
	{ "copy_in", 0, have_untouched, do_copy_in },
	{ "copy_out", 0, have_untouched, do_copy_out },
	{ "copy_zero", 0, have_untouched, do_copy_zero },
	{ "atomic", 0, have_untouched, do_atomic },
	{ "new_thread_of_the_server", IN_SERVER, NULL, do_start_context },
};

struct tally {
	unsigned int failed; /* allocations */
	unsigned int refused; /* commands, on account of that */
};

/* The rest of a round, once the command has returned @err. */
static int judge(struct scene *s, const struct fault_case *c, int err, bool failed,
		 struct tally *tally)
{
	tally->failed += failed;
	if (err == -ENOMEM && failed) {
		tally->refused++;
		err = c->call(s);
		if (err)
			printf("# repeated with all the memory it wants: %s\n", strerror(-err));
	} else if (err) {
		printf("# %s%s\n", strerror(-err), failed ? "" : ", with nothing failing");
	}
	if (!err) {
		err = is_sound(s, c);
		if (err)
			printf("# the box afterwards: %s\n", strerror(-err));
	}
	return err;
}

/* 1: allocation @nth failed, and that went well; 0: there is none; else -errno. */
static int one_round(const struct fault_case *c, unsigned int nth, struct tally *tally)
{
	struct scene s;
	bool failed;
	int fd, err;

	err = open_scene(&s, c->flags & DIRECT);
	if (!err && c->prepare)
		err = c->prepare(&s);
	if (err) {
		printf("# cannot prepare it: %s\n", strerror(-err));
		return err;
	}
	fd = open_nth(c->flags & IN_SERVER ? the_stub(&s.b) :
		      c->flags & IN_THREAD ? the_thread(&s.b) : gettid());
	if (fd < 0)
		return -errno;
	set_nth(fd, nth);
	err = c->call(&s);
	failed = has_failed(fd);
	set_nth(fd, 0);
	close(fd);
	err = judge(&s, c, err, failed, tally);
	if (err)
		printf("# allocation %u\n", nth);
	close_scene(&s);
	return err ?: failed;
}

static int one_round_of_stub(unsigned int nth, struct tally *tally)
{
	struct scene s;
	bool failed = false;
	int err = open_scene(&s, false);

	if (err)
		return err;
	err = own_stub(&s, nth, &failed);
	tally->failed += failed;
	tally->refused += says->attached == -ENOMEM || says->served == -ENOMEM;
	if (err)
		printf("# allocation %u: %s\n", nth, strerror(-err));
	close_scene(&s);
	return err ?: failed;
}

static unsigned int tests, failures;

static void result(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %u fault.%s\n", good ? "" : "not ", tests, name);
	fflush(stdout);
}

static void run_case(const struct fault_case *c, struct tally *all)
{
	struct tally tally = { 0 };
	unsigned int nth = 0;
	int ret;

	do
		ret = c ? one_round(c, ++nth, &tally) : one_round_of_stub(++nth, &tally);
	while (ret == 1 && nth < MAX_NTH);
	printf("# %u allocations failed, %u commands for that\n", tally.failed, tally.refused);
	all->failed += tally.failed;
	all->refused += tally.refused;
	result(!ret, c ? c->name : "serve_and_attach");
}

/* Orphans come to us, and take their references with them. */
static bool nothing_is_left(void)
{
	uint64_t end = box_now_ns() + SOON * 1000000ull;

	while (box_now_ns() < end) {
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD && box_module_refs() <= 0)
			return true;
		usleep(10000);
	}
	printf("# %d references to the module, %s child\n", box_module_refs(),
	       waitpid(-1, NULL, WNOHANG) < 0 ? "no" : "a living");
	return false;
}

int main(int argc, char **argv)
{
	const char *pattern = argc > 1 ? argv[1] : "*";
	bool has_direct;
	struct tally all = { 0 };
	struct box b;
	size_t i;

	printf("TAP version 13\n");
	if (box_why_skip() || access("/proc/self/fail-nth", W_OK)) {
		printf("1..0 # SKIP %s\n", box_why_skip() ?:
		       "the kernel lacks CONFIG_FAILSLAB: run it on a debug kernel");
		return 4;
	}
	says = mmap(NULL, sizeof(*says), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (says == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1) || box_open_instance(&b))
		return 1;
	has_direct = b.info.out_features & SANDTRAP_FEATURE_DIRECT_MODE;
	close(b.fd);
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (!fnmatch(pattern, cases[i].name, 0) &&
		    (has_direct || !(cases[i].flags & DIRECT)))
			run_case(&cases[i], &all);
	if (!fnmatch(pattern, "serve_and_attach", 0))
		run_case(NULL, &all);
	printf("# %u allocations failed, %u commands for that\n", all.failed, all.refused);
	/* Where nothing fails nothing is tested. */
	result(all.failed, "allocations_fail");
	result(nothing_is_left(), "nothing_is_left");
	printf("1..%u\n", tests);
	return failures != 0;
}
