/* s3_request.c -- one S3 request: address, sign, send, judge, try again. See
 * s3.h.
 *
 * (1) EVERY ATTEMPT IS SIGNED ANEW with the time of day, but for a fenced put,
 *     whose age is the point (sign_time_ns). (test: s3_fenced_put_is_signed_
 *     as_of_its_proof)
 * (2) NO OUTCOME IS GUESSED. When an attempt's answer was lost, a later "it
 *     exists already" may be our own: that is LS_EAGAIN, for the caller to
 *     settle. (test: s3_lost_answer_then_412_is_ambiguous)
 * (3) NO SECRET COMES BACK in the message of a server that says what it was
 *     sent. (test: integration.leaks)
 * (4) A REDIRECT TO A REGION AND A REFRESH OF CREDENTIALS HAPPEN ONCE per
 *     call, so that two servers that disagree cannot make a loop.
 */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"
#include "store/ending.h"
#include "store/retry.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

enum { SIGNED_MAX = LS_S3_HEADERS + 5, LINES_MAX = SIGNED_MAX + 2 };

void
ls_s3_header(struct ls_s3_req *q, const char *name, const char *value)
{
	assert(q->nheader < LS_S3_HEADERS);
	q->header[q->nheader++] = (struct ls_pair){ name, value };
}

void
ls_s3_param(struct ls_s3_req *q, const char *name, const char *value)
{
	assert(q->nquery < LS_S3_QUERY);
	q->query[q->nquery++] = (struct ls_pair){ name, value };
}

void
ls_s3_key_headers(const struct ls_store *st, struct ls_s3_req *q)
{
	const struct ls_place *p = &st->place;

	if (p->sse_key == NULL)
		return;
	ls_s3_header(q, "x-amz-server-side-encryption-customer-algorithm",
	    p->sse_algorithm);
	ls_s3_header(
	    q, "x-amz-server-side-encryption-customer-key", p->sse_key);
	ls_s3_header(
	    q, "x-amz-server-side-encryption-customer-key-md5", p->sse_key_md5);
}

void
ls_s3_object_headers(const struct ls_store *st, struct ls_s3_req *q,
    const struct ls_put *o, char stamp[static LS_S3_STAMP])
{
	const struct ls_place *p = &st->place;

	if (o->timestamp_ms > 0) {
		(void)ls_time_nano(o->timestamp_ms * 1000000, stamp);
		ls_s3_header(q, "x-amz-meta-litestream-timestamp", stamp);
	}
	if (p->storage_class != NULL && p->storage_class[0] != '\0')
		ls_s3_header(q, "x-amz-storage-class", p->storage_class);
	if (p->sse_kms_key_id != NULL && p->sse_kms_key_id[0] != '\0') {
		ls_s3_header(q, "x-amz-server-side-encryption", "aws:kms");
		ls_s3_header(q, "x-amz-server-side-encryption-aws-kms-key-id",
		    p->sse_kms_key_id);
	}
	ls_s3_key_headers(st, q);
}

/* ---- one attempt -----------------------------------------------------------*/

struct attempt {
	struct ls_s3_addr addr;
	struct ls_creds creds;
	char date[LS_AMZ_DATE];
	struct ls_buf query, auth;
	char *url;
	char *lines[LINES_MAX];
	size_t nlines;
};

static void
attempt_fini(struct attempt *a)
{
	ls_s3_addr_fini(&a->addr);
	ls_creds_fini(&a->creds);
	ls_buf_free(&a->query);
	ls_buf_free(&a->auth);
	ls_free(a->url);
	while (a->nlines > 0)
		ls_free(a->lines[--a->nlines]);
}

static enum ls_rc
hash_body(const struct ls_store *st, struct ls_s3_req *q, struct ls_err *e)
{
	const struct ls_body *b = q->body;

	if (q->hash[0] != '\0')
		return LS_OK;
	if (st->place.sign_payload == LS_NO) {
		(void)snprintf(q->hash, sizeof q->hash, LS_UNSIGNED_PAYLOAD);
		return LS_OK;
	}
	if (b == NULL || b->fd < 0)
		return ls_sha256_hex(b ? b->mem : LS_SPAN("", 0), q->hash, e);
	return ls_sha256_fd(b->fd, b->off, b->size, q->hash, e);
}

