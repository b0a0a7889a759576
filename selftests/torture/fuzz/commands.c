// SPDX-License-Identifier: MIT
/*
 * commands - the commands of the interface, valid or with one value changed
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture/fuzz/fuzz.h"

static void fill_op(struct fuzzer *f, struct sandtrap_mem_op *op)
{
	/* The code rather stays. */
	static const uint64_t places[] = {
		BOX_CODE, BOX_DATA, BOX_DATA, BOX_STACK, BOX_FREE, BOX_FREE, BOX_FREE, 0,
	};
	unsigned int page = pick(f, BOX_FILE_PAGES);

	memset(op, 0, sizeof(*op));
	op->op = SANDTRAP_MEM_MAP + pick(f, 2);
	op->addr = places[pick(f, 8)] + BOX_PAGE * pick(f, 8);
	op->len = BOX_PAGE * (1 + pick(f, BOX_FILE_PAGES - page));
	if (op->op == SANDTRAP_MEM_MAP) {
		op->prot = 1 + pick(f, 7);
		op->fd = pick(f, 8) ? fuzz.box.mem : fuzz_any_fd(f);
		op->offset = BOX_PAGE * page;
		op->flags = pick(f, 2);
	}
	if (!pick(f, 6))
		fuzz_mutate(f, op, sizeof(*op));
}

static uint32_t fill_ops(struct fuzzer *f, uint32_t at_least)
{
	uint32_t i, n = at_least + pick(f, MAX_OPS - at_least + 1);

	for (i = 0; i < n; i++)
		fill_op(f, &f->ops[i]);
	return n;
}

void fuzz_remember_context(struct fuzzer *f, const struct sandtrap_new_context *new)
{
	unsigned int slot = fuzz_free_slot(f);
	void *page;

	if (atomic_fetch_add(&fuzz.mapped, 1) >= MAX_MAPPED)
		return;
	page = mmap(NULL, fuzz.box.info.out_context_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fuzz.box.fd, new->out_mmap_offset);
	if (page == MAP_FAILED)
		return;
	fuzz_load_registers(f, page);
	fuzz.pages[slot] = page;
	fuzz.direct[slot] = !!(new->flags & SANDTRAP_CONTEXT_DIRECT);
	fuzz.ids[slot] = new->out_id;
}

/* Waits for the stub to come, as long as the thread's patience lasts. */
static void remember_space(struct fuzzer *f, const struct sandtrap_new_address_space *new)
{
	unsigned int slot = fuzz_free_space(f);
	int stub = -1;

	if (new->out_fd <= 2 || new->out_stub_fd <= 2)
		return; /* scribbled over: they are closed with the process */
	fuzz_begin(f, "memory of a new space");
	if (pick(f, 8))
		stub_template_spawn(&fuzz.box.stubs, new->out_stub_fd);
	if (pick(f, 4))
		close(new->out_stub_fd);
	else
		stub = new->out_stub_fd;
	if (pick(f, 8))
		box_map_areas(&fuzz.box, new->out_fd);
	stub = atomic_exchange(&fuzz.stub_fds[slot], stub);
	if (stub > 2)
		close(stub);
	stub = atomic_exchange(&fuzz.spaces[slot], new->out_fd);
	if (stub > 2)
		close(stub);
	fuzz_end(f, 0);
}

enum { INSTANCE, SPACE };

struct command {
	const char *name;
	unsigned int cmd;
	uint32_t size;
	int kind;
	unsigned int weight;
	void (*fill)(struct fuzzer *f, union argument *a);
};

static void fill_new_context(struct fuzzer *f, union argument *a)
{
	static const uint32_t flags[] = { 0, SANDTRAP_CONTEXT_RING, SANDTRAP_CONTEXT_DIRECT };

	a->new_context.flags = flags[pick(f, board->has_direct || !pick(f, 16) ? 3 : 2)];
	a->new_context.address_space = pick(f, 24) ? fuzz_any_space(f) : -1;
	a->new_context.cookie = chance(f);
}

static void fill_bind(struct fuzzer *f, union argument *a)
{
	a->bind.id = fuzz.ids[fuzz_any_slot(f)];
	a->bind.address_space = pick(f, 32) ? fuzz_any_space(f) : -1;
}

static void fill_context(struct fuzzer *f, union argument *a)
{
	a->context.id = fuzz.ids[fuzz_any_slot(f)];
}

