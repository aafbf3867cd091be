/* fuzz_ltx.c -- any bytes as an LTX file, an index, or a frame.
 *
 * No crash and no leak, and what is accepted is true:
 *  (1) pages come out strictly rising, within the commit, never the lock page;
 *  (2) a file that verifies has an index that decodes, and index, scan and
 *      reader name the same frames, each of which decodes alone;
 *  (3) its merges (of that one file, to LZ4 and to zstd) verify and hold the
 *      same pages;
 *  (4) an index that decodes names only ranges inside the file. */
#include "base/bytes.h"
#include "base/sys.h"
#include "format/crc64.h"
#include "format/merge.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(bool x)
{
	if (!x)
		abort();
}

static enum ls_rc
to_buf(void *arg, struct ls_span bytes, struct ls_err *e)
{
	return ls_buf_add(arg, bytes.p, bytes.n, e);
}

/* CRC over numbers and contents of the pages; false: does not verify. */
static bool
read_all(struct ls_span file, struct ls_ltx_header *h, uint64_t *crc)
{
	struct ls_ltx_mem m = { file, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg = { .pgno = 0 };
	struct ls_err e = { .msg = "" };
	uint32_t last = 0;
	enum ls_rc rc;

	*crc = 0;
	if (ls_ltx_reader_open(ls_ltx_mem_source, &m, &r, &e) != LS_OK) {
		must(e.msg[0] != '\0');
		return false;
	}
	*h = *ls_ltx_reader_header(r);
	while ((rc = ls_ltx_reader_next(r, &pg, &e)) == LS_OK) {
		must(pg.pgno > last && pg.pgno <= h->commit);
		must(pg.pgno != ls_lock_pgno(h->page_size));
		must(pg.offset + pg.frame.n < file.n);
		last = pg.pgno;
		*crc = ls_crc64(*crc, &pg.pgno, sizeof pg.pgno);
		*crc = ls_crc64(*crc, pg.data, h->page_size);
	}
	if (rc == LS_ENOTFOUND)
		rc = ls_ltx_reader_finish(r, &e);
	must(rc == LS_OK || e.msg[0] != '\0');
	ls_ltx_reader_free(r);
	return rc == LS_OK;
}

/* The file's dictionary; NULL: LZ4, or it does not open. */
static struct ls_zdict *
dict_of(struct ls_span file)
{
	struct ls_ltx_mem m = { file, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_zdict *z = NULL;

	if (ls_ltx_reader_open(ls_ltx_mem_source, &m, &r, NULL) == LS_OK)
		z = ls_ltx_reader_dict(r);
	if (z != NULL)
		z = ls_zdict_ref(z);
	ls_ltx_reader_free(r);
	return z;
}

static void
check_index(struct ls_span file, const struct ls_ltx_header *h,
    const struct ls_zdict *z, bool good)
{
	struct ls_ltx_index idx = { NULL, 0 }, seen = { NULL, 0 };
	struct ls_ltx_mem m = { file, 0 };
	uint32_t last = 0;
	enum ls_rc a, b;

	a = ls_ltx_index_decode(file, file.n, h->commit, z, &idx, NULL);
	b = ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &seen, NULL);
	must(!good || (a == LS_OK && b == LS_OK && idx.n == seen.n));
	for (size_t i = 0; i < idx.n; i++) {
		must(idx.v[i].pgno > last);
		must(idx.v[i].off + idx.v[i].size <= file.n);
		must(ls_ltx_index_find(&idx, idx.v[i].pgno) == &idx.v[i]);
		must(!good || memcmp(&idx.v[i], &seen.v[i], 16) == 0);
		last = idx.v[i].pgno;
	}
	ls_ltx_index_fini(&idx);
	ls_ltx_index_fini(&seen);
}

static void
check_frames(struct ls_span file, const struct ls_ltx_header *h,
    const struct ls_zdict *z, bool good)
{
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_ltx_mem m = { file, 0 };
	uint8_t *page = ls_alloc(h->page_size);

	if (ls_ltx_scan(ls_ltx_mem_source, &m, NULL, &idx, NULL) == LS_OK)
		for (size_t i = 0; i < idx.n; i++) {
			struct ls_ltx_entry x = idx.v[i];
			enum ls_rc rc =
			    ls_ltx_frame_decode(LS_SPAN(file.p + x.off, x.size),
				z, x.pgno, h->page_size, page, NULL);

			must(rc == LS_OK || !good);
		}
	ls_ltx_index_fini(&idx);
	ls_free(page);
}

static void
check_merge(struct ls_span file, bool zstd, uint64_t want)
{
	struct ls_ltx_mem m = { file, 0 };
	struct ls_merge_input in = { ls_ltx_mem_source, &m };
	struct ls_merge_opts o = { .node_id = 1, .codec.zstd = zstd };
	struct ls_buf out = LS_BUF_INIT((size_t)1 << 30);
	struct ls_ltx_header h;
	uint64_t got;

	must(ls_merge(&in, 1, &o, to_buf, &out, NULL, NULL, NULL) == LS_OK);
	must(read_all(ls_buf_span(&out), &h, &got) && got == want);
	ls_buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct ls_ltx_header h = { .commit = 0 };
	struct ls_span file = LS_SPAN(p, n);
	struct ls_zdict *own = NULL;
	uint8_t page[LS_PAGE_MIN];
	uint64_t crc;
	size_t block;
	bool good = read_all(file, &h, &crc);
	struct ls_zdict *z = dict_of(file);

	check_index(file, &h, z, good);
	if (h.page_size != 0)
		check_frames(file, &h, z, good);
	if (good && h.commit != 0) {
		check_merge(file, false, crc);
		check_merge(file, true, crc);
	}
	if (n >= 4)
		(void)!ls_ltx_frame_decode(
		    file, z, ls_be32(p), sizeof page, page, NULL);
	if (n >= LS_ZBLOCK_HEAD && ls_zblock_extent(p, &block, NULL) == LS_OK &&
	    block <= n &&
	    ls_zblock_decode(LS_SPAN(p, block), &own, NULL) == LS_OK)
		ls_zdict_unref(own);
	ls_zdict_unref(z);
	return 0;
}
