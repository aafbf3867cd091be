/* test_journal.c -- the write buffer's file, and the pages of a transaction. */
#include "vfs/dirty.h"
#include "vfs/journal.h"

#include "base/bytes.h"
#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PS = 512 };
static const struct ls_jbase base = { 7, 0xabc, 1700000000000, PS, 9 };

static enum ls_rc
give(void *arg, uint32_t pgno, const uint8_t **page, struct ls_err *e)
{
	static uint8_t p[PS];

	(void)e;
	memset(p, (int)(pgno + *(const uint64_t *)arg), sizeof p);
	*page = p;
	return LS_OK;
}

static enum ls_rc
append(struct ls_journal *j, uint64_t seq, struct ls_jrec *r, const char *super,
    struct ls_err *e)
{
	static uint32_t pgno[3] = { 1, 4, 5 };

	*r = (struct ls_jrec){
		.seq = seq, .page_size = PS, .commit = 9, .n = 3, .pgno = pgno
	};
	return ls_journal_append(j, r, super, give, &seq, e);
}

static struct ls_journal *
open_it(struct ls_jfound *f)
{
	struct ls_journal *j = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_journal_open(T("buf"), "file:///r", &j, f, &e));
	return j;
}

/* A new file with transactions 1..n; r has the last one. */
static struct ls_journal *
begun(uint64_t n, struct ls_jrec *r)
{
	struct ls_jfound f = { 0 };
	struct ls_journal *j = open_it(&f);
	struct ls_err e = { 0 };

	CHECK_EQ(f.n, 0);
	CHECK_OK(ls_journal_begin(j, &base, NULL, 0, &e));
	for (uint64_t i = 1; i <= n; i++)
		CHECK_OK(append(j, i, r, NULL, &e));
	return j;
}

static void
check_rec(struct ls_journal *j, const struct ls_jrec *r, uint64_t seq)
{
	struct ls_err e = { 0 };
	uint8_t want[PS], got[PS];

	CHECK_EQ(r->seq, seq);
	CHECK_EQ(r->n, 3);
	CHECK_EQ(r->commit, 9);
	for (uint32_t i = 0; i < r->n; i++) {
		memset(want, (int)(r->pgno[i] + seq), sizeof want);
		CHECK_OK(ls_pread_all(ls_journal_file(j)->fd, got, PS,
		    r->pages_at + (uint64_t)i * PS, &e));
		CHECK(memcmp(want, got, PS) == 0);
	}
}

/* Close and look what another life would find: transactions from..to. */
static void
check_found(struct ls_journal *j, uint64_t from, uint64_t to)
{
	struct ls_jfound f = { 0 };

	ls_journal_close(j, false);
	j = open_it(&f);
	CHECK_EQ(f.n, to - from + 1);
	for (size_t i = 0; i < f.n; i++)
		check_rec(j, &f.rec[i], from + i);
	ls_jfound_fini(&f);
	ls_journal_close(j, false);
}

TEST(torn_tail_is_cut)
{
	struct ls_jrec r;
	struct ls_journal *j = begun(3, &r);
	struct ls_jfound f = { 0 };
	struct ls_span all;
	uint8_t *bytes;

	ls_journal_close(j, false);
	all = test_read_file(T("buf"));
	CHECK((bytes = malloc(r.end)) != NULL);
	memcpy(bytes, all.p, r.end);
	/* Any byte of the last one changed, or the file ends in it. */
	for (uint64_t at = r.at; at < r.end; at += 7) {
		bytes[at] ^= 1;
		test_write_file(T("buf"), bytes, r.end);
		bytes[at] ^= 1;
		j = open_it(&f);
		CHECK_EQ(f.n, 2);
		ls_jfound_fini(&f);
		ls_journal_close(j, false);
		test_write_file(T("buf"), bytes, at);
		j = open_it(&f);
		CHECK_EQ(f.n, 2);
		CHECK_EQ(ls_journal_size(j), r.at);
		ls_jfound_fini(&f);
		check_found(j, 1, 2);
	}
	free(bytes);
}

TEST(undone_is_not_replayed)
{
	struct ls_err e = { 0 };
	struct ls_jrec r, s;
	struct ls_journal *j = begun(3, &r);

	CHECK_OK(ls_journal_undo(j, &r, &e));
	check_found(j, 1, 2);
	CHECK(unlink(T("buf")) == 0);
	/* With a note behind it; and the number comes again. */
	j = begun(3, &r);
	CHECK_OK(ls_journal_seal(j, 2, &e));
	CHECK_OK(ls_journal_undo(j, &r, &e));
	CHECK_OK(append(j, 3, &s, NULL, &e));
	check_found(j, 1, 3);
}

