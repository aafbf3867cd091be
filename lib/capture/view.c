/* view.c -- a consistent state of the database, pinned by a read transaction.
 *
 *  (1) GUARD FIRST, THEN READ MARK, THEN POSITION (design 3.4). The shim keeps
 *      the header that the transaction got; SQLite compared it once more, so
 *      the state is exactly that header's. (test: view_is_one_state)
 *  (2) MARK 0 READS ONLY THE FILE: a writer may restart the WAL under us, but
 *      nobody can backfill. Mark > 0 reads the newest frame up to mxFrame, else
 *      the file. (test: view_of_a_backfilled_wal)
 *  (3) A LABEL IS PROVEN: the TXID whose capture ended exactly at the header.
 *      On mark 0 with frames everything was captured before it was backfilled;
 *      if not, something was missed, and a difference is due.
 *  (4) Always through SQLite's handle: guard.c (1). The -wal has no locks.
 * Not here: what is done with the pages (resync.c, the daemon). */
#include "capture/internal.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <fcntl.h>
#include <stdlib.h>

enum { BEGIN_TRIES = 100, LABEL_TRIES = 50, BLOCK_BYTES = 256 << 10 };

bool
ls_at_position(const struct ls_capture *c, const struct ls_wal_index *h)
{
	uint32_t salt[2];

	ls_wal_index_salts(h, salt);
	if (salt[0] == c->pos.salt[0] && salt[1] == c->pos.salt[1])
		return h->max_frame == c->pos.frame &&
		       (h->max_frame == 0 || memcmp(h->frame_sum, c->pos.sum,
						 sizeof c->pos.sum) == 0);
	/* An empty new generation: begun only after all was captured. */
	return h->max_frame == 0 && (c->may_restart || c->pos.frame == 0);
}

static enum ls_rc
connect_reader(struct ls_view *v, struct ls_capture *c, struct ls_err *e)
{
	int rc;

	v->wal_fd = -1;
	v->c = c;
	v->page_size = c->guard.page_size;
	v->shim.role = LS_SHIM_READER;
	rc = ls_shim_open(c->db_path, &v->shim, &v->db);
	if (rc != SQLITE_OK)
		return ls_err_wrap(e, ls_sqlite_err(e, NULL, rc, "open view"),
		    "%s", c->db_path);
	v->file = ls_shim_file(v->db);
	return LS_OK;
}

/* Database size when the index does not know it: page 1, else the file. */
static enum ls_rc
size_of_file(struct ls_view *v, struct ls_err *e)
{
	uint8_t h[100];
	sqlite3_int64 size = 0;
	int rc = v->file->pMethods->xRead(v->file, h, sizeof h, 0);

	if (rc == SQLITE_OK)
		rc = v->file->pMethods->xFileSize(v->file, &size);
	if (rc != SQLITE_OK)
		return ls_err_set(e, LS_EIO, "%s: read page 1: %s",
		    v->c->db_path, sqlite3_errstr(rc));
	v->commit = ls_be32(h + 28);
	if (v->commit == 0 || memcmp(h + 24, h + 92, 4) != 0)
		v->commit = (uint32_t)((uint64_t)size / v->page_size);
	return LS_OK;
}

