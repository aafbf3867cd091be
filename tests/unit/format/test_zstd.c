/* test_zstd.c -- zstd files: dictionaries, writing, reading, choosing, and what
 * is copied or made again. Damage of whole files: test_damage.c. */
#include "kit.h"

#include "base/bytes.h"
#include "fault.h"
#include "format/pack.h"

#include <errno.h>

static uint8_t page[LS_PAGE_MAX], got[LS_PAGE_MAX];

/* Every way to read: stream, index and single frames, scan. */
static void
check_file(struct ls_span f, uint32_t page_size, uint32_t n, uint64_t v)
{
	struct ls_ltx_mem m = { f, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_index idx, seen;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	enum ls_rc rc;
	uint32_t at = 0;

	CHECK_OK(ls_ltx_reader_open(ls_ltx_mem_source, &m, &r, &e));
	CHECK(ls_ltx_reader_dict(r) != NULL);
	CHECK_OK(
	    ls_ltx_index_decode(f, f.n, n, ls_ltx_reader_dict(r), &idx, &e));
	CHECK_EQ(idx.n, n);
	while ((rc = ls_ltx_reader_next(r, &pg, &e)) == LS_OK) {
		struct ls_ltx_entry x = idx.v[at++];

		kit_text(page, page_size, pg.pgno, v);
		CHECK(pg.pgno == at && pg.flags == LS_LTX_PAGE_ZSTD);
		CHECK(memcmp(pg.data, page, page_size) == 0);
		CHECK_EQ(pg.offset, x.off);
		CHECK_OK(ls_ltx_frame_decode(LS_SPAN(f.p + x.off, x.size),
		    ls_ltx_reader_dict(r), at, page_size, got, &e));
		CHECK(memcmp(got, page, page_size) == 0);
	}
	CHECK_RC(rc, LS_ENOTFOUND);
	CHECK_EQ(at, n);
	CHECK_OK(ls_ltx_reader_finish(r, &e));
	ls_ltx_reader_free(r);
	m.at = 0;
	CHECK_OK(ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &seen, &e));
	CHECK(seen.n == idx.n &&
	      memcmp(seen.v, idx.v, idx.n * sizeof *idx.v) == 0);
	ls_ltx_index_fini(&idx);
	ls_ltx_index_fini(&seen);
}

TEST(zstd_round_trip)
{
	for (uint32_t size = 512; size <= 65536; size *= 2)
		for (int with = 0; with < 2; with++) {
			struct ls_ltx_header h = kit_header(size, 9, 1, 1);
			struct ls_zdict *z = NULL;
			struct ls_buf f = LS_BUF_INIT(4 << 20);
			struct ls_err e = { 0 };

			if (with)
				z = kit_dict(1);
			else
				CHECK_OK(
				    ls_zdict_new(LS_SPAN(NULL, 0), &z, &e));
			kit_write_text(&h, z, 1, 9, 5, &f);
			CHECK_EQ(ls_be32(f.p + 4), 2 | LS_LTX_ZSTD);
			CHECK(memcmp(f.p + LS_LTX_HEADER, "LSZ1", 4) == 0);
			check_file(ls_buf_span(&f), size, 9, 5);
			ls_zdict_unref(z);
			ls_buf_free(&f);
		}
}

