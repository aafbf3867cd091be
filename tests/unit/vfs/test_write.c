/* test_write.c -- writing: transactions, the slot, the buffer, the store.
 * Pages are told by their first byte behind the header; page 1 looks as SQLite
 * writes it. */
#include "kit.h"
#include "vfs/own.h"

#include "base/bytes.h"
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PS = 1024 };

static enum ls_rc
try_writer(struct ls_reader **r, uint64_t sync_ns, struct ls_err *e)
{
	struct ls_vfs_opts o = { .cache_bytes = 1 << 20,
		.write = true,
		.sync_ns = sync_ns,
		.buffer_bytes = 64 * PS,
		.keep.off = true }; /* it writes whenever it likes */
	enum ls_rc rc;

	CHECK(asprintf(&o.url, "file://%s", T("rep")) > 0);
	CHECK(asprintf(&o.buffer, "%s", T("buf")) > 0);
	rc = ls_reader_open(&o, r, e);
	ls_vfs_opts_fini(&o);
	return rc;
}

static struct ls_reader *
writer(void)
{
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(try_writer(&r, 3600 * LS_SEC, &e));
	return r;
}

static struct ls_own *
own(struct ls_reader *r)
{
	return ls_vdb_own(ls_reader_db(r));
}

/* ---- what SQLite does -----------------------------------------------------*/

static enum ls_rc
put(struct ls_reader *r, uint32_t pgno, uint8_t mark, struct ls_err *e)
{
	uint8_t page[PS];

	memset(page, mark, sizeof page);
	return ls_reader_write(r, page, PS, (uint64_t)(pgno - 1) * PS, e);
}

/* Page 1 as at the end of a transaction. */
static enum ls_rc
put_first(struct ls_reader *r, uint32_t commit, uint8_t mark, struct ls_err *e)
{
	uint8_t page[PS];

	memset(page, mark, sizeof page);
	ls_put_be16(page + 16, PS);
	page[18] = page[19] = 1;
	ls_put_be32(page + 24, ls_reader_counter(r) + 1);
	ls_put_be32(page + 28, commit);
	ls_put_be32(page + 92, ls_reader_counter(r) + 1);
	return ls_reader_write(r, page, PS, 0, e);
}

/* Pages 1, 2 and `commit` get the mark. */
static enum ls_rc
write_all(struct ls_reader *r, uint32_t commit, uint8_t mark, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_reader_begin(r, e)) != LS_OK ||
	    (rc = ls_reader_reserve(r, e)) != LS_OK ||
	    (rc = put(r, 2, mark, e)) != LS_OK ||
	    (rc = put(r, commit, mark, e)) != LS_OK)
		return rc;
	return put_first(r, commit, mark, e);
}

static enum ls_rc
try_txn(struct ls_reader *r, uint32_t commit, uint8_t mark, struct ls_err *e)
{
	enum ls_rc rc = write_all(r, commit, mark, e);

	if (rc == LS_OK && (rc = ls_reader_prepare(r, NULL, e)) == LS_OK &&
	    (rc = ls_reader_flush(r, e)) == LS_OK)
		rc = ls_reader_commit(r, e);
	ls_reader_end(r);
	return rc;
}

static void
txn(struct ls_reader *r, uint32_t commit, uint8_t mark)
{
	struct ls_err e = { 0 };

	CHECK_OK(try_txn(r, commit, mark, &e));
}

static uint8_t
mark_of(struct ls_reader *r, uint32_t pgno)
{
	struct ls_err e = { 0 };
	uint8_t b = 0;

	CHECK_OK(ls_reader_read(r, &b, 1, (uint64_t)(pgno - 1) * PS + 200, &e));
	return b;
}

static uint32_t
pages(struct ls_reader *r)
{
	struct ls_err e = { 0 };
	uint64_t n = 0;

	CHECK_OK(ls_reader_size(r, &n, &e));
	return (uint32_t)(n / PS);
}

