// SPDX-License-Identifier: MIT
/*
 * sysmsg_embed.S - systrap's stub code as bytes in libsentry
 */
	.section .rodata
	.balign	8
	.globl	sysmsg_image, sysmsg_image_end
	.hidden	sysmsg_image, sysmsg_image_end
sysmsg_image:
	.incbin	"sysmsg.bin"
sysmsg_image_end:

	.section .note.GNU-stack, "", @progbits
