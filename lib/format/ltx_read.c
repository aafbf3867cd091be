/* ltx_read.c -- reading LTX files as a stream. See ltx.h.
 *
 *  (1) EVERY BYTE IS COVERED. The file checksum covers all but the compressed
 *      form of pages, which is covered by what it decodes to. A file that
 *      verifies holds the pages that were written. (test: every_bit_flip)
 *  (2) THE INDEX IS TRUE. The index that the frames call for is encoded as they
 *      pass and only its CRC and length are kept; at the end both must be the
 *      stored index's. Memory does not grow with pages.
 *      (test: index_lies_with_good_checksum)
 *  (3) BOUNDED. The buffer holds the largest frame of this page size and
 *      nothing in the file makes it grow.
 *  (4) A SNAPSHOT IS WHOLE. min_txid 1 means every page of 1..commit is there,
 *      and where the file states the database's checksum it is checked.
 * Not here: reading by ranges (ltx_index.c). */
#include "base/bytes.h"
#include "base/sys.h"
#include "format/crc64.h"
#include "format/frame.h"

#include <assert.h>

enum {
	READ_AHEAD = 32 << 10,
	BATCH = 1024, /* of index bytes */
};

/* Buffered input: `at` is how far it is used, `off` where that is in the file.
 */
struct input {
	ls_source *src;
	void *arg;
	uint8_t *p;
	size_t at, n, cap;
	uint64_t off;
};

/* The index that the frames call for. */
struct expected {
	uint64_t crc, bytes;
	size_t n;
	uint8_t batch[BATCH];
};

enum state { PAGES, TAIL, DONE, DEAD };

struct ls_ltx_reader {
	struct input in;
	struct ls_ltx_header h;
	enum state state;
	uint32_t last, lock;
	struct ls_complete complete;
	uint64_t crc;
	bool sum_pages; /* of a snapshot, to compare with what it states */
	uint64_t pages_sum;
	struct ls_zdict *z; /* of a zstd file, else NULL */
	struct expected index;
	uint8_t *page;
};

/* ---- input ---------------------------------------------------------------*/

static enum ls_rc
cut_off(const struct input *in, struct ls_err *e)
{
	return ls_err_set(e, LS_ESHORT,
	    "LTX file ends at byte %llu, in the middle",
	    (unsigned long long)(in->off + (in->n - in->at)));
}

/* Make at least n bytes (n <= cap) lie at p + at. */
static enum ls_rc
need(struct input *in, size_t n, struct ls_err *e)
{
	assert(n <= in->cap);
	if (in->n - in->at >= n)
		return LS_OK;
	if (in->cap - in->at < n) {
		memmove(in->p, in->p + in->at, in->n - in->at);
		in->n -= in->at;
		in->at = 0;
	}
	while (in->n - in->at < n) {
		size_t got = 0;
		enum ls_rc rc =
		    in->src(in->arg, in->p + in->n, in->cap - in->n, &got, e);

		if (rc != LS_OK)
			return rc;
		if (got == 0)
			return cut_off(in, e);
		assert(got <= in->cap - in->n);
		in->n += got;
	}
	return LS_OK;
}

static void
use(struct input *in, size_t n)
{
	in->at += n;
	in->off += n;
}

/* Nothing may follow. */
static enum ls_rc
need_end(struct input *in, struct ls_err *e)
{
	uint8_t byte;
	size_t got = in->n - in->at;
	enum ls_rc rc;

	if (got == 0 && (rc = in->src(in->arg, &byte, 1, &got, e)) != LS_OK)
		return rc;
	if (got != 0)
		return ls_err_set(e, LS_ECORRUPT,
		    "LTX file goes on after its end at byte %llu",
		    (unsigned long long)in->off);
	return LS_OK;
}

/* Read the header and make the buffer. On error nothing is left to free. */
static enum ls_rc
input_open(struct input *in, ls_source *src, void *arg,
    uint8_t head[static LS_LTX_HEADER], struct ls_ltx_header *h,
    struct ls_err *e)
{
	enum ls_rc rc;

