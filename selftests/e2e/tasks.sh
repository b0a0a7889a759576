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

finish