static void fill_resume(struct fuzzer *f, union argument *a)
{
	unsigned int slot = fuzz_any_slot(f);

	a->context.id = fuzz.ids[slot];
	a->context.seq = fuzz_seq_of(slot) - !pick(f, 8);
}

static void fill_pull(struct fuzzer *f, union argument *a)
{
	a->context.id = fuzz.ids[fuzz_any_slot(f)];
	a->context.flags = pick(f, 4);
}

static void fill_run(struct fuzzer *f, union argument *a)
{
	unsigned int slot = fuzz_any_slot(f);
	struct sandtrap_context_page *page = fuzz.pages[slot];

	if (page && pick(f, 3)) {
		fuzz_load_registers(f, page);
		*(volatile uint32_t *)&page->resume_flags = pick(f, 4) ? 0 : pick(f, 16);
		*(volatile uint32_t *)&page->spin_ns = pick(f, 4) ? 0 : 20000;
	}
	a->run.id = fuzz.ids[slot];
	a->run.seq = fuzz_seq_of(slot);
	a->run.nr_ops = pick(f, 3) ? 0 : fill_ops(f, 1);
	a->run.ops = a->run.nr_ops ? (uintptr_t)f->ops : 0;
}

static void fill_wait(struct fuzzer *f, union argument *a)
{
	unsigned int slot = fuzz_any_slot(f);

	a->wait.timeout_ns = pick(f, 4) ? box_now_ns() + pick(f, 3000000) :
			     pick(f, 2) ? 0 : SANDTRAP_WAIT_FOREVER;
	if (!pick(f, 3))
		return;
	a->wait.id = fuzz.ids[slot];
	a->wait.seq = fuzz_seq_of(slot) - pick(f, 2);
}

static void fill_ring(struct fuzzer *f, union argument *a)
{
	a->ring.entries = 1u << pick(f, 8);
}

static void fill_mem(struct fuzzer *f, union argument *a)
{
	a->mem.nr_ops = fill_ops(f, 1);
	a->mem.ops = (uintptr_t)f->ops;
}

static void fill_copy(struct fuzzer *f, union argument *a)
{
	a->copy.op = SANDTRAP_COPY_IN + pick(f, 3);
	a->copy.addr = BOX_CODE + 0x10000000 * pick(f, 4) + pick(f, 20000);
	a->copy.buf = (uintptr_t)fuzz.oasis + pick(f, OASIS / 2);
	if (a->copy.op == SANDTRAP_COPY_ZERO)
		a->copy.buf = 0;
	a->copy.len = pick(f, 20000);
}

static void fill_atomic(struct fuzzer *f, union argument *a)
{
	a->atomic.op = SANDTRAP_ATOMIC_LOAD + pick(f, 3);
	a->atomic.addr = BOX_DATA + 4 * pick(f, 4096);
	a->atomic.expected = a->atomic.op == SANDTRAP_ATOMIC_CAS ? pick(f, 2) : 0;
	a->atomic.value = a->atomic.op == SANDTRAP_ATOMIC_LOAD ? 0 : pick(f, 4);
}

static void fill_nothing(struct fuzzer *f, union argument *a)
{
}

