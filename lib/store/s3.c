/* s3.c -- the S3 driver: get, head, copy. See s3.h for its other files.
 *
 * (1) A GET IS WHAT WAS ASKED FOR: status 206, a Content-Range that begins
 *     where we asked and ends inside, and exactly so many bytes; a server or
 *     proxy that says something else is an error, never data.
 *     (test: s3_get_checks_what_it_gets)
 * (2) IF-MATCH IN THE SERVER'S DIALECT: AWS and MinIO want the ETag quoted,
 *     Ceph unquoted (quoted gives 412). A 412 is asked again unquoted once;
 *     what worked is remembered. (test: s3_if_match_dialects)
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/units.h"
#include "store/uri.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SMALL_ANSWER = 65536,
	GET_TRIES = 3,
	/* A copy of gigabytes may take minutes without a byte. */
	COPY_STALL_MS = 300000,
};

static enum ls_rc
s3_open(struct ls_store *st, struct ls_err *e)
{
	struct ls_s3 *s;
	char *name;
	enum ls_rc rc;

	assert(st->net != NULL);
	if ((s = ls_zalloc(sizeof *s)) == NULL)
		return ls_err_nomem(e);
	name = ls_asprintf("%s\n%s\n%s",
	    st->place.endpoint ? st->place.endpoint : "", st->place.bucket,
	    st->place.region ? st->place.region : "");
	if (name == NULL)
		rc = ls_err_nomem(e);
	else
		rc = ls_net_fact(st->net, name, &s->fact, e);
	ls_free(name);
	if (rc == LS_OK)
		st->self = s;
	else
		ls_free(s);
	return rc;
}

static void
s3_close(struct ls_store *st)
{
	ls_free(st->self);
}

/* ---- get -------------------------------------------------------------------*/

static int64_t
stamp_ms(const struct ls_http_resp *r)
{
	int64_t ns;

	if (r->timestamp[0] == '\0' ||
	    ls_time_parse(r->timestamp, &ns, NULL) != LS_OK)
		return 0;
	return ns / 1000000;
}

static void
got_from(const struct ls_http_resp *r, uint64_t total, struct ls_got *g)
{
	const char *s = r->etag;
	size_t n;
	int64_t t = r->last_modified[0] ? ls_http_date(r->last_modified) : -1;

	if (strncmp(s, "W/", 2) == 0)
		s += 2;
	s += *s == '"';
	n = strcspn(s, "\"");
	g->etag[0] = '\0';
	if (n < sizeof g->etag)
		memcpy(g->etag, s, n), g->etag[n] = '\0';
	g->total_size = total;
	g->mtime_ns = t > 0 ? t * 1000000000 : 0;
	g->timestamp_ms = stamp_ms(r);
}

/* "bytes 0-9/100" or "bytes * /100"; false when it is something else. */
static bool
content_range(const char *s, uint64_t *first, uint64_t *last, uint64_t *total)
{
	int n = 0;

	if (sscanf(s, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%n", first,
		last, total, &n) == 3 &&
	    s[n] == '\0')
		return *first <= *last && *last < *total;
	return false;
}

static enum ls_rc
wrong(const struct ls_http_resp *r, const char *what, struct ls_err *e)
{
	return ls_err_set(e, LS_ESERVER,
	    "the answer does not fit the request: %s (HTTP %d, "
	    "Content-Range \"%s\")",
	    what, r->status, r->content_range);
}

