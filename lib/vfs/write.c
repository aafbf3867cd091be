/* write.c -- a connection's write transaction. See reader.h.
 *
 * (1) ITS PAGES LIVE APART until phase two: SQLite writes some before COMMIT
 *     when its cache is full, and writes the old ones back on ROLLBACK. Letting
 *     go of the lock without phase two forgets them all.
 *     (test: rollback_prepares_nothing)
 * (2) A COMMIT IS TOLD FROM A ROLLBACK BY PAGE 1. SQLite syncs the file at the
 *     end of both. A commit has changed the change counter of page 1; a
 *     rollback has written the page back as it was shown, or never written it.
 *     Only in exclusive locking mode may a commit leave page 1 alone: then
 *     what differs from the state beneath (free pages are not written back)
 *     counts as a commit, one too many is undone when pages are written again,
 *     and the store is asked in phase two only.
 *     (test: rollback_prepares_nothing, test_write.py test_exclusive_mode)
 * (3) THE SIZE OF THE DATABASE IS IN PAGE 1 when it is synced: SQLite truncates
 *     the file after phase one. (test: test_write.py vacuum)
 * (4) NOTHING INCOMPLETE IS COMMITTED: a page that came into being and was
 *     never written (a free one) is committed as zeros.
 *     (test: free_pages_are_zeros)
 * (5) THE STORED PAGE 1 IS HONEST: its change counter goes up by one a commit,
 *     whatever this connection was shown, the schema cookie is what it is
 *     without the step that was shown, and the bytes that say WAL or not stay
 *     what they were, since here they are made up.
 *     (test: stored_header_is_honest)
 */
#include "vfs/reader_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"

#include <assert.h>

enum { DIRTY_MEMORY = 16 << 20 };

/* ---- on and off -----------------------------------------------------------*/

enum ls_rc
ls_write_enable(struct ls_reader *r, struct ls_err *e)
{
	enum ls_rc rc = ls_vdb_follow(r->d, r->poll_ns, true, e);

	if (rc == LS_OK)
		rc = ls_vdb_write(r->d, &r->write_opts, e);
	r->may_write = rc == LS_OK;
	return rc;
}

enum ls_rc
ls_reader_set_write(struct ls_reader *r, bool on, struct ls_err *e)
{
	struct ls_own *own;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK)
		return rc;
	if (r->w.on)
		return ls_err_set(e, LS_EBUSY,
		    "a write transaction is under way, end it first");
	own = ls_vdb_own(r->d);
	if (!on && r->may_write && own != NULL &&
	    (rc = ls_own_push(own, NULL, NULL, e)) != LS_OK)
		return rc;
	if (!on)
		r->may_write = false;
	else if ((rc = ls_write_enable(r, e)) == LS_OK)
		rc = ls_own_forgive(ls_vdb_own(r->d), e);
	return rc;
}

bool
ls_reader_may_write(const struct ls_reader *r)
{
	return r->may_write;
}

/* ---- begin and end --------------------------------------------------------*/

enum ls_rc
ls_reader_reserve(struct ls_reader *r, struct ls_err *e)
{
	struct ls_own *own;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK || r->w.on)
		return rc;
	if (!r->may_write)
		return ls_err_set(e, LS_EDENIED,
		    "writing is off: write=1, or PRAGMA "
		    "litestream_write_enabled=1");
	if (r->travel != NULL)
		return ls_err_set(
		    e, LS_EDENIED, "the past cannot be written to");
	assert(r->pinned);
	own = ls_vdb_own(r->d);
	if ((rc = ls_own_reserve(own, r, r->pin.v, e)) != LS_OK)
		return rc;
	r->w = (struct ls_writing){ .on = true,
		.first = true,
		.size = r->pin.v->commit,
		.low = r->pin.v->commit };
	return LS_OK;
}

static void
undo_prepared(struct ls_reader *r)
{
	if (r->w.prepared)
		ls_own_undo(ls_vdb_own(r->d), r->w.seq);
	r->w.prepared = false;
}

void
ls_write_end(struct ls_reader *r)
{
	if (!r->w.on)
		return;
	undo_prepared(r);
	ls_dirty_free(r->w.dirty);
	r->w = (struct ls_writing){ 0 };
	ls_own_release(ls_vdb_own(r->d), r);
}

void
ls_reader_unreserve(struct ls_reader *r)
{
	if (ls_reader_check(r, NULL) == LS_OK)
		ls_write_end(r);
}

/* ---- reading --------------------------------------------------------------*/

