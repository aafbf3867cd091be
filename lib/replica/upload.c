/* upload.c -- level-0 files go out, one after the other, fenced.
 *
 * The danger: two daemons that both believe to be this database's only writer.
 *
 * (1) A KEY HAS ONE WINNER. A put says If-None-Match where the store honours
 *     it; a taken key is read back: equal bytes are our own lost answer, others
 *     are another writer's. (test: taken_key_is_ours_or_fences)
 * (2) A FREE KEY PROVES NOTHING BY ITSELF: the winner's object may have been
 *     compacted away. It does prove that we are newest while objects of level 0
 *     cannot have been deleted yet: when the last acknowledgement is younger
 *     than half of l0-retention. Otherwise, and at start, and after any error,
 *     the newest TXID over all levels is listed after the put and before it is
 *     reported; newer than ours is fenced.
 *     (test: stale_writer_after_compaction_is_fenced)
 * (3) A PAUSE IS SEEN. Ages are of CLOCK_BOOTTIME. When the last proof is old
 *     the levels are listed before the put too, and the request is signed with
 *     the time of the proof, so that a server refuses it 15 minutes later even
 *     if we slept in between; where l0-retention leaves less time, our own
 *     deadline ends it, though never before a request had time to end: what
 *     took longer than half of l0-retention is listed after anyway.
 *     (test: paused_writer_lists_before_it_puts, a_put_has_time_to_end)
 * (4) NOTHING IS SENT ON TOP OF DOUBT. One put at a time, TXID by TXID. A put
 *     whose answer was lost is settled by reading size and bytes back (never by
 *     ETag); until that is possible the caller gets an error and comes again
 *     with the same file. (test: lost_answers_are_settled)
 *     After any error the levels are listed before the next put as well, and
 *     what was acknowledged must be in some file: a bucket that was deleted and
 *     made anew would take an increment without its base. (test:
 *     bucket_made_anew_is_a_gap)
 * (5) FENCED STAYS FENCED until a sync, which is somebody's decision.
 * (6) A REST IS NO SYNC: who goes on from a memo is fenced by what came to the
 *     store meanwhile, as one that was there all the time.
 *     (test: resumed_writer_is_fenced_as_if_it_had_stayed)
 *
 * In a folder an flock keeps a second process out as well, and tells a folder
 * that is away (moved, not mounted: an error, nothing is put) from one that was
 * deleted (a gap). (test: folder_that_is_away_is_no_gap) An object that
 * was found instead of put is put once more in place: it may be in the page
 * cache only.
 *
 * Not here: which file is next and keeping it unchanged (the spool's), what to
 * do once fenced (the daemon's).
 */
#include "replica/files.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>

enum { FEW = 500 };	  /* files that one request lists, also soon */
enum { WHOLE = 1 << 20 }; /* up to here objects are compared byte by byte */

#define MINUTE	       (60 * LS_SEC)
#define SHORTEST       (10 * LS_SEC) /* that a put is given */
#define DEADLINE_BYTES (64ull << 20)

struct ls_uploader {
	struct ls_replica *r;
	const struct ls_par *par;
	uint64_t limit_ns; /* how long a proof holds */
	uint64_t half_ns;  /* an older acknowledgement proves nothing */
	bool own_deadline; /* the server's 15 minutes are too long */
	bool synced, locked;
	bool check; /* list after the next put, whatever its age */
	bool doubt; /* a put failed: list before the next one too */
	bool few;   /* the last listing was short */
	bool maybe; /* the object of the put that failed may be there */
	uint64_t acked, acked_boot_ns;
	int64_t acked_ms; /* LTX time of the newest that is stored */
	uint64_t proof_boot_ns;
	int64_t proof_wall_ns;
	uint64_t from[LS_LEVELS]; /* where the last listing ended */
	struct ls_store_lock *lock;
	char *fence; /* why we are fenced; NULL when not */
};

struct local { /* the file to be put */
	int fd;
	uint64_t size, txid;
	struct ls_ltx_header h;
	char key[LS_KEY_MAX];
};

/* ---- the handle -----------------------------------------------------------*/

enum ls_rc
ls_uploader_new(struct ls_replica *r, int64_t l0_retention_ns,
    struct ls_uploader **out, struct ls_err *e)
{
	struct ls_uploader *u = ls_zalloc(sizeof *u);
	uint64_t keep =
	    l0_retention_ns > 0 ? (uint64_t)l0_retention_ns : 20 * MINUTE;