static enum ls_rc
add_line(
    struct attempt *a, const char *name, const char *value, struct ls_err *e)
{
	assert(a->nlines < LINES_MAX);
	a->lines[a->nlines] = ls_asprintf("%s: %s", name, value);
	if (a->lines[a->nlines] == NULL)
		return ls_err_nomem(e);
	a->nlines++;
	return LS_OK;
}

/* The headers of SigV4's minimal set, those of the request, all as lines. */
static enum ls_rc
sign(const struct ls_store *st, struct attempt *a, const struct ls_s3_req *q,
    struct ls_err *e)
{
	struct ls_pair h[SIGNED_MAX];
	struct ls_sigv4 in = { .method = q->method, .headers = h };
	size_t n = 0;
	enum ls_rc rc = LS_OK;

	h[n++] = (struct ls_pair){ "host", a->addr.host };
	h[n++] = (struct ls_pair){ "x-amz-date", a->date };
	h[n++] = (struct ls_pair){ "x-amz-content-sha256", q->hash };
	if (a->creds.token != NULL)
		h[n++] =
		    (struct ls_pair){ "x-amz-security-token", a->creds.token };
	if (st->place.tigris) /* reads that see the last write */
		rc = add_line(a, "x-tigris-consistent", "true", e);
	for (size_t i = 0; i < q->nheader; i++)
		if (strncmp(q->header[i].name, "x-amz-", 6) == 0 ||
		    strcmp(q->header[i].name, "content-md5") == 0)
			h[n++] = q->header[i];
		else if (rc == LS_OK) /* sent, not signed */
			rc = add_line(
			    a, q->header[i].name, q->header[i].value, e);
	in.nheaders = n;
	in.path = a->addr.path;
	in.query = ls_buf_str(&a->query);
	in.payload_hash = q->hash;
	in.region = a->addr.region;
	in.amz_date = a->date;
	in.cred = (struct ls_credentials){ a->creds.key_id, a->creds.secret,
		a->creds.token };
	for (size_t i = 0; rc == LS_OK && i < n; i++)
		rc = add_line(a, h[i].name, h[i].value, e);
	if (rc == LS_OK && (rc = ls_sigv4_sign(&in, &a->auth, e)) == LS_OK)
		rc = add_line(a, "authorization", ls_buf_str(&a->auth), e);
	return rc;
}

static enum ls_rc
prepare(struct ls_store *st, struct ls_s3_req *q, struct attempt *a,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	ls_buf_init(&a->query, 16384);
	ls_buf_init(&a->auth, 4096);
	if ((rc = hash_body(st, q, e)) != LS_OK ||
	    (rc = ls_creds_get(
		 ls_net_creds(st->net), &st->place, c, &a->creds, e)) != LS_OK)
		return rc;
	q->creds_gen = a->creds.gen;
	/* Hashing and asking for credentials may have taken a while. */
	ls_amz_date(
	    q->sign_time_ns ? q->sign_time_ns : ls_sys->wall_ns(), a->date);
	if ((rc = ls_s3_addr(st, q->path, &a->addr, e)) != LS_OK ||
	    (rc = ls_sigv4_query(q->query, q->nquery, &a->query, e)) != LS_OK)
		return rc;
	a->url = ls_asprintf("%s%s%s", a->addr.url, a->query.n > 0 ? "?" : "",
	    ls_buf_str(&a->query));
	if (a->url == NULL)
		return ls_err_nomem(e);
	return sign(st, a, q, e);
}

/* Nothing came back. Trying again helps against the network only, not
 * against a certificate that does not verify. */
static struct ls_s3_verdict
no_answer(const struct ls_http_resp *r, enum ls_rc rc)
{
	struct ls_s3_verdict v = { rc, LS_S3_STOP, r->sent };

	if (rc == LS_ENET && !r->hopeless)
		v.next = LS_S3_RETRY;
	return v;
}

/* What a request is for: parts and their beginning and end belong to a PUT. */
static enum ls_op
op_of(const struct ls_s3_req *q)
{
	switch (q->method[0]) {
	case 'H': return LS_OP_HEAD;
	case 'D': return LS_OP_DELETE;
	case 'G':
		for (size_t i = 0; i < q->nquery; i++)
			if (strcmp(q->query[i].name, "list-type") == 0 ||
			    strcmp(q->query[i].name, "uploads") == 0)
				return LS_OP_LIST;
		return LS_OP_GET;
	default:
		for (size_t i = 0; i < q->nquery; i++)
			if (strcmp(q->query[i].name, "delete") == 0)
				return LS_OP_DELETE;
		for (size_t i = 0; i < q->nheader; i++)
			if (strcmp(q->header[i].name, "x-amz-copy-source") == 0)
				return LS_OP_COPY;
		return LS_OP_PUT;
	}
}

