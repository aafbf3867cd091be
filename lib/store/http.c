/* http.c -- HTTP through libcurl. See http.h.
 *
 * (1) A POOLED CONNECTION IS A PAIR of an easy handle and its private multi,
 *     since the multi owns the socket: an idle pair is one connection, and a
 *     transfer is driven by the thread that wants it, so that cancelling is
 *     a descriptor in its poll. (test: http_cancel_ends_a_stalled_transfer)
 * (2) ONCE MEANS ONCE. libcurl sends a request again by itself when a reused
 *     connection turns out dead; with `once` the second one is refused, and
 *     the caller learns that the outcome is unknown.
 *     (test: http_once_is_not_repeated_on_a_dead_connection)
 * (3) NO STALL OUTLIVES stall_ms: progress is counted in our own callbacks
 *     and compared with the seam's clock.
 * (4) MEMORY IS BOUNDED: bodies go into buffers with ceilings, error bodies
 *     are cut, header values are fixed arrays. (test: http_body_ceiling)
 */
#include "store/http.h"

#include "base/bytes.h"
#include "base/file.h"

#include "store/curl_lazy.h"
#include "store/ending.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

enum {
	IDLE_MAX = 32,	    /* connections kept for later */
	TICK_MS = 100,	    /* as long as an exit waits for a transfer */
	BLIND_TICK_MS = 50, /* the cancel has no descriptor to wait for */
	ORIGIN_MAX = 300,
	HEADERS_MAX = 48,
};

struct conn {
	struct conn *next;
	CURL *easy;
	CURLM *multi;
	uint64_t idle_since;
	char origin[ORIGIN_MAX]; /* "https://host:port" it is connected to */
};

struct ls_http {
	pthread_mutex_t mu;
	struct conn *idle; /* most recently used first */
	unsigned nidle;
	struct ls_http_limits limits;
	CURLSH *share; /* DNS answers and TLS sessions */
	pthread_mutex_t share_mu[CURL_LOCK_DATA_LAST];
};

/* ---- pool ------------------------------------------------------------------*/

static void
share_lock(CURL *easy, curl_lock_data what, curl_lock_access how, void *arg)
{
	struct ls_http *h = arg;

	(void)easy, (void)how;
	(void)pthread_mutex_lock(&h->share_mu[what]);
}

static void
share_unlock(CURL *easy, curl_lock_data what, void *arg)
{
	struct ls_http *h = arg;

	(void)easy;
	(void)pthread_mutex_unlock(&h->share_mu[what]);
}

enum ls_rc
ls_http_new(struct ls_http **out, struct ls_err *e)
{
	struct ls_http *h = ls_zalloc(sizeof *h);

	if (h == NULL)
		return ls_err_nomem(e);
	h->limits = (struct ls_http_limits){ 10000, 30000, 60000 };
	(void)pthread_mutex_init(&h->mu, NULL);
	for (size_t i = 0; i < LS_COUNT(h->share_mu); i++)
		(void)pthread_mutex_init(&h->share_mu[i], NULL);
	*out = h;
	return LS_OK;
}