static void
see(struct ls_reader *r, uint32_t commit, uint8_t mark)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_reader_begin(r, &e));
	CHECK_EQ(pages(r), commit);
	CHECK_EQ(mark_of(r, 1), mark);
	CHECK_EQ(mark_of(r, 2), mark);
	CHECK_EQ(mark_of(r, commit), mark);
	ls_reader_end(r);
}

static uint64_t
push(struct ls_reader *r)
{
	struct ls_err e = { 0 };
	uint64_t txid = 0;

	CHECK_OK(ls_own_push(own(r), &txid, NULL, &e));
	return txid;
}

/* What is stored, restored: a byte of it. */
static uint8_t
stored_byte(uint64_t at)
{
	struct fx x;
	struct ls_restored out;
	struct ls_err e = { 0 };
	struct ls_span all;

	(void)unlink(T("out"));
	fx_open(&x, PS);
	CHECK_OK(fx_restore(&x, 0, "out", &out, &e));
	fx_close(&x);
	all = test_read_file(T("out"));
	CHECK(at < all.n);
	return all.p[at];
}

static uint64_t
waiting(struct ls_reader *r)
{
	struct ls_own_stats s;

	ls_own_stats(own(r), &s);
	return s.pending_txns;
}

static bool
kept_aside(void)
{
	DIR *d = opendir(T("."));
	bool yes = false;

	CHECK(d != NULL);
	for (struct dirent *x; (x = readdir(d)) != NULL;)
		yes = yes || strncmp(x->d_name, "buf.conflict-", 13) == 0;
	(void)closedir(d);
	return yes;
}

/* ---- tests ----------------------------------------------------------------*/

TEST(a_new_database_is_written_and_restored)
{
	struct ls_reader *r = writer();

	CHECK_EQ(pages(r), 0);
	txn(r, 5, 'a');
	see(r, 5, 'a');
	CHECK_EQ(push(r), 1);
	txn(r, 7, 'b');
	txn(r, 3, 'c');
	txn(r, 6, 'd');
	see(r, 6, 'd');
	CHECK_EQ(kit_txid(r), 1);
	CHECK_EQ(push(r), 2); /* one_file_a_push */
	see(r, 6, 'd');
	ls_reader_close(r);
	CHECK(!ls_exists(T("buf")));
	CHECK_EQ(stored_byte(5 * PS + 200), 'd');
	CHECK_EQ(ls_file_size(T("out")), 6 * PS);
	r = writer();
	see(r, 6, 'd');
	ls_reader_close(r);
}

TEST(prepared_is_seen_by_nobody)
{
	struct ls_reader *r = writer(), *s = writer(), *old = writer();
	struct ls_err e = { 0 };

	txn(r, 5, 'a');
	CHECK_OK(ls_reader_begin(old, &e));
	CHECK_OK(write_all(r, 6, 'b', &e));
	CHECK_EQ(mark_of(r, 2), 'b');
	see(s, 5, 'a');
	CHECK_OK(ls_reader_prepare(r, NULL, &e));
	see(s, 5, 'a');
	CHECK_OK(ls_reader_commit(r, &e));
	see(s, 6, 'b');
	CHECK_EQ(mark_of(r, 6), 'b');
	ls_reader_end(r);
	(void)push(r); /* restack_keeps_what_is_seen */
	CHECK_EQ(pages(old), 5);
	CHECK_EQ(mark_of(old, 2), 'a');
	ls_reader_end(old);
	see(old, 6, 'b');
	ls_reader_close(r), ls_reader_close(s), ls_reader_close(old);
}

TEST(caches_live_across_a_push)
{
	struct ls_reader *r = writer();
	uint32_t before;

	txn(r, 5, 'a');
	(void)push(r);
	txn(r, 5, 'b');
	see(r, 5, 'b');
	before = ls_reader_counter(r);
	(void)push(r);
	see(r, 5, 'b');
	CHECK_EQ(ls_reader_counter(r), before);
	ls_reader_close(r);
}

