/* SPDX-License-Identifier: MIT */
/*
 * stub.h - what the stub's code and the process that prepares it agree on
 *
 * The stub is one page. It begins with data that is filled in before the page is
 * sealed; the offsets are checked when it is linked.
 */
#ifndef _SANDTRAP_STUB_H
#define _SANDTRAP_STUB_H

#define STUB_SIZE 4096

/* Descriptor of the stub file in the stub process: the only one it has. */
#define STUB_FD 0

/* struct sock_fprog; its pointer is filled in */
#define STUB_FPROG 0
#define STUB_FPROG_FILTER 8

/* struct sock_filter: kill the process, whatever the system call */
#define STUB_FILTER 16

/* STUB_HOLES times address and length: what the stub unmaps; filled in */
#define STUB_HOLE_TABLE 32
#define STUB_HOLES 3

#define STUB_ENTRY 128

/* Where signal dispositions point to that must not be default or ignore. */
#define STUB_SIGNAL 144

/* VM | FS | FILES | SIGHAND | THREAD | SYSVSEM: the one way to make a thread. */
#define STUB_CLONE_FLAGS 0x50f00

#endif /* _SANDTRAP_STUB_H */
