/* position.c -- settling the position at open: proof of continuity, or none.
 *
 *  (1) PROVEN ONLY BY FRAMES (design 6): the last captured frame must lie in the
 *      WAL with our salts and our running checksum. Position or salts alone
 *      prove nothing. Proof 1: same generation, go on. Proof 2: exactly one
 *      restart since, seen by salt-1 + 1, the unchanged size of the file, our
 *      frame N still there and behind it one of an older generation, or the
 *      end of the file while nobody wrote to the database. (tests:
 *      wake_proof_1, wake_proof_2, lookalike_*; model.capture)
 *  (2) WHILE ALL IS BACKFILLED NOTHING PINS THE FRAMES: proof and capture are
 *      then done under the write lock, up to LS_WAKE_MAX frames; otherwise the
 *      CKPT lock, which we hold already, pins them. (test: wake_captures_a_
 *      backfilled_tail)
 *  (3) WITHOUT A FITTING RECORD the newest local L0 file speaks: its WAL fields
 *      name the last frame, its header the running checksum there. One of
 *      upstream's does not: then the chain of checksums from the WAL header to
 *      the frame must be whole, and the frames of the window must hold exactly
 *      the file's pages (weaker: after a power failure an application may do
 *      the last of several lost transactions again alike). Covers a crash
 *      between file and record, and upstream's daemon having run. (tests:
 *      killed_after_the_file, record_lost, lookalike_file_with_the_record_lost)
 *  (4) THE PAGE MAP belongs to a TXID; newer spool files are applied to it. A
 *      checksum in the newest header that the map does not have makes it
 *      invalid. (tests: killed_after_the_file, merged_spool_goes_back)
 *  (5) THE FRAMES ARE NOT ALL: a file that was written while everything recorded
 *      was in it and nobody has checkpointed more is another one. (test:
 *      integration.overwritten)
 * Anything else is a difference, or without a map a whole copy. */
#include "capture/internal.h"

#include "base/sys.h"
#include "format/crc64.h"

#include <fcntl.h>

enum { SETTLE_TRIES = 50 };

/* ---- L0 files as a source ------------------------------------------------- */

struct file_source {
	int fd;
};

static enum ls_rc
read_source(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct file_source *s = arg;
	ssize_t k = ls_sys->read(s->fd, buf, n);

	if (k < 0)
		return ls_err_set(e, LS_EIO, "read a local LTX file");
	*got = (size_t)k;
	return LS_OK;
}

/* Give each page's sum to fn; checks the whole file. */
static enum ls_rc
each_sum(struct ls_capture *c, uint64_t txid,
    enum ls_rc (*fn)(void *arg, const struct ls_ltx_header *h, uint32_t pgno,
	uint64_t sum, struct ls_err *e),
    void *arg, struct ls_err *e)
{
	struct file_source src = { .fd = -1 };
	struct ls_ltx_reader *r = NULL;
	const struct ls_ltx_header *h;
	struct ls_ltx_page pg;
	char path[4200];
	enum ls_rc rc;

	(void)ls_spool_path(c->spool, txid, path, sizeof path);
	if ((rc = ls_open(path, O_RDONLY, 0, &src.fd, e)) != LS_OK)
		return rc;
	if ((rc = ls_ltx_reader_open(read_source, &src, &r, e)) != LS_OK)
		goto out;
	h = ls_ltx_reader_header(r);
	rc = fn(arg, h, 0, 0, e); /* page 0: the header */
	while (rc == LS_OK && (rc = ls_ltx_reader_next(r, &pg, e)) == LS_OK)
		rc = fn(arg, h, pg.pgno,
		    ls_page_checksum(pg.pgno, LS_SPAN(pg.data, h->page_size)),
		    e);
	if (rc == LS_ENOTFOUND && ls_ltx_reader_at_end(r))
		rc = ls_ltx_reader_finish(r, e);
out:
	ls_ltx_reader_free(r);
	(void)ls_sys->close(src.fd);
	return ls_err_wrap(e, rc, "%s", path);
}

