/* load.c -- list, plan, read the indexes, build a version. See load.h.
 *
 * (1) ROUNDS, NOT REQUESTS PER FILE: all levels are listed at once, then the
 *     tail of every file of the plan is fetched at once, and with it the head
 *     of those that are longer (header, and a dictionary where there may be
 *     one; of the base also the first pages, where page 1 and the roots of the
 *     first tables are). A small file comes whole. (test: open_takes_two_rounds)
 * (2) THE TAIL IS GUESSED FROM THE FILE'S SIZE, since another round costs more
 *     than some bytes; an index that is longer is fetched once more.
 * (3) ONE HISTORY, as lib/replica's chain: files of another lineage are left
 *     out, a changed page size begins anew, and nothing incomplete passes.
 *     (test: foreign_files_are_left_out, page_size_change_begins_anew)
 * (4) A DAMAGED INDEX IS REBUILT by walking the frames.
 *     (test: damaged_index_is_rebuilt)
 */
#include "vfs/load.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "replica/files.h"
#include "replica/object.h"

enum {
	SMALL = 128 << 10, /* one request for all of it */
	TAIL_LEAST = 64 << 10,
	TAIL_MOST = 4 << 20,
	TAIL_SHARE = 200, /* of the file: 9 bytes a frame of 1,800 */
	HEAD = LS_LTX_HEADER + LS_LTX_PAGE_HEADER,
	HEAD_DICT = LS_LTX_HEADER + LS_ZBLOCK_MAX,
	HEAD_PAGES = 128 << 10,
	AT_ONCE = 32,
	TRIES = 3,
	SCAN_BLOCK = 1 << 20,
};

struct opened {
	struct ls_file f;
	struct ls_vfile like;  /* filled here */
	struct ls_vfile *file; /* then shared: one reference */
	struct ls_ltx_index idx;
	struct ls_buf head, tail; /* head is empty when tail is everything */
	size_t head_want;
	bool foreign;
	enum ls_rc rc[2];
	struct ls_err *err;
};

struct opening {
	const struct ls_loader *ld;
	const struct ls_call *c;
	struct opened *v;
	size_t n;
	size_t *job, njobs; /* tails, then heads: i, or n + i */
};

/* ---- requests -------------------------------------------------------------*/

/* Whole units of the disk cache, so that all of it can be kept there. */
static size_t
tail_guess(uint64_t size)
{
	uint64_t n = size / TAIL_SHARE;

	if (size <= SMALL)
		return SMALL;
	n = LS_MIN(LS_MAX(n, (uint64_t)TAIL_LEAST), (uint64_t)TAIL_MOST);
	return (size_t)(n + (size - n) % LS_DISK_UNIT);
}

static void
keep_error(struct opened *o, int which, enum ls_rc rc, const struct ls_err *e)
{
	o->rc[which] = rc;
	if (rc == LS_OK || which == 1)
		return;
	if ((o->err = ls_alloc(sizeof *e)) != NULL)
		*o->err = *e;
}

static void
fetch_job(void *arg, size_t k)
{
	struct opening *op = arg;
	size_t i = op->job[k] % op->n;
	bool head = op->job[k] >= op->n;
	struct opened *o = &op->v[i];
	struct ls_buf *b = head ? &o->head : &o->tail;
	struct ls_err e = { 0 };
	struct ls_got got = { 0 };
	struct ls_get g = { 0 };
	enum ls_rc rc;

	if (head)
		g.len = o->head_want;
	else
		g.suffix = (int64_t)tail_guess(o->f.size);
	b->max = head ? o->head_want : (size_t)g.suffix;
	rc = ls_store_get(
	    ls_replica_store(op->ld->r), o->like.key, &g, b, &got, op->c, &e);
	if (rc == LS_OK && !head) {
		o->like.size = got.total_size;
		memcpy(o->like.etag, got.etag, sizeof o->like.etag);
	}
	keep_error(o, head, rc, &e);
}

