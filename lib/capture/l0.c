/* l0.c -- writing one level-0 file, and keeping position and map in step.
 *
 *  (1) ALL OR NOTHING. Until the spool has the file nothing of ours changes;
 *      room in the map for a larger database is made before, so that nothing
 *      can fail after. (test: a_failed_step_leaves_everything)
 *  (2) THE DATABASE CHECKSUM stands in the header, which is written first: it
 *      is computed from the old entries of the map and the new sums, and costs
 *      no reading. (test: map_and_header_agree_with_the_database)
 *  (3) TIMES NEVER DECREASE, whatever the clock does.
 *  (4) ONE TXID A FILE, and WAL fields as upstream writes them, with an offset
 *      of at least 32: it resumes from the newest one (compatibility 4.2).
 *  (5) THE RUNNING CHECKSUM of the window's last frame stands in the header,
 *      so that the file proves its position as the record does, when the
 *      record is older: pages that look alike prove nothing. (test:
 *      lookalike_file_with_the_record_lost)
 * Not here: which pages (capture.c, resync.c). */
#include "capture/internal.h"

#include "base/sys.h"
#include "format/crc64.h"

uint64_t
ls_random64(void)
{
	uint64_t x = 0;

	while (x == 0)
		sqlite3_randomness(sizeof x, &x);
	return x;
}

/* (2): the XOR after the pages of f, when all of them are known. */
static bool
checksum_after(struct ls_capture *c, const struct ls_l0 *f, uint64_t *out)
{
	uint64_t x = ls_pagemap_xor(c->map);
	uint32_t have = ls_pagemap_count(c->map), commit = f->next.commit;

	if (!ls_pagemap_valid(c->map) || !ls_pagemap_whole(c->map))
		return false;
	for (size_t i = 0; i < f->n; i++)
		x ^= ls_pagemap_get(c->map, f->v[i].pgno) ^ f->v[i].sum;
	for (uint32_t p = commit; p < have; p++)
		x ^= ls_pagemap_get(c->map, p + 1);
	*out = x | LS_CHECKSUM_FLAG;
	return true;
}

void
ls_l0_header(
    struct ls_capture *c, const struct ls_l0 *f, struct ls_ltx_header *h)
{
	*h = (struct ls_ltx_header){
		.flags = LS_LTX_NO_CHECKSUM,
		.page_size = f->next.page_size,
		.commit = f->next.commit,
		.min_txid = c->pos.txid + 1,
		.max_txid = c->pos.txid + 1,
		.timestamp_ms =
		    LS_MAX(ls_now_ms(), c->pos.timestamp_ms), /* (3) */
		.wal_offset = f->wal_offset,		      /* (4) */
		.wal_size = f->wal_size,
		.salt1 = f->next.salt[0],
		.salt2 = f->next.salt[1],
		.node_id = f->next.lineage,
		.has_db_checksum = f->next.has_db_checksum,
		.db_checksum = f->next.db_checksum,
		.wal_sum = { f->next.sum[0], f->next.sum[1] }, /* (5) */
	};
}

static enum ls_rc
write_pages(struct ls_capture *c, struct ls_l0 *f,
    const struct ls_ltx_header *h, uint64_t *bytes, struct ls_err *e)
{
	struct ls_ltx_writer *w = NULL;
	uint32_t lock = ls_lock_pgno(h->page_size);
	const uint8_t *page;
	enum ls_rc rc;

	if ((rc = ls_ltx_writer_new(ls_spool_sink, c->spool, &w, e)) != LS_OK)
		return rc;
	rc = ls_ltx_writer_begin(w, h, NULL, e);
	for (size_t i = 0; i < f->n && rc == LS_OK; i++) {
		if (f->v[i].pgno == lock)
			continue;
		rc = f->page(f->arg, &f->v[i], &page, e);
		if (rc == LS_OK)
			rc = ls_ltx_writer_page(w, f->v[i].pgno, page, e);
	}
	if (rc == LS_OK)
		rc = ls_ltx_writer_end(w, bytes, e);
	ls_ltx_writer_free(w);
	return rc;
}

static void
apply_to_map(struct ls_capture *c, const struct ls_l0 *f)
{
	if (!ls_pagemap_valid(c->map))
		return;
	if (ls_pagemap_count(c->map) != f->next.commit &&
	    ls_pagemap_resize(c->map, f->next.commit, NULL) != LS_OK) {
		ls_pagemap_invalidate(c->map); /* cannot be: only shrinks */
		return;
	}
	for (size_t i = 0; i < f->n; i++)
		ls_pagemap_set(c->map, f->v[i].pgno, f->v[i].sum);
}

enum ls_rc
ls_l0_write(
    struct ls_capture *c, struct ls_l0 *f, uint64_t *bytes, struct ls_err *e)
{
	bool valid = ls_pagemap_valid(c->map);
	uint32_t before = ls_pagemap_count(c->map);
	struct ls_ltx_header h;
	enum ls_rc rc;

	if ((rc = ls_capture_settle_merge(c, e)) != LS_OK)
		return rc; /* before the TXID is taken */
	if (f->next.lineage == 0)
		f->next.lineage = ls_random64();
	f->next.has_db_checksum = checksum_after(c, f, &f->next.db_checksum);
	if (valid && f->next.commit > before && /* (1) */
	    (rc = ls_pagemap_resize(c->map, f->next.commit, e)) != LS_OK)
		return rc;
	ls_l0_header(c, f, &h);
	if ((rc = ls_spool_begin(c->spool, h.max_txid, e)) != LS_OK)
		goto out;
	if ((rc = write_pages(c, f, &h, bytes, e)) != LS_OK) {
		ls_spool_abort(c->spool);
		goto out;
	}
	if ((rc = ls_spool_commit(c->spool, f->sync, e)) != LS_OK)
		goto out;
	f->next.txid = h.max_txid;
	f->next.timestamp_ms = h.timestamp_ms;
	apply_to_map(c, f);
	c->pos = f->next;
	c->dirty = true;
	c->unsynced = c->unsynced || !f->sync;
	c->captured_since = true;
	return LS_OK;
out:
	if (valid && f->next.commit > before)
		(void)!ls_pagemap_resize(c->map, before, NULL);
	return ls_err_wrap(e, rc, "write LTX file %llu",
	    (unsigned long long)(c->pos.txid + 1));
}