/* The first request brings libcurl in. */
static enum ls_rc
start(struct ls_http *h, struct ls_err *e)
{
	enum ls_rc rc = ls_curl_load(e);

	if (rc != LS_OK)
		return rc;
	(void)pthread_mutex_lock(&h->mu);
	if (h->share == NULL && (h->share = curl_share_init()) != NULL) {
		(void)curl_share_setopt(
		    h->share, CURLSHOPT_LOCKFUNC, share_lock);
		(void)curl_share_setopt(
		    h->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
		(void)curl_share_setopt(h->share, CURLSHOPT_USERDATA, h);
		(void)curl_share_setopt(
		    h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
		(void)curl_share_setopt(
		    h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	}
	if (h->share == NULL)
		rc = ls_err_nomem(e);
	(void)pthread_mutex_unlock(&h->mu);
	return rc;
}

static void
conn_free(struct conn *k)
{
	if (k == NULL)
		return;
	if (k->easy != NULL)
		curl_easy_cleanup(k->easy);
	if (k->multi != NULL)
		(void)curl_multi_cleanup(k->multi);
	ls_free(k);
}

static void
conn_free_all(struct conn *k)
{
	while (k != NULL) {
		struct conn *next = k->next;

		conn_free(k);
		k = next;
	}
}

/* Cut off those behind the first `keep` or idle since before; with mu held.
 * The list is in order of use, so they are its tail. */
static struct conn *
cut_idle(struct ls_http *h, unsigned keep, uint64_t idle_ns)
{
	uint64_t now = ls_sys->mono_ns();
	struct conn **p = &h->idle, *tail;
	unsigned n = 0;

	while (*p != NULL && n < keep && now - (*p)->idle_since < idle_ns)
		p = &(*p)->next, n++;
	tail = *p;
	*p = NULL;
	h->nidle = n;
	return tail;
}

void
ls_http_trim(struct ls_http *h, uint64_t idle_ms)
{
	struct conn *tail;

	(void)pthread_mutex_lock(&h->mu);
	tail = cut_idle(h, IDLE_MAX, idle_ms * LS_MS);
	(void)pthread_mutex_unlock(&h->mu);
	conn_free_all(tail);
}

void
ls_http_free(struct ls_http *h)
{
	if (h == NULL)
		return;
	conn_free_all(h->idle);
	if (h->share != NULL)
		(void)curl_share_cleanup(h->share);
	(void)pthread_mutex_destroy(&h->mu);
	for (size_t i = 0; i < LS_COUNT(h->share_mu); i++)
		(void)pthread_mutex_destroy(&h->share_mu[i]);
	ls_free(h);
}

struct ls_http_limits *
ls_http_limits(struct ls_http *h)
{
	return &h->limits;
}

static struct conn *
conn_new(void)
{
	struct conn *k = ls_zalloc(sizeof *k);

	if (k == NULL)
		return NULL;
	k->easy = curl_easy_init();
	k->multi = curl_multi_init();
	if (k->easy == NULL || k->multi == NULL) {
		conn_free(k);
		return NULL;
	}
	(void)curl_multi_setopt(k->multi, CURLMOPT_MAXCONNECTS, 1L);
	(void)curl_multi_setopt(
	    k->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return k;
}

/* The one used last that is connected to the URL's origin, or a new one. */
static struct conn *
conn_take(struct ls_http *h, const char *url)
{
	const char *rest = strstr(url, "://");
	size_t n = rest ? (size_t)(rest + 3 - url) : 0;
	struct conn **p, *k;

	n += strcspn(url + n, "/?");
	n = LS_MIN(n, (size_t)ORIGIN_MAX - 1);
	(void)pthread_mutex_lock(&h->mu);
	for (p = &h->idle; (k = *p) != NULL; p = &k->next)
		if (strncmp(k->origin, url, n) == 0 && k->origin[n] == '\0')
			break;
	if (k != NULL)
		*p = k->next, h->nidle--;
	(void)pthread_mutex_unlock(&h->mu);
	if (k == NULL && (k = conn_new()) != NULL)
		memcpy(k->origin, url, n); /* zeroed behind */
	return k;
}

static void
conn_give(struct ls_http *h, struct conn *k)
{
	struct conn *tail;

	(void)pthread_mutex_lock(&h->mu);
	k->idle_since = ls_sys->mono_ns();
	k->next = h->idle;
	h->idle = k;
	tail = cut_idle(h, IDLE_MAX, h->limits.idle_ms * LS_MS);
	(void)pthread_mutex_unlock(&h->mu);
	conn_free_all(tail);
}

/* ---- one transfer ----------------------------------------------------------*/

struct transfer {
	const struct ls_http_req *q;
	struct ls_http_resp *r;
	uint64_t sent;	   /* of the body */
	uint64_t moved;	   /* any byte: progress */
	unsigned requests; /* begun on a connection */
	enum ls_rc rc;	   /* of a callback */
	struct ls_err e;
};

void
ls_http_resp_init(struct ls_http_resp *r)
{
	memset(r, 0, sizeof *r);
	ls_buf_init(&r->error, LS_HTTP_ERROR_MAX + 1);
	r->length = -1;
}

void
ls_http_resp_fini(struct ls_http_resp *r)
{
	ls_buf_free(&r->error);
}

static size_t
on_read(char *p, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct ls_body *b = t->q->body;
	uint64_t left = b ? b->size - t->sent : 0;

	n = (size_t)LS_MIN((uint64_t)(n * one), left);
	if (n == 0)
		return 0;
	if (b->fd < 0) {
		memcpy(p, b->mem.p + t->sent, n);
	} else {
		t->rc = ls_pread_all(b->fd, p, n, b->off + t->sent, &t->e);
		if (t->rc != LS_OK)
			return CURL_READFUNC_ABORT;
	}
	t->sent += n;
	t->moved += n;
	return n;
}

/* Before each request on a connection, so also before one that libcurl sends
 * again because a reused connection was dead: (2). */
static int
on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct transfer *t = arg;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	if (t->requests++ > 0 && t->q->once) {
		t->rc = ls_err_set(&t->e, LS_ENET,
		    "the connection was lost before an answer came");
		return CURL_PREREQFUNC_ABORT;
	}
	t->sent = 0; /* libcurl does not rewind what it read but never sent */
	return CURL_PREREQFUNC_OK;
}

static int
on_seek(void *arg, curl_off_t off, int whence)
{
	struct transfer *t = arg;

	if (whence != SEEK_SET || off != 0 || t->q->once)
		return CURL_SEEKFUNC_FAIL;
	t->sent = 0;
	return CURL_SEEKFUNC_OK;
}

static size_t
on_write(char *p, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct ls_http_resp *r = t->r;
	struct ls_buf *err = &r->error;

	n *= one;
	t->moved += n;
	if (r->status / 100 != 2) {
		size_t room = LS_HTTP_ERROR_MAX - err->n;

		t->rc = ls_buf_add(err, p, LS_MIN(n, room), &t->e);
		return t->rc == LS_OK ? n : 0;
	}
	r->body_n += n;
	if (t->q->out_max > 0 && r->body_n > t->q->out_max)
		t->rc = ls_err_set(&t->e, LS_ERANGE,
		    "the server sent more than the %llu bytes asked for",
		    (unsigned long long)t->q->out_max);
	else if (t->q->out != NULL)
		t->rc = ls_buf_add(t->q->out, p, n, &t->e);
	return t->rc == LS_OK ? n : 0;
}

static void
keep(char *to, size_t size, const char *v, size_t n)
{
	if (n >= size)
		return;
	memcpy(to, v, n);
	to[n] = '\0';
}

/* The headers that anybody above wants. */
static void
keep_header(struct ls_http_resp *r, const char *name, size_t nn, const char *v,
    size_t n)
{
	const struct {
		const char *name;
		char *to;
		size_t size;
	} want[] = {
		{ "etag", r->etag, sizeof r->etag },
		{ "content-range", r->content_range, sizeof r->content_range },
		{ "retry-after", r->retry_after, sizeof r->retry_after },
		{ "date", r->date, sizeof r->date },
		{ "last-modified", r->last_modified, sizeof r->last_modified },
		{ "x-amz-bucket-region", r->region, sizeof r->region },
		{ "x-amz-meta-litestream-timestamp", r->timestamp,
		    sizeof r->timestamp },
	};

	for (size_t i = 0; i < LS_COUNT(want); i++)
		if (strlen(want[i].name) == nn &&
		    strncasecmp(want[i].name, name, nn) == 0)
			keep(want[i].to, want[i].size, v, n);
}

static size_t
on_header(char *p, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	const char *colon, *v;
	size_t all = n * one;

	n = all;
	t->moved += n;
	while (n > 0 && isspace((unsigned char)p[n - 1]))
		n--;
	if (n >= 12 && strncmp(p, "HTTP/", 5) == 0) { /* a new answer */
		struct ls_buf keep_buf = t->r->error;

		memset(t->r, 0, sizeof *t->r);
		t->r->error = keep_buf;
		t->r->length = -1;
		if ((v = memchr(p, ' ', n)) != NULL)
			t->r->status = (int)strtol(v + 1, NULL, 10);
		return all;
	}
	if ((colon = memchr(p, ':', n)) == NULL)
		return all;
	for (v = colon + 1; v < p + n && (*v == ' ' || *v == '\t'); v++)
		;
	keep_header(t->r, p, (size_t)(colon - p), v, (size_t)(p + n - v));
	return all;
}

/* ---- options ---------------------------------------------------------------*/

static struct curl_slist *
header_list(const struct ls_http_req *q)
{
	/* Not what curl would add by itself. */
	static const char *const none[] = {
		"Expect:", "Accept:", "Content-Type:", "Transfer-Encoding:"
	};
	struct curl_slist *l = NULL, *n;
	const char *all[HEADERS_MAX];
	size_t count = 0;

	if (q->nheaders + LS_COUNT(none) > HEADERS_MAX)
		return NULL;
	for (size_t i = 0; i < LS_COUNT(none); i++)
		all[count++] = none[i];
	for (size_t i = 0; i < q->nheaders; i++)
		all[count++] = q->headers[i];
	for (size_t i = 0; i < count; i++) {
		if ((n = curl_slist_append(l, all[i])) == NULL) {
			curl_slist_free_all(l);
			return NULL;
		}
		l = n;
	}
	return l;
}

#define SET(opt, val)                                                       \
	do {                                                                \
		if (ok)                                                     \
			ok = curl_easy_setopt(k, (opt), (val)) == CURLE_OK; \
	} while (0)

static bool
set_callbacks(CURL *k, struct transfer *t)
{
	bool ok = true;

	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_write);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_READFUNCTION, on_read);
	SET(CURLOPT_READDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_SEEKFUNCTION, on_seek);
	SET(CURLOPT_SEEKDATA, t);
	return ok;
}

/* The certificates that servers are checked against: those that the user names
 * (by the variables of the AWS tools, OpenSSL and curl), or where the common
 * distributions keep theirs: libcurl knows only the place of its own. */
static const char *
ca_bundle(void)
{
	static const char *const names[] = { "AWS_CA_BUNDLE", "SSL_CERT_FILE",
		"CURL_CA_BUNDLE" };
	static const char *const places[] = {
		"/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
		"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
		"/etc/ssl/ca-bundle.pem",	      /* openSUSE */
		"/etc/ssl/cert.pem"
	};

	for (size_t i = 0; i < LS_COUNT(names); i++) {
		const char *v = getenv(names[i]);

		if (v != NULL && *v != '\0')
			return v;
	}
	for (size_t i = 0; i < LS_COUNT(places); i++)
		if (ls_exists(places[i]))
			return places[i];
	return NULL;
}

static bool
set_options(
    struct ls_http *h, CURL *k, struct transfer *t, struct curl_slist *headers)
{
	const struct ls_http_req *q = t->q;
	const char *ca = ca_bundle();
	bool ok = true;

	SET(CURLOPT_URL, q->url);
	SET(CURLOPT_PATH_AS_IS, 1L); /* the path is signed as it stands */
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_SHARE, h->share);
	SET(CURLOPT_USERAGENT, "litestreamd/" LS_VERSION);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)h->limits.connect_ms);
	SET(CURLOPT_HTTPHEADER, headers);
	if (ca != NULL)
		SET(CURLOPT_CAINFO, ca);
	if (q->skip_verify) {
		SET(CURLOPT_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (q->direct)
		SET(CURLOPT_PROXY, "");
	if (q->has_body) {
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_INFILESIZE_LARGE,
		    (curl_off_t)(q->body ? q->body->size : 0));
	}
	if (strcmp(q->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, q->method);
	return ok && set_callbacks(k, t);
}

/* ---- driving ---------------------------------------------------------------*/

static uint64_t
wait_ms(const struct ls_call *c, uint64_t stall_left_ns)
{
	uint64_t ns = LS_MIN(TICK_MS * LS_MS, stall_left_ns);

	if (c != NULL && c->cancel != NULL && c->cancel->fd < 0)
		ns = LS_MIN(ns, BLIND_TICK_MS * LS_MS);
	return (ls_call_left(c, ns) + LS_MS - 1) / LS_MS;
}

static enum ls_rc
wait_for(
    CURLM *m, const struct ls_call *c, uint64_t stall_left_ns, struct ls_err *e)
{
	struct curl_waitfd w = { .events = CURL_WAIT_POLLIN };
	unsigned n = 0;

	if (c != NULL && c->cancel != NULL && c->cancel->fd >= 0)
		w.fd = c->cancel->fd, n = 1;
	if (curl_multi_poll(m, n ? &w : NULL, n, (int)wait_ms(c, stall_left_ns),
		NULL) != CURLM_OK)
		return ls_err_nomem(e);
	if (ls_ending())
		return ls_err_set(e, LS_ECANCELED, "the program is ending");
	return ls_call_check(c, e);
}

/* LS_OK with *done: curl is finished, with *code. */
static enum ls_rc
drive(CURLM *m, struct transfer *t, const struct ls_call *c, uint64_t stall_ns,
    CURLcode *code, struct ls_err *e)
{
	uint64_t last = ls_sys->mono_ns(), moved = 0, now;
	enum ls_rc rc;
	int running, left;

	for (;;) {
		CURLMsg *msg;

		if (curl_multi_perform(m, &running) != CURLM_OK)
			return ls_err_nomem(e);
		while ((msg = curl_multi_info_read(m, &left)) != NULL) {
			if (msg->msg != CURLMSG_DONE)
				continue;
			*code = msg->data.result;
			return LS_OK;
		}
		now = ls_sys->mono_ns();
		if (t->moved != moved)
			moved = t->moved, last = now;
		if (now - last >= stall_ns)
			return ls_err_hint(e,
			    ls_err_set(e, LS_ENET, "no byte moved for %llu ms",
				(unsigned long long)(stall_ns / LS_MS)),
			    "the server, or something on the way to it, hangs");
		rc = wait_for(m, c, stall_ns - (now - last), e);
		if (rc != LS_OK)
			return rc;
	}
}

static const char *
way_out(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return "install the server's CA certificate, or set "
		       "skip-verify";
	case CURLE_COULDNT_RESOLVE_HOST:
		return "check the name in the endpoint (or bucket and region), "
		       "and this machine's DNS";
	case CURLE_COULDNT_RESOLVE_PROXY:
		return "check HTTP_PROXY and HTTPS_PROXY";
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
		return "check host and port of the endpoint, that the server "
		       "runs, proxy settings, and firewalls between";
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return "check whether the endpoint is http:// or https://, and "
		       "its port";
	default: return "check the network, and the server's own log";
	}
}

