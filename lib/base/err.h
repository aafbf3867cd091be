/* err.h -- result codes and the error record.
 *
 * Every function that can fail returns `enum ls_rc` and takes `struct ls_err
 * *e` as its last argument. The record is the caller's, of fixed size (it
 * works when memory is out), filled where the error happens, and wrapped with
 * "what we were doing" on the way up. It is logged once, where it is handled.
 */
#ifndef LS_ERR_H
#define LS_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row a code: name, what a retry loop does with it, text. */
#define LS_ERRORS(X)                                        \
	X(NOMEM, RETRY, "out of memory")                    \
	X(IO, RETRY, "input/output error")                  \
	X(NOSPC, RETRY, "no space left on device")          \
	X(NET, RETRY, "network error")                      \
	X(TIMEOUT, RETRY, "deadline exceeded")              \
	X(BUSY, RETRY, "busy")                              \
	X(THROTTLED, RETRY, "the server asks to slow down") \
	X(SERVER, RETRY, "server error")                    \
	X(AGAIN, RETRY, "not settled yet")                  \
	X(CANCELED, STOP, "canceled")                       \
	X(DENIED, STOP, "access denied")                    \
	X(NOTFOUND, STOP, "not found")                      \
	X(EXISTS, STOP, "already exists")                   \
	X(CHANGED, STOP, "object changed")                  \
	X(UNSUPPORTED, STOP, "not supported")               \
	X(INVALID, STOP, "invalid argument")                \
	X(USAGE, STOP, "usage error")                       \
	X(SHORT, STOP, "unexpected end of data")            \
	X(CORRUPT, STOP, "data is corrupt")                 \
	X(RANGE, STOP, "value out of range")                \
	X(GAP, STOP, "continuity lost")                     \
	X(FENCED, STOP, "fenced by another writer")         \
	X(LOCKED, STOP, "owned by another process")         \
	X(NOTDB, STOP, "file is not a database")            \
	X(NOBUCKET, RETRY, "bucket not found")

enum ls_rc {
	LS_OK = 0,
#define X(name, retry, text) LS_E##name,
	LS_ERRORS(X)
#undef X
};

#define LS_MUST_CHECK	__attribute__((warn_unused_result))
#define LS_PRINTF(a, b) __attribute__((format(printf, a, b)))

struct ls_err {
	enum ls_rc rc;
	int sys; /* errno, or 0 */
	char msg[512];
	char hint[192]; /* what to do about it, or "" */
};

/* Fill e (NULL is fine) and return rc, so that a failing branch reads
 * `return ls_err_set(e, LS_EIO, "read %s", path)`. */
enum ls_rc ls_err_set(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
    LS_PRINTF(3, 4);
/* As ls_err_set, from errno: the code is chosen from it (ENOSPC and EDQUOT
 * give NOSPC, ENOENT NOTFOUND, ENOMEM NOMEM, EACCES, EPERM and EROFS DENIED,
 * EEXIST EXISTS, else IO) and ": <strerror>" is appended. */
enum ls_rc ls_err_sys(struct ls_err *e, int err, const char *fmt, ...)
    LS_PRINTF(3, 4);
/* Prefix the message with "<fmt>: " when rc is not LS_OK; returns rc. */
enum ls_rc ls_err_wrap(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
    LS_PRINTF(3, 4);
/* Add the way out, shown as `Try: ...` or hint=... ; returns rc. */
enum ls_rc ls_err_hint(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
    LS_PRINTF(3, 4);
/* Short for LS_ENOMEM with the standard text. */
enum ls_rc ls_err_nomem(struct ls_err *e);

const char *ls_rc_name(enum ls_rc rc); /* "NOMEM", borrowed */
const char *ls_rc_text(enum ls_rc rc); /* "out of memory", borrowed */
bool ls_rc_retry(enum ls_rc rc);       /* may the same call go through later */

#endif
