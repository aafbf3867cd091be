/* test_settle.c -- what settings mean together. */
#include "test.h"

#include "fault.h"

#include "config/config.h"

#include <errno.h>
#include <unistd.h>

static struct ls_config cfg;

static enum ls_rc
parse(const char *text, struct ls_err *e)
{
	ls_config_fini(&cfg);
	return ls_config_parse("c.yml", LS_SPAN_STR(text), true, &cfg, e);
}

static void
refuses(const char *text, const char *want)
{
	struct ls_err e = { 0 };

	if (parse(text, &e) == LS_OK)
		test_fail(__FILE__, __LINE__, "accepted: %s", text);
	if (strstr(e.msg, want) == NULL)
		test_fail(
		    __FILE__, __LINE__, "\"%s\" lacks \"%s\"", e.msg, want);
}

/* compatibility 2.3, 2.4. */
TEST(upstream_messages)
{
	refuses("dbs:\n- {path: /a, dir: /b, pattern: x}\n",
	    "c.yml:2: database config #1: cannot specify both 'path' and "
	    "'dir'");
	refuses("dbs:\n- {replica: {path: /r}}\n",
	    "must specify either 'path' or 'dir'");
	refuses("dbs:\n- {dir: /d}\n", "'pattern' is required when using "
				       "'dir'");
	refuses("dbs:\n- {path: /a, watch: true}\n",
	    "'watch' can only be enabled with a directory");
	refuses("dbs:\n- {path: /a, meta-dir: /m}\n",
	    "'meta-dir' can only be used with a directory");
	refuses("dbs:\n- {path: /a}\n", "must specify replica for database");
	refuses("dbs:\n- {path: /a, replica: {path: /r},"
		" replicas: [{path: /q}]}\n",
	    "cannot specify 'replica' and 'replicas' on a database");
	refuses("dbs:\n- {path: /a, replicas: [{path: /r}, {path: /q}]}\n",
	    "multiple replicas on a single database are no longer supported");
	refuses("dbs:\n- {path: /a, replica: {path: 's3://b/p'}}\n",
	    "replica path cannot be a url, please use the 'url' field "
	    "instead");
	refuses("dbs:\n- {path: /a, replica: {url: 's3://b/p', path: p}}\n",
	    "cannot specify url & path for s3 replica");
	refuses("dbs:\n- {path: /a, replica: {url: 's3://b/p', bucket: p}}\n",
	    "cannot specify url & bucket for s3 replica");
	refuses("dbs:\n- {path: /a, replica: {type: odd}}\n",
	    "unknown replica type in config: \"odd\"");
	refuses("dbs:\n- {path: /a, min-checkpoint-page-count: 0,"
		" replica: {path: /r}}\n",
	    "minimum checkpoint page count required");
	refuses("dbs:\n- {path: /a, snapshot: {interval: 1h},"
		" replica: {path: /r}}\n"
		"- {path: /b, snapshot: {interval: 2h},"
		" replica: {path: /q}}\n",
	    "conflicting database snapshot intervals");
}

TEST(errors_name_the_line_of_the_replica)
{
	refuses("dbs:\n- path: /a\n\n  replica:\n    type: s3\n",
	    "c.yml:4: database /a: bucket required for s3 replica");
}

TEST(sharing_is_refused)
{
	refuses("dbs:\n- {path: /a, replica: {path: /r}}\n"
		"- {path: /x/../a, replica: {path: /q}}\n",
	    "duplicate path \"/a\", also in line");
	refuses("dbs:\n- {path: /a, meta-path: /m, replica: {path: /r}}\n"
		"- {path: /b, meta-path: /m, replica: {path: /q}}\n",
	    "meta-path collision");
	refuses("dbs:\n- {path: /a, replica: {path: /r}}\n"
		"- {path: /b, replica: {url: 'file:///r/'}}\n",
	    "c.yml:3: replica collision");
}

TEST(replicas_inherit_from_the_top_level)
{
	struct ls_err e = { 0 };
	const struct ls_db_config *d;

	CHECK_OK(parse("region: eu-1\n"
		       "endpoint: http://127.0.0.1:9\n"
		       "bucket: shared\n"
		       "access-key-id: k\n"
		       "sign-payload: false\n"
		       "part-size: 6MiB\n"
		       "max-sync-ltx-files: 7\n"
		       "fencing: off\n"
		       "dbs:\n"
		       "- path: /a\n"
		       "  replica: {type: s3, path: p, region: us-9,"
		       " fencing: require, sign-payload: true}\n"
		       "- path: /b\n"
		       "  replica: {url: 's3://own/q?region=x-1'}\n",
	    &e));
	d = &cfg.dbs[0];
	CHECK_STR(d->place.region, "us-9");
	CHECK_STR(d->place.bucket, "shared");
	CHECK_STR(d->place.endpoint, "http://127.0.0.1:9");
	CHECK_STR(d->place.access_key_id, "k");
	CHECK_EQ(d->place.sign_payload, LS_YES);
	CHECK_EQ(d->place.fencing, LS_FENCING_REQUIRE);
	CHECK_EQ(d->place.part_size, 6 << 20);
	CHECK_EQ(d->max_sync_ltx_files, 7);
	d = &cfg.dbs[1];
	CHECK_STR(d->place.bucket, "own"); /* a url has its own bucket */
	CHECK_STR(d->place.region, "x-1");
	CHECK_EQ(d->place.sign_payload, LS_NO);
	CHECK_EQ(d->place.fencing, LS_FENCING_OFF);
	ls_config_fini(&cfg);
}