/* ---- the page map: (4) ----------------------------------------------------- */

static enum ls_rc
apply_sum(void *arg, const struct ls_ltx_header *h, uint32_t pgno, uint64_t sum,
    struct ls_err *e)
{
	struct ls_capture *c = arg;

	if (h->page_size != ls_pagemap_page_size(c->map))
		return ls_err_set(e, LS_ECORRUPT, "another page size");
	if (pgno == 0)
		return ls_pagemap_resize(c->map, h->commit, e);
	ls_pagemap_set(c->map, pgno, sum);
	return LS_OK;
}

static bool
map_reaches(
    struct ls_capture *c, const struct ls_ltx_header *newest, uint64_t oldest)
{
	uint64_t at = ls_pagemap_txid(c->map);
	uint64_t line = ls_pagemap_lineage(c->map);

	if (!ls_pagemap_valid(c->map) || at == 0 ||
	    ls_pagemap_page_size(c->map) != newest->page_size)
		return false;
	if (line != 0 && newest->node_id != 0 && line != newest->node_id)
		return false;
	if (at > newest->max_txid) /* the spool was merged behind it */
		return newest->has_db_checksum;
	return at == newest->max_txid || at + 1 >= oldest;
}

static enum ls_rc
settle_map(struct ls_capture *c, const struct ls_ltx_header *newest,
    uint64_t oldest, struct ls_err *e)
{
	enum ls_rc rc;

	if (!map_reaches(c, newest, oldest)) {
		ls_pagemap_invalidate(c->map);
		return LS_OK;
	}
	for (uint64_t t = ls_pagemap_txid(c->map) + 1; t <= newest->max_txid;
	     t++) {
		if ((rc = each_sum(c, t, apply_sum, c, e)) == LS_OK)
			continue;
		ls_pagemap_invalidate(c->map);
		return rc == LS_ENOMEM ? rc : LS_OK;
	}
	if (ls_pagemap_count(c->map) != newest->commit ||
	    (newest->has_db_checksum && ls_pagemap_whole(c->map) &&
		ls_pagemap_xor(c->map) !=
		    (newest->db_checksum | LS_CHECKSUM_FLAG)))
		ls_pagemap_invalidate(c->map);
	return LS_OK;
}

/* ---- proofs ---------------------------------------------------------------- */

enum proof { UNPROVEN, SAME_GENERATION, NEXT_GENERATION };

struct ground { /* what the proofs stand on, read once */
	struct ls_wal_index h;
	uint32_t salt[2]; /* of index and file */
	struct ls_wal_header wal;
	uint64_t size;
	int64_t db_mtime_ns;
	uint32_t backfilled;
};

static bool
same(const uint32_t a[2], const uint32_t b[2])
{
	return a[0] == b[0] && a[1] == b[1];
}

/* false: the WAL file's header is not there or not the index's. */
static bool
survey(struct ls_capture *c, struct ground *g)
{
	struct stat st;

	g->backfilled = ls_guard_backfilled(&c->guard);
	ls_wal_index_salts(&g->h, g->salt);
	if (ls_sys->fstat(c->wal_fd, &st) != 0)
		return false;
	g->size = (uint64_t)st.st_size;
	g->db_mtime_ns = ls_mtime_ns(c->db_path);
	return ls_wal_read_header(c->wal_fd, &g->wal, NULL) == LS_OK &&
	       same(g->wal.salt, g->salt) &&
	       g->wal.page_size == c->guard.page_size;
}

/* Nobody has gone on behind frame N in its generation. Frame N + 1 must be of
 * an older one: one of the present generation, while N is not, shows that a
 * power failure took N's successor away (the file is not written in order).
 * Where the file ends behind N, journal_size_limit may have cut off what lay
 * there; but that was checkpointed first, which writes the database file. */
