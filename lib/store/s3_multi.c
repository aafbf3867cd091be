/* s3_multi.c -- multipart uploads: create, parts, complete, abort. See s3.h.
 *
 * (1) NOTHING IS VISIBLE BEFORE COMPLETE, and nothing is left on failure: the
 *     upload is aborted with a patience of its own, since the caller's call
 *     may be canceled or out of time. What even that misses, ls_store_sweep
 *     finds. (test: s3_multipart_is_aborted_on_failure)
 * (2) 200 IS NOT YET YES: CompleteMultipartUpload sends its status before the
 *     work is done, and an <Error> may follow. (test: s3_complete_200_error)
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "store/xml.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum {
	SMALL_ANSWER = 65536,
	BODY_MAX = 4 << 20, /* 10,000 parts */
	COMPLETE_STALL_MS = 300000,
};
#define ABORT_PATIENCE (5 * LS_SEC)

static void
multi_fini(struct ls_s3_multi *m)
{
	while (m->n > 0)
		ls_free(m->etags[--m->n]);
	ls_free(m->etags);
	ls_free(m->id);
	m->etags = NULL, m->id = NULL, m->cap = 0;
}

/* ---- create ----------------------------------------------------------------*/

static enum ls_rc
on_created(void *arg, const char *path, const char *text, struct ls_err *e)
{
	char **id = arg;

	if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0 ||
	    *id != NULL)
		return LS_OK;
	return (*id = ls_strdup(text)) ? LS_OK : ls_err_nomem(e);
}

enum ls_rc
ls_s3_multi_create(struct ls_s3_multi *m, struct ls_err *e)
{
	struct ls_buf out = LS_BUF_INIT(SMALL_ANSWER);
	struct ls_s3_req q = {
		.method = "POST",
		.path = m->path,
		.what = "s3:PutObject",
		.has_body = true,
		.out = &out,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	char stamp[LS_S3_STAMP];
	enum ls_rc rc;

	ls_s3_param(&q, "uploads", "");
	ls_s3_object_headers(m->st, &q, &m->o, stamp);
	ls_http_resp_init(&r);
	rc = ls_s3_send(m->st, &q, &r, m->c, e);
	ls_http_resp_fini(&r);
	if (rc == LS_OK)
		rc = ls_s3_answer(
		    ls_xml_parse(ls_buf_span(&out), on_created, &m->id, e), e);
	if (rc == LS_OK && (m->id == NULL || m->id[0] == '\0'))
		rc = ls_err_set(e, LS_ESERVER, "no upload id in the answer");
	ls_buf_free(&out);
	return ls_err_wrap(e, rc, "begin multipart upload");
}

/* ---- parts -----------------------------------------------------------------*/

enum ls_rc
ls_s3_multi_add(struct ls_s3_multi *m, char *etag, uint64_t n, struct ls_err *e)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 16;
		char **p = ls_realloc(m->etags, cap * sizeof *p);

		if (p == NULL) {
			ls_free(etag);
			return ls_err_nomem(e);
		}
		m->etags = p, m->cap = cap;
	}
	m->etags[m->n++] = etag;
	m->total += n;
	return LS_OK;
}

static enum ls_rc
room_for_part(size_t number, struct ls_err *e)
{
	if (number <= LS_S3_PARTS_MAX)
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_ERANGE, "more than %d parts", LS_S3_PARTS_MAX),
	    "raise part-size");
}

enum ls_rc
ls_s3_multi_send(const struct ls_s3_multi *m, size_t number,
    const struct ls_body *b, char **etag, struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "PUT",
		.path = m->path,
		.what = "s3:PutObject",
		.body = b,
		.has_body = true,
	};
	struct ls_http_resp r;
	char text[24], *p = NULL;
	enum ls_rc rc;

	if ((rc = room_for_part(number, e)) != LS_OK)
		return rc;
	(void)snprintf(text, sizeof text, "%zu", number);
	ls_s3_param(&q, "partNumber", text);
	ls_s3_param(&q, "uploadId", m->id);
	ls_s3_key_headers(m->st, &q);
	ls_http_resp_init(&r);
	rc = ls_s3_send(m->st, &q, &r, m->c, e);
	if (rc == LS_OK && r.etag[0] == '\0')
		rc = ls_err_set(e, LS_ESERVER, "no ETag in the answer");
	if (rc == LS_OK && (p = ls_strdup(r.etag)) == NULL)
		rc = ls_err_nomem(e);
	if (rc == LS_OK)
		*etag = p;
	ls_http_resp_fini(&r);
	return ls_err_wrap(e, rc, "part %zu", number);
}

