/* plan.c -- which stored files make a state: the restore plan.
 *
 * (1) THE CHOICE IS UPSTREAM'S (compatibility 7.1): the last level-9 file at or
 *     below the target, then again and again, over levels 8 to 0, the file
 *     that continues the chain and reaches furthest (ties: smaller min, higher
 *     level, older). Reaching furthest each time is also the best there is: a
 *     file that continues a shorter chain continues a longer one too. So what
 *     this walk cannot reach, no choice of files can. (test:
 *     plans_equal_brute_force)
 * (2) A STALE WRITER'S FILE IS NOT USED: a level-0 file that was made after
 *     the file of levels 1 to 8 that covers it took a key that compaction had
 *     freed. Level 9 does not count: its time is the start of a long upload.
 *     (test: late_level_0_is_ignored)
 * (3) TIME IS THE HEADERS'. Timestamps do not decrease with TXID in a history,
 *     so each level is cut by bisection, a header a step. A merged file has
 *     the time of its last input, so a file at or before the target holds
 *     nothing younger. Upstream's snapshots have the time at which they were
 *     made: one that ends at a TXID of then or before is kept all the same.
 *     (tests: time_targets, late_snapshot_serves_earlier_times)
 * (4) WHAT CANNOT BE REACHED IS AN ERROR WITH A WAY OUT: the nearest points.
 *
 * Not here: lineages and page sizes, which only headers tell (chain.c).
 */
#include "replica/files.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "base/units.h"

#include <stdlib.h>

/* A copy of the listing, by level. lv[i][0..n[i]) in order of min, max. */
struct view {
	struct ls_file *v;
	struct ls_file *lv[LS_LEVELS];
	size_t n[LS_LEVELS];
};

/* ---- the view -------------------------------------------------------------*/

static bool
covers_older(const struct ls_file *lv, size_t n, const struct ls_file *f)
{
	size_t low = 0, high = n;

	while (
	    low < high) { /* behind the last one that starts at or before f */
		size_t mid = low + (high - low) / 2;

		if (lv[mid].min_txid <= f->min_txid)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && lv[low - 1].max_txid >= f->max_txid &&
	       lv[low - 1].created_ns != 0 &&
	       lv[low - 1].created_ns < f->created_ns;
}

static void
drop_stale(struct view *w)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->n[0]; i++) {
		bool stale = false;

		for (int l = 1; !stale && l < LS_SNAPSHOT_LEVEL; l++)
			stale = covers_older(w->lv[l], w->n[l], &w->lv[0][i]);
		if (!stale)
			w->lv[0][kept++] = w->lv[0][i];
	}
	w->n[0] = kept;
}

static enum ls_rc
view_make(struct view *w, const struct ls_files *all, struct ls_err *e)
{
	struct ls_file *p;

	*w = (struct view){ 0 };
	if ((w->v = ls_alloc(all->n * sizeof *w->v)) == NULL)
		return ls_err_nomem(e);
	if (all->n > 0)
		memcpy(w->v, all->v, all->n * sizeof *w->v);
	ls_files_sort(w->v, all->n);
	p = w->v;
	for (int l = 0; l < LS_LEVELS; l++) {
		w->lv[l] = p;
		for (; p < w->v + all->n && p->level == l; p++)
			w->n[l]++;
	}
	drop_stale(w);
	return LS_OK;
}

static void
view_fini(struct view *w)
{
	ls_free(w->v);
}

/* ---- the walk -------------------------------------------------------------*/

struct walk {
	const struct view *w;
	uint64_t cap; /* no file may reach further */
	uint64_t at;  /* reached */
	size_t next[LS_LEVELS];
	const struct ls_file *best[LS_LEVELS]; /* of those passed, per level */
};

static bool
better(const struct ls_file *a, const struct ls_file *b)
{
	if (b == NULL)
		return true;
	if (a->max_txid != b->max_txid)
		return a->max_txid > b->max_txid;
	if (a->min_txid != b->min_txid)
		return a->min_txid < b->min_txid;
	if (a->level != b->level)
		return a->level > b->level;
	return a->created_ns < b->created_ns;
}

