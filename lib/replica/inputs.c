/* inputs.c -- stored files as the inputs of a merge. See inputs.h.
 *
 * (1) BOUNDED. Readers and buffers have a budget each, whatever the number and
 *     size of the files: a small file is one GET and lies whole in its buffer,
 *     a large one is read by ranges. The number of inputs is bounded too; the
 *     caller makes several outputs then. (test: many_inputs_make_several_files)
 * (2) ONE OBJECT. Every range after the first says If-Match, so that a file is
 *     never put together from two. (test: input_that_changes_is_an_error)
 * (3) LOCAL BYTES ARE ONLY A SHORT CUT. They are checksummed like any other; a
 *     file that goes away meanwhile is read on from the store, at the same
 *     place. (test: local_files_spare_downloads)
 * (4) A LOST ANSWER IS NOT ANOTHER WRITER. A merge is deterministic, so when
 *     the name is taken, size, header and trailer (whose checksum covers the
 *     rest) tell whether it is our own. (test: taken_name_is_ours_or_fences)
 * (5) A ZSTD FILE MAY HAVE BEEN MADE WITH ANOTHER DICTIONARY, or before the
 *     option changed: then it is our own when history, range, time and database
 *     checksum are the same. (test: taken_name_in_another_codec)
 * (6) A FULL COPY MAY HAVE BEEN MADE OF THE LIVE DATABASE, by a snapshot that
 *     ended a moment ago: other bytes, and the same state in the same sense.
 *     (test: taken_name_of_a_live_snapshot)
 */
#include "replica/inputs.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>

enum {
	READERS = 24 << 20, /* of all readers together */
	READER = 34 << 10,  /* of one, without its two pages */
	BUFFERS = 16 << 20,
	BLOCK_MIN = 16 << 10,
	BLOCK_MAX = 4 << 20,
	COPY_MIN = 1 << 20, /* below, a GET and a PUT cost no more */
	PATH_BYTES = 4096,
};

size_t
ls_inputs_limit(uint32_t page_size)
{
	return READERS / (READER + 2 * (size_t)page_size);
}

/* The largest block with which the buffers of all files fit the budget. */
static size_t
choose_block(const struct ls_file *f, size_t n)
{
	size_t block = BLOCK_MAX;

	for (; block > BLOCK_MIN; block /= 2) {
		uint64_t sum = 0;

		for (size_t i = 0; i < n; i++)
			sum += LS_MIN(f[i].size, (uint64_t)block);
		if (sum <= BUFFERS)
			break;
	}
	return block;
}

/* ---- reading --------------------------------------------------------------*/

static enum ls_rc
fetch(struct ls_input *s, struct ls_err *e)
{
	struct ls_inputs *in = s->in;
	uint64_t left = s->size		      ? s->size - s->next
			: s->f.size > s->next ? s->f.size - s->next
					      : in->block;
	struct ls_get g = { .off = s->next,
		.len = LS_MIN(left, (uint64_t)in->block) };
	struct ls_got got = { 0 };
	enum ls_rc rc;

	g.if_match = s->etag[0] != '\0' ? s->etag : NULL;
	ls_buf_clear(&s->buf);
	s->used = 0;
	rc = ls_store_get(
	    ls_replica_store(in->r), s->key, &g, &s->buf, &got, in->c, e);
	if (rc != LS_OK)
		return rc;
	if (s->size == 0) {
		s->size = got.total_size;
		memcpy(s->etag, got.etag, sizeof s->etag);
	} else if (got.total_size != s->size) {
		return ls_err_set(e, LS_ECHANGED, "%s: object changed", s->key);
	}
	s->next += s->buf.n;
	(void)atomic_fetch_add(&in->fetched, s->buf.n);
	if (s->buf.n == 0)
		return ls_err_set(e, LS_ESHORT, "%s: no data at %llu", s->key,
		    (unsigned long long)g.off);
	return LS_OK;
}

/* false: there is no such file (any more). */
static bool
read_local(struct ls_input *s, uint8_t *buf, size_t n, size_t *got)
{
	int fd;
	ssize_t k;

	if (s->path == NULL)
		return false;
	if (ls_open(s->path, O_RDONLY, 0, &fd, NULL) == LS_OK) {
		do
			k = ls_sys->pread(fd, buf, n, (off_t)s->next);
		while (k < 0 && errno == EINTR);
		(void)ls_sys->close(fd);
		if (k >= 0) {
			s->next += (uint64_t)k;
			*got = (size_t)k;
			return true;
		}
	}
	ls_free(s->path);
	s->path = NULL;
	return false;
}

