/* s3_upload.c -- bodies that go up in parts: of known size from memory or a
 * descriptor, streamed with unknown size, copied on the server; and the sweep
 * of uploads that were never finished. See s3.h.
 *
 * (1) 10,000 PARTS ALWAYS SUFFICE. Known size: one equal part size. Unknown:
 *     the part size doubles every 1,000 parts, which reaches 5 TiB, S3's
 *     limit; R2 wants equal parts, so there it stays. (test: s3_part_sizes)
 * (2) BOUNDED MEMORY. Streamed bodies: as many parts as fit into STREAM_MEMORY,
 *     at least one; none for known ones, which are read where they lie. What
 *     fits into the first part is one plain PUT. (test:
 *     s3_stream_slots)
 * (3) AT MOST `concurrency` PARTS GO AT ONCE: R2 answers 500 above two. Their
 *     ETags are noted in order, and none is on its way any more when the
 *     upload is completed or aborted. (test: s3_parts_at_once)
 * (4) A PAUSE IS SEEN, however long a body takes: Complete is signed as of the
 *     time that the caller gave plus the time in which parts arrived. After a
 *     gap between them the signature is that much too old, and the server says
 *     so. (test: s3_slow_is_not_paused)
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/units.h"
#include "store/xml.h"

#include <pthread.h>
#include <stdio.h>

enum {
	GROW_EVERY = 1000,
	SWEEP_ANSWER = 4 << 20,
	MIB = 1 << 20,
	STREAM_MEMORY = 16 << 20,
	STREAM_PARTS = 4,
};
#define PAUSE	  (300 * LS_SEC) /* between parts; a stall ends in 30 s */
#define COPY_PART (1ull << 30)

uint64_t
ls_s3_equal_part(uint64_t part_size, uint64_t size)
{
	uint64_t least = size / LS_S3_PARTS_MAX + 1;

	least = (least + MIB - 1) / MIB * MIB;
	return LS_MAX(part_size, least);
}

uint64_t
ls_s3_next_part(uint64_t now, size_t done)
{
	if (done % GROW_EVERY == 0 && now * 2 <= LS_S3_PUT_MAX)
		return now * 2;
	return now;
}

/* ---- known size ------------------------------------------------------------*/

struct known {
	const struct ls_s3_multi *m;
	const struct ls_body *b;
	uint64_t part;
	char **etags;
	pthread_mutex_t mu; /* the rest */
	uint64_t last_ns;   /* boot: the last part that arrived */
	int64_t busy_ns;    /* the time in which they did */
	enum ls_rc rc;
	struct ls_err err;
};

static struct ls_body
slice_of(const struct known *k, size_t i)
{
	struct ls_body slice = *k->b;
	uint64_t at = i * k->part;

	slice.size = LS_MIN(k->part, k->b->size - at);
	if (slice.fd < 0)
		slice.mem = LS_SPAN(k->b->mem.p + at, (size_t)slice.size);
	else
		slice.off += at;
	return slice;
}

/* With mu. */
static void
arrived(struct known *k)
{
	uint64_t now = ls_sys->boot_ns(), gap = now - k->last_ns;

	k->last_ns = now;
	if (gap < PAUSE)
		k->busy_ns += (int64_t)gap;
}

/* The first failure ends all: parts that have not begun stay out. */
static void
known_job(void *arg, size_t i)
{
	struct known *k = arg;
	struct ls_body slice = slice_of(k, i);
	struct ls_err e = { 0 };
	enum ls_rc rc;

	(void)pthread_mutex_lock(&k->mu);
	rc = k->rc;
	(void)pthread_mutex_unlock(&k->mu);
	if (rc != LS_OK)
		return;
	rc = ls_s3_multi_send(k->m, i + 1, &slice, &k->etags[i], &e);
	(void)pthread_mutex_lock(&k->mu);
	if (rc == LS_OK)
		arrived(k);
	else if (k->rc == LS_OK)
		k->rc = rc, k->err = e;
	(void)pthread_mutex_unlock(&k->mu);
}