TEST(notes_are_read)
{
	struct ls_jbase next = base;
	struct ls_jfound f = { 0 };
	struct ls_err e = { 0 };
	struct ls_jrec r;
	struct ls_journal *j = begun(3, &r);

	CHECK_OK(ls_journal_seal(j, 2, &e));
	ls_journal_close(j, false);
	j = open_it(&f);
	CHECK_EQ(f.sealed, 2);
	CHECK_EQ(f.base.txid, 7);
	CHECK_EQ(f.base.lineage, 0xabc);
	CHECK_EQ(f.base.commit, 9);
	ls_jfound_fini(&f);
	next.txid = 8;
	CHECK_OK(ls_journal_done(j, 2, &next, &e));
	ls_journal_close(j, false);
	j = open_it(&f);
	CHECK_EQ(f.sealed, 0);
	CHECK_EQ(f.base.txid, 8);
	CHECK_EQ(f.n, 1);
	check_rec(j, &f.rec[0], 3);
	/* A seal is void with what it was made of. */
	CHECK_OK(ls_journal_seal(j, 3, &e));
	CHECK_OK(ls_journal_undo(j, &f.rec[0], &e));
	ls_jfound_fini(&f);
	ls_journal_close(j, false);
	j = open_it(&f);
	CHECK_EQ(f.n + f.sealed, 0);
	ls_jfound_fini(&f);
	ls_journal_close(j, true);
	CHECK(!ls_exists(T("buf")));
}

TEST(super_journal_decides)
{
	struct ls_err e = { 0 };
	struct ls_jrec r;
	struct ls_jfound f = { 0 };
	struct ls_journal *j = begun(1, &r);

	CHECK_OK(append(j, 2, &r, T("app-mj12"), &e));
	test_write_file(T("app-mj12"), "x", 1);
	ls_journal_close(j, false);
	j = open_it(&f); /* it is there: all databases roll back */
	CHECK_EQ(f.n, 1);
	ls_jfound_fini(&f);
	CHECK_OK(append(j, 2, &r, T("app-mj13"), &e));
	check_found(j, 1, 2);
}

TEST(old_readers_keep_the_old_file)
{
	struct ls_err e = { 0 };
	struct ls_jbase next = base;
	struct ls_jrec r, *keep = &r;
	struct ls_journal *j = begun(3, &r);
	struct ls_local *old = ls_local_ref(ls_journal_file(j));
	uint64_t at = r.pages_at;
	uint8_t page[PS], want[PS];

	next.txid = 8;
	CHECK_OK(ls_journal_begin(j, &next, &keep, 1, &e));
	CHECK(r.pages_at != at);
	CHECK(ls_journal_file(j) != old);
	memset(want, 1 + 3, sizeof want);
	CHECK_OK(ls_pread_all(old->fd, page, PS, at, &e));
	CHECK(memcmp(page, want, PS) == 0);
	ls_local_unref(old);
	check_rec(j, &r, 3);
	check_found(j, 3, 3);
}

TEST(second_opener_is_locked_out)
{
	struct ls_err e = { 0 };
	struct ls_jfound f = { 0 };
	struct ls_jrec r;
	struct ls_journal *j = begun(1, &r), *k = NULL;

	CHECK_RC(
	    ls_journal_open(T("buf"), "file:///r", &k, &f, &e), LS_ELOCKED);
	CHECK(strstr(e.msg, T("buf")) != NULL);
	ls_journal_close(j, false);
	CHECK_RC(
	    ls_journal_open(T("buf"), "file:///s", &k, &f, &e), LS_EINVALID);
	test_write_file(T("buf"), "some text of the user's", 23);
	CHECK_RC(
	    ls_journal_open(T("buf"), "file:///r", &k, &f, &e), LS_ECORRUPT);
}

TEST(next_owner_is_told)
{
	struct ls_err e = { 0 };
	struct ls_jfound f = { 0 };
	struct ls_journal *j = open_it(&f), *k = NULL;
	int copy;

	CHECK_EQ(f.left_txid, 0);
	ls_journal_leave(j, 0x1234);
	CHECK_RC(
	    ls_journal_open(T("buf"), "file:///r", &k, &f, &e), LS_ELOCKED);
	/* A fork has the lock's descriptor too, and may live for long. */
	copy = fork();
	CHECK(copy >= 0);
	if (copy == 0) {
		(void)pause();
		_exit(0);
	}
	ls_journal_close(j, true);
	j = open_it(&f);
	CHECK(kill(copy, SIGKILL) == 0 && waitpid(copy, NULL, 0) == copy);
	CHECK_EQ(f.left_txid, 0x1234);
	ls_journal_close(j, true);
	test_write_file(T("buf.lock"), "junk", 4);
	ls_journal_close(open_it(&f), true);
	CHECK_EQ(f.left_txid, UINT64_MAX);
}

TEST(an_empty_file_is_no_buffer_yet)
{
	struct ls_err e = { 0 };
	struct ls_jfound f = { 0 };
	struct ls_jrec r;
	struct ls_journal *j;

	test_write_file(T("buf"), "", 0);
	j = open_it(&f);
	CHECK(ls_journal_file(j) == NULL);
	CHECK_OK(ls_journal_begin(j, &base, NULL, 0, &e));
	CHECK_OK(append(j, 1, &r, NULL, &e));
	check_found(j, 1, 1);
}

