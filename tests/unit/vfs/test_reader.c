/* test_reader.c -- what a connection sees, against the model: every TXID, a
 * moving replica, pruned and merged files, damage. */
#include "kit.h"

#include "base/bytes.h"
#include "base/units.h"
#include "fault.h"
#include "vfs/hydrate.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static void
commits(struct fx *x, int n)
{
	while (n-- > 0) {
		fx_commit(x);
		fx_put(x, 0, x->txid, x->txid);
	}
}

static void
at_every_txid(uint32_t page_size, bool mixed)
{
	struct fx x;
	char txid[LS_TXID_TEXT];

	fx_open(&x, page_size);
	if (mixed)
		fx_mix(&x);
	commits(&x, 12);
	fx_put(&x, 1, 2, 5);
	fx_put(&x, 9, 1, 7);
	for (uint64_t t = 1; t <= x.txid; t++) {
		struct ls_reader *r = kit_open(ls_txid_text(t, txid), 1 << 20);

		kit_see(r, &x, t);
		ls_reader_close(r);
	}
	fx_close(&x);
}

TEST(index_equals_model_at_every_txid_512)
{
	test_seed(1);
	at_every_txid(512, false);
}

TEST(index_equals_model_at_every_txid_4096)
{
	test_seed(2);
	at_every_txid(4096, false);
}

TEST(mixed_codecs_equal_model_at_every_txid)
{
	test_seed(4);
	at_every_txid(65536, true); /* heads and tails in ranges */
}

TEST(index_equals_model_at_every_txid_65536)
{
	test_seed(3);
	at_every_txid(65536, false);
}

TEST(follows_commit_by_commit_through_growth_and_shrink)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(4);
	fx_open(&x, 1024);
	commits(&x, 1);
	r = kit_open(NULL, 1 << 20);
	for (int i = 0; i < 40; i++) {
		commits(&x, 1 + i % 2);
		kit_later();
		kit_see(r, &x, x.txid);
	}
	ls_reader_close(r);
	fx_close(&x);
}

TEST(idle_poll_is_one_request)
{
	struct fx x;
	struct ls_reader *r;
	uint64_t lists, gets;

	test_seed(5);
	fx_open(&x, 4096);
	commits(&x, 3);
	r = kit_open(NULL, 1 << 20);
	kit_see(r, &x, 3);
	lists = kit_lists(r), gets = kit_gets(r);
	for (int i = 0; i < 5; i++) {
		kit_later();
		kit_see(r, &x, 3);
	}
	CHECK_EQ(kit_lists(r), lists + 5);
	CHECK_EQ(kit_gets(r), gets);
	ls_reader_close(r);
	fx_close(&x);
}

TEST(one_txid_a_transaction)
{
	struct fx x;
	struct ls_reader *r, *other;
	struct ls_err e = { 0 };

	test_seed(6);
	fx_open(&x, 4096);
	commits(&x, 3);
	r = kit_open(NULL, 1 << 20);
	other = kit_open(NULL, 1 << 20);
	CHECK_OK(ls_reader_begin(r, &e));
	commits(&x, 5);
	kit_later();
	kit_see(other, &x, 8);
	kit_check(r, &x, 3);
	ls_reader_end(r);
	kit_see(r, &x, 8);
	ls_reader_close(r);
	ls_reader_close(other);
	fx_close(&x);
}

/* A merged file that ends below our TXID and is listed later. */
TEST(never_backwards)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(7);
	fx_open(&x, 4096);
	commits(&x, 6);
	r = kit_open(NULL, 1 << 20);
	commits(&x, 2);
	kit_later();
	kit_see(r, &x, 8);
	fx_put(&x, 1, 2, 5);
	fx_put(&x, 2, 2, 4);
	kit_later();
	kit_see(r, &x, 8);
	commits(&x, 1);
	kit_later();
	kit_see(r, &x, 9);
	ls_reader_close(r);
	fx_close(&x);
}