static enum ls_rc
curl_error(
    const struct transfer *t, CURLcode code, const char *text, struct ls_err *e)
{
	const char *why = text[0] ? text : curl_easy_strerror(code);

	if (t->rc != LS_OK) { /* a callback said why */
		if (e != NULL)
			*e = t->e;
		return t->rc;
	}
	switch (code) {
	case CURLE_OUT_OF_MEMORY: return ls_err_nomem(e);
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return ls_err_set(e, LS_EINVALID, "%s", why);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE: t->r->hopeless = true; break;
	default: break;
	}
	return ls_err_hint(
	    e, ls_err_set(e, LS_ENET, "%s", why), "%s", way_out(code));
}

static enum ls_rc
run(struct ls_http *h, struct conn *k, struct transfer *t,
    struct curl_slist *headers, const struct ls_call *c, struct ls_err *e)
{
	char text[CURL_ERROR_SIZE] = "";
	uint64_t stall = t->q->stall_ms ? t->q->stall_ms : h->limits.stall_ms;
	CURLcode code = CURLE_OK;
	long size = 0;
	enum ls_rc rc;

	curl_easy_reset(k->easy);
	if (!set_options(h, k->easy, t, headers) ||
	    curl_easy_setopt(k->easy, CURLOPT_ERRORBUFFER, text) != CURLE_OK ||
	    curl_multi_add_handle(k->multi, k->easy) != CURLM_OK)
		return ls_err_nomem(e);
	rc = drive(k->multi, t, c, LS_MAX(stall, h->limits.connect_ms) * LS_MS,
	    &code, e);
	(void)curl_easy_getinfo(k->easy, CURLINFO_REQUEST_SIZE, &size);
	t->r->sent = size > 0;
	(void)curl_multi_remove_handle(k->multi, k->easy);
	(void)curl_easy_setopt(k->easy, CURLOPT_ERRORBUFFER, NULL);
	if (rc == LS_OK && (code != CURLE_OK || t->rc != LS_OK))
		rc = curl_error(t, code, text, e);
	if (rc == LS_OK) {
		curl_off_t len = -1;

		(void)curl_easy_getinfo(
		    k->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
		t->r->length = len;
	}
	return rc;
}

static enum ls_rc
send_inside(struct ls_http *h, const struct ls_http_req *q,
    struct ls_http_resp *r, const struct ls_call *c, struct ls_err *e)
{
	struct transfer t = { .q = q, .r = r, .rc = LS_OK };
	size_t before = q->out ? q->out->n : 0;
	struct curl_slist *headers;
	struct conn *k;
	enum ls_rc rc;

