/* place.c -- the configuration of one replica: copying, defaults and the rules
 * of S3 providers, validation. See store.h; URLs are in place_url.c.
 *
 * (1) AN EXPLICIT SETTING WINS over every provider rule. Upstream differs by
 *     construction path (compatibility 3.2); ours is one path, and a user who
 *     wrote forcePathStyle=false meant it. (test: explicit_path_style_wins)
 * (2) SETTLING TWICE CHANGES NOTHING: a rule only fills what is unset, so a
 *     settled place may be copied and settled again.
 */
#include "store/place.h"

#include "base/bytes.h"
#include "base/file.h"
#include "store/sigv4.h"

#include <stdlib.h>
#include <strings.h>

enum {
	PART_MIN = 5 << 20,
	CONCURRENCY = 5,
	CONCURRENCY_R2 = 2, /* above it answers 500 (lessons A3.1) */
	SSE_KEY_MAX = 4096,
};
#define PART_MAX (5ll << 30)

/* Every string of the place, so that no copy or free forgets one. */
#define STRINGS(X)           \
	X(type)              \
	X(path)              \
	X(bucket)            \
	X(region)            \
	X(endpoint)          \
	X(access_key_id)     \
	X(secret_access_key) \
	X(session_token)     \
	X(storage_class)     \
	X(sse_algorithm)     \
	X(sse_key) X(sse_key_md5) X(sse_key_path) X(sse_kms_key_id)

void
ls_place_init(struct ls_place *p)
{
	*p = (struct ls_place){ 0 };
	p->force_path_style = p->sign_payload = LS_UNSET;
	p->require_content_md5 = p->skip_verify = LS_UNSET;
	p->fencing = LS_FENCING_AUTO;
}

void
ls_place_fini(struct ls_place *p)
{
#define X(f) ls_free(p->f);
	STRINGS(X)
#undef X
	ls_place_init(p);
}

enum ls_rc
ls_place_copy(
    struct ls_place *to, const struct ls_place *from, struct ls_err *e)
{
	struct ls_place n = *from;
	bool ok = true;

#define X(f) n.f = NULL;
	STRINGS(X)
#undef X
#define X(f)                       \
	if (ok && from->f != NULL) \
		ok = (n.f = ls_strdup(from->f)) != NULL;
	STRINGS(X)
#undef X
	if (!ok) {
		ls_place_fini(&n);
		return ls_err_nomem(e);
	}
	*to = n;
	return LS_OK;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
ls_place_same(const struct ls_place *a, const struct ls_place *b)
{
	bool same = a->force_path_style == b->force_path_style &&
		    a->sign_payload == b->sign_payload &&
		    a->require_content_md5 == b->require_content_md5 &&
		    a->skip_verify == b->skip_verify &&
		    a->tigris == b->tigris && a->part_size == b->part_size &&
		    a->concurrency == b->concurrency &&
		    a->fencing == b->fencing;

#define X(f) same = same && same_text(a->f, b->f);
	STRINGS(X)
#undef X
	return same;
}

enum ls_rc
ls_place_set(char **field, const char *value, struct ls_err *e)
{
	char *s = ls_strdup(value);

	if (s == NULL)
		return ls_err_nomem(e);
	ls_free(*field);
	*field = s;
	return LS_OK;
}

/* ---- endpoints -------------------------------------------------------------*/

static bool
starts(const char *s, const char *with)
{
	return strncasecmp(s, with, strlen(with)) == 0;
}

static bool
ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && strcasecmp(s + n - m, with) == 0;
}

/* The host of an endpoint with or without scheme, with its port unless
 * bare: up to '/'. false when it does not fit. */
static bool
endpoint_host(const char *endpoint, bool bare, char *host, size_t size)
{
	const char *s = strstr(endpoint, "://");
	size_t n;

	s = s ? s + 3 : endpoint;
	n = strcspn(s, "/?#");
	if (bare && n > 0 && s[0] == '[')
		n = strcspn(s, "]") + 1;
	else if (bare)
		n = LS_MIN(n, strcspn(s, ":"));
	if (n >= size || memchr(s, '@', n) != NULL)
		return false;
	memcpy(host, s, n);
	host[n] = '\0';
	return true;
}

/* Upstream's list (replica_url.go:363-402), its 172.2* prefix included. */
bool
ls_endpoint_is_local(const char *endpoint)
{
	static const char *const prefix[] = { "192.168.", "10.", "172.16.",
		"172.17.", "172.18.", "172.19.", "172.2", "172.30.",
		"172.31." };
	char host[256];

	if (!endpoint_host(endpoint, true, host, sizeof host))
		return false;
	if (strcasecmp(host, "localhost") == 0 || starts(host, "127.") ||
	    strcmp(host, "[::1]") == 0 || ends(host, ".local") ||
	    ends(host, ".localhost"))
		return true;
	for (size_t i = 0; i < LS_COUNT(prefix); i++)
		if (starts(host, prefix[i]))
			return true;
	return false;
}