enum ls_rc
ls_view_begin(struct ls_view *v, struct ls_capture *c, struct ls_err *e)
{
	enum ls_rc rc;
	int src = SQLITE_BUSY;

	if ((rc = connect_reader(v, c, e)) != LS_OK)
		return rc;
	for (int i = 0; i < BEGIN_TRIES; i++) {
		src = sqlite3_exec(
		    v->db, "BEGIN; PRAGMA schema_version", NULL, NULL, NULL);
		if (src == SQLITE_OK)
			break;
		(void)sqlite3_exec(v->db, "ROLLBACK", NULL, NULL, NULL);
		if ((src & 0xff) != SQLITE_LOCKED &&
		    (src & 0xff) != SQLITE_BUSY)
			break;
		if (ls_guard_recover(&c->guard, e) != LS_OK || i > 2)
			ls_sys->sleep_ns(LS_MS);
	}
	if (src != SQLITE_OK)
		return ls_err_wrap(e,
		    ls_sqlite_err(e, v->db, src, "begin view"), "%s",
		    c->db_path);
	v->mark = v->shim.read_mark;
	if (!ls_wal_index_decode(v->shim.read_header, &v->h))
		return ls_err_set(
		    e, LS_EAGAIN, "%s: the wal-index is torn", c->db_path);
	v->commit = v->h.pages;
	if (v->commit == 0)
		rc = size_of_file(v, e);
	return rc;
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static enum ls_rc
collect_frames(
    struct ls_view *v, const struct ls_wal_header *wal, struct ls_err *e)
{
	struct ls_wal_frame f;
	enum ls_rc rc;
	size_t n = 0;

	for (uint32_t i = 1; i <= v->h.max_frame; i++) {
		rc = ls_wal_read_frame(v->wal_fd, v->page_size, i, &f, e);
		if (rc != LS_OK)
			return rc == LS_ESHORT ? LS_EGAP : rc;
		if ((f.salt[0] | f.salt[1]) != 0 &&
		    (f.salt[0] != wal->salt[0] || f.salt[1] != wal->salt[1]))
			return ls_err_set(e, LS_EGAP,
			    "WAL frame %u: salt of another generation", i);
		v->frames[v->nframes++] = (uint64_t)f.pgno << 32 | i;
	}
	qsort(v->frames, v->nframes, sizeof *v->frames, by_number);
	for (size_t i = 0; i < v->nframes; i++)
		if (i + 1 == v->nframes ||
		    v->frames[i] >> 32 != v->frames[i + 1] >> 32)
			v->frames[n++] = v->frames[i]; /* the newest */
	v->nframes = n;
	return LS_OK;
}

enum ls_rc
ls_view_map(struct ls_view *v, struct ls_err *e)
{
	struct ls_wal_header wal;
	uint32_t salt[2];
	enum ls_rc rc;

	v->block_pages = LS_MAX(BLOCK_BYTES / v->page_size, 1u);
	v->block = ls_alloc((size_t)v->block_pages * v->page_size);
	if (v->block == NULL)
		return ls_err_nomem(e);
	if (v->mark == 0 || v->h.max_frame == 0)
		return LS_OK; /* (2) */
	rc = ls_open(v->c->wal_path, O_RDONLY, 0, &v->wal_fd, e);
	if (rc != LS_OK)
		return rc;
	if ((rc = ls_wal_read_header(v->wal_fd, &wal, e)) != LS_OK)
		return rc;
	ls_wal_index_salts(&v->h, salt);
	if (wal.salt[0] != salt[0] || wal.salt[1] != salt[1] ||
	    wal.page_size != v->page_size)
		return ls_err_set(e, LS_EGAP,
		    "%s: WAL header and wal-index do not agree", v->c->db_path);
	v->frames = ls_alloc(v->h.max_frame * sizeof *v->frames);
	if (v->frames == NULL)
		return ls_err_nomem(e);
	return ls_err_wrap(e, collect_frames(v, &wal, e), "%s", v->c->db_path);
}

static uint32_t
frame_of(const struct ls_view *v, uint32_t pgno)
{
	size_t lo = 0, hi = v->nframes;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (v->frames[mid] >> 32 < pgno)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < v->nframes && v->frames[lo] >> 32 == pgno)
		return (uint32_t)v->frames[lo];
	return 0;
}

static enum ls_rc
fill_block(struct ls_view *v, uint32_t first, uint32_t n, struct ls_err *e)
{
	/* What lies past the end of the file reads as zeros, as SQLite has it
	 * (xRead fills with zeros). */
	int rc = v->file->pMethods->xRead(v->file, v->block,
	    (int)(n * v->page_size), (sqlite3_int64)(first - 1) * v->page_size);

	v->block_n = 0;
	if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
		return ls_err_set(e, LS_EIO, "%s: read page %u: %s",
		    v->c->db_path, first, sqlite3_errstr(rc));
	v->block_first = first;
	v->block_n = n;
	return LS_OK;
}