/* Level 0 was pruned while we did not look; level 1 reaches across. */
TEST(gap_is_bridged)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(8);
	fx_open(&x, 4096);
	commits(&x, 4);
	r = kit_open(NULL, 1 << 20);
	kit_see(r, &x, 4);
	commits(&x, 6);
	fx_put(&x, 1, 3, 8);
	for (uint64_t t = 2; t <= 7; t++)
		kit_prune(0, t, t);
	kit_later();
	kit_see(r, &x, 10);
	/* All of level 0 gone, nothing newer there, but in a snapshot. */
	commits(&x, 3);
	fx_put(&x, 9, 1, 13);
	for (uint64_t t = 8; t <= 13; t++)
		kit_prune(0, t, t);
	kit_later();
	kit_see(r, &x, 13);
	ls_reader_close(r);
	fx_close(&x);
}

/* A hole that nothing bridges: the old state stays, and the hole's end is seen
 * once it is. */
TEST(hole_changes_nothing_and_ends)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_err last;

	test_seed(9);
	fx_open(&x, 4096);
	commits(&x, 3);
	r = kit_open(NULL, 1 << 20);
	fx_commit(&x);
	fx_commit(&x);
	fx_put(&x, 0, 5, 5);
	kit_later();
	kit_see(r, &x, 3);
	ls_vdb_last_error(ls_reader_db(r), &last);
	CHECK_EQ(last.rc, LS_EGAP);
	fx_put(&x, 0, 4, 4);
	kit_later();
	kit_see(r, &x, 5);
	ls_vdb_last_error(ls_reader_db(r), &last);
	CHECK_EQ(last.rc, LS_OK);
	ls_reader_close(r);
	fx_close(&x);
}

/* Files of the version go away while a transaction reads it. */
TEST(pruned_files_are_planned_around)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_err e = { 0 };

	test_seed(10);
	fx_open(&x, 4096);
	commits(&x, 8);
	r = kit_open(NULL, 0); /* next to no cache: everything is fetched */
	CHECK_OK(ls_reader_begin(r, &e));
	fx_put(&x, 1, 2, 8);
	for (uint64_t t = 2; t <= 8; t++)
		kit_prune(0, t, t);
	kit_check(r, &x, 8);
	ls_reader_end(r);
	ls_reader_close(r);
	fx_close(&x);
}

/* Who opens the merged file waits at the gate: that is only done to plan anew. */
static const char *merged;
static _Atomic int held;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static int
gated_open(const char *path, int flags, mode_t mode)
{
	if (strcmp(path, merged) == 0) {
		held = 1;
		(void)pthread_mutex_lock(&gate);
		(void)pthread_mutex_unlock(&gate);
	}
	return ls_sys_real.open(path, flags, mode);
}

static void *
read_all(void *arg)
{
	struct ls_reader *r = arg;
	uint8_t got[4096];
	uint64_t size;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_reader_size(r, &size, &e);

	for (uint64_t at = 0; rc == LS_OK && at < size; at += sizeof got)
		rc = ls_reader_read(r, got, sizeof got, at, &e);
	return rc == LS_OK ? NULL : arg;
}

TEST(poll_does_not_wait_for_a_replan)
{
	static struct ls_sys table;
	static char path[1024];
	struct fx x;
	struct ls_reader *r, *other;
	pthread_t t;
	void *failed;
	struct ls_err e = { 0 };

	test_seed(12);
	fx_open(&x, 4096);
	commits(&x, 8);
	r = kit_open(NULL, 0);
	other = kit_open(NULL, 0);
	CHECK_OK(ls_reader_begin(r, &e));
	fx_put(&x, 1, 2, 8);
	for (uint64_t n = 2; n < 8; n++)
		kit_prune(0, n, n);
	(void)snprintf(path, sizeof path, "%s", fx_path(1, 2, 8));
	merged = path;
	table = ls_sys_real;
	table.open = gated_open;
	ls_sys = &table;
	(void)pthread_mutex_lock(&gate);
	CHECK(pthread_create(&t, NULL, read_all, r) == 0);
	for (int i = 0; held == 0 && i < 20000; i++)
		(void)usleep(1000);
	CHECK_EQ(held, 1);
	fx_commit(&x);
	fx_put(&x, 0, x.txid, x.txid);
	ls_vdb_look_now(ls_reader_db(other));
	CHECK_EQ(kit_txid(other), x.txid);
	(void)pthread_mutex_unlock(&gate);
	CHECK(pthread_join(t, &failed) == 0);
	CHECK(failed == NULL);
	ls_sys = &ls_sys_real;
	kit_check(r, &x, 8); /* its own state, all the time */
	ls_reader_end(r);
	kit_see(other, &x, 9);
	ls_reader_close(r);
	ls_reader_close(other);
	fx_close(&x);
}

