/* sql.c -- PRAGMAs, SQL functions, errors and the log. See sql.h.
 *
 * (1) A SETTER ANSWERS WITH THE NEW VALUE as a row: some clients cannot bear a
 *     NULL text there. (test: defects.DefectTest.test_9)
 * (2) AN ERROR OF A PRAGMA CARRIES ITS TEXT to sqlite3_errmsg, with what can be
 *     done about it.
 * (3) A PRAGMA of a VFS answers one text. Lists are lines with a tab between
 *     the columns; PRAGMA litestream_stats is "name<TAB>value".
 * (4) NOTHING GOES TO STDOUT OR STDERR: warnings to sqlite3_log, everything
 *     that LITESTREAM_LOG_LEVEL lets through to LITESTREAM_LOG_FILE if that is
 *     set.
 */
#include "vfs/sql.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"
#include "replica/points.h"
#include "vfs/guest.h"
#include "vfs/hydrate.h"
#include "vfs/own.h"
#include "vfs/refused.h"

#include <stdlib.h>
#include <strings.h>

SQLITE_EXTENSION_INIT3

enum { TEXT_MOST = 16 << 20, SYNC_SECONDS = 60 };

/* ---- errors and the log ---------------------------------------------------*/

char *
ls_sql_text(const struct ls_err *e)
{
	return e->hint[0] ? sqlite3_mprintf("%s (%s)", e->msg, e->hint)
			  : sqlite3_mprintf("%s", e->msg);
}

static enum ls_rc
add_attr(struct ls_buf *b, const struct ls_attr *a)
{
	char text[LS_DUR_MAX];

	switch (a->kind) {
	case LS_A_STR:
		return ls_buf_addf(
		    b, NULL, " %s=%s", a->key, a->v.s ? a->v.s : "");
	case LS_A_INT:
		return ls_buf_addf(
		    b, NULL, " %s=%lld", a->key, (long long)a->v.i);
	case LS_A_UINT:
		return ls_buf_addf(
		    b, NULL, " %s=%llu", a->key, (unsigned long long)a->v.u);
	case LS_A_BOOL:
		return ls_buf_addf(
		    b, NULL, " %s=%s", a->key, a->v.i ? "true" : "false");
	case LS_A_DUR:
		return ls_buf_addf(
		    b, NULL, " %s=%s", a->key, ls_dur_format(a->v.i, text));
	case LS_A_TXID:
		return ls_buf_addf(
		    b, NULL, " %s=%016llx", a->key, (unsigned long long)a->v.u);
	case LS_A_ERR:
		return ls_buf_addf(b, NULL, " error=\"%s\"", a->v.e->msg);
	default: return LS_OK;
	}
}

static int log_fd = -1; /* opened once, kept for the life of the process */

static void
to_file(const char *level, const char *text)
{
	char at[LS_TIME_MAX], *line;

	if (log_fd < 0)
		return;
	line = ls_asprintf("time=%s level=%s msg=%s\n",
	    ls_time_milli(ls_sys->wall_ns(), at), level, text);
	if (line != NULL && ls_sys->write(log_fd, line, strlen(line)) < 0)
		line[0] = '\0'; /* a log that is full is no error */
	ls_free(line);
}

int
ls_sql_code(
    const char *what, enum ls_rc rc, const struct ls_err *e, int otherwise)
{
	int code = rc == LS_ENOMEM ? SQLITE_NOMEM : otherwise;
	char *text = ls_asprintf(
	    "%s: %s%s%s", what, e->msg, e->hint[0] ? ": " : "", e->hint);

	sqlite3_log(code, "litestream: %s", text ? text : what);
	if (code == SQLITE_CANTOPEN) /* there is no connection to ask later */
		to_file("ERROR", text ? text : what);
	ls_free(text);
	return code;
}

static void
sink(const struct ls_log_record *rec, void *arg)
{
	static const char *const names[] = { "TRACE", "DEBUG", "INFO", "WARN",
		"ERROR" };
	struct ls_buf b = LS_BUF_INIT(8192);

	(void)arg;
	if (ls_buf_addf(&b, NULL, "%s", rec->msg) != LS_OK)
		return;
	for (const struct ls_attr *a = rec->attrs;
	     a != NULL && a->kind != LS_A_END; a++)
		if (add_attr(&b, a) != LS_OK)
			break;
	if (rec->level >= LS_WARN)
		sqlite3_log(SQLITE_WARNING, "litestream: %s", ls_buf_str(&b));
	to_file(names[rec->level], ls_buf_str(&b));
	ls_buf_free(&b);
}