/* Page pgno as this transaction has it, into r->page. */
static enum ls_rc
own_page(struct ls_reader *r, uint32_t pgno, struct ls_err *e)
{
	uint32_t ps = ls_dirty_page_size(r->w.dirty);
	struct ls_ver *v = ls_ver_ref(r->pin.v);
	const uint8_t *p;
	enum ls_rc rc = ls_dirty_get(r->w.dirty, pgno, &p, e);

	if (rc == LS_ENOTFOUND && pgno <= LS_MIN(r->w.low, v->commit)) {
		rc = ls_reader_page(r, &v, pgno, e);
		if (rc == LS_OK && pgno == 1)
			ls_reader_show_header(r, r->page, v);
	} else if (rc == LS_ENOTFOUND) {
		memset(r->page, 0, ps);
		rc = LS_OK;
	} else if (rc == LS_OK) {
		memcpy(r->page, p, ps);
	}
	ls_ver_unref(v);
	return rc;
}

enum ls_rc
ls_write_read(
    struct ls_reader *r, uint8_t *buf, size_t n, uint64_t off, struct ls_err *e)
{
	uint32_t ps = ls_dirty_page_size(r->w.dirty);
	enum ls_rc rc;

	for (size_t k; n > 0; buf += k, off += k, n -= k) {
		uint64_t pgno = off / ps + 1;
		size_t in = (size_t)(off % ps);

		k = LS_MIN(n, ps - in);
		if (pgno > r->w.size) {
			memset(buf, 0, n);
			return LS_ESHORT;
		}
		if ((rc = own_page(r, (uint32_t)pgno, e)) != LS_OK)
			return rc;
		memcpy(buf, r->page + in, k);
	}
	return LS_OK;
}

/* ---- writing --------------------------------------------------------------*/

/* Somewhere for pages; the first one says their size where nothing else does. */
static enum ls_rc
have_dirty(struct ls_reader *r, size_t n, struct ls_err *e)
{
	const struct ls_ver *v = r->pin.v;
	uint32_t ps = v->commit ? v->page_size : (uint32_t)n;
	uint8_t *p;

	if (r->w.dirty != NULL)
		return LS_OK;
	if (!ls_page_size_valid(ps))
		return ls_err_set(
		    e, LS_EINVALID, "a write of %zu bytes is not a page", n);
	if (r->page_n < ps) {
		if ((p = ls_realloc(r->page, ps)) == NULL)
			return ls_err_nomem(e);
		r->page = p;
		r->page_n = ps;
	}
	return ls_dirty_new(ps, DIRTY_MEMORY, &r->w.dirty, e);
}

enum ls_rc
ls_reader_write(struct ls_reader *r, const void *buf, size_t n, uint64_t off,
    struct ls_err *e)
{
	const uint8_t *from = buf;
	uint32_t ps;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK)
		return rc;
	if (!r->w.on)
		return ls_err_set(e, LS_EDENIED, "a write without the lock");
	if ((rc = have_dirty(r, n, e)) != LS_OK)
		return rc;
	undo_prepared(r); /* it was rolled back (2) */
	ps = ls_dirty_page_size(r->w.dirty);
	for (size_t k; n > 0; from += k, off += k, n -= k) {
		uint64_t pgno = off / ps + 1;
		size_t in = (size_t)(off % ps);

		k = LS_MIN(n, ps - in);
		if (pgno >= UINT32_MAX)
			return ls_err_set(e, LS_ERANGE, "the file is too long");
		if (k < ps) {
			if ((rc = own_page(r, (uint32_t)pgno, e)) != LS_OK)
				return rc;
			memcpy(r->page + in, from, k);
		}
		rc = ls_dirty_put(
		    r->w.dirty, (uint32_t)pgno, k < ps ? r->page : from, e);
		if (rc != LS_OK)
			return rc;
		r->w.size = LS_MAX(r->w.size, (uint32_t)pgno);
	}
	return LS_OK;
}

enum ls_rc
ls_reader_truncate(struct ls_reader *r, uint64_t bytes, struct ls_err *e)
{
	uint32_t pages;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK)
		return rc;
	if (!r->w.on)
		return ls_err_set(e, LS_EDENIED, "a write without the lock");
	if (r->w.prepared || (r->w.dirty == NULL && r->pin.v->commit == 0))
		return LS_OK; /* (3): known already; or nothing at all */
	if ((rc = have_dirty(r, r->pin.v->page_size, e)) != LS_OK)
		return rc;
	pages = (uint32_t)(bytes / ls_dirty_page_size(r->w.dirty));
	if (pages < r->w.size) {
		ls_dirty_cut(r->w.dirty, pages);
		r->w.low = LS_MIN(r->w.low, pages);
	}
	r->w.size = pages;
	return LS_OK;
}

