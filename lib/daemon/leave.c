/* leave.c -- a database that is not to be replicated any more: its final sync,
 * then its record goes; or another of the same path takes its place.
 *
 *  (1) NOBODY WAITS FOR IT: it ends like a stopped database, beside all others,
 *      and is given up shutdown-sync-timeout later, or when its local state was
 *      deleted with it. What is missing then is logged.
 *  (2) A PATH HAS ONE RECORD. What comes again under the path while the old
 *      record is still here begins when that has gone.
 *      (test: fleet.churn)
 * All with d->mu held.
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"
#include "daemon/stop.h"
#include "daemon/tree.h"

enum { LOOK_MS = 200 };

void
ls_db_leave(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	if (db->leaving)
		return;
	db->leaving = true;
	db->leave_deadline_ns =
	    ls_sys->mono_ns() +
	    LS_MAX((uint64_t)d->cfg.shutdown_sync_timeout_ns, LS_SEC);
	db->next_leaving = d->leaving;
	d->leaving = db;
	ls_stop_db(db);
	ls_daemon_wake(d);
}

/* What is left to be sent was deleted. */
static bool
is_lost(const struct ls_db *db)
{
	return !db->exists && db->remote_failures > 0 &&
	       !ls_exists(db->conf.meta_path);
}

static void
give_up(struct ls_db *db, uint64_t now)
{
	bool lost = is_lost(db);

	if (db->closed || db->gave_up || (now < db->leave_deadline_ns && !lost))
		return;
	if (!lost)
		ls_error("not everything is at the replica",
		    LS_ATTRS(LS_S("db", db->name),
			LS_T("local_txid", db->newest),
			LS_T("replica_txid", db->acked)));
	db->gave_up = db->local_done = db->remote_done = true;
	ls_cancel_set(&db->snap_cancel);
	ls_db_snapshot_go(db);
	ls_db_due_local(db, 0);
}

static void
gone(struct ls_daemon *d, struct ls_db *db)
{
	struct ls_db_config *next = db->successor;
	struct ls_tree *tree = db->again ? db->tree : NULL;
	struct ls_err e = { 0 };
	char *path = tree != NULL ? ls_strdup(db->conf.path) : NULL;

	db->successor = NULL;
	ls_info("removed database from replication",
	    LS_ATTRS(LS_S("db", db->name), LS_S("path", db->conf.path)));
	ls_daemon_remove(db);
	if (next != NULL &&
	    ls_daemon_add(d, next, NULL, LS_FROM_CONFIG, &e) != LS_OK)
		ls_error("cannot replicate", LS_ATTRS(LS_E(&e)));
	if (path != NULL)
		ls_tree_look(tree, path);
	ls_free(path);
	ls_free(next);
}

void
ls_leave_turn(struct ls_daemon *d, uint64_t now)
{
	if (d->leaving == NULL)
		return;
	if (now >= d->leave_look_ns) {
		d->leave_look_ns = now + LOOK_MS * LS_MS;
		for (struct ls_db *db = d->leaving; db; db = db->next_leaving)
			give_up(db, now);
	}
	for (struct ls_db **p = &d->leaving, *db; (db = *p) != NULL;) {
		if (!db->closed || db->waiters > 0 || ls_db_is_lent(db)) {
			p = &db->next_leaving;
			continue;
		}
		*p = db->next_leaving;
		gone(d, db);
	}
	(void)pthread_cond_broadcast(&d->changed);
}
