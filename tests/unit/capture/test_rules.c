/* Rules of capture that show only in a particular order of events: each test
 * puts that order there by hand (tests/model/README.md names the rules). */
#include "app.h"

#include "capture/internal.h"

#include <unistd.h>

enum { FRAME = 24 + 4096 };

static struct ls_sys table;
static struct ls_capture *watched;
static struct app *other;
static int calls;

static struct ls_capture *
start(struct app *a)
{
	struct ls_capture *c;

	app_start(a, "db");
	app_ok(a, "PRAGMA journal_mode=WAL");
	app_ok(a, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
	app_ok(a, "INSERT INTO t VALUES(0, randomblob(100000))");
	c = cap_open("db");
	(void)cap_step(c);
	watched = c;
	other = a;
	calls = 0;
	table = ls_sys_real;
	return c;
}

static bool
due(struct ls_capture *c)
{
	struct ls_capture_pos p;

	ls_capture_position(c, &p);
	return p.resync_due;
}

/* The next step publishes nothing; the one behind it, a difference. */
static void
gap_then_difference(struct ls_capture *c, struct app *a)
{
	struct ls_captured got;
	struct ls_err e = { 0 };
	uint64_t txid = c->pos.txid;

	CHECK_RC(ls_capture_step(c, &got, &e), LS_EAGAIN);
	CHECK(due(c));
	CHECK_EQ(c->pos.txid, txid);
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(a);
	cap_close(c);
	check_merged_is_file("db");
}

TEST(growth_without_its_pages_is_no_file)
{
	struct app a;
	struct ls_capture *c = start(&a);

	c->pos.commit--; /* a page of a growth that the frames do not bring */
	app_ok(&a, "PRAGMA user_version=1");
	gap_then_difference(c, &a);
}

TEST(restart_by_others_is_a_gap)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);

	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	CHECK(k.restarted && c->may_restart);
	c->may_restart = false; /* as if it had not been ours */
	app_ok(&a, "INSERT INTO t VALUES(1, 'x')");
	gap_then_difference(c, &a);
}

/* ---- phase one ---------------------------------------------------------------- */

static int
committing_fsync(int fd)
{
	if (calls++ == 0)
		app_ok(other, "PRAGMA user_version=7"); /* one frame */
	return ls_sys_real.fsync(fd);
}

/* A commit between phase one's capture and its PASSIVE is not backfilled. */
TEST(phase_one_stops_at_its_pin)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);

	app_ok(&a, "PRAGMA user_version=6");
	table.fsync = committing_fsync;
	ls_sys = &table;
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_PASSIVE, &k, &e));
	ls_sys = &ls_sys_real;
	CHECK(calls > 0);
	CHECK_EQ(k.log, c->pos.frame + 1);
	CHECK_EQ(ls_guard_backfilled(&c->guard), c->pos.frame);
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

/* ---- the hook ------------------------------------------------------------------- */

static uint32_t old_header[12];

static uint64_t
half_written_clock(void)
{
	volatile uint32_t *index = atomic_load(&watched->guard.shim.index);

	if (watched->guard.shim.on_write != NULL && calls++ == 0)
		for (int i = 0; i < 12; i++)
			index[i] = old_header[i];
	return ls_sys_real.mono_ns();
}

/* As a writer leaves it that dies between the copies: the first one is valid,
 * and a commit older than the second. Each alone would be believed. */
TEST(hook_believes_no_single_copy)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);
	volatile uint32_t *index = atomic_load(&c->guard.shim.index);

	for (int i = 0; i < 12; i++)
		old_header[i] = index[i];
	app_ok(&a, "INSERT INTO t VALUES(1, 'x')");
	table.mono_ns = half_written_clock;
	ls_sys = &table;
	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	ls_sys = &ls_sys_real;
	CHECK(calls > 0 && k.restarted && !due(c) && !ls_capture_torn(c));
	check_merged_is_view(c, "db");
	cap_truncate(c);
	app_close(&a);
	cap_close(c);
	check_merged_is_file("db");
}

