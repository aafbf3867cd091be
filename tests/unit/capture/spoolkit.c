/* spoolkit.c -- see spoolkit.h. */
#include "spoolkit.h"

#include "base/bytes.h"
#include "format/crc64.h"

#include <dirent.h>

/* TXID 1 writes all, then: sizes swing, a few pages each. */
static uint32_t
commit_of(uint64_t txid)
{
	return 20 + (uint32_t)(txid * 7 % 20);
}

static bool
writes(uint64_t txid, uint32_t pgno)
{
	uint32_t prev = txid > 1 ? commit_of(txid - 1) : 0;

	return pgno <= commit_of(txid) &&
	       (pgno > prev || (pgno + txid) % 5 == 0);
}

void
kit_model(uint64_t txid, struct kit_model *x)
{
	memset(x, 0, sizeof *x);
	for (uint64_t t = 1; t <= txid; t++) {
		x->commit = commit_of(t);
		for (uint32_t p = 1; p <= KIT_PAGES; p++)
			x->by[p] = p > x->commit  ? 0
				   : writes(t, p) ? t
						  : x->by[p];
	}
}

static void
page_of(uint64_t by, uint32_t pgno, uint8_t page[static KIT_PAGE_SIZE])
{
	memset(page, (int)pgno, KIT_PAGE_SIZE);
	ls_put_be64(page, by);
}

static uint64_t
checksum_of(uint64_t txid)
{
	uint8_t page[KIT_PAGE_SIZE];
	struct kit_model x;
	uint64_t sum = 0;

	kit_model(txid, &x);
	for (uint32_t p = 1; p <= x.commit; p++) {
		page_of(x.by[p], p, page);
		sum ^= ls_page_checksum(p, LS_SPAN(page, sizeof page));
	}
	return sum | LS_CHECKSUM_FLAG;
}

enum ls_rc
kit_put(struct ls_spool *s, uint64_t txid, bool sync, struct ls_err *e)
{
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = KIT_PAGE_SIZE,
		.commit = commit_of(txid),
		.min_txid = txid,
		.max_txid = txid,
		.timestamp_ms = 1000 + (int64_t)txid,
		.wal_offset = 32 + (int64_t)txid * 536,
		.wal_size = 536,
		.salt1 = 7,
		.salt2 = 8,
		.node_id = 99,
		.has_db_checksum = true,
		.db_checksum = checksum_of(txid) };
	struct ls_ltx_writer *w = NULL;
	uint8_t page[KIT_PAGE_SIZE];
	enum ls_rc rc;

	if ((rc = ls_spool_begin(s, txid, e)) != LS_OK)
		return rc;
	if ((rc = ls_ltx_writer_new(ls_spool_sink, s, &w, e)) == LS_OK)
		rc = ls_ltx_writer_begin(w, &h, NULL, e);
	for (uint32_t p = 1; rc == LS_OK && p <= h.commit; p++) {
		page_of(txid, p, page);
		if (writes(txid, p))
			rc = ls_ltx_writer_page(w, p, page, e);
	}
	if (rc == LS_OK)
		rc = ls_ltx_writer_end(w, NULL, e);
	ls_ltx_writer_free(w);
	if (rc == LS_OK)
		return ls_spool_commit(s, sync, e);
	ls_spool_abort(s);
	return rc;
}

struct ls_spool *
kit_open(void)
{
	struct ls_spool *s = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_spool_open(T("m"), &s, &e));
	return s;
}

void
kit_wipe(void)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_remove_tree(T("m"), &e));
}

int
kit_count(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	int n = 0;

	while (d != NULL && (de = readdir(d)) != NULL)
		n += de->d_name[0] != '.';
	if (d != NULL)
		(void)closedir(d);
	return n;
}

static struct ls_span
file_of(struct ls_spool *s, uint64_t txid)
{
	char path[1024];

	return test_read_file(ls_spool_path(s, txid, path, sizeof path));
}

void
kit_check(struct ls_spool *s)
{
	uint64_t oldest, newest, bytes = 0, n = 0;
	struct ls_err e = { 0 };

	ls_spool_range(s, &oldest, &newest);
	CHECK((oldest == 0) == (newest == 0) && oldest <= newest);
	for (uint64_t t = oldest; newest != 0 && t <= newest; t++, n++) {
		struct ls_ltx_mem mem = { file_of(s, t), 0 };
		struct ls_ltx_header h;
		uint64_t size;

		CHECK_OK(ls_ltx_verify(ls_ltx_mem_source, &mem, &h, &e));
		CHECK(h.min_txid == t && h.max_txid == t);
		CHECK_OK(ls_spool_header(s, t, &h, &size, &e));
		CHECK(h.min_txid == t && size == mem.span.n);
		bytes += size;
	}
	CHECK_EQ(ls_spool_bytes(s), bytes);
	CHECK_EQ(kit_count(T("m/ltx/0")), n);
}

static void
apply(struct ls_span file, struct kit_model *x)
{
	struct ls_ltx_mem mem = { file, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	enum ls_rc rc;

	CHECK_OK(ls_ltx_reader_open(ls_ltx_mem_source, &mem, &r, &e));
	x->commit = ls_ltx_reader_header(r)->commit;
	while ((rc = ls_ltx_reader_next(r, &pg, &e)) == LS_OK) {
		CHECK(pg.pgno <= KIT_PAGES && pg.data[8] == pg.pgno);
		x->by[pg.pgno] = ls_be64(pg.data);
	}
	CHECK_EQ(rc, LS_ENOTFOUND);
	for (uint32_t p = x->commit + 1; p <= KIT_PAGES; p++)
		x->by[p] = 0;
	ls_ltx_reader_free(r);
}

void
kit_check_state(struct ls_spool *s, uint64_t last)
{
	struct kit_model want, got;
	uint64_t oldest, newest;

	ls_spool_range(s, &oldest, &newest);
	kit_model(oldest - 1, &got);
	for (uint64_t t = oldest; t <= newest; t++)
		apply(file_of(s, t), &got);
	kit_model(last, &want);
	CHECK_EQ(got.commit, want.commit);
	for (uint32_t p = 1; p <= KIT_PAGES; p++)
		CHECK_EQ(got.by[p], want.by[p]);
}
