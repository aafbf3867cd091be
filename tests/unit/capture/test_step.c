/* Capture steps and the guard, beside an application in its own process. */
#include "app.h"

#include "capture/internal.h"
#include "fault.h"
#include "format/crc64.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void
fresh(struct app *a, const char *db, int page_size)
{
	app_start(a, db);
	app_ok(a, "PRAGMA page_size=%d", page_size);
	app_ok(a, "PRAGMA journal_mode=WAL");
	app_ok(a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
}

TEST(first_copy_is_the_file)
{
	struct ls_captured got;
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db", 4096);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(20000))");
	c = cap_open("db");
	got = cap_step(c);
	CHECK_EQ(got.kind, LS_CAP_COPY_ALL);
	CHECK_STR(got.reason, "");
	CHECK_EQ(got.txid, 1);
	CHECK(cap_header(c, 1).wal_offset >= 32);
	CHECK(cap_header(c, 1).has_db_checksum);
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	CHECK(!ls_capture_changed(c));
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(step_captures_committed_frames)
{
	static const int sizes[] = { 512, 1024, 2048, 4096, 8192, 16384, 32768,
		65536 };

	for (size_t i = 0; i < LS_COUNT(sizes); i++) {
		struct ls_captured got;
		struct ls_capture *c;
		struct ls_ltx_header h;
		struct app a;
		char db[16];

		(void)snprintf(db, sizeof db, "db%zu", i);
		fresh(&a, db, sizes[i]);
		c = cap_open(db);
		(void)cap_step(c);
		app_ok(&a, "INSERT INTO t VALUES(1, randomblob(200000))");
		CHECK(ls_capture_changed(c));
		got = cap_step(c);
		CHECK_EQ(got.kind, LS_CAP_FRAMES);
		CHECK_EQ(got.txid, 2);
		h = cap_header(c, 2);
		CHECK_EQ(h.page_size, sizes[i]);
		CHECK_EQ(h.wal_size, got.wal_bytes);
		CHECK_EQ(h.wal_size % (24 + sizes[i]), 0);
		CHECK_EQ(h.min_txid, h.max_txid);
		check_merged_is_view(c, db);
		cap_truncate(c);
		app_close(&a);
		cap_close(c);
		check_merged_is_file(db);
	}
}

TEST(open_transaction_is_not_captured)
{
	struct ls_capture *c;
	struct app a, b;
	int64_t size;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	app_start(&b, "db");
	app_ok(&a, "INSERT INTO t VALUES(1, 'committed')");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	size = ls_file_size(T("db-wal"));
	app_ok(&a, "PRAGMA cache_size=5");
	app_ok(&a, "BEGIN; INSERT INTO t VALUES(2, randomblob(900000))");
	CHECK(ls_file_size(T("db-wal")) > size + 100000); /* it has spilled */
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	app_ok(&a, "ROLLBACK");
	CHECK_EQ(cap_step(c).kind, LS_CAP_NONE);
	app_ok(&b, "INSERT INTO t VALUES(3, 'small')");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	app_close(&b);
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(guard_refuses_every_checkpoint)
{
	static const char *const modes[] = { "PASSIVE", "FULL", "RESTART",
		"TRUNCATE" };
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	int64_t size;
	int rc;

	fresh(&a, "db", 4096);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(100000))");
	c = cap_open("db");
	size = ls_file_size(T("db-wal"));
	for (size_t i = 0; i < 4; i++) {
		char q[64];
		(void)snprintf(
		    q, sizeof q, "PRAGMA wal_checkpoint(%s)", modes[i]);
		/* 10 s of busy timeout: not waited for. */
		CHECK(app_timed(&a, &rc, q) < 5000000);
		CHECK_EQ(rc, SQLITE_OK);
		CHECK_EQ(app_int(&a, q), 1); /* its column says busy */
	}
	CHECK_EQ(ls_file_size(T("db-wal")), size);
	app_ok(&a, "INSERT INTO t VALUES(2, 'x')");
	app_close(&a); /* the last one: does not delete the WAL either */
	CHECK(ls_file_size(T("db-wal")) > size);
	(void)cap_drain(c);
	check_merged_is_view(c, "db");
	app_start(&a, "db");
	/* Our own checkpoints and recoveries do not give the lock away. */
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	CHECK_OK(ls_capture_recover(c, &e));
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	cap_close(c);
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	CHECK_EQ(ls_file_size(T("db-wal")), 0);
	app_close(&a);
}

TEST(open_backfills_nothing)
{
	struct ls_capture *c;
	struct app a;
	struct ls_span before;
	uint8_t *copy;

	fresh(&a, "db", 4096);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(100000))");
	before = test_read_file(T("db"));
	copy = ls_alloc(before.n);
	memcpy(copy, before.p, before.n);
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(2, randomblob(1000))");
	(void)cap_step(c);
	cap_close(c);
	struct ls_span after = test_read_file(T("db"));
	CHECK_EQ(after.n, before.n);
	CHECK(memcmp(after.p, copy, after.n) == 0);
	ls_free(copy);
	app_close(&a);
}

