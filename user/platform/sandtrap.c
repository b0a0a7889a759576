// SPDX-License-Identifier: MIT
/*
 * sandtrap.c - the sandtrap platform: programs run under the kernel module
 *
 * Exact faults, no signals, no ptrace rights, and stub processes to which the
 * kernel allows no system call at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandtrap.h"

/*
 * Longer than any answer of a sentry that is at work takes, shorter than what a
 * wake-up on another CPU costs on a virtual machine.
 */
#define DEFAULT_SPIN_NS 20000

static int open_device(const char *path)
{
	struct sandtrap_info info = { .size = sizeof(info) };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, SANDTRAP_GET_INFO, &info) &&
	    info.out_abi == SANDTRAP_ABI &&
	    info.out_features & SANDTRAP_FEATURE_RING_MODE)
		return fd;
	close(fd);
	return -EPROTO;
}

static uint32_t choose_spin(const struct sandtrap_platform *p, uint64_t spin_ns)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2)
		return 0;
	if (spin_ns == PLATFORM_SPIN_DEFAULT)
		spin_ns = DEFAULT_SPIN_NS;
	return spin_ns < p->info.out_max_spin_ns ? spin_ns :
						   p->info.out_max_spin_ns;
}

static int global_memory_barrier(struct platform *p)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) ?
		-errno : 0;
}

/* the sentry's own filter */

#define ARG_LOW32 0xffffffffull
#define RULE(sysno, arg, value) \
	{ sysno, 1, (const struct scmp_arg_cmp[]){ \
		{ arg, SCMP_CMP_MASKED_EQ, ARG_LOW32, value } } }
#define COMMAND_RULE(cmd) RULE(SYS_ioctl, 1, cmd)

static const struct platform_seccomp_rule rules[] = {
	COMMAND_RULE(SANDTRAP_NEW_ADDRESS_SPACE),
	COMMAND_RULE(SANDTRAP_NEW_CONTEXT),
	COMMAND_RULE(SANDTRAP_BIND_CONTEXT),
	COMMAND_RULE(SANDTRAP_RELEASE_CONTEXT),
	COMMAND_RULE(SANDTRAP_RUN),
	COMMAND_RULE(SANDTRAP_RESUME),
	COMMAND_RULE(SANDTRAP_WAIT),
	COMMAND_RULE(SANDTRAP_INTERRUPT),
	COMMAND_RULE(SANDTRAP_PULL),
	COMMAND_RULE(SANDTRAP_MEM),
	COMMAND_RULE(SANDTRAP_COPY),
	COMMAND_RULE(SANDTRAP_ATOMIC),
	RULE(SYS_fcntl, 1, F_DUPFD_CLOEXEC),
	RULE(SYS_membarrier, 0, MEMBARRIER_CMD_GLOBAL_EXPEDITED),
	RULE(SYS_rseq, 2, RSEQ_FLAG_UNREGISTER),
	/* For the hot path, so without conditions: the kernel remembers these. */
	{ SYS_lseek, 0, NULL },
	{ SYS_sendmsg, 0, NULL },
	{ SYS_mmap, 0, NULL },
	{ SYS_munmap, 0, NULL },
	{ SYS_close, 0, NULL },
	{ SYS_wait4, 0, NULL },
	{ SYS_clock_gettime, 0, NULL },
};

static size_t seccomp_info(struct platform *p,
			   const struct platform_seccomp_rule **out)
{
	*out = rules;
	return sizeof(rules) / sizeof(rules[0]);
}

