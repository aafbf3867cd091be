/* model.c -- the writable VFS against a plain local database.
 *
 *     vfs_model [--seed N] [--seeds K] [--steps N] [--plain] [--keep]
 *
 * Every statement by chance (model_gen.c) goes to both; what comes back must be
 * equal: result code, rows, rowid, changes. The plain database is in WAL mode,
 * since its readers and writers meet as ours do: snapshots, one writer, BUSY
 * for a write on an old snapshot. Statements stay open across the commits of
 * other connections. The seed decides page size, auto-vacuum, cache, hydration,
 * interval of uploads and number of connections; then by chance: an upload is
 * asked for, connections or all of them are opened anew, the buffer's state
 * goes to the store.
 *
 * Checked now and then: content of all tables, page_count, freelist_count,
 * integrity_check; a restore of what is stored by lib/replica; time travel to
 * TXIDs of before. --plain gives both worlds the plain VFS: the model's own
 * test, in which no difference may come up.
 * A failure prints seed, step and statement; the seed alone repeats it.
 */
#include "model.h"

#include "replica/replica.h"
#include "store/store.h"

#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { POINTS = 64, BIG_BYTES = 3000000, RECENT = 16, RECENT_TEXT = 160 };

struct point {
	uint64_t txid, content;
};

static struct run {
	uint64_t seed;
	unsigned steps, step;
	bool plain, keep;
	char dir[100], sql[SQL_MAX], log[2000];
	char recent[RECENT][RECENT_TEXT]; /* answers, the last ones */
	struct chance c;
	struct world ours, local;
	unsigned page_size, auto_vacuum;
	int conn;
	sqlite3 *watch; /* of the local one: what is committed */
	struct point point[POINTS];
	unsigned npoints;
	uint64_t done, errors, busy, syncs, reopens, restores, travels;
} run;

_Noreturn void
model_fail(const char *fmt, ...)
{
	va_list ap;

	(void)fprintf(stderr, "seed %llu, step %u, connection %d: %s\n  ",
	    (unsigned long long)run.seed, run.step, run.conn, run.sql);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\n  before that:");
	for (unsigned i = 0; i < RECENT; i++)
		(void)fprintf(
		    stderr, "\n    %s", run.recent[(run.done + i) % RECENT]);
	(void)fprintf(stderr, "\n  %s\n  last logged:%s\n  files in %s\n",
	    run.ours.uri, run.log, run.dir);
	exit(1);
}

/* ---- set up ---------------------------------------------------------------*/

static void
logged(void *arg, int code, const char *text)
{
	static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
	size_t n, add = strlen(text) + 8;

	(void)arg, (void)code;
	if (strstr(text, "statement aborts") != NULL || add > sizeof run.log)
		return;
	(void)pthread_mutex_lock(&mu);
	if ((n = strlen(run.log)) + add > sizeof run.log)
		n = 0;
	(void)snprintf(run.log + n, sizeof run.log - n, "\n    %s", text);
	(void)pthread_mutex_unlock(&mu);
}

static int
remove_one(const char *path, const struct stat *sb, int type, struct FTW *f)
{
	(void)sb, (void)type, (void)f;
	return remove(path);
}

/* What the seed decides of the VFS. */
static void
choose_uri(void)
{
	static const char *const interval[] = { "0", "5ms", "50ms", "1h" };
	static const char *const poll[] = { "20ms", "1h" };
	static const char *const cache[] = { "1", "200KB", "10MB" };
	static const char *const hydrate[] = { "0", "1", "path" };
	struct chance *c = &run.c;
	const char *h = hydrate[pick(c, 3)], *d = run.dir;

	run.page_size = 512u << (unsigned)(run.seed % 8);
	run.auto_vacuum = pick(c, 3);
	run.ours.n = run.local.n = 1 + (int)pick(c, CONNS_MAX);
	(void)snprintf(run.ours.uri, sizeof run.ours.uri,
	    "file:app.db?vfs=litestream&replica=file://%s/r&write=1&buffer="
	    "%s/buffer&sync_interval=%s&poll=%s&cache_size=%s&hydrate=%s%s",
	    d, d, interval[pick(c, 4)], poll[pick(c, 2)], cache[pick(c, 3)],
	    h[0] == 'p' ? d : h, h[0] == 'p' ? "/hydrated" : "");
	(void)snprintf(
	    run.local.uri, sizeof run.local.uri, "file:%s/local.db", d);
	if (run.plain)
		(void)snprintf(
		    run.ours.uri, sizeof run.ours.uri, "file:%s/other.db", d);
}

