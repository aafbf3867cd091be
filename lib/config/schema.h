/* schema.h -- what the files of this folder share: the rows of the options,
 * and the configuration as written, before defaults and inheritance.
 *
 * Not for other folders: config.h is. */
#ifndef LS_SCHEMA_H
#define LS_SCHEMA_H

#include "base/sys.h"
#include "config/config.h"

#include <limits.h>

#define LS_CFG_UNSET INT64_MIN

enum ls_opt_type {
	LS_O_STR,
	LS_O_DUR,    /* int64_t ns */
	LS_O_BOOL,   /* bool */
	LS_O_TRI,    /* enum ls_tri */
	LS_O_I64,    /* int64_t */
	LS_O_INT,    /* int, 0 = unset */
	LS_O_U32,    /* uint32_t, octal with a leading 0 */
	LS_O_SIZE,   /* int64_t bytes, 0 = unset */
	LS_O_ENUM,   /* int; words says which */
	LS_O_MAP,    /* sub, at the same base plus off */
	LS_O_LEVELS, /* the lists, each its own */
	LS_O_DBS,
	LS_O_REPLICAS,
	LS_O_AGE,    /* refused unless empty */
	LS_O_LATER,  /* known, its feature is not here yet: refused */
	LS_O_LEGACY, /* known, without effect upstream: one warning */
};

enum ls_opt_range { LS_R_ANY, LS_R_POSITIVE, LS_R_NONNEG };

struct ls_map;
struct ls_row {
	const char *key;
	enum ls_opt_type type;
	size_t off;
	const char *def; /* text of the default, parsed like any value */
	const char *doc; /* for LEGACY and LATER: what to do instead */
	enum ls_opt_range range;
	bool inherit; /* replica keys: may stand at top level as well */
	/* ENUM: the words in order of their numbers; "!" in front: refused. */
	const char *const *words;
	const struct ls_map *sub;
};

enum { LS_MAP_ROWS = 64 };
struct ls_map {
	const char *prefix; /* "", "socket.", "dbs[].replica." */
	const struct ls_row *rows;
	size_t n;
	const struct ls_map *inherit; /* ROOT: the replica keys */
	size_t inherit_off;
};

/* One replica as written. Unset: NULL, LS_UNSET, LS_CFG_UNSET, 0 for part
 * size and concurrency, -1 for words. */
struct ls_raw_replica {
	int line;
	struct ls_place place;
	char *url;
	int64_t sync_interval_ns, max_sync_ltx_files;
	enum ls_tri auto_recover;
	int compression;
	bool env; /* a URL is all there is: the environment completes it */
};
struct ls_raw_db {
	struct ls_db_config db; /* path and meta_path as written */
	char *dir, *pattern, *meta_dir;
	bool recursive, watch;
	int64_t snapshot_interval_ns, snapshot_retention_ns;
	bool has_replica;
	size_t n_replicas; /* of the deprecated list */
	struct ls_raw_replica replica;
};
struct ls_raw {
	struct ls_config cfg;
	struct ls_raw_replica defaults;
	struct ls_raw_db *dbs;
	size_t n_dbs;
	/* Which rows were given: bit i of the map whose number it is. */
	uint64_t seen[16];
};

extern const struct ls_map ls_map_root, ls_map_db, ls_map_replica, ls_map_level;
size_t ls_map_number(const struct ls_map *m); /* index into seen */
/* The row of a key in m; *off is to be added to the base of m. */
const struct ls_row *ls_map_find(
    const struct ls_map *m, const char *key, size_t *off);
/* The likeliest meant key: "did you mean ..." / "it belongs under ..." into
 * out, "" when nothing is near. */
void ls_map_nearest(
    const struct ls_map *m, const char *key, char *out, size_t n);
bool ls_raw_given(
    const struct ls_raw *raw, const struct ls_map *m, const char *key);

/* ---- value.c -------------------------------------------------------------*/

/* Store text at base + row->off (off included by the caller). */
enum ls_rc ls_value_set(const struct ls_row *row, void *field, const char *text,
    struct ls_err *e) LS_MUST_CHECK;
/* Rows with a default, but no lists, into the struct of a map. */
enum ls_rc ls_value_defaults(
    const struct ls_map *m, void *base, struct ls_err *e) LS_MUST_CHECK;
/* Fill what is unset in `to` from `from`. */
enum ls_rc ls_value_inherit(struct ls_raw_replica *to,
    const struct ls_raw_replica *from, struct ls_err *e) LS_MUST_CHECK;

/* ---- yaml.c, expand.c ----------------------------------------------------*/

enum ls_rc ls_raw_init(struct ls_raw *raw, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_raw_db_init(struct ls_raw_db *d, struct ls_err *e) LS_MUST_CHECK;
void ls_raw_db_fini(struct ls_raw_db *d);
void ls_raw_replica_init(struct ls_raw_replica *r);
void ls_raw_replica_fini(struct ls_raw_replica *r);
void ls_raw_fini(struct ls_raw *raw);
/* Read a text into an initialised raw: keys, types and ranges are checked,
 * nothing else. */
enum ls_rc ls_raw_read(struct ls_raw *raw, const char *name,
    struct ls_span text, struct ls_err *e) LS_MUST_CHECK;
/* Remember a warning (config.h). */
enum ls_rc ls_config_warn(struct ls_config *cfg, int line, struct ls_err *e,
    const char *fmt, ...) LS_MUST_CHECK LS_PRINTF(4, 5);
/* Append text with $NAME and ${NAME} replaced, as Go's os.Expand does. */
enum ls_rc ls_expand_env(
    struct ls_span text, struct ls_buf *out, struct ls_err *e) LS_MUST_CHECK;

/* ---- dirs.c --------------------------------------------------------------*/

bool ls_pattern_ok(const char *pattern);

/* ---- settle.c ------------------------------------------------------------*/

/* Check and settle everything read; moves the databases into raw->cfg. */
enum ls_rc ls_raw_settle(
    struct ls_raw *raw, const char *name, struct ls_err *e) LS_MUST_CHECK;
/* One database; n is its number for messages. */
enum ls_rc ls_raw_settle_db(struct ls_raw *raw, struct ls_raw_db *d, size_t n,
    struct ls_err *e) LS_MUST_CHECK;

#endif
