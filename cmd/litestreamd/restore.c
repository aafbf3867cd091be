/* restore.c -- `restore`: rebuild a database from its replica.
 *
 * (1) WITHOUT -force NOTHING THAT HOLDS DATA IS OVERWRITTEN: a database or
 *     -wal, -shm, -journal file that is not empty is refused before any
 *     request. (test: test_restore_refuses_existing)
 * (2) WITH -force THE OLD DATABASE STAYS UNTIL THE NEW ONE IS WHOLE beside it;
 *     then the old one's -wal and the like go, since SQLite would apply them
 *     to the new file, and it is renamed into place. (test:
 *     test_failed_force_keeps_the_old)
 * (3) SIGINT and SIGTERM leave nothing behind (ls_restore's promise, and the
 *     new file of (2) is unlinked).
 * (4) -f GOES ON where its -txid file says and never overwrites; SIGINT and
 *     SIGTERM end it with status 0. (test: integration/test_follow)
 * Not here: which files make a state (replica/plan), how they are read
 * (replica/restore, replica/legacy for v0.3), following (replica/follow).
 */
#include "app.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/units.h"
#include "cli.h"
#include "cmd.h"
#include "logsink.h"
#include "replica/follow.h"
#include "replica/legacy.h"
#include "restore_out.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct opts {
	const char *config, *output, *timestamp, *integrity;
	bool no_expand, if_db_not_exists, if_replica_exists, dry_run, force;
	bool json, follow;
	int parallelism;
	int64_t follow_interval_ns;
	uint64_t txid;
	struct ls_target target;
	int integrity_mode;
};

static const char *
parse_txid(const char *text, void *dst)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF");

	if (n != 16 || text[n] != '\0')
		return "invalid txid format";
	*(uint64_t *)dst = strtoull(text, NULL, 16);
	return NULL;
}

/* What the flags mean together, in upstream's words. */
static enum ls_rc
check_opts(struct opts *o, struct ls_err *e)
{
	static const char *const modes[] = { "none", "quick", "full" };

	for (o->integrity_mode = 2; o->integrity_mode >= 0; o->integrity_mode--)
		if (strcmp(o->integrity, modes[o->integrity_mode]) == 0)
			break;
	if (o->integrity_mode < 0)
		return ls_err_set(e, LS_EUSAGE,
		    "invalid -integrity-check value: %s", o->integrity);
	o->target = (struct ls_target){ .txid = o->txid };
	if (o->timestamp[0] != '\0' &&
	    ls_time_parse(o->timestamp, &o->target.before_ns, e) != LS_OK)
		return ls_err_set(e, LS_EUSAGE,
		    "invalid -timestamp, must specify in ISO 8601 format "
		    "(e.g. 2000-01-01T00:00:00Z)");
	if (o->dry_run && o->follow)
		return ls_err_set(e, LS_EUSAGE, "cannot use -dry-run with -f");
	if (o->follow && o->txid != 0)
		return ls_err_set(
		    e, LS_EUSAGE, "cannot use follow mode with -txid");
	if (o->follow && o->timestamp[0] != '\0')
		return ls_err_set(
		    e, LS_EUSAGE, "cannot use follow mode with -timestamp");
	if (o->follow_interval_ns < 0)
		return ls_err_set(
		    e, LS_EUSAGE, "-follow-interval must not be negative");
	if (o->txid != 0 && o->timestamp[0] != '\0')
		return ls_err_set(e, LS_EUSAGE,
		    "cannot specify index & timestamp to restore");
	if (o->parallelism < 1 || o->parallelism > 256)
		return ls_err_set(
		    e, LS_EUSAGE, "-parallelism must be between 1 and 256");
	return LS_OK;
}

/* ---- the output path -------------------------------------------------------*/

static const char *const sidecars[] = { "-wal", "-shm", "-journal" };

