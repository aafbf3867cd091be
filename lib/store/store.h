/* store.h -- named, immutable byte strings: the object-store interface.
 *
 * A handle is one replica's place (a bucket and prefix, or a folder). Handles
 * are cheap (under 1 KiB when idle), thread-safe, and share connections and
 * credentials of the process through `struct ls_net`. Keys are relative to the
 * place ("0000/....ltx"), never start with '/', never hold "..".
 *
 * Every call blocks, obeys the deadline and cancel of `struct ls_call`, retries
 * what can be retried (jittered, Retry-After honoured), and answers with an
 * error that names operation, key and place. Repeating a put is harmless.
 */
#ifndef LS_STORE_H
#define LS_STORE_H

#include "base/buf.h"
#include "base/call.h"

/* ---- where: configuration of one replica ---------------------------------*/

enum ls_tri { LS_UNSET = -1, LS_NO = 0, LS_YES = 1 };

/* All strings heap, NULL when unset. Made by ls_place_from_url and/or filled
 * by lib/config from YAML; ls_place_settle applies defaults and provider
 * rules (compatibility 3.2) and validates. */
struct ls_place {
	char *type; /* "file", "s3" */
	char *path; /* folder, or key prefix */
	char *bucket, *region, *endpoint;
	char *access_key_id, *secret_access_key, *session_token;
	char *storage_class;
	char *sse_algorithm, *sse_key, *sse_key_md5, *sse_key_path,
	    *sse_kms_key_id;
	enum ls_tri force_path_style, sign_payload, require_content_md5,
	    skip_verify;
	bool tigris;	   /* X-Tigris-Consistent on every request */
	int64_t part_size; /* 0 = default */
	int concurrency;   /* 0 = default */
	int fencing;	   /* enum ls_fencing */
};
enum ls_fencing { LS_FENCING_AUTO, LS_FENCING_REQUIRE, LS_FENCING_OFF };

void ls_place_init(struct ls_place *p);
void ls_place_fini(struct ls_place *p);
enum ls_rc ls_place_copy(struct ls_place *to, const struct ls_place *from,
    struct ls_err *e) LS_MUST_CHECK;
bool ls_place_same(const struct ls_place *a, const struct ls_place *b);
/* "^\w+://" */
bool ls_is_url(const char *s);
/* Parse a replica URL with its query (all spellings of compatibility 3.3).
 * LS_EUNSUPPORTED names a scheme whose store comes later (gs, abs, sftp,
 * webdav, nats, oss); LS_EINVALID for others and for bad or unknown
 * parameters. *p must be initialised; fields set before stay unless the URL
 * names them. */
