/* doctor_db.c -- one database: is it one, may we, who else, and what SQLite
 * wrote it. See doctor.h.
 *
 * (1) THE DATABASE IS ONLY LOOKED AT, never opened by SQLite: its header, and
 *     locks that fcntl tells without taking any. This process holds no lock on
 *     it that closing a descriptor could drop.
 * Formats: "Database File Format" 1.3 and "WAL-mode File Format" 2.3 of the
 * SQLite documentation (header; lock bytes of -shm).
 */
#include "capture/capture.h"
#include "daemon/doctor_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
	HEADER = 100,
	SHARED_FIRST = 0x40000002, /* bytes that readers lock ... */
	SHARED_SIZE = 510,
	CKPT_LOCK = 121, /* ... and the checkpointer, in -shm */
};

/* ---- the file --------------------------------------------------------------*/

static bool
is_there(struct ls_doctor *d, const struct ls_db_config *db, struct stat *st)
{
	struct ls_err e = { 0 };

	if (ls_sys->stat(db->path, st) == 0) {
		if (S_ISREG(st->st_mode))
			return true;
		ls_doctor_say(d, LS_GRADE_FAIL, "database", db->path,
		    S_ISDIR(st->st_mode)
			? "name a database file in it; each one has its entry"
			: "name the database file itself",
		    S_ISDIR(st->st_mode) ? "is a folder"
					 : "is not a regular file");
		return false;
	}
	if (errno == ENOENT && db->restore_if_db_not_exists) {
		ls_doctor_say(d, LS_GRADE_OK, "database", db->path, NULL,
		    "is not there: the daemon restores it when it starts");
		return false;
	}
	if (errno == ENOENT) {
		ls_doctor_say(d, LS_GRADE_WARN, "database", db->path,
		    "check the path, or restore it: litestreamd restore PATH",
		    "is not there: the daemon waits for it");
		return false;
	}
	(void)ls_err_sys(&e, errno, "%s", db->path);
	ls_doctor_err(d, LS_GRADE_FAIL, "permissions", db->path,
	    "let the daemon's user enter the folders above it", &e);
	return false;
}

static bool
read_header(
    struct ls_doctor *d, const char *path, uint8_t h[static HEADER], int fd)
{
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_pread_all(fd, h, HEADER, 0, &e);
	uint8_t any = 0;

	for (size_t i = 0; rc == LS_ESHORT && i < HEADER; i++)
		any |= h[i];
	if (rc == LS_ESHORT && any == 0) {
		ls_doctor_say(d, LS_GRADE_WARN, "database", path,
		    "let the application create its first table",
		    "is empty: the daemon waits until it is a database");
		return false;
	}
	if (rc != LS_OK && rc != LS_ESHORT) {
		ls_doctor_err(
		    d, LS_GRADE_FAIL, "database", path, "check the disk", &e);
		return false;
	}
	if (rc == LS_ESHORT || memcmp(h, "SQLite format 3", 16) != 0) {
		ls_doctor_say(d, LS_GRADE_FAIL, "database", path,
		    "check the path; an encrypted database (SQLCipher, SEE) "
		    "cannot be replicated",
		    "is not a SQLite database, or it is encrypted");
		return false;
	}
	return true;
}

static void
check_mode(struct ls_doctor *d, const char *path, const uint8_t *h)
{
	if (h[18] == 2 && h[19] == 2)
		ls_doctor_say(d, LS_GRADE_OK, "database", path, NULL,
		    "a SQLite database in WAL mode");
	else
		ls_doctor_say(d, LS_GRADE_WARN, "database", path,
		    "run PRAGMA journal_mode=WAL once, and take any other "
		    "journal_mode out of the application",
		    "is not in WAL mode: the daemon switches it, as soon as "
		    "nobody else uses it");
}

/* ---- which SQLite ----------------------------------------------------------*/

/* The WAL-reset bug: 3.7.0 to 3.51.2, but for the two branches that have the
 * correction (https://sqlite.org/wal.html, "The WAL-Reset Bug"). */
static bool
has_reset_bug(uint32_t v)
{
	if (v < 3007000 || v > 3051002)
		return false;
	return !(v >= 3044006 && v < 3045000) && !(v >= 3050007 && v < 3051000);
}

