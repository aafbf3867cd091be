/* Upkeep from inside the VFS: over months of the model's life, in one long
 * life or many short ones, what is stored stays bounded and restores. */
#include "model.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "fault.h"
#include "vfs/keeper.h"

#include <unistd.h>

TEST(keeper_levels_are_parsed)
{
	struct ls_keep_conf k;
	struct ls_err e = { 0 };

	ls_keep_conf_init(&k);
	CHECK_EQ(k.n_levels, 3);
	CHECK_EQ(k.level_ns[2], 3600 * (int64_t)LS_SEC);
	CHECK_OK(ls_keep_levels(&k, "10s,1m", &e));
	CHECK_EQ(k.n_levels, 2);
	CHECK_EQ(k.level_ns[0], 10 * (int64_t)LS_SEC);
	CHECK_OK(ls_keep_levels(&k, "", &e));
	CHECK_EQ(k.n_levels, 0);
	CHECK_RC(ls_keep_levels(&k, "1m,10s", &e), LS_EINVALID);
	CHECK_RC(ls_keep_levels(&k, "0s", &e), LS_EINVALID);
	CHECK_RC(ls_keep_levels(&k, "1s,,2s", &e), LS_EINVALID);
	CHECK_RC(ls_keep_levels(&k, "1s,soon", &e), LS_EINVALID);
	CHECK_RC(
	    ls_keep_levels(&k, "1s,2s,3s,4s,5s,6s,7s,8s,9s", &e), LS_EINVALID);
}

static size_t
stored(struct md *m)
{
	size_t n = 0;

	for (int l = 0; l < LS_LEVELS; l++) {
		struct ls_files f = { 0 };

		n += md_list(m, l, &f);
		ls_files_fini(&f);
	}
	return n;
}

static void
life(struct md *m, const struct ls_keep_conf *conf)
{
	struct ls_keeper *k = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_keeper_new(m->r, conf, &k, &e));
	md_commit(m);
	ls_keeper_pushing(k, m->n);
	ls_keeper_pushed(k, m->n);
	ls_keeper_free(k);
}

/* Every life is ended at once, so most have no turn but the one that they owe;
 * a commit every four minutes, for four days. */
TEST(keeper_of_short_lives)
{
	struct ls_keep_conf conf;
	size_t most = 0;
	struct md m;

	ls_keep_conf_init(&conf);
	md_open(&m);
	for (int i = 0; i < 4 * 24 * 15; i++) {
		md_tick(&m, 4 * MD_MINUTE);
		life(&m, &conf);
		most = LS_MAX(most, stored(&m));
		if (i % 100 == 0)
			md_check(&m, m.n);
	}
	md_check(&m, m.n);
	/* Level 0: 64 lives and what is younger than 20 minutes; level 1 the
	 * turns of an hour, ... of two days at most. */
	CHECK(most < 250);
	CHECK(!md_plannable(&m, 100)); /* older than the window */
	md_close(&m);
}

TEST(keeper_of_a_reader_does_nothing)
{
	struct ls_keep_conf conf;
	struct ls_keeper *k = NULL;
	struct ls_err e = { 0 };
	struct md m;
	uint64_t before;

	ls_keep_conf_init(&conf);
	md_open(&m);
	for (int i = 0; i < 70; i++)
		md_commit(&m);
	before = md_requests(&m);
	CHECK_OK(ls_keeper_new(m.r, &conf, &k, &e));
	ls_keeper_free(k);
	conf.off = true;
	CHECK_OK(ls_keeper_new(m.r, &conf, &k, &e));
	ls_keeper_pushed(k, m.n);
	ls_keeper_free(k);
	CHECK_EQ(md_requests(&m), before);
	md_close(&m);
}

/* One life at real speed: levels at 20 and 60 ms, everything goes at once. */
TEST(keeper_of_a_long_life)
{
	const struct ls_keep_conf conf = { .n_levels = 2,
		.level_ns = { 20 * (int64_t)LS_MS, 60 * (int64_t)LS_MS },
		.snapshot_interval_ns = 100 * (int64_t)LS_MS,
		.snapshot_retention_ns = 100 * (int64_t)LS_MS,
		.l0_retention_ns = 10 * (int64_t)LS_MS };
	struct ls_keeper *k = NULL;
	struct ls_err e = { 0 };
	struct ls_files base = { 0 };
	size_t most = 0;
	struct md m;

	md_open(&m);
	CHECK_OK(ls_keeper_new(m.r, &conf, &k, &e));
	for (int i = 0; md_list(&m, LS_SNAPSHOT_LEVEL, &base) < 3; i++) {
		ls_files_fini(&base);
		CHECK(i < 20000);
		md_tick(&m, 3 * (int64_t)LS_MS);
		ls_keeper_pushing(k, m.n + 1);
		md_commit(&m);
		ls_keeper_pushed(k, m.n);
		(void)usleep(500);
		if (i % 50 == 0)
			md_check(&m, m.n);
		most = LS_MAX(most, stored(&m));
	}
	ls_files_fini(&base);
	ls_keeper_error(k, &e);
	CHECK_STR(e.msg, "");
	ls_keeper_free(k);
	md_check(&m, m.n);
	md_close(&m);
}

TEST(keeper_meets_another_writer)
{
	struct ls_keep_conf conf;
	struct ls_keeper *k = NULL;
	struct ls_err e = { 0 };
	size_t before;
	struct md m;

	ls_keep_conf_init(&conf);
	md_open(&m);
	for (int i = 0; i < 130; i++)
		md_commit(&m);
	before = stored(&m);
	CHECK_OK(ls_keeper_new(m.r, &conf, &k, &e));
	ls_keeper_pushed(k, 100); /* 101 to 130 are another's */
	for (int i = 0; e.rc != LS_EFENCED && i < 100000; i++) {
		ls_keeper_error(k, &e);
		(void)usleep(100);
	}
	CHECK_EQ(e.rc, LS_EFENCED);
	ls_keeper_free(k);
	CHECK_EQ(stored(&m), before);
	md_close(&m);
}