/* One life of a buffer: append, undo, note, begin anew. *done: the last
 * transaction that was appended. */
static enum ls_rc
one_life(uint64_t *done, struct ls_err *e)
{
	struct ls_journal *j = NULL;
	struct ls_jfound f = { 0 };
	struct ls_jrec r[5];
	struct ls_jrec *keep[2] = { &r[2], &r[3] };
	struct ls_jbase next = base;
	enum ls_rc rc;

	*done = 0;
	next.txid++;
	rc = ls_journal_open(T("buf"), "file:///r", &j, &f, e);
	ls_jfound_fini(&f);
	if (rc != LS_OK)
		return rc;
	rc = ls_journal_begin(j, &base, NULL, 0, e);
	for (uint64_t i = 1; rc == LS_OK && i <= 4; i++)
		if ((rc = append(j, i, &r[i - 1], NULL, e)) == LS_OK)
			*done = i;
	if (rc == LS_OK && (rc = ls_journal_sync(j, e)) == LS_OK &&
	    (rc = ls_journal_seal(j, 2, e)) == LS_OK &&
	    (rc = ls_journal_done(j, 2, &next, e)) == LS_OK &&
	    (rc = ls_journal_begin(j, &next, keep, 2, e)) == LS_OK &&
	    (rc = append(j, 5, &r[4], NULL, e)) == LS_OK)
		rc = ls_journal_undo(j, &r[4], e);
	ls_journal_close(j, false);
	return rc;
}

TEST(append_is_all_or_nothing_under_any_fault)
{
	int fds = test_open_fds();

	fault_reads(1);
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct ls_jfound f = { 0 };
		struct ls_journal *j;
		uint64_t done;
		enum ls_rc rc;

		(void)unlink(T("buf"));
		fault_arm(n, ENOSPC);
		rc = one_life(&done, &e);
		fault_disarm();
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		CHECK_EQ(test_open_fds(), fds);
		CHECK(!ls_exists(T("buf.tmp")));
		if (ls_exists(T("buf")) && ls_file_size(T("buf")) > 0) {
			j = open_it(&f);
			/* What was appended is there, up to the last; of the
			 * undone fifth nobody was told. */
			CHECK(f.n == 0 || f.rec[f.n - 1].seq >= done);
			for (size_t i = 0; i < f.n; i++)
				check_rec(j, &f.rec[i], f.rec[0].seq + i);
			CHECK(f.n == (f.base.txid == 7 ? done : 2) ||
			      (f.n == 3 && f.base.txid == 8));
			ls_jfound_fini(&f);
			ls_journal_close(j, false);
		} else {
			CHECK_EQ(done, 0);
		}
		if (!fault_fired()) {
			CHECK_RC(rc, LS_OK);
			break;
		}
	}
	fault_reads(0);
}

/* ---- the pages of a transaction -------------------------------------------*/

TEST(spilled_pages_are_read_back)
{
	enum { PAGES = 300 };
	struct ls_dirty *d = NULL;
	struct ls_err e = { 0 };
	static uint8_t model[PAGES + 1];
	uint8_t page[PS];
	const uint8_t *got;
	uint32_t *list, n, live = 0;

	test_seed(3);
	memset(model, 0, sizeof model);
	CHECK_OK(ls_dirty_new(PS, 32 * PS, &d, &e));
	for (int i = 0; i < 4000; i++) {
		uint32_t p = 1 + (uint32_t)(test_rand() % PAGES);

		if (test_rand() % 500 == 0) {
			ls_dirty_cut(d, p);
			memset(model + p + 1, 0, PAGES - p);
			continue;
		}
		model[p] = (uint8_t)(1 + test_rand() % 255);
		memset(page, model[p], sizeof page);
		CHECK_OK(ls_dirty_put(d, p, page, &e));
	}
	for (uint32_t p = 1; p <= PAGES; p++) {
		CHECK_EQ(ls_dirty_has(d, p), model[p] != 0);
		CHECK_RC(ls_dirty_get(d, p, &got, &e),
		    model[p] ? LS_OK : LS_ENOTFOUND);
		if (model[p] == 0)
			continue;
		live++;
		memset(page, model[p], sizeof page);
		CHECK(memcmp(page, got, PS) == 0);
	}
	CHECK(live > 64); /* most of them are in the file */
	CHECK_EQ(ls_dirty_count(d), live);
	CHECK_OK(ls_dirty_list(d, PAGES, 0, &list, &n, &e));
	CHECK_EQ(n, live);
	for (uint32_t i = 1; i < n; i++)
		CHECK(list[i - 1] < list[i] && model[list[i]] != 0);
	ls_free(list);
	ls_dirty_free(d);
}
