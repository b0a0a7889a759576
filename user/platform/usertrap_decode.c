// SPDX-License-Identifier: MIT
/*
 * usertrap_decode.c - decides from the bytes whether a system call can be rewritten
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "usertrap.h"

/* Guessed function starts that have to agree. */
#define GUESSES_MAX 3

/* The last instructions decoded, the latest last. */
struct run {
	struct usertrap_insn insns[USERTRAP_INSNS_MAX];
	unsigned int off[USERTRAP_INSNS_MAX]; /* from the start of the function */
	unsigned int count;
};

static void run_push(struct run *run, const struct usertrap_insn *insn, unsigned int off)
{
	if (run->count == USERTRAP_INSNS_MAX) {
		memmove(run->insns, run->insns + 1, (run->count - 1) * sizeof(*run->insns));
		memmove(run->off, run->off + 1, (run->count - 1) * sizeof(*run->off));
		run->count--;
	}
	run->insns[run->count] = *insn;
	run->off[run->count++] = off;
}

static bool is_jcc(const ZydisDecodedInstruction *in)
{
	if (in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		return in->opcode >= 0x70 && in->opcode <= 0x7f;
	return in->opcode_map == ZYDIS_OPCODE_MAP_0F && in->opcode >= 0x80 && in->opcode <= 0x8f;
}

/*
 * Goes elsewhere, or enters the kernel: its copy would not be the same. So would be
 * that of CPUID, which the sentry knows by its place.
 */
static bool ends_run(const ZydisDecodedInstruction *in)
{
	if (in->mnemonic == ZYDIS_MNEMONIC_CPUID || in->mnemonic == ZYDIS_MNEMONIC_UD2)
		return true;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_UNCOND_BR:
		return true;
	default:
		/* Of the instructions relative to rip xbegin is left. */
		return in->raw.imm[0].is_relative;
	}
}

static bool has_rip_disp(const ZydisDecodedInstruction *in)
{
	return (in->attributes & ZYDIS_ATTRIB_IS_RELATIVE) && in->raw.disp.size == 32;
}

/* Describe an instruction that a slot may copy; false if none may. */
static bool describe(const ZydisDecodedInstruction *in, uint64_t addr, struct usertrap_insn *out)
{
	*out = (struct usertrap_insn){ .len = in->length, .kind = USERTRAP_COPY };
	if (is_jcc(in)) {
		/* An operand size prefix would cut rip to 16 bits on some CPUs. */
		if (in->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
			return false;
		out->kind = USERTRAP_JCC;
		out->target = addr + in->length + (uint64_t)in->raw.imm[0].value.s;
		return true;
	}
	if (ends_run(in))
		return false;
	if (has_rip_disp(in)) {
		/* With an address size prefix it is relative to eip. */
		if (in->attributes & ZYDIS_ATTRIB_HAS_ADDRESSSIZE)
			return false;
		out->kind = USERTRAP_RIP_DISP;
		out->disp_off = in->raw.disp.offset;
	}
	return true;
}

/* Decode up to the system call at @end: the straight run before it. */
static int decode_run(const uint8_t *code, uint64_t start, size_t end, struct run *run)
{
	ZydisDecodedInstruction in;
	struct usertrap_insn insn;
	ZydisDecoder decoder;
	size_t off = 0;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	run->count = 0;
	while (off < end) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, code + off,
								end + 2 - off, &in)))
			return -EILSEQ;
		if (describe(&in, start + off, &insn))
			run_push(run, &insn, (unsigned int)off);
		else
			run->count = 0;
		off += in.length;
	}
	if (off != end || code[end] != 0x0f || code[end + 1] != 0x05)
		return -EILSEQ;
	return 0;
}

/* The restorer of signal handlers, by its bytes: unwinders know it by them. */
static bool is_sigreturn(const uint8_t *code, size_t end)
{
	static const uint8_t rax[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0 };
	static const uint8_t eax[] = { 0xb8, 0x0f, 0, 0, 0 };

	return (end >= sizeof(rax) && !memcmp(code + end - sizeof(rax), rax, sizeof(rax))) ||
	       (end >= sizeof(eax) && !memcmp(code + end - sizeof(eax), eax, sizeof(eax)));
}

