// SPDX-License-Identifier: MIT
/*
 * stub.S - the only code of ours that runs in the process of a sandboxed program
 *
 * It prepares the process, then serves the module (the first thread) and makes
 * threads for it. A thread that is to run program code attaches itself, puts a
 * filter that kills behind the module's hook, and parks in the kernel, which
 * loads the program's registers into it. It never comes back here.
 *
 * Known security issues. The program shares this page's address space, and can
 * read and execute the page. What it could try, and why it fails:
 *
 *  - Jump to any offset of it, with any registers: the code does nothing but
 *    system calls, and every system call of a thread that runs program code is
 *    an event for the sentry, wherever its instruction stands. If the hook were
 *    gone the thread's filter, which allows nothing, kills the process.
 *  - Change it: the page is a sealed memfd, mapped without write permission. The
 *    program has no system call to map something else over it; the sentry's
 *    requests to do so are refused by the module.
 *  - Change the first thread's course through memory: it has no stack and reads
 *    nothing but this page; all its state is in registers. Its instructions
 *    are here, and nowhere else.
 *  - Make the first thread fault or take a signal: all signals are blocked, it
 *    executes no instruction that can fault while this page is mapped.
 *  - Use its descriptor, or be let through by the first thread's filter: both
 *    need a system call.
 *  - Learn from the page: it holds its own address, which the program knows.
 */
/* The assembler does not know the suffix that the header has for C. */
#define _IOC_NONE 0

#include <asm/unistd.h>

#include "stub/stub.h"
#include "uapi/sandtrap.h"

#define BPF_RET_K 0x06
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_RET_KILL_PROCESS 0x80000000

/* Exit codes tell which step failed. */
#define EXIT_UNMAP 10
#define EXIT_SERVE 11
#define EXIT_ATTACH 12

	.section .stub, "ax", @progbits
	.globl	stub_page
stub_page:
page:
	/* struct sock_fprog */
	.org	STUB_FPROG
	.short	1
	.org	STUB_FPROG_FILTER
	.quad	0

	/* struct sock_filter */
	.org	STUB_FILTER
	.short	BPF_RET_K
	.byte	0, 0
	.long	SECCOMP_RET_KILL_PROCESS

	.org	STUB_ENTRY
	.globl	stub_entry
stub_entry:
	lea	page(%rip), %rbx
	jmp	unmap
	/* Never reached: the signals that lead here are blocked, or kill. */
	.org	STUB_SIGNAL
	.globl	stub_signal
stub_signal:
	ud2

	/* rbx: this page. An empty range ends the list. */
unmap:
	mov	$STUB_HOLES, %ebp
1:	mov	$__NR_munmap, %eax
	syscall
	test	%rax, %rax
	jnz	no_unmap
	mov	%r8, %rdi
	mov	%r9, %rsi
	mov	%r10, %r8
	mov	%r12, %r9
	xor	%r12d, %r12d
	test	%rsi, %rsi
	jz	serve
	dec	%ebp
	jnz	1b
	xor	%r12d, %r12d

	/* r12: what became of the last clone, 0 or -errno; r13: its number */
serve:
	mov	$__NR_ioctl, %eax
	mov	$STUB_FD, %edi
	mov	$SANDTRAP_SERVE, %esi
	mov	%r12, %rdx
	syscall
	mov	$EXIT_SERVE, %edi
	test	%rax, %rax
	jle	die
	mov	%rax, %r13

	mov	$__NR_clone, %eax
	mov	$STUB_CLONE_FLAGS, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	syscall
	test	%rax, %rax
	jz	thread
	xor	%r12d, %r12d
	test	%rax, %rax
	cmovs	%rax, %r12
	jmp	serve

thread:
	mov	$__NR_ioctl, %eax
	mov	$STUB_FD, %edi
	mov	$SANDTRAP_ATTACH, %esi
	mov	%r13, %rdx
	syscall
	test	%rax, %rax
	jnz	no_thread

	mov	$__NR_seccomp, %eax
	mov	$SECCOMP_SET_MODE_FILTER, %edi
	xor	%esi, %esi
	lea	STUB_FPROG(%rbx), %rdx
	syscall

	/* Parks: whatever number, it is not executed, and does not return. */
	mov	$-1, %eax
	syscall
	ud2

no_unmap:
	mov	$EXIT_UNMAP, %edi
	jmp	die
no_thread:
	mov	$EXIT_ATTACH, %edi
	mov	$__NR_exit, %eax
	syscall
die:
	mov	$__NR_exit_group, %eax
	syscall
	ud2
	.globl	stub_end
stub_end:

	.section .note.GNU-stack, "", @progbits
