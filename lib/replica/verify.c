/* verify.c -- is what is stored whole? See verify.h.
 *
 * (1) A HOLE IS SEEN WHERE IT HURTS: a file that no plan reaches although a
 *     full copy lies before it; and where it will hurt: a hole in a level that
 *     lower levels still fill today and no compaction will ever fill again.
 *     (tests: verify_names_the_gap, verify_sees_a_hole_that_sources_fill)
 * (2) WHAT RETENTION LEAVES IS NO HOLE: files that end before the first full
 *     copy, level-0 files that level 1 has. Upstream's retention cuts level 0
 *     inside a file of level 1: what is left up to that file's end has no plan,
 *     but nothing is lost. A hole behind the cut is one. (tests:
 *     verify_after_retention, verify_after_upstreams_retention)
 * (3) THE NEWEST STATE IS COMPLETE, by the same code that restores it.
 *     (test: verify_finds_missing_pages)
 * Not here: the bytes of pages (a restore reads them all: `verify -deep`).
 */
#include "replica/verify.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "replica/chain.h"
#include "replica/points.h"

void
ls_verified_fini(struct ls_verified *v)
{
	ls_free(v->gaps);
	*v = (struct ls_verified){ .ok = false };
}

static enum ls_rc
add_gap(struct ls_verified *v, int level, uint64_t min, uint64_t max,
    struct ls_err *e)
{
	for (size_t i = 0; i < v->n_gaps; i++)
		if (v->gaps[i].level == level && v->gaps[i].min == min)
			return LS_OK;
	if (v->n_gaps == v->cap_gaps) {
		size_t cap = v->cap_gaps ? v->cap_gaps * 2 : 8;
		struct ls_gap *g = ls_realloc(v->gaps, cap * sizeof *g);

		if (g == NULL)
			return ls_err_nomem(e);
		v->gaps = g, v->cap_gaps = cap;
	}
	v->gaps[v->n_gaps++] = (struct ls_gap){ level, min, max };
	return LS_OK;
}

static bool
full_ends_at(const struct ls_files *all, uint64_t txid)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].min_txid == 1 && all->v[i].max_txid == txid)
			return true;
	return false;
}

/* Holes inside levels 1 to 8. all: sorted. */
static enum ls_rc
look_inside(const struct ls_files *all, struct ls_verified *v, struct ls_err *e)
{
	uint64_t end = 0;
	int level = -1;
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < all->n; i++) {
		const struct ls_file *f = &all->v[i];

		if (f->level == 0 || f->level == LS_SNAPSHOT_LEVEL)
			continue;
		if (f->level == level && f->min_txid > end &&
		    f->min_txid - end > 1 &&
		    !full_ends_at(all, f->min_txid - 1))
			rc = add_gap(v, level, end + 1, f->min_txid - 1, e);
		end =
		    f->level == level ? LS_MAX(end, f->max_txid) : f->max_txid;
		level = f->level;
	}
	return rc;
}

/* The last point before txid. */
static uint64_t
point_before(const struct ls_points *p, uint64_t txid)
{
	uint64_t last = 0;

	for (size_t i = 0; i < p->n && p->v[i].txid < txid; i++)
		last = p->v[i].txid;
	return last;
}

/* (2): are these TXIDs in a file of a higher level that a plan reaches? */
static bool
held_above(const struct ls_files *all, const struct ls_points *p, int level,
    uint64_t min, uint64_t max)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct ls_file *f = &all->v[i];

		if (f->level > level && f->level != LS_SNAPSHOT_LEVEL &&
		    f->min_txid <= min && f->max_txid >= max &&
		    ls_points_have(p, f->max_txid))
			return true;
	}
	return false;
}

