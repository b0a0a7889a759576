// SPDX-License-Identifier: MIT
/*
 * usertrap_test.c - which system calls are rewritten, and what then executes
 *
 * The decoder and the search for function starts on buffers that are made for it,
 * on this program and on the C library. What is written is executed natively, in a
 * traced child, from every state in which a thread can be when the code changes;
 * the handler is a routine that goes on to the system call instruction.
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/usertrap.h"

#include "kselftest_harness.h"
#include "patience.h"

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

/* ---- code to look at ---- */

/*
 * Each piece ends with the system call that is looked at. CODE's names are those of
 * its first byte and of the first one behind it.
 */
#define CODE(name, text) \
	asm(".pushsection .rodata.pieces, \"a\", @progbits\n" \
	    "	.balign 64\n" \
	    #name ":\n" text "\n" \
	    #name "_end:\n" \
	    "	.fill 16, 1, 0xcc\n" \
	    "	.popsection\n"); \
	extern const uint8_t name[], name##_end[]

CODE(c_direct, "mov $39, %eax; syscall");
CODE(c_direct_rax, "mov $39, %rax; syscall");
CODE(c_movabs, "movabs $39, %rax; syscall");
CODE(c_endbr, "endbr64; mov $39, %eax; syscall");
CODE(c_between, "mov $0xca, %eax; xor $0x81, %sil; syscall");
CODE(c_endbr_between, "mov $39, %eax; endbr64; syscall");
CODE(c_nr_in_register, "mov $186, %r9d; xor %edx, %edx; mov %r9d, %eax; syscall");
CODE(c_generic, "mov %rdi, %rax; mov %r8, %r10; mov 8(%rsp), %r9; syscall");
CODE(c_read, "mov %fs:0x18, %eax; test %eax, %eax; jne 1f; syscall; 1:");
CODE(c_relative, "mov c_relative(%rip), %eax; syscall");
CODE(c_relative_imm, "cmpl $7, c_relative(%rip); syscall");
CODE(c_stack, "mov $39, %eax; push %rax; pop %rax; syscall");
CODE(c_short, "push $39; pop %rax; syscall");
CODE(c_bare, "syscall");
CODE(c_behind_jump, "mov $39, %eax; jmp 1f; 1: syscall");
CODE(c_behind_call, "mov $39, %eax; call 1f; 1: syscall");
CODE(c_behind_syscall, "mov $39, %eax; syscall; syscall");
CODE(c_loop, "mov $39, %eax; loop 1f; 1: syscall");
CODE(c_jrcxz, "mov $39, %eax; jrcxz 1f; 1: syscall");
CODE(c_long_run, "mov $39, %eax; nop; nop; nop; nop; nop; nop; nop; syscall");
CODE(c_sigreturn, "mov $15, %rax; syscall");
CODE(c_sigreturn_eax, "mov $15, %eax; syscall");
CODE(c_int80, "mov $39, %eax; int $0x80; nop; nop; syscall");
CODE(c_hidden, "movabs $0x050f0000000027b8, %rax");
CODE(c_invalid, ".byte 6; mov $39, %eax; syscall");
CODE(c_sysenter, "mov $39, %eax; sysenter");

/* What the decoder says of a piece: @anchor is the offset of what is replaced. */
struct expectation {
	const char *name;
	const uint8_t *code, *end;
	int err;
	unsigned int anchor, insns;
};

#define GOOD(name, anchor, insns) { #name, name, name##_end, 0, anchor, insns }
#define BAD(name, err) { #name, name, name##_end, err, 0, 0 }

