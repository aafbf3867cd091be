/* app.c -- an application whose every transaction follows from its number, so
 * that any state can be made again elsewhere and compared. For test_crash.py
 * and test_race.py.
 *
 *     vfs_app run URI [LAST]      go on behind the last transaction, up to LAST
 *     vfs_app show URI            "n N hash H" of what is there
 *     vfs_app hash URI            "hash H" of any database
 *     vfs_app race URI TAG LAST   count up beside others, as TAG
 *
 * run says "c N" when a COMMIT returned, "s N TXID" when a sync did. race says
 * "c V" and "s V" with the value of the common counter. Any error is "e TEXT"
 * and the end, but for SQLITE_BUSY in a race. URI may name any VFS.
 * LS_APP_SYNC=N: ask for a sync after every N transactions (0: never).
 * LS_APP_PACE=N: microseconds between two of them. LS_APP_PAGE=N: page size of a new database.
 */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct world w = { .name = "app", .n = 1 };

/* What went wrong, and what the VFS says to it: SQLite has words of its own
 * for an error of COMMIT. */
_Noreturn void
model_fail(const char *fmt, ...)
{
	char *err = NULL;
	va_list ap;

	(void)printf("e ");
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	if (w.db[0] != NULL && sqlite3_exec(w.db[0], "PRAGMA litestream_sync",
				   NULL, NULL, &err) != 0)
		(void)printf("; %s", err);
	(void)printf("\n");
	(void)fflush(stdout);
	exit(1);
}

static void
say(const char *what, long long n)
{
	(void)printf("%s %lld\n", what, n);
	(void)fflush(stdout);
}

static void LS_PRINTF(1, 2) run_sql(const char *fmt, ...)
{
	va_list ap;
	char *sql;

	va_start(ap, fmt);
	sql = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	must(w.db[0], sql);
	sqlite3_free(sql);
}

static long long
setting(const char *name)
{
	const char *v = getenv(name);

	return v ? strtoll(v, NULL, 10) : 0;
}

static void
create(void)
{
	sqlite3 *db = w.db[0];

	if (setting("LS_APP_PAGE") != 0)
		run_sql("PRAGMA page_size=%lld", setting("LS_APP_PAGE"));
	must(db, "PRAGMA busy_timeout=20000; PRAGMA cache_size=20");
	must(db, "PRAGMA auto_vacuum=2");
	must(db,
	    "BEGIN IMMEDIATE;"
	    "CREATE TABLE IF NOT EXISTS done(n INTEGER);"
	    "INSERT INTO done SELECT 0 WHERE NOT EXISTS (SELECT * FROM done);"
	    "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY,k INT,b);"
	    "CREATE INDEX IF NOT EXISTS tk ON t(k,b);"
	    "CREATE TABLE IF NOT EXISTS won(v INTEGER PRIMARY KEY,tag,i);"
	    "COMMIT");
}

/* ---- run -------------------------------------------------------------------*/

static void
transaction(long long n)
{
	int rows = n % 10 == 0 ? 60 : 4, size = n % 10 == 0 ? 2500 : 300;

	must(w.db[0], "BEGIN IMMEDIATE");
	run_sql("WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM c "
		"WHERE x<%d) INSERT INTO t(k,b) SELECT %lld*x%%89,"
		"rnd(%lld*1000+x,%d) FROM c",
	    rows, n, n, size);
	run_sql("UPDATE t SET k=k+1 WHERE id%%7=%lld", n % 7);
	if (n % 3 == 0)
		run_sql("DELETE FROM t WHERE id%%5=%lld", n % 5);
	if (n % 13 == 0)
		must(w.db[0], "PRAGMA incremental_vacuum");
	if (n % 17 == 0)
		run_sql("UPDATE t SET b=rnd(%lld,70000) WHERE id="
			"(SELECT max(id) FROM t)",
		    n);
	run_sql("UPDATE done SET n=%lld", n);
	must(w.db[0], "COMMIT");
}

static void
sync_now(const char *sql, long long n)
{
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(w.db[0], sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		model_fail("%s", sqlite3_errmsg(w.db[0]));
	(void)printf("s %lld %s\n", n, sqlite3_column_text(st, 0));
	(void)fflush(stdout);
	(void)sqlite3_finalize(st);
}

static void
go_on(long long last)
{
	long long n, sync = setting("LS_APP_SYNC");
	long long pace = setting("LS_APP_PACE");

	create();
	n = number(w.db[0], "SELECT n FROM done");
	say("c", n);
	while (n < last) {
		transaction(++n);
		say("c", n);
		if (n % 50 == 0)
			must(w.db[0], "VACUUM");
		if (sync > 0 && n % sync == 0)
			sync_now("PRAGMA litestream_sync", n);
		if (pace > 0)
			(void)usleep((useconds_t)pace);
	}
}

static void
show(void)
{
	sqlite3 *db = w.db[0];

	must(db, "BEGIN");
	must_be_whole(db, "show");
	(void)printf("n %lld hash %llx\n",
	    (long long)number(db, "SELECT n FROM done"),
	    (unsigned long long)content(db));
	must(db, "COMMIT");
}

/* ---- race ------------------------------------------------------------------*/

/* One row more than there are. 0: busy, or another was faster. */
static long long
win(const char *tag, long long i)
{
	char *sql = sqlite3_mprintf(
	    "INSERT INTO won SELECT count(*)+1,%Q,%lld FROM won;"
	    "INSERT INTO t(k,b) VALUES(%lld,rnd(%lld,500)); COMMIT",
	    tag, i, i, i);
	sqlite3 *db = w.db[0];
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	sqlite3_free(sql);
	if (rc == SQLITE_OK)
		return number(db, "SELECT max(v) FROM won");
	if ((rc & 0xff) != SQLITE_BUSY)
		model_fail("%s", sqlite3_errmsg(db));
	if (!sqlite3_get_autocommit(db))
		must(db, "ROLLBACK");
	(void)usleep(2000);
	return 0;
}

static void
race(const char *tag, long long last)
{
	long long sync = setting("LS_APP_SYNC"), v;

	for (long long i = 1; i <= last;) {
		if ((v = win(tag, i)) == 0)
			continue;
		say("c", v);
		if (sync > 0 && i % sync == 0)
			sync_now("PRAGMA litestream_sync", v);
		i++;
	}
	sync_now("PRAGMA litestream_sync", last);
}

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	register_vfs();
	(void)snprintf(w.uri, sizeof w.uri, "%s", argv[2]);
	world_open(&w, 0);
	if (strcmp(argv[1], "show") == 0)
		show();
	else if (strcmp(argv[1], "hash") == 0)
		(void)printf(
		    "hash %llx\n", (unsigned long long)content(w.db[0]));
	else if (strcmp(argv[1], "race") == 0 && argc == 5)
		race(argv[3], strtoll(argv[4], NULL, 10));
	else
		go_on(argc > 3 ? strtoll(argv[3], NULL, 10) : 1ll << 40);
	world_close(&w, 0);
	return 0;
}
