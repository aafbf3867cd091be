#include "test.h"

#include "daemon/text.h"

typedef enum ls_rc fn(struct ls_buf *b, const char *s, struct ls_err *e);

static void
gives(fn *f, const char *in, const char *want)
{
	struct ls_buf b = LS_BUF_INIT(4096);
	struct ls_err e;

	CHECK_OK(f(&b, in, &e));
	CHECK_STR(ls_buf_str(&b), want);
	ls_buf_free(&b);
}

TEST(labels_are_escaped)
{
	gives(ls_text_label, "/a/b c.db", "/a/b c.db");
	gives(ls_text_label, "a\"b\\c\nd", "a\\\"b\\\\c\\nd");
	gives(ls_text_label, "\xc3\xa4\xf0\x9f\x98\x80", /* whole UTF-8 */
	    "\xc3\xa4\xf0\x9f\x98\x80");
	gives(ls_text_label, "\xff|\xc3", "\\\\xff|\\\\xc3");
}

TEST(html_is_escaped)
{
	gives(ls_text_html, "<a href='x'>&\"",
	    "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
	gives(ls_text_html, "a\x01z", "a&#xfffd;z");
	gives(ls_text_html, "\xff<", "\\xff&lt;");
}

TEST(json_is_escaped)
{
	gives(ls_text_json, "a\"b\\c\n\x1f", "a\\\"b\\\\c\\n\\u001f");
	gives(ls_text_json, "\x80", "\\\\x80");
}

/* RFC 3629, section 4: none of these is UTF-8. */
TEST(what_is_no_utf8_is_shown_as_bytes)
{
	gives(ls_text_html, "\xc0\x80", "\\xc0\\x80");		/* overlong */
	gives(ls_text_html, "\xe0\x80\x80", "\\xe0\\x80\\x80"); /* overlong */
	gives(ls_text_html, "\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	gives(ls_text_html, "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	gives(ls_text_html, "\xe2\x82", "\\xe2\\x82");		/* cut */
	gives(ls_text_html, "\xf0\x9f\x98", "\\xf0\\x9f\\x98"); /* cut */
}

TEST(text_stops_at_the_ceiling)
{
	struct ls_buf b = LS_BUF_INIT(3);
	struct ls_err e;

	CHECK_RC(ls_text_html(&b, "<<", &e), LS_ERANGE);
	ls_buf_free(&b);
}
