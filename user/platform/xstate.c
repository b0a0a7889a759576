// SPDX-License-Identifier: MIT
/*
 * xstate.c - FPU and vector state in the standard XSAVE format
 */
#include <stdlib.h>
#include <string.h>

#include "xstate.h"

/* Offsets and reset values of what is not zero (SDM vol. 1, chapter 13). */
#define FCW_OFFSET 0
#define MXCSR_OFFSET 24
#define MXCSR_MASK_OFFSET 28
#define HEADER_OFFSET 512
#define HEADER_WORDS 8
#define INITIAL_FCW 0x37f
#define INITIAL_MXCSR 0x1f80
#define XFEATURES_FP_SSE 3

/* Where the mask is zero: no denormals-are-zero bit. All CPUs with AVX have it. */
#define MXCSR_VALID 0xffffu

void *xstate_alloc(size_t size)
{
	const uint16_t fcw = INITIAL_FCW;
	const uint32_t mxcsr = INITIAL_MXCSR;
	const uint64_t features = XFEATURES_FP_SSE;
	void *xstate;
	char *image;

	if (posix_memalign(&xstate, XSTATE_ALIGN, size))
		return NULL;
	image = xstate;
	memset(image, 0, size);
	memcpy(image + FCW_OFFSET, &fcw, sizeof(fcw));
	memcpy(image + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	memcpy(image + HEADER_OFFSET, &features, sizeof(features));
	return xstate;
}

bool xstate_is_valid(const void *xstate, uint64_t features)
{
	const char *image = xstate;
	uint64_t header[HEADER_WORDS];
	uint32_t mxcsr;
	int i;

	memcpy(header, image + HEADER_OFFSET, sizeof(header));
	if (header[0] & ~features)
		return false;
	for (i = 1; i < HEADER_WORDS; i++) {
		if (header[i])
			return false;
	}
	memcpy(&mxcsr, image + MXCSR_OFFSET, sizeof(mxcsr));
	return !(mxcsr & ~MXCSR_VALID);
}