static const struct expectation expectations[] = {
	GOOD(c_direct, 0, 1),
	GOOD(c_direct_rax, 0, 1),
	GOOD(c_movabs, 0, 1),
	GOOD(c_endbr, 4, 1),
	GOOD(c_between, 0, 2),
	GOOD(c_endbr_between, 0, 2),
	GOOD(c_nr_in_register, 0, 3),
	GOOD(c_generic, 6, 1),
	GOOD(c_read, 0, 3),
	GOOD(c_relative, 0, 1),
	GOOD(c_relative_imm, 0, 1),
	GOOD(c_stack, 0, 3),
	BAD(c_short, -ENOTSUP),
	BAD(c_bare, -ENOTSUP),
	BAD(c_behind_jump, -ENOTSUP),
	BAD(c_behind_call, -ENOTSUP),
	BAD(c_behind_syscall, -ENOTSUP),
	BAD(c_loop, -ENOTSUP),
	BAD(c_jrcxz, -ENOTSUP),
	BAD(c_long_run, -ENOTSUP),
	BAD(c_sigreturn, -ENOTSUP),
	BAD(c_sigreturn_eax, -ENOTSUP),
	BAD(c_int80, -ENOTSUP),
	BAD(c_hidden, -EILSEQ),
	BAD(c_invalid, -EILSEQ),
	BAD(c_sysenter, -EILSEQ),
};

TEST(decoder_knows_what_can_be_replaced)
{
	struct usertrap_plan plan;
	size_t i;

	for (i = 0; i < ARRAY(expectations); i++) {
		const struct expectation *e = &expectations[i];
		uint64_t start = (uint64_t)e->code;

		EXPECT_EQ(e->err, usertrap_decode(e->code, start, (uint64_t)e->end - 2, &plan))
			TH_LOG("%s", e->name);
		if (e->err)
			continue;
		EXPECT_EQ(start + e->anchor, plan.site) TH_LOG("%s", e->name);
		EXPECT_EQ(e->insns, plan.nr_insns) TH_LOG("%s", e->name);
		EXPECT_EQ(0, memcmp(plan.code, e->code + e->anchor, plan.syscall_off + 2))
			TH_LOG("%s", e->name);
	}
}

/* One long instruction and a system call, with the start of the former at @addr. */
static int decode_at(uint64_t addr)
{
	struct usertrap_plan plan;

	return usertrap_decode(c_direct, addr, addr + 5, &plan);
}

TEST(jump_never_crosses_a_page)
{
	EXPECT_EQ(0, decode_at(0x10000ffb));
	EXPECT_EQ(-ENOTSUP, decode_at(0x10000ffc));
	EXPECT_EQ(-ENOTSUP, decode_at(0x10000fff));
	EXPECT_EQ(0, decode_at(0x10001000));
}

TEST(slot_out_of_reach_is_refused)
{
	uint8_t slot[USERTRAP_SLOT_SIZE];
	struct usertrap_plan plan;
	const uint64_t site = 0x100000000000ull;

	ASSERT_EQ(0, usertrap_decode(c_direct, site, site + 5, &plan));
	EXPECT_EQ(0, usertrap_emit(&plan, site + 0x7fff0000, slot));
	EXPECT_EQ(0, usertrap_emit(&plan, site - 0x7fff0000, slot));
	EXPECT_EQ(-ERANGE, usertrap_emit(&plan, site + 0x80010000, slot));
	EXPECT_EQ(-ERANGE, usertrap_emit(&plan, site - 0x80010000, slot));
	/* What the code itself refers to may be further away than the code. */
	ASSERT_EQ(0, usertrap_decode(c_relative, site, site + 6, &plan));
	EXPECT_EQ(0, usertrap_emit(&plan, site + 0x7fff0000, slot));
	plan.code[2] = plan.code[3] = plan.code[4] = 0;
	plan.code[5] = 0x80;
	EXPECT_EQ(-ERANGE, usertrap_emit(&plan, site + 0x10000, slot));
}

/* ---- where functions start ---- */

struct fake {
	const uint8_t *bytes; /* of the mapping at @base */
	uint64_t base, len;
	bool no_unwind_table;
	unsigned int reads;
};

static ssize_t fake_read(void *arg, uint64_t addr, void *buf, size_t len)
{
	struct fake *f = arg;

	f->reads++;
	if (addr < f->base || addr - f->base >= f->len)
		return -EFAULT;
	len = len < f->len - (addr - f->base) ? len : f->len - (addr - f->base);
	memcpy(buf, f->bytes + (addr - f->base), len);
	return (ssize_t)len;
}

static struct usertrap_source source_of(struct fake *f)
{
	return (struct usertrap_source){
		.read = fake_read, .arg = f, .start = f->base, .end = f->base + f->len,
	};
}

