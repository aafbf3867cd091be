/* fuzz_text.c -- the small texts that come from people and servers. The first
 * byte says which: 'u' a replica URL, 'x' a server's XML, 't' a time, a
 * duration or a size.
 *
 * No crash, no leak; a URL that is accepted makes a place that equals its copy;
 * any text, escaped, is one XML text; times and durations come back as they are
 * written. */
#include "base/sys.h"
#include "base/units.h"
#include "store/store.h"
#include "store/xml.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(bool x)
{
	if (!x)
		abort();
}

static void
as_url(const char *s)
{
	struct ls_place p, copy;
	char *text;

	ls_place_init(&p);
	if (ls_place_from_url(s, &p, NULL) == LS_OK &&
	    ls_place_settle(&p, NULL) == LS_OK) {
		ls_place_init(&copy);
		must(ls_place_copy(&copy, &p, NULL) == LS_OK);
		must(ls_place_same(&copy, &p));
		ls_place_fini(&copy);
		text = ls_place_text(&p);
		must(text != NULL && text[0] != '\0');
		ls_free(text);
	}
	ls_place_fini(&p);
}

static enum ls_rc
see(void *arg, const char *path, const char *text, struct ls_err *e)
{
	const char **want = arg;

	(void)e;
	must(strlen(path) < LS_XML_PATH_MAX && strlen(text) <= LS_XML_TEXT_MAX);
	if (want != NULL) {
		must(strcmp(path, "t") == 0 && strcmp(text, *want) == 0);
		*want = NULL;
	}
	return LS_OK;
}

static void
as_xml(const char *s, size_t n)
{
	struct ls_buf b = LS_BUF_INIT((size_t)1 << 20);
	const char *want = s;

	(void)!ls_xml_parse(LS_SPAN(s, n), see, NULL, NULL);
	/* A character that XML has no place for, or bytes that are not UTF-8,
	 * make it unreadable; nothing makes it another text. */
	if (ls_buf_adds(&b, "<t>", NULL) == LS_OK &&
	    ls_xml_escape(&b, s, NULL) == LS_OK &&
	    ls_buf_adds(&b, "</t>", NULL) == LS_OK)
		(void)!ls_xml_parse(ls_buf_span(&b), see, &want, NULL);
	ls_buf_free(&b);
}

static void
as_time(const char *s)
{
	int64_t ns, again;
	char text[LS_TIME_MAX];

	if (ls_time_parse(s, &ns, NULL) == LS_OK) {
		must(ls_time_parse(ls_time_nano(ns, text), &again, NULL) ==
		     LS_OK);
		must(again == ns);
	}
	if (ls_dur_parse(s, &ns, NULL) == LS_OK) {
		must(ls_dur_parse(ls_dur_format(ns, text), &again, NULL) ==
		     LS_OK);
		must(again == ns);
	}
	(void)!ls_size_parse(s, &ns, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *s;

	if (n == 0 || (s = strndup((const char *)p + 1, n - 1)) == NULL)
		return 0;
	switch (p[0]) {
	case 'u': as_url(s); break;
	case 'x': as_xml(s, strlen(s)); break;
	default: as_time(s); break;
	}
	free(s);
	return 0;
}
