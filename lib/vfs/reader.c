/* reader.c -- one connection's view. See reader.h.
 *
 * (1) ONE STATE A TRANSACTION: the version is pinned when SQLite takes its
 *     shared lock and let go when it unlocks. When a file of it is gone the
 *     same state is planned anew; if that is impossible the read fails. Newer
 *     pages are never mixed in. (test: one_txid_a_transaction)
 * (2) SQLITE'S PAGE CACHE LIVES EXACTLY AS LONG AS THE PAGES. It compares bytes
 *     24..39 of page 1 at the start of a transaction, so the change counter
 *     shown there goes up whenever this connection is shown other pages than
 *     the last time, and only then. Its own commit raises it by one, as SQLite
 *     did in its cache. What is stored keeps a counter of its own (write.c).
 *     Bytes 92..95 are set alike and 28..31 to the size, or SQLite would take
 *     the size from the file. Bytes 18 and 19 say rollback journal: there is no
 *     -wal and no -shm. The schema that SQLite has parsed lives as long as the
 *     cookie in bytes 40..43 is the same; another history may have given it to
 *     another schema, so after a change of history all cookies are shown raised
 *     by a step. (test: change_counter_follows_the_state,
 *     cookie_follows_the_history of replaced_history)
 * (3) A SCAN IS RECOGNISED by reads that go up in small steps, a few strays
 *     apart (the interior pages of the tree). The window read
 *     ahead then doubles up to a quarter of the cache, in blocks of an eighth
 *     of the window, so that they come side by side. (test: scan_reads_ahead)
 * (4) WHAT A POINT READ BRINGS GROWS with the misses where half of the database
 *     or more may be kept, in memory or on a disk: many small reads should not
 *     cost a request each. Elsewhere most of it would be thrown
 *     away again.
 */
#include "vfs/reader_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/units.h"
#include "vfs/hydrate.h"
#include "vfs/registry.h"
#include "vfs/when.h"

#include <strings.h>

enum {
	READ_SECONDS = 30,
	REPLANS = 3,
	SPAN_LEAST = 32 << 10,
	SPAN = 64 << 10,
	SPAN_MOST = 1 << 20,
	MISSES_A_DOUBLING = 24,
	SCAN_STEP = 48,
	SCAN_RUN = 6,
	STRAYS = 3,
	WINDOW_FIRST = 32,
	WINDOW_BYTES = 16 << 20,
	COOKIE_STEP = 0x01000001,
};

enum ls_rc
ls_reader_check(const struct ls_reader *r, struct ls_err *e)
{
	if (r->generation == ls_registry_generation())
		return LS_OK;
	return ls_err_set(e, LS_EIO,
	    "this connection was opened before a fork and belongs to the "
	    "parent; open one in the child");
}

/* ---- life -----------------------------------------------------------------*/

/* Follow, and what was asked for beside: a connection that was opened in the
 * past does that when it returns. */
static enum ls_rc
follow(struct ls_reader *r, struct ls_err *e)
{
	struct ls_vfs_opts *o = &r->write_opts;
	enum ls_rc rc =
	    ls_vdb_follow(r->d, r->poll_ns, o->write || r->may_write, e);

	if (rc == LS_OK && o->hydrate)
		rc = ls_vdb_hydrate_start(r->d, o->hydrate_path, e);
	if (rc == LS_OK && o->write)
		rc = ls_write_enable(r, e);
	if (rc == LS_OK)
		o->hydrate = o->write = false;
	return rc;
}

static enum ls_rc
reader_start(struct ls_reader *r, const struct ls_vfs_opts *o, struct ls_err *e)
{
	enum ls_rc rc;

	if (o->time != NULL || o->txid != NULL) {
		rc = o->time ? ls_reader_set_time(r, o->time, e)
			     : ls_reader_set_txid(r, o->txid, e);
		if (rc != LS_OK || r->travel != NULL)
			return rc;
	}
	return follow(r, e);
}

