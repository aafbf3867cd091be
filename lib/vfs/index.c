/* index.c -- versions of a database. See index.h.
 *
 * (1) A PUBLISHED VERSION NEVER CHANGES, so a reader that holds one sees one
 *     TXID for as long as it likes. The page table is cut into chunks that
 *     versions share; a change copies the chunks that it touches. A version a
 *     second therefore costs what changed, not the size of the database.
 *     (test: versions_are_immutable)
 * (2) A PAGE'S NEWEST FRAME IS DECIDED BY TXID: files are put over a version
 *     in the order of their chain only, never in that of a listing. The caller
 *     shows that the file continues the version.
 *     (test: index_equals_model_at_every_txid)
 * (3) THE SIZE IS `commit`. A shrink forgets the pages above it at once, and a
 *     file that grows the database again must bring them all.
 *     (test: shrink_forgets, incomplete_growth_is_refused)
 * (4) WHAT WAS WRITTEN HERE lies over the stored state in the same way, page
 *     by page, in files that are transactions of the write buffer; so a reader
 *     beside the writer is as safe as one beside the poller.
 *     (test: prepared_is_seen_by_nobody)
 * (5) A FILE LIVES AS LONG AS AN INDEX POINTS INTO IT: one reference an entry,
 *     counted in runs under one lock, so that a reader that follows for weeks
 *     does not keep the names of weeks. (test: files_go_with_their_last_page)
 *
 * Memory: 16 bytes a page, in chunks of 8 KiB.
 */
#include "vfs/index.h"

#include "base/bytes.h"
#include "base/sys.h"

struct ls_chunk {
	_Atomic uint32_t refs;
	struct ls_where e[LS_CHUNK];
};

/* ---- files ----------------------------------------------------------------*/

struct ls_local *
ls_local_new(int fd)
{
	struct ls_local *l = ls_alloc(sizeof *l);

	if (l == NULL) {
		(void)ls_sys->close(fd);
		return NULL;
	}
	atomic_init(&l->refs, 1);
	l->fd = fd;
	return l;
}

struct ls_local *
ls_local_ref(struct ls_local *l)
{
	(void)atomic_fetch_add(&l->refs, 1);
	return l;
}

void
ls_local_unref(struct ls_local *l)
{
	if (l == NULL || atomic_fetch_sub(&l->refs, 1) > 1)
		return;
	(void)ls_sys->close(l->fd);
	ls_free(l);
}

void
ls_vfiles_init(struct ls_vfiles *s)
{
	memset(s, 0, sizeof *s);
	(void)pthread_mutex_init(&s->mu, NULL);
}

void
ls_vfiles_fini(struct ls_vfiles *s)
{
	(void)pthread_mutex_destroy(&s->mu);
}

static struct ls_vfile **
bucket_of(struct ls_vfiles *s, const struct ls_file *f)
{
	uint64_t x = f->max_txid * 0x9e3779b97f4a7c15u ^ f->min_txid ^
		     (uint64_t)f->level;

	return &s->hash[(x ^ x >> 32) % LS_COUNT(s->hash)];
}

static struct ls_vfile *
find_locked(struct ls_vfiles *s, const struct ls_file *f)
{
	struct ls_vfile *v = *bucket_of(s, f);

	for (; v != NULL; v = v->next)
		if (v->f.max_txid == f->max_txid &&
		    v->f.min_txid == f->min_txid && v->f.level == f->level &&
		    v->f.size == f->size && v->f.created_ns == f->created_ns)
			return v;
	return NULL;
}

struct ls_vfile *
ls_vfiles_find(struct ls_vfiles *s, const struct ls_file *f)
{
	struct ls_vfile *v;

	(void)pthread_mutex_lock(&s->mu);
	if ((v = find_locked(s, f)) != NULL)
		v->refs++;
	(void)pthread_mutex_unlock(&s->mu);
	return v;
}

struct ls_vfile *
ls_vfiles_add(struct ls_vfiles *s, const struct ls_vfile *like)
{
	struct ls_vfile *v = ls_alloc(sizeof *v), *old, **b;

	if (v == NULL)
		return NULL;
	*v = *like;
	if (v->z != NULL)
		(void)ls_zdict_ref(v->z);
	(void)pthread_mutex_lock(&s->mu);
	if ((old = find_locked(s, &like->f)) != NULL) {
		old->refs++;
	} else {
		if (v->local != NULL)
			(void)ls_local_ref(v->local);
		v->serial = ++s->serial;
		v->refs = 1;
		b = bucket_of(s, &v->f);
		v->next = *b;
		*b = v;
		s->n++;
	}
	(void)pthread_mutex_unlock(&s->mu);
	if (old != NULL) {
		ls_zdict_unref(v->z);
		ls_free(v);
	}
	return old ? old : v;
}