static enum ls_rc
scan(const struct opening *op, struct opened *o, struct ls_err *e)
{
	struct ls_object_reader src;
	enum ls_rc rc;

	ls_object_init(&src, ls_replica_store(op->ld->r), o->like.key,
	    o->like.size, SCAN_BLOCK, op->c);
	rc = ls_ltx_scan(ls_object_source, &src, NULL, &o->idx, e);
	ls_object_fini(&src);
	if (rc == LS_OK)
		ls_warn("page index of a stored file is damaged, rebuilt",
		    LS_ATTRS(LS_S("file", o->like.key)));
	return rc;
}

static enum ls_rc
read_index(const struct opening *op, struct opened *o, struct ls_err *e)
{
	uint64_t extent, size = o->like.size;
	struct ls_get g = { .if_match = o->like.etag[0] ? o->like.etag : NULL };
	enum ls_rc rc;

	rc = ls_ltx_index_extent(ls_buf_span(&o->tail), size, &extent, e);
	if (rc == LS_OK && extent > o->tail.n) {
		g.off = size - extent;
		g.len = extent;
		ls_buf_clear(&o->tail);
		o->tail.max = (size_t)extent;
		rc = ls_store_get(ls_replica_store(op->ld->r), o->like.key, &g,
		    &o->tail, NULL, op->c, e);
	}
	if (rc == LS_OK)
		rc = ls_ltx_index_decode(ls_buf_span(&o->tail), size,
		    o->like.h.commit, o->like.z, &o->idx, e);
	return rc == LS_ECORRUPT ? scan(op, o, e) : rc;
}

/* The dictionary of a zstd file: in the head, except where it is of a level
 * that has none from us. */
static enum ls_rc
take_dict(const struct opening *op, struct opened *o, struct ls_span head,
    struct ls_err *e)
{
	struct ls_buf more = LS_BUF_INIT(LS_ZBLOCK_MAX);
	struct ls_get g = { .off = LS_LTX_HEADER,
		.len = LS_MIN(
		    o->like.size - LS_LTX_HEADER, (uint64_t)LS_ZBLOCK_MAX),
		.if_match = o->like.etag[0] ? o->like.etag : NULL };
	struct ls_span in =
	    LS_SPAN(head.p + LS_LTX_HEADER, head.n - LS_LTX_HEADER);
	size_t n = 0;
	enum ls_rc rc = LS_OK;

	if (in.n < g.len && in.n < LS_ZBLOCK_MAX) {
		rc = ls_store_get(ls_replica_store(op->ld->r), o->like.key, &g,
		    &more, NULL, op->c, e);
		in = ls_buf_span(&more);
	}
	if (rc == LS_OK && in.n < LS_ZBLOCK_HEAD)
		rc = ls_err_set(e, LS_ECORRUPT, "dictionary is cut off");
	if (rc == LS_OK && (rc = ls_zblock_extent(in.p, &n, e)) == LS_OK &&
	    n > in.n)
		rc = ls_err_set(e, LS_ECORRUPT, "dictionary is cut off");
	if (rc == LS_OK)
		rc = ls_zblock_decode(LS_SPAN(in.p, n), &o->like.z, e);
	ls_buf_free(&more);
	return ls_err_wrap(e, rc, "%s", o->like.key);
}

static enum ls_rc
settle_file(const struct opening *op, struct opened *o, struct ls_err *e)
{
	struct ls_span head =
	    ls_buf_span(o->tail.n == o->like.size ? &o->tail : &o->head);
	uint64_t post_apply;
	enum ls_rc rc;

	if (head.n < HEAD)
		return ls_err_set(e, LS_ECORRUPT, "%s is only %llu bytes",
		    o->like.key, (unsigned long long)o->like.size);
	rc =
	    ls_ltx_header_decode(LS_SPAN(head.p, LS_LTX_HEADER), &o->like.h, e);
	if (rc != LS_OK ||
	    (rc = ls_file_matches(&o->f, &o->like.h, o->like.key, e)) !=
		LS_OK ||
	    (o->like.h.flags & LS_LTX_ZSTD &&
		(rc = take_dict(op, o, head, e)) != LS_OK) ||
	    (rc = read_index(op, o, e)) != LS_OK)
		return rc;
	if (o->tail.n >= LS_LTX_TRAILER)
		ls_ltx_trailer_decode(o->tail.p + (o->tail.n - LS_LTX_TRAILER),
		    &post_apply, &o->like.checksum);
	o->file = ls_vfiles_add(op->ld->files, &o->like);
	return o->file != NULL ? LS_OK : ls_err_nomem(e);
}