TEST(old_state_may_not_write)
{
	struct ls_reader *r = writer(), *s = writer();
	struct ls_err e = { 0 };

	txn(r, 5, 'a');
	CHECK_OK(ls_reader_begin(s, &e));
	CHECK_OK(write_all(r, 5, 'b', &e));
	CHECK_RC(ls_reader_reserve(s, &e), LS_EBUSY);
	CHECK_OK(ls_reader_prepare(r, NULL, &e));
	CHECK_OK(ls_reader_commit(r, &e));
	CHECK_RC(ls_reader_reserve(s, &e), LS_EBUSY);
	ls_reader_end(r);
	CHECK_RC(ls_reader_reserve(s, &e), LS_ECHANGED);
	ls_reader_end(s);
	txn(s, 5, 'c');
	see(r, 5, 'c');
	/* What a push moves is the same state. */
	CHECK_OK(ls_reader_begin(s, &e));
	(void)push(s);
	CHECK_OK(ls_reader_reserve(s, &e));
	ls_reader_end(s);
	ls_reader_close(r), ls_reader_close(s);
}

TEST(rollback_prepares_nothing)
{
	struct ls_reader *r = writer();
	struct ls_err e = { 0 };
	uint8_t first[PS];

	txn(r, 5, 'a');
	(void)push(r);
	/* Spilled, then written back as they were, and synced. */
	CHECK_OK(ls_reader_begin(r, &e));
	CHECK_OK(ls_reader_reserve(r, &e));
	CHECK_OK(ls_reader_read(r, first, PS, 0, &e));
	CHECK_OK(put_first(r, 9, 'b', &e));
	CHECK_OK(put(r, 2, 'b', &e));
	CHECK_OK(put(r, 9, 'b', &e));
	CHECK_EQ(pages(r), 9);
	CHECK_OK(ls_reader_write(r, first, PS, 0, &e));
	CHECK_OK(put(r, 2, 'a', &e));
	CHECK_OK(ls_reader_truncate(r, 5 * PS, &e));
	CHECK_OK(ls_reader_prepare(r, NULL, &e));
	CHECK_EQ(waiting(r), 0);
	ls_reader_end(r);
	see(r, 5, 'a');
	/* After phase one: taken back, also for the next life. */
	CHECK_OK(write_all(r, 6, 'c', &e));
	CHECK_OK(ls_reader_prepare(r, NULL, &e));
	CHECK_EQ(waiting(r), 1);
	CHECK_OK(ls_reader_write(r, first, PS, 0, &e));
	CHECK_EQ(waiting(r), 0);
	ls_reader_end(r);
	see(r, 5, 'a');
	ls_reader_close(r);
	r = writer();
	see(r, 5, 'a');
	ls_reader_close(r);
}

TEST(free_pages_are_zeros)
{
	struct ls_reader *r = writer();

	txn(r, 8, 'a'); /* 3..7 were never written */
	txn(r, 4, 'b');
	txn(r, 8, 'c'); /* and 5..7 are not those of before */
	CHECK_EQ(mark_of(r, 6), 0);
	(void)push(r);
	CHECK_EQ(mark_of(r, 6), 0);
	ls_reader_close(r);
	CHECK_EQ(stored_byte(5 * PS + 200), 0);
	CHECK_EQ(stored_byte(7 * PS + 200), 'c');
}

TEST(stored_header_is_honest)
{
	struct fx x;
	struct ls_reader *r;
	uint8_t mode;

	test_seed(31);
	fx_open(&x, PS);
	fx_commit_to(&x, 6);
	fx_put(&x, 0, 1, 1);
	mode = x.s[1].pages[18];
	r = writer();
	txn(r, 6, 'a');
	txn(r, 6, 'b');
	(void)push(r);
	ls_reader_close(r);
	CHECK_EQ(stored_byte(18), mode);
	CHECK_EQ(stored_byte(27), (uint8_t)(x.s[1].pages[27] + 2));
	CHECK_EQ(stored_byte(95), (uint8_t)(x.s[1].pages[27] + 2));
	fx_close(&x);
}

