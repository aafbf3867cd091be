/* place_url.c -- replica URLs. See store.h, compatibility 3.1 to 3.3.
 *
 * Upstream has two construction paths that accept different parameters; here
 * every spelling of both is accepted everywhere, and an unknown parameter is
 * an error instead of being ignored. One deviation on purpose: a URL without a
 * path means keys without a prefix ("0000/..."), where upstream writes
 * "./0000/..." or "/0000/...".
 */
#include "store/place.h"

#include "base/bytes.h"
#include "base/file.h"
#include "store/uri.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

bool
ls_is_url(const char *s)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return n > 0 && strncmp(s + n, "://", 3) == 0;
}

enum ls_rc
ls_place_unknown_type(const char *type, struct ls_err *e)
{
	static const char *const later[] = { "gs", "abs", "sftp", "webdav",
		"webdavs", "nats", "oss" };

	for (size_t i = 0; i < LS_COUNT(later); i++)
		if (strcmp(type, later[i]) == 0)
			return ls_err_hint(e,
			    ls_err_set(e, LS_EUNSUPPORTED,
				"replica type \"%s\" is not supported yet",
				type),
			    "use a file or s3 replica");
	return ls_err_set(
	    e, LS_EINVALID, "unknown replica type in config: \"%s\"", type);
}

/* ---- values ----------------------------------------------------------------*/

/* As upstream: any other word is false, but set. */
static enum ls_tri
tri_of(const char *v)
{
	static const char *const yes[] = { "true", "1", "t", "yes" };

	for (size_t i = 0; i < LS_COUNT(yes); i++)
		if (strcasecmp(v, yes[i]) == 0)
			return LS_YES;
	return LS_NO;
}

static enum ls_rc
positive(const char *name, const char *v, int64_t max, int64_t *out,
    struct ls_err *e)
{
	char *end = NULL;
	long long n;

	errno = 0;
	n = strtoll(v, &end, 10);
	if (!isdigit((unsigned char)v[0]) || *end != '\0' || errno != 0 ||
	    n <= 0 || n > max)
		return ls_err_set(e, LS_EINVALID,
		    "invalid value for query parameter \"%s\": \"%s\" (must be "
		    "a positive integer)",
		    name, v);
	*out = n;
	return LS_OK;
}

/* ---- query -----------------------------------------------------------------*/

enum kind { STRING, TRI, PART_SIZE, CONCURRENCY, FENCING };

static const struct param {
	const char *camel, *dashed;
	enum kind kind;
	size_t offset;
} params[] = {
#define F(f) offsetof(struct ls_place, f)
	{ "endpoint", "endpoint", STRING, F(endpoint) },
	{ "region", "region", STRING, F(region) },
	{ "forcePathStyle", "force-path-style", TRI, F(force_path_style) },
	{ "skipVerify", "skip-verify", TRI, F(skip_verify) },
	{ "signPayload", "sign-payload", TRI, F(sign_payload) },
	{ "requireContentMD5", "require-content-md5", TRI,
	    F(require_content_md5) },
	{ "storageClass", "storage-class", STRING, F(storage_class) },
	{ "partSize", "part-size", PART_SIZE, 0 },
	{ "concurrency", "concurrency", CONCURRENCY, 0 },
	{ "sseCustomerAlgorithm", "sse-customer-algorithm", STRING,
	    F(sse_algorithm) },
	{ "sseCustomerKey", "sse-customer-key", STRING, F(sse_key) },
	{ "sseCustomerKeyMD5", "sse-customer-key-md5", STRING, F(sse_key_md5) },
	{ "sseKmsKeyId", "sse-kms-key-id", STRING, F(sse_kms_key_id) },
	{ "fencing", "fencing", FENCING, 0 },
#undef F
};

static enum ls_rc
set_fencing(struct ls_place *p, const char *v, struct ls_err *e)
{
	static const char *const words[] = { "auto", "require", "off" };

	for (size_t i = 0; i < LS_COUNT(words); i++) {
		if (strcmp(v, words[i]) == 0) {
			p->fencing = (int)i;
			return LS_OK;
		}
	}
	return ls_err_set(e, LS_EINVALID,
	    "invalid value for query parameter \"fencing\": \"%s\" (auto, "
	    "require or off)",
	    v);
}

