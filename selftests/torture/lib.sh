# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# lib.sh - what the torture scripts share: results as TAP, and what they need
#
# Sourced by every script here; finish is their last command.

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

finish()
{
	echo "1..$tests"
	[ "$failures" = 0 ]
}
