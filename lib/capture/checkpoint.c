/* checkpoint.c -- checkpoints in two phases (design 3.3).
 *
 *  (1) PHASE ONE blocks no writer: a read transaction at frame M, capture to M,
 *      PASSIVE up to M, sync of the database. Nothing is backfilled that is not
 *      in an LTX file; in the first round it is synced, in further ones at the
 *      end, since there speed decides how long the tail gets. A power failure in
 *      between leaves an older position, which is then not provable (design
 *      3.4). (test: open_backfills_nothing)
 *  (2) PHASE TWO, RESTART or TRUNCATE, holds the write lock for the tail only:
 *      the hook captures it unsynced, at most LS_TAIL_MAX frames; more than
 *      that, a torn header, a writer that stays, or any failure gives the lock
 *      back and begins again outside, a bounded number of times. When writers
 *      are so fast that the tail is longer each time, the limit grows up to
 *      LS_TAIL_MOST: else the WAL of a busy database would never restart.
 *      (tests: checkpoint_under_live_writers, hook_meets_a_torn_header,
 *      tail_is_captured_under_the_lock)
 *  (3) READERS IN THE WAY: when phase one could not backfill to M, phase two is
 *      not tried, so that no large backfill happens under the lock; who holds
 *      it comes from /proc/locks, never from a descriptor of our own. The next
 *      try is put off, longer each time. (test: restart_blocked_by_a_reader)
 *  (4) COUNTS, NOT STATUS: restarted means that all frames are in the database
 *      and SQLite said OK.
 * Not here: thresholds in the configuration (daemon). */
#include "capture/internal.h"

#include "base/sys.h"

enum {
	TRIES = 5,
	DEFAULT_TRUNCATE = 121359,
	BLOCKED_MAX_S = 60,
	WRITER_WAIT_NS = 500000000,
};

/* ---- who is in the way ------------------------------------------------------ */

static void
blocked(struct ls_capture *c, struct ls_checkpointed *out)
{
	uint64_t wait = 1ull << LS_MIN(c->blocked, 6u);

	out->blocked_by = ls_shm_reader(&c->shm_id);
	c->blocked++;
	c->retry_ns =
	    ls_sys->mono_ns() + LS_MIN(wait, (uint64_t)BLOCKED_MAX_S) * LS_SEC;
}

static int
run(struct ls_capture *c, int mode, int *log, int *done)
{
	int rc = ls_guard_checkpoint(&c->guard, mode, log, done);

	c->db_mtime_ns = ls_mtime_ns(c->db_path);
	return rc;
}

/* ---- phase one -------------------------------------------------------------- */

/* *whole: all that the transaction saw is in the database. */
static enum ls_rc
phase_one(struct ls_capture *c, struct ls_checkpointed *out, bool *whole,
    struct ls_err *e)
{
	struct ls_view v = { .wal_fd = -1 };
	int log = -1, done = -1, src;
	enum ls_rc rc;

	*whole = false;
	if ((rc = ls_view_begin(&v, c, e)) != LS_OK ||
	    (rc = ls_view_label(&v, c, e)) != LS_OK ||
	    (!c->lazy && (rc = ls_capture_flush(c, e)) != LS_OK))
		goto out;
	if (v.h.max_frame == 0) {
		*whole = true;
		out->log = out->done = 0;
		goto out;
	}
	src = run(c, SQLITE_CHECKPOINT_PASSIVE, &log, &done);
	c->may_restart = true;
	if (log < 0) {
		rc = ls_sqlite_err(e, c->guard.db, src, "passive checkpoint");
		goto out;
	}
	out->log = (uint32_t)log;
	out->done = (uint32_t)done;
	*whole = (uint32_t)done >= v.h.max_frame;
	rc = ls_guard_sync(&c->guard, e); /* cut short by the pin, PASSIVE does
					   * not: RESTART would, locked */
out:
	ls_view_fini(&v);
	return ls_err_wrap(e, rc, "checkpoint %s", c->db_path);
}

/* ---- phase two -------------------------------------------------------------- */

struct hook {
	struct ls_capture *c;
	uint32_t most; /* frames of tail */
	struct ls_captured *tail;
	enum ls_rc rc;
	struct ls_err e;
};

static enum ls_shim_hook
capture_tail(void *arg)
{
	struct hook *k = arg;

	k->rc = ls_step_frames(k->c, NULL, k->most, k->tail, &k->e);
	if (k->rc != LS_OK)
		return LS_HOOK_STOP;
	k->c->may_restart = true; /* from here on SQLite backfills it */
	return LS_HOOK_GO;
}

static void
restarted(struct ls_capture *c, struct ls_checkpointed *out)
{
	out->restarted = true;
	c->reset = true;
	c->reset_frame = c->pos.frame;
	memcpy(c->reset_salt, c->pos.salt, sizeof c->reset_salt);
	c->unsummed = false;
	c->blocked = 0;
}