	*in = (struct input){
		.src = src, .arg = arg, .p = head, .cap = LS_LTX_HEADER
	};
	if ((rc = need(in, LS_LTX_HEADER, e)) != LS_OK ||
	    (rc = ls_ltx_header_decode(LS_SPAN(head, LS_LTX_HEADER), h, e)) !=
		LS_OK)
		return rc;
	/* Room for the largest frame, a legacy one too. */
	in->cap =
	    ls_frame_bound(h->page_size, NULL) + LS_FRAME_EXTRA + READ_AHEAD;
	in->p = ls_alloc(in->cap);
	in->at = in->n = 0;
	in->off = LS_LTX_HEADER;
	return in->p == NULL ? ls_err_nomem(e) : LS_OK;
}

/* The dictionary of a zstd file lies next: *z, else NULL. crc (may be NULL):
 * continued over it. */
static enum ls_rc
input_dict(struct input *in, const struct ls_ltx_header *h, uint64_t *crc,
    struct ls_zdict **z, struct ls_err *e)
{
	size_t n;
	enum ls_rc rc;

	*z = NULL;
	if (!(h->flags & LS_LTX_ZSTD))
		return LS_OK;
	if ((rc = need(in, LS_ZBLOCK_HEAD, e)) != LS_OK ||
	    (rc = ls_zblock_extent(in->p + in->at, &n, e)) != LS_OK ||
	    (rc = need(in, n, e)) != LS_OK ||
	    (rc = ls_zblock_decode(LS_SPAN(in->p + in->at, n), z, e)) != LS_OK)
		return rc;
	if (crc != NULL)
		*crc = ls_crc64(*crc, in->p + in->at, n);
	use(in, n);
	return LS_OK;
}

/* ---- the next frame --------------------------------------------------------
 * What both the reader and the scan see: number, flags, framing and body lie in
 * the buffer, unused. pgno 0: the terminator. */
struct frame {
	uint32_t pgno;
	uint16_t flags;
	size_t framing, body;
};

static enum ls_rc
legacy_body(
    struct input *in, uint32_t page_size, size_t *body, struct ls_err *e)
{
	struct ls_span have;
	size_t want = 5, framing = LS_LTX_PAGE_HEADER;
	enum ls_rc rc;

	do {
		if ((rc = need(in, framing + want, e)) != LS_OK)
			return rc;
		have =
		    LS_SPAN(in->p + in->at + framing, in->n - in->at - framing);
		rc = ls_frame_legacy_extent(have, page_size, &want, e);
		if (rc != LS_OK)
			return rc;
	} while (want > have.n);
	*body = want;
	return LS_OK;
}

static enum ls_rc
frame_here(struct input *in, const struct ls_zdict *z, uint32_t page_size,
    struct frame *f, struct ls_err *e)
{
	const uint32_t sized = z ? LS_LTX_PAGE_ZSTD : LS_LTX_PAGE_SIZED;
	const uint8_t *p;
	enum ls_rc rc;

	if ((rc = need(in, LS_LTX_PAGE_HEADER, e)) != LS_OK)
		return rc;
	p = in->p + in->at;
	f->pgno = ls_be32(p);
	f->flags = ls_be16(p + 4);
	f->framing = LS_LTX_PAGE_HEADER;
	f->body = 0;
	if (f->pgno == 0 && f->flags == 0)
		return LS_OK;
	if (f->pgno == 0 || (f->flags != sized && (f->flags != 0 || z != NULL)))
		return ls_err_set(e, LS_ECORRUPT,
		    "invalid page header at byte %llu: page %u, flags 0x%x",
		    (unsigned long long)in->off, f->pgno, f->flags);
	if (f->flags == 0)
		return legacy_body(in, page_size, &f->body, e);
	f->framing = LS_FRAME_SIZED;
	if ((rc = need(in, LS_FRAME_SIZED, e)) != LS_OK)
		return rc;
	f->body = ls_be32(in->p + in->at + LS_LTX_PAGE_HEADER);
	if (f->body == 0 || f->body > ls_frame_bound(page_size, z))
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u: impossible compressed size %zu", f->pgno,
		    f->body);
	return need(in, LS_FRAME_SIZED + f->body, e);
}

static enum ls_rc
check_order(const struct ls_ltx_header *h, uint32_t last, uint32_t pgno,
    struct ls_err *e)
{
	if (pgno <= last)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u comes after page %u: not in order", pgno, last);
	if (pgno > h->commit)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u is behind the end of the database (%u pages)",
		    pgno, h->commit);
	if (pgno == ls_lock_pgno(h->page_size))
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u is the lock page, which is never stored", pgno);
	return LS_OK;
}

