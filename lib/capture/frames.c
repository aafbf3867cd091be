/* frames.c -- scanning a window of the WAL.
 *
 *  (1) EACH FRAME IS CHECKED against the running checksum, and the last one
 *      against the wal-index: what is taken is what SQLite committed. (tests:
 *      step_captures_committed_frames, damaged_frame_is_a_gap)
 *  (2) ZERO SALTS ARE COMMITS TOO, at or below mxFrame: a bug of SQLite leaves
 *      salts and checksums out (design 3.2). The sum goes on from (0, 0), the
 *      next stored one is believed, and at the end the index's own. Such a
 *      frame is never the end of a bounded window. (test: zero_salt_frames)
 *  (3) A COMMIT THAT SHRINKS drops what was collected above its size: a later
 *      regrowth brings its own frames. (test: shrink_and_grow_in_one_window)
 *  (4) Memory: 16 bytes a frame at most, less when pages repeat (duplicates go
 *      when the array is full), and one buffer. The buffer is kept when the
 *      window fits, so that a small step reads the WAL once.
 * Not here: which window, and what becomes of it (capture.c, position.c). */
#include "capture/internal.h"

#include "base/sys.h"
#include "format/crc64.h"

#include <stdlib.h>

enum { BUF_MAX = 1 << 20, FIRST_CAP = 256 };

static size_t
frame_size(uint32_t page_size)
{
	return LS_WAL_FRAME_HEADER + (size_t)page_size;
}

enum ls_rc
ls_wal_read_header(int fd, struct ls_wal_header *h, struct ls_err *e)
{
	uint8_t b[LS_WAL_HEADER];
	enum ls_rc rc = ls_pread_all(fd, b, sizeof b, 0, e);

	if (rc == LS_OK)
		rc = ls_wal_header_decode(LS_SPAN(b, sizeof b), h, e);
	return rc == LS_ESHORT || rc == LS_ECORRUPT ? LS_EAGAIN : rc;
}

enum ls_rc
ls_wal_read_frame(int fd, uint32_t page_size, uint32_t frame,
    struct ls_wal_frame *f, struct ls_err *e)
{
	uint8_t b[LS_WAL_FRAME_HEADER];
	enum ls_rc rc =
	    ls_pread_all(fd, b, sizeof b, ls_wal_size(page_size, frame - 1), e);

	if (rc == LS_OK)
		ls_wal_frame_decode(b, f);
	return rc;
}

static int
by_page(const void *a, const void *b)
{
	const struct ls_winner *x = a, *y = b;

	if (x->pgno != y->pgno)
		return x->pgno < y->pgno ? -1 : 1;
	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* Sort, keep the newest of each page. */
static void
squeeze(struct ls_frames *f)
{
	size_t k = 0;

	qsort(f->v, f->n, sizeof *f->v, by_page);
	for (size_t i = 0; i < f->n; i++) {
		if (i + 1 < f->n && f->v[i + 1].pgno == f->v[i].pgno)
			continue;
		f->v[k++] = f->v[i];
	}
	f->n = k;
}

static enum ls_rc
push(struct ls_frames *f, uint32_t pgno, uint32_t frame, uint64_t sum,
    struct ls_err *e)
{
	struct ls_winner *p;
	size_t cap;

	if (f->n < f->cap) {
		f->v[f->n++] = (struct ls_winner){ pgno, frame, sum };
		return LS_OK;
	}
	if (f->n > 0)
		squeeze(f); /* (4) */
	if (f->n >= f->cap - f->cap / 4) {
		cap = f->cap ? f->cap * 2 : FIRST_CAP;
		if ((p = ls_realloc(f->v, cap * sizeof *p)) == NULL)
			return ls_err_nomem(e);
		f->v = p;
		f->cap = cap;
	}
	f->v[f->n++] = (struct ls_winner){ pgno, frame, sum };
	return LS_OK;
}

static void
drop_above(struct ls_frames *f, uint32_t commit)
{
	size_t k = 0;

	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].pgno <= commit)
			f->v[k++] = f->v[i];
	f->n = k;
}

static enum ls_rc
fill(struct ls_frames *f, int fd, uint32_t first, uint32_t n, struct ls_err *e)
{
	enum ls_rc rc;

	f->buf_n = 0;
	rc = ls_pread_all(fd, f->buf, n * frame_size(f->page_size),
	    ls_wal_size(f->page_size, first - 1), e);
	if (rc != LS_OK)
		return rc;
	f->buf_first = first;
	f->buf_n = n;
	return LS_OK;
}

struct scan { /* of one window, between frames */
	uint32_t sum[2];
	bool sure; /* sum is what the next frame must continue */
	bool stop;
};

static enum ls_rc
bad_frame(const char *what, uint32_t frame, struct ls_err *e)
{
	return ls_err_set(e, LS_EGAP, "WAL frame %u: %s", frame, what);
}

