/* load.c -- the benchmarks' application: writes a database at full speed or at
 * a rate, and says how long its commits took.
 *
 *   bench_load fill DB BYTES             make a database of about BYTES
 *   bench_load run DB PAGES COMMITS RATE commit PAGES random pages at a time,
 *                                        RATE a second (0: full speed)
 * Every row fills one leaf page, so one UPDATE is one page of WAL. Half of a
 * row is random and half repeats: it compresses about two to one. The answer
 * is one line of JSON on stdout.
 *
 *  (1) IT CHECKPOINTS AS SQLITE DOES. The WAL hook that counts frames replaces
 *      SQLite's own automatic checkpoint, so it runs the same one: PASSIVE from
 *      1,000 frames on, inside the commit that crosses them.
 *  (2) A LATE COMMIT DOES NOT DELAY THE NEXT ONE'S START. Rates are kept
 *      against the clock at the start; latency is that of the commit alone,
 *      BEGIN to COMMIT.
 * Not here: what the daemon costs (run.py reads that from /proc). */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROW_BYTES 3900

static uint64_t seed = 88172645463325252u;

static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

static void
check(int rc, int want, sqlite3 *db, const char *what)
{
	if (rc == want)
		return;
	fprintf(stderr, "bench_load: %s: %s\n", what, sqlite3_errmsg(db));
	exit(1);
}

static void
sql(sqlite3 *db, const char *text)
{
	check(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, db, text);
}

static void
make_row(unsigned char row[static ROW_BYTES])
{
	for (int i = 0; i + 8 <= ROW_BYTES; i += 8) {
		uint64_t v =
		    i % 512 < 256 ? next_random() : 0x2020202020202020u;

		memcpy(row + i, &v, 8);
	}
}

static sqlite3 *
open_db(const char *path)
{
	sqlite3 *db = NULL;

	check(sqlite3_open(path, &db), SQLITE_OK, db, path);
	sqlite3_busy_timeout(db, 30000);
	sql(db, "PRAGMA journal_mode=WAL");
	sql(db, "PRAGMA synchronous=NORMAL");
	return db;
}

static int
fill(const char *path, int64_t bytes)
{
	unsigned char row[ROW_BYTES] = { 0 };
	sqlite3 *db = open_db(path);
	sqlite3_stmt *st = NULL;

	sql(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)");
	check(
	    sqlite3_prepare_v2(db, "INSERT INTO t(b) VALUES(?)", -1, &st, NULL),
	    SQLITE_OK, db, "prepare");
	sql(db, "BEGIN");
	for (int64_t i = 0; i < bytes / 4096; i++) {
		make_row(row);
		sqlite3_bind_blob(st, 1, row, ROW_BYTES, SQLITE_STATIC);
		check(sqlite3_step(st), SQLITE_DONE, db, "insert");
		sqlite3_reset(st);
		if (i % 20000 == 19999)
			sql(db, "COMMIT; PRAGMA wal_checkpoint; BEGIN");
	}
	sql(db, "COMMIT");
	sqlite3_finalize(st);
	sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	sqlite3_close(db);
	printf("{\"rows\": %lld}\n", (long long)(bytes / 4096));
	return 0;
}

struct frames {
	int64_t total;
	int last;
};

static int
on_commit(void *arg, sqlite3 *db, const char *name, int n)
{
	struct frames *f = arg;

	f->total += n >= f->last ? n - f->last : n; /* less: it was restarted */
	f->last = n;
	if (n >= 1000)
		sqlite3_wal_checkpoint_v2(
		    db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return SQLITE_OK;
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
report(const struct frames *f, uint64_t *took, int64_t n, uint64_t wall)
{
	qsort(took, (size_t)n, sizeof(*took), by_value);
	printf("{\"commits\": %lld, \"frames\": %lld, \"wal_bytes\": %lld, "
	       "\"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
	       "\"p999_us\": %.1f, \"max_us\": %.1f}\n",
	    (long long)n, (long long)f->total, (long long)f->total * 4120,
	    (double)wall / 1e9, (double)took[n / 2] / 1e3,
	    (double)took[n * 99 / 100] / 1e3,
	    (double)took[n * 999 / 1000] / 1e3, (double)took[n - 1] / 1e3);
}

static int64_t
count_rows(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	int64_t n;

	check(sqlite3_prepare_v2(db, "SELECT max(id) FROM t", -1, &st, NULL),
	    SQLITE_OK, db, "count");
	check(sqlite3_step(st), SQLITE_ROW, db, "count");
	n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}

static int
run(const char *path, int pages, int64_t commits, int rate)
{
	unsigned char row[ROW_BYTES] = { 0 };
	struct frames f = { 0 };
	sqlite3 *db = open_db(path);
	uint64_t *took = calloc((size_t)commits, sizeof(*took));
	sqlite3_stmt *st = NULL;
	uint64_t rows = (uint64_t)count_rows(db), begin;

	if (!took || rows == 0)
		return 1;
	seed ^= now_ns(); /* other pages at every run */
	sqlite3_wal_hook(db, on_commit, &f);
	check(sqlite3_prepare_v2(
		  db, "UPDATE t SET b=?1 WHERE id=?2", -1, &st, NULL),
	    SQLITE_OK, db, "prepare");
	begin = now_ns();
	for (int64_t i = 0; i < commits; i++) {
		uint64_t t;

		if (rate > 0)
			sleep_until(
			    begin + (uint64_t)i * 1000000000u / (uint64_t)rate);
		t = now_ns();
		sql(db, "BEGIN IMMEDIATE");
		for (int p = 0; p < pages; p++) {
			make_row(row);
			sqlite3_bind_blob(st, 1, row, ROW_BYTES, SQLITE_STATIC);
			sqlite3_bind_int64(
			    st, 2, (int64_t)(next_random() % rows) + 1);
			check(sqlite3_step(st), SQLITE_DONE, db, "update");
			sqlite3_reset(st);
		}
		sql(db, "COMMIT");
		took[i] = now_ns() - t;
	}
	report(&f, took, commits, now_ns() - begin);
	sqlite3_finalize(st);
	sqlite3_close(db);
	free(took);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "fill") == 0)
		return fill(argv[2], strtoll(argv[3], NULL, 10));
	if (argc == 6 && strcmp(argv[1], "run") == 0)
		return run(argv[2], (int)strtol(argv[3], NULL, 10),
		    strtoll(argv[4], NULL, 10), (int)strtol(argv[5], NULL, 10));
	fprintf(stderr, "usage: bench_load fill DB BYTES | "
			"run DB PAGES COMMITS RATE\n");
	return 2;
}