static void
log_start(void)
{
	const char *path = getenv("LITESTREAM_LOG_FILE");
	const char *level = getenv("LITESTREAM_LOG_LEVEL");

	if (path != NULL && path[0] != '\0' &&
	    ls_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644,
		&log_fd, NULL) != LS_OK)
		sqlite3_log(SQLITE_WARNING,
		    "litestream: cannot open LITESTREAM_LOG_FILE %s", path);
	ls_log_set(sink, NULL,
	    level != NULL && strcasecmp(level, "DEBUG") == 0 ? LS_DEBUG
							     : LS_INFO);
}

void
ls_sql_log_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, log_start);
}

/* ---- answers --------------------------------------------------------------*/

typedef enum ls_rc answer(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e);

static enum ls_rc
read_only(const char *name, const char *set, struct ls_err *e)
{
	if (set == NULL)
		return LS_OK;
	return ls_err_set(e, LS_EINVALID, "%s is read-only", name);
}

static enum ls_rc
answer_time(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	char text[LS_TIME_MAX];
	enum ls_rc rc = LS_OK;

	if (set != NULL)
		rc = ls_reader_set_time(r, set, e);
	if (rc == LS_OK && (rc = ls_reader_time(r, text, e)) == LS_OK)
		rc = ls_buf_adds(out, text, e);
	return rc;
}

static enum ls_rc
answer_txid(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	uint64_t txid = 0;
	enum ls_rc rc = LS_OK;

	if (set != NULL)
		rc = ls_reader_set_txid(r, set, e);
	if (rc == LS_OK && (rc = ls_reader_txid(r, &txid, e)) == LS_OK)
		rc = ls_buf_addf(out, e, "%016llx", (unsigned long long)txid);
	return rc;
}

static int64_t
lag_seconds(struct ls_reader *r)
{
	int64_t ns = ls_vdb_lag_ns(ls_reader_db(r));

	return ns < 0 ? -1 : ns / (int64_t)LS_SEC;
}

static enum ls_rc
answer_lag(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	enum ls_rc rc = read_only("litestream_lag", set, e);

	if (rc != LS_OK)
		return rc;
	return ls_buf_addf(out, e, "%lld", (long long)lag_seconds(r));
}

static enum ls_rc
answer_progress(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	struct ls_hydrate *h = ls_vdb_hydrate(ls_reader_db(r));
	uint32_t valid, total;
	enum ls_rc rc = read_only("litestream_hydration_progress", set, e);

	if (rc != LS_OK)
		return rc;
	if (h == NULL)
		return ls_buf_adds(out, "0", e);
	ls_hydrate_progress(h, &valid, &total);
	return ls_buf_addf(out, e, "%.1f",
	    total ? 100.0 * (double)LS_MIN(valid, total) / total : 0.0);
}

static enum ls_rc
answer_file(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	struct ls_hydrate *h = ls_vdb_hydrate(ls_reader_db(r));
	enum ls_rc rc = read_only("litestream_hydration_file", set, e);

	if (rc != LS_OK)
		return rc;
	return ls_buf_adds(out, h ? ls_hydrate_path(h) : "", e);
}

static bool
is_off(const char *v)
{
	return strcmp(v, "0") == 0 || strcasecmp(v, "false") == 0 ||
	       strcasecmp(v, "off") == 0;
}

static bool
is_on(const char *v)
{
	return strcmp(v, "1") == 0 || strcasecmp(v, "true") == 0 ||
	       strcasecmp(v, "on") == 0;
}

static enum ls_rc
answer_write(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (set != NULL && !is_off(set) && !is_on(set))
		return ls_err_set(e, LS_EINVALID,
		    "invalid value for litestream_write_enabled: %s (use 0 or "
		    "1)",
		    set);
	if (set != NULL)
		rc = ls_reader_set_write(r, is_on(set), e);
	if (rc == LS_OK)
		rc = ls_buf_adds(out, ls_reader_may_write(r) ? "1" : "0", e);
	return rc;
}

static enum ls_rc
answer_sync(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	struct ls_own *own = ls_vdb_own(ls_reader_db(r));
	struct ls_call c = { NULL, ls_sys->mono_ns() + SYNC_SECONDS * LS_SEC };
	uint64_t txid = 0;
	enum ls_rc rc = read_only("litestream_sync", set, e);

	if (rc == LS_OK)
		rc = own ? ls_own_push(own, &txid, &c, e)
			 : ls_reader_txid(r, &txid, e);
	if (rc == LS_OK)
		rc = ls_buf_addf(out, e, "%016llx", (unsigned long long)txid);
	return rc;
}

/* SQLite's own, set. VACUUM would change the page size of what is there, and a
 * replica cannot: as with a database in WAL mode, the wish is not heard. The
 * answer is the size that it is; NULL: SQLite's matter. */
