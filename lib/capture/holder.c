/* holder.c -- whose locks are in the way: read from /proc/locks, never by a
 * descriptor of our own, whose close would drop every lock that SQLite holds.
 *
 * What lives in another PID namespace has no number there and is not seen.
 * Not here: what a lock means for a checkpoint (checkpoint.c). */
#include "capture/internal.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { /* bytes of the -shm file that SQLite locks */
	LOCK_FIRST = 120,
	READ_FIRST = 123, /* WAL_READ_LOCK(0..4) */
	READ_LAST = 127,
	LOCK_LAST = 128, /* held by everybody who is connected */
};

static bool
anybody(long pid)
{
	(void)pid;
	return true;
}

/* The name of a process, "" when it cannot be read. */
static void
comm_of(long pid, char *out, size_t n)
{
	char path[64];
	FILE *f;

	out[0] = '\0';
	(void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
	if ((f = fopen(path, "re")) == NULL)
		return;
	if (fgets(out, (int)n, f) != NULL)
		out[strcspn(out, "\n")] = '\0';
	(void)fclose(f);
}

static bool
is_our_program(long pid)
{
	char path[64], exe[4096];
	ssize_t n;

	(void)snprintf(path, sizeof path, "/proc/%ld/exe", pid);
	if ((n = readlink(path, exe, sizeof exe - 1)) < 0)
		return false; /* another user's, and we are not root */
	exe[n] = '\0';
	return strcmp(ls_basename(exe), "litestreamd") == 0;
}

/* Not a command of ours that was called by a link of that name; daemons of
 * ours are told apart by the lock of the meta folder. */
static bool
is_litestream(long pid)
{
	char name[32];

	comm_of(pid, name, sizeof name);
	return strcmp(name, "litestream") == 0 && !is_our_program(pid);
}

static int
holder(const struct ls_inode *shm, long first, long last, bool (*who)(long pid))
{
	char line[256], kind[16];
	FILE *f = fopen("/proc/locks", "re");
	long pid, from, to, me = (long)getpid();
	unsigned long ino;
	unsigned maj, min;
	int found = 0;

	while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
		/* 1: POSIX  ADVISORY  READ 123 08:01:4567 124 124 */
		if (sscanf(line, "%*d: POSIX %*s %15s %ld %x:%x:%lu %ld %ld",
			kind, &pid, &maj, &min, &ino, &from, &to) != 7)
			continue;
		if (ino == (unsigned long)shm->ino && pid > 0 && pid != me &&
		    from <= last && to >= first && who(pid))
			found = (int)pid;
	}
	if (f != NULL)
		(void)fclose(f);
	return found;
}

int
ls_shm_reader(const struct ls_inode *shm)
{
	return holder(shm, READ_FIRST, READ_LAST, anybody);
}

int
ls_shm_rival(const struct ls_inode *shm)
{
	return holder(shm, LOCK_FIRST, LOCK_LAST, is_litestream);
}