static void
set_up(struct world *w, bool wal)
{
	char sql[100];

	world_open(w, 0);
	(void)snprintf(sql, sizeof sql,
	    "PRAGMA page_size=%u; PRAGMA auto_vacuum=%u;", run.page_size,
	    run.auto_vacuum);
	must(w->db[0], sql);
	if (wal)
		must(w->db[0], "PRAGMA journal_mode=WAL; "
			       "PRAGMA synchronous=OFF");
	for (int i = 0; gen_schema[i] != NULL; i++)
		must(w->db[0], gen_schema[i]);
	for (int i = 1; i < w->n; i++)
		world_open(w, i);
}

static void
begin(uint64_t seed)
{
	struct run keep = run;

	run = (struct run){ .seed = seed,
		.steps = keep.steps,
		.plain = keep.plain,
		.keep = keep.keep,
		.c = { seed * 7919 + 1 },
		.ours = { .name = "VFS" },
		.local = { .name = "local" } };
	(void)snprintf(run.dir, sizeof run.dir, "%s/vfs-model-XXXXXX",
	    getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(run.dir) == NULL)
		model_fail("no folder %s", run.dir);
	choose_uri();
	set_up(&run.local, true);
	set_up(&run.ours, run.plain);
	if (sqlite3_open(strchr(run.local.uri, ':') + 1, &run.watch) !=
	    SQLITE_OK)
		model_fail("%s", sqlite3_errmsg(run.watch));
}

/* ---- comparing ------------------------------------------------------------*/

static void
same(const struct answer *a, const struct answer *b)
{
	(void)snprintf(run.recent[run.done++ % RECENT], RECENT_TEXT,
	    "%u on %d: %d, %d: %.120s", run.step, run.conn, b->rc, a->rc,
	    run.sql);
	run.errors +=
	    b->rc != SQLITE_DONE && b->rc != SQLITE_OK && b->rc != SQLITE_ROW;
	run.busy += b->rc == SQLITE_BUSY;
	if (a->rc != b->rc)
		model_fail("result %d %s, but local %d %s", a->rc, a->err,
		    b->rc, b->err);
	if (a->rows != b->rows || a->hash != b->hash)
		model_fail("%d rows, but local %d; hash %llx, but %llx",
		    a->rows, b->rows, (unsigned long long)a->hash,
		    (unsigned long long)b->hash);
	if (a->rowid != b->rowid || a->changes != b->changes)
		model_fail("rowid %lld, but local %lld; changes %lld, but %lld",
		    a->rowid, b->rowid, a->changes, b->changes);
}

static void
same_number(const char *pragma)
{
	sqlite3_int64 a = number(run.ours.db[run.conn], pragma);
	sqlite3_int64 b = number(run.local.db[run.conn], pragma);

	if (a != b)
		model_fail("%s: %lld, but local %lld", pragma, a, b);
}

static void
compare_all(bool whole)
{
	sqlite3 *a = run.ours.db[run.conn], *b = run.local.db[run.conn];

	same_number("PRAGMA page_count");
	same_number("PRAGMA freelist_count");
	if (content(a) != content(b))
		model_fail("the content differs");
	if (whole) { /* on both: it opens the temporary database, too */
		must_be_whole(a, run.ours.name);
		must_be_whole(b, run.local.name);
	}
}

static void
equals(const char *uri, uint64_t want, const char *what)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
		NULL) != SQLITE_OK)
		model_fail("%s: %s", what, sqlite3_errmsg(db));
	must_be_whole(db, what);
	if (content(db) != want)
		model_fail("%s: the content differs", what);
	(void)sqlite3_close(db);
}

/* ---- what is stored -------------------------------------------------------*/

static enum ls_rc
restore_to(struct ls_replica *r, const char *path, struct ls_err *e)
{
	struct ls_restore_opts o = { .output = path, .parallelism = 1 };
	struct ls_files all = { 0 };
	struct ls_plan plan = { 0 };
	struct ls_target t = { 0 };
	struct ls_restored out;
	enum ls_rc rc;

	if ((rc = ls_replica_list_all(r, NULL, &all, NULL, e)) == LS_OK &&
	    (rc = ls_plan_make(r, &all, &t, &plan, NULL, e)) == LS_OK)
		rc = ls_restore(r, &plan, &o, &out, NULL, e);
	ls_plan_fini(&plan);
	ls_files_fini(&all);
	return rc;
}