static const struct ls_file *
base_of(const struct view *w, uint64_t cap)
{
	const struct ls_file *base = NULL;

	for (size_t i = 0; i < w->n[LS_SNAPSHOT_LEVEL]; i++) {
		const struct ls_file *f = &w->lv[LS_SNAPSHOT_LEVEL][i];

		if (f->min_txid == 1 && f->max_txid <= cap)
			base = f; /* name order: the last one */
	}
	return base;
}

/* The best continuation over levels 8 to 0; NULL when there is none. A file
 * that was passed over for a longer one of its level can never be wanted
 * again, so one candidate a level is remembered and all is read once. */
static const struct ls_file *
step(struct walk *k)
{
	const struct ls_file *best = NULL;

	for (int l = LS_SNAPSHOT_LEVEL - 1; l >= 0; l--) {
		size_t *i = &k->next[l];

		for (; *i < k->w->n[l]; (*i)++) {
			const struct ls_file *f = &k->w->lv[l][*i];

			if (f->min_txid > k->at + 1)
				break;
			if (f->max_txid <= k->cap && better(f, k->best[l]))
				k->best[l] = f;
		}
		if (k->best[l] != NULL && k->best[l]->max_txid > k->at &&
		    better(k->best[l], best))
			best = k->best[l];
	}
	return best;
}

/* How far one gets with files that end at cap at most; files may be NULL. */
static enum ls_rc
walk(const struct view *w, uint64_t cap, struct ls_files *files,
    uint64_t *reached, struct ls_err *e)
{
	struct walk k = { .w = w, .cap = cap };
	const struct ls_file *f = base_of(w, cap);
	enum ls_rc rc;

	if (f == NULL)
		f = step(&k);
	for (; f != NULL; f = step(&k)) {
		k.at = f->max_txid;
		if (files != NULL && (rc = ls_files_add(files, f, e)) != LS_OK)
			return rc;
		if (k.at == UINT64_MAX)
			break;
	}
	*reached = k.at;
	return LS_OK;
}

/* ---- what cannot be reached -----------------------------------------------*/

static enum ls_rc
check_gap(const struct view *w, uint64_t at, struct ls_err *e)
{
	uint64_t next = 0;

	for (int l = 0; l < LS_SNAPSHOT_LEVEL; l++)
		for (size_t i = w->n[l]; i-- > 0;) {
			uint64_t min = w->lv[l][i].min_txid;

			if (min <= at || min - at < 2)
				break;
			if (next == 0 || min < next)
				next = min;
		}
	if (next == 0)
		return LS_OK;
	(void)ls_err_set(e, LS_EGAP,
	    "non-contiguous ltx files: have up to %016llx but next file "
	    "starts at %016llx",
	    (unsigned long long)at, (unsigned long long)next);
	return ls_err_hint(e, LS_EGAP,
	    "restore TXID %016llx, the newest that is whole",
	    (unsigned long long)at);
}

static int
txid_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The smallest TXID above `above` that has a plan; 0 when none of the next few
 * has. Only a hint: no memory, no hint. */
static uint64_t
next_point(const struct view *w, uint64_t above)
{
	enum { TRIES = 64 };
	uint64_t *v, found = 0, reached;
	size_t n = 0, total = 0;

	for (int l = 0; l < LS_LEVELS; l++)
		total += w->n[l];
	if ((v = ls_alloc(total * sizeof *v)) == NULL)
		return 0;
	for (int l = 0; l < LS_LEVELS; l++)
		for (size_t i = 0; i < w->n[l]; i++)
			if (w->lv[l][i].max_txid > above)
				v[n++] = w->lv[l][i].max_txid;
	qsort(v, n, sizeof *v, txid_order);
	for (size_t i = 0; found == 0 && i < n && i < TRIES; i++)
		if (walk(w, v[i], NULL, &reached, NULL) == LS_OK &&
		    reached == v[i])
			found = reached;
	ls_free(v);
	return found;
}