enum ls_rc
ls_reader_open(
    const struct ls_vfs_opts *o, struct ls_reader **out, struct ls_err *e)
{
	struct ls_reader *r = ls_zalloc(sizeof *r);
	enum ls_rc rc;

	if (r == NULL)
		return ls_err_nomem(e);
	r->generation = ls_registry_generation();
	r->poll_ns = o->poll_ns;
	r->write_opts = (struct ls_vfs_opts){ .sync_ns = o->sync_ns,
		.write = o->write,
		.hydrate = o->hydrate,
		.hydrate_path =
		    o->hydrate_path ? ls_strdup(o->hydrate_path) : NULL,
		.buffer = o->buffer ? ls_strdup(o->buffer) : NULL,
		.buffer_bytes = o->buffer_bytes,
		.buffer_age_ns = o->buffer_age_ns,
		.lease = o->lease,
		.keep = o->keep };
	if ((o->buffer != NULL && r->write_opts.buffer == NULL) ||
	    (o->hydrate_path != NULL && r->write_opts.hydrate_path == NULL)) {
		ls_reader_close(r);
		return ls_err_nomem(e);
	}
	if ((rc = ls_vdb_open(o, &r->d, e)) == LS_OK &&
	    (rc = reader_start(r, o, e)) == LS_OK) {
		*out = r;
		return LS_OK;
	}
	ls_reader_close(r);
	return rc;
}

void
ls_reader_close(struct ls_reader *r)
{
	if (r == NULL)
		return;
	if (ls_reader_check(r, NULL) == LS_OK) {
		ls_reader_end(r);
		ls_ver_unref(r->travel);
		ls_vdb_close(r->d);
	}
	ls_vfs_opts_fini(&r->write_opts);
	ls_free(r->page);
	ls_free(r);
}

/* ---- transactions ---------------------------------------------------------*/

enum ls_rc
ls_reader_begin(struct ls_reader *r, struct ls_err *e)
{
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK || r->pinned)
		return rc;
	if (r->travel == NULL && r->poll_ns == 0)
		ls_vdb_look(
		    r->d); /* fails: what we have, and the lag says so */
	ls_pin_begin(r->d, &r->pin, r->travel);
	r->pinned = true;
	r->ahead = 0;
	if (r->seen != r->pin.v->content) { /* (2) */
		if (r->epoch != r->pin.v->epoch && r->counter > 0)
			r->raised += COOKIE_STEP;
		r->epoch = r->pin.v->epoch;
		r->seen = r->pin.v->content;
		r->counter++;
	}
	return LS_OK;
}

void
ls_reader_end(struct ls_reader *r)
{
	if (!r->pinned || ls_reader_check(r, NULL) != LS_OK)
		return;
	ls_write_end(r);
	ls_pin_end(r->d, &r->pin);
	r->pinned = false;
}

bool
ls_reader_in_transaction(const struct ls_reader *r)
{
	return r->pinned;
}

/* The state to show, for the length of a call. */
enum ls_rc
ls_reader_state(struct ls_reader *r, struct ls_ver **out, struct ls_err *e)
{
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc != LS_OK)
		return rc;
	if (r->pinned)
		*out = ls_ver_ref(r->pin.v);
	else
		*out = r->travel ? ls_ver_ref(r->travel) : ls_vdb_newest(r->d);
	return LS_OK;
}

/* The same state out of other files takes the place of v. */
static enum ls_rc
replan(struct ls_reader *r, struct ls_ver **v, struct ls_err *e)
{
	struct ls_ver *fresh;
	enum ls_rc rc = ls_vdb_replan(r->d, *v, &fresh, e);

	if (rc != LS_OK)
		return rc;
	if (r->travel == *v) {
		ls_ver_unref(r->travel);
		r->travel = ls_ver_ref(fresh);
	}
	if (r->pinned && r->pin.v == *v) {
		ls_pin_end(r->d, &r->pin);
		ls_pin_begin(r->d, &r->pin, fresh);
	}
	ls_ver_unref(*v);
	*v = fresh;
	r->ahead = 0;
	return LS_OK;
}

/* ---- reading --------------------------------------------------------------*/

static size_t
point_span(const struct ls_reader *r, const struct ls_ver *v)
{
	uint32_t doublings = LS_MIN(r->misses / MISSES_A_DOUBLING, 4u);

	if (!ls_fetch_wide(ls_vdb_fetch(r->d), v))
		return SPAN_LEAST;
	return LS_MIN((size_t)SPAN << doublings, (size_t)SPAN_MOST);
}

/* Every one of them is in memory whole while it comes. */
static size_t
scan_span(const struct ls_reader *r, const struct ls_ver *v)
{
	return LS_MAX((size_t)r->window * v->page_size / 8, (size_t)SPAN);
}

