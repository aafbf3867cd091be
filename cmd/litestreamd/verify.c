/* verify.c -- `verify`: is what is stored whole, and with -deep, is it the
 * database?
 *
 * The comparison needs the replica's newest state to be the database's: a
 * running daemon is asked to replicate first, and when the database was written
 * meanwhile it is done again, a few times. Still moving: `equal` is null.
 * Nothing is written to the store; the restored copy goes to $TMPDIR. */
#include "replica/verify.h"
#include "app.h"
#include "base/file.h"
#include "base/sys.h"
#include "cli.h"
#include "client.h"
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARALLEL = 8, TRIES = 3, SYNC_SEC = 30 };

struct deep {
	bool done;
	char integrity[512]; /* "ok", or SQLite's first complaint */
	int equal;	     /* -1 not compared */
	uint32_t pgno;	     /* the first page that differs */
	uint64_t txid;
};

/* ---- output ----------------------------------------------------------------*/

static json_t *
gaps_json(const struct ls_verified *v)
{
	json_t *list = json_array();
	char min[LS_TXID_TEXT], max[LS_TXID_TEXT];

	for (size_t i = 0; list != NULL && i < v->n_gaps; i++) {
		const struct ls_gap *g = &v->gaps[i];

		(void)json_array_append_new(
		    list, json_pack("{s:i,s:s,s:s}", "level", g->level, "min",
			      ls_txid_text(g->min, min), "max",
			      ls_txid_text(g->max, max)));
	}
	return list;
}

static int
print_json(const struct ls_verified *v, const struct deep *d, bool ok)
{
	char txid[LS_TXID_TEXT];
	json_t *doc = json_pack("{s:b,s:o,s:I,s:s}", "ok", (int)ok, "gaps",
	    gaps_json(v), "checked_files", (json_int_t)v->checked_files,
	    "checked_txid", ls_txid_text(v->checked_txid, txid));

	if (doc != NULL && v->problem.rc != LS_OK)
		(void)json_object_set_new(
		    doc, "error", app_json_text(v->problem.msg));
	if (doc != NULL && d->done)
		(void)json_object_set_new(doc, "deep",
		    json_pack("{s:o,s:o}", "integrity",
			app_json_text(d->integrity), "equal",
			d->equal < 0 ? json_null() : json_boolean(d->equal)));
	return app_json_print(doc);
}

static void
print_text(const struct ls_verified *v, const struct deep *d, bool ok)
{
	char a[LS_TXID_TEXT], b[LS_TXID_TEXT];

	for (size_t i = 0; i < v->n_gaps; i++)
		(void)printf("gap: level %d lacks %s to %s\n", v->gaps[i].level,
		    ls_txid_text(v->gaps[i].min, a),
		    ls_txid_text(v->gaps[i].max, b));
	if (v->problem.rc != LS_OK)
		(void)printf("error: %s\n", v->problem.msg);
	(void)printf("checked: %zu files, to TXID %s\n", v->checked_files,
	    ls_txid_text(v->checked_txid, a));
	if (d->done)
		(void)printf("integrity: %s\n", d->integrity);
	if (d->done && d->equal == 1)
		(void)printf("equal to the database: yes\n");
	else if (d->done && d->equal == 0)
		(void)printf("equal to the database: no, page %u\n", d->pgno);
	else if (d->done)
		(void)printf("equal to the database: not compared\n");
	(void)printf("%s\n", ok ? "ok" : "not ok");
}

/* ---- deep ------------------------------------------------------------------*/

/* Ask a running daemon; none is fine. */
static void
ask_sync(const struct app_source *s)
{
	struct client_opts o = { s->cfg.socket.path, SYNC_SEC, true };
	json_t *answer = NULL;

	if (s->cfg.socket.path == NULL || !ls_exists(s->cfg.socket.path))
		return;
	if (client_call(&o, "sync",
		json_pack("{s:o,s:b,s:i}", "path", app_json_text(s->db->path),
		    "wait", 1, "timeout", SYNC_SEC),
		&answer, NULL) == LS_OK)
		json_decref(answer);
}

/* Restore the newest state to path and let SQLite check it. */
static enum ls_rc
restore(struct app_source *s, const char *path, struct deep *d,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_plan plan = { 0 };
	struct ls_restored out;
	const struct ls_restore_opts o = {
		.output = path, .parallelism = PARALLEL, .par = &ls_par_threads
	};
	struct ls_err bad = { 0 };
	enum ls_rc rc;

	(void)ls_sys->unlink(path);
	rc = ls_replica_list_all(s->replica, &ls_par_threads, &all, c, e);
	if (rc == LS_OK &&
	    (rc = ls_plan_make(s->replica, &all, NULL, &plan, c, e)) == LS_OK)
		rc = ls_restore(s->replica, &plan, &o, &out, c, e);
	ls_files_fini(&all);
	ls_plan_fini(&plan);
	if (rc != LS_OK)
		return rc;
	d->txid = out.txid;
	(void)snprintf(d->integrity, sizeof d->integrity, "ok");
	if (ls_check_database(path, 2, &bad) != LS_OK)
		(void)snprintf(
		    d->integrity, sizeof d->integrity, "%s", bad.msg);
	return LS_OK;
}

