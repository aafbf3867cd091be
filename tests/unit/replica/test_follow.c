/* test_follow.c -- followers against a model that kept every state, and
 * against SQLite as the reader. Integration tests kill the real program. */
#include "fault.h"
#include "fixture.h"

#include "base/bytes.h"
#include "replica/follow.h"
#include "replica/follow_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

enum { PS = 1024 };

struct kit {
	struct fx x;
	struct ls_restore_opts ro;
	struct ls_follow_opts o;
	struct ls_follower *f;
};

/* Page 1 of the model must look like a database's. */
static void
commit(struct fx *x, uint32_t pages)
{
	uint8_t *p;

	if (pages == 0)
		fx_commit(x);
	else
		fx_commit_to(x, pages);
	p = x->s[x->txid].pages;
	memcpy(p, "SQLite format 3", 16);
	ls_put_be16(p + 16, (uint16_t)x->page_size);
	memset(p + 18, 2, 2);
}

static void
put(struct fx *x, uint64_t from, uint64_t to)
{
	for (uint64_t t = from; t <= to; t++)
		fx_put(x, 0, t, t);
}

static void
begin(struct kit *k, uint64_t txids)
{
	*k = (struct kit){ .ro = { .output = NULL, .parallelism = 2 } };
	k->ro.output = strdup(T("copy"));
	k->o.restore = &k->ro;
	fx_open(&k->x, PS);
	while (k->x.txid < txids)
		commit(&k->x, 0);
	put(&k->x, 1, txids);
}

static void
open_follower(struct kit *k)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_follow_open(k->x.r, &k->o, &k->f, NULL, &e));
}

static void
end(struct kit *k)
{
	ls_follow_free(k->f);
	fx_close(&k->x);
	free((void *)(uintptr_t)k->ro.output);
}

/* Is the copy that state, but for what each apply sets in page 1? */
static bool
copy_is(const struct kit *k, uint64_t txid)
{
	struct ls_span got = test_read_file(T("copy"));
	const struct fx_state *s = &k->x.s[txid];
	static uint8_t a[PS], b[PS];

	if (got.n != (size_t)s->commit * PS ||
	    memcmp(got.p + PS, s->pages + PS, got.n - PS) != 0)
		return false;
	memcpy(a, got.p, PS);
	memcpy(b, s->pages, PS);
	memset(a + 24, 0, 8), memset(b + 24, 0, 8);
	memset(a + 92, 0, 4), memset(b + 92, 0, 4);
	memset(b + 18, 1, 2);
	return memcmp(a, b, PS) == 0;
}

static bool
mark_is(uint64_t txid)
{
	struct ls_span got = test_read_file(T("copy-txid"));
	char want[32];

	(void)snprintf(
	    want, sizeof want, "%016llx\n", (unsigned long long)txid);
	return got.n == 17 && memcmp(got.p, want, 17) == 0;
}

TEST(follow_goes_on_from_each_txid)
{
	struct ls_err e = { 0 };
	struct kit k;

	begin(&k, 3);
	open_follower(&k);
	CHECK(copy_is(&k, 3) && mark_is(3));
	for (uint64_t t = 4; t <= 40; t++) {
		commit(&k.x, 0);
		put(&k.x, t, t);
		CHECK_OK(ls_follow_step(k.f, NULL, &e));
		CHECK_EQ(ls_follow_txid(k.f), t);
		CHECK(copy_is(&k, t) && mark_is(t));
		CHECK(!ls_exists(T("copy-journal")));
		CHECK(!ls_exists(T("copy-ltx.tmp")));
	}
	end(&k);
}

TEST(follow_resumes)
{
	struct ls_err e = { 0 };
	struct kit k;

	begin(&k, 3);
	open_follower(&k);
	ls_follow_free(k.f);
	for (uint64_t t = 4; t <= 12; t++) {
		commit(&k.x, 0);
		put(&k.x, t, t);
	}
	fx_put(&k.x, 9, 1, 2); /* the mark is ahead of the newest snapshot */
	open_follower(&k);
	CHECK_EQ(ls_follow_txid(k.f), 3);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 12) && mark_is(12));
	end(&k);
}

/* A write while nobody follows is found by the file's time, and mended; at the
 * same time there is no reason to read everything again. */