static enum ls_rc
send_prepared(struct ls_store *st, const struct ls_s3_req *q,
    const struct attempt *a, struct ls_http_resp *r, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_http_req h = {
		.method = q->method,
		.url = a->url,
		.headers = (const char *const *)a->lines,
		.nheaders = a->nlines,
		.body = q->body,
		.has_body = q->has_body,
		.once = q->once,
		.skip_verify = st->place.skip_verify == LS_YES,
		.stall_ms = q->stall_ms,
		.out = q->out,
		.out_max = q->out_max,
	};
	enum ls_rc rc = ls_http_send(ls_net_http(st->net), &h, r, c, e);

	if (st->requests != NULL)
		ls_req_count(
		    st->requests, op_of(q), rc == LS_OK ? r->status : (int)rc);
	return ls_err_wrap(e, rc, "%s", a->addr.host);
}

/* Whole seconds, and late by the answer's way: enough to see a clock that is
 * wrong. */
static void
note_clock(struct ls_store *st, const struct ls_http_resp *r)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	int64_t t = r->date[0] != '\0' ? ls_http_date(r->date) : -1;

	if (t < 0)
		return;
	atomic_store(&f->ahead_ns, t * (int64_t)LS_SEC - ls_sys->wall_ns());
	atomic_store(&f->clock_known, 1);
}

bool
ls_store_clock(struct ls_store *st, int64_t *ahead_ns)
{
	if (st->drv != &ls_driver_s3 ||
	    atomic_load(&ls_s3_of(st)->fact->clock_known) == 0)
		return false;
	*ahead_ns = atomic_load(&ls_s3_of(st)->fact->ahead_ns);
	return true;
}

/* A server that says what it was sent must not bring a secret into our log. */
static void
hide(struct ls_buf *b, const char *secret)
{
	size_t n = secret != NULL ? strlen(secret) : 0;
	uint8_t *at = b->p, *end = b->p + b->n;

	while (n > 0 && at < end &&
	       (at = memmem(at, (size_t)(end - at), secret, n)) != NULL) {
		memset(at, '*', n);
		at += n;
	}
}

static void
hide_all(const struct ls_store *st, const struct attempt *a, struct ls_buf *b)
{
	hide(b, a->creds.secret);
	hide(b, a->creds.token);
	hide(b, st->place.sse_key);
}

static struct ls_s3_verdict
attempt(struct ls_store *st, struct ls_s3_req *q, struct ls_http_resp *r,
    char region[static 64], const struct ls_call *c, struct ls_err *e)
{
	struct attempt a = { .nlines = 0 };
	struct ls_s3_verdict v = { LS_OK, LS_S3_STOP, false };
	struct ls_s3_error x;
	enum ls_rc rc;

	if ((rc = prepare(st, q, &a, c, e)) != LS_OK) {
		attempt_fini(&a);
		v.rc = rc; /* a source of credentials that is away for now */
		if (rc == LS_ENET || rc == LS_ESERVER)
			v.next = LS_S3_RETRY;
		return v;
	}
	memcpy(region, a.addr.region, sizeof a.addr.region);
	rc = send_prepared(st, q, &a, r, c, e);
	if (rc == LS_OK)
		note_clock(st, r);
	if (rc != LS_OK) {
		v = no_answer(r, rc);
	} else if (r->status / 100 != 2) {
		hide_all(st, &a, &r->error);
		ls_s3_error_parse(ls_buf_span(&r->error), &x);
		v = ls_s3_judge(st, q, r, &x, region, e);
	} else if (q->error_in_200 && q->out != NULL) {
		hide_all(st, &a, q->out);
		ls_s3_error_parse(ls_buf_span(q->out), &x);
		if (x.code[0] != '\0')
			v = ls_s3_judge(st, q, r, &x, region, e);
	}
	if (v.next == LS_S3_REGION) /* x is only known here */
		v.next =
		    ls_s3_learn_region(st, region,
			r->region[0] && strcmp(r->region, region) ? r->region
								  : x.region)
			? LS_S3_REGION
			: LS_S3_STOP;
	attempt_fini(&a);
	return v;
}

