# SPDX-License-Identifier: MIT
#
# build.mk - links systrap's stub code, checks it, and embeds it into libsentry

SYSMSG_BIN := $(BUILD)/stub/sysmsg.bin
SYSMSG_FLAGS := -ffreestanding -nostdlib -fpie -O2 -Wall -Wextra -Werror \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-jump-tables \
	-fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables \
	-fomit-frame-pointer -U_FORTIFY_SOURCE -I .

sysmsg-value = $(shell awk '$$2 == "$(1)" { print $$3 }' stub/sysmsg.h)
SYSMSG_WANT = -Wl,--defsym=want_size=$(call sysmsg-value,SYSMSG_TEXT_SIZE) \
	      -Wl,--defsym=want_server=$(call sysmsg-value,SYSMSG_ENTRY_SERVER) \
	      -Wl,--defsym=want_call=$(call sysmsg-value,SYSMSG_ENTRY_CALL)

$(BUILD)/stub/sysmsg-asm.o: stub/sysmsg.S stub/sysmsg.h
	$(call quiet,AS,$@)mkdir -p $(@D) && $(CC) $(SYSMSG_FLAGS) -c -o $@ $<

$(BUILD)/stub/sysmsg-c.o: stub/sysmsg.c stub/sysmsg.h
	$(call quiet,CC,$@)mkdir -p $(@D) && $(CC) -std=gnu11 $(SYSMSG_FLAGS) -c -o $@ $< && \
	if readelf -rW $@ | grep -E 'R_X86_64_(32|32S|64|GOT)'; then \
		echo '$@: the stub code must not need relocations' >&2; rm -f $@; exit 1; fi

$(BUILD)/stub/sysmsg.elf: $(BUILD)/stub/sysmsg-asm.o $(BUILD)/stub/sysmsg-c.o stub/sysmsg.lds
	$(call quiet,LD,$@)$(CC) $(SYSMSG_FLAGS) -static -no-pie -Wl,-T,stub/sysmsg.lds -Wl,--build-id=none \
	-Wl,-z,noexecstack $(SYSMSG_WANT) -o $@ $(filter %.o,$^)

# No way into the kernel but the syscall instruction, at whatever offset.
$(SYSMSG_BIN): $(BUILD)/stub/sysmsg.elf
	$(call quiet,OBJCOPY,$@)objcopy -O binary -j .sysmsg $< $@ && \
	if od -An -v -tx1 $@ | tr -d ' \n' | grep -qE '^(..)*(cd80|0f34)'; then \
		echo '$@: has another entry into the kernel' >&2; rm -f $@; exit 1; fi

# Addresses of its symbols, for the sentry.
$(BUILD)/gen/sysmsg_symbols.h: $(BUILD)/stub/sysmsg.elf
	$(call quiet,GEN,$@)mkdir -p $(@D) && nm $< | awk ' \
	$$3 == "sysmsg_handler" || $$3 == "sysmsg_restore" { \
		print "#define " toupper($$3) "_OFFSET 0x" $$1 }' > $@

$(OBJ)/stub/sysmsg_embed.o: stub/sysmsg_embed.S $(SYSMSG_BIN)
	$(call quiet,AS,$@)mkdir -p $(@D) && $(CC) -Wa,-I$(BUILD)/stub -c -o $@ $<

$(OBJ)/user/platform/systrap_process.o: $(BUILD)/gen/sysmsg_symbols.h

LIB_OBJS += $(OBJ)/stub/sysmsg_embed.o
