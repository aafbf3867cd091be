/* ltx_write.c -- the streaming writer of LTX files. See ltx.h.
 *
 *  (1) NOTHING THAT A READER REFUSES IS WRITTEN. Order, range, lock page,
 *      header rules and the snapshot rule are checked before a byte of the
 *      page leaves. (test: writer_refuses)
 *  (2) ONE COPY. Pages are compressed straight into the output buffer, whose
 *      room for a worst-case frame is made before.
 *  (3) AFTER AN ERROR THE FILE IS DEAD. Every later call for it fails until
 *      the next begin, so that a caller who forgot to look cannot end it.
 *      (test: writer_dead_after_error)
 *  (4) THE INDEX IS KEPT AS DIFFERENCES (pgno - last, frame size), about 3
 *      bytes a page, and expanded at the end: offsets follow from sizes.
 * Not here: where the bytes go; making a file durable (the sink's). */
#include "base/bytes.h"
#include "base/sys.h"
#include "format/crc64.h"
#include "format/frame.h"

#include <lz4.h>

enum {
	OUT_CAP = LS_LTX_FRAME_MAX,
	DELTA_MAX = 8, /* pgno difference 5, frame size 3 */
};

/* More pages than a database can have. */
static const size_t deltas_max = (size_t)DELTA_MAX << 32;

struct ls_ltx_writer {
	ls_sink *sink;
	void *arg;
	void *lz4;	      /* LZ4's state, used again for each page */
	struct ls_zenc *zenc; /* of a zstd file, else NULL */
	struct ls_zdict *z;   /* borrowed from zenc */
	bool alive;
	struct ls_ltx_header h;
	uint32_t last; /* pgno of the last page */
	uint32_t lock;
	struct ls_complete complete;
	uint64_t off; /* in the file, of what comes next */
	uint64_t crc;
	struct ls_buf deltas;
	size_t n; /* bytes in out */
	uint8_t out[OUT_CAP];
};

enum ls_rc
ls_ltx_writer_new(
    ls_sink *sink, void *arg, struct ls_ltx_writer **out, struct ls_err *e)
{
	struct ls_ltx_writer *w = ls_alloc(sizeof *w);
	void *lz4 = ls_alloc((size_t)LZ4_sizeofState());

	if (w == NULL || lz4 == NULL) {
		ls_free(w);
		ls_free(lz4);
		return ls_err_nomem(e);
	}
	w->sink = sink;
	w->arg = arg;
	w->lz4 = lz4;
	w->zenc = NULL;
	w->z = NULL;
	w->alive = false;
	w->n = 0;
	ls_buf_init(&w->deltas, deltas_max);
	*out = w;
	return LS_OK;
}

void
ls_ltx_writer_free(struct ls_ltx_writer *w)
{
	if (w == NULL)
		return;
	ls_buf_free(&w->deltas);
	ls_zenc_free(w->zenc);
	ls_free(w->lz4);
	ls_free(w);
}

static enum ls_rc
flush(struct ls_ltx_writer *w, struct ls_err *e)
{
	size_t n = w->n;

	w->n = 0;
	return n == 0 ? LS_OK : w->sink(w->arg, LS_SPAN(w->out, n), e);
}

/* Make room for n more bytes (n <= OUT_CAP). */
static enum ls_rc
room(struct ls_ltx_writer *w, size_t n, struct ls_err *e)
{
	return OUT_CAP - w->n >= n ? LS_OK : flush(w, e);
}

/* Count n bytes that lie at the end of out as written. */
static void
advance(struct ls_ltx_writer *w, size_t n)
{
	w->n += n;
	w->off += n;
}

/* Choose how pages are compressed. */
static enum ls_rc
set_codec(struct ls_ltx_writer *w, struct ls_zdict *z, struct ls_err *e)
{
	ls_zenc_free(w->zenc);
	w->zenc = NULL;
	w->z = z;
	return z == NULL ? LS_OK : ls_zenc_new(z, &w->zenc, e);
}

