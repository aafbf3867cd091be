/* ltx.c -- `ltx`: the files of a replica. */
#include "app.h"
#include "base/sys.h"
#include "base/units.h"
#include "cli.h"
#include "cmd.h"
#include "logsink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL_LEVELS = -1, LEVEL_MAX = 9 };

static const char *
parse_level(const char *text, void *dst)
{
	int *level = dst;
	char *end;
	long v;

	if (strcmp(text, "all") == 0) {
		*level = ALL_LEVELS;
		return NULL;
	}
	v = strtol(text, &end, 10);
	if (end == text || *end != '\0' || text[0] == ' ')
		return "invalid level: must be 0-9 or \"all\"";
	if (v < 0 || v > LEVEL_MAX)
		return "level must be between 0 and 9";
	*level = (int)v;
	return NULL;
}

struct texts {
	char level[8], min[20], max[20], size[24], time[LS_TIME_MAX];
};

static void
to_texts(const struct ls_file *f, struct texts *t)
{
	(void)snprintf(t->level, sizeof t->level, "%d", f->level);
	(void)snprintf(
	    t->min, sizeof t->min, "%016llx", (unsigned long long)f->min_txid);
	(void)snprintf(
	    t->max, sizeof t->max, "%016llx", (unsigned long long)f->max_txid);
	(void)snprintf(
	    t->size, sizeof t->size, "%llu", (unsigned long long)f->size);
	(void)ls_time_sec(f->created_ns, t->time);
}

static int
print_json(const struct ls_files *files)
{
	json_t *list = json_array();
	struct texts t;

	for (size_t i = 0; list != NULL && i < files->n; i++) {
		const struct ls_file *f = &files->v[i];

		to_texts(f, &t);
		if (json_array_append_new(list,
			json_pack("{s:i,s:s,s:s,s:I,s:s}", "level", f->level,
			    "min_txid", t.min, "max_txid", t.max, "size",
			    (json_int_t)f->size, "timestamp", t.time)) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return app_json_print(list);
}

static int
print_table(const struct ls_files *files)
{
	struct app_table table;
	struct texts t;

	app_table_init(
	    &table, 5, "level", "min_txid", "max_txid", "size", "created");
	for (size_t i = 0; i < files->n; i++) {
		to_texts(&files->v[i], &t);
		app_table_row(&table, t.level, t.min, t.max, t.size, t.time);
	}
	return app_table_print(&table);
}

static int
run(const char *arg, const char *config, bool no_expand, int level, bool json)
{
	struct app_source s;
	struct ls_files files = { 0 };
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call call = { .cancel = &cancel };
	struct ls_err e = { 0 };
	enum ls_rc rc = app_source_open(&s, arg, config, no_expand, &e);
	int code = 1;

	if (rc != LS_OK)
		return cli_fail(&e);
	if ((rc = app_cancel_on_signal(&cancel, &e)) == LS_OK)
		rc = level == ALL_LEVELS
			 ? ls_replica_list_all(
			       s.replica, &ls_par_threads, &files, &call, &e)
			 : ls_replica_list(
			       s.replica, level, 0, &files, &call, &e);
	if (rc != LS_OK)
		code = cli_fail(&e);
	else
		code = json ? print_json(&files) : print_table(&files);
	ls_files_fini(&files);
	app_source_close(&s);
	ls_cancel_fini(&cancel);
	return code;
}

int
cmd_ltx(int argc, char **argv)
{
	static const char *const args[] = { "DB_PATH", "REPLICA_URL", NULL };
	static const char *const examples[] = { "ltx /path/to/db",
		"ltx s3://bucket/db", "ltx -level 9 /path/to/db",
		"ltx -level all /path/to/db", NULL };
	const char *config = "";
	bool no_expand = false, json = false;
	int level = 0, n, rc;
	const struct cli_flag flags[] = { CLI_CONFIG(config),
		CLI_NO_EXPAND(no_expand),
		{ "level", CLI_FN, &level, "LEVEL",
		    "The level to list, 0 to 9, or all; default 0.",
		    parse_level },
		CLI_JSON(json) };
	const struct cli_spec spec = { .name = "ltx",
		.intro = "Lists the LTX files that a replica holds.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	char **rest, hint[128];

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (n == 0 || rest[0][0] == '\0') {
		(void)snprintf(
		    hint, sizeof hint, "%s ltx /path/to/db", cli_prog);
		return cli_error(hint, "database path or replica URL required");
	}
	return run(rest[0], config, no_expand, level, json);
}

int
cmd_wal(int argc, char **argv)
{
	(void)fputs("Warning: 'wal' command is deprecated, please use 'ltx' "
		    "instead\n",
	    stderr);
	return cmd_ltx(argc, argv);
}