/* The TXID itself is gone: pages that did not change since are served, the
 * others are errors, and never newer content. */
TEST(lost_state_is_an_error_not_newer_pages)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_err e = { 0 };
	uint8_t got[4096];
	unsigned served = 0, refused = 0;

	test_seed(11);
	fx_open(&x, 4096);
	fx_commit_to(&x, 90);
	fx_put(&x, 0, 1, 1);
	for (int i = 0; i < 6; i++) {
		fx_commit_to(&x, 90);
		fx_put(&x, 0, x.txid, x.txid);
	}
	r = kit_open(NULL, 0);
	CHECK_OK(ls_reader_begin(r, &e));
	fx_commit_to(&x, 90);
	fx_put(&x, 1, 2, 8);
	for (uint64_t t = 2; t <= 7; t++)
		kit_prune(0, t, t);
	for (uint32_t p = 2; p <= 90; p++) {
		const uint8_t *want = x.s[7].pages + (size_t)(p - 1) * 4096;

		if (ls_reader_read(
			r, got, 4096, (uint64_t)(p - 1) * 4096, &e) != LS_OK) {
			refused++;
			continue;
		}
		CHECK(memcmp(got, want, 4096) == 0);
		served++;
	}
	CHECK(served > 0 && refused > 0);
	ls_reader_end(r);
	kit_later();
	kit_see(r, &x, 8);
	ls_reader_close(r);
	fx_close(&x);
}

TEST(shrink_forgets)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(12);
	fx_open(&x, 4096);
	fx_commit_to(&x, 80);
	fx_put(&x, 0, 1, 1);
	r = kit_open(NULL, 1 << 20);
	kit_see(r, &x, 1);
	fx_commit_to(&x, 3);
	fx_put(&x, 0, 2, 2);
	kit_later();
	kit_see(r, &x, 2);
	fx_commit_to(&x, 60);
	fx_put(&x, 0, 3, 3);
	kit_later();
	kit_see(r, &x, 3);
	ls_reader_close(r);
	fx_close(&x);
}

/* The replica's history was replaced: other content under the same TXIDs. */
TEST(replaced_history)
{
	struct fx x, y;
	struct ls_reader *r;
	struct ls_err e = { 0 };
	uint32_t before;

	test_seed(13);
	fx_open(&x, 4096);
	commits(&x, 5);
	r = kit_open(NULL, 1 << 20);
	kit_see(r, &x, 5);
	before = ls_reader_counter(r);
	CHECK_OK(ls_remove_tree(T("rep"), &e));
	fx_open(&y, 4096);
	y.lineage = x.lineage; /* not even that tells them apart */
	commits(&y, 5);
	kit_later();
	kit_see(r, &y, 5);
	CHECK(ls_reader_counter(r) != before);
	CHECK(ls_reader_raised(r) != 0); /* cookie_follows_the_history */
	ls_reader_close(r);
	fx_close(&x);
	fx_close(&y);
}

/* Begun anew under the same TXIDs, further by now, and without a lineage. */
TEST(another_history_finishes_no_transaction)
{
	struct fx x, y;
	struct ls_reader *r;
	struct ls_err e = { 0 };
	uint8_t got[4096];
	unsigned failed = 0;

	test_seed(15);
	fx_open(&x, 4096);
	x.lineage = 0;
	commits(&x, 5);
	r = kit_open(NULL, 0);
	CHECK_OK(ls_reader_begin(r, &e));
	CHECK_OK(ls_remove_tree(T("rep"), &e));
	fx_open(&y, 4096);
	y.lineage = 0;
	y.later_ms = 60000;
	commits(&y, 9);
	for (uint32_t p = 2; p <= x.s[5].commit; p++)
		if (ls_reader_read(
			r, got, 4096, (uint64_t)(p - 1) * 4096, &e) != LS_OK)
			failed++;
		else
			CHECK(memcmp(got, x.s[5].pages + (size_t)(p - 1) * 4096,
				  4096) == 0);
	CHECK(failed > 0);
	ls_reader_end(r);
	kit_later();
	kit_see(r, &y, 9);
	ls_reader_close(r);
	fx_close(&x);
	fx_close(&y);
}

