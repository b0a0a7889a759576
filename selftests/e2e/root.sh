#!/bin/bash
# SPDX-License-Identifier: MIT
#
# root.sh - nothing leads out of --root: no link, no .., no descriptor, no rename

. "$(dirname "$0")/lib.sh"

need root_confinement busybox || finish

# A tree with a secret beside the root, and every kind of link that points at it.
root=$work/root
outside=$work/outside
mkdir -p "$root"/{bin,etc,tmp,proc,dev,a/b/c} "$outside/dir"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh cat ls ln rm mv mkdir echo readlink sleep find test touch pwd; do
	ln -s busybox "$root/bin/$applet"
done
echo secret >"$outside/secret"
echo inside >"$root/inside"
ln -s "$outside/secret" "$root/absolute"
ln -s "../outside/secret" "$root/relative"
ln -s "../../../../../../../..$outside/secret" "$root/deep"
ln -s "$outside" "$root/directory"
ln -s "$outside/new" "$root/dangling"
ln -s /inside "$root/good"
ln -s ../../../../../../inside "$root/a/climbing"
ln -s loop "$root/loop"

in_root()
{
	run_sandboxed sandbox --root "$root" -- "$@"
}

# gives NAME OUTPUT COMMAND...: exactly this on stdout
gives()
{
	local name=$1 want=$2

	shift 2
	in_root "$@"
	printf '%s' "$want" >"$work/result/want"
	if cmp -s "$work/result/want" "$work/result/sandbox.out"; then
		ok "$name"
	else
		not_ok "$name"
		diag "want:"; diag_file "$work/result/want"
		diag "got:"; diag_file "$work/result/sandbox.out"
		diag_file "$work/result/sandbox.err"
	fi
}

# no_secret NAME COMMAND...: the secret must not come out, whatever else happens
no_secret()
{
	local name=$1

	shift
	in_root "$@"
	if grep -q secret "$work/result/sandbox.out"; then
		not_ok "$name"
		diag "read from outside the root: $*"
	else
		ok "$name"
	fi
}

gives sees_the_inside $'inside\n' /bin/cat /inside
gives starts_in_the_root $'/\n' /bin/pwd
gives program_found_in_path $'hi\n' echo hi
gives dotdot_ends_at_the_root $'inside\n' /bin/cat /../../../inside
gives absolute_link_counts_from_the_root $'inside\n' /bin/cat /good
gives climbing_link_ends_at_the_root $'inside\n' /bin/cat /a/climbing
gives listing_of_dotdot_is_the_root "$(in_root /bin/ls /; cat "$work/result/sandbox.out")"$'\n' \
	/bin/ls /a/../..

no_secret link_absolute /bin/cat /absolute
wrote link_absolute_says_not_found err 'No such file'
no_secret link_relative /bin/cat /relative
no_secret link_deep /bin/cat /deep
no_secret link_to_a_directory /bin/cat /directory/secret
no_secret path_of_the_host /bin/cat "$outside/secret"
no_secret dotdot /bin/cat "/../outside/secret"
no_secret dotdot_behind_a_directory /bin/cat "/a/b/../../../outside/secret"
no_secret chdir_and_dotdot /bin/sh -c 'cd /a/b/c && cat ../../../../outside/secret ../../../outside/secret'
no_secret proc_root /bin/cat "/proc/self/root$outside/secret" "/proc/1/root$outside/secret"
no_secret proc_cwd /bin/cat /proc/self/cwd/../outside/secret
no_secret proc_fd /bin/sh -c "exec 5</; cat /proc/self/fd/5/../outside/secret /dev/fd/5$outside/secret"
in_root /bin/cat /loop
wrote link_loop err 'Too many|Symbolic link loop'

# sandrun itself is started from a directory outside the root
run_native sandbox sh -c 'cd "$1" && shift && exec "$@"' sh "$outside" \
	"$SANDRUN" --platform="$PLATFORM" --root "$root" /bin/sh -c 'pwd; cat secret; ls .'
check cwd_outside_becomes_the_root [ "$(head -n 1 "$work/result/sandbox.out")" = / ]
check cwd_outside_is_not_readable bash -c '! grep -q secret "$1"' - "$work/result/sandbox.out"
expect cwd_out_of_the_root_is_refused 125 --root "$root" --cwd "$outside" /bin/pwd
expect cwd_through_a_link_is_refused 125 --root "$root" --cwd /directory /bin/pwd
expect cwd_inside 0 --root "$root" --cwd a/b /bin/pwd
wrote cwd_inside_is_a_path_of_the_root out '^/a/b$'
expect program_outside_is_not_found 127 --root "$root" /usr/bin/env
ln -s "$outside/dir" "$root/escape-dir"
ln -s /bin/true "$root/outer-program"
expect program_through_a_link_is_not_found 127 --root "$root" /outer-program