static enum ls_rc
txid_unreachable(
    const struct view *w, uint64_t txid, uint64_t below, struct ls_err *e)
{
	uint64_t above = next_point(w, txid);
	char a[LS_TXID_TEXT], b[LS_TXID_TEXT];

	(void)ls_err_set(e, LS_ENOTFOUND, "transaction not available");
	ls_txid_text(below, a);
	ls_txid_text(above, b);
	if (below > 0 && above > 0)
		return ls_err_hint(e, LS_ENOTFOUND,
		    "the nearest points are TXID %s and %s", a, b);
	if (below > 0 || above > 0)
		return ls_err_hint(e, LS_ENOTFOUND,
		    "the nearest point is TXID %s", below > 0 ? a : b);
	return LS_ENOTFOUND;
}

/* ---- time -----------------------------------------------------------------*/

/* Read the header of file i of a level. A file that is gone by now is taken
 * out of the view. */
static enum ls_rc
view_header(struct ls_replica *r, struct view *w, int l, size_t i, bool *gone,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_file *v = w->lv[l];
	enum ls_rc rc = LS_OK;

	*gone = false;
	if (!v[i].has_header)
		rc = ls_replica_header(r, &v[i], NULL, c, e);
	if (rc != LS_ENOTFOUND)
		return rc;
	*gone = true;
	memmove(&v[i], &v[i + 1], (w->n[l] - i - 1) * sizeof *v);
	w->n[l]--;
	return LS_OK;
}

/* Keep the files of a level up to a time. *total: how many there are. */
static enum ls_rc
cut_level(struct ls_replica *r, struct view *w, int l, int64_t before_ns,
    size_t *total, const struct ls_call *c, struct ls_err *e)
{
	size_t low = 0, high = w->n[l];
	enum ls_rc rc;
	bool gone;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if ((rc = view_header(r, w, l, mid, &gone, c, e)) != LS_OK)
			return rc;
		if (gone)
			high--; /* and w->n[l] is one less */
		else if (w->lv[l][mid].timestamp_ms <= before_ns / 1000000)
			low = mid + 1;
		else
			high = mid;
	}
	*total = w->n[l];
	w->n[l] = low;
	return LS_OK;
}

/* Time of the file that ends a chain at txid (lowest level: as captured). */
static enum ls_rc
point_time(struct ls_replica *r, struct view *w, uint64_t txid, int64_t *ns,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;
	bool gone;

	for (int l = 0; l < LS_LEVELS; l++)
		for (size_t i = w->n[l]; i-- > 0;) {
			if (w->lv[l][i].max_txid != txid)
				continue;
			rc = view_header(r, w, l, i, &gone, c, e);
			if (rc != LS_OK)
				return rc;
			if (gone)
				continue;
			*ns = w->lv[l][i].timestamp_ms * 1000000;
			return LS_OK;
		}
	return ls_err_set(e, LS_ENOTFOUND, "transaction not available");
}

static enum ls_rc
time_unreachable(struct ls_replica *r, struct view *whole, int64_t before_ns,
    const struct ls_call *c, struct ls_err *e)
{
	uint64_t first = next_point(whole, 0);
	int64_t ns;
	char want[LS_TIME_MAX], at[LS_TIME_MAX], txid[LS_TXID_TEXT];

	if (first > 0 && point_time(r, whole, first, &ns, c, NULL) == LS_OK)
		ls_time_milli(ns, at);
	else
		first = 0;
	(void)ls_err_set(e, LS_ENOTFOUND,
	    "transaction not available: nothing stored reaches back to %s",
	    ls_time_nano(before_ns, want));
	if (first == 0)
		return LS_ENOTFOUND;
	return ls_err_hint(e, LS_ENOTFOUND,
	    "no point before; the nearest after it is %s (TXID %s)", at,
	    ls_txid_text(first, txid));
}

static enum ls_rc
cut_time(struct ls_replica *r, struct view *w, int64_t before_ns,
    const struct ls_call *c, struct ls_err *e)
{
	size_t total[LS_LEVELS];
	uint64_t known = 0; /* committed by then: a file of that time has it */
	enum ls_rc rc;

	for (int l = 0; l < LS_LEVELS; l++) {
		rc = cut_level(r, w, l, before_ns, &total[l], c, e);
		if (rc != LS_OK)
			return rc;
		if (w->n[l] > 0)
			known = LS_MAX(known, w->lv[l][w->n[l] - 1].max_txid);
	}
	/* Upstream's snapshots say when they were made, which is later. */
	for (int l = 0; l < LS_LEVELS; l++)
		while (
		    w->n[l] < total[l] && w->lv[l][w->n[l]].max_txid <= known)
			w->n[l]++;
	return LS_OK;
}

