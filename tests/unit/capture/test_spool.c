#include "capture/spool.h"

#include "crashsim.h"
#include "fault.h"
#include "spoolkit.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static void
range_is(struct ls_spool *s, uint64_t oldest, uint64_t newest)
{
	uint64_t a, b;

	ls_spool_range(s, &a, &b);
	CHECK_EQ(a, oldest);
	CHECK_EQ(b, newest);
}

/* A new spool that holds 1..n. */
static struct ls_spool *
filled(uint64_t n)
{
	struct ls_err e = { 0 };
	struct ls_spool *s;

	kit_wipe();
	s = kit_open();
	for (uint64_t t = 1; t <= n; t++)
		CHECK_OK(kit_put(s, t, true, &e));
	return s;
}

static void
name_file(const char *name, const char *body)
{
	char path[1024];

	(void)snprintf(path, sizeof path, "%s/%s", T("m/ltx/0"), name);
	test_write_file(path, body, strlen(body));
}

TEST(spool_round_trip)
{
	struct ls_err e = { 0 };
	int fds = test_open_fds();
	struct ls_spool *s;
	struct stat st;

	s = filled(0);
	range_is(s, 0, 0);
	CHECK_OK(kit_put(s, 41, true, &e)); /* any, when empty */
	CHECK_OK(kit_put(s, 42, true, &e));
	CHECK_RC(ls_spool_begin(s, 42, &e), LS_EINVALID);
	CHECK_RC(ls_spool_begin(s, 44, &e), LS_EINVALID);
	CHECK_EQ(test_open_fds(), fds); /* none while idle */
	range_is(s, 41, 42);
	CHECK_EQ(
	    stat(T("m/ltx/0/0000000000000029-0000000000000029.ltx"), &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	ls_spool_owner(s, 0640, (uid_t)-1, (gid_t)-1);
	CHECK_OK(kit_put(s, 43, true, &e));
	CHECK_EQ(
	    stat(T("m/ltx/0/000000000000002b-000000000000002b.ltx"), &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0640);
	ls_spool_free(s);
	s = kit_open();
	range_is(s, 41, 43);
	kit_check(s);
	CHECK_OK(ls_spool_clear(s, &e));
	range_is(s, 0, 0);
	kit_check(s);
	CHECK_OK(kit_put(s, 7, true, &e));
	kit_check(s);
	ls_spool_free(s);
}

TEST(spool_folders_are_like_the_parent)
{
	struct ls_err e = { 0 };
	struct ls_spool *s = NULL;
	struct stat st;

	CHECK_EQ(mkdir(T("p"), 0700), 0);
	CHECK_EQ(chmod(T("p"), 0710), 0);
	CHECK_OK(ls_spool_open(T("p/q/m"), &s, &e));
	ls_spool_free(s);
	CHECK_EQ(stat(T("p/q/m/ltx/0"), &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0710);
	CHECK_EQ(stat(T("p/q"), &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0710);
}

TEST(spool_abort_leaves_nothing)
{
	struct ls_err e = { 0 };
	struct ls_spool *s = filled(2);
	int fds = test_open_fds();

	CHECK_OK(ls_spool_begin(s, 3, &e));
	CHECK_OK(ls_spool_sink(s, LS_SPAN_STR("abc"), &e));
	CHECK_RC(ls_spool_begin(s, 3, &e), LS_EINVALID);
	ls_spool_abort(s);
	CHECK_EQ(test_open_fds(), fds);
	kit_check(s);
	CHECK_RC(ls_spool_sink(s, LS_SPAN_STR("abc"), &e), LS_EINVALID);
	CHECK_RC(ls_spool_commit(s, true, &e), LS_EINVALID);
	CHECK_OK(kit_put(s, 3, true, &e));
	kit_check(s);
	ls_spool_free(s);
}

TEST(spool_drop_keeps_newest)
{
	struct ls_err e = { 0 };
	struct ls_spool *s = filled(6);

	CHECK_OK(ls_spool_drop(s, 2, &e));
	range_is(s, 3, 6);
	kit_check(s);
	CHECK_OK(ls_spool_drop(s, 1, &e));
	range_is(s, 3, 6);
	CHECK_OK(ls_spool_drop(s, UINT64_MAX, &e));
	range_is(s, 6, 6);
	kit_check(s);
	ls_spool_free(s);
}

TEST(spool_gap)
{
	struct ls_spool *s = filled(7);

	CHECK_EQ(unlink(T("m/ltx/0/0000000000000004-0000000000000004.ltx")), 0);
	ls_spool_free(s);
	s = kit_open();
	range_is(s, 5, 7);
	kit_check(s);
	ls_spool_free(s);
}

TEST(spool_foreign_file)
{
	struct ls_err e = { 0 };
	struct ls_spool *s = filled(3);
	int fds = test_open_fds();

	ls_spool_free(s);
	s = NULL;
	name_file("0000000000000004-0000000000000005.ltx", "x");
	CHECK_RC(ls_spool_open(T("m"), &s, &e), LS_ECORRUPT);
	CHECK(strstr(e.msg, "0000000000000004-0000000000000005.ltx"));
	CHECK(s == NULL && e.hint[0] != '\0');
	CHECK_EQ(test_open_fds(), fds);
	CHECK_EQ(kit_count(T("m/ltx/0")), 4); /* nothing was touched */
}

TEST(spool_sweeps_what_a_crash_left)
{
	struct ls_spool *s = filled(2);

	ls_spool_free(s);
	name_file("0000000000000003-0000000000000003.ltx.tmp", "x");
	test_write_file(T("m/a.tmp"), "x", 1);
	test_write_file(T("m/ltx/b.tmp"), "x", 1);
	test_write_file(T("m/other"), "x", 1);
	s = kit_open();
	kit_check(s);
	CHECK(!ls_exists(T("m/a.tmp")) && !ls_exists(T("m/ltx/b.tmp")));
	CHECK(ls_exists(T("m/other")));
	ls_spool_free(s);
}

/* After a crash an unsynced file is there if it is whole and in sequence. */
TEST(spool_unsynced_is_verified_at_open)
{
	for (int damage = 0; damage < 4; damage++) {
		struct ls_err e = { 0 };
		struct ls_spool *s = filled(2);
		char path[1024];
		uint64_t bytes;

		CHECK_OK(kit_put(s, 3, false, &e));
		CHECK_OK(kit_put(s, 4, false, &e));
		CHECK_OK(kit_put(s, 5, false, &e));
		kit_check(s);
		bytes = ls_spool_bytes(s);
		ls_spool_path(s, 3 + (uint64_t)damage, path, sizeof path);
		if (damage == 2)
			CHECK_EQ(unlink(path), 0);
		else if (damage < 3)
			CHECK_EQ(truncate(path, 300), 0);
		ls_spool_free(s);
		s = kit_open();
		range_is(s, 1, damage == 3 ? 5 : 2 + (uint64_t)damage);
		kit_check(s);
		CHECK(damage < 3 || ls_spool_bytes(s) == bytes);
		CHECK_OK(kit_put(
		    s, damage == 3 ? 6 : 3 + (uint64_t)damage, true, &e));
		kit_check(s);
		ls_spool_free(s);
	}
}

TEST(spool_sync_names_what_was_not_synced)
{
	struct ls_err e = { 0 };
	struct ls_spool *s = filled(2);

	CHECK_OK(kit_put(s, 3, false, &e));
	CHECK(!ls_exists(T("m/ltx/0/0000000000000003-0000000000000003.ltx")));
	CHECK_OK(ls_spool_sync(s, &e));
	CHECK(ls_exists(T("m/ltx/0/0000000000000003-0000000000000003.ltx")));
	kit_check(s);
	CHECK_OK(kit_put(s, 4, false, &e));
	CHECK_OK(kit_put(s, 5, true, &e)); /* takes 4 along */
	CHECK(ls_exists(T("m/ltx/0/0000000000000004-0000000000000004.ltx")));
	kit_check(s);
	CHECK_OK(ls_spool_sync(s, &e));
	ls_spool_free(s);
}

/* One of each; *synced: what was promised. */
static enum ls_rc
play(struct ls_spool *s, uint64_t *synced, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = kit_put(s, 4, true, e)) != LS_OK)
		return rc;
	*synced = 4;
	if ((rc = kit_put(s, 5, false, e)) != LS_OK ||
	    (rc = kit_put(s, 6, false, e)) != LS_OK ||
	    (rc = ls_spool_sync(s, e)) != LS_OK)
		return rc;
	*synced = 6;
	if ((rc = kit_put(s, 7, false, e)) != LS_OK ||
	    (rc = ls_spool_drop(s, 2, e)) != LS_OK ||
	    (rc = kit_put(s, 8, true, e)) != LS_OK)
		return rc;
	*synced = 8;
	return LS_OK;
}

TEST(spool_fault_sweep)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct ls_spool *s = filled(3);
		uint64_t synced = 3, oldest, newest, after;
		int fds = test_open_fds();
		enum ls_rc rc;

		fault_arm(n, ENOSPC);
		rc = play(s, &synced, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		kit_check(s);
		CHECK(fault_fired() ? rc != LS_OK && e.msg[0] : rc == LS_OK);
		ls_spool_range(s, &oldest, &newest);
		CHECK(newest >= synced);
		/* What memory says is what a start finds. */
		ls_spool_free(s);
		s = kit_open();
		ls_spool_range(s, &oldest, &after);
		CHECK_EQ(after, newest);
		kit_check(s);
		kit_check_state(s, newest);
		ls_spool_free(s);
		if (!fault_fired()) {
			CHECK(n > 30 && newest == 8);
			return;
		}
	}
}

TEST(spool_crash_at_every_call)
{
	for (int power = 0, n = 1; power < 2; n++) {
		struct ls_err e = { 0 };
		struct ls_spool *s = filled(3);
		uint64_t synced = 3, oldest, newest;
		enum ls_rc rc;
		bool hit;

		crash_arm(n, power);
		rc = play(s, &synced, &e);
		ls_spool_free(s);
		hit = crash_disarm();
		CHECK(hit == (rc != LS_OK));
		/* The start after it may be cut short too. */
		s = NULL;
		crash_arm(1 + n % 5, power);
		rc = ls_spool_open(T("m"), &s, &e);
		CHECK(rc == LS_OK || s == NULL);
		ls_spool_free(s);
		(void)crash_disarm();
		s = kit_open();
		kit_check(s);
		ls_spool_range(s, &oldest, &newest);
		CHECK(newest >= synced && oldest <= 3);
		kit_check_state(s, newest);
		ls_spool_free(s);
		if (!hit) {
			CHECK(n > 20);
			power++, n = 0;
		}
	}
}

TEST(spool_open_and_clear_fault_sweep)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct ls_spool *s = filled(3);
		int fds = test_open_fds();
		enum ls_rc rc;
		bool fired;

		CHECK_OK(kit_put(s, 4, false, &e));
		ls_spool_free(s);
		s = NULL;
		fault_reads(1);
		fault_arm(n, EIO);
		rc = ls_spool_open(T("m"), &s, &e);
		fired = fault_fired();
		if (rc == LS_OK)
			rc = ls_spool_clear(s, &e);
		fired = fault_fired() || fired;
		fault_disarm();
		fault_reads(0);
		CHECK_EQ(test_open_fds(), fds);
		CHECK(fired ? rc != LS_OK : rc == LS_OK);
		ls_spool_free(s);
		s = kit_open();
		kit_check(s);
		ls_spool_free(s);
		if (!fired) {
			CHECK(n > 10);
			return;
		}
	}
}
