# SPDX-License-Identifier: MIT
#
# processes.py - runs a program with all its descendants under control, and weighs them
#
# Descendants that lose their parent become children of this process, so that none
# escapes the sum of their memory, nor the kill at the end.

import contextlib
import ctypes
import os
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _parents():
    """The parent of every process."""
    parents = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat", encoding="latin-1") as stat:
                fields = stat.read().rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1])
    return parents


def descendants():
    """All processes that this one started, and those started by them."""
    parents = _parents()
    found, new = set(), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def kill_descendants():
    for _ in range(100):
        for pid in descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not descendants():
            return
        time.sleep(0.02)


def pss_kib():
    """The proportional set size of all descendants together."""
    total = 0
    for pid in descendants():
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            total += sum(int(line.split()[1]) for line in rollup
                         if line.startswith("Pss:"))
    return total


def _cpu_ns(pid):
    """CPU time of one process with all its threads, also those that ended."""
    cpuclock_sched = 2
    return time.clock_gettime_ns((~pid << 3) | cpuclock_sched)


def cpu_ns():
    """CPU time that each descendant has used so far."""
    used = {}
    for pid in descendants():
        with contextlib.suppress(OSError):
            used[pid] = _cpu_ns(pid)
    return used


def _pin(cpu):
    return (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None


def start(command, cpu=None):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace",
                            preexec_fn=_pin(cpu))


def run(command, limit, cpu=None):
    """Runs it to its end. Returns stdout, and None or what went wrong."""
    process = start(command, cpu)
    reason = None
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        kill_descendants()
        out, err = process.communicate()
        reason = f"no end within {limit} s"
    kill_descendants()
    if not reason and process.returncode:
        reason = describe(process.returncode, err)
    return out, reason


def describe(status, err):
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    lines = err.strip().splitlines()
    return f"{how}: {lines[-1][-160:]}" if lines else how
