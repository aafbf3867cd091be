/* hydrate.c -- a local copy of the pages, filled in the background.
 *
 * (1) A PAGE OF THE COPY IS NAMED BY THE STORED FILE IT CAME FROM, and serves
 *     a reader only when the reader's own version has the page from that file.
 *     So the copy can never show a reader another state, whatever the poller
 *     does meanwhile, and no page waits for the others. The name is looked at
 *     before and after the read; a page that is being replaced has none.
 *     (test: hydration_keeps_isolation, defects.DefectTest.test_4)
 * (2) A PAGE THAT AN OLDER TRANSACTION MAY STILL WANT IS NOT OVERWRITTEN: while
 *     one is under way only empty places are filled. Newer readers get the
 *     changed pages from the cache and the store until then.
 * (3) LARGE READS: what is missing is sorted by file and place, and fetched in
 *     ranges of up to RANGE bytes that reach across small holes, a few at once.
 *     A follower of a busy database costs requests by ranges, not by pages.
 *     (test: hydration_coalesces)
 * (4) A PERSISTENT COPY IS RESUMED ONLY WHERE IT IS PROVEN: <path>.meta names
 *     TXID, time, lineage and size of a state that was whole and synced. A page
 *     is taken over when the current plan has it from a file that ends at or
 *     before that TXID and is no younger; everything else is fetched. It does
 *     not matter what was pruned since. (test: defects.DefectTest.test_5)
 */
#include "vfs/hydrate.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "vfs/db.h"
#include "vfs/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	RANGE = 4 << 20,
	HOLE = 128 << 10, /* bytes read for nothing to save a request */
	AT_ONCE = 4,
	FILL_SECONDS = 300,
};

struct ls_hydrate {
	struct ls_vdb *d;
	char *path, *meta;
	bool temporary;
	int fd, lock_fd;
	struct ls_cancel cancel;
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t wake;
	/* Under mu: */
	uint32_t
	    *src; /* serial of the file that page i + 1 came from; 0: none */
	uint32_t nsrc, page_size;
	uint32_t valid, total;
	bool moved, stop;
};

/* ---- the map --------------------------------------------------------------*/

/* Make room for the pages of v, and forget all when their size is another. */
static enum ls_rc
fit(struct ls_hydrate *h, const struct ls_ver *v, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	uint32_t *src;

	(void)pthread_mutex_lock(&h->mu);
	if (h->page_size != v->page_size) {
		if (h->nsrc > 0)
			memset(h->src, 0, h->nsrc * sizeof *h->src);
		h->page_size = v->page_size;
	}
	if (v->commit > h->nsrc) {
		src = ls_realloc(h->src, v->commit * sizeof *src);
		if (src == NULL) {
			rc = ls_err_nomem(e);
		} else {
			memset(src + h->nsrc, 0,
			    (v->commit - h->nsrc) * sizeof *src);
			h->src = src;
			h->nsrc = v->commit;
		}
	}
	(void)pthread_mutex_unlock(&h->mu);
	return rc;
}

static uint32_t
source_of(struct ls_hydrate *h, const struct ls_ver *v, uint32_t pgno)
{
	uint32_t s = 0;

	(void)pthread_mutex_lock(&h->mu);
	if (h->page_size == v->page_size && pgno <= h->nsrc)
		s = h->src[pgno - 1];
	(void)pthread_mutex_unlock(&h->mu);
	return s;
}

static void
set_source(struct ls_hydrate *h, uint32_t pgno, uint32_t serial)
{
	(void)pthread_mutex_lock(&h->mu);
	h->src[pgno - 1] = serial;
	(void)pthread_mutex_unlock(&h->mu);
}

bool
ls_hydrate_read(struct ls_hydrate *h, const struct ls_ver *v, uint32_t pgno,
    const struct ls_where *w, uint8_t *out)
{
	uint32_t want = w->file->serial;

	return source_of(h, v, pgno) == want &&
	       ls_pread_all(h->fd, out, v->page_size,
		   (uint64_t)(pgno - 1) * v->page_size, NULL) == LS_OK &&
	       source_of(h, v, pgno) == want;
}

/* The same page out of another file: its content at old's TXID, hence the
 * same bytes. */
