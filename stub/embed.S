// SPDX-License-Identifier: MIT
/*
 * embed.S - the linked stub as bytes in libsentry
 */
	.section .rodata
	.balign	8
	.globl	sandtrap_stub_image, sandtrap_stub_image_end
	.hidden	sandtrap_stub_image, sandtrap_stub_image_end
sandtrap_stub_image:
	.incbin	"stub.bin"
sandtrap_stub_image_end:

	.section .note.GNU-stack, "", @progbits
