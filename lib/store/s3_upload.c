/* s3_upload.c -- bodies that go up in parts: of known size from memory or a
 * descriptor, streamed with unknown size, copied on the server; and the sweep
 * of uploads that were never finished. See s3.h.
 *
 * (1) 10,000 PARTS ALWAYS SUFFICE. Known size: one equal part size. Unknown:
 *     the part size doubles every 1,000 parts, which reaches 5 TiB, S3's
 *     limit; R2 wants equal parts, so there it stays. (test: s3_part_sizes)
 * (2) ONE PART IN MEMORY, streamed bodies; none for known ones, which are read
 *     where they lie. What fits into the first part is one plain PUT.
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/units.h"
#include "store/xml.h"

#include <stdio.h>

enum { GROW_EVERY = 1000, SWEEP_ANSWER = 4 << 20, MIB = 1 << 20 };
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

enum ls_rc
ls_s3_put_parts(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_multi m = { .st = st, .path = path, .o = *o, .c = c };
	uint64_t part =
	    ls_s3_equal_part((uint64_t)st->place.part_size, b->size);
	uint64_t at;
	enum ls_rc rc;

	rc = ls_s3_multi_create(&m, e);
	for (at = 0; rc == LS_OK && at < b->size; at += part) {
		struct ls_body slice = *b;

		slice.size = LS_MIN(part, b->size - at);
		if (b->fd < 0)
			slice.mem = LS_SPAN(b->mem.p + at, (size_t)slice.size);
		else
			slice.off += at;
		rc = ls_s3_multi_part(&m, &slice, e);
	}
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

struct stream {
	struct ls_s3_multi m; /* m.id NULL: nothing was sent yet */
	struct ls_buf part;
	size_t part_size;
	bool equal; /* R2 */
};

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
	s->part_size = (size_t)p->part_size;
	s->equal = p->endpoint != NULL &&
		   strstr(p->endpoint, ".r2.cloudflarestorage.com") != NULL;
	ls_buf_init(&s->part, s->part_size);
	u->self = s;
	return LS_OK;
}

static void
stream_free(struct stream *s)
{
	ls_buf_free(&s->part);
	ls_free(s);
}

static enum ls_rc
send_part(struct stream *s, struct ls_err *e)
{
	const struct ls_body b = { ls_buf_span(&s->part), -1, 0, s->part.n };
	enum ls_rc rc = LS_OK;

	if (s->m.id == NULL)
		rc = ls_s3_multi_create(&s->m, e);
	if (rc == LS_OK)
		rc = ls_s3_multi_part(&s->m, &b, e);
	if (rc != LS_OK)
		return rc;
	ls_buf_clear(&s->part);
	if (!s->equal) {
		s->part_size = (size_t)ls_s3_next_part(s->part_size, s->m.n);
		s->part.max = s->part_size;
	}
	return LS_OK;
}

enum ls_rc
ls_s3_write(struct ls_upload *u, struct ls_span bytes, struct ls_err *e)
{
	struct stream *s = u->self;
	enum ls_rc rc;

	while (bytes.n > 0) {
		size_t k;

		/* A full part goes when more follows it: so the last part is
		 * never empty, and a body of one part is a plain PUT. */
		if (s->part.n == s->part_size &&
		    (rc = send_part(s, e)) != LS_OK)
			return rc;
		k = LS_MIN(bytes.n, s->part_size - s->part.n);
		if ((rc = ls_buf_add(&s->part, bytes.p, k, e)) != LS_OK)
			return rc;
		bytes.p += k, bytes.n -= k;
	}
	return LS_OK;
}

enum ls_rc
ls_s3_commit(struct ls_upload *u, struct ls_err *e)
{
	struct stream *s = u->self;
	const struct ls_body b = { ls_buf_span(&s->part), -1, 0, s->part.n };
	enum ls_rc rc;

	if (s->m.id == NULL && s->m.n == 0) {
		rc = ls_s3_put_plain(u->st, u->path, &b, &u->o, &u->call, e);
	} else if ((rc = send_part(s, e)) == LS_OK) {
		rc = ls_s3_multi_complete(&s->m, e);
	} else {
		ls_s3_multi_abort(&s->m);
	}
	stream_free(s);
	return rc;
}

void
ls_s3_abort(struct ls_upload *u)
{
	struct stream *s = u->self;

	ls_s3_multi_abort(&s->m);
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