static void
unref_locked(struct ls_vfiles *s, struct ls_vfile *f, uint64_t n)
{
	struct ls_vfile **p;

	if ((f->refs -= n) > 0)
		return;
	for (p = bucket_of(s, &f->f); *p != f; p = &(*p)->next)
		;
	*p = f->next;
	s->n--;
	ls_local_unref(f->local);
	ls_zdict_unref(f->z);
	ls_free(f);
}

void
ls_vfile_ref(struct ls_vfiles *s, struct ls_vfile *f, uint64_t n)
{
	(void)pthread_mutex_lock(&s->mu);
	f->refs += n;
	(void)pthread_mutex_unlock(&s->mu);
}

void
ls_vfile_unref(struct ls_vfiles *s, struct ls_vfile *f, uint64_t n)
{
	(void)pthread_mutex_lock(&s->mu);
	unref_locked(s, f, n);
	(void)pthread_mutex_unlock(&s->mu);
}

/* ---- chunks ---------------------------------------------------------------*/

/* Forget entries [from, LS_CHUNK). */
static void
chunk_clear(struct ls_vfiles *s, struct ls_chunk *c, size_t from)
{
	(void)pthread_mutex_lock(&s->mu);
	for (size_t i = from, n; i < LS_CHUNK; i += n) {
		struct ls_vfile *f = c->e[i].file;

		for (n = 1; i + n < LS_CHUNK && c->e[i + n].file == f; n++)
			;
		if (f != NULL)
			unref_locked(s, f, n);
	}
	(void)pthread_mutex_unlock(&s->mu);
	memset(&c->e[from], 0, (LS_CHUNK - from) * sizeof c->e[0]);
}

static void
chunk_unref(struct ls_vfiles *s, struct ls_chunk *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	chunk_clear(s, c, 0);
	ls_free(c);
}

static struct ls_chunk *
chunk_clone(struct ls_vfiles *s, const struct ls_chunk *from)
{
	struct ls_chunk *c = ls_alloc(sizeof *c);

	if (c == NULL)
		return NULL;
	memcpy(c->e, from->e, sizeof c->e);
	atomic_init(&c->refs, 1);
	(void)pthread_mutex_lock(&s->mu);
	for (size_t i = 0, n; i < LS_CHUNK; i += n) {
		struct ls_vfile *f = c->e[i].file;

		for (n = 1; i + n < LS_CHUNK && c->e[i + n].file == f; n++)
			;
		if (f != NULL)
			f->refs += n;
	}
	(void)pthread_mutex_unlock(&s->mu);
	return c;
}

/* Chunk i, ours alone. */
static enum ls_rc
chunk_own(struct ls_ver *v, size_t i, struct ls_chunk **out, struct ls_err *e)
{
	struct ls_chunk *c = v->chunk[i];

	if (c == NULL) {
		if ((c = ls_zalloc(sizeof *c)) == NULL)
			return ls_err_nomem(e);
		atomic_init(&c->refs, 1);
		v->chunk[i] = c;
	} else if (atomic_load(&c->refs) > 1) {
		struct ls_chunk *own = chunk_clone(v->files, c);

		if (own == NULL)
			return ls_err_nomem(e);
		v->chunk[i] = own;
		chunk_unref(v->files, c);
	}
	*out = v->chunk[i];
	return LS_OK;
}

/* ---- versions -------------------------------------------------------------*/

enum ls_rc
ls_ver_new(struct ls_vfiles *files, uint32_t page_size, struct ls_cache *cache,
    struct ls_ver **out, struct ls_err *e)
{
	struct ls_ver *v = ls_zalloc(sizeof *v);

	if (v == NULL)
		return ls_err_nomem(e);
	atomic_init(&v->refs, 1);
	v->files = files;
	v->page_size = page_size;
	v->cache = cache ? ls_cache_ref(cache) : NULL;
	*out = v;
	return LS_OK;
}