enum ls_rc
ls_s3_multi_part(
    struct ls_s3_multi *m, const struct ls_body *b, struct ls_err *e)
{
	char *etag = NULL;
	enum ls_rc rc = ls_s3_multi_send(m, m->n + 1, b, &etag, e);

	return rc != LS_OK ? rc : ls_s3_multi_add(m, etag, b->size, e);
}

static enum ls_rc
on_copied(void *arg, const char *path, const char *text, struct ls_err *e)
{
	char **etag = arg;

	if (strcmp(path, "CopyPartResult/ETag") != 0 || *etag != NULL)
		return LS_OK;
	return (*etag = ls_strdup(text)) ? LS_OK : ls_err_nomem(e);
}

enum ls_rc
ls_s3_multi_copy(struct ls_s3_multi *m, const char *source, uint64_t off,
    uint64_t n, struct ls_err *e)
{
	struct ls_buf out = LS_BUF_INIT(SMALL_ANSWER);
	struct ls_s3_req q = {
		.method = "PUT",
		.path = m->path,
		.what = "s3:PutObject and s3:GetObject",
		.has_body = true,
		.out = &out,
		.stall_ms = COMPLETE_STALL_MS,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	char number[24], range[64], *etag = NULL;
	enum ls_rc rc;

	if ((rc = room_for_part(m->n + 1, e)) != LS_OK)
		return rc;
	(void)snprintf(number, sizeof number, "%zu", m->n + 1);
	(void)snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, off,
	    off + n - 1);
	ls_s3_param(&q, "partNumber", number);
	ls_s3_param(&q, "uploadId", m->id);
	ls_s3_header(&q, "x-amz-copy-source", source);
	ls_s3_header(&q, "x-amz-copy-source-range", range);
	ls_http_resp_init(&r);
	rc = ls_s3_send(m->st, &q, &r, m->c, e);
	ls_http_resp_fini(&r);
	if (rc == LS_OK)
		rc = ls_s3_answer(
		    ls_xml_parse(ls_buf_span(&out), on_copied, &etag, e), e);
	if (rc == LS_OK && etag == NULL)
		rc = ls_err_set(e, LS_ESERVER, "no ETag in the answer");
	if (rc == LS_OK)
		rc = ls_s3_multi_add(m, etag, n, e);
	else
		ls_free(etag);
	ls_buf_free(&out);
	return ls_err_wrap(e, rc, "copy part %s", number);
}

/* ---- complete --------------------------------------------------------------*/

static enum ls_rc
complete_body(const struct ls_s3_multi *m, struct ls_buf *b, struct ls_err *e)
{
	enum ls_rc rc;

	rc = ls_buf_adds(b,
	    "<CompleteMultipartUpload "
	    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
	    e);
	for (size_t i = 0; rc == LS_OK && i < m->n; i++)
		if ((rc = ls_buf_addf(b, e,
			 "<Part><PartNumber>%zu"
			 "</PartNumber><ETag>",
			 i + 1)) == LS_OK &&
		    (rc = ls_xml_escape(b, m->etags[i], e)) == LS_OK)
			rc = ls_buf_adds(b, "</ETag></Part>", e);
	if (rc == LS_OK)
		rc = ls_buf_adds(b, "</CompleteMultipartUpload>", e);
	return rc;
}

