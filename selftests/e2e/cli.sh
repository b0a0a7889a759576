#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cli.sh - sandrun's options, messages and exit statuses

. "$(dirname "$0")/lib.sh"

# sandrun itself, with no option put in front.
bare()
{
	run_native sandbox "$SANDRUN" "$@"
}

# status NAME N: exit status of the last run.
status()
{
	check "$1" [ "$(<"$work/result/sandbox.status")" = "$2" ]
}

# Nothing of this depends on the platform: in the emulated machine, where time is dear,
# it is left out.
usage_errors()
{
	# usage errors: 125, with a message that says what to do
	bare
	status no_program_is_125 125
	wrote no_program_says_so err '^sandrun: no program'
	bare --no-such-option true
	status unknown_option_is_125 125
	wrote unknown_option_names_it err 'no-such-option'
	wrote unknown_option_points_to_help err 'sandrun --help'
	bare --spin
	status missing_argument_is_125 125
	for bad in '' x -1 1x 18446744073709551615 99999999999999999999; do
		bare --spin "$bad" true
		status "spin_${bad:-empty}_is_125" 125
	done
	wrote spin_names_the_value err "nanoseconds, not '99999999999999999999'"
	bare --platform=nosuch true
	status unknown_platform_is_125 125
	wrote unknown_platform_points_to_list err "'nosuch'.*--list-platforms"
	expect missing_root_is_125 125 --root /no/such/directory true
	wrote missing_root_says_why err '^sandrun: .*/no/such/directory: No such file'
	expect root_that_is_a_file_is_125 125 --root /etc/passwd true
	expect missing_cwd_is_125 125 --cwd /no/such/directory true
	wrote missing_cwd_says_why err '^sandrun: --cwd /no/such/directory: No such file'
	expect cwd_that_is_a_file_is_125 125 --cwd /etc/passwd true
	expect empty_cwd_is_125 125 --cwd '' true
}

# options end at the program
expect options_stop_at_the_program 0 echo --stats --no-such-option
wrote program_gets_its_options out '^--stats --no-such-option$'
expect options_stop_at_two_dashes 0 -- echo -- --strace
wrote two_dashes_are_passed_on out '^-- --strace$'
silent nothing_of_sandruns_own err
expect abbreviation_and_separate_argument 0 --plat "$PLATFORM" --no-spin --no-patch true
expect spin_zero 0 --spin 0 true
expect spin_long 0 --spin=100000 true

# exit statuses
for n in 0 1 124 125 127 128 255; do
	expect "exit_status_$n" "$n" sh -c "exit $n"
done
silent exit_status_has_no_message err
for signal in HUP INT QUIT ABRT FPE KILL SEGV PIPE TERM XCPU; do
	expect "killed_by_$signal" $((128 + $(kill -l "$signal"))) sh -c "kill -$signal \$\$"
done
expect killed_by_a_realtime_signal 162 sh -c 'kill -34 $$'
silent killed_has_no_message err

expect not_in_path_is_127 127 no-such-program-anywhere
wrote not_in_path_says_so err '^sandrun: no-such-program-anywhere: not found in PATH'
expect missing_file_is_127 127 /no/such/program
wrote missing_file_says_so err '^sandrun: /no/such/program: not found'
silent not_found_writes_no_output out
expect empty_program_is_127 127 ''
expect directory_is_126 126 /etc
wrote directory_says_why err '^sandrun: /etc: '
expect no_permission_bit_is_126 126 /etc/passwd
printf 'neither ELF nor script\n' >"$work/garbage"
printf '#!/no/such/interpreter\n' >"$work/orphan"
printf '#!/bin/sh\necho "script $0 got $*"; exit 5\n' >"$work/script"
head -c 40 /bin/true >"$work/truncated"
chmod +x "$work/garbage" "$work/orphan" "$work/script" "$work/truncated"
expect garbage_is_126 126 "$work/garbage"
wrote garbage_says_why err '#!'
expect truncated_elf_is_126 126 "$work/truncated"
expect missing_interpreter_is_127 127 "$work/orphan"
wrote missing_interpreter_says_why err 'interpreter'
expect script_runs 5 "$work/script" a b
same_as_native script_as_native "$work/script" a 'b c'
mkdir "$work/path"
cp "$work/script" "$work/path/just-here"
cp "$work/garbage" "$work/path/not-a-program"
PATH=$work/path:$PATH same_as_native found_in_path just-here x
PATH=$work/path:$PATH expect garbage_in_path_is_126 126 not-a-program
run_native sandbox env -u PATH "$SANDRUN" --platform="$PLATFORM" true
status without_path_the_default_is_searched 0

