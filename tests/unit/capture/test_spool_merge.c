#include "capture/spool.h"

#include "crashsim.h"
#include "fault.h"
#include "spoolkit.h"

#include <errno.h>
#include <unistd.h>

/* A new spool that holds oldest..newest. */
static struct ls_spool *
filled(uint64_t oldest, uint64_t newest)
{
	struct ls_err e = { 0 };
	struct ls_spool *s;

	kit_wipe();
	s = kit_open();
	for (uint64_t t = oldest; t <= newest; t++)
		CHECK_OK(kit_put(s, t, true, &e));
	return s;
}

static void
range_is(struct ls_spool *s, uint64_t oldest, uint64_t newest)
{
	uint64_t a, b;

	ls_spool_range(s, &a, &b);
	CHECK_EQ(a, oldest);
	CHECK_EQ(b, newest);
}

TEST(spool_merge_takes_the_next_txid)
{
	/* frozen, oldest, newest; up to one file, a few, several batches */
	static const uint64_t row[][4] = {
		{ 5, 3, 9, 6 },
		{ 0, 1, 9, 1 },
		{ 2, 5, 9, 5 },
		{ 1, 1, 64, 2 },
		{ 1, 1, 65, 2 },
		{ 1, 1, 66, 2 },
		{ 3, 2, 200, 4 },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct ls_spool *s = filled(row[i][1], row[i][2]);
		struct ls_ltx_header was, h;
		struct ls_err e = { 0 };
		int fds = test_open_fds();

		CHECK_OK(ls_spool_header(s, row[i][2], &was, NULL, &e));
		CHECK_OK(ls_spool_merge(s, row[i][0], &e));
		CHECK_EQ(test_open_fds(), fds);
		range_is(s, row[i][1], row[i][3]);
		kit_check(s);
		kit_check_state(s, row[i][2]);
		CHECK_OK(ls_spool_header(s, row[i][3], &h, NULL, &e));
		CHECK(h.wal_offset == was.wal_offset &&
		      h.wal_size == was.wal_size && h.salt1 == was.salt1 &&
		      h.salt2 == was.salt2 && h.commit == was.commit &&
		      h.timestamp_ms == was.timestamp_ms &&
		      h.node_id == was.node_id && h.has_db_checksum &&
		      h.db_checksum == was.db_checksum);
		CHECK_EQ(kit_count(T("m")), 1); /* ltx */
		ls_spool_free(s);
		s = kit_open();
		range_is(s, row[i][1], row[i][3]);
		kit_check(s);
		ls_spool_free(s);
	}
}

