/* SPDX-License-Identifier: MIT */
/*
 * sysmsg.S - the stub code of the systrap platform: entries, and the server
 *
 * One page, mapped read-only and executable in every stub process, next to the
 * sandboxed program. Two kinds of thread run it. The first thread of a process,
 * the server, carries out memory operations for the sentry and never runs
 * program code. All others run program code, and come here by a signal, or by a
 * call out of patched code, to hand it to the sentry (sysmsg.c).
 *
 * What a hostile program can do with it:
 *
 *  - Jump to any byte of it, with any registers. Its thread's seccomp filter lets
 *    it sleep, wake sleepers, yield, and return from signals, which it may do; any
 *    other system call is an event for the sentry. It has no descriptors.
 *  - Change the course of another stub thread through its stacks or its
 *    sysmsg_thread_context. That thread is its own as well: see above.
 *  - Change the course of the server: it has no stack and reads nothing but what
 *    is read-only here and, of that, only what the sentry writes. All signals of
 *    it are blocked. The acknowledgement is a write to a descriptor, which the
 *    program's threads do not have.
 *  - Cheat the sentry with what it leaves in shared memory: the sentry's matter.
 *  - Learn from it: the code is public, the address is fixed.
 */
#include <asm/unistd.h>

#include "stub/sysmsg.h"

/* struct sysmsg_ops and struct sysmsg_data; sysmsg.c checks them. */
#define OPS_COUNT 4
#define OPS_ACK_FD 8
#define OPS_MEMORY_FD 12
#define OPS_PARENT 16
#define OPS_PID 20
#define OPS_AREA 24
#define OPS_STACK 32
#define OPS_OPS 56
#define OP_SIZE 56
#define DATA_NO_SIGNALS 4096
#define DATA_FILTER 4104
#define DATA_DISPATCH 4120

#define CLONE_VM 0x100
#define CLOSE_RANGE_UNSHARE 2
#define FUTEX_WAIT 0
#define MAP_SHARED_FIXED 0x11
#define PR_SET_PDEATHSIG 1
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PROT_READ 1
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW 4
#define SECCOMP_SET_MODE_FILTER 1
#define SIGKILL 9
#define SIG_SETMASK 2

#define EFLAGS_TF_DF_AC 0x40500
#define EFLAGS_AC 0x40000
#define UCONTEXT_EFLAGS 176

/* A register's place in the context, by its number in struct sigcontext. */
#define REG(n) %gs:(SYSMSG_TC_REGS + 8 * (n))
#define MSG_STATE %gs:SYSMSG_MSG_OF_TC

	.section .sysmsg, "ax", @progbits
	.globl	sysmsg_text
sysmsg_text:

/* rbx: operations; r12d: number of the last batch; r13: acknowledgements */
	.org SYSMSG_ENTRY_SERVER
	.globl	sysmsg_server
sysmsg_server:
	lea	sysmsg_text + SYSMSG_OPS(%rip), %rbx
	jmp	server_first

/* See sysmsg.h for the convention. No instruction up to "1:" changes flags. */
	.org SYSMSG_ENTRY_CALL
	.globl	sysmsg_call
sysmsg_call:
	mov	%rcx, %r11
	rdgsbase %rcx
	rorx	$32, %rcx, %rcx
	mov	%ecx, %ecx
	lea	-SYSMSG_BASE_HIGH(%rcx), %rcx
	jrcxz	1f
	.globl	sysmsg_call_slow
sysmsg_call_slow:
	ud2
1:	movl	$SYSMSG_THREAD_PREP, MSG_STATE
	mov	%r8, REG(0)
	mov	%r9, REG(1)
	mov	%r10, REG(2)
	mov	%r12, REG(4)
	mov	%r13, REG(5)
	mov	%r14, REG(6)
	mov	%r15, REG(7)
	mov	%rdi, REG(8)
	mov	%rsi, REG(9)
	mov	%rbp, REG(10)
	mov	%rbx, REG(11)
	mov	%rdx, REG(12)
	mov	%rax, REG(13)
	mov	%r11, REG(14)
	mov	%rsp, REG(15)
	mov	%r11, REG(16)
	rdgsbase %rdi
	lea	SYSMSG_STACK_PRIVATE + SYSMSG_STACK_PRIVATE_SIZE - SYSMSG_SHARED(%rdi), %rsp
	pushfq
	mov	(%rsp), %rax
	mov	%rax, REG(3)
	mov	%rax, REG(17)
	test	$EFLAGS_TF_DF_AC, %eax
	jz	2f
	andq	$~EFLAGS_TF_DF_AC, (%rsp)
	popfq
2:	call	sysmsg_called
	mov	REG(0), %r8
	mov	REG(1), %r9
	mov	REG(2), %r10
	mov	REG(4), %r12
	mov	REG(5), %r13
	mov	REG(6), %r14
	mov	REG(7), %r15
	mov	REG(8), %rdi
	mov	REG(9), %rsi
	mov	REG(10), %rbp
	mov	REG(11), %rbx
	mov	REG(12), %rdx
	mov	REG(13), %rax
	mov	REG(3), %r11
	push	%r11
	popfq
	mov	REG(15), %rsp
	mov	REG(16), %rcx
	movl	$SYSMSG_THREAD_NONE, MSG_STATE
	.globl	sysmsg_call_tail
sysmsg_call_tail:
	jmp	*%rcx
	.globl	sysmsg_call_end
sysmsg_call_end:
	ud2

