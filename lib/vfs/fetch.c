/* fetch.c -- pages out of stored files, in blocks. See fetch.h.
 *
 * (1) A MISS BRINGS ITS NEIGHBOURHOOD: pages next to each other lie next to
 *     each other in a stored file, so one ranged GET around the frame answers
 *     the next misses too. Frames that a newer file has replaced are passed
 *     over. (test: miss_brings_its_neighbours)
 * (2) SINGLE FLIGHT: a page that somebody fetches is waited for, not fetched
 *     again; a block that is only queued is done by the reader that needs it.
 *     (test: one_request_for_many_readers)
 * (3) NOTHING UNCHECKED PASSES: page number, frame length and the exact
 *     decoded length are compared (format/ltx.h), and If-Match keeps the bytes
 *     of two objects apart. A store that shortens an answer is retried below.
 * (4) THE READER THAT MISSED GETS ITS PAGE FROM THE BLOCK ITSELF, not from the
 *     cache, so that eviction cannot starve it.
 * (5) THE DISK FIRST, where there is one (disk.h): for the whole block, or else
 *     for the page that is waited for alone. What comes over the network is
 *     widened to its units. (test: disk_cache_serves_without_requests)
 * (6) WITHOUT ONE THE TEMPORARY FILE (scratch.h), for databases that the cache
 *     in memory cannot hold, and not for the first blocks, so that opening and
 *     a query or two write nothing. What is read ahead goes there only where
 *     all of the database has room, for a scan would push itself out.
 *     (test: scratch_spares_requests, scratch_is_for_what_does_not_fit)
 * (7) WHO FOLLOWS DOES NOT WAIT FOR THE DISK: what came with the indexes is
 *     written by a worker, one at a time; a busy disk can hold up an open that
 *     creates a file for a second. (test: poll_does_not_wait_for_the_disk)
 * (8) READ-AHEAD IS BEST EFFORT, on at most WORKERS threads that block every
 *     signal; an error there is dropped, since the reader will meet it itself.
 */
#include "vfs/fetch.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "vfs/guest.h"

enum {
	WORKERS = 4,
	QUEUE_MOST = 64,
	BLOCK_MOST = 2 << 20,
	KEEP = 16 << 10,
	HOLE = 64, /* pages of other files that a block reaches across */
	WORKER_SECONDS = 60,
	SCRATCH_AFTER = 16, /* blocks */
	LATER_BYTES = 4 << 20,
};

/* Bytes that are to be kept. */
struct later {
	struct later *next;
	struct ls_vfile *file; /* a reference */
	uint64_t off;
	struct ls_buf b;
};

struct block {
	struct block *next;
	enum { QUEUED, RUNNING, DONE } state;
	unsigned waiters;
	struct ls_ver *v; /* a reference */
	struct ls_vfile *file;
	uint64_t off, end; /* bytes of the file */
	uint32_t lo, hi;   /* pages that may lie there */
	enum ls_rc rc;
};

struct ls_fetch {
	struct ls_store *st;
	struct ls_vfiles *files;
	pthread_mutex_t mu;
	pthread_cond_t work, done;
	struct block *active; /* queued and running, oldest first */
	unsigned nqueued, nrunning, idle, nthreads;
	pthread_t thread[WORKERS];
	bool stop;
	struct later *later; /* oldest first */
	size_t later_bytes;
	bool writing; /* somebody writes one of them */
	struct ls_cancel cancel;
	_Atomic(struct ls_disk *) disk;
	_Atomic(struct ls_scratch *) scratch;
	uint32_t who; /* there; set before it */
	_Atomic uint64_t n[4];
	_Atomic unsigned waiting; /* readers inside a fetch */
};

/* ---- life -----------------------------------------------------------------*/

enum ls_rc
ls_fetch_new(struct ls_store *st, struct ls_vfiles *files,
    struct ls_fetch **out, struct ls_err *e)
{
	struct ls_fetch *f = ls_zalloc(sizeof *f);
	enum ls_rc rc;

