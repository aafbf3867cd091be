/* test_legacy.c -- v0.3 replicas made by hand from SQLite's own files: what
 * comes out must be what SQLite's checkpoint makes of them. */
#include "fault.h"
#include "fixture.h"

#include "base/bytes.h"
#include "replica/legacy.h"

#include <errno.h>
#include <sqlite3.h>

#define GEN "00112233445566aa"

static sqlite3 *
open_db(uint32_t page_size)
{
	sqlite3 *db;
	char text[200];

	CHECK(sqlite3_open(T("app.db"), &db) == SQLITE_OK);
	(void)snprintf(text, sizeof text,
	    "PRAGMA page_size=%u; PRAGMA journal_mode=WAL;"
	    "PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=5;"
	    "CREATE TABLE t(k INTEGER PRIMARY KEY, b);"
	    "PRAGMA wal_checkpoint(TRUNCATE);",
	    page_size);
	CHECK(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
	return db;
}

static void
sql(sqlite3 *db, const char *text)
{
	CHECK(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
}

static const char *const steps[] = {
	("INSERT INTO t(b) SELECT randomblob(900) FROM json_each("
	 "'[1,2,3,4,5,6,7,8,9]')"),
	"UPDATE t SET b=randomblob(700) WHERE k%3=0",
	"INSERT INTO t(b) VALUES(randomblob(30000))",
	"DELETE FROM t WHERE length(b)>10000",
	"VACUUM",
	"INSERT INTO t(b) VALUES(1)",
};

/* Store bytes as one LZ4 frame of stored blocks (see test_unlz4.c). */
static void
put_lz4(struct fx *x, const char *key, const uint8_t *p, size_t n, int64_t ms)
{
	static const uint8_t head[] = { 4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82 };
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(64 << 20);
	struct ls_put o = { .timestamp_ms = ms };
	uint8_t len[4];

	CHECK_OK(ls_buf_add(&b, head, sizeof head, &e));
	for (size_t at = 0; at < n;) {
		uint32_t k = (uint32_t)LS_MIN(n - at, (size_t)65536);

		k |= 0x80000000u;
		for (int i = 0; i < 4; i++)
			len[i] = (uint8_t)(k >> 8 * i);
		k &= 0x7fffffff;
		CHECK_OK(ls_buf_add(&b, len, 4, &e));
		CHECK_OK(ls_buf_add(&b, p + at, k, &e));
		at += k;
	}
	memset(len, 0, 4);
	CHECK_OK(ls_buf_add(&b, len, 4, &e));
	CHECK_OK(ls_store_put(x->st, key, ls_buf_span(&b), &o, NULL, &e));
	ls_buf_free(&b);
}

static void
put_snapshot(struct fx *x, uint32_t index, int64_t ms)
{
	struct ls_span db = test_read_file(T("app.db"));
	char key[128];

	(void)snprintf(key, sizeof key,
	    "generations/" GEN "/snapshots/%08x.snapshot.lz4", index);
	put_lz4(x, key, db.p, db.n, ms);
}

/* The whole WAL as it is now, in segments of about `piece` bytes. */
static void
put_wal(struct fx *x, uint32_t index, size_t piece, int64_t ms)
{
	struct ls_span wal = test_read_file(T("app.db-wal"));
	char key[128];

	for (size_t at = 0; at < wal.n; at += piece) {
		(void)snprintf(key, sizeof key,
		    "generations/" GEN "/wal/%08x_%08zx.wal.lz4", index, at);
		put_lz4(x, key, wal.p + at, LS_MIN(piece, wal.n - at), ms);
	}
}

static enum ls_rc
restore(struct fx *x, int64_t before_ns, struct ls_err *e)
{
	struct ls_legacy l = { 0 };
	struct ls_restore_opts o = {
		.output = T("out"), .parallelism = 3, .par = &ls_par_threads
	};
	enum ls_rc rc = ls_legacy_list(x->st, &l, NULL, e);

	if (rc == LS_OK)
		rc = ls_legacy_restore(x->st, &l, before_ns, &o, NULL, NULL, e);
	ls_legacy_fini(&l);
	return rc;
}

/* A copy of the files as they are, checkpointed by SQLite. */
static struct ls_span
by_sqlite(void)
{
	struct ls_span b = test_read_file(T("app.db"));
	sqlite3 *db;

	test_write_file(T("want"), b.p, b.n);
	b = test_read_file(T("app.db-wal"));
	test_write_file(T("want-wal"), b.p, b.n);
	CHECK(sqlite3_open(T("want"), &db) == SQLITE_OK);
	sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	CHECK(sqlite3_close(db) == SQLITE_OK);
	return test_read_file(T("want"));
}

static bool
out_is(struct ls_span want)
{
	struct ls_span got = test_read_file(T("out"));

	return got.n == want.n && memcmp(got.p, want.p, want.n) == 0;
}

static void
drop(const char *name)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_remove_tree(T(name), &e));
}

