/* doctor.c -- `doctor`: is the set-up sound? One line a finding, with what to
 * do; -report adds what a bug report needs. The looking is done in
 * daemon/doctor.h.
 *
 * A report is made of what was understood, never of the file's own text, so
 * that a secret in a place we do not know of cannot get into it. */
#include "daemon/doctor.h"
#include "app.h"
#include "base/sys.h"
#include "base/units.h"
#include "cli.h"
#include "cmd.h"
#include "logsink.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

struct opts {
	const char *config;
	bool no_expand, json, report;
};

/* ---- text ------------------------------------------------------------------*/

static int
print_findings(const struct ls_doctor *d)
{
	for (size_t i = 0; i < d->n; i++) {
		char *line = ls_finding_line(&d->v[i]);

		if (line == NULL)
			return cli_error(NULL, "out of memory");
		(void)printf("%s\n", line);
		ls_free(line);
	}
	return 0;
}

static void
print_drop_in(const struct ls_doctor *d)
{
	if (d->drop_in == NULL)
		return;
	(void)printf(
	    "\n# /etc/systemd/system/litestreamd.service.d/local.conf\n%s",
	    d->drop_in);
}

/* ---- report ----------------------------------------------------------------*/

static void
print_machine(void)
{
	struct utsname u;

	(void)printf("litestreamd %s\nSQLite %s\n%s\n", LS_VERSION,
	    sqlite3_libversion(), ls_net_library());
	if (uname(&u) == 0)
		(void)printf("%s %s %s\n", u.sysname, u.release, u.machine);
	(void)printf(
	    "user %u, group %u\n", (unsigned)geteuid(), (unsigned)getegid());
}

static const char *
given(const char *s)
{
	return s != NULL && s[0] != '\0' ? "set" : "not set";
}

static void
print_db(const struct ls_db_config *db)
{
	const struct ls_place *p = &db->place;
	char a[LS_DUR_MAX], b[LS_DUR_MAX], *place = ls_place_text(p);

	(void)printf("\ndatabase %s\n  meta-path %s\n  replica %s\n", db->path,
	    db->meta_path, place ? place : "?");
	(void)printf("  sync-interval %s, checkpoint-interval %s\n",
	    ls_dur_format(db->sync_interval_ns, a),
	    ls_dur_format(db->checkpoint_interval_ns, b));
	(void)printf("  min-checkpoint-page-count %lld, truncate-page-n %lld\n",
	    (long long)db->min_checkpoint_pages, (long long)db->truncate_pages);
	ls_free(place);
	if (strcmp(p->type, "s3") != 0)
		return;
	(void)printf("  region %s, path style %d, sign-payload %d, "
		     "content-md5 %d, skip-verify %d\n",
	    p->region ? p->region : "not set", p->force_path_style,
	    p->sign_payload, p->require_content_md5, p->skip_verify);
	(void)printf("  part-size %lld, concurrency %d, fencing %d\n",
	    (long long)p->part_size, p->concurrency, p->fencing);
	(void)printf("  access-key-id %s, customer key %s, KMS key %s, "
		     "storage class %s\n",
	    given(p->access_key_id), given(p->sse_key),
	    given(p->sse_kms_key_id),
	    p->storage_class ? p->storage_class : "not set");
}

static void
print_environment(void)
{
	static const char *const names[] = { "AWS_ACCESS_KEY_ID", "AWS_PROFILE",
		"AWS_REGION", "AWS_SESSION_TOKEN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_EC2_METADATA_DISABLED", "HTTP_PROXY", "HTTPS_PROXY",
		"NO_PROXY", "LITESTREAM_CONFIG", "LOG_LEVEL" };

	(void)printf("\nset in the environment:");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (getenv(names[i]) != NULL)
			(void)printf(" %s", names[i]);
	(void)printf("\n");
}