	if (f == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_cancel_init(&f->cancel, e)) != LS_OK) {
		ls_free(f);
		return rc;
	}
	f->st = st;
	f->files = files;
	(void)pthread_mutex_init(&f->mu, NULL);
	(void)pthread_cond_init(&f->work, NULL);
	(void)pthread_cond_init(&f->done, NULL);
	*out = f;
	return LS_OK;
}

void
ls_fetch_set_disk(struct ls_fetch *f, struct ls_disk *d)
{
	struct ls_disk *none = NULL;

	(void)atomic_compare_exchange_strong(&f->disk, &none, d);
}

struct ls_disk *
ls_fetch_disk(struct ls_fetch *f)
{
	return atomic_load(&f->disk);
}

void
ls_fetch_cancel(struct ls_fetch *f)
{
	(void)pthread_mutex_lock(&f->mu);
	f->stop = true;
	ls_cancel_set(&f->cancel);
	(void)pthread_cond_broadcast(&f->work);
	(void)pthread_cond_broadcast(&f->done);
	(void)pthread_mutex_unlock(&f->mu);
}

void
ls_fetch_set_scratch(struct ls_fetch *f, struct ls_scratch *s)
{
	if (s == NULL || atomic_load(&f->scratch) != NULL)
		return;
	f->who = ls_scratch_join(s);
	atomic_store(&f->scratch, s);
}

static void
block_free(struct block *b)
{
	ls_ver_unref(b->v);
	ls_free(b);
}

static void
write_later(struct ls_fetch *f, struct later *l)
{
	if (ls_fetch_disk(f) != NULL)
		ls_disk_put(
		    ls_fetch_disk(f), l->file, l->off, ls_buf_span(&l->b));
	ls_vfile_unref(f->files, l->file, 1);
	ls_buf_free(&l->b);
	ls_free(l);
}

void
ls_fetch_free(struct ls_fetch *f)
{
	struct later *l;
	struct block *b;

	if (f == NULL)
		return;
	ls_fetch_cancel(f);
	for (unsigned i = 0; i < f->nthreads; i++)
		(void)pthread_join(f->thread[i], NULL);
	while ((b = f->active) != NULL) {
		f->active = b->next;
		block_free(b);
	}
	while ((l = f->later) != NULL) {
		f->later = l->next;
		write_later(f, l);
	}
	if (atomic_load(&f->scratch) != NULL)
		ls_scratch_leave(atomic_load(&f->scratch), f->who);
	ls_cancel_fini(&f->cancel);
	(void)pthread_cond_destroy(&f->work);
	(void)pthread_cond_destroy(&f->done);
	(void)pthread_mutex_destroy(&f->mu);
	ls_free(f);
}

/* Is the cache in memory much smaller than the database? */
static bool
is_small(const struct ls_ver *v)
{
	return v->commit / 2 > ls_cache_room(v->cache);
}

/* What is kept beside the cache in memory: one of the two, or nothing. */
struct below {
	struct ls_disk *disk;
	struct ls_scratch *scratch;
	uint32_t who;
	bool whole, half; /* of the database has room there */
};

/* (6) */
static struct below
below(struct ls_fetch *f, const struct ls_ver *v)
{
	struct below b = { .disk = ls_fetch_disk(f), .who = f->who };
	struct ls_scratch *s = atomic_load(&f->scratch);
	uint64_t bytes = (uint64_t)v->commit * v->page_size, most;

	b.whole = b.half = b.disk != NULL;
	if (b.disk != NULL || s == NULL ||
	    v->commit <= ls_cache_room(v->cache) ||
	    atomic_load(&f->n[0]) < SCRATCH_AFTER || !ls_scratch_works(s))
		return b;
	most = ls_scratch_most(s);
	b.scratch = s;
	b.whole = bytes <= most;
	b.half = bytes / 2 <= most;
	return b;
}

static bool
is_kept(const struct below *k)
{
	return k->disk != NULL || k->scratch != NULL;
}

