/* test_damage.c -- files that are cut off, flipped, or lie. */
#include "kit.h"

#include "base/bytes.h"

static uint8_t page[LS_PAGE_MAX];

/* Three pages of 512; gives f and its true index. */
static void
small_file(struct ls_buf *f, struct ls_ltx_index *idx)
{
	static const uint32_t pgnos[] = { 1, 2, 3 };
	struct ls_ltx_header h = kit_header(512, 3, 1, 1);
	struct ls_err e = { 0 };

	h.has_db_checksum = true;
	for (uint32_t i = 1; i <= 3; i++) {
		kit_page(page, 512, i, 7);
		h.db_checksum ^= ls_page_checksum(i, LS_SPAN(page, 512));
	}
	CHECK_OK(kit_write(&h, pgnos, 3, 7, f, &e));
	CHECK_OK(ls_ltx_index_decode(ls_buf_span(f), f->n, 3, NULL, idx, &e));
}

static enum ls_rc
scan(struct ls_span file, struct ls_ltx_index *idx)
{
	struct ls_ltx_mem m = { file, 0 };
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_ltx_scan(ls_ltx_mem_source, &m, NULL, idx, &e);

	CHECK(rc == LS_OK || (e.msg[0] != '\0' && idx->v == NULL));
	return rc;
}

static void
check_cut(struct ls_span whole, const char *name)
{
	for (size_t n = 0; n < whole.n; n++) {
		uint8_t *copy = ls_alloc(n + 1); /* so that ASan sees reads */
		struct ls_ltx_index idx = { NULL, 0 };
		struct ls_err e = { 0 };
		struct ls_span cut = LS_SPAN(copy, n);

		memcpy(copy, whole.p, n);
		if (kit_verify(cut, &e) != LS_ESHORT)
			test_fail(__FILE__, __LINE__, "%s cut at %zu: %s", name,
			    n, e.msg);
		CHECK(e.msg[0] != '\0');
		CHECK(ls_ltx_index_decode(cut, n, 0, NULL, &idx, &e) != LS_OK);
		CHECK(idx.v == NULL);
		if (scan(cut, &idx) == LS_OK)
			ls_ltx_index_fini(&idx);
		ls_free(copy);
	}
}

TEST(cut_off_at_every_byte)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };

	small_file(&f, &idx);
	check_cut(ls_buf_span(&f), "ours");
	check_cut(kit_data("legacy-sum-diff.ltx"), "legacy");
	check_cut(kit_data("block-sum-snapshot.ltx"), "block");
	check_cut(kit_data("block-sum-empty.ltx"), "empty");
	CHECK_OK(ls_buf_add(&f, "", 1, &e));
	CHECK_RC(kit_verify(ls_buf_span(&f), &e), LS_ECORRUPT);
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

/* Does [off, off + size) of some frame hold byte at, behind its framing? */
static bool
in_body(const struct ls_ltx_index *idx, size_t at, size_t framing)
{
	for (size_t i = 0; i < idx->n; i++)
		if (at >= idx->v[i].off + framing &&
		    at < idx->v[i].off + idx->v[i].size)
			return true;
	return false;
}

