#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cpuid - what a program is told of the CPU: the same everywhere, and as restricted
#
# timeout: 600

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prog=$progs/cpuid
out=$work/result

# Prints what sandrun with the given options says; its status is kept.
sandboxed()
{
	timeout -k 5 "$limit" "$SANDRUN" --platform="$PLATFORM" "$@" 2>&1
}

# fails WITH-TEXT COMMAND...: status 125 and the text.
fails()
{
	local text=$1 status=0 output

	shift
	output=$("$@" 2>&1) || status=$?
	echo "$status: $output"
	[ "$status" = 125 ] && [[ $output == *"$text"* ]]
}

# features OPTIONS...: into the file "features", one a line.
features()
{
	sandboxed "$@" "$prog" features >"$out/features"
}

# A CPU that can fault needs no rewriting, and says so.
can_fault=
! grep -qw cpuid_fault /proc/cpuinfo || can_fault=1

# ---- the program's code, rewritten or not

for name in agree cpus jit straddle prefixes invalid step fork; do
	check "$name" sandboxed "$prog" "$name"
done

# ---- the same CPU everywhere

sandboxed "$prog" dump >"$out/dump"
check dump_is_complete [ "$(wc -l <"$out/dump")" -gt 30 ]
timeout -k 5 "$limit" "$SANDRUN" --platform=ptrace "$prog" dump >"$out/dump.ptrace" 2>&1
check same_on_ptrace cmp "$out/dump" "$out/dump.ptrace"
timeout -k 5 "$limit" "$SANDRUN" --platform=systrap "$prog" dump >"$out/dump.systrap" 2>&1
check same_on_systrap cmp "$out/dump" "$out/dump.systrap"

# ---- hidden features

features
cp "$out/features" "$out/features.all"
check a_hidden_feature_is_gone bash -c '! grep -qx popcnt "$1"' - <(sandboxed --cpuid=hide=popcnt "$prog" features)
features --cpuid=hide=ssse3,adx
check dependents_go_with_it bash -c '! grep -E "sse4|avx|fma|f16c|vaes|ssse3|adx" "$1"' - "$out/features"
grep -vE "sse4|avx|fma|f16c|vaes|ssse3|adx" "$out/features.all" >"$out/features.left"
check no_other_feature_goes cmp "$out/features.left" "$out/features"
check cpuinfo_agrees sandboxed --cpuid=hide=avx,rdrand "$prog" agree
sandboxed --cpuid=hide=avx,rdrand cat /proc/cpuinfo >"$out/cpuinfo"
check cpuinfo_hides bash -c '! grep -wE "avx|avx2|fma|rdrand" "$1" && grep -qw sse2 "$1"' - "$out/cpuinfo"
sandboxed --cpuid=hide=avx512f "$prog" dump | grep '^0000000d' >"$out/xsave"
check layout_of_the_saved_state_is_the_cpus cmp "$out/xsave" <(grep '^0000000d' "$out/dump")
check hwcap_agrees bash -c '
	hwcap=$("$@" env LD_SHOW_AUXV=1 true | sed -n "s/^AT_HWCAP: *//p")
	echo "$hwcap"; [ $((0x$hwcap >> 19 & 1)) = 0 ] && [ $((0x$hwcap >> 26 & 1)) = 1 ]' - \
	"$SANDRUN" --platform="$PLATFORM" --cpuid=hide=clflush
check programs_run_without_them sandboxed --cpuid=hide=xsave,popcnt bash -c 'ls / | sort -r | head -n 1'

# ---- the command line

check unknown_feature fails "did you mean 'avx512f'" sandboxed --cpuid=hide=sse4_1,avx512 true
check nonsense fails "--cpuid=list" sandboxed --cpuid=hide=frobnication true
check empty_name fails "--cpuid=list" sandboxed --cpuid=hide= true
check what_every_program_needs fails "cannot be hidden" sandboxed --cpuid=hide=sse2 true
check neither_hide_nor_list fails "is not hide=" sandboxed --cpuid=show=sse2 true
check list bash -c '"$@" | grep -P "^avx2\t(present|absent)\thides too: .*avx512f"' - "$SANDRUN" --cpuid=list

# ---- one way or the other

if [ -n "$can_fault" ]; then
	check hardware_path bash -c '"$@" 2>&1 | grep -E " [1-9][0-9]* +CPUID instructions answered, 0 rewritten"' - \
		"$SANDRUN" --platform="$PLATFORM" --stats --no-cpuid-rewrite "$prog" features
	skip rewriting_path "CPU has no need of it: runs where /proc/cpuinfo does not list cpuid_fault"
else
	check rewriting_path bash -c '"$@" 2>&1 | grep -E "CPUID instructions answered, [1-9][0-9]* rewritten"' - \
		"$SANDRUN" --platform="$PLATFORM" --stats "$prog" features
	check opt_out bash -c '"$@" 2>&1 | grep -E " 0  CPUID instructions answered, 0 rewritten"' - \
		"$SANDRUN" --platform="$PLATFORM" --stats --no-cpuid-rewrite "$prog" features
	check opt_out_cannot_hide fails "--no-cpuid-rewrite forbids" \
		sandboxed --no-cpuid-rewrite --cpuid=hide=avx true
	skip hardware_path "CPU has no cpuid_fault: runs where /proc/cpuinfo lists it"
fi

finish
