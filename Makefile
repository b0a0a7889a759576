# SPDX-License-Identifier: MIT
#
# Makefile - builds sandtrap: kernel module, stub, library, sandrun and tests
#
# Every output goes below $(BUILD). Sources are found by wildcard, so a new file
# needs no change here. A component with rules of its own brings a fragment
# (stub/stub.mk, user/*/build.mk, selftests/build.mk), see "Fragments" below.

BUILD ?= build
KERNEL_DIR ?= build/kernels
PREFIX ?= /usr/local
DESTDIR ?=
CC = gcc
AR = ar

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

# ---------------------------------------------------------------- output --

ifeq ($(V),1)
Q :=
quiet = @:
else
Q := @
quiet = @printf '  %-7s %s\n' $(1) '$(2)';
endif
note = @printf '  %-7s %s\n' NOTE '$(1)'

# --------------------------------------------------------------- kernels --

BUILD_ABS := $(abspath $(BUILD))
KERNEL_DIR_ABS := $(abspath $(KERNEL_DIR))
KERNEL_TOOL := KERNEL_DIR=$(KERNEL_DIR_ABS) scripts/kernel

# KERNELS may hold full versions, series (6.12), debug kernels (kasan-6.1), or "all" for
# every supported series.
KERNELS ?= $(shell $(KERNEL_TOOL) list)
ifeq ($(strip $(KERNELS)),all)
override KERNELS := $(shell $(KERNEL_TOOL) series all)
endif
# The kernels that were asked for, if any were: what is tested, and must be here.
KERNELS_ASKED = $(if $(filter file,$(origin KERNELS)),,$(KERNELS))
DEPS_ENV = KERNEL_DIR=$(KERNEL_DIR_ABS) KERNELS='$(KERNELS_ASKED)'
KERNEL_VERSIONS := $(sort $(foreach k,$(KERNELS),$(or $(shell $(KERNEL_TOOL) resolve $(k)),missing-$(k))))
KERNELS_MISSING := $(filter missing-%,$(KERNEL_VERSIONS))
ifneq ($(KERNELS_MISSING),)
KERNEL_VERSIONS := $(filter-out missing-%,$(KERNEL_VERSIONS))
endif

# --------------------------------------------------------------- sources --

LIB_SRCS := $(sort $(wildcard user/platform/*.c user/platform/*.S user/sentry/*.c \
		user/sentry/*/*.c user/sentry/*/*.S))
SANDRUN_SRCS := $(sort $(wildcard user/sandrun/*.c))
TEST_SRCS := $(sort $(wildcard selftests/*_test.c))
TESTLIB_SRCS := $(filter-out $(TEST_SRCS),$(sort $(wildcard selftests/*.c)))
PROG_SRCS := $(sort $(wildcard selftests/progs/*.c selftests/bench/*.c selftests/torture/*.c))
ASMPROG_SRCS := $(sort $(wildcard selftests/progs/*.S))
KMOD_SRCS := $(sort $(wildcard kmod/* kmod/*/* uapi/*))
HEADERS := $(sort $(wildcard uapi/*.h user/include/*.h user/include/*/*.h))

OBJ := $(BUILD)/obj
LIB_OBJS = $(patsubst %,$(OBJ)/%.o,$(basename $(LIB_SRCS)))
SANDRUN_OBJS = $(patsubst %,$(OBJ)/%.o,$(basename $(SANDRUN_SRCS)))
TESTLIB_OBJS = $(patsubst %,$(OBJ)/%.o,$(basename $(TESTLIB_SRCS)))
TESTS = $(patsubst %.c,$(BUILD)/%,$(TEST_SRCS))
PROGS = $(patsubst %.c,$(BUILD)/%,$(PROG_SRCS)) $(patsubst %.S,$(BUILD)/%,$(ASMPROG_SRCS))
KMODS = $(foreach v,$(KERNEL_VERSIONS),$(BUILD)/kmod/$(v)/sandtrap.ko)

