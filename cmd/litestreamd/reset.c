/* reset.c -- `reset`: remove the local state of one database, so that the next
 * sync starts anew. The database itself is not touched.
 *
 * Unlike upstream the default configuration is read when it is there, so that
 * a meta-path in it is honoured. */
#include "app.h"
#include "base/file.h"
#include "base/sys.h"
#include "capture/capture.h"
#include "cli.h"
#include "cmd.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is removed beside <meta>/ltx: what belongs to those files. */
static const char *const own_files[] = { "litestreamd-position",
	"litestreamd-pagemap", "litestreamd-pagemap-redo",
	"litestreamd-merge" };

struct found {
	char **v;
	size_t n;
};

static void
found_free(struct found *f)
{
	for (size_t i = 0; i < f->n; i++)
		ls_free(f->v[i]);
	ls_free(f->v);
}

static enum ls_rc
found_add(struct found *f, const char *dir, const char *name, struct ls_err *e)
{
	char **v = ls_realloc(f->v, (f->n + 1) * sizeof v[0]);

	if (v == NULL)
		return ls_err_nomem(e);
	f->v = v;
	if ((v[f->n] = ls_asprintf("%s/%s", dir, name)) == NULL)
		return ls_err_nomem(e);
	f->n++;
	return LS_OK;
}

/* The files below dir, which is two levels deep. */
static enum ls_rc
find_files(const char *dir, int depth, struct found *f, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	DIR *d = depth > 0 ? opendir(dir) : NULL;
	struct dirent *de;

	while (d != NULL && rc == LS_OK && (de = readdir(d)) != NULL) {
		char *sub;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (de->d_type != DT_DIR) {
			rc = found_add(f, dir, de->d_name, e);
			continue;
		}
		if ((sub = ls_asprintf("%s/%s", dir, de->d_name)) == NULL) {
			rc = ls_err_nomem(e);
			break;
		}
		rc = find_files(sub, depth - 1, f, e);
		ls_free(sub);
	}
	if (d != NULL)
		(void)closedir(d);
	return rc;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum ls_rc
preview(const char *path, const char *meta, const char *ltx, struct ls_err *e)
{
	struct found f = { 0 };
	enum ls_rc rc = find_files(ltx, 3, &f, e);

	for (size_t i = 0;
	     rc == LS_OK && i < sizeof own_files / sizeof own_files[0]; i++) {
		char *p = ls_asprintf("%s/%s", meta, own_files[i]);

		if (p == NULL)
			rc = ls_err_nomem(e);
		else if (ls_exists(p))
			rc = found_add(&f, meta, own_files[i], e);
		ls_free(p);
	}
	if (rc == LS_OK) {
		(void)printf("Dry run: local Litestream state would be reset "
			     "for: %s\nWould remove: %s\n",
		    path, ltx);
		if (f.n == 0)
			(void)puts("No local LTX files would be removed.");
		else
			qsort(f.v, f.n, sizeof f.v[0], by_name);
		if (f.n > 0)
			(void)puts("Files that would be removed:");
		for (size_t i = 0; i < f.n; i++)
			(void)printf("  %s\n", f.v[i]);
		if (f.n > 0)
			(void)puts("No files were removed.");
	}
	found_free(&f);
	return rc;
}

static enum ls_rc
remove_state(
    const char *path, const char *meta, const char *ltx, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	(void)printf("Resetting local Litestream state for: %s\n"
		     "Removing: %s\n",
	    path, ltx);
	/* What describes the files goes first: without them it is void. */
	for (size_t i = 0;
	     rc == LS_OK && i < sizeof own_files / sizeof own_files[0]; i++) {
		char *p = ls_asprintf("%s/%s", meta, own_files[i]);

		rc = p ? ls_remove_tree(p, e) : ls_err_nomem(e);
		ls_free(p);
	}
	if (rc == LS_OK)
		rc = ls_remove_tree(ltx, e);
	if (rc == LS_OK)
		(void)puts("Reset complete. Next replication sync will create "
			   "a fresh snapshot.");
	return rc;
}

static enum ls_rc
reset(const char *path, const char *meta, bool dry_run, struct ls_err *e)
{
	enum ls_rc rc;
	char *ltx;

	if (!ls_exists(meta)) {
		(void)printf("No local state to reset for %s\n"
			     "Meta directory does not exist: %s\n",
		    path, meta);
		return LS_OK;
	}
	if ((ltx = ls_asprintf("%s/ltx", meta)) == NULL)
		return ls_err_nomem(e);
	rc = dry_run ? preview(path, meta, ltx, e)
		     : remove_state(path, meta, ltx, e);
	ls_free(ltx);
	return rc;
}

/* meta-path from the configuration: of -config, which must list the database;
 * else of the default file, if it is there and lists it. */
static enum ls_rc
find_meta(const char *path, const char *config, bool no_expand, char **meta,
    struct ls_err *e)
{
	struct ls_config cfg;
	const struct ls_db_config *db;
	bool asked = config[0] != '\0';
	enum ls_rc rc;

	if (!ls_exists(path))
		return ls_err_set(
		    e, LS_ENOTFOUND, "database does not exist: %s", path);
	rc = app_config(config, no_expand, &cfg, e);
	if (rc == LS_ENOTFOUND && !asked) {
		*meta = ls_meta_path(path);
		return *meta ? LS_OK : ls_err_nomem(e);
	}
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "cannot read config");
	db = ls_config_resolve(&cfg, path);
	if (db == NULL && asked) {
		rc = ls_err_set(
		    e, LS_ENOTFOUND, "database not found in config: %s", path);
	} else {
		*meta = db ? ls_strdup(db->meta_path) : ls_meta_path(path);
		if (*meta == NULL)
			rc = ls_err_nomem(e);
	}
	ls_config_fini(&cfg);
	return rc;
}

int
cmd_reset(int argc, char **argv)
{
	static const char *const args[] = { "DB_PATH", NULL };
	static const char *const examples[] = { "reset /path/to/db",
		"reset -dry-run /path/to/db", NULL };
	const char *config = "";
	bool no_expand = false, dry_run = false;
	const struct cli_flag flags[] = {
		CLI_CONFIG(config), CLI_NO_EXPAND(no_expand),
		{ "dry-run", CLI_BOOL, &dry_run, NULL,
		    "Print what would be removed, and remove nothing.", NULL }
	};
	const struct cli_spec spec = { .name = "reset",
		.intro =
		    "Removes the local state of a database, for example when "
		    "it is damaged; the next\nsync starts anew. The database "
		    "itself is not touched. Stop the daemon, or\nreplication "
		    "of this database, first.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	char **rest, *path, *meta = NULL, hint[128];
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO ||
	    (rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (n == 0 || rest[0][0] == '\0') {
		(void)snprintf(
		    hint, sizeof hint, "%s reset /path/to/db", cli_prog);
		return cli_error(hint, "database path required");
	}
	if ((path = ls_config_expand_path(rest[0])) == NULL)
		return cli_error(NULL, "out of memory");
	rc = 0;
	if (find_meta(path, config, no_expand, &meta, &e) != LS_OK ||
	    reset(path, meta, dry_run, &e) != LS_OK)
		rc = cli_fail(&e);
	ls_free(path);
	ls_free(meta);
	return rc;
}
