/* merge.c -- k-way merge of LTX files. See merge.h.
 *
 *  (1) NEWEST WINS, AND A SHRINK CUTS. A page counts only if no newer input's
 *      commit is below it: when the database shrank and grew again in between,
 *      the old page is not the database's any more. (tests:
 *      merge_against_model, merge_shrink_and_regrow)
 *  (2) NOTHING INCOMPLETE COMES OUT. Every page by which the database grew over
 *      its smallest size on the way (the previous commit, where the caller
 *      knows it, included) must have come, the lock page aside.
 *      (test: merge_incomplete)
 *  (3) EVERY INPUT IS VERIFIED before the output is ended: an input is
 *      finished, and its memory freed, when its last page has passed.
 *      (test: merge_damaged_input)
 *  (4) MEMORY IS O(INPUTS): a reader each and a heap of their next pages.
 * Not here: choosing inputs (the planner's and the compactor's work). */
#include "format/merge.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "format/frame.h"

struct input {
	struct ls_ltx_reader *r; /* NULL when read to its end */
	struct ls_ltx_page page; /* its next one */
	uint32_t cut; /* pages above are not the database's any more */
};

struct merge {
	struct input *in;
	size_t n;
	size_t *heap; /* inputs by (next pgno, newest first) */
	size_t heap_n;
	struct ls_ltx_header h; /* of the output */
	struct ls_complete complete;
};

/* Gets each page that wins: the next one of an input. */
typedef enum ls_rc emit_fn(void *arg, const struct input *in, struct ls_err *e);

/* ---- the heap -------------------------------------------------------------*/

static bool
before(const struct merge *m, size_t a, size_t b)
{
	uint32_t pa = m->in[a].page.pgno, pb = m->in[b].page.pgno;

	return pa != pb ? pa < pb : a > b;
}

/* Put input x at slot i or below, where it belongs. */
static void
sift_down(struct merge *m, size_t i, size_t x)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= m->heap_n)
			break;
		if (child + 1 < m->heap_n &&
		    before(m, m->heap[child + 1], m->heap[child]))
			child++;
		if (before(m, x, m->heap[child]))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = x;
}

static void
heap_build(struct merge *m)
{
	m->heap_n = 0;
	for (size_t i = 0; i < m->n; i++)
		if (m->in[i].r != NULL)
			m->heap[m->heap_n++] = i;
	for (size_t i = m->heap_n / 2; i-- > 0;)
		sift_down(m, i, m->heap[i]);
}

/* ---- inputs ---------------------------------------------------------------*/

/* Go to the next page of input i; at its end verify and free it. */
static enum ls_rc
advance(struct merge *m, size_t i, struct ls_err *e)
{
	struct input *in = &m->in[i];
	const struct ls_ltx_header *h = ls_ltx_reader_header(in->r);
	enum ls_rc rc = ls_ltx_reader_next(in->r, &in->page, e);
	char name[LS_LTX_NAME_MAX];

	if (rc == LS_OK)
		return LS_OK;
	ls_ltx_name(h->min_txid, h->max_txid, name);
	if (rc == LS_ENOTFOUND && ls_ltx_reader_at_end(in->r))
		rc = ls_ltx_reader_finish(in->r, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "merge: input %s", name);
	ls_ltx_reader_free(in->r);
	in->r = NULL;
	return LS_OK;
}

static enum ls_rc
check_chain(const struct ls_ltx_header *prev, const struct ls_ltx_header *h,
    struct ls_err *e)
{
	if (h->page_size != prev->page_size)
		return ls_err_set(e, LS_ECORRUPT,
		    "input files have mismatched page sizes: %u and %u",
		    prev->page_size, h->page_size);
	/* min - 1 cannot wrap: headers with min 0 are refused. */
	if (h->min_txid - 1 > prev->max_txid || h->max_txid <= prev->max_txid)
		return ls_err_set(e, LS_ECORRUPT,
		    "non-contiguous transaction ids in input files: "
		    "%016llx-%016llx after %016llx-%016llx",
		    (unsigned long long)h->min_txid,
		    (unsigned long long)h->max_txid,
		    (unsigned long long)prev->min_txid,
		    (unsigned long long)prev->max_txid);
	return LS_OK;
}

static enum ls_rc
open_inputs(struct merge *m, const struct ls_merge_input *in, size_t n,
    struct ls_err *e)
{
	const struct ls_ltx_header *prev = NULL;
	enum ls_rc rc;

	if (n == 0)
		return ls_err_set(e, LS_EINVALID, "merge: no input files");
	m->in =
	    n > SIZE_MAX / sizeof *m->in ? NULL : ls_zalloc(n * sizeof *m->in);
	m->heap = ls_alloc(n * sizeof *m->heap);
	if (m->in == NULL || m->heap == NULL)
		return ls_err_nomem(e);
	m->n = n;
	for (size_t i = 0; i < n; i++) {
		const struct ls_ltx_header *h;

		rc = ls_ltx_reader_open(in[i].src, in[i].arg, &m->in[i].r, e);
		if (rc != LS_OK)
			return ls_err_wrap(e, rc,
			    "merge: input %zu of %zu (oldest first)", i + 1, n);
		h = ls_ltx_reader_header(m->in[i].r);
		if (prev != NULL && (rc = check_chain(prev, h, e)) != LS_OK)
			return rc;
		prev = h;
	}
	return LS_OK;
}

