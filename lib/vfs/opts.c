/* opts.c -- what one connection asks for. See opts.h.
 *
 * (1) STRICT. A name that we do not know is an error, so that a misspelt one
 *     does not silently mean the default. SQLite's own names, and those that
 *     begin with "_" (drivers keep theirs there), pass. (test: unknown_names)
 * (2) immutable AND nolock ARE REFUSED: with them SQLite takes no locks, so we
 *     could not tell where a transaction begins, and its state would move.
 *     (test: immutable_is_refused)
 * (3) The size of the cache is `cache_size`, since SQLite itself reads `cache`
 *     and knows only shared and private there.
 */
#include "vfs/opts.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "base/units.h"

#include <strings.h>

#define CACHE_BYTES (10 * 1000 * 1000)
#define DISK_BYTES  (1000 * 1000 * 1000)
#define SCRATCH_BYTES \
	(256 * 1000 * 1000) /* nobody asked for it: a modest one */

typedef enum ls_rc setter(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e);

static enum ls_rc
set_text(char **to, const char *v, struct ls_err *e)
{
	char *s = ls_strdup(v);

	if (s == NULL)
		return ls_err_nomem(e);
	ls_free(*to);
	*to = s;
	return LS_OK;
}

static enum ls_rc
set_url(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	return set_text(&o->url, v, e);
}

static enum ls_rc
set_time(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	return set_text(&o->time, v, e);
}

static enum ls_rc
set_txid(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	return set_text(&o->txid, v, e);
}

static enum ls_rc
set_bytes(uint64_t *to, const char *name, const char *v, struct ls_err *e)
{
	int64_t n;
	enum ls_rc rc = ls_size_parse(v, &n, e);

	if (rc == LS_OK && n < 0)
		rc = ls_err_set(e, LS_EINVALID, "negative");
	if (rc == LS_OK)
		*to = (uint64_t)n;
	return ls_err_wrap(e, rc, "%s", name);
}

static enum ls_rc
set_cache(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_bytes(&o->cache_bytes, name, v, e);
}

static enum ls_rc
set_disk_bytes(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_bytes(&o->disk_bytes, name, v, e);
}

/* An empty path in the URI switches the environment's off. */
static enum ls_rc
set_disk_path(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	if (v[0] != '\0')
		return set_text(&o->disk_path, v, e);
	ls_free(o->disk_path);
	o->disk_path = NULL;
	return LS_OK;
}

static enum ls_rc
set_duration(uint64_t *to, const char *name, const char *v, struct ls_err *e)
{
	int64_t n;
	enum ls_rc rc = ls_dur_parse(v, &n, e);

	if (rc == LS_OK && n < 0)
		rc = ls_err_set(e, LS_EINVALID, "negative");
	if (rc == LS_OK)
		*to = (uint64_t)n;
	return ls_err_wrap(e, rc, "%s", name);
}

static enum ls_rc
set_poll(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_duration(&o->poll_ns, name, v, e);
}

static bool
is_one_of(const char *v, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcasecmp(v, *words) == 0)
			return true;
	return false;
}

static const char *const yes[] = { "1", "true", "on", "yes", NULL };
static const char *const no[] = { "0", "false", "off", "no", "", NULL };

static enum ls_rc
set_hydrate(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	if (is_one_of(v, no)) {
		o->hydrate = false;
		return LS_OK;
	}
	o->hydrate = true;
	ls_free(o->hydrate_path);
	o->hydrate_path = NULL;
	return is_one_of(v, yes) ? LS_OK : set_text(&o->hydrate_path, v, e);
}

static enum ls_rc
set_sync(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_duration(&o->sync_ns, name, v, e);
}

static enum ls_rc
set_buffer(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)name;
	return set_text(&o->buffer, v, e);
}

static enum ls_rc
set_bool(bool *to, const char *name, const char *v, struct ls_err *e)
{
	if (!is_one_of(v, no) && !is_one_of(v, yes))
		return ls_err_set(
		    e, LS_EINVALID, "%s: %s is neither 0 nor 1", name, v);
	*to = is_one_of(v, yes);
	return LS_OK;
}

static enum ls_rc
set_write(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_bool(&o->write, name, v, e);
}

static enum ls_rc
set_lease(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_bool(&o->lease, name, v, e);
}

static enum ls_rc
set_keep(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	bool on = false;
	enum ls_rc rc = set_bool(&on, name, v, e);

	o->keep.off = !on;
	return rc;
}

static enum ls_rc
set_levels(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return ls_err_wrap(e, ls_keep_levels(&o->keep, v, e), "%s", name);
}

/* Intervals that must not be 0. */
static enum ls_rc
set_interval(int64_t *to, const char *name, const char *v, struct ls_err *e)
{
	uint64_t n = 0;
	enum ls_rc rc = set_duration(&n, name, v, e);

	if (rc == LS_OK && n == 0)
		rc =
		    ls_err_set(e, LS_EINVALID, "%s: must be more than 0", name);
	*to = rc == LS_OK ? (int64_t)n : *to;
	return rc;
}

static enum ls_rc
set_snapshots(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_interval(&o->keep.snapshot_interval_ns, name, v, e);
}

static enum ls_rc
set_retention(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_interval(&o->keep.snapshot_retention_ns, name, v, e);
}

static enum ls_rc
set_l0_retention(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	return set_interval(&o->keep.l0_retention_ns, name, v, e);
}

static enum ls_rc
refuse_unlocked(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)o;
	if (is_one_of(v, no))
		return LS_OK;
	return ls_err_set(e, LS_EINVALID,
	    "%s: not with this VFS, whose database changes", name);
}

/* SQLite would give a second connection of this label the first one's file,
 * whatever replica or time it asks for. */
