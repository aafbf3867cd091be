/* db_maint.c -- the upkeep step: compaction, snapshots, retention of a replica.
 *
 *  (1) AN IDLE DATABASE COSTS NO REQUEST. The step is due after an upload, at
 *      the next boundary of a level that has something to merge, and when a
 *      file's age makes it deletable; never by a clock alone. (test:
 *      integration.upkeep)
 *  (2) NOTHING IS WRITTEN OR DELETED BY A WRITER THAT WAS OVERTAKEN: without a
 *      recent acknowledgement all levels are listed first (design 4), and a
 *      newer TXID fences the database as it would an upload.
 *  (3) STOPPING DOES NOT WAIT FOR IT: what is under way is cancelled and leaves
 *      nothing (db->upkeep). Only -enforce-retention has it run at the end, for
 *      retention alone, after the last upload.
 *  (4) OUR OWN UPLOADS ARE NO FENCE. They go on beside the step: what may be
 *      ours by now is asked after each listing (newest_now).
 *      (test: crash/test_rounds)
 *  (5) A GAP IN A LEVEL, OR A DAMAGED FILE, IS MENDED by a snapshot of the live
 *      database, behind which the level goes on; where that does not help, less
 *      and less often. (test: fault.damage)
 * Not here: which files (lib/replica: maint, compact, retain).
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"
#include "replica/verify.h"

#include <stdio.h>

enum {
	CALL_TIMEOUT_SEC = 3600,
	RETRY_SEC = 30,
	MEND_SEC = 60,
	MEND_MAX_SEC = 3600
};

/* The level-0 file of a TXID while it is still in the spool. */
static bool
local_file(void *arg, uint64_t txid, char *path, size_t n)
{
	const struct ls_db *db = arg;
	char name[LS_LTX_NAME_MAX];

	return (size_t)snprintf(path, n, "%s/ltx/0/%s", db->conf.meta_path,
		   ls_ltx_name(txid, txid, name)) < n &&
	       ls_exists(path);
}

/* (4) */
static uint64_t
newest_now(void *arg)
{
	struct ls_db *db = arg;
	uint64_t txid;

	(void)pthread_mutex_lock(&db->d->mu);
	txid = LS_MAX(db->acked, db->newest);
	(void)pthread_mutex_unlock(&db->d->mu);
	return txid;
}

static enum ls_rc
open_maint(struct ls_db *db, struct ls_err *e)
{
	const struct ls_config *cfg = &db->d->cfg;
	const struct ls_maint_conf conf = {
		.n_levels = cfg->n_levels,
		.snapshot_interval_ns = cfg->snapshot_interval_ns,
		.snapshot_retention_ns = cfg->snapshot_retention_ns,
		.l0_retention_ns = cfg->l0_retention_ns,
		.retention_enabled = cfg->retention_enabled,
		.verify_compaction = cfg->verify_compaction,
		.par = &ls_par_threads,
		.parallelism = 4,
		.local = local_file,
		.local_arg = db,
		.newest_now = newest_now,
		.newest_arg = db,
		.codec = ls_db_codec(db),
	};

	enum ls_rc rc;

	if ((rc = ls_db_open_remote(db, e)) != LS_OK || db->maint != NULL ||
	    (rc = ls_maint_new(db->replica, &conf, &db->maint, e)) != LS_OK)
		return rc;
	ls_maint_retain_at(db->maint, db->retain_ns);
	return LS_OK;
}

struct upkeep {
	struct ls_maint_turn t; /* newest: durable */
	bool last;		/* the final step: retention only */
	struct ls_call call;
};

static void
made(void *arg, int level, const struct ls_compacted *got)
{
	struct ls_db *db = arg;

	ls_tally_add(&db->tally.compact_errors, got->bad_shape);
	ls_info("compaction complete",
	    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
		LS_I("level", level), LS_T("txid.min", got->min_txid),
		LS_T("txid.max", got->max_txid), LS_U("size", got->bytes_out)));
}

