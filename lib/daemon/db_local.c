/* db_local.c -- the local step: from the WAL to the spool.
 *
 *  (1) CAPTURE NEVER WAITS FOR THE NETWORK. The step runs on the local lane;
 *      only putting the local state on top of the replica's (db_rebase.c) uses
 *      the store, and such a step is queued on the remote lane.
 *  (2) THE UPLOAD STARTS AT ONCE. A new file is published under d->mu and the
 *      remote step is due before the next file is begun.
 *  (3) A SPOOL FILE GOES only when the replica has it and the saved page map
 *      holds it (`safe`), and the newest never.
 *  (4) THE FINAL STEP captures all that is committed when it begins; when it
 *      cannot, the database is not counted as done.
 *  (5) THE END OF A PARKED DATABASE COSTS NO OPEN: all of it was stored, and its
 *      watch, armed since before the parking, has not told of a write. (The
 *      scheduler reads events and the signal in one turn.) Ten thousand opens
 *      would not fit into the time that a stop has.
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	SAVE_EVERY_SEC = 10,
	MISSING_LOOK_SEC = 5,
	CLOCK_STEP_MS = 20,
	RIVAL_SEC = 5
};

/* What the step found; applied to the record in settle(). */
struct turn {
	enum ls_goal goal;
	bool stirred, recover, snapshot, rebase, evict;
	uint64_t acked;
	bool again;    /* more to do right now */
	bool captured; /* a file was written */
	bool clean;    /* all that was committed is in the spool */
	bool missing;  /* there is no database */
	bool park;
	uint64_t retry_ns; /* from now; 0 = by events only */
	uint64_t began_ns; /* mono */
	uint64_t since_ns; /* of the change that it is to capture, if seen */
};

static void
log_captured(struct ls_db *db, const struct ls_captured *c)
{
	static const char *const kinds[] = { "none", "frames", "copy", "diff" };
	bool resync = c->kind == LS_CAP_COPY_ALL || c->kind == LS_CAP_DIFF;

	ls_tally_add(&db->tally.wal_read, c->wal_bytes);
	if (resync && c->reason[0] != '\0') { /* no first copy */
		ls_tally_add(&db->tally.resyncs, 1);
		ls_tally_add(&db->tally.resync_pages, c->pages);
	}
	/* People look for snap=true. */
	if (c->kind == LS_CAP_COPY_ALL)
		ls_debug("sync",
		    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
			LS_T("txid", c->txid), LS_B("snap", true),
			c->reason[0] ? LS_S("reason", c->reason) : LS_NONE));
	if (resync)
		ls_info("resync",
		    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
			LS_S("kind", kinds[c->kind]), LS_S("reason", c->reason),
			LS_T("txid", c->txid), LS_U("pages", c->pages),
			LS_U("size", c->bytes)));
	else
		ls_debug("sync",
		    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
			LS_T("txid", c->txid), LS_U("pages", c->pages),
			LS_U("size", c->bytes), LS_U("wal", c->wal_bytes)));
}

/* Something was captured, by a step of its own, by opening, or as the tail of a
 * checkpoint: it goes at once, or an interval after the last. mu held. */
static void
send_soon(struct ls_db *db)
{
	uint64_t every = (uint64_t)db->conf.sync_interval_ns;

	db->quiet_ns = ls_sys->mono_ns();
	ls_db_due_remote(
	    db, db->last_upload_ns == 0
		    ? db->quiet_ns
		    : LS_MAX(db->quiet_ns, db->last_upload_ns + every));
}

/* Tell the record what the capture holds now. mu held. */
void
ls_db_publish(struct ls_db *db)
{
	struct ls_capture_pos pos;
	uint64_t before = db->newest;

	ls_capture_position(db->cap, &pos);
	if (!ls_capture_unsettled(db->cap)) {
		ls_spool_range(
		    ls_capture_spool(db->cap), &db->oldest, &db->newest);
		db->merging = false;
	}
	db->lineage = pos.lineage;
	db->wal_bytes = pos.wal_file_bytes;
	db->resync_wants_base = pos.wants_base;
	db->local_known = true;
	ls_tally_set(&db->tally.wal_bytes, pos.wal_file_bytes);
	ls_tally_set(&db->tally.wal_done,
	    pos.frame == 0 ? 0 : 32 + pos.frame * (24ull + pos.page_size));
	ls_tally_set(
	    &db->tally.spool_bytes, ls_spool_bytes(ls_capture_spool(db->cap)));
	if (db->newest != before) {
		if (db->remote_known)
			ls_lag_durable(&db->lag, db->acked);
		if (db->newest > db->acked || !db->remote_known)
			ls_lag_captured(&db->lag, db->newest,
			    db->taking_ns ? db->taking_ns : ls_sys->mono_ns());
	}
	if (db->newest > before)
		send_soon(db);
}

