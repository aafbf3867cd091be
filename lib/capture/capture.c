/* capture.c -- one capture step: new WAL frames become one LTX file.
 *
 *  (1) ONLY COMMITS SHIP, and all of them: the end is mxFrame of a valid
 *      wal-index header, not what looks like a commit in the file (design
 *      3.2). (tests: open_transaction_is_not_captured,
 *      step_captures_committed_frames)
 *  (2) A NEW GENERATION counts only when the WAL file's header and the index
 *      agree, and only when a checkpoint of ours had backfilled all that was
 *      captured; any other change of the salts is a gap. (test:
 *      generations_follow_each_other)
 *  (3) COMPLETENESS: a commit that grows the database brings every page of the
 *      growth, else nothing is published and a difference is due. (test:
 *      incomplete_growth_is_refused)
 *  (4) A STEP THAT FAILS can be repeated: see l0.c (1).
 *  (5) A RECOVERY MAY FIND LESS than was captured (frames without checksums:
 *      design 3.2), and writers go on from there: as many frames are not the
 *      same frames, so their checksum is compared, too. (test:
 *      recovery_found_less)
 *  (6) NOBODY ELSE WRITES THE DATABASE FILE while we are the only checkpointer.
 *      Its modification time tells when somebody does all the same (cp over
 *      it, with all frames backfilled, is what readers then see). Where times
 *      change without a write that is given up soon. (test:
 *      integration.overwritten)
 * Not here: when to step (the daemon), checkpoints (checkpoint.c). */
#include "capture/internal.h"

#include "base/sys.h"

enum { IN_VAIN_MOST = 3 };

void
ls_due_set(struct ls_capture *c, enum ls_due due, const char *reason)
{
	if (c->due != LS_DUE_COPY || due == LS_DUE_COPY) {
		c->due = due;
		c->reason = reason;
	}
	if (c->due == LS_DUE_DIFF && !ls_pagemap_valid(c->map)) {
		c->due = LS_DUE_COPY;
		c->wants_base = true;
	}
	c->map_due = false;
}

/* Where the next frame to capture lies: pos, or the start of a new
 * generation. */
static enum ls_rc
generation(struct ls_capture *c, const struct ls_wal_index *h, bool locked,
    struct ls_wal_header *wal, struct ls_posrec *at, struct ls_err *e)
{
	uint32_t salt[2];
	enum ls_rc rc;

	ls_wal_index_salts(h, salt);
	rc = ls_wal_read_header(c->wal_fd, wal, e);
	if (rc == LS_OK && (wal->salt[0] != salt[0] || wal->salt[1] != salt[1]))
		rc = LS_EAGAIN; /* restarted in one, not yet in the other */
	if (rc == LS_EAGAIN)
		return ls_err_set(e, locked ? LS_EGAP : LS_EAGAIN,
		    "WAL header and wal-index do not agree");
	if (rc != LS_OK)
		return rc;
	if (wal->page_size != c->pos.page_size)
		return ls_err_set(e, LS_EGAP, "page size changed");
	*at = c->pos;
	if (salt[0] != at->salt[0] || salt[1] != at->salt[1]) {
		if (at->frame > 0 && !c->may_restart)
			return ls_err_set(e, LS_EGAP,
			    "the WAL was restarted by somebody else");
		at->frame = 0;
		at->salt[0] = salt[0];
		at->salt[1] = salt[1];
	}
	if (at->frame == 0) {
		at->sum[0] = wal->sum[0];
		at->sum[1] = wal->sum[1];
	}
	at->filed = true;
	if (h->max_frame < at->frame)
		return ls_err_set(e, LS_EGAP,
		    "the WAL has %u frames, %u were captured", h->max_frame,
		    at->frame);
	return LS_OK;
}

/* No frames: nothing to capture, unless a recovery found none of ours. (5) */
static enum ls_rc
empty_index(
    struct ls_capture *c, const struct ls_wal_index *h, struct ls_err *e)
{
	uint32_t salt[2];
	bool ours;

