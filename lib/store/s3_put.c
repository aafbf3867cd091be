/* s3_put.c -- whole bodies in one request, and what only happens to the object
 * that one knows (If-Match). See s3.h.
 *
 * Both spellings of an ETag are tried, as for a get (s3.c): the condition holds
 * in either, so a second try never does what the first must not. (test:
 * s3_put_if_match) */
#include "store/s3.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

/* R2 wants one request up to about 100 MB (lessons A3.1). */
#define R2_PLAIN_MAX (100ull << 20)

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

enum ls_rc
ls_s3_put(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	uint64_t most = (uint64_t)st->place.part_size;

	if (o->if_absent || o->if_match != NULL || o->once)
		most = LS_S3_PUT_MAX + 1;
	else if (st->place.endpoint != NULL &&
		 strstr(st->place.endpoint, ".r2.cloudflarestorage.com") !=
		     NULL)
		most = LS_MAX(most, R2_PLAIN_MAX);
	if (b->size < most)
		return ls_s3_put_plain(st, path, b, o, c, e);
	if (o->once)
		return ls_err_set(e, LS_ERANGE,
		    "%" PRIu64 " bytes do not fit into one request (5 GiB)",
		    b->size);
	return ls_s3_put_parts(st, path, b, o, c, e);
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
