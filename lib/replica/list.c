/* list.c -- what is stored, by the names alone. See replica.h.
 *
 * (1) NAMES ARE UNTRUSTED: what is not the name of an LTX file is ignored, and
 *     there is a ceiling. (test: listing_ignores_what_is_not_ltx)
 * (2) ONE REQUEST FOR ALL LEVELS where they fill one page of an answer, as they
 *     mostly do: a bucket's keys come in the order of the levels. What that
 *     page does not hold is listed by levels, side by side, from where it
 *     ended; level 0 alone would have needed the second round too.
 *     (test: one_page_lists_all_levels)
 */
#include "replica/files.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <stdio.h>

enum { PAGE = 1000 }; /* keys in an answer of ListObjectsV2 */

struct listing {
	struct ls_files *out;
	int level;
	uint64_t from;
	size_t prefix_len;
	enum ls_rc rc;
	struct ls_err *e;
};

static bool
on_object(void *arg, const struct ls_object *o)
{
	struct listing *l = arg;
	struct ls_file f = {
		.level = l->level, .size = o->size, .created_ns = o->mtime_ns
	};

	if (strlen(o->key) <= l->prefix_len ||
	    !ls_ltx_name_parse(
		o->key + l->prefix_len, &f.min_txid, &f.max_txid) ||
	    f.min_txid < l->from)
		return true;
	l->rc = ls_files_add(l->out, &f, l->e);
	return l->rc == LS_OK;
}

enum ls_rc
ls_replica_list(struct ls_replica *r, int level, uint64_t from,
    struct ls_files *out, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;
	char prefix[LS_KEY_MAX], after[LS_KEY_MAX], txid[LS_TXID_TEXT];
	struct listing l = { out, level, from, 0, LS_OK, e };
	size_t had = out->n;

	ls_level_prefix(ls_store_layout(ls_replica_store(r)), level, prefix);
	l.prefix_len = strlen(prefix);
	/* "<from>" sorts right before "<from>-<max>.ltx". */
	(void)snprintf(
	    after, sizeof after, "%.16s%s", prefix, ls_txid_text(from, txid));
	rc = ls_store_list(ls_replica_store(r), prefix, from > 1 ? after : NULL,
	    on_object, &l, c, e);
	if (rc == LS_OK)
		rc = l.rc;
	if (rc != LS_OK)
		out->n = had;
	else
		ls_files_sort(out->v + had, out->n - had);
	return rc;
}

struct all_levels {
	struct ls_replica *r;
	const uint64_t *from; /* NULL: all from the start */
	int first;	      /* level */
	const struct ls_call *c;
	struct ls_files part[LS_LEVELS];
	enum ls_rc rc[LS_LEVELS];
	struct ls_err e[LS_LEVELS];
};

static void
list_job(void *arg, size_t i)
{
	struct all_levels *a = arg;

	i += (size_t)a->first;
	a->rc[i] = ls_replica_list(a->r, (int)i, a->from ? a->from[i] : 0,
	    &a->part[i], a->c, &a->e[i]);
}

/* Levels first.. as ls_replica_list_from. */
static enum ls_rc
list_levels(struct ls_replica *r, const struct ls_par *par, int first,
    const uint64_t from[LS_LEVELS], struct ls_files *out,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	size_t had = out->n;
	struct all_levels *a = ls_zalloc(sizeof *a);

	if (a == NULL)
		return ls_err_nomem(e);
	a->r = r, a->c = c, a->from = from, a->first = first;
	par = par ? par : &ls_par_serial;
	par->run(par, (size_t)(LS_LEVELS - first), LS_LEVELS, list_job, a);
	for (int i = 0; rc == LS_OK && i < LS_LEVELS; i++) {
		if ((rc = a->rc[i]) != LS_OK && e != NULL)
			*e = a->e[i];
		for (size_t j = 0; rc == LS_OK && j < a->part[i].n; j++)
			rc = ls_files_add(out, &a->part[i].v[j], e);
	}
	for (int i = 0; i < LS_LEVELS; i++)
		ls_files_fini(&a->part[i]);
	ls_free(a);
	if (rc != LS_OK) { /* out as it was: an empty one owns nothing */
		out->n = had;
		if (had == 0)
			ls_files_fini(out);
	}
	return rc;
}

