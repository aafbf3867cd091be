/* test_compact.c -- compaction against a model of every state. */
#include "model.h"

#include "base/bytes.h"
#include "fault.h"

#include <errno.h>
#include <unistd.h>
#include "format/merge.h"

static enum ls_rc
compact(struct md *m, int level, struct ls_level_state *st,
    struct ls_compacted *out, struct ls_err *e)
{
	const struct ls_compact_opts o = { .newest = m->n };

	return ls_compact(m->r, level, &o, st, out, NULL, e);
}

/* Turn a bit of a file. */
static void
poke_file(const char *name, size_t at)
{
	struct ls_span s = test_read_file(T(name));
	uint8_t *p = malloc(s.n);

	CHECK(p != NULL && at < s.n);
	memcpy(p, s.p, s.n);
	p[at] ^= 1;
	test_write_file(T(name), p, s.n);
	free(p);
}

static void
commits(struct md *m, int n)
{
	while (n-- > 0) {
		md_tick(m, (int64_t)LS_SEC);
		md_commit(m);
	}
}

static void
check_range(const struct ls_files *f, size_t i, uint64_t min, uint64_t max)
{
	CHECK(i < f->n);
	CHECK_EQ(f->v[i].min_txid, min);
	CHECK_EQ(f->v[i].max_txid, max);
}

/* The first full copy does not go up; everything else does, and each level can
 * replace the one below. */
TEST(base_stays_below)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;

	md_open(&m);
	commits(&m, 1);
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.files_out, 0);
	commits(&m, 9); /* 1..10 */
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.files_in, 9);
	commits(&m, 5); /* 1..15 */
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(md_list(&m, 1, &f), 2);
	check_range(&f, 0, 2, 10);
	check_range(&f, 1, 11, 15);
	CHECK_OK(compact(&m, 2, st, &out, &e));
	CHECK_EQ(md_list(&m, 2, &f), 1);
	check_range(&f, 0, 2, 15);
	for (uint64_t t = 1; t <= 15; t++)
		md_check(&m, t);
	for (uint64_t t = 2; t <= 15; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, 10);
	md_check(&m, 15);
	md_delete(&m, 1, 2, 10);
	md_delete(&m, 1, 11, 15);
	md_check(&m, 15);
	CHECK(!md_plannable(&m, 10));
	ls_files_fini(&f);
	md_close(&m);
}

/* Header and time of what comes out; nothing to do costs no request. */
TEST(compacted_header_and_idle)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_ltx_header h;
	uint64_t before;

	md_open(&m);
	commits(&m, 6);
	st[0] = (struct ls_level_state){ .known = true, .max_txid = m.n };
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.min_txid, 2);
	CHECK_EQ(out.max_txid, 6);
	CHECK_EQ(md_list(&m, 1, &f), 1);
	CHECK_OK(ls_replica_header(m.r, &f.v[0], &h, NULL, &e));
	CHECK_EQ(h.timestamp_ms, m.s[6].ns / 1000000);
	CHECK_EQ(f.v[0].created_ns, m.s[6].ns);
	CHECK_EQ(h.node_id, m.lineage);
	CHECK_EQ(h.wal_offset, 0);
	CHECK_EQ(h.commit, m.s[6].commit);
	before = md_requests(&m);
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.files_out, 0);
	CHECK_EQ(md_requests(&m), before);
	ls_files_fini(&f);
	md_close(&m);
}