TEST(zstd_pages_that_do_not_compress)
{
	struct ls_ltx_header h = kit_header(65536, 2, 2, 2);
	struct kit_sink k = KIT_SINK;
	struct ls_ltx_writer *w = NULL;
	struct ls_zdict *z = kit_dict(1);
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, z, &e));
	test_rand_bytes(page, sizeof page);
	CHECK_OK(ls_ltx_writer_page(w, 1, page, &e));
	CHECK_OK(ls_ltx_writer_page(w, 2, page, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	CHECK(k.largest <= LS_LTX_FRAME_MAX);
	CHECK_OK(kit_verify(ls_buf_span(&k.b), &e));
	ls_ltx_writer_free(w);
	ls_zdict_unref(z);
	ls_buf_free(&k.b);
}

/* ---- damage ---------------------------------------------------------------*/

TEST(zstd_block_damage)
{
	struct ls_zdict *z = kit_dict(1), *out = NULL;
	struct ls_span dict = ls_zdict_bytes(z);
	uint8_t *b = ls_alloc(LS_ZBLOCK_MAX);
	struct ls_err e = { 0 };
	size_t n = 0;

	ls_zblock_head(z, b);
	memcpy(b + LS_ZBLOCK_HEAD, dict.p, dict.n);
	CHECK_OK(ls_zblock_extent(b, &n, &e));
	CHECK_EQ(n, LS_ZBLOCK_HEAD + dict.n);
	CHECK_OK(ls_zblock_decode(LS_SPAN(b, n), &out, &e));
	CHECK(out == z);
	ls_zdict_unref(out);
	for (size_t i = 0; i < n * 8; i++) {
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		if (i / 8 < 4)
			CHECK_RC(ls_zblock_extent(b, &n, &e), LS_EUNSUPPORTED);
		else
			CHECK_RC(ls_zblock_decode(LS_SPAN(b, n), &out, &e),
			    LS_ECORRUPT);
		b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	ls_put_be32(b + 4, LS_ZDICT_MAX + 1);
	CHECK_RC(ls_zblock_extent(b, &n, &e), LS_ECORRUPT);
	/* Anything but a dictionary in zstd's format, though it has a sum. */
	ls_put_be32(b + 4, 8);
	memcpy(b + LS_ZBLOCK_HEAD, "raw text", 8);
	ls_put_be64(b + 8, ls_crc64(ls_crc64(0, b, 8), "raw text", 8));
	CHECK_RC(ls_zblock_decode(LS_SPAN(b, LS_ZBLOCK_HEAD + 8), &out, &e),
	    LS_ECORRUPT);
	/* Its magic number alone does not make it one. */
	memcpy(b + LS_ZBLOCK_HEAD, dict.p, 8);
	ls_put_be64(b + 8, ls_crc64(ls_crc64(0, b, 8), dict.p, 8));
	CHECK_RC(ls_zblock_decode(LS_SPAN(b, LS_ZBLOCK_HEAD + 8), &out, &e),
	    LS_ECORRUPT);
	ls_zdict_unref(z);
	ls_free(b);
}

TEST(zstd_frame_damage)
{
	struct ls_zdict *z = kit_dict(1), *none = NULL;
	struct ls_zenc *c = NULL;
	struct ls_err e = { 0 };
	uint8_t frame[10 + 700];
	size_t n = 0;

	CHECK_OK(ls_zdict_new(LS_SPAN(NULL, 0), &none, &e));
	CHECK_OK(ls_zenc_new(z, &c, &e));
	kit_text(page, 512, 3, 1);
	CHECK(ls_zframe_bound(512) <= 700);
	CHECK_OK(ls_zenc_page(c, page, 512, frame + 10, &n, &e));
	ls_put_be32(frame, 3);
	ls_put_be16(frame + 4, LS_LTX_PAGE_ZSTD);
	ls_put_be32(frame + 6, (uint32_t)n);
#define DECODE(zd, pgno, size, len) \
	ls_ltx_frame_decode(LS_SPAN(frame, len), zd, pgno, size, got, &e)
	CHECK_OK(DECODE(z, 3, 512, n + 10));
	CHECK(memcmp(got, page, 512) == 0);
	CHECK_RC(DECODE(z, 4, 512, n + 10), LS_ECORRUPT);
	CHECK_RC(DECODE(z, 3, 1024, n + 10), LS_ECORRUPT);
	CHECK_STR(e.msg, "page 3: decoded size is not the page size");
	CHECK_RC(DECODE(z, 3, 256, n + 10), LS_ECORRUPT); /* too long */
	CHECK_RC(DECODE(z, 3, 512, n + 9), LS_ECORRUPT);
	CHECK_RC(DECODE(NULL, 3, 512, n + 10), LS_ECORRUPT); /* an LZ4 file */
	if (DECODE(none, 3, 512, n + 10) == LS_OK) /* another dictionary */
		CHECK(memcmp(got, page, 512) != 0);
	ls_put_be16(frame + 4, LS_LTX_PAGE_SIZED);
	CHECK_RC(DECODE(z, 3, 512, n + 10), LS_ECORRUPT);
	ls_put_be16(frame + 4, LS_LTX_PAGE_ZSTD);
	for (size_t i = 10; i < n + 10;
	     i++) { /* never a page of another size */
		frame[i] ^= 0x40;
		(void)!DECODE(z, 3, 512, n + 10);
		frame[i] ^= 0x40;
	}
#undef DECODE
	ls_zenc_free(c);
	ls_zdict_unref(z);
	ls_zdict_unref(none);
}

TEST(zstd_dictionaries_are_shared)
{
	struct ls_zdict *a = kit_dict(1), *b = NULL, *other = kit_dict(2);
	struct ls_err e = { 0 };
	struct ls_buf copy = LS_BUF_INIT(LS_ZDICT_MAX);

	CHECK_OK(
	    ls_buf_add(&copy, ls_zdict_bytes(a).p, ls_zdict_bytes(a).n, &e));
	CHECK_OK(ls_zdict_new(ls_buf_span(&copy), &b, &e));
	CHECK(a == b && a != other);
	ls_zdict_unref(a);
	ls_zdict_unref(b);
	ls_zdict_unref(other);
	CHECK_OK(ls_zdict_new(ls_buf_span(&copy), &b, &e)); /* made again */
	ls_zdict_unref(b);
	ls_zdict_unref(NULL);
	ls_buf_free(&copy);
}

/* A context keeps the copy of a dictionary: pages of several, and of none, come
 * in any order. */
TEST(zstd_dictionaries_take_turns)
{
	enum { KINDS = 3, PAGES = 30 };
	struct ls_zdict *z[KINDS] = { kit_dict(1), kit_dict(2), NULL };
	static uint8_t want[4096], body[KINDS][PAGES][8192];
	size_t size[KINDS][PAGES];
	struct ls_err e = { 0 };

	CHECK_OK(ls_zdict_new(LS_SPAN(NULL, 0), &z[2], &e));
	for (size_t k = 0; k < KINDS; k++) {
		struct ls_zenc *c = NULL;

		CHECK_OK(ls_zenc_new(z[k], &c, &e));
		for (uint32_t i = 0; i < PAGES; i++) {
			kit_text(want, 4096, i + 1, 1);
			CHECK_OK(ls_zenc_page(
			    c, want, 4096, body[k][i], &size[k][i], &e));
		}
		ls_zenc_free(c);
	}
	for (uint32_t n = 0; n < 500; n++) {
		uint32_t i = (uint32_t)test_rand() % PAGES;
		uint32_t k = (uint32_t)test_rand() % KINDS;

		kit_text(want, 4096, i + 1, 1);
		CHECK_OK(ls_zdict_decode(z[k], LS_SPAN(body[k][i], size[k][i]),
		    i + 1, 4096, got, &e));
		CHECK(memcmp(want, got, sizeof want) == 0);
		if (n == 250) { /* another takes the place of one that went */
			ls_zdict_unref(z[0]);
			z[0] = kit_dict(1);
		}
	}
	for (size_t k = 0; k < KINDS; k++)
		ls_zdict_unref(z[k]);
}

/* ---- choosing -------------------------------------------------------------*/

static size_t
chosen(size_t bytes, bool text)
{
	struct ls_buf b = LS_BUF_INIT(LS_ZSAMPLE);
	struct ls_zdict *z = NULL;
	struct ls_err e = { 0 };
	size_t n;

	for (uint32_t i = 1; b.n < bytes; i++) {
		if (text)
			kit_text(page, 4096, i, 1);
		else
			test_rand_bytes(page, 4096);
		CHECK_OK(ls_buf_add(&b, page, 4096, &e));
	}
	CHECK_OK(ls_zdict_choose(ls_buf_span(&b), 4096, b.n, NULL, &z, &e));
	n = ls_zdict_bytes(z).n;
	ls_zdict_unref(z);
	ls_buf_free(&b);
	return n;
}

TEST(zstd_small_files_have_none)
{
	CHECK_EQ(chosen(0, true), 0);
	CHECK_EQ(chosen(LS_ZSAMPLE_MIN - 4096, true), 0);
	CHECK_EQ(chosen(1 << 20, false), 0);
	CHECK(chosen(1 << 20, true) > 0);
	CHECK(chosen(LS_ZSAMPLE, true) <= LS_ZDICT_MAX);
}

/* ---- packing --------------------------------------------------------------*/

struct src {
	struct ls_buf f;
	struct ls_ltx_mem m;
};

/* Merge n files into one of the codec; checks that all pages are there. */
static void
merged(
    struct src *s, size_t n, const struct ls_codec *codec, struct ls_buf *out)
{
	struct ls_merge_input in[8];
	struct ls_merge_opts o = { .node_id = 1, .codec = *codec };
	struct kit_sink k = KIT_SINK;
	struct ls_ltx_header h;
	struct ls_err e = { 0 };

	for (size_t i = 0; i < n; i++) {
		s[i].m = (struct ls_ltx_mem){ ls_buf_span(&s[i].f), 0 };
		in[i] = (struct ls_merge_input){ ls_ltx_mem_source, &s[i].m };
	}
	CHECK_OK(ls_merge(in, n, &o, kit_sink, &k, &h, NULL, &e));
	CHECK_EQ(h.flags, codec->zstd ? 2 | LS_LTX_ZSTD : 2);
	CHECK_EQ(ls_be32(k.b.p + 4), h.flags);
	CHECK_OK(kit_verify(ls_buf_span(&k.b), &e));
	*out = k.b;
}

/* The frame of a page in a file. */
static struct ls_span
frame_of(struct ls_span f, uint32_t pgno)
{
	struct ls_ltx_mem m = { f, 0 };
	struct ls_ltx_index idx;
	struct ls_ltx_entry x;
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &idx, &e));
	CHECK(ls_ltx_index_find(&idx, pgno) != NULL);
	x = *ls_ltx_index_find(&idx, pgno);
	ls_ltx_index_fini(&idx);
	return LS_SPAN(f.p + x.off, x.size);
}

