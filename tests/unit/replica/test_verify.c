/* test_verify.c -- holes, missing pages, and the live comparison. */
#include "replica/verify.h"

#include "model.h"

#include <sqlite3.h>

static void
commits(struct md *m, int n)
{
	while (n-- > 0) {
		md_tick(m, MD_MINUTE);
		md_commit(m);
	}
}

static void
compact(struct md *m, int level)
{
	struct ls_err e = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	const struct ls_compact_opts o = { .newest = m->n };
	struct ls_compacted out;

	CHECK_OK(ls_compact(m->r, level, &o, st, &out, NULL, &e));
}

static void
verify(struct md *m, struct ls_verified *v)
{
	struct ls_err e = { 0 };

	ls_verified_fini(v);
	CHECK_OK(ls_verify(m->r, &ls_par_threads, 4, v, NULL, &e));
}

TEST(verify_names_the_gap)
{
	struct md m;
	struct ls_verified v = { .ok = false };

	md_open(&m);
	verify(&m, &v);
	CHECK(!v.ok && strstr(v.problem.msg, "empty") != NULL);
	commits(&m, 9);
	verify(&m, &v);
	CHECK(v.ok);
	CHECK_EQ(v.checked_txid, 9);
	CHECK_EQ(v.checked_files, 9);
	CHECK_EQ(v.lineage, m.lineage);
	md_delete(&m, 0, 4, 4);
	md_delete(&m, 0, 5, 5);
	verify(&m, &v);
	CHECK(!v.ok);
	CHECK_EQ(v.n_gaps, 1);
	CHECK_EQ(v.gaps[0].level, 0);
	CHECK_EQ(v.gaps[0].min, 4);
	CHECK_EQ(v.gaps[0].max, 5);
	CHECK_EQ(v.checked_txid, 3);
	CHECK_EQ(v.checked_files, 3);
	md_delete(&m, 0, 1, 1);
	verify(&m, &v);
	CHECK(!v.ok && strstr(v.problem.msg, "no full copy") != NULL);
	ls_verified_fini(&v);
	md_close(&m);
}

TEST(verify_sees_a_hole_that_sources_fill)
{
	struct md m;
	struct ls_verified v = { .ok = false };

	md_open(&m);
	for (int i = 0; i < 3; i++) {
		commits(&m, 4);
		compact(&m, 1); /* 2-4 5-8 9-12 */
	}
	verify(&m, &v);
	CHECK(v.ok);
	md_delete(&m, 1, 5, 8);
	md_check(&m, 12); /* level 0 still fills it */
	verify(&m, &v);
	CHECK(!v.ok);
	CHECK_EQ(v.n_gaps, 1);
	CHECK_EQ(v.gaps[0].level, 1);
	CHECK_EQ(v.gaps[0].min, 5);
	CHECK_EQ(v.gaps[0].max, 8);
	CHECK_EQ(v.checked_txid, 12);
	ls_verified_fini(&v);
	md_close(&m);
}

/* What retention and a change of page size leave is no hole. */
TEST(verify_after_retention)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_verified v = { .ok = false };
	struct ls_ltx_header h;
	struct ls_retained out;
	struct ls_retain_opts o = { .retention_ns = 30 * MD_MINUTE,
		.l0_retention_ns = MD_MINUTE };
	size_t deleted = 0;

	md_open(&m);
	for (int i = 0; i < 8; i++) {
		if (i == 4)
			md_resize(&m, 1024);
		commits(&m, 10);
		compact(&m, 1);
		if (i % 2)
			md_snapshot(&m, &h);
		verify(&m, &v);
		CHECK(v.ok);
		o.now_ns = m.now_ns + 2 * MD_MINUTE;
		CHECK_OK(ls_retain(m.r, &o, NULL, &out, NULL, &e));
		for (int l = 0; l < LS_LEVELS; l++)
			deleted += out.deleted[l];
		verify(&m, &v);
		if (!v.ok)
			test_fail(__FILE__, __LINE__, "%d: %zu gaps, %s", i,
			    v.n_gaps, v.problem.msg);
		CHECK_EQ(v.checked_txid, m.n);
		md_check(&m, m.n);
	}
	CHECK(deleted > 70);
	ls_verified_fini(&v);
	md_close(&m);
}