static enum ls_rc
source(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct ls_input *s = arg;
	enum ls_rc rc;

	if ((rc = ls_call_check(s->in->c, e)) != LS_OK)
		return rc;
	if (read_local(s, buf, n, got))
		return LS_OK;
	if (s->used == s->buf.n) {
		uint64_t size = s->size ? s->size : s->f.size;

		*got = 0;
		/* Also of a local file that went away behind its last byte. */
		if (size != 0 && s->next >= size)
			return LS_OK;
		if ((rc = fetch(s, e)) != LS_OK)
			return rc;
	}
	*got = LS_MIN(n, s->buf.n - s->used);
	memcpy(buf, s->buf.p + s->used, *got);
	s->used += *got;
	return LS_OK;
}

/* Read the header; the merge reads it again, from the start. */
static enum ls_rc
open_one(struct ls_input *s, struct ls_err *e)
{
	uint8_t head[LS_LTX_HEADER];
	size_t n = 0, got;
	enum ls_rc rc;

	while (n < sizeof head) {
		rc = source(s, head + n, sizeof head - n, &got, e);
		if (rc != LS_OK)
			return rc;
		if (got == 0)
			return ls_err_set(e, LS_ECORRUPT,
			    "%s: %zu bytes are no header", s->key, n);
		n += got;
	}
	if (s->buf.n > 0)
		s->used = 0;
	else
		s->next = 0;
	rc = ls_ltx_header_decode(LS_SPAN(head, sizeof head), &s->h, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "%s", s->key);
	ls_file_set_header(&s->f, &s->h);
	return ls_file_matches(&s->f, &s->h, s->key, e);
}

static void
open_job(void *arg, size_t i)
{
	struct ls_inputs *in = arg;
	struct ls_input *s = &in->v[i];
	char path[PATH_BYTES];
	struct ls_err e = { 0 };

	if (s->f.level == 0 && in->o->local != NULL &&
	    in->o->local(in->o->local_arg, s->f.max_txid, path, sizeof path))
		s->path = ls_strdup(path); /* without memory: no short cut */
	s->rc = open_one(s, &e);
	if (s->rc != LS_OK && (s->err = ls_alloc(sizeof e)) != NULL)
		*s->err = e;
}

static enum ls_rc
first_error(const struct ls_inputs *in, struct ls_err *e)
{
	for (size_t i = 0; i < in->n; i++) {
		const struct ls_input *s = &in->v[i];

		if (s->rc == LS_OK)
			continue;
		if (s->err == NULL)
			return ls_err_set(
			    e, s->rc, "%s: %s", s->key, ls_rc_text(s->rc));
		if (e != NULL)
			*e = *s->err;
		return s->rc;
	}
	return LS_OK;
}

enum ls_rc
ls_inputs_open(struct ls_inputs *in, struct ls_replica *r,
    const struct ls_file *files, size_t n, const struct ls_compact_opts *o,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_layout layout = ls_store_layout(ls_replica_store(r));
	const struct ls_par *par = o->par ? o->par : &ls_par_serial;

	*in = (struct ls_inputs){ .r = r, .o = o, .c = c };
	in->block = choose_block(files, n);
	if ((in->v = ls_zalloc(n * sizeof *in->v)) == NULL)
		return ls_err_nomem(e);
	in->n = n;
	for (size_t i = 0; i < n; i++) {
		struct ls_input *s = &in->v[i];

		s->in = in;
		s->f = files[i];
		ls_buf_init(&s->buf, in->block);
		ls_ltx_key(
		    layout, s->f.level, s->f.min_txid, s->f.max_txid, s->key);
	}
	par->run(par, n, o->parallelism ? o->parallelism : 8, open_job, in);
	return first_error(in, e);
}

void
ls_inputs_close(struct ls_inputs *in)
{
	for (size_t i = 0; i < in->n; i++) {
		ls_buf_free(&in->v[i].buf);
		ls_free(in->v[i].path);
		ls_free(in->v[i].err);
	}
	ls_free(in->v);
	in->v = NULL;
	in->n = 0;
}

/* ---- a name that is taken -------------------------------------------------*/

struct ends { /* what tells one file from another */
	uint64_t size;
	uint8_t head[LS_LTX_HEADER], tail[LS_LTX_TRAILER];
};