static bool
below_get(const struct below *k, const struct ls_vfile *file, uint64_t off,
    size_t n, uint8_t *out)
{
	if (k->disk != NULL)
		return ls_disk_get(k->disk, file, off, n, out);
	return k->scratch != NULL &&
	       ls_scratch_get(k->scratch, k->who, file, off, n, out);
}

static void
below_put(const struct below *k, const struct ls_vfile *file, uint64_t off,
    struct ls_span bytes)
{
	if (k->disk != NULL)
		ls_disk_put(k->disk, file, off, bytes);
	else if (k->scratch != NULL)
		ls_scratch_put(k->scratch, k->who, file, off, bytes);
}

bool
ls_fetch_wide(struct ls_fetch *f, const struct ls_ver *v)
{
	return !is_small(v) || below(f, v).half;
}

/* ---- blocks ---------------------------------------------------------------*/

/* The block around pgno, which lies at w: from `back` bytes before it to `span`
 * bytes in all. */
static void
block_shape(struct block *b, const struct ls_ver *v, uint32_t pgno,
    const struct ls_where *w, size_t span, size_t back)
{
	struct ls_where x;
	unsigned hole = 0;

	b->file = w->file;
	b->lo = b->hi = pgno;
	b->off = ls_where_off(w);
	b->end = b->off + ls_where_size(w);
	for (uint32_t p = pgno - 1; p > 0 && hole < HOLE; p--) {
		if (!ls_ver_find(v, p, &x) || x.file != w->file) {
			hole++;
			continue;
		}
		if (ls_where_off(w) - ls_where_off(&x) > back)
			break;
		hole = 0;
		b->lo = p;
		b->off = ls_where_off(&x);
	}
	hole = 0;
	for (uint32_t p = pgno + 1; p <= v->commit && hole < HOLE; p++) {
		if (!ls_ver_find(v, p, &x) || x.file != w->file) {
			hole++;
			continue;
		}
		if (ls_where_off(&x) + ls_where_size(&x) - b->off > span)
			break;
		hole = 0;
		b->hi = p;
		b->end = ls_where_off(&x) + ls_where_size(&x);
	}
}

static uint64_t
distance(const struct ls_where *a, const struct ls_where *b)
{
	uint64_t x = ls_where_off(a), y = ls_where_off(b);

	return x < y ? y - x : x - y;
}

static bool
wanted(const struct ls_ver *v, const struct block *b, uint32_t p,
    struct ls_where *x)
{
	return ls_ver_find(v, p, x) && x->file == b->file &&
	       !ls_cache_has(v->cache, b->file->serial, p);
}

/* Cut off what is cached already at both ends; pgno stays. */
static void
block_trim(struct block *b, const struct ls_ver *v, uint32_t pgno)
{
	struct ls_where x;

	while (b->hi > pgno && !wanted(v, b, b->hi, &x))
		b->hi--;
	if (ls_ver_find(v, b->hi, &x))
		b->end = ls_where_off(&x) + ls_where_size(&x);
	while (b->lo < pgno && !wanted(v, b, b->lo, &x))
		b->lo++;
	if (ls_ver_find(v, b->lo, &x))
		b->off = ls_where_off(&x);
}

static struct block *
block_new(struct ls_ver *v, uint32_t pgno, const struct ls_where *w,
    size_t span, size_t back)
{
	struct block *b = ls_zalloc(sizeof *b);

	if (b == NULL)
		return NULL;
	block_shape(b, v, pgno, w, LS_MIN(span, (size_t)BLOCK_MOST), back);
	block_trim(b, v, pgno);
	b->v = ls_ver_ref(v);
	return b;
}

enum ls_rc
ls_fetch_decode(const struct ls_ver *v, uint32_t pgno, const struct ls_where *w,
    struct ls_span bytes, uint64_t base, uint8_t *out, struct ls_err *e)
{
	uint64_t off = ls_where_off(w);
	uint32_t n = ls_where_size(w);

