/* push.c -- what was committed here goes to the store. See own.h.
 *
 * (1) ONE FILE A PUSH: all that was committed since the last one becomes one
 *     LTX file with the next TXID, as upstream's. A file a transaction would
 *     cost a request each, and a TXID is what the fence is about: one put in
 *     flight, settled before the next is made. (test: a_new_database_is_written_and_restored)
 * (2) WHAT WAS SENT IS SENT AGAIN, BYTE FOR BYTE. The file is made beside the
 *     buffer, synced, and noted there (sealed) before the first byte leaves. A
 *     later process, too, can tell its own object from another's so.
 *     (test: replay_only_onto_its_base)
 * (3) THE FENCE IS THE UPLOADER'S (lib/replica/upload.c): if-absent on the
 *     TXID, the newest over all levels where that does not suffice, lost
 *     answers settled. The first push of a process lists before it puts, and
 *     the store must be at our base. Another's object ends the writing: the
 *     buffer is set aside, and what is stored is shown again.
 *     (test: loser_is_told_and_keeps_its_buffer)
 * (4) AN ISOLATED COMMIT GOES AT ONCE; further ones wait until an interval has
 *     passed since the last push began. Failures are retried with back-off.
 * (5) OUR OWN PAGES ARE NOT FETCHED AGAIN: they go into the cache under the
 *     name of the stored file before that is published.
 */
#include "vfs/own_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "vfs/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	PUSH_SECONDS = 60,
	STOP_SECONDS = 20,
	BACKOFF_MOST = 30,
	ROTATE_BYTES = 16 << 20,
	OUT_BYTES = 256 << 10,
};

/* A file that is being pushed. */
struct job {
	uint64_t seq, txid; /* its last transaction */
	struct ls_ver *stored;
	struct ls_ltx_header h;
	struct ls_rec **rec; /* of its transactions, oldest first */
	size_t nrec;
	struct from {
		uint32_t pgno, rec, at;
	} * page; /* ascending; each the newest */
	size_t npages;
};

static const char *
put_path(const struct ls_own *w)
{
	return w->put ? w->put : ls_journal_put_path(w->j);
}

static void
job_fini(struct job *b)
{
	ls_ver_unref(b->stored);
	ls_free(b->rec);
	ls_free(b->page);
}

/* ---- the file -------------------------------------------------------------*/

static int
by_page(const void *a, const void *b)
{
	const struct from *x = a, *y = b;

	if (x->pgno != y->pgno)
		return x->pgno < y->pgno ? -1 : 1;
	return (x->rec < y->rec) - (x->rec > y->rec); /* newest first */
}

static enum ls_rc
merge(struct job *b, struct ls_err *e)
{
	uint32_t commit = b->rec[b->nrec - 1]->j.commit;
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < b->nrec; i++)
		n += b->rec[i]->j.n;
	if ((b->page = ls_alloc((n + 1) * sizeof *b->page)) == NULL)
		return ls_err_nomem(e);
	n = 0;
	for (size_t i = 0; i < b->nrec; i++)
		for (uint32_t k = 0; k < b->rec[i]->j.n; k++)
			if (b->rec[i]->j.pgno[k] <= commit)
				b->page[n++] =
				    (struct from){ b->rec[i]->j.pgno[k],
					    (uint32_t)i, k };
	qsort(b->page, n, sizeof *b->page, by_page);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || b->page[i].pgno != b->page[i - 1].pgno)
			b->page[kept++] = b->page[i];
	b->npages = kept;
	return LS_OK;
}

static enum ls_rc
read_page(const struct job *b, size_t i, uint8_t *page, struct ls_err *e)
{
	const struct ls_rec *r = b->rec[b->page[i].rec];

	return ls_pread_all(r->file->local->fd, page, r->j.page_size,
	    r->idx.v[b->page[i].at].off, e);
}

struct out {
	int fd;
	struct ls_buf buf;
};