static void
store_away(void)
{
	CHECK(rename(T("rep"), T("away")) == 0);
	test_write_file(T("rep"), "", 0);
}

static void
store_back(void)
{
	CHECK(unlink(T("rep")) == 0);
	CHECK(rename(T("away"), T("rep")) == 0);
}

/* A process that commits `marks`, pushes the first (unless that is '-': then
 * the store is away), and dies. */
static void
crashed(const char *marks)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		struct ls_err e = { 0 };
		struct ls_reader *r = NULL;

		if (try_writer(&r, 3600 * LS_SEC, &e) != LS_OK)
			_exit(1);
		if (*marks == '-')
			store_away();
		else if (try_txn(r, 5, (uint8_t)marks[0], &e) != LS_OK ||
			 ls_own_push(own(r), NULL, NULL, &e) != LS_OK)
			_exit(1);
		for (const char *m = marks + 1; *m; m++)
			if (try_txn(r, 5, (uint8_t)*m, &e) != LS_OK)
				_exit(1);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
}

TEST(replay_only_onto_its_base)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_err e = { 0 };

	crashed("abc");
	CHECK(!ls_exists(fx_path(0, 2, 2)));
	r = writer(); /* which sends what it finds at once */
	see(r, 5, 'c');
	CHECK_EQ(push(r), 2);
	ls_reader_close(r);
	CHECK(!kept_aside());
	CHECK_OK(ls_remove_tree(T("rep"), &e));
	/* Another one wrote on top meanwhile. */
	crashed("abc");
	test_seed(32);
	fx_open(&x, PS);
	x.lineage = 0;
	fx_commit_to(&x, 5);
	fx_commit_to(&x, 6);
	fx_put(&x, 0, 2, 2);
	fx_close(&x);
	r = writer();
	CHECK_EQ(waiting(r), 0);
	CHECK(kept_aside());
	CHECK(!ls_exists(T("buf")));
	CHECK_EQ(kit_txid(r), 2);
	ls_reader_close(r);
}

/* The buffer's file outlives its transactions; others write; its next ones are
 * made on another state than it was begun on. */
TEST(the_buffer_names_the_base_of_each_transaction)
{
	struct fx x;
	struct ls_reader *r;

	crashed("a"); /* all is stored, the file stays */
	CHECK(ls_exists(T("buf")));
	test_seed(34);
	fx_open(&x, PS);
	x.lineage = 0;
	fx_commit_to(&x, 5);
	fx_commit_to(&x, 5);
	fx_put(&x, 0, 2, 2);
	fx_close(&x);
	crashed("-cd");
	store_back();
	CHECK(!ls_exists(fx_path(0, 3, 3)));
	r = writer();
	see(r, 5, 'd');
	CHECK(push(r) >= 3); /* one more if 'c' was sealed alone */
	ls_reader_close(r);
	CHECK(!kept_aside());
	CHECK_EQ(stored_byte(4 * PS + 200), 'd');
}

TEST(loser_is_told_and_keeps_its_buffer)
{
	struct fx x;
	struct ls_reader *r, *s;
	struct ls_err e = { 0 };

	fault_clock(0); /* before there is a thread that looks at it */
	r = writer();
	txn(r, 5, 'a');
	CHECK_EQ(push(r), 1);
	txn(r, 5, 'b');
	test_seed(33);
	fx_open(&x, PS);
	fx_commit_to(&x, 5);
	fx_commit_to(&x, 6);
	fx_put(&x, 0, 2, 2);
	kit_later();
	see(r, 5, 'b'); /* poller_does_not_move_what_waits */
	CHECK_RC(ls_own_push(own(r), NULL, NULL, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "0000000000000002") != NULL);
	CHECK(strstr(e.hint, "buf.conflict-") != NULL);
	CHECK(kept_aside());
	CHECK_EQ(ls_reader_raised(r), 0);
	see(r, 5, 'a');
	CHECK(ls_reader_raised(r) != 0); /* cookie_follows_the_history */
	CHECK_RC(try_txn(r, 5, 'c', &e), LS_EFENCED);
	CHECK(strstr(e.msg, "0000000000000002") != NULL);
	s = writer(); /* another connection does not change that */
	CHECK_RC(try_txn(s, 5, 'c', &e), LS_EFENCED);
	ls_reader_close(s);
	/* The other's file is gone, the user knows: on we go. */
	kit_prune(0, 2, 2);
	CHECK_OK(ls_reader_set_write(r, true, &e));
	txn(r, 5, 'd');
	CHECK_EQ(push(r), 2);
	see(r, 5, 'd');
	ls_reader_close(r);
	CHECK_EQ(stored_byte(40), 'd' - 1); /* less what was shown more */
	fx_close(&x);
}