TEST(foreign_files_are_left_out)
{
	struct fx x;
	struct ls_reader *r;
	uint64_t ours;

	test_seed(14);
	fx_open(&x, 4096);
	commits(&x, 4);
	r = kit_open(NULL, 1 << 20);
	ours = x.lineage;
	fx_commit(&x);
	x.lineage = 0x1234;
	fx_put(&x, 0, 5, 5);
	kit_later();
	kit_see(r, &x, 4);
	ls_reader_close(r);
	x.lineage = ours;
	fx_close(&x);
}

TEST(change_counter_follows_the_state)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_ver *v = NULL;
	struct ls_err e = { 0 };
	uint32_t at2, at3, back;
	uint8_t bytes[16];

	test_seed(15);
	fx_open(&x, 4096);
	commits(&x, 2);
	r = kit_open(NULL, 1 << 20);
	kit_see(r, &x, 2);
	at2 = ls_reader_counter(r);
	CHECK_OK(ls_reader_state(r, &v, &e));
	CHECK_OK(ls_reader_read(r, bytes, 16, 24, &e));
	CHECK_EQ(ls_be32(bytes), at2);
	CHECK_EQ(ls_be32(bytes + 4), v->commit);
	ls_ver_unref(v);
	kit_later();
	kit_see(r, &x, 2);
	CHECK_EQ(ls_reader_counter(r), at2); /* SQLite's cache stays good */
	commits(&x, 1);
	kit_later();
	kit_see(r, &x, 3);
	at3 = ls_reader_counter(r);
	CHECK(at3 != at2);
	/* Back in time the pages are those of before, but what SQLite has of
	 * that number may be older than the ones of 3. */
	CHECK_OK(ls_reader_set_txid(r, "2", &e));
	kit_see(r, &x, 2);
	back = ls_reader_counter(r);
	CHECK(back != at2 && back != at3);
	ls_reader_close(r);
	fx_close(&x);
}

/* ---- time -----------------------------------------------------------------*/

TEST(travels_by_time_and_txid)
{
	struct fx x;
	struct ls_reader *r;
	struct ls_err e = { 0 };
	char text[LS_TIME_MAX];

	test_seed(16);
	fx_open(&x, 4096);
	commits(&x, 9);
	r = kit_open(NULL, 1 << 20);
	/* TXID n is at 1,700,000,000 + n seconds, 22:13:20 of that day. */
	CHECK_OK(ls_reader_set_time(r, "2023-11-14T22:13:24.5Z", &e));
	kit_see(r, &x, 4);
	CHECK_OK(ls_reader_time(r, text, &e));
	CHECK_STR(text, "2023-11-14T22:13:24.5Z");
	CHECK_OK(ls_reader_set_txid(r, "7", &e));
	kit_see(r, &x, 7);
	CHECK_OK(ls_reader_time(r, text, &e));
	CHECK_STR(text, "2023-11-14T22:13:27Z");
	CHECK_OK(ls_reader_set_time(r, "latest", &e));
	kit_see(r, &x, 9);
	CHECK_RC(ls_reader_set_time(r, "2020-01-01", &e), LS_ENOTFOUND);
	CHECK(strstr(e.hint, "0000000000000001") != NULL);
	CHECK_RC(ls_reader_set_txid(r, "ff", &e), LS_ENOTFOUND);
	CHECK(strstr(e.hint, "0000000000000009") != NULL);
	CHECK_RC(ls_reader_set_txid(r, "xyz", &e), LS_EINVALID);
	kit_see(r, &x, 9);
	CHECK_OK(ls_reader_begin(r, &e));
	CHECK_RC(ls_reader_set_txid(r, "3", &e), LS_EBUSY);
	ls_reader_end(r);
	ls_reader_close(r);
	fx_close(&x);
}

/* ---- requests and threads -------------------------------------------------*/