static enum ls_rc
out_flush(struct out *o, struct ls_err *e)
{
	enum ls_rc rc = ls_write_all(o->fd, o->buf.p, o->buf.n, e);

	ls_buf_clear(&o->buf);
	return rc;
}

static enum ls_rc
out_sink(void *arg, struct ls_span bytes, struct ls_err *e)
{
	struct out *o = arg;
	enum ls_rc rc = LS_OK;

	if (o->buf.n + bytes.n > OUT_BYTES)
		rc = out_flush(o, e);
	return rc == LS_OK ? ls_buf_add(&o->buf, bytes.p, bytes.n, e) : rc;
}

static enum ls_rc
write_pages(const struct job *b, struct out *o, struct ls_err *e)
{
	uint8_t *page = ls_alloc(b->h.page_size);
	struct ls_ltx_writer *w = NULL;
	enum ls_rc rc;

	if (page == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_ltx_writer_new(out_sink, o, &w, e)) == LS_OK)
		rc = ls_ltx_writer_begin(w, &b->h, NULL, e);
	for (size_t i = 0; rc == LS_OK && i < b->npages; i++)
		if ((rc = read_page(b, i, page, e)) == LS_OK)
			rc = ls_ltx_writer_page(w, b->page[i].pgno, page, e);
	if (rc == LS_OK)
		rc = ls_ltx_writer_end(w, NULL, e);
	ls_ltx_writer_free(w);
	ls_free(page);
	return rc == LS_OK ? out_flush(o, e) : rc;
}

static enum ls_rc
fill_header(struct job *b, struct ls_err *e)
{
	const struct ls_jrec *last = &b->rec[b->nrec - 1]->j;

	b->h = (struct ls_ltx_header){ .flags = LS_LTX_NO_CHECKSUM,
		.page_size = last->page_size,
		.commit = last->commit,
		.min_txid = b->txid,
		.max_txid = b->txid,
		.timestamp_ms = LS_MAX(ls_now_ms(), b->stored->timestamp_ms),
		/* Where a WAL that follows begins: upstream's daemon cannot
		 * go on from a file that says 0. */
		.wal_offset = 32,
		.node_id = b->stored->lineage };
	if (b->txid != 1)
		return LS_OK;
	while (b->h.node_id == 0) /* a new history */
		if (getrandom(&b->h.node_id, sizeof b->h.node_id, 0) < 0)
			return ls_err_sys(e, errno, "random bytes");
	return LS_OK;
}

static enum ls_rc
write_file(struct ls_own *w, const struct job *b, struct ls_err *e)
{
	const char *path = put_path(w);
	struct out o = { -1, LS_BUF_INIT(OUT_BYTES + LS_LTX_FRAME_MAX) };
	enum ls_rc rc;

	/* Never in place: a folder may have linked the last one. */
	(void)ls_sys->unlink(path);
	if ((rc = ls_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600,
		 &o.fd, e)) == LS_OK &&
	    (rc = write_pages(b, &o, e)) == LS_OK &&
	    (rc = ls_fsync(o.fd, path, e)) == LS_OK)
		rc = ls_fsync_dir_of(path, e);
	if (o.fd >= 0)
		(void)ls_sys->close(o.fd);
	if (rc != LS_OK && o.fd >= 0)
		(void)ls_sys->unlink(path);
	ls_buf_free(&o.buf);
	return ls_err_wrap(e, rc, "make %s", path);
}

static void
forget_put(struct ls_own *w)
{
	if (w->put != NULL)
		(void)ls_sys->unlink(w->put);
	ls_free(w->put);
	w->put = NULL;
}

/* Make the put file, synced: beside the buffer, or, when that disk is full, in
 * the temporary folder. From there a later process cannot tell that it is ours,
 * and would set the buffer aside. */
