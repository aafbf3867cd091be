/* site.c -- what is served at `addr`. See site.h. */
#include "daemon/site.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "daemon/assets.h"
#include "daemon/db.h"
#include "daemon/metrics.h"
#include "daemon/page.h"
#include "daemon/text.h"
#include "daemon/web.h"

#include <stdio.h>
#include <unistd.h>

struct ls_site {
	struct ls_daemon *d;
	struct ls_web *web;
	struct ls_metrics_count scrapes;
};

static const struct ls_web_header no_store[] = { { "Cache-Control",
						     "no-store" },
	{ "X-Content-Type-Options", "nosniff" }, { NULL, NULL } };

static enum MHD_Result
text(const struct ls_web_call *c, unsigned status, const char *s)
{
	return ls_web_reply(
	    c, status, "text/plain; charset=utf-8", LS_SPAN_STR(s), no_store);
}

/* ---- /healthz ------------------------------------------------------------- */

struct health {
	struct ls_daemon *d;
	struct ls_buf *b;
	uint64_t after;
	size_t n; /* told so far */
	bool begun, bad;
};

/* mu held. */
static bool
is_ill(const struct ls_db *db)
{
	const char *state = ls_db_state(db);

	return strcmp(state, "error") == 0 || strcmp(state, "fenced") == 0;
}

static void
count_ill(void *arg, struct ls_db *db)
{
	*(size_t *)arg += is_ill(db);
}

static void
say_ill(void *arg, struct ls_db *db)
{
	struct health *h = arg;

	if (!is_ill(db))
		return;
	h->bad |=
	    ls_buf_adds(h->b, h->n++ > 0 ? ",{\"path\":\"" : "{\"path\":\"",
		NULL) != LS_OK ||
	    ls_text_json(h->b, db->conf.path, NULL) != LS_OK ||
	    ls_buf_addf(h->b, NULL, "\",\"state\":\"%s\",\"error\":\"",
		ls_db_state(db)) != LS_OK ||
	    ls_text_json(h->b, ls_db_why(db), NULL) != LS_OK ||
	    ls_buf_adds(h->b, "\"}", NULL) != LS_OK;
}

static enum ls_web_next
fill_health(void *arg, struct ls_buf *b)
{
	struct health *h = arg;
	bool more;

	h->b = b;
	if (!h->begun)
		h->bad |=
		    ls_buf_adds(b, "{\"status\":\"degraded\",\"databases\":[",
			NULL) != LS_OK;
	h->begun = true;
	more = ls_daemon_walk(h->d, &h->after, 32, say_ill, h);
	if (!more)
		h->bad |= ls_buf_adds(b, "]}\n", NULL) != LS_OK;
	return h->bad ? LS_WEB_CUT : more ? LS_WEB_MORE : LS_WEB_LAST;
}

static enum MHD_Result
do_health(struct ls_site *s, const struct ls_web_call *c)
{
	uint64_t after = 0;
	struct health *h;
	size_t ill = 0;

	while (ls_daemon_walk(s->d, &after, 256, count_ill, &ill))
		;
	if (ill == 0)
		return ls_web_reply(c, 200, "application/json",
		    LS_SPAN_STR("{\"status\":\"ok\"}\n"), no_store);
	if ((h = ls_zalloc(sizeof *h)) == NULL)
		return text(c, 500, "out of memory\n");
	h->d = s->d;
	return ls_web_stream(
	    c, 503, "application/json", no_store, fill_health, ls_free, h);
}

/* ---- the rest ------------------------------------------------------------- */

static enum MHD_Result
do_metrics(struct ls_site *s, const struct ls_web_call *c)
{
	struct ls_metrics *m;

	if (ls_metrics_new(s->d, &s->scrapes, &m, NULL) != LS_OK)
		return text(c, 500, "out of memory\n");
	return ls_web_stream(c, 200, LS_METRICS_TYPE, no_store, ls_metrics_fill,
	    ls_metrics_free, m);
}

static enum MHD_Result
do_page(struct ls_site *s, const struct ls_web_call *c)
{
	struct ls_page *p;

	if (ls_page_new(s->d, ls_web_query(c, "q"), ls_web_query(c, "state"),
		&p, NULL) != LS_OK)
		return text(c, 500, "out of memory\n");
	return ls_web_stream(c, 200, "text/html; charset=utf-8",
	    ls_page_headers, ls_page_fill, ls_page_free, p);
}

static enum MHD_Result
on_call(void *arg, const struct ls_web_call *c)
{
	struct ls_site *s = arg;

	if (strcmp(c->method, "GET") != 0)
		return text(c, 405, "method not allowed\n");
	if (strcmp(c->path, "/metrics") == 0)
		return do_metrics(s, c);
	if (strcmp(c->path, "/healthz") == 0)
		return do_health(s, c);
	if (strcmp(c->path, "/") == 0)
		return do_page(s, c);
	for (size_t i = 0; i < ls_assets_n; i++)
		if (strcmp(c->path, ls_assets[i].path) == 0)
			return ls_web_reply(c, 200, ls_assets[i].type,
			    LS_SPAN(ls_assets[i].p, ls_assets[i].n), no_store);
	if (strncmp(c->path, "/debug/pprof", 12) == 0)
		return text(c, 404,
		    "there is no pprof here: litestreamd is not a Go "
		    "program\n");
	return text(c, 404, "404 page not found\n");
}

enum ls_rc
ls_site_start(struct ls_daemon *d, const char *addr, struct ls_site **out,
    struct ls_err *e)
{
	struct ls_site *s = ls_zalloc(sizeof *s);
	struct ls_web_addr bound;
	char url[LS_WEB_BOUND_MAX + 32];
	enum ls_rc rc;
	int fd = -1;

	if (s == NULL)
		return ls_err_nomem(e);
	s->d = d;
	if ((rc = ls_web_listen(addr, &fd, &bound, e)) == LS_OK)
		rc = ls_web_start(fd, on_call, s, "metrics", &s->web, e);
	if (rc != LS_OK) {
		if (fd >= 0)
			(void)close(fd);
		ls_free(s);
		return rc;
	}
	(void)snprintf(url, sizeof url, "http://%s/metrics", bound.text);
	ls_info("serving metrics on", LS_ATTRS(LS_S("url", url)));
	*out = s;
	return LS_OK;
}

void
ls_site_stop(struct ls_site *s)
{
	if (s == NULL)
		return;
	ls_web_stop(s->web);
	ls_free(s);
}