/* CRCs of the pages as they come; false if the file does not verify. */
static bool
pages_crc(struct ls_span file, uint64_t *crc)
{
	struct ls_ltx_mem m = { file, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	uint64_t c = 0;
	enum ls_rc rc;

	rc = ls_ltx_reader_open(ls_ltx_mem_source, &m, &r, &e);
	while (rc == LS_OK && (rc = ls_ltx_reader_next(r, &pg, &e)) == LS_OK)
		c = ls_crc64(c, pg.data, ls_ltx_reader_header(r)->page_size);
	if (r != NULL && rc == LS_ENOTFOUND)
		rc = ls_ltx_reader_finish(r, &e);
	CHECK(rc == LS_OK || e.msg[0] != '\0');
	ls_ltx_reader_free(r);
	*crc = c;
	return rc == LS_OK;
}

/* Every flipped bit is an error, but one: inside a compressed body, when it
 * still decodes to the very same page. */
static void
check_flips(struct ls_span whole, size_t framing)
{
	uint8_t *copy = ls_alloc(whole.n);
	struct ls_ltx_index idx = { NULL, 0 };
	uint64_t want, got;

	CHECK(pages_crc(whole, &want));
	CHECK_RC(scan(whole, &idx), LS_OK);
	memcpy(copy, whole.p, whole.n);
	for (size_t i = 0; i < whole.n * 8; i++) {
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (pages_crc(LS_SPAN(copy, whole.n), &got)) {
			CHECK(got == want);
			CHECK(in_body(&idx, i / 8, framing));
		}
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	ls_ltx_index_fini(&idx);
	ls_free(copy);
}

TEST(every_bit_flip)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };

	small_file(&f, &idx);
	check_flips(ls_buf_span(&f), 10);
	check_flips(kit_data("legacy-sum-diff.ltx"), 6);
	check_flips(kit_data("block-sum-snapshot.ltx"), 10);
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

TEST(zstd_flips_and_cuts)
{
	struct ls_ltx_header h = kit_header(512, 3, 1, 1);
	struct ls_zdict *z = kit_dict(1);
	struct ls_buf f = LS_BUF_INIT(1 << 20);

	kit_write_text(&h, z, 1, 3, 7, &f);
	check_flips(ls_buf_span(&f), 10);
	check_cut(ls_buf_span(&f), "zstd");
	ls_zdict_unref(z);
	ls_buf_free(&f);
}

/* An index that decodes after a bit flip has every offset and size right, and
 * a page number that is wrong is noticed when its frame is decoded. */
TEST(index_flips)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 }, bad = { NULL, 0 };
	struct ls_err e = { 0 };
	uint64_t tail = 0;

	small_file(&f, &idx);
	CHECK_OK(ls_ltx_index_extent(ls_buf_span(&f), f.n, &tail, &e));
	for (size_t i = (f.n - tail) * 8; i < (f.n - LS_LTX_TRAILER) * 8; i++) {
		f.p[i / 8] ^= (uint8_t)(1 << i % 8);
		if (ls_ltx_index_decode(
			ls_buf_span(&f), f.n, 0, NULL, &bad, &e) == LS_OK) {
			int wrong = 0;

			CHECK_EQ(bad.n, idx.n);
			for (size_t k = 0; k < idx.n; k++) {
				struct ls_ltx_entry x = bad.v[k];
				enum ls_rc rc = ls_ltx_frame_decode(
				    LS_SPAN(f.p + x.off, x.size), NULL, x.pgno,
				    512, page, &e);

				CHECK(x.off == idx.v[k].off);
				CHECK(x.size == idx.v[k].size);
				CHECK_RC(rc, x.pgno == idx.v[k].pgno
						 ? LS_OK
						 : LS_ECORRUPT);
				wrong += rc != LS_OK;
			}
			CHECK_EQ(wrong, 1);
			ls_ltx_index_fini(&bad);
		}
		f.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

/* Put `entries` (and size as the count) where f's index is. */
static void
put_index(struct ls_buf *f, uint64_t index_at, const uint8_t *entries, size_t n,
    uint64_t count)
{
	uint8_t tail[8 + LS_LTX_TRAILER];
	struct ls_err e = { 0 };

	memcpy(tail, f->p + f->n - sizeof tail, sizeof tail);
	ls_put_be64(tail, count);
	f->n = index_at;
	CHECK_OK(ls_buf_add(f, entries, n, &e));
	CHECK_OK(ls_buf_add(f, tail, sizeof tail, &e));
}

struct lie {
	const char *what;
	int64_t v[9]; /* added to the true entries */
	size_t n;     /* entries kept */
	int64_t count;
	int marker; /* -1: none */
};

static size_t
put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 128; v /= 128)
		p[n++] = (uint8_t)(v % 128 + 128);
	p[n++] = (uint8_t)v;
	return n;
}

static size_t
tell_lie(const struct lie *l, const struct ls_ltx_index *idx, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct ls_ltx_entry *x = &idx->v[i];
		const int64_t *d = &l->v[3 * i];

		n += put_varint(out + n, x->pgno + (uint64_t)d[0]);
		n += put_varint(out + n, x->off + (uint64_t)d[1]);
		n += put_varint(out + n, x->size + (uint64_t)d[2]);
	}
	if (l->marker >= 0)
		out[n++] = (uint8_t)l->marker;
	return n;
}