static bool
ends_at_n(
    struct ls_capture *c, const struct ground *g, const struct ls_posrec *r)
{
	static const uint32_t none[2];
	struct ls_wal_frame f;

	if (ls_wal_read_frame(
		c->wal_fd, r->page_size, r->frame + 1, &f, NULL) != LS_OK)
		return g->db_mtime_ns >= 0 && g->db_mtime_ns == r->db_mtime_ns;
	return !same(f.salt, r->salt) && !same(f.salt, none) &&
	       !same(f.salt, g->salt);
}

/* Design 6, both proofs. */
static enum proof
prove_record(
    struct ls_capture *c, const struct ground *g, const struct ls_posrec *r)
{
	struct ls_wal_frame f;

	if (r->frame == 0)
		return r->filed && same(g->salt, r->salt) &&
			       same(g->wal.sum, r->sum)
			   ? SAME_GENERATION
			   : UNPROVEN;
	if (ls_wal_read_frame(c->wal_fd, r->page_size, r->frame, &f, NULL) !=
		LS_OK ||
	    !same(f.salt, r->salt) || !same(f.sum, r->sum))
		return UNPROVEN;
	if (same(g->salt, r->salt))
		return g->h.max_frame >= r->frame ? SAME_GENERATION : UNPROVEN;
	if (g->salt[0] != r->salt[0] + 1 || g->size != r->wal_bytes)
		return UNPROVEN; /* another size: frames that show a commit
				  * after N may have been cut off */
	return ends_at_n(c, g, r) ? NEXT_GENERATION : UNPROVEN;
}

struct matcher { /* an L0 file against the winners of its window */
	const struct ls_frames *f;
	size_t at, pages;
};

static enum ls_rc
match_sum(void *arg, const struct ls_ltx_header *h, uint32_t pgno, uint64_t sum,
    struct ls_err *e)
{
	struct matcher *m = arg;

	(void)h, (void)e;
	if (pgno == 0)
		return LS_OK;
	m->pages++;
	if (m->at < m->f->n && m->f->v[m->at].pgno == pgno &&
	    m->f->v[m->at].sum == sum)
		m->at++;
	return LS_OK;
}

/* (3): frames from+1..to hold the pages of file r->txid, and `to` is reached
 * by an unbroken chain; gives the running checksum there. */
static bool
window_matches(struct ls_capture *c, const struct ground *g, uint32_t from,
    uint32_t to, struct ls_posrec *r)
{
	struct ls_window w = { .fd = c->wal_fd,
		.wal = &g->wal,
		.to = to,
		.sum = { g->wal.sum[0], g->wal.sum[1] },
		.collect = true };
	struct ls_frames f = { .v = NULL };
	struct matcher m = { .f = &f };
	size_t k = 0;
	bool ok = ls_frames_scan(&f, &w, NULL) == LS_OK && f.unsummed == 0;

	for (size_t i = 0; i < f.n; i++)
		if (f.v[i].frame > from)
			f.v[k++] = f.v[i];
	f.n = k;
	/* A window of one frame may be the last one of a copy, whose file has
	 * more pages. */
	ok = ok && each_sum(c, r->txid, match_sum, &m, NULL) == LS_OK &&
	     m.at == f.n && (to - from == 1 || m.pages == f.n);
	r->sum[0] = f.sum[0];
	r->sum[1] = f.sum[1];
	ls_frames_fini(&f);
	return ok;
}

/* The position that the newest L0 file's header names; false: it names none. */
static bool
position_from_header(
    const struct ls_ltx_header *h, uint32_t *from, struct ls_posrec *r)
{
	uint64_t fs = LS_WAL_FRAME_HEADER + (uint64_t)h->page_size;
	uint64_t off = (uint64_t)h->wal_offset, n = (uint64_t)h->wal_size;

	if (h->wal_offset < LS_WAL_HEADER || (h->salt1 | h->salt2) == 0 ||
	    (off - LS_WAL_HEADER) % fs != 0 || n % fs != 0)
		return false;
	off = (off - LS_WAL_HEADER) / fs;
	n = off + n / fs;
	if (n > UINT32_MAX)
		return false;
	*from = (uint32_t)off;
	r->frame = (uint32_t)n;
	r->salt[0] = h->salt1;
	r->salt[1] = h->salt2;
	r->filed = true;
	return true;
}