static enum ls_rc
check_output(const char *path, bool force, struct ls_err *e)
{
	struct stat st;
	enum ls_rc rc = LS_OK;

	if (ls_sys->stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return ls_err_set(e, LS_EEXISTS,
			    "cannot restore, output path is a directory: %s",
			    path);
		if (!S_ISREG(st.st_mode))
			return ls_err_set(e, LS_EINVALID,
			    "cannot restore, output path is not a regular "
			    "file: %s",
			    path);
		if (st.st_size > 0 && !force)
			return ls_err_set(e, LS_EEXISTS,
			    "cannot restore, output path already exists and "
			    "is not empty: %s. Use -force to overwrite",
			    path);
	}
	for (size_t i = 0; rc == LS_OK && !force && i < 3; i++) {
		char *p = ls_asprintf("%s%s", path, sidecars[i]);

		if (p == NULL)
			return ls_err_nomem(e);
		if (ls_file_size(p) > 0)
			rc = ls_err_set(e, LS_EEXISTS,
			    "cannot restore, SQLite sidecar path already "
			    "exists: %s. Use -force to overwrite",
			    p);
		ls_free(p);
	}
	return rc;
}

static enum ls_rc
drop_sidecars(const char *path, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < 3; i++) {
		char *p = ls_asprintf("%s%s", path, sidecars[i]);

		rc = p ? ls_remove_tree(p, e) : ls_err_nomem(e);
		ls_free(p);
	}
	return rc;
}

/* ---- progress --------------------------------------------------------------*/

static void
progress(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *last = arg, now = ls_sys->mono_ns();
	char a[LS_DUR_MAX], b[LS_DUR_MAX];
	int bar = total ? (int)(30 * done / total) : 30;

	if (done < total && now - *last < 100 * LS_MS)
		return;
	*last = now;
	(void)fprintf(stderr, "\r\033[Krestoring [%.*s%*s] %s of %s", bar,
	    "##############################", 30 - bar, "",
	    ls_size_format(done, a), ls_size_format(total, b));
}

/* ---- making it -------------------------------------------------------------*/

/* What a restore is made of: a plan of LTX files, or v0.3 files. */
struct origin {
	struct ls_plan plan;
	struct ls_legacy legacy;
	bool is_legacy;
};

static struct ls_restore_opts
restore_opts(const struct opts *o, const char *output, uint64_t *last)
{
	bool show = !o->json && isatty(STDERR_FILENO) == 1;

	return (struct ls_restore_opts){ .output = output,
		.parallelism = (unsigned)o->parallelism,
		.par = &ls_par_threads,
		.integrity = o->integrity_mode,
		.progress = show ? progress : NULL,
		.progress_arg = last };
}

static enum ls_rc
run_restore(struct app_source *s, const struct origin *from,
    const struct opts *o, const char *output, const struct ls_call *call,
    struct ls_restored *out, struct ls_err *e)
{
	uint64_t last = 0;
	struct ls_restore_opts ro = restore_opts(o, output, &last);
	enum ls_rc rc;

	if (from->is_legacy)
		rc = ls_legacy_restore(s->store, &from->legacy,
		    o->target.before_ns, &ro, out, call, e);
	else
		rc = ls_restore(s->replica, &from->plan, &ro, out, call, e);
	if (last != 0)
		(void)fputs("\r\033[K", stderr);
	return rc;
}

/* Restore to path, beside what is there if anything is. */
static enum ls_rc
restore_to(struct app_source *s, const struct origin *from,
    const struct opts *o, const char *path, const struct ls_call *call,
    struct ls_restored *out, struct ls_err *e)
{
	char *beside;
	enum ls_rc rc;

	if (!ls_exists(path)) {
		if ((rc = drop_sidecars(path, e)) != LS_OK)
			return rc;
		return run_restore(s, from, o, path, call, out, e);
	}
	if ((beside = ls_asprintf("%s.restored", path)) == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_remove_tree(beside, e)) == LS_OK &&
	    (rc = run_restore(s, from, o, beside, call, out, e)) == LS_OK) {
		if ((rc = drop_sidecars(path, e)) == LS_OK &&
		    (rc = ls_rename(beside, path, e)) == LS_OK)
			rc = ls_fsync_dir_of(path, e);
		else
			(void)ls_sys->unlink(beside);
	}
	ls_free(beside);
	return rc;
}