static const struct lie lies[] = {
	{ "the truth", { 0 }, 3, 0, 0 },
	{ "page 0", { -1 }, 3, 0, 0 },
	{ "page beyond commit", { 0, 0, 0, 0, 0, 0, 1 }, 3, 0, 0 },
	{ "page number of 33 bits", { 0, 0, 0, 0, 0, 0, 1ll << 32 }, 3, 0, 0 },
	{ "page twice", { 0, 0, 0, -1 }, 3, 0, 0 },
	{ "pages descend", { 1, 0, 0, -1 }, 3, 0, 0 },
	{ "starts in the header", { 0, -1, 1 }, 3, 0, 0 },
	{ "starts late", { 0, 1, -1 }, 3, 0, 0 },
	{ "gap", { 0, 0, 0, 0, 1, -1 }, 3, 0, 0 },
	{ "overlap", { 0, 0, 0, 0, -1, 1 }, 3, 0, 0 },
	{ "offset of 64 bits", { 0, 0, 0, 0, -200000 }, 3, 0, 0 },
	{ "too long at the end", { 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 3, 0, 0 },
	{ "too short at the end", { 0, 0, 0, 0, 0, 0, 0, 0, -1 }, 3, 0, 0 },
	{ "huge size", { 0, 0, 1 << 20 }, 3, 0, 0 },
	{ "size wraps", { 0, 0, -100000 }, 3, 0, 0 },
	{ "an entry less", { 0 }, 2, 0, 0 },
	{ "no entry", { 0 }, 0, 0, 0 },
	{ "no end marker", { 0 }, 3, 0, -1 },
	{ "another end marker", { 0 }, 3, 0, 1 },
	{ "end marker is a cut varint", { 0 }, 3, 0, 0x80 },
	{ "count is too small", { 0 }, 3, -1, 0 },
	{ "count is too large", { 0 }, 3, 1, 0 },
	{ "count is huge", { 0 }, 3, INT64_MAX - 100, 0 },
	{ "count is negative", { 0 }, 3, -1000, 0 },
};

TEST(index_damage)
{
	for (size_t i = 0; i < LS_COUNT(lies); i++) {
		struct ls_buf f = LS_BUF_INIT(0);
		struct ls_ltx_index idx = { NULL, 0 }, bad = { NULL, 0 };
		uint8_t entries[128];
		struct ls_err e = { 0 };
		uint64_t tail = 0;
		enum ls_rc rc;
		size_t n;

		small_file(&f, &idx);
		CHECK_OK(ls_ltx_index_extent(ls_buf_span(&f), f.n, &tail, &e));
		n = tell_lie(&lies[i], &idx, entries);
		put_index(
		    &f, f.n - tail, entries, n, n + (uint64_t)lies[i].count);
		rc = ls_ltx_index_decode(
		    ls_buf_span(&f), f.n, 3, NULL, &bad, &e);
		if (rc != (i == 0 ? LS_OK : LS_ECORRUPT))
			test_fail(__FILE__, __LINE__, "index with %s: %s",
			    lies[i].what, ls_rc_name(rc));
		/* A true checksum does not make it true for the reader. */
		kit_sign(ls_buf_span(&f), &idx);
		rc = kit_verify(ls_buf_span(&f), &e);
		if ((rc == LS_OK) != (i == 0))
			test_fail(__FILE__, __LINE__, "signed index with %s",
			    lies[i].what);
		ls_ltx_index_fini(&bad);
		CHECK_RC(scan(ls_buf_span(&f), &bad), LS_OK);
		CHECK_EQ(bad.n, 3);
		CHECK(memcmp(bad.v, idx.v, 3 * sizeof *bad.v) == 0);
		ls_ltx_index_fini(&bad);
		ls_ltx_index_fini(&idx);
		ls_buf_free(&f);
	}
}

TEST(index_lies_with_good_checksum)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	uint64_t tail = 0;

	small_file(&f, &idx);
	CHECK_OK(ls_ltx_index_extent(ls_buf_span(&f), f.n, &tail, &e));
	f.p[f.n - tail]++;
	kit_sign(ls_buf_span(&f), &idx);
	CHECK_RC(kit_verify(ls_buf_span(&f), &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "page index does not match the pages");
	f.p[f.n - tail]--;
	kit_sign(ls_buf_span(&f), &idx);
	CHECK_OK(kit_verify(ls_buf_span(&f), &e));
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

/* The true index, but for how one number of its first entry is written. */
static void
check_spelling(size_t skip, const uint8_t *as, size_t n, enum ls_rc want)
{
	static const struct lie truth = { "the truth", { 0 }, 3, 0, 0 };
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 }, got = { NULL, 0 };
	uint8_t plain[128], odd[128];
	struct ls_err e = { 0 };
	uint64_t tail = 0;
	size_t m;

	small_file(&f, &idx);
	CHECK_OK(ls_ltx_index_extent(ls_buf_span(&f), f.n, &tail, &e));
	m = tell_lie(&truth, &idx, plain);
	memcpy(odd, plain, skip);
	memcpy(odd + skip, as, n);
	memcpy(odd + skip + n, plain + skip + 1, m - skip - 1);
	m += n - 1;
	put_index(&f, f.n - tail, odd, m, m);
	CHECK_RC(
	    ls_ltx_index_decode(ls_buf_span(&f), f.n, 3, NULL, &got, &e), want);
	ls_ltx_index_fini(&got);
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

TEST(index_with_long_varints)
{
	/* Page 1 and offset 100 are one byte each. */
	static const uint8_t one[] = { 1 }, longer[] = { 0x81, 0 };
	static const uint8_t nine_zeros[] = { 0x81, 0x80, 0x80, 0x80, 0x80,
		0x80, 0x80, 0x80, 0x80, 0 };
	static const uint8_t eleven[] = { 0x81, 0x80, 0x80, 0x80, 0x80, 0x80,
		0x80, 0x80, 0x80, 0x80, 0x01 };
	static const uint8_t hundred[] = { 100 };
	static const uint8_t wraps[] = { 100 | 0x80, 0x80, 0x80, 0x80, 0x80,
		0x80, 0x80, 0x80, 0x80, 0x02 };

	check_spelling(0, one, sizeof one, LS_OK);
	check_spelling(1, hundred, sizeof hundred, LS_OK);
	check_spelling(0, longer, sizeof longer, LS_ECORRUPT);
	check_spelling(0, nine_zeros, sizeof nine_zeros, LS_ECORRUPT);
	check_spelling(0, eleven, sizeof eleven, LS_ECORRUPT);
	check_spelling(1, wraps, sizeof wraps, LS_ECORRUPT);
}

/* The tail alone is enough, and less than the extent is the caller's error. */
TEST(index_from_a_tail)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 }, got = { NULL, 0 };
	struct ls_err e = { 0 };
	uint64_t n = 0;

	small_file(&f, &idx);
	CHECK_OK(ls_ltx_index_extent(LS_SPAN(f.p + f.n - 24, 24), f.n, &n, &e));
	CHECK_OK(ls_ltx_index_decode(
	    LS_SPAN(f.p + f.n - n, n), f.n, 3, NULL, &got, &e));
	CHECK(got.n == 3);
	ls_ltx_index_fini(&got);
	CHECK_RC(ls_ltx_index_decode(
		     LS_SPAN(f.p + f.n - n + 1, n - 1), f.n, 3, NULL, &got, &e),
	    LS_EINVALID);
	CHECK_RC(
	    ls_ltx_index_extent(LS_SPAN(f.p, 23), f.n, &n, &e), LS_ECORRUPT);
	CHECK_STR(
	    e.msg, "ltx file too short to contain a page index: 23 bytes");
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

/* Change bytes of the file, make the checksums fit again, and expect `want`. */
static void
forge(size_t at, const void *p, size_t n, const char *want)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };

	small_file(&f, &idx);
	memcpy(f.p + at, p, n);
	kit_sign(ls_buf_span(&f), &idx);
	CHECK_RC(kit_verify(ls_buf_span(&f), &e), LS_ECORRUPT);
	CHECK_STR(e.msg, want);
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