/* Where a call that needs a signal frame gets one. */
	.globl	sysmsg_make_frame
sysmsg_make_frame:
	ud2

/*
 * Entered by the kernel with rdi: signal, rsi: siginfo, rdx: ucontext. Alignment
 * checks of the program's own choice are not for our code.
 */
	.globl	sysmsg_handler
sysmsg_handler:
	testl	$EFLAGS_AC, UCONTEXT_EFLAGS(%rdx)
	jz	sysmsg_signal
	pushfq
	andq	$~EFLAGS_AC, (%rsp)
	popfq
	jmp	sysmsg_signal

	.globl	sysmsg_restore
sysmsg_restore:
	mov	$__NR_rt_sigreturn, %eax
	syscall

/* ---- the server ---- */

server_first:
	xor	%r12d, %r12d
	lea	sysmsg_text + SYSMSG_DATA(%rip), %r13
server_wait:
	mov	(%rbx), %eax
	cmp	%eax, %r12d
	jne	server_run
	mov	$__NR_futex, %eax
	mov	%rbx, %rdi
	xor	%esi, %esi
	mov	%r12d, %edx
	xor	%r10d, %r10d
	syscall
	jmp	server_wait

server_run:
	mov	%eax, %r12d
	lea	OPS_OPS(%rbx), %r14
	mov	OPS_COUNT(%rbx), %r15d
	xor	%ebp, %ebp
server_next:
	test	%r15d, %r15d
	jz	server_ack
	mov	0(%r14), %rax
	mov	8(%r14), %rdi
	mov	16(%r14), %rsi
	mov	24(%r14), %rdx
	mov	32(%r14), %r10
	mov	40(%r14), %r8
	mov	48(%r14), %r9
	syscall
	cmpl	$__NR_clone, (%r14)
	je	server_cloned
server_result:
	cmp	$-4095, %rax
	jae	server_failed
	add	$OP_SIZE, %r14
	dec	%r15d
	jmp	server_next

server_failed:
	neg	%rax
	mov	%rax, %rbp
server_ack:
	mov	$__NR_write, %eax
	mov	OPS_ACK_FD(%rbx), %edi
	lea	(%r13, %rbp, 8), %rsi
	mov	$8, %edx
	syscall
	jmp	server_wait

server_cloned:
	test	%rax, %rax
	jnz	server_result
	testl	$CLONE_VM, 8(%r14)
	jnz	thread_start

/* A new process: has its own operations, dies with the sentry. */
	mov	$__NR_mmap, %eax
	mov	%rbx, %rdi
	mov	$SYSMSG_OPS_SIZE, %esi
	mov	$PROT_READ, %edx
	mov	$MAP_SHARED_FIXED, %r10d
	mov	OPS_MEMORY_FD(%rbx), %r8d
	xor	%r9d, %r9d
	syscall
	mov	$1, %edi
	cmp	%rax, %rbx
	jne	die
	mov	$__NR_prctl, %eax
	mov	$PR_SET_PDEATHSIG, %edi
	mov	$SIGKILL, %esi
	syscall
	mov	$2, %edi
	test	%rax, %rax
	jnz	die
	mov	$__NR_getppid, %eax
	syscall
	mov	$3, %edi
	cmp	OPS_PARENT(%rbx), %eax
	jne	die
	xor	%r12d, %r12d
	xor	%ebp, %ebp
	jmp	server_ack

/*
 * A new thread: gives up descriptors and rights, then gets into the handler by a
 * signal, so that it has a complete signal frame to start the program with.
 */
thread_start:
	mov	$__NR_close_range, %eax
	xor	%edi, %edi
	mov	$-1, %esi
	mov	$CLOSE_RANGE_UNSHARE, %edx
	syscall
	mov	$4, %edi
	test	%rax, %rax
	jnz	die
	cmpl	$0, DATA_DISPATCH(%r13)
	je	1f
	mov	$__NR_prctl, %eax
	mov	$PR_SET_SYSCALL_USER_DISPATCH, %edi
	mov	$1, %esi
	lea	sysmsg_text(%rip), %rdx
	mov	$SYSMSG_TEXT_SIZE, %r10d
	xor	%r8d, %r8d
	syscall
	mov	$5, %edi
	test	%rax, %rax
	jnz	die
1:	mov	$__NR_sigaltstack, %eax
	lea	OPS_STACK(%rbx), %rdi
	xor	%esi, %esi
	syscall
	mov	$6, %edi
	test	%rax, %rax
	jnz	die
	/* A signal may lead to program code once they are open: the filter comes first. */
	mov	$__NR_seccomp, %eax
	mov	$SECCOMP_SET_MODE_FILTER, %edi
	mov	$SECCOMP_FILTER_FLAG_SPEC_ALLOW, %esi
	lea	DATA_FILTER(%r13), %rdx
	syscall
	mov	$7, %edi
	test	%rax, %rax
	jnz	die
	mov	$__NR_rt_sigprocmask, %eax
	mov	$SIG_SETMASK, %edi
	lea	DATA_NO_SIGNALS(%r13), %rsi
	xor	%edx, %edx
	mov	$8, %r10d
	syscall
	mov	$8, %edi
	test	%rax, %rax
	jnz	die
	.globl	sysmsg_init
sysmsg_init:
	ud2

/* The exit code tells which step failed; the whole process goes. */
die:
	mov	$__NR_exit_group, %eax
	syscall
	ud2

	.section .note.GNU-stack, "", @progbits
