#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tty.sh - a user at a terminal: ^C, ^Z, ^\, window size, job control, line editing

. "$(dirname "$0")/lib.sh"

need terminal python3 || finish

# at_terminal NAME STEP... -- COMMAND...: what the user sees must be as natively.
# The command is started through $RUN, so that the transcript can show its name.
at_terminal()
{
	local name=$1 steps=()

	shift
	while [ "$1" != -- ]; do
		steps+=("$1")
		shift
	done
	shift
	export RUN
	RUN='env'
	run_native native python3 "$here/pty_drive.py" --timeout 20 "${steps[@]}" -- "$@"
	RUN="$SANDRUN --platform=$PLATFORM"
	run_native sandbox python3 "$here/pty_drive.py" --timeout "$limit" "${steps[@]}" -- "$@"
	# An interactive shell tells the process id of a background job. The kernel signals
	# first and echoes then, so ^C may stand before or behind what a handler says, and
	# be cut in half if there is none.
	sed -i -E -e 's/^(\[[0-9]\]) [0-9]+/\1 PID/' -e 's/\^([CZ\]|$)//g' \
		"$work/result/native.out" "$work/result/sandbox.out"
	if ! grep -q '^status ' "$work/result/native.out"; then
		not_ok "$name"
		diag "the native run did not come to its end"
		diag_file "$work/result/native.out"
		return
	fi
	compare_runs "$name" "$@"
}

# in_terminal NAME STEP... -- COMMAND...: the same, the command itself on the terminal
in_terminal()
{
	local args=()

	while [ "$1" != -- ]; do
		args+=("$1")
		shift
	done
	shift
	at_terminal "${args[@]}" -- bash -c 'exec $RUN "$@"' - "$@"
}

in_terminal is_a_terminal -- bash -c 'for fd in 0 1 2; do test -t $fd; echo $?; done; stty -a | head -n 1'
in_terminal tty_is_writable -- bash -c 'echo directly >/dev/tty; test -c "$(tty)"; echo $?'
in_terminal echo_and_line_mode 'expect:?' 'send:some text\x7f\x7fxx\n' -- bash -c 'echo "?"; read -r a; echo "<$a>"'
in_terminal end_of_file 'expect:?' 'send:line\n' 'send:\x04' -- bash -c 'echo "?"; cat; echo "end $?"'
in_terminal raw_mode 'expect:?' 'send:q' -- bash -c 'stty -icanon -echo; echo "?"; read -rsn1 key; echo "<$key>"; stty -a | grep -oE "[-]?(icanon|echo) "'
in_terminal stty_changes_and_restores -- bash -c 's=$(stty -g); stty raw -echo; stty "$s"; stty -a | grep -oE "[-]?icanon"'
in_terminal password 'expect:?' 'send:hidden\n' -- bash -c 'stty -echo; echo "?"; read -r p; stty echo; echo "${#p}"'

# signals of the terminal
in_terminal interrupt 'expect:ready\r\n' 'send:\x03' -- bash -c 'trap "echo caught; exit 7" INT; echo ready; while :; do sleep 0.1; done'
in_terminal interrupt_kills 'expect:ready\r\n' 'send:\x03' -- sh -c 'echo ready; exec sleep 100'
in_terminal interrupt_of_a_spinning_program 'expect:ready\r\n' 'send:\x03' -- bash -c 'echo ready; while :; do :; done'
in_terminal interrupt_reaches_children 'expect:ready\r\n' 'send:\x03' -- \
	bash -c 'trap "echo parent" INT; sh -c "trap \"echo child; exit 3\" INT; echo ready; sleep 100 & wait"; echo $?'
in_terminal interrupt_of_python 'expect:ready\r\n' 'send:\x03' -- python3 -c '
import time
try:
    print("ready", flush=True)
    time.sleep(100)
except KeyboardInterrupt: print("interrupted")'
in_terminal quit 'expect:ready\r\n' 'send:\x1c' -- sh -c 'ulimit -c 0; echo ready; exec sleep 100'
in_terminal window_size_is_passed_on 'expect:ready\r\n' 'size:50x132' 'expect:done' -- \
	bash -c 'trap "stty size; echo done; exit" WINCH; stty size; echo ready; while :; do sleep 0.1; done'
in_terminal hangup_of_the_shell 'expect:ready\r\n' -- bash -c 'trap "" INT; echo ready; kill -HUP $$'

# job control of the host's shell
prompt='$ '
host_shell=(env "PS1=$prompt" bash --norc --noprofile --noediting -i)
at_terminal stop_and_foreground "expect:$prompt" 'send:$RUN cat\n' 'expect:cat' 'pause:1.5' \
	'send:one\n' 'expect:one\r\none' 'send:\x1a' 'expect:Stopped' "expect:$prompt" \
	'send:fg\n' 'expect:cat' 'pause:0.5' 'send:two\n' 'expect:two\r\ntwo' 'send:\x04' \
	"expect:$prompt" 'send:echo status $?; exit\n' -- "${host_shell[@]}"
at_terminal stop_and_background "expect:$prompt" \
	'send:$RUN bash -c "while ! test -e go; do sleep 0.1; done; sleep 1; echo went on; exit 4"\n' \
	'pause:1.5' 'send:\x1a' 'expect:Stopped' "expect:$prompt" 'send:bg; touch go; wait %1; echo status $?\n' \
	'expect:went on' "expect:status 4" "expect:$prompt" 'send:exit\n' -- "${host_shell[@]}"
# A program that a signal ends is an exit status of 128+n of sandrun: a shell between
# them makes the native run look alike.
at_terminal interrupt_in_the_hosts_shell "expect:$prompt" \
	'send:bash -c "trap : INT; \$RUN sleep 100; exit \$?"\n' 'pause:1.5' \
	'send:\x03' "expect:$prompt" 'send:echo status $?; exit\n' -- "${host_shell[@]}"
at_terminal kill_of_a_job "expect:$prompt" \
	'send:$RUN bash -c "trap \x27exit 9\x27 TERM; touch up; while :; do sleep 0.1; done" &\n' \
	"expect:$prompt" 'send:while ! test -e up; do sleep 0.1; done; kill $!; wait %1; echo status $?; exit\n' \
	-- "${host_shell[@]}"

# a shell with job control inside the sandbox
in_terminal shell_inside "expect:$prompt" 'send:echo a b | tr a-z A-Z\n' 'expect:A B' "expect:$prompt" \
	'send:sleep 100\n' 'pause:0.7' 'send:\x1a' 'expect:Stopped' "expect:$prompt" 'send:jobs\n' \
	"expect:$prompt" 'send:fg\n' 'expect:sleep 100' 'pause:0.5' 'send:\x03' "expect:$prompt" \
	'send:echo status $?; exit 3\n' -- "${host_shell[@]}"
in_terminal pipeline_in_the_shell_inside "expect:$prompt" 'send:cat | tr a-z A-Z\n' 'pause:0.5' \
	'send:hello\n' 'send:\x04' 'expect:HELLO' "expect:$prompt" 'send:exit\n' -- "${host_shell[@]}"

finish
