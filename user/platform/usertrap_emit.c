// SPDX-License-Identifier: MIT
/*
 * usertrap_emit.c - writes slots, and reads them backwards
 */
#include <errno.h>
#include <string.h>

#include "usertrap.h"

#define INT3 0xcc
#define JCC_SIZE 6

/* Where the code of a slot is assembled. */
struct emitter {
	uint64_t addr;
	uint8_t *slot;
	unsigned int len;
	int err;
};

static void emit(struct emitter *e, const void *bytes, unsigned int len)
{
	if (len > USERTRAP_SLOT_SIZE - e->len) {
		e->err = -E2BIG;
		return;
	}
	memcpy(e->slot + e->len, bytes, len);
	e->len += len;
}

/* The distance that gets from behind an instruction to @target. */
static bool distance(uint64_t target, uint64_t next, int32_t *rel)
{
	int64_t d = (int64_t)(target - next);

	*rel = (int32_t)d;
	return d == *rel;
}

/*
 * An instruction with a 32-bit displacement @at within its bytes, made relative to
 * where it is now.
 */
static void emit_relative(struct emitter *e, const uint8_t *bytes, unsigned int len,
			  unsigned int at, uint64_t target)
{
	uint8_t copy[16];
	int32_t rel;

	if (!distance(target, e->addr + e->len + len, &rel)) {
		e->err = -ERANGE;
		return;
	}
	memcpy(copy, bytes, len);
	memcpy(copy + at, &rel, sizeof(rel));
	emit(e, copy, len);
}

static void emit_jcc(struct emitter *e, const uint8_t *bytes, const struct usertrap_insn *insn)
{
	uint8_t jcc[JCC_SIZE] = { 0x0f };
	const uint8_t *op = bytes;

	/* The condition is in the low half of the opcode's last byte. */
	while (*op != 0x0f && (*op & 0xf0) != 0x70)
		op++;
	jcc[1] = 0x80 | ((*op == 0x0f ? op[1] : op[0]) & 0x0f);
	emit_relative(e, jcc, JCC_SIZE, 2, insn->target);
}

static void emit_insn(struct emitter *e, const struct usertrap_plan *plan,
		      struct usertrap_insn *insn)
{
	const uint8_t *bytes = plan->code + insn->off;
	int32_t disp;

	insn->slot_off = (uint8_t)e->len;
	switch (insn->kind) {
	case USERTRAP_JCC:
		emit_jcc(e, bytes, insn);
		break;
	case USERTRAP_RIP_DISP:
		memcpy(&disp, bytes + insn->disp_off, sizeof(disp));
		emit_relative(e, bytes, insn->len, insn->disp_off,
			      plan->site + insn->off + insn->len + (uint64_t)(int64_t)disp);
		break;
	default:
		emit(e, bytes, insn->len);
		break;
	}
}

void usertrap_emit_header(uint64_t entry, uint8_t *slot)
{
	memset(slot, INT3, USERTRAP_SLOT_SIZE);
	memcpy(slot, &entry, sizeof(entry));
}

/* The way into the platform's handler, see platform.h. */
static void emit_tail(struct emitter *e, const struct usertrap_plan *plan)
{
	static const uint8_t lea_rcx[] = { 0x48, 0x8d, 0x0d, 0, 0, 0, 0 };
	static const uint8_t jmp_mem[] = { 0xff, 0x25, 0, 0, 0, 0 };

	emit_relative(e, lea_rcx, sizeof(lea_rcx), 3, plan->site + plan->syscall_off + 2);
	emit_relative(e, jmp_mem, sizeof(jmp_mem), 2, e->addr & -(uint64_t)USERTRAP_PAGE_SIZE);
}

int usertrap_emit(struct usertrap_plan *plan, uint64_t addr, uint8_t *slot)
{
	struct emitter e = { .addr = addr, .slot = slot };
	unsigned int i;
	int32_t rel;

	if (!distance(addr, plan->site + USERTRAP_JUMP_SIZE, &rel))
		return -ERANGE;
	memset(slot, INT3, USERTRAP_SLOT_SIZE);
	for (i = 0; i < plan->nr_insns && !e.err; i++)
		emit_insn(&e, plan, &plan->insns[i]);
	plan->tail_off = (uint8_t)e.len;
	if (!e.err)
		emit_tail(&e, plan);
	return e.err;
}

void usertrap_jump(const struct usertrap_plan *plan, uint64_t addr,
		   uint8_t jump[USERTRAP_JUMP_SIZE])
{
	int32_t rel;

	distance(addr, plan->site + USERTRAP_JUMP_SIZE, &rel);
	jump[0] = 0xe9;
	memcpy(jump + 1, &rel, sizeof(rel));
}

enum usertrap_progress usertrap_original_ip(const struct usertrap_plan *plan, unsigned int off,
					    uint64_t *ip)
{
	unsigned int i;

	for (i = 0; i < plan->nr_insns; i++) {
		if (plan->insns[i].slot_off == off) {
			*ip = plan->site + plan->insns[i].off;
			return i ? USERTRAP_INSIDE : USERTRAP_AT_START;
		}
	}
	/* Behind the copies is the lea of 7 bytes, then the jump. */
	if (off != plan->tail_off && off != plan->tail_off + 7u)
		return USERTRAP_NOWHERE;
	*ip = plan->site + plan->syscall_off;
	return USERTRAP_INSIDE;
}
