/* Parking, waking, restarts: each proof, and each look-alike of one. */
#include "app.h"

#include "capture/internal.h"

#include <sys/stat.h>
#include <unistd.h>

static void
fresh(struct app *a, const char *db)
{
	app_start(a, db);
	app_ok(a, "PRAGMA journal_mode=WAL");
	app_ok(a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
	app_ok(a, "INSERT INTO t VALUES(0, randomblob(400000))");
}

static void
park(struct ls_capture *c)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_capture_park(c, &e));
}

static void
meta_unlink(const char *name)
{
	char *meta = ls_meta_path(T("db")), path[1024];

	(void)snprintf(path, sizeof path, "%s/%s", meta, name);
	CHECK(unlink(path) == 0);
	ls_free(meta);
}

static bool
due(struct ls_capture *c)
{
	struct ls_capture_pos p;

	ls_capture_position(c, &p);
	return p.resync_due;
}

/* The end of each test: everything equals the file. */
static void
finish(struct ls_capture *c, struct app *a)
{
	check_merged_is_view(c, "db");
	app_ok(a, "REPLACE INTO t VALUES(77, randomblob(5000))");
	CHECK(cap_step(c).kind == LS_CAP_FRAMES);
	CHECK(cap_header(c, c->pos.txid).has_db_checksum);
	cap_truncate(c);
	app_close(a);
	cap_close(c);
	check_merged_is_file("db");
}

static struct ls_capture *
start(struct app *a)
{
	struct ls_capture *c;

	fresh(a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(a, "INSERT INTO t VALUES(1, randomblob(9000))");
	(void)cap_step(c);
	return c;
}

TEST(wake_proof_1)
{
	struct app a;
	struct ls_capture *c = start(&a);

	park(c);
	c = cap_open("db");
	CHECK(!due(c) && !ls_capture_changed(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	CHECK_EQ(c->pos.txid, 2);
	cap_close(c); /* not parked: nothing is backfilled */
	app_ok(&a, "INSERT INTO t VALUES(2, 'x')");
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	finish(c, &a);
}

TEST(wake_proof_2)
{
	struct app a;
	struct ls_capture *c = start(&a);

	park(c);
	app_ok(&a, "INSERT INTO t VALUES(2, 'the next generation')");
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	CHECK_EQ(cap_header(c, c->pos.txid).wal_offset, 32);
	finish(c, &a);
}

TEST(wake_captures_a_backfilled_tail)
{
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	app_ok(&a, "INSERT INTO t VALUES(2, 'x')");
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(PASSIVE)"), 0);
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(c->pos.txid, 3); /* captured under the write lock */
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	app_ok(&a, "INSERT INTO t VALUES(3, 'restarts')");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	finish(c, &a);
}

TEST(killed_after_the_file)
{
	struct app a;
	struct ls_capture *c = start(&a);
	struct ls_err e = { 0 };

	CHECK_OK(ls_capture_save(c, NULL, &e));
	for (int i = 0; i < 3; i++) {
		app_ok(&a, "REPLACE INTO t VALUES(2, randomblob(20000))");
		(void)cap_step(c);
	}
	app_ok(&a, "REPLACE INTO t VALUES(3, 'not captured')");
	cap_abandon(c);
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(c->pos.txid, 5);
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	finish(c, &a);
}

TEST(record_lost)
{
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	meta_unlink("litestreamd-position");
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	finish(c, &a);
}

TEST(record_lost_after_a_copy)
{
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	cap_close(c);
	meta_unlink("litestreamd-position");
	app_ok(&a, "INSERT INTO t VALUES(1, 'x')");
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	finish(c, &a);
}

TEST(map_lost_is_rebuilt_without_a_file)
{
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	meta_unlink("litestreamd-pagemap");
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	CHECK_EQ(c->pos.txid, 2);
	CHECK(ls_pagemap_valid(c->map));
	finish(c, &a);
}

TEST(unproven_position_gives_a_difference)
{
	struct ls_captured got;
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	app_ok(&a, "INSERT INTO t VALUES(2, 'x')");
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	app_ok(&a, "INSERT INTO t VALUES(3, 'y')");
	c = cap_open("db");
	CHECK(due(c));
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_DIFF);
	CHECK(got.pages < 8);
	CHECK(!due(c));
	finish(c, &a);
}

TEST(closed_by_the_last_application)
{
	struct ls_captured got;
	struct app a;
	struct ls_capture *c = start(&a);

	park(c);
	app_ok(&a, "INSERT INTO t VALUES(2, 'x')");
	app_close(&a); /* checkpoints and deletes the WAL */
	CHECK(!ls_exists(T("db-wal")));
	c = cap_open("db");
	CHECK(due(c));
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_DIFF);
	CHECK(got.pages < 8);
	cap_close(c);
	c = cap_open("db"); /* an empty WAL proves nothing ... */
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE); /* ... and costs no file */
	CHECK(!due(c));
	app_start(&a, "db");
	finish(c, &a);
}

