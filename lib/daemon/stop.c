/* stop.c -- the end: final sync of every database, within its deadline.
 *
 *  (1) STOPPED MEANS SYNCED, OR THE STATUS IS NOT ZERO: a database counts as
 *      done when all that was committed when the stop began is in the spool and
 *      at the replica; what is not is named in the log.
 *      (test: sigterm_at_any_moment_loses_nothing_silently)
 *  (2) IT ENDS IN TIME: at the deadline transfers are cancelled; a local step
 *      that does not come back within GRACE is left to the end of the process,
 *      which a crash-safe spool survives.
 */
#include "daemon/stop.h"

#include "base/bytes.h"

enum { GRACE_SEC = 10, SAME_SIGNAL_MS = 500 };

void
ls_stop_db(struct ls_db *db)
{
	if (db->goal == LS_GOAL_STOP)
		return;
	db->goal = LS_GOAL_STOP;
	db->local_done = db->remote_done = db->closed = db->gave_up = false;
	db->snap_must |= db->d->opts.force_snapshot;
	db->snapshot = db->snap_must && !db->snap_lent;
	db->retain_wanted = db->d->opts.enforce_retention;
	db->snap_failed = db->retain_due = db->retain_failed = false;
	if (!db->retain_wanted)
		ls_cancel_set(&db->upkeep);
	if (!db->snap_must)
		ls_cancel_set(&db->snap_cancel);
	ls_db_snapshot_go(db);
	/* What does not go on is not waited for. */
	if (!db->retain_wanted)
		ls_endpoint_hurry(db, &db->maint_work);
	if (!db->snap_must)
		ls_endpoint_hurry(db, &db->snap_work);
	ls_db_due_local(db, 0);
}

static uint64_t
limit(const struct ls_daemon *d)
{
	return LS_MAX((uint64_t)d->cfg.shutdown_sync_timeout_ns, LS_SEC);
}

void
ls_daemon_stop(struct ls_daemon *d)
{
	uint64_t now = ls_sys->mono_ns();

	(void)pthread_mutex_lock(&d->mu);
	if (d->stop_calls++ == 0) {
		d->stopping = true;
		d->suspending = false;
		d->stop_deadline_ns = now + limit(d);
		for (size_t i = 0; i < d->n; i++)
			ls_stop_db(d->db[i]);
		d->stop_ns = now;
		ls_endpoints_hurry(d);
	} else if (now - d->stop_ns > SAME_SIGNAL_MS * LS_MS) {
		/* Asked again: give up. (A signal to the process and to its
		 * group at once is one wish, not two.) */
		d->stop_deadline_ns = now;
	}
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

/* Past the deadline: nothing more is sent. */
static void
give_up(struct ls_daemon *d)
{
	ls_cancel_set(&d->cancel);
	d->gave_up = true;
	for (size_t i = 0; i < d->n; i++) {
		struct ls_db *db = d->db[i];

		ls_cancel_set(&db->upkeep);
		ls_cancel_set(&db->snap_cancel);
		ls_db_snapshot_go(db);
		if (db->closed || (db->local_done && db->remote_done))
			continue;
		db->gave_up = true;
		db->local_done = db->remote_done = true;
		ls_db_due_local(db, 0);
	}
	(void)pthread_cond_broadcast(&d->changed);
}

bool
ls_stop_if_locked(struct ls_daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->db[i]->err == NULL || d->db[i]->err->rc != LS_ELOCKED ||
		    d->db[i]->local_known)
			return false; /* a place that is taken may become free */
	if (d->n == 0)
		return false;
	d->stopping = true;
	d->stop_deadline_ns = ls_sys->mono_ns();
	for (size_t i = 0; i < d->n; i++)
		ls_stop_db(d->db[i]);
	return true;
}

/* Is something being done, and nothing failing? mu held. */
static bool
works(const struct ls_db *db)
{
	return !db->closed && db->local_failures == 0 &&
	       db->remote_failures == 0 &&
	       (db->local_lent || db->remote_lent || db->snap_lent ||
		   db->maint_lent);
}

bool
ls_stop_turn(struct ls_daemon *d, uint64_t now)
{
	bool open = false, busy = false;

	/* A look at all records at each turn is dear when they are many. */
	if (d->n > 100 && now < d->stop_turn_ns)
		return false;
	d->stop_turn_ns = now + 5 * LS_MS;
	for (size_t i = 0; i < d->n; i++) {
		open |= !d->db[i]->closed || d->db[i]->remote_lent ||
			d->db[i]->maint_lent;
		busy |= works(d->db[i]);
	}
	if (!open)
		return true;
	/* With -once the work itself is the final sync, and may be a first copy
	 * of any size: its time runs from when it no longer gets on. */
	if (d->opts.once && d->stop_calls == 1 && busy)
		d->stop_deadline_ns = now + limit(d);
	if (now >= d->stop_deadline_ns)
		give_up(d);
	return now >= d->stop_deadline_ns + GRACE_SEC * LS_SEC;
}

static void
say(const struct ls_db *db, enum ls_rc *rc, struct ls_err *e)
{
	bool missing = db->d->opts.once && !db->exists && db->err == NULL;

	if (!db->gave_up && !db->fenced && db->closed && !db->snap_failed &&
	    !db->retain_failed && !missing)
		return;
	if (missing)
		*rc = ls_err_set(e, LS_ENOTFOUND,
		    "%s: no position, waiting for data", db->conf.path);
	else if (db->err != NULL)
		*rc = ls_err_hint(e,
		    ls_err_set(
			e, db->err->rc, "%s: %s", db->conf.path, db->err->msg),
		    "%s", db->err->hint);
	else
		*rc = ls_err_set(e, LS_ETIMEOUT,
		    "%s: shutdown sync timeout: local txid %016llx, replica "
		    "txid %016llx",
		    db->conf.path, (unsigned long long)db->newest,
		    (unsigned long long)db->acked);
	ls_error(db->retain_failed ? "retention was not completed"
				   : "not everything is at the replica",
	    LS_ATTRS(LS_S("db", db->name), LS_T("local_txid", db->newest),
		LS_T("replica_txid", db->acked), LS_E(e)));
}

enum ls_rc
ls_stop_verdict(struct ls_daemon *d, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->mu);
	for (size_t i = 0; i < d->n; i++)
		say(d->db[i], &rc, e);
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}

bool
ls_daemon_hangs(struct ls_daemon *d)
{
	bool hangs = false;

	(void)pthread_mutex_lock(&d->mu);
	for (size_t i = 0; i < d->n; i++)
		hangs |= ls_db_is_lent(d->db[i]);
	(void)pthread_mutex_unlock(&d->mu);
	return hangs;
}
