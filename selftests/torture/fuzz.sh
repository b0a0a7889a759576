#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fuzz - random commands on the module, see fuzz.c: nothing may hang or be left
#
# TORTURE_SEED repeats a run. TORTURE_OPS operations; by default 200000 where
# TORTURE_COUNT asks for a run at length (make torture), else few. The module can be
# removed and inserted afterwards. The kernel's log is looked at when the machine ends.
#
# Runs at length only (make torture). timeout: 10800

set -u

count=${TORTURE_COUNT:-50}
seed=${TORTURE_SEED:-$(($(date +%s) % 32768))}
build=${BUILD:-build}
module=/sys/module/sandtrap
operations=4000
[ "$count" -lt 500 ] || operations=200000
operations=${TORTURE_OPS:-$operations}

[ -e /dev/sandtrap ] || {
	echo "1..0 # SKIP this machine has no /dev/sandtrap: run it by 'make torture'"
	exit 4
}

# The plan comes last, and is longer by one where the module can be removed.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
"$build/selftests/torture/fuzz" -s "$seed" -n "$operations" "$@" > "$log" || status=$?
grep -v '^1\.\.[1-9]' "$log"
! grep -q '^1\.\.0' "$log" || exit "$status"
[ "$status" -le 1 ] || echo "# exit status $status"

if [ -e "$module/refcnt" ]; then
	refs=$(cat "$module/refcnt")
	echo "# module references: $refs"
	if [ "$refs" = 0 ] && rmmod sandtrap && insmod "$build/kmod/$(uname -r)/sandtrap.ko"; then
		echo "ok 3 fuzz.module_is_removed_and_inserted_again"
	else
		status=1
		echo "not ok 3 fuzz.module_is_removed_and_inserted_again"
	fi
	echo 1..3
else
	echo 1..2
fi
exit "$status"