# ----------------------------------------------------------------- flags --

INCLUDES := -I user/include -I uapi -I user -I . -I $(BUILD)/gen
WARNINGS := -Wall -Wextra -Werror -Wno-unused-parameter
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE= -fPIC -pthread $(WARNINGS) $(INCLUDES) $(CFLAGS)
DEPFLAGS = -MMD -MP
LIBS := -lseccomp -lcap-ng -lZydis -lelf
LDFLAGS ?=
ALL_LDFLAGS = -pthread -Wl,--as-needed -Wl,-z,relro -Wl,-z,now $(LDFLAGS)
LIB_VERSION := 0.1.0

# The platforms register themselves by constructor: take the archive whole.
WHOLE_LIB = -Wl,--whole-archive $(BUILD)/libsentry.a -Wl,--no-whole-archive

# The harness compares mixed integer types and is no code of ours.
KSELFTEST := $(BUILD)/kselftest
TEST_CFLAGS = -isystem $(KSELFTEST) -I selftests -Wno-sign-compare

# What can be built here? Sources that are not there yet are not an error.
LIB_TARGETS = $(if $(LIB_SRCS),$(BUILD)/libsentry.a $(BUILD)/libsentry.so) $(BUILD)/libsentry.pc
SANDRUN_TARGET = $(if $(SANDRUN_SRCS),$(BUILD)/sandrun)
LINUX_SOURCE := $(firstword $(wildcard /usr/src/linux-source-6.1.tar.xz /usr/src/linux-source-*.tar.xz))

.PHONY: all kmod lib sandrun tests progs
all: lib sandrun kmod progs tests
lib: $(LIB_TARGETS)
sandrun: $(SANDRUN_TARGET)
progs: $(PROGS)

# ------------------------------------------------------------- fragments --
# A fragment may append to LIB_OBJS (objects that go into libsentry), to
# SANDRUN_OBJS, TESTLIB_OBJS, PROGS, and may set target-specific variables. It
# builds below $(OBJ) or $(BUILD)/gen and prints with $(call quiet,CC,$@).

FRAGMENTS := $(wildcard stub/stub.mk user/*/build.mk user/*/*/build.mk selftests/build.mk)
include $(FRAGMENTS)

# ----------------------------------------------------------------- rules --

$(OBJ)/%.o: %.c
	$(call quiet,CC,$@)mkdir -p $(@D) && \
	$(CC) $(ALL_CFLAGS) $(OBJ_CFLAGS) $(DEPFLAGS) -c -o $@ $<

$(OBJ)/%.o: %.S
	$(call quiet,AS,$@)mkdir -p $(@D) && \
	$(CC) $(ALL_CFLAGS) $(OBJ_CFLAGS) $(DEPFLAGS) -c -o $@ $<

$(BUILD)/libsentry.a: $(LIB_OBJS)
	$(call quiet,AR,$@)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/libsentry.so: $(LIB_OBJS)
	$(call quiet,LD,$@)$(CC) -shared -Wl,-soname,libsentry.so -Wl,-Bsymbolic -Wl,-z,defs \
	$(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)

$(BUILD)/libsentry.pc: Makefile
	$(call quiet,GEN,$@)mkdir -p $(@D) && printf '%s\n' \
	'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	'Name: libsentry' 'Description: application kernel and sandbox platforms for Linux programs' \
	'Version: $(LIB_VERSION)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lsentry' \
	'Libs.private: -pthread $(LIBS)' > $@