	if (off < base || off + n > base + bytes.n)
		return ls_err_set(
		    e, LS_ESHORT, "%s: page %u is cut off", w->file->key, pgno);
	return ls_err_wrap(e,
	    ls_ltx_frame_decode(LS_SPAN(bytes.p + (off - base), n), w->file->z,
		pgno, v->page_size, out, e),
	    "%s", w->file->key);
}

/* The page that a reader waits for. Where it lies is said by the reader's own
 * version: the block may be another version's. */
struct asked {
	uint32_t pgno;
	size_t keep; /* bytes on both sides that are worth decoding */
	struct ls_where w;
	uint8_t *out;
};

/* Decode what is wanted of a block into the cache, and what was asked for (NULL:
 * nothing). bytes begin at base. */
static enum ls_rc
unpack(struct ls_fetch *f, struct block *b, struct ls_span bytes, uint64_t base,
    const struct asked *a, struct ls_err *e)
{
	struct ls_ver *v = b->v;
	struct ls_where w;
	uint8_t *page = ls_alloc(v->page_size);
	enum ls_rc rc = LS_OK;

	if (a != NULL)
		rc = ls_fetch_decode(v, a->pgno, &a->w, bytes, base, a->out, e);
	if (rc == LS_OK && a != NULL)
		ls_cache_put(v->cache, b->file->serial, a->pgno, a->out);
	for (uint32_t p = b->lo; page != NULL && p <= b->hi && p != 0; p++) {
		if ((a != NULL && p == a->pgno) || !wanted(v, b, p, &w) ||
		    ls_where_off(&w) < base ||
		    (a != NULL && distance(&w, &a->w) > a->keep) ||
		    ls_fetch_decode(v, p, &w, bytes, base, page, NULL) != LS_OK)
			continue;
		ls_cache_put(v->cache, b->file->serial, p, page);
		(void)atomic_fetch_add(&f->n[1], 1);
	}
	ls_free(page);
	return rc;
}

/* Bytes off..end of a file from the disk; false when they are not all there. */
static bool
from_disk(const struct below *d, const struct ls_vfile *file, uint64_t off,
    uint64_t end, struct ls_buf *buf)
{
	size_t n = (size_t)(end - off);

	ls_buf_clear(buf);
	buf->max = LS_MAX(buf->cap, n);
	if (ls_buf_reserve(buf, n, NULL) != LS_OK ||
	    !below_get(d, file, off, n, buf->p))
		return false;
	buf->n = n;
	return true;
}

/* The same over the network, and onto the disk. *off may become less. */
static enum ls_rc
from_store(struct ls_fetch *f, const struct below *d,
    const struct ls_vfile *file, uint64_t *off, uint64_t end,
    struct ls_buf *buf, const struct ls_call *c, struct ls_err *e)
{
	struct ls_get g = { .if_match = file->etag[0] ? file->etag : NULL };
	struct ls_quiet q;
	enum ls_rc rc;

	if (d != NULL && is_kept(d)) {
		*off -= *off % LS_DISK_UNIT;
		end += (LS_DISK_UNIT - end % LS_DISK_UNIT) % LS_DISK_UNIT;
		end = LS_MIN(end, file->size);
	}
	g.off = *off;
	g.len = end - *off;
	ls_buf_clear(buf);
	buf->max = LS_MAX(buf->cap, (size_t)g.len);
	if ((rc = ls_buf_reserve(buf, (size_t)g.len, e)) != LS_OK)
		return rc;
	ls_quiet_begin(&q);
	rc = ls_store_get(f->st, file->key, &g, buf, NULL, c, e);
	ls_quiet_end(&q);
	(void)atomic_fetch_add(&f->n[0], 1);
	(void)atomic_fetch_add(&f->n[2], buf->n);
	if (rc == LS_OK && d != NULL)
		below_put(d, file, *off, ls_buf_span(buf));
	return rc;
}

/* What is worth reading from the disk for b: what is worth decoding, or else the
 * page that is waited for. */
