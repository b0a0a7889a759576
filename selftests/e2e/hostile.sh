#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hostile.sh - no way into the kernel leads to the host's system call table
#
# The program creates files in a directory that the sandbox's root does not
# contain, and kills a process that the sandbox does not have, by every entry it
# knows (progs/hostile.c). Natively it can, which is checked first.

. "$(dirname "$0")/lib.sh"

outside=$work/outside
root=$work/root
mkdir -p "$root/tmp"
cp "$progs/hostile" "$root/hostile"

# attack KIND COMMAND...: runs it against a fresh directory and a fresh victim.
# Sets $victim to "killed" or "alive".
attack()
{
	local pid

	rm -rf "$outside"
	mkdir "$outside"
	sleep 1000 &
	pid=$!
	disown "$pid"
	run_native "$@" "$outside" "$pid"
	victim=killed
	if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; then
		victim=alive
		kill "$pid"
	fi
}

attack native "$progs/hostile"
check natively_files_appear [ -e "$outside/syscall" ]
check natively_the_victim_dies [ "$victim" = killed ]
check natively_upper_half_is_ignored [ -e "$outside/syscall_upper_half" ]
diag "ways that work natively here: $(find "$outside" -type f -printf '%f\n' | sort | tr '\n' ' ')"

attack sandbox "$SANDRUN" --platform="$PLATFORM" --root "$root" /hostile
check sandboxed_nothing_appears [ -z "$(ls "$outside")" ]
check sandboxed_the_victim_lives [ "$victim" = alive ]
check sandbox_survives [ "$(cat "$work/result/sandbox.status")" = 0 ]
wrote all_attacks_were_made out '^all done$'
diag "$(grep '^jumps:' "$work/result/sandbox.out")"
silent without_a_word_of_sandrun err
for way in syscall syscall_upper_half syscall_x32 syscall_minus_one int80 far_int80 far_syscall \
	far_sysenter sysenter sigreturn_int80 vsyscall_time vsyscall_elsewhere; do
	wrote "made_$way" out "^$way: (returned|signal [0-9]+)$"
done
# SIGSYS or SIGKILL: it was the filter behind the hook, or the loss of a stub, that
# stopped it; the sentry should have been told.
check every_attack_was_an_event bash -c '! grep -E "signal (9|31)$" "$1"' - "$work/result/sandbox.out"
check unknown_numbers_come_back bash -c '
	[ "$(grep -cE "^syscall_(x32|minus_one|smallest|largest|sign_of_int): returned" "$1")" = 10 ]' \
	- "$work/result/sandbox.out"

# Inside its root the same program may do what any program may.
mkdir "$root/inside"
run_sandboxed sandbox --root "$root" -- /hostile /inside 99999
check inside_the_root_files_appear [ -e "$root/inside/syscall" ]

# the device that runs the sandbox is not to be had in it
run_sandboxed sandbox -- sh -c 'ls /dev/sandtrap; cat /dev/sandtrap; : >/dev/sandtrap'
check device_cannot_be_seen [ ! -s "$work/result/sandbox.out" ]
run_sandboxed sandbox -- sh -c 'mknod node c 10 200 && cat node; mknod mem c 1 1 && head -c 1 mem | wc -c'
check device_nodes_are_of_no_use bash -c '! grep -q 1 "$1"' - "$work/result/sandbox.out"
run_sandboxed sandbox -- sh -c 'head -c 16 /dev/mem /dev/kmsg /proc/kcore /proc/kmsg; ls /sys/module/sandtrap'
check kernel_memory_cannot_be_read [ ! -s "$work/result/sandbox.out" ]

# calls that are meant to bring down the sentry, or to lock it up for good
for abuse in exit_signal epoll_tower fdinfo_of_itself futex_in_shrinking_file; do
	run_sandboxed sandbox -- "$progs/abuse" "$abuse"
	wrote "survives_$abuse" out "^$abuse: survived\$"
done

finish