/* Does a link lead elsewhere than before? Then *to is where; heap or NULL. */
static bool
link_moved(const struct ls_db *db, char **to)
{
	char target[PATH_MAX];
	struct stat st;

	*to = NULL;
	if (lstat(db->conf.path, &st) == 0 && S_ISLNK(st.st_mode) &&
	    realpath(db->conf.path, target) != NULL)
		*to = ls_strdup(target);
	return (*to == NULL) != (db->file == NULL) ||
	       (*to != NULL && strcmp(*to, db->file) != 0);
}

static void
follow_link(struct ls_db *db)
{
	char *to, *old = NULL;

	if (link_moved(db, &to)) {
		(void)pthread_mutex_lock(&db->d->mu);
		old = db->file;
		db->file = to;
		(void)pthread_mutex_unlock(&db->d->mu);
		to = NULL;
	}
	ls_free(to);
	ls_free(old);
}

/* The file is ours, under this name: index.c (2). */
static enum ls_rc
claim(struct ls_db *db, struct ls_err *e)
{
	const char *path = ls_db_file(db);
	struct ls_db *other;
	struct stat st;
	enum ls_rc rc = LS_OK;

	if (stat(path, &st) != 0)
		return ls_err_sys(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode)) /* before local state is made beside it */
		return ls_err_hint(e,
		    ls_err_set(e, LS_ENOTDB, "%s: is not a regular file", path),
		    "name the database file itself");
	(void)pthread_mutex_lock(&db->d->mu);
	if ((other = ls_claim(db, &st)) != NULL) {
		rc = ls_err_set(
		    e, LS_EAGAIN, "%s is open as %s", path, other->conf.path);
		ls_db_due_local(other, 0); /* it may have been renamed */
	}
	(void)pthread_mutex_unlock(&db->d->mu);
	if (rc != LS_OK)
		ls_daemon_wake(db->d);
	return rc;
}

static bool
still_claimed(const struct ls_db *db)
{
	struct stat st;

	return stat(ls_db_file(db), &st) == 0 && st.st_ino == db->ino &&
	       st.st_dev == db->dev;
}

static void
let_go(struct ls_db *db)
{
	(void)pthread_mutex_lock(&db->d->mu);
	ls_unclaim(db);
	(void)pthread_mutex_unlock(&db->d->mu);
}

static bool
is_empty(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

static enum ls_rc
open_capture(struct ls_db *db, struct turn *t, struct ls_err *e)
{
	follow_link(db);

	const struct ls_capture_conf conf = {
		.db_path = ls_db_file(db),
		.meta_path = db->conf.meta_path,
		.busy_timeout_ns = db->conf.busy_timeout_ns,
		.checkpoint_interval_ns = db->conf.checkpoint_interval_ns,
		.min_checkpoint_pages = db->conf.min_checkpoint_pages,
		.truncate_pages = db->conf.truncate_pages,
		.max_sync_wal_bytes = db->conf.max_sync_wal_bytes,
	};
	struct ls_daemon *d = db->d;
	enum ls_rc rc = claim(db, e);

	if (rc == LS_OK)
		rc = ls_capture_open(&conf, &db->cap, e);
	if (rc == LS_OK && !still_claimed(db)) {
		rc = ls_err_set(e, LS_EAGAIN, "replaced while it was opened");
		if (ls_capture_close(db->cap, NULL) != LS_OK)
			ls_debug("close", LS_ATTRS(LS_S("db", db->name)));
		db->cap = NULL;
	}
	if (rc != LS_OK)
		let_go(db);

	/* An empty file: an application has opened it, and committed nothing. */
	if (rc == LS_ENOTFOUND ||
	    (rc == LS_ENOTDB && is_empty(ls_db_file(db)))) {
		t->missing = true;
		if (!db->first_logged)
			ls_info("sync: no database found",
			    LS_ATTRS(LS_S("system", "store"),
				LS_S("db", db->name),
				LS_S("path", db->conf.path)));
		db->first_logged = true;
	}
	if (rc != LS_OK)
		return rc;
	db->safe = 0; /* what was saved may have been reset meanwhile */
	(void)pthread_mutex_lock(&d->mu);
	ls_slot_hot(db);
	db->parked = false;
	db->exists = true;
	ls_db_publish(db);
	if (!db->sent_known) /* an earlier run may have sent all of it */
		db->sent = db->newest;
	db->sent_known = true;
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d); /* a guard is held: it is to be looked at */
	ls_debug("database opened",
	    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
		LS_S("path", db->conf.path)));
	return LS_OK;
}