TEST(padding_marks_a_start)
{
	static uint8_t code[256];
	struct fake f = { .bytes = code, .base = 0x40000000, .len = sizeof(code) };
	struct usertrap_source src = source_of(&f);
	struct usertrap_plan plan;
	uint64_t start;

	/* Nothing but the mapping itself. */
	memset(code, 0x97, sizeof(code));
	memcpy(code + 131, c_direct, 7);
	EXPECT_EQ(USERTRAP_MAPPING, usertrap_function_start(&src, f.base + 136, 0, &start));
	EXPECT_EQ(f.base, start);
	/* Nearest first; int3, nop and endbr64. */
	memcpy(code + 64, "\xf3\x0f\x1e\xfa", 4);
	code[110] = code[111] = 0xcc;
	memcpy(code + 124, "\x0f\x1f\x40", 4);
	EXPECT_EQ(USERTRAP_PADDING, usertrap_function_start(&src, f.base + 136, 0, &start));
	EXPECT_EQ(f.base + 128, start);
	EXPECT_EQ(USERTRAP_PADDING, usertrap_function_start(&src, f.base + 136, 1, &start));
	EXPECT_EQ(f.base + 112, start);
	EXPECT_EQ(USERTRAP_PADDING, usertrap_function_start(&src, f.base + 136, 2, &start));
	EXPECT_EQ(f.base + 64, start);
	EXPECT_EQ(-ENOENT, usertrap_function_start(&src, f.base + 136, 3, &start));
	EXPECT_EQ(0, usertrap_examine(&src, f.base + 136, &plan));
	EXPECT_EQ(f.base + 131, plan.site);
}

/* Two places that look like starts, and lead to different instructions. */
TEST(guesses_that_disagree_are_refused)
{
	static uint8_t code[64];
	struct fake f = { .bytes = code, .base = 0x40000000, .len = sizeof(code) };
	struct usertrap_source src = source_of(&f);
	struct usertrap_plan plan;

	memset(code, 0x90, sizeof(code));
	/* From 16 on: movabs $0x50f..., %r8, in which there is a system call at 25. */
	memcpy(code + 32, "\x49\xb8\x90\x90\x90\x90\x90\x90\x90\x90", 10);
	memcpy(code + 46, "\xb8\x27\x00\x00\x00\x0f\x05", 7);
	EXPECT_EQ(0, usertrap_examine(&src, f.base + 51, &plan));
	EXPECT_EQ(f.base + 46, plan.site);
	/* Now the first bytes of the mov are the last ones of another instruction. */
	memcpy(code + 16, "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90", 16);
	memcpy(code + 32, "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x49\xb8\x90\x90", 16);
	memcpy(code + 48, "\xb8\x27\x00\x00\x00\x0f\x05", 7);
	EXPECT_EQ(-EILSEQ, usertrap_examine(&src, f.base + 53, &plan));
}

/* This program, in memory and as a file. */
static ssize_t self_read(void *arg, uint64_t addr, void *buf, size_t len)
{
	struct fake *f = arg;

	if (f->reads++ == 0)
		f->base = addr;
	memcpy(buf, (const void *)addr, len);
	/* The program headers come second. */
	if (f->no_unwind_table && f->reads == 2)
		for (size_t i = 0; i < len / sizeof(Elf64_Phdr); i++)
			if (((Elf64_Phdr *)buf)[i].p_type == PT_GNU_EH_FRAME)
				((Elf64_Phdr *)buf)[i].p_type = PT_NULL;
	return (ssize_t)len;
}

static ssize_t self_read_file(void *arg, uint64_t off, void *buf, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	return pread(fd, buf, len, (off_t)off);
}

struct object {
	const char *name; /* the end of its name; "": this program */
	uint64_t base, text, text_end;
};

static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object *o = arg;
	const char *found = strstr(info->dlpi_name, o->name);
	int i;

	if (*o->name ? !found : *info->dlpi_name)
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const Elf64_Phdr *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && !ph->p_offset)
			o->base = info->dlpi_addr + ph->p_vaddr;
		if (ph->p_type == PT_LOAD && ph->p_flags & PF_X) {
			o->text = info->dlpi_addr + ph->p_vaddr;
			o->text_end = o->text + ph->p_filesz;
		}
	}
	return 1;
}

