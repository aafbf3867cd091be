/* db_snapshot.c -- a level-9 snapshot: a pinned state, streamed to the store.
 *
 *  (1) CAPTURE GOES ON. The local step only pins the state; the upload is a
 *      step of its own on the remote lane.
 *  (2) NOT UNDER THE WRITE LOCK, NOT ON DISK: frames go straight into the
 *      upload, one part in memory; an upload that fails leaves nothing.
 *  (3) IT NAMES ONLY WHAT THE REPLICA HAS: the state is uploaded when its TXID
 *      was acknowledged, so that a snapshot never runs ahead of its chain.
 */
#include "daemon/db.h"

enum ls_rc
ls_db_snapshot_begin(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	enum ls_rc rc = ls_view_open(db->cap, &db->view, &db->view_info, e);

	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "pin a state for a snapshot");
	(void)pthread_mutex_lock(&d->mu);
	db->snap_lent = true;
	(void)pthread_mutex_unlock(&d->mu);
	ls_pool_push(d->pool, LS_LANE_REMOTE, &db->snap_work);
	return LS_OK;
}

/* (3) */
static enum ls_rc
wait_acked(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->mu);
	while (rc == LS_OK && db->acked < db->view_info.txid) {
		if (db->fenced)
			rc = ls_err_set(e, LS_EFENCED, "fenced");
		else if (db->rebase) /* the state is numbered anew */
			rc = ls_err_set(e, LS_EAGAIN, "another base");
		else if ((rc = ls_call_check(
			      &(struct ls_call){ &db->upkeep,
				  d->stopping ? d->stop_deadline_ns : 0 },
			      e)) == LS_OK)
			(void)pthread_cond_wait(&d->changed, &d->mu);
	}
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}

static enum ls_rc
upload(struct ls_db *db, uint64_t *size, struct ls_err *e)
{
	const struct ls_call c = { &db->upkeep, 0 };
	const struct ls_put put = { .timestamp_ms =
					db->view_info.timestamp_ms };
	struct ls_upload *up = NULL;
	char key[LS_KEY_MAX];
	enum ls_rc rc;

	(void)ls_ltx_key(ls_store_layout(db->store), LS_SNAPSHOT_LEVEL, 1,
	    db->view_info.txid, key);
	if ((rc = ls_upload_begin(db->store, key, &put, &c, &up, e)) != LS_OK)
		return rc;
	rc = ls_view_snapshot(db->view, ls_upload_write, up, &c, size, e);
	if (rc != LS_OK) {
		ls_upload_abort(up);
		return rc;
	}
	return ls_upload_commit(up, e);
}

void
ls_db_snapshot_step(struct ls_work *w)
{
	struct ls_db *db =
	    (struct ls_db *)((char *)w - offsetof(struct ls_db, snap_work));
	struct ls_daemon *d = db->d;
	struct ls_err e = { 0 };
	uint64_t size = 0;
	enum ls_rc rc = wait_acked(db, &e);

	if (rc == LS_OK)
		rc = upload(db, &size, &e);
	ls_view_close(db->view);
	if (rc == LS_OK)
		ls_info("snapshot complete",
		    LS_ATTRS(LS_S("db", db->name),
			LS_T("txid", db->view_info.txid), LS_U("size", size)));
	else if (rc != LS_ECANCELED)
		ls_db_failed(db, &db->snap_limit, "snapshot failed", &e);
	(void)pthread_mutex_lock(&d->mu);
	db->view = NULL;
	db->snap_lent = false;
	if (rc == LS_OK)
		db->wrote = (struct ls_ltx_header){ .flags = LS_LTX_NO_CHECKSUM,
			.page_size = db->view_info.page_size,
			.commit = db->view_info.commit,
			.min_txid = 1,
			.max_txid = db->view_info.txid,
			.timestamp_ms = db->view_info.timestamp_ms,
			.node_id = db->view_info.lineage };
	ls_db_due_maint(db, 0);
	db->snapshot = rc == LS_EAGAIN;
	/* Ended for the sake of a stop, it is missed by nobody. */
	db->snap_failed = rc != LS_OK && rc != LS_EAGAIN &&
			  (rc != LS_ECANCELED || d->opts.force_snapshot);
	ls_db_due_remote(db, 0);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}
