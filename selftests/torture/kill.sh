#!/bin/bash
# SPDX-License-Identifier: MIT
#
# kill - start sandboxes and kill them at random moments: nothing may be left
#
# TORTURE_COUNT sandboxes run busy.c, four at a time. Of each, after a random time,
# one process dies by SIGKILL: the sentry, or any other process of the sandbox. On
# the module about half of them run in ring mode.
# Afterwards there is no process of a sandbox, no module reference, and no growth
# in open files; and the module goes at once, and comes back.
# TORTURE_SEED repeats a run. timeout: 4800

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
seed=${TORTURE_SEED:-$(($(date +%s) % 32768))}
platform=${PLATFORM:-sandtrap}
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RANDOM=$seed
module=/sys/module/sandtrap

# The emulated machine takes its time to start a program, so nothing below does that
# for each sandbox but the sandbox itself.

# nap SECONDS: nothing ever comes out of that pipe.
exec {never}<> <(:)
nap()
{
	read -rt "$1" -u "$never" || :
}

# Sets family to the process and its descendants, found while their parents live.
find_family()
{
	local i file children

	family=("$1")
	for ((i = 0; i < ${#family[@]}; i++)); do
		for file in "/proc/${family[i]}/task/"*/children; do
			{ read -ra children || :; } 2>/dev/null <"$file"
			family+=("${children[@]}")
		done
	done 2>/dev/null
}

# Others may run sandboxes of the same build at the same time, so what was there
# before does not count. A stub stays a copy of sandrun as far as /proc/PID/exe is concerned.
leftovers()
{
	local exe

	for exe in /proc/[0-9]*/exe; do
		[ "$(readlink "$exe")" != "$sandrun" ] || echo "${exe#/proc/}"
	done | sort
}

# Sets living to those of the family that still live. Init may take its time to reap.
find_living()
{
	local pid state

	living=()
	for pid in "${family[@]}"; do
		{ read -r _ _ state _ || state=; } 2>/dev/null <"/proc/$pid/stat" || continue
		[ "$state" = Z ] || living+=("$pid")
	done 2>/dev/null
}

open_files()
{
	cut -f 1 /proc/sys/fs/file-nr
}

# one_sandbox MILLISECONDS PICK NUMBER
one_sandbox()
{
	local pid victim delay family living bad=0 tries mode=ring

	[ $(($1 % 2)) = 0 ] || mode=auto
	SANDTRAP_MODE=$mode setsid sandrun --platform="$platform" "$build/selftests/torture/busy" \
		>"$work/out.$3" 2>&1 </dev/null &
	pid=$!
	printf -v delay '0.%03d' "$1"
	nap "$delay"
	find_family "$pid"
	victim=${family[$(($2 % ${#family[@]}))]}
	kill -0 "$pid" 2>/dev/null || { echo "# sandbox $3 ended by itself: $(tail -n 3 "$work/out.$3")"; bad=1; }
	kill -KILL "$victim" 2>/dev/null
	# A sandbox survives the death of one of its stubs as a sentry that ends by itself,
	# or with a program that has lost a process: the sentry dies last.
	[ "$victim" = "$pid" ] || { nap 0.05; kill -KILL "$pid" 2>/dev/null; }
	wait "$pid" 2>/dev/null
	for ((tries = 0; tries < 100; tries++)); do
		find_living
		[ ${#living[@]} != 0 ] || return $bad
		nap 0.02
	done
	echo "# sandbox $3 left: ${living[*]}"
	return 1
}

need_sandrun
sandrun=$(realpath "$(command -v sandrun)")
echo "TAP version 13"
echo "# $count sandboxes on the $platform platform, seed $seed"

leftovers > "$work/before"

# One sandbox first: whatever is opened once for all is open then.
one_sandbox 300 0 first
result $? one_sandbox_runs_until_it_is_killed
files_before=$(open_files)

bad=0
for ((started = 0, running = 0; started < count || running; )); do
	if [ "$started" -lt "$count" ] && [ "$running" -lt 4 ]; then
		started=$((started + 1)) running=$((running + 1))
		one_sandbox $((RANDOM % 600)) $((RANDOM % 8)) "$started" &
		continue
	fi
	wait -n || bad=$((bad + 1))
	running=$((running - 1))
	[ $(((started - running) % 100)) != 0 ] ||
		echo "# $((started - running)) sandboxes killed, $bad of them did not die whole"
done
[ "$bad" = 0 ]
result $? "$count"_sandboxes_die_whole

sleep 0.5
left=$(leftovers | comm -13 "$work/before" - | xargs)
[ -z "$left" ] || echo "# still there: $left"
[ -z "$left" ]
result $? no_process_is_left

# Other programs on the machine open files too: only the VM is quiet enough to tell.
if [ -n "${SANDTRAP_VM:-}" ]; then
	files_after=$(open_files)
	echo "# open files before $files_before, after $files_after"
	# Each CPU keeps up to 32 to itself, of either sign, at both readings.
	[ "$files_after" -le $((files_before + count / 10 + 64 * $(nproc))) ]
	result $? no_file_is_left_open
fi

if [ "$platform" = sandtrap ] && [ -e "$module/refcnt" ]; then
	refs=$(cat "$module/refcnt")
	echo "# module references: $refs"
	[ "$refs" = 0 ]
	result $? no_module_reference_is_left
	ko=$build/kmod/$(uname -r)/sandtrap.ko
	rmmod sandtrap && insmod "$ko"
	result $? module_is_removed_at_once_and_inserted_again
fi
finish