static bool
same_page(const struct ls_ver *old, const struct ls_where *was,
    const struct ls_where *is)
{
	return was->file != is->file && is->file->h.max_txid <= old->txid &&
	       is->file->h.timestamp_ms <= old->timestamp_ms;
}

void
ls_hydrate_moved(
    struct ls_hydrate *h, const struct ls_ver *old, const struct ls_ver *now)
{
	struct ls_where was, is;

	if (h == NULL)
		return;
	(void)pthread_mutex_lock(&h->mu);
	if (old != NULL && old->epoch == now->epoch &&
	    old->page_size == h->page_size && now->page_size == h->page_size)
		for (uint32_t p = 1; p <= now->commit && p <= h->nsrc; p++) {
			if ((p - 1) % LS_CHUNK == 0 &&
			    ls_ver_shares(old, now, p)) {
				p += LS_CHUNK - 1;
				continue;
			}
			if (ls_ver_find(old, p, &was) &&
			    ls_ver_find(now, p, &is) &&
			    h->src[p - 1] == was.file->serial &&
			    same_page(old, &was, &is))
				h->src[p - 1] = is.file->serial;
		}
	h->moved = true;
	(void)pthread_cond_broadcast(&h->wake);
	(void)pthread_mutex_unlock(&h->mu);
}

/* ---- filling --------------------------------------------------------------*/

struct want {
	struct ls_where w;
	uint32_t pgno;
};
struct range {
	size_t first, n; /* of wants */
	enum ls_rc rc;
};
struct fill {
	struct ls_hydrate *h;
	struct ls_ver *v;
	struct want *want;
	size_t nwant;
	struct range *range;
	size_t nrange;
	bool spare; /* leave what is there (2) */
	struct ls_call call;
	pthread_mutex_t mu;
	struct ls_err err;
};

static int
by_place(const void *a, const void *b)
{
	const struct want *x = a, *y = b;

	if (x->w.file->serial != y->w.file->serial)
		return x->w.file->serial < y->w.file->serial ? -1 : 1;
	return (x->w.at > y->w.at) - (x->w.at < y->w.at);
}

