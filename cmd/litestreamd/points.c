/* points.c -- `points`: what a replica can be restored to. */
#include "app.h"
#include "base/sys.h"
#include "base/units.h"
#include "cli.h"
#include "cmd.h"
#include "replica/points.h"

#include <stdio.h>

enum { PARALLEL = 8 };

struct texts {
	char txid[LS_TXID_TEXT], time[LS_TIME_MAX];
};

static void
to_texts(const struct ls_point *p, struct texts *t)
{
	(void)ls_txid_text(p->txid, t->txid);
	(void)ls_time_nano(p->time_ns, t->time);
}

static int
print_json(const struct ls_points *p)
{
	json_t *list = json_array();
	struct texts t;

	for (size_t i = 0; list != NULL && i < p->n; i++) {
		to_texts(&p->v[i], &t);
		if (json_array_append_new(list,
			json_pack("{s:s,s:s,s:i}", "txid", t.txid, "time",
			    t.time, "min_level", p->v[i].min_level)) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return app_json_print(list);
}

static int
print_table(const struct ls_points *p)
{
	struct app_table table;
	struct texts t;
	char level[8], size[24];

	app_table_init(&table, 4, "txid", "time", "level", "size");
	for (size_t i = 0; i < p->n; i++) {
		to_texts(&p->v[i], &t);
		(void)snprintf(level, sizeof level, "%d", p->v[i].min_level);
		(void)snprintf(size, sizeof size, "%llu",
		    (unsigned long long)p->v[i].size);
		app_table_row(&table, t.txid, t.time, level, size);
	}
	return app_table_print(&table);
}

struct opts {
	const char *config, *since, *until;
	bool no_expand, json;
};

static int
run(const char *arg, const struct opts *o)
{
	struct app_source s;
	struct ls_points_opts po = { .par = &ls_par_threads,
		.parallelism = PARALLEL };
	struct ls_points points = { 0 };
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call call = { .cancel = &cancel };
	struct ls_err e = { 0 };
	enum ls_rc rc;
	int code;

	if ((o->since[0] != '\0' &&
		ls_time_parse(o->since, &po.since_ns, &e) != LS_OK) ||
	    (o->until[0] != '\0' &&
		ls_time_parse(o->until, &po.until_ns, &e) != LS_OK) ||
	    app_source_open(&s, arg, o->config, o->no_expand, &e) != LS_OK)
		return cli_fail(&e);
	if ((rc = app_cancel_on_signal(&cancel, &e)) == LS_OK)
		rc = ls_replica_points(s.replica, &po, &points, &call, &e);
	if (rc != LS_OK)
		code = cli_fail(&e);
	else
		code = o->json ? print_json(&points) : print_table(&points);
	ls_points_fini(&points);
	app_source_close(&s);
	ls_cancel_fini(&cancel);
	return code;
}

int
cmd_points(int argc, char **argv)
{
	static const char *const args[] = { "DB_PATH", "REPLICA_URL", NULL };
	static const char *const examples[] = { "points /path/to/db",
		"points -since 2026-01-02T00:00:00Z s3://bucket/db", NULL };
	struct opts o = { .config = "", .since = "", .until = "" };
	const struct cli_flag flags[] = { CLI_CONFIG(o.config),
		CLI_NO_EXPAND(o.no_expand),
		{ "since", CLI_STR, &o.since, "TIMESTAMP",
		    "Only points at or after this time (RFC 3339).", NULL },
		{ "until", CLI_STR, &o.until, "TIMESTAMP",
		    "Only points at or before this time (RFC 3339).", NULL },
		CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "points",
		.intro = "Lists the points that a replica can be restored to.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	char **rest, hint[128];
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (n == 0 || rest[0][0] == '\0') {
		(void)snprintf(
		    hint, sizeof hint, "%s points /path/to/db", cli_prog);
		return cli_error(hint, "database path or replica URL required");
	}
	return run(rest[0], &o);
}