/* The jump must lie in one page, to appear and disappear as a whole. */
static bool can_be_anchor(const struct usertrap_insn *insn, uint64_t addr)
{
	return insn->len >= USERTRAP_JUMP_SIZE &&
	       (addr & (USERTRAP_PAGE_SIZE - 1)) <= USERTRAP_PAGE_SIZE - USERTRAP_JUMP_SIZE;
}

static bool find_anchor(const struct run *run, uint64_t start, unsigned int *index)
{
	unsigned int i = run->count;

	while (i--) {
		if (can_be_anchor(&run->insns[i], start + run->off[i])) {
			*index = i;
			return true;
		}
	}
	return false;
}

int usertrap_decode(const uint8_t *code, uint64_t start, uint64_t ip, struct usertrap_plan *plan)
{
	size_t end = ip - start;
	unsigned int anchor, i;
	struct run run;
	int err;

	err = decode_run(code, start, end, &run);
	if (err)
		return err;
	if (is_sigreturn(code, end) || !find_anchor(&run, start, &anchor))
		return -ENOTSUP;
	if (end - run.off[anchor] > USERTRAP_RUN_MAX)
		return -ENOTSUP;
	*plan = (struct usertrap_plan){ .site = start + run.off[anchor] };
	plan->syscall_off = (uint8_t)(end - run.off[anchor]);
	memcpy(plan->code, code + run.off[anchor], plan->syscall_off + 2u);
	for (i = anchor; i < run.count; i++) {
		run.insns[i].off = (uint8_t)(run.off[i] - run.off[anchor]);
		plan->insns[plan->nr_insns++] = run.insns[i];
	}
	return 0;
}

static int read_all(const struct usertrap_source *src, uint64_t addr, uint8_t *buf, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = src->read(src->arg, addr + done, buf + done, len - done);
		if (n <= 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

static int examine_from(const struct usertrap_source *src, uint64_t start, uint64_t ip,
			uint8_t *buf, struct usertrap_plan *plan)
{
	int err;

	if (start < src->start || ip - start > USERTRAP_FUNCTION_MAX)
		return -EFBIG;
	err = read_all(src, start, buf, ip + 2 - start);
	return err ? err : usertrap_decode(buf, start, ip, plan);
}

/* Starts that are guesses: several must agree, if there are several. */
static int examine_guesses(const struct usertrap_source *src, uint64_t ip, uint8_t *buf,
			   struct usertrap_plan *plan)
{
	struct usertrap_plan other;
	unsigned int nth;
	uint64_t start;
	int err;

	for (nth = 1; nth < GUESSES_MAX; nth++) {
		if (usertrap_function_start(src, ip, nth, &start) < 0)
			break;
		err = examine_from(src, start, ip, buf, &other);
		/* From one anchor all else follows. */
		if (err || plan->site != other.site)
			return -EILSEQ;
	}
	return 0;
}

static int examine(const struct usertrap_source *src, uint64_t ip, uint8_t *buf,
		   struct usertrap_plan *plan)
{
	uint64_t start;
	int kind, err;

	kind = usertrap_function_start(src, ip, 0, &start);
	if (kind < 0)
		return kind;
	err = examine_from(src, start, ip, buf, plan);
	if (!err && kind >= USERTRAP_PADDING)
		err = examine_guesses(src, ip, buf, plan);
	return err;
}

int usertrap_examine(const struct usertrap_source *src, uint64_t ip, struct usertrap_plan *plan)
{
	uint8_t *buf;
	int err;

	if (ip < src->start || src->end - ip < 2 || ip >= src->end)
		return -EFAULT;
	buf = malloc(USERTRAP_FUNCTION_MAX + 2);
	if (!buf)
		return -ENOMEM;
	err = examine(src, ip, buf, plan);
	free(buf);
	return err;
}