/* The last n bytes of out are final: sum and count them. */
static void
add_summed(struct ls_ltx_writer *w, size_t n)
{
	w->crc = ls_crc64(w->crc, w->out + w->n, n);
	advance(w, n);
}

static void
add_zblock(struct ls_ltx_writer *w)
{
	struct ls_span dict = ls_zdict_bytes(w->z);

	ls_zblock_head(w->z, w->out + w->n);
	if (dict.n > 0)
		memcpy(w->out + w->n + LS_ZBLOCK_HEAD, dict.p, dict.n);
	add_summed(w, LS_ZBLOCK_HEAD + dict.n);
}

enum ls_rc
ls_ltx_writer_begin(struct ls_ltx_writer *w, const struct ls_ltx_header *h,
    struct ls_zdict *z, struct ls_err *e)
{
	enum ls_rc rc;

	w->alive = false;
	if (h->flags != LS_LTX_NO_CHECKSUM)
		return ls_err_set(e, LS_EINVALID,
		    "LTX files are written without checksums only");
	if (h->commit == 0)
		return ls_err_set(e, LS_EINVALID,
		    "an LTX file of an empty database is never written");
	if ((rc = ls_ltx_header_check(h, e)) != LS_OK ||
	    (rc = set_codec(w, z, e)) != LS_OK)
		return rc;
	w->h = *h;
	w->h.flags |= z == NULL ? 0 : LS_LTX_ZSTD;
	w->last = 0;
	w->lock = ls_lock_pgno(h->page_size);
	ls_complete_init(&w->complete, h->min_txid == 1 ? 0 : h->commit,
	    h->commit, h->page_size);
	w->off = 0;
	w->n = 0;
	ls_buf_clear(&w->deltas);
	w->crc = 0;
	ls_ltx_header_encode(&w->h, w->out);
	add_summed(w, LS_LTX_HEADER);
	if (z != NULL)
		add_zblock(w);
	w->alive = true;
	return LS_OK;
}

static enum ls_rc
check_page(struct ls_ltx_writer *w, uint32_t pgno, struct ls_err *e)
{
	if (!w->alive)
		return ls_err_set(e, LS_EINVALID,
		    "LTX writer: no file is open, or it failed before");
	w->alive = false; /* until the page is in */
	if (pgno <= w->last)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u comes after page %u: not in order", pgno, w->last);
	if (pgno > w->h.commit)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u is behind the end of the database (%u pages)",
		    pgno, w->h.commit);
	if (pgno == w->lock)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u is the lock page, which is never stored", pgno);
	return ls_complete_page(&w->complete, pgno, e);
}

/* The frame's body lies behind its framing at out + n: sign and count it. */
static enum ls_rc
add_frame(struct ls_ltx_writer *w, uint32_t pgno, size_t body,
    const uint8_t *data, struct ls_err *e)
{
	uint8_t *p = w->out + w->n;
	size_t size = LS_FRAME_SIZED + body;
	struct ls_buf *d = &w->deltas;
	enum ls_rc rc;

	ls_put_be32(p, pgno);
	ls_put_be16(p + 4, w->z ? LS_LTX_PAGE_ZSTD : LS_LTX_PAGE_SIZED);
	ls_put_be32(p + LS_LTX_PAGE_HEADER, (uint32_t)body);
	if ((rc = ls_buf_reserve(d, DELTA_MAX, e)) != LS_OK)
		return rc;
	d->n += ls_uvarint_put(d->p + d->n, pgno - w->last);
	d->n += ls_uvarint_put(d->p + d->n, size);
	w->crc = ls_crc64(w->crc, p, LS_FRAME_SIZED);
	w->crc = ls_crc64(w->crc, data, w->h.page_size);
	w->last = pgno;
	advance(w, size);
	w->alive = true;
	return LS_OK;
}

enum ls_rc
ls_ltx_writer_page(struct ls_ltx_writer *w, uint32_t pgno, const uint8_t *data,
    struct ls_err *e)
{
	size_t bound, size = 0;
	uint8_t *to;
	enum ls_rc rc;
	int n;

