/* SPDX-License-Identifier: MIT */
/*
 * cpuid_insn.h - is it CPUID that faulted?
 *
 * For the sentry, the platforms and the stub: freestanding.
 */
#ifndef _SANDTRAP_PLATFORM_CPUID_INSN_H
#define _SANDTRAP_PLATFORM_CPUID_INSN_H

#include <stddef.h>
#include <stdint.h>

/* No instruction is longer. */
#define X86_INSN_MAX 15

/* The opcode, and that of UD2, which is put in its place. */
#define CPUID_BYTE_1 0x0f
#define CPUID_BYTE_2 0xa2
#define UD2_BYTE_2 0x0b

/*
 * Has no effect in front of CPUID: sizes, segments, repetitions, and REX with its four
 * bits. Not lock: with that the instruction is invalid.
 */
static inline int is_ignored_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x66:
	case 0x67:
	case 0xf2:
	case 0xf3:
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
		return 1;
	default:
		return (byte & 0xf0) == 0x40;
	}
}

/**
 * opcode_0f_offset() - where in an instruction the opcode is, if it is 0f @second
 * @insn: bytes of the instruction, in memory that the program may change
 * @len: how many can be read; a byte is read only if those before it are prefixes
 * @second: second byte of the opcode
 *
 * Return: number of prefixes, or -1.
 */
static inline int opcode_0f_offset(const volatile uint8_t *insn, size_t len, uint8_t second)
{
	size_t max = len < X86_INSN_MAX ? len : X86_INSN_MAX, i;
	uint8_t byte;

	for (i = 0; i + 1 < max; i++) {
		byte = insn[i];
		if (byte == CPUID_BYTE_1)
			return insn[i + 1] == second ? (int)i : -1;
		if (!is_ignored_prefix(byte))
			return -1;
	}
	return -1;
}

#endif /* _SANDTRAP_PLATFORM_CPUID_INSN_H */