static char *
page_size_stays(struct ls_reader *r, const char *set)
{
	struct ls_ver *v = NULL;
	char *text = NULL;

	if (set == NULL || ls_reader_state(r, &v, NULL) != LS_OK)
		return NULL;
	if (v->commit > 0)
		text = sqlite3_mprintf("%u", v->page_size);
	ls_ver_unref(v);
	return text;
}

static enum ls_rc
answer_points(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	struct ls_points_opts o = { .par = &ls_guest_par, .parallelism = 8 };
	struct ls_points p = { 0 };
	char at[LS_TIME_MAX];
	enum ls_rc rc = read_only("litestream_points", set, e);

	if (rc == LS_OK)
		rc = ls_replica_points(
		    ls_vdb_replica(ls_reader_db(r)), &o, &p, NULL, e);
	for (size_t i = 0; rc == LS_OK && i < p.n; i++)
		rc = ls_buf_addf(out, e, "%s%016llx\t%s", i ? "\n" : "",
		    (unsigned long long)p.v[i].txid,
		    ls_time_nano(p.v[i].time_ns, at));
	ls_points_fini(&p);
	return rc;
}

static enum ls_rc
add_write_stats(
    const struct ls_own_stats *w, struct ls_buf *out, struct ls_err *e)
{
	return ls_buf_addf(out, e,
	    "pending_transactions\t%llu\npending_bytes\t%llu\n"
	    "uploads\t%llu\nuploaded_bytes\t%llu\nbuffer_set_aside\t%s\n",
	    (unsigned long long)w->pending_txns,
	    (unsigned long long)w->pending_bytes, (unsigned long long)w->pushes,
	    (unsigned long long)w->pushed_bytes, w->aside);
}

static enum ls_rc
add_stats(
    struct ls_reader *r, struct ls_ver *v, struct ls_buf *out, struct ls_err *e)
{
	struct ls_vdb *d = ls_reader_db(r);
	struct ls_hydrate *h = ls_vdb_hydrate(d);
	struct ls_store_stats st;
	struct ls_cache_stats ca;
	struct ls_fetch_stats fe;
	struct ls_disk_stats di;
	struct ls_own_stats w = { 0 };
	struct ls_err last;
	uint32_t valid = 0, total = 0;

	ls_store_stats(ls_replica_store(ls_vdb_replica(d)), &st);
	ls_cache_stats(v->cache, &ca);
	ls_fetch_stats(ls_vdb_fetch(d), &fe);
	ls_fetch_disk_stats(ls_vdb_fetch(d), &di);
	ls_vdb_last_error(d, &last);
	if (h != NULL)
		ls_hydrate_progress(h, &valid, &total);
	const struct {
		const char *name;
		uint64_t v;
	} rows[] = {
		{ "requests", st.get_n + st.list_n + st.head_n },
		{ "gets", st.get_n },
		{ "lists", st.list_n },
		{ "bytes", st.get_bytes },
		{ "errors", st.errors },
		{ "cache_hits", ca.hits },
		{ "cache_misses", ca.misses },
		{ "cache_pages", ca.pages },
		{ "cache_bytes", ca.bytes },
		{ "fetch_blocks", fe.blocks },
		{ "fetch_bytes", fe.bytes },
		{ "ahead_blocks", fe.ahead },
		{ "disk_hits", di.hits },
		{ "disk_misses", di.misses },
		{ "disk_written", di.written },
		{ "disk_dropped", di.dropped },
		{ "disk_failures", di.failures },
		{ "page_size", v->page_size },
		{ "pages", v->commit },
		{ "hydrated_pages", valid },
	};
	for (size_t i = 0; i < LS_COUNT(rows); i++)
		if (ls_buf_addf(out, e, "%s\t%llu\n", rows[i].name,
			(unsigned long long)rows[i].v) != LS_OK)
			return LS_ENOMEM;
	if (ls_vdb_own(d) != NULL) {
		ls_own_stats(ls_vdb_own(d), &w);
		if (last.msg[0] == '\0')
			ls_vdb_upkeep_error(d, &last);
		if (add_write_stats(&w, out, e) != LS_OK)
			return LS_ENOMEM;
	}
	return ls_buf_addf(out, e, "lag_ms\t%lld\nlast_error\t%s",
	    (long long)(ls_vdb_lag_ns(d) / (int64_t)LS_MS),
	    w.last_error[0] ? w.last_error : last.msg);
}

static enum ls_rc
answer_stats(
    struct ls_reader *r, const char *set, struct ls_buf *out, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	enum ls_rc rc = read_only("litestream_stats", set, e);

	if (rc == LS_OK && (rc = ls_reader_state(r, &v, e)) == LS_OK)
		rc = add_stats(r, v, out, e);
	ls_ver_unref(v);
	return rc;
}

