/* test_restore.c -- restores against a model that kept every state. */
#include "fault.h"
#include "fixture.h"

#include "base/bytes.h"
#include "format/crc64.h"

#include <errno.h>
#include <sqlite3.h>

static bool
nothing_left(const char *name)
{
	char tmp[64];

	(void)snprintf(tmp, sizeof tmp, "%s.tmp", name);
	return !ls_exists(T(name)) && !ls_exists(T(tmp));
}

static void
drop(const char *name)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_remove_tree(T(name), &e));
}

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
			drop("out");
		}
		fx_close(&x);
		drop("rep");
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
poke(const char *path, size_t at, uint8_t xor)
{
	struct ls_span s = test_read_file(path);
	uint8_t *p = malloc(s.n);

	CHECK(p != NULL && at < s.n);
	memcpy(p, s.p, s.n);
	p[at] ^= xor;
	test_write_file(path, p, s.n);
	free(p);
}

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

			poke(path, at, bit);
			if (fx_restore(&x, 0, "out", &got, &e) != LS_OK) {
				CHECK(nothing_left("out"));
				CHECK(e.msg[0] != '\0');
				bad++;
			} else {
				CHECK(fx_equal(&x, 12, "out"));
				drop("out");
				good++;
			}
			poke(path, at, bit);
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
	poke(fx_path(9, 1, 1), n - 16 - 8 - 40, 0xff); /* an entry */
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 1, "out"));
	drop("out");
	poke(fx_path(9, 1, 1), n - 16 - 8, 0xff); /* its length */
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK(fx_equal(&x, 1, "out"));
	drop("out");
	/* With a page damaged as well there is no proof left. */
	poke(fx_path(9, 1, 1), 300, 0x01);
	CHECK(fx_restore(&x, 0, "out", &got, &e) != LS_OK);
	CHECK(nothing_left("out"));
	fx_close(&x);
}

