/* chain.c -- open the files of a plan and find the newest version of each page.
 *
 * (1) INDEX FIRST. A file below 1 MiB is one GET; of a larger one its head and
 *     its last 64 KiB are read (and the index once more when it is longer).
 *     An index is only a hint to where the bytes are: every frame names its
 *     page, and decode.c checks the file's checksum. A damaged index is
 *     rebuilt by walking the frames, and the checksum then taken over the
 *     rebuilt one: if it fits, the pages are proven and nothing else was
 *     damaged. (test: damaged_index_is_rebuilt)
 * (2) NOTHING INCOMPLETE PASSES. A file that grows the database has every page
 *     that it grows by, and in the end every page but the lock page has a
 *     file; zeros are never made up. (test: incomplete_chain_is_refused)
 * (3) A SHRINK FORGETS, by (2): what was cut off cannot come back when the
 *     database grows again, since the file that grows it brings those pages.
 *     (test: restore_equals_model_at_every_txid)
 * (4) ONE HISTORY. A file whose lineage differs from the base's is foreign;
 *     lineage 0 is unknown and matches any. (test: other_lineage_is_left_out)
 * (5) A CHANGED PAGE SIZE BEGINS ANEW: the first file of the new size must
 *     hold every page, and what lies before it is dropped.
 *     (test: page_size_change)
 * (6) A DAMAGED FILE IS DONE WITHOUT where others hold the same state: an older
 *     full copy with what follows it, or the files that a merged one was made
 *     of. (test: damaged_file_is_done_without)
 *
 * Memory: 16 bytes a page of every file until the winners are known, then 4
 * bytes a page; small files up to LS_CHAIN_KEEP together.
 */
#include "replica/chain.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <stdatomic.h>

enum {
	HEAD = LS_LTX_HEADER + LS_LTX_PAGE_HEADER,
	SCAN_BLOCK = 1 << 20,
};

/* ---- ranges ---------------------------------------------------------------*/

enum ls_rc
ls_chain_get(struct ls_chain *ch, const struct ls_chain_file *cf, uint64_t off,
    uint64_t len, struct ls_buf *buf, struct ls_err *e)
{
	struct ls_get g = { .off = off, .len = len };
	enum ls_rc rc;

	g.if_match = cf->etag[0] != '\0' ? cf->etag : NULL;
	ls_buf_clear(buf);
	rc = ls_store_get(
	    ls_replica_store(ch->r), cf->key, &g, buf, NULL, ch->c, e);
	if (rc == LS_OK && buf->n != len)
		rc = ls_err_set(e, LS_ESHORT, "%s: %zu of %llu bytes at %llu",
		    cf->key, buf->n, (unsigned long long)len,
		    (unsigned long long)off);
	return rc;
}

void
ls_ranged_init(struct ls_ranged *s, struct ls_chain *ch,
    const struct ls_chain_file *cf, size_t block)
{
	*s = (struct ls_ranged){ .ch = ch, .cf = cf, .block = block };
	ls_buf_init(&s->buf, block);
}

void
ls_ranged_fini(struct ls_ranged *s)
{
	ls_buf_free(&s->buf);
}

enum ls_rc
ls_ranged_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct ls_ranged *s = arg;
	const struct ls_buf *b = s->cf->whole.n > 0 ? &s->cf->whole : &s->buf;
	enum ls_rc rc;

	if (b == &s->buf && s->used == b->n) {
		uint64_t len =
		    LS_MIN(s->cf->size - s->next, (uint64_t)s->block);

		*got = 0;
		if (len == 0)
			return LS_OK;
		rc = ls_chain_get(s->ch, s->cf, s->next, len, &s->buf, e);
		if (rc != LS_OK)
			return rc;
		s->next += len;
		s->used = 0;
	}
	*got = LS_MIN(n, b->n - s->used);
	if (*got > 0)
		memcpy(buf, b->p + s->used, *got);
	s->used += *got;
	return LS_OK;
}

/* ---- opening one file -----------------------------------------------------*/