TEST(forged_but_signed)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	size_t post;

	small_file(&f, &idx);
	post = f.n - LS_LTX_TRAILER;
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
	forge(15, "\x04", 1,
	    "page 4 is missing: the file is not complete up to page 4");
	forge(15, "\x02", 1,
	    "page 3 is behind the end of the database (2 pages)");
	forge(90, "\x01\x02", 2, "database checksum mismatch");
	forge(post, "\x80", 1, "invalid post-apply checksum in LTX trailer");
	forge(7, "\x00", 1, "invalid post-apply checksum in LTX trailer");
}

static void
check_frame(size_t at, uint8_t value, const char *want)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	struct ls_ltx_entry x;

	small_file(&f, &idx);
	x = idx.v[0];
	f.p[x.off + at] = value;
	CHECK_RC(ls_ltx_frame_decode(
		     LS_SPAN(f.p + x.off, x.size), NULL, 1, 512, page, &e),
	    LS_ECORRUPT);
	CHECK_STR(e.msg, want);
	CHECK(kit_verify(ls_buf_span(&f), &e) != LS_OK);
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

TEST(frame_damage)
{
	check_frame(3, 9, "frame of page 9 where page 1 should be");
	check_frame(5, 2, "page 1: unknown page flags");
	check_frame(5, 3, "page 1: unknown page flags");
	check_frame(5, 0, "page 1: LZ4 frame is damaged");
	check_frame(8, 7, "page 1: frame has another size");
}

