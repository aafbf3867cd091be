/* test_xml.c -- XML limits, retry delays, error bodies. */
#include "test.h"

#include "base/bytes.h"
#include "store/retry.h"
#include "store/s3.h"
#include "store/xml.h"

struct log {
	char text[2000];
};

static enum ls_rc
note(void *arg, const char *path, const char *text, struct ls_err *e)
{
	struct log *l = arg;
	size_t n = strlen(l->text);

	if (strcmp(text, "stop") == 0)
		return ls_err_set(e, LS_EEXISTS, "asked to");
	(void)snprintf(
	    l->text + n, sizeof l->text - n, "%s=%.40s;", path, text);
	return LS_OK;
}

static enum ls_rc
parse(const char *s, struct log *l)
{
	struct ls_err e = { 0 };

	l->text[0] = '\0';
	return ls_xml_parse(LS_SPAN_STR(s), note, l, &e);
}

TEST(xml_paths_and_text)
{
	struct log l;

	CHECK_RC(
	    parse("\n <?x?><a xmlns='u'><b>x&lt;&#65;</b><c/></a>", &l), LS_OK);
	CHECK_STR(l.text, "a/b=x<A;a/c=;a=;");
	CHECK_RC(parse("<n:a xmlns:n='u'><n:b>1</n:b></n:a>", &l), LS_OK);
	CHECK_STR(l.text, "a/b=1;a=;");
	CHECK_RC(parse("<a><b>stop</b><c>never</c></a>", &l), LS_EEXISTS);
	CHECK_STR(l.text, "");
}

TEST(xml_hostile)
{
	struct log l;
	char deep[2000], *p = deep;
	char *huge = malloc(20000);

	CHECK_RC(parse("", &l), LS_ECORRUPT);
	CHECK_RC(parse("<a>", &l), LS_ECORRUPT);
	CHECK_RC(parse("<a></b>", &l), LS_ECORRUPT);
	CHECK_RC(parse("<html><p>Bad gateway</html>", &l), LS_ECORRUPT);
	CHECK_RC(
	    parse("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", &l), LS_ECORRUPT);
	CHECK_STR(l.text, "");
	CHECK_RC(parse("<a>&x;</a>", &l), LS_ECORRUPT);
	for (int i = 0; i < 17; i++)
		p += snprintf(p, 10, "<a>");
	p += snprintf(p, 10, "<b/>");
	for (int i = 0; i < 17; i++)
		p += snprintf(p, 10, "</a>");
	CHECK_RC(parse(deep, &l), LS_ECORRUPT);
	CHECK_STR(l.text, "");
	memset(huge, 'x', 20000);
	memcpy(huge, "<a>", 3);
	memcpy(huge + 19990, "</a>", 5);
	CHECK_RC(parse(huge, &l), LS_ECORRUPT);
	memset(huge, 'x', 20000);
	huge[0] = '<';
	memcpy(huge + 19990, "/>", 3);
	CHECK_RC(parse(huge, &l), LS_ECORRUPT);
	free(huge);
}

TEST(xml_escapes)
{
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_err e = { 0 };

	CHECK_OK(ls_xml_escape(&b, "a<b>&\"'\r\xc3\xa9", &e));
	CHECK_STR(ls_buf_str(&b), "a&#60;b&#62;&#38;&#34;&#39;&#13;\xc3\xa9");
	ls_buf_free(&b);
}

TEST(error_bodies)
{
	struct ls_s3_error x;

	ls_s3_error_parse(LS_SPAN_STR("<Error><Code>NoSuchKey</Code><Message>"
				      "m</Message><Region>r</Region></Error>"),
	    &x);
	CHECK_STR(x.code, "NoSuchKey");
	CHECK_STR(x.message, "m");
	CHECK_STR(x.region, "r");
	ls_s3_error_parse(LS_SPAN_STR("<ErrorResponse><Error><Code>A</Code>"
				      "</Error></ErrorResponse>"),
	    &x);
	CHECK_STR(x.code, "A");
	ls_s3_error_parse(LS_SPAN_STR("<html>oops"), &x);
	CHECK_STR(x.code, "");
}

TEST(retry_delay_is_bounded_and_grows)
{
	CHECK_EQ(ls_retry_delay(2, 0, 0), 0);
	/* the largest value is the cap itself: random = cap of each step */
	CHECK_EQ(ls_retry_delay(2, 0, 100 * LS_MS), 100 * LS_MS);
	CHECK_EQ(ls_retry_delay(3, 0, 200 * LS_MS), 200 * LS_MS);
	CHECK_EQ(ls_retry_delay(8, 0, 6400 * LS_MS), 6400 * LS_MS);
	CHECK_EQ(ls_retry_delay(9, 0, 10 * LS_SEC), 10 * LS_SEC);
	CHECK_EQ(ls_retry_delay(4000000, 0, 10 * LS_SEC), 10 * LS_SEC);
	for (uint64_t i = 0; i < 1000; i++)
		CHECK(ls_retry_delay(5, 0, test_rand()) <= 800 * LS_MS);
	CHECK_EQ(ls_retry_delay(2, 7 * LS_SEC, 0), 7 * LS_SEC);
	CHECK_EQ(ls_retry_delay(2, 700 * LS_SEC, 0), 60 * LS_SEC);
}

TEST(retry_after_values)
{
	CHECK_EQ(ls_retry_after("3", 0), 3 * LS_SEC);
	CHECK_EQ(ls_retry_after("99999999999999999999", 0), 86400 * LS_SEC);
	CHECK_EQ(ls_retry_after("", 0), 0);
	CHECK_EQ(ls_retry_after("soon", 0), 0);
	/* RFC 7231's own example date is 784111777 */
	CHECK_EQ(ls_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111770),
	    7 * LS_SEC);
	CHECK_EQ(ls_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111790), 0);
}