	ls_buf_clear(&r->error);
	if ((rc = ls_call_check(c, e)) != LS_OK || (rc = start(h, e)) != LS_OK)
		return rc;
	if ((headers = header_list(q)) == NULL)
		return ls_err_nomem(e);
	if ((k = conn_take(h, q->url)) == NULL) {
		curl_slist_free_all(headers);
		return ls_err_nomem(e);
	}
	rc = run(h, k, &t, headers, c, e);
	curl_slist_free_all(headers);
	if (rc == LS_OK)
		conn_give(h, k);
	else
		conn_free(k); /* the connection is in an unknown state */
	if (rc != LS_OK && q->out != NULL)
		q->out->n = before;
	return rc;
}

enum ls_rc
ls_http_send(struct ls_http *h, const struct ls_http_req *q,
    struct ls_http_resp *r, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = ls_ending_enter(e);

	if (rc != LS_OK)
		return rc;
	rc = send_inside(h, q, r, c, e);
	ls_ending_leave();
	return rc;
}

int64_t
ls_http_date(const char *s)
{
	return ls_curl_load(NULL) == LS_OK ? (int64_t)curl_getdate(s, NULL)
					   : -1;
}

const char *
ls_net_library(void)
{
	return ls_curl_load(NULL) == LS_OK ? curl_version() : "no libcurl";
}
