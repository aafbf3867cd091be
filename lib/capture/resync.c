/* resync.c -- when continuity is lost: a difference, or a whole copy.
 *
 *  (1) THE STATE IS READ FROM A VIEW, and its header becomes the position: what
 *      was missed before it is in the pages, what comes after it in the WAL.
 *      (tests: unproven_position_gives_a_difference, first_copy_is_the_file)
 *  (2) A DIFFERENCE READS THE DATABASE ONCE for the sums, and the differing
 *      pages once more: its header must carry the new database checksum, and
 *      the transaction pins both readings to one state.
 *  (3) THE LAST FRAME'S PAGE is always among them, so that the WAL fields can
 *      name that frame and whoever resumes from the header can prove it.
 *      (test: record_lost_after_a_copy)
 *  (4) A COPY STREAMS: one sequential reading, memory 8 bytes a page. Small
 *      ones are read twice, so that their header carries the checksum too.
 * Not here: deciding that one is due (position.c, capture.c). */
#include "capture/internal.h"

#include "base/sys.h"
#include "format/crc64.h"

enum { TWO_PASS_BYTES = 16 << 20, FIRST_CAP = 64 };

struct pages { /* the differing pages, ascending */
	struct ls_winner *v;
	size_t n, cap;
};

static enum ls_rc
add_page(struct pages *p, uint32_t pgno, uint64_t sum, struct ls_err *e)
{
	size_t cap = p->cap ? p->cap * 2 : FIRST_CAP;
	struct ls_winner *v;

	if (p->n == p->cap) {
		if ((v = ls_realloc(p->v, cap * sizeof *v)) == NULL)
			return ls_err_nomem(e);
		p->v = v;
		p->cap = cap;
	}
	p->v[p->n++] = (struct ls_winner){ pgno, 0, sum };
	return LS_OK;
}

/* The page of the header's last frame, 0 when it cannot be told (a mark-0
 * state whose WAL is being written anew): (3). */
static uint32_t
last_page(struct ls_capture *c, const struct ls_view *v)
{
	struct ls_wal_frame f;
	uint32_t salt[2];

	ls_wal_index_salts(&v->h, salt);
	if (v->h.max_frame == 0 ||
	    ls_wal_read_frame(
		c->wal_fd, v->page_size, v->h.max_frame, &f, NULL) != LS_OK ||
	    f.salt[0] != salt[0] || f.salt[1] != salt[1])
		return 0;
	return f.pgno <= v->commit ? f.pgno : 0;
}

/* The position that the view's header is. */
static enum ls_rc
position_of(struct ls_capture *c, const struct ls_view *v, struct ls_l0 *f,
    struct ls_err *e)
{
	struct ls_posrec *p = &f->next;
	struct ls_wal_header wal;
	uint32_t n = v->h.max_frame;
	enum ls_rc rc;

	*p = c->pos;
	ls_wal_index_salts(&v->h, p->salt);
	p->page_size = v->page_size;
	p->commit = v->commit;
	p->frame = n;
	memcpy(p->sum, v->h.frame_sum, sizeof p->sum);
	p->filed = n > 0;
	f->wal_offset = (int64_t)ls_wal_size(v->page_size, n ? n - 1 : 0);
	f->wal_size = n ? LS_WAL_FRAME_HEADER + (int64_t)v->page_size : 0;
	if (n > 0)
		return LS_OK;
	rc = ls_wal_read_header(c->wal_fd, &wal, e);
	if (rc != LS_OK && rc != LS_EAGAIN)
		return rc;
	p->filed = rc == LS_OK && wal.salt[0] == p->salt[0] &&
		   wal.salt[1] == p->salt[1];
	if (p->filed)
		memcpy(p->sum, wal.sum, sizeof p->sum);
	return LS_OK;
}

static enum ls_rc
view_page(void *arg, const struct ls_winner *w, const uint8_t **page,
    struct ls_err *e)
{
	return ls_view_ref(arg, w->pgno, page, e);
}

