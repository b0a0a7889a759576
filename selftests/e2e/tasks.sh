#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tasks.sh - rules of signals, processes, futexes and timers that programs rely on

. "$(dirname "$0")/lib.sh"

same_as_native signal_rules "$progs/sigrules"
# QEMU loads any MXCSR.
[ -n "${SANDTRAP_VM:-}" ] || same_as_native mxcsr_is_checked "$progs/sigrules" mxcsr
same_as_native process_rules "$progs/procs"
same_as_native futex_rules "$progs/futexes"
same_as_native timer_rules "$progs/timers"
same_as_native memory_rules "$progs/maps"

if need io_priorities ionice; then
	same_script io_priorities <<'END'
ionice -c 2 -n 6 ionice; ionice -c 3 sh -c 'ionice; ionice -P $$ -c 2 -n 1; ionice -p $$'; ionice -c 2 -p 999999 2>&1
END
fi
if need groups_of_root python3; then
	# As servers that root starts do, which then go on as root.
	same_as_native groups_of_root python3 -c '
import os
try: os.setgroups([os.getegid()]); print(os.getgroups() == [os.getegid()])
except PermissionError: print("not permitted")
'
fi

finish
