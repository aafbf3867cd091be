/* sigv4.c -- AWS Signature Version 4. See sigv4.h.
 *
 * (1) ONLY WHAT IS GIVEN IS SIGNED. Proxies and providers rewrite other headers
 *     (Accept-Encoding: lessons A3.1), so the caller passes host and x-amz-*
 *     only. (test: sigv4_published_examples)
 * (2) THE QUERY IS SENT AS SIGNED: the same string goes into the URL and into
 *     the canonical request, sorted and strictly encoded.
 */
#include "store/sigv4.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"
#include "store/uri.h"

#include "store/crypto_lazy.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	MAX_PAIRS = 32,
	CANON_MAX = 32768,
	HASH = 32,
	PIECE = 65536,
};

static void
hex(const uint8_t *p, size_t n, char *out)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digit[p[i] >> 4];
		*out++ = digit[p[i] & 15];
	}
	*out = '\0';
}

/* ---- digests ---------------------------------------------------------------*/

enum ls_rc
ls_sha256_hex(
    struct ls_span body, char out[static LS_SHA256_HEX], struct ls_err *e)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	const void *p = body.n > 0 ? (const void *)body.p : "";
	enum ls_rc rc = ls_crypto_load(e);

	if (rc != LS_OK)
		return rc;
	if (ls_crypto.f_EVP_Digest(
		p, body.n, md, NULL, ls_crypto.f_EVP_sha256(), NULL) != 1)
		return ls_err_nomem(e);
	hex(md, HASH, out);
	return LS_OK;
}

enum ls_rc
ls_sha256_fd(int fd, uint64_t off, uint64_t n, char out[static LS_SHA256_HEX],
    struct ls_err *e)
{
	enum ls_rc rc = ls_crypto_load(e);
	uint8_t md[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx;
	uint8_t *buf;

	if (rc != LS_OK)
		return rc;
	ctx = ls_crypto.f_EVP_MD_CTX_new();
	buf = ls_alloc(PIECE);
	if (ctx == NULL || buf == NULL ||
	    ls_crypto.f_EVP_DigestInit_ex(
		ctx, ls_crypto.f_EVP_sha256(), NULL) != 1)
		rc = ls_err_nomem(e);
	while (rc == LS_OK && n > 0) {
		size_t k = (size_t)LS_MIN(n, (uint64_t)PIECE);

		if ((rc = ls_pread_all(fd, buf, k, off, e)) != LS_OK)
			break;
		if (ls_crypto.f_EVP_DigestUpdate(ctx, buf, k) != 1)
			rc = ls_err_nomem(e);
		off += k, n -= k;
	}
	if (rc == LS_OK && ls_crypto.f_EVP_DigestFinal_ex(ctx, md, NULL) != 1)
		rc = ls_err_nomem(e);
	if (rc == LS_OK)
		hex(md, HASH, out);
	ls_crypto.f_EVP_MD_CTX_free(ctx);
	ls_free(buf);
	return rc;
}

enum ls_rc
ls_md5_base64(
    struct ls_span body, char out[static LS_MD5_BASE64], struct ls_err *e)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	const void *p = body.n > 0 ? (const void *)body.p : "";
	enum ls_rc rc = ls_crypto_load(e);

	if (rc != LS_OK)
		return rc;
	if (ls_crypto.f_EVP_Digest(
		p, body.n, md, NULL, ls_crypto.f_EVP_md5(), NULL) != 1)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EUNSUPPORTED,
			"MD5 is switched off in this machine's OpenSSL"),
		    "set require-content-md5: false");
	(void)ls_crypto.f_EVP_EncodeBlock((uint8_t *)out, md, 16);
	return LS_OK;
}