enum ls_rc ls_place_from_url(
    const char *url, struct ls_place *p, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_place_settle(struct ls_place *p, struct ls_err *e) LS_MUST_CHECK;
/* LITESTREAM_S3_ENDPOINT for an s3 place without endpoint. Upstream reads it
 * only where a URL is all there is (extension, /register); call it there,
 * before ls_place_settle. */
enum ls_rc ls_place_from_env(
    struct ls_place *p, struct ls_err *e) LS_MUST_CHECK;
/* One line for logs and errors, no secret in it: "s3://bucket/prefix at
 * http://host:port", "file:///path". Gives a heap string. */
char *ls_place_text(const struct ls_place *p);

/* ---- the process's connections and credentials ---------------------------*/

struct ls_net;
/* One per process is enough. */
enum ls_rc ls_net_new(struct ls_net **out, struct ls_err *e) LS_MUST_CHECK;
void ls_net_free(struct ls_net *n);
/* Names and versions of the libraries behind it; borrowed. */
const char *ls_net_library(void);
/* Close connections that were not used for idle_ms (0: all idle ones). Finished
 * calls do this too; a program that goes quiet calls it once. */
void ls_net_trim(struct ls_net *n, uint64_t idle_ms);

/* ---- a store ---------------------------------------------------------------*/

enum ls_cap {		      /* what a driver can do; asked, not guessed */
	LS_CAP_IF_ABSENT = 1, /* If-None-Match: * on PUT is honoured */
	LS_CAP_IF_ABSENT_MULTI = 2, /* and on CompleteMultipartUpload */
	LS_CAP_COPY = 4,	    /* server-side copy */
	LS_CAP_LIST_TIME = 8,	    /* list gives the LTX time (file: mtime) */
};

/* Where the levels live: "%04x/" for s3, "ltx/%d/" for all others. */
enum ls_layout { LS_LAYOUT_HEX, LS_LAYOUT_LTX };

struct ls_store;
/* Borrows place, keeps net until freed. No request is made. */
enum ls_rc ls_store_open(const struct ls_place *place, struct ls_net *net,
    struct ls_store **out, struct ls_err *e) LS_MUST_CHECK;
void ls_store_free(struct ls_store *st);
const char *ls_store_type(const struct ls_store *st);	     /* "file", "s3" */
const char *ls_store_text(const struct ls_store *st);	     /* ls_place_text */
enum ls_fencing ls_store_fencing(const struct ls_store *st); /* as configured */
enum ls_layout ls_store_layout(const struct ls_store *st);
/* Capabilities; if unknown they are probed with requests under the place
 * (object ".litestream-probe-RANDOM", removed again). Remembered by endpoint and
 * bucket in net. */
enum ls_rc ls_store_caps(struct ls_store *st, unsigned *caps,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Is If-None-Match honoured on CompleteMultipartUpload? Probed apart from the
 * others, since it costs four requests more; remembered likewise, and from
 * then on part of ls_store_caps. */
enum ls_rc ls_store_caps_multi(struct ls_store *st, bool *yes,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

struct ls_object {
	const char *key; /* relative; borrowed for the callback */
	uint64_t size;
	int64_t mtime_ns; /* LastModified, or mtime */
	const char *etag; /* unquoted, or NULL */
};

struct ls_put {
	bool if_absent; /* LS_EEXISTS when the key is taken */
	/* ETag: LS_ECHANGED when it is another object by now, or none. Small
	 * bodies in memory only; not together with if_absent. */
	const char *if_match;
	int64_t
	    timestamp_ms; /* LTX time: x-amz-meta-litestream-timestamp, mtime;
			       * 0 = none */
	/* Sign as of this time instead of now (0), so that the server itself
	 * refuses the request when it comes too late (design 4, fencing). */
	int64_t sign_time_ns;
	bool once; /* no retry inside: the caller settles ambiguity */
};

/* Put whole bytes; LS_OK means durable at the far end. Above part size it
 * goes as multipart unless once/if_absent ask for one plain request (up to 5
 * GiB). An answer that may have been lost gives LS_EAGAIN ("ambiguous") when
 * once is set. */
enum ls_rc ls_store_put(struct ls_store *st, const char *key,
    struct ls_span body, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* As ls_store_put, the body being size bytes of fd from offset 0, streamed;
 * memory does not grow with size. Keeps no descriptor. */
enum ls_rc ls_store_put_file(struct ls_store *st, const char *key, int fd,
    uint64_t size, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* A streamed put of unknown size: one part in memory. Nothing is visible
 * before commit; abort, a failed write or a failed commit leave nothing
 * (multipart uploads are aborted). */
struct ls_upload;
enum ls_rc ls_upload_begin(struct ls_store *st, const char *key,
    const struct ls_put *o, const struct ls_call *c, struct ls_upload **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Has the shape of ls_sink (format/ltx.h): arg is the struct ls_upload. */
enum ls_rc ls_upload_write(
    void *arg, struct ls_span bytes, struct ls_err *e) LS_MUST_CHECK;
/* Takes u, also on error. */
enum ls_rc ls_upload_commit(
    struct ls_upload *u, struct ls_err *e) LS_MUST_CHECK;
void ls_upload_abort(struct ls_upload *u); /* takes u; NULL is fine */

struct ls_get {
	uint64_t off;
	uint64_t len;	      /* 0 = to the end */
	int64_t suffix;	      /* > 0: the last n bytes (off, len ignored) */
	const char *if_match; /* ETag: LS_ECHANGED when it is another object */
};
struct ls_got {
	uint64_t total_size; /* of the object */
	char etag[128];	     /* "" when the store has none */
	int64_t mtime_ns;
	int64_t timestamp_ms; /* LTX time if the store keeps it, else 0 */
};
/* Append the range to out (its ceiling holds). Short bodies are retried and
 * never returned. LS_ENOTFOUND; LS_ERANGE when off is past the end. got may
 * be NULL. */
enum ls_rc ls_store_get(struct ls_store *st, const char *key,
    const struct ls_get *o, struct ls_buf *out, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_store_head(struct ls_store *st, const char *key,
    struct ls_got *got, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* Return false to stop early. */
typedef bool ls_list_fn(void *arg, const struct ls_object *o);
/* All keys with the prefix (which ends in '/' or is ""), after the key `after`
 * (relative; NULL = from the start), in byte order. A place that does not
 * exist yet lists as empty (a missing bucket is an error). */
enum ls_rc ls_store_list(struct ls_store *st, const char *prefix,
    const char *after, ls_list_fn *fn, void *arg, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Names directly below prefix that end in '/' (v0.3 generations). */
enum ls_rc ls_store_list_dirs(struct ls_store *st, const char *prefix,
    ls_list_fn *fn, void *arg, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Delete keys; one that is not there is fine. */
enum ls_rc ls_store_delete(struct ls_store *st, const char *const *keys,
    size_t n, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Delete one key if the object still has this ETag; LS_ECHANGED when it is
 * another one, LS_ENOTFOUND when it is gone, where the server tells (Ceph
 * deletes it whatever it is). */
enum ls_rc ls_store_delete_if(struct ls_store *st, const char *key,
    const char *etag, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Copy on the server (LS_CAP_COPY), time kept. */
enum ls_rc ls_store_copy(struct ls_store *st, const char *from, const char *to,
    const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* Remove what crashed processes left behind and is older than age_ms: "*.tmp"
 * files of a folder, unfinished multipart uploads under an S3 prefix. */
enum ls_rc ls_store_sweep(struct ls_store *st, int64_t age_ms,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* Be the one process that writes to this place, where that can be said: a
 * folder (an flock on ".litestreamd-lock" in it, which is created). Elsewhere
 * *out is NULL and all is well. LS_ELOCKED names the other process. Costs a
 * descriptor until unlocked. Gives *out (ls_store_unlock). */
struct ls_store_lock;
enum ls_rc ls_store_lock(struct ls_store *st, struct ls_store_lock **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_store_unlock(struct ls_store_lock *l); /* takes l; NULL is fine */
/* Is this still the place that was locked? LS_ENOTFOUND: that one was deleted
 * for good. LS_EIO: it exists elsewhere, as when a file system is not mounted.
 * NULL (a bucket): LS_OK. */
enum ls_rc ls_store_lock_there(struct ls_store *st,
    const struct ls_store_lock *l, struct ls_err *e) LS_MUST_CHECK;

/* How far the server's clock is ahead of ours by its last answer, to about a
 * second; false: it never said, or is a folder. */
bool ls_store_clock(struct ls_store *st, int64_t *ahead_ns);

/* Counters of one place for metrics; snapshot into *out. */
struct ls_store_stats {
	uint64_t put_n, put_bytes, get_n, get_bytes, list_n, delete_n, copy_n,
	    head_n, errors;
};
void ls_store_stats(const struct ls_store *st, struct ls_store_stats *out);

#endif
