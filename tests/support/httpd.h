/* httpd.h -- a scripted HTTP server for unit tests: it expects exactly these
 * requests, in this order, and answers each as told.
 *
 *   static const struct httpd_step steps[] = { {
 *           .method = "GET", .target = "/bucket/key",
 *           .want = "range: bytes=0-\n!expect\n",
 *           .status = 206, .headers = "Content-Range: bytes 0-2/3\r\n",
 *           .reply = "abc" } };
 *   struct httpd *h = httpd_start(steps, LS_COUNT(steps));
 *   ... requests to httpd_url(h) ...
 *   CHECK_STR(httpd_stop(h), "");
 *
 * A thread of the test process on a free port of 127.0.0.1. */
#ifndef LS_HTTPD_H
#define LS_HTTPD_H

#include <stddef.h>

/* Steps are written by position up to what matters; the rest is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

enum httpd_act {
	HTTPD_REPLY,  /* the answer, connection kept */
	HTTPD_CLOSE,  /* the answer, then the connection is closed */
	HTTPD_ABORT,  /* read the request, close without an answer */
	HTTPD_REFUSE, /* close after the headers, the body unread */
	HTTPD_STALL,  /* read the request, say nothing until the client goes */
	HTTPD_CUT,    /* headers promise the whole reply, cut bytes come */
};

struct httpd_step {
	const char *method, *target; /* exact; the target with its query.
				      * NULL: any */
	/* Lines "name: value" (must be there), "name" (any value) and "!name"
	 * (must not). NULL: no conditions. */
	const char *want;
	const char *body; /* exact; NULL: not looked at */
	size_t body_n;	  /* of body; 0: strlen */
	enum httpd_act act;
	int status;	     /* 0: 200 */
	const char *headers; /* of the answer, each with \r\n; or NULL */
	const char *reply;   /* NULL: empty */
	size_t reply_n;	     /* of reply; 0: strlen */
	size_t cut;
};

struct httpd;
struct httpd *httpd_start(const struct httpd_step *steps, size_t n);
/* "http://127.0.0.1:PORT", and "127.0.0.1:PORT". */
const char *httpd_url(const struct httpd *h);
const char *httpd_host(const struct httpd *h);
/* Connections accepted so far. */
int httpd_connections(struct httpd *h);
/* The value of a header of the last request, "" if none; static storage. */
const char *httpd_header(struct httpd *h, const char *name);
/* Stop and free; "" when all steps happened as scripted, else what did not. */
const char *httpd_stop(struct httpd *h);

#endif