# writing: through links, by rename, by link(2), by symlink(2) of the program itself
in_root /bin/sh -c "
	echo x > /dangling
	echo x > /directory/new2
	echo x > $outside/new3
	echo x > /../outside/new4
	mkdir /directory/newdir /escape-dir/newdir
	touch /escape-dir/new5
	ln -s ../outside /own; echo x > /own/new6
	ln /inside /directory/new7
	mv /inside /escape-dir/new8
	rm /directory/secret /own/secret"
check nothing_written_outside [ "$(cd "$outside" && find . | sort | tr '\n' ' ')" = ". ./dir ./secret " ]
check nothing_removed_outside [ "$(cat "$outside/secret")" = secret ]

# A directory that the host moves out of the root while the program is in it.
mkdir -p "$root/trap/deep"
in_root /bin/sh -c '
	cd /trap/deep || exit 9
	echo ready > /tmp/ready
	i=0
	while ! test -e /tmp/moved; do i=$((i + 1)); [ $i -lt 300 ] || exit 8; sleep 0.1; done
	cat ../secret ../../secret ../../outside/secret
	cd ..; cat secret ../secret; cd ..; cat secret outside/secret; ls
	exit 0' &
runner=$!
for _ in $(seq 300); do
	[ ! -e "$root/tmp/ready" ] || break
	sleep 0.1
done
mv "$root/trap/deep" "$outside/dir/deep"
touch "$root/tmp/moved"
wait "$runner"
check moved_directory_test_ran [ "$(cat "$work/result/sandbox.status")" = 0 ]
check moved_directory_is_no_way_out bash -c '! grep -q secret "$1"' - "$work/result/sandbox.out"

# A link that flips between inside and outside while the program opens it.
mkdir "$root/flip"
ln -s /inside "$root/flip/link"
while :; do
	ln -sfn "$outside/secret" "$root/flip/link"
	ln -sfn ../inside "$root/flip/link"
done &
flipper=$!
in_root /bin/sh -c 'i=0; while [ $i -lt 1500 ]; do
	i=$((i + 1)); x=none; read -r x </flip/link; echo "$x"; done 2>/dev/null'
kill "$flipper"
check flipping_link_was_followed grep -q inside "$work/result/sandbox.out"
check flipping_link_is_no_way_out bash -c '! grep -q secret "$1"' - "$work/result/sandbox.out"

# What the caller gave as stdin and stdout lies outside: it is to be read and
# written as it was opened, and no more.
chmod 600 "$outside/secret"
echo kept >"$outside/log"
stdin=$outside/secret in_root /bin/sh -c '
	read -r x && echo "got ${#x}"
	read -r x </dev/stdin && echo "again ${#x}"
	echo x 1<>/proc/self/fd/0; echo x >/dev/stdin; : >/dev/stdin
	ln -L /proc/self/fd/0 /stolen; ln /proc/self/fd/0 /stolen; touch /proc/self/fd/0 && echo touched
	busybox chmod 777 /proc/self/fd/0 && echo changed
	busybox truncate -s 0 /proc/self/fd/0 && echo truncated'
check stdin_outside_is_read [ "$(head -n 2 "$work/result/sandbox.out" | tr '\n' ' ')" = "got 6 again 6 " ]
check stdin_outside_is_not_written [ "$(cat "$outside/secret")" = secret ]
check stdin_outside_keeps_its_mode [ "$(stat -c %a "$outside/secret")" = 600 ]
check stdin_outside_is_not_linked [ ! -e "$root/stolen" ]
check stdin_outside_is_not_changed bash -c '! grep -E "touched|changed|truncated" "$1"' - "$work/result/sandbox.out"
run_native sandbox sh -c '"$@" >>'"$outside/log" sh "$SANDRUN" --platform="$PLATFORM" --root "$root" /bin/sh -c '
	echo one; echo two >/dev/stdout; echo three 1<>/dev/stdout'
check stdout_outside_is_only_appended_to [ "$(head -n 2 "$outside/log" | tr '\n' ' ')" = "kept one " ]

# The host's shared memory is shared with the user's other programs, not with the root.
if [ -w /dev/shm ]; then
	shm=/dev/shm/$(basename "$work").secret
	echo secret >"$shm"
	no_secret shared_memory_of_the_host /bin/sh -c "cat $shm /dev/shm/*; echo x >$shm; echo x >/dev/shm/new"
	check shared_memory_of_the_host_is_not_written [ "$(cat "$shm")" = secret ]
	rm -f "$shm"
	mkdir -p "$root/dev/shm"
	gives shared_memory_of_the_root $'x\n' /bin/sh -c 'echo x >/dev/shm/own; cat /dev/shm/own'
	check shared_memory_is_below_the_root [ "$(cat "$root/dev/shm/own")" = x ]
else
	skip shared_memory_of_the_host "a /dev/shm that may be written"
