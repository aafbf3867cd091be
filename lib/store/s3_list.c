/* s3_list.c -- ListObjectsV2. See s3.h.
 *
 * (1) A PAGE IS SHOWN WHEN IT IS WHOLE: it is parsed to the end first, so a
 *     malformed one calls nobody back. (test: s3_list_hostile)
 * (2) A LISTING ENDS: keys must rise over all pages (S3 promises byte order;
 *     its "directory buckets" do not, and are refused here), so a server that
 *     repeats itself is an error and not a loop.
 * (3) EVERY KEY LIES UNDER THE PREFIX that was asked for, or it is an error:
 *     what is listed may be deleted later.
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/units.h"
#include "store/uri.h"
#include "store/xml.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	PAGE_MAX = 8 << 20, /* 1,000 keys of 1,024 bytes, each %XX */
	ITEMS_MAX = 1000,
	EMPTY_PAGES_MAX = 1000,
};

struct item {
	size_t key, etag; /* offsets into text */
	uint64_t size;
	int64_t mtime_ns;
};

struct page {
	struct ls_buf text; /* keys and ETags, each with a NUL */
	struct item *items;
	size_t n;
	struct item now;
	bool truncated, encoded, dirs;
	char *token, *last; /* last: key of the pages before */
};

static void
page_fini(struct page *p)
{
	ls_buf_free(&p->text);
	ls_free(p->items);
	ls_free(p->token);
	ls_free(p->last);
}

static void
page_reset(struct page *p)
{
	ls_buf_clear(&p->text);
	p->n = 0;
	p->truncated = p->encoded = false;
	p->now = (struct item){ SIZE_MAX, SIZE_MAX, 0, 0 };
	ls_free(p->token);
	p->token = NULL;
}

/* ---- parsing ---------------------------------------------------------------*/

static enum ls_rc
add_text(struct page *p, const char *s, size_t *at, struct ls_err *e)
{
	*at = p->text.n;
	return ls_buf_add(&p->text, s, strlen(s) + 1, e);
}

static enum ls_rc
add_item(struct page *p, struct ls_err *e)
{
	if (p->now.key == SIZE_MAX)
		return ls_err_set(e, LS_ECORRUPT, "listing without a key");
	if (p->n == ITEMS_MAX)
		return ls_err_set(e, LS_ECORRUPT,
		    "listing of more than %d keys on a page", ITEMS_MAX);
	p->items[p->n++] = p->now;
	p->now = (struct item){ SIZE_MAX, SIZE_MAX, 0, 0 };
	return LS_OK;
}

static enum ls_rc
on_content(struct page *p, const char *name, const char *text, struct ls_err *e)
{
	char *end;

	if (strcmp(name, "Key") == 0)
		return add_text(p, text, &p->now.key, e);
	if (strcmp(name, "ETag") == 0)
		return add_text(p, text, &p->now.etag, e);
	if (strcmp(name, "LastModified") == 0)
		return ls_time_parse(text, &p->now.mtime_ns, e);
	if (strcmp(name, "Size") != 0)
		return LS_OK;
	errno = 0;
	p->now.size = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0)
		return ls_err_set(
		    e, LS_ECORRUPT, "listing with size \"%.40s\"", text);
	return LS_OK;
}

static enum ls_rc
on_element(void *arg, const char *path, const char *text, struct ls_err *e)
{
	static const char root[] = "ListBucketResult/";
	struct page *p = arg;
	enum ls_rc rc;

	if (strncmp(path, root, sizeof root - 1) != 0)
		return LS_OK;
	path += sizeof root - 1;
	if (strcmp(path, "IsTruncated") == 0)
		p->truncated = strcmp(text, "true") == 0;
	else if (strcmp(path, "EncodingType") == 0)
		p->encoded = strcmp(text, "url") == 0;
	else if (strcmp(path, "NextContinuationToken") == 0 && p->token == NULL)
		return (p->token = ls_strdup(text)) ? LS_OK : ls_err_nomem(e);
	if (p->dirs && strcmp(path, "CommonPrefixes/Prefix") == 0) {
		rc = add_text(p, text, &p->now.key, e);
		return rc == LS_OK ? add_item(p, e) : rc;
	}
	if (p->dirs)
		return LS_OK;
	if (strcmp(path, "Contents") == 0)
		return add_item(p, e);
	if (strncmp(path, "Contents/", 9) == 0)
		return on_content(p, path + 9, text, e);
	return LS_OK;
}

/* ---- one page --------------------------------------------------------------*/

