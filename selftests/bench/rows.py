# SPDX-License-Identifier: MIT
#
# rows.py - what is measured: the rows of the table, and the program behind each
#
# A row's group says how it is measured (measure.py):
#   start    the time from starting a sandbox to its end, seen from outside
#   loop     a loop in one of the bench_*.c, by its slope: start-up is not in it
#   whole    a program started several times inside one sandbox: start-up is not in it
#   sleep    a sandbox whose program sleeps: memory and CPU of all its processes

import collections
import fnmatch

Row = collections.namedtuple("Row", "key title group program unit machines")

HOST, VM = "host", "vm"
BOTH = (HOST, VM)


def _loops(program, titles):
    return [Row(key, title, "loop", program, "time", BOTH) for key, title in titles]


def _whole(key, title, machines=BOTH):
    return Row(key, title, "whole", None, "time", machines)


# The emulated machine's disk is the host's, over a protocol: there find and tar would
# wait for that all the time. The shell's busybox is a copy, in memory.
ROWS = [
    Row("start", "start to end of a sandbox", "start", None, "time", BOTH),
    *_loops("bench_syscalls", [
        ("getpid_libc", "getpid, libc syscall()"),
        ("getpid_inline", "getpid, mov; syscall"),
        ("unknown_syscall", "unknown system call"),
        ("pipe_read", "pipe, read 1 byte"),
        ("pipe_write", "pipe, write 1 byte"),
        ("pread_4k", "pread 4 KiB of a file"),
        ("pread_64k", "pread 64 KiB of a file"),
        ("stat", "stat"),
        ("open_close", "open + close"),
        ("clock_gettime", "clock_gettime"),
    ]),
    *_loops("bench_mm", [
        ("fault_anon", "first store, anonymous page"),
        ("fault_file", "first store, private file page"),
        ("mmap_munmap", "mmap + munmap"),
        ("mmap_touch_munmap", "mmap + touch + munmap"),
        ("mprotect", "mprotect"),
        ("segv_2mprotect", "SIGSEGV, 2 mprotect in handler"),
        ("segv_skip", "SIGSEGV, handler skips"),
        ("signal_self", "signal to self"),
    ]),
    *_loops("bench_ipc", [
        ("futex_rt", "futex, there and back"),
        ("pipe_rt", "pipe, there and back"),
        ("unix_rt", "unix socket, there and back"),
        ("tcp_rt", "TCP, there and back"),
    ]),
    *_loops("bench_proc", [
        ("fork_exit", "fork + exit + wait"),
        ("fork_exec", "fork + exec static + wait"),
        ("thread_join", "thread create + join"),
    ]),
    _whole("python", "python3 start"),
    _whole("shell", "busybox sh, 200 x true"),
    _whole("find", "find /usr/include", (HOST,)),
    _whole("tar", "tar /usr/include", (HOST,)),
    _whole("gcc", "gcc -O2 -c"),
    _whole("sqlite", "sqlite3, 10000 inserts"),
    Row("pss", "memory of a sleeping sandbox", "sleep", None, "KiB", BOTH),
    Row("idle_cpu", "CPU of a sleeping sandbox", "sleep", None, "ms/s", BOTH),
]

# Placements: wherever the host's scheduler likes, and everything on one CPU. Whole
# programs and start-up are measured unpinned only.
PLACEMENTS = ("unpinned", "pinned")


def whole_commands(work, source):
    """The commands of the whole programs; @work is a directory they may write to."""
    return {
        "python": ["/usr/bin/python3", "-c", "pass"],
        "shell": [f"{work}/busybox", "sh", "-c",
                  f"i=0; while [ $i -lt 200 ]; do {work}/busybox true; i=$((i + 1)); done"],
        "find": ["/usr/bin/find", "/usr/include", "-name", "*.h"],
        # tar does not read the files if it sees that the archive is /dev/null.
        "tar": ["/bin/sh", "-c", "tar -cf - /usr/include | cat"],
        "gcc": ["/usr/bin/gcc", "-O2", "-c", source, "-o", f"{work}/source.o"],
        "sqlite": ["/bin/sh", "-c",
                       f"rm -f {work}/sqlite.db; sqlite3 {work}/sqlite.db <{work}/inserts.sql"],
    }


def select(patterns, machine):
    """The rows that a machine measures, of those that a pattern names."""
    wanted = [row for row in ROWS
              if any(fnmatch.fnmatchcase(row.key, p) for p in patterns)]
    if not wanted:
        keys = " ".join(row.key for row in ROWS)
        raise SystemExit(f"bench: no row is called {' '.join(patterns)}; there are: {keys}")
    return [row for row in wanted if machine in row.machines]


def placements_of(row):
    return PLACEMENTS if row.group == "loop" else PLACEMENTS[:1]
