/* Merging pending files while the capture goes on, whatever fails. */
#include "app.h"

#include "capture/internal.h"
#include "fault.h"

#include <errno.h>

static struct ls_capture *
with_files(struct app *a, const char *db, int n)
{
	struct ls_capture *c;
	struct ls_err e = { 0 };

	app_start(a, db);
	app_ok(a, "PRAGMA journal_mode=WAL");
	app_ok(a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
	app_ok(a, "INSERT INTO t VALUES(0, randomblob(40000))");
	c = cap_open(db);
	(void)cap_step(c);
	for (int i = 1; i < n; i++) {
		app_ok(a, "REPLACE INTO t VALUES(%d, randomblob(9000))", i % 3);
		(void)cap_step(c);
	}
	CHECK_EQ(c->pos.txid, n);
	CHECK_OK(ls_capture_save(c, NULL, &e));
	return c;
}

/* In the same process, and after a restart that saved nothing. */
static void
goes_on(struct ls_capture *c, struct app *a, const char *db)
{
	uint64_t before, safe = 9;
	struct ls_err e = { 0 };

	app_ok(a, "REPLACE INTO t VALUES(7, randomblob(5000))");
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	CHECK(!ls_capture_unsettled(c));
	check_merged_is_view(c, db);
	before = c->pos.txid;
	CHECK_OK(ls_capture_save(c, &safe, &e));
	CHECK_EQ(safe, before);
	app_ok(a, "REPLACE INTO t VALUES(8, 'x')");
	CHECK_EQ(cap_step(c).txid, before + 1);
	cap_abandon(c);
	c = cap_open(db);
	CHECK_EQ(c->pos.txid, before + 1);
	CHECK_EQ(c->due, LS_DUE_NONE);
	CHECK(ls_pagemap_valid(c->map));
	check_merged_is_view(c, db);
	app_close(a);
	cap_close(c);
}

static bool
one_fault(int n, int err, bool from, uint64_t frozen)
{
	struct ls_err e = { 0 };
	struct ls_capture *c;
	uint64_t safe = 0;
	struct app a;
	enum ls_rc rc;
	bool fired;
	char db[64];
	int fds;

	(void)snprintf(
	    db, sizeof db, "db%d-%d-%d-%d", n, err, from, (int)frozen);
	c = with_files(&a, db, 5);
	fds = test_open_fds();
	fault_reads(1);
	if (from)
		fault_arm_from(n, err);
	else
		fault_arm(n, err);
	rc = ls_capture_merge(c, frozen, &e);
	fired = fault_fired();
	fault_disarm();
	fault_reads(0);
	CHECK_EQ(test_open_fds(), fds);
	CHECK(rc == LS_OK || (fired && e.msg[0] != '\0'));
	CHECK_EQ(c->due, LS_DUE_NONE);
	if (rc == LS_OK) { /* the saved map is of another numbering */
		CHECK_EQ(c->pos.txid, frozen + 1);
		c->dirty = false;
		CHECK_OK(ls_capture_save(c, &safe, &e));
		CHECK_EQ(safe, 0);
		c->dirty = true;
	}
	goes_on(c, &a, db);
	return fired;
}

TEST(merge_under_faults_goes_on)
{
	static const struct {
		int err;
		bool from;
		uint64_t frozen;
	} row[] = { { ENOSPC, false, 2 }, { EIO, false, 0 },
		{ ENOSPC, true, 0 } };

	for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
		int n = 1;

		while (one_fault(n, row[k].err, row[k].from, row[k].frozen))
			n++;
		CHECK(n > 15);
	}
}