/* Oldest and newest time of both formats together; 0 when there is nothing. */
static enum ls_rc
find_bounds(struct app_source *s, const struct ls_files *all,
    const struct ls_legacy *legacy, int64_t *oldest, int64_t *newest,
    const struct ls_call *call, struct ls_err *e)
{
	int64_t from = 0, to = 0;
	enum ls_rc rc;

	*oldest = *newest = 0;
	rc = ls_replica_bounds(s->replica, all, oldest, newest, call, e);
	if (rc == LS_OK)
		rc = ls_legacy_bounds(s->store, legacy, &from, &to, call, e);
	if (rc != LS_OK)
		return rc;
	if (from != 0 && (*oldest == 0 || from < *oldest))
		*oldest = from;
	*newest = to > *newest ? to : *newest;
	return LS_OK;
}

/* Upstream checks the bounds only when all it has is a URL; with a database
 * of the configuration a time in the future means the newest state. */
static enum ls_rc
check_bounds(struct app_source *s, const struct ls_files *all,
    const struct ls_legacy *legacy, const struct ls_target *t,
    const struct ls_call *call, struct ls_err *e)
{
	int64_t oldest, newest;
	char a[LS_TIME_MAX], b[LS_TIME_MAX];
	enum ls_rc rc;

	if (!s->is_url || t->before_ns == 0)
		return LS_OK;
	if (all->n == 0 && legacy->n == 0)
		return ls_err_set(e, LS_EINVALID, "no backups found");
	rc = find_bounds(s, all, legacy, &oldest, &newest, call, e);
	if (rc != LS_OK)
		return rc;
	if (t->before_ns >= oldest && t->before_ns <= newest)
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_EINVALID, "timestamp does not exist"),
	    "-timestamp from %s to %s", ls_time_nano(oldest, a),
	    ls_time_nano(newest, b));
}

/* v0.3 files count unless a TXID is asked for: they have none. */
static enum ls_rc
choose(struct app_source *s, const struct opts *o, const struct ls_files *all,
    struct origin *from, const struct ls_call *call, struct ls_err *e)
{
	const struct ls_target *t = &o->target;
	enum ls_rc rc = LS_OK;

	if (t->txid == 0)
		rc = ls_legacy_list(s->store, &from->legacy, call, e);
	if (rc == LS_OK)
		rc = check_bounds(s, all, &from->legacy, t, call, e);
	if (rc == LS_OK)
		rc = ls_legacy_preferred(s->store, &from->legacy, all,
		    t->before_ns, &from->is_legacy, call, e);
	if (rc == LS_OK && from->is_legacy && o->dry_run)
		return ls_err_hint(e,
		    ls_err_set(e, LS_ENOTFOUND, "transaction not available"),
		    "its files are those of Litestream v0.3, for which there "
		    "is no -dry-run");
	if (rc == LS_OK && !from->is_legacy)
		rc = ls_plan_make(s->replica, all, t, &from->plan, call, e);
	return rc;
}

static enum ls_rc
find_origin(struct app_source *s, const struct opts *o, struct origin *from,
    const struct ls_call *call, struct ls_err *e)
{
	struct ls_files all = { 0 };
	enum ls_rc rc =
	    ls_replica_list_all(s->replica, &ls_par_threads, &all, call, e);

	if (rc == LS_OK)
		rc = choose(s, o, &all, from, call, e);
	ls_files_fini(&all);
	return rc;
}

/* Is nothing stored, and may that be so? Else upstream's words for it; the hint
 * stays: nearest points. */