/* Parts go from where the body lies; then m has all of them, in order. */
static enum ls_rc
send_known(struct ls_s3_multi *m, const struct ls_body *b, uint64_t part,
    struct ls_err *e)
{
	size_t n = (size_t)((b->size + part - 1) / part);
	struct known k = { .m = m, .b = b, .part = part };
	enum ls_rc rc;

	k.last_ns = ls_sys->boot_ns();
	if ((k.etags = ls_zalloc(n * sizeof *k.etags)) == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&k.mu, NULL);
	ls_par_threads.run(&ls_par_threads, n,
	    (unsigned)LS_MAX(m->st->place.concurrency, 1), known_job, &k);
	(void)pthread_mutex_destroy(&k.mu);
	if ((rc = k.rc) != LS_OK && e != NULL)
		*e = k.err;
	for (size_t i = 0; i < n; i++)
		if (rc != LS_OK)
			ls_free(k.etags[i]);
		else
			rc = ls_s3_multi_add(
			    m, k.etags[i], slice_of(&k, i).size, e);
	ls_free(k.etags);
	if (m->o.sign_time_ns != 0)
		m->o.sign_time_ns += k.busy_ns;
	return rc;
}

enum ls_rc
ls_s3_put_parts(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_multi m = { .st = st, .path = path, .o = *o, .c = c };
	uint64_t part =
	    ls_s3_equal_part((uint64_t)st->place.part_size, b->size);
	enum ls_rc rc;

	if ((rc = ls_s3_multi_create(&m, e)) == LS_OK)
		rc = send_known(&m, b, part, e);
	if (rc == LS_OK)
		return ls_s3_multi_complete(&m, e);
	ls_s3_multi_abort(&m);
	return rc;
}

enum ls_rc
ls_s3_copy_parts(struct ls_store *st, const char *source, uint64_t size,
    const char *to, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_s3_multi m = { .st = st, .path = to, .o = *o, .c = c };
	uint64_t at;
	enum ls_rc rc;

	if (st->place.sse_key != NULL)
		return ls_err_set(e, LS_EUNSUPPORTED,
		    "copy of more than 5 GiB with a customer key");
	rc = ls_s3_multi_create(&m, e);
	for (at = 0; rc == LS_OK && at < size; at += COPY_PART)
		rc = ls_s3_multi_copy(
		    &m, source, at, LS_MIN(COPY_PART, size - at), e);
	if (rc == LS_OK)
		return ls_s3_multi_complete(&m, e);
	ls_s3_multi_abort(&m);
	return rc;
}

/* ---- streamed --------------------------------------------------------------*/

/* One part: filled by the caller, then on its way in a task of its own. */
struct slot {
	const struct ls_s3_multi *m;
	struct ls_buf part;
	size_t number; /* from 1, while it is on its way; else 0 */
	struct ls_task task;
	char *etag;
	enum ls_rc rc;
	struct ls_err err;
};

struct stream {
	struct ls_s3_multi m; /* m.id NULL: nothing was sent yet */
	struct slot slot[STREAM_PARTS];
	size_t slots, at; /* used in turn; the one that is being filled */
	size_t sent;
	size_t part_size;
	bool equal; /* R2 */
};

size_t
ls_s3_stream_slots(size_t part_size, int concurrency)
{
	size_t n =
	    LS_MIN((size_t)STREAM_MEMORY / part_size, (size_t)STREAM_PARTS);

	return LS_MAX(LS_MIN(n, (size_t)LS_MAX(concurrency, 1)), (size_t)1);
}

static void
set_part_size(struct stream *s, size_t part_size)
{
	s->part_size = part_size;
	s->slots = ls_s3_stream_slots(part_size, s->m.st->place.concurrency);
	s->at = 0;
	for (size_t i = 0; i < STREAM_PARTS; i++) {
		ls_buf_free(&s->slot[i].part);
		ls_buf_init(&s->slot[i].part, part_size);
	}
}

