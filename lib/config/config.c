/* config.c -- making, reading, extending and freeing a configuration. See
 * config.h. On any error of a load or parse nothing is left to free. */
#include "config/schema.h"

#include "base/file.h"

#include <stdio.h>

/* ---- life of the pieces --------------------------------------------------*/

void
ls_raw_replica_init(struct ls_raw_replica *r)
{
	*r = (struct ls_raw_replica){ .sync_interval_ns = LS_CFG_UNSET,
		.max_sync_ltx_files = LS_CFG_UNSET,
		.auto_recover = LS_UNSET,
		.compression = -1 };
	ls_place_init(&r->place);
	r->place.fencing = -1; /* unset until inherited */
}

void
ls_raw_replica_fini(struct ls_raw_replica *r)
{
	ls_place_fini(&r->place);
	ls_free(r->url);
	ls_raw_replica_init(r);
}

enum ls_rc
ls_raw_db_init(struct ls_raw_db *d, struct ls_err *e)
{
	*d = (struct ls_raw_db){ .snapshot_interval_ns = LS_CFG_UNSET,
		.snapshot_retention_ns = LS_CFG_UNSET };
	ls_place_init(&d->db.place);
	ls_raw_replica_init(&d->replica);
	return ls_value_defaults(&ls_map_db, d, e);
}

void
ls_raw_db_fini(struct ls_raw_db *d)
{
	ls_db_config_fini(&d->db);
	ls_raw_replica_fini(&d->replica);
	ls_free(d->dir);
	ls_free(d->pattern);
	ls_free(d->meta_dir);
}

void
ls_db_config_fini(struct ls_db_config *db)
{
	ls_free(db->path);
	ls_free(db->meta_path);
	ls_place_fini(&db->place);
	*db = (struct ls_db_config){ 0 };
	ls_place_init(&db->place);
}

void
ls_dir_config_fini(struct ls_dir_config *d)
{
	ls_free(d->dir);
	ls_free(d->pattern);
	ls_free(d->meta_path);
	ls_free(d->meta_dir);
	ls_db_config_fini(&d->db);
	*d = (struct ls_dir_config){ 0 };
}

static void
default_levels(struct ls_config *cfg)
{
	static const uint64_t s[] = { 30, 300, 3600 };

	cfg->n_levels = 3;
	for (int i = 0; i < cfg->n_levels; i++)
		cfg->level_interval_ns[i] = (int64_t)(s[i] * LS_SEC);
}

enum ls_rc
ls_raw_init(struct ls_raw *raw, struct ls_err *e)
{
	enum ls_rc rc;

	*raw = (struct ls_raw){ 0 };
	ls_raw_replica_init(&raw->defaults);
	default_levels(&raw->cfg);
	rc = ls_value_defaults(&ls_map_root, raw, e);
	if (rc == LS_OK)
		rc = ls_value_defaults(&ls_map_replica, &raw->defaults, e);
	if (rc != LS_OK)
		ls_raw_fini(raw);
	return rc;
}

void
ls_raw_fini(struct ls_raw *raw)
{
	for (size_t i = 0; i < raw->n_dbs; i++)
		ls_raw_db_fini(&raw->dbs[i]);
	ls_free(raw->dbs);
	ls_raw_replica_fini(&raw->defaults);
	ls_config_fini(&raw->cfg);
	*raw = (struct ls_raw){ 0 };
}

void
ls_config_fini(struct ls_config *cfg)
{
	for (size_t i = 0; i < cfg->n_dbs; i++)
		ls_db_config_fini(&cfg->dbs[i]);
	ls_free(cfg->dbs);
	for (size_t i = 0; i < cfg->n_dirs; i++)
		ls_dir_config_fini(&cfg->dirs[i]);
	ls_free(cfg->dirs);
	for (size_t i = 0; i < cfg->n_warnings; i++)
		ls_free(cfg->warnings[i].text);
	ls_free(cfg->warnings);
	ls_free(cfg->file);
	ls_free(cfg->socket.path);
	ls_free(cfg->exec);
	ls_free(cfg->addr);
	ls_free(cfg->mcp_addr);
	ls_free(cfg->heartbeat_url);
	ls_free(cfg->logging.level);
	*cfg = (struct ls_config){ 0 };
}

/* ---- making one ----------------------------------------------------------*/

enum ls_rc
ls_config_defaults(struct ls_config *cfg, struct ls_err *e)
{
	struct ls_raw raw;
	enum ls_rc rc = ls_raw_init(&raw, e);

	if (rc != LS_OK)
		return rc;
	*cfg = raw.cfg; /* moved out */
	raw.cfg = (struct ls_config){ 0 };
	ls_raw_fini(&raw);
	return LS_OK;
}

enum ls_rc
ls_config_parse(const char *name, struct ls_span text, bool expand_env,
    struct ls_config *cfg, struct ls_err *e)
{
	struct ls_raw raw;
	struct ls_buf b = LS_BUF_INIT(LS_CONFIG_MAX_BYTES);
	enum ls_rc rc = ls_raw_init(&raw, e);

