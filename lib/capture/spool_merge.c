/* spool_merge.c -- bound the spool: many pending files become one. See
 * ls_spool_merge in spool.h.
 *
 * The intent record is the merged file itself, <meta>/litestreamd-merge, whole
 * and synced before it gets that name: an ordinary level-0 file of the TXID t
 * that it will take.
 *
 *  (1) THE RENAME TO THAT NAME DECIDES. Before it nothing has changed; from it
 *      on the merge is carried out, now or at the next open: files above t go,
 *      newest first, the folder is synced, the merged file is renamed over t.
 *      Whenever it stops, what is left is (a run from t on, and the record) or
 *      the merged file alone. (tests: spool_merge_fault_sweep,
 *      spool_merge_crash_at_every_call)
 *  (2) THE SYNC BETWEEN REMOVING AND RENAMING is what keeps an old t + 1 from
 *      coming back, after a power failure, behind the merged t: it would look
 *      like its successor.
 *  (3) NOTHING IS BEGUN OR DROPPED WHILE A MERGE IS DECIDED: begin and drop
 *      finish it first.
 *  (4) MEMORY AND DESCRIPTORS ARE BOUNDED: BATCH files are read at once; more
 *      are folded through a temporary file.
 *  (5) NOT ACROSS A CHANGE OF PAGE SIZE: its first file is a whole copy, and only
 *      that and what follows it become one. (test:
 *      spool_merge_begins_behind_a_new_page_size)
 * Not here: which files may have been sent already (the caller's frozen). */
#include "capture/spool_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "format/merge.h"

#include <errno.h>
#include <fcntl.h>

enum { BATCH = 64 };

struct inputs {
	struct spool_src src[BATCH + 1];
	struct ls_merge_input in[BATCH + 1];
	size_t n;
};

static enum ls_rc
add_input(struct inputs *x, const char *path, struct ls_err *e)
{
	struct spool_src *src = &x->src[x->n];
	enum ls_rc rc;

	src->at = 0;
	if ((rc = ls_open(path, O_RDONLY, 0, &src->fd, e)) != LS_OK)
		return rc;
	x->in[x->n].src = spool_source;
	x->in[x->n].arg = src;
	x->n++;
	return LS_OK;
}

static void
close_inputs(struct inputs *x)
{
	if (x == NULL)
		return;
	while (x->n > 0)
		(void)ls_sys->close(x->src[--x->n].fd);
}

/* Open acc, if any, and the files first..last. */
static enum ls_rc
open_inputs(struct ls_spool *s, struct inputs *x, const char *acc,
    uint64_t first, uint64_t last, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	x->n = 0;
	if (acc != NULL)
		rc = add_input(x, acc, e);
	for (uint64_t t = first; rc == LS_OK && t <= last; t++) {
		char *path = spool_path(s, t);

		rc = path ? add_input(x, path, e) : ls_err_nomem(e);
		ls_free(path);
	}
	if (rc != LS_OK)
		close_inputs(x);
	return rc;
}

static enum ls_rc
fd_sink(void *arg, struct ls_span bytes, struct ls_err *e)
{
	const int *fd = arg;

	return ls_write_all(*fd, bytes.p, bytes.n, e);
}

/* ---- folding -----------------------------------------------------------------*/

