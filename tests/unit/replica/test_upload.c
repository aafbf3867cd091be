/* test_upload.c -- two writers, one place: who is fenced, and when. */
#include "fault.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MINUTES(n) ((int64_t)(n)*60 * (int64_t)LS_SEC)

/* A daemon's view: its own handle, its own local files. */
struct side {
	struct fx *x;
	struct ls_uploader *u;
	uint64_t lineage;
	char dir[32];
};

static void
side_open(struct side *s, struct fx *x, const char *dir, uint64_t lineage,
    int64_t retention)
{
	struct ls_err e = { 0 };

	s->x = x, s->lineage = lineage;
	(void)snprintf(s->dir, sizeof s->dir, "%s", dir);
	CHECK_OK(ls_mkdirs(T(dir), 0700, &e));
	CHECK_OK(ls_uploader_new(x->r, retention, &s->u, &e));
}

/* The side's file of a TXID; returns its path. */
static const char *
local_file(struct side *s, uint64_t txid)
{
	struct ls_buf b = LS_BUF_INIT(16 << 20);
	uint64_t was = s->x->lineage;
	char name[96];

	while (s->x->txid < txid)
		fx_commit(s->x);
	s->x->lineage = s->lineage;
	fx_file(s->x, txid, txid, &b);
	s->x->lineage = was;
	(void)snprintf(
	    name, sizeof name, "%s/%llu", s->dir, (unsigned long long)txid);
	test_write_file(T(name), b.p, b.n);
	ls_buf_free(&b);
	return T(name);
}

static enum ls_rc
put(struct side *s, uint64_t txid, struct ls_err *e)
{
	return ls_uploader_put(s->u, txid, local_file(s, txid), NULL, e);
}

static uint64_t
sync_side(struct side *s)
{
	struct ls_err e = { 0 };
	uint64_t txid = 99;

	CHECK_OK(ls_uploader_sync(s->u, &txid, NULL, NULL, &e));
	CHECK_EQ(txid, ls_uploader_acked(s->u));
	return txid;
}

static bool
stored_is(struct side *s, uint64_t txid)
{
	struct ls_span a = test_read_file(local_file(s, txid));
	struct ls_span b = test_read_file(fx_path(0, txid, txid));

	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static uint64_t
lists(struct fx *x)
{
	struct ls_store_stats st;

	ls_store_stats(x->st, &st);
	return st.list_n;
}

static uint64_t
puts_sent(struct fx *x)
{
	struct ls_store_stats st;

	ls_store_stats(x->st, &st);
	return st.put_n;
}

TEST(uploads_in_order_only)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	CHECK_RC(put(&a, 1, &e), LS_EINVALID); /* not before a sync */
	CHECK_EQ(sync_side(&a), 0);
	CHECK_RC(put(&a, 2, &e), LS_EINVALID);
	CHECK_OK(put(&a, 1, &e));
	CHECK(stored_is(&a, 1));
	CHECK_RC(put(&a, 1, &e), LS_EINVALID);
	CHECK_RC(put(&a, 3, &e), LS_EINVALID);
	/* A file of another TXID, or of several. */
	CHECK_RC(
	    ls_uploader_put(a.u, 2, local_file(&a, 1), NULL, &e), LS_EINVALID);
	CHECK_OK(put(&a, 2, &e));
	CHECK_EQ(ls_uploader_acked(a.u), 2);
	ls_uploader_free(a.u);
	fx_close(&x);
}

TEST(fresh_acknowledgements_need_no_listing)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	uint64_t n;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	(void)sync_side(&a);
	n = lists(&x);
	CHECK_OK(put(&a, 1, &e)); /* the first after a sync is checked */
	CHECK_EQ(lists(&x), n + LS_LEVELS);
	n = lists(&x);
	for (uint64_t t = 2; t <= 9; t++)
		CHECK_OK(put(&a, t, &e));
	fault_clock(MINUTES(9));
	CHECK_OK(put(&a, 10, &e));
	CHECK_EQ(lists(&x), n);
	fault_clock(0);
	/* Older than half of the retention: listed after the put. */
	fault_clock(MINUTES(9) + MINUTES(10) + MINUTES(1));
	CHECK_OK(put(&a, 11, &e));
	CHECK(lists(&x) > n);
	fault_disarm();
	ls_uploader_free(a.u);
	fx_close(&x);
}