static enum ls_rc
take_head(struct ls_chain_file *cf, const struct ls_buf *b, struct ls_err *e)
{
	enum ls_rc rc;

	if (b->n < HEAD)
		return ls_err_set(e, LS_ECORRUPT, "%s is only %llu bytes",
		    cf->key, (unsigned long long)cf->size);
	cf->head_crc = ls_crc64(0, b->p, LS_LTX_HEADER);
	rc = ls_ltx_header_decode(LS_SPAN(b->p, LS_LTX_HEADER), &cf->h, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "%s", cf->key);
	/* Legacy frames do not say how long they are. */
	cf->stream =
	    (cf->h.flags & LS_LTX_ZSTD) == 0 &&
	    (ls_be16(b->p + LS_LTX_HEADER + 4) & LS_LTX_PAGE_SIZED) == 0;
	ls_file_set_header(&cf->f, &cf->h);
	return ls_file_matches(&cf->f, &cf->h, cf->key, e);
}

/* The dictionary of a zstd file. b: what follows the header. */
static enum ls_rc
take_dict(struct ls_chain_file *cf, struct ls_span b, struct ls_err *e)
{
	size_t n = 0;
	enum ls_rc rc;

	if (b.n < LS_ZBLOCK_HEAD)
		return ls_err_set(
		    e, LS_ECORRUPT, "%s: dictionary is cut off", cf->key);
	if ((rc = ls_zblock_extent(b.p, &n, e)) == LS_OK && n > b.n)
		rc = ls_err_set(e, LS_ECORRUPT, "dictionary is cut off");
	if (rc == LS_OK)
		rc = ls_zblock_decode(LS_SPAN(b.p, n), &cf->z, e);
	if (rc == LS_OK)
		cf->head_crc = ls_crc64(cf->head_crc, b.p, n);
	return ls_err_wrap(e, rc, "%s", cf->key);
}

static enum ls_rc
scan(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_err *e)
{
	struct ls_ranged s;
	enum ls_rc rc;

	ls_ranged_init(&s, ch, cf, SCAN_BLOCK);
	rc = ls_ltx_scan(ls_ranged_source, &s, NULL, &cf->idx, e);
	ls_ranged_fini(&s);
	return ls_err_wrap(e, rc, "%s", cf->key);
}

/* Continue the tail's sum. */
static void
tail_add(struct ls_chain_file *cf, const void *p, size_t n)
{
	cf->tail_crc = ls_crc64(cf->tail_crc, p, n);
	cf->tail_len += n;
}

static void
tail_begin(struct ls_chain_file *cf)
{
	static const uint8_t zero[LS_LTX_PAGE_HEADER];

	cf->tail_crc = cf->tail_len = 0;
	tail_add(cf, zero, sizeof zero);
}

/* The last bytes of the file, which hold the whole index: decode it, and sum
 * what the file checksum covers behind the last frame. */
static enum ls_rc
take_tail(struct ls_chain_file *cf, struct ls_span tail, uint64_t extent,
    struct ls_err *e)
{
	uint64_t post;
	enum ls_rc rc;

	rc = ls_ltx_index_decode(
	    tail, cf->size, cf->h.commit, cf->z, &cf->idx, e);
	if (rc != LS_OK)
		return rc;
	tail_begin(cf);
	tail_add(cf, tail.p + (tail.n - (size_t)extent),
	    (size_t)extent - sizeof cf->checksum);
	ls_ltx_trailer_decode(
	    tail.p + tail.n - LS_LTX_TRAILER, &post, &cf->checksum);
	return LS_OK;
}

static size_t
uvarint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

/* Walk the frames for an index, and sum the tail as it must have been. trailer:
 * the last bytes of the file. */
static enum ls_rc
rebuild(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_span tail,
    struct ls_err *e)
{
	uint8_t b[32], trailer[LS_LTX_TRAILER] = { 0 };
	uint64_t post, bytes = 0;
	enum ls_rc rc;