/* ---- phase one ------------------------------------------------------------*/

struct page1 { /* of the state beneath, as it is stored */
	bool known;
	uint8_t mode[2];
	uint32_t counter;
};
struct source {
	struct ls_dirty *dirty;
	struct page1 was;
	uint32_t raised;
	uint8_t *copy;
};

/* (5) */
static enum ls_rc
give_page(void *arg, uint32_t pgno, const uint8_t **page, struct ls_err *e)
{
	struct source *s = arg;
	enum ls_rc rc = ls_dirty_get(s->dirty, pgno, page, e);

	if (rc != LS_OK || pgno != 1 || !s->was.known)
		return rc;
	memcpy(s->copy, *page, ls_dirty_page_size(s->dirty));
	memcpy(s->copy + 18, s->was.mode, 2);
	ls_put_be32(s->copy + 24, s->was.counter + 1);
	ls_put_be32(s->copy + 40, ls_be32(s->copy + 40) - s->raised);
	ls_put_be32(s->copy + 92, s->was.counter + 1);
	*page = s->copy;
	return LS_OK;
}

/* The stored page 1; it joins the transaction when that left it alone. */
static enum ls_rc
read_page1(struct ls_reader *r, struct page1 *was, struct ls_err *e)
{
	struct ls_ver *v = ls_ver_ref(r->pin.v);
	enum ls_rc rc = LS_OK;

	*was = (struct page1){ .known = v->commit > 0 };
	if (was->known)
		rc = ls_reader_page(r, &v, 1, e);
	if (was->known && rc == LS_OK) {
		memcpy(was->mode, r->page + 18, 2);
		was->counter = ls_be32(r->page + 24);
		ls_reader_show_header(r, r->page, v);
		if (!ls_dirty_has(r->w.dirty, 1))
			rc = ls_dirty_put(r->w.dirty, 1, r->page, e);
	}
	ls_ver_unref(v);
	return rc;
}

/* Is page pgno another than in the state beneath? */
static enum ls_rc
page_differs(struct ls_reader *r, uint32_t pgno, bool *yes, struct ls_err *e)
{
	struct ls_ver *v = ls_ver_ref(r->pin.v);
	const uint8_t *p;
	enum ls_rc rc = ls_reader_page(r, &v, pgno, e);

	if (rc == LS_OK && pgno == 1)
		ls_reader_show_header(r, r->page, v);
	if (rc == LS_OK &&
	    (rc = ls_dirty_get(r->w.dirty, pgno, &p, e)) == LS_OK)
		*yes = memcmp(p, r->page, v->page_size) != 0;
	ls_ver_unref(v);
	return rc;
}

static enum ls_rc
differs(struct ls_reader *r, bool *yes, struct ls_err *e)
{
	uint32_t *pgno = NULL, n = 0;
	enum ls_rc rc = LS_OK;

	*yes = r->w.size != r->pin.v->commit;
	if (!*yes)
		rc = ls_dirty_list(
		    r->w.dirty, r->pin.v->commit, 0, &pgno, &n, e);
	for (uint32_t i = 0; rc == LS_OK && !*yes && i < n; i++)
		rc = page_differs(r, pgno[i], yes, e);
	ls_free(pgno);
	return rc;
}

/* (2) */
static enum ls_rc
is_commit(struct ls_reader *r, bool *yes, bool *unsure, struct ls_err *e)
{
	const uint8_t *p;
	enum ls_rc rc;

	*yes = *unsure = false;
	if (ls_dirty_has(r->w.dirty, 1)) {
		if ((rc = ls_dirty_get(r->w.dirty, 1, &p, e)) != LS_OK)
			return rc;
		*yes = r->pin.v->commit == 0 || ls_be32(p + 24) != r->counter;
	}
	if (*yes || r->w.first)
		return LS_OK;
	*unsure = true;
	return differs(r, yes, e);
}

