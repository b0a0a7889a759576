#!/bin/bash
# SPDX-License-Identifier: MIT
#
# wild - a program that jumps and writes wherever its platform has put something
#
# On each platform that is usable here, or on PLATFORM alone, wild.c tries in a sandbox to
# create a file, or kill a process, that is not its own. It may lose its processes
# over that, but not the sandbox; and nothing is left. TORTURE_SEED repeats a run;
# TORTURE_ACTIONS says how many jumps and writes.
#
# Runs at length only (make torture). timeout: 5400

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
seed=${TORTURE_SEED:-$(($(date +%s) % 32768))}
build=${BUILD:-build}
# Every other one is a jump to the next offset: all of two pages at length.
actions=300
[ "$count" -lt 500 ] || actions=20000
actions=${TORTURE_ACTIONS:-$actions}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# attack PLATFORM [MODE]: a root without the file's directory, a victim outside.
attack()
{
	local status=0 pid root=$work/root name=$1${2:+-$2}

	rm -rf "$root" "$work/outside"
	mkdir -p "$root/tmp" "$work/outside"
	cp "$build/selftests/torture/wild" "$root/wild"
	sleep 1000 &
	pid=$!
	disown "$pid"
	SANDTRAP_MODE=${2:-auto} timeout -k 5 1500 sandrun --platform="$1" --root "$root" /wild "$seed" "$actions" \
		"$work/outside/file" "$pid" >"$work/out" 2>&1 </dev/null || status=$?
	sed 's/^/# /' "$work/out" | tail -n 20
	[ "$status" = 0 ] || echo "# exit status $status"
	grep -q '^all done$' "$work/out"
	result $? "$name.the_sandbox_survives"
	[ ! -e "$work/outside/file" ]
	result $? "$name.no_file_appears"
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]
	result $? "$name.the_victim_lives"
	kill "$pid" 2>/dev/null
	# The sentry is reaped; a stub that it left would still run from the same file.
	sleep 0.2
	! pgrep -f "$root/wild|/wild $seed $actions" >/dev/null
	result $? "$name.no_process_is_left"
}

need_sandrun
echo "TAP version 13"
echo "# $actions jumps and writes a platform, seed $seed"
platforms=${PLATFORM:-sandtrap systrap ptrace}
[ -z "${SANDTRAP_PLATFORMS:-}" ] || platforms=$SANDTRAP_PLATFORMS
for platform in $platforms; do
	usable "$platform" || {
		echo "# $platform is not usable here"
		continue
	}
	if [ "$platform" = sandtrap ]; then
		attack sandtrap auto
		attack sandtrap ring
	else
		attack "$platform"
	fi
done
[ "$tests" != 0 ] || skip_all "this machine lacks what every platform needs"
finish