enum ls_rc
ls_ver_copy(const struct ls_ver *from, struct ls_ver **out, struct ls_err *e)
{
	struct ls_ver *v;
	enum ls_rc rc =
	    ls_ver_new(from->files, from->page_size, from->cache, &v, e);

	if (rc != LS_OK)
		return rc;
	v->txid = from->txid;
	v->timestamp_ms = from->timestamp_ms;
	v->lineage = from->lineage;
	v->epoch = from->epoch;
	v->commit = from->commit;
	v->content = from->content;
	v->tip = from->tip;
	v->chunk = ls_alloc((from->nchunks + 1) * sizeof *v->chunk);
	if (v->chunk == NULL) {
		ls_ver_unref(v);
		return ls_err_nomem(e);
	}
	v->nchunks = from->nchunks;
	for (size_t i = 0; i < v->nchunks; i++) {
		v->chunk[i] = from->chunk[i];
		if (v->chunk[i] != NULL)
			(void)atomic_fetch_add(&v->chunk[i]->refs, 1);
	}
	*out = v;
	return LS_OK;
}

struct ls_ver *
ls_ver_ref(struct ls_ver *v)
{
	(void)atomic_fetch_add(&v->refs, 1);
	return v;
}

void
ls_ver_unref(struct ls_ver *v)
{
	if (v == NULL || atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	for (size_t i = 0; i < v->nchunks; i++)
		chunk_unref(v->files, v->chunk[i]);
	ls_cache_unref(v->cache);
	ls_free(v->chunk);
	ls_free(v);
}

bool
ls_ver_find(const struct ls_ver *v, uint32_t pgno, struct ls_where *out)
{
	size_t i = (pgno - 1) / LS_CHUNK;

	if (pgno == 0 || pgno > v->commit || i >= v->nchunks ||
	    v->chunk[i] == NULL)
		return false;
	*out = v->chunk[i]->e[(pgno - 1) % LS_CHUNK];
	return out->file != NULL;
}

bool
ls_ver_shares(const struct ls_ver *a, const struct ls_ver *b, uint32_t pgno)
{
	size_t i = (pgno - 1) / LS_CHUNK;

	return i < a->nchunks && i < b->nchunks && a->chunk[i] == b->chunk[i];
}

static enum ls_rc
resize(struct ls_ver *v, uint32_t commit, struct ls_err *e)
{
	size_t n = ((size_t)commit + LS_CHUNK - 1) / LS_CHUNK;
	size_t edge = commit % LS_CHUNK;
	struct ls_chunk **p, *last;
	enum ls_rc rc;

	for (; v->nchunks > n; v->nchunks--)
		chunk_unref(v->files, v->chunk[v->nchunks - 1]);
	if (commit < v->commit && edge > 0 && n <= v->nchunks) {
		if ((rc = chunk_own(v, n - 1, &last, e)) != LS_OK)
			return rc;
		chunk_clear(v->files, last, edge);
	}
	if (n > v->nchunks) {
		p = ls_realloc(v->chunk, n * sizeof *p);
		if (p == NULL)
			return ls_err_nomem(e);
		memset(p + v->nchunks, 0, (n - v->nchunks) * sizeof *p);
		v->chunk = p;
		v->nchunks = n;
	}
	v->commit = commit;
	return LS_OK;
}

/* A header's page count alone must not size an allocation: what the file grows
 * by, it has to bring. */
static enum ls_rc
check_growth(const struct ls_ver *v, const struct ls_vfile *f,
    const struct ls_ltx_index *idx, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size), want = v->commit + 1;
	const struct ls_ltx_entry *x = idx->v, *end = x + idx->n;

	while (x < end && x->pgno < want)
		x++;
	for (; want <= f->h.commit && want != 0; want++) {
		if (want == lock)
			continue;
		if (x == end || x->pgno != want)
			return ls_err_set(e, LS_ECORRUPT,
			    "%s grows the database to %u pages without page "
			    "%u",
			    f->key, f->h.commit, want);
		x++;
	}
	return LS_OK;
}

/* Point pgno at w. Takes a reference of its file, not after an error. */
static enum ls_rc
point(struct ls_ver *v, uint32_t pgno, struct ls_where w, struct ls_err *e)
{
	struct ls_chunk *c;
	struct ls_vfile *old;
	enum ls_rc rc = chunk_own(v, (pgno - 1) / LS_CHUNK, &c, e);

	if (rc != LS_OK)
		return rc;
	old = c->e[(pgno - 1) % LS_CHUNK].file;
	c->e[(pgno - 1) % LS_CHUNK] = w;
	if (old != NULL)
		ls_vfile_unref(v->files, old, 1);
	return LS_OK;
}

