# SPDX-License-Identifier: MIT
#
# platforms.py - what programs are measured on, and how each is told to start one

import collections
import os
import subprocess

Platform = collections.namedtuple("Platform", "name prefix")

# The module runs programs in two ways: the name says which, after the platform's.
SANDRUN = ("ptrace", "systrap", "sandtrap-ring", "sandtrap-direct")
RUNSC = ("systrap", "ptrace")
# In the order of the table.
ALL = ("native",) + SANDRUN + tuple("runsc-" + name for name in RUNSC)


def _sandrun_platforms(sandrun):
    """Of each platform sandrun has, None if it is usable, else the reason."""
    if not os.access(sandrun, os.X_OK):
        raise SystemExit(f"bench: there is no {sandrun}: run 'make sandrun'")
    listed = subprocess.run([sandrun, "--list-platforms"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout
    found = {}
    for line in listed.splitlines():
        name, state, text = (line.split("\t") + ["", ""])[:3]
        found[name] = None if state == "usable" else text
    return found


def _sandrun_prefix(sandrun, name):
    name, _, mode = name.partition("-")
    options = [f"--platform={name}"]
    if mode:
        options.append(f"--sandtrap-mode={mode}")
    return [sandrun, *options, "--"]


def _runsc_prefix(runsc, state, name):
    command = [runsc, f"--root={state}", "--network=none", "--ignore-cgroups",
               f"--platform={name}"]
    if os.geteuid() != 0:
        command.append("--rootless")
    return command + ["do"]


def _runsc(directory):
    """Where runsc is, None if it cannot be had, and then why."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([os.path.join(here, "runsc"), directory], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it cannot be had"]
        return None, lines[-1]
    return done.stdout.strip(), None


def _works(platform, program):
    """None if the platform runs a program that ends at once, else what it said."""
    try:
        done = subprocess.run(platform.prefix + [program, "exit"], timeout=60, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, errors="replace")
    except subprocess.TimeoutExpired:
        return "did not end a program within 60 s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return lines[-1][-200:]
    return None


def _candidates(names, build, work):
    """Yields every wanted platform, with the reason if it cannot be."""
    sandrun = os.path.join(build, "sandrun")
    known = _sandrun_platforms(sandrun)
    for name in SANDRUN:
        if name in names:
            yield (Platform(name, _sandrun_prefix(sandrun, name)),
                   known.get(name.partition("-")[0], "sandrun has no such platform"))
    wanted = [name for name in RUNSC if "runsc-" + name in names]
    if not wanted:
        return
    runsc, reason = _runsc(os.path.join(build, "bench", "runsc"))
    state = os.path.join(work, "runsc")
    os.makedirs(state, exist_ok=True)
    for name in wanted:
        yield Platform("runsc-" + name, _runsc_prefix(runsc, state, name)), reason


def find(names, build, work):
    """The platforms of those names that work, and why the others do not."""
    usable, unusable = [Platform("native", [])], {}
    program = os.path.join(build, "selftests", "bench", "bench_proc")
    for platform, reason in _candidates(names, build, work):
        reason = reason or _works(platform, program)
        if reason:
            unusable[platform.name] = reason
        else:
            usable.append(platform)
    usable.sort(key=lambda platform: ALL.index(platform.name))
    return usable, unusable


def runsc_version(usable):
    """What runsc says of itself, None if it is not measured."""
    for platform in usable:
        if platform.name.startswith("runsc-"):
            text = subprocess.run([platform.prefix[0], "--version"], text=True,
                                  stdout=subprocess.PIPE).stdout
            return text.strip().splitlines()[0] if text.strip() else "unknown"
    return None
