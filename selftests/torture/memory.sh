#!/bin/bash
# SPDX-License-Identifier: MIT
#
# memory - sandboxes that run out of memory
#
# Sandboxes run busy.c in a control group, each with a limit between "cannot even start"
# and "more than enough", in ring mode and in the one that sandrun chooses by turns, and
# are killed after a while, if the kernel has not done so. They may fail in any way, but
# nothing may be left of them. Then the machine as a whole is told that it is out of
# memory, and has to kill one sandbox after the other. Afterwards it must have a sandbox
# again as soon as there is memory. TORTURE_SEED repeats a run, TORTURE_BOXES says how
# many sandboxes with a limit, TORTURE_SHORTAGES how often the machine is short of memory.
#
# Runs at length only (make torture). timeout: 4800

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
seed=${TORTURE_SEED:-$(($(date +%s) % 32768))}
boxes=10 shortages=1
[ "$count" -lt 500 ] || boxes=100 shortages=5
boxes=${TORTURE_BOXES:-$boxes}
shortages=${TORTURE_SHORTAGES:-$shortages}
platform=${PLATFORM:-sandtrap}
build=${BUILD:-build}
RANDOM=$seed
work=$(mktemp -d)
pids=()

[ -n "${SANDTRAP_VM:-}" ] ||
	skip_all "this machine has no /dev/sandtrap of its own, nor memory to waste: run it by 'make torture'"
need_sandrun
need_platform "$platform"
mkdir "$work/cg"
mount -t cgroup2 none "$work/cg" || exit 1
group=$work/cg/sandtrap-memory

cleanup()
{
	[ ! -e "$group" ] || { echo 1 > "$group/cgroup.kill"; sleep 0.2; rmdir "$group"; }
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
	umount "$work/cg"
	keep_kernel_log
	rm -rf "$work"
}
trap cleanup EXIT
echo +memory > "$work/cg/cgroup.subtree_control" 2>/dev/null ||
	skip_all "the kernel lacks the memory controller (CONFIG_MEMCG)"
mkdir "$group"

# Whoever calls it is protected, and hands that down.
in_group()
{
	echo 0 > "/proc/$BASHPID/oom_score_adj"
	echo "$BASHPID" > "$group/cgroup.procs"
	exec "$@"
}

# start MODE NAME COMMAND...: a sandbox that runs busy.c, its pid in $pid.
start()
{
	local mode=$1 out=$work/out.$2
	shift 2

	(SANDTRAP_MODE=$mode "$@" sandrun --platform="$platform" "$build/selftests/torture/busy") \
		>"$out" 2>&1 </dev/null &
	pid=$!
}

# Everybody of the group is killed; the module lets go of them in its own time.
empties()
{
	echo 1 > "$group/cgroup.kill"
	for _ in $(seq 600); do
		grep -q '^populated 0' "$group/cgroup.events" && return 0
		sleep 0.1
	done
	echo "# box $1 left: $(xargs < "$group/cgroup.procs")"
	return 1
}

# one_box NUMBER MODE KILOBYTES TENTHS: is let go after so many tenths of a second of work.
one_box()
{
	local pid

	echo "$3"K > "$group/memory.max"
	echo 0 > "$group/memory.swap.max" 2>/dev/null
	start "$2" box in_group
	for _ in $(seq 100); do
		[ -s "$work/out.box" ] && break
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	sleep "0.$4"
	if kill -0 "$pid" 2>/dev/null && grep -q busy "$work/out.box"; then
		lasted=$((lasted + 1))
	fi
	empties "$1" || return 1
	wait "$pid" 2>/dev/null
	return 0
}

killed()
{
	awk '/^oom_kill / { print $2 }' "$group/memory.events"
}

limited_boxes()
{
	local bad=0 lasted=0 i modes=(ring auto)

	for i in $(seq "$boxes"); do
		one_box "$i" "${modes[i % 2]}" $((400 + RANDOM % 3000)) $((RANDOM % 10)) ||
			bad=$((bad + 1))
		read_kernel_log
	done
	echo "# $(killed) processes died for want of memory, $lasted sandboxes lasted"
	[ "$bad" = 0 ]
	result $? "nothing_is_left_of_${boxes}_sandboxes"
	[ "$(killed)" -gt 0 ] && [ "$lasted" -gt 0 ]
	result $? memory_was_short_and_was_not
	echo max > "$group/memory.max"
	[ "$(in_group sandrun --platform="$platform" /bin/echo fine 2>&1)" = fine ]
	result $? a_sandbox_runs_when_there_is_memory
}

# As a process that is killed before any other.
expendable()
{
	echo 1000 > "/proc/$BASHPID/oom_score_adj"
	exec "$@"
}

oom_kills()
{
	awk '/^oom_kill / { print $2 }' /proc/vmstat
}

# The machine is told that it is out of memory, until all of the sandboxes are dead.
# To really take all memory would have it do nothing but read programs anew.
shortage()
{
	local pid mode tries before

	pids=()
	before=$(oom_kills)
	for mode in ring auto ring auto; do
		start "$mode" "${#pids[@]}" expendable
		pids+=("$pid")
	done
	sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
	for ((tries = 0; tries < 60; tries++)); do
		any_lives || break
		echo f > /proc/sysrq-trigger
		sleep "0.$((RANDOM % 3))"
	done
	read_kernel_log
	deaths=$((deaths + $(oom_kills) - before))
	[ "$tries" != 60 ] || echo "# some of ${pids[*]} live in spite of it"
	kill -KILL "${pids[@]}" 2>/dev/null
	wait "${pids[@]}" 2>/dev/null
	pids=()
	[ "$tries" != 60 ] && all_gone
}

any_lives()
{
	local pid

	for pid in "${pids[@]}"; do
		kill -0 "$pid" 2>/dev/null && return 0
	done
	return 1
}

# No sandbox runs: has the last reference to the module gone?
all_gone()
{
	[ "$platform" = sandtrap ] && [ -e /sys/module/sandtrap/refcnt ] || return 0
	for _ in $(seq 300); do
		[ "$(cat /sys/module/sandtrap/refcnt)" != 0 ] || return 0
		sleep 0.1
	done
	echo "# $(cat /sys/module/sandtrap/refcnt) references to the module"
	return 1
}

shortages_of_the_machine()
{
	local bad=0 deaths=0

	for _ in $(seq "$shortages"); do
		shortage || bad=$((bad + 1))
	done
	echo "# $deaths processes died for want of memory"
	[ "$bad" = 0 ]
	result $? "nothing_is_left_after_${shortages}_shortages"
	[ "$deaths" -ge $((4 * shortages)) ]
	result $? the_machine_was_short_of_memory
	[ "$(sandrun --platform="$platform" /bin/echo fine 2>&1)" = fine ]
	result $? a_sandbox_runs_afterwards
}

echo "TAP version 13"
echo "# $boxes sandboxes on the $platform platform, seed $seed"
# Whoever runs the tests is not to die for them.
echo -1000 > /proc/$$/oom_score_adj
quiet_kernel_log
limited_boxes
all_gone
result $? no_module_reference_is_left
shortages_of_the_machine
kernel_is_content
result $? the_kernel_does_not_complain
finish