static bool
nothing_is_fine(enum ls_rc rc, const struct opts *o, struct ls_err *e)
{
	if (rc != LS_ENOTFOUND)
		return false;
	if (o->if_replica_exists)
		ls_info("no matching backups found", NULL);
	else
		(void)snprintf(e->msg, sizeof e->msg,
		    "no matching backup files available");
	return o->if_replica_exists;
}

/* Source is open; path is what -o or the configuration says. */
static int
go(struct app_source *s, const struct opts *o, const char *source,
    const char *path, const struct ls_call *call)
{
	struct origin from = { .is_legacy = false };
	struct ls_restored done = { 0 };
	struct ls_err e = { 0 };
	uint64_t t0 = ls_sys->mono_ns();
	enum ls_rc rc = LS_OK;
	int code = 0;

	if (!o->dry_run)
		rc = check_output(path, o->force, &e);
	if (rc == LS_OK) {
		rc = find_origin(s, o, &from, call, &e);
		if (nothing_is_fine(rc, o, &e))
			goto out;
	}
	if (rc == LS_OK && o->dry_run) {
		code = restore_print_plan(&from.plan, source, path,
		    ls_store_type(s->store), ls_store_layout(s->store),
		    o->json);
		goto out;
	}
	if (rc == LS_OK)
		rc = restore_to(s, &from, o, path, call, &done, &e);
	if (rc == LS_OK && o->integrity_mode > 0)
		ls_info("post-restore integrity check passed",
		    LS_ATTRS(LS_S("replica", ls_store_type(s->store))));
	if (rc != LS_OK)
		code = cli_fail(&e);
	else if (o->json)
		code = restore_print_result(path, ls_store_type(s->store),
		    done.txid, (ls_sys->mono_ns() - t0) / LS_MS, o->integrity);
out:
	ls_plan_fini(&from.plan);
	ls_legacy_fini(&from.legacy);
	return code;
}

/* -f: until a signal ends it. */
static int
follow(struct app_source *s, const struct opts *o, const char *path,
    const struct ls_call *call)
{
	uint64_t last = 0, t0 = ls_sys->mono_ns();
	struct ls_restore_opts ro = restore_opts(o, path, &last);
	struct ls_follow_opts fo = { .restore = &ro,
		.interval_ns = (uint64_t)o->follow_interval_ns };
	struct ls_follower *f = NULL;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_follow_open(s->replica, &fo, &f, call, &e);
	int code = 0;

	if (last != 0)
		(void)fputs("\r\033[K", stderr);
	if (nothing_is_fine(rc, o, &e))
		return 0;
	if (rc == LS_OK) {
		ro.progress = NULL; /* from here on the log tells */
		rc = ls_follow_run(f, call, &e);
	}
	if (rc != LS_OK)
		code = cli_fail(&e);
	else if (o->json)
		code = restore_print_result(path, ls_store_type(s->store),
		    ls_follow_txid(f), (ls_sys->mono_ns() - t0) / LS_MS,
		    o->integrity);
	ls_follow_free(f);
	return code;
}

static int
restore(const struct opts *o, const char *arg)
{
	struct app_source s;
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call call = { .cancel = &cancel };
	struct ls_err e = { 0 };
	const char *path = o->output;
	int code;

	if (app_source_open(&s, arg, o->config, o->no_expand, &e) != LS_OK)
		return cli_fail(&e);
	if (path[0] == '\0')
		path = s.db->path;
	if (o->if_db_not_exists && ls_exists(path)) {
		ls_info("database already exists, skipping", NULL);
		code = 0;
	} else if (app_cancel_on_signal(&cancel, &e) != LS_OK) {
		code = cli_fail(&e);
	} else if (o->follow) {
		code = follow(&s, o, path, &call);
	} else {
		code = go(&s, o, arg, path, &call);
	}
	app_source_close(&s);
	ls_cancel_fini(&cancel);
	return code;
}

/* ---- the command -----------------------------------------------------------*/