static void
check_restore(void)
{
	char url[PATH_MAX_LEN], path[PATH_MAX_LEN];
	struct ls_place p;
	struct ls_store *st = NULL;
	struct ls_replica *r = NULL;
	struct ls_err e = { 0 };

	(void)snprintf(url, sizeof url, "file://%s/r", run.dir);
	(void)snprintf(path, sizeof path, "%s/out.db", run.dir);
	(void)unlink(path);
	ls_place_init(&p);
	if (ls_place_from_url(url, &p, &e) != LS_OK ||
	    ls_place_settle(&p, &e) != LS_OK ||
	    ls_store_open(&p, NULL, &st, &e) != LS_OK ||
	    ls_replica_new(st, &r, &e) != LS_OK ||
	    restore_to(r, path, &e) != LS_OK)
		model_fail("restore: %s", e.msg);
	ls_replica_free(r);
	ls_store_free(st);
	ls_place_fini(&p);
	equals(path, content(run.watch), "restore");
	run.restores++;
}

static void
check_travel(void)
{
	const struct point *p = &run.point[pick(&run.c, run.npoints)];
	char uri[2 * PATH_MAX_LEN];

	(void)snprintf(uri, sizeof uri,
	    "file:app.db?vfs=litestream&replica=file://%s/r&txid=%llx", run.dir,
	    (unsigned long long)p->txid);
	equals(uri, p->content, "travel");
	run.travels++;
}