static bool
same_frame(const struct ls_buf *a, const struct ls_buf *b, uint32_t pgno)
{
	struct ls_span x = frame_of(ls_buf_span(a), pgno),
		       y = frame_of(ls_buf_span(b), pgno);

	return x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
}

/* A file of TXID txid with pages first..first+7 of 64. */
static void
source(struct src *s, uint64_t txid, uint32_t first, struct ls_zdict *z)
{
	struct ls_ltx_header h = kit_header(512, 64, txid, txid);

	ls_buf_init(&s->f, 1 << 20);
	kit_write_text(&h, z, first, 8, txid, &s->f);
}

/* Page pgno of f is that of TXID v; z: of f. */
static void
check_page(
    const struct ls_buf *f, struct ls_zdict *z, uint32_t pgno, uint64_t v)
{
	struct ls_err e = { 0 };

	kit_text(page, 512, pgno, v);
	CHECK_OK(ls_ltx_frame_decode(
	    frame_of(ls_buf_span(f), pgno), z, pgno, 512, got, &e));
	CHECK(memcmp(got, page, 512) == 0);
}

TEST(pack_copies_what_fits)
{
	const struct ls_codec zstd = { .zstd = true };
	struct ls_zdict *z = kit_dict(1);
	struct src s[2];
	struct ls_buf out;

	source(&s[0], 5, 1, z);
	source(&s[1], 6, 5, z);
	merged(s, 2, &zstd, &out);
	CHECK(memcmp(out.p + 100, s[0].f.p + 100, 16) == 0); /* dictionary */
	for (uint32_t p = 1; p <= 12; p++) {
		CHECK(same_frame(&out, &s[p > 4].f, p));
		check_page(&out, z, p, p > 4 ? 6 : 5);
	}
	ls_buf_free(&out);
	ls_buf_free(&s[0].f);
	ls_buf_free(&s[1].f);
	ls_zdict_unref(z);
}