enum ls_rc
ls_view_ref(
    struct ls_view *v, uint32_t pgno, const uint8_t **page, struct ls_err *e)
{
	uint32_t frame = frame_of(v, pgno), n;
	bool next = pgno == v->last + 1;
	enum ls_rc rc;

	v->last = pgno;
	if (frame != 0) {
		v->block_n = 0;
		*page = v->block;
		return ls_pread_all(v->wal_fd, v->block, v->page_size,
		    ls_wal_size(v->page_size, frame - 1) + LS_WAL_FRAME_HEADER,
		    e);
	}
	if (pgno < v->block_first || pgno - v->block_first >= v->block_n) {
		n = next ? v->block_pages : 1; /* read ahead in a run only */
		n = LS_MIN(n, v->commit - pgno + 1);
		if ((rc = fill_block(v, pgno, n, e)) != LS_OK)
			return rc;
	}
	*page = v->block + (size_t)(pgno - v->block_first) * v->page_size;
	return LS_OK;
}

void
ls_view_fini(struct ls_view *v)
{
	if (v->counted)
		atomic_fetch_sub(&v->c->views, 1);
	if (v->db != NULL)
		(void)sqlite3_exec(v->db, "ROLLBACK", NULL, NULL, NULL);
	(void)sqlite3_close(v->db);
	if (v->db != NULL && v->wal_fd >= 0)
		(void)ls_sys->close(v->wal_fd);
	ls_free(v->frames);
	ls_free(v->block);
	*v = (struct ls_view){ .wal_fd = -1 };
}

static enum ls_rc
missed(struct ls_capture *c, struct ls_err *e)
{
	ls_due_set(c, LS_DUE_DIFF, "frames were checkpointed uncaptured");
	return ls_err_set(e, LS_EAGAIN, "%s: a difference is due", c->db_path);
}

/* Capture up to the view's header, in as many files as it takes: (3). */
enum ls_rc
ls_view_label(struct ls_view *v, struct ls_capture *c, struct ls_err *e)
{
	struct ls_captured got = { .reason = "" };
	enum ls_rc rc;

	for (int i = 0; i < LABEL_TRIES && !ls_at_position(c, &v->h); i++) {
		if (v->mark == 0)
			return missed(c, e);
		rc = ls_step_frames(c, &v->h, 0, &got, e);
		if (rc == LS_EGAP) {
			ls_due_set(c, LS_DUE_DIFF,
			    "wal does not continue the captured one");
			rc = LS_EAGAIN;
		}
		if (rc != LS_OK)
			return rc;
	}
	if (!ls_at_position(c, &v->h))
		return ls_err_set(
		    e, LS_EAGAIN, "%s: not captured that far", c->db_path);
	v->info = (struct ls_view_info){
		.txid = c->pos.txid,
		.lineage = c->pos.lineage,
		.db_checksum =
		    ls_pagemap_valid(c->map) && ls_pagemap_whole(c->map)
			? ls_pagemap_xor(c->map)
			: 0,
		.page_size = v->page_size,
		.commit = v->commit,
		.timestamp_ms = c->pos.timestamp_ms,
	};
	return LS_OK;
}

enum ls_rc
ls_view_open(struct ls_capture *c, struct ls_view **out,
    struct ls_view_info *info, struct ls_err *e)
{
	struct ls_view *v;
	enum ls_rc rc;

	if (c->due != LS_DUE_NONE || c->pos.txid == 0)
		return ls_err_set(
		    e, LS_EAGAIN, "%s: a capture step is due", c->db_path);
	if ((rc = ls_capture_settle_merge(c, e)) != LS_OK)
		return rc;
	if ((v = ls_zalloc(sizeof *v)) == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_view_begin(v, c, e)) == LS_OK &&
	    (rc = ls_view_label(v, c, e)) == LS_OK &&
	    (rc = ls_view_map(v, e)) == LS_OK) {
		atomic_fetch_add(&c->views, 1);
		v->counted = true;
		*info = v->info;
		*out = v;
		return LS_OK;
	}
	ls_view_fini(v);
	ls_free(v);
	return rc;
}

