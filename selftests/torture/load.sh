#!/bin/bash
# SPDX-License-Identifier: MIT
#
# load - the module goes and comes back while there is traffic
#
# Sandboxes, and programs of the same kind that are no sandboxes, run all the time. In
# each of TORTURE_LOADS rounds the module is asked to go while it is used, which it
# refuses; the sandboxes are killed, and it goes as soon as the last is dead, while
# others of the machine make system calls, take faults and exit.
#
# Runs at length only (make torture). timeout: 1800

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
loads=3
[ "$count" -lt 500 ] || loads=20
loads=${TORTURE_LOADS:-$loads}
build=${BUILD:-build}
module=/sys/module/sandtrap
ko=$build/kmod/$(uname -r)/sandtrap.ko
natives=()
sandboxes=()

if [ ! -e "$module/refcnt" ] || [ "$(id -u)" != 0 ]; then
	skip_all "this machine has no /dev/sandtrap that can be removed: run it by 'make torture'"
fi

stop_all()
{
	[ $# = 0 ] || { kill -KILL "$@"; wait "$@"; } 2>/dev/null
}
trap 'stop_all "${natives[@]}" "${sandboxes[@]}"; [ -e "$module" ] || insmod "$ko"' EXIT

# Its memory is given back in its own time: the stubs die after the sentry.
remove()
{
	local tries

	for tries in $(seq 200); do
		rmmod sandtrap 2>/dev/null && return 0
		sleep 0.05
	done
	echo "# round $round: still $(cat "$module/refcnt") references after $tries tries"
	return 1
}

one_round()
{
	local bad=0 mode

	sandboxes=()
	for mode in auto ring; do
		SANDTRAP_MODE=$mode setsid sandrun --platform=sandtrap "$build/selftests/torture/busy" >"$out" 2>&1 </dev/null &
		sandboxes+=($!)
	done
	for _ in $(seq 200); do
		[ "$(cat "$module/refcnt")" -lt 4 ] || break
		sleep 0.05
	done
	sleep "0.$((RANDOM % 4))"
	if rmmod sandtrap 2>/dev/null; then
		echo "# round $round: it went under sandboxes"
		bad=1
	fi
	stop_all "${sandboxes[@]}"
	sandboxes=()
	remove || return 1
	insmod "$ko" || return 1
	return $bad
}

echo "TAP version 13"
echo "# $loads rounds"
out=$(mktemp)
for _ in 1 2; do
	"$build/selftests/torture/busy" >/dev/null 2>&1 </dev/null &
	natives+=($!)
done
bad=0
for round in $(seq "$loads"); do
	one_round || bad=$((bad + 1))
	[ -e "$module" ] || break
done
[ "$bad" = 0 ] && [ -e "$module" ]
result $? "the_module_goes_and_comes_back_${loads}_times"
stop_all "${natives[@]}"
natives=()
[ "$(sandrun --platform=sandtrap /bin/echo fine 2>&1)" = fine ]
result $? a_sandbox_runs_afterwards
rm -f "$out"
finish