enum ls_rc
ls_sse_key_md5(
    const char *key, char out[static LS_MD5_BASE64], struct ls_err *e)
{
	/* 32 bytes are 44 characters, the last one a '='. */
	enum { CHARS = 44 };
	uint8_t raw[CHARS];
	enum ls_rc rc = ls_crypto_load(e);

	if (rc != LS_OK)
		return rc;
	if (strlen(key) != CHARS || key[CHARS - 1] != '=' ||
	    key[CHARS - 2] == '=' ||
	    ls_crypto.f_EVP_DecodeBlock(raw, (const uint8_t *)key, CHARS) !=
		LS_SSE_KEY_BYTES + 1)
		return ls_err_set(e, LS_EINVALID,
		    "sse-customer-key must be the base64 of 32 bytes");
	rc = ls_md5_base64(LS_SPAN(raw, LS_SSE_KEY_BYTES), out, e);
	ls_crypto.f_OPENSSL_cleanse(raw, sizeof raw);
	return rc;
}

static enum ls_rc
hmac(const uint8_t *key, size_t n, const char *text, uint8_t out[static HASH],
    struct ls_err *e)
{
	unsigned len = 0;
	uint8_t md[EVP_MAX_MD_SIZE];
	enum ls_rc rc = ls_crypto_load(e);

	if (rc != LS_OK)
		return rc;
	if (ls_crypto.f_HMAC(ls_crypto.f_EVP_sha256(), key, (int)n,
		(const uint8_t *)text, strlen(text), md, &len) == NULL)
		return ls_err_nomem(e);
	memcpy(out, md, HASH);
	return LS_OK;
}

/* ---- signing ---------------------------------------------------------------*/

void
ls_amz_date(int64_t unix_ns, char out[static LS_AMZ_DATE])
{
	char t[LS_TIME_MAX]; /* 2013-05-24T00:00:00Z */

	(void)ls_time_sec(unix_ns, t);
	(void)snprintf(out, LS_AMZ_DATE, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", t, t + 5,
	    t + 8, t + 11, t + 14, t + 17);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

enum ls_rc
ls_sigv4_query(
    const struct ls_pair *q, size_t n, struct ls_buf *out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	char *each[MAX_PAIRS] = { NULL };
	size_t i;

	if (n > MAX_PAIRS)
		return ls_err_set(e, LS_ERANGE, "too many query parameters");
	for (i = 0; rc == LS_OK && i < n; i++) {
		struct ls_buf b = LS_BUF_INIT(CANON_MAX);

		/* '=' (0x3d) sorts behind every byte that may continue a
		 * name, but '~' and letters: so compare with 0x01. */
		if ((rc = ls_uri_encode(&b, q[i].name, false, e)) != LS_OK ||
		    (rc = ls_buf_adds(&b, "\x01", e)) != LS_OK ||
		    (rc = ls_uri_encode(&b, q[i].value, false, e)) != LS_OK ||
		    (rc = ls_buf_add(&b, "", 1, e)) != LS_OK)
			ls_buf_free(&b);
		each[i] = (char *)b.p;
	}
	if (rc == LS_OK)
		qsort(each, n, sizeof each[0], by_text);
	for (i = 0; rc == LS_OK && i < n; i++) {
		*strchr(each[i], '\x01') = '=';
		if (i > 0)
			rc = ls_buf_adds(out, "&", e);
		if (rc == LS_OK)
			rc = ls_buf_adds(out, each[i], e);
	}
	for (i = 0; i < n; i++)
		ls_free(each[i]);
	return rc;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct ls_pair *)a)->name,
	    ((const struct ls_pair *)b)->name);
}

/* The value with blanks trimmed and runs of them as one. */
static enum ls_rc
add_trimmed(struct ls_buf *b, const char *v, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	bool blank = false, any = false;

	for (; rc == LS_OK && *v != '\0'; v++) {
		if (*v == ' ' || *v == '\t') {
			blank = true;
			continue;
		}
		if (blank && any)
			rc = ls_buf_adds(b, " ", e);
		if (rc == LS_OK)
			rc = ls_buf_add(b, v, 1, e);
		blank = false, any = true;
	}
	return rc;
}

