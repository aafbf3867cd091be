/* Histories that look like "nothing happened": each was first a counterexample
 * of tests/model (model.capture). Pages are of 4096 bytes. */
#include "app.h"

#include "capture/internal.h"

#include <fcntl.h>
#include <unistd.h>

enum { FRAME = 24 + 4096 };

static int64_t
wal_size(uint32_t frames)
{
	return 32 + (int64_t)frames * FRAME;
}

/* One row, one page, in each of three tables; all of it captured. */
static struct ls_capture *
start(struct app *a)
{
	static const char *const t[] = { "p", "q", "r" };
	struct ls_capture *c;

	app_start(a, "db");
	app_ok(a, "PRAGMA journal_mode=WAL");
	for (int i = 0; i < 3; i++) {
		app_ok(a, "CREATE TABLE %s(y)", t[i]);
		app_ok(a, "INSERT INTO %s VALUES('old')", t[i]);
	}
	c = cap_open("db");
	(void)cap_step(c);
	app_ok(a, "UPDATE p SET y='new'");
	(void)cap_step(c);
	CHECK_EQ(ls_file_size(T("db-wal")), wal_size(c->pos.frame));
	return c;
}

static bool
due(struct ls_capture *c)
{
	struct ls_capture_pos p;

	ls_capture_position(c, &p);
	return p.resync_due;
}

/* Takes c and a. */
static void
is_answered_with_a_difference(struct ls_capture *c, struct app *a)
{
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(a);
	cap_close(c);
	check_merged_is_file("db");
}

static void
write_at(const char *path, const void *p, size_t n, int64_t at)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0 && pwrite(fd, p, n, (off_t)at) == (ssize_t)n);
	CHECK(close(fd) == 0);
}

/* What lay behind frame N was checkpointed, and cut off by a limit that is
 * just the recorded size. */
TEST(lookalike_cut_to_the_recorded_size)
{
	struct app a;
	struct ls_capture *c = start(&a);
	uint32_t n = c->pos.frame;

	cap_close(c);
	app_ok(&a, "UPDATE q SET y='behind N'");
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(RESTART)"), 0);
	app_ok(&a, "PRAGMA journal_size_limit=%lld", (long long)wal_size(n));
	app_ok(&a, "UPDATE r SET y='the next generation'");
	CHECK_EQ(ls_file_size(T("db-wal")), wal_size(n));
	is_answered_with_a_difference(cap_open("db"), &a);
}

/* The same, and nobody cut: the file is as long as it was because frame N + 1
 * was written by the next generation; then a power failure takes that
 * generation's frames up to N. */
TEST(lookalike_frames_written_out_of_order)
{
	struct app a;
	struct ls_capture *c = start(&a);
	uint32_t n = c->pos.frame;
	struct ls_span old;

	app_ok(&a, "UPDATE q SET y='behind N'");
	cap_close(c);
	old = test_read_file(T("db-wal"));
	CHECK_EQ(old.n, wal_size(n + 1));
	CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(RESTART)"), 0);
	for (uint32_t i = 0; i < n + 1; i++)
		app_ok(&a, "UPDATE r SET y='%u'", i);
	CHECK_EQ(ls_file_size(T("db-wal")), wal_size(n + 1));
	app_kill(&a);
	write_at(T("db-wal"), old.p + 32, n * FRAME, 32);
	CHECK(unlink(T("db-shm")) == 0);
	app_start(&a, "db");
	is_answered_with_a_difference(cap_open("db"), &a);
}

/* Two transactions are lost in a power failure; the application does another
 * one in place of the first and the second one again, to the byte. */
TEST(lookalike_file_with_the_record_lost)
{
	struct app a;
	struct ls_capture *c = start(&a);
	struct ls_err e = { 0 };
	int64_t before = wal_size(c->pos.frame);

	CHECK_OK(ls_capture_save(c, NULL, &e));
	app_ok(&a, "UPDATE p SET y='lost'");
	(void)cap_step(c);
	app_ok(&a, "UPDATE q SET y='done again'");
	(void)cap_step(c);
	app_kill(&a);
	cap_abandon(c); /* the files are there, the record is older */
	CHECK(truncate(T("db-wal"), before) == 0);
	CHECK(unlink(T("db-shm")) == 0);
	app_start(&a, "db");
	app_ok(&a, "UPDATE r SET y='kept'");
	app_ok(&a, "UPDATE q SET y='done again'");
	is_answered_with_a_difference(cap_open("db"), &a);
}

/* Breaks the last frame and the index, so that the guard's recovery finds one
 * transaction less than was captured: as SQLite's frames without checksums do
 * when a writer dies. */
static void
lose_the_last_frame(struct ls_capture *c)
{
	volatile uint32_t *index = atomic_load(&c->guard.shim.index);
	struct ls_err e = { 0 };

	write_at(T("db-wal"), "?", 1, wal_size(c->pos.frame - 1) + 100);
	index[1]++;
	CHECK(ls_capture_torn(c));
	CHECK_OK(ls_capture_recover(c, &e));
}

TEST(recovery_found_less)
{
	struct ls_captured got;
	struct ls_err e = { 0 };
	struct ls_capture_pos p;
	struct app a;
	struct ls_capture *c = start(&a);

	lose_the_last_frame(c);
	app_ok(&a, "UPDATE q SET y='in its place'");
	ls_capture_position(c, &p);
	CHECK_EQ(p.max_frame, p.frame); /* as many, but not the same */
	CHECK(ls_capture_changed(c));
	CHECK_RC(ls_capture_step(c, &got, &e), LS_EAGAIN);
	is_answered_with_a_difference(c, &a);
}

TEST(recovery_found_nothing)
{
	struct ls_checkpointed k;
	struct ls_captured got;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);

	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_TRUNCATE, &k, &e));
	app_ok(&a, "UPDATE p SET y='newer'");
	(void)cap_step(c);
	CHECK_EQ(c->pos.frame, 1);
	lose_the_last_frame(c);
	CHECK(ls_capture_changed(c));
	CHECK_RC(ls_capture_step(c, &got, &e), LS_EAGAIN);
	is_answered_with_a_difference(c, &a);
}