static void
settle_job(void *arg, size_t i)
{
	struct opening *op = arg;
	struct opened *o = &op->v[i];
	struct ls_err e = { 0 };

	if (o->rc[0] == LS_OK && o->rc[1] != LS_OK) {
		o->rc[0] = o->rc[1];
		(void)ls_err_set(&e, o->rc[0], "get %s: %s", o->like.key,
		    ls_rc_text(o->rc[0]));
	} else if (o->rc[0] == LS_OK) {
		o->rc[0] = settle_file(op, o, &e);
	} else {
		o->foreign = o->rc[0] == LS_ENOTFOUND;
		return;
	}
	o->foreign = o->rc[0] == LS_ENOTFOUND;
	keep_error(o, 0, o->rc[0], &e);
}

/* ---- a set of files -------------------------------------------------------*/

static void
close_all(struct opening *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct opened *o = &op->v[i];

		if (o->file != NULL) {
			ls_fetch_keep(op->ld->fetch, o->file, 0, &o->head);
			ls_fetch_keep(op->ld->fetch, o->file,
			    o->like.size - o->tail.n, &o->tail);
		}
		ls_buf_free(&o->head);
		ls_buf_free(&o->tail);
		ls_ltx_index_fini(&o->idx);
		ls_zdict_unref(o->like.z);
		ls_free(o->err);
		if (o->file != NULL)
			ls_vfile_unref(op->ld->files, o->file, 1);
	}
	ls_free(op->v);
	ls_free(op->job);
	*op = (struct opening){ 0 };
}

/* Open files (in the order of their chain). close_all also after an error. */
static enum ls_rc
open_all(struct opening *op, const struct ls_loader *ld,
    const struct ls_files *files, const struct ls_call *c, struct ls_err *e)
{
	enum ls_layout layout = ls_store_layout(ls_replica_store(ld->r));
	enum ls_rc rc = LS_OK;

	*op = (struct opening){ .ld = ld, .c = c };
	op->v = ls_zalloc((files->n + 1) * sizeof *op->v);
	op->job = ls_alloc((2 * files->n + 1) * sizeof *op->job);
	if (op->v == NULL || op->job == NULL)
		return ls_err_nomem(e);
	op->n = files->n;
	for (size_t i = 0; i < op->n; i++) {
		struct opened *o = &op->v[i];

		o->f = o->like.f = files->v[i];
		ls_ltx_key(layout, o->f.level, o->f.min_txid, o->f.max_txid,
		    o->like.key);
		if (o->f.size > SMALL)
			o->head_want = i == 0		? HEAD_PAGES
				       : o->f.level > 0 ? HEAD_DICT
							: HEAD;
	}
	for (size_t k = 0; k < 2 * op->n; k++)
		if (k < op->n || op->v[k - op->n].head_want > 0)
			op->job[op->njobs++] = k;
	ld->par->run(ld->par, op->njobs, AT_ONCE, fetch_job, op);
	for (size_t i = 0; i < op->n; i++)
		settle_job(op, i);
	/* The gravest first: what is gone can be planned around. */
	for (size_t i = 0; i < op->n; i++) {
		const struct opened *o = &op->v[i];

		if (o->rc[0] == LS_OK || (rc != LS_OK && o->foreign) ||
		    (rc != LS_OK && rc != LS_ENOTFOUND))
			continue;
		rc = o->rc[0];
		if (o->err != NULL && e != NULL)
			*e = *o->err;
	}
	return rc;
}

/* ---- pages that came along ------------------------------------------------*/

static void
feed_frames(const struct opened *o, const struct ls_ver *v, uint8_t *page,
    uint32_t *room)
{
	for (size_t i = 0; i<o->idx.n && * room> 0; i++) {
		const struct ls_ltx_entry *x = &o->idx.v[i];
		uint64_t tail_at = o->like.size - o->tail.n;
		struct ls_where w;
		const uint8_t *p;

		if (x->off + x->size <= o->head.n)
			p = o->head.p + x->off;
		else if (x->off >= tail_at)
			p = o->tail.p + (x->off - tail_at);
		else
			continue;
		if (!ls_ver_find(v, x->pgno, &w) || w.file != o->file ||
		    ls_ltx_frame_decode(LS_SPAN(p, x->size), o->like.z, x->pgno,
			v->page_size, page, NULL) != LS_OK)
			continue;
		ls_cache_put(v->cache, o->file->serial, x->pgno, page);
		--*room;
	}
}

