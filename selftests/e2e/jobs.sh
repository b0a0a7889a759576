#!/bin/bash
# SPDX-License-Identifier: MIT
#
# jobs.sh - processes and signals: background jobs, wait, traps, restart, fork trees

. "$(dirname "$0")/lib.sh"

same_script background_and_wait <<'END'
(sleep 0.2; exit 3) & a=$!
(exit 4) & b=$!
wait "$b"; echo "b $?"
wait "$a"; echo "a $?"
wait; echo "all $?"
sleep 30 & kill $!; wait $!; echo "killed $?"
END

same_script wait_for_any <<'END'
(sleep 3; exit 1) & (sleep 1; exit 2) & wait -n; echo $?; wait -n; echo $?; wait -n; echo $?
END

same_script traps <<'END'
trap 'echo usr1' USR1
trap 'echo usr2; kill -USR1 $$' USR2
trap 'echo exit $?' EXIT
kill -USR1 $$; kill -USR2 $$
trap '' TERM; kill -TERM $$; echo "survived TERM"
trap - USR1
(kill -USR1 $BASHPID; echo "not reached"); echo "subshell $?"
exit 6
END

same_script trap_interrupts_wait <<'END'
trap 'echo caught' USR1
(sleep 0.3; kill -USR1 $$; sleep 0.3; exit 5) & wait $!; s=$?
[ $s -gt 128 ] && echo interrupted
wait $!; echo $?
END

same_script stop_and_continue <<'END'
(while :; do echo tick >>ticks; sleep 0.05; done) & pid=$!
sleep 0.3; kill -STOP $pid; sleep 0.2
a=$(wc -l <ticks); sleep 0.4; b=$(wc -l <ticks)
[ "$a" = "$b" ] && echo stopped
kill -CONT $pid; sleep 0.4; c=$(wc -l <ticks)
[ "$c" -gt "$b" ] && echo continued
kill -KILL $pid; wait $pid; echo $?
END

same_script orphans_and_nohup <<'END'
(sh -c 'sleep 0.3; echo late >late' &)
(trap '' HUP; sh -c 'kill -HUP $$; echo alive')
i=0; while [ ! -s late ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i + 1)); done; cat late
END

same_script fork_tree <<'END'
tree() {
	[ "$1" = 0 ] && { echo leaf; return; }
	(tree $(($1 - 1))) & (tree $(($1 - 1))) & wait
}
tree 6 | wc -l
deep() { [ "$1" = 0 ] && echo bottom || (deep $(($1 - 1)); exit $?); }
deep 60
END

same_script many_short_processes <<'END'
for i in $(seq 100); do /bin/true || echo failed; done
for i in $(seq 20); do (exit $i) & list="$list $!"; done; n=0
for job in $list; do wait "$job"; n=$((n + $?)); done; echo $n
END

same_script groups_and_kill <<'END'
set -m
(sleep 30 & sleep 30 & wait) & pid=$!
sleep 0.2; kill -TERM -- -$pid; wait $pid; echo $?
kill -0 $pid 2>/dev/null || echo gone
kill -0 999999 2>/dev/null || echo none
END

same_script exec_keeps_the_pid <<'END'
sh -c 'a=$$; exec sh -c "[ \$\$ = $a ] && echo same"'
sh -c 'trap "" USR1; exec sh -c "kill -USR1 \$\$; echo ignored over exec"'
sh -c 'trap "echo no" USR1; exec sh -c "kill -USR1 \$\$"'; echo $?
exec 5>file; sh -c 'echo inherited >&5'; cat file
END

same_script xargs_parallel <<'END'
seq 40 | xargs -P 4 -n 5 sh -c 'echo $#' sh | sort | uniq -c
END

same_script limits <<'END'
(ulimit -n 20; ulimit -n; exec 3</dev/null; bash -c 'exec 19</dev/null && echo ok'; bash -c 'exec 20</dev/null' 2>/dev/null || echo refused)
(ulimit -f 1; dd if=/dev/zero of=big bs=1k count=10 2>/dev/null; echo $?; wc -c <big)
(ulimit -c 0; ulimit -c); ulimit -s
END

same_script timeouts <<'END'
timeout 0.3 sleep 30; echo $?
timeout -s KILL 0.3 sleep 30; echo $?
timeout 20 sh -c 'exit 7'; echo $?
END

