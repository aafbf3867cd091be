/* settle.c -- what the settings mean together: inheritance, places, paths,
 * and settings that exclude each other. See schema.h.
 *
 * (1) EVERY ERROR NAMES file:line, and uses upstream's words where it has
 *     them. (test: upstream_messages)
 * (2) TWO DATABASES NEVER SHARE a path, local state, or a replica's place: one
 *     would destroy the other's backup. (test: sharing_is_refused)
 */
#include "config/schema.h"

#include "base/addr.h"
#include "base/bytes.h"
#include "base/file.h"

#include <stdlib.h>

/* ---- one replica ---------------------------------------------------------*/

static enum ls_rc
apply_url(struct ls_raw_replica *r, struct ls_err *e)
{
	enum ls_rc rc;
	int64_t part_size = r->place.part_size;
	int concurrency = r->place.concurrency;

	if ((rc = ls_place_from_url(r->url, &r->place, e)) != LS_OK)
		return rc;
	if (r->env && (rc = ls_place_from_env(&r->place, e)) != LS_OK)
		return rc;
	/* Of these two the file wins over the URL (compatibility 3.3). */
	if (part_size != 0)
		r->place.part_size = part_size;
	if (concurrency != 0)
		r->place.concurrency = concurrency;
	return LS_OK;
}

/* What was written, before anything is inherited: what excludes what. */
static enum ls_rc
check_written(const struct ls_raw_replica *r, struct ls_err *e)
{
	const char *type = r->place.type ? r->place.type : "file";

	if (r->place.path != NULL && ls_is_url(r->place.path))
		return ls_err_set(e, LS_EINVALID,
		    "replica path cannot be a url, please use the 'url' field "
		    "instead: %s",
		    r->place.path);
	if (r->url == NULL)
		return LS_OK;
	if (ls_is_url(r->url)) /* the scheme wins over type */
		type = r->url;
	if (r->place.path != NULL)
		return ls_err_set(e, LS_EINVALID,
		    "cannot specify url & path for %.*s replica",
		    (int)strcspn(type, ":"), type);
	if (r->place.bucket != NULL && strncmp(type, "file", 4) != 0)
		return ls_err_set(e, LS_EINVALID,
		    "cannot specify url & bucket for %.*s replica",
		    (int)strcspn(type, ":"), type);
	return LS_OK;
}

static void
drop_empty(char **s)
{
	if (*s != NULL && (*s)[0] == '\0') {
		ls_free(*s);
		*s = NULL;
	}
}

/* A text of no length says nothing: $NAME of a variable that is not set. */
static void
drop_empty_texts(struct ls_raw_replica *r)
{
	for (size_t i = 0; i < ls_map_replica.n; i++)
		if (ls_map_replica.rows[i].type == LS_O_STR)
			drop_empty(
			    (char **)((char *)r + ls_map_replica.rows[i].off));
}

static enum ls_rc
settle_replica(
    const struct ls_raw *raw, struct ls_raw_replica *r, struct ls_err *e)
{
	enum ls_rc rc;
	char *abs;

	drop_empty_texts(r);
	if ((rc = check_written(r, e)) != LS_OK ||
	    (rc = ls_value_inherit(r, &raw->defaults, e)) != LS_OK)
		return rc;
	if (r->url != NULL && (rc = apply_url(r, e)) != LS_OK)
		return rc;
	if (r->url == NULL && r->place.path != NULL &&
	    (r->place.type == NULL || strcmp(r->place.type, "file") == 0)) {
		if ((abs = ls_config_expand_path(r->place.path)) == NULL)
			return ls_err_nomem(e);
		ls_free(r->place.path);
		r->place.path = abs;
	}
	return ls_place_settle(&r->place, e);
}

/* ---- one database --------------------------------------------------------*/

