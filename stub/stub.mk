# SPDX-License-Identifier: MIT
#
# stub.mk - links the stub, checks it, and embeds it into libsentry

STUB_BIN := $(BUILD)/stub/stub.bin
STUB_FLAGS := -D__ASSEMBLY__ -ffreestanding -nostdlib -fno-pie -I . -I uapi

stub-value = $(shell awk '$$2 == "$(1)" { print $$3 }' stub/stub.h)
STUB_WANT = -Wl,--defsym=want_size=$(call stub-value,STUB_SIZE) \
	    -Wl,--defsym=want_entry=$(call stub-value,STUB_ENTRY) \
	    -Wl,--defsym=want_signal=$(call stub-value,STUB_SIGNAL)

$(BUILD)/stub/stub.o: stub/stub.S stub/stub.h uapi/sandtrap.h
	$(call quiet,AS,$@)mkdir -p $(@D) && $(CC) $(STUB_FLAGS) -c -o $@ $< && \
	if readelf -rW $@ | grep -q '^Relocation section'; then \
		echo '$@: the stub must not need relocations' >&2; rm -f $@; exit 1; fi

$(BUILD)/stub/stub.elf: $(BUILD)/stub/stub.o stub/stub.lds
	$(call quiet,LD,$@)$(CC) $(STUB_FLAGS) -static -Wl,-T,stub/stub.lds -Wl,--build-id=none \
	-Wl,-z,noexecstack $(STUB_WANT) -o $@ $<

$(STUB_BIN): $(BUILD)/stub/stub.elf
	$(call quiet,OBJCOPY,$@)objcopy -O binary -j .stub $< $@

$(OBJ)/stub/embed.o: stub/embed.S $(STUB_BIN)
	$(call quiet,AS,$@)mkdir -p $(@D) && $(CC) -I $(BUILD)/stub -Wa,-I$(BUILD)/stub -c -o $@ $<

LIB_OBJS += $(OBJ)/stub/embed.o
