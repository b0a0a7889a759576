#!/bin/bash
# SPDX-License-Identifier: MIT
#
# confine.sh - every thread of the sentry runs under its filter while a program runs
# timeout: 120

. "$(dirname "$0")/lib.sh"

# every_task PID FIELD VALUE: all threads of the process say so in their status.
every_task()
{
	local status seen=0

	for status in /proc/"$1"/task/*/status; do
		grep -q "^$2:[[:space:]]*$3\$" "$status" || { cat "$status"; return 1; }
		seen=$((seen + 1))
	done
	# The main thread and, at the least, that of the task.
	[ "$seen" -ge 2 ]
}

mkfifo "$work/up"
# Two processes and their sleep, so that threads were made before and after.
"$SANDRUN" --platform="$PLATFORM" sh -c 'sleep 100 & echo up; wait' >"$work/up" 2>"$work/err" &
sentry=$!
up=
read -r -t "$limit" up <"$work/up"

check program_runs [ "$up" = up ]
check filter_on_every_thread every_task "$sentry" Seccomp 2
check no_new_privileges every_task "$sentry" NoNewPrivs 1
check nothing_was_said [ ! -s "$work/err" ]
kill -KILL "$sentry"
wait "$sentry" 2>/dev/null

finish