static enum ls_rc
make_file(struct ls_own *w, struct job *b, struct ls_err *e)
{
	const char *tmp = getenv("TMPDIR");
	enum ls_rc rc;

	forget_put(w);
	if ((rc = merge(b, e)) != LS_OK || (rc = fill_header(b, e)) != LS_OK ||
	    (rc = write_file(w, b, e)) != LS_ENOSPC)
		return rc;
	w->put = ls_asprintf("%s/litestream-vfs-put-%ld-%llx",
	    tmp && tmp[0] ? tmp : "/tmp", (long)getpid(),
	    (unsigned long long)ls_sys->mono_ns());
	if (w->put == NULL)
		return ls_err_nomem(e);
	if (e != NULL)
		*e = (struct ls_err){ 0 };
	return write_file(w, b, e);
}

/* ---- what to push ---------------------------------------------------------*/

/* The transactions up to seq. *none: there is nothing. With the version lock.
 */
static enum ls_rc
gather(
    struct ls_own *w, uint64_t seq, struct job *b, bool *none, struct ls_err *e)
{
	size_t n = 0;

	if (w->failed.rc != LS_OK) {
		if (e != NULL)
			*e = w->failed;
		return w->failed.rc;
	}
	for (struct ls_rec *r = w->first; r != NULL; r = r->next)
		n++;
	if ((b->rec = ls_alloc((n + 1) * sizeof *b->rec)) == NULL)
		return ls_err_nomem(e);
	for (struct ls_rec *r = w->first; r != NULL; r = r->next) {
		if (r->j.seq > (w->sealed != 0 ? w->sealed : seq))
			break;
		b->rec[b->nrec++] = r;
	}
	*none = b->nrec == 0;
	if (*none)
		return LS_OK;
	b->seq = b->rec[b->nrec - 1]->j.seq;
	b->stored = ls_vdb_stored(w->d);
	b->txid = b->stored->txid + 1;
	return LS_OK;
}

static enum ls_rc
read_head(
    struct ls_own *w, uint64_t txid, struct ls_ltx_header *h, struct ls_err *e)
{
	uint8_t head[LS_LTX_HEADER];
	int fd = -1;
	enum ls_rc rc;

	rc = ls_open(put_path(w), O_RDONLY | O_CLOEXEC, 0, &fd, e);
	if (rc == LS_OK)
		rc = ls_pread_all(fd, head, sizeof head, 0, e);
	if (rc == LS_OK)
		rc = ls_ltx_header_decode(LS_SPAN(head, sizeof head), h, e);
	if (rc == LS_OK && h->max_txid != txid)
		rc = ls_err_set(e, LS_ECORRUPT, "%s is not TXID %016llx",
		    put_path(w), (unsigned long long)txid);
	if (fd >= 0)
		(void)ls_sys->close(fd);
	return rc;
}

bool
ls_push_has_file(struct ls_own *w, uint64_t txid)
{
	struct ls_ltx_header h;

	return read_head(w, txid, &h, NULL) == LS_OK;
}

static enum ls_rc
ready_file(struct ls_own *w, struct job *b, struct ls_err *e)
{
	enum ls_rc rc;

	/* What says that the last file is stored must be on the disk before
	 * that file is written over. */
	ls_vdb_lock(w->d);
	rc = w->sealed ? LS_OK : ls_journal_sync(w->j, e);
	ls_vdb_unlock(w->d);
	if (rc != LS_OK)
		return rc;
	if (w->sealed != 0) { /* changed by pushes only */
		rc = merge(b, e);
		return rc == LS_OK ? read_head(w, b->txid, &b->h, e) : rc;
	}
	if ((rc = make_file(w, b, e)) != LS_OK)
		return rc;
	ls_vdb_lock(w->d);
	rc = w->put ? LS_OK : ls_journal_seal(w->j, b->seq, e);
	if (rc == LS_OK)
		w->sealed = b->seq;
	ls_vdb_unlock(w->d);
	return rc;
}

/* ---- the store ------------------------------------------------------------*/

static enum ls_rc
make_uploader(struct ls_own *w, struct ls_err *e)
{
	enum ls_rc rc;

	if (w->u != NULL)
		return LS_OK;
	rc =
	    ls_uploader_new(ls_vdb_replica(w->d), w->l0_retention_ns, &w->u, e);
	if (rc == LS_OK)
		ls_uploader_set_par(w->u, &ls_guest_par);
	return rc;
}

