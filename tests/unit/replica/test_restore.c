/* test_restore.c -- restores against a model that kept every state. */
#include "fault.h"
#include "fixture.h"

#include "base/bytes.h"
#include "format/crc64.h"

#include <errno.h>
#include <sqlite3.h>

/* A history of n commits: all at level 0, a base, merged files that overlap. */
static void
history(struct fx *x, uint64_t n)
{
	while (x->txid < n)
		fx_commit(x);
	for (uint64_t t = 1; t <= n; t++)
		fx_put(x, 0, t, t);
	fx_put(x, 9, 1, n / 3);
	fx_put(x, 1, n / 3 - 1, n / 2);
	fx_put(x, 1, n / 2 + 1, n / 2 + 3);
	fx_put(x, 2, n / 3 - 1, n / 2 + 3);
}

static void
at_every_txid(bool mixed)
{
	for (uint32_t ps = LS_PAGE_MIN; ps <= LS_PAGE_MAX; ps *= 2) {
		struct ls_err e = { 0 };
		struct ls_restored got;
		struct fx x;

		test_seed(ps);
		fx_open(&x, ps);
		if (mixed)
			fx_mix(&x);
		x.db_checksum = ps % 1024 == 0;
		history(&x, 18);
		for (uint64_t t = 0; t <= 18; t++) {
			uint64_t want = t ? t : 18;

			CHECK_OK(fx_restore(&x, t, "out", &got, &e));
			CHECK(fx_equal(&x, want, "out"));
			CHECK_EQ(got.txid, want);
			CHECK_EQ(got.commit, x.s[want].commit);
			CHECK_EQ(got.page_size, ps);
			CHECK_EQ(got.checksum_proved, x.db_checksum);
			CHECK(!ls_exists(T("out.tmp")));
			fx_drop("out");
		}
		fx_close(&x);
		fx_drop("rep");
	}
}

TEST(restore_equals_model_at_every_txid)
{
	at_every_txid(false);
}

TEST(mixed_codecs_equal_model_at_every_txid)
{
	at_every_txid(true);
}

struct collected {
	uint8_t *p;
	uint32_t page_size, n;
};

static enum ls_rc
collect(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct collected *c = arg;

	(void)e;
	if (pgno != c->n + 1 || pgno > FX_PAGES)
		return ls_err_set(e, LS_EINVALID, "page %u", pgno);
	memcpy(c->p + (size_t)c->n++ * c->page_size, data, c->page_size);
	return LS_OK;
}

TEST(pages_equal_model_at_every_txid)
{
	struct ls_err e = { 0 };
	struct fx x;
	struct collected c;

	fx_open(&x, 1024);
	fx_mix(&x);
	x.db_checksum = true;
	history(&x, 18);
	c.page_size = 1024;
	CHECK((c.p = malloc(FX_PAGES * 1024)) != NULL);
	for (uint64_t t = 1; t <= 18; t++) {
		struct ls_target to = { .txid = t };
		struct ls_plan p = { 0 };
		struct ls_ltx_header h;

		c.n = 0;
		CHECK_OK(fx_plan(&x, &to, &p, &e));
		CHECK_OK(ls_restore_pages(x.r, &p, collect, &c, &h, NULL, &e));
		CHECK_EQ(c.n, x.s[t].commit);
		CHECK(memcmp(c.p, x.s[t].pages, c.n * 1024) == 0);
		CHECK_EQ(h.max_txid, t);
		CHECK_EQ(h.commit, c.n);
		ls_plan_fini(&p);
	}
	free(c.p);
	fx_close(&x);
}

TEST(output_is_made_like_upstreams)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;

	fx_open(&x, 512);
	history(&x, 12);
	/* Missing parents are made; a leftover .tmp is replaced. */
	CHECK_OK(fx_restore(&x, 0, "a/b/out", &got, &e));
	CHECK(fx_equal(&x, 12, "a/b/out"));
	test_write_file(T("out.tmp"), "old", 3);
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 12, "out"));
	/* One that is there is never touched. */
	test_write_file(T("mine"), "mine", 4);
	CHECK_RC(fx_restore(&x, 0, "mine", &got, &e), LS_EEXISTS);
	CHECK_EQ(test_read_file(T("mine")).n, 4);
	fx_close(&x);
}

