/* prove.c -- the proof before a deletion. See ls_retain_prove in retain.h.
 *
 * (1) IT DOES NOT KNOW THE RULES by which files were chosen. It looks at all
 *     points that had a plan before, and at those that have one in the listing
 *     as it would be, and refuses when one of the window is missing.
 *     (test: planted_wrong_deletion_is_refused)
 * (2) ALL POINTS AT ONCE: points.c, which is the planner's answer for every
 *     TXID in one pass; the planner itself is asked for the ends.
 * (3) WHEN IN DOUBT A POINT COUNTS: a file listed as new belongs to the window
 *     unless its header says otherwise.
 */
#include "replica/retain.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "replica/files.h"
#include "replica/points.h"

#include <stdlib.h>

#define SLACK_NS (3600 * (int64_t)LS_SEC) /* between two clocks */

static uint64_t
level_end(const struct ls_files *all, int level)
{
	uint64_t end = 0;

	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].level == level)
			end = LS_MAX(end, all->v[i].max_txid);
	return end;
}

static bool
counts(const struct ls_file *f, uint64_t covered, int64_t window_ns,
    int64_t l0_window_ns)
{
	if (f->level == 0 && f->max_txid <= covered)
		return f->created_ns > l0_window_ns;
	/* As listed: another clock than the header's. */
	return f->created_ns >= window_ns - SLACK_NS;
}

/* What is listed as new may be old: the header has the last word. */
static enum ls_rc
really_counts(struct ls_replica *r, struct ls_file *f, int64_t window_ns,
    bool *yes, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = ls_replica_header(r, f, NULL, c, e);

	*yes = rc == LS_OK && f->timestamp_ms * 1000000 >= window_ns;
	return rc == LS_ENOTFOUND ? LS_OK : rc;
}

/* The first file to go that a plan to txid needs. */
static const struct ls_file *
needed(const struct ls_files *gone, uint64_t txid)
{
	const struct ls_file *best = NULL;

	for (size_t i = 0; i < gone->n; i++)
		if (gone->v[i].max_txid <= txid &&
		    (best == NULL || gone->v[i].max_txid > best->max_txid))
			best = &gone->v[i];
	return best;
}

static enum ls_rc
lost(struct ls_replica *r, const struct ls_files *gone, uint64_t txid,
    struct ls_err *e)
{
	const struct ls_file *f = needed(gone, txid);
	char key[LS_KEY_MAX] = "a file";

	if (f != NULL)
		(void)ls_ltx_key(ls_store_layout(ls_replica_store(r)), f->level,
		    f->min_txid, f->max_txid, key);
	(void)ls_err_set(e, LS_EGAP,
	    "retention would lose the restore point at TXID %016llx: %s is "
	    "needed; nothing was deleted",
	    (unsigned long long)txid, key);
	return ls_err_hint(e, LS_EGAP, "run verify on this replica");
}

static bool
among(const struct ls_file *sorted, size_t n, const struct ls_file *f)
{
	return n > 0 && bsearch(f, sorted, n, sizeof *f, ls_file_order) != NULL;
}

static enum ls_rc
without(const struct ls_files *all, const struct ls_files *gone,
    struct ls_files *left, struct ls_err *e)
{
	struct ls_files g = { 0 };
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < gone->n; i++)
		rc = ls_files_add(&g, &gone->v[i], e);
	if (rc == LS_OK)
		ls_files_sort(g.v, g.n);
	for (size_t i = 0; rc == LS_OK && i < all->n; i++)
		if (!among(g.v, g.n, &all->v[i]))
			rc = ls_files_add(left, &all->v[i], e);
	ls_files_fini(&g);
	return rc;
}

/* The planner itself, for the newest state and the oldest point left. */
static enum ls_rc
ask_planner(struct ls_replica *r, const struct ls_files *left,
    const struct ls_points *p, const struct ls_call *c, struct ls_err *e)
{
	for (size_t i = 0; i < 2 && p->n > 0; i++) {
		struct ls_target t = { .txid = p->v[i ? p->n - 1 : 0].txid };
		struct ls_plan plan = { 0 };
		enum ls_rc rc = ls_plan_make(r, left, &t, &plan, c, e);

		if (rc != LS_OK)
			return ls_err_wrap(e, LS_EGAP, "after retention");
		ls_plan_fini(&plan);
	}
	return LS_OK;
}

static enum ls_rc
compare(struct ls_replica *r, const struct ls_files *all,
    const struct ls_files *gone, const struct ls_points *was,
    const struct ls_points *is, int64_t window_ns, int64_t l0_window_ns,
    const struct ls_call *c, struct ls_err *e)
{
	uint64_t covered = level_end(all, 1);
	uint64_t newest = was->n ? was->v[was->n - 1].txid : 0;
	enum ls_rc rc;

	if (newest != 0 && !ls_points_have(is, newest))
		return lost(r, gone, newest, e);
	for (size_t i = 0; i < all->n; i++) {
		struct ls_file f = all->v[i];
		bool yes;

		if (!counts(&f, covered, window_ns, l0_window_ns) ||
		    ls_points_have(is, f.max_txid) ||
		    !ls_points_have(was, f.max_txid))
			continue;
		rc = really_counts(r, &f, window_ns, &yes, c, e);
		if (rc != LS_OK)
			return rc;
		if (yes)
			return lost(r, gone, f.max_txid, e);
	}
	return LS_OK;
}

enum ls_rc
ls_retain_prove(struct ls_replica *r, const struct ls_files *all,
    const struct ls_files *gone, int64_t window_ns, int64_t l0_window_ns,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files left = { 0 };
	struct ls_points was = { 0 }, is = { 0 };
	enum ls_rc rc;

	if ((rc = without(all, gone, &left, e)) == LS_OK &&
	    (rc = ls_points_of(all, &was, e)) == LS_OK &&
	    (rc = ls_points_of(&left, &is, e)) == LS_OK &&
	    (rc = compare(r, all, gone, &was, &is, window_ns, l0_window_ns, c,
		 e)) == LS_OK)
		rc = ask_planner(r, &left, &is, c, e);
	ls_points_fini(&was);
	ls_points_fini(&is);
	ls_files_fini(&left);
	return rc;
}
