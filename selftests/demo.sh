# SPDX-License-Identifier: MIT
#
# demo.sh - the script that "make demo" runs in the sandbox

echo "Who am I?   $(id -un), process $$, on $(uname -s) $(uname -r)"

echo "A pipe:     $(seq 1000 | sort -r | head -n 3 | tr '\n' ' ')"

sleep 0.3 && exit 7 &
job=$!
echo "A job:      process $job is in the background"
wait "$job"
echo "            and it ended with $?"

trap 'echo "A signal:   USR1, sent by a child, interrupts the wait"' USR1
(sleep 0.2; kill -USR1 $$; sleep 0.2) &
wait
wait

{ sh -c 'kill -SEGV $$'; } 2>/dev/null
echo "            a child was killed: status $?"

echo "Processes:  $(cat /proc/[0-9]*/stat 2>/dev/null | wc -l) are in /proc"
exit 3
