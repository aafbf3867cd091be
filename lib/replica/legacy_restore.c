/* legacy_restore.c -- a v0.3 snapshot and its WAL segments become a database.
 *
 * (1) WHOLE OR NOTHING, as restore.c: "<output>.tmp", checked, synced, renamed.
 *     (test: legacy_leaves_nothing_on_fault)
 * (2) SQLITE'S RULES, NOT SQLITE: of each WAL index the frames up to the last
 *     commit whose salts and running checksum fit are applied, pages above
 *     that commit's size left out, and the file is cut to it: byte for byte
 *     what a checkpoint of that WAL does. (tests: legacy_against_sqlite,
 *     test_legacy)
 * (3) NOTHING IS SKIPPED IN THE MIDDLE. Indexes are consecutive from the
 *     snapshot's, offsets equal the bytes so far, and a WAL that another one
 *     follows must be sound to its end: what follows was built upon it. In the
 *     last one a damaged tail costs what is behind it, and the log says so.
 *     (tests: legacy_missing_segment, legacy_damaged_frame)
 * (4) MEMORY IS BOUNDED: blocks of the snapshot, a batch of segments, a frame.
 *     A WAL of any size, over 4 GiB too, lies in a nameless temporary file.
 * Not here: which snapshot (legacy.c).
 */
#include "replica/legacy_files.h"
#include "replica/object.h"
#include "replica/output.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "format/unlz4.h"
#include "format/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum {
	COPY_BLOCK = 256 << 10,
	FETCH_BLOCK = 1 << 20, /* one request */
	BATCH = 32,	       /* segments fetched side by side */
};

struct job {
	struct ls_store *st;
	const struct ls_legacy_snapshot *snap;
	struct ls_legacy_segments seg;
	const struct ls_restore_opts *o;
	const struct ls_call *c;
	char *tmp;
	int db, wal;
	uint32_t page_size;
	uint64_t done, total; /* compressed bytes */
	uint8_t *block;	      /* COPY_BLOCK */
};

/* ---- copying one object ---------------------------------------------------*/

/* Decompress an object into fd from *at on. */
static enum ls_rc
unpack(struct job *j, struct ls_object_reader *o, int fd, uint64_t *at,
    struct ls_err *e)
{
	struct ls_unlz4 *z = NULL;
	size_t got;
	enum ls_rc rc;

	if ((rc = ls_unlz4_new(ls_object_source, o, &z, e)) != LS_OK)
		return rc;
	for (;;) {
		if ((rc = ls_call_check(j->c, e)) != LS_OK)
			break;
		rc = ls_unlz4_source(z, j->block, COPY_BLOCK, &got, e);
		if (rc != LS_OK || got == 0)
			break;
		if ((rc = ls_pwrite_all(fd, j->block, got, *at, e)) != LS_OK)
			break;
		*at += got;
	}
	ls_unlz4_free(z);
	if (rc == LS_OK)
		j->done += o->size;
	if (rc == LS_OK && j->o->progress != NULL)
		j->o->progress(j->o->progress_arg, j->done, j->total);
	return ls_err_wrap(e, rc, "%s", o->key);
}

/* ---- the snapshot ---------------------------------------------------------*/

static enum ls_rc
check_snapshot(struct job *j, uint64_t size, struct ls_err *e)
{
	uint8_t h[100];
	uint32_t ps;
	enum ls_rc rc;

	if (size < sizeof h)
		return ls_err_set(e, LS_ECORRUPT,
		    "the v0.3 snapshot has only %llu bytes",
		    (unsigned long long)size);
	if ((rc = ls_pread_all(j->db, h, sizeof h, 0, e)) != LS_OK)
		return rc;
	ps = ls_be16(h + 16) == 1 ? LS_PAGE_MAX : ls_be16(h + 16);
	if (memcmp(h, "SQLite format 3", 16) != 0 || !ls_page_size_valid(ps) ||
	    size % ps != 0)
		return ls_err_set(
		    e, LS_ECORRUPT, "the v0.3 snapshot is not a database");
	j->page_size = ps;
	return LS_OK;
}