#define COMMAND(cmd, type, kind, weight, fill) \
	{ #cmd, SANDTRAP_##cmd, sizeof(struct type), kind, weight, fill }

static const struct command commands[] = {
	COMMAND(GET_INFO, sandtrap_info, INSTANCE, 1, fill_nothing),
	COMMAND(NEW_ADDRESS_SPACE, sandtrap_new_address_space, INSTANCE, 4, fill_nothing),
	COMMAND(NEW_CONTEXT, sandtrap_new_context, INSTANCE, 8, fill_new_context),
	COMMAND(BIND_CONTEXT, sandtrap_bind_context, INSTANCE, 4, fill_bind),
	COMMAND(RELEASE_CONTEXT, sandtrap_context_arg, INSTANCE, 1, fill_context),
	COMMAND(RUN, sandtrap_run, INSTANCE, 20, fill_run),
	COMMAND(RESUME, sandtrap_context_arg, INSTANCE, 8, fill_resume),
	COMMAND(WAIT, sandtrap_wait, INSTANCE, 6, fill_wait),
	COMMAND(INTERRUPT, sandtrap_context_arg, INSTANCE, 8, fill_context),
	COMMAND(PULL, sandtrap_context_arg, INSTANCE, 6, fill_pull),
	COMMAND(RING_SETUP, sandtrap_ring_setup, INSTANCE, 1, fill_ring),
	COMMAND(MEM, sandtrap_mem, SPACE, 8, fill_mem),
	COMMAND(COPY, sandtrap_copy, SPACE, 8, fill_copy),
	COMMAND(ATOMIC, sandtrap_atomic, SPACE, 6, fill_atomic),
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

bool fuzz_count_event(uint32_t id)
{
	bool direct = false;
	int i;

	for (i = 0; i < CONTEXTS; i++) {
		if (fuzz.ids[i] != id || !fuzz.pages[i])
			continue;
		board->events[*(volatile uint32_t *)&fuzz.pages[i]->event & 7]++;
		direct |= fuzz.direct[i];
	}
	board->direct += direct;
	return direct;
}

/* What has been released is used no more, as a rule. */
static void forget_context(struct fuzzer *f, uint32_t id)
{
	int i;

	if (!pick(f, 4))
		return;
	for (i = 0; i < CONTEXTS; i++)
		if (fuzz.ids[i] == id)
			fuzz.ids[i] = 0;
}

static void after_command(struct fuzzer *f, unsigned int cmd, union argument *a)
{
	switch (cmd) {
	case SANDTRAP_NEW_CONTEXT:
		fuzz_remember_context(f, &a->new_context);
		break;
	case SANDTRAP_NEW_ADDRESS_SPACE:
		remember_space(f, &a->new_space);
		break;
	case SANDTRAP_RELEASE_CONTEXT:
		forget_context(f, a->context.id);
		break;
	case SANDTRAP_RUN:
		if (fuzz_count_event(a->run.id) && a->run.nr_ops)
			board->direct_ops++;
	}
}

void fuzz_command(struct fuzzer *f)
{
	unsigned int total = 0, n, i;
	const struct command *c;
	union argument *a = f->arg;
	long ret;
	int fd, err;

	for (i = 0; i < COMMANDS; i++)
		total += commands[i].weight;
	n = pick(f, total);
	for (i = 0; n >= commands[i].weight; i++)
		n -= commands[i].weight;
	c = &commands[i];

	memset(a, 0, sizeof(*a));
	a->size = c->size;
	c->fill(f, a);
	if (!pick(f, 4))
		fuzz_mutate(f, a, pick(f, 4) ? c->size : sizeof(*a));
	fd = c->kind == INSTANCE ? fuzz.box.fd : fuzz_any_space(f);
	if (!pick(f, 32))
		fd = fuzz_any_fd(f);
	fuzz_begin(f, c->name);
	ret = fuzz_call(true, SYS_ioctl, fd, c->cmd, pick(f, 64) ? (uintptr_t)a : fuzz_nasty(f));
	err = fuzz_end(f, ret);
	if (err)
		board->bad[i][err % MAX_ERRNO]++;
	else
		board->good[i]++;
	if (!ret)
		after_command(f, c->cmd, a);
}

static void report_command(unsigned int i)
{
	unsigned int err;

	printf("# %-17s %6u done;", commands[i].name, board->good[i]);
	for (err = 0; err < MAX_ERRNO; err++)
		if (board->bad[i][err])
			printf(" %s %u", strerrorname_np(err), board->bad[i][err]);
	printf("\n");
}

bool fuzz_report_commands(void)
{
	bool all = true;
	unsigned int i;

	for (i = 0; i < COMMANDS; i++) {
		report_command(i);
		all &= board->good[i] > 0;
	}
	printf("# events: %u system calls, %u faults, %u interrupts, %u deaths, %u errors;"
	       " %u of them direct\n",
	       board->events[SANDTRAP_EVENT_SYSCALL], board->events[SANDTRAP_EVENT_FAULT],
	       board->events[SANDTRAP_EVENT_INTERRUPT], board->events[SANDTRAP_EVENT_DEAD],
	       board->events[SANDTRAP_EVENT_ERROR], board->direct);
	for (i = SANDTRAP_EVENT_SYSCALL; i <= SANDTRAP_EVENT_INTERRUPT; i++)
		all &= board->events[i] > 0;
	printf("# %u of them by lseek, %u after operations on memory; %u calls lost registers\n",
	       board->direct_lseek, board->direct_ops, board->lost_fpu);
	return all && (!board->has_direct || (board->direct_lseek && board->direct_ops));
}
