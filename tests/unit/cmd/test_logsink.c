/* test_logsink.c -- records as lines: text and JSON as Go's slog, pretty as
 * tint prints them (upstream's logging.type). */
#include "test.h"

#include "logsink.h"

#include <jansson.h>

static const int64_t when = 1136214245678901234; /* 2006-01-02T15:04:05 */
static struct ls_buf line;

static const char *
format(enum ls_log_type type, bool source, enum ls_level level, const char *msg,
    const struct ls_attr *attrs)
{
	struct logsink s = { .type = type, .source = source };
	struct ls_log_record r = { level, "/x/lib/a.c", 7, msg, attrs };
	struct ls_err e = { 0 };

	ls_buf_free(&line);
	line.max = 1 << 16;
	CHECK_OK(logsink_format(&s, &r, when, &line, &e));
	return ls_buf_str(&line);
}

TEST(text_as_slog)
{
	struct ls_err err = { .msg = "no way", .hint = "try b" };

	CHECK_STR(format(LS_LOG_TEXT, false, LS_INFO, "litestream", NULL),
	    "time=2006-01-02T15:04:05.678Z level=INFO msg=litestream\n");
	CHECK_STR(format(LS_LOG_TEXT, true, LS_TRACE, "two words",
		      LS_ATTRS(LS_S("db", "a.db"), LS_I("n", -3), LS_U("u", 3),
			  LS_B("yes", true), LS_D("took", 1500000000),
			  LS_T("txid.min", 0x1f), LS_E(&err))),
	    "time=2006-01-02T15:04:05.678Z level=DEBUG-4 source=a.c:7 "
	    "msg=\"two words\" db=a.db n=-3 u=3 yes=true took=1.5s "
	    "txid.min=000000000000001f error=\"no way\" hint=\"try b\"\n");
}

/* What slog's TextHandler quotes, and how. */
TEST(text_is_quoted_where_needed)
{
	static const char *const cases[][2] = { { "", "\"\"" },
		{ "plain", "plain" }, { "a\\b", "a\\b" }, { "a b", "\"a b\"" },
		{ "a=b", "\"a=b\"" }, { "say \"x\"", "\"say \\\"x\\\"\"" },
		{ "a\nb", "\"a\\nb\"" }, { "a\tb\r", "\"a\\tb\\r\"" },
		{ "\x01", "\"\\x01\"" }, { "\xff", "\"\\xff\"" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "a \\", "\"a \\\\\"" } };

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char want[128];

		(void)snprintf(want, sizeof want,
		    "time=2006-01-02T15:04:05.678Z level=WARN msg=m k=%s\n",
		    cases[i][1]);
		CHECK_STR(format(LS_LOG_TEXT, false, LS_WARN, "m",
			      LS_ATTRS(LS_S("k", cases[i][0]))),
		    want);
	}
}

TEST(json_as_slog)
{
	CHECK_STR(
	    format(LS_LOG_JSON, false, LS_ERROR, "a \"b\"",
		LS_ATTRS(LS_D("interval", 300000000000), LS_T("txid.min", 1),
		    LS_T("txid.max", 2), LS_S("x.y", "z"), LS_B("b", false))),
	    "{\"time\":\"2006-01-02T15:04:05.678901234Z\","
	    "\"level\":\"ERROR\",\"msg\":\"a \\\"b\\\"\","
	    "\"interval\":300000000000,"
	    "\"txid\":{\"min\":\"0000000000000001\","
	    "\"max\":\"0000000000000002\"},\"x\":{\"y\":\"z\"},"
	    "\"b\":false}\n");
	CHECK_STR(format(LS_LOG_JSON, true, LS_DEBUG, "m", NULL),
	    "{\"time\":\"2006-01-02T15:04:05.678901234Z\","
	    "\"level\":\"DEBUG\",\"source\":{\"file\":\"a.c\",\"line\":7},"
	    "\"msg\":\"m\"}\n");
}

/* Any bytes in a message or value: one line, and valid JSON. */
TEST(json_is_valid_for_any_bytes)
{
	for (int i = 0; i < 20000; i++) {
		char junk[24];
		const char *s;
		json_t *v;

		test_rand_bytes(junk, sizeof junk);
		junk[sizeof junk - 1] = '\0';
		s = format(LS_LOG_JSON, false, LS_INFO, junk,
		    LS_ATTRS(LS_S("g.k", junk)));
		v = json_loads(s, 0, NULL);
		CHECK(v != NULL && strchr(s, '\n') == s + strlen(s) - 1);
		json_decref(v);
		s = format(LS_LOG_TEXT, false, LS_INFO, junk,
		    LS_ATTRS(LS_S("k", junk)));
		CHECK(strchr(s, '\n') == s + strlen(s) - 1);
	}
}

TEST(pretty_as_tint)
{
	const char *s;

	CHECK(setenv("TZ", "UTC-9", 1) == 0);
	tzset();
	s = format(LS_LOG_PRETTY, true, LS_INFO, "litestream started",
	    LS_ATTRS(LS_S("k", "v w")));
	CHECK_STR(s, "00:04:05 INF a.c:7 litestream started k=\"v w\"\n");
	CHECK(unsetenv("TZ") == 0);
	tzset();
	ls_buf_free(&line);
}