fi

# The host's own /dev, /proc and /sys are no part of any tree: /./x, too, is a name of
# the root, whose last component may be a link.
ln -s dev/made "$root/into-dev"
in_root /bin/sh -c '
	echo x >/./into-dev; echo x >/a/../into-dev; mkdir /./sys; busybox rmdir /./proc'
check root_dev_is_not_written [ ! -e "$root/dev/made" ]
check root_sys_is_not_made [ ! -e "$root/sys" ]
check root_proc_is_not_removed [ -d "$root/proc" ]

# With the whole tree as the root, they are there: nothing leads past what covers them.
mkdir "$work/ways"
ln -s / "$work/ways/top"
ln -s top "$work/ways/top2"
ln -s ../../../../../../../.. "$work/ways/climb"
for covered in dev proc sys; do
	ln -s "/$covered" "$work/ways/direct-$covered"
	ln -s "$work/ways/top/$covered" "$work/ways/through-$covered"
	ln -s "top2/$covered" "$work/ways/short-$covered"
done
cat >"$work/ways/script" <<'EOF'
same()
{
	local way=$1 want=$2 here=$PWD got own

	[ "$way" -ef "/$want" ] || echo "other: $way"
	cd -P "$way" && [ . -ef "/$want" ] || echo "entered: $way"
	got=(*)
	cd -P "/$want"
	own=(*)
	[ "${got[*]}" = "${own[*]}" ] || echo "listed: $way"
	cd -P "$here"
}
cd "$1" || exit
for d in dev proc/sys/kernel sys; do
	top=${d%%/*}
	rest=${d#"$top"}
	exec 5</ 6<"$1" 7<top
	for p in /dev/fd/5 /dev/fd/7 /proc/self/fd/5 /proc/self/fd/6/top /proc/self/fd/7 \
		/proc/self/root /proc/self/cwd/top "/proc/$$/root/proc/self/root" \
		top top2 climb ./top top/. top2/. top/proc/.. top/dev/.. \
		top/dev/shm/../.. through-dev/.. top/tmp/.. \
		"top/$1/top" "top/$1/climb" "$1/top/"; do
		same "$p/$d" "$d"
	done
	same "direct-$top$rest" "$d"
	same "through-$top$rest" "$d"
	same "short-$top$rest" "$d"
	same "/proc/self/fd/6/through-$top$rest" "$d"
	(cd -P / && same "./$d" "$d")
	(cd -P top && same "$d" "$d" && same "./$d" "$d" && same "..//$d" "$d")
	(cd -P "$1/top" && same "../$d" "$d" && same "tmp/../$d" "$d" &&
		same "/proc/self/cwd/$d" "$d")
done
for p in top through-dev/.. /proc/self/root /dev/fd/5; do
	for in in "$p/dev" "$p/dev/net" "$p/dev/mqueue"; do
		echo x >"$in/$2"
		mkdir "$in/$2"
		ln -s made "$in/$2"
		cp -P top "$in/$2"
		mv short-dev "$in/$2"
	done
done 2>/dev/null
echo done
EOF
mark=sandtrap.${work##*.}
run_sandboxed sandbox -- bash "$work/ways/script" "$work/ways" "$mark"
check nothing_leads_below_what_covers [ "$(cat "$work/result/sandbox.out")" = "done" ]
check dev_of_the_host_is_not_written [ -z "$(find /dev -name "$mark")" ]
find /dev -name "$mark" -delete

# A directory below them that came in open is itself and no more.
stdin=/dev/pts run_sandboxed sandbox -- bash -c '
	[ -d /dev/fd/0 ] || echo "not open"
	[ ! -e /dev/fd/0/.. ] || [ /dev/fd/0/.. -ef /dev ] || echo above
	[ ! -e /dev/fd/0/../null ] || [ /dev/fd/0/../null -ef /dev/null ] || echo beside'
check nothing_leads_above_an_open_directory [ ! -s "$work/result/sandbox.out" ]

# No program begins there, wherever sandrun was started and whatever --cwd says.
expect cwd_below_proc_is_refused 125 --cwd /proc/self pwd
wrote cwd_below_proc_says_why err '^sandrun: --cwd: .* /proc'
for in in /dev /dev/pts /proc /proc/self /proc/sys/kernel /sys /sys/kernel; do
	run_native sandbox sh -c 'cd "$1" && shift && exec "$@"' sh "$in" \
		"$SANDRUN" --platform="$PLATFORM" bash -c '[ . -ef "$(pwd)" ] || echo other'
	check "started_in_$in" [ ! -s "$work/result/sandbox.out" ]
	run_sandboxed sandbox --cwd "$in" bash -c '[ . -ef "$1" ] || echo other' bash "$in"
	check "cwd_is_not_the_hosts_$in" [ ! -s "$work/result/sandbox.out" ]
done

finish