/* ---- the reader -----------------------------------------------------------*/

enum ls_rc
ls_ltx_reader_open(
    ls_source *src, void *arg, struct ls_ltx_reader **out, struct ls_err *e)
{
	struct ls_ltx_reader *r = ls_alloc(sizeof *r);
	uint8_t head[LS_LTX_HEADER];
	enum ls_rc rc;

	if (r == NULL)
		return ls_err_nomem(e);
	rc = input_open(&r->in, src, arg, head, &r->h, e);
	if (rc != LS_OK) {
		ls_free(r);
		return rc;
	}
	r->crc = ls_crc64(0, head, sizeof head);
	rc = input_dict(&r->in, &r->h, &r->crc, &r->z, e);
	r->page = ls_alloc(r->h.page_size);
	if (rc == LS_OK && r->page == NULL)
		rc = ls_err_nomem(e);
	if (rc != LS_OK) {
		ls_ltx_reader_free(r);
		return rc;
	}
	r->state = PAGES;
	r->last = 0;
	ls_complete_init(&r->complete, r->h.min_txid == 1 ? 0 : r->h.commit,
	    r->h.commit, r->h.page_size);
	r->sum_pages =
	    r->h.min_txid == 1 &&
	    (r->h.has_db_checksum || !(r->h.flags & LS_LTX_NO_CHECKSUM));
	r->pages_sum = 0;
	r->index.crc = r->index.bytes = 0;
	r->index.n = 0;
	*out = r;
	return LS_OK;
}

void
ls_ltx_reader_free(struct ls_ltx_reader *r)
{
	if (r == NULL)
		return;
	ls_zdict_unref(r->z);
	ls_free(r->in.p);
	ls_free(r->page);
	ls_free(r);
}

const struct ls_ltx_header *
ls_ltx_reader_header(const struct ls_ltx_reader *r)
{
	return &r->h;
}

struct ls_zdict *
ls_ltx_reader_dict(const struct ls_ltx_reader *r)
{
	return r->z;
}

static void
expect_flush(struct expected *x)
{
	x->crc = ls_crc64(x->crc, x->batch, x->n);
	x->bytes += x->n;
	x->n = 0;
}

static void
expect_entry(struct expected *x, uint32_t pgno, uint64_t off, size_t size)
{
	if (BATCH - x->n < LS_ENTRY_MAX)
		expect_flush(x);
	x->n += ls_uvarint_put(x->batch + x->n, pgno);
	x->n += ls_uvarint_put(x->batch + x->n, off);
	x->n += ls_uvarint_put(x->batch + x->n, size);
}

/* The end marker and the count, which close the index. */
static void
expect_end(struct expected *x)
{
	expect_flush(x);
	x->batch[0] = 0;
	ls_put_be64(x->batch + 1, x->bytes + 1);
	x->n = 1 + 8;
	expect_flush(x);
}

static enum ls_rc
decode(struct ls_ltx_reader *r, const struct frame *f, struct ls_err *e)
{
	struct ls_span body = LS_SPAN(r->in.p + r->in.at + f->framing, f->body);

	if (r->z != NULL)
		return ls_zdict_decode(
		    r->z, body, f->pgno, r->h.page_size, r->page, e);
	if (f->flags & LS_LTX_PAGE_SIZED)
		return ls_frame_block(
		    body, f->pgno, r->h.page_size, r->page, e);
	return ls_frame_legacy(body, f->pgno, r->h.page_size, r->page, e);
}

static enum ls_rc
next_page(struct ls_ltx_reader *r, const struct frame *f,
    struct ls_ltx_page *pg, struct ls_err *e)
{
	const uint8_t *p = r->in.p + r->in.at;
	size_t size = f->framing + f->body;
	enum ls_rc rc;

