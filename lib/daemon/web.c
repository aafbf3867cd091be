/* web.c -- an HTTP server over libmicrohttpd. See web.h.
 *
 * (1) BOUNDED: so many connections, so much of a body, one piece of an answer
 *     in memory, and a client that is silent is hung up on. (tests:
 *     integration.hostile, integration.watching)
 */
#include "daemon/web.h"

#include "base/addr.h"
#include "base/bytes.h"
#include "base/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BODY_MAX = 64 * 1024,
	CONNECTIONS = 32,
	BACKLOG = 64,
	SILENT_SEC = 10, /* so long a client may take between two bytes */
	BLOCK = 32 * 1024,
	PIECE_MAX = 32 << 20
};

/* jansson reads up to 2,048 nested values, by recursion. Only what is used of
 * it becomes memory. */
#define STACK ((size_t)4 << 20)

struct ls_web {
	struct MHD_Daemon *http;
	ls_web_fn *fn;
	void *arg;
};

struct request {
	struct ls_buf body;
	bool too_large;
};

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *data, size_t *size,
    void **state)
{
	struct ls_web *w = cls;
	struct request *req = *state;
	struct ls_web_call c = { .conn = conn, .method = method, .path = url };

	(void)version;
	if (req == NULL) {
		if ((req = *state = ls_zalloc(sizeof *req)) == NULL)
			return MHD_NO;
		ls_buf_init(&req->body, BODY_MAX);
		return MHD_YES;
	}
	if (*size > 0) {
		if (ls_buf_add(&req->body, data, *size, NULL) != LS_OK)
			req->too_large = true;
		*size = 0;
		return MHD_YES;
	}
	if (strcmp(method, "HEAD") == 0)
		c.method = "GET";
	c.body = ls_buf_span(&req->body);
	c.too_large = req->too_large;
	return w->fn(w->arg, &c);
}

static void
on_done(void *cls, struct MHD_Connection *conn, void **state,
    enum MHD_RequestTerminationCode why)
{
	struct request *req = *state;

	(void)cls, (void)conn, (void)why;
	if (req != NULL)
		ls_buf_free(&req->body);
	ls_free(req);
	*state = NULL;
}

enum ls_rc
ls_web_start(int fd, ls_web_fn *fn, void *arg, const char *what,
    struct ls_web **out, struct ls_err *e)
{
	struct ls_web *w;
	enum ls_rc rc;

	if ((rc = ls_mhd_load(e)) != LS_OK)
		return rc;
	if ((w = ls_zalloc(sizeof *w)) == NULL)
		return ls_err_nomem(e);
	w->fn = fn;
	w->arg = arg;
	w->http = ls_mhd.start_daemon(MHD_USE_INTERNAL_POLLING_THREAD |
					  MHD_USE_THREAD_PER_CONNECTION |
					  MHD_USE_POLL,
	    0, NULL, NULL, on_request, w, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_SEC,
	    MHD_OPTION_NOTIFY_COMPLETED, on_done, NULL,
	    MHD_OPTION_THREAD_STACK_SIZE, STACK, MHD_OPTION_END);
	if (w->http == NULL) {
		ls_free(w);
		return ls_err_set(e, LS_EIO, "cannot serve the %s", what);
	}
	*out = w;
	return LS_OK;
}

void
ls_web_stop(struct ls_web *w)
{
	if (w == NULL)
		return;
	ls_mhd.stop_daemon(w->http);
	ls_free(w);
}

/* ---- listening ------------------------------------------------------------ */

static enum ls_rc
listen_at(const struct addrinfo *a, int *fd, struct ls_err *e)
{
	static const int on = 1, off = 0;
	int s = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
	int err;

	if (s < 0)
		return ls_err_sys(e, errno, "socket");
	(void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->ai_family == AF_INET6)
		(void)setsockopt(
		    s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(s, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(s, BACKLOG) == 0) {
		*fd = s;
		return LS_OK;
	}
	err = errno;
	(void)close(s);
	if (err == EADDRINUSE)
		return ls_err_set(
		    e, LS_EEXISTS, "another process listens there");
	return ls_err_sys(e, err, "listen");
}

static void
describe(int fd, struct ls_web_addr *out)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof a;
	char host[INET6_ADDRSTRLEN] = "";

	(void)getsockname(fd, (struct sockaddr *)&a, &n);
	if (a.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)&a;

		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
		(void)snprintf(out->text, sizeof out->text, "[%s]:%u", host,
		    ntohs(in6->sin6_port));
		out->loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	} else {
		const struct sockaddr_in *in = (const void *)&a;

		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		(void)snprintf(out->text, sizeof out->text, "%s:%u", host,
		    ntohs(in->sin_port));
		out->loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
}