static const char *const args[] = { "DB_PATH", "REPLICA_URL", NULL };
static const char *const examples[] = {
	"restore /path/to/db",
	"restore -timestamp 2026-01-02T03:04:05Z -o /tmp/db /path/to/db",
	"restore -o /tmp/db s3://bucket/prefix",
	"restore -dry-run -o /tmp/db s3://bucket/prefix",
	"restore -f -o /var/lib/copy/db s3://bucket/prefix",
	NULL,
};

static int
missing_argument(const char *what, const char *url)
{
	char *hint = ls_asprintf("%s restore -o /path/to/db %s", cli_prog, url);
	int rc = cli_error(hint, "%s", what);

	ls_free(hint);
	return rc;
}

static int
run(struct opts *o, int n, char **rest)
{
	struct ls_err e = { 0 };
	int rc;

	if ((rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (n == 0 || rest[0][0] == '\0')
		return missing_argument("database path or replica URL required",
		    "s3://bucket/prefix");
	if (check_opts(o, &e) != LS_OK)
		return cli_fail(&e);
	if (ls_is_url(rest[0]) && o->config[0] != '\0')
		return cli_error(NULL, "cannot specify a replica URL and the "
				       "-config flag");
	if (ls_is_url(rest[0]) && o->output[0] == '\0')
		return missing_argument(
		    "-o is required when restoring from a replica URL",
		    rest[0]);
	logsink_set(o->json ? stderr : stdout, LS_LOG_TEXT, NULL, false);
	return restore(o, rest[0]);
}

int
cmd_restore(int argc, char **argv)
{
	struct opts o = { .config = "",
		.output = "",
		.timestamp = "",
		.integrity = "none",
		.parallelism = 8,
		.follow_interval_ns = (int64_t)LS_SEC };
	const struct cli_flag flags[] = {
		CLI_CONFIG(o.config),
		CLI_NO_EXPAND(o.no_expand),
		{ "o", CLI_STR, &o.output, "PATH",
		    "Where to restore to; default the database's own path.\n"
		    "Required with a URL.",
		    NULL },
		{ "txid", CLI_FN, &o.txid, "TXID",
		    "Restore up to and with this transaction (16 hex digits).",
		    parse_txid },
		{ "timestamp", CLI_STR, &o.timestamp, "TIMESTAMP",
		    "Restore the state at this time (RFC 3339).", NULL },
		{ "if-db-not-exists", CLI_BOOL, &o.if_db_not_exists, NULL,
		    "Do nothing, and succeed, when the output exists.", NULL },
		{ "if-replica-exists", CLI_BOOL, &o.if_replica_exists, NULL,
		    "Do nothing, and succeed, when there is no backup.", NULL },
		{ "dry-run", CLI_BOOL, &o.dry_run, NULL,
		    "Print what would be fetched, and write nothing.", NULL },
		{ "force", CLI_BOOL, &o.force, NULL,
		    "Replace an existing database and its -wal, -shm and\n"
		    "-journal files.",
		    NULL },
		CLI_JSON(o.json),
		{ "f", CLI_BOOL, &o.follow, NULL,
		    "Go on after the restore: apply what is new until SIGINT\n"
		    "or SIGTERM. Open the copy read-only meanwhile.",
		    NULL },
		{ "follow-interval", CLI_DUR, &o.follow_interval_ns, "DURATION",
		    "How often -f looks; default 1s.", NULL },
		{ "parallelism", CLI_INT, &o.parallelism, "NUM",
		    "Transfers and decoders at once; default 8.", NULL },
		{ "integrity-check", CLI_STR, &o.integrity, "none|quick|full",
		    "Check the result; default none.", NULL },
	};
	const struct cli_spec spec = { .name = "restore",
		.intro = "Rebuilds a database from its replica.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	char **rest;
	int n, rc = cli_parse(&spec, argc, argv, &rest, &n);

	return rc == CLI_GO ? run(&o, n, rest) : rc;
}