for call in read nanosleep wait4 futex pause sigsuspend; do
	same_as_native "restart_$call" "$progs/restart" "$call"
done
same_as_native signal_details "$progs/signals"
# ptrace cannot know trap numbers and error codes; the module does.
! on_module || same_as_native signal_details_exact "$progs/signals" exact
same_as_native threads_details "$progs/threads"
if need python_signals python3; then
	same_as_native python_signals python3 -c '
import os, signal, time, faulthandler
got = []
signal.signal(signal.SIGALRM, lambda s, f: got.append(s))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
while len(got) < 5: time.sleep(0.01)
signal.setitimer(signal.ITIMER_REAL, 0)
print(got[:5])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.sigpending(), signal.sigwait([signal.SIGUSR1]))
pid = os.fork()
if not pid:
    os.abort()
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
pid = os.fork()
if not pid:
    signal.pause()
    os._exit(1)
os.kill(pid, signal.SIGSTOP)
s = os.waitpid(pid, os.WUNTRACED)[1]
print(os.WIFSTOPPED(s), os.WSTOPSIG(s))
os.kill(pid, signal.SIGCONT)
print(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]))
os.kill(pid, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
try: os.waitpid(-1, 0)
except ChildProcessError as e: print(e.errno)
'
	same_as_native python_multiprocessing python3 -c '
import multiprocessing as mp
def square(x): return x * x
if __name__ == "__main__":
    with mp.get_context("fork").Pool(3) as pool:
        print(sum(pool.map(square, range(500))))
    q = mp.Queue()
    p = mp.Process(target=q.put, args=("from the child",))
    p.start(); print(q.get()); p.join(); print(p.exitcode)
'
	same_as_native python_threads_and_fork python3 -c '
import os, threading, queue
q = queue.Queue()
def work():
    pid = os.fork()
    if not pid: os._exit(7)
    q.put(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(q.get() for _ in ts))
'
fi

# Processes of sandrun's: itself and the stubs, which are forks of it.
processes()
{
	find /proc/[0-9]*/exe -maxdepth 0 -lname "$(realpath "$SANDRUN")" 2>/dev/null
}

# Waits up to five seconds for their end; shows what is left.
# shellcheck disable=SC2317 # called by check
all_gone()
{
	local left

	for _ in $(seq 50); do
		left=$(processes)
		[ -n "$left" ] || return 0
		sleep 0.1
	done
	echo "left on the host: $left"
	return 1
}

# the end of the first process ends the sandbox, and nothing is left on the host
expect first_process_ends_the_sandbox 5 sh -c 'sleep 3000 & sleep 0.2; exit 5'
check nothing_is_left_behind all_gone

# signals sent to sandrun reach the program
cat >"$work/catch.sh" <<'END'
trap 'echo got TERM; exit 9' TERM
trap 'echo got USR1' USR1
trap 'echo got HUP' HUP
echo ready
while :; do sleep 0.1; done
END
"$SANDRUN" --platform="$PLATFORM" bash "$work/catch.sh" >"$work/catch.out" 2>&1 &
pid=$!
for _ in $(seq 600); do
	[ ! -s "$work/catch.out" ] || break
	sleep 0.1
done
for signal in USR1 HUP TERM; do
	kill -"$signal" "$pid"
	for _ in $(seq 100); do
		! grep -q "got $signal" "$work/catch.out" || break
		sleep 0.1
	done
done
for _ in $(seq 100); do
	[ -d "/proc/$pid" ] || break
	sleep 0.1
done
[ ! -d "/proc/$pid" ] || kill -KILL "$pid"
wait "$pid"
check sigterm_ends_sandrun_through_the_program [ $? = 9 ]
printf 'ready\ngot USR1\ngot HUP\ngot TERM\n' >"$work/want"
check signals_to_sandrun_reach_the_program diff "$work/want" "$work/catch.out"

# killing sandrun leaves no process of the sandbox
"$SANDRUN" --platform="$PLATFORM" sh -c '
	ulimit -t 60; echo ready; while :; do :; done & while :; do :; done' >"$work/spin.out" &
pid=$!
for _ in $(seq 600); do
	[ ! -s "$work/spin.out" ] || break
	sleep 0.1
done
check stubs_are_seen_while_it_runs [ "$(processes | wc -l)" -ge 3 ]
kill -KILL "$pid"
{ wait "$pid"; } 2>/dev/null
check kill_of_sandrun_kills_its_stubs all_gone

finish