static enum proof
prove_file(struct ls_capture *c, const struct ground *g,
    const struct ls_ltx_header *h, struct ls_posrec *r)
{
	uint32_t from;

	if (!position_from_header(h, &from, r) || !same(g->salt, r->salt) ||
	    g->h.max_frame < r->frame)
		return UNPROVEN;
	if (r->frame == 0) {
		r->sum[0] = g->wal.sum[0];
		r->sum[1] = g->wal.sum[1];
		return SAME_GENERATION;
	}
	if ((h->wal_sum[0] | h->wal_sum[1]) != 0) { /* one of ours: as (1) */
		r->sum[0] = h->wal_sum[0];
		r->sum[1] = h->wal_sum[1];
		return prove_record(c, g, r);
	}
	if (h->wal_size == 0)
		return UNPROVEN; /* no page to compare */
	return window_matches(c, g, from, r->frame, r) ? SAME_GENERATION
						       : UNPROVEN;
}

/* ---- settling --------------------------------------------------------------- */

struct settling {
	struct ls_ltx_header newest;
	uint64_t oldest;
	struct ls_posrec rec; /* to be proven */
	bool by_record;
	bool replaced; /* another database file than recorded */
	bool written;  /* (5) */
};

/* (2). *locked: the write lock is ours and must be given back. */
static enum ls_rc
stand_firm(
    struct ls_capture *c, struct ground *g, bool *locked, struct ls_err *e)
{
	enum ls_rc rc;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		bool pinned = ls_guard_header(&c->guard, 10, &g->h) &&
			      ls_guard_backfilled(&c->guard) < g->h.max_frame;

		if (pinned)
			return LS_OK;
		rc = ls_guard_take_write(&c->guard, c->guard.busy_ns, e);
		if (rc != LS_OK)
			return rc;
		if (ls_guard_header(&c->guard, 1, &g->h)) {
			*locked = true;
			return LS_OK;
		}
		ls_guard_give_write(&c->guard);
		if ((rc = ls_guard_recover(&c->guard, e)) != LS_OK)
			return rc;
	}
	return ls_err_set(
	    e, LS_EBUSY, "%s: the wal-index does not settle", c->db_path);
}

/* (5): how far somebody has checkpointed since, the index says. */
static bool
written_past(const struct settling *s, const struct ground *g, enum proof how)
{
	uint32_t then = how == SAME_GENERATION ? s->rec.frame : 0;

	return s->by_record && how != UNPROVEN && s->rec.clean &&
	       g->db_mtime_ns >= 0 && g->db_mtime_ns != s->rec.db_mtime_ns &&
	       g->backfilled <= then;
}

static enum proof
prove(struct ls_capture *c, struct settling *s, struct ground *g)
{
	enum proof how;

	if (!survey(c, g) || s->replaced)
		return UNPROVEN;
	how = s->by_record ? prove_record(c, g, &s->rec)
			   : prove_file(c, g, &s->newest, &s->rec);
	if ((s->written = written_past(s, g, how)))
		return UNPROVEN;
	if (how == NEXT_GENERATION) {
		s->rec.salt[0] = g->salt[0];
		s->rec.salt[1] = g->salt[1];
		s->rec.frame = 0;
		s->rec.sum[0] = g->wal.sum[0];
		s->rec.sum[1] = g->wal.sum[1];
		s->rec.filed = true;
	}
	return how;
}

