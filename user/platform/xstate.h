/* SPDX-License-Identifier: MIT */
/*
 * xstate.h - FPU and vector state in the standard XSAVE format
 */
#ifndef _SANDTRAP_PLATFORM_XSTATE_H
#define _SANDTRAP_PLATFORM_XSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Alignment that XSAVE wants. */
#define XSTATE_ALIGN 64

/* Legacy area and header; then the components. */
#define XSTATE_MIN_SIZE 576

/* Bytes of the legacy area that belong to software. */
#define XSTATE_SW_RESERVED 464
#define XSTATE_SW_RESERVED_SIZE 48

/**
 * xstate_alloc() - the state of a new program
 * @size: bytes of its image, which is complete, so that it can be looked at
 *
 * Return: the image, for free(); NULL without memory.
 */
void *xstate_alloc(size_t size);

/**
 * xstate_is_valid() - would XRSTOR take it?
 * @xstate: image
 * @features: components that this machine has
 */
bool xstate_is_valid(const void *xstate, uint64_t features);

#endif /* _SANDTRAP_PLATFORM_XSTATE_H */