	ls_wal_index_salts(h, salt);
	ours = memcmp(salt, c->pos.salt, sizeof salt) == 0;
	if (c->pos.frame == 0 || (!ours && c->may_restart))
		return LS_OK;
	return ls_err_set(e, LS_EGAP, "%s: the WAL is empty, %u were captured",
	    c->db_path, c->pos.frame);
}

/* As many frames as captured: are they the same ones? (5) */
static enum ls_rc
same_end(
    const struct ls_wal_index *h, const struct ls_posrec *at, struct ls_err *e)
{
	if (memcmp(h->frame_sum, at->sum, sizeof at->sum) == 0)
		return LS_OK;
	return ls_err_set(e, LS_EGAP,
	    "frame %u of the WAL is another one than was captured", at->frame);
}

struct frame_pages {
	struct ls_frames *f;
	int fd;
};

static enum ls_rc
frame_page(void *arg, const struct ls_winner *w, const uint8_t **page,
    struct ls_err *e)
{
	struct frame_pages *p = arg;

	return ls_frames_page(p->f, p->fd, w->frame, page, e);
}

static void
note_unsummed(struct ls_capture *c, const struct ls_frames *f)
{
	if (f->unsummed == 0)
		return;
	c->unsummed = true;
	if (ls_log_due(&c->unsummed_log, 60 * LS_SEC))
		ls_warn(
		    "committed WAL frames without checksums (a bug of the "
		    "application's SQLite library): a crash of the "
		    "application before the next checkpoint would lose them",
		    LS_ATTRS(
			LS_S("db", c->db_path), LS_U("frames", f->unsummed)));
}

static enum ls_rc
write_window(struct ls_capture *c, struct ls_frames *f,
    const struct ls_posrec *at, bool sync, struct ls_captured *out,
    struct ls_err *e)
{
	struct frame_pages pages = { f, c->wal_fd };
	uint64_t start = ls_wal_size(f->page_size, at->frame);
	uint64_t bytes = ls_wal_size(f->page_size, f->frame) - start;
	struct ls_l0 l0 = {
		.next = *at,
		.wal_offset = (int64_t)start,
		.wal_size = (int64_t)bytes,
		.v = f->v,
		.n = f->n,
		.page = frame_page,
		.arg = &pages,
		.sync = sync,
	};
	enum ls_rc rc;

	if (!ls_winners_complete(
		f->v, f->n, f->lowest, f->commit, f->page_size)) /* (3) */
		return ls_err_set(e, LS_EGAP,
		    "frames %u to %u grow the database to %u pages, but not "
		    "all new pages are there",
		    at->frame + 1, f->frame, f->commit);
	l0.next.frame = f->frame;
	l0.next.sum[0] = f->sum[0];
	l0.next.sum[1] = f->sum[1];
	l0.next.commit = f->commit;
	if ((rc = ls_l0_write(c, &l0, &out->bytes, e)) != LS_OK)
		return rc;
	out->kind = LS_CAP_FRAMES;
	out->txid = c->pos.txid;
	out->pages = (uint32_t)f->n;
	out->commit = f->commit;
	out->wal_bytes = bytes;
	c->may_restart = false; /* (2): these are not backfilled */
	note_unsummed(c, f);
	return LS_OK;
}

enum ls_rc
ls_step_frames(struct ls_capture *c, const struct ls_wal_index *upto,
    uint32_t tail, struct ls_captured *out, struct ls_err *e)
{
	struct ls_wal_index h;
	struct ls_wal_header wal;
	struct ls_posrec at;
	struct ls_frames f = { .v = NULL };
	struct ls_window w = { .fd = c->wal_fd, .wal = &wal, .collect = true };
	enum ls_rc rc;

	if (upto != NULL)
		h = *upto;
	else if (!ls_guard_header(&c->guard, tail ? 1 : 10, &h))
		return ls_err_set(
		    e, LS_EAGAIN, "%s: the wal-index is torn", c->db_path);
	if (h.max_frame == 0)
		return empty_index(c, &h, e);
	if ((rc = generation(c, &h, tail != 0, &wal, &at, e)) != LS_OK)
		return ls_err_wrap(e, rc, "%s", c->db_path);
	if (h.max_frame == at.frame)
		return same_end(&h, &at, e);
	if (tail != 0 && h.max_frame - at.frame > tail)
		return ls_err_set(e, LS_ERANGE, "%u frames are not captured",
		    h.max_frame - at.frame);
	w.from = at.frame;
	w.to = h.max_frame;
	memcpy(w.sum, at.sum, sizeof w.sum);
	memcpy(w.end_sum, h.frame_sum, sizeof w.end_sum);
	w.has_end_sum = true;
	w.commit = at.commit;
	w.max_bytes =
	    tail ? 0 : (uint64_t)LS_MAX(c->conf.max_sync_wal_bytes, 0);
	rc = ls_frames_scan(&f, &w, e);
	if (rc == LS_OK)
		rc = write_window(c, &f, &at, tail == 0 && !c->lazy, out, e);
	out->more = rc == LS_OK && f.frame < h.max_frame;
	ls_frames_fini(&f);
	return ls_err_wrap(e, rc, "%s", c->db_path);
}

