/* db_spool.c -- the spool is bounded while the replica is behind (design 6).
 *
 *  (1) WHAT MAY HAVE BEEN SENT IS NEVER CHANGED. db->sent is the newest TXID
 *      that a put was begun for; before the replica was first listed it is all
 *      that lay in the spool at the start, since an earlier run may have sent
 *      it. A pinned snapshot names its state by TXID: nothing up to that is
 *      merged either. (test: outage_keeps_the_spool_bounded)
 *  (2) NOTHING IS SENT WHILE IT IS BEING MERGED: under d->mu, merging and
 *      frozen are set before the first file is touched, and the remote step
 *      begins no put behind frozen until the new range is published.
 *  (3) TWO BOUNDS. More than PENDING_FILES: the newest ones become one, as many
 *      as are together at least half as large as the next older one, so that
 *      sizes stay geometric and a page is rewritten O(log) times. More than the
 *      database and a half and SLACK_BYTES: all become one, which is never
 *      larger than the database.
 *  (4) A RESERVE STAYS FREE on the disk of the meta folder, as others live
 *      there too: 1 % and at least 64 MiB of it (a tenth of a small one).
 *      Below it files are merged if that can be afforded, then no new ones
 *      are written until there is room or the replica has caught up. The
 *      application goes on: its WAL holds what is not captured. One pending
 *      file is always allowed, so a full disk alone never stops replication.
 *      (test: reserve_is_kept)
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"

#include <errno.h>

enum { PENDING_FILES = 64, PRESSED_FILES = 8, RESERVE_PERCENT = 1 };

#define SLACK_BYTES   (64ull << 20)
#define RESERVE_BYTES (64ull << 20)

struct pending { /* the files frozen + 1 .. newest */
	uint64_t frozen, newest;
	uint64_t bytes;
};

static uint64_t
size_of(struct ls_db *db, uint64_t txid)
{
	char path[4096];
	int64_t n;

	n = ls_file_size(
	    ls_spool_path(ls_capture_spool(db->cap), txid, path, sizeof path));
	return n > 0 ? (uint64_t)n : 0;
}

/* (1) */
static void
look(struct ls_db *db, struct pending *p)
{
	struct ls_daemon *d = db->d;
	uint64_t oldest;

	ls_spool_range(ls_capture_spool(db->cap), &oldest, &p->newest);
	(void)pthread_mutex_lock(&d->mu);
	p->frozen = LS_MAX(db->sent, db->acked);
	if (db->snap_lent)
		p->frozen = LS_MAX(p->frozen, db->view_info.txid);
	(void)pthread_mutex_unlock(&d->mu);
	if (oldest != 0)
		p->frozen = LS_MAX(p->frozen, oldest - 1);
	p->frozen = LS_MIN(p->frozen, p->newest);
	p->bytes = 0;
	if (p->newest - p->frozen < 2)
		return;
	for (uint64_t t = p->frozen + 1; t <= p->newest; t++)
		p->bytes += size_of(db, t);
}

/* (3): the files behind the one given become one. */
static uint64_t
tail_begins(struct ls_db *db, const struct pending *p)
{
	uint64_t after = p->bytes, t, size;

	for (t = p->frozen + 1; t < p->newest; t++) {
		size = LS_MIN(size_of(db, t), after);
		after -= size;
		if (size <= 2 * after)
			break;
	}
	return t - 1;
}

/* Merge what is behind frozen, keep map and position in step, and tell. */
static enum ls_rc
merge(struct ls_db *db, uint64_t frozen, struct pending *p, struct ls_err *e)
{
	uint64_t began = ls_sys->mono_ns(), before = p->newest;
	struct ls_daemon *d = db->d;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->mu);
	if (db->sent > frozen || db->acked > frozen) { /* meanwhile */
		(void)pthread_mutex_unlock(&d->mu);
		return LS_OK;
	}
	db->merging = true;
	db->frozen = frozen;
	(void)pthread_mutex_unlock(&d->mu);
	db->safe = 0;
	rc = ls_capture_merge(db->cap, frozen, e);
	if (rc == LS_OK)
		rc = ls_capture_save(db->cap, &db->safe, e);
	(void)pthread_mutex_lock(&d->mu);
	ls_db_publish(db);
	if (db->acked < db->newest)
		ls_db_due_remote(db, ls_sys->mono_ns());
	(void)pthread_cond_broadcast(&d->changed);
	p->newest = db->newest;
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "bound the spool");
	ls_debug("pending files merged",
	    LS_ATTRS(LS_S("db", db->name), LS_T("txid", p->newest),
		LS_U("files", before - frozen), LS_U("size", p->bytes),
		LS_D("elapsed", ls_sys->mono_ns() - began)));
	return LS_OK;
}

enum ls_rc
ls_db_bound_spool(struct ls_db *db, struct ls_err *e)
{
	struct ls_capture_pos pos;
	struct pending p;
	uint64_t limit;

	look(db, &p);
	if (p.newest - p.frozen < 2)
		return LS_OK;
	ls_capture_position(db->cap, &pos);
	limit = (uint64_t)pos.page_size * pos.commit;
	limit += limit / 2 + SLACK_BYTES;
	if (p.bytes > limit)
		return merge(db, p.frozen, &p, e);
	if (p.newest - p.frozen > PENDING_FILES)
		return merge(db, tail_begins(db, &p), &p, e);
	return LS_OK;
}

/* ---- the reserve: (4) ------------------------------------------------------ */

struct room {
	uint64_t free, reserve;
};

static enum ls_rc
measure(const struct ls_db *db, struct room *r, struct ls_err *e)
{
	struct statvfs v;
	uint64_t total;

	if (ls_sys->statvfs(db->conf.meta_path, &v) != 0)
		return ls_err_sys(
		    e, errno, "free space of %s", db->conf.meta_path);
	total = (uint64_t)v.f_blocks * v.f_frsize;
	r->free = (uint64_t)v.f_bavail * v.f_frsize;
	r->reserve = LS_MAX(total / 100 * RESERVE_PERCENT, RESERVE_BYTES);
	r->reserve = LS_MIN(r->reserve, total / 10);
	return LS_OK;
}

static enum ls_rc
no_room(const struct ls_db *db, const struct room *r, const struct pending *p,
    struct ls_err *e)
{
	char have[LS_DUR_MAX], want[LS_DUR_MAX];
	enum ls_rc rc = ls_err_set(e, LS_ENOSPC,
	    "%s: only %s are free on this disk, %s stay in reserve: capture "
	    "pauses, %llu files wait for the replica",
	    db->conf.meta_path, ls_size_format(r->free, have),
	    ls_size_format(r->reserve, want),
	    (unsigned long long)(p->newest - p->frozen));

	return ls_err_hint(e, rc,
	    "free space there or bring the replica back; the application goes "
	    "on meanwhile, its WAL grows");
}

enum ls_rc
ls_db_room(struct ls_db *db, struct ls_err *e)
{
	struct pending p;
	struct room r = { 0 };
	enum ls_rc rc;

	look(db, &p);
	if (p.newest - p.frozen < 2)
		return LS_OK;
	if ((rc = measure(db, &r, e)) != LS_OK || r.free >= r.reserve)
		return rc;
	if (p.newest - p.frozen >= PRESSED_FILES && p.bytes < r.free) {
		if ((rc = merge(db, p.frozen, &p, e)) != LS_OK ||
		    (rc = measure(db, &r, e)) != LS_OK || r.free >= r.reserve)
			return rc;
	}
	return no_room(db, &r, &p, e);
}
