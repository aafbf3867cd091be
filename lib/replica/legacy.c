/* legacy.c -- what a v0.3 replica holds: names, listings, and the choice
 * between it and LTX files. See legacy.h.
 *
 * (1) NAMES ARE UNTRUSTED: what is not exactly of v0.3's forms is no file of
 *     its; a listing has a ceiling. (test: legacy_names)
 * (2) THE CHOICE IS UPSTREAM'S, but for one point: the best LTX base before a
 *     time is any file that starts at TXID 1, not only one of level 9, since
 *     our first copies live at level 0. (test: legacy_choice)
 * Not here: rebuilding the database (legacy_restore.c).
 */
#include "replica/legacy_files.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum { GENERATIONS_MAX = 1 << 20, OBJECTS_MAX = 1 << 24 };

/* ---- names ----------------------------------------------------------------*/

/* How many lower-case hex digits s begins with. */
static size_t
hex_len(const char *s)
{
	return strspn(s, "0123456789abcdef");
}

/* "<8 hex>.snapshot.lz4" */
static bool
parse_snapshot(const char *name, uint32_t *index)
{
	if (hex_len(name) != 8 || strcmp(name + 8, ".snapshot.lz4") != 0)
		return false;
	*index = (uint32_t)strtoul(name, NULL, 16);
	return true;
}

/* "<8 hex>_<8 to 16 hex>.wal.lz4" */
static bool
parse_segment(const char *name, struct ls_legacy_segment *s)
{
	size_t n;

	if (hex_len(name) != 8 || name[8] != '_')
		return false;
	n = hex_len(name + 9);
	if (n < 8 || n > 16 || strcmp(name + 9 + n, ".wal.lz4") != 0)
		return false;
	s->index = (uint32_t)strtoul(name, NULL, 16);
	s->offset = strtoull(name + 9, NULL, 16);
	s->digits = (unsigned char)n;
	return true;
}

/* The part of a key behind its last '/'. */
static const char *
last_part(const char *key)
{
	const char *p = strrchr(key, '/');

	return p != NULL ? p + 1 : key;
}

/* ---- growing lists --------------------------------------------------------*/

/* Room for one more of `size` bytes in *v. */
static enum ls_rc
grow(void *v, size_t n, size_t *cap, size_t size, size_t max, struct ls_err *e)
{
	void *p, **at = v;
	size_t want = *cap ? *cap * 2 : 16;

	if (n < *cap)
		return LS_OK;
	if (n >= max)
		return ls_err_set(
		    e, LS_ERANGE, "more than %zu v0.3 files", max);
	if ((p = ls_realloc(*at, want * size)) == NULL)
		return ls_err_nomem(e);
	*at = p;
	*cap = want;
	return LS_OK;
}

/* ---- generations and snapshots --------------------------------------------*/

struct names {
	char (*v)[17];
	size_t n, cap;
	enum ls_rc rc;
	struct ls_err *e;
};

static bool
on_generation(void *arg, const struct ls_object *o)
{
	struct names *g = arg;
	char name[LS_KEY_MAX];
	size_t n = strlen(o->key);
	const char *p;

	if (n > 0 && n < sizeof name) {
		memcpy(name, o->key, n + 1);
		if (name[n - 1] == '/')
			name[n - 1] = '\0';
		p = last_part(name);
		if (hex_len(p) == 16 && p[16] == '\0') {
			g->rc = grow(&g->v, g->n, &g->cap, sizeof *g->v,
			    GENERATIONS_MAX, g->e);
			if (g->rc == LS_OK)
				memcpy(g->v[g->n++], p, 17);
		}
	}
	return g->rc == LS_OK;
}

struct snapshots {
	struct ls_legacy *l;
	const char *generation;
	enum ls_rc rc;
	struct ls_err *e;
};

static bool
on_snapshot(void *arg, const struct ls_object *o)
{
	struct snapshots *s = arg;
	struct ls_legacy_snapshot f = { .size = o->size,
		.created_ns = o->mtime_ns };

	if (!parse_snapshot(last_part(o->key), &f.index))
		return true;
	memcpy(f.generation, s->generation, sizeof f.generation);
	s->rc =
	    grow(&s->l->v, s->l->n, &s->l->cap, sizeof f, OBJECTS_MAX, s->e);
	if (s->rc == LS_OK)
		s->l->v[s->l->n++] = f;
	return s->rc == LS_OK;
}

static enum ls_rc
list_snapshots(struct ls_store *st, const char *generation,
    struct ls_legacy *out, const struct ls_call *c, struct ls_err *e)
{
	struct snapshots s = { out, generation, LS_OK, e };
	char prefix[LS_KEY_MAX];
	enum ls_rc rc;

	(void)snprintf(
	    prefix, sizeof prefix, "generations/%s/snapshots/", generation);
	rc = ls_store_list(st, prefix, NULL, on_snapshot, &s, c, e);
	return rc == LS_OK ? s.rc : rc;
}

