/* config.h -- the configuration file, read, checked and settled.
 *
 * One row an option (schema.c) says where a key may stand, its type, its
 * default and what it is for; parser, example file and the README's table all
 * come from those rows. Keys and meanings are Litestream v0.5's; what differs
 * is written at the rows: an unknown key, a bare number where a duration
 * belongs, and a key whose feature is not there are errors that name the line.
 *
 * Errors read "<file>:<line>: <what>". Durations are ns, sizes bytes.
 */
#ifndef LS_CONFIG_H
#define LS_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "store/store.h"

#define LS_CONFIG_PATH "/etc/litestream.yml"
#define LS_SOCKET_PATH "/var/run/litestream.sock"
enum { LS_CONFIG_MAX_BYTES = 16 << 20, LS_CONFIG_LEVELS = 8 };

enum ls_log_type { LS_LOG_TEXT, LS_LOG_JSON, LS_LOG_PRETTY };
enum ls_on_stale { LS_STALE_RESYNC, LS_STALE_STOP };

/* All strings heap, NULL when unset; freed by ls_config_fini. */
struct ls_db_config {
	int line;	 /* in the file; 0 = from the command line */
	char *path;	 /* absolute, cleaned, sqlite:// stripped */
	char *meta_path; /* absolute; the default is filled in */
	int64_t monitor_interval_ns;	/* 0 = no monitor */
	int64_t checkpoint_interval_ns; /* 0 = no checkpoints by time */
	int64_t busy_timeout_ns;
	int64_t min_checkpoint_pages; /* > 0 */
	int64_t truncate_pages;	      /* < 0 = never; never 0 */
	int64_t max_sync_wal_bytes;   /* 0 = no limit */
	bool restore_if_db_not_exists;
	enum ls_on_stale on_stale;

	/* ---- its replica ------------------------------------------------*/
	struct ls_place place;	    /* settled (ls_place_settle) */
	int64_t sync_interval_ns;   /* > 0 */
	int64_t max_sync_ltx_files; /* 0 = no limit */
	bool auto_recover;
	bool zstd; /* levels 1 to 9; level 0 is LZ4 */
};

/* A `dir` entry: every database in it is replicated, to a place of its own. */
struct ls_dir_config {
	int line;
	char *dir;	 /* absolute */
	char *pattern;	 /* of the name, as for a shell */
	char *meta_path; /* base of the local state, or NULL: beside it */
	char *meta_dir;	 /* another form of it, or NULL */
	bool recursive, watch;
	struct ls_db_config db; /* settings of each; place.path: the base */
};

struct ls_config_warning {
	int line;
	char *text;
};

struct ls_config {
	char *file; /* that it was read from, or NULL */
	struct ls_db_config *dbs;
	size_t n_dbs;
	struct ls_dir_config *dirs;
	size_t n_dirs;

	struct {
		bool enabled;
		char *path; /* never NULL */
		uint32_t permissions;
	} socket;
	int n_levels; /* L1..Ln; 0 = no compaction */
	int64_t level_interval_ns[LS_CONFIG_LEVELS]; /* [0] is L1's */
	int64_t snapshot_interval_ns, snapshot_retention_ns;
	int64_t l0_retention_ns; /* 0 = level-0 files are never deleted */
	int64_t l0_retention_check_interval_ns;
	bool verify_compaction;
	bool retention_enabled;
	int64_t shutdown_sync_timeout_ns; /* 0 = one attempt */
	int64_t shutdown_sync_interval_ns;
	int64_t park_after_ns; /* 0 = never */
	char *exec;
	char *addr;	     /* metrics and status page; NULL or "" = off */
	char *mcp_addr;	     /* MCP server; NULL or "" = off */
	char *heartbeat_url; /* secret; NULL or "" = off */
	int64_t heartbeat_interval_ns;
	int64_t validation_interval_ns; /* 0 = off */
	struct {
		char *level; /* as written; NULL = unset */
		enum ls_log_type type;
		bool to_stderr;
		bool source;
	} logging;

	/* Keys that upstream ignores: log them once, when the sink stands. */
	struct ls_config_warning *warnings;
	size_t n_warnings;
};

/* All defaults, no database. LS_ENOMEM only. */
enum ls_rc ls_config_defaults(
    struct ls_config *cfg, struct ls_err *e) LS_MUST_CHECK;
void ls_config_fini(struct ls_config *cfg);

