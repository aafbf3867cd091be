/* test_parts.c -- the pieces that stand alone: cache, times, options. */
#include "test.h"

#include "base/units.h"
#include "fixture.h"
#include "vfs/cache.h"
#include "vfs/index.h"
#include "vfs/opts.h"
#include "vfs/when.h"

/* ---- cache ----------------------------------------------------------------*/

static void
fill(uint8_t *p, uint32_t serial, uint32_t pgno)
{
	memset(p, (int)(serial * 31 + pgno), 1024);
	memcpy(p + 4, &pgno, sizeof pgno);
	p[0] = 13; /* a leaf */
}

TEST(cache_is_bounded_and_keeps_the_latest)
{
	struct ls_cache *c = NULL;
	struct ls_cache_stats st;
	struct ls_err e = { 0 };
	uint8_t page[1024], got[1024];
	uint32_t room, kept = 0;

	CHECK_OK(ls_cache_new(1024, 300 << 10, &c, &e));
	room = ls_cache_room(c);
	for (uint32_t p = 1; p <= 5000; p++) {
		fill(page, 1 + p % 3, p);
		ls_cache_put(c, 1 + p % 3, p, page);
	}
	ls_cache_stats(c, &st);
	CHECK_EQ(st.pages, room);
	CHECK(st.bytes <= 300 << 10);
	for (uint32_t p = 1; p <= 5000; p++) {
		if (!ls_cache_get(c, 1 + p % 3, p, 0, 1024, got))
			continue;
		fill(page, 1 + p % 3, p);
		CHECK(memcmp(got, page, 1024) == 0);
		CHECK(p > 5000 - room);
		kept++;
	}
	CHECK_EQ(kept, room);
	CHECK(!ls_cache_get(c, 7, 5000, 0, 1024, got));
	ls_cache_unref(c);
}

TEST(cache_spares_what_is_used)
{
	struct ls_cache *c = NULL;
	struct ls_err e = { 0 };
	uint8_t page[1024], got[1024];

	CHECK_OK(ls_cache_new(1024, 64 << 10, &c, &e));
	fill(page, 1, 1);
	ls_cache_put(c, 1, 1, page);
	for (uint32_t p = 2; p <= 500; p++) {
		fill(page, 1, p);
		ls_cache_put(c, 1, p, page);
		CHECK(ls_cache_get(c, 1, 1, 0, 1024, got));
	}
	ls_cache_unref(c);
}

/* How many of the interior pages 1..50 are there still. */
static uint32_t
interior_left(struct ls_cache *c)
{
	uint32_t n = 0;

	for (uint32_t p = 1; p <= 50; p++)
		n += ls_cache_has(c, 1, p);
	return n;
}

TEST(interior_pages_outlive_leaves)
{
	struct ls_cache *c = NULL;
	struct ls_err e = { 0 };
	uint8_t page[1024], got[1024];
	uint32_t room, p;

	CHECK_OK(ls_cache_new(1024, 300 << 10, &c, &e));
	room = ls_cache_room(c);
	for (p = 1; p <= 50; p++) {
		fill(page, 1, p);
		page[p == 1 ? 100 : 0] = p % 2 ? 2 : 5;
		ls_cache_put(c, 1, p, page);
	}
	fill(page, 1, 1), page[0] = 13;
	for (p = 51; p < 51 + 4 * room; p++)
		ls_cache_put(c, 1, p, page);
	CHECK_EQ(interior_left(c), 50);
	CHECK(ls_cache_get(c, 1, 7, 0, 1024, got));
	CHECK(got[0] == 2);
	/* Not for ever, unless they are used. */
	for (; p < 51 + 40 * room; p++) {
		ls_cache_put(c, 1, p, page);
		CHECK(ls_cache_get(c, 1, 8, 0, 1024, got));
	}
	CHECK_EQ(interior_left(c), 1);
	/* And a cache of nothing else still takes the next one. */
	page[0] = 5;
	for (uint32_t end = p + 3 * room; p < end; p++) {
		ls_cache_put(c, 1, p, page);
		CHECK(ls_cache_has(c, 1, p));
	}
	ls_cache_unref(c);
}

