// SPDX-License-Identifier: MIT
/*
 * usertrap_cpuid.c - decides from the bytes around it whether 0f a2 is CPUID
 */
#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "cpuid_insn.h"
#include "usertrap.h"

/* Function starts that are guesses and have to agree. */
#define GUESSES_MAX 3

/* Where a guess tells the start, CPUID must be told its leaf so closely before. */
#define LEAF_DISTANCE 48

/* Code is read in pieces of this size. */
#define CHUNK 512

static bool modrm_is(uint8_t modrm, uint8_t mask, uint8_t value)
{
	return (modrm & mask) == value;
}

/* mov $imm, %eax; xor %eax, %eax; mov %reg, %eax; mov mem, %eax. */
static bool sets_eax(const uint8_t *insn, size_t len)
{
	size_t i = len > 1 && (insn[0] & 0xfa) == 0x40 ? 1 : 0; /* REX without X and B */

	if (insn[i] == 0xb8)
		return true;
	if (len < i + 2)
		return false;
	switch (insn[i]) {
	case 0x31:
	case 0x33:
		return insn[i + 1] == 0xc0;
	case 0x89:
		return modrm_is(insn[i + 1], 0xc7, 0xc0);
	case 0x8b:
		return !(insn[0] & 4 && i) && modrm_is(insn[i + 1], 0x38, 0);
	default:
		return false;
	}
}

/* Loads ecx or nothing, as between the loading of eax and CPUID: xor and mov. */
static bool spares_eax(const uint8_t *insn, size_t len)
{
	size_t i = (insn[0] & 0xf0) == 0x40 ? 1 : 0;

	if (len != i + 2)
		return false;
	switch (insn[i]) {
	case 0x31:
	case 0x33:
		return !i && insn[1] == 0xc9;
	case 0x89:
		return !(insn[0] & 1 && i) && modrm_is(insn[i + 1], 0xc7, 0xc1);
	default:
		return false;
	}
}

/* Follow what is known of eax over an instruction. */
static void note_leaf(struct usertrap_walk *w, const uint8_t *insn, size_t len)
{
	if (sets_eax(insn, len))
		w->leaf_set = w->at;
	if (len == 5 && insn[0] == 0xb8) {
		memcpy(&w->leaf, insn + 1, sizeof(w->leaf));
		w->leaf_known = true;
	} else if (len == 2 && (insn[0] == 0x31 || insn[0] == 0x33) && insn[1] == 0xc0) {
		w->leaf = 0;
		w->leaf_known = true;
	} else if (!spares_eax(insn, len)) {
		w->leaf_known = false;
	}
}

static size_t insn_length(const ZydisDecoder *decoder, const uint8_t *code, size_t len)
{
	ZydisDecodedInstruction in;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, code, len, &in)))
		return 0;
	return in.length;
}

/* Is it what ends with the two bytes at @ip? */
static bool is_cpuid_of(const uint8_t *insn, size_t len, uint64_t addr, uint64_t ip)
{
	return addr + len == ip + 2 &&
	       opcode_0f_offset(insn, len, CPUID_BYTE_2) == (int)(len - 2);
}

/*
 * Walk from w->at to @ip: 0 if CPUID is there, or -EILSEQ. What is behind the
 * program's last byte is not read: an instruction that would need it is not CPUID.
 */
static int walk(const struct usertrap_source *src, struct usertrap_walk *w, uint64_t ip)
{
	uint8_t buf[CHUNK];
	ZydisDecoder decoder;
	size_t have = 0, pos = 0, len;
	ssize_t n;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
	while (w->at <= ip) {
		if (have - pos < X86_INSN_MAX && w->at + (have - pos) < ip + 2) {
			len = ip + 2 - w->at < CHUNK ? ip + 2 - w->at : CHUNK;
			n = src->read(src->arg, w->at, buf, len);
			if (n != (ssize_t)len)
				return -EFAULT;
			have = len;
			pos = 0;
		}
		len = insn_length(&decoder, buf + pos, have - pos);
		if (!len)
			return -EILSEQ;
		if (is_cpuid_of(buf + pos, len, w->at, ip))
			return 0;
		if (w->at + len > ip)
			return -EILSEQ;
		note_leaf(w, buf + pos, len);
		w->at += len;
		pos += len;
	}
	return -EILSEQ;
}

static int walk_from(const struct usertrap_source *src, struct usertrap_walk *w, uint64_t start,
		     uint64_t ip)
{
	if (start < src->start || ip - start > USERTRAP_FUNCTION_MAX)
		return -EFBIG;
	/* Sites are asked for in order: go on from the one before. */
	if (w->start != start || w->at > ip)
		*w = (struct usertrap_walk){ .start = start, .at = start };
	return walk(src, w, ip);
}

/* Data may look like code: several guesses have to agree, and the leaf to be set. */
static int confirm_guess(const struct usertrap_source *src, struct usertrap_walk *w, uint64_t ip)
{
	struct usertrap_walk other = { 0 };
	unsigned int nth;
	uint64_t start;

	if (!w->leaf_set || ip - w->leaf_set > LEAF_DISTANCE)
		return -EILSEQ;
	for (nth = 1; nth < GUESSES_MAX; nth++) {
		if (usertrap_function_start(src, ip, nth, &start) < 0)
			break;
		if (walk_from(src, &other, start, ip))
			return -EILSEQ;
	}
	return 0;
}

int usertrap_examine_cpuid(const struct usertrap_source *src, uint64_t ip, bool guess,
			   struct usertrap_walk *w)
{
	uint64_t start;
	int kind, err;

	if (ip < src->start || ip >= src->end || src->end - ip < 2)
		return -EFAULT;
	kind = usertrap_function_start(src, ip, 0, &start);
	if (kind < 0)
		return kind;
	if (kind >= USERTRAP_PADDING && !guess)
		return -ENOENT;
	err = walk_from(src, w, start, ip);
	if (!err && kind >= USERTRAP_PADDING)
		err = confirm_guess(src, w, ip);
	return err;
}