/* ---- the plan -------------------------------------------------------------*/

void
ls_plan_fini(struct ls_plan *p)
{
	ls_files_fini(&p->files);
	p->txid = 0;
}

/* What was asked for, against what the walk reached. */
static enum ls_rc
judge(struct ls_replica *r, struct view *w, const struct ls_target *t,
    const struct ls_files *all, const struct ls_plan *p,
    const struct ls_call *c, struct ls_err *e)
{
	struct view whole;
	enum ls_rc rc;

	if (t->txid != 0 && p->txid != t->txid)
		return txid_unreachable(w, t->txid, p->txid, e);
	if (t->before_ns != 0 && p->txid == 0) {
		if ((rc = view_make(&whole, all, e)) != LS_OK)
			return rc;
		rc = time_unreachable(r, &whole, t->before_ns, c, e);
		view_fini(&whole);
		return rc;
	}
	if (t->txid == 0 && t->before_ns == 0 &&
	    (rc = check_gap(w, p->txid, e)) != LS_OK)
		return rc;
	if (p->txid == 0)
		return ls_err_set(e, LS_ENOTFOUND, "transaction not available");
	return LS_OK;
}

enum ls_rc
ls_plan_make(struct ls_replica *r, const struct ls_files *all,
    const struct ls_target *t, struct ls_plan *out, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;
	struct view w;
	struct ls_plan p = { 0 };
	static const struct ls_target newest;

	t = t ? t : &newest;
	if (t->txid != 0 && t->before_ns != 0)
		return ls_err_set(e, LS_EINVALID,
		    "a TXID and a time cannot both be the target");
	if ((rc = view_make(&w, all, e)) != LS_OK)
		return rc;
	if (t->before_ns != 0)
		rc = cut_time(r, &w, t->before_ns, c, e);
	if (rc == LS_OK)
		rc = walk(
		    &w, t->txid ? t->txid : UINT64_MAX, &p.files, &p.txid, e);
	if (rc == LS_OK)
		rc = judge(r, &w, t, all, &p, c, e);
	view_fini(&w);
	if (rc == LS_OK)
		*out = p;
	else
		ls_plan_fini(&p);
	return rc;
}

enum ls_rc
ls_replica_bounds(struct ls_replica *r, const struct ls_files *all,
    int64_t *oldest_ns, int64_t *newest_ns, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;
	struct view w;
	uint64_t first = 0, last = 0;
	int64_t from = 0, to = 0;

	if ((rc = view_make(&w, all, e)) != LS_OK)
		return rc;
	/* The first point is a base: the smallest file that starts at 1. */
	for (int l = 0; l < LS_LEVELS; l++)
		if (w.n[l] > 0 && w.lv[l][0].min_txid == 1 &&
		    (first == 0 || w.lv[l][0].max_txid < first))
			first = w.lv[l][0].max_txid;
	if (first != 0)
		rc = walk(&w, UINT64_MAX, NULL, &last, e);
	if (rc == LS_OK && first != 0)
		rc = point_time(r, &w, first, &from, c, e);
	if (rc == LS_OK && last != 0)
		rc = point_time(r, &w, last, &to, c, e);
	view_fini(&w);
	if (rc == LS_OK)
		*oldest_ns = from, *newest_ns = to;
	return rc;
}

/* ---- for points, retention and verify --------------------------------------*/

enum ls_rc
ls_plan_usable(
    const struct ls_files *all, struct ls_files *out, struct ls_err *e)
{
	enum ls_rc rc;
	struct view w;

	if ((rc = view_make(&w, all, e)) != LS_OK)
		return rc;
	for (int l = 0; rc == LS_OK && l < LS_LEVELS; l++)
		for (size_t i = 0; rc == LS_OK && i < w.n[l]; i++)
			rc = ls_files_add(out, &w.lv[l][i], e);
	view_fini(&w);
	return rc;
}
