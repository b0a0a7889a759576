#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fault - commands of the module while allocations fail
#
# On kernels that can have them fail (failslab and fail_page_alloc): those of 'make
# debug-kernel'. First every command with each of its allocations failing, one by one
# (fault.c); then the fuzzer with one failing in most commands, and one in a hundred
# in stubs. TORTURE_SEED repeats the latter, TORTURE_OPS says how many operations; a
# quarter of those of fuzz.sh by default.
#
# Runs at length only (make torture). timeout: 4800

set -u

. "$(dirname "$0")/lib.sh"

count=${TORTURE_COUNT:-50}
operations=1000
[ "$count" -lt 500 ] || operations=50000
operations=${TORTURE_OPS:-$operations}
seed=${TORTURE_SEED:-$(($(date +%s) % 32768))}
build=${BUILD:-build}
programs=$build/selftests/torture
debug=/sys/kernel/debug
work=$(mktemp -d)
trap cleanup EXIT

cleanup()
{
	for dir in "$debug/failslab" "$debug/fail_page_alloc"; do
		[ ! -d "$dir" ] || echo 0 > "$dir/probability"
	done
	keep_kernel_log
	rm -rf "$work"
}

[ -e /dev/sandtrap ] || skip_all "this machine has no /dev/sandtrap: run it by 'make torture'"
[ -e /proc/self/fail-nth ] ||
	skip_all "the kernel lacks CONFIG_FAILSLAB: 'make debug-kernel', then 'make torture KERNELS=kasan-6.1'"
[ -n "${SANDTRAP_VM:-}" ] || skip_all "this machine lacks a kernel log to itself: run it by 'make torture'"

# Allocations that may sleep are the ones that commands make.
mountpoint -q "$debug" || mount -t debugfs debugfs "$debug"
for dir in "$debug/failslab" "$debug/fail_page_alloc"; do
	[ -d "$dir" ] || continue
	echo N > "$dir/ignore-gfp-wait"
	echo 0 > "$dir/verbose"
	echo Y > "$dir/task-filter"
	echo 1 > "$dir/probability"
	echo -1 > "$dir/times"
	[ ! -e "$dir/min-order" ] || echo 0 > "$dir/min-order"
	[ ! -e "$dir/ignore-gfp-highmem" ] || echo N > "$dir/ignore-gfp-highmem"
done

echo "TAP version 13"
# The kernel tells of what it could not get, with a trace that would be taken for trouble.
quiet_kernel_log
results_of "$programs/fault"
results_of "$programs/fuzz" -f -s "$seed" -n "$operations"
kernel_is_content
result $? the_kernel_does_not_complain
finish
