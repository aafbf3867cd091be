/* replica.c -- names, listings and headers of one database's stored files.
 *
 * (1) NAMES ARE UNTRUSTED. A key that is not exactly "<prefix><16 hex>-<16
 *     hex>.ltx" is no file of ours and is ignored; a listing has a ceiling.
 *     (test: listing_ignores_what_is_not_ltx)
 * (2) A LISTING IS SORTED (list.c), whatever the store did: level, min, max.
 * (3) A REMEMBERED HEADER BELONGS TO ONE OBJECT: the cache compares size and
 *     time as listed too, so an object that was replaced is read again. It
 *     starts with four entries and never grows past CACHE_MAX: an idle
 *     database keeps well under a KiB here.
 *
 * Not here: which files to use (plan.c), their pages (chain.c).
 */
#include "replica/files.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILES_MAX = 1 << 24, CACHE_MIN = 4, CACHE_MAX = 1024 };

struct cached {
	int level;
	uint64_t min, max, size;
	int64_t created_ns;
	struct ls_ltx_header h;
};

struct ls_replica {
	struct ls_store *st;
	pthread_mutex_t mu; /* guards the cache */
	struct cached *cache;
	size_t n, cap; /* entries used, and slots: a power of two */
};

/* ---- names ----------------------------------------------------------------*/

char *
ls_level_prefix(enum ls_layout layout, int level, char out[static LS_KEY_MAX])
{
	(void)snprintf(out, LS_KEY_MAX,
	    layout == LS_LAYOUT_HEX ? "%04x/" : "ltx/%d/", (unsigned)level);
	return out;
}

char *
ls_ltx_key(enum ls_layout layout, int level, uint64_t min, uint64_t max,
    char out[static LS_KEY_MAX])
{
	char prefix[LS_KEY_MAX], name[LS_LTX_NAME_MAX];

	(void)snprintf(out, LS_KEY_MAX, "%.16s%.40s",
	    ls_level_prefix(layout, level, prefix),
	    ls_ltx_name(min, max, name));
	return out;
}

/* ---- the handle -----------------------------------------------------------*/

enum ls_rc
ls_replica_new(struct ls_store *st, struct ls_replica **out, struct ls_err *e)
{
	struct ls_replica *r = ls_zalloc(sizeof *r);

	if (r == NULL)
		return ls_err_nomem(e);
	r->st = st;
	(void)pthread_mutex_init(&r->mu, NULL);
	*out = r;
	return LS_OK;
}

void
ls_replica_free(struct ls_replica *r)
{
	if (r == NULL)
		return;
	(void)pthread_mutex_destroy(&r->mu);
	ls_free(r->cache);
	ls_free(r);
}

void
ls_replica_forget(struct ls_replica *r)
{
	(void)pthread_mutex_lock(&r->mu);
	ls_free(r->cache);
	r->cache = NULL;
	r->n = r->cap = 0;
	(void)pthread_mutex_unlock(&r->mu);
}

struct ls_store *
ls_replica_store(struct ls_replica *r)
{
	return r->st;
}

/* ---- listings -------------------------------------------------------------*/

void
ls_files_fini(struct ls_files *f)
{
	ls_free(f->v);
	*f = (struct ls_files){ 0 };
}

enum ls_rc
ls_files_add(struct ls_files *f, const struct ls_file *file, struct ls_err *e)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		struct ls_file *v;

		if (f->n >= FILES_MAX)
			return ls_err_set(e, LS_ERANGE,
			    "more than %d files in one listing", FILES_MAX);
		if ((v = ls_realloc(f->v, cap * sizeof *v)) == NULL)
			return ls_err_nomem(e);
		f->v = v, f->cap = cap;
	}
	f->v[f->n++] = *file;
	return LS_OK;
}

int
ls_file_order(const void *a, const void *b)
{
	const struct ls_file *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	if (x->min_txid != y->min_txid)
		return x->min_txid < y->min_txid ? -1 : 1;
	if (x->max_txid != y->max_txid)
		return x->max_txid < y->max_txid ? -1 : 1;
	return 0;
}

void
ls_files_sort(struct ls_file *v, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (ls_file_order(&v[i - 1], &v[i]) > 0) {
			qsort(v, n, sizeof *v, ls_file_order);
			return;
		}
}

/* ---- headers --------------------------------------------------------------*/

static size_t
slot_of(const struct ls_file *f, size_t cap)
{
	uint64_t x = f->max_txid * 0x9e3779b97f4a7c15u ^
		     f->min_txid * 0xc2b2ae3d27d4eb4fu ^ (uint64_t)f->level;

	return (size_t)(x ^ x >> 29) & (cap - 1);
}

static bool
same_object(const struct cached *c, const struct ls_file *f)
{
	return c->max == f->max_txid && c->min == f->min_txid &&
	       c->level == f->level && c->size == f->size &&
	       c->created_ns == f->created_ns;
}

/* Twice the slots; entries that meet in one slot lose the older one. Without
 * memory the table stays as it is: it is only a cache. */
