#!/bin/bash
# SPDX-License-Identifier: MIT
#
# stdio.sh - standard descriptors of every kind, pipes, and what is not passed on

. "$(dirname "$0")/lib.sh"

# around NAME SCRIPT: SCRIPT is run by the host's bash, with $RUN put before the
# commands that are to run in the sandbox. Output and status as natively.
around()
{
	run_native native env RUN=env bash -c "$2"
	run_native sandbox env RUN="$SANDRUN --platform=$PLATFORM" bash -c "$2"
	compare_runs "$@"
}

seq 20000 >"$work/numbers"

# stdin
stdin=$work/numbers same_as_native stdin_file md5sum
stdin=$work/numbers same_as_native stdin_file_is_seekable python3 -c '
import os, sys
os.lseek(0, 100, 0); print(os.read(0, 10)); print(os.lseek(0, 0, 1), os.lseek(0, 0, 2))'
stdin=/dev/null same_as_native stdin_null wc -c
stdin=/dev/zero same_as_native stdin_zero head -c 100000
around stdin_pipe 'seq 20000 | $RUN md5sum'
around stdin_position_is_shared 'exec <'"$work/numbers"'; read a; $RUN sh -c "read b; echo \$b"; read c; echo $a $c'
around stdin_closed '$RUN sh -c "cat; echo \$?" <&-'
around stdin_directory '$RUN cat </etc'
around stdin_write_only '$RUN cat 0>'"$work/wronly"
around stdin_here_string '$RUN cat <<<"a line"'
around stdin_slow_pipe '(for i in 1 2 3; do echo $i; sleep 0.1; done) | $RUN cat'

# stdout, stderr
around stdout_file '$RUN seq 10000 >out; md5sum out'
around stdout_append 'echo first >out; $RUN echo second >>out; $RUN echo third >>out; cat out'
around stdout_shared_with_host '{ echo 1; $RUN echo 2; echo 3; $RUN sh -c "echo 4; echo 5 >&2"; echo 6; } >out 2>&1; cat out'
around stdout_closed '$RUN echo hello >&-; echo $?'
around stdout_closed_of_seq '$RUN seq 10 >&-; echo $?'
around stdout_full '$RUN echo hello >/dev/full; echo $?'
around stdout_full_of_seq '$RUN seq 100000 >/dev/full; echo $?'
around stderr_closed '$RUN ls /no/such/file 2>&-; echo $?'
around stderr_full '$RUN ls /no/such/file 2>/dev/full; echo $?'
around all_closed '$RUN sh -c "echo hello >file; exit 7" <&- >&- 2>&-; echo $?; cat file'
around stdout_read_only '$RUN echo hello 1<'"$work/numbers"'; echo $?'
around descriptors_of_streams '$RUN sh -c "for fd in 0 1 2; do test -t \$fd; echo \$?; done" </dev/null 2>/dev/null | cat'
around stdout_to_stderr '$RUN sh -c "echo to-err >&2; echo to-out"'

# a sandbox as a part of a pipeline
around pipeline_middle 'seq 5000 | $RUN sort -r | head -n 3'
around pipeline_of_three '$RUN seq 3000 | $RUN sort | $RUN tail -n 2'
around pipeline_reader_ends 'set -o pipefail; $RUN yes | head -n 2; echo $?'
around pipeline_reader_ends_in_shell 'set -o pipefail; $RUN bash -c "while echo y; do :; done" 2>/dev/null | head -n 2; echo $?'
around substitution 'x=$($RUN sh -c "echo out; exit 3"); echo "$x $?"'
around process_substitution '$RUN cat <(echo a) 2>&1 | wc -l'
same_script pipeline_inside <<'END'
set -o pipefail
yes | head -n 2; echo "${PIPESTATUS[@]}"
seq 100000 | tac | sort -n | tail -n 1
exec 3< <(seq 10); cat <&3
mkfifo fifo; (echo through a fifo >fifo &) ; cat fifo
END
around sigpipe_default '$RUN sh -c "kill -PIPE \$\$"; echo $?'
around sigpipe_ignored_is_inherited 'trap "" PIPE; $RUN sh -c "kill -PIPE \$\$; echo alive"'
around sigint_ignored_is_inherited 'trap "" INT; $RUN sh -c "kill -INT \$\$; echo alive"'

