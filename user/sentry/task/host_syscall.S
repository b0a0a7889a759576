/* SPDX-License-Identifier: MIT */
/*
 * host_syscall.S - a host system call that work for the task interrupts
 *
 * long host_syscall_checked(atomic_uint *work, long nr, const long a[6])
 *
 * Between the check of work and the syscall instruction the kick signal would
 * be lost. Its handler therefore looks at the interrupted address: from
 * host_syscall_check up to and including host_syscall_insn (where the kernel
 * also returns to when it restarts a call) it continues at
 * host_syscall_eintr instead.
 */

/* TASK_WORK_INTERRUPT; task/wait.c asserts that it is the same. */
#define INTERRUPT_MASK 7

	.text
	.globl	host_syscall_checked
	.hidden	host_syscall_checked
	.type	host_syscall_checked, @function
host_syscall_checked:
	.cfi_startproc
	mov	%rdi, %r11
	mov	%rsi, %rax
	mov	%rdx, %rcx
	mov	(%rcx), %rdi
	mov	8(%rcx), %rsi
	mov	16(%rcx), %rdx
	mov	24(%rcx), %r10
	mov	32(%rcx), %r8
	mov	40(%rcx), %r9
	.globl	host_syscall_check
	.hidden	host_syscall_check
host_syscall_check:
	testl	$INTERRUPT_MASK, (%r11)
	jnz	host_syscall_eintr
	.globl	host_syscall_insn
	.hidden	host_syscall_insn
host_syscall_insn:
	syscall
	ret
	.globl	host_syscall_eintr
	.hidden	host_syscall_eintr
host_syscall_eintr:
	mov	$-4, %rax	/* -EINTR */
	ret
	.cfi_endproc
	.size	host_syscall_checked, . - host_syscall_checked

	.section .note.GNU-stack, "", @progbits
