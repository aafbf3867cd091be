/* app.c -- see app.h. */
#include "app.h"

#include "capture/internal.h"
#include "format/merge.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 4096, MAX_PAGES = 1 << 17 };

/* ---- the child -------------------------------------------------------------- */

static int
first_int(void *out, int n, char **v, char **names)
{
	(void)names;
	if (n > 0 && v[0] != NULL)
		*(long long *)out = atoll(v[0]);
	return 0;
}

static int
serve(sqlite3 *db)
{
	static char line[1 << 16];

	while (fgets(line, sizeof line, stdin) != NULL) {
		struct timespec a, b;
		long long v = 0;
		int rc;

		(void)clock_gettime(CLOCK_MONOTONIC, &a);
		rc = sqlite3_exec(db, line, first_int, &v, NULL);
		(void)clock_gettime(CLOCK_MONOTONIC, &b);
		(void)printf("%d %lld %ld\n", rc, v,
		    (b.tv_sec - a.tv_sec) * 1000000 +
			(b.tv_nsec - a.tv_nsec) / 1000);
		(void)fflush(stdout);
	}
	return sqlite3_close(db);
}

static void
storm_statement(sqlite3 *db)
{
	static const char *const modes[] = { "PASSIVE", "FULL", "RESTART",
		"TRUNCATE" };
	char q[256];
	int op = rand() % 40;

	(void)snprintf(q, sizeof q,
	    "REPLACE INTO t VALUES(abs(random())%%1500,randomblob(%d))",
	    rand() % (rand() % 4 ? 200 : 9000));
	if (op == 0) {
		(void)snprintf(q, sizeof q, "PRAGMA wal_checkpoint(%s)",
		    modes[rand() % 4]);
	} else if (op == 1) {
		(void)snprintf(
		    q, sizeof q, "DELETE FROM t WHERE x%%%d=0", 2 + rand() % 5);
	} else if (op == 2) {
		(void)snprintf(q, sizeof q, "VACUUM");
	} else if (op < 6) { /* spills */
		(void)sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
		for (int i = rand() % 100; i > 0; i--)
			(void)sqlite3_exec(db, q, NULL, NULL, NULL);
		(void)snprintf(q, sizeof q, rand() % 3 ? "COMMIT" : "ROLLBACK");
	}
	if (sqlite3_exec(db, q, NULL, NULL, NULL) != SQLITE_OK)
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

static int
storm(sqlite3 *db, unsigned seed)
{
	char c;

	srand(seed);
	(void)fcntl(0, F_SETFL, O_NONBLOCK);
	(void)sqlite3_exec(db, "PRAGMA cache_size=10", NULL, NULL, NULL);
	while (read(0, &c, 1) != 0)
		storm_statement(db);
	return sqlite3_close(db);
}

/* Before main: this process is the application when it was told so. */
__attribute__((constructor)) static void
be_the_application(void)
{
	const char *path = getenv("LS_TEST_APP"), *seed;
	sqlite3 *db = NULL;

	if (path == NULL)
		return;
	if (sqlite3_open(path, &db) != SQLITE_OK)
		_exit(9);
	(void)sqlite3_busy_timeout(db, 10000);
	(void)sqlite3_exec(db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
	seed = getenv("LS_TEST_STORM");
	_exit(seed ? storm(db, (unsigned)(int)strtol(seed, NULL, 10))
		   : serve(db));
}

/* ---- the parent ------------------------------------------------------------- */

static void
spawn(struct app *a, const char *db, const char *seed)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
		test_fail(__FILE__, __LINE__, "pipe");
	(void)signal(SIGPIPE, SIG_IGN);
	if ((a->pid = fork()) == 0) {
		(void)dup2(to[0], 0);
		(void)dup2(from[1], 1);
		(void)setenv("LS_TEST_APP", T(db), 1);
		if (seed != NULL)
			(void)setenv("LS_TEST_STORM", seed, 1);
		(void)execl("/proc/self/exe", "app", (char *)NULL);
		_exit(8);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	a->in = fdopen(to[1], "w");
	a->out = fdopen(from[0], "r");
}

void
app_start(struct app *a, const char *db)
{
	spawn(a, db, NULL);
}

void
app_storm(struct app *a, const char *db, unsigned seed)
{
	char text[16];

	(void)snprintf(text, sizeof text, "%u", seed);
	spawn(a, db, text);
}

static int
ask(struct app *a, const char *sql, long long *v, long *us)
{
	char line[128];
	int rc = -1;

	(void)fprintf(a->in, "%s\n", sql);
	(void)fflush(a->in);
	if (fgets(line, sizeof line, a->out) == NULL ||
	    sscanf(line, "%d %lld %ld", &rc, v, us) != 3)
		test_fail(
		    __FILE__, __LINE__, "the application is gone: %s", sql);
	return rc;
}

int
app_sql(struct app *a, const char *fmt, ...)
{
	char sql[4096];
	long long v;
	long us;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(sql, sizeof sql, fmt, ap);
	va_end(ap);
	return ask(a, sql, &v, &us);
}

void
app_ok(struct app *a, const char *fmt, ...)
{
	char sql[4096];
	long long v;
	long us;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	(void)vsnprintf(sql, sizeof sql, fmt, ap);
	va_end(ap);
	if ((rc = ask(a, sql, &v, &us)) != SQLITE_OK)
		test_fail(
		    __FILE__, __LINE__, "%s: %s", sql, sqlite3_errstr(rc));
}

long long
app_int(struct app *a, const char *sql)
{
	long long v = 0;
	long us;

	if (ask(a, sql, &v, &us) != SQLITE_OK)
		test_fail(__FILE__, __LINE__, "%s", sql);
	return v;
}

long
app_timed(struct app *a, int *rc, const char *sql)
{
	long long v;
	long us = 0;

	*rc = ask(a, sql, &v, &us);
	return us;
}

static void
bury(struct app *a)
{
	(void)fclose(a->in);
	(void)waitpid(a->pid, NULL, 0);
	(void)fclose(a->out);
	a->pid = 0;
}

void
app_close(struct app *a)
{
	bury(a);
}

void
app_kill(struct app *a)
{
	(void)kill(a->pid, SIGKILL);
	bury(a);
}

/* ---- the capture ------------------------------------------------------------ */

enum ls_rc
cap_try(const char *db, struct ls_capture **out, struct ls_err *e)
{
	char *path = ls_strdup(T(db));
	char *meta = path ? ls_meta_path(path) : NULL;
	struct ls_capture_conf conf = {
		.db_path = path,
		.meta_path = meta,
		.busy_timeout_ns = LS_SEC,
		.checkpoint_interval_ns = 60 * (int64_t)LS_SEC,
		.min_checkpoint_pages = 1000,
		.truncate_pages = 121359,
		.max_sync_wal_bytes = 64 << 20,
	};
	enum ls_rc rc = meta ? ls_capture_init(e) : ls_err_nomem(e);

	if (rc == LS_OK)
		rc = ls_capture_open(&conf, out, e);
	ls_free(path);
	ls_free(meta);
	return rc;
}

struct ls_capture *
cap_open(const char *db)
{
	struct ls_capture *c = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(cap_try(db, &c, &e));
	return c;
}

void
cap_close(struct ls_capture *c)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_capture_close(c, &e));
}