enum ls_rc
ls_view_page(struct ls_view *v, uint32_t pgno, uint8_t *buf, struct ls_err *e)
{
	const uint8_t *page;
	enum ls_rc rc;

	if (pgno == 0 || pgno > v->commit)
		return ls_err_set(
		    e, LS_ERANGE, "no page %u, there are %u", pgno, v->commit);
	if ((rc = ls_view_ref(v, pgno, &page, e)) == LS_OK)
		memcpy(buf, page, v->page_size);
	return rc;
}

void
ls_view_close(struct ls_view *v)
{
	if (v == NULL)
		return;
	ls_view_fini(v);
	ls_free(v);
}

static void
snapshot_header(const struct ls_view *v, struct ls_ltx_header *h)
{
	uint32_t salt[2];

	ls_wal_index_salts(&v->h, salt);
	*h = (struct ls_ltx_header){
		.flags = LS_LTX_NO_CHECKSUM,
		.page_size = v->page_size,
		.commit = v->commit,
		.min_txid = 1,
		.max_txid = v->info.txid,
		.timestamp_ms = v->info.timestamp_ms,
		.wal_offset = LS_WAL_HEADER,
		.salt1 = salt[0],
		.salt2 = salt[1],
		.node_id = v->info.lineage,
		.has_db_checksum = v->info.db_checksum != 0,
		.db_checksum = v->info.db_checksum,
	};
}

/* Pages from all over the database, evenly, for a dictionary. */
static enum ls_rc
take_sample(struct ls_view *v, struct ls_buf *b, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size);
	uint64_t n = LS_MIN(v->commit, LS_ZSAMPLE / v->page_size);
	const uint8_t *page;
	enum ls_rc rc = LS_OK;

	for (uint64_t i = 0; i < n && rc == LS_OK; i++) {
		uint32_t pgno = (uint32_t)(i * v->commit / n) + 1;

		if (pgno != lock &&
		    (rc = ls_view_ref(v, pgno, &page, e)) == LS_OK)
			rc = ls_buf_add(b, page, v->page_size, e);
	}
	return rc;
}

/* *z: for this snapshot; untouched for LZ4. */
static enum ls_rc
choose_dict(struct ls_view *v, const struct ls_codec *codec,
    struct ls_zdict **z, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(LS_ZSAMPLE);
	enum ls_rc rc;

	if (!codec->zstd)
		return LS_OK;
	if ((rc = take_sample(v, &b, e)) == LS_OK)
		rc = ls_zdict_choose(ls_buf_span(&b), v->page_size,
		    (uint64_t)v->commit * v->page_size, NULL, z, e);
	if (rc == LS_OK && codec->keep != NULL)
		ls_zkeep_set(codec->keep, *z);
	ls_buf_free(&b);
	return rc;
}

enum ls_rc
ls_view_snapshot(struct ls_view *v, const struct ls_codec *codec, ls_sink *sink,
    void *arg, const struct ls_call *call, uint64_t *size, struct ls_err *e)
{
	struct ls_ltx_writer *w = NULL;
	struct ls_zdict *z = NULL;
	struct ls_ltx_header h;
	uint32_t lock = ls_lock_pgno(v->page_size);
	const uint8_t *page;
	enum ls_rc rc;

	snapshot_header(v, &h);
	if ((rc = choose_dict(v, codec, &z, e)) != LS_OK ||
	    (rc = ls_ltx_writer_new(sink, arg, &w, e)) != LS_OK) {
		ls_zdict_unref(z);
		return rc;
	}
	rc = ls_ltx_writer_begin(w, &h, z, e);
	ls_zdict_unref(z);
	for (uint32_t p = 1; p <= v->commit && rc == LS_OK; p++) {
		if (p == lock)
			continue;
		if (p % 256 == 0 && (rc = ls_call_check(call, e)) != LS_OK)
			break;
		if ((rc = ls_view_ref(v, p, &page, e)) == LS_OK)
			rc = ls_ltx_writer_page(w, p, page, e);
	}
	if (rc == LS_OK)
		rc = ls_ltx_writer_end(w, size, e);
	ls_ltx_writer_free(w);
	return rc;
}