/* (1). n bytes came. */
static enum ls_rc
check_range(const struct ls_http_resp *r, const struct ls_get *o, uint64_t n,
    uint64_t *total, struct ls_err *e)
{
	uint64_t first, last;
	bool suffix = o->suffix > 0;

	if (r->status == 200) { /* a store that sends the whole of it */
		if (suffix ? n > (uint64_t)o->suffix
			   : o->off > 0 || (o->len > 0 && n > o->len))
			return wrong(r, "the range was ignored", e);
		if (r->length < 0 || (uint64_t)r->length != n)
			return wrong(r, "no Content-Length", e);
		*total = n;
		return LS_OK;
	}
	/* MinIO, asked for the end of an empty object: "bytes 0--1/0". */
	if (r->status == 206 && n == 0 && (suffix || o->off == 0) &&
	    strcmp(r->content_range, "bytes 0--1/0") == 0) {
		*total = 0;
		return LS_OK;
	}
	if (r->status != 206 ||
	    !content_range(r->content_range, &first, &last, total))
		return wrong(r, "no valid range", e);
	if (last - first + 1 != n)
		return wrong(r, "range and length differ", e);
	if (suffix
		? last + 1 != *total || n != LS_MIN(*total, (uint64_t)o->suffix)
		: first != o->off)
		return wrong(r, "another range", e);
	if (!suffix && o->len > 0 && n != LS_MIN(o->len, *total - o->off))
		return wrong(r, "another length", e);
	if (!suffix && o->len == 0 && last + 1 != *total)
		return wrong(r, "not to the end", e);
	return LS_OK;
}

static enum ls_rc
get_once(struct ls_store *st, const char *path, const struct ls_get *o,
    bool bare, struct ls_buf *out, struct ls_http_resp *r,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "GET",
		.path = path,
		.what = "s3:GetObject",
		.out = out,
	};
	char range[64];
	char match[LS_S3_MATCH];

	if (o->suffix > 0)
		(void)snprintf(
		    range, sizeof range, "bytes=-%" PRId64, o->suffix),
		    q.out_max = (uint64_t)o->suffix;
	else if (o->len > 0)
		(void)snprintf(range, sizeof range,
		    "bytes=%" PRIu64 "-%" PRIu64, o->off,
		    o->off + (o->len - 1)),
		    q.out_max = o->len;
	else
		(void)snprintf(
		    range, sizeof range, "bytes=%" PRIu64 "-", o->off);
	ls_s3_header(&q, "range", range);
	if (o->if_match != NULL)
		ls_s3_match(&q, match, o->if_match, bare);
	ls_s3_key_headers(st, &q);
	return ls_s3_send(st, &q, r, c, e);
}

/* Both spellings, if need be. A 412 in both is another object, or none. */
static enum ls_rc
get_matching(struct ls_store *st, const char *path, const struct ls_get *o,
    struct ls_buf *out, struct ls_http_resp *r, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	bool bare = atomic_load(&f->bare_etag) != 0;
	struct ls_got g;
	enum ls_rc rc;

	rc = get_once(st, path, o, bare, out, r, c, e);
	if (o->if_match == NULL || rc != LS_ECHANGED)
		return rc;
	rc = get_once(st, path, o, !bare, out, r, c, e);
	if (rc == LS_OK)
		atomic_store(&f->bare_etag, !bare);
	if (rc != LS_ECHANGED)
		return rc;
	/* Ceph says 412 for a key that is gone, too. */
	if (ls_s3_head(st, path, &g, c, NULL) == LS_ENOTFOUND)
		return ls_err_set(e, LS_ENOTFOUND, "no such object");
	return rc;
}

static enum ls_rc s3_get(struct ls_store *st, const char *path,
    const struct ls_get *o, struct ls_buf *out, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e);

/* 416 without an offset: of an empty object, or a suffix that is longer than
 * a short one. HEAD tells which, then a range that exists is asked for. */
static enum ls_rc
out_of_range(struct ls_store *st, const char *path, const struct ls_get *o,
    struct ls_buf *out, struct ls_got *got, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_get whole = { .if_match = o->if_match };
	struct ls_got g = { 0 };
	enum ls_rc rc;

	if ((rc = ls_s3_head(st, path, &g, c, e)) != LS_OK)
		return rc;
	if (o->if_match != NULL && strcmp(o->if_match, g.etag) != 0)
		return ls_err_set(
		    e, LS_ECHANGED, "it is another object by now");
	if (g.total_size == 0) {
		*got = g;
		return LS_OK;
	}
	if (o->suffix <= 0 || g.total_size >= (uint64_t)o->suffix)
		return ls_err_set(e, LS_ESERVER,
		    "HTTP 416 for a range inside %" PRIu64 " bytes",
		    g.total_size);
	whole.len = g.total_size;
	return s3_get(st, path, &whole, out, got, c, e);
}

