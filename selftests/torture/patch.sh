#!/bin/bash
# SPDX-License-Identifier: MIT
#
# patch - threads in code whose system calls get rewritten under them, see patch.c
#
# Runs it natively first (the test itself must be right), then on the systrap platform
# with patching and without. TORTURE_SECONDS says for how long with patching; by
# default a minute where TORTURE_COUNT asks for a run at length (make torture), else
# 5 s, or 10 s in the emulated machine. timeout: 600

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
# The emulated machine is slow: give each kind of thread the time to do its work.
short=2 seconds=5
[ -z "${SANDTRAP_VM:-}" ] || short=8 seconds=10
[ "$count" -lt 500 ] || seconds=60
seconds=${TORTURE_SECONDS:-$seconds}
build=${BUILD:-build}
program=$build/selftests/torture/patch
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run NAME SECONDS COMMAND...: the program must find nothing wrong.
run()
{
	local name=$1 time=$2 status=0
	shift 2

	timeout -k 5 $((time + 120)) "$@" "$program" "$time" >"$log" 2>&1 </dev/null || status=$?
	sed 's/^/# /' "$log"
	[ "$status" = 0 ] || echo "# exit status $status after at most $time s"
	result "$status" "$name"
}

need_sandrun
need_platform systrap

echo "TAP version 13"
run natively "$short"
run patched "$seconds" sandrun --platform=systrap
run unpatched "$short" sandrun --platform=systrap --no-patch
finish