TEST(taken_key_is_ours_or_fences)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a, b;
	uint64_t n;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	side_open(&b, &x, "b", 2, MINUTES(20));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	CHECK_OK(put(&a, 2, &e));
	ls_uploader_rest(a.u);
	CHECK_EQ(sync_side(&b), 2);
	CHECK_OK(put(&b, 3, &e)); /* b went on from here */
	ls_uploader_rest(b.u);
	CHECK_RC(put(&a, 3, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "0000000000000003-0000000000000003.ltx") != NULL);
	CHECK(strstr(e.msg, "lineage 0000000000000002") != NULL);
	CHECK(stored_is(&b, 3)); /* nothing was overwritten */
	n = puts_sent(&x);
	CHECK_RC(put(&a, 3, &e), LS_EFENCED); /* and it stays fenced */
	CHECK_EQ(puts_sent(&x), n);
	ls_uploader_rest(a.u);
	/* The same bytes are one's own put, whose answer was lost. */
	CHECK_EQ(ls_uploader_acked(b.u), 3);
	CHECK_OK(ls_mkdirs(T("rep/ltx/0"), 0700, &e));
	test_write_file(fx_path(0, 4, 4), test_read_file(local_file(&b, 4)).p,
	    test_read_file(local_file(&b, 4)).n);
	CHECK_OK(put(&b, 4, &e));
	CHECK_OK(put(&b, 5, &e));
	ls_uploader_free(a.u);
	ls_uploader_free(b.u);
	fx_close(&x);
}

/* Large objects are compared by size, header and trailer. */
TEST(large_taken_key_is_ours_or_fences)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	struct ls_span s;
	uint8_t *copy;

	fx_open(&x, 65536);
	side_open(&a, &x, "a", 1, MINUTES(20));
	(void)sync_side(&a);
	fx_commit_to(&x, FX_PAGES);
	fx_commit_to(&x, FX_PAGES);
	s = test_read_file(local_file(&a, 1));
	CHECK(s.n > (1 << 20));
	CHECK((copy = malloc(s.n)) != NULL);
	memcpy(copy, s.p, s.n);
	CHECK_OK(ls_mkdirs(T("rep/ltx/0"), 0700, &e));
	copy[s.n - 1] ^= 1; /* the file checksum */
	test_write_file(fx_path(0, 1, 1), copy, s.n);
	CHECK_RC(put(&a, 1, &e), LS_EFENCED);
	copy[s.n - 1] ^= 1;
	test_write_file(fx_path(0, 1, 1), copy, s.n);
	CHECK_EQ(sync_side(&a), 1);
	CHECK_OK(ls_remove_tree(fx_path(0, 1, 1), &e));
	CHECK_EQ(sync_side(&a), 0);
	test_write_file(fx_path(0, 1, 1), copy, s.n);
	CHECK_OK(put(&a, 1, &e));
	free(copy);
	ls_uploader_free(a.u);
	fx_close(&x);
}

/* The winner's level-0 file was merged and deleted: its key is free again. */
TEST(stale_writer_after_compaction_is_fenced)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a, b;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	side_open(&b, &x, "b", 2, MINUTES(20));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	CHECK_OK(put(&a, 2, &e));
	ls_uploader_rest(a.u);
	(void)sync_side(&b);
	for (uint64_t t = 3; t <= 6; t++)
		CHECK_OK(put(&b, t, &e));
	ls_uploader_rest(b.u);
	fx_put(&x, 1, 2, 5);
	for (uint64_t t = 2; t <= 5; t++)
		CHECK_OK(ls_remove_tree(fx_path(0, t, t), &e));
	/* a slept through this: key 3 is free, and it is not newest. */
	fault_clock(MINUTES(40));
	CHECK_RC(put(&a, 3, &e), LS_EFENCED);
	CHECK(strstr(e.msg, "0000000000000006") != NULL);
	CHECK(!ls_exists(fx_path(0, 3, 3))); /* listed first: nothing sent */
	fault_disarm();
	ls_uploader_free(a.u);
	ls_uploader_free(b.u);
	fx_close(&x);
}

/* Freed in a rest, and made anew from what it left: it goes on, and is
 * fenced, and misses what is gone, like one that stayed. */