enum ls_rc
ls_push_is_ours(struct ls_own *w, uint64_t txid, bool *ours,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_err mine = { 0 };
	enum ls_rc rc = make_uploader(w, e);

	*ours = false;
	if (rc != LS_OK)
		return rc;
	rc = ls_uploader_same(w->u, txid, put_path(w), ours, c, &mine);
	/* No such object, or no such file of ours: not ours. */
	if (rc == LS_ENOTFOUND || rc == LS_EINVALID || rc == LS_ESHORT ||
	    rc == LS_ECORRUPT) {
		*ours = false;
		return LS_OK;
	}
	if (rc != LS_OK && e != NULL)
		*e = mine;
	return rc;
}

static enum ls_rc
overtaken(
    const struct ls_own *w, const struct job *b, uint64_t at, struct ls_err *e)
{
	(void)ls_err_set(e, LS_EFENCED,
	    "another writer stored TXID %016llx in %s, our last one is %016llx",
	    (unsigned long long)at,
	    ls_store_text(ls_replica_store(ls_vdb_replica(w->d))),
	    (unsigned long long)b->txid - 1);
	return ls_err_hint(e, LS_EFENCED, "open the database anew to go on");
}

/* Another process holds the folder. If it wrote something already, we have
 * lost; else it may yet leave without. */
static enum ls_rc
locked_out(struct ls_own *w, const struct job *b, const struct ls_call *c,
    struct ls_err *e)
{
	uint64_t at = 0;

	if (ls_replica_newest(ls_vdb_replica(w->d), &ls_guest_par, &at, NULL, c,
		NULL) == LS_OK &&
	    at >= b->txid)
		return overtaken(w, b, at, e);
	return ls_err_wrap(e, LS_ELOCKED, "TXID %016llx cannot be stored",
	    (unsigned long long)b->txid);
}

/* (3) *done: it is there already. */
static enum ls_rc
first_look(struct ls_own *w, const struct job *b, bool *done,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_ltx_header h = { 0 };
	uint64_t at = 0;
	enum ls_rc rc = make_uploader(w, e);

	*done = false;
	if (rc != LS_OK || w->synced)
		return rc;
	if ((rc = ls_uploader_sync(w->u, &at, &h, c, e)) != LS_OK)
		return rc;
	if (at == b->txid && (rc = ls_push_is_ours(w, at, done, c, e)) != LS_OK)
		return rc;
	if (*done ||
	    (at == b->txid - 1 &&
		(at == 0 || h.node_id == 0 || b->stored->lineage == 0 ||
		    h.node_id == b->stored->lineage))) {
		w->synced = true;
		return LS_OK;
	}
	if (at < b->txid - 1)
		return ls_err_set(e, LS_EGAP,
		    "%s: the newest TXID is %016llx, but %016llx was there",
		    ls_store_text(ls_replica_store(ls_vdb_replica(w->d))),
		    (unsigned long long)at, (unsigned long long)b->txid - 1);
	return overtaken(w, b, at, e);
}

static enum ls_rc
send(struct ls_own *w, const struct job *b, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_quiet q;
	bool done = false;
	enum ls_rc rc = LS_OK;

	ls_quiet_begin(&q);
	if (w->hooks.may_write != NULL)
		rc = w->hooks.may_write(w->hooks.arg, c, e);
	if (rc == LS_OK)
		rc = first_look(w, b, &done, c, e);
	if (rc == LS_OK && w->hooks.pushing != NULL)
		w->hooks.pushing(w->hooks.arg, b->txid);
	if (rc == LS_OK && !done)
		rc = ls_uploader_put(w->u, b->txid, put_path(w), c, e);
	if (rc == LS_ELOCKED)
		rc = locked_out(w, b, c, e);
	ls_quiet_end(&q);
	return rc;
}

/* ---- stored ---------------------------------------------------------------*/