static enum ls_rc
set_param(struct ls_place *p, const struct param *k, const char *name,
    const char *v, struct ls_err *e)
{
	void *field = (char *)p + k->offset;
	int64_t n = 0;
	enum ls_rc rc;

	switch (k->kind) {
	case STRING:
		return v[0] == '\0' ? LS_OK
				    : ls_place_set((char **)field, v, e);
	case TRI: *(enum ls_tri *)field = tri_of(v); return LS_OK;
	case PART_SIZE: /* YAML wins */
		rc = positive(name, v, INT64_MAX, &n, e);
		if (rc == LS_OK && p->part_size == 0)
			p->part_size = n;
		return rc;
	case CONCURRENCY:
		rc = positive(name, v, 1000, &n, e);
		if (rc == LS_OK && p->concurrency == 0)
			p->concurrency = (int)n;
		return rc;
	case FENCING: return set_fencing(p, v, e);
	}
	return LS_OK;
}

static const struct param *
find_param(const char *name)
{
	for (size_t i = 0; i < LS_COUNT(params); i++)
		if (strcmp(name, params[i].camel) == 0 ||
		    strcmp(name, params[i].dashed) == 0)
			return &params[i];
	return NULL;
}

/* The same but for case and dashes? */
static bool
alike(const char *a, const char *b)
{
	for (;; a++, b++) {
		a += strspn(a, "-_");
		b += strspn(b, "-_");
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (*a == '\0')
			return true;
	}
}

/* A known name that it was meant to be, or NULL. */
static const char *
nearest(const char *name)
{
	for (size_t i = 0; i < LS_COUNT(params); i++)
		if (alike(params[i].dashed, name))
			return params[i].camel;
	return NULL;
}

static enum ls_rc
one_param(struct ls_place *p, const char *s, size_t n, unsigned *seen,
    struct ls_err *e)
{
	const char *eq = memchr(s, '=', n);
	size_t nn = eq ? (size_t)(eq - s) : n;
	const struct param *k;
	char *name = NULL, *v = NULL;
	enum ls_rc rc;

	if ((rc = ls_uri_decode(s, nn, true, &name, e)) != LS_OK)
		return rc;
	rc = ls_uri_decode(eq ? eq + 1 : "", eq ? n - nn - 1 : 0, true, &v, e);
	if (rc != LS_OK)
		goto out;
	if ((k = find_param(name)) == NULL) {
		rc = ls_err_set(e, LS_EINVALID,
		    "unknown query parameter \"%s\" in s3 URL", name);
		if (nearest(name) != NULL)
			rc = ls_err_hint(
			    e, rc, "did you mean \"%s\"?", nearest(name));
		goto out;
	}
	if ((*seen & 1u << (k - params)) == 0) /* the first one counts */
		rc = set_param(p, k, name, v, e);
	*seen |= 1u << (k - params);
out:
	ls_free(name);
	ls_free(v);
	return rc;
}

static enum ls_rc
parse_query(struct ls_place *p, const char *q, unsigned *seen, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && *q != '\0' && *q != '#') {
		size_t n = strcspn(q, "&#");

		if (n > 0)
			rc = one_param(p, q, n, seen, e);
		q += n;
		q += *q == '&';
	}
	return rc;
}

/* ---- hosts -----------------------------------------------------------------*/

/* One row a form of the host (compatibility 3.2): which group is the bucket,
 * which the region ($2), and what follows. Filebase names no style: its
 * endpoint's default, path style, applies, as upstream's provider rule. */
static const struct host_form {
	const char *re;
	const char *before, *after; /* of the region, in the endpoint */
	unsigned bucket, region;
	enum ls_tri path_style;
} host_forms[] = {
	{ "^(.+)\\.s3(\\.([^.]+))?\\.amazonaws\\.com$", NULL, NULL, 1, 3,
	    LS_NO },
	{ "^((.+)\\.)?([^.]+)\\.digitaloceanspaces\\.com$", "https://",
	    ".digitaloceanspaces.com", 2, 3, LS_NO },
	{ "^((.+)\\.)?s3\\.([^.]+)\\.backblazeb2\\.com$", "https://s3.",
	    ".backblazeb2.com", 2, 3, LS_YES },
	{ "^((.+)\\.)?s3\\.filebase\\.com$", "https://s3.filebase.com", "", 2,
	    0, LS_UNSET },
	{ "^((.+)\\.)?s3\\.([^.]+)\\.scw\\.cloud$", "https://s3.", ".scw.cloud",
	    2, 3, LS_NO },
};