static int
print_report(const struct ls_doctor *d)
{
	const struct ls_config *c = &d->cfg;
	char a[LS_DUR_MAX], b[LS_DUR_MAX];
	int rc;

	print_machine();
	(void)printf("\nfindings:\n");
	if ((rc = print_findings(d)) != 0)
		return rc;
	print_environment();
	if (c->n_dbs > 0) {
		(void)printf(
		    "\n%d levels, l0-retention %s, snapshot every %s, ",
		    c->n_levels, ls_dur_format(c->l0_retention_ns, a),
		    ls_dur_format(c->snapshot_interval_ns, b));
		(void)printf("kept %s, exec %s, socket %s\n",
		    ls_dur_format(c->snapshot_retention_ns, a), given(c->exec),
		    c->socket.enabled ? "on" : "off");
	}
	for (size_t i = 0; i < c->n_dbs; i++)
		print_db(&c->dbs[i]);
	print_drop_in(d);
	return 0;
}

/* ---- JSON ------------------------------------------------------------------*/

static json_t *
as_json(const struct ls_doctor *d)
{
	json_t *list = json_array();
	json_t *doc = json_pack("{s:b,s:o}", "ok",
	    ls_doctor_worst(d) != LS_GRADE_FAIL, "findings", list);

	for (size_t i = 0; doc != NULL && i < d->n; i++) {
		const struct ls_finding *f = &d->v[i];
		json_t *o = json_pack("{s:s,s:s,s:o,s:o,s:o}", "grade",
		    ls_grade_word(f->grade), "check", f->check, "subject",
		    app_json_text(f->subject), "found", app_json_text(f->found),
		    "do", app_json_text(f->cure ? f->cure : ""));

		if (json_array_append_new(list, o) != 0) {
			json_decref(doc);
			return NULL;
		}
	}
	if (doc != NULL && d->drop_in != NULL)
		(void)json_object_set_new(
		    doc, "systemd_drop_in", app_json_text(d->drop_in));
	return doc;
}

/* ---- the command -----------------------------------------------------------*/

static int
run(struct ls_doctor *d, const struct opts *o)
{
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call call = { .cancel = &cancel };
	struct ls_err e = { 0 };
	int rc;

	/* Each failure is a finding; its retries are no news. */
	logsink_set(stderr, LS_LOG_TEXT, "error", false);
	d->config = o->config;
	d->expand_env = !o->no_expand;
	d->call = &call;
	if (app_cancel_on_signal(&cancel, &e) != LS_OK ||
	    ls_doctor_run(d, &e) != LS_OK) {
		rc = cli_fail(&e);
	} else if (o->json) {
		rc = app_json_print(as_json(d));
	} else if (o->report) {
		rc = print_report(d);
	} else {
		rc = print_findings(d);
		print_drop_in(d);
	}
	if (rc == 0 && ls_doctor_worst(d) == LS_GRADE_FAIL)
		rc = 1;
	ls_doctor_fini(d);
	ls_cancel_fini(&cancel);
	return rc;
}

int
cmd_doctor(int argc, char **argv)
{
	static const char *const args[] = { "", "DB_PATH", "REPLICA_URL",
		NULL };
	static const char *const examples[] = { "doctor",
		"doctor -config /path/to/litestream.yml /path/to/db",
		"doctor s3://bucket/db", "doctor -report > report.txt", NULL };
	struct ls_doctor d = { .nomem = false };
	struct opts o = { .config = "" };
	const struct cli_flag flags[] = { CLI_CONFIG(o.config),
		CLI_NO_EXPAND(o.no_expand),
		{ "report", CLI_BOOL, &o.report, NULL,
		    "Print what a bug report needs, too; no secret is in it.",
		    NULL },
		CLI_JSON(o.json) };
	const struct cli_spec spec = { .name = "doctor",
		.intro = "Looks for what is wrong with a set-up, and says what "
			 "to do. Status 1 when something fails.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	char **rest;
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (n == 1 && ls_is_url(rest[0]) && o.config[0] != '\0')
		return cli_error(
		    NULL, "cannot specify a replica URL and the -config flag");
	d.what = n == 1 && rest[0][0] != '\0' ? rest[0] : NULL;
	return run(&d, &o);
}