static enum ls_rc
read_index(struct ls_own *w, const struct job *b, struct ls_ltx_index *idx,
    uint64_t *size, struct ls_err *e)
{
	const char *path = put_path(w);
	int64_t n = ls_file_size(path);
	uint8_t tail[LS_LTX_TRAILER + 8];
	struct ls_buf buf = LS_BUF_INIT(1u << 30);
	uint64_t extent;
	int fd = -1;
	enum ls_rc rc = ls_open(path, O_RDONLY | O_CLOEXEC, 0, &fd, e);

	*size = n > 0 ? (uint64_t)n : 0;
	if (rc == LS_OK && *size < sizeof tail)
		rc = ls_err_set(e, LS_ECORRUPT, "%s is cut off", path);
	if (rc == LS_OK &&
	    (rc = ls_pread_all(
		 fd, tail, sizeof tail, *size - sizeof tail, e)) == LS_OK &&
	    (rc = ls_ltx_index_extent(
		 LS_SPAN(tail, sizeof tail), *size, &extent, e)) == LS_OK &&
	    (rc = ls_buf_reserve(&buf, (size_t)extent, e)) == LS_OK &&
	    (rc = ls_pread_all(fd, buf.p, (size_t)extent, *size - extent, e)) ==
		LS_OK)
		rc = ls_ltx_index_decode(LS_SPAN(buf.p, (size_t)extent), *size,
		    b->h.commit, NULL, idx, e);
	ls_buf_free(&buf);
	if (fd >= 0)
		(void)ls_sys->close(fd);
	return rc;
}

/* (5) */
static void
feed_cache(const struct job *b, struct ls_cache *cache, uint32_t serial)
{
	uint8_t *page = ls_alloc(b->h.page_size);
	size_t n = LS_MIN(b->npages, (size_t)ls_cache_room(cache) / 2);

	for (size_t i = 0; page != NULL && i < n; i++)
		if (read_page(b, i, page, NULL) == LS_OK)
			ls_cache_put(cache, serial, b->page[i].pgno, page);
	ls_free(page);
}

/* The state that is stored now. Gives *out. */
static enum ls_rc
next_stored(struct ls_own *w, const struct job *b, struct ls_ver **out,
    struct ls_err *e)
{
	struct ls_ltx_index idx = { 0 };
	struct ls_vfile like = { .h = b->h }, *file = NULL;
	struct ls_ver *v = NULL;
	enum ls_rc rc = read_index(w, b, &idx, &like.size, e);

	if (rc != LS_OK)
		return rc;
	like.f = (struct ls_file){
		.min_txid = b->txid, .max_txid = b->txid, .size = like.size
	}; /* its time is not known here: 0 */
	ls_ltx_key(ls_store_layout(ls_replica_store(ls_vdb_replica(w->d))), 0,
	    b->txid, b->txid, like.key);
	file = ls_vfiles_add(ls_vdb_files(w->d), &like);
	if (file == NULL)
		rc = ls_err_nomem(e);
	else if (b->stored->commit == 0)
		rc = ls_vdb_empty(w->d, b->h.page_size, &v, e);
	else
		rc = ls_ver_copy(b->stored, &v, e);
	if (rc == LS_OK)
		rc = ls_ver_apply(v, file, &idx, e);
	if (rc == LS_OK) {
		v->epoch = b->stored->epoch;
		v->content = 0; /* ls_own_restack says */
		feed_cache(b, v->cache, file->serial);
		*out = v;
	} else {
		ls_ver_unref(v);
	}
	if (file != NULL)
		ls_vfile_unref(ls_vdb_files(w->d), file, 1);
	ls_ltx_index_fini(&idx);
	return rc;
}