TEST(unwind_table_and_symbols_tell_the_same_start)
{
	struct object self = { .name = "" };
	struct fake f = { 0 };
	struct usertrap_source src = {
		.read = self_read, .read_file = self_read_file, .arg = &f,
	};
	uint64_t fn = (uint64_t)&find_object, start = 0;

	ASSERT_EQ(1, dl_iterate_phdr(find_object, &self));
	src.start = self.text;
	src.end = self.text_end;
	src.image = self.base;
	EXPECT_EQ(USERTRAP_UNWIND_TABLE, usertrap_function_start(&src, fn, 0, &start));
	EXPECT_EQ(fn, start);
	EXPECT_EQ(USERTRAP_UNWIND_TABLE, usertrap_function_start(&src, fn + 9, 0, &start));
	EXPECT_EQ(fn, start);
	EXPECT_EQ(-ENOENT, usertrap_function_start(&src, fn + 9, 1, &start));
	f = (struct fake){ .no_unwind_table = true };
	start = 0;
	EXPECT_EQ(USERTRAP_SYMBOL, usertrap_function_start(&src, fn + 9, 0, &start));
	EXPECT_EQ(fn, start);
}

/* ---- the C library ---- */

/* Bytes that look like the instruction but are none of it are refused too. */
TEST(most_of_the_c_library_can_be_rewritten)
{
	struct object libc = { .name = "libc.so" };
	unsigned int seen = 0, good = 0;
	struct usertrap_plan plan;
	struct fake f = { 0 };
	struct usertrap_source src = { .read = self_read, .arg = &f };
	const uint8_t *p;

	if (!dl_iterate_phdr(find_object, &libc))
		SKIP(return, "this machine has no shared C library");
	src.start = libc.text;
	src.end = libc.text_end;
	src.image = libc.base;
	for (p = (const uint8_t *)libc.text; p < (const uint8_t *)libc.text_end - 2; p++) {
		if (p[0] != 0x0f || p[1] != 0x05)
			continue;
		seen++;
		good += !usertrap_examine(&src, (uint64_t)p, &plan);
	}
	TH_LOG("%u of %u", good, seen);
	EXPECT_LT(300, seen);
	EXPECT_LT(seen * 90 / 100, good);
}

/* An image whose every byte may be wrong: no crash, no endless search. */
TEST(corrupt_images_are_survived)
{
	struct object self = { .name = "" };
	struct usertrap_plan plan;
	unsigned int seed = 1, round, i;
	uint64_t len, at[8];
	uint8_t *copy;

	ASSERT_EQ(1, dl_iterate_phdr(find_object, &self));
	len = self.text_end - self.base;
	copy = malloc(len);
	memcpy(copy, (const void *)self.base, len);
	for (round = 0; round < 3000; round++) {
		struct fake f = { .bytes = copy, .base = self.base, .len = len };
		struct usertrap_source src = source_of(&f);

		for (i = 0; i < ARRAY(at); i++) {
			at[i] = rand_r(&seed) % (i & 1 ? len : 1024);
			copy[at[i]] = (uint8_t)rand_r(&seed);
		}
		src.start = self.text;
		src.image = self.base;
		usertrap_examine(&src, self.text + (uint64_t)rand_r(&seed) % (len / 2), &plan);
		ASSERT_GT(200, f.reads);
		for (i = 0; i < ARRAY(at); i++)
			copy[at[i]] = ((const uint8_t *)self.base)[at[i]];
	}
	free(copy);
}

/* ---- what is written, executed ---- */

/*
 * A page of code and a page of slots, shared with a child that executes it. The code
 * is a piece above, behind it hlt. The handler goes to the instruction in front of
 * rcx.
 */
struct bench {
	uint8_t *code, *slots;
	uint64_t addr, slot;
	struct usertrap_plan plan;
	uint8_t jump[USERTRAP_JUMP_SIZE];
	pid_t child;
};

void usertrap_test_entry(void);
asm("	.globl usertrap_test_entry\n"
    "usertrap_test_entry:\n"
    "	lea	-2(%rcx), %rcx\n"
    "	jmp	*%rcx\n");