	if ((rc = check_order(&r->h, r->last, f->pgno, e)) != LS_OK ||
	    (rc = ls_complete_page(&r->complete, f->pgno, e)) != LS_OK ||
	    (rc = decode(r, f, e)) != LS_OK)
		return rc;
	r->crc = ls_crc64(r->crc, p, f->framing);
	r->crc = ls_crc64(r->crc, r->page, r->h.page_size);
	if (r->sum_pages)
		r->pages_sum ^=
		    ls_page_checksum(f->pgno, LS_SPAN(r->page, r->h.page_size));
	expect_entry(&r->index, f->pgno, r->in.off, size);
	r->last = f->pgno;
	*pg = (struct ls_ltx_page){
		.pgno = f->pgno,
		.flags = f->flags,
		.offset = r->in.off,
		.frame = LS_SPAN(p + f->framing, f->body),
		.data = r->page,
	};
	use(&r->in, size);
	return LS_OK;
}

static enum ls_rc
last_page(struct ls_ltx_reader *r, struct ls_err *e)
{
	enum ls_rc rc = ls_complete_end(&r->complete, e);

	if (rc != LS_OK)
		return rc;
	r->crc = ls_crc64(r->crc, r->in.p + r->in.at, LS_LTX_PAGE_HEADER);
	use(&r->in, LS_LTX_PAGE_HEADER);
	expect_end(&r->index);
	r->state = TAIL;
	return LS_OK;
}

static enum ls_rc
dead(struct ls_err *e)
{
	return ls_err_set(
	    e, LS_EINVALID, "LTX reader: not in order, or it failed before");
}

enum ls_rc
ls_ltx_reader_next(
    struct ls_ltx_reader *r, struct ls_ltx_page *pg, struct ls_err *e)
{
	struct frame f;
	enum ls_rc rc;

	if (r->state == TAIL)
		return LS_ENOTFOUND;
	if (r->state != PAGES)
		return dead(e);
	r->state = DEAD; /* unless all goes well */
	if ((rc = frame_here(&r->in, r->z, r->h.page_size, &f, e)) != LS_OK)
		return rc;
	if (f.pgno == 0)
		return (rc = last_page(r, e)) != LS_OK ? rc : LS_ENOTFOUND;
	if ((rc = next_page(r, &f, pg, e)) != LS_OK)
		return rc;
	r->state = PAGES;
	return LS_OK;
}

bool
ls_ltx_reader_at_end(const struct ls_ltx_reader *r)
{
	return r->state == TAIL || r->state == DONE;
}

/* The stored index must be the one that the frames call for. */
static enum ls_rc
read_index(struct ls_ltx_reader *r, struct ls_err *e)
{
	uint64_t left = r->index.bytes, crc = 0;
	enum ls_rc rc;

	while (left > 0) {
		const uint8_t *p;
		size_t n;

		if ((rc = need(&r->in, 1, e)) != LS_OK)
			return rc;
		p = r->in.p + r->in.at;
		n = (size_t)LS_MIN(left, r->in.n - r->in.at);
		crc = ls_crc64(crc, p, n);
		r->crc = ls_crc64(r->crc, p, n);
		use(&r->in, n);
		left -= n;
	}
	if (crc != r->index.crc)
		return ls_err_set(
		    e, LS_ECORRUPT, "page index does not match the pages");
	return LS_OK;
}

static enum ls_rc
check_post_apply(const struct ls_ltx_reader *r, uint64_t post, struct ls_err *e)
{
	uint64_t sum = LS_CHECKSUM_FLAG | r->pages_sum;
	bool none = r->h.flags & LS_LTX_NO_CHECKSUM;

	if (none ? post != 0 : !(post & LS_CHECKSUM_FLAG))
		return ls_err_set(e, LS_ECORRUPT,
		    "invalid post-apply checksum in LTX trailer");
	if (!none && r->h.commit == 0 && post != LS_CHECKSUM_FLAG)
		return ls_err_set(
		    e, LS_ECORRUPT, "post-apply checksum of an empty database");
	if (!none && r->sum_pages && post != sum)
		return ls_err_set(
		    e, LS_ECORRUPT, "post-apply checksum mismatch");
	if (r->sum_pages && r->h.has_db_checksum &&
	    (r->h.db_checksum | LS_CHECKSUM_FLAG) != sum)
		return ls_err_set(e, LS_ECORRUPT, "database checksum mismatch");
	return LS_OK;
}