static void
count_checkpoint(
    struct ls_tally *t, enum ls_ckpt mode, enum ls_rc rc, uint64_t ns)
{
	if (rc == LS_OK)
		ls_tally_add(&t->ckpts[mode], 1);
	else if (rc != LS_EBUSY && rc != LS_EAGAIN) /* next time */
		ls_tally_add(&t->ckpt_errors[mode], 1);
	ls_tally_add(&t->ckpt_ns[mode], ns);
}

/* Blocks for a stat. */
static struct ls_file_mark
mark_wal(const struct ls_db *db)
{
	char wal[PATH_MAX];
	struct stat st;

	if (snprintf(wal, sizeof wal, "%s-wal", ls_db_file(db)) >=
		(int)sizeof wal ||
	    stat(wal, &st) != 0)
		return (struct ls_file_mark){ 0, 0 };
	return (struct ls_file_mark){ st.st_mtim.tv_sec * (int64_t)LS_SEC +
					  st.st_mtim.tv_nsec,
		st.st_size };
}

bool
ls_db_woke(const struct ls_db *db)
{
	struct ls_file_mark now = mark_wal(db);

	return now.mtime_ns != db->parked_wal.mtime_ns ||
	       now.size != db->parked_wal.size;
}

/* A write behind the mark changes it, if the mark is older than the steps of the
 * file system's clock. */
static enum ls_rc
park_capture(struct ls_db *db, struct ls_err *e)
{
	struct ls_file_mark mark = mark_wal(db);
	uint64_t began;
	enum ls_rc rc;

	if (ls_sys->wall_ns() - mark.mtime_ns < CLOCK_STEP_MS * (int64_t)LS_MS)
		return ls_err_set(e, LS_EBUSY, "written a moment ago");
	began = ls_sys->mono_ns();
	rc = ls_capture_park(db->cap, e); /* its checkpoint is a RESTART */
	count_checkpoint(
	    &db->tally, LS_CKPT_RESTART, rc, ls_sys->mono_ns() - began);
	if (rc == LS_OK)
		db->parked_wal = mark;
	return rc;
}

static enum ls_rc
close_capture(struct ls_db *db, bool park, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct ls_capture *cap = db->cap;
	enum ls_rc rc = LS_OK;

	if (cap == NULL)
		return LS_OK;
	(void)pthread_mutex_lock(&d->mu); /* the tick must not look at it */
	ls_slot_cold(db);
	(void)pthread_mutex_unlock(&d->mu);
	if (park && (rc = park_capture(db, e)) != LS_OK) {
		(void)pthread_mutex_lock(&d->mu);
		ls_slot_hot(db);
		(void)pthread_mutex_unlock(&d->mu);
		return rc;
	}
	if (!park)
		rc = ls_capture_close(cap, e);
	ls_tally_set(&db->tally.blocked_by, 0);
	db->cap = NULL;
	let_go(db);
	return rc;
}

/* result is the row of PRAGMA wal_checkpoint. */
static void
log_checkpoint(
    struct ls_db *db, enum ls_ckpt mode, const struct ls_checkpointed *cp)
{
	char row[32];

	(void)snprintf(row, sizeof row, "%d,%u,%u", cp->blocked_by != 0,
	    (unsigned)cp->log, (unsigned)cp->done);
	ls_debug("checkpoint",
	    LS_ATTRS(LS_S("system", "store"), LS_S("db", db->name),
		LS_S("mode", mode == LS_CKPT_TRUNCATE ? "TRUNCATE" : "PASSIVE"),
		LS_S("result", row), LS_I("blocked_by", cp->blocked_by)));
}