/* Best effort: without memory, or where a frame is damaged, the page is
 * fetched when it is wanted. */
static void
feed_cache(const struct opening *op, const struct ls_ver *v)
{
	uint8_t *page = ls_alloc(v->page_size);
	uint32_t room = ls_cache_room(v->cache) / 2;

	for (size_t i = op->n; page != NULL && i-- > 0;)
		feed_frames(&op->v[i], v, page, &room);
	ls_free(page);
}

/* ---- histories ------------------------------------------------------------*/

static bool
is_whole(const struct opened *o)
{
	uint32_t lock = ls_lock_pgno(o->like.h.page_size);

	return o->idx.n == o->like.h.commit - (o->like.h.commit >= lock);
}

/* Where the state begins: the base, or the last file that changes the page
 * size. LS_EGAP with `foreign` set where a file does not belong. */
static enum ls_rc
check_chain(struct opening *op, size_t *first, struct ls_err *e)
{
	uint64_t lineage = 0;

	*first = 0;
	for (size_t i = 0; i < op->n; i++) {
		struct opened *o = &op->v[i];
		const struct ls_ltx_header *h = &o->like.h;

		if (lineage == 0)
			lineage = h->node_id;
		if (h->node_id != 0 && h->node_id != lineage) {
			o->foreign = true;
			return ls_err_set(e, LS_EGAP,
			    "%s belongs to another history", o->like.key);
		}
		if (i == 0 || h->page_size == op->v[i - 1].like.h.page_size)
			continue;
		if (!is_whole(o)) {
			o->foreign = true;
			return ls_err_set(e, LS_EGAP,
			    "%s changes the page size and does not hold every "
			    "page",
			    o->like.key);
		}
		*first = i;
	}
	return LS_OK;
}

static enum ls_rc
build(const struct opening *op, size_t first, struct ls_cache *had,
    struct ls_ver **out, struct ls_err *e)
{
	uint32_t ps = op->v[first].like.h.page_size;
	struct ls_cache *cache = NULL;
	struct ls_ver *v = NULL;
	enum ls_rc rc = LS_OK;

	if (had != NULL && ls_cache_page_size(had) == ps)
		cache = ls_cache_ref(had);
	else
		rc = ls_cache_new(ps, op->ld->cache_bytes, &cache, e);
	if (rc == LS_OK)
		rc = ls_ver_new(op->ld->files, ps, cache, &v, e);
	ls_cache_unref(cache);
	for (size_t i = first; rc == LS_OK && i < op->n; i++)
		rc = ls_ver_apply(v, op->v[i].file, &op->v[i].idx, e);
	if (rc == LS_OK)
		rc = ls_ver_check(v, e);
	if (rc != LS_OK) {
		ls_ver_unref(v);
		return rc;
	}
	feed_cache(op, v);
	*out = v;
	return LS_OK;
}

/* ---- from a plan ----------------------------------------------------------*/

/* Take the files that do not belong out of a listing. */
static void
without_foreign(struct ls_files *all, const struct ls_files *foreign)
{
	size_t kept = 0;

	for (size_t i = 0; i < all->n; i++) {
		bool out = false;

		for (size_t k = 0; !out && k < foreign->n; k++)
			out = ls_file_order(&foreign->v[k], &all->v[i]) == 0;
		if (!out)
			all->v[kept++] = all->v[i];
	}
	all->n = kept;
}

static enum ls_rc
try_plan(const struct ls_loader *ld, const struct ls_target *t,
    struct ls_cache *cache, const struct ls_files *all,
    struct ls_files *foreign, struct ls_ver **out, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_plan p = { 0 };
	struct opening op = { 0 };
	size_t first;
	enum ls_rc rc = ls_plan_make(ld->r, all, t, &p, c, e);

	if (rc != LS_OK)
		return rc;
	if ((rc = open_all(&op, ld, &p.files, c, e)) == LS_OK &&
	    (rc = check_chain(&op, &first, e)) == LS_OK)
		rc = build(&op, first, cache, out, e);
	for (size_t i = 0; rc != LS_OK && i < op.n; i++)
		if (op.v[i].foreign &&
		    ls_files_add(foreign, &op.v[i].f, NULL) != LS_OK)
			break;
	close_all(&op);
	ls_plan_fini(&p);
	return rc;
}

