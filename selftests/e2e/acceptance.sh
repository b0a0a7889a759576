#!/bin/bash
# SPDX-License-Identifier: MIT
#
# acceptance.sh - real programs give the same output and status in the sandbox

. "$(dirname "$0")/lib.sh"

same_as_native bash_loop_sort_head \
	bash -c 'for i in $(seq 50); do echo $i; done | sort -r | head -3'

if need busybox_script busybox; then
	cat >"$work/script.sh" <<-'SCRIPT'
		trap 'echo caught usr1' USR1
		trap 'echo leaving with $?' EXIT
		fact() {
			if [ "$1" -le 1 ]; then echo 1; return; fi
			echo $(( $1 * $(fact $(( $1 - 1 ))) ))
		}
		count=0
		bump() { count=$((count + 1)); }
		bump; (bump; bump; echo "in a subshell $count"); bump
		echo "outside $count, fact $(fact 6)"
		kill -USR1 $$
		(trap 'echo inner trap; exit 3' TERM; kill -TERM $(sh -c 'echo $PPID'); sleep 5)
		echo "subshell gave $?"
		for word in a b c; do echo "$word"; done | while read -r w; do printf '<%s>' "$w"; done; echo
		cat <<-END | tr a-z A-Z
			here document
		END
		case $(echo abc) in a*) echo matched ;; esac
		x=$(exit 7); echo "status of a substitution $?"
		false || exit 9
	SCRIPT
	same_as_native busybox_script busybox sh "$work/script.sh"
fi

same_as_native ls_etc ls -la /etc
same_as_native tar_pipeline \
	bash -c 'tar cf - /usr/include/linux | tar tf - | sort | md5sum'
same_as_native find_xargs_grep \
	bash -c 'find /usr/share/doc -name copyright | sort | xargs grep -l GPL | wc -l'

if need python python3; then
	cat >"$work/prog.py" <<-'SCRIPT'
		import hashlib, json, subprocess, sys, threading
		print(json.dumps({"a": [1, 2.5, None], "b": {"c": "\u00e9"}}, sort_keys=True))
		print(json.loads('{"x": [true, false, "s"]}'))
		for name in ("md5", "sha1", "sha256", "blake2b"):
		    print(name, hashlib.new(name, b"sandbox" * 1000).hexdigest())
		out = subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"fed\n",
		                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		print(out.returncode, out.stdout, out.stderr)
		with subprocess.Popen(["sort"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
		    print(p.communicate(b"c\nb\na\n")[0], p.returncode)
		total, lock = 0, threading.Lock()
		def work(n):
		    global total
		    for _ in range(200):
		        with lock:
		            total += n
		threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
		for t in threads: t.start()
		for t in threads: t.join()
		print(total, threading.active_count())
		done = threading.Event()
		threading.Timer(0.05, done.set).start()
		print(done.wait(30))
		sys.exit(4)
	SCRIPT
	same_as_native python python3 -c "$(cat "$work/prog.py")"
fi

if need gcc gcc; then
	same_script gcc <<-'SCRIPT'
		dir=$(mktemp -d /tmp/sandtrap-gcc.XXXXXX) || exit 99
		trap 'rm -rf "$dir"' EXIT
		cat > "$dir/prog.c" <<-END
			#include <math.h>
			#include <stdio.h>
			#include <stdlib.h>
			static int compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
			int main(int argc, char **argv)
			{
				int v[] = { 5, 3, 9, 1 };
				qsort(v, 4, sizeof(*v), compare);
				printf("%d %d %.6f %s\n", v[0], v[3], sqrt(2.0 * argc), argv[1]);
				return 42;
			}
		END
		gcc -O2 -Wall -o "$dir/prog" "$dir/prog.c" -lm || exit 98
		"$dir/prog" arg
	SCRIPT
fi

same_as_native kill_term_itself sh -c 'kill -TERM $$'
expect kill_term_itself_is_143 143 sh -c 'kill -TERM $$'
same_as_native null_pointer_write "$progs/null_write"
expect null_pointer_write_is_139 139 "$progs/null_write"

same_as_native env_empty env -i /usr/bin/env
same_as_native env_chosen env -i A=1 'B=two words' C= /bin/sh -c env
same_as_native env_passed_through env
mapfile -t long < <(seq -f 'argument-number-%06.0f-of-a-long-list' 3000)
same_as_native long_argument_list bash -c 'printf "%s\n" "$#" "$@" | md5sum' sh "${long[@]}"
same_as_native one_huge_argument bash -c 'echo ${#1}' sh "$(head -c 131000 /dev/zero | tr '\0' x)"
same_script argument_too_long <<'END'
x=$(head -c 131072 /dev/zero | tr '\0' x)
/bin/true "$x" 2>/dev/null; echo $?
/bin/true "${x:1}"; echo $?
END
same_as_native empty_arguments sh -c 'printf "<%s>" "$@"; echo' '' '' ' ' ''

finish