TEST(follow_notices_a_stranger_while_away)
{
	for (int noticed = 0; noticed < 2; noticed++) {
		struct ls_err e = { 0 };
		struct timespec ts[2];
		struct stat st;
		struct ls_span was;
		uint8_t *p;
		struct kit k;

		begin(&k, 3);
		open_follower(&k);
		ls_follow_free(k.f);
		CHECK(stat(T("copy"), &st) == 0);
		was = test_read_file(T("copy"));
		CHECK((p = malloc(was.n)) != NULL);
		memcpy(p, was.p, was.n);
		p[was.n - 1] ^= 1;
		test_write_file(T("copy"), p, was.n);
		free(p);
		ts[0] = ts[1] = st.st_mtim;
		ts[1].tv_sec += noticed;
		CHECK(utimensat(AT_FDCWD, T("copy"), ts, 0) == 0);
		open_follower(&k);
		CHECK_OK(ls_follow_step(k.f, NULL, &e));
		CHECK(copy_is(&k, 3) == (noticed == 1) && mark_is(3));
		end(&k);
		CHECK_OK(ls_remove_tree(T("copy"), &e));
		CHECK_OK(ls_remove_tree(T("copy-txid"), &e));
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

TEST(follow_needs_a_mark)
{
	struct ls_err e = { 0 };
	struct kit k;

	begin(&k, 1);
	test_write_file(T("copy"), "x", 1);
	CHECK_RC(ls_follow_open(k.x.r, &k.o, &k.f, NULL, &e), LS_EEXISTS);
	test_write_file(T("copy-txid"), "12\n", 3);
	CHECK_RC(ls_follow_open(k.x.r, &k.o, &k.f, NULL, &e), LS_EINVALID);
	end(&k);
}

/* The mark was not written before a crash: the same files come again. */
TEST(follow_again_changes_nothing)
{
	struct ls_err e = { 0 };
	struct kit k;
	struct stat a, b;

	begin(&k, 3);
	open_follower(&k);
	for (uint64_t t = 4; t <= 6; t++) {
		commit(&k.x, 0);
		put(&k.x, t, t);
	}
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	ls_follow_free(k.f);
	test_write_file(T("copy-txid"), "0000000000000003\n", 17);
	CHECK(stat(T("copy"), &a) == 0);
	open_follower(&k);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 6) && mark_is(6));
	CHECK(stat(T("copy"), &b) == 0);
	CHECK(a.st_mtim.tv_nsec == b.st_mtim.tv_nsec &&
	      a.st_mtim.tv_sec == b.st_mtim.tv_sec);
	end(&k);
}

TEST(follow_finds_merged)
{
	struct ls_err e = { 0 };
	struct kit k;

	begin(&k, 3);
	open_follower(&k);
	CHECK_OK(ls_follow_step(k.f, NULL, &e)); /* the whole first look */
	for (uint64_t t = 4; t <= 7; t++)
		commit(&k.x, 0);
	fx_put(&k.x, 2, 2, 7); /* level 0 of these came and went */
	for (int i = 0; i < 10 && ls_follow_txid(k.f) < 7; i++)
		CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 7) && mark_is(7));
	end(&k);
}

TEST(follow_pruned)
{
	struct ls_err e = { 0 };
	struct kit k;

	begin(&k, 3);
	open_follower(&k);
	for (uint64_t t = 4; t <= 9; t++)
		commit(&k.x, 0);
	put(&k.x, 9, 9); /* 4..7 are gone; 8 is in the base only */
	CHECK_RC(ls_follow_step(k.f, NULL, &e), LS_EGAP);
	CHECK(copy_is(&k, 3) && mark_is(3));
	fx_put(&k.x, 9, 1, 8);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 9) && mark_is(9));
	CHECK(!ls_exists(T("copy.restored")));
	end(&k);
}

/* The same TXIDs of another history, whose level 0 would fit: not mixed with
 * the copy, though the pages that differ are in the base only. */
TEST(follow_another_history)
{
	struct ls_err e = { 0 };
	struct kit k;
	unsigned other = 0;

	begin(&k, 3);
	commit(&k.x, 60);
	put(&k.x, 4, 4);
	open_follower(&k);
	CHECK_OK(ls_remove_tree(T("rep/ltx"), &e));
	k.x.lineage = 0x777;
	for (uint64_t t = 5; t <= 7; t++)
		commit(&k.x, 60);
	for (uint32_t p = 2; p <= 60; p++) {
		if (k.x.s[5].changed[p] || k.x.s[6].changed[p] ||
		    k.x.s[7].changed[p])
			continue;
		for (uint64_t t = 5; t <= 7; t++)
			k.x.s[t].pages[(size_t)(p - 1) * PS] ^= 1;
		other++;
	}
	CHECK(other > 0);
	fx_put(&k.x, 9, 1, 6);
	put(&k.x, 5, 7);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 7) && mark_is(7));
	commit(&k.x, 0);
	put(&k.x, 8, 8);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 8));
	end(&k);
}