void
cap_abandon(struct ls_capture *c)
{
	c->pos.txid = 0; /* a close that has nothing to save saves nothing */
	cap_close(c);
}

struct ls_captured
cap_step(struct ls_capture *c)
{
	struct ls_captured out = { .reason = "" };
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_EAGAIN;

	for (int i = 0; i < 200 && (rc == LS_EAGAIN || rc == LS_EBUSY); i++) {
		rc = ls_capture_step(c, &out, &e);
		if (rc == LS_EAGAIN)
			(void)usleep(1000);
	}
	CHECK_OK(rc);
	return out;
}

int
cap_drain(struct ls_capture *c)
{
	int n = 0;

	while (ls_capture_changed(c)) {
		struct ls_captured got = cap_step(c);
		if (got.kind == LS_CAP_NONE)
			break;
		n++;
	}
	return n;
}

void
cap_truncate(struct ls_capture *c)
{
	struct ls_checkpointed k = { .log = 1 };
	struct ls_err e = { 0 };

	(void)cap_drain(c);
	for (int i = 0; i < 20 && !k.restarted; i++)
		CHECK_OK(ls_capture_checkpoint(c, LS_CKPT_TRUNCATE, &k, &e));
	CHECK(k.restarted);
	CHECK_EQ(k.log, k.done);
}