/* A level-9 file of the live database, by the local step. */
static void
ask_snapshot(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	(void)pthread_mutex_lock(&d->mu);
	if (db->goal == LS_GOAL_RUN && !db->snap_lent &&
	    ls_sys->mono_ns() >= db->snap_after_ns) {
		db->snapshot = true;
		ls_db_due_local(db, 0);
	}
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

/* (5) */
static void
mend(struct ls_db *db, struct upkeep *u, const struct ls_err *why)
{
	uint64_t now = ls_sys->mono_ns();

	if (now >= db->mend_ns) {
		ls_warn("a level has a gap, making a snapshot",
		    LS_ATTRS(LS_S("db", db->name), LS_E(why)));
		ask_snapshot(db);
		db->mend_wait_ns =
		    LS_MIN(LS_MAX(2 * db->mend_wait_ns, MEND_SEC * LS_SEC),
			MEND_MAX_SEC * LS_SEC);
		db->mend_ns = now + db->mend_wait_ns;
	}
	ls_maint_again_at(&u->t, u->t.now_ns + (int64_t)(db->mend_ns - now));
}

static enum ls_rc
snapshot(struct ls_db *db, struct upkeep *u, struct ls_err *e)
{
	bool due = false, done = false;
	int64_t next = 0;
	enum ls_rc rc;

	rc = ls_maint_snapshot_due(
	    db->maint, u->t.newest, &due, &next, &u->call, e);
	if (rc != LS_OK || !due) {
		ls_maint_again_at(&u->t, next);
		return rc;
	}
	if ((rc = ls_maint_prove(db->maint, &u->t, &u->call, e)) != LS_OK)
		return rc;
	rc = ls_maint_snapshot(db->maint, u->t.newest, &done, &u->call, e);
	if (rc != LS_OK)
		return rc;
	if (done) {
		ls_info("snapshot complete",
		    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
			LS_T("txid", u->t.newest), LS_B("copied", true)));
		return LS_OK;
	}
	ask_snapshot(db);
	return LS_OK;
}

static enum ls_rc
retain(struct ls_db *db, struct upkeep *u, struct ls_err *e)
{
	struct ls_retained got = { .bytes = 0 };
	int64_t next = ls_maint_retain_next(db->maint);
	enum ls_rc rc = LS_OK;
	size_t n = 0;

	if (next != 0 && next <= u->t.now_ns) {
		rc = ls_maint_retain(db->maint, u->t.newest, &got, &u->call, e);
		for (int i = 0; i < LS_LEVELS; i++)
			n += got.deleted[i];
		for (int i = 0; rc == LS_OK && i <= LS_L0_TOO_RECENT; i++)
			ls_tally_set(&db->tally.l0[i], got.l0[i]);
		if (rc == LS_OK)
			ls_tally_set(&db->tally.l0_known, 1);
		if (n > 0)
			ls_info("retention complete",
			    LS_ATTRS(LS_S("system", "store"),
				LS_S("db", db->name), LS_U("files", n),
				LS_U("size", got.bytes)));
		next = ls_maint_retain_next(db->maint);
	}
	/* A check interval bounds how often, whatever the ages say. */
	if (next != 0)
		ls_maint_again_at(
		    &u->t, LS_MAX(next,
			       u->t.now_ns +
				   db->d->cfg.l0_retention_check_interval_ns));
	return rc;
}

static enum ls_rc
work(struct ls_db *db, struct upkeep *u, const struct ls_view_info *wrote,
    bool forget, struct ls_err *e)
{
	const struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = wrote->page_size,
		.commit = wrote->commit,
		.min_txid = 1,
		.max_txid = wrote->txid,
		.timestamp_ms = wrote->timestamp_ms,
		.node_id = wrote->lineage };
	enum ls_rc rc;

	if ((rc = open_maint(db, e)) != LS_OK)
		return rc;
	if (forget)
		ls_maint_forget(db->maint);
	if (wrote->txid != 0)
		ls_maint_wrote(db->maint, LS_SNAPSHOT_LEVEL, &h);
	if (u->t.newest == 0)
		return LS_OK;
	if (u->last)
		return retain(db, u, e);
	rc = ls_maint_levels(db->maint, &u->t, &u->call, e);
	if (rc == LS_EGAP || ls_rc_damaged(rc)) { /* (5) */
		mend(db, u, e);
		rc = LS_OK;
	} else if (rc == LS_OK) {
		db->mend_ns = db->mend_wait_ns = 0;
	}
	if (rc == LS_OK && (rc = snapshot(db, u, e)) == LS_OK)
		rc = retain(db, u, e);
	return rc;
}

/* ---- validation ------------------------------------------------------------*/

static void
tell(struct ls_db *db, const struct ls_verified *v)
{
	char text[80];

	if (v->ok)
		ls_tally_set(
		    &db->tally.verified_ns, (uint64_t)ls_sys->wall_ns());
	for (size_t i = 0; i < v->n_gaps; i++) {
		(void)snprintf(text, sizeof text,
		    "TXIDs %016llx to %016llx "
		    "are missing",
		    (unsigned long long)v->gaps[i].min,
		    (unsigned long long)v->gaps[i].max);
		ls_warn("validation error detected",
		    LS_ATTRS(LS_S("db", db->name),
			LS_I("level", v->gaps[i].level), LS_S("type", "gap"),
			LS_S("message", text)));
	}
	if (v->problem.rc != LS_OK)
		ls_warn("validation error detected",
		    LS_ATTRS(LS_S("db", db->name), LS_S("type", "chain"),
			LS_S("message", v->problem.msg)));
	ls_tally_add(
	    &db->tally.validation_errors, v->n_gaps + (v->problem.rc != LS_OK));
	ls_debug("validation complete",
	    LS_ATTRS(LS_S("db", db->name), LS_B("ok", v->ok),
		LS_U("files", v->checked_files),
		LS_T("txid", v->checked_txid)));
}