static enum ls_rc
fetch(struct ls_store *st, struct page *p, const char *prefix,
    const char *after, const char *token, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_buf out = LS_BUF_INIT(PAGE_MAX);
	struct ls_s3_req q = {
		.method = "GET",
		.what = "s3:ListBucket",
		.out = &out,
		.error_in_200 = true,
	};
	struct ls_http_resp r;
	enum ls_rc rc;

	ls_s3_param(&q, "list-type", "2");
	ls_s3_param(&q, "encoding-type", "url");
	ls_s3_param(&q, "prefix", prefix);
	if (p->dirs)
		ls_s3_param(&q, "delimiter", "/");
	if (token != NULL)
		ls_s3_param(&q, "continuation-token", token);
	else if (after != NULL)
		ls_s3_param(&q, "start-after", after);
	ls_http_resp_init(&r);
	rc = ls_s3_send(st, &q, &r, c, e);
	ls_http_resp_fini(&r);
	page_reset(p);
	if (rc == LS_OK)
		rc = ls_err_hint(e,
		    ls_xml_parse(ls_buf_span(&out), on_element, p, e),
		    "is it an S3 endpoint? check its host, port and path");
	ls_buf_free(&out);
	return rc;
}

/* (2) and (3); *key is heap. */
static enum ls_rc
check_key(struct page *p, const char *raw, const char *prefix, char **key,
    struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (p->encoded)
		rc = ls_uri_decode(raw, strlen(raw), true, key, e);
	else if ((*key = ls_strdup(raw)) == NULL)
		rc = ls_err_nomem(e);
	if (rc != LS_OK)
		return rc;
	if (strncmp(*key, prefix, strlen(prefix)) != 0)
		return ls_err_set(e, LS_ECORRUPT,
		    "listing of \"%s\" holds \"%.200s\"", prefix, *key);
	if (p->last != NULL && strcmp(p->last, *key) >= 0)
		return ls_err_set(e, LS_ECORRUPT,
		    "listing is not in order: \"%.200s\" after \"%.200s\"",
		    *key, p->last);
	return LS_OK;
}

/* A copy of the ETag without quotes. */
static const char *
bare_etag(const struct page *p, const struct item *i, char out[static 128])
{
	const char *s;
	size_t n;

	if (i->etag == SIZE_MAX)
		return NULL;
	s = (const char *)p->text.p + i->etag;
	s += *s == '"';
	n = strcspn(s, "\"");
	if (n >= 128)
		return NULL;
	memcpy(out, s, n);
	out[n] = '\0';
	return out;
}

static enum ls_rc
show(struct ls_store *st, struct page *p, const char *prefix, ls_list_fn *fn,
    void *arg, bool *more, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && *more && i < p->n; i++) {
		const struct item *it = &p->items[i];
		struct ls_object o = { .size = it->size,
			.mtime_ns = it->mtime_ns };
		char etag[128], *key = NULL;
		size_t n;

		rc = check_key(
		    p, (const char *)p->text.p + it->key, prefix, &key, e);
		if (rc != LS_OK) {
			ls_free(key);
			break;
		}
		n = strlen(key);
		o.key = ls_store_key(st, key);
		o.etag = bare_etag(p, it, etag);
		/* "db/": a console's idea of a folder, no object of ours */
		if (p->dirs || (n > 0 && key[n - 1] != '/'))
			*more = fn(arg, &o);
		ls_free(p->last);
		p->last = key;
	}
	return rc;
}

/* ---- all pages -------------------------------------------------------------*/

static enum ls_rc
all_pages(struct ls_store *st, struct page *p, const char *prefix,
    const char *after, ls_list_fn *fn, void *arg, const struct ls_call *c,
    struct ls_err *e)
{
	char *token = NULL;
	bool more = true;
	unsigned empty = 0;
	enum ls_rc rc;

	do {
		rc = fetch(
		    st, p, prefix, p->last ? p->last : after, token, c, e);
		ls_free(token);
		token = p->token, p->token = NULL;
		if (rc == LS_OK)
			rc = show(st, p, prefix, fn, arg, &more, e);
		empty = p->n == 0 ? empty + 1 : 0;
		if (rc == LS_OK && p->truncated &&
		    (empty > EMPTY_PAGES_MAX || (empty > 0 && token == NULL)))
			rc = ls_err_set(e, LS_ECORRUPT,
			    "listing without end: empty pages that say "
			    "\"truncated\"");
	} while (rc == LS_OK && more && p->truncated);
	ls_free(token);
	return rc;
}

enum ls_rc
ls_s3_list(struct ls_store *st, const char *prefix, const char *after,
    bool dirs, ls_list_fn *fn, void *arg, const struct ls_call *c,
    struct ls_err *e)
{
	struct page p = { .text = LS_BUF_INIT(PAGE_MAX), .dirs = dirs };
	enum ls_rc rc;

	if ((p.items = ls_alloc(ITEMS_MAX * sizeof *p.items)) == NULL)
		return ls_err_nomem(e);
	page_reset(&p);
	rc = ls_s3_answer(all_pages(st, &p, prefix, after, fn, arg, c, e), e);
	page_fini(&p);
	return rc;
}