/* Parked at frame N of a short generation in a long file; then somebody
 * recovers, appends behind N, checkpoints and restarts. With a limit the file
 * is cut behind frame N, which hides what was appended. */
static void
append_then_restart(struct app *a, struct ls_capture *c, bool cut)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	int64_t size;
	uint32_t n;

	app_ok(a, "REPLACE INTO t VALUES(0, randomblob(400000))");
	(void)cap_step(c);
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	for (int i = 0; i < 6; i++)
		app_ok(a, "REPLACE INTO t VALUES(2, 'short %d')", i);
	(void)cap_step(c);
	n = c->pos.frame;
	CHECK(n >= 6);
	app_kill(a);
	park(c);
	size = ls_file_size(T("db-wal"));
	CHECK(unlink(T("db-shm")) == 0);
	app_start(a, "db");
	app_ok(a, "INSERT INTO t VALUES(3, 'appended')");
	CHECK_EQ(app_int(a, "PRAGMA wal_checkpoint(RESTART)"), 0);
	if (cut)
		app_ok(a, "PRAGMA journal_size_limit=%u", 32 + n * 4120);
	app_ok(a, "PRAGMA user_version=5"); /* one frame, a new generation */
	CHECK_EQ(ls_file_size(T("db-wal")), cut ? 32 + n * 4120 : size);
}

TEST(lookalike_appended_then_restarted)
{
	for (int cut = 0; cut < 2; cut++) {
		char *meta = ls_meta_path(T("db"));
		struct ls_err e = { 0 };
		struct app a;
		struct ls_capture *c = start(&a);

		append_then_restart(&a, c, cut);
		c = cap_open("db");
		CHECK(due(c));
		CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
		finish(c, &a);
		CHECK(unlink(T("db")) == 0);
		CHECK_OK(ls_remove_tree(meta, &e));
		ls_free(meta);
	}
}

TEST(lookalike_restarted_twice)
{
	struct app a;
	struct ls_capture *c = start(&a);

	park(c);
	for (int i = 2; i < 4; i++) {
		app_ok(&a, "INSERT INTO t VALUES(%d, 'x')", i);
		CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(RESTART)"), 0);
	}
	app_ok(&a, "INSERT INTO t VALUES(4, 'x')");
	c = cap_open("db");
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	finish(c, &a);
}

TEST(lookalike_tail_lost_and_written_anew)
{
	struct app a;
	struct ls_capture *c = start(&a);
	int64_t before = ls_file_size(T("db-wal"));

	app_ok(&a, "INSERT INTO t VALUES(2, 'lost in the power failure')");
	(void)cap_step(c);
	app_kill(&a);
	cap_close(c);
	CHECK(truncate(T("db-wal"), before) == 0);
	CHECK(unlink(T("db-shm")) == 0);
	app_start(&a, "db"); /* the same salts over other frames */
	app_ok(&a, "INSERT INTO t VALUES(3, 'another')");
	app_ok(&a, "INSERT INTO t VALUES(4, 'and one more')");
	c = cap_open("db");
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	finish(c, &a);
}

TEST(lookalike_cut_with_the_record_older)
{
	struct app a;
	struct ls_capture *c = start(&a);
	struct ls_err e = { 0 };
	int64_t before = ls_file_size(T("db-wal"));

	CHECK_OK(ls_capture_save(c, NULL, &e));
	app_ok(&a, "INSERT INTO t VALUES(2, 'lost in the power failure')");
	(void)cap_step(c);
	app_kill(&a);
	cap_abandon(c); /* the file is there, the record is older */
	CHECK(truncate(T("db-wal"), before) == 0);
	CHECK(unlink(T("db-shm")) == 0);
	app_start(&a, "db");
	app_ok(&a, "INSERT INTO t VALUES(3, 'another in the power failure')");
	app_ok(&a, "INSERT INTO t VALUES(4, 'and one more')");
	c = cap_open("db");
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	finish(c, &a);
}