/* The output's header, the cuts, and what must come. */
static void
plan(struct merge *m, const struct ls_merge_opts *o)
{
	const struct ls_ltx_header *first, *last;
	uint32_t cut = UINT32_MAX, low = UINT32_MAX;

	first = ls_ltx_reader_header(m->in[0].r);
	last = ls_ltx_reader_header(m->in[m->n - 1].r);
	m->h = (struct ls_ltx_header){
		.flags = LS_LTX_NO_CHECKSUM,
		.page_size = first->page_size,
		.commit = last->commit,
		.min_txid = o->from_one ? 1 : first->min_txid,
		.max_txid = last->max_txid,
		.timestamp_ms = last->timestamp_ms,
		.node_id = o->node_id,
		.has_db_checksum = last->has_db_checksum,
		.db_checksum = last->db_checksum,
	};
	for (size_t i = m->n; i-- > 0;) {
		uint32_t commit = ls_ltx_reader_header(m->in[i].r)->commit;

		cut = LS_MIN(cut, commit);
		m->in[i].cut = cut;
		if (i + 1 < m->n)
			low = LS_MIN(low, commit);
	}
	if (o->prev_commit_known)
		low = LS_MIN(low, o->prev_commit);
	if (m->h.min_txid == 1)
		low = 0;
	ls_complete_init(&m->complete, low, last->commit, first->page_size);
}

static enum ls_rc
merge_open(struct merge *m, const struct ls_merge_input *in, size_t n,
    const struct ls_merge_opts *o, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = open_inputs(m, in, n, e)) != LS_OK)
		return rc;
	plan(m, o);
	for (size_t i = 0; i < n; i++)
		if ((rc = advance(m, i, e)) != LS_OK)
			return rc;
	heap_build(m);
	return LS_OK;
}

static void
merge_close(struct merge *m)
{
	for (size_t i = 0; i < m->n; i++)
		ls_ltx_reader_free(m->in[i].r);
	ls_free(m->in);
	ls_free(m->heap);
}

/* ---- the walk -------------------------------------------------------------*/

static enum ls_rc
merge_run(struct merge *m, emit_fn *emit, void *arg, struct ls_err *e)
{
	uint32_t last = 0;
	enum ls_rc rc;

	while (m->heap_n > 0) {
		size_t i = m->heap[0];
		struct input *in = &m->in[i];
		uint32_t pgno = in->page.pgno;

		if (pgno != last && pgno <= in->cut) {
			rc = ls_complete_page(&m->complete, pgno, e);
			if (rc != LS_OK || (rc = emit(arg, in, e)) != LS_OK)
				return rc;
		}
		last = pgno;
		if ((rc = advance(m, i, e)) != LS_OK)
			return rc;
		if (in->r == NULL) {
			if (--m->heap_n == 0)
				break;
			i = m->heap[m->heap_n];
		}
		sift_down(m, 0, i);
	}
	return ls_complete_end(&m->complete, e);
}

static enum ls_rc
emit_frame(void *arg, const struct input *in, struct ls_err *e)
{
	return ls_packer_add(arg, &in->page, ls_ltx_reader_dict(in->r), e);
}

/* The largest dictionary among the inputs, the oldest of equals: its frames
 * need not be made again. NULL: none. */
static struct ls_zdict *
best_dict(const struct merge *m)
{
	struct ls_zdict *best = NULL;

	for (size_t i = 0; i < m->n; i++) {
		struct ls_zdict *z =
		    m->in[i].r ? ls_ltx_reader_dict(m->in[i].r) : NULL;

		if (z != NULL && ls_zdict_bytes(z).n > 0 &&
		    (best == NULL ||
			ls_zdict_bytes(z).n > ls_zdict_bytes(best).n))
			best = z;
	}
	return best;
}

enum ls_rc
ls_merge(const struct ls_merge_input *in, size_t n,
    const struct ls_merge_opts *o, ls_sink *sink, void *sink_arg,
    struct ls_ltx_header *out_header, uint64_t *out_size, struct ls_err *e)
{
	struct merge m = { .n = 0 };
	struct ls_packer *p = NULL;
	enum ls_rc rc;

	if ((rc = merge_open(&m, in, n, o, e)) != LS_OK ||
	    (rc = ls_packer_new(sink, sink_arg, &p, e)) != LS_OK ||
	    (rc = ls_packer_begin(p, &m.h, &o->codec, best_dict(&m), e)) !=
		LS_OK ||
	    (rc = merge_run(&m, emit_frame, p, e)) != LS_OK ||
	    (rc = ls_packer_end(p, out_size, e)) != LS_OK)
		goto out;
	m.h.flags |= o->codec.zstd ? LS_LTX_ZSTD : 0;
	if (out_header != NULL)
		*out_header = m.h;
out:
	ls_packer_free(p);
	merge_close(&m);
	return rc;
}

struct page_target {
	ls_page_fn *fn;
	void *arg;
};

static enum ls_rc
emit_page(void *arg, const struct input *in, struct ls_err *e)
{
	struct page_target *t = arg;

	return t->fn(t->arg, in->page.pgno, in->page.data, e);
}

enum ls_rc
ls_merge_pages(const struct ls_merge_input *in, size_t n, ls_page_fn *fn,
    void *arg, struct ls_ltx_header *out_header, struct ls_err *e)
{
	struct page_target t = { fn, arg };
	struct ls_merge_opts o = { .prev_commit_known = false };
	struct merge m = { .n = 0 };
	enum ls_rc rc;

	if ((rc = merge_open(&m, in, n, &o, e)) == LS_OK)
		rc = merge_run(&m, emit_page, &t, e);
	if (rc == LS_OK && out_header != NULL)
		*out_header = m.h;
	merge_close(&m);
	return rc;
}