static enum ls_rc
ensure_scheme(struct ls_place *p, struct ls_err *e)
{
	char *s;

	if (strstr(p->endpoint, "://") != NULL) {
		if (starts(p->endpoint, "http://") ||
		    starts(p->endpoint, "https://"))
			return LS_OK;
		return ls_err_set(e, LS_EINVALID,
		    "endpoint \"%s\" is neither http:// nor https://",
		    p->endpoint);
	}
	s = ls_asprintf("%s://%s",
	    ls_endpoint_is_local(p->endpoint) ? "http" : "https", p->endpoint);
	if (s == NULL)
		return ls_err_nomem(e);
	ls_free(p->endpoint);
	p->endpoint = s;
	return LS_OK;
}

/* ---- provider rules --------------------------------------------------------*/

static bool
is_tigris(const char *host)
{
	return strcasecmp(host, "fly.storage.tigris.dev") == 0 ||
	       strcasecmp(host, "t3.storage.dev") == 0;
}

/* Only what differs from the defaults of any custom endpoint (path style,
 * signed payload, Content-MD5) needs a row: R2 and Tigris. */
static enum ls_rc
provider_rules(struct ls_place *p, struct ls_err *e)
{
	char host[256];

	if (!endpoint_host(p->endpoint, false, host, sizeof host))
		return ls_err_set(e, LS_EINVALID,
		    "endpoint must be http(s)://HOST[:PORT], without user");
	if (host[0] == '\0' || host[0] == ':')
		return ls_err_set(
		    e, LS_EINVALID, "endpoint \"%s\" has no host", p->endpoint);
	if (ends(host, ".r2.cloudflarestorage.com")) {
		if (p->concurrency == 0)
			p->concurrency = CONCURRENCY_R2;
		if (p->region == NULL)
			return ls_place_set(&p->region, "auto", e);
	}
	if (is_tigris(host)) {
		p->tigris = true;
		if (p->require_content_md5 == LS_UNSET)
			p->require_content_md5 = LS_NO;
		if (p->region == NULL)
			return ls_place_set(&p->region, "auto", e);
	}
	return LS_OK;
}

static enum ls_rc
endpoint_rules(struct ls_place *p, struct ls_err *e)
{
	enum ls_rc rc;
	size_t n = strlen(p->endpoint);

	while (n > 0 && p->endpoint[n - 1] == '/')
		p->endpoint[--n] = '\0';
	if ((rc = ensure_scheme(p, e)) != LS_OK ||
	    (rc = provider_rules(p, e)) != LS_OK)
		return rc;
	if (p->force_path_style == LS_UNSET)
		p->force_path_style = LS_YES;
	if (p->region == NULL)
		return ls_place_set(&p->region, "us-east-1", e);
	return LS_OK;
}

/* ---- server-side encryption ------------------------------------------------*/

static enum ls_rc
read_sse_key(struct ls_place *p, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(SSE_KEY_MAX + 1);
	enum ls_rc rc;
	char *path = ls_abspath(p->sse_key_path);

	if (path == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_read_file(path, SSE_KEY_MAX, &b, e)) == LS_OK) {
		while (b.n > 0 && strchr(" \t\r\n", b.p[b.n - 1]) != NULL)
			b.n--;
		rc = ls_place_set(&p->sse_key, ls_buf_str(&b), e);
	}
	if (b.p != NULL)
		memset(b.p, 0, b.cap);
	ls_buf_free(&b);
	ls_free(path);
	return ls_err_wrap(e, rc, "sse-customer-key-path");
}

static enum ls_rc
settle_sse_c(struct ls_place *p, struct ls_err *e)
{
	enum ls_rc rc;
	char md5[LS_MD5_BASE64];

	if (p->sse_kms_key_id != NULL)
		return ls_err_set(e, LS_EINVALID,
		    "sse-customer-key and sse-kms-key-id exclude each other");
	if (p->sse_algorithm == NULL &&
	    (rc = ls_place_set(&p->sse_algorithm, "AES256", e)) != LS_OK)
		return rc;
	if (strcmp(p->sse_algorithm, "AES256") != 0)
		return ls_err_set(e, LS_EINVALID,
		    "sse-customer-algorithm must be AES256 (got \"%s\")",
		    p->sse_algorithm);
	if ((rc = ls_sse_key_md5(p->sse_key, md5, e)) != LS_OK)
		return rc;
	if (p->sse_key_md5 != NULL && strcmp(p->sse_key_md5, md5) != 0)
		return ls_err_set(e, LS_EINVALID,
		    "sseCustomerKeyMD5 is not the MD5 of the key");
	if (p->endpoint != NULL && !starts(p->endpoint, "https://") &&
	    !ls_endpoint_is_local(p->endpoint))
		return ls_err_set(e, LS_EINVALID,
		    "a customer key must not travel without TLS: endpoint %s",
		    p->endpoint);
	return ls_place_set(&p->sse_key_md5, md5, e);
}

