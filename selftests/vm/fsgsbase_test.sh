#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fsgsbase_test - segment bases where the kernel does not use FSGSBASE
#
# There user mode cannot write its bases either, and the module swaps them by MSR. The
# machine is one that has the instructions, and a kernel that is told not to use them.
# timeout: 1500

set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath "${BUILD:-$here/../../build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/sandtrap-fsgsbase.XXXXXX")
trap 'rm -rf "$work"' EXIT
number=0
failures=0

# What swaps bases, and what looks at them, in both modes.
# shellcheck disable=SC2016 # the guest expands it
programs='
	grep -q fsgsbase /proc/cpuinfo && { echo "not ok the kernel uses FSGSBASE"; exit 1; }
	export SANDTRAP_MODE=ring
	status=0
	for name in trap_test direct_test hazard_test; do
		"$BUILD/selftests/$name" || status=1
	done
	for mode in ring direct; do
		export SANDTRAP_MODE=$mode
		SANDTRAP_PLATFORMS=sandtrap SANDTRAP_STORM=no \
			"$BUILD/selftests/platform_test" "regs.*" "fpu.*" "state.*" "reuse.*" \
			"object.context_*" || status=1
	done
	exit $status'

echo "TAP version 13"
kernels=${KERNELS:-6.1 6.12}
for kernel in $kernels; do
	number=$((number + 1))
	status=0
	BUILD=$build "$here/vm" --kernel "$kernel" --smp 1 --timeout 700 --append nofsgsbase -- \
		sh -c "$programs" > "$work/$kernel" 2>&1 || status=$?
	if [ "$status" = 0 ] && grep -q '^ok ' "$work/$kernel"; then
		echo "ok $number fsgsbase.$kernel.bases_are_swapped_without_it"
	else
		failures=$((failures + 1))
		echo "not ok $number fsgsbase.$kernel.bases_are_swapped_without_it"
		echo "# exit status $status"
		grep -a -e '^not ok' -e 'Expected' -e '^vm:' "$work/$kernel" | head -n 40 |
			sed 's/^/# /'
	fi
done
echo "1..$number"
[ "$failures" = 0 ]
