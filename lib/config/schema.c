/* schema.c -- the rows: every key, where it may stand, its type, default and
 * meaning. See schema.h.
 *
 * (1) ONE ROW AN OPTION. Parser, defaults, the example file and the README's
 *     table come from here; a key in one and not in the other fails a test.
 *     (test: example_names_every_key, readme_table_is_generated)
 * (2) NOTHING IS IGNORED. A key is used, refused by name (LATER), or warned
 *     about once with the key that works (LEGACY). (test: later_is_refused,
 *     legacy_warns)
 * Not here: what settings mean together (settle.c).
 */
#include "config/schema.h"

#include "base/bytes.h"

#include <stdio.h>

#define ROW(map, k, ty, field, d, text)                                \
	{                                                              \
		.key = (k), .type = (ty), .off = offsetof(map, field), \
		.def = (d), .doc = (text)                              \
	}
#define NUM(map, k, ty, field, d, r, text)                             \
	{                                                              \
		.key = (k), .type = (ty), .off = offsetof(map, field), \
		.def = (d), .doc = (text), .range = (r)                \
	}
#define SUB(k, map, text)                                                 \
	{                                                                 \
		.key = (k), .type = LS_O_MAP, .doc = (text), .sub = (map) \
	}
#define LIST(k, ty, d, text)                                        \
	{                                                           \
		.key = (k), .type = (ty), .def = (d), .doc = (text) \
	}
#define LATER(k, text)                                        \
	{                                                     \
		.key = (k), .type = LS_O_LATER, .doc = (text) \
	}
#define LEGACY(k, text)                                        \
	{                                                      \
		.key = (k), .type = LS_O_LEGACY, .doc = (text) \
	}
#define MAP(pfx, r)                                            \
	{                                                      \
		.prefix = (pfx), .rows = (r), .n = LS_COUNT(r) \
	}

/* ---- replica -------------------------------------------------------------*/

#define R struct ls_raw_replica
#define SHARED(k, ty, field, d, text)                                \
	{                                                            \
		.key = (k), .type = (ty), .off = offsetof(R, field), \
		.def = (d), .doc = (text), .inherit = true           \
	}

static const char *const fencing_words[] = { "auto", "require", "off", NULL };
static const char *const compression_words[] = { "lz4", "zstd", NULL };