/* Replace bytes of a stored file, keeping its mtime out of the question. */
static void
bit_flips(bool mixed)
{
	static const int levels[] = { 9, 2, 0 };
	static const uint64_t mins[] = { 1, 3, 12 }, maxs[] = { 4, 9, 12 };
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;
	int bad = 0, good = 0;

	fx_open(&x, 512);
	if (mixed)
		fx_mix(&x);
	while (x.txid < 12)
		fx_commit_to(&x, 5 + (uint32_t)x.txid % 3);
	history(&x, 12);
	for (int k = 0; k < 3; k++) {
		char path[512]; /* T's strings are a ring */
		size_t n;

		(void)snprintf(path, sizeof path, "%s",
		    fx_path(levels[k], mins[k], maxs[k]));
		n = test_read_file(path).n;
		for (size_t i = 0; i < 400; i++) {
			size_t at = i < 150 ? n - 1 - i % n : test_rand() % n;
			uint8_t bit = (uint8_t)(1u << test_rand() % 8);

			fx_poke(path, at, bit);
			if (fx_restore(&x, 0, "out", &got, &e) != LS_OK) {
				CHECK(fx_nothing_left("out"));
				CHECK(e.msg[0] != '\0');
				bad++;
			} else {
				CHECK(fx_equal(&x, 12, "out"));
				fx_drop("out");
				good++;
			}
			fx_poke(path, at, bit);
		}
	}
	/* Harmless: damage of an index, which is rebuilt. */
	CHECK(bad > 600 && good > 20);
	fx_close(&x);
}

TEST(any_bit_flip_is_an_error_or_harmless)
{
	bit_flips(false);
}

TEST(any_bit_flip_of_a_zstd_file)
{
	bit_flips(true);
}

static void
damaged_index(bool mixed)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;
	size_t n;

	fx_open(&x, 512);
	if (mixed)
		fx_mix(&x);
	fx_commit_to(&x, 60);
	fx_put(&x, 9, 1, 1);
	n = test_read_file(fx_path(9, 1, 1)).n;
	fx_poke(fx_path(9, 1, 1), n - 16 - 8 - 40, 0xff); /* an entry */
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 1, "out"));
	fx_drop("out");
	fx_poke(fx_path(9, 1, 1), n - 16 - 8, 0xff); /* its length */
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 1, "out"));
	fx_drop("out");
	/* With a page damaged as well there is no proof left. */
	fx_poke(fx_path(9, 1, 1), 300, 0x01);
	CHECK(fx_restore(&x, 0, "out", &got, &e) != LS_OK);
	CHECK(fx_nothing_left("out"));
	fx_close(&x);
}

TEST(damaged_index_is_rebuilt)
{
	damaged_index(false);
	fx_drop("rep");
	damaged_index(true);
}

TEST(truncated_files_are_refused)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;
	struct ls_span s;
	uint8_t *copy;

	fx_open(&x, 512);
	history(&x, 12);
	CHECK_OK(ls_remove_tree(fx_path(0, 1, 1), &e)); /* the other base */
	s = test_read_file(fx_path(9, 1, 4));
	CHECK((copy = malloc(s.n)) != NULL);
	memcpy(copy, s.p, s.n);
	for (size_t n = 0; n < s.n; n += 1 + n / 3) {
		test_write_file(fx_path(9, 1, 4), copy, n);
		CHECK(fx_restore(&x, 0, "out", &got, &e) != LS_OK);
		CHECK(fx_nothing_left("out"));
		if (n < LS_LTX_HEADER)
			CHECK(strncmp(e.msg, "invalid ltx file: ", 18) == 0);
	}
	free(copy);
	fx_close(&x);
}

