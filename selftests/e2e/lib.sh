# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# lib.sh - what the end-to-end tests share: TAP output, runs with and without sandrun
#
# Sourced by every script here. A test compares a native run of a command with a
# run of the same command in the sandbox, or looks at what sandrun itself says.
# From the environment:
#   SANDRUN   the binary under test (default: $BUILD/sandrun)
#   PLATFORM  auto, sandtrap, systrap, ptrace (default: auto)
#   BUILD     build directory (default: build in the checkout)
#   SANDTRAP_TIMEOUT    seconds that one command may take
#   SANDTRAP_SLOW       how many times slower a debug kernel is (default: 1)
#   SANDTRAP_MUST_WORK  1: a test that would be skipped fails

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
BUILD=$(realpath -m "${BUILD:-$top/build}")
SANDRUN=${SANDRUN:-$BUILD/sandrun}
PLATFORM=${PLATFORM:-auto}
# shellcheck disable=SC2034 # used by the scripts
progs=$BUILD/selftests/progs
# The emulated machine is some twenty times slower than the host, debug kernels still more.
limit=${SANDTRAP_TIMEOUT:-$(($([ -n "${SANDTRAP_VM:-}" ] && echo 240 || echo 60) * ${SANDTRAP_SLOW:-1}))}

# Both runs of a command see the same environment, whoever called the tests.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8 TZ=UTC HOME=/ TERM=dumb
unset LANG LANGUAGE CDPATH ENV BASH_ENV PYTHONPATH PYTHONHOME MAKEFLAGS MAKELEVEL MFLAGS
umask 022
ulimit -c 0
# Whatever else the caller has open would be seen by the native run alone; 255 is
# where bash reads this script.
for fd in "/proc/$$/fd"/*; do
	fd=${fd##*/}
	[ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/sandtrap-e2e.XXXXXX")
# A background job that is killed would run the trap too.
trap '[ "$BASHPID" != $$ ] || rm -rf "$work"' EXIT
mkdir "$work/result"

suite=$(basename "$0" .sh)
tests=0
failures=0

diag()
{
	printf '%s\n' "$*" | sed 's/^/# /'
}

# Prints the first lines of a file as a diagnostic.
diag_file()
{
	head -n 20 "$1" | head -c 4000 | cat -v | sed 's/^/#   /'
	[ ! -s "$1" ] || [ -z "$(tail -c 1 "$1")" ] || echo
}

ok()
{
	tests=$((tests + 1))
	echo "ok $tests $suite.$1"
}

not_ok()
{
	tests=$((tests + 1))
	failures=$((failures + 1))
	echo "not ok $tests $suite.$1"
}

# skip NAME WHAT-WOULD-MAKE-IT-RUN
skip()
{
	# What the machine cannot do is nobody's fault; see selftests/run.
	if [ "${SANDTRAP_MUST_WORK:-}" = 1 ] && [[ ! $2 =~ (CPU|kernel|machine)\ (has\ no|lacks) ]]; then
		not_ok "$1"
		diag "would be skipped: $2"
		return
	fi
	tests=$((tests + 1))
	echo "ok $tests $suite.$1 # SKIP $2"
}

# need NAME PROGRAM...: skips the test NAME and fails unless all are installed.
need()
{
	local name=$1 program

	shift
	for program; do
		if ! command -v "$program" >/dev/null; then
			skip "$name" "no $program here: run 'make deps'"
			return 1
		fi
	done
}

finish()
{
	echo "1..$tests"
	[ "$failures" = 0 ] || exit 1
	exit 0
}

# check NAME COMMAND...: passes if the command succeeds; its output is shown if not.
check()
{
	local name=$1

	shift
	if "$@" >"$work/result/check" 2>&1; then
		ok "$name"
	else
		not_ok "$name"
		diag "failed: $*"
		diag_file "$work/result/check"
	fi
}

# Does the module run the sandboxes?
on_module()
{
	[ "$PLATFORM" = sandtrap ] || { [ "$PLATFORM" = auto ] && [ -e /dev/sandtrap ]; }
}

# Where commands run: the same path, empty, for both runs.
fresh_directory()
{
	local left

	if [ -d "$work/dir" ]; then
		shopt -s nullglob dotglob
		left=("$work/dir"/*)
		shopt -u nullglob dotglob
		[ ${#left[@]} != 0 ] || return 0
		rm -rf "$work/dir"
	fi
	mkdir "$work/dir"
}

# run_native KIND COMMAND...: output to result/KIND.{out,err,status}
run_native()
{
	local kind=$1 status=0

	shift
	fresh_directory
	# The outer redirection hides what this shell says about a death by signal.
	{ (cd "$work/dir" && exec timeout -k 5 "$limit" "$@") \
		<"${stdin:-/dev/null}" >"$work/result/$kind.out" 2>"$work/result/$kind.err" ||
		status=$?; } 2>/dev/null
	echo "$status" >"$work/result/$kind.status"
	# A shell that tells of a death by signal tells the process id too.
	[ ! -s "$work/result/$kind.err" ] ||
		sed -i -E 's/^(.*: line [0-9]+:) +[0-9]+ /\1 PID /' "$work/result/$kind.err"
}

# run_sandboxed KIND [OPTIONS --] COMMAND...
run_sandboxed()
{
	local kind=$1

	shift
	run_native "$kind" "$SANDRUN" --platform="$PLATFORM" "$@"
}

# Shows how two runs differ in one respect; false if they do not.
differs()
{
	# Most are empty, and each program started costs in the emulated machine.
	[ -s "$work/result/native.$1" ] || [ -s "$work/result/sandbox.$1" ] || return 1
	! cmp -s "$work/result/native.$1" "$work/result/sandbox.$1" || return 1
	diag "$1: native, then sandbox"
	diag_file "$work/result/native.$1"
	diag "--"
	diag_file "$work/result/sandbox.$1"
}

compare_runs()
{
	local name=$1 what bad=''

	shift
	for what in status out err; do
		if differs "$what" >"$work/result/diff.$what"; then
			bad=1
		else
			rm -f "$work/result/diff.$what"
		fi
	done
	if [ -z "$bad" ]; then
		ok "$name"
		return
	fi
	not_ok "$name"
	diag "to repeat: $SANDRUN --platform=$PLATFORM $(printf '%q ' "$@" | head -c 2000)"
	for what in status out err; do
		[ ! -e "$work/result/diff.$what" ] || cat "$work/result/diff.$what"
	done
}

# same_as_native NAME COMMAND...: stdout, stderr and exit status must be equal.
# $stdin names a file to read from (default /dev/null).
same_as_native()
{
	local name=$1

	shift
	run_native native "$@"
	if [ "$(<"$work/result/native.status")" = 124 ]; then
		not_ok "$name"
		diag "the native run took longer than $limit s"
		return
	fi
	run_sandboxed sandbox -- "$@"
	compare_runs "$name" "$@"
}

# same_script NAME: the same for a bash script on stdin of this function.
same_script()
{
	local script

	script=$(cat)
	same_as_native "$1" bash -c "$script"
}

# expect NAME STATUS [OPTIONS --] COMMAND...: sandrun's exit status must be STATUS.
# What it wrote is in $work/result/sandbox.{out,err}.
expect()
{
	local name=$1 want=$2 got

	shift 2
	run_sandboxed sandbox "$@"
	got=$(<"$work/result/sandbox.status")
	if [ "$got" = "$want" ]; then
		ok "$name"
	else
		not_ok "$name"
		diag "exit status $got instead of $want: sandrun $*"
		diag_file "$work/result/sandbox.err"
	fi
}

# wrote NAME out|err REGEX: the last run wrote a line that matches.
wrote()
{
	if grep -Eq -- "$3" "$work/result/sandbox.$2"; then
		ok "$1"
	else
		not_ok "$1"
		diag "no line matches: $3"
		diag_file "$work/result/sandbox.$2"
	fi
}

# silent NAME out|err: the last run wrote nothing there.
silent()
{
	if [ -s "$work/result/sandbox.$2" ]; then
		not_ok "$1"
		diag "unexpected output on $2:"
		diag_file "$work/result/sandbox.$2"
	else
		ok "$1"
	fi
}

echo "TAP version 13"
if ! [ -x "$SANDRUN" ]; then
	echo "1..0 # SKIP no $SANDRUN: run 'make sandrun', or set SANDRUN"
	[ "${SANDTRAP_MUST_WORK:-}" = 1 ] && exit 1
	exit 4
fi
diag "$("$SANDRUN" --platform="$PLATFORM" --verbose true 2>&1 | head -n 1)"
