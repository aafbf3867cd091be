/* sigv4.h -- AWS Signature Version 4, and the digests that S3 asks for.
 *
 * Format: "Authenticating Requests (AWS Signature Version 4)" of the S3 API
 * reference. The only file that includes openssl is sigv4.c. */
#ifndef LS_SIGV4_H
#define LS_SIGV4_H

#include "base/buf.h"

enum {
	LS_SHA256_HEX = 65, /* with the NUL */
	LS_MD5_BASE64 = 25,
	LS_AMZ_DATE = 17, /* 20130524T000000Z */
	LS_SSE_KEY_BYTES = 32,
};
#define LS_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* A query parameter (raw) or a header (lower-case name). Borrowed. */
struct ls_pair {
	const char *name, *value;
};

struct ls_credentials {
	const char *key_id, *secret,
	    *token; /* token: NULL when there is none */
};

struct ls_sigv4 {
	const char *method;
	const char *path;	       /* encoded, begins with '/' */
	const char *query;	       /* canonical, from ls_sigv4_query */
	const struct ls_pair *headers; /* those to sign, any order */
	size_t nheaders;
	const char *payload_hash; /* hex, or LS_UNSIGNED_PAYLOAD */
	const char *region;
	const char *amz_date;
	struct ls_credentials cred;
	const char *service; /* NULL: "s3" */
};

/* Append the canonical query string: every name and value encoded strictly,
 * sorted by encoded name, then value; "name=" for an empty value. It is what
 * must be sent, too. */
enum ls_rc ls_sigv4_query(const struct ls_pair *q, size_t n, struct ls_buf *out,
    struct ls_err *e) LS_MUST_CHECK;
/* Append the value of the Authorization header. At most 32 headers. */
enum ls_rc ls_sigv4_sign(const struct ls_sigv4 *in, struct ls_buf *out,
    struct ls_err *e) LS_MUST_CHECK;
/* "20130524T000000Z" of a wall clock. */
void ls_amz_date(int64_t unix_ns, char out[static LS_AMZ_DATE]);

enum ls_rc ls_sha256_hex(struct ls_span body, char out[static LS_SHA256_HEX],
    struct ls_err *e) LS_MUST_CHECK;
/* Of n bytes of fd from off; LS_ESHORT when the file ends before. */
enum ls_rc ls_sha256_fd(int fd, uint64_t off, uint64_t n,
    char out[static LS_SHA256_HEX], struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_md5_base64(struct ls_span body, char out[static LS_MD5_BASE64],
    struct ls_err *e) LS_MUST_CHECK;
/* MD5 of an SSE-C key given in base64; LS_EINVALID unless it is 32 bytes. */
enum ls_rc ls_sse_key_md5(const char *key_base64,
    char out[static LS_MD5_BASE64], struct ls_err *e) LS_MUST_CHECK;

#endif