TEST(damaged_index_is_rebuilt)
{
	damaged_index(false);
	drop("rep");
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
	s = test_read_file(fx_path(9, 1, 4));
	CHECK((copy = malloc(s.n)) != NULL);
	memcpy(copy, s.p, s.n);
	for (size_t n = 0; n < s.n; n += 1 + n / 3) {
		test_write_file(fx_path(9, 1, 4), copy, n);
		CHECK(fx_restore(&x, 0, "out", &got, &e) != LS_OK);
		CHECK(nothing_left("out"));
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
			drop("out");
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
	CHECK(nothing_left("out"));
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
	CHECK(nothing_left("out"));
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
	drop("out");
	/* Lineage 0 (upstream's) goes with any. */
	x.lineage = 0;
	fx_put(&x, 1, 4, 6);
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK_EQ(got.files, 2);
	drop("out");
	/* No way around: an error that says so. */
	x.lineage = 0x1234;
	fx_put(&x, 1, 4, 6);
	CHECK_OK(ls_remove_tree(fx_path(0, 5, 5), &e));
	CHECK_RC(fx_restore(&x, 0, "out", &got, &e), LS_EGAP);
	CHECK(strstr(e.msg, "another history") != NULL);
	CHECK(nothing_left("out"));
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
	drop("out");
	CHECK_OK(ls_remove_tree(fx_path(0, 11, 11), &e));
	CHECK_RC(ls_restore(x.r, &p, &o, &got, NULL, &e), LS_ENOTFOUND);
	CHECK(nothing_left("out"));
	ls_plan_fini(&p);
	fx_close(&x);
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
	poke(fx_path(0, 1, 1), 200, 1);
	CHECK_RC(fx_restore(&x, 2, "out", &got, &e), LS_ECORRUPT);
	CHECK(nothing_left("out"));
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
	CHECK(nothing_left("out"));
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

/* ---- larger than one block ------------------------------------------------*/

/* Page p of version v: compresses to about half. */
static void
big_page(uint8_t *out, uint32_t n, uint32_t p, uint32_t v)
{
	uint64_t z = (uint64_t)p << 32 | v;

	memset(out, 0, n);
	for (uint32_t i = 0; i + 8 <= n / 2; i += 8) {
		z = z * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(out + i, &z, 8);
	}
}

struct big {
	struct fx x;
	uint32_t commit, page_size;
	uint32_t skip;	   /* pages p % skip == 0 are left alone; 0: none */
	uint32_t *version; /* per page, of the newest state */
	uint64_t sum;
};

static enum ls_rc
to_upload(void *arg, struct ls_span s, struct ls_err *e)
{
	return ls_upload_write(arg, s, e);
}

static bool
big_has(const struct big *b, uint32_t p, uint32_t step)
{
	return p % step == 0 && (b->skip == 0 || p % b->skip != 0) &&
	       p != ls_lock_pgno(b->page_size);
}

/* TXID txid: every page that is a multiple of step, but not of b->skip. */
static void
big_put(struct big *b, uint64_t txid, uint32_t step)
{
	struct ls_err e = { 0 };
	struct ls_ltx_writer *w = NULL;
	struct ls_upload *u = NULL;
	struct ls_put o = { 0 };
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = b->page_size,
		.commit = b->commit,
		.min_txid = txid,
		.max_txid = txid,
		.timestamp_ms = FX_T0,
		.has_db_checksum = true };
	uint8_t *page = malloc(b->page_size);
	char key[LS_KEY_MAX];

	CHECK(page != NULL);
	b->sum = 0;
	for (uint32_t p = 1; p <= b->commit; p++) {
		if (big_has(b, p, step))
			b->version[p] = (uint32_t)txid;
		big_page(page, b->page_size, p, b->version[p]);
		if (p != ls_lock_pgno(b->page_size))
			b->sum ^=
			    ls_page_checksum(p, LS_SPAN(page, b->page_size));
	}
	h.db_checksum = b->sum;
	ls_ltx_key(LS_LAYOUT_LTX, 0, txid, txid, key);
	CHECK_OK(ls_upload_begin(b->x.st, key, &o, NULL, &u, &e));
	CHECK_OK(ls_ltx_writer_new(to_upload, u, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	for (uint32_t p = step; p <= b->commit; p += step) {
		if (!big_has(b, p, step))
			continue;
		big_page(page, b->page_size, p, (uint32_t)txid);
		CHECK_OK(ls_ltx_writer_page(w, p, page, &e));
	}
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	CHECK_OK(ls_upload_commit(u, &e));
	ls_ltx_writer_free(w);
	free(page);
}

static bool
big_equal(const struct big *b, const char *name)
{
	struct ls_span s = test_read_file(T(name));
	uint8_t *page = malloc(b->page_size);
	bool same = s.n == (size_t)b->commit * b->page_size;

	for (uint32_t p = 1; same && p <= b->commit; p++) {
		big_page(page, b->page_size, p, b->version[p]);
		same = memcmp(page, s.p + (size_t)(p - 1) * b->page_size,
			   b->page_size) == 0;
	}
	free(page);
	return same;
}

static void
count_progress(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *last = arg;

	if (done <= total)
		*last = done == total ? total : 0;
}

TEST(large_files_in_ranges)
{
	struct ls_err e = { 0 };
	struct big b = { .commit = 6000, .page_size = 4096 };
	struct ls_restored got;
	struct ls_plan p = { 0 };
	uint64_t seen = 0;

	fx_open(&b.x, 4096);
	b.version = calloc(b.commit + 1, sizeof *b.version);
	CHECK(b.version != NULL);
	big_put(&b, 1, 1); /* 12 MB: several chunks, an index over 64 KiB */
	big_put(&b, 2, 3);
	big_put(&b, 3, 2);
	big_put(&b, 4, 50);
	CHECK_OK(fx_plan(&b.x, NULL, &p, &e));
	for (unsigned k = 1; k <= 8; k += 7) {
		struct ls_restore_opts o = { .output = T("out"),
			.parallelism = k,
			.par = &ls_par_threads,
			.progress = count_progress,
			.progress_arg = &seen };

		CHECK_OK(ls_restore(b.x.r, &p, &o, &got, NULL, &e));
		CHECK(got.checksum_proved && seen > 0);
		CHECK(big_equal(&b, "out"));
		drop("out");
	}
	/* A flip in the middle of the base is found. */
	poke(fx_path(0, 1, 1), 7000000, 4);
	CHECK_RC(fx_restore(&b.x, 0, "out", &got, &e), LS_ECORRUPT);
	CHECK(nothing_left("out"));
	ls_plan_fini(&p);
	free(b.version);
	fx_close(&b.x);
}

/* Of the base every 16th page is left, four far apart, or none. */
TEST(large_file_with_few_winners_is_read_in_part)
{
	static const uint32_t skip[] = { 16, 1500, 0 };
	/* All of file 2 (12 MB), and of the base what lies between its
	 * winners; its last pages, index and head; the same. */
	static const uint64_t most[] = { 26000000, 12900000, 12900000 };

	for (int k = 0; k < 3; k++) {
		struct ls_err e = { 0 };
		struct big b = { .commit = 6000, .page_size = 4096 };
		struct ls_restored got;
		struct ls_store_stats before, after;

		fx_open(&b.x, 4096);
		b.version = calloc(b.commit + 1, sizeof *b.version);
		CHECK(b.version != NULL);
		big_put(&b, 1, 1);
		b.skip = skip[k];
		big_put(&b, 2, 1);
		ls_store_stats(b.x.st, &before);
		CHECK_OK(fx_restore(&b.x, 0, "out", &got, &e));
		ls_store_stats(b.x.st, &after);
		CHECK(got.checksum_proved && big_equal(&b, "out"));
		CHECK(after.get_bytes - before.get_bytes < most[k]);
		drop("out");
		free(b.version);
		fx_close(&b.x);
		drop("rep");
	}
}

/* Give a file a checksum that fits what its frames say now. */
static void
reseal(uint8_t *p, size_t n)
{
	struct ls_err e = { 0 };
	struct ls_ltx_index idx = { 0 };
	uint8_t page[512];
	uint64_t crc = ls_crc64(0, p, LS_LTX_HEADER), end = LS_LTX_HEADER;

	CHECK_OK(ls_ltx_index_decode(LS_SPAN(p, n), n, 0, NULL, &idx, &e));
	for (size_t i = 0; i < idx.n; i++) {
		uint8_t *at = p + idx.v[i].off;

		CHECK_OK(ls_ltx_frame_decode(LS_SPAN(at, idx.v[i].size), NULL,
		    ls_be32(at), sizeof page, page, &e));
		crc = ls_crc64(ls_crc64(crc, at, 10), page, sizeof page);
		end = idx.v[i].off + idx.v[i].size;
	}
	ls_ltx_index_fini(&idx);
	crc = ls_crc64(crc, p + end, n - 8 - (size_t)end);
	ls_put_be64(p + n - 8, crc | LS_CHECKSUM_FLAG);
}

/* Index and frames disagree, and every checksum fits: no page may be missed. */
TEST(frames_that_lie_are_refused)
{
	static const uint32_t lie[] = { 4, 6, 1, 20, 21, 0 };
	struct ls_err e = { 0 };
	struct ls_restored got;
	struct ls_ltx_index idx = { 0 };
	struct fx x;
	struct ls_span s;
	uint8_t *p, *at;

	fx_open(&x, 512);
	fx_commit_to(&x, 20);
	fx_put(&x, 9, 1, 1);
	s = test_read_file(fx_path(9, 1, 1));
	CHECK((p = malloc(s.n)) != NULL);
	memcpy(p, s.p, s.n);
	CHECK_OK(ls_ltx_index_decode(LS_SPAN(p, s.n), s.n, 0, NULL, &idx, &e));
	CHECK_EQ(idx.v[4].pgno, 5);
	at = p + idx.v[4].off;
	reseal(p, s.n); /* the truth: nothing changes */
	CHECK(memcmp(p, s.p, s.n) == 0);
	for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
		ls_put_be32(at, lie[i]);
		reseal(p, s.n);
		test_write_file(fx_path(9, 1, 1), p, s.n);
		CHECK_RC(fx_restore(&x, 0, "out", &got, &e), LS_ECORRUPT);
		CHECK(nothing_left("out"));
	}
	ls_ltx_index_fini(&idx);
	free(p);
	/* In a file with gaps a frame may name a page in between. */
	fx_put(&x, 9, 1, 1);
	fx_commit_to(&x, 20);
	for (uint32_t n = 1; n <= 20; n++)
		x.s[2].changed[n] = n == 2 || n == 10 || n == 19;
	fx_put(&x, 0, 2, 2);
	s = test_read_file(fx_path(0, 2, 2));
	CHECK((p = malloc(s.n)) != NULL);
	memcpy(p, s.p, s.n);
	CHECK_OK(ls_ltx_index_decode(LS_SPAN(p, s.n), s.n, 0, NULL, &idx, &e));
	CHECK_EQ(idx.v[1].pgno, 10);
	ls_put_be32(p + idx.v[1].off, 5);
	reseal(p, s.n);
	test_write_file(fx_path(0, 2, 2), p, s.n);
	CHECK_RC(fx_restore(&x, 0, "out", &got, &e), LS_ECORRUPT);
	CHECK(nothing_left("out"));
	ls_ltx_index_fini(&idx);
	free(p);
	fx_close(&x);
}

struct lock_seen {
	uint32_t n, last;
};

static enum ls_rc
count_pages(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct lock_seen *l = arg;

	(void)data, (void)e;
	l->n++, l->last = pgno;
	return LS_OK;
}

/* A database beyond 1 GiB, of empty pages. */
TEST(lock_page_is_left_out)
{
	enum { PS = 65536, LOCK = 16385, LAST = LOCK + 2 };
	struct ls_err e = { 0 };
	struct fx x;
	struct ls_plan p = { 0 };
	struct ls_restored got;
	struct ls_ltx_writer *w = NULL;
	struct ls_upload *u = NULL;
	struct ls_put o = { 0 };
	struct lock_seen seen = { 0 };
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = PS,
		.commit = LAST,
		.min_txid = 1,
		.max_txid = 1,
		.timestamp_ms = FX_T0 };
	static uint8_t page[PS];
	char key[LS_KEY_MAX];
	int fd = -1;

	fx_open(&x, PS);
	ls_ltx_key(LS_LAYOUT_LTX, 9, 1, 1, key);
	CHECK_OK(ls_upload_begin(x.st, key, &o, NULL, &u, &e));
	CHECK_OK(ls_ltx_writer_new(to_upload, u, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	for (uint32_t n = 1; n <= LAST; n++) {
		if (n == LOCK)
			continue;
		memset(page, n < LOCK - 1 ? 0 : (int)n, PS);
		CHECK_OK(ls_ltx_writer_page(w, n, page, &e));
	}
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	CHECK_OK(ls_upload_commit(u, &e));
	ls_ltx_writer_free(w);
	CHECK_OK(fx_plan(&x, NULL, &p, &e));
	CHECK_OK(ls_restore_pages(x.r, &p, count_pages, &seen, NULL, NULL, &e));
	CHECK_EQ(seen.n, LAST - 1);
	CHECK_EQ(seen.last, LAST);
	CHECK_OK(fx_restore(&x, 0, "out", &got, &e));
	CHECK_EQ(ls_file_size(T("out")), (int64_t)LAST * PS);
	CHECK_OK(ls_open(T("out"), 0, 0, &fd, &e));
	for (uint32_t n = LOCK - 1; n <= LAST; n++) {
		int want = n == LOCK ? 0 : (int)(uint8_t)n;

		CHECK_OK(
		    ls_pread_all(fd, page, PS, (uint64_t)(n - 1) * PS, &e));
		for (int i = 0; i < PS; i++)
			CHECK(page[i] == want);
	}
	(void)ls_sys->close(fd);
	ls_plan_fini(&p);
	fx_close(&x);
}
