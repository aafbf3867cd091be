/* points.c -- the TXIDs that can be restored, out of a listing.
 *
 * (1) THE SAME ANSWER AS THE PLANNER'S, for all TXIDs at once. A TXID t has a
 *     plan when a file ends at t that is a full copy (min 1), or that begins no
 *     later than right behind a smaller TXID that has a plan. So one pass in
 *     order of max TXID, remembering the last that has one, decides all.
 *     (test: points_are_what_the_planner_finds)
 * (2) TIMES ARE THE HEADERS', as the restore compares them (plan.c (3)). A
 *     listing's time is not earlier than the header's, but for the difference
 *     of two clocks, so what is listed a day before `since` needs no look.
 *     (test: points_by_time)
 */
#include "replica/points.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "replica/files.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SKEW_NS (86400 * (int64_t)LS_SEC)

void
ls_points_fini(struct ls_points *p)
{
	ls_free(p->v);
	*p = (struct ls_points){ 0 };
}

static enum ls_rc
add(struct ls_points *p, const struct ls_file *f, struct ls_err *e)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		struct ls_point *v = ls_realloc(p->v, cap * sizeof *v);

		if (v == NULL)
			return ls_err_nomem(e);
		p->v = v, p->cap = cap;
	}
	p->v[p->n++] = (struct ls_point){ f->max_txid,
		f->has_header ? f->timestamp_ms * 1000000 : f->created_ns,
		f->size, f->min_txid, f->level };
	return LS_OK;
}

/* By max TXID; of those that end alike the lowest level first. */
static int
by_end(const void *a, const void *b)
{
	const struct ls_file *x = a, *y = b;

	if (x->max_txid != y->max_txid)
		return x->max_txid < y->max_txid ? -1 : 1;
	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return (x->min_txid > y->min_txid) - (x->min_txid < y->min_txid);
}

static enum ls_rc
walk(const struct ls_files *s, struct ls_points *out, struct ls_err *e)
{
	uint64_t reached = 0;
	enum ls_rc rc;

	for (size_t i = 0, next; i < s->n; i = next) {
		uint64_t end = s->v[i].max_txid, min = s->v[i].min_txid;

		for (next = i; next < s->n && s->v[next].max_txid == end;
		     next++)
			min = LS_MIN(min, s->v[next].min_txid);
		if (min - 1 > reached)
			continue;
		if ((rc = add(out, &s->v[i], e)) != LS_OK)
			return rc;
		reached = end;
	}
	return LS_OK;
}

enum ls_rc
ls_points_of(
    const struct ls_files *all, struct ls_points *out, struct ls_err *e)
{
	struct ls_files s = { 0 };
	enum ls_rc rc = ls_plan_usable(all, &s, e);

	if (rc == LS_OK && s.n > 1)
		qsort(s.v, s.n, sizeof *s.v, by_end);
	if (rc == LS_OK)
		rc = walk(&s, out, e);
	ls_files_fini(&s);
	return rc;
}

bool
ls_points_have(const struct ls_points *p, uint64_t txid)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->v[mid].txid == txid)
			return true;
		if (p->v[mid].txid < txid)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* ---- with times ------------------------------------------------------------*/

struct timing {
	struct ls_replica *r;
	struct ls_point *v;
	const struct ls_call *c;
	enum ls_rc *rc;
	struct ls_err *e; /* of one that failed */
	atomic_flag said;
};

static void
time_job(void *arg, size_t i)
{
	struct timing *t = arg;
	struct ls_point *p = &t->v[i];
	struct ls_file f = { .level = p->min_level,
		.min_txid = p->min_txid,
		.max_txid = p->txid,
		.size = p->size,
		.created_ns = p->time_ns };
	struct ls_err e = { 0 };

	t->rc[i] = ls_replica_header(t->r, &f, NULL, t->c, &e);
	if (t->rc[i] == LS_OK)
		p->time_ns = f.timestamp_ms * 1000000;
	else if (t->rc[i] == LS_ENOTFOUND)
		t->rc[i] = LS_OK; /* gone since: as listed */
	else if (!atomic_flag_test_and_set(&t->said) && t->e != NULL)
		*t->e = e;
}

static enum ls_rc
read_times(struct ls_replica *r, const struct ls_points_opts *o,
    struct ls_points *p, const struct ls_call *c, struct ls_err *e)
{
	struct timing t = { r, p->v, c, NULL, e, ATOMIC_FLAG_INIT };
	const struct ls_par *par = o->par ? o->par : &ls_par_serial;
	enum ls_rc rc = LS_OK;

	if (p->n == 0)
		return LS_OK;
	if ((t.rc = ls_zalloc(p->n * sizeof *t.rc)) == NULL)
		return ls_err_nomem(e);
	par->run(par, p->n, o->parallelism ? o->parallelism : 8, time_job, &t);
	for (size_t i = 0; rc == LS_OK && i < p->n; i++)
		rc = t.rc[i];
	ls_free(t.rc);
	return rc;
}

static void
keep_between(struct ls_points *p, int64_t since_ns, int64_t until_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n; i++)
		if ((since_ns == 0 || p->v[i].time_ns >= since_ns) &&
		    (until_ns == 0 || p->v[i].time_ns <= until_ns))
			p->v[kept++] = p->v[i];
	p->n = kept;
}

enum ls_rc
ls_replica_points(struct ls_replica *r, const struct ls_points_opts *o,
    struct ls_points *out, const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_points p = { 0 };
	enum ls_rc rc;

	if ((rc = ls_replica_list_all(r, o->par, &all, c, e)) == LS_OK)
		rc = ls_points_of(&all, &p, e);
	ls_files_fini(&all);
	if (o->since_ns > SKEW_NS)
		keep_between(&p, o->since_ns - SKEW_NS, 0); /* (2) */
	if (rc == LS_OK)
		rc = read_times(r, o, &p, c, e);
	if (rc != LS_OK) {
		ls_points_fini(&p);
		return rc;
	}
	keep_between(&p, o->since_ns, o->until_ns);
	*out = p;
	return LS_OK;
}
