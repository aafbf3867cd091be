/* db_remote.c -- the remote step: from the spool to the replica.
 *
 *  (1) ONE PUT IN FLIGHT a database, strictly in TXID order (the record's
 *      remote part is lent to one worker at a time).
 *  (2) NOTHING IS SENT BEFORE BOTH SIDES ARE KNOWN. The first turn lists the
 *      replica; what the local state must be put on top of first is decided in
 *      db_rebase.c, so an increment never goes to a place without its base.
 *  (3) A FENCE IS FOR EVER. The database stops, the log says whose object it
 *      was; nothing resyncs on top of it. (test: fenced_stops)
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"

#include <stdio.h>

enum { SYNC_TIMEOUT_SEC = 60, PUT_TIMEOUT_SEC = 3600 };

static struct ls_call
call_for(const struct ls_db *db, unsigned sec)
{
	struct ls_call c = { &db->d->cancel, ls_sys->mono_ns() + sec * LS_SEC };

	return c;
}

/* The replica's newest TXID, once. */
static enum ls_rc
know_remote(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct ls_call c = call_for(db, SYNC_TIMEOUT_SEC);
	struct ls_ltx_header h = { 0 };
	enum ls_rc rc;
	uint64_t txid = 0;

	if ((rc = ls_db_open_remote(db, e)) != LS_OK ||
	    (rc = ls_uploader_sync(db->up, &txid, &h, &c, e)) != LS_OK)
		return rc;
	if (txid != 0 && db->remote_head == NULL &&
	    (db->remote_head = ls_alloc(sizeof h)) == NULL)
		return ls_err_nomem(e);
	if (txid != 0)
		*db->remote_head = h;
	(void)pthread_mutex_lock(&d->mu);
	db->compare = txid != 0;
	db->gone |= txid != 0 && h.page_size == 0; /* damaged */
	db->acked = txid;
	ls_tally_set(&db->tally.durable_ms, (uint64_t)h.timestamp_ms);
	/* Its successor may be under way, of an earlier run. */
	db->sent = db->listed ? LS_MAX(db->sent, txid + 1) : txid + 1;
	db->sent_known = db->listed = true;
	db->remote_lineage = txid ? h.node_id : 0;
	db->remote_known = true;
	ls_db_due_maint(db, 0); /* is a snapshot overdue? */
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	return LS_OK;
}

enum next { NEXT_NONE, NEXT_PUT, NEXT_LATER, NEXT_REBASE, NEXT_STALE };

/* What is to be done, from what both sides say. */
static enum next
decide(struct ls_db *db, uint64_t *txid, const char **why)
{
	struct ls_daemon *d = db->d;
	enum next n = NEXT_NONE;

	(void)pthread_mutex_lock(&d->mu);
	*txid = db->acked + 1;
	if (!db->local_known || db->rebase || db->compare)
		n = NEXT_NONE;
	else if (ls_db_must_rebase(db, why))
		n = db->conf.on_stale == LS_STALE_STOP && db->newest != 0
			? NEXT_STALE
			: NEXT_REBASE;
	else if (db->acked < db->newest && !(db->merging && *txid > db->frozen))
		n = db->remote_net ? NEXT_PUT : NEXT_LATER;
	if (n == NEXT_PUT)
		db->sent = LS_MAX(db->sent, *txid);
	if (n == NEXT_REBASE) {
		db->rebase = true;
		db->doubt_ns = ls_sys->mono_ns();
		ls_db_due_local(db, 0);
	}
	(void)pthread_mutex_unlock(&d->mu);
	if (n == NEXT_REBASE)
		ls_daemon_wake(d);
	return n;
}

