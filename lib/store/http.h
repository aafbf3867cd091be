/* http.h -- one HTTP request and its answer, over pooled connections.
 *
 * No retry, no redirect: what came back is what the caller gets. Cancel and
 * deadline of struct ls_call end a transfer at once. http.c is the only file
 * that includes curl. */
#ifndef LS_HTTP_H
#define LS_HTTP_H

#include "base/buf.h"
#include "base/call.h"
#include "store/driver.h"

struct ls_http; /* the pool; thread-safe */

/* Patience, in ms. */
struct ls_http_limits {
	uint64_t connect_ms; /* 10,000 */
	uint64_t stall_ms;   /* 30,000 without a byte in either direction */
	uint64_t idle_ms;    /* 60,000: then an idle connection is closed */
};

enum ls_rc ls_http_new(struct ls_http **out, struct ls_err *e) LS_MUST_CHECK;
void ls_http_free(struct ls_http *h);
void ls_http_trim(struct ls_http *h, uint64_t idle_ms);
/* Borrowed; change before the first request only. */
struct ls_http_limits *ls_http_limits(struct ls_http *h);

enum { LS_HTTP_ERROR_MAX = 65536 };

struct ls_http_req {
	const char *method, *url;
	const char *const *headers; /* "name: value" */
	size_t nheaders;
	const struct ls_body *body; /* NULL: none */
	bool has_body;		    /* send Content-Length, 0 without body */
	bool once;	   /* never sent twice, not even on a dead connection */
	bool skip_verify;  /* of the TLS certificate */
	bool direct;	   /* past any proxy of the environment */
	uint64_t stall_ms; /* 0: the pool's */
	struct ls_buf *out; /* a 2xx body is appended; NULL: dropped */
	uint64_t out_max;   /* more body bytes are an error; 0: no limit */
};

struct ls_http_resp {
	int status;
	bool sent;     /* bytes of the request may have reached the server; also
		    * valid when ls_http_send fails */
	bool hopeless; /* ls_http_send failed as it always will: no name of
			* such a scheme, a certificate that does not verify */
	uint64_t body_n;     /* bytes of a 2xx body */
	int64_t length;	     /* Content-Length, -1 when there was none */
	struct ls_buf error; /* any other body, cut at LS_HTTP_ERROR_MAX */
	/* Headers; "" when missing or longer. */
	char etag[136], content_range[96], retry_after[40], date[40],
	    last_modified[40], region[64], timestamp[48];
};
void ls_http_resp_init(struct ls_http_resp *r);
void ls_http_resp_fini(struct ls_http_resp *r);

/* LS_OK: a whole answer of any status. LS_ENET: none or a cut one; LS_ETIMEOUT,
 * LS_ECANCELED, LS_ERANGE (out's ceiling or out_max), LS_ENOMEM, LS_EIO (the
 * body could not be read). On error out is as it was. */
enum ls_rc ls_http_send(struct ls_http *h, const struct ls_http_req *q,
    struct ls_http_resp *r, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Unix seconds of an HTTP date, or -1. */
int64_t ls_http_date(const char *s);

#endif
