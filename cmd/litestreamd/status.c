/* status.c -- `status`: local state only; nothing is asked of the store. */
#include "app.h"
#include "base/sys.h"
#include "base/units.h"
#include "capture/capture.h"
#include "cli.h"
#include "cmd.h"

#include <stdio.h>
#include <string.h>

struct row {
	const char *status;
	char txid[24], wal[LS_DUR_MAX];
};

static void
look(const struct ls_db_config *db, struct row *r)
{
	struct ls_capture_status st;
	struct ls_err e = { 0 };

	(void)snprintf(r->txid, sizeof r->txid, "-");
	(void)snprintf(r->wal, sizeof r->wal, "-");
	if (ls_capture_status(db->path, db->meta_path, &st, &e) != LS_OK) {
		r->status = "error";
		ls_warn("cannot read local state",
		    LS_ATTRS(LS_S("db", db->path), LS_E(&e)));
		return;
	}
	if (!st.db_exists) {
		r->status = "no database";
		return;
	}
	(void)ls_size_format(
	    st.wal_bytes > 0 ? (uint64_t)st.wal_bytes : 0, r->wal);
	r->status = st.txid ? "ok" : "not initialized";
	if (st.txid != 0)
		(void)snprintf(r->txid, sizeof r->txid, "%016llx",
		    (unsigned long long)st.txid);
}

static int
print_json(const struct ls_config *cfg, const char *only)
{
	json_t *list = json_array();
	struct row r;

	for (size_t i = 0; list != NULL && i < cfg->n_dbs; i++) {
		if (only != NULL && strcmp(only, cfg->dbs[i].path) != 0)
			continue;
		look(&cfg->dbs[i], &r);
		if (json_array_append_new(list,
			json_pack("{s:o,s:s,s:s,s:s}", "database",
			    app_json_text(cfg->dbs[i].path), "status", r.status,
			    "local_txid", r.txid, "wal_size", r.wal)) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return app_json_print(list);
}

static int
print_table(const struct ls_config *cfg, const char *only)
{
	struct app_table t;
	struct row r;

	app_table_init(&t, 4, "database", "status", "local txid", "wal size");
	for (size_t i = 0; i < cfg->n_dbs; i++) {
		if (only != NULL && strcmp(only, cfg->dbs[i].path) != 0)
			continue;
		look(&cfg->dbs[i], &r);
		app_table_row(&t, cfg->dbs[i].path, r.status, r.txid, r.wal);
	}
	return app_table_print(&t);
}

int
cmd_status(int argc, char **argv)
{
	static const char *const args[] = { "[DB_PATH]", NULL };
	static const char *const examples[] = { "status", "status /path/to/db",
		"status -json", NULL };
	const char *config = "", *only;
	bool no_expand = false, json = false;
	const struct cli_flag flags[] = { CLI_CONFIG(config), CLI_JSON(json),
		CLI_NO_EXPAND(no_expand) };
	const struct cli_spec spec = { .name = "status",
		.intro = "Shows the local state of the configured databases.",
		.args = args,
		CLI_FLAGS(flags),
		.outro =
		    "Columns: database; status (ok, not initialized, no "
		    "database, error); local txid,\nthe newest captured "
		    "transaction; wal size. What the replica has is told by\n"
		    "the running daemon: see list and sync.",
		.examples = examples };
	struct ls_config cfg;
	struct ls_err e = { 0 };
	char **rest, *abs = NULL;
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (app_config(config, no_expand, &cfg, &e) != LS_OK)
		return cli_fail(&e);
	if (ls_config_add_members(&cfg, &e) != LS_OK) {
		ls_config_fini(&cfg);
		return cli_fail(&e);
	}
	only = n > 0 ? abs = ls_config_expand_path(rest[0]) : NULL;
	if (n > 0 && abs == NULL)
		rc = cli_error(NULL, "out of memory");
	else
		rc = json ? print_json(&cfg, only) : print_table(&cfg, only);
	ls_free(abs);
	ls_config_fini(&cfg);
	return rc;
}