static enum ls_rc
put_one(struct ls_db *db, uint64_t txid, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct ls_call c = call_for(db, PUT_TIMEOUT_SEC);
	char path[4096], name[LS_LTX_NAME_MAX];
	uint64_t began = ls_sys->mono_ns();
	int64_t size;
	enum ls_rc rc;

	(void)snprintf(path, sizeof path, "%s/ltx/0/%s", db->conf.meta_path,
	    ls_ltx_name(txid, txid, name));
	size = ls_file_size(path);
	if ((rc = ls_db_open_remote(db, e)) != LS_OK ||
	    (rc = ls_uploader_put(db->up, txid, path, &c, e)) != LS_OK)
		return rc;
	(void)pthread_mutex_lock(&d->mu);
	db->acked = txid;
	ls_tally_set(
	    &db->tally.durable_ms, (uint64_t)ls_uploader_acked_ms(db->up));
	if (db->remote_lineage == 0)
		db->remote_lineage = db->lineage;
	/* The next is due an interval after the capture, not after the PUT: so
	 * capture and upload stay in step. */
	db->last_upload_ns = db->quiet_ns;
	db->proved_ns = ls_uploader_proved(db->up) ? began : 0;
	if (db->acked >= db->newest)
		db->last_sync_ns = ls_sys->wall_ns();
	if (!db->maint_comes)
		ls_db_due_maint(db, began + LS_SEC); /* finds its boundaries */
	db->maint_comes = true;
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	ls_debug("ltx file uploaded",
	    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
		LS_S("replica", db->conf.place.type), LS_I("level", 0),
		LS_T("minTXID", txid), LS_T("maxTXID", txid),
		LS_I("size", size),
		LS_D("elapsed", ls_sys->mono_ns() - began)));
	return LS_OK;
}

static enum ls_rc
stale(struct ls_db *db, const char *why, struct ls_err *e)
{
	enum ls_rc rc = ls_err_set(e, LS_EFENCED,
	    "%s: the replica is at %016llx, the local state ends at %016llx",
	    why, (unsigned long long)db->acked, (unsigned long long)db->newest);

	return ls_err_hint(e, rc,
	    "on-stale-state is stop; 'resync' publishes the difference on top, "
	    "'reset' forgets the local state");
}

static enum ls_rc
work(struct ls_db *db, bool *more, bool *answered, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	const char *why = "";
	uint64_t txid;

	if (!db->remote_known) {
		if (!db->remote_net) {
			*more = true;
			return LS_OK;
		}
		rc = know_remote(db, e);
		*answered = rc == LS_OK;
	}
	if (rc == LS_OK && db->compare)
		rc = ls_db_compare(db, e);

	for (int64_t i = 0; rc == LS_OK; i++) {
		enum next n = decide(db, &txid, &why);

		if (n == NEXT_STALE)
			return stale(db, why, e);
		*more = n == NEXT_LATER;
		if (n != NEXT_PUT)
			break;
		if (db->conf.max_sync_ltx_files != 0 &&
		    i >= db->conf.max_sync_ltx_files) {
			*more = true; /* others have their turn */
			break;
		}
		rc = put_one(db, txid, e);
		*answered |= rc == LS_OK;
	}
	if (rc == LS_EGAP) { /* look anew, and begin on top of what is left */
		(void)pthread_mutex_lock(&db->d->mu);
		db->remote_known = false;
		db->doubt_ns = ls_sys->mono_ns();
		db->gone = true;
		(void)pthread_mutex_unlock(&db->d->mu);
	}
	return rc;
}

/* There is no database, and nothing of it waits in the spool? mu held. */
static bool
nothing_left(const struct ls_db *db)
{
	return !db->exists && db->newest <= db->acked;
}

/* Everything that had to go is there? mu held. */
static bool
all_sent(const struct ls_db *db)
{
	if (!db->local_done || db->rebase || db->snapshot || db->snap_lent)
		return false;
	return nothing_left(db) || ls_db_is_stored(db);
}

/* Is retention left to do, now that all is there? mu held. */
static bool
retain_last(struct ls_db *db)
{
	db->retain_due = db->retain_wanted && db->exists && !db->fenced;
	return db->retain_due;
}

bool
ls_db_nothing_to_send(const struct ls_db *db)
{
	return db->fenced || ls_db_is_stored(db) ||
	       (db->goal == LS_GOAL_STOP && db->local_done && nothing_left(db));
}