enum ls_rc
ls_capture_flush(struct ls_capture *c, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_capture_settle_merge(c, e)) != LS_OK || !c->unsynced)
		return rc;
	if ((rc = ls_spool_sync(c->spool, e)) == LS_OK)
		c->unsynced = false;
	return rc;
}

/* A gap is answered with a difference at the next step. */
static enum ls_rc
gap(struct ls_capture *c, struct ls_err *e)
{
	ls_warn("WAL position lost, comparing the database",
	    LS_ATTRS(LS_S("db", c->db_path), LS_E(e)));
	ls_due_set(c, LS_DUE_DIFF, "wal does not continue the captured one");
	return ls_err_set(e, LS_EAGAIN, "%s: a difference is due", c->db_path);
}

/* (6) */
static void
look_at_file(struct ls_capture *c)
{
	int64_t now = ls_mtime_ns(c->db_path);

	if (now < 0 || now == c->db_mtime_ns || c->due != LS_DUE_NONE ||
	    c->pos.txid == 0 || c->in_vain >= IN_VAIN_MOST)
		return;
	c->db_mtime_ns = now;
	c->in_vain++; /* resync.c takes it back when a page differs */
	ls_due_set(c, LS_DUE_DIFF, "database file was written past its WAL");
}

enum ls_rc
ls_capture_step(struct ls_capture *c, struct ls_captured *out, struct ls_err *e)
{
	enum ls_rc rc;

	*out = (struct ls_captured){ .kind = LS_CAP_NONE, .reason = "" };
	out->txid = c->pos.txid;
	out->commit = c->pos.commit;
	if ((rc = ls_capture_flush(c, e)) != LS_OK)
		return rc;
	if (ls_guard_torn(&c->guard))
		if ((rc = ls_guard_recover(&c->guard, e)) != LS_OK)
			return rc == LS_EBUSY ? LS_EAGAIN : rc;
	look_at_file(c);
	if (c->map_due && c->due == LS_DUE_NONE &&
	    (rc = ls_map_rebuild(c, e)) != LS_OK)
		return rc;
	if (c->due != LS_DUE_NONE)
		return ls_resync(c, out, e);
	rc = ls_step_frames(c, NULL, 0, out, e);
	if (rc == LS_EAGAIN && ls_guard_recover(&c->guard, NULL) != LS_OK)
		return rc;
	return rc == LS_EGAP ? gap(c, e) : rc;
}

bool
ls_capture_changed(struct ls_capture *c)
{
	struct ls_wal_index h;
	uint32_t max, salt[2];

	if (c->due != LS_DUE_NONE || c->map_due)
		return true;
	if (!ls_guard_peek(&c->guard, &max, salt))
		return false;
	if (ls_guard_torn(&c->guard))
		return true;
	if (salt[0] != c->pos.salt[0] || salt[1] != c->pos.salt[1])
		return max > 0;
	if (max == 0 || max != c->pos.frame)
		return max != c->pos.frame;
	return ls_guard_header(&c->guard, 1, &h) && !ls_at_position(c, &h);
}

bool
ls_capture_torn(struct ls_capture *c)
{
	return ls_guard_torn(&c->guard);
}

enum ls_rc
ls_capture_recover(struct ls_capture *c, struct ls_err *e)
{
	return ls_guard_recover(&c->guard, e);
}