/* ---- durability ------------------------------------------------------------------ */

static int
checking_rename(const char *from, const char *to)
{
	char path[4200];

	if (strstr(to, "litestreamd-position") != NULL) {
		calls++;
		(void)ls_spool_path(
		    watched->spool, watched->pos.txid, path, sizeof path);
		CHECK(strstr(path, ".unsynced") == NULL);
		CHECK(!watched->unsynced && ls_exists(path));
	}
	return ls_sys_real.rename(from, to);
}

TEST(files_are_synced_before_the_position)
{
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);

	app_ok(&a, "INSERT INTO t VALUES(1, 'x')");
	c->lazy = true; /* as the rounds of a checkpoint, and its hook */
	CHECK_EQ(cap_step(c).kind, LS_CAP_FRAMES);
	c->lazy = false;
	CHECK(c->unsynced);
	table.rename = checking_rename;
	ls_sys = &table;
	CHECK_OK(ls_capture_save(c, NULL, &e));
	ls_sys = &ls_sys_real;
	CHECK_EQ(calls, 1);
	app_close(&a);
	cap_close(c);
}

/* What a merge does to the folder, in order: u, f, r. */
static char done[64];

static void
note(char what)
{
	size_t n = strlen(done);

	if (n + 1 < sizeof done)
		done[n] = what;
}

static int
noting_unlink(const char *path)
{
	note('u');
	return ls_sys_real.unlink(path);
}

static int
noting_fsync(int fd)
{
	note('f');
	return ls_sys_real.fsync(fd);
}

static int
noting_rename(const char *from, const char *to)
{
	note('r');
	return ls_sys_real.rename(from, to);
}

/* Otherwise a power failure may bring an old file back behind the merged one,
 * as if it were its successor. */
TEST(merge_syncs_removals_before_the_rename)
{
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);
	const char *last;

	for (int i = 0; i < 3; i++) {
		app_ok(&a, "INSERT INTO t VALUES(NULL, 'x')");
		(void)cap_step(c);
	}
	memset(done, 0, sizeof done);
	table.unlink = noting_unlink;
	table.fsync = noting_fsync;
	table.rename = noting_rename;
	ls_sys = &table;
	CHECK_OK(ls_capture_merge(c, 1, &e));
	ls_sys = &ls_sys_real;
	CHECK_EQ(c->pos.txid, 2);
	CHECK((last = strrchr(done, 'u')) != NULL);
	CHECK(strncmp(last, "ufr", 3) == 0);
	app_close(&a);
	cap_close(c);
}

/* ---- proof 2 ----------------------------------------------------------------------- */

/* Frame N lies there, frame N + 1 is an old one, the size is the same: only
 * the salt tells that there were two generations since. */
TEST(lookalike_two_restarts_in_a_long_file)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	struct app a;
	struct ls_capture *c = start(&a);
	int64_t size = ls_file_size(T("db-wal"));
	uint32_t n;

	CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, &e));
	for (int i = 0; i < 4; i++)
		app_ok(&a, "PRAGMA user_version=%d", i + 1);
	(void)cap_step(c);
	n = c->pos.frame;
	CHECK(n >= 4 && 32 + (int64_t)n * FRAME < size);
	cap_close(c);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(app_int(&a, "PRAGMA wal_checkpoint(RESTART)"), 0);
		app_ok(&a, i ? "PRAGMA application_id=3"
			     : "INSERT INTO t VALUES(1, 'lost')");
	}
	CHECK_EQ(ls_file_size(T("db-wal")), size);
	c = cap_open("db");
	CHECK(due(c));
	CHECK_EQ(cap_step(c).kind, LS_CAP_DIFF);
	check_merged_is_view(c, "db");
	app_close(&a);
	cap_close(c);
}