TEST(zero_salt_frames)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct ls_span wal;
	struct app a;
	int zero = 0;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "PRAGMA cache_size=5");
	app_ok(&a,
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
	    "WHERE i<60) INSERT INTO t SELECT i, zeroblob(3000) FROM n");
	(void)cap_step(c);
	app_ok(&a, "BEGIN; UPDATE t SET y=randomblob(3000) WHERE x<10; "
		   "SAVEPOINT a; UPDATE t SET y=randomblob(3000) WHERE x>=10 "
		   "AND x<40; UPDATE t SET y=randomblob(3000) WHERE x>=20 AND "
		   "x<40; ROLLBACK TO a; UPDATE t SET y=randomblob(3000) WHERE "
		   "x>45; COMMIT");
	wal = test_read_file(T("db-wal"));
	for (size_t at = 32; at + 4120 <= wal.n; at += 4120)
		zero += memcmp(wal.p + at + 8, "\0\0\0\0\0\0\0\0", 8) == 0;
	if (zero == 0) { /* a SQLite without the bug: nothing to see */
		CHECK(sqlite3_libversion_number() > 3040001);
		app_close(&a);
		cap_close(c);
		return;
	}
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "db");
	CHECK_EQ(
	    ls_capture_checkpoint_due(c, ls_sys->mono_ns()), LS_CKPT_RESTART);
	app_ok(&a, "CREATE TABLE later(x)");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "db");
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	CHECK(k.restarted);
	CHECK_EQ(ls_capture_checkpoint_due(c, ls_sys->mono_ns()), LS_CKPT_NONE);
	app_ok(&a, "INSERT INTO later VALUES(1)");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(shrink_and_grow_in_one_window)
{
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db", 4096);
	app_ok(&a, "INSERT INTO t VALUES(1, randomblob(400000))");
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(2, randomblob(400000))");
	app_ok(&a, "DELETE FROM t");
	app_ok(&a, "VACUUM");
	app_ok(&a, "INSERT INTO t VALUES(3, randomblob(800000))");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "db");
	app_ok(&a, "DELETE FROM t");
	app_ok(&a, "VACUUM");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(generations_follow_each_other)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	for (int i = 0; i < 6; i++) {
		for (int j = 0; j < 3; j++) {
			app_ok(&a,
			    "REPLACE INTO t VALUES(%d, randomblob(9000))", j);
			(void)cap_drain(c);
		}
		CHECK_OK(ls_capture_checkpoint(c,
		    i % 3 == 0	 ? LS_CKPT_PASSIVE
		    : i % 3 == 1 ? LS_CKPT_RESTART
				 : LS_CKPT_TRUNCATE,
		    &k, &e));
		CHECK_EQ(k.log, k.done);
		CHECK_EQ(k.restarted, i % 3 != 0);
		CHECK_EQ(ls_capture_checkpoint_due(c, 0), LS_CKPT_NONE);
	}
	app_ok(&a, "INSERT INTO t VALUES(9, 'new generation')");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	struct ls_capture_pos pos;
	ls_capture_position(c, &pos);
	CHECK(!pos.resync_due);
	CHECK_EQ(cap_header(c, pos.txid).wal_offset, 32);
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(bounded_steps_end_at_commits)
{
	struct ls_captured got;
	struct ls_capture *c;
	struct app a;
	int files = 0;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	c->conf.max_sync_wal_bytes = 50000;
	for (int i = 0; i < 20; i++)
		app_ok(&a, "INSERT INTO t VALUES(%d, randomblob(15000))", i);
	do {
		got = cap_step(c);
		CHECK_EQ(got.kind, LS_CAP_FRAMES);
		files++;
	} while (got.more);
	CHECK(files > 4);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(map_and_header_agree_with_the_database)
{
	struct ls_capture *c;
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_err e = { 0 };
	uint8_t page[4096];
	uint64_t x = 0;
	struct app a;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	for (int i = 0; i < 10; i++) {
		app_ok(
		    &a, "REPLACE INTO t VALUES(%d, randomblob(30000))", i % 3);
		(void)cap_drain(c);
	}
	app_ok(&a, "DELETE FROM t WHERE x=1");
	app_ok(&a, "VACUUM");
	(void)cap_drain(c);
	CHECK_OK(ls_view_open(c, &v, &info, &e));
	for (uint32_t p = 1; p <= info.commit; p++) {
		CHECK_OK(ls_view_page(v, p, page, &e));
		x ^= ls_page_checksum(p, LS_SPAN(page, sizeof page));
	}
	x |= LS_CHECKSUM_FLAG;
	CHECK(info.db_checksum == x);
	CHECK(cap_header(c, info.txid).has_db_checksum);
	CHECK(cap_header(c, info.txid).db_checksum == x);
	ls_view_close(v);
	app_close(&a);
	cap_close(c);
}

TEST(a_failed_step_leaves_everything)
{
	static const int errs[] = { ENOSPC, EIO };

	for (size_t k = 0; k < 2; k++) {
		struct ls_capture *c;
		struct app a;
		char db[8];
		int n = 1, rounds = 0;

		(void)snprintf(db, sizeof db, "db%zu", k);
		fresh(&a, db, 4096);
		c = cap_open(db);
		(void)cap_step(c);
		app_ok(&a, "INSERT INTO t VALUES(1, randomblob(50000))");
		for (;; n++) {
			struct ls_captured got;
			struct ls_err e = { 0 };
			struct ls_capture_pos before, after;
			uint64_t xor = ls_pagemap_xor(c->map);
			int fds = test_open_fds();
			enum ls_rc rc;

			ls_capture_position(c, &before);
			fault_reads(1);
			fault_arm(n, errs[k]);
			rc = ls_capture_step(c, &got, &e);
			fault_disarm();
			fault_reads(0);
			CHECK_EQ(test_open_fds(), fds);
			ls_capture_position(c, &after);
			if (rc == LS_OK)
				break;
			rounds++;
			CHECK(fault_fired());
			CHECK(e.msg[0] != '\0');
			CHECK_EQ(after.txid, before.txid);
			CHECK_EQ(after.frame, before.frame);
			CHECK_EQ(after.commit, before.commit);
			CHECK(!after.resync_due);
			CHECK(ls_pagemap_xor(c->map) == xor);
		}
		CHECK(rounds > 4);
		check_merged_is_view(c, db);
		cap_truncate(c);
		app_close(&a);
		cap_close(c);
		check_merged_is_file(db);
	}
}

TEST(second_opening_names_the_process)
{
	struct ls_capture *c, *d = NULL;
	struct ls_err e = { 0 };
	struct app a;
	char pid[32];

	fresh(&a, "db", 4096);
	c = cap_open("db");
	CHECK_RC(cap_try("db", &d, &e), LS_ELOCKED);
	(void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
	CHECK(strstr(e.msg, pid) != NULL);
	app_ok(&a, "INSERT INTO t VALUES(1, 'still guarded')");
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint"), 1);
	cap_close(c);
	app_close(&a);
}

TEST(what_is_no_database)
{
	struct ls_capture *c = NULL;
	struct ls_err e = { 0 };
	struct app a;

	CHECK_RC(cap_try("none", &c, &e), LS_ENOTFOUND);
	test_write_file(T("empty"), "", 0);
	CHECK_RC(cap_try("empty", &c, &e), LS_ENOTDB);
	test_write_file(T("text"), "SQLite format 2 and so on", 25);
	CHECK_RC(cap_try("text", &c, &e), LS_ENOTDB);
	app_start(&a, "roll");
	app_ok(&a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
	app_ok(&a, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(1,2)");
	CHECK_RC(cap_try("roll", &c, &e), LS_EBUSY);
	app_ok(&a, "COMMIT");
	c = cap_open("roll"); /* switched to WAL mode */
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(2,2)");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	check_merged_is_view(c, "roll");
	app_close(&a);
	cap_close(c);
}

TEST(status_and_names)
{
	struct ls_capture_status s;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	char *meta = ls_meta_path("/var/lib/app.db");

	CHECK_STR(meta, "/var/lib/.app.db-litestream");
	ls_free(meta);
	meta = ls_meta_path(T("db"));
	CHECK_OK(ls_capture_status(T("db"), meta, &s, &e));
	CHECK(!s.db_exists && s.txid == 0 && s.wal_bytes == -1);
	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	CHECK_OK(ls_capture_status(T("db"), meta, &s, &e));
	CHECK(s.db_exists && s.txid == 1 && s.wal_bytes > 32);
	CHECK(!ls_capture_replaced(c));
	CHECK(rename(T("db-wal"), T("gone")) == 0);
	CHECK(ls_capture_replaced(c));
	CHECK(rename(T("gone"), T("db-wal")) == 0);
	CHECK(!ls_capture_replaced(c));
	ls_free(meta);
	app_close(&a);
	cap_close(c);
}

TEST(damaged_frame_is_a_gap)
{
	struct ls_captured got;
	struct ls_err e = { 0 };
	struct ls_capture *c;
	struct app a;
	uint8_t byte = 0;
	int fd;

	fresh(&a, "db", 4096);
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(&a, "INSERT INTO t VALUES(1, zeroblob(50000))");
	fd = open(T("db-wal"), O_RDWR);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &byte, 1, ls_file_size(T("db-wal")) - 10), 1);
	byte ^= 1;
	CHECK_EQ(pwrite(fd, &byte, 1, ls_file_size(T("db-wal")) - 10), 1);
	(void)close(fd);
	CHECK_RC(ls_capture_step(c, &got, &e), LS_EAGAIN);
	CHECK_EQ(c->due, LS_DUE_DIFF);
	CHECK_EQ(c->pos.txid, 1);
	got = cap_step(c); /* what the application reads is what counts */
	CHECK_EQ(got.kind, LS_CAP_DIFF);
	CHECK(got.reason[0] != '\0');
	check_merged_is_view(c, "db");
	app_close(&a);
	cap_close(c);
}

TEST(incomplete_growth_is_refused)
{
	struct ls_winner v[4] = { { 1, 9, 0 }, { 4, 9, 0 }, { 5, 9, 0 },
		{ 6, 9, 0 } };
	uint32_t lock = 0x40000000 / 65536 + 1;

	CHECK(ls_winners_complete(v, 4, 3, 6, 4096));
	CHECK(!ls_winners_complete(v, 4, 2, 6, 4096)); /* page 3 is missing */
	CHECK(!ls_winners_complete(v, 3, 3, 6, 4096)); /* page 6 is missing */
	CHECK(ls_winners_complete(v, 1, 6, 6, 4096));
	CHECK(ls_winners_complete(v, 0, 6, 4, 4096)); /* it shrinks */
	v[0].pgno = lock - 1, v[1].pgno = lock + 1;
	CHECK(ls_winners_complete(v, 2, lock - 2, lock + 1, 65536));
	CHECK(!ls_winners_complete(v, 2, lock - 2, lock + 1, 4096));
}