static void
sync_now(void)
{
	sqlite3_stmt *st = NULL;
	sqlite3 *db = run.ours.db[run.conn];
	struct point p = { .content = content(run.watch) };

	if (run.plain || !sqlite3_get_autocommit(db))
		return;
	if (sqlite3_prepare_v2(db, "PRAGMA litestream_sync", -1, &st, NULL) !=
		SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		model_fail("sync: %s", sqlite3_errmsg(db));
	p.txid = strtoull((const char *)sqlite3_column_text(st, 0), NULL, 16);
	(void)sqlite3_finalize(st);
	run.syncs++;
	run.point[run.npoints < POINTS ? run.npoints++ : pick(&run.c, POINTS)] =
	    p;
	if (pick(&run.c, 8) == 0)
		check_restore();
	if (pick(&run.c, 8) == 0)
		check_travel();
}

/* ---- one step -------------------------------------------------------------*/

static void
choose_conn(void)
{
	run.conn = (int)pick(&run.c, (unsigned)run.local.n);
	for (int i = 0; i < run.local.n; i++)
		if (sqlite3_txn_state(run.local.db[i], "main") ==
			SQLITE_TXN_WRITE &&
		    pick(&run.c, 10) < 6)
			run.conn = i; /* or everybody waits for it for long */
}

static void
one_sql(void)
{
	sqlite3 *db = run.local.db[run.conn];
	struct gen_state s = { .in_tx = !sqlite3_get_autocommit(db),
		.big = number(run.watch, "PRAGMA page_count") * run.page_size >
		       BIG_BYTES };
	struct answer a, b;

	gen_sql(&run.c, &s, run.sql);
	world_run(&run.local, run.conn, run.sql, &b);
	world_run(&run.ours, run.conn, run.sql, &a);
	same(&a, &b);
}

static void
one_cursor(void)
{
	static const char *const sql[] = { "SELECT * FROM t0 ORDER BY k",
		"SELECT * FROM t1", "SELECT v,k,b FROM t2",
		"SELECT * FROM chi JOIN par ON p=par.id", "SELECT * FROM f" };
	int n = 1 + (int)pick(&run.c, 20), i = run.conn;
	struct answer a, b;

	if (run.local.cursor[i] == NULL) {
		(void)snprintf(
		    run.sql, sizeof run.sql, "%s", sql[pick(&run.c, 5)]);
		world_cursor(&run.local, i, run.sql, &b);
		world_cursor(&run.ours, i, run.sql, &a);
		same(&a, &b);
	}
	(void)snprintf(run.sql, sizeof run.sql, "%d rows of the cursor", n);
	world_fetch(&run.local, i, n, &b);
	world_fetch(&run.ours, i, n, &a);
	same(&a, &b);
}

static void
one_blob(void)
{
	sqlite3_int64 id =
	    number(run.watch, "SELECT ifnull(max(id),1) FROM t0");
	unsigned seed = pick(&run.c, 1u << 20);
	struct answer a, b;

	(void)snprintf(run.sql, sizeof run.sql, "blob of t0, row %lld", id);
	world_blob(&run.local, run.conn, "t0", id, seed, &b);
	world_blob(&run.ours, run.conn, "t0", id, seed, &a);
	same(&a, &b);
}

static void
open_anew(bool all)
{
	int from = all ? 0 : run.conn, to = all ? run.local.n : run.conn + 1;

	(void)snprintf(run.sql, sizeof run.sql, "open anew %d to %d", from, to);
	for (int i = from; i < to; i++) {
		world_close(&run.local, i);
		world_close(&run.ours, i);
	}
	for (int i = from; i < to; i++) {
		world_open(&run.local, i);
		world_open(&run.ours, i);
	}
	run.reopens++;
}

static void
step(void)
{
	unsigned x = pick(&run.c, 1500);
	bool idle;

	choose_conn();
	idle = sqlite3_get_autocommit(run.local.db[run.conn]) &&
	       run.local.cursor[run.conn] == NULL;
	if (x == 0)
		open_anew(true);
	else if (x < 6)
		open_anew(false);
	else if (x < 20)
		sync_now();
	else if (x < 28 && idle)
		compare_all(x == 20);
	else if (x < 50)
		one_blob();
	else if (x < (run.local.cursor[run.conn] ? 300 : 90))
		one_cursor();
	else
		one_sql();
}

static void
end(void)
{
	for (int i = 0; i < run.local.n; i++) {
		world_close(&run.local, i);
		world_close(&run.ours, i);
	}
	run.conn = 0;
	world_open(&run.local, 0);
	world_open(&run.ours, 0);
	compare_all(true);
	if (!run.plain) {
		sync_now();
		check_restore();
		check_travel();
	}
	world_close(&run.local, 0);
	world_close(&run.ours, 0);
	(void)sqlite3_close(run.watch);
	if (!run.keep)
		(void)nftw(run.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
one_seed(uint64_t seed)
{
	const char *what;

	begin(seed);
	what = strstr(run.ours.uri, "sync_interval");
	(void)printf("seed %llu: page size %u, auto_vacuum %u, %d connections, "
		     "%s\n",
	    (unsigned long long)seed, run.page_size, run.auto_vacuum,
	    run.local.n, what ? what : "plain");
	(void)fflush(stdout);
	for (run.step = 0; run.step < run.steps; run.step++)
		step();
	end();
	(void)printf("  %llu equal answers (%llu errors, %llu of them busy), "
		     "%llu syncs, %llu opened anew, %llu restores, %llu "
		     "travels\n",
	    (unsigned long long)run.done, (unsigned long long)run.errors,
	    (unsigned long long)run.busy, (unsigned long long)run.syncs,
	    (unsigned long long)run.reopens, (unsigned long long)run.restores,
	    (unsigned long long)run.travels);
}

int
main(int argc, char **argv)
{
	const char *is_long = getenv("LS_LONG");
	uint64_t seed = 1, seeds = is_long && is_long[0] == '1' ? 100 : 5;

	run.steps = 10000;
	for (int i = 1; i < argc; i++) {
		const char *v = i + 1 < argc ? argv[i + 1] : "0";

		if (strcmp(argv[i], "--plain") == 0)
			run.plain = true;
		else if (strcmp(argv[i], "--keep") == 0)
			run.keep = true;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(v, NULL, 10), seeds = 1, i++;
		else if (strcmp(argv[i], "--seeds") == 0)
			seeds = strtoull(v, NULL, 10), i++;
		else if (strcmp(argv[i], "--steps") == 0)
			run.steps = (unsigned)strtoul(v, NULL, 10), i++;
	}
	(void)sqlite3_config(SQLITE_CONFIG_LOG, logged, NULL);
	register_vfs();
	for (; seeds > 0; seeds--, seed++)
		one_seed(seed);
	return 0;
}