TEST(no_map_and_no_proof_is_a_copy)
{
	struct ls_capture_pos pos;
	struct ls_captured got;
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	meta_unlink("litestreamd-pagemap");
	app_ok(&a, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_ok(&a, "INSERT INTO t VALUES(3, 'y')");
	c = cap_open("db");
	ls_capture_position(c, &pos);
	CHECK(pos.resync_due && pos.wants_base);
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_COPY_ALL);
	CHECK_EQ(got.txid, 3);
	CHECK(got.reason[0] != '\0');
	finish(c, &a);
}

TEST(page_size_changed)
{
	struct ls_captured got;
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	app_ok(&a, "PRAGMA journal_mode=DELETE");
	app_ok(&a, "PRAGMA page_size=8192");
	app_ok(&a, "VACUUM");
	app_ok(&a, "PRAGMA journal_mode=WAL");
	c = cap_open("db");
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_COPY_ALL);
	CHECK_STR(got.reason, "page size changed");
	CHECK_EQ(got.txid, 3);
	CHECK_EQ(cap_header(c, 3).page_size, 8192);
	app_ok(&a, "INSERT INTO t VALUES(3, 'y')");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	app_close(&a);
	cap_close(c);
}

TEST(database_replaced)
{
	struct app a;
	struct ls_capture *c = start(&a);

	cap_close(c);
	app_close(&a);
	CHECK(unlink(T("db")) == 0);
	fresh(&a, "db");
	app_ok(&a, "INSERT INTO t VALUES(8, randomblob(100000))");
	c = cap_open("db");
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	finish(c, &a);
}

/* ---- rebase ---------------------------------------------------------------- */

static enum ls_rc
pages_of_file(void *arg,
    enum ls_rc (*fn)(void *, uint32_t, const uint8_t *, struct ls_err *),
    void *fn_arg, struct ls_err *e)
{
	struct ls_span *f = arg;

	for (uint32_t p = 0; p < f->n / 4096; p++) {
		enum ls_rc rc = fn(fn_arg, p + 1, f->p + (size_t)p * 4096, e);
		if (rc != LS_OK)
			return rc;
	}
	return LS_OK;
}

TEST(rebase_publishes_the_difference)
{
	struct ls_captured got;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);
	struct ls_span was;

	cap_truncate(c);
	cap_close(c);
	was = test_read_file(T("db"));
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(5, 'newer')");
	struct ls_base base = { .txid = 40,
		.lineage = 7,
		.page_size = 4096,
		.commit = (uint32_t)(was.n / 4096),
		.pages = pages_of_file,
		.arg = &was };
	CHECK_OK(ls_capture_rebase(c, &base, &e));
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_DIFF);
	CHECK_EQ(got.txid, 41);
	CHECK(got.pages < 8);
	CHECK_EQ(cap_header(c, 41).node_id, 7);
	CHECK(cap_header(c, 41).has_db_checksum);
	base.pages = NULL;
	base.txid = 50;
	CHECK_OK(ls_capture_rebase(c, &base, &e));
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_COPY_ALL);
	CHECK_EQ(got.txid, 51);
	base.txid = 0;
	CHECK_OK(ls_capture_rebase(c, &base, &e));
	CHECK_EQ(cap_step(c).txid, 1);
	finish(c, &a);
}

TEST(merged_spool_goes_back)
{
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);

	for (int i = 0; i < 5; i++) {
		app_ok(&a, "REPLACE INTO t VALUES(%d, randomblob(9000))", i);
		(void)cap_step(c);
	}
	CHECK_EQ(c->pos.txid, 7);
	CHECK_OK(ls_capture_save(c, NULL, &e));
	CHECK_OK(ls_capture_merge(c, 2, &e));
	CHECK_EQ(c->pos.txid, 3);
	cap_abandon(c); /* record and map still say 7 */
	c = cap_open("db");
	CHECK(!due(c));
	CHECK_EQ(c->pos.txid, 3);
	app_ok(&a, "INSERT INTO t VALUES(9, 'x')");
	CHECK_EQ(cap_step(c).txid, 4);
	finish(c, &a);
}