static void
check_writer(struct ls_doctor *d, const char *path, const uint8_t *h)
{
	uint32_t v = ls_be32(h + 96);

	if (v == 0)
		return;
	if (has_reset_bug(v))
		ls_doctor_say(d, LS_GRADE_WARN, "sqlite", path,
		    "update the application's SQLite to 3.51.3 or later "
		    "(3.50.7, 3.44.6); beside the daemon nobody else "
		    "checkpoints, so it cannot happen there",
		    "was written by SQLite %u.%u.%u: two processes that "
		    "checkpoint at once can damage it (WAL-reset bug)",
		    v / 1000000, v / 1000 % 1000, v % 1000);
	else
		ls_doctor_say(d, LS_GRADE_OK, "sqlite", path, NULL,
		    "was written by SQLite %u.%u.%u", v / 1000000,
		    v / 1000 % 1000, v % 1000);
}

/* ---- who else --------------------------------------------------------------*/

/* Who holds a lock that conflicts with ours of this kind: a pid, -1 somebody
 * unknown, 0 nobody. */
static int
holder(int fd, short type, off_t first, off_t n)
{
	struct flock f = { .l_type = type,
		.l_whence = SEEK_SET,
		.l_start = first,
		.l_len = n };

	if (fcntl(fd, F_GETLK, &f) != 0 || f.l_type == F_UNLCK)
		return 0;
	return f.l_pid > 0 ? f.l_pid : -1;
}

/* The daemon that has the lock file of the meta folder: 0 none. */
static int
daemon_of(const struct ls_db_config *db)
{
	char *path = ls_asprintf("%s/lock", db->meta_path);
	char text[32] = "";
	int fd = -1, pid = 0;

	if (path != NULL && ls_open(path, O_RDONLY, 0, &fd, NULL) == LS_OK &&
	    flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		(void)!ls_sys->pread(fd, text, sizeof text - 1, 0);
		pid = (int)strtol(text, NULL, 10);
		pid = pid > 0 ? pid : -1;
	}
	if (fd >= 0)
		(void)ls_sys->close(fd);
	ls_free(path);
	return pid;
}

/* Does the process have path open? */
static bool
has_open(const char *pid, const struct stat *want)
{
	char name[PATH_MAX];
	struct dirent *ent;
	struct stat st;
	bool yes = false;
	DIR *dir;

	(void)snprintf(name, sizeof name, "/proc/%s/fd", pid);
	if ((dir = opendir(name)) == NULL)
		return false;
	while (!yes && (ent = readdir(dir)) != NULL) {
		(void)snprintf(
		    name, sizeof name, "/proc/%s/fd/%s", pid, ent->d_name);
		yes = isdigit((unsigned char)ent->d_name[0]) &&
		      ls_sys->stat(name, &st) == 0 &&
		      st.st_dev == want->st_dev && st.st_ino == want->st_ino;
	}
	(void)closedir(dir);
	return yes;
}

static bool
is_replicator(const char *pid)
{
	struct ls_buf b = LS_BUF_INIT(256);
	char name[300];
	bool yes = false;

	(void)snprintf(name, sizeof name, "/proc/%s/comm", pid);
	if (ls_read_file(name, 200, &b, NULL) == LS_OK)
		yes = strncmp(ls_buf_str(&b), "litestream", 10) == 0;
	ls_buf_free(&b);
	return yes;
}

