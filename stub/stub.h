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

/*
 * What the stub unmaps: up to three ranges, address and length, the first two
 * of them not empty. In registers, not in the page: addresses would be bytes
 * that the program can execute, and could mean anything.
 */
#define STUB_HOLES 3

/* rdi, rsi: first range; r8, r9: second; r10, r12: third */
#define STUB_ENTRY 32

/* Where signal dispositions point to that must not be default or ignore. */
#define STUB_SIGNAL 48

/* VM | FS | FILES | SIGHAND | THREAD | SYSVSEM: the one way to make a thread. */
#define STUB_CLONE_FLAGS 0x50f00

#endif /* _SANDTRAP_STUB_H */