	if (tail.n >= sizeof trailer)
		memcpy(
		    trailer, tail.p + tail.n - sizeof trailer, sizeof trailer);
	ls_ltx_trailer_decode(trailer, &post, &cf->checksum);
	if ((rc = scan(ch, cf, e)) != LS_OK)
		return rc;
	tail_begin(cf);
	for (size_t i = 0; i < cf->idx.n; i++) {
		const struct ls_ltx_entry *x = &cf->idx.v[i];
		size_t n = uvarint(b, x->pgno);

		n += uvarint(b + n, x->off);
		n += uvarint(b + n, x->size);
		tail_add(cf, b, n);
		bytes += n;
	}
	b[0] = 0;
	ls_put_be64(b + 1, bytes + 1);
	tail_add(cf, b, 9);
	tail_add(cf, trailer, sizeof trailer - sizeof cf->checksum);
	ls_warn("page index of a stored file is damaged, rebuilt",
	    LS_ATTRS(LS_S("file", cf->key)));
	return LS_OK;
}

/* tail: the last bytes that are at hand; used for more if they are too few. */
static enum ls_rc
read_index(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_buf *tail,
    struct ls_err *e)
{
	uint64_t extent;
	enum ls_rc rc;

	if (cf->stream)
		return scan(ch, cf, e);
	rc = ls_ltx_index_extent(ls_buf_span(tail), cf->size, &extent, e);
	if (rc == LS_OK && extent > tail->n) {
		tail->max = (size_t)extent;
		rc = ls_chain_get(ch, cf, cf->size - extent, extent, tail, e);
	}
	if (rc == LS_OK)
		rc = take_tail(cf, ls_buf_span(tail), extent, e);
	return rc == LS_ECORRUPT ? rebuild(ch, cf, ls_buf_span(tail), e) : rc;
}

static enum ls_rc
open_whole(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_err *e)
{
	struct ls_get g = { .off = 0 };
	struct ls_got got = { 0 };
	struct ls_buf b = LS_BUF_INIT(LS_CHAIN_SMALL);
	enum ls_rc rc;

	rc = ls_store_get(
	    ls_replica_store(ch->r), cf->key, &g, &b, &got, ch->c, e);
	if (rc == LS_OK) {
		cf->size = b.n;
		(void)memcpy(cf->etag, got.etag, sizeof cf->etag);
		rc = take_head(cf, &b, e);
	}
	if (rc == LS_OK && cf->h.flags & LS_LTX_ZSTD)
		rc = take_dict(
		    cf, LS_SPAN(b.p + LS_LTX_HEADER, b.n - LS_LTX_HEADER), e);
	if (rc == LS_OK &&
	    atomic_fetch_add(&ch->kept, b.cap) + b.cap <= LS_CHAIN_KEEP) {
		cf->whole = b;
		return read_index(ch, cf, &cf->whole, e);
	}
	if (rc == LS_OK) {
		(void)atomic_fetch_sub(&ch->kept, b.cap);
		rc = read_index(ch, cf, &b, e);
	}
	ls_buf_free(&b);
	return rc;
}

static enum ls_rc
open_large(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_err *e)
{
	struct ls_get g = { .off = 0, .len = HEAD };
	struct ls_got got = { 0 };
	struct ls_buf b = LS_BUF_INIT(LS_CHAIN_TAIL);
	enum ls_rc rc;

	rc = ls_store_get(
	    ls_replica_store(ch->r), cf->key, &g, &b, &got, ch->c, e);
	if (rc == LS_OK) {
		cf->size = got.total_size;
		(void)memcpy(cf->etag, got.etag, sizeof cf->etag);
		rc = take_head(cf, &b, e);
	}
	if (rc == LS_OK && cf->h.flags & LS_LTX_ZSTD) {
		rc = ls_chain_get(ch, cf, LS_LTX_HEADER,
		    LS_MIN(cf->size - LS_LTX_HEADER, (uint64_t)LS_ZBLOCK_MAX),
		    &b, e);
		if (rc == LS_OK)
			rc = take_dict(cf, ls_buf_span(&b), e);
	}
	if (rc == LS_OK) {
		uint64_t n = LS_MIN(cf->size, (uint64_t)LS_CHAIN_TAIL);

		rc = ls_chain_get(ch, cf, cf->size - n, n, &b, e);
	}
	if (rc == LS_OK)
		rc = read_index(ch, cf, &b, e);
	ls_buf_free(&b);
	return rc;
}