/* Fewer bytes than the answer itself says: a server's or a proxy's bad moment.
 */
static bool
cut_off(const struct ls_http_resp *r, uint64_t n)
{
	uint64_t first, last, total;

	return r->status == 206 &&
	       content_range(r->content_range, &first, &last, &total) &&
	       n < last - first + 1;
}

/* A checked answer; one that is cut off is asked for again, a few times. */
static enum ls_rc
get_checked(struct ls_store *st, const char *path, const struct ls_get *o,
    struct ls_buf *out, struct ls_got *got, int *status,
    const struct ls_call *c, struct ls_err *e)
{
	size_t before = out->n;
	bool again = true;
	enum ls_rc rc = LS_OK;

	for (int i = 0; i < GET_TRIES && again; i++) {
		struct ls_http_resp r;
		uint64_t total = 0;

		ls_http_resp_init(&r);
		out->n = before;
		rc = get_matching(st, path, o, out, &r, c, e);
		again = rc == LS_OK && cut_off(&r, out->n - before);
		if (rc == LS_OK)
			rc = check_range(&r, o, out->n - before, &total, e);
		if (rc == LS_OK)
			got_from(&r, total, got);
		*status = r.status;
		ls_http_resp_fini(&r);
	}
	return rc;
}

static enum ls_rc
s3_get(struct ls_store *st, const char *path, const struct ls_get *o,
    struct ls_buf *out, struct ls_got *got, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;
	int status = 0;

	if (o->suffix <= 0 && o->len > 0 && o->off > UINT64_MAX - o->len)
		return ls_err_set(e, LS_ERANGE, "range overflows");
	rc = get_checked(st, path, o, out, got, &status, c, e);
	if (rc == LS_ERANGE && status == 416 && o->suffix <= 0 && o->off > 0)
		return ls_err_set(
		    e, LS_ERANGE, "offset %" PRIu64 " is past the end", o->off);
	if (rc == LS_ERANGE && status == 416)
		return out_of_range(st, path, o, out, got, c, e);
	return rc;
}

/* ---- head ------------------------------------------------------------------*/

/* An error answer to HEAD has no body, so it cannot say NoSuchBucket; one byte
 * of a GET can. */
static enum ls_rc
head_why(struct ls_store *st, const char *path, enum ls_rc rc,
    const struct ls_call *c, struct ls_err *e)
{
	static const struct ls_get one = { .len = 1 };
	struct ls_buf b = LS_BUF_INIT(16);
	struct ls_http_resp r;
	struct ls_err why = { 0 };
	enum ls_rc rc2;

	ls_http_resp_init(&r);
	rc2 = get_once(st, path, &one, false, &b, &r, c, &why);
	ls_http_resp_fini(&r);
	ls_buf_free(&b);
	if (rc2 == LS_OK || rc2 == LS_ERANGE)
		return rc; /* it came meanwhile: the first answer stands */
	if (e != NULL)
		*e = why;
	return rc2;
}

enum ls_rc
ls_s3_head(struct ls_store *st, const char *path, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "HEAD",
		.path = path,
		.what = "s3:GetObject",
	};
	struct ls_http_resp r;
	enum ls_rc rc;
	int status;

	ls_s3_key_headers(st, &q);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	if (rc == LS_OK && r.length < 0)
		rc = ls_err_set(e, LS_ESERVER, "no Content-Length");
	if (rc == LS_OK)
		got_from(&r, (uint64_t)r.length, got);
	status = r.status;
	ls_http_resp_fini(&r);
	if (rc == LS_ENOTFOUND || rc == LS_EDENIED ||
	    (rc == LS_EINVALID && status == 400))
		return head_why(st, path, rc, c, e);
	return rc;
}

/* ---- copy ------------------------------------------------------------------*/