TEST(restore_leaves_nothing_on_fault)
{
	struct ls_err e = { 0 };
	struct ls_plan p = { 0 };
	struct fx x;
	static const int errors[] = { EIO, ENOSPC };

	fx_open(&x, 4096);
	history(&x, 12);
	CHECK_OK(fx_plan(&x, NULL, &p, &e));
	for (int k = 0; k < 2; k++)
		for (int n = 1;; n++) {
			struct ls_restore_opts o = { .output = T("out"),
				.parallelism = 1,
				.integrity = 0 };
			struct ls_restored got;
			int fds = test_open_fds();
			enum ls_rc rc;

			fault_reads(k == 0);
			fault_arm(n, errors[k]);
			rc = ls_restore(x.r, &p, &o, &got, NULL, &e);
			fault_disarm();
			fault_reads(0);
			CHECK_EQ(test_open_fds(), fds);
			CHECK(!ls_exists(T("out.tmp")));
			if (rc != LS_OK) {
				CHECK(fault_fired() && e.msg[0] != '\0');
				CHECK(!ls_exists(T("out")));
				continue;
			}
			CHECK(fx_equal(&x, 12, "out"));
			fx_drop("out");
			if (!fault_fired()) {
				CHECK(n > 20);
				break;
			}
		}
	ls_plan_fini(&p);
	fx_close(&x);
}

/* Put a hand-made file at level 0. */
static void
put_l0(struct fx *x, const struct ls_buf *b, uint64_t txid)
{
	struct ls_err e = { 0 };
	struct ls_put o = { 0 };
	char key[LS_KEY_MAX];

	ls_ltx_key(LS_LAYOUT_LTX, 0, txid, txid, key);
	CHECK_OK(ls_store_put(x->st, key, ls_buf_span(b), &o, NULL, &e));
}

TEST(incomplete_chain_is_refused)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;

	fx_open(&x, 512);
	fx_commit_to(&x, 10);
	fx_commit_to(&x, 14);
	fx_commit_to(&x, 14);
	fx_put(&x, 0, 1, 1);
	x.s[2].changed[12] = false; /* grows to 14 without page 12 */
	fx_put(&x, 0, 2, 2);
	x.s[3].changed[12] = true; /* comes later: still not whole in 2 */
	fx_put(&x, 0, 3, 3);
	CHECK_RC(fx_restore(&x, 2, "out", &got, &e), LS_ECORRUPT);
	CHECK(strstr(e.msg, "page 12") != NULL);
	CHECK_RC(fx_restore(&x, 0, "out", &got, &e), LS_ECORRUPT);
	CHECK(fx_nothing_left("out"));
	CHECK_OK(fx_restore(&x, 1, "out", &got, &e));
	fx_close(&x);
}

TEST(wrong_database_checksum_is_refused)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct ls_target t = { .txid = 3 };
	struct ls_plan p = { 0 };
	struct collected c = { .page_size = 512 };
	struct fx x;

	fx_open(&x, 512);
	x.db_checksum = true;
	for (int i = 0; i < 3; i++)
		fx_commit_to(&x, 20);
	fx_put(&x, 0, 1, 1);
	fx_put(&x, 0, 2, 2);
	/* TXID 3's file lost a page of its commit, checksums all right. */
	x.s[3].changed[7] = true;
	memset(x.s[3].pages + 6 * 512, 0x77, 512);
	x.s[3].changed[7] = false;
	fx_put(&x, 0, 3, 3);
	CHECK_RC(fx_restore(&x, 3, "out", &got, &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "restored state does not have the database checksum");
	CHECK(fx_nothing_left("out"));
	CHECK((c.p = malloc(FX_PAGES * 512)) != NULL);
	CHECK_OK(fx_plan(&x, &t, &p, &e));
	CHECK_RC(ls_restore_pages(x.r, &p, collect, &c, NULL, NULL, &e),
	    LS_ECORRUPT);
	free(c.p);
	ls_plan_fini(&p);
	fx_close(&x);
}