static const struct ls_row replica_rows[] = {
	ROW(R, "type", LS_O_STR, place.type, NULL,
	    "file or s3; not needed beside url"),
	ROW(R, "url", LS_O_STR, url, NULL,
	    "file:///folder or s3://bucket/prefix?endpoint=...; instead of "
	    "path and bucket"),
	ROW(R, "path", LS_O_STR, place.path, NULL,
	    "folder (file) or key prefix (s3)"),
	{ .key = "sync-interval",
	    .type = LS_O_DUR,
	    .def = "1s",
	    .off = offsetof(R, sync_interval_ns),
	    .range = LS_R_POSITIVE,
	    .inherit = true,
	    .doc = "commits within this time share an upload; the first after "
		   "a pause goes at once" },
	{ .key = "max-sync-ltx-files",
	    .type = LS_O_I64,
	    .def = "256",
	    .off = offsetof(R, max_sync_ltx_files),
	    .range = LS_R_NONNEG,
	    .inherit = true,
	    .doc = "files sent in one go; 0 = no limit" },
	SHARED("auto-recover", LS_O_TRI, auto_recover, "false",
	    "start anew by itself when local state is missing or damaged"),
	{ .key = "fencing",
	    .type = LS_O_ENUM,
	    .def = "auto",
	    .off = offsetof(R, place.fencing),
	    .inherit = true,
	    .words = fencing_words,
	    .doc = "keep a second writer out: auto (where the store can), "
		   "require, off" },
	{ .key = "compression",
	    .type = LS_O_ENUM,
	    .def = "lz4",
	    .off = offsetof(R, compression),
	    .inherit = true,
	    .words = compression_words,
	    .doc = "lz4, or zstd: smaller files at levels 1 to 9, which "
		   "Litestream refuses to read" },
	SHARED("access-key-id", LS_O_STR, place.access_key_id, NULL,
	    "default: see the README, Credentials"),
	SHARED("secret-access-key", LS_O_STR, place.secret_access_key, NULL,
	    "secret of access-key-id"),
	SHARED("region", LS_O_STR, place.region, NULL,
	    "default: AWS_REGION, profile, or what the server names"),
	SHARED(
	    "bucket", LS_O_STR, place.bucket, NULL, "name or access point ARN"),
	SHARED("endpoint", LS_O_STR, place.endpoint, NULL,
	    "for stores other than AWS"),
	SHARED("force-path-style", LS_O_TRI, place.force_path_style, NULL,
	    "default: true with an endpoint"),
	SHARED("sign-payload", LS_O_TRI, place.sign_payload, NULL,
	    "sign the SHA-256 of bodies; default true"),
	SHARED("require-content-md5", LS_O_TRI, place.require_content_md5, NULL,
	    "send Content-MD5; default true, Tigris false"),
	SHARED("skip-verify", LS_O_TRI, place.skip_verify, NULL,
	    "do not check the TLS certificate"),
	SHARED("storage-class", LS_O_STR, place.storage_class, NULL,
	    "x-amz-storage-class"),
	SHARED("part-size", LS_O_SIZE, place.part_size, NULL,
	    "part of a multipart upload; default 5MiB"),
	SHARED("concurrency", LS_O_INT, place.concurrency, NULL,
	    "transfers at once; default 5, R2 2"),
	SHARED("sse-customer-algorithm", LS_O_STR, place.sse_algorithm, NULL,
	    "AES256"),
	SHARED("sse-customer-key", LS_O_STR, place.sse_key, NULL,
	    "base64 of 32 bytes"),
	SHARED("sse-customer-key-path", LS_O_STR, place.sse_key_path, NULL,
	    "file that holds the key; wins"),
	SHARED("sse-kms-key-id", LS_O_STR, place.sse_kms_key_id, NULL,
	    "excludes a customer key"),
	{ .key = "age", .type = LS_O_AGE, .inherit = true },
#define BACKEND(k)                                               \
	{                                                        \
		.key = (k), .type = LS_O_LATER, .inherit = true, \
		.doc = "use a file or s3 replica"                \
	}
	BACKEND("account-name"),
	BACKEND("account-key"),
	BACKEND("sas-token"),
	BACKEND("host"),
	BACKEND("user"),
	BACKEND("password"),
	BACKEND("key-path"),
	BACKEND("concurrent-writes"),
	BACKEND("host-key"),
	BACKEND("webdav-url"),
	BACKEND("webdav-username"),
	BACKEND("webdav-password"),
	BACKEND("jwt"),
	BACKEND("seed"),
	BACKEND("creds"),
	BACKEND("nkey"),
	BACKEND("username"),
	BACKEND("token"),
	BACKEND("tls"),
	BACKEND("root-cas"),
	BACKEND("client-cert"),
	BACKEND("client-key"),
	BACKEND("max-reconnects"),
	BACKEND("reconnect-wait"),
	BACKEND("timeout"),
#undef BACKEND
	LEGACY("name", "remove it"),
	LEGACY("retention", "snapshot.retention at top level works"),
	LEGACY("retention-check-interval",
	    "l0-retention-check-interval at top level works"),
	LEGACY("snapshot-interval", "snapshot.interval at top level works"),
	{ .key = "validation-interval",
	    .type = LS_O_LEGACY,
	    .inherit = true,
	    .doc = "remove it" },
};
const struct ls_map ls_map_replica = MAP("dbs[].replica.", replica_rows);

/* ---- database ------------------------------------------------------------*/

#define D struct ls_raw_db
static const char *const stale_words[] = { "resync", "stop", NULL };

static const struct ls_row db_snapshot_rows[] = {
	NUM(D, "interval", LS_O_DUR, snapshot_interval_ns, NULL, LS_R_POSITIVE,
	    "stands for snapshot.interval at top level"),
	NUM(D, "retention", LS_O_DUR, snapshot_retention_ns, NULL,
	    LS_R_POSITIVE, "stands for snapshot.retention at top level"),
};
static const struct ls_map map_db_snapshot =
    MAP("dbs[].snapshot.", db_snapshot_rows);

