/* text.c -- names of others made fit for where they are shown. See text.h. */
#include "daemon/text.h"

#include <stdio.h>

/* Bytes of the UTF-8 sequence at s, 0 when it is none: not overlong, no
 * surrogate, at most U+10FFFF (RFC 3629, section 4). */
static size_t
utf8(const unsigned char *s)
{
	static const struct {
		unsigned char first, last, low, high;
		size_t n;
	} rows[] = { { 0x01, 0x7f, 0, 0, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 } };

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (s[0] < rows[i].first || s[0] > rows[i].last)
			continue;
		if (rows[i].n > 1 &&
		    (s[1] < rows[i].low || s[1] > rows[i].high))
			return 0;
		for (size_t k = 2; k < rows[i].n; k++)
			if (s[k] < 0x80 || s[k] > 0xbf)
				return 0;
		return rows[i].n;
	}
	return 0;
}

/* special gives what stands for an ASCII character, or NULL for itself; bad is
 * the printf format of a byte that is no UTF-8. */
static enum ls_rc
escape(struct ls_buf *b, const char *s, const char *(*special)(char c),
    const char *bad, struct ls_err *e)
{
	const unsigned char *p = (const unsigned char *)s;
	char hex[16];
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && *p != '\0') {
		size_t n = utf8(p);
		const char *as = n == 1 ? special((char)*p) : NULL;

		if (n == 0) {
			(void)snprintf(hex, sizeof hex, "%s%02x", bad, *p);
			rc = ls_buf_adds(b, hex, e);
			n = 1;
		} else if (as != NULL) {
			rc = ls_buf_adds(b, as, e);
		} else {
			rc = ls_buf_add(b, p, n, e);
		}
		p += n;
	}
	return rc;
}

static const char *
special_label(char c)
{
	return c == '\\'   ? "\\\\"
	       : c == '"'  ? "\\\""
	       : c == '\n' ? "\\n"
			   : NULL;
}

static const char *
special_html(char c)
{
	switch (c) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '"': return "&quot;";
	case '\'': return "&#39;";
	default:
		/* A control character has no place in HTML. */
		return (unsigned char)c < 0x20 || c == 0x7f ? "&#xfffd;" : NULL;
	}
}

static const char *
special_json(char c)
{
	static const char *const low[0x20] = { "\\u0000", "\\u0001", "\\u0002",
		"\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b",
		"\\t", "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f",
		"\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014",
		"\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019",
		"\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e",
		"\\u001f" };

	if ((unsigned char)c < 0x20)
		return low[(unsigned char)c];
	return c == '\\' ? "\\\\" : c == '"' ? "\\\"" : NULL;
}

static const char *
special_none(char c)
{
	(void)c;
	return NULL;
}

enum ls_rc
ls_text_plain(struct ls_buf *b, const char *s, struct ls_err *e)
{
	return escape(b, s, special_none, "\\x", e);
}

enum ls_rc
ls_text_label(struct ls_buf *b, const char *s, struct ls_err *e)
{
	return escape(b, s, special_label, "\\\\x", e);
}

enum ls_rc
ls_text_html(struct ls_buf *b, const char *s, struct ls_err *e)
{
	return escape(b, s, special_html, "\\x", e);
}

enum ls_rc
ls_text_json(struct ls_buf *b, const char *s, struct ls_err *e)
{
	return escape(b, s, special_json, "\\\\x", e);
}
