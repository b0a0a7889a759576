#!/bin/bash
# SPDX-License-Identifier: MIT
#
# descriptors.sh - waiting for descriptors of both kinds, locks, and tables that threads share

. "$(dirname "$0")/lib.sh"

need python python3 || finish

# Descriptor 0 is a pipe of the host, the others are the sandbox's. The host's side
# writes when the program asks for it through the FIFO "go".
wait_for_both='
import os, select, signal, threading, time
r, w = os.pipe()
def later(fn): threading.Timer(0.2, fn).start()
def name(fds): return sorted("pipe" if f == r else "stdin" if f == 0 else "other" for f in fds)
def slept(since): return time.time() - since > 0.15
later(lambda: os.write(w, b"x"))
t = time.time(); print("select", name(select.select([0, r], [], [], 30)[0]), slept(t)); os.read(r, 1)
p = select.poll(); p.register(0, select.POLLIN); p.register(r, select.POLLIN)
t = time.time(); print("poll times out", p.poll(200), slept(t))
e = select.epoll(); e.register(0, select.EPOLLIN); e.register(r, select.EPOLLIN)
later(lambda: os.write(w, b"y"))
t = time.time(); print("epoll", name(f for f, v in e.poll(30)), slept(t)); os.read(r, 1)
t = time.time(); print("epoll times out", e.poll(0.2), slept(t))
go = os.open("../go", os.O_WRONLY); later(lambda: os.write(go, b"\n"))
print("stdin comes", name(f for f, v in e.poll(30)), os.read(0, 10))
os.write(go, b"\n")
print("stdin ends", name(select.select([0, r], [], [], 30)[0]), os.read(0, 10))
signal.signal(signal.SIGALRM, lambda *a: 1 / 0); signal.setitimer(signal.ITIMER_REAL, 0.2)
try: select.select([r], [], [], 30)
except ZeroDivisionError: print("a signal ends it")
'

feed()
{
	rm -f "$work/go" "$work/in"
	mkfifo "$work/go" "$work/in"
	(exec 3<>"$work/go" 4>"$work/in"; read -r _ <&3; echo data >&4; read -r _ <&3) &
	feeder=$!
	stdin=$work/in "$@"
	kill "$feeder" 2>/dev/null
	wait "$feeder" 2>/dev/null
}

feed run_native native python3 -c "$wait_for_both"
feed run_sandboxed sandbox python3 -c "$wait_for_both"
compare_runs host_and_sandbox_pipes_together python3 -c "$wait_for_both"

same_as_native epoll_modes python3 -c '
import os, select
def tell(fn):
    try: print(fn())
    except OSError as e: print(e)
e = select.epoll(); r, w = os.pipe()
e.register(r, select.EPOLLIN | select.EPOLLET); os.write(w, b"12")
print(len(e.poll(1)), len(e.poll(0.05))); os.write(w, b"3"); print(len(e.poll(1)), os.read(r, 9))
e.modify(r, select.EPOLLIN | select.EPOLLONESHOT); os.write(w, b"4")
print(len(e.poll(1)), len(e.poll(0.05))); e.modify(r, select.EPOLLIN | select.EPOLLONESHOT); print(len(e.poll(1)))
n = select.epoll(); n.register(e.fileno(), select.EPOLLIN); e.modify(r, select.EPOLLIN); print("nested", len(n.poll(1)))
tell(lambda: e.register(r)); tell(lambda: e.register(os.open("/etc/passwd", 0))); tell(lambda: e.register(99))
d = os.dup(r); e.register(d, select.EPOLLIN); print(len(e.poll(1))); os.close(w); print(sorted(v for f, v in e.poll(1)))
os.close(d); os.close(r); print(e.poll(0.05)); tell(lambda: e.unregister(77))
'

same_as_native record_locks_belong_to_processes python3 -c '
import fcntl, os, struct, time
fd = os.open("f", os.O_CREAT | os.O_RDWR); other = os.open("f", os.O_RDWR)
def tell(who, fn):
    try: fn(); print(who, "ok", flush=True)
    except OSError as e: print(who, e, flush=True)
def get(f, start, n):
    r = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, n, 0))
    return struct.unpack("hhqqi4x", r)[:4]