TEST(frame_wrong_length)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	struct ls_span frame;

	small_file(&f, &idx);
	frame = LS_SPAN(f.p + idx.v[0].off, idx.v[0].size);
	CHECK_OK(ls_ltx_frame_decode(frame, NULL, 1, 512, page, &e));
	CHECK_RC(
	    ls_ltx_frame_decode(frame, NULL, 1, 1024, page, &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "page 1: decoded size is not the page size");
	CHECK_RC(
	    ls_ltx_frame_decode(frame, NULL, 2, 512, page, &e), LS_ECORRUPT);
	CHECK_RC(
	    ls_ltx_frame_decode(LS_SPAN(frame.p, 9), NULL, 1, 512, page, &e),
	    LS_ECORRUPT);
	ls_put_be32(f.p + idx.v[0].off + 6, 0);
	CHECK_RC(
	    ls_ltx_frame_decode(LS_SPAN(frame.p, 10), NULL, 1, 512, page, &e),
	    LS_ECORRUPT);
	CHECK_STR(e.msg, "page 1: impossible compressed size");
	ls_ltx_index_fini(&idx);
	ls_buf_free(&f);
}

/* Post-apply checksums of files that have them, with a file checksum that fits
 * (their frames lie where index_decode says). */
static void
forge_post(const char *name, const char *want)
{
	struct ls_span file = kit_data(name);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	uint8_t copy[4096];
	struct ls_span bad = LS_SPAN(copy, file.n);

	memcpy(copy, file.p, file.n);
	CHECK_RC(scan(file, &idx), LS_OK);
	copy[file.n - 9] ^= 1; /* the last byte of post-apply */
	kit_sign(bad, &idx);
	if (want == NULL) {
		CHECK_OK(kit_verify(bad, &e));
	} else {
		CHECK_RC(kit_verify(bad, &e), LS_ECORRUPT);
		CHECK_STR(e.msg, want);
	}
	copy[file.n - 16] = 0;
	kit_sign(bad, &idx);
	CHECK_RC(kit_verify(bad, &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "invalid post-apply checksum in LTX trailer");
	ls_ltx_index_fini(&idx);
}

TEST(post_apply_checksums)
{
	forge_post("block-sum-snapshot.ltx", "post-apply checksum mismatch");
	forge_post(
	    "block-sum-empty.ltx", "post-apply checksum of an empty database");
	forge_post("block-sum-diff.ltx", NULL); /* nothing to compare with */
}

static enum ls_rc
fails_at_end(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct kit_source *k = arg;

	if (k->at == k->s.n)
		return ls_err_set(e, LS_ENET, "connection reset");
	return kit_source(k, buf, n, got, e);
}

TEST(reader_order_of_calls)
{
	struct ls_span file = kit_data("block-nosum-4096.ltx");
	struct kit_source src = { file, 0, 0 };
	struct ls_ltx_header h = { 0 };
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_reader_open(kit_source, &src, &r, &e));
	CHECK_RC(ls_ltx_reader_finish(r, &e), LS_EINVALID);
	ls_ltx_reader_free(r);
	src.at = 0;
	CHECK_OK(ls_ltx_verify(kit_source, &src, &h, &e));
	CHECK_EQ(h.timestamp_ms, 1700000000000);
	h.timestamp_ms = 0;
	src.at = 0;
	CHECK_OK(ls_ltx_scan(kit_source, &src, &h, &idx, &e));
	CHECK(h.timestamp_ms == 1700000000000 && idx.n == 3);
	ls_ltx_index_fini(&idx);
	src.at = 0;
	CHECK_RC(ls_ltx_verify(fails_at_end, &src, &h, &e), LS_ENET);
}