/* "/bucket/encoded-key" in heap. */
static enum ls_rc
copy_source(
    const struct ls_store *st, const char *from, char **out, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(8192);
	bool arn = strncmp(st->place.bucket, "arn:", 4) == 0;
	enum ls_rc rc;

	rc = ls_buf_addf(&b, e, "%s%s/%s", arn ? "" : "/", st->place.bucket,
	    arn ? "object/" : "");
	if (rc == LS_OK && (rc = ls_uri_encode(&b, from, true, e)) == LS_OK)
		rc = ls_buf_add(&b, "", 1, e);
	if (rc != LS_OK)
		ls_buf_free(&b);
	else
		*out = (char *)b.p;
	return rc;
}

static enum ls_rc
copy_object(struct ls_store *st, const char *source, const char *to,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	const struct ls_place *p = &st->place;
	struct ls_put kept = *o;
	struct ls_buf out = LS_BUF_INIT(SMALL_ANSWER);
	struct ls_s3_req q = {
		.method = "PUT",
		.path = to,
		.what = "s3:PutObject and s3:GetObject",
		.out = &out,
		.has_body = true,
		.stall_ms = COPY_STALL_MS,
		.once = o->once,
		.if_absent = o->if_absent,
		.writes = true,
		.sign_time_ns = o->sign_time_ns,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	char stamp[LS_S3_STAMP];
	enum ls_rc rc;

	kept.timestamp_ms = 0; /* metadata is copied: the time is kept */
	ls_s3_object_headers(st, &q, &kept, stamp);
	ls_s3_header(&q, "x-amz-copy-source", source);
	if (o->if_absent)
		ls_s3_header(&q, "if-none-match", "*");
	if (p->sse_key != NULL) {
		ls_s3_header(&q,
		    "x-amz-copy-source-server-side-encryption-customer-"
		    "algorithm",
		    p->sse_algorithm);
		ls_s3_header(&q,
		    "x-amz-copy-source-server-side-encryption-customer-key",
		    p->sse_key);
		ls_s3_header(&q,
		    "x-amz-copy-source-server-side-encryption-customer-key-"
		    "md5",
		    p->sse_key_md5);
	}
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	ls_buf_free(&out);
	return rc;
}

static enum ls_rc
s3_copy(struct ls_store *st, const char *from, const char *to,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	struct ls_put put = *o;
	struct ls_got g = { 0 };
	char *source = NULL;
	enum ls_rc rc;

	/* The size says how; a copy is rare enough for the request. */
	if ((rc = ls_s3_head(st, from, &g, c, e)) != LS_OK)
		return rc;
	/* Few servers honour If-None-Match on a copy: look first, too. */
	if (o->if_absent) {
		struct ls_got there;

		rc = ls_s3_head(st, to, &there, c, e);
		if (rc == LS_OK)
			return ls_err_set(e, LS_EEXISTS, "the object exists");
		if (rc != LS_ENOTFOUND)
			return rc;
	}
	if ((rc = copy_source(st, from, &source, e)) != LS_OK)
		return rc;
	if (put.timestamp_ms == 0)
		put.timestamp_ms = g.timestamp_ms;
	if (g.total_size <= LS_S3_PUT_MAX)
		rc = copy_object(st, source, to, &put, c, e);
	else
		rc = ls_s3_copy_parts(st, source, g.total_size, to, &put, c, e);
	ls_free(source);
	if (rc == LS_EUNSUPPORTED) {
		atomic_fetch_and(&f->caps, ~(unsigned)LS_CAP_COPY);
		atomic_fetch_or(&f->caps_known, (unsigned)LS_CAP_COPY);
	}
	return rc;
}

const struct ls_driver ls_driver_s3 = {
	.type = "s3",
	.layout = LS_LAYOUT_HEX,
	.counts = true,
	.open = s3_open,
	.close = s3_close,
	.caps = ls_s3_caps,
	.caps_multi = ls_s3_caps_multi,
	.put = ls_s3_put,
	.get = s3_get,
	.head = ls_s3_head,
	.list = ls_s3_list,
	.del = ls_s3_delete,
	.del_if = ls_s3_del_if,
	.copy = s3_copy,
	.sweep = ls_s3_sweep,
	.begin = ls_s3_begin,
	.write = ls_s3_write,
	.commit = ls_s3_commit,
	.abort = ls_s3_abort,
};