static enum ls_rc
checkpoint(struct ls_db *db, struct ls_err *e)
{
	enum ls_ckpt mode =
	    ls_capture_checkpoint_due(db->cap, ls_sys->mono_ns());
	struct ls_checkpointed cp = { 0 };
	uint64_t began;
	enum ls_rc rc;

	if (mode == LS_CKPT_NONE)
		return LS_OK;
	began = ls_sys->mono_ns();
	rc = ls_capture_checkpoint(db->cap, mode, &cp, e);
	count_checkpoint(&db->tally, mode, rc, ls_sys->mono_ns() - began);
	ls_tally_set(&db->tally.blocked_by, (uint64_t)cp.blocked_by);
	if (rc == LS_EBUSY || rc == LS_EAGAIN)
		return LS_OK; /* readers or a torn index: next time */
	if (cp.tail.kind != LS_CAP_NONE)
		log_captured(db, &cp.tail);
	if (rc == LS_OK)
		log_checkpoint(db, mode, &cp);
	return rc;
}

/* Make the map durable now and then, and let go of what nobody needs. */
static enum ls_rc
tidy(struct ls_db *db, const struct turn *t, struct ls_err *e)
{
	uint64_t now = ls_sys->mono_ns();
	enum ls_rc rc = LS_OK;

	if (t->goal == LS_GOAL_STOP ||
	    now - db->save_ns >= SAVE_EVERY_SEC * LS_SEC) {
		rc = ls_capture_save(db->cap, &db->safe, e);
		db->save_ns = now;
	}
	if (rc == LS_OK && LS_MIN(t->acked, db->safe) > 0)
		rc = ls_spool_drop(
		    ls_capture_spool(db->cap), LS_MIN(t->acked, db->safe), e);
	return rc;
}

/* The disk is full: what the replica has goes now, without waiting for its turn,
 * and the map is saved so that more may go. Else nothing could be captured, and
 * tidy() would never be reached. (test: test_reserve_is_kept) */
static void
make_room(struct ls_db *db, const struct turn *t)
{
	struct ls_err e = { 0 };
	uint64_t gone = LS_MIN(t->acked, db->safe);

	if (ls_capture_unsettled(db->cap) ||
	    (gone > 0 &&
		ls_spool_drop(ls_capture_spool(db->cap), gone, &e) != LS_OK))
		return;
	db->save_ns = 0;
	if (tidy(db, t, &e) != LS_OK)
		ls_debug(
		    "no room made", LS_ATTRS(LS_S("db", db->name), LS_E(&e)));
}

/* One file, published. */
static enum ls_rc
capture_one(
    struct ls_db *db, struct turn *t, struct ls_captured *got, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	enum ls_rc rc = ls_capture_step(db->cap, got, e);
	bool piece; /* not the first: it goes with the one before */

	if (rc != LS_OK)
		return rc;
	if (got->kind == LS_CAP_NONE)
		return LS_OK;
	piece = t->captured;
	t->captured = true;
	log_captured(db, got);
	(void)pthread_mutex_lock(&d->mu);
	ls_db_publish(db);
	if (db->goal == LS_GOAL_STOP || db->waiters > 0 || piece)
		ls_db_due_remote(db, 0);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
	return LS_OK;
}

static enum ls_rc
capture_all(struct ls_db *db, struct turn *t, struct ls_err *e)
{
	enum { MOST_FILES = 64 };
	struct ls_captured got;
	enum ls_rc rc;

	for (int i = 0; i < MOST_FILES; i++) {
		memset(&got, 0, sizeof got);
		if ((rc = capture_one(db, t, &got, e)) != LS_OK)
			return rc;
		if (!got.more) {
			t->clean = true;
			break;
		}
	}
	t->again = !t->clean;
	return checkpoint(db, e);
}

/* Has a litestream been started on the same database? Then let go of it: both
 * would write into one folder. It is taken again when that one has ended. */
