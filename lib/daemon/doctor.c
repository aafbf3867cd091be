/* doctor.c -- the walk: configuration, each database, each place, the machine.
 * See doctor.h.
 *
 * (1) NO SECRET LEAVES: every text is searched for the secrets that are known
 *     (configuration, environment) and for users in URLs before it is kept.
 *     (test: doctor_texts_hold_no_secret)
 * (2) ONE LINE A FINDING: line breaks in what servers say become blanks.
 */
#include "daemon/doctor_impl.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { FOUND_MAX = 1024, SECRET_MIN = 4 };

const char *
ls_grade_word(enum ls_grade g)
{
	return g == LS_GRADE_OK ? "ok" : g == LS_GRADE_WARN ? "warn" : "fail";
}

/* ---- redaction: (1) --------------------------------------------------------*/

static void
mask(char *s, size_t n)
{
	memset(s, '*', n);
}

static void
mask_word(char *text, const char *secret)
{
	size_t n = secret != NULL ? strlen(secret) : 0;

	if (n < SECRET_MIN)
		return;
	for (char *s = text; (s = strstr(s, secret)) != NULL; s += n)
		mask(s, n);
}

/* "scheme://user:password@host" */
static void
mask_users(char *text)
{
	for (char *s = text; (s = strstr(s, "://")) != NULL;) {
		size_t n, at = 0;

		s += 3;
		n = strcspn(s, "/ \t\"'");
		for (size_t i = 0; i < n; i++)
			if (s[i] == '@')
				at = i;
		mask(s, at);
	}
}

static void
redact(const struct ls_doctor *d, char *text)
{
	static const char *const env[] = { "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "LITESTREAM_SECRET_ACCESS_KEY",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN" };

	for (char *s = text; *s != '\0'; s++)
		if (iscntrl((unsigned char)*s))
			*s = ' ';
	for (size_t i = 0; i < LS_COUNT(env); i++)
		mask_word(text, getenv(env[i]));
	for (size_t i = 0; i < d->cfg.n_dbs; i++) {
		const struct ls_place *p = &d->cfg.dbs[i].place;

		mask_word(text, p->secret_access_key);
		mask_word(text, p->session_token);
		mask_word(text, p->sse_key);
	}
	mask_users(text);
}

/* ---- findings --------------------------------------------------------------*/

static char *
clean(struct ls_doctor *d, const char *text)
{
	char *s = ls_strdup(text);

	if (s == NULL)
		d->nomem = true;
	else
		redact(d, s);
	return s;
}

/* Databases share disks and places. */
static bool
said(const struct ls_doctor *d, const struct ls_finding *f)
{
	for (size_t i = 0; i + 1 < d->n; i++) {
		const struct ls_finding *g = &d->v[i];

		if (g->grade == f->grade && strcmp(g->check, f->check) == 0 &&
		    strcmp(g->subject, f->subject) == 0 &&
		    strcmp(g->found, f->found) == 0)
			return true;
	}
	return false;
}

static void
drop(struct ls_finding *f)
{
	ls_free(f->subject);
	ls_free(f->found);
	ls_free(f->cure);
}

static void
add(struct ls_doctor *d, enum ls_grade g, const char *check,
    const char *subject, const char *found, const char *cure)
{
	struct ls_finding *f;

	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 32;
		struct ls_finding *v = ls_realloc(d->v, cap * sizeof v[0]);

		if (v == NULL) {
			d->nomem = true;
			return;
		}
		d->v = v, d->cap = cap;
	}
	f = &d->v[d->n++];
	*f = (struct ls_finding){ .grade = g, .check = check };
	f->subject = clean(d, subject);
	f->found = clean(d, found);
	if (cure != NULL && cure[0] != '\0')
		f->cure = clean(d, cure);
	if (f->subject == NULL || f->found == NULL || said(d, f)) {
		drop(f); /* out of memory was noted */
		d->n--;
	}
}