TEST(other_lineage_is_left_out)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct fx x;

	fx_open(&x, 512);
	for (int i = 0; i < 6; i++)
		fx_commit(&x);
	fx_put(&x, 9, 1, 3);
	fx_put(&x, 0, 4, 4);
	fx_put(&x, 0, 5, 5);
	fx_put(&x, 0, 6, 6);
	/* Another writer's merged file is preferred by name ... */
	x.lineage = 0x1234;
	fx_put(&x, 1, 4, 6);
	x.lineage = 0xabcdef;
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 6, "out"));
	CHECK_EQ(got.files, 4); /* ... and planned around. */
	fx_drop("out");
	/* Lineage 0 (upstream's) goes with any. */
	x.lineage = 0;
	fx_put(&x, 1, 4, 6);
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK_EQ(got.files, 2);
	fx_drop("out");
	/* No way around: an error that says so. */
	x.lineage = 0x1234;
	fx_put(&x, 1, 4, 6);
	CHECK_OK(ls_remove_tree(fx_path(0, 5, 5), &e));
	CHECK_RC(fx_restore(&x, 0, "out", &got, &e), LS_EGAP);
	CHECK(strstr(e.msg, "another history") != NULL);
	CHECK(fx_nothing_left("out"));
	fx_close(&x);
}

TEST(pruned_file_is_planned_around)
{
	struct ls_err e = { 0 };
	struct ls_plan p = { 0 };
	struct ls_restored got;
	struct ls_restore_opts o = {
		.output = T("out"), .parallelism = 2, .par = &ls_par_threads
	};
	struct fx x;

	fx_open(&x, 512);
	history(&x, 12);
	CHECK_OK(fx_plan(&x, NULL, &p, &e));
	CHECK_OK(ls_remove_tree(fx_path(2, 3, 9), &e));
	CHECK_OK(ls_restore(x.r, &p, &o, &got, NULL, &e));
	CHECK(fx_equal(&x, 12, "out"));
	fx_drop("out");
	CHECK_OK(ls_remove_tree(fx_path(0, 11, 11), &e));
	CHECK_RC(ls_restore(x.r, &p, &o, &got, NULL, &e), LS_ENOTFOUND);
	CHECK(fx_nothing_left("out"));
	ls_plan_fini(&p);
	fx_close(&x);
}

static void
cut_to(const char *path, size_t n)
{
	struct ls_span s = test_read_file(path);
	uint8_t *copy = malloc(s.n);

	CHECK(copy != NULL && n <= s.n);
	memcpy(copy, s.p, s.n);
	test_write_file(path, copy, n);
	free(copy);
}

TEST(damaged_file_is_done_without)
{
	static const size_t keep[] = { 0, 60, 130 };
	struct ls_err e = { 0 };
	struct ls_restored got;

	for (size_t i = 0; i < LS_COUNT(keep); i++) {
		struct fx x;

		fx_open(&x, 512);
		history(&x, 12);
		fx_put(&x, 9, 1, 11);
		cut_to(fx_path(9, 1, 11), keep[i]);
		CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
		CHECK(fx_equal(&x, 12, "out"));
		fx_drop("out");
		cut_to(fx_path(2, 3, 9), keep[i]);
		cut_to(fx_path(1, 7, 9), keep[i]);
		CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
		CHECK(fx_equal(&x, 12, "out"));
		fx_drop("out");
		cut_to(fx_path(0, 12, 12), keep[i]); /* nothing else has it */
		CHECK(fx_restore(&x, 0, "out", &got, &e) != LS_OK);
		CHECK(fx_nothing_left("out"));
		fx_close(&x);
		CHECK_OK(ls_remove_tree(T("rep"), &e));
	}
}

