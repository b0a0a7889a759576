#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ipc.sh - System V shared memory, semaphores and message queues

. "$(dirname "$0")/lib.sh"

same_as_native shared_memory "$progs/sysv_shm"
same_as_native semaphores "$progs/sysv_sem"
same_as_native message_queues "$progs/sysv_msg"

if need tools ipcmk ipcs ipcrm; then
	same_script tools <<'END'
id=$(ipcmk -M 10000 | sed 's/.* //'); ipcs -m -i "$id" | grep -c bytes=10000; ipcrm -m "$id" && echo gone
id=$(ipcmk -S 4 | sed 's/.* //'); ipcs -s -i "$id" | grep nsems; ipcrm -s "$id" && echo gone
id=$(ipcmk -Q | sed 's/.* //'); ipcs -q -i "$id" | grep -c qnum=0; ipcrm -q "$id" && echo gone
cut -c 1-60 /proc/sysvipc/shm | head -n 1; head -n 1 /proc/sysvipc/sem /proc/sysvipc/msg
END
fi

# Nothing of the host's is there, and nothing stays behind.
expect namespace_is_empty 0 -- bash -c '[ "$(cat /proc/sysvipc/* | wc -l)" = 3 ]'

finish