static enum ls_rc
look_for_rival(struct ls_db *db, struct ls_err *e)
{
	struct ls_err ignored = { 0 };
	uint64_t now = ls_sys->mono_ns();
	enum ls_rc rc;

	if (now < db->rival_ns)
		return LS_OK;
	db->rival_ns = now + RIVAL_SEC * LS_SEC;
	if ((rc = ls_capture_rival(ls_db_file(db), e)) != LS_ELOCKED)
		return rc;
	db->rival_ns = 0;
	if (!ls_db_snapshot_end(db)) /* else when that has ended */
		(void)close_capture(db, false, &ignored);
	return rc;
}

/* Has the application replaced its files? Then everything is settled anew. */
static enum ls_rc
look_at_files(struct ls_db *db, struct turn *t, struct ls_err *e)
{
	struct ls_err ignored = { 0 };
	enum ls_rc rc;
	bool moved;
	char *to;

	if (db->cap == NULL)
		return LS_OK;
	if ((rc = look_for_rival(db, e)) != LS_OK)
		return rc;
	/* At every step: a few stats, and an event may have come too early. */
	moved = link_moved(db, &to);
	ls_free(to);
	if (!moved && !ls_capture_replaced(db->cap))
		return LS_OK;
	if (ls_db_snapshot_end(db))
		return ls_err_set(e, LS_EAGAIN, "%s: replaced", db->conf.path);
	ls_info("database, its WAL or the local state was replaced, settling "
		"anew",
	    LS_ATTRS(LS_S("db", db->name)));
	if (close_capture(db, false, &ignored) != LS_OK)
		ls_warn("close of a replaced database",
		    LS_ATTRS(LS_S("db", db->name), LS_E(&ignored)));
	return open_capture(db, t, e);
}

/* Its place is needed: is there nothing left that needs it open? */
static bool
may_leave(struct ls_db *db)
{
	bool may;

	(void)pthread_mutex_lock(&db->d->mu);
	may = (db->watched || db->polled) && db->waiters == 0 && !db->rebase &&
	      !db->snapshot && !db->snap_lent && db->local_known;
	(void)pthread_mutex_unlock(&db->d->mu);
	return may && !ls_capture_changed(db->cap);
}

static bool
quiet_enough(struct ls_db *db, const struct turn *t)
{
	int64_t after = db->d->cfg.park_after_ns;
	bool quiet;

	if (t->evict && t->goal == LS_GOAL_RUN && t->clean)
		return may_leave(db);
	/* Stirred: the one-shot watch is spent, and nobody would tell of a write
	 * between the parking and the arming. */
	if (after == 0 || t->goal == LS_GOAL_STOP || t->captured || !t->clean ||
	    t->stirred)
		return false;
	(void)pthread_mutex_lock(&db->d->mu);
	quiet = db->quiet_ns != 0 && (db->watched || db->polled) &&
		db->waiters == 0 && db->acked >= db->newest && !db->rebase &&
		!db->snapshot && !db->snap_lent &&
		ls_sys->mono_ns() - db->quiet_ns >= (uint64_t)after;
	(void)pthread_mutex_unlock(&db->d->mu);
	return quiet && !ls_capture_changed(db->cap);
}

static enum ls_rc
work(struct ls_db *db, struct turn *t, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	struct ls_err parked = { 0 };

	if (db->cap == NULL)
		rc = open_capture(db, t, e);
	if (rc == LS_OK)
		rc = look_at_files(db, t, e);
	if (rc == LS_OK && t->recover)
		rc = ls_capture_recover(db->cap, e);
	if (rc == LS_OK && t->rebase)
		rc = ls_db_rebase(db, e);
	if (rc == LS_OK)
		rc = ls_db_room(db, e);
	if (rc == LS_OK)
		rc = capture_all(db, t, e);
	if (rc == LS_OK)
		rc = ls_db_bound_spool(db, e);
	if (rc == LS_ENOSPC && db->cap != NULL)
		make_room(db, t);
	if (rc == LS_OK && t->snapshot)
		rc = ls_db_snapshot_begin(db, e);
	if (rc == LS_OK)
		rc = tidy(db, t, e);
	if (rc == LS_OK && quiet_enough(db, t)) {
		/* What it is like goes on to be told. */
		(void)pthread_mutex_lock(&db->d->mu);
		ls_db_publish(db);
		(void)pthread_mutex_unlock(&db->d->mu);
		t->park = close_capture(db, true, &parked) == LS_OK;
	}
	return rc;
}