$(BUILD)/sandrun: $(SANDRUN_OBJS) $(BUILD)/libsentry.a
	$(call quiet,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(WHOLE_LIB) $(LIBS)

# ---- tests: the harness comes out of Debian's linux-source package

$(KSELFTEST)/kselftest_harness.h: $(LINUX_SOURCE)
	$(call quiet,EXTRACT,$@)rm -rf $(@D) && mkdir -p $(@D) && \
	tar -C $(@D) -xf $< --wildcards --no-anchored --occurrence=1 --transform 's,.*/,,' \
		'tools/testing/selftests/kselftest_harness.h' 'tools/testing/selftests/kselftest.h' && \
	test -s $(@D)/kselftest.h && touch $@

ifeq ($(LINUX_SOURCE),)
tests:
	$(call note,tests not built: no linux-source package here; run "make deps")
else
tests: $(TESTS)
endif

TEST_OBJS = $(patsubst %.c,$(OBJ)/%.o,$(TEST_SRCS))
$(TEST_OBJS) $(TESTLIB_OBJS): OBJ_CFLAGS += $(TEST_CFLAGS)
$(TEST_OBJS) $(TESTLIB_OBJS): | $(KSELFTEST)/kselftest_harness.h

$(TESTS): $(BUILD)/selftests/%: $(OBJ)/selftests/%.o $(TESTLIB_OBJS) $(if $(LIB_SRCS),$(BUILD)/libsentry.a)
	$(call quiet,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
	$(if $(LIB_SRCS),$(WHOLE_LIB)) $(LIBS)

# ---- programs that run in the sandbox, measure it or torment it: one source each.
# Further flags: PROG_CFLAGS for one program by a target-specific variable.

$(BUILD)/selftests/%: selftests/%.c
	$(call quiet,CCLD,$@)mkdir -p $(@D) && \
	$(CC) -std=gnu11 -D_GNU_SOURCE= -pthread $(WARNINGS) $(INCLUDES) $(CFLAGS) $(DEPFLAGS) \
	-MF $@.d $(PROG_CFLAGS) -o $@ $< $(PROG_LIBS)

$(BUILD)/selftests/progs/%: selftests/progs/%.S
	$(call quiet,CCLD,$@)mkdir -p $(@D) && \
	$(CC) $(INCLUDES) -nostdlib -static -Wl,-z,noexecstack $(DEPFLAGS) -MF $@.d $(PROG_CFLAGS) -o $@ $<

# ---- the module: kbuild works on a tree of links, so the sources stay clean

# BTF of the module would need pahole and the kernel's vmlinux; nothing here reads it.
KMOD_FLAGS = $(if $(filter 1,$(V)),V=1) CONFIG_DEBUG_INFO_BTF_MODULES=

ifeq ($(wildcard kmod/Kbuild kmod/Makefile),)
kmod:
else ifeq ($(KMODS)$(KERNELS_MISSING),)
kmod:
	$(call note,module not built: no kernel headers here; run "make deps")
else
kmod: $(KMODS) $(KERNELS_MISSING)
endif

.PHONY: $(KERNELS_MISSING)
$(KERNELS_MISSING): missing-%:
	@echo 'module for kernel $* not built: no headers here; run "make deps KERNELS=$*"' >&2; exit 1

$(BUILD)/kmod/%/sandtrap.ko: $(KMOD_SRCS)
	+$(call quiet,KBUILD,$@)mkdir -p $(@D)/uapi && \
	find $(@D) -xtype l -delete && \
	cp -rs --remove-destination $(abspath kmod)/. $(@D)/ && \
	cp -rs --remove-destination $(abspath uapi)/. $(@D)/uapi/ && \
	MAKE=$(MAKE) $(KERNEL_TOOL) build $* $(abspath $(@D)) $(if $(Q),-s) --no-print-directory \
		$(KMOD_FLAGS) modules && touch $@

# ------------------------------------------------------------------ deps --

.PHONY: deps need-deps
deps:
	@+$(DEPS_ENV) MAKE=$(MAKE) scripts/deps

need-deps:
	@+$(DEPS_ENV) MAKE=$(MAKE) scripts/deps --quiet

# Each is built once, and taken up again where it was left.
DEBUG_KERNELS ?= kasan-6.1 kcsan-6.1
.PHONY: debug-kernel
debug-kernel:
	@+KERNEL_DIR=$(KERNEL_DIR_ABS) MAKE=$(MAKE) scripts/debug-kernel $(DEBUG_KERNELS)

# ------------------------------------------------------- running, testing --

KERNEL ?= 6.1
SMP ?= 2
TIMEOUT ?= 300
VM_ENV = BUILD=$(BUILD_ABS) KERNEL_DIR=$(KERNEL_DIR_ABS)
VM_FLAGS = --kernel $(KERNEL) --smp $(SMP) --timeout $(TIMEOUT) $(if $(filter 1,$(ICOUNT)),--icount) \
	$(if $(MEM),--mem $(MEM)) $(if $(filter 1,$(NO_MODULE)),--no-module)

.PHONY: vm check checks demo bench bench-check bench-markdown torture
# CMD reaches the guest's shell as it was typed: make expands nothing in it.
vm:
	$(if $(value CMD),,$(error say what to run: make vm CMD='uname -a' [KERNEL=6.12] [SMP=n] [ICOUNT=1] [TIMEOUT=s]))
	@$(VM_ENV) selftests/vm/vm $(VM_FLAGS) -- sh -c $(call shell-quote,$(value CMD))

shell-quote = '$(subst ','\'',$(1))'

# deps may install what the parse of this file looked for: start over after it.
check: need-deps
	@+$(VM_ENV) MAKE=$(MAKE) KERNELS='$(KERNELS_ASKED)' selftests/run

checks:
	@$(VM_ENV) CC=$(CC) scripts/checks

demo: need-deps
	@+$(MAKE) --no-print-directory lib sandrun kmod KERNELS=6.1
	@$(VM_ENV) selftests/demo

# ROUNDS, ROWS, PLATFORMS and MACHINES reach it in the environment.
bench: need-deps
	@+$(MAKE) --no-print-directory sandrun kmod progs KERNELS=$(KERNEL)
	@$(VM_ENV) KERNEL=$(KERNEL) selftests/bench/bench

# Holds the figures of the last run against what is promised.
bench-check:
	@$(VM_ENV) selftests/bench/check

# The tables of the last run, for README.md.
bench-markdown:
	@selftests/bench/bench --markdown $(BUILD)/bench/results.json

torture: need-deps
	@+$(MAKE) --no-print-directory all
	@$(VM_ENV) KERNELS='$(KERNELS_ASKED)' selftests/run --torture

# --------------------------------------------------------------- install --

.PHONY: install
install: lib sandrun kmod
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/sandtrap
	install -m 755 $(BUILD)/sandrun $(DESTDIR)$(PREFIX)/bin
	install -D -m 644 user/sandrun/sandrun.1 $(DESTDIR)$(PREFIX)/share/man/man1/sandrun.1
	install -D -m 644 kmod/sandtrap.4 $(DESTDIR)$(PREFIX)/share/man/man4/sandtrap.4
	install -m 644 $(BUILD)/libsentry.a $(BUILD)/libsentry.so $(DESTDIR)$(PREFIX)/lib
	install -m 644 $(BUILD)/libsentry.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig
	$(foreach h,$(HEADERS),install -m 644 $(h) \
		$(DESTDIR)$(PREFIX)/include/$(patsubst uapi/%,%,$(patsubst user/include/%,%,$(h))) &&) :
	$(foreach v,$(KERNEL_VERSIONS),install -D -m 644 $(BUILD)/kmod/$(v)/sandtrap.ko \
		$(DESTDIR)/lib/modules/$(v)/updates/sandtrap.ko &&) :

# ---------------------------------------------------- compile_commands.json --

C_SRCS = $(LIB_SRCS) $(SANDRUN_SRCS) $(TEST_SRCS) $(TESTLIB_SRCS) $(PROG_SRCS) \
	$(wildcard selftests/platform/*.c selftests/torture/fuzz/*.c)
comma := ,
define compile-command
  {"directory": "$(CURDIR)", "file": "$(1)", "command": "$(CC) $(ALL_CFLAGS) $(if $(filter selftests/%,$(1)),$(TEST_CFLAGS)) -c $(1)"}
endef

# clangd looks for it at the top of the tree or in build/.
.PHONY: compile_commands.json
compile_commands.json:
	$(call quiet,GEN,$(BUILD)/$@)mkdir -p $(BUILD)
	$(file >$(BUILD)/$@,[)
	$(foreach s,$(C_SRCS),$(file >>$(BUILD)/$@,$(call compile-command,$(s))$(if $(filter-out $(lastword $(C_SRCS)),$(s)),$(comma))))
	$(file >>$(BUILD)/$@,])

# ----------------------------------------------------------------- clean --

.PHONY: clean distclean help
# Fetched kernels stay: distclean removes them too.
clean:
	$(Q)if [ -d $(BUILD) ]; then \
		find $(BUILD) -mindepth 1 -maxdepth 1 ! -name kernels -exec rm -rf {} +; fi

distclean: clean
	$(Q)rm -rf $(BUILD) $(KERNEL_DIR)

help:
	@echo 'all                    module, stub, libsentry, sandrun, tests (the default)'
	@echo 'kmod lib sandrun tests progs   one part of it'
	@echo 'deps                   install missing Debian packages, fetch missing kernels'
	@echo 'demo                   a real bash script in the sandbox, and which platform ran it'
	@echo 'debug-kernel           kernels with KASAN, lockdep, kmemleak ... (kasan-6.1), with KCSAN (kcsan-6.1)'
	@echo '                       (DEBUG_KERNELS="kasan-6.12 kcsan-6.12": those of 6.12)'
	@echo 'check                  all tests, on the host and in the VM on 6.1 and 6.12 (KERNELS=all: 7.2, too;'
	@echo '                       KERNELS="kasan-6.1 kcsan-6.1": on the debug kernels); by parts:'
	@echo '                       STAGES="build static host harness vm" SMPS="1 2" ONLY="e2e/*" E2E=all'
	@echo 'checks                 the static checks alone'
	@echo 'vm CMD=...             run a command in the VM (KERNEL= SMP= ICOUNT=1 TIMEOUT= MEM= NO_MODULE=1);'
	@echo '                       KERNEL=6.1, 6.12, 7.2, kasan-6.1, kcsan-6.1 or a full version'
	@echo 'bench                  measure native, all platforms and runsc, here and in the VM'
	@echo '                       (ROUNDS=5 ROWS="getpid* start" PLATFORMS="ptrace" MACHINES=host|vm|all)'
	@echo 'bench-check            hold the last results of bench against the promised ratios'
	@echo 'bench-markdown         print the last results of bench as the tables of README.md'
	@echo 'torture                all of it at length: sandboxes killed, crowded and short of memory, the'
	@echo '                       module fuzzed, reloaded; KERNELS=kasan-6.1: with failing allocations'
	@echo 'compile_commands.json  for clangd and other tools, below the build directory'
	@echo 'install                into DESTDIR/PREFIX, modules into /lib/modules/VERSION/updates'
	@echo 'clean distclean        remove outputs; distclean: fetched kernels too'
	@echo
	@echo 'V=1 shows all commands; W=1 C=2 are passed on to kbuild.'
	@echo 'BUILD=$(BUILD) KERNEL_DIR=$(KERNEL_DIR) CC=$(CC) PREFIX=$(PREFIX)'
	@echo 'KERNELS=$(KERNEL_VERSIONS)'
	@echo 'KERNEL=$(KERNEL) SMP=$(SMP) TIMEOUT=$(TIMEOUT) (for vm)'

-include $(shell find $(OBJ) $(BUILD)/selftests -name '*.d' 2>/dev/null)
