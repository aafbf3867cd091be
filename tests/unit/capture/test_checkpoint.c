/* Two-phase checkpoints, the hook, torn headers, views. */
#include "app.h"

#include "capture/internal.h"

#include <unistd.h>

static void
fresh(struct app *a, const char *db)
{
	app_start(a, db);
	app_ok(a, "PRAGMA journal_mode=WAL");
	app_ok(a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
}

TEST(checkpoint_under_live_writers)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a, w[3];
	int restarts = 0;
	enum ls_rc rc;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	for (unsigned i = 0; i < 3; i++)
		app_storm(&w[i], "db", i + 1);
	for (int i = 0; restarts < 40; i++) {
		CHECK(i < 20000);
		(void)cap_step(c);
		rc = LS_OK;
		if (i % 3 == 0) {
			rc = ls_capture_checkpoint(c,
			    i % 4 == 0 ? LS_CKPT_TRUNCATE : LS_CKPT_RESTART, &k,
			    &e);
			restarts += rc == LS_OK && k.restarted;
		}
		if (rc != LS_OK && !ls_rc_retry(rc))
			CHECK_OK(rc);
		CHECK(c->due == LS_DUE_NONE);
		if (i % 40 == 7)
			check_merged_is_view(c, "db");
	}
	for (int i = 0; i < 3; i++)
		app_close(&w[i]);
	cap_truncate(c);
	CHECK_EQ(app_int(&a, "SELECT count(*) FROM pragma_integrity_check "
			     "WHERE integrity_check<>'ok'"),
	    0);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(restart_blocked_by_a_reader)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a, b;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_start(&b, "db");
	app_ok(&a, "INSERT INTO t VALUES(1, 'seen')");
	app_ok(&b, "BEGIN; SELECT * FROM t");
	app_ok(&a, "INSERT INTO t VALUES(2, 'not seen')");
	(void)cap_step(c);
	c->conf.min_checkpoint_pages = 1;
	CHECK_EQ(
	    ls_capture_checkpoint_due(c, ls_sys->mono_ns()), LS_CKPT_RESTART);
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	CHECK(!k.restarted);
	CHECK(k.done < k.log);
	CHECK_EQ(k.locked_ns, 0);
	CHECK_EQ(k.blocked_by, b.pid);
	CHECK_EQ(ls_capture_checkpoint_due(c, c->retry_ns - 1), LS_CKPT_NONE);
	CHECK_EQ(ls_capture_checkpoint_due(c, c->retry_ns), LS_CKPT_RESTART);
	app_ok(&a, "INSERT INTO t VALUES(3, 'not stopped')");
	CHECK_RC(ls_capture_park(c, &e), LS_EBUSY);
	app_ok(&b, "COMMIT");
	cap_truncate(c);
	app_close(&a);
	app_close(&b);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(restart_gives_up_when_the_writer_stays)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(9000))");
	app_ok(&a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 'open')");
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_TRUNCATE, &k, &e));
	CHECK(!k.restarted);
	CHECK_EQ(k.tail.kind, LS_CAP_NONE);
	CHECK_EQ(k.blocked_by, 0);
	CHECK(ls_file_size(T("db-wal")) > 0);
	app_ok(&a, "COMMIT");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

static struct ls_capture *hooked;
static struct app *late;
static int late_rows;

/* The hook sleeps because `late` holds the write lock: it commits, and takes
 * the lock again before anybody else can. */
static void
committing_sleep(uint64_t ns)
{
	if (late_rows > 0) {
		late_rows = 0;
		app_ok(late, "COMMIT; BEGIN IMMEDIATE");
	}
	ls_sys_real.sleep_ns(ns);
}