/* Where a URL's host says something, fields that are set already stay. */
static enum ls_rc
set_unset(char **field, const char *s, size_t n, struct ls_err *e)
{
	if (*field != NULL || n == 0)
		return LS_OK;
	return (*field = ls_strndup(s, n)) ? LS_OK : ls_err_nomem(e);
}

static enum ls_rc
apply_form(struct ls_place *p, const struct host_form *f, const char *host,
    const regmatch_t *m, struct ls_err *e)
{
	const regmatch_t *b = &m[f->bucket], *r = &m[f->region];
	int rn = f->region > 0 && r->rm_so >= 0 ? r->rm_eo - r->rm_so : 0;
	const char *region = rn > 0 ? host + r->rm_so : "";
	char *bucket, ep[300];
	enum ls_rc rc;

	bucket = b->rm_so < 0 ? ls_strdup("")
			      : ls_strndup(host + b->rm_so,
				    (size_t)(b->rm_eo - b->rm_so));
	if (bucket == NULL)
		return ls_err_nomem(e);
	ls_free(p->bucket);
	p->bucket = bucket;
	rc = set_unset(&p->region, region, (size_t)rn, e);
	if (rc == LS_OK && f->before != NULL) {
		(void)snprintf(
		    ep, sizeof ep, "%s%.*s%s", f->before, rn, region, f->after);
		rc = set_unset(&p->endpoint, ep, strlen(ep), e);
	}
	if (p->force_path_style == LS_UNSET)
		p->force_path_style = f->path_style;
	return rc;
}

/* "bucket.host:port" and "host:port" (no bucket in it). */
static enum ls_rc
host_with_port(struct ls_place *p, const char *host, struct ls_err *e)
{
	const char *dot = strchr(host, '.');
	const char *rest = dot ? dot + 1 : host;
	char ep[300];
	enum ls_rc rc;

	ls_free(p->bucket);
	p->bucket = ls_strndup(host, dot ? (size_t)(dot - host) : 0);
	if (p->bucket == NULL)
		return ls_err_nomem(e);
	(void)snprintf(ep, sizeof ep, "http://%s", rest);
	if ((rc = set_unset(&p->region, "us-east-1", 9, e)) != LS_OK)
		return rc;
	if (p->force_path_style == LS_UNSET)
		p->force_path_style = LS_YES;
	return set_unset(&p->endpoint, ep, strlen(ep), e);
}

static enum ls_rc
parse_host(struct ls_place *p, const char *host, struct ls_err *e)
{
	if (strchr(host, '@') != NULL)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID, "an s3 URL cannot hold a user"),
		    "put the keys into the configuration or the environment");
	if (strchr(host, ':') != NULL && strstr(host, ".com") == NULL)
		return host_with_port(p, host, e);
	for (size_t i = 0; i < LS_COUNT(host_forms); i++) {
		regmatch_t m[4];
		regex_t re;
		int hit;

		if (regcomp(&re, host_forms[i].re, REG_EXTENDED) != 0)
			return ls_err_nomem(e);
		hit = regexec(&re, host, LS_COUNT(m), m, 0) == 0;
		regfree(&re);
		if (hit)
			return apply_form(p, &host_forms[i], host, m, e);
	}
	return ls_place_set(&p->bucket, host, e);
}

/* ---- the URL ---------------------------------------------------------------*/

/* Go's path.Clean of the decoded path, without the leading slash; "." and "/"
 * become "". */
