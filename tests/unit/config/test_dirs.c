#include "test.h"

#include "config/schema.h"

#include <sys/stat.h>

static struct ls_config cfg;

static void
parse(const char *text)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_config_parse(
	    "c.yml", LS_SPAN(text, strlen(text)), false, &cfg, &e));
}

static void
refuses(const char *text, const char *want)
{
	struct ls_err e = { 0 };

	CHECK(ls_config_parse("c.yml", LS_SPAN(text, strlen(text)), false, &cfg,
		  &e) != LS_OK);
	if (strstr(e.msg, want) == NULL)
		test_fail(
		    __FILE__, __LINE__, "\"%s\" lacks \"%s\"", e.msg, want);
}

static void
member(const char *path, const char *meta, const char *place)
{
	struct ls_db_config db;
	struct ls_err e = { 0 };
	char *text;

	CHECK(ls_dir_fits(&cfg.dirs[0], path));
	CHECK_OK(ls_dir_member(&cfg.dirs[0], path, &db, &e));
	CHECK_STR(db.path, path);
	CHECK_STR(db.meta_path, meta);
	CHECK((text = ls_place_text(&db.place)) != NULL);
	CHECK_STR(text, place);
	ls_free(text);
	ls_db_config_fini(&db);
}

/* compatibility 2.3, 4.7, 10: <base>/<relpath>, and three forms of local
 * state. */
TEST(members_get_places_of_their_own)
{
	parse("dbs:\n- {dir: /d/, pattern: '*.db', recursive: true,\n"
	      "   replica: {url: 's3://b/base?endpoint=http://h:1'}}\n");
	CHECK_EQ(cfg.n_dbs, 0);
	CHECK_EQ(cfg.n_dirs, 1);
	member(
	    "/d/a.db", "/d/.a.db-litestream", "s3://b/base/a.db at http://h:1");
	member("/d/x/y/a.db", "/d/x/y/.a.db-litestream",
	    "s3://b/base/x/y/a.db at http://h:1");
	ls_config_fini(&cfg);
	parse("dbs:\n- {dir: /d, pattern: '*', recursive: true, meta-path: /m,"
	      " replica: {path: /r}}\n");
	member("/d/x/a", "/m/x/.a-litestream", "file:///r/x/a");
	member("/d/a", "/m/.a-litestream", "file:///r/a");
	ls_config_fini(&cfg);
	parse("dbs:\n- {dir: /d, pattern: '*', recursive: true, meta-dir: /m,"
	      " replica: {path: /r}}\n");
	member("/d/x/a", "/m/x/a-litestream", "file:///r/x/a");
	ls_config_fini(&cfg);
}

TEST(names_that_fit)
{
	static const struct {
		const char *path;
		bool flat, deep;
	} t[] = { { "/d/a.db", true, true }, { "/d/x/a.db", false, true },
		{ "/d/a.db-wal", false, false },
		{ "/d/a.db-journal", false, false },
		{ "/d/a.dbx", false, false }, { "/dd/a.db", false, false },
		{ "/d", false, false }, { "/d/.a.db", true, true } };

	for (int deep = 0; deep < 2; deep++) {
		parse(deep ? "dbs:\n- {dir: /d, pattern: '*.db', "
			     "recursive: true, replica: {path: /r}}\n"
			   : "dbs:\n- {dir: /d, pattern: '*.db', "
			     "replica: {path: /r}}\n");
		for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
			CHECK_EQ(ls_dir_fits(&cfg.dirs[0], t[i].path),
			    deep ? t[i].deep : t[i].flat);
		ls_config_fini(&cfg);
	}
}

TEST(patterns_are_checked)
{
	static const char *const bad[] = { "[", "[]", "[^]", "a\\", "[a",
		"[a\\" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK(!ls_pattern_ok(bad[i]));
	CHECK(ls_pattern_ok("[a-z]*.d?"));
	CHECK(ls_pattern_ok("[^a]\\[x"));
	refuses("dbs:\n- {dir: /d, pattern: '[', replica: {path: /r}}\n",
	    "database config #1: syntax error in pattern \"[\"");
}

/* What a command sees: databases only, and none in folders of our own. */
TEST(commands_find_members)
{
	static const char head[] = "SQLite format 3\0and more";
	char text[512];
	struct ls_err e = { 0 };

	CHECK(mkdir(T("d"), 0700) == 0 && mkdir(T("d/s"), 0700) == 0);
	CHECK(mkdir(T("d/.a.db-litestream"), 0700) == 0);
	test_write_file(T("d/a.db"), head, sizeof head);
	test_write_file(T("d/s/b.db"), head, sizeof head);
	test_write_file(T("d/.a.db-litestream/c.db"), head, sizeof head);
	test_write_file(T("d/no.db"), "text", 4);
	test_write_file(T("d/empty.db"), "", 0);
	(void)snprintf(text, sizeof text,
	    "dbs:\n- {dir: %s, pattern: '*.db', recursive: true, "
	    "replica: {path: /r}}\n",
	    T("d"));
	parse(text);
	CHECK_OK(ls_config_add_members(&cfg, &e));
	CHECK_EQ(cfg.n_dbs, 2);
	CHECK_OK(ls_config_add_members(&cfg, &e)); /* none twice */
	CHECK_EQ(cfg.n_dbs, 2);
	CHECK(ls_config_resolve(&cfg, T("d/s/b.db")) != NULL);
	CHECK(ls_config_resolve(&cfg, T("d/later.db")) != NULL);
	CHECK(ls_config_resolve(&cfg, T("x.db")) == NULL);
	ls_config_fini(&cfg);
}