/* When to look again, without an event. */
static uint64_t
next_look(const struct ls_db *db, const struct turn *t, uint64_t now)
{
	uint64_t park = (uint64_t)db->d->cfg.park_after_ns;
	uint64_t ckpt = (uint64_t)db->conf.checkpoint_interval_ns;
	uint64_t due = 0;

	if (t->again)
		return now;
	if (t->retry_ns != 0)
		return now + t->retry_ns;
	if (db->parked || db->conf.monitor_interval_ns == 0)
		return 0;
	if (park != 0)
		due = LS_MAX(db->quiet_ns + park, now + LS_SEC);
	if (ckpt != 0 && db->quiet_ns != 0 && now < db->quiet_ns + 2 * ckpt)
		due = due ? LS_MIN(due, now + ckpt) : now + ckpt;
	return due;
}

/* What the step was like, for metrics; mu not held. */
static void
tally(struct ls_db *db, const struct turn *t, enum ls_rc rc)
{
	int64_t size = ls_file_size(ls_db_file(db));
	bool failed =
	    rc != LS_OK && rc != LS_ECANCELED && rc != LS_EAGAIN && !t->missing;

	ls_tally_set(&db->tally.db_bytes, size > 0 ? (uint64_t)size : 0);
	ls_tally_add(&db->tally.syncs, 1);
	ls_tally_add(&db->tally.sync_ns, ls_sys->mono_ns() - t->began_ns);
	ls_tally_add(&db->tally.sync_errors, failed);
	if (rc == LS_OK || failed)
		ls_tally_set(&db->tally.disk_full, rc == LS_ENOSPC);
}

/* What was seen and is not captured goes on to count for the lag. mu held. */
static void
settle_lag(struct ls_db *db, const struct turn *t, enum ls_rc rc, uint64_t now)
{
	if (t->missing) {
		db->doubt_ns = now;
		db->seen_ns = 0;
	} else if ((rc != LS_OK || t->again) &&
		   (db->seen_ns == 0 || t->since_ns < db->seen_ns)) {
		db->seen_ns = t->since_ns;
	}
	db->taking_ns = 0;
}