TEST(miss_brings_its_neighbours)
{
	struct fx x;
	struct ls_reader *r;
	uint64_t gets;
	struct ls_err e = { 0 };

	test_seed(17);
	fx_open(&x, 65536);
	fx_commit_to(&x, 90); /* above 128 KiB: only head and tail come along */
	fx_put(&x, 0, 1, 1);
	r = kit_open(NULL, 16 << 20);
	gets = kit_gets(r);
	CHECK_OK(ls_reader_begin(r, &e));
	kit_check(r, &x, 1);
	ls_reader_end(r);
	CHECK(kit_gets(r) - gets < 45);
	gets = kit_gets(r);
	kit_see(r, &x, 1);
	CHECK_EQ(kit_gets(r), gets);
	ls_reader_close(r);
	fx_close(&x);
}

struct racer {
	struct fx *x;
	pthread_barrier_t *go;
	struct ls_vfs_opts o;
};

static void *
race(void *arg)
{
	struct racer *a = arg;
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };

	(void)pthread_barrier_wait(a->go);
	if (ls_reader_open(&a->o, &r, &e) != LS_OK ||
	    ls_reader_begin(r, &e) != LS_OK)
		return "open";
	for (uint32_t p = 2; p <= a->x->s[1].commit; p++) {
		uint32_t ps = a->x->page_size;
		uint8_t *got = malloc(ps);
		bool same;

		same = got != NULL &&
		       ls_reader_read(r, got, ps, (uint64_t)(p - 1) * ps, &e) ==
			   LS_OK &&
		       memcmp(got, a->x->s[1].pages + (size_t)(p - 1) * ps,
			   ps) == 0;
		free(got);
		if (!same)
			return "differs";
	}
	ls_reader_end(r);
	ls_reader_close(r);
	return NULL;
}

TEST(one_request_for_many_readers)
{
	enum { N = 8 };
	struct fx x;
	struct ls_reader *r;
	pthread_t t[N];
	pthread_barrier_t go;
	struct racer a = { &x, &go, { .cache_bytes = 1 << 20 } };
	int before = kit_threads();
	uint64_t alone;

	test_seed(18);
	fx_open(&x, 32768);
	fx_commit_to(&x, 96);
	fx_put(&x, 0, 1, 1);
	r = kit_open(NULL, 16 << 20);
	kit_see(r, &x, 1);
	alone = kit_gets(r);
	ls_reader_close(r);
	kit_threads_end(before);
	r = kit_open(NULL, 16 << 20);
	CHECK(asprintf(&a.o.url, "file://%s", T("rep")) > 0);
	(void)pthread_barrier_init(&go, NULL, N);
	for (int i = 0; i < N; i++)
		CHECK(pthread_create(&t[i], NULL, race, &a) == 0);
	for (int i = 0; i < N; i++) {
		void *said = NULL;

		(void)pthread_join(t[i], &said);
		if (said != NULL)
			test_fail(__FILE__, __LINE__, "%s", (char *)said);
	}
	free(a.o.url);
	/* Read-ahead shifts a few blocks; eight times as many it is not. */
	CHECK(kit_gets(r) <= 2 * alone);
	ls_reader_close(r);
	fx_close(&x);
}

TEST(close_leaves_nothing)
{
	struct fx x;
	int fds, threads;

	test_seed(19);
	fx_open(&x, 4096);
	commits(&x, 4);
	fds = test_open_fds();
	threads = kit_threads();
	for (int i = 0; i < 5; i++) {
		struct ls_reader *r = kit_hydrated(NULL);

		kit_see(r, &x, 4);
		ls_reader_close(r);
	}
	CHECK_EQ(test_open_fds(), fds);
	kit_threads_end(threads);
	fx_close(&x);
}

/* ---- hydration ------------------------------------------------------------*/

static void
wait_whole(struct ls_reader *r, uint32_t pages)
{
	uint32_t valid = 0, total = 0;

	for (int i = 0; i < 20000; i++) {
		ls_hydrate_progress(
		    ls_vdb_hydrate(ls_reader_db(r)), &valid, &total);
		if (valid == pages && total == pages)
			return;
		(void)usleep(1000);
	}
	test_fail(
	    __FILE__, __LINE__, "%u of %u pages, not %u", valid, total, pages);
}

