# SPDX-License-Identifier: MIT
#
# build.mk - flags of single test programs

# Static: nothing but the measured loop runs, and a sandbox starts faster.
$(BUILD)/selftests/bench/%: PROG_CFLAGS := -static
$(BUILD)/selftests/torture/busy $(BUILD)/selftests/torture/wild: PROG_CFLAGS := -static

# Alone in a root directory, and below 4 GiB.
$(BUILD)/selftests/progs/hostile: PROG_CFLAGS := -static

# platform_test is one program of many parts.
PLATFORM_PARTS := $(patsubst %.c,$(OBJ)/%.o,$(sort $(wildcard selftests/platform/*.c)))
$(PLATFORM_PARTS): OBJ_CFLAGS += $(TEST_CFLAGS)
$(PLATFORM_PARTS): | $(KSELFTEST)/kselftest_harness.h
$(BUILD)/selftests/platform_test: $(PLATFORM_PARTS)
# A bench of that suite stands in mm_test, too.
$(BUILD)/selftests/mm_test: $(addprefix $(OBJ)/selftests/platform/,bench.o storm.o)

# The fuzzer is one program of many parts. It and fault are made of what the tests of
# the module have in common; like them they need the harness.
FUZZ_PARTS := $(patsubst %.c,$(OBJ)/%.o,$(sort $(wildcard selftests/torture/fuzz/*.c)))
BOX_PROGS := $(BUILD)/selftests/torture/fuzz $(BUILD)/selftests/torture/fault
$(FUZZ_PARTS): OBJ_CFLAGS += -I selftests
$(BOX_PROGS): $(TESTLIB_OBJS) $(BUILD)/libsentry.a
$(BOX_PROGS): PROG_CFLAGS := -I selftests
$(BOX_PROGS): PROG_LIBS = $(PARTS) $(TESTLIB_OBJS) $(WHOLE_LIB) $(LIBS)
$(BUILD)/selftests/torture/fuzz: $(FUZZ_PARTS)
$(BUILD)/selftests/torture/fuzz: PARTS := $(FUZZ_PARTS)
ifeq ($(LINUX_SOURCE),)
PROG_SRCS := $(filter-out selftests/torture/fuzz.c selftests/torture/fault.c,$(PROG_SRCS))
endif