TEST(resumed_writer_is_fenced_as_if_it_had_stayed)
{
	enum { ALONE, OTHER, GONE };
	static const enum ls_rc want[] = { LS_OK, LS_EFENCED, LS_EGAP };

	for (int what = ALONE; what <= GONE; what++) {
		struct ls_uploader_memo m;
		struct ls_err e = { 0 };
		struct fx x;
		struct side a, b;

		fx_open(&x, 512);
		side_open(&a, &x, "a", 1, MINUTES(20));
		CHECK(!ls_uploader_leave(a.u, &m)); /* nothing is known yet */
		(void)sync_side(&a);
		CHECK_OK(put(&a, 1, &e));
		CHECK_OK(put(&a, 2, &e));
		CHECK(!ls_uploader_leave(a.u, &m)); /* it holds the lock */
		ls_uploader_rest(a.u);
		CHECK(ls_uploader_leave(a.u, &m));
		ls_uploader_free(a.u);
		fault_clock(MINUTES(40));
		if (what == OTHER) {
			side_open(&b, &x, "b", 2, MINUTES(20));
			(void)sync_side(&b);
			CHECK_OK(put(&b, 3, &e));
			fx_put(&x, 1, 2, 3);
			CHECK_OK(ls_remove_tree(fx_path(0, 3, 3), &e));
			ls_uploader_free(b.u);
		} else if (what == GONE) {
			CHECK_OK(ls_remove_tree(fx_path(0, 2, 2), &e));
		}
		side_open(&a, &x, "a", 1, MINUTES(20));
		ls_uploader_resume(a.u, &m);
		CHECK_EQ(ls_uploader_acked(a.u), 2);
		CHECK(ls_uploader_acked_ms(a.u) != 0);
		CHECK(!ls_uploader_proved(a.u));
		CHECK_RC(put(&a, 3, &e), want[what]);
		CHECK_EQ(ls_exists(fx_path(0, 3, 3)), what == ALONE);
		CHECK(!ls_uploader_leave(a.u, &m));
		fault_disarm();
		ls_uploader_free(a.u);
		fx_close(&x);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

/* As before, with a pause that only the listing after the put can see. */
TEST(stale_writer_is_not_told_durable)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a, b;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	side_open(&b, &x, "b", 2, MINUTES(20));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	ls_uploader_rest(a.u); /* an error, or parked: checked next time */
	(void)sync_side(&b);
	CHECK_OK(put(&b, 2, &e));
	CHECK_OK(put(&b, 3, &e));
	ls_uploader_rest(b.u);
	fx_put(&x, 1, 1, 3);
	for (uint64_t t = 1; t <= 3; t++)
		CHECK_OK(ls_remove_tree(fx_path(0, t, t), &e));
	CHECK_RC(put(&a, 2, &e), LS_EFENCED);
	CHECK_EQ(ls_uploader_acked(a.u), 1);
	ls_uploader_free(a.u);
	ls_uploader_free(b.u);
	fx_close(&x);
}

TEST(paused_writer_lists_before_it_puts)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	static const int64_t keep[] = { MINUTES(20), MINUTES(12), MINUTES(4) };
	/* Two thirds of: 15 minutes; 7; 2. */
	static const int64_t limit[] = { MINUTES(10), MINUTES(14) / 3,
		MINUTES(4) / 3 };

	for (int k = 0; k < 3; k++) {
		uint64_t n, sent;

		fx_open(&x, 512);
		side_open(&a, &x, "a", 1, keep[k]);
		(void)sync_side(&a);
		CHECK_OK(put(&a, 1, &e));
		CHECK_OK(put(&a, 2, &e));
		/* Somebody took everything away meanwhile. */
		CHECK_OK(ls_remove_tree(fx_path(0, 1, 1), &e));
		CHECK_OK(ls_remove_tree(fx_path(0, 2, 2), &e));
		n = lists(&x), sent = puts_sent(&x);
		fault_clock(limit[k] + MINUTES(1));
		CHECK_RC(put(&a, 3, &e), LS_EGAP);
		CHECK_EQ(lists(&x), n + LS_LEVELS);
		CHECK_EQ(puts_sent(&x), sent);
		fault_disarm();
		ls_uploader_free(a.u);
		fx_close(&x);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

static uint64_t slow_ns;

static uint64_t
slow_clock(void)
{
	return ls_sys_real.mono_ns() + (slow_ns += 50 * LS_MS);
}

/* Files are kept for a fifth of a second, and everything takes longer. */
TEST(a_put_has_time_to_end)
{
	const struct ls_sys *was = ls_sys;
	static struct ls_sys slow;
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, 200 * (int64_t)LS_MS);
	slow = *was;
	slow.mono_ns = slow.boot_ns = slow_clock;
	ls_sys = &slow;
	(void)sync_side(&a);
	for (uint64_t t = 1; t <= 5; t++)
		CHECK_OK(put(&a, t, &e));
	ls_sys = was;
	CHECK(stored_is(&a, 5));
	ls_uploader_free(a.u);
	fx_close(&x);
}

/* Any call of a put may fail, with the object there or not: the same file
 * again ends it well, once and with our bytes. */
TEST(lost_answers_are_settled)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	uint64_t t = 1;
	int found = 0;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	(void)sync_side(&a);
	for (int n = 1;; n++, t++) {
		char path[512];
		enum ls_rc rc;
		int fds;

		(void)snprintf(path, sizeof path, "%s", local_file(&a, t));
		fds = test_open_fds();
		fault_arm(n, EIO);
		rc = ls_uploader_put(a.u, t, path, NULL, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		if (!fault_fired()) {
			CHECK_OK(rc);
			CHECK(n > 5);
			break;
		}
		if (rc == LS_OK) {
			found++; /* settled by reading back */
		} else {
			CHECK(rc != LS_EFENCED && e.msg[0] != '\0');
			CHECK_EQ(ls_uploader_acked(a.u), t - 1);
			CHECK_OK(ls_uploader_put(a.u, t, path, NULL, &e));
		}
		CHECK(stored_is(&a, t));
		CHECK(t + 2 < FX_TXIDS);
	}
	CHECK(found > 0);
	ls_uploader_free(a.u);
	fx_close(&x);
}

/* Nothing can be read or written after the link: doubt, and no second put
 * before it is gone. */
TEST(doubt_is_kept_until_it_can_be_settled)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	char path[512];
	bool seen = false;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	(void)snprintf(path, sizeof path, "%s", local_file(&a, 2));
	fault_reads(1);
	fault_memory(0);
	for (int n = 1; !seen && n < 40; n++) {
		enum ls_rc rc;

		fault_arm_from(n, EIO);
		rc = ls_uploader_put(a.u, 2, path, NULL, &e);
		fault_disarm();
		CHECK(rc != LS_OK);
		seen = ls_exists(fx_path(0, 2, 2));
		if (seen)
			CHECK_RC(rc, LS_EAGAIN);
	}
	fault_reads(0);
	fault_memory(1);
	CHECK(seen);
	CHECK_EQ(ls_uploader_acked(a.u), 1);
	CHECK_OK(put(&a, 2, &e));
	ls_uploader_free(a.u);
	fx_close(&x);
}