	if (u == NULL)
		return ls_err_nomem(e);
	u->r = r;
	u->par = &ls_par_serial;
	u->half_ns = keep / 2;
	u->limit_ns = keep > 10 * MINUTE ? keep - 5 * MINUTE : keep / 2;
	u->own_deadline = u->limit_ns < 15 * MINUTE;
	u->limit_ns = LS_MIN(u->limit_ns, 15 * MINUTE);
	*out = u;
	return LS_OK;
}

void
ls_uploader_free(struct ls_uploader *u)
{
	if (u == NULL)
		return;
	ls_store_unlock(u->lock);
	ls_free(u->fence);
	ls_free(u);
}

void
ls_uploader_set_par(struct ls_uploader *u, const struct ls_par *par)
{
	u->par = par ? par : &ls_par_serial;
}

uint64_t
ls_uploader_acked(const struct ls_uploader *u)
{
	return u->acked;
}

int64_t
ls_uploader_acked_ms(const struct ls_uploader *u)
{
	return u->acked_ms;
}

bool
ls_uploader_proved(const struct ls_uploader *u)
{
	uint64_t now = ls_sys->boot_ns();

	return u->synced && !u->check && u->fence == NULL &&
	       now - u->acked_boot_ns <= u->half_ns;
}

void
ls_uploader_rest(struct ls_uploader *u)
{
	/* In a bucket nothing was held, and the age of the proof counts. */
	u->check |= u->lock != NULL;
	ls_store_unlock(u->lock);
	u->lock = NULL;
	u->locked = false;
}

bool
ls_uploader_leave(const struct ls_uploader *u, struct ls_uploader_memo *m)
{
	*m = (struct ls_uploader_memo){ u->acked,
		u->check ? 0 : u->acked_boot_ns, u->proof_boot_ns, u->acked_ms,
		u->proof_wall_ns };
	return u->synced && !u->doubt && u->few && u->fence == NULL &&
	       u->lock == NULL;
}

/* (6) */
void
ls_uploader_resume(struct ls_uploader *u, const struct ls_uploader_memo *m)
{
	u->acked = m->acked;
	u->acked_ms = m->acked_ms;
	u->acked_boot_ns = m->acked_boot_ns;
	u->check = m->acked_boot_ns == 0;
	u->proof_boot_ns = m->proof_boot_ns;
	u->proof_wall_ns = m->proof_wall_ns;
	u->synced = u->few = true;
}

static enum ls_rc
hold(struct ls_uploader *u, struct ls_err *e)
{
	enum ls_rc rc;

	if (u->locked) {
		rc = ls_store_lock_there(ls_replica_store(u->r), u->lock, e);
		if (rc != LS_ENOTFOUND)
			return rc;
		ls_uploader_rest(u); /* deleted: another begins, perhaps */
		u->doubt = true;
	}
	rc = ls_store_lock(ls_replica_store(u->r), &u->lock, e);
	u->locked = rc == LS_OK;
	return rc;
}

/* ---- fenced ---------------------------------------------------------------*/

/* By a file of another writer; names its history where its header can be had.
 */
static enum ls_rc
fenced(struct ls_uploader *u, const struct ls_file *by, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(u->r);
	struct ls_file f = *by;
	struct ls_ltx_header h;
	char key[LS_KEY_MAX], when[LS_TIME_MAX];
	struct ls_err text = { 0 };

	ls_ltx_key(ls_store_layout(st), f.level, f.min_txid, f.max_txid, key);
	if (ls_replica_header(u->r, &f, &h, c, NULL) == LS_OK)
		(void)ls_err_set(&text, LS_EFENCED,
		    "another writer's %s is in %s (lineage %016llx, %s)", key,
		    ls_store_text(st), (unsigned long long)h.node_id,
		    ls_time_milli(h.timestamp_ms * 1000000, when));
	else
		(void)ls_err_set(&text, LS_EFENCED,
		    "another writer's %s is in %s", key, ls_store_text(st));
	ls_free(u->fence);
	/* Without memory the next put finds out again. */
	u->fence = ls_strdup(text.msg);
	u->check = true;
	if (e != NULL)
		*e = text;
	return ls_err_hint(e, LS_EFENCED,
	    "stop the other writer, or give this database a place of its own");
}