void
ls_doctor_say(struct ls_doctor *d, enum ls_grade g, const char *check,
    const char *subject, const char *cure, const char *fmt, ...)
{
	char text[FOUND_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	add(d, g, check, subject, text, cure);
}

void
ls_doctor_err(struct ls_doctor *d, enum ls_grade g, const char *check,
    const char *subject, const char *cure, const struct ls_err *e)
{
	/* Most errors name their thing, and behind it what happened. */
	const char *s = subject[0] ? strstr(e->msg, subject) : NULL;
	size_t n = strlen(subject);

	add(d, g, check, subject,
	    s != NULL && strncmp(s + n, ": ", 2) == 0 ? s + n + 2 : e->msg,
	    e->hint[0] != '\0' ? e->hint : cure);
}

enum ls_grade
ls_doctor_worst(const struct ls_doctor *d)
{
	enum ls_grade g = LS_GRADE_OK;

	for (size_t i = 0; i < d->n; i++)
		g = LS_MAX(g, d->v[i].grade);
	return g;
}

char *
ls_finding_line(const struct ls_finding *f)
{
	size_t n = strlen(f->subject);
	bool named = strncmp(f->found, f->subject, n) == 0;

	return ls_asprintf("%-4s  %-13s  %s%s%s%s%s", ls_grade_word(f->grade),
	    f->check, named ? "" : f->subject, named ? "" : ": ", f->found,
	    f->cure ? "; " : "", f->cure ? f->cure : "");
}

/* ---- configuration ---------------------------------------------------------*/

static bool
holds_secrets(const struct ls_config *cfg)
{
	for (size_t i = 0; i < cfg->n_dbs; i++) {
		const struct ls_place *p = &cfg->dbs[i].place;

		if (p->secret_access_key != NULL ||
		    (p->sse_key != NULL && p->sse_key_path == NULL))
			return true;
	}
	return false;
}

/* Entries of folders become their databases of this moment. */
static void
add_members(struct ls_doctor *d)
{
	struct ls_err e = { 0 };

	if (ls_config_add_members(&d->cfg, &e) != LS_OK)
		ls_doctor_err(d, LS_GRADE_FAIL, "configuration",
		    d->cfg.file ? d->cfg.file : "",
		    "check dir:, and that the daemon's user may read it", &e);
}

static void
describe(struct ls_doctor *d, const char *path)
{
	size_t n = d->cfg.n_dbs;

	if (n == 0 && d->cfg.n_dirs == 0)
		ls_doctor_say(d, LS_GRADE_FAIL, "configuration", path,
		    "list the databases under dbs:", "it has no database");
	else if (n == 0)
		ls_doctor_say(d, LS_GRADE_WARN, "configuration", path,
		    "check dir: and pattern:, unless they are yet to come",
		    "no database is in its folders");
	else
		ls_doctor_say(d, LS_GRADE_OK, "configuration", path, NULL,
		    "%zu database%s", n, n == 1 ? "" : "s");
}

static bool
read_config(struct ls_doctor *d)
{
	const char *path = d->config;
	struct ls_err e = { 0 };
	struct stat st;

	if (path == NULL || path[0] == '\0')
		path = ls_config_default_path();
	if (ls_config_load(path, d->expand_env, &d->cfg, &e) != LS_OK) {
		d->cfg = (struct ls_config){ 0 };
		ls_doctor_err(d, LS_GRADE_FAIL, "configuration", path,
		    e.rc == LS_ENOTFOUND
			? "name the file with -config or LITESTREAM_CONFIG"
		    : e.rc == LS_EDENIED ? "let this user read it"
					 : "correct that line",
		    &e);
		return false;
	}
	for (size_t i = 0; i < d->cfg.n_warnings; i++)
		ls_doctor_say(d, LS_GRADE_WARN, "configuration", path, NULL,
		    "line %d: %s", d->cfg.warnings[i].line,
		    d->cfg.warnings[i].text);
	add_members(d);
	describe(d, path);
	if (holds_secrets(&d->cfg) && ls_sys->stat(path, &st) == 0 &&
	    (st.st_mode & S_IROTH) != 0)
		ls_doctor_say(d, LS_GRADE_WARN, "configuration", path,
		    "chmod 640, owned by root and the daemon's group",
		    "holds secrets, and every user may read it");
	return true;
}

/* ---- the walk --------------------------------------------------------------*/

static bool
same_place(const struct ls_place *a, const struct ls_place *b)
{
	const char *const fields[][2] = { { a->type, b->type },
		{ a->bucket, b->bucket }, { a->endpoint, b->endpoint },
		{ a->region, b->region },
		{ a->access_key_id, b->access_key_id } };

	if (strcmp(a->type, "file") == 0) /* folders are tried one by one */
		return false;
	for (size_t i = 0; i < LS_COUNT(fields); i++) {
		const char *x = fields[i][0] ? fields[i][0] : "";
		const char *y = fields[i][1] ? fields[i][1] : "";

		if (strcmp(x, y) != 0)
			return false;
	}
	return true;
}

/* One bucket is tried once, however many databases go there. */
static bool
tried_before(const struct ls_doctor *d, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (same_place(&d->cfg.dbs[k].place, &d->cfg.dbs[i].place))
			return true;
	return false;
}

static void
check_url(struct ls_doctor *d, struct ls_net *net)
{
	struct ls_place p;
	struct ls_err e = { 0 };

	ls_place_init(&p);
	if (ls_place_from_url(d->what, &p, &e) != LS_OK ||
	    ls_place_settle(&p, &e) != LS_OK)
		ls_doctor_err(d, LS_GRADE_FAIL, "configuration", "replica URL",
		    "file:///folder or s3://bucket/prefix?endpoint=...", &e);
	else
		ls_doctor_place(d, &p, net);
	ls_place_fini(&p);
}

static void
check_all(struct ls_doctor *d, struct ls_net *net)
{
	const struct ls_db_config *only = NULL;

	if (!read_config(d))
		return;
	if (d->what != NULL) {
		only = ls_config_find_db(&d->cfg, d->what);
		if (only == NULL)
			ls_doctor_say(d, LS_GRADE_FAIL, "configuration",
			    d->what, "add it under dbs:, or check its path",
			    "database not found in config");
	}
	for (size_t i = 0; i < d->cfg.n_dbs; i++) {
		const struct ls_db_config *db = &d->cfg.dbs[i];

		if (d->what == NULL || db == only)
			ls_doctor_database(d, db);
	}
	for (size_t i = 0; i < d->cfg.n_dbs; i++) {
		const struct ls_db_config *db = &d->cfg.dbs[i];

		if (d->what == NULL ? !tried_before(d, i) : db == only)
			ls_doctor_place(d, &db->place, net);
	}
	ls_doctor_limits(d);
	ls_doctor_drop_in(d);
}

enum ls_rc
ls_doctor_run(struct ls_doctor *d, struct ls_err *e)
{
	struct ls_net *net = NULL;
	enum ls_rc rc = ls_net_new(&net, e);

	if (rc != LS_OK)
		return rc;
	if (d->what != NULL && ls_is_url(d->what))
		check_url(d, net);
	else
		check_all(d, net);
	ls_net_free(net);
	if (d->nomem)
		return ls_err_nomem(e);
	return ls_call_check(d->call, e);
}

void
ls_doctor_fini(struct ls_doctor *d)
{
	for (size_t i = 0; i < d->n; i++)
		drop(&d->v[i]);
	ls_free(d->v);
	ls_free(d->drop_in);
	ls_config_fini(&d->cfg);
	*d = (struct ls_doctor){ 0 };
}