/* What was stored is gone, also when the key of the next TXID is taken gladly:
 * after an error nothing is put; without one it is found out right after. */
TEST(bucket_made_anew_is_a_gap)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	char path[512];

	fx_open(&x, 512);
	for (int error = 0; error < 2; error++) {
		side_open(&a, &x, "a", 1, MINUTES(20));
		(void)sync_side(&a);
		CHECK_OK(put(&a, 1, &e));
		CHECK_OK(put(&a, 2, &e));
		(void)snprintf(path, sizeof path, "%s", local_file(&a, 3));
		if (error) {
			fault_memory(0);
			fault_arm_from(1, EIO);
			CHECK(ls_uploader_put(a.u, 3, path, NULL, &e) != LS_OK);
			fault_disarm();
			fault_memory(1);
		}
		CHECK_OK(ls_remove_tree(T("rep/ltx"), &e));
		if (!error) /* a listing is due, as after every pause */
			ls_uploader_rest(a.u);
		CHECK_RC(ls_uploader_put(a.u, 3, path, NULL, &e), LS_EGAP);
		CHECK_EQ(ls_exists(fx_path(0, 3, 3)), !error);
		CHECK_EQ(ls_uploader_acked(a.u), 2);
		ls_uploader_free(a.u);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
	fx_close(&x);
}