static enum ls_rc
check_entry(const struct ls_raw_db *d, size_t n, struct ls_err *e)
{
	const char *what = NULL;

	if (d->db.path != NULL && d->dir != NULL)
		what = "cannot specify both 'path' and 'dir'";
	else if (d->db.path == NULL && d->dir == NULL)
		what = "must specify either 'path' or 'dir'";
	else if (d->dir != NULL && d->pattern == NULL)
		what = "'pattern' is required when using 'dir'";
	else if (d->dir != NULL && d->db.meta_path && d->meta_dir)
		what = "cannot specify both 'meta-path' and 'meta-dir'";
	else if (d->dir == NULL && d->watch)
		what = "'watch' can only be enabled with a directory";
	else if (d->dir == NULL && d->meta_dir != NULL)
		what = "'meta-dir' can only be used with a directory";
	else if (d->dir == NULL && (d->pattern != NULL || d->recursive))
		what = "'pattern' and 'recursive' need 'dir'";
	if (what != NULL)
		return ls_err_set(
		    e, LS_EINVALID, "database config #%zu: %s", n + 1, what);
	if (d->dir != NULL && !ls_pattern_ok(d->pattern))
		return ls_err_set(e, LS_EINVALID,
		    "database config #%zu: syntax error in pattern \"%s\"",
		    n + 1, d->pattern);
	return LS_OK;
}

static enum ls_rc
check_replica_count(const struct ls_raw_db *d, struct ls_err *e)
{
	if (d->has_replica && d->n_replicas > 0)
		return ls_err_set(e, LS_EINVALID,
		    "cannot specify 'replica' and 'replicas' on a database");
	if (d->n_replicas > 1)
		return ls_err_set(e, LS_EINVALID,
		    "multiple replicas on a single database are no longer "
		    "supported");
	if (!d->has_replica && d->n_replicas == 0)
		return ls_err_set(
		    e, LS_EINVALID, "must specify replica for database");
	return LS_OK;
}

/* "<dir>/.<file>-litestream" (compatibility 4.7). */
static char *
default_meta_path(const char *path)
{
	char *dir = ls_dirname(path), *s = NULL;

	if (dir != NULL)
		s = ls_asprintf("%s/.%s-litestream",
		    strcmp(dir, "/") == 0 ? "" : dir, ls_basename(path));
	ls_free(dir);
	return s;
}

static enum ls_rc
settle_paths(struct ls_db_config *db, struct ls_err *e)
{
	char *path, *meta;

	if ((path = ls_config_expand_path(db->path)) == NULL)
		return ls_err_nomem(e);
	ls_free(db->path);
	db->path = path;
	meta = db->meta_path ? ls_config_expand_path(db->meta_path)
			     : default_meta_path(path);
	if (meta == NULL)
		return ls_err_nomem(e);
	ls_free(db->meta_path);
	db->meta_path = meta;
	return LS_OK;
}

static enum ls_rc
expand(char **path, struct ls_err *e)
{
	char *abs;

	if (*path == NULL)
		return LS_OK;
	if ((abs = ls_config_expand_path(*path)) == NULL)
		return ls_err_nomem(e);
	ls_free(*path);
	*path = abs;
	return LS_OK;
}

static enum ls_rc
settle_dir(struct ls_raw_db *d, struct ls_err *e)
{
	enum ls_rc rc;

	d->db.restore_if_db_not_exists = false; /* as upstream */
	if ((rc = expand(&d->dir, e)) != LS_OK ||
	    (rc = expand(&d->db.meta_path, e)) != LS_OK)
		return rc;
	return expand(&d->meta_dir, e);
}

static enum ls_rc
settle_limits(struct ls_db_config *db, struct ls_err *e)
{
	if (db->min_checkpoint_pages <= 0)
		return ls_err_set(e, LS_ERANGE,
		    "minimum checkpoint page count required "
		    "(min-checkpoint-page-count: got %lld)",
		    (long long)db->min_checkpoint_pages);
	if (db->truncate_pages == 0)
		db->truncate_pages = 121359; /* 0 asks for the default */
	return LS_OK;
}

/* Per-database snapshot settings stand for the global ones, as upstream has
 * only those; two that differ are an error. */
static enum ls_rc
promote(struct ls_raw *raw, const char *key, const char *plural, size_t off,
    int64_t *global, struct ls_err *e)
{
	const struct ls_raw_db *first = NULL;

	for (size_t i = 0; i < raw->n_dbs; i++) {
		struct ls_raw_db *d = &raw->dbs[i];
		int64_t v = *(int64_t *)((char *)d + off), v0;

		if (v == LS_CFG_UNSET)
			continue;
		v0 = first ? *(const int64_t *)((const char *)first + off) : v;
		if (v0 != v)
			return ls_err_set(e, LS_EINVALID,
			    "conflicting database snapshot %s: lines %d and "
			    "%d differ; set snapshot.%s at top level",
			    plural, first->db.line, d->db.line, key);
		if (first == NULL)
			first = d;
	}
	if (first != NULL)
		*global = *(const int64_t *)((const char *)first + off);
	return LS_OK;
}

