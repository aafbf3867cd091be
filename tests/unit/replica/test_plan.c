/* test_plan.c -- plans against two oracles, and what cannot be reached. */
#include "fixture.h"

#include "base/bytes.h"
#include "base/units.h"
#include "replica/files.h"

enum { MOST = 24, TOP = 9 };

struct set {
	struct ls_file v[MOST];
	size_t n;
};

static struct ls_file
file(int level, uint64_t min, uint64_t max)
{
	return (struct ls_file){
		.level = level, .min_txid = min, .max_txid = max, .size = 1000
	};
}

static void
random_set(struct set *s)
{
	s->n = test_rand() % MOST;
	for (size_t i = 0; i < s->n; i++) {
		int level = (int)(test_rand() % 10);
		uint64_t min = 1 + test_rand() % TOP;
		uint64_t max = min + test_rand() % (TOP + 1 - min);

		if (level == 0)
			max = min;
		if (level == 9)
			min = 1;
		s->v[i] = file(level, min, max);
	}
}

/* compatibility 7.1, said as literally as possible. */
static uint64_t
upstream_plan(const struct set *s, uint64_t cap, struct set *out)
{
	uint64_t at = 0;

	out->n = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].level == 9 && s->v[i].max_txid <= cap &&
		    s->v[i].max_txid > at)
			out->v[0] = s->v[i], out->n = 1, at = s->v[i].max_txid;
	for (;;) {
		const struct ls_file *b = NULL;

		for (size_t i = 0; i < s->n; i++) {
			const struct ls_file *f = &s->v[i];

			if (f->level == 9 || f->min_txid > at + 1 ||
			    f->max_txid <= at || f->max_txid > cap)
				continue;
			if (b == NULL || f->max_txid > b->max_txid ||
			    (f->max_txid == b->max_txid &&
				(f->min_txid < b->min_txid ||
				    (f->min_txid == b->min_txid &&
					f->level > b->level))))
				b = f;
		}
		if (b == NULL)
			return at;
		out->v[out->n++] = *b;
		at = b->max_txid;
	}
}

/* The furthest state that any choice of files reaches. */
static uint64_t
furthest(const struct set *s, uint64_t cap)
{
	bool can[TOP + 1] = { true };
	uint64_t best = 0;

	for (int round = 0; round <= TOP; round++)
		for (size_t i = 0; i < s->n; i++)
			for (uint64_t from = s->v[i].min_txid - 1;
			     from < s->v[i].max_txid; from++)
				if (can[from] && s->v[i].max_txid <= cap)
					can[s->v[i].max_txid] = true;
	for (uint64_t t = 1; t <= TOP; t++)
		if (can[t])
			best = t;
	return best;
}

/* Where the chain would go on behind a gap; 0: it ends. */
static uint64_t
gap_at(const struct set *s, uint64_t at)
{
	uint64_t next = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].level < 9 && s->v[i].min_txid > at + 1 &&
		    (next == 0 || s->v[i].min_txid < next))
			next = s->v[i].min_txid;
	return next;
}

TEST(plans_equal_brute_force)
{
	struct ls_err e = { 0 };
	int ok = 0, missing = 0, gaps = 0;

	for (int round = 0; round < 20000; round++) {
		struct set s, want;
		struct ls_target t = { .txid = test_rand() % (TOP + 2) };
		uint64_t cap = t.txid ? t.txid : UINT64_MAX, at;
		struct ls_plan p = { 0 };
		enum ls_rc rc;

		random_set(&s);
		struct ls_files all = { s.v, s.n, s.n };
		at = upstream_plan(&s, cap, &want);
		CHECK_EQ(at, furthest(&s, cap));
		rc = ls_plan_make(NULL, &all, &t, &p, NULL, &e);
		if (t.txid == 0 && gap_at(&s, at) != 0) {
			char msg[128];

			CHECK_RC(rc, LS_EGAP);
			(void)snprintf(msg, sizeof msg,
			    "non-contiguous ltx files: have up to %016x but "
			    "next file starts at %016x",
			    (unsigned)at, (unsigned)gap_at(&s, at));
			CHECK_STR(e.msg, msg);
			gaps++;
		} else if (at == 0 || (t.txid != 0 && at != t.txid)) {
			CHECK_RC(rc, LS_ENOTFOUND);
			CHECK_STR(e.msg, "transaction not available");
			missing++;
		} else {
			CHECK_OK(rc);
			CHECK_EQ(p.txid, at);
			CHECK_EQ(p.files.n, want.n);
			for (size_t i = 0; i < want.n; i++) {
				const struct ls_file *a = &p.files.v[i];

				CHECK_EQ(a->level, want.v[i].level);
				CHECK_EQ(a->min_txid, want.v[i].min_txid);
				CHECK_EQ(a->max_txid, want.v[i].max_txid);
			}
			ok++;
		}
		ls_plan_fini(&p);
	}
	CHECK(ok > 1000 && missing > 1000 && gaps > 300);
}

