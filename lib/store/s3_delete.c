/* s3_delete.c -- DeleteObjects, 1,000 keys a request, and single deletes for
 * stores without it (Google's XML API). See s3.h.
 *
 * Content-MD5 goes along when require-content-md5 asks for it: Swift and OCI
 * answer 400 without, AWS took it for granted for years. */
#include "store/s3.h"

#include "base/bytes.h"
#include "store/ending.h"
#include "store/xml.h"

#include <stdio.h>

enum { BATCH = 1000, BODY_MAX = 8 << 20, ANSWER_MAX = 2 << 20 };

struct result {
	char key[256], code[64], message[256]; /* of the entry that is read */
	char first[600];
	enum ls_rc rc;
	size_t failed;
};

static void
keep(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text);
}

static enum ls_rc
rc_of(const char *code)
{
	if (strcmp(code, "AccessDenied") == 0)
		return LS_EDENIED;
	if (strcmp(code, "SlowDown") == 0)
		return LS_ETHROTTLED;
	return LS_ESERVER;
}

static enum ls_rc
on_element(void *arg, const char *path, const char *text, struct ls_err *e)
{
	static const char root[] = "DeleteResult/Error";
	struct result *r = arg;

	(void)e;
	if (strncmp(path, root, sizeof root - 1) != 0)
		return LS_OK;
	path += sizeof root - 1;
	if (strcmp(path, "/Key") == 0)
		keep(r->key, sizeof r->key, text);
	else if (strcmp(path, "/Code") == 0)
		keep(r->code, sizeof r->code, text);
	else if (strcmp(path, "/Message") == 0)
		keep(r->message, sizeof r->message, text);
	if (path[0] != '\0')
		return LS_OK;
	if (strcmp(r->code, "NoSuchKey") != 0 && r->failed++ == 0) {
		r->rc = rc_of(r->code);
		(void)snprintf(r->first, sizeof r->first, "%s: %s %s", r->key,
		    r->code, r->message);
	}
	r->key[0] = r->code[0] = r->message[0] = '\0';
	return LS_OK;
}

static enum ls_rc
body_of(char *const *paths, size_t n, struct ls_buf *b, struct ls_err *e)
{
	enum ls_rc rc;

	rc = ls_buf_adds(b,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
	    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
	    e);
	for (size_t i = 0; rc == LS_OK && i < n; i++)
		if ((rc = ls_buf_adds(b, "<Object><Key>", e)) == LS_OK &&
		    (rc = ls_xml_escape(b, paths[i], e)) == LS_OK)
			rc = ls_buf_adds(b, "</Key></Object>", e);
	if (rc == LS_OK)
		rc = ls_buf_adds(b, "<Quiet>true</Quiet></Delete>", e);
	return rc;
}

static enum ls_rc
send_batch(struct ls_store *st, const struct ls_buf *body, struct ls_buf *out,
    const struct ls_call *c, struct ls_err *e)
{
	const struct ls_body b = { ls_buf_span(body), -1, 0, body->n };
	struct ls_s3_req q = {
		.method = "POST",
		.what = "s3:DeleteObject",
		.body = &b,
		.has_body = true,
		.out = out,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	char md5[LS_MD5_BASE64];
	enum ls_rc rc;

	ls_s3_param(&q, "delete", "");
	if (st->place.require_content_md5 == LS_YES) {
		if ((rc = ls_ending_enter(e)) != LS_OK)
			return rc;
		rc = ls_md5_base64(b.mem, md5, e);
		ls_ending_leave();
		if (rc != LS_OK)
			return rc;
		ls_s3_header(&q, "content-md5", md5);
	}
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	return rc;
}

static enum ls_rc
batch(struct ls_store *st, char *const *paths, size_t n,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_buf body = LS_BUF_INIT(BODY_MAX),
		      out = LS_BUF_INIT(ANSWER_MAX);
	struct result r = { .rc = LS_OK };
	enum ls_rc rc;

	if ((rc = body_of(paths, n, &body, e)) == LS_OK &&
	    (rc = send_batch(st, &body, &out, c, e)) == LS_OK && out.n > 0)
		rc = ls_xml_parse(ls_buf_span(&out), on_element, &r, e);
	ls_buf_free(&body);
	ls_buf_free(&out);
	if (rc == LS_OK && r.failed > 0)
		rc =
		    ls_err_set(e, r.rc, "%zu of %zu keys not deleted, first %s",
			r.failed, n, r.first);
	return rc;
}

static enum ls_rc
single(struct ls_store *st, const char *path, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_s3_req q = {
		.method = "DELETE",
		.path = path,
		.what = "s3:DeleteObject",
	};
	struct ls_http_resp r;
	enum ls_rc rc;

	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	return rc == LS_ENOTFOUND ? LS_OK : rc;
}

enum ls_rc
ls_s3_delete(struct ls_store *st, char *const *paths, size_t n,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && n > 0) {
		size_t k = LS_MIN(n, (size_t)BATCH);

		/* One key costs less as a plain DELETE, everywhere. */
		if (k == 1 || atomic_load(&f->no_batch)) {
			rc = single(st, paths[0], c, e);
			k = 1;
		} else if ((rc = batch(st, paths, k, c, e)) ==
			   LS_EUNSUPPORTED) {
			atomic_store(&f->no_batch, 1);
			rc = LS_OK;
			k = 0;
		}
		paths += k, n -= k;
	}
	return rc;
}