/* Canonical headers to b, their names to names ("host;x-amz-date"). */
static enum ls_rc
add_headers(const struct ls_sigv4 *in, struct ls_buf *b, struct ls_buf *names,
    struct ls_err *e)
{
	struct ls_pair h[MAX_PAIRS];
	enum ls_rc rc = LS_OK;

	if (in->nheaders > MAX_PAIRS)
		return ls_err_set(e, LS_ERANGE, "too many headers to sign");
	memcpy(h, in->headers, in->nheaders * sizeof h[0]);
	qsort(h, in->nheaders, sizeof h[0], by_name);
	for (size_t i = 0; rc == LS_OK && i < in->nheaders; i++) {
		if ((rc = ls_buf_addf(b, e, "%s:", h[i].name)) == LS_OK &&
		    (rc = add_trimmed(b, h[i].value, e)) == LS_OK &&
		    (rc = ls_buf_adds(b, "\n", e)) == LS_OK)
			rc = ls_buf_addf(
			    names, e, "%s%s", i > 0 ? ";" : "", h[i].name);
	}
	return rc;
}

static const char *
service(const struct ls_sigv4 *in)
{
	return in->service != NULL ? in->service : "s3";
}

static enum ls_rc
signing_key(
    const struct ls_sigv4 *in, uint8_t key[static HASH], struct ls_err *e)
{
	struct ls_buf first = LS_BUF_INIT(1024);
	char day[9];
	enum ls_rc rc;

	(void)snprintf(day, sizeof day, "%.8s", in->amz_date);
	if ((rc = ls_buf_addf(&first, e, "AWS4%s", in->cred.secret)) == LS_OK &&
	    (rc = hmac(first.p, first.n, day, key, e)) == LS_OK &&
	    (rc = hmac(key, HASH, in->region, key, e)) == LS_OK &&
	    (rc = hmac(key, HASH, service(in), key, e)) == LS_OK)
		rc = hmac(key, HASH, "aws4_request", key, e);
	if (first.p != NULL)
		ls_crypto.f_OPENSSL_cleanse(first.p, first.cap);
	ls_buf_free(&first);
	return rc;
}

static enum ls_rc
canonical(const struct ls_sigv4 *in, struct ls_buf *names,
    char out[static LS_SHA256_HEX], struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(CANON_MAX);
	enum ls_rc rc;

	rc =
	    ls_buf_addf(&b, e, "%s\n%s\n%s\n", in->method, in->path, in->query);
	if (rc == LS_OK && (rc = add_headers(in, &b, names, e)) == LS_OK)
		rc = ls_buf_addf(
		    &b, e, "\n%s\n%s", ls_buf_str(names), in->payload_hash);
	if (rc == LS_OK)
		rc = ls_sha256_hex(ls_buf_span(&b), out, e);
	ls_buf_free(&b);
	return rc;
}

enum ls_rc
ls_sigv4_sign(const struct ls_sigv4 *in, struct ls_buf *out, struct ls_err *e)
{
	struct ls_buf names = LS_BUF_INIT(4096), sts = LS_BUF_INIT(4096);
	char hash[LS_SHA256_HEX], sig[LS_SHA256_HEX];
	uint8_t key[HASH], mac[HASH];
	enum ls_rc rc;

	if ((rc = canonical(in, &names, hash, e)) != LS_OK ||
	    (rc = ls_buf_addf(&sts, e,
		 "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s",
		 in->amz_date, in->amz_date, in->region, service(in), hash)) !=
		LS_OK ||
	    (rc = signing_key(in, key, e)) != LS_OK ||
	    (rc = hmac(key, HASH, ls_buf_str(&sts), mac, e)) != LS_OK)
		goto out;
	hex(mac, HASH, sig);
	rc = ls_buf_addf(out, e,
	    "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
	    "SignedHeaders=%s, Signature=%s",
	    in->cred.key_id, in->amz_date, in->region, service(in),
	    ls_buf_str(&names), sig);
out:
	ls_crypto.f_OPENSSL_cleanse(key, sizeof key);
	ls_buf_free(&names);
	ls_buf_free(&sts);
	return rc;
}