/* Is the replica complete? Once an interval; the first turns are spread over
 * one, so that many databases do not ask at once. */
static enum ls_rc
validate(struct ls_db *db, struct upkeep *u, struct ls_err *e)
{
	int64_t every = db->d->cfg.validation_interval_ns;
	struct ls_verified v = { 0 };
	enum ls_rc rc = LS_OK;

	if (every == 0 || u->last || u->t.newest == 0)
		return LS_OK;
	if (db->valid_due_ns == 0)
		db->valid_due_ns =
		    u->t.now_ns +
		    every / 1000 * (int64_t)(db->number * 619 % 1000);
	if (db->valid_due_ns <= u->t.now_ns) {
		rc =
		    ls_verify(db->replica, &ls_par_threads, 4, &v, &u->call, e);
		if (rc == LS_OK)
			tell(db, &v);
		ls_verified_fini(&v);
		db->valid_due_ns = u->t.now_ns + every;
	}
	ls_maint_again_at(&u->t, db->valid_due_ns);
	return ls_err_wrap(e, rc, "validate");
}

/* mu held. */
static void
settle(struct ls_db *db, const struct upkeep *u, enum ls_rc rc)
{
	uint64_t now = ls_sys->mono_ns();

	db->maint_lent = false;
	if (db->parked && db->replica != NULL)
		ls_replica_forget(db->replica); /* nobody asks again soon */
	if (db->maint_again)
		ls_db_due_maint(db, now);
	db->maint_again = false;
	if (rc == LS_EFENCED) {
		db->fenced = true;
		ls_db_due_local(db, now);
		ls_db_due_remote(db, now);
	} else if (rc != LS_OK) {
		ls_db_due_maint(db, now + RETRY_SEC * LS_SEC);
	} else if (u->t.next_ns != 0) {
		ls_db_due_maint(
		    db, now + (uint64_t)LS_MAX(
				  u->t.next_ns - u->t.now_ns, (int64_t)LS_MS));
	}
	db->maint_comes = rc != LS_OK || u->t.levels;
	if (!db->maint_comes && db->acked > u->t.newest) {
		ls_db_due_maint(db, now + LS_SEC);
		db->maint_comes = true;
	}
	if (u->last) {
		db->retain_wanted = db->retain_due = false;
		db->retain_failed = rc != LS_OK;
		ls_db_due_remote(db, now);
	}
	if (db->goal == LS_GOAL_STOP)
		ls_db_due_local(db, now); /* it may wait for us */
	(void)pthread_cond_broadcast(&db->d->changed);
}

void
ls_db_maint_step(struct ls_work *w)
{
	struct ls_db *db =
	    (struct ls_db *)((char *)w - offsetof(struct ls_db, maint_work));
	struct ls_daemon *d = db->d;
	uint64_t mono = ls_sys->mono_ns();
	struct upkeep u = { .t = { .now_ns = ls_sys->wall_ns(),
				.every_ns = d->cfg.level_interval_ns,
				.due_ns = db->level_due_ns,
				.made = made,
				.arg = db },
		.call = { &db->upkeep, mono + CALL_TIMEOUT_SEC * LS_SEC } };
	struct ls_view_info wrote;
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_OK;
	bool forget, off;

	(void)pthread_mutex_lock(&d->mu);
	u.t.newest = db->acked;
	u.t.proved =
	    db->proved_ns != 0 &&
	    mono - db->proved_ns < (uint64_t)d->cfg.l0_retention_ns / 2;
	u.last = db->retain_due;
	off = db->fenced || db->stuck ||
	      (db->goal == LS_GOAL_STOP && !u.last) || !db->remote_known ||
	      db->rebase;
	wrote = db->wrote;
	forget = db->maint_forget;
	if (!off) { /* else the next one is told */
		memset(&db->wrote, 0, sizeof db->wrote);
		db->maint_forget = false;
	}
	(void)pthread_mutex_unlock(&d->mu);
	if (!off)
		rc = work(db, &u, &wrote, forget, &e);
	if (!off && rc == LS_OK)
		rc = validate(db, &u, &e);
	if (rc != LS_OK && (rc != LS_ECANCELED || u.last))
		ls_db_failed(db, &db->maint_limit,
		    rc == LS_EFENCED ? "replica is fenced, replication stopped"
				     : "upkeep of the replica failed",
		    &e);
	(void)pthread_mutex_lock(&d->mu);
	ls_endpoint_done(db, false, rc, &e);
	settle(db, &u, rc);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}
