/* decode.c -- the parallel half of restore: ranges in, pages out.
 *
 * A file is cut into chunks, runs of whole frames of at most CHUNK bytes. Jobs
 * take chunks, get their bytes, decode, and write the pages whose newest
 * version they hold; neighbours go out in one write.
 *
 * (1) EVERY FILE IS READ WHOLE and its checksum verified, though it covers
 *     uncompressed pages in order: each chunk sums its own frames and the sums
 *     are combined. Only a large file of which less than a tenth is wanted is
 *     read in part, and only when the database checksum proves the result.
 *     (test: any_bit_flip_is_an_error_or_harmless)
 * (2) NO PAGE IS FORGOTTEN. A frame says which page it is. Page numbers must
 *     rise and stay inside what the index says of the chunk, so none is counted
 *     twice; the pages written of a file must be as many as it won.
 *     (test: frames_that_lie_are_refused)
 * (3) MEMORY IS BOUNDED: a chunk and a write buffer per job at work, whatever
 *     the size of the database. Buffers are handed on from job to job.
 * (4) THE FIRST ERROR ENDS ALL: the jobs that follow return at once.
 */
#include "replica/decode.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	CHUNK = 4 << 20,
	OUT = 512 << 10, /* at least one page of 64 KiB */
	GAP = 256 << 10, /* read over, rather than ask twice */
	FRAMING = LS_LTX_PAGE_HEADER + 4,
	IN_PART = 10, /* less than one page in ten wanted */
	STREAM_BLOCK = 1 << 20,
};

struct chunk {
	uint32_t file;
	uint32_t frames;
	uint32_t first, last; /* page numbers, by the index */
	uint64_t off, len;
	/* Results. */
	uint64_t crc, sum; /* of the frames; XOR of the won pages' checksums */
	uint64_t won;
};

struct bufs { /* of one job at work */
	struct bufs *next;
	struct ls_buf raw;
	uint8_t *out; /* pages [pgno, pgno + n) */
	uint32_t pgno, n;
	uint8_t scratch[LS_PAGE_MAX];
};

struct work {
	struct ls_chain *ch;
	int fd;
	const struct ls_restore_opts *o;
	struct chunk *v;
	size_t n, cap;
	bool sums; /* the newest file has a database checksum */
	uint64_t total;
	_Atomic uint64_t done;
	atomic_bool failed;
	pthread_t caller;   /* progress is told from this thread only */
	pthread_mutex_t mu; /* idle, rc, err */
	struct bufs *idle;
	enum ls_rc rc;
	struct ls_err err;
};

/* ---- chunks ---------------------------------------------------------------*/

static struct chunk *
chunk_add(struct work *w, size_t file, struct ls_err *e)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct chunk *v = ls_realloc(w->v, cap * sizeof *v);

		if (v == NULL) {
			(void)ls_err_nomem(e);
			return NULL;
		}
		w->v = v, w->cap = cap;
	}
	w->v[w->n] = (struct chunk){ .file = (uint32_t)file };
	return &w->v[w->n++];
}

static bool
wins(const struct ls_chain *ch, uint32_t pgno, size_t file)
{
	return pgno >= 1 && pgno <= ch->commit &&
	       ch->winner[pgno - 1] == file + 1;
}

/* Cut a file: all its frames, or (in part) the runs that hold won pages. */
static enum ls_rc
cut_file(struct work *w, size_t file, struct ls_err *e)
{
	struct ls_chain_file *cf = &w->ch->v[file];
	struct chunk *k = NULL;
	uint32_t pending = 0; /* frames behind the chunk, not wanted so far */

	cf->part = w->sums && cf->size > LS_CHAIN_SMALL &&
		   cf->wins * IN_PART < cf->idx.n;
	for (size_t i = 0; i < cf->idx.n; i++) {
		const struct ls_ltx_entry *x = &cf->idx.v[i];
		uint64_t end = x->off + x->size;

		pending++;
		if (cf->part && !wins(w->ch, x->pgno, file))
			continue;
		if (k == NULL || end - k->off > CHUNK ||
		    x->off - (k->off + k->len) > GAP) {
			if ((k = chunk_add(w, file, e)) == NULL)
				return LS_ENOMEM;
			k->off = x->off;
			k->first = x->pgno;
			pending = 1;
		}
		k->frames += pending, pending = 0;
		k->len = end - k->off;
		k->last = x->pgno;
	}
	return LS_OK;
}

