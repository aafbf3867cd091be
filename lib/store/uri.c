/* uri.c -- percent-encoding. See uri.h. */
#include "store/uri.h"

#include "base/sys.h"

static bool
unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

enum ls_rc
ls_uri_encode(
    struct ls_buf *b, const char *s, bool keep_slash, struct ls_err *e)
{
	static const char hex[] = "0123456789ABCDEF";
	enum ls_rc rc = LS_OK;

	for (; rc == LS_OK && *s != '\0'; s++) {
		uint8_t c = (uint8_t)*s;
		char esc[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (unreserved(*s) || (keep_slash && *s == '/'))
			rc = ls_buf_add(b, s, 1, e);
		else
			rc = ls_buf_add(b, esc, 3, e);
	}
	return rc;
}

static int
hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One escape at s (n bytes are left): its byte, or -1. */
static int
escape(const char *s, size_t n)
{
	int hi, lo;

	if (n < 3 || (hi = hex_of(s[1])) < 0 || (lo = hex_of(s[2])) < 0)
		return -1;
	return hi << 4 | lo;
}

enum ls_rc
ls_uri_decode(const char *s, size_t n, bool query, char **out, struct ls_err *e)
{
	char *p = ls_alloc(n + 1), *w = p;

	if (p == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < n; i++) {
		int c = (uint8_t)s[i];

		if (c == '%') {
			c = escape(s + i, n - i);
			i += 2;
		} else if (query && c == '+') {
			c = ' ';
		}
		if (c <= 0) {
			ls_free(p);
			return ls_err_set(e, LS_EINVALID,
			    "invalid percent escape in \"%.*s\"", (int)n, s);
		}
		*w++ = (char)c;
	}
	*w = '\0';
	*out = p;
	return LS_OK;
}
