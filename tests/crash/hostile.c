/* hostile.c -- an application that does what hurts a replicator, until it is
 * killed: hostile DB SEED ACKS WHAT
 *
 * ACKS gets one record of 16 bytes (CLOCK_MONOTONIC in ns, counter) after each
 * COMMIT that returned: the counter is ctr.n, one more in every transaction.
 * WHAT is a set of letters:
 *   s  transactions that spill (tiny cache_size), with savepoints released
 *   z  ... and rolled back between the spills: some versions of SQLite then
 *      commit frames whose salts and checksums are zero, and lose them (or
 *      the database) themselves when they must recover the WAL
 *   c  wal_checkpoint in all four modes
 *   v  VACUUM, incremental_vacuum and mass deletion
 *   o  all connections closed and opened again
 *   r  a second connection with a long read transaction
 * Status 3: an error that no application may see beside the daemon (printed);
 * 4: the database is corrupt; 5: locking failed (SQLITE_PROTOCOL). */
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 500, BUSY_MS = 20000 };

struct app {
	const char *path, *what;
	int acks;
	uint64_t seed;
	sqlite3 *db, *reader;
};

static uint32_t
rnd(struct app *a, uint32_t n)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return (uint32_t)((a->seed >> 11) % n);
}

static int
does(const struct app *a, char c)
{
	return strchr(a->what, c) != NULL;
}

static void
die(sqlite3 *db, const char *what)
{
	int rc = db ? sqlite3_errcode(db) : SQLITE_NOMEM;

	(void)fprintf(
	    stderr, "%s: %s\n", what, db ? sqlite3_errmsg(db) : "memory");
	exit(rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? 4
	     : rc == SQLITE_PROTOCOL			 ? 5
							 : 3);
}

/* Runs it; gives the last column of the last row as a number. */
static int64_t
sql(sqlite3 *db, const char *fmt, ...)
{
	sqlite3_stmt *st = NULL;
	int64_t got = 0;
	va_list ap;
	char *text;
	int rc;

	va_start(ap, fmt);
	text = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	if (text == NULL || sqlite3_prepare_v2(db, text, -1, &st, NULL))
		die(db, text ? text : "memory");
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		got = sqlite3_column_int64(st, sqlite3_column_count(st) - 1);
	if (sqlite3_finalize(st) != SQLITE_OK || rc != SQLITE_DONE)
		die(db, text);
	sqlite3_free(text);
	return got;
}

static sqlite3 *
connect_to(const char *path)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		die(db, path);
	(void)sqlite3_busy_timeout(db, BUSY_MS);
	(void)sql(db, "PRAGMA synchronous=NORMAL");
	return db;
}

static void
ack(const struct app *a, int64_t n)
{
	struct timespec ts;
	int64_t rec[2];

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	rec[0] = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	rec[1] = n;
	if (write(a->acks, rec, sizeof rec) != (ssize_t)sizeof rec)
		exit(1);
}

static void
put_rows(struct app *a, uint32_t n)
{
	uint32_t size = rnd(a, 4) ? 300 : 5000;

	while (n-- > 0)
		(void)sql(a->db,
		    "INSERT OR REPLACE INTO t VALUES(%u, randomblob(%u))",
		    1 + rnd(a, ROWS), 1 + rnd(a, size));
}

static void
change(struct app *a, uint32_t from, uint32_t to)
{
	(void)sql(a->db,
	    "UPDATE t SET b=randomblob(length(b)) WHERE id>=%u AND id<%u", from,
	    to);
}

/* Spill, overwrite in place, perhaps roll back to before that, spill. */
static void
savepoints(struct app *a)
{
	uint32_t at = rnd(a, ROWS / 2);

	change(a, at, at + 20 + rnd(a, 100));
	(void)sql(a->db, "SAVEPOINT one");
	change(a, at + 10, at + 30 + rnd(a, 150));
	change(a, at + 20, at + 40 + rnd(a, 100));
	if (does(a, 'z') && rnd(a, 2)) {
		(void)sql(a->db, "ROLLBACK TO one");
		change(a, at + rnd(a, 200), ROWS);
	}
	(void)sql(a->db, "RELEASE one");
}

static void
transaction(struct app *a)
{
	int spill = does(a, 's') && rnd(a, 3) == 0;
	int64_t n;

	(void)sql(a->db, "PRAGMA cache_size=%d", spill ? 5 : 2000);
	(void)sql(a->db, "BEGIN IMMEDIATE");
	n = sql(a->db, "UPDATE ctr SET n=n+1 RETURNING n");
	if (spill)
		savepoints(a);
	else
		put_rows(a, 1 + rnd(a, rnd(a, 8) ? 4 : 60));
	if (does(a, 'v') && rnd(a, 12) == 0)
		(void)sql(a->db, "DELETE FROM t WHERE id %% 3 = %u", rnd(a, 3));
	if (rnd(a, 10) == 0) {
		(void)sql(a->db, "ROLLBACK");
		return;
	}
	(void)sql(a->db, "COMMIT");
	ack(a, n);
}

static void
checkpoint(struct app *a)
{
	int rc;

	(void)sqlite3_busy_timeout(a->db, (int)rnd(a, 3) * 5);
	rc = sqlite3_wal_checkpoint_v2(a->db, NULL, (int)rnd(a, 4), NULL, NULL);
	(void)sqlite3_busy_timeout(a->db, BUSY_MS);
	if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED)
		die(a->db, "wal_checkpoint");
}

static void
read_long(struct app *a)
{
	if (a->reader != NULL) {
		(void)sql(a->reader, "COMMIT");
		(void)sqlite3_close(a->reader);
		a->reader = NULL;
		return;
	}
	a->reader = connect_to(a->path);
	(void)sql(a->reader, "BEGIN");
	(void)sql(a->reader, "SELECT count(*) FROM t");
}

static void
reopen(struct app *a)
{
	if (a->reader != NULL)
		read_long(a);
	(void)sqlite3_close(a->db);
	a->db = connect_to(a->path);
}

static void
step(struct app *a)
{
	uint32_t kind = rnd(a, 100);
	struct timespec pause = { 0, (long)rnd(a, 3000000) };

	if (kind < 6 && does(a, 'c'))
		checkpoint(a);
	else if (kind < 7 && does(a, 'v'))
		(void)sql(a->db, "VACUUM");
	else if (kind < 9 && does(a, 'v'))
		(void)sql(a->db, "PRAGMA incremental_vacuum(%u)", rnd(a, 50));
	else if (kind < 11 && does(a, 'o'))
		reopen(a);
	else if (kind < 13 && does(a, 'r'))
		read_long(a);
	else
		transaction(a);
	(void)nanosleep(&pause, NULL); /* its rate */
}

int
main(int argc, char **argv)
{
	struct app a = { .acks = -1 };

	if (argc != 5)
		return 1;
	a.path = argv[1];
	a.seed = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
	a.acks = open(argv[3], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	a.what = argv[4];
	if (a.acks < 0)
		return 1;
	a.db = connect_to(a.path);
	for (;;)
		step(&a);
}
