/* credentials_http.c -- credentials that the machine hands out by HTTP: to a
 * container (ECS task role, EKS Pod Identity) and to an instance (EC2's role,
 * by IMDSv2). See credentials_impl.h.
 *
 * Format: "Container credential provider" and "IMDS credential provider" of the
 * AWS SDK reference.
 *
 * (1) KEYS TRAVEL WITHOUT TLS ONLY ON THIS MACHINE'S LINK: plain http is
 *     accepted for loopback and the three addresses of ECS and EKS.
 *     (test: credentials_container_plain_http)
 * (2) A MACHINE THAT IS NO INSTANCE LOSES A SECOND AT MOST, not minutes: then
 *     the address of the metadata service does not answer.
 *     (test: credentials_no_instance_answers)
 */
#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"
#include "store/credentials_impl.h"

#include <jansson.h>
#include <stdio.h>
#include <strings.h>

enum { ANSWER_MAX = 65536, TOKEN_MAX = 16384, NESTED_MAX = 16 };

/* ---- one request -----------------------------------------------------------*/

static enum ls_rc
by_status(int status, struct ls_err *e)
{
	if (status / 100 == 2)
		return LS_OK;
	return ls_err_set(e,
	    status / 100 == 5 || status == 429 ? LS_ESERVER : LS_EDENIED,
	    "HTTP %d", status);
}

enum ls_rc
ls_creds_http(const struct ls_creds_ask *a, const struct ls_creds_req *q,
    struct ls_buf *out, int *status, struct ls_err *e)
{
	struct ls_body body = { LS_SPAN(q->body, 0), -1, 0, 0 };
	struct ls_http_req h = {
		.method = q->method,
		.url = q->url,
		.headers = q->headers,
		.body = q->body ? &body : NULL,
		.has_body = q->body != NULL || strcmp(q->method, "PUT") == 0,
		.direct = q->direct,
		.out = out,
		.out_max = ANSWER_MAX,
	};
	struct ls_http_resp r;
	struct ls_call call = a->call ? *a->call : (struct ls_call){ 0 };
	uint64_t until = ls_sys->mono_ns() + q->within_ns;
	bool ours = call.deadline_ns == 0 || until < call.deadline_ns;
	enum ls_rc rc;

	if (q->body != NULL)
		body.mem.n = body.size = strlen(q->body);
	while (
	    h.nheaders < LS_COUNT(q->headers) && q->headers[h.nheaders] != NULL)
		h.nheaders++;
	call.deadline_ns = ours ? until : call.deadline_ns;
	ls_buf_clear(out);
	ls_http_resp_init(&r);
	rc = ls_http_send(a->http, &h, &r, &call, e);
	if (rc == LS_ETIMEOUT && ours)
		rc = ls_err_set(e, LS_ENET, "no answer within %llu s",
		    (unsigned long long)(q->within_ns / LS_SEC));
	if (rc == LS_OK && r.status / 100 != 2)
		rc = ls_buf_add(out, r.error.p, r.error.n, e);
	if (rc == LS_OK) {
		*status = r.status;
		rc = by_status(r.status, e);
	}
	ls_http_resp_fini(&r);
	return rc;
}

/* ---- JSON ------------------------------------------------------------------*/

/* jansson recurses; what is wanted here is flat. */
static bool
is_flat(struct ls_span doc)
{
	size_t open = 0;

	for (size_t i = 0; i < doc.n; i++)
		open += doc.p[i] == '{' || doc.p[i] == '[';
	return open <= NESTED_MAX;
}

static const char *
text(const json_t *doc, const char *name)
{
	const char *s = json_string_value(json_object_get(doc, name));

	return s != NULL && s[0] != '\0' ? s : NULL;
}

enum ls_rc
ls_creds_json(struct ls_creds *out, struct ls_span doc, const char *token_name,
    const char *source, struct ls_err *e)
{
	json_t *j = is_flat(doc)
			? json_loadb((const char *)doc.p, doc.n, 0, NULL)
			: NULL;
	const char *id = text(j, "AccessKeyId");
	const char *secret = text(j, "SecretAccessKey");
	const char *end = text(j, "Expiration"), *why = text(j, "Message");
	const char *code = text(j, "Code");
	enum ls_rc rc;

	if (why == NULL)
		why = text(j, "message");
	if (id == NULL || secret == NULL) {
		rc = ls_err_set(e, LS_ESERVER, "%s%s%s",
		    j == NULL ? "the answer is no JSON object"
			      : "the answer has no keys",
		    why || code ? ": " : "",
		    why	   ? why
		    : code ? code
			   : "");
	} else {
		rc = ls_creds_fill(
		    out, id, secret, text(j, token_name), source, e);
		if (rc == LS_OK && end != NULL)
			rc = ls_time_parse(end, &out->expires_ns, e);
	}
	json_decref(j);
	return rc;
}