enum ls_rc
ls_s3_begin(struct ls_upload *u, struct ls_err *e)
{
	const struct ls_place *p = &u->st->place;
	struct stream *s = ls_zalloc(sizeof *s);

	if (s == NULL)
		return ls_err_nomem(e);
	s->m = (struct ls_s3_multi){
		.st = u->st, .path = u->path, .o = u->o, .c = &u->call
	};
	set_part_size(s, (size_t)p->part_size);
	s->equal = p->endpoint != NULL &&
		   strstr(p->endpoint, ".r2.cloudflarestorage.com") != NULL;
	u->self = s;
	return LS_OK;
}

static struct ls_body
slot_body(const struct slot *t)
{
	return (struct ls_body){ ls_buf_span(&t->part), -1, 0, t->part.n };
}

static void
slot_job(void *arg)
{
	struct slot *t = arg;
	const struct ls_body b = slot_body(t);

	t->rc = ls_s3_multi_send(t->m, t->number, &b, &t->etag, &t->err);
}

/* Wait for the part in it; then the slot is empty. */
static enum ls_rc
slot_settle(struct stream *s, struct slot *t, struct ls_err *e)
{
	uint64_t n = t->part.n;

	ls_task_wait(&t->task);
	if (t->number == 0)
		return LS_OK;
	t->number = 0;
	ls_buf_clear(&t->part);
	if (t->rc == LS_OK)
		return ls_s3_multi_add(&s->m, t->etag, n, e);
	if (e != NULL)
		*e = t->err;
	return t->rc;
}

/* All parts that are on their way, the oldest first. */
static enum ls_rc
settle_all(struct stream *s, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 1; rc == LS_OK && i <= s->slots; i++)
		rc = slot_settle(s, &s->slot[(s->at + i) % s->slots], e);
	return rc;
}

/* The part that was filled goes; the next slot is empty when this returns. */
static enum ls_rc
send_part(struct stream *s, struct ls_err *e)
{
	struct slot *t = &s->slot[s->at];
	size_t next = s->part_size;
	enum ls_rc rc = LS_OK;

	if (s->m.id == NULL && (rc = ls_s3_multi_create(&s->m, e)) != LS_OK)
		return rc;
	t->m = &s->m;
	t->number = ++s->sent;
	t->etag = NULL, t->rc = LS_OK, t->err = (struct ls_err){ 0 };
	ls_task_start(&t->task, slot_job, t);
	if (!s->equal)
		next = (size_t)ls_s3_next_part(s->part_size, s->sent);
	if (next != s->part_size) {
		if ((rc = settle_all(s, e)) == LS_OK)
			set_part_size(s, next);
		return rc;
	}
	s->at = (s->at + 1) % s->slots;
	return slot_settle(s, &s->slot[s->at], e);
}

enum ls_rc
ls_s3_write(struct ls_upload *u, struct ls_span bytes, struct ls_err *e)
{
	struct stream *s = u->self;
	enum ls_rc rc;

	while (bytes.n > 0) {
		struct ls_buf *part = &s->slot[s->at].part;
		size_t k;

		/* A full part goes when more follows it: so the last part is
		 * never empty, and a body of one part is a plain PUT. */
		if (part->n == s->part_size) {
			if ((rc = send_part(s, e)) != LS_OK)
				return rc;
			continue;
		}
		k = LS_MIN(bytes.n, s->part_size - part->n);
		if ((rc = ls_buf_add(part, bytes.p, k, e)) != LS_OK)
			return rc;
		bytes.p += k, bytes.n -= k;
	}
	return LS_OK;
}

static void
stream_free(struct stream *s)
{
	for (size_t i = 0; i < STREAM_PARTS; i++)
		ls_buf_free(&s->slot[i].part);
	ls_free(s);
}

/* Nothing is on its way when the upload is aborted: a part that came later
 * would be kept, and paid for, by the server. */
static void
abort_all(struct stream *s)
{
	for (size_t i = 0; i < STREAM_PARTS; i++) {
		struct slot *t = &s->slot[i];

		ls_task_wait(&t->task);
		if (t->number != 0)
			ls_free(t->etag);
	}
	ls_s3_multi_abort(&s->m);
}