/* ---- the proof that we are newest -----------------------------------------*/

static uint64_t
age_ns(uint64_t since_boot_ns)
{
	uint64_t now = ls_sys->boot_ns();

	return now > since_boot_ns ? now - since_boot_ns : 0;
}

/* List all levels from where the last listing ended (a level's files follow
 * one another; level 9 is short and listed whole). Gives all. */
static enum ls_rc
list_newest(struct ls_uploader *u, struct ls_files *all,
    const struct ls_call *c, struct ls_err *e)
{
	uint64_t boot = ls_sys->boot_ns();
	int64_t wall = ls_sys->wall_ns();
	enum ls_rc rc;

	rc = u->few ? ls_replica_list_all(u->r, u->par, all, c, e)
		    : ls_replica_list_from(u->r, u->par, u->from, all, c, e);
	if (rc != LS_OK)
		return rc;
	u->few = all->n < FEW;
	u->proof_boot_ns = boot;
	u->proof_wall_ns = wall;
	return LS_OK;
}

/* The next listing begins there: never behind what was acknowledged. */
static void
note_end(struct ls_uploader *u, const struct ls_files *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].level < LS_SNAPSHOT_LEVEL &&
		    all->v[i].min_txid <= u->acked)
			u->from[all->v[i].level] = all->v[i].min_txid;
}

/* Upstream's daemon and its compaction write no lineage, so the newest file may
 * not tell it: of the newest file of the plan that does. A second lineage behind
 * such files would make a chain of two histories. *id 0: none tells. */
static enum ls_rc
find_lineage(struct ls_uploader *u, const struct ls_files *all, uint64_t *id,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_plan p = { 0 };
	enum ls_rc rc = ls_plan_make(u->r, all, NULL, &p, c, e);

	if (rc != LS_OK) /* a broken chain: a new one begins behind it */
		return rc == LS_ENOTFOUND || rc == LS_EGAP ? LS_OK : rc;
	for (size_t i = p.files.n; rc == LS_OK && *id == 0 && i-- > 0;) {
		struct ls_file *f = &p.files.v[i];

		rc = ls_replica_header(u->r, f, NULL, c, e);
		if (rc == LS_OK)
			*id = f->lineage;
		else if (rc == LS_ENOTFOUND || ls_rc_damaged(rc))
			rc = LS_OK;
	}
	ls_plan_fini(&p);
	return rc;
}

/* The newest file's header; all zeros but for the lineage when it is damaged. */
static enum ls_rc
read_newest(struct ls_uploader *u, const struct ls_files *all,
    struct ls_file *best, struct ls_ltx_header *h, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_err why = { 0 };
	enum ls_rc rc = ls_replica_header(u->r, best, h, c, &why);

	if (ls_rc_damaged(rc)) {
		ls_warn("the newest stored file is damaged",
		    LS_ATTRS(
			LS_S("replica", ls_store_text(ls_replica_store(u->r))),
			LS_E(&why)));
		*h = (struct ls_ltx_header){ .flags = 0 };
		rc = LS_OK;
	} else if (rc != LS_OK && e != NULL) {
		*e = why;
	}
	if (rc == LS_OK && h->node_id == 0)
		rc = find_lineage(u, all, &h->node_id, c, e);
	return rc;
}

enum ls_rc
ls_uploader_sync(struct ls_uploader *u, uint64_t *txid, struct ls_ltx_header *h,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_ltx_header got = { 0 };
	struct ls_file *best;
	enum ls_rc rc;

	if ((rc = hold(u, e)) != LS_OK)
		return rc;
	memset(u->from, 0, sizeof u->from);
	if ((rc = list_newest(u, &all, c, e)) != LS_OK)
		goto out;
	best = ls_files_newest(&all);
	if (best != NULL &&
	    (rc = read_newest(u, &all, best, &got, c, e)) != LS_OK)
		goto out;
	u->acked = best ? best->max_txid : 0;
	u->acked_ms = best ? got.timestamp_ms : 0;
	note_end(u, &all);
	u->acked_boot_ns = u->proof_boot_ns;
	u->synced = u->check = true;
	u->doubt = false;
	ls_free(u->fence);
	u->fence = NULL;
	*txid = u->acked;
	if (h != NULL)
		*h = got;
out:
	ls_files_fini(&all);
	return rc;
}