static const struct ls_row db_rows[] = {
	ROW(D, "path", LS_O_STR, db.path, NULL, "the SQLite database"),
	ROW(D, "meta-path", LS_O_STR, db.meta_path, NULL,
	    "local state; default .NAME-litestream beside the database"),
	{ .key = "replica",
	    .type = LS_O_MAP,
	    .sub = &ls_map_replica,
	    .off = offsetof(D, replica),
	    .doc = "where it is replicated to" },
	LIST("replicas", LS_O_REPLICAS, NULL,
	    "old form of replica: a list of one"),
	NUM(D, "monitor-interval", LS_O_DUR, db.monitor_interval_ns, "1s",
	    LS_R_NONNEG, "0 = look for changes on request only"),
	NUM(D, "checkpoint-interval", LS_O_DUR, db.checkpoint_interval_ns, "1m",
	    LS_R_NONNEG, "0 = no checkpoints by time"),
	NUM(D, "busy-timeout", LS_O_DUR, db.busy_timeout_ns, "1s", LS_R_NONNEG,
	    "how long to wait for locks of the application"),
	NUM(D, "min-checkpoint-page-count", LS_O_I64, db.min_checkpoint_pages,
	    "1000", LS_R_ANY, "checkpoint from this many WAL pages on"),
	NUM(D, "truncate-page-n", LS_O_I64, db.truncate_pages, "121359",
	    LS_R_ANY, "empty the WAL from here on; negative = never"),
	NUM(D, "max-sync-wal-bytes", LS_O_I64, db.max_sync_wal_bytes,
	    "67108864", LS_R_NONNEG, "WAL bytes in one file; 0 = no limit"),
	ROW(D, "restore-if-db-not-exists", LS_O_BOOL,
	    db.restore_if_db_not_exists, "false",
	    "restore a missing database before replicating"),
	{ .key = "on-stale-state",
	    .type = LS_O_ENUM,
	    .def = "resync",
	    .off = offsetof(D, db.on_stale),
	    .words = stale_words,
	    .doc = "local state older than the replica: resync (publish the "
		   "difference on top) or stop" },
	SUB("snapshot", &map_db_snapshot, "see the top level"),
	ROW(D, "dir", LS_O_STR, dir, NULL,
	    "instead of path: every database in this folder; each is "
	    "replicated "
	    "below the replica's path"),
	ROW(D, "pattern", LS_O_STR, pattern, NULL,
	    "with dir: what their names look like (*.db)"),
	ROW(D, "recursive", LS_O_BOOL, recursive, "false",
	    "with dir: in the folders below it too"),
	ROW(D, "watch", LS_O_BOOL, watch, "false",
	    "with dir: those that come and go later too"),
	ROW(D, "meta-dir", LS_O_STR, meta_dir, NULL,
	    "with dir: a folder for the local state of all"),
	LEGACY("max-checkpoint-page-count", "truncate-page-n works"),
};
const struct ls_map ls_map_db = MAP("dbs[].", db_rows);

/* ---- top level -----------------------------------------------------------*/

#define C struct ls_raw
static const char *const log_words[] = { "text", "json", "pretty", NULL };

static const struct ls_row socket_rows[] = {
	ROW(C, "enabled", LS_O_BOOL, cfg.socket.enabled, "false",
	    "serve the control socket"),
	ROW(C, "path", LS_O_STR, cfg.socket.path, LS_SOCKET_PATH,
	    "of the control socket"),
	ROW(C, "permissions", LS_O_U32, cfg.socket.permissions, "0600",
	    "mode of the socket"),
};
static const struct ls_map map_socket = MAP("socket.", socket_rows);

static const struct ls_row level_rows[] = {
	{ .key = "interval",
	    .type = LS_O_DUR,
	    .off = 0,
	    .range = LS_R_POSITIVE,
	    .doc = "how often the level is made" },
	LEGACY("retention", "snapshot.retention at top level works"),
};
const struct ls_map ls_map_level = MAP("levels[].", level_rows);

static const struct ls_row snapshot_rows[] = {
	NUM(C, "interval", LS_O_DUR, cfg.snapshot_interval_ns, "24h",
	    LS_R_POSITIVE, "how often a snapshot is made"),
	NUM(C, "retention", LS_O_DUR, cfg.snapshot_retention_ns, "24h",
	    LS_R_POSITIVE, "how far back points can be restored"),
};
static const struct ls_map map_snapshot = MAP("snapshot.", snapshot_rows);

static const struct ls_row retention_rows[] = {
	ROW(C, "enabled", LS_O_BOOL, cfg.retention_enabled, "true",
	    "false = delete nothing in the store"),
};
static const struct ls_map map_retention = MAP("retention.", retention_rows);