static enum ls_rc
point_ref(struct ls_ver *v, uint32_t pgno, struct ls_where w, struct ls_err *e)
{
	enum ls_rc rc;

	ls_vfile_ref(v->files, w.file, 1);
	if ((rc = point(v, pgno, w, e)) != LS_OK)
		ls_vfile_unref(v->files, w.file, 1);
	return rc;
}

/* Takes a reference for each of *n pages. */
static enum ls_rc
point_all(struct ls_ver *v, struct ls_vfile *file,
    const struct ls_ltx_index *idx, size_t *n, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size);
	enum ls_rc rc;

	for (*n = 0; *n < idx->n; ++*n) {
		const struct ls_ltx_entry *x = &idx->v[*n];
		struct ls_where w = { file, x->off << 17 | x->size };

		if (x->pgno == lock || x->pgno == 0 || x->off >> 47 != 0 ||
		    x->size >> 17 != 0)
			return ls_err_set(e, LS_ECORRUPT,
			    "%s: page %u has an impossible place", file->key,
			    x->pgno);
		if (x->pgno > v->commit)
			break;
		if ((rc = point(v, x->pgno, w, e)) != LS_OK)
			return rc;
	}
	return LS_OK;
}

enum ls_rc
ls_ver_apply(struct ls_ver *v, struct ls_vfile *file,
    const struct ls_ltx_index *idx, struct ls_err *e)
{
	size_t n;
	enum ls_rc rc;

	if (file->h.page_size != v->page_size)
		return ls_err_set(e, LS_EGAP,
		    "%s has pages of %u bytes, not %u", file->key,
		    file->h.page_size, v->page_size);
	if ((rc = check_growth(v, file, idx, e)) != LS_OK ||
	    (rc = resize(v, file->h.commit, e)) != LS_OK)
		return rc;
	ls_vfile_ref(v->files, file, idx->n); /* at once: a lock each costs */
	rc = point_all(v, file, idx, &n, e);
	ls_vfile_unref(v->files, file, idx->n - n);
	if (rc != LS_OK)
		return rc;
	if (file->local != NULL)
		return LS_OK; /* the stored state beneath stays what it is */
	v->txid = file->h.max_txid;
	v->timestamp_ms = file->h.timestamp_ms;
	v->tip = file->f;
	if (file->h.node_id != 0)
		v->lineage = file->h.node_id;
	return LS_OK;
}

enum ls_rc
ls_ver_check(const struct ls_ver *v, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(v->page_size);
	struct ls_where w;

	for (uint32_t p = 1; p <= v->commit && p != 0; p++)
		if (p != lock && !ls_ver_find(v, p, &w))
			return ls_err_set(e, LS_ECORRUPT,
			    "page %u of %u is in no file of the chain", p,
			    v->commit);
	return LS_OK;
}

bool
ls_ver_predates(const struct ls_vfile *f, const struct ls_ver *v)
{
	return f->h.timestamp_ms <= v->timestamp_ms ||
	       (f->f.level == LS_SNAPSHOT_LEVEL && f->h.max_txid == v->txid);
}

enum ls_rc
ls_ver_rescue(struct ls_ver *v, const struct ls_ver *newer, struct ls_err *e)
{
	struct ls_where was, is;
	enum ls_rc rc;

	for (uint32_t p = 1; p <= v->commit && p != 0; p++) {
		if (!ls_ver_find(v, p, &was) || !ls_ver_find(newer, p, &is) ||
		    is.file == was.file || was.file->local != NULL ||
		    is.file->local != NULL || is.file->h.max_txid > v->txid ||
		    !ls_ver_predates(is.file, v))
			continue;
		if ((rc = point_ref(v, p, is, e)) != LS_OK)
			return rc;
	}
	return LS_OK;
}

enum ls_rc
ls_ver_overlay(struct ls_ver *v, const struct ls_ver *over, uint64_t from,
    struct ls_err *e)
{
	struct ls_where w;
	enum ls_rc rc = resize(v, over->commit, e);

	for (uint32_t p = 1; rc == LS_OK && p <= over->commit && p != 0; p++) {
		if ((p - 1) % LS_CHUNK == 0 && ls_ver_shares(v, over, p)) {
			p += LS_CHUNK - 1;
			continue;
		}
		if (ls_ver_find(over, p, &w) && w.file->local != NULL &&
		    w.file->f.max_txid >= from)
			rc = point_ref(v, p, w, e);
	}
	return rc;
}