static enum ls_rc
rotate(struct ls_own *w, const struct ls_jbase *base, struct ls_err *e)
{
	struct ls_jrec **keep;
	size_t n = 0;
	enum ls_rc rc;

	for (struct ls_rec *r = w->first; r != NULL; r = r->next)
		n++;
	if ((keep = ls_alloc((n + 1) * sizeof(void *))) == NULL)
		return ls_err_nomem(e);
	n = 0;
	for (struct ls_rec *r = w->first; r != NULL; r = r->next)
		keep[n++] = &r->j;
	rc = ls_journal_begin(w->j, base, keep, n, e);
	ls_free(keep);
	return rc;
}

/* With the version lock: it is stored. */
static enum ls_rc
note_stored(
    struct ls_own *w, const struct job *b, struct ls_ver *v, struct ls_err *e)
{
	struct ls_jbase base = ls_own_base(v);
	struct ls_err mine = { 0 };
	enum ls_rc rc = ls_own_restack(w, v, b->seq, false, e);

	if (rc != LS_OK)
		return rc;
	ls_own_drop(w, w->first, b->seq);
	w->sealed = 0;
	forget_put(w);
	w->stored_seq = b->seq;
	w->n.pushes++;
	w->n.pushed_bytes += v->tip.size;
	rc = ls_journal_done(w->j, b->seq, &base, &mine);
	w->jbase = base;
	if (rc == LS_OK && ls_journal_size(w->j) > ROTATE_BYTES &&
	    w->n.pending_bytes < ls_journal_size(w->j) / 4)
		rc = rotate(w, &base, &mine);
	if (rc != LS_OK) {
		/* What is stored is stored; but the buffer cannot say so, and
		 * nothing more may rely on it. */
		ls_error("the write buffer cannot be written",
		    LS_ATTRS(LS_S("buffer", w->path), LS_E(&mine)));
		if (w->failed.rc == LS_OK)
			w->failed = mine;
	}
	return LS_OK;
}

/* A COMMIT that failed, and nobody knows whether it is stored: look. What is
 * not there is taken back (*none). */
static enum ls_rc
settle(struct ls_own *w, const struct job *b, bool *none,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_rec *last = b->rec[b->nrec - 1];
	struct ls_err mine = { 0 };
	bool same = false;
	enum ls_rc rc;

	if (last->state != REC_DOUBT || w->u == NULL)
		return LS_OK;
	rc = ls_uploader_same(w->u, b->txid, put_path(w), &same, c, &mine);
	if (rc == LS_ENOTFOUND) {
		ls_vdb_lock(w->d);
		ls_own_take_back(w, last);
		ls_vdb_unlock(w->d);
		*none = true;
		return LS_OK;
	}
	if (rc != LS_OK && e != NULL)
		*e = mine;
	return rc; /* whose it is, the put finds out */
}

static enum ls_rc
push_one(struct ls_own *w, uint64_t seq, bool *none, const struct ls_call *c,
    struct ls_err *e)
{
	struct job b = { 0 };
	struct ls_ver *v = NULL;
	uint64_t began = ls_sys->mono_ns();
	enum ls_rc rc;

	ls_vdb_lock(w->d);
	rc = gather(w, seq, &b, none, e);
	ls_vdb_unlock(w->d);
	if (rc != LS_OK || *none || (rc = settle(w, &b, none, c, e)) != LS_OK ||
	    *none)
		goto out;
	if ((rc = ready_file(w, &b, e)) != LS_OK ||
	    (rc = send(w, &b, c, e)) != LS_OK ||
	    (rc = next_stored(w, &b, &v, e)) != LS_OK)
		goto out;
	ls_vdb_lock(w->d);
	rc = note_stored(w, &b, v, e);
	ls_vdb_unlock(w->d);
	if (rc == LS_OK)
		ls_vdb_known(w->d, began);
	if (rc == LS_OK && w->hooks.pushed != NULL)
		w->hooks.pushed(w->hooks.arg, w->u, b.txid, c);
out:
	ls_ver_unref(v);
	job_fini(&b);
	return rc;
}

enum ls_rc
ls_push_upto(
    struct ls_own *w, uint64_t seq, const struct ls_call *c, struct ls_err *e)
{
	struct ls_err mine = { 0 };
	uint64_t target = seq;
	bool none = false;
	enum ls_rc rc = LS_OK;