/* A stream is one job. */
static enum ls_rc
cut_stream(struct work *w, size_t file, struct ls_err *e)
{
	struct chunk *k = chunk_add(w, file, e);

	if (k == NULL)
		return LS_ENOMEM;
	k->len = w->ch->v[file].size;
	return LS_OK;
}

static enum ls_rc
cut_all(struct work *w, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = w->ch->first; rc == LS_OK && i < w->ch->n; i++) {
		rc = w->ch->v[i].stream ? cut_stream(w, i, e)
					: cut_file(w, i, e);
		ls_ltx_index_fini(&w->ch->v[i].idx);
	}
	for (size_t i = 0; i < w->n; i++)
		w->total += w->v[i].len;
	return rc;
}

/* ---- buffers --------------------------------------------------------------*/

static struct bufs *
bufs_take(struct work *w)
{
	struct bufs *b;

	(void)pthread_mutex_lock(&w->mu);
	if ((b = w->idle) != NULL)
		w->idle = b->next;
	(void)pthread_mutex_unlock(&w->mu);
	if (b != NULL)
		return b;
	if ((b = ls_alloc(sizeof *b)) == NULL)
		return NULL;
	ls_buf_init(&b->raw, CHUNK);
	b->n = 0;
	if ((b->out = ls_alloc(OUT)) == NULL) {
		ls_free(b);
		return NULL;
	}
	return b;
}

static void
bufs_give(struct work *w, struct bufs *b)
{
	b->n = 0;
	(void)pthread_mutex_lock(&w->mu);
	b->next = w->idle;
	w->idle = b;
	(void)pthread_mutex_unlock(&w->mu);
}

static void
bufs_free(struct work *w)
{
	for (struct bufs *b = w->idle, *next; b != NULL; b = next) {
		next = b->next;
		ls_buf_free(&b->raw);
		ls_free(b->out);
		ls_free(b);
	}
}

/* ---- pages out ------------------------------------------------------------*/

static enum ls_rc
flush(const struct work *w, struct bufs *b, struct ls_err *e)
{
	size_t ps = w->ch->page_size;
	enum ls_rc rc;

	if (b->n == 0)
		return LS_OK;
	rc = ls_pwrite_all(
	    w->fd, b->out, b->n * ps, (uint64_t)(b->pgno - 1) * ps, e);
	b->n = 0;
	return ls_err_wrap(e, rc, "write %s.tmp", w->o->output);
}

/* Where page pgno is to be decoded to, in the write buffer. */
static enum ls_rc
slot(const struct work *w, struct bufs *b, uint32_t pgno, uint8_t **out,
    struct ls_err *e)
{
	size_t ps = w->ch->page_size;
	enum ls_rc rc;

	if ((b->n > 0 && pgno != b->pgno + b->n) || (b->n + 1) * ps > OUT)
		if ((rc = flush(w, b, e)) != LS_OK)
			return rc;
	if (b->n == 0)
		b->pgno = pgno;
	*out = b->out + b->n * ps;
	return LS_OK;
}

/* The page decoded into the slot is there. */
static void
slot_filled(const struct work *w, struct bufs *b, struct chunk *k,
    uint32_t pgno, const uint8_t *data)
{
	b->n++;
	k->won++;
	if (w->sums)
		k->sum ^=
		    ls_page_checksum(pgno, LS_SPAN(data, w->ch->page_size));
}

/* ---- one chunk ------------------------------------------------------------*/

static enum ls_rc
bad_frame(const struct ls_chain_file *cf, uint64_t off, struct ls_err *e)
{
	return ls_err_set(e, LS_ECORRUPT,
	    "%s: the page frame at %llu is not what the index says", cf->key,
	    (unsigned long long)off);
}

