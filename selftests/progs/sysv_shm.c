// SPDX-License-Identifier: MIT
/*
 * sysv_shm.c - prints what System V shared memory does, for comparison
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#define SIZE (16 * 4096)

/* Ids and addresses differ from run to run. */
static void show_ok(const char *what, long ret)
{
	show(what, ret < 0 ? ret : 0);
}

static void show_stat(const char *what, int id)
{
	struct shmid_ds ds;

	if (show(what, shmctl(id, IPC_STAT, &ds)) < 0)
		return;
	printf("  %zu bytes, mode %o, attached %lu, by creator %d %d, times %d %d %d\n",
	       ds.shm_segsz, ds.shm_perm.mode, ds.shm_nattch,
	       ds.shm_cpid == getpid(), ds.shm_lpid == getpid(),
	       ds.shm_atime > 0, ds.shm_dtime > 0, ds.shm_ctime > 0);
}

static void test_get(void)
{
	key_t key = 0x5a000000 + getpid();
	int id = shmget(key, 100, IPC_CREAT | 0600);

	show_ok("create", id);
	show("same", shmget(key, 50, 0) == id);
	show("larger", shmget(key, 200, 0));
	show("exclusive", shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600));
	show("no bytes", shmget(key + 1, 0, IPC_CREAT | 0600));
	show("missing", shmget(key + 1, 100, 0));
	show("remove", shmctl(id, IPC_RMID, NULL));
	show("again", shmctl(id, IPC_RMID, NULL));
	show("gone", shmget(key, 100, 0));
	show("bad command", shmctl(id, 77, NULL));
	show("bad id", shmctl(-1, IPC_RMID, NULL));
}

static void test_attach(void)
{
	int id = shmget(IPC_PRIVATE, SIZE - 10, IPC_CREAT | 0640);
	char *a, *b, *c;

	show_stat("new", id);
	a = shmat(id, NULL, 0);
	b = shmat(id, NULL, SHM_RDONLY);
	show_ok("attach", a == (void *)-1 ? -1 : 0);
	show_stat("two", id);
	strcpy(a + 5000, "shared");
	printf("seen: %s, zeroes: %d\n", b + 5000, b[SIZE - 1]);
	show("read only", mprotect(b, 4096, PROT_READ | PROT_WRITE));
	show("into it", read(open("/dev/zero", O_RDONLY), a + 5000, 3));
	printf("seen: %d%s\n", b[5000], b + 5003);
	show("at an odd address", (long)shmat(id, a + 1, 0));
	show("over another", (long)shmat(id, a, 0));
	c = shmat(id, a + 1, SHM_RND | SHM_REMAP);
	show("instead of it", c == a);
	printf("seen: %s\n", a + 5003);
	show("detach inside", shmdt(a + 4096));
	/* Split in two, so attached once more, and then in part. */
	mprotect(a, 4096, PROT_READ);
	show_stat("split", id);
	munmap(a + 8192, 4096);
	show_stat("with a hole", id);
	show("detach", shmdt(a));
	show("detached", shmdt(a));
	show_stat("one", id);
	show("detach", shmdt(b));
	show("lock", shmctl(id, SHM_LOCK, NULL));
	show_stat("locked", id);
	show("unlock", shmctl(id, SHM_UNLOCK, NULL));
	show("remove", shmctl(id, IPC_RMID, NULL));
}

static void test_processes(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600), status;
	int *p = shmat(id, NULL, 0), fds[2];
	struct shmid_ds ds;
	pid_t pid;
	char byte;

	pipe(fds);
	pid = fork();
	if (!pid) {
		p[0] = 41;
		read(fds[0], &byte, 1);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	show_stat("forked", id);
	show("remove", shmctl(id, IPC_RMID, NULL));
	show_stat("removed", id);
	write(fds[1], "x", 1);
	waitpid(pid, &status, 0);
	show_stat("child has ended", id);
	printf("%d\n", p[0]);
	/* Still there for those who know the id. */
	show_ok("attach", shmat(id, NULL, 0) == (void *)-1 ? -1 : 0);
	shmctl(id, IPC_STAT, &ds);
	printf("key %d, attached %lu\n", ds.shm_perm.__key, ds.shm_nattch);
	munmap(p, SIZE);
	show_stat("unmapped", id);
}

static void test_settings(void)
{
	int id = shmget(IPC_PRIVATE, 1, IPC_CREAT | 0), n;
	struct shmid_ds ds;
	struct shminfo info;
	char line[300];
	FILE *f;

	shmctl(id, IPC_STAT, &ds);
	ds.shm_perm.mode = 0604;
	show("set", shmctl(id, IPC_SET, &ds));
	show_stat("changed", id);
	f = fopen("/proc/sysvipc/shm", "r");
	for (n = 0; fgets(line, sizeof(line), f);)
		n += strtol(line + 10, NULL, 10) == id && strstr(line, "  604 ");
	printf("%d lines\n", n);
	fclose(f);
	show_ok("limits", shmctl(0, IPC_INFO, (void *)&info));
	printf("%lu %lu %lu\n", info.shmmax, info.shmmin, info.shmmni);
	show("remove", shmctl(id, IPC_RMID, NULL));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_get();
	test_attach();
	test_processes();
	test_settings();
	return 0;
}