TEST(folder_that_is_away_is_no_gap)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	uint64_t txid;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	CHECK(rename(T("rep"), T("away")) == 0);
	CHECK_RC(put(&a, 2, &e), LS_EIO);
	CHECK(!ls_exists(T("rep")));
	CHECK_OK(ls_mkdirs(T("rep"), 0700, &e)); /* a mount point */
	CHECK_RC(put(&a, 2, &e), LS_EIO);
	CHECK_RC(ls_uploader_sync(a.u, &txid, NULL, NULL, &e), LS_EIO);
	CHECK(rmdir(T("rep")) == 0);
	CHECK(rename(T("away"), T("rep")) == 0);
	CHECK_OK(put(&a, 2, &e));
	/* The lock file alone is deleted: taken anew, nothing is missing. */
	CHECK(unlink(T("rep/.litestreamd-lock")) == 0);
	CHECK_OK(put(&a, 3, &e));
	CHECK(ls_exists(T("rep/.litestreamd-lock")));
	ls_uploader_free(a.u);
	fx_close(&x);
}

TEST(folder_has_one_process)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	uint64_t txid;
	int up[2], status;
	char byte, want[64];
	pid_t pid;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	CHECK(pipe(up) == 0);
	if ((pid = fork()) == 0) {
		/* Holds the lock until it is killed. */
		if (ls_uploader_sync(a.u, &txid, NULL, NULL, &e) != LS_OK)
			_exit(1);
		(void)!write(up[1], "x", 1);
		for (;;)
			(void)pause();
	}
	CHECK(pid > 0 && read(up[0], &byte, 1) == 1);
	CHECK_RC(ls_uploader_sync(a.u, &txid, NULL, NULL, &e), LS_ELOCKED);
	(void)snprintf(want, sizeof want, "process %ld", (long)pid);
	CHECK(strstr(e.msg, want) != NULL);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	CHECK_OK(ls_uploader_sync(a.u, &txid, NULL, NULL, &e));
	(void)close(up[0]);
	(void)close(up[1]);
	ls_uploader_free(a.u);
	fx_close(&x);
}

TEST(resting_keeps_no_descriptor)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a;
	int fds;

	fx_open(&x, 512);
	side_open(&a, &x, "a", 1, MINUTES(20));
	fds = test_open_fds();
	(void)sync_side(&a);
	CHECK_OK(put(&a, 1, &e));
	CHECK_EQ(test_open_fds(), fds + 1);
	ls_uploader_rest(a.u);
	CHECK_EQ(test_open_fds(), fds);
	CHECK_OK(put(&a, 2, &e));
	ls_uploader_free(a.u);
	CHECK_EQ(test_open_fds(), fds);
	fx_close(&x);
}

TEST(fencing_off_lists_nothing_and_overwrites)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct side a, b;
	struct ls_place p;
	uint64_t n;

	fx_open(&x, 512);
	ls_replica_free(x.r);
	ls_store_free(x.st);
	ls_place_init(&p);
	p.type = ls_strdup("file");
	p.path = ls_strdup(T("rep"));
	p.fencing = LS_FENCING_OFF;
	CHECK_OK(ls_store_open(&p, NULL, &x.st, &e));
	ls_place_fini(&p);
	CHECK_OK(ls_replica_new(x.st, &x.r, &e));
	side_open(&a, &x, "a", 1, MINUTES(20));
	side_open(&b, &x, "b", 2, MINUTES(20));
	(void)sync_side(&a);
	ls_uploader_rest(a.u);
	(void)sync_side(&b);
	CHECK_OK(put(&b, 1, &e));
	ls_uploader_rest(b.u);
	n = lists(&x);
	CHECK_OK(put(&a, 1, &e));
	CHECK_EQ(lists(&x), n);
	CHECK(stored_is(&a, 1));
	/* No proof is asked for, so its age ends no put. */
	ls_uploader_free(a.u);
	CHECK_OK(ls_uploader_new(x.r, MINUTES(5), &a.u, &e));
	(void)sync_side(&a);
	CHECK_OK(put(&a, 2, &e));
	fault_clock(MINUTES(40));
	CHECK_OK(put(&a, 3, &e));
	fault_disarm();
	ls_uploader_free(a.u);
	ls_uploader_free(b.u);
	fx_close(&x);
}