	if ((rc = check_page(w, pgno, e)) != LS_OK)
		return rc;
	bound = ls_frame_bound(w->h.page_size, w->z);
	if ((rc = room(w, LS_FRAME_SIZED + bound, e)) != LS_OK)
		return rc;
	to = w->out + w->n + LS_FRAME_SIZED;
	if (w->z != NULL) {
		rc = ls_zenc_page(w->zenc, data, w->h.page_size, to, &size, e);
		return rc != LS_OK ? rc : add_frame(w, pgno, size, data, e);
	}
	n = LZ4_compress_fast_extState(w->lz4, (const char *)data, (char *)to,
	    (int)w->h.page_size, (int)bound, 1);
	if (n <= 0) /* cannot be: the room is LZ4's own bound */
		return ls_err_set(e, LS_EINVALID, "compress page %u", pgno);
	return add_frame(w, pgno, (size_t)n, data, e);
}

enum ls_rc
ls_ltx_writer_frame(struct ls_ltx_writer *w, uint32_t pgno,
    struct ls_span frame, const uint8_t *data, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = check_page(w, pgno, e)) != LS_OK)
		return rc;
	if (frame.n == 0 || frame.n > ls_frame_bound(w->h.page_size, w->z))
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u: impossible compressed size %zu", pgno, frame.n);
	if ((rc = room(w, LS_FRAME_SIZED + frame.n, e)) != LS_OK)
		return rc;
	memcpy(w->out + w->n + LS_FRAME_SIZED, frame.p, frame.n);
	return add_frame(w, pgno, frame.n, data, e);
}

static enum ls_rc
write_index(struct ls_ltx_writer *w, struct ls_err *e)
{
	const uint8_t *p = w->deltas.p, *end = p;
	uint64_t at = ls_frame_first(w->z), pgno = 0, step, size;
	uint64_t start = w->off;
	enum ls_rc rc;

	if (p != NULL)
		end += w->deltas.n;
	while (p < end) {
		uint8_t *q;
		size_t n;

		p += ls_uvarint_get(p, end, &step);
		p += ls_uvarint_get(p, end, &size);
		if ((rc = room(w, LS_ENTRY_MAX, e)) != LS_OK)
			return rc;
		q = w->out + w->n;
		pgno += step;
		n = ls_uvarint_put(q, pgno);
		n += ls_uvarint_put(q + n, at);
		n += ls_uvarint_put(q + n, size);
		at += size;
		add_summed(w, n);
	}
	if ((rc = room(w, 1 + 8, e)) != LS_OK)
		return rc;
	w->out[w->n] = 0;
	ls_put_be64(w->out + w->n + 1, w->off + 1 - start);
	add_summed(w, 1 + 8);
	return LS_OK;
}

enum ls_rc
ls_ltx_writer_end(struct ls_ltx_writer *w, uint64_t *size, struct ls_err *e)
{
	enum ls_rc rc;

	if (!w->alive)
		return ls_err_set(e, LS_EINVALID,
		    "LTX writer: no file is open, or it failed before");
	w->alive = false;
	if ((rc = ls_complete_end(&w->complete, e)) != LS_OK ||
	    (rc = room(w, LS_LTX_PAGE_HEADER, e)) != LS_OK)
		return rc;
	memset(w->out + w->n, 0, LS_LTX_PAGE_HEADER);
	add_summed(w, LS_LTX_PAGE_HEADER);
	if ((rc = write_index(w, e)) != LS_OK ||
	    (rc = room(w, LS_LTX_TRAILER, e)) != LS_OK)
		return rc;
	memset(w->out + w->n, 0, 8); /* post-apply: none */
	add_summed(w, 8);
	ls_put_be64(w->out + w->n, LS_CHECKSUM_FLAG | w->crc);
	advance(w, 8);
	if ((rc = flush(w, e)) != LS_OK)
		return rc;
	if (size != NULL)
		*size = w->off;
	return LS_OK;
}