TEST(a_busy_lock_is_no_passive_checkpoint)
{
	static struct ls_sys table;
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db");
	c = hooked = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1, 'late')");
	late = &a;
	late_rows = 1;
	table = ls_sys_real;
	table.sleep_ns = committing_sleep;
	ls_sys = &table;
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	ls_sys = &ls_sys_real;
	CHECK_EQ(late_rows, 0);
	CHECK(k.writer_stayed && !k.restarted);
	CHECK(ls_guard_backfilled(&c->guard) <= c->pos.frame);
	app_ok(&a, "COMMIT");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

static void
tear(struct ls_capture *c)
{
	volatile uint32_t *index = atomic_load(&c->guard.shim.index);

	index[4]++; /* mxFrame of the first copy */
}

TEST(torn_header_is_recovered)
{
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	int rc;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, 'x')");
	CHECK(!ls_capture_torn(c));
	tear(c);
	CHECK(ls_capture_torn(c) && ls_capture_changed(c));
	CHECK_OK(ls_capture_recover(c, &e));
	CHECK(!ls_capture_torn(c));
	CHECK(app_timed(&a, &rc, "INSERT INTO t VALUES(2, 'y')") < 5000000);
	CHECK_EQ(rc, SQLITE_OK);
	tear(c);
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	tear(c); /* a reader cannot recover: the guard does it for it */
	CHECK_OK(ls_view_open(c, &v, &info, &e));
	CHECK(!ls_capture_torn(c));
	ls_view_close(v);
	check_merged_is_view(c, "db");
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

static int tears;

static uint64_t
tearing_clock(void)
{
	/* The first look at the clock under the hook's write lock. */
	if (hooked->guard.shim.on_write != NULL && tears == 0) {
		tears++;
		tear(hooked);
	}
	return ls_sys_real.mono_ns();
}

TEST(hook_meets_a_torn_header)
{
	static struct ls_sys table;
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db");
	c = hooked = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(9000))");
	table = ls_sys_real;
	table.mono_ns = tearing_clock;
	tears = 0;
	ls_sys = &table;
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	ls_sys = &ls_sys_real;
	CHECK_EQ(tears, 1);
	CHECK(k.restarted);
	CHECK(!ls_capture_torn(c));
	app_ok(&a, "INSERT INTO t VALUES(2, 'z')");
	(void)cap_drain(c);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

static uint64_t
writing_clock(void)
{
	/* After phase one, before the write lock: rows that only the hook can
	 * catch. on_write is set right before SQLite asks for the locks. */
	if (hooked->guard.shim.on_write != NULL && late_rows > 0 &&
	    hooked->guard.shim.write_since == 0) {
		int n = late_rows;
		late_rows = 0;
		ls_shim_give_write(hooked->guard.file);
		for (int i = 0; i < n; i++)
			app_ok(late, "INSERT INTO t VALUES(NULL, "
				     "randomblob(3000))");
		CHECK_EQ(ls_shim_take_write(hooked->guard.file), SQLITE_OK);
	}
	return ls_sys_real.mono_ns();
}

TEST(tail_is_captured_under_the_lock)
{
	static const int rows[] = { 5, 400 }; /* within the limit, above it */

	for (size_t i = 0; i < LS_COUNT(rows); i++) {
		static struct ls_sys table;
		struct ls_checkpointed k;
		struct ls_err e = { 0 };
		struct ls_capture *c;
		struct app a;
		char db[8];

		(void)snprintf(db, sizeof db, "db%zu", i);
		fresh(&a, db);
		c = hooked = cap_open(db);
		(void)cap_step(c);
		app_ok(&a, "INSERT INTO t VALUES(1, randomblob(9000))");
		late = &a;
		late_rows = rows[i];
		table = ls_sys_real;
		table.mono_ns = writing_clock;
		ls_sys = &table;
		CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_TRUNCATE, &k, &e));
		ls_sys = &ls_sys_real;
		CHECK(k.restarted);
		CHECK_EQ(k.tail.kind,
		    rows[i] < LS_TAIL_MAX ? LS_CAP_FRAMES : LS_CAP_NONE);
		CHECK(!c->unsynced);
		CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
		app_close(&a);
		cap_close(c);
		check_merged_is_file(db);
	}
}