/* What is not here yet; counts what is. */
static enum ls_rc
find_wants(struct fill *f, size_t *left_out, struct ls_err *e)
{
	struct ls_hydrate *h = f->h;
	uint32_t valid = 0;
	size_t n = 0;

	*left_out = 0;
	f->want = ls_alloc(((size_t)f->v->commit + 1) * sizeof *f->want);
	if (f->want == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_lock(&h->mu);
	for (uint32_t p = 1; p <= f->v->commit; p++) {
		struct want *x = &f->want[n];

		x->pgno = p;
		if (!ls_ver_find(f->v, p, &x->w) ||
		    h->src[p - 1] == x->w.file->serial)
			valid++; /* the lock page too */
		else if (f->spare && h->src[p - 1] != 0)
			++*left_out;
		else
			n++;
	}
	h->valid = valid;
	h->total = f->v->commit;
	(void)pthread_mutex_unlock(&h->mu);
	f->nwant = n;
	qsort(f->want, n, sizeof *f->want, by_place);
	return LS_OK;
}

static uint64_t
end_of(const struct want *x)
{
	return ls_where_off(&x->w) + ls_where_size(&x->w);
}

static enum ls_rc
find_ranges(struct fill *f, struct ls_err *e)
{
	f->range = ls_alloc((f->nwant + 1) * sizeof *f->range);
	if (f->range == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < f->nwant; i++) {
		struct range *r = f->nrange ? &f->range[f->nrange - 1] : NULL;
		const struct want *x = &f->want[i];
		const struct want *last = i ? &f->want[i - 1] : NULL;

		if (r != NULL && last->w.file == x->w.file &&
		    ls_where_off(&x->w) - end_of(last) <= HOLE &&
		    end_of(x) - ls_where_off(&f->want[r->first].w) <= RANGE)
			r->n++;
		else
			f->range[f->nrange++] = (struct range){ i, 1, LS_OK };
	}
	return LS_OK;
}

static enum ls_rc
write_page(struct fill *f, const struct want *x, struct ls_span bytes,
    uint64_t base, uint8_t *page, struct ls_err *e)
{
	struct ls_hydrate *h = f->h;
	uint32_t ps = f->v->page_size;
	enum ls_rc rc;

	rc = ls_fetch_decode(f->v, x->pgno, &x->w, bytes, base, page, e);
	if (rc != LS_OK)
		return rc;
	set_source(h, x->pgno, 0);
	rc = ls_pwrite_all(h->fd, page, ps, (uint64_t)(x->pgno - 1) * ps, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "hydrate %s", h->path);
	set_source(h, x->pgno, x->w.file->serial);
	(void)pthread_mutex_lock(&h->mu);
	h->valid++;
	(void)pthread_mutex_unlock(&h->mu);
	return LS_OK;
}

static enum ls_rc
fill_range(struct fill *f, const struct range *r, struct ls_err *e)
{
	const struct want *x = &f->want[r->first];
	const struct ls_vfile *file = x->w.file;
	uint64_t base = ls_where_off(&x->w);
	struct ls_get g = { .off = base,
		.len = end_of(&x[r->n - 1]) - base,
		.if_match = file->etag[0] ? file->etag : NULL };
	struct ls_buf b = LS_BUF_INIT((size_t)g.len);
	uint8_t *page = ls_alloc(f->v->page_size);
	enum ls_rc rc;

	if (page == NULL)
		return ls_err_nomem(e);
	rc = ls_store_get(ls_replica_store(ls_vdb_replica(f->h->d)), file->key,
	    &g, &b, NULL, &f->call, e);
	for (size_t i = 0; rc == LS_OK && i < r->n; i++)
		rc = write_page(f, &x[i], ls_buf_span(&b), base, page, e);
	ls_buf_free(&b);
	ls_free(page);
	return rc;
}

static void
fill_job(void *arg, size_t i)
{
	struct fill *f = arg;
	struct ls_err e = { 0 };
	bool failed;

	(void)pthread_mutex_lock(&f->mu);
	failed = f->err.rc != LS_OK;
	(void)pthread_mutex_unlock(&f->mu);
	if (failed)
		return;
	ls_fetch_yield(ls_vdb_fetch(f->h->d), &f->call);
	if (fill_range(f, &f->range[i], &e) == LS_OK)
		return;
	(void)pthread_mutex_lock(&f->mu);
	f->err = e;
	(void)pthread_mutex_unlock(&f->mu);
}

/* Bring in what v has and we have not. *left: pages that wait for older
 * transactions. */
static enum ls_rc
fill(struct ls_hydrate *h, struct ls_ver *v, size_t *left, struct ls_err *e)
{
	struct fill f = { .h = h,
		.v = v,
		.spare = ls_vdb_older_readers(h->d, v),
		.call = {
		    &h->cancel, ls_sys->mono_ns() + FILL_SECONDS * LS_SEC } };
	enum ls_rc rc;

	(void)pthread_mutex_init(&f.mu, NULL);
	if ((rc = fit(h, v, e)) == LS_OK &&
	    (rc = find_wants(&f, left, e)) == LS_OK &&
	    (rc = find_ranges(&f, e)) == LS_OK) {
		ls_guest_par.run(
		    &ls_guest_par, f.nrange, AT_ONCE, fill_job, &f);
		if ((rc = f.err.rc) != LS_OK && e != NULL)
			*e = f.err;
	}
	ls_free(f.want);
	ls_free(f.range);
	(void)pthread_mutex_destroy(&f.mu);
	return rc;
}

/* ---- the mark -------------------------------------------------------------*/

struct mark {
	unsigned long long txid, lineage;
	long long timestamp_ms;
	unsigned page_size, commit;
};

static enum ls_rc
write_mark(struct ls_hydrate *h, const struct ls_ver *v, struct ls_err *e)
{
	char text[160];
	enum ls_rc rc;

	if (h->temporary)
		return LS_OK;
	if ((rc = ls_fsync(h->fd, h->path, e)) != LS_OK)
		return rc;
	(void)snprintf(text, sizeof text, "%llu\n%lld %016llx %u %u\n",
	    (unsigned long long)v->txid, (long long)v->timestamp_ms,
	    (unsigned long long)v->lineage, v->page_size, v->commit);
	return ls_publish(h->meta, LS_SPAN_STR(text), 0600, e);
}

static bool
read_mark(struct ls_hydrate *h, struct mark *m)
{
	struct ls_buf b = LS_BUF_INIT(256);
	bool ok;

	ok = !h->temporary && ls_read_file(h->meta, 200, &b, NULL) == LS_OK &&
	     sscanf(ls_buf_str(&b), "%llu %lld %llx %u %u", &m->txid,
		 &m->timestamp_ms, &m->lineage, &m->page_size, &m->commit) == 5;
	ls_buf_free(&b);
	return ok;
}

/* (4) */
static void
resume(struct ls_hydrate *h, const struct ls_ver *v)
{
	struct mark m;
	struct ls_where w;
	uint32_t n = 0;

	if (!read_mark(h, &m) || m.page_size != v->page_size ||
	    m.txid > v->txid || m.timestamp_ms > v->timestamp_ms ||
	    (m.lineage != 0 && v->lineage != 0 && m.lineage != v->lineage) ||
	    ls_file_size(h->path) < (int64_t)m.commit * (int64_t)m.page_size ||
	    fit(h, v, NULL) != LS_OK)
		return;
	for (uint32_t p = 1; p <= v->commit && p <= m.commit; p++)
		if (ls_ver_find(v, p, &w) && w.file->h.max_txid <= m.txid &&
		    w.file->h.timestamp_ms <= m.timestamp_ms) {
			set_source(h, p, w.file->serial);
			n++;
		}
	ls_debug("hydration file resumed",
	    LS_ATTRS(LS_S("path", h->path), LS_U("pages", n)));
}

/* ---- the thread -----------------------------------------------------------*/

/* All of v is here: make it so on disk. */
static enum ls_rc
settle(struct ls_hydrate *h, const struct ls_ver *v, struct ls_err *e)
{
	off_t size = (off_t)v->commit * (off_t)v->page_size;

	(void)pthread_mutex_lock(&h->mu);
	for (uint32_t p = v->commit; p < h->nsrc; p++)
		h->src[p] = 0;
	h->valid = h->total = v->commit;
	(void)pthread_mutex_unlock(&h->mu);
	if (ls_sys->ftruncate(h->fd, size) != 0)
		return ls_err_sys(e, errno, "truncate %s", h->path);
	return write_mark(h, v, e);
}

/* One round. *again_ns: when to come back without being called, 0: never. */
static enum ls_rc
hydrate_round(struct ls_hydrate *h, uint64_t *again_ns, struct ls_err *e)
{
	struct ls_ver *v = ls_vdb_stored(h->d), *fresh = NULL;
	size_t left = 0;
	enum ls_rc rc;

	*again_ns = 0;
	if (v == NULL)
		return LS_OK;
	rc = fill(h, v, &left, e);
	if (rc == LS_ENOTFOUND || rc == LS_ECHANGED) {
		if ((rc = ls_vdb_replan(h->d, v, &fresh, e)) == LS_OK)
			*again_ns = 1;
		ls_ver_unref(fresh);
	} else if (rc == LS_OK && (left > 0 || ls_vdb_older_readers(h->d, v))) {
		*again_ns = LS_SEC / 4;
	} else if (rc == LS_OK) {
		rc = settle(h, v, e);
	}
	ls_ver_unref(v);
	return rc;
}

static void *
hydrator(void *arg)
{
	struct ls_hydrate *h = arg;
	struct ls_ver *v = ls_vdb_stored(h->d);
	struct ls_log_limit said = { 0 };
	uint64_t again_ns;

	if (v != NULL)
		resume(h, v);
	ls_ver_unref(v);
	(void)pthread_mutex_lock(&h->mu);
	while (!h->stop) {
		struct ls_err e = { 0 };
		enum ls_rc rc;

		h->moved = false;
		(void)pthread_mutex_unlock(&h->mu);
		rc = hydrate_round(h, &again_ns, &e);
		if (rc != LS_OK && rc != LS_ECANCELED &&
		    ls_log_due(&said, 30 * LS_SEC))
			ls_warn("cannot hydrate",
			    LS_ATTRS(LS_S("path", h->path), LS_E(&e)));
		if (rc != LS_OK)
			again_ns = LS_SEC;
		(void)pthread_mutex_lock(&h->mu);
		if (again_ns != 0)
			again_ns += ls_sys->mono_ns();
		while (!h->stop && !h->moved &&
		       (again_ns == 0 || ls_sys->mono_ns() < again_ns))
			if (again_ns == 0)
				(void)pthread_cond_wait(&h->wake, &h->mu);
			else
				ls_guest_wait(&h->wake, &h->mu, again_ns);
	}
	(void)pthread_mutex_unlock(&h->mu);
	return NULL;
}

/* ---- life -----------------------------------------------------------------*/

static enum ls_rc
open_temporary(struct ls_hydrate *h, struct ls_err *e)
{
	const char *dir = getenv("TMPDIR");

	h->temporary = true;
	h->path = ls_asprintf("%s/litestream-vfs-%ld-%llx",
	    dir && dir[0] ? dir : "/tmp", (long)getpid(),
	    (unsigned long long)ls_sys->mono_ns());
	if (h->path == NULL)
		return ls_err_nomem(e);
	return ls_open(
	    h->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &h->fd, e);
}

/* One process a path: a lock on a file beside it. */
static enum ls_rc
open_persistent(struct ls_hydrate *h, const char *path, struct ls_err *e)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char *lock = ls_asprintf("%s.lock", path);
	enum ls_rc rc;

	h->path = ls_strdup(path);
	h->meta = ls_asprintf("%s.meta", path);
	if (lock == NULL || h->path == NULL || h->meta == NULL)
		rc = ls_err_nomem(e);
	else if ((rc = ls_open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600,
		      &h->lock_fd, e)) == LS_OK &&
		 ls_sys->lock_range(h->lock_fd, &all) != 0)
		rc = ls_err_set(
		    e, LS_ELOCKED, "another process hydrates to %s", path);
	if (rc == LS_OK)
		rc = ls_open(
		    path, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &h->fd, e);
	ls_free(lock);
	return rc;
}