/* First reading: sums of all pages; those that the map does not have. */
static enum ls_rc
compare(struct ls_capture *c, struct ls_view *v, uint32_t always,
    struct pages *p, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size);
	const uint8_t *data;
	enum ls_rc rc;
	size_t differ = 0;
	uint64_t oldest, newest;

	for (uint32_t n = 1; n <= v->commit; n++) {
		uint64_t sum;

		if (n == lock)
			continue;
		if ((rc = ls_view_ref(v, n, &data, e)) != LS_OK)
			return rc;
		sum = ls_page_checksum(n, LS_SPAN(data, v->page_size));
		if (sum == ls_pagemap_get(c->map, n) && n != always)
			continue;
		differ += sum != ls_pagemap_get(c->map, n);
		if ((rc = add_page(p, n, sum, e)) != LS_OK)
			return rc;
	}
	/* Nothing to say; but somebody must be able to resume: without any
	 * local file one page is published all the same. */
	ls_spool_range(c->spool, &oldest, &newest);
	if (differ == 0 && v->commit == ls_pagemap_count(c->map) && newest != 0)
		p->n = 0;
	return LS_OK;
}

static void
settled(struct ls_capture *c, const struct ls_posrec *p)
{
	c->pos = *p;
	c->dirty = true;
	c->due = LS_DUE_NONE;
	c->reason = "";
	c->wants_base = false;
	c->map_due = false;
	c->may_restart = true; /* unknown: believe the next generation */
	c->unsummed = false;
}

static enum ls_rc
publish(struct ls_capture *c, struct ls_l0 *l0, enum ls_capture_kind kind,
    struct ls_captured *out, struct ls_err *e)
{
	enum ls_rc rc = ls_l0_write(c, l0, &out->bytes, e);

	if (rc != LS_OK)
		return rc;
	out->kind = kind;
	out->reason = c->reason;
	out->txid = c->pos.txid;
	out->pages = (uint32_t)l0->n;
	out->commit = c->pos.commit;
	return LS_OK;
}

/* Frames that are simply not captured yet, if the WAL goes on where we are. */
static uint32_t
new_frames(const struct ls_capture *c, const struct ls_view *v)
{
	uint32_t salt[2];

	ls_wal_index_salts(&v->h, salt);
	if (salt[0] != c->pos.salt[0] || salt[1] != c->pos.salt[1])
		return v->h.max_frame;
	return v->h.max_frame - LS_MIN(c->pos.frame, v->h.max_frame);
}

/* Publish the pages that differ from the map; an empty map: all of them. */
static enum ls_rc
by_list(struct ls_capture *c, struct ls_view *v, struct ls_l0 *l0,
    enum ls_capture_kind kind, struct ls_captured *out, struct ls_err *e)
{
	struct pages p = { .v = NULL };
	uint32_t always = last_page(c, v);
	enum ls_rc rc;

	rc = compare(c, v, always ? always : 1, &p, e);
	if (rc == LS_OK && p.n > 0) {
		if (p.n > 1 + new_frames(c, v)) /* they do not explain it */
			c->in_vain = 0;
		l0->v = p.v;
		l0->n = p.n;
		l0->page = view_page;
		l0->arg = v;
		rc = publish(c, l0, kind, out, e);
		l0->next = c->pos;
	}
	ls_free(p.v);
	return rc;
}

/* One reading straight into the file; the map is filled on the way. */
static enum ls_rc
stream_pages(struct ls_capture *c, struct ls_view *v, struct ls_ltx_writer *w,
    struct ls_captured *out, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size);
	const uint8_t *data;
	enum ls_rc rc = LS_OK;

	for (uint32_t n = 1; n <= v->commit && rc == LS_OK; n++) {
		if (n == lock)
			continue;
		if ((rc = ls_view_ref(v, n, &data, e)) != LS_OK)
			break;
		ls_pagemap_set(c->map, n,
		    ls_page_checksum(n, LS_SPAN(data, v->page_size)));
		rc = ls_ltx_writer_page(w, n, data, e);
		out->pages++;
	}
	return rc;
}

static enum ls_rc
by_stream(struct ls_capture *c, struct ls_view *v, struct ls_l0 *l0,
    struct ls_captured *out, struct ls_err *e)
{
	struct ls_ltx_writer *w = NULL;
	struct ls_ltx_header h;
	enum ls_rc rc;