static struct ls_s3_verdict
attempt_inside(struct ls_store *st, struct ls_s3_req *q, struct ls_http_resp *r,
    char region[static 64], const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_verdict v = { ls_ending_enter(e), LS_S3_STOP, false };

	if (v.rc != LS_OK)
		return v;
	v = attempt(st, q, r, region, c, e);
	ls_ending_leave();
	return v;
}

/* ---- again -----------------------------------------------------------------*/

/* A call may try for a minute; whoever reads the log learns at once, and then
 * every 30 s, what it is that keeps it. */
static void
say(struct ls_store *st, unsigned next, const struct ls_err *e)
{
	uint64_t now = ls_sys->mono_ns();
	uint64_t last = atomic_load(&st->said_ns);

	if (last != 0 && now - last < 30 * LS_SEC)
		return;
	if (atomic_compare_exchange_strong(&st->said_ns, &last, now))
		ls_warn("store request failed, trying again",
		    LS_ATTRS(LS_S("replica", st->text), LS_U("attempt", next),
			LS_E(e)));
}

/* false: no more attempts, e says why. */
static bool
pause_before(struct ls_store *st, unsigned next, const struct ls_http_resp *r,
    const struct ls_call *c, struct ls_s3_verdict *v, struct ls_err *e)
{
	uint64_t after =
	    ls_retry_after(r->retry_after, ls_sys->wall_ns() / (int64_t)LS_SEC);
	uint64_t wait = ls_retry_delay(next, after, ls_net_random(st->net));
	struct ls_err why = { 0 };
	enum ls_rc rc;

	if (next > LS_RETRY_ATTEMPTS) {
		(void)ls_err_wrap(
		    e, v->rc, "gave up after %d attempts", LS_RETRY_ATTEMPTS);
		return false;
	}
	if (ls_call_left(c, wait) < wait) {
		(void)ls_err_wrap(
		    e, v->rc, "no time left for attempt %u", next);
		return false;
	}
	say(st, next, e);
	if ((rc = ls_call_sleep(c, wait, &why)) != LS_OK) {
		(void)ls_err_wrap(e, rc, "%s while waiting for attempt %u",
		    ls_rc_text(rc), next);
		v->rc = rc;
		return false;
	}
	return true;
}

/* What the caller is told in the end. open: some attempt may have worked. */
static enum ls_rc
settle(const struct ls_s3_req *q, struct ls_s3_verdict v, bool open_before,
    struct ls_err *e)
{
	if (!q->writes)
		return v.rc;
	if (open_before && v.rc == LS_EEXISTS)
		return ls_err_wrap(e, LS_EAGAIN,
		    "ambiguous: an earlier attempt may have made it");
	if (q->once && v.open && v.rc != LS_ECANCELED)
		return ls_err_wrap(
		    e, LS_EAGAIN, "ambiguous: it may have been done");
	if (q->once && v.open)
		return ls_err_wrap(e, v.rc, "ambiguous");
	return v.rc;
}

enum ls_rc
ls_s3_send(struct ls_store *st, struct ls_s3_req *q, struct ls_http_resp *r,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_verdict v;
	bool open = false, redirected = false, refreshed = false;
	size_t before = q->out ? q->out->n : 0;
	char region[64] = "";
	struct ls_err own = { 0 };
	unsigned n = 1;

	if (e == NULL)
		e = &own; /* the verdict reads it */
	for (;;) {
		if (q->out != NULL)
			q->out->n = before;
		e->hint[0] = '\0';
		v = attempt_inside(st, q, r, region, c, e);
		if (v.rc == LS_OK)
			return LS_OK;
		if (v.next == LS_S3_REGION && !redirected) {
			redirected = true;
			continue;
		}
		if (v.next == LS_S3_REFRESH && !refreshed &&
		    ls_creds_forget(ls_net_creds(st->net), q->creds_gen)) {
			refreshed = true;
			continue;
		}
		if (v.next != LS_S3_RETRY || q->once ||
		    !pause_before(st, n + 1, r, c, &v, e))
			break;
		open |= v.open;
		n++;
	}
	if (q->out != NULL)
		q->out->n = before;
	return settle(q, v, open, e);
}