TEST(unreachable_txid_names_its_neighbours)
{
	struct ls_err e = { 0 };
	struct ls_file v[] = { file(9, 1, 3), file(1, 4, 7), file(1, 8, 9) };
	struct ls_files all = { v, 3, 3 };
	struct ls_target t = { .txid = 5 };
	struct ls_plan p = { 0 };

	CHECK_RC(ls_plan_make(NULL, &all, &t, &p, NULL, &e), LS_ENOTFOUND);
	CHECK_STR(e.hint, "the nearest points are TXID 0000000000000003 and "
			  "0000000000000007");
	t.txid = 12;
	CHECK_RC(ls_plan_make(NULL, &all, &t, &p, NULL, &e), LS_ENOTFOUND);
	CHECK_STR(e.hint, "the nearest point is TXID 0000000000000009");
	t.txid = 2;
	CHECK_RC(ls_plan_make(NULL, &all, &t, &p, NULL, &e), LS_ENOTFOUND);
	CHECK_STR(e.hint, "the nearest point is TXID 0000000000000003");
}

TEST(late_level_0_is_ignored)
{
	struct ls_err e = { 0 };
	struct ls_file v[] = { file(0, 2, 2), file(0, 3, 3), file(1, 2, 4),
		file(9, 1, 1) };
	struct ls_files all = { v, 4, 4 };
	struct ls_target t = { .txid = 3 };
	struct ls_plan p = { 0 };

	v[0].created_ns = 20, v[1].created_ns = 30, v[2].created_ns = 40;
	CHECK_OK(ls_plan_make(NULL, &all, &t, &p, NULL, &e));
	CHECK_EQ(p.files.n, 3);
	ls_plan_fini(&p);
	v[1].created_ns = 41; /* came after the file that covers it */
	CHECK_RC(ls_plan_make(NULL, &all, &t, &p, NULL, &e), LS_ENOTFOUND);
	t.txid = 2; /* the other one still counts */
	CHECK_OK(ls_plan_make(NULL, &all, &t, &p, NULL, &e));
	ls_plan_fini(&p);
	/* A level-9 file's time is the start of its upload. */
	t.txid = 3;
	v[2] = file(9, 1, 4), v[2].created_ns = 5;
	CHECK_OK(ls_plan_make(NULL, &all, &t, &p, NULL, &e));
	ls_plan_fini(&p);
}

static int64_t
at_ns(uint64_t txid, int64_t plus_ms)
{
	return (FX_T0 + (int64_t)txid * 1000 + plus_ms) * 1000000;
}