static enum ls_rc
settle_sse(struct ls_place *p, struct ls_err *e)
{
	enum ls_rc rc;

	if (p->sse_key_path != NULL && (rc = read_sse_key(p, e)) != LS_OK)
		return rc;
	if (p->sse_key != NULL)
		return settle_sse_c(p, e);
	if (p->sse_algorithm != NULL || p->sse_key_md5 != NULL)
		return ls_err_set(e, LS_EINVALID,
		    "a customer encryption algorithm needs sse-customer-key");
	return LS_OK;
}

/* ---- settle ----------------------------------------------------------------*/

/* Field 3 of arn:partition:s3:region:account:accesspoint/name, counted from 0;
 * "" when there is none. */
void
ls_arn_field(const char *arn, unsigned i, char *out, size_t size)
{
	size_t n;

	out[0] = '\0';
	while (i-- > 0 && arn != NULL)
		arn = (arn = strchr(arn, ':')) ? arn + 1 : NULL;
	if (arn == NULL || (n = strcspn(arn, ":/")) >= size)
		return;
	memcpy(out, arn, n);
	out[n] = '\0';
}

const char *
ls_aws_domain(const char *region)
{
	return strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn"
					      : "amazonaws.com";
}

static enum ls_rc
settle_s3(struct ls_place *p, struct ls_err *e)
{
	enum ls_rc rc;
	char region[64];

	if (p->bucket == NULL || p->bucket[0] == '\0')
		return ls_err_set(
		    e, LS_EINVALID, "bucket required for s3 replica");
	if (starts(p->bucket, "arn:") && p->region == NULL) {
		ls_arn_field(p->bucket, 3, region, sizeof region);
		if (region[0] != '\0' &&
		    (rc = ls_place_set(&p->region, region, e)) != LS_OK)
			return rc;
	}
	if (p->path == NULL && (rc = ls_place_set(&p->path, "", e)) != LS_OK)
		return rc;
	for (size_t n = strlen(p->path); n > 0 && p->path[n - 1] == '/'; n--)
		p->path[n - 1] = '\0';
	if (p->endpoint != NULL && (rc = endpoint_rules(p, e)) != LS_OK)
		return rc;
	if (p->force_path_style == LS_UNSET)
		p->force_path_style = LS_NO;
	if (p->sign_payload == LS_UNSET)
		p->sign_payload = LS_YES;
	if (p->require_content_md5 == LS_UNSET)
		p->require_content_md5 = LS_YES;
	if (p->concurrency == 0)
		p->concurrency = CONCURRENCY;
	if (p->part_size == 0)
		p->part_size = PART_MIN;
	if (p->part_size < PART_MIN || p->part_size > PART_MAX)
		return ls_err_set(e, LS_EINVALID,
		    p->part_size < PART_MIN
			? "part size must be at least %lld bytes"
			: "part size must be at most %lld bytes",
		    p->part_size < PART_MIN ? (long long)PART_MIN : PART_MAX);
	return settle_sse(p, e);
}

static enum ls_rc
settle_file(struct ls_place *p, struct ls_err *e)
{
	char *abs;

	if (p->path == NULL || p->path[0] == '\0')
		return ls_err_set(e, LS_EINVALID, "file replica path required");
	if ((abs = ls_abspath(p->path)) == NULL)
		return ls_err_nomem(e);
	ls_free(p->path);
	p->path = abs;
	return LS_OK;
}

enum ls_rc
ls_place_settle(struct ls_place *p, struct ls_err *e)
{
	enum ls_rc rc;

	if (p->type == NULL && (rc = ls_place_set(&p->type, "file", e)))
		return rc;
	if (p->skip_verify == LS_UNSET)
		p->skip_verify = LS_NO;
	if (strcmp(p->type, "file") == 0)
		return settle_file(p, e);
	if (strcmp(p->type, "s3") == 0)
		return settle_s3(p, e);
	return ls_place_unknown_type(p->type, e);
}

enum ls_rc
ls_place_from_env(struct ls_place *p, struct ls_err *e)
{
	const char *v = getenv("LITESTREAM_S3_ENDPOINT");

	if (v == NULL || v[0] == '\0' || p->endpoint != NULL ||
	    p->type == NULL || strcmp(p->type, "s3") != 0)
		return LS_OK;
	return ls_place_set(&p->endpoint, v, e);
}

char *
ls_place_text(const struct ls_place *p)
{
	const char *path = p->path ? p->path : "";
	const char *slash = path[0] == '\0' ? "" : "/";

	if (p->type == NULL || strcmp(p->type, "s3") != 0)
		return ls_asprintf("%s://%s", p->type ? p->type : "file", path);
	if (p->endpoint == NULL)
		return ls_asprintf(
		    "s3://%s%s%s", p->bucket ? p->bucket : "", slash, path);
	return ls_asprintf("s3://%s%s%s at %s", p->bucket ? p->bucket : "",
	    slash, path, p->endpoint);
}
