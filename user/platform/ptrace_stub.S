/* SPDX-License-Identifier: MIT */
/*
 * ptrace_stub.S - the only code of ours inside a stub process
 *
 * One page, mapped read-only and executable at the top of user space of every
 * stub process of the ptrace platform, next to the sandboxed program, which
 * may read it and jump to any byte of it. It therefore keeps nothing in memory
 * that a program could change: it uses registers, which the tracer sets while
 * the thread is stopped, and a list of system calls in a page that is read-only
 * in the stub process (and nothing but numbers of the sentry's to a program
 * that reads it).
 *
 * What a hostile program can do with it: execute `syscall`, which its tracer
 * intercepts like any other of its system calls, because its thread runs under
 * PTRACE_SYSEMU; or execute int3, which is a SIGTRAP of its own making.
 *
 * This is data to the sentry: it is copied into a memory file and never
 * executed at this place. It must be position independent.
 */
#include <asm/unistd.h>

	.section .rodata.ptrace_stub, "a", @progbits
	.balign 4096
	.globl	ptrace_stub_start, ptrace_stub_syscall, ptrace_stub_clone
	.globl	ptrace_stub_called, ptrace_stub_cloned
	.hidden	ptrace_stub_called, ptrace_stub_cloned
	.globl	ptrace_stub_batch, ptrace_stub_batched
	.hidden	ptrace_stub_batch, ptrace_stub_batched
	.globl	ptrace_stub_park, ptrace_stub_report, ptrace_stub_end
	.hidden	ptrace_stub_start, ptrace_stub_syscall, ptrace_stub_clone
	.hidden	ptrace_stub_park, ptrace_stub_report, ptrace_stub_end

ptrace_stub_start:
	/* A jump to the start of the page is nobody's plan. */
	int3

/* Execute one injected system call and stop for the tracer. */
ptrace_stub_syscall:
	syscall
	int3
ptrace_stub_called:
	int3

/*
 * Execute rbp system calls from the list at rbx, seven words each: number and
 * arguments. The list is in a page that only the sentry can write. Stops for
 * the tracer at the end, or at the first failure with rbp not zero.
 */
ptrace_stub_batch:
	mov	0(%rbx), %rax
	mov	8(%rbx), %rdi
	mov	16(%rbx), %rsi
	mov	24(%rbx), %rdx
	mov	32(%rbx), %r10
	mov	40(%rbx), %r8
	mov	48(%rbx), %r9
	syscall
	cmp	$-4095, %rax
	jae	1f
	add	$56, %rbx
	dec	%rbp
	jnz	ptrace_stub_batch
1:	int3
ptrace_stub_batched:
	int3

/* Make a thread: the parent stops for the tracer, the child parks itself. */
ptrace_stub_clone:
	syscall
	test	%rax, %rax
	jz	ptrace_stub_park
	int3
ptrace_stub_cloned:
	int3

/* Where threads without a tracer are, all signals blocked. */
ptrace_stub_park:
	mov	$__NR_pause, %eax
	syscall
	jmp	ptrace_stub_park

/* Where the template process ends its own set-up. */
ptrace_stub_report:
	int3

	/* Nothing but int3 to the end of the page. */
	.balign 4096, 0xcc
ptrace_stub_end:

	.section .note.GNU-stack, "", @progbits
