/* startstop.c -- `start` and `stop` of one database of the running daemon. */
#include "app.h"
#include "base/sys.h"
#include "client.h"
#include "cmd.h"

static int
print(const struct client_opts *o, const json_t *a, const char *path,
    const char *state)
{
	if (o->json)
		return app_json_print(json_pack("{s:s,s:o,s:s,s:I,s:o}",
		    "status", client_str(a, "status"), "db_path",
		    app_json_text(path), "state", state, "txid",
		    (json_int_t)client_int(a, "txid"), "socket",
		    app_json_text(o->socket)));
	(void)printf("status: %s\ndb_path: %s\nstate: %s\ntxid: %lld\n"
		     "socket: %s\n",
	    client_str(a, "status"), path, state, client_int(a, "txid"),
	    o->socket);
	return 0;
}

static int
run(const char *name, const char *intro, const char *state, int argc,
    char **argv)
{
	static const char *const args[] = { "DB_PATH", NULL };
	struct client_opts o = { LS_SOCKET_PATH, 30, false };
	const struct cli_flag flags[] = { CLIENT_TIMEOUT(o, "30"),
		CLIENT_SOCKET(o), CLI_JSON(o.json) };
	char example[32];
	const char *const examples[] = { example, NULL };
	const struct cli_spec spec = { .name = name,
		.intro = intro,
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	json_t *a = NULL;
	char *path = NULL;
	int rc;

	(void)snprintf(example, sizeof example, "%s /path/to/db", name);
	rc = client_begin(&spec, argc, argv, &o, false, example, &path);
	if (rc != CLI_GO)
		return rc;
	if (client_call(&o, name,
		json_pack("{s:o,s:i}", "path", app_json_text(path), "timeout",
		    o.timeout_s),
		&a, &e) == LS_OK)
		rc = print(&o, a, path, state);
	else
		rc = cli_fail(&e);
	json_decref(a);
	ls_free(path);
	return rc;
}

int
cmd_start(int argc, char **argv)
{
	return run("start",
	    "Starts replicating a database in the running daemon.", "running",
	    argc, argv);
}

int
cmd_stop(int argc, char **argv)
{
	return run("stop",
	    "Stops replicating a database in the running daemon, after a last "
	    "sync.",
	    "stopped", argc, argv);
}
