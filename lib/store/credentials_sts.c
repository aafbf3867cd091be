/* credentials_sts.c -- credentials from the Security Token Service: a web
 * identity (Kubernetes and CI hand out its token in a file), or a role that is
 * assumed with other credentials. See credentials_impl.h.
 *
 * Format: AssumeRole and AssumeRoleWithWebIdentity of the STS API reference,
 * version 2011-06-15. The endpoint is the region's; AWS_ENDPOINT_URL_STS and
 * AWS_ENDPOINT_URL name another.
 *
 * (1) THE TOKEN FILE IS READ EACH TIME: its writer replaces it before it
 *     expires. (test: credentials_web_identity)
 */
#include "base/file.h"
#include "base/units.h"
#include "store/credentials_impl.h"
#include "store/place.h"
#include "store/s3.h"
#include "store/uri.h"
#include "store/xml.h"

#include <stdio.h>
#include <unistd.h>

enum { TOKEN_MAX = 65536, BODY_MAX = 4 * TOKEN_MAX, ANSWER_MAX = 65536 };
#define PATIENCE (20 * LS_SEC)

/* ---- request ---------------------------------------------------------------*/

static enum ls_rc
param(struct ls_buf *b, const char *name, const char *v, struct ls_err *e)
{
	enum ls_rc rc;

	if (v == NULL || v[0] == '\0')
		return LS_OK;
	if ((rc = ls_buf_addf(b, e, "&%s=", name)) != LS_OK)
		return rc;
	return ls_uri_encode(b, v, false, e);
}

static enum ls_rc
add_token(struct ls_buf *b, const char *file, struct ls_err *e)
{
	struct ls_buf t = LS_BUF_INIT(TOKEN_MAX + 1);
	enum ls_rc rc = ls_read_file(file, TOKEN_MAX, &t, e);

	if (rc != LS_OK)
		return ls_err_hint(e,
		    ls_err_wrap(e, rc == LS_ENOTFOUND ? LS_EDENIED : rc,
			"token file of the web identity"),
		    "check AWS_WEB_IDENTITY_TOKEN_FILE, and that this user may "
		    "read it");
	while (t.n > 0 && strchr(" \t\r\n", t.p[t.n - 1]) != NULL)
		t.n--;
	rc = param(b, "WebIdentityToken", ls_buf_str(&t), e);
	ls_creds_wipe(&t);
	return rc;
}

static enum ls_rc
form(const struct ls_creds_role *r, struct ls_buf *b, struct ls_err *e)
{
	char session[64];
	enum ls_rc rc;

	(void)snprintf(
	    session, sizeof session, "litestreamd-%d", (int)getpid());
	rc = ls_buf_addf(b, e, "Action=%s&Version=2011-06-15",
	    r->token_file ? "AssumeRoleWithWebIdentity" : "AssumeRole");
	if (rc != LS_OK || (rc = param(b, "RoleArn", r->arn, e)) != LS_OK ||
	    (rc = param(b, "RoleSessionName",
		 r->session && r->session[0] ? r->session : session, e)) !=
		LS_OK ||
	    (rc = param(b, "ExternalId", r->external_id, e)) != LS_OK ||
	    (rc = param(b, "DurationSeconds", r->duration, e)) != LS_OK)
		return rc;
	return r->token_file ? add_token(b, r->token_file, e) : LS_OK;
}

/* Authorization and x-amz-date for a body, as two lines. */
static enum ls_rc
sign(const struct ls_creds *with, const char *region, const char *host,
    const char *body, struct ls_buf *auth, char date[static LS_AMZ_DATE],
    struct ls_err *e)
{
	char hash[LS_SHA256_HEX];
	struct ls_pair h[3] = { { "host", host }, { "x-amz-date", date },
		{ "x-amz-security-token", with->token } };
	const struct ls_sigv4 in = {
		.method = "POST",
		.path = "/",
		.query = "",
		.headers = h,
		.nheaders = with->token != NULL ? 3 : 2,
		.payload_hash = hash,
		.region = region,
		.service = "sts",
		.amz_date = date,
		.cred = { with->key_id, with->secret, with->token },
	};
	enum ls_rc rc;

	ls_amz_date(ls_sys->wall_ns(), date);
	if ((rc = ls_sha256_hex(LS_SPAN_STR(body), hash, e)) != LS_OK ||
	    (rc = ls_buf_adds(auth, "authorization: ", e)) != LS_OK)
		return rc;
	return ls_sigv4_sign(&in, auth, e);
}

/* ---- answer ----------------------------------------------------------------*/

struct answer {
	struct ls_creds c;
	char expires[LS_TIME_MAX];
};

static enum ls_rc
on_element(void *arg, const char *path, const char *text, struct ls_err *e)
{
	struct answer *a = arg;
	const char *name = strstr(path, "Result/Credentials/");
	char **to = NULL;

	if (name == NULL)
		return LS_OK;
	name += sizeof "Result/Credentials/" - 1;
	if (strcmp(name, "AccessKeyId") == 0)
		to = &a->c.key_id;
	else if (strcmp(name, "SecretAccessKey") == 0)
		to = &a->c.secret;
	else if (strcmp(name, "SessionToken") == 0)
		to = &a->c.token;
	else if (strcmp(name, "Expiration") == 0)
		(void)snprintf(a->expires, sizeof a->expires, "%s", text);
	if (to != NULL && *to == NULL && (*to = ls_strdup(text)) == NULL)
		return ls_err_nomem(e);
	return LS_OK;
}

static enum ls_rc
read_answer(struct ls_span doc, const char *source, struct ls_creds *out,
    struct ls_err *e)
{
	struct answer a = { .expires = "" };
	enum ls_rc rc = ls_xml_parse(doc, on_element, &a, e);

