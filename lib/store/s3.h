/* s3.h -- the parts of the S3 driver, for its own files.
 *
 *   s3.c          the driver: get, head, copy; s3_put.c
 *   s3_addr.c     where a key is: scheme, host, path
 *   s3_request.c  one request: sign, send, retry
 *   s3_error.c    what an answer means
 *   s3_list.c  s3_delete.c  s3_probe.c (caps)
 *   s3_multi.c    multipart uploads; s3_upload.c streams into them
 */
#ifndef LS_S3_H
#define LS_S3_H

#include "store/driver.h"
#include "store/net.h"

struct ls_s3 {
	struct ls_fact *fact; /* borrowed from net */
};

/* ---- address ---------------------------------------------------------------*/

struct ls_s3_addr {
	char *url;	  /* scheme://host/path, without query */
	char *host;	  /* as signed: no default port */
	const char *path; /* inside url */
	char region[64];
};
/* Of the whole key path, or of the bucket (NULL), with what is known of the
 * region. ls_s3_addr_fini. */
enum ls_rc ls_s3_addr(struct ls_store *st, const char *path,
    struct ls_s3_addr *out, struct ls_err *e) LS_MUST_CHECK;
void ls_s3_addr_fini(struct ls_s3_addr *a);
/* The server named this region: sign for it from now on. false when that is
 * what was used already, or no region's name. */
bool ls_s3_learn_region(
    struct ls_store *st, const char *used, const char *region);

/* ---- one request -----------------------------------------------------------*/

enum { LS_S3_HEADERS = 20, LS_S3_QUERY = 8, LS_S3_ATTEMPTS = 10 };
/* One plain PUT, CopyObject and UploadPart go up to 5 GiB. */
#define LS_S3_PUT_MAX (5ull << 30)

struct ls_s3_req {
	const char *method;
	const char *path; /* whole key, or NULL for the bucket */
	const char *what; /* the permission it needs: "s3:PutObject" */
	struct ls_pair query[LS_S3_QUERY];
	size_t nquery;
	struct ls_pair header[LS_S3_HEADERS]; /* lower-case names */
	size_t nheader;
	const struct ls_body *body;
	bool has_body;
	struct ls_buf *out; /* cleared or cut back before each attempt */
	uint64_t out_max;
	uint64_t stall_ms;
	int64_t sign_time_ns;
	bool once;
	bool if_absent;	   /* 412 means the key is taken */
	bool writes;	   /* a lost answer leaves the outcome open */
	bool error_in_200; /* a 200 may carry an <Error> (copy, complete) */
	char hash[LS_SHA256_HEX]; /* of the body, once known; "" before */
	uint64_t creds_gen;	  /* who signed the last attempt */
};
/* Append a header or parameter; asserts that there is room. */
void ls_s3_header(struct ls_s3_req *q, const char *name, const char *value);
void ls_s3_param(struct ls_s3_req *q, const char *name, const char *value);
/* Storage class, encryption and LTX time of an object that is created. stamp
 * must outlive the request. */
enum { LS_S3_STAMP = 40 };
void ls_s3_object_headers(const struct ls_store *st, struct ls_s3_req *q,
    const struct ls_put *o, char stamp[static LS_S3_STAMP]);
/* The customer key, needed by PUT, GET, HEAD and parts alike. */
void ls_s3_key_headers(const struct ls_store *st, struct ls_s3_req *q);

/* What the body of an error said. */
struct ls_s3_error {
	char code[64], message[256], region[64], request_time[40],
	    server_time[40];
};
void ls_s3_error_parse(struct ls_span xml, struct ls_s3_error *out);

/* Send until it is answered for good. r is the caller's (ls_http_resp_init),
 * valid on LS_OK and, as far as it came, on error. */