static enum ls_rc
take_snapshot(struct job *j, struct ls_err *e)
{
	struct ls_object_reader o;
	char key[LS_OBJECT_KEY_MAX];
	uint64_t size = 0;
	enum ls_rc rc;

	(void)snprintf(key, sizeof key,
	    "generations/%s/snapshots/%08x.snapshot.lz4", j->snap->generation,
	    j->snap->index);
	ls_object_init(&o, j->st, key, j->snap->size, FETCH_BLOCK, j->c);
	rc = unpack(j, &o, j->db, &size, e);
	ls_object_fini(&o);
	return rc == LS_OK ? check_snapshot(j, size, e) : rc;
}

/* ---- one WAL --------------------------------------------------------------*/

struct wal {
	uint32_t index;
	bool last; /* no other one follows */
	struct ls_wal_header h;
	uint64_t size;	    /* bytes */
	uint64_t committed; /* frames up to the last commit */
	uint32_t commit;    /* its database size in pages */
};

static uint64_t
frame_at(const struct wal *w, uint64_t i)
{
	return LS_WAL_HEADER + i * (LS_WAL_FRAME_HEADER + w->h.page_size);
}

/* Read frame i into p (header and page). */
static enum ls_rc
read_frame(struct job *j, const struct wal *w, uint64_t i, uint8_t *p,
    struct ls_wal_frame *f, struct ls_err *e)
{
	enum ls_rc rc = ls_pread_all(
	    j->wal, p, LS_WAL_FRAME_HEADER + w->h.page_size, frame_at(w, i), e);

	if (rc == LS_OK)
		ls_wal_frame_decode(p, f);
	return rc;
}

/* Did a commit come at frame i or later, as far as headers tell? Frames behind
 * the last commit may be anything: of a transaction that was rolled back. */
static enum ls_rc
commit_behind(
    struct job *j, const struct wal *w, uint64_t i, bool *yes, struct ls_err *e)
{
	uint8_t p[LS_WAL_FRAME_HEADER];
	struct ls_wal_frame f;
	enum ls_rc rc;

	*yes = false;
	for (; !*yes && frame_at(w, i) + sizeof p <= w->size; i++) {
		rc = ls_pread_all(j->wal, p, sizeof p, frame_at(w, i), e);
		if (rc != LS_OK)
			return rc;
		ls_wal_frame_decode(p, &f);
		*yes = f.commit != 0 && memcmp(f.salt, w->h.salt, 8) == 0;
	}
	return LS_OK;
}

/* What a WAL means that is sound up to frame i only. */
static enum ls_rc
judge_tail(struct job *j, const struct wal *w, uint64_t i, struct ls_err *e)
{
	bool lost;
	enum ls_rc rc = commit_behind(j, w, i, &lost, e);

	if (rc != LS_OK || !lost)
		return rc;
	(void)ls_err_set(e, LS_ECORRUPT,
	    "v0.3 WAL index %08x is damaged at frame %llu", w->index,
	    (unsigned long long)i + 1);
	if (!w->last)
		return ls_err_hint(e, LS_ECORRUPT,
		    "restore with -timestamp to a time before it");
	ls_warn("the newest v0.3 WAL is damaged: what is behind is lost",
	    LS_ATTRS(LS_U("index", w->index), LS_U("frame", i + 1)));
	return LS_OK;
}

/* Frames that are sound, and the last commit among them. */
static enum ls_rc
scan_wal(struct job *j, struct wal *w, struct ls_err *e)
{
	uint32_t sum[2] = { w->h.sum[0], w->h.sum[1] };
	uint64_t i = 0;
	enum ls_rc rc;

	for (; frame_at(w, i + 1) <= w->size; i++) {
		uint8_t *p = j->block;
		struct ls_wal_frame f;

		if ((rc = read_frame(j, w, i, p, &f, e)) != LS_OK ||
		    (rc = ls_call_check(j->c, e)) != LS_OK)
			return rc;
		ls_wal_frame_checksum(w->h.big_endian, p,
		    p + LS_WAL_FRAME_HEADER, w->h.page_size, sum);
		if (f.pgno == 0 || memcmp(f.salt, w->h.salt, 8) != 0 ||
		    memcmp(f.sum, sum, sizeof sum) != 0)
			break;
		if (f.commit != 0) {
			w->committed = i + 1;
			w->commit = f.commit;
		}
	}
	return judge_tail(j, w, i, e);
}