struct ls_ltx_header
cap_header(struct ls_capture *c, uint64_t txid)
{
	struct ls_ltx_header h;
	struct ls_err e = { 0 };

	CHECK_OK(ls_spool_header(ls_capture_spool(c), txid, &h, NULL, &e));
	return h;
}

/* ---- comparing -------------------------------------------------------------- */

struct merged {
	struct ls_ltx_mem mem[MAX_FILES];
	struct ls_buf buf[MAX_FILES];
	struct ls_merge_input in[MAX_FILES];
	uint64_t sum[MAX_PAGES];
	struct ls_ltx_header h;
};

/* FNV-1a: not the product's own checksum. */
static uint64_t
hash(const uint8_t *p, size_t n)
{
	uint64_t h = 1469598103934665603ull;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211ull;
	return h | 1;
}

static enum ls_rc
keep_sum(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct merged *m = arg;

	(void)e;
	CHECK(pgno < MAX_PAGES);
	m->sum[pgno] = hash(data, m->h.page_size);
	return LS_OK;
}

static struct merged *
merge(const char *db)
{
	static struct merged *m;
	struct ls_err e = { 0 };
	char *meta = ls_meta_path(T(db));
	size_t n = 0;

	ls_free(m);
	m = ls_zalloc(sizeof *m);
	CHECK(m != NULL && meta != NULL);
	for (uint64_t t = 1; n < MAX_FILES; t++, n++) {
		char name[LS_LTX_NAME_MAX], path[1024];
		(void)snprintf(path, sizeof path, "%s/ltx/0/%s", meta,
		    ls_ltx_name(t, t, name));
		if (!ls_exists(path))
			break;
		ls_buf_init(&m->buf[n], (size_t)1 << 31);
		CHECK_OK(ls_read_file(path, (size_t)1 << 31, &m->buf[n], &e));
		m->mem[n].span = ls_buf_span(&m->buf[n]);
		m->in[n] =
		    (struct ls_merge_input){ ls_ltx_mem_source, &m->mem[n] };
	}
	CHECK(n > 0);
	CHECK_OK(ls_ltx_header_decode(LS_SPAN(m->buf[0].p, 100), &m->h, &e));
	CHECK_OK(ls_merge_pages(m->in, n, keep_sum, m, &m->h, &e));
	for (size_t i = 0; i < n; i++)
		ls_buf_free(&m->buf[i]);
	ls_free(meta);
	return m;
}

void
check_merged_is_file(const char *db)
{
	struct merged *m = merge(db);
	struct ls_span f = test_read_file(T(db));
	uint32_t ps = m->h.page_size;

	CHECK_EQ(f.n, (uint64_t)m->h.commit * ps);
	for (uint32_t p = 1; p <= m->h.commit; p++)
		if (hash(f.p + (size_t)(p - 1) * ps, ps) != m->sum[p])
			test_fail(__FILE__, __LINE__, "page %u differs", p);
}

void
check_merged_is_view(struct ls_capture *c, const char *db)
{
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_EAGAIN;
	uint8_t *page = ls_alloc(LS_PAGE_MAX);
	struct merged *m;

	for (int i = 0; i < 100 && rc == LS_EAGAIN; i++) {
		rc = ls_view_open(c, &v, &info, &e);
		if (rc == LS_EAGAIN)
			(void)cap_drain(c);
	}
	CHECK_OK(rc);
	m = merge(db);
	CHECK_EQ(m->h.max_txid, info.txid);
	CHECK_EQ(m->h.commit, info.commit);
	for (uint32_t p = 1; p <= info.commit; p++) {
		CHECK_OK(ls_view_page(v, p, page, &e));
		if (hash(page, info.page_size) != m->sum[p])
			test_fail(__FILE__, __LINE__, "page %u differs", p);
	}
	ls_view_close(v);
	ls_free(page);
}
