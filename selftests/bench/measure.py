# SPDX-License-Identifier: MIT
#
# measure.py - takes samples: of one row, on one platform, at one placement
#
# A sample is a number in the row's unit (ns, or instructions in the emulated machine;
# KiB; ms/s), or the reason why there is none.

import glob
import os
import shutil
import statistics
import threading
import time

import processes

# Of one row in a loop. In the emulated machine a tick is an instruction.
LOOP_NS = {"host": 60e6, "vm": 8e6}
# Nothing takes longer unless it hangs. The clock of the emulated machine leaps where it
# waits for its disk.
LIMIT_S = {"host": 60, "vm": 5000}
START_RUNS = 5
WHOLE_RUNS = 3
SETTLE_S = 1.0
IDLE_S = 2.0
INSERTS = 10000


class Machine:
    """Where we run: paths, and the rate of the time stamp counter."""

    def __init__(self, kind, build, work):
        self.kind = kind
        self.build = build
        self.work = work
        self.data = os.path.join(work, "data")
        # The guest's own disk is a file system of the host's: each open() waits for it.
        self.programs = work if kind == "vm" else os.path.join(build, "selftests", "bench")
        self.limit = LIMIT_S[kind]
        self.hangs = set()
        self.prepare()
        self.ticks_per_ns = 1.0 if kind == "vm" else _ticks_per_ns(self.program("bench_proc"))

    def program(self, name):
        return os.path.join(self.programs, name)

    def prepare(self):
        os.makedirs(self.work, exist_ok=True)
        if self.kind == "vm":
            for path in glob.glob(os.path.join(self.build, "selftests", "bench", "bench_*")):
                shutil.copy(path, self.work)
        busybox = shutil.which("busybox")
        if busybox:
            shutil.copy(busybox, self.work)
        with open(self.data, "wb") as data:
            data.write(os.urandom(4 << 20))
        with open(os.path.join(self.work, "inserts.sql"), "w", encoding="ascii") as sql:
            sql.write("PRAGMA synchronous = OFF;\nCREATE TABLE t (a INTEGER, b TEXT);\nBEGIN;\n")
            for i in range(INSERTS):
                sql.write(f"INSERT INTO t VALUES ({i}, 'row number {i}');\n")
            sql.write("COMMIT;\n")


def _ticks_per_ns(program):
    out, reason = processes.run([program, "rate"], 30)
    if reason:
        raise SystemExit(f"bench: {program} rate: {reason}")
    return float(out)


# -------------------------------------------------------------------- loops --


def _parse(out, samples):
    """Takes what a program printed. Returns the row it was in when it stopped."""
    running = None
    for line in out.splitlines():
        name, _, rest = line.partition(" ")
        if name == "run":
            running = rest
        elif rest.startswith("fails: "):
            samples[name] = rest
            running = None
        else:
            samples[name] = _cost(rest)
            running = None
    return running


def _cost(text):
    """A slope of nothing or less says that something else took the time."""
    cost = float(text)
    return cost if cost > 0 else "fails: disturbed: the longer loop took less time"


def loops(machine, platform, program, keys, cpu):
    """Samples of the rows @keys. A row that ends its program is left out of the next."""
    samples = {key: "fails: hung in an earlier round" for key in keys
               if (platform.name, key) in machine.hangs}
    budget = int(LOOP_NS[machine.kind] * machine.ticks_per_ns)
    while True:
        left = [key for key in keys if key not in samples]
        if not left:
            break
        command = platform.prefix + [machine.program(program), "-t", str(budget),
                                     "-d", machine.data] + left
        out, reason = processes.run(command, machine.limit, cpu)
        running = _parse(out, samples) or next((k for k in left if k not in samples), None)
        if running:
            samples[running] = f"fails: {reason or 'printed no result'}"
            if reason and reason.startswith("no end"):
                machine.hangs.add((platform.name, running))
    return {key: _scaled(machine, value) for key, value in samples.items()}


def _scaled(machine, value):
    return value if isinstance(value, str) else value / machine.ticks_per_ns


# --------------------------------------------------- start, whole programs --


def _median_of_runs(machine, prefix, command, runs, drop):
    """The command is started @runs times by a bench_proc behind @prefix, which takes the time."""
    timed = prefix + [machine.program("bench_proc"), "time", str(runs)] + command
    out, reason = processes.run(timed, machine.limit)
    if reason:
        return f"fails: {reason}"
    ticks = [float(line) for line in out.split()][drop:]
    return statistics.median(ticks) / machine.ticks_per_ns


def _idle_ns():
    """How long the guest's CPU had nothing to do so far."""
    with open("/proc/timer_list", encoding="ascii") as timers:
        return sum(int(line.split()[2]) for line in timers if ".idle_sleeptime" in line)


def _executed(machine, prefix, command, runs):
    """Instructions in all: where the CPU idles its clock leaps, without executing any."""
    timed = prefix + [machine.program("bench_proc"), "time", str(runs)] + command
    before, began = _idle_ns(), time.monotonic_ns()
    _, reason = processes.run(timed, machine.limit)
    if reason:
        raise ValueError(reason)
    return time.monotonic_ns() - began - (_idle_ns() - before)


def _instructions_of_run(machine, prefix, command):
    """Of one run of the command: the slope between one run and three, caches filled."""
    try:
        _executed(machine, prefix, command, 1)
        once, thrice = (_executed(machine, prefix, command, runs) for runs in (1, 3))
    except ValueError as error:
        return f"fails: {error}"
    return (thrice - once) / 2


def start(machine, platform):
    command = platform.prefix + [machine.program("bench_proc"), "exit"]
    if machine.kind == "vm":
        return _instructions_of_run(machine, [], command)
    return _median_of_runs(machine, [], command, START_RUNS, 0)


def whole(machine, platform, command):
    """The first run, which fills the caches, does not count."""
    if machine.kind == "vm":
        return _instructions_of_run(machine, platform.prefix, command)
    return _median_of_runs(machine, platform.prefix, command, WHOLE_RUNS, 1)


# ----------------------------------------------------------------- sleeping --


def _idle_ms_per_s():
    before, began = processes.cpu_ns(), time.monotonic_ns()
    time.sleep(IDLE_S)
    after, ended = processes.cpu_ns(), time.monotonic_ns()
    used = sum(ns - before.get(pid, 0) for pid, ns in after.items())
    return 1000 * used / (ended - began)


def sleeping(machine, platform):
    process = processes.start(platform.prefix + [machine.program("bench_proc"), "sleep"])
    killer = threading.Timer(machine.limit, processes.kill_descendants)
    killer.start()
    found = None
    try:
        if process.stdout.readline() == "asleep\n":
            time.sleep(SETTLE_S)
            found = {"pss": _pss(), "idle_cpu": _idle_ms_per_s()}
    finally:
        killer.cancel()
        processes.kill_descendants()
        _, err = process.communicate()
    if not found:
        reason = f"fails: did not get to sleep: {processes.describe(process.returncode, err)}"
        found = {"pss": reason, "idle_cpu": reason}
    return found


def _pss():
    try:
        return processes.pss_kib()
    except OSError as error:
        return f"fails: {error}"