static bool
block_from_disk(const struct below *d, const struct block *b,
    const struct asked *a, struct ls_buf *buf, uint64_t *base)
{
	uint64_t at, end;

	*base = b->off;
	if (!is_kept(d) || a == NULL)
		return is_kept(d) && from_disk(d, b->file, *base, b->end, buf);
	at = ls_where_off(&a->w);
	end = at + ls_where_size(&a->w);
	if (at - b->off > a->keep)
		*base = at - a->keep;
	if (from_disk(d, b->file, *base,
		b->end - end > a->keep ? end + a->keep : b->end, buf))
		return true;
	*base = at;
	return from_disk(d, b->file, at, end, buf);
}

/* The block is not there as a whole, as something in it that nobody wants never
 * was fetched; perhaps all that is wanted is. */
static bool
pages_from_disk(struct ls_fetch *f, const struct below *d, struct block *b,
    struct ls_buf *buf)
{
	uint8_t *page = ls_alloc(b->v->page_size);
	bool ok = page != NULL;
	struct ls_where w;

	for (uint32_t p = b->lo; ok && p <= b->hi && p != 0; p++) {
		if (!wanted(b->v, b, p, &w))
			continue;
		ok = from_disk(d, b->file, ls_where_off(&w),
			 ls_where_off(&w) + ls_where_size(&w), buf) &&
		     ls_fetch_decode(b->v, p, &w, ls_buf_span(buf),
			 ls_where_off(&w), page, NULL) == LS_OK;
		if (ok)
			ls_cache_put(b->v->cache, b->file->serial, p, page);
		(void)atomic_fetch_add(&f->n[1], ok);
	}
	ls_free(page);
	return ok;
}

/* buf: of whoever runs it, so that a worker does not give back and take a
 * megabyte for every block. */
static enum ls_rc
run(struct ls_fetch *f, struct block *b, const struct asked *a,
    struct ls_buf *buf, const struct ls_call *c, struct ls_err *e)
{
	const struct below d = below(f, b->v);
	bool keep = a != NULL || d.whole;
	uint64_t base = b->off;
	enum ls_rc rc = LS_OK;

	if (!block_from_disk(&d, b, a, buf, &base)) {
		if (is_kept(&d) && a == NULL && pages_from_disk(f, &d, b, buf))
			return LS_OK;
		base = b->off;
		rc = from_store(
		    f, keep ? &d : NULL, b->file, &base, b->end, buf, c, e);
	}
	return rc == LS_OK ? unpack(f, b, ls_buf_span(buf), base, a, e) : rc;
}

/* ---- single flight --------------------------------------------------------*/

/* Called with the mutex. */
static struct block *
find_active(struct ls_fetch *f, const struct ls_where *w)
{
	struct block *b = f->active;

	for (; b != NULL; b = b->next)
		if (b->file == w->file && ls_where_off(w) >= b->off &&
		    ls_where_off(w) < b->end)
			return b;
	return NULL;
}

static void
append(struct ls_fetch *f, struct block *b)
{
	struct block **p = &f->active;

	while (*p != NULL)
		p = &(*p)->next;
	b->next = NULL;
	*p = b;
}

static void
start(struct ls_fetch *f, struct block *b)
{
	if (b->state == QUEUED)
		f->nqueued--;
	b->state = RUNNING;
	f->nrunning++;
}

/* Takes b out; the last of those who wait for it frees it. */
static void
finish(struct ls_fetch *f, struct block *b, enum ls_rc rc)
{
	struct block **p = &f->active;

	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	f->nrunning--;
	b->state = DONE;
	b->rc = rc;
	if (b->waiters == 0)
		block_free(b);
	else
		(void)pthread_cond_broadcast(&f->done);
}

/* With the mutex: wait for a block that somebody else fetches. */
static enum ls_rc
wait_for(struct ls_fetch *f, struct block *b)
{
	enum ls_rc rc;

	b->waiters++;
	while (b->state != DONE)
		(void)pthread_cond_wait(&f->done, &f->mu);
	rc = b->rc;
	if (--b->waiters == 0)
		block_free(b);
	return rc;
}