/* Give the record back. */
static void
settle(struct ls_db *db, const struct turn *t, enum ls_rc rc, uint64_t gen,
    const struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	uint64_t now = ls_sys->mono_ns(), due;

	tally(db, t, rc);
	(void)pthread_mutex_lock(&d->mu);
	db->local_ended_ns = ls_sys->wall_ns();
	if (db->local_net)
		ls_endpoint_done(db, rc == LS_OK && t->rebase, rc, e);
	d->unlooked -= !db->looked;
	if (!db->looked)
		ls_db_due_remote(db, now);
	db->looked = true;
	if (t->captured && db->hot)
		ls_slot_hot(db);
	settle_lag(db, t, rc, now);
	if (rc == LS_OK) {
		db->local_ended = gen;
		if (db->remote_failures == 0 && !db->stuck)
			ls_db_well(db);
		if (t->captured)
			db->last_capture_ns = now;
		else if (t->stirred)
			ls_daemon_look_often(d); /* its commit is under way */
		if (db->quiet_ns == 0)
			db->quiet_ns = now;
	}
	db->exists = !t->missing;
	db->parked = t->park;
	db->torn_ns = 0;
	if (t->park) {
		d->parkings++;
		ls_timer_clear(&d->timers, &db->local_timer);
		ls_db_due_remote(db, now); /* lets go of its part too */
	}
	if (db->cap != NULL)
		ls_db_publish(db);
	if (t->goal == LS_GOAL_STOP &&
	    (t->missing || (rc == LS_OK && !t->again)))
		db->local_done = true;
	if (t->goal == LS_GOAL_STOP && rc != LS_OK && !t->missing &&
	    rc != LS_EAGAIN && !ls_rc_retry(rc))
		db->gave_up = db->local_done = db->remote_done = true;
	if (db->local_done || db->upload_after)
		ls_db_due_remote(db, 0);
	due = db->gave_up ? now : next_look(db, t, now);
	db->local_lent = false;
	ls_slot_settle(db);
	ls_db_snapshot_go(db);
	ls_db_returned(db);
	if (db->local_again && !d->suspending)
		due = due ? LS_MIN(due, now) : now;
	db->local_again = false;
	if (due != 0)
		ls_db_due_local(db, due);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

/* After the final upload, or when it was given up: let go of the database. */
static void
last_step(struct ls_db *db)
{
	struct ls_daemon *d = db->d;
	struct ls_err e = { 0 };

	if (close_capture(db, false, &e) != LS_OK)
		ls_warn("close", LS_ATTRS(LS_S("db", db->name), LS_E(&e)));
	(void)pthread_mutex_lock(&d->mu);
	/* Given up, a remote step may still be on its way back: up is its. */
	if (!db->remote_lent && db->up != NULL)
		ls_uploader_rest(db->up);
	db->closed = true;
	db->parked = false;
	db->local_lent = db->local_again = false;
	if (db->local_net)
		ls_endpoint_done(db, false, LS_OK, NULL);
	d->unlooked -= !db->looked;
	db->looked = true;
	ls_slot_settle(db);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

/* (5) */
bool
ls_db_sleeps(const struct ls_db *db)
{
	return db->goal == LS_GOAL_STOP && db->parked && !db->stirred &&
	       !db->snapshot && ls_db_is_stored(db) &&
	       ((db->armed && db->watched) || !ls_db_woke(db));
}

static void
failed(struct ls_db *db, struct turn *t, const struct ls_err *e)
{
	db->local_failures++;
	t->retry_ns = ls_db_backoff(
	    (uint64_t)LS_MAX(db->conf.monitor_interval_ns, (int64_t)LS_SEC),
	    db->local_failures);
	if (e->rc == LS_EAGAIN) {
		t->retry_ns = 20 * LS_MS;
		if (db->local_failures < 50)
			return; /* a moment of the application's; usual */
	}
	ls_db_failed(db, &db->local_limit, "sync error", e);
}

void
ls_db_local_step(struct ls_work *w)
{
	struct ls_db *db =
	    (struct ls_db *)((char *)w - offsetof(struct ls_db, local_work));
	struct ls_daemon *d = db->d;
	struct ls_err e = { 0 };
	struct turn t = { 0 };
	enum ls_rc rc;
	uint64_t gen;

	(void)pthread_mutex_lock(&d->mu);
	gen = ++db->local_gen;
	db->local_began_ns = ls_sys->wall_ns();
	db->local_ended_ns = 0;
	t.began_ns = ls_sys->mono_ns();
	t.since_ns = db->seen_ns ? db->seen_ns : t.began_ns;
	db->taking_ns = db->seen_ns;
	db->seen_ns = 0;
	t.goal = db->goal;
	t.stirred = db->stirred || db->parked;
	t.recover = db->recover;
	t.snapshot = db->snapshot && !db->snap_lent && db->remote_known &&
		     !db->rebase && db->remote_failures == 0 &&
		     !ls_endpoint_away(db, NULL);
	t.rebase = db->rebase && db->local_net;
	t.acked = db->acked;
	t.evict = db->evict;
	bool asleep = ls_db_sleeps(db);
	db->stirred = db->recover = false;
	bool last = db->goal == LS_GOAL_STOP && db->local_done &&
		    db->remote_done && !db->snap_lent;
	bool off = db->fenced || db->stuck || d->suspending;
	(void)pthread_mutex_unlock(&d->mu);
	if (last) {
		last_step(db);
		return;
	}
	if (off && t.goal == LS_GOAL_RUN) {
		if (ls_db_snapshot_end(db))
			t.retry_ns = 20 * LS_MS;
		else if (close_capture(db, false, &e) != LS_OK)
			ls_warn(
			    "close", LS_ATTRS(LS_S("db", db->name), LS_E(&e)));
		settle(db, &t, LS_ECANCELED, gen, &e);
		return;
	}
	if (asleep) {
		t.park = true;
		settle(db, &t, LS_OK, gen, &e);
		return;
	}
	rc = work(db, &t, &e);
	if (t.missing) {
		t.retry_ns =
		    t.goal == LS_GOAL_STOP ? 0 : MISSING_LOOK_SEC * LS_SEC;
	} else if (rc != LS_OK) {
		failed(db, &t, &e);
	} else {
		db->local_failures = 0;
	}
	settle(db, &t, rc, gen, &e);
}