fcntl.lockf(fd, fcntl.LOCK_EX, 100, 50); fcntl.lockf(other, fcntl.LOCK_UN, 20, 80)
tell("same process", lambda: fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 50))
ready, go = os.pipe()
if not os.fork():
    tell("child", lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
    print(get(fd, 0, 0), get(fd, 80, 20), get(fd, 85, 5), get(fd, 110, 0), flush=True)
    os.write(go, b"x"); fcntl.lockf(fd, fcntl.LOCK_EX); print("child has it", flush=True); os._exit(0)
os.read(ready, 1); time.sleep(0.2); print("closing any descriptor of it drops the locks", flush=True)
os.close(os.dup(fd)); os.wait()
'

# A process outside must not get a lock that the sandbox has.
: >"$work/shared"
mkfifo "$work/hold"
exec 9<>"$work/hold"
"$SANDRUN" --platform="$PLATFORM" python3 -c "
import fcntl, sys; f = open('$work/shared', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()" \
	<"$work/hold" >"$work/locked" 9>&- &
holder=$!
until [ -s "$work/locked" ] || ! kill -0 "$holder" 2>/dev/null; do sleep 0.05; done
check host_sees_record_locks bash -c '! python3 -c "
import fcntl, sys; fcntl.lockf(open(sys.argv[1], \"w\"), fcntl.LOCK_EX | fcntl.LOCK_NB)" "$1" 2>/dev/null' - "$work/shared"
kill "$holder"
wait "$holder" 2>/dev/null
exec 9>&-

same_as_native threads_share_a_table python3 -c '
import os, random, threading
stop = False
def churn():
    while not stop:
        r, w = os.pipe(); os.write(w, b"z" * 100); d = os.dup(r); assert len(os.read(d, 200)) == 100
        for fd in (r, w, d): os.close(fd)
        f = os.open("/etc/passwd", 0); assert os.read(f, 10) and os.fstat(f).st_size; os.close(f)
def probe():
    for i in range(500):
        fd = random.randint(20, 40)
        for fn in (lambda: os.fstat(fd), lambda: os.readlink("/proc/self/fd/%d" % fd), lambda: os.listdir("/proc/self/fd")):
            try: fn()
            except OSError: pass
threads = [threading.Thread(target=churn) for i in range(3)] + [threading.Thread(target=probe)]
before = len(os.listdir("/proc/self/fd"))
for t in threads: t.start()
threads[-1].join(); stop = True
for t in threads[:3]: t.join()
print("left over:", len(os.listdir("/proc/self/fd")) - before)
'

same_as_native inotify python3 -c '
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True); fd = libc.inotify_init1(0); os.mkdir("d"); os.symlink("d", "l")
print(libc.inotify_add_watch(fd, b"l", 0x300), libc.inotify_add_watch(fd, b"none", 0x300), os.strerror(ctypes.get_errno()))
open("d/x", "w").close(); os.unlink("d/x"); b = os.read(fd, 4096)
print(len(b), [hex(struct.unpack("iIII", b[i:i + 16])[1]) for i in range(0, len(b), 32)], libc.inotify_rm_watch(fd, 1))
'

same_as_native eventfd_timerfd_memfd python3 -c '
import ctypes, os, select, struct
libc = ctypes.CDLL(None)
e = libc.eventfd(3, 0); os.write(e, struct.pack("Q", 4)); print(struct.unpack("Q", os.read(e, 8)), select.select([e], [e], [], 0)[:2] == ([], [e]))
t = libc.timerfd_create(1, 0); libc.timerfd_settime(t, 0, struct.pack("qqqq", 0, 20000000, 0, 50000000), None)
print(os.read(t, 8)[0] >= 1, select.select([t], [], [], 10)[0] == [t])
m = os.memfd_create("name"); os.write(m, b"abc"); print(os.pread(m, 3, 0), os.readlink("/proc/self/fd/%d" % m), open("/proc/self/fd/%d" % m).read())
'

# exec: a shell that forks by vfork loses a ^C that comes meanwhile.
same_as_native pseudoterminals python3 -c '
import os, pty, sys
m, s = pty.openpty(); print(os.ttyname(s)[:9], os.isatty(s), os.isatty(m), os.path.exists(os.ttyname(s)))
os.write(m, b"line\n"); print(os.read(s, 100), os.read(m, 100)); os.close(s); os.close(m)
def talk(steps, *argv):
    pid, fd = pty.fork()
    if not pid: os.execvp(argv[0], argv)
    out = b""
    try:
        while True:
            b = os.read(fd, 1000)
            if not b: break
            out += b
            if steps and steps[0][0] in out: os.write(fd, steps.pop(0)[1])
    except OSError: pass
    print(out, os.waitpid(pid, 0)[1], flush=True); os.close(fd)
talk([(b"rdy\r\n", b"abc\n"), (b"got abc\r\n", b"\x03")], "sh", "-c", "tty | cut -c 1-9; echo rdy; read x; echo got $x; exec sleep 100")
talk([(b"hi", b"xyz\n")], "python3", "-c", "f = open(\"/dev/tty\", \"r+b\", buffering=0); f.write(b\"hi\"); print(f.read(4))")
'

finish