/* The reader never takes the lock page, whatever the checksums say. */
TEST(lock_page_in_a_file)
{
	static const uint32_t pgnos[] = { 16384 };
	struct ls_ltx_header h = kit_header(65536, 20000, 2, 2);
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };

	CHECK_OK(kit_write(&h, pgnos, 1, 1, &f, &e));
	ls_put_be32(f.p + LS_LTX_HEADER, 16385);
	CHECK_RC(kit_verify(ls_buf_span(&f), &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "page 16385 is the lock page, which is never stored");
	CHECK_RC(scan(ls_buf_span(&f), &idx), LS_ECORRUPT);
	ls_buf_free(&f);
}

TEST(pages_out_of_order)
{
	static const uint32_t pgnos[] = { 3, 4 };
	struct ls_ltx_header h = kit_header(512, 9, 2, 2);
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	uint8_t *second;

	CHECK_OK(kit_write(&h, pgnos, 2, 1, &f, &e));
	CHECK_OK(ls_ltx_index_decode(ls_buf_span(&f), f.n, 9, NULL, &idx, &e));
	second = f.p + idx.v[1].off;
	ls_ltx_index_fini(&idx);
	for (uint32_t pgno = 2; pgno <= 3; pgno++) {
		char want[64];

		(void)snprintf(want, sizeof want,
		    "page %u comes after page 3: not in order", pgno);
		ls_put_be32(second, pgno);
		CHECK_RC(kit_verify(ls_buf_span(&f), &e), LS_ECORRUPT);
		CHECK_STR(e.msg, want);
		CHECK_RC(scan(ls_buf_span(&f), &idx), LS_ECORRUPT);
	}
	ls_buf_free(&f);
}

/* A legacy frame that gives too much, too little, or never ends. */
TEST(legacy_damage)
{
	struct ls_span file = kit_data("legacy-sum-diff.ltx");
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_err e = { 0 };
	uint8_t copy[2048];
	struct ls_span frame, bad;

	CHECK_RC(scan(file, &idx), LS_OK);
	frame = LS_SPAN(file.p + idx.v[0].off, idx.v[0].size);
	CHECK_OK(ls_ltx_frame_decode(frame, NULL, 2, 512, page, &e));
	CHECK_RC(
	    ls_ltx_frame_decode(frame, NULL, 2, 1024, page, &e), LS_ECORRUPT);
	CHECK_STR(e.msg, "page 2: decoded size is not the page size");
	CHECK_RC(
	    ls_ltx_frame_decode(frame, NULL, 2, 256, page, &e), LS_ECORRUPT);
	memcpy(copy, file.p, file.n);
	bad = LS_SPAN(copy, file.n);
	ls_ltx_index_fini(&idx);
	bad.n = frame.n + 1; /* a byte more than the frame has */
	CHECK_RC(ls_ltx_frame_decode(
		     LS_SPAN(copy + 100, bad.n), NULL, 2, 512, page, &e),
	    LS_ECORRUPT);
	bad.n = file.n;
	copy[100 + 6] ^= 1; /* LZ4 magic */
	CHECK_RC(scan(bad, &idx), LS_ECORRUPT);
	copy[100 + 6] ^= 1;
	copy[100 + 6 + 4] |= 1; /* wants a dictionary */
	CHECK_RC(scan(bad, &idx), LS_ECORRUPT);
	copy[100 + 6 + 4] ^= 1;
	memset(copy + 100 + 6 + 7, 0x70, 4); /* a block of 1.8 GB */
	CHECK_RC(scan(bad, &idx), LS_ECORRUPT);
}