/* (3): called for every page, in the order of the reads. */
static void
watch_scan(struct ls_reader *r, struct ls_ver *v, uint32_t pgno)
{
	uint32_t most = LS_MIN(
	    ls_cache_room(v->cache) / 4, (uint32_t)WINDOW_BYTES / v->page_size);
	uint32_t from, to;

	if (pgno > r->last && pgno - r->last <= SCAN_STEP) {
		r->run++;
		r->strays = 0;
	} else if (++r->strays <= STRAYS) {
		return; /* an interior page between the leaves */
	} else {
		r->run = r->strays = r->window = r->ahead = 0;
	}
	r->last = pgno;
	if (r->run < SCAN_RUN)
		return;
	if (r->window == 0)
		r->window = WINDOW_FIRST;
	/* Half of the window used up: fill it again, twice as large. */
	if (r->ahead > pgno + r->window / 2)
		return;
	r->window = LS_MAX(LS_MIN(r->window * 2, most), 1u);
	from = LS_MAX(r->ahead, pgno) + 1;
	to = LS_MIN(pgno + r->window, v->commit);
	if (from > to)
		return;
	ls_fetch_ahead(ls_vdb_fetch(r->d), v, from, to, scan_span(r, v));
	r->ahead = to;
}

static enum ls_rc
fetch(struct ls_reader *r, struct ls_ver **v, uint32_t pgno, struct ls_err *e)
{
	struct ls_call c = { NULL, ls_sys->mono_ns() + READ_SECONDS * LS_SEC };
	bool scan = r->run >= SCAN_RUN, came;
	enum ls_rc rc;

	for (int i = 0;; i++) {
		size_t span = scan ? scan_span(r, *v) : point_span(r, *v);

		rc = ls_fetch_page(
		    ls_vdb_fetch(r->d), *v, pgno, span, r->page, &came, &c, e);
		if ((rc != LS_ENOTFOUND && rc != LS_ECHANGED) || i == REPLANS)
			break;
		if ((rc = replan(r, v, e)) != LS_OK) {
			(void)ls_err_hint(e, rc,
			    "what this transaction began with was pruned: "
			    "begin a new one, or keep l0-retention longer");
			break;
		}
	}
	if (rc == LS_OK && came && !scan && r->misses < UINT32_MAX)
		r->misses++;
	return ls_err_wrap(e, rc, "page %u of TXID %016llx", pgno,
	    (unsigned long long)(*v)->txid);
}

/* A page of the write buffer. */
static enum ls_rc
get_local(struct ls_reader *r, const struct ls_ver *v, const struct ls_where *w,
    struct ls_err *e)
{
	return ls_err_wrap(e,
	    ls_pread_all(
		w->file->local->fd, r->page, v->page_size, ls_where_off(w), e),
	    "write buffer");
}

enum ls_rc
ls_reader_page(
    struct ls_reader *r, struct ls_ver **v, uint32_t pgno, struct ls_err *e)
{
	struct ls_hydrate *h = ls_vdb_hydrate(r->d);
	struct ls_where w = { 0 };

	if (r->page_n < (*v)->page_size) {
		uint8_t *p = ls_realloc(r->page, (*v)->page_size);

		if (p == NULL)
			return ls_err_nomem(e);
		r->page = p;
		r->page_n = (*v)->page_size;
	}
	if (pgno == ls_lock_pgno((*v)->page_size)) {
		memset(r->page, 0, (*v)->page_size);
		return LS_OK;
	}
	if (ls_ver_find(*v, pgno, &w) && w.file->local != NULL)
		return get_local(r, *v, &w, e);
	if (h != NULL && w.file != NULL &&
	    ls_hydrate_read(h, *v, pgno, &w, r->page))
		return LS_OK;
	watch_scan(r, *v, pgno);
	return fetch(r, v, pgno, e);
}

uint32_t
ls_reader_counter(const struct ls_reader *r)
{
	return r->counter;
}

uint32_t
ls_reader_raised(const struct ls_reader *r)
{
	return r->raised;
}

/* (2) */
void
ls_reader_show_header(
    const struct ls_reader *r, uint8_t *page, const struct ls_ver *v)
{
	page[18] = page[19] = 1;
	ls_put_be32(page + 24, r->counter);
	ls_put_be32(page + 28, v->commit);
	ls_put_be32(page + 40, ls_be32(page + 40) + r->raised);
	ls_put_be32(page + 92, r->counter);
}

static enum ls_rc
read_pages(struct ls_reader *r, struct ls_ver **v, uint8_t *buf, size_t n,
    uint64_t off, struct ls_err *e)
{
	uint32_t ps = (*v)->page_size;

	while (n > 0) {
		uint64_t pgno = off / ps + 1;
		size_t in = (size_t)(off % ps), k = LS_MIN(n, ps - in);
		enum ls_rc rc;

		if (pgno > (*v)->commit) {
			memset(buf, 0, n);
			return LS_ESHORT;
		}
		if ((rc = ls_reader_page(r, v, (uint32_t)pgno, e)) != LS_OK)
			return rc;
		if (pgno == 1)
			ls_reader_show_header(r, r->page, *v);
		memcpy(buf, r->page + in, k);
		buf += k;
		off += k;
		n -= k;
	}
	return LS_OK;
}