static const struct ls_row validation_rows[] = {
	NUM(C, "interval", LS_O_DUR, cfg.validation_interval_ns, NULL,
	    LS_R_NONNEG,
	    "how often each replica is checked for completeness; default off"),
};
static const struct ls_map map_validation = MAP("validation.", validation_rows);

static const struct ls_row logging_rows[] = {
	ROW(C, "level", LS_O_STR, cfg.logging.level, NULL,
	    "trace, debug, info, warn, error; LOG_LEVEL wins; default info"),
	{ .key = "type",
	    .type = LS_O_ENUM,
	    .def = "text",
	    .off = offsetof(C, cfg.logging.type),
	    .words = log_words,
	    .doc = "text, json or pretty" },
	ROW(C, "stderr", LS_O_BOOL, cfg.logging.to_stderr, "false",
	    "log to stderr instead of stdout"),
	ROW(C, "source", LS_O_BOOL, cfg.logging.source, "false",
	    "add file and line"),
};
static const struct ls_map map_logging = MAP("logging.", logging_rows);

static const struct ls_row root_rows[] = {
	LIST("dbs", LS_O_DBS, NULL, "the databases"),
	LIST("levels", LS_O_LEVELS, "30s, 5m, 1h",
	    "compaction levels 1 to 8; [] = none"),
	SUB("snapshot", &map_snapshot, "snapshots (level 9)"),
	NUM(C, "l0-retention", LS_O_DUR, cfg.l0_retention_ns, "20m",
	    LS_R_NONNEG,
	    "how long level 0 is kept once compacted; fencing reaches as far; "
	    "0 = for ever"),
	NUM(C, "l0-retention-check-interval", LS_O_DUR,
	    cfg.l0_retention_check_interval_ns, "15s", LS_R_POSITIVE,
	    "how often that is looked at"),
	ROW(C, "verify-compaction", LS_O_BOOL, cfg.verify_compaction, "false",
	    "check levels for gaps after each compaction"),
	SUB("retention", &map_retention, "deleting in the store"),
	SUB("socket", &map_socket, "control socket"),
	SUB("logging", &map_logging, "log lines"),
	ROW(C, "exec", LS_O_STR, cfg.exec, NULL,
	    "run this program; end when it ends"),
	NUM(C, "shutdown-sync-timeout", LS_O_DUR, cfg.shutdown_sync_timeout_ns,
	    "30s", LS_R_NONNEG, "how long the last upload is tried; 0 = once"),
	NUM(C, "shutdown-sync-interval", LS_O_DUR,
	    cfg.shutdown_sync_interval_ns, "500ms", LS_R_POSITIVE,
	    "pause between those tries"),
	NUM(C, "park-after", LS_O_DUR, cfg.park_after_ns, "10s", LS_R_NONNEG,
	    "quiet time after which a database costs nothing; 0 = never"),
	SUB("validation", &map_validation, "checking of replicas"),
	ROW(C, "addr", LS_O_STR, cfg.addr, NULL,
	    "serve /metrics, /healthz and the status page here, such as "
	    "127.0.0.1:9090"),
	ROW(C, "mcp-addr", LS_O_STR, cfg.mcp_addr, NULL,
	    "serve the Model Context Protocol here; whoever reaches it may "
	    "restore and reset"),
	ROW(C, "heartbeat-url", LS_O_STR, cfg.heartbeat_url, NULL,
	    "asked for (GET) as long as all databases are in sync"),
	NUM(C, "heartbeat-interval", LS_O_DUR, cfg.heartbeat_interval_ns, "5m",
	    LS_R_POSITIVE, "how often; at least 1m"),
	LEGACY("retention-check-interval", "l0-retention-check-interval works"),
};
const struct ls_map ls_map_root = { .prefix = "",
	.rows = root_rows,
	.n = LS_COUNT(root_rows),
	.inherit = &ls_map_replica,
	.inherit_off = offsetof(C, defaults) };

_Static_assert(LS_COUNT(replica_rows) <= LS_MAP_ROWS, "seen[] is 64 bits");

static const struct ls_map *const maps[] = { &ls_map_root, &map_socket,
	&ls_map_level, &map_snapshot, &map_retention, &map_validation,
	&map_logging, &ls_map_db, &map_db_snapshot, &ls_map_replica };
