/* test_retain.c -- retention under a virtual clock. */
#include "model.h"

#include "fault.h"
#include "replica/points.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#define DAY (24 * MD_HOUR)

/* ---- thirty days -------------------------------------------------------------
 * A daemon's schedule over a model. The oracle is a list of what was promised:
 * when which TXID became the end of a level-1 file. With LS_UPSTREAM set to the
 * released binary it restores some of them too (interop/test_compaction.py). */

struct life {
	const char *name;
	int64_t level_ns[3], snapshot_ns, retention_ns, l0_ns, length_ns;
	int64_t idle_ns; /* longest pause between commits */
};

struct sim {
	struct md m;
	const struct life *life;
	struct ls_maint *mt;
	bool *end_of_l1; /* by TXID */
	size_t cap;
	int64_t next_level[3];
	size_t deleted, checked, by_peer;
};

static const char *
peer_binary(void)
{
	const char *path = getenv("LS_UPSTREAM");

	return path != NULL && *path != '\0' ? path : NULL;
}

/* Upstream's restore of a TXID, compared with the model. */
static void
check_by_peer(struct sim *s, const char *peer, uint64_t txid)
{
	extern char **environ;
	const struct md_state *want = &s->m.s[txid];
	char url[4200], hex[LS_TXID_TEXT];
	char *argv[] = { (char *)(uintptr_t)peer, "restore", "-txid",
		ls_txid_text(txid, hex), "-o", NULL, url, NULL };
	posix_spawn_file_actions_t fa;
	struct ls_span got;
	pid_t pid;
	int status;

	(void)snprintf(url, sizeof url, "file://%s", T("rep"));
	argv[5] = (char *)(uintptr_t)T("peer.db");
	CHECK_EQ(posix_spawn_file_actions_init(&fa), 0);
	for (int fd = 1; fd <= 2; fd++)
		CHECK_EQ(posix_spawn_file_actions_addopen(
			     &fa, fd, "/dev/null", O_WRONLY, 0),
		    0);
	CHECK_EQ(posix_spawn(&pid, peer, &fa, NULL, argv, environ), 0);
	(void)posix_spawn_file_actions_destroy(&fa);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	got = test_read_file(argv[5]);
	CHECK_EQ(got.n, (size_t)want->commit * want->page_size);
	CHECK(memcmp(got.p, want->pages, got.n) == 0);
	CHECK(remove(argv[5]) == 0);
	s->by_peer++;
}

static void
promise(struct sim *s, uint64_t txid)
{
	while (s->cap <= txid) {
		size_t cap = s->cap ? s->cap * 2 : 256;

		s->end_of_l1 = realloc(s->end_of_l1, cap);
		CHECK(s->end_of_l1 != NULL);
		memset(s->end_of_l1 + s->cap, 0, cap - s->cap);
		s->cap = cap;
	}
	s->end_of_l1[txid] = true;
}

static bool
wanted(const struct sim *s, uint64_t t)
{
	int64_t age = s->m.now_ns - s->m.s[t].ns;

	return t == s->m.n || age < s->life->l0_ns ||
	       (age < s->life->retention_ns && t < s->cap && s->end_of_l1[t]);
}

static void
check_all(struct sim *s, bool restore)
{
	struct ls_err e = { 0 };
	struct ls_files all = { 0 };
	struct ls_target begin = { .before_ns =
				       s->m.now_ns - s->life->retention_ns };
	const char *peer = peer_binary();

	CHECK_OK(ls_replica_list_all(s->m.r, NULL, &all, NULL, &e));
	for (uint64_t t = 1; t <= s->m.n; t++) {
		const struct ls_target target = { .txid = t };
		struct ls_plan p = { 0 };

		if (!wanted(s, t))
			continue;
		CHECK_OK(ls_plan_make(s->m.r, &all, &target, &p, NULL, &e));
		CHECK_EQ(p.txid, t);
		ls_plan_fini(&p);
		if (restore && (t == s->m.n || test_rand() % 16 == 0)) {
			md_check(&s->m, t);
			if (peer != NULL && s->checked % 8 == 0)
				check_by_peer(s, peer, t);
			s->checked++;
		}
	}
	if (s->m.s[1].ns <= begin.before_ns) { /* the state then */
		struct ls_plan p = { 0 };

		CHECK_OK(ls_plan_make(s->m.r, &all, &begin, &p, NULL, &e));
		CHECK(s->m.s[p.txid].ns <= begin.before_ns);
		ls_plan_fini(&p);
	}
	ls_files_fini(&all);
}

