/* web.h -- an HTTP server: requests arrive whole, one function answers them.
 *
 * Served by libmicrohttpd, a thread a connection. The control socket, metrics
 * and status page, and the MCP server are three of these. No authentication:
 * whoever can connect may ask. */
#ifndef LS_WEB_H
#define LS_WEB_H

#include "base/buf.h"
#include "daemon/mhd_lazy.h"

struct ls_web;

struct ls_web_call {
	struct MHD_Connection *conn;
	const char *method; /* HEAD is "GET": the server leaves the body out */
	const char *path;   /* decoded, without the query */
	struct ls_span body;
	bool too_large; /* the body was cut */
};
/* Answers by one of the functions below and gives their result. On a thread of
 * its own, beside others; it may take its time. */
typedef enum MHD_Result ls_web_fn(void *arg, const struct ls_web_call *c);

/* Serve what comes in at fd, a listening socket (taken on LS_OK). what names
 * it in errors: "control socket /run/x". */
enum ls_rc ls_web_start(int fd, ls_web_fn *fn, void *arg, const char *what,
    struct ls_web **out, struct ls_err *e) LS_MUST_CHECK;
/* Ends open requests; NULL is fine. */
void ls_web_stop(struct ls_web *w);

enum { LS_WEB_BOUND_MAX = 64 };
struct ls_web_addr {
	char text[LS_WEB_BOUND_MAX]; /* "127.0.0.1:9090", "[::]:9090" */
	bool loopback;		     /* of this machine only */
};
/* Listen at "host:port", "[::1]:port" or ":port" (all interfaces). One line
 * says what is wrong: no port, no such host, taken by another process. */
enum ls_rc ls_web_listen(const char *addr, int *fd, struct ls_web_addr *bound,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- answers -------------------------------------------------------------- */

struct ls_web_header {
	const char *name, *value;
};
/* A whole text, copied. more ends with a NULL name, or is NULL. */
enum MHD_Result ls_web_reply(const struct ls_web_call *c, unsigned status,
    const char *type, struct ls_span text, const struct ls_web_header *more);

/* A text of any length, made piece by piece: fill appends the next piece to b,
 * which is empty. One piece is in memory at a time. CUT: it failed; the
 * connection is closed so that the client sees that something is missing. done
 * frees arg, also when nothing was sent. */
enum ls_web_next { LS_WEB_MORE, LS_WEB_LAST, LS_WEB_CUT };
typedef enum ls_web_next ls_web_fill(void *arg, struct ls_buf *b);
enum MHD_Result ls_web_stream(const struct ls_web_call *c, unsigned status,
    const char *type, const struct ls_web_header *more, ls_web_fill *fill,
    void (*done)(void *arg), void *arg);

/* A parameter of the query, decoded; NULL when it is not there. */
const char *ls_web_query(const struct ls_web_call *c, const char *name);
const char *ls_web_request_header(
    const struct ls_web_call *c, const char *name);
/* The answer may take longer than a silent client is kept. */
void ls_web_patient(const struct ls_web_call *c);

#endif