/* A level may begin behind a hole only where a full copy reaches up to it. */
TEST(gap_needs_a_full_copy)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_compact_opts o = { .newest = 0 };
	uint64_t made = 0;

	md_open(&m);
	commits(&m, 5);
	CHECK_OK(compact(&m, 1, st, &out, &e));
	commits(&m, 4); /* 6..9 */
	CHECK_OK(ls_base_make(m.r, 7, &o, st, &made, NULL, &e));
	CHECK_EQ(made, 7);
	md_delete(&m, 0, 6, 6);
	CHECK_OK(compact(&m, 1, st, &out, &e)); /* level 9 has 1..7 */
	CHECK_EQ(md_list(&m, 1, &f), 2);
	check_range(&f, 1, 7, 9);
	md_check(&m, 9);
	md_delete(&m, LS_SNAPSHOT_LEVEL, 1, 7);
	md_delete(&m, 1, 7, 9);
	memset(st, 0, sizeof st);
	CHECK_RC(compact(&m, 1, st, &out, &e), LS_EGAP);
	CHECK(strstr(e.msg, "0000000000000007") != NULL);
	CHECK(!st[1].known);
	CHECK_EQ(md_list(&m, 1, &f), 1);
	ls_files_fini(&f);
	md_close(&m);
}

TEST(page_size_change_is_not_crossed)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_span a, b;

	md_open(&m);
	commits(&m, 6);	     /* 1..6 */
	md_resize(&m, 1024); /* 7 */
	commits(&m, 3);	     /* 8..10 */
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.base, 7);
	CHECK_EQ(md_list(&m, 1, &f), 2);
	check_range(&f, 0, 2, 6);
	check_range(&f, 1, 8, 10);
	CHECK_EQ(md_list(&m, LS_SNAPSHOT_LEVEL, &f), 1);
	check_range(&f, 0, 1, 7);
	commits(&m, 2); /* 11, 12 */
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.base, 0);
	CHECK_OK(compact(&m, 2, st, &out, &e));
	CHECK_EQ(md_list(&m, 2, &f), 2);
	check_range(&f, 0, 2, 6);
	check_range(&f, 1, 8, 12);
	a = test_read_file(
	    T("rep/ltx/2/0000000000000002-0000000000000006.ltx"));
	b = test_read_file(
	    T("rep/ltx/1/0000000000000002-0000000000000006.ltx"));
	CHECK(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
	for (uint64_t t = 1; t <= 12; t++)
		md_check(&m, t);
	for (uint64_t t = 2; t <= 12; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, 6);
	md_check(&m, 7);
	md_check(&m, 10);
	md_check(&m, 12);
	ls_files_fini(&f);
	md_close(&m);
}

TEST(lineages_are_not_mixed)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_files f = { 0 };
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;

	md_open(&m);
	commits(&m, 3);
	m.lineage = 0; /* unknown matches any: upstream's files */
	commits(&m, 2);
	m.lineage = 0xabcdef;
	commits(&m, 1); /* 6 */
	m.lineage = 0x777;
	commits(&m, 2);
	CHECK_RC(compact(&m, 1, st, &out, &e), LS_EGAP);
	CHECK(strstr(e.msg, "another history") != NULL);
	CHECK_EQ(md_list(&m, 1, &f), 1);
	check_range(&f, 0, 2, 6);
	ls_files_fini(&f);
	md_close(&m);
}

TEST(foreign_newer_file_fences)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	const struct ls_compact_opts o = { .newest = 4 };
	struct ls_compacted out;
	struct ls_files f = { 0 };

	md_open(&m);
	commits(&m, 5);
	CHECK_RC(ls_compact(m.r, 1, &o, st, &out, NULL, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "0000000000000005-0000000000000005.ltx") != NULL);
	CHECK_EQ(md_list(&m, 1, &f), 0);
	ls_files_fini(&f);
	md_close(&m);
}

static uint64_t
newest_now(void *arg)
{
	return *(uint64_t *)arg;
}

/* Uploads beside the call are no fence, and are left for the next time. */
TEST(own_upload_beside_is_no_fence)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	uint64_t now = 5;
	struct ls_compact_opts o = {
		.newest = 4, .newest_now = newest_now, .newest_arg = &now
	};
	struct ls_compacted out;

	md_open(&m);
	commits(&m, 5);
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	CHECK_EQ(out.max_txid, 4);
	commits(&m, 1);
	CHECK_RC(ls_compact(m.r, 1, &o, st, &out, NULL, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "ours ends at 0000000000000005") != NULL);
	md_close(&m);
}

