/* db_past.c -- states that are not the newest: travelled to, or planned anew for
 * a transaction whose files were pruned. See db.h.
 *
 * (1) THE SAME PAGES OR AN ERROR. A state is planned anew to its very TXID; when
 *     that is inside a merged file by now, it is put together from what has not
 *     changed since, if that is all of it. (test: pruned_files_are_planned_around,
 *     lost_state_is_an_error_not_newer_pages)
 * (2) ONCE FOR ALL who are on that state: under `build`, and the last one is
 *     kept for those who come behind.
 */
#include "vfs/db_impl.h"

#include "base/log.h"

enum ls_rc
ls_vdb_at(struct ls_vdb *d, const struct ls_target *t, struct ls_ver **out,
    struct ls_err *e)
{
	struct ls_call c = ls_vdb_within(d, LS_OPEN_SECONDS);
	bool empty;
	enum ls_rc rc = ls_vdb_load(d, t, NULL, out, &empty, &c, e);

	if (rc != LS_OK)
		return rc;
	(void)pthread_mutex_lock(&d->build);
	(*out)->build = atomic_fetch_add(&d->builds, 1) + 1;
	(*out)->content = ls_vdb_content(d);
	(void)pthread_mutex_lock(&d->mu);
	if (d->newest != NULL)
		(*out)->epoch = d->newest->epoch;
	if (d->cache == NULL)
		d->cache = ls_cache_ref((*out)->cache);
	(void)pthread_mutex_unlock(&d->mu);
	(void)pthread_mutex_unlock(&d->build);
	return LS_OK;
}

static bool
serves(const struct ls_ver *have, const struct ls_ver *v)
{
	return have != NULL && have->content == v->content &&
	       have->build > v->build;
}

static bool
same_history(const struct ls_ver *a, const struct ls_ver *b)
{
	return a->page_size == b->page_size &&
	       (a->lineage == 0 || b->lineage == 0 || a->lineage == b->lineage);
}

/* Where no lineage tells: n, of the same TXID, was made after v. */
static bool
younger(const struct ls_ver *n, const struct ls_ver *v)
{
	return n->timestamp_ms > v->timestamp_ms &&
	       n->tip.level != LS_SNAPSHOT_LEVEL;
}

/* The TXID is inside a merged file by now. What has not changed since it is
 * still the same in the newest state; the rest may be there or not. */
static enum ls_rc
rescue(struct ls_vdb *d, const struct ls_ver *v, struct ls_ver **out,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_ver *now = NULL, *cur = ls_vdb_stored(d);
	bool empty;
	enum ls_rc rc = ls_vdb_load(d, NULL, NULL, &now, &empty, c, e);

	if (rc == LS_OK && (!same_history(now, v) || now->txid < v->txid))
		rc = ls_err_set(
		    e, LS_ENOTFOUND, "the replica holds another history now");
	if (rc == LS_OK && (rc = ls_ver_copy(v, out, e)) == LS_OK &&
	    (rc = ls_ver_rescue(*out, now, e)) != LS_OK)
		ls_ver_unref(*out);
	if (rc == LS_OK && cur != NULL && now->txid >= cur->txid) {
		now->epoch = cur->epoch;
		if (ls_vdb_publish(d, cur, now, NULL) != LS_OK)
			ls_debug("another state is shown meanwhile", NULL);
	} else {
		ls_ver_unref(now);
	}
	ls_ver_unref(cur);
	return rc;
}

/* What v shows, on top of the stored state n, which may be published. */
static enum ls_rc
over_stored(struct ls_ver **n, const struct ls_ver *v, struct ls_err *e)
{
	struct ls_ver *own;
	enum ls_rc rc = ls_ver_copy(*n, &own, e);

	if (rc != LS_OK)
		return rc;
	if ((rc = ls_ver_overlay(own, v, 0, e)) != LS_OK) {
		ls_ver_unref(own);
		return rc;
	}
	ls_ver_unref(*n);
	*n = own;
	return LS_OK;
}

static enum ls_rc
replan_locked(struct ls_vdb *d, const struct ls_ver *v, struct ls_ver **out,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_target t = { .txid = v->txid };
	struct ls_ver *cur = ls_vdb_newest(d), *n = NULL;
	struct ls_ver *stored = ls_vdb_stored(d);
	bool empty;
	enum ls_rc rc = LS_OK;

	if (serves(cur, v) || serves(d->replanned, v)) {
		n = ls_ver_ref(serves(cur, v) ? cur : d->replanned);
		goto out;
	}
	rc = ls_vdb_load(d, &t, NULL, &n, &empty, c, e);
	if (rc == LS_ENOTFOUND || rc == LS_EGAP) {
		rc = rescue(d, v, &n, c, e);
	} else if (rc == LS_OK && (!same_history(n, v) || younger(n, v))) {
		rc = ls_err_set(
		    e, LS_ENOTFOUND, "the replica holds another history now");
	} else if (rc == LS_OK) {
		n->epoch = v->epoch;
		if (stored != NULL && stored->txid == n->txid &&
		    stored->epoch == n->epoch)
			rc = ls_vdb_publish(d, stored, ls_ver_ref(n), e);
		if (rc == LS_ECHANGED) /* and they may have theirs */
			rc = LS_OK;
		if (rc == LS_OK)
			rc = over_stored(&n, v, e);
	}
	if (rc != LS_OK)
		goto out;
	n->epoch = v->epoch;
	n->content = v->content;
	n->build = atomic_fetch_add(&d->builds, 1) + 1;
	ls_ver_unref(d->replanned);
	d->replanned = ls_ver_ref(n);
out:
	ls_ver_unref(cur);
	ls_ver_unref(stored);
	if (rc == LS_OK)
		*out = n;
	else
		ls_ver_unref(n);
	return rc;
}

enum ls_rc
ls_vdb_replan(struct ls_vdb *d, const struct ls_ver *v, struct ls_ver **out,
    struct ls_err *e)
{
	struct ls_call c = ls_vdb_within(d, LS_OPEN_SECONDS);
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->build);
	rc = replan_locked(d, v, out, &c, e);
	(void)pthread_mutex_unlock(&d->build);
	return rc;
}