/* Read and parse a file (at most LS_CONFIG_MAX_BYTES) into *cfg, which needs
 * no initialisation; on any error there is nothing to free. expand_env:
 * $NAME, ${NAME} and $PID are replaced first, everywhere. LS_ENOTFOUND
 * "config file not found: <path>". */
enum ls_rc ls_config_load(const char *path, bool expand_env,
    struct ls_config *cfg, struct ls_err *e) LS_MUST_CHECK;
/* As ls_config_load from a text; name stands for the path in errors. */
enum ls_rc ls_config_parse(const char *name, struct ls_span text,
    bool expand_env, struct ls_config *cfg, struct ls_err *e) LS_MUST_CHECK;
/* `replicate DB URL`: one more database with default settings. */
enum ls_rc ls_config_add_cli_db(struct ls_config *cfg, const char *db_path,
    const char *url, struct ls_err *e) LS_MUST_CHECK;
/* One database with default settings, settled, for one that is registered
 * while the daemon runs. *db needs no initialisation; ls_db_config_fini. */
enum ls_rc ls_db_config_from_url(const char *db_path, const char *url,
    struct ls_db_config *db, struct ls_err *e) LS_MUST_CHECK;
void ls_db_config_fini(struct ls_db_config *db);

/* ---- dir entries -----------------------------------------------------------*/

void ls_dir_config_fini(struct ls_dir_config *d);
/* May the file at this absolute path be one of the entry's databases? Its name
 * and place say so; whether it is a database is the caller's to see. */
bool ls_dir_fits(const struct ls_dir_config *d, const char *path);
/* A folder of our own, by its name: nothing in it is a database. */
bool ls_dir_own(const char *name);
/* Settings of the database at path, which must fit. Gives *out. */
enum ls_rc ls_dir_member(const struct ls_dir_config *d, const char *path,
    struct ls_db_config *out, struct ls_err *e) LS_MUST_CHECK;
/* Call fn for everything in a folder but folders of our own. */
typedef enum ls_rc ls_dir_fn(
    void *arg, const char *path, bool is_dir, struct ls_err *e);
enum ls_rc ls_dir_list(
    const char *dir, ls_dir_fn *fn, void *arg, struct ls_err *e) LS_MUST_CHECK;
/* Add the databases that are there now to cfg->dbs, or the one at path. Not for
 * a process that has databases open: they are read by descriptors of its own,
 * and closing those ends SQLite's locks. */
enum ls_rc ls_config_add_members(
    struct ls_config *cfg, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_config_add_member(struct ls_config *cfg,
    const struct ls_dir_config *d, const char *path,
    struct ls_err *e) LS_MUST_CHECK;

/* Would a daemon do the same by both? (Where they are written is no matter.) */
bool ls_db_config_same(
    const struct ls_db_config *a, const struct ls_db_config *b);
bool ls_dir_config_same(
    const struct ls_dir_config *a, const struct ls_dir_config *b);
/* The keys at top level that differ, databases left out: "levels, snapshot",
 * cut at n; "" = none. */
void ls_config_differ(
    const struct ls_config *a, const struct ls_config *b, char *out, size_t n);

/* The entry of a path (expanded first), borrowed, or NULL. */
const struct ls_db_config *ls_config_find_db(
    const struct ls_config *cfg, const char *path);
/* The same, and a path that fits a dir entry gets one (the file need not be
 * there). */
const struct ls_db_config *ls_config_resolve(
    struct ls_config *cfg, const char *path);
/* Log the warnings through ls_warn. */
void ls_config_log_warnings(const struct ls_config *cfg);

/* "~", "~/x", relative and sqlite:// paths made absolute; a heap string, NULL
 * when memory is out. */
char *ls_config_expand_path(const char *path);
/* The level that a word means, any case; unknown ones are info (upstream). */
enum ls_level ls_level_parse(const char *word);
/* Default file: $LITESTREAM_CONFIG if set and not empty, else
 * LS_CONFIG_PATH. Borrowed. */
const char *ls_config_default_path(void);

/* ---- the rows, for documentation and its tests ---------------------------*/

struct ls_option_doc {
	const char *key;  /* "socket.path", "dbs[].path", "levels[].interval" */
	const char *type; /* "duration", "bool", ... */
	const char *def;  /* text of the default, "" = none */
	const char *doc;
	bool inherit; /* a replica key that may stand at top level too */
};
/* Row i of the options that can be used, or false behind the last. */
bool ls_config_option(size_t i, struct ls_option_doc *out);

#endif