TEST(follow_refuses_damage)
{
	struct ls_err e = { 0 };
	struct kit k;
	struct ls_span b;
	static uint8_t bad[1 << 20];

	begin(&k, 3);
	open_follower(&k);
	commit(&k.x, 30);
	put(&k.x, 4, 4);
	b = test_read_file(fx_path(0, 4, 4));
	CHECK(b.n < sizeof bad);
	memcpy(bad, b.p, b.n);
	bad[b.n / 2] ^= 1;
	test_write_file(fx_path(0, 4, 4), bad, b.n);
	CHECK(ls_follow_step(k.f, NULL, &e) != LS_OK);
	CHECK(e.msg[0] != '\0');
	CHECK(copy_is(&k, 3) && mark_is(3));
	put(&k.x, 4, 4);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	CHECK(copy_is(&k, 4) && mark_is(4));
	end(&k);
}

TEST(follow_page_size_changes)
{
	struct ls_err e = { 0 };
	struct kit k;
	struct ls_span got;

	begin(&k, 3);
	open_follower(&k);
	commit(&k.x, 40);
	k.x.page_size = 512; /* the same bytes, cut differently */
	ls_put_be16(k.x.s[4].pages + 16, 512);
	fx_put(&k.x, 9, 1, 4);
	put(&k.x, 4, 4);
	CHECK_OK(ls_follow_step(k.f, NULL, &e));
	got = test_read_file(T("copy"));
	CHECK_EQ(got.n, 40 * 512);
	CHECK(memcmp(got.p + 512, k.x.s[4].pages + 512, 39 * 512) == 0);
	CHECK(mark_is(4));
	end(&k);
}

/* Every call that may fail does so once: afterwards the copy is at a whole
 * TXID, by itself or after recovery, and the next step repairs all. */
TEST(follow_rolls_back_on_fault)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct kit k;
		enum ls_rc rc;
		int fds;

		test_seed(9);
		begin(&k, 3);
		open_follower(&k);
		commit(&k.x, n % 2 ? 90 : 2);
		put(&k.x, 4, 4);
		fds = test_open_fds();
		fault_arm(n, n % 3 ? EIO : ENOSPC);
		rc = ls_follow_step(k.f, NULL, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		CHECK_OK(ls_follow_recover(T("copy"), &e));
		CHECK(copy_is(&k, 3) || copy_is(&k, 4));
		CHECK(!ls_exists(T("copy-ltx.tmp")));
		CHECK_OK(ls_follow_step(k.f, NULL, &e));
		CHECK(copy_is(&k, 4) && mark_is(4));
		CHECK(!ls_exists(T("copy-journal")));
		end(&k);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
		CHECK_OK(ls_remove_tree(T("copy"), &e));
		CHECK_OK(ls_remove_tree(T("copy-txid"), &e));
		if (!fault_fired()) {
			CHECK(rc == LS_OK && n > 20);
			return;
		}
	}
}

TEST(follow_first_restore_under_fault)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct kit k;
		enum ls_rc rc;

		begin(&k, 2);
		fault_arm(n, EIO);
		rc = ls_follow_open(k.x.r, &k.o, &k.f, NULL, &e);
		fault_disarm();
		CHECK(!ls_exists(T("copy")) || mark_is(2));
		CHECK(!ls_exists(T("copy.restored")));
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		end(&k);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
		CHECK_OK(ls_remove_tree(T("copy"), &e));
		CHECK_OK(ls_remove_tree(T("copy-txid"), &e));
		if (!fault_fired()) {
			CHECK(rc == LS_OK);
			return;
		}
	}
}

/* ---- the apply, with SQLite reading and recovering ------------------------*/

struct pages {
	const uint8_t *p;
	uint32_t commit;
	uint32_t fail_at; /* the second time round; 0: never */
	int round;
};

static enum ls_rc
give(void *arg, const uint8_t *want, ls_page_fn *fn, void *fn_arg,
    struct ls_err *e)
{
	struct pages *s = arg;
	enum ls_rc rc;

	(void)want;
	s->round++;
	for (uint32_t i = 1; i <= s->commit; i++) {
		if (s->round == 2 && i == s->fail_at)
			return ls_err_set(e, LS_EIO, "made to fail");
		rc = fn(fn_arg, i, s->p + (size_t)(i - 1) * 4096, e);
		if (rc != LS_OK)
			return rc;
	}
	return LS_OK;
}

