#include "test.h"

#include "daemon/page.h"
#include "daemon/tally.h"

TEST(lag_is_that_of_the_oldest_that_waits)
{
	struct ls_lag l = { 0 };

	CHECK_EQ(ls_lag_since(&l), 0);
	ls_lag_captured(&l, 5, 100);
	ls_lag_captured(&l, 6, 200);
	ls_lag_captured(&l, 9, 300);
	CHECK_EQ(ls_lag_since(&l), 100);
	ls_lag_durable(&l, 4);
	CHECK_EQ(ls_lag_since(&l), 100);
	ls_lag_durable(&l, 5);
	CHECK_EQ(ls_lag_since(&l), 200);
	ls_lag_durable(&l, 7); /* 8 and 9 wait */
	CHECK_EQ(ls_lag_since(&l), 300);
	ls_lag_durable(&l, 9);
	CHECK_EQ(ls_lag_since(&l), 0);
}

/* More commits than there are marks: the time told is never too late. */
TEST(lag_is_never_told_too_small)
{
	for (uint64_t seed = 1; seed < 200; seed++) {
		struct ls_lag l = { 0 };
		uint64_t since[400], newest = 0, acked = 0;

		test_seed(seed);
		while (newest < 399) {
			if (test_rand() % 3 != 0 || acked == newest) {
				newest++;
				since[newest] = newest * 10;
				ls_lag_captured(&l, newest, since[newest]);
			} else {
				acked += 1 + test_rand() % (newest - acked);
				ls_lag_durable(&l, acked);
			}
			if (acked == newest) {
				CHECK_EQ(ls_lag_since(&l), 0);
				continue;
			}
			CHECK(ls_lag_since(&l) != 0);
			CHECK(ls_lag_since(&l) <= since[acked + 1]);
		}
		ls_lag_fini(&l);
	}
}

/* Pending files 4..9 become one that takes TXID 4. */
TEST(lag_keeps_its_time_when_files_are_merged)
{
	struct ls_lag l = { 0 };

	for (uint64_t t = 3; t < 10; t++)
		ls_lag_captured(&l, t, t * 100);
	ls_lag_durable(&l, 3);
	ls_lag_captured(&l, 4, 2000);
	CHECK_EQ(ls_lag_since(&l), 400);
	ls_lag_captured(&l, 5, 2100);
	ls_lag_durable(&l, 4);
	CHECK_EQ(ls_lag_since(&l), 2100);
	ls_lag_fini(&l);
}

TEST(ages_are_short)
{
	static const struct {
		uint64_t ns;
		const char *want;
	} rows[] = { { 0, "0 s" }, { 1, "< 0.1 s" }, { LS_SEC / 5, "0.2 s" },
		{ 99 * LS_SEC / 10, "9.9 s" }, { 10 * LS_SEC, "10 s" },
		{ 119 * LS_SEC, "119 s" }, { 120 * LS_SEC, "2 min" },
		{ 7199 * LS_SEC, "119 min" }, { 7200 * LS_SEC, "2 h" },
		{ 172800 * LS_SEC, "2 d" } };
	char t[LS_AGE_MAX];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		CHECK_STR(ls_page_age(rows[i].ns, t), rows[i].want);
}
