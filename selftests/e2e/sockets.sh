#!/bin/bash
# SPDX-License-Identifier: MIT
#
# sockets.sh - sockets: every corner of them, and programs that live on them
# timeout: 900

. "$(dirname "$0")/lib.sh"

for part in create stream waiting names dgram seqpacket rights creds cycles; do
	same_as_native "unix_$part" "$progs/unix_sockets" "$part"
done
for part in tcp tcp_connect reuse udp udp_disconnect options epoll traffic wakes netlink; do
	same_as_native "net_$part" "$progs/net_sockets" "$part"
done

# Nothing to compare: the sentry has to live on, and to end when it is over.
for seed in 1 2; do
	expect "abuse_$seed" 0 "$progs/socket_abuse" "$seed" 5
done

need python python3 || finish

# Connects one datagram socket to addresses of both kinds, one after the other.
expect getaddrinfo 0 python3 -c '
import socket
print(sorted({a[4][0] for a in socket.getaddrinfo(None, 80)}))'

same_as_native asyncio python3 -c '
import asyncio
async def echo(r, w):
    while d := await r.read(1000): w.write(d); await w.drain()
    w.close()
async def client(port, i):
    r, w = await asyncio.open_connection("127.0.0.1", port); total = 0
    for k in range(10):
        m = bytes([i]) * (k * 50 + 1); w.write(m); await w.drain()
        got = await r.readexactly(len(m)); assert got == m; total += len(got)
    w.close(); await w.wait_closed(); return total
async def main():
    s = await asyncio.start_server(echo, "127.0.0.1", 0); port = s.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*[client(port, i) for i in range(10)]))); s.close(); await s.wait_closed()
    u = await asyncio.start_unix_server(echo, "sock"); r, w = await asyncio.open_unix_connection("sock")
    w.write(b"unix\n"); print(await r.readline()); w.close(); u.close()
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1); print(await p.communicate(b"through cat"))
    try: await asyncio.open_connection("127.0.0.1", port)
    except OSError as e: print(type(e).__name__)
asyncio.run(main())
'

cat >"$work/mp.py" <<'END'
import multiprocessing as mp, concurrent.futures
def square(x): return x * x
def talk(c): c.send({"a": [1, 2]}); print(c.recv(), flush=True); c.close()
def fill(q): [q.put(i) for i in range(50)]
def store(d, i): d[i] = i
if __name__ == "__main__":
    with mp.Pool(3) as p: print(sum(p.map(square, range(100))))
    a, b = mp.Pipe(); p = mp.Process(target=talk, args=(b,)); p.start(); print(a.recv(), flush=True); a.send("bye"); p.join(); print(p.exitcode)
    q = mp.Queue(); p = mp.Process(target=fill, args=(q,)); p.start(); print(sum(q.get() for i in range(50))); p.join()
    with mp.Manager() as m:
        d = m.dict(); ps = [mp.Process(target=store, args=(d, i)) for i in range(3)]
        for p in ps: p.start()
        for p in ps: p.join()
        print(sorted(d.items()))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=mp.get_context("forkserver")) as e: print(sum(e.map(abs, range(20))))
END
same_as_native multiprocessing python3 "$work/mp.py"

same_as_native http python3 -c '
import concurrent.futures, http.server, socket, threading, urllib.request
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode() * 1000)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("localhost", 0), H); threading.Thread(target=s.serve_forever, daemon=True).start()
url = "http://localhost:%d/abc" % s.server_port
with concurrent.futures.ThreadPoolExecutor(8) as e: print(sum(e.map(lambda i: len(urllib.request.urlopen(url + str(i)).read()), range(20))))
s.shutdown()
print(sorted({(f.name, t.name, a[0]) for f, t, p, c, a in socket.getaddrinfo("127.0.0.1", 80)}), "lo" in [n for i, n in socket.if_nameindex()])
'

same_as_native descriptors_travel python3 -c '
import os, socket
a, b = socket.socketpair()
if not os.fork():
    a.close(); d, fds, flags, addr = socket.recv_fds(b, 10, 3); print(d, len(fds), flush=True)
    os.write(fds[1], b"from the child"); os._exit(0)
b.close(); r, w = os.pipe(); socket.send_fds(a, [b"fds"], [r, w]); os.wait(); print(os.read(r, 100))
'

same_as_native threads_share_a_socket python3 -c '
import os, socket, threading
a, b = socket.socketpair(); n = 200
def send(c):
    for i in range(n): a.sendall(c * 997)
threads = [threading.Thread(target=send, args=(bytes([65 + i]),)) for i in range(4)]
for t in threads: t.start()
left = 4 * n * 997; seen = {}
while left:
    d = b.recv(5000); left -= len(d)
    for c in set(d): seen[c] = seen.get(c, 0) + d.count(c)
for t in threads: t.join()
print(sorted(seen.items()))
'

# The network of a sandbox is its own: nothing of the host can be reached from it.
python3 -c '
import socket, sys, time
s = socket.create_server(("127.0.0.1", 0)); u = socket.socket(socket.AF_UNIX); u.bind(sys.argv[1]); u.listen()
print(s.getsockname()[1], flush=True); time.sleep(300)' "$work/host.sock" >"$work/port" 9>&- &
server=$!
until [ -s "$work/port" ] || ! kill -0 "$server" 2>/dev/null; do sleep 0.05; done
expect no_way_out 0 python3 -c '
import socket, sys
def tell(what, family, address, type=socket.SOCK_STREAM):
    s = socket.socket(family, type); s.settimeout(20)
    try: s.connect(address); print(what, "connected")
    except OSError as e: print(what, e.strerror)
tell("tcp", socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))
tell("unix", socket.AF_UNIX, sys.argv[2])
tell("far", socket.AF_INET, ("192.0.2.1", 80)); tell("far6", socket.AF_INET6, ("2001:db8::1", 80))
tell("far udp", socket.AF_INET, ("192.0.2.1", 80), socket.SOCK_DGRAM)
try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print("packet socket made")
except OSError as e: print("packet", e.strerror)
' "$(cat "$work/port")" "$work/host.sock"
wrote host_port_not_reached out '^tcp Connection refused'
wrote host_socket_not_reached out '^unix Connection refused'
wrote network_not_reached out '^far Network is unreachable'
wrote network6_not_reached out '^far6 Network is unreachable'
wrote network_not_reached_by_udp out '^far udp Network is unreachable'
wrote no_packet_sockets out '^packet Address family not supported'
kill "$server"
wait "$server" 2>/dev/null

# Both runs are given a port that is free on the host.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
if need redis redis-server redis-cli redis-benchmark; then
	same_script redis <<END
redis-server --port $port --save "" --unixsocket sock >log 2>&1 &
for i in {1..200}; do redis-cli -p $port ping 2>/dev/null && break; sleep 0.1; done
redis-cli -p $port set a 1; redis-cli -s sock incr a; redis-cli -p $port get a
redis-cli -s sock lpush list {1..500}; redis-cli -p $port lrange list 0 2
redis-benchmark -p $port -n 500 -c 10 -q -t set,get 2>&1 | grep -c 'requests per second'
redis-benchmark -s sock -n 500 -c 5 -P 16 -q -t set,get 2>&1 | grep -c 'requests per second'
redis-cli -p $port shutdown nosave; wait; echo status \$?
END
fi

if need curl curl; then
	same_script curl <<END
echo "hello from here" >file
python3 -m http.server $port --bind 127.0.0.1 >/dev/null 2>&1 &
for i in {1..200}; do curl -s "http://localhost:$port/file" && break; sleep 0.1; done
curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$port/none"; kill \$!
END
fi

finish
