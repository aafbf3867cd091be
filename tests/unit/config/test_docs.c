/* test_docs.c -- rows, example file and README say the same.
 *
 * Run `unit_config readme` with LS_PRINT_OPTIONS=1 to print the table that
 * belongs between the README's markers. */
#include "test.h"

#include "config/schema.h"

/* The repository, from where this file lies in it. */
static const char *
in_repository(const char *name)
{
	static char path[4096];
	const char *end = strstr(__FILE__, "tests/unit/config");

	CHECK(end != NULL);
	(void)snprintf(
	    path, sizeof path, "%.*s%s", (int)(end - __FILE__), __FILE__, name);
	return path;
}

TEST(example_as_shipped_is_valid)
{
	struct ls_config cfg;
	struct ls_err e = { 0 };

	CHECK_OK(ls_config_load(
	    in_repository("etc/litestream.yml"), true, &cfg, &e));
	CHECK_EQ(cfg.n_dbs, 0);
	CHECK_EQ(cfg.n_warnings, 0);
	ls_config_fini(&cfg);
}

/* Switch on what is commented out: "#key" and "#  key" of list items; prose
 * begins with "# " and one space only. */
static void
switch_on(struct ls_span in, struct ls_buf *out)
{
	struct ls_err e = { 0 };
	const char *p = (const char *)in.p, *end = p + in.n;

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl ? nl + 1 : end) - p);

		if (p[0] == '#' && n > 2 && (p[1] != ' ' || p[2] == ' '))
			CHECK_OK(ls_buf_add(out, p + 1, n - 1, &e));
		p += n;
	}
}

static const char *
last_part(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot ? dot + 1 : key;
}

/* Every row that is documented stands in the example, where it belongs, and
 * everything in the example is a key that works. */
TEST(example_names_every_key)
{
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct ls_raw raw;
	struct ls_err e = { 0 };
	struct ls_option_doc o;
	size_t n = 0;

	switch_on(test_read_file(in_repository("etc/litestream.yml")), &b);
	CHECK_OK(ls_raw_init(&raw, &e));
	CHECK_OK(ls_raw_read(&raw, "example", ls_buf_span(&b), &e));
	CHECK_EQ(raw.cfg.n_warnings, 0);
	for (; ls_config_option(n, &o); n++) {
		const struct ls_map *m = strstr(o.key, "dbs[].replica.")
					     ? &ls_map_replica
					     : &ls_map_db;
		bool nested = strstr(o.key, "snapshot.") != NULL ||
			      strncmp(o.key, "dbs[].", 6) != 0;
		char line[64];

		(void)snprintf(line, sizeof line, "%s:", last_part(o.key));
		if (strstr(ls_buf_str(&b), line) == NULL ||
		    (!nested && !ls_raw_given(&raw, m, last_part(o.key))))
			test_fail(__FILE__, __LINE__,
			    "etc/litestream.yml lacks %s", o.key);
	}
	CHECK(n > 50);
	ls_raw_fini(&raw);
	ls_buf_free(&b);
}

/* A default in the example is the default of the row. */
TEST(example_shows_the_defaults)
{
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct ls_raw raw;
	struct ls_config d;
	struct ls_err e = { 0 };

	switch_on(test_read_file(in_repository("etc/litestream.yml")), &b);
	CHECK_OK(ls_raw_init(&raw, &e));
	CHECK_OK(ls_raw_read(&raw, "example", ls_buf_span(&b), &e));
	CHECK_OK(ls_config_defaults(&d, &e));
	CHECK_EQ(raw.cfg.n_levels, d.n_levels);
	for (int i = 0; i < d.n_levels; i++)
		CHECK_EQ(raw.cfg.level_interval_ns[i], d.level_interval_ns[i]);
	CHECK_EQ(raw.cfg.snapshot_interval_ns, d.snapshot_interval_ns);
	CHECK_EQ(raw.cfg.snapshot_retention_ns, d.snapshot_retention_ns);
	CHECK_EQ(raw.cfg.l0_retention_ns, d.l0_retention_ns);
	CHECK_EQ(raw.cfg.park_after_ns, d.park_after_ns);
	CHECK_EQ(raw.cfg.socket.enabled, d.socket.enabled);
	CHECK_EQ(raw.cfg.socket.permissions, d.socket.permissions);
	CHECK_STR(raw.cfg.socket.path, d.socket.path);
	CHECK_EQ(raw.cfg.shutdown_sync_timeout_ns, d.shutdown_sync_timeout_ns);
	ls_config_fini(&d);
	ls_raw_fini(&raw);
	ls_buf_free(&b);
}

TEST(readme_table_is_generated)
{
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct ls_span readme = test_read_file(in_repository("README.md"));
	struct ls_buf text = LS_BUF_INIT(4 << 20);
	struct ls_option_doc o;
	struct ls_err e = { 0 };

	CHECK_OK(ls_buf_adds(&b,
	    "<!-- options -->\n"
	    "| key | type | default | meaning |\n"
	    "|---|---|---|---|\n",
	    &e));
	for (size_t i = 0; ls_config_option(i, &o); i++)
		CHECK_OK(ls_buf_addf(&b, &e, "| `%s`%s | %s | %s | %s |\n",
		    o.key, o.inherit ? " *" : "", o.type, o.def, o.doc));
	CHECK_OK(ls_buf_adds(&b, "<!-- /options -->\n", &e));
	if (getenv("LS_PRINT_OPTIONS") != NULL)
		(void)fputs(ls_buf_str(&b), stdout);
	CHECK_OK(ls_buf_add(&text, readme.p, readme.n, &e));
	CHECK(strstr(ls_buf_str(&text), ls_buf_str(&b)) != NULL);
	ls_buf_free(&b);
	ls_buf_free(&text);
}
