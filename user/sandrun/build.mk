# SPDX-License-Identifier: MIT
#
# build.mk - what sandrun needs beyond the general rules

$(OBJ)/user/sandrun/%.o: OBJ_CFLAGS += -DSANDRUN_VERSION='"$(LIB_VERSION)"'