/* The same name: our own bytes are a lost answer, others another writer's. */
TEST(taken_name_is_ours_or_fences)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } }, known;
	const char *path = T("rep/ltx/1/0000000000000002-0000000000000005.ltx");
	struct ls_compacted out;
	struct ls_span was;
	uint8_t *other;

	md_open(&m);
	commits(&m, 5);
	known = (struct ls_level_state){ .known = true };
	st[1] = known;
	CHECK_OK(compact(&m, 1, st, &out, &e));
	was = test_read_file(path);
	st[1] = known; /* as if the answer had been lost */
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(st[1].max_txid, 5);
	other = malloc(was.n);
	CHECK(other != NULL);
	memcpy(other, was.p, was.n);
	other[was.n - 1] ^= 1;
	test_write_file(path, other, was.n);
	free(other);
	st[1] = known;
	CHECK_RC(compact(&m, 1, st, &out, &e), LS_EFENCED);
	CHECK(!st[1].known);
	md_close(&m);
}

static enum ls_rc
compact_zstd(struct md *m, struct ls_level_state *st, struct ls_err *e)
{
	const struct ls_compact_opts o = { .newest = m->n, .codec.zstd = true };
	struct ls_compacted out;

	return ls_compact(m->r, 1, &o, st, &out, NULL, e);
}

/* A put whose answer was lost, and then the option changed, or the dictionary:
 * the history and the database checksum say that the state is the same. */