static enum ls_rc
open_file(struct ls_chain *ch, struct ls_chain_file *cf, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_call_check(ch->c, e)) != LS_OK)
		return rc;
	if (cf->f.size < LS_LTX_HEADER)
		return ls_err_set(e, LS_ECORRUPT,
		    "invalid ltx file: level=%d min=%016llx max=%016llx has "
		    "size %llu bytes (minimum %d)",
		    cf->f.level, (unsigned long long)cf->f.min_txid,
		    (unsigned long long)cf->f.max_txid,
		    (unsigned long long)cf->f.size, LS_LTX_HEADER);
	if (cf->f.size >= LS_CHAIN_SMALL)
		return open_large(ch, cf, e);
	/* Grown since it was listed: past the ceiling, so as a large one. */
	if ((rc = open_whole(ch, cf, e)) == LS_ERANGE)
		rc = open_large(ch, cf, e);
	return rc;
}

static void
open_job(void *arg, size_t i)
{
	struct ls_chain *ch = arg;
	struct ls_chain_file *cf = &ch->v[i];
	struct ls_err e = { 0 };

	cf->rc = open_file(ch, cf, &e);
	cf->foreign = cf->rc == LS_ENOTFOUND; /* pruned since the listing */
	if (cf->rc != LS_OK && (cf->err = ls_alloc(sizeof e)) != NULL)
		*cf->err = e;
}

/* ---- winners --------------------------------------------------------------*/

static bool
is_whole(const struct ls_chain_file *cf)
{
	uint32_t lock = ls_lock_pgno(cf->h.page_size);

	return cf->idx.n == cf->h.commit - (cf->h.commit >= lock);
}

/* Lineages and page sizes, oldest first. */
static enum ls_rc
check_histories(struct ls_chain *ch, struct ls_err *e)
{
	uint64_t lineage = 0;
	struct ls_chain_file *bad = NULL;

	for (size_t i = 0; i < ch->n; i++) {
		struct ls_chain_file *cf = &ch->v[i];

		if (lineage == 0)
			lineage = cf->h.node_id;
		if (cf->h.node_id != 0 && cf->h.node_id != lineage) {
			cf->foreign = true;
			bad = bad ? bad : cf;
		}
	}
	if (bad == NULL)
		return LS_OK;
	return ls_err_set(e, LS_EGAP,
	    "%s belongs to another history (lineage %016llx, not %016llx)",
	    bad->key, (unsigned long long)bad->h.node_id,
	    (unsigned long long)lineage);
}

static enum ls_rc
check_page_sizes(struct ls_chain *ch, struct ls_err *e)
{
	for (size_t i = 1; i < ch->n; i++) {
		struct ls_chain_file *cf = &ch->v[i];

		if (cf->h.page_size == ch->v[i - 1].h.page_size)
			continue;
		if (!is_whole(cf)) {
			cf->foreign = true;
			return ls_err_set(e, LS_EGAP,
			    "%s changes the page size from %u to %u and does "
			    "not hold every page",
			    cf->key, ch->v[i - 1].h.page_size, cf->h.page_size);
		}
		for (; ch->first < i; ch->first++)
			ch->v[ch->first].dropped = true;
	}
	return LS_OK;
}

