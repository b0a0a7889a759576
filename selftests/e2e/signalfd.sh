#!/bin/bash
# SPDX-License-Identifier: MIT
#
# signalfd.sh - descriptors that signals are read from, and that stand for processes

. "$(dirname "$0")/lib.sh"

same_as_native signalfd_and_pidfd "$progs/signalfds"

need python python3 || finish

same_as_native pidfds_in_epoll python3 -c '
import os, select, signal, sys
if not hasattr(os, "pidfd_open"): sys.exit("no pidfd_open")
e = select.epoll(); pids = {}
for i in range(5):
    pid = os.fork()
    if not pid: signal.pause(); os._exit(0)
    fd = os.pidfd_open(pid); pids[fd] = (i, pid); e.register(fd, select.EPOLLIN)
print(e.poll(0.05))
for fd in sorted(pids, reverse=True):
    signal.pidfd_send_signal(fd, signal.SIGKILL); print([pids[f][0] for f, v in e.poll(30)])
    print(os.waitid(os.P_PIDFD, fd, os.WEXITED).si_status); e.unregister(fd); os.close(fd)
'

finish