TEST(a_store_that_is_away_turns_writes_away_in_the_end)
{
	struct ls_reader *r;
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_OK;

	fault_clock(0); /* before there is a thread that looks at it */
	r = writer();
	txn(r, 5, 'a');
	CHECK_EQ(push(r), 1);
	store_away();
	txn(r, 5, 'b');
	CHECK(ls_own_push(own(r), NULL, NULL, &e) != LS_OK);
	for (int i = 0; i < 200 && rc == LS_OK; i++)
		rc = try_txn(r, 5, 'b', &e);
	CHECK_RC(rc, LS_ENOSPC); /* the bound of the buffer */
	CHECK(strstr(e.msg, "buf") != NULL);
	see(r, 5, 'b');
	store_back();
	CHECK_EQ(push(r), 3); /* what was sealed, and the rest */
	txn(r, 5, 'c');
	/* Too long is too much as well. */
	store_away();
	CHECK(ls_own_push(own(r), NULL, NULL, &e) != LS_OK);
	fault_clock((int64_t)(3600 * LS_SEC));
	CHECK_RC(try_txn(r, 5, 'd', &e), LS_ETIMEOUT);
	store_back();
	fault_clock(0);
	CHECK_EQ(push(r), 4);
	ls_reader_close(r);
	CHECK_EQ(stored_byte(4 * PS + 200), 'c');
}

/* A life that begins with 'a' stored and commits 'b'. */
static enum ls_rc
one_life(uint64_t sync_ns, struct ls_err *e)
{
	struct ls_reader *r = NULL;
	enum ls_rc rc = try_writer(&r, sync_ns, e);

	if (rc != LS_OK)
		return rc;
	rc = try_txn(r, 6, 'b', e);
	ls_reader_close(r);
	return rc;
}

static void
sweep(uint64_t sync_ns)
{
	int fds = test_open_fds();

	for (int n = 1;; n++) {
		struct ls_reader *r;
		struct ls_err e = { 0 };
		enum ls_rc rc;
		bool fired;
		uint8_t mark;

		CHECK_OK(ls_remove_tree(T("rep"), &e));
		r = writer();
		txn(r, 5, 'a');
		ls_reader_close(r);
		fault_arm(n, EIO);
		rc = one_life(sync_ns, &e);
		fault_disarm();
		fired = fault_fired();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		r = writer();
		mark = mark_of(r, 1);
		CHECK(mark == 'b' || (mark == 'a' && rc != LS_OK));
		see(r, mark == 'a' ? 5 : 6, mark);
		txn(r, 7, 'c'); /* and it goes on */
		(void)push(r);
		ls_reader_close(r);
		CHECK(!kept_aside());
		CHECK_EQ(stored_byte(6 * PS + 200), 'c');
		if (!fired) {
			CHECK_RC(rc, LS_OK);
			break;
		}
	}
}

TEST(any_fault_leaves_a_commit_whole_or_undone)
{
	sweep(3600 * LS_SEC);
}

TEST(any_fault_leaves_a_durable_commit_whole_or_undone)
{
	sweep(0);
}