static void
hydrate_close(struct ls_hydrate *h)
{
	struct flock none = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (h->fd >= 0)
		(void)ls_sys->close(h->fd);
	if (h->temporary && h->fd >= 0)
		(void)ls_sys->unlink(h->path);
	if (h->lock_fd >= 0) { /* a fork has it open, too */
		(void)ls_sys->lock_range(h->lock_fd, &none);
		(void)ls_sys->close(h->lock_fd);
	}
	ls_cancel_fini(&h->cancel);
	(void)pthread_mutex_destroy(&h->mu);
	(void)pthread_cond_destroy(&h->wake);
	ls_free(h->src);
	ls_free(h->path);
	ls_free(h->meta);
	ls_free(h);
}

enum ls_rc
ls_hydrate_new(struct ls_vdb *d, const char *path, struct ls_hydrate **out,
    struct ls_err *e)
{
	struct ls_hydrate *h = ls_zalloc(sizeof *h);
	enum ls_rc rc;

	if (h == NULL)
		return ls_err_nomem(e);
	h->d = d;
	h->fd = h->lock_fd = h->cancel.fd = -1;
	(void)pthread_mutex_init(&h->mu, NULL);
	ls_guest_cond(&h->wake);
	if ((rc = ls_cancel_init(&h->cancel, e)) == LS_OK)
		rc = path ? open_persistent(h, path, e) : open_temporary(h, e);
	if (rc == LS_OK && !ls_guest_thread(&h->thread, hydrator, h))
		rc = ls_err_set(e, LS_EAGAIN, "no thread for hydration");
	if (rc != LS_OK) {
		hydrate_close(h);
		return ls_err_wrap(e, rc, "hydration");
	}
	*out = h;
	return LS_OK;
}

void
ls_hydrate_free(struct ls_hydrate *h)
{
	if (h == NULL)
		return;
	ls_cancel_set(&h->cancel);
	(void)pthread_mutex_lock(&h->mu);
	h->stop = true;
	(void)pthread_cond_broadcast(&h->wake);
	(void)pthread_mutex_unlock(&h->mu);
	(void)pthread_join(h->thread, NULL);
	hydrate_close(h);
}

const char *
ls_hydrate_path(const struct ls_hydrate *h)
{
	return h->path;
}

void
ls_hydrate_progress(struct ls_hydrate *h, uint32_t *valid, uint32_t *total)
{
	(void)pthread_mutex_lock(&h->mu);
	*valid = h->valid;
	*total = h->total;
	(void)pthread_mutex_unlock(&h->mu);
}