/* ---- versions -------------------------------------------------------------*/

static struct ls_vfile *
file(struct ls_vfiles *s, uint64_t txid, uint32_t commit)
{
	struct ls_vfile like = { .f = { .min_txid = txid, .max_txid = txid },
		.h = { .page_size = 512,
		    .commit = commit,
		    .min_txid = txid,
		    .max_txid = txid } };

	return ls_vfiles_add(s, &like);
}

/* An index of pages lo..hi. */
static struct ls_ltx_index
pages(struct ls_ltx_entry *v, uint32_t lo, uint32_t hi)
{
	for (uint32_t p = lo; p <= hi; p++)
		v[p - lo] = (struct ls_ltx_entry){ 100 + p * 10ull, 10, p };
	return (struct ls_ltx_index){ v, hi - lo + 1 };
}

TEST(versions_are_immutable_and_files_go_with_their_last_page)
{
	enum { N = 3000 };
	static struct ls_ltx_entry v[N];
	struct ls_ltx_index all = pages(v, 1, N), some;
	struct ls_vfiles s;
	struct ls_vfile *a, *b;
	struct ls_ver *one = NULL, *two = NULL;
	struct ls_where w;
	struct ls_err e = { 0 };

	ls_vfiles_init(&s);
	a = file(&s, 1, N);
	b = file(&s, 2, N - 1000);
	CHECK_OK(ls_ver_new(&s, 512, NULL, &one, &e));
	CHECK_OK(ls_ver_apply(one, a, &all, &e));
	CHECK_OK(ls_ver_copy(one, &two, &e));
	some = pages(v, 700, 1400);
	CHECK_OK(ls_ver_apply(two, b, &some, &e));
	CHECK_OK(ls_ver_check(two, &e));
	for (uint32_t p = 1; p <= N; p++) {
		CHECK(ls_ver_find(one, p, &w) && w.file == a);
		CHECK(ls_ver_find(two, p, &w) == (p <= N - 1000));
		if (p <= N - 1000)
			CHECK(w.file == (p >= 700 && p <= 1400 ? b : a));
	}
	ls_vfile_unref(&s, a, 1);
	ls_vfile_unref(&s, b, 1);
	CHECK_EQ(s.n, 2);
	ls_ver_unref(one);
	CHECK_EQ(s.n, 2);
	ls_ver_unref(two);
	CHECK_EQ(s.n, 0);
	ls_vfiles_fini(&s);
}

TEST(incomplete_growth_is_refused)
{
	static struct ls_ltx_entry v[64];
	struct ls_ltx_index idx = pages(v, 1, 10);
	struct ls_vfiles s;
	struct ls_vfile *a;
	struct ls_ver *one = NULL;
	struct ls_err e = { 0 };

	ls_vfiles_init(&s);
	a = file(&s, 1, 4000000000u); /* says much more than it holds */
	CHECK_OK(ls_ver_new(&s, 512, NULL, &one, &e));
	CHECK_RC(ls_ver_apply(one, a, &idx, &e), LS_ECORRUPT);
	ls_ver_unref(one);
	ls_vfile_unref(&s, a, 1);
	ls_vfiles_fini(&s);
}

/* ---- times ----------------------------------------------------------------*/