static const struct {
	const char *name;
	answer *fn;
} pragmas[] = {
	{ "litestream_time", answer_time },
	{ "litestream_txid", answer_txid },
	{ "litestream_lag", answer_lag },
	{ "litestream_hydration_progress", answer_progress },
	{ "litestream_hydration_file", answer_file },
	{ "litestream_write_enabled", answer_write },
	{ "litestream_sync", answer_sync },
	{ "litestream_points", answer_points },
	{ "litestream_stats", answer_stats },
};

int
ls_sql_pragma(struct ls_reader *r, char **arg)
{
	struct ls_buf out = LS_BUF_INIT(TEXT_MOST);
	struct ls_err e = { 0 };
	enum ls_rc rc;

	for (size_t i = 0; i < LS_COUNT(pragmas); i++) {
		if (sqlite3_stricmp(arg[1], pragmas[i].name) != 0)
			continue;
		rc = pragmas[i].fn(r, arg[2], &out, &e);
		arg[0] = rc == LS_OK ? sqlite3_mprintf("%s", ls_buf_str(&out))
				     : ls_sql_text(&e);
		ls_buf_free(&out);
		return rc == LS_OK ? SQLITE_OK : SQLITE_ERROR;
	}
	if (sqlite3_stricmp(arg[1], "page_size") == 0 &&
	    (arg[0] = page_size_stays(r, arg[2])) != NULL)
		return SQLITE_OK;
	return SQLITE_NOTFOUND;
}

/* ---- functions ------------------------------------------------------------*/

static struct ls_reader *
reader_of(sqlite3_context *c)
{
	struct ls_reader *r =
	    ls_vfs_reader_of(sqlite3_context_db_handle(c), "main");

	if (r == NULL)
		sqlite3_result_error(
		    c, "the main database is not one of litestream", -1);
	return r;
}

static void
result(sqlite3_context *c, answer *fn, const char *set)
{
	struct ls_reader *r = reader_of(c);
	struct ls_buf out = LS_BUF_INIT(TEXT_MOST);
	struct ls_err e = { 0 };
	char *text;

	if (r == NULL)
		return;
	if (fn(r, set, &out, &e) == LS_OK) {
		sqlite3_result_text(c, ls_buf_str(&out), -1, SQLITE_TRANSIENT);
	} else {
		text = ls_sql_text(&e);
		sqlite3_result_error(c, text ? text : e.msg, -1);
		sqlite3_free(text);
	}
	ls_buf_free(&out);
}

static void
fn_time(sqlite3_context *c, int n, sqlite3_value **v)
{
	(void)n, (void)v;
	result(c, answer_time, NULL);
}

static void
fn_txid(sqlite3_context *c, int n, sqlite3_value **v)
{
	(void)n, (void)v;
	result(c, answer_txid, NULL);
}

static void
fn_lag(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct ls_reader *r = reader_of(c);

	(void)n, (void)v;
	if (r != NULL)
		sqlite3_result_int64(c, lag_seconds(r));
}

static void
fn_set_time(sqlite3_context *c, int n, sqlite3_value **v)
{
	const char *when = (const char *)sqlite3_value_text(v[0]);

	(void)n;
	if (when == NULL)
		sqlite3_result_error(c, "timestamp required", -1);
	else
		result(c, answer_time, when);
}

int
ls_sql_auto(sqlite3 *db, char **err, const struct sqlite3_api_routines *api)
{
	static const struct {
		const char *name;
		int nargs, flags;
		void (*fn)(sqlite3_context *, int, sqlite3_value **);
	} fns[] = {
		{ "litestream_time", 0, 0, fn_time },
		{ "litestream_txid", 0, 0, fn_txid },
		{ "litestream_lag", 0, 0, fn_lag },
		{ "litestream_set_time", 1, SQLITE_DIRECTONLY, fn_set_time },
	};
	const char *why = ls_refused_why(db);
	int rc = SQLITE_OK;

	(void)api;
	if (why != NULL) {
		*err = sqlite3_mprintf("%s", why);
		return SQLITE_CANTOPEN;
	}
	if (ls_vfs_reader_of(db, "main") == NULL)
		return SQLITE_OK;
	for (size_t i = 0; rc == SQLITE_OK && i < LS_COUNT(fns); i++)
		rc = sqlite3_create_function_v2(db, fns[i].name, fns[i].nargs,
		    SQLITE_UTF8 | fns[i].flags, NULL, fns[i].fn, NULL, NULL,
		    NULL);
	return rc;
}
