/* db_snapshot.c -- a level-9 snapshot: a pinned state, streamed to the store.
 *
 *  (1) CAPTURE GOES ON. The local step only pins the state; the upload is a
 *      step of its own on the remote lane.
 *  (2) NOT UNDER THE WRITE LOCK, NOT ON DISK: frames go straight into the
 *      upload, one part in memory; an upload that fails leaves nothing.
 *  (3) IT NAMES ONLY WHAT THE REPLICA HAS: the state is uploaded when its TXID
 *      was acknowledged, so that a snapshot never runs ahead of its chain.
 *  (4) NO WORKER WAITS: the upload becomes work when the acknowledgement is
 *      there, or it is clear that it does not come; a worker that waited would
 *      be missed by the uploads that it waits for. While the replica is away no
 *      state is pinned: that would keep the WAL from being checkpointed.
 *      (test: many_snapshots_at_once)
 *  (5) THE VIEW ENDS BEFORE ITS CAPTURE: whoever closes the capture ends the
 *      snapshot first and comes again.
 */
#include "daemon/db.h"

enum { RETRY_SEC = 30, LEFT_OVER_MS = 24 * 3600 * 1000 };

/* (3), (4) mu held. */
static bool
must_wait(struct ls_db *db)
{
	return db->acked < db->view_info.txid && !db->fenced && !db->rebase &&
	       !db->snap_stale && db->remote_failures == 0 &&
	       !ls_endpoint_away(db, NULL) &&
	       atomic_load(&db->snap_cancel.set) == 0;
}

void
ls_db_snapshot_go(struct ls_db *db)
{
	if (!db->snap_waits || must_wait(db))
		return;
	db->snap_waits = false;
	ls_endpoint_push(db, &db->snap_work);
}

bool
ls_db_snapshot_end(struct ls_db *db)
{
	bool lent;

	(void)pthread_mutex_lock(&db->d->mu);
	lent = db->snap_lent;
	if (lent)
		ls_cancel_set(&db->snap_cancel);
	ls_db_snapshot_go(db);
	(void)pthread_mutex_unlock(&db->d->mu);
	return lent;
}

enum ls_rc
ls_db_snapshot_begin(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	enum ls_rc rc = ls_view_open(db->cap, &db->view, &db->view_info, e);

	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "pin a state for a snapshot");
	(void)pthread_mutex_lock(&d->mu);
	db->snap_lent = db->snap_waits = true;
	db->snap_stale = false;
	atomic_store(&db->snap_cancel.set, 0);
	if (db->goal == LS_GOAL_STOP && !db->snap_must)
		ls_cancel_set(&db->snap_cancel); /* meanwhile */
	ls_db_snapshot_go(db);
	(void)pthread_mutex_unlock(&d->mu);
	return LS_OK;
}

static enum ls_rc
check(struct ls_db *db, struct ls_err *e)
{
	enum ls_rc rc;

	(void)pthread_mutex_lock(&db->d->mu);
	if (db->fenced)
		rc = ls_err_set(e, LS_EFENCED, "fenced");
	else if (db->rebase || db->snap_stale)
		rc = ls_err_set(e, LS_EAGAIN, "another base");
	else if ((rc = ls_call_check(
		      &(struct ls_call){ &db->snap_cancel, 0 }, e)) == LS_OK &&
		 db->acked < db->view_info.txid)
		rc = ls_err_set(e, LS_EAGAIN, "the replica is away");
	(void)pthread_mutex_unlock(&db->d->mu);
	return rc;
}

static enum ls_rc
upload(struct ls_db *db, uint64_t *size, struct ls_err *e)
{
	const struct ls_call c = { &db->snap_cancel, 0 };
	const struct ls_codec codec = ls_db_codec(db);
	const struct ls_put put = { .timestamp_ms =
					db->view_info.timestamp_ms };
	struct ls_upload *up = NULL;
	char key[LS_KEY_MAX];
	enum ls_rc rc;

	(void)ls_ltx_key(ls_store_layout(db->store), LS_SNAPSHOT_LEVEL, 1,
	    db->view_info.txid, key);
	if ((rc = ls_upload_begin(db->store, key, &put, &c, &up, e)) != LS_OK)
		return rc;
	rc = ls_view_snapshot(
	    db->view, &codec, ls_upload_write, up, &c, size, e);
	if (rc != LS_OK) {
		ls_upload_abort(up);
		return rc;
	}
	return ls_upload_commit(up, e);
}

/* A process that was killed leaves parts of an upload, which are paid for, or
 * half a file in a folder. Once a snapshot is often enough to look. */
static void
clear_up(struct ls_db *db)
{
	const struct ls_call c = { &db->snap_cancel, 0 };
	struct ls_err e = { 0 };

	if (ls_store_sweep(db->store, LEFT_OVER_MS, &c, &e) != LS_OK)
		ls_debug("cannot remove what was left over",
		    LS_ATTRS(LS_S("db", db->name), LS_E(&e)));
}

/* What is left of it: mu held. */
static void
settle(struct ls_db *db, enum ls_rc rc)
{
	bool again = rc == LS_EAGAIN || db->snap_stale ||
		     (rc == LS_ECANCELED && db->goal == LS_GOAL_RUN);
	uint64_t now = ls_sys->mono_ns();

	db->view = NULL;
	db->snap_lent = false;
	db->snapshot = again;
	db->snap_failed = false;
	if (rc == LS_OK) {
		db->wrote = db->view_info;
		db->snap_must = db->snap_must && again;
		ls_db_due_maint(db, now);
	} else if (!again) {
		/* Ended for the sake of a stop, it is missed by nobody. */
		db->snap_failed = rc != LS_ECANCELED || db->snap_must;
		db->snap_after_ns = now + RETRY_SEC * LS_SEC;
		ls_db_due_maint(db, db->snap_after_ns);
	}
	ls_db_due_remote(db, 0);
	(void)pthread_cond_broadcast(&db->d->changed);
}

void
ls_db_snapshot_step(struct ls_work *w)
{
	struct ls_db *db =
	    (struct ls_db *)((char *)w - offsetof(struct ls_db, snap_work));
	struct ls_daemon *d = db->d;
	struct ls_err e = { 0 };
	uint64_t size = 0;
	enum ls_rc rc = check(db, &e);

	if (rc == LS_OK)
		rc = ls_db_open_remote(db, &e);
	if (rc == LS_OK)
		rc = upload(db, &size, &e);
	ls_view_close(db->view);
	if (rc == LS_OK)
		ls_info("snapshot complete",
		    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
			LS_T("txid", db->view_info.txid), LS_U("size", size)));
	else if (rc != LS_ECANCELED && rc != LS_EAGAIN) {
		ls_tally_add(&db->tally.upload_errors, 1);
		ls_db_failed(db, &db->snap_limit, "snapshot failed", &e);
	}
	if (rc == LS_OK)
		clear_up(db);
	(void)pthread_mutex_lock(&d->mu);
	ls_endpoint_done(db, rc == LS_OK, rc, &e);
	settle(db, rc);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}