static void
levels(struct sim *s)
{
	struct ls_err e = { 0 };
	struct ls_compacted out;
	struct ls_files f = { 0 };

	for (int l = 1; l <= 3; l++) {
		if (s->m.now_ns < s->next_level[l - 1])
			continue;
		s->next_level[l - 1] = s->m.now_ns + s->life->level_ns[l - 1];
		CHECK_OK(ls_maint_compact(s->mt, l, s->m.n, &out, NULL, &e));
		CHECK(!out.bad_shape);
		if (l == 1 && out.files_out > 0) {
			CHECK_EQ(out.max_txid, s->m.n);
			promise(s, out.max_txid);
		}
	}
	ls_files_fini(&f);
}

static void
snapshot(struct sim *s)
{
	struct ls_err e = { 0 };
	struct ls_ltx_header h;
	bool due, done;
	int64_t next;

	CHECK_OK(ls_maint_snapshot_due(s->mt, s->m.n, &due, &next, NULL, &e));
	if (!due)
		return;
	CHECK_OK(ls_maint_snapshot(s->mt, s->m.n, &done, NULL, &e));
	CHECK_EQ(done, s->m.n == 1);
	if (done)
		return;
	md_snapshot(&s->m, &h);
	ls_maint_wrote(s->mt, LS_SNAPSHOT_LEVEL, &h);
}

static void
retain(struct sim *s)
{
	struct ls_err e = { 0 };
	int64_t at = ls_maint_retain_next(s->mt);
	struct ls_retained out;
	size_t n = 0;

	if (at == 0 || s->m.now_ns < at)
		return;
	CHECK_OK(ls_maint_retain(s->mt, s->m.n, &out, NULL, &e));
	for (int l = 0; l < LS_LEVELS; l++)
		n += out.deleted[l];
	s->deleted += n;
	if (n > 0)
		check_all(s, true);
}

static bool
no_more(void *arg, const struct ls_object *o)
{
	(void)o;
	++*(size_t *)arg;
	return true;
}

static size_t
stored(struct md *m)
{
	struct ls_err e = { 0 };
	size_t n = 0;

	CHECK_OK(ls_store_list(m->st, "", NULL, no_more, &n, NULL, &e));
	return n;
}

static void
live(const struct life *life)
{
	struct sim s = { .life = life };
	struct ls_err e = { 0 };
	const struct ls_maint_conf conf = { .n_levels = 3,
		.snapshot_interval_ns = life->snapshot_ns,
		.snapshot_retention_ns = life->retention_ns,
		.l0_retention_ns = life->l0_ns,
		.retention_enabled = true,
		.verify_compaction = true };

	md_open(&s.m);
	CHECK_OK(ls_maint_new(s.m.r, &conf, &s.mt, &e));
	while (s.m.now_ns < MD_T0 + life->length_ns) {
		int64_t step = life->level_ns[0] / 3;

		if (test_rand() % 30 == 0) /* a quiet spell */
			step = (int64_t)(test_rand() % (uint64_t)life->idle_ns);
		md_tick(&s.m, step + 1);
		for (uint64_t k = test_rand() % 3; k-- > 0;)
			md_commit(&s.m);
		if (s.m.n == 0)
			continue;
		levels(&s);
		snapshot(&s);
		retain(&s);
		check_all(&s, false);
	}
	CHECK(s.deleted > 100 && s.checked > 50);
	CHECK((s.by_peer > 5) == (peer_binary() != NULL));
	/* It does delete: a small part of all that was ever written is left. */
	CHECK(stored(&s.m) < s.m.n + s.deleted);
	ls_maint_free(s.mt);
	free(s.end_of_l1);
	md_close(&s.m);
}

TEST(twelve_hours)
{
	const struct life l = { "hours",
		{ 2 * MD_MINUTE, 10 * MD_MINUTE, MD_HOUR }, 2 * MD_HOUR,
		3 * MD_HOUR, 10 * MD_MINUTE, 12 * MD_HOUR, 40 * MD_MINUTE };

	test_seed(1);
	live(&l);
}