/* ---- container -------------------------------------------------------------*/

/* (1) */
static bool
may_be_plain(const char *url)
{
	static const char *const hosts[] = { "localhost", "169.254.170.2",
		"169.254.170.23", "[fd00:ec2::23]", "[::1]" };
	const char *host = strstr(url, "://") + 3;
	size_t n =
	    host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");

	if (memchr(host, '@', strcspn(host, "/?#")) != NULL)
		return false;
	if (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n)
		return true;
	for (size_t i = 0; i < LS_COUNT(hosts); i++)
		if (strlen(hosts[i]) == n &&
		    strncasecmp(host, hosts[i], n) == 0)
			return true;
	return false;
}

/* "authorization: ..." in heap, or NULL in *line when no token is asked for. */
static enum ls_rc
authorization(char **line, struct ls_err *e)
{
	const char *file =
	    ls_creds_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", NULL);
	const char *value =
	    ls_creds_env("AWS_CONTAINER_AUTHORIZATION_TOKEN", NULL);
	struct ls_buf b = LS_BUF_INIT(TOKEN_MAX + 1);
	enum ls_rc rc = LS_OK;

	if (file != NULL) {
		rc = ls_read_file(file, TOKEN_MAX, &b, e);
		if (rc != LS_OK)
			rc = ls_err_hint(e,
			    ls_err_wrap(e, rc == LS_ENOTFOUND ? LS_EDENIED : rc,
				"authorization token file"),
			    "check AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, and "
			    "that this user may read it");
		while (b.n > 0 && strchr(" \t\r\n", b.p[b.n - 1]) != NULL)
			b.n--;
		value = ls_buf_str(&b);
	}
	if (rc == LS_OK && value != NULL && strpbrk(value, "\r\n") != NULL)
		rc = ls_err_set(
		    e, LS_EINVALID, "the authorization token has line breaks");
	if (rc == LS_OK && value != NULL &&
	    (*line = ls_asprintf("authorization: %s", value)) == NULL)
		rc = ls_err_nomem(e);
	ls_creds_wipe(&b);
	return rc;
}

static enum ls_rc
container_url(char **url, struct ls_err *e)
{
	const char *path =
	    ls_creds_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", NULL);
	const char *full =
	    ls_creds_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", NULL);

	if (path == NULL && full == NULL)
		return LS_ENOTFOUND;
	if (path == NULL && strncasecmp(full, "https://", 8) != 0 &&
	    (strncasecmp(full, "http://", 7) != 0 || !may_be_plain(full)))
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID,
			"AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https "
			"nor this machine: %.*s",
			(int)strcspn(full, "?#"), full),
		    "use https, loopback, or the address of ECS or EKS");
	*url = path != NULL ? ls_asprintf("http://169.254.170.2%s%s",
				  path[0] == '/' ? "" : "/", path)
			    : ls_strdup(full);
	return *url != NULL ? LS_OK : ls_err_nomem(e);
}

enum ls_rc
ls_creds_from_container(
    struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	struct ls_buf answer = LS_BUF_INIT(ANSWER_MAX + 1);
	struct ls_creds_req q = {
		.method = "GET", .within_ns = 5 * LS_SEC, .direct = true
	};
	char *url = NULL, *line = NULL;
	int status = 0;
	enum ls_rc rc;

	if ((rc = container_url(&url, e)) != LS_OK)
		return rc;
	q.url = url;
	if ((rc = authorization(&line, e)) == LS_OK) {
		q.headers[0] = "accept: application/json";
		q.headers[1] = line;
		rc = ls_creds_http(a, &q, &answer, &status, e);
		if (status != 0 && rc != LS_OK) {
			struct ls_creds none = { 0 };

			(void)!ls_creds_json(
			    &none, ls_buf_span(&answer), "Token", "", e);
			ls_creds_fini(&none);
			rc = ls_err_wrap(e, rc, "HTTP %d", status);
		}
		if (rc == LS_OK)
			rc = ls_creds_json(
			    out, ls_buf_span(&answer), "Token", "container", e);
		rc = ls_err_hint(e,
		    ls_err_wrap(e, rc, "%.*s", (int)strcspn(url, "?#"), url),
		    "give the task or pod a role, or set AWS_ACCESS_KEY_ID and "
		    "AWS_SECRET_ACCESS_KEY");
	}
	if (line != NULL)
		explicit_bzero(line, strlen(line));
	ls_free(line);
	ls_free(url);
	ls_creds_wipe(&answer);
	return rc;
}

