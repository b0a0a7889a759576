#!/bin/bash
# SPDX-License-Identifier: MIT
#
# files.sh - files and directories of the host: every change as natively

. "$(dirname "$0")/lib.sh"

same_script create_and_remove <<'END'
mkdir -p a/b/c; echo one >a/1; echo two >a/b/2; cp -a a copy; mv a/b moved
ln -s 1 a/link; ln a/1 a/hard; chmod 640 a/1; touch -d @1000000000 a/1
find . -printf '%p %y %m %n %s\n' | sort; stat -c '%Y %h' a/1; readlink a/link; cat a/link
rm -r a; rmdir moved 2>&1; rm -rf moved copy; ls -A
END
same_script errors <<'END'
exec 2>&1
cat missing; mkdir /etc/passwd/x; rmdir /; ls /etc/passwd/; ln -s x x; cat x; mkdir x
touch "$(head -c 300 /dev/zero | tr '\0' a)" | cut -c 1-20; : >file; cd file; ./file; mv missing other
END
same_script append_truncate_seek <<'END'
echo 12345 >f; echo 678 >>f; cat f; : >f; wc -c <f; truncate -s 100000 f; wc -c <f; du -k --apparent-size f
dd if=/dev/zero of=f bs=1000 seek=50 count=3 conv=notrunc status=none; wc -c <f; md5sum f
fallocate -l 5000 g && wc -c <g; dd if=/dev/urandom of=h bs=64k count=20 status=none; cmp h h && wc -c <h
END
same_script large_directory <<'END'
mkdir d; for i in $(seq 1500); do : >d/file-$i-with-a-name-of-some-length; done
ls d | wc -l; ls d | md5sum; rm d/*7*; ls d | wc -l; find d -type f | sort | md5sum
END
same_script modes_and_owners <<'END'
: >f; for mode in 000 444 755 4755 1777; do chmod $mode f; stat -c %a f; done
mkdir d; chmod g+s d; stat -c %A d; chown 0:0 f && stat -c '%u %g' f; test -w f && echo writable; test -x f; echo $?
END
same_script times_of_files <<'END'
touch -d '2001-02-03 04:05:06.789 UTC' f; stat -c '%y %x' f; touch -r f g; stat -c %Y g
[ f -ot /etc/. ] && echo older; touch -h f; [ "$(stat -c %Y f)" -gt 1000000000 ] && echo now
END
same_script sockets_and_fifos <<'END'
mkfifo p; stat -c %F p; (cat p >got &); echo hello >p; while [ ! -s got ]; do sleep 0.05; done; cat got
mkfifo q; timeout 0.3 cat q; echo $?
END
same_script copies <<'END'
cp -r /usr/include/linux/netfilter copy; diff -r /usr/include/linux/netfilter copy && echo same
tar cf t.tar copy; mkdir out; tar xf t.tar -C out; diff -r copy out/copy && echo same; gzip t.tar; gzip -t t.tar.gz && echo fine
cat /usr/include/linux/*.h | sort | uniq -c | sort -rn | head -5 | md5sum
END
same_script locks <<'END'
: >f; flock f sh -c 'flock -n f echo got || echo busy'; flock -n f echo free
END
same_script temporary_files <<'END'
f=$(mktemp); echo x >"$f"; cat "$f"; rm "$f"; d=$(mktemp -d); test -d "$d" && rmdir "$d" && echo gone
exec 3>unlinked; rm unlinked; echo still >&3; cat /proc/$$/fd/3
END
if need python_files python3; then
	same_as_native python_mmap python3 -c '
import mmap, os
with open("f", "wb") as f: f.write(bytes(range(256)) * 64)
with open("f", "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
    print(m[10:20], len(m)); m[0:4] = b"DATA"; m.flush(); m.close()
    p = mmap.mmap(f.fileno(), 8192, flags=mmap.MAP_PRIVATE)
    p[100:104] = b"priv"; print(p[98:106]); p.close()
    print(os.pread(f.fileno(), 4, 0), os.pread(f.fileno(), 4, 100))
a = mmap.mmap(-1, 1 << 20); a[5000:5003] = b"abc"
if os.fork() == 0:
    a[5000:5003] = b"xyz"; os._exit(0)
os.wait(); print(a[5000:5003])
b = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); b[0:3] = b"abc"
if os.fork() == 0:
    b[0:3] = b"xyz"; os._exit(0)
os.wait(); print(b[0:3])
'
	same_as_native python_directories python3 -c '
import os, shutil, tempfile, pathlib, stat
d = tempfile.mkdtemp(dir="."); os.chdir(d)
for i in range(30): pathlib.Path(f"f{i}").write_text(str(i))
print(sorted(e.name for e in os.scandir(".") if e.is_file())[:5])
os.makedirs("x/y/z"); os.symlink("x/y", "link"); print(os.path.realpath("link/z").endswith("x/y/z"))
print([sorted(d) for _, d, _ in os.walk(".")])
os.rename("f1", "x/f1"); os.link("f2", "x/f2"); print(os.stat("f2").st_nlink)
fd = os.open("x", os.O_RDONLY); print(os.stat("f1", dir_fd=fd).st_size, sorted(os.listdir(fd)))
os.unlink("f1", dir_fd=fd); os.fchdir(fd); print(sorted(os.listdir(".")))
os.chdir(".."); shutil.rmtree("x"); print(os.path.exists("x"), os.access("f3", os.W_OK))
st = os.statvfs("."); print(st.f_bsize > 0, st.f_namemax)
print(stat.filemode(os.lstat("link").st_mode), os.getxattr if False else "")
os.utime("f3", (1, 2)); print(os.stat("f3").st_mtime_ns)
os.truncate("f3", 5); print(os.stat("f3").st_size)
'
fi

# Whoever closes a descriptor leaves no lock to the thread that waits for one.
if need lock_of_a_closed_descriptor python3; then
	same_as_native lock_of_a_closed_descriptor python3 -c '
import errno, fcntl, os, struct, threading, time
def lock(fd, cmd=fcntl.F_SETLK, type=fcntl.F_WRLCK):
    try: fcntl.fcntl(fd, cmd, struct.pack("hhqqi4x", type, 0, 0, 0, 0)); return "locked"
    except OSError as e: return errno.errorcode[e.errno]
def another():
    r, w = os.pipe()
    if os.fork() == 0:
        fd = os.open("f", os.O_RDWR); os.write(w, lock(fd).encode()); os._exit(0)
    os.wait(); return os.read(r, 100).decode()
def race(close):
    fd = os.open("f", os.O_RDWR | os.O_CREAT); locked, tell = os.pipe(); wait, go = os.pipe(); got = []
    if os.fork() == 0:
        os.close(go); lock(fd); os.write(tell, b"x"); os.read(wait, 1); os._exit(0)
    os.read(locked, 1)
    thread = threading.Thread(target=lambda: got.append(lock(fd, fcntl.F_SETLKW))); thread.start()
    time.sleep(0.3); close(fd); os.write(go, b"x"); os.wait(); thread.join(); print(got, another())
    return fd
race(os.close); race(lambda fd: os.dup2(0, fd))
fd = race(lambda fd: None); os.close(fd); print(another())
'
fi

# A mapping that is longer than its file, and one that no host can make.
same_as_native mapped_file_ends python3 -c '
import ctypes, os, tempfile
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def at(a): return ctypes.c_void_p(a)
fd = os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_RDONLY)
print("sysfs", libc.mmap(None, 4096, 1, 2, fd, 0), ctypes.get_errno())
f = tempfile.TemporaryFile(); f.write(b"0123456789"); f.flush()
a = libc.mmap(None, 8192, 3, 1, f.fileno(), 0)
r, w = os.pipe(); os.write(w, b"x" * 4000)
print("into", libc.read(r, at(a + 5), 100), os.fstat(f.fileno()).st_size, os.pread(f.fileno(), 100, 0))
print("behind", libc.read(r, at(a + 4096), 100), ctypes.get_errno(), libc.write(w, at(a + 4096), 20))
print("zeroes", libc.write(w, at(a + 4), 20), os.read(r, 3900) == b"x" * 3900, os.read(r, 30)[:6])
for i in range(40): print(libc.write(w, at(a + i % 5), 5), os.read(r, 5), end=" ")
os.ftruncate(f.fileno(), 0)
print("gone", libc.write(w, at(a), 5), ctypes.get_errno())
'

finish