TEST(relative_times)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "2026-03-31T10:00:00Z", "2026-03-31T10:00:00Z" },
		{ "2026-03-31T10:00:00.25+02:00", "2026-03-31T08:00:00.25Z" },
		{ "2026-03-01", "2026-03-01T00:00:00Z" },
		{ "2026-03-01 07:08", "2026-03-01T07:08:00Z" },
		{ "2026-03-01 07:08:09.5", "2026-03-01T07:08:09.5Z" },
		{ "now", "2026-03-31T12:30:00Z" },
		{ "today", "2026-03-31T00:00:00Z" },
		{ "yesterday", "2026-03-30T12:30:00Z" },
		{ "5 minutes ago", "2026-03-31T12:25:00Z" },
		{ "2 hours ago", "2026-03-31T10:30:00Z" },
		{ "an hour ago", "2026-03-31T11:30:00Z" },
		{ "1 Day, 2 Hours ago", "2026-03-30T10:30:00Z" },
		{ "1 day and 30 seconds ago", "2026-03-30T12:29:30Z" },
		{ "90s ago", "2026-03-31T12:28:30Z" },
		{ "3 weeks ago", "2026-03-10T12:30:00Z" },
		{ "1 month ago", "2026-02-28T12:30:00Z" },
		{ "2 years ago", "2024-03-31T12:30:00Z" },
		{ "-1h30m", "2026-03-31T11:00:00Z" },
	};
	static const char *const bad[] = { "", "soon", "5 ago", "ago",
		"minutes ago", "5 parsecs ago", "5 minutes", "1h30m",
		"2026-13-01", "2026-03-01x", "99999999999 days ago",
		"999999999 weeks ago" };
	struct ls_err e = { 0 };
	char text[LS_TIME_MAX];
	int64_t now, ns;

	CHECK_OK(ls_time_parse("2026-03-31T12:30:00Z", &now, &e));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CHECK_OK(ls_when_parse(rows[i].in, now, &ns, &e));
		CHECK_STR(ls_time_nano(ns, text), rows[i].want);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_RC(ls_when_parse(bad[i], now, &ns, &e), LS_EINVALID);
}

/* ---- options --------------------------------------------------------------*/

static const char *const *environment;

static const char *
env(const char *name)
{
	for (const char *const *p = environment; *p != NULL; p += 2)
		if (strcmp(p[0], name) == 0)
			return p[1];
	return NULL;
}

static bool
param(void *arg, int i, const char **name, const char **value)
{
	const char *const *p = arg;

	*name = p[2 * i];
	if (*name == NULL)
		return false;
	*value = p[2 * i + 1];
	return true;
}

static enum ls_rc
read_opts(struct ls_vfs_opts *o, const char *const *vars, const char **uri,
    struct ls_err *e)
{
	environment = vars;
	return ls_vfs_opts_read(o, env, param, uri, e);
}

TEST(uri_wins_over_the_environment)
{
	static const char *const vars[] = { "LITESTREAM_REPLICA_URL",
		"file:///a", "LITESTREAM_CACHE_SIZE", "1MB",
		"LITESTREAM_POLL_INTERVAL", "5s", "LITESTREAM_HYDRATION_PATH",
		"/h", "LITESTREAM_CACHE_PATH", "/c", NULL };
	const char *uri[] = { "cache_path", "", "cache_disk", "3GB", "vfs",
		"litestream", "mode", "ro", "replica", "file:///b",
		"cache_size", "2MiB", "poll", "0", "_driver", "1", "hydrate",
		"0", NULL };
	const char *none[] = { NULL };
	struct ls_vfs_opts o = { 0 };
	struct ls_err e = { 0 };

	CHECK_OK(read_opts(&o, vars, none, &e));
	CHECK_STR(o.url, "file:///a");
	CHECK_EQ(o.cache_bytes, 1000000);
	CHECK_EQ(o.poll_ns, 5 * LS_SEC);
	CHECK(o.hydrate);
	CHECK_STR(o.hydrate_path, "/h");
	CHECK_STR(o.disk_path, "/c");
	CHECK_EQ(o.disk_bytes, 1000000000);
	ls_vfs_opts_fini(&o);
	CHECK_OK(read_opts(&o, vars, uri, &e));
	CHECK_STR(o.url, "file:///b");
	CHECK_EQ(o.cache_bytes, 2 << 20);
	CHECK_EQ(o.poll_ns, 0);
	CHECK(!o.hydrate);
	CHECK(o.disk_path == NULL);
	CHECK_EQ(o.disk_bytes, 3000000000);
	ls_vfs_opts_fini(&o);
}