static void
sql(const char *name, const char *text)
{
	sqlite3 *db;

	CHECK(sqlite3_open(T(name), &db) == SQLITE_OK);
	CHECK(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
	CHECK(sqlite3_close(db) == SQLITE_OK);
}

static int
count(sqlite3 *db)
{
	sqlite3_stmt *st;
	int n;

	CHECK(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &st, NULL) ==
	      SQLITE_OK);
	CHECK(sqlite3_step(st) == SQLITE_ROW);
	n = sqlite3_column_int(st, 0);
	CHECK(sqlite3_finalize(st) == SQLITE_OK);
	return n;
}

static void
two_states(struct pages *s, struct ls_apply_src *src)
{
	struct ls_span b;

	sql("copy",
	    "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(50000));");
	/* The same commits and the same size: only our counter tells. */
	sql("next",
	    "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(50000)),"
	    "(1),(2);");
	b = test_read_file(T("next"));
	*s = (struct pages){ .p = b.p, .commit = (uint32_t)(b.n / 4096) };
	*src = (struct ls_apply_src){ give, s, 4096, s->commit, true };
}

TEST(follow_reader_sees_each_txid)
{
	struct ls_err e = { 0 };
	struct pages s;
	struct ls_apply_src src;
	struct ls_apply_mark m = { 0 };
	sqlite3 *db;

	two_states(&s, &src);
	CHECK(sqlite3_open_v2(T("copy"), &db, SQLITE_OPEN_READONLY, NULL) ==
	      SQLITE_OK);
	CHECK_EQ(count(db), 1);
	CHECK_OK(ls_follow_apply(T("copy"), &src, &m, NULL, &e));
	CHECK_EQ(count(db), 3); /* the cache was dropped */
	CHECK(sqlite3_close(db) == SQLITE_OK);
	CHECK_OK(ls_check_database(T("copy"), 2, &e));
}

/* The reader is in this process: closing our descriptor would drop its POSIX
 * locks if it had to keep them; here it only has to be respected. */
TEST(follow_waits_for_a_reader)
{
	struct ls_err e = { 0 };
	struct pages s;
	struct ls_apply_src src;
	struct ls_apply_mark m = { 0 };
	struct flock l = {
		.l_type = F_RDLCK, .l_start = 0x40000002, .l_len = 510
	};
	int fd;

	two_states(&s, &src);
	fd = open(T("copy"), O_RDWR);
	CHECK(fd >= 0 && fcntl(fd, F_OFD_SETLK, &l) == 0);
	fault_clock(0); /* sleeps advance a virtual clock */
	CHECK_RC(ls_follow_apply(T("copy"), &src, &m, NULL, &e), LS_EBUSY);
	CHECK(!ls_exists(T("copy-journal")));
	CHECK(close(fd) == 0);
	CHECK_OK(ls_follow_apply(T("copy"), &src, &m, NULL, &e));
	CHECK_OK(ls_check_database(T("copy"), 2, &e));
}

/* What we wrote as a journal is one to SQLite: half an apply is rolled back. */
TEST(follow_journal_is_sqlites)
{
	struct ls_err e = { 0 };
	struct ls_span before;

	for (uint32_t at = 1; at <= 4; at++) {
		struct pages s;
		struct ls_apply_src src;
		struct ls_apply_mark m = { 0 };
		struct ls_span after;

		two_states(&s, &src);
		s.fail_at = LS_MIN(at, s.commit);
		before = test_read_file(T("copy"));
		CHECK_RC(
		    ls_follow_apply(T("copy"), &src, &m, NULL, &e), LS_EIO);
		CHECK(!ls_exists(T("copy-journal")));
		after = test_read_file(T("copy"));
		CHECK(before.n == after.n &&
		      memcmp(before.p, after.p, after.n) == 0);
		CHECK_OK(ls_remove_tree(T("copy"), &e));
		CHECK_OK(ls_remove_tree(T("next"), &e));
	}
}

TEST(follow_notices_a_stranger)
{
	struct ls_err e = { 0 };
	struct pages s;
	struct ls_apply_src src;
	struct ls_apply_mark m = { 0 };

	two_states(&s, &src);
	CHECK_OK(ls_follow_apply(T("copy"), &src, &m, NULL, &e));
	CHECK(m.known);
	sql("copy", "DELETE FROM t");
	src.whole = false;
	CHECK_RC(ls_follow_apply(T("copy"), &src, &m, NULL, &e), LS_EGAP);
	src.whole = true;
	CHECK_OK(ls_follow_apply(T("copy"), &src, &m, NULL, &e));
	CHECK_OK(ls_check_database(T("copy"), 2, &e));
}
