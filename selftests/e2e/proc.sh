#!/bin/bash
# SPDX-License-Identifier: MIT
#
# proc.sh - /proc, /dev and what else a program learns about its machine

. "$(dirname "$0")/lib.sh"

same_as_native self_exe readlink /proc/self/exe
same_as_native self_exe_of_a_script bash -c 'readlink /proc/self/exe /proc/$$/exe'
same_as_native self_cmdline bash -c 'tr "\0" "\n" </proc/$$/cmdline' name 'an argument' ''
same_as_native self_environ env -i A=1 B='x y' cat /proc/self/environ
same_as_native self_cwd bash -c 'cd /usr/share && readlink /proc/self/cwd && readlink /proc/$$/cwd'
same_as_native self_root readlink /proc/self/root
same_as_native self_comm bash -c 'cat /proc/self/comm /proc/$$/comm'
same_as_native self_fd bash -c 'exec 5</etc/passwd 6>out; ls /proc/$$/fd; readlink /proc/$$/fd/5'
same_as_native self_fd_open bash -c 'exec 5<<<"through proc"; cat /proc/self/fd/5; cat /dev/fd/5'
same_as_native dev_stdin bash -c 'echo text | cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr'
same_as_native self_task bash -c 'ls /proc/$$/task | wc -l; [ "$(ls /proc/$$/task)" = $$ ] && echo mine'
same_as_native self_status bash -c '
	grep -E "^(Name|State|Uid|Gid|Threads|SigIgn|NSpid)" /proc/self/status | sed "s/NSpid.*/NSpid/"
	[ "$(sed -n "s/^Pid:\t//p" /proc/$$/status)" = $$ ] && echo pid
	[ "$(sed -n "s/^PPid:\t//p" /proc/self/status)" = $BASHPID ] && echo ppid'
same_as_native self_stat bash -c '
	set -- $(cat /proc/$$/stat)
	[ "$1" = $$ ] && echo "$2" $#
	set -- $(cat /proc/self/stat); [ "$4" = $$ ] && echo parent'
same_as_native self_maps bash -c '
	grep -c "r-xp.* $(readlink -f /bin/bash)\$" /proc/$$/maps
	grep -oE "\[(stack|heap|vdso)\]" /proc/$$/maps | sort
	awk "\$2 !~ /^[r-][w-][x-][ps]\$/ { print \"bad: \" \$0 }" /proc/$$/maps
	awk -F"[- ]" "{ if (last != \"\" && \$1 < last) print \"order\"; last = \$1 }" /proc/$$/maps'
same_as_native self_mounts bash -c 'grep -c " / " /proc/self/mounts; grep -c " /proc proc " /proc/mounts'
same_as_native self_limits bash -c 'ulimit -n; ulimit -Hn; ulimit -s; ulimit -f; ulimit -a | wc -l'
same_as_native self_auxv python3 -c '
import struct
data = open("/proc/self/auxv", "rb").read()
aux = dict(struct.iter_unpack("QQ", data))
print(aux[6], aux[17], 3 in aux, 7 in aux, 9 in aux, 25 in aux, 31 in aux, aux[11], aux[12], aux[23])'
same_as_native meminfo bash -c 'grep -oE "^(MemTotal|MemFree|MemAvailable|SwapTotal):" /proc/meminfo'
same_as_native cpuinfo bash -c 'grep -c ^processor /proc/cpuinfo; grep -m1 "^model name" /proc/cpuinfo'
same_as_native number_of_cpus bash -c 'nproc; nproc --all; getconf _NPROCESSORS_ONLN'
same_as_native filesystems bash -c 'grep -cw proc /proc/filesystems'
same_as_native no_such_process bash -c 'ls /proc/999999; cat /proc/999999/stat; ls -d /proc/self/nosuch'
same_as_native list_of_processes bash -c 'ls /proc | grep -cx $$'
same_as_native of_another_process bash -c 'sleep 20 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; cat /proc/$!/comm; kill $!'
same_as_native after_its_end bash -c 'sleep 0 & pid=$!; wait $pid; ls /proc/$pid 2>&1 | sed "s/$pid/PID/"'
same_as_native read_only bash -c '
	exec 2>/dev/null; echo x >/proc/self/cmdline; echo $?; mkdir /proc/dir; echo $?; rm /proc/self/stat; echo $?'
same_as_native uptime bash -c 'read a b </proc/uptime; [ "${a%.*}" -ge 0 ] && echo fine'
same_as_native loadavg bash -c 'wc -w </proc/loadavg'
same_as_native version bash -c 'cut -d" " -f1 </proc/version'
same_as_native sys_kernel bash -c 'cat /proc/sys/kernel/pid_max | grep -c . ; cat /proc/sys/kernel/ostype'

# devices
same_as_native dev_null bash -c 'echo x >/dev/null; wc -c </dev/null; stat -c "%F %t %T" /dev/null'
same_as_native dev_zero bash -c 'head -c 70000 /dev/zero | md5sum; stat -c "%F %t %T" /dev/zero'
same_as_native dev_full bash -c 'echo x >/dev/full; echo $?; head -c 10 /dev/full | od -c'
same_as_native dev_random bash -c '
	[ "$(head -c 16 /dev/urandom | md5sum)" != "$(head -c 16 /dev/urandom | md5sum)" ] && echo differs
	head -c 100 /dev/random | wc -c; stat -c "%F %t %T" /dev/random /dev/urandom'
same_as_native dev_tty_without_a_terminal setsid -w bash -c 'echo x >/dev/tty; echo $?'
same_as_native tty_without_a_terminal bash -c 'tty; test -t 0; echo $?'
same_as_native cpus_can_be_counted bash -c 'cd /sys/devices/system/cpu; ls -d cpu[0-9]*; test -d cpu0; cd cpu0; pwd'

# names, users, time
same_as_native id id
same_as_native uname uname -smn
same_as_native hostname cat /proc/sys/kernel/hostname
same_as_native umask bash -c 'umask; umask 077; touch a; mkdir b; stat -c "%a %n" a b'
same_as_native date date -u -d @1234567890
same_as_native clocks python3 -c '
import time
for c in ("REALTIME", "MONOTONIC", "BOOTTIME", "PROCESS_CPUTIME_ID", "THREAD_CPUTIME_ID"):
    c = getattr(time, "CLOCK_" + c)
    a = time.clock_gettime(c); b = time.clock_gettime(c)
    print(c, b >= a, time.clock_getres(c) > 0)
a = time.monotonic(); time.sleep(0.05); print(time.monotonic() - a >= 0.05)
print(abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 5)'
run_sandboxed sandbox -- date +%s
now=$(date +%s)
check wall_time_is_the_hosts [ $((now - $(cat "$work/result/sandbox.out"))) -le 30 ]
same_as_native cpu_time bash -c 'times | wc -l; for ((i = 0; i < 20000; i++)); do :; done; [ "$SECONDS" -ge 0 ] && echo ok'

# nothing of the host's processes is seen
sleep 300 & decoy=$!
run_sandboxed sandbox -- bash -c "kill -9 $decoy; ls -d /proc/$decoy; cat /proc/[0-9]*/comm"
check host_processes_are_not_listed bash -c '! grep -qE "sandrun|/proc/[0-9]" "$1"' - \
	"$work/result/sandbox.out"
check host_processes_cannot_be_killed kill -0 "$decoy"
kill "$decoy"

finish