/* Without a folder a temporary file, of a size of its own; 0 means none. */
TEST(disk_cache_has_two_defaults)
{
	const char *vars[] = { "LITESTREAM_REPLICA_URL", "file:///a", NULL,
		NULL, NULL };
	const char *uri[] = { "cache_disk", "0", "cache_path", "/c", NULL };
	struct ls_vfs_opts o = { 0 };
	struct ls_err e = { 0 };

	CHECK_OK(read_opts(&o, vars, &uri[4], &e));
	CHECK(o.disk_path == NULL);
	CHECK_EQ(o.disk_bytes, 256000000);
	ls_vfs_opts_fini(&o);
	CHECK_OK(read_opts(&o, vars, &uri[2], &e));
	CHECK_EQ(o.disk_bytes, 1000000000);
	ls_vfs_opts_fini(&o);
	CHECK_OK(read_opts(&o, vars, uri, &e));
	CHECK_EQ(o.disk_bytes, 0);
	ls_vfs_opts_fini(&o);
	vars[2] = "LITESTREAM_CACHE_DISK_SIZE", vars[3] = "0";
	CHECK_OK(read_opts(&o, vars, &uri[4], &e));
	CHECK_EQ(o.disk_bytes, 0);
	ls_vfs_opts_fini(&o);
}

TEST(wrong_options_are_named)
{
	static const char *const vars[] = { "LITESTREAM_REPLICA_URL",
		"file:///a", NULL };
	static const char *const nothing[] = { NULL };
	static const struct {
		const char *name, *value, *says;
		enum ls_rc rc;
	} rows[] = {
		{ "replcia", "file:///b", "replcia", LS_EINVALID },
		{ "cache_size", "much", "cache_size", LS_EINVALID },
		{ "cache_disk", "-1", "cache_disk", LS_EINVALID },
		{ "poll", "5", "poll", LS_EINVALID },
		{ "poll", "-5s", "poll", LS_EINVALID },
		{ "immutable", "1", "immutable", LS_EINVALID },
		{ "nolock", "1", "nolock", LS_EINVALID },
		{ "write", "2", "write", LS_EINVALID },
	};
	struct ls_vfs_opts o = { 0 };
	struct ls_err e = { 0 };
	const char *none[] = { NULL };
	const char *both[] = { "time", "now", "txid", "1", NULL };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *uri[] = { rows[i].name, rows[i].value, NULL };

		CHECK_RC(read_opts(&o, vars, uri, &e), rows[i].rc);
		CHECK(strstr(e.msg, rows[i].says) != NULL);
	}
	CHECK_RC(read_opts(&o, vars, both, &e), LS_EINVALID);
	CHECK_RC(read_opts(&o, nothing, none, &e), LS_EINVALID);
	CHECK(strstr(e.msg, "LITESTREAM_REPLICA_URL") != NULL);
}

TEST(hydration_is_switched_as_documented)
{
	static const struct {
		const char *on, *path;
		bool want;
	} rows[] = { { "true", NULL, true }, { "false", "/h", false },
		{ NULL, "/h", true }, { NULL, NULL, false },
		{ "true", "/h", true }, { "", "", false } };
	const char *none[] = { NULL };
	struct ls_err e = { 0 };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *vars[8] = { "LITESTREAM_REPLICA_URL", "file:///a" };
		size_t n = 2;
		struct ls_vfs_opts o = { 0 };

		if (rows[i].on != NULL) {
			vars[n++] = "LITESTREAM_HYDRATION_ENABLED";
			vars[n++] = rows[i].on;
		}
		if (rows[i].path != NULL) {
			vars[n++] = "LITESTREAM_HYDRATION_PATH";
			vars[n++] = rows[i].path;
		}
		CHECK_OK(read_opts(&o, vars, none, &e));
		CHECK_EQ(o.hydrate, rows[i].want);
		ls_vfs_opts_fini(&o);
	}
}