enum ls_rc
ls_web_listen(
    const char *addr, int *fd, struct ls_web_addr *bound, struct ls_err *e)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE,
		.ai_socktype = SOCK_STREAM };
	struct addrinfo *all = NULL;
	struct ls_addr where;
	enum ls_rc rc;
	int bad;

	if ((rc = ls_addr_parse(addr, &where, e)) != LS_OK)
		return rc;
	if (where.host[0] == '\0') /* all interfaces, IPv4 ones too */
		hints.ai_family = AF_INET6;
	bad = getaddrinfo(
	    where.host[0] ? where.host : NULL, where.port, &hints, &all);
	if (bad != 0)
		return ls_err_set(e, LS_EINVALID, "cannot listen at \"%s\": %s",
		    addr, gai_strerror(bad));
	rc = ls_err_set(e, LS_EINVALID, "no address");
	for (const struct addrinfo *a = all; rc != LS_OK && a != NULL;
	     a = a->ai_next)
		rc = listen_at(a, fd, e);
	freeaddrinfo(all);
	if (rc != LS_OK && rc != LS_EEXISTS && where.host[0] == '\0') {
		char v4[64]; /* a machine without IPv6 */

		(void)snprintf(v4, sizeof v4, "0.0.0.0:%s", where.port);
		return ls_web_listen(v4, fd, bound, e);
	}
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "cannot listen at \"%s\"", addr);
	describe(*fd, bound);
	return LS_OK;
}

/* ---- answers -------------------------------------------------------------- */

static enum MHD_Result
send_it(const struct ls_web_call *c, unsigned status, const char *type,
    const struct ls_web_header *more, struct MHD_Response *r)
{
	enum MHD_Result ok;

	if (r == NULL)
		return MHD_NO;
	if (type != NULL)
		(void)ls_mhd.add_response_header(r, "Content-Type", type);
	for (; more != NULL && more->name != NULL; more++)
		(void)ls_mhd.add_response_header(r, more->name, more->value);
	ok = ls_mhd.queue_response(c->conn, status, r);
	ls_mhd.destroy_response(r);
	return ok;
}

enum MHD_Result
ls_web_reply(const struct ls_web_call *c, unsigned status, const char *type,
    struct ls_span text, const struct ls_web_header *more)
{
	return send_it(c, status, type, more,
	    ls_mhd.create_response_from_buffer(
		text.n, (void *)(uintptr_t)text.p, MHD_RESPMEM_MUST_COPY));
}

struct stream {
	struct ls_buf piece;
	size_t sent; /* of the piece */
	enum ls_web_next next;
	ls_web_fill *fill;
	void (*done)(void *);
	void *arg;
};

static ssize_t
on_more(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *s = cls;
	size_t n;

	(void)pos;
	while (s->sent == s->piece.n && s->next == LS_WEB_MORE) {
		ls_buf_clear(&s->piece);
		s->sent = 0;
		s->next = s->fill(s->arg, &s->piece);
	}
	if (s->next == LS_WEB_CUT)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (s->sent == s->piece.n)
		return MHD_CONTENT_READER_END_OF_STREAM;
	n = LS_MIN(max, s->piece.n - s->sent);
	memcpy(buf, s->piece.p + s->sent, n);
	s->sent += n;
	return (ssize_t)n;
}

static void
on_free(void *cls)
{
	struct stream *s = cls;

	s->done(s->arg);
	ls_buf_free(&s->piece);
	ls_free(s);
}

enum MHD_Result
ls_web_stream(const struct ls_web_call *c, unsigned status, const char *type,
    const struct ls_web_header *more, ls_web_fill *fill,
    void (*done)(void *arg), void *arg)
{
	struct stream *s = ls_zalloc(sizeof *s);
	struct MHD_Response *r;

	if (s == NULL) {
		done(arg);
		return MHD_NO;
	}
	ls_buf_init(&s->piece, PIECE_MAX);
	s->fill = fill;
	s->done = done;
	s->arg = arg;
	r = ls_mhd.create_response_from_callback(
	    MHD_SIZE_UNKNOWN, BLOCK, on_more, s, on_free);
	if (r == NULL)
		on_free(s);
	return send_it(c, status, type, more, r);
}

const char *
ls_web_query(const struct ls_web_call *c, const char *name)
{
	return ls_mhd.lookup_connection_value(
	    c->conn, MHD_GET_ARGUMENT_KIND, name);
}

const char *
ls_web_request_header(const struct ls_web_call *c, const char *name)
{
	return ls_mhd.lookup_connection_value(c->conn, MHD_HEADER_KIND, name);
}

void
ls_web_patient(const struct ls_web_call *c)
{
	(void)ls_mhd.set_connection_option(
	    c->conn, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
}