TEST(legacy_against_sqlite)
{
	for (uint32_t ps = 512; ps <= 65536; ps *= 2) {
		struct ls_err e = { 0 };
		struct fx x;
		sqlite3 *db;

		fx_open(&x, ps);
		db = open_db(ps);
		put_snapshot(&x, 7, 1000);
		for (uint32_t index = 7; index < 10; index++) {
			for (size_t i = 0; i < LS_COUNT(steps); i++)
				sql(db, steps[(i + index) % LS_COUNT(steps)]);
			/* An open transaction that spilled is not there. */
			sql(db, "BEGIN; UPDATE t SET b=randomblob(800)");
			put_wal(&x, index, 50000 + index, 2000);
			CHECK_OK(restore(&x, 0, &e));
			CHECK(out_is(by_sqlite()));
			CHECK_OK(ls_check_database(T("out"), 2, &e));
			drop("out");
			sql(db, "ROLLBACK; PRAGMA wal_checkpoint(TRUNCATE)");
		}
		CHECK(sqlite3_close(db) == SQLITE_OK);
		fx_close(&x);
		drop("rep"), drop("app.db"), drop("want");
	}
}

/* A history of two indexes in pieces; leaves the expected state in "want". */
static struct ls_span
history(struct fx *x)
{
	sqlite3 *db;
	struct ls_span want;

	fx_open(x, 4096);
	db = open_db(4096);
	put_snapshot(x, 0, 1000);
	for (uint32_t index = 0; index < 3; index++) {
		if (index > 0)
			sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
		sql(db, steps[0]), sql(db, steps[1]), sql(db, steps[5]);
		put_wal(x, index, 9000, 2000 + index * 1000);
	}
	want = by_sqlite();
	CHECK(sqlite3_close(db) == SQLITE_OK);
	return want;
}

TEST(legacy_missing_segment)
{
	struct ls_err e = { 0 };
	struct fx x;

	(void)history(&x);
	drop("rep/generations/" GEN "/wal/00000001_00002328.wal.lz4");
	CHECK_RC(restore(&x, 0, &e), LS_EGAP);
	CHECK_STR(e.msg, "apply WAL segments: missing WAL segment: expected "
			 "1/9000, got 1/18000");
	drop("rep/generations/" GEN "/wal/00000000_00000000.wal.lz4");
	CHECK_RC(restore(&x, 0, &e), LS_EGAP);
	CHECK_STR(e.msg, "apply WAL segments: missing WAL segment: expected "
			 "0/0, got 0/9000");
	CHECK(!ls_exists(T("out")) && !ls_exists(T("out.tmp")));
	fx_close(&x);
}

TEST(legacy_times)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_span want = history(&x);

	CHECK_OK(restore(&x, 4000 * 1000000ll, &e));
	CHECK(out_is(want));
	drop("out");
	CHECK_OK(restore(&x, 1500 * 1000000ll, &e)); /* the snapshot alone */
	CHECK(!out_is(want));
	CHECK_OK(ls_check_database(T("out"), 2, &e));
	drop("out");
	CHECK_RC(restore(&x, 999 * 1000000ll, &e), LS_ENOTFOUND);
	CHECK_STR(e.msg, "no snapshots available");
	fx_close(&x);
}

/* One bit in a frame: an error where more was built upon it, else the state
 * before it. */