/* (3), and what cannot be: another page size, WAL mode. */
static enum ls_rc
commit_size(struct ls_reader *r, uint32_t *commit, struct ls_err *e)
{
	uint32_t ps = ls_dirty_page_size(r->w.dirty), said, size;
	bool only = ls_dirty_count(r->w.dirty) == 1 && r->pin.v->commit > 0;
	const uint8_t *p;
	enum ls_rc rc;

	*commit = r->pin.v->commit ? r->pin.v->commit : r->w.size;
	r->w.counter = r->counter;
	r->w.wal = false;
	if (!ls_dirty_has(r->w.dirty, 1))
		return LS_OK;
	if ((rc = ls_dirty_get(r->w.dirty, 1, &p, e)) != LS_OK)
		return rc;
	r->w.counter = ls_be32(p + 24);
	size = ls_be16(p + 16);
	if ((size == 1 ? 65536u : size) != ps)
		return ls_err_set(e, LS_EUNSUPPORTED,
		    "the page size of a replica cannot be changed");
	/* A backup of a database in WAL mode brings such a page 1 along. */
	r->w.wal = p[18] == 2 || p[19] == 2;
	if (only && r->w.wal)
		return ls_err_set(
		    e, LS_EUNSUPPORTED, "there is no WAL mode in this VFS");
	said = memcmp(p + 24, p + 92, 4) == 0 ? ls_be32(p + 28) : 0;
	*commit = said ? LS_MIN(said, r->w.size) : r->w.size;
	return LS_OK;
}

/* (4) */
static enum ls_rc
fill_holes(struct ls_reader *r, uint32_t commit, struct ls_err *e)
{
	uint32_t ps = ls_dirty_page_size(r->w.dirty);
	uint32_t from = LS_MIN(r->w.low, r->pin.v->commit) + 1;
	enum ls_rc rc = LS_OK;

	if (from > commit)
		return LS_OK;
	memset(r->page, 0, ps);
	for (uint32_t p = from; rc == LS_OK && p <= commit; p++)
		if (p != ls_lock_pgno(ps) && !ls_dirty_has(r->w.dirty, p))
			rc = ls_dirty_put(r->w.dirty, p, r->page, e);
	return rc;
}

enum ls_rc
ls_reader_prepare(struct ls_reader *r, const char *super, struct ls_err *e)
{
	struct source s = { .dirty = r->w.dirty, .raised = r->raised };
	struct ls_own_txn t = { .super = super, .page = give_page, .arg = &s };
	bool yes;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK || !r->w.on || r->w.dirty == NULL || r->w.prepared)
		return rc;
	if ((rc = is_commit(r, &yes, &t.unsure, e)) != LS_OK || !yes ||
	    (rc = commit_size(r, &t.commit, e)) != LS_OK ||
	    (rc = read_page1(r, &s.was, e)) != LS_OK ||
	    (rc = fill_holes(r, t.commit, e)) != LS_OK)
		return rc;
	/* One of several databases: a commit, whose phase two must not fail. */
	t.unsure = t.unsure && super == NULL;
	t.page_size = ls_dirty_page_size(r->w.dirty);
	if ((s.copy = ls_alloc(t.page_size)) == NULL)
		return ls_err_nomem(e);
	t.base = r->pin.v;
	rc = ls_dirty_list(r->w.dirty, t.commit, 0, &t.pgno, &t.n, e);
	if (rc == LS_OK)
		rc = ls_own_prepare(ls_vdb_own(r->d), r, &t, e);
	ls_free(s.copy);
	r->w.prepared = rc == LS_OK;
	r->w.seq = t.seq;
	r->w.unsure = t.unsure;
	return rc;
}

enum ls_rc
ls_reader_flush(struct ls_reader *r, struct ls_err *e)
{
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK || !r->w.prepared)
		return rc;
	return ls_own_flush(ls_vdb_own(r->d), e);
}

/* ---- phase two ------------------------------------------------------------*/

enum ls_rc
ls_reader_commit(struct ls_reader *r, struct ls_err *e)
{
	struct ls_ver *v;
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK || !r->w.on || r->w.dirty == NULL)
		return rc;
	if (!r->w.prepared && (rc = ls_reader_prepare(r, NULL, e)) != LS_OK)
		return rc;
	if (!r->w.prepared)
		return LS_OK;
	r->w.prepared = false;
	if (!r->w.unsure ||
	    (rc = ls_own_store(ls_vdb_own(r->d), r->w.seq, e)) == LS_OK)
		rc = ls_own_commit(ls_vdb_own(r->d), r->w.seq, &v, e);
	if (rc != LS_OK) { /* SQLite may keep the lock */
		ls_dirty_free(r->w.dirty);
		r->w = (struct ls_writing){ .on = true,
			.size = r->pin.v->commit,
			.low = r->pin.v->commit };
		return rc;
	}
	ls_pin_end(r->d, &r->pin);
	ls_pin_begin(r->d, &r->pin, v);
	/* SQLite must not go on with its own copy of a page 1 that says WAL. */
	r->seen = r->w.wal ? 0 : v->content;
	r->counter = r->w.counter;
	ls_dirty_free(r->w.dirty);
	r->w = (struct ls_writing){
		.on = true, .size = v->commit, .low = v->commit
	};
	ls_ver_unref(v);
	return LS_OK;
}