TEST(hydration_keeps_isolation)
{
	struct fx x;
	struct ls_reader *r, *old;
	struct ls_err e = { 0 };
	uint64_t gets;

	test_seed(20);
	fx_open(&x, 4096);
	fx_commit_to(&x, 80);
	fx_put(&x, 0, 1, 1);
	r = kit_hydrated(NULL);
	wait_whole(r, 80);
	gets = kit_gets(r);
	kit_see(r, &x, 1);
	CHECK_EQ(kit_gets(r), gets); /* all of it from the file */
	old = kit_hydrated(NULL);
	CHECK_OK(ls_reader_begin(old, &e));
	fx_commit_to(&x, 90);
	fx_put(&x, 0, 2, 2);
	fx_commit_to(&x, 50);
	fx_put(&x, 0, 3, 3);
	kit_later();
	kit_see(r, &x, 3);
	for (int i = 0; i < 30; i++) {
		kit_check(old, &x, 1);
		kit_see(r, &x, 3);
	}
	ls_reader_end(old);
	wait_whole(r, 50);
	kit_see(r, &x, 3);
	kit_see(old, &x, 3);
	ls_reader_close(old);
	ls_reader_close(r);
	fx_close(&x);
}

TEST(hydration_coalesces)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(21);
	fx_open(&x, 32768);
	fx_commit_to(&x, 96);
	fx_put(&x, 0, 1, 1);
	r = kit_hydrated(NULL);
	wait_whole(r, 96);
	/* Head and tail at open, then 3 MB of pages in a few ranges. */
	CHECK(kit_gets(r) <= 6);
	kit_see(r, &x, 1);
	ls_reader_close(r);
	fx_close(&x);
}

/* Level 0 is pruned between two lives: what was kept must not be believed
 * where it may have changed. */
TEST(persistent_hydration_is_resumed_where_proven)
{
	struct fx x;
	struct ls_reader *r;

	test_seed(22);
	fx_open(&x, 4096);
	fx_commit_to(&x, 90);
	fx_put(&x, 0, 1, 1);
	r = kit_hydrated(T("local.db"));
	wait_whole(r, 90);
	ls_reader_close(r);
	CHECK(ls_exists(T("local.db")) && ls_exists(T("local.db.meta")));
	for (int i = 0; i < 6; i++) {
		fx_commit_to(&x, 90);
		fx_put(&x, 0, x.txid, x.txid);
	}
	fx_put(&x, 1, 2, 7);
	for (uint64_t t = 2; t <= 7; t++)
		kit_prune(0, t, t);
	r = kit_hydrated(T("local.db"));
	kit_see(r, &x, 7);
	wait_whole(r, 90);
	kit_see(r, &x, 7);
	ls_reader_close(r);
	fx_close(&x);
}

/* ---- faults ---------------------------------------------------------------*/

/* One life: open, read, follow, travel. LS_OK only if all of it went well, and
 * then every byte was right. */
static enum ls_rc
one_life(const struct fx *x)
{
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };
	uint8_t page[4096];
	enum ls_rc rc;

	if ((rc = kit_try(NULL, &r, &e)) != LS_OK)
		return rc;
	rc = ls_reader_begin(r, &e);
	for (uint32_t p = 2; rc == LS_OK && p <= x->s[x->txid].commit; p++) {
		rc = ls_reader_read(
		    r, page, sizeof page, (uint64_t)(p - 1) * 4096, &e);
		if (rc == LS_OK)
			CHECK(memcmp(page,
				  x->s[x->txid].pages + (size_t)(p - 1) * 4096,
				  4096) == 0);
	}
	ls_reader_end(r);
	if (rc == LS_OK)
		rc = ls_reader_set_txid(r, "2", &e);
	CHECK(rc == LS_OK || e.msg[0] != '\0');
	ls_reader_close(r);
	return rc;
}

TEST(any_fault_is_an_error_and_leaves_nothing)
{
	struct fx x;
	int fds;

	test_seed(23);
	fx_open(&x, 4096);
	commits(&x, 4);
	CHECK_RC(one_life(&x), LS_OK);
	fds = test_open_fds();
	fault_reads(1);
	for (int n = 1;; n++) {
		enum ls_rc rc;

		fault_arm(n, EIO);
		rc = one_life(&x);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		if (!fault_fired()) {
			CHECK_RC(rc, LS_OK);
			break;
		}
	}
	fault_reads(0);
	fx_close(&x);
}
