# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# lib.sh - what the torture scripts share: results as TAP
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

finish()
{
	echo "1..$tests"
	[ "$failures" = 0 ]
}