enum ls_rc
ls_replica_list_from(struct ls_replica *r, const struct ls_par *par,
    const uint64_t from[LS_LEVELS], struct ls_files *out,
    const struct ls_call *c, struct ls_err *e)
{
	bool begun = false; /* is anything known to be behind us? */

	for (int l = 1; l < LS_SNAPSHOT_LEVEL; l++)
		begun |= from[l] > 1;
	return begun ? list_levels(r, par, 0, from, out, c, e)
		     : ls_replica_list_all(r, par, out, c, e);
}

/* ---- one page for all -----------------------------------------------------*/

struct page {
	struct ls_files *out;
	size_t seen;
	int level; /* the first that may not be whole; LS_LEVELS: none */
	enum ls_rc rc;
	struct ls_err *e;
};

/* The level that key is of, or else the first behind it; *in: it is of it. */
static int
level_of(const char *key, bool *in)
{
	char prefix[LS_KEY_MAX];
	int level = 0;

	for (; level < LS_LEVELS; level++) {
		ls_level_prefix(LS_LAYOUT_HEX, level, prefix);
		*in = strncmp(key, prefix, strlen(prefix)) == 0;
		if (*in || strcmp(key, prefix) < 0)
			break;
	}
	return level;
}

static bool
on_any_object(void *arg, const struct ls_object *o)
{
	struct page *p = arg;
	struct ls_file f = { .size = o->size, .created_ns = o->mtime_ns };
	const char *slash = strchr(o->key, '/');
	bool in = false;

	f.level = p->level = level_of(o->key, &in);
	if (in && ls_ltx_name_parse(slash + 1, &f.min_txid, &f.max_txid)) {
		p->rc = ls_files_add(p->out, &f, p->e);
		if (p->rc != LS_OK)
			return false;
	}
	return p->level < LS_LEVELS && ++p->seen < PAGE;
}

/* Files of the levels before *level are all in out, and of *level those before
 * *from. */
static enum ls_rc
list_page(struct ls_replica *r, struct ls_files *out, int *level,
    uint64_t *from, const struct ls_call *c, struct ls_err *e)
{
	struct page p = { out, 0, 0, LS_OK, e };
	size_t had = out->n;
	enum ls_rc rc = ls_store_list(
	    ls_replica_store(r), "", NULL, on_any_object, &p, c, e);

	if (rc == LS_OK)
		rc = p.rc;
	if (rc != LS_OK)
		return rc;
	*level = p.seen < PAGE ? LS_LEVELS : p.level;
	if (*level == LS_LEVELS)
		return LS_OK;
	*from = 0;
	if (out->n > had && out->v[out->n - 1].level == *level)
		*from = out->v[out->n - 1].min_txid;
	while (out->n > had && out->v[out->n - 1].level == *level &&
	       out->v[out->n - 1].min_txid == *from)
		out->n--;
	return LS_OK;
}

static enum ls_rc
list_once(struct ls_replica *r, const struct ls_par *par, struct ls_files *out,
    const struct ls_call *c, struct ls_err *e)
{
	uint64_t from[LS_LEVELS] = { 0 };
	int level = 0;
	enum ls_rc rc = list_page(r, out, &level, &from[0], c, e);

	if (rc != LS_OK || level == LS_LEVELS)
		return rc;
	from[level] = from[0];
	if (level > 0)
		from[0] = 0;
	return list_levels(r, par, level, from, out, c, e);
}

enum ls_rc
ls_replica_list_all(struct ls_replica *r, const struct ls_par *par,
    struct ls_files *out, const struct ls_call *c, struct ls_err *e)
{
	size_t had = out->n;
	enum ls_rc rc = LS_EDENIED;

	if (ls_store_layout(ls_replica_store(r)) == LS_LAYOUT_HEX)
		rc = list_once(r, par, out, c, e);
	if (rc != LS_OK)
		out->n = had;
	if (rc == LS_EDENIED) /* a key may be good for the levels only */
		rc = list_levels(r, par, 0, NULL, out, c, e);
	if (rc == LS_OK)
		ls_files_sort(out->v, out->n);
	else if (had == 0)
		ls_files_fini(out);
	return rc;
}