/* Decode the frame at p (of at most left bytes); *size: its bytes. */
static enum ls_rc
one_frame(const struct work *w, struct bufs *b, struct chunk *k,
    struct ls_span in, uint32_t *last, size_t *size, struct ls_err *e)
{
	const struct ls_chain_file *cf = &w->ch->v[k->file];
	uint64_t at = k->off + k->len - in.n;
	uint32_t pgno;
	uint8_t *to = b->scratch;
	bool won;
	enum ls_rc rc;

	if (in.n < FRAMING)
		return bad_frame(cf, at, e);
	pgno = ls_be32(in.p);
	*size = (size_t)FRAMING + ls_be32(in.p + LS_LTX_PAGE_HEADER);
	if (*size > in.n || pgno <= *last || pgno < k->first || pgno > k->last)
		return bad_frame(cf, at, e);
	*last = pgno;
	won = wins(w->ch, pgno, k->file);
	if (!won && cf->part)
		return LS_OK;
	if (won && (rc = slot(w, b, pgno, &to, e)) != LS_OK)
		return rc;
	rc = ls_ltx_frame_decode(
	    LS_SPAN(in.p, *size), cf->z, pgno, w->ch->page_size, to, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "%s", cf->key);
	k->crc =
	    ls_crc64(ls_crc64(k->crc, in.p, FRAMING), to, w->ch->page_size);
	if (won)
		slot_filled(w, b, k, pgno, to);
	return LS_OK;
}

static enum ls_rc
chunk_bytes(struct work *w, struct bufs *b, const struct chunk *k,
    struct ls_span *in, struct ls_err *e)
{
	const struct ls_chain_file *cf = &w->ch->v[k->file];
	enum ls_rc rc;

	if (cf->whole.n > 0) {
		*in = LS_SPAN(cf->whole.p + k->off, k->len);
		return LS_OK;
	}
	if ((rc = ls_chain_get(w->ch, cf, k->off, k->len, &b->raw, e)))
		return rc;
	*in = ls_buf_span(&b->raw);
	return LS_OK;
}

static enum ls_rc
do_chunk(struct work *w, struct bufs *b, struct chunk *k, struct ls_err *e)
{
	struct ls_span in;
	uint32_t last = 0;
	enum ls_rc rc;

	if ((rc = chunk_bytes(w, b, k, &in, e)) != LS_OK)
		return rc;
	for (uint32_t i = 0; i < k->frames; i++) {
		size_t size = 0;

		rc = one_frame(w, b, k, in, &last, &size, e);
		if (rc != LS_OK)
			return rc;
		in.p += size, in.n -= size;
	}
	if (in.n != 0)
		return bad_frame(&w->ch->v[k->file], k->off + k->len - in.n, e);
	return flush(w, b, e);
}

/* A whole file, frame after frame: its reader verifies it. */
static enum ls_rc
do_stream(struct work *w, struct bufs *b, struct chunk *k, struct ls_err *e)
{
	const struct ls_chain_file *cf = &w->ch->v[k->file];
	struct ls_ranged s;
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	uint8_t *to;
	enum ls_rc rc;

	ls_ranged_init(&s, w->ch, cf, STREAM_BLOCK);
	rc = ls_ltx_reader_open(ls_ranged_source, &s, &r, e);
	while (rc == LS_OK && !atomic_load(&w->failed) &&
	       (rc = ls_ltx_reader_next(r, &pg, e)) == LS_OK) {
		if (!wins(w->ch, pg.pgno, k->file))
			continue;
		if ((rc = slot(w, b, pg.pgno, &to, e)) != LS_OK)
			break;
		memcpy(to, pg.data, w->ch->page_size);
		slot_filled(w, b, k, pg.pgno, to);
	}
	if (rc == LS_ENOTFOUND && ls_ltx_reader_at_end(r))
		rc = ls_ltx_reader_finish(r, e);
	ls_ltx_reader_free(r);
	ls_ranged_fini(&s);
	return rc != LS_OK ? ls_err_wrap(e, rc, "%s", cf->key) : flush(w, b, e);
}

static void
fail(struct work *w, enum ls_rc rc, const struct ls_err *e)
{
	(void)pthread_mutex_lock(&w->mu);
	if (w->rc == LS_OK)
		w->rc = rc, w->err = *e;
	(void)pthread_mutex_unlock(&w->mu);
	atomic_store(&w->failed, true);
}