	if (rc != LS_OK)
		return rc;
	if (expand_env) {
		rc = ls_err_wrap(e, ls_expand_env(text, &b, e), "%s", name);
		text = ls_buf_span(&b);
	}
	if (rc == LS_OK)
		rc = ls_raw_read(&raw, name, text, e);
	if (rc == LS_OK)
		rc = ls_raw_settle(&raw, name, e);
	if (rc == LS_OK && (raw.cfg.file = ls_strdup(name)) == NULL)
		rc = ls_err_nomem(e);
	if (rc == LS_OK) {
		*cfg = raw.cfg;
		raw.cfg = (struct ls_config){ 0 };
	}
	ls_raw_fini(&raw);
	ls_buf_free(&b);
	return rc;
}

enum ls_rc
ls_config_load(
    const char *path, bool expand_env, struct ls_config *cfg, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(LS_CONFIG_MAX_BYTES + 1);
	char *abs = ls_config_expand_path(path);
	enum ls_rc rc;

	if (abs == NULL)
		return ls_err_nomem(e);
	rc = ls_read_file(abs, LS_CONFIG_MAX_BYTES, &b, e);
	if (rc == LS_ENOTFOUND)
		(void)ls_err_set(e, rc, "config file not found: %s", abs);
	else if (rc == LS_OK)
		rc = ls_config_parse(path, ls_buf_span(&b), expand_env, cfg, e);
	ls_buf_free(&b);
	ls_free(abs);
	return rc;
}

static enum ls_rc
db_from_url(const char *db_path, const char *url, bool env,
    struct ls_db_config *db, struct ls_err *e)
{
	struct ls_raw raw;
	struct ls_raw_db d;
	enum ls_rc rc = ls_raw_init(&raw, e);

	if (rc != LS_OK)
		return rc;
	d = (struct ls_raw_db){ 0 };
	if ((rc = ls_raw_db_init(&d, e)) != LS_OK)
		goto out;
	d.has_replica = true;
	d.replica.env = env;
	if ((d.db.path = ls_strdup(db_path)) == NULL ||
	    (d.replica.url = ls_strdup(url)) == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	if ((rc = ls_raw_settle_db(&raw, &d, 0, e)) != LS_OK)
		goto out;
	*db = d.db;
	d.db = (struct ls_db_config){ 0 };
	ls_place_init(&d.db.place);
out:
	ls_raw_db_fini(&d);
	ls_raw_fini(&raw);
	return rc;
}

enum ls_rc
ls_db_config_from_url(const char *db_path, const char *url,
    struct ls_db_config *db, struct ls_err *e)
{
	return db_from_url(db_path, url, true, db, e);
}

enum ls_rc
ls_config_add_cli_db(struct ls_config *cfg, const char *db_path,
    const char *url, struct ls_err *e)
{
	struct ls_db_config db, *dbs;
	enum ls_rc rc = db_from_url(db_path, url, false, &db, e);

	if (rc != LS_OK)
		return rc;
	dbs = ls_realloc(cfg->dbs, (cfg->n_dbs + 1) * sizeof dbs[0]);
	if (dbs == NULL) {
		ls_db_config_fini(&db);
		return ls_err_nomem(e);
	}
	cfg->dbs = dbs;
	cfg->dbs[cfg->n_dbs++] = db;
	return LS_OK;
}

/* ---- using one -----------------------------------------------------------*/

const struct ls_db_config *
ls_config_find_db(const struct ls_config *cfg, const char *path)
{
	const struct ls_db_config *found = NULL;
	char *abs = ls_config_expand_path(path);

	for (size_t i = 0; abs != NULL && i < cfg->n_dbs; i++)
		if (strcmp(cfg->dbs[i].path, abs) == 0)
			found = &cfg->dbs[i];
	ls_free(abs);
	return found;
}

enum ls_rc
ls_config_warn(
    struct ls_config *cfg, int line, struct ls_err *e, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	struct ls_config_warning *v;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < cfg->n_warnings; i++)
		if (strcmp(cfg->warnings[i].text, text) == 0)
			return LS_OK; /* once is enough for 10,000 databases */
	v = ls_realloc(cfg->warnings, (cfg->n_warnings + 1) * sizeof v[0]);
	if (v == NULL)
		return ls_err_nomem(e);
	cfg->warnings = v;
	v[cfg->n_warnings].line = line;
	if ((v[cfg->n_warnings].text = ls_strdup(text)) == NULL)
		return ls_err_nomem(e);
	cfg->n_warnings++;
	return LS_OK;
}

void
ls_config_log_warnings(const struct ls_config *cfg)
{
	for (size_t i = 0; i < cfg->n_warnings; i++)
		ls_warn(cfg->warnings[i].text,
		    LS_ATTRS(LS_S("file", cfg->file ? cfg->file : ""),
			LS_I("line", cfg->warnings[i].line)));
}
