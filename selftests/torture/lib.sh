# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# lib.sh - what the torture scripts share: results as TAP, and what they need
#
# Sourced by every script here but fuzz.sh; finish is their last command.

suite=$(basename "$0" .sh)
tests=0
failures=0

# result STATUS NAME
result()
{
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests $suite.$2"
	else
		failures=$((failures + 1))
		echo "not ok $tests $suite.$2"
	fi
}

# skip_all REASON: nothing here can be tested.
skip_all()
{
	echo "1..0 # SKIP $1"
	exit 4
}

need_sandrun()
{
	command -v sandrun >/dev/null || skip_all "no sandrun on PATH: run it by 'make torture'"
}

# usable PLATFORM
usable()
{
	sandrun --list-platforms | grep -q "^$1	usable"
}

need_platform()
{
	usable "$1" || skip_all "this machine lacks what the $1 platform needs"
}

# results_of COMMAND...: the results of a program that prints TAP become ours.
results_of()
{
	local line name status='' planned='' failed=$failures

	while read -r line; do
		name=${line##* }
		case $line in
		'ok '*) result 0 "${name#*.}" ;;
		'not ok '*) result 1 "${name#*.}" ;;
		1..[1-9]*) planned=1 ;;
		'exit status '*) status=$name ;;
		'#'*) echo "$line" ;;
		esac
	done < <("$@"; echo "exit status $?")
	[ -n "$planned" ] && { [ "$status" = 0 ] || [ "$failures" != "$failed" ]; } && return
	echo "# exit status $status"
	result 1 "$(basename "$1")_comes_to_its_end"
}

# Where scarce memory is the kernel's own doing it tells of that at length, with traces.
# The machine would take them for trouble, so its log is kept from it, and is looked
# at here. Needs $work, and the machine to itself.
quiet_kernel_log()
{
	console_level=$(cut -f 1 /proc/sys/kernel/printk)
	dmesg -n 1
	dmesg -C
}

# What was said since, which is no more in the kernel's log: that is short.
read_kernel_log()
{
	# shellcheck disable=SC2154 # whoever calls this has it
	dmesg -c >> "$work/kernel.log"
}

# Prints what a healthy kernel never says. Races are the module's, or nobody's.
kernel_is_content()
{
	read_kernel_log
	! awk -f "$(dirname "$0")/../vm/foreign-races.awk" "$work/kernel.log" |
		grep -E -A 30 "${SANDTRAP_TROUBLE%|Call Trace}" | sed 's/^/# /' | head -n 60 | grep .
}

keep_kernel_log()
{
	[ -z "${console_level:-}" ] || dmesg -n "$console_level"
}

finish()
{
	echo "1..$tests"
	[ "$failures" = 0 ]
}