static void
chunk_job(void *arg, size_t i)
{
	struct work *w = arg;
	struct chunk *k = &w->v[i];
	struct ls_err e = { 0 };
	struct bufs *b;
	uint64_t done;
	enum ls_rc rc;

	if (atomic_load(&w->failed))
		return;
	if ((rc = ls_call_check(w->ch->c, &e)) != LS_OK) {
		fail(w, rc, &e);
		return;
	}
	if ((b = bufs_take(w)) == NULL) {
		fail(w, ls_err_nomem(&e), &e);
		return;
	}
	rc = w->ch->v[k->file].stream ? do_stream(w, b, k, &e)
				      : do_chunk(w, b, k, &e);
	bufs_give(w, b);
	if (rc != LS_OK)
		fail(w, rc, &e);
	done = atomic_fetch_add(&w->done, k->len) + k->len;
	if (w->o->progress != NULL && pthread_equal(pthread_self(), w->caller))
		w->o->progress(w->o->progress_arg, done, w->total);
}

/* ---- the proofs -----------------------------------------------------------*/

/* The chunks of one file are neighbours in v: from *at on. */
static enum ls_rc
check_file(const struct work *w, size_t file, size_t *at, struct ls_err *e)
{
	const struct ls_chain_file *cf = &w->ch->v[file];
	uint64_t crc = cf->head_crc, won = 0;
	uint64_t frame = FRAMING + (uint64_t)w->ch->page_size;

	for (; *at < w->n && w->v[*at].file == file; ++*at) {
		const struct chunk *k = &w->v[*at];

		won += k->won;
		crc = ls_crc64_combine(crc, k->crc, k->frames * frame);
	}
	if (won != cf->wins)
		return ls_err_set(e, LS_ECORRUPT,
		    "%s: %llu of %llu pages found", cf->key,
		    (unsigned long long)won, (unsigned long long)cf->wins);
	if (cf->stream || cf->part)
		return LS_OK;
	crc = ls_crc64_combine(crc, cf->tail_crc, cf->tail_len);
	if ((LS_CHECKSUM_FLAG | crc) != cf->checksum)
		return ls_err_set(
		    e, LS_ECORRUPT, "%s: file checksum mismatch", cf->key);
	return LS_OK;
}

static enum ls_rc
check_all(const struct work *w, struct ls_err *e)
{
	const struct ls_chain *ch = w->ch;
	const struct ls_ltx_header *h = &ch->v[ch->n - 1].h;
	uint64_t sum = 0;
	size_t at = 0;
	enum ls_rc rc;

	for (size_t i = ch->first; i < ch->n; i++)
		if ((rc = check_file(w, i, &at, e)) != LS_OK)
			return rc;
	for (size_t i = 0; i < w->n; i++)
		sum ^= w->v[i].sum;
	if (w->sums &&
	    (sum | LS_CHECKSUM_FLAG) != (h->db_checksum | LS_CHECKSUM_FLAG))
		return ls_err_set(e, LS_ECORRUPT,
		    "restored state does not have the database checksum");
	return LS_OK;
}

enum ls_rc
ls_decode_chain(struct ls_chain *ch, int fd, const struct ls_restore_opts *o,
    bool *proved, struct ls_err *e)
{
	const struct ls_par *par = o->par ? o->par : &ls_par_serial;
	struct work w = { .ch = ch, .fd = fd, .o = o };
	enum ls_rc rc;

	w.sums = ch->v[ch->n - 1].h.has_db_checksum;
	w.caller = pthread_self();
	(void)pthread_mutex_init(&w.mu, NULL);
	if ((rc = cut_all(&w, e)) == LS_OK)
		par->run(par, w.n, o->parallelism ? o->parallelism : 1,
		    chunk_job, &w);
	if (rc == LS_OK && (rc = w.rc) != LS_OK && e != NULL)
		*e = w.err;
	if (rc == LS_OK)
		rc = check_all(&w, e);
	if (rc == LS_OK) {
		*proved = w.sums;
		if (o->progress != NULL)
			o->progress(o->progress_arg, w.total, w.total);
	}
	bufs_free(&w);
	ls_free(w.v);
	(void)pthread_mutex_destroy(&w.mu);
	return rc;
}
