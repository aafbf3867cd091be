/* db_rebase.c -- the local state and the replica's: do they belong together?
 *
 *  (1) AN INCREMENT NEVER GOES TO A PLACE WITHOUT ITS BASE. When the file after
 *      the replica's newest TXID is not in the spool, or the replica is newer
 *      than we are, or of another lineage, the unpublished local files are
 *      given up, and the difference between the replica's newest state and the
 *      live database is published on top of it (design 4).
 *  (2) HISTORY IS NEVER OVERWRITTEN: the next TXID is the replica's + 1.
 *  (4) THE SAME NUMBER IS NOT THE SAME STATE, nor is the same lineage: another
 *      copy that was put on top of this history goes on with both. The local
 *      file of the replica's newest TXID must be the one that is there.
 *      (test: test_in_a_bucket)
 *  (3) A BROKEN CHAIN GETS A NEW BASE: where no plan reaches the replica's
 *      newest TXID, or a file of it is damaged, a whole copy on top of it is no
 *      beginning of a chain. A level-9 snapshot is. (tests:
 *      half_of_the_bucket_is_deleted, newest_file_is_damaged,
 *      chain_is_damaged_and_local_state_lost)
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"

#include <stdio.h>

enum { LIST_TIMEOUT_SEC = 300 };

bool
ls_db_must_rebase(const struct ls_db *db, const char **why)
{
	if (!db->local_known || !db->remote_known)
		return false;
	if (db->gone) {
		*why = "what was stored is gone from the replica";
		return true;
	}
	if (db->diverged) {
		*why = "local state has diverged from the replica";
		return true;
	}
	if (db->newest == 0) {
		*why = "no local state";
		return db->acked != 0;
	}
	if (db->acked > db->newest) {
		*why = "local state is older than the replica";
		return true;
	}
	if (db->acked + 1 < db->oldest) {
		*why = "the replica lacks files that are no longer here";
		return true;
	}
	if (db->acked != 0 && db->remote_lineage != 0 && db->lineage != 0 &&
	    db->remote_lineage != db->lineage) {
		*why = "local state is of another history than the replica";
		return true;
	}
	*why = "no page map, and continuity is lost";
	return db->resync_wants_base && db->acked != 0;
}

/* Do the headers name one state of one history? A merged file's times and WAL
 * fields are its own. */
static bool
same_state(const struct ls_ltx_header *a, const struct ls_ltx_header *b)
{
	if (a->page_size != b->page_size || a->commit != b->commit ||
	    (a->has_db_checksum && b->has_db_checksum &&
		a->db_checksum != b->db_checksum))
		return false;
	if (a->min_txid != b->min_txid)
		return true;
	return a->timestamp_ms == b->timestamp_ms &&
	       a->wal_offset == b->wal_offset && a->wal_size == b->wal_size &&
	       a->salt1 == b->salt1 && a->salt2 == b->salt2;
}

bool
ls_db_is_stored(const struct ls_db *db)
{
	const char *why;

	return db->local_known && db->remote_known && !db->rebase &&
	       !db->compare && db->acked >= db->newest &&
	       !ls_db_must_rebase(db, &why);
}

static enum ls_rc
local_header(
    struct ls_db *db, uint64_t txid, struct ls_ltx_header *h, struct ls_err *e)
{
	char path[4096], name[LS_LTX_NAME_MAX];
	uint8_t p[LS_LTX_HEADER];
	enum ls_rc rc;
	int fd = -1;

	(void)snprintf(path, sizeof path, "%s/ltx/0/%s", db->conf.meta_path,
	    ls_ltx_name(txid, txid, name));
	if ((rc = ls_open(path, O_RDONLY, 0, &fd, e)) != LS_OK)
		return rc;
	if ((rc = ls_pread_all(fd, p, sizeof p, 0, e)) == LS_OK)
		rc = ls_ltx_header_decode(LS_SPAN(p, sizeof p), h, e);
	(void)ls_sys->close(fd);
	return ls_err_wrap(e, rc, "%s", path);
}

enum ls_rc
ls_db_compare(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct ls_ltx_header ours;
	bool known, here, same = true;
	uint64_t txid;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->mu);
	txid = db->acked;
	known = db->local_known && !db->rebase;
	here = txid != 0 && txid >= db->oldest && txid <= db->newest;
	(void)pthread_mutex_unlock(&d->mu);
	if (!known)
		return LS_OK; /* nothing is sent before that */
	if (here) {
		if ((rc = local_header(db, txid, &ours, e)) != LS_OK)
			return rc;
		same = same_state(&ours, db->remote_head);
	}
	ls_free(db->remote_head);
	db->remote_head = NULL;
	(void)pthread_mutex_lock(&d->mu);
	db->compare = false;
	db->diverged = !same;
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	return LS_OK;
}