_Static_assert(LS_COUNT(maps) <= 16, "ls_raw.seen has room for 16");

size_t
ls_map_number(const struct ls_map *m)
{
	size_t i = 0;

	while (i + 1 < LS_COUNT(maps) && maps[i] != m)
		i++;
	return i;
}

/* ---- looking up ----------------------------------------------------------*/

static const struct ls_row *
find_own(const struct ls_map *m, const char *key)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->rows[i].key, key) == 0)
			return &m->rows[i];
	return NULL;
}

const struct ls_row *
ls_map_find(const struct ls_map *m, const char *key, size_t *off)
{
	const struct ls_row *r = find_own(m, key);

	*off = 0;
	if (r == NULL && m->inherit != NULL) {
		r = find_own(m->inherit, key);
		if (r != NULL && !r->inherit)
			r = NULL;
		*off = m->inherit_off;
	}
	return r;
}

bool
ls_raw_given(const struct ls_raw *raw, const struct ls_map *m, const char *key)
{
	const struct ls_row *r = find_own(m, key);

	return r != NULL &&
	       (raw->seen[ls_map_number(m)] >> (r - m->rows) & 1) != 0;
}

/* Edits (insert, delete, replace) between two words; long ones are far. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[48];
	size_t n = strlen(b);

	if (n >= LS_COUNT(row) || strlen(a) >= LS_COUNT(row))
		return UINT_MAX;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1] != '\0'; i++) {
		unsigned diag = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned up = row[j];
			unsigned best = diag + (a[i - 1] != b[j - 1]);

			best = LS_MIN(best, LS_MIN(up, row[j - 1]) + 1);
			row[j] = best;
			diag = up;
		}
	}
	return row[n];
}

static void
nearest_in(const struct ls_map *m, bool shared_only, const char *key,
    const char **best, unsigned *best_d)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct ls_row *r = &m->rows[i];
		unsigned d;

		if (r->type == LS_O_LEGACY || (shared_only && !r->inherit))
			continue;
		d = distance(key, r->key);
		if (d < *best_d)
			*best_d = d, *best = r->key;
	}
}

void
ls_map_nearest(const struct ls_map *m, const char *key, char *out, size_t n)
{
	const char *best = NULL;
	unsigned d = (unsigned)LS_MAX(2u, strlen(key) / 3) + 1;

	out[0] = '\0';
	for (size_t i = 0; i < LS_COUNT(maps); i++) {
		const struct ls_row *r = find_own(maps[i], key);

		if (maps[i] == m || r == NULL || r->type == LS_O_LEGACY)
			continue;
		(void)snprintf(
		    out, n, "; it belongs under %s%s", maps[i]->prefix, key);
		return;
	}
	nearest_in(m, false, key, &best, &d);
	if (m->inherit != NULL)
		nearest_in(m->inherit, true, key, &best, &d);
	if (best != NULL)
		(void)snprintf(out, n, "; did you mean \"%s\"?", best);
}

/* ---- documentation -------------------------------------------------------*/

static const char *
type_name(const struct ls_row *r)
{
	switch (r->type) {
	case LS_O_DUR: return "duration";
	case LS_O_BOOL:
	case LS_O_TRI: return "bool";
	case LS_O_I64:
	case LS_O_INT: return "integer";
	case LS_O_U32: return "mode";
	case LS_O_SIZE: return "size";
	case LS_O_ENUM: return "word";
	case LS_O_LEVELS:
	case LS_O_DBS:
	case LS_O_REPLICAS: return "list";
	default: return "text";
	}
}

bool
ls_config_option(size_t i, struct ls_option_doc *out)
{
	static char key[64]; /* documentation only: one thread */

	for (size_t m = 0; m < LS_COUNT(maps); m++)
		for (size_t k = 0; k < maps[m]->n; k++) {
			const struct ls_row *r = &maps[m]->rows[k];

			if (r->doc == NULL || r->type >= LS_O_AGE ||
			    r->type == LS_O_MAP || i-- > 0)
				continue;
			(void)snprintf(
			    key, sizeof key, "%s%s", maps[m]->prefix, r->key);
			*out = (struct ls_option_doc){ key, type_name(r),
				r->def ? r->def : "", r->doc, r->inherit };
			return true;
		}
	return false;
}