enum ls_rc
ls_legacy_list(struct ls_store *st, struct ls_legacy *out,
    const struct ls_call *c, struct ls_err *e)
{
	struct names g = { .rc = LS_OK, .e = e };
	const char *type = ls_store_type(st);
	enum ls_rc rc;

	if (strcmp(type, "file") != 0 && strcmp(type, "s3") != 0)
		return LS_OK;
	rc = ls_store_list_dirs(st, "generations/", on_generation, &g, c, e);
	if (rc == LS_OK)
		rc = g.rc;
	out->generations = g.n;
	for (size_t i = 0; rc == LS_OK && i < g.n; i++)
		rc = list_snapshots(st, g.v[i], out, c, e);
	ls_free(g.v);
	if (rc != LS_OK)
		ls_legacy_fini(out);
	return ls_err_wrap(e, rc, "list v0.3 snapshots");
}

void
ls_legacy_fini(struct ls_legacy *l)
{
	ls_free(l->v);
	*l = (struct ls_legacy){ 0 };
}

const struct ls_legacy_snapshot *
ls_legacy_pick(const struct ls_legacy *l, int64_t before_ns)
{
	const struct ls_legacy_snapshot *best = NULL;

	for (size_t i = 0; i < l->n; i++)
		if ((before_ns == 0 || l->v[i].created_ns <= before_ns) &&
		    (best == NULL || l->v[i].created_ns > best->created_ns))
			best = &l->v[i];
	return best;
}

/* ---- segments -------------------------------------------------------------*/

struct segments {
	struct ls_legacy_segments *out;
	enum ls_rc rc;
	struct ls_err *e;
};

static bool
on_segment(void *arg, const struct ls_object *o)
{
	struct segments *s = arg;
	struct ls_legacy_segment f = { .size = o->size,
		.created_ns = o->mtime_ns };

	if (!parse_segment(last_part(o->key), &f))
		return true;
	s->rc = grow(
	    &s->out->v, s->out->n, &s->out->cap, sizeof f, OBJECTS_MAX, s->e);
	if (s->rc == LS_OK)
		s->out->v[s->out->n++] = f;
	return s->rc == LS_OK;
}

static int
segment_order(const void *a, const void *b)
{
	const struct ls_legacy_segment *x = a, *y = b;

	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

enum ls_rc
ls_legacy_segments(struct ls_store *st, const char *generation,
    struct ls_legacy_segments *out, const struct ls_call *c, struct ls_err *e)
{
	struct segments s = { out, LS_OK, e };
	char prefix[LS_KEY_MAX];
	enum ls_rc rc;

	(void)snprintf(
	    prefix, sizeof prefix, "generations/%s/wal/", generation);
	rc = ls_store_list(st, prefix, NULL, on_segment, &s, c, e);
	if (rc == LS_OK)
		rc = s.rc;
	if (rc == LS_OK && out->n > 0)
		qsort(out->v, out->n, sizeof *out->v, segment_order);
	return ls_err_wrap(e, rc, "list v0.3 WAL segments");
}

void
ls_legacy_segments_fini(struct ls_legacy_segments *s)
{
	ls_free(s->v);
	*s = (struct ls_legacy_segments){ 0 };
}

/* ---- the choice -----------------------------------------------------------*/

static enum ls_rc
generation_newest(struct ls_store *st, const char *generation, int64_t *newest,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_legacy_segments s = { 0 };
	enum ls_rc rc = ls_legacy_segments(st, generation, &s, c, e);

	for (size_t i = 0; rc == LS_OK && i < s.n; i++)
		*newest = LS_MAX(*newest, s.v[i].created_ns);
	ls_legacy_segments_fini(&s);
	return rc;
}

enum ls_rc
ls_legacy_bounds(struct ls_store *st, const struct ls_legacy *l,
    int64_t *oldest_ns, int64_t *newest_ns, const struct ls_call *c,
    struct ls_err *e)
{
	int64_t oldest = 0, newest = 0;
	enum ls_rc rc;

	for (size_t i = 0; i < l->n; i++) {
		const struct ls_legacy_snapshot *s = &l->v[i];

		if (i == 0 || s->created_ns < oldest)
			oldest = s->created_ns;
		newest = LS_MAX(newest, s->created_ns);
		if (i > 0 && strcmp(s->generation, l->v[i - 1].generation) == 0)
			continue; /* its segments were looked at */
		rc = generation_newest(st, s->generation, &newest, c, e);
		if (rc != LS_OK)
			return rc;
	}
	*oldest_ns = oldest;
	*newest_ns = newest;
	return LS_OK;
}

enum ls_rc
ls_legacy_preferred(struct ls_store *st, const struct ls_legacy *l,
    const struct ls_files *ltx, int64_t before_ns, bool *yes,
    const struct ls_call *c, struct ls_err *e)
{
	const struct ls_legacy_snapshot *s = ls_legacy_pick(l, before_ns);
	int64_t theirs = 0, oldest, newest;
	enum ls_rc rc;

	*yes = l->generations > 0 && ltx->n == 0;
	if (l->n == 0 || ltx->n == 0)
		return LS_OK;
	for (size_t i = 0; i < ltx->n; i++)
		if (before_ns == 0 || (ltx->v[i].min_txid == 1 &&
					  ltx->v[i].created_ns <= before_ns))
			theirs = LS_MAX(theirs, ltx->v[i].created_ns);
	if (before_ns != 0) {
		*yes = s != NULL && s->created_ns > theirs;
		return LS_OK;
	}
	if ((rc = ls_legacy_bounds(st, l, &oldest, &newest, c, e)) == LS_OK)
		*yes = newest > theirs;
	return rc;
}