static enum ls_rc
settle_position(struct ls_capture *c, struct settling *s, struct ls_err *e)
{
	struct ls_captured got = { .reason = "" };
	struct ground g = { .size = 0 };
	enum proof how;
	bool locked = false;
	enum ls_rc rc;

	if ((rc = stand_firm(c, &g, &locked, e)) != LS_OK)
		return rc;
	how = prove(c, s, &g);
	if (how != UNPROVEN) {
		c->pos = s->rec;
		c->may_restart = locked;
		c->map_due = !ls_pagemap_valid(c->map);
		if (locked && g.h.max_frame != c->pos.frame &&
		    (rc = ls_step_frames(c, NULL, LS_WAKE_MAX, &got, e)) !=
			LS_OK)
			how = UNPROVEN;
		c->may_restart = locked;
	}
	if (locked)
		ls_guard_give_write(&c->guard);
	if (rc == LS_ENOMEM || rc == LS_ENOSPC || rc == LS_EIO)
		return rc;
	if (how == UNPROVEN)
		ls_due_set(c, LS_DUE_DIFF,
		    s->replaced	 ? "database file was replaced"
		    : s->written ? "database file was written past its WAL"
				 : "wal position cannot be proven");
	return ls_capture_flush(c, e);
}

static bool
record_fits(const struct ls_posrec *r, const struct ls_ltx_header *h)
{
	if (r->page_size != h->page_size)
		return false;
	if (r->txid == h->max_txid)
		return r->timestamp_ms == h->timestamp_ms;
	/* The spool was merged behind the record: the same point under a lower
	 * TXID. */
	return r->txid > h->max_txid && h->wal_size > 0 &&
	       r->salt[0] == h->salt1 && r->salt[1] == h->salt2 &&
	       (uint64_t)(h->wal_offset + h->wal_size) ==
		   ls_wal_size(r->page_size, r->frame);
}

static enum ls_rc
first_copy(struct ls_capture *c, const struct ls_posrec *rec, bool found)
{
	c->pos = (struct ls_posrec){
		.page_size = c->guard.page_size,
		.timestamp_ms = found ? rec->timestamp_ms : 0,
	};
	ls_pagemap_invalidate(c->map);
	c->due = LS_DUE_COPY;
	c->reason = "";
	return LS_OK;
}

enum ls_rc
ls_settle(struct ls_capture *c, struct ls_err *e)
{
	struct settling s = { .by_record = false };
	struct ls_posrec rec = { .txid = 0 };
	uint64_t newest;
	bool found = false;
	enum ls_rc rc;

	ls_spool_range(c->spool, &s.oldest, &newest);
	if ((rc = ls_posrec_load(c->meta_path, &rec, &found, e)) != LS_OK)
		return rc;
	if (newest == 0)
		return first_copy(c, &rec, found);
	rc = ls_spool_header(c->spool, newest, &s.newest, NULL, e);
	if (rc != LS_OK)
		return rc;
	s.by_record = found && record_fits(&rec, &s.newest);
	s.replaced = found && (rec.db_dev != (uint64_t)c->db_id.dev ||
				  rec.db_ino != (uint64_t)c->db_id.ino);
	if (s.by_record)
		s.rec = rec;
	s.rec.txid = newest;
	s.rec.page_size = s.newest.page_size;
	s.rec.commit = s.newest.commit;
	if (s.by_record && rec.txid == newest)
		s.rec.commit = rec.commit;
	s.rec.lineage = s.newest.node_id ? s.newest.node_id
			: rec.lineage	 ? rec.lineage
					 : ls_pagemap_lineage(c->map);
	s.rec.timestamp_ms = LS_MAX(s.newest.timestamp_ms, rec.timestamp_ms);
	c->pos = s.rec;
	if (s.newest.page_size != c->guard.page_size) {
		ls_pagemap_invalidate(c->map);
		c->due = LS_DUE_COPY;
		c->reason = "page size changed";
		c->pos.frame = 0;
		return LS_OK;
	}
	if ((rc = settle_map(c, &s.newest, s.oldest, e)) != LS_OK)
		return rc;
	return settle_position(c, &s, e);
}