static enum ls_rc
send_complete(struct ls_s3_multi *m, const struct ls_buf *body,
    bool conditional, struct ls_err *e)
{
	const struct ls_body b = { ls_buf_span(body), -1, 0, body->n };
	struct ls_buf out = LS_BUF_INIT(SMALL_ANSWER);
	struct ls_s3_req q = {
		.method = "POST",
		.path = m->path,
		.what = "s3:PutObject",
		.body = &b,
		.has_body = true,
		.out = &out,
		.stall_ms = COMPLETE_STALL_MS,
		.if_absent = conditional,
		.writes = true,
		.once = m->o.once,
		.sign_time_ns = m->o.sign_time_ns,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	enum ls_rc rc;

	ls_s3_param(&q, "uploadId", m->id);
	if (conditional)
		ls_s3_header(&q, "if-none-match", "*");
	ls_s3_key_headers(m->st, &q);
	ls_http_resp_init(&r);
	rc = ls_s3_send(m->st, &q, &r, m->c, e);
	ls_http_resp_fini(&r);
	ls_buf_free(&out);
	return rc;
}

/* The upload is not there: an earlier attempt, whose answer was lost, may have
 * completed it. */
static enum ls_rc
settle_missing(struct ls_s3_multi *m, struct ls_err *e)
{
	struct ls_err why = { 0 };
	struct ls_got g;

	if (ls_s3_head(m->st, m->path, &g, m->c, &why) != LS_OK ||
	    g.total_size != m->total)
		return LS_ENOTFOUND; /* e says NoSuchUpload */
	if (m->o.if_absent)
		return ls_err_set(e, LS_EAGAIN,
		    "ambiguous: the upload is gone, and an object of its size "
		    "is there");
	return LS_OK;
}

/* Not every server looks at If-None-Match here, and some refuse it: so look
 * first, which leaves a window but costs one request. */
static enum ls_rc
look_first(struct ls_s3_multi *m, bool *conditional, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(m->st)->fact;
	unsigned multi = LS_CAP_IF_ABSENT_MULTI;
	struct ls_got g;
	enum ls_rc rc;

	if ((atomic_load(&f->caps_known) & multi) != 0) {
		*conditional = (atomic_load(&f->caps) & multi) != 0;
		if (*conditional)
			return LS_OK;
	}
	rc = ls_s3_head(m->st, m->path, &g, m->c, e);
	if (rc == LS_OK)
		return ls_err_set(e, LS_EEXISTS, "the object exists");
	return rc == LS_ENOTFOUND ? LS_OK : rc;
}

static enum ls_rc
complete(struct ls_s3_multi *m, struct ls_err *e)
{
	struct ls_buf body = LS_BUF_INIT(BODY_MAX);
	bool conditional = m->o.if_absent;
	enum ls_rc rc = LS_OK;

	if (conditional)
		rc = look_first(m, &conditional, e);
	if (rc == LS_OK && (rc = complete_body(m, &body, e)) == LS_OK)
		rc = send_complete(m, &body, conditional, e);
	if (conditional && rc == LS_EUNSUPPORTED)
		rc = send_complete(m, &body, false, e);
	if (rc == LS_ENOTFOUND)
		rc = settle_missing(m, e);
	ls_buf_free(&body);
	return ls_err_wrap(e, rc, "complete multipart upload");
}

enum ls_rc
ls_s3_multi_complete(struct ls_s3_multi *m, struct ls_err *e)
{
	enum ls_rc rc = complete(m, e);

	if (rc == LS_OK || rc == LS_EAGAIN) /* done, or maybe done */
		multi_fini(m);
	else
		ls_s3_multi_abort(m);
	return rc;
}

enum ls_rc
ls_s3_multi_try_complete(struct ls_s3_multi *m, struct ls_err *e)
{
	struct ls_buf body = LS_BUF_INIT(BODY_MAX);
	enum ls_rc rc;

	if ((rc = complete_body(m, &body, e)) == LS_OK)
		rc = send_complete(m, &body, true, e);
	ls_buf_free(&body);
	if (rc == LS_OK)
		multi_fini(m);
	else
		ls_s3_multi_abort(m);
	return rc;
}

/* ---- abort -----------------------------------------------------------------*/

enum ls_rc
ls_s3_abort_upload(struct ls_store *st, const char *path, const char *id,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "DELETE",
		.path = path,
		.what = "s3:AbortMultipartUpload",
	};
	struct ls_http_resp r;
	enum ls_rc rc;

	ls_s3_param(&q, "uploadId", id);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	return rc;
}

void
ls_s3_multi_abort(struct ls_s3_multi *m)
{
	struct ls_call own = { NULL, ls_sys->mono_ns() + ABORT_PATIENCE };

	if (m->id != NULL) /* best effort: ls_store_sweep comes later */
		(void)!ls_s3_abort_upload(m->st, m->path, m->id, &own, NULL);
	multi_fini(m);
}