/* Merge the open inputs into the temporary file out. */
static enum ls_rc
fold(struct ls_spool *s, struct inputs *x, const struct ls_merge_opts *o,
    const char *out, struct ls_err *e)
{
	enum ls_rc rc;
	int fd = -1;

	if ((rc = spool_create(s, out, &fd, e)) != LS_OK)
		return rc;
	rc = ls_merge(x->in, x->n, o, fd_sink, &fd, NULL, NULL, e);
	if (ls_sys->close(fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", out);
	return rc;
}

/* ---- the merged file ---------------------------------------------------------*/

static enum ls_rc
to_writer(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	return ls_ltx_writer_page(arg, pgno, data, e);
}

/* Write the pages of the open inputs under header h into path, and sync. */
static enum ls_rc
write_merged(struct ls_spool *s, struct inputs *x,
    const struct ls_ltx_header *h, const char *path, struct ls_err *e)
{
	struct ls_ltx_writer *w = NULL;
	enum ls_rc rc;
	int fd = -1;

	if ((rc = spool_create(s, path, &fd, e)) != LS_OK)
		return rc;
	if ((rc = ls_ltx_writer_new(fd_sink, &fd, &w, e)) != LS_OK ||
	    (rc = ls_ltx_writer_begin(w, h, NULL, e)) != LS_OK ||
	    (rc = ls_merge_pages(x->in, x->n, to_writer, w, NULL, e)) !=
		LS_OK ||
	    (rc = ls_ltx_writer_end(w, NULL, e)) != LS_OK)
		goto out;
	rc = ls_fsync(fd, path, e);
out:
	ls_ltx_writer_free(w);
	if (ls_sys->close(fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", path);
	return rc;
}

struct plan {
	uint64_t first, last;	/* the files that become one */
	struct ls_ltx_header h; /* its header */
	struct ls_merge_opts opts;
	char *tmp[2]; /* folded so far, in turn */
	char *out;
	struct inputs *x;
};

/* Fold all but the last BATCH files; then all that is left into p->out. */
static enum ls_rc
merge_files(struct ls_spool *s, struct plan *p, struct ls_err *e)
{
	uint64_t at = p->first;
	const char *acc = NULL;
	enum ls_rc rc;
	int turn = 0;

	while (p->last - at >= BATCH) {
		rc = open_inputs(s, p->x, acc, at, at + BATCH - 1, e);
		if (rc != LS_OK)
			return rc;
		rc = fold(s, p->x, &p->opts, p->tmp[turn], e);
		close_inputs(p->x);
		if (rc != LS_OK)
			return rc;
		acc = p->tmp[turn];
		turn = !turn;
		at += BATCH;
	}
	if ((rc = open_inputs(s, p->x, acc, at, p->last, e)) != LS_OK)
		return rc;
	rc = write_merged(s, p->x, &p->h, p->out, e);
	close_inputs(p->x);
	return rc;
}

/* The header of the newest file, with the TXID of the first. */
static enum ls_rc
plan_header(struct ls_spool *s, struct plan *p, struct ls_err *e)
{
	struct ls_ltx_header h;
	enum ls_rc rc;

	if ((rc = ls_spool_header(s, p->last, &p->h, NULL, e)) != LS_OK)
		return rc;
	p->h.min_txid = p->h.max_txid = p->first;
	p->opts.node_id = p->h.node_id;
	if (p->first == s->oldest)
		return LS_OK;
	rc = ls_spool_header(s, p->first - 1, &h, NULL, e);
	/* With the size before the first file growth can be checked too. */
	if (rc == LS_OK && h.page_size == p->h.page_size) {
		p->opts.prev_commit_known = true;
		p->opts.prev_commit = h.commit;
	}
	return rc;
}

/* Everything up to the decision. */
static enum ls_rc
prepare(struct ls_spool *s, struct plan *p, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = plan_header(s, p, e)) != LS_OK ||
	    (rc = merge_files(s, p, e)) != LS_OK ||
	    (rc = ls_rename(p->out, s->merged, e)) != LS_OK)
		return rc;
	s->merging = true;
	return ls_fsync_dir(s->meta, e);
}

/* (5) */
static enum ls_rc
behind_last_size(struct ls_spool *s, struct plan *p, struct ls_err *e)
{
	struct ls_ltx_header h, last;
	enum ls_rc rc;

	if ((rc = ls_spool_header(s, p->first, &h, NULL, e)) != LS_OK ||
	    (rc = ls_spool_header(s, p->last, &last, NULL, e)) != LS_OK ||
	    h.page_size == last.page_size)
		return rc;
	p->first = p->last;
	while ((rc = ls_spool_header(s, p->first - 1, &h, NULL, e)) == LS_OK &&
	       h.page_size == last.page_size)
		p->first--;
	return rc;
}

enum ls_rc
ls_spool_merge(struct ls_spool *s, uint64_t frozen, struct ls_err *e)
{
	struct plan p = { .last = s->newest };
	enum ls_rc rc;

	if (s->fd >= 0)
		return ls_err_set(
		    e, LS_EINVALID, "spool: a file is being written");
	if ((rc = spool_merge_finish(s, e)) != LS_OK ||
	    (rc = ls_spool_sync(s, e)) != LS_OK)
		return rc;
	p.last = s->newest;
	if (frozen >= s->newest)
		return LS_OK;
	p.first = LS_MAX(frozen + 1, s->oldest);
	if ((rc = behind_last_size(s, &p, e)) != LS_OK || p.first == p.last)
		return rc;
	p.tmp[0] = ls_asprintf("%s-0.tmp", s->merged);
	p.tmp[1] = ls_asprintf("%s-1.tmp", s->merged);
	p.out = ls_asprintf("%s.tmp", s->merged);
	p.x = ls_alloc(sizeof *p.x);
	if (p.tmp[0] && p.tmp[1] && p.out && p.x) {
		rc = prepare(s, &p, e);
		(void)ls_sys->unlink(p.tmp[0]);
		(void)ls_sys->unlink(p.tmp[1]);
		(void)ls_sys->unlink(p.out);
	} else {
		rc = ls_err_nomem(e);
	}
	if (rc == LS_OK)
		rc = spool_merge_finish(s, e);
	ls_free(p.x);
	ls_free(p.out);
	ls_free(p.tmp[1]);
	ls_free(p.tmp[0]);
	return ls_err_wrap(e, rc, "merge spool of %s", s->meta);
}

/* ---- carrying it out ---------------------------------------------------------*/

/* The TXID and size of the merged file. */
static enum ls_rc
merged_txid(
    struct ls_spool *s, uint64_t *txid, uint64_t *size, struct ls_err *e)
{
	uint8_t p[LS_LTX_HEADER];
	struct ls_ltx_header h;
	struct stat st;
	enum ls_rc rc;
	int fd = -1;

	if ((rc = ls_open(s->merged, O_RDONLY, 0, &fd, e)) != LS_OK)
		return rc;
	if ((rc = ls_pread_all(fd, p, sizeof p, 0, e)) == LS_OK)
		rc = ls_ltx_header_decode(LS_SPAN(p, sizeof p), &h, e);
	if (rc == LS_OK && ls_sys->fstat(fd, &st) != 0)
		rc = ls_err_sys(e, errno, "stat %s", s->merged);
	(void)ls_sys->close(fd);
	if (rc != LS_OK)
		return rc;
	*txid = h.min_txid;
	*size = (uint64_t)st.st_size;
	return LS_OK;
}

enum ls_rc
spool_merge_finish(struct ls_spool *s, struct ls_err *e)
{
	uint64_t txid, size, old;
	char *to = NULL;
	enum ls_rc rc;

	if (!s->merging)
		return LS_OK;
	/* It may have been decided by a rename that was not synced. */
	if ((rc = ls_fsync_dir(s->meta, e)) != LS_OK ||
	    (rc = merged_txid(s, &txid, &size, e)) != LS_OK)
		goto out;
	for (; s->newest > txid; s->newest--) {
		old = spool_size(s, s->newest);
		if ((rc = spool_remove(s, s->newest, e)) != LS_OK)
			goto out;
		s->bytes -= old;
		if (s->newest == s->oldest) {
			s->newest = s->oldest = 0;
			break;
		}
	}
	if ((rc = ls_fsync_dir(s->dir, e)) != LS_OK)
		goto out;
	if ((to = spool_path(s, txid)) == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	old = s->newest == txid ? spool_size(s, txid) : 0;
	if ((rc = ls_rename(s->merged, to, e)) != LS_OK)
		goto out;
	s->merging = false;
	s->bytes = s->bytes - old + size;
	s->newest = txid;
	s->oldest = s->oldest ? s->oldest : txid;
	if ((rc = ls_fsync_dir(s->dir, e)) == LS_OK)
		rc = ls_fsync_dir(s->meta, e);
out:
	ls_free(to);
	return ls_err_wrap(e, rc, "finish the merge in %s", s->meta);
}

bool
ls_spool_merging(const struct ls_spool *s)
{
	return s->merging;
}

enum ls_rc
ls_spool_settle(struct ls_spool *s, struct ls_err *e)
{
	return spool_merge_finish(s, e);
}

enum ls_rc
spool_merge_recover(struct ls_spool *s, struct ls_err *e)
{
	struct spool_src src = { .fd = -1 };
	struct ls_err why = { 0 };
	struct ls_ltx_header h;
	enum ls_rc rc = ls_open(s->merged, O_RDONLY, 0, &src.fd, e);

	if (rc != LS_OK)
		return rc == LS_ENOTFOUND ? LS_OK : rc;
	rc = ls_ltx_verify(spool_source, &src, &h, &why);
	(void)ls_sys->close(src.fd);
	/* It joins the run: from the TXID behind the newest down to wherever
	 * the run began, or starts one. */
	if (rc == LS_OK && (h.min_txid != h.max_txid ||
			       (s->newest != 0 && h.min_txid > s->newest + 1)))
		rc = ls_err_set(&why, LS_ECORRUPT,
		    "it does not belong to the files of %s", s->dir);
	if (rc == LS_OK) {
		s->merging = true;
		return spool_merge_finish(s, e);
	}
	if (rc != LS_ECORRUPT && rc != LS_ESHORT && rc != LS_EUNSUPPORTED)
		return ls_err_set(e, rc, "%s", why.msg);
	/* It was whole when it got its name. What the files say is older. */
	ls_warn("removing a damaged merge",
	    LS_ATTRS(LS_S("path", s->merged), LS_E(&why)));
	if (ls_sys->unlink(s->merged) != 0)
		return ls_err_sys(e, errno, "remove %s", s->merged);
	return LS_OK;
}