TEST(pack_recodes_the_rest)
{
	const struct ls_codec zstd = { .zstd = true }, lz4 = { .zstd = false };
	struct ls_zdict *z = kit_dict(1), *y = kit_dict(2), *none = NULL;
	struct src s[4];
	struct ls_err e = { 0 };
	struct ls_buf out;

	CHECK_OK(ls_zdict_new(LS_SPAN(NULL, 0), &none, &e));
	source(&s[0], 5, 1, NULL);
	source(&s[1], 6, 5, none);
	source(&s[2], 7, 9, z);
	source(&s[3], 8, 13, y);
	for (int i = 0; i < 2; i++) {
		struct ls_zdict *of = i ? NULL : z;

		if (!i && ls_zdict_bytes(y).n > ls_zdict_bytes(z).n)
			of = y; /* the largest; of equals the oldest */
		merged(s, 4, i ? &lz4 : &zstd, &out);
		for (uint32_t p = 1; p <= 20; p++)
			check_page(&out, of, p, p > 16 ? 8 : 5 + (p - 1) / 4);
		if (i)
			CHECK(same_frame(&out, &s[0].f, 1));
		else
			CHECK(same_frame(
			    &out, &s[of == y ? 3 : 2].f, of == y ? 13 : 9));
		ls_buf_free(&out);
	}
	/* Nothing to adopt, and too little for one of its own. */
	merged(s, 2, &zstd, &out);
	CHECK_EQ(ls_be32(out.p + 104), 0);
	check_page(&out, none, 1, 5);
	for (int i = 0; i < 4; i++)
		ls_buf_free(&s[i].f);
	ls_buf_free(&out);
	ls_zdict_unref(z);
	ls_zdict_unref(y);
	ls_zdict_unref(none);
}