/* Level 0 begins in the middle of a file of level 1. */
TEST(verify_after_upstreams_retention)
{
	struct md m;
	struct ls_verified v = { .ok = false };
	struct ls_ltx_header h;

	md_open(&m);
	commits(&m, 4);
	compact(&m, 1); /* 2-4 */
	md_snapshot(&m, &h);
	commits(&m, 4);
	compact(&m, 1); /* 5-8 */
	commits(&m, 4);
	for (uint64_t t = 1; t <= 6; t++)
		md_delete(&m, 0, t, t);
	verify(&m, &v);
	CHECK(v.ok);
	CHECK_EQ(v.checked_txid, 12);
	md_check(&m, 12);
	md_delete(&m, 0, 10, 10);
	verify(&m, &v);
	CHECK(!v.ok);
	CHECK_EQ(v.n_gaps, 1);
	CHECK_EQ(v.gaps[0].min, 10);
	CHECK_EQ(v.gaps[0].max, 10);
	md_delete(&m, 1, 5, 8);
	verify(&m, &v);
	CHECK(!v.ok);
	CHECK_EQ(v.gaps[0].min, 5);
	CHECK_EQ(v.gaps[0].max, 6);
	ls_verified_fini(&v);
	md_close(&m);
}

/* A file of the newest plan without a page by which the database grows. */
TEST(verify_finds_missing_pages)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_verified v = { .ok = false };
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	uint64_t was;
	char key[LS_KEY_MAX];

	md_open(&m);
	do
		commits(&m, 1);
	while (m.n < 3 || m.s[m.n].commit < m.s[m.n - 1].commit + 2);
	was = m.s[m.n].changed;
	m.s[m.n].changed &= ~(1u << (m.s[m.n].commit - 2));
	CHECK(was != m.s[m.n].changed);
	md_file(&m, m.n, &b);
	ls_ltx_key(ls_store_layout(m.st), 0, m.n, m.n, key);
	CHECK_OK(ls_store_put(m.st, key, ls_buf_span(&b), NULL, NULL, &e));
	ls_buf_free(&b);
	verify(&m, &v);
	CHECK(!v.ok);
	CHECK_EQ(v.n_gaps, 0);
	CHECK_EQ(v.problem.rc, LS_ECORRUPT);
	CHECK(strstr(v.problem.msg, "without page") != NULL);
	ls_verified_fini(&v);
	md_close(&m);
}

/* ---- the live database -------------------------------------------------------*/

static void
sql(sqlite3 *db, const char *text)
{
	char *msg = NULL;

	if (sqlite3_exec(db, text, NULL, NULL, &msg) != SQLITE_OK)
		test_fail(__FILE__, __LINE__, "%s: %s", text, msg);
}

TEST(live_comparison)
{
	struct ls_err e = { 0 };
	sqlite3 *db = NULL;
	bool equal = false;
	uint32_t pgno = 0;
	struct ls_span raw;
	uint8_t *bad;

	CHECK_EQ(sqlite3_open(T("live.db"), &db), SQLITE_OK);
	sql(db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
		"CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(20000));"
		"PRAGMA wal_checkpoint(TRUNCATE)");
	raw = test_read_file(T("live.db"));
	test_write_file(T("copy.db"), raw.p, raw.n);
	CHECK_OK(
	    ls_compare_live(T("copy.db"), T("live.db"), &equal, &pgno, &e));
	CHECK(equal);
	/* A commit that lies in the WAL only. */
	sql(db, "INSERT INTO t VALUES(randomblob(9000))");
	CHECK_OK(
	    ls_compare_live(T("copy.db"), T("live.db"), &equal, &pgno, &e));
	CHECK(!equal);
	CHECK(pgno > 0);
	sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	raw = test_read_file(T("live.db"));
	bad = malloc(raw.n);
	CHECK(bad != NULL);
	memcpy(bad, raw.p, raw.n);
	bad[3 * 4096 + 77] ^= 1;
	test_write_file(T("copy.db"), bad, raw.n);
	free(bad);
	CHECK_OK(
	    ls_compare_live(T("copy.db"), T("live.db"), &equal, &pgno, &e));
	CHECK(!equal);
	CHECK_EQ(pgno, 4);
	CHECK(!ls_exists(T("copy.db.live")));
	CHECK_RC(ls_compare_live(T("copy.db"), T("none.db"), &equal, &pgno, &e),
	    LS_ENOTFOUND);
	CHECK(!ls_exists(T("none.db")));
	sqlite3_close(db);
}
