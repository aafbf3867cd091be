/* app.c -- what the commands share. See app.h. */
#include "app.h"

#include "base/sys.h"
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

enum ls_rc
app_config(
    const char *path, bool no_expand, struct ls_config *cfg, struct ls_err *e)
{
	enum ls_rc rc;

	if (path == NULL || path[0] == '\0')
		path = ls_config_default_path();
	rc = ls_config_load(path, !no_expand, cfg, e);
	if (rc == LS_OK)
		ls_config_log_warnings(cfg);
	return rc;
}

/* ---- sources ---------------------------------------------------------------*/

static enum ls_rc
from_url(
    struct app_source *s, const char *url, const char *config, struct ls_err *e)
{
	enum ls_rc rc;

	if (config != NULL && config[0] != '\0')
		return ls_err_set(e, LS_EUSAGE,
		    "cannot specify a replica URL and the -config flag");
	s->is_url = true;
	s->place = &s->own;
	if ((rc = ls_place_from_url(url, &s->own, e)) != LS_OK)
		return rc;
	return ls_place_settle(&s->own, e);
}

static enum ls_rc
from_config(struct app_source *s, const char *path, const char *config,
    bool no_expand, struct ls_err *e)
{
	enum ls_rc rc = app_config(config, no_expand, &s->cfg, e);
	char *abs;

	if (rc != LS_OK)
		return rc;
	s->db = ls_config_resolve(&s->cfg, path);
	if (s->db != NULL) {
		s->place = &s->db->place;
		return LS_OK;
	}
	abs = ls_config_expand_path(path);
	rc = ls_err_set(e, LS_ENOTFOUND, "database not found in config: %s",
	    abs ? abs : path);
	ls_free(abs);
	return rc;
}

enum ls_rc
app_source_open(struct app_source *s, const char *arg, const char *config,
    bool no_expand, struct ls_err *e)
{
	enum ls_rc rc;

	*s = (struct app_source){ 0 };
	ls_place_init(&s->own);
	rc = ls_is_url(arg) ? from_url(s, arg, config, e)
			    : from_config(s, arg, config, no_expand, e);
	if (rc != LS_OK || (rc = ls_net_new(&s->net, e)) != LS_OK ||
	    (rc = ls_store_open(s->place, s->net, &s->store, e)) != LS_OK ||
	    (rc = ls_replica_new(s->store, &s->replica, e)) != LS_OK)
		app_source_close(s);
	return rc;
}

void
app_source_close(struct app_source *s)
{
	ls_replica_free(s->replica);
	ls_store_free(s->store);
	ls_net_free(s->net);
	ls_place_fini(&s->own);
	ls_config_fini(&s->cfg);
	*s = (struct app_source){ 0 };
}

/* ---- tables ----------------------------------------------------------------*/

static void
add_row(struct app_table *t, va_list ap)
{
	if (t->n == t->cap && !t->failed) {
		size_t cap = t->cap ? t->cap * 2 : 16;
		char **v = ls_realloc(t->cells, cap * t->cols * sizeof v[0]);

		t->failed = v == NULL;
		if (!t->failed)
			t->cells = v, t->cap = cap;
	}
	if (t->failed)
		return;
	for (size_t i = 0; i < t->cols; i++) {
		char *s = ls_strdup(va_arg(ap, const char *));

		t->failed = t->failed || s == NULL;
		t->cells[t->n * t->cols + i] = s;
	}
	t->n++;
}

void
app_table_init(struct app_table *t, size_t cols, ...)
{
	va_list ap;

	*t = (struct app_table){ .cols = cols };
	va_start(ap, cols);
	add_row(t, ap);
	va_end(ap);
}

void
app_table_row(struct app_table *t, ...)
{
	va_list ap;

	va_start(ap, t);
	add_row(t, ap);
	va_end(ap);
}

static int
columns(const char *s) /* characters, not bytes */
{
	int n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

int
app_table_print(struct app_table *t)
{
	int width;

	for (size_t r = 0; !t->failed && r < t->n; r++) {
		for (size_t c = 0; c + 1 < t->cols; c++) {
			const char *s = t->cells[r * t->cols + c];

			width = 0;
			for (size_t i = 0; i < t->n; i++) {
				int w = columns(t->cells[i * t->cols + c]);

				width = w > width ? w : width;
			}
			(void)printf("%s%*s", s, width + 2 - columns(s), "");
		}
		(void)printf("%s\n", t->cells[r * t->cols + t->cols - 1]);
	}
	for (size_t i = 0; i < t->n * t->cols; i++)
		ls_free(t->cells[i]);
	ls_free(t->cells);
	return t->failed ? cli_error(NULL, "out of memory") : 0;
}

/* ---- JSON ------------------------------------------------------------------*/

json_t *
app_json_text(const char *s)
{
	json_t *v = json_string(s);
	char *copy;

	if (v != NULL || (copy = ls_strdup(s)) == NULL)
		return v;
	for (char *p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	v = json_string(copy);
	ls_free(copy);
	return v;
}

int
app_json_print(json_t *v)
{
	int bad =
	    v == NULL ||
	    json_dumpf(v, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0 ||
	    putchar('\n') == EOF;

	json_decref(v);
	return bad ? cli_error(NULL, "cannot write JSON") : 0;
}

/* ---- signals ---------------------------------------------------------------*/

static struct ls_cancel *on_signal;

static void
cancel(int sig)
{
	(void)sig;
	ls_cancel_set(on_signal);
}

enum ls_rc
app_cancel_on_signal(struct ls_cancel *c, struct ls_err *e)
{
	struct sigaction sa = { .sa_handler = cancel,
		.sa_flags = (int)SA_RESETHAND };
	enum ls_rc rc = ls_cancel_init(c, e);

	if (rc != LS_OK)
		return rc;
	on_signal = c;
	(void)sigemptyset(&sa.sa_mask);
	if (sigaction(SIGINT, &sa, NULL) != 0 ||
	    sigaction(SIGTERM, &sa, NULL) != 0)
		return ls_err_sys(e, errno, "sigaction");
	return LS_OK;
}