TEST(ten_days)
{
	const struct life l = { "days", { 30 * MD_MINUTE, 3 * MD_HOUR, DAY },
		DAY, 2 * DAY, 2 * MD_HOUR, 10 * DAY, DAY };

	test_seed(2);
	live(&l);
}

TEST(thirty_days)
{
	const struct life l = { "weeks", { 2 * MD_HOUR, 12 * MD_HOUR, DAY },
		3 * DAY, 7 * DAY, 5 * MD_HOUR, 30 * DAY, 4 * DAY };

	test_seed(3);
	live(&l);
}

/* ---- rules -------------------------------------------------------------------*/

static struct ls_retain_opts
opts(const struct md *m)
{
	return (struct ls_retain_opts){ .now_ns = m->now_ns,
		.retention_ns = DAY,
		.l0_retention_ns = 20 * MD_MINUTE,
		.newest = m->n };
}

static void
commits(struct md *m, int n, int64_t every_ns)
{
	while (n-- > 0) {
		md_tick(m, every_ns);
		md_commit(m);
	}
}

static void
compact(struct md *m, int level)
{
	struct ls_err e = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	const struct ls_compact_opts o = { .newest = m->n };
	struct ls_compacted out;

	CHECK_OK(ls_compact(m->r, level, &o, st, &out, NULL, &e));
}

static size_t
run(struct md *m, const struct ls_retain_opts *o, struct ls_retained *out)
{
	struct ls_err e = { 0 };
	size_t n = 0;

	CHECK_OK(ls_retain(m->r, o, NULL, out, NULL, &e));
	for (int l = 0; l < LS_LEVELS; l++)
		n += out->deleted[l];
	return n;
}

/* Level 0: what level 1 has and is old enough, in order, never the newest; the
 * base goes to level 9 first. */
TEST(level_0_by_age_and_cover)
{
	struct md m;
	struct ls_files f = { 0 };
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	commits(&m, 15, MD_MINUTE);
	o = opts(&m);
	CHECK_EQ(run(&m, &o, &out), 0); /* no level 1 */
	compact(&m, 1);			/* 2-15 */
	commits(&m, 15, MD_MINUTE);
	compact(&m, 1); /* 16-30 */
	o = opts(&m);
	o.now_ns = m.s[14].ns + o.l0_retention_ns;
	CHECK_EQ(run(&m, &o, &out), 0); /* 14 without 15 helps nobody */
	CHECK_EQ(out.next_ns, m.s[15].ns + o.l0_retention_ns);
	o.now_ns = m.s[20].ns + o.l0_retention_ns;
	CHECK_EQ(run(&m, &o, &out), 15);
	CHECK(out.promoted);
	CHECK_EQ(out.next_ns, m.s[30].ns + o.l0_retention_ns);
	CHECK_EQ(md_list(&m, 0, &f), 15);
	CHECK_EQ(f.v[0].min_txid, 16);
	CHECK_EQ(md_list(&m, LS_SNAPSHOT_LEVEL, &f), 1);
	CHECK_EQ(f.v[0].max_txid, 1);
	md_check(&m, 1);
	for (uint64_t t = 15; t <= 30; t++)
		md_check(&m, t);
	commits(&m, 2, MD_MINUTE); /* not in level 1 */
	o = opts(&m);
	o.now_ns += DAY / 2;
	CHECK_EQ(run(&m, &o, &out), 15);
	CHECK_EQ(out.next_ns, 0);
	CHECK_EQ(md_list(&m, 0, &f), 2); /* 31, 32: not in level 1 */
	compact(&m, 1);
	CHECK_EQ(run(&m, &o, &out), 1);
	CHECK_EQ(md_list(&m, 0, &f), 1);
	CHECK_EQ(f.v[0].min_txid, 32);
	md_check(&m, 32);
	o.l0_retention_ns = 0;
	CHECK_EQ(run(&m, &o, &out), 0);
	ls_files_fini(&f);
	md_close(&m);
}

