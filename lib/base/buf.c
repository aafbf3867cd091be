/* buf.c -- buffers that grow up to a ceiling. See buf.h. */
#include "base/buf.h"

#include "base/sys.h"

#include <stdio.h>

void
ls_buf_init(struct ls_buf *b, size_t max)
{
	*b = (struct ls_buf)LS_BUF_INIT(max);
}

enum ls_rc
ls_buf_reserve(struct ls_buf *b, size_t n, struct ls_err *e)
{
	size_t cap;
	uint8_t *p;

	if (n <= b->cap - b->n)
		return LS_OK;
	if (n > b->max || b->n > b->max - n)
		return ls_err_set(e, LS_ERANGE,
		    "buffer would exceed its ceiling of %zu bytes", b->max);
	cap = b->cap ? b->cap : 64;
	while (cap < b->n + n)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if ((p = ls_realloc(b->p, cap)) == NULL)
		return ls_err_nomem(e);
	b->p = p;
	b->cap = cap;
	return LS_OK;
}

enum ls_rc
ls_buf_add(struct ls_buf *b, const void *p, size_t n, struct ls_err *e)
{
	enum ls_rc rc;

	if (n == 0)
		return LS_OK;
	if ((rc = ls_buf_reserve(b, n, e)) != LS_OK)
		return rc;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return LS_OK;
}

enum ls_rc
ls_buf_adds(struct ls_buf *b, const char *s, struct ls_err *e)
{
	return ls_buf_add(b, s, strlen(s), e);
}

enum ls_rc
ls_buf_addf(struct ls_buf *b, struct ls_err *e, const char *fmt, ...)
{
	enum ls_rc rc;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return ls_err_set(e, LS_EINVALID, "bad format");
	if ((rc = ls_buf_reserve(b, (size_t)n + 1, e)) != LS_OK)
		return rc;
	va_start(ap, fmt);
	(void)vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
	return LS_OK;
}

const char *
ls_buf_str(struct ls_buf *b)
{
	if (ls_buf_reserve(b, 1, NULL) != LS_OK)
		return "";
	b->p[b->n] = '\0';
	return (const char *)b->p;
}

void
ls_buf_clear(struct ls_buf *b)
{
	b->n = 0;
}

void
ls_buf_free(struct ls_buf *b)
{
	ls_free(b->p);
	b->p = NULL;
	b->n = b->cap = 0;
}