help_and_version()
{
	bare --help
	status help_is_0 0
	wrote help_shows_usage out '^usage: sandrun'
	for option in platform root cwd strace stats spin no-spin no-patch cpuid \
		no-cpuid-rewrite list-syscalls list-platforms verbose help version; do
		wrote "help_knows_$option" out "--$option"
	done
	silent help_writes_to_stdout_alone err
	bare --version
	wrote version out '^sandrun [0-9]+\.[0-9]+'
}

if [ -z "${SANDTRAP_VM:-}" ]; then
	usage_errors
	help_and_version
fi

# lists
bare --list-platforms
status list_platforms_is_0 0
wrote list_platforms_has_sandtrap out '^sandtrap	(usable|unusable)	.'
wrote list_platforms_has_ptrace out '^ptrace	(usable|unusable)	.'
if [ -e /dev/sandtrap ]; then
	wrote list_platforms_sees_the_device out '^sandtrap	usable	'
else
	wrote list_platforms_says_what_is_missing out '^sandtrap	unusable	.*insmod'
fi
bare --list-syscalls
status list_syscalls_is_0 0
cp "$work/result/sandbox.out" "$work/syscalls"
check list_syscalls_is_well_formed awk '
	$1 !~ /^[0-9]+$/ || $2 !~ /^[a-z0-9_]+$/ || $3 !~ /^(full|partial|none)$/ { print "bad: " $0; bad = 1 }
	$1 <= last && NR > 1 { print "out of order: " $0; bad = 1 }
	$3 == "partial" && NF < 4 { print "does not say what is missing: " $0; bad = 1 }
	{ last = $1 }
	END { if (NR < 300) { print NR " lines"; bad = 1 } exit bad }' "$work/syscalls"
for call in '0 read' '39 getpid' '59 execve' '202 futex' '435 clone3'; do
	check "list_syscalls_has_${call#* }" awk -v want="$call" \
		'$1 " " $2 == want && $3 != "none" { found = 1 } END { exit !found }' "$work/syscalls"
done
for option in --help --version --list-syscalls --list-platforms; do
	if "$SANDRUN" "$option" >/dev/full 2>"$work/result/sandbox.err"; then
		not_ok "full_stdout_is_noticed$option"
	else
		wrote "full_stdout_is_noticed$option" err '^sandrun: standard output: No space'
	fi
done

# --verbose
bare --verbose true
if [ -e /dev/sandtrap ]; then
	wrote auto_takes_the_module err '^sandrun: platform sandtrap \((direct|ring) mode\): .*/dev/sandtrap'
	for mode in direct ring; do
		bare --verbose --platform=sandtrap --sandtrap-mode=$mode true
		wrote verbose_names_${mode}_mode err "^sandrun: platform sandtrap \\($mode mode\\): asked for$"
	done
else
	wrote auto_says_why_not_the_module err \
		'^sandrun: platform (systrap|ptrace): /dev/sandtrap: No such file or directory \(.*insmod build/kmod/.*/sandtrap.ko\)$'
	bare --platform=sandtrap true
	status platform_without_its_device_is_125 125
	wrote platform_without_its_device_says_what_to_do err '/dev/sandtrap: .*insmod'
fi
bare --verbose --platform=ptrace true
wrote verbose_says_asked_for err '^sandrun: platform ptrace: asked for$'
check verbose_is_one_line [ "$(wc -l <"$work/result/sandbox.err")" = 1 ]
bare true
silent quiet_without_verbose err

# --strace, --stats
expect strace_runs 3 --strace sh -c '/bin/echo hello; exit 3'
wrote strace_keeps_stdout out '^hello$'
wrote strace_shows_execve_and_path err 'execve\("/bin/echo"'
wrote strace_shows_a_string_and_result err 'write\(1, "hello\\n", 6\) *= 6'
wrote strace_shows_an_error err '= -1 ENOENT'
wrote strace_shows_the_end err 'exit_group\(3\)'
expect strace_of_a_signal 143 --strace sh -c 'kill -TERM $$'
wrote strace_shows_the_signal err 'SIGTERM'
expect stats_runs 0 --stats sh -c 'echo hello'
wrote stats_keep_stdout out '^hello$'
wrote stats_count_calls err 'write'
wrote stats_count_switches err 'switch'
expect stats_after_a_signal 137 --stats sh -c 'kill -KILL $$'
check stats_are_printed_after_a_signal [ -s "$work/result/sandbox.err" ]

# the working directory
expect cwd_absolute 0 --cwd /usr/share pwd
wrote cwd_absolute_is_taken out '^/usr/share$'
run_native sandbox sh -c 'mkdir sub; exec "$@"' sh "$SANDRUN" --platform="$PLATFORM" --cwd sub pwd
wrote cwd_relative_counts_from_the_callers out '/dir/sub$'
same_as_native cwd_is_inherited pwd
same_as_native cwd_is_inherited_physically readlink /proc/self/cwd

finish