static enum ls_rc
run_own(struct ls_fetch *f, struct block *b, const struct asked *a,
    struct ls_buf *buf, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	(void)pthread_mutex_unlock(&f->mu);
	rc = run(f, b, a, buf, c, e);
	(void)pthread_mutex_lock(&f->mu);
	finish(f, b, rc);
	return rc;
}

enum ls_rc
ls_fetch_page(struct ls_fetch *f, struct ls_ver *v, uint32_t pgno, size_t span,
    uint8_t *out, bool *came, const struct ls_call *c, struct ls_err *e)
{
	struct ls_call call = { &f->cancel, c ? c->deadline_ns : 0 };
	struct asked a = { .pgno = pgno, .keep = SIZE_MAX, .out = out };
	bool half;
	struct ls_buf buf = LS_BUF_INIT(0);
	struct ls_where w;
	struct block *b;
	bool waited = false;
	enum ls_rc rc = LS_OK;

	*came = false;
	if (!ls_ver_find(v, pgno, &w))
		return ls_err_set(e, LS_ERANGE, "page %u of %u does not exist",
		    pgno, v->commit);
	if (ls_cache_get(v->cache, w.file->serial, pgno, 0, v->page_size, out))
		return LS_OK;
	*came = true;
	half = below(f, v).half;
	if (half && is_small(v))
		a.keep = KEEP; /* the rest is as near, and would push out more
				  than it brings */
	(void)atomic_fetch_add(&f->waiting, 1);
	a.w = w;
	(void)pthread_mutex_lock(&f->mu);
	while (!waited && (b = find_active(f, &w)) != NULL &&
	       b->state == RUNNING) {
		waited = true;
		if (wait_for(f, b) == LS_OK &&
		    ls_cache_get(
			v->cache, w.file->serial, pgno, 0, v->page_size, out))
			goto out;
	}
	/* Failed or evicted meanwhile: now by ourselves, whoever else does. */
	b = find_active(f, &w);
	if (b == NULL || b->state != QUEUED) {
		b = block_new(v, pgno, &w, span,
		    half ? ls_where_off(&w) % span : span / 4);
		if (b == NULL) {
			rc = ls_err_nomem(e);
			goto out;
		}
		b->state = RUNNING;
		f->nrunning++;
		append(f, b);
	} else {
		start(f, b);
	}
	rc = run_own(f, b, &a, &buf, &call, e);
out:
	(void)atomic_fetch_sub(&f->waiting, 1);
	(void)pthread_mutex_unlock(&f->mu);
	ls_buf_free(&buf);
	return rc;
}

/* ---- read-ahead -----------------------------------------------------------*/

static struct block *
next_queued(struct ls_fetch *f)
{
	struct block *b = f->active;

	while (b != NULL && b->state != QUEUED)
		b = b->next;
	return b;
}

/* Called with the mutex; lets go of it meanwhile. */
static void
run_later(struct ls_fetch *f)
{
	struct later *l = f->later;

	f->later = l->next;
	f->later_bytes -= l->b.cap;
	f->writing = true;
	(void)pthread_mutex_unlock(&f->mu);
	write_later(f, l);
	(void)pthread_mutex_lock(&f->mu);
	f->writing = false;
}

static void *
worker(void *arg)
{
	struct ls_fetch *f = arg;
	struct ls_buf buf = LS_BUF_INIT(0);
	struct block *b;

	(void)pthread_mutex_lock(&f->mu);
	while (!f->stop) {
		struct ls_call c = { &f->cancel, 0 };

		if ((b = next_queued(f)) == NULL && f->later != NULL &&
		    !f->writing) {
			run_later(f);
			continue;
		}
		if (b == NULL) {
			f->idle++;
			(void)pthread_cond_wait(&f->work, &f->mu);
			f->idle--;
			continue;
		}
		start(f, b);
		c.deadline_ns = ls_sys->mono_ns() + WORKER_SECONDS * LS_SEC;
		(void)run_own(f, b, NULL, &buf, &c, NULL); /* (8) */
	}
	(void)pthread_mutex_unlock(&f->mu);
	ls_buf_free(&buf);
	return NULL;
}