static enum ls_rc
ends_get(struct ls_replica *r, const char *key, struct ends *x,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(r);
	struct ls_get g = { .len = LS_LTX_HEADER };
	struct ls_buf b = LS_BUF_INIT(LS_LTX_HEADER);
	struct ls_got got = { 0 };
	enum ls_rc rc = ls_store_get(st, key, &g, &b, &got, c, e);

	memset(x, 0, sizeof *x);
	if (rc == LS_OK && b.n == sizeof x->head) {
		memcpy(x->head, b.p, sizeof x->head);
		x->size = got.total_size;
		ls_buf_clear(&b);
		g = (struct ls_get){ .suffix = LS_LTX_TRAILER };
		rc = ls_store_get(st, key, &g, &b, NULL, c, e);
		if (rc == LS_OK && b.n == sizeof x->tail)
			memcpy(x->tail, b.p, sizeof x->tail);
	}
	ls_buf_free(&b);
	return rc;
}

/* (5), (6) */
static bool
same_state(const struct ends *a, const struct ends *b)
{
	struct ls_ltx_header x, y;
	bool checked;

	if (ls_ltx_header_decode(LS_SPAN(a->head, sizeof a->head), &x, NULL) !=
		LS_OK ||
	    ls_ltx_header_decode(LS_SPAN(b->head, sizeof b->head), &y, NULL) !=
		LS_OK)
		return false;
	if (x.min_txid == 1) /* a large first copy has no checksum */
		checked = !x.has_db_checksum || !y.has_db_checksum ||
			  x.db_checksum == y.db_checksum;
	else
		checked = ((x.flags | y.flags) & LS_LTX_ZSTD) != 0 &&
			  x.has_db_checksum && y.has_db_checksum &&
			  x.db_checksum == y.db_checksum;
	return checked && x.node_id != 0 && x.node_id == y.node_id &&
	       x.min_txid == y.min_txid && x.max_txid == y.max_txid &&
	       x.commit == y.commit && x.page_size == y.page_size &&
	       x.timestamp_ms == y.timestamp_ms;
}

/* LS_OK when the object under key is the one that we meant to put. */
static enum ls_rc
settle(struct ls_replica *r, const char *key, const struct ends *ours,
    const struct ls_call *c, struct ls_err *e)
{
	struct ends there;
	enum ls_rc rc = ends_get(r, key, &there, c, e);

	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "%s is taken", key);
	if (memcmp(&there, ours, sizeof there) == 0 || same_state(&there, ours))
		return LS_OK;
	(void)ls_err_set(e, LS_EFENCED, "another writer's %s is in %s", key,
	    ls_store_text(ls_replica_store(r)));
	return ls_err_hint(e, LS_EFENCED,
	    "stop the other writer, or give this database a place of its own");
}

enum ls_rc
ls_files_fenced(struct ls_replica *r, const struct ls_files *files,
    uint64_t newest, ls_newest_fn *now, void *arg, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(r);
	const struct ls_file *last = ls_files_newest(files);
	char key[LS_KEY_MAX];

	if (newest == 0 || last == NULL || last->max_txid <= newest)
		return LS_OK;
	if (now != NULL) {
		newest = now(arg);
		if (last->max_txid <= newest)
			return LS_OK;
	}
	ls_ltx_key(ls_store_layout(st), last->level, last->min_txid,
	    last->max_txid, key);
	(void)ls_err_set(e, LS_EFENCED,
	    "another writer's %s is in %s: ours ends at %016llx", key,
	    ls_store_text(st), (unsigned long long)newest);
	return ls_err_hint(e, LS_EFENCED,
	    "stop the other writer, or give this database a place of its own");
}

static enum ls_rc
put_opts(struct ls_replica *r, int64_t timestamp_ms, struct ls_put *p,
    unsigned *caps, const struct ls_call *c, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(r);
	enum ls_rc rc = ls_store_caps(st, caps, c, e);

	*p = (struct ls_put){ .timestamp_ms = timestamp_ms };
	if (rc == LS_OK)
		p->if_absent = (*caps & LS_CAP_IF_ABSENT) != 0 &&
			       ls_store_fencing(st) != LS_FENCING_OFF;
	return rc;
}

/* ---- copying --------------------------------------------------------------*/

static enum ls_rc
copy(struct ls_replica *r, const char *from, const char *to,
    const struct ls_put *p, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = ls_store_copy(ls_replica_store(r), from, to, p, c, e);
	struct ends x;

	if (rc != LS_EEXISTS)
		return rc;
	if ((rc = ends_get(r, from, &x, c, e)) != LS_OK)
		return rc;
	return settle(r, to, &x, c, e);
}

