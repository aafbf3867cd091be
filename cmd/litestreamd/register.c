/* register.c -- `register` and `unregister`: databases of the running daemon
 * that are not in its configuration file. */
#include "app.h"
#include "base/sys.h"
#include "client.h"
#include "cmd.h"

#include <string.h>

static const char *const db_args[] = { "DB_PATH", NULL };

static int
print_registered(const struct client_opts *o, const json_t *a, const char *url)
{
	const char *status = client_str(a, "status");
	const char *path = client_str(a, "path");

	if (o->json)
		return app_json_print(json_pack("{s:s,s:o,s:o,s:o}", "status",
		    status, "db_path", app_json_text(path), "replica",
		    app_json_text(url), "socket", app_json_text(o->socket)));
	(void)printf("status: %s\ndb_path: %s\nreplica: %s\nsocket: %s\n",
	    strcmp(status, "already_registered") == 0 ? "already registered"
						      : status,
	    path, url, o->socket);
	return 0;
}

int
cmd_register(int argc, char **argv)
{
	static const char *const examples[] = {
		"register -replica s3://bucket/prefix /path/to/db",
		"register -replica file:///backup/path /path/to/db", NULL
	};
	struct client_opts o = { LS_SOCKET_PATH, 30, false };
	const char *url = "";
	const struct cli_flag flags[] = { { "replica", CLI_STR, &url, "URL",
					      "Where to replicate to. "
					      "Required.",
					      NULL },
		CLIENT_TIMEOUT(o, "30"), CLIENT_SOCKET(o), CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "register",
		.intro = "Adds a database to the running daemon, until it "
			 "ends.",
		.args = db_args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	json_t *a = NULL;
	char *path = NULL, hint[128];
	int rc = client_begin(&spec, argc, argv, &o, true, examples[0], &path);

	if (rc != CLI_GO)
		return rc;
	(void)snprintf(hint, sizeof hint, "%s %s", cli_prog, examples[0]);
	if (url[0] == '\0')
		rc = cli_error(hint, "-replica is required");
	else if (client_call(&o, "register",
		     json_pack("{s:o,s:o}", "path", app_json_text(path),
			 "replica_url", app_json_text(url)),
		     &a, &e) == LS_OK)
		rc = print_registered(&o, a, url);
	else
		rc = cli_fail(&e);
	json_decref(a);
	ls_free(path);
	return rc;
}

static int
preview(const struct client_opts *o, const char *path)
{
	(void)printf("Dry run: unregister request preview\n"
		     "  database: %s\n  socket: %s\n"
		     "  replicas: daemon-managed replica for this database\n"
		     "  final sync: daemon close will sync the database and "
		     "replica before the command completes\n"
		     "  timeout: %ds\nNo unregister request was sent.\n",
	    path, o->socket, o->timeout_s);
	return 0;
}

static int
print_unregistered(const struct client_opts *o, const json_t *a)
{
	const char *status = client_str(a, "status");
	const char *path = client_str(a, "path");
	long long txid = client_int(a, "txid");

	if (o->json)
		return app_json_print(json_pack("{s:s,s:o,s:I,s:o}", "status",
		    status, "db_path", app_json_text(path), "final_txid",
		    (json_int_t)txid, "socket", app_json_text(o->socket)));
	(void)printf("status: %s\ndb_path: %s\nfinal_txid: %lld\nsocket: %s\n",
	    status, path, txid, o->socket);
	return 0;
}

int
cmd_unregister(int argc, char **argv)
{
	static const char *const examples[] = { "unregister /path/to/db",
		"unregister -dry-run /path/to/db", NULL };
	struct client_opts o = { LS_SOCKET_PATH, 30, false };
	bool dry_run = false;
	const struct cli_flag flags[] = { CLIENT_TIMEOUT(o, "30"),
		CLIENT_SOCKET(o),
		{ "dry-run", CLI_BOOL, &dry_run, NULL,
		    "Print what would be asked for, and ask nothing.", NULL },
		CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "unregister",
		.intro = "Removes a database from the running daemon, after a "
			 "last sync.\nThe replica stays.",
		.args = db_args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	json_t *a = NULL;
	char *path = NULL;
	int rc = client_begin(&spec, argc, argv, &o, true, examples[0], &path);

	if (rc != CLI_GO)
		return rc;
	if (dry_run)
		rc = preview(&o, argv[argc - 1]);
	else if (client_call(&o, "unregister",
		     json_pack("{s:o,s:i}", "path", app_json_text(path),
			 "timeout", o.timeout_s),
		     &a, &e) == LS_OK)
		rc = print_unregistered(&o, a);
	else
		rc = cli_fail(&e);
	json_decref(a);
	ls_free(path);
	return rc;
}