TEST(time_targets)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_plan p = { 0 };

	fx_open(&x, 512);
	for (int i = 0; i < 12; i++)
		fx_commit(&x);
	fx_put(&x, 9, 1, 3);
	fx_put(&x, 1, 4, 6);
	for (uint64_t t = 5; t <= 12; t++)
		fx_put(&x, 0, t, t);
	for (uint64_t t = 3; t <= 12; t++) {
		/* 4 and 5 are only inside the merged file of 6. */
		uint64_t want = t == 4 || t == 5 ? 3 : t;
		struct ls_target exact = { .before_ns = at_ns(t, 0) };
		struct ls_target later = { .before_ns = at_ns(t, 999) };

		CHECK_OK(fx_plan(&x, &exact, &p, &e));
		CHECK_EQ(p.txid, want);
		ls_plan_fini(&p);
		CHECK_OK(fx_plan(&x, &later, &p, &e));
		CHECK_EQ(p.txid, want);
		ls_plan_fini(&p);
	}
	struct ls_target before = { .before_ns = at_ns(3, 0) - 1 };
	char want[256], text[LS_TIME_MAX];
	CHECK_RC(fx_plan(&x, &before, &p, &e), LS_ENOTFOUND);
	(void)snprintf(want, sizeof want,
	    "no point before; the nearest after it is %s (TXID %016x)",
	    ls_time_milli(at_ns(3, 0), text), 3);
	CHECK_STR(e.hint, want);
	fx_close(&x);
}

TEST(equal_times_belong_together)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_plan p = { 0 };
	struct ls_files all = { 0 };
	struct ls_target t = { .before_ns = 5000000 };

	fx_open(&x, 512);
	for (uint64_t i = 1; i <= 6; i++) {
		struct ls_file f = file(0, i, i);

		/* Times 5 5 5 5 6 6: known, so nothing is read. */
		f.has_header = true, f.timestamp_ms = i <= 4 ? 5 : 6;
		all.v = ls_realloc(all.v, i * sizeof f);
		CHECK(all.v != NULL);
		all.v[all.n++] = f, all.cap = all.n;
	}
	CHECK_OK(ls_plan_make(x.r, &all, &t, &p, NULL, &e));
	CHECK_EQ(p.txid, 4);
	ls_plan_fini(&p);
	ls_files_fini(&all);
	fx_close(&x);
}

/* Upstream's snapshot says when it was made: what it holds was committed, and
 * known from other files, before. */
TEST(late_snapshot_serves_earlier_times)
{
	static const struct {
		int level, min, max, ms;
	} v[] = { { 9, 1, 3, 90 }, { 1, 2, 3, 30 }, { 0, 3, 3, 30 },
		{ 0, 4, 4, 40 }, { 0, 5, 5, 50 } };
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_files all = { 0 };
	struct ls_plan p = { 0 };

	fx_open(&x, 512);
	for (size_t i = 0; i < LS_COUNT(v); i++) {
		struct ls_file f =
		    file(v[i].level, (uint64_t)v[i].min, (uint64_t)v[i].max);

		f.has_header = true, f.timestamp_ms = v[i].ms;
		CHECK_OK(ls_files_add(&all, &f, &e));
	}
	for (int64_t ms = 29; ms <= 60; ms++) {
		struct ls_target t = { .before_ns = ms * 1000000 };

		if (ms < 30) {
			CHECK_RC(ls_plan_make(x.r, &all, &t, &p, NULL, &e),
			    LS_ENOTFOUND);
			continue;
		}
		CHECK_OK(ls_plan_make(x.r, &all, &t, &p, NULL, &e));
		CHECK_EQ(p.txid, ms < 40 ? 3 : ms < 50 ? 4 : 5);
		ls_plan_fini(&p);
	}
	ls_files_fini(&all);
	fx_close(&x);
}

TEST(bounds_are_the_first_base_and_the_last_point)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_files all = { 0 };
	int64_t from = -1, to = -1;

	fx_open(&x, 512);
	CHECK_OK(ls_replica_bounds(x.r, &all, &from, &to, NULL, &e));
	CHECK(from == 0 && to == 0);
	for (int i = 0; i < 8; i++)
		fx_commit(&x);
	fx_put(&x, 9, 1, 2);
	fx_put(&x, 9, 1, 5);
	fx_put(&x, 0, 6, 6);
	fx_put(&x, 0, 8, 8); /* behind a gap: not reachable */
	CHECK_OK(ls_replica_list_all(x.r, &ls_par_threads, &all, NULL, &e));
	CHECK_OK(ls_replica_bounds(x.r, &all, &from, &to, NULL, &e));
	CHECK_EQ(from, at_ns(2, 0));
	CHECK_EQ(to, at_ns(6, 0));
	ls_files_fini(&all);
	fx_close(&x);
}