static enum ls_rc
apply_frames(struct job *j, const struct wal *w, struct ls_err *e)
{
	uint64_t size = (uint64_t)w->commit * j->page_size;
	enum ls_rc rc;

	for (uint64_t i = 0; i < w->committed; i++) {
		uint8_t *p = j->block;
		struct ls_wal_frame f;

		if ((rc = read_frame(j, w, i, p, &f, e)) != LS_OK ||
		    (rc = ls_call_check(j->c, e)) != LS_OK)
			return rc;
		if (f.pgno > w->commit)
			continue;
		rc = ls_pwrite_all(j->db, p + LS_WAL_FRAME_HEADER, j->page_size,
		    (uint64_t)(f.pgno - 1) * j->page_size, e);
		if (rc != LS_OK)
			return rc;
	}
	if (w->commit != 0 && ls_sys->ftruncate(j->db, (off_t)size) != 0)
		return ls_err_sys(e, errno, "truncate %s", j->tmp);
	return LS_OK;
}

static enum ls_rc
apply_wal(struct job *j, struct wal *w, struct ls_err *e)
{
	uint8_t raw[LS_WAL_HEADER];
	enum ls_rc rc;

	if (w->size == 0)
		return LS_OK;
	if (w->size < sizeof raw)
		return ls_err_set(e, LS_ECORRUPT,
		    "v0.3 WAL index %08x has only %llu bytes", w->index,
		    (unsigned long long)w->size);
	if ((rc = ls_pread_all(j->wal, raw, sizeof raw, 0, e)) != LS_OK)
		return rc;
	rc = ls_wal_header_decode(LS_SPAN(raw, sizeof raw), &w->h, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "v0.3 WAL index %08x", w->index);
	if (w->h.page_size != j->page_size)
		return ls_err_set(e, LS_ECORRUPT,
		    "v0.3 WAL index %08x has pages of %u bytes, the database "
		    "of %u",
		    w->index, w->h.page_size, j->page_size);
	if ((rc = scan_wal(j, w, e)) == LS_OK)
		rc = apply_frames(j, w, e);
	return rc;
}

/* ---- the segments ---------------------------------------------------------*/

/* Segments being fetched side by side: their first blocks. */
struct batch {
	struct ls_object_reader o[BATCH];
	enum ls_rc rc[BATCH];
	struct ls_err e[BATCH];
	size_t n;
};

static void
fetch_one(void *arg, size_t i)
{
	struct batch *b = arg;

	b->rc[i] = ls_object_fetch(&b->o[i], &b->e[i]);
}

static void
fetch_batch(struct job *j, struct batch *b, size_t from)
{
	const struct ls_par *par = j->o->par ? j->o->par : &ls_par_serial;

	for (b->n = 0; b->n < BATCH && from + b->n < j->seg.n; b->n++) {
		const struct ls_legacy_segment *s = &j->seg.v[from + b->n];
		char key[LS_OBJECT_KEY_MAX];

		(void)snprintf(key, sizeof key,
		    "generations/%s/wal/%08x_%0*llx.wal.lz4",
		    j->snap->generation, s->index, s->digits,
		    (unsigned long long)s->offset);
		ls_object_init(
		    &b->o[b->n], j->st, key, s->size, FETCH_BLOCK, j->c);
	}
	par->run(par, b->n, j->o->parallelism, fetch_one, b);
}

static void
free_batch(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		ls_object_fini(&b->o[i]);
	b->n = 0;
}

/* Segment s must continue the WAL w. */
static enum ls_rc
check_next(
    const struct wal *w, const struct ls_legacy_segment *s, struct ls_err *e)
{
	if (s->index != w->index)
		return ls_err_set(e, LS_EGAP,
		    "missing WAL index: expected %u/0, got %u/%llu", w->index,
		    s->index, (unsigned long long)s->offset);
	if (s->offset != w->size)
		return ls_err_set(e, LS_EGAP,
		    "missing WAL segment: expected %u/%llu, got %u/%llu",
		    w->index, (unsigned long long)w->size, s->index,
		    (unsigned long long)s->offset);
	return LS_OK;
}

static enum ls_rc
take_segment(struct job *j, struct batch *b, size_t i, size_t k, struct wal *w,
    struct ls_err *e)
{
	const struct ls_legacy_segment *s = &j->seg.v[i];
	enum ls_rc rc;

	if (s->index != w->index && w->size > 0) {
		w->last = false;
		if ((rc = apply_wal(j, w, e)) != LS_OK)
			return rc;
		*w = (struct wal){ .index = w->index + 1 };
	}
	if ((rc = check_next(w, s, e)) != LS_OK)
		return rc;
	if (b->rc[k] != LS_OK) {
		if (e != NULL)
			*e = b->e[k];
		return b->rc[k];
	}
	return unpack(j, &b->o[k], j->wal, &w->size, e);
}

