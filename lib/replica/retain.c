/* retain.c -- delete what no restore point needs any more. See retain.h.
 *
 * (1) NOTHING GOES BEFORE THE PROOF (prove.c), which does not use the rules
 *     below. If a point would be lost, nothing is deleted. (tests:
 *     nothing_is_deleted_when_a_point_would_be_lost, thirty_days)
 * (2) THE WINDOW HAS A BASE: of the full copies at or before its begin the
 *     newest stays, whatever its age, since the points right behind the begin
 *     stand on it. (Upstream keeps the newest of all only, and keeps this one
 *     in effect by looking once a snapshot interval.) (test: window_has_a_base)
 * (3) TIME IS THE HEADERS' for full copies, as far as it can be believed: it
 *     does not decrease with TXID, the future is now, and a clock that jumped
 *     ahead is not believed for an hour. Level 0 goes by the time of upload as
 *     listed, which is what fencing counts from. (tests: clock_set_back,
 *     clock_jumps_ahead)
 * (4) A YOUNG TXID CAN BE RESTORED, ITSELF: a level-0 file needs all before it
 *     back to a boundary of level 1, so level 0 goes in the pieces that level 1
 *     was made of, when the youngest of a piece is old enough.
 *     (tests: level_0_by_age_and_cover, thirty_days)
 * (5) ORDER: levels 0 to 8 first, level 9 last: when deleting is cut short, the
 *     full copies that tell the floor are still there the next time.
 * (6) ONLY OURS. A file above our newest TXID is another writer's, and then
 *     nothing is deleted. (test: retention_is_fenced)
 */
#include "replica/retain.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "replica/inputs.h"

#include <stdlib.h>

#define HOUR	  (3600 * LS_SEC)
#define TOLERANCE (60 * (int64_t)LS_SEC)

/* ---- the clock ------------------------------------------------------------*/

int64_t
ls_steady_now(struct ls_steady *s)
{
	int64_t wall = ls_sys->wall_ns(), want;
	uint64_t boot = ls_sys->boot_ns();

	if (!s->started)
		*s = (struct ls_steady){ true, wall, boot, 0 };
	want = s->wall_ns + (int64_t)(boot - s->boot_ns);
	if (wall > want + TOLERANCE) {
		if (s->ahead_ns == 0)
			s->ahead_ns = boot;
		if (boot - s->ahead_ns < HOUR)
			return want;
	}
	*s = (struct ls_steady){ true, wall, boot, 0 };
	return wall;
}

/* ---- choosing -------------------------------------------------------------*/

struct job {
	struct ls_replica *r;
	const struct ls_retain_opts *o;
	struct ls_retained *out;
	const struct ls_call *c;
	struct ls_files all;  /* sorted by level, min, max */
	struct ls_file *full; /* full copies, oldest first, with headers */
	size_t n_full;
	size_t keep; /* index of the first full copy that stays */
	struct ls_files gone;
};

static const char *
key_of(struct ls_replica *r, const struct ls_file *f, char key[LS_KEY_MAX])
{
	return ls_ltx_key(ls_store_layout(ls_replica_store(r)), f->level,
	    f->min_txid, f->max_txid, key);
}

static bool
is_full(const struct ls_file *f)
{
	return f->min_txid == 1 &&
	       (f->level == LS_SNAPSHOT_LEVEL || f->level == 0);
}

/* By end; at the same end level 0 first. */
static int
by_end(const void *a, const void *b)
{
	const struct ls_file *x = a, *y = b;

	if (x->max_txid != y->max_txid)
		return x->max_txid < y->max_txid ? -1 : 1;
	return (x->level > y->level) - (x->level < y->level);
}

static int64_t
time_of(const struct ls_file *f)
{
	return f->timestamp_ms * 1000000;
}