	if (rc == LS_OK &&
	    (a.c.key_id == NULL || a.c.secret == NULL || a.c.token == NULL))
		rc = ls_err_set(e, LS_ESERVER, "the answer has no credentials");
	if (rc == LS_OK)
		rc = ls_time_parse(a.expires, &a.c.expires_ns, e);
	if (rc != LS_OK) {
		ls_creds_fini(&a.c);
		return ls_err_wrap(e, LS_ESERVER, "STS");
	}
	*out = a.c;
	out->source = source;
	return LS_OK;
}

static enum ls_rc
refusal(const struct ls_creds_role *r, struct ls_span doc, int status,
    enum ls_rc rc, struct ls_err *e)
{
	struct ls_s3_error x;

	ls_s3_error_parse(doc, &x);
	rc = ls_err_set(e, rc, "STS: HTTP %d %s: %s", status,
	    x.code[0] ? x.code : "without a code", x.message);
	if (strcmp(x.code, "AccessDenied") == 0)
		return ls_err_hint(e, rc,
		    "the trust policy of %s must allow this %s", r->arn,
		    r->token_file ? "web identity" : "caller");
	if (r->token_file != NULL)
		return ls_err_hint(e, rc,
		    "check AWS_ROLE_ARN, the identity provider, and that %s is "
		    "renewed",
		    r->token_file);
	return ls_err_hint(
	    e, rc, "check the keys that assume the role, and role_arn");
}

/* ---- both ------------------------------------------------------------------*/

/* "https://sts.REGION.amazonaws.com" without a slash behind it. */
static char *
endpoint(const char *region)
{
	const char *v =
	    ls_creds_env("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL");

	if (v != NULL && v[strlen(v) - 1] == '/')
		return ls_strndup(v, strlen(v) - 1);
	if (v != NULL)
		return ls_strdup(v);
	if (region == NULL)
		return ls_strdup("https://sts.amazonaws.com");
	return ls_asprintf("https://sts.%s.%s", region, ls_aws_domain(region));
}

static enum ls_rc
ask(const struct ls_creds_ask *a, const struct ls_creds_role *r,
    const char *region, struct ls_buf *body, struct ls_buf *out, int *status,
    struct ls_err *e)
{
	struct ls_buf auth = LS_BUF_INIT(4096);
	char date[LS_AMZ_DATE], *token = NULL, *stamp = NULL;
	char *base = endpoint(region);
	char *url = base ? ls_asprintf("%s/", base) : NULL;
	struct ls_creds_req q = { .method = "POST",
		.url = url,
		.body = ls_buf_str(body),
		.headers = { "content-type: "
			     "application/x-www-form-urlencoded" },
		.within_ns = PATIENCE };
	enum ls_rc rc = LS_OK;

	if (url == NULL || strstr(url, "://") == NULL) {
		rc = url == NULL
			 ? ls_err_nomem(e)
			 : ls_err_set(e, LS_EINVALID,
			       "AWS_ENDPOINT_URL_STS is no URL: %s", base);
	} else if (r->with != NULL) {
		rc = sign(r->with, region ? region : "us-east-1",
		    strstr(base, "://") + 3, q.body, &auth, date, e);
		stamp = ls_asprintf("x-amz-date: %s", date);
		if (r->with->token != NULL)
			token = ls_asprintf(
			    "x-amz-security-token: %s", r->with->token);
		if (rc == LS_OK && (stamp == NULL || (r->with->token != NULL &&
							 token == NULL)))
			rc = ls_err_nomem(e);
		q.headers[1] = ls_buf_str(&auth);
		q.headers[2] = stamp;
		q.headers[3] = token;
	}
	if (rc == LS_OK)
		rc = ls_err_wrap(
		    e, ls_creds_http(a, &q, out, status, e), "STS at %s", base);
	ls_creds_wipe(&auth);
	ls_free(token);
	ls_free(stamp);
	ls_free(url);
	ls_free(base);
	return rc;
}

enum ls_rc
ls_creds_assume(struct ls_creds *out, const struct ls_creds_ask *a,
    const struct ls_creds_role *r, struct ls_err *e)
{
	struct ls_buf body = LS_BUF_INIT(BODY_MAX);
	struct ls_buf answer = LS_BUF_INIT(ANSWER_MAX + 1);
	char *known = ls_creds_region();
	const char *region = r->region ? r->region : known ? known : a->region;
	int status = 0;
	enum ls_rc rc;

	if ((rc = form(r, &body, e)) == LS_OK &&
	    (rc = ask(a, r, region, &body, &answer, &status, e)) == LS_OK)
		rc = read_answer(ls_buf_span(&answer),
		    r->token_file ? "web identity" : "role of a profile", out,
		    e);
	else if (status != 0)
		rc = refusal(r, ls_buf_span(&answer), status, rc, e);
	ls_free(known);
	ls_creds_wipe(&body);
	ls_creds_wipe(&answer);
	return rc;
}

enum ls_rc
ls_creds_from_web_identity(
    struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	const struct ls_creds_role r = {
		.arn = ls_creds_env("AWS_ROLE_ARN", NULL),
		.session = ls_creds_env("AWS_ROLE_SESSION_NAME", NULL),
		.token_file = ls_creds_env("AWS_WEB_IDENTITY_TOKEN_FILE", NULL),
	};

	if (r.token_file == NULL)
		return LS_ENOTFOUND;
	if (r.arn == NULL)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EDENIED,
			"AWS_WEB_IDENTITY_TOKEN_FILE is set, AWS_ROLE_ARN is "
			"not"),
		    "set AWS_ROLE_ARN to the role that this identity may "
		    "assume");
	return ls_creds_assume(out, a, &r, e);
}