TEST(the_file_wins_over_the_url_for_part_size)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n- path: /a\n  replica:\n    concurrency: 2\n"
		       "    url: s3://b/p?partSize=10485760&concurrency=9\n",
	    &e));
	CHECK_EQ(cfg.dbs[0].place.part_size, 10485760);
	CHECK_EQ(cfg.dbs[0].place.concurrency, 2);
	ls_config_fini(&cfg);
}

TEST(a_scheme_wins_over_type)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n- path: /a\n"
		       "  replica: {type: s3, url: 'file:///r'}\n",
	    &e));
	CHECK_STR(cfg.dbs[0].place.type, "file");
	ls_config_fini(&cfg);
}

TEST(snapshot_settings_of_databases_are_promoted)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n- {path: /a, replica: {path: /r}}\n"
		       "- {path: /b, snapshot: {interval: 2h},"
		       " replica: {path: /q}}\n",
	    &e));
	CHECK_EQ(cfg.snapshot_interval_ns, 7200ll * 1000000000);
	CHECK_OK(parse("snapshot: {interval: 1h}\n"
		       "dbs:\n- {path: /b, snapshot: {interval: 2h},"
		       " replica: {path: /q}}\n",
	    &e));
	CHECK_EQ(cfg.snapshot_interval_ns, 3600ll * 1000000000);
	ls_config_fini(&cfg);
}

TEST(paths_are_made_absolute)
{
	struct ls_err e = { 0 };
	char *cwd = getcwd(NULL, 0), want[4096];

	CHECK(setenv("HOME", "/home/x", 1) == 0);
	CHECK_OK(parse("dbs:\n- {path: '~/a.db', replica: {path: '~/r'}}\n"
		       "- {path: 'sqlite:///b/../c.db', replica: {path: q}}\n",
	    &e));
	CHECK_STR(cfg.dbs[0].path, "/home/x/a.db");
	CHECK_STR(cfg.dbs[0].place.path, "/home/x/r");
	CHECK_STR(cfg.dbs[1].path, "/c.db");
	CHECK_STR(cfg.dbs[1].meta_path, "/.c.db-litestream");
	(void)snprintf(want, sizeof want, "%s/q", cwd);
	CHECK_STR(cfg.dbs[1].place.path, want);
	free(cwd);
	CHECK(ls_config_find_db(&cfg, "~/./a.db") == &cfg.dbs[0]);
	CHECK(ls_config_find_db(&cfg, "/none") == NULL);
	ls_config_fini(&cfg);
}

TEST(zero_asks_for_the_default_truncate_threshold)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n- {path: /a, truncate-page-n: 0,"
		       " replica: {path: /r}}\n",
	    &e));
	CHECK_EQ(cfg.dbs[0].truncate_pages, 121359);
	ls_config_fini(&cfg);
}

TEST(databases_from_the_command_line)
{
	struct ls_err e = { 0 };
	struct ls_db_config db;

	ls_config_fini(&cfg);
	CHECK_OK(ls_config_defaults(&cfg, &e));
	CHECK_OK(ls_config_add_cli_db(&cfg, "/a.db", "file:///r", &e));
	CHECK_OK(ls_config_add_cli_db(&cfg, "/b.db", "s3://b/p", &e));
	CHECK_EQ(cfg.n_dbs, 2);
	CHECK_STR(cfg.dbs[0].meta_path, "/.a.db-litestream");
	CHECK_EQ(cfg.dbs[0].sync_interval_ns, 1000000000);
	CHECK_STR(cfg.dbs[1].place.bucket, "b");
	CHECK(ls_config_add_cli_db(&cfg, "/c.db", "/r", &e) != LS_OK);
	CHECK_EQ(cfg.n_dbs, 2);
	ls_config_fini(&cfg);
	CHECK(setenv("LITESTREAM_S3_ENDPOINT", "http://127.0.0.1:7", 1) == 0);
	CHECK_OK(ls_db_config_from_url("/a.db", "s3://b/p", &db, &e));
	CHECK_STR(db.place.endpoint, "http://127.0.0.1:7");
	ls_db_config_fini(&db);
	CHECK(unsetenv("LITESTREAM_S3_ENDPOINT") == 0);
}

TEST(memory_may_run_out_anywhere)
{
	static const char text[] =
	    "region: r\nexec: x\n"
	    "dbs:\n- {path: /a, meta-path: /m, replica: {path: /r, name: n}}\n"
	    "- {path: /b, replicas: [{url: 's3://b/p?endpoint=h'}]}\n";

	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		enum ls_rc rc;

		ls_config_fini(&cfg);
		fault_arm(n, ENOMEM);
		rc =
		    ls_config_parse("c.yml", LS_SPAN_STR(text), true, &cfg, &e);
		fault_disarm();
		if (!fault_fired()) {
			CHECK(rc == LS_OK && n > 20);
			break;
		}
		CHECK(rc == LS_ENOMEM && e.msg[0] != '\0');
		CHECK(cfg.dbs == NULL);
	}
	CHECK_EQ(cfg.n_warnings, 1);
	ls_config_fini(&cfg);
}