static enum ls_rc
refuse_shared(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)o;
	if (strcasecmp(v, "shared") != 0)
		return LS_OK;
	return ls_err_set(e, LS_EINVALID,
	    "%s=shared: not with this VFS, whose connections share a cache of "
	    "their own",
	    name);
}

static enum ls_rc
pass(struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	(void)o, (void)name, (void)v, (void)e;
	return LS_OK;
}

static const struct {
	const char *name;
	setter *set;
} params[] = {
	{ "replica", set_url },
	{ "time", set_time },
	{ "txid", set_txid },
	{ "cache_size", set_cache },
	{ "poll", set_poll },
	{ "hydrate", set_hydrate },
	{ "write", set_write },
	{ "sync_interval", set_sync },
	{ "buffer", set_buffer },
	{ "lease", set_lease },
	{ "compaction", set_keep },
	{ "cache_path", set_disk_path },
	{ "cache_disk", set_disk_bytes },
	{ "immutable", refuse_unlocked },
	{ "nolock", refuse_unlocked },
	{ "vfs", pass },
	{ "mode", pass },
	{ "cache", refuse_shared },
	{ "psow", pass },
	{ "modeof", pass },
};

static const struct {
	const char *name;
	setter *set;
} vars[] = {
	{ "LITESTREAM_REPLICA_URL", set_url },
	{ "LITESTREAM_CACHE_SIZE", set_cache },
	{ "LITESTREAM_POLL_INTERVAL", set_poll },
	{ "LITESTREAM_WRITE_ENABLED", set_write },
	{ "LITESTREAM_SYNC_INTERVAL", set_sync },
	{ "LITESTREAM_BUFFER_PATH", set_buffer },
	{ "LITESTREAM_LEASE_ENABLED", set_lease },
	{ "LITESTREAM_COMPACTION_ENABLED", set_keep },
	{ "LITESTREAM_COMPACTION_LEVELS", set_levels },
	{ "LITESTREAM_SNAPSHOT_INTERVAL", set_snapshots },
	{ "LITESTREAM_SNAPSHOT_RETENTION", set_retention },
	{ "LITESTREAM_L0_RETENTION", set_l0_retention },
	{ "LITESTREAM_CACHE_PATH", set_disk_path },
	{ "LITESTREAM_CACHE_DISK_SIZE", set_disk_bytes },
};

/* A path alone switches it on; "false" beside it switches it off again. */
static enum ls_rc
read_hydration(struct ls_vfs_opts *o, ls_env_fn *env, struct ls_err *e)
{
	const char *on = env("LITESTREAM_HYDRATION_ENABLED");
	const char *path = env("LITESTREAM_HYDRATION_PATH");
	bool off = on != NULL && on[0] != '\0' && strcasecmp(on, "true") != 0;

	o->hydrate = !off && ((on != NULL && on[0] != '\0') ||
				 (path != NULL && path[0] != '\0'));
	if (path == NULL || path[0] == '\0')
		return LS_OK;
	return set_text(&o->hydrate_path, path, e);
}

static enum ls_rc
read_param(
    struct ls_vfs_opts *o, const char *name, const char *v, struct ls_err *e)
{
	for (size_t i = 0; i < LS_COUNT(params); i++)
		if (strcmp(name, params[i].name) == 0)
			return params[i].set(o, name, v, e);
	if (name[0] == '_')
		return LS_OK;
	return ls_err_set(
	    e, LS_EINVALID, "unknown parameter %s in the URI", name);
}

static enum ls_rc
read_all(struct ls_vfs_opts *o, ls_env_fn *env, ls_param_fn *param, void *arg,
    struct ls_err *e)
{
	enum ls_rc rc = read_hydration(o, env, e);
	const char *name, *v;

	for (size_t i = 0; rc == LS_OK && i < LS_COUNT(vars); i++)
		if ((v = env(vars[i].name)) != NULL && v[0] != '\0')
			rc = vars[i].set(o, vars[i].name, v, e);
	for (int i = 0; rc == LS_OK && param(arg, i, &name, &v); i++)
		rc = read_param(o, name, v, e);
	if (rc != LS_OK)
		return rc;
	if (o->url == NULL || o->url[0] == '\0')
		return ls_err_set(e, LS_EINVALID,
		    "no replica: set LITESTREAM_REPLICA_URL or replica= in the "
		    "URI");
	if (o->disk_bytes == UINT64_MAX)
		o->disk_bytes = o->disk_path ? DISK_BYTES : SCRATCH_BYTES;
	if (o->time != NULL && o->txid != NULL)
		return ls_err_set(
		    e, LS_EINVALID, "time and txid cannot both be given");
	return LS_OK;
}

enum ls_rc
ls_vfs_opts_read(struct ls_vfs_opts *o, ls_env_fn *env, ls_param_fn *param,
    void *arg, struct ls_err *e)
{
	struct ls_vfs_opts n = { .cache_bytes = CACHE_BYTES,
		.disk_bytes = UINT64_MAX, /* not said */
		.poll_ns = LS_SEC,
		.sync_ns = LS_SEC };
	enum ls_rc rc;

	ls_keep_conf_init(&n.keep);
	rc = read_all(&n, env, param, arg, e);
	if (rc == LS_OK)
		*o = n;
	else
		ls_vfs_opts_fini(&n);
	return rc;
}

void
ls_vfs_opts_fini(struct ls_vfs_opts *o)
{
	ls_free(o->url);
	ls_free(o->time);
	ls_free(o->txid);
	ls_free(o->hydrate_path);
	ls_free(o->disk_path);
	ls_free(o->buffer);
	*o = (struct ls_vfs_opts){ 0 };
}
