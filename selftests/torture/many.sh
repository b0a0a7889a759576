#!/bin/bash
# SPDX-License-Identifier: MIT
#
# many - many sandboxes at the same time
#
# TORTURE_SANDBOXES of them (500 at length) start, say that they are up, wait until all
# others are, and end. PLATFORM chooses the platform; on the module half of them run in
# ring mode.
#
# Runs at length only (make torture). timeout: 5400

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
sandboxes=20
[ "$count" -lt 500 ] || sandboxes=500
sandboxes=${TORTURE_SANDBOXES:-$sandboxes}
platform=${PLATFORM:-sandtrap}
work=$(mktemp -d)
pids=()
modes=(auto ring)
trap '[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT

need_sandrun
need_platform "$platform"
echo "TAP version 13"
echo "# $sandboxes sandboxes on the $platform platform"
mkfifo "$work/gate"
exec 3<>"$work/gate"
ulimit -n "$(ulimit -Hn)"

# Each reads until nobody can write any more. Its own copy of fd 3 would be a writer.
for i in $(seq "$sandboxes"); do
	# shellcheck disable=SC2016 # the sandboxed shell expands it
	SANDTRAP_MODE=${modes[i % 2]} sandrun --platform="$platform" /bin/sh -c 'echo up; read -r line; echo "down $?"' \
		<"$work/gate" >"$work/out.$i" 2>&1 3>&- &
	pids+=($!)
done

up=0
for _ in $(seq 4800); do
	up=$(cat "$work"/out.* | grep -c '^up$')
	[ "$up" -lt "$sandboxes" ] || break
	sleep 1
done
echo "# $up are up; $(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo) MB are left"
[ "$up" = "$sandboxes" ]
result $? "${sandboxes}_sandboxes_are_up_at_once"

exec 3>&-
bad=0
for pid in "${pids[@]}"; do
	wait "$pid" || bad=$((bad + 1))
done
pids=()
down=$(cat "$work"/out.* | grep -c '^down 1$')
echo "# $down ended as they should, $bad with another status than 0"
cat "$work"/out.* | grep -v '^up$\|^down 1$' | sort | uniq -c | sed 's/^/# /' | head
[ "$bad" = 0 ] && [ "$down" = "$sandboxes" ]
result $? all_of_them_end_well
if [ "$platform" = sandtrap ] && [ -e /sys/module/sandtrap/refcnt ]; then
	for _ in $(seq 100); do
		[ "$(cat /sys/module/sandtrap/refcnt)" != 0 ] || break
		sleep 0.1
	done
	[ "$(cat /sys/module/sandtrap/refcnt)" = 0 ]
	result $? no_module_reference_is_left
fi
finish