static enum ls_rc
promote_snapshots(struct ls_raw *raw, struct ls_err *e)
{
	const struct ls_map *m = NULL;
	size_t off;
	enum ls_rc rc = LS_OK;

	m = ls_map_find(&ls_map_root, "snapshot", &off)->sub;
	if (!ls_raw_given(raw, m, "interval"))
		rc = promote(raw, "interval", "intervals",
		    offsetof(struct ls_raw_db, snapshot_interval_ns),
		    &raw->cfg.snapshot_interval_ns, e);
	if (rc == LS_OK && !ls_raw_given(raw, m, "retention"))
		rc = promote(raw, "retention", "retentions",
		    offsetof(struct ls_raw_db, snapshot_retention_ns),
		    &raw->cfg.snapshot_retention_ns, e);
	return rc;
}

enum ls_rc
ls_raw_settle_db(
    struct ls_raw *raw, struct ls_raw_db *d, size_t n, struct ls_err *e)
{
	enum ls_rc rc;
	struct ls_db_config *db = &d->db;
	struct ls_raw_replica *r = &d->replica;

	drop_empty(&db->path);
	drop_empty(&db->meta_path);
	drop_empty(&d->dir);
	drop_empty(&d->pattern);
	drop_empty(&d->meta_dir);
	if ((rc = check_entry(d, n, e)) != LS_OK ||
	    (rc = d->dir ? settle_dir(d, e) : settle_paths(db, e)) != LS_OK ||
	    (rc = settle_limits(db, e)) != LS_OK)
		return rc;
	if ((rc = check_replica_count(d, e)) != LS_OK ||
	    (rc = settle_replica(raw, r, e)) != LS_OK)
		return ls_err_wrap(
		    e, rc, "database %s", d->dir ? d->dir : db->path);
	if (d->dir == NULL && strcmp(r->place.type, "file") == 0 &&
	    strcmp(r->place.path, db->meta_path) == 0)
		return ls_err_set(e, LS_EINVALID,
		    "database %s: replica and local state (meta-path) would "
		    "share %s",
		    db->path, db->meta_path);
	ls_place_fini(&db->place);
	db->place = r->place;
	ls_free(r->url);
	db->sync_interval_ns = r->sync_interval_ns;
	db->max_sync_ltx_files = r->max_sync_ltx_files;
	db->auto_recover = r->auto_recover == LS_YES;
	db->zstd = r->compression == 1;
	ls_raw_replica_init(r); /* what it held belongs to db now */
	return LS_OK;
}

/* ---- all together --------------------------------------------------------*/

struct claim {
	char *what; /* heap for places, else borrowed */
	const struct ls_db_config *db;
};

static int
by_text(const void *a, const void *b)
{
	return strcmp(
	    ((const struct claim *)a)->what, ((const struct claim *)b)->what);
}

static enum ls_rc
no_two(struct claim *v, size_t n, const char *fmt_kind, const char *name,
    struct ls_err *e)
{
	qsort(v, n, sizeof v[0], by_text);
	for (size_t i = 1; i < n; i++) {
		const struct ls_db_config *a = v[i - 1].db, *b = v[i].db;

		if (strcmp(v[i - 1].what, v[i].what) != 0)
			continue;
		if (strcmp(a->path, b->path) == 0)
			return ls_err_set(e, LS_EINVALID,
			    "%s:%d: duplicate path \"%s\", also in line %d; "
			    "each database can be listed only once",
			    name, LS_MAX(a->line, b->line), a->path,
			    LS_MIN(a->line, b->line));
		return ls_err_set(e, LS_EINVALID,
		    "%s:%d: %s: databases %s and %s would share %s", name,
		    LS_MAX(a->line, b->line), fmt_kind, a->path, b->path,
		    v[i].what);
	}
	return LS_OK;
}