/* Full copies with believable times, and which of them stay: (2), (3). */
static enum ls_rc
find_full(struct job *j, struct ls_err *e)
{
	int64_t begin = j->o->now_ns - j->o->retention_ns, last = INT64_MIN;
	enum ls_rc rc;

	j->full = ls_alloc(j->all.n * sizeof *j->full);
	if (j->full == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < j->all.n; i++)
		if (is_full(&j->all.v[i]))
			j->full[j->n_full++] = j->all.v[i];
	qsort(j->full, j->n_full, sizeof *j->full, by_end);
	for (size_t i = 0; i < j->n_full; i++) {
		struct ls_file *f = &j->full[i];

		if ((rc = ls_replica_header(j->r, f, NULL, j->c, e)) != LS_OK)
			return rc;
		if (time_of(f) > j->o->now_ns)
			continue; /* the future is now: in the window */
		last = LS_MAX(last, time_of(f));
		f->timestamp_ms = last / 1000000;
		if (time_of(f) <= begin)
			j->keep = i;
	}
	/* Of two that end alike the one at level 0 does not count. */
	while (j->keep > 0 &&
	       j->full[j->keep - 1].max_txid == j->full[j->keep].max_txid)
		j->keep--;
	return LS_OK;
}

static enum ls_rc
drop(struct job *j, const struct ls_file *f, struct ls_err *e)
{
	return ls_files_add(&j->gone, f, e);
}

/* Level 9. */
static enum ls_rc
choose_full(struct job *j, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < j->keep; i++)
		if (j->full[i].level == LS_SNAPSHOT_LEVEL)
			rc = drop(j, &j->full[i], e);
	return rc;
}

/* Levels 1 to 8: what ends before the full copy before the first kept one. */
static enum ls_rc
choose_levels(struct job *j, struct ls_err *e)
{
	uint64_t floor = j->keep > 0 ? j->full[j->keep - 1].max_txid : 0;
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i + 1 < j->all.n; i++) {
		const struct ls_file *f = &j->all.v[i];

		if (f->level == 0 || f->level == LS_SNAPSHOT_LEVEL ||
		    f[1].level != f->level) /* its last */
			continue;
		if (f->max_txid < floor)
			rc = drop(j, f, e);
	}
	return rc;
}

/* The base at level 0 is old enough to go: true when it may, since it is not
 * needed, or level 9 has it (now). */
static enum ls_rc
release_base(
    struct job *j, const struct ls_file *f, bool *may, struct ls_err *e)
{
	struct ls_file copy = *f;
	enum ls_rc rc;

	*may = true;
	if (j->full[j->keep].max_txid > f->max_txid)
		return LS_OK;
	for (size_t i = 0; i < j->n_full; i++)
		if (j->full[i].level == LS_SNAPSHOT_LEVEL &&
		    j->full[i].max_txid == f->max_txid)
			return LS_OK;
	rc = ls_file_to_level(j->r, f, LS_SNAPSHOT_LEVEL, j->c, e);
	if (rc == LS_EUNSUPPORTED) {
		*may = false;
		return LS_OK;
	}
	if (rc != LS_OK)
		return rc;
	j->out->promoted = true;
	copy.level = LS_SNAPSHOT_LEVEL;
	return ls_files_add(&j->all, &copy, e);
}

static uint64_t
level_end(const struct ls_files *all, int level)
{
	uint64_t end = 0;

	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].level == level)
			end = LS_MAX(end, all->v[i].max_txid);
	return end;
}

static void
due(struct job *j, int64_t at_ns)
{
	if (j->out->next_ns == 0 || at_ns < j->out->next_ns)
		j->out->next_ns = at_ns;
}

/* (4): the last end of a level-1 file up to which all of level 0 is old; the
 * first n of all are level 0's. */
static uint64_t
old_enough(struct job *j, size_t n)
{
	uint64_t old = 0, end = 0, all = level_end(&j->all, 1);
	int64_t young = 0;

	for (size_t i = 0; i < n && young == 0; i++) {
		int64_t created = j->all.v[i].created_ns;

		if (created + j->o->l0_retention_ns <= j->o->now_ns)
			old = j->all.v[i].max_txid;
		else
			young = created;
	}
	for (size_t i = n; i < j->all.n && j->all.v[i].level == 1; i++) {
		if (j->all.v[i].max_txid <= old)
			end = LS_MAX(end, j->all.v[i].max_txid);
		else /* the piece that is next: when its last is old */
			all = LS_MIN(all, j->all.v[i].max_txid);
	}
	for (size_t i = n; young != 0 && i-- > 0;)
		if (j->all.v[i].max_txid <= all && all > end) {
			due(j, j->all.v[i].created_ns + j->o->l0_retention_ns);
			break;
		}
	return end;
}

