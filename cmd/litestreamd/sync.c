/* sync.c -- `sync`: replicate one database of the running daemon now. */
#include "app.h"
#include "base/sys.h"
#include "client.h"
#include "cmd.h"

static int
print(const struct client_opts *o, const json_t *a, const char *path,
    bool waited, uint64_t ns)
{
	long long txid = client_int(a, "txid");
	long long remote = client_int(a, "replicated_txid");
	long long ms = (long long)(ns / LS_MS);
	json_t *v;

	if (!o->json) {
		(void)printf("db_path: %s\ntxid: %lld\n", path, txid);
		if (waited)
			(void)printf("replica_txid: %lld\n", remote);
		(void)printf("duration_ms: %lld\n", ms);
		return 0;
	}
	v = json_pack("{s:o,s:I}", "db_path", app_json_text(path), "txid",
	    (json_int_t)txid);
	if (waited && v != NULL)
		(void)json_object_set_new(
		    v, "replica_txid", json_integer(remote));
	if (v != NULL)
		(void)json_object_set_new(v, "duration_ms", json_integer(ms));
	return app_json_print(v);
}

int
cmd_sync(int argc, char **argv)
{
	static const char *const args[] = { "DB_PATH", NULL };
	static const char *const examples[] = { "sync /path/to/db",
		"sync -wait -timeout 120 /path/to/db", NULL };
	struct client_opts o = { LS_SOCKET_PATH, 30, false };
	bool wait = false;
	const struct cli_flag flags[] = { { "wait", CLI_BOOL, &wait, NULL,
					      "Return when the replica has it.",
					      NULL },
		CLIENT_TIMEOUT(o, "30"), CLIENT_SOCKET(o), CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "sync",
		.intro = "Replicates a database of the running daemon now.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	json_t *a = NULL;
	char *path = NULL;
	uint64_t t0;
	int rc = client_begin(
	    &spec, argc, argv, &o, true, "sync /path/to/db", &path);

	if (rc != CLI_GO)
		return rc;
	t0 = ls_sys->mono_ns();
	if (client_call(&o, "sync",
		json_pack("{s:o,s:b,s:i}", "path", app_json_text(path), "wait",
		    (int)wait, "timeout", o.timeout_s),
		&a, &e) == LS_OK)
		rc = print(&o, a, path, wait, ls_sys->mono_ns() - t0);
	else
		rc = cli_fail(&e);
	json_decref(a);
	ls_free(path);
	return rc;
}