static bool
holds(const struct ls_files *all, uint64_t txid)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].min_txid <= txid && txid <= all->v[i].max_txid)
			return true;
	return txid == 0;
}

/* What is stored ends between low and high, and what was acknowledged is in it:
 * a bucket that was deleted and made anew takes an increment and has no base
 * for it. Newer: fenced. *at: the newest. */
static enum ls_rc
prove(struct ls_uploader *u, uint64_t low, uint64_t high, uint64_t *at,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_file *best;
	enum ls_rc rc;

	if ((rc = list_newest(u, &all, c, e)) != LS_OK)
		return rc;
	note_end(u, &all);
	best = ls_files_newest(&all);
	*at = best ? best->max_txid : 0;
	if (*at > high)
		rc = fenced(u, best, c, e);
	else if (*at < low)
		rc = ls_err_set(e, LS_EGAP,
		    "%s: the newest TXID is %016llx, but %016llx was stored",
		    ls_store_text(ls_replica_store(u->r)),
		    (unsigned long long)*at, (unsigned long long)low);
	else if (!holds(&all, u->acked))
		rc = ls_err_set(e, LS_EGAP,
		    "%s: TXID %016llx was stored, and is in no file any more",
		    ls_store_text(ls_replica_store(u->r)),
		    (unsigned long long)u->acked);
	ls_files_fini(&all);
	return rc;
}

/* ---- reading back ---------------------------------------------------------*/

/* Does the local file have these bytes at off? */
static enum ls_rc
same_bytes(const struct local *l, uint64_t off, const struct ls_buf *b,
    bool *same, struct ls_err *e)
{
	uint8_t part[16384];
	enum ls_rc rc;

	*same = true;
	for (size_t at = 0; *same && at < b->n;) {
		size_t n = LS_MIN(b->n - at, sizeof part);

		rc = ls_pread_all(l->fd, part, n, off + at, e);
		if (rc != LS_OK)
			return rc;
		*same = memcmp(part, b->p + at, n) == 0;
		at += n;
	}
	return LS_OK;
}

/* Compare the object with the local file: whole when small, else size, header
 * and trailer (whose checksum covers the rest). LS_ENOTFOUND: no object. */
static enum ls_rc
compare(struct ls_uploader *u, const struct local *l, bool *same,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(u->r);
	struct ls_buf b = LS_BUF_INIT(WHOLE);
	struct ls_got got = { 0 };
	struct ls_get g = { .len = l->size <= WHOLE ? l->size : LS_LTX_HEADER };
	enum ls_rc rc;

	rc = ls_store_get(st, l->key, &g, &b, &got, c, e);
	if (rc == LS_OK && got.total_size != l->size)
		*same = false;
	else if (rc == LS_OK)
		rc = same_bytes(l, 0, &b, same, e);
	if (rc == LS_OK && *same && l->size > WHOLE) {
		g = (struct ls_get){ .suffix = LS_LTX_TRAILER };
		g.if_match = got.etag[0] != '\0' ? got.etag : NULL;
		ls_buf_clear(&b);
		rc = ls_store_get(st, l->key, &g, &b, NULL, c, e);
		if (rc == LS_OK)
			rc = same_bytes(
			    l, l->size - LS_LTX_TRAILER, &b, same, e);
	}
	ls_buf_free(&b);
	return rc;
}

/* ---- one put --------------------------------------------------------------*/

static enum ls_rc
local_open(
    struct local *l, struct ls_uploader *u, const char *path, struct ls_err *e)
{
	uint8_t head[LS_LTX_HEADER];
	struct stat sb;
	enum ls_rc rc;

	if ((rc = ls_open(path, O_RDONLY, 0, &l->fd, e)) != LS_OK)
		return rc;
	if (ls_sys->fstat(l->fd, &sb) != 0)
		return ls_err_sys(e, errno, "stat %s", path);
	l->size = (uint64_t)sb.st_size;
	if ((rc = ls_pread_all(l->fd, head, sizeof head, 0, e)) != LS_OK ||
	    (rc = ls_ltx_header_decode(LS_SPAN(head, sizeof head), &l->h, e)) !=
		LS_OK)
		return ls_err_wrap(e, rc, "%s", path);
	if (l->h.min_txid != l->txid || l->h.max_txid != l->txid)
		return ls_err_set(e, LS_EINVALID,
		    "%s is not the file of TXID %016llx", path,
		    (unsigned long long)l->txid);
	ls_ltx_key(ls_store_layout(ls_replica_store(u->r)), 0, l->txid, l->txid,
	    l->key);
	return LS_OK;
}