enum ls_rc
ls_ltx_reader_finish(struct ls_ltx_reader *r, struct ls_err *e)
{
	uint64_t post, sum;
	enum ls_rc rc;

	if (r->state == DONE)
		return LS_OK;
	if (r->state != TAIL)
		return dead(e);
	r->state = DEAD;
	if ((rc = read_index(r, e)) != LS_OK ||
	    (rc = need(&r->in, LS_LTX_TRAILER, e)) != LS_OK)
		return rc;
	ls_ltx_trailer_decode(r->in.p + r->in.at, &post, &sum);
	r->crc = ls_crc64(r->crc, r->in.p + r->in.at, 8);
	use(&r->in, LS_LTX_TRAILER);
	if (sum != (LS_CHECKSUM_FLAG | r->crc))
		return ls_err_set(e, LS_ECORRUPT, "file checksum mismatch");
	if ((rc = check_post_apply(r, post, e)) != LS_OK ||
	    (rc = need_end(&r->in, e)) != LS_OK)
		return rc;
	r->state = DONE;
	return LS_OK;
}

enum ls_rc
ls_ltx_verify(
    ls_source *src, void *arg, struct ls_ltx_header *h, struct ls_err *e)
{
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	enum ls_rc rc;

	if ((rc = ls_ltx_reader_open(src, arg, &r, e)) != LS_OK)
		return rc;
	do
		rc = ls_ltx_reader_next(r, &pg, e);
	while (rc == LS_OK);
	if (rc == LS_ENOTFOUND && ls_ltx_reader_at_end(r))
		rc = ls_ltx_reader_finish(r, e);
	if (rc == LS_OK && h != NULL)
		*h = r->h;
	ls_ltx_reader_free(r);
	return rc;
}

/* ---- the scan -------------------------------------------------------------*/

static enum ls_rc
add_entry(struct ls_ltx_index *idx, size_t *cap, struct ls_ltx_entry entry,
    struct ls_err *e)
{
	if (idx->n == *cap) {
		size_t more = *cap == 0 ? 64 : *cap * 2;
		struct ls_ltx_entry *v = ls_realloc(idx->v, more * sizeof *v);

		if (v == NULL)
			return ls_err_nomem(e);
		idx->v = v;
		*cap = more;
	}
	idx->v[idx->n++] = entry;
	return LS_OK;
}

static enum ls_rc
scan_frames(struct input *in, const struct ls_ltx_header *h,
    const struct ls_zdict *z, struct ls_ltx_index *idx, struct ls_err *e)
{
	size_t cap = 0;
	uint32_t last = 0;

	for (;;) {
		struct frame f;
		size_t size;
		enum ls_rc rc;

		if ((rc = frame_here(in, z, h->page_size, &f, e)) != LS_OK)
			return rc;
		if (f.pgno == 0)
			return LS_OK;
		size = f.framing + f.body;
		if ((rc = check_order(h, last, f.pgno, e)) != LS_OK ||
		    (rc = add_entry(idx, &cap,
			 (struct ls_ltx_entry){
			     in->off, (uint32_t)size, f.pgno },
			 e)) != LS_OK)
			return rc;
		last = f.pgno;
		use(in, size);
	}
}

enum ls_rc
ls_ltx_scan(ls_source *src, void *arg, struct ls_ltx_header *h,
    struct ls_ltx_index *idx, struct ls_err *e)
{
	struct ls_ltx_index found = { NULL, 0 };
	struct ls_ltx_header head;
	uint8_t raw[LS_LTX_HEADER];
	struct ls_zdict *z;
	struct input in;
	enum ls_rc rc;

	if ((rc = input_open(&in, src, arg, raw, &head, e)) != LS_OK)
		return rc;
	if ((rc = input_dict(&in, &head, NULL, &z, e)) == LS_OK)
		rc = scan_frames(&in, &head, z, &found, e);
	ls_zdict_unref(z);
	ls_free(in.p);
	if (rc != LS_OK) {
		ls_ltx_index_fini(&found);
		return rc;
	}
	if (h != NULL)
		*h = head;
	*idx = found;
	return LS_OK;
}

enum ls_rc
ls_ltx_mem_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct ls_ltx_mem *m = arg;
	size_t left = m->span.n - m->at;

	(void)e;
	*got = LS_MIN(n, left);
	if (*got > 0)
		memcpy(buf, m->span.p + m->at, *got);
	m->at += *got;
	return LS_OK;
}