/* Of the full copies before the window the newest stays. */
TEST(window_has_a_base)
{
	struct md m;
	struct ls_files f = { 0 };
	struct ls_ltx_header h;
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	for (int day = 0; day < 5; day++) { /* full copies 3, 6, 9, 12, 15 */
		commits(&m, 3, DAY / 3);
		md_snapshot(&m, &h);
	}
	compact(&m, 1);
	o = opts(&m);
	o.l0_retention_ns = 0;
	/* The window begins right behind copy 9, then right at copy 12. */
	o.now_ns = m.s[9].ns + o.retention_ns + MD_MINUTE;
	CHECK_EQ(run(&m, &o, &out), 2);
	CHECK_EQ(md_list(&m, LS_SNAPSHOT_LEVEL, &f), 3);
	CHECK_EQ(f.v[0].max_txid, 9);
	CHECK_EQ(out.next_ns, m.s[12].ns + o.retention_ns);
	o.now_ns = m.s[12].ns + o.retention_ns - MD_MINUTE;
	CHECK_EQ(run(&m, &o, &out), 0);
	o.now_ns = m.s[12].ns + o.retention_ns;
	CHECK_EQ(run(&m, &o, &out), 1);
	o.now_ns += 100 * DAY; /* never the newest */
	CHECK_EQ(run(&m, &o, &out), 1);
	CHECK_EQ(md_list(&m, LS_SNAPSHOT_LEVEL, &f), 1);
	CHECK_EQ(f.v[0].max_txid, 15);
	md_check(&m, 15);
	ls_files_fini(&f);
	md_close(&m);
}

/* Levels below the full copy before the first one kept, never their last. */
TEST(levels_below_the_floor)
{
	struct md m;
	struct ls_files f = { 0 };
	struct ls_ltx_header h;
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	for (int day = 0; day < 4; day++) { /* full copies 4, 8, 12, 16 */
		commits(&m, 4, DAY / 4);
		md_snapshot(&m, &h);
		compact(&m, 1);
	}
	compact(&m, 2);			 /* 2-16 */
	CHECK_EQ(md_list(&m, 1, &f), 4); /* 2-4 5-8 9-12 13-16 */
	o = opts(&m);
	o.now_ns = m.s[12].ns + o.retention_ns;
	/* Kept: 12, 16. Floor 8: 2-4 is below; 5-8 is not. */
	CHECK(run(&m, &o, &out) > 0);
	CHECK_EQ(out.deleted[LS_SNAPSHOT_LEVEL], 2);
	CHECK_EQ(out.deleted[1], 1);
	CHECK_EQ(out.deleted[2], 0);
	CHECK_EQ(md_list(&m, 1, &f), 3);
	CHECK_EQ(f.v[0].min_txid, 5);
	md_check(&m, 12);
	md_check(&m, 16);
	ls_files_fini(&f);
	md_close(&m);
}

/* ---- the clock ---------------------------------------------------------------*/

TEST(clock_set_back)
{
	struct md m;
	struct ls_ltx_header h;
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	for (int day = 0; day < 4; day++) {
		commits(&m, 3, DAY / 3);
		md_snapshot(&m, &h);
	}
	compact(&m, 1);
	o = opts(&m);
	o.now_ns = MD_T0 - 100 * DAY; /* all files are of the future */
	CHECK_EQ(run(&m, &o, &out), 0);
	o.now_ns = m.s[6].ns; /* half of them */
	CHECK_EQ(run(&m, &o, &out), 0);
	md_close(&m);
}

TEST(clock_jumps_ahead)
{
	struct ls_steady s = { 0 };
	int64_t real = ls_sys_real.wall_ns(), t0;
	struct md m;

	md_open(&m);
	t0 = ls_steady_now(&s);
	md_tick(&m, MD_HOUR);
	CHECK((ls_steady_now(&s) - t0 - MD_HOUR) / (int64_t)LS_SEC == 0);
	(void)real;
	/* Only the wall clock jumps: as if it had been set. */
	s.wall_ns -= 300 * DAY;
	t0 = ls_steady_now(&s);
	CHECK(m.now_ns - t0 > 299 * DAY);
	md_tick(&m, MD_HOUR / 2);
	CHECK(m.now_ns - ls_steady_now(&s) > 299 * DAY);
	md_tick(&m, MD_HOUR); /* it stays: then it is so */
	CHECK((ls_steady_now(&s) - m.now_ns) / (int64_t)LS_SEC == 0);
	/* Back is believed at once. */
	s.wall_ns += 300 * DAY;
	CHECK((ls_steady_now(&s) - m.now_ns) / (int64_t)LS_SEC == 0);
	md_close(&m);
}

