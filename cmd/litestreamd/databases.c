/* databases.c -- `databases`: what the configuration lists. */
#include "app.h"
#include "cli.h"
#include "cmd.h"

static json_t *
as_json(const struct ls_config *cfg)
{
	json_t *list = json_array();

	for (size_t i = 0; list != NULL && i < cfg->n_dbs; i++) {
		json_t *o = json_pack("{s:o,s:s}", "path",
		    app_json_text(cfg->dbs[i].path), "replica",
		    cfg->dbs[i].place.type);

		if (json_array_append_new(list, o) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

int
cmd_databases(int argc, char **argv)
{
	static const char *const args[] = { "", NULL };
	static const char *const examples[] = { "databases",
		"databases -config /path/to/litestream.yml", NULL };
	const char *config = "";
	bool no_expand = false, json = false;
	const struct cli_flag flags[] = { CLI_CONFIG(config), CLI_JSON(json),
		CLI_NO_EXPAND(no_expand) };
	const struct cli_spec spec = { .name = "databases",
		.intro = "Lists the databases of the configuration file.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_config cfg;
	struct app_table t;
	struct ls_err e = { 0 };
	char **rest;
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 0)) != CLI_GO)
		return rc;
	if (app_config(config, no_expand, &cfg, &e) != LS_OK)
		return cli_fail(&e);
	if (ls_config_add_members(&cfg, &e) != LS_OK) {
		ls_config_fini(&cfg);
		return cli_fail(&e);
	}
	if (json) {
		rc = app_json_print(as_json(&cfg));
	} else {
		app_table_init(&t, 2, "path", "replica");
		for (size_t i = 0; i < cfg.n_dbs; i++)
			app_table_row(
			    &t, cfg.dbs[i].path, cfg.dbs[i].place.type);
		rc = app_table_print(&t);
	}
	ls_config_fini(&cfg);
	return rc;
}
