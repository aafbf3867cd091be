/* err.c -- result codes and the error record. See err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum ls_rc
fill(struct ls_err *e, enum ls_rc rc, int sys, const char *fmt, va_list ap)
{
	if (e == NULL)
		return rc;
	e->rc = rc;
	e->sys = sys;
	e->hint[0] = '\0';
	(void)vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	return rc;
}

enum ls_rc
ls_err_set(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fill(e, rc, 0, fmt, ap);
	va_end(ap);
	return rc;
}

static enum ls_rc
rc_of_errno(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT: return LS_ENOSPC;
	case ENOENT:
	case ENOTDIR: return LS_ENOTFOUND;
	case ENOMEM: return LS_ENOMEM;
	case EACCES:
	case EPERM:
	case EROFS: return LS_EDENIED;
	case EEXIST: return LS_EEXISTS;
	case EINVAL:
	case ENAMETOOLONG: return LS_EINVALID;
	default: return LS_EIO;
	}
}

enum ls_rc
ls_err_sys(struct ls_err *e, int err, const char *fmt, ...)
{
	enum ls_rc rc = rc_of_errno(err);
	va_list ap;
	size_t n;
	char text[128];

	if (e == NULL)
		return rc;
	va_start(ap, fmt);
	(void)fill(e, rc, err, fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	(void)snprintf(e->msg + n, sizeof e->msg - n, ": %s",
	    strerror_r(err, text, sizeof text));
	return rc;
}

enum ls_rc
ls_err_wrap(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
{
	char what[sizeof e->msg];
	size_t n, m;
	va_list ap;

	if (rc == LS_OK || e == NULL)
		return rc;
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof what - 2, fmt, ap);
	va_end(ap);
	n = strlen(what);
	memcpy(what + n, ": ", 3), n += 2;
	m = strlen(e->msg);
	if (m > sizeof e->msg - 1 - n) /* keep the end: the cause is there */
		m = sizeof e->msg - 1 - n;
	memmove(e->msg + n, e->msg, m);
	memcpy(e->msg, what, n);
	e->msg[n + m] = '\0';
	e->rc = rc;
	return rc;
}

enum ls_rc
ls_err_hint(struct ls_err *e, enum ls_rc rc, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return rc;
	va_start(ap, fmt);
	(void)vsnprintf(e->hint, sizeof e->hint, fmt, ap);
	va_end(ap);
	return rc;
}

enum ls_rc
ls_err_nomem(struct ls_err *e)
{
	return ls_err_set(e, LS_ENOMEM, "out of memory");
}

const char *
ls_rc_name(enum ls_rc rc)
{
	switch (rc) {
	case LS_OK: return "OK";
#define X(name, retry, text) \
	case LS_E##name: return #name;
		LS_ERRORS(X)
#undef X
	}
	return "?";
}

const char *
ls_rc_text(enum ls_rc rc)
{
	switch (rc) {
	case LS_OK: return "ok";
#define X(name, retry, text) \
	case LS_E##name: return text;
		LS_ERRORS(X)
#undef X
	}
	return "unknown error";
}

bool
ls_rc_retry(enum ls_rc rc)
{
	enum { RETRY = 1, STOP = 0 };

	switch (rc) {
	case LS_OK: return false;
#define X(name, retry, text) \
	case LS_E##name: return retry;
		LS_ERRORS(X)
#undef X
	}
	return false;
}