/* mu held. */
static void
settle(struct ls_db *db, enum ls_rc rc, bool more, uint64_t retry_ns)
{
	struct ls_daemon *d = db->d;
	uint64_t now = ls_sys->mono_ns();

	db->remote_lent = false;
	d->remote_n--;
	if (rc == LS_OK && db->local_failures == 0)
		ls_db_well(db);
	if (rc == LS_OK && ls_db_is_stored(db))
		db->last_sync_ns = ls_sys->wall_ns();
	if (db->snapshot && !db->snap_lent && !db->rebase && rc == LS_OK)
		ls_db_due_local(db, now); /* it waited for the first listing */
	if (rc == LS_EFENCED) {
		db->fenced = true;
		ls_db_due_local(db, now);
	}
	if (db->goal == LS_GOAL_STOP && all_sent(db) && retain_last(db)) {
		ls_db_due_maint(db, now); /* its end comes back here */
	} else if (db->goal == LS_GOAL_STOP && (all_sent(db) || db->fenced)) {
		db->remote_done = true;
		db->local_done = true;
		ls_db_due_local(db, now);
	} else if (more || db->remote_again) {
		ls_db_due_remote(db, now);
	} else if (retry_ns != 0 && !db->fenced) {
		ls_db_due_remote(db, now + retry_ns);
	}
	db->remote_again = false;
	ls_db_snapshot_go(db);
	(void)pthread_cond_broadcast(&d->changed);
}

/* The file that the replica's newest is compared with went away: a local step
 * puts another in its place, and will say so in a moment. */
static bool
is_being_replaced(struct ls_db *db, uint64_t failures, const struct ls_err *e)
{
	bool comparing;

	(void)pthread_mutex_lock(&db->d->mu);
	comparing = db->compare;
	(void)pthread_mutex_unlock(&db->d->mu);
	return comparing && e->rc == LS_ENOTFOUND && failures < 10;
}

/* Logs; ns until the next try. */
static uint64_t
failed(struct ls_db *db, bool stop, const struct ls_err *e)
{
	uint64_t n = atomic_fetch_add(&db->remote_failures, 1) + 1;

	if (is_being_replaced(db, n, e))
		return 20 * LS_MS;
	ls_tally_add(&db->tally.upload_errors, e->rc != LS_ECANCELED);
	if (e->rc == LS_EFENCED)
		db->remote_limit.last_ns = 0; /* said whatever came before */
	ls_db_failed(db, &db->remote_limit,
	    e->rc == LS_EFENCED ? "replica is fenced, replication stopped"
	    : stop ? "shutdown sync failed, retrying (press Ctrl+C again to "
		     "skip)"
		   : "replica sync error",
	    e);
	return stop ? (uint64_t)db->d->cfg.shutdown_sync_interval_ns
		    : ls_db_backoff((uint64_t)db->conf.sync_interval_ns, n);
}

static void
recovered(struct ls_db *db)
{
	uint64_t n = atomic_exchange(&db->remote_failures, 0);

	if (n > 0)
		ls_info("replica sync recovered",
		    LS_ATTRS(LS_S("db", db->name), LS_U("failures", n)));
	db->remote_limit.last_ns = 0;
}

/* Parked: let go of what the uploader holds in a folder. */
static bool
take_rest(struct ls_db *db)
{
	bool rest;

	(void)pthread_mutex_lock(&db->d->mu);
	rest = db->up != NULL &&
	       ((db->parked && db->acked >= db->newest) || db->remote_done);
	(void)pthread_mutex_unlock(&db->d->mu);
	return rest;
}

static void
rest(struct ls_db *db)
{
	ls_uploader_rest(db->up);
	ls_replica_forget(db->replica);
}

void
ls_db_remote_step(struct ls_work *w)
{
	struct ls_db *db =
	    (struct ls_db *)((char *)w - offsetof(struct ls_db, remote_work));
	struct ls_daemon *d = db->d;
	struct ls_err e = { 0 };
	bool more = false, answered = false, stop, idle, fenced;
	uint64_t retry = 0;
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->mu);
	stop = db->goal == LS_GOAL_STOP;
	fenced = db->fenced;
	idle = stop && db->local_done && nothing_left(db);
	db->remote_since_ns = ls_sys->mono_ns();
	(void)pthread_mutex_unlock(&d->mu);
	if (fenced) /* (3): nothing to do, and nothing to recover from */
		rc = LS_ECANCELED;
	else if (!idle)
		rc = work(db, &more, &answered, &e);
	if (!fenced && !more && take_rest(db))
		rest(db);
	if (!fenced && rc != LS_OK)
		retry = failed(db, stop, &e);
	else if (!fenced)
		recovered(db);
	(void)pthread_mutex_lock(&d->mu);
	if (db->remote_net)
		ls_endpoint_done(db, answered, rc, &e);
	settle(db, rc, more, retry);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}
