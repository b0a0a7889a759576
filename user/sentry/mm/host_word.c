// SPDX-License-Identifier: MIT
/*
 * host_word.c - words that a program has in a mapped host file, for futexes
 *
 * A word is operated on through a mapping of its page that lives as long as the
 * operation; rare enough. The file may be truncated meanwhile, by the program
 * itself for one, and the page be gone: the SIGBUS that this means to the sentry
 * is caught, and is an error to the program like any other bad address.
 */
#include <setjmp.h>
#include <signal.h>

#include "sentry/mm/internal.h"

/* Where the thread goes on if its access faults; NULL: it makes none. */
static __thread sigjmp_buf *recover;

static struct sigaction old_action;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Of whoever had the signal before; the default ends the process. */
static void pass_on(int signo, siginfo_t *info, void *uc)
{
	if (old_action.sa_flags & SA_SIGINFO)
		old_action.sa_sigaction(signo, info, uc);
	else if (old_action.sa_handler == SIG_DFL ||
		 old_action.sa_handler == SIG_IGN)
		/* The instruction faults once more, to that end. */
		sigaction(signo, &old_action, NULL);
	else
		old_action.sa_handler(signo);
}

static void bus_handler(int signo, siginfo_t *info, void *uc)
{
	if (recover)
		siglongjmp(*recover, 1);
	pass_on(signo, info, uc);
}

static void install_handler(void)
{
	/* Not masked meanwhile: the jump out of it restores no mask. */
	const struct sigaction sa = {
		.sa_sigaction = bus_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART,
	};

	sigaction(SIGBUS, &sa, &old_action);
}

uint32_t word_apply(_Atomic uint32_t *word, enum word_op op, uint32_t expected,
		    uint32_t new_value)
{
	switch (op) {
	case WORD_SWAP:
		return atomic_exchange(word, new_value);
	case WORD_CAS:
		atomic_compare_exchange_strong(word, &expected, new_value);
		return expected;
	default:
		return atomic_load(word);
	}
}

static int apply_guarded(_Atomic uint32_t *word, enum word_op op,
			 uint32_t expected, uint32_t new_value, uint32_t *old)
{
	sigjmp_buf env;

	if (sigsetjmp(env, 0)) {
		recover = NULL;
		return -EFAULT;
	}
	recover = &env;
	atomic_signal_fence(memory_order_seq_cst);
	*old = word_apply(word, op, expected, new_value);
	atomic_signal_fence(memory_order_seq_cst);
	recover = NULL;
	return 0;
}

int host_word_apply(const struct pma *p, uint64_t addr, enum word_op op,
		    uint32_t expected, uint32_t new_value, uint32_t *old)
{
	uint64_t off = p->off + (page_down(addr) - p->start);
	void *page;
	int err;

	pthread_once(&once, install_handler);
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    p->host_fd, (off_t)off);
	if (page == MAP_FAILED)
		return -EFAULT;
	err = apply_guarded((void *)((char *)page + (addr & (PAGE_SIZE - 1))),
			    op, expected, new_value, old);
	munmap(page, PAGE_SIZE);
	return err;
}