/* ---- instance --------------------------------------------------------------*/

static const char *
metadata_endpoint(void)
{
	const char *v = ls_creds_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", NULL);
	const char *mode =
	    ls_creds_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", NULL);

	if (v != NULL)
		return v;
	return mode != NULL && strcasecmp(mode, "IPv6") == 0
		   ? "http://[fd00:ec2::254]"
		   : "http://169.254.169.254";
}

/* Ask the service for path; the answer as a line of text in out. */
static enum ls_rc
metadata(const struct ls_creds_ask *a, const char *method, const char *path,
    const char *header, struct ls_buf *out, int *status, struct ls_err *e)
{
	const char *base = metadata_endpoint();
	size_t n = strlen(base);
	char *url;
	struct ls_creds_req q = { .method = method,
		.headers = { header },
		.within_ns = LS_SEC,
		.direct = true };
	enum ls_rc rc;

	while (n > 0 && base[n - 1] == '/')
		n--;
	if ((url = ls_asprintf("%.*s%s", (int)n, base, path)) == NULL)
		return ls_err_nomem(e);
	q.url = url;
	rc = ls_creds_http(a, &q, out, status, e);
	ls_free(url);
	return ls_err_wrap(e, rc, "instance metadata at %s", base);
}

#define ROLES "/latest/meta-data/iam/security-credentials/"

static enum ls_rc
ask_role(const struct ls_creds_ask *a, const char *token, struct ls_buf *b,
    struct ls_err *e)
{
	int status = 0;
	char *path;
	enum ls_rc rc = metadata(a, "GET", ROLES, token, b, &status, e);

	if (status == 404)
		return ls_err_hint(e,
		    ls_err_set(
			e, LS_EDENIED, "this instance has no role (IMDSv2)"),
		    "attach an instance profile, or set AWS_ACCESS_KEY_ID and "
		    "AWS_SECRET_ACCESS_KEY");
	if (rc != LS_OK)
		return rc;
	path = ls_asprintf(
	    ROLES "%.*s", (int)strcspn(ls_buf_str(b), "\r\n"), ls_buf_str(b));
	if (path == NULL)
		return ls_err_nomem(e);
	rc = metadata(a, "GET", path, token, b, &status, e);
	ls_free(path);
	return rc;
}

enum ls_rc
ls_creds_from_instance(
    struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	const char *off = ls_creds_env("AWS_EC2_METADATA_DISABLED", NULL);
	struct ls_buf b = LS_BUF_INIT(ANSWER_MAX + 1);
	char *token = NULL;
	int status = 0;
	enum ls_rc rc;

	if (off != NULL && strcasecmp(off, "true") == 0)
		return LS_ENOTFOUND;
	rc = metadata(a, "PUT", "/latest/api/token",
	    "x-aws-ec2-metadata-token-ttl-seconds: 21600", &b, &status, e);
	if (rc == LS_ENET || status == 404 || status == 403) {
		ls_creds_wipe(&b); /* (2): no instance, or switched off there */
		return LS_ENOTFOUND;
	}
	if (rc == LS_OK &&
	    (token = ls_asprintf("x-aws-ec2-metadata-token: %.*s",
		 (int)strcspn(ls_buf_str(&b), "\r\n"), ls_buf_str(&b))) == NULL)
		rc = ls_err_nomem(e);
	if (rc == LS_OK && (rc = ask_role(a, token, &b, e)) == LS_OK)
		rc = ls_err_wrap(e,
		    ls_creds_json(
			out, ls_buf_span(&b), "Token", "instance role", e),
		    "instance metadata at %s", metadata_endpoint());
	ls_free(token);
	ls_creds_wipe(&b);
	return rc;
}
