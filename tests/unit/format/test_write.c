/* test_write.c -- the writer, and what it gives back to the reader. */
#include "kit.h"

#include "base/bytes.h"
#include "fault.h"

#include <errno.h>

static uint8_t page[LS_PAGE_MAX];

/* Read file in chunks; its pages must be kit_page(.., v) of pgnos. */
static void
check_pages(struct ls_span file, const uint32_t *pgnos, size_t n, uint64_t v,
    size_t chunk)
{
	struct kit_source src = { file, 0, chunk };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	uint32_t ps;

	CHECK_OK(ls_ltx_reader_open(kit_source, &src, &r, &e));
	ps = ls_ltx_reader_header(r)->page_size;
	for (size_t i = 0; i < n; i++) {
		CHECK(!ls_ltx_reader_at_end(r));
		CHECK_OK(ls_ltx_reader_next(r, &pg, &e));
		CHECK_EQ(pg.pgno, pgnos[i]);
		kit_page(page, ps, pg.pgno, v);
		CHECK(memcmp(pg.data, page, ps) == 0);
	}
	CHECK_RC(ls_ltx_reader_next(r, &pg, &e), LS_ENOTFOUND);
	CHECK_RC(ls_ltx_reader_next(r, &pg, &e), LS_ENOTFOUND);
	CHECK(ls_ltx_reader_at_end(r));
	CHECK_OK(ls_ltx_reader_finish(r, &e));
	CHECK_OK(ls_ltx_reader_finish(r, &e));
	CHECK_RC(ls_ltx_reader_next(r, &pg, &e), LS_EINVALID);
	ls_ltx_reader_free(r);
}

TEST(round_trip_every_page_size)
{
	static const size_t chunks[] = { 0, 1, 7, 4096 };

	for (uint32_t ps = LS_PAGE_MIN; ps <= LS_PAGE_MAX; ps *= 2) {
		uint32_t lock = ls_lock_pgno(ps);
		uint32_t pgnos[] = { 1, 2, 9, 300, lock - 1, lock + 1 };
		struct ls_ltx_header h = kit_header(ps, lock + 1, 5, 9);
		struct ls_ltx_index idx = { NULL, 0 };
		struct ls_buf f = LS_BUF_INIT(0);
		struct ls_err e = { 0 };
		uint64_t post = 1, sum = 0;

		CHECK_OK(kit_write(&h, pgnos, LS_COUNT(pgnos), ps, &f, &e));
		for (size_t i = 0; i < LS_COUNT(chunks); i++)
			check_pages(ls_buf_span(&f), pgnos, LS_COUNT(pgnos), ps,
			    chunks[i]);
		CHECK_OK(ls_ltx_index_decode(
		    ls_buf_span(&f), f.n, h.commit, NULL, &idx, &e));
		CHECK_EQ(idx.n, LS_COUNT(pgnos));
		ls_ltx_index_fini(&idx);
		ls_ltx_trailer_decode(f.p + f.n - LS_LTX_TRAILER, &post, &sum);
		CHECK(post == 0 && sum & LS_CHECKSUM_FLAG);
		ls_buf_free(&f);
	}
}

TEST(pages_that_do_not_compress)
{
	for (uint32_t ps = LS_PAGE_MIN; ps <= LS_PAGE_MAX; ps *= 2) {
		struct kit_sink k = KIT_SINK;
		struct ls_ltx_header h = kit_header(ps, 40, 2, 2);
		struct ls_ltx_writer *w = NULL;
		struct ls_err e = { 0 };

		CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
		CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
		for (uint32_t i = 1; i <= 40; i++) {
			test_rand_bytes(page, ps);
			CHECK_OK(ls_ltx_writer_page(w, i, page, &e));
		}
		CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
		CHECK(k.largest <= LS_LTX_FRAME_MAX);
		CHECK(k.b.n > 40 * (size_t)ps);
		CHECK_OK(kit_verify(ls_buf_span(&k.b), &e));
		ls_ltx_writer_free(w);
		ls_buf_free(&k.b);
	}
}