TEST(taken_name_in_another_codec)
{
	for (int k = 0; k < 3; k++) {
		struct ls_err e = { 0 };
		struct md m;
		struct ls_level_state st[LS_LEVELS] = { { 0 } }, known;
		struct ls_compacted out;

		md_open(&m);
		m.db_checksum = k != 1; /* without it there is no proof */
		commits(&m, 5);
		known = (struct ls_level_state){ .known = true };
		st[1] = known;
		CHECK_OK(compact(&m, 1, st, &out, &e));
		st[1] = known;
		CHECK_RC(compact_zstd(&m, st, &e), k == 1 ? LS_EFENCED : LS_OK);
		if (k == 2) { /* another's file: the checksum differs */
			poke_file("rep/ltx/1/0000000000000002-0000000000000005"
				  ".ltx",
			    84);
			st[1] = known;
			CHECK_RC(compact_zstd(&m, st, &e), LS_EFENCED);
		}
		md_close(&m);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

/* A snapshot of the live database ends while the same state is made of stored
 * files: other bytes, and nobody else's. */
static struct md *live;
static bool live_other;

static void
snapshot_meanwhile(const struct ls_par *p, size_t n, unsigned k,
    void (*job)(void *arg, size_t i), void *arg)
{
	struct ls_ltx_header h;

	ls_par_serial.run(p, n, k, job, arg);
	if (n == LS_LEVELS) /* a listing */
		return;
	md_snapshot(live, &h);
	poke_file("rep/ltx/9/0000000000000001-0000000000000007.ltx",
	    live_other ? 79 : 55); /* its lineage, or its WAL offset */
}

TEST(taken_name_of_a_live_snapshot)
{
	static const struct ls_par par = { snapshot_meanwhile };

	for (int k = 0; k < 2; k++) {
		struct ls_compact_opts o = { .par = &par };
		struct ls_level_state st[LS_LEVELS] = { { 0 } };
		struct ls_err e = { 0 };
		uint64_t made = 0;
		struct md m;

		md_open(&m);
		commits(&m, 6);
		md_resize(&m, 1024); /* 7 */
		live = &m;
		live_other = k == 1;
		if (k == 1) {
			CHECK_RC(ls_base_make(m.r, 7, &o, st, &made, NULL, &e),
			    LS_EFENCED);
		} else {
			CHECK_OK(ls_base_make(m.r, 7, &o, st, &made, NULL, &e));
			CHECK_EQ(made, 7);
		}
		md_close(&m);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

/* Back and forth: every state restores. */
TEST(mixed_levels_restore)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_zkeep *keep = NULL;

	md_open(&m);
	CHECK_OK(ls_zkeep_new(&keep, &e));
	for (int i = 0; i < 24; i++) {
		const struct ls_compact_opts o = { .newest = m.n + 1,
			.verify = true,
			.codec = { .zstd = i % 4 < 2, .keep = keep } };

		commits(&m, 1);
		if (i % 2)
			CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
		if (i % 6 == 5)
			CHECK_OK(ls_compact(m.r, 2, &o, st, &out, NULL, &e));
		if (i % 12 == 11)
			CHECK_OK(ls_compact(m.r, 3, &o, st, &out, NULL, &e));
	}
	for (uint64_t t = 1; t <= m.n; t++)
		md_check(&m, t);
	for (uint64_t t = 2; t <= m.n; t++) /* what level 3 is made of */
		md_delete(&m, 0, t, t);
	for (uint64_t t = 1; t <= m.n; t++)
		if (md_plannable(&m, t))
			md_check(&m, t);
	CHECK(md_plannable(&m, m.n));
	ls_zkeep_free(keep);
	md_close(&m);
}

/* Fail every call in turn: the level has the whole file or none, no other file
 * appears, and the next try gets there. */
TEST(failed_upload_leaves_nothing)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct md m;
		struct ls_level_state st[LS_LEVELS] = { { 0 } };
		struct ls_compacted out;
		struct ls_files f = { 0 };
		enum ls_rc rc;
		int fds;
		bool fired;

		test_seed(7);
		md_open(&m);
		commits(&m, 6);
		fds = test_open_fds();
		fault_reads(1);
		fault_arm(n, EIO);
		rc = compact(&m, 1, st, &out, &e);
		fired = fault_fired();
		fault_disarm();
		fault_reads(0);
		md_tick(&m, 0);
		CHECK_EQ(test_open_fds(), fds);
		CHECK(rc == LS_OK || (e.msg[0] != '\0' && !st[1].known));
		for (size_t i = 0; i < md_list(&m, 1, &f); i++)
			check_range(&f, i, 2, 6);
		CHECK(rc != LS_OK || f.n == 1);
		CHECK_OK(compact(&m, 1, st, &out, &e));
		CHECK_EQ(md_list(&m, 1, &f), 1);
		for (uint64_t t = 2; t <= 5; t++)
			md_delete(&m, 0, t, t);
		md_check(&m, 6);
		ls_files_fini(&f);
		md_close(&m);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
		if (!fired) {
			CHECK_RC(rc, LS_OK);
			return;
		}
	}
}

static void
damage(const char *path)
{
	struct ls_span was = test_read_file(path);
	uint8_t *bad = malloc(was.n);

	CHECK(bad != NULL);
	memcpy(bad, was.p, was.n);
	bad[was.n - 1] ^= 1;
	CHECK(remove(path) == 0);
	test_write_file(path, bad, was.n);
	free(bad);
}

/* A damaged input is an error that names it, and is in no file. What lies before
 * it is merged; behind a full copy that reaches it the level goes on. */
TEST(damaged_input_is_passed_over)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_files f = { 0 };
	struct ls_ltx_header h;

	md_open(&m);
	commits(&m, 8);
	damage(T("rep/ltx/0/0000000000000005-0000000000000005.ltx"));
	CHECK_RC(compact(&m, 1, st, &out, &e), LS_ECORRUPT);
	CHECK(strstr(e.msg, "0000000000000005-0000000000000005") != NULL);
	for (size_t i = 0; i < md_list(&m, 1, &f); i++)
		CHECK(f.v[i].max_txid < 5);
	CHECK_EQ(f.v[f.n - 1].max_txid, 4);
	md_snapshot(&m, &h); /* 1..8 */
	commits(&m, 3);
	CHECK_OK(compact(&m, 1, st, &out, &e));
	CHECK_EQ(out.min_txid, 9);
	CHECK_EQ(out.max_txid, 11);
	CHECK(!out.bad_shape);
	for (uint64_t t = 2; t <= 11; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, 4);
	md_check(&m, 8);
	md_check(&m, 11);
	ls_files_fini(&f);
	md_close(&m);
}