/* A replication daemon, not `ours`, that has the database open: 0 none. */
static int
other_daemon(const struct stat *db, int ours)
{
	DIR *dir = opendir("/proc");
	struct dirent *ent;
	int found = 0;

	while (dir != NULL && found == 0 && (ent = readdir(dir)) != NULL) {
		int pid = (int)strtol(ent->d_name, NULL, 10);

		if (pid > 0 && pid != ours && pid != (int)getpid() &&
		    is_replicator(ent->d_name) && has_open(ent->d_name, db))
			found = pid;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static void
check_exclusive(struct ls_doctor *d, const char *path, int fd)
{
	int pid = holder(fd, F_RDLCK, SHARED_FIRST, SHARED_SIZE);
	char who[64];

	if (pid == 0)
		return;
	ls_doctor_process(pid, who, sizeof who);
	ls_doctor_say(d, LS_GRADE_FAIL, "lock", path,
	    "take PRAGMA locking_mode=EXCLUSIVE out of that application, or "
	    "wait for its transaction; the daemon waits, too",
	    "%s holds it exclusively", who);
}

static void
check_daemons(
    struct ls_doctor *d, const struct ls_db_config *db, const struct stat *st)
{
	char *shm = ls_asprintf("%s-shm", db->path);
	int ours = daemon_of(db), other = other_daemon(st, ours);
	int fd = -1, pid = 0;
	char who[64];

	if (ours == 0 && shm != NULL &&
	    ls_open(shm, O_RDONLY, 0, &fd, NULL) == LS_OK)
		pid = holder(fd, F_WRLCK, CKPT_LOCK, 1);
	ls_doctor_process(other != 0 ? other
			  : pid != 0 ? pid
				     : ours,
	    who, sizeof who);
	if (other != 0)
		ls_doctor_say(d, LS_GRADE_FAIL, "lock", db->path,
		    "one daemon replicates a database: stop the other one",
		    "%s, another replication daemon, has it open", who);
	else if (pid != 0)
		ls_doctor_say(d, LS_GRADE_WARN, "lock", db->path,
		    "one daemon replicates a database: stop the other one",
		    "%s holds the checkpoint lock: another daemon, or a "
		    "checkpoint at this moment",
		    who);
	else if (ours != 0)
		ls_doctor_say(d, LS_GRADE_OK, "lock", db->path, NULL,
		    "%s replicates it", who);
	else
		ls_doctor_say(d, LS_GRADE_OK, "lock", db->path, NULL,
		    "no replication daemon is running on it");
	if (fd >= 0)
		(void)ls_sys->close(fd);
	ls_free(shm);
}

/* ---- may we ----------------------------------------------------------------*/

static bool
check_access(struct ls_doctor *d, const struct ls_db_config *db)
{
	static const char *const tails[] = { "-wal", "-shm" };
	char *dir = ls_dirname(db->path);
	char *meta = ls_doctor_existing(db->meta_path);
	bool ok = dir != NULL && meta != NULL &&
		  ls_doctor_may(d, db->path, R_OK | W_OK, db->path) &&
		  ls_doctor_may(d, dir, W_OK | X_OK, db->path);

	for (size_t i = 0; ok && i < LS_COUNT(tails); i++) {
		char *s = ls_asprintf("%s%s", db->path, tails[i]);

		if (s != NULL && ls_exists(s))
			ok = ls_doctor_may(d, s, R_OK | W_OK, db->path);
		ls_free(s);
	}
	if (ok)
		ok = ls_doctor_may(d, meta, W_OK | X_OK, db->path);
	if (ok)
		ls_doctor_say(d, LS_GRADE_OK, "permissions", db->path, NULL,
		    "database, its folder and %s can be written", meta);
	ls_free(dir);
	ls_free(meta);
	return ok;
}

static void
check_guard(
    struct ls_doctor *d, const struct ls_db_config *db, uint64_t db_bytes)
{
	char size[LS_DUR_MAX];
	struct ls_capture_status s = { .wal_bytes = -1 };

	if (ls_capture_status(db->path, db->meta_path, &s, NULL) == LS_OK &&
	    s.wal_bytes > 256 << 20 && (uint64_t)s.wal_bytes > db_bytes)
		ls_doctor_say(d, LS_GRADE_WARN, "guard", db->path,
		    "let long transactions of the application end; the log of "
		    "the daemon names the process that blocks",
		    "its WAL has grown to %s, more than the database: a reader "
		    "keeps it from being emptied",
		    ls_size_format((uint64_t)s.wal_bytes, size));
	else
		ls_doctor_say(d, LS_GRADE_OK, "guard", db->path, NULL,
		    "beside the daemon the application's own checkpoints and "
		    "journal_mode changes are busy, and cp misses the WAL: "
		    "copy with .backup");
}

/* ---- all -------------------------------------------------------------------*/

void
ls_doctor_database(struct ls_doctor *d, const struct ls_db_config *db)
{
	uint8_t h[HEADER] = { 0 };
	struct stat st;
	uint64_t size;
	int fd = -1;

	if (!is_there(d, db, &st)) {
		ls_doctor_space(d, db->meta_path, 0);
		return;
	}
	size = (uint64_t)st.st_size;
	ls_doctor_file_system(d, db->path, true);
	ls_doctor_space(d, db->meta_path, size);
	if (!check_access(d, db) ||
	    ls_open(db->path, O_RDONLY, 0, &fd, NULL) != LS_OK)
		return;
	if (read_header(d, db->path, h, fd)) {
		check_mode(d, db->path, h);
		check_writer(d, db->path, h);
		check_exclusive(d, db->path, fd);
		check_daemons(d, db, &st);
		check_guard(d, db, size);
	}
	(void)ls_sys->close(fd);
}