/* More index than one piece of the sink, and pgnos of every varint length. */
TEST(many_pages)
{
	struct ls_ltx_header h = kit_header(512, UINT32_MAX, 2, 2);
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_ltx_index idx = { NULL, 0 }, seen = { NULL, 0 };
	size_t n = 30000;
	uint32_t *pgnos = ls_alloc(n * sizeof *pgnos);
	struct ls_err e = { 0 };
	struct ls_ltx_mem m;
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		pgnos[i] = (uint32_t)(i < 300 ? i + 1 : i * 143165);
	CHECK_OK(kit_write(&h, pgnos, n, 1, &f, &e));
	check_pages(ls_buf_span(&f), pgnos, n, 1, 0);
	CHECK_OK(ls_ltx_index_extent(ls_buf_span(&f), f.n, &bytes, &e));
	CHECK_OK(ls_ltx_index_decode(
	    LS_SPAN(f.p + f.n - bytes, bytes), f.n, h.commit, NULL, &idx, &e));
	m = (struct ls_ltx_mem){ ls_buf_span(&f), 0 };
	CHECK_OK(ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &seen, &e));
	CHECK(idx.n == n && seen.n == n);
	for (size_t i = 0; i < n; i++) {
		const struct ls_ltx_entry *x =
		    ls_ltx_index_find(&idx, pgnos[i]);

		CHECK(x == &idx.v[i] && x->pgno == pgnos[i]);
		CHECK(x->off == seen.v[i].off && x->size == seen.v[i].size);
		CHECK(x->pgno == seen.v[i].pgno);
		CHECK(i < 300 || ls_ltx_index_find(&idx, pgnos[i] + 1) == NULL);
	}
	CHECK(ls_ltx_index_find(&idx, 0) == NULL);
	ls_ltx_index_fini(&idx);
	ls_ltx_index_fini(&seen);
	CHECK(idx.v == NULL && ls_ltx_index_find(&idx, 1) == NULL);
	ls_buf_free(&f);
	ls_free(pgnos);
}