enum ls_rc
ls_s3_commit(struct ls_upload *u, struct ls_err *e)
{
	struct stream *s = u->self;
	const struct ls_body b = slot_body(&s->slot[s->at]);
	enum ls_rc rc;

	if (s->m.id == NULL)
		rc = ls_s3_put_plain(u->st, u->path, &b, &u->o, &u->call, e);
	else if ((rc = send_part(s, e)) == LS_OK &&
		 (rc = settle_all(s, e)) == LS_OK)
		rc = ls_s3_multi_complete(&s->m, e);
	else
		abort_all(s);
	stream_free(s);
	return rc;
}

void
ls_s3_abort(struct ls_upload *u)
{
	struct stream *s = u->self;

	abort_all(s);
	stream_free(s);
}

/* ---- sweep -----------------------------------------------------------------*/

struct sweep {
	struct ls_store *st;
	const struct ls_call *c;
	int64_t before_ns;
	char key[1100], id[1100];
	int64_t begun_ns;
};

/* "0009/....ltx", relative: only names that we write. With an empty prefix the
 * bucket may hold uploads of others. */
static bool
is_ours(const char *key)
{
	size_t n = strlen(key);

	return n > 9 && strspn(key, "0123456789abcdef") == 4 && key[4] == '/' &&
	       strcmp(key + n - 4, ".ltx") == 0;
}

static void
copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", strlen(text) < size ? text : "");
}

static enum ls_rc
on_upload(void *arg, const char *path, const char *text, struct ls_err *e)
{
	static const char root[] = "ListMultipartUploadsResult/Upload";
	struct sweep *w = arg;
	const char *prefix = w->st->place.path;
	size_t n = strlen(prefix);
	enum ls_rc rc;

	if (strncmp(path, root, sizeof root - 1) != 0)
		return LS_OK;
	path += sizeof root - 1;
	if (strcmp(path, "/Key") == 0)
		copy_text(w->key, sizeof w->key, text);
	else if (strcmp(path, "/UploadId") == 0)
		copy_text(w->id, sizeof w->id, text);
	else if (strcmp(path, "/Initiated") == 0)
		return ls_time_parse(text, &w->begun_ns, e);
	if (path[0] != '\0')
		return LS_OK;
	if (w->id[0] == '\0' || w->begun_ns >= w->before_ns ||
	    strncmp(w->key, prefix, n) != 0 || (n > 0 && w->key[n] != '/') ||
	    !is_ours(ls_store_key(w->st, w->key)))
		return LS_OK;
	rc = ls_s3_abort_upload(w->st, w->key, w->id, w->c, e);
	return rc == LS_ENOTFOUND ? LS_OK : rc;
}

enum ls_rc
ls_s3_sweep(struct ls_store *st, int64_t age_ms, const struct ls_call *c,
    struct ls_err *e)
{
	struct sweep w = { .st = st, .c = c };
	struct ls_buf out = LS_BUF_INIT(SWEEP_ANSWER);
	struct ls_s3_req q = {
		.method = "GET",
		.what = "s3:ListBucketMultipartUploads",
		.out = &out,
	};
	struct ls_http_resp r;
	char *prefix;
	enum ls_rc rc;

	w.before_ns = ls_sys->wall_ns() - age_ms * 1000000;
	prefix =
	    ls_asprintf("%s%s", st->place.path, st->place.path[0] ? "/" : "");
	if (prefix == NULL)
		return ls_err_nomem(e);
	ls_s3_param(&q, "uploads", "");
	ls_s3_param(&q, "prefix", prefix);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	if (rc == LS_OK) /* one page of 1,000: the next sweep sees the rest */
		rc = ls_xml_parse(ls_buf_span(&out), on_upload, &w, e);
	else if (rc == LS_EUNSUPPORTED)
		rc = LS_OK; /* then there are none to be found */
	ls_buf_free(&out);
	ls_free(prefix);
	return rc;
}