static void
count_level_0(struct job *j, size_t n, uint64_t old)
{
	uint64_t has = level_end(&j->all, 1);

	for (size_t i = 0; i < n; i++) {
		uint64_t at = j->all.v[i].max_txid;

		j->out->l0[at <= old ? 0 : at > has ? 1 : 2]++;
	}
}

static enum ls_rc
choose_level_0(struct job *j, struct ls_err *e)
{
	size_t n = 0;
	uint64_t end;
	enum ls_rc rc = LS_OK;

	while (n < j->all.n && j->all.v[n].level == 0)
		n++;
	if (j->o->l0_retention_ns == 0)
		return LS_OK;
	end = old_enough(j, n);
	count_level_0(j, n, end);
	for (size_t i = 0; rc == LS_OK && i + 1 < n; i++) {
		const struct ls_file f = j->all.v[i];
		bool may = true;

		if (f.max_txid > end)
			break;
		if (f.min_txid == 1)
			rc = release_base(j, &f, &may, e);
		if (rc == LS_OK && may)
			rc = drop(j, &f, e);
	}
	return rc;
}

/* ---- deleting -------------------------------------------------------------*/

static enum ls_rc
delete_all(struct job *j, struct ls_err *e)
{
	size_t n = j->gone.n;
	char(*text)[LS_KEY_MAX] = ls_alloc(n * sizeof *text);
	const char **keys = ls_alloc(n * sizeof *keys);
	enum ls_rc rc = LS_OK;

	if (text == NULL || keys == NULL)
		rc = ls_err_nomem(e);
	for (size_t i = 0; rc == LS_OK && i < n; i++)
		keys[i] = key_of(j->r, &j->gone.v[i], text[i]);
	if (rc == LS_OK)
		rc = ls_store_delete(ls_replica_store(j->r), keys, n, j->c, e);
	for (size_t i = 0; rc == LS_OK && i < n; i++) {
		j->out->deleted[j->gone.v[i].level]++;
		j->out->bytes += j->gone.v[i].size;
	}
	ls_free(text);
	ls_free(keys);
	return rc;
}

/* The next full copy to go is the first kept one, when the one behind it has
 * left the window. */
static void
due_full(struct job *j)
{
	for (size_t i = j->keep + 1; i < j->n_full; i++) {
		if (j->full[i].max_txid == j->full[j->keep].max_txid)
			continue;
		due(j, time_of(&j->full[i]) + j->o->retention_ns);
		return;
	}
}

static enum ls_rc
choose(struct job *j, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = find_full(j, e)) != LS_OK ||
	    (rc = choose_level_0(j, e)) != LS_OK ||
	    (rc = choose_levels(j, e)) != LS_OK)
		return rc;
	due_full(j);
	return choose_full(j, e); /* last: (5) */
}

enum ls_rc
ls_retain(struct ls_replica *r, const struct ls_retain_opts *o,
    struct ls_level_state *state, struct ls_retained *out,
    const struct ls_call *c, struct ls_err *e)
{
	struct job j = { .r = r, .o = o, .out = out, .c = c };
	enum ls_rc rc;

	*out = (struct ls_retained){ .promoted = false };
	if ((rc = ls_replica_list_all(r, o->par, &j.all, c, e)) != LS_OK ||
	    (rc = ls_files_fenced(r, &j.all, o->newest, o->newest_now,
		 o->newest_arg, e)) != LS_OK ||
	    (rc = choose(&j, e)) != LS_OK || j.gone.n == 0)
		goto out;
	rc = ls_retain_prove(r, &j.all, &j.gone, o->now_ns - o->retention_ns,
	    o->l0_retention_ns ? o->now_ns - o->l0_retention_ns : INT64_MAX, c,
	    e);
	if (rc == LS_OK)
		rc = delete_all(&j, e);
out:
	if (state != NULL && (rc != LS_OK || out->promoted))
		state[LS_SNAPSHOT_LEVEL].known = false;
	ls_free(j.full);
	ls_files_fini(&j.all);
	ls_files_fini(&j.gone);
	return ls_err_wrap(e, rc, "retention");
}