/* Was something stored since the state that was restored? */
static bool
moved_on(struct app_source *s, uint64_t txid, const struct ls_call *c)
{
	uint64_t now = txid;

	ask_sync(s);
	return ls_replica_newest(
		   s->replica, &ls_par_threads, &now, NULL, c, NULL) == LS_OK &&
	       now != txid;
}

static enum ls_rc
compare(struct app_source *s, const char *path, struct deep *d,
    const struct ls_call *c, struct ls_err *e)
{
	bool equal = false;
	enum ls_rc rc;

	for (int i = 0;; i++) {
		rc = ls_compare_live(path, s->db->path, &equal, &d->pgno, e);
		if (rc != LS_OK)
			return rc;
		if (equal || !moved_on(s, d->txid, c)) {
			d->equal = equal;
			return LS_OK;
		}
		if (i + 1 == TRIES)
			return LS_OK; /* it does not hold still */
		if ((rc = restore(s, path, d, c, e)) != LS_OK)
			return rc;
	}
}

static enum ls_rc
look_deep(struct app_source *s, struct deep *d, const struct ls_call *c,
    struct ls_err *e)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = ls_asprintf("%s/litestreamd-verify-%d-%llx",
	    tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", (int)getpid(),
	    (unsigned long long)ls_sys->mono_ns());
	char *path = NULL;
	enum ls_rc rc = LS_OK, gone;

	if (dir == NULL)
		return ls_err_nomem(e);
	if (ls_sys->mkdir(dir, 0700) != 0) {
		rc = ls_err_sys(e, errno, "make %s", dir);
		ls_free(dir);
		return rc;
	}
	if ((path = ls_asprintf("%s/db", dir)) == NULL)
		rc = ls_err_nomem(e);
	else if ((rc = restore(s, path, d, c, e)) == LS_OK) {
		d->done = true;
		if (s->db != NULL && ls_exists(s->db->path))
			rc = compare(s, path, d, c, e);
	}
	gone = ls_remove_tree(dir, rc == LS_OK ? e : NULL);
	if (rc == LS_OK)
		rc = gone;
	ls_free(path);
	ls_free(dir);
	return rc;
}

/* ---- the command -----------------------------------------------------------*/

struct opts {
	const char *config;
	bool no_expand, json, deep;
};

/* A restore that the replica is to blame for belongs to the answer. */
static bool
is_verdict(enum ls_rc rc)
{
	return rc == LS_ECORRUPT || rc == LS_ESHORT || rc == LS_EGAP ||
	       rc == LS_ENOTFOUND;
}

static int
verify(struct app_source *s, const struct opts *o, const struct ls_call *c)
{
	struct ls_verified v = { .ok = false };
	struct deep d = { .equal = -1 };
	struct ls_err e = { 0 };
	enum ls_rc rc;
	bool ok;
	int code = 0;

	if (o->deep && s->db != NULL)
		ask_sync(s);
	rc = ls_verify(s->replica, &ls_par_threads, PARALLEL, &v, c, &e);
	if (rc == LS_OK && o->deep && v.checked_txid != 0) {
		rc = look_deep(s, &d, c, &e);
		if (is_verdict(rc) && v.problem.rc == LS_OK)
			v.problem = e;
		if (is_verdict(rc))
			rc = LS_OK;
	}
	if (rc != LS_OK) {
		ls_verified_fini(&v);
		return cli_fail(&e);
	}
	ok = v.ok && v.problem.rc == LS_OK && d.equal != 0 &&
	     (!d.done || strcmp(d.integrity, "ok") == 0);
	if (o->json)
		code = print_json(&v, &d, ok);
	else
		print_text(&v, &d, ok);
	ls_verified_fini(&v);
	return code != 0 ? code : !ok;
}

static int
run(const char *arg, const struct opts *o)
{
	struct app_source s;
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call call = { .cancel = &cancel };
	struct ls_err e = { 0 };
	int code;

	if (app_source_open(&s, arg, o->config, o->no_expand, &e) != LS_OK)
		return cli_fail(&e);
	if (app_cancel_on_signal(&cancel, &e) != LS_OK)
		code = cli_fail(&e);
	else
		code = verify(&s, o, &call);
	app_source_close(&s);
	ls_cancel_fini(&cancel);
	return code;
}

int
cmd_verify(int argc, char **argv)
{
	static const char *const args[] = { "DB_PATH", "REPLICA_URL", NULL };
	static const char *const examples[] = { "verify /path/to/db",
		"verify -deep -json /path/to/db", "verify s3://bucket/db",
		NULL };
	struct opts o = { .config = "" };
	const struct cli_flag flags[] = { CLI_CONFIG(o.config),
		CLI_NO_EXPAND(o.no_expand),
		{ "deep", CLI_BOOL, &o.deep, NULL,
		    "Restore it too, check its integrity, and compare it\n"
		    "with the database.",
		    NULL },
		CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "verify",
		.intro = "Checks that what a replica holds is whole. Status 0 "
			 "when it is.",
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
		    hint, sizeof hint, "%s verify /path/to/db", cli_prog);
		return cli_error(hint, "database path or replica URL required");
	}
	return run(rest[0], &o);
}