static enum ls_rc
set_path(struct ls_place *p, const char *s, size_t n, struct ls_err *e)
{
	char *path = NULL, *slashed = NULL, *clean = NULL;
	enum ls_rc rc;

	if ((rc = ls_uri_decode(s, n, false, &path, e)) != LS_OK)
		return rc;
	if ((slashed = ls_asprintf("/%s", path)) == NULL ||
	    (clean = ls_abspath(slashed)) == NULL)
		rc = ls_err_nomem(e);
	else
		rc = ls_place_set(&p->path, clean + 1, e);
	ls_free(path);
	ls_free(slashed);
	ls_free(clean);
	return rc;
}

/* "arn:partition:s3:region:account:accesspoint/name[/key]": s is advanced to
 * behind the name. false when it is not an access point. */
static bool
access_point(const char **s, size_t *n)
{
	static const char word[] = ":accesspoint/";
	const char *w;
	size_t end;

	if (strncasecmp(*s, "arn:", 4) != 0 ||
	    (w = strcasestr(*s, word)) == NULL || w > *s + strcspn(*s, "/?#"))
		return false;
	w += sizeof word - 1;
	end = strcspn(w, "/?#");
	if (end == 0)
		return false;
	*n = (size_t)(w - *s) + end;
	return true;
}

static enum ls_rc
parse_s3(const char *s, struct ls_place *p, struct ls_err *e)
{
	bool arn;
	unsigned seen = 0;
	enum ls_rc rc;
	char *host;
	size_t n, pn;
	const char *path;

	if (!(arn = access_point(&s, &n)))
		n = strcspn(s, "/?#");
	path = s + n;
	pn = strcspn(path, "?#");
	/* Parameters first: what they say, the host does not. */
	if (path[pn] == '?' &&
	    (rc = parse_query(p, path + pn + 1, &seen, e)) != LS_OK)
		return rc;
	if ((rc = ls_uri_decode(s, n, false, &host, e)) != LS_OK)
		return rc;
	rc = arn ? ls_place_set(&p->bucket, host, e) : parse_host(p, host, e);
	ls_free(host);
	if (rc == LS_OK && p->bucket[0] == '\0')
		rc = ls_err_set(
		    e, LS_EINVALID, "bucket required for s3 replica");
	return rc == LS_OK ? set_path(p, path, pn, e) : rc;
}

/* Everything after "file://", the query dropped, cleaned; no percent-decoding
 * (upstream writes and reads the name as it stands in the URL). */
static enum ls_rc
parse_file(const char *s, struct ls_place *p, struct ls_err *e)
{
	size_t n = strcspn(s, "?");
	char *path;

	path = n == 0 ? ls_strdup(".") : ls_asprintf("/%.*s", (int)n, s);
	if (path == NULL)
		return ls_err_nomem(e);
	ls_free(p->path);
	p->path = path;
	return LS_OK;
}

static enum ls_rc
parse(const char *url, const char *scheme, struct ls_place *p, struct ls_err *e)
{
	const char *rest = url + strlen(scheme) + 1;

	if (rest[0] == '/' && rest[1] == '/') /* file:/x means file:///x */
		rest += 2;
	if (strcmp(scheme, "file") == 0)
		return parse_file(rest, p, e);
	if (strcmp(scheme, "s3") == 0)
		return parse_s3(rest, p, e);
	return ls_place_unknown_type(scheme, e);
}

enum ls_rc
ls_place_from_url(const char *url, struct ls_place *p, struct ls_err *e)
{
	struct ls_place n;
	char scheme[16];
	size_t len;
	enum ls_rc rc;

	if (!ls_is_url(url) && strncasecmp(url, "file:/", 6) != 0)
		return ls_err_set(
		    e, LS_EINVALID, "replica url scheme required: %s", url);
	len = LS_MIN(strcspn(url, ":"), sizeof scheme - 1);
	for (size_t i = 0; i < len; i++)
		scheme[i] = (char)tolower((unsigned char)url[i]);
	scheme[len] = '\0';
	/* On a copy, so that *p is untouched by an error. */
	if ((rc = ls_place_copy(&n, p, e)) != LS_OK)
		return rc;
	if ((rc = parse(url, scheme, &n, e)) != LS_OK ||
	    (rc = ls_place_set(&n.type, scheme, e)) != LS_OK) {
		ls_place_fini(&n);
		return rc;
	}
	ls_place_fini(p);
	*p = n;
	return LS_OK;
}
