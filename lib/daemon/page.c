/* page.c -- the status page. See page.h.
 *
 * (1) EVERY TEXT IS ESCAPED, whoever it is from (text.h). (tests:
 *     html_is_escaped, integration.watching)
 * (2) A PLACE IS SHOWN AS LOGS SHOW IT (ls_place_text): keys, tokens and the
 *     query of a URL are not in it. (test: integration.secrets)
 * (3) PIECE BY PIECE, as metrics are (metrics.c (2), (3)). Those in trouble
 *     come in a first walk; one whose state changes between the two walks may
 *     be shown twice or not at all, which the next look mends.
 */
#include "daemon/page.h"

#include "base/bytes.h"
#include "base/units.h"
#include "daemon/db.h"
#include "daemon/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { PIECE = 32 };

enum part { HEAD, ILL, WELL, FOOT };

static const char *const states[] = { "error", "fenced", "replicating",
	"parked", "stopped" };

struct ls_page {
	struct ls_daemon *d;
	char *q, *state;
	enum part part;
	uint64_t after;
	uint64_t now; /* mono */
	int64_t wall_ns;
	struct ls_buf *b;
	size_t count[LS_COUNT(states)], n, shown;
	bool bad;
};

const struct ls_web_header ls_page_headers[] = {
	{ "Content-Security-Policy",
	    "default-src 'none'; style-src 'self'; script-src 'self'; "
	    "img-src 'self'; connect-src 'self'; form-action 'self'; "
	    "base-uri 'none'; frame-ancestors 'none'" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cache-Control", "no-store" },
	{ NULL, NULL },
};

enum ls_rc
ls_page_new(struct ls_daemon *d, const char *q, const char *state,
    struct ls_page **out, struct ls_err *e)
{
	struct ls_page *p = ls_zalloc(sizeof *p);

	if (p == NULL)
		return ls_err_nomem(e);
	p->d = d;
	p->q = ls_strdup(q != NULL ? q : "");
	p->state = ls_strdup(state != NULL ? state : "");
	if (p->q == NULL || p->state == NULL) {
		ls_page_free(p);
		return ls_err_nomem(e);
	}
	*out = p;
	return LS_OK;
}

void
ls_page_free(void *arg)
{
	struct ls_page *p = arg;

	ls_free(p->q);
	ls_free(p->state);
	ls_free(p);
}

/* ---- texts ---------------------------------------------------------------- */

/* Ours, as it is. */
static void LS_PRINTF(2, 3) put(struct ls_page *p, const char *fmt, ...)
{
	char s[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s, sizeof s, fmt, ap);
	va_end(ap);
	p->bad |= n < 0 || (size_t)n >= sizeof s ||
		  ls_buf_adds(p->b, s, NULL) != LS_OK;
}

/* Others', escaped. */
static void
put_text(struct ls_page *p, const char *s)
{
	p->bad |= ls_text_html(p->b, s, NULL) != LS_OK;
}

const char *
ls_page_age(uint64_t ns, char out[static LS_AGE_MAX])
{
	static const struct {
		uint64_t from, unit;
		const char *name;
	} rows[] = { { 2 * 86400, 86400, "d" }, { 2 * 3600, 3600, "h" },
		{ 120, 60, "min" }, { 10, 1, "s" } };
	uint64_t s = ns / LS_SEC;

	for (size_t i = 0; i < LS_COUNT(rows); i++) {
		if (s < rows[i].from)
			continue;
		(void)snprintf(out, LS_AGE_MAX, "%" PRIu64 " %s",
		    s / rows[i].unit, rows[i].name);
		return out;
	}
	if (ns == 0)
		(void)snprintf(out, LS_AGE_MAX, "0 s");
	else if (ns < LS_SEC / 10)
		(void)snprintf(out, LS_AGE_MAX, "< 0.1 s");
	else
		(void)snprintf(out, LS_AGE_MAX, "%" PRIu64 ".%" PRIu64 " s", s,
		    (uint64_t)(ns / (LS_SEC / 10) % 10));
	return out;
}

/* ---- rows ----------------------------------------------------------------- */

static bool
is_ill(const char *state)
{
	return strcmp(state, "error") == 0 || strcmp(state, "fenced") == 0;
}

/* The name, its folder, and where it goes to. */
static void
put_name(struct ls_page *p, const struct ls_db *db)
{
	size_t dir = (size_t)(db->name - db->conf.path);
	char *folder = ls_strndup(db->conf.path, dir);
	char *where = ls_place_text(&db->conf.place);

	p->bad |= folder == NULL || where == NULL;
	put(p, "<td class=\"db\"><b>");
	put_text(p, db->name);
	put(p, "</b> <span class=\"dir\">");
	put_text(p, folder != NULL ? folder : "");
	put(p, "</span><span class=\"to\">");
	put_text(p, where != NULL ? where : "");
	put(p, "</span></td>");
	ls_free(folder);
	ls_free(where);
}

static void
put_lag(struct ls_page *p, struct ls_db *db)
{
	char age[LS_AGE_MAX];
	uint64_t lag;

	if (db->goal == LS_GOAL_STOP && db->closed) {
		put(p, "<td class=\"n none\" data-v=\"-1\">&ndash;</td>");
		return;
	}
	lag = ls_db_lag_ns(db, p->now);
	put(p, "<td class=\"n%s\" data-v=\"%" PRIu64 "\">%s</td>",
	    lag > 60 * LS_SEC ? " late" : "", (uint64_t)(lag / LS_MS),
	    lag == 0 ? "0 s" : ls_page_age(lag, age));
}

static void
put_durable(struct ls_page *p, const struct ls_db *db)
{
	int64_t ms = (int64_t)ls_tally_get(&db->tally.durable_ms);
	char age[LS_AGE_MAX], t[LS_TIME_MAX];
	int64_t ago = p->wall_ns - ms * 1000000;

	if (ms == 0 || !db->remote_known) {
		put(p, "<td class=\"n none\" data-v=\"0\">&ndash;</td>");
		return;
	}
	put(p,
	    "<td class=\"n\" data-v=\"%" PRId64 "\"><time datetime=\"%s\" "
	    "title=\"%s, transaction %" PRIu64 "\">%s ago</time></td>",
	    ms, ls_time_milli(ms * 1000000, t), t, db->acked,
	    ls_page_age(ago > 0 ? (uint64_t)ago : 0, age));
}

static void
put_size(struct ls_page *p, const struct ls_db *db, uint64_t v)
{
	char s[LS_DUR_MAX];

	if (!db->looked) {
		put(p, "<td class=\"n none\" data-v=\"-1\">&ndash;</td>");
		return;
	}
	put(p, "<td class=\"n\" data-v=\"%" PRIu64 "\">%s</td>", v,
	    ls_size_format(v, s));
}

/* What keeps it from being in order. */
static void
put_note(struct ls_page *p, const struct ls_db *db)
{
	uint64_t pid = ls_tally_get(&db->tally.blocked_by);
	const char *why = ls_db_why(db);

	put(p, "<td class=\"note\">");
	if (why[0] != '\0') {
		put_text(p, why);
		if (db->err != NULL && db->err->hint[0] != '\0') {
			put(p, " <i>");
			put_text(p, db->err->hint);
			put(p, "</i>");
		}
	} else if (!db->exists && db->looked) {
		put(p, "no database there yet");
	}
	if (pid != 0)
		put(p,
		    "%sprocess %" PRIu64 " holds a read transaction that "
		    "keeps the WAL from being restarted",
		    why[0] != '\0' ? "; " : "", pid);
	put(p, "</td>");
}

static void
on_db(void *arg, struct ls_db *db)
{
	struct ls_page *p = arg;
	const char *state = ls_db_state(db);

	if (is_ill(state) != (p->part == ILL) ||
	    (p->state[0] != '\0' && strcmp(p->state, state) != 0) ||
	    (p->q[0] != '\0' && strstr(db->conf.path, p->q) == NULL))
		return;
	p->shown++;
	put(p, "<tr>");
	put_name(p, db);
	put(p, "<td><span class=\"state %s\">%s</span></td>", state, state);
	put_lag(p, db);
	put_durable(p, db);
	put_size(p, db, ls_tally_get(&db->tally.db_bytes));
	put_size(p, db, ls_tally_get(&db->tally.wal_bytes));
	put_note(p, db);
	put(p, "</tr>\n");
}

/* ---- head and foot -------------------------------------------------------- */

static void
count_db(void *arg, struct ls_db *db)
{
	struct ls_page *p = arg;
	const char *state = ls_db_state(db);

	p->n++;
	for (size_t i = 0; i < LS_COUNT(states); i++)
		p->count[i] += strcmp(state, states[i]) == 0;
}

static void
put_summary(struct ls_page *p)
{
	bool ill = p->count[0] + p->count[1] > 0;

	put(p,
	    "<p id=\"summary\" class=\"%s\"><a href=\"?\"><b>%zu</b> "
	    "database%s</a>",
	    ill ? "ill" : "well", p->n, p->n == 1 ? "" : "s");
	for (size_t i = 0; i < LS_COUNT(states); i++)
		if (p->count[i] > 0)
			put(p,
			    " <a class=\"state %s\" href=\"?state=%s\"><b>%zu"
			    "</b> %s</a>",
			    states[i], states[i], p->count[i], states[i]);
	put(p, "</p>\n");
}

static void
put_form(struct ls_page *p)
{
	put(p, "<form role=\"search\"><input type=\"search\" name=\"q\" "
	       "placeholder=\"Filter by path\" aria-label=\"Filter by path\" "
	       "value=\"");
	put_text(p, p->q);
	put(p, "\"> <select name=\"state\" aria-label=\"State\"><option "
	       "value=\"\">any state</option>");
	for (size_t i = 0; i < LS_COUNT(states); i++)
		put(p, "<option%s>%s</option>",
		    strcmp(p->state, states[i]) == 0 ? " selected" : "",
		    states[i]);
	put(p, "</select> <button>Filter</button>"
	       "<span id=\"live\"></span></form>\n");
}

static void
put_head(struct ls_page *p)
{
	struct utsname u;
	char t[LS_TIME_MAX], age[LS_AGE_MAX];
	int64_t up = p->wall_ns - ls_daemon_started_ns(p->d);

	put(p, "<!doctype html>\n<html lang=\"en\">\n<head>\n"
	       "<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
	       "content=\"width=device-width, initial-scale=1\">\n"
	       "<title>litestreamd</title>\n"
	       "<link rel=\"icon\" href=\"status.svg\">\n"
	       "<link rel=\"stylesheet\" href=\"status.css\">\n"
	       "<script src=\"status.js\" defer></script>\n"
	       "</head>\n<body>\n<header>\n<h1>litestreamd</h1>\n"
	       "<p id=\"facts\">");
	if (uname(&u) == 0) {
		put_text(p, u.nodename);
		put(p, " &middot; ");
	}
	put(p, "version %s &middot; process %d &middot; up %s &middot; ",
	    LS_VERSION, (int)getpid(),
	    ls_page_age(up > 0 ? (uint64_t)up : 0, age));
	put(p, "<time>%s</time></p>\n</header>\n", ls_time_sec(p->wall_ns, t));
	while (ls_daemon_walk(p->d, &p->after, 256, count_db, p))
		;
	put_summary(p);
	put_form(p);
	put(p, "<table>\n<thead><tr><th class=\"db\">Database</th>"
	       "<th>State</th>"
	       "<th class=\"n\">Lag</th><th class=\"n\">Last durable</th>"
	       "<th class=\"n\">Size</th><th class=\"n\">WAL</th>"
	       "<th class=\"note\">What holds it up</th></tr></thead>\n"
	       "<tbody>\n");
}

static void
put_foot(struct ls_page *p)
{
	put(p, "</tbody>\n</table>\n");
	put(p, "<p id=\"none\"%s>No database is like that.</p>\n",
	    p->shown > 0 ? " hidden" : "");
	put(p, "<footer><a href=\"metrics\">metrics</a> &middot; "
	       "<a href=\"healthz\">health</a></footer>\n"
	       "</body>\n</html>\n");
}

enum ls_web_next
ls_page_fill(void *arg, struct ls_buf *b)
{
	struct ls_page *p = arg;

	p->b = b;
	p->now = ls_sys->mono_ns();
	p->wall_ns = ls_sys->wall_ns();
	if (p->part == HEAD)
		put_head(p);
	else if (p->part == FOOT)
		put_foot(p);
	if ((p->part == ILL || p->part == WELL) &&
	    ls_daemon_walk(p->d, &p->after, PIECE, on_db, p))
		return p->bad ? LS_WEB_CUT : LS_WEB_MORE;
	if (p->bad)
		return LS_WEB_CUT;
	if (p->part == FOOT)
		return LS_WEB_LAST;
	p->part++;
	p->after = 0;
	return LS_WEB_MORE;
}