static enum ls_rc
take_segments(struct job *j, struct ls_err *e)
{
	struct wal w = { .index = j->snap->index };
	struct batch *b = ls_zalloc(sizeof *b);
	enum ls_rc rc = LS_OK;

	if (b == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; rc == LS_OK && i < j->seg.n; i += b->n) {
		free_batch(b);
		fetch_batch(j, b, i);
		for (size_t k = 0; rc == LS_OK && k < b->n; k++)
			rc = take_segment(j, b, i + k, k, &w, e);
	}
	w.last = true;
	if (rc == LS_OK)
		rc = apply_wal(j, &w, e);
	free_batch(b);
	ls_free(b);
	return ls_err_wrap(e, rc, "apply WAL segments");
}

/* ---- all of it ------------------------------------------------------------*/

/* Keep the segments that follow the snapshot and are not too young. */
static void
choose_segments(struct job *j, int64_t before_ns)
{
	size_t kept = 0;

	j->total = j->snap->size;
	for (size_t i = 0; i < j->seg.n; i++) {
		const struct ls_legacy_segment *s = &j->seg.v[i];

		if (s->index < j->snap->index ||
		    (before_ns != 0 && s->created_ns > before_ns))
			continue;
		j->total += s->size;
		j->seg.v[kept++] = *s;
	}
	j->seg.n = kept;
}

/* A file without a name: nothing is left of it whatever happens. */
static enum ls_rc
open_wal(struct job *j, struct ls_err *e)
{
	char *path = ls_asprintf("%s-wal", j->tmp);
	enum ls_rc rc;

	if (path == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_output_create(path, &j->wal, e)) == LS_OK)
		(void)ls_sys->unlink(path);
	ls_free(path);
	return rc;
}

static enum ls_rc
fill(struct job *j, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_output_create(j->tmp, &j->db, e)) != LS_OK)
		return rc;
	if ((rc = open_wal(j, e)) == LS_OK &&
	    (rc = take_snapshot(j, e)) == LS_OK &&
	    (rc = take_segments(j, e)) == LS_OK)
		rc = ls_fsync(j->db, j->tmp, e);
	if (j->wal >= 0)
		(void)ls_sys->close(j->wal);
	if (ls_sys->close(j->db) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", j->tmp);
	if (rc == LS_OK)
		rc = ls_check_database(j->tmp, j->o->integrity, e);
	return rc;
}

static void
report(const struct job *j, struct ls_restored *out)
{
	int64_t size = ls_file_size(j->o->output);

	*out = (struct ls_restored){ .page_size = j->page_size,
		.bytes = size > 0 ? (uint64_t)size : 0,
		.files = j->seg.n + 1 };
	out->commit = (uint32_t)(out->bytes / j->page_size);
}

enum ls_rc
ls_legacy_restore(struct ls_store *st, const struct ls_legacy *l,
    int64_t before_ns, const struct ls_restore_opts *o, struct ls_restored *out,
    const struct ls_call *c, struct ls_err *e)
{
	struct job j = { .st = st,
		.snap = ls_legacy_pick(l, before_ns),
		.o = o,
		.c = c,
		.db = -1,
		.wal = -1 };
	enum ls_rc rc;

	if (j.snap == NULL)
		return ls_err_set(e, LS_ENOTFOUND, "no snapshots available");
	if (ls_exists(o->output))
		return ls_err_set(e, LS_EEXISTS,
		    "cannot restore, output path already exists: %s",
		    o->output);
	j.tmp = ls_asprintf("%s.tmp", o->output);
	j.block = ls_alloc(COPY_BLOCK);
	if (j.tmp == NULL || j.block == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	rc = ls_legacy_segments(st, j.snap->generation, &j.seg, c, e);
	if (rc != LS_OK || (rc = ls_output_parents(o->output, e)) != LS_OK)
		goto out;
	choose_segments(&j, before_ns);
	if ((rc = fill(&j, e)) == LS_OK)
		rc = ls_output_publish(j.tmp, o->output, e);
	if (rc != LS_OK)
		(void)ls_sys->unlink(j.tmp);
	else if (out != NULL)
		report(&j, out);
out:
	ls_legacy_segments_fini(&j.seg);
	ls_free(j.block);
	ls_free(j.tmp);
	return rc;
}