# pipes and their capacity
same_script pipe_of_a_megabyte <<'END'
head -c 1048576 /dev/zero | (sleep 0.2; wc -c)
(sleep 0.2; head -c 300000 /dev/zero | tr '\0' x) | md5sum
END
same_as_native pipe_details python3 -c '
import errno, fcntl, os, signal, select
r, w = os.pipe()
print(fcntl.fcntl(w, 1032), os.fstat(r).st_mode)
os.set_blocking(w, False)
total = 0
try:
    while True: total += os.write(w, b"x" * 4096)
except BlockingIOError as e:
    print("full after", total, e.errno)
print(select.select([], [w], [], 0)[1] == [])
print(len(os.read(r, 100000)))
print(select.select([], [w], [], 0)[1] == [w])
os.close(r)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
try: os.write(w, b"x")
except BrokenPipeError as e: print("broken", e.errno)
signal.signal(signal.SIGPIPE, lambda *a: print("got SIGPIPE"))
try: os.write(w, b"x")
except BrokenPipeError as e: print("broken", e.errno)
r, w = os.pipe()
os.close(w)
print(os.read(r, 1))
a, b = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
try: os.read(a, 1)
except BlockingIOError as e: print("empty", e.errno)
print(fcntl.fcntl(a, fcntl.F_GETFD), oct(fcntl.fcntl(a, fcntl.F_GETFL) & 0o4003))
try: os.lseek(a, 0, 0)
except OSError as e: print(errno.errorcode[e.errno])
'
same_as_native descriptor_details python3 -c '
import fcntl, os
fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o640)
print(fd, os.write(fd, b"0123456789"), os.lseek(fd, 2, 0), os.read(fd, 3))
d = os.dup(fd)
print(d, os.read(d, 2), os.lseek(fd, 0, 1), os.dup2(fd, 20), os.read(20, 1))
print(fcntl.fcntl(fd, fcntl.F_DUPFD, 30), fcntl.fcntl(30, fcntl.F_GETFD))
os.close(fd)
for bad in (fd, 99, -1):
    try: os.read(bad, 1)
    except OSError as e: print(e.errno)
print(os.pread(d, 4, 6), os.pwrite(d, b"ab", 8), os.ftruncate(d, 9), os.fstat(d).st_size)
print(oct(os.stat("file").st_mode), os.path.getsize("file"))
print(os.readv(d, [bytearray(2), bytearray(3)]), os.writev(d, [b"x", b"yz"]))
e = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
print("passwd" in os.listdir(e), os.stat("passwd", dir_fd=e).st_size == os.stat("/etc/passwd").st_size)
'

# only the three standard descriptors get in
echo hidden >"$work/hidden"
exec 7<"$work/hidden"
run_sandboxed sandbox -- sh -c 'cat <&7; ls /proc/self/fd'
check inherited_descriptor_cannot_be_read bash -c '! grep -q hidden "$1"' - "$work/result/sandbox.out"
run_sandboxed sandbox -- sh -c 'ls -l /proc/self/fd /proc/1/fd; readlink /proc/$$/fd/7'
check inherited_descriptor_cannot_be_seen bash -c '! grep -q hidden "$1"' - "$work/result/sandbox.out"
exec 7<&-
run_native sandbox bash -c 'exec 1>&-; exec "$@" 2>err' - "$SANDRUN" --platform="$PLATFORM" \
	sh -c 'ls -l /proc/self/fd >file; exit 0'
check closed_descriptor_shows_no_file_of_sandruns \
	bash -c '! grep -E "/dev/sandtrap|memfd|socket" "$1"' - "$work/dir/file"

finish