/* *again: worth another round from phase one. */
static enum ls_rc
phase_two(struct ls_capture *c, uint32_t most, struct ls_checkpointed *out,
    bool *again, struct ls_err *e)
{
	struct hook k = { c, most, &out->tail, LS_EBUSY, { .rc = LS_OK } };
	int log, done, src;

	*again = false;
	c->guard.shim.write_held_ns = 0;
	c->guard.shim.arg = &k;
	c->guard.shim.on_write = capture_tail;
	src = run(c,
	    out->mode == LS_CKPT_TRUNCATE ? SQLITE_CHECKPOINT_TRUNCATE
					  : SQLITE_CHECKPOINT_RESTART,
	    &log, &done);
	c->guard.shim.on_write = NULL;
	out->locked_ns = LS_MAX(out->locked_ns, c->guard.shim.write_held_ns);
	if (k.rc == LS_EGAP) { /* valid header, and still: do not try again */
		ls_due_set(
		    c, LS_DUE_DIFF, "wal does not continue the captured one");
		*e = k.e;
		return ls_err_wrap(e, LS_EAGAIN, "a difference is due");
	}
	if (k.rc != LS_OK) {
		if (k.rc == LS_EBUSY) { /* the hook never ran */
			out->writer_stayed = true;
			return LS_OK;
		}
		*again = k.rc == LS_EAGAIN || k.rc == LS_ERANGE;
		if (!*again)
			*e = k.e;
		return *again ? ls_guard_recover(&c->guard, e) : k.rc;
	}
	if (log >= 0) {
		out->log = (uint32_t)log;
		out->done = (uint32_t)done;
	}
	if (src == SQLITE_OK && log == done)
		restarted(c, out);
	else if (src != SQLITE_OK && (src & 0xff) != SQLITE_BUSY)
		return ls_sqlite_err(e, c->guard.db, src, "checkpoint");
	return LS_OK;
}

/* Rounds of both phases, until done or given up. *again: given up because of
 * writers; *whole: phase one reached its mark. */
static enum ls_rc
rounds(struct ls_capture *c, struct ls_checkpointed *out, bool *whole,
    bool *again, struct ls_err *e)
{
	/* TRUNCATE is the emergency: a WAL that grows for ever is worse. */
	uint32_t cap =
	    out->mode == LS_CKPT_TRUNCATE ? LS_TAIL_EMERGENCY : LS_TAIL_MOST;
	uint32_t most = LS_TAIL_MAX;
	enum ls_rc rc = LS_OK;

	*again = true;
	for (int i = 0; i < TRIES && *again && rc == LS_OK; i++) {
		*again = false;
		c->lazy = i > 0;
		rc = phase_one(c, out, whole, e);
		if (rc == LS_OK && *whole && out->mode != LS_CKPT_PASSIVE)
			rc = phase_two(c, LS_MIN(most, cap), out, again, e);
		most *= 3;
	}
	c->lazy = false;
	return rc;
}

enum ls_rc
ls_capture_checkpoint(struct ls_capture *c, enum ls_ckpt mode,
    struct ls_checkpointed *out, struct ls_err *e)
{
	bool whole = false, again = false;
	enum ls_rc rc;

	*out = (struct ls_checkpointed){ .mode = mode };
	out->tail.reason = "";
	if (mode == LS_CKPT_NONE)
		return LS_OK;
	if (atomic_load(&c->views) > 0)
		return ls_err_set(
		    e, LS_EBUSY, "checkpoint skipped, snapshot in progress");
	if (c->due != LS_DUE_NONE || c->pos.txid == 0)
		return ls_err_set(
		    e, LS_EAGAIN, "%s: a capture step is due", c->db_path);
	rc = rounds(c, out, &whole, &again, e);
	if (rc == LS_OK)
		rc = ls_capture_flush(c, e);
	else
		(void)!ls_capture_flush(c, NULL); /* else the next step does */
	if (rc != LS_OK)
		return rc;
	c->last_ckpt_ns = ls_sys->mono_ns();
	if (out->log == out->done)
		c->captured_since = false;
	if (again || out->writer_stayed) /* no reader to be named */
		c->retry_ns = c->last_ckpt_ns + WRITER_WAIT_NS;
	else if (!whole || (mode != LS_CKPT_PASSIVE && !out->restarted))
		blocked(c, out); /* (3) */
	return LS_OK;
}

enum ls_ckpt
ls_capture_checkpoint_due(struct ls_capture *c, uint64_t mono_ns)
{
	const struct ls_capture_conf *k = &c->conf;
	bool empty =
	    c->reset && c->reset_frame == c->pos.frame &&
	    memcmp(c->reset_salt, c->pos.salt, sizeof c->reset_salt) == 0;
	int64_t frames = empty ? 0 : (int64_t)c->pos.frame;
	int64_t most = k->truncate_pages ? k->truncate_pages : DEFAULT_TRUNCATE;

	if (c->due != LS_DUE_NONE || c->pos.txid == 0 ||
	    mono_ns < c->retry_ns || atomic_load(&c->views) > 0)
		return LS_CKPT_NONE;
	if (c->unsummed)
		return LS_CKPT_RESTART; /* design 3.2: at the next chance */
	if (most > 0 && frames >= most)
		return LS_CKPT_TRUNCATE;
	if (k->min_checkpoint_pages > 0 && frames >= k->min_checkpoint_pages)
		return LS_CKPT_RESTART;
	if (k->checkpoint_interval_ns > 0 && c->captured_since && frames > 1 &&
	    mono_ns >= c->last_ckpt_ns + (uint64_t)k->checkpoint_interval_ns)
		return LS_CKPT_PASSIVE;
	return LS_CKPT_NONE;
}