/* ---- local files -----------------------------------------------------------*/

struct local {
	uint64_t from;
	const struct md *m;
};

static bool
local_path(void *arg, uint64_t txid, char *path, size_t size)
{
	struct local *l = arg;
	struct ls_buf b = LS_BUF_INIT(1 << 20);

	if (txid < l->from)
		return false;
	(void)snprintf(
	    path, size, "%s-%llu", T("spool"), (unsigned long long)txid);
	if (txid == 9)
		return true; /* says so, but it is gone */
	md_file(l->m, txid, &b);
	if (txid == 8)
		b.p[b.n - 1] ^= 1; /* damaged: the stored one is not */
	test_write_file(path, b.p, b.n);
	ls_buf_free(&b);
	return true;
}

TEST(local_files_spare_downloads)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct local l = { 2, &m };
	struct ls_compact_opts o = { .local = local_path, .local_arg = &l };
	struct ls_compacted out;

	md_open(&m);
	commits(&m, 6);
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	CHECK_EQ(out.fetched, 0);
	commits(&m, 4); /* 7..10: 8 damaged, 9 gone */
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	CHECK(out.fetched > 0);
	CHECK_EQ(out.max_txid, 10);
	for (uint64_t t = 2; t <= 10; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, 6);
	md_check(&m, 10);
	md_close(&m);
}

/* A local file that is removed as soon as its last byte was read. */
static const struct ls_sys *real_sys;

static ssize_t
pread_and_remove(int fd, void *buf, size_t n, off_t off)
{
	char path[64], name[4096];
	ssize_t k = real_sys->pread(fd, buf, n, off), len;
	struct stat sb;

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	len = readlink(path, name, sizeof name - 1);
	if (len < 0 || real_sys->fstat(fd, &sb) != 0)
		return k;
	name[len] = '\0';
	if (strstr(name, "/spool-") != NULL && off + k == sb.st_size)
		(void)remove(name);
	return k;
}

TEST(local_file_that_goes_away_at_its_end)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct local l = { 2, &m };
	struct ls_compact_opts o = { .local = local_path, .local_arg = &l };
	struct ls_compacted out;
	struct ls_sys sys;

	md_open(&m);
	commits(&m, 6);
	real_sys = ls_sys;
	sys = *ls_sys;
	sys.pread = pread_and_remove;
	ls_sys = &sys;
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	ls_sys = real_sys;
	CHECK_EQ(out.max_txid, 6);
	CHECK_EQ(out.fetched, 0);
	md_close(&m);
}

/* ---- many inputs ------------------------------------------------------------*/

TEST(many_inputs_make_several_files)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compact_opts o = {
		.newest = 0, .verify = true, .par = &ls_par_threads
	};
	size_t limit;
	struct ls_compacted out;
	struct ls_files f = { 0 };

	md_open(&m);
	md_resize(&m, 65536); /* TXID 1: large pages, so few at once */
	limit = 24u << 20;
	limit /= (34u << 10) + 2 * 65536;
	commits(&m, (int)limit + 20);
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	CHECK_EQ(out.files_in, limit + 20);
	CHECK_EQ(out.files_out, 2);
	CHECK(!out.bad_shape);
	CHECK_EQ(md_list(&m, 1, &f), 2);
	check_range(&f, 0, 2, limit + 1);
	check_range(&f, 1, limit + 2, limit + 21);
	for (uint64_t t = 2; t < m.n; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, limit + 1);
	md_check(&m, m.n);
	ls_files_fini(&f);
	md_close(&m);
}

/* An input that is replaced after its first range was read. */
static void
replace_after(const struct ls_par *p, size_t n, unsigned k,
    void (*job)(void *arg, size_t i), void *arg)
{
	struct ls_span was;

	ls_par_serial.run(p, n, k, job, arg);
	was = test_read_file(
	    T("rep/ltx/0/0000000000000004-0000000000000004.ltx"));
	CHECK(
	    remove(T("rep/ltx/0/0000000000000004-0000000000000004.ltx")) == 0);
	test_write_file(
	    T("rep/ltx/0/0000000000000004-0000000000000004.ltx"), was.p, was.n);
}