/* A snapshot of 1 GiB of zeros goes over the lock page. */
TEST(snapshot_over_the_lock_page)
{
	struct ls_ltx_header h = kit_header(65536, 16386, 1, 4);
	struct ls_ltx_writer *w = NULL;
	struct kit_sink k = KIT_SINK;
	struct ls_err e = { 0 };

	memset(page, 0, sizeof page);
	CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	for (uint32_t i = 1; i <= 16384; i++)
		CHECK_OK(ls_ltx_writer_page(w, i, page, &e));
	CHECK_OK(ls_ltx_writer_page(w, 16386, page, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	CHECK_OK(kit_verify(ls_buf_span(&k.b), &e));
	ls_ltx_writer_free(w);
	ls_buf_free(&k.b);
}

static enum ls_rc
write_rc(struct ls_ltx_header h, size_t n, const uint32_t *pgnos)
{
	struct ls_buf f = LS_BUF_INIT(0);
	struct ls_err e = { 0 };
	enum ls_rc rc = kit_write(&h, pgnos, n, 1, &f, &e);

	CHECK(rc == LS_OK || e.msg[0] != '\0');
	ls_buf_free(&f);
	return rc;
}
#define V(...)                                                \
	sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, (uint32_t[]) \
	{                                                     \
		__VA_ARGS__                                   \
	}

TEST(writer_refuses)
{
	struct ls_ltx_header h = kit_header(512, 3, 1, 1), bad;

	CHECK_RC(write_rc(h, V(1, 2, 3)), LS_OK);
	CHECK_RC(write_rc(h, V(1, 2)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, V(1, 3)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, V(2, 3)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, 0, NULL), LS_ECORRUPT);
	h = kit_header(512, 3, 2, 2);
	CHECK_RC(write_rc(h, V(1, 3)), LS_OK);
	CHECK_RC(write_rc(h, 0, NULL), LS_OK);
	CHECK_RC(write_rc(h, V(0)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, V(2, 2)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, V(2, 1)), LS_ECORRUPT);
	CHECK_RC(write_rc(h, V(4)), LS_ECORRUPT);
	bad = kit_header(65536, 20000, 2, 2);
	CHECK_RC(write_rc(bad, V(16384, 16386)), LS_OK);
	CHECK_RC(write_rc(bad, V(16385)), LS_ECORRUPT);
	bad = h, bad.commit = 0;
	CHECK_RC(write_rc(bad, 0, NULL), LS_EINVALID);
	bad = h, bad.flags = 0, bad.pre_apply = LS_CHECKSUM_FLAG;
	CHECK_RC(write_rc(bad, V(1)), LS_EINVALID);
	bad = h, bad.page_size = 1000;
	CHECK_RC(write_rc(bad, V(1)), LS_ECORRUPT);
	bad = h, bad.salt1 = 1;
	CHECK_RC(write_rc(bad, V(1)), LS_ECORRUPT);
}

TEST(writer_dead_after_error)
{
	struct ls_ltx_header h = kit_header(512, 9, 2, 2);
	struct kit_sink k = KIT_SINK;
	struct ls_ltx_writer *w = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
	CHECK_RC(ls_ltx_writer_page(w, 1, page, &e), LS_EINVALID);
	CHECK_RC(ls_ltx_writer_end(w, NULL, &e), LS_EINVALID);
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	CHECK_OK(ls_ltx_writer_page(w, 2, page, &e));
	CHECK_RC(ls_ltx_writer_page(w, 1, page, &e), LS_ECORRUPT);
	CHECK_RC(ls_ltx_writer_page(w, 3, page, &e), LS_EINVALID);
	CHECK_RC(ls_ltx_writer_end(w, NULL, &e), LS_EINVALID);
	k.room = 1;
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	CHECK_OK(ls_ltx_writer_page(w, 2, page, &e));
	CHECK_RC(ls_ltx_writer_end(w, NULL, &e), LS_EIO);
	CHECK_RC(ls_ltx_writer_end(w, NULL, &e), LS_EINVALID);
	/* And the next file is as good as one of a new writer. */
	k.room = 0;
	k.b.n = 0;
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	CHECK_RC(
	    ls_ltx_writer_frame(w, 1, LS_SPAN(page, 0), page, &e), LS_ECORRUPT);
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	CHECK_RC(ls_ltx_writer_frame(w, 1, LS_SPAN(page, 4096), page, &e),
	    LS_ECORRUPT);
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	CHECK_OK(ls_ltx_writer_page(w, 2, page, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	CHECK_OK(kit_verify(ls_buf_span(&k.b), &e));
	ls_ltx_writer_free(w);
	ls_ltx_writer_free(NULL);
	ls_ltx_reader_free(NULL);
	ls_buf_free(&k.b);
}

/* Whatever piece the sink refuses, the error comes out. */
TEST(sink_errors_come_out)
{
	struct ls_ltx_header h = kit_header(16384, 64, 1, 1);
	uint32_t pgnos[64];
	struct ls_err e = { 0 };
	struct ls_buf f = LS_BUF_INIT(0);
	size_t whole;

	for (uint32_t i = 0; i < 64; i++)
		pgnos[i] = i + 1;
	CHECK_OK(kit_write(&h, pgnos, 64, 1, &f, &e));
	whole = f.n;
	for (size_t room = 1; room < whole; room += 10007) {
		struct kit_sink k = KIT_SINK;
		struct ls_ltx_writer *w = NULL;
		enum ls_rc rc;

		k.room = room;
		CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
		rc = ls_ltx_writer_begin(w, &h, NULL, &e);
		for (uint32_t i = 0; i < 64 && rc == LS_OK; i++) {
			kit_page(page, h.page_size, pgnos[i], 1);
			rc = ls_ltx_writer_page(w, pgnos[i], page, &e);
		}
		if (rc == LS_OK)
			rc = ls_ltx_writer_end(w, NULL, &e);
		CHECK_RC(rc, LS_EIO);
		CHECK_STR(e.msg, "sink is full");
		ls_ltx_writer_free(w);
		ls_buf_free(&k.b);
	}
	ls_buf_free(&f);
}

/* Two made-up frames whose sizes move the end of the file over the edge of the
 * writer's buffer, byte by byte: a piece the sink refuses is an error wherever
 * the edge is, and where the edge is does not show in the file. */
static enum ls_rc
write_frames(size_t size, struct kit_sink *k, struct ls_err *e)
{
	struct ls_ltx_header h = kit_header(65536, UINT32_MAX, 2, 2);
	struct ls_ltx_writer *w = NULL;
	static uint8_t body[LS_LTX_FRAME_MAX];
	enum ls_rc rc;

	CHECK_RC(ls_ltx_writer_new(kit_sink, k, &w, e), LS_OK);
	if ((rc = ls_ltx_writer_begin(w, &h, NULL, e)) == LS_OK &&
	    (rc = ls_ltx_writer_frame(w, 1, LS_SPAN(body, 300), page, e)) ==
		LS_OK &&
	    (rc = ls_ltx_writer_frame(
		 w, UINT32_MAX, LS_SPAN(body, size), page, e)) == LS_OK)
		rc = ls_ltx_writer_end(w, NULL, e);
	ls_ltx_writer_free(w);
	return rc;
}

TEST(pieces_end_anywhere)
{
	for (size_t size = 65550; size <= 65800; size++) {
		struct kit_sink k = KIT_SINK, full = KIT_SINK;
		struct ls_ltx_index idx = { NULL, 0 };
		struct ls_err e = { 0 };

		full.room = 1;
		CHECK_RC(write_frames(size, &full, &e), LS_EIO);
		CHECK_EQ(full.b.n, 0);
		CHECK_OK(write_frames(size, &k, &e));
		CHECK_OK(ls_ltx_index_decode(
		    ls_buf_span(&k.b), k.b.n, 0, NULL, &idx, &e));
		CHECK(idx.n == 2 && idx.v[1].size == size + 10);
		ls_ltx_index_fini(&idx);
		ls_buf_free(&k.b);
	}
}

/* The index alone is several pieces long. */
TEST(sink_fails_in_the_index)
{
	enum { N = 20000, FRAME = 11 };
	struct ls_ltx_header h = kit_header(512, N, 1, 1);
	struct kit_sink k = KIT_SINK;
	struct ls_ltx_writer *w = NULL;
	struct ls_err e = { 0 };

	k.room = LS_LTX_HEADER + N * FRAME + 70000;
	CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, NULL, &e));
	for (uint32_t i = 1; i <= N; i++)
		CHECK_OK(ls_ltx_writer_frame(w, i, LS_SPAN("x", 1), page, &e));
	CHECK_RC(ls_ltx_writer_end(w, NULL, &e), LS_EIO);
	CHECK(k.b.n > LS_LTX_HEADER + N * FRAME);
	ls_ltx_writer_free(w);
	ls_buf_free(&k.b);
}

TEST(memory_faults)
{
	struct ls_ltx_header h = kit_header(512, 200, 1, 1);
	uint32_t pgnos[200];

	for (uint32_t i = 0; i < 200; i++)
		pgnos[i] = i + 1;
	for (int n = 1;; n++) {
		struct ls_buf f = LS_BUF_INIT(0);
		struct ls_ltx_index idx = { NULL, 0 };
		struct ls_ltx_index seen = { NULL, 0 };
		struct ls_ltx_mem m;
		struct ls_err e = { 0 };
		enum ls_rc rc;

		fault_arm(n, ENOMEM);
		rc = kit_write(&h, pgnos, 200, 1, &f, &e);
		m = (struct ls_ltx_mem){ ls_buf_span(&f), 0 };
		if (rc == LS_OK)
			rc = kit_verify(ls_buf_span(&f), &e);
		if (rc == LS_OK)
			rc = ls_ltx_index_decode(
			    ls_buf_span(&f), f.n, 200, NULL, &idx, &e);
		if (rc == LS_OK)
			rc =
			    ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &seen, &e);
		fault_disarm();
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		CHECK(rc == LS_OK || seen.v == NULL);
		ls_ltx_index_fini(&idx);
		ls_ltx_index_fini(&seen);
		ls_buf_free(&f);
		if (!fault_fired()) {
			CHECK_RC(rc, LS_OK);
			CHECK(n > 8);
			break;
		}
		CHECK_RC(rc, LS_ENOMEM);
	}
}