static enum ls_rc
refuse_sharing(const struct ls_config *cfg, const char *name, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	size_t n = cfg->n_dbs, places = 0;
	struct claim *v;

	if (n < 2)
		return LS_OK;
	if ((v = ls_zalloc(n * sizeof v[0])) == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct claim){ cfg->dbs[i].path, &cfg->dbs[i] };
	rc = no_two(v, n, "listed twice", name, e);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct claim){ cfg->dbs[i].meta_path, &cfg->dbs[i] };
	if (rc == LS_OK)
		rc = no_two(v, n, "meta-path collision", name, e);
	for (; rc == LS_OK && places < n; places++) {
		v[places].what = ls_place_text(&cfg->dbs[places].place);
		v[places].db = &cfg->dbs[places];
		if (v[places].what == NULL) {
			rc = ls_err_nomem(e);
			break;
		}
	}
	if (rc == LS_OK)
		rc = no_two(v, n, "replica collision", name, e);
	for (size_t i = 0; i < places; i++)
		ls_free(v[i].what);
	ls_free(v);
	return rc;
}

static void
move_dir(struct ls_raw_db *d, struct ls_dir_config *to)
{
	*to = (struct ls_dir_config){ .line = d->db.line,
		.dir = d->dir,
		.pattern = d->pattern,
		.meta_path = d->db.meta_path,
		.meta_dir = d->meta_dir,
		.recursive = d->recursive,
		.watch = d->watch,
		.db = d->db };
	to->db.meta_path = NULL;
	d->dir = d->pattern = d->meta_dir = NULL;
}

/* What is served and asked for. */
static enum ls_rc
check_serving(const struct ls_config *cfg, struct ls_err *e)
{
	const char *addrs[] = { cfg->addr, cfg->mcp_addr };
	const char *url = cfg->heartbeat_url;
	struct ls_addr a;
	enum ls_rc rc;

	for (size_t i = 0; i < LS_COUNT(addrs); i++)
		if (addrs[i] != NULL && addrs[i][0] != '\0' &&
		    (rc = ls_addr_parse(addrs[i], &a, e)) != LS_OK)
			return ls_err_wrap(e, rc, i ? "mcp-addr" : "addr");
	if (url != NULL && url[0] != '\0' && strncmp(url, "http://", 7) != 0 &&
	    strncmp(url, "https://", 8) != 0)
		return ls_err_set(e, LS_EINVALID,
		    "heartbeat-url must start with http:// or https://");
	if (cfg->heartbeat_interval_ns < 60 * (int64_t)LS_SEC)
		return ls_err_set(e, LS_ERANGE,
		    "heartbeat interval must be at least 1 minute");
	return LS_OK;
}

enum ls_rc
ls_raw_settle(struct ls_raw *raw, const char *name, struct ls_err *e)
{
	struct ls_config *cfg = &raw->cfg;
	enum ls_rc rc;

	drop_empty_texts(&raw->defaults);
	if ((rc = promote_snapshots(raw, e)) != LS_OK ||
	    (rc = check_serving(&raw->cfg, e)) != LS_OK)
		return ls_err_wrap(e, rc, "%s", name);
	if (raw->n_dbs > 0) {
		cfg->dbs = ls_zalloc(raw->n_dbs * sizeof cfg->dbs[0]);
		cfg->dirs = ls_zalloc(raw->n_dbs * sizeof cfg->dirs[0]);
		if (cfg->dbs == NULL || cfg->dirs == NULL)
			return ls_err_nomem(e);
	}
	for (size_t i = 0; i < raw->n_dbs; i++) {
		struct ls_raw_db *d = &raw->dbs[i];

		rc = ls_raw_settle_db(raw, d, i, e);
		if (rc != LS_OK)
			return ls_err_wrap(e, rc, "%s:%d", name,
			    d->has_replica || d->n_replicas ? d->replica.line
							    : d->db.line);
		if (d->dir != NULL)
			move_dir(d, &cfg->dirs[cfg->n_dirs++]);
		else
			cfg->dbs[cfg->n_dbs++] = d->db;
		d->db = (struct ls_db_config){ 0 };
		ls_place_init(&d->db.place);
	}
	return refuse_sharing(cfg, name, e);
}
