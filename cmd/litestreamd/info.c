/* info.c -- `info` and `list`: what the running daemon is and has. */
#include "app.h"
#include "base/sys.h"
#include "base/units.h"
#include "client.h"
#include "cmd.h"

#include <string.h>

/* Whole seconds of an RFC 3339 time, its zone kept. */
static void
print_time(const char *t)
{
	size_t n = strcspn(t, ".");
	size_t frac = t[n] ? 1 + strspn(t + n + 1, "0123456789") : 0;

	(void)printf("%.*s%s", (int)n, t, t + n + frac);
}

/* Flags, no word, one GET. CLI_GO or the exit code. */
static int
get(const char *name, const char *intro, const char *const *examples, int argc,
    char **argv, bool *json, json_t **out)
{
	static const char *const args[] = { "", NULL };
	struct client_opts o = { LS_SOCKET_PATH, 10, false };
	const struct cli_flag flags[] = { CLI_JSON(o.json), CLIENT_SOCKET(o),
		CLIENT_TIMEOUT(o, "10") };
	const struct cli_spec spec = { .name = name,
		.intro = intro,
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	char **rest;
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 0)) != CLI_GO)
		return rc;
	if (o.timeout_s <= 0)
		return cli_error(NULL, "timeout must be greater than 0");
	if (client_call(&o, name, NULL, out, &e) != LS_OK)
		return cli_fail(&e);
	*json = o.json;
	return CLI_GO;
}

int
cmd_info(int argc, char **argv)
{
	static const char *const examples[] = { "info", "info -json",
		"info -socket /tmp/litestream.sock", NULL };
	char up[LS_DUR_MAX];
	json_t *a = NULL;
	bool json = false;
	int rc = get("info", "Shows the running daemon.", examples, argc, argv,
	    &json, &a);

	if (rc != CLI_GO)
		return rc;
	if (json)
		return app_json_print(a);
	(void)printf("Litestream %s\n  PID:        %lld\n",
	    client_str(a, "version"), client_int(a, "pid"));
	(void)printf("  Uptime:     %s\n  Started at: ",
	    ls_dur_format(
		client_int(a, "uptime_seconds") * (int64_t)LS_SEC, up));
	print_time(client_str(a, "started_at"));
	(void)printf("\n  Databases:  %lld\n", client_int(a, "database_count"));
	json_decref(a);
	return 0;
}

int
cmd_list(int argc, char **argv)
{
	static const char *const examples[] = { "list", "list -json",
		"list -socket /tmp/litestream.sock", NULL };
	json_t *a = NULL, *dbs, *db;
	bool json = false;
	size_t i;
	int rc = get("list", "Lists the databases of the running daemon.",
	    examples, argc, argv, &json, &a);

	if (rc != CLI_GO)
		return rc;
	if (json)
		return app_json_print(a);
	dbs = json_object_get(a, "databases");
	if (json_array_size(dbs) == 0)
		(void)puts("No databases configured");
	json_array_foreach(dbs, i, db)
	{
		const char *at = client_str(db, "last_sync_at");

		(void)printf("%s [%s] (last sync: ", client_str(db, "path"),
		    client_str(db, "status"));
		print_time(at[0] ? at : "never");
		(void)puts(")");
	}
	json_decref(a);
	return 0;
}