static void
cache_grow(struct ls_replica *r)
{
	size_t cap = r->cap ? r->cap * 2 : CACHE_MIN, n = 0;
	struct cached *v = ls_zalloc(cap * sizeof *v);

	if (v == NULL)
		return;
	for (size_t i = 0; i < r->cap; i++) {
		struct cached *c = &r->cache[i], *to;
		struct ls_file f = { .level = c->level,
			.min_txid = c->min,
			.max_txid = c->max };

		if (c->max == 0)
			continue;
		to = &v[slot_of(&f, cap)];
		n += to->max == 0;
		*to = *c;
	}
	ls_free(r->cache);
	r->cache = v, r->cap = cap, r->n = n;
}

static void
cache_put(struct ls_replica *r, const struct ls_file *f,
    const struct ls_ltx_header *h)
{
	struct cached *c;

	(void)pthread_mutex_lock(&r->mu);
	if (r->n * 2 >= r->cap && r->cap < CACHE_MAX)
		cache_grow(r);
	if (r->cap > 0) {
		c = &r->cache[slot_of(f, r->cap)];
		r->n += c->max == 0;
		*c = (struct cached){ f->level, f->min_txid, f->max_txid,
			f->size, f->created_ns, *h };
	}
	(void)pthread_mutex_unlock(&r->mu);
}

static bool
cache_get(
    struct ls_replica *r, const struct ls_file *f, struct ls_ltx_header *h)
{
	bool hit = false;

	(void)pthread_mutex_lock(&r->mu);
	if (r->cap > 0) {
		const struct cached *c = &r->cache[slot_of(f, r->cap)];

		if ((hit = same_object(c, f)))
			*h = c->h;
	}
	(void)pthread_mutex_unlock(&r->mu);
	return hit;
}

static enum ls_rc
header_get(struct ls_replica *r, const char *key, struct ls_ltx_header *h,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;
	struct ls_buf b = LS_BUF_INIT(LS_LTX_HEADER);
	struct ls_get g = { .off = 0, .len = LS_LTX_HEADER };

	rc = ls_store_get(r->st, key, &g, &b, NULL, c, e);
	if (rc == LS_OK && b.n < LS_LTX_HEADER)
		rc = ls_err_set(
		    e, LS_ECORRUPT, "%s: %zu bytes are no header", key, b.n);
	if (rc == LS_OK)
		rc = ls_err_wrap(
		    e, ls_ltx_header_decode(ls_buf_span(&b), h, e), "%s", key);
	ls_buf_free(&b);
	return rc;
}

/* A header under a name that is not its own is not to be believed. */
enum ls_rc
ls_file_matches(const struct ls_file *f, const struct ls_ltx_header *h,
    const char *key, struct ls_err *e)
{
	if (h->min_txid == f->min_txid && h->max_txid == f->max_txid)
		return LS_OK;
	return ls_err_set(e, LS_ECORRUPT,
	    "%s: its header says TXID %016llx-%016llx", key,
	    (unsigned long long)h->min_txid, (unsigned long long)h->max_txid);
}

bool
ls_rc_damaged(enum ls_rc rc)
{
	return rc == LS_ECORRUPT || rc == LS_ESHORT;
}

void
ls_file_set_header(struct ls_file *f, const struct ls_ltx_header *h)
{
	f->timestamp_ms = h->timestamp_ms;
	f->lineage = h->node_id;
	f->commit = h->commit;
	f->page_size = h->page_size;
	f->has_header = true;
}

enum ls_rc
ls_replica_header(struct ls_replica *r, struct ls_file *f,
    struct ls_ltx_header *h, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;
	struct ls_ltx_header got;
	char key[LS_KEY_MAX];

	if (!cache_get(r, f, &got)) {
		ls_ltx_key(ls_store_layout(r->st), f->level, f->min_txid,
		    f->max_txid, key);
		if ((rc = header_get(r, key, &got, c, e)) != LS_OK ||
		    (rc = ls_file_matches(f, &got, key, e)) != LS_OK)
			return rc;
		cache_put(r, f, &got);
	}
	ls_file_set_header(f, &got);
	if (h != NULL)
		*h = got;
	return LS_OK;
}

struct ls_file *
ls_files_newest(const struct ls_files *f)
{
	struct ls_file *best = NULL;

	/* Of equal ones the lowest level: the file as it was captured. */
	for (size_t i = 0; i < f->n; i++)
		if (best == NULL || f->v[i].max_txid > best->max_txid)
			best = &f->v[i];
	return best;
}

enum ls_rc
ls_replica_newest(struct ls_replica *r, const struct ls_par *par,
    uint64_t *txid, struct ls_ltx_header *h, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;
	struct ls_files all = { 0 };
	struct ls_file *best;
	struct ls_ltx_header got = { 0 };

	if ((rc = ls_replica_list_all(r, par, &all, c, e)) != LS_OK)
		return rc;
	best = ls_files_newest(&all);
	if (best != NULL)
		rc = ls_replica_header(r, best, &got, c, e);
	if (rc == LS_OK) {
		*txid = best ? best->max_txid : 0;
		if (h != NULL)
			*h = got;
	}
	ls_files_fini(&all);
	return rc;
}