/* Files that no plan reaches, behind the first full copy. */
static enum ls_rc
look_behind(const struct ls_files *all, const struct ls_points *p,
    struct ls_verified *v, struct ls_err *e)
{
	uint64_t first = p->n ? p->v[0].txid : 0;
	uint64_t begin = 0; /* of the level; 0: a hole lies between */
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < all->n; i++) {
		const struct ls_file *f = &all->v[i];
		uint64_t at;

		if (i == 0 || f[-1].level != f->level)
			begin = f->min_txid;
		else if (f->min_txid > f[-1].max_txid + 1)
			begin = 0;
		if ((p->n != 0 && f->max_txid < first) ||
		    ls_points_have(p, f->max_txid) ||
		    (begin != 0 &&
			held_above(all, p, f->level, begin, f->max_txid)))
			continue;
		at = point_before(p, f->max_txid);
		if (f->min_txid > at && f->min_txid - at > 1)
			rc = add_gap(v, f->level, at + 1, f->min_txid - 1, e);
	}
	return rc;
}

static enum ls_rc
look(const struct ls_files *all, struct ls_verified *v, struct ls_err *e)
{
	struct ls_files usable = { 0 };
	struct ls_points p = { 0 };
	enum ls_rc rc;

	if ((rc = ls_plan_usable(all, &usable, e)) == LS_OK &&
	    (rc = ls_points_of(all, &p, e)) == LS_OK &&
	    (rc = look_behind(&usable, &p, v, e)) == LS_OK)
		rc = look_inside(&usable, v, e);
	v->checked_txid = p.n ? p.v[p.n - 1].txid : 0;
	ls_files_fini(&usable);
	ls_points_fini(&p);
	return rc;
}

/* An answer about the replica, not about asking for it. */
static bool
is_verdict(enum ls_rc rc)
{
	switch (rc) {
	case LS_ECORRUPT:
	case LS_ESHORT:
	case LS_EGAP:
	case LS_ENOTFOUND:
	case LS_ERANGE: return true;
	default: return false;
	}
}

static void
count_files(const struct ls_chain *ch, struct ls_verified *v)
{
	v->checked_files = ch->n;
	v->page_size = ch->page_size;
	v->commit = ch->commit;
	for (size_t i = 0; i < ch->n; i++) {
		v->tagged_files += ch->v[i].h.has_db_checksum;
		if (ch->v[i].h.node_id != 0)
			v->lineage = ch->v[i].h.node_id;
	}
}

/* Open the newest state that has a plan: chain.c's checks. */
static enum ls_rc
open_newest(struct ls_replica *r, const struct ls_files *all,
    const struct ls_par *par, unsigned k, struct ls_verified *v,
    const struct ls_call *c, struct ls_err *e)
{
	const struct ls_target t = { .txid = v->checked_txid };
	struct ls_plan p = { 0 };
	struct ls_chain ch = { 0 };
	enum ls_rc rc;

	if (v->checked_txid == 0) {
		(void)ls_err_set(&v->problem, LS_ENOTFOUND,
		    all->n == 0 ? "the replica is empty"
				: "no full copy: nothing can be restored");
		return LS_OK;
	}
	if ((rc = ls_plan_make(r, all, &t, &p, c, e)) != LS_OK)
		return rc;
	rc = ls_chain_open(&ch, r, &p, par, k, c, &v->problem);
	if (rc == LS_OK)
		count_files(&ch, v);
	else if (!is_verdict(rc) && e != NULL)
		*e = v->problem;
	ls_chain_close(&ch);
	ls_plan_fini(&p);
	return is_verdict(rc) ? LS_OK : rc;
}

enum ls_rc
ls_verify(struct ls_replica *r, const struct ls_par *par, unsigned parallelism,
    struct ls_verified *out, const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_verified v = { .ok = false };
	enum ls_rc rc;

	if ((rc = ls_replica_list_all(r, par, &all, c, e)) == LS_OK &&
	    (rc = look(&all, &v, e)) == LS_OK)
		rc = open_newest(r, &all, par, parallelism, &v, c, e);
	v.listed = all.n;
	v.ok = v.n_gaps == 0 && v.problem.rc == LS_OK;
	ls_files_fini(&all);
	if (rc == LS_OK)
		*out = v;
	else
		ls_verified_fini(&v);
	return rc;
}