enum ls_rc
ls_reader_read(
    struct ls_reader *r, void *buf, size_t n, uint64_t off, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = ls_reader_state(r, &v, e);

	if (rc != LS_OK)
		return rc;
	rc = r->w.dirty != NULL ? ls_write_read(r, buf, n, off, e)
				: read_pages(r, &v, buf, n, off, e);
	ls_ver_unref(v);
	return rc;
}

enum ls_rc
ls_reader_size(struct ls_reader *r, uint64_t *bytes, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = ls_reader_state(r, &v, e);

	if (rc != LS_OK)
		return rc;
	if (r->w.dirty != NULL)
		*bytes = (uint64_t)r->w.size * ls_dirty_page_size(r->w.dirty);
	else
		*bytes = (uint64_t)v->commit * v->page_size;
	ls_ver_unref(v);
	return LS_OK;
}

/* ---- travel ---------------------------------------------------------------*/

static enum ls_rc
may_travel(struct ls_reader *r, struct ls_err *e)
{
	enum ls_rc rc = ls_reader_check(r, e);

	if (rc == LS_OK && r->pinned)
		rc = ls_err_set(
		    e, LS_EBUSY, "cannot travel in time inside a transaction");
	return rc;
}

static enum ls_rc
travel_to(struct ls_reader *r, const struct ls_target *t, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = ls_vdb_at(r->d, t, &v, e);

	if (rc != LS_OK)
		return rc;
	ls_ver_unref(r->travel);
	r->travel = v;
	r->time_ns = t->before_ns;
	return LS_OK;
}

static enum ls_rc
travel_back(struct ls_reader *r, struct ls_err *e)
{
	enum ls_rc rc = follow(r, e);

	if (rc != LS_OK)
		return rc;
	ls_ver_unref(r->travel);
	r->travel = NULL;
	r->time_ns = 0;
	return LS_OK;
}

enum ls_rc
ls_reader_set_time(struct ls_reader *r, const char *when, struct ls_err *e)
{
	struct ls_target t = { 0 };
	enum ls_rc rc = may_travel(r, e);

	if (rc != LS_OK)
		return rc;
	if (strcasecmp(when, "LATEST") == 0)
		return travel_back(r, e);
	rc = ls_when_parse(when, ls_sys->wall_ns(), &t.before_ns, e);
	if (rc == LS_OK && t.before_ns <= 0)
		rc = ls_err_set(e, LS_EINVALID, "%s is before 1970", when);
	return rc == LS_OK ? travel_to(r, &t, e) : rc;
}

/* Leading zeros may be left out. */
static enum ls_rc
parse_txid(const char *s, uint64_t *txid, struct ls_err *e)
{
	char full[LS_TXID_TEXT] = "0000000000000000";
	size_t n = strlen(s);

	if (n == 0 || n > 16)
		return ls_err_set(e, LS_EINVALID,
		    "invalid txid (expected up to 16 hex digits): %s", s);
	memcpy(full + 16 - n, s, n);
	if (ls_txid_parse(full, txid, NULL) != LS_OK || *txid == 0)
		return ls_err_set(e, LS_EINVALID,
		    "invalid txid (expected up to 16 hex digits): %s", s);
	return LS_OK;
}

enum ls_rc
ls_reader_set_txid(struct ls_reader *r, const char *txid, struct ls_err *e)
{
	struct ls_target t = { 0 };
	enum ls_rc rc = may_travel(r, e);

	if (rc != LS_OK)
		return rc;
	if (strcasecmp(txid, "LATEST") == 0)
		return travel_back(r, e);
	if ((rc = parse_txid(txid, &t.txid, e)) != LS_OK)
		return rc;
	return travel_to(r, &t, e);
}

enum ls_rc
ls_reader_time(struct ls_reader *r, char out[static 40], struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = ls_reader_state(r, &v, e);

	if (rc != LS_OK)
		return rc;
	ls_time_nano(
	    r->time_ns ? r->time_ns : v->timestamp_ms * (int64_t)LS_MS, out);
	ls_ver_unref(v);
	return LS_OK;
}

enum ls_rc
ls_reader_txid(struct ls_reader *r, uint64_t *txid, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = ls_reader_state(r, &v, e);

	if (rc != LS_OK)
		return rc;
	*txid = v->txid;
	ls_ver_unref(v);
	return LS_OK;
}

struct ls_vdb *
ls_reader_db(struct ls_reader *r)
{
	return r->d;
}
