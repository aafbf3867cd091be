/* s3_addr.c -- where a bucket or key is: scheme, host and path, in path style
 * or virtual-hosted style, at AWS, at an access point or at any endpoint.
 *
 * (1) THE HOST IS SIGNED AS IT IS SENT: a default port is left away, as HTTP
 *     clients do. (test: s3_addresses)
 * (2) NO REGION IS ASKED FOR. Without one: environment, profile, us-east-1;
 *     the right one is in the error of a wrong one (lessons A3.2).
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "store/place.h"
#include "store/uri.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

enum { URL_MAX = 8192, REGION_MAX = 63 };

void
ls_s3_addr_fini(struct ls_s3_addr *a)
{
	ls_free(a->url);
	ls_free(a->host);
	*a = (struct ls_s3_addr){ 0 };
}

/* ---- region ----------------------------------------------------------------*/

static void
first_region(const struct ls_store *st, char out[static REGION_MAX + 1])
{
	char *r = NULL;

	if (st->place.region == NULL && st->place.endpoint == NULL)
		r = ls_creds_region();
	(void)snprintf(out, REGION_MAX + 1, "%s",
	    st->place.region ? st->place.region
	    : r		     ? r
			     : "us-east-1");
	ls_free(r);
}

static void
region_of(struct ls_store *st, char out[static REGION_MAX + 1])
{
	struct ls_fact *f = ls_s3_of(st)->fact;

	(void)pthread_mutex_lock(&f->mu);
	if (f->region[0] == '\0')
		first_region(st, f->region);
	memcpy(out, f->region, sizeof f->region);
	(void)pthread_mutex_unlock(&f->mu);
}

bool
ls_s3_learn_region(struct ls_store *st, const char *used, const char *region)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	size_t n = strlen(region);

	/* It becomes part of a host name: believe only what looks like one. */
	if (n == 0 || n > REGION_MAX || strcmp(used, region) == 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)region[i]) && region[i] != '-')
			return false;
	(void)pthread_mutex_lock(&f->mu);
	memcpy(f->region, region, n + 1);
	(void)pthread_mutex_unlock(&f->mu);
	return true;
}

/* ---- host ------------------------------------------------------------------*/

struct where {
	const char *scheme;
	struct ls_buf host, base; /* base: path before the key, no slash */
};

static enum ls_rc
access_point(
    const char *arn, const char *region, struct where *w, struct ls_err *e)
{
	char account[32], name[128];

	ls_arn_field(arn, 4, account, sizeof account);
	(void)snprintf(name, sizeof name, "%s", strchr(arn, '/') + 1);
	return ls_buf_addf(&w->host, e, "%s-%s.s3-accesspoint.%s.%s", name,
	    account, region, ls_aws_domain(region));
}

/* A dot in the bucket does not fit AWS's wildcard certificate. */
static enum ls_rc
at_aws(const struct ls_place *p, const char *region, struct where *w,
    struct ls_err *e)
{
	enum ls_rc rc;

	w->scheme = "https";
	if (strncasecmp(p->bucket, "arn:", 4) == 0 && strchr(p->bucket, '/'))
		return access_point(p->bucket, region, w, e);
	if (p->force_path_style != LS_YES && strchr(p->bucket, '.') == NULL)
		return ls_buf_addf(&w->host, e, "%s.s3.%s.%s", p->bucket,
		    region, ls_aws_domain(region));
	rc =
	    ls_buf_addf(&w->host, e, "s3.%s.%s", region, ls_aws_domain(region));
	return rc == LS_OK ? ls_buf_addf(&w->base, e, "/%s", p->bucket) : rc;
}

static enum ls_rc
at_endpoint(const struct ls_place *p, struct where *w, struct ls_err *e)
{
	const char *s = strstr(p->endpoint, "://") + 3;
	bool tls = strncasecmp(p->endpoint, "https:", 6) == 0;
	const char *port = tls ? ":443" : ":80";
	size_t n = strcspn(s, "/?#");
	const char *path = s + n;
	size_t pn = strcspn(path, "?#"), m = strlen(port);
	enum ls_rc rc = LS_OK;

	w->scheme = tls ? "https" : "http";
	if (n > m && strncmp(s + n - m, port, m) == 0)
		n -= m;
	if (p->force_path_style == LS_NO)
		rc = ls_buf_addf(&w->host, e, "%s.", p->bucket);
	if (rc != LS_OK || (rc = ls_buf_add(&w->host, s, n, e)) != LS_OK ||
	    (rc = ls_buf_add(&w->base, path, pn, e)) != LS_OK)
		return rc;
	if (p->force_path_style != LS_NO)
		rc = ls_buf_addf(&w->base, e, "/%s", p->bucket);
	return rc;
}

/* ---- all -------------------------------------------------------------------*/

static enum ls_rc
compose(const struct where *w, const char *path, struct ls_s3_addr *a,
    struct ls_err *e)
{
	struct ls_buf url = LS_BUF_INIT(URL_MAX);
	struct ls_buf base = w->base;
	size_t at;
	enum ls_rc rc;

	rc = ls_buf_addf(&url, e, "%s://%s", w->scheme, a->host);
	at = url.n;
	if (rc == LS_OK && base.n > 0)
		rc = ls_uri_encode(&url, ls_buf_str(&base), true, e);
	if (rc == LS_OK && (path != NULL || base.n == 0))
		rc = ls_buf_adds(&url, "/", e);
	if (rc == LS_OK && path != NULL)
		rc = ls_uri_encode(&url, path, true, e);
	if (rc == LS_OK)
		rc = ls_buf_add(&url, "", 1, e);
	if (rc != LS_OK) {
		ls_buf_free(&url);
		return rc;
	}
	a->url = (char *)url.p;
	a->path = a->url + at;
	return LS_OK;
}

enum ls_rc
ls_s3_addr(struct ls_store *st, const char *path, struct ls_s3_addr *out,
    struct ls_err *e)
{
	struct where w = { "", LS_BUF_INIT(512), LS_BUF_INIT(1024) };
	struct ls_s3_addr a = { 0 };
	enum ls_rc rc;

	region_of(st, a.region);
	rc = st->place.endpoint != NULL ? at_endpoint(&st->place, &w, e)
					: at_aws(&st->place, a.region, &w, e);
	if (rc == LS_OK && (a.host = ls_strdup(ls_buf_str(&w.host))) == NULL)
		rc = ls_err_nomem(e);
	(void)ls_buf_str(&w.base);
	if (rc == LS_OK)
		rc = compose(&w, path, &a, e);
	ls_buf_free(&w.host);
	ls_buf_free(&w.base);
	if (rc != LS_OK)
		ls_s3_addr_fini(&a);
	else
		*out = a;
	return rc;
}