static enum ls_rc
send(struct ls_uploader *u, const struct local *l, bool if_absent,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_call mine = { 0 };
	struct ls_put o = { .if_absent = if_absent,
		.timestamp_ms = l->h.timestamp_ms,
		.sign_time_ns = u->proof_wall_ns,
		.once = true };
	uint64_t age = age_ns(u->proof_boot_ns), until;
	uint64_t limit = LS_MAX(u->limit_ns, SHORTEST);
	bool fence = ls_store_fencing(ls_replica_store(u->r)) != LS_FENCING_OFF;

	if (c != NULL)
		mine = *c;
	/* A large file may take longer than any limit; it is listed after.
	 * Without fencing there is no proof, and nothing renews its age. */
	if (fence && u->own_deadline && l->size <= DEADLINE_BYTES) {
		until = ls_sys->mono_ns() + (limit > age ? limit - age : 0);
		if (mine.deadline_ns == 0 || until < mine.deadline_ns)
			mine.deadline_ns = until;
	}
	if (!fence)
		o.sign_time_ns = 0;
	return ls_store_put_file(
	    ls_replica_store(u->r), l->key, l->fd, l->size, &o, &mine, e);
}

/* Bytes of ours were found under the key. In a folder they are perhaps not on
 * the disk yet: put the same bytes again, in place. */
static enum ls_rc
adopt(struct ls_uploader *u, const struct local *l, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_put o = { .timestamp_ms = l->h.timestamp_ms };
	struct ls_store *st = ls_replica_store(u->r);

	u->check = true;
	if (strcmp(ls_store_type(st), "file") != 0)
		return LS_OK;
	return ls_store_put_file(st, l->key, l->fd, l->size, &o, c, e);
}

/* Something is, or may be, under our key. LS_OK: our bytes. LS_ENOTFOUND: the
 * key is free. */
static enum ls_rc
settle(struct ls_uploader *u, const struct local *l, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_file f = { .min_txid = l->txid, .max_txid = l->txid };
	bool same = false;
	enum ls_rc rc = compare(u, l, &same, c, e);

	if (rc == LS_OK)
		rc = same ? adopt(u, l, c, e) : fenced(u, &f, c, e);
	return rc;
}

/* May the request have done its work although it failed? */
static bool
ambiguous(enum ls_rc rc)
{
	switch (rc) {
	case LS_EAGAIN:
	case LS_EIO:
	case LS_ENET:
	case LS_ETIMEOUT:
	case LS_ESERVER: return true;
	default: return false;
	}
}

static enum ls_rc
put_once(struct ls_uploader *u, const struct local *l, bool if_absent,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_err other = { 0 };
	enum ls_rc rc = send(u, l, if_absent, c, e), back;

	u->maybe = u->maybe || rc == LS_OK || ambiguous(rc);
	if (rc == LS_EEXISTS) {
		rc = settle(u, l, c, e);
		if (rc == LS_ENOTFOUND) /* it was there, and went away */
			rc = ls_err_set(
			    e, LS_EAGAIN, "%s: not settled yet", l->key);
		return rc;
	}
	if (rc == LS_OK || !ambiguous(rc))
		return rc;
	back = settle(u, l, c, &other);
	if (back == LS_OK || back == LS_EFENCED) {
		if (e != NULL)
			*e = other;
		return back;
	}
	if (back == LS_ENOTFOUND)
		u->maybe = false;
	if (back == LS_ENOTFOUND)
		return rc; /* it did not get there: the caller tries again */
	return ls_err_wrap(e, LS_EAGAIN, "%s: not settled yet", l->key);
}

/* Without conditional puts, look first: a race remains, as everywhere there. */
static enum ls_rc
put_looking(struct ls_uploader *u, const struct local *l,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = settle(u, l, c, e);

	return rc == LS_ENOTFOUND ? put_once(u, l, false, c, e) : rc;
}