	ls_vdb_lock(w->d);
	w->pushed_ns = ls_sys->mono_ns();
	/* What is committed meanwhile is the next push's. */
	for (struct ls_rec *r = seq ? NULL : w->first;
	     r != NULL && r->state != REC_PREPARED; r = r->next)
		target = r->j.seq;
	ls_vdb_unlock(w->d);
	while (rc == LS_OK && !none)
		rc = push_one(w, target, &none, c, &mine);
	ls_vdb_lock(w->d);
	w->problem = rc == LS_OK ? (struct ls_err){ 0 } : mine;
	if (rc == LS_OK)
		w->failing_ns = 0;
	else if (w->failing_ns == 0)
		w->failing_ns = ls_sys->mono_ns();
	if (rc == LS_EFENCED && w->failed.rc == LS_OK) {
		ls_own_lost(w, &mine);
		mine = w->failed;
	}
	ls_vdb_unlock(w->d);
	if (rc != LS_OK && e != NULL)
		*e = mine;
	return rc;
}

/* ---- the thread -----------------------------------------------------------*/

static bool
has_work(const struct ls_own *w)
{
	return w->failed.rc == LS_OK && w->first != NULL &&
	       w->first->state != REC_PREPARED;
}

/* When to push next. With the version lock. */
static uint64_t
due(const struct ls_own *w, unsigned failures)
{
	uint64_t wait = w->interval_ns;

	if (failures > 0)
		wait = LS_MIN(
		    LS_SEC / 4 << LS_MIN(failures, 10u), BACKOFF_MOST * LS_SEC);
	return w->pushed_ns == 0 ? 0 : w->pushed_ns + wait;
}

static void *
pusher(void *arg)
{
	struct ls_own *w = arg;
	unsigned failures = 0;

	ls_vdb_lock(w->d);
	while (!w->stop) {
		struct ls_call c = { &w->cancel, 0 };
		struct ls_err e = { 0 };
		uint64_t at = due(w, failures);
		enum ls_rc rc;

		if (!has_work(w) || ls_sys->mono_ns() < at) {
			if (!has_work(w))
				at = ls_sys->mono_ns() + 3600 * LS_SEC;
			ls_vdb_wait(w->d, &w->wake, at);
			continue;
		}
		ls_vdb_unlock(w->d);
		c.deadline_ns = ls_sys->mono_ns() + PUSH_SECONDS * LS_SEC;
		(void)pthread_mutex_lock(&w->push);
		rc = ls_push_upto(w, 0, &c, &e);
		(void)pthread_mutex_unlock(&w->push);
		failures = rc == LS_OK ? 0 : failures + 1;
		if (rc != LS_OK && rc != LS_EFENCED && rc != LS_ECANCELED &&
		    ls_log_due(&w->said, 30 * LS_SEC))
			ls_warn("cannot store what was committed, trying again",
			    LS_ATTRS(LS_S("buffer", w->path), LS_E(&e)));
		ls_vdb_lock(w->d);
	}
	w->running = false;
	(void)pthread_cond_broadcast(&w->wake);
	ls_vdb_unlock(w->d);
	return NULL;
}

void
ls_push_start(struct ls_own *w)
{
	if (w->started)
		(void)pthread_cond_broadcast(&w->wake);
	else if (!w->stop)
		w->started = w->running =
		    ls_guest_thread(&w->thread, pusher, w);
}

void
ls_push_stop(struct ls_own *w)
{
	uint64_t until = ls_sys->mono_ns() + STOP_SECONDS * LS_SEC;

	ls_vdb_lock(w->d);
	w->stop = true;
	(void)pthread_cond_broadcast(&w->wake);
	while (w->running && ls_sys->mono_ns() < until)
		ls_vdb_wait(w->d, &w->wake, until);
	ls_vdb_unlock(w->d);
	ls_cancel_set(&w->cancel);
	if (w->started)
		(void)pthread_join(w->thread, NULL);
}