	if (l0->next.lineage == 0)
		l0->next.lineage = ls_random64();
	l0->next.has_db_checksum = false;
	ls_l0_header(c, l0, &h);
	if ((rc = ls_pagemap_resize(c->map, v->commit, e)) != LS_OK ||
	    (rc = ls_ltx_writer_new(ls_spool_sink, c->spool, &w, e)) != LS_OK)
		return rc;
	if ((rc = ls_spool_begin(c->spool, h.max_txid, e)) != LS_OK)
		goto out;
	if ((rc = ls_ltx_writer_begin(w, &h, NULL, e)) == LS_OK &&
	    (rc = stream_pages(c, v, w, out, e)) == LS_OK)
		rc = ls_ltx_writer_end(w, &out->bytes, e);
	if (rc != LS_OK) {
		ls_spool_abort(c->spool);
		goto out;
	}
	if ((rc = ls_spool_commit(c->spool, true, e)) != LS_OK)
		goto out;
	l0->next.txid = h.max_txid;
	l0->next.timestamp_ms = h.timestamp_ms;
	c->captured_since = true;
	out->kind = LS_CAP_COPY_ALL;
	out->reason = c->reason;
	out->txid = h.max_txid;
	out->commit = h.commit;
out:
	ls_ltx_writer_free(w);
	return rc;
}

static enum ls_rc
copy_all(struct ls_capture *c, struct ls_view *v, struct ls_l0 *l0,
    struct ls_captured *out, struct ls_err *e)
{
	enum ls_rc rc;

	ls_pagemap_reset(c->map, v->page_size);
	if ((uint64_t)v->commit * v->page_size <= TWO_PASS_BYTES)
		rc = by_list(c, v, l0, LS_CAP_COPY_ALL, out, e);
	else
		rc = by_stream(c, v, l0, out, e);
	if (rc != LS_OK)
		ls_pagemap_invalidate(c->map);
	return rc;
}

enum ls_rc
ls_resync(struct ls_capture *c, struct ls_captured *out, struct ls_err *e)
{
	struct ls_view v = { .wal_fd = -1 };
	struct ls_l0 l0 = { .sync = true };
	enum ls_rc rc;

	if ((rc = ls_view_begin(&v, c, e)) != LS_OK ||
	    (rc = ls_view_map(&v, e)) != LS_OK ||
	    (rc = position_of(c, &v, &l0, e)) != LS_OK)
		goto out;
	if (c->due == LS_DUE_DIFF &&
	    (!ls_pagemap_valid(c->map) ||
		ls_pagemap_page_size(c->map) != v.page_size))
		c->due = LS_DUE_COPY;
	rc = c->due == LS_DUE_DIFF ? by_list(c, &v, &l0, LS_CAP_DIFF, out, e)
				   : copy_all(c, &v, &l0, out, e);
	if (rc == LS_OK)
		settled(c, &l0.next);
out:
	ls_view_fini(&v);
	if (rc == LS_EGAP) /* the view raced with something: begin again */
		rc = ls_err_set(e, LS_EAGAIN, "%s: not settled", c->db_path);
	return ls_err_wrap(e, rc, "copy %s", c->db_path);
}

static enum ls_rc
sum_all(struct ls_capture *c, struct ls_view *v, struct ls_err *e)
{
	const uint8_t *data;
	enum ls_rc rc;

	ls_pagemap_reset(c->map, v->page_size);
	if ((rc = ls_pagemap_resize(c->map, v->commit, e)) != LS_OK)
		return rc;
	for (uint32_t n = 1; n <= v->commit; n++) {
		if (n == ls_lock_pgno(v->page_size))
			continue;
		if ((rc = ls_view_ref(v, n, &data, e)) != LS_OK)
			return rc;
		ls_pagemap_set(c->map, n,
		    ls_page_checksum(n, LS_SPAN(data, v->page_size)));
	}
	return LS_OK;
}

/* The position is proven, the map is not there: build it from the database
 * itself, at a known TXID. Nothing is published. */
enum ls_rc
ls_map_rebuild(struct ls_capture *c, struct ls_err *e)
{
	struct ls_view *v = NULL;
	struct ls_view_info info;
	enum ls_rc rc;

	if ((rc = ls_view_open(c, &v, &info, e)) != LS_OK)
		return rc;
	rc = sum_all(c, v, e);
	ls_view_close(v);
	if (rc != LS_OK) {
		ls_pagemap_invalidate(c->map);
		return rc;
	}
	c->map_due = false;
	c->dirty = true;
	return LS_OK;
}