/* Pieces that end in a system call that can be made, and its number there. */
static const struct executable {
	const struct expectation *e;
	long nr;
} executables[] = {
	{ &expectations[0], SYS_getpid }, { &expectations[1], SYS_getpid },
	{ &expectations[2], SYS_getpid }, { &expectations[3], SYS_getpid },
	{ &expectations[5], SYS_getpid }, { &expectations[6], SYS_gettid },
	{ &expectations[7], SYS_gettid },
	{ &expectations[11], SYS_getpid }, /* the last: see below */
};

static void write_code(struct bench *b, bool patched)
{
	memcpy(b->code + (b->plan.site - b->addr), patched ? b->jump : b->plan.code,
	       sizeof(b->jump));
}

static bool bench_open(struct bench *b, const struct expectation *e)
{
	size_t len = (size_t)(e->end - e->code);

	b->code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (b->code == MAP_FAILED)
		return false;
	b->slots = b->code + 4096;
	b->addr = (uint64_t)b->code;
	b->slot = (uint64_t)b->slots + USERTRAP_SLOT_SIZE;
	memset(b->code, 0xf4, 4096);
	memcpy(b->code, e->code, len);
	usertrap_emit_header((uint64_t)usertrap_test_entry, b->slots);
	if (usertrap_decode(b->code, b->addr, b->addr + len - 2, &b->plan) ||
	    usertrap_emit(&b->plan, b->slot, b->slots + USERTRAP_SLOT_SIZE))
		return false;
	usertrap_jump(&b->plan, b->slot, b->jump);
	b->child = fork();
	if (!b->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(1);
	}
	return waitpid(b->child, NULL, 0) == b->child;
}

static void bench_close(struct bench *b)
{
	kill(b->child, SIGKILL);
	waitpid(b->child, NULL, 0);
	munmap(b->code, 8192);
}

static void bench_start(struct bench *b, struct user_regs_struct *regs)
{
	ptrace(PTRACE_GETREGS, b->child, 0, regs);
	regs->rip = b->addr;
	regs->orig_rax = ~0ull;
	regs->rbx = 0x1111;
	regs->rdi = SYS_gettid;
	regs->rdx = 0x2222;
	regs->rsi = 0x3333;
	regs->r8 = 0x4444;
	regs->r12 = 0x5555;
	regs->eflags = 0x8d7;
	ptrace(PTRACE_SETREGS, b->child, 0, regs);
}

/* Single steps: false once hlt has been reached. */
static bool bench_step(struct bench *b, struct user_regs_struct *regs)
{
	int status;

	ptrace(PTRACE_SINGLESTEP, b->child, 0, 0);
	if (waitpid(b->child, &status, 0) != b->child || !WIFSTOPPED(status))
		return false;
	ptrace(PTRACE_GETREGS, b->child, 0, regs);
	return WSTOPSIG(status) == SIGTRAP;
}

/* Runs to the end: what the registers are then, but for what may differ. */
static void bench_finish(struct bench *b, struct user_regs_struct *regs)
{
	while (bench_step(b, regs))
		;
	regs->eflags &= 0xcd5;
	regs->rcx = regs->r11 = 0;
	regs->orig_rax = 0;
}

/* The step at which something happens to a thread. */
typedef bool (*event_fn)(struct bench *b, struct user_regs_struct *regs);

/* Does it, from every state that there is on the way: all must end the same. */
static void at_every_step(struct __test_metadata *_metadata, bool patched, event_fn event)
{
	struct user_regs_struct want, got;
	unsigned int step, i, done;
	struct bench b;
	size_t n;

	for (n = 0; n < ARRAY(executables); n++) {
		ASSERT_TRUE(bench_open(&b, executables[n].e)) TH_LOG("%s", executables[n].e->name);
		bench_start(&b, &want);
		bench_finish(&b, &want);
		EXPECT_EQ(b.child, (pid_t)want.rax) TH_LOG("%s", executables[n].e->name);
		for (step = 0, done = 1; done; step++) {
			write_code(&b, patched);
			bench_start(&b, &got);
			for (i = 0; i < step && bench_step(&b, &got); i++)
				;
			done = i == step && got.rip - b.addr < 8192;
			if (done && !event(&b, &got))
				TH_LOG("%s: step %u not possible", executables[n].e->name, step);
			bench_finish(&b, &got);
			EXPECT_EQ(0, memcmp(&want, &got, sizeof(want)))
				TH_LOG("%s, step %u: rip %llx rax %llx", executables[n].e->name,
				       step, got.rip - b.addr, got.rax);
		}
		EXPECT_LT(2, step);
		bench_close(&b);
	}
}