/* ---- the proof ---------------------------------------------------------------*/

/* Take any one file, or two, out of a listing: the proof refuses exactly when
 * some point that it is to keep has no plan any more. */
TEST(planted_wrong_deletion_is_refused)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files all = { 0 };
	struct ls_ltx_header h;
	size_t refused = 0, passed = 0;

	md_open(&m);
	commits(&m, 8, MD_MINUTE);
	compact(&m, 1);
	commits(&m, 4, MD_MINUTE);
	md_snapshot(&m, &h);
	commits(&m, 5, MD_MINUTE);
	compact(&m, 1);
	commits(&m, 2, MD_MINUTE);
	compact(&m, 2);
	for (uint64_t t = 1; t <= 14; t++)
		md_delete(&m, 0, t, t);
	md_snapshot(&m, &h);
	CHECK_OK(ls_replica_list_all(m.r, NULL, &all, NULL, &e));
	for (size_t i = 0; i < all.n; i++)
		for (size_t k = i; k < all.n; k++) {
			struct ls_file pair[2] = { all.v[i], all.v[k] };
			struct ls_files gone = { pair, k == i ? 1 : 2, 2 };
			struct ls_files left = { 0 };
			bool lost = false;
			enum ls_rc rc;

			left.v = malloc(all.n * sizeof *left.v);
			CHECK(left.v != NULL);
			for (size_t x = 0; x < all.n; x++)
				if (x != i && x != k)
					left.v[left.n++] = all.v[x];
			for (size_t x = 0; x < all.n; x++) {
				const struct ls_target t = {
					.txid = all.v[x].max_txid
				};
				struct ls_plan a = { 0 }, b = { 0 };
				bool had, has;

				/* 17 is what level 1 has. */
				if (all.v[x].level == 0 && t.txid <= 17)
					continue;
				had = ls_plan_make(m.r, &all, &t, &a, NULL,
					  NULL) == LS_OK;
				has = ls_plan_make(m.r, &left, &t, &b, NULL,
					  NULL) == LS_OK;
				lost = lost || (had && !has);
				ls_plan_fini(&a);
				ls_plan_fini(&b);
			}
			rc = ls_retain_prove(
			    m.r, &all, &gone, MD_T0, INT64_MAX, NULL, &e);
			CHECK_RC(rc, lost ? LS_EGAP : LS_OK);
			if (lost)
				CHECK(strstr(e.msg, ".ltx is needed") != NULL);
			refused += lost;
			passed += !lost;
			free(left.v);
		}
	CHECK(refused > 3 && passed > 3);
	ls_files_fini(&all);
	md_close(&m);
}

/* A hole that was there before does not stop retention; a choice that would
 * widen it does, and nothing is deleted then. */
TEST(nothing_is_deleted_when_a_point_would_be_lost)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	commits(&m, 10, MD_MINUTE);
	compact(&m, 1); /* 2-10 */
	commits(&m, 10, MD_MINUTE);
	compact(&m, 1);		 /* 11-20 */
	md_delete(&m, 1, 2, 10); /* by somebody */
	md_tick(&m, MD_HOUR);
	o = opts(&m);
	CHECK_RC(ls_retain(m.r, &o, NULL, &out, NULL, &e), LS_EGAP);
	CHECK(strstr(e.msg, "nothing was deleted") != NULL);
	CHECK_EQ(md_list(&m, 0, &f), 20);
	for (uint64_t t = 1; t <= 20; t++)
		md_check(&m, t);
	ls_files_fini(&f);
	md_close(&m);
}