enum ls_rc
ls_file_to_level(struct ls_replica *r, const struct ls_file *f, int level,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_layout layout = ls_store_layout(ls_replica_store(r));
	struct ls_file with = *f;
	struct ls_put p;
	char from[LS_KEY_MAX], to[LS_KEY_MAX];
	unsigned caps;
	enum ls_rc rc;

	if ((rc = ls_replica_header(r, &with, NULL, c, e)) != LS_OK ||
	    (rc = put_opts(r, with.timestamp_ms, &p, &caps, c, e)) != LS_OK)
		return rc;
	ls_ltx_key(layout, f->level, f->min_txid, f->max_txid, from);
	ls_ltx_key(layout, level, f->min_txid, f->max_txid, to);
	if ((caps & LS_CAP_COPY) == 0)
		return ls_err_set(
		    e, LS_EUNSUPPORTED, "%s: the store cannot copy", from);
	return copy(r, from, to, &p, c, e);
}

/* ---- merging --------------------------------------------------------------*/

struct tee { /* remembers both ends of what goes by */
	struct ls_upload *u;
	struct ends x;
};

static enum ls_rc
on_bytes(void *arg, struct ls_span b, struct ls_err *e)
{
	struct tee *t = arg;
	size_t cap = sizeof t->x.tail, k = LS_MIN(b.n, cap);

	if (t->x.size < sizeof t->x.head) {
		size_t at = (size_t)t->x.size;

		memcpy(t->x.head + at, b.p, LS_MIN(b.n, sizeof t->x.head - at));
	}
	memmove(t->x.tail, t->x.tail + k, cap - k);
	if (k > 0)
		memcpy(t->x.tail + cap - k, b.p + b.n - k, k);
	t->x.size += b.n;
	return ls_upload_write(t->u, b, e);
}

static enum ls_rc
upload(struct ls_inputs *in, const struct ls_merge_input *mi, size_t n,
    const struct ls_merge_opts *m, const char *key, const struct ls_put *p,
    struct ls_stored *out, struct ls_err *e)
{
	struct tee t = { .u = NULL };
	enum ls_rc rc;

	rc = ls_upload_begin(ls_replica_store(in->r), key, p, in->c, &t.u, e);
	if (rc != LS_OK)
		return rc;
	rc = ls_merge(mi, n, m, on_bytes, &t, &out->h, &out->size, e);
	if (rc != LS_OK) {
		ls_upload_abort(t.u);
		return rc;
	}
	if ((rc = ls_upload_commit(t.u, e)) == LS_EEXISTS)
		rc = settle(in->r, key, &t.x, in->c, e);
	return rc;
}

static enum ls_rc
merge(struct ls_inputs *in, size_t first, size_t n,
    const struct ls_merge_opts *m, const char *key, const struct ls_put *p,
    struct ls_stored *out, struct ls_err *e)
{
	struct ls_merge_input *mi = ls_alloc(n * sizeof *mi);
	enum ls_rc rc;

	if (mi == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < n; i++)
		mi[i] = (struct ls_merge_input){ source, &in->v[first + i] };
	rc = upload(in, mi, n, m, key, p, out, e);
	ls_free(mi);
	return rc;
}

enum ls_rc
ls_inputs_store(struct ls_inputs *in, size_t first, size_t n,
    const struct ls_merge_opts *m, int level, struct ls_stored *out,
    struct ls_err *e)
{
	const struct ls_input *a = &in->v[first], *z = &in->v[first + n - 1];
	struct ls_merge_opts with = *m;
	struct ls_put p;
	char key[LS_KEY_MAX];
	unsigned caps;
	enum ls_rc rc;

	*out = (struct ls_stored){ .copied = false };
	rc = put_opts(in->r, z->h.timestamp_ms, &p, &caps, in->c, e);
	if (rc != LS_OK)
		return rc;
	ls_ltx_key(ls_store_layout(ls_replica_store(in->r)), level,
	    m->from_one ? 1 : a->f.min_txid, z->f.max_txid, key);
	if (n == 1 && (!m->from_one || a->f.min_txid == 1) && a->path == NULL &&
	    a->size >= COPY_MIN && (caps & LS_CAP_COPY) &&
	    in->o->codec.zstd == ((a->h.flags & LS_LTX_ZSTD) != 0)) {
		rc = copy(in->r, a->key, key, &p, in->c, e);
		*out = (struct ls_stored){ a->h, a->size, true };
		if (rc != LS_EUNSUPPORTED)
			return rc;
		out->copied = false;
	}
	with.codec = in->o->codec;
	return merge(in, first, n, &with, key, &p, out, e);
}