TEST(legacy_damaged_frame)
{
	static const char *const names[] = { "rep/generations/" GEN
					     "/wal/00000001_00002328.wal.lz4",
		"rep/generations/" GEN "/wal/00000002_00002328.wal.lz4" };

	for (size_t i = 0; i < 2; i++) {
		struct ls_err e = { 0 };
		struct fx x;
		struct ls_span want = history(&x), b;
		static uint8_t bad[10000];

		b = test_read_file(T(names[i]));
		CHECK(b.n < sizeof bad);
		memcpy(bad, b.p, b.n);
		bad[5000] ^= 1;
		test_write_file(T(names[i]), bad, b.n);
		if (i == 0) {
			CHECK_RC(restore(&x, 0, &e), LS_ECORRUPT);
			CHECK(!ls_exists(T("out")));
		} else {
			CHECK_OK(restore(&x, 0, &e));
			CHECK(!out_is(want));
			CHECK_OK(ls_check_database(T("out"), 2, &e));
			drop("out");
		}
		fx_close(&x);
		drop("rep"), drop("app.db"), drop("want");
	}
}

TEST(legacy_names)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_span want = history(&x);
	struct ls_legacy l = { 0 };

	put_lz4(&x, "generations/" GEN "/snapshots/0000000.snapshot.lz4",
	    (const uint8_t *)"x", 1, 9000);
	put_lz4(&x, "generations/" GEN "/snapshots/00000009.snapshot.lz4.age",
	    (const uint8_t *)"x", 1, 9000);
	put_lz4(&x, "generations/" GEN "/wal/00000003_0000000.wal.lz4",
	    (const uint8_t *)"x", 1, 9000);
	put_lz4(&x, "generations/nothex/snapshots/00000000.snapshot.lz4",
	    (const uint8_t *)"x", 1, 9000);
	CHECK_OK(ls_legacy_list(x.st, &l, NULL, &e));
	CHECK_EQ(l.n, 1);
	CHECK_EQ(l.generations, 1);
	CHECK_OK(restore(&x, 0, &e));
	CHECK(out_is(want));
	ls_legacy_fini(&l);
	fx_close(&x);
}

static bool
preferred(struct fx *x, int64_t ltx_ms, uint64_t min, int64_t before_ms)
{
	struct ls_err e = { 0 };
	struct ls_legacy l = { 0 };
	struct ls_file f = {
		.min_txid = min, .max_txid = 9, .created_ns = ltx_ms * 1000000
	};
	struct ls_files ltx = { .v = &f, .n = ltx_ms != 0 };
	bool yes;

	CHECK_OK(ls_legacy_list(x->st, &l, NULL, &e));
	CHECK_OK(ls_legacy_preferred(
	    x->st, &l, &ltx, before_ms * 1000000, &yes, NULL, &e));
	ls_legacy_fini(&l);
	return yes;
}

TEST(legacy_choice)
{
	struct fx x;

	fx_open(&x, 4096);
	CHECK(!preferred(&x, 0, 1, 0)); /* nothing at all */
	CHECK(!preferred(&x, 10, 1, 0));
	fx_close(&x);
	drop("rep");
	(void)history(&x); /* snapshot at 1000, newest segment at 4000 */
	CHECK(preferred(&x, 0, 1, 0));
	CHECK(preferred(&x, 3999, 1, 0));
	CHECK(!preferred(&x, 4001, 1, 0));
	CHECK(preferred(&x, 2000, 1, 1500));  /* the LTX base is too young */
	CHECK(!preferred(&x, 2000, 1, 2500)); /* and later than the snapshot */
	CHECK(preferred(&x, 2000, 5, 2500));  /* no base */
	CHECK(!preferred(&x, 500, 1, 900));
	fx_close(&x);
}

TEST(legacy_leaves_nothing_on_fault)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_span want = history(&x);

	for (int n = 1;; n++) {
		int fds = test_open_fds();
		enum ls_rc rc;

		e = (struct ls_err){ 0 };
		want = test_read_file(T("want")); /* few are kept */
		fault_reads(n % 2);
		fault_arm(n / 2 + 1, n % 3 ? EIO : ENOSPC);
		rc = restore(&x, 0, &e);
		fault_disarm();
		fault_reads(0);
		CHECK_EQ(test_open_fds(), fds);
		CHECK(!ls_exists(T("out.tmp")) && !ls_exists(T("out.tmp-wal")));
		CHECK(rc == LS_OK ? out_is(want) : !ls_exists(T("out")));
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		drop("out");
		if (!fault_fired() && n % 2) {
			CHECK(rc == LS_OK && n > 40);
			break;
		}
	}
	fx_close(&x);
}