/* Whatever call fails, no promised point is lost, and the next run finishes. */
TEST(failed_retention_loses_nothing)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct md m;
		struct ls_ltx_header h;
		struct ls_retained out;
		struct ls_retain_opts o;
		enum ls_rc rc;
		bool fired;

		test_seed(5);
		md_open(&m);
		commits(&m, 8, DAY / 4);
		compact(&m, 1);
		md_snapshot(&m, &h);
		commits(&m, 8, DAY / 4);
		compact(&m, 1);
		md_snapshot(&m, &h);
		compact(&m, 2);
		md_tick(&m, MD_HOUR);
		o = opts(&m);
		fault_reads(1);
		fault_arm(n, EIO);
		rc = ls_retain(m.r, &o, NULL, &out, NULL, &e);
		fired = fault_fired();
		fault_disarm();
		fault_reads(0);
		md_tick(&m, 0);
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		md_check(&m, 8);
		md_check(&m, 16);
		CHECK_OK(ls_retain(m.r, &o, NULL, &out, NULL, &e));
		CHECK_EQ(run(&m, &o, &out), 0);
		md_check(&m, 8);
		md_check(&m, 16);
		md_close(&m);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
		if (!fired) {
			CHECK_RC(rc, LS_OK);
			return;
		}
	}
}

TEST(retention_is_fenced)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_retained out;
	struct ls_retain_opts o;

	md_open(&m);
	commits(&m, 10, MD_MINUTE);
	compact(&m, 1);
	md_tick(&m, MD_HOUR);
	o = opts(&m);
	o.newest = 9;
	CHECK_RC(ls_retain(m.r, &o, NULL, &out, NULL, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "000000000000000a") != NULL);
	CHECK_EQ(md_list(&m, 0, &f), 10);
	ls_files_fini(&f);
	md_close(&m);
}

/* ---- the handle --------------------------------------------------------------*/

TEST(idle_costs_no_request)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_maint *mt;
	struct ls_maint_conf conf = { .n_levels = 3,
		.snapshot_interval_ns = DAY,
		.snapshot_retention_ns = DAY,
		.l0_retention_ns = 20 * MD_MINUTE,
		.retention_enabled = true };
	struct ls_compacted c;
	struct ls_retained r;
	struct ls_ltx_header h;
	uint64_t before;
	bool due;
	int64_t next;

	md_open(&m);
	CHECK_OK(ls_maint_new(m.r, &conf, &mt, &e));
	commits(&m, 5, MD_MINUTE);
	for (int l = 1; l <= 3; l++)
		CHECK_OK(ls_maint_compact(mt, l, m.n, &c, NULL, &e));
	md_tick(&m, MD_HOUR);
	CHECK_OK(ls_maint_retain(mt, m.n, &r, NULL, &e));
	CHECK_EQ(r.deleted[0], 4);
	CHECK_EQ(ls_maint_retain_next(mt), 0);
	md_tick(&m, DAY);
	CHECK_OK(ls_maint_snapshot_due(mt, m.n, &due, &next, NULL, &e));
	CHECK(due);
	md_snapshot(&m, &h);
	ls_maint_wrote(mt, LS_SNAPSHOT_LEVEL, &h);
	while (ls_maint_retain_next(mt) != 0) {
		md_tick(&m, ls_maint_retain_next(mt) > m.now_ns
				? ls_maint_retain_next(mt) - m.now_ns
				: 0);
		CHECK_OK(ls_maint_retain(mt, m.n, &r, NULL, &e));
	}
	before = md_requests(&m);
	for (int i = 0; i < 50; i++) {
		md_tick(&m, DAY);
		for (int l = 1; l <= 3; l++) {
			CHECK(!ls_maint_compact_due(mt, l, m.n));
			CHECK_OK(ls_maint_compact(mt, l, m.n, &c, NULL, &e));
		}
		CHECK_OK(ls_maint_snapshot_due(mt, m.n, &due, &next, NULL, &e));
		CHECK(!due && next == 0);
	}
	CHECK_EQ(md_requests(&m), before);
	CHECK_EQ(ls_maint_retain_next(mt), 0);
	md_commit(&m);
	CHECK(ls_maint_compact_due(mt, 1, m.n));
	CHECK_OK(ls_maint_check(mt, m.n, NULL, &e));
	CHECK_RC(ls_maint_check(mt, m.n - 1, NULL, &e), LS_EFENCED);
	conf.retention_enabled = false;
	ls_maint_free(mt);
	CHECK_OK(ls_maint_new(m.r, &conf, &mt, &e));
	before = md_requests(&m);
	CHECK_OK(ls_maint_retain(mt, m.n, &r, NULL, &e));
	CHECK_EQ(md_requests(&m), before);
	ls_maint_free(mt);
	md_close(&m);
}