/* With the mutex. Without threads readers do it all themselves. */
static void
wake_worker(struct ls_fetch *f)
{
	if (f->idle >= f->nqueued)
		(void)pthread_cond_signal(&f->work);
	else if (f->nthreads < WORKERS &&
		 ls_guest_thread(&f->thread[f->nthreads], worker, f))
		f->nthreads++;
	else
		(void)pthread_cond_signal(&f->work);
}

void
ls_fetch_ahead(struct ls_fetch *f, struct ls_ver *v, uint32_t from, uint32_t to,
    size_t span)
{
	struct ls_where w;
	struct block *b;

	(void)pthread_mutex_lock(&f->mu);
	for (uint32_t p = from; p <= to && p <= v->commit && p != 0; p++) {
		if (f->stop || f->nqueued >= QUEUE_MOST)
			break;
		if (!ls_ver_find(v, p, &w) ||
		    ls_cache_has(v->cache, w.file->serial, p) ||
		    find_active(f, &w) != NULL)
			continue;
		if ((b = block_new(v, p, &w, span, 0)) == NULL)
			break;
		b->state = QUEUED;
		f->nqueued++;
		append(f, b);
		(void)atomic_fetch_add(&f->n[3], 1);
		wake_worker(f);
	}
	(void)pthread_mutex_unlock(&f->mu);
}

/* With the mutex: is there a thread that will come by? */
static bool
has_worker(struct ls_fetch *f)
{
	if (f->nthreads == 0 && ls_guest_thread(&f->thread[0], worker, f))
		f->nthreads = 1;
	(void)pthread_cond_signal(&f->work);
	return f->nthreads > 0;
}

void
ls_fetch_keep(
    struct ls_fetch *f, struct ls_vfile *file, uint64_t off, struct ls_buf *b)
{
	struct later *l, **p = &f->later;

	if (ls_fetch_disk(f) == NULL || b->n == 0 ||
	    (l = ls_zalloc(sizeof *l)) == NULL)
		return;
	ls_vfile_ref(f->files, file, 1);
	*l = (struct later){ NULL, file, off, *b };
	ls_buf_init(b, b->max);
	(void)pthread_mutex_lock(&f->mu);
	if (!f->stop && f->later_bytes + l->b.cap <= LATER_BYTES &&
	    has_worker(f)) {
		while (*p != NULL)
			p = &(*p)->next;
		*p = l;
		f->later_bytes += l->b.cap;
		l = NULL;
	}
	(void)pthread_mutex_unlock(&f->mu);
	if (l != NULL)
		write_later(f, l);
}

void
ls_fetch_yield(struct ls_fetch *f, const struct ls_call *c)
{
	enum { STEPS = 20 };

	for (int i = 0; i < STEPS && atomic_load(&f->waiting) > 0; i++)
		if (ls_call_sleep(c, LS_MS, NULL) != LS_OK)
			return;
}

void
ls_fetch_disk_stats(struct ls_fetch *f, struct ls_disk_stats *out)
{
	struct ls_scratch *s = atomic_load(&f->scratch);

	*out = (struct ls_disk_stats){ 0 };
	if (ls_fetch_disk(f) != NULL)
		ls_disk_stats(ls_fetch_disk(f), out);
	else if (s != NULL)
		ls_scratch_stats(s, out);
}

void
ls_fetch_stats(struct ls_fetch *f, struct ls_fetch_stats *out)
{
	*out = (struct ls_fetch_stats){ atomic_load(&f->n[0]),
		atomic_load(&f->n[1]), atomic_load(&f->n[2]),
		atomic_load(&f->n[3]) };
}