/* A whole copy of two pages of 1024 bytes. */
static void
put_larger(struct ls_spool *s, uint64_t txid)
{
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = 1024,
		.commit = 2,
		.min_txid = txid,
		.max_txid = txid,
		.timestamp_ms = (int64_t)txid,
		.wal_offset = 32 };
	struct ls_ltx_writer *w = NULL;
	struct ls_err e = { 0 };
	uint8_t page[1024];

	memset(page, (int)txid, sizeof page);
	CHECK_OK(ls_ltx_writer_new(ls_spool_sink, s, &w, &e));
	CHECK_OK(ls_spool_begin(s, txid, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	for (uint32_t p = 1; p <= 2; p++)
		CHECK_OK(ls_ltx_writer_page(w, p, page, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	ls_ltx_writer_free(w);
	CHECK_OK(ls_spool_commit(s, true, &e));
}

TEST(spool_merge_begins_behind_a_new_page_size)
{
	struct ls_spool *s = filled(1, 9);
	struct ls_ltx_header h;
	struct ls_err e = { 0 };

	put_larger(s, 10);
	CHECK_OK(ls_spool_merge(s, 2, &e)); /* nothing behind it to merge */
	range_is(s, 1, 10);
	put_larger(s, 11);
	put_larger(s, 12);
	CHECK_OK(ls_spool_merge(s, 2, &e));
	range_is(s, 1, 10);
	CHECK_OK(ls_spool_header(s, 10, &h, NULL, &e));
	CHECK(h.page_size == 1024 && h.timestamp_ms == 12);
	CHECK_OK(ls_spool_header(s, 9, &h, NULL, &e));
	CHECK_EQ(h.page_size, KIT_PAGE_SIZE);
	ls_spool_free(s);
}

TEST(spool_merge_of_less_than_two_does_nothing)
{
	struct ls_spool *s = filled(1, 5);
	struct ls_err e = { 0 };

	CHECK_OK(ls_spool_merge(s, 4, &e));
	CHECK_OK(ls_spool_merge(s, 5, &e));
	CHECK_OK(ls_spool_merge(s, UINT64_MAX, &e));
	range_is(s, 1, 5);
	kit_check(s);
	CHECK_OK(ls_spool_clear(s, &e));
	CHECK_OK(ls_spool_merge(s, 0, &e));
	range_is(s, 0, 0);
	ls_spool_free(s);
}

/* Either all files as they were, or the merged one, or on the way there. */
static void
check_after(struct ls_spool *s)
{
	uint64_t oldest, newest;

	ls_spool_range(s, &oldest, &newest);
	CHECK_EQ(oldest, 2);
	CHECK(newest == 4 || newest == 9);
	kit_check(s);
	kit_check_state(s, 9);
}

TEST(spool_merge_fault_sweep)
{
	fault_memory(1);
	for (int n = 1;; n++) {
		struct ls_spool *s = filled(2, 9);
		struct ls_err e = { 0 };
		int fds = test_open_fds();
		uint64_t oldest, newest;
		enum ls_rc rc;
		bool fired;

		fault_arm(n, ENOSPC);
		rc = ls_spool_merge(s, 3, &e);
		fault_disarm();
		fired = fault_fired();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(fired ? rc != LS_OK && e.msg[0] : rc == LS_OK);
		CHECK(!ls_exists(T("m/litestreamd-merge.tmp")));
		/* Going on finishes what is decided. */
		ls_spool_range(s, &oldest, &newest);
		CHECK(newest >= 4 && newest <= 9);
		CHECK_OK(ls_spool_drop(s, 0, &e));
		check_after(s);
		CHECK(!ls_exists(T("m/litestreamd-merge")));
		ls_spool_range(s, &oldest, &newest);
		CHECK_OK(kit_put(s, newest + 1, true, &e));
		ls_spool_free(s);
		if (!fired) {
			CHECK(n > 30);
			return;
		}
	}
}

TEST(spool_merge_crash_at_every_call)
{
	for (int power = 0, n = 1; power < 2; n++) {
		struct ls_spool *s = filled(2, 9);
		struct ls_err e = { 0 };
		uint64_t oldest, newest;
		enum ls_rc rc;
		bool hit;

		crash_arm(n, power);
		rc = ls_spool_merge(s, 3, &e);
		ls_spool_free(s);
		hit = crash_disarm();
		/* And the start that finishes it may be cut short. */
		s = NULL;
		crash_arm(1 + n % 7, power);
		if (ls_spool_open(T("m"), &s, &e) == LS_OK)
			ls_spool_free(s);
		(void)crash_disarm();
		s = kit_open();
		check_after(s);
		ls_spool_range(s, &oldest, &newest);
		CHECK(rc != LS_OK || newest == 4);
		CHECK_EQ(kit_count(T("m")), 1);
		ls_spool_free(s);
		if (!hit) {
			CHECK(rc == LS_OK && n > 10);
			power++, n = 0;
		}
	}
}

TEST(spool_merge_damaged_record_is_dropped)
{
	struct ls_spool *s = filled(2, 9);

	ls_spool_free(s);
	test_write_file(T("m/litestreamd-merge"), "LTX1 but no more", 16);
	s = kit_open();
	range_is(s, 2, 9);
	kit_check(s);
	CHECK(!ls_exists(T("m/litestreamd-merge")));
	ls_spool_free(s);
}

TEST(spool_merge_refuses_damaged_input)
{
	struct ls_spool *s = filled(2, 9);
	struct ls_err e = { 0 };
	char path[1024];

	CHECK_EQ(truncate(ls_spool_path(s, 6, path, sizeof path), 200), 0);
	CHECK(ls_spool_merge(s, 3, &e) != LS_OK);
	range_is(s, 2, 9);
	CHECK_EQ(kit_count(T("m")), 1);
	CHECK_EQ(kit_count(T("m/ltx/0")), 8);
	ls_spool_free(s);
}
