#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vm_test - tests of the VM harness itself: what it passes on, and what it must fail on
#
# It needs no module of ours: the tests of loading and removing use a tiny one
# that is built here. timeout: 900

# shellcheck disable=SC2016 # the guest's shell expands what is in single quotes

set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
export KERNEL_DIR=${KERNEL_DIR:-$top/build/kernels}
work=$(mktemp -d "${TMPDIR:-/tmp}/sandtrap-vm-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
number=0
failures=0

result()
{
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number vm.$2"
	else
		failures=$((failures + 1))
		echo "not ok $number vm.$2"
		sed 's/^/# /' "$work/stderr" | tail -n 30
	fi
}

# run STATUS OPTIONS... -- COMMAND: true when the exit status is as said.
run()
{
	local want=$1 got=0
	shift

	"$here/vm" "$@" >"$work/stdout" 2>"$work/stderr" </dev/null || got=$?
	[ "$got" = "$want" ] && return 0
	echo "exit status $got, expected $want" >> "$work/stderr"
	return 1
}

said()
{
	grep -qF -- "$1" "$work/stderr"
}

# A module whose init and exit do what the VM harness has to notice.
build_module()
{
	local version

	version=$("$top/scripts/kernel" resolve 6.1) || return 1
	mkdir "$work/kmod"
	cat > "$work/kmod/sandtrap.c" <<-EOF
	#include <linux/module.h>
	static bool stuck;
	module_param(stuck, bool, 0600);
	static int set(const char *text, const struct kernel_param *kp)
	{
		if (*text == 'w')
			WARN_ON(1);
		else
			__module_get(THIS_MODULE);
		return 0;
	}
	static const struct kernel_param_ops ops = { .set = set };
	module_param_cb(act, &ops, NULL, 0200);
	static int __init start(void) { return 0; }
	static void __exit stop(void) { }
	module_init(start);
	module_exit(stop);
	MODULE_DESCRIPTION("victim of vm_test");
	MODULE_LICENSE("GPL");
	EOF
	echo 'obj-m := sandtrap.o' > "$work/kmod/Kbuild"
	make -s -C "$("$top/scripts/kernel" headers "$version")" M="$work/kmod" \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$work/stderr" 2>&1
}

"$top/scripts/qemu" command >/dev/null 2>&1 || {
	echo "1..0 # SKIP no QEMU here: run 'make deps'"
	exit 4
}
echo "TAP version 13"

run 7 --no-module -- sh -c 'exit 7'
result $? exit_status_is_passed_on

run 143 --no-module -- sh -c 'kill -TERM $$'
result $? death_by_signal_is_128_plus_n

run 127 --no-module -- no-such-program
result $? missing_program_is_127

# Every byte value, and more than any buffer on the way, through both outputs.
head -c 3000000 /dev/urandom > "$work/binary"
for value in $(seq 0 255); do
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\$(printf %03o "$value")"
done >> "$work/binary"
sum=$(md5sum < "$work/binary")
(cd "$work" && "$here/vm" --no-module -- sh -c 'cat binary; cat binary >&2' \
	>"$work/stdout" 2>"$work/stderr.binary" </dev/null) && : > "$work/stderr" &&
	[ "$(md5sum < "$work/stdout")" = "$sum" ] && [ "$(md5sum < "$work/stderr.binary")" = "$sum" ]
result $? output_is_byte_exact

(cd "$work" && run 0 --no-module -- sh -c 'pwd; echo x > "$1/in-guest"; cat in-guest' - "$work") &&
	[ "$(cat "$work/stdout")" = "$work
x" ] && [ ! -e "$work/in-guest" ]
result $? directory_is_visible_and_writes_stay_inside

mkdir "$work/shared" &&
	run 0 --no-module --share "$work/shared" -- sh -c 'echo out > "$1/file"' - "$work/shared" &&
	[ "$(cat "$work/shared/file")" = out ]
result $? shared_directory_is_written_through

run 0 --no-module -- sh -c 'test -d /proc/1/fd && test -e /sys/kernel/tracing/README &&
	test -c /dev/null && test -c /dev/ptmx && echo x > /dev/shm/x && echo x > /tmp/x &&
	echo x > /run/x && test "$(hostname)" = sandtrap-vm &&
	grep -q "^ *lo:" /proc/net/dev && bash -c ": > /dev/udp/127.0.0.1/9"'
result $? guest_has_what_programs_expect

run 0 --no-module --smp 1 -- sh -c 'test "$(nproc)" = 1' &&
	run 0 --no-module --smp 2 -- sh -c 'test "$(nproc)" = 2'
result $? smp_is_the_number_of_cpus

run 0 --no-module --icount -- true
result $? icount_machine_runs

# One CPU changes code that the other executes. QEMU 7.2 met a breakpoint that was there
# no more after a second.
run 0 --no-module --smp 2 -- bash -c 'while :; do read -r < /proc/self/stat; done & other=$!
	while [ $SECONDS -lt 10 ]; do
		for group in kmem sched syscalls; do
			echo 1 > /sys/kernel/tracing/events/$group/enable
			echo 0 > /sys/kernel/tracing/events/$group/enable
		done || exit
	done
	kill $other'
result $? code_that_is_changed_is_not_executed_as_it_was

run 125 --no-module -- sh -c 'echo "<4>WARNING: made up by vm_test" > /dev/kmsg' && said "made up by vm_test"
result $? warning_in_the_kernel_log_fails

# The kernel logs faults of programs as well; a sandbox test makes many of them.
cat > "$work/fault.c" <<-EOF
	int main(int argc, char **argv)
	{
		if (argc > 1)
			__asm__ volatile("hlt");
		*(volatile int *)8 = 1;
	}
EOF
"${CC:-gcc}" -o "$work/fault" "$work/fault.c" 2>"$work/stderr" &&
	(cd "$work" && run 139 --no-module --log "$work/klog" -- sh -c './fault gp; ./fault') &&
	grep -q 'general protection fault ip' "$work/klog" && grep -q 'segfault at 8' "$work/klog"
result $? faults_of_programs_are_no_complaint

start=$SECONDS
run 125 --no-module --timeout 100 -- sh -c 'echo c > /proc/sysrq-trigger' &&
	said "Kernel panic" && [ $((SECONDS - start)) -lt 60 ]
result $? panic_fails_at_once

run 124 --no-module --timeout 30 -- sh -c 'echo started; sleep 1000' && said "time limit" &&
	[ "$(cat "$work/stdout")" = started ]
result $? hang_is_ended_with_124

if build_module; then
	ko=$work/kmod/sandtrap.ko
	run 0 --module "$ko" -- sh -c 'grep -q ^sandtrap /proc/modules'
	result $? module_is_loaded_and_removed
	run 125 --module "$ko" -- sh -c 'echo g > /sys/module/sandtrap/parameters/act' &&
		said "cannot be removed"
	result $? module_that_stays_in_use_fails
	run 125 --module "$ko" -- sh -c 'echo w > /sys/module/sandtrap/parameters/act' &&
		said "WARNING:" && said "tainted"
	result $? warn_on_in_the_module_fails
else
	result 1 module_builds
fi
run 125 --module "$work/none.ko" -- true && said "no $work/none.ko"
result $? missing_module_says_what_to_do

echo "1..$number"
[ "$failures" = 0 ]