enum ls_rc
ls_load(const struct ls_loader *ld, const struct ls_target *t,
    struct ls_cache *cache, const struct ls_files *all, struct ls_ver **out,
    bool *empty, const struct ls_call *c, struct ls_err *e)
{
	struct ls_files mine = { 0 }, foreign = { 0 };
	enum ls_rc rc = LS_OK;
	bool again = true;

	*empty = false;
	for (int i = 0; again && i < TRIES; i++) {
		size_t known = foreign.n;

		if (all == NULL || i > 0) {
			ls_files_fini(&mine);
			rc = ls_replica_list_all(ld->r, ld->par, &mine, c, e);
			if (rc != LS_OK)
				break;
			without_foreign(&mine, &foreign);
			all = &mine;
		}
		*empty = all->n == 0;
		rc = try_plan(ld, t, cache, all, &foreign, out, c, e);
		again = (rc == LS_ENOTFOUND || rc == LS_EGAP ||
			    rc == LS_ECHANGED) &&
			foreign.n > known;
	}
	ls_files_fini(&mine);
	ls_files_fini(&foreign);
	return rc;
}

/* ---- from a version -------------------------------------------------------*/

static const struct ls_file *
furthest(const struct ls_files *s, uint64_t at)
{
	const struct ls_file *best = NULL;

	for (size_t i = 0; i < s->n; i++) {
		const struct ls_file *f = &s->v[i];

		if (f->min_txid > at + 1 || f->max_txid <= at)
			continue;
		if (best == NULL || f->max_txid > best->max_txid ||
		    (f->max_txid == best->max_txid &&
			f->min_txid > best->min_txid))
			best = f; /* of equals the shortest: fewest bytes */
	}
	return best;
}

static enum ls_rc
chain_from(uint64_t at, const struct ls_files *all, struct ls_files *chain,
    struct ls_err *e)
{
	struct ls_files usable = { 0 };
	const struct ls_file *f;
	enum ls_rc rc = ls_plan_usable(all, &usable, e);

	while (rc == LS_OK && (f = furthest(&usable, at)) != NULL) {
		rc = ls_files_add(chain, f, e);
		at = f->max_txid;
	}
	for (size_t i = 0; rc == LS_OK && i < usable.n; i++)
		if (usable.v[i].max_txid > at)
			rc = ls_err_set(e, LS_EGAP,
			    "non-contiguous ltx files: have up to %016llx but "
			    "next file starts at %016llx",
			    (unsigned long long)at,
			    (unsigned long long)usable.v[i].min_txid);
	ls_files_fini(&usable);
	return rc;
}

static enum ls_rc
put_over(const struct opening *op, struct ls_ver *v, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < op->n; i++) {
		const struct opened *o = &op->v[i];

		if (o->like.h.node_id != 0 && v->lineage != 0 &&
		    o->like.h.node_id != v->lineage)
			return ls_err_set(e, LS_EGAP,
			    "%s belongs to another history", o->like.key);
		rc = ls_ver_apply(v, o->file, &o->idx, e);
	}
	return rc;
}

enum ls_rc
ls_load_more(const struct ls_loader *ld, const struct ls_ver *cur,
    const struct ls_files *all, struct ls_ver **out, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_files chain = { 0 };
	struct opening op = { 0 };
	struct ls_ver *v = NULL;
	enum ls_rc rc = chain_from(cur->txid, all, &chain, e);

	*out = NULL;
	if (rc == LS_OK && chain.n > 0 &&
	    (rc = open_all(&op, ld, &chain, c, e)) == LS_OK &&
	    (rc = ls_ver_copy(cur, &v, e)) == LS_OK &&
	    (rc = put_over(&op, v, e)) == LS_OK)
		feed_cache(&op, v);
	if (rc == LS_OK)
		*out = v;
	else
		ls_ver_unref(v);
	close_all(&op);
	ls_files_fini(&chain);
	return rc;
}