/* One frame at p, number n: check, collect, note a commit. */
static enum ls_rc
take_frame(struct ls_frames *f, const struct ls_window *w, struct scan *s,
    const uint8_t *p, uint32_t n, struct ls_err *e)
{
	static const uint8_t zeros[16];
	struct ls_wal_frame h;
	enum ls_rc rc;
	bool zero = memcmp(p + 8, zeros, sizeof zeros) == 0;

	ls_wal_frame_decode(p, &h);
	if (h.pgno == 0)
		return bad_frame("page number 0", n, e);
	if (!zero &&
	    (h.salt[0] != w->wal->salt[0] || h.salt[1] != w->wal->salt[1]))
		return bad_frame("salt of another generation", n, e);
	ls_wal_frame_checksum(w->wal->big_endian, p, p + LS_WAL_FRAME_HEADER,
	    f->page_size, s->sum);
	if (zero) { /* (2) */
		s->sum[0] = s->sum[1] = 0;
		s->sure = false;
		f->unsummed++;
	} else if (s->sure &&
		   (h.sum[0] != s->sum[0] || h.sum[1] != s->sum[1])) {
		return bad_frame("checksum does not fit", n, e);
	} else {
		s->sum[0] = h.sum[0];
		s->sum[1] = h.sum[1];
		s->sure = true;
	}
	if (w->collect) {
		struct ls_span page =
		    LS_SPAN(p + LS_WAL_FRAME_HEADER, f->page_size);
		rc = push(f, h.pgno, n, ls_page_checksum(h.pgno, page), e);
		if (rc != LS_OK)
			return rc;
	}
	if (h.commit == 0)
		return LS_OK;
	if (h.commit < f->commit)
		drop_above(f, h.commit); /* (3) */
	f->commit = h.commit;
	f->lowest = LS_MIN(f->lowest, h.commit);
	f->frame = n;
	f->sum[0] = s->sum[0];
	f->sum[1] = s->sum[1];
	s->stop =
	    w->max_bytes != 0 && s->sure &&
	    (uint64_t)(n - w->from) * frame_size(f->page_size) >= w->max_bytes;
	return LS_OK;
}

static enum ls_rc
scan_all(struct ls_frames *f, const struct ls_window *w, struct scan *s,
    uint32_t per, struct ls_err *e)
{
	uint32_t n = w->from;
	enum ls_rc rc;

	while (n < w->to && !s->stop) {
		uint32_t k = LS_MIN(per, w->to - n);
		if ((rc = fill(f, w->fd, n + 1, k, e)) != LS_OK)
			return rc == LS_ESHORT
				   ? bad_frame("not in the file", n + 1, e)
				   : rc;
		for (uint32_t i = 0; i < k && !s->stop; i++) {
			n++;
			rc = take_frame(f, w, s,
			    f->buf + i * frame_size(f->page_size), n, e);
			if (rc != LS_OK)
				return rc;
		}
	}
	return LS_OK;
}

enum ls_rc
ls_frames_scan(struct ls_frames *f, const struct ls_window *w, struct ls_err *e)
{
	struct scan s = { { w->sum[0], w->sum[1] }, true, false };
	size_t fs = frame_size(w->wal->page_size);
	uint32_t per = (uint32_t)LS_MAX(BUF_MAX / fs, (size_t)1);
	enum ls_rc rc;

	*f = (struct ls_frames){
		.page_size = w->wal->page_size,
		.frame = w->from,
		.sum = { w->sum[0], w->sum[1] },
		.commit = w->commit,
		.lowest = w->commit,
	};
	if (w->to <= w->from)
		return LS_OK;
	per = LS_MIN(per, w->to - w->from);
	f->buf_size = per * fs;
	if ((f->buf = ls_alloc(f->buf_size)) == NULL)
		return ls_err_nomem(e);
	if ((rc = scan_all(f, w, &s, per, e)) != LS_OK)
		return rc;
	if (!s.stop && f->frame != w->to)
		return bad_frame("the last one is no commit", w->to, e);
	if (f->frame == w->to && w->has_end_sum) {
		if (s.sure &&
		    (s.sum[0] != w->end_sum[0] || s.sum[1] != w->end_sum[1]))
			return bad_frame(
			    "not the wal-index's checksum", w->to, e);
		f->sum[0] = w->end_sum[0];
		f->sum[1] = w->end_sum[1];
	}
	squeeze(f);
	drop_above(f, f->commit);
	return LS_OK;
}

enum ls_rc
ls_frames_page(struct ls_frames *f, int fd, uint32_t frame,
    const uint8_t **page, struct ls_err *e)
{
	size_t fs = frame_size(f->page_size);
	enum ls_rc rc;

	if (frame < f->buf_first || frame - f->buf_first >= f->buf_n)
		if ((rc = fill(f, fd, frame, 1, e)) != LS_OK)
			return rc;
	*page = f->buf + (frame - f->buf_first) * fs + LS_WAL_FRAME_HEADER;
	return LS_OK;
}

void
ls_frames_fini(struct ls_frames *f)
{
	ls_free(f->v);
	ls_free(f->buf);
	*f = (struct ls_frames){ .v = NULL };
}

bool
ls_winners_complete(const struct ls_winner *v, size_t n, uint32_t lowest,
    uint32_t commit, uint32_t page_size)
{
	uint32_t lock = ls_lock_pgno(page_size);
	uint64_t want = commit > lowest ? commit - lowest : 0, have = 0;

	if (commit > lowest && lock > lowest && lock <= commit)
		want--;
	for (size_t i = 0; i < n; i++)
		have += v[i].pgno > lowest && v[i].pgno <= commit &&
			v[i].pgno != lock;
	return have == want;
}