TEST(view_is_one_state)
{
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	struct ls_buf snap = LS_BUF_INIT((size_t)1 << 26);
	uint64_t size;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(50000))");
	CHECK_OK(ls_view_open(c, &v, &info, &e)); /* captures first */
	CHECK_EQ(info.txid, 2);
	app_ok(&a, "UPDATE t SET y=randomblob(60000)");
	CHECK_EQ(cap_step(c).txid, 3);
	CHECK_RC(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e), LS_EBUSY);
	CHECK_OK(ls_view_snapshot(v, &(struct ls_codec){ .zstd = false },
	    (ls_sink *)(void *)ls_buf_add, &snap, NULL, &size, &e));
	ls_view_close(v);
	ls_buf_free(&snap);
	app_close(&a);
	cap_close(c);
}

TEST(app_cannot_checkpoint_after_views)
{
	struct ls_view *v[3];
	struct ls_view_info info;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	for (int i = 0; i < 3; i++) {
		app_ok(&a, "INSERT INTO t VALUES(%d, 'x')", i);
		CHECK_OK(ls_view_open(c, &v[i], &info, &e));
	}
	for (int i = 0; i < 3; i++) {
		ls_view_close(v[i]);
		CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	}
	CHECK_OK(ls_capture_save(c, NULL, &e));
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	app_close(&a);
	cap_close(c);
}

TEST(view_of_a_backfilled_wal)
{
	struct ls_checkpointed k;
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	uint8_t before[4096], after[4096];

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, 'old')");
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_PASSIVE, &k, &e));
	CHECK_EQ(k.log, k.done);
	CHECK_OK(ls_view_open(c, &v, &info, &e));
	CHECK_EQ(v->mark, 0);
	CHECK_OK(ls_view_page(v, 2, before, &e));
	app_ok(&a, "UPDATE t SET y='new'"); /* restarts the WAL under it */
	for (int i = 0; i < 6; i++)	    /* ... and overwrites its frames */
		app_ok(&a, "UPDATE t SET y='new%d'", i);
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	CHECK_EQ(cap_header(c, info.txid + 1).wal_offset, 32);
	v->block_n = 0;
	CHECK_OK(ls_view_page(v, 2, after, &e));
	CHECK(memcmp(before, after, sizeof before) == 0);
	ls_view_close(v);
	check_merged_is_view(c, "db");
	app_close(&a);
	cap_close(c);
}

TEST(thresholds)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	uint64_t now;

	fresh(&a, "db");
	c = cap_open("db");
	(void)cap_step(c);
	for (int i = 0; i < 4; i++)
		app_ok(&a, "INSERT INTO t VALUES(%d, randomblob(9000))", i);
	(void)cap_step(c);
	now = c->last_ckpt_ns;
	CHECK_EQ(ls_capture_checkpoint_due(c, now), LS_CKPT_NONE);
	CHECK_EQ(
	    ls_capture_checkpoint_due(c, now + 60 * LS_SEC), LS_CKPT_PASSIVE);
	c->conf.min_checkpoint_pages = c->pos.frame;
	CHECK_EQ(ls_capture_checkpoint_due(c, now), LS_CKPT_RESTART);
	c->conf.truncate_pages = c->pos.frame;
	CHECK_EQ(ls_capture_checkpoint_due(c, now), LS_CKPT_TRUNCATE);
	c->conf.truncate_pages = -1;
	CHECK_EQ(ls_capture_checkpoint_due(c, now), LS_CKPT_RESTART);
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	CHECK(k.restarted);
	now = ls_sys->mono_ns();
	CHECK_EQ(
	    ls_capture_checkpoint_due(c, now + 600 * LS_SEC), LS_CKPT_NONE);
	app_close(&a);
	cap_close(c);
}