static bool patch_it(struct bench *b, struct user_regs_struct *regs)
{
	write_code(b, true);
	return true;
}

static bool restore_it(struct bench *b, struct user_regs_struct *regs)
{
	write_code(b, false);
	return true;
}

/* What the sentry does to a thread that an event finds in a slot. */
static bool leave_slot(struct bench *b, struct user_regs_struct *regs)
{
	uint64_t ip = 0;

	if (regs->rip - b->slot >= USERTRAP_SLOT_SIZE)
		return true;
	if (usertrap_original_ip(&b->plan, (unsigned int)(regs->rip - b->slot), &ip) ==
	    USERTRAP_NOWHERE)
		return false;
	if (ip < b->plan.site || ip > b->plan.site + b->plan.syscall_off)
		return false;
	regs->rip = ip;
	ptrace(PTRACE_SETREGS, b->child, 0, regs);
	return true;
}

static bool leave_slot_and_restore(struct bench *b, struct user_regs_struct *regs)
{
	return restore_it(b, regs) && leave_slot(b, regs);
}

static bool nothing(struct bench *b, struct user_regs_struct *regs)
{
	return true;
}

TEST(patched_code_does_the_same)
{
	at_every_step(_metadata, true, nothing);
}

TEST(thread_anywhere_when_code_is_patched)
{
	at_every_step(_metadata, false, patch_it);
}

TEST(thread_anywhere_when_code_is_restored)
{
	at_every_step(_metadata, true, restore_it);
}

TEST(thread_anywhere_can_leave_the_slot)
{
	at_every_step(_metadata, true, leave_slot);
}

TEST(thread_anywhere_can_leave_the_slot_for_good)
{
	at_every_step(_metadata, true, leave_slot_and_restore);
}

/* From every original instruction but the anchor the code is the original one. */
TEST(jumps_behind_the_anchor_find_the_original)
{
	struct user_regs_struct want, got;
	struct bench b;
	size_t n, i;

	/* Not the last one: it pops what it has pushed. */
	for (n = 0; n < ARRAY(executables) - 1; n++) {
		ASSERT_TRUE(bench_open(&b, executables[n].e));
		for (i = 1; i <= b.plan.nr_insns; i++) {
			uint64_t to = b.plan.site + (i < b.plan.nr_insns ? b.plan.insns[i].off :
									   b.plan.syscall_off);
			int patched;

			for (patched = 0; patched < 2; patched++) {
				write_code(&b, patched);
				bench_start(&b, &got);
				got.rip = to;
				got.rax = SYS_gettid;
				got.r9 = SYS_gettid;
				ptrace(PTRACE_SETREGS, b.child, 0, &got);
				bench_finish(&b, &got);
				if (!patched)
					want = got;
			}
			EXPECT_EQ(b.child, (pid_t)got.rax) TH_LOG("%s", executables[n].e->name);
			EXPECT_EQ(0, memcmp(&want, &got, sizeof(want)))
				TH_LOG("%s", executables[n].e->name);
		}
		bench_close(&b);
	}
}

TEST(only_instructions_of_a_slot_have_an_original)
{
	uint8_t slot[USERTRAP_SLOT_SIZE];
	struct usertrap_plan plan;
	unsigned int off, known = 0;
	uint64_t ip, start = (uint64_t)c_nr_in_register;

	ASSERT_EQ(0, usertrap_decode(c_nr_in_register, start,
				     (uint64_t)c_nr_in_register_end - 2, &plan));
	ASSERT_EQ(0, usertrap_emit(&plan, start + 4096 * 64, slot));
	EXPECT_EQ(USERTRAP_AT_START, usertrap_original_ip(&plan, 0, &ip));
	EXPECT_EQ(start, ip);
	for (off = 1; off < USERTRAP_SLOT_SIZE; off++)
		known += usertrap_original_ip(&plan, off, &ip) != USERTRAP_NOWHERE;
	/* xor, mov, lea, jmp */
	EXPECT_EQ(4, known);
}

TEST_HARNESS_MAIN