TEST(input_that_changes_is_an_error)
{
	static const struct ls_par par = { replace_after };
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compact_opts o = { .par = &par };
	struct ls_compacted out;
	struct ls_files f = { 0 };

	md_open(&m);
	do /* more than the buffers hold, so files are read in ranges */
		md_resize(&m, 65536);
	while (m.n < 60);
	CHECK_RC(ls_compact(m.r, 1, &o, st, &out, NULL, &e), LS_ECHANGED);
	CHECK(strstr(e.msg, "0000000000000004") != NULL);
	CHECK_EQ(md_list(&m, 1, &f), 0);
	o.par = &ls_par_threads;
	CHECK_OK(ls_compact(m.r, 1, &o, st, &out, NULL, &e));
	CHECK_EQ(out.max_txid, 60);
	for (uint64_t t = 2; t <= 60; t++)
		md_delete(&m, 0, t, t);
	md_check(&m, 60);
	ls_files_fini(&f);
	md_close(&m);
}

/* While its sources exist, any compacted file may be lost. */
TEST(any_compacted_file_can_be_lost)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compacted out;
	struct ls_files all = { 0 };

	md_open(&m);
	for (int i = 0; i < 4; i++) {
		commits(&m, 3 + i);
		CHECK_OK(compact(&m, 1, st, &out, &e));
		if (i % 2)
			CHECK_OK(compact(&m, 2, st, &out, &e));
	}
	CHECK_OK(compact(&m, 3, st, &out, &e));
	CHECK_OK(ls_replica_list_all(m.r, NULL, &all, NULL, &e));
	for (size_t i = 0; i < all.n; i++) {
		const struct ls_file *f = &all.v[i];
		char key[LS_KEY_MAX], was[LS_KEY_MAX + 8];

		if (f->level == 0)
			continue;
		ls_ltx_key(ls_store_layout(m.st), f->level, f->min_txid,
		    f->max_txid, key);
		(void)snprintf(was, sizeof was, "rep/%s", key);
		CHECK(rename(T(was), T("aside")) == 0);
		for (uint64_t t = 1; t <= m.n; t++)
			md_check(&m, t);
		CHECK(rename(T("aside"), T(was)) == 0);
	}
	ls_files_fini(&all);
	md_close(&m);
}

/* ---- level 9 from stored files ----------------------------------------------*/

TEST(base_from_stored_files)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compact_opts o = { .newest = 0 };
	struct ls_compacted out;
	struct ls_files all = { 0 };
	uint64_t made = 0;

	md_open(&m);
	commits(&m, 12);
	CHECK_OK(compact(&m, 1, st, &out, &e));
	commits(&m, 4);
	CHECK_OK(ls_base_make(m.r, 0, &o, st, &made, NULL, &e));
	CHECK_EQ(made, 16);
	CHECK_OK(ls_replica_list_all(m.r, NULL, &all, NULL, &e));
	for (size_t i = 0; i < all.n; i++)
		if (all.v[i].level != LS_SNAPSHOT_LEVEL)
			md_delete(&m, all.v[i].level, all.v[i].min_txid,
			    all.v[i].max_txid);
	md_check(&m, 16);
	CHECK_OK(ls_base_make(m.r, 16, &o, st, &made, NULL, &e)); /* there */
	CHECK_EQ(made, 16);
	ls_files_fini(&all);
	md_close(&m);
}

TEST(base_of_one_file_is_the_same_file)
{
	struct ls_err e = { 0 };
	struct md m;
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compact_opts o = { .newest = 0 };
	uint64_t made = 0;

	md_open(&m);
	commits(&m, 1);
	CHECK_OK(ls_base_make(m.r, 0, &o, st, &made, NULL, &e));
	md_delete(&m, 0, 1, 1);
	md_check(&m, 1);
	md_close(&m);
}