TEST(page_size_change)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct fx x, y;

	fx_open(&x, 512);
	for (int i = 0; i < 3; i++)
		fx_commit(&x);
	for (uint64_t t = 1; t <= 3; t++)
		fx_put(&x, 0, t, t);
	/* TXID 4: whole, with pages of 1024 bytes; 5 continues it. */
	y = (struct fx){ .page_size = 1024, .lineage = x.lineage, .txid = 3 };
	y.st = x.st, y.r = x.r;
	fx_commit_to(&y, 9);
	fx_commit_to(&y, 11);
	fx_file(&y, 4, 4, &b);
	put_l0(&y, &b, 4);
	fx_put(&y, 0, 5, 5);
	CHECK_OK(fx_restore(&x, 3, "out3", &got, &e));
	CHECK(fx_equal(&x, 3, "out3"));
	CHECK_OK(fx_restore(&y, 4, "out4", &got, &e));
	CHECK(fx_equal(&y, 4, "out4"));
	CHECK_EQ(got.files, 1);
	CHECK_OK(fx_restore(&y, 0, "out5", &got, &e));
	CHECK(fx_equal(&y, 5, "out5"));
	/* Not whole: no chain may begin there. */
	y.s[4].changed[6] = false;
	ls_buf_clear(&b);
	fx_file(&y, 4, 4, &b);
	put_l0(&y, &b, 4);
	CHECK_RC(fx_restore(&y, 0, "out", &got, &e), LS_EGAP);
	CHECK(strstr(e.msg, "page size") != NULL);
	/* The level-9 base is there: nothing before it is wanted. */
	y.s[4].changed[6] = true;
	fx_put(&y, 9, 1, 4);
	CHECK_OK(fx_restore(&y, 0, "out", &got, &e));
	CHECK(fx_equal(&y, 5, "out"));
	ls_buf_free(&b);
	free(y.s[4].pages);
	free(y.s[5].pages);
	fx_close(&x);
}

/* Frames without a size: an LZ4 frame of one stored block each. Checksum,
 * index and trailer as the LTX of that time had them. */
static void
legacy_file(struct fx *x, uint64_t txid, struct ls_buf *b)
{
	struct ls_err e = { 0 };
	const struct fx_state *s = &x->s[txid];
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = x->page_size,
		.commit = s->commit,
		.min_txid = txid,
		.max_txid = txid,
		.timestamp_ms = FX_T0 };
	uint8_t head[LS_LTX_HEADER], w[16] = { 0 };
	struct ls_buf index = LS_BUF_INIT(1 << 20);
	uint64_t crc;

	ls_ltx_header_encode(&h, head);
	CHECK_OK(ls_buf_add(b, head, sizeof head, &e));
	crc = ls_crc64(0, head, sizeof head);
	for (uint32_t p = 1; p <= s->commit; p++) {
		/* magic, FLG (version 1, independent), BD 64 KiB, HC */
		static const uint8_t lz4[] = { 0x04, 0x22, 0x4d, 0x18, 0x60,
			0x40, 0x82 };
		const uint8_t *page = s->pages + (size_t)(p - 1) * x->page_size;
		uint64_t v[3] = { p, b->n,
			6 + sizeof lz4 + 4 + x->page_size + 4 };
		uint32_t size = x->page_size | 0x80000000u;

		for (int i = 0; i < 3; i++) {
			for (; v[i] >= 0x80; v[i] >>= 7) {
				w[0] = (uint8_t)(v[i] | 0x80);
				CHECK_OK(ls_buf_add(&index, w, 1, &e));
			}
			w[0] = (uint8_t)v[i];
			CHECK_OK(ls_buf_add(&index, w, 1, &e));
		}
		ls_put_be32(w, p), ls_put_be16(w + 4, 0);
		CHECK_OK(ls_buf_add(b, w, 6, &e));
		crc = ls_crc64(ls_crc64(crc, w, 6), page, x->page_size);
		CHECK_OK(ls_buf_add(b, lz4, sizeof lz4, &e));
		CHECK_OK(ls_buf_add(b, &size, 4, &e)); /* little-endian */
		CHECK_OK(ls_buf_add(b, page, x->page_size, &e));
		CHECK_OK(ls_buf_add(b, "\0\0\0\0", 4, &e));
	}
	memset(w, 0, sizeof w);
	CHECK_OK(ls_buf_add(&index, w, 1, &e));
	ls_put_be64(w + 8, index.n);
	CHECK_OK(ls_buf_add(&index, w + 8, 8, &e));
	CHECK_OK(ls_buf_add(b, w, 6, &e));
	crc = ls_crc64(crc, w, 6);
	CHECK_OK(ls_buf_add(b, index.p, index.n, &e));
	crc = ls_crc64(ls_crc64(crc, index.p, index.n), w, 8);
	ls_put_be64(w + 8, crc | LS_CHECKSUM_FLAG);
	CHECK_OK(ls_buf_add(b, w, 16, &e));
	ls_buf_free(&index);
}