/* Every page that this file grows the database by is in it. */
static enum ls_rc
check_growth(const struct ls_chain_file *cf, uint32_t prev, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(cf->h.page_size);
	uint32_t want = prev + 1;
	const struct ls_ltx_entry *x = cf->idx.v, *end = x + cf->idx.n;

	if (cf->h.commit <= prev)
		return LS_OK;
	while (x < end && x->pgno < want)
		x++;
	for (; want <= cf->h.commit; want++) {
		if (want == lock)
			continue;
		if (x == end || x->pgno != want)
			return ls_err_set(e, LS_ECORRUPT,
			    "%s grows the database to %u pages without page "
			    "%u",
			    cf->key, cf->h.commit, want);
		x++;
	}
	return LS_OK;
}

static enum ls_rc
apply_file(struct ls_chain *ch, size_t i, uint32_t *commit, struct ls_err *e)
{
	struct ls_chain_file *cf = &ch->v[i];
	uint32_t lock = ls_lock_pgno(cf->h.page_size);
	enum ls_rc rc;

	if ((rc = check_growth(cf, *commit, e)) != LS_OK)
		return rc;
	for (size_t k = 0; k < cf->idx.n; k++) {
		uint32_t pgno = cf->idx.v[k].pgno;

		if (pgno == lock)
			return ls_err_set(e, LS_ECORRUPT,
			    "%s holds the lock page %u", cf->key, pgno);
		if (pgno <= ch->commit)
			ch->winner[pgno - 1] = (uint32_t)i + 1;
	}
	*commit = cf->h.commit;
	return LS_OK;
}

static enum ls_rc
find_winners(struct ls_chain *ch, struct ls_err *e)
{
	const struct ls_chain_file *last = &ch->v[ch->n - 1];
	uint32_t lock = ls_lock_pgno(last->h.page_size), commit = 0;
	uint64_t pages = 1; /* perhaps the lock page */
	enum ls_rc rc;

	if (ch->n >= UINT32_MAX)
		return ls_err_set(e, LS_ERANGE, "too many files in a plan");
	/* A header's page count alone must not size an allocation. */
	for (size_t i = ch->first; i < ch->n; i++)
		pages += ch->v[i].idx.n;
	if (pages < last->h.commit)
		return ls_err_set(e, LS_ECORRUPT,
		    "%s says %u pages, its chain holds at most %llu", last->key,
		    last->h.commit, (unsigned long long)pages);
	ch->commit = last->h.commit;
	ch->page_size = last->h.page_size;
	ch->winner = ls_zalloc((size_t)ch->commit * sizeof *ch->winner);
	if (ch->winner == NULL)
		return ls_err_nomem(e);
	for (size_t i = ch->first; i < ch->n; i++)
		if ((rc = apply_file(ch, i, &commit, e)) != LS_OK)
			return rc;
	for (uint32_t p = 0; p < ch->commit; p++) {
		if (ch->winner[p] != 0)
			ch->v[ch->winner[p] - 1].wins++;
		else if (p + 1 != lock)
			return ls_err_set(e, LS_ECORRUPT,
			    "page %u of %u is in no file of the chain", p + 1,
			    ch->commit);
	}
	return LS_OK;
}

/* ---- the chain ------------------------------------------------------------*/

static enum ls_rc
open_all(
    struct ls_chain *ch, const struct ls_par *par, unsigned k, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	par = par ? par : &ls_par_serial;
	par->run(par, ch->n, k ? k : 1, open_job, ch);
	/* The gravest first: what is gone can be planned around. */
	for (size_t i = 0; i < ch->n; i++) {
		const struct ls_chain_file *cf = &ch->v[i];

		if (cf->rc == LS_OK || (rc != LS_OK && cf->foreign))
			continue;
		if (rc != LS_OK && rc != LS_ENOTFOUND)
			continue;
		rc = cf->rc;
		if (cf->err != NULL && e != NULL)
			*e = *cf->err;
		else if (cf->err == NULL)
			(void)ls_err_set(
			    e, rc, "%s: %s", cf->key, ls_rc_text(rc));
	}
	return rc;
}

