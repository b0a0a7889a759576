#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# pty_drive.py - plays a user at a terminal
#
# usage: pty_drive.py [--timeout SECONDS] STEP... -- COMMAND...
# Runs COMMAND on a new pseudo-terminal that is its controlling terminal, and
# takes the steps in turn:
#   expect:TEXT   wait until TEXT comes out, after what earlier steps have matched
#   send:TEXT     type TEXT (\x03 and the like are understood)
#   size:ROWSxCOLS  change the window size
#   pause:SECONDS
# Prints all that came out, then "status N" (128+n for a signal).

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


class Terminal:
    def __init__(self, command, limit):
        self.deadline = time.monotonic() + limit
        self.seen = b""
        self.matched = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Whatever the caller ignored, a user's shell does not.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            try:
                os.execvp(command[0], command)
            except OSError as error:
                print(error)
                os._exit(127)
        self.resize(24, 80)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_some(self):
        """Reads what is there; False at the end of the terminal."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if not select.select([self.fd], [], [], min(left, 1))[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def expect(self, text):
        while True:
            at = self.seen.find(text, self.matched)
            if at >= 0:
                self.matched = at + len(text)
                self.settle()
                return
            if not self.read_some():
                raise EOFError

    def settle(self):
        # The rest of a line may follow what was waited for, in a piece of its own:
        # a user answers when the program has fallen silent.
        quiet = 1.0 if os.environ.get("SANDTRAP_VM") else 0.1
        while select.select([self.fd], [], [], quiet)[0]:
            if not self.read_some():
                return

    def send(self, data):
        while data:
            data = data[os.write(self.fd, data):]

    def finish(self):
        while self.read_some():
            pass
        status = os.waitpid(self.pid, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def kill(self):
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def take(terminal, step):
    kind, _, text = step.partition(":")
    data = text.encode().decode("unicode_escape").encode("latin-1")
    if kind == "expect":
        terminal.expect(data)
    elif kind == "send":
        terminal.send(data)
    elif kind == "size":
        rows, columns = text.split("x")
        terminal.resize(int(rows), int(columns))
    elif kind == "pause":
        time.sleep(float(text))
    else:
        raise ValueError("unknown step " + step)


def main():
    arguments = sys.argv[1:]
    limit = 30.0
    if arguments[:1] == ["--timeout"]:
        limit = float(arguments[1])
        arguments = arguments[2:]
    split = arguments.index("--")
    terminal = Terminal(arguments[split + 1:], limit)
    step = "the end"
    try:
        for step in arguments[:split]:
            take(terminal, step)
        step = "the end"
        verdict = "status %d" % terminal.finish()
    except (TimeoutError, EOFError) as error:
        terminal.kill()
        verdict = "%s while waiting for %s" % (type(error).__name__, step)
    sys.stdout.write(terminal.seen.decode(errors="replace") + "\n" + verdict + "\n")


main()
