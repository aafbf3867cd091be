/* buf.h -- spans, and buffers that grow up to a ceiling. */
#ifndef LS_BUF_H
#define LS_BUF_H

#include "base/err.h"

#include <string.h>

/* Bytes that belong to somebody else. */
struct ls_span {
	const uint8_t *p;
	size_t n;
};

#define LS_SPAN(ptr, len) ((struct ls_span){ (const uint8_t *)(ptr), (len) })
#define LS_SPAN_STR(s)	  LS_SPAN((s), strlen(s))

/* Bytes of our own. Born with a ceiling (LS_BUF_INIT); appending past it is
 * LS_ERANGE and leaves the buffer as it was. */
struct ls_buf {
	uint8_t *p;
	size_t n, cap, max;
};

#define LS_BUF_INIT(ceiling)          \
	{                             \
		NULL, 0, 0, (ceiling) \
	}

void ls_buf_init(struct ls_buf *b, size_t max);
/* Make room for n more bytes. */
enum ls_rc ls_buf_reserve(
    struct ls_buf *b, size_t n, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_buf_add(
    struct ls_buf *b, const void *p, size_t n, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_buf_adds(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_buf_addf(struct ls_buf *b, struct ls_err *e, const char *fmt,
    ...) LS_MUST_CHECK LS_PRINTF(3, 4);
/* NUL-terminate without counting the NUL; the text, borrowed, or "" when
 * memory is out. */
const char *ls_buf_str(struct ls_buf *b);
void ls_buf_clear(struct ls_buf *b); /* empty, memory kept */
void ls_buf_free(struct ls_buf *b);  /* inside only; empty afterwards */

static inline struct ls_span
ls_buf_span(const struct ls_buf *b)
{
	return (struct ls_span){ b->p, b->n };
}

#endif