static void release(struct platform *base)
{
	struct sandtrap_platform *p = to_sandtrap(base);

	close(p->fd);
	stub_template_stop(&p->stubs);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct platform_ops ops = {
	.release		= release,
	.new_address_space	= sandtrap_new_address_space,
	.new_context		= sandtrap_new_context,
	.global_memory_barrier	= global_memory_barrier,
	.seccomp_info		= seccomp_info,
	.stats			= sandtrap_stats,
	.switch_to		= sandtrap_switch,
	.pull_full_state	= sandtrap_pull_full_state,
	.full_state_changed	= sandtrap_full_state_changed,
	.interrupt		= sandtrap_interrupt,
	.preempt		= sandtrap_preempt,
	.prepare_sleep		= sandtrap_prepare_sleep,
	.context_release	= sandtrap_context_release,
	.map_file		= sandtrap_map_file,
	.unmap			= sandtrap_unmap,
	.flush			= sandtrap_flush,
	.address_space_release	= sandtrap_address_space_release,
	.copy_in		= sandtrap_copy_in,
	.copy_out		= sandtrap_copy_out,
	.zero_out		= sandtrap_zero_out,
	.swap_u32		= sandtrap_swap_u32,
	.cas_u32		= sandtrap_cas_u32,
	.load_u32		= sandtrap_load_u32,
};

/* direct mode */

static void fault_once(int sig)
{
}

/*
 * The kernel logs a fault of a process that has no handler for its signal, and here
 * faults of programs are faults of ours, as long as the module has not seen them.
 * This handler is for its presence. Should the sentry itself fault, it ends as it
 * would have: with the second signal, which has none any more.
 */
static void handle_faults(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	struct sigaction old, sa = {
		.sa_handler = fault_once,
		.sa_flags = SA_RESETHAND | SA_ONSTACK,
	};
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler == SIG_DFL)
			sigaction(signals[i], &sa, NULL);
	}
}

static int choose_mode(struct sandtrap_platform *p, const char *mode)
{
	bool can = p->info.out_features & SANDTRAP_FEATURE_DIRECT_MODE;

	/* The module lets nobody run a program whom fewer may look at than at a stub. */
	if (!mode || !strcmp(mode, "auto"))
		p->direct = can && prctl(PR_GET_DUMPABLE) == 1;
	else if (!strcmp(mode, "direct"))
		p->direct = true;
	else if (strcmp(mode, "ring"))
		return -EINVAL;
	if (p->direct && !can)
		return -EOPNOTSUPP;
	p->base.mode = p->direct ? "direct" : "ring";
	if (p->direct)
		handle_faults();
	return 0;
}

static int setup(struct sandtrap_platform *p,
		 const struct platform_options *opts)
{
	struct platform *base = &p->base;
	bool cpuid_fault;
	int err;

	p->info.size = sizeof(p->info);
	if (ioctl(p->fd, SANDTRAP_GET_INFO, &p->info))
		return -EPROTO;
	err = choose_mode(p, opts->sandtrap_mode);
	if (!err)
		err = platform_find_vdso(&base->vdso);
	if (err)
		return err;
	/* It is a property of threads: the sentry's own must not fault. */
	cpuid_fault = p->info.out_features & SANDTRAP_FEATURE_CPUID_FAULTING &&
		      !p->direct;
	base->have_global_memory_barrier = platform_register_for_barrier();
	err = stub_template_start(&p->stubs, &base->vdso, cpuid_fault);
	if (err)
		return err;

	base->ops = &ops;
	base->constructor = &sandtrap_constructor;
	base->supports_address_space_io = true;
	base->detects_access = true;
	base->eager_maps = true;
	base->cpuid_events = cpuid_fault;
	base->min_user_address = platform_min_user_address();
	base->max_user_address = p->stubs.base;
	base->concurrency_count = INT_MAX;
	p->spin_ns = p->direct ? 0 : choose_spin(p, opts->spin_ns);
	return 0;
}

static int new_platform(const struct platform_options *opts,
			struct platform **out)
{
	struct sandtrap_platform *p;
	int err, fd = opts->device_fd;

	if (fd < 0)
		fd = open_device(SANDTRAP_DEVICE);
	if (fd < 0)
		return fd;
	p = calloc(1, sizeof(*p));
	if (!p) {
		close(fd);
		return -ENOMEM;
	}
	p->fd = fd;
	pthread_mutex_init(&p->lock, NULL);
	LIST_INIT(&p->contexts);
	err = setup(p, opts);
	if (err) {
		close(fd);
		free(p);
		return err;
	}
	*out = &p->base;
	return 0;
}

const struct platform_constructor sandtrap_constructor = {
	.name		= "sandtrap",
	.description	= "the sandtrap kernel module (fastest; needs " SANDTRAP_DEVICE ")",
	.requirements	= { .device_path = SANDTRAP_DEVICE },
	.new_platform	= new_platform,
	.open_device	= open_device,
};