TEST(pack_waits_for_a_sample)
{
	enum { PAGES = LS_ZSAMPLE / 65536 + 20 };
	struct ls_ltx_header h = kit_header(65536, PAGES, 1, 1);
	struct ls_codec zstd = { .zstd = true };
	struct ls_zdict *z;
	struct ls_err e = { 0 };
	struct src s;
	struct ls_buf out[2];

	CHECK_OK(ls_zkeep_new(&zstd.keep, &e));
	CHECK(ls_zkeep_get(zstd.keep) == NULL);
	ls_buf_init(&s.f, 64 << 20);
	kit_write_text(&h, NULL, 1, PAGES, 3, &s.f);
	merged(&s, 1, &zstd, &out[0]);
	check_file(ls_buf_span(&out[0]), 65536, PAGES, 3);
	z = ls_zkeep_get(zstd.keep);
	CHECK(z != NULL && ls_zdict_bytes(z).n > 0);
	CHECK_EQ(ls_be32(out[0].p + 104), ls_zdict_bytes(z).n);
	CHECK(out[0].n * 10 < s.f.n * 9);
	/* The next file has the same one, so that they can be merged as is. */
	merged(&s, 1, &zstd, &out[1]);
	CHECK(memcmp(out[0].p + 100, out[1].p + 100, 16) == 0);
	ls_zdict_unref(z);
	ls_zkeep_free(zstd.keep);
	ls_buf_free(&s.f);
	ls_buf_free(&out[0]);
	ls_buf_free(&out[1]);
}

TEST(zstd_memory_faults)
{
	struct src s[2];
	struct ls_zdict *z = kit_dict(1);
	const struct ls_codec zstd = { .zstd = true };
	struct ls_merge_opts o = { .node_id = 1, .codec = zstd };

	source(&s[0], 5, 1, z);
	source(&s[1], 6, 5, NULL);
	for (int n = 1;; n++) {
		struct ls_merge_input in[2];
		struct kit_sink k = KIT_SINK;
		struct ls_err e = { 0 };
		enum ls_rc rc;

		for (size_t i = 0; i < 2; i++) {
			s[i].m = (struct ls_ltx_mem){ ls_buf_span(&s[i].f), 0 };
			in[i] = (struct ls_merge_input){ ls_ltx_mem_source,
				&s[i].m };
		}
		fault_arm(n, ENOMEM);
		rc = ls_merge(in, 2, &o, kit_sink, &k, NULL, NULL, &e);
		fault_disarm();
		ls_buf_free(&k.b);
		if (!fault_fired()) {
			CHECK_RC(rc, LS_OK);
			break;
		}
		CHECK_RC(rc, LS_ENOMEM);
		CHECK(e.msg[0] != '\0');
	}
	ls_buf_free(&s[0].f);
	ls_buf_free(&s[1].f);
	ls_zdict_unref(z);
}