enum ls_rc
ls_chain_open(struct ls_chain *ch, struct ls_replica *r,
    const struct ls_plan *p, const struct ls_par *par, unsigned k,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_layout layout = ls_store_layout(ls_replica_store(r));
	enum ls_rc rc;

	*ch = (struct ls_chain){ .r = r, .c = c };
	if (p->files.n == 0)
		return ls_err_set(e, LS_EINVALID, "the plan has no files");
	ch->v = ls_zalloc(p->files.n * sizeof *ch->v);
	if (ch->v == NULL)
		return ls_err_nomem(e);
	ch->n = p->files.n;
	for (size_t i = 0; i < ch->n; i++) {
		struct ls_chain_file *cf = &ch->v[i];

		cf->f = p->files.v[i];
		ls_buf_init(&cf->whole, LS_CHAIN_SMALL);
		ls_ltx_key(layout, cf->f.level, cf->f.min_txid, cf->f.max_txid,
		    cf->key);
	}
	if ((rc = open_all(ch, par, k, e)) != LS_OK ||
	    (rc = check_histories(ch, e)) != LS_OK ||
	    (rc = check_page_sizes(ch, e)) != LS_OK)
		return rc;
	return find_winners(ch, e);
}

void
ls_chain_close(struct ls_chain *ch)
{
	for (size_t i = 0; i < ch->n; i++) {
		ls_buf_free(&ch->v[i].whole);
		ls_ltx_index_fini(&ch->v[i].idx);
		ls_zdict_unref(ch->v[i].z);
		ls_free(ch->v[i].err);
	}
	ls_free(ch->v);
	ls_free(ch->winner);
	*ch = (struct ls_chain){ 0 };
}

/* Take the files that the chain calls foreign out of a listing. */
static void
without_foreign(struct ls_files *all, const struct ls_chain *ch)
{
	size_t kept = 0;

	for (size_t i = 0; i < all->n; i++) {
		bool out = false;

		for (size_t k = 0; !out && k < ch->n; k++)
			out = ch->v[k].foreign &&
			      ls_file_order(&ch->v[k].f, &all->v[i]) == 0;
		if (!out)
			all->v[kept++] = all->v[i];
	}
	all->n = kept;
}

/* (6) Files that a plan may do without: foreign, gone, or damaged as far as an
 * open can see. */
static bool
may_leave_out(struct ls_chain *ch, enum ls_rc rc)
{
	bool any = false;

	if (rc != LS_ENOTFOUND && rc != LS_EGAP && !ls_rc_damaged(rc))
		return false;
	for (size_t i = 0; i < ch->n; i++) {
		struct ls_chain_file *cf = &ch->v[i];

		if (ls_rc_damaged(cf->rc)) {
			cf->foreign = true;
			if (cf->err != NULL)
				ls_warn("a stored file is damaged, looking for "
					"others in its place",
				    LS_ATTRS(LS_E(cf->err)));
		}
		any = any || cf->foreign;
	}
	return any;
}

enum ls_rc
ls_chain_settle(struct ls_chain *ch, struct ls_replica *r,
    const struct ls_plan *p, const struct ls_par *par, unsigned k,
    const struct ls_call *c, struct ls_err *e)
{
	enum { TRIES = 8 };
	struct ls_files all = { 0 };
	struct ls_plan again = { 0 };
	struct ls_target t = { .txid = p->txid };
	struct ls_err other = { 0 };
	enum ls_rc rc = ls_chain_open(ch, r, p, par, k, c, e);

	/* The error tells what is wrong, unless the next try gets past it. */
	for (int i = 0; i < TRIES && may_leave_out(ch, rc); i++) {
		if (i == 0 &&
		    ls_replica_list_all(r, par, &all, c, &other) != LS_OK)
			break;
		without_foreign(&all, ch);
		ls_plan_fini(&again);
		if (ls_plan_make(r, &all, &t, &again, c, &other) != LS_OK)
			break;
		ls_chain_close(ch);
		rc = ls_chain_open(ch, r, &again, par, k, c, e);
	}
	ls_files_fini(&all);
	ls_plan_fini(&again);
	return rc;
}
