/* test_restore_big.c -- restores of files larger than one block: ranges, files
 * read in part, frames that lie, the lock page. */
#include "fault.h"
#include "fixture.h"

#include "base/bytes.h"
#include "format/crc64.h"

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
		fx_drop("out");
	}
	/* A flip in the middle of the base is found. */
	fx_poke(fx_path(0, 1, 1), 7000000, 4);
	CHECK_RC(fx_restore(&b.x, 0, "out", &got, &e), LS_ECORRUPT);
	CHECK(fx_nothing_left("out"));
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
		fx_drop("out");
		free(b.version);
		fx_close(&b.x);
		fx_drop("rep");
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
		CHECK(fx_nothing_left("out"));
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
	CHECK(fx_nothing_left("out"));
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
