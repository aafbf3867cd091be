/* test_points.c -- what can be restored, against the planner. */
#include "replica/points.h"

#include "model.h"

/* Random listings: a TXID is a point exactly when the planner finds a plan. */
TEST(points_are_what_the_planner_finds)
{
	struct ls_err e = { 0 };
	size_t found = 0, absent = 0;

	test_seed(11);
	for (int round = 0; round < 400; round++) {
		struct ls_file v[40];
		struct ls_files all = { v, 1 + test_rand() % 40, 40 };
		struct ls_points p = { 0 };

		for (size_t i = 0; i < all.n; i++) {
			uint64_t min = 1 + test_rand() % 24;
			int level = (int)(test_rand() % 4);

			v[i] = (struct ls_file){ .level = level,
				.min_txid = min,
				.max_txid = min + test_rand() % 5,
				.size = 200,
				.created_ns = (int64_t)(test_rand() % 9) };
			if (level == 3) {
				v[i].level = LS_SNAPSHOT_LEVEL;
				v[i].max_txid = min, v[i].min_txid = 1;
			}
			if (test_rand() % 8 == 0)
				v[i].min_txid = 1;
		}
		CHECK_OK(ls_points_of(&all, &p, &e));
		for (uint64_t t = 1; t < 32; t++) {
			const struct ls_target target = { .txid = t };
			struct ls_plan plan = { 0 };
			bool yes = ls_plan_make(NULL, &all, &target, &plan,
				       NULL, NULL) == LS_OK;

			CHECK_EQ(ls_points_have(&p, t), yes);
			found += yes, absent += !yes;
			ls_plan_fini(&plan);
		}
		ls_points_fini(&p);
	}
	CHECK(found > 1000 && absent > 1000);
}

TEST(points_by_time)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_points p = { 0 };
	struct ls_points_opts o = { .par = &ls_par_threads };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	const struct ls_compact_opts co = { .newest = 0 };
	struct ls_compacted out;

	md_open(&m);
	CHECK_OK(ls_replica_points(m.r, &o, &p, NULL, &e));
	CHECK_EQ(p.n, 0);
	for (int i = 0; i < 10; i++) {
		md_tick(&m, MD_HOUR);
		md_commit(&m);
	}
	CHECK_OK(ls_compact(m.r, 1, &co, st, &out, NULL, &e));
	for (uint64_t t = 2; t <= 6; t++)
		md_delete(&m, 0, t, t);
	CHECK_OK(ls_replica_points(m.r, &o, &p, NULL, &e));
	CHECK_EQ(p.n, 2); /* 1, and 10 by level 1 */
	CHECK_EQ(p.v[0].txid, 1);
	CHECK_EQ(p.v[1].txid, 10);
	CHECK_EQ(p.v[0].min_level, 0);
	CHECK_EQ(p.v[1].min_level, 0);
	CHECK_EQ(p.v[1].time_ns, m.s[10].ns);
	md_delete(&m, 0, 10, 10);
	ls_points_fini(&p);
	o.since_ns = m.s[1].ns + 1;
	CHECK_OK(ls_replica_points(m.r, &o, &p, NULL, &e));
	CHECK_EQ(p.n, 1);
	CHECK_EQ(p.v[0].min_level, 1);
	CHECK_EQ(p.v[0].time_ns, m.s[10].ns); /* its last input's */
	ls_points_fini(&p);
	o.since_ns = 0, o.until_ns = m.s[10].ns - 1;
	CHECK_OK(ls_replica_points(m.r, &o, &p, NULL, &e));
	CHECK_EQ(p.n, 1);
	CHECK_EQ(p.v[0].txid, 1);
	ls_points_fini(&p);
	o.since_ns = m.s[10].ns, o.until_ns = m.s[10].ns; /* both belong */
	CHECK_OK(ls_replica_points(m.r, &o, &p, NULL, &e));
	CHECK_EQ(p.n, 1);
	CHECK_EQ(p.v[0].txid, 10);
	ls_points_fini(&p);
	md_close(&m);
}