TEST(legacy_frames_are_read)
{
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct fx x;

	fx_open(&x, 1024);
	x.lineage = 0;
	fx_commit_to(&x, 17);
	fx_commit_to(&x, 20);
	legacy_file(&x, 1, &b);
	put_l0(&x, &b, 1);
	fx_put(&x, 0, 2, 2);
	CHECK_OK(fx_restore(&x, 1, "out1", &got, &e));
	CHECK(fx_equal(&x, 1, "out1"));
	CHECK_OK(fx_restore(&x, 2, "out2", &got, &e));
	CHECK(fx_equal(&x, 2, "out2"));
	fx_poke(fx_path(0, 1, 1), 200, 1);
	CHECK_RC(fx_restore(&x, 2, "out", &got, &e), LS_ECORRUPT);
	CHECK(fx_nothing_left("out"));
	ls_buf_free(&b);
	fx_close(&x);
}

TEST(integrity_check_is_sqlites)
{
	struct ls_err e = { 0 };
	struct ls_plan p = { 0 };
	struct ls_restored got;
	struct ls_restore_opts o = {
		.output = T("out"), .parallelism = 1, .integrity = 1
	};
	struct fx x;
	sqlite3 *db = NULL;
	struct ls_span s;
	char uri[600];

	/* Random pages are no database: refused, nothing left. */
	fx_open(&x, 512);
	fx_commit_to(&x, 4);
	fx_put(&x, 0, 1, 1);
	CHECK_OK(fx_plan(&x, NULL, &p, &e));
	CHECK_RC(ls_restore(x.r, &p, &o, &got, NULL, &e), LS_ECORRUPT);
	CHECK(fx_nothing_left("out"));
	ls_plan_fini(&p);
	/* A real one in WAL mode passes, and nothing is made beside it. */
	(void)snprintf(uri, sizeof uri, "%s", T("a %?#b.db"));
	CHECK(sqlite3_open(uri, &db) == SQLITE_OK);
	CHECK(sqlite3_exec(db,
		  "PRAGMA page_size=512; PRAGMA journal_mode=WAL;"
		  "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(1),(2);",
		  NULL, NULL, NULL) == SQLITE_OK);
	CHECK_OK(ls_check_database(uri, 2, &e)); /* with its WAL */
	CHECK(sqlite3_close(db) == SQLITE_OK);
	CHECK_OK(ls_check_database(uri, 1, &e));
	CHECK_OK(ls_check_database(uri, 2, &e));
	CHECK(!ls_exists(T("a %?#b.db-wal")) && !ls_exists(T("a %?#b.db-shm")));
	s = test_read_file(uri);
	CHECK(s.n % 512 == 0 && s.n / 512 <= FX_PAGES);
	x.txid = 0;
	x.s[1].commit = (uint32_t)(s.n / 512);
	free(x.s[1].pages);
	CHECK((x.s[1].pages = malloc(s.n)) != NULL);
	memcpy(x.s[1].pages, s.p, s.n);
	fx_put(&x, 0, 1, 1);
	CHECK_OK(fx_plan(&x, NULL, &p, &e));
	o.integrity = 2;
	CHECK_OK(ls_restore(x.r, &p, &o, &got, NULL, &e));
	CHECK(fx_equal(&x, 1, "out"));
	ls_plan_fini(&p);
	CHECK_RC(ls_check_database(T("none"), 1, &e), LS_ECORRUPT);
	fx_close(&x);
}
