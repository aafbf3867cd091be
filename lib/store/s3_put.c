/* s3_put.c -- whole bodies in one request or in parts, and what only happens to
 * the object that one knows (If-Match). See s3.h.
 *
 * (1) A FENCED BODY IS ONE DECISION OF THE SERVER: one request, or parts where
 *     Complete honours If-None-Match as well; beyond what one request may hold
 *     there is no choice. Parts are faster, and each has its own retry.
 *     (test: s3_fenced_in_parts)
 * (2) Both spellings of an ETag are tried, as for a get (s3.c): the condition
 *     holds in either, so a second try never does what the first must not.
 *     (test: s3_put_if_match) */
#include "store/s3.h"

#include "base/bytes.h"

#include <stdio.h>

/* One request up to here: R2 wants it so (lessons A3.1), and a fenced body
 * gains little by parts. */
#define PLAIN_MAX (100ull << 20)

void
ls_s3_match(struct ls_s3_req *q, char value[static LS_S3_MATCH],
    const char *etag, bool bare)
{
	(void)snprintf(value, LS_S3_MATCH, bare ? "%s" : "\"%s\"", etag);
	ls_s3_header(q, "if-match", value);
}

static enum ls_rc
put_once(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, bool bare, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "PUT",
		.path = path,
		.what = "s3:PutObject",
		.body = b,
		.has_body = true,
		.once = o->once,
		.if_absent = o->if_absent,
		.writes = true,
		.sign_time_ns = o->sign_time_ns,
	};
	struct ls_http_resp r;
	char stamp[LS_S3_STAMP];
	char match[LS_S3_MATCH];
	enum ls_rc rc;

	ls_s3_object_headers(st, &q, o, stamp);
	if (o->if_absent)
		ls_s3_header(&q, "if-none-match", "*");
	if (o->if_match != NULL)
		ls_s3_match(&q, match, o->if_match, bare);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	return rc;
}

enum ls_rc
ls_s3_put_plain(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	bool bare = atomic_load(&f->bare_etag) != 0;
	enum ls_rc rc = put_once(st, path, b, o, bare, c, e);

	if (o->if_match == NULL)
		return rc;
	if (rc == LS_ECHANGED) { /* as in get_matching */
		if ((rc = put_once(st, path, b, o, !bare, c, e)) == LS_OK)
			atomic_store(&f->bare_etag, !bare);
	}
	if (rc == LS_ENOTFOUND)
		rc = ls_err_set(e, LS_ECHANGED, "the object is gone");
	return rc;
}

static bool
is_r2(const struct ls_store *st)
{
	return st->place.endpoint != NULL &&
	       strstr(st->place.endpoint, ".r2.cloudflarestorage.com") != NULL;
}

static bool
in_parts(struct ls_store *st, uint64_t size, const struct ls_put *o,
    const struct ls_call *c)
{
	bool fenced = o->if_absent || o->once, yes = false;

	if (o->if_match != NULL || size < (uint64_t)st->place.part_size)
		return false;
	if ((fenced || is_r2(st)) && size < PLAIN_MAX)
		return false;
	if (!o->if_absent || size > LS_S3_PUT_MAX)
		return true;
	/* Not known: as if it were not so. */
	return ls_s3_caps_multi(st, &yes, c, NULL) == LS_OK && yes;
}

enum ls_rc
ls_s3_put(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	return in_parts(st, b->size, o, c)
		   ? ls_s3_put_parts(st, path, b, o, c, e)
		   : ls_s3_put_plain(st, path, b, o, c, e);
}

/* ---- delete ----------------------------------------------------------------*/

static enum ls_rc
del_once(struct ls_store *st, const char *path, const char *etag, bool bare,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "DELETE",
		.path = path,
		.what = "s3:DeleteObject",
	};
	struct ls_http_resp r;
	char match[LS_S3_MATCH];
	enum ls_rc rc;

	ls_s3_match(&q, match, etag, bare);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	return rc;
}

enum ls_rc
ls_s3_del_if(struct ls_store *st, const char *path, const char *etag,
    const struct ls_call *c, struct ls_err *e)
{
	bool bare = atomic_load(&ls_s3_of(st)->fact->bare_etag) != 0;
	enum ls_rc rc = del_once(st, path, etag, bare, c, e);

	return rc == LS_ECHANGED ? del_once(st, path, etag, !bare, c, e) : rc;
}