enum ls_rc ls_s3_send(struct ls_store *st, struct ls_s3_req *q,
    struct ls_http_resp *r, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

enum { LS_S3_MATCH = 160 };
/* If-Match with this ETag; bare: without its quotes. value must outlive the
 * request. */
void ls_s3_match(struct ls_s3_req *q, char value[static LS_S3_MATCH],
    const char *etag, bool bare);

/* ---- answers ---------------------------------------------------------------*/

enum ls_s3_next {
	LS_S3_STOP,    /* as it is */
	LS_S3_RETRY,   /* wait, then again */
	LS_S3_REGION,  /* again at once, with the region of err */
	LS_S3_REFRESH, /* again at once, with new credentials */
};
struct ls_s3_verdict {
	enum ls_rc rc;
	enum ls_s3_next next;
	bool open; /* the server may have done it all the same */
};
/* An answer that makes no sense is the server's (or a proxy's) bad moment:
 * LS_ECORRUPT is for stored bytes only. */
enum ls_rc ls_s3_answer(enum ls_rc rc, struct ls_err *e);
/* Of an answer with this status (not 2xx, or an error inside 200); fills e. */
struct ls_s3_verdict ls_s3_judge(const struct ls_store *st,
    const struct ls_s3_req *q, const struct ls_http_resp *r,
    const struct ls_s3_error *x, const char *region, struct ls_err *e);

/* ---- operations ------------------------------------------------------------*/

enum ls_rc ls_s3_put_plain(struct ls_store *st, const char *path,
    const struct ls_body *b, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_put(struct ls_store *st, const char *path,
    const struct ls_body *b, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_del_if(struct ls_store *st, const char *path, const char *etag,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_head(struct ls_store *st, const char *path, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_list(struct ls_store *st, const char *prefix,
    const char *after, bool dirs, ls_list_fn *fn, void *arg,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_delete(struct ls_store *st, char *const *paths, size_t n,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_put_parts(struct ls_store *st, const char *path,
    const struct ls_body *b, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_copy_parts(struct ls_store *st, const char *source,
    uint64_t size, const char *to, const struct ls_put *o,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Size of equal parts for a body of known size. */
uint64_t ls_s3_equal_part(uint64_t part_size, uint64_t size);
/* Size of the parts after `done` ones, of which the last had size now. */
uint64_t ls_s3_next_part(uint64_t now, size_t done);
/* Parts of a streamed body that are in memory, so on their way, at once. */
size_t ls_s3_stream_slots(size_t part_size, int concurrency);
enum ls_rc ls_s3_begin(struct ls_upload *u, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_write(
    struct ls_upload *u, struct ls_span bytes, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_commit(struct ls_upload *u, struct ls_err *e) LS_MUST_CHECK;
void ls_s3_abort(struct ls_upload *u);
enum ls_rc ls_s3_sweep(struct ls_store *st, int64_t age_ms,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_caps(struct ls_store *st, unsigned *caps,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_s3_caps_multi(struct ls_store *st, bool *yes,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* ---- multipart uploads (s3_multi.c) ----------------------------------------*/

enum { LS_S3_PARTS_MAX = 10000 };
struct ls_s3_multi {
	struct ls_store *st;
	const char *path; /* borrowed */
	struct ls_put o;
	const struct ls_call *c; /* borrowed, may be NULL */
	char *id;
	char **etags; /* as the server sent them */
	size_t n, cap;
	uint64_t total;
};
enum ls_rc ls_s3_multi_create(
    struct ls_s3_multi *m, struct ls_err *e) LS_MUST_CHECK;
/* Send part `number` (from 1) and give its ETag (heap). Changes nothing in m:
 * several may go at once. */
enum ls_rc ls_s3_multi_send(const struct ls_s3_multi *m, size_t number,
    const struct ls_body *b, char **etag, struct ls_err *e) LS_MUST_CHECK;
/* Note the next part, of n bytes, as sent. Takes etag. */
enum ls_rc ls_s3_multi_add(struct ls_s3_multi *m, char *etag, uint64_t n,
    struct ls_err *e) LS_MUST_CHECK;
/* Both. */
enum ls_rc ls_s3_multi_part(struct ls_s3_multi *m, const struct ls_body *b,
    struct ls_err *e) LS_MUST_CHECK;
/* Bytes [off, off + n) of the copy source. */
enum ls_rc ls_s3_multi_copy(struct ls_s3_multi *m, const char *source,
    uint64_t off, uint64_t n, struct ls_err *e) LS_MUST_CHECK;
/* Frees m's inside in every case; aborts the upload on error. */
enum ls_rc ls_s3_multi_complete(
    struct ls_s3_multi *m, struct ls_err *e) LS_MUST_CHECK;
/* Complete with If-None-Match only, whatever is known; aborts unless done. */
enum ls_rc ls_s3_multi_try_complete(
    struct ls_s3_multi *m, struct ls_err *e) LS_MUST_CHECK;
/* Abort and free; fine for one that was never created. */
void ls_s3_multi_abort(struct ls_s3_multi *m);
enum ls_rc ls_s3_abort_upload(struct ls_store *st, const char *path,
    const char *id, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

static inline struct ls_s3 *
ls_s3_of(struct ls_store *st)
{
	return st->self;
}

#endif
