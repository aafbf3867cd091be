/* logsink.c -- log records as lines. See logsink.h.
 *
 * (1) ONE RECORD IS ONE LINE and one write: a newline or quote inside a value
 *     is escaped in every shape. (test: test_log_quoting in test_cli.py)
 * (2) A RECORD THAT DOES NOT FIT (LINE_MAX_BYTES) or meets the end of memory
 *     is lost, never torn. */
#include "logsink.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 16 };

static struct logsink the_sink;

#define TRY(x)                        \
	do {                          \
		enum ls_rc rc_ = (x); \
		if (rc_ != LS_OK)     \
			return rc_;   \
	} while (0)

/* ---- quoting ---------------------------------------------------------------*/

/* Bytes of the valid UTF-8 sequence at s, 0 when it is none. */
static size_t
utf8_len(const uint8_t *s)
{
	size_t n = s[0] < 0x80	 ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* slog's TextHandler quotes what is empty or holds space, '=', '"', control
 * characters or invalid UTF-8. */
static bool
needs_quotes(const char *s)
{
	const uint8_t *p = (const uint8_t *)s;

	if (*p == '\0')
		return true;
	while (*p != '\0') {
		size_t n = utf8_len(p);

		if (n == 0 || *p <= ' ' || *p == '=' || *p == '"' || *p == 0x7f)
			return true;
		p += n;
	}
	return false;
}

static enum ls_rc
add_escaped(struct ls_buf *out, const char *s, bool json, struct ls_err *e)
{
	static const char raw[] = "\"\\\n\r\t";
	const uint8_t *p = (const uint8_t *)s;

	while (*p != '\0') {
		size_t n = utf8_len(p);
		const char *q = n == 1 ? strchr(raw, *p) : NULL;

		if (q != NULL)
			TRY(ls_buf_addf(out, e, "\\%c", "\"\\nrt"[q - raw]));
		else if (n == 0)
			TRY(ls_buf_addf(
			    out, e, json ? "\\ufffd" : "\\x%02x", *p));
		else if (*p < ' ' || *p == 0x7f)
			TRY(ls_buf_addf(
			    out, e, json ? "\\u%04x" : "\\x%02x", *p));
		else
			TRY(ls_buf_add(out, p, n, e));
		p += n ? n : 1;
	}
	return LS_OK;
}

static enum ls_rc
add_quoted(struct ls_buf *out, const char *s, bool json, struct ls_err *e)
{
	TRY(ls_buf_add(out, "\"", 1, e));
	TRY(add_escaped(out, s, json, e));
	return ls_buf_add(out, "\"", 1, e);
}

static enum ls_rc
add_text(struct ls_buf *out, const char *s, struct ls_err *e)
{
	return needs_quotes(s) ? add_quoted(out, s, false, e)
			       : ls_buf_adds(out, s, e);
}

/* ---- values ----------------------------------------------------------------*/

/* As Go prints them. */
static const char *
signal_name(int64_t sig)
{
	return sig == SIGTERM  ? "terminated"
	       : sig == SIGINT ? "interrupt"
			       : "hangup";
}

/* A value as plain text; strings are borrowed, others written to buf. */
static const char *
value_text(const struct ls_attr *a, char buf[static LS_DUR_MAX])
{
	switch (a->kind) {
	case LS_A_STR: return a->v.s ? a->v.s : "";
	case LS_A_ERR: return a->v.e->msg;
	case LS_A_SIG: return signal_name(a->v.i);
	case LS_A_BOOL: return a->v.i ? "true" : "false";
	case LS_A_DUR: return ls_dur_format(a->v.i, buf);
	case LS_A_INT:
		(void)snprintf(buf, LS_DUR_MAX, "%lld", (long long)a->v.i);
		return buf;
	case LS_A_UINT:
		(void)snprintf(
		    buf, LS_DUR_MAX, "%llu", (unsigned long long)a->v.u);
		return buf;
	case LS_A_TXID:
		(void)snprintf(
		    buf, LS_DUR_MAX, "%016llx", (unsigned long long)a->v.u);
		return buf;
	case LS_A_END: break;
	}
	return "";
}

static enum ls_rc
json_value(struct ls_buf *out, const struct ls_attr *a, struct ls_err *e)
{
	char buf[LS_DUR_MAX];

	if (a->kind == LS_A_DUR || a->kind == LS_A_SIG)
		return ls_buf_addf(out, e, "%lld", (long long)a->v.i);
	if (a->kind == LS_A_INT || a->kind == LS_A_UINT || a->kind == LS_A_BOOL)
		return ls_buf_adds(out, value_text(a, buf), e);
	return add_quoted(out, value_text(a, buf), true, e);
}

static const char *
hint_of(const struct ls_attr *a)
{
	return a->kind == LS_A_ERR && a->v.e->hint[0] != '\0' ? a->v.e->hint
							      : NULL;
}

static const struct ls_attr *
attrs_of(const struct ls_log_record *r)
{
	static const struct ls_attr none = { NULL, LS_A_END, { .u = 0 } };

	return r->attrs ? r->attrs : &none;
}

/* ---- the three shapes ------------------------------------------------------*/

static enum ls_rc
add_pairs(const struct ls_log_record *r, const char *dim, const char *reset,
    struct ls_buf *out, struct ls_err *e)
{
	char buf[LS_DUR_MAX];

	for (const struct ls_attr *a = attrs_of(r); a->kind != LS_A_END; a++) {
		TRY(ls_buf_addf(out, e, " %s%s=%s", dim, a->key, reset));
		TRY(add_text(out, value_text(a, buf), e));
		if (hint_of(a) == NULL)
			continue;
		TRY(ls_buf_addf(out, e, " %shint=%s", dim, reset));
		TRY(add_text(out, hint_of(a), e));
	}
	return ls_buf_add(out, "\n", 1, e);
}

static enum ls_rc
format_text(const struct logsink *s, const struct ls_log_record *r, int64_t now,
    struct ls_buf *out, struct ls_err *e)
{
	static const char *const names[] = { "DEBUG-4", "DEBUG", "INFO", "WARN",
		"ERROR" };
	char t[LS_TIME_MAX];

	TRY(ls_buf_addf(out, e, "time=%s level=%s", ls_time_milli(now, t),
	    names[r->level]));
	if (s->source)
		TRY(ls_buf_addf(
		    out, e, " source=%s:%d", ls_basename(r->file), r->line));
	TRY(ls_buf_adds(out, " msg=", e));
	TRY(add_text(out, r->msg, e));
	return add_pairs(r, "", "", out, e);
}

static enum ls_rc
format_pretty(const struct logsink *s, const struct ls_log_record *r,
    int64_t now, struct ls_buf *out, struct ls_err *e)
{
	static const char *const names[] = { "DBG-4", "DBG", "INF", "WRN",
		"ERR" };
	static const char *const colors[] = { "", "", "\033[92m", "\033[93m",
		"\033[91m" };
	const char *dim = s->color ? "\033[2m" : "";
	const char *reset = s->color ? "\033[0m" : "";
	const char *color = s->color ? colors[r->level] : "";
	time_t sec = (time_t)(now / (int64_t)LS_SEC);
	struct tm tm;

	(void)localtime_r(&sec, &tm); /* for people, hence local */
	TRY(ls_buf_addf(out, e, "%s%02d:%02d:%02d%s %s%s%s ", dim, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, reset, color, names[r->level],
	    color[0] ? reset : ""));
	if (s->source)
		TRY(ls_buf_addf(out, e, "%s%s:%d%s ", dim, ls_basename(r->file),
		    r->line, reset));
	for (const char *p = r->msg; *p != '\0'; p++)
		TRY(ls_buf_add(out, *p == '\n' ? " " : p, 1, e));
	return add_pairs(r, dim, reset, out, e);
}

/* Length of the group in front of a key: "txid" of "txid.min". */
static size_t
group_len(const char *key)
{
	const char *dot = strchr(key, '.');

	return dot ? (size_t)(dot - key) : 0;
}

/* Neighbours of one group share an object. */
static enum ls_rc
json_pairs(const struct ls_log_record *r, struct ls_buf *out, struct ls_err *e)
{
	const char *open = NULL; /* key whose group is open */
	size_t open_n = 0;

	for (const struct ls_attr *a = attrs_of(r); a->kind != LS_A_END; a++) {
		size_t n = group_len(a->key);
		bool same =
		    open_n != 0 && n == open_n && memcmp(open, a->key, n) == 0;

		if (open_n != 0 && !same)
			TRY(ls_buf_adds(out, "}", e));
		TRY(ls_buf_adds(out, ",", e));
		if (n != 0 && !same)
			TRY(ls_buf_addf(out, e, "\"%.*s\":{", (int)n, a->key));
		TRY(ls_buf_addf(out, e, "\"%s\":", a->key + (n ? n + 1 : 0)));
		TRY(json_value(out, a, e));
		if (hint_of(a) != NULL) {
			TRY(ls_buf_adds(out, ",\"hint\":", e));
			TRY(add_quoted(out, hint_of(a), true, e));
		}
		open = a->key, open_n = n;
	}
	return ls_buf_adds(out, open_n ? "}}\n" : "}\n", e);
}

static enum ls_rc
format_json(const struct logsink *s, const struct ls_log_record *r, int64_t now,
    struct ls_buf *out, struct ls_err *e)
{
	static const char *const names[] = { "DEBUG-4", "DEBUG", "INFO", "WARN",
		"ERROR" };
	char t[LS_TIME_MAX];

	TRY(ls_buf_addf(out, e, "{\"time\":\"%s\",\"level\":\"%s\"",
	    ls_time_nano(now, t), names[r->level]));
	if (s->source)
		TRY(ls_buf_addf(out, e,
		    ",\"source\":{\"file\":\"%s\",\"line\":%d}",
		    ls_basename(r->file), r->line));
	TRY(ls_buf_adds(out, ",\"msg\":", e));
	TRY(add_quoted(out, r->msg, true, e));
	return json_pairs(r, out, e);
}

enum ls_rc
logsink_format(const struct logsink *s, const struct ls_log_record *r,
    int64_t now, struct ls_buf *out, struct ls_err *e)
{
	switch (s->type) {
	case LS_LOG_JSON: return format_json(s, r, now, out, e);
	case LS_LOG_PRETTY: return format_pretty(s, r, now, out, e);
	case LS_LOG_TEXT: break;
	}
	return format_text(s, r, now, out, e);
}

/* ---- the sink --------------------------------------------------------------*/

static void
emit(const struct ls_log_record *r, void *arg)
{
	struct logsink *s = arg;
	struct ls_err e;

	ls_buf_clear(&s->line);
	if (logsink_format(s, r, ls_sys->wall_ns(), &s->line, &e) != LS_OK)
		return;
	(void)fwrite(s->line.p, 1, s->line.n, s->f);
	(void)fflush(s->f);
}

void
logsink_set(FILE *f, enum ls_log_type type, const char *level, bool source)
{
	const char *env = getenv("LOG_LEVEL");

	if (env != NULL && env[0] != '\0')
		level = env;
	ls_log_set(NULL, NULL, LS_INFO);
	the_sink.f = f;
	the_sink.type = type;
	the_sink.source = source;
	the_sink.color = isatty(fileno(f)) && getenv("NO_COLOR") == NULL;
	the_sink.line.max = LINE_MAX_BYTES;
	ls_log_set(emit, &the_sink, ls_level_parse(level ? level : ""));
}

void
logsink_config(const struct ls_config *cfg)
{
	logsink_set(cfg->logging.to_stderr ? stderr : stdout, cfg->logging.type,
	    cfg->logging.level, cfg->logging.source);
}