struct pages {
	struct ls_db *db;
	struct ls_plan plan;
	struct ls_call call;
};

static enum ls_rc
pages_of_base(void *arg,
    enum ls_rc (*fn)(
	void *fn_arg, uint32_t pgno, const uint8_t *data, struct ls_err *e),
    void *fn_arg, struct ls_err *e)
{
	struct pages *p = arg;

	return ls_restore_pages(
	    p->db->replica, &p->plan, fn, fn_arg, NULL, &p->call, e);
}

static enum ls_rc
plan_newest(
    struct ls_db *db, struct pages *p, struct ls_base *base, struct ls_err *e)
{
	static const struct ls_target newest = { 0, 0 };
	struct ls_files all = { 0 };
	struct ls_ltx_header h = { 0 };
	enum ls_rc rc;

	rc = ls_uploader_sync(db->up, &base->txid, &h, &p->call, e);
	base->lineage = h.node_id;
	base->page_size = h.page_size;
	base->commit = h.commit;
	base->timestamp_ms = h.timestamp_ms;
	if (rc == LS_OK && base->txid != 0 && h.page_size != 0)
		rc = ls_replica_list_all(
		    db->replica, &ls_par_threads, &all, &p->call, e);
	if (rc == LS_OK && base->txid != 0 && h.page_size != 0) {
		rc = ls_plan_make(
		    db->replica, &all, &newest, &p->plan, &p->call, e);
		if (rc == LS_OK)
			base->pages = pages_of_base;
		else if (rc == LS_ENOTFOUND || rc == LS_EGAP)
			rc = LS_OK; /* its chain is broken: a full copy */
	}
	ls_files_fini(&all);
	return rc;
}

static void
based(struct ls_db *db, const struct ls_base *base)
{
	struct ls_daemon *d = db->d;
	struct ls_capture_pos pos;

	ls_capture_position(db->cap, &pos);
	db->safe = 0; /* numbered anew */
	(void)pthread_mutex_lock(&d->mu);
	db->rebase = db->gone = db->diverged = db->compare = false;
	/* (3) */
	if (base->txid != 0 && base->pages == NULL)
		db->snapshot = db->snap_must = true;
	db->snap_stale = db->snap_lent;
	db->acked = db->sent = base->txid;
	db->remote_lineage = base->txid ? base->lineage : 0;
	db->oldest = db->newest = 0;
	db->local_known = false; /* until the next file is there */
	db->resync_wants_base = false;
	db->maint_forget = true;
	(void)pthread_mutex_unlock(&d->mu);
}

/* (3): a difference against what cannot be read will never be; then a whole
 * copy it is. */
static enum ls_rc
rebase(struct ls_db *db, struct ls_base *base, struct ls_err *e)
{
	struct ls_err why = { 0 };
	enum ls_rc rc = ls_capture_rebase(db->cap, base, &why);

	if (base->pages == NULL ||
	    !(ls_rc_damaged(rc) || rc == LS_EGAP || rc == LS_ENOTFOUND)) {
		if (rc != LS_OK && e != NULL)
			*e = why;
		return rc;
	}
	ls_warn("the replica's newest state cannot be read, copying the "
		"database",
	    LS_ATTRS(LS_S("db", db->name), LS_E(&why)));
	base->pages = NULL;
	return ls_capture_rebase(db->cap, base, e);
}

enum ls_rc
ls_db_rebase(struct ls_db *db, struct ls_err *e)
{
	struct pages p = { .db = db,
		.call = { &db->d->cancel,
		    ls_sys->mono_ns() + LIST_TIMEOUT_SEC * LS_SEC } };
	struct ls_base base = { .arg = &p };
	enum ls_rc rc = ls_db_open_remote(db, e);

	if (rc == LS_OK)
		rc = plan_newest(db, &p, &base, e);
	if (rc == LS_OK)
		rc = rebase(db, &base, e);
	if (rc == LS_OK) {
		ls_info("local state put on top of the replica",
		    LS_ATTRS(LS_S("db", db->name), LS_T("txid", base.txid),
			LS_B("difference", base.pages != NULL)));
		based(db, &base);
	}
	ls_plan_fini(&p.plan);
	return ls_err_wrap(e, rc, "put the local state on top of the replica");
}