static enum ls_rc
put_fenced(struct ls_uploader *u, const struct local *l,
    enum ls_fencing fencing, const struct ls_call *c, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(u->r);
	unsigned caps = 0;
	enum ls_rc rc;

	if (fencing == LS_FENCING_OFF)
		return put_once(u, l, false, c, e);
	if ((rc = ls_store_caps(st, &caps, c, e)) != LS_OK)
		return rc;
	if (caps & LS_CAP_IF_ABSENT)
		return put_once(u, l, true, c, e);
	if (fencing == LS_FENCING_AUTO)
		return put_looking(u, l, c, e);
	(void)ls_err_set(e, LS_EUNSUPPORTED,
	    "fencing is required, but %s ignores If-None-Match",
	    ls_store_text(st));
	return ls_err_hint(e, LS_EUNSUPPORTED,
	    "use a store with conditional puts, or fencing: auto");
}

/* The key was seen taken (newest = txid): only our own file may be there. */
static enum ls_rc
put_again(struct ls_uploader *u, const struct local *l, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_file *best = NULL;
	enum ls_rc rc = settle(u, l, c, e);

	if (rc != LS_ENOTFOUND)
		return rc;
	/* Level 0 has it not: another writer's, compacted already. */
	if ((rc = list_newest(u, &all, c, e)) == LS_OK)
		best = ls_files_newest(&all);
	if (best != NULL && best->max_txid >= l->txid)
		rc = fenced(u, best, c, e);
	else if (rc == LS_OK)
		rc = ls_err_set(e, LS_EAGAIN, "%s: not settled yet", l->key);
	ls_files_fini(&all);
	return rc;
}

static enum ls_rc
put_proven(struct ls_uploader *u, const struct local *l,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_fencing fencing = ls_store_fencing(ls_replica_store(u->r));
	bool fence = fencing != LS_FENCING_OFF, check = u->check;
	uint64_t at = 0, started;
	int64_t wall;
	enum ls_rc rc;

	u->check = true; /* unless all goes well */
	u->maybe = false;
	/* A margin for the server's clock: not the whole limit. */
	if (fence &&
	    (u->doubt || age_ns(u->proof_boot_ns) > u->limit_ns / 3 * 2)) {
		rc = prove(u, u->acked, l->txid, &at, c, e);
		if (rc != LS_OK)
			return rc;
	}
	started = ls_sys->boot_ns(), wall = ls_sys->wall_ns();
	u->check = check;
	rc = at == l->txid ? put_again(u, l, c, e)
			   : put_fenced(u, l, fencing, c, e);
	check = u->check || age_ns(u->acked_boot_ns) > u->half_ns;
	u->check = true;
	u->doubt = rc != LS_OK;
	if (rc != LS_OK)
		return rc;
	if (fence && check) {
		rc = prove(u, l->txid, l->txid, &at, c, e);
		if (rc != LS_OK)
			return rc;
	} else {
		u->proof_boot_ns = started, u->proof_wall_ns = wall;
	}
	u->acked = l->txid;
	u->acked_ms = l->h.timestamp_ms;
	u->acked_boot_ns = started;
	u->check = u->maybe = false;
	return LS_OK;
}

enum ls_rc
ls_uploader_put(struct ls_uploader *u, uint64_t txid, const char *path,
    const struct ls_call *c, struct ls_err *e)
{
	struct local l = { .fd = -1, .txid = txid };
	enum ls_rc rc;

	if (u->fence != NULL)
		return ls_err_set(e, LS_EFENCED, "%s", u->fence);
	if (!u->synced)
		return ls_err_set(e, LS_EINVALID, "upload before a sync");
	if (txid != u->acked + 1)
		return ls_err_set(e, LS_EINVALID,
		    "TXID %016llx cannot follow %016llx",
		    (unsigned long long)txid, (unsigned long long)u->acked);
	if ((rc = local_open(&l, u, path, e)) == LS_OK &&
	    (rc = hold(u, e)) == LS_OK)
		rc = put_proven(u, &l, c, e);
	if (l.fd >= 0)
		(void)ls_sys->close(l.fd);
	return rc;
}

bool
ls_uploader_maybe(const struct ls_uploader *u)
{
	return u->maybe;
}

enum ls_rc
ls_uploader_same(struct ls_uploader *u, uint64_t txid, const char *path,
    bool *same, const struct ls_call *c, struct ls_err *e)
{
	struct local l = { .fd = -1, .txid = txid };
	enum ls_rc rc = local_open(&l, u, path, e);

	if (rc == LS_OK)
		rc = compare(u, &l, same, c, e);
	if (l.fd >= 0)
		(void)ls_sys->close(l.fd);
	return rc;
}
